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
                let marked = trees.contains(&format!("--- expected {word}\n"));
                assert!(marked, "no tree marked {word:?}: {row}");
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

/// They are committed, for packages; `UPDATE_EXPECT=1` writes them anew.
fn committed(name: &str, made: &str) {
    let path = root().join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == made, "{name} is out of date: run the test with UPDATE_EXPECT=1");
}

#[test]
fn manual_pages_are_those_of_the_tables() {
    for program in sekisho::cli::PROGRAMS {
        committed(&format!("docs/man/{program}.1"), &sekisho::cli::manual(program).unwrap());
    }
}

#[test]
fn completion_is_that_of_the_tables() {
    committed("packaging/completion.bash", &sekisho::cli::completion::bash());
}

/// What the completion offers for the words typed so far, the last one begun.
#[test]
fn completion_offers_what_can_follow() {
    let script = root().join("packaging/completion.bash");
    let offers = |line: &str| {
        let code = format!(
            ". '{}'; fail2ban-client() {{ printf '`- Jail list:\\tsshd, dovecot\\n'; }}; \
             COMP_WORDS=({}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _sekisho; \
             printf '%s ' \"${{COMPREPLY[@]}}\"",
            script.display(),
            line
        );
        let out = std::process::Command::new("bash").args(["--norc", "-c", &code]).output();
        let out = out.expect("bash");
        assert!(out.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    for (line, expected) in [
        ("fail2ban-client rel", "reload"),
        ("fail2ban-client reload s", "sshd"),
        ("fail2ban-client set dov", "dovecot"),
        ("fail2ban-client set dovecot unb", "unbanip"),
        ("fail2ban-client set dovecot unbanip --r", "--report-absent"),
        ("fail2ban-client set sshd idle o", "off on"),
        ("fail2ban-client -s /run/x set logt", "logtarget"),
        ("fail2ban-client --dump-p", "--dump-pretty"),
        ("fail2ban-client ru", ""),
        ("sekisho ru", "run"),
        ("fail2ban-regex --print-all-mi", "--print-all-missed"),
    ] {
        assert_eq!(offers(line), expected, "{line}");
    }
}

/// Bash completes the names of files itself; a name is never run, and no pattern finds a file.
#[test]
fn completion_runs_no_name_of_a_file() {
    let script = root().join("packaging/completion.bash");
    let dir = tempfile::tempdir().unwrap();
    for name in ["$(touch ran)", "`touch ran`", "x--restart", "two words"] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    for (words, expected) in [
        ("fail2ban-regex ''", ""),
        ("sekisho regex ''", ""),
        ("sekisho run --log ''", ""),
        ("fail2ban-client -c ''", ""),
        ("fail2ban-client set sshd addlogpath ''", ""),
        ("fail2ban-client reload -", "--all --if-exists --restart --unban"),
        ("fail2ban-client start ''", "$(touch${IFS}ran)"),
    ] {
        let code = format!(
            ". '{}'; fail2ban-client() {{ echo '`- Jail list: $(touch${{IFS}}ran)'; }}; \
             COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _sekisho; \
             printf '%s ' \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let mut bash = std::process::Command::new("bash");
        let out = bash.args(["--norc", "-c", &code]).current_dir(dir.path()).output().unwrap();
        assert!(out.stderr.is_empty(), "{words}: {}", String::from_utf8_lossy(&out.stderr));
        assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), expected, "{words}");
        assert!(!dir.path().join("ran").exists(), "{words}: a name was run");
    }
}
