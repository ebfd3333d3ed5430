//! Which files make up a configuration, in which order, and how they are merged.
//!
//! `jail.conf`, `jail.d/*.conf`, `jail.local`, `jail.d/*.local`, each with what it includes and
//! with the `.local` siblings of that. Later wins, option by option; what a later file replaced
//! stays reachable as `%(known/option)s`.

use std::sync::Arc;

use sekisho_core::command::Origin;

use crate::error::ConfigError;
use crate::files::{Files, Kind, ReadError, join, parent};
use crate::ini::{self, DEFAULT, ParsedFile};
use crate::interpolate::{Scope, Vars};
use crate::notice::Notice;
use crate::text::{Options, OrderedMap};

/// Most files one configuration may consist of, includes counted every time.
const MAX_FILES: usize = 1000;
/// Deepest chain of includes.
const MAX_DEPTH: usize = 32;

/// The section that names includes.
pub const INCLUDES: &str = "INCLUDES";

/// A merged configuration.
#[derive(Clone, Debug, Default)]
pub struct Ini {
    /// `[DEFAULT]` of all files.
    pub defaults: Options,
    /// All other sections, in order of first appearance.
    pub sections: OrderedMap<Options>,
    /// What later files replaced, by section.
    pub known: OrderedMap<Options>,
    /// Faults, each with its file and the section it lies in.
    pub errors: Vec<(Option<String>, ConfigError)>,
    /// Warnings.
    pub notices: Vec<Notice>,
    /// Files that were read.
    pub files: Vec<Arc<str>>,
}

/// A folder in a tree of files.
#[derive(Clone, Copy)]
pub struct Base<'a> {
    /// The tree.
    pub files: &'a dyn Files,
    /// The folder.
    pub dir: &'a str,
}

/// Reads the configuration `name` (`jail`, `filter.d/sshd`, …) below `base`.
///
/// `predefined` are options that every section sees, whatever `[DEFAULT]` says.
pub fn read(base: Base<'_>, name: &str, predefined: &Options) -> Result<Ini, ConfigError> {
    let listed = listed(base, name);
    if listed.is_empty() {
        return Err(ConfigError::NotFound { name: name.to_owned(), base: base.dir.to_owned() });
    }
    let mut ini = read_files(base.files, &listed, predefined);
    ini.notices.extend(no_files(base, name));
    Ok(ini)
}

/// Warnings of what has the name of a file of this configuration, and is none.
fn no_files(base: Base<'_>, name: &str) -> impl Iterator<Item = Notice> {
    ["conf", "local"].into_iter().filter_map(move |ending| {
        let path = format!("{}.{ending}", join(base.dir, name));
        let what = match base.files.kind(&path)? {
            Kind::File => return None,
            Kind::Dir => "a folder",
            Kind::Dangling => "a link to nothing",
        };
        Some(Notice::warning(format!("{path} is {what}: it is not read")))
    })
}

/// The files of a configuration in their order, without those that they include.
pub fn listed(base: Base<'_>, name: &str) -> Vec<String> {
    let stem = join(base.dir, name);
    let mut listed = Vec::new();
    for ending in ["conf", "local"] {
        let main = format!("{stem}.{ending}");
        if base.files.kind(&main) == Some(Kind::File) {
            listed.push(main);
        }
        listed.extend(dropins(base.files, &stem, ending));
    }
    listed
}

/// Reads one foreign file with its includes.
pub fn read_one(files: &dyn Files, path: &str, predefined: &Options) -> Ini {
    read_files(files, &[path.to_owned()], predefined)
}

/// `stem.d/*.ending`, sorted; the folder's name is taken literally.
fn dropins(files: &dyn Files, stem: &str, ending: &str) -> Vec<String> {
    let dir = format!("{stem}.d");
    let pattern = format!("*.{ending}");
    let mut names = files.list(&dir);
    names.retain(|n| !n.starts_with('.') && crate::files::matches(&pattern, n));
    names.sort();
    let paths = names.into_iter().map(|n| join(&dir, &n));
    paths.filter(|p| files.kind(p) == Some(Kind::File)).collect()
}

fn read_files(files: &dyn Files, listed: &[String], predefined: &Options) -> Ini {
    let mut loader = Loader { files, queue: Vec::new(), ini: Ini::default(), depth: Vec::new() };
    loader.expand(listed);
    let mut ini = loader.ini;
    for (path, file) in loader.queue {
        merge(&mut ini, file);
        ini.files.push(path);
    }
    for (key, text) in predefined.iter() {
        ini.defaults.insert(key, text.clone());
    }
    ini
}

struct Loader<'a> {
    files: &'a dyn Files,
    /// Files in the order in which they take effect.
    queue: Vec<(Arc<str>, ParsedFile)>,
    ini: Ini,
    /// The chain of including files.
    depth: Vec<String>,
}

impl Loader<'_> {
    /// Adds files with their includes and `.local` siblings.
    fn expand(&mut self, listed: &[String]) {
        for path in listed {
            self.add(path);
            let local = format!("{}.local", stem(path));
            let being_read = self.depth.contains(&normalize(&local));
            let listed = being_read || listed.contains(&local);
            if !listed && self.files.kind(&local) == Some(Kind::File) {
                self.add(&local);
            }
        }
    }

    fn add(&mut self, path: &str) {
        let path = normalize(path);
        if self.files.kind(&path) != Some(Kind::File) {
            return;
        }
        let bytes = match self.files.read(&path) {
            Ok(bytes) => bytes,
            Err(ReadError::NotFound) => return,
            Err(ReadError::Refused(reason)) => {
                self.ini.errors.push((None, ConfigError::Unreadable { path, reason }));
                return;
            }
        };
        let origin = Origin { file: path.as_str().into(), line: 1 };
        if self.queue.len() >= MAX_FILES || self.depth.len() >= MAX_DEPTH {
            self.ini.errors.push((None, ConfigError::TooManyIncludes { origin }));
            return;
        }
        let file = ini::parse_bytes(&path, &bytes);
        let [before, after] = self.includes(&path, &file);
        self.depth.push(path);
        self.expand(&before);
        self.queue.push((origin.file, file));
        self.expand(&after);
        self.depth.pop();
    }

    /// The files of `before` and `after`, interpolated with this file's content alone.
    fn includes(&mut self, path: &str, file: &ParsedFile) -> [Vec<String>; 2] {
        if !file.blocks.iter().any(|b| b.name == INCLUDES) {
            return [Vec::new(), Vec::new()];
        }
        let mut alone = Ini::default();
        merge(&mut alone, file.clone());
        let dir = parent(path);
        ["before", "after"].map(|key| {
            match (Scope { ini: &alone, vars: &Vars::default() }).get(INCLUDES, key) {
                Ok(None) => Vec::new(),
                Ok(Some(text)) => {
                    let names = text.value.lines().map(str::trim).filter(|n| !n.is_empty());
                    let paths = names.map(|n| normalize(&join(dir, n)));
                    // One that is being read is a loop, and is skipped; only a file that names
                    // itself is read once more, as fail2ban reads it.
                    paths.filter(|path| !self.depth.contains(path)).collect()
                }
                Err(error) => {
                    self.ini.errors.push((None, error));
                    Vec::new()
                }
            }
        })
    }
}

/// A path without the ending of its last part.
fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path).trim_start_matches('.');
    let ending = name.rfind('.').map_or(0, |at| name.len() - at);
    path.get(..path.len() - ending).unwrap_or(path)
}

/// Resolves `.` and `..` textually, so that one file has one name.
fn normalize(path: &str) -> String {
    if !path.contains("/.") {
        return path.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." if parts.last().is_some_and(|p| !p.is_empty() && *p != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Lays a file over what was read before.
fn merge(ini: &mut Ini, file: ParsedFile) {
    ini.errors.extend(file.errors);
    ini.notices.extend(file.notices);
    for block in file.blocks {
        if block.name == DEFAULT {
            for (key, text) in block.options.iter() {
                ini.defaults.insert(key, text.clone());
            }
            continue;
        }
        // `[Init?family=inet6]` holds variants of options of `[Init]`.
        let (section, condition) = conditional(&block.name).unwrap_or((&block.name, ""));
        let merged = ini.sections.contains(section);
        let mut replaced = Vec::new();
        if let Some(options) = ini.sections.entry(section, Options::default) {
            for (key, text) in block.options.iter() {
                let key = if condition.is_empty() {
                    key.to_owned()
                } else {
                    format!("{key}?{condition}")
                };
                if let Some(old) = options.insert(&key, text.clone()) {
                    replaced.push((key, old));
                }
            }
        }
        if !merged {
            continue;
        }
        if let Some(known) = ini.known.entry(section, Options::default) {
            for (key, old) in replaced {
                known.insert(&key, old);
            }
        }
    }
}

/// Name and condition of `Init?family=inet6` or `blocktype?family=inet6`; the name is one word.
pub(crate) fn conditional(name: &str) -> Option<(&str, &str)> {
    let (name, condition) = name.split_once('?')?;
    let word = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    (word && !condition.is_empty()).then_some((name, condition))
}
