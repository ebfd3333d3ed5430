//! What jobs came to.

use std::sync::Arc;

use super::Engine;
use super::desk::{Desk, JobInfo, JobKind, Reply, Sure, logger};
use super::enforce::backoff;
use super::jail::{Jail, Life, MarkState};
use crate::command::{CommandError, ErrorClass};
use crate::effect::{ActionFailure, ActionId, ActionOp, Happening, JobId, Level};
use crate::id::Id;
use crate::ticket::Ticket;

impl Engine {
    pub(super) fn outcome(&mut self, job: JobId, result: Result<(), ActionFailure>) {
        let Some(info) = self.desk.finish_job(job) else { return };
        let wait = info.wait;
        if let (JobKind::Start | JobKind::Call { .. }, Err(failure)) = (&info.kind, &result)
            && let Some(Reply::Done(reply)) = wait.and_then(|wait| self.desk.wait_reply(wait))
        {
            *reply = Err(CommandError::new(ErrorClass::RuntimeError, &failure.reason));
        }
        if let Some(jail) = self.jails.get_mut(&info.jail) {
            jail.outcome(&mut self.desk, job, info, result);
        }
        if let Some(wait) = wait {
            self.desk.wait_done(wait);
        }
    }
}

impl Jail {
    fn outcome(
        &mut self,
        desk: &mut Desk,
        job: JobId,
        info: JobInfo,
        result: Result<(), ActionFailure>,
    ) {
        let id = info.action;
        let Some(action) = self.action_mut(id) else { return };
        debug_assert!(action.in_flight > 0, "an answer too many");
        action.in_flight = action.in_flight.saturating_sub(1);
        let name = action.spec.name.clone();
        let (failure, repaired) = match result {
            Ok(()) => (None, false),
            Err(failure) => (Some(failure.reason), failure.repaired),
        };
        match info.kind {
            JobKind::Start => self.started(desk, id, &name, failure),
            JobKind::Stop => {
                if let Some(reason) = failure {
                    let text =
                        format!("Failed to stop jail '{}' action '{name}': {reason}", self.name);
                    desk.log(Level::Error, logger::ACTIONS, text);
                }
                self.retire(desk, id);
            }
            // Errors are expected where nothing was left behind.
            JobKind::CleanUp | JobKind::Call { .. } => {}
            JobKind::Reload => {
                if let Some(reason) = failure {
                    let text =
                        format!("Failed to reload jail '{}' action '{name}': {reason}", self.name);
                    desk.log(Level::Error, logger::ACTIONS, text);
                }
            }
            JobKind::Adopt => {
                if let Some(reason) = failure {
                    let text = format!(
                        "Jail '{}' action '{name}' is not as it was left: {reason}; it starts anew",
                        self.name
                    );
                    desk.log(Level::Warning, logger::ACTIONS, text);
                    self.adoption_failed(desk, id);
                }
            }
            JobKind::Check => {
                if let Some(reason) = failure {
                    let text =
                        format!("Check of jail '{}' action '{name}' failed: {reason}", self.name);
                    desk.log(Level::Error, logger::ACTIONS, text);
                }
            }
            JobKind::Flush(tickets) => self.flushed(desk, (job, id, &name), tickets, failure),
            JobKind::Ban { ticket, serial } => {
                action.answered(&ticket.id, job);
                self.ban_done(desk, (job, id, &name), &ticket, serial, failure);
            }
            JobKind::Unban { ticket, sure, tries } => {
                action.answered(&ticket.id, job);
                let later = action.overtaken(&ticket.id, job);
                if let Some(reason) = failure
                    && sure != Sure::Leftover
                {
                    self.log_failed(desk, "unban", &name, &ticket, &reason);
                    match later {
                        None => self.unban_failed(desk, id, ticket, sure, tries),
                        Some(later) => {
                            desk.owe(later, &ticket);
                        }
                    }
                }
            }
            JobKind::Prolong { ticket } => {
                if let Some(reason) = failure {
                    self.log_failed(desk, "prolong", &name, &ticket, &reason);
                }
            }
            JobKind::Notify { ticket } => {
                if let Some(reason) = failure {
                    self.log_failed(desk, "ban", &name, &ticket, &reason);
                }
            }
        }
        if repaired {
            self.repaired(desk, id);
        }
    }

    fn log_failed(&self, desk: &mut Desk, what: &str, action: &str, ticket: &Ticket, why: &str) {
        let family = ticket.id.family().map_or("None".into(), |f| format!("'{}'", f.as_str()));
        let text = format!(
            "Failed to execute {what} jail '{}' action '{action}' info \
             'ActionInfo({{'ip': '{}', 'family': {family}}})': {why}",
            self.name,
            ticket.address.as_ref().unwrap_or(&ticket.id),
        );
        desk.log(Level::Error, logger::ACTIONS, text);
    }

    fn started(&mut self, desk: &mut Desk, id: ActionId, name: &str, failure: Option<String>) {
        let mono = desk.now.mono;
        let jail = Arc::clone(&self.name);
        let Some(action) = self.action_mut(id) else { return };
        match failure {
            None => {
                let again = action.start_tries > 0;
                action.start_tries = 0;
                action.start_at = None;
                if again {
                    self.hurry(desk, id);
                }
            }
            Some(reason) => {
                action.start_tries = action.start_tries.saturating_add(1);
                if action.life == Life::Up {
                    action.start_at = Some(mono.plus(backoff(action.start_tries)));
                }
                let text = format!("Failed to start jail '{jail}' action '{name}': {reason}");
                desk.log(Level::Error, logger::ACTIONS, text);
            }
        }
    }

    /// What failed before the action could start is tried at once.
    fn hurry(&mut self, desk: &mut Desk, id: ActionId) {
        let mono = desk.now.mono;
        let Some(action) = self.actions.iter_mut().find(|a| a.id == id) else { return };
        let waiting: Vec<Id> =
            std::mem::take(&mut action.due).into_iter().map(|(_, key)| key).collect();
        for key in waiting {
            if let Some(ban) = self.bans.get_mut(&key) {
                for mark in ban.state.marks.iter_mut().filter(|m| m.action == id) {
                    if let MarkState::Due(_) = mark.state {
                        mark.state = MarkState::Due(mono);
                        action.due.insert((mono, key.clone()));
                    }
                }
            }
        }
    }

    fn ban_done(
        &mut self,
        desk: &mut Desk,
        (job, id, name): (JobId, ActionId, &str),
        ticket: &Arc<Ticket>,
        serial: u64,
        failure: Option<String>,
    ) {
        let mono = desk.now.mono;
        if let Some(reason) = &failure {
            self.log_failed(desk, "ban", name, ticket, reason);
            let what = Happening::NotEnforced(ticket.id.clone(), reason.clone());
            desk.happened(&self.name, what);
            self.not_in_force(desk, id, ticket);
        } else if let Some(action) = self.live_action(id) {
            // It works: a start that failed half-way needs no other try.
            action.start_at = None;
            action.start_tries = 0;
        }
        let key = &ticket.id;
        let Some(ban) = self.bans.get_mut(key).filter(|b| b.serial == serial) else { return };
        let Some(mark) = ban.state.marks.iter_mut().find(
            |m| matches!(m.state, MarkState::Running(running, _) if m.action == id && running == job),
        ) else {
            return;
        };
        match failure {
            None => {
                mark.state = MarkState::Done;
                mark.tries = 0;
                mark.reban = false;
                self.announce(desk, key);
            }
            Some(_) => {
                mark.tries = mark.tries.saturating_add(1);
                let at = mono.plus(backoff(mark.tries));
                mark.state = MarkState::Due(at);
                if let Some(action) = self.actions.iter_mut().find(|a| a.id == id) {
                    action.due.insert((at, key.clone()));
                }
            }
        }
    }

    /// A flush that failed is made up for ticket by ticket.
    fn flushed(
        &mut self,
        desk: &mut Desk,
        (job, id, name): (JobId, ActionId, &str),
        tickets: Vec<Arc<Ticket>>,
        failure: Option<String>,
    ) {
        let Some(reason) = failure else { return };
        // Without a reason it is no fault: the action wants to be told one by one.
        if !reason.is_empty() {
            let text =
                format!("Failed to flush bans in jail '{}' action '{name}': {reason}", self.name);
            desk.log(Level::Error, logger::ACTIONS, text);
        }
        let live = self.live_action(id).is_some();
        for ticket in tickets {
            let later = self.action_mut(id).and_then(|a| a.overtaken(&ticket.id, job));
            if let Some(later) = later {
                desk.owe(later, &ticket);
                continue;
            }
            if !(live && self.bans.get(&ticket.id).is_some()) {
                let kind = JobKind::Unban { ticket, sure: Sure::Yes, tries: 0 };
                self.run(desk, id, kind, ActionOp::Unban, None);
            }
        }
    }
}
