//! Keeps the house in order: the invariants that no compiler checks.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn files_below(dir: &Path, ending: &str, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|n| n != "target" && n != ".git") {
                files_below(&path, ending, out);
            }
        } else if path.to_string_lossy().ends_with(ending) {
            out.push(path);
        }
    }
}

fn rust_files(below: &str) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    files_below(&root().join(below), ".rs", &mut paths);
    assert!(!paths.is_empty(), "{below} has no sources");
    let name = |p: &Path| p.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    paths.iter().map(|p| (name(p), fs::read_to_string(p).unwrap())).collect()
}

#[test]
fn every_module_says_why_it_exists() {
    for (name, text) in rust_files("crates").into_iter().chain(rust_files("fuzz")) {
        assert!(text.starts_with("//!"), "{name} must begin with a //! header");
    }
}

#[test]
fn no_file_is_too_long() {
    for (name, text) in rust_files("crates") {
        let lines = text.lines().count();
        assert!(lines <= 1200, "{name} has {lines} lines: split it");
    }
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("FIX", "ME")];
    for (name, text) in rust_files("crates") {
        for mark in marks {
            assert!(!text.contains(mark), "{name} contains {mark}");
        }
    }
}

/// The core decides, the edge does: what the core may not even name.
#[test]
fn core_is_pure() {
    let banned = [
        "std::fs",
        "std::env",
        "std::process",
        "std::thread",
        "std::sync::Mutex",
        "std::sync::RwLock",
        "SystemTime",
        "Instant::now",
        "std::net::Tcp",
        "std::net::Udp",
        "std::os",
        "rand::",
    ];
    for (name, text) in rust_files("crates/core/src") {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            for word in banned {
                assert!(!code.contains(word), "{name}:{}: core must not use {word}", number + 1);
            }
        }
    }
}

#[test]
fn clocks_are_read_in_one_file() {
    for (name, text) in rust_files("crates/sekisho/src") {
        if name.ends_with("src/clock.rs") {
            continue;
        }
        for word in ["SystemTime::now", "Instant::now", "TimeZone::system", "Zoned::now"] {
            assert!(!text.contains(word), "{name} uses {word}: clocks are read in clock.rs alone");
        }
    }
}

/// sekisho → config → core and sekisho → core, nothing else.
#[test]
fn dependencies_point_one_way() {
    let manifest = |krate: &str| {
        fs::read_to_string(root().join("crates").join(krate).join("Cargo.toml")).unwrap()
    };
    assert!(!manifest("core").contains("sekisho-config"));
    assert!(!manifest("core").contains("rusqlite"));
    assert!(!manifest("config").contains("name = \"sekisho\""));
    for krate in ["core", "config"] {
        for edge_only in ["rustix", "inotify", "crossbeam", "signal-hook"] {
            assert!(!manifest(krate).contains(edge_only), "{krate} must not use {edge_only}");
        }
    }
}

/// Each dependency is justified in one line of ARCHITECTURE.md.
#[test]
fn dependencies_are_justified() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for krate in ["crates/core", "crates/config", "crates/sekisho", "fuzz"] {
        let path = root().join(krate).join("Cargo.toml");
        let manifest = fs::read_to_string(path).unwrap();
        let tables = manifest.split("\n[").filter(|t| t.contains("dependencies]"));
        for line in tables.flat_map(|t| t.lines().skip(1)).filter(|l| l.contains('=')) {
            let name = line.split(['.', ' ', '=']).next().unwrap_or("");
            assert!(
                name.starts_with("sekisho") || text.contains(&format!("| `{name}` |")),
                "ARCHITECTURE.md does not say why {krate} needs {name}"
            );
        }
    }
}

/// The documentation's paths exist.
#[test]
fn contributing_names_real_places() {
    for doc in ["CONTRIBUTING.md", "ARCHITECTURE.md"] {
        let text = fs::read_to_string(root().join(doc)).unwrap();
        for word in text.split('`').skip(1).step_by(2) {
            let looks_like_path = ["crates/", "config/", "tests/", "docs/", "benches/", "fuzz/"]
                .iter()
                .any(|p| word.starts_with(p));
            if looks_like_path && !word.contains(['*', ' ', 'N', '{']) {
                assert!(root().join(word).exists(), "{doc} names {word}, which does not exist");
            }
        }
    }
}

/// Texts speak of the project alone: no path of one machine.
#[test]
fn no_machine_paths() {
    let mut paths = Vec::new();
    for ending in [".rs", ".md", ".sh", ".conf", ".toml", ".py"] {
        files_below(&root(), ending, &mut paths);
    }
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let shown = path.display();
        for bad in [concat!("/wo", "rk/"), concat!("/fa", "rm/")] {
            assert!(!text.contains(bad), "{shown} contains {bad}");
        }
    }
}
