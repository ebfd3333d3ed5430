//! The fail manager counts as fail2ban's own does, on generated sequences.
//!
//! Needs an installed fail2ban and `/usr/bin/python3`; where `SEKISHO_CI=1` is set they must exist.

// A test may stop at anything unexpected.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use sekisho_core::failmanager::{FailManager, Limits};
use sekisho_core::failure::{Failure, Fields, MatchedLine};
use sekisho_core::id::Id;
use sekisho_core::time::{Span, Timestamp};

/// Reads one operation per line, prints what came of it.
const DRIVER: &str = r#"
import sys, logging
sys.path.insert(0, '/usr/lib/python3/dist-packages')
logging.disable(100)
from fail2ban.server.failmanager import FailManager
from fail2ban.server.ticket import FailTicket
print('ready')
m = None
for line in sys.stdin:
    op, *args = line.split()
    if op == 'new':
        m = FailManager()
        m.setMaxTime(int(args[0]))
        m.maxMatches = int(args[1])
        print('new')
    elif op == 'add':
        ident, at, lines, count = args
        lines = ['line %d' % i for i in range(int(lines))]
        n = m.addFailure(FailTicket(ident, int(at), lines), int(count))
        t = m._FailManager__failList[ident]
        print(n, t.getAttempt(), t.getTime(), len(t.getMatches()), m.size(), m.getFailTotal())
    elif op == 'clean':
        m.cleanup(int(args[0]))
        print(m.size())
"#;

struct Random(u64);
impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn missing(what: &str) {
    assert!(std::env::var("SEKISHO_CI").as_deref() != Ok("1"), "needs {what}");
    eprintln!("skipped: needs {what}");
}

#[test]
fn counts_like_the_original() {
    let mut random = Random(0x5eed_1234);
    let (mut script, mut ours) = (String::new(), String::new());
    for _ in 0..300 {
        let find_time = [60_i64, 600, 3600][random.below(3) as usize];
        let max_matches = 1 + random.below(4) as usize;
        writeln!(script, "new {find_time} {max_matches}").unwrap();
        writeln!(ours, "new").unwrap();
        let limits = Limits { find_time: Span::from_secs(find_time), max_matches };
        let mut manager = FailManager::default();
        let mut now = 1_700_000_000_i64;
        for _ in 0..60 {
            now += random.below(find_time as u64 / 2) as i64;
            if random.below(10) == 0 {
                manager.clean_up(Timestamp::from_secs(now), limits.find_time);
                writeln!(script, "clean {now}").unwrap();
                writeln!(ours, "{}", manager.len()).unwrap();
                continue;
            }
            let id = format!("192.0.2.{}", 1 + random.below(4));
            let at = now - random.below(30) as i64 + 5;
            let lines = random.below(max_matches as u64 + 1) as usize;
            let count = 1 + random.below(3) as u32;
            writeln!(script, "add {id} {at} {lines} {count}").unwrap();
            let failure = Failure {
                id: Id::parse(&id),
                address: None,
                time: Timestamp::from_secs(at),
                attempts: count,
                matches: (0..lines).map(|i| MatchedLine::Whole(format!("line {i}"))).collect(),
                fields: Fields::default(),
            };
            let retry = manager.add(failure, limits);
            let ticket = manager.get(&Id::parse(&id)).unwrap();
            writeln!(
                ours,
                "{retry} {} {} {} {} {}",
                ticket.failures,
                ticket.time.as_secs(),
                ticket.matches.len(),
                manager.len(),
                manager.total()
            )
            .unwrap();
        }
    }
    let python = Command::new("/usr/bin/python3")
        .args(["-c", DRIVER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut python) = python else { return missing("/usr/bin/python3") };
    let mut input = python.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(script.as_bytes()));
    let output = python.wait_with_output().unwrap();
    let _ = writer.join();
    let theirs = String::from_utf8(output.stdout).unwrap();
    let Some(theirs) = theirs.strip_prefix("ready\n") else {
        return missing("an installed fail2ban");
    };
    for (at, (a, b)) in ours.lines().zip(theirs.lines()).enumerate() {
        assert_eq!(a, b, "operation {at}: ours (left), fail2ban's (right)");
    }
    assert_eq!(ours.lines().count(), theirs.lines().count());
    sekisho_oracle::report("failure counting: single operations", "1.0.2", 300, "sequences");
}
