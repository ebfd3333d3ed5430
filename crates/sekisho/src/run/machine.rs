//! What this machine has: root, firewall programs, journal units.
//!
//! Looked at once, before anything is started; the rest of `run` is a function of it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Command, Stdio};

use sekisho_config::jail::JailSummary;

use crate::{paths, tree};

/// What was found.
pub struct Machine {
    /// Whether we may change the firewall.
    pub root: bool,
    /// Whether `nft` or `iptables` is installed.
    pub firewall: bool,
    /// Units that have written to the journal.
    pub units: BTreeSet<String>,
}

impl Machine {
    /// Looks.
    pub fn look() -> Machine {
        Machine {
            root: paths::is_root(),
            firewall: ["nft", "iptables"].into_iter().any(|name| tree::program(name).is_some()),
            units: journal_units(),
        }
    }

    /// Whether one of the jail's logs, or its journal unit, exists.
    pub fn has_something_for(&self, jail: &JailSummary) -> bool {
        jail.logpaths.iter().any(|log| Path::new(&log.path).exists()) || self.has_unit_for(jail)
    }

    fn has_unit_for(&self, jail: &JailSummary) -> bool {
        jail.journalmatch
            .iter()
            .flatten()
            .filter_map(|token| token.strip_prefix("_SYSTEMD_UNIT="))
            .any(|unit| self.units.contains(unit))
    }

    /// Why a jail is off.
    pub fn what_is_missing(&self, jail: &JailSummary) -> String {
        let logs: Vec<&str> = jail.missing.iter().map(|log| log.path.as_str()).collect();
        let units: Vec<&str> = jail
            .journalmatch
            .iter()
            .flatten()
            .filter_map(|token| token.strip_prefix("_SYSTEMD_UNIT="))
            .collect();
        match (logs.is_empty(), units.is_empty()) {
            (true, true) => "it names no log".into(),
            (false, true) => format!("no {}", logs.join(", ")),
            (true, false) => format!("no unit {} in the journal", units.join(", ")),
            (false, false) => {
                format!("no {}, no unit {} in the journal", logs.join(", "), units.join(", "))
            }
        }
    }

    /// What to install where no firewall program is found.
    pub fn firewall_hint(&self) -> &'static str {
        if self.firewall {
            ""
        } else {
            "  But neither nft nor iptables is installed: bans will fail until one is \
             (`apt-get install nftables`)."
        }
    }
}

/// Creates a folder for this user alone, if it is missing.
pub fn private_folder(folder: &Path) -> Result<(), String> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| {
        format!(
            "cannot create {}: {e}; set HOME, or XDG_RUNTIME_DIR and XDG_STATE_HOME, to folders \
                 that you may write to",
            folder.display()
        )
    })
}

/// Units that ever wrote to the journal; none where there is no journal.
fn journal_units() -> BTreeSet<String> {
    let out = Command::new("journalctl")
        .args(["--quiet", "--field=_SYSTEMD_UNIT"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let Ok(out) = out else { return BTreeSet::new() };
    String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect()
}
