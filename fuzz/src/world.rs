//! The world that an engine under test lives in: it runs nothing and answers everything.
//!
//! What must hold whatever happens: jobs, questions and clients are known by a number of their own
//! and are answered once; one event has a bounded number of effects, each of a bounded size; and when
//! everything has been answered nothing is left open, so that a server can always be stopped.

use std::collections::{BTreeSet, VecDeque};

use sekisho_core::command::Words;
use sekisho_core::effect::{
    ActionFailure, ActionId, Answer, Ask, AskId, Effect, Event, Job, JobId, RequestId, SourceId,
    SourceOp,
};
use sekisho_core::engine::{Config, Engine};
use sekisho_core::time::{Monotonic, Now, Span, Timestamp};
use sekisho_core::value::Value;

/// Effects of one event: some, and so many for each line or word that was handed in so far.
const EFFECTS: (usize, usize) = (2_000, 200);
/// The longest text of a log record.
const MAX_RECORD: usize = 1 << 20;
/// Rounds in which everything must have come to rest.
const MAX_ROUNDS: usize = 100_000;

/// An engine and what it waits for.
#[derive(Clone)]
pub struct World {
    engine: Engine,
    now: Now,
    jobs: VecDeque<(JobId, ActionId)>,
    asks: VecDeque<(AskId, Ask)>,
    clients: BTreeSet<RequestId>,
    last_reply: Option<Result<Value, String>>,
    next_request: u64,
    highest: u64,
    handed_in: usize,
    sources: Vec<SourceId>,
    exited: bool,
}

/// Words as a client types them.
pub fn words(line: &str) -> Vec<Value> {
    line.split(' ').map(Value::str).collect()
}

impl World {
    /// A world without jails.
    pub fn new() -> World {
        World {
            engine: Engine::new(Config::default()),
            now: Now { wall: Timestamp::from_secs(crate::NOW), mono: Monotonic(1_000_000_000) },
            jobs: VecDeque::new(),
            asks: VecDeque::new(),
            clients: BTreeSet::new(),
            last_reply: None,
            next_request: 1,
            highest: 0,
            handed_in: 0,
            sources: Vec::new(),
            exited: false,
        }
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        self.now
    }

    /// The logs that are read.
    pub fn sources(&self) -> &[SourceId] {
        &self.sources
    }

    /// Whether the engine has said that all is over.
    pub fn exited(&self) -> bool {
        self.exited
    }

    /// Time passes; the wall clock may step.
    pub fn pass(&mut self, mono: Span, wall: Span) {
        self.now.mono = self.now.mono.plus(mono);
        self.now.wall = self.now.wall.plus(wall);
        self.handle(Event::Tick, 0);
    }

    /// Hands in an event of so many lines or words.
    pub fn handle(&mut self, event: Event, size: usize) {
        self.handed_in += size;
        let (some, each) = EFFECTS;
        let mut out = Vec::new();
        self.engine.handle(self.now, event, &mut out);
        assert!(out.len() <= some + each * self.handed_in, "{} effects", out.len());
        let _ = self.engine.next_deadline().wait(self.now);
        out.into_iter().for_each(|effect| self.effect(effect));
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Run(Job { id, action, .. }) => {
                self.is_new(id.0);
                self.jobs.push_back((id, action));
            }
            Effect::Ask(id, ask) => {
                self.is_new(id.0);
                self.asks.push_back((id, ask));
            }
            Effect::Reply { request, result } => {
                assert!(self.clients.remove(&request), "an answer too many");
                self.last_reply = Some(result.map_err(|error| error.text()));
            }
            Effect::Log(record) => {
                let (text, length) = (&record.text, record.text.len());
                assert!(length <= MAX_RECORD, "a record of {length} bytes: {:.200}", text);
            }
            Effect::Source(
                SourceOp::OpenFile { source, .. } | SourceOp::OpenJournal { source, .. },
            ) => self.sources.push(source),
            Effect::Source(SourceOp::Close(source)) => self.sources.retain(|s| *s != source),
            Effect::Exit => self.exited = true,
            _ => {}
        }
    }

    fn is_new(&mut self, number: u64) {
        assert!(number > self.highest, "a number twice");
        self.highest = number;
    }

    /// A client sends words.
    pub fn send(&mut self, words: Vec<Value>) {
        self.send_all(Words { words, origin: None });
    }

    fn send_all(&mut self, words: Words) {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        self.clients.insert(request);
        self.last_reply = None;
        let size = size(&words.words);
        self.handle(Event::Control { request, words }, size);
    }

    /// The answer to words, when all is done.
    pub fn ask(&mut self, words: Words) -> Result<Value, String> {
        self.send_all(words);
        self.settle();
        if self.last_reply.is_none() {
            // The end of a log is waited for, but not for ever.
            let long = Span::from_secs(10);
            self.pass(long, long);
            self.settle();
        }
        self.last_reply.take().expect("an answer")
    }

    /// The oldest or the newest job ends.
    pub fn finish(&mut self, newest: bool, repaired: bool, result: Result<(), ActionFailure>) {
        let job = if newest { self.jobs.pop_back() } else { self.jobs.pop_front() };
        let Some((id, action)) = job else { return };
        if repaired {
            self.handle(Event::Repaired(action), 0);
        }
        self.handle(Event::Outcome(id, result), 0);
    }

    /// The oldest or the newest question is answered; `None` is an answer that fits.
    pub fn answer(&mut self, newest: bool, answer: Option<Answer>) {
        let ask = if newest { self.asks.pop_back() } else { self.asks.pop_front() };
        let Some((id, ask)) = ask else { return };
        let answer = answer.unwrap_or_else(|| match ask {
            Ask::Resolve(_) | Ask::OwnAddresses => Answer::Addresses(Ok(Vec::new())),
            Ask::IgnoreCommand { .. } => Answer::Exit(Ok(1)),
            Ask::IgnoreFile { .. } => Answer::File(Ok(None)),
            Ask::Restore { .. } => Answer::Bans(Vec::new()),
            Ask::History { .. } => Answer::History(None),
            Ask::LogPosition { .. } => Answer::LogPosition(None),
            Ask::Action { .. } => Answer::Property(Ok(Value::None)),
            Ask::Setting { .. } => Answer::Setting(Ok(Value::None)),
            Ask::Origins(_) => Answer::Origins(Vec::new(), None),
        });
        self.handle(Event::Answer(id, answer), 0);
    }

    /// Everything is answered and succeeds.
    pub fn settle(&mut self) {
        for _ in 0..MAX_ROUNDS {
            if !self.asks.is_empty() {
                self.answer(false, None);
            } else if !self.jobs.is_empty() {
                self.finish(false, false, Ok(()));
            } else {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// The server is stopped: whatever has happened, that ends, and every client has its answer.
    pub fn stop(mut self) {
        if !self.exited {
            self.send(words("stop"));
        }
        for _ in 0..1_000 {
            self.settle();
            if self.exited {
                assert_eq!(self.clients, BTreeSet::new(), "clients without an answer");
                return;
            }
            self.pass(Span::from_secs(10), Span::from_secs(10));
        }
        panic!("it does not stop");
    }
}

/// How many values there are.
fn size(values: &[Value]) -> usize {
    let of = |value: &Value| match value {
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => 1 + size(items),
        Value::Dict(items) => {
            1 + items.iter().map(|(_, v)| 1 + size(std::slice::from_ref(v))).sum::<usize>()
        }
        _ => 1,
    };
    values.iter().map(of).sum()
}
