//! Where sekisho keeps its own things when it runs without root: the user's XDG folders.
//!
//! Server and client must agree, so both ask here. As root, fail2ban's paths are used instead.

use std::path::PathBuf;

/// Whether we have root's rights.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The control socket of a user's own `sekisho run`.
pub fn user_socket() -> Option<PathBuf> {
    let folder = folder("XDG_RUNTIME_DIR").or_else(user_state)?;
    Some(folder.join("sekisho").join("sekisho.sock"))
}

/// The PID file beside it.
pub fn user_pidfile() -> Option<PathBuf> {
    user_socket().map(|socket| socket.with_extension("pid"))
}

/// The database of a user's own `sekisho run`.
pub fn user_database() -> Option<PathBuf> {
    Some(user_state()?.join("sekisho").join("sekisho.sqlite3"))
}

fn user_state() -> Option<PathBuf> {
    folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local").join("state")))
}

/// An absolute folder from the environment; the XDG rules forbid relative ones.
fn folder(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}
