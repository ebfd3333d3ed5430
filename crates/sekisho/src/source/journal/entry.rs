//! What `journalctl -o export` prints, turned into log lines.
//!
//! A line looks as fail2ban's journal backend renders an entry, because filters are written against
//! that: `HOST IDENT[PID]: MESSAGE`. Fields come from whoever may write to the journal, so anything
//! may be in them and they may be of any size: a line feed never leaves this module as one, and of
//! a field no more than `FIELD_MAX` is ever kept.

use sekisho_core::time::Timestamp;

/// The fields that journalctl is asked for (it adds its own, which begin with two underscores).
pub const FIELDS: &str = "MESSAGE,_HOSTNAME,SYSLOG_IDENTIFIER,_COMM,SYSLOG_PID,_PID,\
                          _SOURCE_REALTIME_TIMESTAMP,_SOURCE_MONOTONIC_TIMESTAMP";

/// What is kept of one field, and of all messages of one entry.
const FIELD_MAX: usize = 64 * 1024;
/// The longest name of a field; the journal takes no longer one.
const NAME_MAX: usize = 64;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What is matched, without a line feed.
    pub line: Vec<u8>,
    /// When it was written.
    pub time: Timestamp,
    /// Where to go on after it.
    pub cursor: Option<String>,
}

/// What was read is not the export format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("journalctl printed something that is not a journal entry")]
pub struct NotExport;

/// Reads the export format piece by piece, as it comes out of a pipe.
#[derive(Debug, Default)]
pub struct Parser {
    at: At,
    /// The beginning of a line of which the rest is yet to come.
    line: Vec<u8>,
    fields: Fields,
    /// Entries without a time, which were left out.
    pub left_out: u64,
}

/// Where in an entry the reader is.
#[derive(Debug, Default)]
enum At {
    /// In a line: `NAME=value`, `NAME` alone if the value comes in binary, or nothing at the end.
    #[default]
    Line,
    /// In the eight bytes that say how long a binary value is.
    Length { field: Option<Field>, read: usize, length: u64 },
    /// In a binary value.
    Value { field: Option<Field>, left: u64, kept: Vec<u8> },
    /// Before the line feed behind it.
    Behind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Message,
    Hostname,
    Identifier,
    Comm,
    SyslogPid,
    Pid,
    SourceRealtime,
    SourceMonotonic,
    Realtime,
    Monotonic,
    Cursor,
}

impl Field {
    fn named(name: &[u8]) -> Option<Field> {
        Some(match name {
            b"MESSAGE" => Field::Message,
            b"_HOSTNAME" => Field::Hostname,
            b"SYSLOG_IDENTIFIER" => Field::Identifier,
            b"_COMM" => Field::Comm,
            b"SYSLOG_PID" => Field::SyslogPid,
            b"_PID" => Field::Pid,
            b"_SOURCE_REALTIME_TIMESTAMP" => Field::SourceRealtime,
            b"_SOURCE_MONOTONIC_TIMESTAMP" => Field::SourceMonotonic,
            b"__REALTIME_TIMESTAMP" => Field::Realtime,
            b"__MONOTONIC_TIMESTAMP" => Field::Monotonic,
            b"__CURSOR" => Field::Cursor,
            _ => return None,
        })
    }
}

/// The fields of the entry that is being read; of those that are there twice, the first.
#[derive(Debug, Default)]
struct Fields {
    any: bool,
    hostname: Vec<u8>,
    identifier: Vec<u8>,
    comm: Vec<u8>,
    syslog_pid: Vec<u8>,
    pid: Vec<u8>,
    cursor: Option<String>,
    source_realtime: Option<i64>,
    realtime: Option<i64>,
    source_monotonic: Option<i64>,
    monotonic: Option<i64>,
    /// All messages, joined by blanks.
    message: Option<Vec<u8>>,
}

impl Parser {
    /// Takes what was read, and appends the entries that are complete. After an error the rest of
    /// the stream has no meaning.
    pub fn feed(&mut self, mut data: &[u8], entries: &mut Vec<Entry>) -> Result<(), NotExport> {
        while let Some(first) = data.first() {
            match &mut self.at {
                At::Line => {
                    let end = memchr::memchr(b'\n', data);
                    let (part, rest) = data.split_at(end.unwrap_or(data.len()));
                    data = rest.get(1..).unwrap_or_default();
                    // What is cut off a name or an unknown field is missed by nobody.
                    if !self.line.is_empty() || end.is_none() {
                        let room = (FIELD_MAX + NAME_MAX).saturating_sub(self.line.len());
                        self.line.extend_from_slice(part.get(..room).unwrap_or(part));
                    }
                    if end.is_none() {
                        return Ok(());
                    }
                    let whole = std::mem::take(&mut self.line);
                    self.line(if whole.is_empty() { part } else { &whole }, entries)?;
                }
                At::Length { field, read, length } => {
                    *length |= u64::from(*first) << (8 * *read);
                    *read += 1;
                    data = data.get(1..).unwrap_or_default();
                    if *read == 8 {
                        let (field, left) = (*field, *length);
                        self.at = At::Value { field, left, kept: Vec::new() };
                        self.value_ends_at_zero();
                    }
                }
                At::Value { left, kept, .. } => {
                    let part = usize::try_from(*left).unwrap_or(usize::MAX).min(data.len());
                    let (part, rest) = data.split_at(part);
                    data = rest;
                    let room = FIELD_MAX.saturating_sub(kept.len()).min(part.len());
                    kept.extend_from_slice(part.get(..room).unwrap_or_default());
                    *left -= part.len() as u64;
                    self.value_ends_at_zero();
                }
                At::Behind => {
                    if *first != b'\n' {
                        return Err(NotExport);
                    }
                    data = data.get(1..).unwrap_or_default();
                    self.at = At::Line;
                }
            }
        }
        Ok(())
    }

    fn value_ends_at_zero(&mut self) {
        if let At::Value { field, left: 0, kept } = &mut self.at {
            let (field, kept) = (*field, std::mem::take(kept));
            self.at = At::Behind;
            self.fields.set(field, &kept);
        }
    }

    fn line(&mut self, line: &[u8], entries: &mut Vec<Entry>) -> Result<(), NotExport> {
        if line.is_empty() {
            if self.fields.any {
                match std::mem::take(&mut self.fields).entry() {
                    Some(entry) => entries.push(entry),
                    None => self.left_out += 1,
                }
            }
            return Ok(());
        }
        let equals = memchr::memchr(b'=', line);
        let name = line.get(..equals.unwrap_or(line.len())).unwrap_or_default();
        let allowed = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_';
        if name.is_empty() || name.len() > NAME_MAX || !name.iter().all(allowed) {
            return Err(NotExport);
        }
        let field = Field::named(name);
        match equals {
            Some(at) => self.fields.set(field, line.get(at + 1..).unwrap_or_default()),
            None => self.at = At::Length { field, read: 0, length: 0 },
        }
        Ok(())
    }
}

impl Fields {
    fn set(&mut self, field: Option<Field>, value: &[u8]) {
        self.any = true;
        let text = match field {
            Some(Field::Hostname) => &mut self.hostname,
            Some(Field::Identifier) => &mut self.identifier,
            Some(Field::Comm) => &mut self.comm,
            Some(Field::SyslogPid) => &mut self.syslog_pid,
            Some(Field::Pid) => &mut self.pid,
            Some(Field::SourceRealtime) => return first(&mut self.source_realtime, value),
            Some(Field::Realtime) => return first(&mut self.realtime, value),
            Some(Field::SourceMonotonic) => return first(&mut self.source_monotonic, value),
            Some(Field::Monotonic) => return first(&mut self.monotonic, value),
            Some(Field::Cursor) => {
                self.cursor = String::from_utf8(value.to_vec()).ok();
                return;
            }
            Some(Field::Message) => return self.add_message(value),
            None => return,
        };
        if text.is_empty() {
            text.extend_from_slice(value.get(..FIELD_MAX).unwrap_or(value));
        }
    }

    fn add_message(&mut self, value: &[u8]) {
        match &mut self.message {
            None => self.message = Some(value.get(..FIELD_MAX).unwrap_or(value).to_vec()),
            Some(message) if message.len() < FIELD_MAX => {
                message.push(b' ');
                message.extend_from_slice(value.get(..FIELD_MAX).unwrap_or(value));
            }
            Some(_) => {}
        }
    }

    fn entry(mut self) -> Option<Entry> {
        let time = self.source_realtime.or(self.realtime).map(Timestamp)?;
        Some(Entry { line: self.render(), time, cursor: self.cursor.take() })
    }

    fn render(&self) -> Vec<u8> {
        let message = self.message.as_deref().unwrap_or_default();
        let mut line = Vec::with_capacity(message.len() + 64);
        if !self.hostname.is_empty() {
            push(&mut line, &self.hostname);
            line.push(b' ');
        }
        let identifier = [&self.identifier, &self.comm].into_iter().find(|text| !text.is_empty());
        if let Some(identifier) = identifier {
            push(&mut line, identifier);
            // A process id of 0 is none.
            let is_pid = |text: &&Vec<u8>| !text.is_empty() && text.as_slice() != b"0";
            match [&self.syslog_pid, &self.pid].into_iter().find(is_pid) {
                Some(pid) => {
                    line.push(b'[');
                    push(&mut line, pid);
                    line.extend_from_slice(b"]: ");
                }
                None => {
                    line.extend_from_slice(b": ");
                    if identifier == b"kernel"
                        && let Some(at) = self.source_monotonic.or(self.monotonic)
                    {
                        let (secs, micros) = (at / 1_000_000, at % 1_000_000);
                        line.extend_from_slice(format!("[{secs:>5}.{micros:06}] ").as_bytes());
                    }
                }
            }
        }
        push(&mut line, message);
        line
    }
}

/// A number greater than zero, unless there is one already.
fn first(number: &mut Option<i64>, value: &[u8]) {
    let read = || std::str::from_utf8(value).ok()?.parse().ok().filter(|n| *n > 0);
    *number = number.or_else(read);
}

/// Appends text; line feeds become the two characters `\n`.
fn push(line: &mut Vec<u8>, text: &[u8]) {
    let mut from = 0;
    for at in memchr::memchr_iter(b'\n', text) {
        line.extend_from_slice(text.get(from..at).unwrap_or_default());
        line.extend_from_slice(b"\\n");
        from = at + 1;
    }
    line.extend_from_slice(text.get(from..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the parser makes of a stream that comes in pieces of `size`.
    fn pieces(stream: &[u8], size: usize) -> (Vec<Entry>, bool, u64) {
        let (mut parser, mut entries) = (Parser::default(), Vec::new());
        let fine = stream.chunks(size).all(|part| parser.feed(part, &mut entries).is_ok());
        (entries, fine, parser.left_out)
    }

    /// One entry in the export format; values with a line feed, or with bytes that are no text, in
    /// binary.
    fn export(fields: &[(&str, &[u8])]) -> Vec<u8> {
        let mut stream = Vec::new();
        for (name, value) in fields {
            stream.extend_from_slice(name.as_bytes());
            if value.contains(&b'\n') || std::str::from_utf8(value).is_err() {
                stream.push(b'\n');
                stream.extend_from_slice(&(value.len() as u64).to_le_bytes());
            } else {
                stream.push(b'=');
            }
            stream.extend_from_slice(value);
            stream.push(b'\n');
        }
        stream.push(b'\n');
        stream
    }

    fn check(fields: &[(&str, &[u8])], expected: &str) {
        let mut all: Vec<(&str, &[u8])> = vec![("__REALTIME_TIMESTAMP", b"1795400220123456")];
        all.extend(fields);
        let stream = export(&all).repeat(2);
        for size in [1, 7, stream.len()] {
            let (entries, fine, left_out) = pieces(&stream, size);
            assert!(fine && left_out == 0 && entries.len() == 2, "{fields:?}");
            for entry in entries {
                assert_eq!(String::from_utf8_lossy(&entry.line), expected, "{fields:?}");
                assert!(!entry.line.contains(&b'\n'));
            }
        }
    }

    /// A field's name and value.
    type Given<'a> = (&'a str, &'a [u8]);

    // The expected lines are what fail2ban 1.0.2 rendered for these fields.
    #[test]
    fn rendering() {
        let cases: &[(&[Given<'_>], &str)] = &[
            (
                &[("SYSLOG_IDENTIFIER", b"sshd"), ("_PID", b"12"), ("MESSAGE", b"hi")],
                "sshd[12]: hi",
            ),
            (
                &[
                    ("SYSLOG_IDENTIFIER", b"sshd"),
                    ("SYSLOG_PID", b"11"),
                    ("_PID", b"12"),
                    ("MESSAGE", b"hi"),
                ],
                "sshd[11]: hi",
            ),
            (&[("SYSLOG_IDENTIFIER", b"sshd"), ("MESSAGE", b"hi")], "sshd: hi"),
            (&[("_COMM", b"c"), ("SYSLOG_IDENTIFIER", b"sshd"), ("MESSAGE", b"hi")], "sshd: hi"),
            (&[("_COMM", b"c"), ("_PID", b"1"), ("MESSAGE", b"hi")], "c[1]: hi"),
            (&[("_PID", b"1"), ("MESSAGE", b"hi")], "hi"),
            (&[("MESSAGE", b"hi")], "hi"),
            (&[("SYSLOG_IDENTIFIER", b"a")], "a: "),
            (&[("SYSLOG_IDENTIFIER", b"a"), ("MESSAGE", b"x"), ("MESSAGE", b"y")], "a: x y"),
            (&[("MESSAGE", b"x"), ("MESSAGE", b"y\xff")], "x y\u{fffd}"),
            (&[("SYSLOG_IDENTIFIER", b"a"), ("MESSAGE", b"hi\n\x1b")], "a: hi\\n\u{1b}"),
            (&[("MESSAGE", b"l1\nl2\r\nl3")], "l1\\nl2\r\\nl3"),
            (&[("SYSLOG_IDENTIFIER", b"a b"), ("MESSAGE", b"  x  ")], "a b:   x  "),
            (
                &[("SYSLOG_IDENTIFIER", b""), ("_COMM", b"q"), ("_PID", b"0"), ("MESSAGE", b"m")],
                "q: m",
            ),
            (
                &[
                    ("SYSLOG_IDENTIFIER", b"a"),
                    ("SYSLOG_PID", b""),
                    ("_PID", b"3"),
                    ("MESSAGE", b"m"),
                ],
                "a[3]: m",
            ),
            (&[("MESSAGE", b"a=b=c")], "a=b=c"),
            (
                &[
                    ("SYSLOG_IDENTIFIER", b"kernel"),
                    ("_SOURCE_MONOTONIC_TIMESTAMP", b"12500000"),
                    ("MESSAGE", b"usb"),
                ],
                "kernel: [   12.500000] usb",
            ),
            (
                &[
                    ("SYSLOG_IDENTIFIER", b"kernel"),
                    ("__MONOTONIC_TIMESTAMP", b"13500000"),
                    ("MESSAGE", b"usb"),
                ],
                "kernel: [   13.500000] usb",
            ),
            (
                &[("SYSLOG_IDENTIFIER", b"kernel"), ("_PID", b"5"), ("MESSAGE", b"u")],
                "kernel[5]: u",
            ),
            // Not known to fail2ban's renderer, or fatal there.
            (
                &[
                    ("SYSLOG_IDENTIFIER", b"a"),
                    ("SYSLOG_IDENTIFIER", b"b"),
                    ("_PID", b"1"),
                    ("_PID", b"2"),
                    ("MESSAGE", b"m"),
                ],
                "a[1]: m",
            ),
            (
                &[("SYSLOG_IDENTIFIER", b"a"), ("SYSLOG_PID", b"x\xff"), ("MESSAGE", b"m")],
                "a[x\u{fffd}]: m",
            ),
            (&[("SYSLOG_IDENTIFIER", b"a\nh sshd"), ("MESSAGE", b"m")], "a\\nh sshd: m"),
        ];
        for (fields, expected) in cases {
            check(fields, expected);
            let mut with_host: Vec<(&str, &[u8])> = vec![("_HOSTNAME", b"h")];
            with_host.extend(*fields);
            check(&with_host, &format!("h {expected}"));
        }
    }

    #[test]
    fn times_and_cursor() {
        let fields: &[(&str, &[u8])] = &[
            ("__CURSOR", b"s=1;i=2"),
            ("__REALTIME_TIMESTAMP", b"20"),
            ("_SOURCE_REALTIME_TIMESTAMP", b"10"),
        ];
        let (entries, ..) = pieces(&export(fields), 5);
        let expected =
            Entry { line: Vec::new(), time: Timestamp(10), cursor: Some("s=1;i=2".into()) };
        assert_eq!(entries, [expected]);
        for (bad, entries) in [("x", 1), ("", 1), ("-1", 1), ("99999999999999999999", 1)] {
            let fields: &[(&str, &[u8])] =
                &[("__REALTIME_TIMESTAMP", b"20"), ("_SOURCE_REALTIME_TIMESTAMP", bad.as_bytes())];
            let (found, ..) = pieces(&export(fields), 5);
            assert_eq!((found.len(), found[0].time), (entries, Timestamp(20)), "{bad}");
            let alone: &[(&str, &[u8])] = &[("__REALTIME_TIMESTAMP", bad.as_bytes())];
            assert_eq!(pieces(&export(alone), 5), (vec![], true, 1), "{bad}");
        }
    }

    /// However long a field is, what is kept of it is not.
    #[test]
    fn fields_are_cut() {
        let long = [b"x".repeat(3 * FIELD_MAX), b"\n".repeat(3 * FIELD_MAX)];
        for value in &long {
            let fields: &[(&str, &[u8])] = &[
                ("__REALTIME_TIMESTAMP", b"1"),
                ("OTHER", value),
                ("MESSAGE", value),
                ("MESSAGE", value),
                ("_COMM", b"c"),
            ];
            let stream = export(fields).repeat(2);
            for size in [1000, stream.len()] {
                let (entries, fine, _) = pieces(&stream, size);
                assert!(fine && entries.len() == 2);
                assert!(entries.iter().all(|e| e.line.starts_with(b"c: ")));
                assert!(entries.iter().all(|e| e.line.len() <= 2 * FIELD_MAX + 3));
            }
        }
    }

    #[test]
    fn what_is_no_export_is_refused() {
        for stream in ["nonsense\n", "{\"MESSAGE\":1}\n", "=x\n", "A B=x\n", "A\n\0\0\0\0\0\0\0\0x"]
        {
            assert!(!pieces(stream.as_bytes(), 3).1, "{stream}");
        }
        let endless = b"A".repeat(1 << 20);
        assert!(pieces(&endless, 1000).0.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(stream: Vec<u8>, text in r"(MESSAGE(=[a-z]?|\n\x{02}\x{00}{7}..)\n|_PID=[0-9]\n|__REALTIME_TIMESTAMP=[0-9]{1,20}\n|\n){0,20}", size in 1usize..9) {
            for stream in [&stream, &text.into_bytes()] {
                let whole = pieces(stream, stream.len().max(1));
                proptest::prop_assert_eq!(&whole, &pieces(stream, size));
                proptest::prop_assert!(whole.0.iter().all(|e| !e.line.contains(&b'\n')));
            }
        }
    }
}
