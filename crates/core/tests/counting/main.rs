//! Counting and banning against fail2ban's own classes, and what both calculate with.

// A test may stop at anything unexpected.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod expressions;
