//! What the configuration alone tells: each jail, its actions and patterns.

use std::collections::{BTreeMap, BTreeSet};

use sekisho_config::jail::JailSummary;
use sekisho_config::load::Loaded;
use sekisho_core::command::{Origin, Words};
use sekisho_core::value::Value;

use super::{Finding, Verdict};
use crate::tree;

/// Programs of stock actions; only those are looked for that a command names.
const PROGRAMS: &[&str] = &[
    "iptables",
    "ip6tables",
    "nft",
    "ipset",
    "firewall-cmd",
    "ufw",
    "shorewall",
    "sendmail",
    "mail",
    "whois",
    "curl",
    "nsupdate",
    "geoiplookup",
    "apprise",
    "csf",
    "apf",
];

/// One action of one jail, from the commands that would make it.
#[derive(Debug, Default)]
struct Action {
    origin: Option<Origin>,
    python: bool,
    properties: BTreeMap<String, String>,
}

impl Action {
    fn enforces(&self) -> bool {
        let unban = |(k, v): (&String, &String)| {
            k.split('?').next() == Some("actionunban") && !v.trim().is_empty()
        };
        self.properties.iter().any(unban)
    }

    /// Programs that it names and that are not installed.
    fn missing(&self) -> Vec<&'static str> {
        let names = |text: &str, program: &str| {
            text.split(|c: char| !(c.is_alphanumeric() || "-_.".contains(c))).any(|w| w == program)
        };
        let called = |program: &&&str| self.properties.values().any(|text| names(text, program));
        PROGRAMS.iter().filter(called).filter(|p| tree::program(p).is_none()).copied().collect()
    }
}

/// All that can be said.
pub fn of_configuration(loaded: &Loaded) -> Vec<Finding> {
    let actions = actions(&loaded.stream);
    let mut found = Vec::new();
    for jail in &loaded.jails {
        found.push(guards(jail));
        found.extend(waits(jail));
    }
    for jail in &loaded.broken {
        let text = format!("jail {} does not guard: {}", jail.name, jail.reason);
        found.push(Finding::new(Verdict::Broken, text).at(jail.origin.as_ref()));
    }
    found.extend(loaded.notices.iter().map(|n| {
        // fail2ban reads no further where a section comes twice.
        let better = n.text.contains("the two are merged");
        let verdict = if better { Verdict::Better } else { Verdict::Note };
        Finding::new(verdict, n.text.clone()).at(n.origin.as_ref())
    }));
    found.extend(of_actions(&actions));
    found.extend(of_patterns(&loaded.stream));
    if loaded.jails.is_empty() && loaded.broken.is_empty() {
        found.push(Finding::new(Verdict::Note, "no jail is switched on: nothing is guarded"));
    }
    found
}

fn guards(jail: &JailSummary) -> Finding {
    let watched = if jail.backend.starts_with("systemd") {
        "the journal".to_owned()
    } else {
        let paths: Vec<&str> = jail.logpaths.iter().map(|log| log.path.as_str()).collect();
        if paths.is_empty() { "no log".to_owned() } else { paths.join(", ") }
    };
    let acts = match jail.actions.as_slice() {
        [] => "no action: it only counts".to_owned(),
        names => names.join(", "),
    };
    Finding::new(Verdict::Same, format!("jail {}: {watched}; {acts}", jail.name))
}

fn waits(jail: &JailSummary) -> Option<Finding> {
    if jail.missing.is_empty() || jail.backend.starts_with("systemd") {
        return None;
    }
    let paths: Vec<&str> = jail.missing.iter().map(|log| log.path.as_str()).collect();
    let text = format!(
        "jail {} waits for {} to appear, where fail2ban does not start at all",
        jail.name,
        paths.join(", ")
    );
    Some(Finding::new(Verdict::Better, text))
}

fn of_actions(actions: &BTreeMap<(String, String), Action>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut missing: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut notifying = BTreeSet::new();
    for ((jail, name), action) in actions {
        if action.python {
            if tree::program("python3").is_none() {
                let text =
                    format!("jail {jail}: action {name} is written in Python: install python3");
                found.push(Finding::new(Verdict::Broken, text).at(action.origin.as_ref()));
            }
            continue;
        }
        if !action.enforces() {
            notifying.insert(name.clone());
        }
        for program in action.missing() {
            missing.entry(program).or_default().insert(format!("{name} of {jail}"));
        }
    }
    if !notifying.is_empty() {
        let names: Vec<String> = notifying.into_iter().collect();
        let text = format!("{}: never delay a ban, however slow they are", names.join(", "));
        found.push(Finding::new(Verdict::Better, text));
    }
    for (program, users) in missing {
        let users: Vec<String> = users.into_iter().collect();
        let text = format!(
            "{program} is named by action {}, and is not installed: commands that call it fail, \
             now as then",
            users.join(", ")
        );
        found.push(Finding::new(Verdict::Note, text));
    }
    found
}

/// The actions that the stream makes, by jail and name.
fn actions(stream: &[Words]) -> BTreeMap<(String, String), Action> {
    let mut out: BTreeMap<(String, String), Action> = BTreeMap::new();
    for words in stream {
        let texts: Vec<&str> = words.words.iter().map(|w| w.as_str().unwrap_or("")).collect();
        match (texts.as_slice(), words.words.last()) {
            (["set", jail, "addaction", name, rest @ ..], _) => {
                let action = out.entry(((*jail).to_owned(), (*name).to_owned())).or_default();
                action.origin.clone_from(&words.origin);
                action.python = !rest.is_empty();
            }
            (["multi-set", jail, "action", name, ..], Some(list)) => {
                let action = out.entry(((*jail).to_owned(), (*name).to_owned())).or_default();
                action.properties.extend(properties(list));
            }
            (["set", jail, "action", name, key, value], _) => {
                let action = out.entry(((*jail).to_owned(), (*name).to_owned())).or_default();
                action.properties.insert((*key).to_owned(), (*value).to_owned());
            }
            _ => {}
        }
    }
    out
}

/// `[['actionban', '…'], …]`
fn properties(list: &Value) -> Vec<(String, String)> {
    let Value::List(rows) = list else { return Vec::new() };
    let pair = |row: &Value| match row {
        Value::List(pair) | Value::Tuple(pair) => match pair.as_slice() {
            [key, value] => Some((key.to_text(), value.to_text())),
            _ => None,
        },
        _ => None,
    };
    rows.iter().filter_map(pair).collect()
}

/// Patterns of filters as old as 0.9.
fn of_patterns(stream: &[Words]) -> Vec<Finding> {
    let mut jails = BTreeMap::new();
    for words in stream {
        let [first, jail, what, list] = words.words.as_slice() else { continue };
        let adds = what.as_str() == Some("addfailregex");
        if !adds || !matches!(first.as_str(), Some("set" | "multi-set")) {
            continue;
        }
        let regexes = match list {
            Value::List(regexes) => regexes.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect::<Vec<_>>(),
        };
        if regexes.iter().any(|regex| regex.contains("(?P<host>")) {
            jails.insert(jail.to_text(), words.origin.clone());
        }
    }
    let say = |(jail, origin): (String, Option<Origin>)| {
        let text = format!(
            "jail {jail}: its filter names the attacker `(?P<host>…)`, which fail2ban has refused \
             since 0.10"
        );
        Finding::new(Verdict::Better, text).at(origin.as_ref())
    };
    jails.into_iter().map(say).collect()
}
