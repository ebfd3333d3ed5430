//! The file tailer against a model: random writes, rotations, truncations and restarts, after which
//! every line must have been delivered exactly once, in order.
//!
//! The model knows which lines no reader could still find (truncated before they were read, deleted
//! while nobody held them, …) and allows only those to be missing. Everything is driven through
//! [`Tail::step`] with a clock of its own, so a run is a function of its seed.
//!
//! `SEKISHO_MODEL_ACTIONS` (default 200,000) and `SEKISHO_MODEL_SEED` set size and first seed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use sekisho::source::encoding::Encoding;
use sekisho::source::reader::Inode;
use sekisho::source::tail::{Out, Tail};
use sekisho_core::effect::{Position, StartAt};
use sekisho_core::time::{Monotonic, Span, Timestamp};
use sha1::{Digest, Sha1};

/// How many rotated files the model keeps.
const KEEP: usize = 5;

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// A run of bytes that only grows; truncation begins a new one.
#[derive(Default)]
struct Content {
    first_line: String,
    /// Complete lines not yet delivered.
    waiting: Vec<u64>,
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
}

struct World {
    dir: tempfile::TempDir,
    rng: Rng,
    dated: bool,
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

    tail: Tail,
    now: Monotonic,
    /// What the reader reads as the log, and whether it has read a line of it.
    anchor: Option<(Entry, bool)>,
    saved: Position,
    fresh: bool,
    expected: BTreeMap<String, Expected>,
    delivered: u64,
    late_delivered: u64,
    rests_delivered: u64,
    last_seq: u64,
    /// Delivered beginnings of lines that were never finished.
    rests: Vec<(u64, String)>,
    /// Whether a log was deleted since the last look: nothing then tells its age from that of
    /// copies made meanwhile.
    deleted: bool,
    history: Vec<String>,
}

fn tail_at(path: PathBuf, saved: Option<Position>) -> Tail {
    let start = StartAt::Head { saved, since: Timestamp(0) };
    Tail::new(path, Encoding::Bytes, start)
}

fn inode_of(meta: &std::fs::Metadata) -> Inode {
    Inode { dev: meta.dev(), ino: meta.ino() }
}

impl World {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tail = tail_at(dir.path().join("log"), None);
        let mut rng = Rng(seed);
        Self {
            dated: rng.below(2) == 0,
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
            tail,
            now: Monotonic(1_000_000),
            anchor: None,
            saved: Position::default(),
            fresh: true,
            expected: BTreeMap::new(),
            delivered: 0,
            late_delivered: 0,
            rests_delivered: 0,
            last_seq: 0,
            rests: Vec::new(),
            deleted: false,
            history: Vec::new(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("log")
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
        let (file, _) = self.writer.as_mut().unwrap();
        file.write_all(text.as_bytes()).unwrap();
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
                    let pad = "x".repeat(match self.rng.below(60) {
                        0 => 70_000,
                        1 => 300_000,
                        n => n as usize,
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
            self.expected.insert(text, Expected { must: true, late, seq });
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
        for (i, (name, _)) in self.siblings.iter_mut().enumerate().rev() {
            let to = name.with_file_name(format!("log.{}", i + 2));
            std::fs::rename(&name, &to).unwrap();
            *name = to;
        }
        self.dir.path().join("log.1")
    }

    fn rotate(&mut self) {
        if let Some(entry) = self.log.take() {
            let name = self.shift();
            std::fs::rename(self.path(), &name).unwrap();
            self.siblings.insert(0, (name, entry));
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
            self.expected.insert(text, Expected { must: false, late: true, seq });
        }
    }

    fn copytruncate(&mut self) {
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
            && let Some((seq, text)) = &self.partial
            && !std::mem::replace(&mut self.partial_split, true)
            && copied
        {
            self.expected.insert(text.clone(), Expected { must: false, late: true, seq: *seq });
        }
    }

    fn truncate(&mut self) {
        if self.log.is_some() {
            self.empty_log(false);
        }
    }

    fn delete(&mut self) {
        if let Some(entry) = self.log.take() {
            std::fs::remove_file(self.path()).unwrap();
            self.gone.push(entry);
            self.deleted = true;
            if self.writer.is_none() || self.rng.below(3) > 0 {
                self.writer = None;
                self.abandon_partial();
            }
        }
    }

    fn restart(&mut self) {
        self.tail = tail_at(self.path(), Some(self.saved.clone()));
        self.anchor = None;
        self.fresh = true;
        // A file that is nothing but an unfinished line has no first line to be known by, so its
        // rest may come again.
        for (seq, text) in self.rests.drain(..) {
            self.expected.insert(text, Expected { must: false, late: true, seq });
        }
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
        let held = |e: &&Entry| self.tail.holds(e.inode);
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
        for _ in 0..100_000 {
            let step = self.tail.step(self.now);
            for out in step.out {
                if let Out::Lines { data, position, .. } = out {
                    assert!(data.ends_with(b"\n"));
                    self.saved = position;
                    let text = String::from_utf8(data).unwrap();
                    for line in text.lines() {
                        self.receive(line);
                    }
                }
            }
            if !step.more {
                break;
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
            self.tail.holds(e.inode)
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
        let action = self.rng.below(100);
        let name = match action {
            0..25 => "write",
            25..32 => "partial",
            32..40 => "rotate",
            40..46 => "reopen",
            46..52 => "copytruncate",
            52..54 => "truncate",
            54..57 => "delete",
            57..64 => "restart",
            64..74 => "pause",
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

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[test]
fn every_line_exactly_once() {
    let actions = setting("SEKISHO_MODEL_ACTIONS", 200_000);
    let first = setting("SEKISHO_MODEL_SEED", 1);
    let (mut done, mut delivered, mut late, mut rests) = (0, 0, 0, 0);
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
            eprintln!("seed {seed}: …\n{}", world.history[from..].join("\n"));
            std::panic::resume_unwind(panic);
        }
        delivered += world.delivered;
        late += world.late_delivered;
        rests += world.rests_delivered;
        done += 200;
        if done >= actions {
            break;
        }
    }
    // What the model merely allows must happen now and then.
    println!("{done} actions: {delivered} lines, {late} of them late, {rests} unfinished");
    if done >= 100_000 {
        assert!(delivered > done / 4 && late >= done / 500 && rests >= done / 1000);
    }
}
