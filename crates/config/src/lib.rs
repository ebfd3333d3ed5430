//! fail2ban's configuration dialect, compiled to commands.
//!
//! This crate reads `.conf` and `.local` files through a `Files` trait and produces the command
//! stream that a start sends and `-d` prints. It decides nothing about jails at run time and never
//! talks to a server; every error names file, line and what to do.

pub mod definition;
pub mod dump;
pub mod emit;
pub mod error;
pub mod files;
pub mod ini;
pub mod interpolate;
pub mod jail;
pub mod library;
pub mod load;
pub mod logs;
pub mod notice;
pub mod params;
pub mod reader;
pub mod resolve;
pub mod server;
pub mod shlex;
pub mod tags;
pub mod text;
pub mod values;
