//! Commands of clients: from words to effects and a reply.

use std::net::IpAddr;
use std::sync::Arc;

use super::count::{Case, What};
use super::desk::{Asked, Reply, Teller, WaitId, logger};
use super::jail::Phase;
use super::{Engine, JailKey};
use crate::command::{self, call};
use crate::command::{Change, Command, CommandError, ErrorClass, Flavor, Words};
use crate::effect::{Ask, Effect, Level, Property, RequestId, StoreOp};
use crate::failure::{Failure, Fields, MatchedLine};
use crate::id::{Id, canonical};
use crate::ignore::is_host_name;
use crate::time::Span;
use crate::value::Value;

/// How long `unban` and its kind wait for actions before they answer anyway.
const UNBAN_LIMIT: Span = Span::from_secs(60);
/// How long `stop` waits.
const STOP_LIMIT: Span = Span::from_secs(300);
/// Most names one client may have resolved at a time.
const MAX_NAMES: usize = 100;

impl Engine {
    pub(super) fn control(&mut self, request: RequestId, words: &Words) {
        let done = Command::parse(words).and_then(|command| {
            // A stream tells of its commands one by one.
            if !matches!(command, Command::Stream(_) | Command::Reload(_)) {
                self.desk.begin_command(request, words);
            }
            self.execute(Teller::Client(request), command)
        });
        let result = match done {
            Ok(None) => return,
            Ok(Some(value)) => Ok(value),
            Err(error) => {
                self.desk.log_refused(words, &error);
                Err(error)
            }
        };
        self.desk.end_command(request);
        self.desk.out.push(Effect::Reply { request, result });
    }

    /// Carries out a command; `None` if the teller will be told later.
    pub(super) fn execute(
        &mut self,
        teller: Teller,
        command: Command,
    ) -> Result<Option<Value>, CommandError> {
        let value = match command {
            Command::Ping => Value::str("pong"),
            Command::Echo(words) => Value::List(words),
            Command::Version => Value::str(&self.desk.config.version),
            Command::ServerStatus => Value::str("Server ready"),
            Command::Sleep(span) => {
                // The guard of the wait is never given up: its limit ends it.
                self.desk.wait(teller, Reply::Done(Ok(Value::None)), Some(span));
                return Ok(None);
            }
            Command::Status { all: true, flavor: Flavor::Cymru } => {
                self.ask_origins(teller, None)?;
                return Ok(None);
            }
            Command::StatusJail { jail, flavor: Flavor::Cymru } => {
                self.ask_origins(teller, Some(&jail))?;
                return Ok(None);
            }
            Command::Status { all, flavor } => self.status(all, &flavor),
            Command::StatusJail { jail, flavor } => self.status_of(&jail, &flavor)?,
            Command::Stats => self.stats(),
            Command::Banned(ids) => self.banned(&ids),
            Command::Get { jail, what } => {
                let key = self.key(&jail)?;
                if let Some((action, what)) = self.python_query(key, &what)? {
                    self.ask_python(key, action, what, false, teller);
                    return Ok(None);
                }
                let Some(jail) = self.jails.get(&key) else { return Err(unknown(&jail)) };
                super::settings::get(&self.desk, jail, &what)?
            }
            Command::Set { jail, change, multi } => {
                return self.change(&jail, &change, multi, teller);
            }
            Command::Setting { name, value } => {
                if let (true, Some(value)) = (name == "dbfile", &value)
                    && !self.names.is_empty()
                {
                    return self.same_database(value).map(Some);
                }
                if let ("dbfile", Some(value)) = (name.as_str(), &value) {
                    self.desk.dbfile.0 = value.clone();
                }
                self.setting(teller, name, value);
                return Ok(None);
            }
            Command::FlushLogs => {
                self.setting(teller, "flushlogs".into(), None);
                return Ok(None);
            }
            Command::AllowIpv6(value) => {
                self.allow_ipv6(&value);
                value
            }
            Command::Add { jail, backend } => {
                if self.names.contains_key(&*jail) {
                    return Err(CommandError::new(ErrorClass::DuplicateJail, jail));
                }
                self.refuse_late()?;
                let spec = self.new_spec(&backend)?;
                self.announce_jail(&jail, &spec);
                self.create(&jail, spec);
                Value::Str(jail)
            }
            Command::Start(name) => {
                let key = self.key(&name)?;
                if self.jails.get(&key).is_some_and(|j| j.phase == Phase::Added) {
                    self.begin_jail(key);
                }
                return Ok(self.when_ends_are_known(key, teller, Value::None));
            }
            Command::StopJail(name) => {
                let key = self.key(&name)?;
                let wait = self.desk.wait(teller, Reply::Done(Ok(Value::None)), Some(STOP_LIMIT));
                self.desk.store(StoreOp::DisableJail(Arc::from(&*name)));
                self.stop_jail(key, Some(wait));
                self.desk.wait_done(wait);
                return Ok(None);
            }
            Command::StopAll => {
                let wait = self.desk.wait(teller, Reply::Done(Ok(Value::None)), Some(STOP_LIMIT));
                self.stop_all(wait);
                return Ok(None);
            }
            Command::Shutdown { keep } => {
                self.desk.log(Level::Info, logger::SERVER, "Shutdown in progress...");
                // The lines of a thread that is part of the engine here; who follows the log waits
                // for them.
                for text in [
                    "Observer stop ... try to end queue 5 seconds",
                    "Observer stopped, 0 events remaining.",
                ] {
                    self.desk.log(Level::Info, logger::OBSERVER, text);
                }
                if keep {
                    let text = "What is banned stays in the firewall until the next start";
                    self.desk.log(Level::Info, logger::SERVER, text);
                    self.desk.keeping = true;
                }
                self.shutting_down = true;
                let wait = self.desk.wait(teller, Reply::Exit, Some(STOP_LIMIT));
                self.stop_all(wait);
                return Ok(None);
            }
            Command::Reload(reload) => {
                self.refuse_late()?;
                self.reload(teller, reload)?;
                return Ok(None);
            }
            Command::Stream(list) => {
                self.refuse_late()?;
                self.stream(teller, list, None);
                return Ok(None);
            }
            Command::ConfigError(text) => {
                self.config_error(&text);
                Value::None
            }
            Command::UnbanAll => {
                let reply = Reply::Unbanned { count: 0, absent: Vec::new(), report: false };
                let wait = self.desk.wait(teller, reply, Some(UNBAN_LIMIT));
                let mut all = 0;
                for key in self.in_order() {
                    if let Some(jail) = self.jails.get_mut(&key) {
                        all += jail.flush(&mut self.desk, "Unban", Some(wait));
                        self.desk.store(StoreOp::DeleteAllBans(Arc::clone(&jail.name)));
                    }
                }
                if let Some(Reply::Unbanned { count, .. }) = self.desk.wait_reply(wait) {
                    *count = i64::try_from(all).unwrap_or(i64::MAX);
                }
                self.desk.wait_done(wait);
                return Ok(None);
            }
            Command::Unban(ids) => {
                self.unban(teller, None, &ids, false);
                return Ok(None);
            }
        };
        Ok(Some(value))
    }

    fn refuse_late(&self) -> Result<(), CommandError> {
        match self.shutting_down {
            true => Err(CommandError::new(ErrorClass::Exception, "Shutdown in progress")),
            false => Ok(()),
        }
    }

    /// The jails in the order they were added.
    fn in_order(&self) -> Vec<JailKey> {
        self.guarding().into_iter().map(|jail| jail.key).collect()
    }

    fn key(&self, name: &str) -> Result<JailKey, CommandError> {
        self.names.get(name).copied().ok_or_else(|| unknown(name))
    }

    fn setting(&mut self, teller: Teller, name: String, value: Option<Value>) {
        let wait = self.desk.wait(teller, Reply::Done(Ok(Value::None)), None);
        // The guard of the wait is given up by the answer.
        self.desk.ask(Ask::Setting { name: name.clone(), value }, Asked::Setting { name, wait });
    }

    /// `set dbfile` while there are jails (a reload sends it again): it cannot be another one.
    fn same_database(&self, value: &Value) -> Result<Value, CommandError> {
        let wanted = value.to_text();
        let same = |known: &Value| wanted.eq_ignore_ascii_case(&known.to_text());
        if same(&self.desk.dbfile.0) || same(&self.desk.dbfile.1) {
            return Ok(self.desk.dbfile.1.clone());
        }
        let text = "Cannot change database when there are jails present";
        Err(CommandError::new(ErrorClass::RuntimeError, text))
    }

    fn allow_ipv6(&mut self, value: &Value) {
        let auto = value.to_text().eq_ignore_ascii_case("auto");
        let own = self.desk.ipv6_auto;
        self.desk.config.ipv6 = if auto { own } else { crate::command::truth(value) };
    }

    fn stop_all(&mut self, wait: WaitId) {
        self.desk.log(Level::Info, logger::SERVER, "Stopping all jails");
        self.store_all();
        for key in self.in_order() {
            if let Some(jail) = self.jails.get(&key) {
                self.desk.store(StoreOp::DisableJail(Arc::clone(&jail.name)));
            }
            self.stop_jail(key, Some(wait));
        }
        let stopping: Vec<JailKey> = self
            .jails
            .values()
            .filter(|j| j.phase == Phase::Stopping && !j.stop_waits.contains(&wait))
            .map(|j| j.key)
            .collect();
        for key in stopping {
            self.stop_jail(key, Some(wait));
        }
        self.desk.wait_done(wait);
    }

    /// `set J …`
    pub(super) fn change(
        &mut self,
        name: &str,
        change: &Change,
        multi: bool,
        teller: Teller,
    ) -> Result<Option<Value>, CommandError> {
        let key = self.key(name)?;
        let Some(jail) = self.jails.get_mut(&key) else { return Err(unknown(name)) };
        match change {
            Change::Idle(idle) => {
                self.set_idle(key, *idle);
                return Ok(Some(Value::Bool(*idle)));
            }
            Change::Attempt { id, matches } => {
                let wait = self.desk.wait(teller, Reply::Done(Ok(Value::Int(0))), None);
                let failure = Failure {
                    id: Id::parse(id),
                    address: None,
                    time: self.desk.now.wall,
                    whole: false,
                    attempts: u32::try_from(matches.len()).unwrap_or(u32::MAX).max(1),
                    matches: matches.iter().cloned().map(MatchedLine::Whole).collect(),
                    fields: Fields::default(),
                };
                self.judge(Case { jail: key, what: What::Attempt(failure, wait) });
                return Ok(None);
            }
            Change::BanIp(ids) => {
                let mut new = 0;
                for id in ids {
                    new += i64::from(jail.ban_by_hand(&mut self.desk, Id::parse(id)));
                }
                return Ok(Some(Value::Int(new)));
            }
            Change::UnbanIp { report_absent, ids } => {
                self.unban(teller, Some(key), ids, *report_absent);
                return Ok(None);
            }
            Change::Action { name, properties } => {
                if let Some(action) = jail.running_python(name) {
                    let what = Property::Set(properties.clone());
                    self.ask_python(key, action, what, multi, teller);
                    return Ok(None);
                }
                let plain = jail.spec.actions.iter().any(|a| a.name == *name && a.python.is_none());
                if let ([(key, value)], true, false) = (properties.as_slice(), plain, multi) {
                    let json = (*value != Value::None).then(|| value.to_text());
                    match (call::parse(key, json.as_deref()), json) {
                        (Some(call), _) => {
                            jail.call(&mut self.desk, name, &call?, teller)?;
                            return Ok(None);
                        }
                        (None, None) => return Err(command::missing()),
                        (None, Some(_)) => {}
                    }
                }
            }
            _ => {}
        }
        let mut spec = jail.spec.clone();
        let known = Arc::clone(&jail.name);
        super::settings::apply(&mut self.desk, &known, &mut spec, change)?;
        if let Err(error) = self.adopt(key, spec, true) {
            if error.class == ErrorClass::Regex
                && let Change::AddFailRegex(_) | Change::AddIgnoreRegex(_) = change
            {
                self.desk.log(Level::Error, logger::FILTER, error.text());
            }
            return Err(error);
        }
        let Some(jail) = self.jails.get(&key) else { return Err(unknown(name)) };
        let value = match multi {
            true => Value::Bool(true),
            false => super::settings::answer(&self.desk, jail, change)?,
        };
        Ok(match change {
            Change::AddLogPath { .. } => self.when_ends_are_known(key, teller, value),
            _ => Some(value),
        })
    }

    /// Lifts bans by hand, in one jail or in all.
    fn unban(&mut self, teller: Teller, jail: Option<JailKey>, ids: &[String], report: bool) {
        let reply = Reply::Unbanned { count: 0, absent: Vec::new(), report };
        let wait = self.desk.wait(teller, reply, Some(UNBAN_LIMIT));
        let mut names_left = MAX_NAMES;
        for text in ids {
            let id = Id::parse(text);
            let found = self.unban_where(
                jail,
                &id,
                |other| match (&id, other) {
                    (Id::Net(net), Id::Ip(ip)) => net.contains(*ip),
                    (Id::Net(net), Id::Net(other)) => net.contains_net(*other),
                    _ => *other == id,
                },
                wait,
            );
            // A jail that bans names may have this one, and another its address.
            if let Id::Raw(name) = &id
                && (found == 0 || jail.is_none())
                && names_left > 0
                && is_host_name(name)
            {
                names_left -= 1;
                self.desk.wait_for(wait);
                let asked = Asked::UnbanName { jail, name: name.clone(), found, wait };
                self.desk.ask(Ask::Resolve(name.clone()), asked);
                continue;
            }
            if found == 0 {
                self.not_banned(text, wait);
            }
        }
        self.desk.wait_done(wait);
    }

    /// The addresses of a name that is to be unbanned are known; so many bans of the name itself were
    /// lifted.
    pub(super) fn unban_name(
        &mut self,
        jail: Option<JailKey>,
        name: &str,
        ips: &[IpAddr],
        mut found: usize,
        wait: WaitId,
    ) {
        let ids: Vec<Id> = ips.iter().map(|ip| Id::Ip(canonical(*ip))).collect();
        for id in &ids {
            found += self.unban_where(jail, id, |other| other == id, wait);
        }
        if found == 0 {
            self.not_banned(name, wait);
        }
        self.desk.wait_done(wait);
    }

    fn not_banned(&mut self, text: &str, wait: WaitId) {
        self.desk.log(Level::Msg, logger::ACTIONS, format!("{text} is not banned"));
        if let Some(Reply::Unbanned { absent, .. }) = self.desk.wait_reply(wait) {
            absent.push(text.to_owned());
        }
    }

    /// Lifts the bans that match, and forgets them in the store; how many there were.
    fn unban_where(
        &mut self,
        jail: Option<JailKey>,
        id: &Id,
        matches: impl Fn(&Id) -> bool,
        wait: WaitId,
    ) -> usize {
        let keys: Vec<JailKey> = match jail {
            Some(key) => vec![key],
            None => self.in_order(),
        };
        let mut found = 0;
        for key in keys {
            let Some(jail) = self.jails.get_mut(&key) else { continue };
            let name = Arc::clone(&jail.name);
            self.desk.store(StoreOp::DeleteBan { jail: Arc::clone(&name), id: id.clone() });
            if let Some(restoring) = &mut jail.restoring {
                match restoring.ids.len() {
                    0..10_000 => restoring.ids.push(id.clone()),
                    _ => restoring.all = true,
                }
            }
            let members: Vec<Id> = match id {
                // A network that is banned itself is meant itself.
                Id::Net(_) if jail.bans.get(id).is_none() => jail
                    .bans
                    .iter()
                    .map(|b| &b.ticket.id)
                    .filter(|other| matches(other))
                    .cloned()
                    .collect(),
                one => jail.bans.get(one).map(|b| b.ticket.id.clone()).into_iter().collect(),
            };
            for member in members {
                if member != *id {
                    let jail = Arc::clone(&name);
                    self.desk.store(StoreOp::DeleteBan { jail, id: member.clone() });
                }
                let Some(ban) = jail.bans.take(&member) else { continue };
                jail.lift(&mut self.desk, ban, "Unban", Some(wait), true);
                found += 1;
            }
        }
        if let Some(Reply::Unbanned { count, .. }) = self.desk.wait_reply(wait) {
            *count = count.saturating_add(i64::try_from(found).unwrap_or(i64::MAX));
        }
        found
    }
}

fn unknown(name: &str) -> CommandError {
    CommandError::new(ErrorClass::UnknownJail, name)
}
