//! Which program we are: decided by the name we were called by, so that one binary with symlinks
//! serves all of them.

use std::io::{self, Write};

use crate::cli::{self, CommandHelp};
use crate::client::{self, Daemon, Program};
use crate::control::socket::EVENTS;
use crate::process;
use crate::takeover;

/// The parts that the front does not contain.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Runs the server in this process.
    pub daemon: Daemon,
    /// `sekisho run`
    pub run: fn(&[String]) -> u8,
    /// `fail2ban-regex`
    pub regex: fn(&[String]) -> u8,
}

/// Commands that only programs send.
const UNLISTED: &[&str] = &[
    "server-status",
    "server-stream",
    "multi-set",
    "config-error",
    "sleep",
    "statistic",
    "statistics",
    "get",
    "set",
];

/// Which of our programs was called: `name` without its path, or `own` if it is none of ours.
pub fn base<'a>(own: &'a str, name: &'a str) -> &'a str {
    let base = name.rsplit('/').next().unwrap_or_default();
    match base {
        "fail2ban-client" | "fail2ban-server" | "fail2ban-regex" | "fail2ban-python"
        | "sekisho" => base,
        _ => own,
    }
}

/// Runs the program called `name` (its path is cut off) with its arguments; the exit code. A name
/// that is none of ours is `own`, the name that this binary was built under.
pub fn main(own: &str, name: &str, args: &[String], parts: Parts) -> u8 {
    if let Some((first, rest)) = args.split_first()
        && first == process::BACKGROUND
    {
        return client::background(rest, parts.daemon);
    }
    let code = match base(own, name) {
        "fail2ban-client" => client::main(Program::Client, args, parts.daemon),
        "fail2ban-server" => client::main(Program::Server, args, parts.daemon),
        "fail2ban-regex" => (parts.regex)(args),
        _ => sekisho(args, parts),
    };
    if code == 0 && client::output_lost() { client::FAILURE } else { code }
}

fn sekisho(args: &[String], parts: Parts) -> u8 {
    let (first, rest) = match args.split_first() {
        Some((first, rest)) => (first.as_str(), rest),
        None => ("", args),
    };
    match first {
        "run" => (parts.run)(rest),
        "regex" => (parts.regex)(rest),
        "server" => client::main(Program::Server, rest, parts.daemon),
        "manual" => {
            let program = rest.first().map_or("sekisho", String::as_str);
            let Some(page) = cli::manual(program) else {
                let text = format!("sekisho: there is no manual page of {program:?}");
                let _ = writeln!(io::stderr(), "{text}; try `sekisho manual fail2ban-client`");
                return client::FAILURE;
            };
            client::print(page.trim_end());
            0
        }
        "check" => takeover::main(rest),
        // Where no server runs, help is needed most.
        "help" => client::main(Program::Sekisho, &["-h".to_owned()], parts.daemon),
        "completion" if rest == ["bash"] => {
            client::print(cli::completion::bash().trim_end());
            0
        }
        "completion" => {
            let _ = writeln!(
                io::stderr(),
                "sekisho: there is completion for bash: `sekisho completion bash`"
            );
            client::FAILURE
        }
        word if word.is_empty() || word.starts_with('-') || is_command(word) || word == EVENTS => {
            client::main(Program::Sekisho, args, parts.daemon)
        }
        unknown => {
            let text = format!(
                "sekisho: there is no command {unknown:?}; `sekisho -h` lists them, `sekisho run` starts guarding"
            );
            let _ = writeln!(io::stderr(), "{text}");
            client::FAILURE
        }
    }
}

/// Whether a word begins a command that the client or the server knows.
fn is_command(word: &str) -> bool {
    let listed = cli::COMMANDS.iter().any(|row| match row {
        CommandHelp::Command(synopsis, _) => synopsis.split(' ').next() == Some(word),
        CommandHelp::Title(_) => false,
    });
    listed || UNLISTED.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: Parts = Parts { daemon: |_| 1, run: |args| 10 + args.len() as u8, regex: |_| 3 };

    #[test]
    fn names_and_subcommands() {
        for (name, line, expected) in [
            ("sekisho", "run -c x", 12),
            ("/usr/bin/sekisho", "regex a b", 3),
            ("/usr/bin/fail2ban-regex", "a b", 3),
            ("/usr/bin/fail2ban-client", "-V", 0),
            ("fail2ban-server", "--version", 0),
            ("something-else", "run", 10),
            ("sekisho", "nonsense", 255),
            ("sekisho", "--version", 0),
            ("sekisho", "help", 0),
            ("sekisho", "server -V", 0),
            ("sekisho", "manual nonsense", 255),
        ] {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(main("sekisho", name, &args, PARTS), expected, "{name} {line}");
        }
        for word in ["status", "get", "unban", "stats", "server-stream"] {
            assert!(is_command(word), "{word}");
        }
        assert!(!is_command("SERVER") && !is_command("run"));
    }
}
