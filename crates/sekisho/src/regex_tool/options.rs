//! The command line of `fail2ban-regex`, read as Python's `optparse` reads it.
//!
//! Options may stand between and after arguments, long ones may be abbreviated, short ones may be
//! joined. The one table below is also the help text's source, so the two cannot disagree.

use std::fmt::Write as _;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub config: Option<String>,
    pub datepattern: Option<String>,
    pub timezone: Option<String>,
    pub encoding: String,
    pub raw: bool,
    pub usedns: Option<String>,
    pub maxlines: usize,
    pub journalmatch: Option<String>,
    pub log_level: String,
    pub verbose: i64,
    pub verbose_date: bool,
    pub debuggex: bool,
    pub check_all: bool,
    pub out: Option<String>,
    pub invert: bool,
    pub print_no_missed: bool,
    pub print_no_ignored: bool,
    pub print_all_matched: bool,
    pub print_all_missed: bool,
    pub print_all_ignored: bool,
    /// The summary as one JSON object.
    pub json: bool,
    /// Accepted; there are no Python tracebacks to enrich.
    pub log_traceback: bool,
    /// The arguments that are no options.
    pub args: Vec<String>,
}

/// Why nothing is tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The user asked for a text; exit code 0.
    Show(String),
    /// The command line is wrong: what is wrong with it; exit code 2.
    Usage(String),
}

/// One row of the option table.
struct Row {
    short: Option<char>,
    long: &'static [&'static str],
    /// Whether it takes a value.
    value: bool,
    help: &'static str,
}

const fn row(
    short: Option<char>,
    long: &'static [&'static str],
    value: bool,
    help: &'static str,
) -> Row {
    Row { short, long, value, help }
}

const TABLE: &[Row] = &[
    row(None, &["version"], false, "print the version and exit"),
    row(Some('h'), &["help"], false, "print this text and exit"),
    row(Some('c'), &["config"], true, "read the configuration below this folder"),
    row(Some('d'), &["datepattern"], true, "look for dates of this form"),
    row(None, &["timezone", "TZ"], true, "time zone of dates that do not name one"),
    row(Some('e'), &["encoding"], true, "encoding of the log; default: the locale's"),
    row(Some('r'), &["raw"], false, "show host names as they are, do not resolve them"),
    row(None, &["usedns"], true, "what <HOST> accepts: yes, warn, no (addresses only), raw"),
    row(Some('L'), &["maxlines"], true, "number of lines a regex may span"),
    row(Some('m'), &["journalmatch"], true, "journal entries to read, instead of the filter's"),
    row(Some('l'), &["log-level"], true, "print log messages from this level on"),
    row(Some('V'), &[], false, "print the version in its short form and exit"),
    row(Some('v'), &["verbose"], false, "print more; may be repeated"),
    row(None, &["verbosity"], true, "how much to print, from 0 to 4"),
    row(None, &["verbose-date", "VD"], false, "print the date patterns and their regexes"),
    row(Some('D'), &["debuggex"], false, "print debuggex.com addresses"),
    row(None, &["no-check-all"], false, "stop at the first regex that matches"),
    row(
        Some('o'),
        &["out"],
        true,
        "print this of every failure and nothing else: row, id, ip, msg, \
         the name of a group, or a text with tags",
    ),
    row(Some('i'), &["invert"], false, "with --out, print the lines that do not match"),
    row(None, &["print-no-missed"], false, "do not print missed lines"),
    row(None, &["print-no-ignored"], false, "do not print ignored lines"),
    row(None, &["print-all-matched"], false, "print matched lines, all of them"),
    row(None, &["print-all-missed"], false, "print missed lines, however many"),
    row(None, &["print-all-ignored"], false, "print ignored lines, however many"),
    row(None, &["json"], false, "print the summary as a JSON object; with -v, with what was found"),
    row(Some('t'), &["log-traceback"], false, "accepted for compatibility"),
    row(None, &["full-traceback"], false, "accepted for compatibility"),
];

impl Default for Options {
    fn default() -> Self {
        Options {
            config: None,
            datepattern: None,
            timezone: None,
            encoding: "UTF-8".into(),
            raw: false,
            usedns: None,
            maxlines: 0,
            journalmatch: None,
            log_level: "critical".into(),
            verbose: 0,
            verbose_date: false,
            debuggex: false,
            check_all: true,
            out: None,
            invert: false,
            print_no_missed: false,
            print_no_ignored: false,
            print_all_matched: false,
            print_all_missed: false,
            print_all_ignored: false,
            json: false,
            log_traceback: false,
            args: Vec::new(),
        }
    }
}

/// Reads the command line; `program` is its first word.
pub(super) fn parse(program: &str, words: &[String]) -> Result<Options, Stop> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            options.args.extend(words.cloned());
            break;
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, given) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let (row, full) = find_long(name)?;
            let shown = format!("--{full}");
            let value = match (row.value, given) {
                (false, Some(_)) => {
                    return Err(Stop::Usage(format!("{shown} option does not take a value")));
                }
                (true, None) => Some(take(&mut words, &shown)?),
                (_, given) => given,
            };
            options.set(program, full, &shown, value.unwrap_or_default())?;
        } else if word.starts_with('-') && word.len() > 1 {
            let letters = word.char_indices().skip(1);
            for (at, letter) in letters {
                let shown = format!("-{letter}");
                let row = TABLE
                    .iter()
                    .find(|row| row.short == Some(letter))
                    .ok_or_else(|| Stop::Usage(format!("no such option: {shown}")))?;
                let name = row.long.first().copied().unwrap_or("V");
                if row.value {
                    let rest = word.get(at.saturating_add(letter.len_utf8())..).unwrap_or("");
                    let value =
                        if rest.is_empty() { take(&mut words, &shown)? } else { rest.to_owned() };
                    options.set(program, name, &shown, value)?;
                    break;
                }
                options.set(program, name, &shown, String::new())?;
            }
        } else {
            options.args.push(word.clone());
        }
    }
    Ok(options)
}

fn take(words: &mut std::slice::Iter<'_, String>, shown: &str) -> Result<String, Stop> {
    words.next().cloned().ok_or_else(|| Stop::Usage(format!("{shown} option requires 1 argument")))
}

/// Finds a long option by its name or an unambiguous beginning of it.
fn find_long(name: &str) -> Result<(&'static Row, &'static str), Stop> {
    let all = || TABLE.iter().flat_map(|row| row.long.iter().map(move |long| (row, *long)));
    if let Some(found) = all().find(|(_, long)| *long == name) {
        return Ok(found);
    }
    let mut begun: Vec<_> = all().filter(|(_, long)| long.starts_with(name)).collect();
    begun.sort_by_key(|(_, long)| *long);
    match begun.as_slice() {
        [] => Err(Stop::Usage(format!("no such option: --{name}"))),
        [one] => Ok(*one),
        many => {
            let names: Vec<String> = many.iter().map(|(_, long)| format!("--{long}")).collect();
            Err(Stop::Usage(format!("ambiguous option: --{name} ({}?)", names.join(", "))))
        }
    }
}

impl Options {
    fn set(&mut self, program: &str, name: &str, shown: &str, value: String) -> Result<(), Stop> {
        let number = || {
            value.trim().parse::<i64>().map_err(|_| {
                let value = sekisho_core::value::repr_str(&value);
                Stop::Usage(format!("option {shown}: invalid integer value: {value}"))
            })
        };
        match name {
            "version" => return Err(Stop::Show(format!("fail2ban-regex {VERSION}\n"))),
            "V" => return Err(Stop::Show(format!("{VERSION}\n"))),
            "help" => return Err(Stop::Show(help(program))),
            "config" => self.config = Some(value),
            "datepattern" => self.datepattern = Some(value),
            "timezone" | "TZ" => self.timezone = Some(value),
            "encoding" => self.encoding = value,
            "raw" => self.raw = true,
            "usedns" => self.usedns = Some(value),
            "maxlines" => self.maxlines = usize::try_from(number()?).unwrap_or(0),
            "journalmatch" => self.journalmatch = Some(value),
            "log-level" => self.log_level = value,
            "verbose" => self.verbose = self.verbose.saturating_add(1),
            "verbosity" => self.verbose = number()?,
            "verbose-date" | "VD" => self.verbose_date = true,
            "debuggex" => self.debuggex = true,
            "no-check-all" => self.check_all = false,
            "out" => self.out = Some(value).filter(|v| !v.is_empty()),
            "invert" => self.invert = true,
            "print-no-missed" => self.print_no_missed = true,
            "print-no-ignored" => self.print_no_ignored = true,
            "print-all-matched" => self.print_all_matched = true,
            "print-all-missed" => self.print_all_missed = true,
            "print-all-ignored" => self.print_all_ignored = true,
            "json" => self.json = true,
            _ => self.log_traceback = true,
        }
        Ok(())
    }

    /// What contradicts itself or is missing.
    pub(super) fn errors(&self) -> Vec<&'static str> {
        let mut errors = Vec::new();
        if self.print_no_missed && self.print_all_missed {
            errors.push("ERROR: --print-no-missed and --print-all-missed are mutually exclusive.");
        }
        if self.print_no_ignored && self.print_all_ignored {
            errors
                .push("ERROR: --print-no-ignored and --print-all-ignored are mutually exclusive.");
        }
        if self.json && self.out.is_some() {
            errors.push("ERROR: --json and --out are mutually exclusive.");
        }
        if !(2..=3).contains(&self.args.len()) {
            errors.push("ERROR: provide both <LOG> and <REGEX>.");
        }
        errors
    }
}

/// The version tools compare with.
const VERSION: &str = "1.1.1";

/// The usage line.
pub(super) fn usage(program: &str) -> String {
    format!("Usage: {program} [OPTIONS] <LOG> <REGEX> [IGNOREREGEX]\n")
}

/// Every option and what it does, for the manual page.
pub(super) fn list() -> impl Iterator<Item = (String, &'static str)> {
    TABLE.iter().map(|row| (synopsis(row), row.help))
}

/// `-c CONFIG, --config=CONFIG`
fn synopsis(row: &Row) -> String {
    let mut names = Vec::new();
    let meta = row.long.first().map(|n| n.to_uppercase().replace('-', "_"));
    let meta = meta.filter(|_| row.value);
    if let Some(short) = row.short {
        names.push(match &meta {
            Some(meta) => format!("-{short} {meta}"),
            None => format!("-{short}"),
        });
    }
    for long in row.long {
        names.push(match &meta {
            Some(meta) => format!("--{long}={meta}"),
            None => format!("--{long}"),
        });
    }
    names.join(", ")
}

/// The whole help text.
pub(super) fn help(program: &str) -> String {
    let mut text = usage(program);
    text.push_str(
        "\nTests regular expressions and filters against log lines: what matches, whom it would\n\
         ban, and which dates were understood. Nothing is banned.\n\
         \nLOG:\n  \
         string                a log line, or several\n  \
         filename              a log file (/var/log/auth.log)\n  \
         -                     standard input, when something is piped in\n  \
         systemd-journal       the journal, optionally with parameters\n                        \
         (systemd-journal[journalflags=1])\n\
         \nREGEX:\n  \
         string                a failregex\n  \
         filter                a filter or jail, optionally with parameters\n                        \
         (sshd[mode=aggressive])\n  \
         filename              a filter file (filter.d/sshd.conf)\n\
         \nIGNOREREGEX:\n  \
         string                an ignoreregex\n\
         \nOptions:\n",
    );
    for row in TABLE {
        let names = format!("  {}", synopsis(row));
        let mut lines = wrap(row.help, 54).into_iter();
        if names.len() <= 22 {
            let _ = writeln!(text, "{names:<24}{}", lines.next().unwrap_or_default());
        } else {
            let _ = writeln!(text, "{names}");
        }
        for line in lines {
            let _ = writeln!(text, "{:24}{line}", "");
        }
    }
    text
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Options, Stop> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        parse("x", &words)
    }

    #[test]
    fn options_stand_anywhere() {
        let o = read(&["-vvL3", "log", "--print-all-mis", "-o", "row", "re", "--TZ=UTC"]).unwrap();
        assert_eq!((o.verbose, o.maxlines, o.print_all_missed), (2, 3, true));
        assert_eq!((o.out.as_deref(), o.timezone.as_deref()), (Some("row"), Some("UTC")));
        assert_eq!(o.args, ["log", "re"]);
        assert_eq!(read(&["--", "-v", "-"]).unwrap().args, ["-v", "-"]);
        assert_eq!(read(&["-", "x"]).unwrap().args, ["-", "x"]);
    }

    #[test]
    fn wrong_command_lines() {
        for (words, expected) in [
            (&["--bad"][..], "no such option: --bad"),
            (&["-x"], "no such option: -x"),
            (&["-d"], "-d option requires 1 argument"),
            (&["-Lx"], "option -L: invalid integer value: 'x'"),
            (&["--raw=1"], "--raw option does not take a value"),
            (
                &["--print-a"],
                "ambiguous option: --print-a \
              (--print-all-ignored, --print-all-matched, --print-all-missed?)",
            ),
        ] {
            assert_eq!(read(words), Err(Stop::Usage(expected.into())), "{words:?}");
        }
        assert_eq!(read(&["-V"]), Err(Stop::Show("1.1.1\n".into())));
    }
}
