//! A real journald in namespaces of its own: it starts, rotates and dies there, and nothing of the
//! machine's journal is touched.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sekisho_oracle::{has_root, missing};

use crate::PATIENCE;

const PROGRAM: &str = "/lib/systemd/systemd-journald";
const SCRIPT: &str = r#"set -e
mount --make-rprivate /
mkdir -p /var/log/journal
mount --bind "$1/run" /run
mount --bind "$1/log" /var/log/journal
[ -s /etc/machine-id ] || mount --bind "$1/machine-id" /etc/machine-id
exec /lib/systemd/systemd-journald
"#;

pub struct Journald {
    dir: tempfile::TempDir,
    child: Child,
    socket: UnixDatagram,
}

impl Journald {
    /// Without root or journald the test is skipped. `setting` is a line of journald.conf.
    #[track_caller]
    pub fn start(setting: &str) -> Option<Journald> {
        if !has_root("root, for namespaces") {
            return None;
        }
        if !Path::new(PROGRAM).exists() {
            missing(PROGRAM);
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run/systemd");
        fs::create_dir_all(run.join("journal")).unwrap();
        fs::create_dir_all(run.join("journald.conf.d")).unwrap();
        fs::create_dir_all(dir.path().join("log")).unwrap();
        // As after the boot: entries go to the persistent journal.
        fs::write(run.join("journal/flushed"), "").unwrap();
        fs::write(dir.path().join("machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
        let conf = format!(
            "[Journal]\nStorage=persistent\nReadKMsg=no\nAudit=no\nRateLimitIntervalSec=0\n\
             ForwardToSyslog=no\nForwardToConsole=no\nForwardToWall=no\n{setting}\n"
        );
        fs::write(run.join("journald.conf.d/test.conf"), conf).unwrap();
        let child = spawn(dir.path());
        let socket = UnixDatagram::unbound().unwrap();
        let mut journald = Journald { dir, child, socket };
        journald.connect();
        Some(journald)
    }

    fn connect(&mut self) {
        let path = self.dir.path().join("run/systemd/journal/socket");
        let end = Instant::now() + PATIENCE;
        while self.socket.connect(&path).is_err() || self.files().is_empty() {
            assert!(Instant::now() < end, "journald does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The folder with folders of machines.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// All journal files, also those rotated away.
    pub fn files(&self) -> Vec<PathBuf> {
        let machines = fs::read_dir(self.root()).into_iter().flatten().flatten();
        let files = machines.flat_map(|m| fs::read_dir(m.path()).into_iter().flatten().flatten());
        let mut files: Vec<PathBuf> = files.map(|f| f.path()).collect();
        files.sort();
        files
    }

    /// An entry.
    pub fn write(&self, identifier: &str, message: &str) {
        let entry = format!("SYSLOG_IDENTIFIER={identifier}\nMESSAGE={message}\n");
        let end = Instant::now() + PATIENCE;
        // It refuses while it is restarted or has its hands full.
        while self.socket.send(entry.as_bytes()).is_err() {
            assert!(Instant::now() < end, "journald takes nothing");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until all that was written is in the files, as `journalctl --sync` does.
    pub fn settle(&self) {
        let synced = self.dir.path().join("run/systemd/journal/synced");
        let _ = fs::remove_file(&synced);
        // SIGRTMIN+1: obeyed when nothing more is waiting to be taken.
        self.signal("-35");
        let end = Instant::now() + PATIENCE;
        while !synced.exists() {
            assert!(Instant::now() < end, "journald does not finish");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn pid(&self) -> String {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        children.split_whitespace().next().unwrap().to_owned()
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.pid()]).status().unwrap().success());
    }

    /// The file is renamed, and a new one begun.
    pub fn rotate(&self) {
        let before = self.files().len();
        self.signal("-USR2");
        let end = Instant::now() + PATIENCE;
        while self.files().len() == before {
            assert!(Instant::now() < end, "journald does not rotate");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Removes what was rotated away, as `journalctl --vacuum-size` does.
    pub fn vacuum(&self) {
        let rotated = |f: &PathBuf| f.to_string_lossy().contains('@');
        self.files().into_iter().filter(rotated).for_each(|f| fs::remove_file(f).unwrap());
    }

    /// Ends it and starts it again.
    pub fn restart(&mut self) {
        self.settle();
        self.signal("-TERM");
        let _ = self.child.wait();
        let _ = fs::remove_file(self.dir.path().join("run/systemd/journal/socket"));
        self.socket = UnixDatagram::unbound().unwrap();
        self.child = spawn(self.dir.path());
        self.connect();
    }
}

fn spawn(dir: &Path) -> Child {
    Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", SCRIPT, "sh"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Journald {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
