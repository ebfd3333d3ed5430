//! What a log path leads to: a file, a named pipe, a socket; all are followed in the same way.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use sekisho_core::effect::StartAt;
use sekisho_core::time::{Monotonic, Timestamp};

use super::encoding::Encoding;
use super::fifo::{self, Fifo};
use super::place::remote_kind;
use super::reader::Reader;
use super::search::Dates;
use super::syslog::Syslog;
use super::tail::{Step, Tail};
use super::watch::Want;

/// One log.
pub enum Input {
    /// A regular file, or nothing yet.
    File(Box<Tail>),
    /// A named pipe.
    Pipe(Box<Fifo>),
    /// A syslog socket.
    Socket(Box<Syslog>),
}

impl Input {
    /// What is at `path` now.
    pub fn open(path: PathBuf, encoding: Encoding, start: StartAt, dates: Option<Dates>) -> Self {
        if fifo::is_fifo(&path)
            && let Ok(pipe) = Fifo::new(&path, encoding)
        {
            return Self::Pipe(Box::new(pipe));
        }
        let tail = Tail::new(path, encoding, start);
        Self::File(Box::new(match dates {
            Some(dates) => tail.by_date(dates),
            None => tail,
        }))
    }

    /// Reads on where nothing but a write was reported; `None` where there is more to look at.
    pub fn step_grown(&mut self, now: Monotonic) -> Option<Step> {
        match self {
            Self::File(tail) => tail.step_grown(now),
            Self::Pipe(_) | Self::Socket(_) => None,
        }
    }

    /// Reads at most one batch.
    pub fn step(&mut self, now: Monotonic, wall: Timestamp) -> Step {
        match self {
            Self::File(tail) => tail.step(now),
            Self::Pipe(pipe) => pipe.step(now),
            Self::Socket(socket) => socket.step(now, wall),
        }
    }

    /// The path followed.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(tail) => tail.path(),
            Self::Pipe(pipe) => pipe.path(),
            Self::Socket(socket) => socket.path(),
        }
    }

    /// When the next step is due though nothing happens.
    pub fn deadline(&self) -> Option<Monotonic> {
        match self {
            Self::File(tail) => tail.deadline(),
            Self::Pipe(pipe) => pipe.deadline(),
            Self::Socket(socket) => socket.deadline(),
        }
    }

    /// What becomes readable when there is something new; files are watched instead.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::File(_) => None,
            Self::Pipe(pipe) => pipe.fd(),
            Self::Socket(socket) => socket.fd(),
        }
    }

    /// Whether its end has been reached once.
    pub fn is_live(&self) -> bool {
        match self {
            Self::File(tail) => tail.is_live(),
            Self::Pipe(_) => true,
            Self::Socket(socket) => socket.fd().is_some(),
        }
    }

    /// Whether the path leads nowhere.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::File(tail) if tail.is_missing())
    }

    /// Whether the path leads to something of another kind, or to another pipe.
    pub fn is_misplaced(&self) -> bool {
        match self {
            Self::File(tail) => tail.is_missing() && fifo::is_fifo(tail.path()),
            Self::Pipe(pipe) => !pipe.is_in_place(),
            Self::Socket(_) => false,
        }
    }

    /// Changes whenever what has to be watched does.
    pub fn generation(&self) -> u64 {
        match self {
            Self::File(tail) => tail.generation(),
            Self::Pipe(_) | Self::Socket(_) => 0,
        }
    }

    /// The open files.
    pub fn readers(&self) -> impl Iterator<Item = &Reader> {
        let tail = match self {
            Self::File(tail) => Some(tail),
            Self::Pipe(_) | Self::Socket(_) => None,
        };
        tail.into_iter().flat_map(|tail| tail.readers())
    }

    /// Bytes to the end; `None` while that is not known.
    pub fn remaining(&self) -> Option<u64> {
        match self {
            Self::File(tail) => tail.remaining(),
            Self::Pipe(_) | Self::Socket(_) => Some(0),
        }
    }

    /// The kind of file system it is on, if that reports no changes.
    pub fn note_remote(&mut self) -> Option<&'static str> {
        let kind = self.readers().last().and_then(|r| remote_kind(r.file()));
        if let Self::File(tail) = self {
            tail.set_remote(kind.is_some());
        }
        kind
    }

    /// The open files, to be watched.
    pub fn wants(&self) -> Vec<Want<'_>> {
        self.readers().map(|r| Want::File(r.file(), self.path())).collect()
    }
}
