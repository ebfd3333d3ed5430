//! A place where stock actions can do no harm: their files are copied with every path outside
//! redirected into a folder, and `PATH` holds nothing but stand-ins and harmless tools.
//!
//! Nothing here may let a command reach the machine: what is not redirected is refused.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use sekisho_oracle::Fail2ban;

use crate::jails::Jails;

/// Programs that are not run but written down.
const STAND_INS: &[&str] = &[
    "afctl",
    "apf",
    "apprise",
    "conntrack",
    "csf",
    "curl",
    "date",
    "dig",
    "firewall-cmd",
    "geoiplookup",
    "hostname",
    "id",
    "ip",
    "ip6tables",
    "ipf",
    "ipfw",
    "ipset",
    "iptables",
    "mail",
    "nft",
    "nginx",
    "npfctl",
    "nsupdate",
    "pfctl",
    "route",
    "sendmail",
    "shorewall",
    "shorewall6",
    "sleep",
    "ss",
    "ssh",
    "ufw",
    "uname",
    "wget",
    "whois",
    // Called by parameters that these tests give.
    "to-check",
    "to-prolong",
    "to-reban",
    "to-reload",
    "to-repair",
];
/// Programs that only read and print, or change files that are redirected.
const REAL: &[&str] = &[
    "awk", "cat", "cut", "expr", "fgrep", "grep", "head", "jq", "perl", "rm", "sed", "sh", "sort",
    "tail", "touch", "tr", "truncate", "wc",
];
/// Where stock actions reach out of themselves, and what stands for it. `%D` is the folder.
const REDIRECTED: &[(&str, &str)] = &[
    ("/usr/sbin/sendmail", "sendmail"),
    ("/usr/bin/nsupdate", "nsupdate"),
    ("/usr/libexec/afctl", "afctl"),
    ("/sbin/npfctl", "npfctl"),
    ("/sbin/ipf", "ipf"),
    ("/var/run/fail2ban/", "%D/files/run/"),
    ("/etc/hosts.deny", "%D/files/hosts.deny"),
    ("/etc/nginx/", "%D/files/nginx/"),
    ("/run/nginx.pid", "%D/files/nginx.pid"),
    ("/etc/symbiosis/firewall/blacklist.d/", "%D/files/symbiosis/"),
    ("/proc/net/xt_recent/", "%D/files/xt_recent/"),
];
/// What may stay: read at most, or only a word handed to a stand-in.
const HARMLESS: &[&str] =
    &["/dev/null", "/etc/protocols", "/usr/share/GeoIP/", "/etc/fail2ban/apprise.conf"];
/// First folders of paths that would leave the sandbox.
const OUTSIDE: &[&str] = &[
    "bin", "boot", "dev", "etc", "home", "lib", "media", "mnt", "opt", "proc", "root", "run",
    "sbin", "srv", "sys", "tmp", "usr", "var",
];

/// One side's folder: `bin`, `config`, `files` (what actions write) and `fresh` (how they begin).
#[derive(Clone, Debug)]
pub struct Sandbox {
    pub folder: PathBuf,
}

impl Sandbox {
    /// Makes one for the stock actions of `from` and these jails.
    pub fn new(folder: PathBuf, from: &Fail2ban, jails: &Jails) -> Sandbox {
        let sandbox = Sandbox { folder };
        let at = &sandbox.folder;
        for name in ["bin", "config/action.d", "config/filter.d", "files"] {
            fs::create_dir_all(at.join(name)).unwrap();
        }
        sandbox.programs();
        for entry in fs::read_dir(from.config.join("action.d")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "conf") {
                let name = path.file_name().unwrap();
                let text = sandbox.redirected(&fs::read_to_string(&path).unwrap());
                if let Some(left) = leaves(&text, at) {
                    panic!("{} would reach {left}: redirect it", path.display());
                }
                fs::write(at.join("config/action.d").join(name), text).unwrap();
            }
        }
        let config = at.join("config");
        fs::write(config.join("fail2ban.conf"), "[Definition]\ndbfile = None\n").unwrap();
        fs::write(config.join("filter.d/some.conf"), "[Definition]\nfailregex = ^from <HOST>$\n")
            .unwrap();
        fs::write(config.join("jail.conf"), jails.text().replace("%D", &sandbox.name())).unwrap();
        for (name, text) in fresh_files() {
            let path = at.join("fresh").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        sandbox
    }

    pub fn name(&self) -> String {
        self.folder.to_str().unwrap().to_owned()
    }

    /// `PATH` for what runs here.
    pub fn path(&self) -> String {
        self.folder.join("bin").to_str().unwrap().to_owned()
    }

    pub fn config(&self) -> String {
        self.folder.join("config").to_str().unwrap().to_owned()
    }

    fn programs(&self) {
        let bin = self.folder.join("bin");
        let script = bin.join("stand-in");
        fs::write(&script, include_str!("stand_in.sh")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        for name in STAND_INS {
            symlink("stand-in", bin.join(name)).unwrap();
        }
        for name in REAL {
            let found = ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(name));
            if let Some(real) = found.iter().find(|path| path.exists()) {
                symlink(real, bin.join(name)).unwrap();
            }
        }
    }

    fn redirected(&self, text: &str) -> String {
        REDIRECTED
            .iter()
            .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
            .replace("%D", &self.name())
    }
}

/// What is there before an action runs.
fn fresh_files() -> Vec<(&'static str, String)> {
    let mut log = String::new();
    for line in 0..30 {
        let ip = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "127.0.0.1"][line % 4];
        writeln!(log, "Oct 1 07:06:{line:02} host d[1]: from {ip} `id` $(id) \"%s\"").unwrap();
    }
    let empty = String::new;
    vec![
        ("log", log),
        ("hosts.deny", "ALL: 203.0.113.7\nsshd: 192.0.2.1\n".to_owned()),
        ("nginx/blacklisted-sessions.map", "earlier 1;\n".to_owned()),
        ("nginx.pid", "1\n".to_owned()),
        ("run/keep", empty()),
        ("symbiosis/keep", empty()),
        ("xt_recent/keep", empty()),
    ]
}

/// A path in an action's text that leads out of the sandbox.
fn leaves(text: &str, folder: &Path) -> Option<String> {
    let inside = folder.to_str().unwrap();
    let code = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    for line in code {
        for (at, _) in line.match_indices('/') {
            let (before, rest) = line.split_at(at);
            let first: String = rest.chars().skip(1).take_while(|c| c.is_alphanumeric()).collect();
            let begins = !before.ends_with(|c: char| c.is_alphanumeric() || "/_.-".contains(c))
                && !ends_with_tag(before);
            let harmless = HARMLESS.iter().any(|path| rest.starts_with(path));
            let here = before.ends_with(inside) || rest.starts_with(inside);
            if begins && OUTSIDE.contains(&first.as_str()) && !harmless && !here {
                return Some(rest.chars().take(40).collect());
            }
        }
    }
    None
}

/// Whether a `<tag>` ends here, rather than a redirection to a file.
fn ends_with_tag(text: &str) -> bool {
    let tag = text.strip_suffix('>').and_then(|text| text.rsplit_once('<'));
    tag.is_some_and(|(_, name)| !name.is_empty() && !name.contains([' ', '>']))
}

#[test]
fn paths_that_leave_are_seen() {
    for (text, expected) in [
        ("a = rm -f <x>/etc/y", None),
        ("a = rm -f /etc/hosts", Some("/etc/hosts")),
        ("# see /etc/hosts", None),
        ("a=\"/var/x\"", Some("/var/x\"")),
        ("a = https://x/etc/y 2>/dev/null", None),
        ("a = sed s,x,/y,", None),
        ("a = touch /box/files/etc >>/box/etc", None),
        ("a = x >/tmp/y", Some("/tmp/y")),
    ] {
        assert_eq!(leaves(text, Path::new("/box")).as_deref(), expected, "{text}");
    }
}
