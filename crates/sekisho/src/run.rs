//! `sekisho run`: guards this machine with nothing configured.
//!
//! Decides which configuration is in force, which jails have something to watch, and which firewall
//! there is; says so in plain words, together with how to let an address in again; then runs the
//! server in the foreground. Without root it watches and reports. Must never start beside a fail2ban
//! that is running, and never enforce anything without saying what enforces it.

pub(crate) mod machine;

use std::path::{Path, PathBuf};

use sekisho_config::jail::JailSummary;
use sekisho_config::load::{LoadOptions, Loaded, load};
use sekisho_config::logs::LogPath;
use sekisho_config::notice::Notice;
use sekisho_core::command::{Origin, Words};
use sekisho_core::value::Value;

use crate::check::{self, DryRun};
use crate::client::{Launch, complain_plainly, print};
use crate::control::activation;
use crate::log::LogSettings;
use crate::process::{self, Ready};
use crate::source::stdin;
use crate::tree::{self, Tree};
use crate::{daemon, paths};
use machine::Machine;

/// What it is, above the options.
const ABOUT: &str = "\
Usage: sekisho run [-c DIR] [--log FILE]... [-]

Guards this machine: bans whoever attacks its mail, SSH or web server.
Without options it uses /etc/fail2ban if that exists, else /etc/sekisho laid
over the built-in configuration, else the built-in configuration alone.
";

/// The options, for the usage text and the manual page.
pub const OPTIONS: &[(&str, &str)] = &[
    ("-c, --conf DIR", "use the configuration in DIR"),
    ("--log FILE", "watch FILE with every jail of the configuration (repeatable)"),
    ("-", "watch standard input the same way"),
    ("-s, --socket PATH", "control socket"),
    ("-h, --help", "this text"),
];

/// The usage text.
fn usage() -> String {
    let mut text = format!("{ABOUT}\n");
    for (names, help) in OPTIONS {
        // Long names stand below each other.
        let indent = if names.starts_with("--") { 6 } else { 2 };
        text.push_str(&format!("{:20}{help}\n", format!("{:indent$}{names}", "")));
    }
    text + "\nWithout root it watches and reports, and bans nobody.\n"
}

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    conf: Option<String>,
    logs: Vec<String>,
    socket: Option<String>,
    /// The socket was opened for us, and nobody else answers on it.
    activated: bool,
}

/// Runs it; `args` are those behind `run`. The exit code.
pub fn main(args: &[String]) -> u8 {
    let mut wish = match parse(args) {
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
    let inherited = match activation::inherited() {
        Ok(inherited) => inherited,
        Err(error) => {
            complain(&error.to_string());
            return 255;
        }
    };
    wish.activated = inherited.is_some();
    match prepare(&wish, &Machine::look()) {
        Ok(mut plan) => {
            plan.launch.inherited = inherited;
            print(&plan.lines.join("\n"));
            process::private("sekisho");
            daemon::run(plan.launch)
        }
        Err(text) => {
            complain(&text);
            255
        }
    }
}

fn complain(text: &str) {
    complain_plainly(&format!("sekisho run: {text}"));
}

fn parse(args: &[String]) -> Result<Option<Wish>, String> {
    let mut wish = Wish::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (name, inline) = match arg.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (arg.as_str(), None),
        };
        let mut value = |what: &str| {
            inline.clone().or_else(|| args.next().cloned()).ok_or(format!("{name} needs {what}"))
        };
        match name {
            "-h" | "--help" => return Ok(None),
            "-c" | "--conf" => wish.conf = Some(value("a folder")?),
            "--log" => wish.logs.push(value("a file")?),
            "-s" | "--socket" => wish.socket = Some(value("a path")?),
            "-" => wish.logs.push(stdin::PATH.to_owned()),
            other => return Err(format!("there is no option '{other}'")),
        }
    }
    Ok(Some(wish))
}

/// What will be run, and what is said about it.
struct Plan {
    launch: Launch,
    lines: Vec<String>,
}

/// A configuration that nothing can be started with, and what to do about it.
fn unreadable(named: bool, dir: &str, fatal: &str) -> String {
    let advice = match named {
        true => "-c names the folder that holds jail.conf; without -c the built-in configuration \
                 guards"
            .to_owned(),
        false => format!(
            "{dir} is used because it exists; mend it, name another folder with -c, or move it \
             away, and the built-in configuration guards"
        ),
    };
    format!("{}\n{advice}", fatal.trim_end())
}

fn prepare(wish: &Wish, machine: &Machine) -> Result<Plan, String> {
    let tree = Tree::sekisho(wish.conf.as_deref());
    let auto = |jail: &JailSummary| !wish.logs.is_empty() || machine.has_something_for(jail);
    let dry = DryRun::new();
    let check = |_: &str, words: &Words| dry.command(words);
    let options = LoadOptions { auto: Some(&auto), check: Some(&check), ..tree.options() };
    let loaded = load(&tree, &tree.dir, &options)
        .map_err(|fatal| unreadable(wish.conf.is_some(), &tree.dir, &fatal.to_string()))?;
    if loaded.jails.is_empty() {
        return Err(nothing_to_guard(&tree, &loaded, machine));
    }
    let places = Places::choose(wish, &loaded, machine)?;
    let mut lines = describe(&tree, &loaded, machine, wish);
    // Without root no action is run.
    let faults = if machine.root { check::python_faults(&loaded.stream) } else { Vec::new() };
    let faults = faults.iter().map(|fault| located(&fault.text, fault.origin.as_ref()));
    lines.extend(faults.map(|text| format!("note: {text}")));
    let log = LogSettings {
        level: loaded.server.loglevel.clone(),
        target: if machine.root { loaded.server.logtarget.clone() } else { "STDOUT".into() },
        syslog_socket: loaded.server.syslogsocket.clone(),
    };
    lines.push(match log.target.to_ascii_uppercase().as_str() {
        "STDOUT" | "SYSOUT" | "STDERR" => "The log follows.".to_owned(),
        _ => format!("Log: {}", log.target),
    });
    lines.push(places.unban_hint(machine));
    let mut stream = loaded.stream;
    if !wish.logs.is_empty() {
        stream = watch_only(stream, &wish.logs);
    }
    if !machine.root {
        stream = report_only(stream, &places.dbfile);
    }
    let launch = Launch {
        socket: places.socket,
        pidfile: places.pidfile,
        inherited: None,
        force: false,
        log,
        stream: Some(stream),
        ready: Ready::Silent,
    };
    Ok(Plan { launch, lines })
}

/// Where settings of the administrator's own go.
fn own_settings(tree: &Tree) -> String {
    let dir = if tree.dir == tree::EMBEDDED { tree::OWN } else { &tree.dir };
    format!("{dir}/jail.local")
}

fn nothing_to_guard(tree: &Tree, loaded: &Loaded, machine: &Machine) -> String {
    let mut text = format!("{}: there is nothing to guard.", tree.describe());
    for jail in &loaded.broken {
        text += &format!("\n  {}: {}", jail.name, located(&jail.reason, jail.origin.as_ref()));
    }
    for jail in &loaded.idle {
        text += &format!("\n  {}: {}", jail.name, machine.what_is_missing(jail));
    }
    text + &format!(
        "\nSwitch a jail on in {} (`[sshd]`, `enabled = true`), or name a log: sekisho run --log FILE",
        own_settings(tree)
    )
}

fn located(text: &str, origin: Option<&Origin>) -> String {
    origin.map_or_else(|| text.to_owned(), |origin| format!("{origin}: {text}"))
}

/// What an administrator wants to know before the first attack.
fn describe(tree: &Tree, loaded: &Loaded, machine: &Machine, wish: &Wish) -> Vec<String> {
    let mut lines = vec![format!("sekisho {}. {}.", env!("CARGO_PKG_VERSION"), tree.describe())];
    // With logs named here, those that the configuration names do not matter.
    let about_logs = |notice: &&Notice| {
        notice.text.starts_with("No file(s) found")
            || notice.text.starts_with("Have not found any log")
    };
    let notices = loaded.notices.iter().filter(|n| wish.logs.is_empty() || !about_logs(n));
    lines.extend(notices.map(Notice::located).map(|text| format!("note: {text}")));
    lines.push("Watching:".into());
    for jail in &loaded.jails {
        lines.push(format!("  {:<18} {}", jail.name, watched(jail, &wish.logs)));
    }
    for jail in &loaded.broken {
        let reason = located(&jail.reason, jail.origin.as_ref());
        lines.push(format!("  {:<18} BROKEN, does not guard: {reason}", jail.name));
    }
    for jail in &loaded.idle {
        lines.push(format!("  {:<18} off: {}", jail.name, machine.what_is_missing(jail)));
    }
    lines.push(match (machine.root, enforcers(loaded)) {
        (false, _) => "Not root: attacks are reported, nobody is banned.".into(),
        (true, used) if used.is_empty() => "No action is configured: nobody is banned.".into(),
        (true, used) => format!("Banning with: {}.{}", used.join(", "), machine.firewall_hint()),
    });
    lines
}

fn watched(jail: &JailSummary, logs: &[String]) -> String {
    if !logs.is_empty() {
        return logs.join(", ");
    }
    if jail.backend.starts_with("systemd") {
        let groups: Vec<String> = jail.journalmatch.iter().map(|group| group.join(" ")).collect();
        return format!("the journal ({})", groups.join(" | "));
    }
    let path = |log: &LogPath| match jail.missing.contains(log) {
        true => format!("{} (not there yet)", log.path),
        false => log.path.clone(),
    };
    let paths: Vec<String> = jail.logpaths.iter().map(path).collect();
    if paths.is_empty() { "nothing".into() } else { paths.join(", ") }
}

/// Names of the actions in use, each once.
fn enforcers(loaded: &Loaded) -> Vec<&str> {
    let mut names: Vec<&str> =
        loaded.jails.iter().flat_map(|jail| jail.actions.iter().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Replaces what the jails watch by `logs`.
fn watch_only(stream: Vec<Words>, logs: &[String]) -> Vec<Words> {
    let mut out = Vec::with_capacity(stream.len() + logs.len());
    let once = logs.iter().any(|log| log == stdin::PATH);
    for mut words in stream {
        let texts: Vec<&str> = words.words.iter().map(|w| w.as_str().unwrap_or("")).collect();
        match texts.as_slice() {
            ["set", _, "addlogpath" | "addjournalmatch", ..] => continue,
            // Standard input can be read once: jails share it only where they agree on its encoding.
            ["set", _, "logencoding", _] if once => continue,
            ["add", _, _] => {
                if let Some(backend) = words.words.get_mut(2) {
                    *backend = Value::str("auto");
                }
            }
            ["start", jail] => {
                for log in logs {
                    let set = ["set", *jail, "addlogpath", log, "head"].map(Value::str);
                    out.push(Words { words: set.to_vec(), origin: None });
                }
            }
            _ => {}
        }
        out.push(words);
    }
    out
}

/// Leaves out everything that would change the machine.
fn report_only(stream: Vec<Words>, dbfile: &Path) -> Vec<Words> {
    let is_action = |words: &Words| {
        let at = |i: usize| words.words.get(i).and_then(Value::as_str);
        matches!((at(0), at(2)), (Some("set" | "multi-set"), Some("addaction" | "action")))
    };
    let mut out: Vec<Words> = stream.into_iter().filter(|words| !is_action(words)).collect();
    for words in &mut out {
        if let [set, name, value] = words.words.as_mut_slice()
            && set.as_str() == Some("set")
        {
            match name.as_str() {
                Some("dbfile") => *value = Value::str(dbfile.to_string_lossy()),
                Some("logtarget") => *value = Value::str("STDOUT"),
                _ => {}
            }
        }
    }
    out
}

/// Files of the running server.
struct Places {
    socket: PathBuf,
    pidfile: PathBuf,
    dbfile: PathBuf,
}

impl Places {
    fn choose(wish: &Wish, loaded: &Loaded, machine: &Machine) -> Result<Places, String> {
        let mut places = if machine.root {
            Places {
                socket: loaded.server.socket.clone().into(),
                pidfile: loaded.server.pidfile.clone().into(),
                dbfile: loaded.server.dbfile.clone().into(),
            }
        } else {
            let none = "neither XDG_RUNTIME_DIR, XDG_STATE_HOME nor HOME is set: \
                        there is no folder for socket and state";
            Places {
                socket: paths::user_socket().ok_or(none)?,
                pidfile: paths::user_pidfile().ok_or(none)?,
                dbfile: paths::user_database().ok_or(none)?,
            }
        };
        if let Some(socket) = &wish.socket {
            places.pidfile = PathBuf::from(format!("{socket}.pid"));
            places.socket = socket.into();
        }
        if !wish.activated && std::os::unix::net::UnixStream::connect(&places.socket).is_ok() {
            return Err(format!(
                "a fail2ban or sekisho server already runs on {}; stop it first \
                 (`systemctl stop fail2ban`, or `sekisho stop`)",
                places.socket.display()
            ));
        }
        if !machine.root {
            for file in [&places.socket, &places.dbfile] {
                machine::private_folder(file.parent().unwrap_or(Path::new("/")))?;
            }
        }
        Ok(places)
    }

    fn unban_hint(&self, machine: &Machine) -> String {
        let named = !machine.root && paths::user_socket().as_ref() != Some(&self.socket);
        let socket = if named { format!(" -s {}", self.socket.display()) } else { String::new() };
        if !machine.root {
            return format!("Who would be banned: sekisho{socket} banned");
        }
        format!(
            "To let an address in again: sekisho{socket} unban ADDRESS; \
             who is out: sekisho{socket} banned"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_to_do_with_an_empty_folder() {
        let fatal = "Found no accessible config files for 'jail' under /etc/fail2ban\n";
        for (named, advice) in [
            (true, "-c names the folder that holds jail.conf"),
            (false, "/etc/fail2ban is used because it exists"),
        ] {
            let text = unreadable(named, "/etc/fail2ban", fatal);
            let (first, second) = text.split_once('\n').unwrap_or_default();
            assert_eq!(first, fatal.trim_end());
            assert!(second.starts_with(advice), "{text}");
        }
    }
}
