//! Order, parallelism and bounds of jobs.

use std::collections::BTreeSet;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use sekisho_core::effect::{ActionId, ActionOp, ActionSpec, Level};
use sekisho_core::time::Span;

use crate::bench::{Bench, spec, ticket};

fn enforcing(name: &str, file: &str, ban: &str) -> Arc<ActionSpec> {
    let mut spec = (*spec(name, &[("actionban", ban), ("actionunban", "true")])).clone();
    spec.file = Some(file.into());
    Arc::new(spec)
}

/// A command that goes on when [`open`] is called.
fn blocked(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    let p = path.to_str().unwrap();
    assert!(std::process::Command::new("mkfifo").arg(p).status().unwrap().success());
    format!("cat {p}")
}

fn open(folder: &Path, name: &str) {
    // Non-blocking, because the command may be gone; it is waited for until it reads.
    for _ in 0..3000 {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
            .open(folder.join(name));
        if file.is_ok() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("nobody reads {name}");
}

#[test]
fn a_slow_action_delays_neither_other_files_nor_enforcement() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new();
    let slow = enforcing("slow", "slow", &blocked(folder.path(), "a"));
    let mail = spec("mail", &[("actionban", &blocked(folder.path(), "b"))]);
    let quick = enforcing("quick", "quick", "true");
    let first = bench.send(1, &slow, ActionOp::Ban, Some("1.1.1.1"));
    let second = bench.send(2, &mail, ActionOp::Ban, Some("1.1.1.1"));
    let third = bench.send(3, &quick, ActionOp::Ban, Some("1.1.1.1"));
    assert_eq!(bench.outcome().0, third);
    open(folder.path(), "b");
    assert_eq!(bench.outcome().0, second);
    open(folder.path(), "a");
    assert_eq!(bench.outcome().0, first);
}

#[test]
fn actions_of_one_file_run_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new();
    let record = folder.path().join("r");
    let ban = format!("echo \"<name> <ip>\" >>{}", record.to_str().unwrap());
    let make = |name: &str| {
        let mut spec = (*enforcing(name, "hostsdeny", &ban)).clone();
        spec.properties.insert("name".into(), name.into());
        Arc::new(spec)
    };
    let specs = [make("a"), make("b"), make("c")];
    let mut expected = String::new();
    let mut ids = Vec::new();
    for n in 0..60u32 {
        let which = (n % 3) as usize;
        let ip = format!("10.0.0.{n}");
        ids.push(bench.send(which as u32, &specs[which], ActionOp::Ban, Some(&ip)));
        expected += &format!("{} {ip}\n", ["a", "b", "c"][which]);
    }
    let done: Vec<_> = ids.iter().map(|_| bench.outcome().0).collect();
    assert_eq!(done, ids);
    assert_eq!(std::fs::read_to_string(record).unwrap(), expected);
}

#[test]
fn notifications_are_dropped_when_too_many_wait_enforcement_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new();
    let wait = blocked(folder.path(), "a");
    let mail = spec("mail", &[("actionban", "true"), ("actionstart", &wait)]);
    let mut sent = BTreeSet::new();
    sent.insert(bench.send(1, &mail, ActionOp::Start, None));
    for _ in 0..10_100 {
        sent.insert(bench.send(1, &mail, ActionOp::Prolong, Some("1.2.3.4")));
    }
    // Start and stop are never dropped.
    let stop = bench.send(1, &mail, ActionOp::Stop, None);
    sent.insert(stop);
    open(folder.path(), "a");
    let mut dropped = 0;
    let mut answered = BTreeSet::new();
    for _ in 0..sent.len() {
        let (id, result, _) = bench.outcome();
        assert!(answered.insert(id));
        if result.is_err() {
            assert_ne!(id, stop);
            dropped += 1;
        }
    }
    assert_eq!(answered, sent);
    // The start itself may still have been waiting when the others came.
    assert!((100..=101).contains(&dropped), "{dropped}");
    assert_eq!(bench.texts(Level::Warning).len(), 1);

    let wait = blocked(folder.path(), "b");
    let block = enforcing("fw", "fw", "true");
    let mut start = (*block).clone();
    start.properties.insert("actionstart".into(), wait);
    bench.send(2, &Arc::new(start), ActionOp::Start, None);
    for _ in 0..1100 {
        bench.send(2, &block, ActionOp::Prolong, Some("1.2.3.4"));
    }
    open(folder.path(), "b");
    assert!((0..1101).all(|_| bench.outcome().1.is_ok()));
}

#[test]
fn a_stop_answers_everything_and_ends_what_runs() {
    let bench = Bench::new();
    let hang = enforcing("hang", "hang", "sleep 600");
    let mut sent = BTreeSet::new();
    for _ in 0..5 {
        sent.insert(bench.send(1, &hang, ActionOp::Ban, Some("1.2.3.4")));
    }
    bench.runner.stop(Span::from_millis(50));
    sent.insert(bench.send(1, &hang, ActionOp::Ban, Some("1.2.3.4")));
    let mut answered = BTreeSet::new();
    for _ in 0..sent.len() {
        let (id, result, _) = bench.outcome();
        assert!(result.is_err());
        answered.insert(id);
    }
    assert_eq!(answered, sent);
    assert!(bench.events.try_recv().is_err());
}

#[test]
fn a_stop_waits_for_what_is_under_way() {
    let bench = Bench::new();
    let spec = enforcing("a", "a", "sleep 0.2");
    bench.send(1, &spec, ActionOp::Ban, Some("1.2.3.4"));
    bench.send(1, &spec, ActionOp::Ban, Some("1.2.3.5"));
    bench.runner.stop(Span::from_secs(60));
    assert!(bench.outcome().1.is_ok());
    assert!(bench.outcome().1.is_ok());
}

#[test]
fn a_retired_instance_is_forgotten_after_its_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new();
    let stop = format!("echo stop >>{}", folder.path().join("r").to_str().unwrap());
    let spec = spec("a", &[("actionban", "true"), ("actionunban", "true"), ("actionstop", &stop)]);
    bench.send(1, &spec, ActionOp::Start, None);
    bench.send(1, &spec, ActionOp::Ban, Some("1.2.3.4"));
    bench.runner.retire(ActionId(1));
    // The id is free again: this instance has never been started.
    bench.outcome().1.unwrap();
    bench.outcome().1.unwrap();
    bench.runner.retire(ActionId(1));
    bench.send(1, &spec, ActionOp::Stop, None);
    assert!(bench.outcome().1.is_ok());
    assert!(!folder.path().join("r").exists());
}

#[test]
fn small_print() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("r");
    let log = |word: &str| format!("echo {word} >>{}", record.to_str().unwrap());
    let taken = || {
        let text = std::fs::read_to_string(&record).unwrap_or_default();
        let _ = std::fs::remove_file(&record);
        text.lines().collect::<Vec<_>>().join("|")
    };
    // After an unclean end everything is taken away, quietly, whatever the errors.
    let bench = Bench::new();
    let (flush, stop) = (log("flush<x>") + "; false", log("stop<x>") + "; false");
    let both = [
        ("actionflush", flush.as_str()),
        ("actionstop", stop.as_str()),
        ("x", "4"),
        ("x?family=inet6", "6"),
    ];
    bench.send(1, &spec("a", &both), ActionOp::CleanUp, None);
    assert_eq!(bench.outcome().1, Ok(()));
    assert_eq!(taken(), "flush4|flush6|stop4|stop6");
    assert!(bench.texts(Level::Info).is_empty());

    // Restored tickets are no news to an action that does not want them.
    let (ban, unban) = (log("ban"), log("unban"));
    let once = spec("b", &[("norestored", "1"), ("actionban", &ban), ("actionunban", &unban)]);
    let mut restored = ticket("1.2.3.4");
    restored.restored = true;
    bench.send_ticket(2, &once, ActionOp::Ban, Some(restored));
    bench.outcome().1.unwrap();
    assert_eq!(taken(), "");
    bench.send(2, &once, ActionOp::Ban, Some("1.2.3.4"));
    bench.outcome().1.unwrap();
    assert_eq!(taken(), "ban");

    // A circle among properties is an error, not a hang, and not a command.
    let circle = spec("c", &[("actionstart", "echo <a>"), ("a", "<b>"), ("b", "<a>")]);
    bench.send(4, &circle, ActionOp::Start, None);
    assert!(bench.outcome().1.is_err());
    assert!(bench.texts(Level::Error).last().unwrap().contains("refer to themselves"));
}
