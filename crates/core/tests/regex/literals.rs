//! Required literals really are required: generated patterns made of words, and texts made to match.

use crate::check_literals;
use crate::generate::matching;
use sekisho_core::regex::{Flags, Regex};
use sekisho_oracle::{Random, cases};

const ATOMS: &[&str] = &[
    "fail",
    "Failed ",
    "user: ",
    "from",
    "[Aa]uth",
    "(?i:Error)",
    ", ",
    " - ",
    "x",
    ": ",
    r"\S+",
    r"\w*",
    ".*",
    r"\[\d+\]",
    "[abc]",
    "(?:one|two|three)",
    r"\bport\b",
    "a?",
    "(?:ed)?",
    "no{2}",
    "(?:ab){2}",
    "(?=.*word)",
    "(?!never)",
    "é",
    "[^ ]+",
    r"(?i:Straße)",
    r"\.$",
    "^",
];

fn alternation(rng: &mut Random, depth: usize) -> String {
    let branches = 1 + usize::from(rng.below(3) == 0) * (1 + rng.below(3));
    (0..branches).map(|_| sequence(rng, depth)).collect::<Vec<_>>().join("|")
}

fn sequence(rng: &mut Random, depth: usize) -> String {
    let n = 1 + rng.below(4);
    (0..n)
        .map(|_| {
            if depth == 0 || rng.below(4) > 0 {
                return (*rng.pick(ATOMS)).to_owned();
            }
            let inner = alternation(rng, depth - 1);
            let open = rng.pick(&["(?:", "(", "(?i:", "(?>", "(?="]);
            let times = rng.pick(&["", "", "?", "*", "+", "{2}", "{1,3}"]);
            let times = if *open == "(?=" { "" } else { times };
            format!("{open}{inner}){times}")
        })
        .collect()
}

#[test]
fn every_match_contains_a_required_literal() {
    let mut rng = Random(5);
    let mut checked = 0;
    for _ in 0..cases("SEKISHO_REGEX_PAIRS", 20_000) / 4 {
        let pattern = alternation(&mut rng, 2);
        let regex = Regex::new(&pattern, Flags::default()).unwrap();
        for _ in 0..4 {
            let mut text = (*rng.pick(&["", "word ", "AB ", "Failed"])).to_owned();
            matching(&regex.pattern().root, &mut rng, &mut text);
            text.push_str(rng.pick::<&str>(&["", " word", ".", "\n"]));
            if rng.below(3) == 0 {
                text = text.to_uppercase();
            }
            if regex.search(&text, 0).is_ok_and(|found| found.is_some()) {
                checked += check_literals(&regex, &text, &mut rng);
            }
        }
    }
    eprintln!("{checked} literal sets checked");
    assert!(checked > 500);
}

#[test]
fn the_best_literal_is_chosen() {
    let table: &[(&str, Option<&str>, Option<&str>)] = &[
        ("^Failed password for <x>", Some("Failed password for <x>"), Some("Failed password for ")),
        (r"a\d+b", None, None),
        ("ab", None, None),
        ("user \\S+: denied", Some(": denied"), Some(" denied")),
        ("(?:one|two|three) .* x", Some("one |three |two "), Some("one |three |two ")),
        ("(?:one)?xyz", Some("xyz"), Some("xyz")),
        (".*(?=.*disconnect).*", Some("disconnect"), Some("disconnect")),
        ("(?!disconnect).*", None, None),
        ("(?i)Disconnect", Some("i:disconnect"), Some("i:disconnect")),
        ("[Ff]ailed login", Some("i:failed login"), Some("i:failed login")),
        ("one\nthree", Some("three"), Some("three")),
        ("foo|x", None, None),
        ("(a)bc(?(1)def|ghi)", Some("abcdef|abcghi"), Some("abcdef|abcghi")),
        ("(?:abc)+x*", Some("abc"), Some("abc")),
        ("(?:abc){2}", Some("abcabc"), Some("abcabc")),
        ("(?:abc){0}", None, None),
        ("a: : b", Some("a: : b"), None),
    ];
    for (pattern, whole, uncuttable) in table {
        let regex = Regex::new(pattern, Flags::default()).unwrap();
        let show = |set: Option<sekisho_core::regex::LiteralSet>| {
            let literals = set?.literals.into_iter().map(|l| {
                let text = String::from_utf8(l.bytes).unwrap();
                if l.ignore_case { format!("i:{text}") } else { text }
            });
            Some(literals.collect::<Vec<_>>().join("|"))
        };
        assert_eq!(show(regex.required_literals()).as_deref(), *whole, "{pattern}");
        let set = regex.required_literals_uncuttable();
        assert_eq!(show(set).as_deref(), *uncuttable, "{pattern}, uncuttable");
    }
}
