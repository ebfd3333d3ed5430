//! What all jails share: the clock of this event, numbers for new effects, what is under way.
//!
//! Everything that leaves the engine leaves through here, so every job, question and waiting
//! client is written down exactly once and found again when the world answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::count::Case;
use super::{Config, JailKey};
use crate::action::{Facts, NoLookUp, RunFamily, prepare_text};
use crate::command::{CommandError, ErrorClass, Words};
use crate::effect::{
    ActionId, ActionOp, ActionSpec, Ask, AskId, Counters, Effect, Happening, Job, JobId, Level,
    Record, RequestId, SourceId, StoreOp,
};
use crate::id::Id;
use crate::ignore::{Known, Question};
use crate::ticket::Ticket;
use crate::time::{Monotonic, Now, Span, Timestamp};
use crate::value::Value;

/// Loggers of fail2ban's names.
pub(super) mod logger {
    pub const SERVER: &str = "fail2ban.server";
    pub const FILTER: &str = "fail2ban.filter";
    pub const ACTIONS: &str = "fail2ban.actions";
    pub const JAIL: &str = "fail2ban.jail";
    pub const OBSERVER: &str = "fail2ban.observer";
    pub const TRANSMITTER: &str = "fail2ban.transmitter";
    pub const DATEDETECTOR: &str = "fail2ban.datedetector";
    pub const BANMANAGER: &str = "fail2ban.banmanager";
    pub const DATABASE: &str = "fail2ban.database";
    pub const IPDNS: &str = "fail2ban.ipdns";
}

/// Most cases that wait for an answer; more are dropped with a warning.
pub(super) const MAX_PARKED: usize = 10_000;

/// A job under way.
#[derive(Clone, Debug)]
pub(super) struct JobInfo {
    pub jail: JailKey,
    pub action: ActionId,
    pub kind: JobKind,
    pub wait: Option<WaitId>,
}

/// What a job was for.
#[derive(Clone, Debug)]
pub(super) enum JobKind {
    Start,
    Stop,
    Reload,
    CleanUp,
    Check,
    /// A check of what an earlier server left.
    Adopt,
    Flush(Vec<Arc<Ticket>>),
    Ban {
        ticket: Arc<Ticket>,
        serial: u64,
    },
    Unban {
        ticket: Arc<Ticket>,
        sure: Sure,
        tries: u32,
    },
    Prolong {
        ticket: Arc<Ticket>,
    },
    Notify {
        ticket: Arc<Ticket>,
    },
    /// What a client asked for by hand; nothing follows from it.
    Call {
        ticket: Option<Arc<Ticket>>,
    },
}

/// Whether what an unban takes back is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sure {
    /// It is (or will be, when jobs before this have run).
    Yes,
    /// The ban failed, but may have taken effect.
    Perhaps,
    /// An earlier process may have left it; failure is expected.
    Leftover,
}

/// A question under way, and what to do with the answer.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Ignore(Question),
    Command(Box<Case>),
    UnbanName {
        jail: Option<JailKey>,
        name: String,
        found: usize,
        wait: WaitId,
    },
    Restore(JailKey),
    History {
        jail: JailKey,
        id: Id,
        serial: u64,
    },
    Bad {
        jail: JailKey,
        id: Id,
        time: Timestamp,
    },
    LogPosition {
        jail: JailKey,
        source: SourceId,
    },
    Setting {
        name: String,
        wait: WaitId,
    },
    /// `jail` is the one in a reply about all.
    Origins {
        jail: Option<Arc<str>>,
        wait: WaitId,
    },
    Property {
        multi: bool,
        wait: WaitId,
    },
}

/// A client that waits for effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WaitId(u64);

/// Who is told when a wait is over.
#[derive(Clone, Copy, Debug)]
pub(super) enum Teller {
    Client(RequestId),
    /// A stream that this command is part of.
    Stream(WaitId),
}

#[derive(Clone, Debug)]
struct Wait {
    teller: Teller,
    left: usize,
    until: Option<Monotonic>,
    reply: Reply,
}

/// What a waiting client will be told.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// This.
    Done(Result<Value, CommandError>),
    /// How many were unbanned.
    Unbanned { count: i64, absent: Vec<String>, report: bool },
    /// `stop`: the process ends after the reply.
    Exit,
}

#[derive(Clone)]
pub(super) struct Desk {
    pub now: Now,
    pub out: Vec<Effect>,
    pub config: Config,
    /// Whether IPv6 is usable: what `allowipv6 = auto` goes back to.
    pub ipv6_auto: bool,
    pub known: Known,
    pub parked: BTreeMap<Question, Vec<Case>>,
    pub parked_count: usize,
    pub dropped: u64,
    dropped_said: Option<Monotonic>,
    asking: BTreeMap<Question, AskId>,
    jobs: BTreeMap<JobId, JobInfo>,
    asks: BTreeMap<AskId, Asked>,
    waits: BTreeMap<WaitId, Wait>,
    /// What clients that wait have asked for.
    commands: BTreeMap<RequestId, Words>,
    next: u64,
    random: u64,
    /// The database as the last `set dbfile` wanted it, and as it was answered.
    pub dbfile: (Value, Value),
    /// Jails whose bans in the database change with this event.
    pub settled: BTreeSet<Arc<str>>,
    /// The server ends to be started again at once.
    pub keeping: bool,
    /// Until when what an earlier server left may be claimed.
    pub claim_by: Option<Monotonic>,
}

impl Desk {
    pub fn new(config: Config) -> Self {
        Self {
            now: Now::default(),
            out: Vec::new(),
            random: config.seed | 1,
            ipv6_auto: config.ipv6,
            config,
            known: Known::default(),
            parked: BTreeMap::new(),
            parked_count: 0,
            dropped: 0,
            dropped_said: None,
            asking: BTreeMap::new(),
            jobs: BTreeMap::new(),
            asks: BTreeMap::new(),
            waits: BTreeMap::new(),
            commands: BTreeMap::new(),
            next: 1,
            dbfile: (Value::None, Value::None),
            settled: BTreeSet::new(),
            keeping: false,
            claim_by: None,
        }
    }

    pub fn number(&mut self) -> u64 {
        let n = self.next;
        self.next += 1;
        n
    }

    /// A number in 0..1 (xorshift64*: random times need no secrecy).
    pub fn random(&mut self) -> f64 {
        let mut x = self.random;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random = x;
        (x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn log(&mut self, level: Level, logger: &'static str, text: impl Into<String>) {
        self.out.push(Effect::Log(Record { level, logger, text: text.into() }));
    }

    /// Tells whoever follows.
    pub fn happened(&mut self, jail: &Arc<str>, what: Happening) {
        self.out.push(Effect::Happened { jail: Arc::clone(jail), what });
    }

    pub fn time(&self, at: Timestamp) -> String {
        self.config.zone.format(at)
    }

    pub fn store(&mut self, op: StoreOp) {
        if let StoreOp::AddBan { jail, .. }
        | StoreOp::DeleteBan { jail, .. }
        | StoreOp::DeleteAllBans(jail) = &op
        {
            self.settled.insert(Arc::clone(jail));
        }
        self.out.push(Effect::Store(op));
    }

    /// Emits a job.
    pub fn run(
        &mut self,
        (jail, name): (JailKey, &Arc<str>),
        (action, spec): (ActionId, &Arc<ActionSpec>),
        counters: Counters,
        kind: JobKind,
        op: ActionOp,
        wait: Option<WaitId>,
    ) -> JobId {
        let id = JobId(self.number());
        let ticket = match &kind {
            JobKind::Ban { ticket, .. }
            | JobKind::Unban { ticket, .. }
            | JobKind::Prolong { ticket }
            | JobKind::Notify { ticket } => Some(Arc::clone(ticket)),
            JobKind::Call { ticket } => ticket.clone(),
            _ => None,
        };
        if let Some(wait) = wait {
            self.wait_for(wait);
        }
        self.jobs.insert(id, JobInfo { jail, action, kind, wait });
        self.out.push(Effect::Run(Job {
            id,
            jail: Arc::clone(name),
            action,
            spec: Arc::clone(spec),
            op,
            ticket,
            counters,
        }));
        id
    }

    pub fn finish_job(&mut self, id: JobId) -> Option<JobInfo> {
        self.jobs.remove(&id)
    }

    /// What an earlier job failed to take back is owed by a flush under way, too, should that fail;
    /// whether this job is one.
    pub fn owe(&mut self, flush: JobId, ticket: &Arc<Ticket>) -> bool {
        let Some(JobInfo { kind: JobKind::Flush(owed), .. }) = self.jobs.get_mut(&flush) else {
            return false;
        };
        owed.push(Arc::clone(ticket));
        true
    }

    pub fn ask(&mut self, ask: Ask, asked: Asked) {
        let id = AskId(self.number());
        self.asks.insert(id, asked);
        self.out.push(Effect::Ask(id, ask));
    }

    pub fn finish_ask(&mut self, id: AskId) -> Option<Asked> {
        let asked = self.asks.remove(&id)?;
        if let Asked::Ignore(question) = &asked {
            self.asking.remove(question);
        }
        Some(asked)
    }

    pub fn asks_open(&self) -> usize {
        self.asks.len()
    }

    /// Lets a case wait for the answer to a question; whether there was room.
    pub fn park(&mut self, question: Question, case: Box<Case>) -> Result<(), Box<Case>> {
        if self.parked_count >= MAX_PARKED {
            self.note_dropped();
            return Err(case);
        }
        if !self.asking.contains_key(&question) {
            let ask = match &question {
                Question::Own => Ask::OwnAddresses,
                Question::Name(name) => Ask::Resolve(name.clone()),
                Question::File(path) => {
                    Ask::IgnoreFile { path: path.clone(), seen: self.known.stamp(path) }
                }
            };
            let id = AskId(self.number());
            self.asks.insert(id, Asked::Ignore(question.clone()));
            self.asking.insert(question.clone(), id);
            self.out.push(Effect::Ask(id, ask));
        }
        self.parked_count += 1;
        self.parked.entry(question).or_default().push(*case);
        Ok(())
    }

    /// The cases that waited for this question.
    pub fn unpark(&mut self, question: &Question) -> Vec<Case> {
        let cases = self.parked.remove(question).unwrap_or_default();
        self.parked_count = self.parked_count.saturating_sub(cases.len());
        cases
    }

    /// A failure could not be judged because too many wait already.
    pub fn note_dropped(&mut self) {
        self.dropped += 1;
        let now = self.now.mono;
        if self.dropped_said.is_none_or(|at| now.since(at) >= Span::from_secs(60)) {
            self.dropped_said = Some(now);
            let text = format!(
                "{} failure(s) dropped: too many wait for DNS, ignorecommand or ignore files; \
                 check whether those answer",
                self.dropped
            );
            self.log(Level::Warning, logger::FILTER, text);
        }
    }

    /// A command was refused.
    pub fn log_refused(&mut self, words: &Words, error: &CommandError) {
        let mut shown = words.repr();
        if shown.len() > 2000 {
            let end = shown.floor_char_boundary(2000);
            shown.truncate(end);
            shown.push('…');
        }
        let origin = match &words.origin {
            Some(origin) => format!(" ({origin})"),
            None => String::new(),
        };
        let text = format!("Command {shown} has failed. Received {}{origin}", error.repr());
        self.log(Level::Error, logger::TRANSMITTER, text);
    }

    /// A client's command is carried out, which may end later, and badly.
    pub fn begin_command(&mut self, request: RequestId, words: &Words) {
        self.commands.insert(request, words.clone());
    }

    pub fn end_command(&mut self, request: RequestId) -> Option<Words> {
        self.commands.remove(&request)
    }

    /// Begins a wait that is held open until [`Desk::wait_done`] has been called once more than
    /// [`Desk::wait_for`].
    pub fn wait(&mut self, teller: Teller, reply: Reply, limit: Option<Span>) -> WaitId {
        let id = WaitId(self.number());
        let until = limit.map(|limit| self.now.mono.plus(limit));
        self.waits.insert(id, Wait { teller, left: 1, until, reply });
        id
    }

    pub fn wait_for(&mut self, id: WaitId) {
        if let Some(wait) = self.waits.get_mut(&id) {
            wait.left += 1;
        }
    }

    pub fn wait_reply(&mut self, id: WaitId) -> Option<&mut Reply> {
        self.waits.get_mut(&id).map(|w| &mut w.reply)
    }

    pub fn wait_done(&mut self, id: WaitId) {
        let Some(wait) = self.waits.get_mut(&id) else { return };
        wait.left = wait.left.saturating_sub(1);
        if wait.left == 0
            && let Some(wait) = self.waits.remove(&id)
        {
            self.tell(wait);
        }
    }

    fn tell(&mut self, wait: Wait) {
        let exit = matches!(wait.reply, Reply::Exit);
        let result = match wait.reply {
            Reply::Done(result) => result,
            Reply::Exit => Ok(Value::None),
            Reply::Unbanned { absent, report: true, .. } if !absent.is_empty() => {
                let text = format!("not banned: {}", Value::strs(absent).repr());
                Err(CommandError::new(ErrorClass::ValueError, text))
            }
            Reply::Unbanned { count, .. } => Ok(Value::Int(count)),
        };
        match wait.teller {
            Teller::Client(request) => {
                let words = self.end_command(request);
                if let (Err(error), Some(words)) = (&result, &words) {
                    self.log_refused(words, error);
                }
                self.out.push(Effect::Reply { request, result });
            }
            Teller::Stream(outer) => {
                if let Err(error) = result
                    && let Some(Reply::Done(reply)) = self.wait_reply(outer)
                    && reply.is_ok()
                {
                    *reply = Err(error);
                }
                self.wait_done(outer);
            }
        }
        if exit {
            self.out.push(Effect::Exit);
        }
    }

    /// Answers the clients whose time limit is over.
    pub fn expire_waits(&mut self) {
        let now = self.now.mono;
        let over: Vec<WaitId> = self
            .waits
            .iter()
            .filter(|(_, w)| w.until.is_some_and(|until| until <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            if let Some(wait) = self.waits.remove(&id) {
                self.tell(wait);
            }
        }
    }

    pub fn next_wait(&self) -> Option<Monotonic> {
        self.waits.values().filter_map(|w| w.until).min()
    }

    /// Fills tags of a text (the key of an ignore cache) for a ticket.
    pub fn fill(&self, text: &str, jail: &str, counters: Counters, ticket: &Ticket) -> String {
        let family = RunFamily::of(ticket.id.family());
        let facts = Facts { jail, counters, ticket: Some(ticket), family, now: self.now.wall };
        let filled = prepare_text(text, family).fill(&facts, &mut NoLookUp);
        let mut key = filled.script().to_owned();
        for arg in filled.args() {
            key.push('\0');
            key.push_str(arg);
        }
        key
    }
}
