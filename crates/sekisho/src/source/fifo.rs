//! A named pipe as a log: other programs write lines into it, and nothing lies on a disk.
//!
//! Opened without waiting for a writer, and again whenever the last writer has gone, so writers come
//! and go as they like and are never kept waiting in `open`. Lines count as just written. What a
//! writer left unfinished is taken as a line after two seconds. Writers wait while the pipe is full:
//! lines are read no faster than they are judged. Must never wait itself, and never hold more than
//! one line and one batch.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use sekisho_core::effect::{Position, SourceState};
use sekisho_core::time::{Monotonic, Span};

use super::encoding::{Encoding, Layout};
use super::reader::{BATCH_MAX, CUT_KEEP, Inode, LINE_MAX};
use super::tail::{Out, Step};

/// An unfinished line is delivered after this time without change.
const REST_AFTER: Span = Span::from_secs(2);

/// Whether a path leads to a named pipe.
pub fn is_fifo(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo())
}

/// One pipe.
#[derive(Debug)]
pub struct Fifo {
    path: PathBuf,
    layout: Layout,
    file: File,
    inode: Inode,
    /// The start of a line that is not finished.
    rest: Vec<u8>,
    rest_since: Monotonic,
    /// The rest of a line that is too long is passed over.
    passing: bool,
    opened: bool,
    over: bool,
    cut_said: bool,
}

fn open(path: &Path) -> io::Result<(File, Inode)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let meta = file.metadata()?;
    if !meta.file_type().is_fifo() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok((file, Inode { dev: meta.dev(), ino: meta.ino() }))
}

impl Fifo {
    /// Opens a pipe.
    pub fn new(path: &Path, encoding: Encoding) -> io::Result<Self> {
        let (file, inode) = open(path)?;
        let (layout, _) = Layout::of(encoding, &[]);
        Ok(Self {
            path: path.to_path_buf(),
            layout,
            file,
            inode,
            rest: Vec::new(),
            rest_since: Monotonic(0),
            passing: false,
            opened: false,
            over: false,
            cut_said: false,
        })
    }

    /// The log path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What becomes readable when something is written; nothing can be any more where the path leads
    /// elsewhere and the last writer has gone.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.over).then(|| self.file.as_fd())
    }

    /// When to step though nothing is written.
    pub fn deadline(&self) -> Option<Monotonic> {
        (!self.rest.is_empty()).then(|| self.rest_since.plus(REST_AFTER))
    }

    /// Whether the path still leads to this pipe.
    pub fn is_in_place(&self) -> bool {
        std::fs::metadata(&self.path)
            .is_ok_and(|meta| Inode { dev: meta.dev(), ino: meta.ino() } == self.inode)
    }

    /// Takes what has been written, at most one batch.
    pub fn step(&mut self, now: Monotonic) -> Step {
        let mut step = Step::default();
        if !std::mem::replace(&mut self.opened, true) {
            step.out.push(Out::State(SourceState::Open(Position::default())));
            step.out.push(Out::State(SourceState::CaughtUp));
        }
        let before = self.rest.len();
        let mut buf = vec![0; BATCH_MAX];
        match self.file.read(&mut buf) {
            // The last writer has gone. Opened anew before the old end is closed, so that no writer
            // finds the pipe without a reader; a fresh end says nothing until one comes.
            Ok(0) => match open(&self.path) {
                Ok((file, inode)) if inode == self.inode => self.file = file,
                _ => self.over = true,
            },
            Ok(n) => {
                step.more = true;
                self.rest.extend_from_slice(buf.get(..n).unwrap_or(&[]));
                self.lines(&mut step);
            }
            // Nothing there, or an interruption: there will be a next time.
            Err(_) => {}
        }
        if self.rest.len() != before {
            self.rest_since = now;
        } else if !self.rest.is_empty() && now.since(self.rest_since) >= REST_AFTER {
            let rest = std::mem::take(&mut self.rest);
            self.deliver(&rest, &mut step);
        }
        step
    }

    fn lines(&mut self, step: &mut Step) {
        if self.passing {
            let Some(end) = self.layout.first_line_end(&self.rest) else {
                let odd = self.rest.len() % self.layout.unit();
                self.rest.drain(..self.rest.len() - odd);
                return;
            };
            self.rest.drain(..end);
            self.passing = false;
        }
        if let Some(end) = self.layout.last_line_end(&self.rest) {
            let rest = self.rest.split_off(end);
            let lines = std::mem::replace(&mut self.rest, rest);
            self.deliver(&lines, step);
        }
        if self.rest.len() as u64 > LINE_MAX {
            self.rest.truncate(CUT_KEEP);
            let line = std::mem::take(&mut self.rest);
            self.deliver(&line, step);
            self.passing = true;
            if !std::mem::replace(&mut self.cut_said, true) {
                let text = format!(
                    "a line longer than {LINE_MAX} bytes was cut to {CUT_KEEP}; look what writes it"
                );
                step.out.push(Out::State(SourceState::Trouble(text)));
            }
        }
    }

    fn deliver(&self, raw: &[u8], step: &mut Step) {
        let mut data = Vec::with_capacity(raw.len() + 1);
        self.layout.decode(raw, &mut data);
        step.out.push(Out::Lines { data, live: true, position: Position::default() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;

    fn pipe(dir: &Path) -> PathBuf {
        let path = dir.join("pipe");
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        path
    }

    fn read(fifo: &mut Fifo, now: i64) -> String {
        let mut text = String::new();
        for _ in 0..10_000 {
            let step = fifo.step(Monotonic(now as u64 * 1_000_000));
            for out in step.out {
                match out {
                    Out::Lines { data, live, .. } => {
                        assert!(live && data.ends_with(b"\n"));
                        text += &String::from_utf8(data).unwrap();
                    }
                    Out::State(SourceState::Trouble(_)) => text += "[trouble]",
                    Out::State(_) => {}
                }
            }
            if !step.more {
                return text;
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn writers_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = pipe(dir.path());
        let mut fifo = Fifo::new(&path, Encoding::Bytes).unwrap();
        assert_eq!(read(&mut fifo, 1), "");
        let writer = || OpenOptions::new().write(true).open(&path).unwrap();
        for round in 0..3 {
            let (mut one, mut two) = (writer(), writer());
            one.write_all(b"one\nhal").unwrap();
            assert_eq!(read(&mut fifo, 1), "one\n", "{round}");
            one.write_all(b"f\n").unwrap();
            drop(one);
            two.write_all(b"two\n").unwrap();
            assert_eq!(read(&mut fifo, 1), "half\ntwo\n");
            drop(two);
            assert_eq!(read(&mut fifo, 1), "");
            // Nothing to be told of, until the next writer.
            let quiet = rustix::event::poll(
                &mut [rustix::event::PollFd::new(
                    &fifo.fd().unwrap(),
                    rustix::event::PollFlags::IN,
                )],
                Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }),
            );
            assert_eq!(quiet, Ok(0));
        }
        // What is left unfinished.
        writer().write_all(b"rest").unwrap();
        assert_eq!(read(&mut fifo, 1), "");
        assert!(fifo.deadline().is_some());
        assert_eq!(read(&mut fifo, 4), "rest\n");
        assert_eq!(fifo.deadline(), None);
        assert!(fifo.is_in_place());
        let mut last = writer();
        std::fs::remove_file(&path).unwrap();
        last.write_all(b"last\n").unwrap();
        drop(last);
        assert_eq!(read(&mut fifo, 4), "last\n");
        assert!(!fifo.is_in_place() && fifo.fd().is_none());
    }

    #[test]
    fn long_lines_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = pipe(dir.path());
        let mut fifo = Fifo::new(&path, Encoding::Bytes).unwrap();
        read(&mut fifo, 1);
        let text = format!("a\n{}\nb\n", "x".repeat(3 << 20));
        let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
        let write = std::thread::spawn(move || writer.write_all(text.as_bytes()).unwrap());
        let mut got = String::new();
        while !got.ends_with("b\n") {
            got += &read(&mut fifo, 1);
            std::thread::yield_now();
        }
        write.join().unwrap();
        assert_eq!(got, format!("a\n{}\n[trouble]b\n", "x".repeat(CUT_KEEP)));
    }
}
