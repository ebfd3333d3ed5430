//! How a log line looks: Python's `%`-style formats of `logging`, as far as they make sense here.
//!
//! A format is checked when it is set, so that writing a line can never fail.

use std::fmt::Write as _;

use sekisho_core::effect::{Level, Record};
use sekisho_core::time::{Timestamp, Zone};

/// The format of files, standard output and standard error.
const PADDED: &str = "%(name)-24s[%(process)d]: %(levelname)-7s %(message)s";
const PLAIN: &str = "%(name)s[%(process)d]: %(levelname)s %(message)s";

/// A parsed format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field { field: Field, left: bool, width: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Time,
    Name,
    Process,
    Level,
    LevelNumber,
    Message,
    Millis,
    Created,
    Thread,
}

/// Widest padding; nobody needs more, and a huge number must not make huge lines.
const MAX_WIDTH: usize = 200;

impl Format {
    /// The standard format, with or without time and padding.
    pub fn standard(time: bool, padding: bool) -> Format {
        let rest = if padding { PADDED } else { PLAIN };
        let text = if time { format!("%(asctime)s {rest}") } else { rest.to_owned() };
        Format::parse(&text).unwrap_or_else(Format::message)
    }

    /// Only the message.
    pub fn message() -> Format {
        Format { pieces: vec![Piece::Field { field: Field::Message, left: false, width: 0 }] }
    }

    /// Parses `%(name)-24s`, `%(process)d`, `%%` …; `None` if Python could not format with it.
    pub fn parse(text: &str) -> Option<Format> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                plain.push('%');
                rest = after;
                continue;
            }
            let (name, after) = after.strip_prefix('(')?.split_once(')')?;
            let end = after.find(|c: char| c.is_ascii_alphabetic())?;
            let (spec, conversion) = after.split_at_checked(end)?;
            rest = conversion.get(1..)?;
            let digits = spec.trim_start_matches(['-', '0', ' ', '+', '#']);
            let width = digits.split('.').next().unwrap_or_default();
            let width = if width.is_empty() { 0 } else { width.parse::<usize>().ok()? };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Field {
                field: field(name)?,
                left: spec.starts_with('-'),
                width: width.min(MAX_WIDTH),
            });
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Some(Format { pieces })
    }

    /// Appends one line, without a newline.
    pub fn write(&self, out: &mut String, at: Timestamp, zone: &Zone, pid: u32, record: &Record) {
        let mut value = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Field { field, left, width } => {
                    value.clear();
                    field.write(&mut value, at, zone, pid, record);
                    let fill = width.saturating_sub(value.chars().count());
                    if !left {
                        out.extend(std::iter::repeat_n(' ', fill));
                    }
                    out.push_str(&value);
                    if *left {
                        out.extend(std::iter::repeat_n(' ', fill));
                    }
                }
            }
        }
    }
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "asctime" => Field::Time,
        "name" => Field::Name,
        "process" => Field::Process,
        "levelname" => Field::Level,
        "levelno" => Field::LevelNumber,
        "message" | "msg" => Field::Message,
        "msecs" => Field::Millis,
        "created" => Field::Created,
        "thread" | "threadName" | "processName" => Field::Thread,
        _ => return None,
    })
}

impl Field {
    fn write(self, out: &mut String, at: Timestamp, zone: &Zone, pid: u32, record: &Record) {
        let millis = at.0.rem_euclid(1_000_000) / 1000;
        let _ = match self {
            Field::Time => write!(out, "{},{millis:03}", zone.format(at)),
            Field::Name => write!(out, "{}", record.logger),
            Field::Process => write!(out, "{pid}"),
            Field::Level => write!(out, "{}", level_name(record.level)),
            Field::LevelNumber => write!(out, "{}", record.level as u8),
            Field::Message => write!(out, "{}", record.text),
            Field::Millis => write!(out, "{millis}"),
            Field::Created => write!(out, "{}", at.as_secs_f64()),
            Field::Thread => write!(out, "fail2ban-server"),
        };
    }
}

/// One line in the standard format, as the client prints its errors.
pub fn line(at: Timestamp, zone: &Zone, record: &Record) -> String {
    let mut out = String::new();
    Format::standard(true, true).write(&mut out, at, zone, std::process::id(), record);
    out
}

/// The name of a level in the log.
pub fn level_name(level: Level) -> &'static str {
    match level {
        Level::Heavy => "HEAVY",
        Level::Trace => "TRACE",
        Level::Debug => "DEBUG",
        Level::Msg => "MSG",
        Level::Info => "INFO",
        Level::Notice => "NOTICE",
        Level::Warning => "WARNING",
        Level::Error => "ERROR",
        Level::Critical => "CRITICAL",
    }
}
