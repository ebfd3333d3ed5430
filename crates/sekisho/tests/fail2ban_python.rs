//! `fail2ban-python` from outside: it is python3 in all but the modules of fail2ban, and the stock
//! script that needs it does what it does with fail2ban's.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use sekisho_oracle::{Fail2ban, PYTHON, fed, has_python, has_root, offline, report};

/// Our program, with a `PATH` on which it finds the python3 that all tests use.
fn ours() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fail2ban-python"));
    command.env("PATH", Path::new(PYTHON).parent().unwrap());
    command
}

/// Its exit status, standard output and standard error.
fn said(command: &mut Command, input: &str) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = fed(command, input.as_bytes());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn everything_but_the_modules_is_pythons_own() {
    if !has_python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.py");
    std::fs::write(
        &script,
        "import sys, os\nprint([os.fsencode(a) for a in sys.argv[1:]], sys.path[0])\nsys.exit(7)\n",
    )
    .unwrap();
    let odd = OsString::from_vec(b"\xff -c".to_vec());
    let cases: &[(&[&OsStr], &str)] = &[
        (&[script.as_ref(), "a b".as_ref(), &odd, "-V".as_ref()], ""),
        (&["-c".as_ref(), "import sys; print(sys.argv, sys.stdin.read())".as_ref()], "in\n"),
        (&["-m".as_ref(), "json.tool".as_ref()], "[1,2]"),
        (&["-".as_ref(), "x".as_ref()], "import sys; print(sys.argv); sys.exit('no')"),
        (&["-c".as_ref(), "import nothing_of_that_name".as_ref()], ""),
        (&["__background".as_ref()], ""),
        (&["-V".as_ref()], ""),
    ];
    for (args, input) in cases {
        let mut python = Command::new("python3");
        python.args(*args).env("PATH", Path::new(PYTHON).parent().unwrap());
        let (got, theirs) = (said(ours().args(*args), input), said(&mut python, input));
        assert_eq!(got, theirs, "{args:?}");
    }
}

#[test]
fn a_signal_ends_it_as_it_ends_python() {
    if !has_python() {
        return;
    }
    let mut child = ours().args(["-c", "import os; os.kill(os.getpid(), 9)"]).spawn().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
}

#[test]
fn the_modules_are_there_beside_others() {
    if !has_python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("other.py"), "answer = 42\n").unwrap();
    for (code, expected) in [
        ("import fail2ban.server.ipdns as d; print(d.IPAddr('2001:DB8::1'))", "2001:db8::1"),
        (
            "from fail2ban.server.ipdns import DNSUtils; print(DNSUtils.dnsToIp('192.0.2.7'))",
            "['192.0.2.7']",
        ),
        ("import fail2ban; print(fail2ban.version.version)", "1.1.1"),
        (
            "from fail2ban.helpers import getLogger; getLogger('fail2ban.x').notice('n'); print(1)",
            "1",
        ),
        ("import other; print(other.answer)", "42"),
        (
            "try: from fail2ban.server.ipdns import Nothing\nexcept ImportError as e: print(str(e)[:38])",
            "fail2ban.server.ipdns has no Nothing h",
        ),
    ] {
        let got = said(ours().args(["-c", code]).env("PYTHONPATH", folder.path()), "");
        assert_eq!((got.0, got.1.trim_end()), (Some(0), expected), "{code}\n{}", got.2);
    }
}

/// Python's own reader finds no fault with what carries the modules.
#[test]
fn the_archive_is_sound() {
    if !has_python() {
        return;
    }
    let code = "import os, zipfile; a = zipfile.ZipFile(os.environ['PYTHONPATH']); \
                print(a.testzip(), a.namelist())";
    let got = said(ours().args(["-c", code]).env_remove("PYTHONPATH"), "");
    assert_eq!((got.0, got.1.as_str()), (Some(0), "None ['fail2ban/__init__.py']\n"), "{}", got.2);
}

#[test]
fn without_python_it_says_what_to_install() {
    let got = said(ours().env("PATH", "/nowhere").arg("-V"), "");
    assert_eq!((got.0, got.1.as_str()), (Some(127), ""));
    assert_eq!(
        got.2,
        "fail2ban-python: there is no python3 on the PATH (/nowhere): install it (Debian: apt install python3)\n"
    );
}

const STOCK: &str = "filter.d/ignorecommands/apache-fakegooglebot";

/// Run as the server runs it, where no name but those of this machine can be found.
#[test]
fn the_stock_script_answers_as_with_fail2bans() {
    for fail2ban in Fail2ban::all() {
        let script = fail2ban.config.join(STOCK);
        let folder = tempfile::tempdir().unwrap();
        let program = |name: &str, target: &str| {
            let bin = folder.path().join(name);
            std::fs::create_dir(&bin).unwrap();
            symlink(target, bin.join("fail2ban-python")).unwrap();
            format!("{}:/usr/bin:/bin", bin.display())
        };
        let our_path = program("ours", env!("CARGO_BIN_EXE_fail2ban-python"));
        let their_path = program("theirs", PYTHON);
        let mut compared = 0;
        for args in [
            &[][..],
            &["127.0.0.1"],
            &["127.0.0.1", "0"],
            &["::1", "0.5"],
            &["192.0.2.1", "0.5"],
            &["192.0.2.1", "soon"],
            &["no address"],
            &["1.2.3.4", "5", "6"],
        ] {
            let run = |path: &str, modules: Option<&Path>| {
                let mut command = Command::new(&script);
                command.args(args).env("PATH", path).env_remove("PYTHONPATH");
                modules.map(|modules| command.env("PYTHONPATH", modules));
                offline(&command).map(|mut command| said(&mut command, ""))
            };
            let Some(theirs) = run(&their_path, Some(&fail2ban.modules)) else { return };
            let ours = run(&our_path, None).unwrap();
            assert_eq!(ours, theirs, "{args:?}");
            compared += 1;
        }
        report("Stock ignorecommand", &fail2ban.version, compared, "calls");
    }
}

/// A name that leads back to the address, as a name server would tell it; and one that does not.
#[test]
fn a_real_googlebot_is_ignored() {
    let Some(fail2ban) = Fail2ban::newest() else { return };
    if !has_root("root (an /etc/hosts of its own)") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    std::fs::write(
        &hosts,
        "192.0.2.66 crawl-192-0-2-66.googlebot.com\n192.0.2.67 x.googlebot.com.example\n",
    )
    .unwrap();
    let names = folder.path().join("nsswitch.conf");
    std::fs::write(&names, "hosts: files\n").unwrap();
    symlink(env!("CARGO_BIN_EXE_fail2ban-python"), folder.path().join("fail2ban-python")).unwrap();
    for (address, expected) in [("192.0.2.66", 0), ("192.0.2.67", 1), ("192.0.2.68", 1)] {
        let mut command = Command::new("unshare");
        command
            .args(["-mn", "sh", "-ec", "mount --bind \"$1\" /etc/hosts; mount --bind \"$2\" /etc/nsswitch.conf; exec \"$3\" \"$4\"", "-"])
            .args([&hosts, &names, &fail2ban.config.join(STOCK)])
            .arg(address)
            .env_remove("PYTHONPATH")
            .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()));
        assert_eq!(
            said(&mut command, ""),
            (Some(expected), String::new(), String::new()),
            "{address}"
        );
    }
}
