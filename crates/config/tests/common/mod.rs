//! The real file system for tests, and `fail2ban-client` as a judge of whole folders.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, dead_code)]

pub mod generate;
pub mod tree;
pub mod verdict;

use std::path::Path;

use sekisho_config::files::{Files, Kind, ReadError};
use sekisho_config::load::{FatalError, LoadOptions, Loaded, Mode, load};
use sekisho_oracle::{Fail2ban, Python};

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        std::fs::read(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => ReadError::NotFound,
            _ => ReadError::Refused(e.to_string()),
        })
    }
    fn kind(&self, path: &str) -> Option<Kind> {
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => Some(Kind::Dir),
            Ok(_) => Some(Kind::File),
            Err(_) => Path::new(path).symlink_metadata().ok().map(|_| Kind::Dangling),
        }
    }
    fn list(&self, dir: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(if dir.is_empty() { "." } else { dir }) else {
            return Vec::new();
        };
        entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect()
    }
}

/// What a program printed, and its exit code.
#[derive(Clone, Debug)]
pub struct Answer {
    /// On standard output.
    pub out: String,
    /// On standard error.
    pub err: String,
    /// Its exit code.
    pub code: i64,
}

impl Answer {
    /// What was logged as an error.
    pub fn errors(&self) -> String {
        let mild = [" WARNING ", " NOTICE ", "No section: "];
        let wrong = |line: &&str| !mild.iter().any(|word| line.contains(word));
        self.err.lines().filter(wrong).collect::<Vec<_>>().join("\n")
    }
}

/// A `fail2ban-client` that answers for many folders.
pub struct Judge {
    python: Python,
    /// Which fail2ban it is.
    pub fail2ban: Fail2ban,
}

impl Judge {
    /// All fail2bans of this machine.
    #[track_caller]
    pub fn all() -> Vec<Judge> {
        Fail2ban::all().into_iter().map(Judge::start).collect()
    }

    /// The one that sekisho follows.
    #[track_caller]
    pub fn newest() -> Option<Judge> {
        Fail2ban::newest().map(Judge::start)
    }

    fn start(fail2ban: Fail2ban) -> Judge {
        Judge { python: Python::start(fail2ban.python(), include_str!("judge.py"), &[]), fail2ban }
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.fail2ban.version
    }

    /// Whether it is older than 1.1.1, which sekisho follows.
    pub fn is_old(&self) -> bool {
        self.version() < "1.1.1"
    }

    /// `fail2ban-client -c DIR ARGS…` for every folder.
    pub fn clients<D: AsRef<Path>>(&mut self, dirs: &[D], args: &[&str]) -> Vec<Answer> {
        let question =
            |dir: &D| serde_json::json!({"dir": dir.as_ref().to_str().unwrap(), "args": args});
        let answers = self.python.ask_all(dirs.iter().map(question).collect());
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let answer = |answer: serde_json::Value| Answer {
            out: text(&answer["out"]),
            err: text(&answer["err"]),
            code: answer["code"].as_i64().unwrap(),
        };
        answers.into_iter().map(answer).collect()
    }

    /// Whether its server refuses a command of a folder.
    pub fn start_refuses(&mut self, dir: &Path) -> bool {
        let question = serde_json::json!({"dir": dir.to_str().unwrap()});
        let answer = self.python.ask(&question);
        assert_eq!(answer["code"], 0, "{}", answer["err"]);
        !answer["out"].as_str().unwrap().is_empty()
    }

    /// `fail2ban-client -c DIR ARGS…`
    pub fn client(&mut self, dir: &Path, args: &[&str]) -> Answer {
        self.clients(&[dir], args).pop().unwrap()
    }
}

/// Our reading of a folder for `-d`, with the version that a judge has.
pub fn dump_mode(dir: &Path, version: &str) -> Result<Loaded, FatalError> {
    let options = LoadOptions { mode: Mode::Dump, version, ..LoadOptions::default() };
    load(&Disk, dir.to_str().unwrap(), &options)
}

/// Writes a file below `dir`, making folders.
pub fn write(dir: &Path, name: &str, content: &[u8]) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// Lines of a dump without a quirk of fail2ban before 1.1.1: a parameter whose name is part of the
/// word `datepattern` is sent as an option (`['set', 'j', 'a', '1']`), which its server refuses.
pub fn without_quirk(dump: &str) -> Vec<String> {
    let quirk = |line: &str| {
        let name = line.strip_prefix("['set', '").and_then(|l| l.split("', '").nth(1));
        name.is_some_and(|n| n != "datepattern" && "datepattern".contains(n))
    };
    dump.lines().filter(|l| !quirk(l)).map(str::to_owned).collect()
}
