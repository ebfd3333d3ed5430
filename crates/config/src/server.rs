//! The server's own options: `fail2ban.conf`.

use std::sync::Arc;

use sekisho_core::command::{Origin, Words};
use sekisho_core::effect::Level;
use sekisho_core::value::{Value, repr_str};

use crate::error::ConfigError;
use crate::interpolate::{Scope, Vars};
use crate::load::Mode;
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
const LOGLEVEL: &str = "INFO";
const DBPURGEAGE: &str = "1d";

/// Reads `fail2ban.conf`; values of the command line replace those of the files.
///
/// The words are the global part of the command stream, in its order. A value that a server would
/// refuse is an error, and what is started has the default in its place: a misspelt level of the log
/// is no reason to guard nothing.
pub fn read(
    base: Base<'_>,
    overrides: &[(String, String)],
    mode: Mode,
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
    collect(&Scope { ini: &ini, vars: &vars }, mode, notices).map_err(|error| vec![error])
}

fn collect(
    scope: &Scope<'_>,
    mode: Mode,
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
    let (mut loglevel, origin) = text("loglevel", LOGLEVEL)?;
    if mode == Mode::Start && Level::threshold(&loglevel.to_uppercase()).is_none() {
        let hint = "write CRITICAL, ERROR, WARNING, NOTICE, INFO or DEBUG";
        let said = format!("Invalid log level {}; {hint}", repr_str(&loglevel));
        notices.push(replaced(said, LOGLEVEL, &origin));
        loglevel = LOGLEVEL.to_owned();
    }
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
    let (mut dbpurgeage, origin) = text("dbpurgeage", DBPURGEAGE)?;
    // Without a database nobody asks for it.
    if mode == Mode::Start
        && !dbfile.eq_ignore_ascii_case("none")
        && let Err(error) = sekisho_core::duration::parse(&dbpurgeage)
    {
        let said = format!("Wrong value for 'dbpurgeage': {error}");
        notices.push(replaced(said, DBPURGEAGE, &origin));
        dbpurgeage = DBPURGEAGE.to_owned();
    }
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

/// The error for a value in whose place the default is used.
fn replaced(said: String, default: &str, origin: &Option<Origin>) -> Notice {
    let text = format!("{said}. Until then {default} is used");
    Notice { level: Level::Error, text, origin: origin.clone() }
}

fn has(scope: &Scope<'_>, section: &str) -> bool {
    scope.ini.sections.contains(section)
}
