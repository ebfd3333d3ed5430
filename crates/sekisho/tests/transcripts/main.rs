//! Every stock action file of every fail2ban that is here goes through the same lives twice: in
//! fail2ban's own server objects and in sekisho, from the configuration to the shell. The same
//! programs must be called with the same words, in the same order, be given the same to read, and
//! the same must be left in files. What differs on purpose has a named rule in `rules.py`.
//!
//! Nothing real is called: see `sandbox`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod jails;
mod lives;
mod ours;
mod sandbox;
mod transcript;

use std::collections::BTreeMap;
use std::iter::repeat;
use std::path::Path;
use std::process::Command;

use sekisho_oracle::{Fail2ban, Python, Random, cases, report};
use serde_json::Value;

use jails::{CHECKED, Jails, LIMITED, USUAL, changed_actions, stock_actions};
use lives::{Life, TROUBLES, some_trouble, troubled, whole};
use ours::Ours;
use sandbox::Sandbox;
use transcript::Seen;

/// fail2ban's side: what is different on purpose, and the rest.
const THEIRS: &str = concat!(include_str!("rules.py"), "\n", include_str!("theirs.py"));
/// Names the folder of a comparison; set for the process that makes it.
const FOLDER: &str = "SEKISHO_TRANSCRIPTS";

/// A test process has to change `PATH` for what its actions call; so it starts itself anew.
fn with_own_path(test: &str, of: Option<Fail2ban>) {
    let Some(fail2ban) = of else { return };
    if let Some(folder) = std::env::var_os(FOLDER) {
        return compare(&fail2ban, Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, folder.path())
        .env("PATH", folder.path().join("ours/bin"))
        .status()
        .unwrap();
    assert!(status.success(), "see above");
}

#[test]
fn installed() {
    with_own_path("installed", Fail2ban::installed());
}

#[test]
fn next() {
    with_own_path("next", Fail2ban::next());
}

#[test]
fn newest() {
    with_own_path("newest", Fail2ban::newest());
}

/// What is done to fail2ban because sekisho is better is a difference that users are told of.
#[test]
fn every_rule_is_in_the_documents() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("docs/COMPAT.md")).unwrap();
    let script = include_str!("rules.py");
    let mut rules = 0;
    for begin in ["rule('", "used.add('"] {
        for rule in script.split(begin).skip(1).map(|rest| rest.split('\'').next().unwrap()) {
            assert!(text.contains(&format!("(rule: {rule})")), "docs/COMPAT.md lacks {rule:?}");
            rules += 1;
        }
    }
    assert!(rules > 10);
}

/// Every action through the whole life, and lives in which something fails. Of older generations
/// only the actions whose files differ from the newest's: the others run the same commands.
fn choose(fail2ban: &Fail2ban, jails: &mut Jails) -> Vec<Life> {
    let actions = stock_actions(&fail2ban.config);
    let variants = cases("SEKISHO_ACTION_VARIANTS", 1);
    let all = variants >= LIMITED;
    let newest = Fail2ban::newest().filter(|newest| newest.version != fail2ban.version && !all);
    let old = newest.map(|newest| changed_actions(&fail2ban.config, &newest.config));
    let mut lives = Vec::new();
    for (n, action) in actions.iter().enumerate() {
        let more: Vec<usize> = match &old {
            Some(changed) if changed.contains(action) => vec![],
            Some(_) => continue,
            None => (0..variants).map(|v| (n + v) % LIMITED).collect(),
        };
        for (variant, answers) in
            [(USUAL, 'A')].into_iter().chain(more.into_iter().zip(repeat('B')))
        {
            let jail = jails.of(action, variant);
            let steps = whole(&jail);
            let name = format!("{action}, {}, whole, {answers}", jail.variant());
            lives.push(Life { name, jail, steps, answers, ipv6: n % 7 != 3 });
        }
    }
    let troubles = cases("SEKISHO_ACTION_LIVES", 30);
    let mut random = Random(troubles as u64);
    for _ in 0..troubles {
        let action = random.pick(&actions);
        // Most actions have no check of their own, without which there is little to go wrong.
        let variant = match random.one_in(2) {
            true => *random.pick(CHECKED),
            false => random.below(LIMITED),
        };
        let jail = jails.of(action, variant);
        let at = *random.pick(TROUBLES);
        let trouble = some_trouble(&mut random);
        let answers = *random.pick(&['A', 'B']);
        let name = format!("{action}, {}, {at} fails at {trouble}, {answers}", jail.variant());
        let steps = troubled(&jail, at, trouble);
        lives.push(Life { name, jail, steps, answers, ipv6: !random.one_in(7) });
    }
    if old.is_none() {
        for (action, at, trouble) in HANGING {
            let jail = jails.of(action, LIMITED);
            let name = format!("{action}, {at} hangs at {trouble}");
            let steps = troubled(&jail, at, (*trouble).to_owned());
            lives.push(Life { name, jail, steps, answers: 'A', ipv6: true });
        }
    }
    if let Ok(only) = std::env::var("SEKISHO_ACTION_ONLY") {
        lives.retain(|life| life.name.contains(&only));
    }
    lives
}

/// Actions whose programs hang until the time limit, at which step, and which calls.
const HANGING: &[(&str, &str, &str)] = &[
    ("iptables-multiport", "second", "0 1"),
    ("sendmail-whois", "first", "0 2"),
    ("ufw", "stop", "0 1"),
    ("nftables", "unban", "2 1"),
];

fn compare(fail2ban: &Fail2ban, folder: &Path) {
    let mut jails = Jails::default();
    let lives = choose(fail2ban, &mut jails);
    let side = |name: &str| Sandbox::new(folder.join(name), fail2ban, &jails);
    let (ours, theirs) = (side("ours"), side("theirs"));
    let questions: Vec<Value> = lives.iter().map(Life::json).collect();
    let mut command = fail2ban.python();
    command.env("PATH", theirs.path());
    let (config, at) = (theirs.config(), theirs.name());
    let their_side = std::thread::spawn(move || {
        Python::start(command, THEIRS, &[&config, &at]).ask_all(questions)
    });
    let ours = Ours::new(ours, &fail2ban.version);
    let results: Vec<_> = lives.iter().map(|life| ours.live(life)).collect();
    let answers = their_side.join().unwrap();
    let (mut different, mut steps) = (Vec::new(), 0);
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    for ((life, (ours, log)), answer) in lives.iter().zip(&results).zip(&answers) {
        let theirs: Vec<Seen> = serde_json::from_value(answer["steps"].clone()).unwrap();
        assert_eq!(ours.len(), theirs.len());
        steps += ours.len();
        for rule in answer["rules"].as_array().unwrap() {
            *rules.entry(rule.as_str().unwrap()).or_default() += 1;
        }
        // But the second word of an id, which some actions leave bare.
        let missing =
            log.iter().find(|l| l.ends_with(": not found'") && !l.contains(": user: not found"));
        assert_eq!(missing, None, "{}: there is no stand-in for this program", life.name);
        let Some(at) = (0..ours.len()).find(|n| ours[*n] != theirs[*n]) else { continue };
        different.push(life.name.as_str());
        if different.len() <= 20 {
            println!("### {}: step {at}, {:?}", life.name, life.steps[at]);
            show(&ours[at], &theirs[at]);
            if std::env::var_os("SEKISHO_ACTION_LOG").is_some() {
                println!("our log:\n{}", log.join("\n"));
                println!("their log:\n{}", serde_json::to_string_pretty(&answer["log"]).unwrap());
            }
        }
    }
    println!("lives in which a rule of rules.py made a difference: {rules:?}");
    report("Stock actions: calls and files", &fail2ban.version, lives.len(), "lives");
    report("Stock actions: calls and files", &fail2ban.version, steps, "steps");
    assert_eq!(different, [""; 0], "of {} lives", lives.len());
}

fn show(ours: &Seen, theirs: &Seen) {
    let empty = String::new();
    for key in ours.keys().chain(theirs.keys().filter(|k| !ours.contains_key(*k))) {
        let (a, b) = (ours.get(key).unwrap_or(&empty), theirs.get(key).unwrap_or(&empty));
        if a != b {
            println!("--- ours, {key}\n{a}\n--- theirs, {key}\n{b}");
        }
    }
}
