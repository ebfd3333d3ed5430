//! How many lines per CPU second the matching path handles, on a mail log it makes itself.
//!
//! `match_bench gen LINES PERCENT` writes a deterministic log with that share of attack lines;
//! `match_bench run LOG CONFIG FILTER…` sends a log through the server's path (scan, date, match)
//! for all the filters at once and prints what was found. Measure it from outside (`user + sys`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::io::{self, BufWriter, Read, Write};

use sekisho::regex_tool::load_filter;
use sekisho_core::expr::Number;
use sekisho_core::filter::{FilterOutput, LineContext, Reader, Report, Scanner, process_batch};
use sekisho_core::time::Timestamp;

/// What one slice of a source holds at most.
const SLICE: usize = 256 * 1024;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["gen", lines, percent] => {
            generate(lines.parse().expect("LINES"), percent.parse().expect("PERCENT")).unwrap();
        }
        ["run", log, config, filters @ ..] if !filters.is_empty() => run(log, config, filters),
        _ => eprintln!("usage: match_bench gen LINES PERCENT | run LOG CONFIG FILTER..."),
    }
}

fn run(log: &str, config: &str, names: &[&str]) {
    // A fixed "now": the log's dates must not be judged by the day of the measurement.
    let now = Timestamp::from_secs(1_795_500_000);
    let mut filters: Vec<_> =
        names.iter().map(|name| load_filter(config, name, now).expect("a filter")).collect();
    let scanner = Scanner::new(&filters.iter().collect::<Vec<_>>());
    for (i, name) in names.iter().enumerate() {
        let how = if scanner.gets_every_line(i) { "every line" } else { "candidates only" };
        println!("{name}: {how}");
    }
    let ctx = |jail| LineContext {
        jail,
        now,
        live: false,
        findtime: Some(Number::Int(10 * 366 * 86_400)),
        entry_time: None,
        skipped: &[],
        check_all: false,
        report: Report::Nothing,
    };
    let mut readers: Vec<_> = filters
        .iter_mut()
        .zip(names)
        .map(|(filter, jail)| Reader { filter, ctx: ctx(jail) })
        .collect();
    let mut found = vec![0u64; names.len()];
    let (mut lines, mut judged) = (0, 0);
    let mut file = std::fs::File::open(log).expect("the log");
    let mut buffer = vec![0; SLICE];
    let mut held = 0;
    loop {
        let n = file.read(&mut buffer[held..]).expect("readable");
        let full = held + n;
        let end = buffer[..full].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        if n == 0 || end == 0 {
            break;
        }
        let stats =
            process_batch(
                &mut readers,
                &scanner,
                &buffer[..end],
                &[],
                &mut |i, output| match output {
                    FilterOutput::Finding(_) => found[i] += 1,
                    FilterOutput::Log(record) => eprintln!("{}", record.text),
                    _ => {}
                },
            );
        lines += stats.lines;
        judged += stats.judged;
        buffer.copy_within(end..full, 0);
        held = full - end;
    }
    println!("{lines} lines, {judged} looked at");
    for (name, count) in names.iter().zip(&found) {
        println!("{name}: {count} failures");
    }
}

/// A small generator of its own, so that the log never changes.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % n
    }
    fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from(b"0123456789ABCDEF"[self.below(16) as usize])).collect()
    }
}

const USERS: [&str; 8] = ["info", "admin", "test", "sales", "mail", "support", "yuki", "hanako"];

fn generate(lines: u64, percent: u64) -> io::Result<()> {
    let mut random = Random(42);
    let mut out = BufWriter::new(io::stdout().lock());
    for number in 0..lines {
        let (h, m, s) = (number / 60_000 % 24, number / 1000 % 60, number / 17 % 60);
        let micros = random.below(1_000_000);
        write!(out, "2026-11-23T{h:02}:{m:02}:{s:02}.{micros:06}+00:00 mail ")?;
        let pid = 1000 + random.below(30_000);
        let user = USERS[random.below(8) as usize];
        let ip = format!("203.0.113.{}", random.below(254) + 1);
        let id = random.hex(10);
        if random.below(100) < percent {
            attack(&mut out, random.below(8), pid, user, &ip)?;
        } else {
            innocent(&mut out, &mut random, pid, user, &ip, &id)?;
        }
    }
    out.flush()
}

fn attack(out: &mut dyn Write, kind: u64, pid: u64, user: &str, ip: &str) -> io::Result<()> {
    match kind {
        0 | 1 => writeln!(
            out,
            "postfix/smtpd[{pid}]: warning: unknown[{ip}]: SASL LOGIN authentication failed: \
             (reason unavailable), sasl_username={user}@lab.example"
        ),
        2 | 3 => writeln!(
            out,
            "dovecot: imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 2 \
             secs): user=<{user}>, method=PLAIN, rip={ip}, lip=198.51.100.10, TLS, \
             session=<abcdEFGH1234>"
        ),
        4 => writeln!(
            out,
            "dovecot: auth-worker({pid}): pam({user},{ip},<abcdEFGH1234>): unknown user"
        ),
        5 => writeln!(
            out,
            "postfix/smtpd[{pid}]: NOQUEUE: reject: RCPT from unknown[{ip}]: 554 5.7.1 \
             <{user}@elsewhere.example>: Relay access denied; from=<a@b.example> \
             to=<{user}@elsewhere.example> proto=ESMTP helo=<x>"
        ),
        6 => writeln!(out, "postfix/smtpd[{pid}]: lost connection after AUTH from unknown[{ip}]"),
        _ => writeln!(
            out,
            "postfix/smtpd[{pid}]: NOQUEUE: reject: RCPT from unknown[{ip}]: 450 4.7.1 Client \
             host rejected: cannot find your hostname, [{ip}]; from=<a@b.example> \
             to=<{user}@lab.example> proto=ESMTP helo=<x>"
        ),
    }
}

fn innocent(
    out: &mut dyn Write,
    random: &mut Random,
    pid: u64,
    user: &str,
    ip: &str,
    id: &str,
) -> io::Result<()> {
    let size = random.below(90_000);
    match random.below(10) {
        0 => writeln!(out, "postfix/smtpd[{pid}]: connect from mx{size}.example.net[{ip}]"),
        1 => writeln!(out, "postfix/smtpd[{pid}]: {id}: client=mx{size}.example.net[{ip}]"),
        2 => writeln!(
            out,
            "postfix/cleanup[{pid}]: {id}: message-id=<{id}.{size}.{pid}@mx.example.net>"
        ),
        3 => writeln!(
            out,
            "postfix/qmgr[{pid}]: {id}: from=<news-{size}@example.net>, size={size}, nrcpt=1 \
             (queue active)"
        ),
        4 => writeln!(
            out,
            "postfix/lmtp[{pid}]: {id}: to=<{user}@lab.example>, relay=mail[private/dovecot-lmtp], \
             delay=0.31, delays=0.2/0.01/0.01/0.09, dsn=2.0.0, status=sent (250 2.0.0 \
             <{user}@lab.example> {id} Saved)"
        ),
        5 => writeln!(out, "postfix/qmgr[{pid}]: {id}: removed"),
        6 => writeln!(
            out,
            "postfix/smtpd[{pid}]: disconnect from mx{size}.example.net[{ip}] ehlo=2 starttls=1 \
             mail=1 rcpt=1 data=1 quit=1 commands=7"
        ),
        7 => writeln!(
            out,
            "dovecot: imap-login: Login: user=<{user}>, method=PLAIN, rip={ip}, \
             lip=198.51.100.10, mpid={pid}, TLS, session=<{id}>"
        ),
        8 => writeln!(
            out,
            "dovecot: imap({user})<{pid}><{id}>: Disconnected: Logged out in={size} out={size} \
             deleted=0 expunged=0 trashed=0 hdr_count=3 hdr_bytes=900 body_count=1 body_bytes=4000"
        ),
        _ => writeln!(
            out,
            "dovecot: lmtp({user})<{pid}><{id}>: sieve: msgid=<{id}@example.net>: stored mail \
             into mailbox 'INBOX'"
        ),
    }
}
