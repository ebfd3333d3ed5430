//! Hand-written parsers for the date formats of most logs.
//!
//! A regular expression with captures costs about ten times as much as reading a date by hand, and
//! every line that could matter is dated. A parser here must give exactly the answer of the regular
//! expression or say that it is unsure; it never decides which template is tried. So the learned order
//! and all statistics stay the same, and a test compares both ways on arbitrary lines.

use super::fields::{Civil, Parsed};
use super::template::Found;
use std::ops::Range;

/// The formats that have a parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fast {
    /// `Nov 23 02:07:00` at the start of the line, also `Mon Nov 23 02:07:00.123 2026`.
    Syslog,
    /// `2026-11-23T02:07:00.123456+00:00`, also with `/` and a blank, at the start of the line.
    Iso,
    /// `23/Nov/2026:02:07:00 +0000` anywhere.
    Apache,
    /// `23-Nov-2026 02:07:00.123` at the start of the line.
    ApacheStart,
}

/// What a parser says.
#[derive(Debug)]
pub(super) enum Answer {
    /// The regular expression would match, just so.
    Match(Found),
    /// It would not match.
    NoMatch,
    /// Ask it.
    Unsure,
}

/// The parser for a pattern, if there is one.
pub(super) fn for_pattern(pattern: &str) -> Option<Fast> {
    Some(match pattern {
        r"{^LN-BEG}(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?" => Fast::Syslog,
        r"{^LN-BEG}%ExY(?P<_sep>[-/.])%m(?P=_sep)%d(?:T|  ?)%H:%M:%S(?:[.,]%f)?(?:\s*%z)?" => {
            Fast::Iso
        }
        r"%d(?P<_sep>[-/])%b(?P=_sep)%ExY[ :]?%H:%M:%S(?:\.%f)?(?: %z)?" => Fast::Apache,
        r"{^LN-BEG}%d(?P<_sep>[-/])%b(?P=_sep)%ExY[ :]?%H:%M:%S(?:\.%f)?(?: %z)?" => {
            Fast::ApacheStart
        }
        _ => return None,
    })
}

impl Fast {
    /// Searches `line[from..to]`.
    pub(super) fn search(self, line: &str, from: usize, to: usize, years: &str) -> Answer {
        let Some(text) = line.as_bytes().get(..to) else { return Answer::Unsure };
        let read = match self {
            _ if from > to => return Answer::NoMatch,
            Fast::Syslog | Fast::Iso | Fast::ApacheStart if from > 0 => return Answer::Unsure,
            Fast::Syslog => line_start(text).and_then(|at| syslog(Cursor { text, at }, years)),
            Fast::Iso => line_start(text).and_then(|at| iso(Cursor { text, at }, years)),
            Fast::ApacheStart => line_start(text).and_then(|at| apache(Cursor { text, at }, years)),
            Fast::Apache => return apache_anywhere(text, from, years),
        };
        match read {
            // The characters before the date belong to the match, not to group 1.
            Some((date, civil)) => found(0..date.end, date, civil),
            None => Answer::Unsure,
        }
    }
}

fn found(whole: Range<usize>, date: Range<usize>, civil: Civil) -> Answer {
    Answer::Match(Found { whole, date, parsed: Parsed::Civil(civil) })
}

/// Where the date begins: behind at most two characters that are no word characters.
///
/// `None` unless a word character stands there, because then the expression has other ways.
fn line_start(text: &[u8]) -> Option<usize> {
    let at = text.iter().take(2).take_while(|b| b.is_ascii() && !is_word(**b)).count();
    text.get(at).filter(|b| is_word(**b)).map(|_| at)
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// What `\s` matches in ASCII.
fn is_space(b: u8) -> bool {
    matches!(b, b'\t'..=b'\r' | 0x1c..=0x1f | b' ')
}

/// Reads forward. Every method either consumes what it names or returns `None`.
#[derive(Clone, Copy)]
struct Cursor<'t> {
    text: &'t [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = *self.text.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(array)
    }

    fn byte(&mut self, expected: u8) -> Option<()> {
        (self.peek()? == expected).then(|| self.at += 1)
    }

    /// Two ASCII digits.
    fn two(&mut self) -> Option<i32> {
        let [tens, ones] = self.array()?;
        (tens.is_ascii_digit() && ones.is_ascii_digit())
            .then(|| i32::from(tens - b'0') * 10 + i32::from(ones - b'0'))
    }

    /// A year that the expression `years` accepts.
    fn year(&mut self, years: &str) -> Option<i32> {
        let digits: [u8; 4] = self.array()?;
        let year = digits
            .iter()
            .try_fold(0, |year, b| b.is_ascii_digit().then(|| year * 10 + i32::from(b - b'0')))?;
        is_plausible(&digits, years).then_some(year)
    }

    fn month(&mut self) -> Option<i32> {
        let name: [u8; 3] = self.array()?;
        Some(match &name.map(|b| b.to_ascii_lowercase()) {
            b"jan" => 1,
            b"feb" => 2,
            b"mar" => 3,
            b"apr" => 4,
            b"may" => 5,
            b"jun" => 6,
            b"jul" => 7,
            b"aug" => 8,
            b"sep" => 9,
            b"oct" => 10,
            b"nov" => 11,
            b"dec" => 12,
            _ => return None,
        })
    }

    /// The short name of a weekday and a blank, if they stand here; 0 is Monday.
    fn weekday(&mut self) -> Option<i32> {
        let mut ahead = *self;
        let name: [u8; 4] = ahead.array()?;
        let weekday = match &name.map(|b| b.to_ascii_lowercase()) {
            b"mon " => 0,
            b"tue " => 1,
            b"wed " => 2,
            b"thu " => 3,
            b"fri " => 4,
            b"sat " => 5,
            b"sun " => 6,
            _ => return None,
        };
        *self = ahead;
        Some(weekday)
    }

    /// `02:07:00`, each of two digits; the hour may be up to `hours`.
    fn clock(&mut self, civil: &mut Civil, hours: i32) -> Option<()> {
        civil.hour = self.two().filter(|h| *h <= hours)?;
        self.byte(b':')?;
        civil.minute = self.two().filter(|m| *m <= 59)?;
        self.byte(b':')?;
        civil.second = self.two().filter(|s| *s <= 59)?;
        Some(())
    }

    /// An optional `.` and one to six digits. `None` where the expression would have to step back.
    fn fraction(&mut self, comma: bool) -> Option<()> {
        let mark = self.peek();
        if mark != Some(b'.') && !(comma && mark == Some(b',')) {
            return Some(());
        }
        let rest = self.text.get(self.at + 1..)?;
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        match (digits, rest.get(digits)) {
            (_, Some(next)) if !next.is_ascii() => None,
            (0, _) => Some(()),
            (1..=6, _) => {
                self.at += 1 + digits;
                Some(())
            }
            _ => None,
        }
    }

    /// An optional zone behind blanks: any number of them, or exactly one.
    fn zone(&mut self, civil: &mut Civil, any_blanks: bool) -> Option<()> {
        let mut ahead = *self;
        if any_blanks {
            while ahead.peek().is_some_and(is_space) {
                ahead.at += 1;
            }
        } else if ahead.byte(b' ').is_none() {
            return Some(());
        }
        match ahead.peek() {
            Some(sign @ (b'+' | b'-')) => {
                ahead.at += 1;
                let Some(hours) = ahead.two().filter(|h| *h <= 19) else {
                    return ahead.rest_is_ascii().then_some(());
                };
                let mut minutes = 0;
                let mut further = ahead;
                let colon = further.byte(b':').is_some();
                if colon && !further.rest_is_ascii() {
                    return None;
                }
                if let Some(two) = further.two() {
                    minutes = two;
                    ahead = further;
                } else if !colon && ahead.peek().is_some_and(is_word) {
                    return None;
                }
                let offset = hours * 60 + minutes;
                civil.offset = Some(if sign == b'-' { -offset } else { offset });
            }
            Some(b'Z' | b'U' | b'G' | b'u' | b'g' | b'z') => {
                let word = ahead.text.get(ahead.at..)?;
                let length = word.iter().take_while(|b| b.is_ascii_alphabetic()).count();
                match word.get(..length)? {
                    b"Z" | b"UTC" | b"GMT" => {
                        ahead.at += length;
                        civil.offset = Some(0);
                    }
                    // `z` and `utc` are zones where case is ignored, and then not understood.
                    [_] | [_, _, _] => return None,
                    _ => return ahead.rest_is_ascii().then_some(()),
                }
            }
            Some(other) if !other.is_ascii() => return None,
            _ => return Some(()),
        }
        ahead.at_boundary()?;
        *self = ahead;
        Some(())
    }

    /// Whether the next few bytes are ASCII, so that no exotic digit or letter can be among them.
    fn rest_is_ascii(&self) -> bool {
        let from = self.at.saturating_sub(2);
        let to = (self.at + 4).min(self.text.len());
        self.text.get(from..to).is_some_and(<[u8]>::is_ascii)
    }

    /// The end of the text or an ASCII character that is no word character.
    fn at_boundary(&self) -> Option<()> {
        self.peek().is_none_or(|b| b.is_ascii() && !is_word(b)).then_some(())
    }
}

/// Whether the expression for the first three digits accepts those of `year`.
fn is_plausible(year: &[u8; 4], years: &str) -> bool {
    let [a, b, c, _] = year;
    let prefixed = |choice: &str| match choice.as_bytes() {
        [x, y, b'[', decades @ .., b']'] => x == a && y == b && decades.contains(c),
        [x, y, z] => x == a && y == b && z == c,
        _ => false,
    };
    let inner = years.strip_prefix("(?:").and_then(|rest| rest.strip_suffix(')'));
    inner.unwrap_or(years).split('|').any(prefixed)
}

/// `(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?`
fn syslog(cursor: Cursor<'_>, years: &str) -> Option<(Range<usize>, Civil)> {
    let mut cursor = cursor;
    let start = cursor.at;
    let weekday = cursor.weekday();
    let mut civil = Civil { weekday, month: Some(cursor.month()?), ..Civil::default() };
    cursor.byte(b' ')?;
    // `Nov  3` and `Nov 23`; the blank of the first belongs to the day.
    civil.day = Some(match cursor.array()? {
        [b' ' | b'0', ones @ b'1'..=b'9'] => i32::from(ones - b'0'),
        [tens @ b'1'..=b'2', ones @ b'0'..=b'9'] | [tens @ b'3', ones @ b'0'..=b'1'] => {
            i32::from(tens - b'0') * 10 + i32::from(ones - b'0')
        }
        _ => return None,
    });
    cursor.byte(b' ')?;
    cursor.clock(&mut civil, 29)?;
    cursor.fraction(false)?;
    let mut ahead = cursor;
    if ahead.byte(b' ').is_some() {
        if !ahead.text.iter().skip(ahead.at).take(4).all(u8::is_ascii) {
            return None;
        }
        if let Some(year) = ahead.year(years) {
            if ahead.peek().is_some_and(|b| !b.is_ascii()) {
                return None;
            }
            if ahead.at_boundary().is_some() {
                civil.year = Some(year);
                cursor = ahead;
            }
        }
    }
    cursor.at_boundary()?;
    Some((start..cursor.at, civil))
}

/// `%ExY(?P<_sep>[-/.])%m(?P=_sep)%d(?:T|  ?)%H:%M:%S(?:[.,]%f)?(?:\s*%z)?`
fn iso(cursor: Cursor<'_>, years: &str) -> Option<(Range<usize>, Civil)> {
    let mut cursor = cursor;
    let start = cursor.at;
    let mut civil = Civil { year: Some(cursor.year(years)?), ..Civil::default() };
    let separator = cursor.peek().filter(|b| matches!(b, b'-' | b'/' | b'.'))?;
    cursor.byte(separator)?;
    civil.month = Some(cursor.two().filter(|m| (1..=12).contains(m))?);
    cursor.byte(separator)?;
    civil.day = Some(cursor.two().filter(|d| (1..=31).contains(d))?);
    cursor.byte(b'T').or_else(|| cursor.byte(b' '))?;
    cursor.clock(&mut civil, 23)?;
    cursor.fraction(true)?;
    cursor.zone(&mut civil, true)?;
    cursor.at_boundary()?;
    Some((start..cursor.at, civil))
}

/// `%d(?P<_sep>[-/])%b(?P=_sep)%ExY[ :]?%H:%M:%S(?:\.%f)?(?: %z)?`
fn apache(cursor: Cursor<'_>, years: &str) -> Option<(Range<usize>, Civil)> {
    let mut cursor = cursor;
    let start = cursor.at;
    let day = cursor.two().filter(|d| (1..=31).contains(d))?;
    let mut civil = Civil { day: Some(day), ..Civil::default() };
    let separator = cursor.peek().filter(|b| matches!(b, b'-' | b'/'))?;
    cursor.byte(separator)?;
    civil.month = Some(cursor.month()?);
    cursor.byte(separator)?;
    civil.year = Some(cursor.year(years)?);
    let _ = cursor.byte(b':').or_else(|| cursor.byte(b' '));
    cursor.clock(&mut civil, 23)?;
    cursor.fraction(false)?;
    cursor.zone(&mut civil, false)?;
    cursor.at_boundary()?;
    Some((start..cursor.at, civil))
}

/// The leftmost date of the Apache kind.
fn apache_anywhere(text: &[u8], from: usize, years: &str) -> Answer {
    let Some(window) = text.get(from..) else { return Answer::NoMatch };
    // The last date was here, mostly this one is too.
    let date_at = |start: usize| {
        let before = start.checked_sub(1).and_then(|at| text.get(at));
        if before.is_some_and(|b| is_word(*b) || !b.is_ascii()) {
            return None;
        }
        apache(Cursor { text, at: start }, years)
    };
    if let Some((date, civil)) = date_at(from) {
        return found(date.clone(), date, civil);
    }
    if !window.is_ascii() {
        return Answer::Unsure;
    }
    // Every such date has a month name between two equal separators.
    for (at, frame) in window.windows(5).enumerate() {
        let [first @ (b'-' | b'/'), _, _, _, second] = frame else { continue };
        if first != second || (Cursor { text: frame, at: 1 }).month().is_none() {
            continue;
        }
        let start = (from + at).checked_sub(2).filter(|start| *start >= from);
        return match start.and_then(date_at) {
            Some((date, civil)) => found(date.clone(), date, civil),
            None => Answer::Unsure,
        };
    }
    Answer::NoMatch
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::date::template::Template;
    use proptest::prelude::*;

    /// What lines are put together from: parts of dates, whole and broken ones, and their neighbours.
    const PIECES: &[&str] = &[
        "Nov 23 02:07:00",
        "nov  3 2:07:00",
        "DEC 31 29:59:59",
        "Mon ",
        "sun ",
        "Mar 00 02:07:00",
        "2026-11-23T02:07:00",
        "2026/11/23 02:07:00",
        "2026.1.3 2:7:0",
        "2026-11/23 02:07:00",
        "1999-11-23 02:07:00",
        "23/Nov/2026:02:07:00",
        "23-nov-2026 02:07:00",
        "3/Nov/2026 2:07:00",
        "31/Dec-2026:02:07:00",
        " 2026",
        " 2036",
        " +0200",
        "+02:00",
        "-1",
        "-11",
        "+1:30",
        "+02:\u{663}\u{660}",
        " Z",
        "Z",
        "UTC",
        "  GMT",
        "utc",
        "Zulu",
        ".123",
        ",123456",
        ".1234567",
        ".",
        ",",
        " ",
        "  ",
        "\t",
        "\u{a0}",
        "[",
        "]",
        "<13>",
        "-",
        "/",
        ":",
        "_",
        "x",
        "5",
        "\u{e9}",
        "\u{17f}",
        "\u{665}",
        "host sshd[1]: x",
        "1.2.3.4 - - [",
    ];

    pub(in crate::date) fn line() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            6 => prop::sample::select(PIECES).prop_map(str::to_owned),
            1 => any::<char>().prop_map(String::from),
            1 => "[ -~]{0,6}",
        ];
        prop::collection::vec(piece, 0..7).prop_map(|pieces| pieces.concat())
    }

    fn templates() -> Vec<Template> {
        let patterns = crate::date::table::TEMPLATES
            .iter()
            .flat_map(|row| [row.pattern.to_owned(), format!("{{^LN-BEG}}{}", row.pattern)]);
        let fast = patterns.filter(|pattern| for_pattern(pattern).is_some());
        let years = ["20[012]", "(?:19[0123456789]|20[012])"];
        fast.flat_map(|pattern| years.map(|y| Template::build(&pattern, y).unwrap())).collect()
    }

    fn same(template: &Template, line: &str, from: usize, to: usize) -> Result<(), TestCaseError> {
        let fast = template.search_part(line, from, to);
        let slow = template.search_slowly(line, from, to);
        prop_assert_eq!(fast, slow, "{} in {:?} {}..{}", template.name(), line, from, to);
        Ok(())
    }

    #[test]
    fn same_answer_as_the_expression() {
        let templates = templates();
        assert_eq!(templates.len(), 8, "every fast pattern is a built-in one");
        let config = ProptestConfig::with_cases(4000);
        let strategy = (line(), any::<prop::sample::Index>(), any::<prop::sample::Index>());
        proptest!(config, |((line, a, b) in strategy)| {
            let mut ends: Vec<usize> = line.char_indices().map(|(at, _)| at).collect();
            ends.push(line.len());
            let (a, b) = (*a.get(&ends), *b.get(&ends));
            for template in &templates {
                same(template, &line, 0, line.len())?;
                same(template, &line, a.min(b), a.max(b))?;
            }
        });
    }

    #[test]
    fn common_lines_take_the_short_way() {
        let check = |fast: Fast, line: &str, date: &str| match fast.search(
            line,
            0,
            line.len(),
            "20[012]",
        ) {
            Answer::Match(found) => assert_eq!(line.get(found.date), Some(date), "{line}"),
            other => panic!("{line}: {other:?}"),
        };
        check(Fast::Syslog, "Nov 23 02:07:00 host sshd[1]: x", "Nov 23 02:07:00");
        check(Fast::Syslog, "<Nov  3 02:07:00.25 2026 host", "Nov  3 02:07:00.25 2026");
        check(Fast::Syslog, "Nov 23 02:07:00 192-0-2-1 sshd", "Nov 23 02:07:00");
        let error = "[Mon Nov 23 02:07:00.123456 2026] [core:error] x";
        check(Fast::Syslog, error, "Mon Nov 23 02:07:00.123456 2026");
        let tomcat = "23-Nov-2026 02:07:00.123 WARNING x";
        check(Fast::ApacheStart, tomcat, "23-Nov-2026 02:07:00.123");
        check(Fast::Iso, "2026-11-23T02:07:00.5+00:00 host", "2026-11-23T02:07:00.5+00:00");
        check(Fast::Iso, "2026-11-23 02:07:00,123 fail2ban", "2026-11-23 02:07:00,123");
        check(Fast::Iso, "[2026-11-23T02:07:00Z] x", "2026-11-23T02:07:00Z");
        check(Fast::Iso, "2026/11/23 02:07:00 [error] 1#1", "2026/11/23 02:07:00");
        let access = "192.0.2.1 - - [23/Nov/2026:02:07:00 +0000] \"GET / HTTP/1.1\" 404 0";
        check(Fast::Apache, access, "23/Nov/2026:02:07:00 +0000");
        let line = "no date - in - here / at all";
        assert!(matches!(Fast::Apache.search(line, 0, line.len(), "20"), Answer::NoMatch));
    }
}
