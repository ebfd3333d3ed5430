//! How far an error reaches, what a start waits for, where files are taken from, and what a regex
//! tester is given: on trees in memory.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use sekisho_config::dump::dump;
use sekisho_config::files::{Files, Kind, MapFiles, Overlay, ReadError};
use sekisho_config::load::{FatalError, LoadOptions, Loaded, Mode, load};
use sekisho_config::resolve::{ResolveOptions, ResolvedFilter, Source, resolve};
use sekisho_core::command::Words;
use sekisho_core::value::Value;

fn tree(files: &[(&str, &str)]) -> MapFiles {
    MapFiles::new("/etc/f", files.iter().copied())
}

fn load_map(files: &[(&str, &str)], options: &LoadOptions<'_>) -> Result<Loaded, FatalError> {
    load(&tree(files), "/etc/f/", options)
}

/// The stream without the server's options.
fn jails(loaded: &Loaded) -> String {
    let global = |w: &&Words| w.words.first() == Some(&Value::str("set")) && w.words.len() == 3;
    let words: Vec<Words> = loaded.stream.iter().filter(|w| !global(w)).cloned().collect();
    dump(&words)
}

const LOGS: &str = "[a]\nenabled = 1\nlogpath = /var/log/a.log\n /var/log/b*.log tail\n";

#[test]
fn a_start_waits_for_logs() {
    let dump_mode = LoadOptions { mode: Mode::Dump, ..LoadOptions::default() };
    let start_mode = LoadOptions::default();
    for (options, extra, expected) in [
        (&dump_mode, None, "['add', 'a', 'auto']\n['start', 'a']\n"),
        (
            &start_mode,
            None,
            "['add', 'a', 'auto']\n['set', 'a', 'addlogpath', '/var/log/a.log', 'head']\n\
             ['set', 'a', 'addlogpath', '/var/log/b*.log', 'tail']\n['start', 'a']\n",
        ),
        (
            &start_mode,
            Some("/var/log/b1.log"),
            "['add', 'a', 'auto']\n['set', 'a', 'addlogpath', '/var/log/b1.log', 'tail']\n\
             ['start', 'a']\n",
        ),
    ] {
        let mut files = tree(&[("jail.conf", LOGS)]);
        if let Some(path) = extra {
            files.insert(path, b"");
        }
        assert_eq!(jails(&load(&files, "/etc/f", options).unwrap()), expected);
    }
}

/// The jail itself must name the journal: a filter's `journalmatch` is only a default for those who
/// have chosen it, and the log may still appear.
#[test]
fn the_journal_stands_in_for_missing_logs() {
    let filter = "[Definition]\nfailregex = <logtype> <HOST>\njournalmatch = _A=b\n";
    for (extra, backend, logtype, journal) in [
        ("journalmatch = _C=d\n", "systemd", "journal", "_C=d"),
        ("journalmatch =\n", "systemd", "journal", ""),
        ("", "auto", "file", "_A=b"),
        ("journalmatch = _C=d\nsystemd_if_nologs = no\n", "auto", "file", "_C=d"),
        ("journalmatch = _C=d\nbackend = polling\n", "polling", "file", "_C=d"),
        ("journalmatch = _C=d\nskip_if_nologs = yes\n", "systemd", "journal", "_C=d"),
    ] {
        let jail = format!("[a]\nenabled = 1\nfilter = f\nlogpath = /none\n{extra}");
        let files = [("jail.conf", jail.as_str()), ("filter.d/f.conf", filter)];
        let options = LoadOptions { mode: Mode::Dump, ..LoadOptions::default() };
        let loaded = load_map(&files, &options).unwrap();
        let text = jails(&loaded);
        assert!(text.starts_with(&format!("['add', 'a', '{backend}']\n")), "{text}");
        assert!(text.contains(&format!("'{logtype} <HOST>'")), "{text}");
        assert_eq!(loaded.jails[0].backend, backend);
        assert_eq!(loaded.jails[0].journalmatch.concat().join(" "), journal, "{extra}");
    }
}

#[test]
fn a_check_breaks_one_jail() {
    let files = [(
        "jail.conf",
        "[DEFAULT]\nenabled = 1\n[a]\nfailregex = <HOST>\n[b]\nbantime = 5\nfailregex = <HOST>\n  (\n[c]",
    )];
    let check = |jail: &str, words: &Words| {
        if words.repr().contains("'('") { Err(format!("bad regex in {jail}")) } else { Ok(()) }
    };
    let options = LoadOptions { check: Some(&check), ..LoadOptions::default() };
    let loaded = load_map(&files, &options).unwrap();
    let names: Vec<&str> = loaded.jails.iter().map(|j| j.name.as_str()).collect();
    assert_eq!(names, ["a", "c"]);
    let [broken] = loaded.broken.as_slice() else { panic!("{:?}", loaded.broken) };
    assert_eq!(broken.reason, "bad regex in b");
    assert_eq!(broken.origin.as_ref().unwrap().to_string(), "/etc/f/jail.conf:7");
    assert!(jails(&loaded).contains(
        "['config-error', \"Jail 'b' skipped, because of wrong configuration: \
         /etc/f/jail.conf:7: bad regex in b\"]"
    ));
    assert!(!loaded.nothing_left());
}

#[test]
fn what_is_fatal() {
    for (files, expected) in [
        (&[][..], "Base configuration directory /etc/f does not exist "),
        (
            &[("fail2ban.conf", "[Definition]")],
            "Found no accessible config files for 'jail' under /etc/f; there is no jail.conf, no \
             jail.local and nothing in jail.d that you may read",
        ),
        (
            &[("jail.conf", "[a]\nx"), ("jail.local", "[b]\ny")],
            "/etc/f/jail.conf:2: Source contains parsing errors: 'x'; write option = value",
        ),
        (
            &[("fail2ban.conf", "[Definition]\nx"), ("jail.conf", "[a]")],
            "/etc/f/fail2ban.conf:2: Source contains parsing errors: 'x'; write option = value",
        ),
    ] {
        let result = load_map(files, &LoadOptions::default());
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
    let all_broken = [("jail.conf", "[a]\nenabled = 1\nfilter = none")];
    assert!(load_map(&all_broken, &LoadOptions::default()).unwrap().nothing_left());
    let none_enabled = [("jail.conf", "[a]\nfilter = none")];
    assert!(!load_map(&none_enabled, &LoadOptions::default()).unwrap().nothing_left());
}

/// A tree in which some files cannot be read, whoever runs the tests.
struct Locked(MapFiles, &'static str);

impl Files for Locked {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        if path.ends_with(self.1) {
            return Err(ReadError::Refused("Permission denied".to_owned()));
        }
        self.0.read(path)
    }
    fn kind(&self, path: &str) -> Option<Kind> {
        self.0.kind(path)
    }
    fn list(&self, dir: &str) -> Vec<String> {
        self.0.list(dir)
    }
}

#[test]
fn files_that_cannot_be_read() {
    let files = [
        ("jail.conf", "[DEFAULT]\nenabled = 1\n[a]\nfilter = f\n[b]\n"),
        ("jail.d/x.conf", "[b]\nmaxretry = 1"),
        ("filter.d/f.conf", "[INCLUDES]\nbefore = c.conf\n[Definition]\nfailregex = <HOST>\n"),
        ("filter.d/c.conf", ""),
    ];
    let text = |locked: &'static str| {
        let path = format!("/etc/f/{locked}");
        let said = format!("Could not read config files: {path}: Permission denied");
        (load(&Locked(tree(&files), locked), "/etc/f", &LoadOptions::default()), said)
    };
    // What concerns every jail is fatal; a filter, or a part of it, breaks the jails that use it.
    for locked in ["jail.conf", "jail.d/x.conf"] {
        let (result, said) = text(locked);
        assert!(result.unwrap_err().to_string().contains(&said), "{locked}");
    }
    for locked in ["filter.d/f.conf", "filter.d/c.conf"] {
        let (result, said) = text(locked);
        let loaded = result.unwrap();
        let [broken] = loaded.broken.as_slice() else { panic!("{:?}", loaded.broken) };
        assert!(broken.reason.contains(&said), "{}", broken.reason);
        assert_eq!(broken.origin.as_ref().unwrap().to_string(), "/etc/f/jail.conf:4");
        assert!(loaded.jails.iter().any(|jail| jail.name == "b"));
    }
}

#[test]
fn a_missing_server_file_is_no_obstacle() {
    let loaded = load_map(&[("jail.conf", "[a]\nenabled = 1")], &LoadOptions::default()).unwrap();
    assert_eq!(jails(&loaded), "['add', 'a', 'auto']\n['start', 'a']\n");
    assert!(dump(&loaded.stream).contains("['set', 'loglevel', 'INFO']"));
    assert!(loaded.notices.iter().any(|n| n.text.contains("fail2ban")), "{:?}", loaded.notices);
}

#[test]
fn one_jail_alone() {
    let files = [("jail.conf", "[a]\nenabled = 1\n[b]\nmaxretry = 3")];
    let options = LoadOptions { only_jail: Some("b"), ..LoadOptions::default() };
    let loaded = load_map(&files, &options).unwrap();
    assert_eq!(
        jails(&loaded),
        "['add', 'b', 'auto']\n['set', 'b', 'maxretry', 3]\n['start', 'b']\n"
    );
}

#[test]
fn built_in_files_stand_behind_the_administrators() {
    let embedded = MapFiles::new(
        "builtin:",
        [
            ("filter.d/f.conf", "[INCLUDES]\nbefore = c.conf\n[Definition]\nfailregex = %(c)s"),
            ("filter.d/c.conf", "[DEFAULT]\nc = built-in"),
            ("action.d/a.conf", "[Definition]\nactionban = built-in"),
            ("action.d/p.py", ""),
        ],
    );
    let jail = "[j]\nenabled = 1\nfilter = f\naction = a p.py";
    let options = LoadOptions { fallback: Some((&embedded, "builtin:")), ..LoadOptions::default() };
    let loaded = load_map(&[("jail.conf", jail)], &options).unwrap();
    let text = jails(&loaded);
    assert!(text.contains("['set', 'j', 'addfailregex', 'built-in']"), "{text}");
    assert!(text.contains("'builtin:/action.d/p.py'"), "{text}");
    let notices: Vec<&str> = loaded.notices.iter().map(|n| n.text.as_str()).collect();
    assert!(notices.contains(&"filter.d/f is not in the configuration; using the built-in one"));

    let own = ("filter.d/f.conf", "[Definition]\nfailregex = own");
    let loaded = load_map(&[("jail.conf", jail), own], &options).unwrap();
    assert!(jails(&loaded).contains("'own'"));
}

#[test]
fn a_folder_over_the_embedded_tree() {
    let files = [("jail.conf", "[j]\nmaxretry = 1\n"), ("filter.d/f.conf", "[Definition]\n")];
    let embedded = tree(&files);
    let own = tree(&[("jail.local", "[j]\nenabled = true\n")]);
    let both = Overlay { upper: &own, lower: &embedded };
    let loaded = load(&both, "/etc/f", &LoadOptions::default()).unwrap();
    assert!(jails(&loaded).starts_with("['add', 'j', 'auto']\n['set', 'j', 'maxretry', 1]\n"));
}

#[test]
fn the_command_line_beats_the_file() {
    let files =
        [("jail.conf", ""), ("fail2ban.conf", "[Definition]\nsyslogsocket = /x\nsocket = /s")];
    let overrides = vec![("syslogsocket".to_owned(), "50%".to_owned())];
    let options = LoadOptions { overrides, ..LoadOptions::default() };
    let loaded = load_map(&files, &options).unwrap();
    assert_eq!(loaded.server.syslogsocket, "50%");
    assert_eq!(loaded.server.socket, "/s");
    assert!(dump(&loaded.stream).contains("['set', 'syslogsocket', '50%']"));
}

#[test]
fn warnings_name_their_place() {
    let files = [
        (
            "jail.conf",
            "[a] enabled = true\n[b]\nenabled = 1\naction = x[p=\u{201c}1\u{201d}]\n[b]\nmaxretry = 1\n",
        ),
        ("action.d/x.conf", "[Definition]\n"),
    ];
    let loaded = load_map(&files, &LoadOptions::default()).unwrap();
    let placed = loaded.notices.iter().filter(|n| n.origin.is_some());
    let texts: Vec<String> = placed.map(|n| n.located()).collect();
    assert_eq!(
        texts,
        [
            "/etc/f/jail.conf:1: the text behind [a] is ignored; write it on a line of its own",
            "/etc/f/jail.conf:5: section [b] appears again (first in line 2): the two are merged, \
             and what is said later wins; better keep one of them",
            "/etc/f/jail.conf:3: No filter set for jail b: no log is judged",
            "/etc/f/jail.conf:4: parameter p of x has the value \u{201c}1\u{201d}; the character \
             \u{201c} (U+201C) is a typographic quote: write \" instead",
        ]
    );
}

/// What an administrator reads at night: where it is, what it means, and what to write instead.
#[test]
fn messages_say_what_to_do() {
    let jail = |text: &str| load_map(&[("jail.conf", text)], &LoadOptions::default());
    for (text, expected) in [
        (
            "[a]\nenabled = ture\n[b]\nenabled = auto\n[c]\nenabled = No\n",
            &["/etc/f/jail.conf:2: enabled = ture means no; write true or false"][..],
        ),
        (
            "[a]\nenabled = 1\nfilter = f\naction = f\nusedns = perhaps\n[b]\nusedns = x\n",
            &["/etc/f/jail.conf:5: usedns = perhaps means no; write yes, warn, no or raw"],
        ),
        (
            "[a]\nenabled = 1\n",
            &[
                "/etc/f/jail.conf:2: No filter set for jail a: no log is judged",
                "/etc/f/jail.conf:2: No actions were defined for a: nobody is banned",
            ],
        ),
        (
            "[a]\nenabled = 1\nfilter = f\nfailregex = <HOST>\naction = f\nlogpath = /l\n",
            &[
                "/etc/f/jail.conf:6: No file(s) found for glob /l",
                "/etc/f/jail.conf:6: Have not found any log file for 'a' jail. It waits for one.",
            ],
        ),
    ] {
        let mut files = tree(&[("jail.conf", text), ("fail2ban.conf", "[Definition]\n")]);
        for folder in ["filter.d", "action.d"] {
            files.insert(&format!("/etc/f/{folder}/f.conf"), b"[Definition]\n");
        }
        let loaded = load(&files, "/etc/f", &LoadOptions::default()).unwrap();
        let said: Vec<String> = loaded.notices.iter().map(|n| n.located()).collect();
        assert_eq!(said, expected, "{text}");
        assert!(loaded.faultless());
    }
    let mut files = tree(&[("jail.conf", ""), ("fail2ban.conf", "[Definition]\n")]);
    files.insert("/etc/f/jail.local/jail.conf", b"");
    let loaded = load(&files, "/etc/f", &LoadOptions::default()).unwrap();
    let said: Vec<String> = loaded.notices.iter().map(|n| n.located()).collect();
    assert_eq!(said, ["/etc/f/jail.local is a folder: it is not read"]);
    let named = jail("[a\nenabled = 1\n").unwrap_err().to_string();
    assert!(
        named.contains(":1: ") && named.contains("end the name of the section with ]"),
        "{named}"
    );
    let indented = jail("[a]\nenabled = 1\nmaxretry = 3\n  bantime = 5\n").unwrap();
    let reason = &indented.broken[0].reason;
    assert!(
        reason.ends_with("a line that begins with a blank belongs to the value above it"),
        "{reason}"
    );
    let nothing = load_map(&[("fail2ban.conf", "")], &LoadOptions::default()).unwrap_err();
    assert!(nothing.to_string().contains("; there is no jail.conf, no jail.local"), "{nothing}");
}

/// A server goes on with the default; a test fails, and a dump shows what is written.
#[test]
fn wrong_options_of_the_server_stop_nobody() {
    let files = [
        ("jail.conf", ""),
        ("fail2ban.conf", "[Definition]\nloglevel = LOUD\ndbpurgeage = often\n"),
    ];
    let loaded = load_map(&files, &LoadOptions::default()).unwrap();
    let said: Vec<String> = loaded.notices.iter().map(|n| n.located()).collect();
    assert_eq!(
        said,
        [
            "/etc/f/fail2ban.conf:2: Invalid log level 'LOUD'; write CRITICAL, ERROR, WARNING, NOTICE, \
             INFO or DEBUG. Until then INFO is used",
            "/etc/f/fail2ban.conf:3: Wrong value for 'dbpurgeage': name 'often' is not defined in the \
             time \"often\": write seconds, or numbers with units like 1d12h or 10m. Until then 1d is \
             used",
        ]
    );
    assert!(!loaded.faultless() && !loaded.nothing_left());
    let words = dump(&loaded.stream);
    assert!(words.contains("['set', 'loglevel', 'INFO']"), "{words}");
    assert!(words.contains("['set', 'dbpurgeage', '1d']"), "{words}");
    let shown = LoadOptions { mode: Mode::Dump, ..LoadOptions::default() };
    let words = dump(&load_map(&files, &shown).unwrap().stream);
    assert!(words.contains("['set', 'loglevel', 'LOUD']"), "{words}");
    let good = [("jail.conf", ""), ("fail2ban.conf", "[Definition]\nloglevel = debug\n")];
    assert!(load_map(&good, &LoadOptions::default()).unwrap().faultless());
}

/// A value that the caller's check refuses is named, and how it is written.
#[test]
fn refused_values_are_named() {
    let check = |_: &str, words: &Words| match words.words.get(2) {
        Some(Value::Str(option)) if &**option == "bantime" => {
            Err("name 'ten' is not defined".into())
        }
        Some(Value::Str(option)) if &**option == "addfailregex" => {
            Err("No failure-id group in 'x'".into())
        }
        Some(Value::Str(backend)) if &**backend == "poll" => Err("Unknown backend poll".to_owned()),
        _ => Ok(()),
    };
    let options = LoadOptions { check: Some(&check), ..LoadOptions::default() };
    for (lines, line, expected) in [
        (
            "bantime = ten",
            3,
            "Wrong value for 'bantime' in 'a': name 'ten' is not defined; write seconds, or \
             numbers with units like 1d12h or 10m",
        ),
        (
            "failregex = x",
            3,
            "No failure-id group in 'x'; write <HOST> where the address of the attacker stands",
        ),
        ("maxretry = 1\nbackend = poll", 4, "Unknown backend poll"),
    ] {
        let text = format!("[a]\nenabled = 1\n{lines}\n");
        let loaded = load_map(&[("jail.conf", &text)], &options).unwrap();
        let broken = &loaded.broken[0];
        assert_eq!(broken.reason, expected);
        assert_eq!(broken.origin.as_ref().unwrap().line, line, "{lines}");
    }
}

const REGEX_TREE: &[(&str, &str)] = &[
    (
        "jail.conf",
        "[DEFAULT]\nmode = normal\n[myjail]\nfilter = flt[mode=%(mode)s]\nusedns = no\nmaxlines = 3\n\
         failregex = %(known/failregex)s\n  extra <HOST>\n[nofilter]\nfailregex = only <HOST>\n\
         [broken]\nfilter = nope\n",
    ),
    (
        "filter.d/flt.conf",
        "[Definition]\nfailregex = fr <mode> <c> <HOST> <logtype>\nmode = defmode\n\
         datepattern = ^Epoch\njournalmatch = a=b\n[Init]\nc = ccc\n",
    ),
    ("filter.d/only.local", "[Definition]\nfailregex = loc <HOST>\n"),
    ("own/foreign.conf", "[INCLUDES]\nbefore = x.conf\n[Definition]\nfailregex = %(x)s <mode>\n"),
    ("own/x.conf", "[DEFAULT]\nx = included\n"),
    ("own/bad.conf", "[Definition]\nfailregex = %(x)s\n"),
];

fn found(spec: &str, journal: bool) -> Result<Option<ResolvedFilter>, String> {
    let options = ResolveOptions { journal, ..ResolveOptions::default() };
    resolve(&tree(REGEX_TREE), "/etc/f", spec, &options).map_err(|e| e.located())
}

#[test]
fn a_regex_tester_finds_filters() {
    let jail = Source::Jail("myjail".into());
    let flt = Source::Filter { name: "flt".into(), base: "/etc/f".into() };
    let only = Source::Filter { name: "only".into(), base: "/etc/f".into() };
    let own = Source::File("/etc/f/own/foreign.conf".into());
    for (spec, journal, source, failregex) in [
        ("myjail", false, &jail, &["fr normal ccc <HOST> file", "extra <HOST>"][..]),
        ("myjail[mode=zz]", true, &jail, &["fr zz ccc <HOST> journal", "extra <HOST>"]),
        ("nofilter", false, &Source::Jail("nofilter".into()), &["only <HOST>"]),
        ("flt", false, &flt, &["fr defmode ccc <HOST> file"]),
        ("flt.conf[mode=q]", false, &flt, &["fr q ccc <HOST> file"]),
        ("flt[c=1]", true, &flt, &["fr defmode 1 <HOST> journal"]),
        ("/etc/f/filter.d/flt.conf", false, &flt, &["fr defmode ccc <HOST> file"]),
        ("/etc/f/filter.d/flt", false, &flt, &["fr defmode ccc <HOST> file"]),
        ("only", false, &only, &["loc <HOST>"]),
        ("only.local", false, &only, &["loc <HOST>"]),
        ("/etc/f/own/foreign.conf[mode=7]", false, &own, &["included 7"]),
        ("/etc/f/own/foreign[mode=7]", false, &own, &["included 7"]),
    ] {
        let filter = found(spec, journal).unwrap().expect(spec);
        assert_eq!(filter.source, *source, "{spec}");
        assert_eq!(filter.failregex, failregex, "{spec}");
    }
    let filter = found("myjail[mode=zz]", false).unwrap().unwrap();
    assert_eq!(filter.maxlines, Some(3));
    assert_eq!(filter.usedns.as_deref(), Some("no"));
    assert_eq!(filter.datepattern.as_deref(), Some("^Epoch"));
    assert_eq!(filter.journalmatch, [["a=b"]]);
    assert_eq!(filter.params, [("mode".to_owned(), "zz".to_owned())]);
    for (spec, real) in [
        ("flt", "logtype=file datepattern=^Epoch c=ccc"),
        ("flt[mode=aggr, q=1]", "logtype=file datepattern=^Epoch mode=aggr q=1 c=ccc"),
    ] {
        let filter = found(spec, false).unwrap().unwrap();
        let text: Vec<String> = filter.real.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(text.join(" "), real);
    }
}

#[test]
fn anything_else_is_a_regex() {
    for spec in ["fr <HOST>", "nosuch", "nosuch[a=1]", "flt[a", "[myjail]", "", "/etc/f/own/none"] {
        assert_eq!(found(spec, false).unwrap(), None, "{spec}");
    }
    for (spec, expected) in [
        (
            "broken",
            "/etc/f/jail.conf:12: Unable to read the filter 'nope'; there is neither \
             filter.d/nope.conf nor filter.d/nope.local",
        ),
        (
            "/etc/f/own/bad.conf",
            "/etc/f/own/bad.conf:2: Bad value substitution: option 'failregex' in section \
             'Definition' contains an interpolation key 'x' which is not a valid option name. Raw \
             value: '%(x)s'",
        ),
    ] {
        assert_eq!(found(spec, false).unwrap_err(), expected);
    }
}
