//! The command line of `journalctl` for one source.
//!
//! Pure: from the jail's parameters and matches to arguments, so that every combination can be
//! tested without a journal. No shell is involved, and what comes from the configuration stands
//! behind `--` or in an argument of its own option.

use sekisho_core::time::Timestamp;

use super::entry::FIELDS;

/// Open only local journals, not those received from other machines.
const LOCAL_ONLY: u32 = 1;
/// Open only journals that do not survive a reboot.
const RUNTIME_ONLY: u32 = 2;
/// Open only the system's journals, not those of users; fail2ban's default.
const SYSTEM: u32 = 4;
/// Open only the current user's journals.
const CURRENT_USER: u32 = 8;

/// Where journalctl begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// Only what comes.
    Now,
    /// Behind an entry.
    Cursor(String),
    /// At a time.
    Time(Timestamp),
}

/// Where the journal is and how it is opened: the backend's parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    path: Option<String>,
    files: Vec<String>,
    flags: Option<u32>,
    namespace: Option<String>,
}

impl Journal {
    /// Reads the backend's parameters; `default_flags` is `F2B_SYSTEMD_DEFAULT_FLAGS`. The second
    /// value names a parameter that could not be used.
    pub fn from_params(
        params: &[(String, String)],
        default_flags: Option<&str>,
    ) -> (Self, Option<String>) {
        let mut journal = Self::default();
        let mut bad = None;
        for (key, value) in params {
            let value = value.trim();
            match key.as_str() {
                _ if value.is_empty() => {}
                "journalpath" => journal.path = Some(value.to_owned()),
                "journalfiles" => {
                    let files = value.split([' ', ',', '\n', '\t']).filter(|f| !f.is_empty());
                    journal.files.extend(files.map(str::to_owned));
                }
                "namespace" => journal.namespace = Some(value.to_owned()),
                "journalflags" => match value.parse() {
                    Ok(flags) => journal.flags = Some(flags),
                    Err(_) => {
                        bad = Some(format!(
                            "journalflags={value} is not a number; write the sum of 1 (local), 2 \
                             (runtime), 4 (system), 8 (user)"
                        ));
                    }
                },
                // `rotated` and parameters of other backends: old files cost nothing here, since
                // reading begins at a time or a cursor.
                _ => {}
            }
        }
        if journal.flags.is_none() && journal.path.is_none() && journal.files.is_empty() {
            journal.flags = default_flags.and_then(|f| f.trim().parse().ok()).or(Some(SYSTEM));
        }
        (journal, bad)
    }

    /// All arguments.
    pub fn arguments(&self, matches: &[Vec<String>], from: &From) -> Vec<String> {
        let mut args: Vec<String> = ["--follow", "--output=json", "--all", "--quiet", "--no-pager"]
            .map(str::to_owned)
            .into();
        args.push(format!("--output-fields={FIELDS}"));
        if let Some(path) = &self.path {
            args.push(format!("--directory={path}"));
        }
        args.extend(self.files.iter().map(|f| format!("--file={f}")));
        if let Some(namespace) = &self.namespace {
            args.push(format!("--namespace={namespace}"));
        }
        if let Some(flags) = self.flags {
            if flags & LOCAL_ONLY == 0 && self.path.is_none() && self.files.is_empty() {
                args.push("--merge".to_owned());
            }
            if flags & RUNTIME_ONLY != 0 && self.path.is_none() && self.files.is_empty() {
                args.push("--directory=/run/log/journal".to_owned());
            }
            if flags & SYSTEM != 0 {
                args.push("--system".to_owned());
            }
            if flags & CURRENT_USER != 0 {
                args.push("--user".to_owned());
            }
        }
        match from {
            From::Now => args.push("--lines=0".to_owned()),
            From::Cursor(cursor) => {
                args.extend([format!("--after-cursor={cursor}"), "--no-tail".to_owned()]);
            }
            From::Time(at) => {
                // Whole seconds, rounded down; the rest is left out by the reader.
                args.extend([format!("--since=@{}", at.as_secs().max(0)), "--no-tail".to_owned()]);
            }
        }
        args.push("--".to_owned());
        let groups = matches.iter().filter(|group| !group.is_empty());
        for (i, group) in groups.enumerate() {
            if i > 0 {
                args.push("+".to_owned());
            }
            args.extend(group.iter().cloned());
        }
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(params: &[(&str, &str)], matches: &[&[&str]], from: From, expected: &str) {
        let params: Vec<_> =
            params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let matches: Vec<Vec<String>> =
            matches.iter().map(|g| g.iter().map(|t| (*t).to_owned()).collect()).collect();
        let args = Journal::from_params(&params, None).0.arguments(&matches, &from);
        let fixed = "--follow --output=json --all --quiet --no-pager";
        let line = args.join(" ");
        let line = line.replace(&format!(" --output-fields={FIELDS}"), "");
        assert_eq!(line.strip_prefix(fixed).unwrap().trim_start(), expected);
    }

    #[test]
    fn arguments() {
        let at = || From::Time(Timestamp(12_900_000));
        check(&[], &[], at(), "--merge --system --since=@12 --no-tail --");
        check(&[], &[], From::Now, "--merge --system --lines=0 --");
        let cursor = From::Cursor("s=1;i=2".to_owned());
        check(&[], &[], cursor, "--merge --system --after-cursor=s=1;i=2 --no-tail --");
        check(
            &[("journalflags", "1")],
            &[&["_COMM=sshd", "_UID=0"], &[], &["_SYSTEMD_UNIT=ssh.service", "+", "PRIORITY=3"]],
            From::Now,
            "--lines=0 -- _COMM=sshd _UID=0 + _SYSTEMD_UNIT=ssh.service + PRIORITY=3",
        );
        check(
            &[("journalflags", "10")],
            &[],
            From::Now,
            "--merge --directory=/run/log/journal --user --lines=0 --",
        );
        check(&[("journalpath", "/j")], &[], From::Now, "--directory=/j --lines=0 --");
        check(
            &[("journalfiles", "/j/a.journal, /j/*.journal"), ("rotated", "on")],
            &[],
            From::Now,
            "--file=/j/a.journal --file=/j/*.journal --lines=0 --",
        );
        check(&[("namespace", "n")], &[], From::Now, "--namespace=n --merge --system --lines=0 --");
    }

    #[test]
    fn bad_flags_are_named() {
        let params = [("journalflags".to_owned(), "all".to_owned())];
        let (journal, bad) = Journal::from_params(&params, Some("9"));
        assert!(bad.unwrap().contains("journalflags=all"));
        assert_eq!(journal.flags, Some(9));
    }
}
