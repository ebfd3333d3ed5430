//! The programs' front: `fail2ban-client`, `fail2ban-server`, and what `sekisho` shares with them.
//!
//! It parses the command line, reads the configuration where a command needs it, talks to the
//! server, and prints what fail2ban prints, with its exit codes: 0, or 255 on any failure. It never
//! decides what a command means: all that it does not know goes to the server as it is.

mod configuration;
mod follow;
mod interactive;
mod json;
mod link;
mod start;

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sekisho_core::command::{CommandError, ErrorClass};
use sekisho_core::effect::{Level, Record};
use sekisho_core::value::Value;

use crate::cli::{self, Key, Parsed};
use crate::control::pickle::Reply;
use crate::control::socket::EVENTS;
use crate::control::text;
use crate::log::FAIL2BAN_VERSION;
pub use configuration::Settings;
pub use link::{Link, LinkError};
pub use start::{Launch, background};

/// The exit code of every failure.
pub const FAILURE: u8 = 255;

/// Under which name we were called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `fail2ban-client`
    Client,
    /// `fail2ban-server`: without a command it starts.
    Server,
    /// `sekisho`
    Sekisho,
}

impl Program {
    /// Its name in texts.
    pub fn name(self) -> &'static str {
        match self {
            Program::Client => "fail2ban-client",
            Program::Server => "fail2ban-server",
            Program::Sekisho => "sekisho",
        }
    }
}

/// Runs the server in this process until it ends; its exit code.
pub type Daemon = fn(Launch) -> u8;

/// Runs a command line; the exit code.
pub fn main(program: Program, args: &[String], daemon: Daemon) -> u8 {
    let parsed = match cli::parse(args) {
        Ok(parsed) => parsed,
        Err(error) => {
            print(&usage(program));
            complain_plainly(&error.to_string());
            return init_failed();
        }
    };
    if let Some(code) = answer_at_once(program, &parsed) {
        return code;
    }
    let asks = [Key::Test, Key::Dump, Key::DumpPretty, Key::Interactive];
    if parsed.command.is_empty()
        && program != Program::Server
        && !asks.iter().any(|k| parsed.has(*k))
    {
        print(&usage(program));
        return FAILURE;
    }
    let verbosity = 1 + parsed.count(Key::Verbose) as i64 - parsed.count(Key::Quiet) as i64;
    let settings = match Settings::read(program, &parsed) {
        Ok(settings) => settings,
        Err(error) => {
            print(&format!("ERROR: {error}"));
            say(Level::Error, "Init of command line failed");
            return FAILURE;
        }
    };
    let client = Client { program, parsed, settings, verbosity, daemon };
    client.tell(Level::Info, || format!("Using socket file {}", client.settings.socket));
    client.tell(Level::Info, || {
        let s = &client.settings;
        format!("Using pid file {}, [{}] logging to {}", s.pidfile, s.log.level, s.log.target)
    });
    if client.run() { 0 } else { FAILURE }
}

/// Options that print something and end, or cannot be read, in the order given.
fn answer_at_once(program: Program, parsed: &Parsed) -> Option<u8> {
    for (key, value) in &parsed.options {
        match (key, program) {
            (Key::Help, _) => print(&usage(program)),
            (Key::ShortVersion, Program::Sekisho) => print(env!("CARGO_PKG_VERSION")),
            (Key::Version, Program::Sekisho) => {
                print(&format!("sekisho {}", env!("CARGO_PKG_VERSION")));
            }
            (Key::ShortVersion, _) => print(FAIL2BAN_VERSION),
            (Key::Version, _) => print(&format!("Fail2Ban v{FAIL2BAN_VERSION}")),
            (Key::Seconds | Key::Timeout, _) => match sekisho_core::duration::parse(value) {
                Ok(seconds) if *key == Key::Seconds => print(&seconds.to_string()),
                Ok(_) => continue,
                Err(error) => {
                    print(&format!("ERROR: {}", error.reason));
                    return Some(init_failed());
                }
            },
            _ => continue,
        }
        return Some(0);
    }
    None
}

fn usage(program: Program) -> String {
    let text = cli::usage(program.name(), program != Program::Server);
    text.trim_end().to_owned()
}

fn init_failed() -> u8 {
    complain_plainly("Init of command line failed");
    FAILURE
}

/// One run of the program.
struct Client {
    program: Program,
    parsed: Parsed,
    settings: Settings,
    /// 1 is normal, `-v` adds, `-q` takes away.
    verbosity: i64,
    daemon: Daemon,
}

impl Client {
    fn run(&self) -> bool {
        let pretty = self.parsed.has(Key::DumpPretty);
        let dump = (pretty || self.parsed.has(Key::Dump)).then_some(pretty);
        let command: Vec<&str> = self.parsed.command.iter().map(String::as_str).collect();
        if self.parsed.has(Key::Test) {
            if !self.test(dump) {
                return false;
            }
            if command.is_empty() && !self.parsed.has(Key::Interactive) {
                print("OK: configuration test is successful");
                return true;
            }
        } else if let Some(pretty) = dump {
            return self.dump(pretty);
        }
        if self.parsed.has(Key::Interactive) {
            return interactive::run(self, &command);
        }
        match (command.as_slice(), self.program) {
            ([], Program::Server) => self.process(&["start"]),
            (command, _) => self.process(command),
        }
    }

    /// Runs one command; whether it succeeded.
    fn process(&self, command: &[&str]) -> bool {
        if self.program == Program::Sekisho && command.contains(&"--json") {
            let command: Vec<&str> = command.iter().copied().filter(|w| *w != "--json").collect();
            return self.json(&command);
        }
        if self.program == Program::Sekisho && command == [EVENTS] {
            return self.follow();
        }
        match command {
            ["start"] => self.start(None),
            ["restart"] => self.restart(),
            // Only a jail can be restarted with options; what is left is a reload.
            ["restart", rest @ ..] => self.reload(rest, true),
            ["reload", rest @ ..] => self.reload(rest, false),
            ["ping", ..] => self.ping(command),
            command => self.send(&Value::strs(command.iter().copied()), true),
        }
    }

    /// `ping [TIMEOUT]`
    fn ping(&self, command: &[&str]) -> bool {
        let limit = match command.get(1).map(|text| (text, text.parse::<f64>())) {
            None => None,
            Some((_, Ok(seconds))) => Duration::try_from_secs_f64(seconds).ok(),
            Some((text, Err(_))) => {
                let text = sekisho_core::value::repr_str(text);
                say(Level::Error, &format!("could not convert string to float: {text}"));
                return false;
            }
        };
        let command = Value::strs(command.iter().copied());
        match self.ask(&command, limit) {
            Ok(reply) => self.show(&command, &reply, true),
            Err(error) => self.no_answer(&error, error.to_string()),
        }
    }

    /// Sends a command and prints the answer.
    fn send(&self, command: &Value, with_text: bool) -> bool {
        match self.ask(command, None) {
            Ok(reply) => self.show(command, &reply, with_text),
            Err(error @ LinkError::Unreachable(_)) => {
                let text = format!("[{error}] Unable to contact server. Is it running?");
                self.no_answer(&error, text)
            }
            Err(error) => self.no_answer(&error, error.to_string()),
        }
    }

    fn no_answer(&self, error: &LinkError, text: String) -> bool {
        say(Level::Error, &text);
        // Under fail2ban's names the output stays fail2ban's.
        let down = matches!(error, LinkError::NoSocket(_) | LinkError::Unreachable(_));
        if down && self.program == Program::Sekisho {
            complain_plainly(
                "Nothing guards this machine now: `sekisho run` does, or name the server's socket with -s.",
            );
        }
        false
    }

    fn ask(&self, command: &Value, limit: Option<Duration>) -> Result<Reply, LinkError> {
        Link::open(self.socket(), limit)?.ask(command)
    }

    /// Prints an answer; whether it is a good one.
    fn show(&self, command: &Value, reply: &Reply, with_text: bool) -> bool {
        let words = match command {
            Value::List(words) => words.as_slice(),
            _ => &[],
        };
        match reply {
            Reply::Done(value) => {
                if with_text {
                    print(&text::reply(words, value, unicode_output()));
                }
                true
            }
            Reply::Failed(error) => {
                self.not_ok(error, with_text);
                false
            }
            Reply::Other(value) => {
                say(Level::Error, &format!("The server answered: {}", value.to_text()));
                false
            }
        }
    }

    fn not_ok(&self, error: &CommandError, with_text: bool) {
        say(Level::Error, &text::not_ok(error));
        if with_text {
            print(&text::error(error));
        }
        // Under fail2ban's names the output stays fail2ban's.
        if self.program == Program::Sekisho && error.class == ErrorClass::IndexError {
            complain_plainly("Words are missing; `sekisho -h` lists what each command needs.");
        }
    }

    /// Says something on standard error, if `-v` and `-q` allow it.
    fn tell(&self, level: Level, text: impl FnOnce() -> String) {
        let wanted = match level {
            Level::Error | Level::Critical => i64::MIN,
            Level::Warning | Level::Notice => 1,
            Level::Info => 2,
            _ => 3,
        };
        if self.verbosity >= wanted {
            say(level, &text());
        }
    }
}

/// A line in the log's format on standard error.
fn say(level: Level, text: &str) {
    let record = Record { level, logger: "fail2ban", text: text.to_owned() };
    let line = crate::log::line(crate::clock::now().wall, &crate::clock::zone(), &record);
    complain_plainly(&line);
}

pub(crate) fn complain_plainly(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Whether something printed was lost.
static LOST: AtomicBool = AtomicBool::new(false);

/// Prints on standard output. A reader that has gone has seen enough; a full disk is a failure of
/// the program, see [`output_lost`].
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain_plainly(&format!("cannot write to standard output: {error}"));
            LOST.store(true, Ordering::Relaxed);
        }
        _ => {}
    }
}

/// Whether something could not be printed: a script that reads it must not take it for all there is.
pub(crate) fn output_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Whether line drawing can be printed: only a locale that names another encoding forbids it.
fn unicode_output() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
        .unwrap_or_default()
        .to_ascii_lowercase();
    locale.split_once('.').is_none_or(|(_, e)| e.starts_with("utf-8") || e.starts_with("utf8"))
}
