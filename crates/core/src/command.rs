//! The control language: what a start sends, `-d` prints, and clients speak.
//!
//! Words are plain Python values; a command that came from a file of ours remembers the line.

pub mod call;
mod parse;

use std::fmt;
use std::sync::Arc;

pub(crate) use parse::missing;
pub use parse::pairs;
pub use parse::{
    Change, Command, Flavor, IgnoreCache, Query, Reload, Seconds, float, int, seconds, truth,
};

use crate::value::Value;

/// Where in the configuration something was said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Path of the file as it was read.
    pub file: Arc<str>,
    /// 1-based line.
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// One command of the stream, not yet understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Words {
    /// The words, e.g. `['set', 'sshd', 'maxretry', 5]`.
    pub words: Vec<Value>,
    /// Where it came from; `None` when it came through the socket.
    pub origin: Option<Origin>,
}

impl Words {
    /// Python's `repr` of the word list: the line that `-d` prints.
    pub fn repr(&self) -> String {
        Value::List(self.words.clone()).repr()
    }
}

/// The Python exception class a client expects for an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// `builtins.Exception`
    Exception,
    /// `builtins.ValueError`
    ValueError,
    /// `builtins.TypeError`
    TypeError,
    /// `builtins.IndexError`
    IndexError,
    /// `builtins.KeyError`
    KeyError,
    /// `builtins.AttributeError`
    AttributeError,
    /// `builtins.NameError`
    NameError,
    /// `builtins.LookupError`
    LookupError,
    /// `json.decoder.JSONDecodeError`, of a message, the text, and a place in it.
    Json,
    /// `builtins.RuntimeError`
    RuntimeError,
    /// `builtins.OSError`
    OsError,
    /// `fail2ban.exceptions.UnknownJailException`
    UnknownJail,
    /// `fail2ban.exceptions.DuplicateJailException`
    DuplicateJail,
    /// `fail2ban.server.failregex.RegexException`
    Regex,
}

impl ErrorClass {
    /// The name of the class in Python.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorClass::Exception => "Exception",
            ErrorClass::ValueError => "ValueError",
            ErrorClass::TypeError => "TypeError",
            ErrorClass::IndexError => "IndexError",
            ErrorClass::KeyError => "KeyError",
            ErrorClass::AttributeError => "AttributeError",
            ErrorClass::NameError => "NameError",
            ErrorClass::LookupError => "LookupError",
            ErrorClass::RuntimeError => "RuntimeError",
            ErrorClass::Json => "JSONDecodeError",
            ErrorClass::OsError => "OSError",
            ErrorClass::UnknownJail => "UnknownJailException",
            ErrorClass::DuplicateJail => "DuplicateJailException",
            ErrorClass::Regex => "RegexException",
        }
    }
}

/// Why a command was refused: what a Python client unpickles as an exception.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandError {
    /// Its class.
    pub class: ErrorClass,
    /// Its arguments; usually one text.
    pub args: Vec<Value>,
}

impl CommandError {
    /// An error with one text.
    pub fn new(class: ErrorClass, text: impl Into<String>) -> Self {
        Self { class, args: vec![Value::Str(text.into())] }
    }
    /// Python's `exception.args`, which are not always what it was made of.
    pub fn shown_args(&self) -> Vec<Value> {
        match (self.class, self.args.as_slice()) {
            (ErrorClass::Json, [message, Value::Str(text), Value::Int(at)]) => {
                let before = text.chars().take(usize::try_from(*at).unwrap_or(0));
                let (mut line, mut column) = (1, 1);
                for c in before {
                    (line, column) = if c == '\n' { (line + 1, 1) } else { (line, column + 1) };
                }
                let message = message.to_text();
                vec![Value::Str(format!("{message}: line {line} column {column} (char {at})"))]
            }
            // Python keeps the file name apart.
            (ErrorClass::OsError, [number, text, _, ..]) => vec![number.clone(), text.clone()],
            (_, args) => args.to_vec(),
        }
    }
    /// Python's `repr(exception)`.
    pub fn repr(&self) -> String {
        let class = self.class.name();
        match self.shown_args().as_slice() {
            [one] => format!("{class}({})", one.repr()),
            many => format!("{class}{}", Value::Tuple(many.to_vec()).repr()),
        }
    }
    /// Python's `str(exception)`.
    pub fn text(&self) -> String {
        if self.class == ErrorClass::Json {
            return self.shown_args().first().map(Value::to_text).unwrap_or_default();
        }
        match self.args.as_slice() {
            [] => String::new(),
            // Both are `KeyError`s, which show their key as it would be written.
            [one] if matches!(self.class, ErrorClass::KeyError | ErrorClass::UnknownJail) => {
                one.repr()
            }
            [number, text] if self.class == ErrorClass::OsError => {
                format!("[Errno {}] {}", number.to_text(), text.to_text())
            }
            [number, text, file] if self.class == ErrorClass::OsError => {
                format!("[Errno {}] {}: {}", number.to_text(), text.to_text(), file.repr())
            }
            [one] => one.to_text(),
            many => Value::Tuple(many.to_vec()).repr(),
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl std::error::Error for CommandError {}
