//! The real server, driven through its own programs in a folder of its own: unprivileged, with a
//! recording action in place of a firewall. What an administrator sees when all goes well, and what
//! is said, and not lost, when it does not.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod bad_input;
mod bad_lines;
mod enforcement;
mod events;
mod life;
#[path = "../action/python/mails.rs"]
mod mails;
mod newest;
mod old;
mod python;
mod storage;
mod takeover;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use mails::mail_server;
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before the test says that it never happened.
const PATIENCE: Duration = Duration::from_secs(60);

/// A configuration, and at most one server that runs with it; killed with the test.
struct Site {
    dir: tempfile::TempDir,
}

/// What a program said.
struct Said {
    code: i32,
    /// Standard output, then standard error.
    text: String,
}

impl Said {
    #[track_caller]
    fn has(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.text.contains(part), "{part:?} is not in: {}", self.text);
        }
        self
    }
    #[track_caller]
    fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{}", self.text);
        self
    }
}

impl From<Output> for Said {
    fn from(out: Output) -> Said {
        let text = [out.stdout, out.stderr].concat();
        let code = out.status.code().unwrap_or(-1);
        Said { code, text: String::from_utf8_lossy(&text).into_owned() }
    }
}

impl Site {
    /// One jail, `alpha`, that reads `alpha.log` and bans at the fifth failure.
    fn new() -> Site {
        let site = Site::empty();
        site.write("alpha.log", "");
        site.jails("[alpha]\n");
        site
    }

    /// As [`Site::new`], without `jail.conf` and log.
    fn empty() -> Site {
        let site = Site { dir: tempfile::tempdir().unwrap() };
        for folder in ["conf/filter.d", "conf/action.d"] {
            fs::create_dir_all(site.path(folder)).unwrap();
        }
        site.main_conf("db.sqlite");
        let filter = "[Definition]\nfailregex = ^\\s*fail (?:user=<F-USER>.*</F-USER> )?<HOST>\n";
        site.write("conf/filter.d/t.conf", filter);
        site.recorder("record", "true", "");
        site
    }

    fn main_conf(&self, database: &str) {
        let d = self.dir.path().display();
        self.write(
            "conf/fail2ban.conf",
            format!(
                "[Definition]\nloglevel = INFO\nlogtarget = {d}/server.log\nsyslogsocket = auto\n\
                 socket = {d}/socket\npidfile = {d}/pid\ndbfile = {d}/{database}\n\
                 dbpurgeage = 1d\nallowipv6 = auto\n"
            ),
        );
    }

    /// An action that writes what it does to `acts`; it bans only where `condition` holds.
    fn recorder(&self, name: &str, condition: &str, more: &str) {
        let acts = self.path("acts");
        let acts = acts.display();
        self.write(
            &format!("conf/action.d/{name}.conf"),
            format!(
                "[Definition]\n\
                 actionstart = echo '{name} start <name>' >> {acts}\n\
                 actionban = {condition} && echo '{name} ban <ip>' >> {acts}\n\
                 actionunban = echo '{name} unban <ip>' >> {acts}\n\
                 actionstop = echo '{name} stop <name>' >> {acts}\n{more}"
            ),
        );
    }

    /// `jail.conf`: the usual defaults, then `sections`; every jail is on.
    fn jails(&self, sections: &str) {
        self.write("conf/jail.conf", &(self.defaults() + sections));
    }

    fn defaults(&self) -> String {
        format!(
            "[DEFAULT]\nenabled = true\nbackend = polling\nusedns = no\nbantime = 1h\n\
             findtime = 1h\nmaxretry = 5\nignoreip = 192.0.2.99\nignoreself = false\nfilter = t\n\
             logpath = {}/alpha.log\naction = record[name=%(__name__)s]\n",
            self.dir.path().display()
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }
    /// A script to be run. Not written by this process: one that another test starts meanwhile would
    /// hold it open, and what is open for writing cannot be run.
    fn program(&self, name: &str, text: &str) {
        let source = format!("{name}.text");
        self.write(&source, text);
        let mut install = Command::new("install");
        install.args(["-m", "755"]).args([self.path(&source), self.path(name)]);
        assert!(install.status().unwrap().success());
    }
    /// A file's text; empty where there is none.
    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// Appends to `alpha.log` in one write.
    fn log(&self, bytes: impl AsRef<[u8]>) {
        let mut file =
            fs::OpenOptions::new().append(true).create(true).open(self.path("alpha.log")).unwrap();
        file.write_all(bytes.as_ref()).unwrap();
    }

    /// Lets `ip` fail so often that it is banned.
    fn attack(&self, ip: &str) {
        self.log(failures(5, ip));
    }

    /// `fail2ban-client -c <this> args`
    fn client(&self, args: &str) -> Said {
        self.run(env!("CARGO_BIN_EXE_fail2ban-client"), args)
    }

    fn run(&self, program: &str, args: &str) -> Said {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "120", program, "-c"]).arg(self.path("conf"));
        command.args(args.split_whitespace()).output().expect("timeout(1) of coreutils").into()
    }

    fn start(&self) {
        self.client("start").exits(0).has(&["Server ready"]);
    }

    /// Waits until `command` says `part`.
    #[track_caller]
    fn until(&self, command: &str, part: &str) -> String {
        let mut last = String::new();
        let good = wait(|| {
            last = self.client(command).text;
            last.contains(part)
        });
        assert!(good, "{command} never said {part:?}:\n{last}\n{}", self.read("server.log"));
        last
    }

    /// Waits until the file has a line with `part`.
    #[track_caller]
    fn until_file(&self, name: &str, part: &str) {
        let good = wait(|| self.read(name).contains(part));
        assert!(
            good,
            "{name} never had {part:?}:\n{}\n{}",
            self.read(name),
            self.read("server.log")
        );
    }

    /// Waits until an address is banned, and has been said to be: while its action has not run it is
    /// listed for a second only.
    #[track_caller]
    fn until_banned(&self, ip: &str) {
        self.until("get alpha banip", ip);
        let lines = ["Ban", "Restore Ban"].map(|what| format!("[alpha] {what} {ip}\n"));
        let said = wait(|| lines.iter().any(|line| self.read("server.log").contains(line)));
        assert!(said, "nobody was told of {ip}:\n{}", self.read("server.log"));
    }

    fn banned(&self) -> String {
        self.client("get alpha banip").exits(0).text.trim().to_owned()
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.read("pid").trim().parse().ok()?)
    }

    /// Sends a signal; for KILL and TERM, waits for the end.
    fn signal(&self, signal: Signal) {
        let pid = self.pid().expect("a server runs");
        kill_process(pid, signal).unwrap();
        if signal != Signal::USR1 {
            assert!(wait(|| !runs(pid)), "the server goes on after {signal:?}");
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn runs(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

fn wait(mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    loop {
        if done() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Seconds since 1970, which every date detector takes.
fn stamp() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn failures(count: usize, ip: &str) -> String {
    format!("{} fail {ip}\n", stamp()).repeat(count)
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

fn list(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
}
