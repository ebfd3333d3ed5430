//! What our program prints, on machines that have nothing to compare with.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::both::{normal, ours};

const D: &str = "2026-11-23 10:00:00";

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
