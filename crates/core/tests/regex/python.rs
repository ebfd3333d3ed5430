//! Python's `re` as the judge.

use sekisho_core::regex::Flags;
use sekisho_oracle::{PYTHON, Python, has_python};
use serde_json::{Value, json};
use std::process::Command;

/// A match as spans of bytes by group, no match, or why the pattern does not compile.
pub type Answer = Result<Option<Vec<Option<(usize, usize)>>>, String>;

/// Python's `re`, ready to be asked.
pub struct Judge(Python);

const SCRIPT: &str = r#"
import json, re, sys, warnings
warnings.simplefilter('ignore')
cache = {}
def compiled(pattern, flags):
    key = pattern, flags
    if key not in cache:
        if len(cache) > 10000:
            cache.clear()
        try:
            cache[key] = re.compile(pattern, flags)
        except (re.error, OverflowError, ValueError) as e:
            cache[key] = str(e)
    return cache[key]
def answer(pattern, text, multi_line):
    r = compiled(pattern, re.MULTILINE if multi_line else 0)
    if isinstance(r, str):
        return r
    m = r.search(text)
    if m is None:
        return None
    at = lambda i: len(text[:i].encode())
    return [None if m.start(i) < 0 else [at(m.start(i)), at(m.end(i))] for i in range(r.groups + 1)]
for line in sys.stdin:
    print(json.dumps(answer(*json.loads(line))), flush=True)
"#;

/// Python alone, not yet started.
pub fn python() -> Command {
    let mut command = Command::new(PYTHON);
    command.args(["-X", "utf8"]);
    command
}

impl Judge {
    /// Starts it; `None` where there is no Python.
    pub fn start() -> Option<Judge> {
        has_python().then(|| Judge(Python::start(python(), SCRIPT, &[])))
    }

    /// `re.search` for each pair.
    pub fn search(&mut self, pairs: &[(String, String)], flags: Flags) -> Vec<Answer> {
        let asked = pairs.iter().map(|(p, text)| json!([p, text, flags.multi_line])).collect();
        self.0.ask_all(asked).into_iter().map(answer).collect()
    }
}

fn answer(value: Value) -> Answer {
    let span = |value: &Value| {
        let at = |i: usize| value[i].as_u64().map(|at| at as usize);
        at(0).zip(at(1))
    };
    match value {
        Value::String(error) => Err(error),
        Value::Array(spans) => Ok(Some(spans.iter().map(span).collect())),
        _ => Ok(None),
    }
}
