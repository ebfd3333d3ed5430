//! The real file system for tests, and the installed fail2ban as an oracle.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, dead_code)]

use std::path::Path;

use sekisho_config::files::{Files, Kind, ReadError};

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

/// Where the installed fail2ban lives, unless `FAIL2BAN_PATH` says otherwise.
const PYTHON: &str = "/usr/bin/python3";

/// Whether the oracle is installed; without it a test says so and passes, unless `SEKISHO_CI` is
/// set.
pub fn has_oracle(test: &str) -> bool {
    let path = std::env::var("FAIL2BAN_PATH");
    let path = path.unwrap_or_else(|_| "/usr/lib/python3/dist-packages".to_owned());
    let found = Path::new(PYTHON).exists() && Path::new(&path).join("fail2ban/client").is_dir();
    if !found {
        assert!(std::env::var("SEKISHO_CI").is_err(), "{test} needs python3 and fail2ban");
        eprintln!("{test} skipped: needs python3 and fail2ban");
    }
    found
}

/// What the oracle prints for `-d`, and its exit code, for every folder.
pub fn oracle(folders: &[String]) -> Vec<(String, i32)> {
    use std::io::Write as _;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle.py");
    let mut child = std::process::Command::new(PYTHON)
        .arg(script)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for folder in folders {
        writeln!(input, "{folder}").unwrap();
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    let read = |folder: &str, what: &str| {
        String::from_utf8(std::fs::read(format!("{folder}.{what}")).unwrap()).unwrap()
    };
    folders.iter().map(|f| (read(f, "out"), read(f, "code").trim().parse().unwrap())).collect()
}

/// What the installed client prints on standard output.
pub fn client(args: &[&str]) -> String {
    let output = std::process::Command::new(PYTHON)
        .arg("/usr/bin/fail2ban-client")
        .args(args)
        .env("PYTHONPATH", std::env::var("FAIL2BAN_PATH").unwrap_or_default())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Writes a file below `dir`, making folders.
pub fn write(dir: &Path, name: &str, content: &[u8]) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// Copies a folder.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Lines of a dump without a quirk of fail2ban: a parameter whose name is part of the word
/// `datepattern` is sent as an option (`['set', 'j', 'a', '1']`), which its server refuses.
pub fn without_quirk(dump: &str) -> Vec<String> {
    let quirk = |line: &str| {
        let name = line.strip_prefix("['set', '").and_then(|l| l.split("', '").nth(1));
        name.is_some_and(|n| n != "datepattern" && "datepattern".contains(n))
    };
    dump.lines().filter(|l| !quirk(l)).map(str::to_owned).collect()
}
