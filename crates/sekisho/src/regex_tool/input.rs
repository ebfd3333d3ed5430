//! What is tested: a file, standard input, the journal, or the text of the argument itself.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use sekisho_config::params;
use sekisho_core::command::Origin;
use sekisho_core::time::Timestamp;

use super::options::Options;
use super::progress::{Count, Counted};
use crate::client::complain_plainly;
use crate::source::encoding::{Encoding, Layout};
use crate::source::journal::command::{From, Journal};
use crate::source::journal::entry::Parser;

/// A journal entry or log line is read up to this size; the rest of it is dropped.
const MAX_LINE: u64 = 1 << 20;
/// Files in an encoding with several bytes per newline are decoded whole, up to this size.
const MAX_DECODED: u64 = 1 << 30;

/// Where lines come from.
#[derive(Debug)]
pub(super) enum Input {
    File(File, String),
    Stdin,
    Journal(Vec<String>),
    Text(String),
}

/// Decides what `log` is, and opens it, so that a missing right is reported before anything is printed of a summary.
pub(super) fn open(log: &str, journalmatch: &[Vec<String>]) -> io::Result<Input> {
    let file = || {
        let opened = File::open(log);
        let file = opened.map_err(|e| io::Error::new(e.kind(), format!("{log}: {e}")))?;
        Ok(Input::File(file, log.to_owned()))
    };
    if Path::new(log).is_file() {
        return file();
    }
    // A terminal would wait for typing; then `-` is a line like any other, as it always was.
    if log == "-" && !io::stdin().is_terminal() {
        return Ok(Input::Stdin);
    }
    // A pipe given by name (`/dev/stdin`, process substitution) is no text either.
    if log.starts_with('/') && Path::new(log).exists() && !Path::new(log).is_dir() {
        return file();
    }
    if is_journal(log) {
        return Ok(Input::Journal(journalctl_args(log, journalmatch)?));
    }
    if looks_like_a_path(log) {
        let what = if Path::new(log).is_dir() { "is a folder" } else { "does not exist" };
        complain_plainly(&format!("{log} {what}: it is taken for a log line"));
    }
    Ok(Input::Text(log.to_owned()))
}

/// Whether somebody meant a file: a log line is longer than a word, and begins with no slash.
fn looks_like_a_path(log: &str) -> bool {
    let path = log.starts_with(['/', '.']) || Path::new(log).is_dir();
    path && !log.contains(char::is_whitespace)
}

/// Whether `log` names the journal.
pub(super) fn is_journal(log: &str) -> bool {
    log.starts_with("systemd-journal")
}

/// Prints where lines come from.
pub(super) fn describe(
    input: &Input,
    out: &mut dyn Write,
    options: &Options,
    maxlines: usize,
    journalmatch: &[Vec<String>],
) -> io::Result<()> {
    match input {
        Input::File(_, path) => {
            writeln!(out, "Use         log file : {path}")?;
            writeln!(out, "Use         encoding : {}", options.encoding)
        }
        Input::Stdin => {
            writeln!(out, "Use         log file : standard input")?;
            writeln!(out, "Use         encoding : {}", options.encoding)
        }
        Input::Journal(_) => {
            writeln!(out, "Use         systemd journal")?;
            writeln!(out, "Use         encoding : {}", options.encoding)?;
            if journalmatch.is_empty() {
                return Ok(());
            }
            let groups: Vec<String> = journalmatch.iter().map(|words| words.join(" ")).collect();
            writeln!(out, "Use    journal match : {}", groups.join(" + "))
        }
        Input::Text(text) if maxlines <= 1 && !text.contains('\n') => {
            writeln!(out, "Use      single line : {}", shorten(text))
        }
        Input::Text(text) => {
            let lines: Vec<&str> = text.split('\n').collect();
            writeln!(out, "Use      multi line : {} line(s)", lines.len())?;
            for (index, line) in lines.iter().enumerate() {
                if index >= 5 {
                    writeln!(out, "| ...")?;
                    break;
                }
                writeln!(out, "| {:>2}: {}", index.saturating_add(1), shorten(line))?;
            }
            writeln!(out, "`-")
        }
    }
}

/// At most 53 characters of a text.
pub(super) fn shorten(text: &str) -> String {
    if text.chars().count() <= 53 {
        return text.to_owned();
    }
    text.chars().take(50).chain("...".chars()).collect()
}

/// How many bytes there are to be read, where that is known.
pub(super) fn size(input: &Input) -> Option<u64> {
    match input {
        Input::File(file, _) => file.metadata().ok().filter(Metadata::is_file).map(|m| m.len()),
        _ => None,
    }
}

/// Hands every line to `each`, without its line end; journal entries with their time.
pub(super) fn read(
    input: Input,
    encoding: &str,
    count: Count,
    each: &mut dyn FnMut(&str, Option<Timestamp>) -> io::Result<()>,
) -> io::Result<()> {
    match input {
        Input::Text(text) => text.split('\n').try_for_each(|line| each(line, None)),
        Input::File(file, _) => read_lines(Counted(file, count), encoding, each),
        Input::Stdin => read_lines(Counted(io::stdin().lock(), count), encoding, each),
        Input::Journal(args) => read_journal(&args, each),
    }
}

fn read_lines(
    source: impl Read,
    encoding: &str,
    each: &mut dyn FnMut(&str, Option<Timestamp>) -> io::Result<()>,
) -> io::Result<()> {
    let codec = Encoding::from_python_name(encoding).ok_or_else(|| {
        io::Error::other(format!(
            "unknown encoding: {encoding}; use a name such as utf-8, latin-1, cp1252 or utf-16"
        ))
    })?;
    let mut reader = BufReader::with_capacity(1 << 18, source);
    let (layout, mark) = Layout::of(codec, reader.fill_buf()?);
    reader.consume(usize::try_from(mark).unwrap_or(0));
    let mut decoded = Vec::new();
    if layout.unit() > 1 {
        // A newline is not one byte here.
        let mut raw = Vec::new();
        reader.take(MAX_DECODED).read_to_end(&mut raw)?;
        layout.decode(&raw, &mut decoded);
        return decoded
            .split_inclusive(|b| *b == b'\n')
            .try_for_each(|line| each(&String::from_utf8_lossy(line), None));
    }
    let mut raw = Vec::new();
    loop {
        raw.clear();
        // The last line counts even if its newline is missing.
        if reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut raw)? == 0 {
            return Ok(());
        }
        if raw.len() as u64 == MAX_LINE && !raw.ends_with(b"\n") {
            reader.skip_until(b'\n')?;
        }
        if layout.is_plain() {
            each(&String::from_utf8_lossy(&raw), None)?;
        } else {
            decoded.clear();
            layout.decode(&raw, &mut decoded);
            each(&String::from_utf8_lossy(&decoded), None)?;
        }
    }
}

/// The arguments for `journalctl`, from the parameters of the backend and the matches.
fn journalctl_args(log: &str, matches: &[Vec<String>]) -> io::Result<Vec<String>> {
    let origin = Origin { file: "command line".into(), line: 1 };
    let definition = params::parse("backend", log, &origin)
        .map_err(|e| io::Error::other(format!("{e}; write systemd-journal[name=value]")))?;
    let flags = std::env::var("F2B_SYSTEMD_DEFAULT_FLAGS").ok();
    let (journal, bad) = Journal::from_params(&definition.params, flags.as_deref());
    if let Some(bad) = bad.into_iter().next() {
        return Err(io::Error::other(bad));
    }
    Ok(journal.arguments(matches, &From::Time(Timestamp(0)), None))
}

fn read_journal(
    args: &[String],
    each: &mut dyn FnMut(&str, Option<Timestamp>) -> io::Result<()>,
) -> io::Result<()> {
    let mut child = Command::new("journalctl")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| io::Error::other(format!("cannot read the journal: journalctl: {e}")))?;
    let Some(mut stdout) = child.stdout.take() else { return Ok(()) };
    let (mut parser, mut entries) = (Parser::default(), Vec::new());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = stdout.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        parser.feed(buffer.get(..n).unwrap_or_default(), &mut entries).map_err(io::Error::other)?;
        for entry in entries.drain(..) {
            each(&String::from_utf8_lossy(&entry.line), Some(entry.time))?;
        }
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("journalctl ended with {status}; its message is above")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_to_the_last() {
        let mut lines = Vec::new();
        read_lines(&b"a\r\n\nb\xff"[..], "UTF-8", &mut |line, _| {
            lines.push(line.to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(lines, ["a\r\n", "\n", "b\u{fffd}"]);
        let utf16 = [0xff, 0xfe, b'a', 0, b'\n', 0, b'b', 0];
        let mut lines = Vec::new();
        read_lines(&utf16[..], "utf-16", &mut |line, _| {
            lines.push(line.to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(lines, ["a\n", "b\n"]);
        assert!(read_lines(&b""[..], "nonsense", &mut |_, _| Ok(())).is_err());
    }
}
