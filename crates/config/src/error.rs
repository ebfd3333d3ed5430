//! What can be wrong in a configuration, with file, line and the way out.
//!
//! Where fail2ban has a text for a fault, the first part is that text, because it appears in the
//! command stream; advice follows it.

use sekisho_core::command::Origin;
use sekisho_core::value::repr_str;
use thiserror::Error;

/// One fault. `Display` is the text without file and line; [`ConfigError::origin`] has those.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// No configuration folder.
    #[error("Base configuration directory {0} does not exist ")]
    NoBase(String),
    /// No file for a name.
    #[error(
        "Found no accessible config files for {} under {base}{}",
        repr_str(name),
        their_names(name)
    )]
    NotFound {
        /// `jail`, `filter.d/x`, …
        name: String,
        /// The folder.
        base: String,
    },
    /// A file that exists and cannot be read.
    #[error("Could not read config files: {path}: {reason}; check its permissions")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// A file that is not UTF-8.
    #[error("Error decoding config file {}: it is not UTF-8 here; convert it, e.g. with iconv", repr_str(&.origin.file))]
    NotUtf8 {
        /// The first bad line.
        origin: Origin,
    },
    /// Files that include each other too often.
    #[error("too many files are included; look for files that include each other")]
    TooManyIncludes {
        /// The include.
        origin: Origin,
    },
    /// An option before any section.
    #[error(
        "File contains no section headers: {}; {}",
        repr_str(line),
        if line.starts_with('[') { "end the name of the section with ]" } else { "put the line below a [section]" }
    )]
    NoSection {
        /// The line.
        origin: Origin,
        /// Its text.
        line: String,
    },
    /// A line that is neither section nor option nor continuation.
    #[error("Source contains parsing errors: {}{hint}", repr_str(line))]
    NotAnOption {
        /// The line.
        origin: Origin,
        /// Its text.
        line: String,
        /// What to do.
        hint: String,
    },
    /// An option twice in one block.
    #[error(
        "option {} in section {} already exists (line {first}){hint}",
        repr_str(option),
        repr_str(section)
    )]
    OptionTwice {
        /// The second one.
        origin: Origin,
        /// The section.
        section: String,
        /// The option.
        option: String,
        /// Line of the first one.
        first: u32,
        /// What to do.
        hint: String,
    },
    /// `%(key)s` with a key that does not exist.
    #[error(
        "Bad value substitution: option {} in section {} contains an interpolation key {} which is not a valid option name. Raw value: {}",
        repr_str(option),
        repr_str(section),
        repr_str(key),
        repr_str(raw)
    )]
    UnknownKey {
        /// The value.
        origin: Origin,
        /// The option.
        option: String,
        /// The section.
        section: String,
        /// The key.
        key: String,
        /// The value as written.
        raw: String,
    },
    /// `%` that is neither `%%` nor `%(`.
    #[error(
        "'%' must be followed by '%' or '(', found: {}; a literal percent sign is written %%",
        repr_str(found)
    )]
    LonePercent {
        /// The value.
        origin: Origin,
        /// The text from there on.
        found: String,
    },
    /// `%(key` without `)s`.
    #[error(
        "bad interpolation variable reference {}; write %(name)s, and %% for a literal percent sign",
        repr_str(found)
    )]
    BadReference {
        /// The value.
        origin: Origin,
        /// The text from there on.
        found: String,
    },
    /// Values that contain each other.
    #[error(
        "Recursion limit exceeded in value substitution: option {} in section {} contains an interpolation key which cannot be substituted in 10 steps. Raw value: {}",
        repr_str(option),
        repr_str(section),
        repr_str(raw)
    )]
    TooDeep {
        /// The value.
        origin: Origin,
        /// The option.
        option: String,
        /// The section.
        section: String,
        /// The value as written.
        raw: String,
    },
    /// Tags that contain each other.
    #[error(
        "properties contain self referencing definitions and cannot be resolved, fail tag: {tag}, found: {found}"
    )]
    TagLoop {
        /// The value.
        origin: Origin,
        /// The option whose value it is.
        tag: String,
        /// The tag inside it.
        found: String,
    },
    /// `name[params]` that cannot be read.
    #[error("Invalid {kind} definition {}: {reason}{hint}", repr_str(text))]
    Params {
        /// The option.
        origin: Origin,
        /// `filter` or `action`.
        kind: &'static str,
        /// The definition.
        text: String,
        /// What is wrong.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// No such filter, or one that cannot be read.
    #[error("Unable to read the filter {}{detail}", repr_str(name))]
    NoFilter {
        /// The option that names it, or what is wrong in its files.
        origin: Origin,
        /// Its name.
        name: String,
        /// Whether there are no files at all.
        missing: bool,
        /// Why.
        detail: String,
    },
    /// No such action, or one that cannot be read.
    #[error("Unable to read action {}{detail}", repr_str(name))]
    NoAction {
        /// The option that names it, or what is wrong in its files.
        origin: Origin,
        /// Its name.
        name: String,
        /// Whether there are no files at all.
        missing: bool,
        /// Why.
        detail: String,
    },
    /// A fault inside a filter's or action's file.
    #[error("Error in {kind} definition {}: {error}", repr_str(text))]
    Inside {
        /// `filter` or `action`.
        kind: &'static str,
        /// The definition.
        text: String,
        /// The fault.
        error: Box<ConfigError>,
    },
    /// Not a whole number.
    #[error(
        "Wrong value for {} in {}: {} is no whole number{}",
        repr_str(option),
        repr_str(section),
        repr_str(value),
        if value.contains('\n') { "; a line that begins with a blank belongs to the value above it" } else { "" }
    )]
    NotInt {
        /// The value.
        origin: Origin,
        /// The option.
        option: String,
        /// The section.
        section: String,
        /// The value.
        value: String,
    },
    /// A quoted text that does not end.
    #[error("{option} has a quotation mark without its partner: {}", repr_str(value))]
    OpenQuote {
        /// The value.
        origin: Origin,
        /// The option.
        option: String,
        /// The value.
        value: String,
    },
    /// No log file, and the jail asks to be skipped then.
    #[error("Jail {} skipped, because of missing log files.", repr_str(jail))]
    NoLogs {
        /// The jail.
        jail: String,
    },
    /// Two action instances of one name.
    #[error("Action {name} already exists; give one of them another name: [actname=…]")]
    ActionTwice {
        /// The option.
        origin: Origin,
        /// The name.
        name: String,
    },
    /// The caller's check refused a command.
    #[error("{text}")]
    Refused {
        /// Where the command came from.
        origin: Option<Origin>,
        /// Why.
        text: String,
    },
}

/// What to look for where a configuration has no file.
fn their_names(name: &str) -> String {
    match name {
        "jail" => {
            "; there is no jail.conf, no jail.local and nothing in jail.d that you may read".into()
        }
        _ => String::new(),
    }
}

impl ConfigError {
    /// Where it is.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            ConfigError::NoBase(_)
            | ConfigError::NotFound { .. }
            | ConfigError::Unreadable { .. }
            | ConfigError::NoLogs { .. } => None,
            ConfigError::NotUtf8 { origin }
            | ConfigError::TooManyIncludes { origin }
            | ConfigError::NoSection { origin, .. }
            | ConfigError::NotAnOption { origin, .. }
            | ConfigError::OptionTwice { origin, .. }
            | ConfigError::UnknownKey { origin, .. }
            | ConfigError::LonePercent { origin, .. }
            | ConfigError::BadReference { origin, .. }
            | ConfigError::TooDeep { origin, .. }
            | ConfigError::TagLoop { origin, .. }
            | ConfigError::Params { origin, .. }
            | ConfigError::NoFilter { origin, .. }
            | ConfigError::NoAction { origin, .. }
            | ConfigError::NotInt { origin, .. }
            | ConfigError::OpenQuote { origin, .. }
            | ConfigError::ActionTwice { origin, .. } => Some(origin),
            ConfigError::Inside { error, .. } => error.origin(),
            ConfigError::Refused { origin, .. } => origin.as_ref(),
        }
    }

    /// File, line and text: what an administrator is shown.
    pub fn located(&self) -> String {
        match self.origin() {
            Some(origin) => format!("{origin}: {self}"),
            None => self.to_string(),
        }
    }
}
