//! sekisho's side: configuration → commands → engine → actions, all of it real but the clock.

use std::collections::VecDeque;
use std::fs;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, unbounded};
use sekisho::LogFn;
use sekisho::action::{PastBansFn, Runner};
use sekisho::files::Disk;
use sekisho::store::Store;
use sekisho_config::load::{LoadOptions, Mode, load};
use sekisho_core::command::Words;
use sekisho_core::effect::{Answer, Ask, AskId, Effect, Event, Job, Level, RequestId};
use sekisho_core::engine::{Config, Engine};
use sekisho_core::failure::{Failure, Fields, MatchedLine};
use sekisho_core::id::Id;
use sekisho_core::time::{Monotonic, Now, Span, Timestamp};
use sekisho_core::value::Value;
use sekisho_oracle::copy_dir;

use crate::lives::{BEGIN, Failed, Life, What};
use crate::sandbox::Sandbox;
use crate::transcript::{Seen, left_behind, renew};

/// How long an answer is waited for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// The jails of a sandbox, as our reader sees them.
pub struct Ours {
    sandbox: Sandbox,
    stream: Vec<Words>,
}

impl Ours {
    pub fn new(sandbox: Sandbox, version: &str) -> Ours {
        let options = LoadOptions { mode: Mode::Dump, version, ..LoadOptions::default() };
        let loaded = load(&Disk, &sandbox.config(), &options).unwrap();
        assert!(loaded.broken.is_empty(), "{:?}", loaded.broken);
        Ours { sandbox, stream: loaded.stream }
    }

    /// The commands of one jail.
    fn commands(&self, jail: &str) -> Value {
        let of_jail = |words: &&Words| words.words.get(1).is_some_and(|w| w.to_text() == jail);
        let list = self.stream.iter().filter(of_jail).map(|w| Value::List(w.words.clone()));
        Value::List(list.collect())
    }

    /// What each step of a life called and left behind, and the log.
    pub fn live(&self, life: &Life) -> (Vec<Seen>, Vec<String>) {
        let at = &self.sandbox.folder;
        fs::remove_dir_all(at.join("files")).unwrap();
        copy_dir(&at.join("fresh"), &at.join("files"));
        fs::write(at.join("variant"), format!("{} {}\n", life.answers, life.jail.name)).unwrap();
        let mut world = World::new(life.ipv6);
        let commands = self.commands(&life.jail.name);
        let mut seen = Vec::new();
        for step in &life.steps {
            renew(at, step.trouble.as_deref());
            world.step(life, &step.what, &commands);
            seen.push(left_behind(at));
        }
        renew(at, None);
        world.runner.stop(Span::from_secs(5));
        let log = world.log.lock().unwrap().clone();
        (seen, log)
    }
}

/// A server without sockets, and a clock that only the life moves.
struct World {
    engine: Engine,
    runner: Runner,
    store: Store,
    events: Receiver<Event>,
    now: Now,
    jobs: VecDeque<Job>,
    asks: VecDeque<(AskId, Ask)>,
    log: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn new(ipv6: bool) -> World {
        let (sender, events) = unbounded();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let write: LogFn = {
            let log = Arc::clone(&log);
            Arc::new(move |record| {
                if record.level > Level::Trace {
                    let line = format!("{:?} {}", record.level, record.text);
                    log.lock().unwrap().push(line);
                }
            })
        };
        let store = Store::start(Some(":memory:"), sender.clone(), LogFn::clone(&write)).unwrap();
        let handle = store.handle();
        let past_bans: PastBansFn = Arc::new(move |id, jail| handle.past_bans(id, jail));
        let runner = Runner::start(sender, write, past_bans);
        World {
            engine: Engine::new(Config { ipv6, ..Config::default() }),
            runner,
            store,
            events,
            now: Now { wall: Timestamp::from_secs(BEGIN), mono: Monotonic(1_000_000_000) },
            jobs: VecDeque::new(),
            asks: VecDeque::new(),
            log,
        }
    }

    fn step(&mut self, life: &Life, what: &What, commands: &Value) {
        let jail = &life.jail.name;
        match what {
            What::Start => self.command(vec![Value::str("server-stream"), commands.clone()]),
            What::Fail(failed) => {
                let failures = failed.lines.iter().map(|l| self.failure(failed, l)).collect();
                self.handle(Event::Failures { jail: jail.as_str().into(), failures });
            }
            What::Set(words) => {
                let words = words.iter().map(Value::str);
                let mut all = vec![Value::str("set"), Value::str(jail)];
                all.extend(words);
                self.command(all);
            }
            What::UnbanAll => self.command(vec![Value::str("unban"), Value::str("--all")]),
            What::Pass(seconds) => {
                self.now.wall = self.now.wall.plus(Span::from_secs(*seconds));
                self.now.mono = self.now.mono.plus(Span::from_secs(*seconds));
                self.handle(Event::Tick);
            }
            What::Reload => self.command(vec![
                Value::str("reload"),
                Value::str("--all"),
                Value::List(Vec::new()),
                commands.clone(),
            ]),
            What::Stop => self.command(vec![Value::str("stop"), Value::str(jail)]),
        }
        self.settle();
        // The wall clock goes on, so that no two bans end at once; retries wait for the other one.
        self.now.wall = self.now.wall.plus(Span::from_secs(1));
    }

    fn failure(&self, failed: &Failed, line: &str) -> Failure {
        let mut fields = Fields::default();
        for (key, value) in &failed.fields {
            fields.set(key, Value::str(value));
        }
        Failure {
            id: Id::parse(&failed.id),
            address: failed.address.as_deref().map(Id::parse),
            time: self.now.wall,
            whole: false,
            attempts: 1,
            matches: vec![MatchedLine::Whole(line.to_owned())],
            fields,
        }
    }

    fn command(&mut self, words: Vec<Value>) {
        let request = RequestId(1);
        self.handle(Event::Control { request, words: Words { words, origin: None } });
    }

    fn handle(&mut self, event: Event) {
        let mut out = Vec::new();
        self.engine.handle(self.now, event, &mut out);
        for effect in out {
            match effect {
                Effect::Run(job) => self.jobs.push_back(job),
                Effect::Ask(id, ask) => self.asks.push_back((id, ask)),
                Effect::Store(op) => self.store.op(op),
                Effect::Retire(action) => self.runner.retire(action),
                Effect::Log(record) => {
                    let line = format!("{:?} {}", record.level, record.text);
                    self.log.lock().unwrap().push(line);
                }
                Effect::Keep(..) | Effect::Adopt(..) => panic!("nothing is kept"),
                Effect::Source(_)
                | Effect::Happened { .. }
                | Effect::Reply { .. }
                | Effect::Exit => {}
            }
        }
    }

    /// Performs what there is to do until nothing is left: commands first, then questions.
    fn settle(&mut self) {
        loop {
            if let Some(job) = self.jobs.pop_front() {
                self.runner.run(job);
            } else if let Some((id, ask)) = self.asks.pop_front() {
                match ask {
                    ask @ (Ask::Restore { .. } | Ask::History { .. } | Ask::LogPosition { .. }) => {
                        self.store.ask(id, ask);
                    }
                    Ask::Setting { .. } => {
                        self.handle(Event::Answer(id, Answer::Setting(Ok(Value::None))));
                        continue;
                    }
                    other => panic!("{other:?}"),
                }
            } else {
                return;
            }
            loop {
                let event = self.events.recv_timeout(PATIENCE).unwrap();
                let last = matches!(event, Event::Outcome(..) | Event::Answer(..));
                self.handle(event);
                if last {
                    break;
                }
            }
        }
    }
}
