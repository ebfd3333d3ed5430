//! The whole path from failures to bans and back, against fail2ban's own classes.
//!
//! Generated histories are played by the engine (`ours`) and by the reference's jails
//! (`reference.py`); after each step everything that can be seen must be equal. A difference names
//! its seed; `SEKISHO_COUNTING_SEED=n` plays one, `SEKISHO_COUNTING=n` plays more than usual.

// A test may stop at anything unexpected.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod better;
mod expressions;
mod ours;
mod sequence;
mod single;

use sekisho_oracle::{Fail2ban, Python, cases, report};
use sequence::Sequence;
use serde_json::Value;

const REFERENCE: &str = include_str!("reference.py");
/// What has to come up in a run: a generator that misses one of them compares less than it seems.
const KINDS: [&str; 23] = [
    "] Found ",
    ", bad - ",
    ", Ban\"",
    "] Attempt ",
    "] Ban ",
    "] Restore Ban ",
    "] Unban ",
    "] Repeal Ban ",
    "NOTICE [j] 192.0.2.1 already banned",
    "WARNING [j] 192.0.2.1 already banned",
    " is bad: ",
    "Increase Ban ",
    "permanent -> infinite",
    "permanent",
    "expired bantime",
    "] Ignore 192.0.2.77 by ip",
    "ERROR",
    "j check",
    " prolong ",
    "restored=1",
    "\"purged\"",
    "9999-12-31",
    "\"error\"",
];
/// Sequences per question-and-answer round.
const ROUND: usize = 50;

#[test]
fn counts_and_bans_as_fail2ban_does() {
    let one: Option<u64> =
        std::env::var("SEKISHO_COUNTING_SEED").ok().and_then(|seed| seed.parse().ok());
    let count = cases("SEKISHO_COUNTING", 500);
    let seeds: Vec<u64> = one.map_or_else(|| (0..count as u64).collect(), |seed| vec![seed]);
    let judges = Fail2ban::all();
    let mut seen = [false; KINDS.len()];
    let mut references: Vec<Python> =
        judges.iter().map(|judge| Python::start(judge.python(), REFERENCE, &[])).collect();
    for round in seeds.chunks(ROUND) {
        let sequences: Vec<Sequence> = round.iter().map(|seed| Sequence::new(*seed)).collect();
        let ours: Vec<Vec<Value>> = sequences.iter().map(ours::play).collect();
        let text = Value::from(ours.concat()).to_string();
        for (kind, seen) in KINDS.iter().zip(&mut seen) {
            *seen |= text.contains(kind);
        }
        for (judge, reference) in judges.iter().zip(&mut references) {
            let theirs = reference.ask_all(sequences.iter().map(Sequence::json).collect());
            for (at, theirs) in theirs.iter().enumerate() {
                let theirs = theirs.as_array().unwrap();
                if let Err(difference) = compare(&sequences[at], &ours[at], theirs) {
                    panic!("seed {}, fail2ban {}: {difference}", round[at], judge.version);
                }
            }
        }
    }
    let missed: Vec<&str> =
        KINDS.into_iter().zip(&seen).filter(|(_, seen)| !**seen).map(|(kind, _)| kind).collect();
    assert!(seeds.len() < 500 || missed.is_empty(), "never seen: {missed:?}");
    for judge in &judges {
        report("counting and banning: histories", &judge.version, seeds.len(), "sequences");
    }
}

/// The first step after which not everything is equal.
fn compare(sequence: &Sequence, ours: &[Value], theirs: &[Value]) -> Result<(), String> {
    assert_eq!(ours.len(), theirs.len(), "steps");
    for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        if ours == theirs {
            continue;
        }
        let parts = ["did", "log", "reply", "status", "rows"];
        let differing = parts.iter().filter(|part| ours[**part] != theirs[**part]);
        let shown: Vec<String> = differing
            .map(|part| format!("{part}\n  ours   {}\n  theirs {}", ours[*part], theirs[*part]))
            .collect();
        let story: Vec<String> = sequence.steps[..=at].iter().map(|s| format!("{s:?}")).collect();
        return Err(format!(
            "step {at}\n{}\nstored {}, purge age {}\n{}",
            shown.join("\n"),
            sequence.stored,
            sequence.purge_age,
            story.join("\n"),
        ));
    }
    Ok(())
}
