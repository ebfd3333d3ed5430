//! Keeps what actions enforce equal to what the jail has banned.
//!
//! Every ban carries one mark per enforcing action. A mark changes only when a job is emitted or
//! answered, so what is in force is known at any time, and what failed is tried again at a bounded
//! rate. Notifications begin when every enforcing action has reported success.

use std::sync::Arc;

use super::desk::{Desk, JobKind, Sure, WaitId, logger};
use super::jail::{Action, Enforcement, FailedUnban, Jail, Life, Mark, MarkState, Phase};
use crate::banmanager::{Added, Ban};
use crate::command::CommandError;
use crate::effect::{ActionId, ActionOp, ActionSpec, Effect, Happening, Level, StoredBan};
use crate::id::Id;
use crate::ticket::{BanTime, Ticket};
use crate::time::{Monotonic, Span, Timestamp};

/// How long a stop waits for notifications.
const NOTIFY_STOP: Span = Span::from_secs(5);
/// Most unanswered jobs of an action before retries and re-bans wait for their turn.
const MAX_IN_FLIGHT: usize = 64;
/// Most bans of one jail.
const MAX_BANS: usize = 1_000_000;
/// Most unbans remembered for another try.
const MAX_UNBANS: usize = 10_000;
/// How often an unban is tried.
const UNBAN_TRIES: u32 = 8;
/// Shortest time between two checks of a jail's actions.
const CHECK_EVERY: Span = Span::from_secs(3);

/// How long to wait before try number `tries + 1`.
pub(super) fn backoff(tries: u32) -> Span {
    Span::from_secs(1_i64.checked_shl(tries.saturating_sub(1).min(6)).unwrap_or(60).min(60))
}

impl Action {
    /// When something of it is due, unless it waits for answers anyway.
    pub fn next_mono(&self) -> Option<Monotonic> {
        match self.life {
            Life::Settling(at) => Some(at),
            Life::Up => {
                let due = self.due.first().map(|(at, _)| *at);
                let unban = self.unbans.values().map(|u| u.at).min();
                let able = self.spec.is_known() && self.in_flight < MAX_IN_FLIGHT;
                let (due, unban) = (due.filter(|_| able), unban.filter(|_| able));
                [due, unban, self.start_at].into_iter().flatten().min()
            }
            Life::Idle | Life::After(_) | Life::Lifting | Life::Stopping | Life::Gone => None,
        }
    }
}

impl Mark {
    /// Whether what is to be taken back is in force.
    fn sure(&self) -> Sure {
        match self.state {
            MarkState::Due(_) | MarkState::Skipped => Sure::Perhaps,
            _ => Sure::Yes,
        }
    }
}

impl Jail {
    /// Bans a ticket, unless that is over or banned already; whether it is a new ban.
    pub fn ban(&mut self, desk: &mut Desk, ticket: Ticket, own_time: bool) -> bool {
        if self.phase == Phase::Stopping {
            // An answer that came too late.
            return false;
        }
        let (id, time, restored) = (ticket.id.clone(), ticket.time, ticket.restored);
        if self.bans.len() >= MAX_BANS && self.bans.get(&id).is_none() {
            let text = format!(
                "[{}] {id} is not banned: {MAX_BANS} bans are in force; shorten bantime",
                self.name
            );
            desk.log(Level::Error, logger::ACTIONS, text);
            return false;
        }
        match self.bans.add(ticket, own_time, desk.now.wall) {
            Added::Expired => {
                let text = format!("[{}] Ignore {id}, expired bantime", self.name);
                desk.log(Level::Info, logger::ACTIONS, text);
                false
            }
            Added::Already { since, .. } => {
                self.banned_again(desk, &id, time, since);
                false
            }
            Added::New => {
                self.remember(desk, &id, restored, own_time);
                self.enforce_new(desk, &id);
                true
            }
        }
    }

    fn banned_again(&mut self, desk: &mut Desk, id: &Id, time: Timestamp, since: Timestamp) {
        let passed = time.since(since);
        let level = match passed {
            p if p < Span::from_secs(3) => Level::Debug,
            p if p < Span::from_secs(60) => Level::Notice,
            _ => Level::Warning,
        };
        desk.log(level, logger::ACTIONS, format!("[{}] {id} already banned", self.name));
        let mono = desk.now.mono;
        let pause = self.last_check.is_some_and(|at| mono.since(at) <= CHECK_EVERY);
        if passed > Span::from_secs(3) && !pause {
            self.last_check = Some(mono);
            let checks: Vec<ActionId> = self
                .actions
                .iter()
                .filter(|a| a.life == Life::Up && a.in_flight < MAX_IN_FLIGHT)
                .filter(|a| a.has("actioncheck"))
                .map(|a| a.id)
                .collect();
            for action in checks {
                self.run(desk, action, JobKind::Check, ActionOp::Check, None);
            }
        }
    }

    /// Begins the enforcement of a new ban.
    fn enforce_new(&mut self, desk: &mut Desk, id: &Id) {
        let enforcing: Vec<ActionId> =
            self.actions.iter().filter(|a| a.enforces).map(|a| a.id).collect();
        for action in enforcing {
            self.add_mark(desk, id, action);
        }
        self.announce(desk, id);
    }

    /// One more action has to enforce a ban.
    fn add_mark(&mut self, desk: &mut Desk, id: &Id, action: ActionId) {
        let mono = desk.now.mono;
        let Some(slot) = self.actions.iter_mut().find(|a| a.id == action) else { return };
        let up = slot.life == Life::Up && slot.spec.is_known();
        let old_unban = slot.unbans.remove(id);
        let Some(ban) = self.bans.get_mut(id) else { return };
        let mark = slot.first_mark(&ban.ticket, mono);
        let state = mark.state;
        ban.state.marks.push(mark);
        if let Some(FailedUnban { ticket, sure, .. }) = old_unban {
            // An earlier unban failed and was to be tried again: do it now, before the ban.
            let kind = JobKind::Unban { ticket, sure, tries: UNBAN_TRIES };
            self.run(desk, action, kind, ActionOp::Unban, None);
        }
        if up && state == MarkState::Due(mono) {
            self.emit_ban(desk, id, action);
        }
    }

    /// Emits the (re-)ban of a mark that is due.
    fn emit_ban(&mut self, desk: &mut Desk, id: &Id, action: ActionId) {
        let Some(ban) = self.bans.get(id) else { return };
        let (ticket, serial) = (Arc::clone(&ban.ticket), ban.serial);
        let Some(mark) = ban.state.marks.iter().find(|m| m.action == action) else { return };
        let op = if mark.reban { ActionOp::Reban } else { ActionOp::Ban };
        if mark.reban {
            let name = self.actions.iter().find(|a| a.id == action).map(|a| a.spec.name.clone());
            let text = match name {
                Some(name) => format!("[{}] Reban {id}, action '{name}'", self.name),
                None => format!("[{}] Reban {id}", self.name),
            };
            desk.log(Level::Notice, logger::ACTIONS, text);
        }
        let kind = JobKind::Ban { ticket, serial };
        let Some(job) = self.run(desk, action, kind, op, None) else { return };
        let mono = desk.now.mono;
        if let Some(ban) = self.bans.get_mut(id)
            && let Some(mark) = ban.state.marks.iter_mut().find(|m| m.action == action)
        {
            mark.state = MarkState::Running(job, mono);
            mark.touched = true;
        }
    }

    /// Says that an id is banned and notifies, once every enforcing action has it in force.
    pub fn announce(&mut self, desk: &mut Desk, id: &Id) {
        let Some(ban) = self.bans.get_mut(id) else { return };
        if ban.state.announced || !ban.state.complete() {
            return;
        }
        ban.state.announced = true;
        let (ticket, told) = (Arc::clone(&ban.ticket), ban.state.notified.clone());
        let word = if ticket.restored { "Restore Ban" } else { "Ban" };
        desk.log(Level::Notice, logger::ACTIONS, format!("[{}] {word} {id}", self.name));
        desk.happened(&self.name, Happening::Banned(Arc::clone(&ticket)));
        let tell: Vec<ActionId> = self
            .actions
            .iter()
            .filter(|a| !a.enforces && a.life == Life::Up)
            .filter(|a| !(ticket.restored && a.no_restored()))
            .map(|a| a.id)
            .filter(|id| !told.contains(id))
            .collect();
        for action in &tell {
            let kind = JobKind::Notify { ticket: Arc::clone(&ticket) };
            self.run(desk, *action, kind, ActionOp::Ban, None);
        }
        if let Some(ban) = self.bans.get_mut(id) {
            ban.state.notified.extend(tell);
        }
    }

    /// Takes a ban back that is no longer in the list.
    pub fn lift(
        &mut self,
        desk: &mut Desk,
        ban: Ban<Enforcement>,
        word: &str,
        wait: Option<WaitId>,
        singly: bool,
    ) {
        let id = &ban.ticket.id;
        desk.log(Level::Notice, logger::ACTIONS, format!("[{}] {word} {id}", self.name));
        let over = match self.phase {
            Phase::Stopping => Happening::Repealed(id.clone()),
            _ => Happening::Unbanned(id.clone()),
        };
        desk.happened(&self.name, over);
        for mark in &ban.state.marks {
            if let MarkState::Due(at) = mark.state
                && let Some(action) = self.action_mut(mark.action)
            {
                action.due.remove(&(at, id.clone()));
            }
            if mark.touched && singly {
                self.unban_job(desk, mark.action, &ban.ticket, mark.sure(), wait);
            }
        }
        for action in &ban.state.notified {
            let python = self.action_mut(*action).is_some_and(|a| a.spec.python.is_some());
            if python && singly {
                self.unban_job(desk, *action, &ban.ticket, Sure::Perhaps, wait);
            }
        }
    }

    pub fn unban_job(
        &mut self,
        desk: &mut Desk,
        action: ActionId,
        ticket: &Arc<Ticket>,
        sure: Sure,
        wait: Option<WaitId>,
    ) {
        let kind = JobKind::Unban { ticket: Arc::clone(ticket), sure, tries: 0 };
        self.run(desk, action, kind, ActionOp::Unban, wait);
    }

    /// Takes all bans back, in one stroke where an action can.
    pub fn flush(&mut self, desk: &mut Desk, word: &str, wait: Option<WaitId>) -> usize {
        let all = self.bans.take_all();
        if let Some(restoring) = &mut self.restoring
            && word == "Unban"
        {
            restoring.all = true;
        }
        let op = match self.phase {
            Phase::Stopping => ActionOp::LastFlush,
            _ => ActionOp::Flush,
        };
        let actions: Vec<ActionId> = self.actions.iter().map(|a| a.id).collect();
        for action in actions {
            self.flush_action(desk, action, op, &all, wait);
        }
        let count = all.len();
        for ban in all {
            self.lift(desk, ban, word, wait, false);
        }
        count
    }

    /// Takes all bans of one action back, in one stroke by `op` where it can.
    pub fn flush_action(
        &mut self,
        desk: &mut Desk,
        action: ActionId,
        op: ActionOp,
        bans: &[Ban<Enforcement>],
        wait: Option<WaitId>,
    ) {
        let Some(slot) = self.action_mut(action) else { return };
        slot.due.clear();
        let mut owed: Vec<(Arc<Ticket>, Sure)> =
            std::mem::take(&mut slot.unbans).into_values().map(|u| (u.ticket, u.sure)).collect();
        owed.extend(slot.drain_kept().into_iter().map(|ticket| (ticket, Sure::Yes)));
        // Also where nothing is owed: it may have told others of bans that are over.
        let can_flush = slot.has("actionflush")
            && (slot.life == Life::Up || !bans.is_empty() || !owed.is_empty());
        let name = slot.spec.name.clone();
        for ban in bans {
            let marks = ban.state.marks.iter().filter(|m| m.action == action && m.touched);
            for mark in marks {
                owed.push((Arc::clone(&ban.ticket), mark.sure()));
            }
            let told = ban.state.notified.contains(&action);
            if told && self.action_mut(action).is_some_and(|a| a.spec.python.is_some()) {
                owed.push((Arc::clone(&ban.ticket), Sure::Perhaps));
            }
        }
        if can_flush {
            let text = format!("[{}] Flush ticket(s) with {name}", self.name);
            desk.log(Level::Notice, logger::ACTIONS, text);
            let tickets = owed.into_iter().map(|(ticket, _)| ticket).collect();
            self.run(desk, action, JobKind::Flush(tickets), op, wait);
        } else {
            for (ticket, sure) in owed {
                self.unban_job(desk, action, &ticket, sure, wait);
            }
        }
    }

    /// After an unclean end: takes away what an earlier process may have banned one by one, since
    /// the action has no way to take away all (`CleanUp` did where it has).
    pub fn sweep(&mut self, desk: &mut Desk, rows: &[StoredBan]) {
        let mono = desk.now.mono;
        let actions: Vec<ActionId> = self
            .actions
            .iter()
            .chain(&self.leaving)
            .filter(|a| a.enforces && matches!(a.life, Life::Up | Life::Lifting))
            // A Python action has forgotten with its process what it could flush.
            .filter(|a| !a.has("actionflush") || a.spec.python.is_some())
            .map(|a| a.id)
            .collect();
        for id in actions {
            for row in rows {
                let mut ticket = row.ticket.clone();
                ticket.restored = true;
                let key = ticket.id.clone();
                self.unban_job(desk, id, &Arc::new(ticket), Sure::Leftover, None);
                // Banned meanwhile, and taken away with that: ban again.
                let Some(ban) = self.bans.get_mut(&key) else { continue };
                for mark in ban.state.marks.iter_mut().filter(|m| m.action == id) {
                    if let MarkState::Running(..) | MarkState::Done = mark.state {
                        mark.state = MarkState::Due(mono);
                        if let Some(action) = self.actions.iter_mut().find(|a| a.id == id) {
                            action.due.insert((mono, key.clone()));
                        }
                    }
                }
            }
        }
    }

    /// Removes an action: its bans are taken back, then it is stopped.
    pub fn remove_action(&mut self, desk: &mut Desk, at: usize) {
        if at >= self.actions.len() {
            return;
        }
        let id = match self.actions.get(at) {
            Some(action) => action.id,
            None => return,
        };
        let mut touched: Vec<Ban<Enforcement>> = Vec::new();
        for ban in self.bans.iter_mut() {
            let (gone, stay): (Vec<Mark>, Vec<Mark>) =
                std::mem::take(&mut ban.state.marks).into_iter().partition(|m| m.action == id);
            ban.state.marks = stay;
            if !gone.is_empty() {
                touched.push(Ban {
                    serial: ban.serial,
                    ticket: Arc::clone(&ban.ticket),
                    own_time: ban.own_time,
                    state: Enforcement { marks: gone, ..Enforcement::default() },
                });
            }
        }
        self.flush_action(desk, id, ActionOp::LastFlush, &touched, None);
        let mut action = self.actions.remove(at);
        action.due.clear();
        action.life = match action.life {
            Life::Up => Life::Lifting,
            // Never started: nothing to stop.
            _ => Life::Gone,
        };
        self.leaving.push(action);
        // A ban may have waited for this action only.
        let ids: Vec<Id> = touched.iter().map(|b| b.ticket.id.clone()).collect();
        for id in ids {
            self.announce(desk, &id);
        }
    }

    /// Begins to stop: takes everything back and keeps the database's rows.
    pub fn stop(&mut self, desk: &mut Desk, wait: Option<WaitId>) {
        self.stop_waits.extend(wait);
        if let Some(wait) = wait {
            desk.wait_for(wait);
        }
        if self.phase == Phase::Stopping {
            return;
        }
        self.phase = Phase::Stopping;
        self.stop_by = Some(desk.now.mono.plus(NOTIFY_STOP));
        if desk.keeping {
            self.set_aside(desk);
        } else {
            self.flush(desk, "Repeal Ban", None);
        }
        for action in &mut self.actions {
            action.start_at = None;
            action.life = match action.life {
                Life::Up => Life::Lifting,
                _ => Life::Gone,
            };
        }
    }

    /// Starts an action, and with it the bans it has to enforce.
    pub fn start_action(&mut self, desk: &mut Desk, id: ActionId, wait: Option<WaitId>) {
        let unclean = desk.config.unclean_start;
        let Some(action) = self.live_action(id) else { return };
        if action.life == Life::Up {
            return;
        }
        action.life = Life::Up;
        action.start_at = None;
        let enforces = action.enforces;
        if !self.adopt(desk, id) {
            if unclean {
                self.run(desk, id, JobKind::CleanUp, ActionOp::CleanUp, None);
            }
            self.run(desk, id, JobKind::Start, ActionOp::Start, wait);
        }
        if enforces {
            self.enforce_all(desk, id);
        }
    }

    /// An action that has to be stopped before one like this may start: both may have the same rules
    /// in hand, as the same chain of a firewall.
    pub fn must_wait_for(&self, spec: &ActionSpec) -> Option<ActionId> {
        let same_rules = |a: &&Action| a.spec.name == spec.name || a.enforces && spec.enforces();
        self.leaving.iter().filter(|a| a.life != Life::Gone).find(same_rules).map(|a| a.id)
    }

    /// Makes an action enforce every ban it does not have yet.
    pub fn enforce_all(&mut self, desk: &mut Desk, id: ActionId) {
        let mono = desk.now.mono;
        let Some(action) = self.actions.iter_mut().find(|a| a.id == id) else { return };
        for ban in self.bans.iter_mut() {
            let marks = &mut ban.state.marks;
            if !marks.iter().any(|m| m.action == id) {
                marks.push(action.first_mark(&ban.ticket, mono));
            }
            for mark in marks.iter_mut().filter(|m| m.action == id) {
                if let MarkState::Due(at) = mark.state {
                    action.due.remove(&(at, ban.ticket.id.clone()));
                    mark.state = MarkState::Due(mono);
                    action.due.insert((mono, ban.ticket.id.clone()));
                }
            }
        }
    }

    /// An action's environment was rebuilt: what it had in force may be gone.
    pub fn repaired(&mut self, desk: &mut Desk, id: ActionId) {
        let mono = desk.now.mono;
        let Some(action) = self.actions.iter_mut().find(|a| a.id == id) else { return };
        action.kept.clear();
        for ban in self.bans.iter_mut() {
            for mark in ban.state.marks.iter_mut().filter(|m| m.action == id) {
                if mark.state == MarkState::Done {
                    mark.state = MarkState::Due(mono);
                    mark.reban = true;
                    mark.tries = 0;
                    action.due.insert((mono, ban.ticket.id.clone()));
                }
            }
        }
    }

    /// A stop does not wait longer for notifications, of which one may hang on a mail or whois
    /// server: what they still have to do is left to the runner.
    fn leave_notifications(&mut self, desk: &mut Desk) {
        let late: Vec<(ActionId, Life)> = self
            .actions
            .iter()
            .chain(&self.leaving)
            .filter(|a| !a.enforces && matches!(a.life, Life::Lifting | Life::Stopping))
            .map(|a| (a.id, a.life))
            .collect();
        for (id, life) in late {
            if life == Life::Lifting {
                self.run(desk, id, JobKind::Stop, ActionOp::Stop, None);
            }
            self.retire(desk, id);
        }
    }

    /// What is due for the actions: starts, stops, retries.
    pub fn tick_actions(&mut self, desk: &mut Desk) {
        let mono = desk.now.mono;
        if self.stop_by.is_some_and(|at| at <= mono) {
            self.stop_by = None;
            self.leave_notifications(desk);
        }
        let gone: Vec<ActionId> =
            self.leaving.iter().filter(|a| a.life == Life::Gone).map(|a| a.id).collect();
        self.leaving.retain(|a| a.life != Life::Gone || a.in_flight > 0);
        for old in gone {
            let next: Vec<(ActionId, Arc<ActionSpec>)> = self
                .actions
                .iter()
                .filter(|a| a.life == Life::After(old))
                .map(|a| (a.id, Arc::clone(&a.spec)))
                .collect();
            for (id, spec) in next {
                match (self.must_wait_for(&spec), self.live_action(id)) {
                    (Some(other), Some(action)) => action.life = Life::After(other),
                    _ => self.start_action(desk, id, None),
                }
            }
        }
        let ids: Vec<(ActionId, Life)> = self
            .actions
            .iter()
            .rev()
            .chain(self.leaving.iter().rev())
            .map(|a| (a.id, a.life))
            .collect();
        for (id, life) in ids {
            match life {
                Life::Settling(at) if at <= mono && self.phase == Phase::Running => {
                    self.start_action(desk, id, None);
                }
                Life::Lifting => self.stop_lifted(desk, id),
                _ => {}
            }
            if self.phase == Phase::Running || self.phase == Phase::Added {
                self.retry(desk, id);
            }
        }
    }

    /// Stops an action once everything it was asked before has been answered.
    fn stop_lifted(&mut self, desk: &mut Desk, id: ActionId) {
        if self.restoring.is_some() {
            // Something may still have to be swept away.
            return;
        }
        let Some(action) = self.action_mut(id) else { return };
        if action.in_flight > 0 || self.hand_on(desk, id) {
            return;
        }
        let Some(action) = self.action_mut(id) else { return };
        action.life = Life::Stopping;
        self.run(desk, id, JobKind::Stop, ActionOp::Stop, None);
    }

    /// Tries again what failed, and does what waited, within bounds.
    fn retry(&mut self, desk: &mut Desk, id: ActionId) {
        let mono = desk.now.mono;
        let Some(action) = self.live_action(id) else { return };
        if action.life != Life::Up {
            return;
        }
        let known = action.spec.is_known();
        if action.start_at.is_some_and(|at| at <= mono) {
            action.start_at = None;
            self.run(desk, id, JobKind::Start, ActionOp::Start, None);
        }
        if !known {
            return;
        }
        for _ in 0..MAX_IN_FLIGHT {
            let Some(action) = self.live_action(id) else { return };
            if action.in_flight >= MAX_IN_FLIGHT {
                return;
            }
            let over = action.unbans.iter().find(|(_, unban)| unban.at <= mono);
            if let Some(key) = over.map(|(key, _)| key.clone()) {
                if let Some(unban) = action.unbans.remove(&key) {
                    let FailedUnban { tries, sure, ticket, .. } = unban;
                    let kind = JobKind::Unban { ticket, sure, tries };
                    self.run(desk, id, kind, ActionOp::Unban, None);
                }
                continue;
            }
            let Some((at, _)) = action.due.first() else { return };
            if *at > mono {
                return;
            }
            let Some((_, key)) = action.due.pop_first() else { return };
            self.emit_ban(desk, &key, id);
        }
    }

    /// An unban failed: it is tried again a few times, and then the administrator is told.
    pub fn unban_failed(
        &mut self,
        desk: &mut Desk,
        id: ActionId,
        ticket: Arc<Ticket>,
        sure: Sure,
        tries: u32,
    ) {
        let mono = desk.now.mono;
        let live = self.live_action(id).is_some();
        if live && self.bans.get(&ticket.id).is_some() {
            // Banned again: it is as it should be.
            return;
        }
        let jail = Arc::clone(&self.name);
        let Some(action) = self.action_mut(id) else { return };
        let tries = tries.saturating_add(1);
        let up = action.life == Life::Up;
        let most = match (up, sure) {
            (true, Sure::Yes) => UNBAN_TRIES,
            // Stopping cannot wait; and what never worked may well fail for ever.
            _ => 3,
        };
        if tries >= most || action.unbans.len() >= MAX_UNBANS {
            let text = format!(
                "[{jail}] {} may still be banned by '{}': taking it back failed {tries} times; \
                 remove it by hand",
                ticket.id, action.spec.name
            );
            desk.log(Level::Error, logger::ACTIONS, text);
        } else if up {
            let at = mono.plus(backoff(tries));
            action.unbans.insert(ticket.id.clone(), FailedUnban { at, tries, sure, ticket });
        } else {
            let kind = JobKind::Unban { ticket, sure, tries };
            self.run(desk, id, kind, ActionOp::Unban, None);
        }
    }

    /// The ban time of the jail was changed by command: bans without their own follow.
    pub fn set_ban_time(&mut self, secs: i64) -> Result<(), CommandError> {
        self.spec.ban_time = secs;
        self.bans.set_default_time(BanTime::from_secs(secs));
        Ok(())
    }

    /// Forgets an action instance at the runner.
    pub fn retire(&mut self, desk: &mut Desk, id: ActionId) {
        if let Some(action) = self.action_mut(id) {
            action.life = Life::Gone;
        }
        desk.out.push(Effect::Retire(id));
    }
}
