//! The failregexes of the installed fail2ban, against Python's `re`: captured lines, and lines
//! generated from the patterns.
//!
//! Needs `/usr/bin/python3` and fail2ban's filters; it lists them with fail2ban's own reader. No
//! pattern of fail2ban is kept here.

use crate::generate::{Rng, matching};
use crate::python::Python;
use crate::{check_literals, in_ci, spans};
use sekisho_core::regex::Flags;
use sekisho_core::regex::tags::{HostTag, compile, expand};
use std::collections::BTreeSet;

/// Prints kind, text as configured, and text as that fail2ban expands it, each in hex.
const LIST: &str = r#"
import glob, logging, os, sys
sys.path.insert(0, '/usr/lib/python3/dist-packages')
logging.disable(logging.CRITICAL)
try:
    from fail2ban.client.filterreader import FilterReader
    from fail2ban.server.failregex import Regex
except ImportError:
    sys.exit(0)
base = '/etc/fail2ban'
seen = set()
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
            kind = [k for k in command if k in
                    ('addfailregex', 'prefregex', 'addignoreregex', 'failregex', 'ignoreregex')]
            if not kind:
                continue
            texts = command[command.index(kind[0]) + 1:]
            for text in texts:
                for text in text if isinstance(text, (list, tuple)) else [text]:
                    if text and (kind[0], text) not in seen:
                        seen.add((kind[0], text))
                        parts = [kind[0], text, Regex._resolveHostTag(text)]
                        print(' '.join(p.encode('utf-8').hex() for p in parts))
"#;

struct Stock {
    kind: String,
    configured: String,
    expanded: String,
}

fn stock(python: &Python) -> Vec<Stock> {
    let unhex = |text: &str| {
        let bytes = (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16));
        String::from_utf8(bytes.collect::<Result<_, _>>().unwrap()).unwrap()
    };
    let lines = python.run(LIST, String::new());
    let stock: Vec<Stock> = lines
        .iter()
        .map(|line| {
            let mut parts = line.split(' ').map(unhex);
            Stock {
                kind: parts.next().unwrap(),
                configured: parts.next().unwrap(),
                expanded: parts.next().unwrap(),
            }
        })
        .collect();
    if stock.is_empty() {
        assert!(!in_ci(), "needs fail2ban and its filters");
        eprintln!("skipped: needs fail2ban and its filters");
    }
    stock
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
    let Some(python) = Python::find() else { return };
    let stock = stock(&python);
    if stock.is_empty() {
        return;
    }
    let captured = captured();
    let mut rng = Rng(11);
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
        let step = if in_ci() { 1 } else { 7 };
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
    let theirs = python.search(&pairs);
    let mut matches = 0;
    for (((pattern, text), theirs), ours) in pairs.iter().zip(theirs).zip(ours) {
        matches += usize::from(matches!(theirs, Ok(Some(_))));
        assert_eq!(ours, theirs, "{pattern:?} on {text:?}");
    }
    eprintln!(
        "{} patterns, {} pairs, {matches} matches, {limits} searches at the step limit",
        stock.len(),
        pairs.len()
    );
    eprintln!("{short_literals} with literals under 5 bytes, without: {without_literals:#?}");
    assert!(limits * 1000 <= pairs.len(), "{limits} searches reached the step limit");
    assert!(without_literals.len() * 50 <= stock.len());
}
