//! Runs both programs on the same command line and compares what they print.
//!
//! What depends on the run alone is made equal: how long it took, the present time, the order of
//! Python's sets. So are the differences between the generations of fail2ban, each by its name.

use std::process::{Command, Stdio};

use sekisho_oracle::{Fail2ban, Python};
use serde_json::json;

use crate::literals;

/// What a program printed, and its exit code.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// The zones in turn: their offsets, the signs of these and their changes differ.
pub const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York"];

/// Our program.
pub fn ours(args: &[&str]) -> Ran {
    run(Command::new(env!("CARGO_BIN_EXE_fail2ban-regex")).args(args).env("TZ", "UTC"))
}

fn run(command: &mut Command) -> Ran {
    let done = command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).output().expect("it runs");
    Ran {
        code: done.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&done.stdout).into_owned(),
        err: String::from_utf8_lossy(&done.stderr).into_owned(),
    }
}

/// Both programs, of which one is fail2ban's of some version.
pub struct Both {
    pub fail2ban: Fail2ban,
    judge: Python,
    offline: bool,
    /// Runs compared.
    pub runs: usize,
    /// Lines of output compared.
    pub lines: usize,
}

impl Both {
    /// Both with the network of this machine.
    pub fn new(fail2ban: &Fail2ban) -> Both {
        Both::start(fail2ban, fail2ban.python(), false)
    }

    /// Both without a network, so that names have no addresses; `None` where that cannot be had.
    #[track_caller]
    pub fn offline(fail2ban: &Fail2ban) -> Option<Both> {
        let python = sekisho_oracle::offline(&fail2ban.python())?;
        Some(Both::start(fail2ban, python, true))
    }

    fn start(fail2ban: &Fail2ban, mut python: Command, offline: bool) -> Both {
        python.env("LC_ALL", "C.UTF-8");
        let judge = Python::start(python, include_str!("judge.py"), &[]);
        Both { fail2ban: fail2ban.clone(), judge, offline, runs: 0, lines: 0 }
    }

    /// Compares one command line, in one of the zones.
    pub fn compare(&mut self, args: &[&str]) {
        self.compare_in(args, ZONES[self.runs % ZONES.len()]);
    }

    /// Compares one command line.
    pub fn compare_in(&mut self, args: &[&str], zone: &str) {
        self.runs += 1;
        // The present moves on between the two runs, and dates are judged by it: a difference
        // counts that is still there the second time.
        let different = self.once(args, zone).and_then(|_| self.once(args, zone));
        if let Some(shown) = different {
            panic!("fail2ban {}, TZ={zone} {args:?}\n{shown}", self.fail2ban.version);
        }
    }

    /// The exit code of fail2ban's program and what it prints.
    pub fn theirs(&mut self, args: &[&str], zone: &str) -> (i64, String) {
        let answer = self.judge.ask(&json!({"args": args, "zone": zone}));
        let text = answer["out"].as_str().expect("a text").to_owned();
        (answer["code"].as_i64().expect("a number"), text)
    }

    /// The first difference.
    fn once(&mut self, args: &[&str], zone: &str) -> Option<String> {
        let (code, theirs) = self.theirs(args, zone);
        let mut command = Command::new(env!("CARGO_BIN_EXE_fail2ban-regex"));
        command.args(args).env("TZ", zone);
        // A namespace for each run takes longer than the run; most look nothing up.
        let looks_up = !args.iter().any(|arg| ["-r", "--usedns=no"].contains(arg));
        if self.offline && looks_up {
            command = sekisho_oracle::offline(&command).expect("as for the judge");
        }
        let ran = run(&mut command);
        let version = self.fail2ban.version.as_str();
        let (a, b) = (normal(&ran.out, version), normal(&theirs, version));
        let at = (0..a.len().max(b.len())).find(|i| match (a.get(*i), b.get(*i)) {
            (Some(a), Some(b)) => !same(a, b, zone),
            _ => true,
        });
        if at.is_none() && i64::from(ran.code) == code {
            self.lines += a.len();
            return None;
        }
        let at = at.unwrap_or(0);
        Some(format!(
            "line {at}, ours:   {:?}\ntheirs: {:?}\nexit codes: {} and {}\n{}\n--- ours\n{}\n--- theirs\n{}",
            a.get(at),
            b.get(at),
            ran.code,
            code,
            ran.err,
            a.join("\n"),
            b.join("\n")
        ))
    }
}

/// Whether two lines of output say the same. For a line without a date fail2ban shows the present as
/// if it were the line's; where the date may be missing, both do.
fn same(ours: &str, theirs: &str, zone: &str) -> bool {
    let present = |date: &str| {
        let Ok(date) = jiff::civil::DateTime::strptime("%a %b %d %H:%M:%S %Y", date) else {
            return false;
        };
        let now = jiff::Timestamp::now().in_tz(zone).expect("a known zone").datetime();
        now.duration_since(date).abs() < HOUR
    };
    ours == theirs
        || hit(ours).zip(hit(theirs)).is_some_and(|((who, a, rest), (their_who, b, their_rest))| {
            (who, rest) == (their_who, their_rest) && (a == "no date" || present(a)) && present(b)
        })
}

const HOUR: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// The parts of `|      1.2.3.4  Wed Nov 25 20:28:08 2026 (multiple regex matched)`.
fn hit(line: &str) -> Option<(&str, &str, &str)> {
    let (who, rest) = line.strip_prefix("|      ")?.split_once("  ")?;
    let (date, rest) = match rest.strip_prefix("no date") {
        Some(rest) => ("no date", rest),
        None => rest.split_at_checked(24)?,
    };
    Some((who, date, rest))
}

/// One date format of 1.1.1 is wider than that of older versions.
const DATE_THEN: &str = "ExMonthExDay(?:T|  ?)Ex24hourExMinuteExSecond";
const DATE_NOW: &str = "ExMonthExDay(?:-|T|  ?)Ex24hour:?ExMinute:?ExSecond";

/// Ours shows that it takes years since 1900, which later versions do as well.
const YEARS_NOW: &str = "(?:19[0123456789]|20[012])";

/// The pattern of an address before 1.1.
const IP6_THEN: &str = "{1,4}::?|::){1,7}";
const IP6_NOW: &str = "{1,4}::?|:){1,7}";

/// The lines that can be compared.
pub fn normal(text: &str, version: &str) -> Vec<String> {
    let newest = version == "1.1.1";
    let text = text
        .replace(DATE_THEN, DATE_NOW)
        .replace(YEARS_NOW, "20[012]")
        .replace(IP6_THEN, IP6_NOW)
        // Before 1.1 the kind of regex stood there.
        .replace("Use   failregex filter file : ", "Use      filter file : ")
        .replace("Use   failregex file : ", "Use      filter file : ")
        // The interpreter's switch for UTF-8 changes the name of the locale's encoding.
        .replace("Use         encoding : utf-8", "Use         encoding : UTF-8");
    let lines = text.lines().filter(|line| !line.starts_with("[processed in "));
    let shown = lines.map(|line| {
        // Before 1.1.1 a group that did not match is shown, too, and in its place.
        literals::canonical(&without_present(line), !newest)
    });
    shown.collect()
}

/// A line of `--out` without times of the last and the next hour.
fn without_present(line: &str) -> String {
    let now = jiff::Timestamp::now().as_second() as f64;
    let is_present = |text: &str| text.parse::<f64>().is_ok_and(|at| (at - now).abs() < 3600.0);
    let ends = ['\t', ',', '|'];
    let parts = line.split_inclusive(ends).map(|part| match part.trim_end_matches(ends) {
        bare if is_present(bare) => part.replacen(bare, "NOW", 1),
        _ => part.to_owned(),
    });
    parts.collect()
}
