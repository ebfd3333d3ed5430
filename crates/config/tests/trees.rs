//! Small configurations, each for one construct: the command stream must be fail2ban's.
//!
//! `data/trees.txt` holds them: `=== name` begins a tree, `--- path` a file of it. A tree with a
//! file `expected` is one where we differ on purpose, or where both refuse and only our words are
//! of interest: it says what we print (without the server's options), and the oracle must still
//! print something else, so that no exception outlives its reason.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::string_slice, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use sekisho_config::dump::dump;
use sekisho_config::load::{LoadOptions, Loaded, Mode, load};

const TREES: &str = include_str!("data/trees.txt");

struct Tree {
    name: String,
    files: BTreeMap<String, String>,
    expected: Option<String>,
}

fn trees() -> Vec<Tree> {
    let mut trees: Vec<Tree> = Vec::new();
    let mut file: Option<String> = None;
    for line in TREES.split_inclusive('\n') {
        if let Some(name) = line.strip_prefix("=== ") {
            let name = name.trim().to_owned();
            trees.push(Tree { name, files: BTreeMap::new(), expected: None });
            file = None;
        } else if let Some(path) = line.strip_prefix("--- ") {
            file = Some(path.trim().to_owned());
            let tree = trees.last_mut().unwrap();
            match path.trim() {
                "expected" => tree.expected = Some(String::new()),
                path => assert!(tree.files.insert(path.to_owned(), String::new()).is_none()),
            }
        } else {
            let tree = trees.last_mut().unwrap();
            let file = file.as_ref().expect("a line outside a file");
            match file.as_str() {
                "expected" => tree.expected.as_mut().unwrap().push_str(line),
                path => tree.files.get_mut(path).unwrap().push_str(line),
            }
        }
    }
    trees
}

fn write(tree: &Tree, dir: &Path) {
    let here = dir.to_str().unwrap();
    common::write(dir, "fail2ban.conf", b"[Definition]\n");
    for (path, text) in &tree.files {
        let text = text.replace("@DIR@", here);
        let mut bytes = Vec::new();
        for (at, part) in text.split("\\xff").enumerate() {
            if at > 0 {
                bytes.push(0xff);
            }
            bytes.extend_from_slice(part.as_bytes());
        }
        common::write(dir, path, &bytes);
    }
}

/// The oracle's version.
fn version() -> String {
    std::env::var("FAIL2BAN_VERSION").unwrap_or_else(|_| "1.0.2".into())
}

fn load_tree(dir: &str, mode: Mode) -> Result<Loaded, String> {
    let options = LoadOptions { mode, version: &version(), ..LoadOptions::default() };
    load(&common::Disk, dir, &options).map_err(|e| e.to_string())
}

/// What we print, in the form of `expected`: notices with a place, then jails, then what is fatal.
fn ours(dir: &str) -> String {
    let (notices, stream) = match load_tree(dir, Mode::Dump) {
        Ok(loaded) => (loaded.notices, dump(&loaded.stream)),
        Err(error) => (Vec::new(), format!("FATAL {error}\n")),
    };
    let notices = notices.iter().filter(|n| n.origin.is_some()).map(|n| n.located() + "\n");
    let stream = stream.lines().filter(|l| !is_server_option(l)).map(|l| format!("{l}\n"));
    notices.chain(stream).collect::<String>().replace(dir, "@DIR@")
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

#[test]
fn where_we_differ() {
    let root = tempfile::tempdir().unwrap();
    let mut failures = Vec::new();
    for (at, tree) in trees().iter().enumerate() {
        let dir = root.path().join(format!("t{at}"));
        write(tree, &dir);
        let ours = ours(dir.to_str().unwrap());
        if let Some(expected) = &tree.expected
            && *expected != ours
        {
            failures.push(format!("=== {}\n{ours}", tree.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn streams_are_fail2bans() {
    if !common::has_oracle("streams_are_fail2bans") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let trees = trees();
    let mut dirs = Vec::new();
    for (at, tree) in trees.iter().enumerate() {
        let dir = root.path().join(format!("t{at}"));
        write(tree, &dir);
        dirs.push(dir.to_str().unwrap().to_owned());
    }
    let mut failures = Vec::new();
    for ((tree, dir), (theirs, _)) in trees.iter().zip(&dirs).zip(common::oracle(&dirs)) {
        let theirs = common::without_quirk(&theirs);
        let ours: Vec<String> = match load_tree(dir, Mode::Dump) {
            Ok(loaded) => dump(&loaded.stream).lines().map(str::to_owned).collect(),
            Err(error) => vec![format!("FATAL {error}")],
        };
        match &tree.expected {
            None if ours != theirs => failures.push(format!(
                "=== {}\n--- ours\n{}\n--- fail2ban\n{}",
                tree.name,
                ours.join("\n"),
                theirs.join("\n")
            )),
            // Exceptions are named for the oldest version.
            Some(_) if ours == theirs && version() == "1.0.2" => {
                failures.push(format!("=== {}: no difference any more", tree.name));
            }
            _ => {}
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Every tree, also the broken ones, loads in start mode without panicking, and every command that
/// comes from a file says from which line.
#[test]
fn origins_are_named() {
    let root = tempfile::tempdir().unwrap();
    for (at, tree) in trees().iter().enumerate() {
        let dir = root.path().join(format!("t{at}"));
        write(tree, &dir);
        let dir = dir.to_str().unwrap();
        let Ok(loaded) = load_tree(dir, Mode::Start) else { continue };
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
