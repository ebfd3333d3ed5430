//! The service and the Debian package: the unit is right and confines the server, systemctl starts,
//! restarts and stops it as it should, and the package takes fail2ban's place and gives it back. What
//! the server does under the unit's restrictions is shown by `lab.rs`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// The units in a folder of their own, with our binary where they have the installed one.
fn units() -> Option<tempfile::TempDir> {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        sekisho_oracle::missing("systemd-analyze");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    for name in ["fail2ban.service", "fail2ban.socket"] {
        let text = fs::read_to_string(root().join("packaging/systemd").join(name)).unwrap();
        let text = text.replace("/usr/bin/sekisho", env!("CARGO_BIN_EXE_sekisho"));
        fs::write(dir.path().join(name), text).unwrap();
    }
    Some(dir)
}

#[test]
fn systemd_finds_no_fault_with_the_units() {
    let Some(dir) = units() else { return };
    let out = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args([dir.path().join("fail2ban.service"), dir.path().join("fail2ban.socket")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert!(out.status.success() && !said.contains("fail2ban."), "{said}");
}

/// 0 is safest, 10 has no restrictions at all; fail2ban's own unit has 9.6.
#[test]
fn the_unit_confines_the_server() {
    let Some(dir) = units() else { return };
    let out = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=50", "--no-pager"])
        .arg(dir.path().join("fail2ban.service"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
}

#[test]
fn the_package_takes_fail2bans_place_and_gives_it_back() {
    if !sekisho_oracle::has_root("root (a Debian of its own)") {
        return;
    }
    if !Path::new("/usr/sbin/debootstrap").exists() {
        return sekisho_oracle::missing("debootstrap");
    }
    goes_well("packaging/deb/test", &root().join("target/package"), "the package came and went");
}

/// Under a systemd that is process 1 of namespaces of its own.
#[test]
fn the_service_does_what_systemctl_says() {
    if !sekisho_oracle::has_root("root (a systemd of its own)") {
        return;
    }
    if !Path::new("/lib/systemd/systemd").exists() {
        return sekisho_oracle::missing("systemd");
    }
    let dir = tempfile::tempdir().unwrap();
    goes_well("packaging/systemd/test", dir.path(), "the service came and went");
}

/// Runs one of the scripts with our binary; at its end it says `end`.
fn goes_well(script: &str, work: &Path, end: &str) {
    let out = Command::new("timeout")
        .args(["--kill-after=10", "900"])
        .arg(root().join(script))
        .arg(env!("CARGO_BIN_EXE_sekisho"))
        .arg(work)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert!(out.status.success(), "{said}");
    assert!(said.contains(end), "{said}");
    println!("{said}");
}
