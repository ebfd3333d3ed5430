//! Which characters a set means: categories and letter case as Python sees them.
//!
//! Python compares letters by simple lower-casing plus a short list of lower-case letters that share
//! an upper-case one (`s` and `ſ`, `σ` and `ς`). The `(?i)` of Rust's engines folds differently
//! (`İ` is an `i` for Python, not for them), so sets are written out in full and flags never used.
//! Tables come from this program's Unicode version; Python 3.11 has Unicode 14, so letters added
//! since may differ.

use super::ast::{Case, Class, Set, SetItem};
use std::fmt::Write;

/// Above this there are no letters with case.
const LAST_CASED: u32 = 0x1_ffff;

/// The ASCII characters of a set as a bit mask.
pub fn ascii_mask(set: &Set) -> u128 {
    let mut mask = 0;
    for item in &set.items {
        mask |= match *item {
            SetItem::Range(low, high) => ascii_range(low, high, set.case),
            SetItem::Class { class, negated, ascii } => {
                let mask = ascii_class(class, ascii);
                if negated { !mask } else { mask }
            }
        };
    }
    if set.negated { !mask } else { mask }
}

fn bits(low: u32, high: u32) -> u128 {
    (low..=high.min(127)).fold(0, |mask, c| mask | 1 << c)
}

fn ascii_class(class: Class, ascii: bool) -> u128 {
    match class {
        Class::Digit => bits(0x30, 0x39),
        Class::Space if ascii => bits(9, 13) | bits(0x20, 0x20),
        Class::Space => bits(9, 13) | bits(0x1c, 0x20),
        Class::Word => bits(0x30, 0x39) | bits(0x41, 0x5a) | bits(0x5f, 0x5f) | bits(0x61, 0x7a),
    }
}

fn ascii_range(low: u32, high: u32, case: Case) -> u128 {
    let mut mask = bits(low, high);
    if case != Case::Sensitive {
        let upper = mask & bits(0x41, 0x5a);
        let lower = mask & bits(0x61, 0x7a);
        mask |= upper << 32 | lower >> 32;
    }
    if case == Case::Unicode {
        // Characters beyond ASCII that are alike to an ASCII letter.
        for (c, letter) in [(0x130, 'i'), (0x131, 'i'), (0x17f, 's'), (0x212a, 'k')] {
            if low <= c && c <= high {
                let letter = u32::from(letter);
                mask |= bits(letter, letter) | bits(letter - 32, letter - 32);
            }
        }
    }
    mask
}

/// Writes an ASCII set as a class of byte ranges.
pub fn write_ascii(mask: u128, out: &mut String) {
    if mask == 0 {
        out.push_str(NOTHING);
        return;
    }
    out.push('[');
    let mut c = 0;
    while c < 128 {
        if mask >> c & 1 == 0 {
            c += 1;
            continue;
        }
        let low = c;
        while c < 128 && mask >> c & 1 == 1 {
            c += 1;
        }
        write_range(low, c - 1, out);
    }
    out.push(']');
}

/// A class without members.
pub const NOTHING: &str = r"[^\x{0}-\x{10ffff}]";

/// The word characters of `\w` and `\b`, as members of a class.
pub fn word(ascii: bool) -> &'static str {
    if ascii { "0-9A-Za-z_" } else { r"\p{L}\p{N}_" }
}

fn write_range(low: u32, high: u32, out: &mut String) {
    // Surrogates cannot be written, nor matched.
    for (low, high) in [(low, high.min(0xd7ff)), (low.max(0xe000), high)] {
        if low == high {
            let _ = write!(out, r"\x{{{low:x}}}");
        } else if low < high {
            let _ = write!(out, r"\x{{{low:x}}}-\x{{{high:x}}}");
        }
    }
}

/// Writes a set over all of Unicode as a class. `cases` is built on first use.
pub fn write_unicode(set: &Set, cases: &mut Option<CaseTable>, out: &mut String) {
    let start = out.len();
    out.push_str(if set.negated { "[^" } else { "[" });
    let inside = out.len();
    for item in &set.items {
        match *item {
            SetItem::Range(low, high) if set.case == Case::Sensitive => {
                write_range(low, high, out);
            }
            SetItem::Range(low, high) => {
                let table = cases.get_or_insert_with(CaseTable::new);
                for (low, high) in table.alike(low, high, set.case) {
                    write_range(low, high, out);
                }
            }
            SetItem::Class { class, negated, ascii } => {
                let members = match (class, ascii) {
                    (Class::Digit, false) => r"\p{Nd}",
                    (Class::Digit, true) => "0-9",
                    (Class::Space, false) => r"\s\x{1c}-\x{1f}",
                    (Class::Space, true) => r"\x{9}-\x{d}\x{20}",
                    (Class::Word, ascii) => word(ascii),
                };
                let _ =
                    if negated { write!(out, "[^{members}]") } else { write!(out, "{members}") };
            }
        }
    }
    if out.len() > inside {
        out.push(']');
        return;
    }
    out.truncate(start);
    out.push_str(if set.negated { r"[\x{0}-\x{10ffff}]" } else { NOTHING });
}

/// What Python knows about letter case.
pub struct CaseTable {
    /// Characters whose simple lower case is another character, with it.
    lower: Vec<(u32, u32)>,
    /// Pairs of different lower-case characters with the same upper case.
    twins: Vec<(u32, u32)>,
}

impl CaseTable {
    /// Collects the pairs from the standard library's tables (about a millisecond).
    pub fn new() -> CaseTable {
        let mut lower = Vec::new();
        let mut by_upper: Vec<(String, u32)> = Vec::new();
        for c in (0..=LAST_CASED).filter_map(char::from_u32) {
            let low = simple_lower(c);
            if low != c {
                lower.push((u32::from(c), u32::from(low)));
                continue;
            }
            let mut upper = c.to_uppercase();
            if upper.next() != Some(c) || upper.next().is_some() {
                by_upper.push((c.to_uppercase().collect(), u32::from(c)));
            }
        }
        by_upper.sort();
        let mut twins = Vec::new();
        for group in by_upper.chunk_by(|a, b| a.0 == b.0) {
            for (_, a) in group {
                let others = group.iter().filter(|(_, b)| a != b);
                twins.extend(others.map(|(_, b)| (*a, *b)));
            }
        }
        CaseTable { lower, twins }
    }

    /// All ranges of characters that a range stands for under IGNORECASE.
    fn alike(&self, low: u32, high: u32, case: Case) -> Vec<(u32, u32)> {
        let inside = |c: u32| low <= c && c <= high;
        let last = if case == Case::Ascii { 0x7f } else { u32::MAX };
        let mut more: Vec<u32> = Vec::new();
        let lowered = self.lower.iter().filter(|(upper, _)| *upper <= last && inside(*upper));
        more.extend(lowered.map(|(_, lower)| *lower));
        if case == Case::Unicode {
            let twins = self.twins.iter().filter(|(a, _)| inside(*a) || more.contains(a));
            let twins: Vec<u32> = twins.map(|(_, b)| *b).collect();
            more.extend(twins);
        }
        let raised = self
            .lower
            .iter()
            .filter(|(upper, lower)| *upper <= last && (inside(*lower) || more.contains(lower)));
        let raised: Vec<u32> = raised.map(|(upper, _)| *upper).collect();
        more.extend(raised);
        let mut ranges = vec![(low, high)];
        ranges.extend(more.into_iter().filter(|&c| !inside(c)).map(|c| (c, c)));
        ranges
    }
}

/// The lower case of a character, one to one.
fn simple_lower(c: char) -> char {
    // Only `İ` has a longer one, of which Python's `re` uses the first character.
    c.to_lowercase().next().unwrap_or(c)
}
