//! Many clients at once, and rude ones among them. How fast they are is measured by `benches/clients.sh`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use sekisho::control::pickle::{self, Reply};
use sekisho::control::socket::{CLOSE, Frames, send};
use sekisho_core::value::Value;

use crate::client::Client;
use crate::script::TREE;
use crate::site::{PATIENCE, Server, Site, now, words};

pub fn connect(site: &Site) -> UnixStream {
    let stream = UnixStream::connect(site.path("socket")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub fn ask(stream: &mut UnixStream, words: &[&str]) -> Reply {
    send(stream, &pickle::encode(&Value::strs(words.iter().copied()))).unwrap();
    let frame = Frames::default().next(stream).unwrap().unwrap();
    pickle::decode_reply(&frame).unwrap()
}

#[test]
fn two_hundred_clients_are_answered_and_bans_go_on() {
    let mut site = Site::new(TREE, Client::Ours);
    site.start(&Server::Ours);
    let mut half = connect(&site);
    half.write_all(b"\x80\x04]\x8c").unwrap();
    let mut crowd: Vec<UnixStream> = (0..199).map(|_| connect(&site)).collect();
    site.append("web.log", &format!("{} fail 192.0.2.1\n", now()).repeat(3));
    std::thread::scope(|scope| {
        for stream in &mut crowd {
            scope.spawn(move || {
                for _ in 0..5 {
                    let Reply::Done(status) = ask(stream, &["status", "web"]) else { panic!() };
                    assert!(status.repr().contains("'Currently failed'"), "{status:?}");
                }
            });
        }
    });
    site.until(&words("get web banip"), "192.0.2.1").unwrap();
    // Nobody was sent away: each still has its connection, the half one too.
    for stream in &mut crowd {
        assert_eq!(ask(stream, &["ping"]), Reply::Done(Value::str("pong")));
    }
    half.write_all(b"\x04pinga.").unwrap();
    send(&mut half, b"").unwrap();
    let frame = Frames::default().next(&mut half).unwrap().unwrap();
    assert_eq!(pickle::decode_reply(&frame), Ok(Reply::Done(Value::str("pong"))));
    send(&mut half, CLOSE).unwrap();
    assert_eq!(half.read(&mut [0; 1]).unwrap(), 0, "the connection is closed");
}

#[test]
fn what_is_no_plain_data_is_refused_and_logged() {
    let site = Site::new(TREE, Client::Ours);
    site.start(&Server::Ours);
    let mut stream = connect(&site);
    for (message, why) in [
        (b"cos\nsystem\n(S'touch {dir}/owned'\ntR.".as_slice(), "refused to call os.system"),
        (b"\x80\x02c__builtin__\neval\nX\x01\0\0\0a\x85R.", "refused to call __builtin__.eval"),
        (
            b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.",
            "refused to call posix.system",
        ),
        (b"(dI1\nI2\ns.", "Invalid command"),
        (b"\x80\x04]\x8c\xff", "pickle data was truncated"),
    ] {
        send(&mut stream, message).unwrap();
        let frame = Frames::default().next(&mut stream).unwrap().unwrap();
        let answer = String::from_utf8_lossy(&frame).into_owned();
        assert!(answer.contains(why), "{answer}");
        site.until_file("server.log", why);
    }
    assert_eq!(ask(&mut stream, &["ping"]), Reply::Done(Value::str("pong")));
    assert!(!site.path("owned").exists());
}
