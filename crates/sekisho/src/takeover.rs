//! `sekisho check`: what would be the same, better, or not work if sekisho took the place of this
//! machine's fail2ban.
//!
//! Reads the configuration as a start would, the database, and asks a running server for its jails;
//! must never change anything: no file is written, no socket replaced, no jail touched.

mod database;
mod findings;
mod server;

use std::path::Path;

use sekisho_config::load::{Loaded, load};
use sekisho_core::command::{Origin, Words};
use serde_json::json;

use crate::check::DryRun;
use crate::client::{complain_plainly, print};
use crate::tree::{self, Tree};

/// What it is, above the options.
const ABOUT: &str = "\
Usage: sekisho check [-c DIR] [--json]

Says what would be the same, what better, and what would not work if sekisho
took the place of this machine's fail2ban.  Nothing is changed.
";

/// The options, for the usage text and the manual page.
pub const OPTIONS: &[(&str, &str)] = &[
    ("-c, --conf DIR", "the configuration, if not /etc/fail2ban"),
    ("--json", "print one JSON object"),
    ("-h, --help", "this text"),
];

/// How something compares with fail2ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It works as it does now.
    Same,
    /// It works, where fail2ban has a fault or a limit.
    Better,
    /// It is worth a look, with either program.
    Note,
    /// It would not work.
    Broken,
}

/// One thing found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// How it compares.
    pub verdict: Verdict,
    /// What.
    pub text: String,
    /// Where in the configuration, if at one place.
    pub origin: Option<Origin>,
}

impl Finding {
    fn new(verdict: Verdict, text: impl Into<String>) -> Finding {
        Finding { verdict, text: text.into(), origin: None }
    }

    fn at(mut self, origin: Option<&Origin>) -> Finding {
        self.origin = origin.cloned();
        self
    }
}

/// Runs it; `args` are those behind `check`. The exit code: 0, or 255 if something would not work.
pub fn main(args: &[String]) -> u8 {
    let (conf, as_json) = match parse(args) {
        Ok(Some(wish)) => wish,
        Ok(None) => {
            print(usage().trim_end());
            return 0;
        }
        Err(text) => {
            complain(&format!("{text}\n\n{}", usage()));
            return 255;
        }
    };
    let dir = conf.unwrap_or_else(|| tree::FAIL2BAN.to_owned());
    if !Path::new(&dir).is_dir() {
        complain(&format!(
            "there is no folder {dir}; -c names the one that holds jail.conf. Where there is no \
             fail2ban, `sekisho run` needs no configuration."
        ));
        return 255;
    }
    let tree = Tree::sekisho(Some(&dir));
    let findings = look(&tree);
    if as_json {
        print(&to_json(&dir, &findings).to_string());
    } else {
        print(to_text(&dir, &findings).trim_end());
    }
    let broken = findings.iter().any(|f| f.verdict == Verdict::Broken);
    if broken { 255 } else { 0 }
}

fn complain(text: &str) {
    complain_plainly(&format!("sekisho check: {text}"));
}

fn usage() -> String {
    let rows = OPTIONS.iter().map(|(names, help)| format!("  {names:18}{help}\n"));
    format!("{ABOUT}\n{}", rows.collect::<String>())
}

fn parse(args: &[String]) -> Result<Option<(Option<String>, bool)>, String> {
    let (mut conf, mut json) = (None, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-h" | "--help" => return Ok(None),
            "--json" => json = true,
            "-c" | "--conf" => conf = Some(args.next().ok_or("-c needs a folder")?.clone()),
            other => match other.strip_prefix("--conf=") {
                Some(folder) => conf = Some(folder.to_owned()),
                None => return Err(format!("there is no option '{other}'")),
            },
        }
    }
    Ok(Some((conf, json)))
}

/// Everything that can be said about a configuration and the machine it is for.
fn look(tree: &Tree) -> Vec<Finding> {
    let dry = DryRun::new();
    let check = |_: &str, words: &Words| dry.command(words);
    let options = sekisho_config::load::LoadOptions { check: Some(&check), ..tree.options() };
    let loaded: Loaded = match load(tree, &tree.dir, &options) {
        Ok(loaded) => loaded,
        Err(fatal) => {
            let each = fatal.errors.iter();
            let mut found: Vec<Finding> =
                each.map(|e| Finding::new(Verdict::Broken, e.to_string()).at(e.origin())).collect();
            found.push(Finding::new(
                Verdict::Note,
                "neither program starts with this; mend it, or name with -c the folder that holds \
                 jail.conf",
            ));
            return found;
        }
    };
    let mut found = findings::of_configuration(&loaded);
    found.extend(database::look(&loaded));
    found.extend(server::look(&loaded));
    found
}

const HEADINGS: [(Verdict, &str, &str); 4] = [
    (Verdict::Same, "same", "The same as now"),
    (Verdict::Better, "better", "Better than now"),
    (Verdict::Note, "notes", "Worth a look"),
    (Verdict::Broken, "broken", "Does not work"),
];

fn to_text(dir: &str, findings: &[Finding]) -> String {
    let mut out =
        format!("sekisho {} in place of fail2ban, with {dir}\n", env!("CARGO_PKG_VERSION"));
    for (verdict, _, heading) in HEADINGS {
        let mut of_kind = findings.iter().filter(|f| f.verdict == verdict).peekable();
        if of_kind.peek().is_some() {
            out.push_str(&format!("\n{heading}:\n"));
        }
        for finding in of_kind {
            let place = finding.origin.as_ref().map(|o| format!("{o}: ")).unwrap_or_default();
            let text = finding.text.trim_end().replace('\n', "\n      ");
            out.push_str(&format!("  - {place}{text}\n"));
        }
    }
    let broken = findings.iter().filter(|f| f.verdict == Verdict::Broken).count();
    out.push_str(&match broken {
        0 => "\nReady: nothing stands against the change. Nothing was changed.\n".to_owned(),
        n => format!("\n{n} to be mended first (or accepted). Nothing was changed.\n"),
    });
    out
}

fn to_json(dir: &str, findings: &[Finding]) -> serde_json::Value {
    let mut out = serde_json::Map::new();
    out.insert("configuration".into(), json!(dir));
    for (verdict, name, _) in HEADINGS {
        let of_kind = findings.iter().filter(|f| f.verdict == verdict);
        let list: Vec<_> = of_kind
            .map(|f| match &f.origin {
                Some(o) => json!({"text": f.text, "file": &*o.file, "line": o.line}),
                None => json!({"text": f.text}),
            })
            .collect();
        out.insert(name.into(), list.into());
    }
    out.into()
}
