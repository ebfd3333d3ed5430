//! Actions written in Python: stock ones, fail2ban's own test files, and users' of several styles.
//! What they are told, do, log and answer must be what it is in fail2ban.

mod failures;
mod mails;
mod oracle;
mod smtp;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use sekisho_core::effect::{ActionSpec, PythonSpec};

/// Whether the python3 that actions would be run with is there; without it the test is skipped.
#[track_caller]
pub fn python() -> bool {
    let found = Command::new("python3")
        .args(["-c", "import sys; sys.exit(sys.version_info < (3, 6))"])
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        sekisho_oracle::missing("python3 on PATH, 3.6 or newer");
    }
    found
}

/// One of the actions beside this file.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/action/python/data").join(name)
}

/// A Python action.
pub fn action(file: &Path, params: &str) -> Arc<ActionSpec> {
    let file = file.to_str().unwrap().to_owned();
    let python = PythonSpec { file: file.clone(), params: params.to_owned() };
    let name = "act".to_owned();
    Arc::new(ActionSpec { name, file: Some(file), python: Some(python), ..ActionSpec::default() })
}
