//! The socket as Python programs use it: `fail2ban.client.csocket`, in every pickle protocol.

use std::fmt::Write as _;

use sekisho_oracle::{Fail2ban, Python, report};
use serde_json::{Value, json};

use crate::client::Client;
use crate::normal::normal;
use crate::script::{Script, Step, TREE, rewrite};
use crate::site::{Server, Site};

/// Sends what it is told to through `CSocket` and says what it got. A connection serves for ten
/// requests and is closed with the message for that.
const SOCKET: &str = r#"
import json, pickle, sys
from fail2ban.client import csocket
connection, left = None, 0
for line in sys.stdin:
    job = json.loads(line)
    csocket.dumps = lambda value, _: pickle.dumps(value, job['protocol'])
    if left == 0:
        if connection:
            connection.close()
        connection, left = csocket.CSocket(job['socket'], timeout=30), 10
    left -= 1
    code, value = connection.send(job['words'])
    said = repr(value)
    if isinstance(value, BaseException):
        said += ' %s.%s %r' % (type(value).__module__, type(value).__qualname__, value.args)
    print(json.dumps([code, said]), flush=True)
"#;

/// Sends bytes as they are, one frame for a connection, and says what Python makes of the answer.
const FRAMES: &str = r#"
import json, pickle, socket, sys
END = b'<F2B_END_COMMAND>'
for line in sys.stdin:
    job = json.loads(line)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    connection.connect(job['socket'])
    connection.sendall(bytes(job['frame']) + END)
    answer = b''
    while not answer.endswith(END):
        answer += connection.recv(65536) or sys.exit('closed')
    code, value = pickle.loads(answer[:-len(END)])
    print(json.dumps('%r %r' % (code, value)), flush=True)
"#;

/// `['get', 'web', 'bantime']` as the libraries of other languages write it, and bytes that are no
/// list of words.
const DIALECTS: &[(&str, &[u8])] = &[
    ("protocol 0, unicode lines", b"(lp0\nVget\np1\naVweb\np2\naVbantime\np3\na."),
    ("protocol 0, quoted lines", b"(S'get'\nS'web'\nS'bantime'\nl."),
    ("protocol 1, short byte strings", b"](U\x03getU\x03webU\x07bantimee."),
    (
        "protocol 1, byte strings with a long count",
        b"](T\x03\0\0\0getT\x03\0\0\0webT\x07\0\0\0bantimee.",
    ),
    ("protocol 2, long unicode", b"\x80\x02](X\x03\0\0\0getX\x03\0\0\0webX\x07\0\0\0bantimee."),
    ("protocol 2, a tuple", b"\x80\x02X\x03\0\0\0getX\x03\0\0\0webX\x07\0\0\0bantime\x87."),
    (
        "protocol 3, memo by number",
        b"\x80\x03]q\x00(X\x03\0\0\0getq\x01X\x03\0\0\0webq\x02X\x07\0\0\0bantimeq\x03e.",
    ),
    (
        "protocol 4, a frame",
        b"\x80\x04\x95\x16\0\0\0\0\0\0\0]\x94(\x8c\x03get\x8c\x03web\x8c\x07bantimee.",
    ),
    ("protocol 4, without", b"\x80\x04](\x8c\x03get\x8c\x03web\x8c\x07bantimee."),
    ("protocol 5, word by word", b"\x80\x05]\x8c\x03geta\x8c\x03weba\x8c\x07bantimea."),
    ("a number among the words", b"](X\x03\0\0\0setX\x03\0\0\0webX\x07\0\0\0bantimeK\x3ce."),
    (
        "a truth value among the words",
        b"\x80\x02](X\x03\0\0\0setX\x03\0\0\0webX\x0a\0\0\0ignoreself\x88e.",
    ),
];

/// A server, and the socket to it.
struct End {
    site: Site,
    python: Python,
}

impl End {
    fn new(server: &Server, fail2ban: &Fail2ban) -> End {
        let site = Site::new(TREE, Client::Ours);
        site.start(server);
        End { site, python: Python::start(fail2ban.python(), SOCKET, &[]) }
    }

    fn send(&mut self, words: &Value, protocol: usize) -> String {
        let socket = self.site.path("socket");
        let question = json!({"socket": socket, "words": words, "protocol": protocol});
        let answer = self.python.ask(&question);
        let said = normal(answer[1].as_str().unwrap(), self.site.dir());
        format!("{} {said}", answer[0])
    }
}

/// Whether the words are for the server, and not for the client that reads the configuration.
fn for_server(words: &[String]) -> bool {
    match words.first().map(String::as_str) {
        None | Some("restart" | "reload" | "help") => false,
        Some("start") => words.len() > 1,
        Some(word) => !word.starts_with('-'),
    }
}

fn play(fail2ban: &Fail2ban) {
    let mut theirs = End::new(&Server::Theirs(fail2ban.clone()), fail2ban);
    let mut ours = End::new(&Server::Ours, fail2ban);
    let (mut sent, mut faults) = (0, String::new());
    for (line, step) in Script::read("commands.txt").0 {
        for end in [&mut theirs, &mut ours] {
            end.site.prepare(&step, &mut faults);
        }
        let Step::Run { words, differs, .. } = &step else { continue };
        if !for_server(words) {
            continue;
        }
        // Words that only read are sent in every protocol.
        let reads = matches!(words[0].as_str(), "get" | "status" | "banned" | "echo" | "ping");
        let protocols = if reads { (0..6).collect() } else { vec![sent % 6] };
        for protocol in protocols {
            sent += 1;
            let [want, got] = [&mut theirs, &mut ours].map(|end| {
                let words: Vec<String> = words.iter().map(|word| end.site.fill(word)).collect();
                rewrite(&fail2ban.version, end.send(&json!(words), protocol))
            });
            let version = &fail2ban.version;
            let known = ["server", "value"]
                .iter()
                .find_map(|side| differs.iter().find(|d| d.concerns(version, side)));
            if known.is_some() == (want == got) {
                let _ =
                    writeln!(faults, "\n{line}: {words:?} ({protocol})\n{want}\n{got}\n{known:?}");
            }
        }
    }
    assert!(faults.is_empty(), "fail2ban {}:{faults}", fail2ban.version);
    let judge = format!("fail2ban {}", fail2ban.version);
    report("Python values through csocket, pickle protocols 0 to 5", &judge, sent, "requests");
}

#[test]
fn other_languages_are_understood() {
    let Some(fail2ban) = Fail2ban::newest() else { return };
    let servers = [Server::Theirs(fail2ban.clone()), Server::Ours];
    let said = servers.map(|server| {
        let site = Site::new(TREE, Client::Ours);
        site.start(&server);
        let mut python = Python::start(fail2ban.python(), FRAMES, &[]);
        let socket = site.path("socket");
        let ask = |(_, frame): &(&str, &[u8])| {
            python.ask(&json!({"socket": socket, "frame": frame})).to_string()
        };
        DIALECTS.iter().map(ask).collect::<Vec<String>>()
    });
    for ((name, _), (want, got)) in DIALECTS.iter().zip(said[0].iter().zip(&said[1])) {
        assert_eq!(got, want, "{name}");
    }
    report("pickles of other languages", "fail2ban 1.1.1", DIALECTS.len(), "requests");
}

#[test]
fn python_gets_the_same_values_1_0() {
    if let Some(fail2ban) = Fail2ban::installed() {
        play(&fail2ban);
    }
}

#[test]
fn python_gets_the_same_values_1_1() {
    if let Some(fail2ban) = Fail2ban::newest() {
        play(&fail2ban);
    }
}
