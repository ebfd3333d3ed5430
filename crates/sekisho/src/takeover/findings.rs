//! What the configuration alone tells: each jail, its actions and patterns.

use std::collections::{BTreeMap, BTreeSet};

use sekisho_config::jail::JailSummary;
use sekisho_config::load::Loaded;
use sekisho_core::command::{Change, Command, Origin, Words};
use sekisho_core::effect::{ActionSpec, Level};

use super::{Finding, Verdict};
use crate::{check, tree};

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

/// The actions that a stream makes, by jail and name, and what they are made of.
type Actions = BTreeMap<(String, String), ActionSpec>;

/// All that can be said.
pub fn of_configuration(loaded: &Loaded) -> Vec<Finding> {
    let changes = changes(&loaded.stream);
    let actions = actions(&changes);
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
        let verdict = match n.level {
            Level::Error | Level::Critical => Verdict::Broken,
            _ if better => Verdict::Better,
            _ => Verdict::Note,
        };
        Finding::new(verdict, n.text.clone()).at(n.origin.as_ref())
    }));
    found.extend(of_actions(&actions));
    found.extend(
        check::python_faults(&loaded.stream)
            .into_iter()
            .map(|fault| Finding::new(Verdict::Broken, fault.text).at(fault.origin.as_ref())),
    );
    found.extend(of_patterns(&changes));
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

/// The changes of jails that a stream makes; what cannot be read has broken its jail already.
fn changes(stream: &[Words]) -> Vec<(String, Change, Option<&Origin>)> {
    let each = stream.iter().filter_map(|words| match Command::parse(words) {
        Ok(Command::Set { jail, change, .. }) => Some((jail, change, words.origin.as_ref())),
        _ => None,
    });
    each.collect()
}

fn actions(changes: &[(String, Change, Option<&Origin>)]) -> Actions {
    let mut out = Actions::new();
    for (jail, change, _) in changes {
        match change {
            Change::AddAction { name, python } => {
                let spec = out.entry((jail.clone(), name.clone())).or_default();
                spec.python.clone_from(python);
            }
            Change::Action { name, properties } => {
                let spec = out.entry((jail.clone(), name.clone())).or_default();
                let texts = properties.iter().map(|(key, value)| (key.clone(), value.to_text()));
                spec.properties.extend(texts);
            }
            _ => {}
        }
    }
    out
}

/// Programs that an action names and that are not installed.
fn missing_programs(spec: &ActionSpec) -> Vec<&'static str> {
    let names = |text: &str, program: &str| {
        text.split(|c: char| !(c.is_alphanumeric() || "-_.".contains(c))).any(|w| w == program)
    };
    let called = |program: &&&str| spec.properties.values().any(|text| names(text, program));
    PROGRAMS.iter().filter(called).filter(|p| tree::program(p).is_none()).copied().collect()
}

fn of_actions(actions: &Actions) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut missing: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut notifying = BTreeSet::new();
    for ((jail, name), spec) in actions {
        if !spec.enforces() {
            notifying.insert(name.clone());
        }
        for program in missing_programs(spec) {
            missing.entry(program).or_default().insert(format!("{name} of {jail}"));
        }
    }
    if !notifying.is_empty() {
        let names: Vec<String> = notifying.into_iter().collect();
        let text = format!("{}: delay no ban, however slow", names.join(", "));
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

/// Patterns of filters as old as 0.9.
fn of_patterns(changes: &[(String, Change, Option<&Origin>)]) -> Vec<Finding> {
    let mut jails = BTreeMap::new();
    for (jail, change, origin) in changes {
        if let Change::AddFailRegex(regexes) = change
            && regexes.iter().any(|regex| regex.contains("(?P<host>"))
        {
            jails.insert(jail, *origin);
        }
    }
    let say = |(jail, origin): (&String, Option<&Origin>)| {
        let text = format!(
            "jail {jail}: its filter names the attacker `(?P<host>…)`, which fail2ban has refused \
             since 0.10"
        );
        Finding::new(Verdict::Better, text).at(origin)
    };
    jails.into_iter().map(say).collect()
}
