//! Running actions: jobs go in, one outcome each comes out.
//!
//! ```text
//! run(Job) -> lanes (order, bounds) -> worker -> instance (life cycle) -> report -> shell
//!         \-> python (each action on a thread and in a process of its own)
//! ```
//!
//! [`Runner::run`] never blocks: the engine's thread calls it. Every job is answered exactly once
//! by [`Event::Outcome`], also when it is refused or the runner stops. When an action's environment
//! had to be rebuilt, [`Event::Repaired`] comes before the outcome of the job that found it.

mod instance;
mod lanes;
mod lookup;
pub(crate) mod python;
mod report;
mod shell;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{SendTimeoutError, Sender};
use sekisho_core::action::{Facts, RunFamily, prepare_text};
use sekisho_core::effect::{
    ActionFailure, ActionId, AskId, Counters, DEFAULT_ACTION_TIMEOUT, Event, Job, JobId, Level,
    Property, Record,
};
use sekisho_core::expr::Number;
use sekisho_core::time::Span;

use self::instance::{Instance, Tools};
use self::lanes::{LaneKey, Lanes, Pool, Queued, Work};
pub use self::lookup::{PastBansFn, World};
use self::python::Pythons;
pub use self::python::faults as python_faults;
use crate::{LogFn, clock, resolve};

/// Threads for enforcing actions: as many action files can run side by side.
const ENFORCE_THREADS: usize = 16;
/// Threads for notifying actions.
const NOTIFY_THREADS: usize = 8;
/// A thread that had nothing to do for so long ends, but the last one of a pool.
const IDLE: Duration = Duration::from_secs(30);
/// How long a full event channel is waited for between two looks at the cancel flag.
const SEND_SLICE: Duration = Duration::from_millis(100);

/// Why a job is refused.
const TOO_MANY: &str = "too many commands were waiting for this action";

/// Runs actions on threads of its own.
pub struct Runner {
    shared: Arc<Shared>,
    pythons: Pythons,
}

struct Shared {
    state: Mutex<State>,
    /// One for each pool.
    wake: [Condvar; 2],
    /// Signalled whenever a job is done, for [`Runner::stop`].
    done: Condvar,
    cancel: AtomicBool,
    events: Sender<Event>,
    log: LogFn,
    past_bans: PastBansFn,
}

#[derive(Default)]
struct State {
    lanes: Lanes,
    instances: BTreeMap<ActionId, Instance>,
    threads: BTreeMap<Pool, Threads>,
    handles: Vec<JoinHandle<()>>,
    stopping: bool,
}

#[derive(Default)]
struct Threads {
    all: usize,
    idle: usize,
}

impl Runner {
    /// Starts a runner; threads are made when they are needed.
    pub fn start(events: Sender<Event>, log: LogFn, past_bans: PastBansFn) -> Runner {
        Runner {
            pythons: Pythons::new(events.clone(), Arc::clone(&log), Arc::clone(&past_bans)),
            shared: Arc::new(Shared {
                state: Mutex::default(),
                wake: [Condvar::new(), Condvar::new()],
                done: Condvar::new(),
                cancel: AtomicBool::new(false),
                events,
                log,
                past_bans,
            }),
        }
    }

    /// Takes a job; its outcome follows as an event. Never blocks.
    pub fn run(&self, job: Job) {
        if let Some(python) = job.spec.python.clone() {
            return self.pythons.run(job, &python);
        }
        let mut state = self.shared.lock();
        if state.stopping {
            drop(state);
            self.shared.answer_refused(vec![job.id], "the service is ending");
            return;
        }
        let name = job.spec.name.clone();
        let jail = Arc::clone(&job.jail);
        let (queued, pool) = state.lanes.push(job);
        self.shared.wake_worker(&mut state, pool);
        drop(state);
        let (level, text) = match queued {
            Queued::Yes | Queued::Refused(false) => return,
            Queued::Long(n) => (
                Level::Warning,
                format!(
                    "[{jail}] {n} commands wait for action {name}: it is slower than bans are \
                     made; look for its time-outs"
                ),
            ),
            Queued::Refused(true) => (
                Level::Warning,
                format!(
                    "[{jail}] too many commands wait for action {name}: further ones are not run \
                     until it has caught up"
                ),
            ),
        };
        (self.shared.log)(Record { level, logger: "fail2ban.actions", text });
    }

    /// Asks a Python action for a property, or changes it; the answer follows as an event. Never
    /// blocks.
    pub fn ask(&self, id: AskId, action: ActionId, counters: Counters, what: Property) {
        self.pythons.ask(id, action, counters, what);
    }

    /// An earlier server has left this action started for these families.
    pub fn adopt(&self, action: ActionId, families: Vec<RunFamily>) {
        self.shared.lock().instances.entry(action).or_default().adopt(families);
    }

    /// The families an action is started for. All its jobs are answered, so its thread puts its
    /// state back any moment now.
    pub fn started(&self, action: ActionId) -> Vec<RunFamily> {
        let mut state = self.shared.lock();
        while state.lanes.waits(action) {
            let waited = self.shared.done.wait_timeout(state, SEND_SLICE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.instances.get(&action).map(Instance::started).unwrap_or_default()
    }

    /// Forgets the state of an action instance, after its waiting jobs.
    pub fn retire(&self, action: ActionId) {
        self.pythons.retire(action);
        let mut state = self.shared.lock();
        if state.lanes.retire(action) {
            state.instances.remove(&action);
        }
    }

    /// Waits until all jobs are done, at most `limit`; then ends running commands and answers
    /// what still waits with a failure. Jobs handed in from now on are answered so too.
    pub fn stop(&self, limit: Span) {
        let deadline = clock::now().mono.plus(limit);
        let mut state = self.shared.lock();
        while !state.lanes.is_idle() {
            let left = deadline.since(clock::now().mono);
            if left.0 <= 0 {
                break;
            }
            let left = Duration::from_micros(u64::try_from(left.0).unwrap_or(0));
            let waited = self.shared.done.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.stopping = true;
        drop(state);
        self.pythons.stop(deadline);
        let mut state = self.shared.lock();
        self.shared.cancel.store(true, Ordering::Relaxed);
        let abandoned = state.lanes.drain();
        let handles = std::mem::take(&mut state.handles);
        drop(state);
        for wake in &self.shared.wake {
            wake.notify_all();
        }
        self.shared.answer_refused(abandoned, "the service ended before it could run");
        for handle in handles {
            // A worker that panicked has nothing left to do.
            let _ = handle.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn condvar(&self, pool: Pool) -> &Condvar {
        let [enforce, notify] = &self.wake;
        match pool {
            Pool::Enforce => enforce,
            Pool::Notify => notify,
        }
    }

    /// Wakes a thread of the pool, or makes one.
    fn wake_worker(self: &Arc<Self>, state: &mut State, pool: Pool) {
        let ready = state.lanes.ready(pool);
        if ready == 0 {
            return;
        }
        let threads = state.threads.entry(pool).or_default();
        let max = if pool == Pool::Enforce { ENFORCE_THREADS } else { NOTIFY_THREADS };
        if threads.idle < ready && threads.all < max && !state.stopping {
            let shared = Arc::clone(self);
            let spawned =
                thread::Builder::new().name("action".to_owned()).spawn(move || shared.work(pool));
            match spawned {
                Ok(handle) => {
                    threads.all += 1;
                    state.handles.retain(|h| !h.is_finished());
                    state.handles.push(handle);
                }
                Err(error) => {
                    // The next job tries again; with other threads of the pool it just waits.
                    let text = format!("Cannot start a thread for actions: {error}");
                    (self.log)(Record { level: Level::Error, logger: "fail2ban.actions", text });
                }
            }
        }
        self.condvar(pool).notify_one();
    }

    /// The life of a worker thread.
    fn work(&self, pool: Pool) {
        let mut state = self.lock();
        loop {
            if let Some(work) = state.lanes.next(pool) {
                let action = work.job.as_ref().map(|job| job.action);
                let mut instance =
                    action.and_then(|a| state.instances.remove(&a)).unwrap_or_default();
                drop(state);
                let lane = self.perform(work, &mut instance);
                state = self.lock();
                if let Some(action) = action {
                    state.instances.insert(action, instance);
                }
                if state.lanes.finish(lane, action)
                    && let Some(action) = action
                {
                    state.instances.remove(&action);
                }
                self.done.notify_all();
                continue;
            }
            if state.stopping {
                break;
            }
            state.threads.entry(pool).or_default().idle += 1;
            let (back, timeout) = self
                .condvar(pool)
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = back;
            let threads = state.threads.entry(pool).or_default();
            threads.idle = threads.idle.saturating_sub(1);
            if timeout.timed_out() && threads.all > 1 && state.lanes.ready(pool) == 0 {
                break;
            }
        }
        let threads = state.threads.entry(pool).or_default();
        threads.all = threads.all.saturating_sub(1);
    }

    fn perform(&self, work: Work, instance: &mut Instance) -> LaneKey {
        self.answer_refused(work.refused, TOO_MANY);
        let Some(job) = work.job else { return work.lane };
        let mut world = World::new(Arc::clone(&self.past_bans));
        let tools = Tools { log: &self.log, look_up: &mut world, cancel: &self.cancel };
        let done = instance.perform(&job, tools);
        if done.repaired {
            self.send(Event::Repaired(job.action));
        }
        let failure = |reason| ActionFailure { reason, repaired: done.repaired };
        self.send(Event::Outcome(job.id, done.result.map_err(failure)));
        work.lane
    }

    fn answer_refused(&self, jobs: Vec<JobId>, why: &str) {
        for id in jobs {
            let failure = ActionFailure { reason: why.to_owned(), repaired: false };
            self.send(Event::Outcome(id, Err(failure)));
        }
    }

    fn send(&self, event: Event) {
        send(&self.events, &self.cancel, event);
    }
}

/// Sends an event; waits while the engine is busy, but not for one that has stopped listening.
fn send(events: &Sender<Event>, cancel: &AtomicBool, mut event: Event) {
    loop {
        match events.send_timeout(event, SEND_SLICE) {
            Err(SendTimeoutError::Timeout(back)) if !cancel.load(Ordering::Relaxed) => {
                event = back;
            }
            Ok(()) | Err(_) => return,
        }
    }
}

/// How the resolver runs an `ignorecommand`: with the tags of actions, and their time limit.
pub fn ignore_command(log: LogFn, past_bans: PastBansFn) -> resolve::CommandFn {
    Arc::new(move |jail, command, ticket| {
        let family = RunFamily::of(ticket.address.as_ref().unwrap_or(&ticket.id).family());
        let facts = Facts {
            jail,
            counters: Counters::default(),
            ticket: Some(ticket),
            family,
            now: clock::now().wall,
        };
        let mut world = World::new(Arc::clone(&past_bans));
        let invocation = prepare_text(command, family).fill(&facts, &mut world);
        let limit = Number::Int(DEFAULT_ACTION_TIMEOUT.as_secs());
        // 0 is "ignore", 1 is "do not"; anything else is worth an error in the log.
        let ended = report::run(&invocation, limit, &[0, 1], &AtomicBool::new(false), &log);
        match ended {
            None => Err("the command could not be started; see the error above".to_owned()),
            Some(ended) if ended.timed_out => Err(format!("timed out after {limit} seconds")),
            Some(ended) => Ok(ended.code()),
        }
    })
}
