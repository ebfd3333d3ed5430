//! Small configurations, each for one construct: the command stream must be fail2ban's.
//!
//! `data/trees.txt` holds them (`common/tree.rs` describes the format). A tree marked `expected` is
//! one where we differ on purpose, or where both refuse and only our words are of interest: it says
//! what we print (without the server's options), and fail2ban must still print something else, so
//! that no exception outlives its reason.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::string_slice, clippy::indexing_slicing)]

mod common;

use std::path::{Path, PathBuf};

use common::tree::{Tree, parse};
use common::verdict::without_broken;
use common::{Answer, Disk, Judge, dump_mode, without_quirk};
use sekisho_config::dump::dump;
use sekisho_config::error::ConfigError;
use sekisho_config::load::{LoadOptions, Mode, load};
use sekisho_oracle::report;

const TREES: &str = include_str!("data/trees.txt");

/// Both refuse everything.
const FATAL: &str = "fatal";
/// Only fail2ban before 1.1.1 says something else.
const OLD: &str = "old";

/// All trees, written into folders of their own.
fn written() -> (tempfile::TempDir, Vec<(Tree, PathBuf)>) {
    let root = tempfile::tempdir().unwrap();
    let mut trees = Vec::new();
    for (at, tree) in parse(TREES).into_iter().enumerate() {
        let dir = root.path().join(format!("t{at}"));
        tree.write(&dir);
        trees.push((tree, dir));
    }
    (root, trees)
}

/// What we print, in the form of `expected`: notices with a place, then jails, then what is fatal.
fn ours(dir: &Path) -> String {
    let (notices, stream) = match dump_mode(dir, "1.1.1") {
        Ok(loaded) => (loaded.notices, dump(&loaded.stream)),
        Err(error) => (Vec::new(), format!("FATAL {error}\n")),
    };
    let notices = notices.iter().filter(|n| n.origin.is_some() && !is_fail2bans(&n.text));
    let notices = notices.map(|n| n.located() + "\n");
    let stream = stream.lines().filter(|l| !is_server_option(l)).map(|l| format!("{l}\n"));
    notices.chain(stream).collect::<String>().replace(dir.to_str().unwrap(), "@DIR@")
}

/// What fail2ban warns of as well, without the place, is no difference.
fn is_fail2bans(warning: &str) -> bool {
    ["No filter set for jail", "No actions were defined for", "Have not found any log file"]
        .iter()
        .any(|known| warning.starts_with(known))
}

/// The global options that are there when no file sets them.
fn is_server_option(line: &str) -> bool {
    [
        "['set', 'syslogsocket', 'auto']",
        "['set', 'loglevel', 'INFO']",
        "['set', 'logtarget', '/var/log/fail2ban.log']",
        "['set', 'allowipv6', 'auto']",
        "['set', 'dbfile', '/var/lib/fail2ban/fail2ban.sqlite3']",
        "['set', 'dbpurgeage', '1d']",
    ]
    .contains(&line)
}

/// With `UPDATE_EXPECT=1` the file is written anew.
#[test]
fn where_we_differ() {
    let (_root, trees) = written();
    let mut failures = Vec::new();
    let mut text = TREES.to_owned();
    for (tree, dir) in &trees {
        let Some((label, expected)) = &tree.expected else { continue };
        let ours = ours(dir);
        if *expected != ours {
            failures.push(format!("=== {}\n--- expected {label}\n{ours}", tree.name));
            let from = text.find(&format!("=== {}\n", tree.name)).unwrap();
            let head = format!("--- expected {label}\n");
            let from = from + text[from..].find(&head).unwrap() + head.len();
            text.replace_range(from..from + expected.len(), &ours);
        }
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/trees.txt");
        return std::fs::write(path, text).unwrap();
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Every kind of difference is listed.
#[test]
fn differences_are_documented() {
    let document = include_str!("../../../docs/COMPAT.md");
    for (label, _) in parse(TREES).into_iter().filter_map(|tree| tree.expected) {
        let listed = document.contains(&format!("trees marked `{label}`"));
        assert!(listed || [FATAL, OLD].contains(&label.as_str()), "{label} is not in COMPAT.md");
    }
}

#[test]
fn streams_are_fail2bans() {
    let (_root, trees) = written();
    let dirs: Vec<&PathBuf> = trees.iter().map(|(_, dir)| dir).collect();
    let mut failures = Vec::new();
    for judge in &mut Judge::all() {
        let answers = judge.clients(&dirs, &["-d"]);
        for ((tree, dir), answer) in trees.iter().zip(answers) {
            if let Err(text) = compare(judge, tree, dir, &answer) {
                let text = text.replace(dir.to_str().unwrap(), "@DIR@");
                failures.push(format!("=== {} ({})\n{text}", tree.name, judge.version()));
            }
        }
        report(
            "configuration trees: -d, accepted or refused",
            judge.version(),
            trees.len(),
            "trees",
        );
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn compare(judge: &mut Judge, tree: &Tree, dir: &Path, answer: &Answer) -> Result<(), String> {
    let theirs = without_quirk(&answer.out);
    let loaded = dump_mode(dir, judge.version());
    let ours: Vec<String> = match &loaded {
        Ok(loaded) => dump(&loaded.stream).lines().map(str::to_owned).collect(),
        Err(error) => vec![format!("FATAL {error}")],
    };
    let same = ours == theirs;
    let old = judge.is_old();
    let fail = |what: &str| {
        let (ours, theirs) = (ours.join("\n"), theirs.join("\n"));
        Err(format!("{what}\n--- ours\n{ours}\n--- fail2ban\n{theirs}\n{}", answer.errors()))
    };
    match (tree.expected.as_ref().map(|(label, _)| label.as_str()), loaded) {
        (Some(OLD), _) if old => Ok(()),
        (None | Some(OLD), _) if !same => fail("the streams differ"),
        (None | Some(OLD), Ok(loaded)) if loaded.nothing_left() == (answer.code == 0) => {
            fail(&format!("fail2ban's exit code is {}", answer.code))
        }
        (None | Some(OLD), _) => Ok(()),
        (Some(_), _) if old => Ok(()),
        (Some(_), _) if same => fail("no difference any more"),
        (Some(FATAL), _) if answer.code == 0 => fail("fail2ban accepts it"),
        (Some("one jail"), Ok(loaded)) => {
            without_broken(judge, dir, &loaded).map_err(|(text, _)| text)
        }
        (Some(_), _) => Ok(()),
    }
}

/// Where something is wrong, our words name file and line, and whatever fail2ban's words name.
#[test]
fn messages_name_file_and_line() {
    let (_root, trees) = written();
    let dirs: Vec<&PathBuf> = trees.iter().map(|(_, dir)| dir).collect();
    let mut theirs = Judge::newest().map(|mut judge| judge.clients(&dirs, &["-d"]).into_iter());
    let mut failures = Vec::new();
    let mut messages = 0;
    for (tree, dir) in &trees {
        let theirs = theirs.as_mut().and_then(Iterator::next);
        let (faults, notices): (Vec<ConfigError>, _) = match dump_mode(dir, "1.1.1") {
            Ok(loaded) => (loaded.broken.into_iter().map(|b| b.error).collect(), loaded.notices),
            Err(fatal) => (fatal.errors, fatal.notices),
        };
        messages += faults.len();
        let placeless = |e: &&ConfigError| {
            matches!(e, ConfigError::NoLogs { .. } | ConfigError::NotFound { .. })
        };
        for fault in faults.iter().filter(|fault| !placeless(fault)) {
            let origin = fault.origin().unwrap_or_else(|| panic!("{}: {fault}", tree.name));
            let text = std::fs::read(&*origin.file).unwrap();
            let lines = text.split(|byte| *byte == b'\n').count();
            assert!((1..=lines).contains(&(origin.line as usize)), "{}: {fault}", tree.name);
            assert!(fault.located().starts_with(&format!("{}:{}: ", origin.file, origin.line)));
        }
        let ours: String = faults.iter().map(ConfigError::located).collect();
        let ours = notices.iter().fold(ours, |all, notice| all + "\n" + &notice.located());
        for word in theirs.iter().filter(|_| !faults.is_empty()).flat_map(|a| quoted(&a.errors())) {
            if !ours.contains(&word) {
                failures.push(format!("=== {}: {word}\n{ours}", tree.name));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    report(
        "messages of broken trees: file, line and what fail2ban names",
        "1.1.1",
        messages,
        "messages",
    );
}

/// Words in quotation marks.
fn quoted(errors: &str) -> Vec<String> {
    // Places inside a file and the values of a loop are said in other words.
    let others = ["codec", "self referencing", "Errors in jail"];
    let said = errors.lines().filter(|line| line.contains(" ERROR "));
    let said = said.filter(|line| !others.iter().any(|other| line.contains(other)));
    let words = said.flat_map(|line| line.split('\'').skip(1).step_by(2));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Every tree, also the broken ones, loads in start mode without panicking, and every command that
/// comes from a file says from which line.
#[test]
fn origins_are_named() {
    let (_root, trees) = written();
    for (tree, dir) in &trees {
        let options = LoadOptions { mode: Mode::Start, ..LoadOptions::default() };
        let dir = dir.to_str().unwrap();
        let Ok(loaded) = load(&Disk, dir, &options) else { continue };
        for words in &loaded.stream {
            let Some(origin) = &words.origin else { continue };
            assert!(origin.file.starts_with(dir), "{}: {}", tree.name, words.repr());
            let text = std::fs::read(&*origin.file).unwrap_or_default();
            let lines = text.iter().filter(|b| **b == b'\n').count() + 1;
            assert!((origin.line as usize) <= lines && origin.line > 0, "{}", words.repr());
        }
        for broken in &loaded.broken {
            let placeless = broken.reason.contains("missing log files");
            assert!(broken.origin.is_some() || placeless, "{}: {}", tree.name, broken.reason);
        }
    }
}
