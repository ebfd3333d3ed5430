//! What goes into the engine and what comes out: the boundary between deciding and doing.
//!
//! An [`Effect`] names jail, action, operation and ticket; it becomes a command text only at the
//! edge that runs it. Whatever needs the world (DNS, a command, history) leaves as an [`Ask`] and
//! returns as an [`Event::Answer`]; whatever was done returns as an [`Event::Outcome`]. Every id is
//! answered exactly once, in any order, also after a failure or a time limit.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::action::RunFamily;
use crate::command::{CommandError, Words};
use crate::date::DateFormat;
use crate::failure::Failure;
use crate::id::{Family, Id};
use crate::ticket::Ticket;
use crate::time::{Span, Timestamp};
use crate::value::Value;

/// A request of a client, to be answered once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);
/// One run of an action, to be answered once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);
/// One question to the world, to be answered once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);
/// One log file or journal stream, however many jails read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);
/// One action instance of one jail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionId(pub u32);

/// What the engine reacts to.
#[derive(Clone, Debug)]
pub enum Event {
    /// A client's (or a start's) command.
    Control {
        /// Whom to answer.
        request: RequestId,
        /// The command.
        words: Words,
    },
    /// Complete lines of a source.
    Lines(Batch),
    /// Something changed about a source.
    Source(SourceId, SourceState),
    /// Failures found elsewhere (a worker, a simulator), ready to be counted.
    Failures {
        /// The jail they belong to.
        jail: Arc<str>,
        /// Oldest first.
        failures: Vec<Failure>,
    },
    /// An action has run.
    Outcome(JobId, Result<(), ActionFailure>),
    /// The environment of an action had to be rebuilt: bans made before may be gone. Comes before
    /// the outcome of the job that found it, which may itself have succeeded.
    Repaired(ActionId),
    /// A Python action has been loaded, or could not be: what it can do. Comes before the outcome
    /// of the start that found it.
    Described(ActionId, Traits),
    /// An answer to [`Effect::Ask`].
    Answer(AskId, Answer),
    /// The store could not write for a while, with the reason, or can again; told once each.
    StoreState(Result<(), String>),
    /// A deadline may have passed.
    Tick,
}

/// A run of complete lines from one source.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Where they come from.
    pub source: SourceId,
    /// UTF-8 as far as the source is (invalid bytes are still in it); every line ends in `\n`.
    pub data: Vec<u8>,
    /// Whether the end of the source had been reached before these lines were written
    /// ("in operation"): live lines with odd dates count as now, old ones of a catch-up are skipped.
    pub live: bool,
    /// How far the source has been read when these lines are done with.
    pub position: Position,
    /// Journal entries carry their own time, one per line; files leave this empty.
    pub times: Vec<Timestamp>,
}

/// How far a source has been read, as the database keeps it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Position {
    /// SHA-1 of the first line in hex (column `firstlinemd5`), or the journal's ISO time.
    pub first_line: String,
    /// Byte offset, or the journal's seconds.
    pub offset: f64,
    /// The journal's cursor, where there is one.
    pub cursor: Option<String>,
}

/// What a source reports besides lines.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceState {
    /// It exists and is being read, from this position on.
    Open(Position),
    /// It does not exist (yet); it is waited for.
    Missing(String),
    /// The place by date was found: earlier lines are older than `since` of [`StartAt::Head`] and
    /// are left out.
    Sought {
        /// Where the search began.
        from: Position,
        /// Where reading begins.
        to: Position,
        /// A file whose lines are not in the order of their dates is read from `from`.
        ordered: bool,
    },
    /// How far the way to the end is, told now and then where it is long.
    CatchingUp {
        /// Bytes read.
        read: u64,
        /// Bytes to be read, as far as known.
        total: u64,
    },
    /// The end was reached for the first time: from here on lines are live.
    CaughtUp,
    /// It was rotated; reading goes on in the new file.
    Rotated,
    /// Lines had to be cut, dropped or could not be decoded; worth a warning.
    Trouble(String),
}

/// What the engine wants done. Order matters between effects of one kind only.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Run an action.
    Run(Job),
    /// Forget the run-time state of an action instance (after its stop).
    Retire(ActionId),
    /// The server ends to be started again: what this action has in force stays in force, and is to
    /// be handed to the next one as [`Config::kept`](crate::engine::Config::kept). A `Retire` follows.
    Keep(ActionId, Kept),
    /// An earlier server has left this action started for these families.
    Adopt(ActionId, Vec<RunFamily>),
    /// Find something out.
    Ask(AskId, Ask),
    /// Write to the store; nothing waits for it.
    Store(StoreOp),
    /// Begin or end reading a source.
    Source(SourceOp),
    /// Write to the log.
    Log(Record),
    /// Tell whoever follows.
    Happened {
        /// The jail it happened in.
        jail: Arc<str>,
        /// What.
        what: Happening,
    },
    /// Answer a client.
    Reply {
        /// Whom.
        request: RequestId,
        /// With what.
        result: Result<Value, CommandError>,
    },
    /// All is stopped: leave the process.
    Exit,
}

/// What programs are told that follow the server: the log's news without the log's words.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// The jail guards.
    Started,
    /// The jail has ended.
    Stopped,
    /// A failure counts.
    Found(Id, Timestamp),
    /// A failure does not count, by this rule.
    Ignored(Id, String),
    /// A ban is in force, or is again after a restart (a restored ticket).
    Banned(Arc<Ticket>),
    /// A ban lasts longer than was said.
    Prolonged(Arc<Ticket>),
    /// An action could not ban, for this reason; it tries again.
    NotEnforced(Id, String),
    /// A ban is over.
    Unbanned(Id),
    /// A ban is taken back because the jail stops; the database keeps it.
    Repealed(Id),
}

/// One operation of one action instance.
#[derive(Clone, Debug)]
pub struct Job {
    /// Answered once by [`Event::Outcome`].
    pub id: JobId,
    /// The jail's name.
    pub jail: Arc<str>,
    /// The instance; its run-time state (families started, …) lives with the runner.
    pub action: ActionId,
    /// What it is made of at this moment.
    pub spec: Arc<ActionSpec>,
    /// What to do.
    pub op: ActionOp,
    /// For whom; `None` for start, stop, flush, reload and check.
    pub ticket: Option<Arc<Ticket>>,
    /// The jail's counters for `<jail.found>` and its siblings.
    pub counters: Counters,
}

/// `<jail.…>` at the time of the effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Tickets now banned.
    pub banned: u64,
    /// Bans since start.
    pub banned_total: u64,
    /// Ids with failures now.
    pub found: u64,
    /// Failures since start.
    pub found_total: u64,
    /// The jail's own ban time in seconds, which Python actions ask for.
    pub ban_time: i64,
}

/// What an action instance is made of: `addaction` and `action A key value`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActionSpec {
    /// Instance name.
    pub name: String,
    /// The action file it came from, where known: actions of one file share a lane.
    pub file: Option<String>,
    /// All properties: commands (`actionban`, …), `timeout`, params and Init values, conditional
    /// ones under `key?family=inet6`.
    pub properties: BTreeMap<String, String>,
    /// What a Python action is made from.
    pub python: Option<PythonSpec>,
    /// What a Python action can do, once it has been loaded: no part of the configuration.
    pub traits: Option<Traits>,
    /// Families that conditional actions start (`inet4`, and `inet6` if allowed).
    pub families: Vec<Family>,
}

/// What a Python action is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonSpec {
    /// Its file.
    pub file: String,
    /// Arguments of its constructor, a JSON object.
    pub params: String,
}

/// What the class of a Python action has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// It takes bans back, so it is what bans.
    pub enforces: bool,
    /// `flush`
    pub flush: bool,
    /// `prolong`, and it says that it wants it.
    pub prolong: bool,
    /// `consistencyCheck`
    pub check: bool,
    /// `reload`
    pub reload: bool,
}

impl ActionSpec {
    /// The value of a property.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str)
    }
    /// Whether it enforces (it knows how to take a ban back) or only notifies. A Python action may
    /// enforce until it is known.
    pub fn enforces(&self) -> bool {
        self.defines("actionunban")
    }
    /// Whether it is known what it defines: a Python action has to be loaded first.
    pub fn is_known(&self) -> bool {
        self.python.is_none() || self.traits.is_some()
    }
    /// Whether a command (`actionban`, …) is defined, for any family.
    pub fn defines(&self, command: &str) -> bool {
        if self.python.is_none() {
            return self
                .properties
                .iter()
                .any(|(k, v)| k.split('?').next() == Some(command) && !v.trim().is_empty());
        }
        match (command, self.traits) {
            ("actionunban", traits) => traits.is_none_or(|t| t.enforces),
            (_, None) => false,
            ("actionflush", Some(t)) => t.flush,
            ("actionprolong", Some(t)) => t.prolong,
            ("actioncheck", Some(t)) => t.check,
            ("actionreload", Some(t)) => t.reload,
            _ => false,
        }
    }
}

/// What an action has in force over a restart of the server.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The jail.
    pub jail: String,
    /// What the action was made of.
    pub spec: ActionSpec,
    /// What it has banned.
    pub ids: Vec<Id>,
    /// The families it was started for: known to the runner alone, which fills them in.
    pub families: Vec<RunFamily>,
}

/// The operations of an action's life cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActionOp {
    /// `actionstart` (on-demand actions do nothing yet).
    Start,
    /// `actionban`, after `actionstart` of the family where due.
    Ban,
    /// `actionprolong`
    Prolong,
    /// `actionreban`, else `actionban`.
    Reban,
    /// `actionunban`
    Unban,
    /// `actionflush` for every family with bans.
    Flush,
    /// The same before a stop: what is found broken need not be repaired.
    LastFlush,
    /// `actionreload`
    Reload,
    /// Invariant check with repair.
    Check,
    /// `actionstop` for every started family.
    Stop,
    /// After an unclean end: take away what an earlier process may have left (flush and stop with
    /// errors ignored). Comes before `Start`.
    CleanUp,
}

/// Why an action did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionFailure {
    /// One line for the administrator; details were logged by the runner.
    pub reason: String,
    /// Whether the environment was repaired meanwhile: bans made before may be gone.
    pub repaired: bool,
}

impl ActionFailure {
    /// An action leaves a flush to single unbans. That is no fault, and nothing is logged.
    pub fn declined() -> Self {
        ActionFailure { reason: String::new(), repaired: false }
    }
    /// Whether something went wrong.
    pub fn is_fault(&self) -> bool {
        !self.reason.is_empty()
    }
}

/// A question to the world.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// All addresses of a host name (A, and AAAA if IPv6 is allowed).
    Resolve(String),
    /// This machine's own addresses.
    OwnAddresses,
    /// Run an `ignorecommand` (tags not yet substituted) for a failure.
    IgnoreCommand {
        /// The jail.
        jail: Arc<str>,
        /// The command with its tags.
        command: String,
        /// For whom.
        ticket: Arc<Ticket>,
    },
    /// The words of an `ignoreip = file:…`, if it changed since `seen`.
    IgnoreFile {
        /// Its path.
        path: String,
        /// The stamp of the last answer.
        seen: Option<FileStamp>,
    },
    /// Bans of a jail to restore at its start: all rows of `bips`.
    Restore {
        /// The jail.
        jail: Arc<str>,
    },
    /// Earlier bans of an id, for incremental ban times.
    History {
        /// The jail, or `None` for all jails.
        jail: Option<Arc<str>>,
        /// The id.
        id: Id,
    },
    /// Whose addresses are: Team Cymru's answer for each.
    Origins(Vec<Id>),
    /// Where reading of a log ended last time.
    LogPosition {
        /// The jail.
        jail: Arc<str>,
        /// The path, or `systemd-journal`.
        path: String,
    },
    /// Ask a running Python action, or change it.
    Action {
        /// Which.
        action: ActionId,
        /// The jail's counters at this moment.
        counters: Counters,
        /// What.
        what: Property,
    },
    /// Change something of the edge: `loglevel`, `logtarget`, `syslogsocket`, `dbfile`,
    /// `dbmaxmatches`, `dbpurgeage`, `thread`, `flushlogs`; answers the current value.
    Setting {
        /// Which.
        name: String,
        /// The new value, or `None` to read.
        value: Option<Value>,
    },
}

/// What a client wants of an action's object.
#[derive(Clone, Debug, PartialEq)]
pub enum Property {
    /// The value of a property.
    Get(String),
    /// Set properties in order; a method is called instead, with the value as JSON arguments. A
    /// value that is missing is `None`. Answers the last one's value or result.
    Set(Vec<(String, Value)>),
    /// Names of all properties.
    Names,
    /// Names of all methods.
    Methods,
}

/// Identity of a file's content: modification time in ns, inode, size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp(pub i128, pub u64, pub u64);

/// The world's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To [`Ask::Resolve`] and [`Ask::OwnAddresses`].
    Addresses(Result<Vec<IpAddr>, String>),
    /// To [`Ask::IgnoreCommand`]: the exit status.
    Exit(Result<i32, String>),
    /// To [`Ask::IgnoreFile`]: new stamp and text, `Ok(None)` if unchanged.
    File(Result<Option<(FileStamp, String)>, String>),
    /// To [`Ask::Restore`]; empty when there is no database.
    Bans(Vec<StoredBan>),
    /// To [`Ask::History`]: count and time of the last ban, and its length.
    History(Option<History>),
    /// To [`Ask::LogPosition`].
    LogPosition(Option<Position>),
    /// To [`Ask::Action`].
    Property(Result<Value, CommandError>),
    /// To [`Ask::Setting`].
    Setting(Result<Value, CommandError>),
    /// To [`Ask::Origins`]: in their order, as far as was found out, and why not further.
    Origins(Vec<Origin>, Option<String>),
}

/// Who an address belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Autonomous systems.
    pub asn: String,
    /// Countries.
    pub country: String,
    /// Registries.
    pub rir: String,
}

impl Origin {
    /// The same word for all three.
    pub fn all(word: &str) -> Origin {
        Origin { asn: word.into(), country: word.into(), rir: word.into() }
    }
}

/// One row of `bips`.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredBan {
    /// The ticket, marked as restored.
    pub ticket: Ticket,
}

/// What the database remembers of earlier bans of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// How many times it has been banned.
    pub count: u32,
    /// When last.
    pub last: Timestamp,
    /// For how long, in seconds; −1 is permanent.
    pub ban_time: i64,
}

/// A write to the database.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreOp {
    /// A jail exists and is enabled.
    AddJail(Arc<str>),
    /// A jail was removed by a reload: disabled.
    DisableJail(Arc<str>),
    /// A ban: a row in `bans`, the row in `bips` replaced.
    AddBan {
        /// The jail.
        jail: Arc<str>,
        /// The ban.
        ticket: Arc<Ticket>,
    },
    /// A manual unban: rows of `bans` and `bips` deleted.
    DeleteBan {
        /// The jail.
        jail: Arc<str>,
        /// The id.
        id: Id,
    },
    /// `unban --all`, `reload --unban`: all rows of the jail deleted.
    DeleteAllBans(Arc<str>),
    /// How far a log has been read.
    LogPosition {
        /// The jail.
        jail: Arc<str>,
        /// The path, or `systemd-journal`.
        path: String,
        /// Where.
        position: Position,
    },
    /// A log is no longer read: its row deleted.
    ForgetLog {
        /// The jail.
        jail: Arc<str>,
        /// The path.
        path: String,
    },
    /// Delete what is older than the purge age.
    Purge,
}

/// Begin or end reading a source.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceOp {
    /// Follow a file; if it does not exist, wait for it.
    OpenFile {
        /// Its id from now on.
        source: SourceId,
        /// Its path.
        path: String,
        /// Python codec name of its encoding, `auto` for the locale's.
        encoding: String,
        /// Look at it again and again, though the kernel would report changes.
        poll: bool,
        /// How the jails that read it read its dates: where to begin is found by date.
        dates: Vec<DateFormat>,
        /// Where to begin.
        start: StartAt,
    },
    /// Follow the journal.
    OpenJournal {
        /// Its id from now on.
        source: SourceId,
        /// Groups of matches: tokens of a group are ANDed (`+` is an OR inside), groups are ORed.
        matches: Vec<Vec<String>>,
        /// Parameters of the backend (`journalflags`, `namespace`, `journalfiles`, …).
        params: Vec<(String, String)>,
        /// Where to begin.
        start: StartAt,
    },
    /// Stop reading; lines already sent may still arrive.
    Close(SourceId),
}

/// Where reading begins.
#[derive(Clone, Debug, PartialEq)]
pub enum StartAt {
    /// At the end: only new lines, live at once.
    Tail,
    /// At the saved position if it is still the same file, else at the start; lines older than
    /// `since` need not be delivered.
    Head {
        /// Where reading ended last time.
        saved: Option<Position>,
        /// `now − findtime`.
        since: Timestamp,
    },
}

/// Levels of fail2ban's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// 5
    Heavy = 5,
    /// 7
    Trace = 7,
    /// 10
    Debug = 10,
    /// 18, internal
    Msg = 18,
    /// 20
    Info = 20,
    /// 25
    Notice = 25,
    /// 30
    Warning = 30,
    /// 40
    Error = 40,
    /// 50
    Critical = 50,
}

impl Level {
    /// The lowest level that is written where `loglevel` says `name`, in capitals; `None` if that
    /// means nothing. Python's unset logger falls back to warnings.
    pub fn threshold(name: &str) -> Option<u8> {
        Some(match name {
            "CRITICAL" | "FATAL" => 50,
            "ERROR" => 40,
            "WARNING" | "WARN" | "NOTSET" => 30,
            "NOTICE" => 25,
            "INFO" => 20,
            "MSG" => 18,
            "DEBUG" => 10,
            "TRACEDEBUG" => 7,
            "HEAVYDEBUG" => 5,
            number if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => {
                match number.parse::<u64>().map_or(u8::MAX, |n| u8::try_from(n).unwrap_or(u8::MAX))
                {
                    0 => 30,
                    n => n,
                }
            }
            _ => return None,
        })
    }
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// How grave.
    pub level: Level,
    /// The logger's name, e.g. `fail2ban.actions`.
    pub logger: &'static str,
    /// The text.
    pub text: String,
}

/// A length of time no command may exceed (`timeout`, 60 s unless configured).
pub const DEFAULT_ACTION_TIMEOUT: Span = Span::from_secs(60);
