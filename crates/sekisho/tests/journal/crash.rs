//! A server that is killed while it follows the journal and entries keep coming: after the next start
//! every attempt has counted once.
//!
//! In the jail `once` each attempt is a ban of its own: one that was lost is no ban, and one that
//! counted twice is found by the server to be banned already. In the jail `twice` a second attempt is
//! needed, and nobody makes one: a ban there is an attempt that counted twice.
//!
//! `SEKISHO_JOURNAL_KILLS` sets how often something happens, `SEKISHO_JOURNAL_SEED` what.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use sekisho_oracle::{Random, cases};

use crate::journald::Journald;
use crate::server::Server;

fn attempt(number: u32) -> String {
    let [_, a, b, c] = number.to_be_bytes();
    format!("10.{a}.{b}.{c}")
}

/// The process ids of the server's children.
fn children(server: &Server) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let children = tasks.flatten().map(|task| fs::read_to_string(task.path().join("children")));
    children
        .flatten()
        .flat_map(|c| c.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// How often each address is in the table of bans.
fn bans(server: &Server, jail: &str) -> BTreeMap<String, u32> {
    let db = Connection::open(server.path("db")).unwrap();
    let query = "SELECT ip, COUNT(*) + MAX(bancount) - 1 FROM bans WHERE jail = ? GROUP BY ip";
    let mut rows = db.prepare(query).unwrap();
    let rows = rows.query_map([jail], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn every_attempt_counts_once_however_often_the_server_is_killed() {
    let Some(journald) = Journald::start("SystemMaxFileSize=1M") else { return };
    let mut random = Random(cases("SEKISHO_JOURNAL_SEED", 1) as u64);
    let rounds = cases("SEKISHO_JOURNAL_KILLS", 8);
    let backend = format!("backend = systemd[journalpath={}]\n", journald.root().display());
    let defaults = format!("{backend}journalmatch = SYSLOG_IDENTIFIER=a SYSLOG_IDENTIFIER=b\n");
    let mut server = Server::new(None, &format!("{defaults}[once]\n[twice]\nmaxretry = 2\n"));
    server.start();
    let mut left = Vec::new();
    let (over, written) = (AtomicBool::new(false), AtomicU32::new(0));
    let write = |number| {
        let who = if number % 7 == 0 { "other" } else { "a" };
        journald.write(who, &format!("fail {}", attempt(number)));
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                write(written.fetch_add(1, Ordering::Relaxed));
                std::thread::sleep(Duration::from_millis(4));
            }
        });
        // Else the thread would go on for ever after a failure.
        let guard = Guard(&over);
        for round in 0..rounds {
            std::thread::sleep(Duration::from_millis(random.below(1000) as u64));
            // The first time, what this test is about.
            match if round == 0 { 0 } else { random.below(8) } {
                0..=4 => {
                    left.extend(children(&server));
                    server.kill();
                    if random.one_in(2) {
                        std::thread::sleep(Duration::from_millis(random.below(500) as u64));
                    }
                    if random.one_in(4) {
                        journald.rotate();
                    }
                    server.start();
                }
                5 => journald.rotate(),
                // The program that reads for it.
                _ => {
                    let killed = children(&server);
                    Command::new("kill").arg("-9").args(&killed).status().unwrap();
                }
            }
        }
        drop(guard);
    });
    let last = written.load(Ordering::Relaxed);
    journald.write("b", &format!("fail {}", attempt(last)));
    // Counted; the thousands of bans may take their time.
    server.until("the last attempt", || server.log().contains(&format!("Found {}", attempt(last))));
    left.extend(children(&server));
    server.stop();
    let expected: BTreeMap<String, u32> =
        (0..=last).filter(|n| n % 7 != 0 || *n == last).map(|n| (attempt(n), 1)).collect();
    let found = bans(&server, "once");
    let lost: Vec<_> = expected.keys().filter(|ip| !found.contains_key(*ip)).collect();
    let more: Vec<_> = found.iter().filter(|(ip, n)| expected.get(*ip) != Some(n)).collect();
    assert!(lost.is_empty() && more.is_empty(), "lost {lost:?}, more {more:?}");
    assert_eq!(bans(&server, "twice"), BTreeMap::new());
    let log = server.log();
    let twice: Vec<&str> = log.lines().filter(|line| line.contains("already banned")).collect();
    assert!(twice.is_empty(), "counted twice: {twice:?}");
    for pid in left {
        server.until("those who read for it end with the server", || {
            !fs::exists(format!("/proc/{pid}")).unwrap()
        });
    }
    println!("{} attempts, each counted once", expected.len());
}

/// Says that it is over when it goes.
struct Guard<'a>(&'a AtomicBool);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
