//! `fail2ban-regex`, from outside: what it prints for given logs, and that this is what fail2ban's
//! own program prints, where that is installed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn run(program: &mut Command) -> Ran {
    let done = program
        .env("TZ", "UTC")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .expect("runs");
    Ran {
        code: done.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&done.stdout).into_owned(),
        err: String::from_utf8_lossy(&done.stderr).into_owned(),
    }
}

fn ours(args: &[&str]) -> Ran {
    run(Command::new(env!("CARGO_BIN_EXE_fail2ban-regex")).args(args))
}

const PYTHON: &str = "/usr/bin/python3";
const ORACLE: &str = "/usr/bin/fail2ban-regex";

/// Whether fail2ban is there to compare with; its absence fails only where it is promised.
fn oracle_is_there() -> bool {
    let there = [PYTHON, ORACLE, "/etc/fail2ban/filter.d"].iter().all(|p| Path::new(p).exists());
    assert!(
        there || std::env::var("SEKISHO_CI").as_deref() != Ok("1"),
        "fail2ban must be installed to compare with"
    );
    if !there {
        eprintln!("skipped: needs fail2ban ({ORACLE}) and {PYTHON} to compare with");
    }
    there
}

fn theirs(args: &[&str]) -> Ran {
    run(Command::new(PYTHON).arg(ORACLE).args(args))
}

/// One date format of ours is that of a later version than the one installed.
const DATE_THEN: &str = "ExMonthExDay(?:T|  ?)Ex24hourExMinuteExSecond";
const DATE_NOW: &str = "ExMonthExDay(?:-|T|  ?)Ex24hour:?ExMinute:?ExSecond";

/// Ours takes years since 1900, as later versions do.
const YEARS_NOW: &str = "(?:19[0123456789]|20[012])";

/// What depends on the run alone: the time it took, and the order of Python's sets.
fn normal(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.replace(DATE_THEN, DATE_NOW).replace(YEARS_NOW, "20[012]").lines() {
        if line.starts_with("[processed in ") {
            continue;
        }
        let mut shown = String::new();
        let mut rest = line;
        while let Some((before, set, after)) = first_set(rest) {
            let mut items: Vec<&str> = set.split(", ").collect();
            items.sort_unstable();
            shown.push_str(before);
            shown.push_str(&items.join(", "));
            rest = after;
        }
        lines.push(shown + rest);
    }
    lines.join("\n")
}

/// The items of the first `{'a', 'b'}` in a line.
fn first_set(line: &str) -> Option<(&str, &str, &str)> {
    let start = line.find("'users': {")? + "'users': {".len();
    let len = line[start..].find('}')?;
    Some((&line[..start], &line[start..start + len], &line[start + len..]))
}

fn same_as_oracle(args: &[&str]) {
    let (a, b) = (ours(args), theirs(args));
    assert_eq!(a.code, b.code, "{args:?}\n{}{}", a.out, a.err);
    let (a, b) = (normal(&a.out), normal(&b.out));
    if a != b {
        let line = a.lines().zip(b.lines()).find(|(x, y)| x != y);
        panic!("{args:?}: ours, then theirs: {line:#?}\n--- ours\n{a}\n--- theirs\n{b}");
    }
}

fn captured() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/data/captured")
}

/// All captured logs in one.
fn all_logs(dir: &Path) -> String {
    let mut names: Vec<PathBuf> =
        fs::read_dir(captured()).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    let path = dir.join("all.log");
    let mut file = fs::File::create(&path).unwrap();
    for name in names.iter().filter(|n| n.extension().is_some_and(|e| e == "log")) {
        file.write_all(&fs::read(name).unwrap()).unwrap();
    }
    path.to_string_lossy().into_owned()
}

const STOCK: [&str; 19] = [
    "dovecot",
    "dovecot[mode=aggressive]",
    "postfix",
    "postfix[mode=more]",
    "postfix[mode=normal]",
    "postfix[mode=auth]",
    "postfix[mode=rbl]",
    "postfix[mode=ddos]",
    "postfix[mode=extra]",
    "postfix[mode=aggressive]",
    "postfix[mode=errors]",
    "sshd",
    "sshd[mode=normal]",
    "sshd[mode=ddos]",
    "sshd[mode=extra]",
    "sshd[mode=aggressive]",
    "nginx-http-auth",
    "nginx-http-auth[mode=fallback]",
    "nginx-http-auth[mode=aggressive]",
];

#[test]
fn stock_filters_find_the_same_on_captured_logs() {
    if !oracle_is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let log = all_logs(dir.path());
    for filter in STOCK {
        // A name is a jail's first, which the installed version may not know yet.
        same_as_oracle(&["-o", "row", &log, filter]);
        // With the ending of a file it is a filter's in every version.
        let file = match filter.split_once('[') {
            Some((name, params)) => format!("{name}.conf[{params}"),
            None => format!("{filter}.conf"),
        };
        same_as_oracle(&["--print-all-matched", "-v", &log, &file]);
    }
}

/// The filters of an old guide: `host` as a group of the user's own, and no prefix.
#[test]
fn old_filters_find_the_same_on_captured_logs() {
    if !oracle_is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let log = all_logs(dir.path());
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/lab/guide/filter.d");
    let mut failures = 0;
    for name in ["dovecot.conf", "postfix.conf"] {
        let text = fs::read_to_string(guide.join(name)).unwrap();
        // fail2ban of today does not take the group `host` for an id.
        let modern = dir.path().join(name);
        fs::write(&modern, text.replace(r"(?P<host>\S*)", "<HOST>")).unwrap();
        let ours_path = guide.join(name).to_string_lossy().into_owned();
        let theirs_path = modern.to_string_lossy().into_owned();
        let columns = |ran: Ran| -> Vec<String> {
            assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
            let id_and_time = |l: &str| l.split('\t').take(2).collect::<Vec<_>>().join(" ");
            ran.out.lines().map(id_and_time).collect()
        };
        let a = columns(ours(&["-o", "row", &log, &ours_path]));
        assert_eq!(a, columns(theirs(&["-o", "row", &log, &theirs_path])), "{name}");
        failures += a.len();
        let hits = |ran: Ran| -> Vec<String> {
            let hit = |l: &&str| l.contains(") [") || l.starts_with("Lines:");
            let number = |l: &str| l.split(']').next().unwrap_or("").to_owned();
            ran.out.lines().filter(hit).map(number).collect()
        };
        assert_eq!(
            hits(ours(&["-v", &log, &ours_path])),
            hits(theirs(&["-v", &log, &theirs_path]))
        );
    }
    assert!(failures > 20, "the logs hold attacks: {failures}");
}

/// A small generator of its own: the same logs in every run.
fn random_lines(seed: u64, count: usize, words: &[&str]) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (state >> 33) as usize % n
    };
    let mut text = String::new();
    for i in 0..count {
        let word = words[below(words.len())]
            .replace("%c", &format!("c{}", below(5)))
            .replace("%u", ["a", "b"][below(2)])
            .replace("%h", &format!("10.0.0.{}", 1 + below(2)));
        text.push_str(&format!("2026-11-23 10:{:02}:{:02} {word}\n", i / 60, i % 60));
    }
    text
}

#[test]
fn connections_end_the_same() {
    if !oracle_is_there() {
        return;
    }
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
            same_as_oracle(&[options, &[&log, &filter]].concat());
        }
    }
}

#[test]
fn several_lines_and_ignored_lines_end_the_same() {
    if !oracle_is_there() {
        return;
    }
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
            same_as_oracle(&[options, &[&log, filter]].concat());
        }
    }
}

const D: &str = "2026-11-23 10:00:00";

#[test]
fn literal_lines_and_regexes_print_the_same() {
    if !oracle_is_there() {
        return;
    }
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
        same_as_oracle(&args);
    }
}

/// The layout, on machines that have nothing to compare with.
#[test]
fn the_summary_has_its_layout() {
    let ran = ours(&[
        &format!("{D} fail from 1.2.3.4\n{D} fail from 1.2.3.5 friend\n{D} other"),
        "fail from <HOST>",
        "friend$",
    ]);
    assert_eq!(ran.code, 0);
    let expected = "
Running tests
=============

Use   failregex line : fail from <HOST>
Use ignoreregex line : friend$
Use      multi line : 3 line(s)
|  1: 2026-11-23 10:00:00 fail from 1.2.3.4
|  2: 2026-11-23 10:00:00 fail from 1.2.3.5 friend
|  3: 2026-11-23 10:00:00 other
`-


Results
=======

Failregex: 1 total
|-  #) [# of hits] regular expression
|   1) [1] fail from <HOST>
`-

Ignoreregex: 1 total
|-  #) [# of hits] regular expression
|   1) [1] friend$
`-

Date template hits:
|- [# of hits] date format
|  [3] {^LN-BEG}ExYear(?P<_sep>[-/.])Month(?P=_sep)Day(?:T|  ?)24hour:Minute:Second\
(?:[.,]Microseconds)?(?:\\s*Zone offset)?
`-

Lines: 3 lines, 1 ignored, 1 matched, 1 missed

|- Ignored line(s):
|  2026-11-23 10:00:00 fail from 1.2.3.5 friend
`-
|- Missed line(s):
|  2026-11-23 10:00:00 other
`-";
    assert_eq!(normal(&ran.out), expected);
}

#[test]
fn standard_input_is_read_to_its_last_line() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fail2ban-regex"))
        .args(["-o", "id", "-", " <HOST>$"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = format!("# comment\n\n{D} 1.2.3.4\r\n{D} 1.2.3.5");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "1.2.3.4\n1.2.3.5\n");
}

#[test]
fn lines_that_do_not_match_can_be_printed() {
    let ran = ours(&["-i", "-o", "msg", &format!("{D} x\n{D} from 1.2.3.4"), "from <HOST>"]);
    assert_eq!((ran.code, ran.out), (0, format!("{D} x\n")));
}

#[test]
fn mistakes_have_their_exit_codes() {
    for (args, code, expected) in [
        (&["x", "b c"][..], 255, "ERROR: No failure-id group in 'b c'"),
        (&["x", "(<HOST>"], 255, "ERROR: Unable to compile regular expression '("),
        (&["x", ""], 255, "ERROR: Cannot add empty regex"),
        (&["x"], 255, "ERROR: provide both <LOG> and <REGEX>."),
        (&["--print-no-missed", "--print-all-missed", "x", "y"], 255, "mutually exclusive."),
        (&["--bad"], 2, "error: no such option: --bad"),
        (&["-d"], 2, "error: -d option requires 1 argument"),
        (&["-L", "x", "a", "b"], 2, "option -L: invalid integer value: 'x'"),
        (&["-V"], 0, "1.1.1"),
        (&["--version"], 0, "fail2ban-regex 1.1.1"),
        (&["--help"], 0, "Usage: "),
    ] {
        let ran = ours(args);
        assert_eq!(ran.code, code, "{args:?}: {}{}", ran.out, ran.err);
        let text = format!("{}{}", ran.out, ran.err);
        assert!(text.contains(expected), "{args:?}: {text}");
    }
}
