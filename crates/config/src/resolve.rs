//! What a regex tester is given in place of a regex: a jail, a filter, or a file.
//!
//! `sshd`, `sshd[mode=aggressive]`, `/etc/fail2ban/filter.d/sshd.conf` and `./my.conf[x=1]` all
//! name a filter; anything that names none is a regex, and that is the caller's business.

use sekisho_core::command::{Origin, Words};
use sekisho_core::value::Value;

use crate::definition::Compiled;
use crate::emit::{self, Stream};
use crate::error::ConfigError;
use crate::files::{Files, Kind, parent};
use crate::interpolate::Vars;
use crate::jail::{self, Context, Filter};
use crate::library::{Library, compile_definition, compile_filter};
use crate::load::{read_jails, trim_base};
use crate::notice::Notice;
use crate::params::{self, Definition};
use crate::reader::{self, Base};
use crate::text::{Options, strip};
use crate::values;

/// Where a filter was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is a jail's, with what the jail adds.
    Jail(String),
    /// A filter of a configuration folder.
    Filter {
        /// Its name.
        name: String,
        /// The folder.
        base: String,
    },
    /// A file outside any configuration folder.
    File(String),
}

/// How to resolve.
#[derive(Clone, Copy, Default)]
pub struct ResolveOptions<'a> {
    /// Whether the lines will come from the journal.
    pub journal: bool,
    /// `%(fail2ban_version)s`; empty means ours.
    pub version: &'a str,
    /// Where filters are looked for that the configuration lacks.
    pub fallback: Option<(&'a dyn Files, &'a str)>,
}

/// A filter ready for use.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedFilter {
    /// Where it was found.
    pub source: Source,
    /// Parameters as given.
    pub params: Vec<(String, String)>,
    /// Parameters and defaults in force, as `Real  filter options` lists them.
    pub real: Vec<(String, String)>,
    /// `usedns`, if set.
    pub usedns: Option<String>,
    /// `prefregex`, if set.
    pub prefregex: Option<String>,
    /// All `failregex` lines.
    pub failregex: Vec<String>,
    /// All `ignoreregex` lines.
    pub ignoreregex: Vec<String>,
    /// `maxlines`, if set.
    pub maxlines: Option<i64>,
    /// `datepattern`, if set.
    pub datepattern: Option<String>,
    /// Lines of `journalmatch`, split into words.
    pub journalmatch: Vec<Vec<String>>,
    /// `logtimezone` of the jail.
    pub logtimezone: Option<String>,
    /// `logencoding` of the jail.
    pub logencoding: Option<String>,
    /// The commands that would set all this, each with its origin.
    pub words: Vec<Words>,
    /// Warnings.
    pub notices: Vec<Notice>,
}

/// Resolves what `spec` names; `None` if it names nothing and is to be read as a regex.
pub fn resolve(
    files: &dyn Files,
    base: &str,
    spec: &str,
    options: &ResolveOptions<'_>,
) -> Result<Option<ResolvedFilter>, ConfigError> {
    let origin = Origin { file: "command line".into(), line: 1 };
    let Ok(definition) = params::parse("filter", strip(spec), &origin) else { return Ok(None) };
    if definition.name.is_empty() || definition.name.contains('\n') {
        return Ok(None);
    }
    let base = Base { files, dir: trim_base(base) };
    let fallback = options.fallback.map(|(files, dir)| Base { files, dir });
    let library = Library::new(base, fallback);
    let request = Request { library: &library, definition: &definition, origin: &origin, options };
    if let Some(found) = of_jail(base, &request)? {
        return Ok(Some(found));
    }
    if !definition.name.contains('/') {
        for ending in ["", ".conf", ".local"] {
            let Some(name) = definition.name.strip_suffix(ending) else { continue };
            if library.has(&format!("filter.d/{name}")) {
                return of_filter(&request, name, base.dir).map(Some);
            }
        }
    }
    of_file(files, &request)
}

struct Request<'a> {
    library: &'a Library<'a>,
    definition: &'a Definition,
    origin: &'a Origin,
    options: &'a ResolveOptions<'a>,
}

impl Request<'_> {
    fn backend(&self) -> &'static str {
        if self.options.journal { "systemd" } else { "auto" }
    }

    /// `Real  filter options`: what is in force, apart from the regexes themselves.
    fn real(&self, compiled: &Compiled) -> Vec<(String, String)> {
        let value = |key: &str| {
            let property = compiled.properties.get(key).or_else(|| compiled.options.get(key));
            property.map(|text| (key.to_owned(), text.value.to_string()))
        };
        let mut real: Vec<(String, String)> =
            ["logtype", "datepattern"].into_iter().filter_map(value).collect();
        let rest = self.definition.params.iter().cloned();
        let others = compiled.properties.iter().map(|(k, t)| (k.to_owned(), t.value.to_string()));
        for (key, value) in rest.chain(others) {
            if real.iter().all(|(known, _)| *known != key) {
                real.push((key, value));
            }
        }
        real
    }
}

/// A jail of that name: its filter with the given parameters on top, and its own options.
fn of_jail(base: Base<'_>, request: &Request<'_>) -> Result<Option<ResolvedFilter>, ConfigError> {
    let name = &request.definition.name;
    let mut notices = Vec::new();
    // Without a usable jail.conf there still are filters.
    let Ok(ini) = read_jails(base, request.options.version, &mut notices) else { return Ok(None) };
    if !crate::load::jail_names(&ini).any(|jail| jail == name) {
        return Ok(None);
    }
    notices.clear();
    let library = request.library;
    let context = Context { ini: &ini, library, base, wait_for_logs: false };
    let given = &request.definition.params;
    let backend = request.backend();
    let filter = Filter::read(&context, name, Some(backend), given, &mut notices)?;
    let options = jail::read_options(&context, name, &filter, &mut notices)?;
    let mut stream = Stream { jail: name, words: Vec::new() };
    stream.filter(&filter, &options, &mut notices)?;
    let mut found = from_words(Source::Jail(name.clone()), stream.words);
    let text = |option: &str| options.text(option).map(|t| t.value.to_string());
    found.logtimezone = text("logtimezone");
    found.logencoding = text("logencoding");
    if let Some(compiled) = &filter.compiled {
        found.real = request.real(compiled);
        found.real.push(("backend".to_owned(), backend.to_owned()));
    }
    found.params = given.clone();
    found.notices = notices;
    Ok(Some(found))
}

/// A filter of a configuration folder.
fn of_filter(request: &Request<'_>, name: &str, base: &str) -> Result<ResolvedFilter, ConfigError> {
    let mut notices = Vec::new();
    let definition = Definition { name: name.to_owned(), ..request.definition.clone() };
    let compiled = compile_filter(
        request.library,
        &definition,
        request.origin,
        &Vars::default(),
        request.backend(),
        &mut notices,
    )?;
    let source = Source::Filter { name: name.to_owned(), base: base.to_owned() };
    finish(request, source, &compiled, notices)
}

/// A path: of a configuration folder's filter, or of a file of its own.
fn of_file(
    files: &dyn Files,
    request: &Request<'_>,
) -> Result<Option<ResolvedFilter>, ConfigError> {
    let path = &request.definition.name;
    let candidates = ["", ".conf", ".local"].map(|ending| format!("{path}{ending}"));
    let exists = |path: &&String| files.kind(path) == Some(Kind::File);
    let Some(path) = candidates.iter().find(exists) else { return Ok(None) };
    let dir = parent(path);
    let file = path.strip_prefix(dir).unwrap_or(path).trim_start_matches('/');
    let stem = file.strip_suffix(".conf").or_else(|| file.strip_suffix(".local"));
    if let (Some(name), Some(base)) = (stem, dir.strip_suffix("filter.d"))
        && (base.is_empty() || base.ends_with('/'))
    {
        let base = if base == "/" { "/" } else { base.trim_end_matches('/') };
        let fallback = request.options.fallback.map(|(files, dir)| Base { files, dir });
        let library = Library::new(Base { files, dir: base }, fallback);
        let request = Request { library: &library, ..*request };
        return of_filter(&request, name, base).map(Some);
    }
    let ini = reader::read_one(files, path, &Options::default());
    if let Some((_, error)) = ini.errors.first() {
        return Err(error.clone());
    }
    let compiled = compile_definition(
        &ini,
        request.definition,
        request.origin,
        &Vars::default(),
        request.backend(),
    )?;
    finish(request, Source::File(path.clone()), &compiled, ini.notices).map(Some)
}

fn finish(
    request: &Request<'_>,
    source: Source,
    compiled: &Compiled,
    mut notices: Vec<Notice>,
) -> Result<ResolvedFilter, ConfigError> {
    let layers = [compiled.options.clone(), Options::default()];
    let words = emit::filter_commands(&request.definition.name, &layers, &mut notices)?;
    Ok(ResolvedFilter {
        params: request.definition.params.clone(),
        real: request.real(compiled),
        notices,
        ..from_words(source, words)
    })
}

/// What a server would have after these commands.
fn from_words(source: Source, words: Vec<Words>) -> ResolvedFilter {
    let mut found = ResolvedFilter {
        source,
        params: Vec::new(),
        real: Vec::new(),
        usedns: None,
        prefregex: None,
        failregex: Vec::new(),
        ignoreregex: Vec::new(),
        maxlines: None,
        datepattern: None,
        journalmatch: Vec::new(),
        logtimezone: None,
        logencoding: None,
        words: Vec::new(),
        notices: Vec::new(),
    };
    for command in &words {
        let Some(option) = command.words.get(2).and_then(Value::as_str) else { continue };
        let args = command.words.get(3..).unwrap_or(&[]);
        let first = args.first().map(Value::to_text);
        let texts = |out: &mut Vec<String>| match args.first() {
            Some(Value::List(items)) => out.extend(items.iter().map(Value::to_text)),
            Some(value) => out.push(value.to_text()),
            None => {}
        };
        match option {
            "usedns" => found.usedns = first,
            "prefregex" => found.prefregex = first,
            "datepattern" => found.datepattern = first,
            "maxlines" => found.maxlines = first.as_deref().and_then(values::python_int),
            "addfailregex" => texts(&mut found.failregex),
            "addignoreregex" => texts(&mut found.ignoreregex),
            "addjournalmatch" => {
                found.journalmatch.push(args.iter().map(Value::to_text).collect());
            }
            _ => {}
        }
    }
    found.words = words;
    found
}
