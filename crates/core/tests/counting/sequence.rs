//! Generated histories of a few jails: configurations, failures, commands, restarts, time.
//!
//! Times are multiples of 1/64 s: both sides then calculate exactly, so that a difference is one of
//! rules and not of rounding. Steps are chosen near the limits that matter (the window, the end of a
//! ban, three and five seconds), because that is where rules differ.

use sekisho_oracle::Random;
use serde_json::{Value, json};

/// Parts of a second.
pub const PARTS: i64 = 64;

/// Instants in parts of a second since 1970.
pub type Instant = i64;

/// One history, from the first start on.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Whether there is a database.
    pub stored: bool,
    /// `dbpurgeage` in seconds.
    pub purge_age: i64,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub at: Instant,
    pub act: Act,
}

#[derive(Clone, Debug)]
pub enum Act {
    /// Nothing but time.
    Tick,
    /// A server starts with these jails; one that runs is stopped before.
    Start { jails: Vec<String>, commands: Vec<Vec<String>> },
    /// Failures that a filter has found.
    Failures { jail: String, failures: Vec<Found> },
    /// Lines of the jail's log.
    Lines { jail: String, live: bool, lines: Vec<String> },
    /// A client's command.
    Command(Vec<String>),
}

#[derive(Clone, Debug)]
pub struct Found {
    pub id: String,
    pub at: Instant,
    /// Each a whole line, or one cut at its date.
    pub lines: Vec<Vec<String>>,
    pub user: Option<String>,
}

/// What the generator knows of a jail.
#[derive(Clone, Debug)]
struct Jail {
    name: String,
    maxretry: i64,
    findtime: i64,
    bantime: i64,
    maxmatches: i64,
    increment: bool,
    extras: Vec<(&'static str, String)>,
}

const IDS: [&str; 6] =
    ["192.0.2.1", "192.0.2.2", "198.51.100.7", "2001:db8::1", "mallory", "192.0.2.77"];
const IGNORED: &str = "192.0.2.77";
const USERS: [&str; 3] = ["root", "admin", "x"];
const FIND_TIMES: [i64; 6] = [600, 600, 60, 10, 3600, 90];
const BAN_TIMES: [i64; 9] = [600, 600, 60, 5, 30, 3600, 7, -1, 0];
const MAX_MATCHES: [i64; 6] = [0, 1, 2, 3, 4, 14];

/// What the manual and jail.conf show, and a few that administrators would write.
pub const FORMULAS: [&str; 9] = [
    "ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor",
    "ban.Time * math.exp(float(ban.Count+1)*banFactor)/math.exp(1*banFactor)",
    "ban.Time * (1 if ban.Count < 2 else 5 if ban.Count < 4 else 30)",
    "ban.Time + 60 * ban.Count",
    "ban.Time * math.sqrt(ban.Count)",
    "ban.Time / 7 * ban.Count",
    "-1 if ban.Count > 3 else ban.Time * 3",
    "ban.Time * (1 + random.random())",
    // Fails at the second ban.
    "ban.Time / (2 - ban.Count)",
];

/// A time as an administrator may write it.
fn written(random: &mut Random, secs: i64) -> String {
    match random.below(5) {
        // Of `bantime` the fraction does not count, of `findtime` it does.
        4 if secs > 0 => format!("{secs}.5"),
        0 if secs > 0 && secs % 60 == 0 => format!("{}m", secs / 60),
        1 if secs > 60 => format!("{}m {}s", secs / 60, secs % 60),
        _ => secs.to_string(),
    }
}

impl Jail {
    fn new(random: &mut Random, name: &str) -> Jail {
        let mut jail = Jail {
            name: name.to_owned(),
            maxretry: 1 + random.below(6) as i64,
            findtime: *random.pick(&FIND_TIMES),
            bantime: *random.pick(&BAN_TIMES),
            maxmatches: *random.pick(&MAX_MATCHES),
            increment: !random.one_in(3),
            extras: Vec::new(),
        };
        jail.choose_extras(random);
        jail
    }

    fn choose_extras(&mut self, random: &mut Random) {
        self.extras.clear();
        let mut maybe = |random: &mut Random, n, name, values: &[&str]| {
            if random.one_in(n) {
                self.extras.push((name, (*random.pick(values)).to_owned()));
            }
        };
        maybe(random, 4, "factor", &["2", "1.5", "2.0 / 2.885385", "0.25"]);
        maybe(random, 2, "formula", &FORMULAS);
        maybe(
            random,
            4,
            "multipliers",
            &["1 2 4 8 16 32 64", "1 5 30 60 300 720 1440 2880", "1", "2 0 3", "1 100000000"],
        );
        maybe(random, 3, "maxtime", &["1h", "5m", "90", "20", "1w", "2.5h", "-1"]);
        maybe(random, 4, "rndtime", &["60", "8m", "5", "0.5"]);
        maybe(random, 4, "overalljails", &["true"]);
    }

    fn commands(&self, random: &mut Random) -> Vec<Vec<String>> {
        let set =
            |key: &str, value: String| ["set", &self.name, key, &value].map(str::to_owned).to_vec();
        let mut out = vec![
            ["add", &self.name, "polling"].map(str::to_owned).to_vec(),
            set("ignoreself", "false".into()),
            set("addignoreip", IGNORED.into()),
            set("datepattern", "{^LN-BEG}EPOCH".into()),
            set("addfailregex", "^ failed(?: for <F-USER>\\S+</F-USER>)? from <HOST>$".into()),
            set("addfailregex", "^ bad <F-ID>mallory</F-ID>$".into()),
            set("maxretry", self.maxretry.to_string()),
            set("findtime", written(random, self.findtime)),
            set("bantime", written(random, self.bantime)),
            set("maxmatches", self.maxmatches.to_string()),
        ];
        if self.increment {
            out.push(set("bantime.increment", "true".into()));
        }
        for (name, value) in &self.extras {
            out.push(set(&format!("bantime.{name}"), value.clone()));
        }
        out
    }
}

/// The generator's state.
struct Maker {
    random: Random,
    now: Instant,
    jails: Vec<Jail>,
    line: usize,
    steps: Vec<Step>,
}

impl Sequence {
    /// The history of a seed.
    pub fn new(seed: u64) -> Sequence {
        let mut random = Random(seed);
        let stored = !random.one_in(12);
        let purge_age = *random.pick(&[86_400, 86_400, 7200, 600]);
        let count = 1 + usize::from(random.one_in(3));
        let jails =
            ["j", "k"].iter().take(count).map(|name| Jail::new(&mut random, name)).collect();
        let now = 1_700_000_000 * PARTS + random.below(1000) as i64;
        let mut maker = Maker { random, now, jails, line: 0, steps: Vec::new() };
        maker.start();
        let steps = 15 + maker.random.below(45);
        for _ in 0..steps {
            maker.pass();
            let act = maker.act();
            maker.steps.push(Step { at: maker.now, act });
        }
        Sequence { stored, purge_age, steps: maker.steps }
    }

    /// The question for the reference.
    pub fn json(&self) -> Value {
        let steps: Vec<Value> = self.steps.iter().map(Step::json).collect();
        json!({ "steps": steps, "stored": self.stored, "purge_age": self.purge_age })
    }
}

impl Maker {
    fn start(&mut self) {
        let random = &mut self.random;
        let commands = self.jails.iter().flat_map(|jail| jail.commands(random)).collect();
        let jails = self.jails.iter().map(|jail| jail.name.clone()).collect();
        self.steps.push(Step { at: self.now, act: Act::Start { jails, commands } });
    }

    fn jail(&mut self) -> usize {
        self.random.below(self.jails.len())
    }

    /// Time goes on, often to where something happens.
    fn pass(&mut self) {
        let at = self.jail();
        let Jail { findtime, bantime, .. } = self.jails[at];
        let random = &mut self.random;
        let seconds = match random.below(20) {
            0 => findtime,
            1 => findtime / 2,
            2 => bantime.max(0),
            3 => bantime.max(0) * 2,
            4 => 3,
            5 => 5,
            6 => random.below(7200) as i64,
            7 if random.one_in(3) => 86_400,
            8..12 => 0,
            _ => random.below(20) as i64,
        };
        let fraction = match random.below(4) {
            0 => random.below(PARTS as usize) as i64,
            1 => 1,
            _ => 0,
        };
        self.now += seconds * PARTS + fraction;
    }

    fn id(&mut self) -> String {
        // Few attackers, so that they come back.
        let count = if self.random.one_in(4) { IDS.len() } else { 2 };
        IDS[self.random.below(count)].to_owned()
    }

    /// When a failure happened: mostly now, also long ago and in the future, in whole seconds or not.
    fn time(&mut self, findtime: i64) -> Instant {
        let random = &mut self.random;
        let offset = match random.below(12) {
            0 => -(random.below(60) as i64) * PARTS,
            1 => -findtime * PARTS,
            2 => -findtime * PARTS * 3 / 2,
            3 => random.below(90) as i64 * PARTS,
            4 => -(random.below(200) as i64),
            5 => -5 * PARTS,
            _ => 0,
        };
        let time = self.now + offset;
        if random.one_in(2) { time - time.rem_euclid(PARTS) } else { time }
    }

    fn act(&mut self) -> Act {
        match self.random.below(40) {
            0..4 => Act::Tick,
            4..22 => self.failures(),
            22..30 => self.lines(),
            30..34 => Act::Command(self.ban_command()),
            34..39 => Act::Command(self.option()),
            _ => {
                if self.random.one_in(2) {
                    let at = self.jail();
                    let name = self.jails[at].name.clone();
                    self.jails[at] = Jail::new(&mut self.random, &name);
                }
                self.start();
                // The start is a step of its own.
                Act::Tick
            }
        }
    }

    fn failures(&mut self) -> Act {
        let at = self.jail();
        let jail = self.jails[at].clone();
        // With increments each failure asks the database, whose answers reach fail2ban at any time.
        let count = if jail.increment { 1 } else { 1 + self.random.below(3) };
        let failures = (0..count)
            .map(|_| {
                let (id, time) = (self.id(), self.time(jail.findtime));
                let lines = match self.random.below(6) {
                    0 => 0,
                    1 => 2,
                    2 => 3,
                    _ => 1,
                };
                let lines = (0..lines).map(|_| self.found_line()).collect();
                let user = self.random.one_in(2).then(|| (*self.random.pick(&USERS)).to_owned());
                Found { id, at: time, lines, user }
            })
            .collect();
        Act::Failures { jail: jail.name, failures }
    }

    fn found_line(&mut self) -> Vec<String> {
        self.line += 1;
        let n = self.line;
        if self.random.one_in(2) {
            vec![format!("line {n}")]
        } else {
            vec!["<".to_owned(), format!("date {n}"), " text>".to_owned()]
        }
    }

    fn lines(&mut self) -> Act {
        let at = self.jail();
        let jail = self.jails[at].clone();
        let count = if jail.increment { 1 } else { 1 + self.random.below(4) };
        let lines = (0..count)
            .map(|_| {
                let (id, time) = (self.id(), self.time(jail.findtime));
                let seconds = time as f64 / PARTS as f64;
                if id == "mallory" {
                    format!("{seconds} bad mallory")
                } else if self.random.one_in(2) {
                    format!("{seconds} failed for {} from {id}", self.random.pick(&USERS))
                } else {
                    format!("{seconds} failed from {id}")
                }
            })
            .collect();
        Act::Lines { jail: jail.name, live: !self.random.one_in(5), lines }
    }

    fn ban_command(&mut self) -> Vec<String> {
        let at = self.jail();
        let jail = self.jails[at].name.clone();
        if self.random.one_in(16) {
            let what = if self.random.one_in(2) { "--all".to_owned() } else { self.id() };
            return vec!["unban".to_owned(), what];
        }
        let mut words = vec!["set".to_owned(), jail];
        match self.random.below(8) {
            0..3 => {
                words.push("attempt".into());
                words.push(self.id());
                let most = if self.random.one_in(6) { 14 } else { 4 };
                let lines = self.random.below(most);
                words.extend((0..lines).map(|n| format!("attempt {n}")));
            }
            3..6 => {
                words.push("banip".into());
                let count = 1 + self.random.below(2);
                for _ in 0..count {
                    let id =
                        if self.random.one_in(6) { "192.0.2.0/24".to_owned() } else { self.id() };
                    words.push(id);
                }
            }
            _ => {
                words.push("unbanip".into());
                match self.random.below(5) {
                    0 => words.push("192.0.2.0/24".into()),
                    1 => words.extend(["--report-absent".to_owned(), self.id()]),
                    _ => words.push(self.id()),
                }
            }
        }
        words
    }

    fn option(&mut self) -> Vec<String> {
        let at = self.jail();
        let random = &mut self.random;
        let jail = &mut self.jails[at];
        let (key, value) = match random.below(12) {
            0 | 1 => {
                jail.bantime = *random.pick(&BAN_TIMES);
                ("bantime".to_owned(), written(random, jail.bantime))
            }
            2 => {
                jail.findtime = *random.pick(&FIND_TIMES);
                ("findtime".to_owned(), written(random, jail.findtime))
            }
            3 => {
                jail.maxretry = random.below(7) as i64;
                ("maxretry".to_owned(), jail.maxretry.to_string())
            }
            4 => {
                jail.maxmatches = *random.pick(&MAX_MATCHES);
                ("maxmatches".to_owned(), jail.maxmatches.to_string())
            }
            5 => {
                jail.increment = !jail.increment;
                ("bantime.increment".to_owned(), jail.increment.to_string())
            }
            6..11 => {
                jail.choose_extras(random);
                match jail.extras.first() {
                    Some((name, value)) => (format!("bantime.{name}"), value.clone()),
                    None => ("bantime.maxtime".to_owned(), String::new()),
                }
            }
            _ => {
                let name = *random.pick(&[
                    "factor",
                    "formula",
                    "multipliers",
                    "maxtime",
                    "rndtime",
                    "overalljails",
                ]);
                (format!("bantime.{name}"), String::new())
            }
        };
        ["set", &jail.name, &key, &value].map(str::to_owned).to_vec()
    }
}

fn seconds(at: Instant) -> f64 {
    at as f64 / PARTS as f64
}

impl Step {
    fn json(&self) -> Value {
        let at = seconds(self.at);
        match &self.act {
            Act::Tick => json!([at, "tick"]),
            Act::Start { commands, .. } => json!([at, "start", commands]),
            Act::Failures { jail, failures } => {
                let failures: Vec<Value> = failures.iter().map(Found::json).collect();
                json!([at, "failures", jail, failures])
            }
            Act::Lines { jail, live, lines } => json!([at, "lines", jail, live, lines]),
            Act::Command(words) => json!([at, "command", words]),
        }
    }
}

impl Found {
    fn json(&self) -> Value {
        let lines: Vec<Value> = self
            .lines
            .iter()
            .map(|line| if line.len() == 1 { json!(line[0]) } else { json!(line) })
            .collect();
        let mut data = json!({ "matches": lines });
        if let Some(user) = &self.user {
            data["user"] = json!(user);
        }
        json!([self.id, seconds(self.at), data])
    }
}
