//! The life cycle of one action instance: which families run, what was banned, when to repair.
//!
//! This is all run-time state an action has; it lives as long as the engine knows the instance.
//! Must never decide what is banned (the engine's business), only bring it about: a failed ban is
//! checked, the environment rebuilt if it is broken, and tried once more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sekisho_core::action::{Facts, LookUp, Prepared, RunFamily, prepare, property, timeout};
use sekisho_core::effect::{ActionOp, ActionSpec, Job, Level, Record};
use sekisho_core::id::Family;

use super::report;
use crate::{LogFn, clock};

const LOGGER: &str = "fail2ban.CommandAction";

/// What an instance needs of the world to perform a job.
pub struct Tools<'a> {
    /// The log.
    pub log: &'a LogFn,
    /// Asked by tags that need it.
    pub look_up: &'a mut dyn LookUp,
    /// Set when running commands are to be ended.
    pub cancel: &'a AtomicBool,
}

/// What became of a job.
#[derive(Debug, PartialEq, Eq)]
pub struct Done {
    /// Why it failed, if it did.
    pub result: Result<(), String>,
    /// Whether the environment was found broken: bans made before may be gone.
    pub repaired: bool,
}

/// State of one family.
#[derive(Clone, Copy, Debug, Default)]
struct Running {
    started: bool,
    /// Something was banned since start or flush.
    items: bool,
}

/// The families of an action that were ever used since its stop, in the order of their first use:
/// in that order they are flushed and stopped.
#[derive(Debug, Default)]
struct Families(Vec<(RunFamily, Running)>);

impl Families {
    fn get(&self, family: RunFamily) -> Running {
        self.iter().find(|(f, _)| *f == family).map_or(Running::default(), |(_, r)| r)
    }

    fn set(&mut self, family: RunFamily, running: Running) {
        match self.0.iter_mut().find(|(f, _)| *f == family) {
            Some((_, known)) => *known = running,
            None => self.0.push((family, running)),
        }
    }

    fn iter(&self) -> impl Iterator<Item = (RunFamily, Running)> {
        self.0.iter().copied()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// The run-time state of one action instance.
#[derive(Debug, Default)]
pub struct Instance {
    families: Families,
    /// Start commands in effect: families with the same one need it once.
    starts: Vec<(RunFamily, String)>,
    /// An earlier process ended without stopping: what it banned may still be there, although
    /// nothing was banned by us.
    leftovers: bool,
    /// Families that an earlier server has left started, until the first job.
    adopted: Vec<RunFamily>,
}

/// One job under way.
struct Run<'a> {
    job: &'a Job,
    tools: Tools<'a>,
    /// Whether errors are to be expected and logged at debug level only.
    quiet: bool,
    repaired: bool,
}

impl Instance {
    /// Performs one job.
    pub fn perform<'a>(&mut self, job: &'a Job, tools: Tools<'a>) -> Done {
        let mut run = Run { job, tools, quiet: false, repaired: false };
        let result = self.dispatch(&mut run);
        Done { result, repaired: run.repaired }
    }

    fn dispatch(&mut self, run: &mut Run<'_>) -> Result<(), String> {
        self.take_over(run);
        match run.job.op {
            ActionOp::Start if on_demand(&run.job.spec) => Ok(()),
            ActionOp::Start => self.start(run, &all_families(&run.job.spec)),
            ActionOp::Ban => self.ban(run, "actionban"),
            ActionOp::Reban => {
                let own = property(&run.job.spec, "actionreban", run.family());
                let own = own.is_some_and(|text| !text.trim().is_empty());
                self.ban(run, if own { "actionreban" } else { "actionban" })
            }
            ActionOp::Prolong if run.skips_restored() => Ok(()),
            ActionOp::Prolong => self.process(run, "actionprolong", "prolonging"),
            ActionOp::Unban => self.unban(run),
            ActionOp::Flush => self.flush(run, None),
            ActionOp::LastFlush => {
                let repairs = flag(&run.job.spec, "actionrepair_on_unban");
                self.flush(run, (!repairs).then_some("Flush"))
            }
            ActionOp::Reload => {
                let families = self.started();
                let failed = run.for_each("actionreload", &families);
                run.operation_result("reloading", failed.is_empty())
            }
            ActionOp::Check => self.check(run, None, "checking"),
            ActionOp::Stop => self.stop(run),
            ActionOp::CleanUp => {
                run.quiet = true;
                self.leftovers = true;
                let families = all_families(&run.job.spec);
                run.for_each("actionflush", &families);
                run.for_each("actionstop", &families);
                Ok(())
            }
        }
    }

    /// An earlier server has left it started for these families, with bans in force.
    pub fn adopt(&mut self, families: Vec<RunFamily>) {
        self.adopted = families;
    }

    /// Takes note of the environments that were adopted, as if they had been started here.
    fn take_over(&mut self, run: &mut Run<'_>) {
        for family in std::mem::take(&mut self.adopted) {
            if let Some(command) = run.prepare("actionstart", family) {
                self.starts.push((family, command.run_key()));
            }
            self.families.set(family, Running { started: true, items: true });
        }
    }

    fn is_started(&self, family: RunFamily) -> bool {
        self.families.get(family).started
    }

    /// The families that are started.
    pub fn started(&self) -> Vec<RunFamily> {
        self.families.iter().filter(|(_, s)| s.started).map(|(f, _)| f).collect()
    }

    /// After a repair or its failure: nothing of what was banned in this environment counts.
    fn reset(&mut self, spec: &ActionSpec, family: RunFamily, started: bool) {
        for family in environment(spec, family).into_iter().chain([family]) {
            self.families.set(family, Running { started, items: false });
            if !started {
                self.starts.retain(|(f, _)| *f != family);
            }
        }
    }

    /// Starts the families that are not running yet.
    fn start(&mut self, run: &mut Run<'_>, families: &[RunFamily]) -> Result<(), String> {
        let mut good = true;
        for &family in families {
            let Some(command) = run.prepare("actionstart", family) else {
                good = false;
                continue;
            };
            let key = command.run_key();
            if self.starts.iter().any(|(_, k)| *k == key) || run.execute(&command, false) {
                self.starts.retain(|(f, _)| *f != family);
                self.starts.push((family, key));
                self.families.set(family, Running { started: true, items: false });
            } else {
                good = false;
            }
        }
        run.operation_result("starting", good)
    }

    fn ban(&mut self, run: &mut Run<'_>, key: &str) -> Result<(), String> {
        if run.skips_restored() {
            return Ok(());
        }
        let family = run.family();
        let spec = &run.job.spec;
        if on_demand(spec) && !self.is_started(family) {
            let mut due = environment(spec, family);
            due.retain(|f| !self.is_started(*f));
            self.start(run, &due)?;
        }
        self.process(run, key, "banning")?;
        self.families.set(family, Running { started: true, items: true });
        Ok(())
    }

    fn unban(&mut self, run: &mut Run<'_>) -> Result<(), String> {
        let family = run.family();
        if self.families.get(family).items {
            return self.process(run, "actionunban", "unbanning");
        }
        if self.leftovers && run.job.ticket.as_ref().is_some_and(|t| t.restored) {
            // It may well not be there, and its environment may not be either: nothing to repair.
            run.quiet = true;
            if let Some(command) = run.prepare("actionunban", family) {
                run.execute(&command, true);
            }
        }
        Ok(())
    }

    /// A command for the ticket; when it fails, check, repair, and once more.
    fn process(&mut self, run: &mut Run<'_>, key: &str, doing: &str) -> Result<(), String> {
        let family = run.family();
        let Some(command) = run.prepare(key, family) else { return Err(run.ticket_error(doing)) };
        if run.execute(&command, true) {
            return Ok(());
        }
        if run.cancelled() {
            return Err(run.ticket_error(doing));
        }
        let refusal = (key == "actionunban" && !flag(&run.job.spec, "actionrepair_on_unban"))
            .then_some("Unban");
        if !self.sane(run, family, refusal, doing)? || !run.execute(&command, true) {
            return Err(run.ticket_error(doing));
        }
        Ok(())
    }

    /// Checks the environment and repairs it unless `refusal` names what is then impossible.
    /// False if it is broken and stays so.
    fn sane(
        &mut self,
        run: &mut Run<'_>,
        family: RunFamily,
        refusal: Option<&str>,
        doing: &str,
    ) -> Result<bool, String> {
        let Some(check) = run.prepare("actioncheck", family) else { return Ok(false) };
        if run.execute(&check, false) {
            return Ok(true);
        }
        if let Some(what) = refusal {
            run.say(Level::Error, format!("Invariant check failed. {what} is impossible."));
            return Err(run.ticket_error(doing));
        }
        if run.cancelled() {
            return Err(run.ticket_error(doing));
        }
        run.say(
            Level::Error,
            "Invariant check failed. Trying to restore a sane environment".to_owned(),
        );
        // Whatever was banned before may be gone, also where the repair fails: the engine bans it
        // again.
        run.repaired = true;
        let Some(repair) = run.prepare("actionrepair", family) else { return Ok(false) };
        if repair.is_empty() {
            self.restart(run, family)?;
        } else if !run.execute(&repair, false) {
            self.reset(&run.job.spec, family, false);
            run.say(Level::Critical, "Unable to restore environment".to_owned());
            return Ok(false);
        }
        self.reset(&run.job.spec, family, true);
        if run.execute(&check, false) {
            return Ok(true);
        }
        run.say(Level::Critical, "Unable to restore environment".to_owned());
        Ok(false)
    }

    /// `actionstop` with errors ignored, then `actionstart`.
    fn restart(&mut self, run: &mut Run<'_>, family: RunFamily) -> Result<(), String> {
        let one_for_all = !conditional(&run.job.spec);
        let mut running = vec![family];
        match family {
            // What an id that is no address needs may be anything.
            RunFamily::None => running = self.started(),
            one if self.is_started(one) => {}
            _ if one_for_all && self.is_started(RunFamily::Any) => {}
            _ => running.clear(),
        }
        run.for_each("actionstop", &running);
        if one_for_all || family == RunFamily::None {
            self.starts.clear();
        }
        if family == RunFamily::None {
            self.families.clear();
        } else {
            self.families.set(family, Running::default());
        }
        // Another family that shares the start command lost its environment with it.
        if let Some((_, key)) = self.starts.iter().find(|(f, _)| *f == family).cloned() {
            self.starts.retain(|(_, k)| *k != key);
        }
        self.start(run, &environment(&run.job.spec, family))
    }

    fn flush(&mut self, run: &mut Run<'_>, refusal: Option<&str>) -> Result<(), String> {
        let full = self.families.iter().filter(|(_, s)| s.started && s.items);
        let families: Vec<_> = full.map(|(f, _)| f).collect();
        let empty = |f: &RunFamily| {
            property(&run.job.spec, "actionflush", *f).is_none_or(|t| t.trim().is_empty())
        };
        if families.iter().all(empty) {
            // Without the command the engine takes the bans back one by one.
            return Ok(());
        }
        let failed = run.for_each("actionflush", &families);
        for family in families.iter().filter(|f| !failed.contains(f)) {
            self.families.set(*family, Running { started: true, items: false });
        }
        if !failed.is_empty() {
            let _ = self.check(run, refusal, "flushing");
        }
        run.operation_result("flushing", failed.is_empty())
    }

    /// Checks every environment, and repairs what is broken unless `refusal` names what is then
    /// impossible.
    fn check(
        &mut self,
        run: &mut Run<'_>,
        refusal: Option<&str>,
        doing: &str,
    ) -> Result<(), String> {
        let mut seen = Vec::new();
        let mut result = Ok(());
        for family in self.started() {
            let Some(check) = run.prepare("actioncheck", family) else { continue };
            let key = check.run_key();
            if check.is_empty() || seen.contains(&key) {
                continue;
            }
            seen.push(key);
            match self.sane(run, family, refusal, doing) {
                Ok(true) => {}
                Ok(false) => {
                    self.reset(&run.job.spec, family, false);
                    result = Err(format!(
                        "Unable to restore environment of action {}; see the errors above",
                        run.action()
                    ));
                }
                Err(reason) => result = Err(reason),
            }
        }
        result
    }

    fn stop(&mut self, run: &mut Run<'_>) -> Result<(), String> {
        let families = self.started();
        self.families.clear();
        self.starts.clear();
        let failed = run.for_each("actionstop", &families);
        run.operation_result("stopping", failed.is_empty())
    }
}

impl<'a> Run<'a> {
    /// The family of the ticket.
    fn family(&self) -> RunFamily {
        let Some(ticket) = &self.job.ticket else { return RunFamily::Any };
        RunFamily::of(ticket.address.as_ref().unwrap_or(&ticket.id).family())
    }

    fn action(&self) -> String {
        format!("Jail('{}')/{}", self.job.jail, self.job.spec.name)
    }

    fn operation_result(&self, doing: &str, good: bool) -> Result<(), String> {
        if good {
            return Ok(());
        }
        Err(format!("Error {doing} action {}: 'Script error'", self.action()))
    }

    fn ticket_error(&self, doing: &str) -> String {
        match &self.job.ticket {
            Some(t) => format!("Error {doing} {}", t.address.as_ref().unwrap_or(&t.id)),
            None => format!("Error {doing} action {}", self.action()),
        }
    }

    fn skips_restored(&self) -> bool {
        self.job.ticket.as_ref().is_some_and(|t| t.restored) && flag(&self.job.spec, "norestored")
    }

    fn cancelled(&self) -> bool {
        self.tools.cancel.load(Ordering::Relaxed)
    }

    fn say(&self, level: Level, text: String) {
        (self.log())(Record { level, logger: LOGGER, text });
    }

    fn log(&self) -> LogFn {
        let log = LogFn::clone(self.tools.log);
        if !self.quiet {
            return log;
        }
        Arc::new(move |mut record: Record| {
            record.level = record.level.min(Level::Debug);
            log(record);
        })
    }

    /// A command with the action's properties in it; a circle among them is logged.
    fn prepare(&self, key: &str, family: RunFamily) -> Option<Prepared> {
        prepare(&self.job.spec, key, family)
            .inspect_err(|error| self.say(Level::Error, format!("{}: {error}", self.action())))
            .ok()
    }

    /// Executes a command, for the job's ticket or for the environment as a whole.
    fn execute(&mut self, command: &Prepared, for_ticket: bool) -> bool {
        if command.is_empty() {
            return true;
        }
        let job = self.job;
        let facts = Facts {
            jail: &job.jail,
            counters: job.counters,
            ticket: job.ticket.as_deref().filter(|_| for_ticket),
            family: command.family(),
            now: clock::now().wall,
        };
        let invocation = command.fill(&facts, self.tools.look_up);
        if invocation.is_empty() {
            return true;
        }
        let limit = timeout(&self.job.spec);
        let ended = report::run(&invocation, limit, &[0], self.tools.cancel, &self.log());
        ended.is_some_and(|e| e.good(&[0]))
    }

    /// Executes a command for each family, the same text until it has succeeded once; the families
    /// that failed.
    fn for_each(&mut self, key: &str, families: &[RunFamily]) -> Vec<RunFamily> {
        let mut done = Vec::new();
        let mut failed = Vec::new();
        for &family in families {
            let Some(command) = self.prepare(key, family) else {
                failed.push(family);
                continue;
            };
            let key = command.run_key();
            if done.contains(&key) {
                continue;
            }
            if self.execute(&command, false) {
                done.push(key);
            } else {
                failed.push(family);
            }
        }
        failed
    }
}

fn flag(spec: &ActionSpec, key: &str) -> bool {
    let text = spec.get(key).unwrap_or_default().trim().to_ascii_lowercase();
    matches!(text.as_str(), "1" | "on" | "true" | "yes")
}

/// Whether the action has values for one family.
fn conditional(spec: &ActionSpec) -> bool {
    spec.properties.keys().any(|key| key.contains("?family="))
}

fn on_demand(spec: &ActionSpec) -> bool {
    match spec.get("actionstart_on_demand") {
        Some(_) => flag(spec, "actionstart_on_demand"),
        None => conditional(spec),
    }
}

fn all_families(spec: &ActionSpec) -> Vec<RunFamily> {
    if !conditional(spec) {
        return vec![RunFamily::Any];
    }
    if spec.families.is_empty() {
        return vec![RunFamily::Only(Family::Inet4), RunFamily::Only(Family::Inet6)];
    }
    spec.families.iter().copied().map(RunFamily::Only).collect()
}

/// The families to start for a ban: an id that is no address may need any of them.
fn environment(spec: &ActionSpec, family: RunFamily) -> Vec<RunFamily> {
    match family {
        RunFamily::None => all_families(spec),
        one => vec![one],
    }
}
