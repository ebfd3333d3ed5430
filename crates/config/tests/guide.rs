//! The administrators' guide this project starts from: its two blocks appended to the stock
//! `jail.conf`, its two filters in place of the stock ones. fail2ban refuses (a section twice);
//! here it loads, warns, and means what the guide means.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use common::{Judge, dump_mode, without_quirk, write};
use sekisho_config::dump::dump;
use sekisho_oracle::{copy_dir, report};

const BLOCKS: &str = include_str!("data/guide/jail.conf.append");
const DOVECOT: &str = include_str!("data/guide/filter.d/dovecot.conf");
const POSTFIX: &str = include_str!("data/guide/filter.d/postfix.conf");

#[test]
fn the_guide_loads_with_warnings() {
    for judge in &mut Judge::all() {
        let root = tempfile::tempdir().unwrap();
        let [appended, reference] = ["appended", "reference"].map(|name| root.path().join(name));
        for dir in [&appended, &reference] {
            copy_dir(&judge.fail2ban.config, dir);
            write(dir, "filter.d/dovecot.conf", DOVECOT.as_bytes());
            write(dir, "filter.d/postfix.conf", POSTFIX.as_bytes());
        }
        // As the guide says; and in a way that fail2ban takes.
        let jail = std::fs::read_to_string(appended.join("jail.conf")).unwrap();
        write(&appended, "jail.conf", format!("{jail}\n{BLOCKS}").as_bytes());
        write(&reference, "jail.local", BLOCKS.as_bytes());
        assert_eq!(judge.client(&appended, &["-d"]).code, 255, "fail2ban takes the guide");

        let loaded = dump_mode(&appended, judge.version()).unwrap();
        assert!(loaded.broken.is_empty(), "{:?}", loaded.broken);
        for jail in ["dovecot", "postfix"] {
            assert!(loaded.jails.iter().any(|j| j.name == jail));
            let text = format!("section [{jail}] appears again");
            let notice = loaded.notices.iter().find(|n| n.text.starts_with(&text)).unwrap();
            assert!(notice.origin.as_ref().unwrap().file.ends_with("/jail.conf"));
        }
        let answer = judge.client(&reference, &["-d"]);
        assert_eq!(answer.code, 0, "{}", answer.errors());
        let theirs = without_quirk(&answer.out);
        let ours = dump(&loaded.stream);
        assert_eq!(ours.lines().collect::<Vec<_>>(), theirs);
        report("the guide's configuration over the stock one", judge.version(), 2, "jails");
    }
}
