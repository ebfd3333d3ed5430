//! Executing one command: `/bin/sh -c script args…`, bounded in time and output.
//!
//! Only an [`Invocation`] is taken, so a text with open tags cannot get here. A command can neither
//! stall us (time limit, then its whole process group is killed; a background child that keeps the
//! pipe open is not waited for) nor fill our memory (output beyond a bound is read and dropped).
//!
//! The group is made with `setpgid`, not `setsid`: a session of its own needs code between fork and
//! exec, which needs `unsafe`. The umask of commands is the process's own.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use sekisho_core::action::Invocation;
use sekisho_core::time::{Monotonic, Span};

use crate::clock;

/// Bytes kept of each of standard output and standard error.
const OUTPUT_MAX: usize = 64 << 10;
/// Bytes read after the end of a command from what may be a background child's flood.
const DRAIN_MAX: usize = 1 << 20;
/// Between SIGTERM and SIGKILL.
const GRACE: Span = Span::from_millis(200);
/// How long a killed process may take to go before it is left to a later call.
const LAST_WAIT: Span = Span::from_secs(2);
/// Longest sleep between two looks at the cancel flag (and at the child, without pidfd).
const SLICE: Span = Span::from_millis(100);
const SLICE_WITHOUT_PIDFD: Span = Span::from_millis(5);

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// Exit status or signal; `None` if even SIGKILL did not end it yet.
    pub status: Option<ExitStatus>,
    /// Whether the time limit was over.
    pub timed_out: bool,
    /// Beginning of its standard output.
    pub stdout: Vec<u8>,
    /// Beginning of its standard error.
    pub stderr: Vec<u8>,
}

impl Ended {
    /// Ended in time with one of these codes.
    pub fn good(&self, codes: &[i32]) -> bool {
        !self.timed_out && codes.contains(&self.code())
    }
    /// Python's return code: negative for a signal.
    pub fn code(&self) -> i32 {
        match self.status {
            Some(status) => status.code().unwrap_or_else(|| -status.signal().unwrap_or(0)),
            None => -9,
        }
    }
}

/// Children that outlived SIGKILL (uninterruptible sleep); reaped when they are gone.
static UNDEAD: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Runs a command to its end, its time limit, or until `cancel` is set.
pub fn execute(command: &Invocation, limit: Span, cancel: &AtomicBool) -> io::Result<Ended> {
    reap_undead();
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(command.script())
        .args(command.args())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let mut watch = Watch::new(&mut child);
    let deadline = clock::now().mono.plus(limit);
    let mut timed_out = false;
    if !watch.until(&mut child, deadline, Some(cancel)) {
        timed_out = true;
        let group = Pid::from_child(&child);
        // The leader is not reaped yet, so its number cannot belong to another group.
        let _ = kill_process_group(group, Signal::TERM);
        let grace_end = clock::now().mono.plus(GRACE);
        watch.until(&mut child, grace_end, None);
        // Others of the group get the whole grace too.
        while clock::now().mono < grace_end {
            watch.step(grace_end, false);
        }
        let _ = kill_process_group(group, Signal::KILL);
        watch.until(&mut child, clock::now().mono.plus(LAST_WAIT), None);
    }
    watch.drain();
    let status = match child.try_wait()? {
        Some(status) => Some(status),
        None => {
            UNDEAD.lock().unwrap_or_else(PoisonError::into_inner).push(child);
            None
        }
    };
    let [stdout, stderr] = watch.pipes.map(|p| p.kept);
    Ok(Ended { status, timed_out, stdout, stderr })
}

fn reap_undead() {
    let mut undead = UNDEAD.lock().unwrap_or_else(PoisonError::into_inner);
    undead.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

/// One output pipe of a child.
#[derive(Default)]
struct Pipe {
    fd: Option<OwnedFd>,
    kept: Vec<u8>,
}

impl Pipe {
    fn new(fd: Option<OwnedFd>) -> Self {
        // A pipe that cannot be made non-blocking could stall us; better no output.
        let fd = fd.filter(|fd| rustix::io::ioctl_fionbio(fd, true).is_ok());
        Self { fd, kept: Vec::new() }
    }

    /// Reads what is there, at most `max` bytes; closes at the end.
    fn read(&mut self, max: usize) {
        let Some(fd) = &self.fd else { return };
        let mut buffer = [0u8; 8192];
        let mut total = 0;
        while total < max {
            match rustix::io::read(fd, &mut buffer) {
                Ok(n) if n > 0 => {
                    total += n;
                    let room = OUTPUT_MAX.saturating_sub(self.kept.len());
                    self.kept.extend(buffer.iter().take(n.min(room)));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Ok(_) | Err(_) => {
                    self.fd = None;
                    return;
                }
            }
        }
    }
}

/// What is waited for: the end of the child, and its output.
struct Watch {
    pipes: [Pipe; 2],
    /// Readable when the child has ended; `None` on kernels before 5.3.
    pidfd: Option<OwnedFd>,
}

impl Watch {
    fn new(child: &mut Child) -> Self {
        let out = child.stdout.take().map(OwnedFd::from);
        let err = child.stderr.take().map(OwnedFd::from);
        let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok();
        Self { pipes: [Pipe::new(out), Pipe::new(err)], pidfd }
    }

    /// Waits for the child's end; false if `deadline` or `cancel` came first. Does not reap it
    /// where there are pidfds, so that its group can still be killed.
    fn until(
        &mut self,
        child: &mut Child,
        deadline: Monotonic,
        cancel: Option<&AtomicBool>,
    ) -> bool {
        loop {
            let ended = self.step(deadline, true);
            if ended || (self.pidfd.is_none() && !matches!(child.try_wait(), Ok(None))) {
                return true;
            }
            let cancelled = cancel.is_some_and(|c| c.load(Ordering::Relaxed));
            if cancelled || clock::now().mono >= deadline {
                return false;
            }
        }
    }

    /// One wait of at most a slice; reads output; true if the child's end was seen.
    fn step(&mut self, deadline: Monotonic, look_at_child: bool) -> bool {
        let slice = if self.pidfd.is_some() { SLICE } else { SLICE_WITHOUT_PIDFD };
        let left = deadline.since(clock::now().mono).min(slice);
        let micros = u64::try_from(left.0).unwrap_or(0);
        let timeout = Timespec::try_from(Duration::from_micros(micros)).ok();
        let mut ended = false;
        {
            let pidfd = self.pidfd.as_ref().filter(|_| look_at_child);
            let fds = self.pipes.iter().filter_map(|p| p.fd.as_ref()).chain(pidfd);
            let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
            let polled = poll(&mut fds, timeout.as_ref());
            if polled.is_ok() && pidfd.is_some() {
                ended = fds.last().is_some_and(|fd| !fd.revents().is_empty());
            }
        }
        for pipe in &mut self.pipes {
            pipe.read(DRAIN_MAX);
        }
        ended
    }

    fn drain(&mut self) {
        for pipe in &mut self.pipes {
            pipe.read(DRAIN_MAX);
        }
    }
}
