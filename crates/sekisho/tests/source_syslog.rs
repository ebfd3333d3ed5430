//! A syslog socket as a log: over loopback, end to end, and compared with rsyslog.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::cell::RefCell;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sekisho::source::{Inbox, Sources};
use sekisho_core::effect::{Event, SourceId, SourceOp, SourceState, StartAt};
use sekisho_oracle::{Random, cases, report};

/// Long enough for a busy machine; a test that passes never waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    sources: Sources,
    events: RefCell<Inbox>,
}

impl Bench {
    fn new() -> Bench {
        let (sender, events) = sekisho::source::inbox(100);
        let sources = Sources::start(sender, Arc::new(|_| {})).unwrap();
        Bench { sources, events: RefCell::new(events) }
    }

    fn listen(&mut self, path: &str) -> SourceState {
        self.sources.apply(SourceOp::OpenFile {
            source: SourceId(1),
            path: path.to_owned(),
            encoding: "auto".into(),
            poll: false,
            dates: vec![],
            start: StartAt::Tail,
        });
        loop {
            match self.events.borrow_mut().wait(PATIENCE).unwrap() {
                // Of the one listened on before.
                Event::Source(_, SourceState::CaughtUp) => {}
                Event::Source(_, state) => return state,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Listens on a port of loopback; answers which.
    fn listen_anywhere(&mut self) -> u16 {
        loop {
            let port = free_port();
            match self.listen(&format!("syslog:udp:127.0.0.1:{port}")) {
                SourceState::Open(_) => return port,
                SourceState::Missing(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn lines(&self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.len() < count {
            if let Event::Lines(batch) = self.events.borrow_mut().wait(PATIENCE).unwrap() {
                assert!(batch.live);
                let text = String::from_utf8_lossy(&batch.data).into_owned();
                lines.extend(text.lines().map(str::to_owned));
            }
        }
        lines
    }
}

/// A port of loopback that nobody uses, until somebody else is given it.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn datagrams_become_lines() {
    let mut b = Bench::new();
    let address = format!("127.0.0.1:{}", b.listen_anywhere());
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |text: &str| sender.send_to(text.as_bytes(), &address).unwrap();
    send("<38>Nov 25 12:00:00 mx sshd[7]: Failed password for root from 192.0.2.1 port 1");
    send("<38>1 2026-11-25T12:00:00Z mx sshd 7 - - Failed password for root from 192.0.2.1 port 2");
    assert_eq!(
        b.lines(2),
        [
            "Nov 25 12:00:00 mx sshd[7]: Failed password for root from 192.0.2.1 port 1",
            "2026-11-25T12:00:00Z mx sshd[7]: Failed password for root from 192.0.2.1 port 2",
        ]
    );
    // Many, and large ones: each is a line.
    let large = "x".repeat(60_000);
    for n in 0..200 {
        send(&format!(
            "<38>Nov 25 12:00:00 mx app: {n} {}",
            if n % 20 == 0 { &large } else { "y" }
        ));
        assert!(b.lines(1)[0].starts_with(&format!("Nov 25 12:00:00 mx app: {n} ")));
    }
    // Closed: the port is free again.
    b.sources.apply(SourceOp::Close(SourceId(1)));
    b.sources.stop();
    assert!(UdpSocket::bind(&address).is_ok());
}

#[test]
fn an_address_in_use_is_waited_for() {
    let mut b = Bench::new();
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let SourceState::Missing(text) = b.listen(&format!("syslog:udp:{address}")) else { panic!() };
    assert!(text.contains("cannot listen on UDP") && text.contains("another program"), "{text}");
    drop(other);
    loop {
        if let Event::Source(_, SourceState::Open(_)) =
            b.events.borrow_mut().wait(PATIENCE).unwrap()
        {
            break;
        }
    }
    let SourceState::Missing(text) = b.listen("syslog:tcp:127.0.0.1:1") else { panic!() };
    assert!(text.contains("is no syslog socket"), "{text}");
}

/// An rsyslogd of our own: unprivileged, on loopback and on a socket in a folder.
struct Rsyslog {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Rsyslog {
    fn start() -> Option<Rsyslog> {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let at = dir.path().display();
        let config = format!(
            r#"
global(workDirectory="{at}" localHostname="here" parser.permitSlashInProgramName="on")
module(load="imudp")
module(load="imuxsock" SysSock.Use="off")
input(type="imudp" port="{port}" address="127.0.0.1")
template(name="line" type="string" string="%HOSTNAME%|%syslogtag%%msg:::sp-if-no-1st-sp%%msg:::drop-last-lf%\n")
*.* action(type="omfile" file="{at}/out" template="line" asyncWriting="off" ioBufferSize="1")
"#
        );
        std::fs::write(dir.path().join("conf"), config).unwrap();
        let child = Command::new("rsyslogd")
            .arg("-n")
            .args(["-f".as_ref(), dir.path().join("conf").as_os_str()])
            .args(["-i".as_ref(), dir.path().join("pid").as_os_str()])
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => Some(Rsyslog { child, dir, port }),
            Err(_) => {
                sekisho_oracle::missing("rsyslogd (Debian's package rsyslog)");
                None
            }
        }
    }

    /// The lines that it has written to their ends, once they are as they should be.
    fn until(&self, good: impl Fn(&[String]) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..1200 {
            let text = std::fs::read(self.dir.path().join("out")).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            lines = whole.map(str::to_owned).collect();
            if good(&lines) {
                return lines;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("rsyslogd wrote no more than {lines:?}");
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn message(random: &mut Random) -> String {
    let text = ["Failed password for root from 192.0.2.1", "a: b", "[1] x", "tab\there", "é", ""];
    let host = *random.pick(&["mx", "mail.example.org", "192.0.2.7", "host-1"]);
    let app = *random.pick(&["sshd", "postfix/smtpd", "kernel", "app-x"]);
    let pid = random.below(99_999);
    let text = *random.pick(&text);
    let pri = random.below(192);
    if random.one_in(2) {
        let date = *random.pick(&["Nov 25 12:00:00", "Nov  5 01:02:03"]);
        let tag = if random.one_in(3) { format!("{app}:") } else { format!("{app}[{pid}]:") };
        return format!("<{pri}>{date} {host} {tag} {text}");
    }
    let date = *random.pick(&["2026-11-25T12:00:00Z", "2026-11-25T12:00:00.123456+02:00"]);
    let pid = if random.one_in(4) { "-".to_owned() } else { pid.to_string() };
    let data = *random.pick(&["-", "[a@1 b=\"c\"]", "[a b=\"\\\"]\"][c d=\"e\"]"]);
    format!("<{pri}>1 {date} {host} {app} {pid} ID1 {data} {text}")
}

/// Host, tag and text of well-formed messages are those that rsyslog writes to a file.
#[test]
fn lines_like_rsyslog() {
    let Some(rsyslog) = Rsyslog::start() else { return };
    let mut b = Bench::new();
    let port = b.listen_anywhere();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Until it listens; the last of these messages comes last.
    let up = |text: &str| {
        let message = format!("<38>Nov 25 12:00:00 mx up: {text}");
        sender.send_to(message.as_bytes(), ("127.0.0.1", rsyslog.port)).unwrap();
    };
    for _ in 0..600 {
        up("not yet");
        if rsyslog.dir.path().join("out").exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    up("now");
    let before = rsyslog.until(|lines| lines.iter().any(|line| line.ends_with("up: now"))).len();
    let mut random = Random(3);
    let count = cases("SEKISHO_SYSLOG_CASES", 200);
    let (mut sent, mut ours) = (Vec::new(), Vec::new());
    for n in 0..count {
        let text = message(&mut random);
        sender.send_to(text.as_bytes(), ("127.0.0.1", rsyslog.port)).unwrap();
        sender.send_to(text.as_bytes(), ("127.0.0.1", port)).unwrap();
        sent.push(text);
        // Not faster than both read.
        if n % 20 == 19 {
            rsyslog.until(|lines| lines.len() > before + n);
            ours.extend(b.lines(20));
        }
    }
    let theirs = rsyslog.until(|lines| lines.len() >= before + count);
    ours.extend(b.lines(count - ours.len()));
    for ((ours, theirs), sent) in ours.iter().zip(&theirs[before..]).zip(&sent) {
        let date = if ours.starts_with("Nov") { 15 } else { ours.find(' ').unwrap() };
        let ours = ours[date + 1..].replacen(' ', "|", 1);
        // What rsyslog makes of the newer format has no colon behind the tag.
        let theirs = match theirs.split_once(' ') {
            Some((tag, text)) if sent.contains(">1 ") => format!("{tag}: {text}"),
            None if sent.contains(">1 ") => format!("{theirs}:"),
            _ => theirs.clone(),
        };
        assert_eq!(ours.trim_end(), theirs.trim_end(), "{sent}");
    }
    report("syslog messages as lines", "rsyslogd", count, "messages");
}

#[test]
fn local_programs_write_to_a_socket_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dev-log");
    let mut b = Bench::new();
    assert!(matches!(b.listen(&format!("syslog:unix:{}", path.display())), SourceState::Open(_)));
    let logger = Command::new("logger")
        .args(["--socket".as_ref(), path.as_os_str(), "-t".as_ref(), "sshd".as_ref()])
        .args(["--rfc3164", "Failed password for root from 192.0.2.1"])
        .status();
    match logger {
        Ok(status) if status.success() => {
            let line = b.lines(1).remove(0);
            let (_, rest) = line.split_at(16);
            let (host, rest) = rest.split_once(' ').unwrap();
            assert!(!host.is_empty() && !Path::new(host).exists());
            assert_eq!(rest, "sshd: Failed password for root from 192.0.2.1", "{line}");
        }
        _ => sekisho_oracle::missing("logger (bsdutils)"),
    }
    let sender = UnixDatagram::unbound().unwrap();
    sender.send_to(b"<13>Nov 25 12:00:00 su[1]: x", &path).unwrap();
    assert!(b.lines(1)[0].ends_with(" su[1]: x"));
    b.sources.stop();
    assert!(!path.exists());
}
