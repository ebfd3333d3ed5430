//! Real dovecot, postfix, sshd and nginx, real attackers, network namespaces: the scenarios of
//! `tests/lab`, run one after the other. Needs root and the servers' Debian packages; never touches
//! the root namespace's firewall.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One lab at a time: it has fixed names and addresses.
static LAB: Mutex<()> = Mutex::new(());

struct Lab {
    folder: PathBuf,
    /// Which daemon, and how it is started: a script of `tests/lab/subjects`.
    subject: &'static str,
    _turn: MutexGuard<'static, ()>,
}

/// The program that is missing for the lab, or `None`.
fn missing() -> Option<String> {
    let programs = [
        "/usr/sbin/dovecot",
        "/usr/sbin/postfix",
        "/usr/sbin/nginx",
        "/usr/sbin/sshd",
        "/usr/sbin/rsyslogd",
        "/usr/sbin/iptables",
        "/usr/sbin/nft",
        "/usr/bin/sshpass",
        "/usr/bin/whois",
        "/usr/bin/bc",
        "/etc/fail2ban/jail.conf",
    ];
    programs.iter().find(|p| !Path::new(p).exists()).map(|p| format!("{p} (see .ci/run)"))
}

fn lab(auth: &str) -> Option<Lab> {
    if !sekisho_oracle::has_root("root (network namespaces)") {
        return None;
    }
    if let Some(what) = missing() {
        sekisho_oracle::missing(&what);
        return None;
    }
    let turn = LAB.lock().unwrap_or_else(PoisonError::into_inner);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let lab = Lab { folder: root.join("tests/lab"), subject: "sekisho", _turn: turn };
    lab.run("./lab", &["down"]);
    let up = lab.run("./lab", &["up", auth]);
    assert!(up.status.success(), "lab up: {}", text(&up));
    Some(lab)
}

impl Lab {
    fn run(&self, program: &str, args: &[&str]) -> Output {
        let bin = Path::new(env!("CARGO_BIN_EXE_sekisho")).parent().unwrap();
        Command::new("timeout")
            .args(["--kill-after=10", "540", program])
            .args(args)
            .current_dir(&self.folder)
            .env("SUBJECT", self.subject)
            .env("BIN", bin)
            .output()
            .expect("timeout(1) of coreutils")
    }

    fn scenario(&self, script: &str, args: &[&str]) {
        let out = self.run(script, args);
        let shown = text(&out);
        println!("{shown}");
        if !out.status.success() {
            let log = std::fs::read_to_string("/tmp/lab/srv/log/fail2ban.log").unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(60).collect();
            println!("-- end of fail2ban.log");
            tail.iter().rev().for_each(|line| println!("{line}"));
            panic!("{script} {args:?}: {}", out.status);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.run("./lab", &["down"]);
    }
}

fn text(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

/// fail2ban's own acceptance scenario with Debian's stock configuration, under the restrictions of
/// the systemd unit.
#[test]
fn acceptance() {
    let Some(mut lab) = lab("passwdfile") else { return };
    lab.subject = "confined";
    let start = lab.run("./lab", &["subject", "start"]);
    assert!(start.status.success(), "{}", text(&start));
    lab.scenario("./prove.sh", &[]);
}

#[test]
fn guide_on_debians_jail_conf() {
    let Some(lab) = lab("passwdfile") else { return };
    lab.scenario("./guide.sh", &["debian"]);
}

#[test]
fn guide_on_our_jail_conf() {
    let Some(lab) = lab("passwdfile") else { return };
    lab.scenario("./guide.sh", &["ours"]);
}

#[test]
fn killed_and_started() {
    let Some(lab) = lab("passwdfile") else { return };
    lab.scenario("./kill9.sh", &[]);
}

#[test]
fn a_restart_lets_nobody_in() {
    let Some(lab) = lab("passwdfile") else { return };
    lab.scenario("./restart.sh", &[]);
}

#[test]
fn whois_that_never_answers() {
    let Some(lab) = lab("passwdfile") else { return };
    lab.scenario("./whois.sh", &[]);
}
