//! Which time a line gets, and what remains of it when its date is cut out.
//!
//! A live line is "now" unless its own date is close to that; a line read while catching up keeps
//! its date, and is dropped when that is older than `findtime`. A line without a date borrows the
//! last one seen. Odd dates are reported once a day, never silently corrected.

use std::borrow::Cow;

use crate::bantime::span;
use crate::command::Seconds;
use crate::date::{DateDetector, Stamp};
use crate::duration;
use crate::effect::{Level, Record};
use crate::expr::Number;
use crate::failure::MatchedLine;
use crate::time::{Span, Timestamp, Zone};
use crate::value::repr_str;

use super::{FilterOutput, LineContext, clip};

/// How long the last date is borrowed by lines without one.
const BORROW: Span = Span::from_secs(60);
/// How far a live line's date may be from now.
const TOLERANCE_SECS: i64 = 60;
/// Dates up to this far behind look like a slow log, not like a wrong time zone.
const LATENCY_SECS: i64 = -3300;
/// Each kind of warning is written once in this time.
const WARN_EVERY: Span = Span::from_secs(24 * 60 * 60);
/// How far back skipped lines are searched for a date to borrow.
const LOOK_BACK_LINES: usize = 64;
const LOOK_BACK_BYTES: usize = 16 * 1024;
/// The text of a borrowed date is kept up to this length.
const MAX_DATE_TEXT: usize = 256;

/// A line cut at its date.
#[derive(Clone, Debug)]
pub(super) struct Cut<'a> {
    pub before: &'a str,
    pub date: Cow<'a, str>,
    pub after: &'a str,
}

impl Cut<'_> {
    /// The line as the database and `<matches>` know it.
    pub fn matched(&self) -> MatchedLine {
        MatchedLine::Cut([self.before.into(), self.date.to_string(), self.after.into()])
    }
}

/// A line with its time.
pub(super) struct Dated<'a> {
    pub cut: Cut<'a>,
    /// `None`: nothing could be assumed.
    pub time: Option<Timestamp>,
    /// How it is known.
    pub stamp: Stamp,
    /// The line itself has no date.
    pub assumed: bool,
}

/// Kinds of warnings that are written once a day each.
#[derive(Clone, Copy, Debug)]
pub(super) enum Warning {
    NoDate = 0,
    OddTime = 1,
    TooOld = 2,
    TooManySteps = 3,
}

/// The dates of one filter.
#[derive(Clone, Debug)]
pub(super) struct Dating {
    pub detector: DateDetector,
    /// Local time, for the dates of journal entries.
    zone: Zone,
    last: Option<Timestamp>,
    last_text: String,
    last_stamp: Stamp,
    warn_again: [Option<Timestamp>; 4],
    /// A line of this batch was young enough to count, though the end is not reached.
    seen_young: bool,
}

impl Dating {
    pub fn new(detector: DateDetector, zone: Zone) -> Self {
        Self {
            detector,
            zone,
            last: None,
            last_text: String::new(),
            last_stamp: Stamp::default(),
            warn_again: [None; 4],
            seen_young: false,
        }
    }

    /// Cuts the date out of a line and decides its time; `None` if the line is done with.
    pub fn date<'a>(
        &mut self,
        ctx: &LineContext<'_>,
        line: &'a str,
        out: &mut Vec<FilterOutput>,
    ) -> Option<Dated<'a>> {
        let mut dated = match ctx.entry_time {
            Some(time) => self.journal_entry(time, line),
            None => self.detect(ctx, line, out)?,
        };
        if let (Some(time), Some(findtime)) = (dated.time, ctx.findtime) {
            let judged = self.plausible(ctx, time, findtime, line, out)?;
            if judged != time {
                (dated.time, dated.stamp) = (Some(judged), Stamp::Local);
            }
        }
        Some(dated)
    }

    /// Local time.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The last date, for the caller that skips lines and must still know it.
    pub fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// Takes note of the date of a line that is otherwise skipped; tells whether it had one.
    fn note(&mut self, ctx: &LineContext<'_>, line: &str) -> bool {
        if let Some(hit) = self.detector.find(line, ctx.now)
            && let Some(text) = line.get(hit.span.clone())
            && !hit.empty
            && let Ok(Some(time)) = self.detector.time(&hit, ctx.now)
        {
            self.remember(time, text, self.detector.stamp(&hit));
            if ctx.findtime.is_some() && too_far(ctx, time).is_some() {
                self.lend_now(ctx);
            }
            return true;
        }
        false
    }

    fn journal_entry<'a>(&mut self, time: Timestamp, line: &'a str) -> Dated<'a> {
        let text = self.zone.iso(time);
        self.remember(time, &text, Stamp::Local);
        let cut = Cut { before: "", date: Cow::Owned(text + " "), after: line };
        Dated { cut, time: Some(time), stamp: Stamp::Local, assumed: false }
    }

    fn detect<'a>(
        &mut self,
        ctx: &LineContext<'_>,
        line: &'a str,
        out: &mut Vec<FilterOutput>,
    ) -> Option<Dated<'a>> {
        let whole = |date: Cow<'a, str>| Cut { before: "", date, after: line };
        let hit = self.detector.find(line, ctx.now);
        if hit.as_ref().is_none_or(|hit| hit.empty) {
            self.look_back(ctx);
        }
        let recent = self.last.filter(|last| *last > ctx.now.minus(BORROW));
        let Some(hit) = hit else {
            return Some(self.dateless(ctx, recent, whole));
        };
        let (Some(before), Some(text), Some(after)) =
            (line.get(..hit.span.start), line.get(hit.span.clone()), line.get(hit.span.end..))
        else {
            return Some(self.dateless(ctx, recent, whole));
        };
        if hit.empty {
            // The pattern says that there is no date.
            return Some(match recent {
                Some(last) => Dated {
                    cut: whole(Cow::Owned(self.last_text.clone())),
                    time: Some(last),
                    stamp: self.last_stamp,
                    assumed: false,
                },
                None => Dated {
                    cut: Cut { before, date: Cow::Borrowed(""), after },
                    time: Some(ctx.now),
                    stamp: Stamp::Local,
                    assumed: false,
                },
            });
        }
        match self.detector.time(&hit, ctx.now) {
            Ok(Some(time)) => {
                let stamp = self.detector.stamp(&hit);
                self.remember(time, text, stamp);
                let cut = Cut { before, date: Cow::Borrowed(text), after };
                Some(Dated { cut, time: Some(time), stamp, assumed: false })
            }
            Ok(None) => {
                out.push(error(format!("findFailure failed to parse timeText: {text}")));
                let mut dated = self.dateless(ctx, recent, whole);
                if dated.cut.date.is_empty() {
                    dated.cut = Cut { before, date: Cow::Borrowed(text), after };
                }
                Some(dated)
            }
            Err(reason) => {
                out.push(error(format!(
                    "Failed to process line: {}, caught exception: {reason}",
                    repr_str(line)
                )));
                None
            }
        }
    }

    fn dateless<'a>(
        &self,
        ctx: &LineContext<'_>,
        recent: Option<Timestamp>,
        whole: impl Fn(Cow<'a, str>) -> Cut<'a>,
    ) -> Dated<'a> {
        match recent {
            Some(last) => Dated {
                cut: whole(Cow::Owned(self.last_text.clone())),
                time: Some(last),
                stamp: self.last_stamp,
                assumed: true,
            },
            None if ctx.live && ctx.findtime.is_some() => Dated {
                cut: whole(Cow::Borrowed("")),
                time: Some(ctx.now),
                stamp: Stamp::Local,
                assumed: true,
            },
            None => Dated {
                cut: whole(Cow::Borrowed("")),
                time: None,
                stamp: Stamp::Missing,
                assumed: true,
            },
        }
    }

    /// The lines that follow may be another log's.
    pub fn another_batch(&mut self) {
        self.seen_young = false;
    }

    /// Finds the last date among the lines that were skipped, so that skipping is not seen.
    pub fn look_back(&mut self, ctx: &LineContext<'_>) {
        let mut bytes = ctx.skipped.get(ctx.skipped.len().saturating_sub(LOOK_BACK_BYTES)..);
        for _ in 0..LOOK_BACK_LINES {
            let Some(text) = bytes.and_then(|b| b.strip_suffix(b"\n")) else { return };
            let start = memchr::memrchr(b'\n', text).map_or(0, |at| at.saturating_add(1));
            let line = String::from_utf8_lossy(text.get(start..).unwrap_or(&[]));
            if self.note(ctx, clip(&line)) {
                return;
            }
            bytes = text.get(..start);
        }
    }

    fn remember(&mut self, time: Timestamp, text: &str, stamp: Stamp) {
        self.last = Some(time);
        self.last_stamp = stamp;
        self.last_text.clear();
        self.last_text.extend(text.chars().take(MAX_DATE_TEXT));
    }

    /// A line with an odd date is now, and so is what borrows from it.
    fn lend_now(&mut self, ctx: &LineContext<'_>) {
        (self.last, self.last_stamp) = (Some(ctx.now), Stamp::Local);
    }

    /// Live lines with odd dates are now; old lines of a catch-up are dropped.
    fn plausible(
        &mut self,
        ctx: &LineContext<'_>,
        time: Timestamp,
        findtime: Seconds,
        line: &str,
        out: &mut Vec<FilterOutput>,
    ) -> Option<Timestamp> {
        let odd = "Please check a jail for a timing issue. Line with odd timestamp:";
        if ctx.live {
            let Some(delta) = too_far(ctx, time) else { return Some(time) };
            self.warn(Warning::OddTime, ctx, out, || {
                let side = if delta < 0 { "before" } else { "after" };
                let cause = if (LATENCY_SECS..0).contains(&delta) { "latency" } else { "timezone" };
                vec![
                    format!(
                        "Detected a log entry {} {side} the current time in operation mode. \
                         This looks like a {cause} problem. \
                         Treating such entries as if they just happened.",
                        duration::render(Number::Int(delta.abs()))
                    ),
                    format!("{odd} {line}"),
                ]
            });
            self.lend_now(ctx);
            return Some(ctx.now);
        }
        if time < ctx.now.minus(span(findtime)) {
            // Where reading begins some lines are always older: only one behind a newer one is odd.
            if !self.seen_young {
                return None;
            }
            self.warn(Warning::TooOld, ctx, out, || {
                vec![
                    format!(
                        "Ignoring all log entries older than {findtime}s; these are probably \
                         messages generated while fail2ban was not running."
                    ),
                    format!("{odd} {line}"),
                ]
            });
            return None;
        }
        self.seen_young = true;
        Some(time)
    }

    /// Writes warnings of one kind, once a day.
    pub fn warn(
        &mut self,
        kind: Warning,
        ctx: &LineContext<'_>,
        out: &mut Vec<FilterOutput>,
        texts: impl FnOnce() -> Vec<String>,
    ) {
        let Some(again) = self.warn_again.get_mut(kind as usize) else { return };
        if again.is_some_and(|at| ctx.now < at) {
            return;
        }
        *again = Some(ctx.now.plus(WARN_EVERY));
        for text in texts() {
            out.push(FilterOutput::Log(Record {
                level: Level::Warning,
                logger: "fail2ban.filter",
                text: format!("[{}] {text}", ctx.jail),
            }));
        }
    }
}

/// How many seconds a live line's date is from now, if that cannot be.
fn too_far(ctx: &LineContext<'_>, time: Timestamp) -> Option<i64> {
    let delta = time.since(ctx.now).0 / 1_000_000;
    (ctx.live && delta.abs() > TOLERANCE_SECS).then_some(delta)
}

fn error(text: String) -> FilterOutput {
    FilterOutput::Log(Record { level: Level::Error, logger: "fail2ban.filter", text })
}
