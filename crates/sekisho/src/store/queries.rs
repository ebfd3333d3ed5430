//! The statements: each operation's writes, each question's reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use sekisho_core::action::PastBans;
use sekisho_core::effect::{History, Position, StoreOp, StoredBan};
use sekisho_core::failure::MatchedLine;
use sekisho_core::ticket::Ticket;
use sekisho_core::time::Timestamp;

use super::pending::{Lines, Past, Pending};
use super::rows;

/// Rows read to answer one question.
const ROWS_MAX: i64 = 1_000_000;
/// The row that keeps what more we know of a place (a journal's cursor, a file's inode), beside
/// fail2ban's own row for it: fail2ban looks rows up by path and never sees it. It counts only while
/// its position is that of the other row, so a cursor of ours does not outlive positions written by
/// fail2ban later. Files get a path that no file can have.
fn cursor_path(path: &str) -> String {
    let separator = if path.starts_with('/') { "/" } else { "" };
    format!("{path}{separator}{CURSOR}")
}

/// How such a path ends.
pub(super) const CURSOR: &str = "-cursor";

/// Numbers an administrator can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `dbmaxmatches`
    pub max_matches: usize,
    /// `dbpurgeage` in seconds.
    pub purge_age: i64,
}

/// Writes one operation.
pub fn write(
    db: &Connection,
    op: &StoreOp,
    limits: Limits,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let run = |sql: &str, params: &[&dyn rusqlite::ToSql]| {
        db.prepare_cached(sql)?.execute(params).map(|_| ())
    };
    match op {
        StoreOp::AddJail(jail) => {
            run("INSERT OR IGNORE INTO jails(name, enabled) VALUES(?1, 1)", params![jail])?;
            run("UPDATE jails SET enabled = 1 WHERE name = ?1 AND enabled <> 1", params![jail])
        }
        StoreOp::DisableJail(jail) => {
            run("UPDATE jails SET enabled = 0 WHERE name = ?1", params![jail])
        }
        StoreOp::AddBan { jail, ticket } => {
            // The jail's own row may have been given up while the file could not be written.
            run("INSERT OR IGNORE INTO jails(name, enabled) VALUES(?1, 1)", params![jail])?;
            let ip = ticket.id.to_string();
            // Whole seconds become integers there, as the column wants them.
            let (time, length) = (ticket.stored_secs(), ticket.ban_time.as_secs_f64());
            let data = rows::data(ticket, limits.max_matches);
            let values = params![jail, ip, time, length, ticket.ban_count, data];
            run(
                "INSERT INTO bans(jail, ip, timeofban, bantime, bancount, data)
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
                values,
            )?;
            run(
                "INSERT OR REPLACE INTO bips(jail, ip, timeofban, bantime, bancount, data)
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
                values,
            )
        }
        StoreOp::DeleteBan { jail, id } => {
            let ip = id.to_string();
            run("DELETE FROM bips WHERE jail = ?1 AND ip = ?2", params![jail, ip])?;
            run("DELETE FROM bans WHERE jail = ?1 AND ip = ?2", params![jail, ip])
        }
        StoreOp::DeleteAllBans(jail) => {
            run("DELETE FROM bips WHERE jail = ?1", params![jail])?;
            run("DELETE FROM bans WHERE jail = ?1", params![jail])
        }
        StoreOp::LogPosition { jail, path, position } => write_position(db, jail, path, position),
        StoreOp::ForgetLog { jail, path } => run(
            "DELETE FROM logs WHERE jail = ?1 AND path IN (?2, ?3)",
            params![jail, path, cursor_path(path)],
        ),
        StoreOp::Purge => {
            let oldest = now.as_secs().saturating_sub(limits.purge_age);
            run("DELETE FROM bans WHERE timeofban < ?1", params![oldest])?;
            run(
                "DELETE FROM bips WHERE timeofban < ?1 AND bantime <> -1
                 AND timeofban + bantime * 3 < ?1",
                params![oldest],
            )?;
            run(
                "DELETE FROM jails WHERE enabled = 0
                 AND NOT EXISTS (SELECT 1 FROM bans WHERE bans.jail = jails.name)
                 AND NOT EXISTS (SELECT 1 FROM bips WHERE bips.jail = jails.name)",
                params![],
            )
        }
    }
}

/// Writes how far a log has been read.
pub fn write_position(
    db: &Connection,
    jail: &str,
    path: &str,
    position: &Position,
) -> rusqlite::Result<()> {
    let jails = "INSERT OR IGNORE INTO jails(name, enabled) VALUES(?1, 1)";
    db.prepare_cached(jails)?.execute([jail])?;
    let sql = "INSERT OR REPLACE INTO logs(jail, path, firstlinemd5, lastfilepos)
               VALUES(?1, ?2, ?3, ?4)";
    let mut statement = db.prepare_cached(sql)?;
    statement.execute(params![jail, path, position.first_line, position.offset])?;
    if let Some(cursor) = &position.cursor {
        statement.execute(params![jail, cursor_path(path), cursor, position.offset])?;
    }
    Ok(())
}

/// All logs that are files, with their jails.
pub fn logs(db: &Connection) -> rusqlite::Result<Vec<(Arc<str>, String)>> {
    let sql = "SELECT jail, path FROM logs WHERE path GLOB '/*' AND path NOT GLOB ?1 LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let mut found = statement.query(params![format!("*{CURSOR}"), ROWS_MAX])?;
    let mut logs = Vec::new();
    while let Some(row) = found.next()? {
        logs.push((rows::text(row.get_ref(0)?).into(), rows::text(row.get_ref(1)?)));
    }
    Ok(logs)
}

/// Where reading of a log ended.
pub fn position(db: &Connection, jail: &str, path: &str) -> rusqlite::Result<Option<Position>> {
    let sql = "SELECT firstlinemd5, lastfilepos FROM logs WHERE jail = ?1 AND path = ?2";
    let mut statement = db.prepare_cached(sql)?;
    let mut row = |path: &str| {
        statement
            .query_row([jail, path], |row| {
                Ok((rows::text(row.get_ref(0)?), rows::float(row.get_ref(1)?)))
            })
            .optional()
    };
    let Some((first_line, offset)) = row(path)? else { return Ok(None) };
    let cursor = row(&cursor_path(path))?;
    let cursor = cursor.filter(|(_, at)| *at == offset).map(|(cursor, _)| cursor);
    Ok(Some(Position { first_line, offset, cursor }))
}

/// Whether this very ban has been written.
pub fn has_ban(db: Option<&Connection>, jail: &str, ticket: &Ticket) -> rusqlite::Result<bool> {
    let Some(db) = db else { return Ok(false) };
    let sql = "SELECT 1 FROM bans WHERE jail = ?1 AND ip = ?2 AND timeofban = ?3";
    db.prepare_cached(sql)?.exists(params![jail, ticket.id.to_string(), ticket.stored_secs()])
}

/// The bans of a jail that end after `since`; all that are stored, without it.
pub fn bans(
    db: Option<&Connection>,
    jail: &str,
    pending: &Pending,
    since: Option<Timestamp>,
) -> rusqlite::Result<Vec<StoredBan>> {
    let mut found: BTreeMap<String, Ticket> = BTreeMap::new();
    if let Some(db) = db {
        let sql = "SELECT ip, timeofban, bantime, bancount, data FROM bips
                   WHERE jail = ?1 AND (bantime <= -1 OR timeofban + bantime > ?2)
                   ORDER BY timeofban DESC LIMIT ?3";
        let mut statement = db.prepare_cached(sql)?;
        let mut rows_found =
            statement.query(params![jail, since.map_or(i64::MIN, Timestamp::as_secs), ROWS_MAX])?;
        while let Some(row) = rows_found.next()? {
            let ip = rows::text(row.get_ref(0)?);
            let number = |i| row.get_ref(i).map(rows::int);
            let data = rows::parse_data(row.get_ref(4)?);
            let length = rows::float(row.get_ref(2)?);
            let ticket = rows::ticket(&ip, number(1)?, length, number(3)?, data);
            found.insert(ip, ticket);
        }
    }
    pending.overlay_bans(jail, &mut found);
    // By the text of the id, as fail2ban restores them.
    Ok(found.into_values().map(|ticket| StoredBan { ticket }).collect())
}

/// How often and when an id was banned, in one jail or in all together.
pub fn history(
    db: Option<&Connection>,
    jail: Option<&str>,
    id: &str,
    pending: &Pending,
) -> rusqlite::Result<Option<History>> {
    let mut past: BTreeMap<String, Past> = BTreeMap::new();
    if let Some(db) = db {
        let sql = "SELECT jail, bancount, timeofban, bantime FROM bips
                   WHERE ip = ?1 AND (?2 IS NULL OR jail = ?2)";
        let mut statement = db.prepare_cached(sql)?;
        let mut found = statement.query(params![id, jail])?;
        while let Some(row) = found.next()? {
            let number = |i| row.get_ref(i).map(rows::int);
            let entry = Past { count: number(1)?, time: number(2)?, ban_time: number(3)? };
            past.insert(rows::text(row.get_ref(0)?), entry);
        }
    }
    pending.overlay_past(id, jail, &mut past);
    let Some(last) = past.values().max_by_key(|p| p.time) else { return Ok(None) };
    let count = past.values().fold(0i64, |sum, p| sum.saturating_add(p.count.max(0)));
    Ok(Some(History {
        count: u32::try_from(count).unwrap_or(u32::MAX),
        last: Timestamp::from_secs(last.time),
        ban_time: last.ban_time,
    }))
}

/// Lines and failures of all earlier bans of an id.
pub fn past_bans(
    db: Option<&Connection>,
    jail: Option<&str>,
    id: &str,
    pending: &Pending,
    max_matches: usize,
) -> rusqlite::Result<Option<PastBans>> {
    let mut bans: Vec<Lines> = Vec::new();
    if let Some(db) = db {
        let sql = "SELECT jail, data FROM bans WHERE ip = ?1 AND (?2 IS NULL OR jail = ?2)
                   ORDER BY timeofban LIMIT ?3";
        let mut statement = db.prepare_cached(sql)?;
        let mut found = statement.query(params![id, jail, ROWS_MAX])?;
        while let Some(row) = found.next()? {
            let data = rows::parse_data(row.get_ref(1)?);
            bans.push(Lines {
                jail: rows::text(row.get_ref(0)?),
                lines: data.matches.iter().map(MatchedLine::text).collect(),
                failures: u64::from(data.failures),
            });
        }
    }
    pending.overlay_lines(id, jail, &mut bans);
    if bans.is_empty() {
        return Ok(None);
    }
    let failures = bans.iter().fold(0u64, |sum, ban| sum.saturating_add(ban.failures));
    let mut lines: Vec<String> = bans.into_iter().flat_map(|ban| ban.lines).collect();
    lines.drain(..lines.len().saturating_sub(max_matches));
    Ok(Some(PastBans { lines, failures }))
}
