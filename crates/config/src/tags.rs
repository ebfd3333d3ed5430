//! `<tag>` inside the options of a filter or an action, as far as it is known before any ban.
//!
//! What stays unknown stays as it is: `<ip>` is filled in when somebody is banned.

use std::collections::HashMap;

use sekisho_core::command::Origin;

use crate::error::ConfigError;
use crate::text::{Options, Text};

/// How often one tag may be replaced inside one value.
const MAX_REPEATS: u32 = 26;
/// Longest value that replacing may produce.
const MAX_LENGTH: usize = 1 << 20;

/// Values of tags that are no options.
pub type Fallback<'a> = dyn Fn(&str) -> Result<Option<String>, ConfigError> + 'a;

/// Resolves every value of `options`; tags for which `keep` holds stay, and so do values of such
/// names.
pub fn resolve(
    options: &Options,
    keep: &dyn Fn(&str) -> bool,
    fallback: &Fallback<'_>,
) -> Result<Options, ConfigError> {
    let mut resolved = Options::default();
    for (name, text) in options.iter() {
        let text = if text.value.contains('<') && !keep(name) {
            let option = |tag: &str| resolved.get(tag).or_else(|| options.get(tag));
            resolve_one(name, text, &option, keep, fallback)?
        } else {
            text.clone()
        };
        resolved.insert(name, text);
    }
    Ok(resolved)
}

/// Resolves one value of `options` alone.
pub fn resolve_named(
    name: &str,
    options: &Options,
    keep: &dyn Fn(&str) -> bool,
    fallback: &Fallback<'_>,
) -> Result<Text, ConfigError> {
    let nothing = Origin { file: "".into(), line: 0 };
    match options.get(name) {
        Some(text) => resolve_one(name, text, &|tag| options.get(tag), keep, fallback),
        None => Ok(Text::new("", &nothing)),
    }
}

fn resolve_one<'a>(
    name: &str,
    text: &Text,
    option: &dyn Fn(&str) -> Option<&'a Text>,
    keep: &dyn Fn(&str) -> bool,
    fallback: &Fallback<'_>,
) -> Result<Text, ConfigError> {
    let mut value = text.value.to_string();
    let mut repeats: HashMap<String, u32> = HashMap::new();
    let mut from = 0;
    while let Some((start, end)) = find(&value, from) {
        let tag = value.get(start + 1..end - 1).unwrap_or("").to_owned();
        let found = if keep(&tag) {
            None
        } else if let Some(text) = option(&tag) {
            Some(text.value.to_string())
        } else {
            fallback(&tag)?
        };
        let Some(found) = found else {
            from = end;
            continue;
        };
        let count = repeats.entry(tag.clone()).or_insert(0);
        *count += 1;
        let written = format!("<{tag}>");
        let growth = value.matches(&written).count().saturating_mul(found.len());
        if *count > MAX_REPEATS || value.len().saturating_add(growth) > MAX_LENGTH {
            let origin = text.origin.clone();
            return Err(ConfigError::TagLoop { origin, tag: name.to_owned(), found: tag });
        }
        value = value.replace(&written, &found);
        // The text may now close a tag that opens further left.
        from = 0;
    }
    Ok(Text::new(value, &text.origin))
}

/// The first innermost `<tag>` at or behind `from`: no blank and no angle bracket inside.
fn find(value: &str, from: usize) -> Option<(usize, usize)> {
    let mut start = None;
    for (at, c) in value.get(from..)?.char_indices() {
        match c {
            '<' => start = Some(at),
            ' ' => start = None,
            '>' => match start {
                Some(open) if at > open + 1 => return Some((from + open, from + at + 1)),
                _ => start = None,
            },
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &[(&str, &str)], expected: &str) {
        let origin = Origin { file: "f".into(), line: 1 };
        let mut map = Options::default();
        for (name, value) in options {
            map.insert(name, Text::new(*value, &origin));
        }
        let keep = |tag: &str| tag == "matches";
        let fallback = |tag: &str| Ok((tag == "sec/x").then(|| "S".to_owned()));
        let result = match resolve(&map, &keep, &fallback) {
            Ok(all) => all.get("a").map(|t| t.value.to_string()).unwrap_or_default(),
            Err(e) => e.to_string(),
        };
        assert_eq!(result, expected, "{options:?}");
    }

    #[test]
    fn innermost_first() {
        check(&[("a", "<b> <b>"), ("b", "1")], "1 1");
        check(&[("a", "<m-<b>>"), ("b", "n"), ("m-n", "x<sec/x>")], "xS");
        check(&[("a", "<HOST> <a b> << > <> <<x>>")], "<HOST> <a b> << > <> <<x>>");
        check(&[("a", "<matches>"), ("matches", "1")], "<matches>");
        check(&[("a", "(?P<q>x) <b>"), ("b", "<c>"), ("c", "")], "(?P<q>x) ");
    }

    #[test]
    fn loops_end() {
        let text = "properties contain self referencing definitions and cannot be resolved, \
                    fail tag: a, found: ";
        check(&[("a", "<b>"), ("b", "<a>")], &format!("{text}b"));
        check(&[("a", "<a>")], &format!("{text}a"));
        // Doubling must stop before the memory does.
        let doubling = "<b><b><b><b><b><b><b><b>";
        check(&[("a", doubling), ("b", doubling)], &format!("{text}b"));
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(value in "[<>ab \u{e9}]{0,40}") {
            let origin = Origin { file: "f".into(), line: 1 };
            let mut map = Options::default();
            map.insert("a", Text::new(value.as_str(), &origin));
            map.insert("b", Text::new("<a><a>", &origin));
            let _ = resolve(&map, &|_| false, &|_| Ok(None));
        }
    }
}
