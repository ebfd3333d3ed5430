//! Manual pages in roff, made from the tables that the programs parse and print.
//!
//! The committed pages in `docs/man` are what this makes; nothing here may depend on the machine,
//! the day or the version.

use super::{CommandHelp, OPTIONS, commands_of};
use crate::{regex_tool, run, takeover};

/// All that have a page.
pub const PROGRAMS: &[&str] =
    &["sekisho", "fail2ban-client", "fail2ban-server", "fail2ban-regex", "fail2ban-python"];

/// Where things are, unless fail2ban.conf or an option says otherwise.
const FILES: &[(&str, &str)] = &[
    ("/etc/fail2ban/jail.local", "settings of your own, laid over jail.conf"),
    ("/etc/sekisho", "the same for the built-in configuration, where there is no /etc/fail2ban"),
    ("/var/log/fail2ban.log", "the log"),
    ("/var/lib/fail2ban/fail2ban.sqlite3", "the database: bans, and places in logs"),
    ("/var/run/fail2ban/fail2ban.sock", "the control socket"),
];

/// The manual page of a program; `None` if it is none of ours.
pub fn manual(program: &str) -> Option<String> {
    let (synopsis, what, about) = match program {
        "sekisho" => (
            "[OPTIONS] COMMAND",
            "read logs, recognise attacks, block the attackers",
            "Reads the logs of mail, SSH and web servers and has those who attack them blocked by \
             the firewall for a while. It understands the configuration of fail2ban; without any it \
             uses one of its own. `sekisho run` guards this machine, everything else asks or \
             controls the server that runs.",
        ),
        "fail2ban-client" => (
            "[OPTIONS] COMMAND",
            "configure and control the server that bans attackers",
            "Compiles the configuration, starts the server and talks to it over its socket.",
        ),
        "fail2ban-server" => (
            "[OPTIONS]",
            "read logs and ban attackers",
            "Starts the server with its configuration; in the background, if not told otherwise. \
             fail2ban-client(1) controls it.",
        ),
        "fail2ban-regex" => (
            "[OPTIONS] LOG REGEX [IGNOREREGEX]",
            "test regular expressions and filters against log lines",
            "Says which lines match, whom they would ban, and which dates were understood. Nothing \
             is banned. LOG is a file, `-` for standard input, `systemd-journal`, or a log line \
             itself; REGEX is a regular expression, a filter, a jail, or the file of a filter.",
        ),
        "fail2ban-python" => (
            "[OPTIONS] [SCRIPT [ARGUMENT]...]",
            "run a Python script that imports parts of fail2ban",
            "Becomes python3, which finds fail2ban.helpers, fail2ban.server.ipdns and the other \
             modules that actions written in Python find, before all that are installed. The \
             options -E and -I of python3 hide them.",
        ),
        _ => return None,
    };
    let mut page = format!(
        ".\\\" Made by `sekisho manual {program}`; changes belong into the tables of options.\n\
         .TH {} 1\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n\\fB{}\\fR {}\n.SH DESCRIPTION\n{}\n",
        program.to_uppercase(),
        escape(program),
        escape(what),
        escape(program),
        escape(synopsis),
        escape(about),
    );
    page.push_str(".SH OPTIONS\n");
    match program {
        "fail2ban-regex" => {
            regex_tool::option_list().for_each(|(names, help)| entry(&mut page, &names, help));
        }
        "fail2ban-python" => page.push_str("Those of python3(1).\n"),
        _ => OPTIONS.iter().for_each(|option| entry(&mut page, &option.synopsis(), option.help)),
    }
    if matches!(program, "sekisho" | "fail2ban-client") {
        page.push_str(".SH COMMANDS\n");
        for row in commands_of(program) {
            match row {
                CommandHelp::Title(title) => page.push_str(&format!(".SS {}\n", escape(title))),
                CommandHelp::Command(synopsis, help) => entry(&mut page, synopsis, help),
            }
        }
    }
    if program == "sekisho" {
        page.push_str(".SH OPTIONS OF SEKISHO RUN\n");
        run::OPTIONS.iter().for_each(|(names, help)| entry(&mut page, names, help));
        page.push_str(".SH OPTIONS OF SEKISHO CHECK\n");
        takeover::OPTIONS.iter().for_each(|(names, help)| entry(&mut page, names, help));
        page.push_str(".SH OPTIONS OF SEKISHO REGEX\n");
        regex_tool::option_list().for_each(|(names, help)| entry(&mut page, &names, help));
    }
    page.push_str(".SH EXIT STATUS\n");
    page.push_str(match program {
        "fail2ban-regex" => "0, 2 if the command line is wrong, or 255 on any other failure.\n",
        "fail2ban-python" => "That of python3; 127 if there is none, 126 if it cannot be run.\n",
        "sekisho" => {
            "0, or 255 on any failure; 2 if the command line of `sekisho regex` is wrong.\n"
        }
        _ => "0, or 255 on any failure.\n",
    });
    if matches!(program, "sekisho" | "fail2ban-client" | "fail2ban-server") {
        page.push_str(".SH FILES\n");
        FILES.iter().for_each(|(path, what)| entry(&mut page, path, what));
    }
    let others = PROGRAMS.iter().filter(|other| **other != program);
    let others: Vec<String> = others.map(|other| format!("{}(1)", escape(other))).collect();
    page.push_str(&format!(".SH SEE ALSO\n{}\n", others.join(", ")));
    Some(page)
}

/// One option or command and its explanation.
fn entry(page: &mut String, synopsis: &str, help: &str) {
    page.push_str(&format!(".TP\n\\fB{}\\fR\n{}\n", escape(synopsis), escape(help)));
}

/// Text that roff prints as it is.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    // A line that begins so would be a request.
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
