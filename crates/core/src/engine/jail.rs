//! One jail at run time: its specification, and everything that happened in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::JailKey;
use super::desk::{Desk, JobKind, Sure, WaitId};
use super::lines::LineState;
use crate::banmanager::BanManager;
use crate::command::IgnoreCache;
use crate::effect::{ActionId, ActionOp, ActionSpec, Counters, JobId, Position, SourceId};
use crate::failmanager::{FailManager, Limits};
use crate::id::{Family, Id};
use crate::spec::JailSpec;
use crate::ticket::Ticket;
use crate::time::{Monotonic, Span, Timestamp};

/// How often ids whose window is over are forgotten.
const CLEAN_EVERY: Span = Span::from_secs(5);
/// How many ended bans one round takes.
const MAX_ENDS: usize = 500;
/// How long a live change of an action is waited for before the action starts: its properties come
/// one command at a time.
pub(super) const SETTLE: Span = Span::from_secs(1);
/// How long a ban that is on its way is shown as banned.
pub(super) const GRACE: Span = Span::from_secs(1);

/// Where a jail is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Added, not started.
    Added,
    /// To be started when an earlier jail of its name has stopped.
    Waiting(JailKey),
    /// Guarding.
    Running,
    /// Taking back its bans, stopping its actions.
    Stopping,
}

/// Where an action is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Not started because its jail is not.
    Idle,
    /// Just added to a running jail; starts when nothing was said about it for a moment.
    Settling(Monotonic),
    /// Waits until an earlier instance of it has stopped.
    After(ActionId),
    /// Started.
    Up,
    /// Its bans are being taken back.
    Lifting,
    /// Its stop is under way.
    Stopping,
    /// Stopped.
    Gone,
}

/// One action of a jail.
#[derive(Clone, Debug)]
pub(super) struct Action {
    pub id: ActionId,
    pub spec: Arc<ActionSpec>,
    pub enforces: bool,
    pub life: Life,
    /// Jobs not answered yet.
    pub in_flight: usize,
    /// Failed starts in a row, and when the next is due.
    pub start_tries: u32,
    pub start_at: Option<Monotonic>,
    /// Bans that are to be (re-)enforced, and when.
    pub due: BTreeSet<(Monotonic, Id)>,
    /// The last unanswered job for each id.
    pub last: BTreeMap<Id, JobId>,
    /// The last flush.
    pub last_flush: Option<JobId>,
    /// Unbans that failed.
    pub unbans: BTreeMap<Id, FailedUnban>,
    /// In force without a ban of ours: left by an earlier server, or to be left to the next.
    pub kept: BTreeSet<Id>,
    /// Until when the bans they belong to may come back.
    pub kept_until: Option<Monotonic>,
}

/// An unban that is to be tried again.
#[derive(Clone, Debug)]
pub(super) struct FailedUnban {
    pub at: Monotonic,
    pub tries: u32,
    pub sure: Sure,
    pub ticket: Arc<Ticket>,
}

impl Action {
    pub fn new(id: ActionId, mut spec: ActionSpec, ipv6: bool, life: Life) -> Self {
        set_families(&mut spec, ipv6);
        // Another instance was known: this one may have been loaded from a file that has changed.
        spec.traits = None;
        let enforces = spec.enforces();
        Self {
            id,
            spec: Arc::new(spec),
            enforces,
            life,
            in_flight: 0,
            start_tries: 0,
            start_at: None,
            due: BTreeSet::new(),
            last: BTreeMap::new(),
            last_flush: None,
            unbans: BTreeMap::new(),
            kept: BTreeSet::new(),
            kept_until: None,
        }
    }

    /// Takes note of the answer to a job for an id.
    pub fn answered(&mut self, id: &Id, job: JobId) {
        if self.last.get(id) == Some(&job) {
            self.last.remove(id);
        }
    }

    /// The later job, if any, that decides what becomes of the id.
    pub fn overtaken(&self, id: &Id, job: JobId) -> Option<JobId> {
        let last = self.last.get(id).copied().max(self.last_flush);
        last.filter(|last| *last > job)
    }

    /// Whether a command is defined, for any family.
    pub fn has(&self, command: &str) -> bool {
        self.spec.defines(command)
    }

    pub fn no_restored(&self) -> bool {
        self.spec
            .get("norestored")
            .is_some_and(|v| crate::command::truth(&crate::value::Value::str(v)))
    }
}

pub(super) fn set_families(spec: &mut ActionSpec, ipv6: bool) {
    spec.families = if ipv6 { vec![Family::Inet4, Family::Inet6] } else { vec![Family::Inet4] };
}

/// What a ban's enforcement by one action has come to.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub action: ActionId,
    pub state: MarkState,
    pub tries: u32,
    /// A ban was tried since the last unban, or (skipped) an earlier process may have left one: an
    /// unban is owed.
    pub touched: bool,
    /// It was in force before: `actionreban`.
    pub reban: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MarkState {
    /// To be done; the time is in the action's `due`, unless the action is not up.
    Due(Monotonic),
    /// On its way.
    Running(JobId, Monotonic),
    /// In force.
    Done,
    /// Not for this ban (`norestored`).
    Skipped,
}

/// The enforcement of a ban.
#[derive(Clone, Debug, Default)]
pub(super) struct Enforcement {
    pub marks: Vec<Mark>,
    pub announced: bool,
    /// Instances of notifications that were told (those that can take it back are, at its end).
    pub notified: Vec<ActionId>,
}

impl Enforcement {
    /// Whether every enforcing action has it in force.
    pub fn complete(&self) -> bool {
        self.marks.iter().all(|m| matches!(m.state, MarkState::Done | MarkState::Skipped))
    }
    /// The actions that have tried in vain.
    pub fn failing(&self) -> impl Iterator<Item = ActionId> {
        self.marks.iter().filter(|m| m.tries > 0).map(|m| m.action)
    }
    /// Whether it may be shown as banned: in force, or a moment ago on its way for the first time.
    pub fn shown(&self, now: Monotonic) -> bool {
        self.marks.iter().all(|m| match m.state {
            MarkState::Done | MarkState::Skipped => true,
            MarkState::Running(_, since) => m.tries == 0 && now.since(since) < GRACE,
            MarkState::Due(_) => false,
        })
    }
}

/// What ids were judged by `ignorecommand` and the rules, by the configured key.
#[derive(Clone, Debug, Default)]
pub(super) struct Judged {
    entries: BTreeMap<String, (Monotonic, bool)>,
}

impl Judged {
    pub fn get(&self, key: &str, now: Monotonic) -> Option<bool> {
        self.entries.get(key).filter(|(until, _)| now < *until).map(|(_, v)| *v)
    }
    pub fn set(&mut self, cache: &IgnoreCache, key: String, ignored: bool, now: Monotonic) {
        let max = usize::try_from(cache.max_count.clamp(1, 100_000)).unwrap_or(1);
        if self.entries.len() >= max && !self.entries.contains_key(&key) {
            self.entries.retain(|_, (until, _)| now < *until);
        }
        while self.entries.len() >= max && !self.entries.contains_key(&key) {
            self.entries.pop_first();
        }
        let until = now.plus(crate::bantime::span(cache.max_time));
        self.entries.insert(key, (until, ignored));
    }
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

/// What was unbanned while the stored bans were on their way.
#[derive(Clone, Debug, Default)]
pub(super) struct Restoring {
    pub all: bool,
    pub ids: Vec<Id>,
}

impl Restoring {
    pub fn lifted(&self, id: &Id) -> bool {
        let within = |lifted: &Id| match (lifted, id) {
            (Id::Net(net), Id::Ip(ip)) => net.contains(*ip),
            (Id::Net(net), Id::Net(other)) => net.contains_net(*other),
            (lifted, id) => lifted == id,
        };
        self.all || self.ids.iter().any(within)
    }
}

/// One jail.
#[derive(Clone)]
pub(super) struct Jail {
    pub key: JailKey,
    pub name: Arc<str>,
    pub spec: JailSpec,
    pub phase: Phase,
    /// Until when a stop waits for notifications.
    pub stop_by: Option<Monotonic>,
    pub idle: bool,
    pub fails: FailManager,
    pub bans: BanManager<Enforcement>,
    pub actions: Vec<Action>,
    /// Actions that were removed and are not stopped yet.
    pub leaving: Vec<Action>,
    pub judged: Judged,
    /// Why the last reload could not be applied.
    pub broken: Option<String>,
    pub sources: Vec<SourceId>,
    /// Where reading of files goes on that are not read at the moment.
    pub places: BTreeMap<String, Position>,
    /// Clients that wait until it has begun and knows the ends of its logs.
    pub begin_waits: Vec<WaitId>,
    /// Files that do not exist (yet), and why.
    pub missing: BTreeMap<String, String>,
    /// Files of which the log said that they are read.
    pub told_files: BTreeSet<String>,
    pub stop_waits: Vec<WaitId>,
    /// The stored bans were asked for; what was unbanned since must not come back with them.
    pub restoring: Option<Restoring>,
    pub lines: LineState,
    pub next_clean: Option<Monotonic>,
    pub last_check: Option<Monotonic>,
}

impl Jail {
    pub fn new(key: JailKey, name: Arc<str>, spec: JailSpec) -> Self {
        Self {
            key,
            name,
            spec,
            phase: Phase::Added,
            stop_by: None,
            idle: false,
            fails: FailManager::default(),
            bans: BanManager::default(),
            actions: Vec::new(),
            leaving: Vec::new(),
            judged: Judged::default(),
            broken: None,
            sources: Vec::new(),
            places: BTreeMap::new(),
            begin_waits: Vec::new(),
            missing: BTreeMap::new(),
            told_files: BTreeSet::new(),
            stop_waits: Vec::new(),
            restoring: None,
            lines: LineState::default(),
            next_clean: None,
            last_check: None,
        }
    }

    pub fn limits(&self) -> Limits {
        Limits { find_time: self.spec.find_span(), max_matches: self.spec.match_limit() }
    }

    pub fn counters(&self) -> Counters {
        Counters {
            banned: self.bans.len() as u64,
            banned_total: self.bans.total(),
            found: self.fails.len() as u64,
            found_total: self.fails.total(),
            ban_time: self.spec.ban_time,
        }
    }

    pub fn has_action(&self, id: ActionId) -> bool {
        self.actions.iter().chain(&self.leaving).any(|a| a.id == id)
    }

    pub fn action_mut(&mut self, id: ActionId) -> Option<&mut Action> {
        self.actions.iter_mut().chain(&mut self.leaving).find(|a| a.id == id)
    }

    /// The action, if it takes bans (now or later).
    pub fn live_action(&mut self, id: ActionId) -> Option<&mut Action> {
        self.actions.iter_mut().find(|a| a.id == id)
    }

    pub fn waits_for(&self, key: JailKey) -> bool {
        self.phase == Phase::Waiting(key)
    }

    /// Emits a job of an action of this jail.
    pub fn run(
        &mut self,
        desk: &mut Desk,
        action: ActionId,
        kind: JobKind,
        op: ActionOp,
        wait: Option<WaitId>,
    ) -> Option<JobId> {
        let counters = self.counters();
        let (key, name) = (self.key, Arc::clone(&self.name));
        let action = self.action_mut(action)?;
        action.in_flight += 1;
        let (id, spec) = (action.id, Arc::clone(&action.spec));
        let about = match &kind {
            JobKind::Ban { ticket, .. } | JobKind::Unban { ticket, .. } => Some(ticket.id.clone()),
            _ => None,
        };
        let flush = matches!(kind, JobKind::Flush(_));
        let job = desk.run((key, &name), (id, &spec), counters, kind, op, wait);
        if flush {
            action.last_flush = Some(job);
        }
        if let Some(about) = about {
            // Whatever was to be tried again for it is done with this.
            action.unbans.remove(&about);
            action.last.insert(about, job);
        }
        Some(job)
    }

    pub fn has_stopped(&self) -> bool {
        self.phase == Phase::Stopping
            && self.restoring.is_none()
            && self.actions.iter().chain(&self.leaving).all(|a| a.life == Life::Gone)
    }

    /// What is due by now.
    pub fn tick(&mut self, desk: &mut Desk) {
        if matches!(self.phase, Phase::Added | Phase::Running) {
            let ended = self.bans.take_ended(desk.now.wall, MAX_ENDS);
            debug_assert!(
                ended.len() == MAX_ENDS || self.bans.next_end().is_none_or(|e| e >= desk.now.wall),
                "an ended ban stays"
            );
            for ban in ended {
                self.lift(desk, ban, "Unban", None, true);
            }
            let mono = desk.now.mono;
            if self.next_clean.is_none_or(|at| at <= mono) {
                self.fails.clean_up(desk.now.wall, self.spec.find_span());
                self.next_clean = Some(mono.plus(CLEAN_EVERY));
            }
        }
        self.drop_unjudged(desk);
        self.tick_actions(desk);
    }

    pub fn next_end(&self) -> Option<Timestamp> {
        match self.phase {
            // A ban ends when the clock is past its end.
            Phase::Added | Phase::Running => self.bans.next_end().map(|t| t.plus(Span(1))),
            Phase::Waiting(_) | Phase::Stopping => None,
        }
    }

    pub fn next_mono(&self) -> Option<Monotonic> {
        let mut next = match self.phase {
            // Nothing to forget, nothing to wake up for.
            Phase::Added | Phase::Running => self.next_clean.filter(|_| !self.fails.is_empty()),
            Phase::Stopping => self.stop_by,
            Phase::Waiting(_) => None,
        };
        let mut take = |at: Option<Monotonic>| {
            if let Some(at) = at {
                next = Some(next.map_or(at, |n: Monotonic| n.min(at)));
            }
        };
        for action in self.actions.iter().chain(&self.leaving) {
            take(action.next_mono());
        }
        for action in &self.actions {
            take(action.kept_until);
        }
        next
    }
}
