//! The parts of the dialect, each on random texts: what fail2ban's own functions make of them.
//!
//! Texts are put together from pieces that mean something to the part, so that most of them are
//! nearly right. `SEKISHO_PARTS=100000` compares more of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use sekisho_config::error::ConfigError;
use sekisho_config::files::MapFiles;
use sekisho_config::interpolate::{Scope, Vars};
use sekisho_config::{ini, params, reader, shlex, text, values};
use sekisho_core::command::Origin;
use sekisho_oracle::{Fail2ban, Python, Random, cases, report};
use serde_json::{Value, json};

/// What a part makes of the arguments; `Err` is a kind of fault.
type Ours<'a> = &'a dyn Fn(&[Value]) -> Result<Value, String>;

/// Whether a difference is one of ours on purpose: arguments, our answer, theirs.
type Known<'a> = &'a dyn Fn(&[Value], &Result<Value, String>, &Value) -> bool;

/// Compares a part on many arguments.
fn compare(
    part: &str,
    make: &mut dyn FnMut(&mut Random) -> Vec<Value>,
    ours: Ours<'_>,
    known: Known<'_>,
) {
    let Some(fail2ban) = Fail2ban::newest() else { return };
    let mut python = Python::start(fail2ban.python(), include_str!("parts.py"), &[]);
    let count = cases("SEKISHO_PARTS", 4000);
    let mut random = Random(part.len() as u64);
    let mut differences = Vec::new();
    for _ in 0..count.div_ceil(1000) {
        let arguments: Vec<Vec<Value>> = (0..1000).map(|_| make(&mut random)).collect();
        let question = |arguments: &Vec<Value>| {
            Value::Array([json!(part)].into_iter().chain(arguments.iter().cloned()).collect())
        };
        let answers = python.ask_all(arguments.iter().map(question).collect());
        for (arguments, theirs) in arguments.iter().zip(&answers) {
            let own = ours(arguments);
            let same = match (&own, theirs.get("error")) {
                (Ok(own), None) => own == theirs,
                (Err(kind), Some(error)) => *kind == error.as_str().unwrap(),
                _ => false,
            };
            if !same && !known(arguments, &own, theirs) {
                differences.push(format!("{arguments:?}\n  ours   {own:?}\n  theirs {theirs}"));
            }
        }
    }
    let shown = differences.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} differences in {part}\n{shown}", differences.len());
    report(&format!("random texts: {part}"), &fail2ban.version, count, "texts");
}

/// Up to `most` pieces, one after the other.
fn some(random: &mut Random, pieces: &[&str], most: usize) -> String {
    (0..random.below(most + 1)).map(|_| *random.pick(pieces)).collect()
}

fn never(_: &[Value], _: &Result<Value, String>, _: &Value) -> bool {
    false
}

fn string(arguments: &[Value], at: usize) -> &str {
    arguments[at].as_str().unwrap()
}

const PARAMETERS: &[&str] = &[
    "a",
    "b-c",
    "x.y",
    "é",
    "1",
    "[",
    "[",
    "]",
    "]",
    ",",
    ",",
    "=",
    "\"",
    "'",
    " ",
    "\n",
    "\t",
    "k=",
    "k=\"v\"",
    "l='v w'",
    "m=v",
    "n=v w",
    "?family=inet6",
    "?",
    "<ip>",
    "%(x)s",
    "\u{201d}",
    "][",
    "] [",
    "\"\"",
    "='",
    "=\"",
    "x y",
    "a[k=v]",
    "a[k=\"v\", l=w]",
];

#[test]
fn splitting_into_actions() {
    let ours = |arguments: &[Value]| Ok(json!(params::split(string(arguments, 0))));
    let make = |random: &mut Random| vec![json!(some(random, PARAMETERS, 12))];
    compare("split", &mut { make }, &ours, &never);
}

#[test]
fn names_with_parameters() {
    let ours = |arguments: &[Value]| {
        let origin = Origin { file: "f".into(), line: 1 };
        match params::parse("action", string(arguments, 0), &origin) {
            Ok(definition) => Ok(json!([definition.name, definition.params])),
            Err(ConfigError::Params { reason, .. }) => Err(reason),
            Err(error) => panic!("{error}"),
        }
    };
    let known = |_: &[Value], ours: &Result<Value, String>, theirs: &Value| {
        let text = theirs.get("text").and_then(Value::as_str).unwrap_or("");
        match ours {
            Err(reason) if reason == text => true,
            // We accept blanks behind a quoted value.
            _ => {
                let shown = text.split_once(": ").map_or("", |(_, shown)| shown);
                text.starts_with("unexpected syntax at ") && shown.starts_with(char::is_whitespace)
            }
        }
    };
    let make = |random: &mut Random| {
        let inner = some(random, PARAMETERS, 10);
        let whole = if random.one_in(3) { inner } else { format!("a[{inner}]") };
        vec![json!(whole)]
    };
    compare("definition", &mut { make }, &ours, &known);
}

#[test]
fn words() {
    let pieces = ["a", "b", ",", " ", "\n", "\t", ", ", "\u{a0}", "1.2.3.4", "::1/64", ";", "#"];
    let make = |random: &mut Random| vec![json!(some(random, &pieces, 10))];
    let ours =
        |arguments: &[Value]| Ok(json!(values::words(string(arguments, 0)).collect::<Vec<_>>()));
    compare("words", &mut { make }, &ours, &never);
}

#[test]
fn shell_words() {
    let pieces = ["a", "_B=c", "'", "\"", "\\", " ", "\t", "+", "é", "''", "\\\"", "#", "$x", "\r"];
    let make = |random: &mut Random| vec![json!(some(random, &pieces, 10))];
    let ours = |arguments: &[Value]| {
        shlex::split(string(arguments, 0)).map(|w| json!(w)).ok_or("ValueError".to_owned())
    };
    compare("shell words", &mut { make }, &ours, &never);
}

#[test]
fn numbers() {
    let pieces = ["1", "0", "42", "_", "+", "-", " ", ".", "x", "e", "\n", "0x", "١"];
    let make = |random: &mut Random| vec![json!(some(random, &pieces, 5))];
    let ours = |arguments: &[Value]| {
        values::python_int(string(arguments, 0)).map(|n| json!(n)).ok_or("ValueError".to_owned())
    };
    // Digits of other scripts are no numbers here.
    let known = |arguments: &[Value], _: &Result<Value, String>, _: &Value| {
        string(arguments, 0).contains('١')
    };
    compare("number", &mut { make }, &ours, &known);
}

#[test]
fn flags() {
    let pieces = ["1", "on", "ON", "true", "True", "yes", "yEs", " ", "0", "off", "no", "", "\n"];
    let make = |random: &mut Random| vec![json!(some(random, &pieces, 2))];
    let ours = |arguments: &[Value]| Ok(json!(values::boolean(string(arguments, 0))));
    compare("flag", &mut { make }, &ours, &never);
}

const LINES: &[&str] = &[
    "[a]\n",
    "[b]\n",
    "[DEFAULT]\n",
    "[ c d ]\n",
    "[a]b]\n",
    "[e] x = 1\n",
    "x = 1\n",
    "Y: 2\n",
    "z=3;4\n",
    "x = 5 ; six\n",
    "w =\n",
    "w = # no comment\n",
    " more\n",
    "\tmore = x\n",
    "   \n",
    "\n",
    "# comment\n",
    "; comment\n",
    "  # comment inside\n",
    " ; comment inside\n",
    "x\n",
    "=y\n",
    "k=v = w : z\n",
    "k2:v=w\n",
    "é = ü\n",
    "a b = c d\n",
    "%x = %y\n",
    "[\n",
    "[]\n",
    "]\n",
    "q = a\r\n",
    "r = b\r",
    "\u{c}",
    "\u{a0}",
    " ",
    "\t",
    ";",
    "#",
    "[",
    "p = 1",
    "\u{2028}",
    "\u{1c}",
    "  [i]\n",
    "  j = 1\n",
    "\u{feff}",
];

/// The merged sections of a text, as fail2ban's parser has them.
fn merged(parsed: &ini::ParsedFile) -> Value {
    let mut defaults = text::Options::default();
    let mut sections = text::OrderedMap::<text::Options>::default();
    for block in &parsed.blocks {
        let options = if block.name == ini::DEFAULT {
            &mut defaults
        } else {
            sections.entry(&block.name, text::Options::default).unwrap()
        };
        for (key, text) in block.options.iter() {
            options.insert(key, text.clone());
        }
    }
    let pairs = |options: &text::Options| -> Vec<[String; 2]> {
        options.iter().map(|(key, text)| [key.to_owned(), text.value.to_string()]).collect()
    };
    let all: Vec<Value> = sections.iter().map(|(name, o)| json!([name, pairs(o)])).collect();
    json!([pairs(&defaults), all])
}

#[test]
fn lines_of_a_file() {
    let ours = |arguments: &[Value]| {
        let parsed = ini::parse("f", string(arguments, 0));
        match parsed.errors.first() {
            None => Ok(merged(&parsed)),
            Some(_) => Err(String::new()),
        }
    };
    // A section twice is merged, with a warning; a byte order mark is no part of the text.
    let known = |arguments: &[Value], ours: &Result<Value, String>, theirs: &Value| {
        let text = string(arguments, 0);
        let error = theirs.get("error").and_then(Value::as_str).unwrap_or("");
        if ours.is_err() && !error.is_empty() {
            // Which of several faults is named first does not matter.
            return true;
        }
        let again = |n: &sekisho_config::notice::Notice| n.text.contains(" appears again ");
        let twice = ini::parse("f", text).notices.iter().any(again);
        (twice && error.starts_with("Duplicate")) || text.starts_with('\u{feff}')
    };
    let make = |random: &mut Random| {
        let head = ["[a]\n", "[DEFAULT]\n", "", "# c\n[a]\nx = 1\n"];
        let head = random.pick(&head).to_string();
        vec![json!(head + &some(random, LINES, 12))]
    };
    compare("ini", &mut { make }, &ours, &known);
}

const VALUES: &[&str] = &[
    "1",
    "a b",
    "%(x)s",
    "%(X)s",
    "%(y)s",
    "%(z)s",
    "%(d)s",
    "%(v)s",
    "%(b/x)s",
    "%(a/y)s",
    "%(default/x)s",
    "%(default/d)s",
    "%(known/x)s",
    "%(known/d)s",
    "%(c/x)s",
    "%(no/x)s",
    "%(no)s",
    "%%",
    "%",
    "%(",
    "%(x)",
    "%()s",
    "%(x)d",
    "%(__name__)s",
    "<x>",
    "%%(x)s",
    "%(b/no)s",
    "\n  2",
    "%( x)s",
    "%(x )s",
    "%(b/known/x)s",
    "%(a b/x)s",
    "%(b/ x)s",
];

#[test]
fn interpolation() {
    let ours = |arguments: &[Value]| {
        let files = MapFiles::new("e", [("x.conf", string(arguments, 0))]);
        let ini = reader::read_one(&files, "e/x.conf", &text::Options::default());
        let mut vars = Vars::default();
        for (key, value) in arguments[3].as_object().unwrap() {
            vars.set(key, value.as_str().unwrap());
        }
        let scope = Scope { ini: &ini, vars: &vars };
        match scope.get(string(arguments, 1), string(arguments, 2)) {
            Ok(Some(text)) => Ok(json!(&*text.value)),
            Ok(None) => Err("NoOptionError".to_owned()),
            Err(ConfigError::UnknownKey { .. }) => {
                Err("InterpolationMissingOptionError".to_owned())
            }
            Err(ConfigError::TooDeep { .. }) => Err("InterpolationDepthError".to_owned()),
            Err(ConfigError::LonePercent { .. } | ConfigError::BadReference { .. }) => {
                Err("InterpolationSyntaxError".to_owned())
            }
            Err(error) => Err(error.to_string()),
        }
    };
    let make = |random: &mut Random| {
        let mut text = String::new();
        for section in ["DEFAULT", "a", "b"] {
            text += &format!("[{section}]\n");
            for option in ["d", "x", "y", "z"] {
                if !random.one_in(3) {
                    let value = some(random, VALUES, 3);
                    text += &format!("{option} = {value}\n");
                }
            }
        }
        let mut vars = serde_json::Map::new();
        if random.one_in(2) {
            vars.insert("v".into(), json!(some(random, VALUES, 2)));
        }
        let option = random.pick(&["d", "x", "y", "z", "v"]);
        vec![json!(text), json!(random.pick(&["a", "b"])), json!(option), Value::Object(vars)]
    };
    compare("interpolated", &mut { make }, &ours, &never);
}

#[test]
fn times() {
    let pieces = [
        "1", "0", "12", "1.5", "s", "m", "h", "d", "w", "mo", "y", "min", "months", "Year", "x",
        " ", "  ", "+", "-", "*", "/", "(", ")", "-1", "e3", "_", "%", "//", "**2", ".", "\n",
    ];
    let make = |random: &mut Random| vec![json!(some(random, &pieces, 7))];
    let ours = |arguments: &[Value]| {
        let number = sekisho_core::duration::parse(string(arguments, 0));
        number.map(|n| json!(n.to_string())).map_err(|error| error.to_string())
    };
    let known = |_: &[Value], ours: &Result<Value, String>, theirs: &Value| match ours {
        Ok(number) => {
            let number: f64 = number.as_str().unwrap().parse().unwrap();
            theirs.as_f64().is_some_and(|other| (number - other).abs() <= other.abs() * 1e-12)
        }
        Err(_) => theirs.get("error").is_some(),
    };
    compare("seconds", &mut { make }, &ours, &known);
}
