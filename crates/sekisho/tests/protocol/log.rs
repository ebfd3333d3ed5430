//! The log of a whole scenario, line by line, and the programs that read it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use sekisho_oracle::{Fail2ban, fed, missing, report};

use crate::normal::normal;
use crate::script::{Script, Step, rewrite};
use crate::site::{SERVER_CONF, Server, Site, WORD_CONF, soon, words};

/// Three jails: one that watches files by notification, one that polls, and one whose bans grow.
const TREE: &[(&str, &str)] = &[
    SERVER_CONF,
    (
        "conf/jail.conf",
        "[DEFAULT]\nenabled = true\nbackend = pyinotify\nusedns = no\nbantime = 1h\n\
         findtime = 1h\nmaxretry = 3\nignoreself = false\nignoreip = 192.0.2.99\nfilter = word\n\
         logpath = {dir}/%(__name__)s.log\naction = note[name=%(__name__)s]\n[web]\n\
         [mail]\nmaxretry = 2\nbackend = polling\naction = all[name=%(__name__)s]\n\
         [grow]\nbackend = polling\nmaxretry = 4\nbantime = 2\nbantime.increment = true\n\
         bantime.multipliers = 1 1800\n",
    ),
    WORD_CONF,
    (
        "conf/action.d/note.conf",
        "[Definition]\nactionban = echo 'ban <ip> <name>' >> {dir}/acts\n\
         actionunban = echo 'unban <ip> <name>' >> {dir}/acts\n",
    ),
    (
        "conf/action.d/all.conf",
        "[Definition]\nactionban = echo 'ban <ip> <name>' >> {dir}/acts\n\
         actionunban = echo 'unban <ip> <name>' >> {dir}/acts\nactionflush = echo flush >> {dir}/acts\n",
    ),
    ("web.log", ""),
    ("mail.log", ""),
    ("grow.log", ""),
    ("more.log", ""),
];

/// Debian's logwatch reads fail2ban's log with this.
const LOGWATCH: &str = "/usr/share/logwatch/scripts/services/fail2ban";

/// Lines that have no counterpart, and why.
const ONLY_OURS: &[(&str, &str)] = &[(
    "INFO    This is sekisho ",
    "whose server it is, right below the version for other programs",
)];

/// Lines that only one of 1.0.2 and 1.1 writes: the date patterns are new at this level, and of files
/// watched by notification only 1.0.2 says at a stop that they are not watched any more.
const NOT_IN_BOTH: &[&str] = &["date pattern", "Removed logfile: 'DIR/web.log'"];
/// What 1.1 (and so we) writes, and 1.0.2's words for it.
const WORDS_OF_1_0: &[(&str, &str)] = &[
    ("Repeal Ban", "Unban"),
    ("Fail2ban v1.1.1", "Fail2ban v1.0.2"),
    ("'basic', 'stats', 'cymru'", "'basic', 'cymru'"),
];

struct Log {
    site: Site,
    read: usize,
}

impl Log {
    fn new(server: &Server) -> Log {
        // Its own client: a restart starts the server of the client's kind.
        let site = Site::new(TREE, server.client());
        site.start(server);
        Log { site, read: 0 }
    }

    /// The lines that were not read yet, and where they end.
    fn news(&self, version: &str, any_order: bool) -> (Vec<String>, usize) {
        let text = self.site.read("server.log");
        let new = text.get(self.read..).unwrap_or_default();
        let mut lines = rewrite(version, normal(new, self.site.dir()));
        if version == "1.0.2" {
            lines = as_1_0(&lines);
        }
        let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
        lines.retain(|line| !ONLY_OURS.iter().any(|(part, _)| line.contains(part)));
        if any_order {
            lines.sort();
        }
        (lines, text.len())
    }
}

/// A log as 1.0.2 would write it.
fn as_1_0(text: &str) -> String {
    let lacking = |line: &&str| NOT_IN_BOTH.iter().any(|part| line.contains(part));
    let lines: String = text.split_inclusive('\n').filter(|line| !lacking(line)).collect();
    WORDS_OF_1_0.iter().fold(lines, |text, (from, to)| text.replace(from, to))
}

/// What logwatch's script for fail2ban makes of a log, with much or little detail.
fn logwatch(log: &str, detail: u32) -> String {
    let mut command = Command::new("perl");
    command
        .args(["-I", "/usr/share/logwatch/lib", LOGWATCH])
        .env("LOGWATCH_DETAIL_LEVEL", detail.to_string())
        .env("LOGWATCH_NUMERIC", "1")
        // It knows less than fail2ban says.
        .stderr(Stdio::null());
    String::from_utf8(fed(&mut command, log.as_bytes()).stdout).unwrap()
}

/// The whole log as logwatch gets it; where folders and processes differ they are the same.
fn whole(log: &Log) -> String {
    let text = log.site.read("server.log").replace(log.site.dir().to_str().unwrap(), "DIR");
    let lines = text.lines().filter(|line| !ONLY_OURS.iter().any(|(part, _)| line.contains(part)));
    lines.map(|line| format!("{line}\n")).collect()
}

fn play(fail2ban: &Fail2ban) {
    let mut theirs = Log::new(&Server::Theirs(fail2ban.clone()));
    let mut ours = Log::new(&Server::Ours);
    let (mut count, mut faults) = (0, String::new());
    for (line, step) in Script::read("log.txt").0 {
        for log in [&mut theirs, &mut ours] {
            log.site.prepare(&step, &mut faults);
            if let Step::Run { words, .. } = &step {
                log.site.run(words, "");
            }
        }
        let Step::Log { title, any_order } = &step else { continue };
        // Both write their log some time after they answer: waited for is that neither says more and
        // both have said the same.
        let mut ends = [0; 2];
        let news = || {
            let news = [&theirs, &ours].map(|log| log.news(&fail2ban.version, *any_order));
            let before = std::mem::replace(&mut ends, [news[0].1, news[1].1]);
            (before == ends, news)
        };
        let settled = soon(300, news, |(quiet, [want, got])| *quiet && want.0 == got.0);
        let (_, [(want, _), (got, _)]) = settled.unwrap_or_else(|last| last);
        [theirs.read, ours.read] = ends;
        count += want.len();
        if want != got {
            let _ = writeln!(faults, "\n{line}: {title}");
            for line in diff(&want, &got) {
                let _ = writeln!(faults, "{line}");
            }
        }
    }
    assert!(faults.is_empty(), "fail2ban {}:{faults}", fail2ban.version);
    if !Path::new(LOGWATCH).exists() {
        return missing("logwatch");
    }
    for detail in [0, 5, 10] {
        let [want, got] = [&theirs, &ours].map(|log| {
            // Failures and bans tell their time in the text.
            let mut text = rewrite(&fail2ban.version, whole(log));
            if fail2ban.version == "1.0.2" {
                text = as_1_0(&text);
            }
            logwatch(&text, detail)
        });
        let [want, got] = [normal(&want, theirs.site.dir()), normal(&got, ours.site.dir())];
        assert!(want.contains(if detail > 0 { "192.0.2.1" } else { "ERRORS" }), "{want}");
        assert_eq!(got, want, "logwatch with detail {detail}");
    }
    report("logwatch's report", &format!("fail2ban {}", fail2ban.version), 3, "reports");
    report("log of a scenario", &format!("fail2ban {}", fail2ban.version), count, "lines");
}

/// Lines that are only in one of them, marked with `-` and `+`; those in both with a blank.
fn diff(want: &[String], got: &[String]) -> Vec<String> {
    let (n, m) = (want.len(), got.len());
    let mut common = vec![vec![0; m + 1]; n + 1];
    for i in (0..n).rev() {
        for j in (0..m).rev() {
            common[i][j] = match want[i] == got[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < n || j < m {
        if i < n && j < m && want[i] == got[j] {
            out.push(format!("  {}", want[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == m || (i < n && common[i + 1][j] >= common[i][j + 1]) {
            out.push(format!("- {}", want[i]));
            i += 1;
        } else {
            out.push(format!("+ {}", got[j]));
            j += 1;
        }
    }
    out
}

/// A stock recidive jail reads our log: who is banned three times is banned by it, across restarts.
#[test]
fn who_comes_back_is_recognised_in_our_log() {
    let Some(newest) = Fail2ban::newest() else { return };
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/filter.d");
    let stock = Fail2ban::all().into_iter().map(|f| f.config.join("filter.d"));
    for filters in stock.chain([own]) {
        let said = [Server::Theirs(newest.clone()), Server::Ours].map(|server| {
            let mut site = Site::new(TREE, server.client());
            for file in ["recidive.conf", "common.conf"] {
                let text = std::fs::read_to_string(filters.join(file)).unwrap();
                std::fs::write(site.path(&format!("conf/filter.d/{file}")), text).unwrap();
            }
            // With notification fail2ban forgets where it was in its log, and counts bans twice.
            let backend = match &server {
                Server::Ours => "auto",
                Server::Theirs(_) => "polling",
            };
            let jail = format!(
                "[recidive]\nfilter = recidive\nbackend = {backend}\nlogpath = {{dir}}/server.log\n\
                 bantime = 1d\nfindtime = 1d\nmaxretry = 3\n[grow]\nenabled = false\n\
                 [web]\nbantime = 20\n"
            );
            site.write("conf/jail.d/recidive.conf", &jail);
            // fail2ban does not start a jail whose log is not there, be it its own.
            site.write("server.log", "");
            site.start(&server);
            site.run(&words("set mail banip 192.0.2.2"), "");
            for times in 1..=3 {
                site.run(&words("set web banip 192.0.2.1"), "");
                // Counted as banned before it is said.
                let said = || site.read("server.log").matches("[web] Ban 192.0.2.1\n").count();
                assert_eq!(soon(100, said, |said| *said == times), Ok(times));
                site.run(&words("set web unbanip 192.0.2.1"), "");
            }
            site.until(&words("get recidive banip"), "192.0.2.1").unwrap();
            // What is counted in memory is lost by a restart; its bans are not, and that both are
            // restored must not count as another ban of anyone.
            for _ in 0..3 {
                site.run(&words("restart"), "");
                site.until(&words("get mail banip"), "192.0.2.2").unwrap();
                site.until(&words("get recidive banip"), "192.0.2.1").unwrap();
            }
            site.run(&words("sleep 3"), "");
            assert!(site.read("server.log").contains("[mail] Restore Ban 192.0.2.2"));
            site.run(&words("get recidive banip"), "").out
        });
        assert_eq!(said, ["192.0.2.1\n", "192.0.2.1\n"], "{}", filters.display());
    }
    report("recidive, across restarts", "fail2ban 1.1.1", 4, "filters");
}

#[test]
fn a_scenario_reads_the_same_1_0() {
    if let Some(fail2ban) = Fail2ban::installed() {
        play(&fail2ban);
    }
}

#[test]
fn a_scenario_reads_the_same_1_1() {
    if let Some(fail2ban) = Fail2ban::newest() {
        play(&fail2ban);
    }
}
