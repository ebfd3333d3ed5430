//! Which journals are opened: the parameters of the backend, in a mount namespace in which a machine's
//! journal folders are ours, against what fail2ban's own reader sees there with the same parameters.
//!
//! fail2ban 1.0.2 hands the parameters to libsystemd. 1.1.1 looks for files by itself unless
//! `rotated=on` is given: all that are not rotated, of all machines and namespaces. We read what
//! either reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::time::SystemTime;

use sekisho_oracle::{
    Entry, Fail2ban, Python, has_journal_remote, has_root, report, write_journal,
};
use serde_json::{Value, json};

use crate::server::Server;

/// Makes the folder `$1` the place of the machine's journals, and goes on as what follows.
const INSIDE: &str = r#"set -e
mount --make-rprivate /
mkdir -p /run/log/journal /var/log/journal
mount --bind "$1/run" /run/log/journal
mount --bind "$1/log" /var/log/journal
[ -s /etc/machine-id ] || mount --bind "$1/machine-id" /etc/machine-id
shift
exec "$@"
"#;

/// What fail2ban's own class makes of the parameters, and what its reader then sees.
const JUDGE: &str = r#"
import json, os, sys
from fail2ban.server.filtersystemd import FilterSystemd
from systemd import journal
for line in sys.stdin:
    params = json.loads(line)
    reader = journal.Reader(**FilterSystemd._getJournalArgs(params))
    print(json.dumps([entry["MESSAGE"] for entry in reader]), flush=True)
"#;

/// The parameters of one jail each.
const PARAMS: &[&str] = &[
    "",
    "journalflags=0",
    "journalflags=1",
    "journalflags=2",
    "journalflags=3",
    "journalflags=4",
    "journalflags=5",
    "journalflags=8",
    "journalflags=12",
    "namespace=n",
    "namespace=n, journalflags=1",
    "namespace=nobody",
    "namespace=*",
    "namespace=+n",
    "rotated=on",
    "rotated=on, journalflags=0",
    "rotated=on, journalflags=1",
    "rotated=On, journalflags=2",
    "rotated=true, namespace=n",
    "journalpath=/var/log/journal",
    "journalpath=/var/log/journal, rotated=on",
    "journalpath=/var/log/journal, journalflags=4",
    "journalpath=/var/log/journal, journalflags=8, rotated=yes",
    "journalpath=/var/log/journal/remote",
    "journalfiles=/var/log/journal/*.journal",
    "journalfiles=\"/run/log/journal/*/system*.journal,/var/log/journal/remote/h.journal\"",
];

/// The journal folders of a machine.
struct Machine {
    dir: tempfile::TempDir,
    id: String,
    began: SystemTime,
    entries: i64,
}

impl Machine {
    fn new() -> Machine {
        let id = fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned();
        let id = if id.len() == 32 { id } else { "0123456789abcdef0123456789abcdef".to_owned() };
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("machine-id"), format!("{id}\n")).unwrap();
        let mut machine = Machine { dir, id, began: SystemTime::now(), entries: 0 };
        for name in [
            "log/OWN/system",
            "log/OWN/system@0005-1",
            "log/OWN/user-0",
            "log/OWN/user-0@0005-1",
            "log/OWN/user-1000",
            "log/OWN/h",
            "log/OWN.n/system",
            "log/OWN.m/system",
            "log/OTHER/system",
            "log/OTHER.n/system",
            "log/remote/system",
            "log/remote/h",
            "log/named/system",
            "log/system",
            "log/h@0005-1",
            "run/OWN/system",
            "run/OWN/system@0005-1",
            "run/OWN/user-0",
            "run/OTHER/system",
            "run/OWN.n/system",
            "run/h",
        ] {
            machine.write(name);
        }
        machine
    }

    /// An entry that names its file.
    fn write(&mut self, name: &str) {
        self.entries += 1;
        let text = format!("fail {name}#{}", self.entries);
        let now = self.began.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let at = i64::try_from(now.as_micros()).unwrap() + self.entries;
        let file = name.replace("OWN", &self.id).replace("OTHER", &"f".repeat(32));
        let file = file.replace("NEW", &"e".repeat(32));
        let path = self.dir.path().join(format!("{file}.journal"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_journal(&path, &[Entry::of_line(at, &format!("h t: {text}"))]);
        // Megabytes are set aside for each.
        Command::new("fallocate").arg("--dig-holes").arg(&path).status().unwrap();
    }

    /// The same command where these are the machine's journals.
    fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("unshare");
        inside.args(["--mount", "sh", "-c", INSIDE, "sh"]).arg(self.dir.path());
        inside.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            inside.env(name, value.unwrap_or_default());
        }
        inside
    }

    fn judge(&self, fail2ban: &Fail2ban) -> Python {
        let mut python = fail2ban.python();
        if fail2ban.version == "1.0.2" {
            // As later versions, which do not leave users' journals out.
            python.env("F2B_SYSTEMD_DEFAULT_FLAGS", "0");
        }
        Python::start(self.inside(&python), JUDGE, &[])
    }

    /// What our program for testing reads.
    fn tool(&self, params: &str) -> BTreeSet<String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fail2ban-regex"));
        let log = format!("systemd-journal[{params}]");
        command.args(["-o", "id", "-r", &log, r"fail <F-ID>\S+</F-ID>"]);
        let done = self.inside(&command).output().unwrap();
        assert!(done.stderr.is_empty(), "{params}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// What journalctl itself reads of a namespace.
    fn journalctl(&self, namespace: &str) -> BTreeSet<String> {
        let mut command = Command::new("journalctl");
        command
            .args(["--merge", "--quiet", "--output=cat"])
            .arg(format!("--namespace={namespace}"));
        let done = self.inside(&command).output().unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        text.lines().map(|line| line.strip_prefix("fail ").unwrap().to_owned()).collect()
    }
}

/// As fail2ban splits them.
fn map(params: &str) -> BTreeMap<&str, &str> {
    let pairs = params.split(", ").filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name, value.trim_matches('"'))).collect()
}

fn seen(judge: &mut Python, params: &BTreeMap<&str, &str>) -> BTreeSet<String> {
    let answer = judge.ask(&json!(params));
    let texts = answer.as_array().unwrap().iter().filter_map(Value::as_str);
    texts.map(|text| text.strip_prefix("fail ").unwrap().to_owned()).collect()
}

/// What has to be read, and what may be.
fn wanted(
    machine: &Machine,
    [old, new]: &mut [Python; 2],
    text: &str,
) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut params = map(text);
    // fail2ban's reader knows no patterns of namespaces.
    if let Some(namespace @ ("*" | "+n")) = params.get("namespace").copied() {
        let all = machine.journalctl(namespace);
        return (all.clone(), all);
    }
    let theirs = seen(new, &params);
    if params.remove("rotated").is_some() {
        return (theirs.clone(), theirs);
    }
    let before = seen(old, &params);
    let may = &theirs | &before;
    let flags: u32 = params.get("journalflags").map_or(0, |flags| flags.parse().unwrap());
    // 1.1.1 forgets that `local` leaves out other machines.
    let foreign = |n: &&String| {
        ["OTHER", "NEW", "remote", "named", "later"].iter().any(|part| n.contains(part))
    };
    let must = &theirs - &theirs.iter().filter(|n| flags & 1 != 0 && foreign(n)).cloned().collect();
    (&must | &before, may)
}

fn check(what: &str, got: &BTreeSet<String>, (must, may): &(BTreeSet<String>, BTreeSet<String>)) {
    let (lost, more) = (must - got, got - may);
    assert!(lost.is_empty() && more.is_empty(), "{what}: lost {lost:?}, more {more:?}");
}

#[test]
fn parameters_open_what_fail2ban_opens() {
    let (Some(old), Some(new)) = (Fail2ban::installed(), Fail2ban::newest()) else { return };
    if !has_root("root, for namespaces") || !has_journal_remote() {
        return;
    }
    if !old.has_module("systemd.journal", "python3-systemd") {
        return;
    }
    let mut machine = Machine::new();
    let jails: Vec<String> = PARAMS
        .iter()
        .enumerate()
        .map(|(at, params)| format!("[j{at}]\nbackend = systemd[{params}]\n"))
        .collect();
    let mut server = Server::new(None, &jails.concat());
    server.start_inside(|command| machine.inside(command));
    let mut judges = [machine.judge(&old), machine.judge(&new)];
    let mut entries = 0;
    let all_later =
        ["log/OWN/system", "log/remote/h", "log/NEW/system", "log/later/h", "run/OWN/system"];
    for later in [&[][..], &all_later] {
        for name in later {
            machine.write(name);
        }
        for (at, params) in PARAMS.iter().enumerate() {
            let wanted = wanted(&machine, &mut judges, params);
            let found = || server.found(&format!("j{at}"));
            let names = || -> BTreeSet<String> {
                found().iter().filter_map(|f| Some(f.split_once(" - ")?.0.to_owned())).collect()
            };
            let operates = format!("[j{at}] Jail is in operation now");
            server.until(&format!("{params}: {wanted:?}"), || {
                server.log().contains(&operates) && names().is_superset(&wanted.0)
            });
            check(params, &names(), &wanted);
            assert_eq!(found().len(), names().len(), "{params}: twice in {:?}", found());
            entries += names().len();
            let tool = machine.tool(params);
            // Without a folder of links there is no way to ask journalctl for folders with other names, …
            let mut wanted = wanted;
            wanted.0.retain(|name| !name.contains("/named/") && !name.contains("/later/"));
            if params.contains("journalflags=2") || params.contains("journalflags=3") {
                // … nor for namespaces in memory.
                wanted.0.retain(|name| !name.contains(".n/"));
            }
            check(&format!("fail2ban-regex {params}"), &tool, &wanted);
        }
    }
    report("which journals are read", "fail2ban 1.0.2 and 1.1.1", entries, "entries");
}
