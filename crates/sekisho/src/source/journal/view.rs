//! A folder of links through which `journalctl` sees the journal, and which wakes it.
//!
//! journald writes into mapped files, which inotify does not report, and announces what it wrote
//! after 250 ms only: too late for a ban. So the number of entries in the files' headers is looked at
//! every few milliseconds ([`super::look`]), and when it has grown, a file appears in a folder that
//! journalctl watches; that makes it look, and it reads on at once. To have such a folder that is ours,
//! journalctl is given one with links to the journal's own folders, or to the files that `journalfiles`
//! names and those that were rotated away from their names. Must never write to the journal, and never
//! read more of it than this number.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use sekisho_core::time::{Monotonic, Span};

use super::command::{Journal, Place};
use crate::source::glob;

/// How often folders are searched for new files, even if they seem unchanged.
const SEARCH_EVERY: Span = Span::from_secs(1);
/// Files that are looked at. Entries of others come when journald announces them.
const FILES_MAX: usize = 256;
/// Where a journal file's header has the number of its entries.
const ENTRIES_AT: u64 = 152;

/// Device and inode.
type Identity = (u64, u64);

/// What is seen through the folder, and how far it has grown.
pub struct View {
    folder: PathBuf,
    place: Place,
    /// The folders that hold the files, with the time of their last change.
    dirs: BTreeMap<PathBuf, Option<std::time::SystemTime>>,
    /// Single files behind links: the number of the link, and where it leads.
    linked: BTreeMap<Identity, (u64, PathBuf)>,
    /// The number of the last link.
    links: u64,
    /// Files that may grow, and their number of entries when last looked at.
    files: BTreeMap<Identity, (File, u64)>,
    search_at: Monotonic,
}

impl View {
    /// Makes the folder; one of the same name is removed.
    pub fn new(folder: PathBuf, journal: &Journal, now: Monotonic) -> io::Result<View> {
        match std::fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut view = View {
            folder,
            place: journal.place().clone(),
            dirs: BTreeMap::new(),
            linked: BTreeMap::new(),
            links: 0,
            files: BTreeMap::new(),
            search_at: now,
        };
        for (number, dir) in view.place.dirs().into_iter().enumerate() {
            // journalctl enters folders with names like that of a machine only.
            symlink(std::path::absolute(&dir)?, view.folder.join(format!("{number:032x}")))?;
            view.dirs.insert(dir, None);
        }
        view.search(now)?;
        Ok(view)
    }

    /// Whether there is no journal at all.
    pub fn is_empty(&self) -> bool {
        match self.place {
            Place::Files(_) => self.linked.is_empty() && self.files.is_empty(),
            Place::Folder(_) | Place::Machine { .. } => {
                self.dirs.keys().all(|dir| journal_files(dir).next().is_none())
            }
        }
    }

    /// How many entries there were in the files at the last look.
    pub fn entries(&self) -> u64 {
        self.files.values().map(|(_, entries)| entries).sum()
    }

    /// Wakes journalctl if there is more to read. `false` when the journal is somewhere else by now,
    /// and a new view is needed.
    pub fn look(&mut self, now: Monotonic) -> io::Result<bool> {
        let changed = |(dir, at): (&PathBuf, &Option<_>)| modified(dir) != *at;
        if now >= self.search_at || self.dirs.iter().any(changed) {
            if !matches!(self.place, Place::Files(_))
                && !self.place.dirs().iter().eq(self.dirs.keys())
            {
                return Ok(false);
            }
            self.search(now)?;
        }
        let mut grown = false;
        for (file, entries) in self.files.values_mut() {
            let read = number_of_entries(file);
            grown |= read != *entries;
            *entries = read;
        }
        if grown {
            if matches!(self.place, Place::Files(_))
                && self.files.keys().any(|id| !self.linked.contains_key(id))
            {
                self.search(now)?;
            }
            self.wake()?;
        }
        Ok(true)
    }

    /// The child sees a file come and go, and looks what else is new.
    fn wake(&self) -> io::Result<()> {
        let path = self.folder.join("wake");
        File::create(&path)?;
        std::fs::remove_file(path)
    }

    /// Finds the files that may grow.
    fn search(&mut self, now: Monotonic) -> io::Result<()> {
        self.search_at = now.plus(SEARCH_EVERY);
        let found = match &self.place {
            Place::Files(patterns) => {
                let patterns = patterns.iter().flat_map(|pattern| glob::expand(Path::new(pattern)));
                let paths: io::Result<Vec<PathBuf>> = patterns.map(std::path::absolute).collect();
                self.named(paths?)
            }
            Place::Folder(_) | Place::Machine { .. } => {
                let mut found = Vec::new();
                for (dir, at) in &mut self.dirs {
                    *at = modified(dir);
                    let grow = journal_files(dir).filter(|path| !is_rotated(path));
                    found.extend(grow.map(|path| (path, None)));
                }
                found
            }
        };
        let mut files = BTreeMap::new();
        let mut there = BTreeSet::new();
        for (path, opened_as) in found {
            let identity = || std::fs::metadata(&path).ok().map(|meta| identity(&meta));
            let Some(seen) = opened_as.or_else(identity) else { continue };
            // Two patterns may name it, and what was rotated away needs its link, and no more.
            let is_linked = || self.linked.get(&seen).is_some_and(|(_, target)| *target == path);
            if !there.insert(seen) || (is_rotated(&path) && is_linked()) {
                continue;
            }
            // Most are open since the last time.
            let known = self.files.remove(&seen).map(|watched| (seen, watched));
            let Some((id, watched)) = known.or_else(|| open(&path)) else { continue };
            let grows = files.len() < FILES_MAX && !is_rotated(&path);
            // journalctl does not come back to a file that it found unfinished: without an entry it may
            // be so.
            let finished = !grows || number_of_entries(&watched.0) > 0;
            if matches!(self.place, Place::Files(_)) && finished {
                there.insert(id);
                self.link(id, if grows { opened(&watched.0, path) } else { path })?;
            }
            if grows {
                files.insert(id, watched);
            }
        }
        if matches!(self.place, Place::Files(_)) {
            // Renamed after the folder was listed: its link leads to the open file until it is found.
            let left = std::mem::take(&mut self.files).into_iter();
            files
                .extend(left.filter(|(_, (file, _))| file.metadata().is_ok_and(|m| m.nlink() > 0)));
            // The child lets go of what is no more.
            let gone = |target: &Path| {
                std::fs::metadata(target).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
            };
            let is_gone = |id: &Identity, (_, target): &mut (u64, PathBuf)| {
                !there.contains(id) && !files.contains_key(id) && gone(target)
            };
            for (_, (number, _)) in self.linked.extract_if(.., is_gone) {
                std::fs::remove_file(self.folder.join(format!("{number}.journal")))?;
            }
        }
        self.files = files;
        Ok(())
    }

    /// Files by their names, each after those that were rotated away from its name.
    fn named(&mut self, paths: Vec<PathBuf>) -> Vec<(PathBuf, Option<Identity>)> {
        // They are opened before their folders are listed, which then have all that is older: a child
        // that has read a newer file reads no older entries.
        let mut opened = Vec::new();
        // A folder stays of interest while a rotation leaves no file of that name in it.
        self.dirs.extend(paths.iter().filter_map(|path| Some((path.parent()?.to_owned(), None))));
        for (dir, at) in &mut self.dirs {
            *at = modified(dir);
        }
        self.dirs.retain(|_, at| at.is_some());
        for path in paths {
            let file = (self.files.len() < FILES_MAX).then(|| open(&path)).flatten();
            let id = file.map(|(id, watched)| {
                self.files.entry(id).or_insert(watched);
                id
            });
            opened.push((path, id));
        }
        let mut listings = BTreeMap::new();
        let mut found = Vec::new();
        for (path, id) in opened {
            if let Some(dir) = path.parent() {
                let listing = listings
                    .entry(dir.to_owned())
                    .or_insert_with(|| journal_files(dir).collect::<Vec<_>>());
                found.extend(rotated(&path, listing).into_iter().map(|path| (path, None)));
            }
            found.push((path, id));
        }
        found
    }

    /// Lets the link of a file lead to `target`.
    fn link(&mut self, id: Identity, target: PathBuf) -> io::Result<()> {
        let known = self.linked.get(&id);
        if known.is_some_and(|(_, known)| *known == target) {
            return Ok(());
        }
        let number = known.map_or(self.links + 1, |(number, _)| *number);
        self.links = self.links.max(number);
        let new = self.folder.join("new");
        symlink(&target, &new)?;
        std::fs::rename(new, self.folder.join(format!("{number}.journal")))?;
        self.linked.insert(id, (number, target));
        Ok(())
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn identity(meta: &Metadata) -> Identity {
    (meta.dev(), meta.ino())
}

/// A file that is new, so its entries are, too.
fn open(path: &Path) -> Option<(Identity, (File, u64))> {
    let file = File::open(path).ok()?;
    let id = identity(&file.metadata().ok()?);
    Some((id, (file, 0)))
}

/// A way to an open file that stays the same when it is renamed, and another takes its name, before the
/// child has opened it; where there is no such way, its path.
fn opened(file: &File, path: PathBuf) -> PathBuf {
    let own = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
    if own.exists() { own } else { path }
}

/// What was rotated away from this name, of the files of its folder, oldest first.
fn rotated(path: &Path, listing: &[PathBuf]) -> Vec<PathBuf> {
    let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { return Vec::new() };
    let from_it = |found: &&PathBuf| {
        let name = found.file_name().and_then(|name| name.to_str());
        name.and_then(|name| name.split_once('@')).is_some_and(|(before, _)| before == stem)
    };
    let mut found: Vec<PathBuf> = listing.iter().filter(from_it).cloned().collect();
    // `NAME@SERIES-NUMBER-TIME.journal`, all of the same length: the oldest comes first.
    found.sort_by_cached_key(|path| path.to_string_lossy().rsplit('-').next().map(str::to_owned));
    found
}

fn is_rotated(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().contains(&b'@'))
}

fn journal_files(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| e.path()).filter(|path| path.extension().is_some_and(|e| e == "journal"))
}

fn modified(dir: &Path) -> Option<std::time::SystemTime> {
    std::fs::metadata(dir).ok()?.modified().ok()
}

/// 0 for what is no journal file.
fn number_of_entries(file: &File) -> u64 {
    let mut number = [0; 8];
    file.read_exact_at(&mut number, ENTRIES_AT).map_or(0, |()| u64::from_le_bytes(number))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A file with so many entries in its header, and a name of its own in it.
    fn write(path: &Path, entries: u64, name: &str) {
        let mut bytes = vec![0; 160];
        bytes.splice(152..160, entries.to_le_bytes());
        bytes.extend(name.as_bytes());
        std::fs::write(path, bytes).unwrap();
    }

    /// The names in the files behind the links, in the order of the links.
    fn linked(view: &View) -> Vec<String> {
        let mut links: Vec<(u64, String)> = std::fs::read_dir(&view.folder)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let number = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
                let bytes = std::fs::read(path).unwrap();
                (number, String::from_utf8(bytes[160..].to_vec()).unwrap())
            })
            .collect();
        links.sort();
        links.into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn named_files_are_linked_oldest_first_whenever_they_are_renamed() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("journal");
        std::fs::create_dir(&journal).unwrap();
        let live = journal.join("system.journal");
        let old =
            |series: &str, time: &str| journal.join(format!("system@{series}-1-{time}.journal"));
        let pattern = dir.path().join("*/system.journal").display().to_string();
        let params = [("journalfiles".to_owned(), pattern)];
        let (place, _) = Journal::from_params(&params, None);
        let mut now = Monotonic(0);
        write(&live, 0, "a");
        let mut view = View::new(dir.path().join("links"), &place, now).unwrap();
        let mut check = |view: &mut View, later: Span, expected: &[&str]| {
            now = now.plus(later);
            assert!(view.look(now).unwrap());
            assert_eq!(linked(view), expected);
        };
        // Not yet finished, then with an entry: at the next look.
        check(&mut view, Span(1), &[]);
        assert!(!view.is_empty());
        write(&live, 1, "a");
        check(&mut view, Span(1), &["a"]);
        // Renamed, and a moment without a file of that name: the link still leads to it.
        std::fs::rename(&live, old("f", "1")).unwrap();
        check(&mut view, SEARCH_EVERY, &["a"]);
        // Two rotations between two looks; the folder is looked at although no file had the name.
        write(&old("0", "3"), 1, "c");
        write(&old("e", "2"), 1, "b");
        write(&live, 1, "d");
        check(&mut view, SEARCH_EVERY, &["a", "b", "c", "d"]);
        // What is removed is let go of; a child has it open, so that nothing else gets its inode.
        let _open = File::open(old("f", "1")).unwrap();
        std::fs::remove_file(old("f", "1")).unwrap();
        std::fs::rename(&live, old("e", "4")).unwrap();
        write(&live, 1, "e");
        check(&mut view, SEARCH_EVERY, &["b", "c", "d", "e"]);
        std::fs::remove_file(&live).unwrap();
        check(&mut view, SEARCH_EVERY, &["b", "c", "d"]);
    }
}
