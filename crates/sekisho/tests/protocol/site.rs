//! A folder with a configuration, its logs, and a server that runs with them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use sekisho_oracle::{Fail2ban, PYTHON};

use crate::client::{Client, Said};
use crate::normal::normal;

/// How long anything may take before a test says that it never happened.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The server's settings: all that it writes is in the folder.
pub const SERVER_CONF: (&str, &str) = (
    "conf/fail2ban.conf",
    "[Definition]\nloglevel = INFO\nlogtarget = {dir}/server.log\nsyslogsocket = auto\n\
     socket = {dir}/socket\npidfile = {dir}/pid\ndbfile = {dir}/db.sqlite\ndbpurgeage = 1d\n\
     dbmaxmatches = 10\nallowipv6 = auto\n",
);

/// A filter for the lines that the tests write: a time, `fail`, an address and perhaps a user.
pub const WORD_CONF: (&str, &str) = (
    "conf/filter.d/word.conf",
    "[Definition]\nfailregex = ^\\s*fail <HOST>(?: <F-USER>\\w+</F-USER>)?$\n",
);

/// The words of a command line without quotes.
pub fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// Seconds since 1970, as the lines of the logs have them.
pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// Asks every so many milliseconds until the answer is good, or [`PATIENCE`] has come to its end: then
/// the last answer is the error.
pub fn soon<T>(millis: u64, mut ask: impl FnMut() -> T, good: impl Fn(&T) -> bool) -> Result<T, T> {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        if good(&answer) {
            return Ok(answer);
        }
        if Instant::now() > end {
            return Err(answer);
        }
        std::thread::sleep(Duration::from_millis(millis));
    }
}

/// Whose server runs.
#[derive(Clone, Debug)]
pub enum Server {
    Ours,
    Theirs(Fail2ban),
}

impl Server {
    /// One of its programs, not yet started: `fail2ban-client`, `fail2ban-server`.
    pub fn command(&self, program: &str) -> Command {
        match self {
            Server::Ours => Command::new(ours(program)),
            Server::Theirs(fail2ban) => fail2ban.program(program),
        }
    }

    /// The same as words for a shell, to which arguments can be added.
    pub fn shell(&self, program: &str) -> String {
        match self {
            Server::Ours => ours(program).display().to_string(),
            Server::Theirs(fail2ban) => format!(
                "env PYTHONPATH={} {PYTHON} {}",
                fail2ban.modules.display(),
                fail2ban.programs.join(program).display()
            ),
        }
    }

    /// The client that comes with it.
    pub fn client(&self) -> Client {
        match self {
            Server::Ours => Client::Ours,
            Server::Theirs(fail2ban) => Client::theirs(fail2ban),
        }
    }
}

/// Where a program of ours is: all of them are in one folder.
fn ours(program: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_fail2ban-client")).with_file_name(program)
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
        let mut command = server.command("fail2ban-client");
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

    /// Repeats a command until it says `part`; what it said last if it never does. If that was asked for
    /// is a ban, it is also waited for to be announced: ours is when its action has run, and one whose
    /// action takes long is not listed meanwhile.
    pub fn until(&mut self, args: &[String], part: &str) -> Result<(), Said> {
        let said = soon(100, || self.run(args, ""), |said| said.out.contains(part))?;
        let (jail, banned) = match args {
            [get, jail, word, ip] if get == "get" && word == "banned" && part == "1" => {
                (jail, &**ip)
            }
            [get, jail, word, ..] if get == "get" && word == "banip" => (jail, part),
            _ => return Ok(()),
        };
        let lines = ["Ban", "Restore Ban"].map(|what| format!("[{jail}] {what} {banned}\n"));
        let log = || self.read("server.log");
        let announced = |log: &String| lines.iter().any(|line| log.contains(line));
        soon(100, log, announced).map(drop).map_err(|_| said)
    }

    /// Waits until a file has `part`.
    #[track_caller]
    pub fn until_file(&self, name: &str, part: &str) {
        let part = self.fill(part);
        if let Err(text) = soon(100, || self.read(name), |text| text.contains(&part)) {
            panic!("{name} never had {part:?}:\n{text}\n{}", self.read("server.log"));
        }
    }

    /// Ends the server, and waits until nothing of it is left: fail2ban answers before that.
    pub fn stop(&mut self) {
        let said = self.run(&words("stop"), "");
        assert_eq!(said.code, 0, "{said:?}");
        let exist = || ["socket", "pid"].map(|name| self.path(name).exists());
        assert!(soon(50, exist, |exist| *exist == [false; 2]).is_ok(), "it goes on");
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
