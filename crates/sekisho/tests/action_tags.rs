//! Tag substitution, compared with fail2ban and with what a shell really receives.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

use std::process::Command;

use proptest::prelude::*;
use sekisho_core::action::{Facts, NoLookUp, RunFamily, prepare, prepare_text};
use sekisho_core::effect::{ActionSpec, Counters};
use sekisho_core::failure::{Fields, MatchedLine};
use sekisho_core::id::{Family, Id};
use sekisho_core::ticket::{BanTime, Ticket};
use sekisho_core::time::{Span, Timestamp};
use sekisho_core::value::Value;
use sekisho_oracle::{Fail2ban, Python, Random, report};

fn ticket(id: &str, matches: Vec<MatchedLine>, fields: &[(&str, Value)], restored: bool) -> Ticket {
    let mut f = Fields::default();
    for (k, v) in fields {
        f.set(k, v.clone());
    }
    Ticket {
        id: Id::parse(id),
        address: None,
        time: Timestamp(1_795_400_821_250_000),
        whole: restored,
        ban_time: BanTime::For(Span::from_secs(600)),
        ban_count: 3,
        failures: 5,
        matches,
        fields: f,
        restored,
    }
}

fn facts(ticket: Option<&Ticket>) -> Facts<'_> {
    Facts {
        jail: "j1",
        counters: Counters::default(),
        ticket,
        family: RunFamily::Any,
        now: Timestamp(1_795_400_821_250_000),
    }
}

#[test]
fn tags_of_a_ticket() {
    let mut t = ticket("10.1.2.3", vec![], &[("user", Value::str("x"))], false);
    t.address = Some(Id::parse("2001:db8::1"));
    let net = ticket("5.5.5.0/24", vec![], &[], true);
    let raw = ticket("user@host", vec![], &[], false);
    let zoned = Ticket { whole: true, ..raw.clone() };
    for (t, text, expected) in [
        (Some(&t), "<ip> <fid> <family>", "2001:db8::1 10.1.2.3 inet6"),
        (Some(&t), "<jail.name> <ip-host> <time>", "j1 None 1795400821.25"),
        (Some(&t), "<F-USER>,<F-X>,<F-user>,<nosuch>", "x,,<F-user>,<nosuch>"),
        (Some(&net), "<ip> <ip-rev> <time> <restored>", "5.5.5.0/24 0/24.5.5.5. 1795400821 1"),
        (Some(&zoned), "<time> <restored>", "1795400821 0"),
        (Some(&raw), "<ip>,<family>,<ip-rev>,<bantime>", "user@host,None,,600"),
        (None, "[<ip><fid><family><ip-rev><matches>]<failures><sp>x", "[]0 x"),
    ] {
        let got = prepare_text(text, RunFamily::Any).fill(&facts(t), &mut NoLookUp);
        assert_eq!(got.script(), expected);
        assert!(got.args().is_empty());
    }
}

#[test]
fn look_ups_are_asked_only_when_needed() {
    struct Fails;
    impl sekisho_core::action::LookUp for Fails {
        fn host_name(&mut self, _: std::net::IpAddr) -> Option<String> {
            panic!("asked for a host name")
        }
        fn own_host_name(&mut self, _: bool) -> String {
            panic!("asked for the own name")
        }
        fn past_bans(&mut self, _: &Id, _: Option<&str>) -> Option<sekisho_core::action::PastBans> {
            panic!("asked for history")
        }
    }
    let t = ticket("1.2.3.4", vec![MatchedLine::Whole("a;b".into())], &[], false);
    let got = prepare_text("<ip> <matches> <F-HOST> <x>", RunFamily::Any)
        .fill(&facts(Some(&t)), &mut Fails);
    assert_eq!(got.script(), "f2bV_matches=$0 \n1.2.3.4 $f2bV_matches  <x>");
    assert_eq!(got.args(), ["a;b"]);
}

#[test]
fn long_values_fit_the_command_line() {
    for (length, in_script, as_parameter) in
        [(4096, 4096, 0), (4097, 0, 4097), (120 << 10, 0, 120 << 10), (1 << 20, 0, 120 << 10)]
    {
        let t = ticket("1.2.3.4", vec![MatchedLine::Whole("x".repeat(length))], &[], false);
        let inv = prepare_text("printf %s \"<matches>\" | wc -c", RunFamily::Any)
            .fill(&facts(Some(&t)), &mut NoLookUp);
        let xs = inv.script().bytes().filter(|b| *b == b'x').count();
        assert_eq!((xs, inv.args().concat().len()), (in_script, as_parameter), "{length}");
        let out =
            Command::new("/bin/sh").arg("-c").arg(inv.script()).args(inv.args()).output().unwrap();
        let received = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        assert_eq!(received, (in_script + as_parameter).to_string());
    }
}

/// Words of templates, all separated by characters that cannot continue a variable's name.
const WORDS: &[&str] = &[
    "<ip>",
    "<fid>",
    "<family>",
    "<ip-rev>",
    "<failures>",
    "<time>",
    "<bantime>",
    "<bancount>",
    "<matches>",
    "<ipmatches>",
    "<ipjailmatches>",
    "<ipfailures>",
    "<ipjailfailures>",
    "<restored>",
    "<jail.banned>",
    "<jail.found_total>",
    "<F-USER>",
    "<F-ID>",
    "<F-PORT>",
    "<F-ALT_USER>",
    "<F-MLF-ID>",
    "<F-MISSING>",
    "<F-lower>",
    "<F-*>",
    "<F-LIST>",
    "<nosuch>",
    "<br>",
    "<sp>",
    "<name>",
    "<port>",
    "<chain>",
    "<nested>",
    "<a<one>>",
    "<<one>>",
    "<blocktype>",
    "<actionflush>",
    "<timeout>",
    "<matches",
    "a > b < c",
    "'<F-USER>'",
    "\"<matches>\"",
    "$x",
    "`id`",
    "<a b>",
    "<\u{e9}>",
    "2>&1",
    "\\;",
    "<quoted>",
];
const HOSTILE: &[&str] = &[
    "plain",
    "with blank",
    "$(touch /tmp/x)",
    "`id`",
    "a;b",
    "a'b",
    "a\"b",
    "<ip>",
    "<F-USER>",
    "line\nbreak",
    "\r",
    "\\",
    "a&b|c",
    "{x}",
    "~root",
    "\u{e9}\u{4e2d}",
    "-n",
    "=",
    "%s",
    "",
    "^",
    "<a<one>>",
    "$0",
    "f2bV_matches",
    "#x",
    "!1",
];

const PYTHON: &str = r"
import sys, ast, json
from fail2ban.server.jail import Jail
from fail2ban.server.action import CommandAction
from fail2ban.server.ticket import BanTicket
jail = Jail('j1', backend='polling')
for line in sys.stdin:
    text, props, family, ip, restored, matches, fields = ast.literal_eval(json.loads(line))
    t = BanTicket(ip, 1795400821 if restored else 1795400821.25, matches)
    t.setAttempt(5); t.setBanTime(600); t.setBanCount(3); t.restored = restored
    data = dict(matches=matches, failures=5); data.update(fields); t._data = data
    props['cmd'] = text
    cond = 'family=' + family if family else ''
    cmd = CommandAction.replaceTag('<cmd>', props, conditional=cond)
    out = CommandAction.replaceDynamicTags(cmd, jail.actions._getActionInfo(t))
    print(json.dumps([out] if isinstance(out, str) else out), flush=True)
";

#[test]
fn same_commands_as_fail2ban() {
    let properties = [
        ("name", "sshd"),
        ("port", "0:65535"),
        ("chain", "INPUT"),
        ("one", "1"),
        ("a1", "ONE"),
        ("nested", "[<chain>:<nested2>]"),
        ("nested2", "<name><sp><blocktype>"),
        ("blocktype", "REJECT"),
        ("blocktype?family=inet6", "REJECT6 <port>"),
        ("timeout", "60"),
        ("actionflush", "flush <name>"),
        ("quoted", "\"<ip>\" '<matches>'"),
    ];
    let mut random = Random(7);
    let (mut ours, mut cases) = (Vec::new(), Vec::new());
    for n in 0..1500 {
        let text = (0..1 + n % 14).map(|_| *random.pick(WORDS)).collect::<Vec<_>>().join(" ");
        let id = *random.pick(&["1.2.3.4", "2001:db8::7", "5.5.5.0/24", "some user", "999.1.1.1"]);
        let restored = *random.pick(&[true, false]);
        let mut lines = Vec::new();
        for _ in 0..n % 4 {
            let whole = random.one_in(2);
            let mut part = || (*random.pick(HOSTILE)).to_owned();
            lines.push(if whole {
                MatchedLine::Whole(part())
            } else {
                MatchedLine::Cut([part(), part(), part()])
            });
        }
        let mut fields = Vec::new();
        for key in ["user", "fid", "fport", "alt_user", "mlf-id", "list"] {
            if *random.pick(&[true, true, false]) {
                let value = Value::str(*random.pick(HOSTILE));
                let value = if key == "list" { Value::List(vec![value]) } else { value };
                fields.push((key, value));
            }
        }
        // A group called like the ticket's own key replaces it in fail2ban; not what is tested.
        fields.retain(|(k, _)| *k != "fid");
        let family = Id::parse(id).family();
        let t = ticket(id, lines, &fields, restored);

        let mut spec = ActionSpec::default();
        for (k, v) in properties {
            spec.properties.insert(k.to_owned(), v.to_owned());
        }
        spec.properties.insert("cmd".into(), text.clone());
        let got = prepare(&spec, "cmd", RunFamily::of(family)).unwrap();
        let got = got.fill(&facts(Some(&t)), &mut NoLookUp);
        let mut all = vec![got.script().to_owned()];
        all.extend(got.args().iter().cloned());
        ours.push(all);

        let dict = |pairs: Vec<(&str, Value)>| {
            Value::Dict(pairs.into_iter().map(|(k, v)| (Value::str(k), v)).collect())
        };
        let line = Value::Tuple(vec![
            Value::str(text),
            dict(properties.iter().map(|(k, v)| (*k, Value::str(*v))).collect()),
            Value::str(family.map_or("", Family::as_str)),
            Value::str(id),
            Value::Bool(restored),
            Value::List(
                t.matches
                    .iter()
                    .map(|m| match m {
                        MatchedLine::Whole(s) => Value::str(s),
                        MatchedLine::Cut(s) => Value::strs(s.iter()),
                    })
                    .collect(),
            ),
            dict(fields),
        ])
        .repr();
        cases.push(line);
    }
    let cases = &cases;
    for fail2ban in Fail2ban::all() {
        let mut python = Python::start(fail2ban.python(), PYTHON, &[]);
        let questions = cases.iter().map(|case| case.as_str().into()).collect();
        let theirs = python.ask_all(questions);
        assert_eq!(theirs.len(), ours.len());
        for ((theirs, ours), case) in theirs.iter().zip(&ours).zip(cases) {
            let words = theirs.as_array().unwrap().iter().map(|word| word.as_str().unwrap());
            let theirs: Vec<String> = words.map(two_digits).collect();
            assert_eq!(&theirs, ours, "{case}");
        }
        report("Tags of commands", &fail2ban.version, ours.len(), "commands");
    }
}

/// From the tenth parameter on fail2ban writes `$10`, which a shell reads as `$1` and `0`.
fn two_digits(script: &str) -> String {
    let mut script = script.to_owned();
    for n in 10..20 {
        script = script.replace(&format!("=${n} "), &format!("=${{{n}}} "));
    }
    script
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// Whatever is in a log, a command receives it as data, unchanged.
    #[test]
    fn a_shell_gets_values_as_data(values in prop::collection::vec("[^\\x00]{0,20}", 12)) {
        let fields: Vec<(String, Value)> =
            values.iter().enumerate().map(|(i, v)| (format!("x{i}"), Value::str(v))).collect();
        let refs: Vec<(&str, Value)> = fields.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        let t = ticket("1.2.3.4", vec![], &refs, false);
        let tags: String = (0..12).map(|i| format!(" \"<F-X{i}>x\"")).collect();
        let inv = prepare_text(&format!("printf '%s\\n\\036'{tags}"), RunFamily::Any)
            .fill(&facts(Some(&t)), &mut NoLookUp);
        let out = Command::new("/bin/sh").arg("-c").arg(inv.script()).args(inv.args()).output().unwrap();
        let expected: String = values.iter().map(|v| format!("{v}x\n\x1e")).collect();
        prop_assert_eq!(String::from_utf8_lossy(&out.stdout), expected);
    }

    #[test]
    fn never_panics(text in "[<>a-zF*./ -]{0,60}", value in ".{0,30}") {
        let t = ticket(&value, vec![MatchedLine::Whole(value.clone())], &[("a", Value::str(&value))], false);
        let mut spec = ActionSpec::default();
        spec.properties.insert("a".into(), text.clone());
        spec.properties.insert("b".into(), text);
        if let Ok(p) = prepare(&spec, "a", RunFamily::Any) {
            let _ = p.fill(&facts(Some(&t)), &mut NoLookUp);
        }
    }
}
