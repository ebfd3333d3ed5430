//! The regex layer against its judges: Python's own `re`, and fail2ban's installed filters.
//!
//! `SEKISHO_REGEX_PAIRS` says how many generated pairs of pattern and text are compared, `SEKISHO_SEED`
//! with which seed the generators begin.

// A test may start Python; the core may not.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]
#![allow(clippy::indexing_slicing, clippy::panic)]

mod characters;
mod differential;
mod generate;
mod ip6;
mod literals;
mod python;
mod stock;
mod table;
mod tagged;

use sekisho_core::regex::{Captures, Regex};
use sekisho_oracle::{Random, cases};

/// How many pairs a generator makes.
fn pairs() -> usize {
    cases("SEKISHO_REGEX_PAIRS", 20_000)
}

/// Where generators begin.
fn seed() -> u64 {
    cases("SEKISHO_SEED", 7) as u64
}

fn spans(captures: &Captures) -> Vec<Option<(usize, usize)>> {
    captures.iter().map(|span| span.map(|s| (s.start, s.end))).collect()
}

/// A matched text must contain the literals, also when a date is put back into it.
fn check_literals(regex: &Regex, text: &str, rng: &mut Random) -> usize {
    // The documented gap of literals that ignore case.
    if text.contains(['\u{212a}', 'ſ', 'İ', 'ı']) {
        return 0;
    }
    let mut checked = 0;
    if let Some(set) = regex.required_literals() {
        assert!(set.any_in(text.as_bytes()), "{set:?} is not in {text:?}: {regex:?}");
        checked += 1;
    }
    if let Some(set) = regex.required_literals_uncuttable() {
        let joint = |&at: &usize| {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            text.is_char_boundary(at)
                && !text[..at].chars().next_back().is_some_and(word)
                && !text[at..].chars().next().is_some_and(word)
        };
        let joints: Vec<usize> = (0..=text.len()).filter(joint).collect();
        if !joints.is_empty() {
            let at = joints[rng.below(joints.len())];
            let line = format!("{}2026-11-23 10:00:00{}", &text[..at], &text[at..]);
            assert!(set.any_in(line.as_bytes()), "{set:?} is not in {line:?}: {regex:?}");
            checked += 1;
        }
        assert!(set.any_in(text.as_bytes()), "{set:?} is not in {text:?}: {regex:?}");
    }
    checked
}
