//! Which template dates this line: the choice among competing templates, learned line by line.
//!
//! Users see the result twice, as the date that is cut out and as the order of the list that
//! `fail2ban-regex` prints, so both follow fail2ban's rules exactly, odd ones included. Offsets that
//! take part in the rules count characters; offsets that leave this module count bytes.

use super::civil::Calendar;
use super::error::DateError;
use super::facts::Line;
use super::fields::Parsed;
use super::spec::DateSpec;
use super::template::{Found, Template};
use super::zone::LineZone;
use crate::time::{Span, Timestamp};
use std::ops::Range;

/// A date found in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DateHit {
    /// The part of the line to cut out, in bytes.
    pub span: Range<usize>,
    /// Which template it follows, as an index into [`DateSpec::templates`].
    pub template: usize,
    /// Nothing is cut out: the pattern allows a line without a date (`{NONE}`).
    pub empty: bool,
    parsed: Parsed,
}

/// How the time of a line is known. `<time>` and `fail2ban-regex` show the difference, nothing else
/// depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stamp {
    /// Not at all: no date in the line, none to borrow, and no clock to judge by.
    Missing,
    /// As local time, or as a number.
    #[default]
    Local,
    /// As civil time of a zone that the line or the configuration names: in fail2ban an integer.
    Zoned,
}

impl Stamp {
    /// Whether the time is a whole number in fail2ban.
    pub fn is_whole(self) -> bool {
        self == Stamp::Zoned
    }
}

/// How a template has fared in this jail.
#[derive(Clone, Copy, Debug)]
pub struct TemplateStats<'d> {
    /// Which template it is, as an index into [`DateSpec::templates`].
    pub index: usize,
    /// The template.
    pub template: &'d Template,
    /// Lines it has dated.
    pub hits: u64,
    /// Its weight in the competition: hits times template weight, divided by the offset.
    pub weight: f64,
}

/// A template with what this jail has learned about it.
#[derive(Clone, Debug)]
struct Slot {
    /// Index into the specification.
    id: usize,
    template: Template,
    /// Lines it has dated.
    hits: u64,
    /// Matches, whether they were used or not.
    matches: u64,
    last_used: Timestamp,
    /// Characters before its last date.
    distance: usize,
}

impl Slot {
    fn weight(&self) -> f64 {
        self.hits as f64 * self.template.weight() / self.distance.max(1) as f64
    }
}

/// The place of the last date, in characters, with the characters on both sides of its ends.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    end: usize,
    before: Option<char>,
    first: Option<char>,
    last: Option<char>,
    after: Option<char>,
}

/// A match during the search.
#[derive(Debug)]
struct Candidate {
    index: usize,
    found: Found,
    start: usize,
    end: usize,
}

/// Finds dates in the lines of one jail. The order of its templates and the place of the last date
/// are its state.
#[derive(Clone, Debug)]
pub struct DateDetector {
    spec: DateSpec,
    slots: Vec<Slot>,
    /// The slot that matched last.
    last: Option<usize>,
    place: Option<Place>,
    /// The first slot without hits.
    first_unused: usize,
    calendar: Calendar,
}

/// "Not seen yet", as a distance.
const FAR: usize = 0x7fff_ffff;

/// A template that was not used for this long gives way.
const UNUSED: Span = Span::from_secs(300);

impl DateDetector {
    /// A detector that has seen no line.
    pub fn new(spec: DateSpec, zone: LineZone) -> DateDetector {
        let slots = spec.templates().iter().enumerate();
        let slots = slots
            .map(|(id, template)| Slot {
                id,
                template: template.clone(),
                hits: 0,
                matches: 0,
                last_used: Timestamp(0),
                distance: FAR,
            })
            .collect();
        let calendar = Calendar::new(zone);
        DateDetector { spec, slots, last: None, place: None, first_unused: 0, calendar }
    }

    /// The templates it was made from.
    pub fn spec(&self) -> &DateSpec {
        &self.spec
    }

    /// Changes the zone of dates that name none.
    pub fn set_zone(&mut self, zone: LineZone) {
        self.calendar = Calendar::new(zone);
    }

    /// The templates in their present order.
    pub fn templates(&self) -> impl Iterator<Item = TemplateStats<'_>> {
        self.slots.iter().map(|slot| TemplateStats {
            index: slot.id,
            template: &slot.template,
            hits: slot.hits,
            weight: slot.weight(),
        })
    }

    /// Finds the date of a line and learns from it.
    pub fn find(&mut self, line: &str, now: Timestamp) -> Option<DateHit> {
        let line = Line::new(line);
        let mut reserve = None;
        let mut ignore = None;
        let chosen = match self.last {
            Some(last) => self.try_last(last, &line, &mut reserve, &mut ignore),
            None => None,
        };
        let chosen = chosen.or_else(|| self.try_all(&line, reserve, ignore))?;
        self.learn(line.text, &chosen, now);
        let id = self.slots.get(chosen.index)?.id;
        if chosen.index > 0 && Some(chosen.index) != self.last {
            self.last = Some(self.bubble_up(chosen.index));
        } else {
            self.last = Some(chosen.index);
        }
        let Found { date, parsed, .. } = chosen.found;
        Some(DateHit { empty: date.is_empty(), span: date, template: id, parsed })
    }

    /// The instant of a date; `None` for a date that does not exist (30 February).
    ///
    /// An error means that the line cannot be used at all.
    pub fn time(&mut self, hit: &DateHit, now: Timestamp) -> Result<Option<Timestamp>, DateError> {
        match &hit.parsed {
            Parsed::Instant(at) => Ok(Some(*at)),
            Parsed::Civil(date) => self.calendar.instant(date, now),
            Parsed::Invalid => Ok(None),
            Parsed::UnknownZone(word) => Err(DateError::UnknownZone(word.clone())),
        }
    }

    /// How the instant of a date is known.
    pub fn stamp(&self, hit: &DateHit) -> Stamp {
        let zoned = match &hit.parsed {
            Parsed::Civil(date) => date.offset.is_some() || self.calendar.has_log_zone(),
            _ => self.spec.templates().get(hit.template).is_some_and(Template::is_tai64n),
        };
        if zoned { Stamp::Zoned } else { Stamp::Local }
    }

    /// Searches with one template, in all of the line or in a part of it, and counts the match.
    fn search(
        &mut self,
        index: usize,
        line: &Line<'_>,
        part: Option<Range<usize>>,
    ) -> Option<Candidate> {
        let slot = self.slots.get_mut(index)?;
        let found = match part {
            Some(part) => slot.template.search_part(line.text, part.start, part.end)?,
            None => slot.template.search(line)?,
        };
        slot.matches += 1;
        let line = line.text;
        let start = chars_before(line, found.whole.start);
        let end = chars_before(line, found.whole.end);
        Some(Candidate { index, found, start, end })
    }

    /// Tries the template that matched last, at the same place if the surroundings look the same.
    ///
    /// A match at another place is put into `reserve`; `ignore` names the template if all of the line
    /// has been searched with it.
    fn try_last(
        &mut self,
        last: usize,
        line: &Line<'_>,
        reserve: &mut Option<Candidate>,
        ignore: &mut Option<usize>,
    ) -> Option<Candidate> {
        let anchored = self.slots.get(last)?.template.is_anchored();
        let place = self.place?;
        let part = if anchored { None } else { place.in_line(line.text) };
        if part.is_none() {
            *ignore = Some(last);
        }
        let candidate = self.search(last, line, part)?;
        let same_place = candidate.start == place.start && candidate.end == place.end;
        if self.slots.len() == 1 || anchored || same_place {
            return Some(candidate);
        }
        *reserve = Some(candidate);
        None
    }

    /// Goes through the templates in their order.
    fn try_all(
        &mut self,
        line: &Line<'_>,
        reserve: Option<Candidate>,
        ignore: Option<usize>,
    ) -> Option<Candidate> {
        let mut reserve = reserve;
        let count = self.slots.len();
        let last_start = self.place.map_or(1, |place| place.start);
        for index in 0..count {
            if Some(index) == ignore {
                continue;
            }
            let Some(candidate) = self.search(index, line, None) else { continue };
            let Some(slot) = self.slots.get(index) else { continue };
            let Some(next) = self.slots.get(index + 1) else { return Some(candidate) };
            let settled = slot.template.is_anchored()
                || (candidate.start == 0 && slot.hits > 0 && next.matches == 0)
                || (candidate.start <= slot.distance && candidate.start <= last_start);
            if settled {
                return Some(candidate);
            }
            // Further to the right than the last time: perhaps a date in the message. Keep it for the
            // case that no other template knows better.
            if reserve.as_ref().is_none_or(|kept| candidate.start < kept.start) {
                reserve = Some(candidate);
            }
        }
        reserve
    }

    /// Notes where the date was.
    fn learn(&mut self, line: &str, chosen: &Candidate, now: Timestamp) {
        if let Some(slot) = self.slots.get_mut(chosen.index) {
            slot.hits += 1;
            slot.last_used = now;
            slot.distance = chosen.start;
        }
        if self.first_unused == chosen.index {
            self.first_unused += 1;
        }
        let whole = &chosen.found.whole;
        let (head, rest) = line.split_at_checked(whole.start).unwrap_or_default();
        let (body, tail) = line.split_at_checked(whole.end).unwrap_or_default();
        self.place = Some(Place {
            start: chosen.start,
            end: chosen.end,
            before: head.chars().next_back(),
            first: rest.chars().next(),
            // An empty match at the start looks at the end of the line, as a Python index of −1 does.
            last: if chosen.end == 0 { line } else { body }.chars().next_back(),
            after: tail.chars().next(),
        });
    }

    /// Moves a template forward if it has earned it; returns its new index.
    fn bubble_up(&mut self, index: usize) -> usize {
        let Some(slot) = self.slots.get(index) else { return index };
        let weight = slot.weight();
        let stale = slot.last_used.minus(UNUSED);
        let gives_way = |at: usize| {
            self.slots
                .get(at)
                .is_some_and(|other| weight > other.weight() || stale > other.last_used)
        };
        // The first unused place if there is one before, else half the way, else one step.
        let far = if self.first_unused < index { self.first_unused } else { index / 2 };
        let Some(target) = [far, index - 1].into_iter().find(|at| gives_way(*at)) else {
            return index;
        };
        if let Some(moved) = self.slots.get_mut(target..=index) {
            moved.rotate_right(1);
        }
        while self.slots.get(self.first_unused).is_some_and(|slot| slot.hits > 0) {
            self.first_unused += 1;
        }
        target
    }
}

impl Place {
    /// The same place in another line, in bytes, if the characters around it look the same.
    ///
    /// On each side the character outside must be the same, or the character inside if it is neither
    /// letter nor digit.
    fn in_line(&self, line: &str) -> Option<Range<usize>> {
        let same_inside = |kept: Option<char>, here: Option<char>| {
            kept == here && kept.is_some_and(|c| !c.is_alphanumeric())
        };
        let outside = |index: usize| index.checked_sub(1).and_then(|at| char_at(line, at));
        let left = outside(self.start) == self.before
            || same_inside(self.first, char_at(line, self.start));
        let right =
            char_at(line, self.end) == self.after || same_inside(self.last, outside(self.end));
        (left && right).then(|| byte_of(line, self.start)..byte_of(line, self.end))
    }
}

/// The character of an index.
fn char_at(line: &str, index: usize) -> Option<char> {
    match line.as_bytes().get(..=index) {
        Some(head) if head.is_ascii() => head.last().map(|b| char::from(*b)),
        _ => line.chars().nth(index),
    }
}

/// Number of characters before a byte offset.
fn chars_before(line: &str, offset: usize) -> usize {
    let head = line.get(..offset).unwrap_or(line);
    if head.is_ascii() { head.len() } else { head.chars().count() }
}

/// The byte offset of a character; the end of the line if there are not so many.
fn byte_of(line: &str, index: usize) -> usize {
    match line.as_bytes().get(..index) {
        Some(head) if head.is_ascii() => index,
        _ => line.char_indices().nth(index).map_or(line.len(), |(at, _)| at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::date::{DateOptions, Years};
    use crate::time::Zone;
    use proptest::prelude::*;

    #[test]
    fn detectors_can_move_to_another_thread() {
        fn sendable<T: Send>() {}
        sendable::<DateDetector>();
        sendable::<DateSpec>();
    }

    fn detector(pattern: &str) -> DateDetector {
        let now = Timestamp::from_secs(crate::date::table::EXAMPLE_NOW);
        let options = DateOptions { now, years: Years::Server };
        let spec = DateSpec::parse(pattern, &options).unwrap();
        DateDetector::new(spec, LineZone::local(Zone::utc()))
    }

    /// The expected numbers were read off fail2ban.
    #[test]
    fn the_order_is_learned() {
        let mut detector = detector("");
        let start = crate::date::table::EXAMPLE_NOW;
        let mut check = |seconds: i64, line: &str, template: usize, order: &[usize]| {
            let hit = detector.find(line, Timestamp::from_secs(start + seconds)).unwrap();
            assert_eq!(hit.template, template, "{line}");
            let now: Vec<usize> =
                detector.templates().take(order.len()).map(|stats| stats.index).collect();
            assert_eq!(now, order, "{line}");
        };
        check(0, "Nov 23 02:07:00 host a", 1, &[1, 0, 2]);
        check(0, "Nov 23 02:07:01 host a", 1, &[1, 0, 2]);
        check(0, "1.2.3.4 - - [23/Nov/2026:02:07:02 +0000] x", 18, &[1, 18, 0, 2]);
        check(0, "1.2.3.45 - - [23/Nov/2026:02:07:02 +0000] x", 18, &[1, 18, 0, 2]);
        check(400, "2026-11-23T02:07:03Z y", 0, &[1, 0, 18, 2]);
        check(400, "error Jan 23 10:00:00 x", 11, &[1, 0, 18, 11, 2]);
        check(400, "x at Nov 23 02:07:00 host", 15, &[1, 0, 18, 11, 15, 2]);
        assert!(detector.find("no date", Timestamp(0)).is_none());
    }

    #[test]
    fn what_is_cut_out() {
        let now = Timestamp::from_secs(crate::date::table::EXAMPLE_NOW);
        let check =
            |pattern: &str, line: &str, date: &str, time: Result<Option<i64>, DateError>| {
                let mut detector = detector(pattern);
                let hit = detector.find(line, now).unwrap();
                assert_eq!(line.get(hit.span.clone()), Some(date), "{pattern}: {line}");
                assert_eq!(hit.empty, date.is_empty(), "{pattern}: {line}");
                if !hit.empty {
                    let got = detector.time(&hit, now).map(|at| at.map(Timestamp::as_secs));
                    assert_eq!(got, time, "{pattern}: {line}");
                }
            };
        let at = |secs: i64| Ok(Some(secs));
        check("", "[2026-11-23 02:07:00] x", "2026-11-23 02:07:00", at(1_795_399_620));
        check("", "\u{e9}\u{e9} 2026-11-23 02:07:00 x", "2026-11-23 02:07:00", at(1_795_399_620));
        check("", "type=X msg=audit(1795399620.500:1): x", "1795399620.500", at(1_795_399_620));
        check("", "2026-02-30 02:07:00 x", "2026-02-30 02:07:00", Ok(None));
        let unknown = Err(DateError::UnknownZone("ERROR".to_owned()));
        check("", "ERROR Jan 23 10:00:00 x", "ERROR Jan 23 10:00:00", unknown);
        check("", "error Jan 23 10:00:00 x", "error Jan 23 10:00:00", Ok(None));
        check("%m %H:%M:%S", "11 02:07:00 x", "11 02:07:00", Err(DateError::HalfDate));
        check("{NONE}", "x", "", at(0));
        check("{NONE}", "", "", at(0));
        check("at (%H:%M:%S)", "x at 02:07:00", "02:07:00", at(1_795_399_620));
        check("t={EPOCH}", "x t=1795399620", "t=1795399620", at(1_795_399_620));
        check("t=({EPOCH})", "x t=1795399620", "1795399620", at(1_795_399_620));
    }

    proptest! {
        /// Whatever a pattern and a line hold, there is an answer.
        #[test]
        fn nothing_panics(
            pattern in "([%*^$(){}\\\\|?]|[a-zA-Z]|Ex|\\{DATE\\}|\\{L?EPOCH\\}|\\{UNB\\}|\n| |\\{\\^LN-BEG\\}){0,8}",
            lines in prop::collection::vec(crate::date::fast::tests::line(), 0..4),
            now in any::<i64>(),
        ) {
            let options = DateOptions { now: Timestamp(now), years: Years::Server };
            if let Ok(spec) = DateSpec::parse(&pattern, &options) {
                let mut detector = DateDetector::new(spec, LineZone::local(Zone::utc()));
                for line in lines {
                    if let Some(hit) = detector.find(&line, Timestamp(now)) {
                        prop_assert!(line.get(hit.span.clone()).is_some());
                        let _ = detector.time(&hit, Timestamp(now));
                    }
                }
            }
        }
    }
}
