//! To everything around it, sekisho is fail2ban: the same commands with the clients of both, the same
//! Python values on the socket, the same log lines, the same answers to the tools that read them.
//! Every comparison runs both servers side by side, each with a copy of one configuration tree in a
//! folder of its own and actions that only write to a file.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic, clippy::expect_used)]
#![allow(clippy::indexing_slicing, reason = "a test may panic")]

mod activation;
mod client;
mod clients;
mod csocket;
mod cymru;
mod database;
mod ends;
mod log;
mod normal;
mod peers;
mod script;
mod site;
mod targets;
mod times;
