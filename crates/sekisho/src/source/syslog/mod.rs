//! A syslog socket as a log: for a log host, or a container without files.
//!
//! A `logpath` of `syslog:udp:ADDRESS:PORT` or `syslog:unix:/PATH` listens there for datagrams in the
//! formats of RFC 3164 and RFC 5424; each becomes one line, as a file would have it. Nothing listens
//! unless it is configured. Whoever can send to such a socket can have anyone banned, as whoever can
//! write to a log file can: the address has to be one that only trusted senders reach.
//!
//! Must never wait, and never trust a datagram: whatever it holds becomes one line of bounded length.

pub mod message;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use sekisho_core::effect::{Position, SourceState};
use sekisho_core::time::{Monotonic, Span, Timestamp, Zone};

use super::tail::{Out, Step};
use message::{Peer, render};

/// What such a log path begins with.
const SCHEME: &str = "syslog:";
/// The longest datagram; what is behind it is lost.
const DATAGRAM_MAX: usize = 64 << 10;
/// What one step takes at most: bytes, …
const BATCH_MAX: usize = 256 << 10;
/// … and datagrams.
const DATAGRAMS_MAX: usize = 2048;
/// What the kernel is asked to hold while others are read; it may grant less.
const BUFFER: usize = 8 << 20;
/// An address that cannot be listened on is tried again after this time.
const RETRY: Span = Span::from_secs(5);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `syslog:udp:ADDRESS:PORT`
    Udp(SocketAddr),
    /// `syslog:unix:/PATH`
    Unix(PathBuf),
}

impl Address {
    /// Reads a log path; `None` if it is none of a socket.
    pub fn parse(path: &str) -> Option<Result<Address, String>> {
        let rest = path.strip_prefix(SCHEME)?;
        let wrong = || {
            format!(
                "'{path}' is no syslog socket: write syslog:udp:ADDRESS:PORT (an IPv6 address in \
                 brackets) or syslog:unix:/PATH"
            )
        };
        Some(match rest.split_once(':') {
            Some(("udp", address)) => address.parse().map(Address::Udp).map_err(|_| wrong()),
            Some(("unix", path)) if path.starts_with('/') => Ok(Address::Unix(path.into())),
            _ => Err(wrong()),
        })
    }
}

enum Socket {
    Udp(UdpSocket),
    Unix { socket: UnixDatagram, _made: Made },
}

/// The file of a socket, removed at the end if it is still the same.
struct Made {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for Made {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A socket that is listened on.
pub struct Syslog {
    path: PathBuf,
    address: Result<Address, String>,
    socket: Option<Socket>,
    next_try: Monotonic,
    said: Option<String>,
    host: String,
    zone: Zone,
    buffer: Vec<u8>,
}

impl Syslog {
    /// Listens from its first step on.
    pub fn new(path: &Path, address: Result<Address, String>, zone: Zone) -> Self {
        Self {
            path: path.to_path_buf(),
            address,
            socket: None,
            next_try: Monotonic(0),
            said: None,
            host: own_name(),
            zone,
            buffer: vec![0; DATAGRAM_MAX],
        }
    }

    /// The log path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What becomes readable when something arrives.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(match self.socket.as_ref()? {
            Socket::Udp(socket) => socket.as_fd(),
            Socket::Unix { socket, .. } => socket.as_fd(),
        })
    }

    /// When to step though nothing arrives.
    pub fn deadline(&self) -> Option<Monotonic> {
        (self.socket.is_none() && self.address.is_ok()).then_some(self.next_try)
    }

    /// Takes what has arrived, at most one batch.
    pub fn step(&mut self, now: Monotonic, wall: Timestamp) -> Step {
        let mut step = Step::default();
        if self.socket.is_none() {
            if now < self.next_try {
                return step;
            }
            self.next_try = now.plus(RETRY);
            match self.address.clone().and_then(|address| listen(&address)) {
                Ok(socket) => {
                    self.socket = Some(socket);
                    self.said = None;
                    step.out.push(Out::State(SourceState::Open(Position::default())));
                    step.out.push(Out::State(SourceState::CaughtUp));
                }
                Err(text) if self.said.as_ref() != Some(&text) => {
                    self.said = Some(text.clone());
                    step.out.push(Out::State(SourceState::Missing(text)));
                }
                Err(_) => {}
            }
        }
        let mut data = Vec::new();
        for _ in 0..DATAGRAMS_MAX {
            let Some(socket) = &self.socket else { break };
            let received = match socket {
                Socket::Udp(socket) => socket
                    .recv_from(&mut self.buffer)
                    .map(|(length, peer)| (length, Peer::Address(peer.ip()))),
                Socket::Unix { socket, .. } => {
                    socket.recv(&mut self.buffer).map(|length| (length, Peer::Local))
                }
            };
            match received {
                Ok((length, peer)) => {
                    let datagram = self.buffer.get(..length).unwrap_or(&[]);
                    render(datagram, peer, &self.host, wall, &self.zone, &mut data);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // An error of one datagram (an unreachable peer, an interruption).
                Err(_) => {}
            }
            if data.len() >= BATCH_MAX {
                step.more = true;
                break;
            }
        }
        if !data.is_empty() {
            step.out.push(Out::Lines { data, live: true, position: Position::default() });
        }
        step
    }
}

fn listen(address: &Address) -> Result<Socket, String> {
    let socket = match address {
        Address::Udp(address) => UdpSocket::bind(address)
            .and_then(|socket| socket.set_nonblocking(true).map(|()| Socket::Udp(socket)))
            .map_err(|e| {
                format!(
                    "cannot listen on UDP {address}: {e}; look for another program on this port, \
                     and whether the address is this machine's"
                )
            })?,
        Address::Unix(path) => bind(path).map_err(|e| {
            format!(
                "cannot listen on {}: {e}; look for another program there, and for the permissions \
                 of its folder",
                path.display()
            )
        })?,
    };
    let fd = match &socket {
        Socket::Udp(socket) => socket.as_fd(),
        Socket::Unix { socket, .. } => socket.as_fd(),
    };
    // As much as an administrator of the kernel allows; without the privilege, up to its limit.
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(fd, BUFFER).is_err() {
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(fd, BUFFER);
    }
    Ok(socket)
}

/// Makes the file of a socket, in the place of one that nobody listens on any more.
fn bind(path: &Path) -> io::Result<Socket> {
    if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        let probe = UnixDatagram::unbound()?;
        match probe.connect(path) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let socket = UnixDatagram::bind(path)?;
    socket.set_nonblocking(true)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    let meta = std::fs::symlink_metadata(path)?;
    let _made = Made { path: path.to_path_buf(), inode: (meta.dev(), meta.ino()) };
    Ok(Socket::Unix { socket, _made })
}

/// This machine's name up to its first dot, as local loggers write it.
fn own_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    match name.split('.').next() {
        Some(short) if !short.is_empty() => short.to_owned(),
        _ => "localhost".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let udp = |text: &str| Some(Ok(Address::Udp(text.parse().unwrap())));
        assert_eq!(Address::parse("syslog:udp:127.0.0.1:514"), udp("127.0.0.1:514"));
        assert_eq!(Address::parse("syslog:udp:[::1]:5514"), udp("[::1]:5514"));
        let unix = Some(Ok(Address::Unix("/run/x.sock".into())));
        assert_eq!(Address::parse("syslog:unix:/run/x.sock"), unix);
        assert_eq!(Address::parse("/var/log/syslog:udp:x"), None);
        for wrong in ["syslog:", "syslog:udp:514", "syslog:unix:run", "syslog:tcp:127.0.0.1:514"] {
            assert!(matches!(Address::parse(wrong), Some(Err(_))), "{wrong}");
        }
    }

    fn lines(syslog: &mut Syslog) -> Vec<String> {
        let step = syslog.step(Monotonic(1), Timestamp::from_secs(1_795_608_000));
        let data = step.out.into_iter().filter_map(|out| match out {
            Out::Lines { data, live: true, .. } => Some(String::from_utf8(data).unwrap()),
            _ => None,
        });
        data.collect::<String>().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_socket_of_the_file_system() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let named = format!("syslog:unix:{}", path.display());
        let make = || {
            let address = Address::parse(&named).unwrap();
            Syslog::new(Path::new(&named), address, Zone::utc())
        };
        let mut first = make();
        assert_eq!(lines(&mut first), [] as [&str; 0]);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(b"<38>Nov 25 12:00:00 sshd[7]: one\0", &path).unwrap();
        sender.send_to(b"<38>Nov 25 12:00:00 sshd[7]: two\nlines\n", &path).unwrap();
        let host = own_name();
        assert_eq!(
            lines(&mut first),
            [
                format!("Nov 25 12:00:00 {host} sshd[7]: one"),
                format!("Nov 25 12:00:00 {host} sshd[7]: two#012lines"),
            ]
        );
        // Another listener is not pushed aside; a dead one's file is replaced.
        let mut second = make();
        let step = second.step(Monotonic(1), Timestamp(0));
        assert!(matches!(&step.out[..], [Out::State(SourceState::Missing(_))]), "{:?}", step.out);
        assert!(second.deadline().is_some());
        drop(first);
        assert!(!path.exists());
        drop(UnixDatagram::bind(&path).unwrap());
        let mut third = make();
        lines(&mut third);
        sender.send_to(b"x", &path).unwrap();
        assert_eq!(lines(&mut third), [format!("2026-11-25 12:00:00 {host} x")]);
    }
}
