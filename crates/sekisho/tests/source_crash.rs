//! Kills and power failures at any moment, with the engine counting: every line leads to one ban.
//!
//! A line is read, counted, leads to a ban, and the ban and the place in the log are stored; a crash
//! comes between any two of these. What was not stored is read and counted again; what was stored
//! must not be. Here every attempt is a ban of its own, so counting twice or never would show.
//!
//! `SEKISHO_CRASH_RUNS` sets how many runs there are.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use sekisho::source::encoding::Encoding;
use sekisho::source::tail::{Out, Tail};
use sekisho_core::command::Words;
use sekisho_core::effect::{
    Answer, Ask, Batch, Effect, Event, Position, RequestId, SourceId, SourceOp, StoreOp, StoredBan,
};
use sekisho_core::engine::{Config, Engine};
use sekisho_core::ticket::Ticket;
use sekisho_core::time::{Monotonic, Now, Span, Timestamp};
use sekisho_core::value::Value;
use sekisho_oracle::{Random, cases};

/// What the disk holds.
#[derive(Clone, Default)]
struct Disk {
    positions: BTreeMap<String, Position>,
    bans: BTreeMap<String, (Arc<Ticket>, u32)>,
}

impl Disk {
    fn write(&mut self, op: &StoreOp) {
        match op {
            StoreOp::LogPosition { path, position, .. } => {
                self.positions.insert(path.clone(), position.clone());
            }
            StoreOp::AddBan { ticket, .. } => {
                let entry = self.bans.entry(ticket.id.to_string());
                entry.or_insert_with(|| (Arc::clone(ticket), 0)).1 += 1;
            }
            StoreOp::AddJail(_) | StoreOp::DisableJail(_) | StoreOp::Purge => {}
            other => panic!("{other:?}"),
        }
    }
}

struct World {
    dir: tempfile::TempDir,
    random: Random,
    now: Now,
    disk: Disk,
    /// What each event changes, as far as it is not on the disk yet.
    waiting: Vec<Vec<StoreOp>>,
    engine: Engine,
    tail: Option<(SourceId, Tail)>,
    written: u32,
    rotations: u32,
    retry: u32,
}

impl World {
    fn new(seed: u64, retry: u32) -> World {
        let mut world = World {
            dir: tempfile::tempdir().unwrap(),
            random: Random(seed),
            now: Now { wall: Timestamp::from_secs(1_795_608_000), mono: Monotonic(1) },
            disk: Disk::default(),
            waiting: Vec::new(),
            engine: Engine::new(Config::default()),
            tail: None,
            written: 0,
            rotations: 0,
            retry,
        };
        // A log that is rotated away before anyone looked is nobody's.
        world.append(1);
        world.start();
        world.read(1);
        world.flush(usize::MAX);
        world
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn start(&mut self) {
        self.tail = None;
        self.engine = Engine::new(Config::default());
        let path = self.path().display().to_string();
        let retry = self.retry.to_string();
        let commands: [&[&str]; 7] = [
            &["add", "j", "auto"],
            &["set", "j", "ignoreself", "no"],
            &["set", "j", "usedns", "no"],
            &["set", "j", "maxretry", &retry],
            &["set", "j", "addlogpath", &path],
            &["set", "j", "addfailregex", "^ bad <HOST>$"],
            &["start", "j"],
        ];
        for words in commands {
            let words = words.iter().map(|word| Value::str(*word)).collect();
            let words = Words { words, origin: None };
            self.handle(Event::Control { request: RequestId(1), words });
        }
    }

    fn handle(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let mut out = Vec::new();
            self.engine.handle(self.now, event, &mut out);
            let changes = out.iter().filter_map(|effect| match effect {
                Effect::Store(op) => Some(op.clone()),
                _ => None,
            });
            self.waiting.push(changes.collect());
            for effect in out {
                match effect {
                    Effect::Ask(id, ask) => events.push(Event::Answer(id, self.answer(&ask))),
                    Effect::Source(SourceOp::OpenFile { source, path, start, .. }) => {
                        self.tail = Some((source, Tail::new(path.into(), Encoding::Bytes, start)));
                    }
                    Effect::Source(SourceOp::Close(_)) => self.tail = None,
                    _ => {}
                }
            }
        }
    }

    /// The store answers with what it has and what waits.
    fn answer(&self, ask: &Ask) -> Answer {
        let mut disk = self.disk.clone();
        self.waiting.iter().flatten().for_each(|op| disk.write(op));
        match ask {
            Ask::LogPosition { path, .. } => Answer::LogPosition(disk.positions.get(path).cloned()),
            Ask::Restore { .. } => {
                let stored = |(ticket, _): &(Arc<Ticket>, u32)| StoredBan {
                    ticket: Ticket { restored: true, ..(**ticket).clone() },
                };
                Answer::Bans(disk.bans.values().map(stored).collect())
            }
            Ask::History { .. } => Answer::History(None),
            other => panic!("{other:?}"),
        }
    }

    /// Reads, at most so many batches.
    fn read(&mut self, most: usize) {
        let mut batches = 0;
        for _ in 0..10_000 {
            let Some((source, tail)) = &mut self.tail else { return };
            let source = *source;
            let step = tail.step(self.now.mono);
            for out in step.out {
                match out {
                    Out::State(state) => self.handle(Event::Source(source, state)),
                    Out::Lines { data, live, position } => {
                        batches += 1;
                        let times = Vec::new();
                        self.handle(Event::Lines(Batch { source, data, live, position, times }));
                    }
                }
            }
            if !step.more || batches >= most {
                return;
            }
        }
    }

    fn append(&mut self, lines: u32) {
        let mut text = String::new();
        for _ in 0..lines {
            let (a, b) = (self.written / self.retry / 250, self.written / self.retry % 250);
            let date = sekisho_core::time::Zone::utc().format(self.now.wall);
            text += &format!("{date} bad 10.7.{a}.{b}\n");
            self.written += 1;
        }
        let mut log = OpenOptions::new().create(true).append(true).open(self.path()).unwrap();
        log.write_all(text.as_bytes()).unwrap();
    }

    /// What waits for the disk gets there.
    fn flush(&mut self, groups: usize) {
        let count = groups.min(self.waiting.len());
        for op in self.waiting.drain(..count).flatten() {
            self.disk.write(&op);
        }
    }

    fn act(&mut self) {
        match self.random.below(20) {
            0..7 => {
                let lines = 1 + self.random.below(5) as u32;
                self.append(lines);
            }
            7 if self.path().exists() => {
                self.rotations += 1;
                let name = format!("log-{}", 20_260_000 + self.rotations);
                fs::rename(self.path(), self.dir.path().join(name)).unwrap();
            }
            8..14 => {
                let most = 1 + self.random.below(3);
                self.read(most);
            }
            14 | 15 => {
                let span = Span::from_millis(self.random.below(4000) as i64);
                self.now.wall = self.now.wall.plus(span);
                self.now.mono = self.now.mono.plus(span);
                self.handle(Event::Tick);
            }
            16 => self.flush(usize::MAX),
            // Killed: all that was handed on is noted in memory, and written by the successor.
            17 => {
                self.flush(usize::MAX);
                self.start();
            }
            // The power fails: what waited is lost, from some change on.
            18 => {
                let kept = self.random.below(self.waiting.len() + 1);
                self.flush(kept);
                self.waiting.clear();
                self.start();
            }
            // An orderly end.
            _ => {
                let words = Words { words: vec![Value::str("stop")], origin: None };
                self.handle(Event::Control { request: RequestId(2), words });
                self.flush(usize::MAX);
                self.start();
            }
        }
    }

    fn finish(&mut self) {
        self.append(self.retry - self.written % self.retry);
        for _ in 0..3 {
            self.read(usize::MAX);
            self.now.mono = self.now.mono.plus(Span::from_secs(20));
            self.handle(Event::Tick);
        }
        self.flush(usize::MAX);
    }
}

#[test]
fn every_attempt_is_counted_once() {
    let runs = cases("SEKISHO_CRASH_RUNS", 30) as u64;
    let (mut attempts, mut bans) = (0, 0);
    for seed in 0..runs {
        let mut world = World::new(seed, 1);
        (0..300).for_each(|_| world.act());
        world.finish();
        for (id, (_, times)) in &world.disk.bans {
            assert_eq!(*times, 1, "seed {seed}: {id} was banned {times} times");
        }
        assert_eq!(world.disk.bans.len(), world.written as usize, "seed {seed}: lines not counted");
        attempts += world.written;
    }
    // With three attempts to a ban a crash may forget some that were counted in memory, as a restart
    // does, but never makes more of them.
    for seed in 0..runs {
        let mut world = World::new(seed, 3);
        (0..300).for_each(|_| world.act());
        world.finish();
        for (id, (_, times)) in &world.disk.bans {
            assert_eq!(*times, 1, "seed {seed}: {id} was banned {times} times");
        }
        bans += world.disk.bans.len();
    }
    assert!(attempts > 0 && bans > 0);
    println!("{runs} runs: {attempts} attempts, each counted once");
}
