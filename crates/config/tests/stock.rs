//! The stock configurations: our command stream must be fail2ban's, command by command, for all
//! jails with every action that `jail.conf` offers, for all filters in everything that they select
//! on, and for all actions with everything that can be given to them.
//!
//! Each generation is read by us and by its own fail2ban. The files are read where they are
//! installed or unpacked; none of them is in this repository.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::string_slice, clippy::indexing_slicing)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use common::{Judge, dump_mode, without_quirk, write};
use sekisho_config::dump::{dump, pretty};
use sekisho_oracle::{cases, copy_dir, report};

/// A copy of a stock tree that may be changed.
struct Stock {
    _root: tempfile::TempDir,
    dir: PathBuf,
}

impl Stock {
    /// The tree of a judge, with the log files that it names.
    fn of(judge: &Judge) -> Stock {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("etc");
        copy_dir(&judge.fail2ban.config, &dir);
        let logs = format!("{}/log", root.path().display());
        for file in std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_none_or(|ending| ending != "conf") {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap().replace("/var/log", &logs);
            for path in text.split_whitespace().filter_map(|word| word.strip_prefix(&logs)) {
                let path = path.replace('*', "x");
                if path.ends_with("log") {
                    write(root.path(), &format!("log{path}"), b"");
                }
            }
            std::fs::write(&file, text).unwrap();
        }
        Stock { _root: root, dir }
    }

    /// Jails of our own in place of the stock ones.
    fn with_jails(judge: &Judge, jails: &str) -> Stock {
        let stock = Stock::of(judge);
        write(&stock.dir, "jail.conf", jails.as_bytes());
        std::fs::remove_dir_all(stock.dir.join("jail.d")).unwrap();
        stock
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.join(name)).unwrap()
    }

    /// Names of the stock jails.
    fn jails(&self) -> Vec<String> {
        let text = self.text("jail.conf");
        let names = text.lines().filter_map(|l| l.strip_prefix('[')?.strip_suffix(']'));
        names.filter(|n| *n != "INCLUDES" && *n != "DEFAULT").map(str::to_owned).collect()
    }

    /// Compares both streams, command by command; answers how many commands there are.
    fn compare(&self, judge: &mut Judge, known: &mut Known) -> usize {
        let answer = judge.client(&self.dir, &["-d"]);
        assert_eq!(answer.code, 0, "{}", answer.errors());
        let theirs = without_quirk(&answer.out);
        let loaded = dump_mode(&self.dir, judge.version()).unwrap();
        assert!(loaded.broken.is_empty(), "{:?}", loaded.broken);
        let ours = dump(&loaded.stream);
        for (ours, theirs) in ours.lines().zip(&theirs) {
            known.same(ours, theirs, judge);
        }
        assert_eq!(ours.lines().count(), theirs.len());
        theirs.len()
    }

    /// The same, pretty-printed.
    fn compare_pretty(&self, judge: &mut Judge) {
        let answer = judge.client(&self.dir, &["--dp"]);
        assert_eq!(answer.code, 0, "{}", answer.errors());
        let loaded = dump_mode(&self.dir, judge.version()).unwrap();
        let ours = pretty(&loaded.stream);
        for (ours, theirs) in ours.lines().zip(answer.out.lines()) {
            // `-d` has shown that it is what is known.
            let conditional = ours.contains("?family=") && judge.is_old();
            assert!(ours == theirs || conditional, "{ours}\n{theirs}");
        }
        assert_eq!(ours.lines().count(), answer.out.lines().count());
    }
}

/// How often the differences that docs/COMPAT.md names were seen.
#[derive(Default)]
struct Known {
    /// A parameter and a value for one family (1.0.2 and 1.1.0: the parameter holds for the other
    /// family only).
    parameter: usize,
    /// An action without `[Definition]`, for which fail2ban sends `None` as every option.
    undefined: usize,
}

impl Known {
    /// Two commands are the same, or differ in what is known.
    fn same(&mut self, ours: &str, theirs: &str, judge: &Judge) {
        if ours == theirs {
            return;
        }
        let mut theirs = theirs.to_owned();
        if theirs.contains("', None], ") {
            self.undefined += 1;
            for option in sekisho_config::definition::ACTION_OPTIONS {
                theirs = theirs.replace(&format!("['{option}', None], "), "");
            }
        }
        let entries =
            |line: &str| -> Vec<String> { line.split(", [").map(str::to_owned).collect() };
        let (ours, theirs) = (entries(ours), entries(&theirs));
        assert_eq!(ours.len(), theirs.len(), "{ours:?}\n{theirs:?}");
        for (own, other) in ours.iter().zip(&theirs) {
            let base = own.split_once("?family=").filter(|_| judge.is_old() && own != other);
            let Some((base, rest)) = base else {
                assert_eq!(own, other, "{ours:?}");
                continue;
            };
            // The value is the one that is given for both families.
            let given = rest.split_once("', ").unwrap().1.trim_end_matches([']', ',']);
            let plain = format!("{base}', {given}]");
            assert!(ours.iter().any(|entry| entry.contains(plain.trim_start())), "{own} {other}");
            self.parameter += 1;
        }
    }

    fn nothing(&self) -> bool {
        self.parameter == 0 && self.undefined == 0
    }
}

#[test]
fn all_jails() {
    for judge in &mut Judge::all() {
        let stock = Stock::of(judge);
        let mut known = Known::default();
        let mut local = String::new();
        for name in stock.jails() {
            writeln!(local, "[{name}]\nenabled = true").unwrap();
        }
        write(&stock.dir, "jail.local", local.as_bytes());
        let commands = stock.compare(judge, &mut known);
        assert!(commands > 1300, "{commands}");
        stock.compare_pretty(judge);
        assert!(known.nothing() || judge.version() == "1.0.2");
        let jails = stock.jails().len();
        report("stock jails, all enabled: -d and --dp", judge.version(), jails, "jails");
        report("stock jails, all enabled: -d and --dp", judge.version(), commands, "commands");
    }
}

/// Options that the shortcuts of `jail.conf` need.
const KEYS: &str = "cfemail = a@b\ncfapikey = key\nblocklist_de_apikey = key\nabuseipdb_apikey = key\n\
                    abuseipdb_category = 18,22\n";

/// Every stock jail with every `action_…` of `jail.conf`; jails of every kind with every action as
/// `banaction` (with `SEKISHO_BANACTION_JAILS=1000` all jails).
#[test]
fn all_jails_with_all_actions() {
    for judge in &mut Judge::all() {
        let stock = Stock::of(judge);
        let mut known = Known::default();
        let text = stock.text("jail.conf");
        let names: BTreeSet<&str> = text
            .lines()
            .filter(|line| line.starts_with("action_"))
            .filter_map(|line| Some(line.split_once('=')?.0.trim()))
            .collect();
        assert!(names.len() > 5, "{names:?}");
        let jails = stock.jails();
        let mut commands = 0;
        for name in &names {
            let mut local = format!("[DEFAULT]\nenabled = true\n{KEYS}");
            for jail in &jails {
                writeln!(local, "[{jail}]\naction = %({name})s").unwrap();
            }
            write(&stock.dir, "jail.local", local.as_bytes());
            commands += stock.compare(judge, &mut known);
        }
        report(
            "stock jails × action shortcuts",
            judge.version(),
            names.len() * jails.len(),
            "jails",
        );
        report("stock jails × action shortcuts", judge.version(), commands, "commands");

        // Jails that pass other things down than the rest come first.
        let special = ["sshd", "recidive", "pass2allow-ftp", "named-refused", "asterisk"];
        let mut chosen = jails.clone();
        chosen.sort_by_key(|jail| !special.contains(&jail.as_str()));
        chosen.truncate(cases("SEKISHO_BANACTION_JAILS", special.len()));
        let mut actions = 0;
        for action in stems(&stock.dir.join("action.d")) {
            let text = with_includes(&stock.dir.join("action.d"), &action);
            let choices = choices(&text);
            let types = choices.get("type").into_iter().flatten();
            let with_type = types.map(|t| format!("{action}[type={t}]"));
            for banaction in [action.clone()].into_iter().chain(with_type) {
                let mut local = format!(
                    "[DEFAULT]\n{KEYS}banaction = {banaction}\nbanaction_allports = {banaction}\n"
                );
                for jail in &chosen {
                    writeln!(local, "[{jail}]\nenabled = true").unwrap();
                }
                write(&stock.dir, "jail.local", local.as_bytes());
                stock.compare(judge, &mut known);
                actions += 1;
            }
        }
        report("stock jails × banaction", judge.version(), actions * chosen.len(), "jails");
    }
}

/// Names of files in a folder without their ending.
fn stems(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter_map(|n| n.strip_suffix(".conf").map(str::to_owned)).collect()
}

/// The text of a file with what it includes.
fn with_includes(dir: &Path, stem: &str) -> String {
    let mut text = std::fs::read_to_string(dir.join(format!("{stem}.conf"))).unwrap_or_default();
    let included: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(key, _)| ["before", "after"].contains(&key.trim()))
        .filter_map(|(_, value)| value.trim().strip_suffix(".conf").map(str::to_owned))
        .collect();
    for stem in included {
        text = with_includes(dir, &stem) + &text;
    }
    text
}

/// What a file selects on: of `<lt_<logtype>/x>` and `<mdre-<mode>>` the names `logtype` and `mode`,
/// each with the values for which there is a section or an option.
fn choices(text: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (at, _) in text.match_indices('<') {
        let Some((prefix, rest)) = text[at + 1..].split_once('<') else { continue };
        let Some((name, rest)) = rest.split_once('>') else { continue };
        let Some((suffix, _)) = rest.split_once('>') else { continue };
        let words = [prefix, name, suffix.trim_start_matches('/')];
        if prefix.is_empty() || !words.iter().all(|word| word.chars().all(plain)) {
            continue;
        }
        // The option that selects is no choice of its own.
        let whole = format!("<{prefix}<{name}>{suffix}>");
        for line in text.lines().filter(|line| !line.contains(&whole)) {
            let candidate = if suffix.starts_with('/') {
                line.strip_prefix('[').and_then(|line| line.strip_suffix(']'))
            } else {
                line.split_once('=').and_then(|(key, _)| key.trim_end().strip_suffix(suffix))
            };
            found.entry(name).or_default().extend(candidate.and_then(|c| c.strip_prefix(prefix)));
        }
    }
    found
}

/// Every combination of choices, as parameters.
fn combinations(choices: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
    let mut all = vec![String::new()];
    for (name, values) in choices {
        let more = values.iter().flat_map(|v| all.iter().map(move |p| format!("{p}[{name}={v}]")));
        let more: Vec<String> = more.collect();
        all.extend(more);
    }
    assert!(all.len() < 1000, "{choices:?}");
    all
}

#[test]
fn all_filters_in_all_their_ways() {
    for judge in &mut Judge::all() {
        let dir = judge.fail2ban.config.join("filter.d");
        let mut jails = "[DEFAULT]\nenabled = true\nbackend = auto\n".to_owned();
        let mut number = 0;
        let mut selected = BTreeSet::new();
        // This one is only a part of others, and no filter by itself.
        for filter in stems(&dir).into_iter().filter(|f| f != "selinux-common") {
            let text = with_includes(&dir, &filter);
            let mut choices = choices(&text);
            selected.extend(choices.keys().map(|name| (*name).to_owned()));
            choices.entry("mode").or_default().extend(["normal", "aggressive", "nosuch"]);
            choices.entry("logtype").or_default().extend(["file", "journal"]);
            let params = combinations(&choices);
            for (params, backend) in params.iter().flat_map(|p| [(p, "auto"), (p, "systemd")]) {
                number += 1;
                let jail = format!("[t{number}]\nbackend = {backend}\nfilter = {filter}{params}");
                writeln!(jails, "{jail}").unwrap();
            }
            if text.contains("\nfailregex") {
                number += 1;
                let known = "failregex = %(known/failregex)s\n <HOST> more\nignoreregex = x";
                writeln!(jails, "[t{number}]\nfilter = {filter}[mode=aggressive]\n{known}")
                    .unwrap();
            }
        }
        let wanted = ["logging", "logtype", "mode"];
        assert!(wanted.iter().all(|name| selected.contains(*name)), "{selected:?}");
        let stock = Stock::with_jails(judge, &jails);
        let mut known = Known::default();
        let commands = stock.compare(judge, &mut known);
        assert!(known.nothing());
        assert!(commands > 5000, "{commands}");
        report("stock filters × what they select on", judge.version(), number, "filters");
    }
}

/// Options of the `[Init]` sections of a text.
fn init_options(text: &str) -> BTreeSet<&str> {
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if section.starts_with("Init") && line.starts_with(|c: char| c.is_ascii_alphabetic())
        {
            found.extend(line.split_once('=').map(|(key, _)| key.trim()));
        }
    }
    found
}

#[test]
fn all_actions_with_all_parameters() {
    for judge in &mut Judge::all() {
        let dir = judge.fail2ban.config.join("action.d");
        let mut jails =
            "[DEFAULT]\nenabled = true\nbantime = 10m\nlogpath =\nsender = root\n".to_owned();
        let mut number = 0;
        let mut jail = |definition: &str| {
            number += 1;
            writeln!(jails, "[t{number}]\naction = {definition}").unwrap();
        };
        for action in stems(&dir) {
            let text = with_includes(&dir, &action);
            jail(&action);
            jail(&format!(
                "{action}\n  {action}[actname=second, name=x, port=\"80,443\", protocol=tcp, \
                 chain=\"<known/chain>\", blocktype=DROP, sender=\"%(sender)s\", dest=me, \
                 actionban=\"ban <ip> <port>\"]"
            ));
            for params in combinations(&choices(&text)).iter().filter(|p| !p.is_empty()) {
                jail(&format!("{action}{params}"));
            }
            for option in init_options(&text) {
                jail(&format!("{action}[{option}=\"a b\"]"));
                jail(&format!("{action}[{option}=\"<known/{option}> more\", zz=\"<{option}>\"]"));
                // 1.1.0 and older know no conditions here.
                if !judge.is_old() {
                    jail(&format!("{action}[{option}?family=inet6=\"six <ip>\"]"));
                    jail(&format!("{action}[{option}=4, {option}?family=inet6=six]"));
                }
            }
        }
        jail("smtp.py[dest=\"a b\", sendername=x]");
        let stock = Stock::with_jails(judge, &jails);
        let mut known = Known::default();
        let commands = stock.compare(judge, &mut known);
        assert!(commands > number * 3, "{commands}");
        // The exceptions are still needed, each where it is said to be.
        assert_eq!((known.parameter > 0, known.undefined > 0), (judge.is_old(), true));
        report("stock actions × parameters", judge.version(), number, "actions");
    }
}
