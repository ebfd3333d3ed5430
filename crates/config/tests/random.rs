//! Random configurations: accepted or refused as fail2ban does, and the same stream.
//!
//! Seeded, so that a failure repeats: `SEKISHO_TREES_FROM=SEED SEKISHO_TREES=1` shows one of them,
//! `SEKISHO_TREES=5000` compares more.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;

use common::Judge;
use common::generate::tree;
use common::verdict::verdict;
use sekisho_oracle::{cases, report};

#[test]
fn random_trees() {
    let count = cases("SEKISHO_TREES", 300);
    let first = cases("SEKISHO_TREES_FROM", 0);
    let Some(judge) = &mut Judge::newest() else { return };
    let mut failures = Vec::new();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut seed = first;
    while seed < first + count {
        let root = tempfile::tempdir().unwrap();
        let batch: Vec<_> = (seed..(seed + 100).min(first + count))
            .map(|seed| {
                let tree = tree(seed as u64);
                let dir = root.path().join(format!("t{seed}"));
                tree.write(&dir);
                (tree, dir)
            })
            .collect();
        let dirs: Vec<_> = batch.iter().map(|(_, dir)| dir).collect();
        let answers = judge.clients(&dirs, &["-d"]);
        for ((tree, dir), answer) in batch.iter().zip(answers) {
            match verdict(judge, dir, &answer) {
                Ok(kind) => *kinds.entry(kind).or_default() += 1,
                Err(text) => {
                    let mut shown = format!("=== {}\n{text}\n", tree.name);
                    if count == 1 {
                        for (path, text) in &tree.files {
                            shown += &format!("--- {path}\n{text}");
                        }
                    }
                    failures.push(shown.replace(dir.to_str().unwrap(), "@DIR@"));
                }
            }
        }
        seed += batch.len();
    }
    println!("{kinds:?}");
    let shown = failures.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {count} trees\n{shown}", failures.len());
    // Most of them must say something.
    assert!(count < 100 || kinds["same"] * 2 > count, "{kinds:?}");
    report("random trees: -d, accepted or refused", judge.version(), count, "trees");
}
