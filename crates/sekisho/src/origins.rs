//! Who addresses belong to (`status JAIL cymru`): Team Cymru answers questions for TXT records.
//!
//! The only questions of ours to a name server that the C library cannot ask. What comes back is
//! hostile: it is parsed by a library, and at most a text that is shown. A name server may never
//! answer, so there is a time limit for each question, and one for all.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use sekisho_core::effect::Origin;
use sekisho_core::id::Id;
use sekisho_core::time::{Monotonic, Span};
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, RCODE, TYPE};

use crate::clock;

/// How long all questions of one command may take.
const LIMIT: Span = Span::from_secs(60);
/// Longest wait for one answer, where `resolv.conf` allows more.
const PATIENCE: Duration = Duration::from_secs(5);
/// Rounds through the name servers, where `resolv.conf` allows more.
const ROUNDS: u32 = 2;
/// Largest answer read; what is longer is cut by the name server.
const MAX_ANSWER: usize = 4096;

/// The machine's name servers.
#[derive(Debug)]
pub struct NameServers {
    servers: Vec<SocketAddr>,
    patience: Duration,
    rounds: u32,
}

impl NameServers {
    /// Those of `/etc/resolv.conf`; without any, one on this machine, as the C library does.
    pub fn of_this_machine() -> NameServers {
        let text = std::fs::read("/etc/resolv.conf").unwrap_or_default();
        let config = resolv_conf::Config::parse(text).unwrap_or_default();
        let servers = config.nameservers.iter().map(|ip| SocketAddr::new(ip.into(), 53));
        let mut servers: Vec<SocketAddr> = servers.collect();
        if servers.is_empty() {
            servers.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53));
        }
        NameServers {
            servers,
            patience: Duration::from_secs(config.timeout.into()).min(PATIENCE),
            rounds: config.attempts.clamp(1, ROUNDS),
        }
    }

    /// Whose each of `ids` is, in their order, up to the first that could not be found out, and why
    /// it could not.
    pub fn origins(&self, ids: &[Id]) -> (Vec<Origin>, Option<String>) {
        let end = clock::now().mono.plus(LIMIT);
        let mut found = Vec::new();
        for id in ids {
            let Some(question) = question(id) else {
                // Not an address.
                found.push(Origin::all("unknown"));
                continue;
            };
            match self.ask(&question, end) {
                Ok(Texts::NoSuchName) => found.push(Origin::all("nxdomain")),
                Ok(Texts::Some(texts)) => match origin(&texts) {
                    Some(origin) => found.push(origin),
                    None => {
                        let text = format!(
                            "unexpected answer {texts:?} querying Cymru for {question} TXT"
                        );
                        return (found, Some(text));
                    }
                },
                Err(why) => {
                    return (found, Some(format!("{why} querying Cymru for {question} TXT")));
                }
            }
        }
        (found, None)
    }

    fn ask(&self, question: &str, end: Monotonic) -> Result<Texts, String> {
        let mut why = String::from("no name server");
        for _ in 0..self.rounds {
            for server in &self.servers {
                match ask_one(*server, question, self.patience, end) {
                    Ok(answer) => match answer {
                        Answer::Texts(texts) => return Ok(texts),
                        Answer::Failed(code) => why = format!("{server} answers {code}"),
                    },
                    Err(error) => why = format!("{server}: {error}"),
                }
                if clock::now().mono >= end {
                    return Err("no time left".into());
                }
            }
        }
        Err(why)
    }
}

/// The name to ask for: `1.2.0.192.origin.asn.cymru.com`; `None` for what is no address.
fn question(id: &Id) -> Option<String> {
    let reversed = |parts: Vec<String>| parts.into_iter().rev().collect::<Vec<_>>().join(".");
    let ip = match id {
        Id::Ip(ip) => *ip,
        // Whoever its first address belongs to.
        Id::Net(net) => net.addr(),
        Id::Raw(_) | Id::Tuple(_) => return None,
    };
    Some(match ip {
        IpAddr::V4(ip) => {
            let parts = ip.octets().iter().map(u8::to_string).collect();
            format!("{}.origin.asn.cymru.com", reversed(parts))
        }
        IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
            let parts = nibbles.map(|nibble| format!("{nibble:x}")).collect();
            format!("{}.origin6.asn.cymru.com", reversed(parts))
        }
    })
}

/// `15169 | 8.8.8.0/24 | US | arin | 1992-12-01`, one text for each origin of the address.
fn origin(texts: &[String]) -> Option<Origin> {
    let mut sets = [const { BTreeSet::new() }; 3];
    for text in texts {
        let parts: Vec<&str> = text.split('|').map(str::trim).collect();
        let [asn, _net, country, rir, _changed] = parts.as_slice() else { return None };
        for (set, part) in sets.iter_mut().zip([asn, country, rir]) {
            set.insert(if part.is_empty() { "unknown" } else { part });
        }
    }
    let [asn, country, rir] =
        sets.map(|set| set.into_iter().collect::<Vec<_>>().join(", ")).map(|text| printable(&text));
    Some(Origin { asn, country, rir })
}

/// What comes from a name server ends on a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

enum Answer {
    Texts(Texts),
    Failed(String),
}

#[derive(Debug, PartialEq)]
enum Texts {
    NoSuchName,
    Some(Vec<String>),
}

fn ask_one(
    server: SocketAddr,
    question: &str,
    patience: Duration,
    end: Monotonic,
) -> io::Result<Answer> {
    let socket = UdpSocket::bind(match server {
        SocketAddr::V4(_) => "0.0.0.0:0",
        SocketAddr::V6(_) => "[::]:0",
    })?;
    // Connected, it takes answers from there only.
    socket.connect(server)?;
    // The seed of the hasher is random, and so is what it makes of anything.
    let id = RandomState::new().hash_one(question) as u16;
    let begin = clock::now().mono;
    socket.send(&query(id, question)?)?;
    let mut buffer = [0; MAX_ANSWER];
    loop {
        let now = clock::now().mono;
        let left = Span(i64::try_from(patience.as_micros()).unwrap_or(i64::MAX));
        let left = left.0.saturating_sub(now.since(begin).0).min(end.since(now).0);
        if left <= 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(Duration::from_micros(left.unsigned_abs())))?;
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        };
        if let Some(answer) = answer(buffer.get(..length).unwrap_or_default(), id, question) {
            return Ok(answer);
        }
    }
}

fn query(id: u16, question: &str) -> io::Result<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(question).map_err(io::Error::other)?;
    packet.questions.push(Question::new(name, QTYPE::TYPE(TYPE::TXT), CLASS::IN.into(), false));
    packet.build_bytes_vec().map_err(io::Error::other)
}

/// What an answer to this question says; `None` if it is not one.
fn answer(bytes: &[u8], id: u16, question: &str) -> Option<Answer> {
    let packet = Packet::parse(bytes).ok()?;
    let asked = packet.questions.first()?.qname.to_string();
    let ours = packet.id() == id
        && packet.has_flags(PacketFlag::RESPONSE)
        && asked.eq_ignore_ascii_case(question);
    if !ours {
        return None;
    }
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Some(Answer::Texts(Texts::NoSuchName)),
        code => return Some(Answer::Failed(format!("{code:?}"))),
    }
    let text = |record: simple_dns::ResourceRecord<'_>| match record.rdata {
        RData::TXT(txt) => String::try_from(txt).ok(),
        _ => None,
    };
    let texts: Vec<String> = packet.answers.into_iter().filter_map(text).collect();
    if texts.is_empty() {
        return Some(Answer::Failed("without a TXT record".into()));
    }
    Some(Answer::Texts(Texts::Some(texts)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        for (id, name) in [
            ("192.0.2.1", Some("1.2.0.192.origin.asn.cymru.com")),
            ("192.0.2.0/24", Some("0.2.0.192.origin.asn.cymru.com")),
            (
                "2001:db8::1",
                Some(
                    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.origin6.asn.cymru.com",
                ),
            ),
            ("alice", None),
        ] {
            assert_eq!(question(&Id::parse(id)).as_deref(), name, "{id}");
        }
    }

    #[test]
    fn texts_become_origins() {
        for (texts, expected) in [
            (&["64500 | 192.0.2.0/24 | ZZ | test | 2010-01-01"][..], Some(["64500", "ZZ", "test"])),
            (&["64500 | 192.0.2.0/24 |  | test | "], Some(["64500", "unknown", "test"])),
            (&["9 | n | B | r | d", "10 | n | A | r | d"], Some(["10, 9", "A, B", "r"])),
            (&["64500 | x"], None),
            (&["\x1b[2J | n | B | r | d"], Some(["?[2J", "B", "r"])),
        ] {
            let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
            let expected = expected.map(|[asn, country, rir]| Origin {
                asn: asn.into(),
                country: country.into(),
                rir: rir.into(),
            });
            assert_eq!(origin(&texts), expected, "{texts:?}");
        }
    }

    #[test]
    fn only_answers_to_the_question_count() {
        let name = "1.2.0.192.origin.asn.cymru.com";
        let mut packet = Packet::parse(&query(7, name).unwrap()).unwrap().into_owned_reply();
        assert!(answer(&packet, 7, name).is_some());
        assert!(answer(&packet, 8, name).is_none());
        assert!(answer(&packet, 7, "other.example").is_none());
        packet.truncate(12);
        assert!(answer(&packet, 7, name).is_none());
        assert!(answer(&query(7, name).unwrap(), 7, name).is_none(), "a question is no answer");
    }

    trait Reply {
        fn into_owned_reply(self) -> Vec<u8>;
    }
    impl Reply for Packet<'_> {
        fn into_owned_reply(self) -> Vec<u8> {
            self.into_reply().build_bytes_vec().unwrap()
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(tail in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..60) {
            let mut bytes = query(7, "a.example").unwrap();
            bytes.truncate(cut);
            bytes.extend(tail);
            let _ = answer(&bytes, 7, "a.example");
        }
    }
}
