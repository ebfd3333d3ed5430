//! Stock filters on fail2ban's sample logs and on captured logs: every filter, every option.

use std::fs;
use std::path::{Path, PathBuf};

use sekisho_oracle::{Fail2ban, report};

use crate::both::Both;
use sekisho_oracle::samples::{self, with_params};

/// What is asked for each log and each set of options.
const ROWS: &[&str] = &["-o", "row", "-r"];
const SUMMARY: &[&str] =
    &["-v", "--print-all-matched", "--print-all-missed", "--print-all-ignored", "--usedns=no"];
const RESOLVED: &[&str] = &["-o", "row"];
const TAGS: &[&str] = &["-o", "<ip>|<fid>|<time>|<F-USER>|<F-ID>|<msg>", "--usedns=no"];

/// A log that ends with a line feed: fail2ban drops a last line without one.
fn ended(log: &Path, dir: &Path) -> String {
    let mut bytes = fs::read(log).unwrap();
    if bytes.ends_with(b"\n") {
        return log.to_string_lossy().into_owned();
    }
    bytes.push(b'\n');
    let path = dir.join(log.file_name().unwrap());
    fs::write(&path, bytes).unwrap();
    path.to_string_lossy().into_owned()
}

/// `common[0]`, `common[1]`, …, `-c DIR LOG REGEX`
fn ask(both: &mut Both, how: &[&str], base: &Path, log: &str, regex: &str) {
    let base = base.to_string_lossy();
    both.compare(&[how, &["-c", &base, log, regex]].concat());
}

fn samples_of(fail2ban: Option<Fail2ban>) {
    let Some(fail2ban) = fail2ban else { return };
    let Some(mut both) = Both::offline(&fail2ban) else { return };
    let dir = tempfile::tempdir().unwrap();
    let samples = samples::all(&fail2ban, dir.path());
    for sample in &samples {
        let logs: Vec<String> = sample.logs.iter().map(|log| ended(log, dir.path())).collect();
        for params in sample.params() {
            let spec = sample.spec(&params);
            // Since 1.1 a name is a jail's first.
            let bare = with_params(&sample.name, &params);
            let name = if fail2ban.version == "1.0.2" { &spec } else { &bare };
            for log in &logs {
                ask(&mut both, ROWS, &sample.base, log, &spec);
                ask(&mut both, SUMMARY, &sample.base, log, &spec);
                ask(&mut both, RESOLVED, &sample.base, log, name);
                if fail2ban.version == "1.1.1" {
                    ask(&mut both, TAGS, &sample.base, log, &spec);
                }
            }
        }
    }
    let unit = format!("lines of output, {} runs of {} filters", both.runs, samples.len());
    let judge = format!("fail2ban-regex {}", fail2ban.version);
    report("sample logs with all options", &judge, both.lines, &unit);
}

#[test]
fn sample_logs_as_the_installed_fail2ban() {
    samples_of(Fail2ban::installed());
}

#[test]
fn sample_logs_as_the_next_fail2ban() {
    samples_of(Fail2ban::next());
}

#[test]
fn sample_logs_as_the_newest_fail2ban() {
    samples_of(Fail2ban::newest());
}

/// Every filter on all sample logs at once, its own or not; long, so only when asked for.
#[test]
fn all_sample_logs_for_each_filter() {
    if sekisho_oracle::cases("SEKISHO_CROSS_SAMPLES", 0) == 0 {
        return;
    }
    for fail2ban in Fail2ban::all() {
        let Some(mut both) = Both::offline(&fail2ban) else { return };
        let dir = tempfile::tempdir().unwrap();
        let samples = samples::all(&fail2ban, dir.path());
        let mut text = Vec::new();
        for log in samples.iter().flat_map(|sample| &sample.logs) {
            text.extend(fs::read(log).unwrap());
            text.push(b'\n');
        }
        let log = dir.path().join("all.log");
        fs::write(&log, text).unwrap();
        for sample in &samples {
            for params in sample.params() {
                let spec = sample.spec(&params);
                ask(&mut both, SUMMARY, &sample.base, &log.to_string_lossy(), &spec);
                ask(&mut both, ROWS, &sample.base, &log.to_string_lossy(), &spec);
            }
        }
        let unit = format!("lines of output, {} runs", both.runs);
        let judge = format!("fail2ban-regex {}", fail2ban.version);
        report("all sample logs for each filter", &judge, both.lines, &unit);
    }
}

/// All captured logs in one.
pub fn captured(dir: &Path) -> String {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/data/captured");
    let mut names: Vec<PathBuf> =
        fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let mut text = Vec::new();
    for name in names.iter().filter(|name| name.extension().is_some_and(|e| e == "log")) {
        text.extend(fs::read(name).unwrap());
    }
    let path = dir.join("captured.log");
    fs::write(&path, text).unwrap();
    path.to_string_lossy().into_owned()
}

const CAPTURED: [&str; 6] =
    ["dovecot", "postfix", "sshd", "nginx-http-auth", "nginx-botsearch", "nginx-bad-request"];

#[test]
fn stock_filters_find_the_same_on_captured_logs() {
    for fail2ban in Fail2ban::all() {
        let Some(mut both) = Both::offline(&fail2ban) else { return };
        let dir = tempfile::tempdir().unwrap();
        let log = captured(dir.path());
        let samples = samples::all(&fail2ban, dir.path());
        for sample in samples.iter().filter(|s| CAPTURED.contains(&s.name.as_str())) {
            for params in sample.params() {
                let spec = sample.spec(&params);
                ask(&mut both, ROWS, &sample.base, &log, &spec);
                ask(&mut both, SUMMARY, &sample.base, &log, &spec);
                ask(&mut both, TAGS, &sample.base, &log, &spec);
            }
        }
        let unit = format!("lines of output, {} runs", both.runs);
        let judge = format!("fail2ban-regex {}", fail2ban.version);
        report("captured logs with all options", &judge, both.lines, &unit);
    }
}
