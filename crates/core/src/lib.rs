//! The pure part of sekisho: log lines become failures, failures become decisions.
//!
//! No clock, no files, no network, no processes, no threads, no locks, no randomness: `now`, the
//! zone and every answer from outside are arguments. So a day of logs replays in milliseconds, and
//! a seeded simulator can step time, fail actions and restart in the middle.

pub mod action;
pub mod banmanager;
pub mod bantime;
pub mod command;
pub mod date;
pub mod duration;
pub mod effect;
pub mod engine;
pub mod expr;
pub mod failmanager;
pub mod failure;
pub mod filter;
pub mod id;
pub mod ignore;
pub mod regex;
pub mod spec;
pub mod ticket;
pub mod time;
pub mod value;
