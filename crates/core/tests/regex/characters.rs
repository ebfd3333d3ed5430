//! Categories and letter case over all of Unicode, against Python's.

use crate::python::python;
use sekisho_core::regex::{Flags, Regex};
use sekisho_oracle::{Python, has_python, report};
use serde_json::json;

/// For each code point assigned in its Unicode version: which of the patterns match it, in bits.
const SCRIPT: &str = r#"
import json, re, sys, unicodedata
patterns = [re.compile(p) for p in json.loads(sys.stdin.readline())]
chars = [c for c in map(chr, range(0x20000)) if unicodedata.category(c) not in ('Cn', 'Cs')]
print(json.dumps([[ord(c), ''.join('01'[r.search(c) is not None] for r in patterns)] for c in chars]))
"#;

#[test]
fn categories_and_case_are_those_of_python() {
    if !has_python() {
        return;
    }
    let mut patterns: Vec<String> = [
        r"\d",
        r"\s",
        r"\w",
        r"\D",
        r"\S",
        r"\W",
        r"[\d_]",
        r"[^\w\s]",
        r"(?a)\w",
        r"(?a)\s",
        r"(?a)[^\d]",
        r"\b",
        r"\B",
        ".",
        "(?i)[a-z]",
        "(?i)[^a-z]",
        "(?i)[à-þ]",
        "(?i)[k-s]",
        "(?ia)[a-z]",
        "(?ia)k",
        "(?ia)[à-þ]",
        "(?i)[İ]",
        "(?i)[^ı]",
    ]
    .map(str::to_owned)
    .to_vec();
    for c in "kKsSiIıİſßẞµμσςΣεϵθιǅǆÿŸåÅΩωᲀвﬅﬆéÉ1_ꙋ".chars() {
        patterns.push(format!("(?i){c}"));
    }
    let found = Python::start(python(), SCRIPT, &[]).ask(&json!(patterns));
    let found = found.as_array().unwrap();
    let regexes: Vec<Regex> =
        patterns.iter().map(|p| Regex::new(p, Flags::default()).unwrap()).collect();
    assert!(found.len() > 60_000);
    let mut differences = Vec::new();
    for row in found {
        let c = char::from_u32(row[0].as_u64().unwrap() as u32).unwrap();
        let text = c.to_string();
        for ((regex, bit), pattern) in
            regexes.iter().zip(row[1].as_str().unwrap().chars()).zip(&patterns)
        {
            let found = regex.search(&text, 0).unwrap().is_some();
            if found != (bit == '1') {
                differences.push(format!("{pattern} on U+{:04X} {c}: python {bit}", u32::from(c)));
            }
        }
    }
    assert!(differences.is_empty(), "{}: {:#?}", differences.len(), differences);
    let unit = format!("characters, each with {} patterns", patterns.len());
    report("categories and letter case", "Python's re", found.len(), &unit);
}
