//! The journal, through a supervised `journalctl`.
//!
//! One thread and one child per source. The child prints entries as JSON; it is started again, behind
//! the last entry handed on, whenever it ends. Reading the journal through the program instead of
//! its library keeps hostile journal files out of this process and needs no unsafe code. Must never
//! hang on the child: it is killed when the source ends, and a missing program is said and tried
//! again.

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
use entry::Entry;

pub mod command;
pub mod entry;

/// An entry longer than this is left out.
const ENTRY_MAX: usize = 4 * 1024 * 1024;
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
/// Entries that seem older than the start count as live after this time: the clock was set back.
const CLOCK_SETTLES: Span = Span::from_secs(60);
/// The same trouble is reported once in this time.
const TROUBLE_EVERY: Span = Span::from_secs(86_400);

/// All journal sources.
struct Journals {
    context: Context,
    streams: BTreeMap<SourceId, Handle>,
}

struct Handle {
    closed: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

/// Prepares; threads begin with their sources.
pub fn start(context: &Context) -> io::Result<Box<dyn Source>> {
    Ok(Box::new(Journals { context: context.clone(), streams: BTreeMap::new() }))
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
            closed: Arc::clone(&closed),
            waker: Arc::clone(&waker),
            source,
            journal,
            matches: matches.to_vec(),
            from: From::Now,
            skip_before: Timestamp(i64::MIN),
            position: Position::default(),
            begun: (begun.wall, begun.mono),
            caught_up: false,
            opened: false,
            failures_at_cursor: 0,
            troubles: Vec::new(),
        };
        stream.begin_at(start);
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || {
            if let Some(bad) = bad {
                stream.trouble(bad);
            }
            stream.run();
        })?;
        Ok(Handle { closed, waker, thread: Some(thread) })
    }
}

/// One source and its child.
struct Stream {
    context: Context,
    closed: Arc<AtomicBool>,
    waker: Arc<Waker>,
    source: SourceId,
    journal: Journal,
    matches: Vec<Vec<String>>,
    /// Where the next child begins.
    from: From,
    /// Entries before this time are not wanted.
    skip_before: Timestamp,
    /// Behind the last entry handed on.
    position: Position,
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
            match self.run_child() {
                End::Closed => return,
                End::Again(true) => backoff = BACKOFF_MIN,
                End::Again(false) => {}
            }
            if self.from == From::Now {
                // What came while no child ran is wanted, too.
                self.skip_before = self.begun.0;
                self.from = From::Time(self.begun.0);
            }
            wait_readable([self.waker.as_fd()], Some(backoff));
            self.waker.clear();
            backoff = Span(backoff.0.saturating_mul(2)).min(BACKOFF_MAX);
        }
    }

    fn spawn(&self) -> io::Result<Child> {
        Command::new(&self.context.options.journalctl)
            .args(self.journal.arguments(&self.matches, &self.from))
            .env("LC_ALL", "C")
            .env("SYSTEMD_COLORS", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }

    fn run_child(&mut self) -> End {
        let mut child = match self.spawn() {
            Ok(child) => child,
            Err(e) => {
                let program = self.context.options.journalctl.display();
                let text = format!(
                    "The journal cannot be read, {program} cannot be started: {e}; install systemd's \
                     journalctl, or set backend = auto and logpath; trying again"
                );
                self.trouble(text);
                return End::Again(false);
            }
        };
        let (mut fed, closed) = self.read_child(&mut child);
        // It may have ended already.
        let _ = child.kill();
        let status = child.wait();
        if closed || self.closing() {
            return End::Closed;
        }
        let failed = status.is_ok_and(|s| s.code().is_some_and(|code| code != 0));
        if failed && !fed.any && matches!(self.from, From::Cursor(_)) {
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
        let text = if said.is_empty() {
            "journalctl ended; starting it again behind the last entry".to_owned()
        } else {
            let first: String = said.lines().next().unwrap_or_default().chars().take(300).collect();
            format!("journalctl ended: {first}; check journalmatch and the backend's parameters")
        };
        self.trouble(text);
        End::Again(fed.any)
    }

    /// Reads until the child ends its output; says whether the source is to end.
    fn read_child(&mut self, child: &mut Child) -> (Fed, bool) {
        let mut fed = Fed::default();
        let (Some(mut stdout), mut stderr) = (child.stdout.take(), child.stderr.take()) else {
            return (fed, false);
        };
        if !std::mem::replace(&mut self.opened, true) {
            let open = SourceState::Open(self.position.clone());
            if !self.send(Event::Source(self.source, open)) {
                return (fed, true);
            }
        }
        let mut buffer = vec![0; 64 * 1024];
        let mut pending = Vec::new();
        let mut skipping = false;
        loop {
            let timeout = (!self.caught_up).then_some(if fed.any { QUIET } else { EMPTY });
            let (out, err) = match &stderr {
                Some(stderr) => {
                    let fds = [stdout.as_fd(), self.waker.as_fd(), stderr.as_fd()];
                    let [out, _, err] = wait_readable(fds, timeout);
                    (out, err)
                }
                None => {
                    let [out, _] = wait_readable([stdout.as_fd(), self.waker.as_fd()], timeout);
                    (out, false)
                }
            };
            if self.closing() {
                return (fed, true);
            }
            if err {
                fed.read_stderr(&mut stderr);
            }
            if !out {
                if !err && !self.caught_up && !self.catch_up() {
                    return (fed, true);
                }
                continue;
            }
            let n = match stdout.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            pending.extend_from_slice(buffer.get(..n).unwrap_or_default());
            let whole = memchr::memrchr(b'\n', &pending).map_or(0, |i| i + 1);
            let mut lines: Vec<u8> = pending.drain(..whole).collect();
            if skipping && whole > 0 {
                let end = memchr::memchr(b'\n', &lines).map_or(lines.len(), |i| i + 1);
                lines.drain(..end);
                skipping = false;
            }
            if pending.len() > ENTRY_MAX || skipping {
                if !skipping {
                    self.trouble(format!(
                        "A journal entry longer than {ENTRY_MAX} bytes was left out; look what \
                         writes it"
                    ));
                }
                skipping = true;
                pending.clear();
            }
            fed.any |= !lines.is_empty();
            if !self.hand_on(&lines) {
                return (fed, true);
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
        (fed, false)
    }

    /// Renders entries and sends them, cut where they become live.
    fn hand_on(&mut self, lines: &[u8]) -> bool {
        let mut batch: Option<Batch> = None;
        for json in lines.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            let entry = match entry::parse(json) {
                Ok(entry) => entry,
                Err(e) => {
                    self.trouble(format!("{e}; it was left out"));
                    continue;
                }
            };
            if entry.time < self.skip_before && !self.settled() {
                continue;
            }
            let live = self.is_live(&entry);
            if batch.as_ref().is_some_and(|b| b.live != live)
                && let Some(done) = batch.take()
                && !self.send(Event::Lines(done))
            {
                return false;
            }
            if live && !self.catch_up() {
                return false;
            }
            self.move_to(&entry);
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
            batch.position = self.position.clone();
        }
        batch.is_none_or(|batch| self.send(Event::Lines(batch)))
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

    fn move_to(&mut self, entry: &Entry) {
        self.position = Position {
            first_line: iso(entry.time),
            offset: entry.time.as_secs_f64(),
            cursor: entry.cursor.clone(),
        };
        if let Some(cursor) = &entry.cursor {
            self.from = From::Cursor(cursor.clone());
            self.failures_at_cursor = 0;
        }
    }

    fn catch_up(&mut self) -> bool {
        std::mem::replace(&mut self.caught_up, true)
            || self.send(Event::Source(self.source, SourceState::CaughtUp))
    }

    fn send(&self, event: Event) -> bool {
        self.context.send(event, || self.closing())
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

/// Local time as ISO text, as fail2ban keeps it.
fn iso(at: Timestamp) -> String {
    let text = clock::zone().format(at).replace(' ', "T");
    format!("{text}.{:06}", at.0.rem_euclid(1_000_000))
}
