//! Counts failures per id and says when it is enough.
//!
//! The count is fail2ban's: one number per id that decays as a rate estimate, not a list of times,
//! so memory per attacker does not grow with the attack. This module never decides what happens
//! with an id that reached the limit, and never reads a clock.

use std::collections::BTreeMap;

use crate::failure::{Failure, Fields, MatchedLine};
use crate::id::Id;
use crate::time::{Span, Timestamp};

/// Most ids counted at once in one jail; the one whose last failure is oldest makes room.
pub const MAX_TICKETS: usize = 100_000;

/// What is known of one id that has failed.
#[derive(Clone, Debug, PartialEq)]
pub struct FailTicket {
    /// The id.
    pub id: Id,
    /// The address, where it is not the id.
    pub address: Option<Id>,
    /// Begin of the estimate's window.
    first: Timestamp,
    /// Last failure.
    pub time: Timestamp,
    /// As in [`Failure`].
    pub whole: bool,
    /// The estimated number of attempts within the window.
    pub retry: u32,
    /// The real number of failures.
    pub failures: u32,
    /// The last lines.
    pub matches: Vec<MatchedLine>,
    /// Captured groups of the first failure.
    pub fields: Fields,
    /// Earlier bans, as far as history was asked.
    pub ban_count: u32,
}

/// All ids of one jail that have failed and are not banned for it yet.
#[derive(Clone, Debug, Default)]
pub struct FailManager {
    tickets: BTreeMap<Id, FailTicket>,
    total: u64,
    dropped: u64,
}

/// What counting depends on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `findtime`
    pub find_time: Span,
    /// `maxmatches`
    pub max_matches: usize,
}

impl FailTicket {
    /// Counts `count` more attempts at `time`.
    fn count(&mut self, (time, whole): (Timestamp, bool), count: u32, find_time: Span) {
        if time > self.time {
            if self.first < time.minus(find_time) {
                let passed = time.since(self.first).as_secs_f64();
                let estimate = f64::from(self.retry) / passed * find_time.as_secs_f64();
                // Python's round(): ties to even.
                self.retry = estimate.round_ties_even().max(0.0) as u32;
                self.first = time.minus(find_time);
            }
            (self.time, self.whole) = (time, whole);
        }
        self.retry = self.retry.saturating_add(count);
    }
}

fn keep_last(matches: &mut Vec<MatchedLine>, max: usize) {
    let extra = matches.len().saturating_sub(max);
    matches.drain(..extra);
}

impl FailManager {
    /// Counts a failure; its id's estimate afterwards.
    pub fn add(&mut self, failure: Failure, limits: Limits) -> u32 {
        self.total += 1;
        let attempts = failure.attempts.max(1);
        if let Some(ticket) = self.tickets.get_mut(&failure.id) {
            ticket.count((failure.time, failure.whole), attempts, limits.find_time);
            ticket.failures = ticket.failures.saturating_add(1);
            // Where a later line is cut is not kept, as in fail2ban.
            let lines = failure.matches.into_iter().map(MatchedLine::whole);
            ticket.matches.extend(lines);
            keep_last(&mut ticket.matches, limits.max_matches);
            return ticket.retry;
        }
        if self.tickets.len() >= MAX_TICKETS {
            self.make_room();
        }
        let Failure { id, address, time, whole, mut matches, fields, .. } = failure;
        keep_last(&mut matches, limits.max_matches);
        let ticket = FailTicket {
            id: id.clone(),
            address,
            first: time,
            time,
            whole,
            retry: attempts,
            failures: 1,
            matches,
            fields,
            ban_count: 0,
        };
        self.tickets.insert(id, ticket);
        attempts
    }

    /// Counts extra attempts of an id known as bad; `None` if it is not counted any more.
    pub fn add_extra(
        &mut self,
        id: &Id,
        time: Timestamp,
        extra: u32,
        ban_count: u32,
        limits: Limits,
    ) -> Option<u32> {
        let ticket = self.tickets.get_mut(id)?;
        self.total += 1;
        ticket.count((time, ticket.whole), extra, limits.find_time);
        // As in fail2ban, where only the first failure is the ticket itself.
        if ticket.failures == 1 {
            ticket.ban_count = ticket.ban_count.max(ban_count);
        }
        Some(ticket.retry)
    }

    /// Takes the ticket of an id away, to ban or to forget it.
    pub fn take(&mut self, id: &Id) -> Option<FailTicket> {
        self.tickets.remove(id)
    }

    /// Forgets ids whose last failure is older than the window.
    pub fn clean_up(&mut self, now: Timestamp, find_time: Span) {
        let limit = now.minus(find_time);
        self.tickets.retain(|_, ticket| ticket.time > limit);
    }

    /// Ids that have reached the limit (after it was lowered).
    pub fn due(&self, max_retry: u32) -> Vec<Id> {
        self.tickets.values().filter(|t| t.retry >= max_retry).map(|t| t.id.clone()).collect()
    }

    /// Number of ids counted now.
    pub fn len(&self) -> usize {
        self.tickets.len()
    }
    /// Whether none is counted.
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }
    /// Failures counted since the start.
    pub fn total(&self) -> u64 {
        self.total
    }
    /// Ids dropped because too many were counted.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
    /// What is known of an id.
    pub fn get(&self, id: &Id) -> Option<&FailTicket> {
        self.tickets.get(id)
    }

    /// Drops the oldest sixteenth, so that a flood of ids costs little per id.
    fn make_room(&mut self) {
        let mut times: Vec<Timestamp> = self.tickets.values().map(|t| t.time).collect();
        let nth = times.len() / 16;
        let last = times.len().saturating_sub(1);
        let (_, limit, _) = times.select_nth_unstable(nth.min(last));
        let limit = *limit;
        let mut left = nth + 1;
        self.tickets.retain(|_, ticket| {
            let drop = ticket.time <= limit && left > 0;
            left -= usize::from(drop);
            !drop
        });
        self.dropped += (nth + 1 - left) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(ip: &str, at: i64, attempts: u32) -> Failure {
        Failure {
            id: Id::parse(ip),
            address: None,
            time: Timestamp::from_secs(at),
            whole: false,
            attempts,
            matches: vec![MatchedLine::Whole(format!("line {at}"))],
            fields: Fields::default(),
        }
    }

    const LIMITS: Limits = Limits { find_time: Span::from_secs(600), max_matches: 3 };

    #[test]
    fn the_count_is_a_rate_estimate() {
        let mut m = FailManager::default();
        for (at, attempts, expected) in [
            (1000, 1, 1),
            (1100, 1, 2),
            // An older line counts, but does not move time back.
            (1050, 1, 3),
            // 3 in 900 s is 2 in 600 s, plus this one.
            (1900, 1, 3),
            // Ties go to the even number: 3 / 1200 * 600 = 1.5 -> 2.
            (2500, 2, 4),
        ] {
            assert_eq!(m.add(failure("1.1.1.1", at, attempts), LIMITS), expected, "{at}");
        }
        let ticket = m.get(&Id::parse("1.1.1.1")).unwrap();
        assert_eq!((ticket.failures, ticket.matches.len(), m.total()), (5, 3, 5));
    }

    #[test]
    fn only_the_first_lines_are_kept_in_parts() {
        let mut m = FailManager::default();
        let cut = || MatchedLine::Cut(["".into(), "now".into(), " x".into()]);
        for lines in [vec![cut(), cut()], vec![cut()]] {
            m.add(Failure { matches: lines, ..failure("1.1.1.1", 1000, 1) }, LIMITS);
        }
        let ticket = m.get(&Id::parse("1.1.1.1")).unwrap();
        assert_eq!(ticket.matches, [cut(), cut(), MatchedLine::Whole("now x".into())]);
    }

    #[test]
    fn old_ids_are_forgotten() {
        let mut m = FailManager::default();
        m.add(failure("1.1.1.1", 1000, 1), LIMITS);
        m.add(failure("2.2.2.2", 1001, 1), LIMITS);
        m.clean_up(Timestamp::from_secs(1600), LIMITS.find_time);
        assert_eq!(m.len(), 1);
        assert!(m.take(&Id::parse("2.2.2.2")).is_some());
        assert!(m.is_empty());
    }

    #[test]
    fn a_flood_of_ids_is_bounded() {
        let mut m = FailManager::default();
        for i in 0..(MAX_TICKETS as u32 + 10) {
            let ip = std::net::Ipv4Addr::from(0x0a00_0000 + i);
            m.add(failure(&ip.to_string(), i64::from(i / 50_000), 1), LIMITS);
        }
        assert!(m.len() <= MAX_TICKETS && m.len() > MAX_TICKETS / 2);
        assert_eq!(m.dropped() + m.len() as u64, MAX_TICKETS as u64 + 10);
    }
}
