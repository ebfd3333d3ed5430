//! `fail2ban-regex` from outside: what it prints, and that this is what the program of fail2ban
//! prints, for three generations of it, each with its own filters and sample logs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod both;
mod expectations;
mod journal;
mod literals;
mod made;
mod own;
mod stock;
