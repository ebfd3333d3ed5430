//! What `status`, `stats` and `banned` tell.
//!
//! The shapes are fail2ban's, because scripts parse them; what fail2ban has no place for (what is
//! not enforced, what is broken, what is waited for) follows in rows of its own, and only then.

use super::Engine;
use super::desk::{Asked, Reply, Teller, WaitId, logger};
use super::jail::{Enforcement, Jail, Phase};
use crate::banmanager::Ban;
use crate::command::{CommandError, ErrorClass, Flavor};
use crate::effect::{ActionId, Ask, Level, Origin};
use crate::id::Id;
use crate::time::Monotonic;
use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn row(name: &str, value: Value) -> Value {
    Value::Tuple(vec![Value::str(name), value])
}

fn count(n: impl TryInto<i64>) -> Value {
    Value::Int(n.try_into().unwrap_or(i64::MAX))
}

impl Engine {
    /// The jails that guard (or are about to), in the order they were added.
    pub(super) fn guarding(&self) -> Vec<&Jail> {
        let mut jails: Vec<&Jail> =
            self.names.values().filter_map(|key| self.jails.get(key)).collect();
        jails.sort_by_key(|j| j.key);
        jails
    }

    pub(super) fn status(&mut self, all: bool, flavor: &Flavor) -> Value {
        self.note_flavor(flavor);
        let mut names: Vec<&str> = self.names.keys().map(|n| &**n).collect();
        names.sort_unstable();
        let jails = |engine: &Self| {
            let list = names.iter().filter_map(|name| {
                let jail = engine.names.get(*name).and_then(|key| engine.jails.get(key))?;
                Some((Value::str(*name), engine.jail_status(jail, flavor)))
            });
            Value::Dict(list.collect())
        };
        if all && *flavor == Flavor::Stats {
            return jails(self);
        }
        let mut rows = vec![
            row("Number of jail", count(names.len())),
            row("Jail list", Value::Str(names.join(", "))),
        ];
        let broken = self.broken_jails();
        if !broken.is_empty() {
            rows.push(row("Broken jails", Value::strs(broken)));
        }
        if all {
            rows.push(jails(self));
        }
        Value::List(rows)
    }

    /// Jails that are not as configured (not started, or guarding with an older form), each with
    /// the first line of the reason.
    fn broken_jails(&self) -> Vec<String> {
        let guarding = self.guarding();
        let first = |why: &str| why.lines().next().unwrap_or_default().to_owned();
        let outdated = guarding.iter().filter_map(|jail| {
            let why = format!("guards as before: {}", first(jail.broken.as_ref()?));
            Some((jail.name.to_string(), why))
        });
        let reasons: BTreeMap<String, String> = self
            .broken
            .iter()
            .map(|(name, why)| (name.clone(), first(why)))
            .chain(outdated)
            .collect();
        reasons.iter().map(|(name, why)| format!("{name} ({why})")).collect()
    }

    pub(super) fn status_of(&mut self, name: &str, flavor: &Flavor) -> Result<Value, CommandError> {
        self.note_flavor(flavor);
        if let Some(jail) = self.names.get(name).and_then(|key| self.jails.get(key)) {
            return Ok(self.jail_status(jail, flavor));
        }
        match self.broken.get(name) {
            Some(reason) => Ok(Value::List(vec![broken_row(reason)])),
            None => Err(CommandError::new(ErrorClass::UnknownJail, name)),
        }
    }

    /// `status cymru`: as `basic`, and whose the banned addresses are, which a name server knows.
    pub(super) fn ask_origins(
        &mut self,
        teller: Teller,
        one: Option<&str>,
    ) -> Result<(), CommandError> {
        let status = match one {
            Some(name) => self.status_of(name, &Flavor::Cymru)?,
            None => self.status(true, &Flavor::Cymru),
        };
        let mono = self.desk.now.mono;
        let jails = self.guarding().into_iter().filter(|j| one.is_none_or(|name| *j.name == *name));
        let questions: Vec<(Arc<str>, Vec<Id>)> = jails
            .map(|jail| {
                let shown = jail.shown(mono).map(|b| b.ticket.id.clone());
                (Arc::clone(&jail.name), shown.collect())
            })
            .collect();
        let wait = self.desk.wait(teller, Reply::Done(Ok(status)), None);
        for (name, ids) in questions {
            self.desk.wait_for(wait);
            let jail = one.is_none().then_some(name);
            self.desk.ask(Ask::Origins(ids), Asked::Origins { jail, wait });
        }
        self.desk.wait_done(wait);
        Ok(())
    }

    /// Adds whose the addresses are to the status that waits for it.
    pub(super) fn origins(
        &mut self,
        jail: Option<&str>,
        wait: WaitId,
        origins: &[Origin],
        trouble: Option<String>,
    ) {
        if let Some(text) = trouble {
            self.desk.log(Level::Error, logger::BANMANAGER, text);
        }
        let Some(Reply::Done(Ok(reply))) = self.desk.wait_reply(wait) else { return };
        let status = match jail {
            None => Some(reply),
            Some(name) => entry(last(reply), name),
        };
        let Some(Value::List(rows)) = status.and_then(|status| entry(Some(status), "Actions"))
        else {
            return;
        };
        let at = rows.iter().position(|row| key(row) == Some("Banned IP list"));
        let at = at.map_or(rows.len(), |at| at + 1);
        let list = |text: fn(&Origin) -> &String| Value::strs(origins.iter().map(text).cloned());
        let new = [
            row("Banned ASN list", list(|o| &o.asn)),
            row("Banned Country list", list(|o| &o.country)),
            row("Banned RIR list", list(|o| &o.rir)),
        ];
        rows.splice(at..at, new);
    }

    fn note_flavor(&mut self, flavor: &Flavor) {
        if let Flavor::Other(word) = flavor {
            let text = format!(
                "Unsupported extended jail status flavor {}. Supported: \
                 ['short', 'basic', 'stats', 'cymru']",
                crate::value::repr_str(word)
            );
            self.desk.log(Level::Warning, logger::ACTIONS, text);
        }
    }

    fn jail_status(&self, jail: &Jail, flavor: &Flavor) -> Value {
        let mono = self.desk.now.mono;
        if *flavor == Flavor::Stats {
            return jail.stats(mono);
        }
        let mut filter = vec![
            row("Currently failed", count(jail.fails.len())),
            row("Total failed", count(jail.fails.total())),
        ];
        if jail.spec.journal() {
            let lines = jail.spec.journal_matches.iter().map(|m| m.join(" "));
            let joined = lines.collect::<Vec<_>>().join(" + ");
            filter.push(row("Journal matches", Value::strs([joined])));
        } else {
            let files = jail.spec.logs.iter().map(|l| l.path.clone());
            filter.push(row("File list", Value::strs(files)));
        }
        if !jail.missing.is_empty() {
            filter.push(row("Missing files", Value::strs(jail.missing.keys().cloned())));
        }
        let catching_up = self.catching_up(jail);
        if !catching_up.is_empty() {
            filter.push(row("Catching up", Value::strs(catching_up)));
        }
        let mut actions = vec![
            row("Currently banned", count(jail.banned_now(mono))),
            row("Total banned", count(jail.bans.total())),
        ];
        let order = jail.bans.in_order();
        let fails: BTreeSet<ActionId> = order.iter().flat_map(|ban| ban.state.failing()).collect();
        let (shown, open): (Vec<_>, Vec<_>) = order.into_iter().partition(|b| jail.shows(b, mono));
        let list = |bans: Vec<&Ban<Enforcement>>| {
            Value::strs(bans.into_iter().map(|b| b.ticket.id.to_string()))
        };
        if *flavor != Flavor::Short {
            actions.push(row("Banned IP list", list(shown)));
        }
        if !open.is_empty() {
            let value = match flavor {
                Flavor::Short => count(open.len()),
                _ => list(open),
            };
            actions.push(row("Not enforced", value));
        }
        let failing: Vec<String> = jail
            .actions
            .iter()
            .filter(|a| a.start_tries > 0 || fails.contains(&a.id))
            .map(|a| a.spec.name.clone())
            .collect();
        if !failing.is_empty() {
            actions.push(row("Failing actions", Value::strs(failing)));
        }
        let mut rows =
            vec![row("Filter", Value::List(filter)), row("Actions", Value::List(actions))];
        if let Some(reason) = &jail.broken {
            rows.push(broken_row(reason));
        }
        Value::List(rows)
    }

    pub(super) fn stats(&self) -> Value {
        let mono = self.desk.now.mono;
        let mut jails = self.guarding();
        jails.sort_by(|a, b| a.name.cmp(&b.name));
        Value::Dict(jails.into_iter().map(|j| (Value::str(&*j.name), j.stats(mono))).collect())
    }

    pub(super) fn banned(&self, ids: &[String]) -> Value {
        let mono = self.desk.now.mono;
        let jails = self.guarding();
        if ids.is_empty() {
            let list = jails.into_iter().map(|jail| {
                let ids = Value::strs(jail.shown(mono).map(|b| b.ticket.id.to_string()));
                Value::Dict(vec![(Value::str(&*jail.name), ids)])
            });
            return Value::List(list.collect());
        }
        let per_id = ids.iter().map(|id| {
            let id = Id::parse(id);
            let names = jails.iter().filter(|j| j.shows_id(&id, mono));
            Value::strs(names.map(|j| j.name.to_string()))
        });
        Value::List(per_id.collect())
    }
}

fn key(row: &Value) -> Option<&str> {
    row.row().map(|(name, _)| name)
}

/// The last item of a list.
fn last(value: &mut Value) -> Option<&mut Value> {
    match value {
        Value::List(items) => items.last_mut(),
        _ => None,
    }
}

/// The value of a name, in a list of rows or a dictionary.
fn entry<'a>(value: Option<&'a mut Value>, name: &str) -> Option<&'a mut Value> {
    match value? {
        Value::Dict(items) => {
            items.iter_mut().find(|(k, _)| k.as_str() == Some(name)).map(|(_, v)| v)
        }
        Value::List(rows) => match rows.iter_mut().find(|row| key(row) == Some(name))? {
            Value::Tuple(pair) => pair.get_mut(1),
            _ => None,
        },
        _ => None,
    }
}

fn broken_row(reason: &str) -> Value {
    row("Broken", Value::List(vec![row("Reason", Value::str(reason))]))
}

impl Jail {
    /// Whether a ban may be shown as one.
    pub fn shows(&self, ban: &Ban<Enforcement>, now: Monotonic) -> bool {
        self.phase == Phase::Running && ban.state.shown(now)
    }

    /// The bans that may be shown as such, in the order they were made.
    pub fn shown(&self, now: Monotonic) -> impl Iterator<Item = &Ban<Enforcement>> {
        self.bans.in_order().into_iter().filter(move |ban| self.shows(ban, now))
    }

    pub fn shows_id(&self, id: &Id, now: Monotonic) -> bool {
        self.bans.get(id).is_some_and(|ban| self.shows(ban, now))
    }

    fn banned_now(&self, now: Monotonic) -> usize {
        self.bans.iter().filter(|ban| self.shows(ban, now)).count()
    }

    fn stats(&self, now: Monotonic) -> Value {
        Value::List(vec![
            Value::str(self.spec.backend_name()),
            Value::Tuple(vec![count(self.fails.len()), count(self.fails.total())]),
            Value::Tuple(vec![count(self.banned_now(now)), count(self.bans.total())]),
        ])
    }
}
