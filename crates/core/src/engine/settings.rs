//! `set J …` as a change of the specification, `get J …` as a look at it.

use super::desk::{Desk, logger};
use super::jail::Jail;
use crate::bantime::number;
use crate::command::call::METHODS;
use crate::command::{Change, CommandError, ErrorClass, Query};
use crate::effect::{ActionSpec, Level};
use crate::filter::UseDns;
use crate::id::Id;
use crate::spec::{ACTION_COMMANDS, JailSpec, LogPath, get_property, set_property};
use crate::value::Value;

fn error(class: ErrorClass, text: impl Into<String>) -> CommandError {
    CommandError::new(class, text)
}

/// Applies a change that is one of the specification. Changes of what happens at run time (`idle`,
/// `attempt`, `banip`, `unbanip`) are not, and leave it as it is.
pub(super) fn apply(
    desk: &mut Desk,
    name: &str,
    spec: &mut JailSpec,
    change: &Change,
) -> Result<(), CommandError> {
    match change {
        Change::Idle(_) | Change::Attempt { .. } | Change::BanIp(_) | Change::UnbanIp { .. } => {}
        Change::IgnoreSelf(on) => spec.ignore_self = *on,
        Change::AddIgnoreIp(words) => words.iter().for_each(|word| spec.ignore_ip.add(word)),
        Change::DelIgnoreIp(word) => {
            if !spec.ignore_ip.remove(word) {
                return Err(error(ErrorClass::ValueError, "list.remove(x): x not in list"));
            }
        }
        Change::IgnoreCommand(command) => spec.ignore_command = Some(command.clone()),
        Change::IgnoreCache(cache) => spec.ignore_cache.clone_from(cache),
        Change::AddLogPath { path, tail } => {
            if spec.logs.iter().any(|l| l.path == *path) {
                let text = format!("{path} already exists");
                desk.log(Level::Error, logger::FILTER, text);
            } else {
                spec.logs.push(LogPath { path: path.clone(), tail: *tail });
            }
        }
        Change::DelLogPath(path) => spec.logs.retain(|l| l.path != *path),
        Change::LogEncoding(encoding) => {
            if encoding.is_empty() || !(desk.config.known_encoding)(encoding) {
                let text = format!("unknown encoding: {encoding}");
                return Err(error(ErrorClass::LookupError, text));
            }
            spec.encoding.clone_from(encoding);
            let shown = shown_encoding(desk, spec);
            desk.log(Level::Info, logger::FILTER, format!("  encoding: {shown}"));
        }
        Change::UseDns(mode) => {
            let known = UseDns::parse(mode).unwrap_or_else(|| {
                let text =
                    format!("Incorrect value '{mode}' specified for usedns. Using safe 'no'");
                desk.log(Level::Error, logger::FILTER, text);
                UseDns::No
            });
            known.as_str().clone_into(&mut spec.lines.usedns);
        }
        Change::FindTime(time) => {
            spec.find_time = *time;
            desk.log(Level::Info, logger::FILTER, format!("  findtime: {time}"));
        }
        Change::BanTime(secs) => {
            spec.ban_time = *secs;
            desk.log(Level::Info, logger::ACTIONS, format!("  banTime: {secs}"));
        }
        Change::MaxRetry(n) => {
            spec.max_retry = *n;
            desk.log(Level::Info, logger::FILTER, format!("  maxRetry: {n}"));
        }
        Change::MaxMatches(n) => spec.max_matches = *n,
        Change::MaxLines(n) => {
            spec.lines.maxlines = *n;
            desk.log(Level::Info, logger::FILTER, format!("  maxLines: {n}"));
        }
        Change::DatePattern(pattern) => spec.lines.datepattern.clone_from(pattern),
        Change::LogTimezone(zone) => spec.lines.logtimezone = Some(zone.clone()),
        Change::PrefRegex(regex) => spec.lines.prefregex.clone_from(regex),
        Change::AddFailRegex(list) => spec.lines.failregex.extend(list.iter().cloned()),
        Change::AddIgnoreRegex(list) => spec.lines.ignoreregex.extend(list.iter().cloned()),
        Change::DelFailRegex(at) => delete(desk, &mut spec.lines.failregex, *at),
        Change::DelIgnoreRegex(at) => delete(desk, &mut spec.lines.ignoreregex, *at),
        Change::AddJournalMatch(tokens) => {
            if spec.journal() {
                if let Some(bad) = tokens.iter().find(|t| *t != "+" && !is_journal_match(t)) {
                    let text = format!("Error adding journal match for: {}", join(tokens));
                    desk.log(Level::Error, logger::FILTER, text);
                    let text = format!(
                        "Invalid match {}; write FIELD=value, with FIELD in capital letters",
                        crate::value::repr_str(bad)
                    );
                    return Err(error(ErrorClass::ValueError, text));
                }
                let groups = tokens.split(|t| t == "+").map(<[String]>::to_vec);
                spec.journal_matches.extend(groups);
                let text = format!("[{name}] Added journal match for: {}", join(tokens));
                desk.log(Level::Info, logger::FILTER, text);
            }
        }
        Change::DelJournalMatch(tokens) => {
            let groups = &mut spec.journal_matches;
            match groups.iter().position(|group| group == tokens) {
                Some(at) => {
                    groups.remove(at);
                    let text = format!("[{name}] Removed journal match for: {}", list(tokens));
                    desk.log(Level::Info, logger::FILTER, text);
                }
                None if spec.journal() => {
                    let text = format!("Match {} not found", list(tokens));
                    return Err(error(ErrorClass::ValueError, text));
                }
                None => {}
            }
        }
        Change::BanTimeExtra { option, value } => {
            spec.increments.set(option, value)?;
            let shown = Some(value.to_text()).filter(|text| !text.is_empty());
            let text = format!("Set banTime.{option} = {}", shown.as_deref().unwrap_or("None"));
            desk.log(Level::Info, logger::JAIL, text);
        }
        Change::AddAction { name, python } => {
            if spec.actions.iter().any(|a| a.name == *name) {
                let text = format!("Action {name} already exists");
                return Err(error(ErrorClass::ValueError, text));
            }
            spec.actions.push(ActionSpec {
                name: name.clone(),
                file: python.as_ref().map(|p| p.file.clone()),
                python: python.clone(),
                ..ActionSpec::default()
            });
        }
        Change::DelAction(name) => {
            let at = spec.action(name)?;
            spec.actions.remove(at);
        }
        Change::Action { name, properties } => {
            let at = spec.action(name)?;
            if let Some(action) = spec.actions.get_mut(at) {
                for (key, value) in properties {
                    set_property(action, key, value)?;
                }
            }
        }
    }
    Ok(())
}

fn join(tokens: &[String]) -> String {
    crate::value::repr_str(&tokens.join(" "))
}

fn list(tokens: &[String]) -> String {
    Value::strs(tokens.iter().map(String::as_str)).repr()
}

/// `FIELD=value` with a name that a field of the journal can have.
fn is_journal_match(token: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    token.split_once('=').is_some_and(|(name, _)| {
        // Those with two underscores are places in the journal, not fields.
        !name.is_empty() && !name.starts_with("__") && name.bytes().all(allowed)
    })
}

fn delete(desk: &mut Desk, list: &mut Vec<String>, at: i64) {
    // Python counts from the end below zero.
    let len = i64::try_from(list.len()).unwrap_or(i64::MAX);
    let at = if at < 0 { at + len } else { at };
    match usize::try_from(at).ok().filter(|at| *at < list.len()) {
        Some(at) => {
            list.remove(at);
        }
        None => {
            let text = format!("Cannot remove regular expression. Index {at} is not valid");
            desk.log(Level::Error, logger::FILTER, text);
        }
    }
}

fn shown_encoding(desk: &Desk, spec: &JailSpec) -> String {
    match spec.encoding.to_lowercase().as_str() {
        "auto" => desk.config.encoding.clone(),
        _ => spec.encoding.clone(),
    }
}

/// What `set J …` answers after a change.
pub(super) fn answer(desk: &Desk, jail: &Jail, change: &Change) -> Result<Value, CommandError> {
    let query = match change {
        Change::Idle(_) => return Ok(Value::Bool(jail.idle)),
        Change::Attempt { .. } | Change::BanIp(_) | Change::UnbanIp { .. } => {
            return Ok(Value::None);
        }
        Change::IgnoreSelf(_) => Query::IgnoreSelf,
        Change::AddIgnoreIp(_) | Change::DelIgnoreIp(_) => Query::IgnoreIp,
        Change::IgnoreCommand(_) => Query::IgnoreCommand,
        Change::IgnoreCache(_) => Query::IgnoreCache,
        Change::AddLogPath { .. } | Change::DelLogPath(_) => Query::LogPath,
        Change::LogEncoding(_) => Query::LogEncoding,
        Change::UseDns(_) => Query::UseDns,
        Change::FindTime(_) => Query::FindTime,
        Change::BanTime(_) => Query::BanTime,
        Change::MaxRetry(_) => Query::MaxRetry,
        Change::MaxMatches(_) => Query::MaxMatches,
        Change::MaxLines(_) => Query::MaxLines,
        Change::DatePattern(_) => Query::DatePattern,
        Change::LogTimezone(_) => Query::LogTimezone,
        Change::PrefRegex(_) => Query::PrefRegex,
        Change::AddFailRegex(_) | Change::DelFailRegex(_) => Query::FailRegex,
        Change::AddIgnoreRegex(_) | Change::DelIgnoreRegex(_) => Query::IgnoreRegex,
        Change::AddJournalMatch(_) | Change::DelJournalMatch(_) => Query::JournalMatch,
        Change::BanTimeExtra { option, .. } => Query::BanTimeExtra(option.clone()),
        Change::AddAction { name, .. } => return Ok(Value::str(name)),
        Change::DelAction(_) => return Ok(Value::None),
        Change::Action { name, properties } => match properties.last() {
            Some((key, _)) => Query::Action { name: name.clone(), property: key.clone() },
            None => return Ok(Value::None),
        },
    };
    get(desk, jail, &query)
}

/// `get J …`
pub(super) fn get(desk: &Desk, jail: &Jail, query: &Query) -> Result<Value, CommandError> {
    let spec = &jail.spec;
    let mono = desk.now.mono;
    Ok(match query {
        Query::Banned(ids) if ids.is_empty() => {
            Value::strs(jail.shown(mono).map(|b| b.ticket.id.to_string()))
        }
        Query::Banned(ids) => {
            let mut found: Vec<Value> = ids
                .iter()
                .map(|id| Value::Int(i64::from(jail.shows_id(&Id::parse(id), mono))))
                .collect();
            match (found.pop(), found.is_empty()) {
                (Some(one), true) => one,
                (last, _) => {
                    found.extend(last);
                    Value::List(found)
                }
            }
        }
        Query::BanIp { with_time } => {
            let order = jail.bans.by_end();
            let shown = order.into_iter().filter(|b| jail.shows(b, mono));
            Value::strs(shown.map(|b| match with_time {
                true => jail.with_time(desk, &b.ticket),
                false => b.ticket.id.to_string(),
            }))
        }
        Query::LogPath => Value::strs(spec.logs.iter().map(|l| l.path.clone())),
        Query::LogEncoding => Value::Str(shown_encoding(desk, spec)),
        Query::JournalMatch => {
            Value::List(spec.journal_matches.iter().map(|m| Value::strs(m.clone())).collect())
        }
        Query::IgnoreSelf => Value::Bool(spec.ignore_self),
        Query::IgnoreIp => Value::strs(spec.ignore_ip.texts()),
        // As long as nobody set one, Python's word for none.
        Query::IgnoreCommand => spec.ignore_command.as_ref().map_or(Value::Bool(false), Value::str),
        Query::IgnoreCache => match &spec.ignore_cache {
            None => Value::None,
            Some(cache) => Value::List(vec![
                Value::str(&cache.key),
                Value::Int(cache.max_count),
                number(cache.max_time),
            ]),
        },
        Query::PrefRegex => jail.lines.shown_prefix(spec),
        Query::FailRegex => jail.lines.shown_fail(spec),
        Query::IgnoreRegex => jail.lines.shown_ignore(spec),
        Query::UseDns => Value::str(&spec.lines.usedns),
        Query::FindTime => number(spec.find_time),
        Query::DatePattern => jail.lines.shown_date_pattern(spec),
        Query::LogTimezone => spec.lines.logtimezone.as_ref().map_or(Value::None, Value::str),
        Query::MaxMatches => Value::Int(spec.max_matches),
        Query::MaxRetry => Value::Int(spec.max_retry),
        Query::MaxLines => Value::Int(spec.lines.maxlines),
        Query::BanTime => Value::Int(spec.ban_time),
        Query::BanTimeExtra(option) => spec.increments.get(option),
        Query::Actions => Value::strs(spec.actions.iter().map(|a| a.name.clone())),
        Query::Action { name, property } => get_property(action(spec, name)?, property)?,
        Query::ActionProperties(name) => {
            let action = action(spec, name)?;
            let mut names: Vec<&str> = ACTION_COMMANDS.into_iter().chain(["timeout"]).collect();
            names.extend(action.properties.keys().map(String::as_str));
            names.sort_unstable();
            names.dedup();
            Value::strs(names)
        }
        Query::ActionMethods(name) => {
            action(spec, name)?;
            Value::strs(METHODS.map(|method| method.name))
        }
    })
}

fn action<'a>(spec: &'a JailSpec, name: &str) -> Result<&'a ActionSpec, CommandError> {
    let at = spec.action(name)?;
    let missing = || error(ErrorClass::KeyError, format!("Invalid Action name: {name}"));
    spec.actions.get(at).ok_or_else(missing)
}
