//! A server, ours or fail2ban's, whose jails read a journal; all that it writes is in a folder of its
//! own, and it dies with the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sekisho_oracle::Fail2ban;

use crate::PATIENCE;

pub struct Server {
    dir: tempfile::TempDir,
    theirs: Option<Fail2ban>,
    child: Option<Child>,
}

impl Server {
    /// Not yet started. `jails` is the text of jail.conf, after the usual defaults; the filter `f` finds
    /// whom `fail ID` names.
    pub fn new(theirs: Option<&Fail2ban>, jails: &str) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let server = Server { dir, theirs: theirs.cloned(), child: None };
        let d = server.dir.path().display();
        server.write(
            "fail2ban.conf",
            &format!(
                "[Definition]\nloglevel = INFO\nlogtarget = {d}/log\nsyslogsocket = auto\n\
                 socket = {d}/socket\npidfile = {d}/pid\ndbfile = {d}/db\ndbpurgeage = 1d\n\
                 allowipv6 = auto\n"
            ),
        );
        server.write("filter.d/f.conf", "[Definition]\nfailregex = fail <F-ID>\\S+</F-ID>\n");
        server.write("action.d/none.conf", "[Definition]\nactionban = true\nactionunban = true\n");
        let defaults = "[DEFAULT]\nenabled = true\nfilter = f\nmaxretry = 1\nfindtime = 1d\n\
                        bantime = 1d\nusedns = raw\nignoreself = false\naction = none\n";
        server.write("jail.conf", &format!("{defaults}{jails}"));
        server
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("log")).unwrap_or_default()).into_owned()
    }

    fn program(&self, name: &str) -> Command {
        let mut command = match &self.theirs {
            Some(fail2ban) => fail2ban.program(name),
            None => {
                let client = Path::new(env!("CARGO_BIN_EXE_fail2ban-client"));
                Command::new(client.with_file_name(name))
            }
        };
        command.arg("-c").arg(self.dir.path()).env("TZ", "UTC");
        command
    }

    /// Starts it; `inside` makes of its command one that runs somewhere else.
    pub fn start_inside(&mut self, inside: impl Fn(&Command) -> Command) {
        let mut command = self.program("fail2ban-server");
        command.args(["-f", "start"]);
        let mut command = inside(&command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        self.until("it answers", || self.run(&["ping"]).contains("pong"));
    }

    pub fn start(&mut self) {
        self.start_inside(|command| {
            let mut same = Command::new(command.get_program());
            same.args(command.get_args());
            for (name, value) in command.get_envs() {
                same.env(name, value.unwrap_or_default());
            }
            same
        });
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// What the client says.
    pub fn run(&self, args: &[&str]) -> String {
        let done = self.program("fail2ban-client").args(args).output().unwrap();
        String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned()
    }

    /// Waits until something is so.
    #[track_caller]
    pub fn until(&self, what: &str, done: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < end, "never: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it at once, with no time for anything.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Ends it in good order.
    pub fn stop(&mut self) {
        self.run(&["stop"]);
        if let Some(mut child) = self.child.take() {
            child.wait().unwrap();
        }
    }

    /// Whom a jail found, and when, in the order of the log.
    pub fn found(&self, jail: &str) -> Vec<String> {
        let log = self.log();
        let tag = format!("[{jail}] Found ");
        let found = log.lines().filter_map(|line| line.split_once(&tag));
        found.map(|(_, found)| found.to_owned()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
