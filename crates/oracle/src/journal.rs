//! Journal files with entries of a test's own, made by systemd-journal-remote.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::{fed, missing};

const PROGRAM: &str = "/lib/systemd/systemd-journal-remote";

/// Whether journal files can be made here; without the program the test is skipped.
#[track_caller]
pub fn has_journal_remote() -> bool {
    let found = Path::new(PROGRAM).exists();
    if !found {
        missing("systemd-journal-remote");
    }
    found
}

/// An entry of a journal.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Microseconds since 1970.
    pub at: i64,
    /// Its fields; a name may come more than once.
    pub fields: Vec<(String, Vec<u8>)>,
}

impl Entry {
    /// An entry with these fields.
    pub fn new(at: i64, fields: &[(&str, &str)]) -> Entry {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
        Entry { at, fields: fields.collect() }
    }

    /// The entry of which fail2ban makes this line: `HOST IDENT[PID]: MESSAGE`, or else a message
    /// alone.
    pub fn of_line(at: i64, line: &str) -> Entry {
        let cut = || {
            let (host, rest) = line.split_once(' ')?;
            let (ident, message) = rest.split_once(": ")?;
            let (ident, pid) = match ident.strip_suffix(']').and_then(|i| i.rsplit_once('[')) {
                Some((ident, pid)) => (ident, Some(pid)),
                None => (ident, None),
            };
            let plain = !ident.is_empty() && !ident.contains([' ', '[', ':']);
            let number = pid.is_none_or(|pid| pid.parse().is_ok_and(|n: u32| n.to_string() == pid));
            (plain && number).then_some((host, ident, pid, message))
        };
        let Some((host, ident, pid, message)) = cut() else {
            return Entry::new(at, &[("MESSAGE", line)]);
        };
        let mut fields = vec![("_HOSTNAME", host), ("SYSLOG_IDENTIFIER", ident)];
        fields.extend(pid.map(|pid| ("_PID", pid)));
        fields.push(("MESSAGE", message));
        Entry::new(at, &fields)
    }

    /// In the export format.
    fn export(&self, number: usize, out: &mut Vec<u8>) {
        let (at, boot) = (self.at, "a".repeat(32));
        let head = format!(
            "__CURSOR=s=c;i={number:x}\n__REALTIME_TIMESTAMP={at}\n\
             __MONOTONIC_TIMESTAMP={at}\n_BOOT_ID={boot}\n"
        );
        out.extend(head.as_bytes());
        for (name, value) in &self.fields {
            out.extend(name.as_bytes());
            out.push(b'\n');
            out.extend((value.len() as u64).to_le_bytes());
            out.extend(value);
            out.push(b'\n');
        }
        out.push(b'\n');
    }
}

/// Writes a journal file; one that is there goes on.
pub fn write_journal(path: &Path, entries: &[Entry]) {
    let mut stream = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        entry.export(number, &mut stream);
    }
    let mut command = Command::new(PROGRAM);
    command.arg("--output").arg(path).args(["--split-mode=none", "-"]).stderr(Stdio::piped());
    let done = fed(&mut command, &stream);
    let said = String::from_utf8_lossy(&done.stderr);
    let all = format!("writing {} entries", entries.len());
    assert!(done.status.success() && said.contains(&all), "{said}");
}
