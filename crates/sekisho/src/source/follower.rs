//! All log files of the process, one step at a time.
//!
//! A [`Follower`] keeps an ordered queue of who has to be looked at and when. What the kernel reports
//! puts a file at its head, a file's own timers and the safety tick put it further back; a turn takes
//! those that are due and gives each one step, one batch at most, so that no file starves the others
//! and a turn costs what happened, not what is followed. Files the kernel cannot watch (network file
//! systems, no watches left) are looked at several times a second instead, and the log says so.
//!
//! It waits for nothing by itself and gets the time as an argument: the thread in [`super::file`]
//! drives it, and so does the model test. Must never spin: an input is stepped again only if its step
//! said there is more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use sekisho_core::date::DateFormat;
use sekisho_core::effect::{Batch, Event, Level, SourceId, SourceState, StartAt};
use sekisho_core::spec::is_pattern;
use sekisho_core::time::{Monotonic, Span, Timestamp};

use super::encoding::Encoding;
use super::glob;
use super::input::Input;
use super::pattern::Pattern;
use super::place::entries;
use super::reader;
use super::search::Dates;
use super::syslog::{Address, Syslog};
use super::tail::{Out, Step};
use super::watch::{Change, Key, Waker, Want, Watcher};
use super::{Context, Events};

/// What is watched is looked at this often even if the kernel reports nothing, all at the same time:
/// first soon, …
const TICK_MIN: Span = Span::from_secs(5);
/// … then, while it stays quiet, less often.
const TICK_MAX: Span = Span::from_secs(40);
/// How often files are looked at that cannot be watched: soon after they changed, …
const POLL_MIN: Span = Span::from_millis(100);
/// … and when they are quiet.
const POLL_MAX: Span = Span::from_millis(1000);
/// A file whose watches change with every look is left to the next tick after so many looks.
const RESETS_MAX: u8 = 16;
/// The way to the end of a source is told if it is longer than this (bytes), …
const FAR: u64 = 16 << 20;
/// … this often.
const PROGRESS_EVERY: Span = Span::from_millis(500);
/// So many events of a turn are handed on together, …
const OUTBOX_MAX: usize = 64;
/// … or so many bytes of lines.
const OUTBOX_BYTES: usize = 64 * 1024;
/// Kept sets of date detectors; there are as many as jails differ in their dates.
const DATES_MAX: usize = 64;

/// A log to follow.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its id.
    pub source: SourceId,
    /// A path, or a pattern.
    pub path: String,
    /// Python codec name.
    pub encoding: String,
    /// Whether it is to be looked at again and again, whatever the kernel reports.
    pub poll: bool,
    /// How its dates are read.
    pub dates: Vec<DateFormat>,
    /// Where to begin.
    pub start: StartAt,
}

/// One input being followed.
struct Followed {
    source: SourceId,
    input: Input,
    encoding: Encoding,
    /// Its place in the queue.
    due: Monotonic,
    /// It is due only because it was written to.
    grown: bool,
    /// When all of it was looked at.
    looked_at: Option<Monotonic>,
    /// The input's generation that the watches are for; `None` before the first.
    watched: Option<u64>,
    /// The entries of directories that lead to it, as they are watched.
    entries: Vec<(PathBuf, OsString)>,
    polled: bool,
    /// How long to wait for the next look.
    pause: Span,
    /// How often in a row the watches had to be set anew.
    resets: u8,
    /// It has been counted as read to its end.
    was_live: bool,
}

/// One source: a file, or a pattern and the files found so far.
#[derive(Default)]
struct Group {
    pattern: Option<(Key, Pattern)>,
    /// Nothing of it is watched.
    poll: bool,
    keys: BTreeSet<Key>,
    /// Files whose end has not been reached yet.
    behind: usize,
    caught_up: bool,
    /// Bytes to the end when that was first known.
    way: Option<u64>,
    /// When the way was looked at last.
    way_at: Option<Monotonic>,
}

/// All files.
pub struct Follower {
    context: Context,
    watcher: Watcher,
    followed: HashMap<Key, Followed>,
    groups: BTreeMap<SourceId, Group>,
    /// Files and patterns by the time of their next look.
    queue: BTreeSet<(Monotonic, Key)>,
    patterns: HashMap<Key, (SourceId, Monotonic)>,
    /// Inputs that are not watched but polled for something to read.
    readable: BTreeSet<Key>,
    dates: HashMap<Vec<DateFormat>, Dates>,
    next_key: Key,
    limit_said: bool,
    outbox: Outbox,
}

/// What the steps of a turn brought, to be handed on together.
#[derive(Default)]
struct Outbox {
    events: Events,
    bytes: usize,
}

/// The common tick, of those `every` so long, after `at`: all quiet files are looked at in one wake-up.
fn next_tick(at: Monotonic, every: Span) -> Monotonic {
    let tick = u64::try_from(every.0).unwrap_or(1).max(1);
    Monotonic((at.0 / tick + 1).saturating_mul(tick))
}

impl Follower {
    /// Follows nothing yet.
    pub fn new(context: Context) -> Self {
        let watcher = Watcher::new(context.options.inotify);
        Self {
            context,
            watcher,
            followed: HashMap::new(),
            groups: BTreeMap::new(),
            queue: BTreeSet::new(),
            patterns: HashMap::new(),
            readable: BTreeSet::new(),
            dates: HashMap::new(),
            next_key: 0,
            limit_said: false,
            outbox: Outbox::default(),
        }
    }

    /// Looks at everything that is due; `false` when it is time to end.
    pub fn turn(&mut self, at: Monotonic) -> bool {
        let wall = crate::clock::now().wall;
        let due: Vec<Key> = self.queue.range(..=(at, Key::MAX)).map(|(_, key)| *key).collect();
        for key in due {
            let go_on = match self.patterns.get(&key) {
                Some((source, _)) => self.scan(*source, at),
                None => self.step(key, at, wall),
            };
            if !go_on {
                return false;
            }
        }
        self.flush()
    }

    /// When the next look is due; `None` if nothing is followed.
    pub fn next_due(&self) -> Option<Monotonic> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Waits until something happens to what is followed, or the waker, or the end of the time.
    pub fn wait(&mut self, waker: &Waker, timeout: Span) {
        let others = self.readable.iter().filter_map(|key| {
            let fd = self.followed.get(key)?.input.fd()?;
            Some((*key, fd))
        });
        let others: Vec<_> = others.collect();
        let touched = self.watcher.wait(waker, &others, timeout);
        if touched.all {
            let all: Vec<Key> = self.followed.keys().chain(self.patterns.keys()).copied().collect();
            all.into_iter().for_each(|key| self.schedule(key, Monotonic(0)));
            return;
        }
        for (key, change) in touched.keys {
            if let Some(followed) = self.followed.get_mut(&key) {
                // A whole look that is due stays one.
                followed.grown = change == Change::Written && followed.due != Monotonic(0);
            }
            self.schedule(key, Monotonic(0));
        }
    }

    /// Whether an inode is one of the files open for a source.
    pub fn holds(&self, inode: reader::Inode) -> bool {
        self.followed.values().any(|f| f.input.readers().any(|r| r.inode() == inode))
    }

    fn schedule(&mut self, key: Key, at: Monotonic) {
        let slot = match self.followed.get_mut(&key) {
            Some(followed) => &mut followed.due,
            None => match self.patterns.get_mut(&key) {
                Some((_, due)) => due,
                None => return,
            },
        };
        let before = std::mem::replace(slot, at);
        if before != at {
            self.queue.remove(&(before, key));
        }
        self.queue.insert((at, key));
    }

    // ---- sources --------------------------------------------------------------------------

    /// Begins to follow a log.
    pub fn open(&mut self, wanted: Wanted) {
        let Wanted { source, path, encoding, poll, dates, start } = wanted;
        self.close(source);
        let known = Encoding::from_python_name(&encoding);
        if known.is_none() {
            let text = format!(
                "the encoding '{encoding}' is unknown, the bytes are used as they are; set \
                 logencoding to utf-8 or to the name of the log's encoding"
            );
            let trouble = Event::Source(source, SourceState::Trouble(text));
            self.context.send(vec![trouble], || false);
        }
        let encoding = known.unwrap_or(Encoding::Bytes);
        if let Some(address) = Address::parse(&path) {
            self.groups.insert(source, Group { poll, ..Group::default() });
            let socket = Syslog::new(path.as_ref(), address, crate::clock::zone());
            return self.follow(source, Input::Socket(Box::new(socket)), encoding);
        }
        let path = PathBuf::from(path);
        let matches_many = is_pattern(&path.to_string_lossy()) && reader::look(&path).is_err();
        let mut group = Group { poll, ..Group::default() };
        if matches_many {
            let key = self.key();
            group.pattern = Some((key, Pattern::new(path, encoding, dates, start)));
            self.groups.insert(source, group);
            self.patterns.insert(key, (source, Monotonic(0)));
            self.schedule(key, Monotonic(0));
        } else {
            self.groups.insert(source, group);
            let dates = self.dates_for(&dates);
            self.follow(source, Input::open(path, encoding, start, dates), encoding);
        }
    }

    fn key(&mut self) -> Key {
        self.next_key += 1;
        self.next_key
    }

    fn follow(&mut self, source: SourceId, input: Input, encoding: Encoding) {
        let key = self.key();
        room_for(self.followed.len());
        let Some(group) = self.groups.get_mut(&source) else { return };
        group.keys.insert(key);
        group.behind += 1;
        let followed = Followed {
            source,
            input,
            encoding,
            due: Monotonic(0),
            grown: false,
            looked_at: None,
            watched: None,
            entries: Vec::new(),
            polled: group.poll,
            pause: POLL_MIN,
            resets: 0,
            was_live: false,
        };
        self.followed.insert(key, followed);
        self.schedule(key, Monotonic(0));
    }

    /// Detectors for these formats; making them takes longer than copying them.
    fn dates_for(&mut self, formats: &[DateFormat]) -> Option<Dates> {
        if formats.is_empty() {
            return None;
        }
        let now = crate::clock::now().wall;
        if let Some(known) = self.dates.get(formats) {
            return Some(known.clone().at(now));
        }
        if self.dates.len() >= DATES_MAX {
            self.dates.clear();
        }
        let made = Dates::new(formats, &crate::clock::zone(), now);
        self.dates.insert(formats.to_vec(), made.clone());
        Some(made)
    }

    /// Follows a log no more.
    pub fn close(&mut self, source: SourceId) {
        let Some(group) = self.groups.remove(&source) else { return };
        if let Some((key, _)) = group.pattern {
            self.watcher.remove(key);
            if let Some((_, due)) = self.patterns.remove(&key) {
                self.queue.remove(&(due, key));
            }
        }
        for key in group.keys {
            self.watcher.remove(key);
            self.readable.remove(&key);
            if let Some(followed) = self.followed.remove(&key) {
                self.queue.remove(&(followed.due, key));
            }
        }
    }

    // ---- patterns -------------------------------------------------------------------------

    /// Looks for new files of a pattern; `false` when it is time to end.
    fn scan(&mut self, source: SourceId, at: Monotonic) -> bool {
        let Some(group) = self.groups.get_mut(&source) else { return true };
        let Some((key, pattern)) = &mut group.pattern else { return true };
        let key = *key;
        if pattern.first() {
            // Watched before the first look, so that nothing appears in between unseen.
            let (dir, flat) = glob::fixed(pattern.path());
            let watched = !group.poll && self.watcher.set(key, &[Want::Dir(dir, None)]).is_ok();
            pattern.set_quiet(watched && flat);
        }
        let next = if pattern.quiet() { next_tick(at, TICK_MIN) } else { at.plus(POLL_MAX) };
        let known: Vec<&Input> =
            group.keys.iter().filter_map(|k| self.followed.get(k)).map(|f| &f.input).collect();
        let found = pattern.scan(&known, crate::clock::now().wall);
        let (encoding, dates) = (pattern.encoding(), pattern.dates().to_vec());
        let text = format!("{}: no file matches yet", pattern.path().display());
        for path in found.new {
            let dates = self.dates_for(&dates);
            let input = Input::open(path, encoding, found.start.clone(), dates);
            self.follow(source, input, encoding);
        }
        self.schedule(key, next);
        !found.nothing_yet || self.send(Event::Source(source, SourceState::Missing(text)))
    }

    // ---- files ----------------------------------------------------------------------------

    /// One step of one file; `false` when it is time to end.
    fn step(&mut self, key: Key, at: Monotonic, wall: Timestamp) -> bool {
        let Some(followed) = self.followed.get_mut(&key) else { return true };
        if let Some(step) = followed.step_grown(at) {
            let source = followed.source;
            let due = if step.more { Monotonic(0) } else { followed.next_look(at, true) };
            self.schedule(key, due);
            return step.out.into_iter().all(|out| self.hand_on(source, out));
        }
        if followed.input.is_missing() && followed.input.is_misplaced() {
            followed.replace(wall);
        }
        followed.looked_at = Some(at);
        let was_live = followed.was_live;
        let step = followed.input.step(at, wall);
        let source = followed.source;
        let got = !step.out.is_empty() || step.more;
        if !was_live && followed.input.is_live() {
            followed.was_live = true;
            self.reached_end(source);
        }
        for out in step.out {
            if !self.hand_on(source, out) {
                return false;
            }
        }
        if !was_live && !self.tell_way(source, at) {
            return false;
        }
        let Some(followed) = self.followed.get_mut(&key) else { return true };
        if !step.more && followed.input.is_misplaced() {
            followed.replace(wall);
        }
        // What leads to a missing path may be another directory after each event.
        let stale = followed.watched != Some(followed.input.generation())
            || (followed.input.is_missing() && entries(followed.input.path()) != followed.entries);
        if stale {
            self.watch(key);
        }
        let Some(followed) = self.followed.get_mut(&key) else { return true };
        followed.resets = if stale { followed.resets.saturating_add(1) } else { 0 };
        let due = if step.more || (stale && followed.resets < RESETS_MAX) {
            // What happened before the watches were set is found by looking once more.
            Monotonic(0)
        } else {
            let next = followed.next_look(at, got);
            let deadline = followed.input.deadline().map(|d| d.max(at.plus(Span(1))));
            deadline.map_or(next, |deadline| next.min(deadline))
        };
        self.schedule(key, due);
        true
    }

    /// A file of a source is read to its end for the first time.
    fn reached_end(&mut self, source: SourceId) {
        if let Some(group) = self.groups.get_mut(&source) {
            group.behind = group.behind.saturating_sub(1);
        }
    }

    fn hand_on(&mut self, source: SourceId, out: Out) -> bool {
        let event = match out {
            Out::Lines { data, live, position } => {
                Event::Lines(Batch { source, data, live, position, times: Vec::new() })
            }
            Out::State(SourceState::CaughtUp) => {
                let Some(group) = self.groups.get_mut(&source) else { return true };
                if group.caught_up || group.behind > 0 {
                    return true;
                }
                group.caught_up = true;
                Event::Source(source, SourceState::CaughtUp)
            }
            Out::State(state) => Event::Source(source, state),
        };
        self.send(event)
    }

    /// Hands on an event, together with others of this turn; `false` when it is time to end.
    fn send(&mut self, event: Event) -> bool {
        if let Event::Lines(batch) = &event {
            self.outbox.bytes += batch.data.len();
        }
        self.outbox.events.push(event);
        let full = self.outbox.events.len() >= OUTBOX_MAX || self.outbox.bytes >= OUTBOX_BYTES;
        !full || self.flush()
    }

    fn flush(&mut self) -> bool {
        let Outbox { events, .. } = std::mem::take(&mut self.outbox);
        events.is_empty() || self.context.send(events, || false)
    }

    /// Tells how far a long way to the end has been gone.
    fn tell_way(&mut self, source: SourceId, at: Monotonic) -> bool {
        let Some(group) = self.groups.get_mut(&source).filter(|g| !g.caught_up) else {
            return true;
        };
        if group.way_at.is_some_and(|told| at.since(told) < PROGRESS_EVERY) {
            return true;
        }
        group.way_at = Some(at);
        let behind = group.keys.iter().filter_map(|key| self.followed.get(key));
        let behind = behind.filter(|followed| !followed.was_live);
        // While the place to begin is searched for, the length of the way is not known.
        let left: Option<u64> = behind.map(|followed| followed.input.remaining()).sum();
        let Some(left) = left else { return true };
        let total = group.way.map_or(left, |total| total.max(left));
        group.way = Some(total);
        if total <= FAR {
            return true;
        }
        let state = SourceState::CatchingUp { read: total - left, total };
        self.send(Event::Source(source, state))
    }

    /// Watches what this file needs now, or polls.
    fn watch(&mut self, key: Key) {
        let Some(followed) = self.followed.get_mut(&key) else { return };
        followed.watched = Some(followed.input.generation());
        match followed.input.fd() {
            Some(_) => self.readable.insert(key),
            None => self.readable.remove(&key),
        };
        if matches!(followed.input, Input::Socket(_)) {
            // Until it can be listened on there is nothing to poll.
            self.readable.insert(key);
            return;
        }
        let kind = followed.input.note_remote();
        let mut wants = followed.input.wants();
        followed.entries = entries(followed.input.path());
        if self.groups.get(&followed.source).is_some_and(|group| group.poll) {
            return;
        }
        for (dir, name) in &followed.entries {
            wants.push(Want::Dir(dir.clone(), Some(name.clone())));
        }
        let result = self.watcher.set(key, &wants);
        let was_polled = std::mem::replace(&mut followed.polled, kind.is_some() || result.is_err());
        if !followed.polled || was_polled {
            return;
        }
        let path = followed.input.path().display().to_string();
        match (kind, result) {
            (Some(kind), _) => self.context.log(
                Level::Info,
                format!("{path} is on a file system ({kind}) that reports no changes: polling it"),
            ),
            (None, Err(e)) if !self.limit_said => {
                self.limit_said = true;
                let hint = match e.kind() {
                    io::ErrorKind::StorageFull => "; raise fs.inotify.max_user_watches",
                    io::ErrorKind::Unsupported => "; raise fs.inotify.max_user_instances",
                    _ => "",
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

/// Makes sure that so many files more or less can be open, as far as the system lets us.
fn room_for(files: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // One for each file, some for its rotated selves, and for everything else that a server opens.
    let wanted = files as u64 * 2 + 512;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        let current = Some(maximum.map_or(wanted * 2, |most| most.min(wanted * 2)));
        // Where it fails, files that cannot be opened are reported one by one.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
    }
}

impl Followed {
    /// What the path leads to now, from its beginning.
    fn replace(&mut self, wall: Timestamp) {
        let path = self.input.path().to_path_buf();
        let start = StartAt::Head { saved: None, since: wall };
        self.input = Input::open(path, self.encoding, start, None);
        self.watched = None;
    }

    /// Reads on, where that is all there is to do: most files are only ever written to, and a busy
    /// one must not cost a look at its path and its beginning for every line. But it is looked at as
    /// often as one that is quiet.
    fn step_grown(&mut self, at: Monotonic) -> Option<Step> {
        let looked_at = self.looked_at.filter(|_| std::mem::take(&mut self.grown))?;
        if at.since(looked_at) >= TICK_MIN {
            return None;
        }
        self.input.step_grown(at)
    }

    /// When to look again though nothing is reported.
    fn next_look(&mut self, at: Monotonic, got: bool) -> Monotonic {
        let (min, max) = if self.polled { (POLL_MIN, POLL_MAX) } else { (TICK_MIN, TICK_MAX) };
        // What is missing may appear where no watch sees it: by a mount.
        let max = if self.input.is_missing() { max.min(TICK_MIN) } else { max };
        let growing = if self.polled { self.pause.0 / 2 * 3 } else { self.pause.0 * 2 };
        self.pause = if got { min } else { Span(growing).clamp(min, max) };
        if self.polled { at.plus(self.pause) } else { next_tick(at, self.pause) }
    }
}
