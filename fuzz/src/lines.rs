//! The way of the lines: the whole engine with our own filters, and some that do what ours do not.
//!
//! Input: events, each a letter with what it is about. Lines are given to the engine, and to two sets
//! of the same filters: one sees the lines that the scan for literals finds worth judging, the other
//! one sees every line. Both must find the same. Our own patterns never need so many steps that they
//! are given up, or an attacker could choose a line that hides the next ones.

use std::cell::OnceCell;
use std::net::IpAddr;

use sekisho::embedded;
use sekisho_config::files::MapFiles;
use sekisho_config::load::{LoadOptions, load};
use sekisho_core::command::{Change, Command, CommandError, ErrorClass, Words};
use sekisho_core::effect::{
    ActionFailure, Answer, Batch, Event, FileStamp, History, Position, SourceState,
};
use sekisho_core::expr::Number;
use sekisho_core::filter::{
    Filter, FilterOutput, FilterSpec, LineContext, Reader, Report, Scanner, UseDns, process_batch,
};
use sekisho_core::time::{Span, Timestamp, Zone};
use sekisho_core::value::Value;

use crate::world::{World, words};

/// Events of one input.
const MAX_EVENTS: usize = 40;
/// Bytes of one batch of lines; sources send 256 KiB at most.
const MAX_BATCH: usize = 64 * 1024;

/// Our own files, laid over the tree in the binary.
const FILES: &[(&str, &str)] = &[
    ("jail.local", include_str!("../tree/jail.local")),
    ("filter.d/connection.conf", include_str!("../tree/filter.d/connection.conf")),
    ("filter.d/names.conf", include_str!("../tree/filter.d/names.conf")),
    ("filter.d/users.conf", include_str!("../tree/filter.d/users.conf")),
    ("filter.d/window.conf", include_str!("../tree/filter.d/window.conf")),
];

/// What a client says, by number.
const COMMANDS: &[&str] = &[
    "status --all",
    "status sshd cymru",
    "set sshd banip 198.51.100.7",
    "set sshd unbanip 198.51.100.101",
    "set names banip host.example",
    "set names unbanip host.example",
    "unban --all",
    "unban 198.51.100.101 2001:db8::/32",
    "set sshd idle on",
    "set sshd idle off",
    "set sshd maxretry 1",
    "set connection bantime -1",
    "set window maxlines 50",
    "set users attempt somebody line line",
    "set names addignoreip host.example",
    "set sshd dellogpath /log/shared",
    "set sshd addlogpath /log/third tail",
    "set sshd delaction nftables",
    "stop names",
    "get sshd banip --with-time",
];

/// Takes any bytes.
pub fn run(data: &[u8]) {
    thread_local! {
        static START: OnceCell<Room> = const { OnceCell::new() };
    }
    let mut room = START.with(|start| start.get_or_init(Room::new).clone());
    for event in data.split(|b| *b == crate::SEPARATOR).take(MAX_EVENTS) {
        let [kind, how, payload @ ..] = event else { continue };
        room.event(*kind, *how, payload);
        if room.world.exited() {
            break;
        }
    }
    room.world.stop();
}

/// All that an input changes.
#[derive(Clone)]
struct Room {
    world: World,
    scanned: Vec<Named>,
    plain: Vec<Named>,
    scanner: Scanner,
    read: f64,
}

type Named = (String, Filter);

impl Room {
    fn new() -> Room {
        let all = embedded::FILES.iter().chain(FILES).copied();
        let mut files = MapFiles::new("/etc/fail2ban", all);
        files.insert("/log/shared", b"");
        files.insert("/log/other", b"");
        let options = LoadOptions { force_enable: true, ..LoadOptions::default() };
        let loaded = load(&files, "/etc/fail2ban", &options).expect("our own configuration");
        assert_eq!((loaded.jails.len(), loaded.broken), (9, Vec::new()));
        let mut world = World::new();
        let mut filters: Vec<(String, FilterSpec)> = Vec::new();
        for words in &loaded.stream {
            specify(&mut filters, words);
        }
        // As one stream, so that jails share the logs that they have in common.
        let stream = loaded.stream.into_iter().map(|words| Value::List(words.words)).collect();
        let words = vec![Value::str("server-stream"), Value::List(stream)];
        world.ask(Words { words, origin: None }).expect("a server takes our own configuration");
        assert_eq!(world.sources().len(), 2, "{:?}", world.sources());
        let compile = |(jail, spec): (String, FilterSpec)| {
            let filter = Filter::compile(&spec, &Zone::utc(), Timestamp::from_secs(crate::NOW));
            (jail, filter.expect("our own filters"))
        };
        let filters: Vec<Named> = filters.into_iter().map(compile).collect();
        let scanner = Scanner::new(&filters.iter().map(|(_, filter)| filter).collect::<Vec<_>>());
        let mut room = Room { world, scanned: filters.clone(), plain: filters, scanner, read: 0.0 };
        // The expressions for texts beyond ASCII and those of the dates are made at first use: here,
        // and not once for every input.
        room.lines(b"2026-11-23 02:24:59 \xc3\xa9 host sshd[1]: \xc3\xa9\nx\n", 0, true, false);
        room.lines(b"2026-11-23 02:24:59 \xc3\xa9 host sshd[1]: \xc3\xa9\nx\n", 1, true, false);
        room
    }

    fn event(&mut self, kind: u8, how: u8, payload: &[u8]) {
        let bit = |n: u8| how >> n & 1 != 0;
        match kind {
            b'L' => self.lines(payload, usize::from(how >> 1 & 3), bit(0), bit(3)),
            // The same over and over: long lines, and many of them.
            b'R' => {
                let times = 1_usize << (how & 15);
                let room = MAX_BATCH / payload.len().max(1);
                let many = payload.repeat(times.min(room));
                self.lines(&many, usize::from(how >> 5 & 1), bit(4), false);
            }
            b'T' => {
                let span = Span::from_secs(1_i64 << (how & 31));
                let step = payload.first().map_or(span, |b| Span((i64::from(*b) - 128) * span.0));
                self.world.pass(span, step);
            }
            b'J' => {
                let failure = ActionFailure { reason: "no such chain".into(), repaired: bit(2) };
                let result = if bit(0) { Err(failure) } else { Ok(()) };
                self.world.finish(bit(1), bit(3), result);
            }
            b'A' => self.world.answer(bit(0), answer(how, payload)),
            b'S' => {
                let text = || String::from_utf8_lossy(payload).into_owned();
                let state = match how & 7 {
                    0 => SourceState::CaughtUp,
                    1 => SourceState::Rotated,
                    2 => SourceState::Missing(text()),
                    3 => SourceState::Trouble(text()),
                    _ => SourceState::Open(self.position()),
                };
                if let Some(source) = self.world.sources().get(usize::from(how >> 3)) {
                    self.world.handle(Event::Source(*source, state), 1);
                }
            }
            b'C' => {
                if let Some(command) = COMMANDS.get(usize::from(how) % COMMANDS.len()) {
                    self.world.send(words(command));
                }
            }
            _ => {}
        }
    }

    fn position(&self) -> Position {
        Position { first_line: "da39a3ee".into(), offset: self.read, cursor: None }
    }

    fn lines(&mut self, text: &[u8], source: usize, live: bool, journal: bool) {
        let mut data = text.get(..MAX_BATCH).unwrap_or(text).to_vec();
        if data.last() != Some(&b'\n') {
            data.push(b'\n');
        }
        self.read += data.len() as f64;
        let count = data.iter().filter(|b| **b == b'\n').count();
        let now = self.world.now().wall;
        let times: Vec<Timestamp> = if journal {
            (0..count).map(|n| now.minus(Span::from_secs(n as i64 * 7 - 10))).collect()
        } else {
            Vec::new()
        };
        let ctx = context(now, live);
        let scanned = found(&mut self.scanned, ctx, &self.scanner, &data, &times);
        // Made for no filter, so that every filter gets every line.
        let plain = found(&mut self.plain, ctx, &Scanner::new(&[]), &data, &times);
        assert_eq!(scanned, plain, "the scan changes what is found");
        if let Some(source) = self.world.sources().get(source).copied() {
            let position = self.position();
            self.world.handle(Event::Lines(Batch { source, data, live, position, times }), count);
        }
    }
}

/// What lines are judged by.
fn context(now: Timestamp, live: bool) -> LineContext<'static> {
    LineContext {
        jail: "",
        now,
        live,
        findtime: Some(Number::Int(600)),
        entry_time: None,
        skipped: &[],
        check_all: false,
        report: Report::Nothing,
    }
}

/// What filters find in lines.
fn found(
    filters: &mut [Named],
    ctx: LineContext<'_>,
    scanner: &Scanner,
    data: &[u8],
    times: &[Timestamp],
) -> Vec<Vec<String>> {
    let mut found = vec![Vec::new(); filters.len()];
    let mut readers: Vec<Reader<'_>> = filters
        .iter_mut()
        .map(|(jail, filter)| Reader { ctx: LineContext { jail, ..ctx }, filter })
        .collect();
    process_batch(&mut readers, scanner, data, times, &mut |reader, output| match output {
        FilterOutput::Finding(finding) => {
            let found = found.get_mut(reader).expect("a reader");
            found.push(format!("{:?} {:?} {:?}", finding.id, finding.time, finding.matches));
        }
        FilterOutput::Log(record) => {
            assert!(!record.text.contains("needs too many steps"), "{:.2000}", record.text);
        }
        other => panic!("{other:?} was not asked for"),
    });
    found
}

/// Collects what a command of a configuration says of filters.
fn specify(filters: &mut Vec<(String, FilterSpec)>, command: &Words) {
    match Command::parse(command) {
        Ok(Command::Add { jail, .. }) => filters.push((jail, FilterSpec::default())),
        Ok(Command::Set { jail, change, .. }) => {
            if let Some((_, spec)) = filters.iter_mut().find(|(name, _)| *name == jail) {
                set(spec, change);
            }
        }
        _ => {}
    }
}

fn set(spec: &mut FilterSpec, change: Change) {
    match change {
        Change::PrefRegex(regex) => spec.prefregex = Some(regex),
        Change::AddFailRegex(regexes) => spec.failregex.extend(regexes),
        Change::AddIgnoreRegex(regexes) => spec.ignoreregex.extend(regexes),
        Change::MaxLines(lines) => spec.maxlines = usize::try_from(lines).unwrap_or(1),
        Change::DatePattern(pattern) => spec.datepattern = Some(pattern),
        Change::UseDns(mode) => spec.usedns = UseDns::parse(&mode).unwrap_or_default(),
        Change::LogTimezone(zone) => spec.logtimezone = Some(zone),
        _ => {}
    }
}

/// An answer of any kind to whatever was asked; `None` for one that fits.
fn answer(how: u8, payload: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(payload);
    let byte = payload.first().copied().unwrap_or(0);
    Some(match how >> 1 & 15 {
        0 => Answer::Addresses(Ok(text
            .split(' ')
            .filter_map(|ip| ip.parse::<IpAddr>().ok())
            .collect())),
        1 => Answer::Addresses(Err(text.into_owned())),
        2 => Answer::Exit(Ok(i32::from(byte))),
        3 => Answer::Exit(Err(text.into_owned())),
        4 => Answer::File(Ok(Some((FileStamp(0, 0, u64::from(byte)), text.into_owned())))),
        5 => Answer::File(Err(text.into_owned())),
        6 => {
            let last = Timestamp::from_secs(crate::NOW - 1_i64.wrapping_shl(u32::from(byte)));
            let ban_time = 1_i64.wrapping_shl(u32::from(byte));
            Answer::History(Some(History { count: u32::from(byte).pow(4), last, ban_time }))
        }
        7 => Answer::LogPosition(Some(Position {
            first_line: "da39a3ee".into(),
            offset: f64::from(byte) * 7.5,
            cursor: None,
        })),
        8 => Answer::Setting(Err(CommandError::new(ErrorClass::ValueError, text))),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two filters that find nothing agree about everything.
    #[test]
    fn the_seeds_reach_every_filter() {
        let mut room = Room::new();
        let mut blind: Vec<String> = room.plain.iter().map(|(jail, _)| jail.clone()).collect();
        let now = room.world.now().wall;
        for seed in crate::seeds::own("lines") {
            let Some(lines) = seed.split(|b| *b == crate::SEPARATOR).next() else { continue };
            let lines = lines.get(2..).unwrap_or_default();
            let found = found(&mut room.plain, context(now, true), &Scanner::new(&[]), lines, &[]);
            let seeing = room.plain.iter().zip(found).filter(|(_, found)| !found.is_empty());
            let seeing: Vec<&String> = seeing.map(|((jail, _), _)| jail).collect();
            blind.retain(|jail| !seeing.contains(&jail));
        }
        assert_eq!(blind, Vec::<String>::new());
    }
}
