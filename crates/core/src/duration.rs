//! Durations as administrators write and read them: `1d12h`, `-1`, `1h*2` in, `1d 12h` out.
//!
//! The written form is an arithmetic expression in which units stand for factors, so everything
//! ends in [`crate::expr`]; nothing here may accept what that evaluator cannot bound.

use thiserror::Error;

use crate::expr::{ExprError, Number, eval_constant};
use crate::value::repr_float;

/// Unit spellings and their seconds. Months and years are fractions of days, hence floats.
const UNITS: &[(&[&str], &str)] = &[
    (&["s", "ss", "se", "sec", "second", "seconds"], "1"),
    (&["m", "mm", "mi", "min", "minute", "minutes"], "60"),
    (&["h", "hh", "ho", "hou", "hour", "hours"], "3600"),
    (&["d", "dd", "da", "day", "days"], "86400"),
    (&["w", "ww", "we", "wee", "week", "weeks"], "604800"),
    (&["mo", "mon", "month", "months"], "2629800.0"),
    (&["y", "yy", "ye", "yea", "year", "years"], "31557600.0"),
];

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{reason} in the time {text:?}: write seconds, or numbers with units like 1d12h or 10m")]
pub struct DurationError {
    /// What was written.
    pub text: String,
    /// What Python would say about it.
    #[source]
    pub reason: ExprError,
}

/// The seconds a text stands for; an integer stays one, `1mo` is `2629800.0`.
pub fn parse(text: &str) -> Result<Number, DurationError> {
    let plain = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let result = if plain.len() > crate::expr::MAX_TEXT {
        Err(ExprError::TooComplex)
    } else {
        eval_constant(&to_expression(text))
    };
    result.map_err(|reason| DurationError { text: text.to_owned(), reason })
}

/// Rewrites units to factors and joins groups: `1d12h 5` becomes `1*86400+12*3600+5`.
fn to_expression(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut rest = text;
    let mut previous = '\0';
    while let Some(c) = rest.chars().next() {
        let inside_name = previous.is_alphabetic() || previous == '_';
        if c.is_ascii_alphabetic() && !inside_name {
            let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let glued = after
                .starts_with(|c: char| c == '_' || (c.is_alphanumeric() && !c.is_ascii_digit()));
            let unit = (previous.is_ascii_digit() || previous.is_whitespace()) && !glued;
            match factor(word).filter(|_| unit) {
                Some(seconds) => {
                    out.push('*');
                    out.push_str(seconds);
                    previous = '0';
                }
                None => {
                    out.push_str(word);
                    previous = 'a';
                }
            }
            // A digit right behind a letter begins a new group.
            if after.starts_with(|c: char| c.is_ascii_digit()) {
                out.push(' ');
                previous = ' ';
            }
            rest = after;
        } else {
            out.push(c);
            previous = c;
            rest = rest.get(c.len_utf8()..).unwrap_or("");
        }
    }
    join_groups(&out)
}

fn factor(word: &str) -> Option<&'static str> {
    let same = |name: &&str| name.eq_ignore_ascii_case(word);
    UNITS.iter().find(|(names, _)| names.iter().any(same)).map(|(_, seconds)| *seconds)
}

/// Blanks between two digits are a sum.
fn join_groups(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let blanks = rest.len() - rest.trim_start().len();
        let after = rest.get(blanks.max(c.len_utf8())..).unwrap_or("");
        let between_digits = out.ends_with(|c: char| c.is_ascii_digit())
            && after.starts_with(|c: char| c.is_ascii_digit());
        if blanks > 0 && between_digits {
            out.push('+');
        } else if blanks > 0 {
            out.push_str(rest.get(..blanks).unwrap_or(""));
        } else {
            out.push(c);
        }
        rest = after;
    }
    out
}

/// Seconds as the log shows them: at most three units, the smallest one rounded.
///
/// The year of this rendering has 365 days, unlike the year of [`parse`]; scripts read it so.
pub fn render(seconds: Number) -> String {
    const HOUR: f64 = 3600.0;
    const DAY: f64 = 86_400.0;
    const WEEK: f64 = 604_800.0;
    const YEAR: f64 = 31_536_000.0;
    let s = seconds.as_f64();
    if s == 0.0 || !s.is_finite() {
        return "0".into();
    }
    // The whole number of the smallest unit shown, and the sizes of the units above it.
    let (count, units): (f64, &[(i64, &str)]) = if s < 60.0 {
        return format!("{seconds}s");
    } else if s < HOUR - 5.0 {
        return minutes(seconds);
    } else if s < DAY {
        (((s / 10.0).round_ties_even() * 10.0 / 60.0).floor(), &[(60, "h"), (1, "m")])
    } else if s < WEEK {
        ((s / 60.0).round_ties_even(), &[(1440, "d"), (60, "h"), (1, "m")])
    } else if s < YEAR {
        ((s / HOUR).round_ties_even(), &[(168, "w"), (24, "d"), (1, "h")])
    } else {
        ((s / DAY).round_ties_even(), &[(365, "y"), (7, "w"), (1, "d")])
    };
    let mut left = count as i64;
    let mut groups = Vec::new();
    for (size, name) in units {
        let n = left.checked_div(*size).unwrap_or(0);
        left -= n * size;
        if n > 0 {
            groups.push(format!("{n}{name}"));
        }
    }
    groups.join(" ")
}

/// Below an hour a fraction is kept, and then both groups print as floats.
fn minutes(seconds: Number) -> String {
    match seconds {
        Number::Int(s) if s % 60 == 0 => format!("{}m", s / 60),
        Number::Int(s) => format!("{}m {}s", s / 60, s % 60),
        Number::Float(s) => {
            let (m, rest) = ((s / 60.0).floor(), s % 60.0);
            let m = repr_float(m);
            if rest == 0.0 { format!("{m}m") } else { format!("{m}m {}s", repr_float(rest)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> String {
        parse(text).map_or_else(|e| format!("! {}", e.reason), |n| n.to_string())
    }

    #[test]
    fn written_durations() {
        for (text, expected) in [
            ("1h", "3600"),
            ("-1", "-1"),
            ("1mo", "2629800.0"),
            ("1h*2", "7200"),
            ("1d12h", "129600"),
            ("1d 12h", "129600"),
            ("1y-6mo", "15778800.0"),
            ("1.5h", "5400.0"),
            ("1h 30m 10", "5410"),
            ("7D", "604800"),
            ("1 d", "86400"),
            ("1 mon2w", "3839400.0"),
            ("(1h+2m)*2", "7440"),
            ("1h/7", "514.2857142857143"),
            ("10 20", "30"),
            ("1 2 3", "6"),
            ("1h\t2m", "3720"),
            ("5 mi", "300"),
            ("5seconds", "5"),
            ("2wee", "1209600"),
            ("3ho", "10800"),
            ("1 d h", "311040000"),
            ("max(1h,2h)", "7200"),
            ("int(1.5h)", "5400"),
            ("1h if 1 else 2", "3600"),
            ("1h # one", "3600"),
            ("1d12", "86412"),
            ("", "! invalid syntax"),
            ("1h+", "! invalid syntax"),
            ("5secs", "! invalid syntax"),
            ("1e3", "! invalid syntax"),
            ("1h .5h", "! invalid syntax"),
            ("60 ;5", "! invalid syntax"),
            ("1h\n30m", "5400"),
            ("1\nh", "! invalid syntax"),
            ("1h # one\n + 1", "! invalid syntax"),
            ("(1h\n+ 1)", "3601"),
            ("\\\n5m", "300"),
            ("-1_e3", "! invalid syntax"),
            ("1_000", "1000"),
            ("1._5", "! invalid syntax"),
            ("h", "! name 'h' is not defined"),
            ("abc", "! name 'abc' is not defined"),
            ("1/0", "! division by zero"),
            ("\u{663}h", "! invalid syntax"),
        ] {
            assert_eq!(seconds(text), expected, "{text:?}");
        }
    }

    #[test]
    fn rendered_durations() {
        for (s, expected) in [
            (0, "0"),
            (1, "1s"),
            (-1, "-1s"),
            (60, "1m"),
            (61, "1m 1s"),
            (3594, "59m 54s"),
            (3595, "1h"),
            (3654, "1h"),
            (3655, "1h 1m"),
            (86_371, "23h 59m"),
            (86_395, "24h"),
            (86_430, "1d"),
            (86_431, "1d 1m"),
            (89_970, "1d 1h"),
            (198_900, "2d 7h 15m"),
            (604_770, "7d"),
            (606_600, "1w"),
            (606_601, "1w 1h"),
            (709_200, "1w 1d 5h"),
            (31_534_200, "52w 1d"),
            (31_579_200, "1y 1d"),
            (32_425_200, "1y 1w 3d"),
            (1_000_000_000, "31y 37w"),
        ] {
            assert_eq!(render(Number::Int(s)), expected, "{s}");
        }
        for (s, expected) in [
            (0.4, "0.4s"),
            (60.25, "1.0m 0.25s"),
            (119.4, "1.0m 59.400000000000006s"),
            (3599.6, "1h"),
            (18_059.7, "5h 1m"),
            (86_399.9, "24h"),
        ] {
            assert_eq!(render(Number::Float(s)), expected, "{s}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,40}", s in proptest::num::i64::ANY, x in proptest::num::f64::ANY) {
            let _ = parse(&text);
            let _ = render(Number::Int(s));
            let _ = render(Number::Float(x));
        }
    }
}
