//! `--out`: one line per failure and nothing else, for scripts.

use std::io::{self, Write};
use std::net::IpAddr;

use sekisho_core::action::{Facts, LookUp, PastBans, RunFamily};
use sekisho_core::date::Stamp;
use sekisho_core::effect::Counters;
use sekisho_core::failure::MatchedLine;
use sekisho_core::filter::Finding;
use sekisho_core::id::Id;
use sekisho_core::ticket::{BanTime, Ticket};
use sekisho_core::value::Value;

use crate::resolve;

/// A finding with its id, ready to print.
#[derive(Debug)]
pub(super) struct Found {
    pub id: Id,
    pub finding: Finding,
}

/// Prints findings of one line in the form asked for.
pub(super) fn print(out: &mut dyn Write, form: &str, found: &[Found]) -> io::Result<()> {
    for Found { id, finding } in found {
        match form {
            "id" | "fid" => writeln!(out, "{id}")?,
            "ip" => match finding.fields.get("ip") {
                Some(ip) => writeln!(out, "{}", ip.to_text())?,
                None => writeln!(out, "{id}")?,
            },
            "msg" => {
                for line in &finding.matches {
                    writeln!(out, "{}", line.text())?;
                }
            }
            "row" => {
                let pairs =
                    finding.fields.iter().map(|(k, v)| (Value::str(k), v.clone())).collect();
                let id = match id {
                    Id::Tuple(_) => id.to_string(),
                    id => Value::Str(id.to_string()).repr(),
                };
                let time = python_time(finding).repr();
                writeln!(out, "[{id},\t{time},\t{}],", Value::Dict(pairs).repr())?;
            }
            "matches" => writeln!(out, "{}", matches(finding).repr())?,
            name if !name.contains('<') => {
                let value = finding.fields.get(name).map_or("None".into(), Value::to_text);
                writeln!(out, "{value}")?;
            }
            text => print_tags(out, text, id, finding)?,
        }
    }
    Ok(())
}

/// A text with tags, once per failure; once per line where `<msg>` asks for several.
fn print_tags(out: &mut dyn Write, text: &str, id: &Id, finding: &Finding) -> io::Result<()> {
    let ticket = Ticket {
        id: id.clone(),
        address: finding.address.clone(),
        time: finding.time,
        whole: finding.stamp.is_whole(),
        ban_time: BanTime::For(sekisho_core::time::Span::from_secs(600)),
        ban_count: 0,
        failures: 0,
        matches: finding.matches.clone(),
        fields: finding.fields.clone().known(),
        restored: false,
    };
    let facts = Facts {
        jail: "fail2ban-regex",
        counters: Counters::default(),
        ticket: Some(&ticket),
        family: RunFamily::of(id.family()),
        now: finding.time,
    };
    let mut pieces = text.split("<msg>").map(|piece| facts.plain(piece, &mut Names));
    let first = pieces.next().unwrap_or_default();
    let rest: Vec<String> = pieces.collect();
    if rest.is_empty() {
        return writeln!(out, "{first}");
    }
    for line in &finding.matches {
        let line = line.text();
        let mut row = first.clone();
        for piece in &rest {
            row.push_str(&line);
            row.push_str(piece);
        }
        writeln!(out, "{row}")?;
    }
    Ok(())
}

/// The time as Python would hold it: an integer where the zone of a date is known, else a float.
fn python_time(finding: &Finding) -> Value {
    match finding.stamp {
        Stamp::Missing => Value::None,
        Stamp::Zoned => Value::Int(finding.time.as_secs()),
        Stamp::Local => Value::Float(finding.time.as_secs_f64()),
    }
}

fn matches(finding: &Finding) -> Value {
    let line = |line: &MatchedLine| match line {
        MatchedLine::Whole(text) => Value::str(text),
        MatchedLine::Cut(parts) => Value::Tuple(parts.iter().map(Value::str).collect()),
    };
    Value::List(finding.matches.iter().map(line).collect())
}

/// Names by the resolver; no database.
struct Names;

impl LookUp for Names {
    fn host_name(&mut self, ip: IpAddr) -> Option<String> {
        resolve::name_of(ip)
    }
    fn own_host_name(&mut self, with_domain: bool) -> String {
        if with_domain { resolve::full_host_name() } else { resolve::host_name() }
    }
    fn past_bans(&mut self, _: &Id, _: Option<&str>) -> Option<PastBans> {
        None
    }
}
