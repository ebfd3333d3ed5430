//! A ban, or a candidate for one.

use crate::failure::{Fields, MatchedLine};
use crate::id::Id;
use crate::time::{Span, Timestamp};

/// How long a ban lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BanTime {
    /// This long, counted from the ticket's time.
    For(Span),
    /// For ever (`bantime = -1`).
    Permanent,
}

impl BanTime {
    /// The end of a ban that began at `start`; `None` if it never ends.
    pub fn end(self, start: Timestamp) -> Option<Timestamp> {
        match self {
            BanTime::For(span) => Some(start.plus(span)),
            BanTime::Permanent => None,
        }
    }
    /// Whole seconds as database and `<bantime>` write it: −1 is permanent.
    pub fn as_secs(self) -> i64 {
        match self {
            BanTime::For(span) => span.as_secs(),
            BanTime::Permanent => -1,
        }
    }
    /// From seconds; any negative number is permanent.
    pub fn from_secs(secs: i64) -> Self {
        if secs < 0 { BanTime::Permanent } else { BanTime::For(Span::from_secs(secs)) }
    }
}

/// Everything an action or the database needs to know of one ban; immutable once handed out.
#[derive(Clone, Debug, PartialEq)]
pub struct Ticket {
    /// What is banned.
    pub id: Id,
    /// The address, where it is not the id.
    pub address: Option<Id>,
    /// Time of the last failure: the ban's start.
    pub time: Timestamp,
    /// How long it lasts.
    pub ban_time: BanTime,
    /// How many times this id has been banned, this time included.
    pub ban_count: u32,
    /// Number of failures that led here (0 for a manual ban).
    pub failures: u32,
    /// The last matched lines, at most `maxmatches`.
    pub matches: Vec<MatchedLine>,
    /// Captured groups of the last failure.
    pub fields: Fields,
    /// Whether it was restored from the database.
    pub restored: bool,
}
