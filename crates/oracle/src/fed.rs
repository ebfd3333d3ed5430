//! Programs that read their standard input.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// Runs a command with `input` as its standard input; it need not read all of it. As with
/// [`Command::output`], standard output and standard error are piped unless the caller has set them:
/// who wants to see what a program complains about says `stderr(Stdio::inherit())`.
#[track_caller]
pub fn fed(command: &mut Command, input: &[u8]) -> Output {
    let (reader, mut writer) = std::io::pipe().unwrap();
    command.stdin(reader);
    // Written by another thread: the program may have to be read before it reads on.
    let output = std::thread::scope(|scope| {
        scope.spawn(move || drop(writer.write_all(input)));
        let output = command.output();
        // The command keeps its end of the pipe, and what nobody has read would be waited for.
        command.stdin(Stdio::null());
        output
    });
    output.unwrap()
}
