//! A machine without a network: no name has an address there, whatever this machine can resolve.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::missing;

/// The same command in a network namespace of its own that has no interface; without the right to
/// make one the test is skipped. The folder it starts in is this process's.
#[track_caller]
pub fn offline(command: &Command) -> Option<Command> {
    static WAY: OnceLock<Option<&str>> = OnceLock::new();
    let works = |way: &&str| {
        let mut command = Command::new("unshare");
        command.args([way, "true"]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    // As root, else in a user namespace of its own.
    let Some(way) = *WAY.get_or_init(|| ["-n", "-rn"].into_iter().find(works)) else {
        missing("a network namespace of its own (unshare -n)");
        return None;
    };
    let mut inside = Command::new("unshare");
    inside.arg(way).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    Some(inside)
}
