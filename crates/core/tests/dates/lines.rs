//! Lines with dates: possible and impossible ones, in all forms, around the times at which dates are
//! difficult.

use sekisho_core::time::Zone;
use sekisho_oracle::Random;

/// A civil date whose parts may be impossible.
pub struct Parts {
    pub year: i64,
    month: usize,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    weekday: usize,
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const LONG_MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const LONG_DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const ZONES: [&str; 22] = [
    "Z", "UTC", "GMT", "+0200", "-0330", "+01:00", "-11", "+1", "+2500", "CET", "CEST", "MSK",
    "IST", "z", "utc", "X", "J", "EST+0100", "ABCDEF", "+02:0", "Zulu", "-19:59",
];

pub fn parts(rng: &mut Random, at: i64, zone: &Zone) -> Parts {
    let ts = jiff::Timestamp::from_second(at).unwrap();
    let dt = zone.0.to_datetime(ts);
    let mut parts = Parts {
        year: i64::from(dt.year()),
        month: dt.month() as usize,
        day: i64::from(dt.day()),
        hour: i64::from(dt.hour()),
        minute: i64::from(dt.minute()),
        second: i64::from(dt.second()),
        weekday: dt.weekday().to_monday_zero_offset() as usize,
    };
    if rng.one_in(30) {
        match rng.below(7) {
            0 => parts.day = *rng.pick(&[0, 29, 30, 31, 32]),
            1 => parts.month = *rng.pick(&[1, 2, 2, 4, 12]),
            2 => parts.hour = *rng.pick(&[24, 25, 29, 12, 0]),
            3 => parts.second = *rng.pick(&[59, 60, 61, 62]),
            4 => parts.minute = *rng.pick(&[59, 60]),
            5 => parts.year = *rng.pick(&[1999, 2000, 2004, 2029, 2030, 2100, 1, 9999]),
            _ => parts.weekday = (parts.weekday + 1) % 7,
        }
    }
    parts
}

/// Writes a date by a format of `%` and a letter; some of the parts come out in a looser form.
pub fn write_date(rng: &mut Random, format: &str, p: &Parts, at: i64) -> String {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let text = match chars.next().unwrap_or('%') {
            'Y' => format!("{:04}", p.year),
            'y' => format!("{:02}", p.year % 100),
            'm' if rng.one_in(20) => p.month.to_string(),
            'm' => format!("{:02}", p.month),
            'd' if rng.one_in(20) => p.day.to_string(),
            'd' => format!("{:02}", p.day),
            'e' => format!("{:2}", p.day),
            'H' if rng.one_in(20) => p.hour.to_string(),
            'H' => format!("{:02}", p.hour),
            'k' => format!("{:2}", p.hour),
            'I' => format!("{:02}", (p.hour + 11) % 12 + 1),
            'p' => (*rng.pick(&["AM", "PM", "am", "pm"])).to_owned(),
            'M' if rng.one_in(30) => p.minute.to_string(),
            'M' => format!("{:02}", p.minute),
            'S' if rng.one_in(30) => p.second.to_string(),
            'S' => format!("{:02}", p.second),
            'n' => MONTHS[p.month - 1].to_owned(),
            'N' => LONG_MONTHS[p.month - 1].to_owned(),
            'w' => DAYS[p.weekday].to_owned(),
            'W' => LONG_DAYS[p.weekday].to_owned(),
            'u' => ((p.weekday + 1) % 7).to_string(),
            'j' => format!("{:03}", *rng.pick(&[1, 59, 60, 61, 100, 327, 365, 366])),
            'U' => format!("{:02}", rng.below(54)),
            'f' => match rng.below(4) {
                0 => String::new(),
                1 => ".123".to_owned(),
                2 => ".123456".to_owned(),
                _ => (*rng.pick(&[",5", ".1234567", ".", ".12x", ","])).to_owned(),
            },
            'z' => match rng.below(3) {
                0 => String::new(),
                1 => format!("{}{}", *rng.pick(&["", " ", "  "]), *rng.pick(&ZONES)),
                _ => (*rng.pick(&["+0100", " +0000", "Z", " +02:00"])).to_owned(),
            },
            'Z' => (*rng.pick(&ZONES)).to_owned(),
            's' => at.to_string(),
            'L' => format!("{at}{}", *rng.pick(&["", "123", "123456", "123.5", "1234"])),
            't' => format!("@4{at:015x}0a3d70a4"),
            other => other.to_string(),
        };
        let text = match rng.below(60) {
            0 => text.to_lowercase(),
            1 => text.to_uppercase(),
            _ => text,
        };
        out.push_str(&text);
    }
    if rng.one_in(150) {
        // Digits of another script are digits to Python.
        out = out
            .chars()
            .map(|c| match c.to_digit(10) {
                Some(d) => char::from_u32(0x660 + d).unwrap(),
                None => c,
            })
            .collect();
    }
    out
}

/// Forms for the built-in templates, frequent ones more than once.
pub const FORMS: &[&str] = &[
    "%Y-%m-%dT%H:%M:%S%f%z",
    "%Y-%m-%d %H:%M:%S%f%z",
    "%Y/%m/%d %H:%M:%S",
    "%Y.%m.%d %H:%M:%S",
    "%Y-%m/%d %H:%M:%S",
    "%n %e %H:%M:%S",
    "%n %e %H:%M:%S",
    "%n %d %H:%M:%S%f",
    "%w %n %d %H:%M:%S%f %Y",
    "%n %e %k:%M:%S %Y",
    "%n %d %Y %H:%M:%S%f",
    "%w %n %e %Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%d-%m-%y %k:%M:%S",
    "%d/%n/%Y:%H:%M:%S %Z",
    "%d/%n/%Y:%H:%M:%S%f%z",
    "%d-%n-%Y %H:%M:%S%f%z",
    "%m/%d/%Y:%H:%M:%S",
    "%m-%d-%Y %k:%M:%S%f",
    "%s",
    "%s.123",
    "%H:%M:%S",
    "<%m/%d/%y@%H:%M:%S>",
    "%y%m%d %H:%M:%S",
    "%y%m%d  %H:%M:%S",
    "%n %d, %Y %I:%M:%S %p",
    "%n-%d-%y %H:%M:%S",
    "%Y%m%dT%H%M%S%f%z",
    "%Y%m%d-%H:%M:%S%f%z",
    "%Y%m%d  %H%M%S",
    "%Z %n %e %H:%M:%S",
    "%Z %w %n %d %H:%M:%S%f %Y",
    "+01:00 %n %d %H:%M:%S %Y",
    "%t",
    "no date",
    "",
];
