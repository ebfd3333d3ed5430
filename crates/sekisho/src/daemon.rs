//! The server: one thread that owns the engine, and the workers around it.
//!
//! This file wires and dispatches; it decides nothing. The loop must never block on anything but
//! its own queues: every effect is handed to a worker that answers with an event. Control requests
//! and deadlines come before answers, and answers before log lines, so that a flood of lines delays
//! neither an administrator nor an unban.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select, unbounded};
use sekisho_core::command::{CommandError, ErrorClass, Words, int};
use sekisho_core::effect::{
    Answer, Ask, AskId, Effect, Event, Kept, Level, Record, RequestId, SourceOp,
};
use sekisho_core::engine::{Config, Engine};
use sekisho_core::time::Span;
use sekisho_core::value::{Value, repr_str};

use crate::action::{PastBansFn, Runner, ignore_command};
use crate::client::Launch;
use crate::control::events;
use crate::control::socket::{ControlServer, Listen, SocketError};
use crate::log::{FAIL2BAN_VERSION, Logger};
use crate::process::{self, PidFile, Ready};
use crate::resolve::Resolver;
use crate::source::{Events, Inbox, Sources};
use crate::store::{Store, StoreError};
use crate::{clock, handover, source};

/// Batches of lines that may wait; each is at most 256 KiB.
const LINE_QUEUE: usize = 16;
/// The request of the server's own configuration. Ids of clients count up from 1 and never get
/// this far; those of signals are above.
const OWN_REQUEST: RequestId = RequestId(1 << 62);
/// How long actions that still run may take once the engine has said that all is stopped.
const LAST_ACTIONS: Span = Span::from_secs(5);
/// How long clients may take to read their last answers.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How long the loop rests between two ticks where a deadline stays due.
const BETWEEN_TICKS: Duration = Duration::from_millis(1);

/// Why the server could not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another server, or no way to make the socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Threads or signal handlers.
    #[error("cannot start: {0}")]
    Io(#[from] std::io::Error),
    /// The thread of the database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Runs the server until it is stopped; `launch.ready` is told once it can be talked to, or why it
/// cannot. The exit code of the process: 0, or 255 where it could not start.
pub fn run(mut launch: Launch) -> u8 {
    let (logger, trouble) = Logger::start(&launch.log);
    if let Some(trouble) = trouble {
        report(&logger, Level::Error, format!("{trouble}; logging to standard error instead"));
    }
    match Server::start(&mut launch, logger.clone()) {
        Ok(server) => server.run(launch.stream.unwrap_or_default(), launch.ready),
        Err(error) => {
            let text = error.to_string();
            report(&logger, Level::Error, format!("Could not start server: {text}"));
            logger.sync(LAST_ANSWERS);
            launch.ready.report(Err(&text));
            255
        }
    }
}

fn report(logger: &Logger, level: Level, text: String) {
    logger.log(Record { level, logger: "fail2ban.server", text });
}

struct Server {
    engine: Engine,
    logger: Logger,
    control: ControlServer,
    runner: Runner,
    store: Store,
    sources: Sources,
    resolver: Resolver,
    /// Clients and signals.
    requests: Receiver<Event>,
    /// Outcomes and answers; at most one for each job or question under way.
    answers: Receiver<Event>,
    answer: Sender<Event>,
    /// Batches of lines, bounded: a source that is read faster than we match waits.
    lines: Inbox,
    line: Sender<Events>,
    out: Vec<Effect>,
    /// `stacksize` of `set thread`, which has no effect.
    stack_size: i64,
    /// Questions and jobs that are not answered yet.
    open: usize,
    /// The last event was a tick: a deadline that is due all the same lets others go first.
    ticked: bool,
    /// The stop at the end of standard input: it waits until all that was read has been judged, for
    /// a question (is this one of our own addresses?) may be between a line and its ban.
    last: Option<Event>,
    /// Set by the engine's last effect; what it answers along with it is told at the very end, so
    /// that who reads the answer to `stop` finds nothing running any more.
    exit: bool,
    last_words: Vec<(RequestId, Result<Value, CommandError>)>,
    /// What is to be in force until the next start.
    kept: Vec<Kept>,
    /// Where that is written.
    handover: PathBuf,
    /// Removed at the end; found at a start, it says that the last end was none of ours.
    pid: Option<PidFile>,
}

impl Server {
    fn start(launch: &mut Launch, logger: Logger) -> Result<Server, StartError> {
        report(&logger, Level::Info, "-".repeat(50));
        report(&logger, Level::Info, format!("Starting Fail2ban v{FAIL2BAN_VERSION}"));
        report(&logger, Level::Info, format!("This is sekisho {}", env!("CARGO_PKG_VERSION")));
        let (request, requests) = unbounded();
        let (answer, answers) = unbounded();
        let (line, lines) = source::inbox(LINE_QUEUE);
        // The socket first: it tells whether another server runs, before anything is touched.
        let listen = match launch.inherited.take() {
            Some(listener) => {
                let text = format!("Using socket activation, inherited socket {:?}", launch.socket);
                report(&logger, Level::Info, text);
                Listen::Inherited(listener)
            }
            None => Listen::Path { path: &launch.socket, force: launch.force },
        };
        let control = ControlServer::start(listen, request.clone(), logger.func())?;
        let unclean = launch.pidfile.exists();
        let pid = match PidFile::create(&launch.pidfile) {
            Ok(pid) => Some(pid),
            Err(error) => {
                let path = launch.pidfile.display();
                report(&logger, Level::Error, format!("Unable to create PID file {path}: {error}"));
                None
            }
        };
        let handover = handover::path(&launch.pidfile);
        let kept = handover::take(&handover);
        if let Err(error) = &kept {
            let file = handover.display();
            let text = format!("{file} cannot be used ({error}): the actions start anew");
            report(&logger, Level::Warning, text);
        }
        process::forward_signals(request)?;
        if matches!(launch.ready, Ready::Background) {
            report(&logger, Level::Info, "Daemon started".into());
        }
        let text = "Observer start...".into();
        logger.log(Record { level: Level::Info, logger: "fail2ban.observer", text });
        // No file yet: `set dbfile` names it before the first jail.
        let mut store = Store::start(None, answer.clone(), logger.func())?;
        store.note_bans(&launch.pidfile.with_extension("bans"));
        let handle = store.handle();
        let past_bans: PastBansFn = Arc::new(move |id, jail| handle.past_bans(id, jail));
        let runner = Runner::start(answer.clone(), logger.func(), past_bans.clone());
        let folder = Some(launch.pidfile.with_extension("journal"));
        let options = source::Options { folder, ..source::Options::default() };
        let sources = Sources::start_with(line.clone(), logger.func(), options)?;
        let ipv6 = ipv6_allowed();
        let resolver =
            Resolver::start(answer.clone(), ipv6, ignore_command(logger.func(), past_bans))?;
        let engine = Engine::new(Config {
            zone: clock::zone(),
            version: FAIL2BAN_VERSION.into(),
            ipv6,
            seed: RandomState::new().hash_one(clock::now().wall.0),
            inotify: source::watch::available(),
            unclean_start: unclean || kept.is_err(),
            kept: kept.unwrap_or_default(),
            known_encoding: |name| source::encoding::Encoding::from_python_name(name).is_some(),
            ..Config::default()
        });
        Ok(Server {
            engine,
            logger,
            control,
            runner,
            store,
            sources,
            resolver,
            requests,
            answers,
            answer,
            lines,
            line,
            out: Vec::new(),
            stack_size: 0,
            open: 0,
            ticked: false,
            last: None,
            exit: false,
            last_words: Vec::new(),
            kept: Vec::new(),
            handover,
            pid,
        })
    }

    fn run(mut self, stream: Vec<Words>, ready: Ready) -> u8 {
        if !stream.is_empty() {
            let words = stream.into_iter().map(|line| Value::List(line.words)).collect();
            let words = vec![Value::str("server-stream"), Value::List(words)];
            let words = Words { words, origin: None };
            self.handle(Event::Control { request: OWN_REQUEST, words });
        }
        ready.report(Ok(()));
        while !self.exit {
            match self.next() {
                Event::Control { request: source::stdin::END, words } if self.last.is_none() => {
                    let request = process::SIGNAL_STOP;
                    self.last = Some(Event::Control { request, words });
                }
                event => self.handle(event),
            }
        }
        self.end();
        0
    }

    /// The next event by rank: requests, deadlines, answers, lines.
    fn next(&mut self) -> Event {
        if self.open == 0
            && let Some(stop) = self.last.take()
        {
            return stop;
        }
        if let Ok(event) = self.requests.try_recv() {
            return event;
        }
        let wait = self.engine.next_deadline().wait(clock::now());
        let Some(rest) = rest(wait, std::mem::take(&mut self.ticked)) else {
            self.ticked = true;
            return Event::Tick;
        };
        if let Ok(event) = self.answers.try_recv() {
            return event;
        }
        if let Some(event) = self.lines.take() {
            return event;
        }
        select! {
            recv(self.requests) -> event => event.unwrap_or(Event::Tick),
            recv(self.answers) -> event => event.unwrap_or(Event::Tick),
            recv(self.lines.receiver()) -> events => {
                self.lines.begin(events.unwrap_or_default()).unwrap_or(Event::Tick)
            }
            default(rest) => {
                self.ticked = true;
                Event::Tick
            }
        }
    }

    fn handle(&mut self, event: Event) {
        if matches!(event, Event::Answer(..) | Event::Outcome(..)) {
            self.open = self.open.saturating_sub(1);
        }
        let mut out = std::mem::take(&mut self.out);
        self.engine.handle(clock::now(), event, &mut out);
        self.exit |= out.iter().any(|effect| matches!(effect, Effect::Exit));
        // Changes of the database first and together: a killed process has made all or none of them,
        // and questions asked with them see them. What chooses another database keeps its place.
        let mut rest = Vec::with_capacity(out.len());
        let mut changes = Vec::new();
        for effect in out.drain(..) {
            match effect {
                Effect::Store(op) => changes.push(op),
                effect @ Effect::Ask(_, Ask::Setting { .. }) => {
                    self.store.ops(std::mem::take(&mut changes));
                    rest.drain(..).for_each(|effect| self.perform(effect));
                    self.perform(effect);
                }
                effect => rest.push(effect),
            }
        }
        self.store.ops(changes);
        rest.into_iter().for_each(|effect| self.perform(effect));
        self.out = out;
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Run(job) => {
                self.open = self.open.saturating_add(1);
                self.runner.run(job);
            }
            Effect::Retire(action) => self.runner.retire(action),
            Effect::Adopt(action, families) => self.runner.adopt(action, families),
            Effect::Keep(action, mut kept) => {
                kept.families = self.runner.started(action);
                self.kept.push(kept);
            }
            Effect::Store(op) => self.store.op(op),
            Effect::Source(op) => self.source(op),
            Effect::Log(record) => self.logger.log(record),
            Effect::Ask(id, ask) => {
                self.open = self.open.saturating_add(1);
                self.ask(id, ask);
            }
            Effect::Happened { jail, what } => {
                self.control.tell(|| events::line(clock::now().wall, &clock::zone(), &jail, &what))
            }
            Effect::Reply { request, result } => self.reply(request, result),
            Effect::Exit => {}
        }
    }

    fn source(&mut self, op: SourceOp) {
        match op {
            SourceOp::OpenFile { source, path, .. } if path == source::stdin::PATH => {
                source::stdin::start(source, self.line.clone());
            }
            op => self.sources.apply(op),
        }
    }

    fn reply(&mut self, request: RequestId, result: Result<Value, CommandError>) {
        if request < OWN_REQUEST {
            if self.exit {
                self.last_words.push((request, result));
            } else {
                self.control.reply(request, result);
            }
        } else if let Err(error) = result {
            report(&self.logger, Level::Error, format!("NOK: {error}"));
        }
    }

    fn ask(&mut self, id: AskId, ask: Ask) {
        match ask {
            Ask::Restore { .. } | Ask::History { .. } | Ask::LogPosition { .. } => {
                self.store.ask(id, ask);
            }
            Ask::Setting { name, value } => {
                let value = value.as_ref();
                let answer = match name.as_str() {
                    "dbfile" => self.database_file(value),
                    "dbmaxmatches" | "dbpurgeage" if self.store.path().is_none() => Ok(Value::None),
                    "dbmaxmatches" | "dbpurgeage" => self.store.setting(&name, value),
                    "thread" => self.thread(value),
                    _ => log_setting(&self.logger, &name, value),
                };
                let _ = self.answer.send(Event::Answer(id, Answer::Setting(answer)));
            }
            Ask::Action { action, counters, what } => {
                self.runner.ask(id, action, counters, what);
            }
            ask => self.resolver.ask(id, ask),
        }
    }

    /// `thread`: the stacks of our threads are the system's business, so a size is only kept.
    fn thread(&mut self, value: Option<&Value>) -> Result<Value, CommandError> {
        if let Some(size) = value.map(stack_size).transpose()?.flatten() {
            self.stack_size = size;
        }
        Ok(Value::Dict(vec![(Value::str("stacksize"), Value::Int(self.stack_size))]))
    }

    /// `dbfile`: opens it where a value is given. What its last user left behind is known then.
    fn database_file(&mut self, value: Option<&Value>) -> Result<Value, CommandError> {
        if let Some(value) = value {
            self.store
                .set_file(Some(&value.to_text()))
                .map_err(|e| CommandError::new(ErrorClass::Exception, e.to_string()))?;
            if self.store.was_unclean() {
                self.engine.set_unclean_start();
            }
        }
        Ok(self.store.path().map_or(Value::None, Value::str))
    }

    /// Everything has been stopped by the engine: let the workers finish, then leave no trace.
    fn end(mut self) {
        self.sources.stop();
        self.runner.stop(LAST_ACTIONS);
        self.store.stop(LAST_ACTIONS);
        if !self.kept.is_empty()
            && let Err(error) = handover::write(&self.handover, &self.kept)
        {
            let file = self.handover.display();
            let text = format!(
                "{file} cannot be written ({error}): what is banned stays in the firewall until it \
                 is removed by hand, or banned anew"
            );
            report(&self.logger, Level::Error, text);
        }
        report(&self.logger, Level::Info, "Exiting Fail2ban".into());
        self.logger.sync(LAST_ANSWERS);
        drop(self.pid.take());
        self.control.withdraw();
        for (request, result) in self.last_words.drain(..) {
            self.control.reply(request, result);
        }
        self.control.close(LAST_ANSWERS);
    }
}

/// How long to wait for an event until the next deadline; `None` to tick at once. Should a tick not
/// do what was due, then answers get in before the next one, and no processor is kept busy with it.
fn rest(wait: Option<Span>, ticked: bool) -> Option<Duration> {
    match wait {
        // Without a deadline an hour is as good as for ever.
        None => Some(Duration::from_secs(3600)),
        Some(span) if span.0 > 0 => Some(Duration::from_micros(span.0.unsigned_abs())),
        Some(_) if ticked => Some(BETWEEN_TICKS),
        Some(_) => None,
    }
}

/// `loglevel`, `logtarget`, `syslogsocket`, `flushlogs`.
fn log_setting(logger: &Logger, name: &str, value: Option<&Value>) -> Result<Value, CommandError> {
    match (name, value) {
        ("flushlogs", _) => Ok(Value::str(logger.flush())),
        (name, Some(value)) => logger.set(name, value),
        (name, None) => logger.get(name).ok_or_else(|| {
            CommandError::new(ErrorClass::Exception, format!("there is no setting {name}"))
        }),
    }
}

/// The number in `set thread {'stacksize': N}`.
fn stack_size(value: &Value) -> Result<Option<i64>, CommandError> {
    let Value::Dict(options) = value else {
        let text = format!("{} object has no attribute 'items'", repr_str(value.type_name()));
        return Err(CommandError::new(ErrorClass::AttributeError, text));
    };
    let mut size = None;
    for (name, number) in options {
        if name.as_str() != Some("stacksize") {
            let text = format!("unknown option {}", name.repr());
            return Err(CommandError::new(ErrorClass::KeyError, text));
        }
        size = Some(int(number)?);
    }
    Ok(size)
}

/// What `allowipv6 = auto` means here: whether the kernel has IPv6 switched on.
fn ipv6_allowed() -> bool {
    fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6")
        .is_ok_and(|text| text.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_stays_due_does_not_spin() {
        for (wait, ticked, expected) in [
            (None, false, Some(3_600_000_000)),
            (None, true, Some(3_600_000_000)),
            (Some(5), false, Some(5)),
            (Some(5), true, Some(5)),
            (Some(0), false, None),
            (Some(-7), false, None),
            (Some(0), true, Some(1000)),
            (Some(-7), true, Some(1000)),
        ] {
            let got = rest(wait.map(Span), ticked).map(|rest| rest.as_micros());
            assert_eq!(got, expected, "{wait:?} {ticked}");
        }
    }
}
