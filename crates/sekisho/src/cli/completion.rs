//! Completion for bash, made from the tables that the programs parse and print.
//!
//! Each command of the table becomes one pattern of words; the shell function below offers what can
//! follow the words typed so far. Names of jails are asked of the server, once it is needed, so a
//! pattern never goes out of date. Like the manual pages, the committed file is what this makes.

use super::{COMMANDS, CommandHelp, OPTIONS, OWN_COMMANDS};
use crate::{regex_tool, run};

/// The shell code, but for the tables.
const FUNCTION: &str = include_str!("completion.bash");

/// The whole file.
pub fn bash() -> String {
    let mut out =
        "# Made by `sekisho completion bash`; changes belong into the tables of options.\n"
            .to_owned();
    table(&mut out, "_sekisho_own", OWN_COMMANDS.iter().filter_map(pattern));
    table(&mut out, "_sekisho_commands", COMMANDS.iter().filter_map(pattern));
    let flags = OPTIONS.iter().flat_map(|option| {
        let short = option.short.map(|c| format!("-{c}"));
        short.into_iter().chain(option.long.iter().map(|l| format!("--{l}")))
    });
    table(&mut out, "_sekisho_options", flags);
    let with_value = OPTIONS.iter().filter(|option| option.argument.is_some()).flat_map(|option| {
        let short = option.short.map(|c| format!("-{c}"));
        short.into_iter().chain(option.long.iter().map(|l| format!("--{l}")))
    });
    table(&mut out, "_sekisho_with_value", with_value);
    table(&mut out, "_sekisho_run_options", run::OPTIONS.iter().flat_map(|(n, _)| flags_of(n)));
    table(
        &mut out,
        "_sekisho_regex_options",
        regex_tool::option_list().flat_map(|(names, _)| flags_of(&names)),
    );
    out + FUNCTION
}

fn table(out: &mut String, name: &str, words: impl Iterator<Item = String>) {
    out.push_str(&format!("{name}=(\n"));
    for word in words {
        out.push_str(&format!("    '{word}'\n"));
    }
    out.push_str(")\n");
}

/// `-c, --conf DIR` → `-c`, `--conf`
fn flags_of(names: &str) -> Vec<String> {
    let words = names.split([',', ' ', '=', '[', '<']);
    words.filter(|w| w.len() > 1 && w.starts_with('-')).map(str::to_owned).collect()
}

/// A synopsis as words for the shell function: alternatives as they are, `@jail` for a jail,
/// `@file` for a file, `@any` for what cannot be guessed, and `?…` for what may be left out.
fn pattern(row: &CommandHelp) -> Option<String> {
    let CommandHelp::Command(synopsis, _) = row else { return None };
    let words = synopsis.split(' ').map(|word| {
        let bare = word.trim_end_matches("...");
        match bare.strip_prefix('[').and_then(|w| w.strip_suffix(']')) {
            Some(inner) => format!("?{}", placeholder(inner)),
            None => placeholder(bare),
        }
    });
    Some(words.collect::<Vec<_>>().join(" "))
}

fn placeholder(word: &str) -> String {
    match word {
        "<JAIL>" => "@jail".to_owned(),
        "<FILE>" | "DIR" | "<LOG>" => "@file".to_owned(),
        "auto|<FILE>" => "auto".to_owned(),
        word if word.chars().all(|c| c.is_ascii_lowercase() || "-|".contains(c)) => word.to_owned(),
        _ => "@any".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synopses_become_patterns() {
        for (synopsis, expected) in [
            ("status", "status"),
            ("status <JAIL> [FLAVOR]", "status @jail ?@any"),
            ("set <JAIL> idle on|off", "set @jail idle on|off"),
            ("reload [--restart] [--unban] [--all]", "reload ?--restart ?--unban ?--all"),
            ("set <JAIL> addlogpath <FILE> [tail]", "set @jail addlogpath @file ?tail"),
            ("banned <IP>...", "banned @any"),
        ] {
            let got = pattern(&CommandHelp::Command(synopsis, "")).unwrap();
            assert_eq!(got, expected, "{synopsis}");
        }
        assert_eq!(flags_of("-c, --conf DIR"), ["-c", "--conf"]);
    }
}
