//! The life of one Python action: which call each job becomes, and how it survives its process.
//!
//! The object lives in a process of its own, so a crash, an endless loop or a memory leak of one
//! action ends that process and nothing else. The next job starts a new one, in which everything is
//! as it was (settings made by clients, `start()`); bans made before are then reported as lost, and
//! the engine has them made again. A process that keeps failing is started ever more rarely.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sekisho_core::action::LookUp as _;
use sekisho_core::command::{CommandError, ErrorClass};
use sekisho_core::effect::{
    ActionFailure, ActionOp, ActionSpec, Counters, DEFAULT_ACTION_TIMEOUT, Job, Level, Property,
    PythonSpec, Record, Traits,
};
use sekisho_core::id::Id;
use sekisho_core::time::{Monotonic, Span};
use sekisho_core::value::Value;
use serde_json::{Value as Json, json};

use super::message::{self, Answer};
use super::process::{Lost, Process, Tools};
use crate::action::lookup::{PastBansFn, World};
use crate::{LogFn, clock};

/// How long an action may take to end by itself after its `stop()`.
const CLOSE_LIMIT: Span = Span::from_secs(2);
/// Settings of clients that are made again in a new process; beyond, the oldest is forgotten.
const KEPT_MAX: usize = 100;

/// What an action needs of the world.
pub struct Surroundings {
    /// The log.
    pub log: LogFn,
    /// Earlier bans.
    pub past_bans: PastBansFn,
    /// Set when everything is to end.
    pub cancel: Arc<AtomicBool>,
    /// Becomes readable when there is something to do.
    pub wake: OwnedFd,
    /// Told what the action turned out to be when it was loaded, or could not be.
    pub described: Box<dyn Fn(Traits) + Send>,
}

/// What a job came to.
pub struct Done {
    /// Whether it worked.
    pub result: Result<(), ActionFailure>,
    /// What was banned before may be gone.
    pub repaired: bool,
}

/// One action.
pub struct Life {
    jail: Arc<str>,
    spec: Arc<ActionSpec>,
    python: PythonSpec,
    process: Option<Process>,
    /// Settings of clients, as name and value.
    kept: Vec<Json>,
    /// The engine has started it.
    wanted: bool,
    /// What became of `start()` in this process.
    start: StartCall,
    /// It was called in some process.
    ever_started: bool,
    /// Something was banned since the last start.
    banned: bool,
    limit: Span,
    epoch: i64,
    /// Processes that failed since the last one that did some work, and when to try another.
    failures: u32,
    not_before: Monotonic,
    repaired: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StartCall {
    /// Not called yet.
    No,
    /// It raised an exception; bans are tried all the same, and the engine has it called again.
    Failed,
    Done,
}

impl Life {
    /// The life of the action that a first job is for.
    pub fn new(job: &Job, python: PythonSpec) -> Life {
        Life {
            jail: Arc::clone(&job.jail),
            spec: Arc::clone(&job.spec),
            python,
            process: None,
            kept: Vec::new(),
            wanted: false,
            start: StartCall::No,
            ever_started: false,
            banned: false,
            limit: DEFAULT_ACTION_TIMEOUT,
            epoch: 0,
            failures: 0,
            not_before: Monotonic(0),
            repaired: false,
        }
    }

    /// Performs one job.
    pub fn perform(&mut self, job: &Job, around: &Surroundings) -> Done {
        let mut call = Call { around, counters: job.counters, id: None };
        if let Some(ticket) = &job.ticket {
            call.id = Some(&ticket.id);
        }
        let result = self.dispatch(job, &call);
        Done {
            result: result.map_err(|mut failure| {
                failure.repaired = self.repaired;
                failure
            }),
            repaired: std::mem::take(&mut self.repaired),
        }
    }

    fn dispatch(&mut self, job: &Job, call: &Call<'_>) -> Result<(), ActionFailure> {
        match job.op {
            // Whatever an earlier process held in its memory is gone with it.
            ActionOp::CleanUp => Ok(()),
            ActionOp::Start => {
                self.wanted = true;
                self.ensure(call, true)?;
                self.started(call)
            }
            ActionOp::Ban => self.ban(job, call, "ban"),
            ActionOp::Reban => self.ban(job, call, "reban"),
            ActionOp::Prolong => self.ban(job, call, "prolong"),
            ActionOp::Unban => self.ban(job, call, "unban"),
            ActionOp::Flush | ActionOp::LastFlush => {
                self.ready(call)?;
                let done = self.life(call, "flush")?;
                self.failures = 0;
                // Without a true value each ban is to be taken back by itself.
                if done == Json::Bool(true) { Ok(()) } else { Err(ActionFailure::declined()) }
            }
            ActionOp::Check => {
                self.ready(call)?;
                self.life(call, "consistencyCheck").map(drop)
            }
            ActionOp::Reload => {
                self.spec = Arc::clone(&job.spec);
                if let Some(python) = &job.spec.python {
                    self.python = python.clone();
                }
                self.ready(call)?;
                let request = json!({
                    "do": "life",
                    "call": "reload",
                    "params": self.python.params,
                    "jail_facts": message::jail_facts(call.counters),
                });
                self.request(call, &request).map(drop)
            }
            ActionOp::Stop => self.stop(call),
        }
    }

    /// Answers a client's question about the object.
    pub fn property(
        &mut self,
        what: &Property,
        counters: Counters,
        around: &Surroundings,
    ) -> Result<Value, CommandError> {
        let call = Call { around, counters, id: None };
        let request = message::property(what, counters);
        let asked = self.ready(&call).and_then(|()| self.exchange(&call, &request));
        let answer =
            asked.map_err(|fault| CommandError::new(ErrorClass::Exception, fault.reason))?;
        let value = answer.result.map_err(|(class, text)| message::error(&class, text))?;
        self.failures = 0;
        self.kept.extend(answer.kept);
        let excess = self.kept.len().saturating_sub(KEPT_MAX);
        self.kept.drain(..excess);
        Ok(message::from_json(&value, 0))
    }

    /// Listens to the process while there is nothing to do.
    pub fn idle(&mut self, around: &Surroundings) {
        let who = self.who();
        let Some(process) = &mut self.process else {
            // Only `wake` can end this wait.
            let mut fds = [rustix::event::PollFd::new(&around.wake, rustix::event::PollFlags::IN)];
            let _ = rustix::event::poll(&mut fds, None);
            let _ = rustix::io::read(&around.wake, &mut [0u8; 8]);
            return;
        };
        let call = Call { around, counters: Counters::default(), id: None };
        if let Some(how) = call.with_tools(&who, &self.jail, |tools| process.idle(tools)) {
            self.process = None;
            let text = format!("{who}: {how}; a new one is started when it is needed");
            say(around, Level::Error, text);
            self.failed();
        }
    }

    /// Ends the process, if there is one.
    pub fn close(&mut self, around: &Surroundings) {
        let who = self.who();
        let Some(process) = self.process.take() else { return };
        let call = Call { around, counters: Counters::default(), id: None };
        call.with_tools(&who, &self.jail, |tools| process.close(CLOSE_LIMIT, tools));
    }

    fn who(&self) -> String {
        format!("[{}] action '{}'", self.jail, self.spec.name)
    }

    fn ban(&mut self, job: &Job, call: &Call<'_>, method: &str) -> Result<(), ActionFailure> {
        let Some(ticket) = &job.ticket else { return Ok(()) };
        self.ready(call)?;
        let request = json!({
            "do": "ban",
            "call": method,
            "ticket": message::ticket(ticket),
            "jail_facts": message::jail_facts(call.counters),
        });
        self.request(call, &request)?;
        self.failures = 0;
        self.banned |= matches!(job.op, ActionOp::Ban | ActionOp::Reban);
        Ok(())
    }

    fn stop(&mut self, call: &Call<'_>) -> Result<(), ActionFailure> {
        let done = if self.ever_started {
            self.ensure(call, true)
                .and_then(|()| self.replay(call))
                .and_then(|()| self.life(call, "stop").map(drop))
        } else {
            Ok(())
        };
        self.wanted = false;
        self.close(call.around);
        done
    }

    /// Makes sure that there is a process, and that it has been started if the one before was.
    fn ready(&mut self, call: &Call<'_>) -> Result<(), ActionFailure> {
        self.ensure(call, false)?;
        self.replay(call)
    }

    /// Calls `start()`, unless it has been in this process.
    fn started(&mut self, call: &Call<'_>) -> Result<(), ActionFailure> {
        if self.start == StartCall::Done {
            return Ok(());
        }
        self.ever_started = true;
        self.start = StartCall::Failed;
        self.life(call, "start")?;
        self.start = StartCall::Done;
        self.repaired |= std::mem::take(&mut self.banned);
        Ok(())
    }

    /// In a new process, after the engine has started the action: `start()` once more.
    fn replay(&mut self, call: &Call<'_>) -> Result<(), ActionFailure> {
        if !self.wanted || self.start != StartCall::No {
            return Ok(());
        }
        let done = self.started(call);
        if done.is_err() && self.process.is_some() {
            self.start = StartCall::No;
        }
        done.map_err(|failure| {
            fault(format!("start() of its new process has failed: {}", failure.reason))
        })
    }

    /// Makes sure that there is a process with the action in it.
    fn ensure(&mut self, call: &Call<'_>, at_once: bool) -> Result<(), ActionFailure> {
        if self.process.is_some() {
            return Ok(());
        }
        let left = self.not_before.since(clock::now().mono);
        if left.0 > 0 && !at_once {
            return Err(fault(format!(
                "it does not run; its process is started again in {} seconds, see the error above",
                left.as_secs() + 1
            )));
        }
        match self.load(call) {
            Ok(traits) => {
                (call.around.described)(traits);
                Ok(())
            }
            Err(text) => {
                self.failed();
                (call.around.described)(guess(&self.python.file));
                Err(fault(text))
            }
        }
    }

    fn load(&mut self, call: &Call<'_>) -> Result<Traits, String> {
        let label = format!("{}/{}", self.jail, self.spec.name);
        let file = self.python.file.clone();
        let who = self.who();
        let process = call.with_tools(&who, &self.jail, |tools| {
            Process::start(&[&label, &file], DEFAULT_ACTION_TIMEOUT, tools)
        });
        self.process = Some(process.map_err(|error| {
            format!("{error}. The action is written in Python ({file}); it does nothing until then")
        })?);
        let mut properties: Vec<Json> =
            self.spec.properties.iter().map(|(name, value)| json!([name, value])).collect();
        properties.extend(self.kept.iter().cloned());
        let request = json!({
            "do": "load",
            "file": file,
            "jail": &*self.jail,
            "name": self.spec.name,
            "params": self.python.params,
            "properties": properties,
            "jail_facts": message::jail_facts(call.counters),
        });
        self.limit = DEFAULT_ACTION_TIMEOUT;
        let broken = |why: String| format!("{file} cannot be loaded: {why}");
        let answer = self.exchange(call, &request).map_err(|fault| broken(fault.reason))?;
        self.epoch = answer.epoch;
        let found = answer.result.map_err(|(class, text)| {
            // Half loaded is of no use.
            self.process = None;
            broken(described(&class, text))
        })?;
        let has = |name: &str| found.get(name).and_then(Json::as_bool).unwrap_or(false);
        Ok(Traits {
            enforces: has("enforces"),
            flush: has("flush"),
            prolong: has("prolong"),
            check: has("check"),
            reload: has("reload"),
        })
    }

    /// Calls a method without arguments.
    fn life(&mut self, call: &Call<'_>, method: &str) -> Result<Json, ActionFailure> {
        let jail_facts = message::jail_facts(call.counters);
        let request = json!({ "do": "life", "call": method, "jail_facts": jail_facts });
        self.request(call, &request)
    }

    /// A request whose exception is a failure.
    fn request(&mut self, call: &Call<'_>, request: &Json) -> Result<Json, ActionFailure> {
        let answer = self.exchange(call, request)?;
        self.repaired |= answer.epoch > self.epoch;
        self.epoch = answer.epoch;
        answer.result.map_err(|(_, text)| fault(text))
    }

    /// One request and its answer; without one, the process is gone.
    fn exchange(&mut self, call: &Call<'_>, request: &Json) -> Result<Answer, ActionFailure> {
        let (who, limit) = (self.who(), self.limit);
        let Some(process) = &mut self.process else { return Err(fault("it does not run".into())) };
        let asked = call.with_tools(&who, &self.jail, |tools| process.ask(request, limit, tools));
        match asked {
            Ok(answer) => {
                if let Some(seconds) = answer.timeout.filter(|s| *s > 0.0) {
                    self.limit = Span::from_secs_f64(seconds);
                }
                Ok(answer)
            }
            Err(lost) => {
                self.process = None;
                if lost != Lost::Cancelled {
                    self.failed();
                }
                Err(fault(lost.to_string()))
            }
        }
    }

    /// The process is gone. The first time the next job may start another at once.
    fn failed(&mut self) {
        self.start = StartCall::No;
        let wait = match self.failures {
            0 => 0,
            n => 1_i64.checked_shl(n.saturating_sub(1).min(6)).unwrap_or(60).min(60),
        };
        self.failures = self.failures.saturating_add(1);
        self.not_before = clock::now().mono.plus(Span::from_secs(wait));
    }
}

/// One call, and what it is about.
struct Call<'a> {
    around: &'a Surroundings,
    counters: Counters,
    /// Whose earlier bans may be asked for.
    id: Option<&'a Id>,
}

impl Call<'_> {
    fn with_tools<T>(&self, who: &str, jail: &str, run: impl FnOnce(&mut Tools<'_>) -> T) -> T {
        let around = self.around;
        let mut past = |jail_only: bool| {
            let mut world = World::new(Arc::clone(&around.past_bans));
            let scope = jail_only.then_some(jail);
            let found = self.id.and_then(|id| world.past_bans(id, scope));
            message::past(found.as_ref().map(|past| (past.lines.as_slice(), past.failures)))
        };
        run(&mut Tools {
            log: &around.log,
            cancel: &around.cancel,
            wake: &around.wake,
            past: &mut past,
            who,
        })
    }
}

fn fault(reason: String) -> ActionFailure {
    ActionFailure { reason, repaired: false }
}

/// An exception where its class matters: `No module named 'x'` says enough, `'x'` does not.
fn described(class: &str, text: String) -> String {
    if class == "Exception" || class == text { text } else { format!("{class}: {text}") }
}

fn say(around: &Surroundings, level: Level, text: String) {
    (around.log)(Record { level, logger: "fail2ban.actions", text });
}

/// What an action may be that cannot be loaded: only its text can tell whether bans need it.
fn guess(file: &str) -> Traits {
    let text = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let enforces = text.lines().any(|line| line.trim_start().starts_with("def unban("));
    Traits { enforces, ..Traits::default() }
}
