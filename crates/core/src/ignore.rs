//! Who must never be counted: `ignoreip` and `ignoreself`.
//!
//! Judging is pure: what an entry needs from the world (a name's addresses, a file's words, our own
//! addresses) is looked up in [`Known`]; what is not known yet comes back as a [`Question`], and the
//! caller asks again when it has the answer. Every store of answers is bounded and grows old.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::effect::FileStamp;
use crate::id::{Id, Net, canonical};
use crate::time::{Monotonic, Span};

/// How long names and own addresses are believed, found or not.
const LIFE: Span = Span::from_secs(300);
/// How often a file is looked at.
const FILE_LIFE: Span = Span::from_secs(1);
/// How long a file that cannot be read is left alone.
const FILE_PAUSE: Span = Span::from_secs(60);
/// Most names remembered.
const MAX_NAMES: usize = 1000;
/// Most files remembered.
const MAX_FILES: usize = 100;
/// Most words taken from one file.
const MAX_WORDS: usize = 200_000;

/// The entries of `ignoreip`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IgnoreList {
    ordered: Vec<Entry>,
    singles: BTreeSet<Id>,
}

#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Net(Net),
    /// A host name, or any other text (which matches an id that is this text).
    Name(String),
    /// A file's words; this is its path.
    File(String),
}

/// What has been found out about the world.
#[derive(Clone, Debug, Default)]
pub struct Known {
    own: Option<(Monotonic, Vec<IpAddr>)>,
    names: BTreeMap<String, (Monotonic, Vec<IpAddr>)>,
    files: BTreeMap<String, FileWords>,
}

#[derive(Clone, Debug, Default)]
struct FileWords {
    /// Believed until then.
    until: Monotonic,
    stamp: Option<FileStamp>,
    list: IgnoreList,
}

/// What must be found out before a verdict is possible.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Our own addresses.
    Own,
    /// Addresses of a name.
    Name(String),
    /// The words of a file.
    File(String),
}

/// Whether an id is to be ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Counts,
    /// It does not, by this rule (`ip`, `dns`, `file:…`, `ignoreself rule`).
    Ignored(String),
    /// Not known yet.
    Ask(Question),
}

impl IgnoreList {
    /// Adds one entry, unless it is there already (or empty). An id may contain blanks.
    pub fn add(&mut self, word: &str) {
        let word = word.trim();
        if word.is_empty() {
            return;
        }
        let entry = match entry(word) {
            Ok(entry) => entry,
            Err(id) => {
                self.singles.insert(id);
                return;
            }
        };
        if !self.ordered.contains(&entry) {
            self.ordered.push(entry);
        }
    }

    /// Removes an entry; whether it was there.
    pub fn remove(&mut self, word: &str) -> bool {
        let before = self.ordered.len() + self.singles.len();
        match entry(word) {
            Ok(entry) => self.ordered.retain(|e| *e != entry),
            Err(id) => {
                self.singles.remove(&id);
            }
        }
        self.ordered.len() + self.singles.len() < before
    }

    /// As `get J ignoreip` lists it: networks, names and files in order, then single addresses.
    pub fn texts(&self) -> Vec<String> {
        let ordered = self.ordered.iter().map(|e| match e {
            Entry::Net(net) => net.to_string(),
            Entry::Name(text) => text.clone(),
            Entry::File(path) => shown_file(path),
        });
        ordered.chain(self.singles.iter().map(Id::to_string)).collect()
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.ordered.is_empty() && self.singles.is_empty()
    }

    /// Judges an id; files inside files are not followed.
    fn judge(&self, id: &Id, known: &Known, now: Monotonic, files: bool) -> Verdict {
        let same = |entry: &Entry| matches!((entry, id), (Entry::Name(n), Id::Raw(t)) if n == t);
        if self.singles.contains(id) || self.ordered.iter().any(same) {
            return Verdict::Ignored("ip".into());
        }
        for entry in &self.ordered {
            match entry {
                Entry::Net(net) => {
                    let inside = match id {
                        Id::Ip(ip) => net.contains(*ip),
                        Id::Net(other) => net.contains_net(*other),
                        Id::Raw(_) | Id::Tuple(_) => false,
                    };
                    if inside {
                        return Verdict::Ignored("ip".into());
                    }
                }
                Entry::Name(name) => match id {
                    Id::Ip(ip) if is_host_name(name) => match known.name(name, now) {
                        None => return Verdict::Ask(Question::Name(name.clone())),
                        Some(ips) if ips.contains(ip) => return Verdict::Ignored("dns".into()),
                        Some(_) => {}
                    },
                    _ => {}
                },
                Entry::File(path) if files => {
                    let Some(words) = known.files.get(path).filter(|f| now < f.until) else {
                        return Verdict::Ask(Question::File(path.clone()));
                    };
                    match words.list.judge(id, known, now, false) {
                        Verdict::Counts => {}
                        Verdict::Ignored(_) => return Verdict::Ignored(shown_file(path)),
                        ask => return ask,
                    }
                }
                Entry::File(_) => {}
            }
        }
        Verdict::Counts
    }
}

/// A file as fail2ban lists it, whichever way it was written.
fn shown_file(path: &str) -> String {
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("file:{root}{path}")
}

/// A network, name or file; a single address or raw id otherwise.
fn entry(word: &str) -> Result<Entry, Id> {
    if let Some(path) = word.strip_prefix("file:") {
        // file:///p and file://p are the same file as file:/p.
        let relative = path.trim_start_matches('/');
        let root = if relative.len() < path.len() { "/" } else { "" };
        return Ok(Entry::File(format!("{root}{relative}")));
    }
    match Id::parse(word) {
        Id::Net(net) => Ok(Entry::Net(net)),
        Id::Raw(text) => Ok(Entry::Name(text)),
        id => Err(id),
    }
}

/// Whether it is worth asking DNS for it.
pub fn is_host_name(text: &str) -> bool {
    text.len() <= 253
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        && text.bytes().any(|b| b.is_ascii_alphabetic())
}

/// Judges an id by `ignoreself` and `ignoreip`.
pub fn judge(
    list: &IgnoreList,
    ignore_self: bool,
    id: &Id,
    known: &Known,
    now: Monotonic,
) -> Verdict {
    if ignore_self && let Id::Ip(ip) = id {
        match known.own(now) {
            None => return Verdict::Ask(Question::Own),
            Some(own) if own.contains(ip) => return Verdict::Ignored("ignoreself rule".into()),
            Some(_) => {}
        }
    }
    list.judge(id, known, now, true)
}

impl Known {
    fn own(&self, now: Monotonic) -> Option<&[IpAddr]> {
        self.own.as_ref().filter(|(until, _)| now < *until).map(|(_, ips)| ips.as_slice())
    }

    /// What is known of a name; empty if it could not be resolved.
    pub fn name(&self, name: &str, now: Monotonic) -> Option<&[IpAddr]> {
        let (_, ips) = self.names.get(name).filter(|(until, _)| now < *until)?;
        Some(ips)
    }

    /// Our own addresses are these.
    pub fn set_own(&mut self, ips: Vec<IpAddr>, now: Monotonic) {
        self.own = Some((now.plus(LIFE), ips.into_iter().map(canonical).collect()));
    }

    /// A name has these addresses, or none.
    pub fn set_name(&mut self, name: &str, ips: Vec<IpAddr>, now: Monotonic) {
        if self.names.len() >= MAX_NAMES && !self.names.contains_key(name) {
            self.names.retain(|_, (until, _)| now < *until);
        }
        if self.names.len() >= MAX_NAMES
            && !self.names.contains_key(name)
            && let Some(oldest) =
                self.names.iter().min_by_key(|(_, (until, _))| *until).map(|(n, _)| n.clone())
        {
            self.names.remove(&oldest);
        }
        let ips = ips.into_iter().map(canonical).collect();
        self.names.insert(name.to_owned(), (now.plus(LIFE), ips));
    }

    /// The stamp of the file's words that are known.
    pub fn stamp(&self, path: &str) -> Option<FileStamp> {
        self.files.get(path).and_then(|f| f.stamp)
    }

    /// A file was looked at: new words, unchanged (`Ok(None)`), or unreadable.
    pub fn set_file(
        &mut self,
        path: &str,
        found: Result<Option<(FileStamp, &str)>, ()>,
        now: Monotonic,
    ) {
        if self.files.len() >= MAX_FILES && !self.files.contains_key(path) {
            self.files.pop_first();
        }
        let file = self.files.entry(path.to_owned()).or_default();
        file.until = now.plus(FILE_LIFE);
        match found {
            Ok(None) => {}
            Ok(Some((stamp, text))) => {
                file.stamp = Some(stamp);
                file.list = words(text);
            }
            // What was read before still holds.
            Err(()) => file.until = now.plus(FILE_PAUSE),
        }
    }

    /// Forgets what DNS said (`reload` of all jails).
    pub fn forget_names(&mut self) {
        self.names.clear();
        self.own = None;
    }
}

/// The words of an ignore file: comments begin with `#` or `;` at a line's start or after a blank.
fn words(text: &str) -> IgnoreList {
    let mut list = IgnoreList::default();
    let mut left = MAX_WORDS;
    for line in text.lines() {
        for word in line.split([' ', '\t', ',', '\r']).filter(|w| !w.is_empty()) {
            if word.starts_with(['#', ';']) {
                break;
            }
            if left == 0 {
                return list;
            }
            left -= 1;
            match entry(word) {
                Ok(entry) => list.ordered.push(entry),
                Err(id) => {
                    list.singles.insert(id);
                }
            }
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn rules_are_judged_in_order() {
        let mut list = IgnoreList::default();
        for word in [
            "1.2.3.4",
            "10.0.0.0/8",
            "2001:db8::/32",
            "example.com",
            "file:///etc/ignored",
            "file:/etc/ignored",
            "file://etc/ignored",
            "file:here",
            "service-account",
            "1.2.3.4",
        ] {
            list.add(word);
        }
        let now = Monotonic(1_000_000);
        let mut known = Known::default();
        let check = |known: &Known, id: &str| judge(&list, true, &Id::parse(id), known, now);
        assert_eq!(check(&known, "9.9.9.9"), Verdict::Ask(Question::Own));
        known.set_own(vec![ip("127.0.0.1"), ip("::ffff:192.0.2.1")], now);
        for (id, expected) in [
            ("127.0.0.1", "ignoreself rule"),
            ("192.0.2.1", "ignoreself rule"),
            ("1.2.3.4", "ip"),
            ("10.1.2.3", "ip"),
            ("10.1.0.0/16", "ip"),
            ("2001:db8::5", "ip"),
            ("service-account", "ip"),
        ] {
            assert_eq!(check(&known, id), Verdict::Ignored(expected.into()), "{id}");
        }
        assert_eq!(check(&known, "9.9.9.9"), Verdict::Ask(Question::Name("example.com".into())));
        known.set_name("example.com", vec![ip("5.5.5.5")], now);
        assert_eq!(check(&known, "5.5.5.5"), Verdict::Ignored("dns".into()));
        assert_eq!(check(&known, "9.9.9.9"), Verdict::Ask(Question::File("/etc/ignored".into())));
        known.set_file("here", Ok(Some((FileStamp(1, 2, 3), ""))), now);
        let text = "# mine\n6.6.6.6 ; two\n7.0.0.0/8,8.8.8.8\nhash#tag\n";
        known.set_file("/etc/ignored", Ok(Some((FileStamp(1, 2, 3), text))), now);
        known.set_name("service-account", vec![], now);
        for id in ["6.6.6.6", "7.1.1.1", "8.8.8.8"] {
            assert_eq!(check(&known, id), Verdict::Ignored("file://etc/ignored".into()), "{id}");
        }
        assert_eq!(check(&known, "9.9.9.9"), Verdict::Counts);
        assert_eq!(check(&known, "two"), Verdict::Counts);
        // Unreadable later: the words that were read still hold.
        known.set_file("/etc/ignored", Err(()), now);
        assert_eq!(check(&known, "8.8.8.8"), Verdict::Ignored("file://etc/ignored".into()));
        // An hour later nothing is believed any more.
        let later = now.plus(Span::from_secs(3600));
        let verdict = judge(&list, true, &Id::parse("9.9.9.9"), &known, later);
        assert_eq!(verdict, Verdict::Ask(Question::Own));
        assert_eq!(
            list.texts(),
            [
                "10.0.0.0/8",
                "2001:db8::/32",
                "example.com",
                "file://etc/ignored",
                "file:here",
                "service-account",
                "1.2.3.4"
            ]
        );
    }

    #[test]
    fn names_are_bounded() {
        let mut known = Known::default();
        for i in 0..5000_u64 {
            known.set_name(&format!("h{i}"), vec![], Monotonic(i));
        }
        assert_eq!(known.names.len(), MAX_NAMES);
        assert!(known.name("h4999", Monotonic(5000)).is_some());
    }
}
