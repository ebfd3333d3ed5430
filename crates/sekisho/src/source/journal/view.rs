//! A folder of links through which `journalctl` sees the journal, and which wakes it.
//!
//! journald writes into mapped files, which inotify does not report, and announces what it wrote
//! after 250 ms only: too late for a ban. So the number of entries in the files' headers is looked at
//! every [`LOOK_EVERY`], and when it has grown, a file appears in a folder that journalctl watches;
//! that makes it look, and it reads on at once. To have such a folder that is ours, journalctl is
//! given one with links to the journal's own folders, or to the files that `journalfiles` names and
//! those that were rotated away from their names. Must never
//! write to the journal, and never read more of it than this number.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use sekisho_core::time::{Monotonic, Span};

use super::command::{Journal, Place};
use crate::source::glob;

/// How often the files are looked at.
pub const LOOK_EVERY: Span = Span::from_millis(20);
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
    /// Single files behind links.
    linked: BTreeSet<Identity>,
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
            linked: BTreeSet::new(),
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

    /// The folder for journalctl.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether there is no journal at all.
    pub fn is_empty(&self) -> bool {
        match self.place {
            Place::Files(_) => self.linked.is_empty(),
            Place::Folder(_) | Place::Machine { .. } => {
                self.dirs.keys().all(|dir| journal_files(dir).next().is_none())
            }
        }
    }

    /// How many entries there are in the files that may grow.
    pub fn entries(&self) -> u64 {
        self.files.values().map(|(file, _)| number_of_entries(file)).sum()
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
        let mut paths = Vec::new();
        match &self.place {
            Place::Files(patterns) => {
                self.dirs.clear();
                let mut listings = BTreeMap::new();
                for path in patterns.iter().flat_map(|pattern| glob::expand(Path::new(pattern))) {
                    if let Some(dir) = path.parent() {
                        self.dirs.insert(dir.to_owned(), modified(dir));
                        let listing = listings
                            .entry(dir.to_owned())
                            .or_insert_with(|| journal_files(dir).collect::<Vec<_>>());
                        paths.extend(rotated(&path, listing));
                    }
                    paths.push(path);
                }
            }
            Place::Folder(_) | Place::Machine { .. } => {
                for (dir, at) in &mut self.dirs {
                    *at = modified(dir);
                    paths.extend(journal_files(dir).filter(|path| !is_rotated(path)));
                }
            }
        }
        let mut files = BTreeMap::new();
        for path in paths {
            let seen = std::fs::metadata(&path).ok().map(|meta| identity(&meta));
            // What was rotated away needs its link, and no more.
            if is_rotated(&path) && seen.is_some_and(|id| self.linked.contains(&id)) {
                continue;
            }
            // Most are open since the last time.
            let known = seen.and_then(|id| Some((id, self.files.remove(&id)?)));
            let Some((id, watched)) = known.or_else(|| open(&path)) else { continue };
            if matches!(self.place, Place::Files(_)) && self.linked.insert(id) {
                let name = format!("{}.journal", self.linked.len());
                symlink(std::path::absolute(&path)?, self.folder.join(name))?;
            }
            if files.len() < FILES_MAX && !is_rotated(&path) {
                files.insert(id, watched);
            }
        }
        self.files = files;
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

/// What was rotated away from this name, of the files of its folder.
fn rotated(path: &Path, listing: &[PathBuf]) -> Vec<PathBuf> {
    let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { return Vec::new() };
    let from_it = |found: &&PathBuf| {
        let name = found.file_name().and_then(|name| name.to_str());
        name.and_then(|name| name.split_once('@')).is_some_and(|(before, _)| before == stem)
    };
    listing.iter().filter(from_it).cloned().collect()
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
