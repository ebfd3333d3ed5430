//! What fail2ban 1.1.1 added, while a server runs.

use super::*;

#[test]
fn ignored_addresses_come_from_a_file_that_is_read_again() {
    let site = Site::new();
    let path = site.path("ignored");
    site.write("ignored", "# friends\n192.0.2.0/28, 2001:db8::1 ; and others\n");
    site.jails(&format!("[alpha]\nignoreip = 198.51.100.1 file:{}\n", path.display()));
    site.start();
    site.attack("192.0.2.1");
    site.until_file("server.log", &format!("[alpha] Ignore 192.0.2.1 by file:/{}", path.display()));
    site.attack("192.0.2.99");
    site.until_banned("192.0.2.99");
    assert_eq!(site.banned(), "192.0.2.99");
    site.write("ignored", "192.0.2.7\n");
    let again = wait(|| {
        site.attack("192.0.2.1");
        site.banned().contains("192.0.2.1\n") || site.banned().ends_with("192.0.2.1")
    });
    assert!(again, "{}", site.read("server.log"));
    site.attack("192.0.2.7");
    site.until_file("server.log", "[alpha] Ignore 192.0.2.7 by file:");
}

#[test]
fn a_jail_without_logs_may_be_skipped() {
    let site = Site::new();
    let late = site.path("late.log");
    let beta = format!("[beta]\nskip_if_nologs = true\nlogpath = {}\n", late.display());
    site.jails(&format!("[alpha]\n{beta}"));
    // It was asked for, so nothing is wrong.
    site.client("-t").exits(0).has(&["'beta'"]);
    site.start();
    let status = site.client("status").exits(0).text.clone();
    assert!(status.contains("Jail list:\talpha\n"), "{status}");
    site.attack("192.0.2.1");
    site.until_banned("192.0.2.1");
    // With a log it is a jail like any other.
    site.write("late.log", failures(5, "192.0.2.2"));
    site.client("reload").exits(0);
    site.until("get beta banip", "192.0.2.2");
    assert_eq!(site.banned(), "192.0.2.1");
}

#[test]
fn the_journal_stands_in_for_logs_that_are_missing() {
    let site = Site::new();
    let jails = |backend: &str| {
        let none = site.path("none.log");
        format!(
            "[alpha]\n[beta]\nbackend = {backend}\nlogpath = {}\n\
             journalmatch = _SYSTEMD_UNIT=b.service\nfailregex = b\\[7\\]: fail <HOST>$\n",
            none.display()
        )
    };
    site.jails(&jails("auto"));
    site.write("entries", "");
    let calls = site.path("calls");
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {}\nexec tail -n +1 -F {}\n",
        calls.display(),
        site.path("entries").display()
    );
    fs::create_dir(site.path("bin")).unwrap();
    fs::create_dir(site.path("journal")).unwrap();
    site.write("journal/system.journal", "");
    site.program("bin/journalctl", &script);
    let path = std::env::var("PATH").unwrap();
    let said: Said = Command::new(env!("CARGO_BIN_EXE_fail2ban-client"))
        .arg("-c")
        .arg(site.path("conf"))
        .arg("start")
        .env("PATH", format!("{}:{path}", site.path("bin").display()))
        .output()
        .unwrap()
        .into();
    said.exits(0).has(&["Server ready"]);
    site.client("status beta").exits(0).has(&["Journal matches:\t_SYSTEMD_UNIT=b.service"]);
    // Where this machine has its journal is not ours to say, so the rest is read elsewhere.
    let elsewhere = format!("systemd[journalpath={}]", site.path("journal").display());
    site.jails(&jails(&elsewhere));
    site.client("reload --restart beta").exits(0);
    site.until_file("calls", "_SYSTEMD_UNIT=b.service");
    let entry = |n: u32| {
        format!(
            "__CURSOR=c{n}\n__REALTIME_TIMESTAMP={}000000\n_HOSTNAME=h\n\
             SYSLOG_IDENTIFIER=b\n_PID=7\nMESSAGE=fail 192.0.2.3\n\n",
            stamp()
        )
    };
    site.write("entries", (1..=5).map(entry).collect::<String>());
    site.until("get beta banip", "192.0.2.3");
    assert_eq!(site.banned(), "");
}
