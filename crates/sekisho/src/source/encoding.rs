//! What a log's bytes mean: Python codec names, where lines end, and the way to UTF-8.
//!
//! Logs in UTF-8, ASCII and the locale's encoding pass through untouched (the filter decides about
//! invalid bytes). Everything else becomes UTF-8 here, line by line, so that the engine knows one
//! encoding only. Offsets always count the bytes of the file, never those handed on. Must never
//! fail on any bytes: what cannot be decoded becomes U+FFFD.

mod codecs;

use memchr::{memchr, memrchr};

/// What the configuration asks for (`logencoding`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Encoding {
    /// UTF-8, ASCII, `auto`: bytes are handed on as they are.
    Bytes,
    /// ISO 8859-1 as Python has it (0x80–0x9F are control characters).
    Latin1,
    /// UTF-16; the byte order comes from the name, else from the byte order mark, else little.
    Utf16(Option<Order>),
    /// UTF-32, likewise.
    Utf32(Option<Order>),
    /// One byte a character, by a table of Python's (the number is its place among them).
    Charmap(usize),
    /// Several bytes a character; the byte 0x0A is always a line feed.
    Table(&'static encoding_rs::Encoding),
}

/// Byte order of a wide encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// U+FEFF in UTF-8: no part of the first line.
const UTF8_MARK: &[u8] = &[0xEF, 0xBB, 0xBF];

impl Order {
    const fn mark16(self) -> &'static [u8] {
        match self {
            Order::Little => &[0xFF, 0xFE],
            Order::Big => &[0xFE, 0xFF],
        }
    }
    const fn mark32(self) -> &'static [u8] {
        match self {
            Order::Little => &[0xFF, 0xFE, 0, 0],
            Order::Big => &[0, 0, 0xFE, 0xFF],
        }
    }
}

impl Encoding {
    /// The encoding a Python codec name stands for, in any of its spellings.
    pub fn from_python_name(name: &str) -> Option<Self> {
        codecs::find(name)
    }
}

/// An [`Encoding`] applied to one file, its byte order known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    kind: Encoding,
    order: Order,
    /// What ends a line, where a character is one byte: not 0x0A in EBCDIC.
    newline: u8,
}

impl Layout {
    /// Settles the byte order from the file's first bytes; also says how many of them are a byte
    /// order mark, which is not part of the first line.
    pub fn of(encoding: Encoding, head: &[u8]) -> (Self, u64) {
        let (order, mark) = match encoding {
            Encoding::Utf16(Some(order)) => {
                (order, if head.starts_with(order.mark16()) { 2 } else { 0 })
            }
            Encoding::Utf32(Some(order)) => {
                (order, if head.starts_with(order.mark32()) { 4 } else { 0 })
            }
            Encoding::Bytes if head.starts_with(UTF8_MARK) => (Order::Little, 3),
            Encoding::Utf16(None) => match head {
                [0xFF, 0xFE, ..] => (Order::Little, 2),
                [0xFE, 0xFF, ..] => (Order::Big, 2),
                _ => (Order::Little, 0),
            },
            Encoding::Utf32(None) => match head {
                [0xFF, 0xFE, 0, 0, ..] => (Order::Little, 4),
                [0, 0, 0xFE, 0xFF, ..] => (Order::Big, 4),
                _ => (Order::Little, 0),
            },
            _ => (Order::Little, 0),
        };
        let newline = match encoding {
            Encoding::Charmap(index) => codecs::charmap(index)
                .and_then(|map| map.iter().position(|c| *c == '\n'))
                .and_then(|at| u8::try_from(at).ok()),
            _ => None,
        };
        (Self { kind: encoding, order, newline: newline.unwrap_or(b'\n') }, mark)
    }

    /// Bytes of one code unit.
    pub fn unit(self) -> usize {
        match self.kind {
            Encoding::Utf16(_) => 2,
            Encoding::Utf32(_) => 4,
            _ => 1,
        }
    }

    /// Whether bytes are handed on as they are.
    pub fn is_plain(self) -> bool {
        self.kind == Encoding::Bytes
    }

    /// Whether these first bytes of a file are too few for [`Layout::of`] to know its byte order, or
    /// its mark.
    pub fn is_undecided(encoding: Encoding, head: &[u8]) -> bool {
        match encoding {
            Encoding::Utf16(None) => head.len() < 2,
            Encoding::Utf32(None) => head.len() < 4,
            Encoding::Bytes => matches!(head, [0xEF] | [0xEF, 0xBB]),
            _ => false,
        }
    }

    fn is_newline(self, unit: &[u8]) -> bool {
        match self.order {
            _ if unit.len() == 1 => unit.first() == Some(&self.newline),
            Order::Little => matches!(unit, [b'\n', 0] | [b'\n', 0, 0, 0]),
            Order::Big => matches!(unit, [0, b'\n'] | [0, 0, 0, b'\n']),
        }
    }

    /// The index behind the first line feed; `buf` starts at a code unit.
    pub fn first_line_end(self, buf: &[u8]) -> Option<usize> {
        match self.unit() {
            1 => memchr(self.newline, buf).map(|i| i + 1),
            n => buf.chunks_exact(n).position(|u| self.is_newline(u)).map(|i| (i + 1) * n),
        }
    }

    /// The index behind the last line feed; `buf` starts at a code unit.
    pub fn last_line_end(self, buf: &[u8]) -> Option<usize> {
        match self.unit() {
            1 => memrchr(self.newline, buf).map(|i| i + 1),
            n => buf.chunks_exact(n).rposition(|u| self.is_newline(u)).map(|i| (i + 1) * n),
        }
    }

    /// Turns complete lines into UTF-8 lines, one for one; says whether something was undecodable.
    /// A rest without a line feed gets one.
    pub fn decode(self, raw: &[u8], out: &mut Vec<u8>) -> bool {
        let mut bad = false;
        if self.kind == Encoding::Bytes {
            out.extend_from_slice(raw);
        } else {
            let mut rest = raw;
            while !rest.is_empty() {
                let end = self.first_line_end(rest).unwrap_or(rest.len());
                let (line, tail) = rest.split_at_checked(end).unwrap_or((rest, &[]));
                bad |= self.decode_line(line, out);
                rest = tail;
            }
        }
        if !raw.is_empty() && out.last() != Some(&b'\n') {
            out.push(b'\n');
        }
        bad
    }

    /// One line at a time, so that no broken sequence can swallow a line feed.
    fn decode_line(self, line: &[u8], out: &mut Vec<u8>) -> bool {
        let ended = line
            .len()
            .checked_sub(self.unit())
            .and_then(|at| line.split_at_checked(at))
            .filter(|(_, last)| self.is_newline(last));
        let body = ended.map_or(line, |(body, _)| body);
        let bad = match self.kind {
            Encoding::Bytes => {
                out.extend_from_slice(body);
                false
            }
            Encoding::Latin1 => {
                out.extend_from_slice(encoding_rs::mem::decode_latin1(body).as_bytes());
                false
            }
            Encoding::Charmap(index) => decode_charmap(body, index, out),
            Encoding::Utf16(_) => {
                let codec = match self.order {
                    Order::Little => encoding_rs::UTF_16LE,
                    Order::Big => encoding_rs::UTF_16BE,
                };
                let (text, bad) = codec.decode_without_bom_handling(body);
                out.extend_from_slice(text.as_bytes());
                bad
            }
            Encoding::Utf32(_) => decode_utf32(body, self.order, out),
            Encoding::Table(codec) => {
                let (text, bad) = codec.decode_without_bom_handling(body);
                out.extend_from_slice(text.as_bytes());
                bad
            }
        };
        if ended.is_some() {
            out.push(b'\n');
        }
        bad
    }
}

fn decode_charmap(body: &[u8], index: usize, out: &mut Vec<u8>) -> bool {
    let Some(map) = codecs::charmap(index) else { return true };
    let mut bad = false;
    let mut utf8 = [0; 4];
    for byte in body {
        let c = map.get(usize::from(*byte)).copied().unwrap_or(char::REPLACEMENT_CHARACTER);
        bad |= c == char::REPLACEMENT_CHARACTER;
        out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
    }
    bad
}

fn decode_utf32(body: &[u8], order: Order, out: &mut Vec<u8>) -> bool {
    let mut bad = false;
    let mut utf8 = [0; 4];
    for unit in body.chunks(4) {
        let code = <[u8; 4]>::try_from(unit).ok().map(|u| match order {
            Order::Little => u32::from_le_bytes(u),
            Order::Big => u32::from_be_bytes(u),
        });
        let c = code.and_then(char::from_u32);
        bad |= c.is_none();
        let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
        out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
    }
    bad
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, raw: &[u8], expected: &str) {
        let encoding = Encoding::from_python_name(name).unwrap_or_else(|| panic!("{name}"));
        let (layout, mark) = Layout::of(encoding, raw);
        let mut out = Vec::new();
        layout.decode(&raw[mark as usize..], &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected, "{name} {raw:?}");
    }

    fn wide(text: &str, little: bool, mark: bool) -> Vec<u8> {
        let text = if mark { format!("\u{feff}{text}") } else { text.to_owned() };
        text.encode_utf16()
            .flat_map(|u| if little { u.to_le_bytes() } else { u.to_be_bytes() })
            .collect()
    }

    #[test]
    fn python_codec_names() {
        check("auto", b"a\nb\n", "a\nb\n");
        check("UTF_8", "é\n".as_bytes(), "é\n");
        check("ascii", b"a\r\n", "a\r\n");
        check("ascii", "é\n".as_bytes(), "é\n");
        check("latin-1", b"\xe9\x80\n", "é\u{80}\n");
        check("ISO8859_1", b"\xe9\n", "é\n");
        check("cp1252", b"\x80\n", "€\n");
        check("windows_1251", b"\xcf\n", "П\n");
        check("koi8_r", b"\xf0\n", "П\n");
        check("iso8859-15", b"\xa4\n", "€\n");
        check("latin2", b"\xb1\n", "ą\n");
        check("cp866", b"\x8f\n", "П\n");
        check("shift_jis", b"\x83\x65\n", "テ\n");
        check("cp932", b"\x83\x65\n", "テ\n");
        check("euc_jp", b"\xa5\xc6\n", "テ\n");
        check("gb18030", b"\xd6\xd0\n", "中\n");
        check("big5", b"\xa4\xa4\n", "中\n");
        check("utf-16", &wide("aé\nb\n", true, true), "aé\nb\n");
        check("utf-16", &wide("aé\nb\n", false, true), "aé\nb\n");
        check("utf-16", &wide("aé\nb\n", true, false), "aé\nb\n");
        check("utf_16_be", &wide("a\u{0a0a}\n", false, false), "a\u{0a0a}\n");
        check("utf-16le", &wide("a\u{0a0a}\u{10a}\n", true, false), "a\u{0a0a}\u{10a}\n");
        check("utf-32-le", b"a\0\0\0\n\0\0\0", "a\n");
        check("utf-32", b"\0\0\xfe\xff\0\0\0a\0\0\0\n", "a\n");
        check("cp437", b"\x81\xb0\n", "\u{fc}\u{2591}\n");
        check("cp037", b"\xc6\x81\x89\x93\x25\x0d\x25", "Fail\n\r\n");
        check("utf-8", b"\xef\xbb\xbfa\n\xef\xbb\xbf\n", "a\n\u{feff}\n");
        check("utf-16-le", &wide("a\n", true, true), "a\n");
        for unknown in ["nonsense", "rot13", "idna", "../etc", "cp9999"] {
            assert_eq!(Encoding::from_python_name(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn broken_sequences_never_swallow_a_line() {
        for name in ["shift_jis", "euc_jp", "gb18030", "big5", "iso-2022-jp", "euc_kr", "utf-16"] {
            let encoding = Encoding::from_python_name(name).unwrap();
            let (layout, _) = Layout::of(encoding, b"");
            let nl: &[u8] = if layout.unit() == 2 { b"\n\0" } else { b"\n" };
            for junk in [&b"\x81\xfe"[..], b"\x1b$", b"\x00\xd8", b"\x84\x30"] {
                let raw = [junk, nl, b"b\0", nl].concat();
                let mut out = Vec::new();
                layout.decode(&raw, &mut out);
                assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 2, "{name} {junk:?}");
                assert!(std::str::from_utf8(&out).is_ok());
            }
        }
    }

    #[test]
    fn a_rest_gets_its_line_feed() {
        check("auto", b"rest", "rest\n");
        check("utf-16-le", b"r\0", "r\n");
        check("utf-16-le", b"r\0x", "r\u{fffd}\n");
        check("latin-1", b"", "");
    }
}
