//! `sekisho run` from outside: what it says, what it finds, and that without root it bans nobody.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// For anything that has to happen at all.
const LIMIT: Duration = Duration::from_secs(30);

/// A folder with the program, a configuration and a home, for a user without rights.
struct Bench {
    dir: tempfile::TempDir,
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Bench {
    fn new(jail_local: &str) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench { dir };
        fs::set_permissions(bench.dir.path(), Permissions::from_mode(0o755)).unwrap();
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        for folder in ["", "filter.d", "action.d"] {
            fs::create_dir_all(bench.path("conf").join(folder)).unwrap();
            for entry in fs::read_dir(config.join("config").join(folder)).unwrap().flatten() {
                if entry.path().extension().is_some_and(|e| e == "conf") {
                    let to = bench.path("conf").join(folder).join(entry.file_name());
                    fs::copy(entry.path(), to).unwrap();
                }
            }
        }
        fs::write(bench.path("conf/jail.local"), jail_local).unwrap();
        fs::create_dir(bench.path("home")).unwrap();
        // Not by this process: one that another test starts meanwhile would hold it open for writing.
        let mut copy = Command::new("cp");
        copy.arg(env!("CARGO_BIN_EXE_sekisho")).arg(bench.path("sekisho"));
        assert!(copy.status().unwrap().success());
        if is_root() {
            std::os::unix::fs::chown(bench.path("home"), Some(65534), Some(65534)).unwrap();
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program, called by somebody who is not root.
    fn user(&self, args: &[&str]) -> Command {
        let program = self.path("sekisho");
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(args).env("HOME", self.path("home")).env("XDG_RUNTIME_DIR", self.path("home"));
        command.env_remove("XDG_STATE_HOME").env("TZ", "UTC").current_dir(self.dir.path());
        command.stdin(Stdio::null());
        command
    }
}

fn text(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

/// A server that is ended with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < LIMIT, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn expect(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

/// Failures of 198.51.100.7, now.
fn attack() -> String {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    format!("{now} mail sshd[9]: Failed password for root from 198.51.100.7 port 1 ssh2\n")
        .repeat(6)
}

#[test]
fn what_it_says_when_it_cannot() {
    let logs = "[DEFAULT]\nlogpath = /nonexistent/a.log\njournalmatch =\n";
    let jails = ["sshd", "dovecot", "postfix", "nginx-http-auth", "recidive"]
        .map(|jail| format!("[{jail}]\nlogpath = /nonexistent/{jail}.log\njournalmatch =\n"));
    let bench = Bench::new(&(logs.to_owned() + &jails.concat()));
    for (args, expected) in [
        (
            &["run", "-c", "/nonexistent"][..],
            &["/nonexistent does not exist", "-c names the folder"][..],
        ),
        (
            &["run", "-c", "conf"],
            &[
                "nothing to guard",
                "sshd: no /nonexistent/sshd.log",
                "conf/jail.local",
                "--log FILE",
            ],
        ),
        (&["run", "--nope"], &["there is no option '--nope'", "Usage: sekisho run"]),
        (&["run", "-c"], &["-c needs a folder"]),
    ] {
        let out = bench.user(args).output().unwrap();
        assert_eq!(out.status.code(), Some(255), "{args:?}");
        expect(&text(&out), expected);
    }
    // As `su` without `-` leaves it: somebody else's home.
    let mut command = bench.user(&["run", "--log", "some.log"]);
    let out = command.env("HOME", "/proc/1").env("XDG_RUNTIME_DIR", "/proc/1").output().unwrap();
    assert_eq!(out.status.code(), Some(255));
    expect(&text(&out), &["cannot create /proc/1", "set HOME, or XDG_RUNTIME_DIR"]);
    let help = bench.user(&["run", "--help"]).output().unwrap();
    assert_eq!(help.status.code(), Some(0));
}

#[test]
fn standard_input() {
    let bench = Bench::new("[dovecot]\nlogencoding = latin1\n");
    // The last line lacks its end.
    let log = attack();
    let mut command = bench.user(&["run", "-c", "conf", "-"]);
    let out = sekisho_oracle::fed(&mut command, log.trim_end().as_bytes());
    assert_eq!(out.status.code(), Some(0));
    let shown = text(&out);
    expect(&shown, &["/dev/stdin", "NOTICE  [sshd] Ban 198.51.100.7", "Exiting Fail2ban"]);
    assert_eq!(shown.matches("[sshd] Found 198.51.100.7").count(), 6, "{shown}");
    assert!(!shown.contains("ERROR") && !shown.contains("note:"), "{shown}");
}

#[test]
fn a_log_without_root() {
    let bench = Bench::new("");
    let log = bench.path("app.log");
    fs::write(&log, "").unwrap();
    let args = ["run", "-c", "conf", "--log", log.to_str().unwrap()];
    let out = File::create(bench.path("out")).unwrap();
    let _server =
        Running(bench.user(&args).stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap());
    let shown = || fs::read_to_string(bench.path("out")).unwrap();
    wait_for("the start", || shown().contains("Added logfile"));
    expect(
        &shown(),
        &[
            "Using the configuration in conf",
            "Watching:\n  sshd ",
            log.to_str().unwrap(),
            "Not root: attacks are reported, nobody is banned.",
            "The log follows.",
            "Who would be banned: sekisho banned",
        ],
    );
    fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(attack().as_bytes()).unwrap();
    wait_for("the ban", || shown().contains("NOTICE  [sshd] Ban 198.51.100.7"));
    expect(&shown(), &["INFO    [sshd] Found 198.51.100.7"]);
    assert!(!shown().contains("ERROR"), "{}", shown());
    // No action: nothing that could be executed.
    let actions = bench.user(&["-c", "conf", "get", "sshd", "actions"]).output().unwrap();
    expect(&text(&actions), &["No actions for jail sshd"]);
    // A second one refuses, and says why.
    let second = bench.user(&args).output().unwrap();
    assert_eq!(second.status.code(), Some(255));
    expect(&text(&second), &["already runs on", "sekisho stop"]);
    let banned = bench.user(&["-c", "conf", "banned"]).output().unwrap();
    expect(&text(&banned), &["198.51.100.7"]);
    let unban = bench.user(&["-c", "conf", "unban", "198.51.100.7"]).output().unwrap();
    assert_eq!(text(&unban).trim(), "1");
    let stop = bench.user(&["-c", "conf", "stop"]).output().unwrap();
    assert_eq!(stop.status.code(), Some(0), "{}", text(&stop));
    wait_for("the end", || shown().contains("Exiting Fail2ban"));
}

/// In network and mount namespaces of its own: it blocks for real, and leaves nothing behind.
#[test]
fn with_root_it_blocks() {
    let there = is_root()
        && Path::new("/usr/sbin/nft").exists()
        && Command::new("unshare").args(["-n", "-m", "true"]).status().is_ok_and(|s| s.success());
    if !there {
        return sekisho_oracle::missing("root, nft and namespaces");
    }
    let bench = Bench::new("");
    let dir = bench.dir.path().display();
    let server = format!(
        "[DEFAULT]\nlogtarget = {dir}/server.log\ndbfile = {dir}/db\nsocket = {dir}/unused\n"
    );
    fs::write(bench.path("conf/fail2ban.local"), server).unwrap();
    fs::write(bench.path("app.log"), "").unwrap();
    fs::write(bench.path("attack"), attack()).unwrap();
    let script = r#"
        run() { ./sekisho run -c conf -s ./sock --log "$PWD/app.log" >out 2>&1 & server=$!; }
        # wait_for COMMAND...: until it succeeds, 30 s at most
        wait_for() { n=0; until "$@" >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 300 ] || exit 9; sleep 0.1; done; }
        trap 'kill $server 2>/dev/null' EXIT
        run
        wait_for grep -q 'Added logfile' server.log
        cat attack >>app.log
        rules() { nft list ruleset | grep -q 198.51.100.7; }
        wait_for rules
        echo "-- banned"; nft list ruleset; ./sekisho -s ./sock -c conf banned
        ./sekisho -s ./sock -c conf stop
        wait $server; echo "-- ended $?"; nft list ruleset; ls
    "#;
    let out = Command::new("unshare")
        .args(["-n", "-m", "/bin/sh", "-c", script])
        .current_dir(bench.dir.path())
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = fs::read_to_string(bench.path("out")).unwrap();
    let shown = text(&out) + &said;
    assert_eq!(out.status.code(), Some(0), "{shown}");
    expect(&said, &["Banning with: nftables."]);
    let shown = text(&out);
    let (during, after) = shown.split_once("-- ended 0\n").unwrap();
    expect(during, &["elements = { 198.51.100.7 }", "[{'sshd': ['198.51.100.7']}"]);
    assert!(!after.contains("table"), "{after}");
    // Of its own files only that with the (empty) notes of bans may stay.
    assert!(!after.lines().any(|name| name == "sock" || name == "sock.pid"), "{after}");
}
