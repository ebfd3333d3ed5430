//! Single operations of the fail manager, where the estimate itself can be seen.

use sekisho_core::failmanager::{FailManager, Limits};
use sekisho_core::failure::{Failure, Fields, MatchedLine};
use sekisho_core::id::Id;
use sekisho_core::time::{Span, Timestamp};
use sekisho_oracle::{Fail2ban, Python, Random, report};
use serde_json::{Value, json};

/// Plays the operations of a line on a new fail manager; what came of each.
const DRIVER: &str = r"
import json, logging, sys
logging.disable(100)
from fail2ban.server.failmanager import FailManager
from fail2ban.server.ticket import FailTicket
for line in sys.stdin:
    find_time, max_matches, operations = json.loads(line)
    m, seen = FailManager(), []
    m.setMaxTime(find_time)
    m.maxMatches = max_matches
    for what, *args in operations:
        if what == 'clean':
            m.cleanup(*args)
            seen.append([m.size()])
            continue
        ident, at, lines, count = args
        ticket = FailTicket(ident, at, ['line %d' % i for i in range(lines)])
        retry = m.addFailure(ticket, count, what == 'extra')
        found = m._FailManager__failList.get(ticket.getID())
        state = [retry, found.getTime(), len(found.getMatches())] if found else []
        seen.append(state + [m.size(), m.getFailTotal()])
    print(json.dumps(seen), flush=True)
";

const SEQUENCES: usize = 300;

#[derive(Clone, Copy, Debug)]
enum Operation {
    Add {
        id: usize,
        at: i64,
        lines: usize,
        count: u32,
    },
    /// More attempts of an id known as bad.
    Extra {
        id: usize,
        at: i64,
        count: u32,
    },
    Clean(i64),
}

struct Sequence {
    find_time: i64,
    max_matches: usize,
    operations: Vec<Operation>,
}

/// Eighths of a second, which floats hold exactly.
const PARTS: i64 = 8;

fn id(n: usize) -> String {
    format!("192.0.2.{n}")
}

fn instant(at: i64) -> Timestamp {
    Timestamp(at * (1_000_000 / PARTS))
}

fn seconds(at: i64) -> f64 {
    at as f64 / PARTS as f64
}

impl Sequence {
    fn new(random: &mut Random) -> Sequence {
        let find_time = *random.pick(&[60_i64, 600, 3600]);
        let max_matches = 1 + random.below(4);
        let mut now = 1_700_000_000 * PARTS;
        let operations = (0..60)
            .map(|_| {
                now += random.below((find_time * PARTS / 2) as usize) as i64;
                let (id, count) = (1 + random.below(4), 1 + random.below(3) as u32);
                let at = now - random.below(30) as i64 * PARTS + 5 * PARTS;
                match random.below(10) {
                    0 => Operation::Clean(now),
                    1 | 2 => Operation::Extra { id, at, count },
                    // More lines than are kept are kept at the first failure: not compared.
                    _ => Operation::Add { id, at, lines: random.below(max_matches + 1), count },
                }
            })
            .collect();
        Sequence { find_time, max_matches, operations }
    }

    fn json(&self) -> Value {
        let operations: Vec<Value> = self
            .operations
            .iter()
            .map(|operation| match *operation {
                Operation::Add { id: n, at, lines, count } => {
                    json!(["add", id(n), seconds(at), lines, count])
                }
                Operation::Extra { id: n, at, count } => {
                    json!(["extra", id(n), seconds(at), 0, count])
                }
                Operation::Clean(at) => json!(["clean", seconds(at)]),
            })
            .collect();
        json!([self.find_time, self.max_matches, operations])
    }

    fn ours(&self) -> Vec<Value> {
        let limits =
            Limits { find_time: Span::from_secs(self.find_time), max_matches: self.max_matches };
        let mut manager = FailManager::default();
        let play = |operation: &Operation| match *operation {
            Operation::Clean(at) => {
                manager.clean_up(instant(at), limits.find_time);
                json!([manager.len()])
            }
            Operation::Add { id: n, at, lines, count } => {
                let failure = Failure {
                    id: Id::parse(&id(n)),
                    address: None,
                    time: instant(at),
                    whole: false,
                    attempts: count,
                    matches: (0..lines).map(|i| MatchedLine::Whole(format!("line {i}"))).collect(),
                    fields: Fields::default(),
                };
                let retry = manager.add(failure, limits);
                seen(&manager, n, retry)
            }
            Operation::Extra { id: n, at, count } => {
                match manager.add_extra(&Id::parse(&id(n)), instant(at), count, 1, limits) {
                    Some(retry) => seen(&manager, n, retry),
                    None => json!([manager.len(), manager.total()]),
                }
            }
        };
        self.operations.iter().map(play).collect()
    }
}

fn seen(manager: &FailManager, n: usize, retry: u32) -> Value {
    let ticket = manager.get(&Id::parse(&id(n))).unwrap();
    let lines = ticket.matches.len();
    json!([retry, ticket.time.as_secs_f64(), lines, manager.len(), manager.total()])
}

#[test]
fn failures_count_as_fail2bans() {
    for judge in Fail2ban::all() {
        let mut random = Random(0x5eed_1234);
        let sequences: Vec<Sequence> = (0..SEQUENCES).map(|_| Sequence::new(&mut random)).collect();
        let mut python = Python::start(judge.python(), DRIVER, &[]);
        let theirs = python.ask_all(sequences.iter().map(Sequence::json).collect());
        for (sequence, theirs) in sequences.iter().zip(theirs) {
            for (at, (ours, theirs)) in
                sequence.ours().iter().zip(theirs.as_array().unwrap()).enumerate()
            {
                let story = &sequence.operations[..=at];
                assert_eq!(ours, theirs, "ours (left), fail2ban's (right) after {story:?}");
            }
        }
        report("failure counting: single operations", &judge.version, SEQUENCES, "sequences");
    }
}
