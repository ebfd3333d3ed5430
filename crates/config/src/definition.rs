//! A filter's or an action's files, with parameters applied and tags resolved.
//!
//! Both kinds have the same anatomy: `[Definition]` with the options that mean something to the
//! server, `[Init]` with defaults of parameters, and parameters given by the jail. A parameter beats
//! `[Init]`, which beats `[Definition]`.

use std::sync::Arc;

use sekisho_core::command::Origin;

use crate::error::ConfigError;
use crate::interpolate::{Scope, Vars};
use crate::params;
use crate::reader::{self, Ini};
use crate::tags;
use crate::text::{Options, OrderedMap, Text};

/// Options of a filter, in the order of the command stream.
pub const FILTER_OPTIONS: &[&str] =
    &["usedns", "prefregex", "ignoreregex", "failregex", "maxlines", "datepattern", "journalmatch"];

/// Options of an action, in the order of the command stream.
pub const ACTION_OPTIONS: &[&str] = &[
    "actionstart",
    "actionstart_on_demand",
    "actionstop",
    "actionflush",
    "actionreload",
    "actioncheck",
    "actionrepair",
    "actionrepair_on_unban",
    "actionban",
    "actionprolong",
    "actionreban",
    "actionunban",
    "norestored",
];

/// Tags of an action that only a ban can fill, even where an option of that name exists.
const AT_RUN_TIME: &[&str] = &["timeout", "bantime", "matches", "ipmatches", "ipjailmatches"];

const DEFINITION: &str = "Definition";
const INIT: &str = "Init";

/// What is to be compiled.
pub struct Request<'a> {
    /// Its options: [`FILTER_OPTIONS`] or [`ACTION_OPTIONS`].
    pub table: &'a [&'a str],
    /// Name and parameters.
    pub definition: &'a params::Definition,
    /// Where the jail says so.
    pub origin: &'a Origin,
    /// What the jail passes down for `%(…)s`.
    pub jail: &'a Vars,
    /// Parameters that exist without being given.
    pub defaults: &'a [(&'a str, &'a str)],
}

/// A compiled filter or action.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// Values of the table's options, resolved; overridden ones come last.
    pub options: Options,
    /// How many of them come from `[Definition]`; the rest are parameters or of `[Init]`.
    pub from_definition: usize,
    /// All other parameters and `[Init]` values, unresolved: tags at run time.
    pub properties: Options,
    /// Every value a jail can reach as `%(known/…)s`, or why it has none.
    pub known: Vec<(String, Result<Arc<str>, ConfigError>)>,
}

/// Whether the files themselves say which kind of log they are for.
pub fn sets_logtype(ini: &Ini) -> bool {
    ini.sections.get(DEFINITION).is_some_and(|s| s.contains("logtype"))
}

/// Applies parameters and resolves tags.
pub fn compile(ini: &Ini, request: &Request<'_>) -> Result<Compiled, ConfigError> {
    let nothing = Vars::default();
    let plain = Scope { ini, vars: &nothing };

    // Parameters and [Init]; in front of it what [Definition] adds.
    let mut init = Options::default();
    let mut vars = request.jail.clone();
    for (key, value) in &request.definition.params {
        init.insert(key, Text::new(value.as_str(), request.origin));
    }
    for (key, value) in request.defaults {
        // An empty `logtype` counts as none.
        if init.get(key).is_none_or(|text| text.value.is_empty() && *key == "logtype") {
            init.insert(key, Text::new(*value, request.origin));
        }
    }
    for (key, text) in init.iter() {
        vars.set(key, text.value.clone());
    }
    let parameters = init.clone();
    let given = |name: &str| -> Option<Arc<str>> {
        let parameter = parameters.get(name).map(|text| text.value.clone());
        parameter.or_else(|| request.jail.get(name).cloned())
    };
    let mut known = Options::default();
    let keys = ini.sections.get(INIT).into_iter().flat_map(OrderedMap::iter);
    for key in keys.map(|(key, _)| key) {
        let Some(own) = plain.get(INIT, key)? else { continue };
        known.insert(&format!("known/{key}"), own.clone());
        if init.contains(key) {
            continue;
        }
        // What is given replaces the variants for single families too.
        let given = reader::conditional(key).and_then(|(base, _)| given(base));
        let text = given.map_or(own, |value| Text::new(value, request.origin));
        init.insert(key, text);
    }

    let given_vars = vars.clone();
    let actions = request.table == ACTION_OPTIONS;
    if !actions {
        // A filter sees [Init] as variables too; an action does not.
        for (key, text) in init.iter().chain(known.iter()) {
            vars.set(key, text.value.clone());
        }
    }
    let with_vars = Scope { ini, vars: &vars };
    let conditional = |tag: &str| {
        init.iter().any(|(key, _)| reader::conditional(key).is_some_and(|(base, _)| base == tag))
    };
    let keep = |tag: &str| (actions && AT_RUN_TIME.contains(&tag)) || conditional(tag);
    let fallback = |tag: &str| elsewhere(&plain, &given_vars, &with_vars, tag);
    let mut combined = Options::default();
    if ini.sections.contains(DEFINITION) {
        for option in request.table.iter().filter(|o| !init.contains(o)) {
            if let Some(text) = with_vars.get(DEFINITION, option)? {
                combined.insert(option, text);
            }
        }
    }
    let from_definition = combined.iter().count();
    for (key, text) in init.iter().chain(known.iter()) {
        combined.insert(key, text.clone());
    }
    let resolved = tags::resolve(&combined, &keep, &fallback)?;

    let mut compiled = Compiled { from_definition, ..Compiled::default() };
    for (key, text) in resolved.iter().filter(|(key, _)| request.table.contains(key)) {
        compiled.options.insert(key, text.clone());
    }
    for (key, text) in init.iter().filter(|(key, _)| !request.table.contains(key)) {
        compiled.properties.insert(key, text.clone());
    }
    if !actions {
        let scopes = [Scope { ini, vars: &given_vars }, with_vars];
        let mut first = init.clone();
        for (key, text) in known.iter() {
            first.insert(key, text.clone());
        }
        compiled.known = known_to_jail(&plain, scopes, request.table, first, &keep);
    }
    Ok(compiled)
}

/// What a jail can reach as `%(known/…)s`: parameters, `[Init]`, and all options of a filter as they
/// are before `[Init]` counts as variables, resolved. A broken one does harm to who asks for it.
fn known_to_jail(
    plain: &Scope<'_>,
    [given, with_init]: [Scope<'_>; 2],
    table: &[&str],
    mut options: Options,
    keep: &dyn Fn(&str) -> bool,
) -> Vec<(String, Result<Arc<str>, ConfigError>)> {
    let mut broken = Vec::new();
    if let Some(section) = plain.ini.sections.get(DEFINITION) {
        let others = section.iter().map(|(key, _)| key).filter(|key| !table.contains(key));
        // Only options that mean something to the server see variables.
        let all = table.iter().map(|key| (*key, &given)).chain(others.map(|key| (key, plain)));
        for (key, scope) in all {
            if options.contains(key) {
                continue;
            }
            match scope.get(DEFINITION, key).or_else(|_| with_init.get(DEFINITION, key)) {
                Ok(Some(text)) => {
                    options.insert(key, text);
                }
                Ok(None) => {}
                Err(error) => broken.push((key.to_owned(), Err(error))),
            }
        }
    }
    let fallback = |tag: &str| elsewhere(plain, given.vars, &given, tag);
    let resolve = |key: &str| tags::resolve_named(key, &options, keep, &fallback);
    let keys = options.iter().map(|(key, _)| key);
    let known = keys.map(|key| (key.to_owned(), resolve(key).map(|text| text.value)));
    known.chain(broken).collect()
}

/// A tag that is no parameter: another option of the same files, or something the jail passed.
fn elsewhere(
    plain: &Scope<'_>,
    given: &Vars,
    with_vars: &Scope<'_>,
    tag: &str,
) -> Result<Option<String>, ConfigError> {
    let found = match tag.split_once('/') {
        Some(("known", option)) => {
            let option = option.to_lowercase();
            // Where files were merged: what was replaced, else a default; else the option itself.
            let merged = plain.ini.known.contains(DEFINITION);
            let known = plain.get_known(DEFINITION, &option)?;
            let default = if merged { plain.get(crate::ini::DEFAULT, &option)? } else { None };
            match known.or(default) {
                Some(text) => Some(text),
                None => plain.get(DEFINITION, &option)?,
            }
        }
        Some((section, option)) => {
            let default = section.eq_ignore_ascii_case(crate::ini::DEFAULT);
            if default || plain.ini.sections.contains(section) {
                plain.get(section, &option.to_lowercase())?
            } else {
                None
            }
        }
        None => {
            let option = tag.to_lowercase();
            if let Some(value) = given.get(&option) {
                return Ok(Some(value.to_string()));
            }
            // Only a tag in the option's own spelling sees [Init] behind its `%(…)s`.
            let vars = if option == tag { with_vars.vars } else { given };
            Scope { ini: plain.ini, vars }.get_written(DEFINITION, &option)?
        }
    };
    Ok(found.map(|text| text.value.to_string()))
}
