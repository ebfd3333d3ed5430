//! A ban, or a candidate for one.

use crate::expr::Number;
use crate::failure::{Fields, MatchedLine};
use crate::id::Id;
use crate::time::{Span, Timestamp};
use crate::value::Value;

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
    /// Whole seconds as `<bantime>` shows them (Python's `int`): −1 is permanent.
    pub fn as_secs(self) -> i64 {
        match self {
            BanTime::For(span) => span.as_secs_f64() as i64,
            BanTime::Permanent => -1,
        }
    }
    /// Seconds with their fraction, as the database keeps them: −1 is permanent.
    pub fn as_secs_f64(self) -> f64 {
        match self {
            BanTime::For(span) => span.as_secs_f64(),
            BanTime::Permanent => -1.0,
        }
    }
    /// From seconds; any negative number is permanent.
    pub fn from_secs(secs: i64) -> Self {
        if secs < 0 { BanTime::Permanent } else { BanTime::For(Span::from_secs(secs)) }
    }
    /// From seconds with their fraction; −1 and less is permanent.
    pub fn from_secs_f64(secs: f64) -> Self {
        if secs <= -1.0 { BanTime::Permanent } else { BanTime::For(Span::from_secs_f64(secs)) }
    }
    /// From a number as configured or calculated.
    pub fn from_number(secs: Number) -> Self {
        match secs {
            Number::Int(secs) => Self::from_secs(secs),
            Number::Float(secs) => Self::from_secs_f64(secs),
        }
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
    /// Whether that is a whole number in fail2ban, as dates with a zone and stored times are: `<time>`
    /// has no fraction then.
    pub whole: bool,
    /// How long it lasts.
    pub ban_time: BanTime,
    /// How many times this id has been banned, this time included.
    pub ban_count: u32,
    /// Number of failures that led here (0 for a manual ban).
    pub failures: u32,
    /// The last matched lines, at most `maxmatches`.
    pub matches: Vec<MatchedLine>,
    /// Captured groups of the first failure.
    pub fields: Fields,
    /// Whether it was restored from the database.
    pub restored: bool,
}

impl Ticket {
    /// The begin of the ban as the number that fail2ban has.
    pub fn time_value(&self) -> Value {
        match self.whole {
            true => Value::Int(self.time.as_secs()),
            false => Value::Float(self.time.as_secs_f64()),
        }
    }

    /// The begin of the ban in whole seconds, as the database keeps it (Python's `round`): rounded
    /// down, a line that is read twice would seem to be later than the ban it led to.
    pub fn stored_secs(&self) -> i64 {
        self.time.as_secs_f64().round_ties_even() as i64
    }
}
