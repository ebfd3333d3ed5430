//! Effective options to commands, in fail2ban's order.

use sekisho_core::command::{Origin, Words};
use sekisho_core::value::Value;

use crate::definition::{self, ACTION_OPTIONS, FILTER_OPTIONS, Request};
use crate::error::ConfigError;
use crate::files::join;
use crate::interpolate::Vars;
use crate::jail::{Context, Filter, JAIL_OPTIONS, JailOptions};
use crate::library::no_files;
use crate::notice::Notice;
use crate::params::{self, Definition};
use crate::shlex;
use crate::text::Options;
use crate::values;

/// Options that shape the compilation and are no commands.
const NOT_EMITTED: &[&str] =
    &["enabled", "backend", "filter", "logpath", "skip_if_nologs", "systemd_if_nologs", "action"];

/// The growing commands of one jail.
pub(crate) struct Stream<'a> {
    /// Its name.
    pub(crate) jail: &'a str,
    /// The commands.
    pub(crate) words: Vec<Words>,
}

impl Stream<'_> {
    pub(crate) fn push(&mut self, origin: Option<Origin>, words: Vec<Value>) {
        self.words.push(Words { words, origin });
    }

    fn command<const N: usize>(&self, verb: &str, option: &str, args: [Value; N]) -> Vec<Value> {
        let head = [verb.into(), self.jail.into(), option.into()];
        head.into_iter().chain(args).collect()
    }

    pub(crate) fn set<const N: usize>(
        &mut self,
        origin: &Option<Origin>,
        option: &str,
        args: [Value; N],
    ) {
        let words = self.command("set", option, args);
        self.push(origin.clone(), words);
    }

    /// The commands of the filter and of the jail's own filter options.
    pub(crate) fn filter(
        &mut self,
        filter: &Filter,
        options: &JailOptions,
        notices: &mut Vec<Notice>,
    ) -> Result<Vec<Vec<String>>, ConfigError> {
        let mut own = Options::default();
        for name in FILTER_OPTIONS {
            if let Some(text) = options.text(name) {
                own.insert(name, text.clone());
            }
        }
        let mut layers: [Options; 2] = [Options::default(), own];
        if let (Some(compiled), [first, second]) = (&filter.compiled, &mut layers) {
            // What the jail sets replaces what the filter's [Definition] says, and only that.
            for (at, (name, text)) in compiled.options.iter().enumerate() {
                if at >= compiled.from_definition || !second.contains(name) {
                    first.insert(name, text.clone());
                }
            }
        }
        let jail = self.jail;
        let words = filter_commands(jail, &layers, notices)?;
        let mut journalmatch = Vec::new();
        for words in &words {
            if words.words.get(2).and_then(Value::as_str) == Some("addjournalmatch") {
                journalmatch.push(words.words.iter().skip(3).map(Value::to_text).collect());
            }
        }
        self.words.extend(words);
        Ok(journalmatch)
    }

    /// The commands of all plain options.
    pub(crate) fn options(&mut self, options: &JailOptions) {
        for (name, _) in JAIL_OPTIONS.iter().filter(|(name, _)| !NOT_EMITTED.contains(name)) {
            let Some((text, value)) = options.texts.get(name) else { continue };
            let origin = Some(text.origin.clone());
            if *name == "ignoreip" {
                let mut words = self.command("set", "addignoreip", []);
                words.extend(values::words(&text.value).map(Value::str));
                self.push(origin, words);
            } else {
                self.set(&origin, name, [value.clone()]);
            }
        }
    }

    /// The commands of all actions; answers the names of the instances.
    pub(crate) fn actions(
        &mut self,
        context: &Context<'_>,
        options: &JailOptions,
        notices: &mut Vec<Notice>,
    ) -> Result<Vec<String>, ConfigError> {
        let mut names: Vec<String> = Vec::new();
        let Some(text) = options.text("action") else {
            notices.push(self.no_actions(options));
            return Ok(names);
        };
        let mut vars = Vars::default();
        vars.set("backend", "auto");
        vars.set("filter", "");
        vars.set("skip_if_nologs", "False");
        vars.set("systemd_if_nologs", "True");
        for (name, (_, value)) in options.texts.iter() {
            vars.set(name, value.to_text());
        }
        for written in params::split(&text.value) {
            let definition = params::parse("action", &written, &text.origin)
                .map_err(|error| params::with_hint(error, &text.value))?;
            notices.extend(params::quote_warning(&definition, text));
            let name = if definition.name.ends_with(".py") {
                self.python_action(context, &definition, &text.origin)?
            } else {
                self.action(context, &definition, &text.origin, &vars, notices)?
            };
            if names.contains(&name) {
                return Err(ConfigError::ActionTwice { origin: text.origin.clone(), name });
            }
            names.push(name);
        }
        if names.is_empty() {
            notices.push(self.no_actions(options));
        }
        Ok(names)
    }

    fn no_actions(&self, options: &JailOptions) -> Notice {
        let text = format!("No actions were defined for {}: nobody is banned", self.jail);
        let named = options.text("action").or_else(|| options.text("enabled"));
        Notice { origin: named.map(|t| t.origin.clone()), ..Notice::warning(text) }
    }

    fn python_action(
        &mut self,
        context: &Context<'_>,
        definition: &Definition,
        origin: &Origin,
    ) -> Result<String, ConfigError> {
        let file = join("action.d", &definition.name);
        let path = context.library.find(&file).ok_or_else(|| ConfigError::NoAction {
            origin: origin.clone(),
            name: definition.name.clone(),
            missing: true,
            detail: format!("; there is no {file}"),
        })?;
        let mut params = definition.params.clone();
        let given = params.iter().position(|(key, _)| key == "actname").map(|at| params.remove(at));
        let stem = definition.name.strip_suffix(".py").unwrap_or(&definition.name);
        let name = given.map_or_else(|| stem.to_owned(), |(_, name)| name);
        let args = [name.as_str().into(), path.into(), values::json(&params).into()];
        self.set(&Some(origin.clone()), "addaction", args);
        Ok(name)
    }

    fn action(
        &mut self,
        context: &Context<'_>,
        definition: &Definition,
        origin: &Origin,
        vars: &Vars,
        notices: &mut Vec<Notice>,
    ) -> Result<String, ConfigError> {
        let file = join("action.d", &definition.name);
        let ini = context.library.read(&file, notices).map_err(|error| {
            let missing = matches!(error, ConfigError::NotFound { .. });
            ConfigError::NoAction {
                origin: error.origin().unwrap_or(origin).clone(),
                name: definition.name.clone(),
                missing,
                detail: if missing { no_files(&file) } else { format!(": {error}") },
            }
        })?;
        let name = instance_name(definition, self.jail);
        let defaults = [("name", self.jail), ("actname", name.as_str())];
        let request =
            Request { table: ACTION_OPTIONS, definition, origin, jail: vars, defaults: &defaults };
        let compiled =
            definition::compile(&ini, &request).map_err(|error| ConfigError::Inside {
                kind: "action",
                text: definition.text.clone(),
                error: Box::new(error),
            })?;
        let pair = |key: &str, value: Value| Value::List(vec![key.into(), value]);
        let options = compiled.options.iter().map(|(key, text)| {
            let flag =
                matches!(key, "actionstart_on_demand" | "actionrepair_on_unban" | "norestored");
            let value = if flag {
                Value::Bool(values::boolean(&text.value))
            } else {
                Value::str(&*text.value)
            };
            pair(key, value)
        });
        let properties =
            compiled.properties.iter().map(|(key, text)| pair(key, Value::str(&*text.value)));
        let list = Value::List(options.chain(properties).collect());
        let origin = Some(origin.clone());
        self.set(&origin, "addaction", [name.as_str().into()]);
        let words = self.command("multi-set", "action", [name.as_str().into(), list]);
        self.push(origin, words);
        Ok(name)
    }
}

/// Name of an action in its jail: `actname`, else the file's name and what `name` adds to it.
fn instance_name(definition: &Definition, jail: &str) -> String {
    let param = |key: &str| definition.params.iter().find(|(k, _)| k == key).map(|(_, v)| v);
    if let Some(name) = param("actname") {
        return name.clone();
    }
    match param("name") {
        Some(name) if name != jail => match name.strip_prefix(jail) {
            Some(rest) => format!("{}{rest}", definition.name),
            None => format!("{}-{name}", definition.name),
        },
        _ => definition.name.clone(),
    }
}

/// The commands of filter options in two layers: the filter's, then the jail's own.
///
/// Options that change how a regex is read come before all regexes, `usedns` first.
pub fn filter_commands(
    jail: &str,
    layers: &[Options; 2],
    notices: &mut Vec<Notice>,
) -> Result<Vec<Words>, ConfigError> {
    let mut stream: Vec<Words> = Vec::new();
    for layer in layers {
        let mut early = 0;
        for (name, text) in layer.iter() {
            let words = |verb: &str, option: &str, args: Vec<Value>| {
                let head = [verb.into(), jail.into(), option.into()];
                let words = head.into_iter().chain(args).collect();
                Words { words, origin: Some(text.origin.clone()) }
            };
            match name {
                "failregex" | "ignoreregex" => {
                    let mut list: Vec<Value> = values::lines(&text.value).map(Value::str).collect();
                    let option = format!("add{name}");
                    match list.len() {
                        0 => {}
                        1 => stream.push(words("set", &option, list)),
                        _ => {
                            list = vec![Value::List(list)];
                            stream.push(words("multi-set", &option, list));
                        }
                    }
                }
                "usedns" | "prefregex" | "maxlines" => {
                    let value = if name == "maxlines" {
                        let Some(n) = values::python_int(&text.value) else {
                            let origin = Some(text.origin.clone());
                            let warning = format!(
                                "Wrong int value '{}' for 'maxlines'; it is ignored",
                                text.value
                            );
                            notices.push(Notice { origin, ..Notice::warning(warning) });
                            continue;
                        };
                        Value::Int(n)
                    } else {
                        Value::str(&*text.value)
                    };
                    let at = if name == "usedns" { 0 } else { early };
                    stream.insert(at.min(stream.len()), words("set", name, vec![value]));
                    early += 1;
                }
                "journalmatch" => {
                    for line in values::lines(&text.value) {
                        let tokens = shlex::split(line).ok_or_else(|| ConfigError::OpenQuote {
                            origin: text.origin.clone(),
                            option: name.to_owned(),
                            value: line.to_owned(),
                        })?;
                        let tokens = tokens.into_iter().map(Value::str).collect();
                        stream.push(words("set", "addjournalmatch", tokens));
                    }
                }
                _ => stream.push(words("set", name, vec![Value::str(&*text.value)])),
            }
        }
    }
    Ok(stream)
}
