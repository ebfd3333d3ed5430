//! A folder with a configuration, its logs, and a server that runs with them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sekisho_oracle::Fail2ban;

use crate::client::{Client, Said};
use crate::normal::normal;

/// How long anything may take before a test says that it never happened.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Whose server runs.
#[derive(Clone, Debug)]
pub enum Server {
    Ours,
    Theirs(Fail2ban),
}

/// A folder, the server that runs in it, and the client that is used with it.
pub struct Site {
    dir: tempfile::TempDir,
    pub client: Client,
}

impl Site {
    /// The folder with the files of `tree`, in which `{dir}` stands for the folder.
    pub fn new(tree: &[(&str, &str)], client: Client) -> Site {
        let site = Site { dir: tempfile::tempdir().unwrap(), client };
        for (name, text) in tree {
            site.write(name, text);
        }
        site
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub fn fill(&self, text: &str) -> String {
        text.replace("{dir}", self.dir().to_str().unwrap())
    }

    /// Writes a file, with its folders.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, self.fill(text)).unwrap();
    }

    pub fn append(&self, name: &str, text: &str) {
        let file = fs::OpenOptions::new().append(true).create(true).open(self.path(name));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// A file's text; empty where there is none.
    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// A file without what differs from run to run.
    pub fn normal(&self, name: &str) -> String {
        normal(&self.read(name), self.dir())
    }

    /// Starts the server in the background through its own client and waits until it is ready.
    pub fn start(&self, server: &Server) {
        let mut command = match server {
            Server::Ours => Command::new(env!("CARGO_BIN_EXE_fail2ban-client")),
            Server::Theirs(fail2ban) => fail2ban.program("fail2ban-client"),
        };
        let output = command.arg("-c").arg(self.path("conf")).arg("start").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!((output.status.code(), &*text), (Some(0), "Server ready\n"), "{output:?}");
    }

    /// What the client says, without what differs from run to run.
    pub fn run(&mut self, args: &[String], input: &str) -> Said {
        let args: Vec<String> = args.iter().map(|arg| self.fill(arg)).collect();
        let said = self.client.run(&self.dir.path().join("conf"), &args, input);
        let (out, err) = (normal(&said.out, self.dir()), normal(&said.err, self.dir()));
        Said { code: said.code, out, err }
    }

    /// Repeats a command until it says `part`; what it said last if it never does.
    pub fn until(&mut self, args: &[String], part: &str) -> Result<(), Said> {
        let end = Instant::now() + PATIENCE;
        loop {
            let said = self.run(args, "");
            if said.out.contains(part) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(said);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until a file has `part`.
    #[track_caller]
    pub fn until_file(&self, name: &str, part: &str) {
        let end = Instant::now() + PATIENCE;
        let part = self.fill(part);
        while !self.read(name).contains(&part) {
            let (text, log) = (self.read(name), self.read("server.log"));
            assert!(Instant::now() < end, "{name} never had {part:?}:\n{text}\n{log}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.read("pid").trim().parse().ok()?)
    }
}

/// A test that fails must not leave servers behind.
impl Drop for Site {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
