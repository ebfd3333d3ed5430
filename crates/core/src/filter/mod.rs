//! Log lines in, failures out.
//!
//! A [`Filter`] is what a jail knows about one kind of log: the patterns, the date formats, and the
//! little state that spans lines (the last date, open connections, the window of `maxlines`). It
//! never reads a clock, resolves a name, counts or bans; a host name leaves as
//! [`FoundId::Name`] for the engine to resolve. Whatever a line contains, handling it is bounded.

mod batch;
mod connections;
mod dating;
mod evaluate;
mod identify;
mod pattern;
mod prefilter;
mod scan;
mod spec;
mod window;

use crate::command::Seconds;
use crate::date::{DateDetector, Stamp};
use crate::effect::Record;
use crate::failure::{Failure, Fields, MatchedLine};
use crate::id::Id;
use crate::time::{Timestamp, Zone};

pub use batch::{BatchStats, Reader, process_batch};
pub use pattern::Pattern;
pub use scan::{Candidate, Scanner};
pub use spec::{FilterError, FilterSpec, RegexKind, UseDns};
pub use window::WindowLine;

use connections::Connections;
use dating::Dating;

/// The part of a line that is matched; the rest of a longer line is cut (and counted).
pub const MAX_LINE: usize = 16 * 1024;

/// What a line is judged by.
#[derive(Clone, Copy, Debug)]
pub struct LineContext<'a> {
    /// The jail's name, for its warnings.
    pub jail: &'a str,
    /// The wall clock.
    pub now: Timestamp,
    /// The source's end had been reached before this line was written.
    pub live: bool,
    /// Lines are judged by the clock: old ones are skipped, odd ones are now. `None` (a test of
    /// patterns) takes every date as it is.
    pub findtime: Option<Seconds>,
    /// The time of a journal entry; dates are not looked for in its text.
    pub entry_time: Option<Timestamp>,
    /// Lines before this one that were not judged; a line without a date may borrow theirs.
    pub skipped: &'a [u8],
    /// Try all patterns, not only up to the first that matches.
    pub check_all: bool,
    /// What to report beside failures.
    pub report: Report,
}

/// What a line's caller wants to hear about beside failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Report {
    /// Nothing: the server.
    Nothing,
    /// Quiet and ignored matches, and that the prefregex matched; its groups where they were
    /// needed anyway.
    Matches,
    /// The prefregex's groups as well, always.
    Groups,
}

/// What a line leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum FilterOutput {
    /// A failure.
    Finding(Finding),
    /// A match that is no failure, or not yet one (only with `report`).
    Quiet(Finding),
    /// An ignoreregex matched: its index (only with `report`).
    Ignored(usize),
    /// The prefregex matched: its groups (only with `report`).
    Prefix(Fields),
    /// Something to be logged.
    Log(Record),
}

/// Whom a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundId {
    /// An address, a network, or any text.
    Id(Id),
    /// A host name: one failure for each of its addresses.
    Name(String),
    /// Not known yet (only in [`FilterOutput::Quiet`]).
    Unknown,
}

/// One match of a failregex.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Whom it is about.
    pub id: FoundId,
    /// The address, where it is not the id.
    pub address: Option<Id>,
    /// When it happened; the present where that is not known.
    pub time: Timestamp,
    /// How the time is known.
    pub stamp: Stamp,
    /// How many attempts it stands for.
    pub attempts: u32,
    /// The lines, oldest first.
    pub matches: Vec<MatchedLine>,
    /// Captured groups and what was derived from them.
    pub fields: Fields,
    /// Which failregex.
    pub regex: usize,
    /// Whether the pattern says that this is no failure.
    pub nofail: bool,
}

impl Finding {
    /// The failure to count, for one id (a name's findings are made for each of its addresses).
    pub fn into_failure(self, id: Id) -> Failure {
        let Finding { address, time, stamp, attempts, matches, fields, .. } = self;
        let whole = stamp.is_whole();
        Failure { id, address, time, whole, attempts, matches, fields: fields.known() }
    }
}

/// A compiled filter with its state.
#[derive(Clone, Debug)]
pub struct Filter {
    spec: FilterSpec,
    prefix: Option<Pattern>,
    fail: Vec<Pattern>,
    ignore: Vec<Pattern>,
    dating: Dating,
    connections: Connections,
    window: Vec<WindowLine>,
    /// The searched text, kept for its allocation.
    buffer: String,
    /// Lines the date detector has learned from.
    lines_learned: u32,
}

impl Filter {
    /// Compiles a specification; `zone` is local time, `now` decides which years are plausible.
    pub fn compile(spec: &FilterSpec, zone: &Zone, now: Timestamp) -> Result<Filter, FilterError> {
        let (prefix, fail, ignore) = spec.compile_patterns()?;
        Ok(Filter {
            spec: spec.clone(),
            prefix,
            fail,
            ignore,
            dating: Dating::new(spec.detector(zone, now)?, zone.clone()),
            connections: Connections::default(),
            window: Vec::new(),
            buffer: String::new(),
            lines_learned: 0,
        })
    }

    /// Takes on another specification; what is known of dates and connections stays where it can.
    /// On an error nothing has changed.
    pub fn respec(&mut self, spec: &FilterSpec, now: Timestamp) -> Result<(), FilterError> {
        let old = &self.spec;
        let detector =
            if old.same_dates(spec) { None } else { Some(spec.detector(self.dating.zone(), now)?) };
        if !old.same_patterns(spec) {
            let (prefix, fail, ignore) = spec.compile_patterns()?;
            (self.prefix, self.fail, self.ignore) = (prefix, fail, ignore);
        }
        if let Some(detector) = detector {
            self.dating.detector = detector;
            self.lines_learned = 0;
        }
        let keep = self.window.len().saturating_sub(spec.maxlines);
        self.window.drain(..keep);
        self.spec = spec.clone();
        Ok(())
    }

    /// What it was made of.
    pub fn spec(&self) -> &FilterSpec {
        &self.spec
    }
    /// The prefregex.
    pub fn prefregex(&self) -> Option<&Pattern> {
        self.prefix.as_ref()
    }
    /// The failregexes, in order.
    pub fn failregex(&self) -> &[Pattern] {
        &self.fail
    }
    /// The ignoreregexes, in order.
    pub fn ignoreregex(&self) -> &[Pattern] {
        &self.ignore
    }
    /// The date formats and their statistics.
    pub fn dates(&self) -> &DateDetector {
        &self.dating.detector
    }
    /// The last date seen, which lines without one borrow.
    pub fn last_date(&self) -> Option<Timestamp> {
        self.dating.last()
    }
    /// The lines that a pattern over several lines may still match.
    pub fn window(&self) -> &[WindowLine] {
        &self.window
    }

    /// Shows the date detector a line, so that it learns the formats of this log.
    fn learn_date(&mut self, ctx: &LineContext<'_>, line: &str) {
        self.dating.detector.find(clip(line), ctx.now);
    }

    /// Takes note of the last date in the lines that were skipped.
    fn look_back(&mut self, ctx: &LineContext<'_>) {
        self.dating.look_back(ctx);
    }

    /// Judges one line (without its line end); what it leads to is appended to `out`.
    pub fn line(&mut self, ctx: &LineContext<'_>, line: &str, out: &mut Vec<FilterOutput>) {
        let line = clip(line);
        if let Some(dated) = self.dating.date(ctx, line, out) {
            self.evaluate(ctx, &dated, out);
        }
    }
}

/// The part of a line that is matched.
pub(crate) fn clip(line: &str) -> &str {
    if line.len() <= MAX_LINE {
        return line;
    }
    line.get(..line.floor_char_boundary(MAX_LINE)).unwrap_or("")
}
