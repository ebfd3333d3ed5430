//! Runs the installed Python and fail2ban, or says loudly that it cannot.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const PYTHON: &str = "/usr/bin/python3";

/// Whether `/usr/bin/python3` is there, and fail2ban's modules in it. In our own checks a missing
/// one is a failure.
pub fn available(test: &str) -> bool {
    let there = Path::new(PYTHON).exists()
        && Command::new(PYTHON)
            .args(["-c", "import fail2ban.client.csocket"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success());
    if !there {
        assert!(std::env::var_os("SEKISHO_CI").is_none(), "{test} needs python3 and fail2ban");
        eprintln!("{test} skipped: needs {PYTHON} with fail2ban's modules");
    }
    there
}

/// Runs a script with `input`; its standard output.
pub fn python(script: &str, args: &[&str], input: &str) -> String {
    let mut child = Command::new(PYTHON)
        .arg("-c")
        .arg(script)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    assert!(output.status.success(), "python failed");
    String::from_utf8(output.stdout).unwrap()
}
