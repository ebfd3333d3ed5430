//! `--json` behind `status`, `stats` and `banned`: what the server answers, for programs to read.
//!
//! Made from the same answers as the texts, so it works with a fail2ban server as well. Names are
//! those of the texts, in lower case with underscores; a row that a later version adds is one more
//! key.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use sekisho_core::effect::Level;
use sekisho_core::value::Value;
use serde_json::{Map, Value as Json, json};

use super::{Client, complain_plainly, print, say};
use crate::control::pickle::Reply;
use crate::control::text;

impl Client {
    /// Runs one of these commands; whether it succeeded.
    pub(super) fn json(&self, command: &[&str]) -> bool {
        let made = match command {
            ["status"] => self.done(&["status", "--all"]).map(|value| overview(&value)),
            ["status", _] | ["stats"] => self.done(command).map(|value| to_json(&value)),
            ["banned"] => self.banned(),
            _ => {
                say(
                    Level::Error,
                    "--json goes with `status`, `status JAIL`, `stats` and `banned`; nothing was sent",
                );
                return false;
            }
        };
        if let Some(made) = &made {
            print(&made.to_string());
        }
        made.is_some()
    }

    /// The value of a good answer; otherwise says what is wrong.
    fn done(&self, command: &[&str]) -> Option<Value> {
        let command = Value::strs(command.iter().copied());
        match self.ask(&command, None) {
            Ok(Reply::Done(value)) => Some(value),
            Ok(reply) => {
                self.show(&command, &reply, false);
                // Standard output is for JSON.
                if let Reply::Failed(error) = &reply {
                    complain_plainly(&text::error(error));
                }
                None
            }
            Err(error) => {
                self.no_answer(&error, error.to_string());
                None
            }
        }
    }

    /// Who is banned, with the times.
    fn banned(&self) -> Option<Json> {
        let Value::List(jails) = self.done(&["banned"])? else { return Some(json!([])) };
        let names = jails.iter().filter_map(|jail| match jail {
            Value::Dict(items) => Some(items.first()?.0.to_text()),
            _ => None,
        });
        let mut out = Vec::new();
        let zone = crate::clock::zone().0;
        for name in names {
            let Value::List(lines) = self.done(&["get", &name, "banip", "--with-time"])? else {
                continue;
            };
            out.extend(lines.iter().filter_map(|line| ban(&name, line.as_str()?, &zone)));
        }
        Some(out.into())
    }
}

/// `IP \tSTART + SECONDS = END`, times in the server's zone.
fn ban(jail: &str, line: &str, zone: &TimeZone) -> Option<Json> {
    let (ip, times) = line.split_once(" \t")?;
    let (since, rest) = times.split_once(" + ")?;
    let (seconds, until) = rest.split_once(" = ")?;
    let seconds: i64 = seconds.trim().parse().ok()?;
    let at = |text: &str| -> Option<String> {
        let time: DateTime = text.trim().parse().ok()?;
        let time = zone.to_timestamp(time).ok()?;
        Some(time.display_with_offset(zone.to_offset(time)).to_string())
    };
    // A permanent ban has no end, whatever far date stands in its place.
    let until = (seconds >= 0).then(|| at(until)).flatten();
    Some(json!({"jail": jail, "ip": ip, "since": at(since), "seconds": seconds, "until": until}))
}

/// `status --all`: lists as lists, and the jails under a name of their own.
fn overview(value: &Value) -> Json {
    let mut out = Map::new();
    for row in value.items().unwrap_or_default() {
        match (row, pair(row)) {
            (_, Some((name @ "Jail list", Value::Str(list)))) => {
                let names = list.split(", ").filter(|name| !name.is_empty());
                out.insert(key(name), names.collect());
            }
            (_, Some((name @ "Broken jails", Value::List(list)))) => {
                // `NAME (REASON)`
                let jail = |text: &Value| {
                    let text = text.as_str()?;
                    let (name, reason) = text.split_once(" (")?;
                    let reason = reason.strip_suffix(')').unwrap_or(reason);
                    Some((name.to_owned(), json!(reason)))
                };
                out.insert(key(name), Json::Object(list.iter().filter_map(jail).collect()));
            }
            (_, Some((name, value))) => {
                out.insert(key(name), to_json(value));
            }
            (Value::Dict(_), None) => {
                out.insert("jails".into(), to_json(row));
            }
            _ => {}
        }
    }
    out.into()
}

/// `Currently failed` → `currently_failed`
fn key(name: &str) -> String {
    name.to_lowercase().replace(' ', "_")
}

/// A named row; a list of two is just a list.
fn pair(value: &Value) -> Option<(&str, &Value)> {
    matches!(value, Value::Tuple(_)).then(|| value.row())?
}

/// Lists of named rows become objects, everything else is what it is.
fn to_json(value: &Value) -> Json {
    match value {
        Value::None => Json::Null,
        Value::Bool(b) => json!(b),
        Value::Int(n) => json!(n),
        Value::Float(x) => json!(x),
        Value::Str(text) => json!(text),
        Value::Dict(items) => {
            let items = items.iter().map(|(k, v)| (k.to_text(), to_json(v)));
            Json::Object(items.collect())
        }
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
            let rows: Option<Map<String, Json>> =
                items.iter().map(|row| pair(row).map(|(k, v)| (key(k), to_json(v)))).collect();
            match rows {
                Some(rows) if !rows.is_empty() => rows.into(),
                _ => items.iter().map(to_json).collect(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, value: Value) -> Value {
        Value::Tuple(vec![Value::str(name), value])
    }

    #[test]
    fn answers_become_objects() {
        let jail = Value::List(vec![
            row("Filter", Value::List(vec![row("Currently failed", Value::Int(2))])),
            row("Actions", Value::List(vec![row("Banned IP list", Value::strs(["192.0.2.1"]))])),
        ]);
        let shown = json!({"filter": {"currently_failed": 2}, "actions": {"banned_ip_list": ["192.0.2.1"]}});
        assert_eq!(to_json(&jail), shown);
        let all = Value::List(vec![
            row("Number of jail", Value::Int(2)),
            row("Jail list", Value::str("a, b")),
            row("Broken jails", Value::strs(["x (no filter (x), nor y)", "y-1 (why)"])),
            Value::Dict(vec![(Value::str("a"), jail)]),
        ]);
        assert_eq!(
            overview(&all),
            json!({
                "number_of_jail": 2, "jail_list": ["a", "b"], "jails": {"a": shown},
                "broken_jails": {"x": "no filter (x), nor y", "y-1": "why"}
            })
        );
        let none = Value::List(vec![row("Jail list", Value::str(""))]);
        assert_eq!(overview(&none), json!({"jail_list": []}));
        assert_eq!(to_json(&Value::List(vec![])), json!([]));
    }

    #[test]
    fn bans_have_times() {
        for (line, expected) in [
            (
                "192.0.2.1 \t2026-11-23 02:17:00 + 600 = 2026-11-23 02:27:00",
                Some(json!({
                    "jail": "j", "ip": "192.0.2.1", "since": "2026-11-23T02:17:00+00:00",
                    "seconds": 600, "until": "2026-11-23T02:27:00+00:00"
                })),
            ),
            (
                "2001:db8::/64 \t2026-11-23 02:17:00 + -1 = 9999-12-31 23:59:59",
                Some(json!({
                    "jail": "j", "ip": "2001:db8::/64", "since": "2026-11-23T02:17:00+00:00",
                    "seconds": -1, "until": null
                })),
            ),
            ("nonsense", None),
        ] {
            assert_eq!(ban("j", line, &TimeZone::UTC), expected, "{line}");
        }
    }
}
