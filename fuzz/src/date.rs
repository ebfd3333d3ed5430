//! Dates: patterns of users, lines of logs.
//!
//! Input: options, then a `datepattern` and lines. The span of a date must be a part of its line, the
//! hand-written parsers must give the answer of the expressions that they stand for, and a detector
//! must give the same answers again.

use std::cell::RefCell;
use std::collections::HashMap;

use sekisho_core::date::{DateDetector, DateOptions, DateSpec, LineZone, LogZone, Years};
use sekisho_core::time::{Timestamp, Zone};

/// Zones of the log: none, some of the table, the greatest offsets.
const ZONES: [&str; 4] = ["", "CET", "+1959", "-19:59"];

thread_local! {
    /// The built-in templates, for each present and choice of years: compiling them takes longer
    /// than all the rest.
    static DEFAULTS: RefCell<HashMap<(Timestamp, bool), DateSpec>> = RefCell::default();
}

fn spec(pattern: &str, options: &DateOptions) -> Option<DateSpec> {
    if !pattern.is_empty() {
        return DateSpec::parse(pattern, options).ok();
    }
    let key = (options.now, options.years == Years::Server);
    DEFAULTS.with_borrow_mut(|all| {
        let spec = all.entry(key).or_insert_with(|| {
            let spec = DateSpec::defaults(options).expect("the built-in templates");
            // Both programs of each are made now, and shared by all clones.
            for line in ["2026-11-23 02:07:00 x", "\u{e9}"] {
                assert!(spec.templates().iter().all(|template| template.shortcuts_agree(line)));
            }
            spec
        });
        Some(spec.clone())
    })
}

/// Takes any bytes.
pub fn run(data: &[u8]) {
    let (options, mut texts) = crate::texts(data);
    let years = if options & 1 != 0 { Years::Since1900 } else { Years::Server };
    let now = match options >> 1 & 7 {
        0 => i64::MIN,
        1 => i64::MAX,
        2 => 0,
        // New Year and a leap day: what a date without a year means changes there.
        3 => 1_798_761_600_000_000 + i64::from(options),
        4 => 1_835_395_200_000_000,
        _ => crate::NOW * 1_000_000,
    };
    let now = Timestamp(now);
    let log = ZONES.get(usize::from(options >> 4 & 3)).and_then(|zone| LogZone::parse(zone).ok());
    let pattern = texts.next().unwrap_or_default();
    if pattern.len() > 300 {
        return;
    }
    let Some(spec) = spec(&pattern, &DateOptions { now, years }) else { return };
    let zone = LineZone { local: Zone::utc(), log };
    let mut detector = DateDetector::new(spec.clone(), zone.clone());
    let mut again = DateDetector::new(spec, zone);
    for line in texts.take(8) {
        for template in detector.spec().templates() {
            assert!(template.shortcuts_agree(&line), "{} in {line:?}", template.name());
        }
        let hit = detector.find(&line, now);
        assert_eq!(hit, again.find(&line, now));
        let Some(hit) = hit else { continue };
        assert!(line.get(hit.span.clone()).is_some(), "{:?} is no part of {line:?}", hit.span);
        assert!(hit.template < detector.spec().templates().len());
        let time = detector.time(&hit, now);
        assert_eq!(time, again.time(&hit, now));
        if let Ok(Some(time)) = time {
            assert!(!Zone::utc().format(time).is_empty());
        }
    }
    assert!(detector.templates().all(|stats| stats.weight.is_finite()));
}
