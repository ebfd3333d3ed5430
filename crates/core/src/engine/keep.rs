//! A restart without a gap: what is in force stays in force, from one server to the next.
//!
//! A server that is told `stop --keep` takes nothing back and stops no enforcing action; what each
//! has in force leaves as [`Effect::Keep`]. The next server finds it in its `Config`, checks each
//! action's environment instead of starting it, and takes the bans that come back from the database
//! for enforced. What does not come back (ended meanwhile, ignored now) is taken back; an action
//! that is configured otherwise now is cleaned up as it was made. Must never leave anything in the
//! firewall that no ban answers for.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::JailKey;
use super::desk::{Desk, JobKind, Sure};
use super::jail::{Action, Enforcement, Jail, Life, Mark, MarkState, set_families};
use crate::banmanager::Ban;
use crate::effect::{ActionId, ActionOp, ActionSpec, Counters, Effect, Kept};
use crate::failure::Fields;
use crate::id::Id;
use crate::ticket::{BanTime, Ticket};
use crate::time::{Monotonic, Span, Timestamp};

/// How long a start may take before what nobody asked for is taken back.
const CLAIM: Span = Span::from_secs(60);
/// How long a restored ban may be judged (ignore rules may ask the world) before it counts as gone.
const JUDGED: Span = Span::from_secs(60);
/// No jail has this key: outcomes of jobs without a jail interest nobody.
const NOBODY: JailKey = 0;

impl Action {
    /// Whether what it has in force can be handed to the next server.
    fn keepable(&self) -> bool {
        self.enforces && self.spec.python.is_none() && self.start_tries == 0
    }
}

impl Desk {
    /// What an earlier server left of an action, if that was the same.
    fn claim(&mut self, jail: &str, spec: &ActionSpec) -> Option<Kept> {
        let kept = &mut self.config.kept;
        let at = kept.iter().position(|k| k.jail == jail && k.spec == *spec)?;
        Some(kept.swap_remove(at))
    }

    /// Takes back what an earlier server left of an action whose jail is no more.
    fn give_up(&mut self, kept: Kept) {
        let action = ActionId(u32::try_from(self.number()).unwrap_or(u32::MAX));
        let (jail, spec) = (Arc::from(kept.jail), Arc::new(kept.spec));
        self.out.push(Effect::Adopt(action, kept.families));
        let mut run = |kind, op| {
            self.run((NOBODY, &jail), (action, &spec), Counters::default(), kind, op, None);
        };
        if !spec.defines("actionflush") {
            for id in kept.ids {
                let ticket = Arc::new(leftover(id));
                let kind = JobKind::Unban { ticket, sure: Sure::Leftover, tries: 0 };
                run(kind, ActionOp::Unban);
            }
        }
        run(JobKind::CleanUp, ActionOp::CleanUp);
        self.out.push(Effect::Retire(action));
    }

    /// The configuration is complete: what no action has claimed is taken back.
    pub fn give_up_unclaimed(&mut self) {
        for kept in std::mem::take(&mut self.config.kept) {
            self.give_up(kept);
        }
    }

    /// The same where the configuration never came.
    pub fn give_up_late(&mut self) {
        if self.config.kept.is_empty() {
            self.claim_by = None;
            return;
        }
        let mono = self.now.mono;
        let by = *self.claim_by.get_or_insert(mono.plus(CLAIM));
        if by <= mono {
            self.give_up_unclaimed();
        }
    }
}

impl Jail {
    /// Stops without taking anything back, but where that cannot be handed on.
    pub fn set_aside(&mut self, desk: &mut Desk) {
        let all = self.bans.take_all();
        let ids: Vec<(ActionId, bool)> =
            self.actions.iter().map(|a| (a.id, a.keepable())).collect();
        for (id, keepable) in ids {
            if !keepable {
                self.flush_action(desk, id, ActionOp::LastFlush, &all, None);
                continue;
            }
            for ticket in uncertain(&all, id) {
                self.unban_job(desk, id, &ticket, Sure::Perhaps, None);
            }
            let Some(action) = self.live_action(id) else { continue };
            action.due.clear();
            action.kept.extend(in_force(&all, id));
            // What could not be taken back yet is the next one's to take back.
            action.kept.extend(std::mem::take(&mut action.unbans).into_keys());
        }
    }

    /// Hands on what an action has in force, once nothing of it is under way; false if it is to be
    /// stopped like any other.
    pub fn hand_on(&mut self, desk: &mut Desk, id: ActionId) -> bool {
        if !desk.keeping {
            return false;
        }
        let jail = self.name.to_string();
        let Some(action) = self.live_action(id).filter(|a| a.keepable()) else { return false };
        let ids = std::mem::take(&mut action.kept).into_iter().collect();
        let spec = ActionSpec::clone(&action.spec);
        desk.out.push(Effect::Keep(id, Kept { jail, spec, ids, families: Vec::new() }));
        self.retire(desk, id);
        true
    }

    /// Takes over what an earlier server left of this action; false if there is nothing to take
    /// over, and it is to be started.
    pub fn adopt(&mut self, desk: &mut Desk, id: ActionId) -> bool {
        let name = Arc::clone(&self.name);
        let Some(action) = self.live_action(id) else { return false };
        let Some(kept) = desk.claim(&name, &action.spec) else { return false };
        action.kept.extend(kept.ids);
        desk.out.push(Effect::Adopt(id, kept.families));
        self.run(desk, id, JobKind::Adopt, ActionOp::Check, None);
        true
    }

    /// A ban that was on its way when the server was stopped has failed: it is not handed on.
    pub fn not_in_force(&mut self, desk: &mut Desk, id: ActionId, ticket: &Arc<Ticket>) {
        let kept = self.live_action(id).is_some_and(|action| action.kept.remove(&ticket.id));
        if kept && desk.keeping {
            self.unban_job(desk, id, ticket, Sure::Perhaps, None);
        }
    }

    /// What an earlier server left of actions that this jail has not, or not as they were, is taken
    /// back; they leave like any action that was removed.
    pub fn leave_behind(&mut self, desk: &mut Desk) {
        let ipv6 = desk.config.ipv6;
        let wanted: Vec<ActionSpec> = self
            .spec
            .actions
            .iter()
            .map(|spec| {
                let mut spec = spec.clone();
                set_families(&mut spec, ipv6);
                spec
            })
            .collect();
        let (other, stay): (Vec<Kept>, Vec<Kept>) = std::mem::take(&mut desk.config.kept)
            .into_iter()
            .partition(|kept| *kept.jail == *self.name && !wanted.contains(&kept.spec));
        desk.config.kept = stay;
        for kept in other {
            let id = ActionId(u32::try_from(desk.number()).unwrap_or(u32::MAX));
            let mut action = Action::new(id, kept.spec, ipv6, Life::Lifting);
            action.kept = kept.ids.into_iter().collect();
            self.leaving.push(action);
            desk.out.push(Effect::Adopt(id, kept.families));
            self.flush_action(desk, id, ActionOp::LastFlush, &[], None);
        }
    }

    /// What was taken over is not there after all: everything is to be made anew.
    pub fn adoption_failed(&mut self, desk: &mut Desk, id: ActionId) {
        self.repaired(desk, id);
        self.run(desk, id, JobKind::Start, ActionOp::Start, None);
    }

    /// The stored bans are known: of what was taken over, the rest has ended.
    pub fn drop_ended(&mut self, desk: &mut Desk, restored: &[Ticket]) {
        let mono = desk.now.mono;
        let back: BTreeSet<&Id> = restored.iter().map(|ticket| &ticket.id).collect();
        let mut ended: Vec<(ActionId, Arc<Ticket>)> = Vec::new();
        for action in self.actions.iter_mut().filter(|a| !a.kept.is_empty()) {
            let (stay, gone): (BTreeSet<Id>, BTreeSet<Id>) =
                std::mem::take(&mut action.kept).into_iter().partition(|id| back.contains(id));
            action.kept = stay;
            ended.extend(gone.into_iter().map(|id| (action.id, Arc::new(leftover(id)))));
            action.kept_until = Some(mono.plus(JUDGED));
        }
        self.take_back(desk, ended);
    }

    /// A restored ban was not made (an ignore rule, say): it is not to stay in force.
    pub fn let_go(&mut self, desk: &mut Desk, id: &Id) {
        let mut left: Vec<(ActionId, Arc<Ticket>)> = Vec::new();
        for action in &mut self.actions {
            if action.kept.remove(id) {
                left.push((action.id, Arc::new(leftover(id.clone()))));
            }
        }
        self.take_back(desk, left);
    }

    /// Restored bans of which nothing was heard are not to stay in force.
    pub fn drop_unjudged(&mut self, desk: &mut Desk) {
        let mono = desk.now.mono;
        let mut left: Vec<(ActionId, Arc<Ticket>)> = Vec::new();
        for action in &mut self.actions {
            if action.kept_until.is_some_and(|at| at <= mono) {
                let kept = action.drain_kept();
                left.extend(kept.into_iter().map(|ticket| (action.id, ticket)));
            }
        }
        self.take_back(desk, left);
    }

    fn take_back(&mut self, desk: &mut Desk, left: Vec<(ActionId, Arc<Ticket>)>) {
        for (action, ticket) in left {
            let banned_anew = self.bans.get(&ticket.id).is_some();
            if !banned_anew {
                let kind = JobKind::Unban { ticket, sure: Sure::Yes, tries: 0 };
                self.run(desk, action, kind, ActionOp::Unban, None);
            }
        }
    }
}

impl Action {
    /// What an earlier server left and nobody has claimed yet, to be taken back.
    pub fn drain_kept(&mut self) -> Vec<Arc<Ticket>> {
        self.kept_until = None;
        std::mem::take(&mut self.kept).into_iter().map(|id| Arc::new(leftover(id))).collect()
    }

    /// How a ban begins for this action: enforced already, not for it, or due.
    pub fn first_mark(&mut self, ticket: &Ticket, mono: Monotonic) -> Mark {
        let state = if self.kept.remove(&ticket.id) {
            MarkState::Done
        } else if self.no_restored() && ticket.restored {
            MarkState::Skipped
        } else {
            MarkState::Due(mono)
        };
        let touched = !matches!(state, MarkState::Due(_));
        Mark { action: self.id, state, tries: 0, touched, reban: false }
    }
}

/// Ids that an action has in force, or is about to.
fn in_force(bans: &[Ban<Enforcement>], action: ActionId) -> impl Iterator<Item = Id> {
    let done = move |ban: &&Ban<Enforcement>| {
        let mut marks = ban.state.marks.iter().filter(|mark| mark.action == action);
        marks.any(|mark| matches!(mark.state, MarkState::Done | MarkState::Running(..)))
    };
    bans.iter().filter(done).map(|ban| ban.ticket.id.clone())
}

/// Bans that failed, and may be in force all the same.
fn uncertain(bans: &[Ban<Enforcement>], action: ActionId) -> Vec<Arc<Ticket>> {
    let failed = |ban: &&Ban<Enforcement>| {
        let mut marks = ban.state.marks.iter().filter(|mark| mark.action == action);
        marks.any(|mark| mark.touched && matches!(mark.state, MarkState::Due(_)))
    };
    bans.iter().filter(failed).map(|ban| Arc::clone(&ban.ticket)).collect()
}

/// A ban of which only the id is known.
fn leftover(id: Id) -> Ticket {
    Ticket {
        id,
        address: None,
        time: Timestamp::default(),
        whole: true,
        ban_time: BanTime::Permanent,
        ban_count: 1,
        failures: 0,
        matches: Vec::new(),
        fields: Fields::default(),
        restored: true,
    }
}
