//! Operations of actions that a client asks for by hand: `set J action A METHOD`.
//!
//! They run in the action's lane like any other job, and change nothing about what is banned or
//! thought to be in force: that is the business of whoever asks.

use std::sync::Arc;

use super::desk::{Desk, JobKind, Reply, Teller};
use super::jail::{Jail, Life};
use crate::command::call::{About, Call};
use crate::command::{CommandError, ErrorClass};
use crate::effect::ActionOp;
use crate::failure::{Fields, MatchedLine};
use crate::ticket::{BanTime, Ticket};
use crate::time::Span;
use crate::value::Value;

/// How long a client waits for an operation; commands have limits of their own, which end it.
const CALL_LIMIT: Span = Span::from_secs(300);

impl Jail {
    /// Runs an operation; the teller is told when it is done.
    pub fn call(
        &mut self,
        desk: &mut Desk,
        name: &str,
        call: &Call,
        teller: Teller,
    ) -> Result<(), CommandError> {
        let action = self.actions.iter().find(|a| a.spec.name == name);
        let Some((id, life)) = action.map(|a| (a.id, a.life)) else {
            let text = format!("Jail {:?} is not started, so its actions are not", &*self.name);
            return Err(CommandError::new(ErrorClass::RuntimeError, text));
        };
        let ticket = call.about.as_ref().map(|about| Arc::new(self.ticket(desk, about)));
        let value = match ticket {
            Some(_) => Value::None,
            None => Value::Bool(true),
        };
        let wait = desk.wait(teller, Reply::Done(Ok(value)), Some(CALL_LIMIT));
        match (call.op, life) {
            // It would have started in a moment.
            (ActionOp::Start, Life::Settling(_)) => self.start_action(desk, id, Some(wait)),
            (op, _) => {
                self.run(desk, id, JobKind::Call { ticket }, op, Some(wait));
            }
        }
        desk.wait_done(wait);
        Ok(())
    }

    fn ticket(&self, desk: &Desk, about: &About) -> Ticket {
        Ticket {
            id: about.id.clone(),
            address: None,
            time: desk.now.wall,
            whole: false,
            ban_time: BanTime::from_secs(about.ban_time.unwrap_or(self.spec.ban_time)),
            ban_count: 1,
            failures: about.failures,
            matches: about.matches.iter().cloned().map(MatchedLine::Whole).collect(),
            fields: Fields::default(),
            restored: false,
        }
    }
}
