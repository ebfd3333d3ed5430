//! Python's pickle format, reduced to plain data.
//!
//! fail2ban's socket carries pickles, and its Python client must go on working, so both directions
//! exist. Unlike Python we never import, call or construct: a pickle is read into [`Value`]s, a few
//! harmless constructors (`set`, `bytes`, `str`) are recognised by name, and everything else is
//! refused. Size, depth and number of objects are bounded, shared objects cannot multiply without
//! bound.

mod decode;
mod encode;

use sekisho_core::command::{CommandError, ErrorClass};
use sekisho_core::value::Value;

pub use decode::{decode, decode_reply};
pub use encode::{encode, encode_reply};

/// The largest message read; a full configuration of hundreds of jails is a tenth of it.
pub const MAX_BYTES: usize = 16 << 20;
/// The deepest nesting read.
pub const MAX_DEPTH: usize = 64;
/// The most objects one message may hold, shared ones counted as often as they are used.
pub const MAX_OBJECTS: usize = 1 << 20;

/// Why a message was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// It ends in the middle.
    #[error("pickle data was truncated")]
    Truncated,
    /// A byte that is no instruction, or one that would build more than data.
    #[error("refused pickle instruction 0x{code:02x} at byte {at}: only plain data is accepted")]
    Refused {
        /// The instruction.
        code: u8,
        /// Its place.
        at: usize,
    },
    /// A class or function that is not one of the harmless constructors.
    #[error("refused to call {0}: only plain data is accepted")]
    Call(String),
    /// An argument that makes no sense.
    #[error("invalid pickle data at byte {0}")]
    Invalid(usize),
    /// An integer beyond 64 bits.
    #[error("integer at byte {0} does not fit 64 bits")]
    BigInteger(usize),
    /// More than the bounds allow.
    #[error("message too large (more than {0})")]
    TooLarge(&'static str),
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Code 0 and a value.
    Done(Value),
    /// Code 1 and an exception.
    Failed(CommandError),
    /// Something that is no answer: `ERROR: …` or `['SHUTDOWN']`.
    Other(Value),
}

/// The module of each class, as Python pickles them.
const CLASSES: [(ErrorClass, &str); 14] = [
    (ErrorClass::Exception, "builtins"),
    (ErrorClass::ValueError, "builtins"),
    (ErrorClass::TypeError, "builtins"),
    (ErrorClass::IndexError, "builtins"),
    (ErrorClass::KeyError, "builtins"),
    (ErrorClass::AttributeError, "builtins"),
    (ErrorClass::NameError, "builtins"),
    (ErrorClass::LookupError, "builtins"),
    (ErrorClass::RuntimeError, "builtins"),
    (ErrorClass::Json, "json.decoder"),
    (ErrorClass::OsError, "builtins"),
    (ErrorClass::UnknownJail, "fail2ban.exceptions"),
    (ErrorClass::DuplicateJail, "fail2ban.exceptions"),
    (ErrorClass::Regex, "fail2ban.server.failregex"),
];

/// `module` and `name` of a class.
fn class_path(class: ErrorClass) -> (&'static str, &'static str) {
    let module = CLASSES.iter().find(|(c, _)| *c == class).map_or("builtins", |(_, module)| module);
    (module, class.name())
}

/// The class of an exception; one that we have no name for is an `Exception`.
fn class_of(module: &str, name: &str) -> ErrorClass {
    let found = CLASSES.iter().find(|(c, m)| *m == module && c.name() == name);
    match (found, name) {
        (Some((class, _)), _) => *class,
        (None, "FileNotFoundError" | "PermissionError" | "IOError") => ErrorClass::OsError,
        (None, _) => ErrorClass::Exception,
    }
}

#[cfg(test)]
mod tests;
