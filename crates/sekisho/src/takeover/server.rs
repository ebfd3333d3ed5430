//! What a running server tells: jails that were added by hand, and are in no file.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use sekisho_config::load::Loaded;
use sekisho_core::value::Value;

use super::{Finding, Verdict};
use crate::client::{Link, LinkError};
use crate::control::pickle::Reply;

/// How long it may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Compares the jails that run with those that would.
pub fn look(loaded: &Loaded) -> Vec<Finding> {
    let socket = Path::new(&loaded.server.socket);
    match ask(socket) {
        Ok((version, running)) => compare(&version, &running, loaded),
        Err(LinkError::Denied(_)) => {
            let text = format!(
                "{} may be asked by root only: jails that were added by hand are not seen",
                socket.display()
            );
            vec![Finding::new(Verdict::Note, text)]
        }
        Err(_) => {
            vec![Finding::new(Verdict::Note, "no server runs now: its jails are not compared")]
        }
    }
}

fn ask(socket: &Path) -> Result<(String, BTreeSet<String>), LinkError> {
    let mut link = Link::open(socket, Some(LIMIT))?;
    let mut done = |word: &str| -> Result<Value, LinkError> {
        match link.ask(&Value::strs([word]))? {
            Reply::Done(value) => Ok(value),
            Reply::Failed(_) | Reply::Other(_) => Ok(Value::None),
        }
    };
    let version = done("version")?.to_text();
    Ok((version, jail_names(&done("status")?)))
}

/// `[('Number of jail', 2), ('Jail list', 'a, b')]`
fn jail_names(status: &Value) -> BTreeSet<String> {
    let rows = status.items().unwrap_or_default().iter().filter_map(Value::row);
    let list = rows.filter(|(name, _)| *name == "Jail list").find_map(|(_, list)| list.as_str());
    list.unwrap_or_default().split(", ").filter(|n| !n.is_empty()).map(str::to_owned).collect()
}

fn compare(version: &str, running: &BTreeSet<String>, loaded: &Loaded) -> Vec<Finding> {
    let planned: BTreeSet<String> = loaded.jails.iter().map(|jail| jail.name.clone()).collect();
    let text = format!("version {version} runs now with {} jails", running.len());
    let mut found = vec![Finding::new(Verdict::Same, text)];
    for jail in running.difference(&planned) {
        let text =
            format!("jail {jail} runs now and is in no file: it would be gone after the change");
        found.push(Finding::new(Verdict::Broken, text));
    }
    for jail in planned.difference(running) {
        let text = format!("jail {jail} would guard, and does not run now");
        found.push(Finding::new(Verdict::Note, text));
    }
    found
}
