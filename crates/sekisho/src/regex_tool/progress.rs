//! How far a long run has come, on the last line of a terminal.
//!
//! Only for people: it goes to standard error, if that is a terminal, begins after a second, and
//! leaves nothing behind.

use std::cell::Cell;
use std::io::{self, IsTerminal, Read, Write};
use std::rc::Rc;

use sekisho_core::time::{Monotonic, Span};

/// A run that is over sooner needs no bar.
const BEGIN: Span = Span::from_secs(1);
/// Time between two looks.
const EVERY: Span = Span::from_millis(200);
/// Characters of the bar itself.
const WIDTH: u64 = 30;

/// Bytes read so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Count(Rc<Cell<u64>>);

/// A reader whose bytes are counted.
pub(super) struct Counted<R>(pub R, pub Count);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read(buffer)?;
        let Count(count) = &self.1;
        count.set(count.get().saturating_add(n as u64));
        Ok(n)
    }
}

/// The line.
pub(super) struct Progress {
    count: Count,
    /// Bytes to be read, where that is known.
    total: Option<u64>,
    began: Monotonic,
    shown: Option<Monotonic>,
    wanted: bool,
}

impl Progress {
    /// Nothing is shown where `wanted` is false or nobody looks.
    pub(super) fn new(count: Count, total: Option<u64>, wanted: bool, now: Monotonic) -> Self {
        let wanted = wanted && io::stderr().is_terminal();
        Progress { count, total, began: now, shown: None, wanted }
    }

    /// Shows how far it is, if it is time.
    pub(super) fn look(&mut self, now: Monotonic) {
        let took = now.since(self.began);
        let early = self.shown.is_some_and(|at| now.since(at) < EVERY);
        if !self.wanted || took < BEGIN || early {
            return;
        }
        self.shown = Some(now);
        let line = line(self.count.0.get(), self.total, took);
        let _ = write!(io::stderr(), "\r{line}\x1b[K");
    }

    /// Takes the line away.
    pub(super) fn end(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// `[=======>       ]  47 %  12.5 MB/s  0:17 left`
fn line(read: u64, total: Option<u64>, took: Span) -> String {
    let rate = read as f64 / took.as_secs_f64().max(0.001);
    let speed = format!("{:.1} MB/s", rate / 1e6);
    let Some(total) = total.filter(|total| *total > 0) else {
        return format!("{:.1} MB read  {speed}", read as f64 / 1e6);
    };
    // A log that grows meanwhile has more than it had.
    let read = read.min(total);
    let part = |of: u64| u64::try_from(u128::from(read) * u128::from(of) / u128::from(total));
    let done = part(WIDTH).unwrap_or(WIDTH);
    let bar: String = (0..WIDTH)
        .map(|at| match at {
            at if at < done => '=',
            at if at == done => '>',
            _ => ' ',
        })
        .collect();
    let left = ((total - read) as f64 / rate.max(1.0)).ceil() as u64;
    let percent = part(100).unwrap_or(100);
    format!("[{bar}] {percent:3} %  {speed}  {}:{:02} left", left / 60, left % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (read, total, secs, expected) in [
            (
                0,
                Some(100_000_000),
                1,
                "[>                             ]   0 %  0.0 MB/s  1666666:40 left",
            ),
            (
                25_000_000,
                Some(100_000_000),
                2,
                "[=======>                      ]  25 %  12.5 MB/s  0:06 left",
            ),
            (
                u64::MAX,
                Some(u64::MAX),
                3600,
                "[==============================] 100 %  5124095576.0 MB/s  0:00 left",
            ),
            (9, Some(5), 1, "[==============================] 100 %  0.0 MB/s  0:00 left"),
            (2_500_000, None, 2, "2.5 MB read  1.2 MB/s"),
            (1, Some(0), 0, "0.0 MB read  0.0 MB/s"),
        ] {
            assert_eq!(line(read, total, Span::from_secs(secs)), expected);
        }
    }
}
