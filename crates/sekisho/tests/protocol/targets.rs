//! Where the log goes: what arrives there, and what happens when a file is rotated.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};

use rustix::process::{Signal, kill_process};
use sekisho_oracle::{Fail2ban, has_root, report};

use crate::client::Client;
use crate::normal::normal;
use crate::script::TREE;
use crate::site::{PATIENCE, Server, Site, soon, words};

/// A site whose server logs to `target`.
fn site(target: &str) -> Site {
    let site = Site::new(TREE, Client::Ours);
    let conf = site.read("conf/fail2ban.conf");
    let lines = conf.lines().map(|line| match line {
        line if line.starts_with("logtarget") => format!("logtarget = {target}\n"),
        line if line.starts_with("syslogsocket") => "syslogsocket = {dir}/log\n".to_owned(),
        line => format!("{line}\n"),
    });
    site.write("conf/fail2ban.conf", &lines.collect::<String>());
    site
}

/// The server in the foreground, its output in the files `out` and `err`.
struct Foreground(Child);

impl Foreground {
    fn start(site: &mut Site, server: &Server) -> Foreground {
        let mut command = server.command("fail2ban-server");
        let file = |name: &str| File::create(site.path(name)).unwrap();
        command.arg("-c").arg(site.path("conf")).args(["-xf", "start"]);
        let child = command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        let foreground = Foreground(child.spawn().unwrap());
        site.until(&words("status"), "mail, web").unwrap();
        foreground
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The line of one ban among what was logged.
fn ban_line(site: &Site, file: &str) -> String {
    let (text, pid) = (site.normal(file), site.read("pid"));
    let line = text.lines().find(|line| line.contains("Ban 192.0.2.1"));
    line.unwrap_or_default().replace(&format!("[{}]", pid.trim()), "[PID]")
}

#[test]
fn every_target_gets_the_same_lines() {
    let Some(fail2ban) = Fail2ban::newest() else { return };
    const TARGETS: &[(&str, &str)] = &[
        ("{dir}/file.log", "file.log"),
        ("{dir}/file.log[datetime=off]", "file.log"),
        ("{dir}/file.log[padding=off, datetime=on]", "file.log"),
        ("{dir}/file.log[format=\"%%(levelname)s %%(name)s: %%(message)s\"]", "file.log"),
        ("STDOUT", "out"),
        ("stderr", "err"),
        ("SYSOUT", "out"),
        ("STDOUT[datetime=off]", "out"),
    ];
    for (target, name) in TARGETS {
        let said = [Server::Theirs(fail2ban.clone()), Server::Ours].map(|server| {
            let mut site = site(target);
            let _server = Foreground::start(&mut site, &server);
            site.run(&words("set web banip 192.0.2.1"), "");
            site.until_file(name, "Ban 192.0.2.1");
            ban_line(&site, name)
        });
        assert_eq!(said[1], said[0], "{target}");
    }
    report("log targets", "fail2ban 1.1.1", TARGETS.len(), "targets");
}

#[test]
fn syslog_gets_the_same_messages() {
    let Some(fail2ban) = Fail2ban::newest() else { return };
    for target in ["SYSLOG", "SYSLOG[facility=local3]", "SYSLOG[datetime=on, padding=on]"] {
        let said = [Server::Theirs(fail2ban.clone()), Server::Ours].map(|server| {
            let mut site = site(target);
            let syslog = UnixDatagram::bind(site.path("log")).unwrap();
            syslog.set_read_timeout(Some(PATIENCE)).unwrap();
            let reader = std::thread::spawn(move || {
                let mut buffer = [0; 65536];
                loop {
                    let length = syslog.recv(&mut buffer).expect("the ban is logged");
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    if text.contains("Ban 192.0.2.1") {
                        return text.trim_end_matches('\0').to_owned();
                    }
                }
            });
            site.start(&server);
            site.run(&words("set web banip 192.0.2.1"), "");
            let text = normal(&reader.join().unwrap(), site.dir());
            // `<29>fail2ban.actions[123]: NOTICE …`
            let pid = site.read("pid");
            text.replace(&format!("[{}]", pid.trim()), "[PID]")
        });
        assert_eq!(said[1], said[0], "{target}");
    }
    report("log to syslog", "fail2ban 1.1.1", 3, "targets");
}

#[test]
fn a_flush_and_a_signal_open_the_log_anew() {
    let Some(fail2ban) = Fail2ban::newest() else { return };
    for server in [Server::Theirs(fail2ban), Server::Ours] {
        let mut site = Site::new(TREE, Client::Ours);
        site.start(&server);
        for (number, signal) in [(1, false), (2, true)] {
            fs::rename(site.path("server.log"), site.path(&format!("server.log.{number}")))
                .unwrap();
            match signal {
                true => kill_process(site.pid().unwrap(), Signal::USR1).unwrap(),
                false => assert_eq!(site.run(&words("flushlogs"), "").out, "logs: rolled over\n"),
            }
            site.until_file("server.log", "rollover performed on {dir}/server.log");
            site.run(&words(&format!("set web banip 192.0.2.{number}")), "");
            site.until_file("server.log", &format!("Ban 192.0.2.{number}"));
            let old = site.read(&format!("server.log.{number}"));
            assert!(!old.contains(&format!("Ban 192.0.2.{number}")), "{old}");
        }
    }
}

/// As a careless rotation does it: fail2ban would go on writing where nobody looks.
#[test]
fn a_log_that_was_rotated_away_is_opened_anew() {
    let mut site = Site::new(TREE, Client::Ours);
    site.start(&Server::Ours);
    let away = |number: usize, site: &Site| match number {
        1 => fs::rename(site.path("server.log"), site.path("moved")).unwrap(),
        2 => fs::remove_file(site.path("server.log")).unwrap(),
        _ => {
            fs::rename(site.path("server.log"), site.path("moved.2")).unwrap();
            site.write("server.log", "");
        }
    };
    for number in 1..=3 {
        away(number, &site);
        site.run(&words(&format!("set web banip 192.0.2.{number}")), "");
        site.until_file("server.log", &format!("Ban 192.0.2.{number}"));
        if number < 3 {
            let mode = fs::metadata(site.path("server.log")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
    assert!(!site.read("moved").contains("Ban"));
    // A folder that is gone for a moment costs nothing: the old file goes on until there is one.
    fs::create_dir(site.path("logs")).unwrap();
    site.run(&[words("set logtarget"), vec!["{dir}/logs/s.log".into()]].concat(), "");
    fs::rename(site.path("logs"), site.path("logs.old")).unwrap();
    site.run(&words("set web banip 192.0.2.8"), "");
    site.until_file("logs.old/s.log", "Ban 192.0.2.8");
    fs::create_dir(site.path("logs")).unwrap();
    site.run(&words("set web banip 192.0.2.9"), "");
    site.until_file("logs/s.log", "Ban 192.0.2.9");
}

/// A journal of our own, in a mount namespace of its own: one datagram for each entry.
const JOURNAL: &str = r#"
import socket
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind('/run/systemd/journal/socket')
print('ready', flush=True)
while True:
    entry, fields = journal.recv(65536), {}
    while entry:
        name, rest = entry.split(b'\n', 1)
        if b'=' in name:
            name, value = name.split(b'=', 1)
        else:
            length = int.from_bytes(rest[:8], 'little')
            value, rest = rest[8:8 + length], rest[9 + length:]
        fields[name.decode()], entry = value.decode(), rest
    names = ('SYSLOG_IDENTIFIER', 'PRIORITY', 'LOGGER', 'MESSAGE')
    print(' '.join('%s=%s' % (name, fields.get(name)) for name in names), flush=True)
"#;

#[test]
fn the_journal_gets_the_same_entries() {
    if !has_root("root, for a mount namespace") {
        return;
    }
    let Some(fail2ban) = Fail2ban::newest() else { return };
    if !fail2ban.has_module("systemd.journal", "python3-systemd") {
        return;
    }
    let said = [Server::Theirs(fail2ban), Server::Ours].map(|server| {
        let mut site = site("SYSTEMD-JOURNAL");
        site.write("journal.py", JOURNAL);
        let dir = site.dir().display();
        let start = server.shell("fail2ban-client");
        let script = format!(
            "mount -t tmpfs none /run && mkdir -p /run/systemd/journal
             {python} {dir}/journal.py > {dir}/entries & journal=$!
             while ! grep -q ready {dir}/entries; do sleep 0.1; done
             {start} -c {dir}/conf start; read end; kill $journal",
            python = sekisho_oracle::PYTHON,
        );
        let mut namespace = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let _ = soon(100, || site.run(&words("ping"), "").code, |code| *code == 0);
        site.until(&words("status"), "mail, web").unwrap();
        site.run(&words("set web banip 192.0.2.1"), "");
        site.until_file("entries", "Ban 192.0.2.1");
        let line = ban_line(&site, "entries");
        drop(namespace.stdin.take());
        let _ = namespace.wait();
        line
    });
    assert_eq!(said[1], said[0]);
    report("log to the journal", "fail2ban 1.1.1", 1, "target");
}
