//! From a stream of commands to running jails: a start, and every reload.
//!
//! A stream builds specifications from defaults, apart from what runs. Each is compared with the
//! jail of its name and only the differences are acted on, so bans and counts survive and options
//! that vanished fall back. A jail whose commands fail is not touched: it goes on guarding with its
//! old specification, or is listed as broken; the others are none the worse.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::desk::{JobKind, Reply, Teller, WaitId, logger};
use super::jail::{Action, Jail, Life, Phase, Restoring, SETTLE, set_families};
use super::lines::LineState;
use super::{Engine, JailKey};
use crate::command::{Change, Command, CommandError, ErrorClass, Reload, Words};
use crate::effect::{ActionId, ActionOp, ActionSpec, Ask, Happening, Level, StoreOp};
use crate::id::Id;
use crate::spec::{Backend, JailSpec, Wanted, reloadable};
use crate::value::Value;

/// A stream under way.
pub(super) struct Stream {
    drafts: BTreeMap<String, Draft>,
    order: Vec<String>,
    restart: bool,
    reload: bool,
    error: Option<CommandError>,
    pub wait: WaitId,
}

struct Draft {
    spec: JailSpec,
    error: Option<String>,
    /// `start J` was seen: the draft has become the jail.
    started: bool,
}

impl Engine {
    /// Runs a stream; `reload` if it is one.
    pub(super) fn stream(&mut self, teller: Teller, list: Vec<Words>, reload: Option<&Reload>) {
        let value = if reload.is_some() { Value::str("OK") } else { Value::None };
        let wait = self.desk.wait(teller, Reply::Done(Ok(value)), None);
        let mut stream = Stream {
            drafts: BTreeMap::new(),
            order: Vec::new(),
            restart: reload.is_some_and(|r| r.restart),
            reload: reload.is_some(),
            error: None,
            wait,
        };
        match reload {
            Some(Reload { jail: Some(name), .. }) => {
                self.broken.remove(name);
            }
            _ => self.broken.clear(),
        }
        for words in list {
            self.stream_command(&mut stream, &words);
        }
        self.end_stream(stream, reload);
    }

    fn stream_command(&mut self, stream: &mut Stream, words: &Words) {
        let jail = match (words.words.first(), words.words.get(1)) {
            (Some(verb), Some(name)) => {
                let of_jail = matches!(verb.as_str(), Some("set" | "multi-set" | "start" | "add"));
                of_jail.then(|| name.to_text())
            }
            _ => None,
        };
        let result = match Command::parse(words) {
            Ok(command) => self.stream_parsed(stream, command),
            Err(error) => Err(error),
        };
        let Err(error) = result else { return };
        self.desk.log_refused(words, &error);
        let text = match &words.origin {
            Some(origin) => format!("{origin}: {}", error.text()),
            None => error.text(),
        };
        match jail.and_then(|name| stream.drafts.get_mut(&name)) {
            Some(draft) => {
                draft.error.get_or_insert(text);
            }
            None => {
                stream.error.get_or_insert(error);
            }
        }
    }

    fn stream_parsed(&mut self, stream: &mut Stream, command: Command) -> Result<(), CommandError> {
        match command {
            Command::Add { jail, backend } => {
                if stream.drafts.contains_key(&jail) || (!stream.reload && self.exists(&jail)) {
                    return Err(CommandError::new(ErrorClass::DuplicateJail, jail));
                }
                let spec = self.new_spec(&backend)?;
                let draft = Draft { spec, error: None, started: false };
                let known = self.names.get(&*jail).and_then(|key| self.jails.get(key));
                match known.map(|known| known.spec.backend == backend) {
                    None => self.announce_jail(&jail, &draft.spec),
                    Some(true) if !stream.restart => {
                        let text = format!("Reload jail '{jail}'");
                        self.desk.log(Level::Info, logger::SERVER, text);
                    }
                    // Once the old one is stopped.
                    Some(_) => {}
                }
                stream.order.push(jail.clone());
                stream.drafts.insert(jail, draft);
                Ok(())
            }
            Command::Set { jail, change, .. } if stream.drafts.contains_key(&jail) => {
                let Some(draft) = stream.drafts.get_mut(&jail) else { return Ok(()) };
                let now = matches!(
                    change,
                    Change::Idle(_)
                        | Change::Attempt { .. }
                        | Change::BanIp(_)
                        | Change::UnbanIp { .. }
                );
                if draft.error.is_some() {
                    return Ok(());
                }
                if !now && !draft.started {
                    return super::settings::apply(&mut self.desk, &jail, &mut draft.spec, &change);
                }
                let teller = Teller::Stream(stream.wait);
                self.desk.wait_for(stream.wait);
                let done = self.change(&jail, &change, false, teller);
                self.end_inner(stream.wait, done)
            }
            Command::Start(jail) if stream.drafts.contains_key(&jail) => self.commit(stream, &jail),
            Command::ConfigError(text) => {
                self.config_error(&text);
                Ok(())
            }
            Command::Reload(_) | Command::Stream(_) | Command::Shutdown { .. } => {
                Err(CommandError::new(ErrorClass::Exception, "Invalid command (inside a stream)"))
            }
            other => {
                self.desk.wait_for(stream.wait);
                let done = self.execute(Teller::Stream(stream.wait), other);
                self.end_inner(stream.wait, done)
            }
        }
    }

    /// A command inside a stream has answered, unless it will.
    fn end_inner(
        &mut self,
        wait: WaitId,
        done: Result<Option<Value>, CommandError>,
    ) -> Result<(), CommandError> {
        match done {
            Ok(None) => Ok(()),
            Ok(Some(_)) => {
                self.desk.wait_done(wait);
                Ok(())
            }
            Err(error) => {
                self.desk.wait_done(wait);
                Err(error)
            }
        }
    }

    fn exists(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// `config-error`: the jail it is about, if it says so, is listed as broken.
    pub(super) fn config_error(&mut self, text: &str) {
        self.desk.log(Level::Error, logger::TRANSMITTER, text);
        let quoted = text.find("ail '").and_then(|at| text.get(at + 5..)?.split_once('\''));
        if let Some((name, _)) = quoted {
            self.note_broken(name, text);
        }
    }

    fn note_broken(&mut self, name: &str, reason: &str) {
        match self.names.get(name).and_then(|key| self.jails.get_mut(key)) {
            Some(jail) => jail.broken = Some(reason.to_owned()),
            None if self.broken.len() < 10_000 => {
                self.broken.insert(name.to_owned(), reason.to_owned());
            }
            None => {}
        }
    }

    /// `start J` inside a stream: the draft becomes the jail.
    fn commit(&mut self, stream: &mut Stream, name: &str) -> Result<(), CommandError> {
        let Some(draft) = stream.drafts.get_mut(name) else { return Ok(()) };
        if draft.error.is_some() {
            return Ok(());
        }
        let spec = draft.spec.clone();
        let (zone, now) = (&self.desk.config.zone, self.desk.now.wall);
        let known = self.names.get(name).copied();
        let Some(key) = known else {
            let filter = LineState::default().prepare(&spec, zone, now)?;
            draft.started = true;
            let key = self.create(name, spec);
            if let Some(jail) = self.jails.get_mut(&key) {
                jail.lines.install(filter);
                jail.lines.tell_patterns(&mut self.desk, &jail.spec.lines.datepattern);
            }
            self.begin_jail(key);
            return Ok(());
        };
        let Some(jail) = self.jails.get_mut(&key) else { return Ok(()) };
        let filter = jail.lines.prepare(&spec, zone, now)?;
        draft.started = true;
        jail.broken = None;
        let same = jail.spec.backend == spec.backend;
        if stream.restart || !same {
            if !same {
                let text = format!(
                    "Restart jail '{name}' (reason: '{}' != '{}')",
                    jail.spec.backend, spec.backend
                );
                self.desk.log(Level::Info, logger::SERVER, text);
            }
            self.stop_jail(key, None);
            self.announce_jail(name, &spec);
            let next = self.create(name, spec);
            if let Some(jail) = self.jails.get_mut(&next) {
                jail.lines.install(filter);
                jail.phase = Phase::Waiting(key);
            }
            return Ok(());
        }
        let running = jail.phase == Phase::Running;
        self.adopt(key, spec, false)?;
        if running {
            self.desk.log(Level::Info, logger::SERVER, format!("Jail '{name}' reloaded"));
            self.set_idle(key, false);
        } else {
            self.begin_jail(key);
        }
        Ok(())
    }

    fn end_stream(&mut self, mut stream: Stream, reload: Option<&Reload>) {
        for name in std::mem::take(&mut stream.order) {
            let Some(draft) = stream.drafts.get(&name) else { continue };
            if let Some(reason) = draft.error.clone() {
                let text = format!("Jail '{name}' is not as configured: {reason}");
                self.desk.log(Level::Error, logger::SERVER, text);
                self.note_broken(&name, &reason);
            } else if !draft.started && !self.exists(&name) {
                let spec = draft.spec.clone();
                let key = self.create(&name, spec);
                self.attach(key);
            }
            if let Some(key) = self.names.get(&*name).copied() {
                self.desk.wait_for(stream.wait);
                let teller = Teller::Stream(stream.wait);
                if self.when_ends_are_known(key, teller, Value::None).is_some() {
                    self.desk.wait_done(stream.wait);
                }
            }
        }
        let whole = reload.is_some_and(|r| r.jail.is_none());
        if whole {
            let gone: Vec<(Arc<str>, JailKey)> = self
                .names
                .iter()
                .filter(|(name, key)| {
                    let kept = self.jails.get(key).is_some_and(|j| j.broken.is_some());
                    !stream.drafts.contains_key(&***name) && !kept
                })
                .map(|(name, key)| (Arc::clone(name), *key))
                .collect();
            for (name, key) in gone {
                self.stop_jail(key, None);
                self.desk.store(StoreOp::DisableJail(name));
            }
        }
        self.desk.give_up_unclaimed();
        if reload.is_some() {
            self.desk.log(Level::Info, logger::SERVER, "Reload finished.");
        }
        let first = stream.drafts.values().find_map(|d| d.error.clone());
        let first = first.or_else(|| self.broken.values().next().cloned());
        if self.names.is_empty()
            && stream.error.is_none()
            && let Some(reason) = first
        {
            let text = format!("No jail is left to guard: {reason}");
            stream.error = Some(CommandError::new(ErrorClass::Exception, text));
        }
        if let (Some(error), Some(reply)) = (stream.error, self.desk.wait_reply(stream.wait)) {
            *reply = Reply::Done(Err(error));
        }
        self.desk.wait_done(stream.wait);
    }

    /// `reload`
    pub(super) fn reload(&mut self, teller: Teller, reload: Reload) -> Result<(), CommandError> {
        let text = match &reload.jail {
            Some(name) => format!("Reload jail {name}"),
            None => "Reload all jails".into(),
        };
        self.desk.log(Level::Info, logger::SERVER, text);
        let concerned: Vec<JailKey> = match &reload.jail {
            None => {
                self.desk.known.forget_names();
                self.names.values().copied().collect()
            }
            Some(name) => match self.names.get(&**name) {
                Some(key) => vec![*key],
                None if reload.if_exists || self.broken.contains_key(name) => Vec::new(),
                None => return Err(CommandError::new(ErrorClass::UnknownJail, name.as_str())),
            },
        };
        for key in concerned {
            let Some(jail) = self.jails.get_mut(&key) else { continue };
            jail.broken = None;
            if reload.unban {
                let name = Arc::clone(&jail.name);
                jail.flush(&mut self.desk, "Unban", None);
                self.desk.store(StoreOp::DeleteAllBans(name));
            }
        }
        let stream = reload.stream.clone();
        self.stream(teller, stream, Some(&reload));
        Ok(())
    }

    /// The specification of a jail of which nothing is known but its backend.
    pub(super) fn new_spec(&mut self, backend: &str) -> Result<JailSpec, CommandError> {
        JailSpec::new(backend, self.desk.config.inotify).inspect_err(|error| {
            self.desk.log(Level::Error, logger::JAIL, error.text());
        })
    }

    /// Tells of a new jail, as soon as it is known.
    pub(super) fn announce_jail(&mut self, name: &str, spec: &JailSpec) {
        self.desk.log(Level::Info, logger::JAIL, format!("Creating new jail '{name}'"));
        self.tell_backend(name, spec);
    }

    /// A new jail, not started.
    pub(super) fn create(&mut self, name: &str, spec: JailSpec) -> JailKey {
        let key = JailKey::try_from(self.desk.number()).unwrap_or(JailKey::MAX);
        let name: Arc<str> = Arc::from(name);
        self.desk.store(StoreOp::AddJail(Arc::clone(&name)));
        self.broken.remove(&*name);
        self.names.insert(Arc::clone(&name), key);
        self.jails.insert(key, Jail::new(key, name, spec));
        key
    }

    /// Which backend a jail has, and why it is not the one it asked for.
    fn tell_backend(&mut self, name: &str, spec: &JailSpec) {
        let (backend, wanted) = (spec.backend_name(), spec.wanted_backend());
        let fallen = backend != Backend::Watched.name()
            && matches!(wanted, Wanted::Auto | Wanted::This(Backend::Watched));
        if fallen {
            let level = if wanted == Wanted::Auto { Level::Debug } else { Level::Error };
            let text = "Backend 'pyinotify' failed to initialize due to inotify, which this system \
                        does not offer (see fs.inotify.max_user_instances)";
            self.desk.log(level, logger::JAIL, text);
        }
        let params = spec.backend_params().into_iter();
        let params = Value::Dict(params.map(|(k, v)| (Value::Str(k), Value::Str(v))).collect());
        let poller = if backend == "polling" { "poller" } else { backend };
        let text = format!("Jail '{name}' uses {poller} {}", params.repr());
        self.desk.log(Level::Info, logger::JAIL, text);
        match wanted {
            Wanted::This(wanted) if fallen => {
                let text = format!(
                    "Could only initiated '{backend}' backend whenever '{}' was requested",
                    wanted.name()
                );
                self.desk.log(Level::Warning, logger::JAIL, text);
            }
            _ => self.desk.log(Level::Info, logger::JAIL, format!("Initiated '{backend}' backend")),
        }
    }

    /// Starts a jail: its actions, its old bans, its logs.
    pub(super) fn begin_jail(&mut self, key: JailKey) {
        let Some(jail) = self.jails.get_mut(&key) else { return };
        let stopping = |j: &&Jail, name: &str| j.phase == Phase::Stopping && *j.name == *name;
        let name = Arc::clone(&jail.name);
        if let Some(old) = self.jails.values().find(|j| stopping(j, &name)).map(|j| j.key) {
            if let Some(jail) = self.jails.get_mut(&key) {
                jail.phase = Phase::Waiting(old);
            }
            return;
        }
        let Some(jail) = self.jails.get_mut(&key) else { return };
        jail.phase = Phase::Running;
        if !jail.lines.ready() {
            let (zone, now) = (&self.desk.config.zone, self.desk.now.wall);
            match jail.lines.prepare(&jail.spec, zone, now) {
                Ok(filter) => jail.lines.install(filter),
                Err(error) => jail.broken = Some(error.text()),
            }
        }
        let specs = jail.spec.actions.clone();
        let mut ids = Vec::new();
        jail.leave_behind(&mut self.desk);
        for spec in specs {
            let id = ActionId(u32::try_from(self.desk.number()).unwrap_or(u32::MAX));
            let life = jail.must_wait_for(&spec).map_or(Life::Idle, Life::After);
            jail.actions.push(Action::new(id, spec, self.desk.config.ipv6, life));
            if life == Life::Idle {
                ids.push(id);
            }
        }
        for id in ids {
            jail.start_action(&mut self.desk, id, None);
        }
        let banned: Vec<Id> = jail.bans.iter().map(|b| b.ticket.id.clone()).collect();
        for id in banned {
            jail.announce(&mut self.desk, &id);
        }
        jail.restoring = Some(Restoring::default());
        self.desk.ask(Ask::Restore { jail: Arc::clone(&name) }, super::Asked::Restore(key));
        self.attach(key);
        let waits = self.jails.get_mut(&key).map(|jail| std::mem::take(&mut jail.begin_waits));
        waits.into_iter().flatten().for_each(|wait| self.wait_for_ends(key, wait));
        self.desk.log(Level::Info, logger::JAIL, format!("Jail '{name}' started"));
        self.desk.happened(&name, Happening::Started);
    }

    /// Stops a jail; its name is free at once.
    pub(super) fn stop_jail(&mut self, key: JailKey, wait: Option<WaitId>) {
        self.detach_all(key);
        self.forget_files(key);
        let Some(jail) = self.jails.get_mut(&key) else { return };
        jail.stop(&mut self.desk, wait);
        let name = Arc::clone(&jail.name);
        if self.names.get(&name) == Some(&key) {
            self.names.remove(&name);
        }
    }

    pub(super) fn set_idle(&mut self, key: JailKey, idle: bool) {
        let Some(jail) = self.jails.get_mut(&key) else { return };
        if jail.idle == idle {
            return;
        }
        jail.idle = idle;
        let running = jail.phase == Phase::Running;
        if idle {
            self.detach_all(key);
        } else if running {
            self.attach(key);
        }
    }

    /// Makes a jail what a new specification says. `live` changes come one command at a time, so
    /// an action is not started before it is complete, and is changed without a restart.
    pub(super) fn adopt(
        &mut self,
        key: JailKey,
        spec: JailSpec,
        live: bool,
    ) -> Result<(), CommandError> {
        let Some(jail) = self.jails.get_mut(&key) else { return Ok(()) };
        if jail.spec.lines != spec.lines || !jail.lines.ready() {
            let (zone, now) = (&self.desk.config.zone, self.desk.now.wall);
            let filter = jail.lines.prepare(&spec, zone, now)?;
            jail.lines.install(filter);
            if jail.spec.lines.datepattern != spec.lines.datepattern {
                jail.lines.tell_patterns(&mut self.desk, &spec.lines.datepattern);
            }
        }
        let old = std::mem::replace(&mut jail.spec, spec);
        if jail.spec.ban_time != old.ban_time {
            let secs = jail.spec.ban_time;
            jail.set_ban_time(secs)?;
        }
        if jail.spec.ignore_ip != old.ignore_ip
            || jail.spec.ignore_self != old.ignore_self
            || jail.spec.ignore_command != old.ignore_command
            || jail.spec.ignore_cache != old.ignore_cache
        {
            jail.judged.clear();
        }
        if jail.phase == Phase::Running {
            self.adopt_actions(key, live);
        }
        let Some(jail) = self.jails.get(&key) else { return Ok(()) };
        let logs = jail.spec.logs != old.logs
            || jail.spec.encoding != old.encoding
            || jail.spec.journal_matches != old.journal_matches;
        if logs && !jail.idle && matches!(jail.phase, Phase::Running | Phase::Added) {
            self.detach_unwanted(key);
            self.attach(key);
        }
        Ok(())
    }

    fn adopt_actions(&mut self, key: JailKey, live: bool) {
        let ipv6 = self.desk.config.ipv6;
        let mono = self.desk.now.mono;
        let Some(jail) = self.jails.get_mut(&key) else { return };
        let specs = jail.spec.actions.clone();
        let names: Vec<&str> = specs.iter().map(|s| s.name.as_str()).collect();
        for at in (0..jail.actions.len()).rev() {
            if jail.actions.get(at).is_some_and(|a| !names.contains(&a.spec.name.as_str())) {
                jail.remove_action(&mut self.desk, at);
            }
        }
        let mut start = Vec::new();
        for mut spec in specs {
            set_families(&mut spec, ipv6);
            let known = jail.actions.iter().position(|a| a.spec.name == spec.name);
            if let Some(action) = known.and_then(|at| jail.actions.get(at))
                && spec.python.is_some()
                && spec.file == action.spec.file
            {
                spec.traits = action.spec.traits;
            }
            if let Some(at) = known
                && !jail.change_action(&mut self.desk, at, &spec, live)
            {
                continue;
            }
            let after = jail.must_wait_for(&spec);
            let id = ActionId(u32::try_from(self.desk.number()).unwrap_or(u32::MAX));
            let life = match after {
                Some(old) => Life::After(old),
                None if live => Life::Settling(mono.plus(SETTLE)),
                None => Life::Idle,
            };
            jail.actions.push(Action::new(id, spec, ipv6, life));
            if life == Life::Idle {
                start.push(id);
            }
        }
        let order: Vec<&str> = jail.spec.actions.iter().map(|s| s.name.as_str()).collect();
        jail.actions.sort_by_key(|a| order.iter().position(|n| *n == a.spec.name));
        for id in start {
            jail.start_action(&mut self.desk, id, None);
        }
    }
}

impl Jail {
    /// Gives a known action its new properties, if it can take them as it is; otherwise it is
    /// removed (true), and its successor has to wait until it has stopped.
    fn change_action(
        &mut self,
        desk: &mut super::Desk,
        at: usize,
        spec: &ActionSpec,
        live: bool,
    ) -> bool {
        let mono = desk.now.mono;
        let Some(action) = self.actions.get_mut(at) else { return false };
        let (id, up) = (action.id, action.life == Life::Up);
        let same = *action.spec == *spec;
        let role = action.enforces == spec.enforces();
        if up && !role || (up && !live && !same && !reloadable(&action.spec, spec)) {
            self.remove_action(desk, at);
            return true;
        }
        if !same {
            action.spec = Arc::new(spec.clone());
            action.enforces = spec.enforces();
            if let Life::Settling(_) = action.life {
                action.life = Life::Settling(mono.plus(SETTLE));
            }
        }
        if up && !live && action.has("actionreload") {
            self.run(desk, id, JobKind::Reload, ActionOp::Reload, None);
        }
        false
    }
}
