//! Every date token and every built-in date template, one row each, with an example and the instant
//! it means.
//!
//! To add a format, add a row: the test at the end of this file reads all rows, and the differential
//! test against fail2ban picks the rows up by itself. The order of
//! [`TEMPLATES`] is visible to users (it decides which template wins) and must not change.

use super::facts::Facts;

/// One `%` token of the pattern language.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// What stands after the `%`.
    pub token: &'static str,
    /// How `fail2ban-regex` shows it.
    pub shown: &'static str,
    /// The regular expression; `{years}` stands for the plausible first three digits of a year.
    pub regex: &'static str,
    /// A pattern that uses the token.
    pub pattern: &'static str,
    /// A line with such a date.
    pub line: &'static str,
    /// The instant, as civil time in UTC.
    pub time: &'static str,
}

/// One built-in template.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The pattern.
    pub pattern: &'static str,
    /// What every line with such a date holds; `NONE` if there is nothing to say.
    pub needs: Facts,
    /// A line with such a date.
    pub line: &'static str,
    /// The instant, as civil time in UTC.
    pub time: &'static str,
}

const fn token(
    token: &'static str,
    shown: &'static str,
    regex: &'static str,
    pattern: &'static str,
    line: &'static str,
    time: &'static str,
) -> Token {
    Token { token, shown, regex, pattern, line, time }
}

const fn row(pattern: &'static str, needs: Facts, line: &'static str, time: &'static str) -> Row {
    Row { pattern, needs, line, time }
}

const YEAR_FIRST: Facts = Facts::CLOCK.and(Facts::YEAR_FIRST);
const YEAR_LAST: Facts = Facts::CLOCK.and(Facts::YEAR_LAST);
const MONTH_BLANK: Facts = Facts::CLOCK.and(Facts::MONTH_BLANK);
const MONTH_DASH: Facts = Facts::CLOCK.and(Facts::MONTH_DASH);

/// The reference time of the examples: 2026-11-23 10:20:30 UTC.
pub const EXAMPLE_NOW: i64 = 1_795_429_230;

/// All tokens; those of several letters first, so that the first fitting row is the right one.
#[rustfmt::skip]
pub const TOKENS: &[Token] = &[
    token("ExY", "ExYear", r"(?P<Y>{years}\d)",
        "%ExY-%m-%d", "2026-11-23 x", "2026-11-23 00:00:00"),
    token("Exy", "ExYear2", r"(?P<y>\d{2})",
        "%Exy-%m-%d", "26-11-23 x", "2026-11-23 00:00:00"),
    token("Exm", "ExMonth", r"(?P<m>0[1-9]|1[0-2])",
        "%Y-%Exm-%d", "2026-03-23 x", "2026-03-23 00:00:00"),
    token("Exd", "ExDay", r"(?P<d>[1-2]\d|0[1-9]|3[0-1])",
        "%Y-%m-%Exd", "2026-11-03 x", "2026-11-03 00:00:00"),
    token("ExH", "Ex24hour", r"(?P<H>[0-1]\d|2[0-3])",
        "%Y-%m-%d %ExH", "2026-11-23 07 x", "2026-11-23 07:00:00"),
    token("Exk", "%Exk", r" ?(?P<H>[0-1]?\d|2[0-3])",
        "%Y-%m-%d %Exk:", "2026-11-23  7: x", "2026-11-23 07:00:00"),
    token("Exl", "%Exl", r" ?(?P<I>1[0-2]|\d)",
        "%Y-%m-%d %Exl:", "2026-11-23  7: x", "2026-11-23 07:00:00"),
    token("ExM", "ExMinute", r"(?P<M>[0-5]\d)",
        "%Y-%m-%d %H:%ExM", "2026-11-23 07:08 x", "2026-11-23 07:08:00"),
    token("ExS", "ExSecond", r"(?P<S>[0-5]\d|6[0-1])",
        "%Y-%m-%d %H:%M:%ExS", "2026-11-23 07:08:09 x", "2026-11-23 07:08:09"),
    token("ExZ", "ExZone name", r"(?P<Z>[A-Z](?:[A-Z]{2,4})?)",
        "%Y-%m-%d %ExZ", "2026-11-23 CET x", "2026-11-22 23:00:00"),
    token("Exz", "ExZone offset",
        r"(?P<z>(?:[A-Z](?:[A-Z]{2,4})?)?[+-][01]\d(?::?\d{2})?|[A-Z](?:[A-Z]{2,4})?)",
        "%Y-%m-%d %Exz", "2026-11-23 CET+0130 x", "2026-11-22 21:30:00"),
    token("Y", "Year", r"(?P<Y>\d{4})",
        "%Y-%m-%d", "1985-11-23 x", "1985-11-23 00:00:00"),
    token("y", "Year2", r"(?P<y>\d\d)",
        "%y-%m-%d", "26-11-23 x", "2026-11-23 00:00:00"),
    token("m", "Month", r"(?P<m>0?[1-9]|1[0-2])",
        "%Y-%m-%d", "2026-3-23 x", "2026-03-23 00:00:00"),
    token("d", "Day", r"(?P<d>[1-2]\d|[0 ]?[1-9]|3[0-1])",
        "%Y-%m-%d", "2026-11- 3 x", "2026-11-03 00:00:00"),
    token("H", "24hour", r"(?P<H>[0-1]?\d|2[0-3])",
        "%Y-%m-%d %H:", "2026-11-23 7: x", "2026-11-23 07:00:00"),
    token("k", "%k", r" ?(?P<H>[0-2]?\d)",
        "%Y-%m-%d %k:", "2026-11-23  7: x", "2026-11-23 07:00:00"),
    token("I", "12hour", r"(?P<I>1[0-2]|0[1-9]|[1-9])",
        "%Y-%m-%d %I:", "2026-11-23 07: x", "2026-11-23 07:00:00"),
    token("l", "%l", r" ?(?P<I>1?\d)",
        "%Y-%m-%d %l:", "2026-11-23  7: x", "2026-11-23 07:00:00"),
    token("p", "AMPM", r"(?P<p>am|pm)",
        "%Y-%m-%d %I %p", "2026-11-23 07 PM x", "2026-11-23 19:00:00"),
    token("M", "Minute", r"(?P<M>[0-5]?\d)",
        "%Y-%m-%d %H:%M", "2026-11-23 07:8 x", "2026-11-23 07:08:00"),
    token("S", "Second", r"(?P<S>[0-5]?\d|6[0-1])",
        "%Y-%m-%d %H:%M:%S", "2026-11-23 07:08:9 x", "2026-11-23 07:08:09"),
    token("f", "Microseconds", r"(?P<f>[0-9]{1,6})",
        r"%Y-%m-%d %H:%M:%S\.%f", "2026-11-23 07:08:09.125 x", "2026-11-23 07:08:09"),
    token("a", "DAY", r"(?P<a>mon|tue|wed|thu|fri|sat|sun)",
        "%a %Y-%m-%d", "Mon 2026-11-23 x", "2026-11-23 00:00:00"),
    token("A", "DAYNAME", r"(?P<A>wednesday|thursday|saturday|tuesday|monday|friday|sunday)",
        "%A %Y-%m-%d", "Monday 2026-11-23 x", "2026-11-23 00:00:00"),
    token("b", "MON", r"(?P<b>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)",
        "%d %b %Y", "23 Nov 2026 x", "2026-11-23 00:00:00"),
    token("B", "MONTH", concat!(r"(?P<B>september|february|november|december|january|october|",
            r"august|march|april|june|july|may)"),
        "%d %B %Y", "23 November 2026 x", "2026-11-23 00:00:00"),
    token("j", "Yearday", concat!(r"(?P<j>36[0-6]|3[0-5]\d|[1-2]\d\d|0[1-9]\d|00[1-9]|[1-9]\d|",
            r"0[1-9]|[1-9])"),
        "%Y %j", "2026 327 x", "2026-11-23 00:00:00"),
    token("U", "Yearweek", r"(?P<U>5[0-3]|[0-4]\d|\d)",
        "%Y %U %w", "2026 47 1 x", "2026-11-23 00:00:00"),
    token("W", "Yearweek", r"(?P<W>5[0-3]|[0-4]\d|\d)",
        "%Y %W %w", "2026 47 1 x", "2026-11-23 00:00:00"),
    token("w", "Weekday", r"(?P<w>[0-6])",
        "%Y %W %w", "2026 47 0 x", "2026-11-29 00:00:00"),
    token("V", "%V", r"(?P<V>5[0-3]|0[1-9]|[1-4]\d|\d)",
        "%Y-%m-%d week %V", "2026-11-23 week 48 x", "2026-11-23 00:00:00"),
    token("G", "%G", r"(?P<G>\d\d\d\d)",
        "%Y-%m-%d of %G", "2026-11-23 of 2026 x", "2026-11-23 00:00:00"),
    token("u", "%u", r"(?P<u>[1-7])",
        "%Y-%m-%d day %u", "2026-11-23 day 1 x", "2026-11-23 00:00:00"),
    token("z", "Zone offset", r"(?P<z>Z|UTC|GMT|[+-][01]\d(?::?\d{2})?)",
        "%Y-%m-%d %z", "2026-11-23 -0130 x", "2026-11-23 01:30:00"),
    token("Z", "Zone name", r"(?P<Z>Z|[A-Z]{3,5})",
        "%Y-%m-%d %Z", "2026-11-23 MSK x", "2026-11-22 21:00:00"),
    token("x", "%x", concat!(r"(?P<m>1[0-2]|0[1-9]|[1-9])/(?P<d>3[0-1]|[1-2]\d|0[1-9]|[1-9]| [1-9])",
            r"/(?P<y>\d\d)"),
        "%x", "11/23/26 x", "2026-11-23 00:00:00"),
    token("X", "%X", r"(?P<H>2[0-3]|[0-1]\d|\d):(?P<M>[0-5]\d|\d):(?P<S>6[0-1]|[0-5]\d|\d)",
        "%Y-%m-%d %X", "2026-11-23 07:08:09 x", "2026-11-23 07:08:09"),
    token("c", "%c", concat!(r"(?P<a>mon|tue|wed|thu|fri|sat|sun)\s+",
            r"(?P<b>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\s+",
            r"(?P<d>3[0-1]|[1-2]\d|0[1-9]|[1-9]| [1-9])\s+",
            r"(?P<H>2[0-3]|[0-1]\d|\d):(?P<M>[0-5]\d|\d):(?P<S>6[0-1]|[0-5]\d|\d)\s+",
            r"(?P<Y>\d\d\d\d)"),
        "%c", "Mon Nov 23 07:08:09 2026 x", "2026-11-23 07:08:09"),
    token("%", "%", "%",
        "%%%Y-%m-%d", "%2026-11-23 x", "2026-11-23 00:00:00"),
];

/// The base templates in their order. Those that are not anchored to the start of the line get an
/// anchored twin that is preferred, which makes 31.
#[rustfmt::skip]
pub const TEMPLATES: &[Row] = &[
    row(r"%ExY(?P<_sep>[-/.])%m(?P=_sep)%d(?:T|  ?)%H:%M:%S(?:[.,]%f)?(?:\s*%z)?",
        YEAR_FIRST,
        "2026-11-23T02:07:00.123456+01:00 x", "2026-11-23 01:07:00"),
    row(r"(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?",
        MONTH_BLANK,
        "Nov 23 02:07:00 x", "2026-11-23 02:07:00"),
    row(r"(?:%a )?%b %d %ExY %k:%M:%S(?:\.%f)?",
        MONTH_BLANK,
        "Mon Nov 23 2026 02:07:00.011 x", "2026-11-23 02:07:00"),
    row(r"%d(?P<_sep>[-/])%m(?P=_sep)(?:%ExY|%Exy) %k:%M:%S",
        YEAR_LAST,
        "23/11/2026 02:07:00 x", "2026-11-23 02:07:00"),
    row(r"%d(?P<_sep>[-/])%b(?P=_sep)%ExY[ :]?%H:%M:%S(?:\.%f)?(?: %z)?",
        MONTH_DASH,
        "23/Nov/2026:02:07:00 -0100 x", "2026-11-23 03:07:00"),
    row(r"%m/%d/%ExY:%H:%M:%S",
        YEAR_LAST,
        "11/23/2026:02:07:00 x", "2026-11-23 02:07:00"),
    row(r"%m-%d-%ExY %k:%M:%S(?:\.%f)?",
        YEAR_LAST,
        "11-23-2026 02:07:00.252 x", "2026-11-23 02:07:00"),
    row("EPOCH",
        Facts::TEN_DIGITS,
        "1795399620.125 x", "2026-11-23 02:07:00"),
    row(r"{^LN-BEG}%H:%M:%S",
        Facts::CLOCK,
        "02:07:00 x", "2026-11-23 02:07:00"),
    row(r"^<%m/%d/%Exy@%H:%M:%S>",
        YEAR_LAST.and(Facts::AT),
        "<11/23/26@02:07:00> x", "2026-11-23 02:07:00"),
    row(r"%Exy%Exm%Exd  ?%H:%M:%S",
        Facts::CLOCK.and(Facts::SIX_DIGITS),
        "261123  2:07:00 x", "2026-11-23 02:07:00"),
    row(r"%b %d, %ExY %I:%M:%S %p",
        MONTH_BLANK,
        "Nov 23, 2026 2:07:00 PM x", "2026-11-23 14:07:00"),
    row(r"^%b-%d-%Exy %k:%M:%S",
        MONTH_DASH,
        "Nov-23-26 02:07:00 x", "2026-11-23 02:07:00"),
    row(r"%ExY%Exm%Exd(?:-|T|  ?)%ExH:?%ExM:?%ExS(?:[.,]%f)?(?:\s*%z)?",
        Facts::EIGHT_DIGITS,
        "20261123T020700Z x", "2026-11-23 02:07:00"),
    row(r"(?:%Z )?(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?",
        MONTH_BLANK,
        "CET Nov 23 02:07:00 x", "2026-11-23 01:07:00"),
    row(r"(?:%z )?(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?",
        MONTH_BLANK,
        "+01:00 Nov 23 02:07:00 2026 x", "2026-11-23 01:07:00"),
    row("TAI64N",
        Facts::AT,
        "@400000006b039fc40a3d70a4 x", "2026-11-23 02:07:00"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::date::{DateDetector, DateOptions, DateSpec, LineZone, Years};
    use crate::time::{Timestamp, Zone};

    fn read(spec: DateSpec, line: &str) -> (String, String) {
        let now = Timestamp::from_secs(EXAMPLE_NOW);
        let mut detector = DateDetector::new(spec, LineZone::local(Zone::utc()));
        let hit = detector.find(line, now).expect("a date");
        let time = detector.time(&hit, now).expect("a usable date").expect("a date that exists");
        let text = line.get(hit.span).expect("a span in the line");
        (Zone::utc().format(time), text.to_owned())
    }

    #[test]
    fn every_row_reads_its_example() {
        let options = DateOptions { now: Timestamp::from_secs(EXAMPLE_NOW), years: Years::Server };
        for token in TOKENS {
            let spec = DateSpec::parse(token.pattern, &options).unwrap();
            let (time, _) = read(spec, token.line);
            assert_eq!(time, token.time, "%{}", token.token);
        }
        for row in TEMPLATES {
            for pattern in [row.pattern, "{DEFAULT}"] {
                let spec = DateSpec::parse(pattern, &options).unwrap();
                let (time, text) = read(spec, row.line);
                assert_eq!(time, row.time, "{pattern}");
                let rest = row.line.replacen(&text, "", 1);
                assert_eq!(rest.trim_start_matches('%'), " x", "{pattern} leaves the rest");
            }
        }
    }
}
