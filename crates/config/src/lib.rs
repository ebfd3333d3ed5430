//! fail2ban's configuration dialect, compiled to commands.
//!
//! This crate reads `.conf` and `.local` files through a `Files` trait and produces the command
//! stream that a start sends and `-d` prints. It decides nothing about jails at run time and never
//! talks to a server; every error names file, line and what to do.
