//! A log path with wildcards, and the files that match it as they come and go.
//!
//! Decides which of the matching files are logs of their own: packed files are not, and neither is a
//! followed log's rotated self, even where its new name matches. Must stay bounded: a directory may
//! be huge.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sekisho_core::date::DateFormat;
use sekisho_core::effect::StartAt;
use sekisho_core::time::Timestamp;

use super::encoding::Encoding;
use super::input::Input;
use super::reader::{self, Inode};
use super::{glob, siblings};

/// Rotated files of a pattern that are remembered so as not to be followed as new ones.
const SEEN_MAX: usize = 10_000;

/// A pattern.
#[derive(Debug)]
pub struct Pattern {
    path: PathBuf,
    encoding: Encoding,
    dates: Vec<DateFormat>,
    start: StartAt,
    scanned: bool,
    quiet: bool,
    /// Paths that match and are a followed file's rotated self.
    seen: BTreeMap<PathBuf, Inode>,
}

/// What a look at the directories brings.
#[derive(Debug)]
pub struct Found {
    /// Files not followed yet.
    pub new: Vec<PathBuf>,
    /// Where to begin in them.
    pub start: StartAt,
    /// At the first look there was none.
    pub nothing_yet: bool,
}

impl Pattern {
    /// Not looked at yet.
    pub fn new(path: PathBuf, encoding: Encoding, dates: Vec<DateFormat>, start: StartAt) -> Self {
        let (scanned, quiet) = (false, false);
        Self { path, encoding, dates, start, scanned, quiet, seen: BTreeMap::new() }
    }

    /// The pattern itself.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The encoding of its files.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }
    /// How dates in its files are read.
    pub fn dates(&self) -> &[DateFormat] {
        &self.dates
    }
    /// Whether it has not been looked at yet.
    pub fn first(&self) -> bool {
        !self.scanned
    }
    /// Says whether new files are reported by the kernel.
    pub fn set_quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
    }
    /// Whether new files are reported by the kernel.
    pub fn quiet(&self) -> bool {
        self.quiet
    }

    /// Looks for files that match and are not among those `followed`.
    pub fn scan(&mut self, followed: &[&Input], now: Timestamp) -> Found {
        let first = !std::mem::replace(&mut self.scanned, true);
        let start = match &self.start {
            start if first => start.clone(),
            StartAt::Head { since, .. } => StartAt::Head { saved: None, since: *since },
            // Appeared while we were watching: all its lines are new.
            StartAt::Tail => StartAt::Head { saved: None, since: now },
        };
        let paths: HashSet<&Path> = followed.iter().map(|input| input.path()).collect();
        let mut open: Option<HashSet<Inode>> = None;
        let mut new = Vec::new();
        for path in current_logs(glob::expand(&self.path)) {
            if paths.contains(path.as_path()) {
                continue;
            }
            let Ok(look) = reader::look(&path) else { continue };
            if self.seen.get(&path) == Some(&look.inode) {
                continue;
            }
            let open = open.get_or_insert_with(|| {
                followed.iter().flat_map(|input| input.readers()).map(|r| r.inode()).collect()
            });
            if open.contains(&look.inode) {
                if self.seen.len() < SEEN_MAX {
                    self.seen.insert(path, look.inode);
                }
            } else if followed.len() + new.len() < glob::MATCHES_MAX {
                new.push(path);
            }
        }
        let nothing_yet = first && new.is_empty();
        Found { new, start, nothing_yet }
    }
}

/// Without compressed files, and without the rotated files of a log that matches as well.
fn current_logs(mut found: Vec<PathBuf>) -> Vec<PathBuf> {
    const PACKED: [&str; 7] = ["gz", "xz", "bz2", "zst", "lz4", "Z", "zip"];
    found.retain(|p| !PACKED.iter().any(|e| p.extension().is_some_and(|x| x == *e)));
    let mut kept: Vec<PathBuf> = Vec::new();
    // Sorted, so a log comes before its rotated files.
    for path in found {
        let name = path.as_os_str().as_bytes();
        let rotated = (1..name.len()).any(|end| {
            let Some(base) = name.get(..end) else { return false };
            let base = Path::new(OsStr::from_bytes(base));
            siblings::is_rotated_name(base, &path)
                && kept.binary_search_by(|k| k.as_path().cmp(base)).is_ok()
        });
        if !rotated {
            kept.push(path);
        }
    }
    kept
}
