//! The control socket: frames, pickles, and what the engine does with what was in them.
//!
//! Input: what a client writes. As one pickle it is decoded as a request and as an answer, and what
//! was read must survive being written again. As a stream it is cut into frames, in pieces of any
//! size, and each request must be answered exactly once.

use std::cell::OnceCell;
use std::io::Read;

use sekisho::control::pickle::{self, Reply, decode, decode_reply, encode, encode_reply};
use sekisho::control::socket::{CLOSE, END, Frames};
use sekisho::control::text;
use sekisho_core::value::Value;

use crate::world::{World, words};

/// Requests of one input that reach the engine.
const MAX_REQUESTS: usize = 20;

/// Takes any bytes.
pub fn run(data: &[u8]) {
    if let Ok(value) = decode(data) {
        same_again(&value);
    }
    if let Ok(reply) = decode_reply(data) {
        answer(reply);
    }
    let frames = frames(data);
    let Some(requests) = frames.iter().map(|frame| request(frame)).collect::<Option<Vec<_>>>()
    else {
        return;
    };
    thread_local! {
        static WORLD: OnceCell<World> = const { OnceCell::new() };
    }
    let mut world = WORLD.with(|world| world.get_or_init(start).clone());
    for words in requests.into_iter().flatten().take(MAX_REQUESTS) {
        world.send(words);
        world.settle();
    }
    world.stop();
}

/// An engine with one jail.
fn start() -> World {
    let mut world = World::new();
    for line in
        ["add j polling", "set j addaction a", "set j action a actionunban u", "start j", "status"]
    {
        world.send(words(line));
        world.settle();
    }
    world
}

/// The words of a frame: `Some(None)` if it holds none, `None` for a goodbye.
#[allow(clippy::option_option)]
fn request(frame: &[u8]) -> Option<Option<Vec<Value>>> {
    if frame == CLOSE {
        return None;
    }
    Some(match decode(frame) {
        Ok(Value::List(words) | Value::Tuple(words)) => Some(words),
        _ => None,
    })
}

fn same_again(value: &Value) {
    let written = encode(value);
    let read = decode(&written).expect("what was written can be read");
    assert_eq!(read.repr(), value.repr());
    assert_eq!(encode(&read), written);
}

fn answer(reply: Reply) {
    let command = |line: &str| text::reply(&words(line), &value_of(&reply), true).len();
    let _ = [
        "status",
        "status j",
        "status j stats",
        "stats",
        "banned",
        "get j ignoreip",
        "status --all",
    ]
    .map(command);
    let result = match reply {
        Reply::Done(value) => Ok(value),
        Reply::Failed(error) => {
            let _ = (text::error(&error), text::not_ok(&error));
            Err(error)
        }
        Reply::Other(value) => return same_again(&value),
    };
    let written = encode_reply(&result);
    let read = decode_reply(&written).expect("what was written can be read");
    let read = match read {
        Reply::Done(value) => Ok(value),
        Reply::Failed(error) => Err(error),
        Reply::Other(value) => panic!("{value:?} is no answer any more"),
    };
    assert_eq!(encode_reply(&read), written);
}

fn value_of(reply: &Reply) -> Value {
    match reply {
        Reply::Done(value) | Reply::Other(value) => value.clone(),
        Reply::Failed(error) => Value::Tuple(error.args.clone()),
    }
}

/// A connection that gives its bytes in pieces.
struct Pieces<'a> {
    data: &'a [u8],
    size: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let (now, later) = self.data.split_at(self.size.min(self.data.len()).min(into.len()));
        self.data = later;
        into.get_mut(..now.len()).expect("not more than there is room").copy_from_slice(now);
        self.size = self.size % 31 + 1;
        Ok(now.len())
    }
}

/// Cuts the stream twice: as the server does, and all at once.
fn frames(data: &[u8]) -> Vec<Vec<u8>> {
    assert!(data.len() <= pickle::MAX_BYTES);
    let mut stream = Pieces { data, size: data.len() % 31 + 1 };
    let mut reader = Frames::default();
    let mut found = Vec::new();
    while let Some(frame) = reader.next(&mut stream).expect("no error here") {
        found.push(frame);
    }
    let mut expected = Vec::new();
    let mut rest = data;
    while let Some(at) = rest.windows(END.len()).position(|window| window == END) {
        let (frame, from) = rest.split_at(at);
        expected.push(frame.to_vec());
        rest = from.split_at(END.len()).1;
    }
    assert_eq!(found, expected);
    found
}
