//! One journal entry as `journalctl -o json` prints it, turned into one log line.
//!
//! The line looks as fail2ban's journal backend renders it, because filters are written against that:
//! `HOST IDENT[PID]: MESSAGE`. Fields come from whoever may write to the journal, so anything may be
//! in them: a line feed never leaves this module as one, and nothing here can fail but by returning
//! an error.

use sekisho_core::time::Timestamp;
use serde_json::{Map, Value};

/// The fields that journalctl is asked for (it adds its own, which begin with two underscores).
pub const FIELDS: &str = "MESSAGE,_HOSTNAME,SYSLOG_IDENTIFIER,_COMM,SYSLOG_PID,_PID,\
                          _SOURCE_REALTIME_TIMESTAMP,_SOURCE_MONOTONIC_TIMESTAMP";

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What is matched, without a line feed.
    pub line: Vec<u8>,
    /// When it was written.
    pub time: Timestamp,
    /// Where to go on after it.
    pub cursor: Option<String>,
}

/// Why a line of journalctl is no entry.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Not JSON, or not an object.
    #[error("journalctl printed something that is not a journal entry: {0}")]
    Json(#[from] serde_json::Error),
    /// Neither of the two times.
    #[error("a journal entry has no time")]
    NoTime,
}

/// Reads one line of `journalctl -o json`.
pub fn parse(json: &[u8]) -> Result<Entry, EntryError> {
    let fields: Map<String, Value> = serde_json::from_slice(json)?;
    let micros = |name: &str| {
        let text = first(fields.get(name)?)?;
        std::str::from_utf8(&text).ok()?.parse::<i64>().ok().filter(|t| *t > 0)
    };
    let time = micros("_SOURCE_REALTIME_TIMESTAMP")
        .or_else(|| micros("__REALTIME_TIMESTAMP"))
        .map(Timestamp)
        .ok_or(EntryError::NoTime)?;
    let cursor = fields.get("__CURSOR").and_then(Value::as_str).map(str::to_owned);
    let mono = || micros("_SOURCE_MONOTONIC_TIMESTAMP").or_else(|| micros("__MONOTONIC_TIMESTAMP"));
    Ok(Entry { line: render(&fields, mono), time, cursor })
}

fn render(fields: &Map<String, Value>, mono: impl Fn() -> Option<i64>) -> Vec<u8> {
    let text = |name: &str| fields.get(name).and_then(first).filter(|t| !t.is_empty());
    let mut line = Vec::new();
    if let Some(host) = text("_HOSTNAME") {
        push(&mut line, &host);
        line.push(b' ');
    }
    if let Some(ident) = text("SYSLOG_IDENTIFIER").or_else(|| text("_COMM")) {
        push(&mut line, &ident);
        // A process id of 0 is none.
        let pid = text("SYSLOG_PID").filter(|p| p != b"0");
        match pid.or_else(|| text("_PID").filter(|p| p != b"0")) {
            Some(pid) => {
                line.push(b'[');
                push(&mut line, &pid);
                line.extend_from_slice(b"]: ");
            }
            None => {
                line.extend_from_slice(b": ");
                if ident == b"kernel"
                    && let Some(at) = mono()
                {
                    let (secs, micros) = (at / 1_000_000, at % 1_000_000);
                    line.extend_from_slice(format!("[{secs:>5}.{micros:06}] ").as_bytes());
                }
            }
        }
    }
    if let Some(message) = fields.get("MESSAGE") {
        push(&mut line, &all(message));
    }
    line
}

/// Appends text; line feeds become the two characters `\n`.
fn push(line: &mut Vec<u8>, text: &[u8]) {
    let mut parts = text.split(|b| *b == b'\n');
    line.extend_from_slice(parts.next().unwrap_or_default());
    for part in parts {
        line.extend_from_slice(b"\\n");
        line.extend_from_slice(part);
    }
}

/// A field that is there once: text, a number, or bytes as an array of numbers.
fn single(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(s) => Some(s.clone().into_bytes()),
        Value::Number(n) => Some(n.to_string().into_bytes()),
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_u64().and_then(|n| u8::try_from(n).ok()))
            .collect::<Option<Vec<u8>>>()
            .filter(|bytes| !bytes.is_empty()),
        // Null stands for a field that was too long.
        Value::Null | Value::Bool(_) | Value::Object(_) => None,
    }
}

/// The first of a field's values.
fn first(value: &Value) -> Option<Vec<u8>> {
    single(value).or_else(|| value.as_array()?.iter().find_map(single))
}

/// All of a field's values, joined by blanks.
fn all(value: &Value) -> Vec<u8> {
    match (single(value), value) {
        (Some(one), _) => one,
        (None, Value::Array(items)) => {
            items.iter().filter_map(single).collect::<Vec<_>>().join(&b' ')
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fields: &str, expected: &str) {
        let json = format!(r#"{{"__REALTIME_TIMESTAMP":"1795400220123456",{fields}}}"#);
        let entry = parse(json.as_bytes()).unwrap_or_else(|e| panic!("{json}: {e}"));
        assert_eq!(String::from_utf8_lossy(&entry.line), expected, "{json}");
        assert!(!entry.line.contains(&b'\n'));
    }

    // The expected lines are what fail2ban 1.0.2 rendered for these fields.
    #[test]
    fn rendering() {
        let host = r#""_HOSTNAME":"h""#;
        for (fields, expected) in [
            (r#""SYSLOG_IDENTIFIER":"sshd","_PID":"12","MESSAGE":"hi""#, "h sshd[12]: hi"),
            (
                r#""SYSLOG_IDENTIFIER":"sshd","SYSLOG_PID":"11","_PID":"12","MESSAGE":"hi""#,
                "h sshd[11]: hi",
            ),
            (r#""SYSLOG_IDENTIFIER":"sshd","MESSAGE":"hi""#, "h sshd: hi"),
            (r#""_COMM":"c","SYSLOG_IDENTIFIER":"sshd","MESSAGE":"hi""#, "h sshd: hi"),
            (r#""_COMM":"c","_PID":"1","MESSAGE":"hi""#, "h c[1]: hi"),
            (r#""_PID":"1","MESSAGE":"hi""#, "h hi"),
            (r#""MESSAGE":"hi""#, "h hi"),
            (r#""SYSLOG_IDENTIFIER":"a""#, "h a: "),
            (r#""SYSLOG_IDENTIFIER":"a","MESSAGE":["x","y"]"#, "h a: x y"),
            (r#""SYSLOG_IDENTIFIER":"a","MESSAGE":[[120],[121,255]]"#, "h a: x y\u{fffd}"),
            (r#""SYSLOG_IDENTIFIER":"a","MESSAGE":[104,105,10,27]"#, "h a: hi\\n\u{1b}"),
            (r#""SYSLOG_IDENTIFIER":"a","MESSAGE":"l1\nl2\r\nl3""#, "h a: l1\\nl2\r\\nl3"),
            (r#""SYSLOG_IDENTIFIER":"a b","MESSAGE":"  x  ""#, "h a b:   x  "),
            (r#""SYSLOG_IDENTIFIER":"","_COMM":"q","_PID":"0","MESSAGE":"m""#, "h q: m"),
            (r#""SYSLOG_IDENTIFIER":"a","SYSLOG_PID":"","_PID":"3","MESSAGE":"m""#, "h a[3]: m"),
            (r#""SYSLOG_IDENTIFIER":"a","MESSAGE":null"#, "h a: "),
            (
                r#""SYSLOG_IDENTIFIER":"kernel","_SOURCE_MONOTONIC_TIMESTAMP":"12500000","MESSAGE":"usb""#,
                "h kernel: [   12.500000] usb",
            ),
            (
                r#""SYSLOG_IDENTIFIER":"kernel","__MONOTONIC_TIMESTAMP":"13500000","MESSAGE":"usb""#,
                "h kernel: [   13.500000] usb",
            ),
            (
                r#""SYSLOG_IDENTIFIER":"kernel","_PID":"5","_SOURCE_MONOTONIC_TIMESTAMP":"1","MESSAGE":"u""#,
                "h kernel[5]: u",
            ),
            // Not known to fail2ban's renderer, or fatal there.
            (r#""SYSLOG_IDENTIFIER":["a","b"],"_PID":["1","2"],"MESSAGE":"m""#, "h a[1]: m"),
            (r#""SYSLOG_IDENTIFIER":"a\nh sshd","MESSAGE":"m""#, "h a\\nh sshd: m"),
        ] {
            check(&format!("{host},{fields}"), expected);
        }
        check(r#""MESSAGE":"hi""#, "hi");
    }

    #[test]
    fn times_and_cursor() {
        let entry = parse(
            br#"{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"20",
                 "_SOURCE_REALTIME_TIMESTAMP":"10","MESSAGE":"m"}"#,
        )
        .unwrap();
        assert_eq!((entry.time, entry.cursor.as_deref()), (Timestamp(10), Some("s=1;i=2")));
        let entry =
            parse(br#"{"__REALTIME_TIMESTAMP":"20","_SOURCE_REALTIME_TIMESTAMP":"x"}"#).unwrap();
        assert_eq!(entry.time, Timestamp(20));
    }

    #[test]
    fn anything_may_come() {
        let deep = "[".repeat(100_000);
        for json in [
            "",
            "{",
            "[]",
            "null",
            "1",
            "{}",
            r#"{"__REALTIME_TIMESTAMP":"-1"}"#,
            r#"{"__REALTIME_TIMESTAMP":"99999999999999999999"}"#,
            r#"{"__REALTIME_TIMESTAMP":{}}"#,
            deep.as_str(),
        ] {
            assert!(parse(json.as_bytes()).is_err(), "{}", json.get(..20).unwrap_or(json));
        }
        assert!(parse(b"{\"\xff\":1}").is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(json in r#"\{"__REALTIME_TIMESTAMP":"[0-9]{1,19}"(,"(MESSAGE|_PID|_HOSTNAME)":("[^"\\]{0,9}"|[0-9]|\[[0-9,"\[\]]{0,9}\]|null)){0,4}\}"#) {
            if let Ok(entry) = parse(json.as_bytes()) {
                assert!(!entry.line.contains(&b'\n'));
            }
        }
    }
}
