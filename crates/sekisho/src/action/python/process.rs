//! A python3 process that hosts one action: started, talked to, and ended.
//!
//! Nothing it does can stall its caller: every wait has a deadline and ends when `cancel` is set.
//! Nor can it fill our memory: a line of an answer has a bound, and of what it prints only so much
//! is kept. Its whole process group ends with it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use sekisho_core::effect::{Level, Record};
use sekisho_core::time::{Monotonic, Span};
use sekisho_core::value::repr_str;
use serde_json::Value as Json;

use super::message::{Answer, Said};
use crate::{LogFn, clock};

/// What runs in the process; imported under the name `fail2ban`, it offers the modules alone.
pub const SHIM: &str = include_str!("shim.py");
/// What fetches it: kept short, since process lists show it. `-c` puts the current folder, which is
/// nobody's library, in front of all modules; it goes first.
const BOOT: &str = "\
import sys
sys.path[:] = [p for p in sys.path if p]
if sys.version_info < (3, 6):
    sys.stdout.write('{\"old\": \"%d.%d\"}\\n' % sys.version_info[:2]); sys.exit(1)
import os
shim = b''
while len(shim) < int(sys.argv[1]): shim += os.read(0, int(sys.argv[1]) - len(shim)) or sys.exit(1)
exec(compile(shim, '<sekisho>', 'exec'))
";
/// Longest line of an answer.
const LINE_MAX: usize = 2 << 20;
/// Longest line it prints that is shown whole.
const PRINT_MAX: usize = 4 << 10;
/// Lines it prints during one request that are shown.
const PRINTS_MAX: usize = 100;
/// Bytes read in one go.
const READ_MAX: usize = 256 << 10;
/// Longest sleep between two looks at the process itself, for the case that it has ended and a child
/// of it holds its pipes open.
const SLICE: Span = Span::from_secs(1);
const IDLE_SLICE: Span = Span::from_secs(60);
/// Between SIGTERM and SIGKILL.
const GRACE: Span = Span::from_millis(200);
/// How long a killed process may take to go.
const LAST_WAIT: Span = Span::from_secs(2);

/// Why there was no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The call took too long.
    #[error("timed out after {} seconds", .0.as_secs_f64())]
    TimedOut(Span),
    /// The process ended.
    #[error("its python3 process ended ({0})")]
    Ended(String),
    /// It wrote what is no answer.
    #[error("its python3 process wrote what is no answer")]
    Garbage,
    /// We are ending.
    #[error("stopped, because the service ends")]
    Cancelled,
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no Python.
    #[error("there is no python3 on the PATH ({path}): install it (Debian: apt install python3)")]
    Missing {
        /// The PATH.
        path: String,
    },
    /// It is older than the oldest that will do.
    #[error("python3 is Python {0}, and 3.6 is the oldest that will do: install a newer one")]
    TooOld(String),
    /// It cannot be executed.
    #[error("python3 cannot be started: {0}")]
    Io(#[from] io::Error),
    /// It did not come up.
    #[error("{0} before it could run the action")]
    Lost(#[from] Lost),
}

/// What a conversation needs of the world.
pub struct Tools<'a> {
    /// Where log records go.
    pub log: &'a LogFn,
    /// Set when calls under way are to be ended.
    pub cancel: &'a AtomicBool,
    /// Becomes readable when there is something new to do or `cancel` was set.
    pub wake: &'a OwnedFd,
    /// Answers a question about earlier bans (of this jail only, or of all).
    pub past: &'a mut dyn FnMut(bool) -> Json,
    /// Whose words they are, for what it prints.
    pub who: &'a str,
}

/// A running process.
pub struct Process {
    child: Child,
    input: Option<OwnedFd>,
    /// What is still to be written.
    pending: Vec<u8>,
    output: Lines,
    prints: Lines,
    /// Lines that may still be shown, and how many were not.
    room: usize,
    unseen: usize,
    last_print: String,
}

impl Process {
    /// Starts a process that is ready for requests. `about` is shown in process lists.
    pub fn start(
        about: &[&str],
        limit: Span,
        tools: &mut Tools<'_>,
    ) -> Result<Process, StartError> {
        let spawned = Command::new("python3")
            .args(["-c", BOOT])
            .arg(SHIM.len().to_string())
            .args(about)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = std::env::var("PATH").unwrap_or_default();
                return Err(StartError::Missing { path });
            }
            Err(error) => return Err(error.into()),
        };
        let mut process = Process {
            input: child.stdin.take().map(OwnedFd::from),
            output: Lines::new(child.stdout.take().map(OwnedFd::from)),
            prints: Lines::new(child.stderr.take().map(OwnedFd::from)),
            child,
            pending: SHIM.as_bytes().to_vec(),
            room: PRINTS_MAX,
            unseen: 0,
            last_print: String::new(),
        };
        if let Some(input) = &process.input {
            rustix::io::ioctl_fionbio(input, true).map_err(io::Error::from)?;
        }
        let deadline = clock::now().mono.plus(limit);
        match process.listen(deadline, limit, tools) {
            Ok(Said::Hello) => Ok(process),
            Ok(Said::TooOld(version)) => {
                process.kill();
                Err(StartError::TooOld(version))
            }
            Ok(_) => {
                process.kill();
                Err(Lost::Garbage.into())
            }
            Err(lost) => Err(process.lost(lost).into()),
        }
    }

    /// Makes one request. Without an answer the process is gone.
    pub fn ask(
        &mut self,
        request: &Json,
        limit: Span,
        tools: &mut Tools<'_>,
    ) -> Result<Answer, Lost> {
        self.count_prints(tools);
        self.send(request);
        let deadline = clock::now().mono.plus(limit);
        match self.listen(deadline, limit, tools) {
            Ok(Said::Answer(answer)) => Ok(answer),
            Ok(_) => Err(self.lost(Lost::Garbage)),
            Err(lost) => Err(self.lost(lost)),
        }
    }

    /// Listens while nothing is asked, until there is something to do (`wake`) or the process has
    /// ended by itself: then it is gone, and this says how it went.
    pub fn idle(&mut self, tools: &mut Tools<'_>) -> Option<String> {
        self.count_prints(tools);
        loop {
            while let Some(line) = self.output.next(LINE_MAX) {
                match line.as_deref().map(Said::parse) {
                    Ok(Some(Said::Log(level, logger, text))) => log(tools, level, &logger, text),
                    _ => return Some(self.lost(Lost::Garbage).to_string()),
                }
            }
            if self.is_over() {
                return Some(self.lost(Lost::Ended(String::new())).to_string());
            }
            if self.step(None, tools) {
                return None;
            }
        }
    }

    /// Lets it end in its own way, as it does without input; or without its consent.
    pub fn close(mut self, limit: Span, tools: &mut Tools<'_>) {
        self.input = None;
        let deadline = clock::now().mono.plus(limit);
        while !self.is_over() && clock::now().mono < deadline {
            self.step(Some(deadline), tools);
            // What it still logs on its way out.
            while let Some(Ok(line)) = self.output.next(LINE_MAX) {
                if let Some(Said::Log(level, logger, text)) = Said::parse(&line) {
                    log(tools, level, &logger, text);
                }
            }
        }
        self.count_prints(tools);
        self.kill();
    }

    fn send(&mut self, message: &Json) {
        self.pending.extend(message.to_string().as_bytes());
        self.pending.push(b'\n');
    }

    /// The next message that is not for the log and no question.
    fn listen(
        &mut self,
        deadline: Monotonic,
        limit: Span,
        tools: &mut Tools<'_>,
    ) -> Result<Said, Lost> {
        loop {
            while let Some(line) = self.output.next(LINE_MAX) {
                match line.as_deref().map(Said::parse) {
                    Ok(Some(Said::Log(level, logger, text))) => log(tools, level, &logger, text),
                    Ok(Some(Said::Past { jail_only })) => {
                        let answer = (tools.past)(jail_only);
                        self.send(&answer);
                    }
                    Ok(Some(said)) => return Ok(said),
                    Ok(None) | Err(TooLong) => return Err(Lost::Garbage),
                }
            }
            if tools.cancel.load(Ordering::Relaxed) {
                return Err(Lost::Cancelled);
            }
            if clock::now().mono >= deadline {
                return Err(Lost::TimedOut(limit));
            }
            if self.is_over() {
                return Err(Lost::Ended(String::new()));
            }
            self.step(Some(deadline), tools);
        }
    }

    /// One wait, at most a slice; reads and writes what it can. True if `wake` was touched.
    fn step(&mut self, deadline: Option<Monotonic>, tools: &mut Tools<'_>) -> bool {
        let left = deadline.map_or(IDLE_SLICE, |at| at.since(clock::now().mono).min(SLICE));
        let micros = Duration::from_micros(u64::try_from(left.0).unwrap_or(0));
        let timeout = Timespec::try_from(micros).ok();
        let mut woken = false;
        {
            let input = self.input.as_ref().filter(|_| !self.pending.is_empty());
            let mut fds = vec![PollFd::new(tools.wake, PollFlags::IN)];
            fds.extend(input.map(|fd| PollFd::new(fd, PollFlags::OUT)));
            for lines in [&self.output, &self.prints] {
                fds.extend(lines.fd.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
            }
            if poll(&mut fds, timeout.as_ref()).is_ok() {
                woken = fds.first().is_some_and(|fd| !fd.revents().is_empty());
            }
        }
        if woken {
            let _ = rustix::io::read(tools.wake, &mut [0u8; 8]);
        }
        if let Some(input) = &self.input
            && !self.pending.is_empty()
        {
            match rustix::io::write(input, &self.pending) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                // It has ended, or will not listen: the wait for its answer shows which.
                Err(_) => self.pending.clear(),
            }
        }
        self.output.read();
        self.prints.read();
        while let Some(line) = self.prints.next(PRINT_MAX) {
            self.printed(line, tools);
        }
        woken
    }

    /// Something printed by the action, or by Python itself.
    fn printed(&mut self, line: Result<Vec<u8>, TooLong>, tools: &Tools<'_>) {
        let line = line.unwrap_or_else(|TooLong| b"(a line that is too long)".to_vec());
        let text = String::from_utf8_lossy(&line).into_owned();
        let Some(room) = self.room.checked_sub(1) else {
            self.unseen = self.unseen.saturating_add(1);
            return;
        };
        self.room = room;
        let shown = format!("{} printed: {}", tools.who, repr_str(&text));
        log(tools, Level::Info, "fail2ban.actions", shown);
        if !text.trim().is_empty() {
            self.last_print = text;
        }
    }

    fn count_prints(&mut self, tools: &Tools<'_>) {
        self.room = PRINTS_MAX;
        let unseen = std::mem::take(&mut self.unseen);
        if unseen > 0 {
            let text = format!("{} printed {unseen} more lines, which are not shown", tools.who);
            log(tools, Level::Info, "fail2ban.actions", text);
        }
    }

    /// Whether the process has ended and all it wrote has been read.
    fn is_over(&mut self) -> bool {
        self.output.fd.is_none() || self.has_ended() && !self.output.read()
    }

    /// Whether it has ended; it is not reaped, so its number cannot belong to another group yet.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let pid = WaitId::Pid(Pid::from_child(&self.child));
        !matches!(waitid(pid, options), Ok(None))
    }

    /// Ends the process, and completes the reason with how it ended.
    fn lost(&mut self, lost: Lost) -> Lost {
        let by_itself = matches!(lost, Lost::Ended(_));
        if by_itself {
            // It closed its output, and is about to end, in its own way if it is given the processor.
            self.wait(LAST_WAIT);
            self.prints.read();
            while let Some(Ok(line)) = self.prints.next(PRINT_MAX) {
                self.last_print = String::from_utf8_lossy(&line).into_owned();
            }
        }
        let how = self.kill();
        match lost {
            Lost::Ended(_) if self.last_print.is_empty() => Lost::Ended(how),
            Lost::Ended(_) => Lost::Ended(format!("{how}; it said: {}", self.last_print)),
            other => other,
        }
    }

    fn wait(&self, limit: Span) {
        let deadline = clock::now().mono.plus(limit);
        while !self.has_ended() && clock::now().mono < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends the whole group; how the process ended.
    fn kill(&mut self) -> String {
        let group = Pid::from_child(&self.child);
        let running = !self.has_ended();
        if running {
            let _ = kill_process_group(group, Signal::TERM);
            self.wait(GRACE);
        }
        let _ = kill_process_group(group, Signal::KILL);
        self.wait(LAST_WAIT);
        self.output.fd = None;
        match self.child.try_wait() {
            Ok(Some(status)) => ending(status),
            _ => "killed, but still there".to_owned(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.kill();
        }
    }
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "in an unknown way".to_owned(),
    }
}

fn log(tools: &Tools<'_>, level: Level, logger: &str, text: String) {
    (tools.log)(Record { level, logger: super::loggers::name(logger), text });
}

/// A line beyond its bound; its rest is skipped.
#[derive(Debug)]
struct TooLong;

/// A pipe, read line by line without ever waiting.
struct Lines {
    fd: Option<OwnedFd>,
    buffer: Vec<u8>,
    /// How much of the buffer is known to have no line end.
    searched: usize,
    /// The rest of a line that was too long is on its way.
    skipping: bool,
}

impl Lines {
    fn new(fd: Option<OwnedFd>) -> Lines {
        // A pipe that cannot be made non-blocking could stall us; better none.
        let fd = fd.filter(|fd| rustix::io::ioctl_fionbio(fd, true).is_ok());
        Lines { fd, buffer: Vec::new(), searched: 0, skipping: false }
    }

    /// Reads what is there, within bounds; whether there was something. Closes at the end.
    fn read(&mut self) -> bool {
        let Some(fd) = &self.fd else { return false };
        let mut chunk = [0u8; 16 << 10];
        let mut total = 0;
        while total < READ_MAX {
            match rustix::io::read(fd, &mut chunk) {
                Ok(0) => {
                    self.fd = None;
                    break;
                }
                Ok(n) => {
                    total += n;
                    self.buffer.extend(chunk.iter().take(n));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(_) => {
                    self.fd = None;
                    break;
                }
            }
        }
        total > 0
    }

    /// The next complete line without its end; at the end of the pipe also an incomplete one.
    fn next(&mut self, max: usize) -> Option<Result<Vec<u8>, TooLong>> {
        loop {
            let fresh = self.buffer.get(self.searched..).unwrap_or_default();
            let end = memchr::memchr(b'\n', fresh).map(|at| self.searched + at);
            let Some(end) = end else {
                self.searched = self.buffer.len();
                if self.buffer.len() > max || (self.fd.is_none() && self.searched > 0) {
                    let line = std::mem::take(&mut self.buffer);
                    self.searched = 0;
                    let skipping = std::mem::replace(&mut self.skipping, line.len() > max);
                    match (skipping, line.len() > max) {
                        (true, over) => {
                            self.skipping = over || self.fd.is_some();
                            continue;
                        }
                        (false, true) => return Some(Err(TooLong)),
                        (false, false) => return Some(Ok(line)),
                    }
                }
                return None;
            };
            let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
            line.pop();
            self.searched = 0;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            return Some(if line.len() > max { Err(TooLong) } else { Ok(line) });
        }
    }
}
