//! The server's own options: `fail2ban.conf`.

use std::sync::Arc;

use sekisho_core::command::{Origin, Words};
use sekisho_core::value::Value;

use crate::error::ConfigError;
use crate::interpolate::{Scope, Vars};
use crate::notice::Notice;
use crate::reader::{self, Base, Ini};
use crate::text::{Options, Text};
use crate::values;

/// Options of the server, with what holds when no file sets them.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerOptions {
    /// Path of the control socket.
    pub socket: String,
    /// Path of the file with the process id.
    pub pidfile: String,
    /// Level of the log, a name or a number.
    pub loglevel: String,
    /// Where the log goes.
    pub logtarget: String,
    /// Socket of the system log.
    pub syslogsocket: String,
    /// `auto`, or whether IPv6 is used.
    pub allowipv6: String,
    /// Path of the database, `:memory:` or `None`.
    pub dbfile: String,
    /// Matches kept per ban in the database.
    pub dbmaxmatches: Option<i64>,
    /// Age at which bans leave the database, a duration.
    pub dbpurgeage: String,
    /// Stack size of threads in KiB; accepted, and means nothing here.
    pub stacksize: Option<i64>,
}

const DEFINITION: &str = "Definition";

/// Reads `fail2ban.conf`; values of the command line replace those of the files.
///
/// The words are the global part of the command stream, in its order.
pub fn read(
    base: Base<'_>,
    overrides: &[(String, String)],
    notices: &mut Vec<Notice>,
) -> Result<(ServerOptions, Vec<Words>), Vec<ConfigError>> {
    let ini = match reader::read(base, "fail2ban", &Options::default()) {
        Ok(ini) => ini,
        Err(error) => {
            notices.push(Notice::warning(format!("{error}; the defaults are used")));
            Ini::default()
        }
    };
    notices.extend(ini.notices.iter().cloned());
    if !ini.errors.is_empty() {
        return Err(ini.errors.into_iter().map(|(_, error)| error).collect());
    }
    let mut vars = Vars::default();
    for (key, value) in overrides {
        // The command line is taken as it is.
        vars.set(key, value.replace('%', "%%"));
    }
    collect(&Scope { ini: &ini, vars: &vars }, notices).map_err(|error| vec![error])
}

fn collect(
    scope: &Scope<'_>,
    notices: &mut Vec<Notice>,
) -> Result<(ServerOptions, Vec<Words>), ConfigError> {
    let mut stream = Vec::new();
    let mut stacksize = None;
    if let Some(text) = scope.get("Thread", "stacksize")?.filter(|_| has(scope, "Thread")) {
        stacksize = Some(values::int("stacksize", "Thread", &text)?);
        let size = stacksize.map_or(Value::None, Value::Int);
        let dict = Value::Dict(vec![(Value::str("stacksize"), size)]);
        let words = vec![Value::str("set"), Value::str("thread"), dict];
        stream.push(Words { words, origin: Some(text.origin) });
    }
    let text = |key: &str, default: &str| -> Result<(String, Option<Origin>), ConfigError> {
        Ok(match scope.get(DEFINITION, key)? {
            Some(Text { value, origin }) => (Arc::<str>::as_ref(&value).to_owned(), Some(origin)),
            None => (default.to_owned(), None),
        })
    };
    let mut emit = |key: &str, value: Value, origin: Option<Origin>| {
        let words = vec![Value::str("set"), Value::str(key), value];
        stream.push(Words { words, origin });
    };
    let (socket, _) = text("socket", "/var/run/fail2ban/fail2ban.sock")?;
    let (pidfile, _) = text("pidfile", "/var/run/fail2ban/fail2ban.pid")?;
    let (syslogsocket, origin) = text("syslogsocket", "auto")?;
    emit("syslogsocket", Value::str(&syslogsocket), origin);
    let (loglevel, origin) = text("loglevel", "INFO")?;
    emit("loglevel", Value::str(&loglevel), origin);
    let (logtarget, origin) = text("logtarget", "/var/log/fail2ban.log")?;
    emit("logtarget", Value::str(&logtarget), origin);
    let (allowipv6, origin) = text("allowipv6", "auto")?;
    emit("allowipv6", Value::str(&allowipv6), origin);
    let (dbfile, origin) = text("dbfile", "/var/lib/fail2ban/fail2ban.sqlite3")?;
    emit("dbfile", Value::str(&dbfile), origin);
    let mut dbmaxmatches = None;
    if let Some(text) = scope.get(DEFINITION, "dbmaxmatches")? {
        match values::int("dbmaxmatches", DEFINITION, &text) {
            Ok(n) => {
                dbmaxmatches = Some(n);
                emit("dbmaxmatches", Value::Int(n), Some(text.origin));
            }
            Err(error) => notices.push(Notice {
                origin: Some(text.origin),
                ..Notice::warning(format!("{error}; the default is used"))
            }),
        }
    }
    let (dbpurgeage, origin) = text("dbpurgeage", "1d")?;
    emit("dbpurgeage", Value::str(&dbpurgeage), origin);
    let options = ServerOptions {
        socket,
        pidfile,
        loglevel,
        logtarget,
        syslogsocket,
        allowipv6,
        dbfile,
        dbmaxmatches,
        dbpurgeage,
        stacksize,
    };
    Ok((options, stream))
}

fn has(scope: &Scope<'_>, section: &str) -> bool {
    scope.ini.sections.contains(section)
}
