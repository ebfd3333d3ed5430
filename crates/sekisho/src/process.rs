//! What a daemon does to its own process: background, PID file, signals.
//!
//! The background is reached by starting ourselves again with a hidden first word; the new process
//! makes its own session. Nothing is forked, so no thread or lock is ever copied half-way.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crossbeam_channel::Sender;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;
use sekisho_core::command::Words;
use sekisho_core::effect::{Event, Level, Record, RequestId};
use sekisho_core::value::Value;

/// The hidden first word of a process that is to become a daemon.
pub const BACKGROUND: &str = "__background";
/// What a daemon says on its standard output once it can be talked to.
const READY: &str = "ready";

/// The request of a stop that a signal asked for.
pub const SIGNAL_STOP: RequestId = RequestId(u64::MAX);
/// The request of a log flush that a signal asked for.
pub const SIGNAL_FLUSH: RequestId = RequestId(u64::MAX - 1);

/// How a daemon tells that it is up, or why not. Must be used once, as soon as that is known.
#[derive(Debug)]
pub enum Ready {
    /// In the background: to the process that started it, which waits for it.
    Background,
    /// In the foreground: errors to standard error, `Server ready` to standard output.
    Foreground,
    /// To nobody.
    Silent,
}

impl Ready {
    /// Reports; a service manager that started us is told first that others may go on.
    pub fn report(self, result: Result<(), &str>) {
        if result.is_ok() {
            // Without one there is nobody to tell, and one that does not listen must not stop us.
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        }
        match self {
            Ready::Background => {
                let text = result.map_or_else(|e| e.replace('\n', " "), |()| READY.to_owned());
                let mut out = io::stdout();
                let _ = writeln!(out, "{text}").and_then(|()| out.flush());
                // The other side waits for more until nobody can write any more.
                if let Ok(null) = File::options().write(true).open("/dev/null") {
                    let _ = rustix::stdio::dup2_stdout(&null);
                }
            }
            Ready::Foreground => match result {
                Ok(()) => {
                    let _ = writeln!(io::stdout(), "Server ready");
                }
                Err(text) => {
                    let text = format!("Could not start server: {text}");
                    let record = Record { level: Level::Error, logger: "fail2ban", text };
                    let (now, zone) = (crate::clock::now().wall, crate::clock::zone());
                    let _ = writeln!(io::stderr(), "{}", crate::log::line(now, &zone, &record));
                }
            },
            Ready::Silent => {}
        }
    }
}

/// Starts ourselves again in the background with `args` and waits until the daemon is up, for
/// `limit` at most; its process id, or what it reported.
pub fn start_background(
    name: &str,
    args: &[OsString],
    limit: Duration,
) -> io::Result<Result<u32, String>> {
    let mut child = spawn(name, args)?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        let limit = Timespec::try_from(limit).ok();
        // One short line is written at once, so what can be read can be read whole.
        let mut fds = [PollFd::from_borrowed_fd(out.as_fd(), PollFlags::IN)];
        if rustix::io::retry_on_intr(|| poll(&mut fds, limit.as_ref()))? == 0 {
            let text =
                format!("it was not ready in time (process {}); its log tells why", child.id());
            return Ok(Err(text));
        }
        BufReader::new(out).read_line(&mut line)?;
    }
    match line.trim_end() {
        READY => Ok(Ok(child.id())),
        "" => {
            let status = child.wait()?;
            Ok(Err(format!("the server ended before it was ready ({status}); its log tells why")))
        }
        text => Ok(Err(text.to_owned())),
    }
}

fn spawn(name: &str, args: &[OsString]) -> io::Result<Child> {
    let program = std::env::current_exe()?;
    let foreign = inherited_descriptors();
    let mut command = if foreign.is_empty() {
        let mut command = Command::new(program);
        command.arg0(name);
        command
    } else {
        // Descriptors of whoever started us (a package manager's, say) would keep that one waiting
        // for the daemon's end. A shell can close them without `unsafe`; it knows single digits.
        let closing: String = foreign.iter().map(|fd| format!(" {fd}>&-")).collect();
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(format!("exec{closing}; exec \"$0\" \"$@\"")).arg(program);
        command
    };
    command
        .arg(BACKGROUND)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

/// Open descriptors from 3 to 9 that a new program would inherit.
fn inherited_descriptors() -> Vec<u32> {
    let inherited = |fd: &u32| {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
        let flags = info.lines().find_map(|l| l.strip_prefix("flags:"))?;
        let flags = u32::from_str_radix(flags.trim(), 8).ok()?;
        Some(flags & rustix::fs::OFlags::CLOEXEC.bits() == 0)
    };
    (3..10).filter(|fd| inherited(fd) == Some(true)).collect()
}

/// Makes this process a daemon: own session, root folder, private files.
pub fn become_daemon(name: &str) {
    // It fails only in a process that leads a group, where a shell's job control made one.
    let _ = rustix::process::setsid();
    let _ = std::env::set_current_dir("/");
    private(name);
}

/// Files that are created belong to us alone, and the process is listed under `name`.
pub fn private(name: &str) {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    if let Ok(name) = std::ffi::CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
}

/// The PID file; removed when dropped, if it is still ours.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes our process id, creating the last folder of the path if it is missing.
    pub fn create(path: &Path) -> io::Result<PidFile> {
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty() && !p.exists()) {
            std::fs::DirBuilder::new().mode(0o755).create(folder)?;
        }
        if holds_something_else(path) {
            let text = "what is there is no PID file; remove it, or choose another name with -p";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        std::fs::write(path, format!("{}\n", std::process::id()))?;
        Ok(PidFile { path: path.to_owned() })
    }
}

/// Whether there is a file that nobody wrote as a PID file: a log, for instance.
fn holds_something_else(path: &Path) -> bool {
    const LONGEST: u64 = 32;
    let number = |text: String| text.trim().bytes().all(|b| b.is_ascii_digit());
    let Ok(meta) = std::fs::metadata(path) else { return false };
    meta.is_file() && (meta.len() > LONGEST || !std::fs::read_to_string(path).is_ok_and(number))
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let ours = std::process::id().to_string();
        if std::fs::read_to_string(&self.path).is_ok_and(|text| text.trim() == ours) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A process that a PID file names.
#[derive(Clone, Copy, Debug)]
pub struct Running(Pid);

impl Running {
    /// The process in a PID file, if it runs.
    pub fn of(pidfile: &Path) -> Option<Running> {
        let pid = std::fs::read_to_string(pidfile).ok()?.trim().parse().ok()?;
        Some(Running(Pid::from_raw(pid)?)).filter(Running::goes_on)
    }
    /// Whether it still runs; one that only waits to be reaped does not.
    pub fn goes_on(&self) -> bool {
        if rustix::process::test_kill_process(self.0) == Err(rustix::io::Errno::SRCH) {
            return false;
        }
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.as_raw_nonzero()));
        stat.map_or(true, |stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
    }
}

/// Turns signals into events from here on: TERM and INT into `stop` ([`SIGNAL_STOP`]), USR1 into
/// `flushlogs` ([`SIGNAL_FLUSH`]); HUP is ignored.
pub fn forward_signals(events: Sender<Event>) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
    let (stop, stop_writer) = UnixStream::pair()?;
    let (flush, flush_writer) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(SIGTERM, stop_writer.try_clone()?)?;
    signal_hook::low_level::pipe::register(SIGINT, stop_writer)?;
    signal_hook::low_level::pipe::register(SIGUSR1, flush_writer)?;
    // A handler rather than an ignored signal: programs that we start do not inherit it.
    signal_hook::flag::register(SIGHUP, std::sync::Arc::default())?;
    stop.set_nonblocking(true)?;
    flush.set_nonblocking(true)?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        while wait_readable(&stop, &flush) {
            for (stream, request, word) in
                [(&stop, SIGNAL_STOP, "stop"), (&flush, SIGNAL_FLUSH, "flushlogs")]
            {
                // Several signals at once are one wish.
                let mut wanted = false;
                let mut bytes = [0; 64];
                let mut stream = stream;
                while io::Read::read(&mut stream, &mut bytes).is_ok_and(|n| n > 0) {
                    wanted = true;
                }
                let words = Words { words: vec![Value::str(word)], origin: None };
                if wanted && events.send(Event::Control { request, words }).is_err() {
                    return;
                }
            }
        }
    })?;
    Ok(())
}

fn wait_readable(a: &UnixStream, b: &UnixStream) -> bool {
    let mut fds = [
        PollFd::from_borrowed_fd(a.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(b.as_fd(), PollFlags::IN),
    ];
    matches!(poll(&mut fds, None), Ok(_) | Err(rustix::io::Errno::INTR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_files_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run").join("x.pid");
        let file = PidFile::create(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        assert!(Running::of(&path).is_some());
        drop(file);
        assert!(!path.exists() && Running::of(&path).is_none());
        let file = PidFile::create(&path).unwrap();
        std::fs::write(&path, "1\n").unwrap();
        drop(file);
        assert!(path.exists(), "another daemon's file stays");
        assert!(PidFile::create(Path::new("/nonexistent/a/b.pid")).is_err());
        // A path that is somebody else's file by mistake.
        for other in ["a line of a log\n", "1234567890123456789012345678901234567890\n"] {
            std::fs::write(&path, other).unwrap();
            let error = PidFile::create(&path).unwrap_err().to_string();
            assert!(error.contains("no PID file; remove it"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), other);
        }
    }

    #[test]
    fn signals_become_commands() {
        let (sender, events) = crossbeam_channel::unbounded();
        forward_signals(sender).unwrap();
        let own = rustix::process::getpid();
        for (signal, request, word) in [
            (rustix::process::Signal::USR1, SIGNAL_FLUSH, "flushlogs"),
            (rustix::process::Signal::TERM, SIGNAL_STOP, "stop"),
            (rustix::process::Signal::INT, SIGNAL_STOP, "stop"),
        ] {
            rustix::process::kill_process(own, rustix::process::Signal::HUP).unwrap();
            rustix::process::kill_process(own, signal).unwrap();
            let event = events.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
            let Event::Control { request: got, words } = event else { panic!("{event:?}") };
            assert_eq!((got, words.words), (request, vec![Value::str(word)]));
        }
    }
}
