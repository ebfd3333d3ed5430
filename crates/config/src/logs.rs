//! `logpath`: which files a jail reads.

use sekisho_core::effect::Level;

use crate::files::{Files, Kind, glob};
use crate::notice::Notice;
use crate::text::{Text, is_space, strip};

/// A log and where reading begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPath {
    /// The path, or a pattern that matches nothing yet.
    pub path: String,
    /// `head` or `tail`, as written.
    pub start: String,
}

/// The logs of a jail.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    /// Files that exist.
    pub found: Vec<LogPath>,
    /// Entries for which there is no file.
    pub waiting: Vec<LogPath>,
    /// The jail names logs, and none exists.
    pub missing: bool,
}

/// Finds the files of a jail's `logpath`; the journal has none.
pub fn collect(
    files: &dyn Files,
    jail: &str,
    backend: &str,
    logpath: Option<&Text>,
    notices: &mut Vec<Notice>,
) -> Logs {
    let mut logs = Logs::default();
    let Some(text) = logpath.filter(|_| !backend.starts_with("systemd")) else { return logs };
    for line in text.value.split('\n').map(strip).filter(|line| !line.is_empty()) {
        let (path, start) = match line.rsplit_once(' ') {
            Some((path, start)) => (path.trim_end_matches(is_space), start),
            None => (line, "head"),
        };
        let entry = |path: String| LogPath { path, start: start.to_owned() };
        let note =
            |level, message| Notice { level, text: message, origin: Some(text.origin.clone()) };
        // A word of ours: a socket that is listened on. Nothing has to be there yet.
        if path.starts_with("syslog:") {
            logs.found.push(entry(path.to_owned()));
            continue;
        }
        let mut any = false;
        for path in glob(files, path) {
            match files.kind(&path) {
                Some(Kind::Dangling) => {
                    let message =
                        format!("File {path} is a dangling link, thus cannot be monitored");
                    notices.push(note(Level::Warning, message));
                }
                Some(Kind::File) => {
                    any = true;
                    logs.found.push(entry(path));
                }
                Some(Kind::Dir) => {
                    let message = format!("{path} is a folder, thus no log of '{jail}'");
                    notices.push(note(Level::Warning, message));
                }
                None => {}
            }
        }
        if !any {
            notices.push(note(Level::Notice, format!("No file(s) found for glob {path}")));
            logs.waiting.push(entry(path.to_owned()));
        }
    }
    logs.missing = logs.found.is_empty();
    logs
}
