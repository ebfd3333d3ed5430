//! Commands that need the configuration: `start`, `restart`, `reload`, `-t`, `-d`.

use std::ffi::OsString;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sekisho_config::dump;
use sekisho_config::load::Mode;
use sekisho_core::command::Words;
use sekisho_core::effect::Level;
use sekisho_core::value::Value;

use super::configuration::Stream;
use super::{Client, Link, LinkError, Program, print, say};
use crate::cli::{self, Key};
use crate::control::activation;
use crate::control::pickle::Reply;
use crate::log::LogSettings;
use crate::paths;
use crate::process::{self, Ready};

/// How long a server that listens may take to answer before it counts as hung.
const PING_LIMIT: Duration = Duration::from_secs(10);

/// How long a server may take to start, unless `--timeout` says otherwise.
const START_LIMIT: Duration = Duration::from_secs(30);

/// What a server needs to start.
#[derive(Debug)]
pub struct Launch {
    /// The control socket.
    pub socket: PathBuf,
    /// Where the process id is written.
    pub pidfile: PathBuf,
    /// The listening socket, where somebody else has opened it.
    pub inherited: Option<UnixListener>,
    /// Take the socket even if somebody answers on it.
    pub force: bool,
    /// The log until the configuration says otherwise.
    pub log: LogSettings,
    /// The configuration; `None` if a client sends it.
    pub stream: Option<Vec<Words>>,
    /// To be reported to once, when the server can be talked to or cannot start.
    pub ready: Ready,
}

impl Client {
    /// `start`, with a configuration that has been read already or is to be read now.
    pub(super) fn start(&self, preloaded: Option<Stream>) -> bool {
        let foreground = self.parsed.has(Key::Foreground) && !self.parsed.has(Key::Background);
        // A socket that was opened for us answers nobody yet.
        let inherited = match activation::inherited() {
            Ok(inherited) => inherited.filter(|_| foreground),
            Err(error) => return not_started(&error.to_string()),
        };
        if inherited.is_none() && !self.may_start() {
            return false;
        }
        // With `--async` another client configures it.
        let stream = match (preloaded, self.parsed.has(Key::Async)) {
            (_, true) => None,
            (Some(stream), false) => Some(stream.words),
            (None, false) => match self.load(None, Mode::Start) {
                Some(stream) => Some(stream.words),
                None => return false,
            },
        };
        if foreground {
            process::private(self.name());
            let ready = if stream.is_some() { Ready::Foreground } else { Ready::Silent };
            return (self.daemon)(self.launch(inherited, stream, ready)) == 0;
        }
        let limit = match self.parsed.value(Key::Timeout).map(sekisho_core::duration::parse) {
            None => START_LIMIT,
            Some(Ok(seconds)) => {
                Duration::try_from_secs_f64(seconds.as_f64()).unwrap_or(START_LIMIT)
            }
            Some(Err(error)) => return not_started(&error.to_string()),
        };
        match process::start_background(self.name(), &self.background_args(), limit) {
            Ok(Ok(_)) => {}
            Ok(Err(text)) => return not_started(&text),
            Err(error) => return not_started(&error.to_string()),
        }
        let Some(stream) = stream else { return true };
        let good = self.send(&stream_command("server-stream", vec![], stream), false);
        print("Server ready");
        good
    }

    /// Whether no server answers; says so if one does.
    fn may_start(&self) -> bool {
        let answer = Link::open(self.socket(), Some(PING_LIMIT))
            .and_then(|mut link| link.ask(&Value::strs(["ping"])));
        match answer {
            Ok(_) => say(Level::Error, "Server already running"),
            // Nobody listens: what is left of a crash is replaced.
            Err(LinkError::NoSocket(_) | LinkError::Unreachable(_) | LinkError::Closed) => {
                return true;
            }
            Err(LinkError::TimedOut) if self.parsed.has(Key::Force) => return true,
            Err(LinkError::TimedOut) => say(
                Level::Error,
                "Fail2ban seems to be in unexpected state (it listens but does not answer); -x replaces it",
            ),
            Err(error) => say(Level::Error, &error.to_string()),
        }
        if self.parsed.has(Key::Async) || self.program == super::Program::Server {
            say(Level::Error, "Async configuration of server failed");
        }
        false
    }

    fn name(&self) -> &str {
        self.parsed.value(Key::ProcessName).unwrap_or("fail2ban-server")
    }

    fn launch(
        &self,
        inherited: Option<UnixListener>,
        stream: Option<Vec<Words>>,
        ready: Ready,
    ) -> Launch {
        Launch {
            socket: PathBuf::from(&self.settings.socket),
            inherited,
            pidfile: PathBuf::from(&self.settings.pidfile),
            force: self.parsed.has(Key::Force),
            log: self.settings.log.clone(),
            stream,
            ready,
        }
    }

    /// The options with which the background process finds out all that [`Launch`] holds.
    fn background_args(&self) -> Vec<OsString> {
        let s = &self.settings;
        let absolute = |path: &str| std::path::absolute(path).unwrap_or_else(|_| path.into());
        let mut args: Vec<OsString> = vec![
            "-s".into(),
            absolute(&s.socket).into(),
            "-p".into(),
            absolute(&s.pidfile).into(),
            "--loglevel".into(),
            (&s.log.level).into(),
            "--logtarget".into(),
            (&s.log.target).into(),
            "--syslogsocket".into(),
            (&s.log.syslog_socket).into(),
            "--pname".into(),
            self.name().into(),
        ];
        if self.parsed.has(Key::Force) {
            args.push("-x".into());
        }
        args
    }

    /// `restart`: the configuration is read first, so that a broken one stops nothing.
    pub(super) fn restart(&self) -> bool {
        self.progress("load configuration");
        let Some(stream) = self.load(None, Mode::Start) else { return false };
        self.progress("stop");
        // Its end removes the file, so the process is looked up before.
        let old = process::Running::of(Path::new(&self.settings.pidfile));
        if self.stop_for_restart() {
            match self.after_stop(old.as_ref()) {
                Some(Ended::Gone) => {}
                Some(Ended::Replaced) => {
                    print("Server ready");
                    return true;
                }
                None => {
                    say(Level::Error, "The server has not ended after 30 seconds");
                    return false;
                }
            }
        }
        self.progress("start");
        self.start(Some(stream))
    }

    /// Ends the server, and asks it to leave in force what is: the next one takes it over. A server
    /// of fail2ban knows no such wish, and is stopped as ever.
    fn stop_for_restart(&self) -> bool {
        match self.ask(&Value::strs(["stop", "--keep"]), None) {
            Ok(Reply::Done(value)) => self.show(&Value::strs(["stop"]), &Reply::Done(value), true),
            _ => self.send(&Value::strs(["stop"]), true),
        }
    }

    /// Waits until the process has ended and nobody listens any more; or until the next server answers,
    /// where a service manager keeps the socket and starts one for whoever connects.
    fn after_stop(&self, old: Option<&process::Running>) -> Option<Ended> {
        (0..600).find_map(|_| {
            let ended = match old {
                Some(old) if old.goes_on() => None,
                _ if UnixStream::connect(self.socket()).is_err() => Some(Ended::Gone),
                // Which of two servers answers cannot be told then.
                None => None,
                Some(_) => {
                    let link = Link::open(self.socket(), Some(PING_LIMIT));
                    let answer = link.and_then(|mut link| link.ask(&Value::strs(["ping"])));
                    answer.ok().map(|_| Ended::Replaced)
                }
            };
            if ended.is_none() {
                std::thread::sleep(Duration::from_millis(50));
            }
            ended
        })
    }

    /// `reload [--restart] [--unban] [--if-exists] [--all|JAIL]`
    pub(super) fn reload(&self, words: &[&str], restart: bool) -> bool {
        let mut options = if restart { vec!["--restart"] } else { vec![] };
        let mut rest = words;
        while let [word @ ("--restart" | "--unban" | "--if-exists"), after @ ..] = rest {
            if !options.contains(word) {
                options.push(word);
            }
            rest = after;
        }
        let jail = match rest {
            [] => "--all",
            [jail] => jail,
            more => {
                let shown = Value::strs(more.iter().copied()).repr();
                say(Level::Error, &format!("Unexpected argument(s) for reload: {shown}"));
                return false;
            }
        };
        let only = (jail != "--all").then_some(jail);
        if self.program == Program::Sekisho && !paths::is_root() {
            // Such a server watches and reports; the configuration would make it act.
            say(
                Level::Error,
                "Without root there is no reload: end `sekisho run` and start it again",
            );
            return false;
        }
        if self.ask(&Value::strs(["ping"]), None).is_err() {
            say(Level::Error, "Could not find server");
            return false;
        }
        let Some(stream) = self.load(only, Mode::Start) else { return false };
        self.progress("reload");
        let arguments = vec![Value::str(jail), Value::strs(options)];
        self.send(&stream_command("reload", arguments, stream.words), true)
    }

    fn progress(&self, what: &str) {
        if self.parsed.has(Key::Interactive) {
            print(&format!("  ## {what} ... "));
        }
    }

    /// `-d`, `--dp`
    pub(super) fn dump(&self, pretty: bool) -> bool {
        let stream = self.load(None, Mode::Dump);
        show(stream.as_ref(), pretty);
        let good = stream.is_some_and(|stream| !stream.nothing_left);
        if !good {
            say(Level::Error, "Init of command line failed");
        }
        good
    }

    /// `-t`: whether the configuration is free of faults; printed before (prettily or not) if `-d` or
    /// `--dp` was given, too.
    pub(super) fn test(&self, dump: Option<bool>) -> bool {
        let stream = self.load(None, Mode::Start);
        if let Some(pretty) = dump {
            show(stream.as_ref(), pretty);
        }
        let good = stream.is_some_and(|stream| stream.faultless);
        if !good {
            let text = "ERROR: test configuration failed";
            say(Level::Error, text);
            print(text);
        }
        good
    }
}

/// Prints what the configuration compiles to.
fn show(stream: Option<&Stream>, pretty: bool) {
    let Some(Stream { words, .. }) = stream else {
        return print("ERROR: The configuration stream failed because of the invalid syntax.");
    };
    let text = if pretty { dump::pretty(words) } else { dump::dump(words) };
    print(text.trim_end_matches('\n'));
}

/// Says why there is no server.
fn not_started(text: &str) -> bool {
    let hint = if crate::paths::is_root() {
        ""
    } else {
        " (you are not root; `sekisho run` watches without)"
    };
    say(Level::Error, &format!("Could not start server: {text}{hint}"));
    false
}

/// What has become of a server that was stopped to be started again.
enum Ended {
    /// There is none any more.
    Gone,
    /// Another one has its socket.
    Replaced,
}

/// `[name, arguments…, [commands…]]`
fn stream_command(name: &str, arguments: Vec<Value>, stream: Vec<Words>) -> Value {
    let stream = stream.into_iter().map(|words| Value::List(words.words)).collect();
    let mut command = vec![Value::str(name)];
    command.extend(arguments);
    command.push(Value::List(stream));
    Value::List(command)
}

/// What the hidden background process does: becomes a daemon and runs the server.
pub fn background(args: &[String], daemon: super::Daemon) -> u8 {
    let ready = Ready::Background;
    let parsed = match cli::parse(args) {
        Ok(parsed) => parsed,
        Err(error) => {
            ready.report(Err(&error.to_string()));
            return super::FAILURE;
        }
    };
    let text = |key| parsed.value(key).unwrap_or_default().to_owned();
    process::become_daemon(parsed.value(Key::ProcessName).unwrap_or("fail2ban-server"));
    daemon(Launch {
        socket: text(Key::Socket).into(),
        inherited: None,
        pidfile: text(Key::PidFile).into(),
        force: parsed.has(Key::Force),
        log: LogSettings {
            level: text(Key::LogLevel),
            target: text(Key::LogTarget),
            syslog_socket: text(Key::SyslogSocket),
        },
        stream: None,
        ready,
    })
}
