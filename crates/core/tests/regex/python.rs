//! Python's `re` as the judge: one process, JSON in, JSON out.

use std::io::Write;
use std::process::{Command, Stdio};

/// An interpreter that was found.
pub struct Python;

/// A match as spans of bytes by group, no match, or why the pattern does not compile.
pub type Answer = Result<Option<Vec<Option<(usize, usize)>>>, String>;

const PROGRAM: &str = r#"
import json, re, sys, warnings
warnings.simplefilter('ignore')
cache = {}
def compiled(pattern, flags):
    key = (pattern, flags)
    if key not in cache:
        try:
            cache[key] = re.compile(pattern, flags)
        except (re.error, OverflowError, ValueError) as e:
            cache[key] = str(e)
    return cache[key]
out = sys.stdout
for line in sys.stdin.buffer:
    pattern, text, flags = json.loads(line)
    r = compiled(pattern, flags)
    if isinstance(r, str):
        out.write('E' + r.encode('utf-8').hex())
    else:
        m = r.search(text)
        if m is None:
            out.write('N')
        else:
            at = lambda i: len(text[:i].encode('utf-8'))
            spans = [m.span(i) for i in range(r.groups + 1)]
            out.write('M' + ' '.join('-' if a < 0 else '%d,%d' % (at(a), at(b)) for a, b in spans))
    out.write('\n')
"#;

impl Python {
    /// The interpreter, or `None` with a note; with SEKISHO_CI set it must be there.
    pub fn find() -> Option<Python> {
        let found = Command::new("/usr/bin/python3")
            .args(["-c", "import sys; sys.exit(sys.version_info < (3, 11))"])
            .status()
            .is_ok_and(|status| status.success());
        if found {
            return Some(Python);
        }
        assert!(!crate::in_ci(), "needs /usr/bin/python3, 3.11 or newer");
        eprintln!("skipped: needs /usr/bin/python3, 3.11 or newer");
        None
    }

    /// Runs a program with lines on its standard input and returns the lines it prints.
    pub fn run(&self, program: &str, input: String) -> Vec<String> {
        let mut child = Command::new("/usr/bin/python3")
            .args(["-X", "utf8", "-c", program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// `re.search` for each pair.
    pub fn search(&self, pairs: &[(String, String)]) -> Vec<Answer> {
        let input: String = pairs
            .iter()
            .map(|(pattern, text)| format!("[{},{},0]\n", json(pattern), json(text)))
            .collect();
        self.run(PROGRAM, input).iter().map(|line| answer(line)).collect()
    }
}

fn answer(line: &str) -> Answer {
    let (kind, rest) = line.split_at(1);
    match kind {
        "E" => {
            let bytes = (0..rest.len() / 2)
                .map(|i| u8::from_str_radix(&rest[2 * i..2 * i + 2], 16).unwrap())
                .collect();
            Err(String::from_utf8(bytes).unwrap())
        }
        "N" => Ok(None),
        _ => {
            let span = |text: &str| {
                let (start, end) = text.split_once(',')?;
                Some((start.parse().unwrap(), end.parse().unwrap()))
            };
            Ok(Some(rest.split(' ').map(span).collect()))
        }
    }
}

/// A JSON string.
pub fn json(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
