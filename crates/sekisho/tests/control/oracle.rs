//! Scripts for the installed fail2ban's Python.

use std::io::Write;
use std::process::Stdio;

use sekisho_oracle::Fail2ban;

/// Runs a script with `input`; its standard output.
pub fn python(fail2ban: &Fail2ban, script: &str, input: &str) -> String {
    let mut child = fail2ban
        .python()
        .arg("-c")
        .arg(script)
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
