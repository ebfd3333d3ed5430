//! The store's thread: collects operations, writes them in bursts, answers questions.
//!
//! A file that is locked, full or read-only delays writes, never answers, and never anybody else:
//! operations are kept and tried again. Damage found while running is treated as at opening.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use sekisho_core::action::PastBans;
use sekisho_core::effect::{Answer, Ask, AskId, Event, Level, StoreOp};
use sekisho_core::id::Id;
use sekisho_core::time::{Monotonic, Span};

use super::file::{self, say};
use super::notes::{self, Notes};
use super::pending::Pending;
use super::vanished::Vanished;
use super::{Settings, StoreError, queries};
use crate::{LogFn, clock};

/// How long a burst is collected before it is written.
const BURST: Span = Span::from_millis(40);
/// Between two pieces of space given back: others get their turn.
const SHRINK_PAUSE: Span = Span::from_millis(50);
/// Operations of one transaction.
const BATCH: usize = 5000;
/// Pause after a failed write: short while the file is merely locked.
const RETRY_MIN: Span = Span::from_millis(50);
const RETRY_MAX: Span = Span::from_millis(1000);
const RETRY_BROKEN: Span = Span::from_secs(2);
/// How long a locked file is no news to anybody.
const PATIENCE: Span = Span::from_secs(3);
/// How long a question waits for a file that cannot even be read.
const ANSWER_LIMIT: Span = Span::from_secs(20);
/// How long a full event channel is waited for between two looks at the stop flag.
const SEND_SLICE: Duration = Duration::from_millis(100);
/// Nothing to do: look again after this long.
const IDLE: Span = Span::from_secs(3600);

/// What the thread is asked to do.
pub enum Message {
    /// Write these, in one go.
    Ops(Vec<StoreOp>),
    /// Answer this by an event.
    Ask(AskId, Ask),
    /// Answer this to a worker.
    PastBans { id: Id, jail: Option<String>, reply: Sender<Option<PastBans>> },
    /// Use another file, or none.
    SetFile { path: Option<String>, reply: Sender<Result<bool, StoreError>> },
    /// Note bans here; what an earlier process noted is written to the next file that is opened.
    Notes(Arc<Notes>, Vec<StoreOp>),
    /// Write what waits, at most this long, and end.
    Stop(Span),
}

/// The thread's state.
pub struct Worker {
    pub(super) messages: Receiver<Message>,
    pub(super) events: Sender<Event>,
    pub(super) log: LogFn,
    pub(super) settings: Arc<Settings>,
    path: Option<String>,
    db: Option<Connection>,
    pending: Pending,
    /// Questions that could not be answered yet, and until when to try.
    asks: VecDeque<(AskId, Ask, Monotonic)>,
    /// Jails that are to be in the file as enabled, should it have to be made anew.
    jails: BTreeSet<Arc<str>>,
    /// When to write next, if something waits.
    write_at: Option<Monotonic>,
    /// The file could not be opened so far, but only because of a lock: its content counts.
    locked: bool,
    /// Whether the file has been open.
    opened: bool,
    /// Whether its last user ended without closing it.
    unclean: bool,
    /// Open the file anew before the next write: it may be another one.
    reopen: bool,
    /// The enabled jails may not be in the file.
    announce: bool,
    /// Old bans have been deleted, and their space not been given back.
    purged: bool,
    /// Logs whose files are gone.
    vanished: Vanished,
    /// Since when writing has failed.
    failing: Option<Monotonic>,
    told: bool,
    /// Where bans are noted until they are written.
    notes: Option<Arc<Notes>>,
    /// What an earlier process noted.
    earlier: Vec<StoreOp>,
    /// How many changes have arrived that are noted.
    taken: u64,
}

enum Trouble {
    /// Another program holds a lock.
    Busy,
    /// The file cannot be written now.
    Broken(String),
    /// The file is damaged.
    Damaged(rusqlite::Error),
}

impl Worker {
    /// A worker without a file.
    pub fn new(
        messages: Receiver<Message>,
        events: Sender<Event>,
        log: LogFn,
        settings: Arc<Settings>,
    ) -> Self {
        Self {
            messages,
            events,
            log,
            settings,
            path: None,
            db: None,
            pending: Pending::default(),
            asks: VecDeque::new(),
            jails: BTreeSet::new(),
            write_at: None,
            locked: false,
            opened: false,
            unclean: false,
            reopen: false,
            announce: false,
            purged: false,
            vanished: Vanished::default(),
            failing: None,
            told: false,
            notes: None,
            earlier: Vec::new(),
            taken: 0,
        }
    }

    /// Works until it is told to stop, or nobody can tell it any more.
    pub fn run(mut self) {
        loop {
            let now = clock::now().mono;
            let mut wait = self.write_at.map_or(IDLE, |at| at.since(now));
            if !self.asks.is_empty() {
                wait = wait.min(RETRY_MIN);
            }
            let wait = Duration::from_micros(u64::try_from(wait.0).unwrap_or(0));
            match self.messages.recv_timeout(wait) {
                Ok(Message::Stop(limit)) => return self.stop(limit),
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.stop(Span::from_secs(10)),
            }
            self.answer_waiting();
            for op in self.vanished.found() {
                self.take_op(op);
            }
            if self.write_at.is_some_and(|at| at <= clock::now().mono) {
                self.flush();
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Ops(ops) => ops.into_iter().for_each(|op| self.take_op(op)),
            Message::Ask(id, ask) => {
                if let Ask::LogPosition { jail, path } = &ask {
                    self.vanished.asked(jail, path);
                }
                let until = clock::now().mono.plus(ANSWER_LIMIT);
                self.asks.push_back((id, ask, until));
            }
            Message::PastBans { id, jail, reply } => {
                let max = self.settings.limits().max_matches;
                let jail = jail.as_deref();
                let db = self.db.as_ref();
                let found = queries::past_bans(db, jail, &id.to_string(), &self.pending, max);
                // Whoever asked may have lost patience.
                let _ = reply.send(found.unwrap_or_default());
            }
            Message::Notes(notes, earlier) => {
                self.notes = Some(notes);
                self.earlier = earlier;
            }
            Message::SetFile { path, reply } => {
                let _ = reply.send(self.set_file(path));
            }
            Message::Stop(_) => {}
        }
    }

    fn take_op(&mut self, op: StoreOp) {
        self.vanished.note(&op);
        match &op {
            StoreOp::AddJail(jail) => {
                self.jails.insert(Arc::clone(jail));
            }
            StoreOp::DisableJail(jail) => {
                self.jails.remove(jail);
            }
            _ => {}
        }
        if self.path.is_none() {
            return;
        }
        self.taken += u64::from(notes::counts(&op));
        if self.pending.push(op) {
            let text = "Too many changes wait for the database: the oldest are given up";
            say(&self.log, Level::Error, text.to_owned());
        }
        if self.write_at.is_none() {
            self.write_at = Some(clock::now().mono.plus(BURST));
        }
    }

    /// Answers what can be answered now; after the time limit, with what is known without a file.
    fn answer_waiting(&mut self) {
        for _ in 0..self.asks.len() {
            let Some((id, ask, until)) = self.asks.pop_front() else { return };
            let late = clock::now().mono >= until;
            if self.locked && !late {
                self.asks.push_back((id, ask, until));
                continue;
            }
            let answer = match self.answer(&ask, self.db.as_ref()) {
                Ok(answer) => answer,
                Err(error) if file::is_damage(&error) => {
                    self.trouble(Trouble::Damaged(error));
                    self.write_at = Some(clock::now().mono);
                    self.asks.push_back((id, ask, until));
                    continue;
                }
                Err(_) if !late => {
                    self.asks.push_back((id, ask, until));
                    continue;
                }
                Err(error) => {
                    let text = format!("The database could not be read in time: {error}");
                    say(&self.log, Level::Error, text);
                    match self.answer(&ask, None) {
                        Ok(answer) => answer,
                        Err(_) => continue,
                    }
                }
            };
            self.send(Event::Answer(id, answer));
        }
    }

    /// Waits while the engine is busy, but not for one that waits for us to end.
    fn send(&self, mut event: Event) {
        loop {
            match self.events.send_timeout(event, SEND_SLICE) {
                Err(SendTimeoutError::Timeout(back))
                    if !self.settings.stopping.load(Ordering::Relaxed) =>
                {
                    event = back;
                }
                Ok(()) | Err(_) => return,
            }
        }
    }

    fn answer(&self, ask: &Ask, db: Option<&Connection>) -> rusqlite::Result<Answer> {
        let pending = &self.pending;
        Ok(match ask {
            Ask::Restore { jail } => {
                // After an unclean end those count too that have ended since: they may still be
                // enforced, and have to be taken away.
                let since = (!self.unclean).then(|| clock::now().wall);
                Answer::Bans(queries::bans(db, jail, pending, since)?)
            }
            Ask::History { jail, id } => {
                let jail = jail.as_deref();
                Answer::History(queries::history(db, jail, &id.to_string(), pending)?)
            }
            Ask::LogPosition { jail, path } => {
                let waiting = pending.position(jail, path).cloned();
                let position = match (waiting, db) {
                    (Some(position), _) => Some(position),
                    (None, Some(db)) if !pending.forgets(jail, path) => {
                        queries::position(db, jail, path)?
                    }
                    _ => None,
                };
                Answer::LogPosition(position)
            }
            // Not the store's questions; an empty answer keeps the promise of one for each.
            _ => Answer::History(None),
        })
    }

    /// Opens a file; the answer says whether its last user ended without closing it.
    fn set_file(&mut self, path: Option<String>) -> Result<bool, StoreError> {
        self.close(Span::from_secs(10));
        self.path = path;
        self.pending.clear();
        self.write_at = None;
        let Some(path) = self.path.clone() else { return Ok(false) };
        self.opened = false;
        self.unclean = false;
        match file::open(&path, &self.log) {
            Ok(opened) => {
                self.unclean = opened.unclean;
                self.begin(opened.connection);
                self.catch_up();
                Ok(self.unclean)
            }
            Err(error @ StoreError::Version { .. }) => {
                self.path = None;
                Err(error)
            }
            Err(error) => {
                // Not fatal: bans go on, and the file is tried again.
                self.failed(unopened(error));
                Ok(false)
            }
        }
    }

    /// Takes up what an earlier process noted and did not write.
    fn catch_up(&mut self) {
        for op in std::mem::take(&mut self.earlier) {
            let written = match &op {
                StoreOp::AddBan { jail, ticket } => {
                    queries::has_ban(self.db.as_ref(), jail, ticket).unwrap_or(false)
                }
                // Another program may have read on in the same file since.
                StoreOp::LogPosition { jail, path, position } => {
                    self.db.as_ref().is_some_and(|db| {
                        let known = queries::position(db, jail, path).ok().flatten();
                        known.is_some_and(|known| {
                            known.first_line == position.first_line
                                && known.offset >= position.offset
                        })
                    })
                }
                _ => false,
            };
            if !written {
                self.pending.push(op);
                self.write_at = Some(clock::now().mono);
            }
        }
    }

    /// Takes a fresh connection into use.
    fn begin(&mut self, connection: Connection) {
        self.locked = false;
        // Marks the file as in use, and all jails as not (yet) there. A lock may be in the way;
        // then the mark is missing, which only costs the knowledge of an unclean end.
        let mut sql = "PRAGMA user_version = 1;".to_owned();
        if !std::mem::replace(&mut self.opened, true) {
            sql.push_str("UPDATE jails SET enabled = 0 WHERE enabled <> 0;");
        }
        let _ = connection.execute_batch(&sql);
        self.db = Some(connection);
        self.reopen = false;
        self.announce = true;
    }

    /// Writes what waits, or plans the next try.
    fn flush(&mut self) {
        self.write_at = None;
        if self.path.is_none() {
            return;
        }
        if self.pending.is_empty() && self.db.is_some() {
            return self.give_back();
        }
        match self.write() {
            Ok(()) => {
                if !self.pending.is_empty() {
                    self.write_at = Some(clock::now().mono);
                } else if let Some(notes) = &self.notes {
                    notes.settle(self.taken);
                }
                if self.pending.is_empty() {
                    self.give_back();
                }
                if self.failing.take().is_some() && std::mem::take(&mut self.told) {
                    self.send(Event::StoreState(Ok(())));
                }
            }
            Err(trouble) => self.failed(trouble),
        }
    }

    /// After a purge: gives its space back to the file system, piece by piece.
    fn give_back(&mut self) {
        let Some(db) = self.db.as_ref().filter(|_| self.purged) else { return };
        // What fails because somebody reads is done after the next purge.
        self.purged = file::shrink(db).unwrap_or(false);
        if self.purged {
            self.write_at = Some(clock::now().mono.plus(SHRINK_PAUSE));
        }
    }

    /// After a failed try: says so if it is time, and plans the next.
    fn failed(&mut self, trouble: Trouble) {
        let busy = matches!(trouble, Trouble::Busy);
        self.locked = busy && self.db.is_none();
        let now = clock::now().mono;
        let since = now.since(*self.failing.get_or_insert(now));
        // Each try keeps new readers out for a moment, so tries become rarer.
        let pause = if busy { Span(since.0 / 2).clamp(RETRY_MIN, RETRY_MAX) } else { RETRY_BROKEN };
        self.trouble(trouble);
        self.write_at = Some(clock::now().mono.plus(pause));
    }

    fn write(&mut self) -> Result<(), Trouble> {
        let Some(path) = self.path.clone() else { return Ok(()) };
        if self.db.is_none() || self.reopen {
            let quiet: LogFn = Arc::new(|_| {});
            // That it was opened is no news while it cannot be written.
            let log = if self.told { &quiet } else { &self.log };
            let opened = file::open(&path, log).map_err(unopened)?;
            self.begin(opened.connection);
        }
        let limits = self.settings.limits();
        let now = clock::now().wall;
        let Some(db) = &mut self.db else { return Ok(()) };
        // IMMEDIATE: a lock in the way shows here, before anything is done in vain.
        let transaction =
            db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(classify)?;
        if self.announce {
            for jail in &self.jails {
                let op = StoreOp::AddJail(Arc::clone(jail));
                queries::write(&transaction, &op, limits, now).map_err(classify)?;
            }
        }
        let (mut ops, mut purged) = (0, false);
        for op in self.pending.ops(BATCH) {
            ops += 1;
            purged |= *op == StoreOp::Purge;
            match queries::write(&transaction, op, limits, now) {
                Err(error) if is_of_the_value(&error) => {
                    // It would fail for ever, and everything behind it would wait for it.
                    let text = format!("A change cannot be written to the database: {error}");
                    say(&self.log, Level::Error, text);
                }
                other => other.map_err(classify)?,
            }
        }
        let all = ops < BATCH;
        if all {
            for (jail, path, position) in self.pending.positions() {
                queries::write_position(&transaction, jail, path, position).map_err(classify)?;
            }
        }
        transaction.commit().map_err(classify)?;
        if purged {
            self.purged = true;
            // What cannot be read now is looked at after the next purge.
            self.vanished.look_for(queries::logs(db).unwrap_or_default());
        }
        self.announce = false;
        let lost = self.pending.written(ops, all);
        if lost > 0 {
            let text = format!("{lost} changes were lost while the database could not be written");
            say(&self.log, Level::Error, text);
        }
        Ok(())
    }

    /// Reacts to a failed write: patience, a message once, a new file for a damaged one.
    fn trouble(&mut self, trouble: Trouble) {
        let now = clock::now().mono;
        let since = *self.failing.get_or_insert(now);
        let text = match trouble {
            Trouble::Busy if now.since(since) < PATIENCE => return,
            Trouble::Busy => "another program holds a lock on it".to_owned(),
            Trouble::Broken(text) => {
                // The file may have been moved; the next try opens it anew, until then the old
                // one answers. An in-memory database would be lost by that.
                self.reopen = self.path.as_deref() != Some(":memory:");
                text
            }
            Trouble::Damaged(error) => {
                self.db = None;
                let Some(path) = self.path.clone() else { return };
                match file::replace(&path, &error, &self.log) {
                    Ok(()) => return,
                    Err(error) => error.to_string(),
                }
            }
        };
        if !std::mem::replace(&mut self.told, true) {
            let path = self.path.as_deref().unwrap_or_default();
            let text = format!("Cannot write to the database '{path}': {text}");
            self.send(Event::StoreState(Err(text)));
        }
    }

    /// Writes what waits, at most `limit`, and closes the file.
    fn close(&mut self, limit: Span) {
        if self.path.is_none() {
            return;
        }
        let deadline = clock::now().mono.plus(limit);
        while !self.pending.is_empty() {
            self.flush();
            let now = clock::now().mono;
            let next = self.write_at.unwrap_or(now);
            if next >= deadline {
                break;
            }
            let pause = u64::try_from(next.since(now).0).unwrap_or(0);
            std::thread::sleep(Duration::from_micros(pause));
        }
        let lost = self.pending.len();
        if lost > 0 {
            let path = self.path.as_deref().unwrap_or_default();
            let text = format!("{lost} changes could not be written to the database '{path}'");
            say(&self.log, Level::Error, text);
        }
        if let Some(db) = self.db.take() {
            let _ = db.execute_batch("PRAGMA user_version = 0");
            // An error here leaves nothing undone: every transaction was committed.
            let _ = db.close();
            say(&self.log, Level::Info, "Connection to database closed.".to_owned());
        }
    }

    fn stop(mut self, limit: Span) {
        // What was handed in before the stop is in the channel already.
        while let Ok(message) = self.messages.try_recv() {
            self.take(message);
        }
        self.answer_waiting();
        self.close(limit);
    }
}

fn unopened(error: StoreError) -> Trouble {
    match error {
        StoreError::Sql { source, .. } => classify(source),
        other => Trouble::Broken(other.to_string()),
    }
}

fn classify(error: rusqlite::Error) -> Trouble {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Trouble::Busy,
        _ if file::is_damage(&error) => Trouble::Damaged(error),
        _ => Trouble::Broken(error.to_string()),
    }
}

/// Whether the operation itself, not the file's state, is the reason.
fn is_of_the_value(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
    )
}
