//! Files of the 0.8 days, as the administrators' guide has them: every one works as it is.

use super::*;

const DOVECOT: &str = include_str!("../../../config/tests/data/guide/filter.d/dovecot.conf");
const POSTFIX: &str = include_str!("../../../config/tests/data/guide/filter.d/postfix.conf");

/// A line for each regex of the guide, with the address that it must ban.
const LINES: &[(&str, &str)] = &[
    // (?P<host>…) instead of <HOST>.
    (
        "192.0.2.1",
        "dovecot: imap-login: Disconnected (auth failed, 2 attempts): user=<a>, method=PLAIN, \
         rip=192.0.2.1, lip=192.0.2.99, TLS",
    ),
    ("192.0.2.2", "dovecot: auth: pam(somebody,192.0.2.2): unknown user"),
    ("192.0.2.3", "dovecot: auth: Debug: pam(somebody,192.0.2.3): lookup service=dovecot"),
    // \# and a tag that nobody knows.
    (
        "192.0.2.4",
        "dovecot: auth: Debug: client in: AUTH#0111#011PLAIN#011service=imap#011lip=192.0.2.99\
         #011rip=192.0.2.4#011lport=143#011rport=50123#011resp=<hidden>",
    ),
    ("192.0.2.11", "postfix/smtpd[7]: NOQUEUE: reject: RCPT from unknown[192.0.2.11]: 554 5.7.1"),
    // (?i) behind an alternative's beginning.
    (
        "192.0.2.12",
        "postfix/smtpd[7]: WARNING: a-b.example[192.0.2.12]: sasl Login Authentication failed",
    ),
    (
        "192.0.2.13",
        "postfix/anvil[7]: warning: Connection rate limit exceeded: 31 from x[192.0.2.13] for smtp",
    ),
    (
        "192.0.2.14",
        "postfix/anvil[7]: statistics: max connection count 9 for (smtp:192.0.2.14) at Nov 25",
    ),
    // \/ is a slash.
    (
        "192.0.2.15",
        "postfix/anvil[7]: statistics: max recipient rate 5/60s for (smtp:192.0.2.15) at Nov 25",
    ),
    // \: is a colon.
    (
        "192.0.2.16",
        "postfix/smtpd[7]: warning: 192.0.2.16: address not listed for hostname x.example",
    ),
    ("192.0.2.17", "postfix/smtpd[7]: lost connection after RCPT from unknown[192.0.2.17]"),
];

/// The action of that generation: it knows no IPv6.
fn with_old_action(site: &Site) {
    site.recorder("old", "case <ip> in *:*) exit 2;; esac", "[Init]\nname = default\n");
    site.write("conf/filter.d/dovecot.conf", DOVECOT);
    site.write("conf/filter.d/postfix.conf", POSTFIX);
    site.write("maillog", "");
    let log = site.path("maillog");
    let blocks = format!(
        "[dovecot]\nenabled\t= true\nfilter  = dovecot\naction  = old[name=dovecot, port=\"smtp,imap\"]\n\
         \trecord[name=dovecot] record[actname=again, name=dovecot]\n\
         logpath = {0}\nmaxretry = 1\nfindtime = 1200\nbantime = 1200\n#ホワイトリスト\n\
         ignoreip = 127.0.0.1 10.0.0.0/8 192.0.2.77\n\
         [postfix]\nenabled = true\nfilter = postfix\naction = old[name=postfix, port=\"smtp\"]\n\
         logpath = {0}\nmaxretry = 1\nfindtime = 1200\nbantime = 1200\n",
        log.display()
    );
    site.jails(&format!("[dovecot]\nmaxretry = 9\n{blocks}"));
}

#[test]
fn every_line_of_the_guides_filters_bans() {
    let site = Site::empty();
    with_old_action(&site);
    site.client("-t").exits(0).has(&["section [dovecot] appears again"]);
    site.start();
    let mut log = String::new();
    for (_, line) in LINES {
        log += &format!("{} mail {line}\n", stamp());
    }
    log += &format!("{} mail dovecot: auth: pam(me,192.0.2.77): unknown user\n", stamp());
    site.write("maillog", log);
    for (ip, line) in LINES {
        let jail = if line.starts_with("dovecot") { "dovecot" } else { "postfix" };
        site.until(&format!("get {jail} banip"), ip);
    }
    let banned = site.client("get dovecot banip").text + &site.client("get postfix banip").text;
    assert_eq!(banned.split_whitespace().count(), LINES.len(), "{banned}");
    site.until_file("acts", "record ban 192.0.2.4");
    site.until("get dovecot actions", "again");
}

#[test]
fn an_action_that_knows_no_ipv6_claims_no_ban() {
    let site = Site::empty();
    with_old_action(&site);
    site.start();
    let line = |ip: &str| format!("{} mail dovecot: auth: pam(x,{ip}): unknown user\n", stamp());
    site.write("maillog", line("2001:db8::7") + &line("192.0.2.1"));
    site.until("get dovecot banip", "192.0.2.1");
    site.until_file("acts", "old ban 192.0.2.1");
    let status = site.until("status dovecot", "Not enforced");
    assert!(status.lines().any(|l| l.contains("Not enforced") && l.contains("2001:db8::7")));
    assert!(!site.read("acts").contains("old ban 2001:db8::7"));
    assert!(!site.read("server.log").contains("[dovecot] Ban 2001:db8::7"));
}
