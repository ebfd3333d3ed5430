//! A quick no: most patterns cannot match most texts, because a word that any match contains is
//! not there. Looking for the word costs a fraction of running the pattern.
//!
//! It may say "perhaps" when the answer is no, never the other way round.

use aho_corasick::AhoCorasick;
use memchr::memmem::Finder;

use crate::regex::Regex;

/// What a text must contain before a pattern is tried.
#[derive(Clone, Debug)]
pub(super) struct Prefilter {
    search: Search,
    /// A line end is in it, which a part of a text is given even where the text has none.
    line_end: bool,
}

#[derive(Clone, Debug)]
enum Search {
    /// Nothing is known: always try.
    None,
    /// This text.
    One(Box<Finder<'static>>),
    /// One of several, or one in any case.
    Many {
        automaton: AhoCorasick,
        /// Letters beyond ASCII may stand for ASCII ones then (the Kelvin sign for a `k`).
        ascii_only: bool,
    },
}

impl Prefilter {
    /// From what the pattern requires.
    pub fn new(regex: &Regex) -> Prefilter {
        let Some(set) = regex.required_literals() else {
            return Prefilter { search: Search::None, line_end: false };
        };
        let line_end = set.literals.iter().any(|literal| literal.bytes.contains(&b'\n'));
        let ignore_case = set.literals.iter().any(|literal| literal.ignore_case);
        if let ([one], false) = (set.literals.as_slice(), ignore_case) {
            let search = Search::One(Box::new(Finder::new(&one.bytes).into_owned()));
            return Prefilter { search, line_end };
        }
        let literals = set.literals.iter().map(|literal| &literal.bytes);
        let built = AhoCorasick::builder().ascii_case_insensitive(ignore_case).build(literals);
        let search = match built {
            Ok(automaton) => Search::Many { automaton, ascii_only: ignore_case },
            Err(_) => Search::None,
        };
        Prefilter { search, line_end }
    }

    /// Whether the pattern might match.
    pub fn admits(&self, text: &str) -> bool {
        match &self.search {
            Search::None => true,
            Search::One(finder) => finder.find(text.as_bytes()).is_some(),
            Search::Many { automaton, ascii_only } => {
                automaton.is_match(text) || (*ascii_only && !text.is_ascii())
            }
        }
    }

    /// Whether the pattern might match a part of `text` that is cut out as a line of its own.
    pub fn admits_part(&self, text: &str) -> bool {
        self.line_end || self.admits(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::regex::Flags;

    #[test]
    fn admits_what_may_match() {
        for (pattern, text, admitted) in [
            ("failed for x", "login failed for x", true),
            ("failed for x", "login accepted", false),
            ("(?:refused|denied) x", "denied x", true),
            ("(?:refused|denied) x", "accepted x", false),
            ("(?i)kick x", "KICK X", true),
            ("(?i)kick x", "\u{212a}ick x", true),
            ("(?i)kick x", "nothing", false),
            (".*", "", true),
        ] {
            let regex = Regex::new(pattern, Flags::default()).unwrap();
            assert_eq!(Prefilter::new(&regex).admits(text), admitted, "{pattern} {text}");
        }
        let regex = Regex::new("failed\\n", Flags::default()).unwrap();
        assert!(Prefilter::new(&regex).admits_part("failed, and more\n"));
    }
}
