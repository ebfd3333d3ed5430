//! The file reader against a model: random writes, rotations of every kind, truncations, restarts and
//! crashes, after which every line must have been delivered exactly once, in order; after a crash,
//! what was read and not stored must come exactly once more.
//!
//! The model knows which lines no reader could still find (truncated before they were read, deleted
//! while nobody held them, …) and allows only those to be missing. A third of the runs drive a single
//! [`Tail`], a third a [`Follower`] that is told by inotify alone what to look at (time stands still,
//! so no timer helps it), a third one that polls. All have a clock of their own, so a run is a
//! function of its seed.
//!
//! `SEKISHO_MODEL_ACTIONS` (default 100,000) and `SEKISHO_MODEL_SEED` set size and first seed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crossbeam_channel::Receiver;
use sekisho::source::encoding::Encoding;
use sekisho::source::follower::{Follower, Wanted};
use sekisho::source::reader::Inode;
use sekisho::source::tail::{Out, Tail};
use sekisho::source::watch::Waker;
use sekisho::source::{Context, Events, Options};
use sekisho_core::effect::{Event, Position, SourceId, StartAt};
use sekisho_core::time::{Monotonic, Span, Timestamp};
use sekisho_oracle::Random;
use sha1::{Digest, Sha1};

/// How many rotated files the model keeps.
const KEEP: usize = 5;

/// What is tested.
enum Reader {
    Alone(Box<Tail>),
    Followed { follower: Box<Follower>, waker: Waker, events: Receiver<Events>, polls: bool },
}

/// How a run reads.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Alone,
    Watching,
    Polling,
}

/// Lines, and how far the log is read with them.
type Batch = (Vec<u8>, Position);

impl Reader {
    fn new(mode: Mode, path: PathBuf, saved: Option<Position>) -> Reader {
        let start = StartAt::Head { saved, since: Timestamp(0) };
        if mode == Mode::Alone {
            return Reader::Alone(Box::new(Tail::new(path, Encoding::Bytes, start)));
        }
        let (sender, events) = crossbeam_channel::unbounded();
        let context = Context::new(sender, std::sync::Arc::new(|_| {}), Options::default());
        let mut follower = Box::new(Follower::new(context));
        let polls = mode == Mode::Polling;
        follower.open(Wanted {
            source: SourceId(1),
            path: path.display().to_string(),
            encoding: "utf-8".into(),
            poll: polls,
            dates: Vec::new(),
            start,
        });
        Reader::Followed { follower, waker: Waker::new().unwrap(), events, polls }
    }

    fn holds(&self, inode: Inode) -> bool {
        match self {
            Reader::Alone(tail) => tail.holds(inode),
            Reader::Followed { follower, .. } => follower.holds(inode),
        }
    }

    /// Reads all there is.
    fn read(&mut self, now: &mut Monotonic) -> Vec<Batch> {
        let mut got = Vec::new();
        match self {
            Reader::Alone(tail) => loop {
                // As after the report of a write; what that leaves is found by the whole look.
                let grown = got.is_empty().then(|| tail.step_grown(*now)).flatten();
                let whole = grown.is_none();
                let step = grown.unwrap_or_else(|| tail.step(*now));
                let lines = step.out.into_iter().filter_map(|out| match out {
                    Out::Lines { data, position, .. } => Some((data, position)),
                    Out::State(_) => None,
                });
                got.extend(lines);
                if whole && !step.more {
                    return got;
                }
                assert!(got.len() < 100_000);
            },
            Reader::Followed { follower, waker, events, polls } => {
                // Whoever polls needs time to pass.
                for _ in 0..if *polls { 2 } else { 1 } {
                    if *polls {
                        *now = now.plus(Span::from_secs(1));
                    }
                    for turns in 0.. {
                        follower.wait(waker, Span(0));
                        assert!(follower.turn(*now));
                        let lines = events.try_iter().flatten().filter_map(|event| match event {
                            Event::Lines(batch) => Some((batch.data, batch.position)),
                            _ => None,
                        });
                        let before = got.len();
                        got.extend(lines);
                        if got.len() == before && follower.next_due().is_none_or(|at| at > *now) {
                            break;
                        }
                        assert!(turns < 100_000);
                    }
                }
                got
            }
        }
    }
}

/// A run of bytes that only grows; truncation begins a new one.
#[derive(Default)]
struct Content {
    first_line: String,
    /// Complete lines not yet delivered.
    waiting: Vec<u64>,
    /// Its length.
    bytes: u64,
}

/// A line that was delivered and comes again if the reader crashes before that is stored.
struct Unstored {
    text: String,
    seq: u64,
    content: usize,
    start: u64,
    late: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Entry {
    inode: Inode,
    content: usize,
}

#[derive(Debug)]
struct Expected {
    must: bool,
    late: bool,
    seq: u64,
    content: usize,
    /// Where it begins; what is unfinished has no such place.
    start: Option<u64>,
}

struct World {
    dir: tempfile::TempDir,
    rng: Random,
    mode: Mode,
    dated: bool,
    /// The log is a symbolic link, and rotation points it elsewhere.
    linked: bool,
    contents: Vec<Content>,
    log: Option<Entry>,
    /// Rotated files, newest first, with their names.
    siblings: Vec<(PathBuf, Entry)>,
    /// Deleted files that the reader or the writer may still hold.
    gone: Vec<Entry>,
    writer: Option<(File, Entry)>,
    /// The start of an unfinished line.
    partial: Option<(u64, String)>,
    /// Whether that start has gone its own way, so that only the rest is still to come.
    partial_split: bool,
    seq: u64,
    rotations: u64,

    reader: Reader,
    now: Monotonic,
    /// What the reader reads as the log, and whether it has read a line of it.
    anchor: Option<(Entry, bool)>,
    saved: Position,
    /// What a crash leaves of `saved`.
    stored: Position,
    unstored: Vec<Unstored>,
    fresh: bool,
    expected: BTreeMap<String, Expected>,
    delivered: u64,
    late_delivered: u64,
    rests_delivered: u64,
    again: u64,
    last_seq: u64,
    /// Delivered beginnings of lines that were never finished.
    rests: Vec<(u64, String)>,
    /// Whether a log was deleted since the last look, or rotated and packed: nothing then tells its age
    /// from that of copies made meanwhile.
    deleted: bool,
    history: Vec<String>,
}

fn inode_of(meta: &std::fs::Metadata) -> Inode {
    Inode { dev: meta.dev(), ino: meta.ino() }
}

impl World {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mode = [Mode::Alone, Mode::Watching, Mode::Polling][(seed % 3) as usize];
        let reader = Reader::new(mode, dir.path().join("log"), None);
        let mut rng = Random(seed);
        let linked = rng.one_in(4);
        let dated = linked || rng.one_in(2);
        let mut world = Self {
            mode,
            dated,
            linked,
            dir,
            rng,
            contents: Vec::new(),
            log: None,
            siblings: Vec::new(),
            gone: Vec::new(),
            writer: None,
            partial: None,
            partial_split: false,
            seq: 0,
            rotations: 0,
            reader,
            now: Monotonic(1_000_000),
            anchor: None,
            saved: Position::default(),
            stored: Position::default(),
            unstored: Vec::new(),
            fresh: true,
            expected: BTreeMap::new(),
            delivered: 0,
            late_delivered: 0,
            rests_delivered: 0,
            again: 0,
            last_seq: 0,
            rests: Vec::new(),
            deleted: false,
            history: Vec::new(),
        };
        if linked {
            world.point_link();
        }
        world
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The file that the link leads to from now on.
    fn point_link(&mut self) {
        self.rotations += 1;
        let new = self.dir.path().join("link");
        std::os::unix::fs::symlink(self.link_target(), &new).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    fn link_target(&self) -> PathBuf {
        self.dir.path().join(format!("log-{}", 20_260_000 + self.rotations))
    }

    fn new_content(&mut self) -> usize {
        self.contents.push(Content::default());
        self.contents.len() - 1
    }

    /// The writer's file, opened again if it has none (as a daemon after its signal).
    fn open_writer(&mut self) {
        if self.writer.is_none() {
            let file = OpenOptions::new().create(true).append(true).open(self.path()).unwrap();
            let entry = match self.log {
                Some(entry) => entry,
                None => Entry {
                    inode: inode_of(&file.metadata().unwrap()),
                    content: self.new_content(),
                },
            };
            self.log = Some(entry);
            self.writer = Some((file, entry));
        }
    }

    fn write(&mut self, text: &str) {
        self.open_writer();
        let (file, entry) = self.writer.as_mut().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        self.contents[entry.content].bytes += text.len() as u64;
    }

    fn write_lines(&mut self) {
        let n = 1 + self.rng.below(4);
        for _ in 0..n {
            let (seq, text) = match self.partial.take() {
                Some((seq, text)) => {
                    let rest = format!("r{seq}");
                    self.write(&format!("{rest}\n"));
                    let split = std::mem::take(&mut self.partial_split);
                    (seq, if split { rest } else { text + &rest })
                }
                None => {
                    self.seq += 1;
                    let pad = "x".repeat(match self.rng.below(200) {
                        0 => 70_000,
                        1 => 300_000,
                        n => n % 60,
                    });
                    let text = format!("{}-{pad}", self.seq);
                    self.write(&format!("{text}\n"));
                    (self.seq, text)
                }
            };
            let entry = self.writer.as_ref().unwrap().1;
            let content = &mut self.contents[entry.content];
            if content.first_line.is_empty() {
                content.first_line = format!("{text}\n");
            }
            content.waiting.push(seq);
            let late = Some(entry) != self.log;
            let start = Some(content.bytes - text.len() as u64 - 1);
            let content = entry.content;
            self.expected.insert(text, Expected { must: true, late, seq, content, start });
        }
    }

    fn write_partial(&mut self) {
        if self.partial.is_none() {
            self.seq += 1;
            let text = format!("p{}-", self.seq);
            self.write(&text);
            self.partial = Some((self.seq, text));
        }
    }

    /// Makes room for a rotated file, as logrotate does.
    fn shift(&mut self) -> PathBuf {
        self.rotations += 1;
        if self.siblings.len() >= KEEP {
            let (name, entry) = self.siblings.pop().unwrap();
            std::fs::remove_file(name).unwrap();
            self.gone.push(entry);
        }
        if self.dated {
            return self.dir.path().join(format!("log-{}", 20_260_000 + self.rotations));
        }
        for (name, _) in self.siblings.iter_mut().rev() {
            let number: u32 = name.extension().unwrap().to_str().unwrap().parse().unwrap();
            let to = name.with_file_name(format!("log.{}", number + 1));
            std::fs::rename(&name, &to).unwrap();
            *name = to;
        }
        self.dir.path().join("log.1")
    }

    /// Packs a rotated file, as logrotate does with `compress`: the file itself is gone.
    fn compress(&mut self) {
        if !self.siblings.is_empty() {
            let at = self.rng.below(self.siblings.len());
            let (name, entry) = self.siblings.remove(at);
            let mut packed = name.clone().into_os_string();
            packed.push(".gz");
            std::fs::write(packed, "packed\n").unwrap();
            std::fs::remove_file(name).unwrap();
            self.gone.push(entry);
            self.deleted |= self.anchor.is_some_and(|(anchor, _)| anchor.inode == entry.inode);
        }
    }

    fn rotate(&mut self) {
        if let Some(entry) = self.log.take() {
            if self.linked {
                if self.siblings.len() >= KEEP {
                    let (name, entry) = self.siblings.pop().unwrap();
                    std::fs::remove_file(name).unwrap();
                    self.gone.push(entry);
                }
                self.siblings.insert(0, (self.link_target(), entry));
                self.point_link();
            } else {
                let name = self.shift();
                std::fs::rename(self.path(), &name).unwrap();
                self.siblings.insert(0, (name, entry));
            }
            if self.writer.is_none() {
                self.abandon_partial();
            } else if self.rng.below(2) == 0 {
                self.reopen();
            }
        }
    }

    /// The daemon gets its signal: an unfinished line in a file that is not the log any more stays
    /// unfinished.
    fn reopen(&mut self) {
        let Some((_, entry)) = self.writer.take() else { return };
        if Some(entry) != self.log {
            self.abandon_partial();
        }
    }

    /// An unfinished line will not be finished. It is delivered with a line feed added once its file
    /// has been quiet, if anyone still can.
    fn abandon_partial(&mut self) {
        if let Some((seq, text)) = self.partial.take()
            && !std::mem::take(&mut self.partial_split)
        {
            self.allow(text, seq);
        }
    }

    /// This may come, but need not.
    fn allow(&mut self, text: String, seq: u64) {
        let content = usize::MAX;
        let expected = Expected { must: false, late: true, seq, content, start: None };
        self.expected.insert(text, expected);
    }

    fn copytruncate(&mut self) {
        // The name of the copy would be that of the file itself.
        if self.linked {
            return self.rotate();
        }
        if let Some(entry) = self.log {
            let name = self.shift();
            std::fs::copy(self.path(), &name).unwrap();
            let inode = inode_of(&std::fs::metadata(&name).unwrap());
            self.siblings.insert(0, (name, Entry { inode, content: entry.content }));
            self.empty_log(true);
        }
    }

    fn empty_log(&mut self, copied: bool) {
        let entry = self.log.unwrap();
        OpenOptions::new().write(true).open(self.path()).unwrap().set_len(0).unwrap();
        if !copied {
            self.forgive(entry.content);
        }
        let new = Entry { inode: entry.inode, content: self.new_content() };
        self.log = Some(new);
        let partial_here = match &mut self.writer {
            Some((_, writing)) if writing.inode == new.inode => {
                *writing = new;
                true
            }
            // Between its signal and its next line.
            None => true,
            Some(_) => false,
        };
        if partial_here
            && let Some((seq, text)) = self.partial.clone()
            && !std::mem::replace(&mut self.partial_split, true)
            && copied
        {
            self.allow(text, seq);
        }
    }

    fn truncate(&mut self) {
        if self.log.is_some() {
            self.empty_log(false);
        }
    }

    fn delete(&mut self) {
        if let Some(entry) = self.log.take() {
            let path = if self.linked { self.link_target() } else { self.path() };
            std::fs::remove_file(path).unwrap();
            self.gone.push(entry);
            self.deleted = true;
            if self.writer.is_none() || self.rng.below(3) > 0 {
                self.writer = None;
                self.abandon_partial();
            }
        }
    }

    /// A stop, at which the place in the log is stored, and a start.
    fn restart(&mut self) {
        self.store();
        self.start();
    }

    /// The place in the log is stored, as it is now and then.
    fn store(&mut self) {
        self.stored = self.saved.clone();
        let at = self.content_of(&self.stored);
        let offset = self.stored.offset as u64;
        let Some(at) = at else { return };
        self.unstored
            .retain(|line| line.content > at || (line.content == at && line.start >= offset));
    }

    /// The reader is killed: what was read and not stored comes again.
    fn crash(&mut self) {
        self.saved = self.stored.clone();
        for line in std::mem::take(&mut self.unstored) {
            let Unstored { text, seq, content, start, late } = line;
            self.contents[content].waiting.push(seq);
            self.last_seq = self.last_seq.min(seq - 1);
            self.again += 1;
            let expected = Expected { must: true, late, seq, content, start: Some(start) };
            self.expected.insert(text, expected);
        }
        // What was behind a line that comes again may come before it, then.
        let open = self.expected.values().filter(|e| e.must && !e.late).map(|e| e.seq).min();
        self.last_seq = open.map_or(self.last_seq, |seq| self.last_seq.min(seq - 1));
        self.start();
    }

    fn start(&mut self) {
        // A reader that has read nothing has stored nothing.
        let saved = (self.saved != Position::default()).then(|| self.saved.clone());
        self.reader = Reader::new(self.mode, self.path(), saved);
        self.anchor = None;
        self.fresh = true;
        // Rests of rotated files are no lines that a place in a log could be behind, so they may come
        // again.
        for (seq, text) in std::mem::take(&mut self.rests) {
            self.allow(text, seq);
        }
    }

    /// Which content a place is in.
    fn content_of(&self, position: &Position) -> Option<usize> {
        let known = !position.first_line.is_empty();
        self.contents.iter().rposition(|c| known && sha1(c) == position.first_line)
    }

    /// These lines may get lost.
    fn forgive(&mut self, content: usize) {
        let waiting = &self.contents[content].waiting;
        for expected in self.expected.values_mut() {
            if waiting.contains(&expected.seq) {
                expected.must = false;
            }
        }
    }

    /// Contents the reader can still get at, by the rules the documentation states.
    fn reachable(&self) -> Vec<usize> {
        let mut found: Vec<usize> = self.log.iter().map(|e| e.content).collect();
        let upto = |at: usize| self.siblings.iter().take(at + 1).map(|(_, e)| e.content);
        let sibling = |f: &dyn Fn(&Entry) -> bool| self.siblings.iter().position(|(_, e)| f(e));
        if let Some((anchor, read)) = self.anchor {
            let copy = read
                .then(|| sibling(&|e| e.content == anchor.content && e.inode != anchor.inode))
                .flatten();
            let own = sibling(&|e| e.inode == anchor.inode);
            for at in own.into_iter().chain(copy) {
                found.extend(upto(at));
            }
        } else if self.fresh && !self.saved.first_line.is_empty() {
            let by_hash = |e: &Entry| sha1(&self.contents[e.content]) == self.saved.first_line;
            // Looked for only if the log itself is another file.
            if let Some(log) = &self.log
                && !by_hash(log)
                && let Some(at) = sibling(&by_hash)
            {
                found.extend(upto(at));
            }
        }
        // Files the reader holds, whatever became of their names.
        let held = |e: &&Entry| self.reader.holds(e.inode);
        let rotated = self.siblings.iter().map(|(_, e)| e);
        found.extend(rotated.chain(&self.gone).filter(held).map(|e| e.content));
        found
    }

    /// Reads all there is, and checks it.
    fn pump(&mut self) {
        // Without a file a fresh reader sees nothing and learns nothing.
        let idle = self.fresh && self.log.is_none();
        // Before the log exists again, what is beside it is not looked at.
        let whole = self.log.is_some();
        if whole {
            let reachable = self.reachable();
            for content in 0..self.contents.len() {
                if !reachable.contains(&content) {
                    self.forgive(content);
                }
            }
        }
        for (data, position) in self.reader.read(&mut self.now) {
            assert!(data.ends_with(b"\n"));
            self.saved = position;
            let text = String::from_utf8(data).unwrap();
            for line in text.lines() {
                self.receive(line);
            }
        }
        if idle {
            return;
        }
        self.fresh = false;
        self.deleted = self.log.is_none() && self.deleted;
        if let Some(log) = self.log {
            for (text, expected) in &self.expected {
                assert!(!expected.must, "not delivered: {} ({expected:?})", short(text));
            }
            let read = !self.contents[log.content].first_line.is_empty();
            self.anchor = Some((log, read));
        } else if let Some((anchor, read)) = &mut self.anchor {
            // Still read under whatever name it has now.
            let rotated = self.siblings.iter().map(|(_, e)| e);
            let mut known = rotated.chain(self.gone.iter().rev());
            if let Some(now) = known.find(|e| e.inode == anchor.inode) {
                *anchor = *now;
                *read = !self.contents[now.content].first_line.is_empty();
            }
        }
        self.gone.retain(|e| {
            self.reader.holds(e.inode)
                || self.writer.as_ref().is_some_and(|(_, w)| w.inode == e.inode)
        });
    }

    fn receive(&mut self, line: &str) {
        self.delivered += 1;
        if let Some(expected) = self.expected.remove(line) {
            if line.starts_with('p') && line.ends_with('-') {
                self.rests.push((expected.seq, line.to_owned()));
                self.rests_delivered += 1;
                return;
            }
            for content in &mut self.contents {
                content.waiting.retain(|s| *s != expected.seq);
            }
            self.late_delivered += u64::from(expected.late);
            if let Some(start) = expected.start {
                let Expected { seq, content, late, .. } = expected;
                self.unstored.push(Unstored { text: line.to_owned(), seq, content, start, late });
            }
            if expected.must && !expected.late {
                let last = self.last_seq;
                self.last_seq = last.max(expected.seq);
                let ordered = expected.seq > last || self.deleted;
                assert!(ordered, "out of order: {} after {last}", short(line));
            }
            return;
        }
        // The rest of a rotated file, whose writer may yet go on with the line.
        match &self.partial {
            Some((_, text)) if text == line && !self.partial_split => {
                let writing = self.writer.as_ref().map(|(_, e)| *e);
                assert_ne!(writing, self.log, "an unfinished line was delivered: {line}");
                self.partial_split = true;
            }
            _ => panic!("delivered twice or never written: {}", short(line)),
        }
    }

    fn act(&mut self) {
        let action = self.rng.below(108);
        let name = match action {
            0..25 => "write",
            25..32 => "partial",
            32..40 => "rotate",
            40..46 => "reopen",
            46..52 => "copytruncate",
            52..54 => "truncate",
            54..57 => "delete",
            57..62 => "restart",
            62..66 => "crash",
            66..70 => "compress",
            70..74 => "store",
            74..82 => "pause",
            _ => "pump",
        };
        let writing = self.writer.as_ref().map(|(_, e)| e.content);
        let log = self.log.map(|e| e.content);
        self.history.push(format!("{name}({} log {log:?} writer {writing:?})", self.seq));
        match name {
            "write" => self.write_lines(),
            "partial" => self.write_partial(),
            "rotate" => self.rotate(),
            "reopen" => self.reopen(),
            "copytruncate" => self.copytruncate(),
            "truncate" => self.truncate(),
            "delete" => self.delete(),
            "restart" => self.restart(),
            "crash" => self.crash(),
            "compress" => self.compress(),
            "store" => self.store(),
            "pause" => {
                let ms = self.rng.below(30_000) as i64;
                self.now = self.now.plus(Span::from_millis(ms));
            }
            _ => self.pump(),
        }
    }
}

fn sha1(content: &Content) -> String {
    thread_local!(static KNOWN: std::cell::RefCell<HashMap<String, String>> = HashMap::new().into());
    if content.first_line.is_empty() {
        return "none".to_owned();
    }
    KNOWN.with_borrow_mut(|known| {
        known
            .entry(content.first_line.clone())
            .or_insert_with(|| {
                Sha1::digest(&content.first_line).iter().map(|b| format!("{b:02x}")).collect()
            })
            .clone()
    })
}

fn short(text: &str) -> &str {
    text.get(..text.len().min(30)).unwrap()
}

#[test]
fn every_line_exactly_once() {
    let actions = sekisho_oracle::cases("SEKISHO_MODEL_ACTIONS", 100_000) as u64;
    let first = sekisho_oracle::cases("SEKISHO_MODEL_SEED", 1) as u64;
    let (mut done, mut delivered, mut late, mut rests, mut again) = (0, 0, 0, 0, 0);
    for seed in first.. {
        let mut world = World::new(seed);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..200 {
                world.act();
            }
            for _ in 0..3 {
                world.pump();
                world.now = world.now.plus(Span::from_secs(3));
            }
        }));
        if let Err(panic) = run {
            let from = world.history.len().saturating_sub(40);
            let kind = (world.mode, world.dated, world.linked);
            eprintln!("seed {seed} {kind:?}: …\n{}", world.history[from..].join("\n"));
            if !sekisho::source::watch::available() {
                eprintln!(
                    "there is no inotify left: raise fs.inotify.max_user_instances, begin again"
                );
            }
            std::panic::resume_unwind(panic);
        }
        delivered += world.delivered;
        late += world.late_delivered;
        rests += world.rests_delivered;
        again += world.again;
        done += 200;
        if done >= actions {
            break;
        }
    }
    // What the model merely allows must happen now and then.
    println!(
        "{done} actions: {delivered} lines, {late} of them late, {again} again after a crash, {rests} \
         unfinished"
    );
    if done >= 100_000 {
        assert!(delivered > done / 4 && late >= done / 500 && rests >= done / 1000);
        assert!(again >= done / 100);
    }
}
