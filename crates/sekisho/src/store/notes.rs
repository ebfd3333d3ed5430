//! Bans on their way to the database, noted where a killed process cannot lose them.
//!
//! The database is written in bursts, and nothing in the ban path waits for it; so for some
//! milliseconds the kernel may enforce what no row tells of. A line appended to this file first
//! closes that gap: after a kill the notes are read and written to the database like any change.
//! The file lies beside the socket, in memory, so that appending never waits for a disk; it is
//! emptied whenever all it says has been written. Must never hold up or refuse a ban: what cannot
//! be noted is not.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sekisho_core::effect::StoreOp;
use sekisho_core::id::Id;
use serde_json::{Value, json};

use super::rows;

/// A larger file is not appended to (bytes): the database has been out of reach for long.
const SIZE_MAX: u64 = 8 << 20;
/// Matched lines kept per noted ban; as many as the database keeps by default.
const MATCHES_MAX: usize = 10;

/// The file of notes.
#[derive(Debug, Default)]
pub struct Notes {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<File>,
    size: u64,
    /// Changes noted, or to be, since the start.
    noted: u64,
}

impl Notes {
    /// Opens the file, and answers what an earlier process noted and may not have written.
    pub fn open(path: &Path) -> (Notes, Vec<StoreOp>) {
        let earlier = std::fs::read(path).unwrap_or_default();
        let found = earlier.split(|b| *b == b'\n').filter_map(parse).collect();
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path).ok();
        let size = u64::try_from(earlier.len()).unwrap_or(u64::MAX);
        (Notes { state: Mutex::new(State { file, size, noted: 0 }) }, found)
    }

    /// Notes a change of bans, before it is handed to the database; other changes are none of ours.
    pub fn add(&self, op: &StoreOp) {
        let Some(mut line) = render(op) else { return };
        line.push('\n');
        let mut state = self.lock();
        state.noted += 1;
        let size = state.size.saturating_add(line.len() as u64);
        if size > SIZE_MAX {
            return;
        }
        if let Some(file) = &mut state.file
            && file.write_all(line.as_bytes()).is_ok()
        {
            state.size = size;
        }
    }

    /// `taken` changes of bans have arrived at the database so far, and all that arrived is
    /// written: if nothing is on its way, the notes are not needed any more.
    pub fn settle(&self, taken: u64) {
        let mut state = self.lock();
        if state.noted == taken
            && state.size > 0
            && state.file.as_ref().is_some_and(|file| file.set_len(0).is_ok())
        {
            state.size = 0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a change is one that is noted.
pub fn counts(op: &StoreOp) -> bool {
    matches!(op, StoreOp::AddBan { .. } | StoreOp::DeleteBan { .. } | StoreOp::DeleteAllBans(_))
}

fn render(op: &StoreOp) -> Option<String> {
    let value = match op {
        StoreOp::AddBan { jail, ticket } => {
            let data = rows::data(ticket, MATCHES_MAX);
            json!([
                "ban",
                **jail,
                ticket.id.to_string(),
                ticket.time.as_secs(),
                ticket.ban_time.as_secs(),
                ticket.ban_count,
                String::from_utf8_lossy(&data),
            ])
        }
        StoreOp::DeleteBan { jail, id } => json!(["unban", **jail, id.to_string()]),
        StoreOp::DeleteAllBans(jail) => json!(["unban", **jail]),
        _ => return None,
    };
    Some(value.to_string())
}

/// A line of the file; the last one may be torn.
fn parse(line: &[u8]) -> Option<StoreOp> {
    let value: Value = serde_json::from_slice(line).ok()?;
    let words = value.as_array()?;
    let text = |at: usize| words.get(at).and_then(Value::as_str);
    let number = |at: usize| words.get(at).and_then(Value::as_i64);
    let jail: Arc<str> = text(1)?.into();
    Some(match (text(0)?, text(2)) {
        ("ban", Some(ip)) => {
            let data = rows::parse_data(rusqlite::types::ValueRef::Text(text(6)?.as_bytes()));
            let ticket = rows::ticket(ip, number(3)?, number(4)?, number(5)?, data);
            StoreOp::AddBan { jail, ticket: Arc::new(ticket) }
        }
        ("unban", Some(ip)) => StoreOp::DeleteBan { jail, id: Id::parse(ip) },
        ("unban", None) => StoreOp::DeleteAllBans(jail),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(ip: &str) -> StoreOp {
        let mut ticket = rows::ticket(ip, 1_700_000_000, 600, 2, rows::Data::default());
        ticket.failures = 5;
        StoreOp::AddBan { jail: "sshd".into(), ticket: Arc::new(ticket) }
    }

    #[test]
    fn notes_survive_and_settle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        let (notes, earlier) = Notes::open(&path);
        assert_eq!(earlier, []);
        let all = [
            ban("192.0.2.1"),
            StoreOp::DeleteBan { jail: "sshd".into(), id: Id::parse("192.0.2.1") },
            StoreOp::DeleteAllBans("x".into()),
            ban("it's \"raw\"\n"),
        ];
        all.iter().for_each(|op| notes.add(op));
        notes.add(&StoreOp::Purge);
        // Not everything has arrived yet: nothing is given up.
        notes.settle(3);
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"[\"ba").unwrap();
        let (notes, earlier) = Notes::open(&path);
        assert_eq!(earlier, all);
        notes.add(&all[0]);
        notes.settle(1);
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        notes.add(&all[3]);
        assert_eq!(Notes::open(&path).1, [ban("it's \"raw\"\n")]);
    }
}
