//! How this crate sees files: a trait of three questions, and the trees that answer them.
//!
//! Reading through a trait lets the edge lay an administrator's folder over the tree that is
//! embedded in the binary, and lets tests write whole configurations as text. The
//! real file system is the edge's.

use std::collections::BTreeMap;

use sekisho_core::spec::is_pattern;
use thiserror::Error;

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file, or anything else that can be opened and read.
    File,
    /// A folder.
    Dir,
    /// A symbolic link to nothing.
    Dangling,
}

/// Why a file gave no text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// It does not exist.
    #[error("no such file")]
    NotFound,
    /// It exists, but the system refuses.
    #[error("{0}")]
    Refused(String),
}

/// A tree of files. Paths are `/`-separated texts, used exactly as they will be shown.
pub trait Files {
    /// The content of a file.
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError>;
    /// What a path is; `None` if there is nothing.
    fn kind(&self, path: &str) -> Option<Kind>;
    /// Names in a folder, in any order; empty if it is none.
    fn list(&self, dir: &str) -> Vec<String>;
}

/// Files held in memory.
#[derive(Clone, Debug, Default)]
pub struct MapFiles {
    files: BTreeMap<String, Vec<u8>>,
}

impl MapFiles {
    /// A tree of `(path below base, text)` pairs, e.g. the one embedded in the binary.
    pub fn new<'a>(base: &str, files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut map = MapFiles::default();
        for (path, text) in files {
            map.insert(&join(base, path), text.as_bytes());
        }
        map
    }
    /// Adds or replaces one file.
    pub fn insert(&mut self, path: &str, content: &[u8]) {
        self.files.insert(path.to_owned(), content.to_owned());
    }
}

impl Files for MapFiles {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        self.files.get(path).cloned().ok_or(ReadError::NotFound)
    }
    fn kind(&self, path: &str) -> Option<Kind> {
        if self.files.contains_key(path) {
            return Some(Kind::File);
        }
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let below = self.files.range(prefix.clone()..).next();
        below.filter(|(p, _)| p.starts_with(&prefix)).map(|_| Kind::Dir)
    }
    fn list(&self, dir: &str) -> Vec<String> {
        let prefix = match dir {
            "" => String::new(),
            "/" => "/".to_owned(),
            dir => format!("{dir}/"),
        };
        let mut names: Vec<String> = self
            .files
            .range(prefix.clone()..)
            .take_while(|(path, _)| path.starts_with(&prefix))
            .filter_map(|(path, _)| path.strip_prefix(&prefix)?.split('/').next())
            .map(str::to_owned)
            .collect();
        names.dedup();
        names
    }
}

/// One tree laid over another: the upper one is asked first, folders show both.
#[derive(Clone, Copy)]
pub struct Overlay<'a> {
    /// Asked first.
    pub upper: &'a dyn Files,
    /// Asked when the upper one has nothing.
    pub lower: &'a dyn Files,
}

impl Files for Overlay<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        match self.upper.read(path) {
            Err(ReadError::NotFound) => self.lower.read(path),
            other => other,
        }
    }
    fn kind(&self, path: &str) -> Option<Kind> {
        self.upper.kind(path).or_else(|| self.lower.kind(path))
    }
    fn list(&self, dir: &str) -> Vec<String> {
        let mut names = self.upper.list(dir);
        names.extend(self.lower.list(dir));
        names.sort();
        names.dedup();
        names
    }
}

/// `dir/name`, or `name` alone when it is absolute or there is no folder.
pub fn join(dir: &str, name: &str) -> String {
    if name.starts_with('/') || dir.is_empty() {
        name.to_owned()
    } else {
        format!("{}/{name}", dir.trim_end_matches('/'))
    }
}

/// Folder part of a path, `""` if there is none.
pub fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) => "/",
        Some(at) => path.get(..at).unwrap_or(""),
        None => "",
    }
}

/// Paths that match a shell pattern (`*`, `?`, `[…]`, no `**`), sorted; names that begin with a
/// dot only match a pattern that does. A path without pattern characters is itself, if it exists.
pub fn glob(files: &dyn Files, pattern: &str) -> Vec<String> {
    let mut found = match pattern.strip_prefix('/') {
        Some(rest) => expand(files, "/", rest),
        None => expand(files, "", pattern),
    };
    found.sort();
    found.dedup();
    found
}

fn expand(files: &dyn Files, dir: &str, rest: &str) -> Vec<String> {
    if !is_pattern(rest) {
        let path = if dir == "/" { format!("/{rest}") } else { join(dir, rest) };
        return if files.kind(&path).is_some() { vec![path] } else { Vec::new() };
    }
    let (head, tail) = match rest.split_once('/') {
        Some((head, tail)) => (head, Some(tail)),
        None => (rest, None),
    };
    let below = |name: &str| if dir == "/" { format!("/{name}") } else { join(dir, name) };
    let names: Vec<String> = if is_pattern(head) {
        let hidden = head.starts_with('.');
        let all = files.list(dir).into_iter();
        all.filter(|n| (hidden || !n.starts_with('.')) && matches(head, n)).collect()
    } else {
        vec![head.to_owned()]
    };
    let mut found = Vec::new();
    for name in names {
        let path = below(&name);
        match tail {
            None => found.push(path),
            Some(tail) if files.kind(&path) == Some(Kind::Dir) => {
                found.extend(expand(files, &path, tail));
            }
            Some(_) => {}
        }
    }
    found
}

/// Whether a name matches one pattern component. Linear in name × pattern: the last `*` retries.
pub fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() || p < pattern.len() {
        let step = match (pattern.get(p), name.get(n)) {
            (Some('*'), _) => {
                retry = Some((p, n));
                p += 1;
                continue;
            }
            (Some('?'), Some(_)) => Some(p + 1),
            (Some('['), Some(c)) => match class(&pattern, p, *c) {
                Some((true, after)) => Some(after),
                Some((false, _)) => None,
                None if *c == '[' => Some(p + 1),
                None => None,
            },
            (Some(want), Some(c)) if want == c => Some(p + 1),
            _ => None,
        };
        match (step, retry) {
            (Some(next), _) => {
                p = next;
                n += 1;
            }
            (None, Some((star, at))) if at < name.len() => {
                retry = Some((star, at + 1));
                p = star + 1;
                n = at + 1;
            }
            _ => return false,
        }
    }
    true
}

/// Whether `c` is in the class that opens at `open`, and where the class ends.
fn class(pattern: &[char], open: usize, c: char) -> Option<(bool, usize)> {
    let mut at = open + 1;
    let negated = pattern.get(at) == Some(&'!');
    at += usize::from(negated);
    let first = at;
    let mut found = false;
    loop {
        let low = *pattern.get(at)?;
        if low == ']' && at > first {
            return Some((found != negated, at + 1));
        }
        match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some('-'), Some(high)) if *high != ']' => {
                found |= (low..=*high).contains(&c);
                at += 3;
            }
            _ => {
                found |= low == c;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_patterns() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*error.log", "a-error.log", true),
            ("*error.log", "a-error.logs", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]x", "]x", true),
            ("[x", "[x", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_find_files() {
        let upper = MapFiles::new("/var/log", [("a/x.log", ""), ("b/x.log", ""), ("b/.y.log", "")]);
        let lower = MapFiles::new("/var/log", [("b/z.log", ""), ("x.log", "")]);
        let files = Overlay { upper: &upper, lower: &lower };
        for (pattern, expected) in [
            ("/var/log/*/*.log", "/var/log/a/x.log /var/log/b/x.log /var/log/b/z.log"),
            ("/var/log/b/.*", "/var/log/b/.y.log"),
            ("/var/*", "/var/log"),
            ("/var/log/x.log", "/var/log/x.log"),
            ("/var/log/nosuch", ""),
            ("/*/*/x.log", "/var/log/x.log"),
        ] {
            assert_eq!(glob(&files, pattern).join(" "), expected, "{pattern}");
        }
    }
}
