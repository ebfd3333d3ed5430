//! What the database remembers of an id makes its bans longer and its failures count more.
//!
//! Nothing waits for it: a ban begins with the plain time and grows when the answer is there, and an
//! answer that comes late takes nothing away.

use std::sync::Arc;

use super::desk::{Asked, Desk, JobKind, logger};
use super::jail::{Jail, Life, MarkState, Phase};
use crate::banmanager::{Ban, is_later};
use crate::bantime::bad_attempts;
use crate::duration::render;
use crate::effect::{ActionId, ActionOp, Ask, Happening, History, Level, StoreOp};
use crate::expr::{ExprError, Number};
use crate::id::Id;
use crate::ticket::BanTime;
use crate::time::Timestamp;

impl Jail {
    /// Earlier bans of an id that just failed are known: it may count more.
    pub fn known_bad(&mut self, desk: &mut Desk, id: &Id, time: Timestamp, history: History) {
        let max = self.spec.retry_limit();
        // Seen before that ban: the line is counted already.
        let idle = self.phase == Phase::Stopping || !self.spec.increments.enabled;
        if idle || history.count == 0 || time <= history.last {
            return;
        }
        let attempts = bad_attempts(history.count, max);
        if attempts.as_f64() <= 1.0 {
            return;
        }
        let ban = if attempts.as_f64() >= f64::from(max) { ", Ban" } else { "" };
        let text = format!(
            "[{}] Found {id}, bad - {}, {} # -> {attempts}{ban}",
            self.name,
            desk.time(time),
            history.count,
        );
        desk.log(Level::Info, logger::OBSERVER, text);
        let extra = u32::try_from(attempts.trunc() - 1).unwrap_or(0);
        let limits = self.limits();
        let retry = self.fails.add_extra(id, time, extra, history.count, limits);
        if retry.is_some_and(|retry| retry >= max) {
            self.ban_failed(desk, id);
        }
    }

    /// Writes a new ban to the store, after looking for earlier ones where that matters.
    pub fn remember(&mut self, desk: &mut Desk, id: &Id, restored: bool, own_time: bool) {
        if restored {
            return;
        }
        let Some(ban) = self.bans.get(id) else { return };
        let increments = &self.spec.increments;
        if increments.enabled && !own_time && self.spec.ban_time > 0 {
            let jail = (!increments.overall).then(|| Arc::clone(&self.name));
            let asked = Asked::History { jail: self.key, id: id.clone(), serial: ban.serial };
            desk.ask(Ask::History { jail, id: id.clone() }, asked);
            return;
        }
        let (jail, ticket) = (Arc::clone(&self.name), Arc::clone(&ban.ticket));
        desk.store(StoreOp::AddBan { jail, ticket });
    }

    /// Earlier bans of a new ban's id are known: its time may grow, and then it is stored.
    pub fn history(&mut self, desk: &mut Desk, id: &Id, serial: u64, history: Option<History>) {
        let plain = Number::Int(self.spec.ban_time);
        let Some(ban) = self.bans.get_mut(id).filter(|b| b.serial == serial) else { return };
        let mut length = plain;
        let mut stored = false;
        if let Some(history) = history.filter(|h| h.count > 0) {
            let ticket = Arc::make_mut(&mut ban.ticket);
            ticket.ban_count = ticket.ban_count.max(history.count.saturating_add(1));
            let time = ticket.time;
            match self.spec.increments.ban_time(self.spec.ban_time, history.count, desk.random()) {
                Ok(grown) => {
                    length = grown;
                    // The same ban read twice (at a restart) is in the database.
                    stored = time <= history.last;
                    ticket.restored |= stored;
                    if !longer_already(ban, grown) {
                        self.bans.set_time(id, BanTime::from_number(grown));
                    }
                    if !stored {
                        self.log_bad(desk, id, &history, plain, grown);
                    }
                }
                Err(error) => self.log_unusable(desk, &error),
            }
        }
        let Some(ban) = self.bans.get(id) else { return };
        let over = ban.end().is_some_and(|end| end < desk.now.wall);
        if over && !length.equals(plain) {
            // It became shorter and is over: not a ban to remember. (One that follows the jail's ban
            // time may come to life again with it.)
            return;
        }
        let (jail, ticket) = (Arc::clone(&self.name), Arc::clone(&ban.ticket));
        if !length.equals(plain) {
            let (shown, end) = match BanTime::from_number(length).end(ticket.time) {
                Some(end) => (render(length), desk.time(end)),
                None => ("permanent".into(), "infinite".into()),
            };
            let text =
                format!("[{jail}] Increase Ban {id} ({} # {shown} -> {end})", ticket.ban_count);
            desk.log(Level::Notice, logger::OBSERVER, text);
            desk.happened(&jail, Happening::Prolonged(Arc::clone(&ticket)));
            self.prolong(desk, id);
        }
        if !stored {
            desk.store(StoreOp::AddBan { jail, ticket });
        }
    }

    fn log_bad(&self, desk: &mut Desk, id: &Id, history: &History, plain: Number, grown: Number) {
        let text = format!(
            "[{}] IP {id} is bad: {} # last {} - incr {} to {}",
            self.name,
            history.count,
            desk.time(history.last),
            render(plain),
            render(grown),
        );
        desk.log(Level::Info, logger::OBSERVER, text);
    }

    fn log_unusable(&self, desk: &mut Desk, error: &ExprError) {
        let text = format!(
            "[{}] bantime.formula cannot be used ({error}); the plain bantime is",
            self.name
        );
        desk.log(Level::Error, logger::OBSERVER, text);
    }

    /// Tells actions that keep end times that a ban lasts longer.
    fn prolong(&mut self, desk: &mut Desk, id: &Id) {
        let Some(ban) = self.bans.get(id) else { return };
        let ticket = Arc::clone(&ban.ticket);
        let in_force: Vec<ActionId> = ban
            .state
            .marks
            .iter()
            .filter(|m| matches!(m.state, MarkState::Done | MarkState::Running(..)))
            .map(|m| m.action)
            .chain(ban.state.notified.iter().copied())
            .collect();
        let actions: Vec<ActionId> = self
            .actions
            .iter()
            .filter(|a| a.life == Life::Up && in_force.contains(&a.id))
            .filter(|a| a.has("actionprolong"))
            .filter(|a| !(ticket.restored && a.no_restored()))
            .map(|a| a.id)
            .collect();
        for action in actions {
            let kind = JobKind::Prolong { ticket: Arc::clone(&ticket) };
            self.run(desk, action, kind, ActionOp::Prolong, None);
        }
    }
}

/// Whether a ban was prolonged beyond that while its history was looked up.
fn longer_already<S>(ban: &Ban<S>, grown: Number) -> bool {
    let grown = BanTime::from_number(grown).end(ban.ticket.time);
    ban.own_time && !is_later(grown, ban.end())
}
