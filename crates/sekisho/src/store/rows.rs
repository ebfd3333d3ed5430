//! How a ban looks in a row: fail2ban's `data` column, and values of any type a file may hold.
//!
//! A database is input like any other: columns may hold what they should not, JSON may be broken.
//! Whatever cannot be understood becomes an empty value; nothing here fails or panics.

use rusqlite::types::ValueRef;
use sekisho_core::failure::{Fields, MatchedLine};
use sekisho_core::id::Id;
use sekisho_core::ticket::{BanTime, Ticket};
use sekisho_core::time::Timestamp;
use sekisho_core::value::Value;

/// Nesting of captured values that is read and written; groups hold texts and lists of texts.
const DEPTH_MAX: usize = 8;

/// A number, whatever its storage class.
pub fn int(value: ValueRef<'_>) -> i64 {
    match value {
        ValueRef::Integer(n) => n,
        ValueRef::Real(x) => x as i64,
        _ => text(value).trim().parse().unwrap_or(0),
    }
}

/// A number with its fraction.
pub fn float(value: ValueRef<'_>) -> f64 {
    match value {
        ValueRef::Integer(n) => n as f64,
        ValueRef::Real(x) if x.is_finite() => x,
        _ => text(value).trim().parse().ok().filter(|x: &f64| x.is_finite()).unwrap_or(0.0),
    }
}

/// A text, whatever its storage class; invalid UTF-8 is replaced.
pub fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        ValueRef::Integer(n) => n.to_string(),
        ValueRef::Real(x) => x.to_string(),
        ValueRef::Null => String::new(),
    }
}

/// The JSON of a ticket, with at most the last `max_matches` lines.
pub fn data(ticket: &Ticket, max_matches: usize) -> Vec<u8> {
    let skip = ticket.matches.len().saturating_sub(max_matches);
    let lines = ticket.matches.iter().skip(skip).map(|line| match line {
        MatchedLine::Whole(line) => Value::str(line),
        MatchedLine::Cut(parts) => Value::strs(parts.iter()),
    });
    let mut out = String::from("{\"matches\": ");
    write_json(&Value::List(lines.collect()), &mut out, 0);
    out.push_str(", \"failures\": ");
    out.push_str(&ticket.failures.to_string());
    for (name, value) in ticket.fields.iter() {
        if name == "matches" || name == "failures" {
            continue;
        }
        out.push_str(", ");
        write_json(&Value::str(name), &mut out, 0);
        out.push_str(": ");
        write_json(value, &mut out, 0);
    }
    out.push('}');
    out.into_bytes()
}

/// JSON with Python's separators, as fail2ban writes it.
fn write_json(value: &Value, out: &mut String, depth: usize) {
    match value {
        _ if depth > DEPTH_MAX => out.push_str("null"),
        Value::None => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(n) => out.push_str(&n.to_string()),
        Value::Float(x) if x.is_finite() => out.push_str(&sekisho_core::value::repr_float(*x)),
        Value::Float(_) => out.push_str("null"),
        Value::Str(s) => out.push_str(&serde_json::Value::from(s.as_str()).to_string()),
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                write_json(item, out, depth + 1);
            }
            out.push(']');
        }
        Value::Dict(items) => {
            out.push('{');
            for (i, (key, item)) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                write_json(&Value::Str(key.to_text()), out, depth + 1);
                out.push_str(": ");
                write_json(item, out, depth + 1);
            }
            out.push('}');
        }
    }
}

/// What a `data` column tells of a ban.
#[derive(Debug, Default)]
pub struct Data {
    /// Lines, oldest first.
    pub matches: Vec<MatchedLine>,
    /// Number of failures.
    pub failures: u32,
    /// All other keys.
    pub fields: Fields,
}

/// Reads a `data` column.
pub fn parse_data(value: ValueRef<'_>) -> Data {
    let mut out = Data::default();
    let Ok(serde_json::Value::Object(map)) = serde_json::from_str(&text(value)) else {
        return out;
    };
    for (key, value) in map {
        match (key.as_str(), value) {
            ("matches", serde_json::Value::Array(lines)) => {
                out.matches = lines.iter().filter_map(line).collect();
            }
            ("failures", value) => {
                let n = value.as_f64().unwrap_or(0.0);
                out.failures = n as u32;
            }
            ("matches", _) => {}
            (_, value) => out.fields.set(&key, from_json(value, 0)),
        }
    }
    out
}

fn line(value: &serde_json::Value) -> Option<MatchedLine> {
    match value {
        serde_json::Value::String(line) => Some(MatchedLine::Whole(line.clone())),
        serde_json::Value::Array(parts) => {
            let text = |i| parts.get(i).and_then(serde_json::Value::as_str).map(str::to_owned);
            let part = |i| text(i).unwrap_or_default();
            Some(MatchedLine::Cut([part(0), part(1), part(2)]))
        }
        _ => None,
    }
}

fn from_json(value: serde_json::Value, depth: usize) -> Value {
    match value {
        _ if depth > DEPTH_MAX => Value::None,
        serde_json::Value::Null => Value::None,
        serde_json::Value::Bool(b) => Value::Bool(b),
        serde_json::Value::Number(n) => match n.as_i64() {
            Some(n) => Value::Int(n),
            None => Value::Float(n.as_f64().unwrap_or(0.0)),
        },
        serde_json::Value::String(s) => Value::Str(s),
        serde_json::Value::Array(items) => {
            Value::List(items.into_iter().map(|v| from_json(v, depth + 1)).collect())
        }
        serde_json::Value::Object(map) => Value::Dict(
            map.into_iter().map(|(k, v)| (Value::Str(k), from_json(v, depth + 1))).collect(),
        ),
    }
}

/// The ticket of a stored ban.
pub fn ticket(ip: &str, time: i64, ban_time: f64, count: i64, data: Data) -> Ticket {
    Ticket {
        id: Id::parse(ip),
        address: None,
        time: Timestamp::from_secs(time),
        whole: true,
        // −2, "unknown" of an old file, counts as permanent: a jail caps it to its own ban time.
        ban_time: BanTime::from_secs_f64(ban_time),
        ban_count: u32::try_from(count.max(0)).unwrap_or(u32::MAX),
        failures: data.failures,
        matches: data.matches,
        fields: data.fields,
        restored: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_as_fail2ban_writes_it() {
        let mut t = ticket("1.2.3.4", 1, 2.0, 3, Data::default());
        assert_eq!(data(&t, 10), b"{\"matches\": [], \"failures\": 0}");
        t.matches = vec![
            MatchedLine::Whole("lost".into()),
            MatchedLine::Cut(["a ".into(), "D".into(), " \"b\"\n".into()]),
            MatchedLine::Whole("\u{e9}".into()),
        ];
        t.failures = 4;
        t.fields.set("user", Value::str("x\ty"));
        t.fields.set("users", Value::List(vec![Value::None, Value::Int(1), Value::Float(0.5)]));
        let json = data(&t, 2);
        assert_eq!(
            String::from_utf8(json.clone()).unwrap(),
            "{\"matches\": [[\"a \", \"D\", \" \\\"b\\\"\\n\"], \"\u{e9}\"], \"failures\": 4, \
             \"user\": \"x\\ty\", \"users\": [null, 1, 0.5]}"
        );
        let back = parse_data(ValueRef::Blob(&json));
        assert_eq!(back.matches, t.matches[1..]);
        assert_eq!((back.failures, back.fields), (4, t.fields));
    }

    #[test]
    fn odd_columns_are_empty_values() {
        for bytes in [
            &b""[..],
            b"{",
            b"[]",
            b"null",
            b"{\"matches\": 3}",
            b"\xff\xfe",
            b"{\"matches\": [[], 1, null]}",
        ] {
            assert_eq!(parse_data(ValueRef::Blob(bytes)).failures, 0);
        }
        let deep = "[".repeat(5000);
        parse_data(ValueRef::Text(deep.as_bytes()));
        assert_eq!(int(ValueRef::Text(b"12")), 12);
        assert_eq!(int(ValueRef::Null), 0);
        assert_eq!(int(ValueRef::Real(f64::NAN)), 0);
        assert_eq!(float(ValueRef::Real(f64::INFINITY)), 0.0);
    }
}
