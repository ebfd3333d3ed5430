//! One jail to its commands.

use sekisho_core::command::Words;
use sekisho_core::filter::UseDns;
use sekisho_core::value::Value;

use crate::definition::{Compiled, FILTER_OPTIONS};
use crate::emit::Stream;
use crate::error::ConfigError;
use crate::interpolate::{Scope, Vars};
use crate::library::{Library, compile_filter};
use crate::logs::{self, LogPath};
use crate::notice::Notice;
use crate::params;
use crate::reader::{Base, Ini};
use crate::text::{OrderedMap, Text};
use crate::values;

/// How an option of a jail is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A text.
    Str,
    /// `yes`, `true`, `on`, `1`, or anything else for no.
    Bool,
    /// A whole number.
    Int,
}

/// Options of a jail in the order of the command stream, before those of the filter.
pub const JAIL_OPTIONS: &[(&str, Type)] = &[
    ("enabled", Type::Bool),
    ("backend", Type::Str),
    ("maxretry", Type::Int),
    ("maxmatches", Type::Int),
    ("findtime", Type::Str),
    ("bantime", Type::Str),
    ("bantime.increment", Type::Bool),
    ("bantime.factor", Type::Str),
    ("bantime.formula", Type::Str),
    ("bantime.multipliers", Type::Str),
    ("bantime.maxtime", Type::Str),
    ("bantime.rndtime", Type::Str),
    ("bantime.overalljails", Type::Bool),
    ("ignorecommand", Type::Str),
    ("ignoreself", Type::Bool),
    ("ignoreip", Type::Str),
    ("ignorecache", Type::Str),
    ("filter", Type::Str),
    ("logtimezone", Type::Str),
    ("logencoding", Type::Str),
    ("logpath", Type::Str),
    ("skip_if_nologs", Type::Bool),
    ("systemd_if_nologs", Type::Bool),
    ("action", Type::Str),
];

/// What a jail is about, for a client that wants to list it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JailSummary {
    /// Its name.
    pub name: String,
    /// The backend it will be added with.
    pub backend: String,
    /// The logs it will read; patterns where nothing exists yet.
    pub logpaths: Vec<LogPath>,
    /// The logs it names that do not exist.
    pub missing: Vec<LogPath>,
    /// Its journal matches, one per line of `journalmatch`.
    pub journalmatch: Vec<Vec<String>>,
    /// Names of its action instances.
    pub actions: Vec<String>,
}

/// A jail ready to be sent.
#[derive(Clone, Debug, Default)]
pub struct CompiledJail {
    /// Its summary.
    pub summary: JailSummary,
    /// Its commands, without the final `start`.
    pub words: Vec<Words>,
}

/// What a jail is compiled with.
pub struct Context<'a> {
    /// The merged jail files.
    pub ini: &'a Ini,
    /// Filters and actions.
    pub library: &'a Library<'a>,
    /// Tree and folder, for logs and python actions.
    pub base: Base<'a>,
    /// Whether logs that do not exist yet are emitted.
    pub wait_for_logs: bool,
}

/// The effective options of a jail.
pub(crate) struct JailOptions {
    /// Options that are set: as written and as typed.
    pub(crate) texts: OrderedMap<(Text, Value)>,
}

impl JailOptions {
    pub(crate) fn text(&self, name: &str) -> Option<&Text> {
        self.texts.get(name).map(|(text, _)| text)
    }
    fn is(&self, name: &str, default: bool) -> bool {
        match self.texts.get(name) {
            Some((_, value)) => *value == Value::Bool(true),
            None => default,
        }
    }
}

/// What `enabled` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enabled {
    /// The jail is to guard.
    Yes,
    /// It is not.
    No,
    /// It is if there is something to watch (`auto`, a word of ours; for fail2ban it is off).
    Auto,
}

/// Whether a jail is enabled.
pub fn enabled(ini: &Ini, jail: &str) -> Result<Enabled, ConfigError> {
    let scope = Scope { ini, vars: &Vars::default() };
    Ok(match scope.get(jail, "enabled")? {
        Some(text) if values::boolean(&text.value) => Enabled::Yes,
        Some(text) if text.value.eq_ignore_ascii_case("auto") => Enabled::Auto,
        _ => Enabled::No,
    })
}

/// A warning where `enabled` is a word that means no only because it means nothing.
pub fn misspelt_enabled(ini: &Ini, jail: &str) -> Option<Notice> {
    let scope = Scope { ini, vars: &Vars::default() };
    let text = scope.get(jail, "enabled").ok()??;
    let known = values::boolean(&text.value)
        || values::says_no(&text.value)
        || text.value.eq_ignore_ascii_case("auto");
    (!known).then(|| {
        let said = format!("enabled = {} means no; write true or false", text.value);
        Notice { origin: Some(text.origin), ..Notice::warning(said) }
    })
}

/// Compiles the commands of a jail.
pub fn compile(
    context: &Context<'_>,
    jail: &str,
    notices: &mut Vec<Notice>,
) -> Result<CompiledJail, ConfigError> {
    let mut filter = Filter::read(context, jail, None, &[], notices)?;
    let mut options = read_options(context, jail, &filter, notices)?;
    let mut backend = filter.backend.clone();
    let logs = logs::collect(context.base.files, jail, &backend, options.text("logpath"), notices);
    if logs.missing {
        let text = format!("Have not found any log file for '{jail}' jail.");
        let origin = options.text("logpath").map(|t| t.origin.clone());
        let warning = |text: String| Notice { origin: origin.clone(), ..Notice::warning(text) };
        let to_journal = backend.starts_with("auto")
            && options.is("systemd_if_nologs", true)
            && options.text("journalmatch").is_some();
        if to_journal {
            notices.push(warning(text + " Jail will monitor systemd journal."));
            // The filter may look different for the journal.
            backend = "systemd".to_owned();
            filter = Filter::read(context, jail, Some(&backend), &[], &mut Vec::new())?;
            options = read_options(context, jail, &filter, &mut Vec::new())?;
        } else if options.is("skip_if_nologs", false) {
            notices.push(warning(text));
            return Err(ConfigError::NoLogs { jail: jail.to_owned() });
        } else if logs.waiting.is_empty() {
            notices.push(warning(text + " It names none."));
        } else {
            notices.push(warning(text + " It waits for one."));
        }
    }
    let mut stream = Stream { jail, words: Vec::new() };
    let named = options.text("backend").or_else(|| options.text("enabled"));
    let origin = named.map(|t| t.origin.clone());
    stream.push(origin, vec!["add".into(), jail.into(), backend.as_str().into()]);
    let journalmatch = stream.filter(&filter, &options, notices)?;
    stream.options(&options);
    let mut logpaths = Vec::new();
    // A jail without any log waits for all of them, unless the journal stands in.
    let waits = context.wait_for_logs && logs.missing && !backend.starts_with("systemd");
    let waiting = if waits { logs.waiting.clone() } else { Vec::new() };
    let origin = options.text("logpath").map(|t| t.origin.clone());
    for log in logs.found.into_iter().chain(waiting) {
        stream.set(&origin, "addlogpath", [log.path.as_str().into(), log.start.as_str().into()]);
        logpaths.push(log);
    }
    let actions = stream.actions(context, &options, notices)?;
    let name = jail.to_owned();
    let missing = logs.waiting;
    let summary = JailSummary { name, backend, logpaths, missing, journalmatch, actions };
    Ok(CompiledJail { summary, words: stream.words })
}

/// A jail's filter, compiled.
pub(crate) struct Filter {
    /// `None` if the jail has none.
    pub(crate) compiled: Option<Compiled>,
    backend: String,
}

impl Filter {
    /// Reads the filter of a jail; a backend and parameters given here replace the jail's.
    pub(crate) fn read(
        context: &Context<'_>,
        jail: &str,
        backend: Option<&str>,
        given: &[(String, String)],
        notices: &mut Vec<Notice>,
    ) -> Result<Filter, ConfigError> {
        let scope = Scope { ini: context.ini, vars: &Vars::default() };
        let configured = scope.get(jail, "backend")?.map(|t| t.value.to_string());
        let backend = backend.map(str::to_owned).or(configured.clone());
        let effective = backend.clone().unwrap_or_else(|| "auto".to_owned());
        let Some(text) = scope.get(jail, "filter")?.filter(|t| !t.value.is_empty()) else {
            let text = format!("No filter set for jail {jail}: no log is judged");
            let origin = scope.get(jail, "enabled")?.map(|t| t.origin);
            notices.push(Notice { origin, ..Notice::warning(text) });
            return Ok(Filter { compiled: None, backend: effective });
        };
        let mut definition = params::parse("filter", &text.value, &text.origin)
            .map_err(|error| params::with_hint(error, &text.value))?;
        for (key, value) in given {
            definition.set(key, value);
        }
        notices.extend(params::quote_warning(&definition, &text));
        let mut vars = Vars::default();
        vars.set("enabled", "True");
        vars.set("filter", text.value.clone());
        if let Some(backend) = backend {
            vars.set("backend", backend);
        }
        let compiled =
            compile_filter(context.library, &definition, &text.origin, &vars, &effective, notices)?;
        Ok(Filter { compiled: Some(compiled), backend: effective })
    }
}

/// A server takes another word for the safest of these.
fn unknown_usedns(text: &Text) -> Option<Notice> {
    UseDns::parse(&text.value).is_none().then(|| {
        let said = format!("usedns = {} means no; write yes, warn, no or raw", text.value);
        Notice { origin: Some(text.origin.clone()), ..Notice::warning(said) }
    })
}

/// Reads all options of a jail, with what its filter knows.
pub(crate) fn read_options(
    context: &Context<'_>,
    jail: &str,
    filter: &Filter,
    notices: &mut Vec<Notice>,
) -> Result<JailOptions, ConfigError> {
    let mut vars = Vars::default();
    let known = || filter.compiled.iter().flat_map(|c| &c.known);
    for (key, value) in known().filter_map(|(key, value)| Some((key, value.as_ref().ok()?))) {
        vars.set(&format!("known/{key}"), value.replace('%', "%%"));
    }
    // Who asks for a broken option of the filter is told what is wrong with that.
    let reason = |error: ConfigError| {
        let ConfigError::UnknownKey { key, .. } = &error else { return error };
        let asked = key.strip_prefix("known/");
        let of_filter = known().find(|(name, _)| asked == Some(name.as_str()));
        of_filter.and_then(|(_, value)| value.clone().err()).unwrap_or(error)
    };
    let scope = Scope { ini: context.ini, vars: &vars };
    let filter_options = FILTER_OPTIONS
        .iter()
        .map(|name| (*name, if *name == "maxlines" { Type::Int } else { Type::Str }));
    let mut texts = OrderedMap::default();
    for (name, kind) in JAIL_OPTIONS.iter().copied().chain(filter_options) {
        let Some(text) = scope.get(jail, name).map_err(reason)? else { continue };
        if name == "usedns" {
            notices.extend(unknown_usedns(&text));
        }
        let value = match kind {
            Type::Str => Value::str(&*text.value),
            Type::Bool => Value::Bool(values::boolean(&text.value)),
            Type::Int => match values::int(name, jail, &text) {
                Ok(n) => Value::Int(n),
                // fail2ban lets the filter's value stand here.
                Err(error) if name == "maxlines" => {
                    let text = format!("{error}; it is ignored");
                    notices
                        .push(Notice { origin: error.origin().cloned(), ..Notice::warning(text) });
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        texts.insert(name, (text, value));
    }
    Ok(JailOptions { texts })
}
