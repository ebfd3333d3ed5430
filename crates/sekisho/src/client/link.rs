//! The client's end of the control socket.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sekisho_core::value::Value;

use crate::control::pickle::{self, PickleError, Reply};
use crate::control::socket::{CLOSE, FrameError, Frames, send};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// There is no socket.
    #[error("Failed to access socket path: {}. Is fail2ban running?", .0.display())]
    NoSocket(PathBuf),
    /// It belongs to somebody else.
    #[error("Permission denied to socket: {}, (you must be root)", .0.display())]
    Denied(PathBuf),
    /// Nobody listens on it.
    #[error("{}", python_text(.0))]
    Unreachable(io::Error),
    /// No answer within the time allowed.
    #[error("timed out")]
    TimedOut,
    /// The server went away before it answered.
    #[error("The server closed the connection without an answer. Is it still running?")]
    Closed,
    /// The answer cannot be read.
    #[error("The server's answer cannot be read: {0}")]
    Unreadable(#[from] PickleError),
}

/// A connection.
#[derive(Debug)]
pub struct Link {
    stream: UnixStream,
    frames: Frames,
}

impl Link {
    /// Connects; `limit` holds for every answer.
    pub fn open(path: &Path, limit: Option<Duration>) -> Result<Link, LinkError> {
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => LinkError::NoSocket(path.to_owned()),
            io::ErrorKind::PermissionDenied => LinkError::Denied(path.to_owned()),
            _ => LinkError::Unreachable(error),
        })?;
        let limit = limit.filter(|l| !l.is_zero());
        let set = stream.set_read_timeout(limit).and_then(|()| stream.set_write_timeout(limit));
        set.map_err(LinkError::Unreachable)?;
        Ok(Link { stream, frames: Frames::default() })
    }

    /// Sends a command and waits for its answer.
    pub fn ask(&mut self, command: &Value) -> Result<Reply, LinkError> {
        let sent = send(&mut self.stream, &pickle::encode(command));
        if let Err(error) = sent {
            return Err(match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => LinkError::TimedOut,
                _ => LinkError::Closed,
            });
        }
        match self.frames.next(&mut self.stream) {
            Ok(Some(frame)) => Ok(pickle::decode_reply(&frame)?),
            Ok(None) => Err(LinkError::Closed),
            Err(FrameError::Io) => Err(LinkError::Closed),
            Err(FrameError::TimedOut) => Err(LinkError::TimedOut),
            Err(FrameError::TooLarge) => {
                Err(LinkError::Unreadable(PickleError::TooLarge("16 MiB")))
            }
        }
    }
}

impl Link {
    /// Hands out what the server sends from here on, piece by piece, until one of both ends.
    pub fn stream(mut self, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        each(&self.frames.take_rest())?;
        let mut chunk = [0; 65536];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(n) => each(chunk.get(..n).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = send(&mut self.stream, CLOSE);
    }
}

/// `[Errno 111] Connection refused`
pub fn python_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    match error.raw_os_error() {
        Some(number) => format!("[Errno {number}] {text}"),
        None => text.to_owned(),
    }
}
