//! Places in logs that nobody reads any more and whose files are gone: where names have a date in them,
//! the table would only grow. fail2ban keeps such rows for ever.
//!
//! Whether a file exists is looked up by a thread of its own, once after a purge, for the file system may
//! not answer. Its result is taken when the store's thread next has something to do. Must never give up
//! the place of a log that was read, or asked for, since the start: that may be away for a moment.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use sekisho_core::effect::StoreOp;

/// Files looked for after one purge.
const LOOKS_MAX: usize = 10_000;

/// A log of a jail.
type Log = (Arc<str>, String);

/// What is read, and what is being looked for.
#[derive(Default)]
pub struct Vanished {
    used: BTreeSet<Log>,
    looking: Option<Receiver<Vec<Log>>>,
}

impl Vanished {
    /// A jail asks where reading of a log ended.
    pub fn asked(&mut self, jail: &Arc<str>, path: &str) {
        self.used.insert((Arc::clone(jail), path.to_owned()));
    }

    /// Takes note of who reads what.
    pub fn note(&mut self, op: &StoreOp) {
        match op {
            StoreOp::LogPosition { jail, path, .. } => self.asked(jail, path),
            StoreOp::ForgetLog { jail, path } => {
                self.used.remove(&(Arc::clone(jail), path.clone()));
            }
            StoreOp::DisableJail(jail) => self.used.retain(|(of, _)| of != jail),
            _ => {}
        }
    }

    /// Begins to look which of these logs are gone, unless the last look is not over yet.
    pub fn look_for(&mut self, mut logs: Vec<Log>) {
        logs.retain(|log| !self.used.contains(log));
        logs.truncate(LOOKS_MAX);
        if logs.is_empty() || self.looking.is_some() {
            return;
        }
        let (tell, told) = bounded(1);
        let look = move || {
            logs.retain(|(_, path)| is_gone(path));
            let _ = tell.send(logs);
        };
        // Without a thread there is another try after the next purge.
        if std::thread::Builder::new().name("vanished".into()).spawn(look).is_ok() {
            self.looking = Some(told);
        }
    }

    /// The rows to delete, once they are known.
    pub fn found(&mut self) -> Vec<StoreOp> {
        let Some(looking) = &self.looking else { return Vec::new() };
        let gone = match looking.try_recv() {
            Err(TryRecvError::Empty) => return Vec::new(),
            told => told.unwrap_or_default(),
        };
        self.looking = None;
        let unused = gone.into_iter().filter(|log| !self.used.contains(log));
        unused.map(|(jail, path)| StoreOp::ForgetLog { jail, path }).collect()
    }
}

fn is_gone(path: &str) -> bool {
    std::fs::symlink_metadata(path)
        .is_err_and(|e| matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
}
