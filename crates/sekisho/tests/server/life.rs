//! Start, stop, restart, reload, signals: what stays and what goes.

use super::*;

#[test]
fn the_fifth_failure_bans() {
    let site = Site::new();
    site.start();
    site.log(failures(4, "192.0.2.1"));
    site.until("status alpha", "Total failed:\t4");
    assert_eq!(site.banned(), "");
    site.log(failures(1, "192.0.2.1"));
    site.until_banned("192.0.2.1");
    site.until_file("acts", "record ban 192.0.2.1");
    assert_eq!(site.read("acts"), "record start alpha\nrecord ban 192.0.2.1\n");
    site.until_file("server.log", "[alpha] Ban 192.0.2.1");
}

#[test]
fn who_is_ignored_is_not_banned() {
    let site = Site::new();
    site.start();
    site.attack("192.0.2.99");
    site.attack("192.0.2.1");
    site.until_banned("192.0.2.1");
    assert_eq!(site.banned(), "192.0.2.1");
    site.until_file("server.log", "[alpha] Ignore 192.0.2.99 by ip");
}

/// What is in force stays in force: no command takes it back, none makes it anew.
#[test]
fn a_restart_touches_no_ban() {
    let site = Site::new();
    site.recorder("record", "true", "actioncheck = echo check >> ACTS\n");
    let text = site.read("conf/action.d/record.conf");
    let acts = site.path("acts").display().to_string();
    site.write("conf/action.d/record.conf", text.replace("ACTS", &acts));
    site.start();
    site.attack("192.0.2.1");
    site.until_banned("192.0.2.1");
    site.until_file("acts", "record ban 192.0.2.1");
    site.client("restart").exits(0).has(&["Shutdown successful", "Server ready"]);
    site.until_banned("192.0.2.1");
    site.until_file("server.log", "[alpha] Restore Ban 192.0.2.1");
    site.until_file("acts", "check");
    assert_eq!(site.read("acts"), "record start alpha\nrecord ban 192.0.2.1\ncheck\n");
    assert!(!site.path("pid.kept").exists(), "{:?}", list(site.dir.path()));
    site.client("unban 192.0.2.1").exits(0);
    site.until_file("acts", "record unban 192.0.2.1");
    site.client("stop").exits(0);
    site.until_file("acts", "record stop alpha");
}

/// Whoever is ignored now is let in at once.
#[test]
fn a_restart_lets_in_who_is_ignored_now() {
    let site = Site::new();
    site.start();
    site.attack("192.0.2.1");
    site.until_banned("192.0.2.1");
    site.until_file("acts", "record ban 192.0.2.1");
    site.jails("[alpha]\nignoreip = 192.0.2.1\n");
    site.client("restart").exits(0);
    site.until_file("acts", "record unban 192.0.2.1");
    assert_eq!(site.banned(), "");
}

/// An action that is another one after the restart is cleaned up as it was.
#[test]
fn a_restart_with_another_action_leaves_nothing_of_the_old_one() {
    let site = Site::new();
    site.start();
    site.attack("192.0.2.1");
    site.until_banned("192.0.2.1");
    site.until_file("acts", "record ban 192.0.2.1");
    site.recorder("other", "true", "");
    site.jails("[alpha]\naction = other[name=new]\n");
    site.client("restart").exits(0);
    site.until_file("acts", "other ban 192.0.2.1");
    site.until_file("acts", "record stop alpha");
    let acts = site.read("acts");
    assert_eq!(count(&acts, "record unban 192.0.2.1"), 1, "{acts}");
    assert_eq!(count(&acts, "record ban"), 1, "{acts}");
    site.until_banned("192.0.2.1");
}

#[test]
fn bans_come_back_after_restart_and_kill() {
    let site = Site::new();
    site.start();
    site.attack("192.0.2.1");
    site.until_banned("192.0.2.1");
    site.client("restart").exits(0).has(&["Shutdown successful", "Server ready"]);
    site.until_banned("192.0.2.1");
    site.until_file("server.log", "[alpha] Restore Ban 192.0.2.1");
    site.attack("192.0.2.2");
    site.until_banned("192.0.2.2");
    site.signal(Signal::KILL);
    site.start();
    site.until_banned("192.0.2.2");
    site.until_banned("192.0.2.1");
}

/// A service manager waits for this word; before it, nobody can rely on the socket.
#[test]
fn a_service_manager_is_told_when_it_is_ready() {
    let site = Site::new();
    let manager = std::os::unix::net::UnixDatagram::bind(site.path("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_sekisho"))
        .arg("-c")
        .arg(site.path("conf"))
        .args(["-f", "start"])
        .env("NOTIFY_SOCKET", site.path("notify"))
        .spawn()
        .unwrap();
    let mut buffer = [0; 64];
    let told =
        manager.recv(&mut buffer).map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned());
    let status = site.client("status alpha");
    site.client("stop");
    let _ = server.wait();
    assert_eq!(told.unwrap(), "READY=1\n");
    status.exits(0).has(&["Currently banned:"]);
}

#[test]
fn terminated() {
    let site = Site::new();
    let mut server = Command::new(env!("CARGO_BIN_EXE_fail2ban-server"))
        .arg("-c")
        .arg(site.path("conf"))
        .args(["-f", "start"])
        .spawn()
        .unwrap();
    let up = wait(|| site.client("ping").code == 0);
    if !up {
        let _ = server.kill();
    }
    assert!(up, "no server in the foreground");
    site.attack("192.0.2.1");
    site.until_banned("192.0.2.1");
    kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
    let mut code = None;
    let ended = wait(|| {
        code = server.try_wait().unwrap();
        code.is_some()
    });
    if !ended {
        let _ = server.kill();
    }
    assert_eq!(code.and_then(|c| c.code()), Some(0));
    assert!(!site.path("socket").exists() && !site.path("pid").exists());
    assert!(site.read("acts").ends_with("record unban 192.0.2.1\nrecord stop alpha\n"));
}

#[test]
fn stopped() {
    let site = Site::new();
    site.client("stop").exits(255).has(&["Is fail2ban running?"]);
    site.start();
    site.client("stop").exits(0).has(&["Shutdown successful"]);
    assert!(!site.path("socket").exists() && !site.path("pid").exists());
    site.start();
}

#[test]
fn the_log_is_rolled() {
    let site = Site::new();
    site.start();
    fs::rename(site.path("server.log"), site.path("server.log.1")).unwrap();
    site.signal(Signal::USR1);
    site.until_file("server.log", "rollover performed");
    site.client("flushlogs").exits(0).has(&["rolled over"]);
}

#[test]
fn reload_takes_what_changed() {
    let site = Site::new();
    site.jails("[alpha]\nmaxretry = 3\nbantime = 2h\n");
    site.start();
    site.client("get alpha bantime").exits(0).has(&["7200"]);
    site.log(failures(3, "192.0.2.1"));
    site.until_banned("192.0.2.1");
    site.recorder("second", "true", "");
    site.jails(
        "[alpha]\nbantime = 3h\naction = record[name=alpha]\n         second[name=alpha]\n[beta]\n",
    );
    site.client("reload").exits(0).has(&["OK"]);
    site.client("get alpha bantime").exits(0).has(&["10800"]);
    site.client("get alpha maxretry").exits(0).has(&["5"]);
    site.client("status").exits(0).has(&["Jail list:\talpha, beta"]);
    // The new action bans, too, who is banned.
    site.until_file("acts", "second ban 192.0.2.1");
    site.until("get alpha banip", "192.0.2.1");
    assert_eq!(site.banned(), "192.0.2.1");
    assert!(!site.read("acts").contains("unban"), "{}", site.read("acts"));
    site.attack("192.0.2.2");
    site.until_file("acts", "second ban 192.0.2.2");
    site.jails("[alpha]\n");
    site.client("reload").exits(0);
    site.client("status").exits(0).has(&["Jail list:\talpha\n"]);
    site.until_file("acts", "second stop alpha");
    site.until_banned("192.0.2.1");
}

#[test]
fn everybody_is_let_in() {
    let site = Site::new();
    site.start();
    for ip in ["192.0.2.1", "192.0.2.2"] {
        site.attack(ip);
        site.until_banned(ip);
    }
    site.client("unban 192.0.2.7").exits(0).has(&["0"]);
    site.client("unban --all").exits(0).has(&["2"]);
    assert_eq!(site.banned(), "");
    assert_eq!(count(&site.read("acts"), "record unban"), 2);
    site.client("restart").exits(0);
    assert_eq!(site.banned(), "");
}

#[test]
fn tested_and_shown() {
    let site = Site::new();
    site.client("-t").exits(0).has(&["OK: configuration test is successful"]);
    site.client("-d").exits(0).has(&["['add', 'alpha', 'polling']", "['start', 'alpha']"]);
    assert!(!site.path("socket").exists() && !site.path("acts").exists());
}
