//! From failures to bans: ignore rules, counting, restoring.
//!
//! A [`Case`] is a failure (or a restored ban, or a name found by a filter) on its way. When the
//! world has to be asked it is set aside and taken up again with the answer; nothing else waits.

use super::desk::{Asked, Desk, Reply, WaitId, logger};
use super::jail::{Jail, Phase};
use super::{Engine, JailKey};
use crate::effect::{Answer, Ask, Happening, Level, StoredBan};
use crate::failmanager::FailTicket;
use crate::failure::Failure;
use crate::id::Id;
use crate::ignore::{self, Question, Verdict};
use crate::ticket::{BanTime, Ticket};
use crate::time::{Span, Timestamp};
use crate::value::Value;
use std::net::IpAddr;
use std::sync::Arc;

/// Something on its way to be counted or banned.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub jail: JailKey,
    pub what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// Found by a filter.
    Failure(Failure),
    /// A host name found by a filter: one failure for each address.
    Name { name: String, failure: Failure, warn: bool },
    /// `set J attempt`
    Attempt(Failure, WaitId),
    /// A ban from the database.
    Restore(Ticket),
}

/// Most addresses taken from one name.
const MAX_ADDRESSES: usize = 64;

impl Case {
    fn id(&self) -> &Id {
        match &self.what {
            What::Failure(failure) | What::Attempt(failure, _) | What::Name { failure, .. } => {
                &failure.id
            }
            What::Restore(ticket) => &ticket.id,
        }
    }

    /// What the tags of `ignorecommand` and `ignorecache` mean, in a jail of this ban time.
    fn ticket(&self, ban_time: BanTime) -> Ticket {
        match &self.what {
            What::Failure(failure) | What::Attempt(failure, _) | What::Name { failure, .. } => {
                candidate(failure, ban_time)
            }
            What::Restore(ticket) => ticket.clone(),
        }
    }
}

/// A failure as a ticket; that it counts is not known yet.
fn candidate(failure: &Failure, ban_time: BanTime) -> Ticket {
    Ticket {
        id: failure.id.clone(),
        address: failure.address.clone(),
        time: failure.time,
        whole: failure.whole,
        ban_time,
        ban_count: 0,
        failures: 0,
        matches: failure.matches.clone(),
        fields: failure.fields.clone(),
        restored: false,
    }
}

impl Engine {
    /// A failure that a filter found.
    pub(super) fn failure(&mut self, jail: JailKey, mut failure: Failure) {
        // A combined id comes back from database and clients as its text: count it under that.
        if let Id::Tuple(_) = &failure.id {
            failure.id = Id::Raw(failure.id.to_string());
        }
        self.judge(Case { jail, what: What::Failure(failure) });
    }

    /// Takes a case as far as it gets.
    pub(super) fn judge(&mut self, case: Case) {
        if let What::Name { .. } = &case.what {
            return self.judge_name(case);
        }
        let Some(jail) = self.jails.get_mut(&case.jail).filter(|j| j.counts(&case.what)) else {
            return self.end_case(&case);
        };
        let now = self.desk.now.mono;
        let cache_key = jail.spec.ignore_cache.as_ref().map(|cache| {
            let ticket = case.ticket(jail.spec.default_ban_time());
            self.desk.fill(&cache.key, &jail.name, jail.counters(), &ticket)
        });
        if let Some(key) = &cache_key
            && let Some(ignored) = jail.judged.get(key, now)
        {
            return if ignored { self.end_case(&case) } else { self.accept(case) };
        }
        let verdict = ignore::judge(
            &jail.spec.ignore_ip,
            jail.spec.ignore_self,
            case.id(),
            &self.desk.known,
            now,
        );
        match verdict {
            Verdict::Ask(question) => {
                if let Err(case) = self.desk.park(question, Box::new(case)) {
                    self.end_case(&case);
                }
            }
            Verdict::Ignored(rule) => {
                jail.ignored(&mut self.desk, case.id(), &rule);
                if let (Some(cache), Some(key)) = (&jail.spec.ignore_cache, cache_key) {
                    jail.judged.set(cache, key, true, now);
                }
                self.end_case(&case);
            }
            Verdict::Counts if jail.spec.ignore_command().is_some() => {
                if self.desk.asks_open() >= super::desk::MAX_PARKED {
                    self.desk.note_dropped();
                    return self.end_case(&case);
                }
                let ask = Ask::IgnoreCommand {
                    jail: Arc::clone(&jail.name),
                    command: jail.spec.ignore_command().unwrap_or_default().to_owned(),
                    ticket: Arc::new(case.ticket(jail.spec.default_ban_time())),
                };
                self.desk.ask(ask, Asked::Command(Box::new(case)));
            }
            Verdict::Counts => {
                if let (Some(cache), Some(key)) = (&jail.spec.ignore_cache, cache_key) {
                    jail.judged.set(cache, key, false, now);
                }
                self.accept(case);
            }
        }
    }

    /// An `ignorecommand` has ended.
    pub(super) fn command_judged(&mut self, case: Case, answer: Answer) {
        let Some(jail) = self.jails.get_mut(&case.jail).filter(|j| j.counts(&case.what)) else {
            return self.end_case(&case);
        };
        let ignored = match answer {
            Answer::Exit(Ok(0)) => true,
            Answer::Exit(Ok(1)) => false,
            Answer::Exit(Ok(code)) => {
                let text = format!(
                    "[{}] ignorecommand returned {code}; 0 means ignore, 1 means do not",
                    jail.name
                );
                self.desk.log(Level::Error, logger::FILTER, text);
                false
            }
            Answer::Exit(Err(reason)) => {
                let text = format!("[{}] ignorecommand failed: {reason}", jail.name);
                self.desk.log(Level::Error, logger::FILTER, text);
                false
            }
            _ => false,
        };
        if let Some(cache) = &jail.spec.ignore_cache {
            let ticket = case.ticket(jail.spec.default_ban_time());
            let key = self.desk.fill(&cache.key, &jail.name, jail.counters(), &ticket);
            jail.judged.set(cache, key, ignored, self.desk.now.mono);
        }
        if ignored {
            jail.ignored(&mut self.desk, case.id(), "command");
            self.end_case(&case);
        } else {
            self.accept(case);
        }
    }

    /// Makes one case of each address of a name.
    fn judge_name(&mut self, case: Case) {
        let What::Name { name, failure, warn } = &case.what else { return };
        let Some(ips) = self.desk.known.name(name, self.desk.now.mono) else {
            let question = Question::Name(name.clone());
            if let Err(case) = self.desk.park(question, Box::new(case)) {
                self.end_case(&case);
            }
            return;
        };
        let ips: Vec<IpAddr> = ips.iter().take(MAX_ADDRESSES).copied().collect();
        if *warn && !ips.is_empty() {
            let set =
                Value::Set(ips.iter().map(|ip| Value::Str(Id::Ip(*ip).to_string())).collect());
            let text = format!("Determined IP using DNS Lookup: {name} = {}", set.repr());
            self.desk.log(Level::Warning, logger::IPDNS, text);
        }
        let (jail, failure) = (case.jail, failure.clone());
        for ip in ips {
            self.failure(jail, Failure { id: Id::Ip(ip), ..failure.clone() });
        }
    }

    /// A case that comes to nothing.
    fn end_case(&mut self, case: &Case) {
        match &case.what {
            What::Attempt(_, wait) => self.desk.wait_done(*wait),
            What::Restore(ticket) => {
                if let Some(jail) = self.jails.get_mut(&case.jail) {
                    jail.let_go(&mut self.desk, &ticket.id);
                }
            }
            What::Failure(_) | What::Name { .. } => {}
        }
    }

    /// A case that is not to be ignored.
    fn accept(&mut self, case: Case) {
        let Some(jail) = self.jails.get_mut(&case.jail) else { return self.end_case(&case) };
        match case.what {
            What::Failure(failure) => jail.count(&mut self.desk, failure, "Found"),
            What::Attempt(failure, wait) => {
                jail.count(&mut self.desk, failure, "Attempt");
                if let Some(reply) = self.desk.wait_reply(wait) {
                    *reply = Reply::Done(Ok(Value::Int(1)));
                }
                self.desk.wait_done(wait);
            }
            What::Restore(ticket) => {
                let id = ticket.id.clone();
                jail.ban(&mut self.desk, ticket, true);
                jail.let_go(&mut self.desk, &id);
            }
            What::Name { .. } => {}
        }
    }

    /// The stored bans of a jail are known.
    pub(super) fn restore(&mut self, key: JailKey, rows: Vec<StoredBan>) {
        let unclean = self.desk.config.unclean_start;
        let Some(jail) = self.jails.get_mut(&key) else { return };
        let Some(restoring) = jail.restoring.take() else { return };
        if unclean {
            jail.sweep(&mut self.desk, &rows);
        }
        if jail.phase != Phase::Running {
            return;
        }
        let now = self.desk.now.wall;
        let tickets: Vec<Ticket> = rows
            .into_iter()
            .filter(|row| !restoring.lifted(&row.ticket.id))
            .filter_map(|row| jail.restorable(row.ticket, now))
            .collect();
        jail.drop_ended(&mut self.desk, &tickets);
        for ticket in tickets {
            self.judge(Case { jail: key, what: What::Restore(ticket) });
        }
    }
}

impl Jail {
    /// Whether cases of this kind are taken now.
    fn counts(&self, what: &What) -> bool {
        match what {
            What::Failure(_) | What::Name { .. } => self.phase == Phase::Running && !self.idle,
            What::Attempt(..) => matches!(self.phase, Phase::Added | Phase::Running),
            What::Restore(_) => self.phase == Phase::Running,
        }
    }

    fn ignored(&self, desk: &mut Desk, id: &Id, rule: &str) {
        let text = format!("[{}] Ignore {id} by {rule}", self.name);
        desk.log(Level::Info, logger::FILTER, text);
        desk.happened(&self.name, Happening::Ignored(id.clone(), rule.to_owned()));
    }

    /// Counts a failure and bans if that was enough.
    fn count(&mut self, desk: &mut Desk, mut failure: Failure, word: &str) {
        if failure.time > desk.now.wall {
            (failure.time, failure.whole) = (desk.now.wall, false);
        }
        let (id, time) = (failure.id.clone(), failure.time);
        let text = format!("[{}] {word} {id} - {}", self.name, desk.time(time));
        desk.log(Level::Info, logger::FILTER, text);
        desk.happened(&self.name, Happening::Found(id.clone(), time));
        let retry = self.fails.add(failure, self.limits());
        if self.spec.increments.enabled && desk.asks_open() < super::desk::MAX_PARKED {
            let jail = Some(Arc::clone(&self.name));
            let asked = Asked::Bad { jail: self.key, id: id.clone(), time };
            desk.ask(Ask::History { jail, id: id.clone() }, asked);
        }
        if retry >= self.spec.retry_limit() {
            self.ban_failed(desk, &id);
        }
    }

    /// Bans an id that has failed often enough.
    pub fn ban_failed(&mut self, desk: &mut Desk, id: &Id) {
        let Some(failed) = self.fails.take(id) else { return };
        let FailTicket { id, address, time, whole, failures, matches, fields, ban_count, .. } =
            failed;
        let ban_time = self.spec.default_ban_time();
        let ticket = Ticket {
            id,
            address,
            time,
            whole,
            ban_time,
            ban_count,
            failures,
            matches,
            fields,
            restored: false,
        };
        self.ban(desk, ticket, false);
    }

    /// `set J banip`
    pub fn ban_by_hand(&mut self, desk: &mut Desk, id: Id) -> bool {
        let ticket = Ticket {
            id,
            address: None,
            time: desk.now.wall,
            whole: false,
            ban_time: self.spec.default_ban_time(),
            ban_count: 0,
            failures: 0,
            matches: Vec::new(),
            fields: crate::failure::Fields::default(),
            restored: false,
        };
        self.ban(desk, ticket, false)
    }

    /// A stored ban as it is to be restored now, if it still holds under today's configuration.
    fn restorable(&self, mut ticket: Ticket, now: Timestamp) -> Option<Ticket> {
        ticket.restored = true;
        if ticket.ban_time.end(ticket.time).is_some_and(|end| end <= now) {
            return None;
        }
        if !self.spec.increments.enabled
            && let BanTime::For(span) = self.spec.default_ban_time()
            && ticket.time <= now.minus(span)
        {
            return None;
        }
        let max = self.spec.increments.max_ban_time(self.spec.ban_time);
        ticket.ban_time = match (ticket.ban_time, max) {
            // No length of the jail corrects nothing.
            (time, BanTime::Permanent) => time,
            (time, BanTime::For(Span(0))) => time,
            (BanTime::Permanent, max) => max,
            (BanTime::For(a), BanTime::For(b)) => BanTime::For(a.min(b)),
        };
        // The stored time is rounded, so it may be ahead of the clock: no ban of no length either.
        let begin = ticket.time.min(now);
        if ticket.ban_time.end(ticket.time).is_some_and(|end| end <= now)
            || ticket.ban_time.end(begin).is_some_and(|end| end <= begin)
        {
            return None;
        }
        let extra = ticket.matches.len().saturating_sub(self.spec.match_limit());
        ticket.matches.drain(..extra);
        Some(ticket)
    }

    /// What `get J banip --with-time` tells of a ban.
    pub fn with_time(&self, desk: &Desk, ticket: &Ticket) -> String {
        let end = match ticket.ban_time.end(ticket.time) {
            Some(end) => desk.time(end),
            None => "9999-12-31 23:59:59".into(),
        };
        let (start, length) = (desk.time(ticket.time), ticket.ban_time.as_secs());
        format!("{} \t{start} + {length} = {end}", ticket.id)
    }
}
