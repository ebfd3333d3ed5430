//! From the arguments REGEX and IGNOREREGEX to a filter: literal regexes, or a filter of the
//! configuration (a jail's, a named one, a file) with its options.

use std::path::Path;

use sekisho_config::resolve::{ResolveOptions, ResolvedFilter, Source, resolve};
use sekisho_core::date::{DateOptions, DateSpec, LogZone, Years};
use sekisho_core::filter::{Filter, FilterSpec, UseDns};
use sekisho_core::time::{Timestamp, Zone};
use sekisho_core::value::Value;

use super::input::{is_journal, shorten};
use super::options::Options;
use crate::tree::{FAIL2BAN, Tree};

/// What is tested.
#[derive(Debug)]
pub(super) struct Loaded {
    pub filter: Filter,
    /// The failregexes as they were written.
    pub fail: Vec<String>,
    /// The ignoreregexes as they were written.
    pub ignore: Vec<String>,
    /// Groups of journal matches.
    pub journalmatch: Vec<Vec<String>>,
}

/// Reads what is to be tested. What was used is described in `header`, also where it then fails;
/// an error is the text to print.
pub(super) fn load(
    options: &Options,
    zone: &Zone,
    now: Timestamp,
    header: &mut Vec<String>,
) -> Result<Loaded, String> {
    let mut spec = FilterSpec { years: Years::Since1900, ..FilterSpec::default() };
    let mut journalmatch = Vec::new();
    let error = |text: String| format!("ERROR: {text}");
    if options.maxlines > 0 {
        spec.maxlines = options.maxlines;
        header.push(format!("Use         maxlines : {}", spec.maxlines));
    }
    if let Some(words) = &options.journalmatch {
        let words = sekisho_config::shlex::split(words)
            .ok_or_else(|| error("the journal match has an open quote; close it".into()))?;
        journalmatch.push(words);
    }
    if let Some(text) = &options.timezone {
        LogZone::parse(text).map_err(|e| error(e.to_string()))?;
        spec.logtimezone = Some(text.clone());
    }
    let dates = DateOptions { now, years: spec.years };
    if let Some(pattern) = &options.datepattern {
        header.push(describe_dates(pattern, &dates)?);
        spec.datepattern = Some(pattern.clone());
    }

    let args = options.args.as_slice();
    let (log, regex) = match args {
        [log, regex, ..] => (log.as_str(), regex.as_str()),
        _ => ("", ""),
    };
    match named(options, log, regex) {
        Ok(Some(found)) => {
            describe_filter(&found, options, header);
            if options.maxlines == 0
                && let Some(n) = found.maxlines
            {
                spec.maxlines = usize::try_from(n).unwrap_or(1).max(1);
                header.push(format!("Use         maxlines : {}", spec.maxlines));
            }
            if options.datepattern.is_none()
                && let Some(pattern) = &found.datepattern
            {
                header.push(describe_dates(pattern, &dates)?);
                spec.datepattern = Some(pattern.clone());
            }
            if options.journalmatch.is_none() {
                journalmatch = found.journalmatch;
            }
            if options.timezone.is_none() {
                spec.logtimezone = found.logtimezone;
            }
            if let Some(usedns) = &found.usedns {
                spec.usedns = UseDns::parse(usedns).unwrap_or(UseDns::No);
            }
            spec.prefregex = found.prefregex;
            spec.failregex = found.failregex;
            spec.ignoreregex = found.ignoreregex;
        }
        Ok(None) => {
            header.push(format!("Use   failregex line : {}", shorten(regex)));
            spec.failregex = vec![regex.to_owned()];
        }
        Err(why) => {
            return Err(format!("Wrong config file: {why}\nERROR: failed to load filter {regex}"));
        }
    }
    if let Some(ignoreregex) = args.get(2) {
        header.push(format!("Use ignoreregex line : {}", shorten(ignoreregex)));
        spec.ignoreregex = vec![ignoreregex.clone()];
    }
    if let Some(usedns) = &options.usedns {
        spec.usedns = UseDns::parse(usedns).unwrap_or(UseDns::No);
    }
    if options.raw && spec.usedns != UseDns::No {
        spec.usedns = UseDns::Raw;
    }
    let filter = Filter::compile(&spec, zone, now).map_err(|e| error(e.to_string()))?;
    Ok(Loaded { filter, fail: spec.failregex, ignore: spec.ignoreregex, journalmatch })
}

/// The filter that REGEX names, if it names one.
fn named(options: &Options, log: &str, regex: &str) -> Result<Option<ResolvedFilter>, String> {
    if !looks_like_name(regex) {
        return Ok(None);
    }
    // A machine without a configuration can still test the built-in filters.
    let tree = match &options.config {
        None if !Path::new(FAIL2BAN).is_dir() => Tree::sekisho(None),
        config => Tree::fail2ban(config.as_deref()),
    };
    let fallback = tree.options().fallback;
    let how = ResolveOptions { journal: is_journal(log), fallback, ..ResolveOptions::default() };
    resolve(&tree, &tree.dir, regex, &how).map_err(|e| e.located())
}

/// A name or path, and perhaps parameters in brackets.
fn looks_like_name(text: &str) -> bool {
    let name = match text.split_once('[') {
        Some((name, params)) if params.ends_with(']') => name,
        Some(_) => return false,
        None => text,
    };
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '/' | '-' | '.');
    !name.is_empty() && name.chars().all(plain)
}

fn describe_filter(found: &ResolvedFilter, options: &Options, header: &mut Vec<String>) {
    let dict = |pairs: &[(String, String)]| {
        let pairs = pairs.iter().map(|(k, v)| (Value::str(k), Value::str(v))).collect();
        Value::Dict(pairs).repr()
    };
    match &found.source {
        Source::Jail(name) => {
            header.push(format!("Use             jail : {name}"));
            if !found.params.is_empty() {
                header.push(format!("Use jail/flt options : {}", dict(&found.params)));
            }
        }
        Source::Filter { name, base } => {
            header.push(format!("Use      filter file : {name}, basedir: {base}"));
        }
        Source::File(path) => header.push(format!("Use      filter file : {path}")),
    }
    if !matches!(found.source, Source::Jail(_)) && !found.params.is_empty() {
        header.push(format!("Use   filter options : {}", dict(&found.params)));
    }
    if options.verbose > 1 {
        let asked = |key: &str| {
            matches!(key, "logtype" | "datepattern") || found.params.iter().any(|(k, _)| k == key)
        };
        let real: Vec<(String, String)> =
            found.real.iter().filter(|(key, _)| asked(key)).cloned().collect();
        header.push(format!("Real  filter options : {}", dict(&real)));
    }
}

fn describe_dates(pattern: &str, options: &DateOptions) -> Result<String, String> {
    let spec = DateSpec::parse(pattern, options).map_err(|e| format!("ERROR: {e}"))?;
    Ok(format!("Use      datepattern : {pattern} : {}", spec.shown().1))
}

#[cfg(test)]
mod tests {
    use super::looks_like_name;

    #[test]
    fn names_and_regexes() {
        for text in ["sshd", "sshd[mode=aggressive]", "/etc/x/y.conf", "./my.conf[a=b, c=\"d\"]"] {
            assert!(looks_like_name(text), "{text}");
        }
        for text in ["", "<HOST>", "a b", "sshd[", "[x]", "^x$", "a|b"] {
            assert!(!looks_like_name(text), "{text}");
        }
    }
}
