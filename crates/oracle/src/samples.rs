//! fail2ban's sample logs, read where they are installed: the lines, with which options of a filter
//! they are to be run, and what must be found in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::Fail2ban;
use serde_json::{Map, Value};

/// Parameters of a filter.
pub type Params = BTreeMap<String, String>;

/// A filter with the samples that belong to it.
pub struct Sample {
    /// The filter's name.
    pub name: String,
    /// The configuration folder it is in.
    pub base: PathBuf,
    /// Its sample logs.
    pub logs: Vec<PathBuf>,
    /// The lines by options, in the order of the first line of each.
    pub runs: Vec<Run>,
}

/// The lines that one set of options is to be run over.
pub struct Run {
    /// The options.
    pub params: Params,
    /// The lines.
    pub lines: Vec<Line>,
}

/// A line and what must be found.
pub struct Line {
    /// File and number.
    pub place: String,
    /// The line.
    pub text: String,
    /// An entry of the journal: its time is known, none is looked for.
    pub journal: bool,
    /// `match`, `host`, `time` and more; empty for a line in which nothing must be found.
    pub expected: Map<String, Value>,
}

/// Every filter of a fail2ban that has a sample log. `dir` takes links to its test filters.
pub fn all(fail2ban: &Fail2ban, dir: &Path) -> Vec<Sample> {
    let mut found = Vec::new();
    for (base, of_tests) in [(fail2ban.config.clone(), false), (test_tree(fail2ban, dir), true)] {
        for name in names(&base.join("filter.d")) {
            let wanted =
                if of_tests { name.starts_with("zzz-") } else { !name.ends_with("common") };
            if wanted {
                found.push(read(fail2ban, &base, &name));
            }
        }
    }
    assert!(found.len() > 90, "{} sample logs", found.len());
    found
}

/// The names of the `.conf` files of a folder.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name());
    let mut names: Vec<String> =
        entries.filter_map(|name| Some(name.to_str()?.strip_suffix(".conf")?.to_owned())).collect();
    names.sort();
    names
}

/// The filters of fail2ban's own tests include stock files by a path that holds in its source only:
/// `../` some times, `config/filter.d/common.conf`. Links make it hold.
fn test_tree(fail2ban: &Fail2ban, dir: &Path) -> PathBuf {
    let mut base = dir.to_owned();
    for _ in 0..8 {
        std::fs::create_dir(&base).ok();
        std::os::unix::fs::symlink(&fail2ban.config, base.join("config")).unwrap();
        base.push("x");
    }
    let filters = base.join("filter.d");
    std::fs::create_dir_all(&filters).unwrap();
    let from = fail2ban.modules.join("fail2ban/tests/config/filter.d");
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::os::unix::fs::symlink(&path, filters.join(path.file_name().unwrap())).unwrap();
    }
    base
}

fn read(fail2ban: &Fail2ban, base: &Path, name: &str) -> Sample {
    let dir = fail2ban.samples();
    let mut sample =
        Sample { name: name.to_owned(), base: base.to_owned(), logs: Vec::new(), runs: Vec::new() };
    let mut files = vec![name.to_owned()];
    // Options hold until others come, also from one file to the next.
    let mut common = Map::new();
    let mut current: Vec<Map<String, Value>> = vec![Map::new()];
    let mut at = 0;
    while let Some(file) = files.get(at).cloned() {
        at += 1;
        let path = dir.join(&file);
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let text = String::from_utf8_lossy(&bytes).into_owned();
        sample.logs.push(path);
        let mut skip = false;
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let mut expected = Map::new();
            let mut taken = (number, line);
            match header(line) {
                Some(("failJSON", json)) => {
                    expected = object(json);
                    taken = lines.next().expect("a line after its expectation");
                }
                Some(("fileOptions", json)) => {
                    common = object(json);
                    continue;
                }
                Some(("filterOptions", json)) => {
                    (current, skip) = options(name, &common, json);
                    continue;
                }
                Some((_, json)) => {
                    files.push(json.as_str().expect("a name").to_owned());
                    continue;
                }
                None if line.starts_with('#') || line.trim().is_empty() => continue,
                None => {}
            }
            if skip {
                continue;
            }
            for options in &current {
                let constraint = expected.get("constraint").and_then(Value::as_str);
                if constraint.is_none_or(|expression| holds(expression, name, options)) {
                    let place = format!("{file}:{}", taken.0 + 1);
                    sample.add(options, place, taken.1, &expected);
                }
            }
        }
    }
    sample
}

impl Sample {
    fn add(
        &mut self,
        options: &Map<String, Value>,
        place: String,
        text: &str,
        expected: &Map<String, Value>,
    ) {
        let journal = options.get("logtype").is_some_and(|v| v == "journal");
        let prefix = options.get("test.prefix-line").filter(|_| journal);
        let prefix = prefix.and_then(Value::as_str).unwrap_or_default();
        let line = Line {
            place,
            text: format!("{prefix}{}", text.trim_end_matches(['\r', '\n'])),
            journal,
            expected: expected.clone(),
        };
        let params: Params = options
            .iter()
            .filter(|(name, _)| !name.starts_with("test."))
            .map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned()))
            .collect();
        match self.runs.iter_mut().find(|run| run.params == params) {
            Some(run) => run.lines.push(line),
            None => self.runs.push(Run { params, lines: vec![line] }),
        }
    }

    /// All parameters worth trying: none, those of the samples, and every mode the filter has.
    pub fn params(&self) -> Vec<Params> {
        let mut all = vec![Params::new()];
        let path = self.base.join(format!("filter.d/{}.conf", self.name));
        let text = std::fs::read_to_string(path).unwrap();
        // `mdre-ddos = …`, for `<mdre-<mode>>`.
        let modes = text.lines().filter_map(|line| line.split_once('=')?.0.trim().split_once('-'));
        let modes = modes
            .filter(|(option, _)| text.contains(&format!("<{option}-<mode>>")))
            .map(|(_, mode)| Params::from([("mode".to_owned(), mode.to_owned())]));
        for params in self.runs.iter().map(|run| run.params.clone()).chain(modes) {
            if !all.contains(&params) {
                all.push(params);
            }
        }
        all
    }

    /// `sshd.conf[mode="ddos"]`
    pub fn spec(&self, params: &Params) -> String {
        with_params(&format!("{}.conf", self.name), params)
    }
}

/// `name[mode="ddos"]`
pub fn with_params(name: &str, params: &Params) -> String {
    if params.is_empty() {
        return name.to_owned();
    }
    let list: Vec<String> = params.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
    format!("{name}[{}]", list.join(","))
}

/// `# failJSON: {…}`
fn header(line: &str) -> Option<(&str, Value)> {
    let rest = line.strip_prefix('#')?.trim_start_matches('#');
    let (word, json) = rest.strip_prefix(' ').unwrap_or(rest).split_once(':')?;
    let known = ["failJSON", "fileOptions", "filterOptions", "addFILE"].contains(&word);
    known.then(|| (word, serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {line}"))))
}

fn object(json: Value) -> Map<String, Value> {
    json.as_object().expect("an object").clone()
}

/// The sets of options, and whether the lines that follow are not for this filter.
fn options(
    name: &str,
    common: &Map<String, Value>,
    json: Value,
) -> (Vec<Map<String, Value>>, bool) {
    let list = json.as_array().cloned().unwrap_or_else(|| vec![json]);
    let mut sets = Vec::new();
    let mut skip = false;
    for one in list {
        let mut set = common.clone();
        set.extend(object(one));
        if let Some(condition) = set.get("test.condition").and_then(Value::as_str) {
            skip = !holds(condition, name, &set);
        }
        if !skip {
            sets.push(set);
        }
    }
    (sets, skip)
}

/// The few forms of Python that conditions have.
fn holds(expression: &str, name: &str, options: &Map<String, Value>) -> bool {
    let (left, right) = expression.split_once(['=', '!']).expect("a comparison");
    let wanted = right.trim_start_matches('=').trim().trim_matches('\'');
    let left = left.trim();
    let equal = match left.strip_prefix("opts.get('").and_then(|l| l.strip_suffix("')")) {
        Some(option) => options.get(option).is_some_and(|value| value == wanted),
        None => {
            assert_eq!(left, "name", "{expression}");
            name == wanted
        }
    };
    equal != expression.contains("!=")
}
