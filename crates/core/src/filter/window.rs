//! The last lines of a log, for patterns that span several (`maxlines`).
//!
//! Lines that took part in a match leave the window; lines before and after it, and those that
//! `<SKIPLINES>` skipped, stay for later matches. The window never holds more than `maxlines`.

use std::ops::Range;

use crate::failure::MatchedLine;

/// One line of the window, cut at its date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowLine {
    /// Before the date, the date, after it.
    pub parts: [String; 3],
}

impl WindowLine {
    /// What the patterns see.
    pub fn text(&self) -> String {
        let [before, _, after] = &self.parts;
        format!("{before}{after}")
    }
}

/// What remains of a window after a match.
pub(super) struct Split {
    pub matched: Vec<WindowLine>,
    pub rest: Vec<WindowLine>,
}

/// The text that is searched: every line without its date, ended by a newline.
pub(super) fn join(lines: &[WindowLine]) -> String {
    let mut text = String::new();
    for line in lines {
        let [before, _, after] = &line.parts;
        text.push_str(before);
        text.push_str(after);
        text.push('\n');
    }
    text
}

/// Splits the window into the lines a match took and the others.
pub(super) fn split(
    lines: &[WindowLine],
    text: &str,
    span: Range<usize>,
    skipped: &[Range<usize>],
) -> Split {
    if lines.len() <= 1 {
        return Split { matched: lines.to_vec(), rest: Vec::new() };
    }
    let bytes = text.as_bytes();
    let newlines =
        |end: usize| bytes.get(..end).map_or(0, |head| memchr::memchr_iter(b'\n', head).count());
    // A match that begins with the newline of a line begins with the next line.
    let first = newlines(span.start.saturating_add(1).min(bytes.len()));
    let last = newlines(span.end.saturating_sub(1)).saturating_add(1);
    let mut matched: Vec<WindowLine> =
        lines.get(first..last.min(lines.len())).unwrap_or(&[]).to_vec();
    let mut rest: Vec<WindowLine> = lines.get(..first.min(lines.len())).unwrap_or(&[]).to_vec();

    let mut from = 0;
    let skipped = skipped.iter().filter_map(|span| text.get(span.clone())).flat_map(str::lines);
    for line in skipped {
        let at = matched.iter().skip(from).position(|m| m.text() == line);
        if let Some(at) = at {
            from += at;
            rest.push(matched.remove(from));
        }
    }
    rest.extend_from_slice(lines.get(last..).unwrap_or(&[]));
    Split { matched, rest }
}

/// The lines as the database and `<matches>` know them.
pub(super) fn matched_lines(lines: &[WindowLine]) -> Vec<MatchedLine> {
    lines.iter().map(|line| MatchedLine::Cut(line.parts.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> WindowLine {
        WindowLine { parts: [String::new(), "D".into(), text.into()] }
    }

    #[test]
    fn splits_at_the_match() {
        let lines: Vec<_> = ["a", "b", "c", "d"].map(line).to_vec();
        let text = join(&lines);
        assert_eq!(text, "a\nb\nc\nd\n");
        for (span, skipped, matched, rest) in [
            (2..5, None, "bc", "ad"),
            (0..5, Some(2..4), "ac", "bd"),
            (1..3, None, "b", "acd"),
            (0..2, None, "a", "bcd"),
            (6..8, None, "d", "abc"),
        ] {
            let split = split(&lines, &text, span, skipped.as_slice());
            let show = |l: &[WindowLine]| l.iter().map(WindowLine::text).collect::<String>();
            assert_eq!((show(&split.matched), show(&split.rest)), (matched.into(), rest.into()));
        }
    }
}
