//! One open log file, read forward in batches of complete lines.
//!
//! A reader belongs to an inode, not to a path: it keeps reading a file that was renamed or deleted.
//! It keeps no data between calls, only how far it has read, so an unfinished line costs no memory.
//! What it remembers of the content (its first bytes, the bytes before its offset) tells a file that
//! was rewritten in place from one that grew. Must never wait: only regular files are opened, and
//! each call reads a bounded number of bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags, SeekFrom};
use sekisho_core::effect::Position;
use sekisho_core::time::Timestamp;
use sha1::{Digest, Sha1};

use super::encoding::{Encoding, Layout};
use super::search::{Look, Seen};

/// The bytes of a file that one batch holds at most (transcoding may lengthen them by half).
pub const BATCH_MAX: usize = 256 * 1024;
/// Longer lines are cut to [`CUT_KEEP`] bytes; the engine matches fewer anyway.
pub const LINE_MAX: u64 = 1024 * 1024;
/// What is kept of a line that is too long.
pub const CUT_KEEP: usize = 64 * 1024;

/// What a file is expected to have grown by since it was looked at last; if it is more, the rest is
/// read like a backlog.
const GROWN_MAX: usize = 4096;
const HEAD_MAX: usize = 256;
const GUARD_MAX: usize = 64;
/// A run of zeros this long at the start of a line is a hole, left by a writer that does not append
/// (after a truncation) or by a crash; it is no part of the line.
const HOLE_MIN: usize = 4096;
/// Content that agrees in its head, its guard and at least this many bytes is the same content.
const SAME_MIN: u64 = 1024;

/// What tells two files apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inode {
    /// The device.
    pub dev: u64,
    /// The inode number on it.
    pub ino: u64,
}

/// What one read found.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// Complete lines in UTF-8 (as far as the file is).
    Lines {
        /// The lines.
        data: Vec<u8>,
        /// Bytes that could not be decoded were replaced.
        undecodable: bool,
        /// One line was too long and was cut.
        cut: bool,
        /// There is more to read.
        more: bool,
    },
    /// Nothing complete yet, but there is more to read.
    More,
    /// The end; what follows the offset is an unfinished line, if anything.
    End,
}

/// One open file and how far it has been read.
#[derive(Debug)]
pub struct Reader {
    file: File,
    inode: Inode,
    encoding: Encoding,
    layout: Layout,
    /// Start of the first line not yet delivered.
    offset: u64,
    /// Bytes behind `offset` that are known to hold no line feed.
    scanned: u64,
    /// The first bytes of the file, as many as there were.
    head: Vec<u8>,
    /// The last bytes before `offset`.
    guard: Vec<u8>,
    /// SHA-1 of the first line once that is complete, else empty.
    hash: String,
    in_hole: bool,
}

/// Why a path cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not there, or a link to nothing.
    #[error("it does not exist")]
    Missing,
    /// A directory, a pipe, a device.
    #[error("it is not a regular file; name the log file itself")]
    NotAFile,
    /// No permission, I/O error, …
    #[error("{0}; check the permissions of the file and of its directories")]
    Io(#[from] io::Error),
}

impl OpenError {
    /// Sorts an error of the system.
    pub fn from_io(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing,
            _ => Self::Io(e),
        }
    }
}

/// What a path leads to now.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Which file.
    pub inode: Inode,
    /// Its size.
    pub size: u64,
}

/// Looks at a path (through links) without opening it.
pub fn look(path: &Path) -> Result<Found, OpenError> {
    let meta = std::fs::metadata(path).map_err(OpenError::from_io)?;
    if !meta.is_file() {
        return Err(OpenError::NotAFile);
    }
    Ok(Found { inode: Inode { dev: meta.dev(), ino: meta.ino() }, size: meta.len() })
}

impl Reader {
    /// Opens a regular file at its start; never waits for a pipe's other end.
    pub fn open(path: &Path, encoding: Encoding) -> Result<Self, OpenError> {
        // Looked at first: opening a device can have effects of its own.
        look(path)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let open = |flags| rustix::fs::open(path, flags, Mode::empty());
        // Each read after a write would be a change of the inode; who may not ask for this without
        // owning the file does without.
        let fd = open(flags | OFlags::NOATIME).or_else(|_| open(flags));
        let fd = fd.map_err(|e| OpenError::from_io(e.into()))?;
        let file = File::from(fd);
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(OpenError::NotAFile);
        }
        let inode = Inode { dev: meta.dev(), ino: meta.ino() };
        let (layout, _) = Layout::of(encoding, &[]);
        let mut reader = Self {
            file,
            inode,
            encoding,
            layout,
            offset: 0,
            scanned: 0,
            head: Vec::new(),
            guard: Vec::new(),
            hash: String::new(),
            in_hole: false,
        };
        reader.extend_head();
        Ok(reader)
    }

    /// Which file this is.
    pub fn inode(&self) -> Inode {
        self.inode
    }
    /// The open file, for watching it.
    pub fn file(&self) -> &File {
        &self.file
    }
    /// Start of the first line not yet delivered.
    pub fn offset(&self) -> u64 {
        self.offset
    }
    /// Size, link count and modification time.
    pub fn stat(&self) -> io::Result<(u64, u64, Timestamp)> {
        let meta = self.file.metadata()?;
        let at = Timestamp::from_secs(meta.mtime()).plus(sekisho_core::time::Span(
            // Nanoseconds within a second always fit.
            meta.mtime_nsec() / 1000,
        ));
        Ok((meta.len(), meta.nlink(), at))
    }

    /// How far this file has been read, as the database keeps it.
    pub fn position(&mut self) -> Position {
        Position {
            first_line: self.first_line_hash().to_owned(),
            offset: self.offset as f64,
            cursor: Some(format!(
                "{:x}:{:x}:{}",
                self.inode.dev,
                self.inode.ino,
                mark(&self.guard)
            )),
        }
    }

    /// Goes on where reading ended, if this is the file that was read: what was before that place is
    /// the same, and so is its first line, or, while it had no complete line, its inode.
    pub fn resume_at(&mut self, saved: &Position) -> bool {
        let cursor = saved.cursor.as_deref().map_or(Cursor::default(), Cursor::parse);
        let known = if saved.first_line.is_empty() {
            cursor.inode == Some(self.inode)
        } else {
            self.first_line_hash() == saved.first_line
        };
        if !known || !self.resume(saved.offset) {
            return false;
        }
        // Logs that all begin with the same header are told apart by what was read last, and so are
        // a deleted file and the next one that was given its inode.
        let same = cursor.mark.is_none_or(|known| mark(&self.guard) == known);
        if !same {
            self.seek(0);
        }
        same
    }

    /// SHA-1 of the first line with its line feed, in hex; empty while there is no complete line.
    /// Lines end at the byte 0x0A here, whatever the encoding, as in fail2ban.
    pub fn first_line_hash(&mut self) -> &str {
        if self.hash.is_empty() {
            let mut sha = Sha1::new();
            let mut at = 0;
            let mut buf = vec![0; 8 * 1024];
            while let Ok(n) = read_at(&self.file, &mut buf, at)
                && let Some(got) = buf.get(..n)
                && n > 0
            {
                at += n as u64;
                let end = memchr::memchr(b'\n', got).map(|i| i + 1);
                sha.update(got.get(..end.unwrap_or(n)).unwrap_or(got));
                if end.is_some() || at >= LINE_MAX {
                    self.hash = hex(&sha.finalize());
                    break;
                }
            }
        }
        &self.hash
    }

    /// Goes on at a saved offset; `false` if the file is shorter than that.
    pub fn resume(&mut self, offset: f64) -> bool {
        let Ok((size, ..)) = self.stat() else { return false };
        if !(offset >= 0.0 && offset <= size as f64) {
            return false;
        }
        self.seek(offset as u64);
        true
    }

    fn seek(&mut self, offset: u64) {
        self.offset = offset;
        self.scanned = 0;
        self.in_hole = false;
        let from = offset.saturating_sub(GUARD_MAX as u64);
        let mut guard = vec![0; (offset - from) as usize];
        let n = read_at(&self.file, &mut guard, from).unwrap_or(0);
        // A shorter guard than asked for says nothing about the bytes before the offset.
        guard.truncate(if n == guard.len() { n } else { 0 });
        self.guard = guard;
    }

    /// Skips everything but an unfinished last line.
    pub fn skip_to_end(&mut self) -> io::Result<()> {
        let (size, ..) = self.stat()?;
        let unit = self.layout.unit() as u64;
        let mut end = size - size % unit;
        let lowest = end.saturating_sub(LINE_MAX);
        let mut buf = vec![0; 64 * 1024];
        // From the end backwards, block by block, until a line feed.
        while end > lowest {
            let from = end.saturating_sub(buf.len() as u64).max(lowest);
            let want = (end - from) as usize;
            let Some(block) = buf.get_mut(..want) else { break };
            let n = read_at(&self.file, block, from)?;
            let block = block.get(..n).unwrap_or(&[]);
            if let Some(i) = self.layout.last_line_end(block) {
                self.seek(from + i as u64);
                return Ok(());
            }
            end = from;
        }
        // No line feed: the only line is unfinished, or endless.
        self.seek(if end == 0 { 0 } else { size - size % unit });
        Ok(())
    }

    /// Goes on at the start of a line.
    pub fn begin_at(&mut self, offset: u64) {
        if offset != self.offset {
            self.seek(offset);
        }
    }

    /// Looks at lines elsewhere in the file, without moving. At most [`LINE_MAX`] bytes are read.
    pub fn look_at(&self, look: Look) -> io::Result<Seen> {
        let unit = self.layout.unit();
        let (_, mark) = Layout::of(self.encoding, &self.head);
        let begins = look.at <= self.offset.max(mark);
        let at = if begins { self.offset.max(mark) } else { look.at - look.at % unit as u64 };
        // What is before may be the line feed that a line begins behind.
        let from = if begins { at } else { at.saturating_sub(unit as u64) };
        let left = look.end.saturating_sub(from).min(LINE_MAX) as usize;
        let mut raw = vec![0; left.min(look.length + unit)];
        let n = read_at(&self.file, &mut raw, from)?;
        raw.truncate(n);
        let mut seen = Seen::default();
        let zeros = raw.iter().skip(unit).take_while(|b| **b == 0).count() + unit;
        if zeros >= HOLE_MIN || (zeros >= raw.len() && !raw.is_empty()) {
            let data = rustix::fs::seek(&self.file, SeekFrom::Data(from + unit as u64));
            // No more data, or a file system that does not know: what was read is all we know.
            seen.hole_to = Some(data.unwrap_or(look.end).max(from + zeros as u64));
            return Ok(seen);
        }
        let mut rest = raw.as_slice();
        let mut at = from;
        let mut whole = begins;
        while let Some(end) = self.layout.first_line_end(rest) {
            let (line, tail) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            if whole && at < look.end {
                let mut text = Vec::new();
                self.layout.decode(line, &mut text);
                let text = String::from_utf8_lossy(&text);
                seen.lines.push((at, text.trim_end_matches(['\n', '\r']).to_owned()));
            }
            whole = true;
            at += end as u64;
            rest = tail;
        }
        Ok(seen)
    }

    /// Begins again at the start of a file whose content was replaced.
    pub fn restart(&mut self) {
        self.offset = 0;
        self.scanned = 0;
        self.in_hole = false;
        self.guard.clear();
        self.head.clear();
        self.hash.clear();
        self.extend_head();
    }

    /// Whether what was read before is still there, and the file has only grown.
    pub fn unchanged(&mut self) -> bool {
        match self.stat() {
            Ok((size, ..)) if size < self.offset + self.scanned => return false,
            Ok(_) => {}
            // The next read reports the error.
            Err(_) => return true,
        }
        if !self.extend_head() {
            return false;
        }
        self.holds(self.offset, &self.guard)
    }

    /// Whether `other` has the content this reader has read so far: a copy of this file, or this
    /// file under a new inode.
    pub fn is_prefix_of(&self, other: &Reader) -> bool {
        self.offset > 0
            && other.stat().is_ok_and(|(size, ..)| size >= self.offset)
            && other.head.starts_with(&self.head)
            && other.holds(self.offset, &self.guard)
    }

    /// The same, and so much of it that it cannot be by chance.
    pub fn is_long_prefix_of(&self, other: &Reader) -> bool {
        self.offset >= SAME_MIN && self.is_prefix_of(other)
    }

    fn holds(&self, end: u64, bytes: &[u8]) -> bool {
        let mut buf = [0; GUARD_MAX];
        let Some(buf) = buf.get_mut(..bytes.len()) else { return false };
        let from = end.saturating_sub(bytes.len() as u64);
        matches!(read_at(&self.file, buf, from), Ok(n) if n == bytes.len() && buf == bytes)
    }

    /// Learns more of the first bytes; `false` if those known have changed.
    fn extend_head(&mut self) -> bool {
        let mut buf = [0; HEAD_MAX];
        let Ok(n) = read_at(&self.file, &mut buf, 0) else { return true };
        let now = buf.get(..n).unwrap_or(&[]);
        if !now.starts_with(&self.head) {
            return false;
        }
        if now.len() > self.head.len() {
            self.head = now.to_vec();
            self.hash.clear();
            let (layout, _) = Layout::of(self.encoding, &self.head);
            self.layout = layout;
        }
        true
    }

    /// Reads on. Each call reads at most two batches' worth of bytes.
    pub fn read(&mut self) -> io::Result<Read> {
        if self.offset == 0 && self.scanned == 0 {
            if Layout::is_undecided(self.encoding, &self.head) {
                self.extend_head();
                if Layout::is_undecided(self.encoding, &self.head) {
                    return Ok(Read::End);
                }
            }
            let (layout, mark) = Layout::of(self.encoding, &self.head);
            self.layout = layout;
            self.offset = mark;
        }
        let (size, ..) = self.stat()?;
        // Asked for by size: most reads are a line or two, and the batch keeps its buffer.
        let left = size.saturating_sub(self.offset + self.scanned).min(BATCH_MAX as u64) as usize;
        if left == 0 {
            return Ok(Read::End);
        }
        let open_end = if left == BATCH_MAX { Read::More } else { Read::End };
        if self.scanned > 0 {
            let mut buf = vec![0; left];
            let n = read_at(&self.file, &mut buf, self.offset + self.scanned)?;
            let got = buf.get(..n).unwrap_or(&[]);
            let Some(end) = self.layout.first_line_end(got) else {
                self.scanned += (n - n % self.layout.unit()) as u64;
                return Ok(open_end);
            };
            let length = self.scanned + end as u64;
            if length > LINE_MAX {
                return self.take(length, CUT_KEEP, true, true);
            }
            if length > BATCH_MAX as u64 {
                return self.take(length, length as usize, false, true);
            }
            self.scanned = 0;
        }
        let left = size.saturating_sub(self.offset).min(BATCH_MAX as u64) as usize;
        let mut buf = vec![0; left];
        let n = read_at(&self.file, &mut buf, self.offset)?;
        buf.truncate(n);
        if self.skip_hole(&buf) {
            return Ok(Read::More);
        }
        let Some(end) = self.layout.last_line_end(&buf) else {
            self.scanned = (n - n % self.layout.unit()) as u64;
            return Ok(open_end);
        };
        buf.truncate(end);
        // What is behind the last line feed was looked at: it is the start of a line.
        Ok(self.deliver(buf, end as u64, false, left == BATCH_MAX))
    }

    /// Reads on in a file of which all that is known is that it was written to: one call to the
    /// system, which brings what was read last along with what is new. `None` where the file did
    /// anything but grow by whole lines; nothing has changed then.
    pub fn read_grown(&mut self) -> io::Result<Option<Read>> {
        if self.guard.is_empty() || self.scanned > 0 || self.in_hole {
            return Ok(None);
        }
        let mut buf = [0; GROWN_MAX];
        let from = self.offset.saturating_sub(self.guard.len() as u64);
        let n = self.file.read_at(&mut buf, from)?;
        let got = buf.get(..n).unwrap_or(&[]);
        let Some(new) = got.strip_prefix(self.guard.as_slice()) else { return Ok(None) };
        if new.first() == Some(&0) {
            return Ok(None);
        }
        let Some(end) = self.layout.last_line_end(new) else { return Ok(None) };
        let lines = new.get(..end).unwrap_or(new).to_vec();
        Ok(Some(self.deliver(lines, end as u64, false, n == GROWN_MAX)))
    }

    /// Delivers one long line of `length` bytes, or its first `keep`.
    fn take(&mut self, length: u64, keep: usize, cut: bool, more: bool) -> io::Result<Read> {
        let mut raw = vec![0; keep];
        let n = read_at(&self.file, &mut raw, self.offset)?;
        raw.truncate(n);
        Ok(self.deliver(raw, length, cut, more))
    }

    fn deliver(&mut self, raw: Vec<u8>, length: u64, cut: bool, more: bool) -> Read {
        self.offset += length;
        self.scanned = 0;
        self.in_hole = false;
        if cut || raw.len() as u64 != length {
            self.guard.clear();
        } else {
            self.guard.extend_from_slice(
                raw.get(raw.len().saturating_sub(GUARD_MAX)..).unwrap_or_default(),
            );
            let surplus = self.guard.len().saturating_sub(GUARD_MAX);
            self.guard.drain(..surplus);
        }
        if !cut && self.layout.is_plain() {
            let mut data = raw;
            if data.last() != Some(&b'\n') {
                data.push(b'\n');
            }
            return Read::Lines { data, undecodable: false, cut, more };
        }
        let mut data = Vec::with_capacity(raw.len() + raw.len() / 2);
        let undecodable = self.layout.decode(&raw, &mut data);
        // A line that is cut in the middle of a character is not the writer's fault.
        Read::Lines { data, undecodable: undecodable && !cut, cut, more }
    }

    /// Steps over a hole at the start of a line.
    fn skip_hole(&mut self, buf: &[u8]) -> bool {
        if self.layout.unit() != 1 {
            return false;
        }
        let zeros = buf.iter().take_while(|b| **b == 0).count();
        if zeros == 0 || !(self.in_hole || zeros >= HOLE_MIN) {
            return false;
        }
        self.offset += zeros as u64;
        self.in_hole = zeros == buf.len();
        self.guard.clear();
        // Files with holes can be huge; the file system knows where the data is.
        if self.in_hole
            && let Ok(at) = rustix::fs::seek(&self.file, SeekFrom::Data(self.offset))
        {
            self.offset = self.offset.max(at);
        }
        true
    }

    /// Takes an unfinished last line as it is: its file will not be written to any more.
    pub fn take_rest(&mut self) -> io::Result<Read> {
        let (size, ..) = self.stat()?;
        let length = size.saturating_sub(self.offset);
        if length == 0 || (self.offset == 0 && self.head.is_empty()) {
            return Ok(Read::End);
        }
        let keep = length.min(CUT_KEEP as u64) as usize;
        self.take(length, keep, length > LINE_MAX, true)
    }
}

/// What the database keeps of a file beside its first line, as far as it was written by us.
#[derive(Default)]
struct Cursor<'a> {
    inode: Option<Inode>,
    /// A hash of the bytes before the offset.
    mark: Option<&'a str>,
}

impl<'a> Cursor<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(':');
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let inode = number().zip(number()).map(|(dev, ino)| Inode { dev, ino });
        Self { inode, mark: parts.next().filter(|mark| !mark.is_empty()) }
    }
}

/// A short hash of the bytes before an offset; empty if those are not known.
fn mark(guard: &[u8]) -> String {
    let mut text = if guard.is_empty() { String::new() } else { hex(&Sha1::digest(guard)) };
    text.truncate(16);
    text
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buf: &mut [u8], from: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..)
        && !rest.is_empty()
    {
        match file.read_at(rest, from + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|b| [b >> 4, b & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}
