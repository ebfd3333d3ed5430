//! `<time>`: a whole number or one with a fraction, as in fail2ban, whatever the time comes from.

use std::collections::BTreeMap;
use std::process::Command;

use sekisho_oracle::{Fail2ban, report};

use crate::site::{SERVER_CONF, Server, Site, WORD_CONF, now, soon, words};

/// Jails that ban at once, one of which knows the zone of its log, and one that counts to two.
const TREE: &[(&str, &str)] = &[
    SERVER_CONF,
    (
        "conf/jail.conf",
        "[DEFAULT]\nenabled = true\nbackend = polling\nusedns = no\nbantime = 1h\nfindtime = 1h\n\
         maxretry = 1\nignoreself = false\nfilter = word\nlogpath = {dir}/%(__name__)s.log\n\
         action = note\n[web]\n[zone]\nlogtimezone = UTC+0000\n[two]\nmaxretry = 2\n",
    ),
    WORD_CONF,
    ("conf/action.d/note.conf", "[Definition]\nactionban = echo '<ip> <time>' >> {dir}/acts\n"),
    ("web.log", ""),
    ("zone.log", ""),
    ("two.log", ""),
];

/// Dates of a moment, as `date` writes them; `{epoch}` is the moment itself.
const DATES: &[&str] = &[
    "{epoch}",
    "{epoch}.250",
    "+%Y-%m-%d %H:%M:%S",
    "+%Y-%m-%d %H:%M:%S,250",
    "+%b %d %H:%M:%S",
    "-u +%Y-%m-%dT%H:%M:%SZ",
    "-u +%Y-%m-%dT%H:%M:%S.250+00:00",
    "-u +%d/%b/%Y:%H:%M:%S +0000",
    "{tai}",
    "",
];

fn date(format: &str, at: u64) -> String {
    match format {
        "" => String::new(),
        "{tai}" => format!("@4{at:015x}00000000"),
        epoch if epoch.starts_with('{') => epoch.replace("{epoch}", &at.to_string()),
        format => {
            let (utc, format) = match format.strip_prefix("-u ") {
                Some(format) => (true, format),
                None => (false, format),
            };
            let mut command = Command::new("date");
            command.env("LC_ALL", "C").arg("-d").arg(format!("@{at}")).arg(format);
            let output = if utc { command.arg("-u") } else { &mut command }.output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        }
    }
}

struct Story {
    site: Site,
    /// When the dates of most lines are.
    base: u64,
    ids: u32,
}

impl Story {
    fn id(&mut self) -> String {
        self.ids += 1;
        format!("192.0.2.{}", self.ids)
    }

    fn line(&self, jail: &str, format: &str, at: u64, id: &str) {
        let date = date(format, at);
        self.site.append(&format!("{jail}.log"), &format!("{date} fail {id}\n"));
    }

    /// What each ban was told, once there are so many: the exact time where it is that of a line.
    fn told(&self, count: usize) -> BTreeMap<String, String> {
        let read = || self.site.read("acts");
        let all = soon(100, read, |text| text.lines().count() >= count);
        let all = all.unwrap_or_else(|text| panic!("{text}\n{}", self.site.read("server.log")));
        let ban = |line: &str| {
            let (id, time) = line.rsplit_once(' ').unwrap();
            let (whole, rest) = time.split_once('.').map_or((time, ""), |(a, b)| (a, b));
            let seconds = whole.parse::<u64>().unwrap() - self.base;
            let told = match (seconds, time.contains('.')) {
                (0, _) => format!("the line's {}.{rest}", whole.len()),
                (_, true) => "another, with a fraction".to_owned(),
                (_, false) => "another, whole".to_owned(),
            };
            (id.to_owned(), told)
        };
        all.lines().map(ban).collect()
    }
}

/// Lines with dates of all kinds while the log is watched, and bans that come otherwise.
fn tell(server: &Server) -> BTreeMap<String, String> {
    let mut story = Story { site: Site::new(TREE, server.client()), base: 0, ids: 0 };
    story.site.start(server);
    // From the second line on they are live.
    for jail in ["web", "zone"] {
        let id = story.id();
        story.line(jail, "{epoch}", now(), &id);
        // Listed before its action has run.
        story.site.until_file("acts", &format!("{id} "));
    }
    story.site.write("acts", "");
    // What is more than a minute away from the time at which it is read counts as written then: all of
    // it has to be read before the first of these times is.
    story.base = now() - 5;
    let mut count = 0;
    let (base, hours_ago, soon) = (story.base, story.base - 7200, story.base + 50);
    for jail in ["web", "zone"] {
        for format in DATES {
            // Without a date of its own a line borrows the last one.
            for (format, at) in [(*format, base), ("", base), (*format, soon), ("", soon)] {
                let id = story.id();
                story.line(jail, format, at, &id);
                count += 1;
            }
        }
        for format in ["-u +%Y-%m-%dT%H:%M:%SZ", "{epoch}"] {
            for (format, at) in [(format, hours_ago), ("", hours_ago)] {
                let id = story.id();
                story.line(jail, format, at, &id);
                count += 1;
            }
        }
    }
    let (whole, fraction) = ("-u +%Y-%m-%dT%H:%M:%SZ", "{epoch}");
    for (first, second, later) in [
        (whole, fraction, 0),
        (fraction, whole, 0),
        (whole, fraction, 1),
        (fraction, whole, 1),
        (whole, whole, 1),
    ] {
        let id = story.id();
        // The later one tells its time, where it is later.
        story.line("two", first, base - later, &id);
        story.line("two", second, base, &id);
        count += 1;
    }
    let (attempt, by_hand) = (story.id(), story.id());
    story.site.run(&words(&format!("set web attempt {attempt} one")), "");
    story.site.run(&words(&format!("set web banip {by_hand}")), "");
    count += 2;
    let mut told = story.told(count);
    // All come back with whole seconds, as they are stored, and so do the first two.
    story.site.stop();
    story.site.write("acts", "");
    story.site.start(server);
    for (id, time) in story.told(count + 2) {
        told.insert(format!("{id} again"), time);
    }
    told
}

fn play(fail2ban: &Fail2ban) {
    let want = tell(&Server::Theirs(fail2ban.clone()));
    let got = tell(&Server::Ours);
    let kinds = |part: &str| want.values().filter(|told| told.contains(part)).count();
    for part in ["line's 10.", "line's 10.0", "with a fraction", "whole"] {
        assert!(kinds(part) > 4, "{part}: {want:#?}");
    }
    let differ = want.iter().filter(|(id, told)| got.get(*id) != Some(told));
    let differ: Vec<_> = differ.map(|(id, told)| (id, told, got.get(id))).collect();
    assert!(differ.is_empty() && got.len() == want.len(), "{differ:#?}");
    report("<time> of bans", &format!("fail2ban {}", fail2ban.version), want.len(), "bans");
}

#[test]
fn times_have_fractions_where_fail2bans_have_1_0() {
    if let Some(fail2ban) = Fail2ban::installed() {
        play(&fail2ban);
    }
}

#[test]
fn times_have_fractions_where_fail2bans_have_1_1() {
    if let Some(fail2ban) = Fail2ban::newest() {
        play(&fail2ban);
    }
}
