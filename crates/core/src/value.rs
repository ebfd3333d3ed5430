//! Python's plain values: what the command stream, the socket and `-d` speak.
//!
//! fail2ban's interfaces are Python values printed with `repr` or `str`; scripts parse those texts.
//! Only plain data exists here: nothing that could be called or constructed.

use std::fmt::Write as _;

/// A plain Python value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`
    None,
    /// `True`, `False`
    Bool(bool),
    /// An integer (fail2ban's fit 64 bits).
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Str(String),
    /// A list.
    List(Vec<Value>),
    /// A tuple.
    Tuple(Vec<Value>),
    /// A dictionary, in insertion order.
    Dict(Vec<(Value, Value)>),
    /// A set, in the order given.
    Set(Vec<Value>),
}

impl Value {
    /// A string value.
    pub fn str(text: impl Into<String>) -> Value {
        Value::Str(text.into())
    }
    /// A list of strings.
    pub fn strs<T: Into<String>>(items: impl IntoIterator<Item = T>) -> Value {
        Value::List(items.into_iter().map(Value::str).collect())
    }
    /// Python's name of its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Set(_) => "set",
            Value::Dict(_) => "dict",
        }
    }
    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }
    /// The items of a list or tuple.
    pub fn items(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) | Value::Tuple(items) => Some(items),
            _ => None,
        }
    }
    /// A row as `status` has them: `('Jail list', 'a, b')`.
    pub fn row(&self) -> Option<(&str, &Value)> {
        match self.items()? {
            [Value::Str(name), value] => Some((name, value)),
            _ => None,
        }
    }
    /// Python's `repr(value)`.
    pub fn repr(&self) -> String {
        let mut out = String::new();
        self.write_repr(&mut out);
        out
    }
    /// Python's `str(value)`: strings bare, everything else as `repr`.
    pub fn to_text(&self) -> String {
        match self {
            Value::Str(s) => s.clone(),
            other => other.repr(),
        }
    }

    fn write_repr(&self, out: &mut String) {
        match self {
            Value::None => out.push_str("None"),
            Value::Bool(true) => out.push_str("True"),
            Value::Bool(false) => out.push_str("False"),
            Value::Int(n) => {
                let _ = write!(out, "{n}");
            }
            Value::Float(x) => out.push_str(&repr_float(*x)),
            Value::Str(s) => out.push_str(&repr_str(s)),
            Value::List(items) => write_seq(out, "[", items, "]"),
            Value::Tuple(items) => {
                write_seq(out, "(", items, if items.len() == 1 { ",)" } else { ")" });
            }
            Value::Set(items) if items.is_empty() => out.push_str("set()"),
            Value::Set(items) => write_seq(out, "{", items, "}"),
            Value::Dict(items) => {
                out.push('{');
                for (i, (k, v)) in items.iter().enumerate() {
                    if i > 0 {
                        out.push_str(", ");
                    }
                    k.write_repr(out);
                    out.push_str(": ");
                    v.write_repr(out);
                }
                out.push('}');
            }
        }
    }
}

fn write_seq(out: &mut String, open: &str, items: &[Value], close: &str) {
    out.push_str(open);
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        item.write_repr(out);
    }
    out.push_str(close);
}

/// Python's `repr` of a string: single quotes unless the text has single and no double quotes.
pub fn repr_str(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || (0x7f..0xa1).contains(&(c as u32)) || c == '\u{ad}' => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if is_unprintable(c) && (c as u32) < 0x1_0000 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c if is_unprintable(c) => {
                let _ = write!(out, "\\U{:08x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// Separators, format characters and private use, which `repr` escapes (the common ranges).
fn is_unprintable(c: char) -> bool {
    matches!(c as u32,
        0x600..=0x605 | 0x61c | 0x1680 | 0x180e | 0x2000..=0x200f | 0x2028..=0x202f
        | 0x205f..=0x206f | 0x3000 | 0xe000..=0xf8ff | 0xfeff | 0xfff0..=0xfffb
        | 0xfffe | 0xffff | 0xe0000..=0x10_ffff)
}

/// Python's `repr` of a float: the shortest digits that round-trip (of two that are equally near, the
/// even ones), exponent from 1e16 and below 1e-4.
pub fn repr_float(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let magnitude = x.abs();
    if x != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{x:e}");
        let digits = text.bytes().take_while(|b| *b != b'e').filter(u8::is_ascii_digit).count();
        let text = even(x, text, format!("{x:.0$e}", digits.saturating_sub(1)));
        return match text.split_once('e') {
            Some((mantissa, exp)) => match exp.strip_prefix('-') {
                Some(digits) => format!("{mantissa}e-{digits:0>2}"),
                None => format!("{mantissa}e+{exp:0>2}"),
            },
            None => text,
        };
    }
    let text = format!("{x}");
    match text.split_once('.') {
        None => text + ".0",
        Some((_, digits)) => {
            let rounded = format!("{x:.0$}", digits.len());
            even(x, text, rounded)
        }
    }
}

/// As many digits, rounded from the exact value: ties go to the even digit there.
fn even(x: f64, shortest: String, rounded: String) -> String {
    if rounded.parse() == Ok(x) { rounded } else { shortest }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Value::str(s)
    }
}
impl From<String> for Value {
    fn from(s: String) -> Self {
        Value::Str(s)
    }
}
impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Value::Int(n)
    }
}
impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Value::Bool(b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reprs_are_pythons() {
        for (value, expected) in [
            (Value::None, "None"),
            (Value::Bool(true), "True"),
            (Value::Float(1.0), "1.0"),
            (Value::Float(1e16), "1e+16"),
            (Value::Float(1e-5), "1e-05"),
            (Value::Float(2_629_800.5), "2629800.5"),
            (Value::str("it's"), "\"it's\""),
            (Value::str("it's \"x\""), "'it\\'s \"x\"'"),
            (Value::str("a\tb\\\u{1}\u{e9}\u{2028}"), "'a\\tb\\\\\\x01\u{e9}\\u2028'"),
            (Value::Tuple(vec![Value::Int(1)]), "(1,)"),
            (Value::List(vec![Value::str("a"), Value::Int(2)]), "['a', 2]"),
            (Value::Dict(vec![(Value::str("a"), Value::List(vec![]))]), "{'a': []}"),
        ] {
            assert_eq!(value.repr(), expected);
        }
    }
}
