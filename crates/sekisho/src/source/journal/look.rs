//! One look at a journal for all who read it.
//!
//! Jails with other matches read the same files through children of their own. So that the files are
//! open once, and looked at once, those who read the same place share a [`View`], at which a thread
//! looks every [`LOOK_EVERY`]. Must never look on when nobody reads any more.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use sekisho_core::time::Span;

use super::command::{Journal, Place};
use super::view::View;
use crate::clock;
use crate::source::watch::Waker;

/// How often the files are looked at.
pub const LOOK_EVERY: Span = Span::from_millis(20);

/// All places that are read.
pub struct Looks {
    folder: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    places: Vec<(Place, Weak<Look>)>,
    folders: u64,
}

/// A place that is looked at until the last of those who read it lets go.
pub struct Look {
    folder: PathBuf,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread says, and is told.
#[derive(Default)]
struct State {
    nobody_reads: AtomicBool,
    ended: OnceLock<Ended>,
    entries: AtomicU64,
    readers: Mutex<Vec<Weak<Waker>>>,
}

/// Why it is looked no longer.
#[derive(Debug)]
pub enum Ended {
    /// The journal is somewhere else, and another look is needed.
    Moved,
    /// The children cannot be woken.
    Failed(io::Error),
}

impl Looks {
    /// Folders of links are made in `folder`.
    pub fn new(folder: PathBuf) -> Looks {
        Looks { folder, known: Mutex::default() }
    }

    /// Where folders of links are made.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Looks at a journal from now on, unless there is none. `waker` is told when this ends.
    pub fn at(&self, journal: &Journal, waker: &Arc<Waker>) -> io::Result<Option<Arc<Look>>> {
        let mut known = lock(&self.known);
        known.places.retain(|(_, look)| look.strong_count() > 0);
        let same = known.places.iter().filter(|(place, _)| place == journal.place());
        let mut looks = same.filter_map(|(_, look)| look.upgrade());
        if let Some(look) = looks.find(|look| look.ended().is_none()) {
            lock(&look.state.readers).push(Arc::downgrade(waker));
            // It may have ended since; then it has told only those who were there.
            if look.ended().is_some() {
                waker.wake();
            }
            return Ok(Some(look));
        }
        known.folders += 1;
        let folder = self.folder.join(known.folders.to_string());
        let view = View::new(folder.clone(), journal, clock::now().mono)?;
        if view.is_empty() {
            return Ok(None);
        }
        let state = Arc::new(State::default());
        lock(&state.readers).push(Arc::downgrade(waker));
        let thread = std::thread::Builder::new().name("journal look".into()).spawn({
            let state = Arc::clone(&state);
            move || state.watch(view)
        })?;
        let look = Arc::new(Look { folder, state, thread: Some(thread) });
        known.places.push((journal.place().clone(), Arc::downgrade(&look)));
        Ok(Some(look))
    }
}

impl Look {
    /// The folder for journalctl.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many entries there were at the last look.
    pub fn entries(&self) -> u64 {
        self.state.entries.load(Ordering::Relaxed)
    }

    /// Why it has ended, if it has.
    pub fn ended(&self) -> Option<&Ended> {
        self.state.ended.get()
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.state.nobody_reads.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl State {
    fn watch(&self, mut view: View) {
        let ended = loop {
            std::thread::park_timeout(Duration::from_micros(LOOK_EVERY.0.unsigned_abs()));
            if self.nobody_reads.load(Ordering::Relaxed) {
                return;
            }
            match view.look(clock::now().mono) {
                Ok(true) => self.entries.store(view.entries(), Ordering::Relaxed),
                Ok(false) => break Ended::Moved,
                Err(e) => break Ended::Failed(e),
            }
        };
        let _ = self.ended.set(ended);
        lock(&self.readers).iter().filter_map(Weak::upgrade).for_each(|waker| waker.wake());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::fd::AsFd;

    use super::*;
    use crate::source::watch::wait_readable;

    #[test]
    fn those_who_read_one_place_share_a_look() {
        let dir = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("system.journal"), [1; 200]).unwrap();
        };
        let journal = |name: &str| {
            let path = dir.path().join(name).display().to_string();
            Journal::from_params(&[("journalpath".to_owned(), path)], None).0
        };
        folder("a");
        folder("b");
        let looks = Looks::new(dir.path().join("links"));
        let wakers = [0, 1, 2].map(|_| Arc::new(Waker::new().unwrap()));
        let at = |name: &str, waker: usize| looks.at(&journal(name), &wakers[waker]).unwrap();
        assert!(at("none", 0).is_none());
        let [first, second, other] = [("a", 0), ("a", 1), ("b", 2)].map(|(n, w)| at(n, w).unwrap());
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &other));
        // A new machine's folder: all who read there are told, and look anew.
        folder(&format!("a/{}", "f".repeat(32)));
        for waker in &wakers[..2] {
            assert_eq!(wait_readable([waker.as_fd()], Some(Span::from_secs(60))), [true]);
        }
        assert!(matches!(second.ended(), Some(Ended::Moved)));
        assert!(other.ended().is_none());
        let next = at("a", 0).unwrap();
        assert!(!Arc::ptr_eq(&first, &next));
        // With the last of them the folder goes.
        let links = [next.folder().to_owned(), other.folder().to_owned()];
        let again = at("b", 1).unwrap();
        assert!(links.iter().all(|path| path.exists()));
        drop((next, other));
        assert_eq!(links.each_ref().map(|path| path.exists()), [false, true]);
        drop(again);
        assert!(!links[1].exists());
    }
}
