//! What survives a restart: bans, their history, and how far logs have been read.
//!
//! fail2ban's own database file, so that either program can take over from the other. A thread of
//! its own does all reading and writing; [`Store::op`] and [`Store::ask`] never block, and nothing
//! in the path of a ban waits for them. Losing the file loses memory, never protection.

mod file;
mod notes;
pub mod peek;
mod pending;
mod queries;
mod rows;
mod vanished;
mod worker;

pub use file::VERSION;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use sekisho_core::action::PastBans;
use sekisho_core::command::{CommandError, ErrorClass, int, seconds};
use sekisho_core::effect::{Answer, Ask, AskId, Event, Level, StoreOp};
use sekisho_core::id::Id;
use sekisho_core::time::Span;
use sekisho_core::value::Value;

use self::notes::Notes;
use self::queries::Limits;
use self::worker::{Message, Worker};
use crate::LogFn;

const LOGGER: &str = "fail2ban.database";
/// Messages that may wait for the thread; it takes them within milliseconds unless the disk hangs.
/// Writes beyond are given up with an error in the log, questions answered with "nothing known".
const CHANNEL_MAX: usize = 65_536;
/// How long a worker waits for history (`<ipmatches>`) before it goes on without.
const PAST_BANS_LIMIT: Duration = Duration::from_secs(2);
/// How long opening a file may take before the caller goes on without knowing the result.
const OPEN_LIMIT: Duration = Duration::from_secs(60);

/// `dbmaxmatches` unless configured.
const DEFAULT_MAX_MATCHES: usize = 10;
/// `dbpurgeage` unless configured: one day.
const DEFAULT_PURGE_AGE: i64 = 86_400;

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite said no.
    #[error("cannot {doing} the database {path}: {source}")]
    Sql {
        /// The file.
        path: String,
        /// What was tried.
        doing: &'static str,
        /// Why not.
        source: rusqlite::Error,
    },
    /// The file system said no.
    #[error(
        "cannot keep a copy of the database at {path}: {source}; free some space or check the folder's permissions"
    )]
    File {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It was written by a newer program.
    #[error("the database {path} has version {version}, this program knows versions 1 to {known}: use another dbfile, or the program that wrote it", known = file::VERSION)]
    Version {
        /// The file.
        path: String,
        /// Its version.
        version: i64,
    },
    /// The thread could not be started, or does not answer.
    #[error("the thread of the database {0}")]
    Thread(String),
}

/// What can be set while it runs.
struct Settings {
    max_matches: AtomicUsize,
    purge_age: AtomicI64,
    /// The thread is to end.
    stopping: AtomicBool,
    /// A full channel has been reported.
    overflowed: AtomicBool,
}

impl Settings {
    fn limits(&self) -> Limits {
        Limits {
            max_matches: self.max_matches.load(Ordering::Relaxed),
            purge_age: self.purge_age.load(Ordering::Relaxed),
        }
    }
}

/// The store; it writes what waits when it is stopped or dropped.
pub struct Store {
    messages: Sender<Message>,
    events: Sender<Event>,
    settings: Arc<Settings>,
    log: LogFn,
    path: Option<String>,
    unclean: bool,
    notes: Option<Arc<Notes>>,
    thread: Option<JoinHandle<()>>,
}

/// A way to the store for workers.
#[derive(Clone)]
pub struct StoreHandle {
    messages: Sender<Message>,
}

impl StoreHandle {
    /// Lines and failures of earlier bans of an id, in one jail or in all; `None` if there are none
    /// or the store does not answer in time.
    pub fn past_bans(&self, id: &Id, jail: Option<&str>) -> Option<PastBans> {
        let (reply, answer) = bounded(1);
        let message = Message::PastBans { id: id.clone(), jail: jail.map(str::to_owned), reply };
        self.messages.try_send(message).ok()?;
        answer.recv_timeout(PAST_BANS_LIMIT).ok().flatten()
    }
}

impl Store {
    /// Starts the thread and opens `path`: a file, `:memory:`, or `None` (also as text) for no
    /// database. Only a file of a newer version is an error; one that cannot be opened now is
    /// reported by [`Event::StoreState`] and tried again.
    pub fn start(
        path: Option<&str>,
        events: Sender<Event>,
        log: LogFn,
    ) -> Result<Store, StoreError> {
        let settings = Arc::new(Settings {
            max_matches: AtomicUsize::new(DEFAULT_MAX_MATCHES),
            purge_age: AtomicI64::new(DEFAULT_PURGE_AGE),
            stopping: AtomicBool::new(false),
            overflowed: AtomicBool::new(false),
        });
        let (messages, queue) = bounded(CHANNEL_MAX);
        let worker = Worker::new(queue, events.clone(), LogFn::clone(&log), Arc::clone(&settings));
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| StoreError::Thread(format!("could not be started: {error}")))?;
        let thread = Some(thread);
        let mut store = Store {
            messages,
            events,
            settings,
            log,
            path: None,
            unclean: false,
            notes: None,
            thread,
        };
        store.set_file(path)?;
        Ok(store)
    }

    /// Notes bans in `path`, a file in memory, until they are in the database: a killed process
    /// loses none. What an earlier one noted is written to the file that is opened next.
    pub fn note_bans(&mut self, path: &Path) {
        let (notes, earlier) = Notes::open(path);
        let notes = Arc::new(notes);
        if self.messages.try_send(Message::Notes(Arc::clone(&notes), earlier)).is_ok() {
            self.notes = Some(notes);
        }
    }

    /// Closes the file in use and opens another.
    pub fn set_file(&mut self, path: Option<&str>) -> Result<(), StoreError> {
        let path = path.filter(|p| !p.eq_ignore_ascii_case("none")).map(str::to_owned);
        let (reply, answer) = bounded(1);
        let gone = |_| StoreError::Thread("has ended".to_owned());
        let message = Message::SetFile { path: path.clone(), reply };
        self.messages.send_timeout(message, OPEN_LIMIT).map_err(|_| {
            StoreError::Thread("is busy; look for a disk that does not answer".to_owned())
        })?;
        self.path = None;
        self.unclean = answer.recv_timeout(OPEN_LIMIT).map_err(gone)??;
        self.path = path;
        Ok(())
    }

    /// The file in use, as it was given.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// Whether the last process that used this file ended without closing it, so that what its
    /// actions left in the kernel may still be there. Kept in the file's `user_version`, which
    /// fail2ban does not use. False without a file.
    pub fn was_unclean(&self) -> bool {
        self.unclean
    }

    /// A way to the store for workers.
    pub fn handle(&self) -> StoreHandle {
        StoreHandle { messages: self.messages.clone() }
    }

    /// Writes something, soon.
    pub fn op(&self, op: StoreOp) {
        self.ops(vec![op]);
    }

    /// Writes several things that belong together: what is left after a kill has all of them or none.
    pub fn ops(&self, ops: Vec<StoreOp>) {
        if ops.is_empty() {
            return;
        }
        if let Some(notes) = self.notes.as_ref().filter(|_| self.path.is_some()) {
            notes.add(&ops);
        }
        if self.messages.try_send(Message::Ops(ops)).is_ok() {
            self.settings.overflowed.store(false, Ordering::Relaxed);
        } else if !self.settings.overflowed.swap(true, Ordering::Relaxed)
            && !self.settings.stopping.load(Ordering::Relaxed)
        {
            let text = "The database does not take changes any more: they are given up, look for a \
                        disk that does not answer";
            file::say(&self.log, Level::Error, text.to_owned());
        }
    }

    /// Answers `Restore`, `History` and `LogPosition` by an event.
    pub fn ask(&self, id: AskId, ask: Ask) {
        if let Err(refused) = self.messages.try_send(Message::Ask(id, ask)) {
            let answer = match refused.into_inner() {
                Message::Ask(_, Ask::Restore { .. }) => Answer::Bans(Vec::new()),
                Message::Ask(_, Ask::LogPosition { .. }) => Answer::LogPosition(None),
                _ => Answer::History(None),
            };
            // The caller is the receiver of this channel: it must not wait for itself.
            let _ = self.events.try_send(Event::Answer(id, answer));
        }
    }

    /// Reads or sets `dbmaxmatches` or `dbpurgeage`; answers the value. (`dbfile` is
    /// [`Store::path`] and [`Store::set_file`], because it depends on there being no jails.)
    pub fn setting(&self, name: &str, value: Option<&Value>) -> Result<Value, CommandError> {
        match name {
            "dbmaxmatches" => {
                if let Some(value) = value {
                    let n = usize::try_from(int(value)?.max(0)).unwrap_or(usize::MAX);
                    self.settings.max_matches.store(n, Ordering::Relaxed);
                }
                let n = self.settings.max_matches.load(Ordering::Relaxed);
                Ok(Value::Int(i64::try_from(n).unwrap_or(i64::MAX)))
            }
            "dbpurgeage" => {
                if let Some(value) = value {
                    self.settings.purge_age.store(seconds(value)?.trunc(), Ordering::Relaxed);
                }
                Ok(Value::Int(self.settings.purge_age.load(Ordering::Relaxed)))
            }
            other => {
                let text = format!("{other} is not a setting of the database");
                Err(CommandError::new(ErrorClass::ValueError, text))
            }
        }
    }

    /// Writes what waits, for at most `limit` if the file does not let us, and closes the file.
    pub fn stop(mut self, limit: Span) {
        self.end(limit);
    }

    fn end(&mut self, limit: Span) {
        let Some(thread) = self.thread.take() else { return };
        self.settings.stopping.store(true, Ordering::Relaxed);
        if self.messages.send_timeout(Message::Stop(limit), OPEN_LIMIT).is_ok() {
            // A thread that panicked has written what it could.
            let _ = thread.join();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.end(Span::from_secs(10));
    }
}
