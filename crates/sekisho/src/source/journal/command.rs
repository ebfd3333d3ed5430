//! The command line of `journalctl` for one source.
//!
//! Pure: from the jail's parameters and matches to arguments, so that every combination can be
//! tested without a journal. No shell is involved, and what comes from the configuration stands
//! behind `--` or in an argument of its own option. Only [`Place::dirs`] looks at the disk.

use std::path::{Path, PathBuf};

use sekisho_core::time::Timestamp;

use super::entry::FIELDS;

/// Where a machine has its journal until it is rebooted, …
const RUNTIME: &str = "/run/log/journal";
/// … for longer, …
const PERSISTENT: &str = "/var/log/journal";
/// … and those that it received from others.
const REMOTE: &str = "/var/log/journal/remote";

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    place: Place,
    flags: u32,
}

/// What is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `journalfiles`: these files, or patterns of them.
    Files(Vec<String>),
    /// `journalpath`: a folder of files, and of folders of machines.
    Folder(PathBuf),
    /// Where the machine has its journals.
    Machine {
        /// Only what does not survive a reboot.
        runtime: bool,
        /// Of this machine only.
        local: bool,
        /// Which of the folders there.
        which: Which,
    },
}

/// Which folders are opened where there are several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Every one, whatever its name.
    All,
    /// Those of machines, without a namespace or as `journalctl --namespace`.
    Namespace(Option<String>),
}

impl Place {
    /// The folders with journal files in them, sorted.
    pub fn dirs(&self) -> Vec<PathBuf> {
        match self {
            Place::Files(_) => Vec::new(),
            Place::Folder(path) => dirs_in(&[path], None, &Which::Namespace(None)),
            Place::Machine { runtime, local, which } => {
                let machine =
                    local.then(|| std::fs::read_to_string("/etc/machine-id").unwrap_or_default());
                let mut roots = vec![Path::new(RUNTIME)];
                if !runtime {
                    roots.push(Path::new(PERSISTENT));
                }
                if !runtime && !local {
                    roots.push(Path::new(REMOTE));
                }
                dirs_in(&roots, machine.as_deref().map(str::trim), which)
            }
        }
    }
}

/// Those of the folders that exist, and the folders in them; those of machines as journalctl finds
/// them.
fn dirs_in(roots: &[impl AsRef<Path>], machine: Option<&str>, which: &Which) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for root in roots.iter().map(AsRef::as_ref) {
        let Ok(entries) = std::fs::read_dir(root) else { continue };
        // What is in memory is of this machine, also under an id that it had when it booted.
        let machine = machine.filter(|_| root != Path::new(RUNTIME));
        let is_wanted = |name: &str| {
            let (id, space) = match name.split_once('.') {
                Some((id, space)) => (id, Some(space)),
                None => (name, None),
            };
            let of_machine = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
            match (which, machine) {
                (_, Some(machine)) if id != machine => false,
                (Which::All, _) => true,
                (Which::Namespace(wanted), _) => {
                    of_machine && in_namespace(wanted.as_deref(), space)
                }
            }
        };
        let found = entries.flatten().filter(|e| e.file_name().to_str().is_some_and(is_wanted));
        dirs.extend(found.map(|e| e.path()).filter(|path| path.is_dir()));
        dirs.push(root.to_owned());
    }
    dirs.sort();
    dirs.dedup();
    dirs
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
    /// value names parameters that could not be used.
    pub fn from_params(
        params: &[(String, String)],
        default_flags: Option<&str>,
    ) -> (Self, Vec<String>) {
        let (mut path, mut files, mut namespace) = (None, Vec::new(), None);
        let (mut flags, mut rotated, mut bad) = (None, false, Vec::new());
        for (key, value) in params {
            let value = value.trim();
            match key.as_str() {
                _ if value.is_empty() => {}
                "journalpath" => path = Some(value),
                "journalfiles" => {
                    let words = value.split([' ', ',', '\n', '\t']).filter(|f| !f.is_empty());
                    files.extend(words.map(str::to_owned));
                }
                "namespace" => namespace = Some(value.to_owned()),
                "journalflags" => match value.parse::<u32>() {
                    Ok(number) => flags = Some(number),
                    Err(_) => bad.push(format!(
                        "journalflags={value} is not a number; write the sum of 1 (local), 2 \
                         (runtime), 4 (system), 8 (user)"
                    )),
                },
                // Rotated files are read in any case, as far back as reading begins: what was
                // rotated while nobody looked is not lost. But with it go other defaults.
                "rotated" => {
                    rotated = matches!(&*value.to_ascii_lowercase(), "1" | "on" | "true" | "yes");
                }
                other => bad.push(format!(
                    "{other}={value} is no parameter of the journal; there are journalpath, \
                     journalfiles, journalflags, namespace and rotated"
                )),
            }
        }
        let named = path.is_some() || !files.is_empty();
        if let Some(path) = path.filter(|_| !files.is_empty()) {
            bad.push(format!(
                "journalpath={path} is not used, as journalfiles are given; remove one of them"
            ));
        }
        if let Some(namespace) = namespace.as_ref().filter(|_| named) {
            bad.push(format!(
                "namespace={namespace} is not used, as journalpath or journalfiles say where the \
                 journal is; remove it, or them"
            ));
        }
        let default = || default_flags.and_then(|f| f.trim().parse().ok());
        let flags = match flags {
            Some(flags) => flags,
            None if named => 0,
            None => default().unwrap_or(if rotated { SYSTEM } else { 0 }),
        };
        let place = match path {
            _ if !files.is_empty() => Place::Files(files),
            Some(path) => Place::Folder(path.into()),
            None => Place::Machine {
                runtime: flags & RUNTIME_ONLY != 0,
                local: flags & LOCAL_ONLY != 0,
                which: match namespace {
                    None if !rotated => Which::All,
                    namespace => Which::Namespace(namespace),
                },
            },
        };
        (Self { place, flags }, bad)
    }

    /// What is opened.
    pub fn place(&self) -> &Place {
        &self.place
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
        if folder.is_some() || !matches!(self.place, Place::Machine { local: true, .. }) {
            args.push("--merge".to_owned());
        }
        let directory = |path: &Path| format!("--directory={}", path.display());
        match (folder, &self.place) {
            (Some(folder), _) => args.push(directory(folder)),
            (None, Place::Files(files)) => args.extend(files.iter().map(|f| format!("--file={f}"))),
            (None, Place::Folder(path)) => args.push(directory(path)),
            (None, Place::Machine { runtime, which, .. }) => {
                if *runtime {
                    args.push(directory(Path::new(RUNTIME)));
                }
                let namespace = match which {
                    Which::All => Some("*"),
                    Which::Namespace(name) => name.as_deref(),
                };
                args.extend(namespace.map(|name| format!("--namespace={name}")));
            }
        }
        if !matches!(self.place, Place::Files(_)) {
            let choices = [(SYSTEM, "--system"), (CURRENT_USER, "--user")];
            let chosen = choices.iter().filter(|(flag, _)| self.flags & flag != 0);
            args.extend(chosen.map(|(_, option)| (*option).to_owned()));
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
        check(&[], &[], at(), "--merge --namespace=* --since=@12 --no-tail --");
        check(&[], &[], From::Now, "--merge --namespace=* --lines=0 --");
        check(&[("rotated", "On")], &[], From::Now, "--merge --system --lines=0 --");
        let cursor = From::Cursor("s=1;i=2".to_owned());
        check(&[], &[], cursor, "--merge --namespace=* --cursor=s=1;i=2 --no-tail --");
        check(
            &[("journalflags", "1")],
            &[&["_COMM=sshd", "_UID=0"], &[], &["_SYSTEMD_UNIT=ssh.service", "+", "PRIORITY=3"]],
            From::Now,
            "--namespace=* --lines=0 -- _COMM=sshd _UID=0 + _SYSTEMD_UNIT=ssh.service + PRIORITY=3",
        );
        let groups: &[&[&str]] = &[&["+", "A=1", "+", "+"], &["+"]];
        check(&[], groups, From::Now, "--merge --namespace=* --lines=0 -- A=1");
        check(
            &[("journalflags", "10"), ("rotated", "true")],
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
        let (own, other) = ("0".repeat(32), "f".repeat(32));
        let (spaced, bad) = (format!("{own}.n"), "f".repeat(31));
        let named = "remote".to_owned();
        for name in [&own, &other, &spaced, &bad, &named] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        std::fs::write(root.path().join("e".repeat(32)), "").unwrap();
        let check = |machine: Option<&str>, which: Which, expected: &[&String]| {
            let roots = [root.path(), Path::new("/nonexistent")];
            let mut expected: Vec<PathBuf> =
                expected.iter().map(|name| root.path().join(name)).collect();
            expected.push(root.path().to_path_buf());
            expected.sort();
            let found = dirs_in(&roots, machine, &which);
            assert_eq!(found, expected, "{machine:?} {which:?}");
        };
        let space = |name: &str| Which::Namespace(Some(name.to_owned()));
        check(None, Which::Namespace(None), &[&own, &other]);
        check(None, space("n"), &[&spaced]);
        check(None, space("+n"), &[&own, &other, &spaced]);
        check(None, space("*"), &[&own, &other, &spaced]);
        check(None, Which::All, &[&own, &other, &spaced, &bad, &named]);
        check(Some(&own), Which::Namespace(None), &[&own]);
        check(Some(&own), space("*"), &[&own, &spaced]);
        check(Some(&own), Which::All, &[&own, &spaced]);
    }

    #[test]
    fn what_is_not_used_is_named() {
        let check = |params: &[(&str, &str)], named: &[&str]| {
            let params: Vec<_> =
                params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let (journal, bad) = Journal::from_params(&params, Some("9"));
            assert_eq!(bad.len(), named.len(), "{bad:?}");
            for (text, part) in bad.iter().zip(named) {
                assert!(text.starts_with(part), "{text}");
            }
            journal
        };
        let journal = check(&[("journalflags", "all")], &["journalflags=all is"]);
        assert_eq!(journal.flags, 9);
        check(&[("journalflag", "1")], &["journalflag=1 is no parameter of the journal"]);
        let both = [("journalpath", "/p"), ("journalfiles", "/f"), ("namespace", "n")];
        let journal = check(&both, &["journalpath=/p is", "namespace=n is"]);
        assert_eq!(*journal.place(), Place::Files(vec!["/f".to_owned()]));
        let args = journal.arguments(&[], &From::Now, None).join(" ");
        assert!(args.contains(" --file=/f "), "{args}");
        assert!(!args.contains("/p") && !args.contains("--namespace"), "{args}");
        let journal = check(&[("journalpath", "/p"), ("namespace", "n")], &["namespace=n is"]);
        assert_eq!(*journal.place(), Place::Folder("/p".into()));
    }
}
