//! Being told by the kernel that something happened to files, instead of looking all the time.
//!
//! A thin layer over inotify: who follows what is kept by key, and one wait covers inotify and the
//! [`Waker`]. Where the kernel cannot watch (no more watches, no inotify), the caller is told and
//! polls. Must never be relied on alone: every key is also looked at from time to time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use sekisho_core::time::Span;

/// Who wants to know.
pub type Key = u64;

/// Wakes a waiting thread from another one.
#[derive(Debug)]
pub struct Waker(OwnedFd);

impl Waker {
    /// A new one, not signalled.
    pub fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(rustix::event::eventfd(0, flags)?))
    }
    /// Wakes the thread that waits, or the next time it wants to wait.
    pub fn wake(&self) {
        // Fails only when it is already signalled as often as it can be.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
    /// Forgets earlier wakes.
    pub fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of `fds` is readable or the time is over; says which are.
pub fn wait_readable<const N: usize>(fds: [BorrowedFd<'_>; N], timeout: Option<Span>) -> [bool; N] {
    let mut ready = [false; N];
    for (slot, is) in ready.iter_mut().zip(wait_any(&fds, timeout)) {
        *slot = is;
    }
    ready
}

/// The same for any number of them.
fn wait_any(fds: &[BorrowedFd<'_>], timeout: Option<Span>) -> Vec<bool> {
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let timeout = timeout.map(|t| Timespec {
        tv_sec: t.0.max(0) / 1_000_000,
        tv_nsec: (t.0.max(0) % 1_000_000) * 1000,
    });
    // Interrupted counts as nothing; the caller comes again.
    let _ = rustix::event::poll(&mut polled, timeout.as_ref());
    polled.iter().map(|fd| !fd.revents().is_empty()).collect()
}

/// What to watch.
#[derive(Debug)]
pub enum Want<'a> {
    /// An open file: written to, renamed, deleted. The path is used where `/proc` is missing.
    File(&'a File, &'a Path),
    /// A directory: an entry of this name (any, if `None`) created or moved in.
    Dir(PathBuf, Option<OsString>),
}

/// What happened to something watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// A file was written to, or cut.
    Written,
    /// Anything, that too.
    Any,
}

/// Who was told what.
#[derive(Debug, Default)]
pub struct Touched {
    /// What happened to what these keys watch.
    pub keys: BTreeMap<Key, Change>,
    /// Events were lost: look at everything.
    pub all: bool,
}

#[derive(Debug)]
struct User {
    key: Key,
    name: Option<OsString>,
}

/// All watches of one thread.
pub struct Watcher {
    inotify: Option<Inotify>,
    users: HashMap<WatchDescriptor, Vec<User>>,
    by_key: HashMap<Key, BTreeSet<WatchDescriptor>>,
    buffer: Vec<u8>,
}

/// Whether the kernel reports changes of files here.
pub fn available() -> bool {
    Inotify::init().is_ok()
}

impl Watcher {
    /// A watcher; without inotify every [`Watcher::set`] fails, and the caller polls.
    pub fn new(inotify: bool) -> Self {
        Self {
            inotify: inotify.then(Inotify::init).and_then(Result::ok),
            users: HashMap::new(),
            by_key: HashMap::new(),
            buffer: vec![0; 16 * 1024],
        }
    }

    /// Replaces everything a key watches. An error means that some of it cannot be watched; the rest
    /// is.
    pub fn set(&mut self, key: Key, wants: &[Want<'_>]) -> io::Result<()> {
        let mut error = None;
        let mut now: Vec<(WatchDescriptor, Option<OsString>)> = Vec::new();
        for want in wants {
            match self.add(want) {
                Ok(wd) => now.push((
                    wd,
                    match want {
                        Want::File(..) => None,
                        Want::Dir(_, name) => name.clone(),
                    },
                )),
                Err(e) => error = Some(e),
            }
        }
        let new: BTreeSet<WatchDescriptor> = now.iter().map(|(wd, _)| wd.clone()).collect();
        let old = self.by_key.insert(key, new.clone()).unwrap_or_default();
        for wd in &old {
            self.forget(key, wd, !new.contains(wd));
        }
        for (wd, name) in now {
            self.users.entry(wd).or_default().push(User { key, name });
        }
        error.map_or(Ok(()), Err)
    }

    /// Watches nothing for a key any more.
    pub fn remove(&mut self, key: Key) {
        for wd in self.by_key.remove(&key).unwrap_or_default() {
            self.forget(key, &wd, true);
        }
    }

    fn add(&mut self, want: &Want<'_>) -> io::Result<WatchDescriptor> {
        let inotify = self.inotify.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let mut watches = inotify.watches();
        match want {
            Want::File(file, path) => {
                let mask = WatchMask::MODIFY
                    | WatchMask::ATTRIB
                    | WatchMask::MOVE_SELF
                    | WatchMask::DELETE_SELF;
                // By descriptor, so that it is this file whatever the path leads to by now.
                let own = format!("/proc/self/fd/{}", file.as_raw_fd());
                match watches.add(own, mask) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => watches.add(path, mask),
                    result => result,
                }
            }
            Want::Dir(path, _) => watches.add(
                path,
                WatchMask::CREATE
                    | WatchMask::MOVED_TO
                    | WatchMask::MOVE_SELF
                    | WatchMask::DELETE_SELF
                    | WatchMask::ONLYDIR,
            ),
        }
    }

    fn forget(&mut self, key: Key, wd: &WatchDescriptor, release: bool) {
        let Some(users) = self.users.get_mut(wd) else { return };
        users.retain(|u| u.key != key);
        if users.is_empty() && release {
            self.users.remove(wd);
            if let Some(inotify) = &self.inotify {
                // Fails if the file is gone and the kernel forgot the watch by itself.
                let _ = inotify.watches().remove(wd.clone());
            }
        }
    }

    /// Waits for events, the waker, something to read in `others`, or the end of the time.
    pub fn wait(
        &mut self,
        waker: &Waker,
        others: &[(Key, BorrowedFd<'_>)],
        timeout: Span,
    ) -> Touched {
        let mut touched = Touched::default();
        let own = self.inotify.as_ref().map(|inotify| inotify.as_fd());
        let fds: Vec<BorrowedFd<'_>> = std::iter::once(waker.as_fd())
            .chain(others.iter().map(|(_, fd)| *fd))
            .chain(own)
            .collect();
        let ready = wait_any(&fds, Some(timeout));
        if ready.first() == Some(&true) {
            waker.clear();
        }
        let readable = others.iter().zip(ready.iter().skip(1)).filter(|(_, ready)| **ready);
        touched.keys.extend(readable.map(|((key, _), _)| (*key, Change::Any)));
        let Some(inotify) = &mut self.inotify else { return touched };
        // Until the queue is empty, but no longer than a busy directory deserves.
        for _ in 0..64 {
            let Ok(events) = inotify.read_events(&mut self.buffer) else { break };
            for event in events {
                touched.all |= event.mask.contains(EventMask::Q_OVERFLOW);
                let itself = event.name.is_none();
                let change = match event.mask {
                    EventMask::MODIFY => Change::Written,
                    _ => Change::Any,
                };
                for user in self.users.get(&event.wd).into_iter().flatten() {
                    if itself || user.name.is_none() || user.name.as_deref() == event.name {
                        let known = touched.keys.entry(user.key).or_insert(change);
                        *known = change.max(*known);
                    }
                }
                if event.mask.contains(EventMask::IGNORED) {
                    self.users.remove(&event.wd);
                }
            }
        }
        touched
    }
}
