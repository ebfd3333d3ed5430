//! A runner whose events and log records can be looked at.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, unbounded};
use sekisho::LogFn;
use sekisho::action::{PastBansFn, Runner};
use sekisho_core::command::CommandError;
use sekisho_core::effect::{
    ActionId, ActionOp, ActionSpec, Answer, AskId, Counters, Event, Job, JobId, Level, Property,
    Record, Traits,
};
use sekisho_core::id::{Family, Id};
use sekisho_core::ticket::{BanTime, Ticket};
use sekisho_core::time::{Span, Timestamp};
use sekisho_core::value::Value;

pub type Records = Arc<Mutex<Vec<Record>>>;

pub struct Bench {
    pub runner: Runner,
    pub events: Receiver<Event>,
    records: Records,
    next: std::cell::Cell<u64>,
    /// What Python actions turned out to be, by action.
    pub described: std::cell::RefCell<BTreeMap<u32, Traits>>,
    /// Jail counters of all jobs to come.
    pub counters: std::cell::Cell<Counters>,
}

impl Bench {
    pub fn new() -> Bench {
        Self::with_past(Arc::new(|_, _| None))
    }

    /// With this memory of earlier bans.
    pub fn with_past(past: PastBansFn) -> Bench {
        let (sender, events) = unbounded();
        let records = Records::default();
        let log: LogFn = {
            let records = Arc::clone(&records);
            Arc::new(move |record| records.lock().unwrap().push(record))
        };
        let runner = Runner::start(sender, log, past);
        let next = std::cell::Cell::new(1);
        let (described, counters) = Default::default();
        Bench { runner, events, records, next, described, counters }
    }

    pub fn send(
        &self,
        action: u32,
        spec: &Arc<ActionSpec>,
        op: ActionOp,
        ip: Option<&str>,
    ) -> JobId {
        self.send_ticket(action, spec, op, ip.map(ticket))
    }

    pub fn send_ticket(
        &self,
        action: u32,
        spec: &Arc<ActionSpec>,
        op: ActionOp,
        ticket: Option<Ticket>,
    ) -> JobId {
        let id = JobId(self.next.replace(self.next.get() + 1));
        self.runner.run(Job {
            id,
            jail: "j1".into(),
            action: ActionId(action),
            spec: Arc::clone(spec),
            op,
            ticket: ticket.map(Arc::new),
            counters: self.counters.get(),
        });
        id
    }

    /// Asks a Python action, and waits for the answer.
    pub fn ask(&self, action: u32, what: Property) -> Result<Value, CommandError> {
        let id = AskId(self.next.replace(self.next.get() + 1));
        self.runner.ask(id, ActionId(action), self.counters.get(), what);
        loop {
            match self.event() {
                Event::Repaired(_) => {}
                Event::Answer(answered, Answer::Property(result)) if answered == id => {
                    return result;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next event that is no description.
    fn event(&self) -> Event {
        loop {
            match self.events.recv_timeout(std::time::Duration::from_secs(90)).unwrap() {
                Event::Described(ActionId(action), traits) => {
                    self.described.borrow_mut().insert(action, traits);
                }
                other => return other,
            }
        }
    }

    pub fn outcome(&self) -> (JobId, Result<(), String>, bool) {
        let mut repaired = false;
        loop {
            match self.event() {
                Event::Repaired(_) => repaired = true,
                Event::Outcome(id, result) => {
                    if let Err(failure) = &result {
                        assert_eq!(failure.repaired, repaired);
                    }
                    return (id, result.map_err(|f| f.reason), repaired);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// All log records since the last call.
    pub fn take_records(&self) -> Vec<Record> {
        std::mem::take(&mut self.records.lock().unwrap())
    }

    pub fn texts(&self, at_least: Level) -> Vec<String> {
        let records = self.records.lock().unwrap();
        records.iter().filter(|r| r.level >= at_least).map(|r| r.text.clone()).collect()
    }
}

pub fn ticket(ip: &str) -> Ticket {
    Ticket {
        id: Id::parse(ip),
        address: None,
        time: Timestamp::from_secs(1_700_000_000),
        whole: false,
        ban_time: BanTime::For(Span::from_secs(600)),
        ban_count: 1,
        failures: 0,
        matches: Vec::new(),
        fields: Default::default(),
        restored: false,
    }
}

pub fn spec(name: &str, properties: &[(&str, &str)]) -> Arc<ActionSpec> {
    let properties = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Arc::new(ActionSpec {
        name: name.into(),
        file: None,
        properties: properties.collect(),
        families: vec![Family::Inet4, Family::Inet6],
        ..ActionSpec::default()
    })
}
