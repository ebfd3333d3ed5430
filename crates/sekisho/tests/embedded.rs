//! The configuration in `config/`: every filter against its samples, every action against stand-ins
//! for the programs it calls and, as root, against the kernel in a network namespace of its own.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sekisho::check::DryRun;
use sekisho::embedded;
use sekisho_config::files::MapFiles;
use sekisho_config::load::{LoadOptions, Loaded, load};
use sekisho_core::action::{Facts, NoLookUp, RunFamily, prepare};
use sekisho_core::command::Words;
use sekisho_core::effect::{ActionSpec, Counters};
use sekisho_core::id::{Family, Id};
use sekisho_core::ticket::{BanTime, Ticket};
use sekisho_core::time::{Span, Timestamp};
use sekisho_core::value::Value;

fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join("config")
}

/// The embedded tree with a `jail.local`, every jail enabled, judged as a server would.
fn loaded(jail_local: &str) -> Loaded {
    let files = embedded::FILES.iter().copied().chain([("jail.local", jail_local)]);
    let files = MapFiles::new("/built-in", files);
    let dry = DryRun::new();
    let check = |_: &str, words: &Words| dry.command(words);
    let options = LoadOptions { force_enable: true, check: Some(&check), ..LoadOptions::default() };
    load(&files, "/built-in", &options).unwrap()
}

#[test]
fn no_jail_is_broken() {
    for jail_local in [
        "",
        "[DEFAULT]\nmode = aggressive\nbantime = -1\n",
        "[DEFAULT]\naction = %(action_mw)s\n",
        "[DEFAULT]\nbanaction = iptables-multiport\n",
        "[DEFAULT]\nbanaction = hostsdeny\n",
    ] {
        let all = loaded(jail_local);
        assert_eq!(all.broken, [], "{jail_local}");
        let names: Vec<_> = all.jails.iter().map(|jail| jail.name.as_str()).collect();
        assert_eq!(names, ["sshd", "dovecot", "postfix", "nginx-http-auth", "recidive"]);
    }
}

/// `fail2ban-regex` with our configuration: what it prints.
fn regex_tool(args: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_fail2ban-regex"))
        .arg("-c")
        .arg(config())
        .args(args)
        .env("TZ", "UTC")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(out.stderr.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn samples() {
    for (path, _) in embedded::FILES {
        let Some(name) = path.strip_prefix("filter.d/").and_then(|p| p.strip_suffix(".conf"))
        else {
            continue;
        };
        if name == "common" {
            continue;
        }
        let file = config().join(format!("samples/{name}.log"));
        let samples = fs::read_to_string(&file).unwrap();
        let (mut mode, mut lines) = ("normal", String::new());
        for sample in samples.lines() {
            if let Some(next) = sample.strip_prefix("# mode=") {
                mode = next;
                continue;
            }
            let (expected, line) = sample.split_once('\t').unwrap();
            let got = regex_tool(&["-o", "id", line, &format!("{name}[mode={mode}]")]);
            let expected = if expected == "-" { "" } else { expected };
            assert_eq!(got.trim_end(), expected, "{name}, mode {mode}: {line}");
            lines += line;
            lines.push('\n');
        }
        every_regex_is_hit(name, &lines);
    }
}

/// A regex that no sample shows to work may as well not be there. `aggressive` contains all.
fn every_regex_is_hit(filter: &str, lines: &str) {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    fs::write(&log, lines).unwrap();
    let mode = format!("{filter}[mode=aggressive]");
    let report = regex_tool(&[log.to_str().unwrap(), &mode]);
    let hit = report.lines().filter(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // `|   1) [5] ^…`
        matches!(words.as_slice(), ["|", number, hits, _, ..]
            if number.strip_suffix(')').is_some_and(|n| n.parse::<u32>().is_ok())
                && hits.starts_with('['))
    });
    let jail = format!("[{filter}]\nfilter = {mode}\n");
    let count = |words: &Words| {
        let of = words.words.get(2).and_then(Value::as_str) == Some("addfailregex");
        let here = words.words.get(1).and_then(Value::as_str) == Some(filter);
        match words.words.get(3) {
            Some(Value::List(list)) if of && here => list.len(),
            Some(_) if of && here => 1,
            _ => 0,
        }
    };
    let all: usize = loaded(&jail).stream.iter().map(count).sum();
    assert!(all > 0);
    assert_eq!(hit.count(), all, "{filter}: not every failregex has a sample\n{report}");
}

/// The actions of a jail, as the server gets them.
fn actions(jail_local: &str, jail: &str) -> BTreeMap<String, ActionSpec> {
    let all = loaded(jail_local);
    assert_eq!(all.broken, [], "{jail_local}");
    let mut specs = BTreeMap::new();
    for words in &all.stream {
        let [verb, of, kind, name, Value::List(pairs)] = words.words.as_slice() else { continue };
        if [verb, of, kind].map(Value::as_str) != [Some("multi-set"), Some(jail), Some("action")] {
            continue;
        }
        let mut spec = ActionSpec::default();
        for pair in pairs {
            let Value::List(pair) = pair else { panic!("{pair:?}") };
            spec.properties.insert(pair[0].to_text(), pair[1].to_text());
        }
        specs.insert(name.to_text(), spec);
    }
    specs
}

fn ticket(ip: &str) -> Ticket {
    Ticket {
        id: Id::parse(ip),
        address: None,
        time: Timestamp::from_secs(1_700_000_000),
        whole: false,
        ban_time: BanTime::For(Span::from_secs(600)),
        ban_count: 1,
        failures: 5,
        matches: Vec::new(),
        fields: Default::default(),
        restored: false,
    }
}

/// A command of an action as a shell script that needs no arguments.
fn script(spec: &ActionSpec, step: &str) -> String {
    let (operation, of) = step.split_once(' ').unwrap();
    let ticket = (!of.starts_with("inet")).then(|| ticket(of));
    let family = match (&ticket, of) {
        (Some(ticket), _) => RunFamily::of(ticket.id.family()),
        (None, "inet4") => RunFamily::Only(Family::Inet4),
        (None, _) => RunFamily::Only(Family::Inet6),
    };
    let facts = Facts {
        jail: "j1",
        counters: Counters::default(),
        ticket: ticket.as_ref(),
        family,
        now: Timestamp::from_secs(1_700_000_000),
    };
    let command = prepare(spec, operation, family).unwrap().fill(&facts, &mut NoLookUp);
    assert!(command.args().is_empty(), "{step}: {command:?}");
    command.script().to_owned()
}

/// Runs steps one after the other by `shell`, each as a shell of its own; what they did.
fn run_steps(shell: &mut Command, dir: &Path, steps: &[(String, String)]) -> (bool, String) {
    let mut driver = String::new();
    for (n, (name, script)) in steps.iter().enumerate() {
        let file = dir.join(format!("step{n}"));
        fs::write(&file, script).unwrap();
        let file = file.display();
        driver +=
            &format!("echo '== {name}'\n/bin/sh {file} || {{ echo \"FAILED $?\"; exit 1; }}\n");
    }
    let file = dir.join("driver");
    fs::write(&file, driver).unwrap();
    let out = shell.arg(&file).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    (out.status.success(), text.into_owned())
}

/// Writes down how it was called; finds nothing where it is asked for something.
const STAND_IN: &str = r#"#!/bin/sh
echo "${0##*/} $*" >>FOLDER/record
case "${0##*/}" in
  sendmail) sed 's/^/  | /' >>FOLDER/record;;
  whois) echo "whois says";;
esac
case " $* " in *' -C '*|*' -L '*) exit 1;; esac
"#;

#[test]
fn actions_call_the_right_things() {
    for (action, steps, expected) in [
        (
            r#"nftables[port="22,6000:6010"]"#,
            &[
                "actionstart inet4",
                "actionban 192.0.2.1",
                "actionban 2001:db8::1",
                "actionunban 192.0.2.1",
                "actionflush inet6",
                "actionstop inet6",
            ][..],
            &[
                "nft add table inet f2b-table",
                "nft add chain inet f2b-table f2b-chain { type filter hook input priority -1; }",
                "nft add set inet f2b-table addr-set-j1 { type ipv4_addr; flags interval; }",
                "nft list chain inet f2b-table f2b-chain",
                "nft add rule inet f2b-table f2b-chain meta l4proto { tcp } th dport \
                 { 22,6000-6010 } ip saddr @addr-set-j1 reject",
                "nft add element inet f2b-table addr-set-j1 { 192.0.2.1 }",
                "nft add element inet f2b-table addr6-set-j1 { 2001:db8::1 }",
                "nft delete element inet f2b-table addr-set-j1 { 192.0.2.1 }",
                "nft flush set inet f2b-table addr6-set-j1",
                "nft -a list chain inet f2b-table f2b-chain",
                "nft delete set inet f2b-table addr6-set-j1",
                "nft list table inet f2b-table",
                "nft delete table inet f2b-table",
            ][..],
        ),
        (
            r#"iptables-multiport[port="22,6000:6010"]"#,
            &[
                "actionstart inet6",
                "actionban 192.0.2.1",
                "actionban 2001:db8::1",
                "actionunban 192.0.2.1",
                "actionflush inet4",
                "actionstop inet6",
            ],
            &[
                "ip6tables -w -n -L f2b-j1",
                "ip6tables -w -N f2b-j1",
                "ip6tables -w -C f2b-j1 -j RETURN",
                "ip6tables -w -A f2b-j1 -j RETURN",
                "ip6tables -w -C INPUT -p tcp -m multiport --dports 22,6000:6010 -j f2b-j1",
                "ip6tables -w -I INPUT -p tcp -m multiport --dports 22,6000:6010 -j f2b-j1",
                "iptables -w -C f2b-j1 -s 192.0.2.1 -j REJECT --reject-with icmp-port-unreachable",
                "iptables -w -I f2b-j1 1 -s 192.0.2.1 -j REJECT --reject-with icmp-port-unreachable",
                "ip6tables -w -C f2b-j1 -s 2001:db8::1 -j REJECT --reject-with icmp6-port-unreachable",
                "ip6tables -w -I f2b-j1 1 -s 2001:db8::1 -j REJECT --reject-with icmp6-port-unreachable",
                "iptables -w -D f2b-j1 -s 192.0.2.1 -j REJECT --reject-with icmp-port-unreachable",
                "iptables -w -F f2b-j1",
                "iptables -w -A f2b-j1 -j RETURN",
                "ip6tables -w -D INPUT -p tcp -m multiport --dports 22,6000:6010 -j f2b-j1",
                "ip6tables -w -F f2b-j1",
                "ip6tables -w -X f2b-j1",
            ],
        ),
        (
            r#"sendmail-whois[dest="a@example.org", sender=b, mailcmd="sendmail -f <sender> <dest>"]"#,
            &["actionstart inet4", "actionban 192.0.2.1"],
            &[
                "sendmail -f b a@example.org",
                "  | Subject: [sekisho] j1: started on localhost",
                "  | From: sekisho <b>",
                "  | To: a@example.org",
                "  | ",
                "  | The jail j1 has been started.",
                "sendmail -f b a@example.org",
                "whois 192.0.2.1",
                "  | Subject: [sekisho] j1: banned 192.0.2.1 on localhost",
                "  | From: sekisho <b>",
                "  | To: a@example.org",
                "  | ",
                "  | 192.0.2.1 has been banned by sekisho after 5 attempts against j1.",
                "  | ",
                "  | What whois says of 192.0.2.1:",
                "  | ",
                "  | ",
                "  | whois says",
                "  | ",
                "  | To let it in again: sekisho set j1 unbanip 192.0.2.1",
            ],
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for program in ["nft", "iptables", "ip6tables", "sendmail", "whois"] {
            let file = bin.join(program);
            fs::write(&file, STAND_IN.replace("FOLDER", dir.path().to_str().unwrap())).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let specs = actions(
            &format!("[j1]\nfilter = sshd\nlogpath = /dev/null\naction = {action}\n"),
            "j1",
        );
        let spec = specs.values().next().unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let steps: Vec<_> =
            steps.iter().map(|step| ((*step).to_owned(), script(spec, step))).collect();
        let (good, text) = run_steps(Command::new("/bin/sh").env("PATH", path), dir.path(), &steps);
        assert!(good, "{action}: {text}");
        let record = fs::read_to_string(dir.path().join("record")).unwrap();
        // Who of a pipeline comes first is chance; the date is today's; ends of words are free.
        let mut calls: Vec<&str> =
            record.lines().filter(|l| !l.starts_with("  | Date: ")).collect();
        let mut expected = expected.to_vec();
        if action.starts_with("sendmail") {
            calls.sort_unstable();
            expected.sort_unstable();
        }
        let calls: Vec<String> = calls
            .iter()
            .map(|call| call.split(' ').filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" "))
            .collect();
        let expected: Vec<String> = expected
            .iter()
            .map(|call| call.split(' ').filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(calls, expected, "{action}");
    }
}

#[test]
fn hosts_deny() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("deny");
    fs::write(&file, "# kept\n").unwrap();
    let jail = format!(
        "[j1]\nfilter = sshd\nlogpath = /dev/null\naction = hostsdeny[file={}]\n",
        file.display()
    );
    let specs = actions(&jail, "j1");
    let spec = specs.values().next().unwrap();
    for (steps, expected) in [
        (
            &[
                "actionstart inet4",
                "actioncheck inet4",
                "actionban 192.0.2.1",
                "actionban 192.0.2.1",
                "actionban 192.0.2.11",
                "actionban 2001:db8::1",
            ][..],
            "# kept\nALL: 192.0.2.1\nALL: 192.0.2.11\nALL: [2001:db8::1]\n",
        ),
        (
            &["actionunban 192.0.2.1", "actionunban 2001:db8::1", "actionstop inet4"],
            "# kept\nALL: 192.0.2.11\n",
        ),
    ] {
        let steps: Vec<_> =
            steps.iter().map(|step| ((*step).to_owned(), script(spec, step))).collect();
        let (good, text) = run_steps(&mut Command::new("/bin/sh"), dir.path(), &steps);
        assert!(good, "{text}");
        assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    }
}

/// Why nothing can be tried against the kernel.
fn no_namespace() -> bool {
    let there = rustix::process::geteuid().is_root()
        && ["/usr/sbin/nft", "/usr/sbin/iptables", "/usr/bin/unshare"]
            .iter()
            .all(|program| Path::new(program).exists())
        && Command::new("unshare").args(["-n", "true"]).status().is_ok_and(|s| s.success());
    if !there {
        sekisho_oracle::missing("root, nft, iptables and network namespaces");
    }
    !there
}

/// Connects to an own address, which then is the client's too. Nobody listens: a refusal says that
/// the packet has arrived, silence that it was dropped.
const REACH: &str = "\
ip link set lo up
for ip in 192.0.2.1 192.0.2.2 2001:db8::1; do
    case $ip in *:*) ip -6 addr replace $ip/128 dev lo nodad;; *) ip addr replace $ip/32 dev lo;; esac
    timeout 1 bash -c \"echo >/dev/tcp/$ip/22\" 2>/dev/null
    [ $? = 124 ] && echo \"$ip is blocked\"
done
";

/// What happens to an action, and what is looked at.
const LIFE: &[&str] = &[
    "actionstart inet4",
    "actionstart inet6",
    "show empty",
    // A second start finds everything there.
    "actionstart inet4",
    "actionstart inet6",
    "same empty",
    "actionban 192.0.2.1",
    "actionban 2001:db8::1",
    "actioncheck inet4",
    "actioncheck inet6",
    "show banned",
    "reach banned",
    "actionban 192.0.2.1",
    "actionban 2001:db8::1",
    "same banned",
    "actionunban 192.0.2.1",
    "actionunban 2001:db8::1",
    "same empty",
    "reach unbanned",
    "actionban 192.0.2.1",
    "actionban 2001:db8::1",
    "actionflush inet4",
    "actionflush inet6",
    "same empty",
    "actionban 192.0.2.1",
    "actionstop inet4",
    "actionstop inet6",
    "show stopped",
];

#[test]
fn the_kernel_blocks() {
    if no_namespace() {
        return;
    }
    for (action, show) in [
        (r#"nftables[blocktype=drop, port="22,6000:6010"]"#, "nft list ruleset"),
        (
            r#"iptables-multiport[blocktype=DROP, blocktype?family=inet6=DROP, port="22,6000:6010"]"#,
            "iptables -S; ip6tables -S",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let jail = format!("[j1]\nfilter = sshd\nlogpath = /dev/null\naction = {action}\n");
        let specs = actions(&jail, "j1");
        let spec = specs.values().next().unwrap();
        let folder = dir.path().display();
        let mut steps: Vec<(String, String)> = Vec::new();
        for step in LIFE {
            let script = match step.split_once(' ').unwrap() {
                ("show", name) => format!("{{ {show}; }} | tee {folder}/{name}\n"),
                ("reach", name) => format!("{{ {REACH}}} | tee {folder}/reach-{name}\n"),
                ("same", name) => format!("{{ {show}; }} | diff {folder}/{name} -\n"),
                _ => script(spec, step),
            };
            steps.push(((*step).to_owned(), script));
        }
        let mut shell = Command::new("unshare");
        let (good, text) = run_steps(shell.args(["-n", "/bin/sh"]), dir.path(), &steps);
        assert!(good, "{action}: {text}");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        let banned = read("banned");
        assert!(banned.contains("192.0.2.1") && banned.contains("2001:db8::1"), "{banned}");
        assert_eq!(read("reach-banned"), "192.0.2.1 is blocked\n2001:db8::1 is blocked\n");
        assert_eq!(read("reach-unbanned"), "", "{action}");
        assert!(!read("empty").contains("192.0.2.1"));
        let stopped = read("stopped");
        assert!(!stopped.contains("f2b") && !stopped.contains("192.0.2"), "{action}: {stopped}");
    }
}
