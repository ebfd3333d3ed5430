//! A mail server on loopback that keeps what it is sent.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use serde_json::json;

/// Takes mails on loopback, and writes each down as a line of a file: who sent it, from whom, to
/// whom, and its text. It ends with the test.
pub fn mail_server(record: &Path) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let record = record.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let record = record.clone();
            // A client that goes away in the middle is no trouble of ours.
            thread::spawn(move || drop(session(&stream, &record)));
        }
    });
    port
}

fn session(stream: &TcpStream, record: &Path) -> std::io::Result<()> {
    let mut out = stream;
    let mut lines = BufReader::new(stream).split(b'\n');
    let (mut from, mut to, mut login) = (String::new(), Vec::new(), String::new());
    out.write_all(b"220 mail.test ready\r\n")?;
    while let Some(line) = lines.next() {
        let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" => "250-mail.test\r\n250-8BITMIME\r\n250 AUTH PLAIN",
            "AUTH" => {
                login = line;
                "235 welcome"
            }
            "MAIL" => {
                from = line;
                "250 ok"
            }
            "RCPT" if line.contains("nobody@") => "550 no such user",
            "RCPT" => {
                to.push(line);
                "250 ok"
            }
            "DATA" => {
                out.write_all(b"354 go on\r\n")?;
                let mut text = String::new();
                for line in lines.by_ref() {
                    let line = line?;
                    if line == b".\r" {
                        break;
                    }
                    if line.starts_with(b"Date: ") {
                        text += "Date: …\r\n";
                    } else {
                        text += &String::from_utf8_lossy(&line);
                        text.push('\n');
                    }
                }
                let mail = json!([login, from, to, text]);
                let mut file = OpenOptions::new().append(true).create(true).open(record)?;
                file.write_all(format!("{mail}\n").as_bytes())?;
                "250 taken"
            }
            "QUIT" => {
                out.write_all(b"221 bye\r\n")?;
                return Ok(());
            }
            _ => "250 ok",
        };
        out.write_all(format!("{answer}\r\n").as_bytes())?;
    }
    Ok(())
}
