//! The edge: sources, actions, store, control socket, and the programs.
//!
//! Everything that touches the machine lives here; every decision lives in `sekisho-core`.

pub mod action;
pub mod check;
pub mod cli;
pub mod client;
pub mod clock;
pub mod control;
pub mod daemon;
pub mod embedded;
pub mod files;
pub mod handover;
pub mod interpreter;
pub mod log;
pub mod origins;
pub mod paths;
pub mod process;
pub mod programs;
pub mod regex_tool;
pub mod resolve;
pub mod run;
pub mod source;
pub mod store;
pub mod takeover;
pub mod tree;

use std::sync::Arc;

use sekisho_core::effect::Record;

/// Where a worker writes its log records; never blocks for long.
pub type LogFn = Arc<dyn Fn(Record) + Send + Sync>;

/// Runs the program that was called, by the name it was called by; `own` is the name it was built
/// under.
pub fn run_as(own: &str) -> std::process::ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_else(|| own.into()).to_string_lossy().into_owned();
    if programs::base(own, &name) == "fail2ban-python" {
        // Its arguments may be any bytes, and mean nothing to us.
        return interpreter::main(&args.collect::<Vec<_>>()).into();
    }
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    let parts = programs::Parts { daemon: daemon::run, run: run::main, regex: regex_tool::main };
    programs::main(own, &name, &args, parts).into()
}
