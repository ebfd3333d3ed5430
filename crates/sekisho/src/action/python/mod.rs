//! Actions written in Python: each in a python3 process of its own, each on a thread of its own.
//!
//! ```text
//! run(Job) -> seat (queue, bound) -> thread -> life (which call) -> process -> shim.py
//! ```
//!
//! One process per instance, not one for all: in fail2ban each has an object of its own, and what
//! one of them does to its process (an endless loop, a crash, a leak) must concern no other. One
//! thread each, not the lanes' pools: an action may hang for its whole time limit, and shell actions
//! must not wait for threads that Python holds. No order between instances is lost, as fail2ban
//! has none between the Python actions of different jails either.
//!
//! Nothing here blocks the engine's thread. Bounds are those of the lanes: [`NOTIFY_MAX`] jobs wait
//! for an action that only notifies, [`ENFORCE_MAX`] for one that enforces; more are refused with a
//! failure and a warning.

mod life;
mod loggers;
mod message;
mod process;

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::Sender;
use rustix::event::{EventfdFlags, eventfd};
use sekisho_core::command::{CommandError, ErrorClass};
use sekisho_core::effect::{
    ActionFailure, ActionId, ActionOp, Answer, AskId, Counters, Event, Job, Level, Property,
    PythonSpec, Record,
};
use sekisho_core::time::{Monotonic, Span};
use sekisho_core::value::Value;

use self::life::{Life, Surroundings};
use self::process::{Process, Tools};
pub use self::process::{SHIM, StartError};
use super::lanes::{ENFORCE_MAX, NOTIFY_MAX};
use super::lookup::PastBansFn;
use super::send;
use crate::{LogFn, clock};

/// How long the files of a configuration may take to be looked at.
const CHECK_LIMIT: Span = Span::from_secs(30);

/// All Python actions.
pub struct Pythons {
    shared: Arc<Shared>,
    seats: Mutex<Seats>,
}

#[derive(Default)]
struct Seats {
    seats: BTreeMap<ActionId, Arc<Seat>>,
    handles: Vec<JoinHandle<()>>,
    stopping: bool,
}

/// What all their threads share.
struct Shared {
    /// Tasks handed in and not done.
    open: Mutex<usize>,
    /// Signalled when there is none.
    idle: Condvar,
    cancel: Arc<AtomicBool>,
    events: Sender<Event>,
    log: LogFn,
    past_bans: PastBansFn,
}

/// The queue of one action.
struct Seat {
    queue: Mutex<Queue>,
    wake: OwnedFd,
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    /// Nothing will follow.
    closed: bool,
    warned: bool,
}

enum Task {
    Job(Job),
    Ask(AskId, Counters, Property),
}

impl Pythons {
    /// None yet.
    pub fn new(events: Sender<Event>, log: LogFn, past_bans: PastBansFn) -> Pythons {
        Pythons {
            shared: Arc::new(Shared {
                open: Mutex::new(0),
                idle: Condvar::new(),
                cancel: Arc::new(AtomicBool::new(false)),
                events,
                log,
                past_bans,
            }),
            seats: Mutex::default(),
        }
    }

    /// Takes a job of a Python action; its outcome follows as an event. Never blocks.
    pub fn run(&self, job: Job, python: &PythonSpec) {
        let mut seats = lock(&self.seats);
        if seats.stopping {
            drop(seats);
            return self.shared.refuse(Task::Job(job), "the service is ending");
        }
        let seat = match seats.seats.get(&job.action) {
            Some(seat) => Arc::clone(seat),
            None => match self.shared.open_seat(&job, python) {
                Ok((seat, handle)) => {
                    seats.handles.retain(|handle| !handle.is_finished());
                    seats.handles.push(handle);
                    seats.seats.insert(job.action, Arc::clone(&seat));
                    seat
                }
                Err(error) => {
                    drop(seats);
                    let why = format!("no thread can be started for it: {error}");
                    return self.shared.refuse(Task::Job(job), &why);
                }
            },
        };
        drop(seats);
        let droppable =
            matches!(job.op, ActionOp::Ban | ActionOp::Prolong | ActionOp::Reban | ActionOp::Unban);
        let max = if job.spec.enforces() { ENFORCE_MAX } else { NOTIFY_MAX };
        let mut queue = lock(&seat.queue);
        if droppable && queue.tasks.len() >= max {
            let first = !std::mem::replace(&mut queue.warned, true);
            drop(queue);
            if first {
                let text = format!(
                    "[{}] too many commands wait for action {}: further ones are not run until it \
                     has caught up",
                    job.jail, job.spec.name
                );
                self.shared.say(Level::Warning, text);
            }
            return self.shared.refuse(Task::Job(job), super::TOO_MANY);
        }
        queue.warned &= queue.tasks.len() >= max / 2;
        self.shared.one_more();
        queue.tasks.push_back(Task::Job(job));
        drop(queue);
        seat.wake();
    }

    /// Asks an action; the answer follows as an event. Never blocks.
    pub fn ask(&self, id: AskId, action: ActionId, counters: Counters, what: Property) {
        let task = Task::Ask(id, counters, what);
        let seat = lock(&self.seats).seats.get(&action).map(Arc::clone);
        match seat {
            Some(seat) => {
                self.shared.one_more();
                lock(&seat.queue).tasks.push_back(task);
                seat.wake();
            }
            None => self.shared.refuse(task, "the action does not run"),
        }
    }

    /// Forgets an action, after what waits for it.
    pub fn retire(&self, action: ActionId) {
        if let Some(seat) = lock(&self.seats).seats.remove(&action) {
            lock(&seat.queue).closed = true;
            seat.wake();
        }
    }

    /// Waits until all is done, at most until `deadline`; then ends what runs, and answers what
    /// still waits with a failure.
    pub fn stop(&self, deadline: Monotonic) {
        let mut open = lock(&self.shared.open);
        while *open > 0 {
            let left = deadline.since(clock::now().mono);
            if left.0 <= 0 {
                break;
            }
            let left = Duration::from_micros(u64::try_from(left.0).unwrap_or(0));
            let waited = self.shared.idle.wait_timeout(open, left);
            open = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(open);
        self.shared.cancel.store(true, Ordering::Relaxed);
        let last = Seats { stopping: true, ..Seats::default() };
        let Seats { seats, handles, .. } = std::mem::replace(&mut *lock(&self.seats), last);
        for seat in seats.values() {
            lock(&seat.queue).closed = true;
            seat.wake();
        }
        for handle in handles {
            // A thread that panicked has nothing left to do.
            let _ = handle.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seat {
    fn wake(&self) {
        // It can only fail where it is readable already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Shared {
    fn say(&self, level: Level, text: String) {
        (self.log)(Record { level, logger: "fail2ban.actions", text });
    }

    fn send(&self, event: Event) {
        send(&self.events, &self.cancel, event);
    }

    /// Answers a task without doing it.
    fn refuse(&self, task: Task, why: &str) {
        self.send(match task {
            Task::Job(job) => {
                let failure = ActionFailure { reason: why.to_owned(), repaired: false };
                Event::Outcome(job.id, Err(failure))
            }
            Task::Ask(id, ..) => {
                let error = CommandError::new(ErrorClass::Exception, why);
                Event::Answer(id, Answer::Property(Err(error)))
            }
        });
    }

    /// A task is about to be handed in.
    fn one_more(&self) {
        *lock(&self.open) += 1;
    }

    fn done(&self) {
        let mut open = lock(&self.open);
        *open = open.saturating_sub(1);
        if *open == 0 {
            self.idle.notify_all();
        }
    }

    fn open_seat(
        self: &Arc<Self>,
        job: &Job,
        python: &PythonSpec,
    ) -> std::io::Result<(Arc<Seat>, JoinHandle<()>)> {
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        let wake = eventfd(0, flags)?;
        let around = Surroundings {
            log: Arc::clone(&self.log),
            past_bans: Arc::clone(&self.past_bans),
            cancel: Arc::clone(&self.cancel),
            wake: wake.try_clone()?,
            described: {
                let (shared, action) = (Arc::clone(self), job.action);
                Box::new(move |traits| shared.send(Event::Described(action, traits)))
            },
        };
        let seat = Arc::new(Seat { queue: Mutex::default(), wake });
        let life = Life::new(job, python.clone());
        let (shared, own) = (Arc::clone(self), Arc::clone(&seat));
        let action = job.action;
        let work = move || shared.work(&own, life, action, &around);
        let handle = thread::Builder::new().name("python".to_owned()).spawn(work)?;
        Ok((seat, handle))
    }

    /// The life of an action's thread.
    fn work(&self, seat: &Seat, mut life: Life, action: ActionId, around: &Surroundings) {
        loop {
            let mut queue = lock(&seat.queue);
            let (task, closed) = (queue.tasks.pop_front(), queue.closed);
            drop(queue);
            match task {
                Some(task) => {
                    self.perform(task, &mut life, action, around);
                    self.done();
                }
                None if closed || self.cancel.load(Ordering::Relaxed) => break,
                None => life.idle(around),
            }
        }
        life.close(around);
    }

    fn perform(&self, task: Task, life: &mut Life, action: ActionId, around: &Surroundings) {
        if self.cancel.load(Ordering::Relaxed) {
            return self.refuse(task, "the service ended before it could run");
        }
        match task {
            Task::Job(job) => {
                let done = life.perform(&job, around);
                if done.repaired {
                    self.send(Event::Repaired(action));
                }
                self.send(Event::Outcome(job.id, done.result));
            }
            Task::Ask(id, counters, what) => {
                let result = life.property(&what, counters, around).map(for_client);
                self.send(Event::Answer(id, Answer::Property(result)));
            }
        }
    }
}

/// What fail2ban does not send as it is, it sends as text.
fn for_client(value: Value) -> Value {
    match value {
        Value::Tuple(_) => Value::Str(value.to_text()),
        other => other,
    }
}

/// What is wrong with each of these action files, as far as that can be told without running them.
/// An error if there is no python3 that could.
pub fn faults(files: &[String]) -> Result<Vec<Option<String>>, String> {
    let (log, cancel): (LogFn, _) = (Arc::new(|_| {}), AtomicBool::new(false));
    let wake = eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| error.to_string())?;
    let mut nothing = |_| message::past(None);
    let mut tools =
        Tools { log: &log, cancel: &cancel, wake: &wake, past: &mut nothing, who: "check" };
    let mut process =
        Process::start(&["check"], CHECK_LIMIT, &mut tools).map_err(|error| error.to_string())?;
    let request = serde_json::json!({ "do": "check", "files": files });
    let answer =
        process.ask(&request, CHECK_LIMIT, &mut tools).map_err(|error| error.to_string())?;
    let found = answer.result.map_err(|(_, text)| text)?;
    let found = found.as_array().cloned().unwrap_or_default();
    Ok(found.iter().map(|fault| fault.as_str().map(str::to_owned)).collect())
}
