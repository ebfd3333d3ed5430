//! "Banned" means enforced, or says that it is not.

use super::*;

#[test]
fn a_ban_that_fails_is_retried_and_announced_when_it_holds() {
    let site = Site::new();
    let open = site.path("open");
    site.recorder("record", &format!("test -e {}", open.display()), "");
    let told = site.path("told");
    site.write(
        "conf/action.d/tell.conf",
        format!("[Definition]\nactionban = echo <ip> >> {}\n", told.display()),
    );
    site.jails("[alpha]\naction = record[name=alpha]\n         tell\n");
    site.start();
    site.attack("192.0.2.1");
    let status = site.until("status alpha", "Not enforced");
    let line = |text: &str, name: &str| {
        text.lines().find(|l| l.contains(name)).unwrap_or_default().to_owned()
    };
    assert!(line(&status, "Not enforced").contains("192.0.2.1"), "{status}");
    assert!(!line(&status, "Banned IP list").contains("192.0.2.1"), "{status}");
    assert!(!told.exists(), "nobody is told of a ban that is none");
    assert!(!site.read("server.log").contains("[alpha] Ban 192.0.2.1"));
    site.write("open", "");
    site.until("status alpha", "Banned IP list:\t192.0.2.1");
    site.until_file("told", "192.0.2.1");
    site.until_file("server.log", "[alpha] Ban 192.0.2.1");
    assert!(!site.client("status alpha").text.contains("Not enforced"));
    assert_eq!(count(&site.read("acts"), "record ban 192.0.2.1"), 1);
}

#[test]
fn an_action_that_cannot_start_is_said() {
    let site = Site::new();
    site.write(
        "conf/action.d/record.conf",
        "[Definition]\nactionstart = exit 1\nactionban = exit 1\nactionunban = true\n",
    );
    site.start();
    site.attack("192.0.2.1");
    site.until("status alpha", "Not enforced");
    site.client("stop").exits(0);
}
