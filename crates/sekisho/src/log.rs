//! fail2ban's log: its lines, its targets, its settings.
//!
//! Other programs parse these lines (the recidive jail reads our own file), so the format is exact.
//! Writing happens on one thread of its own behind a bounded queue: a full disk, a reader that has
//! stopped or a missing syslog costs lines, which are counted and reported, and never stops the
//! daemon. Time is read when a record is handed in, not when it is written.

mod format;
mod sink;

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use sekisho_core::command::{CommandError, ErrorClass};
use sekisho_core::effect::{Level, Record};
use sekisho_core::time::Timestamp;
use sekisho_core::value::Value;

use crate::LogFn;
pub use format::{Format, level_name, line};
pub use sink::Target;

/// Records that may wait; some seconds of a heavy attack.
const QUEUE: usize = 16_384;
/// The version that fail2ban's tools read.
pub const FAIL2BAN_VERSION: &str = "1.1.1";

/// What the log is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// A name (`INFO`) or number, as it was given.
    pub level: String,
    /// `STDOUT`, `STDERR`, `SYSLOG`, `SYSOUT`, `SYSTEMD-JOURNAL` or a path, with options in brackets.
    pub target: String,
    /// `auto` or a path.
    pub syslog_socket: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "INFO".into(), target: "STDERR".into(), syslog_socket: "auto".into() }
    }
}

/// The log; clones share it.
#[derive(Clone, Debug)]
pub struct Logger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Sender<Message>,
    threshold: AtomicU8,
    lost: Arc<AtomicU64>,
    settings: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    /// As `get` answers them: the target without its options.
    settings: LogSettings,
    target: Target,
}

#[derive(Debug)]
enum Message {
    Record(Timestamp, Record),
    /// Write to this from here on.
    Switch(sink::Sink),
    /// Tell when everything before has been written.
    Sync(Sender<()>),
}

impl Logger {
    /// Starts the log. If the target cannot be opened, standard error is used, and the reason is
    /// returned: a daemon without a log file still has to guard.
    pub fn start(settings: &LogSettings) -> (Logger, Option<CommandError>) {
        let (queue, receiver) = bounded(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let standard =
            LogSettings { syslog_socket: settings.syslog_socket.clone(), ..LogSettings::default() };
        let (sink, current) = (
            sink::Sink::standard(),
            Current { settings: standard, target: Target::Stderr(Format::standard(true, true)) },
        );
        let lost_by_writer = Arc::clone(&lost);
        let spawned = thread::Builder::new()
            .name("log".into())
            .spawn(move || write(&receiver, sink, &lost_by_writer));
        let shared = Shared {
            queue,
            threshold: AtomicU8::new(Level::Info as u8),
            lost,
            settings: Mutex::new(current),
        };
        let logger = Logger { shared: Arc::new(shared) };
        let mut problem = spawned.err().map(|e| {
            CommandError::new(ErrorClass::RuntimeError, format!("cannot start the log: {e}"))
        });
        if let Err(error) = logger.set_level(&settings.level) {
            problem.get_or_insert(error);
        }
        if let Err(error) = logger.open(&settings.target, &settings.syslog_socket) {
            problem.get_or_insert(error);
        }
        (logger, problem)
    }

    /// Writes a record, if its level is wanted. Never waits, because bans are ordered by the same
    /// thread: where there is no room, the record is dropped and counted.
    pub fn log(&self, record: Record) {
        if !self.wants(record.level) {
            return;
        }
        let message = Message::Record(crate::clock::now().wall, record);
        if self.shared.queue.try_send(message).is_err() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether records of this level are written, for callers that would have to build a long text.
    pub fn wants(&self, level: Level) -> bool {
        level as u8 >= self.shared.threshold.load(Ordering::Relaxed)
    }

    /// The log as workers use it.
    pub fn func(&self) -> LogFn {
        let logger = self.clone();
        Arc::new(move |record| logger.log(record))
    }

    /// The value of `loglevel`, `logtarget` or `syslogsocket`.
    pub fn get(&self, name: &str) -> Option<Value> {
        let current = self.lock();
        Some(Value::str(match name {
            "loglevel" => &current.settings.level,
            "logtarget" => &current.settings.target,
            "syslogsocket" => &current.settings.syslog_socket,
            _ => return None,
        }))
    }

    /// Changes `loglevel`, `logtarget` or `syslogsocket` and answers what it now is; on an error
    /// everything stays.
    pub fn set(&self, name: &str, value: &Value) -> Result<Value, CommandError> {
        let text = value.to_text();
        match name {
            "loglevel" => self.set_level(&text)?,
            "logtarget" => {
                let syslog = self.lock().settings.syslog_socket.clone();
                let before = self.lock().target.clone();
                if sink::parse(&text, &syslog)? != before {
                    self.open(&text, &syslog)?;
                    let now = self.lock().settings.target.clone();
                    self.log(server(Level::Info, format!("Start Fail2ban v{FAIL2BAN_VERSION}")));
                    self.log(server(
                        Level::Info,
                        format!("Changed logging target to {now} for Fail2ban v{FAIL2BAN_VERSION}"),
                    ));
                }
            }
            "syslogsocket" => {
                let target = {
                    let mut current = self.lock();
                    current.settings.syslog_socket.clone_from(&text);
                    current.target.clone()
                };
                if let Some(moved) = target.with_syslog_socket(&text) {
                    self.switch(moved)?;
                }
            }
            _ => {
                let text =
                    format!("Invalid command '{name}' (no set action or not yet implemented)");
                return Err(CommandError::new(ErrorClass::Exception, text));
            }
        }
        self.get(name).ok_or_else(|| CommandError::new(ErrorClass::Exception, "Invalid command"))
    }

    /// `flushlogs`: opens a file anew, whether it was rotated away or not. Answers
    /// `rolled over` or `flushed`; if the file cannot be opened, the old one goes on being used.
    pub fn flush(&self) -> &'static str {
        let target = self.lock().target.clone();
        let Target::File { path, .. } = &target else {
            let name = self.lock().settings.target.clone();
            self.log(server(Level::Info, format!("flush performed on {name}")));
            return "flushed";
        };
        let path = path.display().to_string();
        if let Err(error) = self.switch(target) {
            self.log(server(Level::Error, format!("Cannot reopen {path}: {error}")));
        } else {
            self.log(server(Level::Info, format!("rollover performed on {path}")));
        }
        "rolled over"
    }

    /// Waits until everything logged so far is written, or for `limit`.
    pub fn sync(&self, limit: Duration) {
        let (done, wait) = bounded(1);
        if self.shared.queue.send_timeout(Message::Sync(done), limit).is_ok() {
            let _ = wait.recv_timeout(limit);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.shared.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_level(&self, text: &str) -> Result<(), CommandError> {
        let upper = text.to_uppercase();
        let Some(threshold) = Level::threshold(&upper) else {
            let text = format!("Invalid log level '{upper}'");
            return Err(CommandError::new(ErrorClass::ValueError, text));
        };
        self.shared.threshold.store(threshold, Ordering::Relaxed);
        self.lock().settings.level = upper;
        Ok(())
    }

    fn open(&self, text: &str, syslog: &str) -> Result<(), CommandError> {
        let target = sink::parse(text, syslog)?;
        let name = sink::shown(text);
        self.switch(target)?;
        self.lock().settings.target = name;
        Ok(())
    }

    fn switch(&self, target: Target) -> Result<(), CommandError> {
        let failed = |why: String| {
            let text = format!("Failed to change log target: {why}");
            CommandError::new(ErrorClass::Exception, text)
        };
        let sink = sink::Sink::open(&target).map_err(|e| failed(format!("{target}: {e}")))?;
        let message = Message::Switch(sink);
        let sent = self.shared.queue.send_timeout(message, Duration::from_secs(5));
        sent.map_err(|_| failed("the old one does not take its last lines".into()))?;
        self.lock().target = target;
        Ok(())
    }
}

fn server(level: Level, text: String) -> Record {
    Record { level, logger: "fail2ban.server", text }
}

/// The writing thread: many records per system call, in order.
fn write(receiver: &Receiver<Message>, mut sink: sink::Sink, lost: &AtomicU64) {
    while let Ok(first) = receiver.recv() {
        let zone = crate::clock::zone();
        let mut waiting = Some(first);
        while let Some(message) = waiting.take() {
            match message {
                Message::Record(at, record) => sink.add(at, &zone, &record),
                Message::Switch(next) => {
                    sink.flush();
                    sink.hand_over(next);
                }
                Message::Sync(done) => {
                    sink.flush();
                    let _ = done.try_send(());
                }
            }
            if sink.is_full() {
                sink.flush();
            }
            waiting = receiver.try_recv().ok();
        }
        // Before it is counted what was lost: the report is alone in what it tries to write.
        sink.flush();
        let dropped = lost.swap(0, Ordering::Relaxed) + sink.take_lost();
        if dropped > 0 {
            let text = format!("{dropped} log records could not be written and are lost");
            sink.add(crate::clock::now().wall, &zone, &server(Level::Error, text));
            sink.flush_report(dropped);
        }
    }
}

#[cfg(test)]
mod tests;
