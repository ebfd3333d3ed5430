//! `%(name)s`: values inside values, resolved when a value is read and not before, so that a
//! broken value which nobody reads does no harm.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::error::ConfigError;
use crate::ini::DEFAULT;
use crate::reader::Ini;
use crate::text::Text;

/// Deepest nesting of values.
const MAX_DEPTH: usize = 10;
/// Longest value that interpolation may produce.
const MAX_LENGTH: usize = 1 << 20;
/// Most values that may be looked into for one value.
const MAX_STEPS: usize = 10_000;

/// Values that stand in front of every section: parameters and options passed down by a jail.
/// Names are in lower case.
#[derive(Clone, Debug, Default)]
pub struct Vars(HashMap<String, Arc<str>>);

impl Vars {
    /// Sets one.
    pub fn set(&mut self, name: &str, value: impl Into<Arc<str>>) {
        self.0.insert(name.to_lowercase(), value.into());
    }
    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&Arc<str>> {
        self.0.get(name)
    }
}

/// Where names are looked up.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The configuration.
    pub ini: &'a Ini,
    /// Looked up first.
    pub vars: &'a Vars,
}

impl Scope<'_> {
    /// The uninterpolated value of an option: of the section, else of `[DEFAULT]`.
    fn raw(&self, section: &str, option: &str) -> Option<&Text> {
        let own = self.ini.sections.get(section).and_then(|s| s.get(option));
        own.or_else(|| self.ini.defaults.get(option))
    }

    /// The interpolated value of an option, `None` if there is no such option.
    ///
    /// A variable of the same name replaces the option, also one that no file has.
    pub fn get(&self, section: &str, option: &str) -> Result<Option<Text>, ConfigError> {
        let written = self.raw(section, option);
        let (value, origin) = match (self.vars.get(option), written) {
            (Some(value), Some(text)) => (value.clone(), text.origin.clone()),
            (Some(value), None) => {
                let file = self.ini.files.last().cloned().unwrap_or_else(|| "".into());
                (value.clone(), sekisho_core::command::Origin { file, line: 0 })
            }
            (None, Some(text)) => (text.value.clone(), text.origin.clone()),
            (None, None) => return Ok(None),
        };
        if !value.contains('%') {
            return Ok(Some(Text { value, origin }));
        }
        let text = Text { value, origin };
        let mut out = String::new();
        self.expand(&text.value, &Site::new(section, option, &text), 1, &mut out)?;
        Ok(Some(Text::new(out, &text.origin)))
    }

    /// The interpolated value of an option as a file wrote it, even if a variable has its name.
    pub fn get_written(&self, section: &str, option: &str) -> Result<Option<Text>, ConfigError> {
        let Some(text) = self.raw(section, option) else { return Ok(None) };
        let mut out = String::new();
        self.expand(&text.value, &Site::new(section, option, text), 1, &mut out)?;
        Ok(Some(Text::new(out, &text.origin)))
    }

    /// The interpolated value that an option had before a later file replaced it.
    pub fn get_known(&self, section: &str, option: &str) -> Result<Option<Text>, ConfigError> {
        let Some(text) = self.ini.known.get(section).and_then(|k| k.get(option)) else {
            return Ok(None);
        };
        let mut out = String::new();
        self.expand(&text.value, &Site::new(section, option, text), 1, &mut out)?;
        Ok(Some(Text::new(out, &text.origin)))
    }

    fn expand(
        &self,
        value: &str,
        site: &Site<'_>,
        depth: usize,
        out: &mut String,
    ) -> Result<(), ConfigError> {
        let steps = site.steps.get() + 1;
        site.steps.set(steps);
        if depth > MAX_DEPTH || out.len() > MAX_LENGTH || steps > MAX_STEPS {
            return Err(ConfigError::TooDeep {
                origin: site.text.origin.clone(),
                option: site.option.to_owned(),
                section: site.section.to_owned(),
                raw: site.text.value.to_string(),
            });
        }
        let mut rest = value;
        while let Some(at) = rest.find('%') {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            let behind = from.get(1..).unwrap_or("");
            if let Some(after) = behind.strip_prefix('%') {
                out.push('%');
                rest = after;
            } else if let Some(inner) = behind.strip_prefix('(') {
                let reference = inner.split_once(')').filter(|(name, _)| !name.is_empty());
                let Some((name, after)) =
                    reference.and_then(|(name, after)| Some((name, after.strip_prefix('s')?)))
                else {
                    let origin = site.text.origin.clone();
                    return Err(ConfigError::BadReference { origin, found: from.to_owned() });
                };
                let found = self.lookup(name, site).ok_or_else(|| ConfigError::UnknownKey {
                    origin: site.text.origin.clone(),
                    option: site.option.to_owned(),
                    section: site.section.to_owned(),
                    key: name.to_lowercase(),
                    raw: site.text.value.to_string(),
                })?;
                if found.contains('%') {
                    self.expand(&found, site, depth + 1, out)?;
                } else {
                    out.push_str(&found);
                }
                rest = after;
            } else {
                let origin = site.text.origin.clone();
                return Err(ConfigError::LonePercent { origin, found: from.to_owned() });
            }
        }
        out.push_str(rest);
        Ok(())
    }

    /// The uninterpolated text behind a name.
    fn lookup(&self, name: &str, site: &Site<'_>) -> Option<Arc<str>> {
        let key = name.to_lowercase();
        if let Some(value) = self.vars.get(&key) {
            return Some(value.clone());
        }
        if let Some(text) = self.raw(site.section, &key) {
            return Some(text.value.clone());
        }
        if key == "__name__" {
            return Some(site.section.into());
        }
        let (section, option) = key.split_once('/')?;
        let text = if section == "known" {
            let replaced = self.ini.known.get(site.section).and_then(|k| k.get(option));
            replaced.or_else(|| self.ini.defaults.get(option))
        } else if section == DEFAULT.to_lowercase() {
            self.ini.defaults.get(option)
        } else {
            let written = name.split_once('/').map_or(section, |(section, _)| section);
            let exists = |name: &&str| self.ini.sections.contains(name);
            let section = [written, section].into_iter().find(exists)?;
            self.raw(section, option)
        };
        text.map(|t| t.value.clone())
    }
}

/// The value being read, for messages.
struct Site<'a> {
    section: &'a str,
    option: &'a str,
    text: &'a Text,
    steps: Cell<usize>,
}

impl<'a> Site<'a> {
    fn new(section: &'a str, option: &'a str, text: &'a Text) -> Self {
        Site { section, option, text, steps: Cell::new(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::MapFiles;
    use crate::reader::{Base, read};
    use crate::text::Options;

    fn get(text: &str, option: &str) -> String {
        let files = MapFiles::new("e", [("x.conf", text)]);
        let ini = read(Base { files: &files, dir: "e" }, "x", &Options::default()).unwrap();
        let mut vars = Vars::default();
        vars.set("Var", "V");
        match (Scope { ini: &ini, vars: &vars }).get("s", option) {
            Ok(Some(text)) => text.value.to_string(),
            Ok(None) => "-".to_owned(),
            Err(error) => format!("! {error}"),
        }
    }

    #[test]
    fn lookups() {
        let text = "[DEFAULT]\nd = D\n[s]\na = 1\nb = %(A)s%(d)s%(var)s %%%(__name__)s\n\
                    c = %(t/x)s\n[t]\nx = %(a)s%(d)s\n";
        for (option, expected) in
            [("b", "1DV %s"), ("c", "1D"), ("d", "D"), ("none", "-"), ("var", "V")]
        {
            assert_eq!(get(text, option), expected, "{option}");
        }
    }

    #[test]
    fn work_is_bounded() {
        let mut text = "[s]\nv0 =\n".to_owned();
        for level in 1..9 {
            let below = format!("%(v{})s", level - 1);
            text += &format!("v{level} = {}\n", below.repeat(40));
        }
        assert!(get(&text, "v8").starts_with("! Recursion limit exceeded"));
        let mut text = "[s]\nv0 = 0123456789\n".to_owned();
        for level in 1..9 {
            let below = format!("%(v{})s", level - 1);
            text += &format!("v{level} = {}\n", below.repeat(40));
        }
        assert!(get(&text, "v8").starts_with("! Recursion limit exceeded"));
    }
}
