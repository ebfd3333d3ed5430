//! Which job may run next: ordered lanes, worked off by a bounded number of threads.
//!
//! Enforcing actions of one action *file* share a lane, because such scripts may edit one file
//! (`hosts.deny`); different files run in parallel. Every notifying action has a lane of its own,
//! and other threads: enforcement never waits for notification. Jobs of one action always run in
//! order. Nothing here runs a command or knows what one is.
//!
//! Bounds: [`NOTIFY_MAX`] bans and unbans wait per notifying action, more are dropped with a
//! warning. Enforcement is never dropped; a warning says when [`ENFORCE_WARN`] jobs wait, and at
//! [`ENFORCE_MAX`] new ones are refused at once with a failure, which the engine retries.

use std::collections::{BTreeMap, VecDeque};

use sekisho_core::effect::{ActionId, ActionOp, ActionSpec, Job, JobId};

/// Bans, prolongations and unbans that may wait for one notifying action. A ban for ever is made by
/// such an action, too (it has nothing to take back), so a list of addresses has to fit.
pub const NOTIFY_MAX: usize = 10_000;
/// Waiting jobs of one enforcing lane that are worth a warning.
pub const ENFORCE_WARN: usize = 10_000;
/// Waiting jobs of one enforcing lane beyond which new ones are refused.
pub const ENFORCE_MAX: usize = 1_000_000;

/// Who works a lane off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pool {
    /// Actions that can take a ban back.
    Enforce,
    /// All others.
    Notify,
}

/// What shares an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LaneKey {
    /// An action file.
    File(String),
    /// One notifying action instance.
    Notify(ActionId),
}

impl LaneKey {
    fn of(action: ActionId, spec: &ActionSpec) -> Self {
        if !spec.enforces() {
            return LaneKey::Notify(action);
        }
        LaneKey::File(spec.file.as_ref().unwrap_or(&spec.name).clone())
    }
    const fn pool(&self) -> Pool {
        match self {
            LaneKey::File(_) => Pool::Enforce,
            LaneKey::Notify(_) => Pool::Notify,
        }
    }
}

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<Job>,
    /// Jobs refused because the queue was full, to be answered before the next job.
    refused: Vec<JobId>,
    /// A thread works on it; it is then not in `ready`.
    busy: bool,
    warned: bool,
}

#[derive(Debug)]
struct Member {
    lane: LaneKey,
    waiting: usize,
    retired: bool,
}

/// All lanes.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: BTreeMap<LaneKey, Lane>,
    members: BTreeMap<ActionId, Member>,
    ready: BTreeMap<Pool, VecDeque<LaneKey>>,
}

/// What happened to a job that was handed in.
#[derive(Debug, PartialEq, Eq)]
pub enum Queued {
    /// It waits.
    Yes,
    /// It waits, and the lane is alarmingly long (said once until it has shrunk).
    Long(usize),
    /// It was refused; its outcome will say so. True the first time since there was room.
    Refused(bool),
}

/// What a thread of a pool should do.
#[derive(Debug)]
pub struct Work {
    /// To be handed back to [`Lanes::finish`].
    pub lane: LaneKey,
    /// Jobs to answer as refused.
    pub refused: Vec<JobId>,
    /// The job to run.
    pub job: Option<Job>,
}

impl Lanes {
    /// Puts a job into its lane; also says which pool to wake.
    pub fn push(&mut self, job: Job) -> (Queued, Pool) {
        let key = self.lane_of(&job);
        let pool = key.pool();
        let droppable =
            matches!(job.op, ActionOp::Ban | ActionOp::Prolong | ActionOp::Reban | ActionOp::Unban);
        let lane = self.lanes.entry(key.clone()).or_default();
        let waiting = lane.queue.len();
        let full = match pool {
            Pool::Enforce => waiting >= ENFORCE_MAX,
            Pool::Notify => waiting >= NOTIFY_MAX && droppable,
        };
        let queued = if full {
            lane.refused.push(job.id);
            let first = !std::mem::replace(&mut lane.warned, true);
            Queued::Refused(first)
        } else {
            if let Some(member) = self.members.get_mut(&job.action) {
                member.waiting += 1;
            }
            lane.queue.push_back(job);
            if pool == Pool::Enforce && waiting >= ENFORCE_WARN && !lane.warned {
                lane.warned = true;
                Queued::Long(waiting + 1)
            } else {
                Queued::Yes
            }
        };
        let had_work = waiting > 0 || (full && lane.refused.len() > 1);
        if !lane.busy && !had_work {
            self.ready.entry(pool).or_default().push_back(key);
        }
        (queued, pool)
    }

    /// An action keeps its lane while jobs of it wait, so their order holds when it is changed.
    fn lane_of(&mut self, job: &Job) -> LaneKey {
        let fresh =
            || Member { lane: LaneKey::of(job.action, &job.spec), waiting: 0, retired: false };
        let member = self.members.entry(job.action).or_insert_with(fresh);
        if member.waiting == 0 {
            member.lane = LaneKey::of(job.action, &job.spec);
        }
        member.lane.clone()
    }

    /// The next thing to do for a pool.
    pub fn next(&mut self, pool: Pool) -> Option<Work> {
        let key = self.ready.get_mut(&pool)?.pop_front()?;
        let lane = self.lanes.get_mut(&key)?;
        lane.busy = true;
        Some(Work {
            refused: std::mem::take(&mut lane.refused),
            job: lane.queue.pop_front(),
            lane: key,
        })
    }

    /// A thread is done with what [`Lanes::next`] gave it. True if the instance is to be forgotten.
    pub fn finish(&mut self, key: LaneKey, action: Option<ActionId>) -> bool {
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.busy = false;
            let bound = if key.pool() == Pool::Notify { NOTIFY_MAX } else { ENFORCE_WARN };
            if lane.queue.len() < bound / 2 {
                lane.warned = false;
            }
            if lane.queue.is_empty() && lane.refused.is_empty() {
                self.lanes.remove(&key);
            } else {
                self.ready.entry(key.pool()).or_default().push_back(key);
            }
        }
        let Some(action) = action else { return false };
        let Some(member) = self.members.get_mut(&action) else { return true };
        member.waiting = member.waiting.saturating_sub(1);
        let gone = member.retired && member.waiting == 0;
        if gone {
            self.members.remove(&action);
        }
        gone
    }

    /// Forgets an action after its last waiting job. True if that is now.
    pub fn retire(&mut self, action: ActionId) -> bool {
        match self.members.get_mut(&action) {
            Some(member) if member.waiting > 0 => {
                member.retired = true;
                false
            }
            _ => {
                self.members.remove(&action);
                true
            }
        }
    }

    /// Whether jobs of an action wait or run.
    pub fn waits(&self, action: ActionId) -> bool {
        self.members.get(&action).is_some_and(|member| member.waiting > 0)
    }

    /// Whether nothing waits and nothing runs.
    pub fn is_idle(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Takes out everything that waits.
    pub fn drain(&mut self) -> Vec<JobId> {
        let mut out = Vec::new();
        for lane in self.lanes.values_mut() {
            out.append(&mut lane.refused);
            for job in lane.queue.drain(..) {
                out.push(job.id);
                if let Some(member) = self.members.get_mut(&job.action) {
                    member.waiting = member.waiting.saturating_sub(1);
                }
            }
        }
        self.lanes.retain(|_, lane| lane.busy);
        self.ready.clear();
        out
    }

    /// How many lanes wait for a thread.
    pub fn ready(&self, pool: Pool) -> usize {
        self.ready.get(&pool).map_or(0, VecDeque::len)
    }
}
