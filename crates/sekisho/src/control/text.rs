//! What the client prints for an answer: fail2ban's texts, which scripts parse.
//!
//! An answer of an unexpected shape is printed as Python prints the value; nothing here can fail.

use sekisho_core::command::{CommandError, ErrorClass};
use sekisho_core::value::Value;

/// The text for an answer to `command`. `unicode` is whether the output may draw lines.
pub fn reply(command: &[Value], value: &Value, unicode: bool) -> String {
    let words: Vec<&str> = command.iter().map(|w| w.as_str().unwrap_or_default()).collect();
    shaped(&words, value, unicode).unwrap_or_else(|| value.to_text())
}

/// The text for an error, which goes to standard output.
pub fn error(error: &CommandError) -> String {
    let first = || error.args.first().map(Value::to_text).unwrap_or_default();
    match error.class {
        ErrorClass::UnknownJail => format!("Sorry but the jail '{}' does not exist", first()),
        ErrorClass::DuplicateJail => format!("The jail '{}' already exists", first()),
        ErrorClass::IndexError => "Sorry but the command is invalid".into(),
        _ => error.text(),
    }
}

/// The line for an error, which goes to standard error: `NOK: ('x',)`.
pub fn not_ok(error: &CommandError) -> String {
    format!("NOK: {}", Value::Tuple(error.shown_args()).repr())
}

fn shaped(words: &[&str], value: &Value, unicode: bool) -> Option<String> {
    Some(match words {
        ["ping", ..] => format!("Server replied: {}", value.as_str()?),
        ["start", ..] => "Jail started".into(),
        ["stop"] | ["stop", "--keep"] if *value == Value::None => "Shutdown successful".into(),
        ["stop", _, ..] if *value == Value::None => "Jail stopped".into(),
        ["add", ..] => format!("Added jail {}", value.as_str()?),
        ["flushlogs", ..] => format!("logs: {}", value.as_str()?),
        ["echo", ..] => joined(value, " ")?,
        ["status"] | ["status", "--all"] => overview(value)?,
        ["status", "--all", "stats"] => table(value, unicode)?,
        ["status", "--all", ..] => overview(value)?,
        ["status", jail, "stats"] if value.items()?.len() == 3 => {
            table(&Value::Dict(vec![(Value::str(*jail), value.clone())]), unicode)?
        }
        ["status", jail, ..] => {
            let mut lines = vec![format!("Status for the jail: {jail}")];
            tree(pairs(value)?, "", &mut lines);
            lines.join("\n")
        }
        ["stats" | "statistics", ..] => table(value, unicode)?,
        ["set" | "get", "loglevel", ..] => format!("Current logging level is {}", level(value)),
        ["set" | "get", "logtarget", ..] => {
            format!("Current logging target is:\n`- {}", value.as_str()?)
        }
        ["set" | "get", "syslogsocket", ..] => {
            format!("Current syslog socket is:\n`- {}", value.as_str()?)
        }
        ["set" | "get", "dbfile" | "dbpurgeage", ..] if *value == Value::None => {
            "Database currently disabled".into()
        }
        ["set" | "get", "dbfile", ..] => {
            format!("Current database file is:\n`- {}", value.as_str()?)
        }
        ["set" | "get", "dbpurgeage", ..] => {
            format!("Current database purge age is:\n`- {}seconds", whole(value)?)
        }
        [_, jail, option, rest @ ..] => option_text(jail, option, rest, value)?,
        _ => return None,
    })
}

fn option_text(jail: &str, option: &str, rest: &[&str], value: &Value) -> Option<String> {
    Some(match option {
        "logpath" | "addlogpath" | "dellogpath" => {
            let files = texts(value)?;
            list("Current monitored log file(s):", files, "No file is currently monitored")
        }
        "logencoding" => format!("Current log encoding is set to:\n{}", value.as_str()?),
        "journalmatch" | "addjournalmatch" | "deljournalmatch" => {
            let matches: Option<Vec<String>> =
                value.items()?.iter().map(|m| joined(m, " ")).collect();
            match matches?.as_slice() {
                [] => "No journal match filter set".into(),
                some => format!("Current match filter:\n{}", some.join(" + ")),
            }
        }
        "datepattern" => {
            let pattern = match value {
                Value::None => "Not set/required".into(),
                Value::Tuple(pair) | Value::List(pair) => match pair.as_slice() {
                    [Value::None, name] => name.to_text(),
                    [pattern, name] => format!("{} ({})", pattern.to_text(), name.to_text()),
                    _ => return None,
                },
                _ => return None,
            };
            format!("Current date pattern set to: {pattern}")
        }
        "ignoreip" | "addignoreip" | "delignoreip" => {
            let title = "These IP addresses/networks are ignored:";
            list(title, texts(value)?, "No IP address/network is ignored")
        }
        "failregex" | "addfailregex" | "delfailregex" | "ignoreregex" | "addignoreregex"
        | "delignoreregex" => {
            let numbered = texts(value)?.into_iter().enumerate();
            let lines = numbered.map(|(i, regex)| format!("[{i}]: {regex}")).collect();
            let title = "The following regular expression are defined:";
            list(title, lines, "No regular expression is defined")
        }
        "actions" => match joined(value, ", ")? {
            none if none.is_empty() => format!("No actions for jail {jail}"),
            some => format!("The jail {jail} has the following actions:\n{some}"),
        },
        "actionproperties" | "actionmethods" => {
            let kind = option.strip_prefix("action").unwrap_or_default();
            let action = rest.first()?;
            match joined(value, ", ")? {
                none if none.is_empty() => format!("No {kind} for jail {jail} action {action}"),
                some => {
                    format!("The jail {jail} action {action} has the following {kind}:\n{some}")
                }
            }
        }
        "banip" if matches!(value, Value::List(_) | Value::Tuple(_)) => joined(
            value,
            match rest {
                ["--with-time", ..] => "\n",
                [separator, ..] => separator,
                [] => " ",
            },
        )?,
        _ => return None,
    })
}

/// `status` and `status --all`: pairs, and perhaps a dictionary of jails.
fn overview(value: &Value) -> Option<String> {
    let list = value.items()?;
    let (jails, head) = match list.split_last() {
        Some((Value::Dict(jails), head)) => (jails.as_slice(), head),
        _ => (&[][..], list),
    };
    let mut nodes = pairs_of(head)?;
    if !jails.is_empty() {
        let children = jails
            .iter()
            .map(|(name, jail)| {
                Some((format!("Jail: {}", name.to_text()), Node::Tree(pairs(jail)?)))
            })
            .collect::<Option<Vec<_>>>()?;
        nodes.push(("Status for the jails:".into(), Node::Tree(children)));
    }
    let mut lines = vec!["Status".to_owned()];
    tree(nodes, "", &mut lines);
    Some(lines.join("\n"))
}

enum Node {
    Leaf(String),
    Tree(Vec<(String, Node)>),
}

fn pairs(value: &Value) -> Option<Vec<(String, Node)>> {
    pairs_of(value.items()?)
}

fn pairs_of(list: &[Value]) -> Option<Vec<(String, Node)>> {
    let pair = |item: &Value| {
        let [key, value] = item.items()? else { return None };
        let key = key.as_str()?.to_owned();
        let inner = value.items().filter(|list| {
            list.iter().any(|i| matches!(i, Value::Tuple(_))) || key == "Filter" || key == "Actions"
        });
        Some(match inner.and_then(pairs_of) {
            Some(children) => (key, Node::Tree(children)),
            None => {
                let text = match value {
                    // Each brings a reason of several words.
                    Value::List(_) if key == "Broken jails" => joined(value, ", ")?,
                    Value::List(_) => joined(value, " ")?,
                    other => other.to_text(),
                };
                (key, Node::Leaf(text))
            }
        })
    };
    list.iter().map(pair).collect()
}

fn tree(nodes: Vec<(String, Node)>, indent: &str, lines: &mut Vec<String>) {
    let last = nodes.len().saturating_sub(1);
    for (i, (key, node)) in nodes.into_iter().enumerate() {
        let (branch, below) = if i == last { ("`- ", "   ") } else { ("|- ", "|  ") };
        match node {
            Node::Leaf(text) => lines.push(format!("{indent}{branch}{key}:\t{text}")),
            Node::Tree(children) => {
                lines.push(format!("{indent}{branch}{key}"));
                tree(children, &format!("{indent}{below}"), lines);
            }
        }
    }
}

/// The table of `stats`: `{jail: [backend, (failed, total), (banned, total)]}`.
fn table(value: &Value, unicode: bool) -> Option<String> {
    let Value::Dict(jails) = value else { return None };
    if jails.is_empty() {
        return Some("No jails found.".into());
    }
    let mut rows = Vec::new();
    for (name, stats) in jails {
        let [backend, filter, actions] = stats.items()? else { return None };
        let ([fc, ft], [ac, at]) = (filter.items()?, actions.items()?) else { return None };
        rows.push([name, backend, fc, ft, ac, at].map(Value::to_text));
    }
    let mut widths = [8, 8, 3, 3, 3, 3];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let [jail, backend, fc, ft, ac, at] = widths;
    let (filter, actions) = (fc + ft + 3, ac + at + 3);
    let (wide, thin) = if unicode { ("═", "─") } else { ("-", "-") };
    let (double, single) = if unicode { ("║", "│") } else { ("|", "|") };
    let crossing = |c| if unicode { c } else { "x" };
    let rule = |c: &str| {
        let parts = [jail, backend, filter, actions].map(|w| wide.repeat(w + 2));
        parts.join(c)
    };
    let mut lines = vec![
        format!(
            " {:jail$} {double} {:backend$} {double} {:filter$} {double} {:actions$}",
            "", "", "Filter", "Actions"
        ),
        format!(
            " {:jail$} {double} {:backend$} {}{}{}{}",
            "Jail",
            "Backend",
            crossing("╟"),
            thin.repeat(filter + 2),
            crossing("╫"),
            thin.repeat(actions + 2)
        ),
        format!(
            " {:jail$} {double} {:backend$} {double} {:>fc$} {single} {:>ft$} {double} {:>ac$} {single} {:>at$}",
            "", "", "cur", "tot", "cur", "tot"
        ),
        rule(crossing("╬")),
    ];
    for [n, b, c1, t1, c2, t2] in rows {
        lines.push(format!(
            " {n:jail$} {double} {b:backend$} {double} {c1:>fc$} {single} {t1:>ft$} {double} {c2:>ac$} {single} {t2:>at$}"
        ));
    }
    lines.push(rule(crossing("╩")));
    Some(lines.join("\n"))
}

/// A level's name as fail2ban prints it; numbers it has no name for are shown as `#NN-Lev.`.
fn level(value: &Value) -> String {
    let Value::Int(number) = value else { return value.repr() };
    let name = match number {
        50 => "CRITICAL",
        40 => "ERROR",
        30 => "WARNING",
        25 => "NOTICE",
        20 => "INFO",
        18 => "MSG",
        10 => "DEBUG",
        7 => "TRACE",
        5 => "HEAVY",
        0 => "NOTSET",
        1..50 => return format!("'#{number:02}-Lev.'"),
        _ => return format!("'Level {number}'"),
    };
    format!("'{name}'")
}

fn list(title: &str, lines: Vec<String>, none: &str) -> String {
    if lines.is_empty() {
        return none.to_owned();
    }
    let mut out = title.to_owned();
    let last = lines.len() - 1;
    for (i, line) in lines.iter().enumerate() {
        out.push_str(if i == last { "\n`- " } else { "\n|- " });
        out.push_str(line);
    }
    out
}

fn texts(value: &Value) -> Option<Vec<String>> {
    Some(value.items()?.iter().map(Value::to_text).collect())
}

/// The texts with `separator` between; a text alone as it is.
fn joined(value: &Value, separator: &str) -> Option<String> {
    match value {
        Value::Str(text) => Some(text.clone()),
        other => Some(texts(other)?.join(separator)),
    }
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int(n) => Some(*n),
        Value::Float(x) => Some(*x as i64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: Value) -> Value {
        Value::Tuple(vec![key.into(), value])
    }

    fn jail() -> Value {
        Value::List(vec![
            pair(
                "Filter",
                Value::List(vec![
                    pair("Currently failed", Value::Int(2)),
                    pair("Total failed", Value::Int(4)),
                    pair("File list", Value::strs(["/a.log", "/b.log"])),
                ]),
            ),
            pair(
                "Actions",
                Value::List(vec![
                    pair("Currently banned", Value::Int(1)),
                    pair("Banned IP list", Value::strs(["1.2.3.4", "5.6.7.8"])),
                ]),
            ),
        ])
    }

    fn check(command: &str, value: &Value, expected: &str) {
        let words: Vec<Value> = command.split(' ').map(Value::str).collect();
        assert_eq!(reply(&words, value, true), expected, "{command}");
    }

    #[test]
    fn status() {
        let mut overview =
            vec![pair("Number of jail", Value::Int(2)), pair("Jail list", Value::str("a, b"))];
        let plain = Value::List(overview.clone());
        check("status", &plain, "Status\n|- Number of jail:\t2\n`- Jail list:\ta, b");
        let broken = pair("Broken jails", Value::strs(["c (no filter)", "d (no log)"]));
        let with_broken = Value::List([overview.clone(), vec![broken]].concat());
        let lines = "|- Jail list:\ta, b\n`- Broken jails:\tc (no filter), d (no log)";
        check("status", &with_broken, &format!("Status\n|- Number of jail:\t2\n{lines}"));
        overview.push(Value::Dict(vec![("a".into(), jail()), ("b".into(), jail())]));
        check(
            "status --all",
            &Value::List(overview),
            "\
Status
|- Number of jail:\t2
|- Jail list:\ta, b
`- Status for the jails:
   |- Jail: a
   |  |- Filter
   |  |  |- Currently failed:\t2
   |  |  |- Total failed:\t4
   |  |  `- File list:\t/a.log /b.log
   |  `- Actions
   |     |- Currently banned:\t1
   |     `- Banned IP list:\t1.2.3.4 5.6.7.8
   `- Jail: b
      |- Filter
      |  |- Currently failed:\t2
      |  |- Total failed:\t4
      |  `- File list:\t/a.log /b.log
      `- Actions
         |- Currently banned:\t1
         `- Banned IP list:\t1.2.3.4 5.6.7.8",
        );
        check(
            "status j1",
            &jail(),
            "\
Status for the jail: j1
|- Filter
|  |- Currently failed:\t2
|  |- Total failed:\t4
|  `- File list:\t/a.log /b.log
`- Actions
   |- Currently banned:\t1
   `- Banned IP list:\t1.2.3.4 5.6.7.8",
        );
        let empty = Value::List(vec![pair(
            "Actions",
            Value::List(vec![pair("Banned IP list", Value::List(vec![]))]),
        )]);
        check("status j1", &empty, "Status for the jail: j1\n`- Actions\n   `- Banned IP list:\t");
    }

    #[test]
    fn tables() {
        let two = |a, b| Value::Tuple(vec![Value::Int(a), Value::Int(b)]);
        let stats = Value::List(vec!["polling".into(), two(0, 0), two(0, 0)]);
        let jails = Value::Dict(vec![("j1".into(), stats.clone())]);
        let expected = "          ║          ║ Filter    ║ Actions  
 Jail     ║ Backend  ╟───────────╫───────────
          ║          ║ cur │ tot ║ cur │ tot
══════════╬══════════╬═══════════╬═══════════
 j1       ║ polling  ║   0 │   0 ║   0 │   0
══════════╩══════════╩═══════════╩═══════════";
        check("stats", &jails, expected);
        check("statistics", &jails, expected);
        check("status --all stats", &jails, expected);
        check("status j1 stats", &stats, expected);
        check("statistic", &jails, "{'j1': ['polling', (0, 0), (0, 0)]}");
        check("stats", &Value::Dict(vec![]), "No jails found.");
        assert_eq!(
            reply(&["stats".into()], &jails, false),
            "\
\x20         |          | Filter    | Actions  
 Jail     | Backend  x-----------x-----------
          |          | cur | tot | cur | tot
----------x----------x-----------x-----------
 j1       | polling  |   0 |   0 |   0 |   0
----------x----------x-----------x-----------"
        );
    }

    #[test]
    fn errors() {
        use ErrorClass::*;
        let os = CommandError {
            class: OsError,
            args: vec![Value::Int(2), "No such file or directory".into(), "/x".into()],
        };
        for (e, text, line) in [
            (
                CommandError::new(UnknownJail, "x"),
                "Sorry but the jail 'x' does not exist",
                "NOK: ('x',)",
            ),
            (CommandError::new(DuplicateJail, "x"), "The jail 'x' already exists", "NOK: ('x',)"),
            (
                CommandError::new(IndexError, "list index out of range"),
                "Sorry but the command is invalid",
                "NOK: ('list index out of range',)",
            ),
            (
                CommandError::new(KeyError, "Invalid Action name: foo"),
                "'Invalid Action name: foo'",
                "NOK: ('Invalid Action name: foo',)",
            ),
            (
                CommandError::new(ValueError, "name 'abc' is not defined"),
                "name 'abc' is not defined",
                "NOK: (\"name 'abc' is not defined\",)",
            ),
            (
                os,
                "[Errno 2] No such file or directory: '/x'",
                "NOK: (2, 'No such file or directory')",
            ),
            (CommandError { class: Exception, args: vec![] }, "", "NOK: ()"),
        ] {
            assert_eq!(error(&e), text);
            assert_eq!(not_ok(&e), line);
        }
    }
}
