//! One path followed over time: files appear, grow, are renamed, truncated, replaced.
//!
//! The core is [`Tail::step`]: it looks at the path, reads at most one batch and says what happened.
//! It waits for nothing, knows no thread and no inotify, and gets the time as an argument, so the
//! model test drives it directly. The order it keeps: the rest of a rotated file comes before the
//! first line of the new one.
//!
//! Every complete line is delivered exactly once, with these exceptions:
//! - lines of a file that was truncated, or created and deleted again, before it was looked at, are
//!   lost unless a rotated file beside it (`NAME.1`, `NAME-20261122`) holds them;
//! - lines written to a file before a restart and rotated during it are lost if that file was
//!   compressed or moved away;
//! - lines written to a rotated file later than a minute after its last one, or across a restart,
//!   are lost;
//! - lines of a file that was truncated after it was copied, then renamed and packed, all before it
//!   was looked at, may come after those of the next file;
//! - an unfinished last line of a rotated file is delivered after two seconds; should its writer
//!   then finish it, the rest comes as a line of its own. If it was the only line of its file, it
//!   comes again after a restart.

use std::collections::VecDeque;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use sekisho_core::effect::{Position, SourceState, StartAt};
use sekisho_core::time::{Monotonic, Span, Timestamp};

use super::encoding::Encoding;
use super::fifo;
use super::reader::{self, CUT_KEEP, Found, Inode, OpenError, Read, Reader};
use super::search::{self, Dates, Search};
use super::siblings;

/// A rotated file's unfinished last line is delivered after this time without change.
const REST_AFTER: Span = Span::from_secs(2);
/// A rotated file is watched for late lines until it has been quiet for so long.
const LATE_FOR: Span = Span::from_secs(60);
/// How many rotated files are watched for late lines.
const LATE_MAX: usize = 4;
/// How many rotated files wait to be read to their end; more than that, the oldest are given up.
const QUEUE_MAX: usize = 32;
/// A missing file is reported after this time: between rename and create is no news.
const MISSING_AFTER: Span = Span::from_secs(1);
/// The same trouble is reported once in this time.
const TROUBLE_EVERY: Span = Span::from_secs(86_400);
/// A file not written to for this long before `since` holds no line younger than `since`, whatever
/// time zone its lines are in.
const ZONE_MARGIN: Span = Span::from_secs(86_400);

/// What a step brings.
#[derive(Clone, Debug, PartialEq)]
pub enum Out {
    /// Complete lines, in UTF-8 as far as the file is.
    Lines {
        /// Every line ends in `\n`.
        data: Vec<u8>,
        /// Whether the end had been reached before.
        live: bool,
        /// How far reading has got with these lines.
        position: Position,
    },
    /// News about the file.
    State(SourceState),
}

/// One step's result.
#[derive(Debug, Default)]
pub struct Step {
    /// In this order.
    pub out: Vec<Out>,
    /// Whether another step would find something at once.
    pub more: bool,
}

#[derive(Debug)]
struct Late {
    reader: Reader,
    quiet_since: Monotonic,
    rest_taken: bool,
    dead: bool,
}

/// Kinds of trouble, each reported once a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Cut,
    Undecodable,
    NotAFile,
    Access,
    ReadError,
    GaveUp,
}

/// One path and its files.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    encoding: Encoding,
    /// Until the first file is open.
    start: Option<StartAt>,
    /// What finds the place by date in the first files.
    dates: Option<Dates>,
    /// Places still to be found.
    searches: Vec<(Inode, Search)>,
    /// Rotated files still to be read to their end, oldest first.
    queue: VecDeque<Reader>,
    /// The file that `path` leads to, as far as known.
    current: Option<Reader>,
    /// Rotated files that were read to their end and may yet get late lines, oldest first.
    late: Vec<Late>,
    /// Whether the end has been reached once.
    live: bool,
    looked: bool,
    rotated: bool,
    remote: bool,
    missing_since: Option<Monotonic>,
    missing_said: bool,
    troubles: Vec<(Trouble, Monotonic)>,
    last_position: Position,
    generation: u64,
}

impl Tail {
    /// Follows `path`, whether it exists or not.
    pub fn new(path: PathBuf, encoding: Encoding, start: StartAt) -> Self {
        Self {
            path,
            encoding,
            start: Some(start),
            dates: None,
            searches: Vec::new(),
            queue: VecDeque::new(),
            current: None,
            late: Vec::new(),
            live: false,
            looked: false,
            rotated: false,
            remote: false,
            missing_since: None,
            missing_said: false,
            troubles: Vec::new(),
            last_position: Position::default(),
            generation: 0,
        }
    }

    /// Large files are not read from their start, but from where their dates say.
    pub fn by_date(mut self, dates: Dates) -> Self {
        self.dates = Some(dates);
        self
    }

    /// The path followed.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The open files, to be watched.
    pub fn readers(&self) -> impl Iterator<Item = &Reader> {
        self.queue.iter().chain(self.late.iter().map(|l| &l.reader)).chain(&self.current)
    }
    /// Changes whenever [`Tail::readers`] or the existence of the path does.
    pub fn generation(&self) -> u64 {
        self.generation
    }
    /// Whether the path led nowhere at the last look.
    pub fn is_missing(&self) -> bool {
        self.missing_since.is_some()
    }
    /// Whether the end has been reached once.
    pub fn is_live(&self) -> bool {
        self.live
    }
    /// Whether `inode` is one of the open files.
    pub fn holds(&self, inode: Inode) -> bool {
        self.readers().any(|r| r.inode() == inode)
    }
    /// Bytes still to be read to the end; `None` while the place to begin is searched for.
    pub fn remaining(&self) -> Option<u64> {
        let left = |r: &Reader| r.stat().map_or(0, |(size, ..)| size.saturating_sub(r.offset()));
        self.searches.is_empty().then(|| self.queue.iter().chain(&self.current).map(left).sum())
    }
    /// Says that the file system is a remote one, whose inode numbers may change by themselves.
    pub fn set_remote(&mut self, remote: bool) {
        self.remote = remote;
    }

    /// When the next step is due though nothing happens to the files.
    pub fn deadline(&self) -> Option<Monotonic> {
        let late = self
            .late
            .iter()
            .map(|l| l.quiet_since.plus(if l.rest_taken { LATE_FOR } else { REST_AFTER }));
        let missing = self.missing_since.filter(|_| !self.missing_said);
        late.chain(missing.map(|at| at.plus(MISSING_AFTER))).min()
    }

    /// Looks at the path and reads at most one batch.
    pub fn step(&mut self, now: Monotonic) -> Step {
        let mut step = Step::default();
        self.look(now, &mut step);
        if self.search(&mut step) {
            return step;
        }
        if !self.read_late(now, &mut step) && !self.read_queue(now, &mut step) {
            self.read_current(now, &mut step);
        }
        step
    }

    /// The same where nothing but a write to the file was reported, and it was looked at not long ago:
    /// reads on in it without a look at anything else, if that is all there is to do.
    pub fn step_grown(&mut self, now: Monotonic) -> Option<Step> {
        let busy = !self.queue.is_empty() || !self.late.is_empty() || !self.searches.is_empty();
        if busy || !self.live || self.rotated || self.is_missing() {
            return None;
        }
        let current = self.current.as_mut()?;
        // An error is met again by the whole step, which reports it.
        let read = current.read_grown().ok().flatten()?;
        let mut step =
            Step { more: matches!(read, Read::Lines { more: true, .. }), ..Step::default() };
        let position = current.position();
        self.lines(read, position, now, &mut step);
        Some(step)
    }

    // ---- the path -------------------------------------------------------------------------

    fn look(&mut self, now: Monotonic, step: &mut Step) {
        let first_look = !std::mem::replace(&mut self.looked, true);
        self.verify();
        let found = match reader::look(&self.path) {
            Ok(found) => found,
            Err(e) => return self.absent(now, e, step),
        };
        if self.missing_since.take().is_some() {
            self.generation += 1;
        }
        // The first file is told of as such.
        let is_back = std::mem::take(&mut self.missing_said) && self.start.is_none();
        let result = match self.current.take() {
            None => self.appeared(first_look, step),
            Some(cur) if cur.inode() == found.inode => {
                self.compare(cur, found);
                Ok(())
            }
            Some(cur) => self.replaced(cur),
        };
        match result {
            Err(e) => self.absent(now, e, step),
            Ok(()) if is_back => {
                let reader = self.queue.front_mut().or(self.current.as_mut());
                step.out.extend(reader.map(|r| Out::State(SourceState::Open(r.position()))));
            }
            Ok(()) => {}
        }
        while self.queue.len() > QUEUE_MAX {
            self.queue.pop_front();
            let text = format!(
                "more than {QUEUE_MAX} rotated files wait to be read; the oldest is given up"
            );
            self.trouble(Trouble::GaveUp, text, now, step);
        }
    }

    fn absent(&mut self, now: Monotonic, error: OpenError, step: &mut Step) {
        let since = *self.missing_since.get_or_insert_with(|| {
            self.generation += 1;
            now
        });
        // At the first look there is no rotation going on.
        let waited = now.since(since) >= MISSING_AFTER || self.start.is_some();
        let first = waited && !std::mem::replace(&mut self.missing_said, waited);
        let trouble = match error {
            // An empty log that stays empty: the jail is one for bans by hand.
            OpenError::NotAFile if is_null(&self.path) => {
                if first {
                    step.out.push(Out::State(SourceState::Open(Position::default())));
                    step.out.push(Out::State(SourceState::CaughtUp));
                }
                return;
            }
            OpenError::Missing => None,
            // Whoever follows the path reads the pipe from now on, or begins here anew.
            OpenError::NotAFile if self.start.is_none() && fifo::is_fifo(&self.path) => None,
            OpenError::NotAFile => Some(Trouble::NotAFile),
            OpenError::Io(_) => Some(Trouble::Access),
        };
        let text = error.to_string();
        match trouble {
            // That it is missing says it all.
            Some(kind) if first => self.troubles.push((kind, now)),
            Some(kind) => self.trouble(kind, text.clone(), now, step),
            None => {}
        }
        if first {
            step.out.push(Out::State(SourceState::Missing(text)));
        }
    }

    /// The first file at this path, or the first after an error took the last one away.
    fn appeared(&mut self, existed: bool, step: &mut Step) -> Result<(), OpenError> {
        let mut new = Reader::open(&self.path, self.encoding)?;
        self.generation += 1;
        match self.start.clone() {
            // What appears later is new from its first line on.
            Some(StartAt::Tail) if existed => {
                new.skip_to_end()?;
                self.live = true;
                step.out.push(Out::State(SourceState::Open(new.position())));
                step.out.push(Out::State(SourceState::CaughtUp));
            }
            Some(StartAt::Tail) => step.out.push(Out::State(SourceState::Open(new.position()))),
            Some(StartAt::Head { saved, since }) => {
                self.resume(&mut new, saved.unwrap_or_default(), since)?;
                self.plan_searches(&new, since);
                step.out.push(Out::State(SourceState::Open(match self.queue.front_mut() {
                    Some(oldest) => oldest.position(),
                    None => new.position(),
                })));
            }
            None => {
                let saved = self.last_position.clone();
                self.resume(&mut new, saved, Timestamp::default())?;
            }
        }
        self.start = None;
        self.dates = None;
        self.current = Some(new);
        Ok(())
    }

    /// The first files, where they are large, are read from the place that their dates show.
    fn plan_searches(&mut self, new: &Reader, since: Timestamp) {
        let Some(dates) = &self.dates else { return };
        for reader in self.queue.iter().chain(std::iter::once(new)) {
            let Ok((size, ..)) = reader.stat() else { continue };
            if size.saturating_sub(reader.offset()) > search::WORTH {
                let search = Search::new(dates.clone(), since, reader.offset(), size);
                self.searches.push((reader.inode(), search));
            }
        }
    }

    /// Goes on with the search for the place to begin in the file that is read next; `false` if there
    /// is nothing to search.
    fn search(&mut self, step: &mut Step) -> bool {
        let Some(reader) = self.queue.front_mut().or(self.current.as_mut()) else { return false };
        let mine = |(inode, _): &(Inode, Search)| *inode == reader.inode();
        let Some(at) = self.searches.iter().position(mine) else { return false };
        let Some((_, search)) = self.searches.get_mut(at) else { return false };
        if let Some(look) = search.next()
            && let Ok(seen) = reader.look_at(look)
        {
            search.seen(&seen);
            step.more = true;
            return true;
        }
        // Found; or it cannot be read, which the next read reports.
        let (place, ordered) = search.found();
        self.searches.remove(at);
        let from = reader.position();
        reader.begin_at(place);
        let to = reader.position();
        if from != to || !ordered {
            step.out.push(Out::State(SourceState::Sought { from, to, ordered }));
        }
        false
    }

    /// Goes on where reading ended, in this file or in the rotated one that it was then.
    fn resume(
        &mut self,
        new: &mut Reader,
        saved: Position,
        since: Timestamp,
    ) -> Result<(), OpenError> {
        let recent = |r: &Reader| r.stat().is_ok_and(|(_, _, changed)| changed >= since);
        let known = !saved.first_line.is_empty() || saved.cursor.is_some();
        if known && !new.resume_at(&saved) {
            let was = siblings::chain(&self.path, self.encoding, |r| r.resume_at(&saved));
            if let Some(was) = was {
                self.queue.extend(
                    std::iter::once(was.found)
                        .chain(was.newer)
                        .filter(|r| r.inode() != new.inode() && recent(r)),
                );
            }
        }
        let (_, _, changed) = new.stat()?;
        if changed.plus(ZONE_MARGIN) < since {
            new.skip_to_end()?;
        }
        Ok(())
    }

    /// The path leads to the same file as before.
    fn compare(&mut self, mut cur: Reader, found: Found) {
        let size = |r: &Reader| r.stat().map_or(0, |(size, ..)| size);
        // Layered file systems show writes only to those who open the file again.
        if found.size > size(&cur)
            && let Ok(again) = Reader::open(&self.path, self.encoding)
            && again.inode() == cur.inode()
            && size(&again) > size(&cur)
        {
            self.generation += 1;
            cur = continue_in(&cur, again);
        }
        self.current = Some(cur);
    }

    /// If the current file was truncated or rewritten in place, begins it again; its rest may be in
    /// a copy (copytruncate), which then comes first.
    fn verify(&mut self) {
        let Some(cur) = &mut self.current else { return };
        if cur.unchanged() {
            return;
        }
        let own = cur.inode();
        let copy = siblings::chain(&self.path, self.encoding, |r| {
            r.inode() != own && cur.is_prefix_of(r) && r.resume(cur.offset() as f64)
        });
        if let Some(copy) = copy {
            self.queue.push_back(copy.found);
            // If this file was then renamed, what is newer than it is found by its inode.
            self.queue.extend(copy.newer.into_iter().take_while(|r| r.inode() != own));
        }
        cur.restart();
        self.searches.retain(|(inode, _)| *inode != own);
        self.rotated = true;
        self.generation += 1;
    }

    /// The path leads to another file.
    fn replaced(&mut self, cur: Reader) -> Result<(), OpenError> {
        let new = match Reader::open(&self.path, self.encoding) {
            Ok(new) => new,
            Err(e) => {
                self.current = Some(cur);
                return Err(e);
            }
        };
        self.generation += 1;
        let gone = cur.stat().is_ok_and(|(_, links, _)| links == 0);
        if cur.inode() == new.inode()
            || (self.remote && cur.is_prefix_of(&new))
            || (gone && cur.is_long_prefix_of(&new))
        {
            // The same content under a new inode: saved by an editor, or a server's new numbers.
            self.current = Some(continue_in(&cur, new));
            return Ok(());
        }
        let between = siblings::chain(&self.path, self.encoding, |r| r.inode() == cur.inode());
        self.queue.push_back(cur);
        if let Some(between) = between {
            self.queue.extend(between.newer.into_iter().filter(|r| r.inode() != new.inode()));
        }
        self.rotated = true;
        self.current = Some(new);
        Ok(())
    }

    // ---- the files ------------------------------------------------------------------------

    /// The oldest rotated file first; `false` when there is none.
    fn read_queue(&mut self, now: Monotonic, step: &mut Step) -> bool {
        let Some(mut front) = self.queue.pop_front() else { return false };
        step.more = true;
        match front.read() {
            Ok(Read::End) => {
                self.late.push(Late {
                    reader: front,
                    quiet_since: now,
                    rest_taken: false,
                    dead: false,
                });
                if self.late.len() > LATE_MAX {
                    let mut oldest = self.late.remove(0);
                    self.generation += 1;
                    if !oldest.rest_taken
                        && let Ok(rest) = oldest.reader.take_rest()
                    {
                        let position = self.last_position.clone();
                        self.lines(rest, position, now, step);
                    }
                }
            }
            Ok(read) => {
                let position = front.position();
                self.queue.push_front(front);
                self.lines(read, position, now, step);
            }
            Err(e) => self.read_error(&e, now, step),
        }
        true
    }

    /// Lines that were still written to a rotated file; `false` when there are none.
    fn read_late(&mut self, now: Monotonic, step: &mut Step) -> bool {
        let newest = self.late.len().saturating_sub(1);
        let begun = self.current.as_ref().is_some_and(|c| c.offset() > 0) && self.queue.is_empty();
        let last = self.queue.is_empty() && !begun;
        let mut got = None;
        for (i, late) in self.late.iter_mut().enumerate() {
            let mut read = late.reader.read();
            let quiet = now.since(late.quiet_since);
            let rest_due = matches!(read, Ok(Read::End)) && !late.rest_taken && quiet >= REST_AFTER;
            if rest_due {
                late.rest_taken = true;
                read = late.reader.take_rest();
            }
            match read {
                Ok(Read::End) => {}
                Ok(read) => {
                    late.quiet_since = now;
                    // What is now unfinished is another line.
                    late.rest_taken = rest_due;
                    let own = (i == newest && last).then(|| late.reader.position());
                    got = Some((read, own));
                    break;
                }
                Err(_) => late.dead = true,
            }
        }
        let before = self.late.len();
        let over = |l: &Late| l.rest_taken && now.since(l.quiet_since) >= LATE_FOR;
        self.late.retain(|l| !l.dead && !over(l));
        if self.late.len() != before {
            self.generation += 1;
        }
        let Some((read, own)) = got else { return false };
        let current = self.current.as_mut().filter(|_| begun).map(Reader::position);
        let position = own.or(current).unwrap_or_else(|| self.last_position.clone());
        self.lines(read, position, now, step);
        step.more = true;
        true
    }

    fn read_current(&mut self, now: Monotonic, step: &mut Step) {
        if std::mem::take(&mut self.rotated) {
            step.out.push(Out::State(SourceState::Rotated));
        }
        let Some(current) = &mut self.current else { return };
        match current.read() {
            Ok(Read::End) => {
                if !self.live {
                    self.live = true;
                    step.out.push(Out::State(SourceState::CaughtUp));
                }
            }
            Ok(read) => {
                // That the end is reached for the first time is told by a read that finds nothing.
                step.more = !self.live || !matches!(read, Read::Lines { more: false, .. });
                let position = current.position();
                self.lines(read, position, now, step);
            }
            Err(e) => {
                // A server's file handle that is no good any more; other errors may pass.
                if e.kind() == std::io::ErrorKind::StaleNetworkFileHandle {
                    self.current = None;
                    self.generation += 1;
                }
                self.read_error(&e, now, step);
            }
        }
    }

    fn lines(&mut self, read: Read, position: Position, now: Monotonic, step: &mut Step) {
        let Read::Lines { data, undecodable, cut, .. } = read else { return };
        self.last_position = position.clone();
        step.out.push(Out::Lines { data, live: self.live, position });
        if cut {
            let text = format!(
                "a line longer than {} bytes was cut to {CUT_KEEP}; look what writes it",
                reader::LINE_MAX
            );
            self.trouble(Trouble::Cut, text, now, step);
        } else if undecodable {
            let text = "some bytes are not in the encoding that logencoding names and were \
                        replaced; set logencoding of this jail to the log's encoding";
            self.trouble(Trouble::Undecodable, text.to_owned(), now, step);
        }
    }

    fn read_error(&mut self, error: &std::io::Error, now: Monotonic, step: &mut Step) {
        let text = format!("cannot be read: {error}; trying again");
        self.trouble(Trouble::ReadError, text, now, step);
        step.more = false;
    }

    fn trouble(&mut self, kind: Trouble, text: String, now: Monotonic, step: &mut Step) {
        self.troubles.retain(|(_, at)| now.since(*at) < TROUBLE_EVERY);
        if self.troubles.iter().all(|(k, _)| *k != kind) {
            self.troubles.push((kind, now));
            step.out.push(Out::State(SourceState::Trouble(text)));
        }
    }
}

/// `/dev/null`, whatever it is called.
fn is_null(path: &Path) -> bool {
    let same = |null: std::fs::Metadata| {
        let meta = std::fs::metadata(path).ok()?;
        Some(meta.file_type().is_char_device() && meta.rdev() == null.rdev())
    };
    std::fs::metadata("/dev/null").ok().and_then(same).unwrap_or(false)
}

/// `new` from where `old` has got to.
fn continue_in(old: &Reader, mut new: Reader) -> Reader {
    new.resume(old.offset() as f64);
    new
}
