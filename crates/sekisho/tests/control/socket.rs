//! The control socket with a small double in place of the engine.

use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use sekisho::control::pickle::{self, Reply};
use sekisho::control::socket::{ControlServer, Frames, Listen, MAX_CLIENTS, SocketError, send};
use sekisho_core::command::{CommandError, ErrorClass};
use sekisho_core::effect::Event;
use sekisho_core::value::Value;

/// A server whose engine answers `ping`, `echo …`, `hold` (only when `release` comes), `held` (how many
/// that are), `stop` (once it has withdrawn), fails others.
pub struct Double {
    pub server: Arc<ControlServer>,
    pub path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Double {
    pub fn start() -> Double {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run").join("s.sock");
        let (sender, events) = unbounded();
        let listen = Listen::Path { path: &path, force: false };
        let server = ControlServer::start(listen, sender, Arc::new(|_| {})).unwrap();
        let server = Arc::new(server);
        let for_thread = Arc::clone(&server);
        thread::spawn(move || answer(&events, &for_thread));
        Double { server, path, _dir: dir }
    }
}

fn answer(events: &Receiver<Event>, server: &ControlServer) {
    let mut held = Vec::new();
    for event in events {
        let Event::Control { request, words } = event else { continue };
        let words = words.words;
        let result = match words.first().and_then(Value::as_str) {
            Some("ping") => Ok(Value::str("pong")),
            Some("echo") => Ok(Value::List(words[1..].to_vec())),
            Some("hold") => {
                held.push(request);
                continue;
            }
            Some("held") => Ok(Value::Int(held.len() as i64)),
            Some("stop") => {
                server.withdraw();
                Ok(Value::None)
            }
            Some("release") => {
                for request in held.drain(..) {
                    server.reply(request, Ok(Value::str("released")));
                }
                Ok(Value::None)
            }
            Some("status") if words.len() == 2 => {
                Err(CommandError::new(ErrorClass::UnknownJail, words[1].to_text()))
            }
            Some("status") => Ok(Value::List(vec![
                Value::Tuple(vec!["Number of jail".into(), Value::Int(2)]),
                Value::Tuple(vec!["Jail list".into(), "a, b".into()]),
            ])),
            _ => Err(CommandError::new(ErrorClass::Exception, "Invalid command")),
        };
        server.reply(request, result);
    }
}

fn ask(stream: &mut UnixStream, words: &[&str]) -> Reply {
    send(stream, &pickle::encode(&Value::strs(words.iter().copied()))).unwrap();
    let frame = Frames::default().next(stream).unwrap().unwrap();
    pickle::decode_reply(&frame).unwrap()
}

/// Sends `hold`, and waits until the engine has it.
fn hold(stream: &mut UnixStream, path: &Path) {
    let mut other = UnixStream::connect(path).unwrap();
    let before = ask(&mut other, &["held"]);
    send(stream, &pickle::encode(&Value::strs(["hold"]))).unwrap();
    while ask(&mut other, &["held"]) == before {
        thread::sleep(Duration::from_millis(1));
    }
}

fn pong() -> Reply {
    Reply::Done(Value::str("pong"))
}

#[test]
fn several_requests_on_one_connection() {
    let double = Double::start();
    let mode = std::fs::metadata(&double.path).unwrap();
    assert!(mode.file_type().is_socket());
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    let mut client = UnixStream::connect(&double.path).unwrap();
    assert_eq!(ask(&mut client, &["ping"]), pong());
    assert_eq!(ask(&mut client, &["echo", "é", ""]), Reply::Done(Value::strs(["é", ""])));
    let unknown = CommandError::new(ErrorClass::UnknownJail, "zz");
    assert_eq!(ask(&mut client, &["status", "zz"]), Reply::Failed(unknown));
    send(&mut client, b"<F2B_CLOSE_COMMAND>").unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
}

#[test]
fn slow_and_rude_clients_delay_nobody() {
    let double = Double::start();
    let mut holding = UnixStream::connect(&double.path).unwrap();
    hold(&mut holding, &double.path);
    let mut half = UnixStream::connect(&double.path).unwrap();
    half.write_all(b"\x80\x04]\x8c").unwrap();
    // One that asks for much and reads nothing.
    let mut deaf = UnixStream::connect(&double.path).unwrap();
    let big = "x".repeat(4 << 20);
    send(&mut deaf, &pickle::encode(&Value::strs(["echo", &big]))).unwrap();
    // One that leaves before its answer.
    let mut gone = UnixStream::connect(&double.path).unwrap();
    send(&mut gone, &pickle::encode(&Value::strs(["hold"]))).unwrap();
    drop(gone);

    let mut client = UnixStream::connect(&double.path).unwrap();
    assert_eq!(ask(&mut client, &["ping"]), pong());
    ask(&mut client, &["release"]);
    let frame = Frames::default().next(&mut holding).unwrap().unwrap();
    assert_eq!(pickle::decode_reply(&frame), Ok(Reply::Done(Value::str("released"))));
}

#[test]
fn more_clients_than_allowed_push_out_idle_ones() {
    let double = Double::start();
    let mut first = UnixStream::connect(&double.path).unwrap();
    assert_eq!(ask(&mut first, &["ping"]), pong());
    let crowd: Vec<UnixStream> =
        (0..MAX_CLIENTS * 2).map(|_| UnixStream::connect(&double.path).unwrap()).collect();
    let mut last = UnixStream::connect(&double.path).unwrap();
    assert_eq!(ask(&mut last, &["ping"]), pong());
    drop(crowd);
}

#[test]
fn nonsense_is_answered_and_refused() {
    let double = Double::start();
    for (message, expected) in [
        (b"".as_slice(), "ERROR: pickle data was truncated"),
        (
            b"GET / HTTP/1.0\r\n\r\n",
            "ERROR: refused pickle instruction 0x50 at byte 9: only plain data is accepted",
        ),
        (
            b"cos\nsystem\n(S'id'\ntR.",
            "ERROR: refused to call os.system: only plain data is accepted",
        ),
    ] {
        let mut client = UnixStream::connect(&double.path).unwrap();
        send(&mut client, message).unwrap();
        let frame = Frames::default().next(&mut client).unwrap().unwrap();
        assert_eq!(pickle::decode(&frame), Ok(Value::str(expected)));
        assert_eq!(ask(&mut client, &["ping"]), pong());
    }
    let mut client = UnixStream::connect(&double.path).unwrap();
    send(&mut client, &pickle::encode(&Value::str("ping"))).unwrap();
    let frame = Frames::default().next(&mut client).unwrap().unwrap();
    let invalid = CommandError::new(ErrorClass::Exception, "Invalid command");
    assert_eq!(pickle::decode_reply(&frame), Ok(Reply::Failed(invalid)));
}

#[test]
fn too_large_a_message_is_refused() {
    let double = Double::start();
    let client = UnixStream::connect(&double.path).unwrap();
    let mut writer = client.try_clone().unwrap();
    let sending = thread::spawn(move || {
        let piece = vec![b'x'; 1 << 20];
        while writer.write_all(&piece).is_ok() {}
    });
    let mut client = client;
    let frame = Frames::default().next(&mut client).unwrap().unwrap();
    let text = pickle::decode(&frame).unwrap().to_text();
    assert!(text.starts_with("ERROR: message too large"), "{text}");
    sending.join().unwrap();
}

#[test]
fn stale_sockets_are_replaced_and_live_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    let start = |path: &Path, force| {
        let (sender, _events) = unbounded();
        ControlServer::start(Listen::Path { path, force }, sender, Arc::new(|_| {}))
    };
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let first = start(&path, false).unwrap();
    assert!(matches!(start(&path, false), Err(SocketError::InUse)));
    assert_eq!(SocketError::InUse.to_string(), "Server already running");
    let second = start(&path, true).unwrap();
    // The socket is the second one's now.
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
    // A path that is somebody else's file by mistake.
    let log = dir.path().join("mail.log");
    std::fs::write(&log, "a line\n").unwrap();
    for force in [false, true] {
        let error = start(&log, force).unwrap_err().to_string();
        assert!(error.contains("mail.log: what is there is no socket; remove it"), "{error}");
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "a line\n");
    }
    let error = start(Path::new("/nonexistent/folder/s.sock"), false).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/folder/s.sock"), "{error}");
}

#[test]
fn closing_answers_who_waits() {
    let double = Double::start();
    let mut waiting = UnixStream::connect(&double.path).unwrap();
    // Until the request has been read it could be lost in the connection.
    hold(&mut waiting, &double.path);
    double.server.close(Duration::from_secs(20));
    let frame = Frames::default().next(&mut waiting).unwrap().unwrap();
    assert_eq!(pickle::decode(&frame), Ok(Value::strs(["SHUTDOWN"])));
    assert!(!double.path.exists());
    assert!(UnixStream::connect(&double.path).is_err());
}

#[test]
fn who_is_answered_after_the_withdrawal_finds_no_socket() {
    let double = Double::start();
    let mut client = UnixStream::connect(&double.path).unwrap();
    assert_eq!(ask(&mut client, &["stop"]), Reply::Done(Value::None));
    assert!(!double.path.exists());
    assert!(UnixStream::connect(&double.path).is_err());
}
