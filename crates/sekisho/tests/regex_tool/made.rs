//! Logs and filters of our own, for what stock filters use little: connections, several lines,
//! ignored lines, every form of output.

use std::fs;
use std::path::Path;

use sekisho_oracle::{Fail2ban, Random};

use crate::both::{Both, ours};
use crate::stock::captured;

fn all() -> Vec<Both> {
    Fail2ban::all().iter().map(Both::new).collect()
}

/// The filters of an old guide: `host` as a group of the user's own, and no prefix.
#[test]
fn old_filters_find_the_same_on_captured_logs() {
    let dir = tempfile::tempdir().unwrap();
    let log = captured(dir.path());
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/lab/guide/filter.d");
    for both in &mut all() {
        let mut failures = 0;
        for name in ["dovecot.conf", "postfix.conf"] {
            let text = fs::read_to_string(guide.join(name)).unwrap();
            // fail2ban of today does not take the group `host` for an id.
            let modern = dir.path().join(name);
            fs::write(&modern, text.replace(r"(?P<host>\S*)", "<HOST>")).unwrap();
            let (old, modern) = (guide.join(name), modern.to_string_lossy().into_owned());
            let old = old.to_string_lossy();
            let id_and_time = |l: &str| l.split('\t').take(2).collect::<Vec<_>>().join(" ");
            let columns = |out: &str| out.lines().map(id_and_time).collect::<Vec<_>>();
            let a = columns(&ours(&["-o", "row", &log, &old]).out);
            assert_eq!(a, columns(&both.theirs(&["-o", "row", &log, &modern], "UTC").1), "{name}");
            failures += a.len();
            let hits = |out: &str| -> Vec<String> {
                let hit = |l: &&str| l.contains(") [") || l.starts_with("Lines:");
                let number = |l: &str| l.split(']').next().unwrap_or("").to_owned();
                out.lines().filter(hit).map(number).collect()
            };
            let a = hits(&ours(&["-v", &log, &old]).out);
            assert_eq!(a, hits(&both.theirs(&["-v", &log, &modern], "UTC").1), "{name}");
        }
        assert!(failures > 20, "the logs hold attacks: {failures}");
    }
}

/// The same logs in every run.
fn random_lines(seed: u64, count: usize, words: &[&str]) -> String {
    let mut random = Random(seed);
    let mut text = String::new();
    for i in 0..count {
        let word = random
            .pick(words)
            .replace("%c", &format!("c{}", random.below(5)))
            .replace("%u", ["a", "b"][random.below(2)])
            .replace("%h", &format!("10.0.0.{}", 1 + random.below(2)));
        text.push_str(&format!("2026-11-23 10:{:02}:{:02} {word}\n", i / 60, i % 60));
    }
    text
}

#[test]
fn connections_end_the_same() {
    let mut all = all();
    let dir = tempfile::tempdir().unwrap();
    let filter = dir.path().join("connections.conf");
    let filter = filter.to_string_lossy();
    fs::write(
        &*filter,
        "[Definition]\n\
         prefregex = ^ <F-MLFID>c\\d+</F-MLFID> <F-CONTENT>.+</F-CONTENT>$\n\
         failregex = ^fail user <F-USER>\\S+</F-USER> from <HOST>$\n \
         ^<F-NOFAIL>nofail</F-NOFAIL>( user <F-USER>\\S+</F-USER>)?( from <HOST>)?$\n \
         ^noid( user <F-USER>\\S+</F-USER>)?$\n \
         ^<F-MLFGAINED>ok</F-MLFGAINED> user <F-USER>\\S+</F-USER>( from <HOST>)?$\n \
         ^<F-NOFAIL><F-MLFFORGET>bye</F-MLFFORGET></F-NOFAIL>( from <HOST>)?$\n \
         ^<F-MLFFORGET>die</F-MLFFORGET>( from <HOST>)?$\n",
    )
    .unwrap();
    let words = [
        "%c fail user %u from %h",
        "%c nofail user %u from %h",
        "%c nofail",
        "%c nofail from %h",
        "%c nofail user %u",
        "%c noid user %u",
        "%c noid",
        "%c ok user %u",
        "%c ok user %u from %h",
        "%c bye",
        "%c bye from %h",
        "%c die",
        "%c die from %h",
        "junk",
    ];
    for seed in 0..4 {
        let log = dir.path().join("log");
        let log = log.to_string_lossy();
        fs::write(&*log, random_lines(seed, 300, &words)).unwrap();
        for options in [&["-o", "row"][..], &["-o", "msg"], &["-v"], &["--no-check-all", "-v"]] {
            for both in &mut all {
                both.compare(&[options, &[&log, &filter]].concat());
            }
        }
    }
}

#[test]
fn several_lines_and_ignored_lines_end_the_same() {
    let mut all = all();
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let window = write(
        "window.conf",
        "[Definition]\nfailregex = ^ a <HOST>$<SKIPLINES>^ b$\n ^ c <HOST>$\n \
         ^ d$<SKIPLINES>^ e <HOST>$\n ^ c.*\\n.* b.*\\n e <HOST>$\n\
         ignoreregex = ^ c 10.0.0.1$\n",
    );
    let few = write(
        "few.conf",
        "[Definition]\nprefregex = ^ (?:x )?<F-CONTENT>.+</F-CONTENT>$\n\
         failregex = ^a <HOST>$\n ^c <HOST>$\n ^[abc] <HOST>$\n ^e .*<HOST>$\n ^d( <HOST>)?$\n\
         ignoreregex = 10.0.0.1$\n ^e\n",
    );
    let many = write(
        "many.conf",
        "[Definition]\nfailregex = ^ a <HOST>$\n ^ [abc] <HOST>$\n ^ d( <HOST>)?$\n\
         ignoreregex = 10.0.0.1$\n c\n",
    );
    let words = ["a %h", "b", "c %h", "d", "e %h", "x", "x a %h", "x c %h", "d %h"];
    for seed in 0..3 {
        let log = write("log", &random_lines(seed, 200, &words));
        for (options, filter) in [
            (&["-L", "3", "-o", "row"][..], &window),
            (&["-L", "4", "-o", "msg"], &window),
            (&["-L", "3", "-v"], &window),
            (&["-L", "5", "--no-check-all", "--print-all-matched", "--print-all-missed"], &window),
            (&["-o", "row"], &few),
            (&["-o", "row"], &many),
            (&["-v", "--print-all-matched"], &many),
        ] {
            for both in &mut all {
                both.compare(&[options, &[&log, filter]].concat());
            }
        }
    }
}

const D: &str = "2026-11-23 10:00:00";

#[test]
fn literal_lines_and_regexes_print_the_same() {
    let mut all = all();
    let line = |text: &str| format!("{D} {text}");
    let failed = line("fail id=abc from 1.2.3.4");
    let id_regex = "id=<F-ID>\\w+</F-ID> from <ADDR>";
    let many: String = (0..25).map(|i| line(&format!("x{i}")) + "\n").collect();
    let cases: Vec<Vec<&str>> = vec![
        vec![&failed, "from <HOST>"],
        vec!["-v", &failed, id_regex],
        vec!["--VD", &failed, id_regex],
        vec!["-o", "row", &failed, id_regex],
        vec!["-o", "id", &failed, id_regex],
        vec!["-o", "fid", &failed, id_regex],
        vec!["-o", "ip", &failed, id_regex],
        vec!["-o", "ip6", &failed, id_regex],
        vec!["-o", "host", &failed, id_regex],
        vec!["-o", "matches", &failed, id_regex],
        vec![
            "-o",
            "<ip>|<fid>|<F-ID>|<time>|<msg>|<matches>|<failures>|<family>|<ip-rev>|<F-NO>",
            &failed,
            id_regex,
        ],
        vec!["--print-all-missed", &many, "y<HOST>"],
        vec!["--print-no-missed", &many, "y<HOST>"],
        vec![&many, "y<HOST>"],
        vec!["-L", "3", &many, "y<HOST>"],
        vec![&failed, "from <HOST>", "abc"],
        vec!["-v", &failed, "from <HOST>", "abc"],
        vec!["--print-all-ignored", &failed, "from <HOST>", "abc"],
        vec!["--usedns", "no", &failed, "from <HOST>"],
        vec!["-o", "row", "2026-11-23T10:00:00Z 1.2.3.4", " <HOST>"],
        vec!["-o", "row", "1795428000.123 1.2.3.4", " <HOST>"],
        vec!["-o", "row", "--TZ", "UTC+0200", "2026-11-23T10:00:00 1.2.3.4", " <HOST>"],
        vec!["-d", "%Y:%m:%d", "2026:11:23 from 1.2.3.4", "from <HOST>"],
        vec!["-d", "{^LN-BEG}", &failed, "from <HOST>"],
        vec![&failed, "no id here"],
        vec![&failed, ""],
        vec!["-d", "%Q", &failed, "from <HOST>"],
        vec!["--TZ", "nowhere", &failed, "from <HOST>"],
        vec![&failed, "sshd.conf[mode=aggressive]"],
        vec!["-vv", &failed, "sshd.conf[mode=aggressive]"],
        vec![&failed, "/etc/fail2ban/filter.d/sshd.conf"],
        vec![&failed, "sshd.conf"],
    ];
    for args in cases {
        for both in &mut all {
            both.compare(&args);
        }
    }
}
