//! Filters and actions by name: the administrator's, else the built-in ones.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use sekisho_core::command::Origin;
use sekisho_core::effect::Level;

use crate::definition::{self, Compiled, FILTER_OPTIONS, Request};
use crate::error::ConfigError;
use crate::files::Kind;
use crate::interpolate::Vars;
use crate::notice::Notice;
use crate::params::Definition;
use crate::reader::{self, Base, Ini};
use crate::text::Options;

/// Where filters and actions come from.
pub struct Library<'a> {
    bases: Vec<Base<'a>>,
    cache: RefCell<HashMap<String, Rc<Ini>>>,
}

impl<'a> Library<'a> {
    /// A library that looks below `base`, then below `fallback`.
    pub fn new(base: Base<'a>, fallback: Option<Base<'a>>) -> Self {
        let mut bases = vec![base];
        bases.extend(fallback);
        Library { bases, cache: RefCell::default() }
    }

    /// Reads `filter.d/x` or `action.d/x`; the first fault of its files is the result.
    pub fn read(&self, name: &str, notices: &mut Vec<Notice>) -> Result<Rc<Ini>, ConfigError> {
        if let Some(ini) = self.cache.borrow().get(name) {
            return first_fault(ini);
        }
        let mut failure = None;
        for (at, base) in self.bases.iter().enumerate() {
            match reader::read(*base, name, &Options::default()) {
                Ok(ini) => {
                    if at > 0 {
                        let level = Level::Notice;
                        let text =
                            format!("{name} is not in the configuration; using the built-in one");
                        notices.push(Notice { level, text, origin: None });
                    }
                    notices.extend(ini.notices.iter().cloned());
                    let ini = Rc::new(ini);
                    self.cache.borrow_mut().insert(name.to_owned(), ini.clone());
                    return first_fault(&ini);
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let base = String::new();
        Err(failure.unwrap_or(ConfigError::NotFound { name: name.to_owned(), base }))
    }

    /// Whether any base has files for a name.
    pub fn has(&self, name: &str) -> bool {
        self.bases.iter().any(|base| !reader::listed(*base, name).is_empty())
    }

    /// Path of a file below the first base that has it.
    pub fn find(&self, name: &str) -> Option<String> {
        let paths = self.bases.iter().map(|b| (b, crate::files::join(b.dir, name)));
        let mut found = paths.filter(|(b, path)| b.files.kind(path) == Some(Kind::File));
        found.next().map(|(_, path)| path)
    }
}

/// What to say where a filter or an action has no files.
pub(crate) fn no_files(name: &str) -> String {
    format!("; there is neither {name}.conf nor {name}.local")
}

fn first_fault(ini: &Rc<Ini>) -> Result<Rc<Ini>, ConfigError> {
    match ini.errors.first() {
        Some((_, error)) => Err(error.clone()),
        None => Ok(ini.clone()),
    }
}

/// Reads and compiles a filter.
pub fn compile_filter(
    library: &Library<'_>,
    definition: &Definition,
    origin: &Origin,
    jail: &Vars,
    backend: &str,
    notices: &mut Vec<Notice>,
) -> Result<Compiled, ConfigError> {
    let name = crate::files::join("filter.d", &definition.name);
    let ini = library.read(&name, notices).map_err(|error| {
        let missing = matches!(error, ConfigError::NotFound { .. });
        ConfigError::NoFilter {
            origin: error.origin().unwrap_or(origin).clone(),
            name: definition.name.clone(),
            missing,
            detail: if missing { no_files(&name) } else { format!(": {error}") },
        }
    })?;
    compile_definition(&ini, definition, origin, jail, backend)
}

/// Compiles a filter that has been read.
pub fn compile_definition(
    ini: &Ini,
    definition: &Definition,
    origin: &Origin,
    jail: &Vars,
    backend: &str,
) -> Result<Compiled, ConfigError> {
    let logtype = if backend.starts_with("systemd") { "journal" } else { "file" };
    let defaults: &[(&str, &str)] =
        if definition::sets_logtype(ini) { &[] } else { &[("logtype", logtype)] };
    let request = Request { table: FILTER_OPTIONS, definition, origin, jail, defaults };
    definition::compile(ini, &request)
}
