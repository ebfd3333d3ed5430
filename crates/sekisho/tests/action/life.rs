//! The life cycle of actions, with real shell commands that write down what was run; the same
//! cases are driven through fail2ban, and the transcripts compared.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use sekisho_core::effect::ActionOp;
use sekisho_oracle::{Fail2ban, Python, report};
use serde_json::json;

use crate::bench::{Bench, spec};

/// One life: properties (`log X` writes X down, `%D` is a folder), steps, and what is run at each.
struct Life {
    name: &'static str,
    properties: Vec<(&'static str, &'static str)>,
    /// Step, what is run (without repetitions), and what fail2ban runs where that differs.
    steps: &'static [(&'static str, &'static str, Option<&'static str>)],
}

const SIMPLE: &[(&str, &str)] = &[
    ("actionstart", "log start <family>"),
    ("actionstop", "log stop <family>"),
    ("actionban", "log ban <ip> <family>"),
    ("actionunban", "log unban <ip>"),
    ("actionflush", "log flush"),
    ("actioncheck", "log check"),
    ("actionreload", "log reload <family>"),
];
/// An environment that is a file: gone, nothing works.
const FRAGILE: &[(&str, &str)] = &[
    ("actionstart", "log start; touch %D/up"),
    ("actionstop", "log stop"),
    ("actionban", "log ban <ip>; test -e %D/up"),
    ("actionunban", "log unban <ip>; test -e %D/up"),
    ("actionflush", "log flush"),
    ("actioncheck", "log check; test -e %D/up"),
];
const BOTH: &[(&str, &str)] = &[
    ("x", "4"),
    ("x?family=inet6", "6"),
    ("actionstart", "log start <x> <family>; touch %D/up<x>"),
    ("actionstop", "log stop <x>"),
    ("actionban", "log ban <ip>; test -e %D/up<x>"),
    ("actionunban", "log unban <ip>"),
    ("actionflush", "log flush <x>"),
    ("actioncheck", "log check <x>; test -e %D/up<x>"),
    ("actionreload", "log reload <x>"),
];

fn with(
    base: &[(&'static str, &'static str)],
    more: &[(&'static str, &'static str)],
) -> Vec<(&'static str, &'static str)> {
    let mut map: BTreeMap<_, _> = base.iter().copied().collect();
    map.extend(more.iter().copied());
    map.into_iter().collect()
}

fn lives() -> Vec<Life> {
    let life = |name, properties, steps| Life { name, properties, steps };
    vec![
        life(
            "simple",
            with(SIMPLE, &[]),
            &[
                ("start", "start ", None),
                ("ban 1.2.3.4", "ban 1.2.3.4 inet4", None),
                ("ban ::1", "ban ::1 inet6", None),
                ("unban 1.2.3.4", "unban 1.2.3.4", None),
                ("flush", "flush", None),
                ("unban ::1", "", None),
                ("ban 1.2.3.4", "ban 1.2.3.4 inet4", None),
                ("reload", "reload |reload inet4|reload inet6", None),
                ("stop", "stop |stop inet4|stop inet6", None),
                ("stop", "", None),
                ("ban 1.2.3.4", "ban 1.2.3.4 inet4", None),
                ("stop", "stop inet4", None),
            ],
        ),
        life(
            "both families",
            with(BOTH, &[]),
            &[
                ("start", "", None),
                ("ban 1.2.3.4", "start 4 inet4|ban 1.2.3.4", None),
                ("ban ::1", "start 6 inet6|ban ::1", None),
                ("ban 1.2.3.5", "ban 1.2.3.5", None),
                ("unban 1.2.3.4", "unban 1.2.3.4", None),
                ("flush", "flush 4|flush 6", None),
                ("unban ::1", "", None),
                ("reload", "reload 4|reload 6", None),
                ("stop", "stop 4|stop 6", None),
                ("ban ::1", "start 6 inet6|ban ::1", None),
                ("stop", "stop 6", None),
            ],
        ),
        life(
            "both families at once",
            with(BOTH, &[("actionstart_on_demand", "false")]),
            &[
                ("start", "start 4 inet4|start 6 inet6", None),
                ("ban 1.2.3.4", "ban 1.2.3.4", None),
                ("flush", "flush 4", None),
                ("stop", "stop 4|stop 6", None),
            ],
        ),
        life(
            "one environment for both",
            with(
                BOTH,
                &[("actionstart", "log start; touch %D/up4 %D/up6"), ("actionstop", "log stop")],
            ),
            &[
                ("start", "", None),
                ("ban 1.2.3.4", "start|ban 1.2.3.4", None),
                ("ban ::1", "ban ::1", None),
                ("stop", "stop", None),
            ],
        ),
        life(
            "in the order of their first use",
            with(BOTH, &[]),
            &[
                ("ban ::1", "start 6 inet6|ban ::1", None),
                ("ban 1.2.3.4", "start 4 inet4|ban 1.2.3.4", None),
                ("flush", "flush 6|flush 4", None),
                ("stop", "stop 6|stop 4", None),
            ],
        ),
        // The second time, fail2ban takes the same command for one that has run for the others.
        life(
            "flushed each time",
            with(BOTH, &[("actionflush", "log flush")]),
            &[
                ("ban ::1", "start 6 inet6|ban ::1", None),
                ("ban 1.2.3.4", "start 4 inet4|ban 1.2.3.4", None),
                ("flush", "flush", None),
                ("ban 1.2.3.4", "ban 1.2.3.4", None),
                ("flush", "flush", Some("")),
                ("stop", "stop 6|stop 4", None),
            ],
        ),
        life(
            "a flush that fails finds the environment broken",
            with(BOTH, &[("actionflush", "log flush <x>; test -e %D/up<x>")]),
            &[
                ("ban 1.2.3.4", "start 4 inet4|ban 1.2.3.4", None),
                ("ban ::1", "start 6 inet6|ban ::1", None),
                ("sh rm %D/up6", "", None),
                (
                    "flush",
                    "flush 4|flush 6|check 4|check 6|stop 6|start 6 inet6|check 6\
                     |Error flushing action Jail('j1')/act: 'Script error'|repaired",
                    // Its check is for the caller to do.
                    Some("flush 4|flush 6|Error flushing action Jail('j1')/act: 'Script error'"),
                ),
                ("unban ::1", "", Some("unban ::1")),
                ("stop", "stop 4|stop 6", None),
            ],
        ),
        life(
            "a start that fails in a repair",
            with(BOTH, &[("actionstart", "log start <x>; test ! -e %D/no && touch %D/up<x>")]),
            &[
                ("ban 1.2.3.4", "start 4|ban 1.2.3.4", None),
                ("sh rm %D/up4; touch %D/no", "", None),
                (
                    "check",
                    "check 4|stop 4|start 4|Error starting action Jail('j1')/act: 'Script error'\
                     |repaired",
                    None,
                ),
                ("sh rm %D/no", "", None),
                ("ban 1.2.3.4", "start 4|ban 1.2.3.4", None),
                ("stop", "stop 4", None),
            ],
        ),
        life(
            "no address",
            with(BOTH, &[("actionban", "log ban <ip> <family>")]),
            &[
                ("start", "", None),
                ("ban user", "start 4 inet4|start 6 inet6|ban user None", None),
                ("ban user2", "ban user2 None", None),
                ("ban 1.2.3.4", "ban 1.2.3.4 inet4", None),
                ("stop", "stop 4|stop 6", None),
            ],
        ),
        life(
            "no address, later",
            with(BOTH, &[("actionban", "log ban <ip> <family>")]),
            &[
                ("ban 1.2.3.4", "start 4 inet4|ban 1.2.3.4 inet4", None),
                (
                    "ban user",
                    "start 6 inet6|ban user None",
                    Some("start 4 inet4|start 6 inet6|ban user None"),
                ),
                ("stop", "stop 4|stop 6", None),
            ],
        ),
        life(
            "repair",
            with(BOTH, &[]),
            &[
                ("ban 1.2.3.4", "start 4 inet4|ban 1.2.3.4", None),
                ("ban ::1", "start 6 inet6|ban ::1", None),
                ("sh rm %D/up4", "", None),
                (
                    "ban 1.2.3.5",
                    "ban 1.2.3.5|check 4|stop 4|start 4 inet4|check 4|ban 1.2.3.5|repaired",
                    None,
                ),
                ("sh rm %D/up6", "", None),
                ("ban 1.2.3.6", "ban 1.2.3.6", None),
                ("check", "check 4|check 6|stop 6|start 6 inet6|check 6|repaired", None),
                ("check", "check 4|check 6", None),
                ("stop", "stop 4|stop 6", None),
            ],
        ),
        // fail2ban stops such an action, but does not start it again: the same command of
        // another "family" counts as having run.
        life(
            "repair, one family",
            with(FRAGILE, &[]),
            &[
                ("start", "start", None),
                ("ban 1.2.3.4", "ban 1.2.3.4", None),
                ("sh rm %D/up", "", None),
                (
                    "ban 1.2.3.5",
                    "ban 1.2.3.5|check|stop|start|check|ban 1.2.3.5|repaired",
                    Some("ban 1.2.3.5|check|stop|check|Error banning 1.2.3.5|repaired"),
                ),
                ("stop", "stop", None),
            ],
        ),
        life(
            "repair when looked at",
            with(FRAGILE, &[]),
            &[
                ("start", "start", None),
                ("sh rm %D/up", "", None),
                ("check", "check|stop|start|check|repaired", None),
                ("check", "check", None),
                ("stop", "stop", None),
            ],
        ),
        life(
            "repair command",
            with(FRAGILE, &[("actionrepair", "log repair; touch %D/up")]),
            &[
                ("start", "start", None),
                ("ban 1.2.3.4", "ban 1.2.3.4", None),
                ("sh rm %D/up", "", None),
                ("ban 1.2.3.5", "ban 1.2.3.5|check|repair|check|ban 1.2.3.5|repaired", None),
                ("sh rm %D/up", "", None),
                ("check", "check|repair|check|repaired", None),
                ("stop", "stop", None),
            ],
        ),
        life(
            "repair command fails",
            with(BOTH, &[("actionrepair", "log repair; false")]),
            &[
                ("ban 1.2.3.4", "start 4 inet4|ban 1.2.3.4", None),
                ("sh rm %D/up4", "", None),
                ("ban 1.2.3.5", "ban 1.2.3.5|check 4|repair|Error banning 1.2.3.5|repaired", None),
                ("stop", "", None),
            ],
        ),
        life(
            "no unban without environment",
            with(BOTH, &[("actionunban", "log unban <ip>; test -e %D/up<x>")]),
            &[
                ("ban 1.2.3.4", "start 4 inet4|ban 1.2.3.4", None),
                ("sh rm %D/up4", "", None),
                ("unban 1.2.3.4", "unban 1.2.3.4|check 4|Error unbanning 1.2.3.4", None),
                ("stop", "stop 4", None),
            ],
        ),
        life(
            "unban repairs",
            with(
                BOTH,
                &[
                    ("actionunban", "log unban <ip>; test -e %D/up<x>"),
                    ("actionrepair_on_unban", "true"),
                ],
            ),
            &[
                ("ban 1.2.3.4", "start 4 inet4|ban 1.2.3.4", None),
                ("sh rm %D/up4", "", None),
                (
                    "unban 1.2.3.4",
                    "unban 1.2.3.4|check 4|stop 4|start 4 inet4|check 4|unban 1.2.3.4|repaired",
                    Some(
                        "unban 1.2.3.4|check 4|stop 4|unban 1.2.3.4|Error unbanning 1.2.3.4|repaired",
                    ),
                ),
                ("stop", "stop 4", Some("")),
            ],
        ),
        life(
            "start fails",
            with(BOTH, &[("actionstart", "log start <x>; false")]),
            &[
                (
                    "ban 1.2.3.4",
                    "start 4|Error starting action Jail('j1')/act: 'Script error'",
                    None,
                ),
                ("ban ::1", "start 6|Error starting action Jail('j1')/act: 'Script error'", None),
                ("stop", "", None),
            ],
        ),
        life(
            "start fails, one family",
            with(SIMPLE, &[("actionstart", "log start; false")]),
            &[
                ("start", "start|Error starting action Jail('j1')/act: 'Script error'", None),
                ("ban 1.2.3.4", "ban 1.2.3.4 inet4", None),
                ("flush", "flush", None),
                ("stop", "stop inet4", None),
            ],
        ),
        life(
            "start fails, then repair",
            with(FRAGILE, &[("actionstart", "log start; false")]),
            &[
                ("start", "start|Error starting action Jail('j1')/act: 'Script error'", None),
                (
                    "ban 1.2.3.4",
                    "ban 1.2.3.4|check|start|Error starting action Jail('j1')/act: 'Script error'|repaired",
                    None,
                ),
                ("stop", "", None),
            ],
        ),
        life(
            "sane, but the ban fails",
            with(SIMPLE, &[("actionban", "log ban; false")]),
            &[
                ("start", "start ", None),
                ("ban 1.2.3.4", "ban|check|ban|Error banning 1.2.3.4", None),
                ("unban 1.2.3.4", "", None),
                ("flush", "", None),
                ("stop", "stop ", None),
            ],
        ),
        life(
            "prolong, reban",
            with(
                SIMPLE,
                &[("actionreban", "log reban <ip>"), ("actionprolong", "log prolong <ip>; false")],
            ),
            &[
                ("start", "start ", None),
                ("reban 1.2.3.4", "reban 1.2.3.4", None),
                (
                    "prolong 1.2.3.4",
                    "prolong 1.2.3.4|check|prolong 1.2.3.4|Error prolonging 1.2.3.4",
                    None,
                ),
                ("unban 1.2.3.4", "unban 1.2.3.4", None),
            ],
        ),
        life(
            "stop fails",
            with(SIMPLE, &[("actionstop", "log stop; false")]),
            &[
                ("start", "start ", None),
                ("stop", "stop|Error stopping action Jail('j1')/act: 'Script error'", None),
                ("stop", "", None),
            ],
        ),
        life(
            "nothing configured",
            vec![],
            &[
                ("start", "", None),
                ("ban 1.2.3.4", "", None),
                ("unban 1.2.3.4", "", None),
                ("flush", "", None),
                ("reload", "", None),
                ("check", "", None),
                ("stop", "", None),
            ],
        ),
    ]
}

/// `log X` becomes a command that writes X into the record.
fn materialise(text: &str, folder: &Path) -> String {
    let folder = folder.to_str().unwrap();
    let (logged, rest) = match text.strip_prefix("log ") {
        Some(text) => text.split_once(';').map_or((text, ""), |(a, b)| (a, b)),
        None => return text.replace("%D", folder),
    };
    let rest = if rest.is_empty() { String::new() } else { format!("; {rest}") };
    format!("echo '{logged}' >>%D/record{rest}").replace("%D", folder)
}

/// What was written down since the last call, repetitions in a row only once.
fn recorded(folder: &Path) -> Vec<String> {
    let path = folder.join("record");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let _ = std::fs::remove_file(path);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.dedup();
    lines
}

#[test]
fn life_cycles() {
    for life in lives() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new();
        let properties: Vec<_> =
            life.properties.iter().map(|(k, v)| (*k, materialise(v, folder.path()))).collect();
        let properties: Vec<_> = properties.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let spec = spec("act", &properties);
        for (step, expected, _) in life.steps {
            let (op, arg) = step.split_once(' ').unwrap_or((step, ""));
            let op = match op {
                "sh" => {
                    let command = materialise(arg, folder.path());
                    assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
                    continue;
                }
                "start" => ActionOp::Start,
                "ban" => ActionOp::Ban,
                "reban" => ActionOp::Reban,
                "prolong" => ActionOp::Prolong,
                "unban" => ActionOp::Unban,
                "flush" => ActionOp::Flush,
                "reload" => ActionOp::Reload,
                "check" => ActionOp::Check,
                "stop" => ActionOp::Stop,
                other => panic!("{other}"),
            };
            let id = bench.send(1, &spec, op, Some(arg).filter(|a| !a.is_empty()));
            let (answered, result, repaired) = bench.outcome();
            assert_eq!(answered, id);
            let mut got = recorded(folder.path());
            got.extend(result.err());
            got.extend(repaired.then(|| "repaired".to_owned()));
            assert_eq!(got.join("|"), *expected, "{}: {step}", life.name);
        }
    }
}

/// Drives fail2ban's own class through the same lives; answers one text per step.
const PYTHON: &str = r"
import sys, json, os, logging
from fail2ban.server.jail import Jail
from fail2ban.server.action import CommandAction
from fail2ban.server.ticket import BanTicket
from fail2ban.server.ipdns import DNSUtils
DNSUtils.setIPv6IsAllowed(True)
logging.disable(logging.CRITICAL)
for line in sys.stdin:
    props, steps, folder = json.loads(line)
    jail = Jail('j1', backend='polling')
    act = CommandAction(jail, 'act')
    for k, v in props:
        setattr(act, k, v == 'true' if v in ('true', 'false') else v)
    jail.actions._actions['act'] = act
    answers = []
    for step in steps:
        op, _, arg = step.partition(' ')
        error = None
        epoch = act.banEpoch
        try:
            if op == 'sh': os.system(arg)
            elif op == 'check': act.consistencyCheck()
            elif arg: getattr(act, op)(jail.actions._getActionInfo(BanTicket(arg, 1700000000, [])))
            else: getattr(act, op)()
        except Exception as e: error = str(e)
        out = []
        if os.path.exists(folder + '/record'):
            out = open(folder + '/record').read().splitlines()
            os.unlink(folder + '/record')
        out = [x for i, x in enumerate(out) if i == 0 or out[i-1] != x]
        if error: out.append(error)
        if act.banEpoch != epoch: out.append('repaired')
        answers.append('|'.join(out))
    print(json.dumps(answers), flush=True)
";

#[test]
fn same_life_cycles_as_fail2ban() {
    for fail2ban in Fail2ban::all() {
        let folder = tempfile::tempdir().unwrap();
        let mut questions = Vec::new();
        for (n, life) in lives().iter().enumerate() {
            let folder = folder.path().join(n.to_string());
            std::fs::create_dir(&folder).unwrap();
            let properties: Vec<_> =
                life.properties.iter().map(|(k, v)| (*k, materialise(v, &folder))).collect();
            let steps: Vec<_> =
                life.steps.iter().map(|(step, _, _)| materialise(step, &folder)).collect();
            questions.push(json!([properties, steps, folder.to_str().unwrap()]));
        }
        let mut python = Python::start(fail2ban.python(), PYTHON, &[]);
        let mut compared = 0;
        for (life, answers) in lives().iter().zip(python.ask_all(questions)) {
            let answers = answers.as_array().unwrap();
            assert_eq!(answers.len(), life.steps.len());
            for ((step, ours, theirs), got) in life.steps.iter().zip(answers) {
                assert_eq!(got, theirs.unwrap_or(ours), "{}: {step}", life.name);
                compared += 1;
            }
        }
        report("Life cycles of actions", &fail2ban.version, compared, "steps");
    }
}
