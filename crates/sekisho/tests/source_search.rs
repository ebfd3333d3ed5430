//! Finding the place by date in large logs, on logs of every kind of disorder, and compared with
//! fail2ban's own search.
//!
//! `SEKISHO_SEARCH_CASES` sets how many logs are made.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sekisho::source::encoding::Encoding;
use sekisho::source::search::{Dates, MARGIN};
use sekisho::source::tail::{Out, Tail};
use sekisho_core::date::DateFormat;
use sekisho_core::effect::{Position, SourceState, StartAt};
use sekisho_core::time::{Monotonic, Span, Timestamp, Zone};
use sekisho_oracle::{Fail2ban, Python, Random, cases, report};

/// 2026-11-25 12:00:00 UTC
const NOW: i64 = 1_795_608_000;
const FIND_SECS: i64 = 600;

/// A log made for a test.
struct Log {
    dir: tempfile::TempDir,
    /// Offset and date of each line; undated lines have none.
    lines: Vec<(u64, Option<i64>)>,
}

/// How the lines of a log come about.
#[derive(Clone, Copy, Debug)]
struct Kind {
    format: &'static str,
    datepattern: &'static str,
    /// Undated lines behind each dated one, at most.
    undated: usize,
    /// Seconds by which a line may be dated earlier than one before it.
    disorder: i64,
    /// Seconds between lines, at most.
    pace: i64,
}

/// A date in UTC; the format knows the letters that the kinds above use.
fn date(format: &str, at: i64) -> String {
    let iso = Zone::utc().format(Timestamp::from_secs(at));
    let month =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
            [iso[5..7].parse::<usize>().unwrap() - 1];
    let day = &iso[8..10];
    match format {
        "epoch" => at.to_string(),
        format => format
            .replace("%F", "%Y-%m-%d")
            .replace("%T", "%H:%M:%S")
            .replace("%Y", &iso[..4])
            .replace("%m", &iso[5..7])
            .replace("%b", month)
            .replace("%d", day)
            .replace("%H", &iso[11..13])
            .replace("%M", &iso[14..16])
            .replace("%S", &iso[17..19]),
    }
}

impl Log {
    fn path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn make(kind: Kind, size: usize, random: &mut Random) -> Log {
        let dir = tempfile::tempdir().unwrap();
        // Written backwards in time, from a minute ago.
        let mut blocks: Vec<(i64, usize)> = Vec::new();
        let (mut at, mut bytes) = (NOW - random.below(FIND_SECS as usize) as i64, 0);
        while bytes < size {
            let undated = random.below(kind.undated + 1);
            blocks.push((at, undated));
            bytes += 60 + undated * 60;
            at -= random.below(kind.pace as usize + 1) as i64;
        }
        let (mut text, mut lines) = (String::new(), Vec::new());
        for (at, undated) in blocks.into_iter().rev() {
            // An order that is broken by writers that are late, never by ones that are early.
            let at = at - random.below(kind.disorder as usize + 1) as i64;
            lines.push((text.len() as u64, Some(at)));
            text += &format!("{} host app[1]: Failed {}\n", date(kind.format, at), lines.len());
            for n in 0..undated {
                lines.push((text.len() as u64, None));
                text += &format!("\tat com.example.Thing{n}.run(Thing.java:{n}) of 10.1.2.3\n");
            }
        }
        fs::write(dir.path().join("log"), &text).unwrap();
        Log { dir, lines }
    }

    /// Where reading must have begun at the latest.
    fn first_wanted(&self, since: i64) -> Option<u64> {
        self.lines.iter().find(|(_, at)| at.is_some_and(|at| at >= since)).map(|(pos, _)| *pos)
    }

    /// Where a place found by date would be without any margin for disorder but the documented one.
    fn first_within_margin(&self, since: i64) -> u64 {
        let since = since - MARGIN.0 / 1_000_000;
        self.first_wanted(since).unwrap_or(self.lines.last().unwrap().0)
    }
}

struct Sought {
    begin: u64,
    ordered: bool,
    looks: usize,
    live: bool,
}

/// Where our search begins to read.
fn seek(path: &Path, datepattern: &str, saved: Option<Position>) -> Sought {
    let now = Timestamp::from_secs(NOW);
    let format = DateFormat { pattern: datepattern.to_owned(), zone: String::new() };
    let dates = Dates::new(&[format], &Zone::utc(), now);
    let since = now.minus(Span::from_secs(FIND_SECS));
    let start = StartAt::Head { saved, since };
    let mut tail = Tail::new(path.to_path_buf(), Encoding::Bytes, start).by_date(dates);
    let mut sought = Sought { begin: 0, ordered: true, looks: 0, live: false };
    let mut first = true;
    for looks in 0..100_000 {
        let step = tail.step(Monotonic(1_000_000));
        for out in step.out {
            match out {
                Out::State(SourceState::Sought { from, to, ordered }) => {
                    sought = Sought { ordered, looks, ..sought };
                    assert!(from.offset <= to.offset);
                }
                Out::Lines { data, position, .. } if std::mem::take(&mut first) => {
                    sought.begin = position.offset as u64 - data.len() as u64;
                }
                Out::State(SourceState::CaughtUp) => sought.live = true,
                _ => {}
            }
        }
        if !step.more {
            return sought;
        }
    }
    panic!("the search does not end");
}

const KINDS: &[Kind] = &[
    Kind { format: "%b %d %H:%M:%S", datepattern: "", undated: 0, disorder: 0, pace: 30 },
    Kind { format: "%Y-%m-%dT%H:%M:%SZ", datepattern: "", undated: 0, disorder: 0, pace: 2 },
    Kind { format: "%Y-%m-%d %H:%M:%S", datepattern: "", undated: 40, disorder: 0, pace: 20 },
    Kind { format: "%b %d %H:%M:%S", datepattern: "", undated: 3, disorder: 4200, pace: 60 },
    Kind { format: "epoch", datepattern: "{^LN-BEG}EPOCH", undated: 0, disorder: 60, pace: 10 },
    Kind {
        format: "[%d/%b/%Y:%H:%M:%S +0000]",
        datepattern: "",
        undated: 300,
        disorder: 0,
        pace: 600,
    },
    Kind {
        format: "<%d.%m.%Y %H:%M:%S>",
        datepattern: "^<%d\\.%m\\.%Y %H:%M:%S>",
        undated: 1,
        disorder: 4200,
        pace: 5,
    },
];

/// No line that could count is left out, and little that could not is read.
#[test]
fn the_place_is_found_in_logs_of_every_kind() {
    let mut random = Random(5);
    let count = cases("SEKISHO_SEARCH_CASES", 40);
    for case in 0..count {
        let kind = KINDS[case % KINDS.len()];
        let log = Log::make(kind, 2 << 20, &mut random);
        let sought = seek(&log.path(), kind.datepattern, None);
        assert!(sought.live);
        let since = NOW - FIND_SECS;
        let wanted = log.first_wanted(since).unwrap_or(u64::MAX);
        assert!(sought.begin <= wanted, "case {case} {kind:?}: {} of {wanted}", sought.begin);
        assert!(sought.ordered, "case {case} {kind:?}");
        assert!(sought.looks < 80, "{} looks", sought.looks);
        let margin = log.first_within_margin(since - kind.disorder);
        let surplus = margin.saturating_sub(sought.begin);
        assert!(surplus < 600_000, "case {case} {kind:?}: {surplus} too much");
    }
}

/// fail2ban's search on the same logs: ours is never behind it where it loses lines, and about as
/// far where it does not.
#[test]
fn the_place_is_found_as_fail2ban_finds_it_where_that_loses_nothing() {
    const SCRIPT: &str = r#"
import json, sys, os, time
os.environ["TZ"] = "UTC"; time.tzset()
from fail2ban.server.filter import FileFilter, FileContainer
from fail2ban.server.mytime import MyTime
class Jail:
    name = "test"; database = None
    def __init__(self): pass
for line in sys.stdin:
    question = json.loads(line)
    MyTime.setTime(question["now"])
    seeker = FileFilter(Jail())
    if question["datepattern"]:
        seeker.setDatePattern(question["datepattern"])
    log = FileContainer(question["path"], "utf-8")
    log.open()
    try:
        seeker.seekToTime(log, question["since"])
    finally:
        log.close()
    print(json.dumps(log.getPos()), flush=True)
"#;
    let Some(fail2ban) = Fail2ban::next() else { return };
    let mut python = Python::start(fail2ban.python(), SCRIPT, &[]);
    let mut random = Random(7);
    let (mut agree, mut it_loses) = (0, 0);
    let count = cases("SEKISHO_SEARCH_CASES", 40);
    for case in 0..count {
        let kind = KINDS[case % KINDS.len()];
        let log = Log::make(kind, 2 << 20, &mut random);
        let ours = seek(&log.path(), kind.datepattern, None).begin;
        let since = NOW - FIND_SECS;
        let question = serde_json::json!({
            "path": log.path(), "datepattern": kind.datepattern, "now": NOW, "since": since,
        });
        let theirs = python.ask(&question).as_u64().unwrap();
        let wanted = log.first_wanted(since).unwrap_or(u64::MAX);
        assert!(ours <= wanted);
        if theirs > wanted {
            it_loses += 1;
        } else {
            agree += 1;
        }
    }
    assert!(agree > 0 && it_loses > 0, "{agree} {it_loses}");
    let judge = format!("fail2ban {}, which loses lines in {it_loses} of them", fail2ban.version);
    report("the place to begin, by date", &judge, count, "logs");
}

/// What a search cannot tell is read.
#[test]
fn what_cannot_be_told_is_read() {
    let dated =
        |at: i64, n: usize| format!("{} host app: {n} {}\n", date("%F %T", at), "x".repeat(99));
    let check = |name: &str, text: &str, datepattern: &str, begin: u64, ordered: bool| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, text).unwrap();
        let sought = seek(&path, datepattern, None);
        assert_eq!((sought.begin, sought.ordered), (begin, ordered), "{name}");
    };
    let day = 86_400;
    check("no dates at all", &"no date here\n".repeat(300_000), "", 0, true);
    let old: String = (0..40_000).map(|n| dated(NOW - 9 * day + n as i64, n)).collect();
    check("the pattern says that lines without date are now", &old, "{NONE}", 0, true);
    let recent: String = (0..40_000).map(|n| dated(NOW - 60, n)).collect();
    check("all recent", &recent, "", 0, true);
    // Lines of today between parts that are days old: where the search falls on them, it begins there,
    // …
    let mixed = |at: usize| [&old[..at], &recent[..recent.len() / 5], &old[at..]].concat();
    let half = old[..old.len() / 2].rfind('\n').unwrap() + 1;
    let path = tempfile::tempdir().unwrap();
    fs::write(path.path().join("log"), mixed(half)).unwrap();
    let sought = seek(&path.path().join("log"), "", None);
    assert!(sought.ordered && sought.begin <= half as u64 && sought.begin > half as u64 / 2);
    // … and where it does not, they are found afterwards.
    let eighth = old[..old.len() / 8].rfind('\n').unwrap() + 1;
    check("in no order", &mixed(eighth), "", 0, false);
    check("one endless line", &"x".repeat(3 << 20), "", 0, true);
    // All old: what is read is the end.
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("log"), &old).unwrap();
    let sought = seek(&dir.path().join("log"), "", None);
    assert!(sought.live && sought.begin > old.len() as u64 - 400_000, "{}", sought.begin);
    // From a saved position on.
    let at = old.len() as u64 / 2;
    let at = at + old[at as usize..].find('\n').unwrap() as u64 + 1;
    let first = old.lines().next().unwrap().to_owned() + "\n";
    use sha1::Digest;
    let first_line = sha1::Sha1::digest(&first).iter().map(|b| format!("{b:02x}")).collect();
    let saved = Position { first_line, offset: at as f64, cursor: None };
    let sought = seek(&dir.path().join("log"), "", Some(saved));
    assert!(sought.begin > old.len() as u64 - 400_000, "{}", sought.begin);
}

/// Gigabytes of nothing between lines cost a few looks.
#[test]
fn holes_are_stepped_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let file = File::create(&path).unwrap();
    let gib = 1u64 << 30;
    let line = |at: i64, n: u64| format!("{} host app: {n}\n", date("%F %T", at));
    for n in 0..10 {
        let text: String = (0..500).map(|m| line(NOW - 864_000 + n as i64 * 3600, m)).collect();
        file.write_all_at(text.as_bytes(), n * gib).unwrap();
    }
    let at = 10 * gib;
    let text: String = (0..500).map(|m| line(NOW - 30, m)).collect();
    file.write_all_at(text.as_bytes(), at).unwrap();
    let sought = seek(&path, "", None);
    assert!(sought.live && sought.ordered && sought.looks < 100, "{} looks", sought.looks);
    assert!(sought.begin <= at && sought.begin >= 9 * gib, "{}", sought.begin);
}

/// A log that is cut off or replaced while the place is searched for.
#[test]
fn a_search_survives_truncation() {
    let mut random = Random(9);
    for steps in 0..40 {
        let log = Log::make(KINDS[1], 2 << 20, &mut random);
        let now = Timestamp::from_secs(NOW);
        let dates = Dates::new(&[DateFormat::default()], &Zone::utc(), now);
        let start = StartAt::Head { saved: None, since: now.minus(Span::from_secs(FIND_SECS)) };
        let mut tail = Tail::new(log.path(), Encoding::Bytes, start).by_date(dates);
        for _ in 0..steps {
            tail.step(Monotonic(1));
        }
        if steps % 2 == 0 {
            OpenOptions::new().write(true).open(log.path()).unwrap().set_len(0).unwrap();
        } else {
            fs::rename(log.path(), log.dir.path().join("away")).unwrap();
        }
        let mut file = OpenOptions::new().create(true).append(true).open(log.path()).unwrap();
        writeln!(file, "new").unwrap();
        let mut got = String::new();
        for _ in 0..10_000 {
            let step = tail.step(Monotonic(1));
            for out in step.out {
                if let Out::Lines { data, .. } = out {
                    got += &String::from_utf8(data).unwrap();
                }
            }
            if !step.more {
                break;
            }
        }
        assert!(got.ends_with("\nnew\n") || got == "new\n", "{steps}");
    }
}
