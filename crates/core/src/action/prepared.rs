//! The static half: an action's own properties, resolved into a command.
//!
//! Properties come from the administrator's files, so they may contain tags again. Values that an
//! attacker can influence must never pass through here: they would be searched for tags.

use std::fmt;

use super::escape;
use super::tags::replace_tags;
use crate::duration;
use crate::effect::{ActionSpec, DEFAULT_ACTION_TIMEOUT};
use crate::expr::Number;
use crate::id::Family;

/// Passes over a command before its definitions are taken for circular.
const MAX_PASSES: usize = 100;
/// Length in bytes at which definitions that multiply themselves are given up.
const MAX_LENGTH: usize = 1 << 20;
/// Commands that exist in every action, empty unless configured.
const COMMANDS: &[&str] = &[
    "actionstart",
    "actionstop",
    "actioncheck",
    "actionban",
    "actionunban",
    "actionflush",
    "actionrepair",
    "actionreload",
    "actionreban",
];
/// Tags whose static value is text of a log all the same.
const FROM_LOGS: &[&str] = &["matches", "ipmatches", "ipjailmatches"];

/// The family a command runs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunFamily {
    /// An action without conditional values: one run, `<family>` empty at start and stop.
    Any,
    /// One family of an action with conditional values.
    Only(Family),
    /// An id that is no address.
    None,
}

impl RunFamily {
    /// The family of an id.
    pub fn of(family: Option<Family>) -> Self {
        family.map_or(Self::None, Self::Only)
    }
    /// What `<family>` renders as.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Only(family) => family.as_str(),
            Self::None => "None",
        }
    }
}

/// A command with the action's properties in it, and nothing else yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    pub(super) text: String,
    pub(super) family: RunFamily,
}

/// Why a command could not be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// Definitions refer to each other in a circle, or multiply without end.
    #[error(
        "command `{command}`: its tags refer to themselves or grow beyond {MAX_LENGTH} bytes; \
         look for a property that contains its own name in angle brackets"
    )]
    Circular {
        /// The command's name.
        command: String,
    },
}

/// The value of property `key` for a family: the conditional one first.
pub fn property<'a>(spec: &'a ActionSpec, key: &str, family: RunFamily) -> Option<&'a str> {
    if let RunFamily::Only(family) = family
        && let Some(value) = spec.get(&format!("{key}?family={}", family.as_str()))
    {
        return Some(value);
    }
    spec.get(key).or_else(|| COMMANDS.contains(&key).then_some(""))
}

/// Resolves command `key` of an action for a family; a missing command is an empty one.
pub fn prepare(spec: &ActionSpec, key: &str, family: RunFamily) -> Result<Prepared, TagError> {
    let mut text = property(spec, key, family).unwrap_or_default().to_owned();
    for _ in 0..MAX_PASSES {
        let (mut replaced, mut length) = (false, text.len());
        let next = replace_tags(&text, |tag, _| {
            let value = static_value(spec, tag, family)?;
            (replaced, length) = (true, length.saturating_add(value.len()));
            (length <= MAX_LENGTH).then_some(value)
        });
        if !replaced {
            return Ok(Prepared { text, family });
        }
        if length > MAX_LENGTH {
            break;
        }
        text = next;
    }
    Err(TagError::Circular { command: key.to_owned() })
}

/// A command that belongs to no action (`ignorecommand`): only its dynamic tags will be replaced.
pub fn prepare_text(text: &str, family: RunFamily) -> Prepared {
    Prepared { text: text.to_owned(), family }
}

/// The action's `timeout` in seconds; 60 unless it is configured with sense.
pub fn timeout(spec: &ActionSpec) -> Number {
    let parsed = spec.get("timeout").and_then(|text| duration::parse(text).ok());
    parsed.unwrap_or(Number::Int(DEFAULT_ACTION_TIMEOUT.as_secs()))
}

fn static_value(spec: &ActionSpec, tag: &str, family: RunFamily) -> Option<String> {
    match tag {
        // The ban time is always the ticket's.
        "bantime" => return None,
        "timeout" => return Some(timeout(spec).to_string()),
        _ => {}
    }
    let value = property(spec, tag, family)?;
    Some(if FROM_LOGS.contains(&tag) { escape::backslash(value) } else { value.to_owned() })
}

impl Prepared {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.text.trim().is_empty()
    }
    /// The family it runs for.
    pub const fn family(&self) -> RunFamily {
        self.family
    }
    /// What tells two runs apart: two families whose commands have the same key need one run. What
    /// is no family of its own does not make a difference.
    pub fn run_key(&self) -> String {
        match self.family {
            RunFamily::Only(family) => self.text.replace("<family>", family.as_str()),
            RunFamily::Any | RunFamily::None => self.text.clone(),
        }
    }
}

impl fmt::Display for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)], family: RunFamily, expected: Result<&str, ()>) {
        let mut spec = ActionSpec::default();
        for (k, v) in pairs {
            spec.properties.insert((*k).to_owned(), (*v).to_owned());
        }
        let got = prepare(&spec, "a", family).map(|p| p.to_string());
        assert_eq!(got.as_deref().map_err(|_| ()), expected, "{pairs:?}");
    }

    #[test]
    fn static_tags() {
        let any = RunFamily::Any;
        let six = RunFamily::Only(Family::Inet6);
        let four = RunFamily::Only(Family::Inet4);
        check(&[], any, Ok(""));
        check(&[("a", "<b>"), ("b", "<c>"), ("c", "C")], any, Ok("C"));
        check(&[("a", "<x<b>>"), ("b", "1"), ("x1", "yes")], any, Ok("yes"));
        check(&[("a", "<x>>"), ("x", "<b"), ("b", "B")], any, Ok("B"));
        check(
            &[("a", "<nosuch> <ip> <bantime>"), ("bantime", "9")],
            any,
            Ok("<nosuch> <ip> <bantime>"),
        );
        check(&[("a", "<timeout><actionflush>.")], any, Ok("60."));
        check(&[("a", "<matches>"), ("matches", "x<b>;\n")], any, Ok("x\\<b\\>\\;\\n"));
        check(&[("a", "A<b>"), ("b", "B"), ("b?family=inet6", "")], six, Ok("A"));
        check(&[("a", "A<b>"), ("b", "B"), ("b?family=inet6", "")], four, Ok("AB"));
        check(&[("a", "A<b>"), ("b", "B"), ("b?family=inet6", "")], any, Ok("AB"));
        check(&[("a?family=inet6", "six")], four, Ok(""));
        check(&[("a", "<a>")], any, Err(()));
        check(&[("a", "x<a>")], any, Err(()));
        check(&[("a", "<b>"), ("b", "<c>."), ("c", "<b>")], any, Err(()));
        check(&[("a", "<b><b>"), ("b", "<a><a>")], any, Err(()));
    }
}
