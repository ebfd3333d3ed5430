//! What random inputs are thrown at: one module per target, each with one function that takes any
//! bytes and panics if something is wrong with us, never because of the bytes.
//!
//! The functions are ordinary ones, so that libFuzzer (`programs/`, run by `fuzz/run`) and the replay
//! of everything that once failed (`tests/replay.rs`, part of every test run) call the same code.
//! They read no clock and keep nothing from one input to the next: the same bytes do the same.
//! Beside "no panic, no hang, bounded memory" each compares two ways to the same answer where there
//! are two.
// A target stops at anything unexpected; that is what it is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod config;
pub mod date;
pub mod lines;
pub mod pickle;
pub mod regex;
pub mod seeds;
mod world;

/// A target: its name, and the function that takes the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 5] = [
    ("config", config::run),
    ("date", date::run),
    ("lines", lines::run),
    ("pickle", pickle::run),
    ("regex", regex::run),
];

/// Separates the parts of an input. It is in no UTF-8 text.
pub const SEPARATOR: u8 = 0xff;

/// The present of all targets: 2026-11-23 02:25:00 UTC, when the sample lines were written.
pub const NOW: i64 = 1_795_400_700;

/// The first byte, for options, and the rest as texts.
fn texts(data: &[u8]) -> (u8, impl Iterator<Item = std::borrow::Cow<'_, str>>) {
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    (*first, rest.split(|b| *b == SEPARATOR).map(String::from_utf8_lossy))
}
