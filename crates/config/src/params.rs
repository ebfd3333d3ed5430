//! `name[key=value, key2="value"]`: how a jail names its filter and its actions.

use std::collections::HashSet;

use sekisho_core::command::Origin;
use sekisho_core::value::repr_str;

use crate::error::ConfigError;
use crate::text::{Text, is_space, strip};

/// A filter or an action with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// As it was written.
    pub text: String,
    /// The name.
    pub name: String,
    /// Parameters in order; of two equal keys the later one, in the place of the earlier.
    pub params: Vec<(String, String)>,
}

impl Definition {
    /// Sets a parameter; a new one comes last.
    pub fn set(&mut self, key: &str, value: &str) {
        match self.params.iter_mut().find(|(k, _)| k == key) {
            Some(slot) => slot.1 = value.to_owned(),
            None => self.params.push((key.to_owned(), value.to_owned())),
        }
    }
}

/// Splits the value of `action` into single definitions: at blanks and newlines outside brackets.
pub fn split(value: &str) -> Vec<String> {
    let chars: Vec<char> = value.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        if chars.get(at).copied().is_some_and(is_space) {
            at += 1;
            continue;
        }
        let end = bracketed(&chars, at).unwrap_or_else(|| run(&chars, at, |c| !is_space(c)));
        found.push(chars.get(at..end).unwrap_or(&[]).iter().collect());
        at = end.max(at + 1);
    }
    found
}

fn run(chars: &[char], from: usize, accept: impl Fn(char) -> bool) -> usize {
    chars.iter().skip(from).position(|c| !accept(*c)).map_or(chars.len(), |n| from + n)
}

/// End of `name[…][…]` from `from`, if it is well-formed and a blank or the end follows.
///
/// fail2ban searches with a regex that tries again where it fails, and so do we: a value may end at
/// its closing quote, or before any `,` or `]`, or anywhere before.
fn bracketed(chars: &[char], from: usize) -> Option<usize> {
    let name_end = run(chars, from, |c| c != '[' && !is_space(c));
    let open = run(chars, name_end, is_space);
    let name_alone = (name_end > from && ends(chars, name_end)).then_some(name_end);
    if name_end == from || chars.get(open) != Some(&'[') {
        return name_alone;
    }
    let mut search = Search { chars, failed: HashSet::new(), steps: 0 };
    search.parameters(run(chars, open + 1, is_space), 0).or(name_alone)
}

/// Whether a definition may end at `at`.
fn ends(chars: &[char], at: usize) -> bool {
    chars.get(at).is_none_or(|c| is_space(*c))
}

/// Most steps of a search for the end of a definition; longer ones count as malformed.
const MAX_STEPS: usize = 1_000_000;
/// Most parameters of a definition that is split.
const MAX_PARAMETERS: usize = 500;

/// A search with the places from which it cannot succeed.
struct Search<'a> {
    chars: &'a [char],
    failed: HashSet<usize>,
    steps: usize,
}

impl Search<'_> {
    /// End of the definition whose next parameter, or closing bracket, is at `at`.
    fn parameters(&mut self, at: usize, depth: usize) -> Option<usize> {
        if depth > MAX_PARAMETERS || self.failed.contains(&at) {
            return None;
        }
        let chars = self.chars;
        let next = key_end(chars, at).and_then(|value| self.value(value, depth));
        let here = chars.get(at) == Some(&']') && ends(chars, at + 1);
        let found = next.or(here.then_some(at + 1));
        if found.is_none() {
            self.failed.insert(at);
        }
        found
    }

    fn value(&mut self, from: usize, depth: usize) -> Option<usize> {
        let chars = self.chars;
        let quoted = quoted_end(chars, from).and_then(|end| self.behind(end, depth));
        if quoted.is_some() {
            return quoted;
        }
        let longest = run(chars, from, |c| c != ',' && c != ']');
        for end in (from..=longest).rev() {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return None;
            }
            // Inside a word nothing else can begin.
            let inside = end < longest && key_end(chars, run(chars, end, is_space)).is_none();
            if !inside && let Some(found) = self.behind(end, depth) {
                return Some(found);
            }
        }
        None
    }

    /// What follows a value: `,` or `][`, or neither.
    fn behind(&mut self, end: usize, depth: usize) -> Option<usize> {
        let chars = self.chars;
        let at = run(chars, end, is_space);
        let separated = match chars.get(at) {
            Some(',') => Some(at + 1),
            Some(']') => {
                let open = run(chars, at + 1, is_space);
                (chars.get(open) == Some(&'[')).then_some(open + 1)
            }
            _ => None,
        };
        let next = separated.map(|next| run(chars, next, is_space));
        next.and_then(|next| self.parameters(next, depth + 1))
            .or_else(|| self.parameters(at, depth + 1))
    }
}

/// Where the value behind `key=` begins; a key may have a condition (`key?family=inet6=`).
fn key_end(chars: &[char], from: usize) -> Option<usize> {
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut end = run(chars, from, word);
    if end == from {
        return None;
    }
    if chars.get(end) == Some(&'?') {
        let equals = run(chars, end + 1, word);
        let close = run(chars, equals + 1, word);
        if chars.get(equals) != Some(&'=') || equals == end + 1 || close == equals + 1 {
            return None;
        }
        end = close;
    }
    (chars.get(end) == Some(&'=')).then_some(end + 1)
}

fn quoted_end(chars: &[char], from: usize) -> Option<usize> {
    let quote = *chars.get(from).filter(|c| matches!(c, '"' | '\''))?;
    let end = run(chars, from + 1, |c| c != quote);
    (end < chars.len()).then_some(end + 1)
}

/// Parses one definition; `kind` is `filter` or `action`, for messages.
pub fn parse(kind: &'static str, text: &str, origin: &Origin) -> Result<Definition, ConfigError> {
    let fail = |reason: String| ConfigError::Params {
        origin: origin.clone(),
        kind,
        text: text.to_owned(),
        reason,
        hint: quote_hint(text).unwrap_or_default(),
    };
    let trimmed = text.trim_end_matches(is_space);
    if text.is_empty() {
        return Err(fail("unexpected option syntax".to_owned()));
    }
    let Some((name, rest)) = text.split_once('[') else {
        return Ok(Definition { text: text.to_owned(), name: text.to_owned(), params: vec![] });
    };
    let inner = trimmed.get(name.len() + 1..).and_then(|_| {
        let rest = rest.get(..rest.len() - (text.len() - trimmed.len()))?;
        rest.strip_suffix(']')
    });
    let Some(inner) = inner.filter(|_| !name.is_empty()) else {
        return Err(fail("unexpected option syntax".to_owned()));
    };
    let params = parameters(inner).map_err(fail)?;
    Ok(Definition { text: text.to_owned(), name: name.to_owned(), params })
}

fn parameters(inner: &str) -> Result<Vec<(String, String)>, String> {
    let chars: Vec<char> = inner.chars().collect();
    let text = |from: usize, to: usize| -> String {
        chars.get(from..to.min(chars.len())).unwrap_or(&[]).iter().collect()
    };
    let mut params: Vec<(String, String)> = Vec::new();
    let mut at = 0;
    loop {
        let start = run(&chars, at, is_space);
        let Some(value) = key_end(&chars, start) else {
            // Nothing more, or a trailing comma.
            let comma = usize::from(chars.get(at) == Some(&','));
            let next = run(&chars, at + comma, is_space);
            if next >= chars.len() {
                return Ok(params);
            }
            let shown = text(at, at + 25);
            return Err(format!("expected option, wrong syntax at {at}: {shown}"));
        };
        let key = text(start, value - 1);
        let quoted = quoted_end(&chars, value);
        let end = quoted.unwrap_or_else(|| run(&chars, value, |c| c != ',' && c != ']'));
        let content = if quoted.is_some() { text(value + 1, end - 1) } else { text(value, end) };
        let content = strip(&content).to_owned();
        match params.iter_mut().find(|(k, _)| *k == key) {
            Some(slot) => slot.1 = content,
            None => params.push((key.clone(), content)),
        }
        let next = run(&chars, end, is_space);
        at = match chars.get(next) {
            None => return Ok(params),
            Some(',') => next + 1,
            Some(']') => {
                let open = run(&chars, next + 1, is_space);
                if chars.get(open) != Some(&'[') {
                    return Err(junk(end, &key, &text(end, end + 25)));
                }
                open + 1
            }
            Some(_) => return Err(junk(end, &key, &text(end, end + 25))),
        };
    }
}

fn junk(at: usize, key: &str, shown: &str) -> String {
    format!("unexpected syntax at {at} after option {}: {shown}", repr_str(key))
}

/// Advice when a text has quotes that only look like quotes.
pub fn quote_hint(text: &str) -> Option<String> {
    let c = text.chars().find(|c| is_typographic(*c))?;
    let plain = if matches!(c, '\u{2018}'..='\u{201b}' | '\u{2032}') { '\'' } else { '"' };
    Some(format!(
        "; the character {c} (U+{:04X}) is a typographic quote: write {plain} instead",
        c as u32
    ))
}

fn is_typographic(c: char) -> bool {
    matches!(
        c,
        '\u{2018}'
            ..='\u{201f}' | '\u{2032}' | '\u{2033}' | '\u{ab}' | '\u{bb}' | '\u{ff02}' | '\u{ff07}'
    )
}

/// A fault of a definition, with advice for quotes anywhere in the option it is a part of: such
/// quotes make the splitting into definitions go wrong.
pub fn with_hint(error: ConfigError, option: &str) -> ConfigError {
    match error {
        ConfigError::Params { origin, kind, text, reason, hint } if hint.is_empty() => {
            let hint = quote_hint(option).unwrap_or_default();
            ConfigError::Params { origin, kind, text, reason, hint }
        }
        error => error,
    }
}

/// A warning for quotes that were taken literally, as fail2ban takes them.
pub fn quote_warning(definition: &Definition, at: &Text) -> Option<crate::notice::Notice> {
    let (key, value) = definition.params.iter().find(|(_, v)| v.contains(is_typographic))?;
    let text = format!(
        "parameter {key} of {} has the value {value}{}",
        definition.name,
        quote_hint(value).unwrap_or_default()
    );
    Some(crate::notice::Notice {
        level: sekisho_core::effect::Level::Warning,
        text,
        origin: Some(at.origin.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting() {
        for (value, expected) in [
            ("a", vec!["a"]),
            ("a b\nc", vec!["a", "b", "c"]),
            ("a[x=1]   b[y=2]", vec!["a[x=1]", "b[y=2]"]),
            ("a[x=1, y=\"b ]c\"]\nb", vec!["a[x=1, y=\"b ]c\"]", "b"]),
            ("a[x='1\n2' , ] b", vec!["a[x='1\n2' , ]", "b"]),
            ("a[x=1][y=2, z=3] b", vec!["a[x=1][y=2, z=3]", "b"]),
            ("a [x=1] b", vec!["a [x=1]", "b"]),
            ("a[x=1, \"y\"=2] b", vec!["a[x=1,", "\"y\"=2]", "b"]),
            ("a[x = 1] b", vec!["a[x", "=", "1]", "b"]),
            ("a[]b[] c", vec!["a[]b[]", "c"]),
            ("a[x=\"a\"b] c", vec!["a[x=\"a\"b]", "c"]),
            ("a[x= \"1\" ,y=  b b ,z=3] c", vec!["a[x= \"1\" ,y=  b b ,z=3]", "c"]),
            ("a[k?family=inet6=\"a b\"] c", vec!["a[k?family=inet6=\"a b\"]", "c"]),
        ] {
            assert_eq!(split(value), expected, "{value}");
        }
    }

    #[test]
    fn parsing() {
        for (text, expected) in [
            ("a", "a"),
            ("a[]", "a"),
            ("a[x=1]", "a x=1"),
            ("a[x=1,]", "a x=1"),
            ("a[ x=1 2 ,  y= \" b \" ]", "a x=1 2 y=\" b \""),
            ("a[x=' b ', y=\"'\"]", "a x=b y='"),
            ("a[x=1][y=2] [z=3]", "a x=1 y=2 z=3"),
            ("a[x=1][ y=2]", "a x=1 y=2"),
            ("a[x=1,][y=2]", "! expected option, wrong syntax at 4: ][y=2"),
            ("a[][y=2]", "! expected option, wrong syntax at 0: ][y=2"),
            ("a[x=a=b, z==, w=]", "a x=a=b z== w="),
            ("a[x=\"1\" , y=2]", "a x=1 y=2"),
            ("a[x=1, x=2]", "a x=2"),
            ("a [x=1]", "a  x=1"),
            ("a[k?family=inet6=6]", "a k?family=inet6=6"),
            ("a[x", "! unexpected option syntax"),
            ("a[x=1]b", "! unexpected option syntax"),
            ("[x=1]", "! unexpected option syntax"),
            ("a[x]", "! expected option, wrong syntax at 0: x"),
            ("a[]b[]", "! expected option, wrong syntax at 0: ]b["),
            ("a[x=1 y=2, z=\"a\"b]", "! unexpected syntax at 14 after option 'z': b"),
            (
                "a[port=\u{201d}smtp,x]",
                "! expected option, wrong syntax at 11: x; the character \u{201d} (U+201D) is a \
                 typographic quote: write \" instead",
            ),
        ] {
            let origin = Origin { file: "f".into(), line: 1 };
            let result = match parse("action", text, &origin) {
                Ok(d) => {
                    let params: String =
                        d.params.iter().map(|(k, v)| format!(" {k}={v}")).collect();
                    d.name + &params
                }
                Err(ConfigError::Params { reason, hint, .. }) => format!("! {reason}{hint}"),
                Err(e) => e.to_string(),
            };
            assert_eq!(result, expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "[a\\[\\]=,?\"' \n\u{201d}]{0,40}") {
            let origin = Origin { file: "f".into(), line: 1 };
            for part in split(&text) {
                let _ = parse("action", &part, &origin);
            }
            let _ = parse("filter", &text, &origin);
        }
    }
}
