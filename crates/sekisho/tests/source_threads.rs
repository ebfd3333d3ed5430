//! Sources end to end: real threads, inotify, and a `journalctl` of our own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::cell::RefCell;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sekisho::source::{Inbox, Options, Sources};
use sekisho_core::effect::{Batch, Event, Position, SourceId, SourceOp, SourceState, StartAt};
use sekisho_core::time::Timestamp;

/// Long enough for a busy machine; a test that passes never waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    dir: tempfile::TempDir,
    sources: Sources,
    events: RefCell<Inbox>,
    log: Arc<Mutex<Vec<String>>>,
}

fn bench(capacity: usize) -> Bench {
    bench_with(capacity, true)
}

fn bench_with(capacity: usize, inotify: bool) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let (sender, events) = sekisho::source::inbox(capacity);
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&log);
    let options = Options { journalctl: dir.path().join("journalctl"), folder: None, inotify };
    let log_fn =
        Arc::new(move |r: sekisho_core::effect::Record| lines.lock().unwrap().push(r.text));
    let sources = Sources::start_with(sender, log_fn, options).unwrap();
    Bench { dir, sources, events: RefCell::new(events), log }
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

impl Bench {
    fn follow(&mut self, id: u32, name: &str, start: StartAt) {
        let path = self.dir.path().join(name).display().to_string();
        let source = SourceId(id);
        self.sources.apply(SourceOp::OpenFile {
            source,
            path,
            encoding: "auto".into(),
            poll: false,
            dates: vec![],
            start,
        });
    }

    fn next(&self) -> Event {
        self.events.borrow_mut().wait(PATIENCE).unwrap()
    }

    fn state(&self) -> SourceState {
        loop {
            if let Event::Source(_, state) = self.next() {
                return state;
            }
        }
    }

    fn batch(&self) -> Batch {
        loop {
            match self.next() {
                Event::Lines(batch) => return batch,
                Event::Source(_, SourceState::Trouble(text)) => panic!("{text}"),
                _ => {}
            }
        }
    }

    /// The next `n` lines, each with its source's number.
    fn lines(&self, n: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.len() < n {
            let batch = self.batch();
            let text = String::from_utf8(batch.data).unwrap();
            lines.extend(text.lines().map(|l| format!("{} {l}", batch.source.0)));
        }
        lines
    }

    fn caught_up(&self) {
        while self.state() != SourceState::CaughtUp {}
    }
}

fn head() -> StartAt {
    StartAt::Head { saved: None, since: Timestamp(0) }
}

#[test]
fn files_that_grow_rotate_and_appear() {
    let b = grow_rotate_and_appear(true);
    assert!(b.log.lock().unwrap().is_empty());
}

#[test]
fn the_same_without_inotify() {
    let b = grow_rotate_and_appear(false);
    let log = b.log.lock().unwrap();
    assert!(log.len() == 1 && log[0].contains("polling it"), "{log:?}");
}

fn grow_rotate_and_appear(inotify: bool) -> Bench {
    let mut b = bench_with(100, inotify);
    let at = |name: &str| b.dir.path().join(name);
    let (one, one_1, deep) = (at("one"), at("one.1"), at("a/b/two"));
    append(&one, "old\n");
    b.follow(1, "one", head());
    assert_eq!(b.lines(1), ["1 old"]);
    b.caught_up();
    append(&one, "new\n");
    let batch = b.batch();
    assert!(batch.live && batch.data == b"new\n");
    // A file whose directory does not exist either.
    b.follow(2, "a/b/two", head());
    assert!(matches!(b.state(), SourceState::Missing(_)));
    fs::create_dir_all(deep.parent().unwrap()).unwrap();
    append(&deep, "x\n");
    assert_eq!(b.lines(1), ["2 x"]);
    append(&one, "last\n");
    fs::rename(&one, &one_1).unwrap();
    append(&one, "first\n");
    assert_eq!(b.lines(2), ["1 last", "1 first"]);
    append(&one_1, "late\n");
    assert_eq!(b.lines(1), ["1 late"]);
    // Closed, and what was asked for after that is known to be done: only the other one goes on.
    b.sources.apply(SourceOp::Close(SourceId(1)));
    b.follow(3, "not/there", head());
    assert!(matches!(b.state(), SourceState::Missing(_)));
    append(&one, "unread\n");
    append(&deep, "y\n");
    assert_eq!(b.lines(1), ["2 y"]);
    b.sources.stop();
    b
}

#[test]
fn rotation_under_load_loses_and_repeats_nothing() {
    let mut b = bench(4);
    let log = b.dir.path().join("log");
    append(&log, "0\n");
    b.follow(1, "log", head());
    // A file that was rotated before anyone looked is nobody's.
    assert_eq!(b.lines(1), ["1 0"]);
    let writer = std::thread::spawn(move || {
        for i in 1..15_000 {
            append(&log, &format!("{i}\n"));
            if i % 1000 == 0 {
                // A new name each time, as dated rotation does.
                fs::rename(&log, log.with_file_name(format!("log-{}", 20_260_000 + i))).unwrap();
            }
        }
    });
    let mut next = 1;
    while next < 15_000 {
        for line in b.lines(1) {
            assert_eq!(line, format!("1 {next}"));
            next += 1;
        }
    }
    writer.join().unwrap();
}

#[test]
fn a_long_way_to_the_end_holds_up_nobody_and_is_told() {
    let mut b = bench(2);
    let big = b.dir.path().join("big");
    append(&big, &"an old line without a date\n".repeat(1_500_000));
    append(&b.dir.path().join("small"), "");
    b.follow(1, "small", head());
    b.caught_up();
    b.follow(2, "big", head());
    assert_eq!(b.batch().source, SourceId(2));
    append(&b.dir.path().join("small"), "live\n");
    let (mut told, mut after) = (0, 0);
    loop {
        match b.next() {
            Event::Lines(batch) if batch.source == SourceId(1) => {
                assert!(batch.live && batch.data == b"live\n");
                break;
            }
            Event::Source(_, SourceState::CatchingUp { read, total }) => {
                assert!(read <= total && total > 40_000_000);
                told += 1;
            }
            Event::Source(_, state) => panic!("{state:?}"),
            // More than the queue holds would mean that it waited for the other file.
            _ => after += 1,
        }
    }
    assert!(after < 20, "{after} batches of the other file came first");
    loop {
        match b.next() {
            Event::Source(_, SourceState::CatchingUp { .. }) => told += 1,
            Event::Source(id, SourceState::CaughtUp) => break assert_eq!(id, SourceId(2)),
            _ => {}
        }
    }
    assert!(told > 0);
}

/// What follows a file that is not watched by the kernel, and what it says about that.
#[test]
fn where_the_kernel_watches_no_more_the_rest_is_polled() {
    // Only a user namespace of its own has limits that a test may lower.
    const LIMIT: &str = "SEKISHO_TEST_INOTIFY_LIMIT";
    let Ok(limit) = std::env::var(LIMIT) else {
        for (limit, file) in
            [("watches", "max_inotify_watches"), ("instances", "max_inotify_instances")]
        {
            let lowered = format!("echo 8 > /proc/sys/user/{file} 2>/dev/null && exec \"$@\"");
            let lowered = lowered.replace("8", if limit == "watches" { "8" } else { "0" });
            let me = std::env::current_exe().unwrap();
            let name = "where_the_kernel_watches_no_more_the_rest_is_polled";
            let ran = std::process::Command::new("unshare")
                .args(["-Ur", "sh", "-c", &lowered, "sh"])
                .arg(me)
                .args(["--exact", name, "--nocapture"])
                .env(LIMIT, limit)
                .output();
            match ran {
                Ok(out) if out.status.success() => {
                    let text = String::from_utf8_lossy(&out.stdout).into_owned();
                    assert!(text.contains("1 passed"), "{text}");
                }
                Ok(out) if out.status.code() == Some(101) => {
                    panic!("{}", String::from_utf8_lossy(&out.stderr))
                }
                _ => return sekisho_oracle::missing("user namespaces (unshare -Ur)"),
            }
        }
        return;
    };
    let mut b = bench(1000);
    let all = 20;
    for n in 0..all {
        append(&b.dir.path().join(format!("log{n}")), "old\n");
        b.follow(n, &format!("log{n}"), head());
    }
    b.lines(all as usize);
    for round in 0..3 {
        for n in 0..all {
            let path = b.dir.path().join(format!("log{n}"));
            if round == 1 {
                fs::rename(&path, b.dir.path().join(format!("log{n}.1"))).unwrap();
            }
            append(&path, &format!("new {round}\n"));
        }
        let mut lines = b.lines(all as usize);
        lines.sort();
        let mut expected: Vec<String> = (0..all).map(|n| format!("{n} new {round}")).collect();
        expected.sort();
        assert_eq!(lines, expected);
    }
    // Said once, not for every file.
    let log = b.log.lock().unwrap();
    let said: Vec<&String> = log.iter().filter(|text| text.contains("polling it")).collect();
    assert_eq!(said.len(), 1, "{log:?}");
    let hint = if limit == "watches" { "max_user_watches" } else { "max_user_instances" };
    assert!(said[0].contains(hint), "{log:?}");
}

#[test]
fn a_named_pipe_is_a_log_and_may_become_a_file_and_back() {
    let mut b = bench(100);
    let path = b.dir.path().join("log");
    let make = || {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
    };
    // Waited for, like a file.
    b.follow(1, "log", head());
    assert!(matches!(b.state(), SourceState::Missing(_)));
    make();
    for n in 0..3 {
        // Opening waits for a reader, so this shows that there is one.
        OpenOptions::new().write(true).open(&path).unwrap().write_all(b"a\nb\n").unwrap();
        assert_eq!(b.lines(2), ["1 a", "1 b"], "{n}");
    }
    fs::remove_file(&path).unwrap();
    append(&path, "c\n");
    assert_eq!(b.lines(1), ["1 c"]);
    append(&path, "d\n");
    assert_eq!(b.lines(1), ["1 d"]);
    fs::remove_file(&path).unwrap();
    make();
    let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all(b"e\nf").unwrap();
    assert_eq!(b.lines(1), ["1 e"]);
    // What is unfinished becomes a line in the end.
    drop(writer);
    assert_eq!(b.lines(1), ["1 f"]);
}

#[test]
fn a_link_to_a_directory_that_is_switched_is_followed() {
    let mut b = bench(100);
    let dir = b.dir.path().to_path_buf();
    for name in ["one", "two"] {
        fs::create_dir(dir.join(name)).unwrap();
        append(&dir.join(name).join("log"), &format!("{name}\n"));
    }
    std::os::unix::fs::symlink("one", dir.join("current")).unwrap();
    b.follow(1, "current/log", head());
    assert_eq!(b.lines(1), ["1 one"]);
    std::os::unix::fs::symlink("two", dir.join("next")).unwrap();
    fs::rename(dir.join("next"), dir.join("current")).unwrap();
    assert_eq!(b.lines(1), ["1 two"]);
    append(&dir.join("two/log"), "more\n");
    assert_eq!(b.lines(1), ["1 more"]);
}

#[test]
fn patterns_follow_what_appears() {
    let mut b = bench(100);
    let dir = b.dir.path().to_path_buf();
    b.follow(1, "*.log", head());
    assert!(matches!(b.state(), SourceState::Missing(_)));
    // Moved in, so that it is not found while it is empty.
    append(&dir.join("new"), "a\n");
    fs::rename(dir.join("new"), dir.join("a.log")).unwrap();
    assert_eq!(b.lines(1), ["1 a"]);
    b.caught_up();
    append(&dir.join("b.log"), "b\n");
    append(&dir.join("b.txt"), "no\n");
    assert_eq!(b.lines(1), ["1 b"]);
    append(&dir.join("a.log"), "c\n");
    assert_eq!(b.lines(1), ["1 c"]);
    // Rotated to a name that matches as well: not read again.
    fs::rename(dir.join("a.log"), dir.join("a-1.log")).unwrap();
    append(&dir.join("a.log"), "d\n");
    assert_eq!(b.lines(1), ["1 d"]);
    append(&dir.join("c.log"), "e\n");
    assert_eq!(b.lines(1), ["1 e"]);
}

#[test]
fn a_full_channel_stops_reading_and_loses_nothing() {
    let mut b = bench(1);
    let path = b.dir.path().join("big");
    let text: String = (0..200_000).map(|i| format!("line {i}\n")).collect();
    append(&path, &text);
    b.follow(1, "big", head());
    let mut got = Vec::new();
    while got.len() < text.len() {
        got.extend(b.batch().data);
        std::thread::yield_now();
    }
    assert!(got == text.as_bytes());
    // Nobody takes anything any more: stop still ends.
    append(&path, &text);
    b.sources.stop();
}

/// A `journalctl` that notes how it was called and prints what `script` says.
fn journalctl(dir: &Path, script: &str) {
    let path = dir.join("journalctl");
    let text = format!("#!/bin/sh\necho \"$@\" >> {}/calls\n{script}\n", dir.display());
    // Renamed into place, so that it is never run half-written or busy.
    fs::write(dir.join("new"), text).unwrap();
    fs::set_permissions(dir.join("new"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(dir.join("new"), path).unwrap();
}

fn entry(cursor: u32, secs: i64, message: &str) -> String {
    format!(
        "printf '__CURSOR=c{cursor}\\n__REALTIME_TIMESTAMP={secs}000000\\n_HOSTNAME=h\\n\
         SYSLOG_IDENTIFIER=s\\n_PID=7\\nMESSAGE={message}\\n\\n'\n"
    )
}

fn open_journal(b: &mut Bench, start: StartAt) {
    b.sources.apply(SourceOp::OpenJournal {
        source: SourceId(9),
        matches: vec![vec!["_COMM=s".into()], vec!["A=1".into()]],
        params: vec![("journalflags".into(), "1".into())],
        start,
    });
}

#[test]
fn journal_is_resumed_behind_its_cursor_when_journalctl_ends() {
    let mut b = bench(100);
    let dir = b.dir.path().to_path_buf();
    let future = 4_000_000_000;
    let script = format!(
        "case \"$*\" in *--cursor=c3*) {}exec sleep 1000;; *) {}exit 1;; esac",
        entry(3, future, "three") + &entry(4, future + 1, "four"),
        entry(1, 50, "too old") + &entry(2, 100, "two") + &entry(3, future, "three"),
    );
    journalctl(&dir, &script);
    open_journal(&mut b, StartAt::Head { saved: None, since: Timestamp::from_secs(99) });
    assert!(matches!(b.state(), SourceState::Open(_)));
    let two = b.batch();
    assert_eq!(two.data, b"h s[7]: two\n");
    assert_eq!((two.live, two.times), (false, vec![Timestamp::from_secs(100)]));
    assert_eq!((two.position.offset, two.position.cursor), (100.0, Some("c2".into())));
    assert_eq!(b.state(), SourceState::CaughtUp);
    let three = b.batch();
    assert_eq!((three.live, three.data), (true, b"h s[7]: three\n".to_vec()));
    assert!(matches!(b.state(), SourceState::Trouble(_)));
    assert_eq!(b.batch().data, b"h s[7]: four\n");
    b.sources.stop();
    let calls = fs::read_to_string(dir.join("calls")).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    assert!(calls[0].ends_with("--since=@99 --no-tail -- _COMM=s + A=1"), "{}", calls[0]);
    assert!(calls[1].ends_with("--cursor=c3 --no-tail -- _COMM=s + A=1"), "{}", calls[1]);
}

#[test]
fn journal_at_the_end_and_at_a_saved_place() {
    let cases = [
        (StartAt::Tail, "--lines=0 --"),
        (
            StartAt::Head {
                saved: Some(Position {
                    first_line: String::new(),
                    offset: 200.5,
                    cursor: Some("c8".into()),
                }),
                since: Timestamp::from_secs(100),
            },
            "--cursor=c8 --no-tail --",
        ),
        // fail2ban keeps no cursor.
        (
            StartAt::Head {
                saved: Some(Position { offset: 200.5, ..Position::default() }),
                since: Timestamp::from_secs(100),
            },
            "--since=@200 --no-tail --",
        ),
        // Too long ago.
        (
            StartAt::Head {
                saved: Some(Position { offset: 200.5, ..Position::default() }),
                since: Timestamp::from_secs(300),
            },
            "--since=@300 --no-tail --",
        ),
    ];
    let benches = cases.map(|(start, expected)| {
        let mut b = bench(100);
        journalctl(b.dir.path(), "exec sleep 1000");
        open_journal(&mut b, start);
        (b, expected)
    });
    for (mut b, expected) in benches {
        b.caught_up();
        // At the end one is before the program runs.
        let calls = loop {
            let calls = fs::read_to_string(b.dir.path().join("calls")).unwrap_or_default();
            if calls.ends_with('\n') {
                break calls;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(calls.contains(expected), "{calls} {expected}");
        b.sources.stop();
    }
}

#[test]
fn journal_troubles_are_said() {
    let mut b = bench(100);
    open_journal(&mut b, head());
    let SourceState::Trouble(text) = b.state() else { panic!() };
    assert!(text.contains("cannot be started") && text.contains("install"), "{text}");
    // Installed meanwhile, but it does not like its arguments, then prints nonsense.
    let dir = b.dir.path().to_path_buf();
    journalctl(
        &dir,
        &format!(
            "if [ ! -e {0}/again ]; then touch {0}/again; echo \"Failed to add match 'x'\" >&2; \
             exit 1; fi; if [ ! -e {0}/third ]; then touch {0}/third; echo nonsense; fi; {1}exec \
             sleep 1000",
            dir.display(),
            entry(1, 100, "one")
        ),
    );
    let trouble = || loop {
        if let SourceState::Trouble(text) = b.state() {
            return text;
        }
    };
    assert!(trouble().contains("Failed to add match 'x'"));
    assert!(trouble().contains("not a journal entry"));
    assert!(trouble().contains("starting it again"));
    assert_eq!(b.batch().data, b"h s[7]: one\n");
    b.sources.apply(SourceOp::Close(SourceId(9)));
    b.sources.stop();
}

/// Not a check but a measurement: `cargo test --release --test source_threads -- --ignored
/// --nocapture measure`.
#[test]
#[ignore = "prints figures; run it alone, on a quiet machine"]
fn measure_latency_and_idle_cost() {
    let cpu_ticks = || {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let switches = || -> u64 {
        let mut total = 0;
        for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let value = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
            if name.trim() == "files" {
                total += value.and_then(|v| v.trim().parse::<u64>().ok()).unwrap_or(0);
            }
        }
        total
    };
    let mut b = bench(1000);
    for i in 0..100 {
        append(&b.dir.path().join(format!("f{i}")), "a\n");
        b.follow(i, &format!("f{i}"), head());
    }
    for _ in 0..100 {
        b.caught_up();
    }
    let mut file = OpenOptions::new().append(true).open(b.dir.path().join("f7")).unwrap();
    let mut taken: Vec<i64> = (0..2000)
        .map(|_| {
            std::thread::sleep(Duration::from_micros(500));
            let before = sekisho::clock::now().mono;
            file.write_all(b"Failed password for root from 192.0.2.1 port 1 ssh2\n").unwrap();
            b.batch();
            sekisho::clock::now().mono.since(before).0
        })
        .collect();
    taken.sort_unstable();
    let at = |part: usize| taken[taken.len() * part / 100];
    println!("write to batch: p50 {} µs, p95 {} µs, p99 {} µs", at(50), at(95), at(99));
    let (cpu, wakes) = (cpu_ticks(), switches());
    std::thread::sleep(Duration::from_secs(20));
    println!(
        "20 s idle, 100 files: {} CPU ticks of 10 ms, {} wake-ups of the thread",
        cpu_ticks() - cpu,
        switches() - wakes
    );
    let big = b.dir.path().join("f8");
    let line = "Nov 23 02:17:00 host sshd[12]: Failed password for root from 192.0.2.1 port 1\n";
    let text = line.repeat(2_000_000);
    let before = sekisho::clock::now().mono;
    append(&big, &text);
    let mut got = 0;
    while got < text.len() {
        got += b.batch().data.len();
    }
    let took = sekisho::clock::now().mono.since(before).as_secs_f64();
    println!("{} MB written and read in {took:.2} s", text.len() / 1_000_000);
}

/// Against the machine's own `journalctl`: prints what arrives in five seconds.
#[test]
#[ignore = "needs a running journal; SEKISHO_JOURNAL_PARAMS=journalpath=… if it is elsewhere"]
fn real_journal() {
    let (sender, mut events) = sekisho::source::inbox(100);
    let mut sources = Sources::start(sender, Arc::new(|r| println!("{r:?}"))).unwrap();
    let params = std::env::var("SEKISHO_JOURNAL_PARAMS").unwrap_or_default();
    let params = params.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    sources.apply(SourceOp::OpenJournal {
        source: SourceId(1),
        matches: Vec::new(),
        params: params.into_iter().collect(),
        start: head(),
    });
    while let Ok(event) = events.wait(Duration::from_secs(5)) {
        match event {
            Event::Lines(b) => println!(
                "live {} {:?}\n{}",
                b.live,
                b.position,
                String::from_utf8_lossy(&b.data).trim_end()
            ),
            other => println!("{other:?}"),
        }
    }
    sources.stop();
}
