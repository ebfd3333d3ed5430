//! The edge: sources, actions, store, control socket, and the programs.
//!
//! Everything that touches the machine lives here; every decision lives in `sekisho-core`.

pub mod action;
pub mod cli;
pub mod client;
pub mod clock;
pub mod control;
pub mod embedded;
pub mod files;
pub mod log;
pub mod paths;
pub mod process;
pub mod programs;
pub mod regex_tool;
pub mod resolve;
pub mod source;
pub mod store;
pub mod tree;

use std::sync::Arc;

use sekisho_core::effect::Record;

/// Where a worker writes its log records; never blocks for long.
pub type LogFn = Arc<dyn Fn(Record) + Send + Sync>;
