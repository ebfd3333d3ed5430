//! What is not written yet, and how it changes what is read.
//!
//! Answers must not depend on whether a write had to wait, so every answer is what the file says
//! with the waiting operations laid over it. Pure bookkeeping: no SQL here.
//!
//! Bound: [`PENDING_MAX`] operations. Beyond it the oldest is given up (and counted): bans go on,
//! only their memory across a restart suffers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use sekisho_core::effect::{Position, StoreOp};
use sekisho_core::failure::MatchedLine;
use sekisho_core::ticket::Ticket;
use sekisho_core::time::Timestamp;

/// Operations that may wait while the file cannot be written.
pub const PENDING_MAX: usize = 100_000;

/// Operations in order; positions of logs apart, as only the last of each counts.
#[derive(Debug, Default)]
pub struct Pending {
    ops: VecDeque<StoreOp>,
    positions: BTreeMap<(Arc<str>, String), Position>,
    lost: u64,
}

/// Earlier bans of an id in one jail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// `bancount`
    pub count: i64,
    /// `timeofban`
    pub time: i64,
    /// `bantime`
    pub ban_time: i64,
}

impl Pending {
    /// Adds an operation; true if an older one had to be given up for the first time in a while.
    pub fn push(&mut self, op: StoreOp) -> bool {
        match op {
            StoreOp::LogPosition { jail, path, position } => {
                self.positions.insert((jail, path), position);
                return false;
            }
            StoreOp::ForgetLog { ref jail, ref path } => {
                self.positions.remove(&(Arc::clone(jail), path.clone()));
            }
            StoreOp::Purge if self.ops.contains(&StoreOp::Purge) => return false,
            _ => {}
        }
        self.ops.push_back(op);
        if self.ops.len() <= PENDING_MAX {
            return false;
        }
        self.ops.pop_front();
        self.lost += 1;
        self.lost == 1
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.positions.is_empty()
    }

    /// How much waits.
    pub fn len(&self) -> usize {
        self.ops.len() + self.positions.len()
    }

    /// The operations to write next, at most `max`, in order.
    pub fn ops(&self, max: usize) -> impl Iterator<Item = &StoreOp> {
        self.ops.iter().take(max)
    }

    /// The positions to write, after all operations.
    pub fn positions(&self) -> impl Iterator<Item = (&Arc<str>, &str, &Position)> {
        self.positions.iter().map(|((jail, path), position)| (jail, path.as_str(), position))
    }

    /// The first `ops` operations, and the positions if `positions`, are in the file now. Returns
    /// how many had been given up until here.
    pub fn written(&mut self, ops: usize, positions: bool) -> u64 {
        self.ops.drain(..ops.min(self.ops.len()));
        if positions {
            self.positions.clear();
        }
        std::mem::take(&mut self.lost)
    }

    /// Everything is forgotten (there is no database any more).
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The waiting position of a log.
    pub fn position(&self, jail: &Arc<str>, path: &str) -> Option<&Position> {
        self.positions.get(&(Arc::clone(jail), path.to_owned()))
    }

    /// Whether the log's row is about to be deleted.
    pub fn forgets(&self, jail: &str, path: &str) -> bool {
        self.ops.iter().any(
            |op| matches!(op, StoreOp::ForgetLog { jail: j, path: p } if **j == *jail && p == path),
        )
    }

    /// Lays the waiting changes over the last bans of an id in each jail.
    pub fn overlay_past(&self, id: &str, jail: Option<&str>, past: &mut BTreeMap<String, Past>) {
        for op in &self.ops {
            match op {
                StoreOp::AddBan { jail: j, ticket } if ours(jail, j) && id == text(ticket) => {
                    let entry = Past {
                        count: i64::from(ticket.ban_count),
                        time: ticket.stored_secs(),
                        ban_time: ticket.ban_time.as_secs(),
                    };
                    past.insert(j.to_string(), entry);
                }
                StoreOp::DeleteBan { jail: j, id: i } if id == i.to_string() => {
                    past.remove(&**j);
                }
                StoreOp::DeleteAllBans(j) => {
                    past.remove(&**j);
                }
                _ => {}
            }
        }
    }

    /// Lays the waiting changes over the bans of a jail, by id.
    pub fn overlay_bans(&self, jail: &str, bans: &mut BTreeMap<String, Ticket>) {
        for op in &self.ops {
            match op {
                StoreOp::AddBan { jail: j, ticket } if **j == *jail => {
                    let time = Timestamp::from_secs(ticket.stored_secs());
                    let restored =
                        Ticket { restored: true, time, whole: true, ..(**ticket).clone() };
                    bans.insert(text(ticket), restored);
                }
                StoreOp::DeleteBan { jail: j, id } if **j == *jail => {
                    bans.remove(&id.to_string());
                }
                StoreOp::DeleteAllBans(j) if **j == *jail => bans.clear(),
                _ => {}
            }
        }
    }

    /// Lays the waiting changes over the lines and failures of all bans of an id.
    pub fn overlay_lines(&self, id: &str, jail: Option<&str>, bans: &mut Vec<Lines>) {
        for op in &self.ops {
            match op {
                StoreOp::AddBan { jail: j, ticket } if ours(jail, j) && id == text(ticket) => {
                    bans.push(Lines {
                        jail: j.to_string(),
                        lines: ticket.matches.iter().map(MatchedLine::text).collect(),
                        failures: u64::from(ticket.failures),
                    });
                }
                StoreOp::DeleteBan { jail: j, id: i } if id == i.to_string() => {
                    bans.retain(|b| *b.jail != **j);
                }
                StoreOp::DeleteAllBans(j) => bans.retain(|b| *b.jail != **j),
                _ => {}
            }
        }
    }
}

/// Lines of one earlier ban.
#[derive(Debug)]
pub struct Lines {
    /// The jail that made it.
    pub jail: String,
    /// Its lines.
    pub lines: Vec<String>,
    /// Its failures.
    pub failures: u64,
}

fn ours(wanted: Option<&str>, jail: &str) -> bool {
    wanted.is_none_or(|w| w == jail)
}

fn text(ticket: &Ticket) -> String {
    ticket.id.to_string()
}
