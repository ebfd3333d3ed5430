//! All jails: events in, effects out.
//!
//! [`Engine::handle`] is the only entrance. It never waits, reads no clock and does nothing itself:
//! what should happen leaves as [`Effect`]s, and what happened comes back as [`Event`]s. So one
//! thread can own all state, nothing outside can stop it, and a simulator can replay any history.
//!
//! Where things are: `control` understands commands, `settings` changes and shows one jail,
//! `reload` compares configurations, `status` tells; `sources` and `lines` bring failures, `count`
//! judges and counts them, `increase` knows of earlier bans, `enforce` keeps the kernel equal to the
//! bans, `desk` is what all share, `keep` hands what is in force over a restart.

mod call;
mod control;
mod count;
mod desk;
mod enforce;
mod increase;
mod jail;
mod keep;
mod lines;
mod outcome;
mod python;
mod reload;
mod settings;
mod sources;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::effect::{Answer, AskId, Effect, Event, Happening, Kept, Level, SourceId};
use crate::ignore::Question;
use crate::time::{Monotonic, Now, Span, Timestamp, Zone};

use desk::{Asked, Desk, Reply, logger};
use jail::Jail;
use sources::Source;

/// What the engine has to know of the world it lives in.
#[derive(Clone, Debug)]
pub struct Config {
    /// The rules of local time, for the texts of the log.
    pub zone: Zone,
    /// What `version` answers.
    pub version: String,
    /// Whether IPv6 is usable here: what `allowipv6 = auto` means.
    pub ipv6: bool,
    /// Seed of the random part of ban times.
    pub seed: u64,
    /// Whether an earlier process ended without stopping its actions: what it left behind is taken
    /// away before an action starts.
    pub unclean_start: bool,
    /// Whether the kernel reports changes of files: what `backend = auto` decides by.
    pub inotify: bool,
    /// What an earlier server left in force when it ended to be started again.
    pub kept: Vec<Kept>,
    /// Python's name of the locale's encoding: what `logencoding = auto` shows.
    pub encoding: String,
    /// Whether logs in the encoding of this (Python's) name can be read.
    pub known_encoding: fn(&str) -> bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            zone: Zone::utc(),
            version: "1.1.1".into(),
            ipv6: true,
            seed: 1,
            unclean_start: false,
            inotify: true,
            kept: Vec::new(),
            encoding: "UTF-8".into(),
            known_encoding: |_| true,
        }
    }
}

/// When the engine wants to be called again, at the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadline {
    /// By the wall clock (ends of bans).
    pub wall: Option<Timestamp>,
    /// By the monotonic clock (everything else).
    pub mono: Option<Monotonic>,
}

impl Deadline {
    /// How long to wait from `now` on. The wall clock may step, so waiting for it is cut into
    /// pieces of at most two seconds.
    pub fn wait(self, now: Now) -> Option<Span> {
        let mono = self.mono.map(|at| at.since(now.mono));
        let wall = self.wall.map(|at| Span(at.since(now.wall).0.clamp(0, 2_000_000)));
        match (mono, wall) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// Which jail: names may be used again while an earlier jail of that name is still stopping.
pub(crate) type JailKey = u32;

/// All jails and what they share. A clone is a world of its own that begins here.
#[derive(Clone)]
pub struct Engine {
    desk: Desk,
    jails: BTreeMap<JailKey, Jail>,
    names: BTreeMap<Arc<str>, JailKey>,
    broken: BTreeMap<String, String>,
    sources: BTreeMap<SourceId, Source>,
    /// Sources not opened yet.
    unopened: BTreeSet<SourceId>,
    /// Sources read further than stored, by the time at which that is due.
    to_store: BTreeSet<(Monotonic, SourceId)>,
    shutting_down: bool,
    next_purge: Option<Monotonic>,
}

/// How often the database is purged.
const PURGE_EVERY: Span = Span::from_secs(3600);

impl Engine {
    /// An engine without jails.
    pub fn new(config: Config) -> Self {
        Self {
            desk: Desk::new(config),
            jails: BTreeMap::new(),
            names: BTreeMap::new(),
            broken: BTreeMap::new(),
            sources: BTreeMap::new(),
            unopened: BTreeSet::new(),
            to_store: BTreeSet::new(),
            shutting_down: false,
            next_purge: None,
        }
    }

    /// What an earlier process left behind is taken away before an action starts: for when that is
    /// learned only after the engine was made (the database tells, and `set dbfile` names it).
    pub fn set_unclean_start(&mut self) {
        self.desk.config.unclean_start = true;
    }

    /// Takes in one event and appends what is to be done to `out`.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        self.desk.now = now;
        match event {
            Event::Control { request, words } => self.control(request, &words),
            Event::Lines(batch) => self.lines(batch),
            Event::Source(source, state) => self.source_state(source, state),
            Event::Failures { jail, failures } => {
                if let Some(key) = self.names.get(&jail).copied() {
                    for failure in failures {
                        self.failure(key, failure);
                    }
                }
            }
            Event::Outcome(job, result) => self.outcome(job, result),
            Event::Repaired(action) => {
                if let Some(jail) = self.jails.values_mut().find(|j| j.has_action(action)) {
                    jail.repaired(&mut self.desk, action);
                }
            }
            Event::Described(action, traits) => self.described(action, traits),
            Event::Answer(id, answer) => self.answer(id, answer),
            Event::StoreState(state) => self.store_state(state),
            Event::Tick => {}
        }
        self.tick();
        out.append(&mut self.desk.out);
    }

    /// When [`Engine::handle`] has to be called again even if nothing happens.
    pub fn next_deadline(&self) -> Deadline {
        let mut wall = None;
        let mut mono = self.desk.next_wait();
        let earlier = |slot: &mut Option<Monotonic>, at: Option<Monotonic>| {
            *slot = match (*slot, at) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        };
        earlier(&mut mono, self.next_purge);
        earlier(&mut mono, self.desk.claim_by);
        for jail in self.jails.values() {
            earlier(&mut mono, jail.next_mono());
            if let Some(end) = jail.next_end() {
                wall = Some(wall.map_or(end, |w: Timestamp| w.min(end)));
            }
        }
        earlier(&mut mono, self.to_store.first().map(|(at, _)| *at));
        Deadline { wall, mono }
    }

    fn tick(&mut self) {
        let mono = self.desk.now.mono;
        match self.next_purge {
            None => self.next_purge = Some(mono.plus(PURGE_EVERY)),
            Some(at) if at <= mono => {
                self.desk.store(crate::effect::StoreOp::Purge);
                self.next_purge = Some(mono.plus(PURGE_EVERY));
            }
            Some(_) => {}
        }
        for jail in self.jails.values_mut() {
            jail.tick(&mut self.desk);
        }
        self.desk.give_up_late();
        self.open_sources();
        self.store_counted();
        self.store_due();
        self.finish_jails();
        self.desk.expire_waits();
    }

    /// Removes the jails that have stopped, and lets their successors begin.
    fn finish_jails(&mut self) {
        let done: Vec<JailKey> =
            self.jails.iter().filter(|(_, j)| j.has_stopped()).map(|(k, _)| *k).collect();
        for key in done {
            let Some(jail) = self.jails.remove(&key) else { continue };
            let text = format!("Jail '{}' stopped", jail.name);
            self.desk.log(Level::Info, logger::JAIL, text);
            self.desk.happened(&jail.name, Happening::Stopped);
            for wait in jail.stop_waits {
                self.desk.wait_done(wait);
            }
            let waiting = self.jails.values().find(|j| j.waits_for(key)).map(|j| j.key);
            if let Some(next) = waiting {
                self.begin_jail(next);
            }
        }
    }

    fn answer(&mut self, id: AskId, answer: Answer) {
        let Some(asked) = self.desk.finish_ask(id) else { return };
        match asked {
            Asked::Ignore(question) => self.learned(question, answer),
            Asked::Command(case) => self.command_judged(*case, answer),
            Asked::UnbanName { jail, name, found, wait } => {
                let ips = match answer {
                    Answer::Addresses(found) => self.resolved(&name, found),
                    _ => Vec::new(),
                };
                self.unban_name(jail, &name, &ips, found, wait);
            }
            Asked::Restore(jail) => {
                let rows = match answer {
                    Answer::Bans(rows) => rows,
                    _ => Vec::new(),
                };
                self.restore(jail, rows);
            }
            Asked::History { jail, id, serial } => {
                if let Some(jail) = self.jails.get_mut(&jail) {
                    let history = match answer {
                        Answer::History(history) => history,
                        _ => None,
                    };
                    jail.history(&mut self.desk, &id, serial, history);
                }
            }
            Asked::Bad { jail, id, time } => {
                if let (Some(jail), Answer::History(Some(history))) =
                    (self.jails.get_mut(&jail), answer)
                {
                    jail.known_bad(&mut self.desk, &id, time, history);
                }
            }
            Asked::LogPosition { jail, source } => {
                let position = match answer {
                    Answer::LogPosition(position) => position,
                    _ => None,
                };
                self.log_position(jail, source, position);
            }
            Asked::Property { multi, wait } => {
                let result = match answer {
                    Answer::Property(result) => python::answer(result, multi),
                    _ => Ok(crate::value::Value::None),
                };
                if let Some(reply) = self.desk.wait_reply(wait) {
                    *reply = Reply::Done(result);
                }
                self.desk.wait_done(wait);
            }
            Asked::Origins { jail, wait } => {
                if let Answer::Origins(origins, trouble) = answer {
                    self.origins(jail.as_deref(), wait, &origins, trouble);
                }
                self.desk.wait_done(wait);
            }
            Asked::Setting { name, wait } => {
                let result = match answer {
                    Answer::Setting(result) => result,
                    _ => Ok(crate::value::Value::None),
                };
                if let (Ok(value), "dbfile") = (&result, name.as_str()) {
                    self.desk.dbfile.1 = value.clone();
                }
                if let Some(reply) = self.desk.wait_reply(wait) {
                    *reply = Reply::Done(result);
                }
                self.desk.wait_done(wait);
            }
        }
    }

    /// The addresses of a name; the log says why there are none.
    fn resolved(&mut self, name: &str, found: Result<Vec<IpAddr>, String>) -> Vec<IpAddr> {
        found.unwrap_or_else(|error| {
            let text = format!("Unable to find a corresponding IP address for {name}: {error}");
            self.desk.log(Level::Warning, logger::IPDNS, text);
            Vec::new()
        })
    }

    /// The world has answered a question about ignore rules or a name.
    fn learned(&mut self, question: Question, answer: Answer) {
        let now = self.desk.now.mono;
        match (&question, answer) {
            (Question::Own, Answer::Addresses(found)) => {
                let ips = found.unwrap_or_else(|error| {
                    let text = format!("Own addresses cannot be read: {error}");
                    self.desk.log(Level::Warning, logger::IPDNS, text);
                    Vec::new()
                });
                self.desk.known.set_own(ips, now);
            }
            (Question::Name(name), Answer::Addresses(found)) => {
                let mut ips = self.resolved(name, found);
                if !self.desk.config.ipv6 {
                    ips.retain(IpAddr::is_ipv4);
                }
                self.desk.known.set_name(name, ips, now);
            }
            (Question::File(path), Answer::File(found)) => match found {
                Ok(Some((stamp, text))) => {
                    self.desk.known.set_file(path, Ok(Some((stamp, &text))), now);
                }
                Ok(None) => self.desk.known.set_file(path, Ok(None), now),
                Err(error) => {
                    let text = format!(
                        "ignoreip file {path} cannot be read: {error}; looking again in a minute"
                    );
                    self.desk.log(Level::Warning, logger::FILTER, text);
                    self.desk.known.set_file(path, Err(()), now);
                }
            },
            // An answer of another kind: believe in nothing found, so that nobody waits for ever.
            (Question::Own, _) => self.desk.known.set_own(Vec::new(), now),
            (Question::Name(name), _) => self.desk.known.set_name(name, Vec::new(), now),
            (Question::File(path), _) => self.desk.known.set_file(path, Err(()), now),
        }
        for case in self.desk.unpark(&question) {
            self.judge(case);
        }
    }

    fn store_state(&mut self, state: Result<(), String>) {
        match state {
            Ok(()) => {
                let text = "The database can be written again";
                self.desk.log(Level::Notice, logger::DATABASE, text);
            }
            Err(reason) => {
                let text = format!(
                    "{reason}; bans go on and are kept in memory until it can be written again"
                );
                self.desk.log(Level::Error, logger::DATABASE, text);
            }
        }
    }
}
