//! What is different about actions written in Python.
//!
//! Nobody knows what such an action can do until its file has been loaded, which the edge does when
//! it starts. Until then it may be one that enforces: no ban is handed to it, and none is announced.
//! And its properties are those of a live object, so clients ask that object, not the specification.

use std::sync::Arc;

use super::desk::{Asked, Desk, Reply, Teller};
use super::jail::{Jail, Life, Mark, MarkState};
use super::{Engine, JailKey};
use crate::command::{CommandError, ErrorClass, Query};
use crate::effect::{ActionId, Ask, Property, Traits};
use crate::id::Id;
use crate::time::Span;
use crate::value::Value;

/// How long a client waits for an action that has other things to do.
const ANSWER_LIMIT: Span = Span::from_secs(60);

impl Engine {
    /// The question in a `get J …` that is for a Python action itself.
    pub(super) fn python_query(
        &self,
        key: JailKey,
        query: &Query,
    ) -> Result<Option<(ActionId, Property)>, CommandError> {
        let (name, what) = match query {
            Query::Action { name, property } => (name, Property::Get(property.clone())),
            Query::ActionProperties(name) => (name, Property::Names),
            Query::ActionMethods(name) => (name, Property::Methods),
            _ => return Ok(None),
        };
        let Some(jail) = self.jails.get(&key) else { return Ok(None) };
        let python = jail.spec.actions.iter().any(|a| a.name == *name && a.python.is_some());
        match (python, jail.running_python(name)) {
            (false, _) => Ok(None),
            (true, Some(id)) => Ok(Some((id, what))),
            (true, None) => {
                let text = format!(
                    "Action {name} is written in Python and does not run: start its jail first"
                );
                Err(CommandError::new(ErrorClass::Exception, text))
            }
        }
    }

    /// Asks a running Python action; the teller gets its answer, or `True` for one of many settings.
    pub(super) fn ask_python(
        &mut self,
        key: JailKey,
        action: ActionId,
        what: Property,
        multi: bool,
        teller: Teller,
    ) {
        let Some(jail) = self.jails.get(&key) else { return };
        let counters = jail.counters();
        let text = format!(
            "The action has not answered for {} seconds: it is busy or hangs, see the log",
            ANSWER_LIMIT.as_secs()
        );
        let late = Reply::Done(Err(CommandError::new(ErrorClass::Exception, text)));
        let wait = self.desk.wait(teller, late, Some(ANSWER_LIMIT));
        self.desk.ask(Ask::Action { action, counters, what }, Asked::Property { multi, wait });
    }

    /// A Python action has been loaded, or could not be.
    pub(super) fn described(&mut self, action: ActionId, traits: Traits) {
        if let Some(jail) = self.jails.values_mut().find(|j| j.has_action(action)) {
            jail.described(&mut self.desk, action, traits);
        }
    }
}

impl Jail {
    /// The Python action of this name, if it can be asked.
    pub fn running_python(&self, name: &str) -> Option<ActionId> {
        let named = self.actions.iter().find(|a| a.spec.name == name)?;
        (named.spec.python.is_some() && named.life == Life::Up).then_some(named.id)
    }

    fn described(&mut self, desk: &mut Desk, id: ActionId, traits: Traits) {
        let Some(action) = self.action_mut(id) else { return };
        let before = action.spec.traits;
        Arc::make_mut(&mut action.spec).traits = Some(traits);
        action.enforces = traits.enforces;
        if self.live_action(id).is_none() {
            return;
        }
        if before.is_some_and(|before| before.enforces == traits.enforces) {
            return;
        }
        if traits.enforces {
            // What it was told as another kind of action was told in vain.
            for ban in self.bans.iter_mut() {
                ban.state.notified.retain(|told| *told != id);
            }
            self.enforce_all(desk, id);
        } else {
            self.only_notifies(desk, id);
        }
    }

    /// No ban waits for it any more, and it hears of those it has not heard of.
    fn only_notifies(&mut self, desk: &mut Desk, id: ActionId) {
        if let Some(action) = self.live_action(id) {
            action.due.clear();
            action.unbans.clear();
        }
        let mut freed: Vec<Id> = Vec::new();
        for ban in self.bans.iter_mut() {
            let state = &mut ban.state;
            let (gone, stay): (Vec<Mark>, Vec<Mark>) =
                std::mem::take(&mut state.marks).into_iter().partition(|m| m.action == id);
            state.marks = stay;
            if gone.iter().any(|m| !matches!(m.state, MarkState::Due(_) | MarkState::Skipped)) {
                state.notified.push(id);
            }
            if !gone.is_empty() {
                freed.push(ban.ticket.id.clone());
            }
        }
        for key in freed {
            self.announce(desk, &key);
        }
    }
}

/// What a client is told of the answer.
pub(super) fn answer(
    result: Result<Value, CommandError>,
    multi: bool,
) -> Result<Value, CommandError> {
    result.map(|value| if multi { Value::Bool(true) } else { value })
}
