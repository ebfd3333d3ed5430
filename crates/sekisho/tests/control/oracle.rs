//! Runs the installed Python and fail2ban, or says loudly that it cannot.

use std::io::Write;
use std::process::{Command, Stdio};

use sekisho_oracle::{Fail2ban, PYTHON};

/// Whether fail2ban and its Python are there.
pub fn available() -> bool {
    Fail2ban::installed().is_some()
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
