//! Scripts for the installed fail2ban's Python.

use std::process::Stdio;

use sekisho_oracle::{Fail2ban, fed};

/// Runs a script with `input`; its standard output.
pub fn python(fail2ban: &Fail2ban, script: &str, input: &str) -> String {
    let mut command = fail2ban.python();
    let output = fed(command.arg("-c").arg(script).stderr(Stdio::inherit()), input.as_bytes());
    assert!(output.status.success(), "python failed");
    String::from_utf8(output.stdout).unwrap()
}
