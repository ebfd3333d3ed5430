//! One regular expression of a filter, with the meaning of its groups.
//!
//! A pattern is compiled once, from the text the configuration gave; what it *shows* is that text
//! after tag expansion (`<HOST>` and friends), as every client prints it. It never looks at time,
//! state or other patterns: text in, groups out.

use std::ops::Range;

use crate::failure::Fields;
use crate::regex::tags::{self, FilterRegexError, HostTag};
use crate::regex::{Captures, Flags, MatchError, Regex};
use crate::value::Value;

use super::prefilter::Prefilter;

/// A compiled regular expression of a filter.
#[derive(Clone, Debug)]
pub struct Pattern {
    raw: String,
    expanded: String,
    regex: Regex,
    prefilter: Prefilter,
    /// Named groups by number.
    names: Vec<(usize, String)>,
    /// `alt_user_1` and the fields it may fill, sorted by group name.
    alternatives: Vec<(String, Vec<String>)>,
    /// `tuple_id_1` and the field it is appended to, sorted by group name.
    tuples: Vec<(String, String)>,
    /// Groups of `<SKIPLINES>` in order.
    skips: Vec<usize>,
}

impl Pattern {
    /// Expands the tags of `raw` and compiles it.
    pub fn new(raw: &str, host: HostTag, multi_line: bool) -> Result<Pattern, FilterRegexError> {
        if raw.trim_start().is_empty() {
            return Err(FilterRegexError::Empty);
        }
        let expanded = tags::expand(raw, host);
        let flags = Flags { multi_line, ..Flags::default() };
        // The mapped prefix is accepted in any case, or `::FFFF:1.2.3.4` would be read as the IPv6
        // address `::FFFF:1`; what is shown stays the documented expansion.
        let compiled = expanded.replace("(?:::f{4,6}:)?(?P<ip4>", "(?:::[fF]{4,6}:)?(?P<ip4>");
        let regex = Regex::new(&compiled, flags).map_err(|error| {
            // Positions are those of the text that is shown.
            let error = Regex::new(&expanded, flags).err().unwrap_or(error);
            FilterRegexError::Compile { text: expanded.clone(), error }
        })?;
        let names: Vec<(usize, String)> = regex
            .group_names()
            .iter()
            .enumerate()
            .filter_map(|(i, name)| Some((i, (*name)?.to_owned())))
            .collect();
        let (alternatives, tuples) = combined_names(&names);
        let skips = names.iter().filter(|(_, n)| n.starts_with("skiplines")).map(|n| n.0).collect();
        let prefilter = Prefilter::new(&regex);
        let raw = raw.to_owned();
        Ok(Pattern { raw, expanded, regex, prefilter, names, alternatives, tuples, skips })
    }

    /// The pattern as the configuration gave it.
    pub fn raw(&self) -> &str {
        &self.raw
    }
    /// The pattern after tag expansion, as clients see it.
    pub fn expanded(&self) -> &str {
        &self.expanded
    }
    /// The engine's form, for the literals it requires.
    pub fn regex(&self) -> &Regex {
        &self.regex
    }
    /// Whether a match can say whom to ban, now or with a later line of the connection.
    pub fn identifies(&self) -> bool {
        tags::has_failure_id(&self.regex)
    }
    /// Whether there is a group of this name.
    pub fn has_group(&self, name: &str) -> bool {
        self.names.iter().any(|(_, n)| n == name)
    }

    /// Whether it might match `text` or a part of it; a quick no for nearly all lines.
    pub fn might_match(&self, text: &str) -> bool {
        self.prefilter.admits_part(text)
    }

    /// Whether it matches; one that needs too many steps does not.
    pub fn is_match(&self, text: &str) -> bool {
        self.prefilter.admits(text) && self.regex.is_match(text).unwrap_or(false)
    }

    /// Searches `text` from its start.
    pub fn search(&self, text: &str) -> Result<Option<Captures>, MatchError> {
        if !self.prefilter.admits(text) {
            return Ok(None);
        }
        self.regex.search(text, 0)
    }

    /// The named groups of a match, with alternatives and tuples filled in.
    pub fn groups(&self, text: &str, found: &Captures) -> Fields {
        let mut fields = Fields::default();
        for (i, name) in &self.names {
            let value = found.get(*i).and_then(|span| text.get(span));
            fields.set(name, value.map_or(Value::None, Value::str));
        }
        for (group, targets) in &self.alternatives {
            let Some(value) = fields.get(group).filter(|v| !is_empty(v)).cloned() else { continue };
            for target in targets {
                if fields.get(target).is_none_or(is_empty) {
                    fields.set(target, value.clone());
                }
            }
        }
        for (group, target) in &self.tuples {
            let part = fields.get(group).cloned().unwrap_or(Value::None);
            let mut parts = match fields.get(target) {
                Some(Value::Tuple(parts)) => parts.clone(),
                Some(first) => vec![first.clone()],
                None => vec![Value::None],
            };
            parts.push(part);
            fields.set(target, Value::Tuple(parts));
        }
        fields
    }

    /// The spans that `<SKIPLINES>` skipped.
    pub fn skipped(&self, found: &Captures) -> Vec<Range<usize>> {
        self.skips.iter().filter_map(|i| found.get(*i)).collect()
    }
}

/// Whether Python would call the value false.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::None => true,
        Value::Str(text) => text.is_empty(),
        _ => false,
    }
}

type Combined = (Vec<(String, Vec<String>)>, Vec<(String, String)>);

/// Finds `alt_…` and `tuple_…` groups. A number is a suffix only after an underscore
/// (`alt_user_1` fills `user`); `alt_user1` fills `user1` as in fail2ban, and `user` too, as its
/// manual promises.
fn combined_names(names: &[(usize, String)]) -> Combined {
    let mut alternatives = Vec::new();
    let mut tuples = Vec::new();
    for (_, name) in names {
        if let Some(rest) = name.strip_prefix("alt_") {
            let target = mapped(without_number(rest));
            let mut targets = vec![target.to_owned()];
            let bare = target.trim_end_matches(|c: char| c.is_ascii_digit());
            if bare != target && !bare.is_empty() && !bare.ends_with('_') {
                targets.push(mapped(bare).to_owned());
            }
            alternatives.push((name.clone(), targets));
        } else if let Some(rest) = name.strip_prefix("tuple_") {
            tuples.push((name.clone(), mapped(without_number(rest)).to_owned()));
        }
    }
    alternatives.sort();
    tuples.sort();
    (alternatives, tuples)
}

fn without_number(name: &str) -> &str {
    match name.rsplit_once('_') {
        Some((head, digits))
            if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) =>
        {
            head
        }
        _ => name,
    }
}

/// `id` and `port` are short for the groups that mean them.
fn mapped(name: &str) -> &str {
    match name {
        "id" => "fid",
        "port" => "fport",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(pattern: &str, text: &str) -> String {
        let pattern = Pattern::new(pattern, HostTag::AddressOrName, false).unwrap();
        let found = pattern.search(text).unwrap().expect("matches");
        let fields = pattern.groups(text, &found);
        let shown: Vec<String> = fields
            .iter()
            .filter(|(_, v)| **v != Value::None)
            .map(|(k, v)| format!("{k}={}", v.repr()))
            .collect();
        shown.join(" ")
    }

    #[test]
    fn alternatives_and_tuples() {
        for (pattern, text, expected) in [
            (
                "<F-USER>x?</F-USER>,<F-ALT_USER_1>b</F-ALT_USER_1> <ADDR>",
                ",b 1.2.3.4",
                "user='b' alt_user_1='b' ip4='1.2.3.4'",
            ),
            (
                "<F-ALT_USER1>a</F-ALT_USER1> <ADDR>",
                "a 1.2.3.4",
                "alt_user1='a' ip4='1.2.3.4' user1='a' user='a'",
            ),
            (
                "<F-USER>x</F-USER><F-ALT_USER>a</F-ALT_USER> <ADDR>",
                "xa 1.2.3.4",
                "user='x' alt_user='a' ip4='1.2.3.4'",
            ),
            ("<F-ID>a</F-ID><F-TUPLE_ID>b</F-TUPLE_ID>", "ab", "fid=('a', 'b') tuple_id='b'"),
        ] {
            assert_eq!(groups(pattern, text), expected, "{pattern}");
        }
    }

    #[test]
    fn the_mapped_prefix_is_accepted_in_any_case() {
        for text in ["from ::ffff:1.2.3.4 x", "from ::FFFF:1.2.3.4 x"] {
            assert_eq!(groups("from <HOST> x$", text), "ip4='1.2.3.4'");
        }
    }

    #[test]
    fn refusals() {
        let new = |raw| Pattern::new(raw, HostTag::AddressOrName, false);
        assert_eq!(new("  ").unwrap_err(), FilterRegexError::Empty);
        let text = new("(<F-USER>").unwrap_err().to_string();
        assert!(text.starts_with("Unable to compile regular expression '((?P<user>':\n"), "{text}");
        assert!(!new("no id").unwrap().identifies());
    }
}
