//! Bans, and the places in the logs that led to them, on their way to the database: noted where a
//! killed process cannot lose them.
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

use sekisho_core::effect::{Position, StoreOp};
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

    /// Notes changes, before they are handed to the database; those that are not of bans or places are
    /// none of ours. They are written at once, so that a ban is never noted without the place in the
    /// log that it was found at.
    pub fn add(&self, ops: &[StoreOp]) {
        let lines: Vec<String> = ops.iter().filter_map(render).collect();
        if lines.is_empty() {
            return;
        }
        let text = lines.join("\n") + "\n";
        let mut state = self.lock();
        state.noted += lines.len() as u64;
        let size = state.size.saturating_add(text.len() as u64);
        if size > SIZE_MAX {
            return;
        }
        if let Some(file) = &mut state.file
            && file.write_all(text.as_bytes()).is_ok()
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
    matches!(
        op,
        StoreOp::AddBan { .. }
            | StoreOp::DeleteBan { .. }
            | StoreOp::DeleteAllBans(_)
            | StoreOp::LogPosition { .. }
    )
}

fn render(op: &StoreOp) -> Option<String> {
    let value = match op {
        StoreOp::AddBan { jail, ticket } => {
            let data = rows::data(ticket, MATCHES_MAX);
            json!([
                "ban",
                **jail,
                ticket.id.to_string(),
                ticket.stored_secs(),
                ticket.ban_time.as_secs_f64(),
                ticket.ban_count,
                String::from_utf8_lossy(&data),
            ])
        }
        StoreOp::DeleteBan { jail, id } => json!(["unban", **jail, id.to_string()]),
        StoreOp::DeleteAllBans(jail) => json!(["unban", **jail]),
        StoreOp::LogPosition { jail, path, position } => {
            json!(["log", **jail, path, position.first_line, position.offset, position.cursor])
        }
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
            let length = words.get(4).and_then(Value::as_f64)?;
            let ticket = rows::ticket(ip, number(3)?, length, number(5)?, data);
            StoreOp::AddBan { jail, ticket: Arc::new(ticket) }
        }
        ("log", Some(path)) => StoreOp::LogPosition {
            jail,
            path: path.to_owned(),
            position: Position {
                first_line: text(3)?.to_owned(),
                offset: words.get(4)?.as_f64()?,
                cursor: text(5).map(str::to_owned),
            },
        },
        ("unban", Some(ip)) => StoreOp::DeleteBan { jail, id: Id::parse(ip) },
        ("unban", None) => StoreOp::DeleteAllBans(jail),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(ip: &str) -> StoreOp {
        let mut ticket = rows::ticket(ip, 1_700_000_000, 600.5, 2, rows::Data::default());
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
            StoreOp::LogPosition {
                jail: "sshd".into(),
                path: "/var/log/auth.log".into(),
                position: Position { first_line: "ab".into(), offset: 7.0, cursor: None },
            },
        ];
        all.iter().for_each(|op| notes.add(std::slice::from_ref(op)));
        notes.add(&[StoreOp::Purge]);
        // Not everything has arrived yet: nothing is given up.
        notes.settle(4);
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"[\"ba").unwrap();
        let (notes, earlier) = Notes::open(&path);
        assert_eq!(earlier, all);
        notes.add(&all[..2]);
        notes.settle(2);
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        notes.add(&all[3..]);
        assert_eq!(Notes::open(&path).1, all[3..]);
    }
}
