//! The `fail2ban-regex` program; everything it does is in the library.
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    ExitCode::from(sekisho::regex_tool::main(&args))
}
