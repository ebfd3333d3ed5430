//! One database, and three servers one after the other: fail2ban, sekisho, fail2ban. No ban is lost,
//! added, made longer or shorter, and no line of a log is counted twice or not at all.

use sekisho_oracle::{Fail2ban, report};

use crate::client::Client;
use crate::site::{SERVER_CONF, Server, Site, WORD_CONF, now, soon, words};

/// Bans of an hour, for ever, and ones that grow. Files are polled: watched by notification, fail2ban
/// 1.1 forgets at its stop how far it has read.
const TREE: &[(&str, &str)] = &[
    SERVER_CONF,
    (
        "conf/jail.conf",
        "[DEFAULT]\nenabled = true\nbackend = polling\nusedns = no\nbantime = 1h\nfindtime = 1h\n\
         maxretry = 3\nignoreself = false\nfilter = word\nlogpath = {dir}/%(__name__)s.log\n\
         action = note[name=%(__name__)s]\n[web]\n[mail]\nbantime = -1\n\
         [grow]\nbantime = 5\nbantime.increment = true\nbantime.multipliers = 1 1440 2880\n",
    ),
    WORD_CONF,
    (
        "conf/action.d/note.conf",
        "[Definition]\nactionban = echo 'ban <ip> <name>' >> {dir}/acts\n\
         actionunban = echo 'unban <ip> <name>' >> {dir}/acts\n",
    ),
    ("web.log", ""),
    ("mail.log", ""),
    ("grow.log", ""),
];

struct Story {
    site: Site,
    /// Everybody whose lines are in a log, and how many.
    lines: Vec<(String, usize)>,
}

impl Story {
    fn fail(&mut self, jail: &str, ip: &str, times: usize) {
        let line = format!("{} fail {ip}\n", now());
        self.site.append(&format!("{jail}.log"), &line.repeat(times));
        match self.lines.iter_mut().find(|(known, _)| known == ip) {
            Some((_, count)) => *count += times,
            None => self.lines.push((ip.to_owned(), times)),
        }
    }

    fn until(&mut self, jail: &str, ip: &str) {
        let said = self.site.until(&words(&format!("get {jail} banip")), ip);
        assert!(said.is_ok(), "{ip}: {said:?}\n{}", self.site.read("server.log"));
    }

    /// Who is banned, since when, for how long and until when, as soon as it is so many.
    fn banned(&mut self, count: usize) -> Vec<String> {
        soon(100, || self.all_banned(), |all| all.len() >= count).unwrap_or_else(|all| all)
    }

    fn all_banned(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        for jail in ["web", "mail", "grow"] {
            let conf = self.site.path("conf");
            let command = words(&format!("get {jail} banip --with-time"));
            let said = self.site.client.run(&conf, &command, "");
            assert_eq!(said.code, 0, "{said:?}");
            all.extend(said.out.lines().map(|line| format!("{jail} {line}")));
        }
        all.sort();
        all
    }

    /// The same from the database. (fail2ban shows the second in which a ban by hand began, and stores
    /// the nearest one.)
    fn stored(&self) -> Vec<String> {
        let db = rusqlite::Connection::open(self.site.path("db.sqlite")).unwrap();
        let date =
            |of: &str| format!("strftime('%Y-%m-%d %H:%M:%S', {of}, 'unixepoch', 'localtime')");
        let sql = format!(
            "SELECT jail || ' ' || ip || ' ' || char(9) || {} || ' + ' || bantime || ' = ' ||
             iif(bantime < 0, '9999-12-31 23:59:59', {}) FROM bips ORDER BY 1",
            date("timeofban"),
            date("timeofban + bantime")
        );
        let mut statement = db.prepare(&sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// Every line was counted once, by whomever.
    #[track_caller]
    fn each_line_counted_once(&self) {
        let log = self.site.read("server.log");
        for (ip, count) in &self.lines {
            let found = log.lines().filter(|l| l.contains(&format!("Found {ip} - "))).count();
            assert_eq!(found, *count, "{ip}\n{log}");
        }
    }
}

fn play(fail2ban: &Fail2ban) {
    let site = Site::new(TREE, Client::Ours);
    let mut story = Story { site, lines: Vec::new() };
    let theirs = Server::Theirs(fail2ban.clone());
    story.site.start(&theirs);
    story.fail("web", "192.0.2.1", 3);
    story.fail("web", "2001:db8::1", 3);
    story.fail("web", "192.0.2.77", 2);
    story.fail("grow", "192.0.2.8", 3);
    for ip in ["192.0.2.5", "192.0.2.6", "198.51.100.0/24"] {
        story.site.run(&words(&format!("set mail banip {ip}")), "");
        story.until("mail", ip);
    }
    story.until("web", "192.0.2.1");
    story.until("web", "2001:db8::1");
    // Its first ban is over in seconds; the next one is longer.
    story.site.until_file("server.log", "[grow] Unban 192.0.2.8");
    story.fail("grow", "192.0.2.8", 3);
    story.site.until_file("server.log", "Increase Ban 192.0.2.8 (2 # 2h");
    story.site.until_file("server.log", "Found 192.0.2.77");
    assert_eq!(story.banned(6).len(), 6);
    story.site.stop();
    let first = story.stored();
    assert_eq!(first.len(), 6, "{first:#?}");
    assert!(first[0].starts_with("grow 192.0.2.8") && first[0].contains("+ 7200 ="), "{first:#?}");

    // What was written while nobody guarded is read by the next one, and nothing twice.
    story.fail("web", "192.0.2.10", 3);
    story.site.start(&Server::Ours);
    story.until("web", "192.0.2.10");
    let second = story.banned(7);
    let new = |line: &&String| !first.contains(line);
    let added: Vec<&String> = second.iter().filter(new).collect();
    assert!(added.len() == 1 && added[0].starts_with("web 192.0.2.10"), "{first:#?} {second:#?}");
    assert_eq!(second.len(), 7, "{second:#?}");
    story.each_line_counted_once();
    story.fail("web", "192.0.2.11", 3);
    story.until("web", "192.0.2.11");
    assert_eq!(story.site.run(&words("set mail unbanip 192.0.2.6"), "").out, "1\n");
    let third = story.banned(7);
    assert_eq!(third.len(), 7, "{third:#?}");
    story.site.stop();
    assert_eq!(story.stored(), third);

    story.fail("web", "192.0.2.12", 3);
    story.site.start(&theirs);
    story.until("web", "192.0.2.12");
    let fourth = story.banned(8);
    let added: Vec<&String> = fourth.iter().filter(|line| !third.contains(line)).collect();
    assert!(added.len() == 1 && added[0].starts_with("web 192.0.2.12"), "{third:#?} {fourth:#?}");
    assert_eq!(fourth.len(), 8, "{fourth:#?}");
    story.each_line_counted_once();
    // How often somebody was banned is known, too.
    let counted = rusqlite::Connection::open(story.site.path("db.sqlite")).unwrap().query_row(
        "SELECT bancount FROM bips WHERE ip = '192.0.2.8'",
        [],
        |r| r.get::<_, i64>(0),
    );
    assert_eq!(counted, Ok(2));
    story.site.stop();
    let what = "bans and positions, to sekisho and back";
    report(what, &format!("fail2ban {}", fail2ban.version), fourth.len(), "bans");
}

#[test]
fn to_sekisho_and_back_1_0() {
    if let Some(fail2ban) = Fail2ban::installed() {
        play(&fail2ban);
    }
}

#[test]
fn to_sekisho_and_back_1_1() {
    if let Some(fail2ban) = Fail2ban::next() {
        play(&fail2ban);
    }
}

#[test]
fn to_sekisho_and_back_1_1_1() {
    if let Some(fail2ban) = Fail2ban::newest() {
        play(&fail2ban);
    }
}
