//! The thread that follows log files, and the way to it.
//!
//! It sleeps until the kernel reports a change, a timer of the [`Follower`] is due, or the
//! [`Sources`] have something to do. Must never wait for the thread that sends it work.
//!
//! [`Sources`]: super::Sources

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use sekisho_core::effect::{SourceId, SourceOp};
use sekisho_core::time::{Monotonic, Span};

use super::follower::{Follower, Wanted};
use super::watch::Waker;
use super::{Context, Source};

/// Where so much is written that the thread wakes up more often than this in …
const WAKES_MAX: u32 = 25;
/// … such a time, …
const WAKES_IN: Span = Span::from_millis(100);
/// … it rests so long before each look, which then brings what several writes brought.
const REST: Duration = Duration::from_millis(2);

enum Op {
    Open(Wanted),
    Close(SourceId),
}

/// The thread and the way to it.
struct Files {
    // Unbounded, because the thread that sends must not wait for one that may wait for it; there
    // is one entry per configured log.
    ops: Sender<Op>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the thread.
pub fn start(context: &Context) -> io::Result<Box<dyn Source>> {
    let waker = Arc::new(Waker::new()?);
    let (ops, inbox) = crossbeam_channel::unbounded();
    let (context, woken) = (context.clone(), Arc::clone(&waker));
    let run = move || run(&context, &inbox, &woken);
    let thread = std::thread::Builder::new().name("files".into()).spawn(run)?;
    Ok(Box::new(Files { ops, waker, thread: Some(thread) }))
}

impl Source for Files {
    fn apply(&mut self, op: &SourceOp) -> bool {
        let op = match op {
            SourceOp::OpenFile { source, path, encoding, poll, dates, start } => Op::Open(Wanted {
                source: *source,
                path: path.clone(),
                encoding: encoding.clone(),
                poll: *poll,
                dates: dates.clone(),
                start: start.clone(),
            }),
            SourceOp::Close(source) => Op::Close(*source),
            SourceOp::OpenJournal { .. } => return false,
        };
        let close = matches!(op, Op::Close(_));
        // Fails only after the end.
        let _ = self.ops.send(op);
        self.waker.wake();
        // A source to be closed may be one of another kind.
        !close
    }

    fn stop(&mut self) {
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(context: &Context, inbox: &Receiver<Op>, waker: &Waker) {
    let mut follower = Follower::new(context.clone());
    let mut wakes = Wakes::default();
    loop {
        while let Ok(op) = inbox.try_recv() {
            match op {
                Op::Open(wanted) => follower.open(wanted),
                Op::Close(source) => follower.close(source),
            }
        }
        if context.stopping() || !follower.turn(crate::clock::now().mono) {
            return;
        }
        let next = follower.next_due();
        // Without sources there is nothing to look at; the waker ends the wait.
        let timeout = next.map_or(Span::from_secs(3600), |at| at.since(crate::clock::now().mono));
        // Rounded up: waking a moment too early would be for nothing.
        follower.wait(waker, Span(timeout.0.saturating_add(999) / 1000 * 1000));
        if wakes.are_many(crate::clock::now().mono) {
            std::thread::sleep(REST);
        }
    }
}

/// How often the thread wakes up.
#[derive(Default)]
struct Wakes {
    since: Monotonic,
    count: u32,
    many: bool,
}

impl Wakes {
    /// Counts one; whether there are so many that a rest saves work.
    fn are_many(&mut self, now: Monotonic) -> bool {
        let passed = now.since(self.since);
        if passed >= WAKES_IN {
            // After a quiet time the first of them are not delayed.
            self.many = self.count > WAKES_MAX && passed < Span(WAKES_IN.0 * 2);
            (self.since, self.count) = (now, 0);
        }
        self.count += 1;
        self.many
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of wakes that come `every` so many microseconds for a second, those after which it rests.
    fn check(every: u64, expected: std::ops::RangeInclusive<usize>) {
        let mut wakes = Wakes::default();
        let begin = 7_000_000;
        let rests = |n: &u64| wakes.are_many(Monotonic(begin + n * every));
        let rested = (0..1_000_000 / every).filter(rests).count();
        assert!(expected.contains(&rested), "{rested} of {}", 1_000_000 / every);
        assert!(!wakes.are_many(Monotonic(begin + 2_000_000)), "after a quiet second");
    }

    #[test]
    fn rests_only_while_much_is_written() {
        check(100_000, 0..=0);
        check(5_000, 0..=0);
        check(2_500, 350..=380);
        check(100, 8_900..=9_100);
    }
}
