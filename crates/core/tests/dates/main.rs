//! Three generations of fail2ban date the same lines: the same part cut out, by the same template,
//! with the same time and the same order of templates afterwards.
//!
//! Lines are made from a seed: `SEKISHO_DATE_LINES` sets how many, `SEKISHO_SEED` the seed. Nothing is
//! tolerated but the reading of an hour that the clock repeats or skips, where the C library answers
//! differently from call to call and the first reading is ours.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
// The core reads no environment and no files; this test of it must.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod lines;
mod patterns;

use lines::{FORMS, parts, write_date};
use sekisho_core::date::{
    DateDetector, DateError, DateOptions, DateSpec, LineZone, LogZone, Years, table,
};
use sekisho_core::time::{Timestamp, Zone};
use sekisho_oracle::{Fail2ban, Python, Random, cases, missing, report};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Whole and half hours, both hemispheres, changes of half an hour, of the other sign and at other
/// times of the day, and none.
const PLACES: [&str; 10] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Pacific/Chatham",
    "Europe/Dublin",
    "America/Santiago",
    "Africa/Casablanca",
];

/// Zones by name, with their changes from 2024 to 2027.
struct Zones(Vec<(&'static str, Zone, Vec<i64>)>);

impl Zones {
    fn load() -> Option<Zones> {
        let end: jiff::Timestamp = "2028-01-01T00:00:00Z".parse().unwrap();
        let start = "2024-01-01T00:00:00Z".parse().unwrap();
        let mut zones = Vec::new();
        for name in PLACES {
            let data = std::fs::read(format!("/usr/share/zoneinfo/{name}")).ok()?;
            let zone = jiff::tz::TimeZone::tzif(name, &data).unwrap();
            let changes = zone.following(start).map(|change| change.timestamp());
            let changes: Vec<i64> =
                changes.take_while(|at| *at < end).map(|at| at.as_second()).collect();
            zones.push((name, Zone(zone), changes));
        }
        Some(Zones(zones))
    }
}

/// What one detector is asked.
struct Session {
    place: &'static str,
    zone: Zone,
    pattern: String,
    log_zone: &'static str,
    /// The present and a line.
    steps: Vec<(f64, String)>,
}

const ANCHORS: [&str; 8] = [
    "2026-11-23T10:20:30",
    "2026-12-31T22:58:00",
    "2026-12-31T23:59:30",
    "2027-01-01T00:10:00",
    "2024-02-29T12:00:00",
    "2024-12-31T12:00:00",
    "2025-02-28T23:30:00",
    "2026-07-01T22:30:00",
];

const PREFIXES: [&str; 12] = [
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
];

const ENDS: [&str; 12] = ["", "x", "_", "5", " 2026", " 2026x", ".5", "é", "]", "Z", " Z", ":"];

/// A session of random lines.
fn session(rng: &mut Random, zones: &Zones) -> Session {
    let (place, zone, changes) = rng.pick(&zones.0);
    let (pattern, form) = match rng.below(6) {
        0 => {
            let (pattern, form) = *rng.pick(patterns::PATTERNS);
            (pattern.to_owned(), form.to_owned())
        }
        1 | 2 => patterns::random(rng),
        _ => (String::new(), String::new()),
    };
    let form = if form.is_empty() { (*rng.pick(FORMS)).to_owned() } else { form };
    let log_zone = *rng.pick(&["", "", "", "UTC", "CET", "+0530", "EST-01:00"]);
    let anchor = if rng.one_in(2) && !changes.is_empty() {
        *rng.pick(changes)
    } else {
        // By the calendar of the place.
        let civil: jiff::civil::DateTime = rng.pick(&ANCHORS).parse().unwrap();
        zone.0.to_ambiguous_timestamp(civil).compatible().unwrap().as_second()
    };
    let mut now = anchor + rng.below(7200) as i64 - 3600;
    let mut prefix = *rng.pick(&["", "", "", "[", "<13>", "- ", "10.1.2.3 - - ["]);
    let mut steps = Vec::new();
    for _ in 0..5 + rng.below(60) {
        now += match rng.below(10) {
            0 => 1000,
            1 => 100,
            _ => rng.below(3) as i64,
        };
        let at = now
            + match rng.below(12) {
                0 => rng.below(86_400 * 700) as i64 - 86_400 * 350,
                1 => rng.below(86_400 * 4) as i64 - 86_400 * 2,
                2 => *rng.pick(&[0, 1, 86_399, 86_400, 86_401]),
                3 | 4 => rng.below(7200) as i64 - 3600,
                5 if !changes.is_empty() => {
                    *rng.pick(changes) + rng.below(14_400) as i64 - 7200 - now
                }
                _ => -(rng.below(5) as i64),
            };
        let form = if rng.one_in(5) { *rng.pick(FORMS) } else { form.as_str() };
        if rng.one_in(6) {
            prefix = if rng.one_in(4) { "" } else { *rng.pick(&PREFIXES) };
        }
        let p = parts(rng, at, zone);
        let date = write_date(rng, form, &p, at);
        let mut suffix = match rng.below(8) {
            0 => *rng.pick(&ENDS),
            1 => " 10.0.0.1 host",
            _ => " host sshd[1]: Failed password for root from 1.2.3.4 port 22",
        }
        .to_owned();
        if rng.one_in(6) {
            let other = *rng.pick(FORMS);
            let p = parts(rng, at - 1000, zone);
            suffix = format!("{suffix} {}", write_date(rng, other, &p, at - 1000));
        }
        let present = now as f64 + rng.below(1_000_000) as f64 / 1e6;
        steps.push((present, format!("{prefix}{date}{suffix}")));
    }
    Session { place, zone: zone.clone(), pattern, log_zone, steps }
}

/// The examples of the table: each token, each template with its pattern and without.
fn examples() -> Vec<Session> {
    let tokens = table::TOKENS.iter().map(|row| (row.pattern, row.line));
    let templates = table::TEMPLATES.iter().map(|row| (row.pattern, row.line));
    let defaults = table::TEMPLATES.iter().map(|row| ("", row.line));
    let sessions = tokens.chain(templates).chain(defaults).map(|(pattern, line)| Session {
        place: "UTC",
        zone: Zone::utc(),
        pattern: pattern.to_owned(),
        log_zone: "",
        steps: [line.to_owned(), format!("x {line}")]
            .map(|line| (table::EXAMPLE_NOW as f64, line))
            .to_vec(),
    });
    sessions.collect()
}

impl Session {
    fn question(&self) -> Value {
        json!({
            "zone": self.place,
            "pattern": self.pattern,
            "log_zone": self.log_zone,
            "steps": self.steps,
        })
    }

    /// What the judge should answer.
    fn answer(&self, specs: &mut HashMap<String, Result<DateSpec, DateError>>) -> Value {
        let options =
            DateOptions { now: Timestamp::from_secs(table::EXAMPLE_NOW), years: Years::Server };
        // Built-in templates compile at their first use; clones share that.
        let spec = specs
            .entry(self.pattern.clone())
            .or_insert_with(|| DateSpec::parse(&self.pattern, &options));
        let spec = match spec {
            Ok(spec) => spec.clone(),
            Err(error) => return json!({"refused": error.to_string()}),
        };
        let log = (!self.log_zone.is_empty()).then(|| LogZone::parse(self.log_zone).unwrap());
        let zone = LineZone { local: self.zone.clone(), log };
        let mut detector = DateDetector::new(spec, zone);
        let mut dates = Vec::new();
        for (now, line) in &self.steps {
            let now = Timestamp((now * 1e6).round() as i64);
            let Some(hit) = detector.find(line, now) else {
                dates.push(Value::Null);
                continue;
            };
            let name = detector.spec().templates()[hit.template].name().to_owned();
            let time = match detector.time(&hit, now) {
                _ if hit.empty => json!("empty"),
                Ok(at) => json!(at.map(|at| (at.as_secs_f64() * 1000.0 + 0.5).floor() as i64)),
                Err(DateError::UnknownZone(_)) => json!("KeyError"),
                Err(DateError::HalfDate) => json!("TypeError"),
                Err(_) => json!("OverflowError"),
            };
            dates.push(json!([hit.span.start, hit.span.end, name, time]));
        }
        let order: Vec<Value> =
            detector.templates().map(|t| json!([t.template.name(), t.hits])).collect();
        json!({"dates": dates, "order": order})
    }

    /// A pattern that begins with an optional blank fails in fail2ban at the first line.
    fn is_mended(&self) -> bool {
        let text = &self.pattern;
        let text = ["{^LN-BEG}", "{UNB}"].iter().find_map(|b| text.strip_prefix(b)).unwrap_or(text);
        ["%k", "%l", "%Exk", "%Exl"].iter().any(|token| text.starts_with(token))
    }
}

/// Compares; the number of lines.
fn compare(judge: &mut Judge, sessions: &[Session]) -> usize {
    let theirs = judge.python.ask_all(sessions.iter().map(Session::question).collect());
    let mut lines = 0;
    for (session, theirs) in sessions.iter().zip(theirs) {
        let ours = session.answer(&mut judge.specs);
        let refused = |answer: &Value| answer.get("refused").is_some();
        if refused(&theirs) && (refused(&ours) || session.is_mended()) {
            continue;
        }
        lines += session.steps.len();
        if ours != theirs && !differ_in_the_last_day(&ours, &theirs) {
            show(session, &ours, &theirs, &judge.version);
        }
    }
    lines
}

/// From 9999-12-30 22:00 UTC on, ours are out of range.
fn differ_in_the_last_day(ours: &Value, theirs: &Value) -> bool {
    const END: i64 = 253_402_207_200_000;
    let orders_agree = ours["order"] == theirs["order"];
    let (Some(ours), Some(theirs)) = (ours["dates"].as_array(), theirs["dates"].as_array()) else {
        return false;
    };
    orders_agree
        && ours.iter().zip(theirs).all(|(ours, theirs)| {
            let late = theirs[3].as_i64().is_some_and(|time| time >= END);
            let alike = (0..3).all(|i| ours[i] == theirs[i]);
            ours == theirs || (late && alike && ours[3] == "OverflowError")
        })
}

/// Fails with what the detector had seen before the first difference.
fn show(session: &Session, ours: &Value, theirs: &Value, version: &str) {
    let at = (0..session.steps.len()).find(|i| ours["dates"][i] != theirs["dates"][i]);
    let steps = session.steps.iter().zip(0..).take(at.unwrap_or(session.steps.len()) + 1);
    let seen: String = steps
        .map(|((now, line), i)| format!("{now} {line}\n    {}\n", theirs["dates"][i]))
        .collect();
    panic!(
        "fail2ban {version}, seed {}, TZ={} {:?} log {:?}\n{seen}ours:   {}\ntheirs: {}",
        seed(),
        session.place,
        session.pattern,
        session.log_zone,
        at.map_or(ours, |i| &ours["dates"][i]),
        at.map_or(theirs, |i| &theirs["dates"][i]),
    );
}

fn seed() -> u64 {
    cases("SEKISHO_SEED", 1) as u64
}

struct Judge {
    python: Python,
    version: String,
    specs: HashMap<String, Result<DateSpec, DateError>>,
}

#[test]
fn dates_like_fail2ban() {
    let Some(zones) = Zones::load() else { return missing("/usr/share/zoneinfo (tzdata)") };
    let mut judges: Vec<Judge> = Fail2ban::all()
        .iter()
        .map(|fail2ban| Judge {
            python: Python::start(fail2ban.python(), include_str!("judge.py"), &[]),
            version: fail2ban.version.clone(),
            specs: HashMap::new(),
        })
        .collect();
    let wanted = cases("SEKISHO_DATE_LINES", 20_000);
    let mut rng = Random(seed());
    let count = judges.len();
    for judge in &mut judges {
        let mut lines = compare(judge, &examples());
        while lines < wanted / count {
            let sessions: Vec<Session> = (0..50).map(|_| session(&mut rng, &zones)).collect();
            lines += compare(judge, &sessions);
            judge.specs.clear();
        }
        report("dates of generated lines", &format!("fail2ban {}", judge.version), lines, "lines");
    }
}
