//! What differential tests share: the installed fail2ban as a judge, random numbers from a seed, and
//! the table of what was compared.
//!
//! fail2ban's code, filters, actions and sample logs are read where they are installed; none of them
//! may be copied into this repository. Where something is missing, a test says `skipped: needs …`
//! and passes, unless `SEKISHO_CI` is set: then it fails. Only tests may depend on this crate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fed;
mod folder;
mod journal;
mod offline;
mod python;
mod random;
mod report;
pub mod samples;

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use fed::fed;
pub use folder::copy_dir;
pub use journal::{Entry, has_journal_remote, write_journal};
pub use offline::offline;
pub use python::Python;
pub use random::Random;
pub use report::report;

/// The interpreter that Debian's modules are made for; one from elsewhere on `PATH` lacks them.
pub const PYTHON: &str = "/usr/bin/python3";

/// Whether a missing part is a failure, as where everything has been installed for the tests.
pub fn must_not_skip() -> bool {
    std::env::var_os("SEKISHO_CI").is_some()
}

/// Says that the calling test cannot run without `what`, or fails where that must not be.
///
/// What a test prints is shown only if it fails; a test that did not run has to be seen.
#[track_caller]
pub fn missing(what: &str) {
    assert!(!must_not_skip(), "needs {what}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    let _ = writeln!(std::io::stderr(), "skipped: needs {what} ({test})");
}

/// A count of cases: `small` usually, another one where the variable says so.
pub fn cases(variable: &str, small: usize) -> usize {
    std::env::var(variable).ok().and_then(|n| n.parse().ok()).unwrap_or(small)
}

/// `/usr/bin/python3`, 3.11 or newer; without it the test is skipped.
#[track_caller]
pub fn has_python() -> bool {
    let found = Command::new(PYTHON)
        .args(["-c", "import sys; sys.exit(sys.version_info < (3, 11))"])
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        missing(&format!("{PYTHON}, 3.11 or newer"));
    }
    found
}

/// Whether this is root, whom a test needs for what `why` says (`root, for namespaces`); without the
/// test is skipped.
#[track_caller]
pub fn has_root(why: &str) -> bool {
    // Its folder there belongs to whom the process acts as.
    let found = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !found {
        missing(why);
    }
    found
}

/// A fail2ban that can be run and read.
#[derive(Clone, Debug)]
pub struct Fail2ban {
    /// Folder of its Python modules, for `PYTHONPATH`.
    pub modules: PathBuf,
    /// Its stock configuration.
    pub config: PathBuf,
    /// Folder of its programs.
    pub programs: PathBuf,
    /// Which one it is, for the table: `1.0.2`, `1.1.0`, `1.1.1`.
    pub version: String,
}

impl Fail2ban {
    /// The installed package; without it the test is skipped.
    #[track_caller]
    pub fn installed() -> Option<Fail2ban> {
        let found = has_python().then(|| Self::at(Path::new("/"))).flatten();
        if found.is_none() && Path::new(PYTHON).exists() {
            missing("an installed fail2ban (Debian's package)");
        }
        found
    }

    /// The next generation, 1.1.0: Debian 13's package, unpacked (`tests/fail2ban-1.1.sh`) into the
    /// folder that `SEKISHO_FAIL2BAN_1_1` names, else into `target/fail2ban-1.1`.
    #[track_caller]
    pub fn next() -> Option<Fail2ban> {
        Self::unpacked("SEKISHO_FAIL2BAN_1_1", "fail2ban-1.1")
    }

    /// The newest one, 1.1.1, which has what 1.1.0 lacks (`ignoreip = file:`, `skip_if_nologs`,
    /// `systemd_if_nologs`): the package of Debian's testing, unpacked by the same script into the
    /// folder that `SEKISHO_FAIL2BAN_1_1_1` names, else into `target/fail2ban-1.1.1`.
    #[track_caller]
    pub fn newest() -> Option<Fail2ban> {
        Self::unpacked("SEKISHO_FAIL2BAN_1_1_1", "fail2ban-1.1.1")
    }

    /// All of them, oldest first; those that are not here are reported as missing.
    #[track_caller]
    pub fn all() -> Vec<Fail2ban> {
        [Self::installed(), Self::next(), Self::newest()].into_iter().flatten().collect()
    }

    #[track_caller]
    fn unpacked(variable: &str, name: &str) -> Option<Fail2ban> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target").join(name);
        let root = std::env::var_os(variable).map_or(root, PathBuf::from);
        let found = has_python().then(|| Self::at(&root)).flatten();
        if found.is_none() && Path::new(PYTHON).exists() {
            missing(&format!("{name}, unpacked by tests/fail2ban-1.1.sh"));
        }
        found
    }

    fn at(root: &Path) -> Option<Fail2ban> {
        let modules = root.join("usr/lib/python3/dist-packages");
        let text = std::fs::read_to_string(modules.join("fail2ban/version.py")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("version = "))?;
        let version = line.split(['"', '\'']).nth(1)?.to_owned();
        let config = root.join("etc/fail2ban");
        config.join("jail.conf").exists().then_some(Fail2ban {
            modules,
            config,
            programs: root.join("usr/bin"),
            version,
        })
    }

    /// Python with this fail2ban's modules, not yet started: `-c SCRIPT` follows.
    pub fn python(&self) -> Command {
        let mut command = Command::new(PYTHON);
        command.env("PYTHONPATH", &self.modules).env("PYTHONDONTWRITEBYTECODE", "1");
        command.args(["-X", "utf8"]);
        command
    }

    /// Whether its Python has a module, which `package` brings; without it the test is skipped.
    #[track_caller]
    pub fn has_module(&self, name: &str, package: &str) -> bool {
        let found = self.python().args(["-c", &format!("import {name}")]).status();
        let found = found.is_ok_and(|status| status.success());
        if !found {
            missing(package);
        }
        found
    }

    /// One of its programs, not yet started: `fail2ban-client`, `fail2ban-regex`, ….
    pub fn program(&self, name: &str) -> Command {
        let mut command = self.python();
        command.arg(self.programs.join(name));
        command
    }

    /// Its sample logs, `fail2ban/tests/files/logs`.
    pub fn samples(&self) -> PathBuf {
        self.modules.join("fail2ban/tests/files/logs")
    }
}
