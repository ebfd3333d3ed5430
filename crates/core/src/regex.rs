//! Python's `re`, behind one narrow interface.
//!
//! Everything else in the core sees only [`Regex`] and [`Captures`]; which engine runs underneath is
//! this module's secret. Patterns are untrusted configuration, texts are untrusted log lines: a
//! pattern that needs too many steps ends in [`MatchError`], never in a hang.

use std::ops::Range;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Regex {
    inner: fancy_regex::Regex,
}

/// Compile-time flags of Python's `re`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `re.IGNORECASE`
    pub ignore_case: bool,
    /// `re.MULTILINE`
    pub multi_line: bool,
}

/// A pattern that Python's `re` would not compile, or that we cannot.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct RegexError {
    /// What is wrong, in the words of the engine.
    pub message: String,
}

/// The match took more steps than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pattern needs too many steps on this line")]
pub struct MatchError;

/// The groups of one match. Offsets are bytes of the searched text.
#[derive(Clone, Debug, Default)]
pub struct Captures {
    groups: Vec<Option<Range<usize>>>,
}

impl Captures {
    /// The span of group `i`; 0 is the whole match.
    pub fn get(&self, i: usize) -> Option<Range<usize>> {
        self.groups.get(i).cloned().flatten()
    }
}

impl Regex {
    /// Compiles a pattern in Python's dialect.
    pub fn new(pattern: &str, flags: Flags) -> Result<Regex, RegexError> {
        let mut builder = fancy_regex::RegexBuilder::new(pattern);
        builder.case_insensitive(flags.ignore_case).multi_line(flags.multi_line);
        let inner = builder.build().map_err(|e| RegexError { message: e.to_string() })?;
        Ok(Regex { inner })
    }

    /// Finds the leftmost match at or after byte `start`.
    pub fn search(&self, text: &str, start: usize) -> Result<Option<Captures>, MatchError> {
        let found = self.inner.captures_from_pos(text, start).map_err(|_| MatchError)?;
        Ok(found
            .map(|caps| Captures { groups: caps.iter().map(|g| g.map(|m| m.range())).collect() }))
    }

    /// Names of the groups, by group number (0 is the whole match and has none).
    pub fn group_names(&self) -> Vec<Option<&str>> {
        self.inner.capture_names().collect()
    }
}
