//! A Python process that answers questions: one JSON value per line, both ways.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// A running script. It reads a JSON value per line and prints one for each.
pub struct Python {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Python {
    /// Starts `command` (from [`crate::Fail2ban::python`]) with a script.
    pub fn start(mut command: Command, script: &str, args: &[&str]) -> Python {
        let mut child = command
            .arg("-c")
            .arg(script)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Python { child, input, output }
    }

    /// Asks one question.
    pub fn ask(&mut self, question: &Value) -> Value {
        let input = self.input.as_mut().expect("not finished");
        writeln!(input, "{question}").expect("the script reads");
        input.flush().expect("the script reads");
        self.answer()
    }

    /// Asks many questions at once, in order; faster, because nobody waits for the other.
    pub fn ask_all(&mut self, questions: Vec<Value>) -> Vec<Value> {
        let mut input = self.input.take().expect("not finished");
        let count = questions.len();
        let writer = std::thread::spawn(move || {
            for question in questions {
                writeln!(input, "{question}").expect("the script reads");
            }
            input.flush().expect("the script reads");
            input
        });
        let answers = (0..count).map(|_| self.answer()).collect();
        self.input = Some(writer.join().expect("the writer ends"));
        answers
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the script answers");
        assert!(!line.is_empty(), "the script ended; see its message above");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
