//! What differs between two runs of the same thing: times, process ids, folders, and the help that
//! each program writes in its own words.

use std::path::Path;

/// The text without what differs: the folder becomes `DIR`, a time `TIME`, a process id `PID`.
pub fn normal(text: &str, folder: &Path) -> String {
    let text = without_help(&text.replace(folder.to_str().unwrap(), "DIR"));
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let boundary = !out.ends_with(|c: char| c.is_ascii_digit());
        match time(rest).filter(|_| boundary) {
            Some(length) => {
                out.push_str("TIME");
                rest = &rest[length..];
            }
            None => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    let lines = out.split_inclusive('\n').map(|line| match line.strip_prefix("TIME fail2ban") {
        Some(_) => without_pid(line),
        None => line.to_owned(),
    });
    lines.collect()
}

/// Leaves out the options and commands below the line that says how to call the program, and what an
/// interactive session says first.
fn without_help(text: &str) -> String {
    const PROMPT: &str = "fail2ban> ";
    let mut out = String::new();
    for (at, part) in text.split_inclusive(PROMPT).enumerate() {
        let (body, prompt) = match part.strip_suffix(PROMPT) {
            Some(body) => (body, PROMPT),
            None => (part, ""),
        };
        let first = at == 0 && !prompt.is_empty() && body.starts_with("Fail2Ban v");
        match body.split_once("[OPTIONS] <COMMAND>\n") {
            _ if first => out.push_str("WELCOME\n"),
            Some((head, _)) => out += &format!("{head}[OPTIONS] <COMMAND>\nHELP\n"),
            None => out.push_str(body),
        }
        out.push_str(prompt);
    }
    out
}

/// The length of `2026-11-23 02:17:00`, perhaps with milliseconds, at the beginning of a text.
fn time(text: &str) -> Option<usize> {
    const SHAPE: &[u8] = b"0000-00-00 00:00:00";
    let like = |text: &[u8], shape: &[u8]| {
        text.len() >= shape.len()
            && text.iter().zip(shape).all(|(b, s)| match s {
                b'0' => b.is_ascii_digit(),
                s => b == s,
            })
    };
    let bytes = text.as_bytes();
    if !bytes.starts_with(b"20") || !like(bytes, SHAPE) {
        return None;
    }
    let fraction = like(&bytes[SHAPE.len()..], b",000");
    Some(SHAPE.len() + if fraction { 4 } else { 0 })
}

/// `fail2ban.jail   [123]: INFO` -> `fail2ban.jail   [PID]: INFO`
fn without_pid(line: &str) -> String {
    let Some((head, tail)) = line.split_once('[') else { return line.to_owned() };
    match tail.split_once("]: ") {
        Some((pid, tail)) if pid.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{head}[PID]: {tail}")
        }
        _ => line.to_owned(),
    }
}

#[test]
fn what_differs_is_removed() {
    let folder = Path::new("/tmp/x");
    for (text, expected) in [
        ("a /tmp/x/s b", "a DIR/s b"),
        (
            "1.2.3.4 \t2026-11-23 02:17:00 + 600 = 2026-11-23 02:27:00",
            "1.2.3.4 \tTIME + 600 = TIME",
        ),
        (
            "2026-11-23 02:17:00,123 fail2ban        [14026]: ERROR   NOK: ('x',)\nb\n",
            "TIME fail2ban        [PID]: ERROR   NOK: ('x',)\nb\n",
        ),
        ("Usage: x [OPTIONS] <COMMAND>\n\nmore\n", "Usage: x [OPTIONS] <COMMAND>\nHELP\n"),
        ("Fail2Ban v1.2 is\n\nfail2ban> pong\nfail2ban> ", "WELCOME\nfail2ban> pong\nfail2ban> "),
        ("12026-11-23 02:17:00", "12026-11-23 02:17:00"),
        ("[1]: é 9999-12-31 23:59:59", "[1]: é 9999-12-31 23:59:59"),
    ] {
        assert_eq!(normal(text, folder), expected);
    }
}
