//! What a line must hold for a built-in template to match at all.
//!
//! Lines without a date would otherwise be searched by all 31 regular expressions, and lines whose
//! date moves about by most of them. One pass over the bytes rules out nearly all. It may only err
//! in one direction: a fact that is missing means that the template cannot match. Bytes beyond ASCII
//! may belong to a digit or a letter of any script, so they count as whatever is asked for.

use std::cell::OnceCell;
use std::ops::BitOr;

/// A set of facts about a line, or of facts that a template needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts(u16);

impl Facts {
    /// Nothing.
    pub const NONE: Facts = Facts(0);
    /// Digits, colon, one or two digits, colon, digit: a time of day.
    pub const CLOCK: Facts = Facts(1);
    /// Four digits, one of `-/.`, a digit: a year first.
    pub const YEAR_FIRST: Facts = Facts(1 << 1);
    /// Digit, `-` or `/`, one or two digits, the same again, digit: a year last.
    pub const YEAR_LAST: Facts = Facts(1 << 2);
    /// The short name of a month and a blank.
    pub const MONTH_BLANK: Facts = Facts(1 << 3);
    /// The short name of a month and `-` or `/`.
    pub const MONTH_DASH: Facts = Facts(1 << 4);
    /// Six digits in a row.
    pub const SIX_DIGITS: Facts = Facts(1 << 5);
    /// Eight digits in a row.
    pub const EIGHT_DIGITS: Facts = Facts(1 << 6);
    /// Ten digits in a row.
    pub const TEN_DIGITS: Facts = Facts(1 << 7);
    /// An `@`.
    pub const AT: Facts = Facts(1 << 8);

    /// Both sets together.
    pub const fn and(self, other: Facts) -> Facts {
        Facts(self.0 | other.0)
    }

    /// Whether all of `needs` are here.
    pub(super) fn have(self, needs: Facts) -> bool {
        self.0 & needs.0 == needs.0
    }

    /// The facts of a text.
    fn of(text: &[u8]) -> Facts {
        let mut facts = Facts::NONE;
        let mut run = 0;
        for (at, &b) in text.iter().enumerate() {
            if maybe_digit(b) {
                run += 1;
                match run {
                    6 => facts = facts | Facts::SIX_DIGITS,
                    8 => facts = facts | Facts::EIGHT_DIGITS,
                    10 => facts = facts | Facts::TEN_DIGITS,
                    _ => {}
                }
                continue;
            }
            match b {
                b':' if run > 0 && between(text, at, b':') => facts = facts | Facts::CLOCK,
                b'-' | b'/' | b'.' => {
                    if run >= 4 && text.get(at + 1).is_some_and(|b| maybe_digit(*b)) {
                        facts = facts | Facts::YEAR_FIRST;
                    }
                    if run > 0 && b != b'.' && between(text, at, b) {
                        facts = facts | Facts::YEAR_LAST;
                    }
                    if run == 0 && b != b'.' && ends_in_month(text, at) {
                        facts = facts | Facts::MONTH_DASH;
                    }
                }
                b' ' if ends_in_month(text, at) => facts = facts | Facts::MONTH_BLANK,
                b'@' => facts = facts | Facts::AT,
                _ => {}
            }
            run = 0;
        }
        facts
    }
}

impl BitOr for Facts {
    type Output = Facts;
    fn bitor(self, other: Facts) -> Facts {
        self.and(other)
    }
}

fn maybe_digit(b: u8) -> bool {
    b.is_ascii_digit() || !b.is_ascii()
}

/// Whether one or two digits (a blank may stand for the first), `mark` and a digit follow `at`.
fn between(text: &[u8], at: usize, mark: u8) -> bool {
    let ahead = text.get(at + 1..).unwrap_or_default();
    let ahead = ahead.get(..4).unwrap_or(ahead);
    match *ahead {
        _ if !ahead.is_ascii() => true,
        [one, second, digit, ..] if second == mark => maybe_digit(one) && maybe_digit(digit),
        [one, two, second, digit] if second == mark => {
            (maybe_digit(one) || one == b' ') && maybe_digit(two) && maybe_digit(digit)
        }
        _ => false,
    }
}

/// Whether the three bytes before `at` are the short name of a month.
fn ends_in_month(text: &[u8], at: usize) -> bool {
    let Some(name) = at.checked_sub(3).and_then(|start| text.get(start..at)) else { return false };
    let [a, b, c] = *name else { return false };
    // A long s is an s where case is ignored; its last byte is not ASCII.
    let first = if a.is_ascii() { a.to_ascii_lowercase() } else { b's' };
    matches!(
        &[first, b.to_ascii_lowercase(), c.to_ascii_lowercase()],
        b"jan"
            | b"feb"
            | b"mar"
            | b"apr"
            | b"may"
            | b"jun"
            | b"jul"
            | b"aug"
            | b"sep"
            | b"oct"
            | b"nov"
            | b"dec"
    )
}

/// A line with its facts, found when they are first asked for.
pub(super) struct Line<'l> {
    pub text: &'l str,
    all: OnceCell<Facts>,
    head: OnceCell<Facts>,
}

/// In a line of ASCII a date at the start, up to its seconds, ends within this many bytes.
const HEAD: usize = 64;

impl<'l> Line<'l> {
    pub(super) fn new(text: &'l str) -> Self {
        Self { text, all: OnceCell::new(), head: OnceCell::new() }
    }

    /// The facts of the line.
    pub(super) fn facts(&self) -> Facts {
        *self.all.get_or_init(|| Facts::of(self.text.as_bytes()))
    }

    /// The facts of that part of the line in which a date at its start must lie.
    pub(super) fn facts_of_head(&self) -> Facts {
        *self.head.get_or_init(|| match self.text.as_bytes().get(..HEAD) {
            Some(head) if head.is_ascii() => Facts::of(head),
            _ => self.facts(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::date::fast::tests::line;
    use crate::date::spec::{DateOptions, DateSpec, Years};
    use crate::time::Timestamp;
    use proptest::prelude::*;

    #[test]
    fn no_template_matches_without_what_it_needs() {
        let options = DateOptions {
            now: Timestamp::from_secs(crate::date::table::EXAMPLE_NOW),
            years: Years::Since1900,
        };
        let spec = DateSpec::defaults(&options).unwrap();
        proptest!(ProptestConfig::with_cases(1000), |(text in line())| {
            let line = Line::new(&text);
            for template in spec.templates().iter().filter(|t| !t.may_match(&line)) {
                let found = template.search_slowly(&text, 0, text.len());
                prop_assert_eq!(found, None, "{} in {:?}", template.name(), text);
            }
        });
    }

    #[test]
    fn facts_of_lines() {
        let check = |text: &str, expected: Facts| assert_eq!(Facts::of(text.as_bytes()), expected);
        check("at org.example.Foo(Foo.java:12) 1.2.3.4:80", Facts::NONE);
        check("Nov 23 02:07:00 host", Facts::CLOCK | Facts::MONTH_BLANK);
        check("2026-11-23T2:07:00", Facts::CLOCK | Facts::YEAR_FIRST | Facts::YEAR_LAST);
        check("23/Nov/2026:02:07:00", Facts::CLOCK | Facts::MONTH_DASH);
        check("11/ 3/2026", Facts::YEAR_LAST);
        check("a@b 123456", Facts::AT | Facts::SIX_DIGITS);
        let long = Facts::SIX_DIGITS | Facts::EIGHT_DIGITS | Facts::TEN_DIGITS;
        check("1795399620", long);
        check("\u{17f}ep 1", Facts::MONTH_BLANK);
    }
}
