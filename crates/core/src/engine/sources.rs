//! Which logs are read for whom, from where on, and how far they have been read.
//!
//! Jails that read the same file from the start of a configuration on share one source; a jail that
//! comes later gets its own, since it has to begin elsewhere. Positions are stored behind the lines
//! they cover, at most every ten seconds, and together with every ban that such lines led to: what a
//! killed process has read and not stored is read again, and must not lead to the same ban twice.
//!
//! Where a log is to be read from its end, whoever asked for it is answered when that end is known:
//! what is written after the answer is new.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::desk::{Asked, Desk, Reply, Teller, WaitId, logger};
use super::jail::{Jail, Phase};
use super::lines::Prepared;
use super::{Engine, JailKey};
use crate::date::DateFormat;
use crate::effect::{
    Ask, Effect, Level, Position, SourceId, SourceOp, SourceState, StartAt, StoreOp,
};
use crate::spec::{LogPath, is_pattern};
use crate::time::{Monotonic, Span};
use crate::value::Value;

/// How often a position is stored.
const STORE_EVERY: Span = Span::from_secs(10);
/// How often the way to a log's end is logged.
const PROGRESS_EVERY: Span = Span::from_secs(10);
/// How long a client waits for the end of a log: it may be on a file system that does not answer.
const END_LIMIT: Span = Span::from_secs(5);
/// What the journal is called where logs have paths.
const JOURNAL: &str = "systemd-journal";

/// One log that is read.
#[derive(Clone)]
pub(super) struct Source {
    pub kind: SourceKind,
    pub readers: Vec<SourceReader>,
    /// Positions asked for and not known yet.
    asking: usize,
    opened: bool,
    /// It has been looked at: it is read up to its end, or is not there.
    seen: bool,
    /// Clients that wait for that.
    waiting: Vec<WaitId>,
    position: Option<Position>,
    stored_at: Option<Monotonic>,
    /// Read further than stored; when that is to be stored.
    due: Option<Monotonic>,
    /// Something was found in what is not stored.
    pub counted: bool,
    /// The search for lines worth judging.
    pub prepared: Option<Prepared>,
    /// That lines were cut has been said.
    pub cut_said: bool,
    /// The end has not been reached yet, and is far.
    pub catching_up: Option<CatchingUp>,
}

impl Source {
    fn new(kind: SourceKind) -> Self {
        Source {
            kind,
            readers: Vec::new(),
            asking: 0,
            opened: false,
            seen: false,
            waiting: Vec::new(),
            position: None,
            stored_at: None,
            due: None,
            counted: false,
            prepared: None,
            cut_said: false,
            catching_up: None,
        }
    }
}

/// How far the way to a log's end is.
#[derive(Clone, Copy, Debug)]
pub(super) struct CatchingUp {
    read: u64,
    total: u64,
    said_at: Monotonic,
}

impl CatchingUp {
    /// `41 %, 1.2 of 3.0 GiB`
    fn text(self) -> String {
        let size = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let percent = (self.read as f64 / self.total.max(1) as f64 * 100.0).floor();
        format!("{percent} %, {:.2} of {:.2} GiB", size(self.read), size(self.total))
    }
}

/// A jail that reads a source.
#[derive(Clone, Debug)]
pub(super) struct SourceReader {
    pub jail: JailKey,
    /// Where this jail's reading ended last time: earlier lines are not for it.
    pub saved: Option<Position>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum SourceKind {
    File { path: String, encoding: String, poll: bool, tail: bool },
    Journal { matches: Vec<Vec<String>>, params: Vec<(String, String)> },
}

impl SourceKind {
    /// Whether the same lines come out of it.
    fn same(&self, other: &SourceKind) -> bool {
        match (self, other) {
            (
                SourceKind::File { path, encoding, poll, .. },
                SourceKind::File { path: path2, encoding: encoding2, poll: poll2, .. },
            ) => (path, encoding, poll) == (path2, encoding2, poll2),
            _ => self == other,
        }
    }

    /// The path under which the database knows it.
    pub fn path(&self) -> &str {
        match self {
            SourceKind::File { path, .. } => path,
            SourceKind::Journal { .. } => JOURNAL,
        }
    }
}

impl Engine {
    /// Begins to read everything that a jail's specification names and that it does not read yet. For
    /// a jail that has not been started, only the ends of logs are looked for.
    pub(super) fn attach(&mut self, key: JailKey) {
        let Some(jail) = self.jails.get(&key) else { return };
        let early = jail.phase == Phase::Added;
        let wanted: Vec<SourceKind> = if jail.spec.journal() {
            if early {
                return;
            }
            if jail.spec.journal_matches.is_empty() && jail.sources.is_empty() {
                let text = format!(
                    "[{}] Jail started without 'journalmatch' set. Jail regexs will be checked \
                     against all journal entries, which is not advised for performance reasons.",
                    jail.name
                );
                self.desk.log(Level::Notice, logger::FILTER, text);
            }
            vec![SourceKind::Journal {
                matches: jail.spec.journal_matches.clone(),
                params: jail.spec.backend_params(),
            }]
        } else {
            let file = |log: &LogPath| SourceKind::File {
                path: log.path.clone(),
                encoding: jail.spec.encoding.clone(),
                poll: jail.spec.polls(),
                tail: log.tail,
            };
            // The files of a pattern have no end in common.
            let ends = |log: &&LogPath| {
                log.tail && !jail.places.contains_key(&log.path) && !is_pattern(&log.path)
            };
            jail.spec.logs.iter().filter(|log| !early || ends(log)).map(file).collect()
        };
        for kind in wanted {
            self.attach_one(key, kind);
        }
    }

    fn attach_one(&mut self, key: JailKey, mut kind: SourceKind) {
        let Some(jail) = self.jails.get_mut(&key) else { return };
        let sources = &self.sources;
        // `tail` matters at the beginning only: what is read already is not begun anew.
        let has = jail.sources.iter().any(|id| sources.get(id).is_some_and(|s| s.kind.same(&kind)));
        if has {
            return;
        }
        let place = jail.places.get(kind.path()).cloned();
        if let (Some(_), SourceKind::File { tail, .. }) = (&place, &mut kind) {
            *tail = false;
        }
        let shared =
            self.sources.iter().find(|(_, s)| !s.opened && s.kind == kind).map(|(id, _)| *id);
        let id = match shared {
            Some(id) => id,
            None => {
                let id = SourceId(u32::try_from(self.desk.number()).unwrap_or(u32::MAX));
                self.sources.insert(id, Source::new(kind.clone()));
                self.unopened.insert(id);
                id
            }
        };
        jail.sources.push(id);
        let name = Arc::clone(&jail.name);
        if let Some(source) = self.sources.get_mut(&id) {
            let known = place.is_some();
            source.readers.push(SourceReader { jail: key, saved: place });
            if !known && !matches!(kind, SourceKind::File { tail: true, .. }) {
                source.asking += 1;
                let path = kind.path().to_owned();
                let ask = Ask::LogPosition { jail: name, path };
                self.desk.ask(ask, Asked::LogPosition { jail: key, source: id });
            }
        }
    }

    /// Where a jail's reading ended last time is known.
    pub(super) fn log_position(&mut self, jail: JailKey, id: SourceId, saved: Option<Position>) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.asking = source.asking.saturating_sub(1);
            if let Some(reader) = source.readers.iter_mut().find(|r| r.jail == jail) {
                reader.saved = saved;
            }
        }
    }

    /// Opens the sources whose readers are all known.
    pub(super) fn open_sources(&mut self) {
        let known = |id: &&SourceId| self.sources.get(id).is_none_or(|s| s.asking == 0);
        let mut ready: VecDeque<SourceId> = self.unopened.iter().filter(known).copied().collect();
        while let Some(id) = ready.pop_front() {
            ready.extend(self.split_journal(id));
            self.unopened.remove(&id);
            let start = self.start_at(id);
            let dates = self.date_formats(id);
            let Some(source) = self.sources.get_mut(&id) else { continue };
            source.opened = true;
            let op = match &source.kind {
                SourceKind::File { path, encoding, poll, .. } => SourceOp::OpenFile {
                    source: id,
                    path: path.clone(),
                    encoding: encoding.clone(),
                    poll: *poll,
                    dates,
                    start,
                },
                SourceKind::Journal { matches, params } => SourceOp::OpenJournal {
                    source: id,
                    matches: matches.clone(),
                    params: params.clone(),
                    start,
                },
            };
            self.desk.out.push(Effect::Source(op));
        }
    }

    /// Gives those readers of a journal a source of their own that have read it up to another place
    /// than the first: an entry does not say whether it comes before such a place.
    fn split_journal(&mut self, id: SourceId) -> Option<SourceId> {
        let source = self.sources.get_mut(&id)?;
        let SourceKind::Journal { .. } = source.kind else { return None };
        let place = source.readers.first().and_then(|r| r.saved.clone());
        let other = |r: &mut SourceReader| r.saved != place;
        let others: Vec<SourceReader> = source.readers.extract_if(.., other).collect();
        if others.is_empty() {
            return None;
        }
        let own = SourceId(u32::try_from(self.desk.number()).unwrap_or(u32::MAX));
        let kind = source.kind.clone();
        for jail in others.iter().map(|r| r.jail) {
            let Some(jail) = self.jails.get_mut(&jail) else { continue };
            for source in jail.sources.iter_mut().filter(|source| **source == id) {
                *source = own;
            }
        }
        self.sources.insert(own, Source { readers: others, ..Source::new(kind) });
        self.unopened.insert(own);
        Some(own)
    }

    /// How the readers of a source read its dates, each way once.
    fn date_formats(&self, id: SourceId) -> Vec<DateFormat> {
        let readers = self.sources.get(&id).map_or(&[][..], |s| &s.readers);
        let jails = readers.iter().filter_map(|r| self.jails.get(&r.jail));
        let formats: BTreeSet<DateFormat> = jails.map(|jail| jail.spec.lines.dates()).collect();
        formats.into_iter().collect()
    }

    /// The earliest place that any reader needs.
    fn start_at(&self, id: SourceId) -> StartAt {
        let Some(source) = self.sources.get(&id) else { return StartAt::Tail };
        if matches!(source.kind, SourceKind::File { tail: true, .. }) {
            return StartAt::Tail;
        }
        let windows = source
            .readers
            .iter()
            .filter_map(|r| self.jails.get(&r.jail))
            .map(|jail| jail.spec.find_span());
        let since = self.desk.now.wall.minus(windows.max().unwrap_or_default());
        let file = matches!(source.kind, SourceKind::File { .. });
        let mut readers = source.readers.iter();
        let first = readers.next().and_then(|r| r.saved.clone());
        let saved = readers.fold(first, |earliest, reader| {
            let (earliest, saved) = (earliest?, reader.saved.as_ref()?);
            // Of different files (or not comparable): from the start.
            if file && earliest.first_line != saved.first_line {
                return None;
            }
            Some(if saved.offset < earliest.offset { saved.clone() } else { earliest })
        });
        StartAt::Head { saved, since }
    }

    /// A jail stops reading everything; positions are stored.
    pub(super) fn detach_all(&mut self, key: JailKey) {
        let Some(jail) = self.jails.get_mut(&key) else { return };
        jail.missing.clear();
        let waits = std::mem::take(&mut jail.begin_waits);
        for id in std::mem::take(&mut jail.sources) {
            self.detach(key, id, false);
        }
        waits.into_iter().for_each(|wait| self.desk.wait_done(wait));
    }

    /// A jail that stops watching says so, as far as fail2ban does: where it polls.
    pub(super) fn forget_files(&mut self, key: JailKey) {
        let Some(jail) = self.jails.get_mut(&key) else { return };
        let polling = jail.spec.backend_name() == "polling";
        for path in std::mem::take(&mut jail.told_files).into_iter().filter(|_| polling) {
            log_removed(&mut self.desk, &path);
        }
    }

    /// A jail stops reading what its specification does not name any more.
    pub(super) fn detach_unwanted(&mut self, key: JailKey) {
        let Some(jail) = self.jails.get_mut(&key) else { return };
        let (spec, sources) = (&jail.spec, &self.sources);
        let wanted = |id: &SourceId| match sources.get(id).map(|s| &s.kind) {
            Some(SourceKind::File { path, encoding, poll, .. }) => {
                !spec.journal()
                    && *poll == spec.polls()
                    && *encoding == spec.encoding
                    && spec.logs.iter().any(|l| l.path == *path)
            }
            Some(SourceKind::Journal { matches, params }) => {
                spec.journal()
                    && *matches == spec.journal_matches
                    && *params == spec.backend_params()
            }
            None => false,
        };
        let (keep, go): (Vec<_>, Vec<_>) = jail.sources.iter().copied().partition(wanted);
        jail.sources = keep;
        let unnamed = |path: &str| !spec.logs.iter().any(|l| l.path == path);
        jail.places.retain(|path, _| !unnamed(path));
        let go: Vec<(SourceId, bool)> = go
            .into_iter()
            .map(|id| {
                let path = sources.get(&id).map_or("", |s| s.kind.path());
                (id, path != JOURNAL && unnamed(path))
            })
            .collect();
        for (id, forget) in go {
            self.detach(key, id, forget);
        }
    }

    fn detach(&mut self, key: JailKey, id: SourceId, forget: bool) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        source.readers.retain(|r| r.jail != key);
        let path = source.kind.path().to_owned();
        if let Some(jail) = self.jails.get_mut(&key) {
            jail.missing.remove(&path);
            let name = Arc::clone(&jail.name);
            if forget {
                jail.told_files.remove(&path);
                log_removed(&mut self.desk, &path);
                self.desk.store(StoreOp::ForgetLog { jail: name, path });
            } else if let Some(position) = source.position.clone() {
                if matches!(source.kind, SourceKind::File { .. }) && !is_pattern(&path) {
                    jail.places.insert(path.clone(), position.clone());
                }
                self.desk.store(StoreOp::LogPosition { jail: name, path, position });
            }
        }
        if source.readers.is_empty() {
            let opened = source.opened;
            if let Some(at) = source.due {
                self.to_store.remove(&(at, id));
            }
            self.unopened.remove(&id);
            let waiting = self.sources.remove(&id).map(|s| s.waiting).unwrap_or_default();
            waiting.into_iter().for_each(|wait| self.desk.wait_done(wait));
            if opened {
                self.desk.out.push(Effect::Source(SourceOp::Close(id)));
            }
        }
    }

    /// Gives an answer, or lets the client wait for it until the ends of logs are known that a jail
    /// is to read from there on.
    pub(super) fn when_ends_are_known(
        &mut self,
        key: JailKey,
        teller: Teller,
        value: Value,
    ) -> Option<Value> {
        let Some(jail) = self.jails.get_mut(&key) else { return Some(value) };
        let begins = matches!(jail.phase, Phase::Waiting(_));
        if !(jail.spec.logs.iter().any(|log| log.tail) && (begins || !jail.sources.is_empty())) {
            return Some(value);
        }
        let wait = self.desk.wait(teller, Reply::Done(Ok(value)), Some(END_LIMIT));
        if begins {
            self.desk.wait_for(wait);
            jail.begin_waits.push(wait);
        }
        self.wait_for_ends(key, wait);
        None
    }

    /// Ends a wait when the ends of a jail's logs are known.
    pub(super) fn wait_for_ends(&mut self, key: JailKey, wait: WaitId) {
        let sources = self.jails.get(&key).map_or(&[][..], |jail| &jail.sources);
        for id in sources {
            if let Some(source) = self.sources.get_mut(id)
                && !source.seen
                && matches!(source.kind, SourceKind::File { tail: true, .. })
            {
                self.desk.wait_for(wait);
                source.waiting.push(wait);
            }
        }
        self.desk.wait_done(wait);
    }

    /// A source has been looked at.
    fn seen(&mut self, id: SourceId) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        source.seen = true;
        for wait in std::mem::take(&mut source.waiting) {
            self.desk.wait_done(wait);
        }
    }

    /// Ends reading for jails that have not been started: they go on here when they are. What comes
    /// without a place (from a pipe) is read on, and is not for them.
    fn keep_for_start(&mut self, id: SourceId) {
        let Some(source) = self.sources.get(&id) else { return };
        let placed = source.position.as_ref().is_some_and(|p| p.cursor.is_some());
        let readers = source.readers.iter().map(|r| r.jail).filter(|_| placed);
        let early = |key: &JailKey| self.jails.get(key).is_some_and(|j| j.phase == Phase::Added);
        for key in readers.filter(early).collect::<Vec<_>>() {
            if let Some(jail) = self.jails.get_mut(&key) {
                jail.sources.retain(|source| *source != id);
            }
            self.detach(key, id, false);
        }
    }

    /// The lines of a source have been read and handled up to here.
    pub(super) fn advanced(&mut self, id: SourceId, position: Position) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        source.position = Some(position);
        if source.due.is_none() {
            let due = source.stored_at.map_or(Monotonic(0), |at| at.plus(STORE_EVERY));
            source.due = Some(due);
            self.to_store.insert((due, id));
        }
    }

    /// Stores how far sources have been read, where that is due.
    pub(super) fn store_due(&mut self) {
        let now = self.desk.now.mono;
        while let Some((_, id)) = self.to_store.first().copied().filter(|(at, _)| *at <= now) {
            self.store_position(id);
        }
    }

    /// Stores how far all sources have been read.
    pub(super) fn store_all(&mut self) {
        while let Some((_, id)) = self.to_store.first().copied() {
            self.store_position(id);
        }
    }

    /// Stores how far those sources have been read that led to the changes of bans in this event.
    pub(super) fn store_counted(&mut self) {
        for name in std::mem::take(&mut self.desk.settled) {
            let Some(jail) = self.names.get(&name).and_then(|key| self.jails.get(key)) else {
                continue;
            };
            let counted = |id: &&SourceId| self.sources.get(id).is_some_and(|s| s.counted);
            let ids: Vec<SourceId> = jail.sources.iter().filter(counted).copied().collect();
            ids.into_iter().for_each(|id| self.store_position(id));
        }
    }

    fn store_position(&mut self, id: SourceId) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        if let Some(due) = source.due.take() {
            self.to_store.remove(&(due, id));
        }
        source.counted = false;
        source.stored_at = Some(self.desk.now.mono);
        let Some(position) = source.position.clone() else { return };
        for reader in &source.readers {
            if let Some(jail) = self.jails.get(&reader.jail) {
                self.desk.store(StoreOp::LogPosition {
                    jail: Arc::clone(&jail.name),
                    path: source.kind.path().to_owned(),
                    position: position.clone(),
                });
            }
        }
    }

    /// Something changed about a source.
    pub(super) fn source_state(&mut self, id: SourceId, state: SourceState) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        let path = source.kind.path().to_owned();
        let journal = matches!(source.kind, SourceKind::Journal { .. });
        match state {
            SourceState::Open(position) => {
                for reader in &source.readers {
                    if let Some(jail) = self.jails.get_mut(&reader.jail) {
                        jail.missing.remove(&path);
                        // Opened anew (after a pause, or in another encoding) it is nothing new.
                        if !journal && jail.told_files.insert(path.clone()) {
                            let text = format!(
                                "Added logfile: {} (pos = {}, hash = {})",
                                crate::value::repr_str(&path),
                                position.offset as i64,
                                position.first_line
                            );
                            self.desk.log(Level::Info, logger::FILTER, text);
                        }
                    }
                }
                // Known from now on, even if it is rotated away before a line of it was read.
                self.advanced(id, position);
                self.keep_for_start(id);
            }
            SourceState::Missing(reason) => {
                for reader in &source.readers {
                    let Some(jail) = self.jails.get_mut(&reader.jail) else { continue };
                    if jail.missing.insert(path.clone(), reason.clone()).is_none() {
                        let text = format!(
                            "[{}] Log file {path} cannot be read ({reason}); waiting for it",
                            jail.name
                        );
                        self.desk.log(Level::Warning, logger::FILTER, text);
                    }
                }
                self.seen(id);
            }
            SourceState::Sought { from, to, ordered } => {
                let text = if ordered {
                    let text = format!(
                        "{path}: begins at byte {}, what is before (from {}) is older than findtime",
                        to.offset, from.offset
                    );
                    self.advanced(id, to);
                    text
                } else {
                    format!(
                        "{path}: its lines are not in the order of their dates: all of it is read, \
                         from byte {}",
                        from.offset
                    )
                };
                self.desk.log(Level::Info, logger::FILTER, text);
            }
            SourceState::CatchingUp { read, total } => {
                let mono = self.desk.now.mono;
                let said = source.catching_up.map(|c| c.said_at);
                let say = said.is_none_or(|at| mono.since(at) >= PROGRESS_EVERY);
                let said_at = said.filter(|_| !say).unwrap_or(mono);
                let progress = CatchingUp { read, total, said_at };
                source.catching_up = Some(progress);
                if say {
                    let text = format!("{path}: catching up, {}", progress.text());
                    self.desk.log(Level::Info, logger::FILTER, text);
                }
            }
            SourceState::CaughtUp => {
                if source.catching_up.take().is_some() {
                    let text = format!("{path}: caught up, new lines are watched from here on");
                    self.desk.log(Level::Info, logger::FILTER, text);
                }
                for reader in &source.readers {
                    let Some(jail) = self.jails.get(&reader.jail).filter(|_| journal) else {
                        continue;
                    };
                    let text = format!(
                        "[{}] Jail is in operation now (process new journal entries)",
                        jail.name
                    );
                    self.desk.log(Level::Info, logger::FILTER, text);
                }
                self.seen(id);
            }
            SourceState::Rotated => {
                for reader in &mut source.readers {
                    reader.saved = None;
                }
                let text = format!("Log rotation detected for {path}");
                self.desk.log(Level::Msg, logger::FILTER, text);
            }
            SourceState::Trouble(text) => {
                self.desk.log(Level::Warning, logger::FILTER, format!("{path}: {text}"));
            }
        }
    }

    /// The logs of a jail whose end has not been reached yet and is far.
    pub(super) fn catching_up(&self, jail: &Jail) -> Vec<String> {
        let sources = jail.sources.iter().filter_map(|id| self.sources.get(id));
        let far = sources.filter_map(|s| Some((s.kind.path(), s.catching_up?)));
        far.map(|(path, progress)| format!("{path} ({})", progress.text())).collect()
    }

    /// The running jails that read a source, with what is not for them.
    pub(super) fn readers(&self, id: SourceId) -> Vec<(JailKey, Option<Position>)> {
        let Some(source) = self.sources.get(&id) else { return Vec::new() };
        let runs = |r: &&SourceReader| {
            self.jails.get(&r.jail).is_some_and(|j| j.phase == Phase::Running && !j.idle)
        };
        source.readers.iter().filter(runs).map(|r| (r.jail, r.saved.clone())).collect()
    }
}

fn log_removed(desk: &mut Desk, path: &str) {
    let text = format!("Removed logfile: {}", crate::value::repr_str(path));
    desk.log(Level::Info, logger::FILTER, text);
}
