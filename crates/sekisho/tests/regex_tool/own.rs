//! What our program prints, on machines that have nothing to compare with.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::both::{normal, ours};

const D: &str = "2026-11-23 10:00:00";

/// A misspelt name, and a file that may not be read: standard error says what was made of it.
#[test]
fn what_was_meant_as_a_name_is_told() {
    for (args, code, expected) in [
        (
            ["/nonexistent/mail.log", "fail from <HOST>"],
            0,
            "/nonexistent/mail.log does not exist: it is taken for a log line\n",
        ),
        (["/", "fail from <HOST>"], 0, "/ is a folder: it is taken for a log line\n"),
        (
            ["a line", "nosuchfilter"],
            255,
            "it is no jail, filter or file, thus a regular expression; that has <HOST> where the \
             address stands\n",
        ),
    ] {
        let ran = ours(&args);
        assert_eq!((ran.code, ran.err.as_str()), (code, expected), "{args:?}");
    }
    let unreadable = ours(&["/proc/1/mem", "fail from <HOST>"]);
    assert_eq!(unreadable.code, 255);
    assert!(unreadable.out.contains("ERROR: /proc/1/mem: "), "{}", unreadable.out);
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
    assert_eq!(normal(&ran.out, "1.1.1").join("\n"), expected);
}

#[test]
fn lines_without_a_date_are_shown_as_such() {
    let args = ["fail from 1.2.3.4", "from <HOST>"];
    let row = ours(&[&["-o", "row"], &args[..]].concat());
    assert_eq!(row.out, "['1.2.3.4',\tNone,\t{'ip4': '1.2.3.4', 'ip6': None, 'dns': None}],\n");
    let summary = ours(&[&["-v"], &args[..]].concat());
    assert!(summary.out.contains("|      1.2.3.4  no date\n"), "{}", summary.out);
}

#[test]
fn standard_input_is_read_to_its_last_line() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fail2ban-regex"));
    command.args(["-o", "id", "-", " <HOST>$"]).stderr(Stdio::inherit());
    let text = format!("# comment\n\n{D} 1.2.3.4\r\n{D} 1.2.3.5");
    let out = sekisho_oracle::fed(&mut command, text.as_bytes());
    assert_eq!(String::from_utf8_lossy(&out.stdout), "1.2.3.4\n1.2.3.5\n");
}

#[test]
fn the_summary_can_be_json() {
    let log = format!(
        "{D} fail from 1.2.3.4\n{D} fail from 1.2.3.5 friend\n{D} other \"x\"\nfail from 1.2.3.6"
    );
    let args = ["--json", &log, "fail from <HOST>", "friend$"];
    let ran = ours(&args);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(ran.code, 0);
    let expected = serde_json::json!({
        "lines": 4, "matched": 2, "ignored": 1, "missed": 1, "prefregex": null,
        "failregex": [{"number": 1, "regex": "fail from <HOST>", "hits": 2}],
        "ignoreregex": [{"number": 1, "regex": "friend$", "hits": 1}],
        "dates": json["dates"],
        "matched_lines": null,
        "ignored_lines": [format!("{D} fail from 1.2.3.5 friend")],
        "missed_lines": [format!("{D} other \"x\"")],
    });
    assert_eq!(json, expected);
    assert_eq!(json["dates"][0]["hits"], 3);
    assert!(json["dates"][0]["format"].as_str().unwrap().contains("ExYear"), "{json}");
    let more = ours(&[&["-v", "--print-all-matched"], &args[..]].concat());
    let json: serde_json::Value = serde_json::from_str(&more.out).unwrap();
    assert_eq!(json["matched_lines"].as_array().unwrap().len(), 2);
    let found = json["failregex"][0]["found"].as_array().unwrap();
    assert_eq!((&found[0]["id"], &found[1]["id"]), (&"1.2.3.4".into(), &"1.2.3.6".into()));
    let time = found[0]["time"].as_str().unwrap();
    assert!(time.starts_with("2026-11-23T10:00:00"), "{time}");
    assert!(found[1]["time"].is_null());
    // Messages are not among it.
    let noisy = ours(&[&["-l", "heavydebug"], &args[..]].concat());
    assert!(serde_json::from_str::<serde_json::Value>(&noisy.out).is_ok(), "{}", noisy.out);
    let both = ours(&[&["-o", "ip"], &args[..]].concat());
    assert_eq!(both.code, 255);
    assert!(both.err.contains("--json and --out are mutually exclusive"), "{}", both.err);
}

/// On a terminal, and only there: what is read from a pipe that pauses takes long enough.
#[test]
fn a_long_run_says_how_far_it_is() {
    if Command::new("script").arg("--version").output().is_err() {
        return sekisho_oracle::missing("script (Debian's bsdutils)");
    }
    let folder = tempfile::tempdir().unwrap();
    let (pipe, out) = (folder.path().join("pipe"), folder.path().join("out"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let run = format!(
        "{} {} 'from <HOST>' > {}",
        env!("CARGO_BIN_EXE_fail2ban-regex"),
        pipe.display(),
        out.display()
    );
    for terminal in [true, false] {
        let child = match terminal {
            true => Command::new("script")
                .args(["-qec", &run, "/dev/null"])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn(),
            false => Command::new("sh")
                .args(["-c", &format!("{run} 2>&1")])
                .stdout(Stdio::piped())
                .spawn(),
        };
        let child = child.unwrap();
        let mut writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
        let lines = format!("{D} from 1.2.3.4\n").repeat(600);
        writer.write_all(lines.as_bytes()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1200));
        writer.write_all(lines.as_bytes()).unwrap();
        drop(writer);
        let said = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert_eq!(said.contains("MB read"), terminal, "{said:?}");
        if terminal {
            assert!(said.ends_with("\r\x1b[K"), "it goes again: {said:?}");
        }
        let summary = std::fs::read_to_string(&out).unwrap();
        assert!(summary.contains("Lines: 1200 lines, 0 ignored, 1200 matched"), "{summary}");
        assert!(!summary.contains("MB"), "{summary}");
    }
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
