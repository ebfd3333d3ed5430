//! What a filter finds: one failure of one attacker.

use crate::id::Id;
use crate::time::Timestamp;
use crate::value::Value;

/// Captured groups and what was derived from them, in insertion order like the Python dictionary
/// that ends up in the database (`user`, `ip4`, `mlfid`, …).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(Vec<(String, Value)>);

impl Fields {
    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(k, _)| k == name).map(|(_, v)| v)
    }
    /// The text of `name`, if it is a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }
    /// Sets `name`, keeping its place if it had one.
    pub fn set(&mut self, name: &str, value: Value) {
        match self.0.iter_mut().find(|(k, _)| k == name) {
            Some((_, v)) => *v = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }
    /// Removes `name`.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(k, _)| k == name)?;
        Some(self.0.remove(at).1)
    }
    /// All pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }
    /// Without the groups that did not match.
    pub fn known(mut self) -> Fields {
        self.0.retain(|(_, value)| *value != Value::None);
        self
    }
    /// Whether nothing was captured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One log line that belongs to a failure, as the database and `<matches>` know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MatchedLine {
    /// The whole line.
    Whole(String),
    /// The line cut at its date: before, date, after.
    Cut([String; 3]),
}

impl MatchedLine {
    /// The same line, not cut.
    pub fn whole(self) -> MatchedLine {
        match self {
            MatchedLine::Whole(_) => self,
            MatchedLine::Cut(parts) => MatchedLine::Whole(parts.concat()),
        }
    }
    /// The line as it stood in the log.
    pub fn text(&self) -> String {
        match self {
            MatchedLine::Whole(line) => line.clone(),
            MatchedLine::Cut(parts) => parts.concat(),
        }
    }
}

/// One failure of one attacker, ready to be counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What it counts under and what is banned.
    pub id: Id,
    /// The address it came from, where that is not the id (`<ip>` beside `<fid>`).
    pub address: Option<Id>,
    /// When it happened.
    pub time: Timestamp,
    /// Whether that is a whole number in fail2ban, which `<time>` shows without a fraction.
    pub whole: bool,
    /// How many attempts it stands for (at least 1).
    pub attempts: u32,
    /// The lines, oldest first.
    pub matches: Vec<MatchedLine>,
    /// Captured groups.
    pub fields: Fields,
}
