//! One datagram of syslog, as the line that a file would have of it.
//!
//! `<PRI>` goes, `DATE HOST IDENT[PID]: TEXT` stays, whether it came as RFC 3164 or as RFC 5424; what
//! is missing is filled in (the date of arrival, the sender). Control characters become `#012`, as
//! with rsyslog, so a datagram is one line whatever it holds. Datagrams are hostile: nothing here can
//! fail, and what is no syslog at all is the text of a line.

use std::net::IpAddr;

use sekisho_core::time::{Timestamp, Zone};

/// Who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Another machine, or this one over the network.
    Address(IpAddr),
    /// A program on this machine: it names no host.
    Local,
}

/// The parts of a message, as far as it has them.
#[derive(Debug, Default)]
struct Parts<'a> {
    date: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
    /// Name and number of the process, without brackets and colon.
    process: Option<(&'a [u8], Option<&'a [u8]>)>,
    /// With name and number, where those are not apart.
    text: &'a [u8],
}

/// Appends the line; an empty datagram is none.
pub fn render(
    datagram: &[u8],
    peer: Peer,
    own_host: &str,
    now: Timestamp,
    zone: &Zone,
    out: &mut Vec<u8>,
) {
    let end = datagram.iter().rposition(|b| !matches!(b, 0 | b'\n' | b'\r')).map_or(0, |n| n + 1);
    let datagram = datagram.get(..end).unwrap_or(&[]);
    if datagram.is_empty() {
        return;
    }
    let rest = priority(datagram).unwrap_or(datagram);
    let parts = modern(rest).unwrap_or_else(|| classic(rest, peer));
    match parts.date {
        Some(date) => escape(date, out),
        None => out.extend_from_slice(zone.format(now).as_bytes()),
    }
    out.push(b' ');
    match (parts.host, peer) {
        (Some(host), _) => escape(host, out),
        (None, Peer::Address(ip)) => {
            out.extend_from_slice(ip.to_canonical().to_string().as_bytes())
        }
        (None, Peer::Local) => out.extend_from_slice(own_host.as_bytes()),
    }
    out.push(b' ');
    if let Some((name, number)) = parts.process {
        escape(name, out);
        if let Some(number) = number {
            out.push(b'[');
            escape(number, out);
            out.push(b']');
        }
        out.extend_from_slice(b": ");
    }
    escape(parts.text, out);
    out.push(b'\n');
}

/// Control characters as `#` and three octal digits.
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        if *byte < b' ' || *byte == 0x7f {
            out.extend_from_slice(format!("#{byte:03o}").as_bytes());
        } else {
            out.push(*byte);
        }
    }
}

/// What is behind `<PRI>`.
fn priority(text: &[u8]) -> Option<&[u8]> {
    let rest = text.strip_prefix(b"<")?;
    let end = rest.iter().take(4).position(|b| *b == b'>')?;
    let (number, rest) = rest.split_at_checked(end)?;
    let digits = !number.is_empty() && number.iter().all(u8::is_ascii_digit);
    let value: u32 = std::str::from_utf8(number).ok()?.parse().ok()?;
    (digits && value <= 191).then(|| rest.get(1..)).flatten()
}

/// The next word and what is behind the blank that ends it.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b' ', text).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end)?;
    (!word.is_empty()).then(|| (word, rest.get(1..).unwrap_or(&[])))
}

/// RFC 5424: `1 DATE HOST NAME NUMBER ID DATA TEXT`, where `-` is nothing.
fn modern(text: &[u8]) -> Option<Parts<'_>> {
    let rest = text.strip_prefix(b"1 ")?;
    let (date, rest) = word(rest)?;
    let (host, rest) = word(rest)?;
    let (name, rest) = word(rest)?;
    let (number, rest) = word(rest)?;
    let (_, rest) = word(rest)?;
    let rest = match rest.strip_prefix(b"-") {
        Some(rest) => rest,
        None => structured_data(rest)?,
    };
    let text = match rest {
        [] => rest,
        [b' ', text @ ..] => text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text),
        _ => return None,
    };
    let some = |field| (field != b"-").then_some(field);
    if some(date).is_some() && !iso_date(date) {
        return None;
    }
    let process = some(name).map(|name| (name, some(number)));
    Some(Parts { date: some(date), host: some(host), process, text })
}

/// What is behind `[id a="b" …][…]`.
fn structured_data(text: &[u8]) -> Option<&[u8]> {
    let (mut at, mut quoted) = (1, false);
    if text.first() != Some(&b'[') {
        return None;
    }
    loop {
        match (text.get(at)?, quoted) {
            (b'\\', true) => at += 1,
            (b'"', _) => quoted = !quoted,
            (b']', false) => match text.get(at + 1) {
                Some(b'[') => at += 1,
                _ => return text.get(at + 1..),
            },
            _ => {}
        }
        at += 1;
    }
}

/// `2026-11-25T12:00:00…`
fn iso_date(word: &[u8]) -> bool {
    word.get(..19).is_some_and(|head| pattern(head, b"9999-99-99T99:99:99"))
}

/// Whether text has digits where the pattern has nines, and the same elsewhere.
fn pattern(text: &[u8], pattern: &[u8]) -> bool {
    text.len() == pattern.len()
        && text
            .iter()
            .zip(pattern)
            .all(|(c, p)| if *p == b'9' { c.is_ascii_digit() } else { c == p })
}

/// RFC 3164, as it is found in the wild: a date or none, a host or none, and text.
fn classic(text: &[u8], peer: Peer) -> Parts<'_> {
    let (date, rest) = match classic_date(text) {
        Some((date, rest)) => (Some(date), rest),
        None => (None, text),
    };
    // Without a date nothing tells a host from the first word of a sentence.
    let host = date.and_then(|_| host(rest, peer));
    let (host, text) = host.map_or((None, rest), |(host, text)| (Some(host), text));
    Parts { date, host, process: None, text }
}

/// `Nov 25 12:00:00`, `Nov  5 …`, with a year as some routers have it, or an ISO date.
fn classic_date(text: &[u8]) -> Option<(&[u8], &[u8])> {
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let cut = |length: usize| {
        let (date, rest) = text.split_at_checked(length)?;
        match rest {
            [] => Some((date, rest)),
            [b' ', rest @ ..] => Some((date, rest)),
            // Cisco's routers end it with a colon.
            [b':', b' ', rest @ ..] => Some((date, rest)),
            _ => None,
        }
    };
    if let Some((date, rest)) = word(text)
        && iso_date(date)
    {
        return Some((date, rest));
    }
    let month = text.get(..3)?;
    if !MONTHS.chunks_exact(3).any(|known| known == month) {
        return None;
    }
    let rest = text.get(3..)?;
    for form in [&b" 99 99:99:99"[..], b"  9 99:99:99", b" 99 9999 99:99:99", b"  9 9999 99:99:99"]
    {
        if rest.get(..form.len()).is_some_and(|head| pattern(head, form)) {
            return cut(3 + form.len());
        }
    }
    None
}

/// The host in front of `IDENT[PID]: …`. A local program writes none, but what it forwards may.
fn host(text: &[u8], peer: Peer) -> Option<(&[u8], &[u8])> {
    let (first, rest) = word(text)?;
    let plain =
        first.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'));
    if is_tag(first) || !plain || rest.is_empty() {
        return None;
    }
    let known = match peer {
        Peer::Address(_) => true,
        Peer::Local => word(rest).is_some_and(|(second, _)| is_tag(second)),
    };
    known.then_some((first, rest))
}

/// `sshd[7]:` or `kernel:`
fn is_tag(word: &[u8]) -> bool {
    word.ends_with(b":") || word.contains(&b'[')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_795_608_000_000_000);

    fn rendered(datagram: &[u8], peer: Peer) -> String {
        let mut out = Vec::new();
        render(datagram, peer, "here", NOW, &Zone::utc(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn datagrams() {
        let far = Peer::Address("192.0.2.9".parse().unwrap());
        let check = |datagram: &str, peer: Peer, expected: &str| {
            let expected =
                if expected.is_empty() { String::new() } else { format!("{expected}\n") };
            assert_eq!(rendered(datagram.as_bytes(), peer), expected, "{datagram:?}");
        };
        // RFC 3164
        check("<38>Nov 25 12:00:00 mx sshd[7]: text", far, "Nov 25 12:00:00 mx sshd[7]: text");
        check("<38>Nov  5 12:00:00 mx kernel: [1.2] x", far, "Nov  5 12:00:00 mx kernel: [1.2] x");
        check("<38>Nov 25 12:00:00 sshd[7]: text", far, "Nov 25 12:00:00 192.0.2.9 sshd[7]: text");
        check(
            "<38>Nov 25 12:00:00 sshd[7]: text",
            Peer::Local,
            "Nov 25 12:00:00 here sshd[7]: text",
        );
        check("<38>Nov 25 12:00:00 mx su: text", Peer::Local, "Nov 25 12:00:00 mx su: text");
        check(
            "<38>Nov 25 12:00:00 no tag at all",
            Peer::Local,
            "Nov 25 12:00:00 here no tag at all",
        );
        check(
            "<189>Nov 25 2026 12:00:00: %ASA-6-1: x",
            far,
            "Nov 25 2026 12:00:00 192.0.2.9 %ASA-6-1: x",
        );
        check(
            "<38>2026-11-25T12:00:00.123+01:00 mx app: x",
            far,
            "2026-11-25T12:00:00.123+01:00 mx app: x",
        );
        check("<38>app: no date", far, "2026-11-25 12:00:00 192.0.2.9 app: no date");
        check("no priority", Peer::Local, "2026-11-25 12:00:00 here no priority");
        check("<192>too high", Peer::Local, "2026-11-25 12:00:00 here <192>too high");
        check("<38>", far, "2026-11-25 12:00:00 192.0.2.9 ");
        check("", far, "");
        check("\n\0\n", far, "");
        // RFC 5424
        let date = "2026-11-25T11:00:00.000003Z";
        let check5424 = |rest: &str, peer: Peer, expected: &str| {
            check(&format!("<165>1 {rest}"), peer, expected);
        };
        check5424(
            &format!("{date} mx sshd 7 ID47 - text"),
            far,
            &format!("{date} mx sshd[7]: text"),
        );
        check5424(&format!("{date} mx sshd - - - text"), far, &format!("{date} mx sshd: text"));
        check5424(&format!("{date} mx - - - - text"), far, &format!("{date} mx text"));
        check5424("- - - - - -", far, "2026-11-25 12:00:00 192.0.2.9 ");
        check5424("- - app - - - \u{feff}é", Peer::Local, "2026-11-25 12:00:00 here app: é");
        check5424(
            &format!(r#"{date} mx su 1 - [a@1 k="v\"]"][b x="]"] it's"#),
            far,
            &format!("{date} mx su[1]: it's"),
        );
        // Not well formed: text.
        check5424(
            "yesterday mx su 1 - - x",
            far,
            "2026-11-25 12:00:00 192.0.2.9 1 yesterday mx su 1 - - x",
        );
        check5424(
            &format!("{date} mx su 1 - [a@1 x"),
            far,
            &format!("2026-11-25 12:00:00 192.0.2.9 1 {date} mx su 1 - [a@1 x"),
        );
        // Nothing makes a second line, or hides one.
        check(
            "<38>Nov 25 12:00:00 mx su: a\nNov 25 12:00:00 mx su: b\t\x1b[0m",
            far,
            "Nov 25 12:00:00 mx su: a#012Nov 25 12:00:00 mx su: b#011#033[0m",
        );
    }

    #[test]
    fn a_mapped_address_is_shown_as_what_it_is() {
        let mapped = Peer::Address("::ffff:192.0.2.9".parse().unwrap());
        assert_eq!(rendered(b"x: y", mapped), "2026-11-25 12:00:00 192.0.2.9 x: y\n");
    }

    proptest! {
        /// One line, always.
        #[test]
        fn any_bytes_make_one_line(
            head in "(<[0-9]{0,4}>)?(1 )?(Nov 2[0-9] 12:00:00|2026-11-25T12:00:00Z|-)?",
            parts in prop::collection::vec("[-a-z\\[\\]\"\\\\= :0-9\n\r\t\u{0}é]{0,9}", 0..8),
            junk in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut datagram = head.into_bytes();
            datagram.extend(parts.join(" ").into_bytes());
            datagram.extend(junk);
            for peer in [Peer::Local, Peer::Address("::1".parse().unwrap())] {
                let mut out = Vec::new();
                render(&datagram, peer, "here", NOW, &Zone::utc(), &mut out);
                prop_assert!(out.iter().filter(|b| **b < b' ').count() <= 1);
                prop_assert!(out.is_empty() || out.ends_with(b"\n"));
                prop_assert!(out.len() <= datagram.len() * 4 + 64);
            }
        }
    }
}
