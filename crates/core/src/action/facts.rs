//! What the dynamic tags stand for.
//!
//! What needs the world (reverse DNS, history, host names) is asked through [`LookUp`], by the
//! worker that runs the command and only when the tag occurs in it.

use std::net::IpAddr;

use super::prepared::RunFamily;
use crate::effect::Counters;
use crate::failure::MatchedLine;
use crate::id::Id;
use crate::ticket::Ticket;
use crate::time::Timestamp;
use crate::value::{Value, repr_float};

/// Everything dynamic tags are rendered from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The jail's name.
    pub jail: &'a str,
    /// Its counters.
    pub counters: Counters,
    /// For whom; `None` at start, stop, check and the like.
    pub ticket: Option<&'a Ticket>,
    /// `<family>` where there is no ticket.
    pub family: RunFamily,
    /// `<time>` where there is no ticket.
    pub now: Timestamp,
}

/// What the database knows of earlier bans of an id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PastBans {
    /// Their lines, oldest first.
    pub lines: Vec<String>,
    /// The sum of their failures.
    pub failures: u64,
}

/// Answers that need the world; may take their time, may fail.
pub trait LookUp {
    /// The name of an address by reverse DNS.
    fn host_name(&mut self, ip: IpAddr) -> Option<String>;
    /// This machine's name, with its domain or without.
    fn own_host_name(&mut self, with_domain: bool) -> String;
    /// Earlier bans of an id in one jail, or in all.
    fn past_bans(&mut self, id: &Id, jail: Option<&str>) -> Option<PastBans>;
}

/// Knows nothing: for previews and tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLookUp;

impl LookUp for NoLookUp {
    fn host_name(&mut self, _: IpAddr) -> Option<String> {
        None
    }
    fn own_host_name(&mut self, _: bool) -> String {
        "localhost".to_owned()
    }
    fn past_bans(&mut self, _: &Id, _: Option<&str>) -> Option<PastBans> {
        None
    }
}

impl Facts<'_> {
    /// The value of a dynamic tag; `None` if there is no such tag.
    pub(super) fn value(&self, tag: &str, look_up: &mut dyn LookUp) -> Option<String> {
        let ticket = self.ticket;
        let address = ticket.map(|t| t.address.as_ref().unwrap_or(&t.id));
        let past = |look_up: &mut dyn LookUp, jail| look_up.past_bans(&ticket?.id, jail);
        Some(match tag {
            "ip" => address.map(Id::to_string).unwrap_or_default(),
            "fid" => ticket.map(|t| t.id.to_string()).unwrap_or_default(),
            "family" => match address {
                Some(id) => RunFamily::of(id.family()).as_str().to_owned(),
                None => self.family.as_str().to_owned(),
            },
            "ip-rev" => address.map(reverse).unwrap_or_default(),
            "ip-host" => address
                .and_then(Id::ip)
                .and_then(|ip| look_up.host_name(ip))
                .unwrap_or_else(|| "None".to_owned()),
            "failures" => ticket.map_or(0, |t| t.failures).to_string(),
            "time" => self.time(),
            "bantime" => ticket.map_or(0, |t| t.ban_time.as_secs()).to_string(),
            "bancount" => ticket.map_or(0, |t| t.ban_count).to_string(),
            "matches" => self.matches(),
            "ipmatches" | "ipjailmatches" => {
                let jail = (tag == "ipjailmatches").then_some(self.jail);
                past(look_up, jail).map_or_else(|| self.matches(), |past| past.lines.join("\n"))
            }
            "ipfailures" | "ipjailfailures" => {
                let jail = (tag == "ipjailfailures").then_some(self.jail);
                let own = u64::from(ticket.map_or(0, |t| t.failures));
                past(look_up, jail).map_or(own, |past| past.failures).to_string()
            }
            "restored" => u8::from(ticket.is_some_and(|t| t.restored)).to_string(),
            "F-*" => data(ticket).repr(),
            "jail.name" => self.jail.to_owned(),
            "jail.banned" => self.counters.banned.to_string(),
            "jail.banned_total" => self.counters.banned_total.to_string(),
            "jail.found" => self.counters.found.to_string(),
            "jail.found_total" => self.counters.found_total.to_string(),
            "raw-ticket" => match ticket {
                Some(ticket) => raw_ticket(ticket),
                None => format!(
                    "BanTicket: ip= time={} bantime=None bancount=0 #attempts=0 matches=[]",
                    self.time()
                ),
            },
            _ => return None,
        })
    }

    /// The value of a captured group.
    pub(super) fn group(&self, option: &str) -> Option<String> {
        let ticket = self.ticket?;
        match (ticket.fields.get(option), option) {
            (Some(value), _) => Some(value.to_text()),
            (None, "failures") => Some(ticket.failures.to_string()),
            (None, "matches") => Some(matches(ticket).repr()),
            (None, _) => None,
        }
    }

    fn time(&self) -> String {
        match self.ticket {
            Some(ticket) => ticket.time_value().repr(),
            None => repr_float(self.now.as_secs_f64()),
        }
    }

    fn matches(&self) -> String {
        let Some(ticket) = self.ticket else { return String::new() };
        ticket.matches.iter().map(MatchedLine::text).collect::<Vec<_>>().join("\n")
    }
}

/// fail2ban's one-line description of a ticket, as `<raw-ticket>` and its log show it.
pub fn raw_ticket(ticket: &Ticket) -> String {
    format!(
        "BanTicket: ip={} time={} bantime={} bancount={} #attempts={} matches={}",
        ticket.id,
        ticket.time_value().repr(),
        ticket.ban_time.as_secs(),
        ticket.ban_count,
        ticket.failures,
        matches(ticket).repr()
    )
}

fn matches(ticket: &Ticket) -> Value {
    let line = |line: &MatchedLine| match line {
        MatchedLine::Whole(line) => Value::str(line),
        MatchedLine::Cut(parts) => Value::strs(parts.iter()),
    };
    Value::List(ticket.matches.iter().map(line).collect())
}

fn data(ticket: Option<&Ticket>) -> Value {
    let mut items = vec![
        (Value::str("matches"), ticket.map_or(Value::List(Vec::new()), matches)),
        (Value::str("failures"), Value::Int(ticket.map_or(0, |t| i64::from(t.failures)))),
    ];
    for (name, value) in ticket.into_iter().flat_map(|t| t.fields.iter()) {
        items.push((Value::str(name), value.clone()));
    }
    Value::Dict(items)
}

/// The address backwards, as DNS lists want it, with a dot at the end; empty for other ids.
fn reverse(id: &Id) -> String {
    let addr = match id {
        Id::Ip(ip) => *ip,
        // fail2ban reverses the text of an IPv4 network as it is; kept.
        Id::Net(net) if net.addr().is_ipv4() => {
            let text = net.to_string();
            let parts: Vec<&str> = text.rsplit('.').collect();
            return parts.join(".") + ".";
        }
        Id::Net(net) => net.addr(),
        Id::Raw(_) | Id::Tuple(_) => return String::new(),
    };
    match addr {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.")
        }
        IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().rev().flat_map(|b| [b & 15, b >> 4]);
            nibbles.map(|n| format!("{n:x}.")).collect()
        }
    }
}
