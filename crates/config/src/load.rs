//! A whole configuration to the command stream, and how far every fault in it reaches.
//!
//! A fault breaks the jails that read it and no others. Only a configuration without which nothing
//! can be said at all (no folder, no or a broken `jail.conf`, a broken `fail2ban.conf`) is fatal.

use std::fmt;

use sekisho_core::command::{Origin, Words};
use sekisho_core::effect::Level;
use sekisho_core::value::{Value, repr_str};

use crate::error::ConfigError;
use crate::files::{Files, Kind, join};
use crate::jail::{self, Context, Enabled, JailSummary};
use crate::library::Library;
use crate::notice::Notice;
use crate::reader::{self, Base, INCLUDES, Ini};
use crate::server::{self, ServerOptions};
use crate::text::{Options, Text};

/// The version of fail2ban that this dialect is compatible with.
pub const FAIL2BAN_VERSION: &str = "1.1.1";

/// What is done with a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// It is shown, as `-d` does: logs that do not exist are left out.
    Dump,
    /// It is started: a jail without logs names those it waits for.
    #[default]
    Start,
}

/// A caller's test of a command of a jail; an error breaks that jail.
pub type Check<'a> = &'a dyn Fn(&str, &Words) -> Result<(), String>;

/// How to load.
#[derive(Clone, Default)]
pub struct LoadOptions<'a> {
    /// What is done with the result.
    pub mode: Mode,
    /// `%(fail2ban_version)s`; empty means [`FAIL2BAN_VERSION`].
    pub version: &'a str,
    /// Compile this jail only, enabled or not.
    pub only_jail: Option<&'a str>,
    /// Take every jail as enabled.
    pub force_enable: bool,
    /// Whether a jail with `enabled = auto` has something to watch; without this, `auto` is off, as
    /// it is for fail2ban.
    pub auto: Option<&'a dyn Fn(&JailSummary) -> bool>,
    /// Where filter and action files are looked for that the configuration lacks.
    pub fallback: Option<(&'a dyn Files, &'a str)>,
    /// Server options of the command line, e.g. `("loglevel", "DEBUG")`.
    pub overrides: Vec<(String, String)>,
    /// Tests regexes, date patterns, times: whatever the server would refuse.
    pub check: Option<Check<'a>>,
}

/// A jail that cannot be started.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokenJail {
    /// Its name.
    pub name: String,
    /// What is wrong, without file and line.
    pub reason: String,
    /// Where.
    pub origin: Option<Origin>,
    /// The fault itself.
    pub error: ConfigError,
}

/// A loaded configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Options of the server.
    pub server: ServerOptions,
    /// The command stream.
    pub stream: Vec<Words>,
    /// Jails of the stream, in start order.
    pub jails: Vec<JailSummary>,
    /// Enabled jails that cannot be started.
    pub broken: Vec<BrokenJail>,
    /// Jails with `enabled = auto` that have nothing to watch.
    pub idle: Vec<JailSummary>,
    /// Warnings.
    pub notices: Vec<Notice>,
}

impl Loaded {
    /// Whether a start is refused: there are enabled jails, and all of them are broken.
    pub fn nothing_left(&self) -> bool {
        self.jails.is_empty() && !self.jails_faultless()
    }

    /// Whether nothing is wrong. A jail that asked to be skipped where it has no logs is no fault.
    pub fn faultless(&self) -> bool {
        self.jails_faultless() && self.notices.iter().all(|notice| notice.level < Level::Error)
    }

    fn jails_faultless(&self) -> bool {
        self.broken.iter().all(|jail| matches!(jail.error, ConfigError::NoLogs { .. }))
    }
}

/// Why there is no configuration at all.
#[derive(Clone, Debug, PartialEq)]
pub struct FatalError {
    /// All faults that were found; at least one.
    pub errors: Vec<ConfigError>,
    /// Warnings.
    pub notices: Vec<Notice>,
}

impl fmt::Display for FatalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.errors.iter().map(ConfigError::located).collect();
        f.write_str(&texts.join("\n"))
    }
}

impl std::error::Error for FatalError {}

/// Loads the configuration below `base`.
pub fn load(
    files: &dyn Files,
    base: &str,
    options: &LoadOptions<'_>,
) -> Result<Loaded, FatalError> {
    let dir = trim_base(base);
    let base = Base { files, dir };
    let mut notices = Vec::new();
    if files.kind(dir) != Some(Kind::Dir) {
        return Err(FatalError { errors: vec![ConfigError::NoBase(dir.to_owned())], notices });
    }
    let (server, mut stream) =
        match server::read(base, &options.overrides, options.mode, &mut notices) {
            Ok(read) => read,
            Err(errors) => return Err(FatalError { errors, notices }),
        };
    let ini = read_jails(base, options.version, &mut notices)?;
    let library = Library::new(base, options.fallback.map(|(files, dir)| Base { files, dir }));
    let wait_for_logs = options.mode == Mode::Start;
    let context = Context { ini: &ini, library: &library, base, wait_for_logs };

    let mut jails = Vec::new();
    let mut broken = Vec::new();
    let mut idle = Vec::new();
    for name in jail_names(&ini) {
        if options.only_jail.is_some_and(|only| only != name) {
            continue;
        }
        let forced = options.force_enable || options.only_jail.is_some();
        if !forced {
            notices.extend(jail::misspelt_enabled(&ini, name).filter(|n| !notices.contains(n)));
        }
        let compiled = match jail::enabled(&ini, name) {
            Ok(Enabled::No) if !forced => continue,
            Ok(Enabled::Auto) if !forced => {
                let Some(auto) = options.auto else { continue };
                // What is said about a jail that stays off does not matter.
                let mut said = Vec::new();
                match compile(&context, name, options.check, &mut said) {
                    Ok(compiled) if !auto(&compiled.summary) => {
                        idle.push(compiled.summary);
                        continue;
                    }
                    compiled => {
                        // It names more logs than a machine has: what matters is that one is there.
                        said.retain(|notice| notice.level > Level::Notice);
                        notices.append(&mut said);
                        compiled
                    }
                }
            }
            Err(error) if !forced => Err(error),
            _ => compile(&context, name, options.check, &mut notices),
        };
        match compiled {
            Ok(compiled) => {
                stream.extend(compiled.words);
                jails.push(compiled.summary);
            }
            Err(error) => {
                stream.push(config_error(name, &error, options.mode));
                broken.push(BrokenJail {
                    name: name.to_owned(),
                    reason: error.to_string(),
                    origin: error.origin().cloned(),
                    error,
                });
            }
        }
    }
    for jail in &jails {
        let words = vec!["start".into(), Value::str(&jail.name)];
        stream.push(Words { words, origin: None });
    }
    Ok(Loaded { server, stream, jails, broken, idle, notices })
}

/// The folder as it is used: without trailing slashes.
pub fn trim_base(base: &str) -> &str {
    match base.trim_end_matches('/') {
        "" if base.starts_with('/') => "/",
        trimmed => trimmed,
    }
}

/// Names of sections that are jails, in start order.
pub fn jail_names(ini: &Ini) -> impl Iterator<Item = &str> {
    ini.sections.iter().map(|(name, _)| name).filter(|name| is_jail(name))
}

fn is_jail(section: &str) -> bool {
    section != INCLUDES && !section.starts_with("KNOWN/")
}

/// Reads the jail files; faults of `jail.conf` itself are fatal.
pub(crate) fn read_jails(
    base: Base<'_>,
    version: &str,
    notices: &mut Vec<Notice>,
) -> Result<Ini, FatalError> {
    let version = if version.is_empty() { FAIL2BAN_VERSION } else { version };
    let origin = Origin { file: base.dir.into(), line: 0 };
    let mut predefined = Options::default();
    predefined.insert("fail2ban_version", Text::new(version, &origin));
    predefined.insert("fail2ban_confpath", Text::new(base.dir, &origin));
    let fatal =
        |errors, notices: &mut Vec<Notice>| FatalError { errors, notices: std::mem::take(notices) };
    let ini = match reader::read(base, "jail", &predefined) {
        Ok(ini) => ini,
        Err(error) => return Err(fatal(vec![error], notices)),
    };
    notices.extend(ini.notices.iter().cloned());
    let main = join(base.dir, "jail.conf");
    // A fault that lies in no jail's section concerns every jail.
    let reaches_all = |section: &Option<String>, error: &ConfigError| {
        let in_main = error.origin().is_none_or(|o| *o.file == *main);
        in_main || section.as_deref().is_none_or(|s| s == crate::ini::DEFAULT || !is_jail(s))
    };
    let all: Vec<ConfigError> =
        ini.errors.iter().filter(|(s, e)| reaches_all(s, e)).map(|(_, e)| e.clone()).collect();
    if all.is_empty() { Ok(ini) } else { Err(fatal(all, notices)) }
}

fn compile(
    context: &Context<'_>,
    name: &str,
    check: Option<Check<'_>>,
    notices: &mut Vec<Notice>,
) -> Result<jail::CompiledJail, ConfigError> {
    let own = |(section, _): &&(Option<String>, ConfigError)| section.as_deref() == Some(name);
    if let Some((_, error)) = context.ini.errors.iter().find(own) {
        return Err(error.clone());
    }
    let compiled = jail::compile(context, name, notices)?;
    if let Some(check) = check {
        for words in &compiled.words {
            check(name, words).map_err(|text| {
                let origin = words.origin.clone();
                ConfigError::Refused { origin, text: refusal(name, words, text) }
            })?;
        }
    }
    Ok(compiled)
}

/// What a server says of a value, with what an administrator needs beside it: the option, and how its
/// values are written.
fn refusal(jail: &str, words: &Words, text: String) -> String {
    const TIMES: &[&str] =
        &["bantime", "findtime", "bantime.maxtime", "bantime.rndtime", "bantime.multipliers"];
    let word = |at: usize| words.words.get(at).and_then(Value::as_str);
    match (word(0), word(2)) {
        (Some("set" | "multi-set"), Some("addfailregex")) if text.starts_with("No failure-id") => {
            format!("{text}; write <HOST> where the address of the attacker stands")
        }
        (Some("set"), Some(option))
            if jail::JAIL_OPTIONS.iter().any(|(name, _)| *name == option) =>
        {
            let hint = match TIMES.contains(&option) {
                true => "; write seconds, or numbers with units like 1d12h or 10m",
                false => "",
            };
            format!("Wrong value for {} in {}: {text}{hint}", repr_str(option), repr_str(jail))
        }
        _ => text,
    }
}

/// What stands in the stream for a broken jail.
fn config_error(jail: &str, error: &ConfigError, mode: Mode) -> Words {
    let text = match error {
        ConfigError::NoLogs { .. } => error.to_string(),
        error => {
            // What is shown stays as fail2ban shows it; a server is told the place as well, as
            // `status JAIL` is where it is looked for.
            let plain = fail2bans(error).filter(|_| mode == Mode::Dump);
            let text = plain.unwrap_or_else(|| error.located());
            format!("Jail '{jail}' skipped, because of wrong configuration: {text}")
        }
    };
    let words = vec!["config-error".into(), text.into()];
    Words { words, origin: error.origin().cloned() }
}

/// The words for a fault that fail2ban puts into the stream, too.
fn fail2bans(error: &ConfigError) -> Option<String> {
    match error {
        ConfigError::Params { hint, .. } if hint.is_empty() => Some(error.to_string()),
        ConfigError::NoFilter { missing: true, detail, .. }
        | ConfigError::NoAction { missing: true, detail, .. } => {
            error.to_string().strip_suffix(detail.as_str()).map(str::to_owned)
        }
        _ => None,
    }
}
