//! The JSON that goes between us and the process of a Python action.
//!
//! Everything an attacker wrote (lines, user names, ids) travels as JSON strings; nothing of it is
//! ever code. What comes back is the action's, and is not trusted to be well formed.

use sekisho_core::command::{CommandError, ErrorClass};
use sekisho_core::effect::{Counters, Level, Property};
use sekisho_core::failure::MatchedLine;
use sekisho_core::id::Id;
use sekisho_core::ticket::Ticket;
use sekisho_core::value::Value;
use serde_json::{Value as Json, json};

/// Bytes of log lines that one ban hands over; what is beyond is left out.
const LINES_MAX: usize = 8 << 20;
/// Levels of nested values.
const DEPTH_MAX: usize = 40;

/// What the process says.
#[derive(Debug)]
pub enum Said {
    /// It is there; the version of Python.
    Hello,
    /// It is not the Python we need, but this version.
    TooOld(String),
    /// A log record: level, logger and text.
    Log(Level, String, String),
    /// It wants to know of earlier bans, in this jail only or in all.
    Past { jail_only: bool },
    /// The answer to a request.
    Answer(Answer),
}

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    /// What came of it, or class and text of the exception.
    pub result: Result<Json, (String, String)>,
    /// Settings that were taken, to be made again in a new process.
    pub kept: Vec<Json>,
    /// The time limit of the next call, in seconds.
    pub timeout: Option<f64>,
    /// Counted up by an action that wants all bans repeated.
    pub epoch: i64,
}

impl Said {
    /// Understands one line; `None` if it is no message of the process.
    pub fn parse(line: &[u8]) -> Option<Said> {
        let mut message: Json = serde_json::from_slice(line).ok()?;
        if message.get("hello").is_some() {
            return Some(Said::Hello);
        }
        if let Some(version) = message.get("old") {
            return Some(Said::TooOld(version.as_str()?.to_owned()));
        }
        if let Some(record) = message.get("log") {
            let text = |at: usize| Some(record.get(at)?.as_str()?.to_owned());
            return Some(Said::Log(level(record.get(0)?.as_i64()?), text(1)?, text(2)?));
        }
        if let Some(scope) = message.pointer("/ask/past") {
            return Some(Said::Past { jail_only: scope.as_str()? == "jail" });
        }
        let result = match message.get("failed") {
            Some(failed) => {
                let text = |at: usize| Some(failed.get(at)?.as_str()?.to_owned());
                Err((text(0)?, text(1)?))
            }
            None => Ok(message.get_mut("done")?.take()),
        };
        let kept = message.get_mut("kept").map(Json::take);
        Some(Said::Answer(Answer {
            result,
            kept: kept.and_then(|kept| kept.as_array().cloned()).unwrap_or_default(),
            timeout: message.get("timeout").and_then(Json::as_f64),
            epoch: message.get("epoch").and_then(Json::as_i64).unwrap_or(0),
        }))
    }
}

/// The nearest level of ours.
fn level(number: i64) -> Level {
    match number {
        50.. => Level::Critical,
        40.. => Level::Error,
        30.. => Level::Warning,
        25.. => Level::Notice,
        20.. => Level::Info,
        18.. => Level::Msg,
        10.. => Level::Debug,
        7.. => Level::Trace,
        _ => Level::Heavy,
    }
}

/// What an action may ask of its jail.
pub fn jail_facts(counters: Counters) -> Json {
    json!({
        "banned": counters.banned,
        "banned_total": counters.banned_total,
        "found": counters.found,
        "found_total": counters.found_total,
        "bantime": counters.ban_time,
    })
}

/// A ban.
pub fn ticket(ticket: &Ticket) -> Json {
    let fields: Vec<Json> =
        ticket.fields.iter().map(|(name, value)| json!([name, to_json(value, 0)])).collect();
    json!({
        "fid": id(&ticket.id),
        "ip": id(ticket.address.as_ref().unwrap_or(&ticket.id)),
        "time": to_json(&ticket.time_value(), 0),
        "bantime": ticket.ban_time.as_secs(),
        "bancount": ticket.ban_count,
        "failures": ticket.failures,
        "restored": i32::from(ticket.restored),
        "matches": matches(&ticket.matches),
        "fields": fields,
    })
}

fn id(id: &Id) -> Json {
    match id {
        Id::Tuple(parts) => json!({ "tuple": parts }),
        // It may look like a network with a prefix that is none.
        Id::Raw(text) => json!({ "raw": text }),
        other => json!(other.to_string()),
    }
}

fn matches(lines: &[MatchedLine]) -> Vec<Json> {
    let mut room = LINES_MAX;
    let mut out = Vec::new();
    for line in lines {
        let size = match line {
            MatchedLine::Whole(line) => line.len(),
            MatchedLine::Cut(parts) => parts.iter().map(String::len).sum(),
        };
        let Some(left) = room.checked_sub(size) else { break };
        room = left;
        out.push(match line {
            MatchedLine::Whole(line) => json!(line),
            MatchedLine::Cut(parts) => json!(parts),
        });
    }
    out
}

/// Lines and failures of earlier bans, as an answer to [`Said::Past`].
pub fn past(found: Option<(&[String], u64)>) -> Json {
    let Some((lines, failures)) = found else { return json!({ "told": null }) };
    let mut room = LINES_MAX;
    let fit = lines.iter().take_while(|line| match room.checked_sub(line.len()) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    });
    json!({ "told": [fit.collect::<Vec<_>>(), failures] })
}

/// A request about the object itself.
pub fn property(what: &Property, counters: Counters) -> Json {
    let jail_facts = jail_facts(counters);
    match what {
        Property::Get(name) => json!({ "do": "get", "name": name, "jail_facts": jail_facts }),
        Property::Set(pairs) => {
            let values: Vec<Json> =
                pairs.iter().map(|(name, value)| json!([name, to_json(value, 0)])).collect();
            json!({ "do": "set", "values": values, "jail_facts": jail_facts })
        }
        Property::Names => json!({ "do": "properties" }),
        Property::Methods => json!({ "do": "methods" }),
    }
}

/// The error that a client sees for an exception.
pub fn error(class: &str, text: String) -> CommandError {
    let class = match class {
        "ValueError" => ErrorClass::ValueError,
        "TypeError" => ErrorClass::TypeError,
        "IndexError" => ErrorClass::IndexError,
        "AttributeError" => ErrorClass::AttributeError,
        "RuntimeError" => ErrorClass::RuntimeError,
        _ => ErrorClass::Exception,
    };
    CommandError::new(class, text)
}

/// A plain value as JSON; what JSON does not know is tagged.
pub fn to_json(value: &Value, depth: usize) -> Json {
    let all = |items: &[Value]| items.iter().map(|v| to_json(v, depth + 1)).collect::<Vec<_>>();
    match value {
        _ if depth > DEPTH_MAX => Json::Null,
        Value::None => Json::Null,
        Value::Bool(b) => json!(b),
        Value::Int(n) => json!(n),
        Value::Float(x) => json!(x),
        Value::Str(s) => json!(s),
        Value::List(items) => json!(all(items)),
        Value::Tuple(items) => json!({ "tuple": all(items) }),
        Value::Set(items) => json!({ "set": all(items) }),
        Value::Dict(pairs) => {
            let pair = |(k, v): &(Value, Value)| [to_json(k, depth + 1), to_json(v, depth + 1)];
            json!({ "dict": pairs.iter().map(pair).collect::<Vec<_>>() })
        }
    }
}

/// The other way round.
pub fn from_json(json: &Json, depth: usize) -> Value {
    let all = |items: &[Json]| items.iter().map(|v| from_json(v, depth + 1)).collect::<Vec<_>>();
    match json {
        _ if depth > DEPTH_MAX => Value::None,
        Json::Null => Value::None,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => match n.as_i64() {
            Some(n) => Value::Int(n),
            None => Value::Float(n.as_f64().unwrap_or(0.0)),
        },
        Json::String(s) => Value::str(s),
        Json::Array(items) => Value::List(all(items)),
        Json::Object(map) => match map.iter().next() {
            Some((kind, Json::Array(items))) => match kind.as_str() {
                "tuple" => Value::Tuple(all(items)),
                "set" => Value::Set(all(items)),
                _ => Value::Dict(items.iter().filter_map(|pair| pair_of(pair, depth)).collect()),
            },
            Some((_, Json::String(text))) => Value::str(text),
            _ => Value::None,
        },
    }
}

fn pair_of(pair: &Json, depth: usize) -> Option<(Value, Value)> {
    let part = |at: usize| Some(from_json(pair.get(at)?, depth + 1));
    Some((part(0)?, part(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back() {
        let text = |s: &str| Value::str(s);
        for value in [
            Value::None,
            Value::Bool(true),
            Value::Int(-5),
            Value::Float(1.5),
            text("it's \"x\"\n\u{0}\u{2028}"),
            Value::List(vec![Value::Tuple(vec![text("a"), Value::Int(1)]), Value::Set(vec![])]),
            Value::Dict(vec![(Value::Int(1), Value::Dict(vec![])), (text("k"), Value::None)]),
        ] {
            assert_eq!(from_json(&to_json(&value, 0), 0), value);
        }
    }

    #[test]
    fn strange_messages_are_no_messages() {
        for line in ["", "x", "{}", "[]", "{\"log\": 1}", "{\"failed\": []}", "{\"ask\": {}}"] {
            assert!(Said::parse(line.as_bytes()).is_none(), "{line}");
        }
        let deep = format!("{{\"done\": {}1{}}}", "[".repeat(5000), "]".repeat(5000));
        assert!(Said::parse(deep.as_bytes()).is_none());
        assert!(matches!(
            Said::parse(b"{\"log\": [25, \"fail2ban.X\", \"t\"]}"),
            Some(Said::Log(Level::Notice, name, text)) if name == "fail2ban.X" && text == "t"
        ));
    }

    #[test]
    fn too_many_lines_are_left_out() {
        let lines = vec![MatchedLine::Whole("x".repeat(1 << 20)); 20];
        assert_eq!(matches(&lines).len(), 8);
        let lines = vec!["x".repeat(1 << 20); 20];
        let told = past(Some((&lines, 3)));
        assert_eq!(told.pointer("/told/0").and_then(Json::as_array).map(Vec::len), Some(8));
        assert_eq!(past(None), json!({ "told": null }));
    }
}
