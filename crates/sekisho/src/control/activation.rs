//! The listening socket that a service manager has opened for us (systemd's socket activation).
//!
//! It belongs to the one who opened it: it is never unlinked, and clients that come while no server
//! runs wait in it for the next one.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rustix::io::FdFlags;
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};

/// The name that `FileDescriptorName=` gives the socket; without it the first one is taken.
const NAME: &str = "fail2ban";

/// The socket from `LISTEN_FDS`, if it was meant for this process. Must be asked once, before any
/// file is opened: the descriptors are known by their numbers only.
pub fn inherited() -> io::Result<Option<UnixListener>> {
    let mut given = sd_listen_fds::get().map_err(io::Error::other)?;
    if given.is_empty() {
        return Ok(None);
    }
    let at = given.iter().position(|(name, _)| name.as_deref() == Some(NAME)).unwrap_or(0);
    let socket: OwnedFd = given.swap_remove(at).1.into_std();
    let good = socket_domain(&socket)? == AddressFamily::UNIX
        && socket_type(&socket)? == SocketType::STREAM
        && socket_acceptconn(&socket)?;
    if !good {
        let text = "the socket in LISTEN_FDS is no listening Unix stream socket; \
                    use ListenStream= with a path in the socket unit";
        return Err(io::Error::other(text));
    }
    // Programs that we start must not hold it.
    rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    Ok(Some(UnixListener::from(socket)))
}
