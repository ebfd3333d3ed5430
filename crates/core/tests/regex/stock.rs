//! The failregexes of the installed fail2ban, against Python's `re`: captured lines, and lines
//! generated from the patterns.
//!
//! fail2ban's own reader lists them. No pattern of fail2ban is kept here.

use crate::generate::matching;
use crate::python::Judge;
use crate::{check_literals, spans};
use sekisho_core::regex::Flags;
use sekisho_core::regex::tags::{HostTag, compile, expand};
use sekisho_oracle::{Fail2ban, Python, Random, report};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Kind, text as configured, and text as that fail2ban expands it, of all filters in all modes.
const SCRIPT: &str = r#"
import glob, json, logging, os, sys
from fail2ban.client.filterreader import FilterReader
from fail2ban.server.failregex import Regex
logging.disable(logging.CRITICAL)
base = json.loads(sys.stdin.readline())
found = []
modes = ['', 'normal', 'aggressive', 'ddos', 'extra', 'auth', 'more', 'rbl', 'errors', 'all']
for path in sorted(glob.glob(base + '/filter.d/*.conf')):
    name = os.path.basename(path)[:-5]
    for mode in modes:
        try:
            reader = FilterReader(name, 'jail', {'mode': mode} if mode else {}, basedir=base)
            if not reader.read():
                continue
            reader.getOptions(None)
            stream = reader.convert()
        except Exception:
            continue
        for command in stream:
            kind = [k for k in command if k in ('addfailregex', 'prefregex', 'addignoreregex')]
            for texts in command[command.index(kind[0]) + 1:] if kind else []:
                for text in texts if isinstance(texts, (list, tuple)) else [texts]:
                    row = [kind[0], text, Regex._resolveHostTag(text)]
                    if text and row not in found:
                        found.append(row)
print(json.dumps(found))
"#;

struct Stock {
    kind: String,
    configured: String,
    expanded: String,
}

fn stock(fail2ban: &Fail2ban) -> Vec<Stock> {
    let found = Python::start(fail2ban.python(), SCRIPT, &[]).ask(&json!(fail2ban.config));
    let rows = found.as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rows.map(|row| Stock {
        kind: text(&row[0]),
        configured: text(&row[1]),
        expanded: text(&row[2]),
    })
    .collect()
}

/// Captured lines, each with its date (nearly always the first words) cut out in a few ways.
fn captured() -> Vec<String> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/captured");
    let mut texts = BTreeSet::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for line in String::from_utf8_lossy(&bytes).lines() {
            let blanks: Vec<usize> = line.match_indices(' ').map(|(i, _)| i).collect();
            for cut in [0, 1, 2, 3] {
                if cut == 0 {
                    texts.insert(format!("{line}\n"));
                } else if let Some(&at) = blanks.get(cut - 1) {
                    texts.insert(format!("{}\n", &line[at..]));
                }
            }
        }
    }
    texts.into_iter().collect()
}

#[test]
fn stock_patterns_match_as_in_python() {
    for fail2ban in Fail2ban::all() {
        match_as_in_python(&fail2ban);
    }
}

fn match_as_in_python(fail2ban: &Fail2ban) {
    let Some(mut python) = Judge::start() else { return };
    let stock = stock(fail2ban);
    let captured = captured();
    let mut rng = Random(11);
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut ours = Vec::new();
    let mut without_literals = Vec::new();
    let mut short_literals = 0;
    let mut limits = 0;
    for Stock { kind, configured, expanded } in &stock {
        // The two generations differ in one place of <IP6>.
        let expected = expanded.replace("::?|::){1,7}", "::?|:){1,7}");
        let expanded = expand(configured, HostTag::AddressOrName);
        // Scoped flags are rewritten in the same step by us only.
        if !configured.contains("(?i)") {
            assert_eq!(expanded, expected);
        }
        let compiled = compile(configured, HostTag::AddressOrName, Flags::default());
        let regex = compiled.unwrap_or_else(|e| panic!("{e}")).regex;
        if kind.contains("fail") {
            match regex.required_literals_uncuttable() {
                None => without_literals.push(configured.clone()),
                Some(set) => {
                    short_literals += usize::from(set.literals.iter().any(|l| l.bytes.len() < 5));
                }
            }
        }
        let mut texts: Vec<String> = Vec::new();
        for _ in 0..12 {
            let mut text = String::new();
            matching(&regex.pattern().root, &mut rng, &mut text);
            if rng.below(4) == 0 {
                let cut = text.len() / 2;
                text.truncate((cut..).find(|&i| text.is_char_boundary(i)).unwrap());
            }
            texts.push(text.trim_end_matches('\n').to_owned() + "\n");
        }
        // One in so many, others for the next pattern.
        let step = 7;
        let sample = captured.iter().skip(rng.below(step)).step_by(step).cloned();
        for text in texts.into_iter().chain(sample) {
            match regex.search(&text, 0) {
                Ok(found) => {
                    if found.is_some() {
                        check_literals(&regex, &text, &mut rng);
                    }
                    ours.push(Ok(found.as_ref().map(spans)));
                    pairs.push((expanded.clone(), text));
                }
                Err(_) => limits += 1,
            }
        }
    }
    let theirs = python.search(&pairs, Flags::default());
    let mut matches = 0;
    for (((pattern, text), theirs), ours) in pairs.iter().zip(theirs).zip(ours) {
        matches += usize::from(matches!(theirs, Ok(Some(_))));
        assert_eq!(ours, theirs, "{pattern:?} on {text:?}");
    }
    assert!(limits * 1000 <= pairs.len(), "{limits} searches reached the step limit");
    assert!(short_literals * 10 <= stock.len(), "{short_literals} with literals under 5 bytes");
    assert!(without_literals.len() * 50 <= stock.len(), "without: {without_literals:#?}");
    let unit = format!("pairs ({} patterns, {matches} matches)", stock.len());
    let what = format!("stock patterns of {}", fail2ban.version);
    report(&what, "Python's re", pairs.len(), &unit);
}
