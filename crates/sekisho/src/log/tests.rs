//! Formats, targets, settings, and what happens when a target fails.

use std::io::Read;
use std::os::unix::net::UnixDatagram;

use sekisho_core::time::Zone;

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

fn record(text: &str) -> Record {
    Record { level: Level::Notice, logger: "fail2ban.actions", text: text.into() }
}

fn started(target: &str) -> Logger {
    let settings = LogSettings { target: target.into(), ..LogSettings::default() };
    let (logger, problem) = Logger::start(&settings);
    assert_eq!(problem, None);
    logger
}

#[test]
fn formats() {
    let at = Timestamp(1_795_400_221_480_000);
    let ban = record("[j1] Ban 1.2.3.4");
    for (target, expected) in [
        (
            "f",
            Some("2026-11-23 02:17:01,480 fail2ban.actions        [7]: NOTICE  [j1] Ban 1.2.3.4"),
        ),
        ("f[datetime=off]", Some("fail2ban.actions        [7]: NOTICE  [j1] Ban 1.2.3.4")),
        (
            "f[padding=off]",
            Some("2026-11-23 02:17:01,480 fail2ban.actions[7]: NOTICE [j1] Ban 1.2.3.4"),
        ),
        ("f[datetime=off, padding=off]", Some("fail2ban.actions[7]: NOTICE [j1] Ban 1.2.3.4")),
        (
            "STDOUT",
            Some("2026-11-23 02:17:01,480 fail2ban.actions        [7]: NOTICE  [j1] Ban 1.2.3.4"),
        ),
        ("SYSOUT", Some("fail2ban.actions        [7]: NOTICE  [j1] Ban 1.2.3.4")),
        ("SYSLOG", Some("fail2ban.actions[7]: NOTICE [j1] Ban 1.2.3.4")),
        ("systemd-journal", Some("[j1] Ban 1.2.3.4")),
        (
            "f[format=\"%(name)-20s|%(levelname)9s|%(levelno)d|100%%\"]",
            Some("fail2ban.actions    |   NOTICE|25|100%"),
        ),
        ("f[format='%(message)s, %(process)5d']", Some("[j1] Ban 1.2.3.4,     7")),
        (
            "f[bogus=1]",
            Some("2026-11-23 02:17:01,480 fail2ban.actions        [7]: NOTICE  [j1] Ban 1.2.3.4"),
        ),
        ("", None),
        ("f[", None),
        ("f[a]", None),
        ("f[format=\"%(nonsense)s\"]", None),
        ("f[format=\"%\"]", None),
        ("SYSLOG[facility=nonsense]", None),
    ] {
        let target = sink::parse(target, "auto").ok();
        let text = target.map(|target| {
            let format = match target {
                Target::File { format, .. }
                | Target::Stdout(format)
                | Target::Journal(format)
                | Target::Stderr(format)
                | Target::Syslog { format, .. } => format,
            };
            let mut out = String::new();
            format.write(&mut out, at, &Zone::utc(), 7, &ban);
            out
        });
        assert_eq!(text.as_deref(), expected);
    }
}

#[test]
fn levels() {
    let logger = started("STDERR");
    for (value, expected) in [
        ("debug", Ok(("DEBUG", 10))),
        ("10", Ok(("10", 10))),
        ("HEAVYDEBUG", Ok(("HEAVYDEBUG", 5))),
        ("warn", Ok(("WARN", 30))),
        ("0", Ok(("0", 30))),
        ("100", Ok(("100", 100))),
        ("99999999999999999999999", Ok(("99999999999999999999999", 255))),
        ("TRACE", Err("Invalid log level 'TRACE'")),
        ("", Err("Invalid log level ''")),
        ("-1", Err("Invalid log level '-1'")),
        ("info ", Err("Invalid log level 'INFO '")),
    ] {
        let result = logger.set("loglevel", &Value::str(value)).map_err(|e| e.text());
        let threshold = logger.shared.threshold.load(Ordering::Relaxed);
        match expected {
            Ok((shown, level)) => {
                assert_eq!(result, Ok(Value::str(shown)));
                assert_eq!(threshold, level);
            }
            Err(text) => assert_eq!(result, Err(text.to_owned())),
        }
    }
    assert_eq!(logger.get("loglevel"), Some(Value::str("99999999999999999999999")));
    assert_eq!(logger.get("nonsense"), None);
}

#[test]
fn files_roll_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.log");
    let logger = started(path.to_str().unwrap());
    logger.log(record("first"));
    logger.log(Record { level: Level::Debug, ..record("not wanted") });
    logger.sync(LIMIT);
    std::fs::rename(&path, dir.path().join("l.log.1")).unwrap();
    assert_eq!(logger.flush(), "rolled over");
    logger.log(record("second"));
    logger.sync(LIMIT);
    let old = std::fs::read_to_string(dir.path().join("l.log.1")).unwrap();
    let new = std::fs::read_to_string(&path).unwrap();
    assert_eq!(old.lines().count(), 1, "{old}");
    assert!(old.ends_with("]: NOTICE  first\n"), "{old}");
    let expected = [format!("rollover performed on {}", path.display()), "second".into()];
    assert_eq!(new.lines().count(), 2, "{new}");
    assert!(new.lines().zip(expected).all(|(line, end)| line.ends_with(&end)), "{new}");
}

#[test]
fn targets_change_and_refuse() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let logger = started(a.to_str().unwrap());
    let set = |to: &str| logger.set("logtarget", &Value::str(to)).map_err(|e| e.text());
    let missing =
        "Failed to change log target: /nonexistent/x: No such file or directory (os error 2)";
    assert_eq!(set("/nonexistent/x"), Err(missing.into()));
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let unread = set(pipe.to_str().unwrap()).unwrap_err();
    assert!(
        unread.starts_with("Failed to change log target: ") && unread.contains("/pipe: "),
        "{unread}"
    );
    assert_eq!(set("x["), Err("unexpected option syntax".into()));
    let with_options = format!("{}[datetime=off]", b.display());
    assert_eq!(set(&with_options), Ok(Value::str(b.to_str().unwrap())));
    logger.sync(LIMIT);
    let text = std::fs::read_to_string(&b).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains(&format!("Changed logging target to {} for Fail2ban v", b.display())));
    assert_eq!(std::fs::read_to_string(&a).unwrap(), "");
    assert_eq!(set("stderr"), Ok(Value::str("STDERR")));
    assert_eq!(logger.flush(), "flushed");
}

#[test]
fn an_unusable_target_at_the_start_leaves_a_log() {
    let settings = LogSettings { target: "/nonexistent/x".into(), ..LogSettings::default() };
    let (logger, problem) = Logger::start(&settings);
    let text =
        "Failed to change log target: /nonexistent/x: No such file or directory (os error 2)";
    assert_eq!(problem.unwrap().text(), text);
    assert_eq!(logger.get("logtarget"), Some(Value::str("STDERR")));
}

#[test]
fn a_full_disk_loses_lines_and_says_so() {
    if !std::path::Path::new("/dev/full").exists() {
        return sekisho_oracle::missing("/dev/full");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.log");
    let logger = started("/dev/full");
    // In two goes: the report of the first is lost along with the second.
    for _ in 0..2 {
        for n in 0..5 {
            logger.log(record(&format!("lost {n}")));
        }
        logger.sync(LIMIT);
        logger.sync(LIMIT);
    }
    logger.set("logtarget", &Value::str(path.to_str().unwrap())).unwrap();
    logger.sync(LIMIT);
    logger.log(record("written"));
    logger.sync(LIMIT);
    logger.sync(LIMIT);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(" 10 log records could not be written and are lost"), "{text}");
    assert!(text.contains("NOTICE  written\n"), "{text}");
}

#[test]
fn a_full_queue_stops_nobody() {
    // Nothing is ever taken out: if `log` waited for room, this would not end.
    let (queue, receiver) = bounded(2);
    let current = Current {
        settings: LogSettings::default(),
        target: Target::Stderr(Format::standard(true, true)),
    };
    let shared = Shared {
        queue,
        threshold: AtomicU8::new(Level::Info as u8),
        lost: Arc::default(),
        settings: Mutex::new(current),
    };
    let logger = Logger { shared: Arc::new(shared) };
    for n in 0..5000 {
        logger.log(record(&n.to_string()));
    }
    assert_eq!(logger.shared.lost.load(Ordering::Relaxed), 4998);
    assert_eq!(receiver.len(), 2);
}

#[test]
fn a_stalled_reader_does_not_stop_us() {
    let (mut read, write) = std::io::pipe().unwrap();
    let mut sink = sink::Sink::standard();
    sink.replace_file(std::fs::File::from(std::os::fd::OwnedFd::from(write)));
    let long = record(&"x".repeat(4000));
    for _ in 0..40 {
        sink.add(Timestamp(0), &Zone::utc(), &long);
    }
    sink.flush();
    assert_eq!(sink.take_lost(), 40);
    let mut piece = vec![0; 65536];
    assert!(read.read(&mut piece).unwrap() > 0);
    sink.add(Timestamp(0), &Zone::utc(), &record("after"));
    sink.flush();
    assert_eq!(sink.take_lost(), 0);
    let n = read.read(&mut piece).unwrap();
    let text = String::from_utf8_lossy(&piece[..n]).into_owned();
    // The torn line is ended first.
    assert!(text.starts_with("\n1970-01-01") && text.ends_with("NOTICE  after\n"), "{text}");
}

#[test]
fn syslog_and_its_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let daemon = UnixDatagram::bind(&path).unwrap();
    let settings = LogSettings {
        target: "SYSLOG[facility=local1]".into(),
        syslog_socket: path.to_str().unwrap().into(),
        ..LogSettings::default()
    };
    let (logger, problem) = Logger::start(&settings);
    assert_eq!(problem, None);
    let receive = |daemon: &UnixDatagram| {
        let mut data = [0; 1000];
        let n = daemon.recv(&mut data).unwrap();
        String::from_utf8_lossy(&data[..n]).into_owned()
    };
    let expected = format!("<141>fail2ban.actions[{}]: NOTICE one\nmore", std::process::id());
    logger.log(record("one\nmore"));
    assert_eq!(receive(&daemon), expected);
    drop(daemon);
    std::fs::remove_file(&path).unwrap();
    let daemon = UnixDatagram::bind(&path).unwrap();
    logger.log(record("one\nmore"));
    assert_eq!(receive(&daemon), expected);
    assert_eq!(logger.get("logtarget"), Some(Value::str("SYSLOG")));
}
