//! `status JAIL cymru`, with a name server of our own on loopback, in a namespace of its own.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sekisho_oracle::{Fail2ban, PYTHON, has_python, has_root, report};

use crate::client::Client;
use crate::script::TREE;
use crate::site::{Server, Site, words};

/// Answers questions for TXT records from a table; knows no other names.
const NAME_SERVER: &str = r#"
import socket
known = {
    '1.2.0.192.origin.asn.cymru.com': ['64500 | 192.0.2.0/24 | ZZ | test | 2010-01-01'],
    '2.2.0.192.origin.asn.cymru.com': ['64501 64502 | 192.0.2.0/24 |  | test | ', '64500 | 192.0.2.2/32 | AA | other | '],
    '1.' + '0.' * 23 + '8.b.d.0.1.0.0.2.origin6.asn.cymru.com': ['64503 | 2001:db8::/32 | ZZ | test6 | '],
}
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(('127.0.0.1', 53))
print('listening', flush=True)
while True:
    message, client = server.recvfrom(4096)
    labels, at = [], 12
    while message[at]:
        labels.append(message[at + 1:at + 1 + message[at]].decode().lower())
        at += 1 + message[at]
    question = message[12:at + 5]
    texts = known.get('.'.join(labels))
    answers = b''
    for text in texts or []:
        data = bytes([len(text)]) + text.encode()
        answers += b'\xc0\x0c\0\x10\0\x01\0\0\0\x3c' + len(data).to_bytes(2, 'big') + data
    flags = b'\x81\x80' if texts else b'\x81\x83'
    head = message[:2] + flags + b'\0\1' + len(texts or []).to_bytes(2, 'big') + b'\0\0\0\0'
    server.sendto(head + question + answers, client)
"#;

/// Namespaces in which `resolv.conf` names a server on loopback, which is there or not; the servers
/// are started inside, their sockets can be reached from outside.
struct Namespace {
    child: Child,
}

impl Namespace {
    /// Starts the servers in the namespace.
    fn start(sites: &[(&Site, &Server)], answers: bool) -> Namespace {
        let folder = sites[0].0;
        // Where there is a server its answer comes, however long that takes.
        let timeout = if answers { 20 } else { 2 };
        let options = format!("options timeout:{timeout} attempts:1");
        folder.write("resolv.conf", &format!("nameserver 127.0.0.1\n{options}\n"));
        folder.write("server.py", NAME_SERVER);
        let mut script = format!(
            "ip link set lo up && mount --bind {} /etc/resolv.conf\n",
            folder.path("resolv.conf").display()
        );
        if answers {
            let program = folder.path("server.py");
            script += &format!(
                "{PYTHON} {} > {}/dns & server=$!\n",
                program.display(),
                folder.dir().display()
            );
        }
        for (site, server) in sites {
            let (client, conf) = (server.shell("fail2ban-client"), site.path("conf"));
            script += &format!("{client} -c {} start\n", conf.display());
        }
        // Until the test is over.
        script += "echo up > \"$0\"; read end; kill ${server:-} 2>/dev/null\n";
        let up = folder.path("up");
        let child = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private", "sh", "-c", &script])
            .arg(&up)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let namespace = Namespace { child };
        folder.until_file("up", "up");
        if answers {
            folder.until_file("dns", "listening");
        }
        namespace
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The newest fail2ban, if it and what else is needed is there: `dnspython`, and root for namespaces.
fn judge() -> Option<Fail2ban> {
    if !has_root("root, for a network namespace") {
        return None;
    }
    Fail2ban::newest().filter(|newest| newest.has_module("dns.resolver", "python3-dnspython"))
}

#[test]
fn origins_of_addresses_are_asked_for() {
    let Some(fail2ban) = judge() else { return };
    let (theirs, ours) = (Server::Theirs(fail2ban), Server::Ours);
    let mut sites = [Site::new(TREE, Client::Ours), Site::new(TREE, Client::Ours)];
    let _namespace = Namespace::start(&[(&sites[0], &theirs), (&sites[1], &ours)], true);
    let mut cases = 0;
    for ban in ["", "192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.9", "192.0.2.1/32"] {
        let mut said = Vec::new();
        for site in &mut sites {
            if !ban.is_empty() {
                site.run(&words(&format!("set web banip {ban}")), "");
                let last = ban.trim_end_matches("/32");
                site.until(&words("get web banip"), last).unwrap();
            }
            let commands = ["status web cymru", "status mail cymru", "status --all cymru"];
            said.push(commands.map(|command| site.run(&words(command), "")));
        }
        assert_eq!(said[1], said[0], "{ban}");
        cases += said[0].len();
    }
    let all = sites[1].run(&words("status web cymru"), "").out;
    assert!(all.contains("Banned ASN list:\t64500 64500, 64501 64502 64503 nxdomain\n"), "{all}");
    report("status cymru, with a name server", "fail2ban 1.1.1", cases, "answers");
}

#[test]
fn without_a_name_server_nothing_is_known_and_nobody_waits() {
    if !has_root("root, for a network namespace") || !has_python() {
        return;
    }
    let mut site = Site::new(TREE, Client::Ours);
    let _namespace = Namespace::start(&[(&site, &Server::Ours)], false);
    site.run(&words("set web banip 192.0.2.1"), "");
    site.until(&words("get web banip"), "192.0.2.1").unwrap();
    let begin = Instant::now();
    let said = site.run(&words("status web cymru"), "");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("`- Banned RIR list:\t\n"), "{said:?}");
    assert!(begin.elapsed() < Duration::from_secs(30));
    site.until_file("server.log", "querying Cymru for 1.2.0.192.origin.asn.cymru.com TXT");
}
