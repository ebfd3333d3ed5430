//! What the client reads from the configuration: where the server is, and the command stream.

use std::path::Path;

use sekisho_config::jail::JailSummary;
use sekisho_config::load::{FatalError, Loaded, Mode, load};
use sekisho_config::reader::Base;
use sekisho_config::server;
use sekisho_core::command::Words;
use sekisho_core::effect::Level;
use sekisho_core::value::repr_str;

use super::{Client, Program, say};
use crate::check::{self, DryRun};
use crate::cli::{Key, Parsed};
use crate::log::{FAIL2BAN_VERSION, LogSettings};
use crate::paths;
use crate::run::machine::Machine;
use crate::tree::Tree;

/// Where the server is and how it logs: `fail2ban.conf`, under what the command line says.
#[derive(Debug)]
pub struct Settings {
    /// The control socket.
    pub socket: String,
    /// The file with its process id.
    pub pidfile: String,
    /// The log until the configuration says otherwise.
    pub log: LogSettings,
    /// The configuration.
    pub tree: Tree,
    /// What the command line sets instead of `fail2ban.conf`.
    overrides: Vec<(String, String)>,
}

/// A compiled configuration.
#[derive(Debug)]
pub struct Stream {
    /// The commands.
    pub words: Vec<Words>,
    /// Whether no jail is broken, and no action.
    pub faultless: bool,
    /// Whether all are.
    pub nothing_left: bool,
}

impl Settings {
    /// Reads `fail2ban.conf`; the text of an error is for the administrator.
    pub fn read(program: Program, parsed: &Parsed) -> Result<Settings, String> {
        let conf = parsed.value(Key::Conf);
        let tree = match program {
            Program::Sekisho => Tree::sekisho(conf),
            Program::Client | Program::Server => Tree::fail2ban(conf),
        };
        let keys = [
            (Key::Socket, "socket"),
            (Key::PidFile, "pidfile"),
            (Key::LogLevel, "loglevel"),
            (Key::LogTarget, "logtarget"),
            (Key::SyslogSocket, "syslogsocket"),
        ];
        let given =
            |(key, name): (Key, &str)| Some((name.to_owned(), parsed.value(key)?.to_owned()));
        let mut overrides: Vec<(String, String)> = keys.into_iter().filter_map(given).collect();
        if let Some(level) = parsed.value(Key::LogLevel).map(str::to_uppercase)
            && Level::threshold(&level).is_none()
        {
            return Err(format!("Invalid log level {}", repr_str(&level)));
        }
        // A user's own server, where there is one, is what that user means.
        let own = paths::user_socket().filter(|path| path.exists());
        if let (Program::Sekisho, false, false, Some(own)) =
            (program, paths::is_root(), parsed.has(Key::Socket), own)
        {
            overrides.push(("socket".into(), own.display().to_string()));
        }
        let base = Base { files: &tree, dir: sekisho_config::load::trim_base(&tree.dir) };
        if base.files.kind(base.dir).is_none() {
            return Err(format!("Base configuration directory {} does not exist ", tree.dir));
        }
        let (options, _) =
            server::read(base, &overrides, Mode::Start, &mut Vec::new()).map_err(|errors| {
                let texts: Vec<String> = errors.iter().map(|e| e.located()).collect();
                texts.join("\n")
            })?;
        Ok(Settings {
            socket: options.socket,
            pidfile: options.pidfile,
            log: LogSettings {
                level: options.loglevel,
                target: options.logtarget,
                syslog_socket: options.syslogsocket,
            },
            overrides,
            tree,
        })
    }
}

impl Client {
    /// Compiles the configuration, for one jail or for all; says what is wrong. `None` if nothing
    /// can be done with it.
    pub(super) fn load(&self, only: Option<&str>, mode: Mode) -> Option<Stream> {
        let tree = &self.settings.tree;
        let mut options = tree.options();
        options.mode = mode;
        options.version = FAIL2BAN_VERSION;
        options.only_jail = only;
        options.overrides.clone_from(&self.settings.overrides);
        let dry = DryRun::new();
        let check = |_: &str, words: &Words| dry.command(words);
        // `-d` only shows; fail2ban's shows even what it would refuse.
        options.check = (mode == Mode::Start).then_some(&check);
        // `enabled = auto` is a word of ours: under fail2ban's names it means what it means there.
        let machine = (self.program == Program::Sekisho).then(Machine::look);
        let auto = |jail: &JailSummary| machine.as_ref().is_some_and(|m| m.has_something_for(jail));
        options.auto = machine.as_ref().map(|_| &auto as &dyn Fn(&JailSummary) -> bool);
        self.tell(Level::Info, || tree.describe());
        let loaded = match load(tree, &tree.dir, &options) {
            Ok(loaded) => loaded,
            Err(error) => {
                self.fatal(&error);
                return None;
            }
        };
        self.report(&loaded);
        let python = match mode {
            Mode::Start => check::python_faults(&loaded.stream),
            Mode::Dump => Vec::new(),
        };
        for fault in &python {
            let place = fault.origin.as_ref().map(|o| format!("{o}: ")).unwrap_or_default();
            say(Level::Error, &format!("{place}{}", fault.text));
        }
        if let Some(jail) = only
            && loaded.jails.is_empty()
            && loaded.broken.is_empty()
        {
            let text = format!("Failed during configuration: No section: {}", repr_str(jail));
            say(Level::Error, &text);
            return None;
        }
        let nothing_left = loaded.nothing_left();
        if mode == Mode::Start && nothing_left {
            say(Level::Error, "No jail is left to guard: correct the errors above");
            return None;
        }
        let faultless = loaded.faultless() && python.is_empty();
        Some(Stream { faultless, nothing_left, words: loaded.stream })
    }

    fn fatal(&self, error: &FatalError) {
        for notice in &error.notices {
            self.tell(notice.level, || notice.located());
        }
        for error in &error.errors {
            say(Level::Error, &format!("Failed during configuration: {}", error.located()));
        }
    }

    fn report(&self, loaded: &Loaded) {
        for notice in &loaded.notices {
            self.tell(notice.level, || notice.located());
        }
        for jail in &loaded.broken {
            let place = jail.origin.as_ref().map(|o| format!("{o}: ")).unwrap_or_default();
            say(Level::Error, &format!("{place}{}", jail.reason));
            say(Level::Error, &format!("Errors in jail {}. Skipping...", repr_str(&jail.name)));
        }
    }

    /// The socket's path.
    pub(super) fn socket(&self) -> &Path {
        Path::new(&self.settings.socket)
    }
}
