//! Opening a database file: schema, versions, damage.
//!
//! The file is fail2ban's, schema version 4, so either program can be put in place of the other.
//!
//! Journal mode: `DELETE`. `WAL` would leave a file that readers without write access to the folder
//! cannot open, and that fail2ban cannot switch back while we run; `MEMORY`, fail2ban's own choice,
//! can corrupt the file when the process is killed in a transaction. With a rollback journal anyone
//! may open the file at any time, also after a kill. The price, an `fsync` per transaction, is paid
//! on the store's own thread, once per burst.
//!
//! The file gives back the space of what is purged (`auto_vacuum = INCREMENTAL`), a little at a time:
//! fail2ban's own file only ever grows.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension};
use sekisho_core::effect::{Level, Record};
use sekisho_core::time::Zone;

use super::{LOGGER, StoreError, rows};
use crate::{LogFn, clock};

/// The schema version written and read.
pub const VERSION: i64 = 4;
/// How long one statement waits for another program's lock before it is tried again later.
const BUSY: Duration = Duration::from_millis(250);
/// Files up to this size (bytes) are checked as a whole when opened; damage in a larger one is
/// found when it is met, and treated the same.
const CHECK_MAX: u64 = 16 << 20;
/// A file of fail2ban's up to this size is written anew so that it can shrink, if what is in use of it is
/// no more than [`CHECK_MAX`]: both are about a second's work.
const REWRITE_MAX: u64 = 256 << 20;
/// Free pages (4 KiB each) kept for what comes next.
const SPARE_PAGES: i64 = 256;
/// Free pages given back at once; each time the file is locked for some milliseconds.
const SHRINK_PAGES: i64 = 256;
/// Rows saved from a damaged table.
const SALVAGE_MAX: usize = 1_000_000;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS fail2banDb(version INTEGER);
CREATE TABLE IF NOT EXISTS jails(name TEXT NOT NULL UNIQUE, enabled INTEGER NOT NULL DEFAULT 1);
CREATE INDEX IF NOT EXISTS jails_name ON jails(name);
CREATE TABLE IF NOT EXISTS logs(
 jail TEXT NOT NULL, path TEXT, firstlinemd5 TEXT, lastfilepos INTEGER DEFAULT 0,
 FOREIGN KEY(jail) REFERENCES jails(name) ON DELETE CASCADE,
 UNIQUE(jail, path), UNIQUE(jail, path, firstlinemd5));
CREATE INDEX IF NOT EXISTS logs_path ON logs(path);
CREATE INDEX IF NOT EXISTS logs_jail_path ON logs(jail, path);
CREATE TABLE IF NOT EXISTS bans(
 jail TEXT NOT NULL, ip TEXT, timeofban INTEGER NOT NULL, bantime INTEGER NOT NULL,
 bancount INTEGER NOT NULL DEFAULT 1, data JSON,
 FOREIGN KEY(jail) REFERENCES jails(name));
CREATE INDEX IF NOT EXISTS bans_jail_timeofban_ip ON bans(jail, timeofban, ip);
CREATE INDEX IF NOT EXISTS bans_jail_ip ON bans(jail, ip);
CREATE INDEX IF NOT EXISTS bans_ip ON bans(ip);
CREATE TABLE IF NOT EXISTS bips(
 ip TEXT NOT NULL, jail TEXT NOT NULL, timeofban INTEGER NOT NULL, bantime INTEGER NOT NULL,
 bancount INTEGER NOT NULL DEFAULT 1, data JSON,
 PRIMARY KEY(ip, jail), FOREIGN KEY(jail) REFERENCES jails(name));
CREATE INDEX IF NOT EXISTS bips_timeofban ON bips(timeofban);
CREATE INDEX IF NOT EXISTS bips_ip ON bips(ip);
";

/// An open database.
pub struct Opened {
    /// The connection.
    pub connection: Connection,
    /// Whether the last process that had it open did not end properly.
    pub unclean: bool,
}

/// Opens `path` (`:memory:` too), creating, upgrading or replacing the file as needed.
pub fn open(path: &str, log: &LogFn) -> Result<Opened, StoreError> {
    if path != ":memory:"
        && let Some(parent) = Path::new(path).parent()
        && !parent.as_os_str().is_empty()
        && !parent.exists()
    {
        // The last level only: a mistyped path must not grow a tree. Failure shows below.
        let _ = fs::create_dir(parent);
    }
    let opened = match try_open(path, log) {
        Err(StoreError::Sql { source, .. }) if is_damage(&source) => {
            replace(path, &source, log)?;
            try_open(path, log)?
        }
        other => other?,
    };
    Ok(opened)
}

/// Whether the file itself is broken.
pub fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn try_open(path: &str, log: &LogFn) -> Result<Opened, StoreError> {
    let doing = |what: &'static str| {
        move |source| StoreError::Sql { path: path.to_owned(), doing: what, source }
    };
    let mut connection = Connection::open(path).map_err(doing("open"))?;
    connection.busy_timeout(BUSY).map_err(doing("open"))?;
    // What a journal mode pragma answers is of no interest here.
    connection
        .execute_batch(
            "PRAGMA trusted_schema = OFF; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;
             PRAGMA synchronous = NORMAL;",
        )
        .map_err(doing("open"))?;
    let _mode: String = connection
        .query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))
        .map_err(doing("open"))?;
    if fs::metadata(path).is_ok_and(|m| m.len() <= CHECK_MAX) {
        let verdict: String = connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(doing("check"))?;
        if verdict != "ok" {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            let source = rusqlite::Error::SqliteFailure(code, Some(verdict));
            return Err(StoreError::Sql { path: path.to_owned(), doing: "check", source });
        }
    }
    let version = version(&connection).map_err(doing("read the version of"))?;
    if version.is_none_or(|version| (1..=VERSION).contains(&version)) {
        say(log, Level::Info, format!("Connected to fail2ban persistent database '{path}'"));
    }
    match version {
        None => {
            create(&mut connection).map_err(doing("create"))?;
            say(log, Level::Warning, format!("New database created. Version '{VERSION}'"));
        }
        Some(VERSION) => {
            // Another time, should somebody be reading now: nothing depends on it.
            let _ = let_shrink(&connection, path);
        }
        Some(old) if (1..VERSION).contains(&old) => {
            let copy = aside(path);
            if path != ":memory:" {
                let problem = |source| StoreError::File { path: copy.clone(), source };
                fs::copy(path, &copy).map_err(problem)?;
            }
            upgrade(&mut connection, old).map_err(doing("upgrade"))?;
            say(log, Level::Warning, format!("Database updated from '{old}' to '{VERSION}'"));
        }
        Some(other) => {
            return Err(StoreError::Version { path: path.to_owned(), version: other });
        }
    }
    let unclean = integer(&connection, "PRAGMA user_version").map_err(doing("read"))? != 0;
    Ok(Opened { connection, unclean })
}

/// The one number that a question has for its answer.
fn integer(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
    connection.query_row(sql, [], |row| Ok(rows::int(row.get_ref(0)?)))
}

/// Lets a file of fail2ban's shrink. It is written anew for that, so one that would take long stays as
/// it is: its free space is used again, and not given back.
fn let_shrink(connection: &Connection, path: &str) -> rusqlite::Result<()> {
    let number = |name: &str| integer(connection, &format!("PRAGMA {name}"));
    if number("auto_vacuum")? != 0 || fs::metadata(path).is_ok_and(|m| m.len() > REWRITE_MAX) {
        return Ok(());
    }
    let used = (number("page_count")? - number("freelist_count")?) * number("page_size")?;
    if u64::try_from(used).is_ok_and(|used| used <= CHECK_MAX) {
        connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM")?;
    }
    Ok(())
}

/// Gives some free pages back to the file system; whether there are more to give.
pub(super) fn shrink(connection: &Connection) -> rusqlite::Result<bool> {
    let free = || integer(connection, "PRAGMA freelist_count");
    let before = free()?;
    if before <= SPARE_PAGES {
        return Ok(false);
    }
    let pages = SHRINK_PAGES.min(before - SPARE_PAGES);
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut steps = statement.query([])?;
    while steps.next()?.is_some() {}
    let after = free()?;
    Ok(after < before && after > SPARE_PAGES)
}

/// The schema version; `None` for a file without fail2ban's tables.
fn version(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'fail2banDb'";
    if connection.query_row(table, [], |_| Ok(())).optional()?.is_none() {
        return Ok(None);
    }
    let newest = "SELECT version FROM fail2banDb ORDER BY version DESC LIMIT 1";
    connection.query_row(newest, [], |row| Ok(rows::int(row.get_ref(0)?))).optional()
}

fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    // Has an effect on a file that is empty only.
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.execute("DELETE FROM fail2banDb", [])?;
    transaction.execute("INSERT INTO fail2banDb(version) VALUES(?1)", [VERSION])?;
    transaction.commit()
}

/// Versions 1 to 3: `logs` without its keys, `bans` without length and count, no `bips`.
fn upgrade(connection: &mut Connection, old: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    if old < 2 {
        transaction.execute_batch("ALTER TABLE logs RENAME TO logs_old")?;
    }
    if old < 3 {
        transaction.execute_batch("ALTER TABLE bans RENAME TO bans_old")?;
    }
    // Index names are free again only when the renamed tables' indexes are gone.
    let mut names = Vec::new();
    {
        let mut statement = transaction.prepare(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL
             AND tbl_name IN ('logs_old', 'bans_old')",
        )?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            names.push(rows::text(row.get_ref(0)?));
        }
    }
    for name in names {
        transaction.execute_batch(&format!("DROP INDEX \"{}\"", name.replace('"', "\"\"")))?;
    }
    transaction.execute_batch(TABLES)?;
    if old < 2 {
        transaction.execute_batch(
            "INSERT OR REPLACE INTO logs(jail, path, firstlinemd5, lastfilepos)
             SELECT jail, path, firstlinemd5, lastfilepos FROM logs_old;
             DROP TABLE logs_old;",
        )?;
    }
    if old < 3 {
        // How long those bans were is not known: −2.
        transaction.execute_batch(
            "INSERT INTO bans(jail, ip, timeofban, bantime, bancount, data)
             SELECT jail, ip, timeofban, -2, 1, data FROM bans_old;
             DROP TABLE bans_old;",
        )?;
    }
    transaction.execute_batch(
        "INSERT OR REPLACE INTO bips(ip, jail, timeofban, bantime, bancount, data)
         SELECT ip, jail, timeofban, bantime, bancount, data FROM bans
         WHERE ip IS NOT NULL ORDER BY timeofban;",
    )?;
    transaction.execute("UPDATE fail2banDb SET version = ?1", [VERSION])?;
    transaction.commit()
}

/// Where a copy of the file as it is now is kept.
fn aside(path: &str) -> String {
    let stamp = Zone::utc().format(clock::now().wall).replace(['-', ':'], "").replace(' ', "-");
    let wanted = format!("{path}.{stamp}");
    let free = |name: &String| !Path::new(name).exists();
    let more = (1..1000).map(|n| format!("{wanted}.{n}"));
    std::iter::once(wanted.clone()).chain(more).find(free).unwrap_or(wanted)
}

/// Keeps a damaged file under another name and saves into a new one what can still be read.
pub fn replace(path: &str, why: &rusqlite::Error, log: &LogFn) -> Result<(), StoreError> {
    let kept = aside(path);
    let problem = |source| StoreError::File { path: path.to_owned(), source };
    fs::rename(path, &kept).map_err(problem)?;
    // A journal belongs to the file it was written for, and would be played into the new one.
    let journal = format!("{path}-journal");
    if Path::new(&journal).exists() {
        fs::rename(&journal, format!("{kept}-journal")).map_err(problem)?;
    }
    say(
        log,
        Level::Error,
        format!("Database '{path}' is damaged ({why}); kept as '{kept}', a new one is started"),
    );
    match salvage(&kept, path) {
        Ok(0) => {}
        Ok(n) => say(log, Level::Warning, format!("{n} bans were saved from the damaged database")),
        Err(error) => {
            say(log, Level::Warning, format!("Nothing could be saved from '{kept}': {error}"));
        }
    }
    Ok(())
}

fn salvage(from: &str, to: &str) -> rusqlite::Result<usize> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let old = Connection::open_with_flags(from, flags)?;
    let mut new = Connection::open(to)?;
    create(&mut new)?;
    let transaction = new.transaction()?;
    let mut saved = 0;
    for table in ["bips", "bans"] {
        let select = format!("SELECT jail, ip, timeofban, bantime, bancount, data FROM {table}");
        let Ok(mut statement) = old.prepare(&select) else { continue };
        let Ok(mut found) = statement.query([]) else { continue };
        let mut taken = 0;
        // The first row that cannot be read ends the table.
        while let Ok(Some(row)) = found.next() {
            let Ok(jail) = row.get_ref(0).map(rows::text) else { break };
            transaction.execute("INSERT OR IGNORE INTO jails(name) VALUES(?1)", [&jail])?;
            let Ok(columns) = (1..6)
                .map(|i| row.get::<_, rusqlite::types::Value>(i))
                .collect::<Result<Vec<_>, _>>()
            else {
                break;
            };
            let mut values = vec![rusqlite::types::Value::Text(jail)];
            values.extend(columns);
            let insert = format!(
                "INSERT OR IGNORE INTO {table}(jail, ip, timeofban, bantime, bancount, data)
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6)"
            );
            taken += transaction.execute(&insert, rusqlite::params_from_iter(values))?;
            if taken >= SALVAGE_MAX {
                break;
            }
        }
        if table == "bips" {
            saved = taken;
        }
    }
    transaction.commit()?;
    Ok(saved)
}

pub(super) fn say(log: &LogFn, level: Level, text: String) {
    log(Record { level, logger: LOGGER, text });
}
