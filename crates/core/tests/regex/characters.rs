//! Categories and letter case over all of Unicode, against Python's.

use crate::python::Python;
use sekisho_core::regex::{Flags, Regex};

/// For each code point assigned in its Unicode version: which of the patterns match it, in bits.
const PROGRAM: &str = r#"
import re, sys, unicodedata
patterns = [re.compile(bytes.fromhex(line.strip()).decode('utf-8')) for line in sys.stdin]
for code in range(0x20000):
    c = chr(code)
    if 0xd800 <= code < 0xe000 or unicodedata.category(c) == 'Cn':
        continue
    print(code, ''.join('1' if r.search(c) else '0' for r in patterns))
"#;

#[test]
fn categories_and_case_are_those_of_python() {
    let Some(python) = Python::find() else { return };
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
    let input = patterns.iter().map(|pattern| {
        let hex: String = pattern.bytes().map(|b| format!("{b:02x}")).collect();
        hex + "\n"
    });
    let lines = python.run(PROGRAM, input.collect());
    let regexes: Vec<Regex> =
        patterns.iter().map(|p| Regex::new(p, Flags::default()).unwrap()).collect();
    assert!(lines.len() > 60_000);
    let mut differences = Vec::new();
    for line in lines {
        let (code, bits) = line.split_once(' ').unwrap();
        let c = char::from_u32(code.parse().unwrap()).unwrap();
        let text = c.to_string();
        for ((regex, bit), pattern) in regexes.iter().zip(bits.chars()).zip(&patterns) {
            let found = regex.search(&text, 0).unwrap().is_some();
            if found != (bit == '1') {
                differences.push(format!("{pattern} on U+{:04X} {c}: python {bit}", u32::from(c)));
            }
        }
    }
    assert!(differences.is_empty(), "{}: {:#?}", differences.len(), differences);
}
