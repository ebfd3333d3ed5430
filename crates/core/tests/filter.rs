//! Lines in, failures out: the rules a filter follows, one table per rule.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use sekisho_core::date::Stamp;
use sekisho_core::effect::Level;
use sekisho_core::expr::Number;
use sekisho_core::filter::{
    Filter, FilterOutput, FilterSpec, Finding, FoundId, LineContext, MAX_LINE, Reader, Report,
    Scanner, UseDns, process_batch,
};
use sekisho_core::time::{Span, Timestamp, Zone};

/// 2026-11-23 10:00:00 UTC.
const NOW: Timestamp = Timestamp::from_secs(1_795_428_000);

fn spec(failregex: &[&str]) -> FilterSpec {
    FilterSpec {
        failregex: failregex.iter().map(|r| (*r).to_owned()).collect(),
        ..FilterSpec::default()
    }
}

fn ctx() -> LineContext<'static> {
    LineContext {
        jail: "j",
        now: NOW,
        live: true,
        findtime: Some(Number::Int(600)),
        entry_time: None,
        skipped: &[],
        check_all: false,
        report: Report::Nothing,
    }
}

fn show(finding: &Finding) -> String {
    let id = match &finding.id {
        FoundId::Id(id) => id.to_string(),
        FoundId::Name(name) => format!("name {name}"),
        FoundId::Unknown => "?".into(),
    };
    let delta = finding.time.since(NOW).as_secs();
    format!("{id} {delta:+}")
}

/// Findings and warnings of lines, as short texts.
fn run(filter: &mut Filter, ctx: &LineContext<'_>, lines: &[&str]) -> Vec<String> {
    let mut shown = Vec::new();
    let mut out = Vec::new();
    for line in lines {
        filter.line(ctx, line, &mut out);
        for output in out.drain(..) {
            match output {
                FilterOutput::Finding(finding) => shown.push(show(&finding)),
                FilterOutput::Log(record) => {
                    assert!(record.level >= Level::Warning);
                    shown.push(record.text);
                }
                other => panic!("{other:?} without report"),
            }
        }
    }
    shown
}

fn check(spec: &FilterSpec, lines: &[&str], expected: &[&str]) {
    let mut filter = Filter::compile(spec, &Zone::utc(), NOW).unwrap();
    assert_eq!(run(&mut filter, &ctx(), lines), expected, "{spec:?}");
}

#[test]
fn the_date_is_cut_out() {
    let d = "2026-11-23 10:00:00";
    check(&spec(&["^fail <HOST>$"]), &[&format!("{d} fail 1.2.3.4")], &[]);
    check(&spec(&["^ fail <HOST>$"]), &[&format!("{d} fail 1.2.3.4")], &["1.2.3.4 +0"]);
    check(&spec(&["^\\[\\] fail <HOST>$"]), &[&format!("[{d}] fail 1.2.3.4")], &["1.2.3.4 +0"]);
}

#[test]
fn who_is_found() {
    let d = "2026-11-23 10:00:00";
    for (regex, text, expected) in [
        ("from <HOST>$", "from 1.2.3.4", "1.2.3.4 +0"),
        ("from <HOST>$", "from [2001:DB8::1]", "2001:db8::1 +0"),
        ("from <HOST>$", "from ::ffff:1.2.3.4", "1.2.3.4 +0"),
        ("from <HOST>$", "from ::FFFF:1.2.3.4", "1.2.3.4 +0"),
        ("from <HOST>$", "from 999.1.1.1", "999.1.1.1 +0"),
        ("from <HOST>$", "from host.example", "name host.example +0"),
        ("from <SUBNET>$", "from 1.2.3.4/24", "1.2.3.0/24 +0"),
        ("id=<F-ID>\\w+</F-ID> <ADDR>$", "id=abc 1.2.3.4", "abc +0"),
        ("from (?P<host>\\S+)$", "from 1.2.3.4", "1.2.3.4 +0"),
        ("from (?P<host>\\S+)$", "from host.example", "name host.example +0"),
    ] {
        check(&spec(&[regex]), &[&format!("{d} {text}")], &[expected]);
    }
    let no_names = FilterSpec { usedns: UseDns::No, ..spec(&["from <HOST>$", "^ x <DNS>$"]) };
    check(&no_names, &[&format!("{d} from host.example"), &format!("{d} x host.example")], &[]);
    let raw = FilterSpec { usedns: UseDns::Raw, ..spec(&["from <HOST>$"]) };
    check(&raw, &[&format!("{d} from host.example")], &["host.example +0"]);
}

#[test]
fn the_order_of_patterns() {
    let lines = ["2026-11-23 10:00:00 a 1.1.1.1", "2026-11-23 10:00:00 b 2.2.2.2"];
    let first_wins = spec(&["^ a <HOST>$", "a <HOST>$", "^ [ab] <HOST>$"]);
    check(&first_wins, &lines, &["1.1.1.1 +0", "2.2.2.2 +0"]);
    let ignoring = FilterSpec { ignoreregex: vec!["1\\.1$".into()], ..first_wins.clone() };
    check(&ignoring, &lines, &["2.2.2.2 +0"]);
    // One ignoreregex and four failregexes: it is asked first, and sees the whole line.
    let few = FilterSpec {
        prefregex: Some("^ <F-CONTENT>.*</F-CONTENT>$".into()),
        ignoreregex: vec!["^ a".into()],
        ..spec(&["^a <HOST>$", "^b <HOST>$", "^c <HOST>$", "^d <HOST>$"])
    };
    check(&few, &lines, &["2.2.2.2 +0"]);
    // Two failregexes fewer, and it sees the content alone.
    let many = FilterSpec { failregex: few.failregex[..2].to_vec(), ..few };
    check(&many, &lines, &["1.1.1.1 +0", "2.2.2.2 +0"]);
}

#[test]
fn the_clock_judges_dates() {
    let live = ctx();
    let catch_up = LineContext { live: false, ..live };
    let test = LineContext { live: false, findtime: None, ..live };
    let exact = LineContext { findtime: Some(Number::Float(90.5)), ..catch_up };
    let near = "2026-11-23 09:59:10 x 1.2.3.4";
    let behind = "2026-11-23 09:30:00 x 1.2.3.4";
    let ahead = "2026-11-23 11:00:00 x 1.2.3.4";
    let undated = "x 1.2.3.4";
    let odd = |line| {
        format!(
            "[j] Please check a jail for a timing issue. \
                              Line with odd timestamp: {line}"
        )
    };
    let detected = |delta: &str, cause: &str| {
        format!(
            "[j] Detected a log entry {delta} the current time in operation mode. This looks \
                 like a {cause} problem. Treating such entries as if they just happened."
        )
    };
    let cases: Vec<(&LineContext<'_>, Vec<&str>, Vec<String>)> = vec![
        (&live, vec![near], vec!["1.2.3.4 -50".into()]),
        (
            &live,
            vec![behind, behind],
            vec![
                detected("30m before", "latency"),
                odd(behind),
                "1.2.3.4 +0".into(),
                "1.2.3.4 +0".into(),
            ],
        ),
        (
            &live,
            vec![ahead],
            vec![detected("1h after", "timezone"), odd(ahead), "1.2.3.4 +0".into()],
        ),
        (
            &catch_up,
            // Nobody needs to hear of what is older than all that counts.
            vec![behind, near, behind],
            vec![
                "1.2.3.4 -50".into(),
                "[j] Ignoring all log entries older than 600s; these are probably messages \
                 generated while fail2ban was not running."
                    .into(),
                odd(behind),
            ],
        ),
        (
            &exact,
            vec![near, behind],
            vec![
                "1.2.3.4 -50".into(),
                "[j] Ignoring all log entries older than 90.5s; these are probably messages \
                 generated while fail2ban was not running."
                    .into(),
                odd(behind),
            ],
        ),
        (&catch_up, vec![ahead], vec!["1.2.3.4 +0".into()]),
        (&test, vec![behind, ahead], vec!["1.2.3.4 -1800".into(), "1.2.3.4 +3600".into()]),
        (
            &live,
            vec![undated],
            vec![
                "[j] Found a match but no valid date/time found for ''.".into(),
                format!("[j] Match without a timestamp: {undated}"),
                "[j] Please try setting a custom date pattern (see man page jail.conf(5)).".into(),
                "1.2.3.4 +0".into(),
            ],
        ),
        (
            &catch_up,
            vec![undated, near, undated],
            vec![
                "[j] Found a match but no valid date/time found for ''.".into(),
                format!("[j] Match without a timestamp: {undated}"),
                "[j] Please try setting a custom date pattern (see man page jail.conf(5)).".into(),
                "1.2.3.4 -50".into(),
                "1.2.3.4 -50".into(),
            ],
        ),
    ];
    for (ctx, lines, expected) in cases {
        let mut filter = Filter::compile(&spec(&["x <HOST>$"]), &Zone::utc(), NOW).unwrap();
        assert_eq!(run(&mut filter, ctx, &lines), expected, "{lines:?}");
    }
}

#[test]
fn warnings_come_once_a_day() {
    let mut filter = Filter::compile(&spec(&["x <HOST>$"]), &Zone::utc(), NOW).unwrap();
    let mut warned = Vec::new();
    for hours in 0..50 {
        let now = NOW.plus(Span::from_secs(hours * 3600));
        let ctx = LineContext { now, ..ctx() };
        let shown = run(&mut filter, &ctx, &["2020-01-01 00:00:00 x 1.2.3.4"]);
        if shown.len() > 1 {
            warned.push(hours);
        }
    }
    assert_eq!(warned, [0, 24, 48]);
}

#[test]
fn journal_entries_bring_their_time() {
    let spec = spec(&["^h sshd\\[7\\]: x <HOST>$"]);
    let zones = [
        ("UTC0", 1_500_000, "2026-11-23T09:59:58.500000+00:00"),
        ("IST-5:30", 1_000_000, "2026-11-23T15:29:59+05:30"),
        ("NST3:30", 1_999_999, "2026-11-23T06:29:58.000001-03:30"),
    ];
    for (zone, before, shown) in zones {
        let zone = Zone(jiff::tz::TimeZone::posix(zone).unwrap());
        let mut filter = Filter::compile(&spec, &zone, NOW).unwrap();
        let time = Timestamp(NOW.0 - before);
        let entry_time = Some(time);
        let mut out = Vec::new();
        filter.line(&LineContext { entry_time, ..ctx() }, "h sshd[7]: x 1.2.3.4", &mut out);
        let [FilterOutput::Finding(finding)] = out.as_slice() else { panic!("{out:?}") };
        assert_eq!(finding.time, time);
        assert_eq!(finding.matches[0].text(), format!("{shown} h sshd[7]: x 1.2.3.4"));
    }
}

#[test]
fn connections_become_one_failure() {
    let spec = FilterSpec {
        prefregex: Some("^ <F-MLFID>c\\d+</F-MLFID> <F-CONTENT>.+</F-CONTENT>$".into()),
        ..spec(&[
            "^<F-NOFAIL>user</F-NOFAIL> <F-USER>\\S+</F-USER>$",
            "^failed$",
            "^<F-NOFAIL><F-MLFFORGET>closed</F-MLFFORGET></F-NOFAIL> <HOST>$",
        ])
    };
    let mut filter = Filter::compile(&spec, &Zone::utc(), NOW).unwrap();
    let mut out = Vec::new();
    for text in ["c1 user bob", "c2 failed", "c1 failed", "c1 closed 1.2.3.4", "c1 closed 1.2.3.4"]
    {
        filter.line(&ctx(), &format!("2026-11-23 10:00:00 {text}"), &mut out);
    }
    let [FilterOutput::Finding(finding)] = out.as_slice() else { panic!("{out:#?}") };
    assert_eq!(show(finding), "1.2.3.4 +0");
    assert_eq!(finding.fields.text("user"), Some("bob"));
    assert_eq!(finding.attempts, 1);
    let lines: Vec<_> = finding.matches.iter().map(|m| m.text()[20..].to_owned()).collect();
    assert_eq!(lines, ["c1 user bob", "c1 failed", "c1 closed 1.2.3.4"]);
}

#[test]
fn patterns_over_several_lines() {
    let spec = FilterSpec { maxlines: 3, ..spec(&["^ a <HOST>$<SKIPLINES>^ b$"]) };
    let d = "2026-11-23 10:00:00";
    let lines = |texts: &[&str]| texts.iter().map(|t| format!("{d} {t}")).collect::<Vec<_>>();
    for (texts, expected) in [
        (&["a 1.1.1.1", "b"][..], &["1.1.1.1 +0"][..]),
        (&["a 1.1.1.1", "x", "b"], &["1.1.1.1 +0"]),
        (&["a 1.1.1.1", "x", "y", "b"], &[]),
        (&["a 1.1.1.1", "a 2.2.2.2", "b", "b"], &["1.1.1.1 +0", "2.2.2.2 +0"]),
    ] {
        let lines = lines(texts);
        check(&spec, &lines.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn refusals_name_the_pattern() {
    let refuse = |spec: &FilterSpec| {
        let error = Filter::compile(spec, &Zone::utc(), NOW).unwrap_err();
        (error.subject(), error.to_string())
    };
    assert_eq!(
        refuse(&spec(&["<HOST>", "b c"])),
        ("failregex 2".into(), "No failure-id group in 'b c'".into())
    );
    assert_eq!(refuse(&spec(&[" "])), ("failregex 1".into(), "Cannot add empty regex".into()));
    let ignore = FilterSpec { ignoreregex: vec!["(".into()], ..spec(&["<HOST>"]) };
    let (subject, text) = refuse(&ignore);
    assert_eq!(subject, "ignoreregex 1");
    assert!(text.starts_with("Unable to compile regular expression '(':\n"), "{text}");
}

#[test]
fn a_new_specification_keeps_what_it_can() {
    let mut filter = Filter::compile(&spec(&["x <HOST>$"]), &Zone::utc(), NOW).unwrap();
    run(&mut filter, &ctx(), &["2026-11-23 09:59:30 y"]);
    assert!(filter.respec(&spec(&["("]), NOW).is_err());
    filter.respec(&spec(&["y <HOST>$"]), NOW).unwrap();
    let shown = run(&mut filter, &ctx(), &["y 1.2.3.4"]);
    assert_eq!(shown.last().unwrap(), "1.2.3.4 -30");
}

/// A filter whose patterns have seen a line that is not ASCII: what they prepare for such lines is
/// shared by all clones then.
fn warm_filter(spec: &FilterSpec) -> Filter {
    let mut filter = Filter::compile(spec, &Zone::utc(), NOW).unwrap();
    filter.line(&ctx(), "2026-11-23 10:00:00 sshd[1]: \u{e9}", &mut Vec::new());
    filter
}

/// Everything that findings of a batch say, per reader.
fn batch(data: &[u8], scan: bool) -> Vec<Vec<String>> {
    thread_local! {
        static FILTERS: Vec<Filter> = batch_specs().iter().map(warm_filter).collect();
    }
    let mut filters = FILTERS.with(Clone::clone);
    let scanner = if scan {
        Scanner::new(&filters.iter().collect::<Vec<_>>())
    } else {
        // Made for no filter, so that every filter gets every line.
        Scanner::new(&[])
    };
    let mut readers: Vec<Reader<'_>> =
        filters.iter_mut().map(|filter| Reader { filter, ctx: ctx() }).collect();
    let mut found = vec![Vec::new(); readers.len()];
    let stats = process_batch(&mut readers, &scanner, data, &[], &mut |i, output| {
        if let FilterOutput::Finding(finding) = output {
            let lines: Vec<String> = finding.matches.iter().map(|m| m.text()).collect();
            found[i].push(format!("{} {lines:?}", show(&finding)));
        }
    });
    let newlines = data.iter().filter(|b| **b == b'\n').count();
    let tail = usize::from(!data.is_empty() && !data.ends_with(b"\n"));
    assert_eq!(stats.lines as usize, newlines + tail);
    found
}

fn batch_specs() -> Vec<FilterSpec> {
    vec![
        spec(&["authentication failed for <HOST>", "^ bad login: <HOST>$"]),
        FilterSpec {
            prefregex: Some("^ sshd\\[\\d+\\]: <F-CONTENT>.+</F-CONTENT>$".into()),
            ..spec(&["^[Ii]nvalid user .* from <HOST>", "^<HOST> x$"])
        },
        spec(&["(?i)refused <HOST>"]),
        FilterSpec { maxlines: 2, ..spec(&["one <HOST>\\n.*two"]) },
        FilterSpec { ignoreregex: vec!["friend".into()], ..spec(&["failed for <HOST>"]) },
    ]
}

const PIECES: [&str; 18] = [
    "2026-11-23 10:00:00",
    "2026-11-23 09:59:30",
    "[2026-11-23 10:00:01]",
    " ",
    "authentication ",
    "failed for 1.2.3.4",
    " bad login: 2.2.2.2",
    " sshd[1]: ",
    "Invalid user x from 3.3.3.3",
    "4.4.4.4 x",
    " REFUSED 5.5.5.5",
    "one 6.6.6.6",
    "two",
    "friend",
    "\n",
    "\r\n",
    "\u{e9}",
    "x",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    /// Skipping lines must not be visible in what is found.
    #[test]
    fn the_scan_loses_nothing(
        pieces in prop::collection::vec(0..PIECES.len(), 0..80),
        broken in prop::option::of(0..400usize),
    ) {
        let mut data: Vec<u8> =
            pieces.iter().flat_map(|p| PIECES[*p].bytes()).collect();
        if let Some(at) = broken && at < data.len() {
            data[at] = 0xff;
        }
        prop_assert_eq!(batch(&data, true), batch(&data, false));
    }

    /// No line is so strange that it panics.
    #[test]
    fn any_bytes_are_taken(data in prop::collection::vec(any::<u8>(), 0..300)) {
        batch(&data, true);
    }
}

#[test]
fn long_lines_are_cut_and_counted() {
    let mut filter = Filter::compile(&spec(&["x <HOST>$", "y <HOST>"]), &Zone::utc(), NOW).unwrap();
    let scanner = Scanner::new(&[&filter]);
    let mut data = format!("2026-11-23 10:00:00 y 1.1.1.1 {}", "a".repeat(MAX_LINE)).into_bytes();
    data.extend(b" x 2.2.2.2\n2026-11-23 10:00:00 x 3.3.3.3\n");
    let mut shown = Vec::new();
    let mut readers = [Reader { filter: &mut filter, ctx: ctx() }];
    let stats = process_batch(&mut readers, &scanner, &data, &[], &mut |_, output| {
        if let FilterOutput::Finding(finding) = output {
            assert!(finding.matches[0].text().len() <= MAX_LINE);
            shown.push(show(&finding));
        }
    });
    assert_eq!((stats.lines, stats.cut), (2, 1));
    assert_eq!(shown, ["1.1.1.1 +0", "3.3.3.3 +0"]);
}

#[test]
fn a_skipped_line_still_lends_its_date() {
    let mut filter =
        Filter::compile(&spec(&["authentication failed <HOST>$"]), &Zone::utc(), NOW).unwrap();
    let scanner = Scanner::new(&[&filter]);
    let mut shown = Vec::new();
    for data in [
        "2026-11-23 09:59:20 innocent\nauthentication failed 1.1.1.1\n",
        "2026-11-23 09:59:30 innocent\n2026-11-23 09:59:40 innocent\n",
        "authentication failed 2.2.2.2\n",
    ] {
        let mut readers = [Reader { filter: &mut filter, ctx: ctx() }];
        process_batch(&mut readers, &scanner, data.as_bytes(), &[], &mut |_, output| {
            if let FilterOutput::Finding(finding) = output {
                shown.push(show(&finding));
            }
        });
    }
    assert_eq!(shown, ["1.1.1.1 -40", "2.2.2.2 -20"]);
}

/// Each log of a jail begins with lines that are older than all that counts.
#[test]
fn old_lines_at_the_beginning_of_a_log_are_no_warning() {
    let mut filter = Filter::compile(&spec(&["x <HOST>$"]), &Zone::utc(), NOW).unwrap();
    let scanner = Scanner::new(&[&filter]);
    let log = "2026-11-23 09:30:00 x 1.1.1.1\n2026-11-23 09:59:00 x 1.1.1.1\n";
    let mut warned = Vec::new();
    for data in [log.to_owned(), log.to_owned(), log.repeat(2)] {
        let ctx = LineContext { live: false, ..ctx() };
        let mut readers = [Reader { filter: &mut filter, ctx }];
        let mut warnings = 0;
        process_batch(&mut readers, &scanner, data.as_bytes(), &[], &mut |_, output| {
            warnings += usize::from(matches!(output, FilterOutput::Log(_)));
        });
        warned.push(warnings);
    }
    assert_eq!(warned, [0, 0, 2]);
}

/// An odd date counts as now, and is lent as such, whether its line was worth judging or not.
#[test]
fn a_skipped_line_lends_an_odd_date() {
    let data = b"2020-10-19T17:44:33+0200 innocent\nauthentication failed 1.1.1.1\n";
    let found = |scanner: &dyn Fn(&Filter) -> Scanner| {
        let mut filter =
            Filter::compile(&spec(&["authentication failed <HOST>$"]), &Zone::utc(), NOW).unwrap();
        let scanner = scanner(&filter);
        let mut found = Vec::new();
        let mut readers = [Reader { filter: &mut filter, ctx: ctx() }];
        process_batch(&mut readers, &scanner, data, &[], &mut |_, output| {
            if let FilterOutput::Finding(finding) = output {
                found.push((show(&finding), finding.stamp, finding.matches));
            }
        });
        found
    };
    let scanned = found(&|filter| Scanner::new(&[filter]));
    assert_eq!(scanned, found(&|_| Scanner::new(&[])));
    assert_eq!((scanned[0].0.as_str(), scanned[0].1), ("1.1.1.1 +0", Stamp::Local));
    assert!(scanned[0].2[0].text().starts_with("2020-10-19"), "{scanned:?}");
}

#[test]
fn a_batch_of_journal_entries_has_its_times() {
    let mut filter =
        Filter::compile(&spec(&["authentication failed <HOST>$"]), &Zone::utc(), NOW).unwrap();
    let scanner = Scanner::new(&[&filter]);
    let times: Vec<_> = (0..4).map(|s| NOW.minus(Span::from_secs(40 - s * 10))).collect();
    let data = b"a\nauthentication failed 1.1.1.1\nb\nauthentication failed 2.2.2.2\n";
    let mut shown = Vec::new();
    let mut readers = [Reader { filter: &mut filter, ctx: ctx() }];
    process_batch(&mut readers, &scanner, data, &times, &mut |_, output| {
        if let FilterOutput::Finding(finding) = output {
            shown.push(show(&finding));
        }
    });
    assert_eq!(shown, ["1.1.1.1 -30", "2.2.2.2 -10"]);
}
