//! The journal, through a supervised `journalctl`.
//!
//! One thread and one child per source. The child prints entries in the export format; it is started
//! again, behind the last entry handed on, whenever it ends. It sees the journal through a folder of
//! links (`view`, `look`), by which it is woken as soon as there is something to read. Reading through
//! the program instead of a library keeps hostile journal files out of this process and needs no unsafe
//! code; ARCHITECTURE.md has the figures. Must never hang on the child: it is killed when the source
//! ends, and a missing program is said and tried again.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use sekisho_core::effect::{
    Batch, Event, Level, Position, SourceId, SourceOp, SourceState, StartAt,
};
use sekisho_core::time::{Monotonic, Span, Timestamp};

use super::watch::{Waker, wait_readable};
use super::{Context, Source};
use crate::clock;
use command::{From, Journal};
use entry::{Entry, Parser};
use look::{Ended, LOOK_EVERY, Look, Looks};

pub mod command;
pub mod entry;
mod look;
mod view;

/// What is kept of the child's error messages.
const STDERR_MAX: usize = 4096;
/// The first wait before the child is started again; doubled up to …
const BACKOFF_MIN: Span = Span::from_secs(1);
/// … this.
const BACKOFF_MAX: Span = Span::from_secs(60);
/// The backlog is over when nothing came for so long after something came, …
const QUIET: Span = Span::from_millis(500);
/// … or nothing at all for so long.
const EMPTY: Span = Span::from_secs(2);
/// What journalctl says when it cannot follow; it then prints what there is, and ends.
const NO_WATCHES: &str = "Insufficient watch descriptors";
/// How often a journal that does not exist is looked for.
const NO_JOURNAL: Span = Span::from_secs(1);
/// Entries that seem older than the start count as live after this time: the clock was set back.
const CLOCK_SETTLES: Span = Span::from_secs(60);
/// The same trouble is reported once in this time.
const TROUBLE_EVERY: Span = Span::from_secs(86_400);

/// All journal sources.
struct Journals {
    context: Context,
    looks: Option<Arc<Looks>>,
    streams: BTreeMap<SourceId, Handle>,
}

struct Handle {
    closed: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

/// Prepares; threads begin with their sources.
pub fn start(context: &Context) -> io::Result<Box<dyn Source>> {
    let looks = context.options.folder.clone().map(|folder| Arc::new(Looks::new(folder)));
    Ok(Box::new(Journals { context: context.clone(), looks, streams: BTreeMap::new() }))
}

impl Source for Journals {
    fn apply(&mut self, op: &SourceOp) -> bool {
        match op {
            SourceOp::OpenFile { .. } => false,
            SourceOp::Close(source) => match self.streams.remove(source) {
                // Its thread ends by itself; nothing has to wait for it.
                Some(handle) => {
                    handle.close();
                    true
                }
                None => false,
            },
            SourceOp::OpenJournal { source, matches, params, start } => {
                if let Some(old) = self.streams.remove(source) {
                    old.close();
                }
                match self.open(*source, matches, params, start) {
                    Ok(handle) => {
                        self.streams.insert(*source, handle);
                    }
                    Err(e) => self.context.log(
                        Level::Error,
                        format!("The journal is not read, no thread can be started: {e}"),
                    ),
                }
                true
            }
        }
    }

    fn stop(&mut self) {
        for handle in self.streams.values() {
            handle.close();
        }
        for handle in std::mem::take(&mut self.streams).into_values() {
            if let Some(thread) = handle.thread {
                let _ = thread.join();
            }
        }
    }
}

impl Handle {
    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.waker.wake();
    }
}

impl Journals {
    fn open(
        &self,
        source: SourceId,
        matches: &[Vec<String>],
        params: &[(String, String)],
        start: &StartAt,
    ) -> io::Result<Handle> {
        let waker = Arc::new(Waker::new()?);
        let closed = Arc::new(AtomicBool::new(false));
        let default_flags = std::env::var("F2B_SYSTEMD_DEFAULT_FLAGS").ok();
        let (journal, bad) = Journal::from_params(params, default_flags.as_deref());
        let begun = clock::now();
        let mut stream = Stream {
            context: self.context.clone(),
            looks: self.looks.clone(),
            closed: Arc::clone(&closed),
            waker: Arc::clone(&waker),
            source,
            journal,
            matches: matches.to_vec(),
            from: From::Now,
            skip_before: Timestamp(i64::MIN),
            position: Position::default(),
            read_to: None,
            begun: (begun.wall, begun.mono),
            caught_up: false,
            opened: false,
            failures_at_cursor: 0,
            troubles: Vec::new(),
        };
        stream.begin_at(start);
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || {
            for text in bad {
                stream.trouble(text);
            }
            stream.run();
        })?;
        Ok(Handle { closed, waker, thread: Some(thread) })
    }
}

/// One source and its child.
struct Stream {
    context: Context,
    looks: Option<Arc<Looks>>,
    closed: Arc<AtomicBool>,
    waker: Arc<Waker>,
    source: SourceId,
    journal: Journal,
    matches: Vec<Vec<String>>,
    /// Where the next child begins.
    from: From,
    /// Entries before this time are not wanted.
    skip_before: Timestamp,
    /// Behind the last entry handed on, …
    position: Position,
    /// … except that this one came later; its cursor is in `from`.
    read_to: Option<Timestamp>,
    begun: (Timestamp, Monotonic),
    caught_up: bool,
    opened: bool,
    failures_at_cursor: u32,
    troubles: Vec<(String, Monotonic)>,
}

/// How a child ended.
enum End {
    /// The source is to end.
    Closed,
    /// It has to be started again; whether it had handed on anything.
    Again(bool),
    /// It has to be started again to see another journal.
    Moved,
    /// It has printed all there was, but cannot follow.
    Finished,
}

/// Why a child's output is read no longer.
enum Why {
    /// The source is to end.
    Closed,
    /// The journal is somewhere else.
    Moved,
    /// The child has ended, or what it prints makes no sense.
    Ended,
}

impl Stream {
    fn begin_at(&mut self, start: &StartAt) {
        match start {
            StartAt::Tail => {}
            StartAt::Head { saved, since } => {
                self.skip_before = *since;
                self.from = From::Time(*since);
                if let Some(saved) = saved {
                    let at = Timestamp::from_secs_f64(saved.offset);
                    self.position = saved.clone();
                    if at >= *since {
                        // Kept by fail2ban without a cursor: everything after that moment.
                        self.skip_before = at.plus(Span(1));
                        self.from = match &saved.cursor {
                            Some(cursor) => From::Cursor(cursor.clone()),
                            None => From::Time(at),
                        };
                        if saved.cursor.is_some() {
                            self.skip_before = *since;
                        }
                    }
                }
            }
        }
    }

    fn closing(&self) -> bool {
        self.closed.load(Ordering::Relaxed) || self.context.stopping()
    }

    fn run(mut self) {
        if self.from == From::Now {
            self.catch_up();
        }
        let mut backoff = BACKOFF_MIN;
        while !self.closing() {
            let Some(look) = self.look() else {
                self.trouble(
                    "There is no journal yet, it is waited for; check journalpath and journalfiles, \
                     or that systemd-journald runs"
                        .to_owned(),
                );
                if !self.catch_up() {
                    return;
                }
                wait_readable([self.waker.as_fd()], Some(NO_JOURNAL));
                self.waker.clear();
                continue;
            };
            let before = look.as_ref().map_or(0, |look| look.entries());
            let end = self.run_child(look.as_deref());
            match end {
                End::Closed => return,
                End::Again(true) | End::Finished => backoff = BACKOFF_MIN,
                End::Again(false) => {}
                // The child did no wrong: nothing has to be waited for.
                End::Moved => backoff = Span(0),
            }
            if self.from == From::Now {
                // What came while no child ran is wanted, too.
                self.skip_before = self.begun.0;
                self.from = From::Time(self.begun.0);
            }
            wait_readable([self.waker.as_fd()], Some(backoff));
            self.waker.clear();
            if let (End::Finished, Some(look)) = (end, &look) {
                self.wait_for_more(look, before);
            }
            backoff = Span(backoff.0.saturating_mul(2)).clamp(BACKOFF_MIN, BACKOFF_MAX);
        }
    }

    /// Waits until there are more entries than `before`, or another journal.
    fn wait_for_more(&mut self, look: &Look, before: u64) {
        while !self.closing() && look.ended().is_none() && look.entries() == before {
            wait_readable([self.waker.as_fd()], Some(LOOK_EVERY));
            self.waker.clear();
        }
    }

    /// The look with whose folder the next child reads, without which it comes to know later what there
    /// is to read; nothing where there is no journal.
    fn look(&mut self) -> Option<Option<Arc<Look>>> {
        let Some(looks) = self.looks.clone() else { return Some(None) };
        match looks.at(&self.journal, &self.waker) {
            Ok(look) => look.map(Some),
            Err(e) => {
                self.trouble(format!(
                    "{} cannot be used: {e}; journal entries are found up to 250 ms later; make the \
                     folder of the pid file writable for the server",
                    looks.folder().display()
                ));
                Some(None)
            }
        }
    }

    fn spawn(&self, look: Option<&Look>) -> io::Result<Child> {
        let folder = look.map(Look::folder);
        Command::new(&self.context.options.journalctl)
            .arg("--follow")
            .args(self.journal.arguments(&self.matches, &self.from, folder))
            .env("LC_ALL", "C")
            .env("SYSTEMD_COLORS", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }

    fn run_child(&mut self, look: Option<&Look>) -> End {
        let mut child = match self.spawn(look) {
            Ok(child) => child,
            Err(e) => {
                let text = format!(
                    "The journal cannot be read, {} cannot be started: {e}; install systemd's \
                     journalctl, or set backend = auto and logpath; trying again",
                    self.program()
                );
                self.trouble(text);
                return End::Again(false);
            }
        };
        let mut fed = Fed::default();
        let why = self.read_child(&mut child, look, &mut fed);
        // It may have ended already.
        let _ = child.kill();
        let status = child.wait();
        match why {
            Why::Closed => return End::Closed,
            _ if self.closing() => return End::Closed,
            Why::Moved => return End::Moved,
            Why::Ended => {}
        }
        let code = status.ok().and_then(|status| status.code());
        if code.is_some_and(|code| code != 0) && !fed.any && matches!(self.from, From::Cursor(_)) {
            self.failures_at_cursor += 1;
            if self.failures_at_cursor >= 2 {
                // The cursor is of another journal; its time still holds.
                let at = Timestamp::from_secs_f64(self.position.offset);
                self.skip_before = at.plus(Span(1));
                self.from = From::Time(at);
                self.failures_at_cursor = 0;
            }
        }
        let said = String::from_utf8_lossy(&std::mem::take(&mut fed.stderr)).trim().to_owned();
        if code == Some(0) && said.contains(NO_WATCHES) {
            self.trouble(
                "journalctl cannot follow the journal, there are no inotify instances left; journal \
                 entries are found up to a second later; raise fs.inotify.max_user_instances"
                    .to_owned(),
            );
            return if self.catch_up() { End::Finished } else { End::Closed };
        }
        let text = if said.is_empty() {
            "journalctl ended; starting it again behind the last entry".to_owned()
        } else {
            let first: String = said.lines().next().unwrap_or_default().chars().take(300).collect();
            format!("journalctl ended: {first}; check journalmatch and the backend's parameters")
        };
        self.trouble(text);
        End::Again(fed.any)
    }

    /// Reads until the child ends its output, or there is another reason to end it.
    fn read_child(&mut self, child: &mut Child, mut look: Option<&Look>, fed: &mut Fed) -> Why {
        let (Some(mut stdout), mut stderr) = (child.stdout.take(), child.stderr.take()) else {
            return Why::Ended;
        };
        if !std::mem::replace(&mut self.opened, true) {
            let open = SourceState::Open(self.position.clone());
            if !self.send(Event::Source(self.source, open)) {
                return Why::Closed;
            }
        }
        let mut buffer = vec![0; 64 * 1024];
        let mut parser = Parser::default();
        let mut entries: Vec<Entry> = Vec::new();
        let mut fed_at = clock::now().mono;
        loop {
            let backlog = (!self.caught_up).then_some(if fed.any { QUIET } else { EMPTY });
            let (out, err) = match &stderr {
                Some(stderr) => {
                    let fds = [stdout.as_fd(), self.waker.as_fd(), stderr.as_fd()];
                    let [out, _, err] = wait_readable(fds, backlog);
                    (out, err)
                }
                None => {
                    let [out, _] = wait_readable([stdout.as_fd(), self.waker.as_fd()], backlog);
                    (out, false)
                }
            };
            self.waker.clear();
            if self.closing() {
                return Why::Closed;
            }
            match look.and_then(Look::ended) {
                None => {}
                Some(Ended::Moved) => return Why::Moved,
                Some(Ended::Failed(e)) => {
                    self.trouble(format!(
                        "journalctl cannot be woken: {e}; journal entries are found up to 250 ms \
                         later"
                    ));
                    look = None;
                }
            }
            if err {
                fed.read_stderr(&mut stderr);
            }
            if !out {
                let now = clock::now().mono;
                if backlog.is_some_and(|wait| now.since(fed_at) >= wait) && !self.catch_up() {
                    return Why::Closed;
                }
                continue;
            }
            let n = match stdout.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            fed_at = clock::now().mono;
            let fine = parser.feed(buffer.get(..n).unwrap_or_default(), &mut entries);
            fed.any |= !entries.is_empty();
            if !self.hand_on(entries.drain(..)) {
                return Why::Closed;
            }
            if std::mem::take(&mut parser.left_out) > 0 {
                self.trouble("A journal entry without a time was left out".to_owned());
            }
            if let Err(e) = fine {
                self.trouble(format!("{e}; is {} journalctl?", self.program()));
                break;
            }
        }
        if stderr.is_some() {
            // What the child said before it ended; it has closed its output, so it will not hang.
            let readable =
                stderr.as_ref().is_some_and(|e| wait_readable([e.as_fd()], Some(QUIET)) == [true]);
            if readable {
                fed.read_stderr(&mut stderr);
            }
        }
        Why::Ended
    }

    fn program(&self) -> std::path::Display<'_> {
        self.context.options.journalctl.display()
    }

    /// Sends entries, cut where they become live.
    fn hand_on(&mut self, entries: impl Iterator<Item = Entry>) -> bool {
        let mut batch: Option<Batch> = None;
        for entry in entries {
            // Reading begins at the entry that was handed on last.
            if matches!((&self.from, &entry.cursor), (From::Cursor(last), Some(this)) if last == this)
            {
                continue;
            }
            if entry.time < self.skip_before && !self.settled() {
                continue;
            }
            let live = self.is_live(&entry);
            if batch.as_ref().is_some_and(|b| b.live != live)
                && let Some(mut done) = batch.take()
            {
                done.position = self.position();
                if !self.send(Event::Lines(done)) {
                    return false;
                }
            }
            if live && !self.catch_up() {
                return false;
            }
            let batch = batch.get_or_insert_with(|| Batch {
                source: self.source,
                data: Vec::new(),
                live,
                position: Position::default(),
                times: Vec::new(),
            });
            batch.data.extend_from_slice(&entry.line);
            batch.data.push(b'\n');
            batch.times.push(entry.time);
            self.move_to(entry);
        }
        batch.is_none_or(|mut batch| {
            batch.position = self.position();
            self.send(Event::Lines(batch))
        })
    }

    /// Whether an entry was written while we were watching: by its time, so that a slow search
    /// through a big journal makes nothing old look new.
    fn is_live(&self, entry: &Entry) -> bool {
        entry.time >= self.begun.0 || self.settled()
    }

    /// Whether the backlog is over for so long that an entry's time is no sign of its age any more.
    fn settled(&self) -> bool {
        self.caught_up && clock::now().mono.since(self.begun.1) >= CLOCK_SETTLES
    }

    /// Behind the last entry, in the form in which it is stored.
    fn position(&mut self) -> Position {
        if let (Some(at), From::Cursor(cursor)) = (self.read_to.take(), &self.from) {
            self.position = Position {
                first_line: clock::zone().iso(at),
                offset: at.as_secs_f64(),
                cursor: Some(cursor.clone()),
            };
        }
        self.position.clone()
    }

    fn move_to(&mut self, entry: Entry) {
        if let Some(cursor) = entry.cursor {
            self.read_to = Some(entry.time);
            self.from = From::Cursor(cursor);
            self.failures_at_cursor = 0;
        }
    }

    fn catch_up(&mut self) -> bool {
        std::mem::replace(&mut self.caught_up, true)
            || self.send(Event::Source(self.source, SourceState::CaughtUp))
    }

    fn send(&self, event: Event) -> bool {
        self.context.send(vec![event], || self.closing())
    }

    fn trouble(&mut self, text: String) {
        let now = clock::now().mono;
        self.troubles.retain(|(_, at)| now.since(*at) < TROUBLE_EVERY);
        if self.troubles.len() < 16 && self.troubles.iter().all(|(t, _)| *t != text) {
            self.troubles.push((text.clone(), now));
            self.send(Event::Source(self.source, SourceState::Trouble(text)));
        }
    }
}

/// What came from a child.
#[derive(Default)]
struct Fed {
    any: bool,
    stderr: Vec<u8>,
}

impl Fed {
    fn read_stderr(&mut self, stderr: &mut Option<ChildStderr>) {
        let mut buffer = [0; 1024];
        match stderr.as_mut().map(|e| e.read(&mut buffer)) {
            Some(Ok(n)) if n > 0 => {
                let room = STDERR_MAX.saturating_sub(self.stderr.len()).min(n);
                self.stderr.extend_from_slice(buffer.get(..room).unwrap_or_default());
            }
            Some(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
            _ => *stderr = None,
        }
    }
}
