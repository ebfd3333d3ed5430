//! The jails: every stock action, with parameters that lead it along its different paths.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Parts that other action files include; no action by themselves.
const INCLUDED: &[&str] =
    &["firewallcmd-common", "helpers-common", "mail-whois-common", "sendmail-common"];

/// The names of all stock actions made of commands.
pub fn stock_actions(config: &Path) -> Vec<String> {
    let entries = fs::read_dir(config.join("action.d")).unwrap();
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names
        .filter_map(|name| name.strip_suffix(".conf").map(str::to_owned))
        .filter(|name| !INCLUDED.contains(&name.as_str()))
        .collect();
    names.sort();
    assert!(names.len() > 50, "{names:?}");
    names
}

/// The actions whose text, or that of a file they include, is another one in a newer generation.
pub fn changed_actions(config: &Path, newer: &Path) -> Vec<String> {
    let text = |config: &Path, name: &str| {
        let path = config.join("action.d").join(format!("{name}.conf"));
        let text = fs::read_to_string(path).unwrap_or_default();
        let code = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        code.map(str::to_owned).collect::<Vec<_>>()
    };
    let includes = |lines: &[String]| {
        let all = lines.iter().filter_map(|l| l.strip_prefix("before = ")?.strip_suffix(".conf"));
        all.map(str::to_owned).collect::<Vec<_>>()
    };
    let changed = |name: &String| {
        let mut names = vec![name.clone()];
        // Includes go two deep at most.
        for _ in 0..2 {
            let more: Vec<_> = names.iter().flat_map(|n| includes(&text(config, n))).collect();
            names.extend(more);
        }
        names.iter().any(|name| text(config, name) != text(newer, name))
    };
    stock_actions(config).into_iter().filter(changed).collect()
}

/// What an action cannot do without: accounts, keys, a log to look into.
fn needed(action: &str) -> &'static [(&'static str, &'static str)] {
    match action {
        "abuseipdb" => &[("abuseipdb_apikey", "k-1"), ("abuseipdb_category", "18,22")],
        "blocklist_de" => &[
            ("email", "me@example.org"),
            ("apikey", "k-1"),
            ("service", "ssh"),
            ("agent", "fail2ban/1"),
        ],
        "cloudflare" => &[("cfuser", "me@example.org"), ("cftoken", "t-1")],
        "cloudflare-token" => &[("cfzone", "z-1"), ("cftoken", "t-1")],
        "dshield" => &[("userid", "7")],
        "ipthreat" => &[("ipthreat_apikey", "k-1")],
        "mikrotik" => {
            &[("user", "admin"), ("keyfile", "/k/id"), ("host", "router.example"), ("list", "bad")]
        }
        "mynetwatchman" => &[("mnwlogin", "me@example.org"), ("mnwpass", "p w"), ("myip", "::7")],
        "netscaler" => &[("ns_host", "ns.example"), ("ns_auth", "dTpw"), ("ns_dataset", "bad")],
        "nsupdate" => &[("domain", "bl.example"), ("keyfile", "/k/key")],
        _ if action.contains("mail") || action == "complain" => {
            &[("logpath", "%D/files/log"), ("dest", "root@example.org, ops@example.org")]
        }
        _ => &[],
    }
}

/// Sets of parameters; each is tried with every action.
pub const VARIANTS: &[(&str, &[(&str, &str)])] = &[
    ("bare", &[]),
    ("usual", &[("port", "ssh,2222"), ("protocol", "tcp"), ("chain", "INPUT")]),
    (
        "eager",
        &[
            ("actionstart_on_demand", "false"),
            ("port", "http:8080"),
            ("protocol", "tcp,udp"),
            ("chain", "INPUT,FORWARD"),
        ],
    ),
    (
        "on demand",
        &[("actionstart_on_demand", "true"), ("name", "other.name"), ("port", "0:65535")],
    ),
    (
        "repair",
        &[
            ("actionrepair", "to-repair <name> '<family>'"),
            ("actionreban", "to-reban <ip> <bantime> \"<F-USER>\""),
            ("actionprolong", "to-prolong <ip> <bantime>"),
            ("actionreload", "to-reload <name> '<family>'"),
        ],
    ),
    ("check", &[("actioncheck", "to-check <name>"), ("actionrepair_on_unban", "1")]),
    (
        "check by family",
        &[
            ("actioncheck", "to-check <name> '<family>'"),
            ("actionflush", "to-check flush '<family>'"),
        ],
    ),
    ("not restored", &[("norestored", "true"), ("protocol", "all")]),
    ("restored", &[("norestored", "false")]),
    (
        "all ports",
        &[
            ("type", "allports"),
            ("actiontype", "<allports>"),
            ("ipsettime", "<bantime>"),
            ("lines", "2"),
            ("debug", "1"),
            ("grepmax", "3"),
            ("kill-mode", "ss"),
            ("maxbufferage", "-1"),
        ],
    ),
    (
        "others",
        &[
            ("type", "oneport"),
            ("ipsettype", "firewalld"),
            ("ipsetbackend", "firewalld"),
            ("ipsettime", "<timeout-bantime>"),
            ("application", "OpenSSH"),
            ("kill-mode", "conntrack"),
            ("lines", "1"),
            ("target", ""),
            ("to_target", ""),
        ],
    ),
    ("custom", &[("type", "custom"), ("blocktype", "DROP"), ("block", "all"), ("lockingopt", "")]),
    ("named", &[("actname", "other"), ("name", "x")]),
    ("increment", &[("actionprolong", "to-prolong <ip> <bantime> <bancount>")]),
    ("time limit", &[("timeout", "8"), ("actioncheck", "to-check <name>")]),
];
/// The last is for programs that hang.
pub const LIMITED: usize = VARIANTS.len() - 1;

/// The parameters that stock jails give.
pub const USUAL: usize = 1;
/// Those that have to do with checks and repairs.
pub const CHECKED: &[usize] = &[4, 5, 6];

/// One jail with one action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jail {
    pub name: String,
    pub action: String,
    pub variant: usize,
}

impl Jail {
    /// The parameters it gives to its action.
    pub fn parameters(&self) -> Vec<(&'static str, &'static str)> {
        let mut all = needed(&self.action).to_vec();
        all.extend(VARIANTS[self.variant].1);
        all
    }

    pub fn variant(&self) -> &'static str {
        VARIANTS[self.variant].0
    }

    fn section(&self) -> String {
        let mut parameters: Vec<String> = Vec::new();
        for (key, value) in self.parameters() {
            let quote = if value.contains('"') { '\'' } else { '"' };
            // Of two kinds of quotes in a value one would end it.
            let value =
                if value.contains('"') { value.replace('\'', "") } else { value.to_owned() };
            parameters.push(format!("{key}={quote}{value}{quote}"));
        }
        let list = if parameters.is_empty() {
            String::new()
        } else {
            format!("[{}]", parameters.join(", "))
        };
        let increment = self.variant() == "increment";
        format!(
            "[{}]\nbantime.increment = {increment}\naction = {}{list}\n",
            self.name, self.action
        )
    }
}

/// All jails of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Jails(pub Vec<Jail>);

impl Jails {
    /// The jail of this action and variant, made if it is new.
    pub fn of(&mut self, action: &str, variant: usize) -> Jail {
        let known = self.0.iter().find(|j| j.action == action && j.variant == variant);
        if let Some(jail) = known {
            return jail.clone();
        }
        let name = format!("j{}", self.0.len() + 1);
        self.0.push(Jail { name, action: action.to_owned(), variant });
        self.0[self.0.len() - 1].clone()
    }

    /// `jail.conf`
    pub fn text(&self) -> String {
        let mut text = "[DEFAULT]\nenabled = true\nbackend = polling\nusedns = no\n\
                        ignoreself = false\nfilter = some\nbantime = 600\nfindtime = 600\n\
                        maxretry = 5\nlogpath = %D/none\n"
            .to_owned();
        for jail in &self.0 {
            text.write_str(&jail.section()).unwrap();
        }
        text
    }
}
