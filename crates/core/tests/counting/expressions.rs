//! `bantime.formula`, durations and their texts, against Python itself and fail2ban's own functions.
//!
//! `SEKISHO_EXPRESSIONS=n` compares more than usual.

use sekisho_core::duration;
use sekisho_core::expr::{Expr, ExprError, Number};
use sekisho_oracle::{Fail2ban, Python, Random, cases, report};
use serde_json::{Value, json};

const REFERENCE: &str = include_str!("expressions.py");

fn count() -> usize {
    cases("SEKISHO_EXPRESSIONS", 5000)
}

/// Questions at once.
const ROUND: usize = 1000;

/// Asks all questions; each with its answer.
fn asked(judge: &Fail2ban, questions: Vec<Value>) -> Vec<(Value, Value)> {
    let mut python = Python::start(judge.python(), REFERENCE, &[]);
    let mut out = Vec::with_capacity(questions.len());
    for round in questions.chunks(ROUND) {
        let answers = python.ask_all(round.to_vec());
        out.extend(round.iter().cloned().zip(answers));
    }
    out
}

/// Something in the grammar of expressions, as deep as `depth`.
fn expression(random: &mut Random, depth: usize) -> String {
    if depth == 0 {
        return atom(random);
    }
    let sub = |random: &mut Random| expression(random, depth - 1);
    match random.below(20) {
        0..8 => {
            let op = *random.pick(&["+", "-", "*", "/", "//", "%", "&", "|", "^"]);
            let (a, b) = (sub(random), sub(random));
            let blank = if random.one_in(2) { " " } else { "" };
            format!("{a}{blank}{op}{blank}{b}")
        }
        8 => {
            // Never two powers in a row, which Python would spend its memory on.
            let exponent = *random.pick(&["2", "3", "-1", "0.5", "-2", "7", "0", "2**2"]);
            if random.one_in(2) {
                format!("({})**{exponent}", sub(random))
            } else {
                format!("(-{}**{exponent})", atom(random))
            }
        }
        9 => {
            let by = *random.pick(&["1", "3", "ban.Count", "20", "40", "-1", "2.0"]);
            format!("(({}){}{by})", sub(random), random.pick(&["<<", ">>"]))
        }
        10 => format!("{}{}", random.pick(&["-", "+", "~", "- -", "not "]), sub(random)),
        11 => {
            let op = *random.pick(&["<", "<=", ">", ">=", "==", "!="]);
            let chain =
                if random.one_in(3) { format!(" < {}", sub(random)) } else { String::new() };
            format!("({} {op} {}{chain})", sub(random), sub(random))
        }
        12 => format!("({} {} {})", sub(random), random.pick(&["and", "or"]), sub(random)),
        13 => format!("({} if {} else {})", sub(random), sub(random), sub(random)),
        14 | 15 => format!("({})", sub(random)),
        16 => {
            let name = *random.pick(&["max", "min"]);
            let more = if random.one_in(2) { format!(", {}", sub(random)) } else { String::new() };
            let args = if random.one_in(9) { String::new() } else { format!(", {}", sub(random)) };
            format!("{name}({}{args}{more})", sub(random))
        }
        17 => {
            let digits = *random.pick(&["", "", ", 1", ", 2", ", -2", ", 0", ", 5"]);
            format!("round({}{digits})", sub(random))
        }
        18 => {
            let name = *random.pick(&["int", "float", "abs", "bool"]);
            format!("{name}({})", sub(random))
        }
        _ => {
            let name = *random.pick(&[
                "exp", "sqrt", "log", "log2", "log10", "floor", "ceil", "trunc", "fabs", "log1p",
                "expm1", "sin", "cos", "tan", "atan", "tanh", "pow",
            ]);
            let second = if name == "pow" || (name == "log" && random.one_in(3)) {
                format!(", {}", sub(random))
            } else {
                String::new()
            };
            format!("math.{name}({}{second})", sub(random))
        }
    }
}

fn atom(random: &mut Random) -> String {
    match random.below(12) {
        0..4 => random.below(20).to_string(),
        4 => random.below(1_000_000).to_string(),
        5 => format!("{}.{}", random.below(100), random.below(1000)),
        6 => {
            let odd = [
                "1e3", ".5", "2.", "1_000", "0x1f", "0b101", "0o17", "1e-2", "0", "00", "2.5",
                "3.5",
            ];
            (*random.pick(&odd)).to_owned()
        }
        7 | 8 => "ban.Time".to_owned(),
        9 => "ban.Count".to_owned(),
        10 => "banFactor".to_owned(),
        _ => (*random.pick(&["True", "False", "math.pi", "math.e", "unknown", "math.inf"]))
            .to_owned(),
    }
}

/// Breaks a text at one place, mostly.
fn broken(random: &mut Random, text: &str, alphabet: &[&str]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let at = random.below(chars.len().max(1)).min(chars.len());
    match random.below(3) {
        0 if at < chars.len() => {
            chars.remove(at);
        }
        1 if at < chars.len() => {
            let c = chars[at];
            chars.insert(at, c);
        }
        _ => {
            let more: Vec<char> = random.pick(alphabet).chars().collect();
            chars.splice(at..at, more);
        }
    }
    chars.into_iter().collect()
}

fn class(error: &ExprError) -> &'static [&'static str] {
    match error {
        ExprError::Syntax | ExprError::TooComplex => &["SyntaxError", "IndentationError"],
        ExprError::UnknownName(_) => &["NameError", "AttributeError"],
        ExprError::ZeroDivision => &["ZeroDivisionError"],
        ExprError::NegativeShift => &["ValueError"],
        ExprError::NeedsInt(_) | ExprError::Arguments(_) => &["TypeError"],
        ExprError::Domain => &["ValueError", "complex"],
        ExprError::Overflow => &["OverflowError", "MemoryError"],
    }
}

/// Whether ours is what Python says; of a `broken` text, which error comes first does not matter.
fn agrees(ours: &Result<Number, ExprError>, theirs: &Value, broken: bool) -> bool {
    let (kind, foreign) = (theirs[0].as_str().unwrap(), theirs[2].as_bool().unwrap());
    match (ours, kind) {
        (Ok(Number::Int(n)), "int") if theirs[1].as_i64() == Some(*n) => true,
        (Ok(Number::Float(x)), "float") if Number::Float(*x).to_string() == theirs[1] => true,
        (Err(ours), "error") => {
            let name = theirs[1].as_str().unwrap();
            broken || foreign || class(ours).contains(&name)
        }
        _ => foreign,
    }
}

#[track_caller]
fn none(differences: &[String]) {
    let shown: Vec<&str> = differences.iter().take(20).map(String::as_str).collect();
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), shown.join("\n"));
}

#[test]
fn formulas_have_pythons_values() {
    let Some(judge) = Fail2ban::installed() else { return };
    let mut random = Random(0x5eed_e4b9);
    let alphabet = [
        "(", ")", " ", "*", "+", "-", ".", ",", "1", "_", "e", "if", "else", "or", "x", "=", "<",
        "~", "0",
    ];
    let questions = (0..count())
        .map(|_| {
            let depth = random.below(5);
            let mut text = expression(&mut random, depth);
            let whole = !random.one_in(6);
            if !whole {
                text = broken(&mut random, &text, &alphabet);
            }
            let time = *random.pick(&[600, 60, 3600, 1, 86_400]);
            let factor = [json!(1), json!(2), json!(1.5), json!(0.25)][random.below(4)].clone();
            json!(["evaluate", text, time, random.below(12), factor, whole])
        })
        .collect();
    let (mut values, mut foreign) = (0, 0);
    let mut differences = Vec::new();
    for (question, theirs) in asked(&judge, questions) {
        let text = question[1].as_str().unwrap();
        let factor = match question[4].as_i64() {
            Some(n) => Number::Int(n),
            None => Number::Float(question[4].as_f64().unwrap()),
        };
        let lookup = |name: &str| match name {
            "ban.Time" => question[2].as_i64().map(Number::Int),
            "ban.Count" => question[3].as_i64().map(Number::Int),
            "banFactor" => Some(factor),
            _ => None,
        };
        let ours = Expr::parse(text).and_then(|expr| expr.eval(&lookup));
        if !agrees(&ours, &theirs, question[5] == false) {
            differences.push(format!("{question}: ours {ours:?}, Python's {theirs}"));
        }
        values += usize::from(theirs[0] != "error");
        foreign += usize::from(theirs[2] == true);
    }
    none(&differences);
    // Most have a value, and few are beyond what is compared.
    assert!(values * 2 > count() && foreign * 10 < count(), "{values} values, {foreign} beyond");
    report("bantime.formula: generated expressions", "Python", count(), "expressions");
}

fn written(random: &mut Random) -> String {
    const UNITS: [&str; 32] = [
        "s", "ss", "se", "sec", "second", "seconds", "m", "mm", "mi", "min", "minute", "minutes",
        "h", "hh", "ho", "hou", "hour", "hours", "d", "dd", "da", "day", "days", "w", "we", "wee",
        "week", "weeks", "mo", "month", "y", "years",
    ];
    let groups = 1 + random.below(4);
    let mut text = String::new();
    for group in 0..groups {
        if group > 0 {
            let between = *random.pick(&["", " ", "  ", "+", "-", " - ", "*2 ", "\t"]);
            text.push_str(between);
        }
        match random.below(8) {
            0 => text.push_str(&format!("{}.{}", random.below(10), random.below(10))),
            1 => text.push_str(&format!("({}h)", random.below(5))),
            _ => text.push_str(&random.below(100).to_string()),
        }
        if !random.one_in(6) {
            let blank = *random.pick(&["", "", " "]);
            text.push_str(blank);
            let unit = *random.pick(&UNITS);
            let unit = if random.one_in(5) { unit.to_uppercase() } else { unit.to_owned() };
            text.push_str(&unit);
        }
    }
    text
}

#[test]
fn durations_read_as_fail2bans() {
    let alphabet = [
        "(", ")", " ", "*", "+", "-", ".", ",", "1", "_", "e", "s", "h", "x", "mon", "\u{a0}",
        "\u{e9}",
    ];
    for judge in Fail2ban::all() {
        let mut random = Random(0x5eed_d07a);
        let questions = (0..count())
            .map(|_| {
                let mut text = written(&mut random);
                if random.one_in(4) {
                    text = broken(&mut random, &text, &alphabet);
                }
                json!(["read", text])
            })
            .collect();
        let mut values = 0;
        let mut differences = Vec::new();
        for (question, theirs) in asked(&judge, questions) {
            let ours = duration::parse(question[1].as_str().unwrap()).map_err(|e| e.reason);
            if !agrees(&ours, &theirs, true) {
                differences.push(format!("{question}: ours {ours:?}, fail2ban's {theirs}"));
            }
            values += usize::from(theirs[0] != "error");
        }
        none(&differences);
        assert!(values * 2 > count(), "{values} values");
        report("durations: read", &judge.version, count(), "texts");
    }
}

#[test]
fn durations_show_as_fail2bans() {
    for judge in Fail2ban::all() {
        let mut random = Random(0x5eed_5407);
        let questions: Vec<Value> = (0..count())
            .map(|_| {
                let most = *random.pick(&[100, 4000, 100_000, 700_000, 40_000_000, 4_000_000_000]);
                let seconds = random.below(most) as i64;
                match random.below(6) {
                    0 => json!(["show", -seconds]),
                    1 => json!(["show", seconds as f64 + random.below(64) as f64 / 64.0]),
                    2 => json!(["show", seconds as f64 + random.below(1000) as f64 / 1000.0]),
                    _ => json!(["show", seconds]),
                }
            })
            .collect();
        for (question, theirs) in asked(&judge, questions) {
            let number = match question[1].as_i64() {
                Some(n) => Number::Int(n),
                None => Number::Float(question[1].as_f64().unwrap()),
            };
            assert_eq!(duration::render(number), theirs.as_str().unwrap(), "{question}");
        }
        report("durations: shown", &judge.version, count(), "numbers");
    }
}
