//! The world: a kernel that remembers per action whom it blocks, a database, lanes, clocks.
//!
//! Invariants: an id is never banned twice in the kernel without an attempt to unban it between;
//! never unbanned without an attempt to ban it before; every job, question and client is answered
//! once; no deadline is left behind; whom a jail shows as banned is blocked by all of its actions that
//! ban; and when all is quiet, kernel = bans shown = bans stored.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use sekisho_core::command::Words;
use sekisho_core::effect::*;
use sekisho_core::engine::{Config, Engine};
use sekisho_core::failure::{Failure, Fields, MatchedLine};
use sekisho_core::id::Id;
use sekisho_core::ticket::{BanTime, Ticket};
use sekisho_core::time::{Monotonic, Now, Timestamp};
use sekisho_core::value::Value;

use sekisho_oracle::Random;

const IDS: [&str; 6] =
    ["192.0.2.1", "192.0.2.2", "198.51.100.7", "2001:db8::1", "203.0.113.0/24", "some user"];
const JAILS: [&str; 3] = ["alpha", "beta", "gamma"];
/// `snake` and `letter` are written in Python: `snake` enforces, `letter` only tells.
const ACTIONS: [&str; 5] = ["single", "flush", "mail", "snake", "letter"];

/// What one action blocks, as the kernel sees it.
#[derive(Default)]
struct Table {
    blocked: BTreeSet<String>,
    /// A ban was tried since the last unban that may have worked.
    tried: BTreeSet<String>,
    /// An unban was tried since the last ban.
    lifted: BTreeSet<String>,
    /// The last ban failed: what is in force is not known.
    unsure: BTreeSet<String>,
    /// Someone emptied it behind our back.
    wrecked: bool,
}

#[derive(Clone)]
struct JailConfig {
    max_retry: i64,
    ban_time: i64,
    increment: bool,
    actions: Vec<&'static str>,
    port: i64,
}

pub struct World {
    pub talk: bool,
    random: Random,
    engine: Engine,
    wall: i64,
    mono: u64,
    kernel: BTreeMap<(String, String), Table>,
    bips: BTreeMap<(String, String), Ticket>,
    lanes: BTreeMap<String, VecDeque<Job>>,
    outcomes: BTreeMap<String, VecDeque<Event>>,
    asks: Vec<(AskId, Answer)>,
    jobs_open: BTreeSet<JobId>,
    asks_open: BTreeSet<AskId>,
    replies: BTreeMap<RequestId, Option<Value>>,
    next_request: u64,
    config: BTreeMap<&'static str, JailConfig>,
    ignored: BTreeSet<String>,
    fail_percent: usize,
    unclean: bool,
    /// What the last server left in force for the next.
    kept: Vec<Kept>,
    exited: bool,
    /// Python actions that have a process.
    loaded: BTreeSet<ActionId>,
    snake: Traits,
}

fn is_python(action: &str) -> bool {
    matches!(action, "snake" | "letter")
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
        let unclean = random.chance(30);
        let snake = Traits { enforces: true, flush: random.chance(50), ..Traits::default() };
        let mut world = Self {
            loaded: BTreeSet::new(),
            snake,
            talk: false,
            engine: Engine::new(Config::default()),
            random,
            wall: 1_700_000_000_000_000,
            mono: 5_000_000,
            kernel: BTreeMap::new(),
            bips: BTreeMap::new(),
            lanes: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            asks: Vec::new(),
            jobs_open: BTreeSet::new(),
            asks_open: BTreeSet::new(),
            replies: BTreeMap::new(),
            next_request: 1,
            config: BTreeMap::new(),
            ignored: BTreeSet::new(),
            fail_percent: 0,
            unclean,
            kept: Vec::new(),
            exited: false,
        };
        world.reconfigure();
        world.boot();
        world
    }

    fn now(&self) -> Now {
        Now { wall: Timestamp(self.wall), mono: Monotonic(self.mono) }
    }

    fn say(&self, text: impl FnOnce() -> String) {
        if self.talk {
            eprintln!("{:>12} {}", self.mono / 1000, text());
        }
    }

    fn reconfigure(&mut self) {
        for name in JAILS {
            if self.random.chance(25) {
                self.config.remove(name);
                continue;
            }
            let mut actions: Vec<&'static str> = Vec::new();
            for action in ACTIONS {
                if self.random.chance(if is_python(action) { 40 } else { 65 }) {
                    actions.push(action);
                }
            }
            let jail = JailConfig {
                max_retry: 1 + self.random.below(3) as i64,
                ban_time: *self.random.pick(&[30, 60, 600, -1]),
                increment: self.random.chance(30),
                actions,
                port: 22 + self.random.below(2) as i64,
            };
            self.config.insert(name, jail);
        }
        if self.config.is_empty() {
            let jail = JailConfig {
                max_retry: 2,
                ban_time: 60,
                increment: false,
                actions: vec!["single", "flush", "mail"],
                port: 22,
            };
            self.config.insert("alpha", jail);
        }
    }

    fn stream(&self) -> Value {
        let mut list = Vec::new();
        let command = |words: Vec<Value>| Value::List(words);
        let s = |text: &str| Value::str(text);
        for (name, jail) in &self.config {
            list.push(command(vec![s("add"), s(name), s("polling")]));
            let set = |list: &mut Vec<Value>, key: &str, value: Value| {
                list.push(command(vec![s("set"), s(name), s(key), value]));
            };
            set(&mut list, "maxretry", Value::Int(jail.max_retry));
            set(&mut list, "bantime", Value::Int(jail.ban_time));
            set(&mut list, "bantime.increment", Value::Bool(jail.increment));
            set(&mut list, "ignoreself", Value::Bool(false));
            for id in &self.ignored {
                set(&mut list, "addignoreip", s(id));
            }
            for action in &jail.actions {
                if is_python(action) {
                    let (file, params) = (format!("/x/{action}.py"), format!("[{}]", jail.port));
                    let words =
                        [s("set"), s(name), s("addaction"), s(action), s(&file), s(&params)];
                    list.push(command(words.to_vec()));
                    continue;
                }
                set(&mut list, "addaction", s(action));
                let mut pairs = vec![("actionban", "ban"), ("actname", action)];
                if *action != "mail" {
                    pairs.push(("actionunban", "unban"));
                }
                if *action == "flush" {
                    pairs.push(("actionflush", "flush"));
                    pairs.push(("actioncheck", "check"));
                }
                let mut pairs: Vec<Value> =
                    pairs.into_iter().map(|(k, v)| Value::List(vec![s(k), s(v)])).collect();
                pairs.push(Value::List(vec![s("port"), Value::Int(jail.port)]));
                list.push(command(vec![
                    s("multi-set"),
                    s(name),
                    s("action"),
                    s(action),
                    Value::List(pairs),
                ]));
            }
            list.push(command(vec![s("start"), s(name)]));
        }
        Value::List(list)
    }

    fn boot(&mut self) {
        let unclean_start = self.unclean;
        let kept = std::mem::take(&mut self.kept);
        let seed = self.random.number();
        self.engine = Engine::new(Config { unclean_start, seed, kept, ..Config::default() });
        self.exited = false;
        self.loaded.clear();
        let stream = self.stream();
        self.send(vec![Value::str("server-stream"), stream]);
    }

    fn send(&mut self, words: Vec<Value>) -> RequestId {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        self.say(|| format!("> {}", Value::List(words.clone()).repr()));
        self.replies.insert(request, None);
        self.handle(Event::Control { request, words: Words { words, origin: None } });
        request
    }

    fn command(&mut self, words: &[&str]) -> RequestId {
        self.send(words.iter().map(|w| Value::str(*w)).collect())
    }

    fn handle(&mut self, event: Event) {
        let mut out = Vec::new();
        self.engine.handle(self.now(), event, &mut out);
        for effect in out {
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Run(job) => {
                self.say(|| {
                    let id = job.ticket.as_ref().map(|t| t.id.to_string()).unwrap_or_default();
                    format!("run {:?} {}/{} {:?} {id}", job.id, job.jail, job.spec.name, job.op)
                });
                assert!(self.jobs_open.insert(job.id), "a job twice");
                self.lanes.entry(job.spec.name.clone()).or_default().push_back(job);
            }
            Effect::Ask(id, ask) => {
                assert!(self.asks_open.insert(id), "a question twice");
                let answer = self.answer(&ask);
                self.asks.push((id, answer));
            }
            Effect::Store(op) => self.store(op),
            Effect::Log(record) => {
                self.say(|| format!("log {:?} {}", record.level, record.text));
                if let Some((who, rest)) = record.text.split_once(" may still be banned by '") {
                    // The administrator does as told.
                    let (jail, id) = who.split_once("] ").unwrap();
                    let action = rest.split_once('\'').unwrap().0;
                    let key = (jail[1..].to_owned(), action.to_owned());
                    self.kernel.entry(key).or_default().blocked.remove(id);
                }
            }
            Effect::Reply { request, result } => {
                let slot = self.replies.get_mut(&request).expect("a reply to nobody");
                assert!(slot.is_none(), "two replies");
                *slot = Some(result.unwrap_or(Value::None));
            }
            Effect::Exit => self.exited = true,
            Effect::Keep(_, kept) => self.kept.push(kept),
            Effect::Adopt(..) | Effect::Retire(_) | Effect::Source(_) | Effect::Happened { .. } => {
            }
        }
    }

    fn answer(&mut self, ask: &Ask) -> Answer {
        match ask {
            Ask::Resolve(_) | Ask::OwnAddresses => Answer::Addresses(Ok(vec![])),
            Ask::IgnoreCommand { .. } => Answer::Exit(Ok(1)),
            Ask::IgnoreFile { .. } => Answer::File(Ok(None)),
            Ask::Restore { jail } => Answer::Bans(
                self.bips
                    .iter()
                    .filter(|((j, _), _)| **j == **jail)
                    .map(|(_, ticket)| StoredBan { ticket: ticket.clone() })
                    .collect(),
            ),
            Ask::History { jail, id } => {
                let rows = self.bips.iter().filter(|((j, i), _)| {
                    jail.as_ref().is_none_or(|jail| **j == **jail) && *i == id.to_string()
                });
                let last = rows.map(|(_, t)| t).max_by_key(|t| t.time);
                Answer::History(last.map(|t| History {
                    count: t.ban_count,
                    last: t.time,
                    ban_time: t.ban_time.as_secs(),
                }))
            }
            Ask::LogPosition { .. } => Answer::LogPosition(None),
            Ask::Action { .. } => Answer::Property(Ok(Value::None)),
            Ask::Setting { .. } => Answer::Setting(Ok(Value::None)),
            Ask::Origins(_) => Answer::Origins(vec![], None),
        }
    }

    fn store(&mut self, op: StoreOp) {
        match op {
            StoreOp::AddBan { jail, ticket } => {
                assert!(!ticket.restored, "a restored ban stored again");
                self.bips.insert((jail.to_string(), ticket.id.to_string()), (*ticket).clone());
            }
            StoreOp::DeleteBan { jail, id } => {
                self.bips.remove(&(jail.to_string(), id.to_string()));
            }
            StoreOp::DeleteAllBans(jail) => self.bips.retain(|(j, _), _| **j != *jail),
            _ => {}
        }
    }

    /// Runs the first job of a lane against the kernel.
    fn run_job(&mut self, lane: &str) {
        let Some(job) = self.lanes.get_mut(lane).and_then(VecDeque::pop_front) else { return };
        let key = (job.jail.to_string(), job.spec.name.clone());
        let id = job.ticket.as_ref().map(|t| t.id.to_string()).unwrap_or_default();
        let all_at_once = job.spec.name == "flush";
        let can_flush = all_at_once || (job.spec.name == "snake" && self.snake.flush);
        let swept = job.op == ActionOp::Unban
            && self.unclean
            && job.ticket.as_ref().is_some_and(|t| t.restored);
        let fails = self.random.chance(self.fail_percent) && !swept;
        let mut applies = !fails || self.random.chance(50);
        let mut described = None;
        let idle = matches!(job.op, ActionOp::CleanUp | ActionOp::Stop);
        if is_python(&job.spec.name) && !idle && !self.loaded.contains(&job.action) {
            let letter = Traits { enforces: fails && self.random.chance(50), ..Traits::default() };
            let known = if job.spec.name == "snake" { self.snake } else { letter };
            described = Some(Event::Described(job.action, known));
            if fails {
                applies = false;
            } else {
                self.loaded.insert(job.action);
            }
        }
        let table = self.kernel.entry(key).or_default();
        let mut repaired = false;
        let op = job.op;
        let only_tells = matches!(&*job.spec.name, "mail" | "letter");
        match op {
            ActionOp::Ban | ActionOp::Reban | ActionOp::Unban if only_tells => {}
            ActionOp::Ban | ActionOp::Reban => {
                if table.wrecked && !fails {
                    table.wrecked = false;
                    table.blocked.clear();
                    repaired = true;
                } else {
                    let twice = table.blocked.contains(&id)
                        && op == ActionOp::Ban
                        && !table.lifted.contains(&id)
                        && !table.unsure.contains(&id);
                    assert!(!twice, "{}: {id} banned twice by {}", job.jail, job.spec.name);
                }
                table.tried.insert(id.clone());
                table.lifted.remove(&id);
                table.unsure.remove(&id);
                if fails {
                    table.unsure.insert(id.clone());
                }
                if applies {
                    table.blocked.insert(id.clone());
                }
            }
            ActionOp::Unban => {
                assert!(
                    table.tried.contains(&id) || swept,
                    "{}: {id} unbanned by {} without a ban",
                    job.jail,
                    job.spec.name
                );
                table.lifted.insert(id.clone());
                if applies {
                    table.blocked.remove(&id);
                }
                if !fails {
                    table.tried.remove(&id);
                }
            }
            ActionOp::Flush | ActionOp::LastFlush => {
                assert!(can_flush, "flush of an action that cannot");
                table.lifted.extend(table.blocked.iter().cloned());
                if applies {
                    table.blocked.clear();
                }
            }
            ActionOp::CleanUp | ActionOp::Stop if all_at_once => {
                table.wrecked = false;
                table.blocked.clear();
            }
            ActionOp::Check if table.wrecked => {
                table.wrecked = false;
                table.blocked.clear();
                repaired = true;
            }
            _ => {}
        }
        let certain = matches!(op, ActionOp::CleanUp | ActionOp::Stop);
        let result = match fails && !certain {
            true => Err(ActionFailure { reason: "simulated".into(), repaired: false }),
            false => Ok(()),
        };
        let queue = self.outcomes.entry(lane.to_owned()).or_default();
        queue.extend(described);
        if repaired {
            queue.push_back(Event::Repaired(job.action));
        }
        queue.push_back(Event::Outcome(job.id, result));
    }

    fn deliver(&mut self, lane: &str) {
        let Some(event) = self.outcomes.get_mut(lane).and_then(VecDeque::pop_front) else {
            return;
        };
        if let Event::Outcome(id, result) = &event {
            self.say(|| format!("outcome {id:?} {result:?}"));
            assert!(self.jobs_open.remove(id), "an outcome of nothing");
        }
        self.handle(event);
    }

    fn answer_one(&mut self) {
        if self.asks.is_empty() {
            return;
        }
        let at = self.random.below(self.asks.len());
        let (id, answer) = self.asks.remove(at);
        assert!(self.asks_open.remove(&id));
        self.handle(Event::Answer(id, answer));
    }

    fn lane(&mut self) -> String {
        (*self.random.pick(&ACTIONS)).to_owned()
    }

    fn jail(&mut self) -> &'static str {
        JAILS[self.random.below(JAILS.len())]
    }

    pub fn step(&mut self) {
        match self.random.below(100) {
            0..=24 => {
                let (jail, id) = (self.jail(), *self.random.pick(&IDS));
                let age = self.random.below(20) as i64 * 1_000_000;
                let failure = Failure {
                    id: Id::parse(id),
                    address: None,
                    time: Timestamp(self.wall - age),
                    whole: false,
                    attempts: 1,
                    matches: vec![MatchedLine::Whole("line".into())],
                    fields: Fields::default(),
                };
                self.say(|| format!("failure {jail} {id}"));
                self.handle(Event::Failures { jail: Arc::from(jail), failures: vec![failure] });
            }
            25..=44 => {
                let lane = self.lane();
                self.run_job(&lane);
            }
            45..=59 => {
                let lane = self.lane();
                self.deliver(&lane);
            }
            60..=67 => self.answer_one(),
            68..=77 => {
                let by = self.random.below(40_000_000) as u64;
                self.mono += by;
                self.wall += by as i64;
                self.handle(Event::Tick);
            }
            78..=79 => {
                // The wall clock steps.
                let by = self.random.below(7_200_000_000) as i64 - 3_600_000_000;
                self.say(|| format!("clock steps by {}s", by / 1_000_000));
                self.wall += by;
                self.handle(Event::Tick);
            }
            80..=82 => {
                let (jail, id) = (self.jail(), *self.random.pick(&IDS));
                self.command(&["set", jail, "banip", id]);
            }
            83..=85 => {
                let (jail, id) = (self.jail(), *self.random.pick(&IDS));
                self.command(&["set", jail, "unbanip", id]);
            }
            86 => {
                self.command(&["unban", "--all"]);
            }
            87 => {
                let id = *self.random.pick(&IDS);
                self.command(&["unban", id]);
            }
            88 => {
                let id = *self.random.pick(&IDS);
                self.ignored.insert(id.to_owned());
                for jail in JAILS {
                    self.command(&["set", jail, "addignoreip", id]);
                }
            }
            89..=90 => self.fail_percent = *self.random.pick(&[0, 0, 10, 50, 100]),
            91..=93 => {
                if self.random.chance(70) {
                    self.reconfigure();
                }
                let mut options = Vec::new();
                for option in ["--restart", "--unban"] {
                    if self.random.chance(15) {
                        options.push(Value::str(option));
                    }
                }
                let stream = self.stream();
                let words =
                    vec![Value::str("reload"), Value::str("--all"), Value::List(options), stream];
                self.send(words);
            }
            94 => {
                let (jail, time) = (self.jail(), *self.random.pick(&["20", "60", "900", "-1"]));
                self.command(&["set", jail, "bantime", time]);
            }
            95 => {
                // Someone flushes our rules.
                for ((_, action), table) in &mut self.kernel {
                    if action == "flush" {
                        table.wrecked = true;
                        table.blocked.clear();
                    }
                }
            }
            96 => self.kill(),
            97 => self.restart(),
            98 => match self.random.below(5) {
                0 => self.settle(),
                4 => self.look(),
                1 => {
                    let jail = self.jail();
                    self.config.remove(jail);
                    self.command(&["stop", jail]);
                }
                2 => {
                    let jail = self.jail();
                    let action = self.lane();
                    if let Some(config) = self.config.get_mut(jail) {
                        config.actions.retain(|a| *a != action);
                    }
                    self.command(&["set", jail, "delaction", &action]);
                }
                _ => {
                    let jail = self.jail();
                    let known = self.config.get(jail).map(|c| c.actions.contains(&"single"));
                    if known == Some(false) {
                        self.config.get_mut(jail).unwrap().actions.push("single");
                        self.command(&["set", jail, "addaction", "single"]);
                        self.command(&["set", jail, "action", "single", "actname", "single"]);
                        self.command(&["set", jail, "action", "single", "actionban", "ban"]);
                        self.command(&["set", jail, "action", "single", "actionunban", "unban"]);
                    }
                }
            },
            _ => {
                let jail = self.jail();
                self.command(&["status", jail]);
            }
        }
        self.deadlines_hold();
    }

    /// Nothing that is due stays due: ticks alone must bring the deadlines into the future.
    fn deadlines_hold(&mut self) {
        for _ in 0..200 {
            let wait = self.engine.next_deadline().wait(self.now());
            if wait.is_none_or(|span| span.0 > 0) {
                return;
            }
            self.handle(Event::Tick);
        }
        panic!("a deadline is never met: {:?}", self.engine.next_deadline());
    }

    /// Lets everything under way come to its end.
    fn drain(&mut self) {
        for _ in 0..20_000 {
            if self.jobs_open.is_empty() && self.asks.is_empty() {
                return;
            }
            for lane in ACTIONS {
                self.run_job(lane);
                self.deliver(lane);
                self.deliver(lane);
            }
            self.answer_one();
        }
        panic!("never quiet: {} jobs, {} questions", self.jobs_open.len(), self.asks.len());
    }

    /// The process is killed, in the middle of whatever it does, and started again.
    fn kill(&mut self) {
        self.say(|| "KILL".into());
        for lane in ACTIONS {
            if self.random.chance(50) {
                self.run_job(lane);
            }
        }
        self.lanes.clear();
        self.outcomes.clear();
        self.kept.clear();
        self.asks.clear();
        self.jobs_open.clear();
        self.asks_open.clear();
        self.replies.clear();
        self.unclean = true;
        for ((jail, action), table) in &mut self.kernel {
            let used =
                self.config.get(&**jail).is_some_and(|j| j.actions.iter().any(|a| a == action));
            if !used {
                // Nothing is left that could know of it.
                *table = Table::default();
            } else if action == "single" || action == "snake" {
                // What no row tells of cannot be found again one by one.
                table.blocked.retain(|id| self.bips.contains_key(&(jail.clone(), id.clone())));
            }
            table.tried.clear();
            table.lifted.clear();
            table.unsure.extend(table.blocked.iter().cloned());
        }
        self.boot();
    }

    /// Whom a jail shows as banned.
    fn shown(&mut self, name: &str) -> BTreeSet<String> {
        let request = self.command(&["get", name, "banned"]);
        match self.replies.get(&request) {
            Some(Some(Value::List(shown))) => shown.iter().map(Value::to_text).collect(),
            _ => panic!("{name} does not answer"),
        }
    }

    /// Whom every action blocks, as it has said, of those that are called banned.
    fn blocked(&mut self) -> BTreeMap<(String, String), BTreeSet<String>> {
        let names: Vec<&'static str> = self.config.keys().copied().collect();
        let shown: BTreeMap<String, BTreeSet<String>> =
            names.into_iter().map(|name| (name.to_owned(), self.shown(name))).collect();
        let banned = |jail: &String, id: &&String| shown.get(jail).is_some_and(|s| s.contains(*id));
        let of_table = |(key, table): (&(String, String), &Table)| {
            let sure = table.blocked.difference(&table.unsure);
            (key.clone(), sure.filter(|id| banned(&key.0, id)).cloned().collect())
        };
        self.kernel.iter().map(of_table).collect()
    }

    /// An orderly restart changes nothing, and one that keeps what is in force lets nobody in.
    fn restart(&mut self) {
        self.fail_percent = 0;
        self.drain();
        if self.random.chance(50) {
            let before = self.blocked();
            self.command(&["stop", "--keep"]);
            self.drain();
            for (key, ids) in before {
                let let_in: Vec<_> = ids.difference(&self.kernel[&key].blocked).collect();
                // A Python action lives in a process of the server's, and ends with it.
                let lost = !let_in.is_empty() && !is_python(&key.1);
                assert!(!lost, "{key:?} has let in {let_in:?}");
            }
            if self.random.chance(30) {
                self.reconfigure();
            }
            if self.random.chance(50) {
                let by = self.random.below(90_000_000) as u64;
                self.mono += by;
                self.wall += by as i64;
            }
        } else {
            self.command(&["stop"]);
            self.drain();
            for ((jail, action), table) in &self.kernel {
                assert!(
                    table.wrecked || table.blocked.is_empty(),
                    "{jail}/{action} still blocks {:?} after the stop",
                    table.blocked
                );
            }
        }
        assert!(self.exited, "stop did not end the process");
        self.unclean = false;
        self.boot();
        self.drain();
        let now = Timestamp(self.wall);
        for (name, jail) in self.config.clone() {
            let kept = |ticket: &Ticket| {
                let default = BanTime::from_secs(jail.ban_time);
                let time = match (ticket.ban_time, default) {
                    (time, _) if jail.increment => time,
                    (time, BanTime::Permanent) => time,
                    (BanTime::Permanent, cap) => cap,
                    (BanTime::For(a), BanTime::For(b)) => BanTime::For(a.min(b)),
                };
                let young = jail.increment || default.end(ticket.time).is_none_or(|e| e > now);
                young && time.end(ticket.time).is_none_or(|end| end > now)
            };
            let expected: BTreeSet<String> = self
                .bips
                .iter()
                .filter(|((j, id), ticket)| j == name && kept(ticket) && !self.ignored.contains(id))
                .map(|((_, id), _)| id.clone())
                .collect();
            let shown = self.shown(name);
            assert_eq!(shown, expected, "{name}: bans after a restart (left) and stored ones");
        }
    }

    /// Also while actions fail, whom a jail shows as banned every one of them blocks.
    fn look(&mut self) {
        self.drain();
        for (who, blocked, shown) in self.tables() {
            let free: Vec<_> = shown.difference(&blocked).collect();
            assert!(free.is_empty(), "{who} does not block {free:?}, shown as banned");
        }
    }

    /// Of every enforcing action whose rules are as it left them, whom it blocks and whom its jail
    /// shows as banned.
    fn tables(&mut self) -> Vec<(String, BTreeSet<String>, BTreeSet<String>)> {
        let mut tables = Vec::new();
        for (name, jail) in self.config.clone() {
            let shown = self.shown(name);
            for action in jail.actions.iter().filter(|a| !matches!(**a, "mail" | "letter")) {
                let key = (name.to_owned(), (*action).to_owned());
                let table = self.kernel.entry(key).or_default();
                // Else nobody has noticed yet.
                if !table.wrecked {
                    let who = format!("{name}/{action}");
                    tables.push((who, table.blocked.clone(), shown.clone()));
                }
            }
        }
        tables
    }

    /// Waits until nothing is to be retried, then compares everything.
    pub fn settle(&mut self) {
        self.fail_percent = 0;
        self.say(|| "settle".into());
        self.drain();
        for _ in 0..10 {
            self.mono += 65_000_000;
            self.handle(Event::Tick);
            self.drain();
        }
        self.compare();
    }

    fn compare(&mut self) {
        let open: Vec<_> = self.replies.iter().filter(|(_, v)| v.is_none()).collect();
        assert!(open.is_empty(), "clients without an answer: {open:?}");
        for (who, blocked, shown) in self.tables() {
            assert_eq!(blocked, shown, "kernel of {who} (left) is not what is shown");
        }
        for name in self.config.keys().copied().collect::<Vec<_>>() {
            for id in &self.shown(name) {
                assert!(
                    self.bips.contains_key(&(name.to_owned(), id.clone())),
                    "{name}: the ban of {id} is not stored"
                );
            }
        }
        for ((jail, action), table) in &self.kernel {
            let used =
                self.config.get(&**jail).is_some_and(|j| j.actions.iter().any(|a| a == action));
            assert!(
                used || table.blocked.is_empty(),
                "{jail}/{action} is gone and still blocks {:?}",
                table.blocked
            );
        }
    }
}
