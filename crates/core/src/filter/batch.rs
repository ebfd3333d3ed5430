//! A run of lines through all filters of one source.
//!
//! This is what the engine calls: bytes in, outputs per filter out, in the order of the lines. It
//! decides nothing itself; [`Scanner`] says which lines are worth looking at, [`Filter::line`]
//! judges them.

use std::borrow::Cow;

use crate::time::Timestamp;

use super::scan::Scanner;
use super::{Filter, FilterOutput, LineContext, MAX_LINE};

/// Lines from which a filter learns the order of its date formats before lines are skipped.
const LEARN_LINES: u32 = 100;

/// One filter that reads a source, and what it judges by.
#[derive(Debug)]
pub struct Reader<'a> {
    /// The filter.
    pub filter: &'a mut Filter,
    /// What it judges by; `skipped` and, where the batch has times, `entry_time` are set here.
    pub ctx: LineContext<'a>,
}

/// What happened to a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchStats {
    /// Lines in it.
    pub lines: u64,
    /// Lines that a filter looked at.
    pub judged: u64,
    /// Lines of which only the first 16 KiB were matched.
    pub cut: u64,
}

/// Gives the lines of `data` to the filters. `scanner` must have been made for the same filters in
/// the same order. `times` has the time of each line of a journal, and is empty for files.
/// `sink` gets the index of the reader and what a line led to.
pub fn process_batch(
    readers: &mut [Reader<'_>],
    scanner: &Scanner,
    data: &[u8],
    times: &[Timestamp],
    sink: &mut dyn FnMut(usize, FilterOutput),
) -> BatchStats {
    let mut stats = BatchStats::default();
    let mut out = Vec::new();
    for reader in readers.iter_mut() {
        reader.filter.dating.another_batch();
        if times.is_empty() {
            learn_dates(reader, data);
        }
    }
    // Where each reader's unjudged lines begin.
    let mut judged_to = vec![0usize; readers.len()];
    let mut counted_to = 0usize;
    for candidate in scanner.candidates(data) {
        let head = data.get(counted_to..candidate.line.start).unwrap_or(&[]);
        stats.lines = stats.lines.saturating_add(memchr::memchr_iter(b'\n', head).count() as u64);
        counted_to = candidate.line.start;
        let index = usize::try_from(stats.lines).unwrap_or(usize::MAX);

        let bytes = data.get(candidate.line.clone()).unwrap_or(&[]);
        let (line, was_cut) = decode(bytes);
        stats.judged = stats.judged.saturating_add(1);
        stats.cut = stats.cut.saturating_add(u64::from(was_cut));
        for (i, reader) in readers.iter_mut().enumerate() {
            if !candidate.hit && !scanner.gets_every_line(i) {
                continue;
            }
            let Some(from) = judged_to.get_mut(i) else { continue };
            let mut ctx = reader.ctx;
            ctx.skipped = data.get(*from..candidate.line.start).unwrap_or(&[]);
            *from = candidate.line.end.saturating_add(1);
            if !times.is_empty() {
                ctx.entry_time = times.get(index).copied().or(ctx.entry_time);
            }
            reader.filter.line(&ctx, &line, &mut out);
            out.drain(..).for_each(|output| sink(i, output));
        }
    }
    let tail = data.get(counted_to..).unwrap_or(&[]);
    stats.lines = stats.lines.saturating_add(memchr::memchr_iter(b'\n', tail).count() as u64);
    if !tail.is_empty() && !tail.ends_with(b"\n") {
        stats.lines = stats.lines.saturating_add(1);
    }
    if times.is_empty() {
        for (reader, from) in readers.iter_mut().zip(&judged_to) {
            note_last_date(reader, data.get(*from..).unwrap_or(&[]));
        }
    }
    stats
}

/// Bytes of a log as text: the matched part, without its line end, invalid bytes replaced.
fn decode(bytes: &[u8]) -> (Cow<'_, str>, bool) {
    let end = bytes.iter().rposition(|b| *b != b'\r').map_or(0, |n| n.saturating_add(1));
    let bytes = bytes.get(..end).unwrap_or(&[]);
    let part = bytes.get(..MAX_LINE.saturating_add(4)).unwrap_or(bytes);
    let text = String::from_utf8_lossy(part);
    let cut = bytes.len() > MAX_LINE;
    (text, cut)
}

/// The first lines show a filter which date formats its log has, and in which order to try them.
fn learn_dates(reader: &mut Reader<'_>, data: &[u8]) {
    let mut lines = data.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    while reader.filter.lines_learned < LEARN_LINES {
        let Some(line) = lines.next() else { return };
        reader.filter.lines_learned = reader.filter.lines_learned.saturating_add(1);
        let (line, _) = decode(line);
        reader.filter.learn_date(&reader.ctx, &line);
    }
}

/// Skipped lines at the end of a batch move the last date, too.
fn note_last_date(reader: &mut Reader<'_>, skipped: &[u8]) {
    if !skipped.is_empty() {
        let mut ctx = reader.ctx;
        ctx.skipped = skipped;
        reader.filter.look_back(&ctx);
    }
}
