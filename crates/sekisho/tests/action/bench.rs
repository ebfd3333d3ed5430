//! A runner whose events and log records can be looked at.

use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, unbounded};
use sekisho::LogFn;
use sekisho::action::{PastBansFn, Runner};
use sekisho_core::effect::{
    ActionId, ActionOp, ActionSpec, Counters, Event, Job, JobId, Level, Record,
};
use sekisho_core::id::{Family, Id};
use sekisho_core::ticket::{BanTime, Ticket};
use sekisho_core::time::{Span, Timestamp};

pub type Records = Arc<Mutex<Vec<Record>>>;

pub struct Bench {
    pub runner: Runner,
    pub events: Receiver<Event>,
    records: Records,
    next: std::cell::Cell<u64>,
}

impl Bench {
    pub fn new() -> Bench {
        let (sender, events) = unbounded();
        let records = Records::default();
        let log: LogFn = {
            let records = Arc::clone(&records);
            Arc::new(move |record| records.lock().unwrap().push(record))
        };
        let past: PastBansFn = Arc::new(|_, _| None);
        let runner = Runner::start(sender, log, past);
        Bench { runner, events, records, next: std::cell::Cell::new(1) }
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
            counters: Counters::default(),
        });
        id
    }

    pub fn outcome(&self) -> (JobId, Result<(), String>, bool) {
        let mut repaired = false;
        loop {
            match self.events.recv_timeout(std::time::Duration::from_secs(30)).unwrap() {
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
        python: None,
        families: vec![Family::Inet4, Family::Inet6],
    })
}
