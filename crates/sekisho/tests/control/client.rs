//! The client programs: against a server without an engine, and against fail2ban's server.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sekisho_oracle::fed;

/// The client programs with a server that has no engine (see `examples/`).
fn double() -> Command {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().unwrap().parent().unwrap().join("examples/control_double");
    assert!(path.exists(), "run `cargo build --example control_double` first");
    Command::new(path)
}

/// Exit code, standard output, standard error.
#[derive(Debug, PartialEq)]
pub struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(command: &mut Command, input: &str) -> Ran {
    let output = fed(command, input.as_bytes());
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Removes what differs between two runs: time, process id, folder.
fn normal(text: &str, folder: &Path) -> String {
    let text = text.replace(folder.to_str().unwrap(), "DIR");
    let lines = text.lines().map(|line| match line.split_once("]: ") {
        Some((head, rest)) if head.starts_with("20") => {
            let logger = head.split(' ').nth(2).unwrap_or_default();
            format!("TIME {logger}: {rest}\n")
        }
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// A configuration of two jails that do nothing, in a folder of its own.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Site {
        let site = Site { dir: tempfile::tempdir().unwrap() };
        for folder in ["filter.d", "action.d", "jail.d"] {
            std::fs::create_dir_all(site.path("conf").join(folder)).unwrap();
        }
        let server = "[Definition]
socket = /var/run/fail2ban/fail2ban.sock
pidfile = /var/run/fail2ban/fail2ban.pid
loglevel = INFO
logtarget = STDERR
syslogsocket = auto
allowipv6 = auto
dbfile = None
dbpurgeage = 1d
";
        let log = site.path("a.log");
        let jails = format!(
            "[DEFAULT]
enabled = true
backend = polling
logpath = {}
usedns = no
action = log[name=%(__name__)s]
filter = word
[j1]
[j2]
maxretry = 3
",
            log.display()
        );
        site.write("conf/fail2ban.conf", server);
        site.write("conf/jail.conf", &jails);
        site.write("conf/filter.d/word.conf", "[Definition]\nfailregex = ^word <HOST>$\n");
        site.write(
            "conf/action.d/log.conf",
            "[Definition]\nactionban = true\nactionunban = true\n",
        );
        site.write("a.log", "");
        site
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }
    /// The options that keep everything in the folder.
    fn options(&self) -> Vec<String> {
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let options = [
            ("-c", path("conf")),
            ("-s", path("s.sock")),
            ("-p", path("s.pid")),
            ("--logtarget", path("f.log")),
        ];
        options.into_iter().flat_map(|(o, v)| [o.to_owned(), v]).collect()
    }
    fn ours(&self, program: &str, args: &[&str], input: &str) -> Ran {
        let ran = run(double().arg(program).args(self.options()).args(args), input);
        self.normal(&ran)
    }
    fn normal(&self, ran: &Ran) -> Ran {
        Ran {
            code: ran.code,
            out: normal(&ran.out, self.dir.path()),
            err: normal(&ran.err, self.dir.path()),
        }
    }
}

/// A test that fails must not leave servers behind.
impl Drop for Site {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.path("s.pid")).ok();
        let pid = pid.and_then(|text| text.trim().parse().ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

fn ran(code: i32, out: &str, err: &str) -> Ran {
    Ran { code: Some(code), out: out.into(), err: err.into() }
}

#[test]
fn a_server_starts_in_the_background_and_stops() {
    let site = Site::new();
    let ours = |args: &[&str]| site.ours("client", args, "");
    assert_eq!(ours(&["start"]), ran(0, "Server ready\n", ""));
    let pid = std::fs::read_to_string(site.path("s.pid")).unwrap();
    assert_eq!(ours(&["start"]), ran(255, "", "TIME fail2ban: ERROR   Server already running\n"));
    assert_eq!(ours(&["ping"]), ran(0, "Server replied: pong\n", ""));
    assert_eq!(ours(&["reload"]), ran(0, "OK\n", ""));
    assert_eq!(ours(&["flushlogs"]), ran(0, "logs: rolled over\n", ""));
    // It has no terminal and no folder of ours.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    assert_eq!(fields[3], pid.trim(), "it leads its session");
    assert_eq!(fields[4], "0", "it has no terminal");
    assert!(stat.contains("(fail2ban-server)"), "{stat}");
    for fd in 0..3 {
        let link = std::fs::read_link(format!("/proc/{}/fd/{fd}", pid.trim())).unwrap();
        assert_eq!(link, Path::new("/dev/null"));
    }
    let folder = std::fs::read_link(format!("/proc/{}/cwd", pid.trim())).unwrap();
    assert_eq!(folder, Path::new("/"));
    assert_eq!(ours(&["restart"]), ran(0, "Shutdown successful\nServer ready\n", ""));
    assert_ne!(std::fs::read_to_string(site.path("s.pid")).unwrap(), pid);
    assert_eq!(ours(&["stop"]), ran(0, "Shutdown successful\n", ""));
    let gone =
        "TIME fail2ban: ERROR   Failed to access socket path: DIR/s.sock. Is fail2ban running?\n";
    assert_eq!(ours(&["stop"]), ran(255, "", gone));
    assert_eq!(ours(&["reload"]), ran(255, "", "TIME fail2ban: ERROR   Could not find server\n"));
    let log = normal(&std::fs::read_to_string(site.path("f.log")).unwrap(), site.dir.path());
    assert!(log.contains("TIME fail2ban.server: INFO    started\n"), "{log}");
}

#[test]
fn a_restart_reads_the_configuration_first() {
    let site = Site::new();
    assert_eq!(site.ours("client", &["start"], "").code, Some(0));
    let pid = std::fs::read_to_string(site.path("s.pid")).unwrap();
    site.write("conf/jail.conf", "[j1]\nno value\n");
    for command in ["restart", "reload"] {
        let ran = site.ours("client", &[command], "");
        assert_eq!((ran.code, ran.out.as_str()), (Some(255), ""), "{command}");
        assert!(ran.err.contains("DIR/conf/jail.conf:2: "), "{command}: {}", ran.err);
    }
    assert_eq!(site.ours("client", &["ping"], "").code, Some(0));
    assert_eq!(std::fs::read_to_string(site.path("s.pid")).unwrap(), pid);
    assert_eq!(site.ours("client", &["stop"], "").code, Some(0));
}

#[test]
fn a_descriptor_of_the_caller_is_not_kept() {
    let site = Site::new();
    let options = site.options().join(" ");
    let program = double().get_program().to_str().unwrap().to_owned();
    let script =
        format!("exec 3>{}; {program} client {options} start", site.path("three").display());
    let started = run(Command::new("/bin/sh").arg("-c").arg(script), "");
    assert_eq!(site.normal(&started), ran(0, "Server ready\n", ""));
    let pid = std::fs::read_to_string(site.path("s.pid")).unwrap();
    let open = std::fs::read_dir(format!("/proc/{}/fd", pid.trim())).unwrap();
    let kept = open.flatten().filter_map(|e| std::fs::read_link(e.path()).ok());
    assert!(kept.into_iter().all(|path| !path.ends_with("three")));
    assert_eq!(site.ours("client", &["stop"], "").code, Some(0));
}

#[test]
fn a_start_that_fails_says_why() {
    let mut site = Site::new();
    site.write("file", "");
    let ran = {
        let mut options = site.options();
        options[3] = site.path("file/s.sock").to_str().unwrap().to_owned();
        let ran = run(double().arg("client").args(options).arg("start"), "");
        site.normal(&ran)
    };
    assert_eq!((ran.code, ran.out.as_str()), (Some(255), ""));
    assert!(ran.err.contains("Could not start server: cannot open the control socket"), "{ran:?}");
    site = Site::new();
    // A stale socket does not stop a start.
    drop(std::os::unix::net::UnixListener::bind(site.path("s.sock")).unwrap());
    assert_eq!(site.ours("client", &["start"], "").code, Some(0));
    assert_eq!(site.ours("client", &["stop"], "").code, Some(0));
}

#[test]
fn the_foreground_ends_with_a_signal() {
    let site = Site::new();
    for (name, args) in [("client", ["-f", "start"].as_slice()), ("server", &["-xf"])] {
        let child = double()
            .arg(name)
            .args(site.options())
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pings = (0..2400).map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(25));
            site.ours("client", &["ping"], "").code
        });
        assert!(pings.any(|code| code == Some(0)), "no server in the foreground");
        let pid = rustix::process::Pid::from_child(&child);
        assert_eq!(
            std::fs::read_to_string(site.path("s.pid")).unwrap().trim(),
            pid.as_raw_nonzero().to_string()
        );
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(output.stdout, b"Server ready\n");
        assert!(!site.path("s.pid").exists() && !site.path("s.sock").exists());
    }
}

#[test]
fn what_needs_no_server() {
    let site = Site::new();
    for (program, args, code, out) in [
        ("client", ["-V"].as_slice(), 0, "1.1.1\n"),
        ("client", &["--version"], 0, "Fail2Ban v1.1.1\n"),
        ("server", &["-V"], 0, "1.1.1\n"),
        ("client", &["--str2sec", "1d12h"], 0, "129600\n"),
        ("client", &["--str2sec", "1mo"], 0, "2629800.0\n"),
        ("client", &["--str2sec", "1h", "2h"], 0, "3600\n"),
        ("client", &["--str2sec", "abc"], 255, "ERROR: name 'abc' is not defined\n"),
        ("sekisho", &["--version"], 0, concat!("sekisho ", env!("CARGO_PKG_VERSION"), "\n")),
    ] {
        let ran = site.ours(program, args, "");
        assert_eq!((ran.code, ran.out.as_str()), (Some(code), out), "{program} {args:?}");
    }
    for args in [[].as_slice(), &["-c", "/nonexistent"], &["--nope"], &["-c"], &["--str2sec"]] {
        // Without the options of the site, which would be the argument that is missing.
        let ran = run(double().arg("client").args(args), "");
        assert_eq!(ran.code, Some(255));
        assert!(ran.out.starts_with("Usage: fail2ban-client [OPTIONS] <COMMAND>\n"));
        let wrong = !matches!(args, [] | ["-c", _]);
        assert_eq!(ran.err.ends_with("Init of command line failed\n"), wrong);
    }
    for (options, out) in [
        (["--loglevel", "loud"], "ERROR: Invalid log level 'LOUD'\n"),
        (["--timeout", "soon"], "ERROR: name 'soon' is not defined\n"),
    ] {
        let ran = site.ours("client", &[options[0], options[1], "ping"], "");
        assert_eq!((ran.code, ran.out.as_str()), (Some(255), out), "{options:?}");
        assert!(ran.err.ends_with("Init of command line failed\n"), "{options:?}: {}", ran.err);
    }
}

#[test]
fn another_user_is_told_who_may() {
    if !rustix::process::geteuid().is_root() {
        return sekisho_oracle::missing("root, to become somebody else");
    }
    let site = Site::new();
    assert_eq!(site.ours("client", &["start"], "").code, Some(0));
    // Even where the folder can be entered.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(site.dir.path(), open).unwrap();
    let program = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(program.path(), open).unwrap();
    let copy = program.path().join("double");
    // Not by this process: one that another test starts meanwhile would hold it open for writing.
    let copied = Command::new("cp").arg(double().get_program()).arg(&copy).status().unwrap();
    assert!(copied.success());
    let mut command = Command::new(copy);
    std::os::unix::process::CommandExt::uid(&mut command, 65534);
    let ran = site.normal(&run(command.arg("client").args(site.options()).arg("ping"), ""));
    let text =
        "TIME fail2ban: ERROR   Permission denied to socket: DIR/s.sock, (you must be root)\n";
    assert_eq!(ran, self::ran(255, "", text));
    assert_eq!(site.ours("client", &["stop"], "").code, Some(0));
}
