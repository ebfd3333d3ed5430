//! Dates of log lines: where in the line the date stands, which template it follows, which instant
//! it means.
//!
//! Users write date patterns in a language of their own (`%Y-%m-%d`, `{^LN-BEG}`, `EPOCH`), and
//! without a pattern 31 built-in templates compete per jail, with an order that is learned from the
//! lines. Both the language and the learning are visible to users, so they follow fail2ban exactly.
//!
//! The way of a line: [`DateDetector::find`] chooses a template and yields a [`DateHit`];
//! [`DateDetector::time`] turns it into an instant. Nothing here reads a clock or a zone database:
//! `now` is an argument and the zone is a value. A line is hostile: whatever it holds, it can only
//! fail to be a date.

mod civil;
mod detector;
mod digits;
mod error;
mod facts;
mod fast;
mod fields;
mod pattern;
mod spec;
pub mod table;
mod template;
mod zone;

pub use detector::{DateDetector, DateHit, Stamp, TemplateStats};
pub use error::DateError;
pub use facts::Facts;
pub use spec::{DateFormat, DateOptions, DateSpec, Years};
pub use template::Template;
pub use zone::{LineZone, LogZone};
