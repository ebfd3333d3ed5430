//! What a jail is made of: the state that commands describe, without anything that happened in it.
//!
//! A reload builds a new one from defaults and compares, so an option that vanished from the
//! configuration returns to its default. Failures, bans, counters and positions live elsewhere.

use crate::bantime::{Increments, span};
use crate::command::{CommandError, ErrorClass, IgnoreCache, Seconds};
use crate::date::DateFormat;
use crate::effect::ActionSpec;
use crate::expr::Number;
use crate::ignore::IgnoreList;
use crate::ticket::BanTime;
use crate::time::Span;
use crate::value::Value;

/// The commands that every action of fail2ban has from the beginning; `actionprolong` is not among
/// them.
pub const ACTION_COMMANDS: [&str; 9] = [
    "actionban",
    "actioncheck",
    "actionflush",
    "actionreban",
    "actionreload",
    "actionrepair",
    "actionstart",
    "actionstop",
    "actionunban",
];

/// A jail as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct JailSpec {
    /// The backend as given, with its parameters.
    pub backend: String,
    /// The one that is used.
    kind: Backend,
    /// `prefregex`, `failregex`, … and everything else that judges lines.
    pub lines: LineSpec,
    /// `maxretry`
    pub max_retry: i64,
    /// `maxmatches`
    pub max_matches: i64,
    /// `findtime`
    pub find_time: Seconds,
    /// `bantime` in seconds; negative is for ever.
    pub ban_time: i64,
    /// `bantime.*`
    pub increments: Increments,
    /// `ignoreself`
    pub ignore_self: bool,
    /// `ignoreip`
    pub ignore_ip: IgnoreList,
    /// `ignorecommand`; an empty one is none, too.
    pub ignore_command: Option<String>,
    /// `ignorecache`
    pub ignore_cache: Option<IgnoreCache>,
    /// `logencoding`
    pub encoding: String,
    /// `logpath`, in order.
    pub logs: Vec<LogPath>,
    /// `journalmatch`: one list of tokens per line.
    pub journal_matches: Vec<Vec<String>>,
    /// Actions in order.
    pub actions: Vec<ActionSpec>,
}

/// How a jail comes by its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// From files whose changes the kernel reports; called after the library that fail2ban uses.
    Watched,
    /// From files that are looked at again and again.
    Polling,
    /// From the systemd journal.
    Journal,
}

impl Backend {
    /// Its name in configuration, `stats` and log.
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Watched => "pyinotify",
            Backend::Polling => "polling",
            Backend::Journal => "systemd",
        }
    }
}

/// The backend a jail asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The first that works.
    Auto,
    /// This, or else the first after it that works.
    This(Backend),
}

impl Wanted {
    fn parse(text: &str) -> Result<Self, CommandError> {
        let name = text.split('[').next().unwrap_or_default().trim().to_ascii_lowercase();
        Ok(match name.as_str() {
            // Gamin was one more, long ago; stock files still name it.
            "auto" | "gamin" => Wanted::Auto,
            "pyinotify" => Wanted::This(Backend::Watched),
            "polling" => Wanted::This(Backend::Polling),
            "systemd" => Wanted::This(Backend::Journal),
            _ => {
                let text = format!(
                    "Unknown backend {name}. Must be among ['pyinotify', 'polling', 'systemd'] or \
                     'auto'"
                );
                return Err(CommandError::new(ErrorClass::ValueError, text));
            }
        })
    }
}

/// How lines are judged, as the configuration wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineSpec {
    /// `prefregex`, empty for none.
    pub prefregex: String,
    /// `failregex`
    pub failregex: Vec<String>,
    /// `ignoreregex`
    pub ignoreregex: Vec<String>,
    /// `maxlines`
    pub maxlines: i64,
    /// `datepattern`; empty for the default ones.
    pub datepattern: String,
    /// `logtimezone`
    pub logtimezone: Option<String>,
    /// `usedns`: `yes`, `warn`, `no`, `raw`.
    pub usedns: String,
}

/// One log file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPath {
    /// Its path.
    pub path: String,
    /// Only new lines.
    pub tail: bool,
}

/// Whether a path has a wildcard in it, and may stand for many files.
pub fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

impl LineSpec {
    /// How dates are read.
    pub fn dates(&self) -> DateFormat {
        DateFormat {
            pattern: self.datepattern.clone(),
            zone: self.logtimezone.clone().unwrap_or_default(),
        }
    }
}

impl JailSpec {
    /// A jail of which nothing has been said but its backend; `inotify` says whether the kernel
    /// reports changes of files.
    pub fn new(backend: &str, inotify: bool) -> Result<Self, CommandError> {
        let kind = match Wanted::parse(backend)? {
            Wanted::Auto | Wanted::This(Backend::Watched) if inotify => Backend::Watched,
            Wanted::Auto | Wanted::This(Backend::Watched | Backend::Polling) => Backend::Polling,
            Wanted::This(Backend::Journal) => Backend::Journal,
        };
        Ok(Self {
            backend: backend.to_owned(),
            kind,
            lines: LineSpec {
                prefregex: String::new(),
                failregex: Vec::new(),
                ignoreregex: Vec::new(),
                maxlines: 1,
                datepattern: String::new(),
                logtimezone: None,
                usedns: "warn".into(),
            },
            max_retry: 3,
            max_matches: 5,
            find_time: Number::Int(600),
            ban_time: 600,
            increments: Increments::default(),
            ignore_self: true,
            ignore_ip: IgnoreList::default(),
            ignore_command: None,
            ignore_cache: None,
            encoding: "auto".into(),
            logs: Vec::new(),
            journal_matches: Vec::new(),
            actions: Vec::new(),
        })
    }

    /// The name of the backend in use, without parameters, as `stats` and the log tell it.
    pub fn backend_name(&self) -> &'static str {
        self.kind.name()
    }

    /// The backend that was asked for.
    pub fn wanted_backend(&self) -> Wanted {
        Wanted::parse(&self.backend).unwrap_or(Wanted::Auto)
    }

    /// Whether it reads the journal.
    pub fn journal(&self) -> bool {
        self.kind == Backend::Journal
    }

    /// Whether its files are to be looked at again and again, though the kernel would report.
    pub fn polls(&self) -> bool {
        self.kind == Backend::Polling
    }

    /// The backend's parameters: `systemd[journalflags=1, namespace=x]`.
    pub fn backend_params(&self) -> Vec<(String, String)> {
        let inner = self.backend.split_once('[').map_or("", |(_, rest)| rest);
        let inner = inner.rsplit_once(']').map_or(inner, |(inside, _)| inside);
        crate::command::pairs(inner)
    }

    /// `findtime` as a span.
    pub fn find_span(&self) -> Span {
        span(self.find_time)
    }

    /// `bantime`
    pub fn default_ban_time(&self) -> BanTime {
        BanTime::from_secs(self.ban_time)
    }

    /// `maxretry` as a limit; anything below one is one.
    pub fn retry_limit(&self) -> u32 {
        u32::try_from(self.max_retry.clamp(1, i64::from(u32::MAX))).unwrap_or(1)
    }

    /// `maxmatches` as a number of lines (bounded: matches are held per id).
    pub fn match_limit(&self) -> usize {
        usize::try_from(self.max_matches.clamp(0, 10_000)).unwrap_or(0)
    }

    /// `ignorecommand`, if there is something to run.
    pub fn ignore_command(&self) -> Option<&str> {
        self.ignore_command.as_deref().filter(|command| !command.is_empty())
    }

    /// The action of this name.
    pub fn action(&self, name: &str) -> Result<usize, CommandError> {
        self.actions.iter().position(|a| a.name == name).ok_or_else(|| {
            CommandError::new(ErrorClass::KeyError, format!("Invalid Action name: {name}"))
        })
    }
}

/// `set J action A key value`. `bantime` is silently no property.
pub fn set_property(action: &mut ActionSpec, key: &str, value: &Value) -> Result<(), CommandError> {
    let text = match key {
        "bantime" => return Ok(()),
        "timeout" => crate::bantime::number(crate::command::seconds(value)?).to_text(),
        _ => value.to_text(),
    };
    if key == "actname" && action.file.is_none() {
        action.file = Some(value.to_text());
    }
    action.properties.insert(key.to_owned(), text);
    Ok(())
}

/// `get J action A key`
pub fn get_property(action: &ActionSpec, key: &str) -> Result<Value, CommandError> {
    match action.get(key) {
        Some(text) if key == "timeout" => {
            Ok(text.parse().map_or_else(|_| Value::str(text), Value::Int))
        }
        Some(text) => Ok(Value::str(text)),
        None if key == "timeout" => Ok(Value::Int(60)),
        None if ACTION_COMMANDS.contains(&key) => Ok(Value::str("")),
        None => Err(CommandError::new(
            ErrorClass::AttributeError,
            format!("'CommandAction' object has no attribute {}", crate::value::repr_str(key)),
        )),
    }
}

/// Whether an action that is in use can take on the new properties as it is. If not, it has to be
/// stopped as it was and started as it will be, or its rules would stay as they were.
pub fn reloadable(old: &ActionSpec, new: &ActionSpec) -> bool {
    const HARMLESS: [&str; 3] = ["timeout", "norestored", "actionrepair_on_unban"];
    if new.get("actionreload").is_some_and(|c| !c.trim().is_empty()) {
        return true;
    }
    if new.python.is_some() && old.file == new.file && new.defines("actionreload") {
        return true;
    }
    if old.python != new.python {
        return false;
    }
    let changed = |a: &ActionSpec, b: &ActionSpec| {
        a.properties
            .iter()
            .any(|(k, v)| !HARMLESS.contains(&k.as_str()) && b.properties.get(k) != Some(v))
    };
    !changed(old, new) && !changed(new, old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends() {
        for (backend, inotify, name, params) in [
            ("auto", true, "pyinotify", 0),
            ("auto", false, "polling", 0),
            ("gamin", true, "pyinotify", 0),
            ("PyInotify", true, "pyinotify", 0),
            ("pyinotify", false, "polling", 0),
            ("polling", true, "polling", 0),
            ("systemd", false, "systemd", 0),
            ("systemd[journalflags=1, namespace=\"x y\"]", true, "systemd", 2),
        ] {
            let spec = JailSpec::new(backend, inotify).unwrap();
            assert_eq!((spec.backend_name(), spec.backend_params().len()), (name, params));
        }
        let refused = JailSpec::new("inotify", true).unwrap_err();
        assert_eq!(
            refused.text(),
            "Unknown backend inotify. Must be among ['pyinotify', 'polling', 'systemd'] or 'auto'"
        );
    }

    #[test]
    fn what_needs_a_restart_of_the_action() {
        let make = |pairs: &[(&str, &str)]| {
            let mut a = ActionSpec::default();
            for (k, v) in pairs {
                set_property(&mut a, k, &Value::str(*v)).unwrap();
            }
            a
        };
        let old = make(&[("actionban", "b"), ("port", "22"), ("timeout", "5")]);
        for (new, expected) in [
            (make(&[("actionban", "b"), ("port", "22"), ("timeout", "9")]), true),
            (make(&[("actionban", "b"), ("port", "23"), ("timeout", "5")]), false),
            (make(&[("actionban", "b"), ("port", "23"), ("actionreload", "r")]), true),
            (make(&[("actionban", "b"), ("timeout", "5")]), false),
        ] {
            assert_eq!(reloadable(&old, &new), expected);
        }
    }
}
