//! From words to a typed [`Command`]: one place that knows how the control language is spelled.
//!
//! Python clients send every word as text, ours sends numbers and lists as such; both mean the same
//! here. Parsing looks at nothing but the words: whether a jail exists is the engine's business.

use super::{CommandError, ErrorClass, Words};
use crate::duration;
use crate::effect::PythonSpec;
use crate::expr::{ExprError, Number};
use crate::time::Span;
use crate::value::Value;

/// Deepest nesting of streams inside streams.
const MAX_NESTING: u8 = 4;
/// Longest `sleep`, in seconds.
const MAX_SLEEP: f64 = 86400.0;

/// One command, understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `ping`
    Ping,
    /// `echo a b…`: the arguments come back.
    Echo(Vec<Value>),
    /// `version`
    Version,
    /// `server-status`
    ServerStatus,
    /// `sleep N`: the answer comes later; nobody else waits.
    Sleep(Span),
    /// `status [--all [flavor]]`
    Status {
        /// With the status of every jail.
        all: bool,
        /// How much of it.
        flavor: Flavor,
    },
    /// `status J [flavor]`
    StatusJail {
        /// The jail.
        jail: String,
        /// How much of it.
        flavor: Flavor,
    },
    /// `stats`, `statistic`, `statistics`
    Stats,
    /// `banned [ip…]`
    Banned(Vec<String>),
    /// `unban --all`
    UnbanAll,
    /// `unban ip…`
    Unban(Vec<String>),
    /// `flushlogs`
    FlushLogs,
    /// `add J [backend]`
    Add {
        /// The jail's name.
        jail: String,
        /// `auto`, `polling`, `systemd[…]`, …
        backend: String,
    },
    /// `start J`
    Start(String),
    /// `stop J`
    StopJail(String),
    /// `stop --all`
    StopAll,
    /// `stop [--keep]`: the process ends.
    Shutdown {
        /// What is banned stays in the firewall: the server is started again at once.
        keep: bool,
    },
    /// `reload J|--all opts stream`
    Reload(Reload),
    /// `server-stream stream`
    Stream(Vec<Words>),
    /// `config-error text`
    ConfigError(String),
    /// `set allowipv6 v`
    AllowIpv6(Value),
    /// `set|get loglevel …`: a setting of the edge, read when the value is missing.
    Setting {
        /// Which.
        name: String,
        /// The new value.
        value: Option<Value>,
    },
    /// `set J …`, `multi-set J …`
    Set {
        /// The jail.
        jail: String,
        /// What to change.
        change: Change,
        /// `multi-set`: answers `True`.
        multi: bool,
    },
    /// `get J …`
    Get {
        /// The jail.
        jail: String,
        /// What to read.
        what: Query,
    },
}

/// How much `status J` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// Everything.
    Basic,
    /// Without the list of banned ids.
    Short,
    /// Numbers only.
    Stats,
    /// Everything, and whose the banned addresses are.
    Cymru,
    /// Unknown; told like basic after a warning.
    Other(String),
}

/// `reload`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reload {
    /// One jail, or all.
    pub jail: Option<String>,
    /// Lift all bans of the jails concerned, and forget them.
    pub unban: bool,
    /// Stop and start the jails concerned.
    pub restart: bool,
    /// No error if the jail is not known.
    pub if_exists: bool,
    /// The commands of the new configuration.
    pub stream: Vec<Words>,
}

/// A change of one jail.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// `idle on|off`
    Idle(bool),
    /// `ignoreself V`
    IgnoreSelf(bool),
    /// `addignoreip IP…`
    AddIgnoreIp(Vec<String>),
    /// `delignoreip IP`
    DelIgnoreIp(String),
    /// `ignorecommand C`
    IgnoreCommand(String),
    /// `ignorecache key="…", …`
    IgnoreCache(Option<IgnoreCache>),
    /// `addlogpath F [tail|head]`
    AddLogPath {
        /// The file.
        path: String,
        /// Only new lines.
        tail: bool,
    },
    /// `dellogpath F`
    DelLogPath(String),
    /// `logencoding E`
    LogEncoding(String),
    /// `usedns M`
    UseDns(String),
    /// `findtime T`
    FindTime(Seconds),
    /// `bantime T`, truncated to whole seconds
    BanTime(i64),
    /// `maxretry N`
    MaxRetry(i64),
    /// `maxmatches N`
    MaxMatches(i64),
    /// `maxlines N`
    MaxLines(i64),
    /// `datepattern P`
    DatePattern(String),
    /// `logtimezone Z`
    LogTimezone(String),
    /// `prefregex R`
    PrefRegex(String),
    /// `addfailregex R`
    AddFailRegex(Vec<String>),
    /// `delfailregex I`
    DelFailRegex(i64),
    /// `addignoreregex R`
    AddIgnoreRegex(Vec<String>),
    /// `delignoreregex I`
    DelIgnoreRegex(i64),
    /// `addjournalmatch tok…`
    AddJournalMatch(Vec<String>),
    /// `deljournalmatch tok…`
    DelJournalMatch(Vec<String>),
    /// `bantime.OPT V`
    BanTimeExtra {
        /// `increment`, `factor`, …
        option: String,
        /// Its value as sent.
        value: Value,
    },
    /// `attempt IP [m…]`
    Attempt {
        /// Whose.
        id: String,
        /// Matched lines; each counts as one attempt.
        matches: Vec<String>,
    },
    /// `banip IP…`
    BanIp(Vec<String>),
    /// `unbanip [--report-absent] IP…`
    UnbanIp {
        /// Absence is an error.
        report_absent: bool,
        /// Whom.
        ids: Vec<String>,
    },
    /// `addaction A [file json]`
    AddAction {
        /// Instance name.
        name: String,
        /// What a Python action is made from.
        python: Option<PythonSpec>,
    },
    /// `delaction A`
    DelAction(String),
    /// `action A key value…`
    Action {
        /// Instance name.
        name: String,
        /// Property and value, in order.
        properties: Vec<(String, Value)>,
    },
}

/// A length of time as Python would show it: `600` or `5400.0`.
pub type Seconds = Number;

/// `ignorecache`.
#[derive(Clone, Debug, PartialEq)]
pub struct IgnoreCache {
    /// The key with its tags.
    pub key: String,
    /// Most entries.
    pub max_count: i64,
    /// Seconds an entry lives.
    pub max_time: Seconds,
}

/// A question about one jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// `banned [IP…]`
    Banned(Vec<String>),
    /// `banip [--with-time|SEP]`
    BanIp {
        /// With begin, length and end.
        with_time: bool,
    },
    /// `logpath`
    LogPath,
    /// `logencoding`
    LogEncoding,
    /// `journalmatch`
    JournalMatch,
    /// `ignoreself`
    IgnoreSelf,
    /// `ignoreip`
    IgnoreIp,
    /// `ignorecommand`
    IgnoreCommand,
    /// `ignorecache`
    IgnoreCache,
    /// `prefregex`
    PrefRegex,
    /// `failregex`
    FailRegex,
    /// `ignoreregex`
    IgnoreRegex,
    /// `usedns`
    UseDns,
    /// `findtime`
    FindTime,
    /// `datepattern`
    DatePattern,
    /// `logtimezone`
    LogTimezone,
    /// `maxmatches`
    MaxMatches,
    /// `maxretry`
    MaxRetry,
    /// `maxlines`
    MaxLines,
    /// `bantime`
    BanTime,
    /// `bantime.OPT`
    BanTimeExtra(String),
    /// `actions`
    Actions,
    /// `action A PROP`
    Action {
        /// Instance name.
        name: String,
        /// Property.
        property: String,
    },
    /// `actionproperties A`
    ActionProperties(String),
    /// `actionmethods A`
    ActionMethods(String),
}

/// Python's error for a missing argument; the client prints `the command is invalid`.
pub(crate) fn missing() -> CommandError {
    CommandError::new(ErrorClass::IndexError, "list index out of range")
}

fn invalid(text: impl Into<String>) -> CommandError {
    CommandError::new(ErrorClass::Exception, text)
}

fn value_error(text: impl Into<String>) -> CommandError {
    CommandError::new(ErrorClass::ValueError, text)
}

/// The words of one command, read from left to right.
struct Args<'a>(&'a [Value]);

impl<'a> Args<'a> {
    fn next(&mut self) -> Result<&'a Value, CommandError> {
        let (first, rest) = self.0.split_first().ok_or_else(missing)?;
        self.0 = rest;
        Ok(first)
    }
    fn text(&mut self) -> Result<String, CommandError> {
        Ok(self.next()?.to_text())
    }
    fn maybe(&mut self) -> Option<String> {
        self.text().ok()
    }
    /// All remaining words.
    fn rest(&mut self) -> Vec<String> {
        std::mem::take(&mut self.0).iter().map(Value::to_text).collect()
    }
    fn int(&mut self) -> Result<i64, CommandError> {
        int(self.next()?)
    }
}

/// Python's `int(x)` of a word.
pub fn int(value: &Value) -> Result<i64, CommandError> {
    match value {
        Value::Int(n) => Ok(*n),
        Value::Float(x) => Ok(*x as i64),
        Value::Bool(b) => Ok(i64::from(*b)),
        other => other.to_text().trim().parse().map_err(|_| {
            value_error(format!("invalid literal for int() with base 10: {}", other.repr()))
        }),
    }
}

/// Python's `float(x)` of a word.
pub fn float(value: &Value) -> Result<f64, CommandError> {
    match value {
        Value::Int(n) => Ok(*n as f64),
        Value::Float(x) => Ok(*x),
        Value::Bool(b) => Ok(f64::from(u8::from(*b))),
        other => {
            other.to_text().trim().parse().ok().filter(|x: &f64| x.is_finite()).ok_or_else(|| {
                value_error(format!("could not convert string to float: {}", other.repr()))
            })
        }
    }
}

/// A time as a number of seconds, or as text with units.
pub fn seconds(value: &Value) -> Result<Seconds, CommandError> {
    match value {
        Value::Int(n) => Ok(Number::Int(*n)),
        Value::Float(x) => Ok(Number::Float(*x)),
        Value::Bool(b) => Ok(Number::Int(i64::from(*b))),
        other => duration::parse(&other.to_text()).map_err(|error| {
            let class = match error.reason {
                ExprError::UnknownName(_) => ErrorClass::NameError,
                _ => ErrorClass::ValueError,
            };
            CommandError::new(class, error.reason.to_string())
        }),
    }
}

/// fail2ban's notion of true.
pub fn truth(value: &Value) -> bool {
    match value {
        Value::Bool(b) => *b,
        Value::Int(n) => *n != 0,
        other => {
            matches!(other.to_text().to_lowercase().as_str(), "1" | "on" | "true" | "yes" | "ok")
        }
    }
}

fn list(value: &Value) -> Vec<Value> {
    match value {
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => items.clone(),
        other => vec![other.clone()],
    }
}

/// The commands of a stream.
fn stream(value: &Value) -> Result<Vec<Words>, CommandError> {
    let (Value::List(items) | Value::Tuple(items)) = value else {
        return Err(CommandError::new(ErrorClass::TypeError, "a stream is a list of commands"));
    };
    Ok(items.iter().map(|item| Words { words: list(item), origin: None }).collect())
}

const SETTINGS: &[&str] =
    &["loglevel", "logtarget", "syslogsocket", "dbfile", "dbmaxmatches", "dbpurgeage", "thread"];

impl Command {
    /// Understands one command.
    pub fn parse(words: &Words) -> Result<Command, CommandError> {
        if depth(&words.words) > MAX_NESTING {
            return Err(invalid("Invalid command (nested too deeply)"));
        }
        let mut args = Args(&words.words);
        let Ok(verb) = args.text() else { return Err(missing()) };
        Ok(match verb.as_str() {
            "ping" => Command::Ping,
            "echo" => Command::Echo(args.0.to_vec()),
            "version" => Command::Version,
            "server-status" => Command::ServerStatus,
            "sleep" => {
                let span = float(args.next()?)?;
                if span < 0.0 {
                    return Err(value_error("sleep length must be non-negative"));
                }
                Command::Sleep(Span::from_secs_f64(span.min(MAX_SLEEP)))
            }
            "status" => status(&mut args)?,
            "stats" | "statistic" | "statistics" => Command::Stats,
            "banned" => Command::Banned(args.rest()),
            "unban" => match args.rest() {
                ids if ids.is_empty() => return Err(invalid("Invalid command")),
                ids if ids.iter().any(|w| w == "--all") => Command::UnbanAll,
                ids => Command::Unban(ids),
            },
            "flushlogs" => Command::FlushLogs,
            "add" => {
                let jail = args.text()?;
                if jail == "--all" {
                    return Err(invalid("Reserved name '--all'"));
                }
                Command::Add { jail, backend: args.maybe().unwrap_or_else(|| "auto".into()) }
            }
            "start" => Command::Start(args.text()?),
            "stop" => match args.maybe() {
                None => Command::Shutdown { keep: false },
                Some(all) if all == "--all" => Command::StopAll,
                Some(keep) if keep == "--keep" => Command::Shutdown { keep: true },
                Some(jail) => Command::StopJail(jail),
            },
            "reload" => {
                let jail = args.text()?;
                let options: Vec<String> = list(args.next()?).iter().map(Value::to_text).collect();
                let has = |name: &str| options.iter().any(|o| o == name);
                Command::Reload(Reload {
                    jail: (jail != "--all").then_some(jail),
                    unban: has("--unban"),
                    restart: has("--restart"),
                    if_exists: has("--if-exists"),
                    stream: stream(args.next()?)?,
                })
            }
            "server-stream" => Command::Stream(stream(args.next()?)?),
            "config-error" => Command::ConfigError(args.text()?),
            "set" => set(&mut args, false)?,
            "multi-set" => set(&mut args, true)?,
            "get" => get(&mut args)?,
            _ => return Err(invalid("Invalid command")),
        })
    }
}

fn depth(values: &[Value]) -> u8 {
    fn of(value: &Value, left: u8) -> u8 {
        let (Value::List(items) | Value::Tuple(items)) = value else { return 0 };
        if left == 0 {
            return 1;
        }
        1 + items.iter().map(|v| of(v, left - 1)).max().unwrap_or(0)
    }
    values.iter().map(|v| of(v, MAX_NESTING + 1)).max().unwrap_or(0)
}

fn flavor(word: Option<String>) -> Flavor {
    match word.as_deref() {
        None | Some("basic" | "") => Flavor::Basic,
        Some("short") => Flavor::Short,
        Some("stats") => Flavor::Stats,
        Some("cymru") => Flavor::Cymru,
        Some(other) => Flavor::Other(other.to_owned()),
    }
}

fn status(args: &mut Args<'_>) -> Result<Command, CommandError> {
    if args.0.len() > 2 {
        return Err(invalid("Invalid command (no status)"));
    }
    Ok(match args.maybe() {
        None => Command::Status { all: false, flavor: Flavor::Basic },
        Some(all) if all == "--all" => Command::Status { all: true, flavor: flavor(args.maybe()) },
        Some(jail) => Command::StatusJail { jail, flavor: flavor(args.maybe()) },
    })
}

fn set(args: &mut Args<'_>, multi: bool) -> Result<Command, CommandError> {
    let name = args.text()?;
    if !multi && SETTINGS.contains(&name.as_str()) {
        return Ok(Command::Setting { name, value: Some(args.next()?.clone()) });
    }
    if !multi && name == "allowipv6" {
        return Ok(Command::AllowIpv6(args.next()?.clone()));
    }
    let verb = args.text()?;
    let change = if multi { multi_change(&verb, args)? } else { change(&verb, args)? };
    Ok(Command::Set { jail: name, change, multi })
}

fn unknown_set(verb: &str) -> CommandError {
    invalid(format!(
        "Invalid command {} (no set action or not yet implemented)",
        crate::value::repr_str(verb)
    ))
}

fn multi_change(verb: &str, args: &mut Args<'_>) -> Result<Change, CommandError> {
    let texts = |value: &Value| -> Vec<String> { list(value).iter().map(Value::to_text).collect() };
    Ok(match verb {
        "addfailregex" => Change::AddFailRegex(texts(args.next()?)),
        "addignoreregex" => Change::AddIgnoreRegex(texts(args.next()?)),
        "action" => {
            let name = args.text()?;
            let mut properties = Vec::new();
            for pair in list(args.next()?) {
                let pair = list(&pair);
                let (Some(key), Some(value)) = (pair.first(), pair.get(1)) else {
                    return Err(value_error("not enough values to unpack (expected 2)"));
                };
                properties.push((key.to_text(), value.clone()));
            }
            Change::Action { name, properties }
        }
        _ => return Err(unknown_set(verb)),
    })
}

fn change(verb: &str, args: &mut Args<'_>) -> Result<Change, CommandError> {
    Ok(match verb {
        "idle" => match args.text()?.as_str() {
            "on" | "True" => Change::Idle(true),
            "off" | "False" => Change::Idle(false),
            _ => return Err(invalid("Invalid idle option, must be 'on' or 'off'")),
        },
        "ignoreself" => Change::IgnoreSelf(truth(args.next()?)),
        "addignoreip" => Change::AddIgnoreIp(args.rest()),
        "delignoreip" => Change::DelIgnoreIp(args.text()?),
        "ignorecommand" => Change::IgnoreCommand(args.text()?),
        "ignorecache" => Change::IgnoreCache(ignore_cache(&args.text()?)?),
        "addlogpath" => {
            let path = args.text()?;
            let start = args.maybe().map(|start| start.to_lowercase());
            let tail = match start.as_deref() {
                None | Some("head") => false,
                Some("tail") => true,
                Some(_) if args.0.is_empty() => {
                    return Err(value_error("File option must be 'head' or 'tail'"));
                }
                Some(_) => return Err(value_error("Only one file can be added at a time")),
            };
            if !args.0.is_empty() {
                return Err(value_error("Only one file can be added at a time"));
            }
            Change::AddLogPath { path, tail }
        }
        "dellogpath" => Change::DelLogPath(args.text()?),
        "logencoding" => Change::LogEncoding(args.text()?),
        "usedns" => Change::UseDns(args.text()?),
        "findtime" => Change::FindTime(seconds(args.next()?)?),
        "bantime" => Change::BanTime(seconds(args.next()?)?.trunc()),
        "maxretry" => Change::MaxRetry(args.int()?),
        "maxmatches" => Change::MaxMatches(args.int()?),
        "maxlines" => match args.int()? {
            n if n > 0 => Change::MaxLines(n),
            _ => return Err(value_error("maxlines must be integer greater than zero")),
        },
        "datepattern" => Change::DatePattern(args.text()?),
        "logtimezone" => Change::LogTimezone(args.text()?),
        "prefregex" => Change::PrefRegex(args.text()?),
        "addfailregex" => Change::AddFailRegex(vec![args.text()?]),
        "delfailregex" => Change::DelFailRegex(args.int()?),
        "addignoreregex" => Change::AddIgnoreRegex(vec![args.text()?]),
        "delignoreregex" => Change::DelIgnoreRegex(args.int()?),
        "addjournalmatch" => Change::AddJournalMatch(args.rest()),
        "deljournalmatch" => Change::DelJournalMatch(args.rest()),
        "attempt" => match args.maybe() {
            Some(id) => Change::Attempt { id, matches: args.rest() },
            None => {
                return Err(CommandError::new(
                    ErrorClass::TypeError,
                    "Filter.addAttempt() missing 1 required positional argument: 'ip'",
                ));
            }
        },
        "banip" => Change::BanIp(args.rest()),
        "unbanip" => {
            let words = args.rest();
            let report_absent = words.first().is_some_and(|w| w == "--report-absent");
            let ids: Vec<String> = words.into_iter().skip(usize::from(report_absent)).collect();
            if ids.is_empty() && !report_absent {
                return Err(missing());
            }
            Change::UnbanIp { report_absent, ids }
        }
        "addaction" => {
            let name = args.text()?;
            let python = args.maybe().map(|file| PythonSpec {
                file,
                params: args.maybe().unwrap_or_else(|| "{}".into()),
            });
            Change::AddAction { name, python }
        }
        "delaction" => Change::DelAction(args.text()?),
        "action" => {
            let (name, key) = (args.text()?, args.text()?);
            // Of an action in Python only the action knows its methods, which need no value.
            let value = args.next().cloned().unwrap_or(Value::None);
            Change::Action { name, properties: vec![(key, value)] }
        }
        _ => match verb.strip_prefix("bantime.") {
            Some(option) => {
                Change::BanTimeExtra { option: option.to_owned(), value: args.next()?.clone() }
            }
            None => return Err(unknown_set(verb)),
        },
    })
}

fn get(args: &mut Args<'_>) -> Result<Command, CommandError> {
    let name = args.text()?;
    if SETTINGS.contains(&name.as_str()) {
        return Ok(Command::Setting { name, value: None });
    }
    let verb = args.text()?;
    let what = match verb.as_str() {
        "banned" => Query::Banned(args.rest()),
        "banip" => Query::BanIp { with_time: args.maybe().as_deref() == Some("--with-time") },
        "logpath" => Query::LogPath,
        "logencoding" => Query::LogEncoding,
        "journalmatch" => Query::JournalMatch,
        "ignoreself" => Query::IgnoreSelf,
        "ignoreip" => Query::IgnoreIp,
        "ignorecommand" => Query::IgnoreCommand,
        "ignorecache" => Query::IgnoreCache,
        "prefregex" => Query::PrefRegex,
        "failregex" => Query::FailRegex,
        "ignoreregex" => Query::IgnoreRegex,
        "usedns" => Query::UseDns,
        "findtime" => Query::FindTime,
        "datepattern" => Query::DatePattern,
        "logtimezone" => Query::LogTimezone,
        "maxmatches" => Query::MaxMatches,
        "maxretry" => Query::MaxRetry,
        "maxlines" => Query::MaxLines,
        "bantime" => Query::BanTime,
        "actions" => Query::Actions,
        "action" => Query::Action { name: args.text()?, property: args.text()? },
        "actionproperties" => Query::ActionProperties(args.text()?),
        "actionmethods" => Query::ActionMethods(args.text()?),
        _ => match verb.strip_prefix("bantime.") {
            Some(option) => Query::BanTimeExtra(option.to_owned()),
            None => {
                return Err(invalid("Invalid command (no get action or not yet implemented)"));
            }
        },
    };
    Ok(Command::Get { jail: name, what })
}

/// `key="<ip>", max-count=100, max-time=5m`; empty switches the cache off.
fn ignore_cache(text: &str) -> Result<Option<IgnoreCache>, CommandError> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let mut cache = IgnoreCache { key: String::new(), max_count: 100, max_time: Number::Int(300) };
    let mut has_key = false;
    for (name, value) in pairs(text) {
        match name.as_str() {
            "key" => {
                cache.key = value;
                has_key = true;
            }
            "max-count" => cache.max_count = int(&Value::Str(value))?,
            "max-time" => cache.max_time = seconds(&Value::Str(value))?,
            _ => {}
        }
    }
    if !has_key {
        return Err(CommandError::new(ErrorClass::KeyError, "key"));
    }
    Ok(Some(cache))
}

/// `a=b, c="d e"`, separated by commas or blanks.
pub fn pairs(text: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut rest = text.trim_start_matches([',', ' ', '\t', '\n']);
    while let Some((name, tail)) = rest.split_once('=') {
        let quote = tail.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (value, after) = match quote {
            Some(q) => {
                let inner = tail.get(1..).unwrap_or("");
                inner.split_once(q).unwrap_or((inner, ""))
            }
            None => {
                let end = tail.find([',', ' ', '\t', '\n']).unwrap_or(tail.len());
                tail.split_at(end)
            }
        };
        out.push((name.trim().to_owned(), value.to_owned()));
        rest = after.trim_start_matches([',', ' ', '\t', '\n']);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(items: &[&str]) -> Words {
        Words { words: items.iter().map(|w| Value::str(*w)).collect(), origin: None }
    }

    #[test]
    fn refusals_are_pythons() {
        for (line, class, text) in [
            ("", ErrorClass::IndexError, "list index out of range"),
            ("foo", ErrorClass::Exception, "Invalid command"),
            ("set", ErrorClass::IndexError, "list index out of range"),
            ("set j", ErrorClass::IndexError, "list index out of range"),
            ("set j maxretry", ErrorClass::IndexError, "list index out of range"),
            (
                "set j foo x",
                ErrorClass::Exception,
                "Invalid command 'foo' (no set action or not yet implemented)",
            ),
            (
                "get j foo",
                ErrorClass::Exception,
                "Invalid command (no get action or not yet implemented)",
            ),
            ("status j x y", ErrorClass::Exception, "Invalid command (no status)"),
            (
                "set j maxretry x",
                ErrorClass::ValueError,
                "invalid literal for int() with base 10: 'x'",
            ),
            ("set j findtime abc", ErrorClass::NameError, "name 'abc' is not defined"),
            (
                "set j maxlines 0",
                ErrorClass::ValueError,
                "maxlines must be integer greater than zero",
            ),
            ("set j ignorecache foo=x", ErrorClass::KeyError, "'key'"),
            (
                "set j addlogpath /a foo",
                ErrorClass::ValueError,
                "File option must be 'head' or 'tail'",
            ),
            (
                "set j addlogpath /a tail x",
                ErrorClass::ValueError,
                "Only one file can be added at a time",
            ),
            ("set j idle foo", ErrorClass::Exception, "Invalid idle option, must be 'on' or 'off'"),
            ("add --all", ErrorClass::Exception, "Reserved name '--all'"),
            ("unban", ErrorClass::Exception, "Invalid command"),
            ("set j unbanip", ErrorClass::IndexError, "list index out of range"),
            ("get allowipv6", ErrorClass::IndexError, "list index out of range"),
        ] {
            let parts: Vec<&str> = line.split_whitespace().collect();
            let error = Command::parse(&words(&parts)).unwrap_err();
            assert_eq!((error.class, error.text().as_str()), (class, text), "{line}");
        }
    }

    #[test]
    fn times_keep_their_kind() {
        for (text, expected) in
            [("600", Number::Int(600)), ("10m", Number::Int(600)), ("1.5h", Number::Float(5400.0))]
        {
            let parsed = Command::parse(&words(&["set", "j", "findtime", text])).unwrap();
            let Command::Set { change: Change::FindTime(t), .. } = parsed else { panic!() };
            assert_eq!(t, expected, "{text}");
        }
    }

    #[test]
    fn ignore_cache_has_defaults() {
        let cache = ignore_cache("key=\"<ip> x\", max-time=5m").unwrap().unwrap();
        assert_eq!(
            cache,
            IgnoreCache { key: "<ip> x".into(), max_count: 100, max_time: Number::Int(300) }
        );
        assert_eq!(ignore_cache("").unwrap(), None);
    }

    #[test]
    fn deep_nesting_is_refused() {
        let mut value = Value::List(vec![]);
        for _ in 0..10_000 {
            value = Value::List(vec![value]);
        }
        let words = Words { words: vec![Value::str("server-stream"), value], origin: None };
        assert!(Command::parse(&words).is_err());
        // Dropping the nest must not overflow either; unwind it by hand.
        let mut inner = words.words.into_iter().nth(1);
        while let Some(Value::List(mut items)) = inner {
            inner = items.pop();
        }
    }
}
