//! fail2ban's `smtp.py` against a mail server of our own: the same mails, byte for byte apart from
//! their dates, here and in fail2ban.

use serde_json::{Value as Json, json};

use super::mails::mail_server;
use super::oracle::{Case, compare, told};
use super::python;

#[test]
fn the_same_mails() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record");
    let host = format!("127.0.0.1:{}", mail_server(&record));
    let ban = told("192.0.2.1", |_| {});
    let hostile = told("2001:db8::7", |told| {
        let lines = ["\r\n.\r\nQUIT\r\n", "%(ip)s %s \u{1f600} $(id)", &"long ".repeat(300)];
        told["matches"] = json!(lines);
        told["bantime"] = json!(-1);
    });
    let restored = told("192.0.2.2", |told| told["restored"] = json!(true));
    let steps = |more: Json| {
        let mut steps = vec![
            json!(["add"]),
            json!(["start"]),
            json!(["ban", ban]),
            json!(["ban", restored]),
            json!(["ban", hostile]),
            json!(["unban", ban]),
        ];
        steps.extend(more.as_array().unwrap().iter().cloned());
        steps.push(json!(["stop"]));
        steps
    };
    let set = |name: &str, value: &str| json!(["set", "action", "act", name, value]);
    compare("smtp.py: mails", &record, 20, |fail2ban| {
        let file = fail2ban.config.join("action.d/smtp.py").to_str().unwrap().to_owned();
        let case = |params: Json, more: Json| Case {
            file: file.clone(),
            params,
            records: false,
            steps: steps(more),
        };
        let add_only = Case {
            file: file.clone(),
            params: json!({"host": host, "nonsense": "1"}),
            records: false,
            steps: vec![json!(["add"])],
        };
        let mut cases = vec![
            add_only,
            case(json!({"host": host}), json!([])),
            case(
                json!({
                    "host": host, "sendername": "J\u{fc}rgen, \"x\"", "sender": "a@example.com",
                    "dest": "b@example.com, c@example.com", "user": "me", "password": "secret",
                }),
                json!([
                    set("toaddr", "d@example.com"),
                    set("fromname", "Other"),
                    set("matches", "matches"),
                    ["ban", hostile],
                    ["get", "action", "act", "host"],
                    ["get", "actionproperties", "act"],
                    ["get", "actionmethods", "act"]
                ]),
            ),
            // What goes wrong is said alike.
            case(json!({"host": host, "dest": "nobody@example.com"}), json!([])),
            case(
                json!({"host": host, "dest": "b@example.com, nobody@example.com"}),
                json!([set("host", "127.0.0.1:1"), ["ban", ban]]),
            ),
        ];
        for kind in ["matches", "ipmatches", "ipjailmatches"] {
            cases.push(case(json!({"host": host, "matches": kind}), json!([])));
        }
        cases
    });
}
