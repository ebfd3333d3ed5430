//! Finding the place by date: where in a large log the lines begin that may still count.
//!
//! A log of gigabytes is not read to its end to find the last ten minutes: the file is halved, with
//! a look at a hundred lines each time, until what is left is small. Looking and judging are apart:
//! [`Search`] says where to look next, the caller reads there and hands the lines in, so a search
//! goes in steps between which other files are read. The dates are found by core's detector, made
//! from the jails' own `datepattern` and `logtimezone`; it is called here as a library, because
//! asking the engine for each look would put its thread, and its queue of lines, in between.
//!
//! Must never skip a line that could count. A part is left out only if a later look found dates, all
//! of them older than wanted by more than [`MARGIN`]; so nothing is lost as long as no line is dated
//! more than [`MARGIN`] later than a line written after it. What has no dates, or cannot be told, is
//! read. Afterwards the part left out is looked at here and there: a recent date in it means that
//! the log is in no order at all, and all of it is read.

use sekisho_core::date::{DateDetector, DateFormat, Years};
use sekisho_core::time::{Span, Timestamp, Zone};

/// How far lines may be out of order: the hour that comes twice in autumn, and writers that buffer.
pub const MARGIN: Span = Span::from_secs(70 * 60);
/// Less than this is read rather than searched (bytes).
pub const WORTH: u64 = 1 << 20;
/// What one look reads (bytes), if dates are found in it.
pub const LOOK: usize = 16 << 10;
/// What one look reads at most.
const LOOK_MAX: usize = 1 << 20;
/// Looks at the part left out.
const SAMPLES: u64 = 32;
/// Lines with dates that are enough to judge a look, …
const DATED_MAX: usize = 100;
/// … and lines among which they are looked for.
const LINES_MAX: usize = 4000;
/// Holes in a row that are stepped over.
const HOLES_MAX: u8 = 16;
/// Bytes of a line in which a date is looked for.
const LINE_MAX: usize = 16 << 10;

/// Tells the dates of a log's lines, as the jails that read it would.
#[derive(Clone, Debug)]
pub struct Dates {
    detectors: Vec<DateDetector>,
    now: Timestamp,
}

impl Dates {
    /// For these formats; one that cannot be used (the engine has refused it) is left out.
    pub fn new(formats: &[DateFormat], zone: &Zone, now: Timestamp) -> Self {
        let made = formats.iter().filter_map(|f| f.detector(Years::Server, zone, now).ok());
        Self { detectors: made.collect(), now }
    }

    /// The same at another time.
    pub fn at(mut self, now: Timestamp) -> Self {
        self.now = now;
        self
    }

    /// The dates of one line.
    fn of(&mut self, line: &str) -> impl Iterator<Item = Option<Timestamp>> {
        let line = line.get(..line.floor_char_boundary(LINE_MAX)).unwrap_or(line);
        let now = self.now;
        self.detectors.iter_mut().filter_map(move |detector| {
            let hit = detector.find(line, now)?;
            if hit.empty {
                // The pattern allows lines without a date: they count as now.
                return Some(None);
            }
            detector.time(&hit, now).ok().flatten().map(Some)
        })
    }
}

/// Where to look, for the caller to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// From the first line that begins at or behind this offset …
    pub at: u64,
    /// … this many bytes, …
    pub length: usize,
    /// … but none at or behind this offset.
    pub end: u64,
}

/// What a look found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Complete lines and where they begin, in order.
    pub lines: Vec<(u64, String)>,
    /// There is a hole without lines up to here.
    pub hole_to: Option<u64>,
}

/// What the lines of a look say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judged {
    /// At least one may count.
    Recent,
    /// All dates are too old; the last line with a date begins here.
    Old(u64),
    /// No dates.
    Dateless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Halving { length: usize },
    Sampling(u64),
    Done { ordered: bool },
}

/// A search under way.
#[derive(Clone, Debug)]
pub struct Search {
    dates: Dates,
    since: Timestamp,
    floor: u64,
    /// What is before may be left out. Always the start of a line.
    low: u64,
    /// What is from here on has to be read.
    high: u64,
    /// Where the next look is.
    middle: u64,
    holes: u8,
    stage: Stage,
}

impl Search {
    /// Looks for lines not older than `since` in `floor..size`; `floor` is the start of a line.
    pub fn new(dates: Dates, since: Timestamp, floor: u64, size: u64) -> Self {
        let since = since.minus(MARGIN);
        let stage = if dates.detectors.is_empty() {
            Stage::Done { ordered: true }
        } else {
            Stage::Halving { length: LOOK }
        };
        // The first look is at the beginning: the detectors learn there, as those of the jails would,
        // and a log that is recent from its first line on needs no search.
        Self { dates, since, floor, low: floor, high: size, middle: floor, holes: 0, stage }
    }

    /// Where to look next; `None` when the search is over.
    pub fn next(&self) -> Option<Look> {
        match self.stage {
            Stage::Halving { length } => Some(Look { at: self.middle, length, end: self.high }),
            Stage::Sampling(number) => {
                let part = (self.low - self.floor) / (SAMPLES + 1);
                let at = self.floor + part.saturating_mul(number);
                Some(Look { at, length: LOOK, end: self.low })
            }
            Stage::Done { .. } => None,
        }
    }

    /// Where reading begins, so far, and whether the log is in order, as far as that was seen.
    pub fn found(&self) -> (u64, bool) {
        match self.stage {
            Stage::Done { ordered: false } => (self.floor, false),
            _ => (self.low, true),
        }
    }

    /// Takes in what was found at [`Search::next`].
    pub fn seen(&mut self, seen: &Seen) {
        match self.stage {
            Stage::Halving { length } => self.halve(seen, length),
            Stage::Sampling(number) => self.sample(seen, number),
            Stage::Done { .. } => {}
        }
    }

    fn halve(&mut self, seen: &Seen, length: usize) {
        let first = seen.lines.first().map(|(at, _)| *at).filter(|at| *at < self.high);
        match (self.judge(&seen.lines), seen.hole_to) {
            (Judged::Old(at), _) => self.low = self.low.max(at),
            (Judged::Recent, _) => self.high = first.unwrap_or(self.middle),
            // Nothing but a hole: what is behind it decides.
            (Judged::Dateless, Some(to))
                if to > self.middle && to < self.high && self.holes < HOLES_MAX =>
            {
                self.holes += 1;
                self.middle = to;
                return;
            }
            // Between here and `high` are no dates: dates behind it were judged already.
            (Judged::Dateless, Some(_)) => self.high = self.middle,
            (Judged::Dateless, None) if length < LOOK_MAX => {
                self.stage = Stage::Halving { length: (length * 8).min(LOOK_MAX) };
                return;
            }
            (Judged::Dateless, None) => self.high = self.middle,
        }
        self.narrow();
    }

    /// Chooses the next place, if there is still enough to halve.
    fn narrow(&mut self) {
        self.holes = 0;
        if self.high.saturating_sub(self.low) > WORTH / 4 {
            self.middle = self.low + (self.high - self.low) / 2;
            self.stage = Stage::Halving { length: LOOK };
        } else if self.low > self.floor {
            self.stage = Stage::Sampling(1);
        } else {
            self.stage = Stage::Done { ordered: true };
        }
    }

    fn sample(&mut self, seen: &Seen, number: u64) {
        // A date without a year may mean last year's day: only dates up to now are evidence.
        let evidence = self.since..self.dates.now.plus(MARGIN);
        let disorder =
            seen.lines.iter().take(DATED_MAX).any(|(_, line)| {
                self.dates.of(line).flatten().any(|time| evidence.contains(&time))
            });
        self.stage = match number {
            _ if disorder => Stage::Done { ordered: false },
            SAMPLES => Stage::Done { ordered: true },
            _ => Stage::Sampling(number + 1),
        };
    }

    fn judge(&mut self, lines: &[(u64, String)]) -> Judged {
        let (mut judged, mut dated) = (Judged::Dateless, 0);
        for (at, line) in lines.iter().take(LINES_MAX) {
            for time in self.dates.of(line) {
                match time {
                    Some(time) if time < self.since => judged = Judged::Old(*at),
                    _ => return Judged::Recent,
                }
                dated += 1;
            }
            if dated >= DATED_MAX {
                break;
            }
        }
        judged
    }
}
