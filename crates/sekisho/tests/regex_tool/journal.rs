//! The journal as input: sample lines as entries of real journal files, read by both programs, and
//! what fail2ban's own tests expect of them.

use std::collections::BTreeMap;
use std::path::Path;

use sekisho::files::Disk;
use sekisho_config::resolve::{ResolveOptions, resolve};
use sekisho_core::id::Id;
use sekisho_oracle::samples::{self, Run, Sample};
use sekisho_oracle::{Entry, Fail2ban, Random, cases, has_journal_remote, report, write_journal};

use crate::both::{Both, ours};

const ROWS: &[&str] = &["-o", "row", "-r"];
const SUMMARY: &[&str] = &["-v", "--print-all-matched", "--print-all-missed", "--usedns=no"];

/// The judge's journal reader asks for the zone once, when it is loaded.
const ZONE: &str = "UTC";

/// When the first entry was written; each comes at a moment of its own, which names it in a row.
const BEGIN: i64 = 1_124_013_600_000_000;
const STEP: i64 = 1_000_003;

/// `systemd-journal[journalfiles="…"]`
fn journal_of(path: &Path) -> String {
    format!("systemd-journal[journalfiles=\"{}\"]", path.display())
}

/// The groups of fields by one of which an entry is selected, as the filter has them.
fn groups(sample: &Sample, run: &Run) -> Vec<Vec<String>> {
    let how = ResolveOptions { journal: true, ..ResolveOptions::default() };
    let found = resolve(&Disk, &sample.base.to_string_lossy(), &sample.spec(&run.params), &how);
    let lines = found.unwrap().expect("a filter").journalmatch;
    let groups = lines.iter().flat_map(|line| line.split(|word| word == "+"));
    groups.map(<[String]>::to_vec).collect()
}

/// The lines of a run, each as an entry that the filter selects, and among them the same lines as
/// entries that it does not.
fn entries(run: &Run, groups: &[Vec<String>]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (number, line) in run.lines.iter().enumerate() {
        let at = BEGIN + STEP * i64::try_from(number).unwrap();
        let mut entry = Entry::of_line(at, &line.text);
        if let Some(group) = groups.get(number % groups.len().max(1)) {
            let fields = group.iter().filter_map(|word| word.split_once('='));
            entry.fields.extend(fields.map(|(name, value)| (name.to_owned(), value.into())));
            if number % 3 == 0 {
                entries.push(Entry::of_line(at - 1, &line.text));
            }
        }
        entries.push(entry);
    }
    entries
}

/// Who was found at which moment, of the rows that `-o row` prints.
fn rows(text: &str) -> BTreeMap<i64, Vec<String>> {
    let mut found: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let mut cells = line.trim_start_matches('[').split(",\t");
        let who = cells.next().unwrap().trim_matches('\'').to_owned();
        let at: f64 = cells.next().unwrap().parse().unwrap_or_else(|_| panic!("{line}"));
        found.entry((at * 1e6).round() as i64).or_default().push(who);
    }
    found
}

/// What the sample log says of each line is what was found at its moment.
fn check(run: &Run, rows: &BTreeMap<i64, Vec<String>>, about: &str) -> usize {
    let mut expectations = 0;
    for (number, line) in run.lines.iter().enumerate() {
        let found = rows.get(&(BEGIN + STEP * i64::try_from(number).unwrap()));
        let found: Vec<&str> = found.into_iter().flatten().map(String::as_str).collect();
        let place = || format!("{about} {}: {}\nfound {found:?}", line.place, line.text);
        if line.expected.get("match").is_none_or(|value| value != true) {
            assert!(found.is_empty(), "{}", place());
            continue;
        }
        expectations += 1;
        assert_eq!(found.len(), 1, "{}", place());
        if let Some(host) = line.expected.get("host").and_then(|host| host.as_str()) {
            assert_eq!(found[0], Id::parse(host).to_string(), "{}", place());
        }
    }
    let known = |at: &i64| (at - BEGIN) % STEP == 0 && (at - BEGIN) / STEP < run.lines.len() as i64;
    assert!(rows.keys().all(known), "{about}: rows of no line that is selected: {rows:?}");
    expectations
}

fn samples_as(fail2ban: Option<Fail2ban>) {
    let Some(fail2ban) = fail2ban.filter(|_| has_journal_remote()) else { return };
    if !fail2ban.has_module("systemd.journal", "python3-systemd") {
        return;
    }
    let Some(mut both) = Both::offline(&fail2ban) else { return };
    let dir = tempfile::tempdir().unwrap();
    let (mut filters, mut expectations, mut lines) = (0, 0, 0);
    for (at, sample) in samples::all(&fail2ban, dir.path()).iter().enumerate() {
        let base = sample.base.to_string_lossy();
        let of_journal = |run: &&Run| run.lines.iter().all(|line| line.journal);
        for (number, run) in sample.runs.iter().filter(of_journal).enumerate() {
            filters += usize::from(number == 0);
            let path = dir.path().join(format!("{at}-{number}.journal"));
            write_journal(&path, &entries(run, &groups(sample, run)));
            let (log, spec) = (journal_of(&path), sample.spec(&run.params));
            both.compare_in(&[SUMMARY, &["-c", &base, &log, &spec]].concat(), ZONE);
            for params in sample.params() {
                let spec = sample.spec(&params);
                both.compare_in(&[ROWS, &["-c", &base, &log, &spec]].concat(), ZONE);
            }
            let found = ours(&[ROWS, &["-c", &base, &log, &spec]].concat());
            assert_eq!(found.code, 0, "{}", found.err);
            expectations += check(run, &rows(&found.out), &spec);
            lines += run.lines.len();
        }
    }
    assert!(filters > 4 && expectations > 100, "{filters} filters, {expectations} expectations");
    let unit = format!(
        "lines of output, {} runs of {filters} filters over {lines} entries, {expectations} of them \
         with an expectation",
        both.runs
    );
    let judge = format!("fail2ban-regex {}", fail2ban.version);
    report("sample logs in journal files", &judge, both.lines, &unit);
}

#[test]
fn sample_entries_as_the_installed_fail2ban() {
    samples_as(Fail2ban::installed());
}

#[test]
fn sample_entries_as_the_newest_fail2ban() {
    samples_as(Fail2ban::newest());
}

/// Fields that may be in an entry, and what may be in them. What fail2ban cannot render is left out
/// (another field than the message given twice), and process ids that it renders as Python's numbers or
/// bytes (`0x1f` as 31, `x` as `b'x'`).
const FIELDS: &[(&str, &[&[u8]])] = &[
    ("_HOSTNAME", &[b"srv", b"", b"a b", b"h\xff", b"h\ni", "h\u{e9}".as_bytes()]),
    ("SYSLOG_IDENTIFIER", &[b"sshd", b"", b"kernel", b"a[b]: c", b"\xc3\x28", b"x\ty"]),
    ("_COMM", &[b"comm", b"", b"kernel", b"c\xe9"]),
    ("SYSLOG_PID", &[b"12", b"", b"0", b"-3", b"4294967296"]),
    ("_PID", &[b"1", b"4194304", b"0"]),
    ("_SOURCE_MONOTONIC_TIMESTAMP", &[b"1", b"12500000", b"123456789012345"]),
    ("_SOURCE_REALTIME_TIMESTAMP", &[b"1124013600000001", b"1700000000999999"]),
    (
        "MESSAGE",
        &[b"hi", b"", b"a\nb", b"\n", b"\xff\xfe", b"x\0y", b"l\r\nm\r", b" \t ", b"\xe2\x82"],
    ),
    ("MESSAGE", &["\u{2028}\u{85}\u{1f600}".as_bytes(), b"two", b"\x1b[31m"]),
];

#[test]
fn entries_of_any_kind_become_the_same_lines() {
    let Some(fail2ban) = Fail2ban::installed().filter(|_| has_journal_remote()) else { return };
    if !fail2ban.has_module("systemd.journal", "python3-systemd") {
        return;
    }
    let mut both = Both::new(&fail2ban);
    let mut random = Random(7);
    let count = cases("SEKISHO_JOURNAL_ENTRIES", 1000);
    let entries: Vec<Entry> = (0..count)
        .map(|number| {
            let mut entry = Entry::new(BEGIN + STEP * i64::try_from(number).unwrap(), &[]);
            for (name, values) in FIELDS {
                if random.chance(60) {
                    entry.fields.push(((*name).to_owned(), random.pick(values).to_vec()));
                }
            }
            // The last message, by which a line is found.
            entry.fields.push(("MESSAGE".to_owned(), format!("id={number}").into()));
            entry
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("any.journal");
    write_journal(&path, &entries);
    let log = journal_of(&path);
    for form in ["row", "msg"] {
        both.compare_in(&["-o", form, "-r", &log, r"id=<F-ID>\d+</F-ID>$"], ZONE);
    }
    assert!(both.lines >= 2 * count, "{} lines", both.lines);
    report("entries of any kind", "fail2ban-regex 1.0.2", count, "entries");
}
