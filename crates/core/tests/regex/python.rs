//! Python's `re` as the judge.

use sekisho_core::regex::Flags;
use sekisho_oracle::{PYTHON, Python, has_python};
use serde_json::{Value, json};
use std::process::Command;

/// A match as spans of bytes by group, no match, or why the pattern does not compile.
pub type Answer = Result<Option<Vec<Option<(usize, usize)>>>, String>;

/// Repetitions of what may match the empty text and has groups.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum EmptyTurns {
    /// There are none.
    None,
    /// None has an upper limit.
    Unlimited,
    /// Up to a number of times.
    Limited,
}

/// Python's `re`, ready to be asked.
pub struct Judge(Python);

const SCRIPT: &str = r#"
import json, re, sys, warnings
from re import _constants as sre, _parser
warnings.simplefilter('ignore')
# An error since Python 3.12.
warnings.filterwarnings('error', 'bad character in group name', DeprecationWarning)
cache = {}
def captures(node):
    op, of = node
    return op is sre.SUBPATTERN and of[0] is not None or any(map(captures, inside(of)))
def inside(value):
    if isinstance(value, _parser.SubPattern):
        yield from value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from inside(part)
def empty_turns(node):
    op, of = node
    known = max(map(empty_turns, inside(of)), default=0)
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT) and of[1] > 1:
        if of[2].getwidth()[0] == 0 and any(map(captures, of[2])):
            return max(known, 1 if of[1] == sre.MAXREPEAT else 2)
    return known
def compiled(pattern, flags):
    key = pattern, flags
    if key not in cache:
        if len(cache) > 10000:
            cache.clear()
        try:
            cache[key] = re.compile(pattern, flags)
        except DeprecationWarning as e:
            message, at = str(e).rsplit(' at position ', 1)
            cache[key] = str(re.error(message, pattern, int(at)))
        except (re.error, OverflowError, ValueError) as e:
            cache[key] = str(e)
    return cache[key]
def answer(pattern, text, multi_line):
    if text is None:
        parsed = _parser.parse(pattern, re.MULTILINE if multi_line else 0)
        return max(map(empty_turns, parsed), default=0)
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

    /// Whether a pattern repeats what may match the empty text and has groups; Python takes turns
    /// that match nothing otherwise: docs/COMPAT.md, "Deliberate differences".
    pub fn empty_turns(&mut self, pattern: &str, flags: Flags) -> EmptyTurns {
        match self.0.ask(&json!([pattern, null, flags.multi_line])).as_u64() {
            Some(2) => EmptyTurns::Limited,
            Some(1) => EmptyTurns::Unlimited,
            _ => EmptyTurns::None,
        }
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
