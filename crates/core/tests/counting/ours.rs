//! sekisho's side: the engine, with a database that is a map and actions that always succeed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use sekisho_core::command::Words;
use sekisho_core::effect::*;
use sekisho_core::engine::{Config, Engine};
use sekisho_core::failure::{Failure, Fields, MatchedLine};
use sekisho_core::id::Id;
use sekisho_core::ticket::{BanTime, Ticket};
use sekisho_core::time::{Monotonic, Now, Timestamp};
use sekisho_core::value;
use serde_json::{Value, json};

use super::sequence::{Act, Found, Instant, PARTS, Sequence};

/// `dbmaxmatches`
const STORED_LINES: usize = 10;

fn timestamp(at: Instant) -> Timestamp {
    Timestamp(at * (1_000_000 / PARTS))
}

/// A row of `bips`.
#[derive(Clone, Debug)]
struct Row {
    time: i64,
    ban_time: f64,
    count: u32,
    failures: u32,
    lines: Vec<MatchedLine>,
    fields: Fields,
}

/// One history: an engine after another, with one database.
pub struct World {
    engine: Engine,
    now: Now,
    jails: Vec<String>,
    /// The log of each jail.
    sources: BTreeMap<String, SourceId>,
    stored: bool,
    purge_age: i64,
    rows: BTreeMap<(String, String), Row>,
    did: Vec<String>,
    log: Vec<String>,
    reply: Value,
    /// Answers that come next.
    next: VecDeque<Event>,
    /// Outcomes, which come before them, as the reference runs its actions at once.
    outcomes: VecDeque<Event>,
}

/// What was seen after each step.
pub fn play(sequence: &Sequence) -> Vec<Value> {
    let mut world = World {
        engine: Engine::new(Config::default()),
        now: Now::default(),
        jails: Vec::new(),
        sources: BTreeMap::new(),
        stored: sequence.stored,
        purge_age: sequence.purge_age,
        rows: BTreeMap::new(),
        did: Vec::new(),
        log: Vec::new(),
        reply: Value::Null,
        next: VecDeque::new(),
        outcomes: VecDeque::new(),
    };
    let begin = sequence.steps.first().map_or(0, |step| step.at);
    let play = |step: &super::sequence::Step| {
        let passed = timestamp(step.at).since(timestamp(begin));
        let mono = Monotonic(1_000_000_000).plus(passed);
        world.now = Now { wall: timestamp(step.at), mono };
        if !world.jails.is_empty() {
            world.handle(Event::Tick);
        }
        world.reply = Value::Null;
        let reply = world.act(&step.act);
        world.seen(reply)
    };
    sequence.steps.iter().map(play).collect()
}

impl World {
    fn act(&mut self, act: &Act) -> Value {
        match act {
            Act::Tick => self.handle(Event::Tick),
            Act::Start { jails, commands } => self.start(jails, commands),
            Act::Failures { jail, failures } => {
                let failures = failures.iter().map(failure).collect();
                self.handle(Event::Failures { jail: Arc::from(jail.as_str()), failures });
            }
            Act::Lines { jail, live, lines } => {
                let source = self.sources[jail];
                let data = lines.iter().flat_map(|l| [l.as_bytes(), b"\n"].concat()).collect();
                let batch = Batch {
                    source,
                    data,
                    live: *live,
                    position: Position::default(),
                    times: Vec::new(),
                };
                self.handle(Event::Lines(batch));
            }
            Act::Command(words) => return self.command(words),
        }
        Value::Null
    }

    fn start(&mut self, jails: &[String], commands: &[Vec<String>]) {
        if !self.jails.is_empty() {
            self.command(&["stop".to_owned()]);
        }
        self.engine = Engine::new(Config::default());
        self.jails = jails.to_vec();
        self.sources.clear();
        self.handle(Event::Tick);
        for words in commands {
            self.command(words);
        }
        let action = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<String>>();
        for jail in jails {
            self.command(&action(&format!("set {jail} addlogpath /var/log/{jail}")));
            self.command(&action(&format!("set {jail} addaction a")));
            for name in ["actionban", "actionunban", "actioncheck", "actionprolong"] {
                self.command(&action(&format!("set {jail} action a {name} {name}")));
            }
            self.command(&action(&format!("start {jail}")));
        }
    }

    fn command(&mut self, words: &[String]) -> Value {
        let words = words.iter().map(value::Value::str).collect();
        self.reply = Value::Null;
        self.handle(Event::Control { request: RequestId(1), words: Words { words, origin: None } });
        std::mem::take(&mut self.reply)
    }

    fn handle(&mut self, event: Event) {
        self.next.push_back(event);
        while let Some(event) = self.outcomes.pop_front().or_else(|| self.next.pop_front()) {
            let mut out = Vec::new();
            self.engine.handle(self.now, event, &mut out);
            for effect in out {
                self.effect(effect);
            }
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Run(job) => {
                self.did.extend(told(&job));
                self.outcomes.push_back(Event::Outcome(job.id, Ok(())));
            }
            Effect::Ask(id, ask) => {
                let answer = self.answer(ask);
                self.next.push_back(Event::Answer(id, answer));
            }
            Effect::Store(op) => self.store(op),
            Effect::Source(SourceOp::OpenFile { source, path, .. }) => {
                let jail = path.trim_start_matches("/var/log/").to_owned();
                self.sources.insert(jail, source);
            }
            Effect::Log(record) if record.logger == "fail2ban.transmitter" => {}
            Effect::Log(record) if record.level >= Level::Error => self.log.push("ERROR".into()),
            Effect::Log(record) => {
                let odd = ["log entr", "odd timestamp"].iter().any(|t| record.text.contains(t));
                if record.level >= Level::Info && record.text.starts_with('[') && !odd {
                    let level = format!("{:?}", record.level).to_uppercase();
                    self.log.push(format!("{level} {}", record.text));
                }
            }
            Effect::Reply { result, .. } => {
                self.reply = result.map_or_else(|_| json!("error"), |value| plain(&value));
            }
            Effect::Source(_)
            | Effect::Retire(_)
            | Effect::Keep(..)
            | Effect::Adopt(..)
            | Effect::Happened { .. }
            | Effect::Exit => {}
        }
    }

    fn answer(&self, ask: Ask) -> Answer {
        match ask {
            Ask::Resolve(_) | Ask::OwnAddresses => Answer::Addresses(Ok(Vec::new())),
            Ask::IgnoreCommand { .. } => Answer::Exit(Ok(1)),
            Ask::IgnoreFile { .. } => Answer::File(Ok(None)),
            Ask::Restore { jail } => {
                let rows = self.rows.iter().filter(|((j, _), _)| **j == *jail);
                Answer::Bans(rows.map(|((_, id), row)| row.restored(id)).collect())
            }
            Ask::History { jail, id } => Answer::History(self.history(jail.as_deref(), &id)),
            Ask::LogPosition { .. } => Answer::LogPosition(None),
            Ask::Action { .. } => Answer::Property(Ok(value::Value::None)),
            Ask::Setting { .. } => Answer::Setting(Ok(value::Value::None)),
            Ask::Origins(_) => Answer::Origins(Vec::new(), None),
        }
    }

    fn history(&self, jail: Option<&str>, id: &Id) -> Option<History> {
        let id = id.to_string();
        let rows: Vec<&Row> = self
            .rows
            .iter()
            .filter(|((j, i), _)| jail.is_none_or(|jail| j == jail) && *i == id)
            .map(|(_, row)| row)
            .collect();
        let last = rows.iter().max_by_key(|row| row.time)?;
        Some(History {
            count: rows.iter().map(|row| row.count).sum(),
            last: Timestamp::from_secs(last.time),
            ban_time: last.ban_time as i64,
        })
    }

    fn store(&mut self, op: StoreOp) {
        if !self.stored {
            return;
        }
        match op {
            StoreOp::AddBan { jail, ticket } => {
                let skip = ticket.matches.len().saturating_sub(STORED_LINES);
                let row = Row {
                    time: ticket.stored_secs(),
                    ban_time: ticket.ban_time.as_secs_f64(),
                    count: ticket.ban_count,
                    failures: ticket.failures,
                    lines: ticket.matches.iter().skip(skip).cloned().collect(),
                    fields: ticket.fields.clone(),
                };
                self.rows.insert((jail.to_string(), ticket.id.to_string()), row);
            }
            StoreOp::DeleteBan { jail, id } => {
                self.rows.remove(&(jail.to_string(), id.to_string()));
            }
            StoreOp::DeleteAllBans(jail) => self.rows.retain(|(j, _), _| **j != *jail),
            StoreOp::Purge => {
                let oldest = self.now.wall.as_secs() - self.purge_age;
                let before = self.rows.len();
                self.rows.retain(|_, row| {
                    let old =
                        row.time < oldest && (row.time as f64 + row.ban_time * 3.0) < oldest as f64;
                    !old || row.ban_time == -1.0
                });
                if self.rows.len() < before {
                    self.did.push("purged".into());
                }
            }
            _ => {}
        }
    }

    fn seen(&mut self, reply: Value) -> Value {
        let status: Vec<Value> = self.jails.clone().iter().map(|jail| self.status(jail)).collect();
        let rows: Vec<String> =
            self.rows.iter().map(|((jail, id), row)| row.text(jail, id)).collect();
        let sorted = |mut list: Vec<String>| {
            list.sort();
            list
        };
        let did = sorted(std::mem::take(&mut self.did));
        let log = sorted(std::mem::take(&mut self.log));
        json!({ "did": did, "log": log, "reply": reply, "status": status, "rows": sorted(rows) })
    }

    /// Counters, who is banned, and until when.
    fn status(&mut self, jail: &str) -> Value {
        let ask = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<String>>();
        let status = self.command(&ask(format!("status {jail}")));
        let ends = self.command(&ask(format!("get {jail} banip --with-time")));
        let mut seen: Vec<Value> = (0..2)
            .flat_map(|part| status[part][1].as_array().cloned().unwrap_or_default())
            .filter(|row| row[0] != "File list")
            .map(|row| row[1].clone())
            .collect();
        seen.push(ends);
        for list in seen.iter_mut().filter_map(Value::as_array_mut) {
            list.sort_by_key(Value::to_string);
        }
        Value::Array(seen)
    }
}

impl Row {
    fn restored(&self, id: &str) -> StoredBan {
        StoredBan {
            ticket: Ticket {
                id: Id::parse(id),
                address: None,
                time: Timestamp::from_secs(self.time),
                whole: true,
                ban_time: BanTime::from_secs_f64(self.ban_time),
                ban_count: self.count,
                failures: self.failures,
                matches: self.lines.clone(),
                fields: self.fields.clone(),
                restored: true,
            },
        }
    }

    fn text(&self, jail: &str, id: &str) -> String {
        format!(
            "{jail} {id} at={} bantime={} bancount={} failures={} user={} lines={}",
            self.time,
            (self.ban_time * 1000.0).round_ties_even(),
            self.count,
            self.failures,
            self.fields.text("user").unwrap_or("None"),
            joined(&self.lines),
        )
    }
}

fn joined(lines: &[MatchedLine]) -> String {
    lines.iter().map(MatchedLine::text).collect::<Vec<_>>().join("|")
}

/// What an action was told, as the reference writes it down.
fn told(job: &Job) -> Option<String> {
    let what = match job.op {
        ActionOp::Ban => "ban",
        ActionOp::Unban => "unban",
        ActionOp::Prolong => "prolong",
        ActionOp::Reban => "reban",
        ActionOp::Check => return Some(format!("{} check", job.jail)),
        _ => return None,
    };
    let ticket = job.ticket.as_ref().expect("a ticket");
    Some(format!(
        "{} {what} {} at={} bantime={} bancount={} failures={} restored={} user={} lines={}",
        job.jail,
        ticket.id,
        ticket.time.0,
        ticket.ban_time.as_secs(),
        ticket.ban_count,
        ticket.failures,
        u8::from(ticket.restored),
        ticket.fields.text("user").unwrap_or("None"),
        joined(&ticket.matches),
    ))
}

fn failure(found: &Found) -> Failure {
    let mut fields = Fields::default();
    if let Some(user) = &found.user {
        fields.set("user", value::Value::str(user));
    }
    let line = |parts: &Vec<String>| match parts.as_slice() {
        [before, date, after] => MatchedLine::Cut([before.clone(), date.clone(), after.clone()]),
        whole => MatchedLine::Whole(whole.concat()),
    };
    Failure {
        id: Id::parse(&found.id),
        address: None,
        time: timestamp(found.at),
        whole: false,
        attempts: 1,
        matches: found.lines.iter().map(line).collect(),
        fields,
    }
}

/// A reply as JSON, the shapes that JSON has not as lists.
fn plain(value: &value::Value) -> Value {
    match value {
        value::Value::None => Value::Null,
        value::Value::Bool(b) => json!(b),
        value::Value::Int(n) => json!(n),
        value::Value::Float(x) => json!(x),
        value::Value::Str(s) => json!(s),
        value::Value::List(items) | value::Value::Tuple(items) | value::Value::Set(items) => {
            Value::Array(items.iter().map(plain).collect())
        }
        other => json!(other.repr()),
    }
}
