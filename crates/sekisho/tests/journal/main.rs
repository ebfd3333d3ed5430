//! The journal end to end: a real journald, and files made by systemd-journal-remote.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
// How long something takes is what is waited for and measured here.
#![allow(clippy::disallowed_methods)]

mod crash;
mod entries;
mod follow;
mod journald;
mod places;
mod server;

use std::time::Duration;

/// A test that passes never waits so long.
const PATIENCE: Duration = Duration::from_secs(60);
