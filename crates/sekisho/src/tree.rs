//! Which configuration is used: a folder, ours laid under it, or ours alone.
//!
//! The fail2ban names use `/etc/fail2ban`, as fail2ban does, and nothing else. `sekisho` finds its
//! way: `-c DIR`, else `/etc/fail2ban` if it exists, else `/etc/sekisho` laid over the embedded
//! tree, else the embedded tree; and a filter or action file that its tree lacks comes from the
//! embedded one.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sekisho_config::files::{Files, Kind, MapFiles, Overlay, ReadError};
use sekisho_config::load::LoadOptions;

use crate::embedded;
use crate::files::Disk;

/// fail2ban's folder.
pub const FAIL2BAN: &str = "/etc/fail2ban";
/// Our own folder, where fail2ban has none.
pub const OWN: &str = "/etc/sekisho";
/// What the embedded tree's folder is called in messages when it stands alone.
pub const EMBEDDED: &str = "(built-in)";

/// A chosen configuration.
#[derive(Debug)]
pub struct Tree {
    /// Its folder, as messages show it.
    pub dir: String,
    layers: Layers,
    /// The embedded tree, where it may help out.
    fallback: Option<MapFiles>,
}

#[derive(Debug)]
enum Layers {
    /// A folder.
    Disk,
    /// A folder over the embedded tree.
    Both(MapFiles),
    /// The embedded tree.
    Embedded(MapFiles),
}

impl Tree {
    /// The tree of the fail2ban names.
    pub fn fail2ban(conf: Option<&str>) -> Tree {
        Tree { dir: conf.unwrap_or(FAIL2BAN).to_owned(), layers: Layers::Disk, fallback: None }
    }

    /// The tree of `sekisho`.
    pub fn sekisho(conf: Option<&str>) -> Tree {
        let fallback = Some(embedded_below(EMBEDDED));
        let dir = conf.or_else(|| Path::new(FAIL2BAN).is_dir().then_some(FAIL2BAN));
        if let Some(dir) = dir {
            return Tree { dir: dir.to_owned(), layers: Layers::Disk, fallback };
        }
        if Path::new(OWN).is_dir() {
            let layers = Layers::Both(embedded_below(OWN));
            return Tree { dir: OWN.to_owned(), layers, fallback: None };
        }
        let layers = Layers::Embedded(embedded_below(EMBEDDED));
        Tree { dir: EMBEDDED.to_owned(), layers, fallback: None }
    }

    /// One sentence that says which configuration this is.
    pub fn describe(&self) -> String {
        match &self.layers {
            Layers::Disk => format!("Using the configuration in {}", self.dir),
            Layers::Both(_) => format!("Using {} over the built-in configuration", self.dir),
            Layers::Embedded(_) => "Using the built-in configuration".to_owned(),
        }
    }

    /// Options for loading this tree: the fallback is set, the rest as usual.
    pub fn options(&self) -> LoadOptions<'_> {
        let fallback = self.fallback.as_ref().map(|tree| (tree as &dyn Files, EMBEDDED));
        LoadOptions { fallback, ..LoadOptions::default() }
    }

    fn with<T>(&self, ask: impl FnOnce(&dyn Files) -> T) -> T {
        match &self.layers {
            Layers::Disk => ask(&Disk),
            Layers::Both(lower) => ask(&Overlay { upper: &Disk, lower }),
            Layers::Embedded(tree) => {
                // Logs and everything else that a configuration names are on the disk.
                ask(&Overlay { upper: tree, lower: &Disk })
            }
        }
    }
}

impl Files for Tree {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        self.with(|files| files.read(path))
    }
    fn kind(&self, path: &str) -> Option<Kind> {
        self.with(|files| files.kind(path))
    }
    fn list(&self, dir: &str) -> Vec<String> {
        self.with(|files| files.list(dir))
    }
}

/// Our own tree. It blocks with nft; where that is missing, with iptables.
fn embedded_below(base: &str) -> MapFiles {
    const IPTABLES: (&str, &str) =
        ("jail.d/firewall.conf", "[DEFAULT]\nbanaction = iptables-multiport\n");
    let other = (program("nft").is_none() && program("iptables").is_some()).then_some(IPTABLES);
    MapFiles::new(base, embedded::FILES.iter().copied().chain(other))
}

/// Finds a program on PATH, and where root's programs usually are.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| {
            std::fs::metadata(file)
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_tree_is_complete() {
        let tree = Tree {
            dir: EMBEDDED.to_owned(),
            layers: Layers::Embedded(embedded_below(EMBEDDED)),
            fallback: None,
        };
        assert_eq!(tree.kind(EMBEDDED), Some(Kind::Dir));
        assert!(tree.read(&format!("{EMBEDDED}/jail.conf")).is_ok());
        let loaded = sekisho_config::load::load(&tree, &tree.dir, &tree.options()).unwrap();
        assert_eq!(loaded.broken, []);
    }

    #[test]
    fn a_folder_that_was_named_is_used() {
        let tree = Tree::sekisho(Some("/nonexistent"));
        assert_eq!(tree.describe(), "Using the configuration in /nonexistent");
        assert!(tree.options().fallback.is_some());
        assert!(Tree::fail2ban(None).options().fallback.is_none());
        assert_eq!(Tree::fail2ban(None).dir, "/etc/fail2ban");
    }
}
