//! A look into a database that leaves no trace: for `sekisho check`.
//!
//! The file may be in use by a running fail2ban: it is opened for reading only, and nothing waits.

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use sekisho_core::time::Timestamp;

use super::queries::CURSOR;
use super::rows;

/// What it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peek {
    /// Its schema version.
    pub version: i64,
    /// Bans by jail that have not ended yet.
    pub bans: Vec<(String, usize)>,
    /// Positions in logs.
    pub logs: usize,
}

/// Looks. Errors are SQLite's: no such file, no right to read it, damage.
pub fn look(path: &str, now: Timestamp) -> Result<Peek, rusqlite::Error> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let version = "SELECT version FROM fail2banDb ORDER BY version DESC LIMIT 1";
    let version = db.query_row(version, [], |row| Ok(rows::int(row.get_ref(0)?))).optional()?;
    let version = version.unwrap_or_default();
    let bans = match version {
        4.. => {
            "SELECT jail, COUNT(*) FROM bips WHERE bantime < 0 OR timeofban + bantime > ?1
             GROUP BY jail ORDER BY jail"
        }
        3 => {
            "SELECT jail, COUNT(DISTINCT ip) FROM bans WHERE bantime < 0 OR timeofban + bantime > ?1
             GROUP BY jail ORDER BY jail"
        }
        // How long a ban is was not written down.
        _ => "SELECT jail, COUNT(DISTINCT ip) FROM bans WHERE ?1 > 0 GROUP BY jail ORDER BY jail",
    };
    let bans = db
        .prepare(bans)?
        .query_map(params![now.as_secs()], |row| {
            let count = usize::try_from(rows::int(row.get_ref(1)?)).unwrap_or(0);
            Ok((rows::text(row.get_ref(0)?), count))
        })?
        .collect::<Result<_, _>>()?;
    // A place that was ours has a second row, which says more of the file.
    let logs = format!("SELECT COUNT(*) FROM logs WHERE path NOT LIKE '%{CURSOR}'");
    let logs = db.query_row(&logs, [], |row| Ok(rows::int(row.get_ref(0)?)))?;
    Ok(Peek { version, bans, logs: usize::try_from(logs).unwrap_or(0) })
}
