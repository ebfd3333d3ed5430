//! What the database holds, read without a trace.

use std::collections::BTreeSet;
use std::path::Path;

use sekisho_config::load::Loaded;

use super::{Finding, Verdict};
use crate::store::peek::{self, Peek};
use crate::{clock, paths};

/// What would become of the bans.
pub fn look(loaded: &Loaded) -> Vec<Finding> {
    let path = &loaded.server.dbfile;
    let one = |verdict, text| vec![Finding::new(verdict, text)];
    if path.eq_ignore_ascii_case("none") || path == ":memory:" {
        let text = "no database is configured: bans end with the server, as now".to_owned();
        return one(Verdict::Same, text);
    }
    if !Path::new(path).exists() {
        return one(Verdict::Note, format!("there is no database {path} yet; it will be made"));
    }
    match peek::look(path, clock::now().wall) {
        Ok(peek) => of_bans(path, loaded, &peek),
        Err(_) if !paths::is_root() && std::fs::File::open(path).is_err() => one(
            Verdict::Note,
            format!("the database {path} may be read by root only: run this as root"),
        ),
        Err(error) => one(Verdict::Broken, format!("the database {path} cannot be read: {error}")),
    }
}

fn of_bans(path: &str, loaded: &Loaded, peek: &Peek) -> Vec<Finding> {
    let mut found = Vec::new();
    let known: BTreeSet<&str> = loaded.jails.iter().map(|jail| jail.name.as_str()).collect();
    let taken: usize =
        peek.bans.iter().filter(|(j, _)| known.contains(j.as_str())).map(|b| b.1).sum();
    found.push(Finding::new(
        Verdict::Same,
        format!("database {path}: {taken} bans and {} log positions are taken over", peek.logs),
    ));
    for (jail, bans) in peek.bans.iter().filter(|(jail, _)| !known.contains(jail.as_str())) {
        let text = format!(
            "{bans} bans of jail {jail} stay in the database: the jail is not switched on here"
        );
        found.push(Finding::new(Verdict::Note, text));
    }
    if peek.version < crate::store::VERSION {
        let text = format!(
            "the database has version {}: it is upgraded at the first start, and the old file kept",
            peek.version
        );
        found.push(Finding::new(Verdict::Same, text));
    }
    if peek.version > crate::store::VERSION {
        let text = format!(
            "the database has version {}, and {} is the newest that is understood: it was written \
             by a later fail2ban",
            peek.version,
            crate::store::VERSION
        );
        found.push(Finding::new(Verdict::Broken, text));
    }
    found
}
