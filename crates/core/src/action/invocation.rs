//! The dynamic half: values of a ticket enter a command, as data.
//!
//! One pass over the text, then one for the captured groups; what was inserted is never looked at
//! again. A value that means something to a shell is handed over as a positional parameter and
//! named by a first line (`f2bV_matches=$0 …`), so no value can become part of the script.

use super::escape;
use super::facts::{Facts, LookUp};
use super::prepared::Prepared;
use super::tags::replace_tags;

/// Longest value handed to a command, in bytes: the kernel takes no single argument of 128 KiB.
const MAX_VALUE: usize = 120 << 10;
/// Longest value inserted literally; longer ones would fill the script, itself one argument.
const MAX_LITERAL: usize = 4 << 10;
/// Bytes of all values together; the kernel's limit is 2 MiB at the least on common systems.
const MAX_VALUES: usize = 1 << 20;

/// A complete command: `sh -c script args…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    script: String,
    args: Vec<String>,
}

impl Invocation {
    /// The script, for `sh -c`.
    pub fn script(&self) -> &str {
        &self.script
    }
    /// The positional parameters `$0`, `$1`, …
    pub fn args(&self) -> &[String] {
        &self.args
    }
    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.script.is_empty()
    }
}

/// Shell variables in order of first use.
#[derive(Default)]
struct Variables {
    list: Vec<(String, String)>,
    bytes: usize,
}

impl Variables {
    /// What stands for `value` in the script.
    fn place(&mut self, tag: &str, mut value: String, after: &str) -> String {
        value.retain(|c| c != '\0');
        if escape::is_plain(&value) && value.len() <= MAX_LITERAL {
            return value;
        }
        let room = MAX_VALUE.min(MAX_VALUES.saturating_sub(self.bytes));
        // Of too many log lines the beginning is as good as the end; whole characters only.
        value.truncate(value.floor_char_boundary(room));
        let mut name = escape::variable(tag);
        // Two tags may come out as one name (`a.b`, `a-b`); they must not share a value.
        while self.list.iter().any(|(n, v)| *n == name && *v != value) {
            name.push('_');
        }
        // `$name` followed by a word character would be another variable.
        let word = after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let reference = if word { format!("${{{name}}}") } else { format!("${name}") };
        if !self.list.iter().any(|(n, _)| *n == name) {
            self.bytes = self.bytes.saturating_add(value.len());
            self.list.push((name, value));
        }
        reference
    }
}

impl Prepared {
    /// Completes the command; asks `look_up` for nothing that does not occur in it.
    pub fn fill(&self, facts: &Facts<'_>, look_up: &mut dyn LookUp) -> Invocation {
        let mut vars = Variables::default();
        let text = replace_tags(&self.text, |tag, after| match tag {
            "br" => Some("\n".to_owned()),
            "sp" => Some(" ".to_owned()),
            "fq-hostname" => Some(vars.place(tag, look_up.own_host_name(true), after)),
            "sh-hostname" => Some(vars.place(tag, look_up.own_host_name(false), after)),
            _ => {
                let value = facts.value(tag, look_up)?;
                Some(vars.place(tag, value, after))
            }
        });
        // Nothing inserted above contains `<`, so only tags of the command are found here.
        let text = replace_tags(&text, |tag, after| {
            let name = tag.strip_prefix("F-").filter(|name| is_group_name(name))?;
            let option = match name {
                "ID" => "fid".to_owned(),
                "PORT" => "fport".to_owned(),
                name => name.to_ascii_lowercase(),
            };
            let value = facts.group(&option).unwrap_or_default();
            Some(vars.place(&format!("F_{option}"), value, after))
        });
        let text = text.replace('\0', "");
        if vars.list.is_empty() {
            return Invocation { script: text, args: Vec::new() };
        }
        let mut script = String::new();
        for (i, (name, _)) in vars.list.iter().enumerate() {
            // `$10` would be `$1` and a zero.
            let number = if i < 10 { format!("${i}") } else { format!("${{{i}}}") };
            script.push_str(name);
            script.push('=');
            script.push_str(&number);
            script.push(' ');
        }
        script.push('\n');
        script.push_str(&text);
        Invocation { script, args: vars.list.into_iter().map(|(_, value)| value).collect() }
    }
}

fn is_group_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-'))
}
