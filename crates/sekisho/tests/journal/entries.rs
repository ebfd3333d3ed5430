//! The same entries of one journal file for a jail of either server: sample lines, and generated matches.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use sekisho_oracle::samples::{self, with_params};
use sekisho_oracle::{
    Entry, Fail2ban, Python, Random, cases, copy_dir, has_journal_remote, report, write_journal,
};
use serde_json::{Value, json};

use crate::server::Server;

/// The fail2bans that can read a journal here.
fn judges() -> Vec<Fail2ban> {
    if !has_journal_remote() {
        return Vec::new();
    }
    let judges = [Fail2ban::installed(), Fail2ban::newest()].into_iter().flatten();
    judges.filter(|f| f.has_module("systemd.journal", "python3-systemd")).collect()
}

/// Entries one after the other, the last of them a minute ago.
fn times(count: usize) -> impl Iterator<Item = i64> {
    const STEP: i64 = 300_007;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let end = i64::try_from((now - Duration::from_secs(60)).as_micros()).unwrap();
    let count = i64::try_from(count).unwrap();
    (0..count).map(move |number| end - (count - number) * STEP)
}

/// Waits until the jails have read what there is, and tells whom each found.
fn found(server: &Server, jails: &[String]) -> BTreeMap<String, Vec<String>> {
    for jail in jails {
        let ready = format!("[{jail}] Jail is in operation now");
        server.until(&ready, || server.log().contains(&ready));
    }
    jails.iter().map(|jail| (jail.clone(), server.found(jail))).collect()
}

#[test]
fn sample_entries_are_found_as_by_fail2ban() {
    for fail2ban in judges() {
        let dir = tempfile::tempdir().unwrap();
        let (mut jails, mut text, mut count) = (Vec::new(), String::new(), 0);
        for sample in &samples::all(&fail2ban, dir.path()) {
            let runs = sample.runs.iter().filter(|run| run.lines.iter().all(|line| line.journal));
            for run in runs.filter(|_| sample.base == fail2ban.config) {
                let jail = format!("j{}", jails.len());
                let path = dir.path().join(format!("{jail}.journal"));
                let lines = times(run.lines.len()).zip(&run.lines);
                let entries: Vec<Entry> =
                    lines.map(|(at, line)| Entry::of_line(at, &line.text)).collect();
                write_journal(&path, &entries);
                count += entries.len();
                let filter = with_params(&sample.name, &run.params);
                text += &format!(
                    "[{jail}]\nfilter = {filter}\nbackend = systemd[journalfiles=\"{}\"]\n\
                     journalmatch =\nmaxretry = 100000\n",
                    path.display()
                );
                jails.push(jail);
            }
        }
        let [theirs, ours] = [Some(&fail2ban), None].map(|kind| {
            let mut server = Server::new(kind, &text);
            copy_dir(&fail2ban.config.join("filter.d"), &server.path("filter.d"));
            server.start();
            found(&server, &jails)
        });
        assert_eq!(ours, theirs, "{}", fail2ban.version);
        let failures: usize = ours.values().map(Vec::len).sum();
        assert!(failures > 100, "{ours:?}");
        let unit = format!("entries, {failures} failures in {} jails", jails.len());
        let judge = format!("fail2ban {}", fail2ban.version);
        report("sample entries in jails", &judge, count, &unit);
    }
}

/// Sends commands to servers in the words of fail2ban's own client.
const SEND: &str = r#"
import json, sys
from fail2ban.client.csocket import CSocket
for line in sys.stdin:
    asked = json.loads(line)
    client = CSocket(asked["socket"])
    code, answer = client.send(asked["words"])
    client.close()
    if isinstance(answer, BaseException):
        answer = type(answer).__name__
    print(json.dumps([code, answer]), flush=True)
"#;

/// Fields and values of the entries; no value, some that need quotes, and one that looks like a match.
const FIELDS: &[(&str, &[&str])] = &[
    ("_SYSTEMD_UNIT", &["a.service", "b.service", "x y.service"]),
    ("_COMM", &["sshd", "cron"]),
    ("PRIORITY", &["3", "6"]),
    ("TEXT", &["", "a b", "it's", "say \"hi\"", "A=1", "+", "\u{e9}", "two\nlines", "-x"]),
    ("A", &["1", "2"]),
    ("1_2", &["x"]),
];

/// What is no match.
const INVALID: &[&str] = &[
    "",
    "=",
    "=x",
    "sshd",
    "comm=sshd",
    "_COMM",
    "/usr/sbin/sshd",
    "__CURSOR=x",
    "A B=c",
    "A-B=c",
    "-",
    "\u{c9}=1",
    " A=1",
    "++",
    "A\n=1",
];

fn entries(random: &mut Random, count: usize) -> Vec<Entry> {
    let make = |(number, at)| {
        let mut entry = Entry::of_line(at, &format!("h t: fail e{number}"));
        for (name, values) in FIELDS {
            if random.chance(70) {
                let value = random.pick(values);
                entry.fields.push(((*name).to_owned(), (*value).into()));
            }
        }
        entry
    };
    times(count).enumerate().map(make).collect()
}

/// The words of one `addjournalmatch`.
fn line(random: &mut Random) -> Vec<String> {
    let mut words = Vec::new();
    for _ in 0..random.below(6) {
        let word = match random.below(20) {
            0..14 => {
                let (name, values) = random.pick(FIELDS);
                format!("{name}={}", random.pick(values))
            }
            14..18 => "+".to_owned(),
            18 => "_COMM=nobody".to_owned(),
            _ => (*random.pick(INVALID)).to_owned(),
        };
        words.push(word);
    }
    words
}

/// The commands of one jail, after it was made.
fn commands(random: &mut Random) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let mut groups: Vec<Vec<String>> = Vec::new();
    for _ in 0..1 + random.below(3) {
        let words = line(random);
        groups.extend(words.split(|word| word == "+").map(<[String]>::to_vec));
        commands.push([vec!["addjournalmatch".to_owned()], words].concat());
        if random.one_in(3) {
            let words = if random.one_in(4) { line(random) } else { random.pick(&groups).clone() };
            commands.push([vec!["deljournalmatch".to_owned()], words].concat());
        }
    }
    commands
}

#[test]
fn matches_select_what_they_select_in_fail2ban() {
    let count = cases("SEKISHO_JOURNAL_MATCHES", 40);
    for fail2ban in judges() {
        let mut random = Random(cases("SEKISHO_JOURNAL_SEED", 1) as u64);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e.journal");
        write_journal(&path, &entries(&mut random, 100));
        let plan: Vec<_> = (0..count).map(|_| commands(&mut random)).collect();
        let mut python = Python::start(fail2ban.python(), SEND, &[]);
        let [theirs, ours] =
            [Some(&fail2ban), None].map(|kind| play(kind, &mut python, &path, &plan));
        for (at, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            let version = &fail2ban.version;
            assert_eq!(ours, theirs, "fail2ban {version}, jail {at}: {:#?}", plan[at]);
        }
        let selected: usize = ours.iter().map(|(_, found)| found.len()).sum();
        assert!(selected > count * 5, "{selected}");
        let unit = format!("jails, {selected} entries selected of 100");
        report("journalmatch", &format!("fail2ban {}", fail2ban.version), count, &unit);
    }
}

/// What each jail's commands were answered, and whom it found.
fn play(
    kind: Option<&Fail2ban>,
    python: &mut Python,
    journal: &Path,
    plan: &[Vec<Vec<String>>],
) -> Vec<(Vec<Value>, Vec<String>)> {
    let mut server = Server::new(kind, "");
    server.start();
    let socket = server.path("socket");
    let mut send = |words: &[&str]| python.ask(&json!({"socket": socket, "words": words}));
    let backend = format!("systemd[journalfiles=\"{}\"]", journal.display());
    let jails: Vec<String> = (0..plan.len()).map(|at| format!("j{at}")).collect();
    let mut answers = Vec::new();
    for (jail, commands) in jails.iter().zip(plan) {
        assert_eq!(send(&["add", jail, &backend])[0], 0);
        for words in [
            ["usedns", "raw"],
            ["maxretry", "1000"],
            ["ignoreself", "false"],
            ["addfailregex", r"fail <F-ID>\S+</F-ID>"],
        ] {
            assert_eq!(send(&["set", jail, words[0], words[1]])[0], 0, "{words:?}");
        }
        let mut said = Vec::new();
        for command in commands {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            let answer = send(&[&["set", jail.as_str()], &*words].concat());
            said.extend([answer, send(&["get", jail, "journalmatch"])]);
        }
        assert_eq!(send(&["start", jail])[0], 0);
        answers.push(said);
    }
    let mut found = found(&server, &jails);
    let found = jails.iter().map(|jail| found.remove(jail).unwrap());
    answers.into_iter().zip(found).collect()
}
