//! Texts to typed values, as Python reads them.

use crate::error::ConfigError;
use crate::text::{Text, is_space, strip};

/// Words that say no; all but those of [`boolean`] do, but who writes others means something else.
pub fn says_no(value: &str) -> bool {
    ["0", "off", "false", "no", "none", ""].iter().any(|word| word.eq_ignore_ascii_case(value))
}

/// `1 on true yes` in any case; everything else is false.
pub fn boolean(value: &str) -> bool {
    ["1", "on", "true", "yes"].iter().any(|word| word.eq_ignore_ascii_case(value))
}

/// Python's `int(text)`: a sign, digits, single underscores between them.
pub fn python_int(value: &str) -> Option<i64> {
    let value = strip(value);
    let digits = value.strip_prefix(['+', '-']).unwrap_or(value);
    let misplaced = digits.starts_with('_') || digits.ends_with('_') || digits.contains("__");
    let plain: String = value.chars().filter(|c| *c != '_').collect();
    if misplaced || !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    plain.parse().ok()
}

/// A whole number, or the fault with its place.
pub fn int(option: &str, section: &str, text: &Text) -> Result<i64, ConfigError> {
    python_int(&text.value).ok_or_else(|| ConfigError::NotInt {
        origin: text.origin.clone(),
        option: option.to_owned(),
        section: section.to_owned(),
        value: text.value.to_string(),
    })
}

/// Words separated by blanks, newlines or commas.
pub fn words(value: &str) -> impl Iterator<Item = &str> {
    value.split(|c: char| is_space(c) || c == ',').filter(|word| !word.is_empty())
}

/// Lines that are not empty, stripped.
pub fn lines(value: &str) -> impl Iterator<Item = &str> {
    value.split('\n').filter(|line| !line.is_empty())
}

/// JSON as Python's `json.dumps` writes a dictionary of strings.
pub fn json(items: &[(String, String)]) -> String {
    let quote = |text: &str| {
        let mut out = String::from("\"");
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                ' '..='~' => out.push(c),
                c => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
            }
        }
        out.push('"');
        out
    };
    let pairs: Vec<String> =
        items.iter().map(|(k, v)| format!("{}: {}", quote(k), quote(v))).collect();
    format!("{{{}}}", pairs.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        for (text, expected) in [
            (" +7 ", Some(7)),
            ("-3", Some(-3)),
            ("1_000", Some(1000)),
            ("007", Some(7)),
            ("0x10", None),
            ("3.5", None),
            ("", None),
            ("_1", None),
            ("1__0", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(python_int(text), expected, "{text}");
        }
    }

    #[test]
    fn json_is_pythons() {
        let items = [("a".to_owned(), "q\"\u{fc}\u{1f600}\n\u{7f}".to_owned())];
        assert_eq!(json(&items), "{\"a\": \"q\\\"\\u00fc\\ud83d\\ude00\\n\\u007f\"}");
    }
}
