//! Configurations that are wrong: each with a message that says where and what to do, and the other
//! jails go on.

use super::*;

#[test]
fn no_configuration_folder() {
    let site = Site::empty();
    fs::remove_dir_all(site.path("conf")).unwrap();
    let folder = site.path("conf");
    for command in ["start", "-t", "-d", "reload"] {
        let text = format!("directory {}", folder.display());
        site.client(command).exits(255).has(&[&text, "does not exist"]);
    }
}

#[test]
fn no_jail_conf() {
    let site = Site::empty();
    for command in ["start", "-t"] {
        site.client(command).exits(255).has(&["'jail' under", "conf"]);
    }
    assert!(site.pid().is_none());
}

/// Jail `beta` is broken by what `prepare` does; `alpha` guards all the same.
#[track_caller]
fn broken(beta: &str, reason: &[&str], prepare: impl Fn(&Site)) {
    let site = Site::new();
    site.jails(&format!("[alpha]\n[beta]\n{beta}"));
    prepare(&site);
    site.client("-t").exits(255).has(reason).has(&["Errors in jail 'beta'"]);
    site.client("start").exits(0).has(reason).has(&["Server ready"]);
    let status = site.client("status");
    status.exits(0).has(&["Number of jail:\t1", "Jail list:\talpha\n", "Broken jails:\tbeta ("]);
    site.client("status beta").exits(0).has(reason);
    site.attack("192.0.2.1");
    site.until_banned("192.0.2.1");
}

#[test]
fn a_bad_regex() {
    broken(
        "failregex = ^fail(<HOST>\n",
        &["jail.conf:15", "Unable to compile regular expression", "position 5"],
        |_| {},
    );
}

#[test]
fn a_bad_time() {
    broken("bantime = soon\n", &["jail.conf:15", "soon"], |_| {});
}

/// They are characters like others, so the value is kept; but hardly anybody means it.
#[test]
fn typographic_quotes() {
    let site = Site::new();
    site.jails("[alpha]\naction = record[name=\u{201c}alpha\u{201d}]\n");
    for command in ["-t", "start"] {
        site.client(command).exits(0).has(&["jail.conf:14", "U+201C", "write \" instead"]);
    }
    site.attack("192.0.2.1");
    site.until_banned("192.0.2.1");
}

#[test]
fn text_after_the_bracket() {
    broken("action = record[name=beta] and more\n", &["jail.conf:15", "action 'and'"], |_| {});
}

#[test]
fn a_filter_that_is_not_there() {
    broken("filter = nothere\n", &["jail.conf:15", "nothere"], |_| {});
}

#[test]
fn an_undecodable_filter() {
    broken("filter = odd\n", &["odd.conf"], |site| {
        site.write("conf/filter.d/odd.conf", b"[Definition]\nfailregex = ^\xff\xfe <HOST>\n");
    });
}

#[test]
fn unindented_continuation() {
    broken("filter = torn\n", &["torn.conf:3"], |site| {
        let torn = "[Definition]\nfailregex = ^a <HOST>\n^b <HOST>\n";
        site.write("conf/filter.d/torn.conf", torn);
    });
}

#[test]
fn an_undecodable_jail_conf() {
    let site = Site::new();
    let text = [site.defaults().as_bytes(), b"[alpha]\nport = \xff\xfe\n"].concat();
    site.write("conf/jail.conf", text);
    for command in ["-t", "start"] {
        site.client(command).exits(255).has(&["jail.conf"]);
    }
}

#[test]
fn jail_conf_with_an_unindented_continuation() {
    let site = Site::new();
    site.jails("[alpha]\naction = record[name=a]\nrecord\n");
    for command in ["-t", "start"] {
        site.client(command).exits(255).has(&["jail.conf:15"]);
    }
}

#[test]
fn an_unknown_jail() {
    let site = Site::new();
    site.start();
    for command in ["status nobody", "set nobody bantime 1", "get nobody bantime", "stop nobody"] {
        site.client(command).exits(255).has(&["Sorry but the jail 'nobody' does not exist"]);
    }
    site.client("reload nobody").exits(255).has(&["'nobody'"]);
    site.client("status").exits(0).has(&["Jail list:\talpha\n"]);
}

#[test]
fn a_reload_that_breaks_a_jail_keeps_it_guarding() {
    let site = Site::new();
    site.start();
    site.attack("192.0.2.1");
    site.until_banned("192.0.2.1");
    site.jails("[alpha]\nfailregex = ^fail(<HOST>\n");
    site.client("reload").has(&["jail.conf:14", "Unable to compile"]);
    site.attack("192.0.2.2");
    site.until_banned("192.0.2.2");
    assert_eq!(count(&site.read("acts"), "unban"), 0);
}

#[test]
fn a_log_that_comes_later() {
    let site = Site::new();
    fs::remove_file(site.path("alpha.log")).unwrap();
    site.client("-t").exits(0).has(&["alpha.log"]);
    site.start();
    site.client("status alpha").exits(0).has(&["alpha.log"]);
    site.attack("192.0.2.1");
    site.until_banned("192.0.2.1");
}

#[test]
fn a_second_server() {
    let site = Site::new();
    site.start();
    let pid = site.pid();
    site.client("start").exits(255).has(&["Server already running"]);
    let server = env!("CARGO_BIN_EXE_fail2ban-server");
    site.run(server, "-f start").exits(255).has(&["already running"]);
    site.client("ping").exits(0).has(&["pong"]);
    assert_eq!(site.pid(), pid);
}

#[test]
fn a_stale_socket() {
    let site = Site::new();
    site.start();
    site.signal(Signal::KILL);
    assert!(site.path("socket").exists() && site.path("pid").exists());
    // Or `Is it still running?`, where the killed server's socket is just being closed.
    site.client("status").exits(255).has(&["running?"]);
    site.start();
    site.client("ping").exits(0);
}
