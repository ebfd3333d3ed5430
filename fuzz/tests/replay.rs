//! Every input that once failed is good now.
//!
//! `fuzz/run` names the input that it fails on; kept in `failed/TARGET/` it is tried here from then on.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn what_once_failed_is_good_now() {
    let failed = Path::new(env!("CARGO_MANIFEST_DIR")).join("failed");
    for folder in files_below(&failed).into_iter().filter(|path| path.is_dir()) {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let target = sekisho_fuzz::TARGETS.iter().find(|(target, _)| *target == name);
        let (_, run) = target.unwrap_or_else(|| panic!("failed/{name} belongs to no target"));
        for file in files_below(&folder) {
            eprintln!("{}", file.display());
            run(&std::fs::read(&file).unwrap());
        }
    }
}

/// The beginnings are sound: every target takes every seed, and nothing at all.
#[test]
fn the_seeds_are_good() {
    for (name, run) in sekisho_fuzz::TARGETS {
        run(b"");
        let seeds = sekisho_fuzz::seeds::own(name);
        assert!(seeds.len() > 5, "{name} has {} seeds", seeds.len());
        seeds.iter().for_each(|seed| run(seed));
    }
}
