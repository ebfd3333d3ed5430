//! The installed fail2ban dates the same lines: the same part cut out, by the same template, with
//! the same time and the same order of templates afterwards.
//!
//! Lines are made from a seed. `SEKISHO_DATE_LINES` sets how many (5,000), `SEKISHO_DATE_SEED` the
//! seed; a failure prints both.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
// The core reads no environment and no files; this test of it must.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use sekisho_core::date::{
    DateDetector, DateError, DateOptions, DateSpec, LineZone, LogZone, Years, table,
};
use sekisho_core::time::{Timestamp, Zone};
use std::collections::HashMap;
use std::io::Write;
use std::process::{Command, Stdio};

/// A small generator of our own, so that a seed means the same on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// A civil date whose parts may be impossible.
struct Parts {
    year: i64,
    month: usize,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    weekday: usize,
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const LONG_MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const LONG_DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const ZONES: [&str; 22] = [
    "Z", "UTC", "GMT", "+0200", "-0330", "+01:00", "-11", "+1", "+2500", "CET", "CEST", "MSK",
    "IST", "z", "utc", "X", "J", "EST+0100", "ABCDEF", "+02:0", "Zulu", "-19:59",
];

fn parts(dice: &mut Dice, at: i64, zone: &Zone) -> Parts {
    let ts = jiff::Timestamp::from_second(at).unwrap();
    let dt = zone.0.to_datetime(ts);
    let mut parts = Parts {
        year: i64::from(dt.year()),
        month: dt.month() as usize,
        day: i64::from(dt.day()),
        hour: i64::from(dt.hour()),
        minute: i64::from(dt.minute()),
        second: i64::from(dt.second()),
        weekday: dt.weekday().to_monday_zero_offset() as usize,
    };
    if dice.one_in(30) {
        match dice.below(7) {
            0 => parts.day = dice.pick(&[0, 29, 30, 31, 32]),
            1 => parts.month = dice.pick(&[1, 2, 2, 4, 12]),
            2 => parts.hour = dice.pick(&[24, 25, 29, 12, 0]),
            3 => parts.second = dice.pick(&[59, 60, 61, 62]),
            4 => parts.minute = dice.pick(&[59, 60]),
            5 => parts.year = dice.pick(&[1999, 2000, 2004, 2029, 2030, 2100, 1, 9999]),
            _ => parts.weekday = (parts.weekday + 1) % 7,
        }
    }
    parts
}

/// Writes a date by a format of `%` and a letter; some of the parts come out in a looser form.
fn write_date(dice: &mut Dice, format: &str, p: &Parts, at: i64) -> String {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let text = match chars.next().unwrap_or('%') {
            'Y' => format!("{:04}", p.year),
            'y' => format!("{:02}", p.year % 100),
            'm' if dice.one_in(20) => p.month.to_string(),
            'm' => format!("{:02}", p.month),
            'd' if dice.one_in(20) => p.day.to_string(),
            'd' => format!("{:02}", p.day),
            'e' => format!("{:2}", p.day),
            'H' if dice.one_in(20) => p.hour.to_string(),
            'H' => format!("{:02}", p.hour),
            'k' => format!("{:2}", p.hour),
            'I' => format!("{:02}", (p.hour + 11) % 12 + 1),
            'p' => dice.pick(&["AM", "PM", "am", "pm"]).to_owned(),
            'M' if dice.one_in(30) => p.minute.to_string(),
            'M' => format!("{:02}", p.minute),
            'S' if dice.one_in(30) => p.second.to_string(),
            'S' => format!("{:02}", p.second),
            'n' => MONTHS[p.month - 1].to_owned(),
            'N' => LONG_MONTHS[p.month - 1].to_owned(),
            'w' => DAYS[p.weekday].to_owned(),
            'W' => LONG_DAYS[p.weekday].to_owned(),
            'u' => ((p.weekday + 1) % 7).to_string(),
            'j' => format!("{:03}", dice.pick(&[1, 59, 60, 61, 100, 327, 365, 366])),
            'U' => format!("{:02}", dice.below(54)),
            'f' => match dice.below(4) {
                0 => String::new(),
                1 => ".123".to_owned(),
                2 => ".123456".to_owned(),
                _ => dice.pick(&[",5", ".1234567", ".", ".12x", ","]).to_owned(),
            },
            'z' => match dice.below(3) {
                0 => String::new(),
                1 => format!("{}{}", dice.pick(&["", " ", "  "]), dice.pick(&ZONES)),
                _ => dice.pick(&["+0100", " +0000", "Z", " +02:00"]).to_owned(),
            },
            'Z' => dice.pick(&ZONES).to_owned(),
            's' => at.to_string(),
            'L' => format!("{at}{}", dice.pick(&["", "123", "123456", "123.5", "1234"])),
            't' => format!("@4{at:015x}0a3d70a4"),
            other => other.to_string(),
        };
        let text = match dice.below(60) {
            0 => text.to_lowercase(),
            1 => text.to_uppercase(),
            _ => text,
        };
        out.push_str(&text);
    }
    if dice.one_in(150) {
        // Digits of another script are digits to Python.
        out = out
            .chars()
            .map(|c| match c.to_digit(10) {
                Some(d) => char::from_u32(0x660 + d).unwrap(),
                None => c,
            })
            .collect();
    }
    out
}

/// Forms for the built-in templates, frequent ones more than once.
const FORMS: &[&str] = &[
    "%Y-%m-%dT%H:%M:%S%f%z",
    "%Y-%m-%d %H:%M:%S%f%z",
    "%Y/%m/%d %H:%M:%S",
    "%Y.%m.%d %H:%M:%S",
    "%Y-%m/%d %H:%M:%S",
    "%n %e %H:%M:%S",
    "%n %e %H:%M:%S",
    "%n %d %H:%M:%S%f",
    "%w %n %d %H:%M:%S%f %Y",
    "%n %e %k:%M:%S %Y",
    "%n %d %Y %H:%M:%S%f",
    "%w %n %e %Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%d-%m-%y %k:%M:%S",
    "%d/%n/%Y:%H:%M:%S %Z",
    "%d/%n/%Y:%H:%M:%S%f%z",
    "%d-%n-%Y %H:%M:%S%f%z",
    "%m/%d/%Y:%H:%M:%S",
    "%m-%d-%Y %k:%M:%S%f",
    "%s",
    "%s.123",
    "%H:%M:%S",
    "<%m/%d/%y@%H:%M:%S>",
    "%y%m%d %H:%M:%S",
    "%y%m%d  %H:%M:%S",
    "%n %d, %Y %I:%M:%S %p",
    "%n-%d-%y %H:%M:%S",
    "%Y%m%dT%H%M%S%f%z",
    "%Y%m%d-%H:%M:%S%f%z",
    "%Y%m%d  %H%M%S",
    "%Z %n %e %H:%M:%S",
    "%Z %w %n %d %H:%M:%S%f %Y",
    "+01:00 %n %d %H:%M:%S %Y",
    "%t",
    "no date",
    "",
];

/// Patterns of users, with forms that mostly fit.
const PATTERNS: &[(&str, &str)] = &[
    ("{DEFAULT}", "%n %e %H:%M:%S"),
    ("{^LN-BEG}", "%Y-%m-%d %H:%M:%S%f%z"),
    ("^\\[{DATE}\\]", "[%Y-%m-%d %H:%M:%S%f%z]"),
    ("\\[{DATE}\\]", "x [%d/%n/%Y:%H:%M:%S%z]"),
    ("{^LN-BEG}{DATE}", "%n %e %H:%M:%S"),
    ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S"),
    ("^%Y-%m-%d %H:%M:%S %Z", "%Y-%m-%d %H:%M:%S %Z"),
    ("^%Y-%m-%d %H:%M:%S %z", "%Y-%m-%d %H:%M:%S %Z"),
    ("%Y-%m-%d %H:%M:%S %ExZ", "%Y-%m-%d %H:%M:%S %Z"),
    ("%Y-%m-%d %H:%M:%S ?%Exz", "%Y-%m-%d %H:%M:%S %Z"),
    ("%A, %d %B %Y %I:%M %p", "%W, %d %N %Y %I:%M %p"),
    ("%j %H:%M:%S", "%j %H:%M:%S"),
    ("%Y %j", "%Y %j"),
    ("%Y %U %w", "%Y %U %u"),
    ("%Y %W %a", "%Y %U %w"),
    ("%W %w %H:%M", "%U %u %H:%M"),
    ("%m-%Y", "%m-%Y"),
    ("%x %X", "%m/%d/%y %H:%M:%S"),
    ("%c", "%w %n %e %H:%M:%S %Y"),
    ("%d %H:%M", "%d %H:%M"),
    ("%l:%M %p", "%I:%M %p"),
    ("%Exk:%ExM:%ExS", "%k:%M:%S"),
    ("%Exy%Exm%Exd", "%y%m%d"),
    ("%k:%M:%S$", "foo %k:%M:%S"),
    ("%k:%M:%S", "foo %k:%M:%S"),
    ("**%H:%M:%S**", "foo%H:%M:%Sbar"),
    ("{UNB}%H:%M:%S", "foo%H:%M:%Sbar"),
    ("{NONE}", "no date"),
    ("at (%H:%M:%S)", "x at %H:%M:%S"),
    ("^(?:\\w+ )?%H:%M", "foo %H:%M"),
    ("(?i)T=%H:%M", "t=%H:%M"),
    ("EPOCH", "%s"),
    ("^EPOCH", "[%s]"),
    ("LEPOCH", "%L"),
    ("{^LN-BEG}LEPOCH", "%L"),
    ("\\btime=\\{{EPOCH}\\}", "a time={%s}"),
    ("time={LEPOCH}", "a time=%L"),
    ("^TAI64N", "%t"),
    ("TAI64N", "%t"),
    ("%H:%M:%S\\n%Y-%m-%d %H:%M:%S\\n{^LN-BEG}", "%Y-%m-%d %H:%M:%S"),
    ("^[^\\[]*\\[({DATE})\\n{^LN-BEG}", "x [%d/%n/%Y:%H:%M:%S%z]"),
    ("{^LN-BEG}EPOCH\\n{^LN-BEG}", "[%s]"),
    ("%d/%m/%Y %H:%M:%S\\n%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S"),
    ("(?P<Y>\\d+) (?P<m>\\w+) (?P<d>\\w+)", "%Y %m %d"),
    ("%Q", ""),
    ("%Y\\n%Y", ""),
];

/// Lines of one detector.
fn jobs(dice: &mut Dice, zone: &Zone, lines: usize) -> Vec<String> {
    let mut jobs = Vec::new();
    let anchors: Vec<i64> = [
        "2026-11-23T10:20:30Z",
        "2026-12-31T22:58:00Z",
        "2026-12-31T23:59:30Z",
        "2027-01-01T00:10:00Z",
        "2024-02-29T12:00:00Z",
        "2024-12-31T12:00:00Z",
        "2025-02-28T23:30:00Z",
        "2026-03-29T00:30:00Z",
        "2026-10-24T23:30:00Z",
        "2026-10-25T01:30:00Z",
        "2026-07-01T22:30:00Z",
    ]
    .iter()
    .map(|text| text.parse::<jiff::Timestamp>().unwrap().as_second())
    .collect();
    let (pattern, form) = match dice.below(3) {
        0 => dice.pick(PATTERNS),
        _ => ("", ""),
    };
    let form = if form.is_empty() { dice.pick(FORMS) } else { form };
    let log_zone = dice.pick(&["", "", "", "UTC", "CET", "+0530", "EST-01:00"]);
    jobs.push(format!("D {pattern}\t{log_zone}"));
    let mut now = dice.pick(&anchors) + dice.below(7200) as i64 - 3600;
    let mut prefix = dice.pick(&["", "", "", "[", "<13>", "- ", "10.1.2.3 - - ["]).to_owned();
    for _ in 0..lines {
        now += match dice.below(10) {
            0 => 1000,
            1 => 100,
            _ => dice.below(3) as i64,
        };
        let micros = dice.below(1_000_000);
        jobs.push(format!("N {now}.{micros:06}"));
        let at = now
            + match dice.below(12) {
                0 => dice.below(86_400 * 700) as i64 - 86_400 * 350,
                1 => dice.below(86_400 * 4) as i64 - 86_400 * 2,
                2 => dice.pick(&[0, 1, 86_399, 86_400, 86_401]),
                3 => dice.below(7200) as i64 - 3600,
                _ => -(dice.below(5) as i64),
            };
        let form = if dice.one_in(5) { dice.pick(FORMS) } else { form };
        if dice.one_in(6) {
            let size = dice.below(4) as usize;
            prefix = dice
                .pick(&[
                    "",
                    "x ",
                    "error ",
                    "audit(",
                    "[",
                    "é ",
                    "\u{201c}\u{201d} ",
                    "host prog[1]: ",
                    "--- ",
                    "1.2.3.4 - - [",
                    "10.20.30.40 - - [",
                    "cet ",
                ])
                .repeat(size.min(1))
        }
        let p = parts(dice, at, zone);
        let date = write_date(dice, form, &p, at);
        let mut suffix = match dice.below(8) {
            0 => dice.pick(&["", "x", "_", "5", " 2026", " 2026x", ".5", "é", "]", "Z", " Z", ":"]),
            1 => " 10.0.0.1 host",
            _ => " host sshd[1]: Failed password for root from 1.2.3.4 port 22",
        }
        .to_owned();
        if dice.one_in(6) {
            let other = dice.pick(FORMS);
            let p = parts(dice, at - 1000, zone);
            suffix = format!("{suffix} {}", write_date(dice, other, &p, at - 1000));
        }
        jobs.push(format!("L {prefix}{date}{suffix}"));
    }
    jobs.push("O".to_owned());
    jobs
}

/// The examples of the table.
fn rows() -> Vec<String> {
    let tokens = table::TOKENS.iter().map(|row| (row.pattern, row.line));
    let templates = table::TEMPLATES.iter().map(|row| (row.pattern, row.line));
    let defaults = table::TEMPLATES.iter().map(|row| ("", row.line));
    let jobs = tokens.chain(templates).chain(defaults).map(|(pattern, line)| {
        [
            format!("D {pattern}\t"),
            format!("N {}", table::EXAMPLE_NOW),
            format!("L {line}"),
            format!("L x {line}"),
            "O".to_owned(),
        ]
    });
    jobs.flatten().collect()
}

/// Our answers to the jobs.
fn answer(jobs: &[String], zone: &Zone) -> Vec<String> {
    let options =
        DateOptions { now: Timestamp::from_secs(table::EXAMPLE_NOW), years: Years::Server };
    let mut specs: HashMap<String, Result<DateSpec, DateError>> = HashMap::new();
    let mut detector = None;
    let mut now = Timestamp(0);
    let mut answers = Vec::new();
    for job in jobs {
        let (kind, rest) = job.split_at(1);
        let rest = rest.get(1..).unwrap_or_default();
        match (kind, &mut detector) {
            ("D", slot) => {
                let (pattern, log_zone) = rest.split_once('\t').unwrap();
                let spec = specs
                    .entry(pattern.to_owned())
                    .or_insert_with(|| DateSpec::parse(&pattern.replace("\\n", "\n"), &options));
                let log = (!log_zone.is_empty()).then(|| LogZone::parse(log_zone).unwrap());
                let zone = LineZone { local: zone.clone(), log };
                match spec {
                    Ok(spec) => {
                        *slot = Some(DateDetector::new(spec.clone(), zone));
                        answers.push("ok".to_owned());
                    }
                    Err(error) => {
                        *slot = None;
                        answers.push(format!("error {error}"));
                    }
                }
            }
            ("N", _) => now = Timestamp((rest.parse::<f64>().unwrap() * 1e6).round() as i64),
            ("L", Some(detector)) => {
                let Some(hit) = detector.find(rest, now) else {
                    answers.push("none".to_owned());
                    continue;
                };
                let name = detector.spec().templates()[hit.template].name().to_owned();
                let time = match detector.time(&hit, now) {
                    _ if hit.empty => "empty".to_owned(),
                    Ok(Some(at)) => format!("{:.3}", at.as_secs_f64()),
                    Ok(None) => "none".to_owned(),
                    Err(DateError::UnknownZone(_)) => "error KeyError".to_owned(),
                    Err(DateError::HalfDate) => "error TypeError".to_owned(),
                    Err(_) => "error OverflowError".to_owned(),
                };
                answers.push(format!("{}\t{}\t{name}\t{time}", hit.span.start, hit.span.end));
            }
            ("O", Some(detector)) => {
                let order = detector.templates();
                let order: Vec<String> =
                    order.map(|t| format!("{} {}", t.template.name(), t.hits)).collect();
                answers.push(order.join("\t"));
            }
            _ => answers.push("no detector".to_owned()),
        }
    }
    answers
}

/// Equal, but for hours that the clock skips or repeats: the C library may take either there.
fn agree(ours: &str, theirs: &str, zone: &Zone) -> bool {
    if ours == theirs {
        return true;
    }
    let (Some((head, a)), Some((their_head, b))) =
        (ours.rsplit_once('\t'), theirs.rsplit_once('\t'))
    else {
        return false;
    };
    let (Ok(a), Ok(b)) = (a.parse::<f64>(), b.parse::<f64>()) else { return false };
    let offset = |at: f64| zone.0.to_offset(jiff::Timestamp::from_second(at as i64).unwrap());
    let near_change = offset(a - 7300.0) != offset(a + 7300.0);
    head == their_head && (a - b).abs() == 3600.0 && near_change
}

/// What the detector had seen before the job that failed.
fn history(asked: &[&String], theirs: &[String], at: usize) -> String {
    let start = (0..at).rev().find(|i| asked[*i].starts_with('D')).unwrap_or(at);
    (start..at).map(|i| format!("{}\n    {}\n", asked[i], theirs[i])).collect()
}

fn missing(what: &str) {
    assert!(std::env::var_os("SEKISHO_CI").is_none(), "needs {what}");
    eprintln!("skipped: needs {what}");
}

fn oracle(jobs: &[String], zone: &str) -> Option<Vec<String>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/date_oracle.py");
    let mut child = Command::new("/usr/bin/python3")
        .arg(script)
        .env("TZ", zone)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let text = jobs.join("\n");
    let mut input = child.stdin.take()?;
    let writer = std::thread::spawn(move || {
        let _ = input.write_all(text.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    (text.trim_end() != "missing").then(|| {
        // Which of the two names these have, depends on Python's hash seed.
        let text = text.replace("Ex%k", "%Exk").replace("Ex%l", "%Exl");
        text.split('\n').map(str::to_owned).collect()
    })
}

#[test]
fn dates_like_fail2ban() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let wanted = number("SEKISHO_DATE_LINES", 5000) as usize;
    let seed = number("SEKISHO_DATE_SEED", 1);
    for name in ["Europe/Berlin", "UTC"] {
        let Ok(data) = std::fs::read(format!("/usr/share/zoneinfo/{name}")) else {
            return missing("/usr/share/zoneinfo");
        };
        let zone = Zone(jiff::tz::TimeZone::tzif(name, &data).unwrap());
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut all = rows();
        let mut lines = 0;
        while lines < wanted / 2 + 1 {
            let count = 5 + dice.below(60) as usize;
            lines += count;
            all.extend(jobs(&mut dice, &zone, count));
        }
        let Some(theirs) = oracle(&all, name) else {
            return missing("fail2ban's Python modules");
        };
        let ours = answer(&all, &zone);
        let asked: Vec<&String> = all.iter().filter(|job| !job.starts_with('N')).collect();
        assert_eq!(ours.len(), asked.len());
        assert_eq!(theirs.len(), asked.len());
        let mut refused = false;
        for (at, job) in asked.iter().enumerate() {
            if job.starts_with('D') {
                refused = theirs[at].starts_with("error");
                // A pattern that begins with an optional blank is read, though fail2ban fails at the first line.
                let mended =
                    ["D %k", "D %l", "D %Exk", "D %Exl"].iter().any(|p| job.starts_with(p));
                let same = ours[at].starts_with("error") == refused;
                assert!(same || mended, "{job}: {}", ours[at]);
                continue;
            }
            assert!(
                refused || agree(&ours[at], &theirs[at], &zone),
                "seed {seed}, zone {name}, job {at}: {job}\nours:   {}\ntheirs: {}\nbefore:\n{}",
                ours[at],
                theirs[at],
                history(&asked, &theirs, at),
            );
        }
    }
}
