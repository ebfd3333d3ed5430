//! A value with its origin, and ordered maps of them: the material every stage works on.

use std::collections::HashMap;
use std::sync::Arc;

use sekisho_core::command::Origin;

/// A text and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub value: Arc<str>,
    /// The line of its option.
    pub origin: Origin,
}

impl Text {
    /// A text that comes from `origin`.
    pub fn new(value: impl Into<Arc<str>>, origin: &Origin) -> Self {
        Text { value: value.into(), origin: origin.clone() }
    }
}

/// A map that remembers insertion order; replacing a value keeps its place.
#[derive(Clone, Debug)]
pub struct OrderedMap<V> {
    items: Vec<(String, V)>,
    index: HashMap<String, usize>,
}

impl<V> Default for OrderedMap<V> {
    fn default() -> Self {
        OrderedMap { items: Vec::new(), index: HashMap::new() }
    }
}

impl<V> OrderedMap<V> {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&V> {
        self.items.get(*self.index.get(key)?).map(|(_, v)| v)
    }
    /// Inserts or replaces; answers the value that was there.
    pub fn insert(&mut self, key: &str, value: V) -> Option<V> {
        if let Some(slot) = self.index.get(key).and_then(|at| self.items.get_mut(*at)) {
            return Some(std::mem::replace(&mut slot.1, value));
        }
        self.index.insert(key.to_owned(), self.items.len());
        self.items.push((key.to_owned(), value));
        None
    }
    /// The value of `key`, made by `make` if there is none.
    pub fn entry(&mut self, key: &str, make: impl FnOnce() -> V) -> Option<&mut V> {
        if !self.index.contains_key(key) {
            self.insert(key, make());
        }
        self.items.get_mut(*self.index.get(key)?).map(|(_, v)| v)
    }
    /// Whether `key` is there.
    pub fn contains(&self, key: &str) -> bool {
        self.index.contains_key(key)
    }
    /// All pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.items.iter().map(|(k, v)| (k.as_str(), v))
    }
    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// Options of one section.
pub type Options = OrderedMap<Text>;

/// Python's `str.isspace` for one character.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Python's `str.strip()`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}
