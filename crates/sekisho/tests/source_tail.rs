//! Single situations of the file tailer, step by step, with a clock of their own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use sekisho::source::encoding::Encoding;
use sekisho::source::reader::{BATCH_MAX, CUT_KEEP, LINE_MAX};
use sekisho::source::tail::{Out, Tail};
use sekisho_core::effect::{Position, SourceState, StartAt};
use sekisho_core::time::{Monotonic, Span, Timestamp};

struct Bench {
    dir: tempfile::TempDir,
    tail: Tail,
    now: Monotonic,
    position: Position,
    opened: Position,
}

fn head(saved: Option<Position>) -> StartAt {
    StartAt::Head { saved, since: Timestamp(0) }
}

fn append(path: &Path, text: impl AsRef<[u8]>) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_ref()).unwrap();
}

impl Bench {
    fn new(encoding: &str, start: StartAt, before: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        before(dir.path());
        let encoding = Encoding::from_python_name(encoding).unwrap();
        let tail = Tail::new(dir.path().join("log"), encoding, start);
        Self {
            dir,
            tail,
            now: Monotonic(1),
            position: Position::default(),
            opened: Position::default(),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn append(&self, text: impl AsRef<[u8]>) {
        append(&self.at("log"), text);
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    fn restart(&mut self, start: StartAt) {
        self.tail = Tail::new(self.at("log"), Encoding::Bytes, start);
    }

    fn pause(&mut self, secs: i64) -> &mut Self {
        self.now = self.now.plus(Span::from_secs(secs));
        self
    }

    fn steps(&mut self) -> Vec<Out> {
        let mut out = Vec::new();
        for _ in 0..10_000 {
            let step = self.tail.step(self.now);
            out.extend(step.out);
            if !step.more {
                return out;
            }
        }
        panic!("it never ends");
    }

    /// Everything that comes, in one line: lines with `>` when live, news in brackets.
    fn read(&mut self) -> String {
        let mut text = String::new();
        for out in self.steps() {
            match out {
                Out::Lines { data, live, position } => {
                    assert!(data.ends_with(b"\n"));
                    self.position = position;
                    for line in String::from_utf8_lossy(&data).lines() {
                        text += if live { " >" } else { " " };
                        text += line;
                    }
                }
                Out::State(state) => {
                    text += match state {
                        SourceState::Open(position) => {
                            self.opened = position;
                            " [open]"
                        }
                        SourceState::Missing(_) => " [missing]",
                        SourceState::Sought { .. } => " [sought]",
                        SourceState::CatchingUp { .. } => " [catching up]",
                        SourceState::CaughtUp => " [caught up]",
                        SourceState::Rotated => " [rotated]",
                        SourceState::Trouble(_) => " [trouble]",
                    }
                }
            }
        }
        text.trim_start().to_owned()
    }

    #[track_caller]
    fn check(&mut self, expected: &str) {
        assert_eq!(self.read(), expected);
    }
}

/// After a write was reported, `happens` with a file whose end had been reached: what is read of it
/// without a look at anything else, if it can be, and what a whole look then brings.
#[track_caller]
fn grown(happens: impl FnOnce(&Bench), first: Option<&str>, then: &str) {
    let mut b = Bench::new("utf-8", head(None), |dir| append(&dir.join("log"), "one\ntwo\n"));
    b.read();
    happens(&b);
    let step = b.tail.step_grown(b.now);
    let text = step.map(|step| match step.out.as_slice() {
        [Out::Lines { data, live: true, .. }] => String::from_utf8_lossy(data).replace('\n', " "),
        other => panic!("{other:?}"),
    });
    assert_eq!(text.as_deref().map(str::trim_end), first);
    b.check(then);
}

/// A jail for bans by hand names it as its log.
#[test]
fn the_null_device_is_an_empty_log() {
    let mut b =
        Bench::new("utf-8", head(None), |dir| symlink("/dev/null", dir.join("log")).unwrap());
    b.check("[open] [caught up]");
    b.pause(7200).check("");
    fs::remove_file(b.at("log")).unwrap();
    b.append("line\n");
    b.pause(1).check("[open] line [caught up]");
    // Other devices are no logs, and that is said once.
    let mut b =
        Bench::new("utf-8", head(None), |dir| symlink("/dev/zero", dir.join("log")).unwrap());
    b.check("[missing]");
    b.pause(1).check("");
}

#[test]
fn what_a_file_grew_by_is_read_at_once() {
    grown(|b| b.append("three\nfour\n"), Some("three four"), "");
    grown(|b| b.append("three\nfo"), Some("three"), "");
    grown(|b| b.append("thr"), None, "");
    grown(|_| (), None, "");
    // The rest of the old file comes first, and is all that is read without a look at the path.
    let rotate = |b: &Bench| {
        b.append("three\n");
        b.rename("log", "log.1");
        b.append("new\n");
    };
    grown(rotate, Some("three"), "[rotated] >new");
    // Cut, and grown again to the same or another length.
    for (text, lines) in [("six\nten\n", " >six >ten"), ("a longer line\n", " >a longer line")] {
        grown(|b| fs::write(b.at("log"), text).unwrap(), None, &format!("[rotated]{lines}"));
    }
    grown(|b| fs::write(b.at("log"), "").unwrap(), None, "[rotated]");
    let long = "x".repeat(5000);
    let expected = format!(">{long}");
    grown(|b| b.append(format!("{long}\n")), None, &expected);
    let many = "line\n".repeat(2000);
    let (first, then) = (vec!["line"; 817].join(" "), vec![">line"; 1183].join(" "));
    grown(|b| b.append(&many), Some(&first), &then);
}

#[test]
fn head_is_not_live_until_the_end_was_reached() {
    let mut b = Bench::new("auto", head(None), |d| append(&d.join("log"), "a\nb\npart"));
    b.check("[open] a b [caught up]");
    b.append("ial\nc\r\n");
    b.check(">partial >c");
    b.check("");
}

#[test]
fn tail_begins_behind_the_last_complete_line_and_is_live() {
    let mut b = Bench::new("auto", StartAt::Tail, |d| append(&d.join("log"), "a\nb\npart"));
    b.check("[open] [caught up]");
    b.append("ial\n");
    b.check(">partial");
    // A file without a single line, and one that appears later.
    let mut b = Bench::new("auto", StartAt::Tail, |d| append(&d.join("log"), ""));
    b.check("[open] [caught up]");
    b.append("a\n");
    b.check(">a");
    let mut b = Bench::new("auto", StartAt::Tail, |_| {});
    b.check("[missing]");
    b.append("a\n");
    b.check("[open] a [caught up]");
}

#[test]
fn a_missing_file_is_waited_for() {
    let mut b = Bench::new("auto", head(None), |_| {});
    b.check("[missing]");
    b.pause(100).check("");
    b.append("a\n");
    b.check("[open] a [caught up]");
    fs::remove_file(b.at("log")).unwrap();
    b.check("");
    b.pause(2).check("[missing]");
    b.append("b\n");
    b.check("[open] [rotated] >b");
    // Back again, and the same file.
    b.rename("log", "elsewhere");
    b.check("");
    b.pause(2).check("[missing]");
    append(&b.at("elsewhere"), "c\n");
    b.rename("elsewhere", "log");
    b.check("[open] >c");
}

#[test]
fn rename_and_create() {
    let mut b = Bench::new("auto", head(None), |d| append(&d.join("log"), "a\n"));
    b.check("[open] a [caught up]");
    b.append("b\n");
    b.rename("log", "log.1");
    b.append("d\n");
    append(&b.at("log.1"), "c\n");
    b.check(">b >c [rotated] >d");
    // The daemon still writes to the old file for a while.
    append(&b.at("log.1"), "late\nunfin");
    b.append("e\n");
    b.check(">late >e");
    append(&b.at("log.1"), "ished\nrest");
    b.check(">unfinished");
    b.pause(1).check("");
    b.pause(2).check(">rest");
    append(&b.at("log.1"), "\nx\ny");
    b.check("> >x");
    b.pause(3).check(">y");
    b.pause(100).check("");
    append(&b.at("log.1"), "too late\n");
    b.check("");
}

#[test]
fn several_rotations_between_two_looks() {
    for dated in [false, true] {
        let mut b = Bench::new("auto", head(None), |d| append(&d.join("log"), "a\n"));
        b.check("[open] a [caught up]");
        let position = b.position.clone();
        b.append("b\n");
        b.rename("log", if dated { "log-20261120" } else { "log.2" });
        b.append("c\n");
        b.rename("log", if dated { "log-20261121" } else { "log.1" });
        b.append("d\n");
        b.check(">b >c [rotated] >d");
        // The same after a restart.
        b.restart(head(Some(position)));
        b.check("[open] b c d [caught up]");
    }
}

#[test]
fn copy_and_truncate() {
    let mut b = Bench::new("auto", head(None), |d| append(&d.join("log"), "a\n"));
    b.check("[open] a [caught up]");
    b.append("b\n");
    fs::copy(b.at("log"), b.at("log.1")).unwrap();
    fs::write(b.at("log"), "c, longer than what was there before\n").unwrap();
    b.check(">b [rotated] >c, longer than what was there before");
    fs::write(b.at("log"), "").unwrap();
    b.check("[rotated]");
    b.append("d\n");
    b.check(">d");
    // Rewritten to the same size, and with the same first line.
    fs::write(b.at("log"), "e\n").unwrap();
    b.check("[rotated] >e");
    b.append("x\n");
    b.check(">x");
    fs::write(b.at("log"), "e\ny\n").unwrap();
    b.check("[rotated] >e >y");
}

#[test]
fn symlinks_are_followed_when_they_switch() {
    let mut b = Bench::new("auto", head(None), |d| {
        append(&d.join("one"), "a\n");
        append(&d.join("two"), "x\n");
        symlink("one", d.join("log")).unwrap();
    });
    b.check("[open] a [caught up]");
    append(&b.at("one"), "b\n");
    symlink("two", b.at("new")).unwrap();
    b.rename("new", "log");
    b.check(">b [rotated] >x");
    append(&b.at("two"), "y\n");
    b.check(">y");
    fs::remove_file(b.at("two")).unwrap();
    b.pause(2).check("");
    b.pause(2).check("[missing]");
}

#[test]
fn an_editor_that_saves_a_copy_repeats_nothing() {
    let old: String = (0..100).map(|i| format!("{i} line of an old log\n")).collect();
    let mut b = Bench::new("auto", head(None), |d| append(&d.join("log"), &old));
    assert!(b.read().ends_with("[caught up]"));
    append(&b.at("copy"), format!("{old}new\n"));
    b.rename("copy", "log");
    b.check(">new");
}

#[test]
fn resume() {
    let mut b = Bench::new("auto", head(None), |d| append(&d.join("log"), "a\nb\n"));
    b.check("[open] a b [caught up]");
    let saved = b.position.clone();
    // printf 'a\n' | sha1sum
    assert_eq!(saved.first_line, "3f786850e387550fdab836ed7e6dc881de23001b");
    assert_eq!(saved.offset, 4.0);
    b.append("c\n");
    b.restart(head(Some(saved.clone())));
    b.check("[open] c [caught up]");
    // Another first line, or shorter than the offset: from the start.
    fs::write(b.at("log"), "x\nb\nc\n").unwrap();
    b.restart(head(Some(saved.clone())));
    b.check("[open] x b c [caught up]");
    fs::write(b.at("log"), "a\n").unwrap();
    b.restart(head(Some(saved.clone())));
    b.check("[open] a [caught up]");
    for offset in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
        b.restart(head(Some(Position { offset, ..saved.clone() })));
        b.check("[open] a [caught up]");
    }
}

/// A deleted log, of which only an unfinished line was read, and a new one with its inode.
#[test]
fn an_inode_that_is_used_again_is_another_file() {
    let mut b = Bench::new("auto", StartAt::Tail, |d| append(&d.join("log"), "new line 1\n2\n"));
    let meta = fs::metadata(b.at("log")).unwrap();
    let place = |mark: &str| Position {
        first_line: String::new(),
        offset: 4.0,
        cursor: Some(format!("{:x}:{:x}:{mark}", meta.dev(), meta.ino())),
    };
    // printf 'old-' | sha1sum, and of 'new '
    b.restart(head(Some(place("97a9962249863c8e"))));
    b.check("[open] new line 1 2 [caught up]");
    b.restart(head(Some(place("0399d627d3884874"))));
    b.check("[open] line 1 2 [caught up]");
}

#[test]
fn logs_with_the_same_first_line_are_told_apart() {
    let header = "#Fields: date time\n";
    let mut b =
        Bench::new("auto", head(None), |d| append(&d.join("log"), format!("{header}old 1\n")));
    b.check("[open] #Fields: date time old 1 [caught up]");
    let saved = b.position.clone();
    b.append("old 2\n");
    b.rename("log", "log.1");
    b.append(format!("{header}new 1\nnew 2\n"));
    b.restart(head(Some(saved.clone())));
    b.check("[open] old 2 #Fields: date time new 1 new 2 [caught up]");
    // What fail2ban stored knows the first line only.
    b.restart(head(Some(Position { cursor: None, ..saved })));
    b.check("[open] new 2 [caught up]");
    // A file of which nothing was read yet is known by its inode.
    let mut b = Bench::new("auto", head(None), |d| append(&d.join("log"), ""));
    b.check("[open] [caught up]");
    let position = b.opened.clone();
    b.append("a\n");
    b.rename("log", "log.1");
    b.append("b\n");
    b.restart(head(Some(position)));
    b.check("[open] a b [caught up]");
}

#[test]
fn a_rotated_file_older_than_wanted_is_left_alone() {
    let mut b = Bench::new("auto", head(None), |d| append(&d.join("log"), "a\n"));
    b.check("[open] a [caught up]");
    b.append("b\n");
    b.rename("log", "log.1");
    b.append("c\n");
    let day = Span::from_secs(86_400 * 2);
    let (_, _, changed) = b.tail.readers().next().unwrap().stat().unwrap();
    b.restart(StartAt::Head { saved: Some(b.position.clone()), since: changed.plus(day) });
    // Neither holds a line young enough.
    b.check("[open] [caught up]");
    b.append("d\n");
    b.check(">d");
}

#[test]
fn long_lines() {
    let long = "x".repeat(LINE_MAX as usize - 1);
    let mut b = Bench::new("auto", head(None), |d| append(&d.join("log"), format!("{long}\nb\n")));
    b.check(&format!("[open] {long} b [caught up]"));
    // One byte more is too much, also when it comes in pieces; no part of it is taken for a line.
    let kept = "x".repeat(CUT_KEEP);
    b.append(&long);
    b.check("");
    b.append("xxx");
    b.check("");
    b.append("yyy\nc\n");
    b.check(&format!(">{kept} [trouble] >c"));
    b.append(format!("{long}x\n"));
    b.check(&format!(">{kept}"));
    // Once a day.
    b.pause(90_000).append(format!("{long}x\n"));
    b.check(&format!(">{kept} [trouble]"));
}

#[test]
fn batches_are_bounded() {
    let line = "0123456789".repeat(10) + "\n";
    let mut b = Bench::new("auto", head(None), |d| append(&d.join("log"), line.repeat(10_000)));
    let (mut total, mut last) = (0, 0.0);
    for out in b.steps() {
        if let Out::Lines { data, position, .. } = out {
            assert!(data.len() <= BATCH_MAX && data.len() % line.len() == 0);
            total += data.len();
            assert!(position.offset > last);
            last = position.offset;
        }
    }
    assert_eq!((total, last), (10_000 * line.len(), total as f64));
}

#[test]
fn holes_and_nul_bytes() {
    let mut b = Bench::new("auto", head(None), |d| append(&d.join("log"), "a\nb\0c\n"));
    b.check("[open] a b\0c [caught up]");
    // The writer does not append: after the truncation it goes on at its old offset.
    let log = OpenOptions::new().write(true).open(b.at("log")).unwrap();
    log.set_len(0).unwrap();
    std::os::unix::fs::FileExt::write_at(&log, b"d\n", 5_000_000).unwrap();
    b.check("[rotated] >d");
    b.append("e\n");
    b.check(">e");
}

#[test]
fn other_encodings() {
    let utf16 = |s: &str| s.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let mut b = Bench::new("utf-16", head(None), |_| {});
    b.check("[missing]");
    b.append([0xFF]);
    b.check("[open] [caught up]");
    b.append([0xFE]);
    b.append(utf16("añ\nĊ\u{0a0a}"));
    b.check(">añ");
    assert_eq!(b.position.offset, 8.0);
    b.append(&utf16("b\n")[..3]);
    b.check("");
    b.append([0]);
    b.check(">Ċ\u{0a0a}b");
    b.append(utf16("c\n\u{0}"));
    b.append([0, 0xD8]);
    b.append(utf16("\n"));
    b.check(">c >\0\u{fffd} [trouble]");

    let mut b = Bench::new("latin-1", head(None), |d| append(&d.join("log"), b"\xe9\n"));
    b.check("[open] é [caught up]");
    let mut b = Bench::new("utf-8", head(None), |d| append(&d.join("log"), b"\xe9\n"));
    b.check("[open] \u{fffd} [caught up]");
}

#[test]
fn what_is_no_file_is_trouble_and_no_hang() {
    for kind in ["dir", "fifo"] {
        let mut b = Bench::new("auto", head(None), |d| match kind {
            "dir" => fs::create_dir(d.join("log")).unwrap(),
            _ => make_pipe(&d.join("log")),
        });
        b.check("[missing]");
        b.check("");
        b.rename("log", "away");
        b.append("a\n");
        b.check("[open] a [caught up]");
    }
    let mut b = Bench::new("auto", head(None), |d| symlink("log", d.join("log")).unwrap());
    b.check("[missing]");
}

fn make_pipe(path: &Path) {
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, rustix::fs::Mode::RUSR, 0).unwrap();
}

/// However fast the one takes the other's place.
#[test]
fn a_pipe_in_place_of_the_file_is_no_trouble() {
    let mut b = Bench::new("auto", head(None), |dir| append(&dir.join("log"), "a\n"));
    b.check("[open] a [caught up]");
    b.append("b\n");
    b.rename("log", "away");
    make_pipe(&b.at("log"));
    b.check(">b");
}
