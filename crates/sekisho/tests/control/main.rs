//! The control socket, its encoding, its texts and its client, against ourselves and against an
//! installed fail2ban.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod client;
mod oracle;
mod pickle;
mod socket;
mod text;
