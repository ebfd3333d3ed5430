//! The administrators' guide this project starts from: its two blocks appended to the stock
//! `jail.conf`, its two filters in place of the stock ones. fail2ban refuses (a section twice);
//! here it loads, warns, and means what the guide means.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use std::path::Path;

use sekisho_config::dump::dump;
use sekisho_config::load::{LoadOptions, Loaded, Mode, load};

const STOCK: &str = "/etc/fail2ban";
const BLOCKS: &str = include_str!("data/guide/jail.conf.append");
const DOVECOT: &str = include_str!("data/guide/filter.d/dovecot.conf");
const POSTFIX: &str = include_str!("data/guide/filter.d/postfix.conf");

fn load_dir(dir: &Path) -> Loaded {
    let options = LoadOptions { mode: Mode::Dump, version: "1.0.2", ..LoadOptions::default() };
    load(&common::Disk, dir.to_str().unwrap(), &options).unwrap()
}

#[test]
fn the_guide_loads_with_warnings() {
    if !Path::new(STOCK).join("jail.conf").exists() || !common::has_oracle("guide") {
        eprintln!("guide skipped: needs fail2ban's stock files");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let [appended, reference] = ["appended", "reference"].map(|name| root.path().join(name));
    for dir in [&appended, &reference] {
        common::copy_dir(Path::new(STOCK), dir);
        common::write(dir, "filter.d/dovecot.conf", DOVECOT.as_bytes());
        common::write(dir, "filter.d/postfix.conf", POSTFIX.as_bytes());
        // Older versions do not turn to the journal where there is no log file.
        common::write(dir, "jail.d/z.local", b"[DEFAULT]\nsystemd_if_nologs = false\n");
    }
    // As the guide says; and in a way that fail2ban takes.
    let jail = std::fs::read_to_string(appended.join("jail.conf")).unwrap();
    common::write(&appended, "jail.conf", format!("{jail}\n{BLOCKS}").as_bytes());
    common::write(&reference, "jail.local", BLOCKS.as_bytes());

    let loaded = load_dir(&appended);
    assert!(loaded.broken.is_empty(), "{:?}", loaded.broken);
    for jail in ["dovecot", "postfix"] {
        assert!(loaded.jails.iter().any(|j| j.name == jail));
        let text = format!("section [{jail}] appears again");
        let notice = loaded.notices.iter().find(|n| n.text.starts_with(&text)).unwrap();
        assert!(notice.origin.as_ref().unwrap().file.ends_with("/jail.conf"));
    }
    let (theirs, code) = common::oracle(&[reference.to_str().unwrap().to_owned()]).pop().unwrap();
    assert_eq!(code, 0);
    let theirs = common::without_quirk(&theirs);
    let ours = dump(&loaded.stream);
    for (ours, theirs) in ours.lines().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.lines().count(), theirs.len());
}
