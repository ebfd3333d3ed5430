//! The same life of an action here and in fail2ban: each call with all it is told, each log record,
//! each exception, each value that a client gets.

use std::path::Path;

use sekisho_core::effect::{ActionOp, Counters, Property};
use sekisho_core::failure::{Fields, MatchedLine};
use sekisho_core::id::Id;
use sekisho_core::ticket::{BanTime, Ticket};
use sekisho_core::time::{Span, Timestamp};
use sekisho_core::value::Value;
use sekisho_oracle::{Fail2ban, Python, missing, report};
use serde_json::{Value as Json, json};

use super::{action, data, python};
use crate::bench::Bench;

const JUDGE: &str = include_str!("judge.py");

/// Loggers that are not the action's.
const OURS: &[&str] = &["actions", "jail", "server", "transmitter", "utils"];

/// One life: an action file, its parameters (`record` is added, if it wants that), and what happens.
pub struct Case {
    pub file: String,
    pub params: Json,
    pub records: bool,
    pub steps: Vec<Json>,
}

/// A ban, as both are told of it.
pub fn told(id: &str, change: impl FnOnce(&mut Json)) -> Json {
    let mut told = json!({
        "id": id, "time": 1_700_000_000.25, "bantime": 600, "bancount": 1, "failures": 5,
        "restored": false, "matches": ["line 1", "it's \"line\" 2 \u{e9}\u{2028} $(id) %(ip)s"],
        "fields": {},
    });
    change(&mut told);
    told
}

fn ticket(told: &Json) -> Ticket {
    let int = |key: &str| told[key].as_i64().unwrap();
    let mut fields = Fields::default();
    let mut address = None;
    for (name, value) in told["fields"].as_object().unwrap() {
        match (name.as_str(), value) {
            ("ip", ip) => address = Some(Id::parse(ip.as_str().unwrap())),
            (name, Json::String(text)) => fields.set(name, Value::str(text)),
            (name, Json::Array(items)) => {
                fields.set(name, Value::strs(items.iter().map(|i| i.as_str().unwrap())));
            }
            other => panic!("{other:?}"),
        }
    }
    let line = |line: &Json| match line {
        Json::Array(parts) => {
            let part = |at: usize| parts[at].as_str().unwrap().to_owned();
            MatchedLine::Cut([part(0), part(1), part(2)])
        }
        whole => MatchedLine::Whole(whole.as_str().unwrap().to_owned()),
    };
    Ticket {
        id: Id::parse(told["id"].as_str().unwrap()),
        address,
        time: Timestamp::from_secs_f64(told["time"].as_f64().unwrap()),
        whole: told["time"].is_i64(),
        ban_time: match int("bantime") {
            -1 => BanTime::Permanent,
            secs => BanTime::For(Span::from_secs(secs)),
        },
        ban_count: u32::try_from(int("bancount")).unwrap(),
        failures: u32::try_from(int("failures")).unwrap(),
        matches: told["matches"].as_array().unwrap().iter().map(line).collect(),
        fields,
        restored: told["restored"].as_bool().unwrap(),
    }
}

/// The same life here.
fn life(case: &Case, record: &Path) -> Vec<Json> {
    let bench = Bench::new();
    bench.counters.set(Counters { ban_time: 600, ..Counters::default() });
    let spec = action(Path::new(&case.file), &case.params.to_string());
    let mut transcript = Vec::new();
    for step in &case.steps {
        let words: Vec<&str> =
            step.as_array().unwrap().iter().map(|w| w.as_str().unwrap_or("")).collect();
        let op = |op, ticket| {
            bench.send_ticket(1, &spec, op, ticket);
            bench.outcome().1
        };
        let banned = || Some(ticket(&step[1]));
        let mut value = Json::Null;
        let result = match words.as_slice() {
            // Here that is the beginning of a start; a question makes it happen alone.
            ["add"] => {
                op(ActionOp::CleanUp, None).unwrap();
                bench.ask(1, Property::Names).map(drop).map_err(|e| ("?", e.text()))
            }
            ["get" | "set" | "multi-set", rest @ ..] => {
                let what = match (words[0], rest) {
                    ("get", ["actionproperties", _]) => Property::Names,
                    ("get", ["actionmethods", _]) => Property::Methods,
                    ("get", ["action", _, name]) => Property::Get((*name).to_owned()),
                    ("set", ["action", _, name]) => {
                        Property::Set(vec![((*name).to_owned(), Value::None)])
                    }
                    ("set", ["action", _, name, value]) => {
                        Property::Set(vec![((*name).to_owned(), Value::str(*value))])
                    }
                    _ => panic!("{words:?}"),
                };
                let answer = bench.ask(1, what);
                answer.map(|v| value = json!(v.repr())).map_err(|e| ("?", e.text()))
            }
            ["flush"] => match op(ActionOp::Flush, None) {
                // An empty reason declines.
                Err(reason) if !reason.is_empty() => Err(("?", reason)),
                done => {
                    value = json!(if done.is_ok() { "True" } else { "False" });
                    Ok(())
                }
            },
            [verb, ..] => {
                let (op_of, ticket) = match *verb {
                    "start" => (ActionOp::Start, None),
                    "stop" => (ActionOp::Stop, None),
                    "check" => (ActionOp::Check, None),
                    "ban" => (ActionOp::Ban, banned()),
                    "reban" => (ActionOp::Reban, banned()),
                    "prolong" => (ActionOp::Prolong, banned()),
                    "unban" => (ActionOp::Unban, banned()),
                    other => panic!("{other}"),
                };
                op(op_of, ticket).map_err(|reason| ("?", reason))
            }
            [] => panic!("an empty step"),
        };
        let logs: Vec<Json> = bench
            .take_records()
            .into_iter()
            .filter(|r| r.level as u8 >= 20)
            .filter(|r| !OURS.contains(&r.logger.rsplit('.').next().unwrap()))
            .map(|r| json!([r.level as u8, r.logger, r.text]))
            .collect();
        let records = std::fs::read_to_string(record).unwrap_or_default();
        let _ = std::fs::remove_file(record);
        let error = result.err().map(|(_, text)| text);
        transcript.push(json!({"records": records, "logs": logs, "error": error, "value": value}));
    }
    transcript
}

fn cases(fail2ban: &Fail2ban) -> Vec<Case> {
    let own = |file: &str, params: Json, records: bool, steps: Json| Case {
        file: data(file).to_str().unwrap().to_owned(),
        params,
        records,
        steps: steps.as_array().unwrap().clone(),
    };
    let plain = told("192.0.2.1", |_| {});
    let rich = told("2001:db8::5", |t| {
        t["fields"] = json!({"user": "it's $(id)", "fport": "22", "list": ["a", "b"]});
        t["matches"] = json!([["before ", "DATE", " after\n"], "whole"]);
        t["bantime"] = json!(-1);
        t["time"] = json!(1_700_000_001);
        t["bancount"] = json!(7);
    });
    let restored = told("198.51.100.7", |t| {
        t["restored"] = json!(true);
        t["time"] = json!(1_699_999_999);
    });
    let user = told("some user", |_| {});
    let net = told("203.0.113.0/24", |_| {});
    let both = told("session-17", |t| t["fields"] = json!({"ip": "192.0.2.9", "user": "u"}));
    let mut out = vec![
        own(
            "records.py",
            json!({"greeting": "g\u{e9} 'q' \"d\" %s $(x)", "extra": ""}),
            true,
            json!([
                ["add"],
                ["start"],
                ["ban", plain],
                ["ban", rich],
                ["ban", restored],
                ["ban", user],
                ["ban", net],
                ["ban", both],
                ["reban", plain],
                ["prolong", plain],
                ["unban", rich],
                ["unban", restored],
                ["stop"]
            ]),
        ),
        own(
            "mapping.py",
            json!({}),
            true,
            json!([
                ["add"],
                ["start"],
                ["ban", plain],
                ["unban", plain],
                ["ban", rich],
                ["ban", restored],
                ["reban", plain],
                ["stop"]
            ]),
        ),
        own(
            "mapping.py",
            json!({"pattern": "%(nonsense)s"}),
            true,
            json!([["add"], ["start"], ["ban", plain], ["unban", plain], ["stop"]]),
        ),
        own(
            "duck.py",
            json!({}),
            true,
            json!([
                ["add"],
                ["start"],
                ["ban", plain],
                ["ban", restored],
                ["prolong", plain],
                ["prolong", restored],
                ["reban", restored],
                ["check"],
                ["unban", restored],
                ["flush"],
                ["stop"]
            ]),
        ),
        own(
            "addresses.py",
            json!({}),
            true,
            json!([
                ["add"],
                ["start"],
                ["ban", plain],
                ["ban", rich],
                ["ban", user],
                ["ban", net],
                ["ban", both],
                ["stop"]
            ]),
        ),
        own(
            "logging_styles.py",
            json!({}),
            false,
            json!([
                ["add"],
                ["start"],
                ["ban", plain],
                ["ban", told("192.0.2.2", |_| {})],
                ["ban", told("192.0.2.4", |_| {})],
                ["ban", told("192.0.2.5", |_| {})],
                ["flush"],
                ["unban", plain],
                ["stop"]
            ]),
        ),
        own(
            "properties.py",
            json!({"first": 1, "third": [1, {"a": null}]}),
            false,
            json!([
                ["add"],
                ["get", "actionproperties", "act"],
                ["get", "actionmethods", "act"],
                ["get", "action", "act", "first"],
                ["get", "action", "act", "second"],
                ["get", "action", "act", "more"],
                ["get", "action", "act", "nothing"],
                ["get", "action", "act", "number"],
                ["get", "action", "act", "real"],
                ["get", "action", "act", "flag"],
                ["get", "action", "act", "items"],
                ["get", "action", "act", "pair"],
                ["get", "action", "act", "some"],
                ["get", "action", "act", "limit"],
                ["get", "action", "act", "_hidden"],
                ["get", "action", "act", "_name"],
                ["get", "action", "act", "absent"],
                ["set", "action", "act", "first", "it's \"x\"\n\u{e9}"],
                ["get", "action", "act", "first"],
                ["set", "action", "act", "new", "value"],
                ["get", "action", "act", "new"],
                ["set", "action", "act", "size", "7"],
                ["get", "action", "act", "size"],
                ["set", "action", "act", "size", "0"],
                ["set", "action", "act", "size", "many"],
                ["get", "action", "act", "size"],
                ["set", "action", "act", "fixed", "x"],
                ["set", "action", "act", "first"],
                ["set", "action", "act", "add", "{\"a\": 1}"],
                ["set", "action", "act", "add", "{\"a\": \"x\", \"b\": \"y\"}"],
                ["set", "action", "act", "add"],
                ["set", "action", "act", "add", "{\"c\": 1}"],
                ["set", "action", "act", "says", "{\"text\": \"\u{e9}\"}"],
                ["set", "action", "act", "fails"],
                ["set", "action", "act", "static"],
                ["set", "action", "act", "static", "{\"word\": [1, null, true, 1.5]}"],
                ["set", "action", "act", "start"],
                ["get", "actionproperties", "act"]
            ]),
        ),
        own("properties.py", json!({}), false, json!([["add"]])),
    ];
    // fail2ban's own.
    let folder = fail2ban.modules.join("fail2ban/tests/files/action.d");
    let theirs = |file: &str, params: Json, steps: Json| Case {
        file: folder.join(file).to_str().unwrap().to_owned(),
        params,
        records: false,
        steps: steps.as_array().unwrap().clone(),
    };
    out.extend([
        theirs(
            "action.py",
            json!({"opt1": "value"}),
            json!([
                ["add"],
                ["get", "actionproperties", "act"],
                ["get", "actionmethods", "act"],
                ["get", "action", "act", "opt1"],
                ["get", "action", "act", "opt2"],
                ["set", "action", "act", "testmethod", "{\"text\": \"world!\"}"],
                ["set", "action", "act", "opt1", "another"],
                ["set", "action", "act", "testmethod", "{\"text\": \"world!\"}"],
                ["start"],
                ["ban", plain],
                ["unban", plain],
                ["stop"]
            ]),
        ),
        theirs("action.py", json!({"opt1": "value", "opt3": "x"}), json!([["add"]])),
        theirs("action.py", json!({}), json!([["add"]])),
        theirs(
            "action_checkainfo.py",
            json!({}),
            json!([["add"], ["start"], ["ban", rich], ["stop"]]),
        ),
        theirs("action_errors.py", json!({}), json!([["add"], ["ban", plain], ["unban", plain]])),
        theirs(
            "action_modifyainfo.py",
            json!({}),
            json!([
                ["add"],
                ["start"],
                ["ban", plain],
                ["ban", plain],
                ["flush"],
                ["unban", plain],
                ["stop"]
            ]),
        ),
        theirs("action_noAction.py", json!({}), json!([["add"]])),
        theirs("action_nomethod.py", json!({}), json!([["add"]])),
    ]);
    out
}

/// What may differ: how an error of loading is introduced, and that an empty text is no error.
fn same_error(ours: &Json, theirs: &Json) -> bool {
    match (ours.as_str(), theirs.as_array()) {
        (None, None) => true,
        (Some(ours), Some(theirs)) => {
            let text = theirs[1].as_str().unwrap();
            ours == text
                || ours.ends_with(&format!(": {text}"))
                || (text.is_empty() && ours == theirs[0])
        }
        _ => false,
    }
}

/// `None` goes through the socket as text.
fn same_value(ours: &Json, theirs: &Json) -> bool {
    ours == theirs || (ours == "None" && theirs == "'None'")
}

/// Plays the cases of every fail2ban that is there, here and there; what the action leaves in the
/// file `record` counts as said, and has to have at least `least` lines in each.
pub fn compare(what: &str, record: &Path, least: usize, cases: impl Fn(&Fail2ban) -> Vec<Case>) {
    let all = Fail2ban::all();
    if all.is_empty() {
        return missing("a fail2ban");
    }
    for fail2ban in all {
        let mut judge = Python::start(fail2ban.python(), JUDGE, &[]);
        let (mut steps, mut lines) = (0, 0);
        for mut case in cases(&fail2ban) {
            if case.records {
                case.params["record"] = json!(record);
            }
            let question = json!({
                "file": case.file, "params": case.params, "steps": case.steps, "record": record,
            });
            let theirs = judge.ask(&question);
            let theirs = theirs.as_array().unwrap();
            let ours = life(&case, record);
            assert_eq!(ours.len(), theirs.len());
            for ((step, ours), theirs) in case.steps.iter().zip(&ours).zip(theirs) {
                let about = format!("{} {}, {step}", fail2ban.version, case.file);
                same(&about, ours, theirs);
                steps += 1;
                lines += ours["records"].as_str().unwrap().lines().count();
            }
        }
        assert!(lines >= least, "only {lines} lines were left by the actions");
        report(what, &format!("fail2ban {}", fail2ban.version), steps, "steps");
    }
}

#[track_caller]
fn same(about: &str, ours: &Json, theirs: &Json) {
    assert!(same_error(&ours["error"], &theirs["error"]), "{about}:\n{ours:#}\n{theirs:#}");
    assert!(same_value(&ours["value"], &theirs["value"]), "{about}:\n{ours:#}\n{theirs:#}");
    let lines = |json: &Json| match json {
        Json::String(text) => text.lines().map(str::to_owned).collect(),
        other => vec![other.to_string()],
    };
    for part in ["records", "logs"] {
        let (ours, theirs) = (lines(&ours[part]), lines(&theirs[part]));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{about}");
        }
        assert_eq!(ours.len(), theirs.len(), "{about}: {ours:#?}\n{theirs:#?}");
    }
}

#[test]
fn actions_live_as_in_fail2ban() {
    if python() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("record");
        compare("Python actions: calls, log, errors, values", &record, 50, cases);
    }
}
