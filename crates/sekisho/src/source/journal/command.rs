//! The command line of `journalctl` for one source.
//!
//! Pure: from the jail's parameters and matches to arguments, so that every combination can be
//! tested without a journal. No shell is involved, and what comes from the configuration stands
//! behind `--` or in an argument of its own option. Only [`Place::dirs`] looks at the disk.

use std::path::{Path, PathBuf};

use sekisho_core::time::Timestamp;

use super::entry::FIELDS;

/// Open only local journals, not those received from other machines.
const LOCAL_ONLY: u32 = 1;
/// Open only journals that do not survive a reboot.
const RUNTIME_ONLY: u32 = 2;
/// Open only the system's journals, not those of users.
const SYSTEM: u32 = 4;
/// Open only the current user's journals.
const CURRENT_USER: u32 = 8;

/// Where journalctl begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// Only what comes.
    Now,
    /// At an entry, or where it was.
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

/// What is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// These files, or patterns of them.
    Files(Vec<String>),
    /// Folders with folders of machines in them.
    Roots {
        /// The folders.
        roots: Vec<PathBuf>,
        /// Whether files may be in them, too.
        flat: bool,
        /// Of this machine only.
        local: bool,
        /// As `journalctl --namespace`.
        namespace: Option<String>,
    },
}

impl Place {
    /// The folders with journal files in them, sorted.
    pub fn dirs(&self) -> Vec<PathBuf> {
        let Place::Roots { roots, flat, local, namespace } = self else { return Vec::new() };
        let machine = local.then(|| std::fs::read_to_string("/etc/machine-id").unwrap_or_default());
        let mut dirs = Vec::new();
        for root in roots {
            let Ok(entries) = std::fs::read_dir(root) else { continue };
            let wanted = |name: &str| {
                let (id, space) = match name.split_once('.') {
                    Some((id, space)) => (id, Some(space)),
                    None => (name, None),
                };
                id.len() == 32
                    && id.bytes().all(|b| b.is_ascii_hexdigit())
                    && machine.as_ref().is_none_or(|machine| machine.trim() == id)
                    && in_namespace(namespace.as_deref(), space)
            };
            let found = entries.flatten().filter(|e| e.file_name().to_str().is_some_and(wanted));
            dirs.extend(found.map(|e| e.path()).filter(|path| path.is_dir()));
            if *flat {
                dirs.push(root.clone());
            }
        }
        dirs.sort();
        dirs.dedup();
        dirs
    }
}

/// Whether a folder's namespace is wanted: `*` is all, `+x` is x and what has none.
fn in_namespace(wanted: Option<&str>, found: Option<&str>) -> bool {
    match (wanted, found) {
        (Some("*"), _) => true,
        (Some(wanted), None) => wanted.starts_with('+'),
        (Some(wanted), Some(found)) => wanted.strip_prefix('+').unwrap_or(wanted) == found,
        (None, found) => found.is_none(),
    }
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
        let mut rotated = false;
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
                // Rotated files are read in any case, as far back as reading begins: what was
                // rotated while nobody looked is not lost. But with it goes another default.
                "rotated" => rotated = matches!(value, "1" | "on" | "true" | "yes"),
                // Parameters of other backends.
                _ => {}
            }
        }
        if journal.flags.is_none() && journal.path.is_none() && journal.files.is_empty() {
            let flags = default_flags.and_then(|f| f.trim().parse().ok());
            journal.flags = flags.or(rotated.then_some(SYSTEM));
        }
        (journal, bad)
    }

    fn has(&self, flag: u32) -> bool {
        self.flags.is_some_and(|flags| flags & flag != 0)
    }

    /// What is opened.
    pub fn place(&self) -> Place {
        if !self.files.is_empty() {
            return Place::Files(self.files.clone());
        }
        let (mut roots, flat) = match &self.path {
            Some(path) => (vec![PathBuf::from(path)], true),
            None => (vec![PathBuf::from("/run/log/journal")], false),
        };
        if self.path.is_none() && !self.has(RUNTIME_ONLY) {
            roots.push(PathBuf::from("/var/log/journal"));
        }
        Place::Roots {
            roots,
            flat,
            local: self.path.is_none() && self.has(LOCAL_ONLY),
            namespace: self.namespace.clone(),
        }
    }

    /// All arguments; with a folder of links to the [`Journal::place`] they go through it.
    pub fn arguments(
        &self,
        matches: &[Vec<String>],
        from: &From,
        folder: Option<&Path>,
    ) -> Vec<String> {
        let mut args: Vec<String> =
            ["--output=export", "--quiet", "--no-pager"].map(str::to_owned).into();
        args.push(format!("--output-fields={FIELDS}"));
        // Without it, `--follow` means this boot only.
        let local = folder.is_none() && self.path.is_none() && self.has(LOCAL_ONLY);
        if !local {
            args.push("--merge".to_owned());
        }
        if let Some(folder) = folder {
            args.push(format!("--directory={}", folder.display()));
        } else {
            match &self.path {
                Some(path) => args.push(format!("--directory={path}")),
                None if self.files.is_empty() && self.has(RUNTIME_ONLY) => {
                    args.push("--directory=/run/log/journal".to_owned());
                }
                None => args.extend(self.files.iter().map(|f| format!("--file={f}"))),
            }
            args.extend(self.namespace.iter().map(|name| format!("--namespace={name}")));
        }
        if self.files.is_empty() {
            if self.has(SYSTEM) {
                args.push("--system".to_owned());
            }
            if self.has(CURRENT_USER) {
                args.push("--user".to_owned());
            }
        }
        match from {
            From::Now => args.push("--lines=0".to_owned()),
            From::Cursor(cursor) => {
                // With `--after-cursor` it leaves out one entry also where the cursor's own is gone.
                args.extend([format!("--cursor={cursor}"), "--no-tail".to_owned()]);
            }
            From::Time(at) => {
                // Whole seconds, rounded down; the rest is left out by the reader.
                args.extend([format!("--since=@{}", at.as_secs().max(0)), "--no-tail".to_owned()]);
            }
        }
        args.push("--".to_owned());
        // journalctl refuses an empty group.
        let groups = matches.iter().flat_map(|line| line.split(|token| token == "+"));
        for (i, group) in groups.filter(|group| !group.is_empty()).enumerate() {
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
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(params: &[(&str, &str)], matches: &[&[&str]], from: From, expected: &str) {
        let params: Vec<_> =
            params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let matches: Vec<Vec<String>> =
            matches.iter().map(|g| g.iter().map(|t| (*t).to_owned()).collect()).collect();
        let args = Journal::from_params(&params, None).0.arguments(&matches, &from, None);
        let fixed = "--output=export --quiet --no-pager";
        let line = args.join(" ");
        let line = line.replace(&format!(" --output-fields={FIELDS}"), "");
        assert_eq!(line.strip_prefix(fixed).unwrap().trim_start(), expected);
    }

    #[test]
    fn arguments() {
        let at = || From::Time(Timestamp(12_900_000));
        check(&[], &[], at(), "--merge --since=@12 --no-tail --");
        check(&[], &[], From::Now, "--merge --lines=0 --");
        check(&[("rotated", "on")], &[], From::Now, "--merge --system --lines=0 --");
        let cursor = From::Cursor("s=1;i=2".to_owned());
        check(&[], &[], cursor, "--merge --cursor=s=1;i=2 --no-tail --");
        check(
            &[("journalflags", "1")],
            &[&["_COMM=sshd", "_UID=0"], &[], &["_SYSTEMD_UNIT=ssh.service", "+", "PRIORITY=3"]],
            From::Now,
            "--lines=0 -- _COMM=sshd _UID=0 + _SYSTEMD_UNIT=ssh.service + PRIORITY=3",
        );
        check(&[], &[&["+", "A=1", "+", "+"], &["+"]], From::Now, "--merge --lines=0 -- A=1");
        check(
            &[("journalflags", "10")],
            &[],
            From::Now,
            "--merge --directory=/run/log/journal --user --lines=0 --",
        );
        check(&[("journalpath", "/j")], &[], From::Now, "--merge --directory=/j --lines=0 --");
        check(
            &[("journalfiles", "/j/a.journal, /j/*.journal"), ("rotated", "on")],
            &[],
            From::Now,
            "--merge --file=/j/a.journal --file=/j/*.journal --lines=0 --",
        );
        check(&[("namespace", "n")], &[], From::Now, "--merge --namespace=n --lines=0 --");
    }

    #[test]
    fn folders() {
        let root = tempfile::tempdir().unwrap();
        let own = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let own = if own.trim().len() == 32 { own.trim().to_owned() } else { "0".repeat(32) };
        let other = "f".repeat(32);
        let (spaced, bad) = (format!("{own}.n"), "f".repeat(31));
        for name in [&own, &other, &spaced, &bad, "remote"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        std::fs::write(root.path().join("e".repeat(32)), "").unwrap();
        let check = |flat, local, namespace: Option<&str>, expected: &[&String]| {
            let place = Place::Roots {
                roots: vec![root.path().into(), "/nonexistent".into()],
                flat,
                local,
                namespace: namespace.map(str::to_owned),
            };
            let mut expected: Vec<PathBuf> =
                expected.iter().map(|name| root.path().join(name)).collect();
            expected.extend(flat.then(|| root.path().to_path_buf()));
            expected.sort();
            assert_eq!(place.dirs(), expected, "{place:?}");
        };
        check(false, false, None, &[&own, &other]);
        check(true, false, Some("n"), &[&spaced]);
        check(false, false, Some("+n"), &[&own, &other, &spaced]);
        check(false, false, Some("*"), &[&own, &other, &spaced]);
        if std::path::Path::new("/etc/machine-id").exists() {
            check(false, true, None, &[&own]);
        }
    }

    #[test]
    fn bad_flags_are_named() {
        let params = [("journalflags".to_owned(), "all".to_owned())];
        let (journal, bad) = Journal::from_params(&params, Some("9"));
        assert!(bad.unwrap().contains("journalflags=all"));
        assert_eq!(journal.flags, Some(9));
    }
}
