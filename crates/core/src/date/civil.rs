//! From the numbers of a date to an instant: the missing year, the missing day, the zone.
//!
//! Log lines often leave out the year or the day, and then `now` decides. The comparisons with `now`
//! are made between civil times without their zones, as fail2ban makes them, so a line with a zone
//! of its own may be off by that zone near midnight; compatibility wants it so.

use super::error::DateError;
use super::fields::Civil;
use super::zone::LineZone;
use crate::time::{Timestamp, Zone};

const DAY: i64 = 86_400;

/// The span of time around `now` in which the offset of the zone and the civil year stay the same,
/// so that nearly every line needs no look at the zone's rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Era {
    /// `now` (in seconds) must be in here for the era to hold.
    from: i64,
    to: i64,
    /// Seconds east of UTC.
    offset: i64,
    /// The civil year of all of the era.
    year: i64,
    /// Civil seconds in here belong to this offset beyond doubt.
    clear_from: i64,
    clear_to: i64,
}

impl Era {
    /// The era of `now`.
    fn around(now: i64, zone: &Zone) -> Option<Era> {
        let tz = &zone.0;
        // One nanosecond later, so that a change at this very second counts as past.
        let at = jiff::Timestamp::new(now, 1).ok()?;
        let offset_at = |ts: jiff::Timestamp| i64::from(tz.to_offset(ts).seconds());
        let offset = offset_at(at);
        let (mut from, mut clear_from) = (i64::MIN / 4, i64::MIN / 4);
        if let Some(change) = tz.preceding(at).next() {
            from = change.timestamp().as_second();
            let before = jiff::Timestamp::new(from - 1, 0).map_or(offset, offset_at);
            clear_from = from + offset.max(before);
        }
        let (mut to, mut clear_to) = (i64::MAX / 4, i64::MAX / 4);
        if let Some(change) = tz.following(at).next() {
            to = change.timestamp().as_second();
            let after = i64::from(change.offset().seconds());
            clear_to = to + offset.min(after);
        }
        let (year, _, _) = date_of((now + offset).div_euclid(DAY));
        let from = from.max(days_of(year, 1, 1) * DAY - offset);
        let to = to.min(days_of(year + 1, 1, 1) * DAY - offset);
        Some(Era { from, to, offset, year, clear_from, clear_to })
    }
}

/// Turns dates into instants, remembering the [`Era`] of the last `now`.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    zone: LineZone,
    era: Option<Era>,
}

impl Calendar {
    pub(super) fn new(zone: LineZone) -> Self {
        Self { zone, era: None }
    }

    /// Whether dates that name no zone have a configured one.
    pub(super) fn has_log_zone(&self) -> bool {
        self.zone.log.is_some()
    }

    fn era(&mut self, now: i64) -> Result<Era, DateError> {
        if let Some(era) = self.era.filter(|era| (era.from..era.to).contains(&now)) {
            return Ok(era);
        }
        self.era = Era::around(now, &self.zone.local);
        self.era.ok_or(DateError::OutOfRange)
    }

    /// The instant that the date means; `None` for a date that does not exist.
    pub(super) fn instant(
        &mut self,
        date: &Civil,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, DateError> {
        let now_secs = now.as_secs();
        let era = self.era(now_secs)?;
        let mut year = date.year.map_or(era.year, i64::from);
        let mut month = date.month.map(i64::from);
        let mut day = date.day.map(i64::from);
        if month.is_none() || day.is_none() {
            let Some(year_day) = year_day(date, year) else { return Ok(None) };
            if let Some(year_day) = year_day {
                if !(1..=9999).contains(&year) {
                    return Ok(None);
                }
                let (y, m, d) = date_of(days_of(year, 1, 1) + year_day - 1);
                (year, month, day) = (y, Some(m), Some(d));
            }
        }
        let assume_today = month.is_none() && day.is_none();
        if assume_today {
            let (_, m, d) = date_of((now_secs + era.offset).div_euclid(DAY));
            (month, day) = (Some(m), Some(d));
        }
        let (Some(month), Some(day)) = (month, day) else { return Err(DateError::HalfDate) };
        let Some(midnight) = days_checked(year, month, day).map(|days| days * DAY) else {
            return Ok(None);
        };
        if !(0..24).contains(&date.hour)
            || !(0..60).contains(&date.minute)
            || !(0..60).contains(&date.second)
        {
            return Ok(None);
        }
        let of_day = i64::from(date.hour * 3600 + date.minute * 60 + date.second);
        let mut civil = midnight + of_day;
        let offset = date.offset.or(self.zone.log.as_ref().map(|zone| zone.minutes()));
        if let Some(minutes) = offset {
            civil -= i64::from(minutes) * 60;
        }
        // `now` has a fraction: a date of this very second is not later than it.
        let now_civil = now_secs + era.offset;
        if assume_today && civil > now_civil {
            civil -= DAY;
        }
        if date.year.is_none() && civil > now_civil + DAY {
            // The time of day stays the one in UTC, but month and day are those of the line again.
            let Some(days) = days_checked(year - 1, month, day) else { return Ok(None) };
            civil = days * DAY + civil.rem_euclid(DAY);
        }
        if !(CIVIL_MIN..CIVIL_MAX).contains(&civil) {
            return Err(DateError::OutOfRange);
        }
        let seconds = match offset {
            Some(_) => civil,
            None if (era.clear_from..era.clear_to).contains(&civil) => civil - era.offset,
            None => local_seconds(civil, &self.zone.local).ok_or(DateError::OutOfRange)?,
        };
        Ok(Some(Timestamp::from_secs(seconds)))
    }
}

/// 0001-01-01 and 10000-01-01 in civil seconds.
const CIVIL_MIN: i64 = -719_162 * DAY;
const CIVIL_MAX: i64 = 2_932_897 * DAY;

/// By the rules of the zone; of a time that comes twice the first, a time that is skipped is taken as
/// if the clock had not yet been changed.
fn local_seconds(civil: i64, zone: &Zone) -> Option<i64> {
    let (year, month, day) = date_of(civil.div_euclid(DAY));
    let of_day = civil.rem_euclid(DAY);
    let date = jiff::civil::DateTime::new(
        i16::try_from(year).ok()?,
        i8::try_from(month).ok()?,
        i8::try_from(day).ok()?,
        i8::try_from(of_day / 3600).ok()?,
        i8::try_from(of_day / 60 % 60).ok()?,
        i8::try_from(of_day % 60).ok()?,
        0,
    )
    .ok()?;
    zone.0.to_ambiguous_timestamp(date).compatible().ok().map(|ts| ts.as_second())
}

/// The day of the year, if the date gives one directly or as week and weekday.
///
/// The outer `None` means that there is no such day.
fn year_day(date: &Civil, year: i64) -> Option<Option<i64>> {
    if let Some(day) = date.year_day {
        return Some(Some(i64::from(day)));
    }
    let (Some((week, from_monday)), Some(weekday)) = (date.week, date.weekday) else {
        return Some(None);
    };
    if !(1..=9999).contains(&year) {
        return None;
    }
    // Weekdays counted from the day the week starts with; 1970-01-01 was a Thursday.
    let shift = if from_monday { 0 } else { 1 };
    let first = (days_of(year, 1, 1) + 3 + shift).rem_euclid(7);
    let (week, weekday) = (i64::from(week), i64::from(weekday));
    let weekday = (weekday + shift).rem_euclid(7);
    Some(Some(if week == 0 {
        1 + weekday - first
    } else {
        let rest_of_week_0 = (7 - first) % 7;
        1 + rest_of_week_0 + 7 * (week - 1) + weekday
    }))
}

/// Days since 1970-01-01 of a date that exists in years 1 to 9999.
fn days_checked(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    (1..=length).contains(&day).then(|| days_of(year, month, day))
}

/// Days since 1970-01-01 in the Gregorian calendar.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    // Years are counted from March, so that the leap day is the last day of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let century_cycle = year.div_euclid(400);
    let of_cycle = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = of_cycle * 365 + of_cycle / 4 - of_cycle / 100 + of_year;
    century_cycle * 146_097 + days - 719_468
}

/// The inverse of [`days_of`].
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let cycle = days.div_euclid(146_097);
    let of_cycle = days.rem_euclid(146_097);
    let year =
        (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / 146_096).div_euclid(365);
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = cycle * 400 + year + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn calendar_agrees_with_jiff(days in -719_162i64..2_932_896) {
            let (y, m, d) = date_of(days);
            prop_assert_eq!(days_checked(y, m, d), Some(days));
            let epoch = jiff::civil::date(1970, 1, 1);
            let date = jiff::civil::date(y as i16, m as i8, d as i8);
            let since = date.since((jiff::Unit::Day, epoch)).unwrap().get_days();
            prop_assert_eq!(i64::from(since), days);
        }

        /// The short way through the era gives what the rules of the zone give.
        #[test]
        fn era_agrees_with_the_rules(now in 0i64..4_000_000_000, delta in -40_000_000i64..40_000_000) {
            let zone = Zone(jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap());
            let era = Era::around(now, &zone).unwrap();
            prop_assert!((era.from..era.to).contains(&now));
            let civil = now + era.offset + delta;
            if (era.clear_from..era.clear_to).contains(&civil) {
                prop_assert_eq!(local_seconds(civil, &zone), Some(civil - era.offset));
            }
            for at in [era.from, era.to - 1] {
                let local = zone.format(Timestamp::from_secs(at));
                let year = format!("{:04}-", era.year);
                prop_assert!(local.starts_with(&year), "{} {}", local, year);
            }
        }
    }

    fn at(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_second()
    }

    #[test]
    fn missing_year_and_day() {
        let zone = Zone(jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap());
        let check = |now: &str, date: Civil, expected: Option<&str>| {
            let mut calendar = Calendar::new(LineZone::local(zone.clone()));
            let got = calendar.instant(&date, Timestamp::from_secs(at(now))).unwrap();
            assert_eq!(got, expected.map(|e| Timestamp::from_secs(at(e))), "{date:?}");
        };
        let base = Civil { month: Some(12), day: Some(31), hour: 23, ..Civil::default() };
        check("2026-01-01T00:30:00Z", base, Some("2025-12-31T22:00:00Z"));
        check("2026-12-31T10:00:00Z", base, Some("2026-12-31T22:00:00Z"));
        let base = Civil { month: Some(2), day: Some(29), ..Civil::default() };
        check("2024-03-01T10:00:00Z", base, Some("2024-02-28T23:00:00Z"));
        check("2025-03-01T10:00:00Z", base, None);
        let base = Civil { hour: 23, minute: 59, ..Civil::default() };
        check("2026-03-01T10:00:00Z", base, Some("2026-02-28T22:59:00Z"));
        check("2026-03-01T22:59:30Z", base, Some("2026-03-01T22:59:00Z"));
        // The hour that comes twice: the first.
        let base =
            Civil { month: Some(10), day: Some(25), hour: 2, minute: 30, ..Civil::default() };
        check("2026-10-25T10:00:00Z", base, Some("2026-10-25T00:30:00Z"));
        // Only half of a date.
        let mut calendar = Calendar::new(LineZone::local(zone.clone()));
        let half = Civil { month: Some(1), ..Civil::default() };
        assert_eq!(calendar.instant(&half, Timestamp(0)), Err(DateError::HalfDate));
    }
}
