//! `set J action A METHOD [JSON]`: an operation of an action that a client asks for by hand.
//!
//! It runs what the action would run and changes nothing about who is banned.

use serde_json::{Map, Value as Json};

use super::{CommandError, ErrorClass};
use crate::effect::ActionOp;
use crate::id::Id;
use crate::value::Value;

/// What an action can be asked to do; the names are those of fail2ban's methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// What runs; `None` for helpers of fail2ban's program, which are only listed.
    pub op: Option<ActionOp>,
}

/// All methods, as `get J actionmethods A` lists them.
pub const METHODS: [Method; 15] = [
    Method { name: "ban", op: Some(ActionOp::Ban) },
    Method { name: "clearAllParams", op: None },
    Method { name: "consistencyCheck", op: Some(ActionOp::Check) },
    Method { name: "escapeTag", op: None },
    Method { name: "executeCmd", op: None },
    Method { name: "flush", op: Some(ActionOp::Flush) },
    Method { name: "invalidateBanEpoch", op: None },
    Method { name: "prolong", op: Some(ActionOp::Prolong) },
    Method { name: "reban", op: Some(ActionOp::Reban) },
    Method { name: "reload", op: Some(ActionOp::Reload) },
    Method { name: "replaceDynamicTags", op: None },
    Method { name: "replaceTag", op: None },
    Method { name: "start", op: Some(ActionOp::Start) },
    Method { name: "stop", op: Some(ActionOp::Stop) },
    Method { name: "unban", op: Some(ActionOp::Unban) },
];

/// An operation, and for whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What runs.
    pub op: ActionOp,
    /// For `ban` and its kind.
    pub about: Option<About>,
}

/// What `aInfo` says of a ban; the rest of a ticket is of no matter to a command asked for by hand.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// `ip`, or `fid` where there is one.
    pub id: Id,
    /// `failures`
    pub failures: u32,
    /// `matches`, one line each.
    pub matches: Vec<String>,
    /// `bantime` in seconds.
    pub ban_time: Option<i64>,
}

/// The call of a method by its name; `None` if there is no such method, and `key` is a property.
pub fn parse(key: &str, json: Option<&str>) -> Option<Result<Call, CommandError>> {
    let method = METHODS.iter().find(|m| m.name == key)?;
    Some(call(*method, json))
}

fn call(Method { name, op }: Method, json: Option<&str>) -> Result<Call, CommandError> {
    let Some(op) = op else {
        let can: Vec<&str> = METHODS.iter().filter(|m| m.op.is_some()).map(|m| m.name).collect();
        let text = format!("{name} cannot be called; what can be is {}", can.join(", "));
        return Err(CommandError::new(ErrorClass::AttributeError, text));
    };
    let arguments = arguments(json)?;
    let takes_info =
        matches!(op, ActionOp::Ban | ActionOp::Unban | ActionOp::Reban | ActionOp::Prolong);
    let type_error = |text: String| {
        CommandError::new(ErrorClass::TypeError, format!("CommandAction.{name}() {text}"))
    };
    if let Some(other) = arguments.keys().find(|key| !takes_info || *key != "aInfo") {
        return Err(type_error(format!("got an unexpected keyword argument '{other}'")));
    }
    let about = match arguments.get("aInfo") {
        Some(info) => Some(about(info)?),
        None if takes_info => {
            return Err(type_error("missing 1 required positional argument: 'aInfo'".into()));
        }
        None => None,
    };
    Ok(Call { op, about })
}

fn arguments(json: Option<&str>) -> Result<Map<String, Json>, CommandError> {
    let Some(text) = json else { return Ok(Map::new()) };
    match serde_json::from_str(text) {
        Ok(Json::Object(map)) => Ok(map),
        Ok(_) => {
            let text = "the arguments of a method are a JSON object, as in {\"aInfo\": {\"ip\": \"192.0.2.1\"}}";
            Err(CommandError::new(ErrorClass::TypeError, text))
        }
        Err(error) if error.column() <= 1 && error.line() <= 1 => {
            let args = vec![Value::str("Expecting value"), Value::str(text), Value::Int(0)];
            Err(CommandError { class: ErrorClass::Json, args })
        }
        Err(error) => {
            let text = format!("the arguments of a method are JSON: {error}");
            Err(CommandError::new(ErrorClass::ValueError, text))
        }
    }
}

fn about(info: &Json) -> Result<About, CommandError> {
    let text = |key: &str| info.get(key).and_then(Json::as_str);
    let Some(id) = text("fid").or_else(|| text("ip")) else {
        let error = CommandError::new(ErrorClass::KeyError, "ip");
        return Err(error);
    };
    let failures = info.get("failures").and_then(Json::as_u64).unwrap_or(0);
    Ok(About {
        id: Id::parse(id),
        failures: u32::try_from(failures).unwrap_or(u32::MAX),
        matches: text("matches").unwrap_or_default().lines().map(str::to_owned).collect(),
        ban_time: info.get("bantime").and_then(Json::as_i64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls() {
        for (key, json, expected) in [
            ("actionban", None, None),
            ("start", None, Some(Ok(ActionOp::Start))),
            ("stop", Some("{}"), Some(Ok(ActionOp::Stop))),
            ("consistencyCheck", None, Some(Ok(ActionOp::Check))),
            ("unban", Some(r#"{"aInfo": {"ip": "192.0.2.1"}}"#), Some(Ok(ActionOp::Unban))),
            (
                "ban",
                None,
                Some(Err("CommandAction.ban() missing 1 required positional argument: 'aInfo'")),
            ),
            ("ban", Some("x"), Some(Err("Expecting value: line 1 column 1 (char 0)"))),
            ("ban", Some(""), Some(Err("Expecting value: line 1 column 1 (char 0)"))),
            ("ban", Some(r#"{"aInfo": {}}"#), Some(Err("'ip'"))),
            (
                "start",
                Some(r#"{"x": 1}"#),
                Some(Err("CommandAction.start() got an unexpected keyword argument 'x'")),
            ),
        ] {
            let got = parse(key, json).map(|call| match call {
                Ok(call) => Ok(call.op),
                Err(error) => Err(error.text()),
            });
            assert_eq!(got, expected.map(|e| e.map_err(str::to_owned)), "{key} {json:?}");
        }
        let error = parse("executeCmd", Some("{}")).unwrap().unwrap_err().text();
        assert!(error.contains("ban, consistencyCheck, flush"), "{error}");
    }
}
