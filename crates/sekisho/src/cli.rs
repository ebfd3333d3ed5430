//! The command line of `fail2ban-client`, `fail2ban-server` and `sekisho`: one table of options.
//!
//! The usage text and the manual page are made from [`OPTIONS`] and [`COMMANDS`], so that they
//! cannot differ from what is parsed. Parsing follows getopt: options come before the command, short
//! ones may be joined, long ones shortened while they stay unambiguous.

mod commands;
pub mod completion;
mod manual;

pub use commands::{COMMANDS, CommandHelp, OWN_COMMANDS};
pub use manual::{PROGRAMS, manual};

/// What an option does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `-c`
    Conf,
    /// `-s`
    Socket,
    /// `-p`
    PidFile,
    /// `--pname`
    ProcessName,
    /// `--loglevel`
    LogLevel,
    /// `--logtarget`
    LogTarget,
    /// `--syslogsocket`
    SyslogSocket,
    /// `-d`
    Dump,
    /// `--dp`
    DumpPretty,
    /// `-t`
    Test,
    /// `-i`
    Interactive,
    /// `-v`
    Verbose,
    /// `-q`
    Quiet,
    /// `-x`
    Force,
    /// `-b`
    Background,
    /// `-f`
    Foreground,
    /// `--async`
    Async,
    /// `--timeout`
    Timeout,
    /// `--str2sec`
    Seconds,
    /// `-h`
    Help,
    /// `-V`
    ShortVersion,
    /// `--version`
    Version,
}

/// One row of the option table.
#[derive(Clone, Copy, Debug)]
pub struct CliOption {
    /// What it does.
    pub key: Key,
    /// Its letter.
    pub short: Option<char>,
    /// Its long names.
    pub long: &'static [&'static str],
    /// The name of its argument, if it takes one.
    pub argument: Option<&'static str>,
    /// What the usage text says.
    pub help: &'static str,
}

const fn option(
    key: Key,
    short: Option<char>,
    long: &'static [&'static str],
    argument: Option<&'static str>,
    help: &'static str,
) -> CliOption {
    CliOption { key, short, long, argument, help }
}

/// All options.
pub const OPTIONS: &[CliOption] = &[
    option(Key::Conf, Some('c'), &["conf"], Some("DIR"), "folder of the configuration"),
    option(Key::Socket, Some('s'), &["socket"], Some("FILE"), "control socket"),
    option(
        Key::PidFile,
        Some('p'),
        &["pidfile"],
        Some("FILE"),
        "file that holds the server's process id",
    ),
    option(
        Key::ProcessName,
        None,
        &["pname"],
        Some("NAME"),
        "name of the server's process (fail2ban-server)",
    ),
    option(Key::LogLevel, None, &["loglevel"], Some("LEVEL"), "how much is logged"),
    option(
        Key::LogTarget,
        None,
        &["logtarget"],
        Some("TARGET"),
        "where the log goes: a file, stdout, stderr, syslog, sysout or systemd-journal",
    ),
    option(
        Key::SyslogSocket,
        None,
        &["syslogsocket"],
        Some("auto|FILE"),
        "socket of the system log",
    ),
    option(Key::Dump, Some('d'), &[], None, "print the configuration as commands, and end"),
    option(Key::DumpPretty, None, &["dp", "dump-pretty"], None, "the same, laid out for reading"),
    option(
        Key::Test,
        Some('t'),
        &["test"],
        None,
        "check the configuration (alone, or before the command)",
    ),
    option(Key::Interactive, Some('i'), &[], None, "read commands from standard input"),
    option(Key::Verbose, Some('v'), &[], None, "say more (again: still more)"),
    option(Key::Quiet, Some('q'), &[], None, "say less"),
    option(Key::Force, Some('x'), &[], None, "start even if the socket exists, and replace it"),
    option(Key::Background, Some('b'), &[], None, "start the server in the background (default)"),
    option(Key::Foreground, Some('f'), &[], None, "start the server in the foreground"),
    option(
        Key::Async,
        None,
        &["async"],
        None,
        "start the server without configuring it (for other clients)",
    ),
    option(
        Key::Timeout,
        None,
        &["timeout"],
        Some("TIME"),
        "how long to wait for the server to start (30)",
    ),
    option(
        Key::Seconds,
        None,
        &["str2sec"],
        Some("TIME"),
        "print a time like 1d12h in seconds, and end",
    ),
    option(Key::Help, Some('h'), &["help"], None, "print this text, and end"),
    option(Key::ShortVersion, Some('V'), &[], None, "print the version, short"),
    option(Key::Version, None, &["version"], None, "print the version"),
];

/// A parsed command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Options in the order given.
    pub options: Vec<(Key, String)>,
    /// The command and its words.
    pub command: Vec<String>,
}

impl Parsed {
    /// The last value given for an option.
    pub fn value(&self, key: Key) -> Option<&str> {
        self.options.iter().rev().find(|(k, _)| *k == key).map(|(_, v)| v.as_str())
    }
    /// Whether an option was given.
    pub fn has(&self, key: Key) -> bool {
        self.value(key).is_some()
    }
    /// How often an option was given.
    pub fn count(&self, key: Key) -> usize {
        self.options.iter().filter(|(k, _)| *k == key).count()
    }
}

/// Why a command line was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CliError {
    /// No such option.
    #[error("option {0} not recognized")]
    Unknown(String),
    /// A shortened option that could be several.
    #[error("option {0} not a unique prefix")]
    Ambiguous(String),
    /// Its argument is missing.
    #[error("option {0} requires argument")]
    NoArgument(String),
    /// It takes no argument.
    #[error("option {0} must not have an argument")]
    Argument(String),
}

/// Parses a command line, without the program's name.
pub fn parse(args: &[String]) -> Result<Parsed, CliError> {
    let mut parsed = Parsed::default();
    let mut rest = args.iter();
    while let Some(arg) = rest.clone().next() {
        if arg == "--" {
            rest.next();
            break;
        }
        let Some(text) = arg.strip_prefix('-').filter(|t| !t.is_empty()) else { break };
        rest.next();
        if let Some(long) = text.strip_prefix('-') {
            let (name, given) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let found = find_long(name)?;
            let shown = || format!("--{name}");
            let value = match (found.argument, given) {
                (None, None) => String::new(),
                (None, Some(_)) => return Err(CliError::Argument(shown())),
                (Some(_), Some(value)) => value,
                (Some(_), None) => {
                    rest.next().cloned().ok_or_else(|| CliError::NoArgument(shown()))?
                }
            };
            parsed.options.push((found.key, value));
            continue;
        }
        let mut letters = text;
        while let Some(letter) = letters.chars().next() {
            letters = letters.strip_prefix(letter).unwrap_or_default();
            let shown = || format!("-{letter}");
            let found = OPTIONS.iter().find(|o| o.short == Some(letter));
            let found = found.ok_or_else(|| CliError::Unknown(shown()))?;
            let value = match found.argument {
                None => String::new(),
                Some(_) if !letters.is_empty() => std::mem::take(&mut letters).to_owned(),
                Some(_) => rest.next().cloned().ok_or_else(|| CliError::NoArgument(shown()))?,
            };
            parsed.options.push((found.key, value));
        }
    }
    parsed.command = rest.cloned().collect();
    Ok(parsed)
}

fn find_long(name: &str) -> Result<&'static CliOption, CliError> {
    if let Some(exact) = OPTIONS.iter().find(|o| o.long.contains(&name)) {
        return Ok(exact);
    }
    let mut close = OPTIONS.iter().filter(|o| o.long.iter().any(|l| l.starts_with(name)));
    match (close.next(), close.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(CliError::Unknown(format!("--{name}"))),
        (Some(_), Some(_)) => Err(CliError::Ambiguous(format!("--{name}"))),
    }
}

/// The usage text: `program` is the name it was called by.
pub fn usage(program: &str, with_commands: bool) -> String {
    let arguments = if with_commands { "[OPTIONS] <COMMAND>" } else { "[OPTIONS]" };
    let mut out = format!("Usage: {program} {arguments}\n\n{}\n\nOptions:\n", purpose(program));
    for option in OPTIONS {
        out.push_str(&format!("    {:<28} {}\n", option.synopsis(), wrapped(option.help, 33)));
    }
    if with_commands {
        out.push_str("\nCommand:\n");
        for row in commands_of(program) {
            match row {
                CommandHelp::Title(title) => out.push_str(&format!("\n{:45}{title}\n", "")),
                // What is too long for its column has a line of its own.
                CommandHelp::Command(synopsis, help) if synopsis.len() > 40 => {
                    out.push_str(&format!("    {synopsis}\n{:45}{}\n", "", wrapped(help, 45)));
                }
                CommandHelp::Command(synopsis, help) => {
                    out.push_str(&format!("    {synopsis:<40} {}\n", wrapped(help, 45)));
                }
            }
        }
    }
    out
}

/// A text in lines that a terminal does not break, for a column that begins at `indent`.
fn wrapped(text: &str, indent: usize) -> String {
    const WIDTH: usize = 110;
    let (mut out, mut column) = (String::new(), indent);
    for word in text.split(' ') {
        let length = word.chars().count();
        if column + 1 + length > WIDTH && !out.is_empty() {
            out.push_str(&format!("\n{:indent$}", ""));
            column = indent;
        } else if !out.is_empty() {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

/// The commands that a program lists.
fn commands_of(program: &str) -> impl Iterator<Item = &'static CommandHelp> {
    let own = if program == "sekisho" { OWN_COMMANDS } else { &[] };
    own.iter().chain(COMMANDS)
}

/// What `-h` and `-i` say the program is.
pub fn purpose(program: &str) -> String {
    let who = match program {
        "sekisho" => format!("sekisho {}", env!("CARGO_PKG_VERSION")),
        _ => format!("Fail2Ban v{}", crate::log::FAIL2BAN_VERSION),
    };
    format!("{who} reads logs, recognises attacks, and has the attackers blocked.")
}

impl CliOption {
    /// `-c, --conf <DIR>`
    pub fn synopsis(&self) -> String {
        let short = self.short.map(|c| format!("-{c}"));
        let long = self.long.iter().map(|l| format!("--{l}"));
        let names: Vec<String> = short.into_iter().chain(long).collect();
        let argument = self.argument.map(|a| format!(" <{a}>")).unwrap_or_default();
        names.join(", ") + &argument
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        for (line, expected) in [
            ("status", Ok("| status")),
            ("-xf start", Ok("Force Foreground | start")),
            ("-c/etc/x -s /s ping 3", Ok("Conf=/etc/x Socket=/s | ping 3")),
            ("--conf=/etc/x --sock /s --dump", Ok("Conf=/etc/x Socket=/s DumpPretty |")),
            ("-vvc d -q", Ok("Verbose Verbose Conf=d Quiet |")),
            ("set -x", Ok("| set -x")),
            ("-- -x", Ok("| -x")),
            ("- x", Ok("| - x")),
            ("--str2sec 1h 2h", Ok("Seconds=1h | 2h")),
            ("--log x", Err("option --log not a unique prefix")),
            ("--nope", Err("option --nope not recognized")),
            ("-z", Err("option -z not recognized")),
            ("-c", Err("option -c requires argument")),
            ("--conf", Err("option --conf requires argument")),
            ("--test=1", Err("option --test must not have an argument")),
        ] {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let shown = parse(&args).map(|p| {
                let options = p.options.iter().map(|(k, v)| {
                    if v.is_empty() { format!("{k:?} ") } else { format!("{k:?}={v} ") }
                });
                let text = options.collect::<String>() + "| " + &p.command.join(" ");
                text.trim_end().to_owned()
            });
            assert_eq!(
                shown.map_err(|e| e.to_string()),
                expected.map(str::to_owned).map_err(str::to_owned)
            );
        }
    }

    #[test]
    fn every_option_is_in_usage_and_manual() {
        let (usage, manual) = (usage("fail2ban-client", true), manual("sekisho").unwrap());
        for option in OPTIONS {
            assert!(usage.contains(&option.synopsis()));
            for long in option.long {
                assert!(manual.contains(&format!("\\-\\-{}", long.replace('-', "\\-"))), "{long}");
            }
        }
        assert!(usage.starts_with("Usage: fail2ban-client [OPTIONS] <COMMAND>\n"));
    }
}
