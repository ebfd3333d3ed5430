//! The sample logs line by line: what fail2ban's own tests expect of a line holds for our filters,
//! and a line leads to what it leads to in fail2ban, failures or not: same pattern, same id, same
//! time, same groups, same lines.
//!
//! They run as in those tests: the clock stands still, names stay as they are, every pattern is
//! tried on every line, and what a line leaves behind holds for the next.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::DateTime;
use sekisho::files::Disk;
use sekisho_config::resolve::{ResolveOptions, resolve};
use sekisho_core::date::Stamp;
use sekisho_core::failure::MatchedLine;
use sekisho_core::filter::{
    Filter, FilterOutput, FilterSpec, Finding, FoundId, LineContext, Report, UseDns,
};
use sekisho_core::id::Id;
use sekisho_core::time::{Timestamp, Zone};
use sekisho_core::value::Value as Field;
use sekisho_oracle::{Fail2ban, Python, report};
use serde_json::{Map, Value, json};

use sekisho_oracle::samples::{self, Line, Run, Sample, with_params};

/// 2005-08-14 10:00:00 UTC, the present of those tests.
const NOW: i64 = 1_124_013_600;
/// Their zone.
const ZONE: &str = "CET-01CEST-02,M3.5.0,M10.5.0";

fn zone() -> Zone {
    Zone(jiff::tz::TimeZone::posix(ZONE).unwrap())
}

/// Our filter of that name and with those parameters.
fn filter(sample: &Sample, run: &Run) -> Filter {
    let how = ResolveOptions::default();
    let spec = with_params(&format!("{}.conf", sample.name), &run.params);
    let found = resolve(&Disk, &sample.base.to_string_lossy(), &spec, &how);
    let found = found.unwrap_or_else(|e| panic!("{spec}: {e}")).expect("a filter");
    let spec = FilterSpec {
        prefregex: found.prefregex,
        failregex: found.failregex,
        ignoreregex: found.ignoreregex,
        maxlines: found.maxlines.map_or(1, |n| usize::try_from(n).unwrap()),
        datepattern: found.datepattern,
        usedns: UseDns::Raw,
        ..FilterSpec::default()
    };
    // The present decides which centuries a server knows; in the tests that of the machine does.
    let now = Timestamp(jiff::Timestamp::now().as_microsecond());
    Filter::compile(&spec, &zone(), now).unwrap_or_else(|e| panic!("{}: {e}", sample.name))
}

/// What one line leads to.
fn judge(filter: &mut Filter, line: &Line) -> Vec<Finding> {
    let now = Timestamp::from_secs(NOW);
    let ctx = LineContext {
        jail: "jail",
        now,
        live: false,
        findtime: None,
        entry_time: line.journal.then_some(now),
        skipped: &[],
        check_all: true,
        report: Report::Groups,
    };
    let mut out = Vec::new();
    filter.line(&ctx, &line.text, &mut out);
    let findings = out.into_iter().filter_map(|output| match output {
        FilterOutput::Finding(finding) | FilterOutput::Quiet(finding) => Some(finding),
        FilterOutput::Ignored(_) | FilterOutput::Prefix(_) | FilterOutput::Log(_) => None,
    });
    findings.collect()
}

fn id(finding: &Finding) -> Option<String> {
    match &finding.id {
        FoundId::Id(id) => Some(id.to_string()),
        FoundId::Name(name) => Some(name.clone()),
        FoundId::Unknown => None,
    }
}

fn plain(field: &Field) -> Value {
    match field {
        Field::None => Value::Null,
        Field::Set(items) => {
            let items: BTreeSet<String> = items.iter().map(Field::to_text).collect();
            json!(items)
        }
        Field::Tuple(items) => items.iter().map(plain).collect(),
        other => Value::String(other.to_text()),
    }
}

/// In the words of the judge.
fn shown(finding: &Finding, journal: bool) -> Value {
    let groups: Map<String, Value> =
        finding.fields.iter().map(|(name, value)| (name.to_owned(), plain(value))).collect();
    let matches = finding.matches.iter().map(|line| match line {
        // The time of an entry is not part of it.
        MatchedLine::Cut([before, _, after]) if journal => json!([before, "", after]),
        MatchedLine::Cut(parts) => json!(parts),
        MatchedLine::Whole(text) => json!(text),
    });
    json!({
        "regex": finding.regex,
        "id": id(finding),
        "time": match finding.stamp {
            Stamp::Missing => Value::Null,
            Stamp::Local => json!(finding.time.as_secs_f64()),
            Stamp::Zoned => json!(finding.time.as_secs()),
        },
        "groups": groups,
        "matches": matches.collect::<Vec<_>>(),
    })
}

/// What is said of the line holds.
fn check(line: &Line, found: &[Finding]) -> Result<(), String> {
    let failures: Vec<&Finding> =
        found.iter().filter(|f| !f.nofail && f.id != FoundId::Unknown).collect();
    let wanted = line.expected.get("match").is_some_and(|value| value == true);
    let [failure] = failures.as_slice() else {
        return match (failures.len(), wanted) {
            (0, false) => Ok(()),
            (n, _) => Err(format!("{n} failures")),
        };
    };
    if !wanted {
        return Err("a failure".to_owned());
    }
    for (key, value) in &line.expected {
        let has = match key.as_str() {
            "match" | "desc" | "constraint" => continue,
            "time" => {
                let Some(text) = value.as_str() else { continue };
                let time = DateTime::strptime("%Y-%m-%dT%H:%M:%S%.f", text).unwrap();
                let time = zone().0.to_timestamp(time).unwrap();
                if failure.time.0 != time.as_microsecond() {
                    return Err(format!("time {:?}, not {time}", failure.time));
                }
                continue;
            }
            "attempts" => json!(failure.matches.len()),
            _ => match failure.fields.get(key).map(plain) {
                None | Some(Value::Null) if key == "host" => {
                    // An address is the same however it is written.
                    let wanted = value.as_str().map(|text| FoundId::Id(Id::parse(text)));
                    if wanted.as_ref() == Some(&failure.id) {
                        continue;
                    }
                    json!(id(failure))
                }
                other => other.unwrap_or(Value::Null),
            },
        };
        let mut value = value.clone();
        if let Some(list) = value.as_array_mut() {
            list.sort_by_key(Value::to_string);
        }
        if has != value {
            return Err(format!("{key} is {has}, not {value}"));
        }
    }
    Ok(())
}

fn line_by_line(fail2ban: Option<Fail2ban>) {
    let Some(fail2ban) = fail2ban else { return };
    let script = include_str!("judge_lines.py");
    let mut python = Python::start(fail2ban.python(), script, &[&NOW.to_string(), ZONE]);
    let dir = tempfile::tempdir().unwrap();
    let samples = samples::all(&fail2ban, dir.path());
    let (mut lines, mut expectations) = (0, 0);
    for sample in &samples {
        let mut unused: BTreeMap<String, bool> = BTreeMap::new();
        for run in &sample.runs {
            let mut filter = filter(sample, run);
            let texts: Vec<Value> =
                run.lines.iter().map(|line| json!([line.text, line.journal])).collect();
            let theirs = python.ask(&json!({
                "base": sample.base, "name": sample.name, "options": run.params, "lines": texts,
            }));
            let theirs = theirs.as_array().unwrap_or_else(|| panic!("{}: {theirs}", sample.name));
            for regex in filter.spec().failregex.clone() {
                unused.entry(regex).or_insert(true);
            }
            for (line, theirs) in run.lines.iter().zip(theirs) {
                let found = judge(&mut filter, line);
                let about =
                    || format!("{} {:?} {}\n{}", sample.name, run.params, line.place, line.text);
                let ours: Value = found.iter().map(|f| shown(f, line.journal)).collect();
                assert!(
                    same(&ours, theirs, &fail2ban),
                    "{}\nours:   {ours}\ntheirs: {theirs}",
                    about()
                );
                if let Err(why) = check(line, &found) {
                    panic!("{}\n{why}: {ours}, expected {:?}", about(), line.expected);
                }
                for finding in &found {
                    unused.insert(filter.spec().failregex[finding.regex].clone(), false);
                }
                lines += 1;
                expectations += usize::from(!line.expected.is_empty());
            }
        }
        let unused: Vec<&String> = unused.iter().filter(|(_, v)| **v).map(|(k, _)| k).collect();
        assert!(unused.is_empty(), "{}: patterns without a sample: {unused:#?}", sample.name);
    }
    let unit = format!("lines, {expectations} of them with an expectation");
    report("sample logs line by line", &format!("fail2ban {}", fail2ban.version), lines, &unit);
}

/// Before 1.1.1 a group of a failregex that did not match hides the prefregex's of the same name, and
/// is listed.
fn same(ours: &Value, theirs: &Value, fail2ban: &Fail2ban) -> bool {
    if fail2ban.version == "1.1.1" {
        return ours == theirs;
    }
    let without = |found: &Value| {
        let mut found = found.clone();
        for one in found.as_array_mut().into_iter().flatten() {
            one["groups"].as_object_mut().unwrap().retain(|_, value| !value.is_null());
        }
        found
    };
    without(ours) == without(theirs)
}

#[test]
fn lines_as_in_the_installed_fail2ban() {
    line_by_line(Fail2ban::installed());
}

#[test]
fn lines_as_in_the_next_fail2ban() {
    line_by_line(Fail2ban::next());
}

#[test]
fn lines_as_in_the_newest_fail2ban() {
    line_by_line(Fail2ban::newest());
}
