//! Time as the core knows it: integer microseconds, handed in by the edge.
//!
//! Two clocks are kept apart on purpose: the wall clock dates log lines and bans (it may step), the
//! monotonic clock measures limits and latency. Nothing here reads either.

use std::fmt;

/// A wall-clock instant: microseconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// A signed length of time in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub i64);

/// An instant of the monotonic clock: microseconds since an arbitrary start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub u64);

/// Both clocks, read together by the edge once per event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The wall clock.
    pub wall: Timestamp,
    /// The monotonic clock.
    pub mono: Monotonic,
}

const MICROS: i64 = 1_000_000;

impl Timestamp {
    /// From whole seconds; saturates.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(MICROS))
    }
    /// From seconds with a fraction; saturates, NaN becomes 0.
    pub fn from_secs_f64(secs: f64) -> Self {
        Self((secs * MICROS as f64).round() as i64)
    }
    /// Whole seconds, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(MICROS)
    }
    /// Seconds with their fraction.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / MICROS as f64
    }
    /// The instant `span` later (earlier when negative); saturates.
    pub const fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
    /// The instant `span` earlier; saturates.
    pub const fn minus(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
    /// `self − earlier`; saturates.
    pub const fn since(self, earlier: Timestamp) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// From whole seconds; saturates.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(MICROS))
    }
    /// From seconds with a fraction; saturates, NaN becomes 0.
    pub fn from_secs_f64(secs: f64) -> Self {
        Self((secs * MICROS as f64).round() as i64)
    }
    /// From milliseconds; saturates.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms.saturating_mul(1000))
    }
    /// Whole seconds, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(MICROS)
    }
    /// Seconds with their fraction.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / MICROS as f64
    }
}

impl Monotonic {
    /// The instant `span` later; a negative span counts as zero.
    pub fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.0).unwrap_or(0)))
    }
    /// `self − earlier`, zero when `earlier` is later.
    pub fn since(self, earlier: Monotonic) -> Span {
        Span(i64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(i64::MAX))
    }
}

/// The rules that turn local time into UTC; a value that the edge reads and hands in.
#[derive(Clone, Debug)]
pub struct Zone(pub jiff::tz::TimeZone);

impl Zone {
    /// UTC.
    pub fn utc() -> Self {
        Self(jiff::tz::TimeZone::UTC)
    }

    /// `2026-11-23T02:17:00+00:00`, with a fraction where there is one; `None` beyond the year 9999.
    pub fn rfc3339(&self, at: Timestamp) -> Option<String> {
        let at = jiff::Timestamp::from_microsecond(at.0).ok()?;
        Some(at.display_with_offset(self.0.to_offset(at)).to_string())
    }

    /// Local time as Python's `isoformat` writes it: `2026-11-23T02:17:00.000001+00:00`.
    pub fn iso(&self, at: Timestamp) -> String {
        let text = self.format(at).replacen(' ', "T", 1);
        let fraction = match at.0.rem_euclid(1_000_000) {
            0 => String::new(),
            micros => format!(".{micros:06}"),
        };
        let offset =
            jiff::Timestamp::from_microsecond(at.0).map_or(0, |at| self.0.to_offset(at).seconds());
        let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs() / 60);
        format!("{text}{fraction}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }

    /// The local civil time as fail2ban prints it: `2026-11-23 02:17:00`.
    pub fn format(&self, at: Timestamp) -> String {
        // Python's dates end with the year 9999, and fail2ban shows anything later as their end.
        const END: Timestamp = Timestamp::from_secs(253_402_214_400);
        if at >= END {
            return "9999-12-31 23:59:59".into();
        }
        let Ok(ts) = jiff::Timestamp::from_microsecond(at.0) else {
            return at.as_secs().to_string();
        };
        let dt = self.0.to_datetime(ts);
        format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
            dt.year(),
            dt.month(),
            dt.day(),
            dt.hour(),
            dt.minute(),
            dt.second()
        )
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.as_secs_f64())
    }
}
