//! The edge: sources, actions, store, control socket, and the programs.
//!
//! Everything that touches the machine lives here; every decision lives in `sekisho-core`.

pub mod action;
pub mod cli;
pub mod clock;
pub mod control;
pub mod embedded;
pub mod log;
pub mod process;
pub mod resolve;
pub mod source;
pub mod store;

use std::sync::Arc;

use sekisho_core::effect::Record;

/// Where a worker writes its log records; never blocks for long.
pub type LogFn = Arc<dyn Fn(Record) + Send + Sync>;
