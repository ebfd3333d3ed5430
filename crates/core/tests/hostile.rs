//! Whatever a client sends, the engine answers exactly once and goes on.

// A test may stop at anything unexpected.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use sekisho_core::command::Words;
use sekisho_core::effect::*;
use sekisho_core::engine::{Config, Engine};
use sekisho_core::time::{Monotonic, Now, Timestamp};
use sekisho_core::value::Value;

const WORDS: &[&str] = &[
    "set",
    "get",
    "multi-set",
    "add",
    "start",
    "stop",
    "status",
    "reload",
    "server-stream",
    "config-error",
    "unban",
    "banned",
    "stats",
    "echo",
    "j",
    "k",
    "--all",
    "--unban",
    "--restart",
    "--if-exists",
    "--report-absent",
    "--with-time",
    "bantime",
    "bantime.formula",
    "bantime.increment",
    "bantime.multipliers",
    "bantime.rndtime",
    "findtime",
    "maxretry",
    "maxmatches",
    "maxlines",
    "addfailregex",
    "delfailregex",
    "addignoreregex",
    "prefregex",
    "datepattern",
    "logtimezone",
    "logencoding",
    "usedns",
    "ignoreself",
    "addignoreip",
    "delignoreip",
    "ignorecommand",
    "ignorecache",
    "addlogpath",
    "dellogpath",
    "addjournalmatch",
    "deljournalmatch",
    "idle",
    "on",
    "off",
    "attempt",
    "banip",
    "unbanip",
    "addaction",
    "delaction",
    "action",
    "a",
    "actionban",
    "actionunban",
    "actionflush",
    "timeout",
    "allowipv6",
    "loglevel",
    "dbfile",
    "sleep",
    "-1",
    "0",
    "99999999999999999999",
    "1e400",
    "((((((((",
    "1<<999999999",
    "10m",
    "<HOST>",
    "(",
    "192.0.2.1",
    "192.0.2.0/0",
    "::/0",
    "",
    "host.example",
    "file:/x",
    "key=\"<ip>\"",
    "key=\"",
    "%Y",
    "{^LN-BEG}",
    "UTC+9999",
    "\u{0}",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        20 => prop::sample::select(WORDS).prop_map(Value::str),
        1 => any::<i64>().prop_map(Value::Int),
        1 => any::<f64>().prop_map(Value::Float),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => Just(Value::None),
        1 => ".{0,8}".prop_map(Value::Str),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Tuple),
            1 => prop::collection::vec((inner.clone(), inner), 0..3).prop_map(Value::Dict),
        ]
    })
}

fn command() -> impl Strategy<Value = Vec<Value>> {
    let free = prop::collection::vec(value(), 0..7);
    let about = |verb: &'static str| {
        prop::collection::vec(value(), 1..5).prop_map(move |rest| {
            let mut words = vec![Value::str(verb), Value::str("j")];
            words.extend(rest);
            words
        })
    };
    prop_oneof![1 => free, 4 => about("set"), 2 => about("get"), 1 => about("multi-set")]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_request_is_answered_once(commands in prop::collection::vec(command(), 1..25)) {
        let mut engine = Engine::new(Config::default());
        let mut open = std::collections::BTreeSet::new();
        let mut now = Now { wall: Timestamp::from_secs(1_700_000_000), mono: Monotonic(1) };
        let first = ["add j polling", "set j addaction a", "set j action a actionunban u", "start j"]
            .map(|line| line.split(' ').map(Value::str).collect::<Vec<_>>());
        for (n, words) in first.into_iter().chain(commands).enumerate() {
            let request = RequestId(n as u64);
            open.insert(request);
            let mut events = vec![Event::Control { request, words: Words { words, origin: None } }];
            while let Some(event) = events.pop() {
                let mut out = Vec::new();
                now.mono.0 += 10_000;
                engine.handle(now, event, &mut out);
                for effect in out {
                    match effect {
                        Effect::Reply { request, .. } => {
                            prop_assert!(open.remove(&request), "an answer too many");
                        }
                        Effect::Run(job) => events.push(Event::Outcome(job.id, Ok(()))),
                        Effect::Ask(id, Ask::Resolve(_) | Ask::OwnAddresses) => {
                            events.push(Event::Answer(id, Answer::Addresses(Err("no".into()))));
                        }
                        // Answers of the wrong kind must not hang anyone either.
                        Effect::Ask(id, _) => events.push(Event::Answer(id, Answer::Exit(Ok(1)))),
                        _ => {}
                    }
                }
            }
        }
        prop_assert!(open.is_empty(), "without an answer: {:?}", open);
    }
}
