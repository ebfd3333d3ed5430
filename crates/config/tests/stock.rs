//! The stock configuration that is installed here: our command stream must be fail2ban's, line for
//! line, for all jails, for all filters in all their modes, and for all actions.
//!
//! The files are read where they are installed; none of them is in this repository.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::string_slice, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sekisho_config::dump::dump;
use sekisho_config::load::{LoadOptions, Mode, load};

/// The stock tree and the version of fail2ban that reads it.
fn stock() -> (PathBuf, String) {
    let var = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.into());
    (var("FAIL2BAN_CONFIG", "/etc/fail2ban").into(), var("FAIL2BAN_VERSION", "1.0.2"))
}

fn has_stock(test: &str) -> bool {
    let found = stock().0.join("jail.conf").exists();
    if !found {
        assert!(std::env::var("SEKISHO_CI").is_err(), "{test} needs fail2ban's stock files");
        eprintln!("{test} skipped: needs fail2ban's stock files");
    }
    found && common::has_oracle(test)
}

/// Compares both streams of a folder, line by line.
fn compare(dir: &Path, exceptions: &dyn Fn(&str) -> String) -> usize {
    let dir = dir.to_str().unwrap().to_owned();
    let (theirs, code) = common::oracle(std::slice::from_ref(&dir)).pop().unwrap();
    let log = std::fs::read_to_string(format!("{dir}.err")).unwrap();
    assert_eq!(code, 0, "{}", log.lines().rev().take(5).collect::<Vec<_>>().join("\n"));
    let theirs: Vec<String> =
        common::without_quirk(&theirs).iter().map(|line| exceptions(line)).collect();
    let version = stock().1;
    let options = LoadOptions { mode: Mode::Dump, version: &version, ..LoadOptions::default() };
    let loaded = load(&common::Disk, &dir, &options).unwrap();
    let ours = dump(&loaded.stream);
    for (ours, theirs) in ours.lines().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.lines().count(), theirs.len());
    assert!(loaded.broken.is_empty(), "{:?}", loaded.broken);
    theirs.len()
}

/// `iptables…[blocktype=…]` holds for IPv6 as well (1.0.2 and 1.1.0: for IPv4 only).
fn parameter_beats_condition(line: &str) -> String {
    let value = |key: &str| {
        let (before, after) = line.split_once(&format!("['{key}', '"))?;
        Some((before.len() + key.len() + 6, after.split("']").next()?))
    };
    match (value("blocktype"), value("blocktype?family=inet6")) {
        (Some((_, given)), Some((at, six))) => {
            format!("{}{given}{}", &line[..at], &line[at + six.len()..])
        }
        _ => line.to_owned(),
    }
}

#[test]
fn all_jails() {
    if !has_stock("all_jails") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("etc");
    common::copy_dir(&stock().0, &dir);
    let text = std::fs::read_to_string(dir.join("jail.conf")).unwrap();
    // 1.1.1 turns to the journal where there is no log file; older ones have no such option.
    let mut local = "[DEFAULT]\nsystemd_if_nologs = false\n".to_owned();
    let names = text.lines().filter_map(|l| l.strip_prefix('[')?.strip_suffix(']'));
    for name in names.filter(|n| *n != "INCLUDES" && *n != "DEFAULT") {
        writeln!(local, "[{name}]\nenabled = true").unwrap();
    }
    common::write(&dir, "jail.local", local.as_bytes());
    let lines = compare(&dir, &|line| {
        if line.starts_with("['multi-set', 'pass2allow-ftp', 'action', ") {
            parameter_beats_condition(line)
        } else {
            line.to_owned()
        }
    });
    assert!(lines > 1000, "{lines}");

    // The same, pretty-printed.
    let theirs = common::client(&["-c", dir.to_str().unwrap(), "--dp"]);
    let version = stock().1;
    let options = LoadOptions { mode: Mode::Dump, version: &version, ..LoadOptions::default() };
    let loaded = load(&common::Disk, dir.to_str().unwrap(), &options).unwrap();
    let ours = sekisho_config::dump::pretty(&loaded.stream);
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert!(ours == theirs || ours == "    ['blocktype?family=inet6', 'RETURN'],", "{ours}");
    }
    assert_eq!(ours.lines().count(), theirs.lines().count());
}

/// Names of files in a folder without their ending.
fn stems(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter_map(|n| n.strip_suffix(".conf").map(str::to_owned)).collect()
}

#[test]
fn all_filters_in_all_modes() {
    if !has_stock("all_filters_in_all_modes") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("etc");
    common::copy_dir(&stock().0, &dir);
    let mut jails = "[DEFAULT]\nenabled = true\nbackend = auto\n".to_owned();
    let mut number = 0;
    // This one is only a part of others, and no filter by itself.
    let filters = stems(&dir.join("filter.d")).into_iter().filter(|f| f != "selinux-common");
    for filter in filters {
        let path = dir.join("filter.d").join(format!("{filter}.conf"));
        let text = std::fs::read_to_string(path).unwrap();
        // A filter's modes are the options `…-MODE` that `<…-<mode>>` chooses from.
        let mut modes: BTreeSet<&str> = BTreeSet::from(["", "normal", "aggressive"]);
        for prefix in ["mdre-", "mdpr-", "_mdre-"] {
            for line in text.lines().filter_map(|l| l.strip_prefix(prefix)) {
                modes.extend(line.split([' ', '=']).next());
            }
        }
        for (mode, backend) in modes.iter().flat_map(|m| [(m, "auto"), (m, "systemd")]) {
            number += 1;
            let params = if mode.is_empty() { String::new() } else { format!("[mode={mode}]") };
            writeln!(jails, "[t{number}]\nbackend = {backend}\nfilter = {filter}{params}").unwrap();
        }
    }
    common::write(&dir, "jail.conf", jails.as_bytes());
    std::fs::remove_dir_all(dir.join("jail.d")).unwrap();
    let lines = compare(&dir, &str::to_owned);
    assert!(lines > 2000, "{lines}");
}

#[test]
fn all_actions() {
    if !has_stock("all_actions") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("etc");
    common::copy_dir(&stock().0, &dir);
    let mut jails =
        "[DEFAULT]\nenabled = true\nbantime = 10m\nlogpath =\nsender = root\n".to_owned();
    let actions = stems(&dir.join("action.d"));
    for (number, action) in actions.iter().enumerate() {
        writeln!(
            jails,
            "[t{number}]\naction = {action}\n  {action}[actname=second, name=t{number}-x, \
             port=\"80,443\", protocol=tcp, chain=\"<known/chain>\", blocktype=DROP, \
             sender=\"%(sender)s\", dest=me, actionban=\"ban <ip> <port>\"]"
        )
        .unwrap();
    }
    writeln!(jails, "[py]\naction = smtp.py[dest=\"a b\", sendername=x]").unwrap();
    common::write(&dir, "jail.conf", jails.as_bytes());
    std::fs::remove_dir_all(dir.join("jail.d")).unwrap();
    let lines = compare(&dir, &|line| {
        // A file without [Definition] sends `None` for every option; we send nothing.
        let mut line = line.to_owned();
        for option in sekisho_config::definition::ACTION_OPTIONS {
            line = line.replace(&format!("['{option}', None], "), "");
        }
        if line.contains(", 'action', 'second', ") {
            parameter_beats_condition(&line)
        } else {
            line
        }
    });
    assert!(lines >= actions.len() * 6, "{lines}");
}
