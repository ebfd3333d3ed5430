//! Python's `re`, behind one narrow interface.
//!
//! Everything else in the core sees only [`Regex`] and its companions; which engine runs underneath
//! is this module's secret. Patterns are untrusted configuration, texts are untrusted log lines: a
//! pattern that needs too many steps ends in [`MatchError`], never in a hang.
//!
//! The way of a pattern: `tags` replaces `<HOST>` and its kin, `parse` makes a tree, `simplify`
//! drops what has no effect, `print` writes it for fancy-regex, `literal` finds what every matching line must contain.

mod ast;
mod chars;
mod literal;
mod parse;
mod print;
mod simplify;
pub mod tags;

pub use ast::{Assertion, Case, Class, Greed, Node, Pattern, Set, SetItem};
pub use literal::{Literal, LiteralSet};

use literal::Cut;
use print::Alphabet;
use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

/// Backtracking steps allowed for one search. Patterns that the linear engine below can run need
/// none of them.
const STEP_LIMIT: usize = 1_000_000;

/// Bytes one automaton of the engine below may take.
const SIZE_LIMIT: usize = 64 << 20;

/// A compiled pattern. Cheap to clone; clones share the programs and what they learn while they run.
///
/// It is `Send` but not `Sync`: it builds its Unicode half on first use, and every filter belongs to
/// one thread.
#[derive(Clone)]
pub struct Regex {
    pattern: Arc<Pattern>,
    ascii: Arc<Program>,
    unicode: OnceCell<Option<Arc<Program>>>,
    /// `\B` means something of its own in an empty text, which only the Unicode program knows.
    not_boundary: bool,
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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RegexError {
    /// What is wrong, in Python's words.
    pub message: String,
}

/// The match took more steps than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pattern needs too many steps on this line")]
pub struct MatchError;

/// The groups of one match. Offsets are bytes of the searched text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captures {
    groups: Vec<Option<Range<usize>>>,
}

impl Captures {
    /// The span of group `i`; 0 is the whole match.
    pub fn get(&self, i: usize) -> Option<Range<usize>> {
        self.groups.get(i).cloned().flatten()
    }

    /// The number of groups, the whole match included.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Never true for captures that a search returned.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The spans, by group number.
    pub fn iter(&self) -> impl Iterator<Item = Option<Range<usize>>> + '_ {
        self.groups.iter().cloned()
    }
}

impl Regex {
    /// Compiles a pattern in Python's dialect.
    pub fn new(pattern: &str, flags: Flags) -> Result<Regex, RegexError> {
        let mut pattern = parse::parse(pattern, flags)?;
        pattern.root = simplify::simplify(&pattern.root);
        let not_boundary =
            pattern.root.any(&mut |n| matches!(n, Node::Assert(Assertion::NotWordBoundary { .. })));
        let ascii = Arc::new(Program::new(&pattern, Alphabet::Ascii)?);
        Ok(Regex { pattern: Arc::new(pattern), ascii, unicode: OnceCell::new(), not_boundary })
    }

    /// Finds the leftmost match at or after byte `start`. As in Python, `^` and lookbehinds see the
    /// text before `start`.
    pub fn search(&self, text: &str, start: usize) -> Result<Option<Captures>, MatchError> {
        if text.is_ascii() && !(text.is_empty() && self.not_boundary) {
            return self.ascii.search(text, start);
        }
        // Building it can only fail for its size. Then the line is one that we cannot judge.
        self.unicode().ok_or(MatchError)?.search(text, start)
    }

    fn unicode(&self) -> Option<&Program> {
        let build = || Program::new(&self.pattern, Alphabet::Unicode).ok().map(Arc::new);
        self.unicode.get_or_init(build).as_deref()
    }

    /// Whether there is a match anywhere; cheaper than finding its groups.
    pub fn is_match(&self, text: &str) -> Result<bool, MatchError> {
        if text.is_ascii() && !(text.is_empty() && self.not_boundary) {
            return self.ascii.engine.is_match(text).map_err(|_| MatchError);
        }
        Ok(self.search(text, 0)?.is_some())
    }

    /// Whether the programs for ASCII and for any text find the same in an ASCII text, as they must;
    /// a search that was given up tells nothing. For tests.
    pub fn programs_agree(&self, text: &str, start: usize) -> bool {
        let unicode = self.unicode().filter(|_| text.is_ascii() && !text.is_empty());
        let Some(unicode) = unicode else { return true };
        match (self.ascii.search(text, start), unicode.search(text, start)) {
            (Ok(one), Ok(other)) => one == other,
            (Err(_), _) | (_, Err(_)) => true,
        }
    }

    /// Names of the groups, by group number (0 is the whole match and has none).
    pub fn group_names(&self) -> Vec<Option<&str>> {
        self.pattern.names.iter().map(Option::as_deref).collect()
    }

    /// The number of a named group.
    pub fn group_index(&self, name: &str) -> Option<usize> {
        self.pattern.names.iter().position(|n| n.as_deref() == Some(name))
    }

    /// The span of a named group in a match of this pattern.
    pub fn group(&self, captures: &Captures, name: &str) -> Option<Range<usize>> {
        captures.get(self.group_index(name)?)
    }

    /// The named groups that took part in a match of this pattern, with their text.
    pub fn named<'a>(
        &'a self,
        captures: &'a Captures,
        text: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        let names = self.pattern.names.iter().zip(captures.iter());
        names.filter_map(move |(name, span)| Some((name.as_deref()?, text.get(span?)?)))
    }

    /// What every text in which this pattern is found must contain, if anything useful.
    pub fn required_literals(&self) -> Option<LiteralSet> {
        literal::required(&self.pattern, Cut::Never)
    }

    /// The same for the log line from which the searched text was made by cutting out a date that
    /// begins and ends at word boundaries, as those of all default templates do (TAI64N's `@` is
    /// one if no word touches it).
    pub fn required_literals_uncuttable(&self) -> Option<LiteralSet> {
        literal::required(&self.pattern, Cut::BetweenNonWords)
    }

    /// The number of groups, the whole match included.
    pub fn group_count(&self) -> usize {
        self.pattern.names.len()
    }

    /// The syntax tree, without what has no effect.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }
}

impl std::fmt::Debug for Regex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Regex")
            .field("program", &self.ascii.engine.as_str())
            .field("names", &self.pattern.names)
            .finish()
    }
}

/// A pattern compiled for one alphabet.
#[derive(Clone, Debug)]
struct Program {
    engine: fancy_regex::Regex,
    groups: Vec<usize>,
    ends: Vec<(usize, Vec<usize>)>,
}

impl Program {
    fn new(pattern: &Pattern, alphabet: Alphabet) -> Result<Program, RegexError> {
        let printed = print::print(pattern, alphabet);
        let engine = fancy_regex::RegexBuilder::new(&printed.text)
            .backtrack_limit(STEP_LIMIT)
            .delegate_size_limit(SIZE_LIMIT)
            .build()
            .map_err(|error| RegexError { message: error.to_string() })?;
        Ok(Program { engine, groups: printed.groups, ends: printed.ends })
    }

    fn search(&self, text: &str, start: usize) -> Result<Option<Captures>, MatchError> {
        if !text.is_char_boundary(start) {
            return Ok(None);
        }
        let found = self.engine.captures_from_pos(text, start).map_err(|_| MatchError)?;
        let Some(found) = found else { return Ok(None) };
        let span = |&group: &usize| {
            if group == print::NEVER { None } else { found.get(group).map(|m| m.range()) }
        };
        let mut groups: Vec<_> = self.groups.iter().map(span).collect();
        for (end, inside) in &self.ends {
            let Some(end) = found.get(*end) else { continue };
            for &group in inside {
                if let Some(Some(span)) = groups.get_mut(group) {
                    span.end = end.start();
                }
            }
        }
        Ok(Some(Captures { groups }))
    }
}
