//! Where log lines go: a file, a standard stream, syslog, the journal.
//!
//! A sink may lose lines, which it counts, and never waits longer than [`STALL`] for a reader.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sekisho_core::command::{CommandError, ErrorClass};
use sekisho_core::effect::{Level, Record};
use sekisho_core::time::{Timestamp, Zone};

use super::format::Format;

/// How long a reader may keep us waiting before lines are dropped.
const STALL: Duration = Duration::from_secs(1);
/// Bytes collected before they are written.
const BATCH: usize = 64 * 1024;
/// What a pipe takes without blocking once it says that it is writable.
const PIECE: usize = 4096;
/// The longest datagram; syslog daemons cut earlier, the journal takes more.
const DATAGRAM: usize = 48 * 1024;
const JOURNAL: &str = "/run/systemd/journal/socket";

/// A parsed `logtarget`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file, opened for appending, created with mode 0600.
    File {
        /// Its path.
        path: PathBuf,
        /// The line format.
        format: Format,
    },
    /// Standard output, with time.
    Stdout(Format),
    /// Standard error, with time.
    Stderr(Format),
    /// The system log.
    Syslog {
        /// Its socket.
        socket: PathBuf,
        /// The facility's number.
        facility: u8,
        /// The line format.
        format: Format,
    },
    /// The journal's own protocol.
    Journal(Format),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::File { path, .. } => write!(f, "{}", path.display()),
            Target::Stdout(_) => f.write_str("standard output"),
            Target::Stderr(_) => f.write_str("standard error"),
            Target::Syslog { socket, .. } => write!(f, "{}", socket.display()),
            Target::Journal(_) => f.write_str(JOURNAL),
        }
    }
}

impl Target {
    /// The same target on another syslog socket, if it is one and this changes anything.
    pub fn with_syslog_socket(&self, setting: &str) -> Option<Target> {
        match self {
            Target::Syslog { socket, facility, format } => {
                let next = syslog_socket(setting);
                (next != *socket).then(|| Target::Syslog {
                    socket: next,
                    facility: *facility,
                    format: format.clone(),
                })
            }
            _ => None,
        }
    }

    fn format(&self) -> Format {
        match self {
            Target::File { format, .. }
            | Target::Stdout(format)
            | Target::Stderr(format)
            | Target::Syslog { format, .. }
            | Target::Journal(format) => format.clone(),
        }
    }
}

fn syslog_socket(setting: &str) -> PathBuf {
    match setting {
        "auto" | "" => PathBuf::from("/dev/log"),
        path => PathBuf::from(path),
    }
}

/// A target as `get logtarget` shows it: without options, special names in capitals.
pub fn shown(text: &str) -> String {
    let name = text.split_once('[').map_or(text, |(name, _)| name).trim();
    special(name).map_or_else(|| name.to_owned(), str::to_owned)
}

fn special(name: &str) -> Option<&'static str> {
    ["STDOUT", "STDERR", "SYSLOG", "SYSOUT", "SYSTEMD-JOURNAL", "INHERITED"]
        .into_iter()
        .find(|s| s.eq_ignore_ascii_case(name))
}

/// Parses a `logtarget` with its options.
pub fn parse(text: &str, syslog: &str) -> Result<Target, CommandError> {
    let bad = |text: &str| CommandError::new(ErrorClass::ValueError, text);
    let text = text.trim();
    let (name, options) = match text.split_once('[') {
        Some((name, rest)) => {
            let inner = rest.strip_suffix(']').ok_or_else(|| bad("unexpected option syntax"))?;
            (name.trim(), options(inner).ok_or_else(|| bad("unexpected option syntax"))?)
        }
        None => (text, Vec::new()),
    };
    if name.is_empty() {
        return Err(bad("unexpected option syntax"));
    }
    let option = |key: &str| options.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    let switch = |key: &str, default: bool| {
        option(key).map_or(default, |v| {
            matches!(v.to_ascii_lowercase().as_str(), "on" | "yes" | "true" | "1")
        })
    };
    let special = special(name);
    let format = |time: bool, padding: bool| match option("format") {
        Some(text) => Format::parse(text).ok_or_else(|| {
            bad("Invalid log format: use fields like %(asctime)s, %(name)-24s, %(message)s")
        }),
        None => Ok(Format::standard(switch("datetime", time), switch("padding", padding))),
    };
    Ok(match special {
        Some("STDOUT") => Target::Stdout(format(true, true)?),
        Some("SYSOUT") => Target::Stdout(format(false, true)?),
        Some("STDERR" | "INHERITED") => Target::Stderr(format(true, true)?),
        Some("SYSLOG") => Target::Syslog {
            socket: syslog_socket(syslog),
            facility: match option("facility") {
                Some(name) => facility(name).ok_or_else(|| {
                    bad("Invalid syslog facility: use one like daemon, auth, local0")
                })?,
                None => 3,
            },
            format: format(false, false)?,
        },
        Some("SYSTEMD-JOURNAL") => Target::Journal(match option("format") {
            Some(_) => format(false, false)?,
            None => Format::message(),
        }),
        _ => Target::File { path: PathBuf::from(name), format: format(true, true)? },
    })
}

fn facility(name: &str) -> Option<u8> {
    const NAMES: [&str; 24] = [
        "kern",
        "user",
        "mail",
        "daemon",
        "auth",
        "syslog",
        "lpr",
        "news",
        "uucp",
        "cron",
        "authpriv",
        "ftp",
        "ntp",
        "security",
        "console",
        "solaris-cron",
        "local0",
        "local1",
        "local2",
        "local3",
        "local4",
        "local5",
        "local6",
        "local7",
    ];
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix("log_").unwrap_or(&name);
    NAMES.iter().position(|n| *n == name).and_then(|i| u8::try_from(i).ok())
}

/// `a=b, c="d, e"`
fn options(text: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (value, tail) = match quote {
            Some(quote) => after.get(1..)?.split_once(quote)?,
            None => after.split_at_checked(after.find(',').unwrap_or(after.len()))?,
        };
        found.push((key.trim().to_owned(), value.trim().to_owned()));
        rest = tail.trim_start();
        if !rest.is_empty() {
            rest = rest.strip_prefix(',')?.trim_start();
        }
    }
    Some(found)
}

/// An open target with what is still to be written.
#[derive(Debug)]
pub struct Sink {
    out: Out,
    format: Format,
    pid: u32,
    buffer: String,
    /// Records in `buffer`.
    records: u64,
    lost: u64,
    /// The last write stopped in the middle of a line.
    torn: bool,
}

#[derive(Debug)]
enum Out {
    /// A standard stream.
    Stream(File),
    /// A file, which may be moved or removed while we write to it.
    File(File, PathBuf),
    Syslog {
        socket: PathBuf,
        facility: u8,
        link: Option<Link>,
    },
    Journal(UnixDatagram),
    Nowhere,
}

#[derive(Debug)]
enum Link {
    Datagram(UnixDatagram),
    Stream(UnixStream),
}

impl Sink {
    /// Opens a target.
    pub fn open(target: &Target) -> io::Result<Sink> {
        let out = match target {
            Target::File { path, .. } => Out::File(open_file(path)?, path.clone()),
            Target::Stdout(_) => Out::Stream(rustix::stdio::stdout().try_clone_to_owned()?.into()),
            Target::Stderr(_) => Out::Stream(rustix::stdio::stderr().try_clone_to_owned()?.into()),
            Target::Syslog { socket, facility, .. } => Out::Syslog {
                socket: socket.clone(),
                facility: *facility,
                link: Some(Link::open(socket)?),
            },
            Target::Journal(_) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(JOURNAL)?;
                socket.set_write_timeout(Some(STALL))?;
                Out::Journal(socket)
            }
        };
        Ok(Sink::new(out, target.format()))
    }

    /// Standard error; nothing at all if even that is closed.
    pub fn standard() -> Sink {
        let format = Format::standard(true, true);
        Sink::open(&Target::Stderr(format.clone()))
            .unwrap_or_else(|_| Sink::new(Out::Nowhere, format))
    }

    fn new(out: Out, format: Format) -> Sink {
        let pid = std::process::id();
        Sink { out, format, pid, buffer: String::new(), records: 0, lost: 0, torn: false }
    }

    /// Becomes `next`, keeping the count of losses.
    pub fn hand_over(&mut self, next: Sink) {
        let lost = self.lost;
        *self = next;
        self.lost += lost;
    }

    /// Adds a record; streams collect, datagrams go at once.
    pub fn add(&mut self, at: Timestamp, zone: &Zone, record: &Record) {
        let before = self.buffer.len();
        if let Out::Syslog { facility, .. } = &self.out {
            self.buffer.push_str(&format!("<{}>", facility * 8 + severity(record.level)));
        }
        self.format.write(&mut self.buffer, at, zone, self.pid, record);
        let result = match &mut self.out {
            Out::Stream(_) | Out::File(..) => {
                self.buffer.push('\n');
                self.records += 1;
                return;
            }
            Out::Syslog { socket, link, .. } => {
                send_syslog(socket, link, cut(self.buffer.get(before..).unwrap_or_default()))
            }
            Out::Journal(socket) => {
                let text = cut(self.buffer.get(before..).unwrap_or_default());
                socket.send(&journal_entry(text, record)).map(|_| ())
            }
            Out::Nowhere => Ok(()),
        };
        self.buffer.truncate(before);
        if result.is_err() {
            self.lost += 1;
        }
    }

    /// Writes to another stream from here on.
    #[cfg(test)]
    pub fn replace_file(&mut self, file: File) {
        self.out = Out::Stream(file);
    }

    /// Whether it is time to write.
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= BATCH
    }

    /// Writes what was collected; what cannot be written is lost.
    pub fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        if let Out::File(file, path) = &mut self.out
            && is_moved(file, path)
            && let Ok(new) = open_file(path)
        {
            *file = new;
            self.torn = false;
        }
        if let Out::Stream(file) | Out::File(file, _) = &mut self.out {
            let torn = if self.torn { "\n" } else { "" };
            let written = write_patiently(file, torn.as_bytes())
                .and_then(|()| write_patiently(file, self.buffer.as_bytes()));
            self.torn = written.is_err();
            if written.is_err() {
                self.lost += self.records;
            }
        }
        self.buffer.clear();
        self.records = 0;
    }

    /// Records lost since the last call.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Writes the report of `dropped` records; if even that fails, they are counted again.
    pub fn flush_report(&mut self, dropped: u64) {
        self.flush();
        if self.lost > 0 {
            self.lost = dropped;
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    // Not a controlling terminal, should it be one; and a pipe that nobody reads is an error, not a
    // wait: the caller is the thread that orders bans.
    let flags = rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::NONBLOCK;
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

/// Whether a log file was rotated away without a word to us, so that nobody would find our lines.
fn is_moved(file: &File, path: &Path) -> bool {
    let Ok(open) = file.metadata() else { return false };
    match std::fs::metadata(path) {
        Ok(named) => (named.dev(), named.ino()) != (open.dev(), open.ino()),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

impl Link {
    fn open(socket: &PathBuf) -> io::Result<Link> {
        let datagram = UnixDatagram::unbound()?;
        datagram.set_write_timeout(Some(STALL))?;
        match datagram.connect(socket) {
            Ok(()) => Ok(Link::Datagram(datagram)),
            // Some syslog daemons listen on a stream.
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::PROTOTYPE.raw_os_error()) => {
                let stream = UnixStream::connect(socket)?;
                stream.set_write_timeout(Some(STALL))?;
                Ok(Link::Stream(stream))
            }
            Err(error) => Err(error),
        }
    }

    fn send(&mut self, text: &str) -> io::Result<()> {
        match self {
            Link::Datagram(socket) => socket.send(text.as_bytes()).map(|_| ()),
            Link::Stream(stream) => {
                stream.write_all(text.as_bytes())?;
                stream.write_all(b"\0")
            }
        }
    }
}

/// Sends one message, through a new connection if the daemon was restarted.
fn send_syslog(socket: &PathBuf, link: &mut Option<Link>, text: &str) -> io::Result<()> {
    if let Some(open) = link
        && open.send(text).is_ok()
    {
        return Ok(());
    }
    *link = None;
    link.insert(Link::open(socket)?).send(text)
}

/// At most [`DATAGRAM`] bytes, at a character's boundary.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(DATAGRAM)).unwrap_or(text)
}

/// One entry of the journal's native protocol.
fn journal_entry(text: &str, record: &Record) -> Vec<u8> {
    let mut out = format!(
        "SYSLOG_IDENTIFIER=fail2ban\nPRIORITY={}\nLOGGER={}\n",
        // For Python's handler what is above INFO is a warning.
        if record.level == Level::Notice { 4 } else { severity(record.level) },
        record.logger
    )
    .into_bytes();
    // With its length in front a value may contain newlines.
    out.extend(b"MESSAGE\n");
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
    out.push(b'\n');
    out
}

/// syslog's severity.
fn severity(level: Level) -> u8 {
    match level {
        Level::Critical => 2,
        Level::Error => 3,
        Level::Warning => 4,
        Level::Notice => 5,
        Level::Info | Level::Msg => 6,
        Level::Debug | Level::Trace | Level::Heavy => 7,
    }
}

/// Writes everything, but gives up on a reader that takes nothing for [`STALL`].
fn write_patiently(file: &mut File, data: &[u8]) -> io::Result<()> {
    let limit = Timespec { tv_sec: STALL.as_secs().cast_signed(), tv_nsec: 0 };
    let mut rest = data;
    while !rest.is_empty() {
        let ready =
            poll(&mut [PollFd::from_borrowed_fd(file.as_fd(), PollFlags::OUT)], Some(&limit));
        match ready {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            // Not ready, only interrupted: writing now could block for ever.
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let piece = rest.get(..PIECE).unwrap_or(rest);
        match file.write(piece) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
