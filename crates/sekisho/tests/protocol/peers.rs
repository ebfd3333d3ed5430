//! What monitoring and dashboards read: the texts of `status`, and the tables of the database. Their
//! rules of parsing are written down here in the shell's words, and Debian's plugin for munin is run
//! as it is; both servers, each with its own client, have to give them the same.

use std::path::Path;
use std::process::Command;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};
use sekisho_oracle::{Fail2ban, missing, report};

use crate::client::Client;
use crate::normal::normal;
use crate::script::{TREE, rewrite};
use crate::site::{PATIENCE, Server, Site, now, soon, words};

/// Who reads, and how: `$CLIENT` is the client with its configuration.
const PARSERS: &[(&str, &str)] = &[
    (
        "telegraf: the list, then the four counters of each jail",
        "for j in $($CLIENT status | sed -n 's/.*Jail list:[\t ]*//p' | tr -d ,); do
           $CLIENT status $j | awk -F: -v j=$j '/Currently failed|Total failed|Currently banned|Total banned/ {
             gsub(/^[^A-Z]*/, \"\", $1); gsub(/[ \t]/, \"\", $2); print j, $1, $2 + 0 }'
         done",
    ),
    (
        "netdata: expressions anchored at the branches",
        "$CLIENT status web | grep -oP '^\\|  [|`]- (Currently|Total) failed:\\s+\\K[0-9]+|^   [|`]- (Currently|Total) banned:\\s+\\K[0-9]+'",
    ),
    (
        "nagios: the number of jails, and the sum of bans",
        "$CLIENT status | grep 'Number of jail' | cut -f2
         $CLIENT banned | tr -d '[]{}\\047' | tr ',' '\\n' | sed 's/^[^:]*: *//' | grep -c '[0-9]'",
    ),
    (
        "cacti: the last line, its second field",
        "$CLIENT status | tail -n 1 | cut -f 2 | sed 's/, /\\n/g' | while read j; do
           echo $j:$($CLIENT status $j | grep 'Currently banned' | awk '{print $4}'); done",
    ),
    (
        "collectd: `key:<TAB>value`, tree drawing taken off",
        "$CLIENT status web | sed -E 's/^[|` -]+//' | awk -F '\\t' 'NF == 2 {print $1, $2}'",
    ),
    (
        "webmin: the names, and the list of addresses of each",
        "$CLIENT status | perl -ne 'print join(\"\\n\", split(/\\s*,\\s*/, $1)), \"\\n\" if /Jail list:\\s*(.*)/'
         $CLIENT status web | perl -ne 'print join(\"|\", split(/\\s+/, $1)), \"\\n\" if /IP list:\\s*(.*)/'",
    ),
    (
        "fail2ban-ui: addresses behind the label",
        "$CLIENT status web | grep 'Banned IP list:' | sed 's/.*Banned IP list:[[:space:]]*//' | tr ' ' '\\n'
         $CLIENT get web banip --with-time | sed -E 's/ \\t.* \\+ ([0-9-]+) = .*/ \\1/'",
    ),
    (
        "scripts that read Python's lists",
        "$CLIENT banned | tr \"'\" '\"' | sed 's/(/[/g' | python3 -c 'import json, sys; print(json.load(sys.stdin))'
         $CLIENT banned 192.0.2.1
         $CLIENT get web banned 192.0.2.1 203.0.113.1
         $CLIENT get web failregex | sed -n 's/^.- \\[[0-9]*\\]: //p'
         $CLIENT get web logpath | sed -n 's/^[|`]- //p' | xargs -n1 basename",
    ),
];

/// What dashboards ask the database; `{now}` is the time. Nothing of it depends on the second.
const QUERIES: &[&str] = &[
    "SELECT type, name, tbl_name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name",
    "SELECT m.name, p.name, p.type, p.\"notnull\", p.dflt_value, p.pk FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table' ORDER BY m.name, p.cid",
    "SELECT * FROM fail2banDb",
    "SELECT * FROM jails ORDER BY name",
    "SELECT jail, COUNT(*) FROM bans GROUP BY jail ORDER BY jail",
    "SELECT ip, COUNT(*) AS n FROM bans GROUP BY ip ORDER BY n DESC, ip",
    "SELECT COUNT(DISTINCT ip), MIN(bancount), MAX(bancount) FROM bans",
    "SELECT jail, ip, bantime, bancount FROM bips ORDER BY jail, ip",
    "SELECT ip FROM bips WHERE jail = 'web' AND timeofban + bantime > {now} ORDER BY ip",
    "SELECT jail, ip FROM bips WHERE bantime = -1 ORDER BY ip",
    "SELECT ip, datetime(timeofban, 'unixepoch') BETWEEN datetime('now', '-2 minutes') AND datetime('now', '+1 minute') FROM bans ORDER BY ip",
    "SELECT typeof(jail), typeof(ip), typeof(timeofban), typeof(bantime), typeof(bancount), typeof(data) FROM bans",
    "SELECT typeof(jail), typeof(ip), typeof(timeofban), typeof(bantime), typeof(bancount), typeof(data) FROM bips",
    "SELECT ip, json_extract(CAST(data AS TEXT), '$.failures') FROM bans ORDER BY jail, ip",
    "SELECT ip, json_extract(CAST(data AS TEXT), '$.user') FROM bans ORDER BY jail, ip",
    "SELECT ip, json_array_length(CAST(data AS TEXT), '$.matches') FROM bips ORDER BY jail, ip",
    "SELECT b.ip, j.enabled FROM bans b JOIN jails j ON b.jail = j.name ORDER BY b.ip",
    "SELECT strftime('%Y', timeofban, 'unixepoch') = strftime('%Y', 'now'), COUNT(*) FROM bans GROUP BY 1",
];

/// What is only written when a server has stopped. (1.1 forgets the position in a file that is watched by
/// notification, so one that is polled is asked for; rows with `-cursor` are ours, see `docs/COMPAT.md`.)
const AFTERWARDS: &[&str] = &[
    "SELECT jail, replace(path, rtrim(path, replace(path, '/', '')), '') AS file, lastfilepos, length(firstlinemd5), typeof(lastfilepos) FROM logs WHERE jail = 'mail' AND path NOT LIKE '%-cursor'",
    "SELECT jail, length(firstlinemd5) FROM logs WHERE jail = 'mail' AND path NOT LIKE '%-cursor'",
    "SELECT * FROM jails ORDER BY name",
    "SELECT jail, ip, bantime FROM bips ORDER BY jail, ip",
];

/// A server that has banned a few.
fn busy(server: &Server) -> Site {
    let mut site = Site::new(TREE, Client::Ours);
    site.start(server);
    let now = now();
    let line = |text: &str| format!("{now} {text}\n");
    site.append("web.log", &line("fail 192.0.2.1 alice").repeat(3));
    site.until(&words("get web banip"), "192.0.2.1").unwrap();
    site.append("web.log", &line("fail 192.0.2.7 bob").repeat(2));
    site.append("mail.log", &line("fail 192.0.2.1").repeat(2));
    site.until(&words("get mail banip"), "192.0.2.1").unwrap();
    site.run(&words("set web banip 2001:db8::1 198.51.100.0/24"), "");
    site.until(&words("get web banip"), "198.51.100.0/24").unwrap();
    site.run(&words("set mail banip 192.0.2.9"), "");
    // fail2ban would write it after it has deleted it.
    settled(&site.path("db.sqlite"), "SELECT ip FROM bans", 5);
    site.run(&words("set mail unbanip 192.0.2.9"), "");
    site.until(&words("status web"), "Total failed:\t5").unwrap();
    site
}

/// The client of a server as a command line.
fn client(server: &Server, site: &Site) -> String {
    format!("{} -c {}", server.shell("fail2ban-client"), site.path("conf").display())
}

fn shell(script: &str, client: &str) -> String {
    let output = Command::new("bash").args(["-c", script]).env("CLIENT", client).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.stderr.is_empty(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.is_empty(), "{script}: nothing was found");
    text
}

/// Rows as text; a database that is busy for a moment is asked again.
fn rows(path: &Path, query: &str) -> Vec<String> {
    let query = query.replace("{now}", &now().to_string());
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    let mut statement = db.prepare(&query).unwrap();
    let columns = statement.column_count();
    let found = statement.query_map([], |row| {
        let cells: Vec<Value> = (0..columns).map(|at| row.get(at)).collect::<Result<_, _>>()?;
        Ok(format!("{cells:?}"))
    });
    found.unwrap().map(Result::unwrap).collect()
}

/// Rows when the bans are there, and no more than these: both change them a moment after they answer.
fn settled(path: &Path, query: &str, expected: usize) -> Vec<String> {
    let bans = || rows(path, "SELECT ip FROM bans").len();
    let there = soon(100, bans, |count| *count == expected).is_ok();
    assert!(there, "{:?}", rows(path, "SELECT * FROM bans"));
    rows(path, query)
}

fn play(fail2ban: &Fail2ban) {
    let servers = [Server::Theirs(fail2ban.clone()), Server::Ours];
    let [theirs, ours] = &servers;
    let mut sites = [busy(theirs), busy(ours)];
    let judge = format!("fail2ban {}", fail2ban.version);
    for (name, script) in PARSERS {
        let [want, got] = [(theirs, &sites[0]), (ours, &sites[1])]
            .map(|(server, site)| normal(&shell(script, &client(server, site)), site.dir()))
            .map(|text| rewrite(&fail2ban.version, text));
        assert_eq!(got, want, "{name}");
    }
    report("parsers of status", &judge, PARSERS.len(), "programs");
    for query in QUERIES {
        let [want, got] = [0, 1].map(|at| settled(&sites[at].path("db.sqlite"), query, 4));
        assert_eq!(got, want, "{query}");
        assert!(!want.is_empty() || query.contains("-1"), "{query}");
    }
    sites.iter_mut().for_each(Site::stop);
    for query in AFTERWARDS {
        let [want, got] = [0, 1].map(|at| rows(&sites[at].path("db.sqlite"), query));
        assert_eq!(got, want, "{query}");
        assert!(!want.is_empty(), "{query}");
    }
    report("SQL of dashboards", &judge, QUERIES.len() + AFTERWARDS.len(), "queries");
}

#[test]
fn monitoring_and_dashboards_read_the_same_1_0() {
    if let Some(fail2ban) = Fail2ban::installed() {
        play(&fail2ban);
    }
}

#[test]
fn monitoring_and_dashboards_read_the_same_1_1() {
    if let Some(fail2ban) = Fail2ban::newest() {
        play(&fail2ban);
    }
}

#[test]
fn munin_reads_the_same() {
    const PLUGIN: &str = "/usr/share/munin/plugins/fail2ban";
    let Some(fail2ban) = Fail2ban::newest() else { return };
    if !Path::new(PLUGIN).exists() {
        return missing("munin-plugins-core");
    }
    let servers = [Server::Theirs(fail2ban), Server::Ours];
    let said = servers.map(|server| {
        let site = busy(&server);
        let program = site.path("client");
        // The plugin hands over the folder of the configuration itself.
        let line = server.shell("fail2ban-client");
        std::fs::write(&program, format!("#!/bin/sh\nexec {line} \"$@\"\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).unwrap();
        ["config", "autoconf", "fetch"].map(|argument| {
            let output = Command::new(PLUGIN)
                .arg(argument)
                .env("MUNIN_LIBDIR", "/usr/share/munin")
                .env("client", &program)
                .env("config_dir", site.path("conf"))
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        })
    });
    assert_eq!(said[1], said[0]);
    assert_eq!(said[1][2], "mail.value 1\nweb.value 3\n");
    report("munin's plugin", "fail2ban 1.1.1", 3, "answers");
}
