//! `fail2ban-client -t` on the configuration trees of `crates/config`: accepted or refused as
//! fail2ban's, but for what docs/COMPAT.md lists; and what we refuse where fail2ban's `-t` does not
//! is what fail2ban's server refuses at its start.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../config/tests/common/mod.rs"]
mod common;

use std::process::Command;

use common::tree::parse;
use common::{Answer, Judge};
use sekisho_oracle::report;

const TREES: &str = include_str!("../../config/tests/data/trees.txt");

/// What only fail2ban's `-t` refuses, by the label of the tree.
const ACCEPTED: &[&str] = &[
    "section twice",
    "unread",
    "names in any case",
    "percent sign",
    "init as variable",
    "blank behind quotes",
    "byte order mark",
    "include loop",
];

fn ours(dir: &std::path::Path) -> Answer {
    let said = Command::new(env!("CARGO_BIN_EXE_fail2ban-client"))
        .arg("-c")
        .arg(dir)
        .arg("-t")
        .output()
        .unwrap();
    Answer {
        out: String::from_utf8_lossy(&said.stdout).into_owned(),
        err: String::from_utf8_lossy(&said.stderr).into_owned(),
        code: said.status.code().unwrap_or(-1).into(),
    }
}

#[test]
fn configurations_are_accepted_as_fail2ban_does() {
    let Some(mut judge) = Judge::newest() else { return };
    let root = tempfile::tempdir().unwrap();
    let trees = parse(TREES);
    let mut dirs = Vec::new();
    for (at, tree) in trees.iter().enumerate() {
        let dir = root.path().join(format!("t{at}"));
        tree.write(&dir);
        dirs.push(dir);
    }
    let tested = judge.clients(&dirs, &["-t"]);
    let mut failures = Vec::new();
    let mut refused_late = 0;
    for ((tree, dir), theirs) in trees.iter().zip(&dirs).zip(tested) {
        let ours = ours(dir);
        let label = tree.expected.as_ref().map_or("", |(label, _)| label);
        let good = match (ours.code, theirs.code) {
            (0, 0) => ours.out == theirs.out && theirs.out.contains("OK: "),
            (255, 255) => !ours.err.trim().is_empty(),
            // A jail waits for its log file.
            (0, 255) => ACCEPTED.contains(&label) || theirs.err.contains("not found any log file"),
            // fail2ban leaves out the include, and goes on without it.
            (255, 0) if label == "file" => theirs.err.contains("Error decoding"),
            (255, 0) => {
                refused_late += 1;
                judge.start_refuses(dir)
            }
            _ => false,
        };
        if !good {
            let (code, other) = (ours.code, theirs.code);
            failures.push(format!(
                "=== {}: {code} {other}\n{}{}\n--- fail2ban\n{}{}",
                tree.name,
                ours.out,
                ours.err,
                theirs.out,
                theirs.errors()
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(refused_late > 10, "{refused_late}");
    report("configuration trees: -t, accepted or refused", judge.version(), trees.len(), "trees");
    report("trees that -t refuses only here: the start of", judge.version(), refused_late, "trees");
}
