//! The documents keep their word: the tests that `docs/COMPAT.md` names exist, and the manual pages
//! are those of the tables of options.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

#[test]
fn every_difference_has_its_test() {
    let text = fs::read_to_string(root().join("docs/COMPAT.md")).unwrap();
    let (_, list) = text.split_once("## Deliberate differences").unwrap();
    let trees = fs::read_to_string(root().join("crates/config/tests/data/trees.txt")).unwrap();
    let mut rows = 0;
    for row in list.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| test |")) {
        rows += 1;
        let shown = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let mut tests = 0;
        for word in shown.split('`').skip(1).step_by(2) {
            let Some((file, function)) = word.split_once("::") else {
                assert!(trees.contains(&format!("=== {word}\n")), "no tree {word:?}: {row}");
                continue;
            };
            tests += 1;
            let source = fs::read_to_string(root().join(file));
            let source = source.unwrap_or_else(|e| panic!("{file}: {e}: {row}"));
            assert!(source.contains(&format!("fn {function}(")), "no test {word}: {row}");
        }
        assert!(tests > 0, "a difference without a test: {row}");
    }
    assert!(rows > 30, "{rows} rows");
}

/// The pages are committed, for packages; `UPDATE_EXPECT=1` writes them anew.
#[test]
fn manual_pages_are_those_of_the_tables() {
    for program in ["sekisho", "fail2ban-client", "fail2ban-server", "fail2ban-regex"] {
        let path = root().join(format!("docs/man/{program}.1"));
        let page = sekisho::cli::manual(program).unwrap();
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &page).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == page,
            "docs/man/{program}.1 is out of date: run the test with UPDATE_EXPECT=1"
        );
    }
}
