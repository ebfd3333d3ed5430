//! The configuration reader: whole trees of files.
//!
//! Input: options, then files, each its path below the folder, a newline and its text. What is loaded
//! must be the same a second time, show itself, and be taken by a server command by command: a jail
//! that the test of a configuration passes must start.

use std::cell::RefCell;

use sekisho::embedded;
use sekisho_config::dump;
use sekisho_config::files::{Files, MapFiles};
use sekisho_config::load::{LoadOptions, Loaded, Mode, load};
use sekisho_core::command::Words;
use sekisho_core::value::Value;

use crate::world::World;

const BASE: &str = "/etc/fail2ban";
const MAX_FILES: usize = 40;

/// Takes any bytes.
pub fn run(data: &[u8]) {
    let (options, texts) = crate::texts(data);
    let mut files = MapFiles::default();
    let flag = |bit: u8| options >> bit & 1 != 0;
    if flag(0) {
        files = MapFiles::new(BASE, embedded::FILES.iter().copied());
    }
    for text in texts.take(MAX_FILES) {
        let (path, content) = text.split_once('\n').unwrap_or((&text, ""));
        files.insert(&sekisho_config::files::join(BASE, path), content.as_bytes());
    }
    let below = MapFiles::new("(built-in)", embedded::FILES.iter().copied());
    let fallback: Option<(&dyn Files, &str)> = flag(1).then_some((&below, "(built-in)"));
    let auto = |_: &_| flag(2);
    let dry = RefCell::new(World::new());
    let check = |_: &str, words: &Words| dry.borrow_mut().ask(words.clone()).map(drop);
    let options = LoadOptions {
        mode: if flag(3) { Mode::Dump } else { Mode::Start },
        force_enable: flag(4),
        only_jail: flag(5).then_some("sshd"),
        auto: Some(&auto),
        fallback,
        check: Some(&check),
        ..LoadOptions::default()
    };
    let first = load(&files, BASE, &options);
    *dry.borrow_mut() = World::new();
    let second = load(&files, BASE, &options);
    match (first, second) {
        (Ok(first), Ok(second)) => {
            assert_eq!(first.stream, second.stream);
            assert_eq!(first.broken, second.broken);
            assert_eq!(dump::dump(&first.stream).lines().count(), first.stream.len());
            let _ = dump::pretty(&first.stream);
            start(first);
        }
        (Err(first), Err(second)) => {
            assert!(!first.errors.is_empty());
            assert_eq!(first.to_string(), second.to_string());
        }
        (first, second) => panic!("{first:?}, then {second:?}"),
    }
}

/// A server takes all commands of the jails that are not broken.
fn start(loaded: Loaded) {
    let mut world = World::new();
    let jails: Vec<&str> = loaded.jails.iter().map(|jail| jail.name.as_str()).collect();
    for words in &loaded.stream {
        let jail = words.words.get(1).and_then(Value::as_str).unwrap_or_default();
        let result = world.ask(words.clone());
        assert!(result.is_ok() || !jails.contains(&jail), "{}: {result:?}", words.repr());
    }
    let stream = loaded.stream.into_iter().map(|words| Value::List(words.words)).collect();
    world.send(vec![Value::str("server-stream"), Value::List(stream)]);
    world.settle();
    world.stop();
}
