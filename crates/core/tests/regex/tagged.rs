//! Patterns with fail2ban's tags and its rewriting of flags, on lines of any bytes: the same text
//! after expansion, the same refusals, the same match and the same groups as in fail2ban.

use crate::generate::matching;
use crate::{pairs, seed};
use sekisho_core::filter::Pattern;
use sekisho_core::regex::tags::HostTag;
use sekisho_core::value::Value as Field;
use sekisho_oracle::{Fail2ban, Python, Random, report};
use serde_json::{Map, Value, json};

/// Answers the expanded text, with the span in bytes and the groups for every line; or an error.
const SCRIPT: &str = r#"
import json, re, sys, warnings
from fail2ban.server import failregex
warnings.simplefilter('ignore')
# Before 1.1 an IPv6 address could not begin with a single colon: docs/COMPAT.md, "1.0.2 against 1.1".
old, new = '{1,4}::?|::){1,7}', '{1,4}::?|:){1,7}'
failregex.R_HOST[:] = [text.replace(old, new) for text in failregex.R_HOST]
for tag in failregex.RH4TAG:
    failregex.RH4TAG[tag] = failregex.RH4TAG[tag].replace(old, new)
def search(regex, line):
    # Lines are bytes, one character each.
    text = line.encode('latin-1').decode('utf-8', 'replace') + '\n'
    regex.search(text, [])
    if not regex.hasMatched():
        return None
    at = lambda i: len(text[:i].encode())
    start, end = regex._matchCache.span()
    return [at(start), at(end), regex.getGroups()]
for line in sys.stdin:
    pattern, dns, multi, lines = json.loads(line)
    try:
        regex = failregex.Regex(pattern, multiline=multi, useDns=dns)
        # Ours takes the mapped prefix in any case: docs/COMPAT.md, "Deliberate differences".
        text = regex.getRegex().replace('::f{4,6}:', '::[fF]{4,6}:')
        regex._regexObj = re.compile(text, re.MULTILINE if multi else 0)
        print(json.dumps([regex.getRegex(), [search(regex, line) for line in lines]]), flush=True)
    except Exception as e:
        print(json.dumps(str(e)), flush=True)
"#;

const PARTS: &[&str] = &[
    "<HOST>",
    "<HOST>",
    "<ADDR>",
    "<IP4>",
    "<IP6>",
    "<DNS>",
    "<SUBNET>",
    "<ADDR>/<CIDR>",
    "<F-ID/>",
    "<F-PORT/>",
    "<F-ADDR/>",
    "<F-IP4/>",
    "<F-ID>\\w+</F-ID>",
    "<F-ID>[^ ]*|x</F-ID>",
    "<F-USER>\\S+|.*?</F-USER>",
    "<F-ALT_USER>\\w+</F-ALT_USER>",
    "<F-ALT_USER_1>[ab]+</F-ALT_USER_1>",
    "(?:<F-ALT_USER_2>b</F-ALT_USER_2>)?",
    "<F-TUPLE_ID>\\w+</F-TUPLE_ID>",
    "<F-TUPLE_ID_1>\\d*</F-TUPLE_ID_1>",
    "<F-ALT_ID>\\d+</F-ALT_ID>",
    "<F-MLFID>c\\d</F-MLFID>",
    "<F-NOFAIL>from</F-NOFAIL>",
    "<F-CONTENT>.+</F-CONTENT>",
    "<F-PORT>\\d{2}</F-PORT>",
    "<SKIPLINES>",
    "</F-USER>",
    "<F-USER>",
    "<F-foo>",
    "<F-A-B>a</F-A-B>",
    "<word>",
    "<<",
    ">",
    "<F-HOST/>",
];

const TEXTS: &[&str] = &[
    "from ",
    " port ",
    ": ",
    " ",
    "^",
    "$",
    "user=",
    "\\[",
    "\\]",
    "[a-c]",
    "\\S+",
    "\\d+",
    ".*",
    ".*?",
    "(?:(?i)From|x)",
    "((?i)from)",
    "((?iu)é)",
    "\\((?i)x",
    "(?i)",
    "(?:a|b)?",
    "é",
    "\u{fffd}",
    "\\w",
    "\\b",
    "\\n",
    "(?=.*from)",
    "(?<!a)",
    "a*+",
    "(?>ab|a)",
    "(a)?(?(1)b|c)",
];

const LINES: &[&str] = &[
    "1.2.3.4",
    "192.030.0.6",
    "999.1.1.1",
    "::ffff:1.2.3.4",
    "2001:db8::1",
    "[2001:db8::1]",
    "::1",
    ":",
    "fe80::a/64",
    "10.0.0.0/8",
    "host.example.com",
    "x_y.z-",
    "from ",
    "FROM ",
    " port 22",
    "user=ab",
    "c1",
    " ",
    "a",
    "b",
    "é",
    "\n",
    "<word>",
    "<",
    ">",
    "22",
];

/// A pattern of tags and texts.
fn pattern(rng: &mut Random) -> String {
    let n = 1 + rng.below(5);
    let parts = (0..n).map(|_| *if rng.one_in(2) { rng.pick(PARTS) } else { rng.pick(TEXTS) });
    parts.collect()
}

/// The bytes of a line: pieces, sometimes a text that is likely to match, sometimes spoilt.
fn line(rng: &mut Random, pattern: Option<&Pattern>) -> Vec<u8> {
    let mut text = String::new();
    if let Some(pattern) = pattern.filter(|_| !rng.one_in(3)) {
        matching(&pattern.regex().pattern().root, rng, &mut text);
    }
    for _ in 0..rng.below(5) {
        text.push_str(rng.pick::<&str>(LINES));
    }
    let mut bytes = text.into_bytes();
    if rng.one_in(4) && !bytes.is_empty() {
        let at = rng.below(bytes.len());
        bytes[at] = *rng.pick(&[0xff, 0xc3, 0x80, 0xe2, 0xf0, 0xed]);
    }
    bytes
}

fn plain(field: &Field) -> Value {
    match field {
        Field::None => Value::Null,
        Field::Tuple(items) => items.iter().map(plain).collect(),
        other => Value::String(other.to_text()),
    }
}

/// What ours answers to the same question; `None` where it gave up a search.
fn answer(pattern: &Pattern, lines: &[Vec<u8>]) -> Option<Value> {
    let mut answers = Vec::new();
    for line in lines {
        let text = format!("{}\n", String::from_utf8_lossy(line));
        answers.push(match pattern.search(&text).ok()? {
            None => Value::Null,
            Some(found) => {
                let span = found.get(0).unwrap();
                let groups = pattern.groups(&text, &found);
                let groups: Map<String, Value> =
                    groups.iter().map(|(name, value)| (name.to_owned(), plain(value))).collect();
                json!([span.start, span.end, groups])
            }
        });
    }
    Some(json!([pattern.expanded(), answers]))
}

#[test]
fn tagged_patterns_match_as_in_fail2ban() {
    for (fail2ban, seed) in Fail2ban::all().iter().zip(seed()..) {
        match_as_in(fail2ban, seed);
    }
}

fn match_as_in(fail2ban: &Fail2ban, seed: u64) {
    let mut judge = Python::start(fail2ban.python(), SCRIPT, &[]);
    let mut rng = Random(seed);
    let (mut pairs_done, mut matches, mut refused, mut limits) = (0, 0, 0, 0);
    while pairs_done < pairs() / 4 {
        let mut asked = Vec::new();
        let mut ours = Vec::new();
        for _ in 0..250 {
            let raw = pattern(&mut rng);
            let (dns, host) = match rng.below(3) {
                0 => ("no", HostTag::Address),
                _ => ("yes", HostTag::AddressOrName),
            };
            let multi = rng.one_in(4);
            let made = Pattern::new(&raw, host, multi);
            let lines: Vec<Vec<u8>> = (0..4).map(|_| line(&mut rng, made.as_ref().ok())).collect();
            let latin = |line: &Vec<u8>| line.iter().map(|b| char::from(*b)).collect::<String>();
            asked.push(json!([raw, dns, multi, lines.iter().map(latin).collect::<Vec<_>>()]));
            ours.push(match made {
                Ok(made) => answer(&made, &lines),
                Err(error) => Some(json!(error.to_string())),
            });
        }
        for ((asked, theirs), ours) in asked.iter().zip(judge.ask_all(asked.clone())).zip(ours) {
            pairs_done += 4;
            let Some(ours) = ours else {
                limits += 1;
                continue;
            };
            refused += usize::from(theirs.is_string());
            matches +=
                theirs[1].as_array().map_or(0, |l| l.iter().filter(|m| !m.is_null()).count());
            let version = &fail2ban.version;
            assert_eq!(ours, theirs, "ours, fail2ban {version}'s; seed {seed}: {asked}");
        }
    }
    assert!(limits * 500 <= pairs_done, "{limits} searches reached the step limit");
    let unit = format!("pairs ({matches} matches, {refused} patterns refused)");
    report("patterns with tags", &format!("fail2ban {}", fail2ban.version), pairs_done, &unit);
}
