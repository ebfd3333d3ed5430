//! One pass over a whole read buffer decides which lines are worth looking at.
//!
//! Nearly all lines are innocent. Every failregex has literals one of which any match must contain
//! ("authentication failed"); all literals of all filters of a source are searched at once, and
//! only lines with a hit are cut out, dated and matched. This must never lose a line that a filter
//! would match: where that cannot be promised (no literals, several lines per match, dates cut out
//! of the middle of words), the filter gets every line.
//!
//! The date is cut out of a line before matching, so a literal could be there only after the cut.
//! Dates begin and end at word boundaries: a literal across the cut would have two neighbouring
//! non-word characters, and such literals are not used.

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind, packed};

use crate::regex::LiteralSet;

use super::Filter;

/// Finds the lines worth looking at.
#[derive(Clone, Debug)]
pub struct Scanner {
    search: Search,
    /// Per filter: it gets every line.
    every: Vec<bool>,
}

#[derive(Clone, Debug)]
enum Search {
    /// No filter has literals.
    Nothing,
    /// Few literals: a vectorised search.
    Packed(packed::Searcher),
    /// Many, or in any case: an automaton.
    Automaton(Box<AhoCorasick>),
}

/// A line worth looking at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its bytes, without the newline.
    pub line: Range<usize>,
    /// A literal was found in it: all filters look at it. Otherwise only those that get every line.
    pub hit: bool,
}

impl Scanner {
    /// Prepares the scan for the filters of one source, in the order in which they will be asked.
    pub fn new(filters: &[&Filter]) -> Scanner {
        let mut literals: Vec<Vec<u8>> = Vec::new();
        let mut every = Vec::with_capacity(filters.len());
        let mut ignore_case = false;
        for filter in filters {
            match required(filter) {
                Some(Required { literals: mut found, ignore_case: fold }) => {
                    literals.append(&mut found);
                    ignore_case |= fold;
                    every.push(false);
                }
                None => every.push(true),
            }
        }
        literals.sort();
        literals.dedup();
        match build(&literals, ignore_case) {
            Some(search) => Scanner { search, every },
            // Too large for any automaton: look at everything.
            None => Scanner { search: Search::Nothing, every: vec![true; filters.len()] },
        }
    }

    /// Whether filter `index` gets every line.
    pub fn gets_every_line(&self, index: usize) -> bool {
        self.every.get(index).copied().unwrap_or(true)
    }

    /// The lines of `data` worth looking at, in order. A last line without newline counts.
    pub fn candidates<'a>(&'a self, data: &'a [u8]) -> Candidates<'a> {
        let all = self.every.is_empty() || self.every.contains(&true);
        Candidates { scanner: self, data, at: 0, all, next_hit: None, exhausted: false }
    }

    fn find(&self, data: &[u8], at: usize) -> Option<usize> {
        let rest = data.get(at..)?;
        let found = match &self.search {
            Search::Nothing => return None,
            Search::Packed(searcher) => searcher.find(rest)?.start(),
            Search::Automaton(automaton) => automaton.find(rest)?.start(),
        };
        found.checked_add(at)
    }
}

/// Iterates over the lines worth looking at.
#[derive(Debug)]
pub struct Candidates<'a> {
    scanner: &'a Scanner,
    data: &'a [u8],
    at: usize,
    all: bool,
    /// Where the next literal is, once known.
    next_hit: Option<usize>,
    /// No literal follows.
    exhausted: bool,
}

impl Iterator for Candidates<'_> {
    type Item = Candidate;

    fn next(&mut self) -> Option<Candidate> {
        if self.at >= self.data.len() {
            return None;
        }
        if !self.exhausted && self.next_hit.is_none_or(|hit| hit < self.at) {
            self.next_hit = self.scanner.find(self.data, self.at);
            self.exhausted = self.next_hit.is_none();
        }
        let start = if self.all {
            self.at
        } else {
            let head = self.data.get(self.at..self.next_hit?)?;
            let start = memchr::memrchr(b'\n', head).map_or(0, |n| n.saturating_add(1));
            self.at.saturating_add(start)
        };
        let end = memchr::memchr(b'\n', self.data.get(start..)?)
            .map_or(self.data.len(), |n| start.saturating_add(n));
        self.at = end.saturating_add(1);
        let hit = self.next_hit.is_some_and(|hit| hit < end);
        Some(Candidate { line: start..end, hit })
    }
}

/// How long the shortest literal of a set is: what decides how rare its hits are.
fn shortest(set: &LiteralSet) -> usize {
    set.literals.iter().map(|literal| literal.bytes.len()).min().unwrap_or(0)
}

struct Required {
    literals: Vec<Vec<u8>>,
    ignore_case: bool,
}

/// Literals one of which is in every line that the filter could match.
fn required(filter: &Filter) -> Option<Required> {
    let spec = filter.spec();
    if spec.maxlines > 1 || !spec.datepattern.as_deref().is_none_or(cuts_at_words) {
        return None;
    }
    let mut all = Required { literals: Vec::new(), ignore_case: false };
    let prefix = filter.prefregex().and_then(|p| p.regex().required_literals_uncuttable());
    for pattern in filter.failregex() {
        let own = pattern.regex().required_literals_uncuttable();
        let set = match (&own, &prefix) {
            (Some(own), Some(prefix)) if shortest(prefix) > shortest(own) => prefix,
            (Some(own), _) => own,
            (None, Some(prefix)) => prefix,
            (None, None) => return None,
        };
        for literal in &set.literals {
            // A replacement character may stand for bytes that are not in the log.
            let replaced = memchr::memmem::find(&literal.bytes, "\u{fffd}".as_bytes()).is_some();
            if literal.bytes.len() < 2 || literal.bytes.contains(&b'\n') || replaced {
                return None;
            }
            all.ignore_case |= literal.ignore_case;
            all.literals.push(literal.bytes.clone());
        }
    }
    Some(all)
}

fn build(literals: &[Vec<u8>], ignore_case: bool) -> Option<Search> {
    if literals.is_empty() {
        return Some(Search::Nothing);
    }
    if !ignore_case
        && literals.len() <= MAX_PACKED
        && let Some(searcher) = packed::Config::new().builder().extend(literals).build()
    {
        return Some(Search::Packed(searcher));
    }
    // The automatic choice takes the slower automaton for very many literals.
    AhoCorasick::builder()
        .ascii_case_insensitive(ignore_case)
        .match_kind(MatchKind::Standard)
        .kind(Some(AhoCorasickKind::DFA))
        .build(literals)
        .ok()
        .map(|automaton| Search::Automaton(Box::new(automaton)))
}

/// Literals beyond which a vectorised search is no longer the faster one.
const MAX_PACKED: usize = 64;

/// Whether dates of this pattern are cut out at word boundaries: no boundary switched off, and no
/// group of the user's own, whose span is cut out instead.
fn cuts_at_words(datepattern: &str) -> bool {
    !datepattern.contains("**")
        && !datepattern.contains("{UNB}")
        && !datepattern.contains("\\s")
        && !has_plain_group(datepattern)
}

fn has_plain_group(pattern: &str) -> bool {
    let mut previous = ' ';
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '(' && previous != '\\' && chars.peek() != Some(&'?') {
            return true;
        }
        // An escaped backslash escapes nothing.
        previous = if c == '\\' && previous == '\\' { ' ' } else { c };
    }
    false
}
