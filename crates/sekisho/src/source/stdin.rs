//! Standard input as a log: `some-program | sekisho run -`.
//!
//! Lines count as just written. The end of the input ends the server, because nothing can come any
//! more; but only when all that was found has been judged. What was banned is released as at any
//! stop. Must never hold more than one buffer.

use std::io::{self, BufRead};
use std::thread;

use crossbeam_channel::Sender;
use sekisho_core::command::Words;
use sekisho_core::effect::{Batch, Event, Position, RequestId, SourceId, SourceState};
use sekisho_core::value::Value;

use super::Events;

/// The log path that means standard input.
pub const PATH: &str = "/dev/stdin";
/// The request of the `stop` that is sent at the end of the input; [`crate::daemon`] holds it back
/// until no question is open.
pub const END: RequestId = RequestId(u64::MAX - 2);
/// A batch is sent when it has this many bytes, or when no more input is waiting.
const BATCH_MAX: usize = 256 << 10;
/// A longer line is cut into pieces of this size (bytes).
const LINE_MAX: usize = 1 << 20;

/// Reads standard input on a thread of its own until its end.
pub fn start(source: SourceId, lines: Sender<Events>) {
    let spawned = thread::Builder::new().name("stdin".into()).spawn({
        let lines = lines.clone();
        move || {
            if lines.send(vec![Event::Source(source, SourceState::CaughtUp)]).is_ok() {
                read(source, &mut io::stdin().lock(), &lines);
                let words = Words { words: vec![Value::str("stop")], origin: None };
                let _ = lines.send(vec![Event::Control { request: END, words }]);
            }
        }
    });
    if let Err(error) = spawned {
        let text = format!("cannot read standard input: {error}");
        let _ = lines.try_send(vec![Event::Source(source, SourceState::Trouble(text))]);
    }
}

/// Sends complete lines; the last one may lack its newline.
fn read(source: SourceId, input: &mut impl BufRead, lines: &Sender<Events>) {
    let mut data = Vec::new();
    loop {
        let (used, complete) = match input.fill_buf() {
            Ok([]) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
            Ok(buf) => {
                data.extend_from_slice(buf);
                (buf.len(), memchr::memrchr(b'\n', &data).map(|at| at + 1))
            }
        };
        input.consume(used);
        let rest = match complete {
            Some(end) => data.split_off(end),
            None if data.len() < LINE_MAX => continue,
            None => {
                data.push(b'\n');
                Vec::new()
            }
        };
        if !send(source, std::mem::replace(&mut data, rest), lines) {
            return;
        }
    }
    if !data.is_empty() {
        data.push(b'\n');
        send(source, data, lines);
    }
}

fn send(source: SourceId, data: Vec<u8>, lines: &Sender<Events>) -> bool {
    // The reader's buffer is far smaller than a batch may be.
    debug_assert!(data.len() <= BATCH_MAX + LINE_MAX);
    let batch = Batch { source, data, live: true, position: Position::default(), times: vec![] };
    lines.send(vec![Event::Lines(batch)]).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &[&str]) {
        let (tx, rx) = crossbeam_channel::unbounded();
        read(SourceId(3), &mut io::BufReader::with_capacity(8, input.as_bytes()), &tx);
        drop(tx);
        let got: Vec<String> = rx
            .iter()
            .flatten()
            .map(|event| match event {
                Event::Lines(batch) => String::from_utf8(batch.data).unwrap(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(got.concat(), expected.concat());
        assert!(got.iter().all(|batch| batch.ends_with('\n')), "{got:?}");
    }

    #[test]
    fn whole_lines_are_sent() {
        check("", &[]);
        check("one\ntwo\n", &["one\n", "two\n"]);
        check(
            "a line longer than the buffer\nrest",
            &["a line longer than the buffer\n", "rest\n"],
        );
    }
}
