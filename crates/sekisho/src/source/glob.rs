//! File name patterns, for jails whose log files appear later.
//!
//! The configuration layer expands `logpath` once; a pattern comes here only when nothing matched
//! yet, and is then looked at again as files appear. Same language as there: `*`, `?`, `[…]`, no
//! `**`, and a leading dot is matched by a dot only. Must stay bounded whatever the directories hold.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use sekisho_core::spec::is_pattern;

/// How many files one pattern may follow.
pub const MATCHES_MAX: usize = 10_000;
/// How many names of one directory are read.
const NAMES_MAX: usize = 100_000;

/// The part of a pattern before its first wildcard, and whether only the last part has one.
pub fn fixed(pattern: &Path) -> (PathBuf, bool) {
    let fixed: PathBuf = pattern
        .components()
        .take_while(|c| !is_pattern(&c.as_os_str().to_string_lossy()))
        .collect();
    let flat = pattern.parent() == Some(fixed.as_path());
    (if fixed == Path::new("") { PathBuf::from(".") } else { fixed }, flat)
}

/// The existing paths that match, sorted, at most [`MATCHES_MAX`].
pub fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let mut next = Vec::new();
        for base in &found {
            match component {
                Component::Normal(part) if is_pattern(&part.to_string_lossy()) => {
                    next.extend(
                        names_in(base, part)
                            .into_iter()
                            .take(MATCHES_MAX - next.len().min(MATCHES_MAX)),
                    );
                }
                other => next.push(base.join(other)),
            }
        }
        found = next;
    }
    found.retain(|path| path.exists());
    found.sort();
    found
}

fn names_in(base: &Path, part: &OsStr) -> Vec<PathBuf> {
    let dir = if base == Path::new("") { Path::new(".") } else { base };
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<PathBuf> = entries
        .take(NAMES_MAX)
        .flatten()
        .map(|e| e.file_name())
        .filter(|name| matches(part.as_bytes(), name.as_bytes()))
        .map(|name| base.join(name))
        .collect();
    names.sort();
    names
}

/// Whether a name matches one part of a pattern. Time is bounded by the product of both lengths.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut p, mut n) = (pattern, name);
    // Where to go on when what follows the last star does not match.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        let step = match (p.split_first(), n.split_first()) {
            (None, None) => return true,
            (Some((b'*', rest)), _) => {
                retry = Some((rest, n));
                p = rest;
                continue;
            }
            (Some((b'?', rest)), Some((_, n))) => Some((rest, n)),
            (Some((b'[', rest)), Some((c, n))) => match class(rest, *c) {
                Some((true, rest)) => Some((rest, n)),
                Some((false, _)) => None,
                // No closing bracket: it stands for itself.
                None => (*c == b'[').then_some((rest, n)),
            },
            (Some((a, rest)), Some((c, n))) => (a == c).then_some((rest, n)),
            (Some(_), None) | (None, Some(_)) => None,
        };
        if let Some((rest, name)) = step {
            (p, n) = (rest, name);
            continue;
        }
        let Some((after_star, at)) = retry else { return false };
        let Some((_, at)) = at.split_first() else { return false };
        retry = Some((after_star, at));
        (p, n) = (after_star, at);
    }
}

/// Whether a character is in a class, and the pattern behind it; `None` if it never ends.
fn class(body: &[u8], c: u8) -> Option<(bool, &[u8])> {
    let (negated, body) = match body.strip_prefix(b"!") {
        Some(body) => (true, body),
        None => (false, body),
    };
    // A bracket that comes first is a member.
    let end = 1 + body.get(1..)?.iter().position(|b| *b == b']')?;
    let (mut set, rest) = body.split_at_checked(end)?;
    let rest = rest.get(1..)?;
    let mut found = false;
    while let Some((&low, tail)) = set.split_first() {
        match tail {
            [b'-', high, more @ ..] => {
                found |= (low..=*high).contains(&c);
                set = more;
            }
            _ => {
                found |= low == c;
                set = tail;
            }
        }
    }
    Some((found != negated, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (pattern, name, expected) in [
            ("*.log", "a.log", true),
            ("*.log", ".log", false),
            (".*", ".log", true),
            ("*", "", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("?.log", "a.log", true),
            ("?.log", "ab.log", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[!a-c]x", "dx", true),
            ("[]a]x", "]x", true),
            ("[abc", "[abc", true),
            ("[abc", "a", false),
            ("a[", "a[", true),
            ("[a-]", "-", true),
            ("*[0-9]", "log1", true),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
        let (many, name) = ("*a".repeat(50), "a".repeat(5000) + "b");
        assert!(!matches(many.as_bytes(), name.as_bytes()));
    }

    #[test]
    fn expansion() {
        let dir = tempfile::tempdir().unwrap();
        let at = |p: &str| dir.path().join(p);
        for d in ["a", "b", ".c"] {
            std::fs::create_dir(at(d)).unwrap();
            std::fs::write(at(d).join("x.log"), "").unwrap();
        }
        assert_eq!(expand(&at("*/x.log")), [at("a/x.log"), at("b/x.log")]);
        assert_eq!(expand(&at("a/*.lo[f-h]")), [at("a/x.log")]);
        assert_eq!(expand(&at("a/*.txt")), [] as [PathBuf; 0]);
        assert_eq!(fixed(Path::new("/var/log/*/x.log")), ("/var/log".into(), false));
        assert_eq!(fixed(Path::new("/var/log/*.log")), ("/var/log".into(), true));
        assert_eq!(fixed(Path::new("*.log")).0, Path::new("."));
    }
}
