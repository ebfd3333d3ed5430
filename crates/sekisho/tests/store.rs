//! The database: what is written comes back, here and in fail2ban, whatever happens to the file.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use rusqlite::{Connection, OpenFlags};
use sekisho::LogFn;
use sekisho::clock;
use sekisho::store::{Store, StoreError};
use sekisho_core::effect::{Answer, Ask, AskId, Event, History, Position, Record, StoreOp};
use sekisho_core::failure::{Fields, MatchedLine};
use sekisho_core::id::Id;
use sekisho_core::ticket::{BanTime, Ticket};
use sekisho_core::time::{Span, Timestamp};
use sekisho_core::value::Value;

/// How long a lock of somebody else is waited for.
const BUSY: Duration = Duration::from_secs(40);

struct Bench {
    store: Option<Store>,
    events: Receiver<Event>,
    records: Arc<Mutex<Vec<Record>>>,
}

impl Bench {
    fn open(path: Option<&Path>) -> Bench {
        Bench::try_open(path.map(|p| p.to_str().unwrap())).unwrap()
    }
    fn try_open(path: Option<&str>) -> Result<Bench, StoreError> {
        let (sender, events) = unbounded();
        let records = Arc::new(Mutex::new(Vec::new()));
        let log: LogFn = {
            let records = Arc::clone(&records);
            Arc::new(move |record| records.lock().unwrap().push(record))
        };
        Ok(Bench { store: Some(Store::start(path, sender, log)?), events, records })
    }
    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }
    fn op(&self, op: StoreOp) {
        self.store().op(op);
    }
    fn ban(&self, jail: &str, ticket: Ticket) {
        self.op(StoreOp::AddBan { jail: jail.into(), ticket: Arc::new(ticket) });
    }
    fn ask(&self, ask: Ask) -> Answer {
        self.store().ask(AskId(7), ask);
        loop {
            match self.events.recv_timeout(Duration::from_secs(40)).unwrap() {
                Event::Answer(id, answer) => {
                    assert_eq!(id, AskId(7));
                    return answer;
                }
                Event::StoreState(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    fn bans(&self, jail: &str) -> Vec<Ticket> {
        match self.ask(Ask::Restore { jail: jail.into() }) {
            Answer::Bans(bans) => bans.into_iter().map(|b| b.ticket).collect(),
            other => panic!("{other:?}"),
        }
    }
    fn ids(&self, jail: &str) -> Vec<String> {
        self.bans(jail).iter().map(|t| t.id.to_string()).collect()
    }
    fn history(&self, jail: Option<&str>, id: &str) -> Option<History> {
        match self.ask(Ask::History { jail: jail.map(Into::into), id: Id::parse(id) }) {
            Answer::History(h) => h,
            other => panic!("{other:?}"),
        }
    }
    fn position(&self, path: &str) -> Option<Position> {
        match self.ask(Ask::LogPosition { jail: "a".into(), path: path.into() }) {
            Answer::LogPosition(p) => p,
            other => panic!("{other:?}"),
        }
    }
    fn stop(&mut self) {
        self.store.take().unwrap().stop(Span::from_secs(20));
    }
    fn texts(&self) -> Vec<String> {
        self.records.lock().unwrap().iter().map(|r| r.text.clone()).collect()
    }
    fn state(&self) -> Result<(), String> {
        loop {
            match self.events.recv_timeout(Duration::from_secs(40)).unwrap() {
                Event::StoreState(state) => return state,
                Event::Answer(..) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Waits until somebody else who looks into the file gets this number.
fn until_in_file(path: &Path, sql: &str, expected: i64) {
    let began = clock::now().mono;
    // There may be no file yet, or no table in it.
    let read = || {
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
        db.busy_timeout(BUSY).ok()?;
        db.query_row(sql, [], |row| row.get::<_, i64>(0)).ok()
    };
    while read() != Some(expected) {
        assert!(clock::now().mono.since(began) < Span::from_secs(40), "{:?}: {sql}", read());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn now() -> i64 {
    clock::now().wall.as_secs()
}

fn ticket(id: &str) -> Ticket {
    let mut fields = Fields::default();
    fields.set("user", Value::str("root\u{e9}"));
    fields.set("users", Value::List(vec![Value::str("a"), Value::None]));
    Ticket {
        id: Id::parse(id),
        address: None,
        time: Timestamp::from_secs(now() - 10),
        whole: false,
        ban_time: BanTime::For(Span::from_secs(600)),
        ban_count: 2,
        failures: 5,
        matches: vec![
            MatchedLine::Cut(["".into(), "2026-11-23".into(), " it's \"x\"\\".into()]),
            MatchedLine::Whole("second".into()),
        ],
        fields,
        restored: false,
    }
}

fn restored(mut ticket: Ticket) -> Ticket {
    (ticket.restored, ticket.whole) = (true, true);
    ticket
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite3");
    (folder, path)
}

#[test]
fn everything_comes_back() {
    let (_folder, path) = file();
    let mut bench = Bench::open(Some(&path));
    assert!(!bench.store().was_unclean());
    bench.op(StoreOp::AddJail("a".into()));
    for id in ["1.2.3.4", "2001:db8::1", "5.5.5.0/24", "some user", "9.9.9.9", "8.8.8.8"] {
        bench.ban("a", ticket(id));
    }
    let mut old = ticket("7.7.7.7");
    old.time = Timestamp::from_secs(now() - 1000);
    bench.ban("a", old.clone());
    let mut forever = old.clone();
    (forever.id, forever.ban_time) = (Id::parse("6.6.6.6"), BanTime::Permanent);
    bench.ban("a", forever);
    bench.ban("b", ticket("1.2.3.4"));
    bench.op(StoreOp::DeleteBan { jail: "a".into(), id: Id::parse("9.9.9.9") });
    let file = Position { first_line: "ab12".into(), offset: 4711.0, cursor: None };
    let journal = Position {
        first_line: "2026-11-23T02:17:00".into(),
        offset: 1_795_400_821.25,
        cursor: Some("s=1;i=2".into()),
    };
    for (path, position) in [("/var/log/x", &file), ("systemd-journal", &journal)] {
        bench.op(StoreOp::LogPosition {
            jail: "a".into(),
            path: path.into(),
            position: position.clone(),
        });
    }
    // Twice: before it is written (or not yet all), and from the file.
    for round in 0..2 {
        let bans = bench.bans("a");
        let ids: Vec<_> = bans.iter().map(|t| t.id.to_string()).collect();
        let mut sorted = ids.clone();
        sorted.sort();
        let expected = ["1.2.3.4", "2001:db8::1", "5.5.5.0/24", "6.6.6.6", "8.8.8.8", "some user"];
        // What has ended is not asked of the file; what waits is not looked at so closely.
        sorted.retain(|id| id != "7.7.7.7");
        assert_eq!(sorted, expected, "{round}");
        let one = bans.iter().find(|t| t.id == Id::parse("1.2.3.4")).unwrap();
        assert_eq!(
            *one,
            Ticket {
                fields: one.fields.clone(),
                ..restored(Ticket { time: one.time, ..ticket("1.2.3.4") })
            }
        );
        assert_eq!(one.fields.get("users"), ticket("x").fields.get("users"));
        assert_eq!(one.fields.text("user"), Some("root\u{e9}"));

        assert_eq!(bench.history(Some("a"), "1.2.3.4").unwrap().count, 2);
        assert_eq!(bench.history(None, "1.2.3.4").unwrap().count, 4);
        assert_eq!(bench.history(Some("a"), "7.7.7.7").unwrap().last, old.time);
        assert_eq!(bench.history(None, "9.9.9.9"), None);
        assert_eq!(bench.position("/var/log/x"), Some(file.clone()));
        assert_eq!(bench.position("systemd-journal"), Some(journal.clone()));
        assert_eq!(bench.position("/nosuch"), None);
        let past = bench.store().handle().past_bans(&Id::parse("1.2.3.4"), None).unwrap();
        assert_eq!(past.failures, 10);
        assert_eq!(past.lines[1..3], ["second", "2026-11-23 it's \"x\"\\"]);
        let one = bench.store().handle().past_bans(&Id::parse("1.2.3.4"), Some("b")).unwrap();
        assert_eq!((one.failures, one.lines.len()), (5, 2));
        assert_eq!(bench.store().handle().past_bans(&Id::parse("9.9.9.9"), None), None);

        bench.stop();
        assert_eq!(bench.texts().last().unwrap(), "Connection to database closed.");
        bench = Bench::open(Some(&path));
    }
    bench.op(StoreOp::ForgetLog { jail: "a".into(), path: "systemd-journal".into() });
    assert_eq!(bench.position("systemd-journal"), None);
    bench.op(StoreOp::DeleteAllBans("a".into()));
    assert!(bench.ids("a").is_empty());
    bench.stop();
    let bench = Bench::open(Some(&path));
    assert!(bench.ids("a").is_empty());
    assert_eq!(bench.position("systemd-journal"), None);
    assert_eq!(bench.ids("b"), ["1.2.3.4"]);
}

/// Times are rounded and lengths keep their fraction, as in fail2ban's rows: a line read twice is not
/// later than the ban it led to.
#[test]
fn fractions_of_seconds() {
    let (_folder, path) = file();
    let mut bench = Bench::open(Some(&path));
    let second = now();
    let mut whole = ticket("1.1.1.1");
    whole.time = Timestamp(second * 1_000_000 - 500_001);
    let mut odd = ticket("2.2.2.2");
    odd.time = Timestamp(second * 1_000_000 - 400_000);
    odd.ban_time = BanTime::For(Span::from_millis(90_250));
    bench.ban("a", whole);
    bench.ban("a", odd);
    // Twice: before it is written (or not yet all), and from the file.
    for _ in 0..2 {
        let begins = |id: &str| bench.history(Some("a"), id).unwrap().last.as_secs();
        assert_eq!((begins("1.1.1.1"), begins("2.2.2.2")), (second - 1, second));
        let bans = bench.bans("a");
        let found = |id: &str| bans.iter().find(|t| t.id == Id::parse(id)).unwrap();
        assert_eq!(found("2.2.2.2").time, Timestamp::from_secs(second));
        assert_eq!(found("2.2.2.2").ban_time, BanTime::For(Span::from_millis(90_250)));
        bench.stop();
        bench = Bench::open(Some(&path));
    }
    let db = Connection::open(&path).unwrap();
    let kinds = "SELECT typeof(timeofban) || ' ' || typeof(bantime) FROM bips ORDER BY ip";
    let mut statement = db.prepare(kinds).unwrap();
    let kinds: Vec<String> =
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(kinds, ["integer integer", "integer real"]);
}

#[test]
fn purge_forgets_what_is_old() {
    let (_folder, path) = file();
    let mut bench = Bench::open(Some(&path));
    let store = bench.store();
    assert_eq!(store.setting("dbpurgeage", None), Ok(Value::Int(86_400)));
    assert_eq!(store.setting("dbpurgeage", Some(&Value::str("1h"))), Ok(Value::Int(3600)));
    assert_eq!(store.setting("dbmaxmatches", Some(&Value::Int(1))), Ok(Value::Int(1)));
    assert!(store.setting("dbpurgeage", Some(&Value::str("nonsense"))).is_err());
    assert!(store.setting("nosuch", None).is_err());
    for (id, age, length) in
        [("1.1.1.1", 4000, 60), ("2.2.2.2", 4000, -1), ("3.3.3.3", 4000, 600), ("4.4.4.4", 9, 600)]
    {
        let mut t = ticket(id);
        t.time = Timestamp::from_secs(now() - age);
        t.ban_time = BanTime::from_secs(length);
        bench.ban("a", t);
    }
    bench.op(StoreOp::AddJail("empty".into()));
    bench.op(StoreOp::DisableJail("empty".into()));
    bench.op(StoreOp::Purge);
    bench.stop();
    let db = Connection::open(&path).unwrap();
    let list = |sql: &str| {
        let mut statement = db.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>()
    };
    assert_eq!(list("SELECT ip FROM bans"), ["4.4.4.4"]);
    assert_eq!(list("SELECT ip FROM bips ORDER BY ip"), ["2.2.2.2", "3.3.3.3", "4.4.4.4"]);
    assert_eq!(list("SELECT name FROM jails"), ["a"]);
    // dbmaxmatches = 1: the last line only.
    let data: Vec<u8> = db.query_row("SELECT data FROM bans", [], |row| row.get(0)).unwrap();
    assert!(data.starts_with(b"{\"matches\": [\"second\"], \"failures\": 5, \"user\":"));
}

/// In this order they are made again, and actions are called: see `getCurrentBans` of fail2ban.
#[test]
fn bans_come_back_by_the_text_of_their_ids() {
    let sorted = ["10.0.0.1", "9.0.0.1", "::1", "some user"];
    let (_folder, path) = file();
    let bench = Bench::open(Some(&path));
    for (age, id) in [(10, "9.0.0.1"), (30, "10.0.0.1"), (20, "::1"), (40, "some user")] {
        let time = Timestamp::from_secs(now() - age);
        bench.ban("a", Ticket { time, ..ticket(id) });
    }
    assert_eq!(bench.ids("a"), sorted);
    drop(bench);
    assert_eq!(Bench::open(Some(&path)).ids("a"), sorted);
}

/// Also a file that fail2ban has made, which would only grow; and whoever reads meanwhile gets in.
#[test]
fn the_file_shrinks_when_old_bans_are_forgotten() {
    const PATIENCE: Span = Span::from_secs(40);
    for fail2bans in [false, true] {
        let (_folder, path) = file();
        let mut bench = Bench::open(Some(&path));
        bench.op(StoreOp::AddJail("a".into()));
        let mut old = ticket("1.1.1.1");
        old.time = Timestamp::from_secs(now() - 200_000);
        old.matches = vec![MatchedLine::Whole("x".repeat(500))];
        for n in 0..10_000_u32 {
            old.id = Id::parse(&std::net::Ipv4Addr::from(0x0a00_0000 + n).to_string());
            bench.ban("a", old.clone());
        }
        bench.ban("a", ticket("2.2.2.2"));
        bench.stop();
        if fail2bans {
            let db = Connection::open(&path).unwrap();
            db.execute_batch("PRAGMA auto_vacuum = NONE; VACUUM").unwrap();
        }
        let size = || std::fs::metadata(&path).unwrap().len();
        let full = size();
        assert!(full > 10 << 20, "{full}");
        let bench = Bench::open(Some(&path));
        // Python's sqlite3 waits for 5 s, as most others do.
        let reader = Connection::open(&path).unwrap();
        reader.busy_timeout(BUSY).unwrap();
        bench.op(StoreOp::Purge);
        let began = clock::now().mono;
        while size() > full / 5 {
            let took = clock::now().mono.since(began);
            assert!(took < PATIENCE, "{} of {full} bytes", size());
            let count = reader.query_row("SELECT count(*) FROM bips", [], |r| r.get::<_, i64>(0));
            assert!(count.unwrap() >= 1);
            assert_eq!(bench.history(Some("a"), "2.2.2.2").unwrap().count, 2);
        }
        assert_eq!(bench.ids("a"), ["2.2.2.2"]);
        let check: String =
            reader.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }
}

/// One that is larger is written anew only if little of it is in use: that takes long otherwise.
#[test]
fn a_large_file_of_fail2bans_shrinks_if_little_of_it_is_in_use() {
    for kept in [0, 20] {
        let (_folder, path) = file();
        let mut bench = Bench::open(Some(&path));
        bench.op(StoreOp::AddJail("a".into()));
        bench.ban("a", ticket("2.2.2.2"));
        bench.stop();
        let db = Connection::open(&path).unwrap();
        db.execute_batch("PRAGMA auto_vacuum = NONE; VACUUM; PRAGMA synchronous = OFF").unwrap();
        for n in 0..24 {
            let sql = "INSERT INTO bans(jail, ip, timeofban, bantime, data)
                       VALUES('a', ?1, 1, 1, zeroblob(1048576))";
            db.execute(sql, [n]).unwrap();
        }
        db.execute("DELETE FROM bans WHERE timeofban = 1 AND CAST(ip AS INTEGER) >= ?1", [kept])
            .unwrap();
        drop(db);
        let size = || std::fs::metadata(&path).unwrap().len();
        assert!(size() > 24 << 20, "{}", size());
        let bench = Bench::open(Some(&path));
        assert_eq!(bench.ids("a"), ["2.2.2.2"]);
        assert_eq!(size() > 24 << 20, kept > 0, "{}", size());
    }
}

#[test]
fn places_in_logs_that_are_gone_are_forgotten() {
    let (folder, path) = file();
    let log = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let place = |cursor: Option<&str>| Position {
        first_line: "ab12".into(),
        offset: 7.0,
        cursor: cursor.map(str::to_owned),
    };
    let read = |bench: &Bench, jail: &str, path: &str| {
        let position = place(Some("1:2:"));
        bench.op(StoreOp::LogPosition { jail: jail.into(), path: path.to_owned(), position });
    };
    let mut bench = Bench::open(Some(&path));
    std::fs::write(log("there"), "").unwrap();
    for jail in ["a", "b"] {
        for name in ["gone", "there", "away", "read"] {
            read(&bench, jail, &log(name));
        }
    }
    read(&bench, "a", "systemd-journal");
    bench.stop();
    // Of those that are not there, one is asked for and another read: they may come back.
    let bench = Bench::open(Some(&path));
    for jail in ["a", "b"] {
        bench.op(StoreOp::AddJail(jail.into()));
    }
    assert_eq!(bench.position(&log("away")), Some(place(Some("1:2:"))));
    read(&bench, "a", &log("read"));
    read(&bench, "b", &log("read"));
    bench.op(StoreOp::ForgetLog { jail: "b".into(), path: log("read") });
    bench.op(StoreOp::Purge);
    let db = Connection::open(&path).unwrap();
    db.busy_timeout(BUSY).unwrap();
    let rows = || -> Vec<String> {
        let sql = "SELECT jail || ' ' || path FROM logs WHERE path NOT LIKE '%-cursor' ORDER BY 1";
        let mut statement = db.prepare(sql).unwrap();
        let found = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        found.map(|row| row.unwrap().replace(folder.path().to_str().unwrap(), "")).collect()
    };
    let left = ["a /away", "a /read", "a /there", "a systemd-journal", "b /there"];
    let began = clock::now().mono;
    while rows() != left {
        assert!(clock::now().mono.since(began) < Span::from_secs(40), "{:?}", rows());
        // What was found is taken along with the next message.
        bench.op(StoreOp::AddJail("a".into()));
        std::thread::sleep(Duration::from_millis(50));
    }
    let cursors = "SELECT count(*) FROM logs WHERE path LIKE '%-cursor'";
    assert_eq!(db.query_row(cursors, [], |row| row.get::<_, i64>(0)), Ok(5));
}

#[test]
fn without_a_file() {
    let bench = Bench::open(None);
    bench.ban("a", ticket("1.2.3.4"));
    assert!(bench.ids("a").is_empty());
    assert_eq!(bench.store().path(), None);
    let bench = Bench::try_open(Some("None")).unwrap();
    assert_eq!(bench.store().path(), None);
    let mut bench = Bench::try_open(Some(":memory:")).unwrap();
    bench.ban("a", ticket("1.2.3.4"));
    assert_eq!(bench.ids("a"), ["1.2.3.4"]);
    let (_folder, path) = file();
    bench.store.as_mut().unwrap().set_file(path.to_str()).unwrap();
    assert!(bench.ids("a").is_empty());
    bench.ban("a", ticket("1.2.3.5"));
    bench.store.as_mut().unwrap().set_file(Some("NONE")).unwrap();
    assert!(bench.ids("a").is_empty());
    bench.store.as_mut().unwrap().set_file(path.to_str()).unwrap();
    assert_eq!(bench.ids("a"), ["1.2.3.5"]);
}

#[test]
fn an_unclean_end_is_noticed() {
    let (folder, path) = file();
    let mut bench = Bench::open(Some(&path));
    bench.ban("a", ticket("1.2.3.4"));
    // What a kill leaves: the file as it is on disk at a moment when something has been written.
    let copy = folder.path().join("copy");
    until_in_file(&path, "SELECT count(*) FROM bans", 1);
    std::fs::copy(&path, &copy).unwrap();
    bench.stop();
    assert!(!Bench::open(Some(&path)).store().was_unclean());
    let killed = Bench::open(Some(&copy));
    assert!(killed.store().was_unclean());
    assert_eq!(killed.ids("a"), ["1.2.3.4"]);
}

#[test]
fn a_reader_of_seconds_loses_nothing_and_delays_no_answer() {
    under_a_lock("BEGIN");
}

#[test]
fn a_writer_of_seconds_loses_nothing_and_delays_no_answer() {
    under_a_lock("BEGIN IMMEDIATE");
}

fn under_a_lock(lock: &str) {
    let (_folder, path) = file();
    let mut bench = Bench::open(Some(&path));
    bench.op(StoreOp::AddJail("a".into()));
    bench.stop();
    let mut bench = Bench::open(Some(&path));
    let other = Connection::open(&path).unwrap();
    other.busy_timeout(BUSY).unwrap();
    other.execute_batch(lock).unwrap();
    // A cursor that is not finished keeps its lock.
    let mut statement = other.prepare("SELECT name FROM jails").unwrap();
    let mut cursor = statement.query([]).unwrap();
    cursor.next().unwrap();
    for n in 0..50 {
        bench.ban("a", ticket(&format!("10.0.0.{n}")));
    }
    assert_eq!(bench.ids("a").len(), 50);
    assert_eq!(bench.history(Some("a"), "10.0.0.7").unwrap().count, 2);
    assert!(bench.state().is_err());
    assert_eq!(bench.ids("a").len(), 50);
    drop(cursor);
    drop(statement);
    other.execute_batch("COMMIT").unwrap();
    assert!(bench.state().is_ok());
    bench.stop();
    assert_eq!(Bench::open(Some(&path)).ids("a").len(), 50, "{lock}");
}
#[test]
fn a_locked_file_at_the_start_is_waited_for() {
    let (_folder, path) = file();
    let mut bench = Bench::open(Some(&path));
    bench.ban("a", ticket("1.2.3.4"));
    bench.stop();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let bench = Bench::open(Some(&path));
    bench.ban("a", ticket("1.2.3.5"));
    let unlock = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        other.execute_batch("COMMIT").unwrap();
    });
    assert_eq!(bench.ids("a"), ["1.2.3.4", "1.2.3.5"]);
    unlock.join().unwrap();
}

#[test]
fn a_file_that_cannot_be_written_is_written_later() {
    let (folder, _) = file();
    // Two levels that do not exist: only one would be made.
    let path = folder.path().join("not/there/db.sqlite3");
    let mut bench = Bench::open(Some(&path));
    bench.op(StoreOp::AddJail("a".into()));
    bench.ban("a", ticket("1.2.3.4"));
    let state = bench.state().unwrap_err();
    assert!(state.contains("not/there/db.sqlite3': unable to open"), "{state}");
    assert_eq!(bench.ids("a"), ["1.2.3.4"]);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    assert_eq!(bench.state(), Ok(()));
    assert_eq!(bench.ids("a"), ["1.2.3.4"]);
    // The same for one that goes read-only, is moved away, or deleted while it is in use.
    std::fs::rename(&path, path.with_extension("moved")).unwrap();
    bench.ban("a", ticket("1.2.3.5"));
    bench.stop();
    assert_eq!(Bench::open(Some(&path)).ids("a"), ["1.2.3.5"]);
}

#[test]
fn a_full_disk_keeps_bans_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = |args: &[&str]| {
        let status = Command::new("mount").args(args).arg(&disk).stderr(Stdio::null()).status();
        status.is_ok_and(|s| s.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=256k", "none"]) {
        return sekisho_oracle::missing("the right to mount a small tmpfs");
    }
    struct Unmount(PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
    let _unmount = Unmount(disk.clone());
    let path = disk.join("db.sqlite3");
    let mut bench = Bench::open(Some(&path));
    bench.op(StoreOp::AddJail("a".into()));
    bench.ban("a", ticket("1.1.1.1"));
    until_in_file(&path, "SELECT count(*) FROM bans", 1);
    // Something else fills the disk.
    let _ = std::fs::write(disk.join("big"), vec![0u8; 1 << 20]);
    for n in 0..200 {
        bench.ban("a", ticket(&format!("10.0.0.{n}")));
    }
    let state = bench.state().unwrap_err();
    assert!(state.contains("full"), "{state}");
    assert_eq!(bench.ids("a").len(), 201);
    std::fs::remove_file(disk.join("big")).unwrap();
    // Still read-only for a while, which root feels only so.
    assert!(mount(&["-o", "remount,size=8m"]));
    assert_eq!(bench.state(), Ok(()));
    bench.stop();
    assert_eq!(Bench::open(Some(&path)).ids("a").len(), 201);
}

#[test]
fn damage_is_kept_aside_and_what_can_be_read_is_saved() {
    // Not a database at all.
    let (folder, path) = file();
    std::fs::write(&path, "this is no database, but long enough to be looked at".repeat(50))
        .unwrap();
    let mut bench = Bench::open(Some(&path));
    bench.ban("a", ticket("1.2.3.4"));
    bench.stop();
    assert!(bench.texts()[0].contains("is damaged"), "{:?}", bench.texts());
    let kept = |folder: &Path| {
        let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
        names.filter(|n| n.to_str().unwrap().starts_with("db.sqlite3.20")).count()
    };
    assert_eq!(kept(folder.path()), 1);
    assert_eq!(Bench::open(Some(&path)).ids("a"), ["1.2.3.4"]);

    // Pages of an index overwritten.
    let (folder, path) = file();
    let mut bench = Bench::open(Some(&path));
    for n in 0..2000 {
        bench.ban("a", ticket(&format!("10.0.{}.{}", n / 250, n % 250)));
    }
    bench.stop();
    let root: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_master WHERE name = 'bans_ip'", [], |r| r.get(0))
        .unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let start = (root as usize - 1) * 4096;
    bytes[start..start + 4096].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let bench = Bench::open(Some(&path));
    assert_eq!(kept(folder.path()), 1);
    assert_eq!(bench.ids("a").len(), 2000, "{:?}", bench.texts());

    // Cut in the middle while nobody looks.
    let (folder, path) = file();
    let mut bench = Bench::open(Some(&path));
    for n in 0..2000 {
        bench.ban("a", ticket(&format!("10.0.{}.{}", n / 250, n % 250)));
    }
    bench.stop();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 3]).unwrap();
    let mut bench = Bench::open(Some(&path));
    bench.ban("a", ticket("1.2.3.4"));
    bench.stop();
    assert_eq!(kept(folder.path()), 1);
    assert!(Bench::open(Some(&path)).ids("a").contains(&"1.2.3.4".to_owned()));
}

#[test]
fn older_versions_are_upgraded_newer_ones_refused() {
    for version in 1..=3 {
        let (folder, path) = file();
        let db = Connection::open(&path).unwrap();
        db.execute_batch(
            "CREATE TABLE fail2banDb(version INTEGER);
             CREATE TABLE jails(name TEXT NOT NULL UNIQUE, enabled INTEGER NOT NULL DEFAULT 1);
             INSERT INTO jails VALUES('a', 1);",
        )
        .unwrap();
        db.execute("INSERT INTO fail2banDb VALUES(?1)", [version]).unwrap();
        let unique = if version > 1 { ", UNIQUE(jail, path)" } else { "" };
        db.execute_batch(&format!(
            "CREATE TABLE logs(jail TEXT, path TEXT, firstlinemd5 TEXT, lastfilepos INTEGER {unique});
             CREATE INDEX logs_path ON logs(path);
             INSERT INTO logs VALUES('a', '/x', 'f', 9);"
        ))
        .unwrap();
        let length = if version > 2 { "bantime INTEGER, bancount INTEGER," } else { "" };
        db.execute_batch(&format!(
            "CREATE TABLE bans(jail TEXT, ip TEXT, timeofban INTEGER, {length} data JSON);
             CREATE INDEX bans_ip ON bans(ip);"
        ))
        .unwrap();
        let values = if version > 2 { "600, 1," } else { "" };
        for (ip, age) in [("1.1.1.1", 30), ("1.1.1.1", 20), ("2.2.2.2", 10)] {
            db.execute_batch(&format!(
                "INSERT INTO bans VALUES('a', '{ip}', {}, {values} '{{\"matches\": [\"x\"]}}')",
                now() - age
            ))
            .unwrap();
        }
        db.close().unwrap();
        let mut bench = Bench::open(Some(&path));
        assert!(bench.texts().contains(&format!("Database updated from '{version}' to '4'")));
        assert_eq!(bench.ids("a"), ["1.1.1.1", "2.2.2.2"]);
        assert_eq!(bench.position("/x").unwrap().offset, 9.0);
        bench.ban("a", ticket("3.3.3.3"));
        bench.stop();
        assert_eq!(Bench::open(Some(&path)).ids("a").len(), 3);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
    let (_folder, path) = file();
    let db = Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE fail2banDb(version INTEGER); INSERT INTO fail2banDb VALUES(99)")
        .unwrap();
    let error = Bench::try_open(path.to_str()).err().unwrap();
    assert!(error.to_string().contains("has version 99"), "{error}");
}

/// fail2ban's own old files: both upgrade them to the same rows, and we keep a copy.
#[test]
fn fail2bans_old_files_are_upgraded_as_it_does() {
    let Some(fail2ban) = sekisho_oracle::Fail2ban::installed() else { return };
    for name in ["database_v1.db", "database_v2.db"] {
        let source = fail2ban.modules.join("fail2ban/tests/files").join(name);
        let old = std::fs::read(&source).unwrap();
        let (theirs_folder, theirs) = file();
        let (ours_folder, ours) = file();
        std::fs::write(&theirs, &old).unwrap();
        std::fs::write(&ours, &old).unwrap();
        python("db.close()", &theirs);
        let mut bench = Bench::open(Some(&ours));
        bench.op(StoreOp::AddJail("a".into()));
        bench.stop();
        let rows = |path: &Path| {
            let db = Connection::open(path).unwrap();
            let mut out = Vec::new();
            for sql in [
                "SELECT 'version ' || version FROM fail2banDb",
                "SELECT 'jail ' || name FROM jails ORDER BY name",
                "SELECT 'log ' || jail || path || firstlinemd5 || lastfilepos FROM logs ORDER BY 1",
                "SELECT jail || ip || timeofban || ' ' || bantime || ' ' || bancount || data FROM bans ORDER BY 1",
            ] {
                let mut statement = db.prepare(sql).unwrap();
                let texts = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
                out.extend(texts.map(Result::unwrap));
            }
            out
        };
        assert_eq!(rows(&ours), rows(&theirs), "{name}");
        assert!(rows(&ours).len() > 5, "{name}: {:?}", rows(&ours));
        for folder in [ours_folder, theirs_folder] {
            let copies = std::fs::read_dir(folder.path()).unwrap();
            let copies =
                copies.filter(|e| std::fs::read(e.as_ref().unwrap().path()).unwrap() == old);
            assert_eq!(copies.count(), 1, "{name}: the old file is kept");
        }
    }
    sekisho_oracle::report("old database files, upgraded", "fail2ban 1.0.2", 2, "files");
}

fn oracle() -> bool {
    sekisho_oracle::Fail2ban::installed().is_some()
}

fn python(script: &str, path: &Path) -> String {
    let head = "
import sys, time
sys.path.insert(0, '/usr/lib/python3/dist-packages')
from fail2ban.server.jail import Jail
from fail2ban.server.ticket import BanTicket
from fail2ban.server.database import Fail2BanDb
db = Fail2BanDb(sys.argv[1])
jail = Jail('a', backend='polling', db=db)
db.addJail(jail)
";
    let out = Command::new("/usr/bin/python3")
        .args(["-c", &format!("{head}{script}")])
        .arg(path)
        .env("PYTHONIOENCODING", "utf-8")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn fail2ban_reads_our_file_while_we_run_and_writes_it_for_us() {
    if !oracle() {
        return;
    }
    let (_folder, path) = file();
    let mut bench = Bench::open(Some(&path));
    bench.op(StoreOp::AddJail("a".into()));
    for id in ["1.2.3.4", "5.5.5.0/24", "some user"] {
        bench.ban("a", ticket(id));
    }
    let position = Position { first_line: "T".into(), offset: 1234.0, cursor: Some("s=1".into()) };
    let path_of_log = "systemd-journal".to_owned();
    bench.op(StoreOp::LogPosition { jail: "a".into(), path: path_of_log, position });
    let old = Bench::open(Some(&path));
    drop(old);
    until_in_file(&path, "SELECT count(*) FROM bips, logs", 3 * 2);
    let read = "
bans = db.getCurrentBans(jail=jail, forbantime=600)
for t in sorted(bans, key=lambda t: str(t.getID())):
    print(t.getID(), t.getBanTime(), t.getBanCount(), t.getAttempt(), t.getMatches(), t.getData('user'))
print(db._db.execute('SELECT path, lastfilepos FROM logs ORDER BY path').fetchall())
print(list(db.getBan('1.2.3.4', jail))[0][0])
";
    let lines = "['2026-11-23 it\\'s \"x\"\\\\', 'second']";
    let expected = format!(
        "1.2.3.4 600 2 5 {lines} root\u{e9}\n5.5.5.0/24 600 2 5 {lines} root\u{e9}\n\
         some user 600 2 5 {lines} root\u{e9}\n[('systemd-journal', 1234), ('systemd-journal-cursor', 1234)]\n2\n"
    );
    assert_eq!(python(read, &path), expected);
    // Both have it open, both write.
    let write = "
t = BanTicket('9.9.9.9', time.time() - 5, [['a ', 'DATE', ' \u{fc}'], 'b'])
t.setAttempt(3); t.setBanTime(300); t.setBanCount(4); t._data['user'] = 'x'
db.addBan(jail, t)
t = BanTicket('9.9.9.8', time.time() - 5, []); t.setBanTime(-1)
db.addBan(jail, t)
db.delBan(jail, 'some user')
db.close()
";
    python(write, &path);
    let check = |bench: &Bench| {
        let bans = bench.bans("a");
        let ids: std::collections::BTreeSet<_> = bans.iter().map(|t| t.id.to_string()).collect();
        let all = ["1.2.3.4", "5.5.5.0/24", "9.9.9.8", "9.9.9.9"];
        assert_eq!(ids, all.iter().map(|s| (*s).to_owned()).collect());
        let one = bans.iter().find(|t| t.id == Id::parse("9.9.9.9")).unwrap();
        assert_eq!((one.failures, one.ban_count), (3, 4));
        assert_eq!(one.ban_time, BanTime::For(Span::from_secs(300)));
        assert_eq!(one.fields.text("user"), Some("x"));
        assert_eq!(one.matches[0].text(), "a DATE \u{fc}");
        let other = bans.iter().find(|t| t.id == Id::parse("9.9.9.8")).unwrap();
        assert_eq!(other.ban_time, BanTime::Permanent);
    };
    check(&bench);
    bench.stop();
    check(&Bench::open(Some(&path)));
}

#[test]
fn we_read_a_file_that_fail2ban_made() {
    if !oracle() {
        return;
    }
    let (_folder, path) = file();
    let write = "
for i in range(30):
    t = BanTicket('10.0.0.%d' % i, time.time() - 60 + i, ['line %d' % i])
    t.setAttempt(i); t.setBanTime(600); t.setBanCount(1)
    db.addBan(jail, t)
db.close()
";
    python(write, &path);
    let mut bench = Bench::open(Some(&path));
    assert_eq!(bench.ids("a").len(), 30);
    assert!(!bench.store().was_unclean());
    bench.ban("a", ticket("10.0.0.0"));
    assert_eq!(bench.store().handle().past_bans(&Id::parse("10.0.0.0"), None).unwrap().failures, 5);
    bench.stop();
    let read = "print(len(db.getCurrentBans(jail=jail, forbantime=600)))\n";
    assert_eq!(python(read, &path), "30\n");
}
