//! Action files of an installed fail2ban, with stand-ins for the programs they call: both programs
//! must call the same things, in the same order, with the same words.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use sekisho_core::effect::ActionOp;
use sekisho_core::failure::MatchedLine;
use sekisho_core::ticket::BanTime;
use sekisho_core::time::{Span, Timestamp};

use crate::bench::{Bench, spec, ticket};

/// Reads an action as fail2ban does, runs a life of it, prints its properties and what was called.
const PYTHON: &str = r#"
import sys, json, os, logging
sys.path.insert(0, '/usr/lib/python3/dist-packages')
from fail2ban.client.actionreader import ActionReader
from fail2ban.server.jail import Jail
from fail2ban.server.action import CommandAction
from fail2ban.server.ticket import BanTicket
logging.disable(logging.CRITICAL)
folder, name, params, steps = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4].split(',')
reader = ActionReader(name, 'j1', params, basedir='/etc/fail2ban')
reader.read(); reader.getOptions({})
props = {}
for command in reader.convert():
    if command[0] == 'multi-set': props.update((k, v) for k, v in command[4])
    elif command[:4] == ['set', 'j1', 'action', name]: props[command[4]] = command[5]
for key, value in props.items():
    # Never the real ones, however an action names them.
    value = str(value).replace('/usr/sbin/', '').replace('/sbin/', '')
    if key.startswith('action') and '_' not in key and key != 'actname' and value:
        value = 'PATH=%s/bin:$PATH\n%s' % (folder, value)
    props[key] = value
jail = Jail('j1', backend='polling')
act = CommandAction(jail, name)
for k, v in props.items():
    setattr(act, k, v == 'true' if v in ('true', 'false') else v)
jail.actions._actions[name] = act
transcript = []
for step in steps:
    op, _, arg = step.partition(' ')
    error = ''
    try:
        if arg:
            t = BanTicket(arg, 1700000000.0, ["it's `id` $(id) \"x\" | y", 'second'])
            t.setAttempt(5); t.setBanTime(600); t.setBanCount(1); t._data['user'] = 'a b;c'
            getattr(act, op)(jail.actions._getActionInfo(t))
        else: getattr(act, op)()
    except Exception as e: error = str(e)
    called = ''
    if os.path.exists(folder + '/record'):
        called = open(folder + '/record').read()
        os.unlink(folder + '/record')
    transcript.append(called + error)
print(json.dumps([props, transcript]))
"#;

/// Writes down how it was called, and what it was given to read.
const STAND_IN: &str = r#"#!/bin/sh
line=${0##*/}
for a; do line="$line [$a]"; done
case "${0##*/}" in
  sendmail|mail) line="$line
$(cat)";;
  date) echo today;;
  whois) echo "whois $*";;
esac
# One write: several run at once.
printf '%s\n' "$line" >>FOLDER/record
"#;

const PROGRAMS: &[&str] = &[
    "iptables",
    "ip6tables",
    "nft",
    "ipset",
    "sendmail",
    "mail",
    "whois",
    "date",
    "hostname",
    "firewall-cmd",
    "ufw",
    "shorewall",
    "route",
    "ip",
    "sleep",
    "uname",
];

fn installed() -> bool {
    sekisho_oracle::Fail2ban::installed().is_some()
}

fn compare(action: &str, params: &str, steps: &str) {
    let path = format!("/etc/fail2ban/action.d/{action}.conf");
    if !Path::new(&path).exists() {
        return sekisho_oracle::missing(&path);
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_str().unwrap();
    std::fs::create_dir(folder.path().join("bin")).unwrap();
    for program in PROGRAMS {
        let file = folder.path().join("bin").join(program);
        std::fs::write(&file, STAND_IN.replace("FOLDER", at)).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let params = params.replace("%D", at);
    let out = Command::new("/usr/bin/python3")
        .args(["-c", PYTHON, at, action, &params, steps])
        .output()
        .unwrap();
    assert!(out.status.success(), "{action}: {}", String::from_utf8_lossy(&out.stderr));
    let (properties, theirs): (BTreeMap<String, String>, Vec<String>) = {
        let value: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let text = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
        (
            value[0].as_object().unwrap().iter().map(|(k, v)| (k.clone(), text(v))).collect(),
            value[1].as_array().unwrap().iter().map(text).collect(),
        )
    };
    for leftover in ["record", "deny"] {
        let _ = std::fs::remove_file(folder.path().join(leftover));
    }
    let properties: Vec<_> = properties.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let spec = spec(action, &properties);
    let bench = Bench::new();
    let mut called = 0;
    for (step, theirs) in steps.split(',').zip(theirs) {
        let (op, arg) = step.split_once(' ').unwrap_or((step, ""));
        let op = match op {
            "start" => ActionOp::Start,
            "ban" => ActionOp::Ban,
            "unban" => ActionOp::Unban,
            "flush" => ActionOp::Flush,
            "stop" => ActionOp::Stop,
            other => panic!("{other}"),
        };
        let t = (!arg.is_empty()).then(|| {
            let mut t = ticket(arg);
            t.matches = vec![
                MatchedLine::Whole("it's `id` $(id) \"x\" | y".into()),
                MatchedLine::Whole("second".into()),
            ];
            t.failures = 5;
            t.time = Timestamp::from_secs(1_700_000_000);
            t.ban_time = BanTime::For(Span::from_secs(600));
            t.fields.set("user", "a b;c".into());
            t
        });
        bench.send_ticket(1, &spec, op, t);
        let result = bench.outcome().1;
        let record = folder.path().join("record");
        let mut ours = std::fs::read_to_string(&record).unwrap_or_default();
        let _ = std::fs::remove_file(record);
        called += ours.len();
        ours.push_str(&result.err().unwrap_or_default());
        // The sides of a pipe run at once, in any order.
        let (ours, theirs) = (sorted(&ours), sorted(&theirs));
        assert_eq!(
            ours,
            theirs,
            "{action}: {step}\n{:?}",
            bench.texts(sekisho_core::effect::Level::Error)
        );
    }
    assert!(called > 0 || action == "hostsdeny", "{action}: nothing was called");
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    if text.contains("mail") {
        lines.sort_unstable();
    }
    lines
}

const LIFE: &str = "start,ban 1.2.3.4,ban 2001:db8::1,ban 1.2.3.5,unban 1.2.3.4,flush,stop";

#[test]
fn packet_filters() {
    if !installed() {
        return;
    }
    let params = r#"{"name": "sshd", "port": "ssh,2222", "protocol": "tcp", "chain": "INPUT"}"#;
    for action in [
        "iptables-multiport",
        "iptables-allports",
        "iptables",
        "nftables",
        "nftables-multiport",
        "iptables-ipset-proto6",
        "firewallcmd-ipset",
    ] {
        compare(action, params, LIFE);
    }
}

#[test]
fn hosts_deny() {
    if !installed() {
        return;
    }
    compare("hostsdeny", r#"{"name": "sshd", "file": "%D/deny"}"#, LIFE);
}

#[test]
fn mails() {
    if !installed() {
        return;
    }
    let params = r#"{"name": "sshd", "dest": "root@example.org", "sender": "f2b@example.org"}"#;
    for action in ["sendmail-whois", "sendmail-whois-matches", "sendmail", "mail-whois", "mail"] {
        compare(action, params, "start,ban 1.2.3.4,ban 2001:db8::1,unban 1.2.3.4,stop");
    }
}
