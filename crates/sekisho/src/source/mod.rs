//! Where log lines come from: files and the journal.
//!
//! [`Sources`] takes the engine's [`SourceOp`]s and answers with events over one bounded channel
//! ([`mod@inbox`]): batches of complete lines and news about each source. When the channel is full,
//! reading stops; the file (or the journal) keeps what was not read. Every kind of source is one file
//! here and one line in `TABLE`. Must never decide anything about a line, and never block the caller.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{SendTimeoutError, Sender};
pub use inbox::{Events, Inbox, inbox};
use sekisho_core::effect::{Level, Record, SourceOp};

use crate::LogFn;

pub mod encoding;
pub mod fifo;
pub mod file;
pub mod follower;
pub mod glob;
pub mod inbox;
pub mod input;
pub mod journal;
pub mod pattern;
pub mod place;
pub mod reader;
pub mod search;
pub mod siblings;
pub mod stdin;
pub mod syslog;
pub mod tail;
pub mod watch;

/// A kind of source.
pub trait Source: Send {
    /// Does `op` if it is for this kind; `false` leaves it to the next. Returns at once.
    fn apply(&mut self, op: &SourceOp) -> bool;
    /// Ends all threads and programs of this kind, and waits for them.
    fn stop(&mut self);
}

/// How a kind is made.
type Start = fn(&Context) -> io::Result<Box<dyn Source>>;

/// One line per kind; an operation goes to the first that takes it.
const TABLE: &[Start] = &[file::start, journal::start];

/// What can be set from outside.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program that reads the journal.
    pub journalctl: PathBuf,
    /// A folder of the server's own, for what must not outlive it.
    pub folder: Option<PathBuf>,
    /// Whether files are watched; if not, they are polled.
    pub inotify: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { journalctl: PathBuf::from("journalctl"), folder: None, inotify: true }
    }
}

/// What every source has at hand.
#[derive(Clone)]
pub struct Context {
    /// Where lines and news go.
    pub events: Sender<Events>,
    /// Where the log is written.
    pub log: LogFn,
    /// Settings.
    pub options: Options,
    stop: Arc<AtomicBool>,
}

impl Context {
    /// For sources that send to `events`.
    pub fn new(events: Sender<Events>, log: LogFn, options: Options) -> Self {
        Self { events, log, options, stop: Arc::new(AtomicBool::new(false)) }
    }

    /// Writes a log record.
    pub fn log(&self, level: Level, text: String) {
        (self.log)(Record { level, logger: "fail2ban.filter", text });
    }

    /// Whether all sources are to end.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Hands on events, waiting while the channel is full; `false` when it is time to end, or
    /// `give_up` says so.
    fn send(&self, mut events: Events, give_up: impl Fn() -> bool) -> bool {
        loop {
            match self.events.send_timeout(events, Duration::from_millis(50)) {
                Ok(()) => return true,
                Err(SendTimeoutError::Disconnected(_)) => return false,
                Err(SendTimeoutError::Timeout(back)) => {
                    if self.stopping() || give_up() {
                        return false;
                    }
                    events = back;
                }
            }
        }
    }
}

/// All sources of a process.
pub struct Sources {
    kinds: Vec<Box<dyn Source>>,
    context: Context,
}

impl Sources {
    /// Starts the threads; nothing is read until [`Sources::apply`].
    pub fn start(events: Sender<Events>, log: LogFn) -> io::Result<Self> {
        Self::start_with(events, log, Options::default())
    }

    /// The same with settings.
    pub fn start_with(events: Sender<Events>, log: LogFn, options: Options) -> io::Result<Self> {
        let context = Context::new(events, log, options);
        let kinds = TABLE.iter().map(|start| start(&context)).collect::<io::Result<_>>()?;
        Ok(Self { kinds, context })
    }

    /// Begins or ends reading. Never waits for the channel, so the thread that empties it may call.
    pub fn apply(&mut self, op: SourceOp) {
        // The first kind that takes it; closing an unknown source is nothing.
        let _ = self.kinds.iter_mut().any(|kind| kind.apply(&op));
    }

    /// Ends all reading and waits for the threads. Lines not yet handed on stay unread.
    pub fn stop(&mut self) {
        self.context.stop.store(true, Ordering::Relaxed);
        for kind in &mut self.kinds {
            kind.stop();
        }
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        self.stop();
    }
}
