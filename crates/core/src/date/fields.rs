//! The parts of a date, between the matched text and the instant.

use super::digits;
use super::zone;
use crate::time::Timestamp;

/// A named group that carries a part of a date. Other names (`_sep`, `f`, `G`, `V`, `u`) match text
/// but mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Year,
    ShortYear,
    Month,
    MonthName,
    MonthFullName,
    Day,
    Hour,
    Hour12,
    AmPm,
    Minute,
    Second,
    DayName,
    DayFullName,
    Weekday,
    YearDay,
    WeekFromSunday,
    WeekFromMonday,
    Zone,
}

impl Field {
    /// The field of a group name.
    pub(super) fn of(name: &str) -> Option<Field> {
        Some(match name {
            "Y" => Field::Year,
            "y" => Field::ShortYear,
            "m" => Field::Month,
            "b" => Field::MonthName,
            "B" => Field::MonthFullName,
            "d" => Field::Day,
            "H" => Field::Hour,
            "I" => Field::Hour12,
            "p" => Field::AmPm,
            "M" => Field::Minute,
            "S" => Field::Second,
            "a" => Field::DayName,
            "A" => Field::DayFullName,
            "w" => Field::Weekday,
            "j" => Field::YearDay,
            "U" => Field::WeekFromSunday,
            "W" => Field::WeekFromMonday,
            "z" | "Z" => Field::Zone,
            _ => return None,
        })
    }
}

/// The numbers of a civil date as they stand in the line; nothing is checked yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Civil {
    pub year: Option<i32>,
    pub month: Option<i32>,
    pub day: Option<i32>,
    pub hour: i32,
    pub minute: i32,
    pub second: i32,
    /// 0 is Monday.
    pub weekday: Option<i32>,
    pub year_day: Option<i32>,
    /// Week of the year, and whether weeks start on Monday.
    pub week: Option<(i32, bool)>,
    /// Minutes east of UTC.
    pub offset: Option<i32>,
}

/// What the matched text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// An instant, independent of any zone.
    Instant(Timestamp),
    /// A civil date.
    Civil(Civil),
    /// Looks like a date and is none: the line counts as undated.
    Invalid,
    /// The zone word is an unknown abbreviation: the line cannot be used.
    UnknownZone(String),
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Position of `text` among `names`, either by the first three letters or by the whole name.
fn name_index(names: &[&str], text: &str, whole: bool) -> Option<i32> {
    let at = names.iter().position(|name| {
        let name = if whole { name } else { name.get(..3).unwrap_or(name) };
        name.eq_ignore_ascii_case(text)
    })?;
    i32::try_from(at).ok()
}

/// Puts the group texts together, in the order of the groups: a later one overrides an earlier one.
pub(super) fn read<'t>(groups: impl Iterator<Item = (Field, &'t str)>) -> Parsed {
    let mut civil = Civil::default();
    let mut hour12 = None;
    let mut am_pm = "";
    for (field, text) in groups {
        match read_one(&mut civil, field, text) {
            Ok(true) => {}
            Ok(false) => match field {
                Field::AmPm => am_pm = text,
                _ => hour12 = digits::int(text),
            },
            Err(Fault::Invalid) => return Parsed::Invalid,
            Err(Fault::UnknownZone) => return Parsed::UnknownZone(text.to_owned()),
        }
    }
    if let Some(hour) = hour12 {
        civil.hour = match (hour, am_pm.to_ascii_lowercase().as_str()) {
            (12, "" | "am") => 0,
            (h, "pm") if h != 12 => h + 12,
            (h, _) => h,
        };
    }
    Parsed::Civil(civil)
}

/// Why a group text is no part of a date.
enum Fault {
    Invalid,
    UnknownZone,
}

/// `Ok(false)` when the field needs the others to be understood (12-hour clock).
fn read_one(civil: &mut Civil, field: Field, text: &str) -> Result<bool, Fault> {
    let number = || digits::int(text).ok_or(Fault::Invalid);
    let name = |names: &[&str], whole| name_index(names, text, whole).ok_or(Fault::Invalid);
    match field {
        Field::Year => civil.year = Some(number()?),
        Field::ShortYear => {
            let year = number()?;
            civil.year = Some(if year <= 2000 { year + 2000 } else { year });
        }
        Field::Month => civil.month = Some(number()?),
        Field::MonthName => civil.month = Some(name(&MONTHS, false)? + 1),
        Field::MonthFullName => civil.month = Some(name(&MONTHS, true)? + 1),
        Field::Day => civil.day = Some(number()?),
        Field::Hour => civil.hour = number()?,
        Field::Hour12 => {
            number()?;
            return Ok(false);
        }
        Field::AmPm => return Ok(false),
        Field::Minute => civil.minute = number()?,
        Field::Second => civil.second = number()?,
        Field::DayName => civil.weekday = Some(name(&DAYS, false)?),
        Field::DayFullName => civil.weekday = Some(name(&DAYS, true)?),
        Field::Weekday => civil.weekday = Some((number()? + 6) % 7),
        Field::YearDay => civil.year_day = Some(number()?),
        Field::WeekFromSunday => civil.week = Some((number()?, false)),
        Field::WeekFromMonday => civil.week = Some((number()?, true)),
        Field::Zone => match zone::offset_minutes(text) {
            Ok(Some(minutes)) => civil.offset = Some(minutes),
            Ok(None) => return Err(Fault::Invalid),
            Err(_) => return Err(Fault::UnknownZone),
        },
    }
    Ok(true)
}

/// Unix time in decimal digits, with or without a fraction.
///
/// `long` also reads 13 digits as milliseconds and 16 as microseconds.
pub(super) fn epoch(text: &str, long: bool) -> Parsed {
    let text = text.trim_matches(digits::is_space);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let length = text.chars().count();
    // Number of decimals after the second in the last digit of `whole`.
    let scale = match () {
        () if !long || length < 13 => 0,
        () if length >= 16 && fraction.is_empty() => 6,
        () => 3,
    };
    let mut micros: i64 = 0;
    let mut count = 0;
    for c in whole.chars() {
        let Some(digit) = digits::value(c) else { return Parsed::Invalid };
        micros = micros.saturating_mul(10).saturating_add(i64::from(digit));
        count += 1;
    }
    if count == 0 {
        return Parsed::Invalid;
    }
    let mut decimals = scale;
    for c in fraction.chars() {
        let Some(digit) = digits::value(c) else { return Parsed::Invalid };
        if decimals < 6 {
            micros = micros.saturating_mul(10).saturating_add(i64::from(digit));
            decimals += 1;
        }
    }
    for _ in decimals..6 {
        micros = micros.saturating_mul(10);
    }
    Parsed::Instant(Timestamp(micros))
}

/// A TAI64N label `@4000…`: the leading `4` marks times after 1970; leap seconds are not corrected.
pub(super) fn tai64n(text: &str) -> Parsed {
    let seconds = text.get(2..17).and_then(|hex| i64::from_str_radix(hex, 16).ok());
    seconds.map_or(Parsed::Invalid, |s| Parsed::Instant(Timestamp::from_secs(s)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_hour_clock() {
        let check = |hour: &str, half: &str, expected: i32| {
            let got = read([(Field::Hour12, hour), (Field::AmPm, half)].into_iter());
            assert_eq!(got, Parsed::Civil(Civil { hour: expected, ..Civil::default() }));
            let got = read([(Field::AmPm, half), (Field::Hour12, hour)].into_iter());
            assert_eq!(got, Parsed::Civil(Civil { hour: expected, ..Civil::default() }));
        };
        check("12", "AM", 0);
        check("1", "am", 1);
        check("12", "PM", 12);
        check("11", "pm", 23);
        check("12", "", 0);
        check("7", "", 7);
    }

    #[test]
    fn unix_times() {
        let check = |text: &str, long: bool, expected: i64| {
            assert_eq!(epoch(text, long), Parsed::Instant(Timestamp(expected)), "{text}");
        };
        check("1700000000", false, 1_700_000_000_000_000);
        check("1700000000.123", false, 1_700_000_000_123_000);
        check("1700000000123", true, 1_700_000_000_123_000);
        check("1700000000123.456789", true, 1_700_000_000_123_456);
        check("1700000000123456", true, 1_700_000_000_123_456);
        check("1700000000", true, 1_700_000_000_000_000);
        assert_eq!(epoch("x", false), Parsed::Invalid);
    }

    #[test]
    fn tai_labels() {
        let text = "@4000000065536f8000000000";
        assert_eq!(tai64n(text), Parsed::Instant(Timestamp::from_secs(0x6553_6f80)));
        assert_eq!(tai64n("@40"), Parsed::Invalid);
    }
}
