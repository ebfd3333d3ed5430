//! How commands appear in the log: the lines fail2ban writes, because administrators search for them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sekisho_core::action::Invocation;
use sekisho_core::effect::{Level, Record};
use sekisho_core::expr::Number;
use sekisho_core::time::Span;
use sekisho_core::value::{Value, repr_str};

use super::shell::{self, Ended};
use crate::LogFn;

/// Lines logged of each output; a command that fails with more is cut.
const LINES_MAX: usize = 100;
const UTILS: &str = "fail2ban.utils";

/// Ties the lines of one execution together in the log.
static NEXT: AtomicU64 = AtomicU64::new(0x1000_0000);

/// Runs a command and logs what happened, as an error unless it ended with one of `codes`; `None`
/// if it could not be started.
pub fn run(
    command: &Invocation,
    limit: Number,
    codes: &[i32],
    cancel: &AtomicBool,
    log: &LogFn,
) -> Option<Ended> {
    let id = format!("{:x}", NEXT.fetch_add(0x40, Ordering::Relaxed));
    // A negative or absurd limit is no limit to run into by mistake.
    let span = Span::from_secs_f64(limit.as_f64().clamp(0.0, 1e9));
    let ended = match shell::execute(command, span, cancel) {
        Ok(ended) => ended,
        Err(error) => {
            exec_line(&id, command, Level::Error, log);
            let errno = error.raw_os_error().unwrap_or(0);
            say(log, Level::Error, format!("{id} -- failed with [Errno {errno}] {error}"));
            return None;
        }
    };
    let success = ended.good(codes);
    exec_line(&id, command, if success { Level::Trace } else { Level::Error }, log);
    if ended.timed_out {
        let why = if cancel.load(Ordering::Relaxed) {
            "stopped, because the service ends".to_owned()
        } else {
            format!("timed out after {limit} seconds.")
        };
        say(log, Level::Error, format!("{id} -- {why}"));
    }
    let level = if success { Level::Debug } else { Level::Error };
    for (name, bytes) in [("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
        output_lines(&id, name, bytes, level, log);
    }
    let code = ended.code();
    let text = match code {
        code if success => format!("{id} -- returned successfully {code}"),
        code if !(0..=128).contains(&code) => {
            let signal = if code < 0 { -code } else { code - 128 };
            format!("{id} -- killed with {} (return code: {code})", signal_name(signal))
        }
        code => format!("{id} -- returned {code}"),
    };
    say(log, level, text);
    if code == 127 {
        say(log, Level::Info, hint(command));
    }
    Some(ended)
}

fn say(log: &LogFn, level: Level, text: String) {
    log(Record { level, logger: UTILS, text });
}

fn exec_line(id: &str, command: &Invocation, level: Level, log: &LogFn) {
    say(log, level, format!("{id} -- exec: {}", shown(command)));
}

/// A script alone as it is, with parameters as Python shows a list: they are an attacker's text.
fn shown(command: &Invocation) -> String {
    if command.args().is_empty() {
        return command.script().to_owned();
    }
    let words = std::iter::once(command.script()).chain(command.args().iter().map(String::as_str));
    Value::strs(words).repr()
}

fn output_lines(id: &str, name: &str, bytes: &[u8], level: Level, log: &LogFn) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    for line in lines.by_ref().take(LINES_MAX) {
        say(log, level, format!("{id} -- {name}: {}", repr_str(line)));
    }
    let more = lines.count();
    if more > 0 {
        say(log, level, format!("{id} -- {name}: … and {more} more lines"));
    }
}

fn hint(command: &Invocation) -> String {
    let script = repr_str(command.script());
    let path = std::env::var("PATH").unwrap_or_default();
    format!(
        "HINT on 127: \"Command not found\".  Some command of {script} is not in this process's \
         PATH ({path}): install it, or give its full path in the action."
    )
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
