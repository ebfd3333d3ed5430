//! Log files: one thread follows them all.
//!
//! It sleeps until inotify reports a change, a timer of a [`Tail`] is due, or the [`Sources`] have
//! something to do; then every touched tail takes steps in turn, one batch each, so that no file
//! starves the others. Files the kernel cannot watch (network file systems, no watches left) are
//! looked at several times a second instead, and the log says so. Must never spin: a tail is stepped
//! again only if its step said there is more.
//!
//! [`Sources`]: super::Sources

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use sekisho_core::effect::{Batch, Event, Level, SourceId, SourceOp, SourceState, StartAt};
use sekisho_core::time::{Monotonic, Span};

use super::encoding::Encoding;
use super::glob;
use super::reader::{self, Inode};
use super::siblings;
use super::tail::{Out, Tail};
use super::watch::{Key, Waker, Want, Watcher};
use super::{Context, Source};

/// Everything is looked at this often even if inotify reports nothing, all at the same time.
const SAFETY_TICK: Span = Span::from_secs(5);
/// How often files are looked at that cannot be watched: soon after they changed, …
const POLL_MIN: Span = Span::from_millis(100);
/// … and when they are quiet.
const POLL_MAX: Span = Span::from_millis(1000);
/// A file whose watches change with every look is left to the next tick after so many looks.
const RESETS_MAX: u8 = 16;
/// Rotated files of a pattern that are remembered so as not to be followed as new ones.
const SEEN_MAX: usize = 10_000;

enum Op {
    Open { source: SourceId, path: String, encoding: String, start: StartAt },
    Close(SourceId),
}

/// The thread and the way to it.
struct Files {
    // Unbounded, because the thread that sends must not wait for one that may wait for it; there
    // is one entry per configured log.
    ops: Sender<Op>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the thread.
pub fn start(context: &Context) -> io::Result<Box<dyn Source>> {
    let waker = Arc::new(Waker::new()?);
    let (ops, inbox) = crossbeam_channel::unbounded();
    let follower = Follower {
        context: context.clone(),
        inbox,
        waker: Arc::clone(&waker),
        watcher: Watcher::new(context.options.inotify),
        tails: BTreeMap::new(),
        sources: BTreeMap::new(),
        next_key: 0,
        limit_said: false,
    };
    let thread = std::thread::Builder::new().name("files".into()).spawn(move || follower.run())?;
    Ok(Box::new(Files { ops, waker, thread: Some(thread) }))
}

impl Source for Files {
    fn apply(&mut self, op: &SourceOp) -> bool {
        let op = match op {
            SourceOp::OpenFile { source, path, encoding, start } => Op::Open {
                source: *source,
                path: path.clone(),
                encoding: encoding.clone(),
                start: start.clone(),
            },
            SourceOp::Close(source) => Op::Close(*source),
            SourceOp::OpenJournal { .. } => return false,
        };
        let close = matches!(op, Op::Close(_));
        // Fails only after the end.
        let _ = self.ops.send(op);
        self.waker.wake();
        // A source to be closed may be one of another kind.
        !close
    }

    fn stop(&mut self) {
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One file being followed.
struct Followed {
    source: SourceId,
    tail: Tail,
    due: Monotonic,
    /// The tail's generation that the watches are for; `None` before the first.
    watched: Option<u64>,
    /// For a missing path: the directory watched for it.
    near: PathBuf,
    polled: bool,
    poll: Span,
    /// How often in a row the watches had to be set anew.
    resets: u8,
}

/// One source: a file, or a pattern and the files found so far.
struct FileSource {
    pattern: Option<Pattern>,
    caught_up: bool,
}

struct Pattern {
    key: Key,
    path: PathBuf,
    encoding: Encoding,
    start: StartAt,
    due: Monotonic,
    every: Span,
    scanned: bool,
    /// Paths that match and are a followed file's rotated self.
    seen: BTreeMap<PathBuf, Inode>,
}

struct Follower {
    context: Context,
    inbox: Receiver<Op>,
    waker: Arc<Waker>,
    watcher: Watcher,
    tails: BTreeMap<Key, Followed>,
    sources: BTreeMap<SourceId, FileSource>,
    next_key: Key,
    limit_said: bool,
}

fn now() -> Monotonic {
    crate::clock::now().mono
}

/// The common tick after `at`, so that all quiet files are looked at in one wake-up.
fn next_tick(at: Monotonic) -> Monotonic {
    let tick = u64::try_from(SAFETY_TICK.0).unwrap_or(1).max(1);
    Monotonic((at.0 / tick + 1).saturating_mul(tick))
}

impl Follower {
    fn run(mut self) {
        loop {
            while let Ok(op) = self.inbox.try_recv() {
                self.operate(op);
            }
            if self.context.stopping() {
                return;
            }
            let at = now();
            self.scan_patterns(at);
            let due: Vec<Key> =
                self.tails.iter().filter(|(_, t)| t.due <= at).map(|(key, _)| *key).collect();
            for key in &due {
                if !self.step(*key, at) {
                    return;
                }
            }
            if due.is_empty() {
                self.sleep();
            }
        }
    }

    fn sleep(&mut self) {
        let at = now();
        let patterns = self.sources.values().filter_map(|s| s.pattern.as_ref().map(|p| p.due));
        let next = self.tails.values().map(|t| t.due).chain(patterns).min();
        // Without sources there is nothing to look at; the waker ends the wait.
        let timeout = next.map_or(Span::from_secs(3600), |next| next.since(at));
        if timeout.0 == 0 {
            return;
        }
        // Rounded up: waking a moment too early would be for nothing.
        let timeout = Span(timeout.0.saturating_add(999) / 1000 * 1000);
        let touched = self.watcher.wait(&self.waker, timeout);
        for (key, followed) in &mut self.tails {
            if touched.all || touched.keys.contains(key) {
                followed.due = Monotonic(0);
            }
        }
        for pattern in self.sources.values_mut().filter_map(|s| s.pattern.as_mut()) {
            if touched.all || touched.keys.contains(&pattern.key) {
                pattern.due = Monotonic(0);
            }
        }
    }

    // ---- sources --------------------------------------------------------------------------

    fn operate(&mut self, op: Op) {
        match op {
            Op::Close(source) => self.close(source),
            Op::Open { source, path, encoding, start } => {
                self.close(source);
                let known = Encoding::from_python_name(&encoding);
                if known.is_none() {
                    let text = format!(
                        "{path}: the encoding '{encoding}' is unknown, the bytes are used as they \
                         are; set logencoding to utf-8 or to the name of the log's encoding"
                    );
                    self.context.send(Event::Source(source, SourceState::Trouble(text)), || false);
                }
                let encoding = known.unwrap_or(Encoding::Bytes);
                let path = PathBuf::from(path);
                let is_pattern =
                    glob::is_pattern(&path.to_string_lossy()) && reader::look(&path).is_err();
                let key = self.key();
                let pattern = is_pattern.then(|| Pattern {
                    key,
                    path: path.clone(),
                    encoding,
                    start: start.clone(),
                    due: Monotonic(0),
                    every: POLL_MAX,
                    scanned: false,
                    seen: BTreeMap::new(),
                });
                self.sources.insert(source, FileSource { pattern, caught_up: false });
                if !is_pattern {
                    self.follow(key, source, Tail::new(path, encoding, start));
                }
            }
        }
    }

    fn key(&mut self) -> Key {
        self.next_key += 1;
        self.next_key
    }

    fn follow(&mut self, key: Key, source: SourceId, tail: Tail) {
        let followed = Followed {
            source,
            tail,
            due: Monotonic(0),
            watched: None,
            near: PathBuf::new(),
            polled: false,
            poll: POLL_MIN,
            resets: 0,
        };
        self.tails.insert(key, followed);
    }

    fn close(&mut self, source: SourceId) {
        if let Some(pattern) = self.sources.remove(&source).and_then(|s| s.pattern) {
            self.watcher.remove(pattern.key);
        }
        let watcher = &mut self.watcher;
        self.tails.retain(|key, t| {
            if t.source == source {
                watcher.remove(*key);
            }
            t.source != source
        });
    }

    // ---- patterns -------------------------------------------------------------------------

    fn scan_patterns(&mut self, at: Monotonic) {
        let due: Vec<SourceId> = self
            .sources
            .iter()
            .filter(|(_, s)| s.pattern.as_ref().is_some_and(|p| p.due <= at))
            .map(|(id, _)| *id)
            .collect();
        for source in due {
            self.scan(source, at);
        }
    }

    fn scan(&mut self, source: SourceId, at: Monotonic) {
        let Some(pattern) = self.sources.get_mut(&source).and_then(|s| s.pattern.as_mut()) else {
            return;
        };
        if !pattern.scanned {
            // Watched before the first look, so that nothing appears in between unseen.
            let (dir, flat) = glob::fixed(&pattern.path);
            let watched = self.watcher.set(pattern.key, &[Want::Dir(dir, None)]).is_ok();
            pattern.every = if watched && flat { SAFETY_TICK } else { POLL_MAX };
        }
        pattern.due = if pattern.every == SAFETY_TICK { next_tick(at) } else { at.plus(POLL_MAX) };
        let first = !std::mem::replace(&mut pattern.scanned, true);
        let start = match &pattern.start {
            start if first => start.clone(),
            StartAt::Head { since, .. } => StartAt::Head { saved: None, since: *since },
            // Appeared while we were watching: all its lines are new.
            StartAt::Tail => StartAt::Head { saved: None, since: crate::clock::now().wall },
        };
        let found = current_logs(glob::expand(&pattern.path));
        let mut new = Vec::new();
        for path in found {
            let Ok(look) = reader::look(&path) else { continue };
            let mut own = self.tails.values().filter(|t| t.source == source);
            if pattern.seen.get(&path) == Some(&look.inode)
                || self.tails.values().any(|t| t.source == source && t.tail.path() == path)
            {
                continue;
            }
            if own.any(|t| t.tail.holds(look.inode)) {
                if pattern.seen.len() < SEEN_MAX {
                    pattern.seen.insert(path, look.inode);
                }
                continue;
            }
            new.push(path);
        }
        let encoding = pattern.encoding;
        let text = format!("{}: no file matches yet", pattern.path.display());
        if first && new.is_empty() {
            self.context.send(Event::Source(source, SourceState::Missing(text)), || false);
        }
        for path in new {
            let own = self.tails.values().filter(|t| t.source == source).count();
            if own >= glob::MATCHES_MAX {
                return;
            }
            let key = self.key();
            self.follow(key, source, Tail::new(path, encoding, start.clone()));
        }
    }

    // ---- files ----------------------------------------------------------------------------

    /// One step of one tail; `false` when it is time to end.
    fn step(&mut self, key: Key, at: Monotonic) -> bool {
        let Some(followed) = self.tails.get_mut(&key) else { return true };
        let step = followed.tail.step(at);
        let source = followed.source;
        let got = !step.out.is_empty();
        followed.poll = if got || step.more {
            POLL_MIN
        } else {
            Span(followed.poll.0.saturating_mul(3) / 2).min(POLL_MAX)
        };
        for out in step.out {
            if !self.hand_on(source, out) {
                return false;
            }
        }
        let Some(followed) = self.tails.get(&key) else { return true };
        // A missing path's nearest directory may be another one after each event.
        let stale = followed.watched != Some(followed.tail.generation())
            || (followed.tail.is_missing() && nearest(followed.tail.path()).0 != followed.near);
        if stale {
            self.watch(key);
        }
        let Some(followed) = self.tails.get_mut(&key) else { return true };
        followed.resets = if stale { followed.resets.saturating_add(1) } else { 0 };
        followed.due = if step.more || (stale && followed.resets < RESETS_MAX) {
            // What happened before the watches were set is found by looking once more.
            Monotonic(0)
        } else {
            let next = if followed.polled { at.plus(followed.poll) } else { next_tick(at) };
            followed
                .tail
                .deadline()
                .map_or(next, |deadline| next.min(deadline.max(at.plus(Span(1)))))
        };
        true
    }

    fn hand_on(&mut self, source: SourceId, out: Out) -> bool {
        let event = match out {
            Out::Lines { data, live, position } => {
                Event::Lines(Batch { source, data, live, position, times: Vec::new() })
            }
            Out::State(SourceState::CaughtUp) => {
                let Some(s) = self.sources.get_mut(&source) else { return true };
                let all = self.tails.values().all(|t| t.source != source || t.tail.is_live());
                if s.caught_up || !all {
                    return true;
                }
                s.caught_up = true;
                Event::Source(source, SourceState::CaughtUp)
            }
            Out::State(state) => Event::Source(source, state),
        };
        self.context.send(event, || false)
    }

    /// Watches what this tail needs now, or polls.
    fn watch(&mut self, key: Key) {
        let Some(followed) = self.tails.get_mut(&key) else { return };
        let tail = &mut followed.tail;
        followed.watched = Some(tail.generation());
        let kind = tail.readers().last().and_then(|r| remote_kind(r.file()));
        tail.set_remote(kind.is_some());
        let mut wants: Vec<Want<'_>> =
            tail.readers().map(|r| Want::File(r.file(), tail.path())).collect();
        let real = std::fs::canonicalize(tail.path()).ok();
        followed.near = nearest(tail.path()).0;
        for path in std::iter::once(tail.path()).chain(real.as_deref()) {
            let (dir, name) = nearest(path);
            wants.push(Want::Dir(dir, name));
        }
        let result = self.watcher.set(key, &wants);
        let was_polled = std::mem::replace(&mut followed.polled, kind.is_some() || result.is_err());
        if !followed.polled || was_polled {
            return;
        }
        let path = followed.tail.path().display().to_string();
        match (kind, result) {
            (Some(kind), _) => self.context.log(
                Level::Info,
                format!("{path} is on a file system ({kind}) that reports no changes: polling it"),
            ),
            (None, Err(e)) if !self.limit_said => {
                self.limit_said = true;
                let hint = if e.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error()) {
                    "; raise fs.inotify.max_user_watches"
                } else {
                    ""
                };
                self.context.log(
                    Level::Warning,
                    format!("{path} cannot be watched ({e}{hint}): polling it, and others alike"),
                );
            }
            _ => {}
        }
    }
}

/// The nearest existing directory of a path, and the name in it that leads to the path.
fn nearest(path: &Path) -> (PathBuf, Option<OsString>) {
    let mut at = path;
    loop {
        let dir = siblings::directory(at);
        if dir.is_dir() || dir == at || dir == Path::new(".") {
            return (dir.to_path_buf(), at.file_name().map(OsString::from));
        }
        at = dir;
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
            let base = Path::new(std::ffi::OsStr::from_bytes(base));
            siblings::is_rotated_name(base, &path)
                && kept.binary_search_by(|k| k.as_path().cmp(base)).is_ok()
        });
        if !rotated {
            kept.push(path);
        }
    }
    kept
}

/// The name of a file system whose changes may come from another machine or past the kernel.
fn remote_kind(file: &std::fs::File) -> Option<&'static str> {
    let magic = rustix::fs::fstatfs(file).ok()?.f_type as u32;
    Some(match magic {
        0x6969 => "nfs",
        0x517B => "smb",
        0xFF53_4D42 => "cifs",
        0xFE53_4D42 => "smb2",
        0x6573_5546 => "fuse",
        0x0102_1997 => "9p",
        0x00C3_6400 => "ceph",
        0x5346_414F | 0x6B41_4653 => "afs",
        0x0BD0_0BD0 => "lustre",
        0x4750_4653 => "gpfs",
        0x786F_4256 => "vboxsf",
        0xBACB_ACBC => "vmhgfs",
        0x7461_636F => "ocfs2",
        0x0116_1970 => "gfs2",
        _ => return None,
    })
}
