//! One engine, a clock that only the test moves, and everything that came out.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use sekisho_core::command::Words;
use sekisho_core::effect::*;
use sekisho_core::engine::{Config, Engine};
use sekisho_core::failure::Failure;
use sekisho_core::ticket::Ticket;
use sekisho_core::time::{Monotonic, Now, Span, Timestamp};
use sekisho_core::value::Value;

pub struct Lab {
    pub engine: Engine,
    pub now: Now,
    /// Questions are answered by the test.
    pub own_work: bool,
    pub rows: Vec<StoredBan>,
    pub exited: bool,
    pub kept: Vec<Kept>,
    pub closed: Vec<SourceId>,
    pub jobs: VecDeque<Job>,
    ran: Vec<String>,
    asks: VecDeque<(AskId, Ask)>,
    logs: Vec<String>,
    told: Vec<String>,
    stores: Vec<String>,
    sources: Vec<SourceId>,
    starts: Vec<StartAt>,
    replies: Vec<(RequestId, Result<Value, String>)>,
    requests: u64,
}

pub fn words(line: &str) -> Vec<Value> {
    // The first words are separated; a regular expression at the end keeps its blanks.
    let many = if line.contains("regex ") { 4 } else { usize::MAX };
    line.splitn(many, ' ').map(Value::str).collect()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn job_text(job: &Job) -> String {
    let id = job.ticket.as_ref().map(|t| t.id.to_string()).unwrap_or_default();
    format!("{} {:?} {id}", job.spec.name, job.op)
}

impl Lab {
    pub fn new() -> Self {
        Self {
            engine: Engine::new(Config::default()),
            now: Now { wall: Timestamp::from_secs(1_700_000_000), mono: Monotonic(1_000_000_000) },
            own_work: false,
            rows: Vec::new(),
            exited: false,
            closed: Vec::new(),
            jobs: VecDeque::new(),
            ran: Vec::new(),
            asks: VecDeque::new(),
            logs: Vec::new(),
            told: Vec::new(),
            stores: Vec::new(),
            sources: Vec::new(),
            starts: Vec::new(),
            replies: Vec::new(),
            requests: 0,
            kept: Vec::new(),
        }
    }

    /// What followers were told since the last call.
    pub fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    pub fn handle(&mut self, event: Event) {
        let mut out = Vec::new();
        self.engine.handle(self.now, event, &mut out);
        for effect in out {
            match effect {
                Effect::Run(job) => self.jobs.push_back(job),
                Effect::Ask(id, ask) => self.asks.push_back((id, ask)),
                Effect::Store(op) => self.stores.push(match op {
                    StoreOp::AddBan { ticket, .. } => format!(
                        "AddBan {} {} {}",
                        ticket.id,
                        ticket.ban_time.as_secs(),
                        ticket.ban_count
                    ),
                    StoreOp::DeleteBan { id, .. } => format!("DeleteBan {id}"),
                    StoreOp::DisableJail(_) => "DisableJail".into(),
                    StoreOp::LogPosition { jail, position, .. } => {
                        format!("LogPosition {jail} {}", position.offset)
                    }
                    other => format!("{other:?}"),
                }),
                Effect::Log(record) => {
                    let level = format!("{:?}", record.level).to_uppercase();
                    self.logs.push(format!("{level} {}", record.text));
                }
                Effect::Happened { jail, what } => {
                    let who = |ticket: &Ticket| ticket.id.to_string();
                    let told = match what {
                        Happening::Started => "started".into(),
                        Happening::Stopped => "stopped".into(),
                        Happening::Found(id, _) => format!("found {id}"),
                        Happening::Ignored(id, rule) => format!("ignored {id} by {rule}"),
                        Happening::Banned(t) if t.restored => format!("restored {}", who(&t)),
                        Happening::Banned(t) => format!("banned {}", who(&t)),
                        Happening::Prolonged(t) => format!("prolonged {}", who(&t)),
                        Happening::NotEnforced(id, why) => format!("not enforced {id}: {why}"),
                        Happening::Unbanned(id) => format!("unbanned {id}"),
                        Happening::Repealed(id) => format!("repealed {id}"),
                    };
                    self.told.push(format!("{jail} {told}"));
                }
                Effect::Source(
                    SourceOp::OpenFile { source, start, .. }
                    | SourceOp::OpenJournal { source, start, .. },
                ) => {
                    self.sources.push(source);
                    self.starts.push(start);
                }
                Effect::Source(SourceOp::Close(source)) => self.closed.push(source),
                Effect::Retire(_) | Effect::Adopt(_, _) => {}
                Effect::Keep(_, kept) => self.kept.push(kept),
                Effect::Reply { request, result } => {
                    self.replies.push((request, result.map_err(|e| e.text())));
                }
                Effect::Exit => self.exited = true,
            }
        }
        while !self.own_work && !self.asks.is_empty() {
            let answer = match &self.asks[0].1 {
                Ask::Resolve(_) | Ask::OwnAddresses => Answer::Addresses(Ok(vec![])),
                Ask::IgnoreCommand { .. } => Answer::Exit(Ok(1)),
                Ask::IgnoreFile { .. } => Answer::File(Ok(None)),
                Ask::Restore { .. } => Answer::Bans(self.rows.clone()),
                Ask::History { .. } => Answer::History(None),
                Ask::LogPosition { .. } => Answer::LogPosition(None),
                Ask::Action { .. } => Answer::Property(Ok(Value::None)),
                Ask::Setting { .. } => Answer::Setting(Ok(Value::None)),
                Ask::Origins(_) => Answer::Origins(vec![], None),
            };
            self.answer(answer);
        }
    }

    pub fn send(&mut self, words: Vec<Value>) {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.handle(Event::Control { request, words: Words { words, origin: None } });
    }

    /// Sends a command that answers at once; its value as Python shows it.
    pub fn ask(&mut self, line: &str) -> String {
        self.send(words(line));
        self.last_reply().unwrap().repr()
    }

    /// As [`Lab::ask`], for one that is refused.
    pub fn ask_error(&mut self, line: &str) -> String {
        self.send(words(line));
        self.last_reply().unwrap_err()
    }

    /// Leaves all questions so far without an answer.
    pub fn drop_asks(&mut self) {
        self.asks.clear();
    }

    /// Whether the last client still waits.
    pub fn open_reply(&self) -> bool {
        !self.replies.iter().any(|(id, _)| id.0 == self.requests)
    }

    pub fn last_reply(&self) -> Result<Value, String> {
        let of_last: Vec<_> = self.replies.iter().filter(|(id, _)| id.0 == self.requests).collect();
        assert_eq!(of_last.len(), 1, "replies to the last command");
        of_last[0].1.clone()
    }

    pub fn fail(&mut self, failure: Failure) {
        self.handle(Event::Failures { jail: Arc::from("j"), failures: vec![failure] });
    }

    /// Answers the first question.
    pub fn answer(&mut self, answer: Answer) {
        let (id, _) = self.asks.pop_front().expect("a question");
        self.handle(Event::Answer(id, answer));
    }

    /// Ends the first job.
    pub fn finish(&mut self, result: Result<(), &str>) {
        let job = self.jobs.pop_front().expect("a job");
        self.ran.push(job_text(&job));
        let failed = |reason: &str| ActionFailure { reason: reason.into(), repaired: false };
        self.handle(Event::Outcome(job.id, result.map_err(failed)));
    }

    /// While the first job runs, its action is found broken and repaired.
    pub fn repaired(&mut self) {
        let action = self.jobs[0].action;
        self.handle(Event::Repaired(action));
    }

    /// All jobs succeed.
    pub fn work(&mut self) {
        for _ in 0..10_000 {
            if self.jobs.is_empty() {
                return;
            }
            self.finish(Ok(()));
        }
        panic!("jobs without end");
    }

    pub fn tick(&mut self) {
        self.handle(Event::Tick);
    }

    /// Time passes on both clocks.
    pub fn pass(&mut self, span: Span) {
        self.now.mono = self.now.mono.plus(span);
        self.step_wall(span);
        self.tick();
    }

    pub fn step_wall(&mut self, span: Span) {
        self.now.wall = self.now.wall.plus(span);
    }

    pub fn jobs_text(&self) -> Vec<String> {
        self.jobs.iter().map(job_text).collect()
    }

    pub fn ran(&self) -> Vec<String> {
        self.ran.clone()
    }

    pub fn asks_text(&self) -> Vec<String> {
        let text = |ask: &Ask| match ask {
            Ask::IgnoreCommand { command, ticket, .. } => {
                let (time, failures) = (ticket.ban_time.as_secs(), ticket.failures);
                format!("IgnoreCommand {command} ({time} s, {failures} failures)")
            }
            other => format!("{other:?}"),
        };
        self.asks.iter().map(|(_, ask)| text(ask)).collect()
    }

    pub fn stored(&self) -> Vec<String> {
        self.stores.iter().filter(|s| *s != "Purge").cloned().collect()
    }

    pub fn sources(&self) -> Vec<SourceId> {
        self.sources.clone()
    }

    /// Where reading of the last source begins.
    pub fn last_start(&self) -> StartAt {
        self.starts.last().expect("a source").clone()
    }

    /// The last source is a file that is read from here on, which is its end.
    pub fn end_is_at(&mut self, position: &Position) {
        let source = *self.sources.last().expect("a source");
        self.handle(Event::Source(source, SourceState::Open(position.clone())));
        self.handle(Event::Source(source, SourceState::CaughtUp));
    }

    pub fn log_has(&self, line: &str) -> bool {
        self.logs.iter().any(|l| l == line)
    }

    pub fn logs_with(&self, part: &str) -> Vec<&str> {
        self.logs.iter().map(String::as_str).filter(|l| l.contains(part)).collect()
    }

    pub fn count_log(&self, part: &str) -> usize {
        self.logs_with(part).len()
    }

    /// What happened so far does not matter.
    pub fn forget(&mut self) {
        self.ran.clear();
        self.logs.clear();
        self.stores.clear();
    }
}
