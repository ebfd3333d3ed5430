//! Nothing is lost and nothing comes twice, whatever happens to the journal while it is followed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sekisho::source::{Inbox, Options, Sources};
use sekisho_core::effect::{Event, Position, SourceId, SourceOp, SourceState, StartAt};
use sekisho_core::time::Timestamp;
use sekisho_oracle::cases;

use crate::PATIENCE;
use crate::journald::Journald;
use crate::server::Server;

struct Reader {
    sources: Sources,
    events: Inbox,
    /// How often each line came, without its host.
    lines: BTreeMap<String, usize>,
    troubles: Vec<String>,
    position: Option<Position>,
    caught_up: bool,
    _folder: tempfile::TempDir,
}

impl Reader {
    fn open(params: &[(&str, String)], matches: &[&str], saved: Option<Position>) -> Reader {
        let folder = tempfile::tempdir().unwrap();
        let (sender, events) = sekisho::source::inbox(100);
        let options = Options { folder: Some(folder.path().join("links")), ..Options::default() };
        let mut sources = Sources::start_with(sender, Arc::new(|_| {}), options).unwrap();
        sources.apply(SourceOp::OpenJournal {
            source: SourceId(1),
            matches: matches.iter().map(|m| m.split(' ').map(str::to_owned).collect()).collect(),
            params: params.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect(),
            start: StartAt::Head { saved, since: Timestamp(1) },
        });
        let (lines, troubles) = (BTreeMap::new(), Vec::new());
        let (position, caught_up) = (None, false);
        Reader { sources, events, lines, troubles, position, caught_up, _folder: folder }
    }

    fn at(journald: &Journald, saved: Option<Position>) -> Reader {
        let root = journald.root().display().to_string();
        Reader::open(
            &[("journalpath", root)],
            &["SYSLOG_IDENTIFIER=a + SYSLOG_IDENTIFIER=b"],
            saved,
        )
    }

    fn step(&mut self, wait: Duration) -> bool {
        let Ok(event) = self.events.wait(wait) else { return false };
        match event {
            Event::Lines(batch) => {
                let text = String::from_utf8(batch.data).unwrap();
                assert_eq!(text.lines().count(), batch.times.len());
                for line in text.lines() {
                    let line = line.split_once(' ').unwrap().1;
                    *self.lines.entry(line.to_owned()).or_default() += 1;
                }
                self.position = Some(batch.position);
            }
            Event::Source(_, SourceState::Trouble(text)) => self.troubles.push(text),
            Event::Source(_, SourceState::CaughtUp) => self.caught_up = true,
            _ => {}
        }
        true
    }

    fn catch_up(&mut self) {
        let end = Instant::now() + PATIENCE;
        while !self.caught_up {
            assert!(Instant::now() < end, "never caught up: {:?}", self.troubles);
            self.step(Duration::from_millis(100));
        }
    }

    /// Waits for a line.
    fn until(&mut self, line: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.lines.contains_key(line) {
            let so_far = self.lines.len();
            assert!(Instant::now() < end, "{line} after {so_far} lines: {:?}", self.troubles);
            self.step(Duration::from_millis(100));
        }
    }

    fn check(&self, expected: impl Iterator<Item = String>) {
        let expected: BTreeMap<String, usize> = expected.map(|line| (line, 1)).collect();
        let (lost, more): (Vec<_>, Vec<_>) = (
            expected.keys().filter(|l| !self.lines.contains_key(*l)).take(5).collect(),
            self.lines.iter().filter(|(l, n)| expected.get(*l) != Some(n)).take(5).collect(),
        );
        assert!(lost.is_empty() && more.is_empty(), "lost {lost:?}, more {more:?}");
    }
}

fn lines(ident: &'static str, range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(move |i| format!("{ident}: m{i}"))
}

#[test]
fn rotation_vacuum_and_a_restart_lose_nothing() {
    let Some(mut journald) = Journald::start("SystemMaxFileSize=1M") else { return };
    let rounds = cases("SEKISHO_JOURNAL_ROUNDS", 4);
    journald.write("a", "m0");
    let mut reader = Reader::at(&journald, None);
    reader.until("a: m0");
    let mut next = 1;
    for round in 0..rounds {
        for _ in 0..300 {
            journald.write("a", &format!("m{next}"));
            journald.write("other", "is not for us");
            next += 1;
        }
        match round % 4 {
            0 => journald.rotate(),
            1 => {
                journald.rotate();
                journald.rotate();
                reader.until(&format!("a: m{}", next - 1));
                journald.vacuum();
            }
            2 => journald.restart(),
            _ => {
                // A reader that is away for a while, over a rotation.
                reader.until(&format!("a: m{}", next - 1));
                reader.sources.stop();
                for _ in 0..100 {
                    journald.write("a", &format!("m{next}"));
                    next += 1;
                }
                journald.rotate();
                let (seen, place) = (std::mem::take(&mut reader.lines), reader.position.take());
                reader = Reader::at(&journald, place);
                reader.lines = seen;
            }
        }
    }
    journald.write("b", "end");
    reader.until("b: end");
    assert!(reader.troubles.is_empty(), "{:?}", reader.troubles);
    reader.check(lines("a", 0..next).chain(["b: end".to_owned()]));
}

/// The entry that was read last may be gone when reading goes on: removed with its file, or not
/// selected any more.
#[test]
fn nothing_is_lost_behind_a_place_that_is_gone() {
    let Some(journald) = Journald::start("") else { return };
    for i in 0..5 {
        journald.write("a", &format!("m{i}"));
    }
    journald.write("b", "last");
    let mut reader = Reader::at(&journald, None);
    reader.until("b: last");
    reader.sources.stop();
    let place = reader.position.take();
    journald.rotate();
    for i in 5..10 {
        journald.write("a", &format!("m{i}"));
    }
    journald.settle();
    let params = [("journalpath", journald.root().display().to_string())];
    let open = || Reader::open(&params, &["SYSLOG_IDENTIFIER=a"], place.clone());
    let finish = |mut reader: Reader, range: std::ops::Range<usize>| {
        reader.until(&format!("a: m{}", range.end - 1));
        reader.check(lines("a", range));
        assert!(reader.troubles.is_empty(), "{:?}", reader.troubles);
    };
    finish(open(), 5..10);
    journald.vacuum();
    finish(open(), 5..10);
    journald.rotate();
    journald.vacuum();
    let mut reader = open();
    reader.catch_up();
    journald.write("a", "m10");
    finish(reader, 10..11);
}

#[test]
fn named_files_are_followed_over_rotations() {
    let Some(journald) = Journald::start("") else { return };
    let pattern = format!("{}/*/system.journal", journald.root().display());
    let mut reader = Reader::open(&[("journalfiles", pattern)], &["SYSLOG_IDENTIFIER=a"], None);
    reader.catch_up();
    for i in 0..300 {
        journald.write("a", &format!("m{i}"));
        if i % 100 == 50 {
            journald.rotate();
        }
    }
    reader.until("a: m299");
    reader.check(lines("a", 0..300));
    assert!(reader.troubles.is_empty(), "{:?}", reader.troubles);
}

#[test]
fn a_journal_that_begins_later_is_found() {
    let Some(journald) = Journald::start("") else { return };
    journald.write("a", "m0");
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("journal");
    let params = [("journalpath", root.display().to_string())];
    let mut reader = Reader::open(&params, &["SYSLOG_IDENTIFIER=a"], None);
    reader.catch_up();
    assert!(reader.troubles[0].contains("no journal yet"), "{:?}", reader.troubles);
    std::os::unix::fs::symlink(journald.root(), &root).unwrap();
    reader.until("a: m0");
    journald.write("a", "m1");
    reader.until("a: m1");
    reader.check(lines("a", 0..2));
}

#[test]
fn corrupt_files_do_no_harm() {
    let Some(journald) = Journald::start("") else { return };
    for i in 0..200 {
        journald.write("a", &format!("m{i}"));
    }
    journald.settle();
    journald.rotate();
    let rotated = journald.files().into_iter().find(|f| f.to_string_lossy().contains('@')).unwrap();
    let machine = rotated.parent().unwrap().to_path_buf();
    let whole = fs::read(&rotated).unwrap();
    let broken = |name: &str, from: usize, noise: &[u8]| {
        let path: PathBuf = machine.join(name);
        fs::write(&path, &whole).unwrap();
        let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.seek(SeekFrom::Start(from as u64)).unwrap();
        file.write_all(noise).unwrap();
    };
    broken("system@broken1.journal", 0, &[0xff; 300]);
    broken("system@broken2.journal", whole.len() / 2, &vec![0xff; whole.len() / 2]);
    fs::write(machine.join("system@broken3.journal"), "no journal").unwrap();
    fs::write(machine.join("broken4.journal"), "").unwrap();
    let mut reader = Reader::at(&journald, None);
    reader.until("a: m199");
    journald.write("a", "m200");
    reader.until("a: m200");
    // What can still be read of the second file is the same entries.
    reader.check(lines("a", 0..201));
}

/// The kernel gives each user a number of inotify instances, and journalctl follows nothing without one.
#[test]
fn where_the_kernel_has_no_watches_left_entries_are_found_all_the_same() {
    const NO_WATCHES: &str = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"";
    let Some(journald) = Journald::start("") else { return };
    let jail = format!("[j]\nbackend = systemd[journalpath={}]\n", journald.root().display());
    let mut server = Server::new(None, &jail);
    journald.write("a", "fail 10.0.0.1");
    server.start_inside(|command| {
        let mut inside = Command::new("unshare");
        inside.args(["--user", "--map-root-user", "sh", "-c", NO_WATCHES, "sh"]);
        inside.arg(command.get_program()).args(command.get_args());
        inside
    });
    server.until("operation", || server.log().contains("[j] Jail is in operation now"));
    for number in 2..5 {
        journald.write("a", &format!("fail 10.0.0.{number}"));
        let found = format!("[j] Ban 10.0.0.{number}");
        server.until(&found, || server.log().contains(&found));
    }
    assert_eq!(server.found("j").len(), 4, "{:?}", server.found("j"));
    let advice = "raise fs.inotify.max_user_instances";
    server.until(advice, || server.log().contains(advice));
}

/// Not a check but a measurement: `cargo test --release -p sekisho --test journal -- --ignored
/// --nocapture latency`.
#[test]
#[ignore = "prints figures; run it alone, on a quiet machine"]
fn latency() {
    let Some(journald) = Journald::start("") else { return };
    journald.write("a", "begin");
    let mut reader = Reader::at(&journald, None);
    reader.until("a: begin");
    reader.catch_up();
    let mut taken: Vec<Duration> = (0..1000)
        .map(|i| {
            std::thread::sleep(Duration::from_millis(7 + i % 60));
            let before = Instant::now();
            journald.write("a", &format!("m{i}"));
            reader.until(&format!("a: m{i}"));
            before.elapsed()
        })
        .collect();
    taken.sort_unstable();
    let at = |part: usize| taken[(taken.len() * part / 100).min(taken.len() - 1)];
    println!("write to lines: p50 {:?}, p99 {:?}, most {:?}", at(50), at(99), at(100));
}
