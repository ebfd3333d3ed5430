//! Every encoding that Python knows, by all its names, compared with Python itself; and the lines
//! that fail2ban's own reader makes of files.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;

use sekisho::source::encoding::{Encoding, Layout};
use sekisho::source::tail::{Out, Tail};
use sekisho_core::effect::StartAt;
use sekisho_core::time::{Monotonic, Span, Timestamp};
use sekisho_oracle::{Fail2ban, PYTHON, Python, Random, cases, has_python, report};
use serde_json::{Value, json};

const CODECS: &str = r#"
import codecs, encodings, encodings.aliases, json, pkgutil, sys
def text_codecs():
    for module in sorted(m.name for m in pkgutil.iter_modules(encodings.__path__)):
        try: info = codecs.lookup(module)
        except LookupError: continue
        # Codecs that need a whole text, or none at all, read no log in fail2ban either.
        if info._is_text_encoding and module not in ("idna", "punycode", "undefined", "charmap"):
            yield module
sample = "Failed password for root from 192.0.2.1 "
for question in sys.stdin:
    names = []
    for module in text_codecs():
        aliases = [a for a, m in encodings.aliases.aliases.items() if m == module]
        bytes_ = []
        for byte in range(256):
            try: text = bytes([byte]).decode(module)
            except UnicodeDecodeError: text = None
            bytes_.append(text)
        coded = []
        for point in list(range(0xA0, 0x3000, 7)) + list(range(0x3000, 0xFFFD, 11)):
            if 0xD800 <= point < 0xE000: continue
            try: raw = (sample + chr(point) + " x").encode(module)
            except UnicodeEncodeError: continue
            if raw.decode(module) == sample + chr(point) + " x":
                coded.append([raw.hex(), chr(point)])
        names.append([module, aliases, bytes_, coded])
    print(json.dumps(names), flush=True)
"#;

fn decoded(encoding: Encoding, raw: &[u8]) -> String {
    let (layout, mark) = Layout::of(encoding, raw);
    let mut out = Vec::new();
    layout.decode(&raw[mark as usize..], &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

/// The share of characters that come out as with Python. What is below 100 comes from tables of the
/// web's, in which some characters have other codes.
fn least(codec: &str) -> usize {
    match codec {
        // Only their ASCII part is read.
        "hz" | "iso2022_kr" | "johab" | "utf_7" | "unicode_escape" | "raw_unicode_escape" => 0,
        // Read as the smaller character sets that they extend.
        "iso2022_jp_2" | "iso2022_jp_3" | "iso2022_jp_2004" | "iso2022_jp_ext" | "iso2022_jp_1" => {
            30
        }
        "euc_jis_2004" | "euc_jisx0213" | "shift_jis_2004" | "shift_jisx0213" => 50,
        "big5hkscs" | "big5" | "cp950" | "euc_jp" | "shift_jis" | "cp932" | "iso2022_jp" => 97,
        "gb2312" | "gbk" | "gb18030" | "cp949" => 97,
        // Python spells rare syllables out, letter by letter.
        "euc_kr" => 40,
        _ => 100,
    }
}

#[test]
fn encodings_like_python() {
    if !has_python() {
        return;
    }
    let mut python = Python::start(std::process::Command::new(PYTHON), CODECS, &[]);
    let codecs = python.ask(&Value::Null);
    let (mut names, mut characters) = (0, 0);
    for codec in codecs.as_array().unwrap() {
        let name = codec[0].as_str().unwrap();
        let encoding = Encoding::from_python_name(name).unwrap_or_else(|| panic!("{name}"));
        names += 1;
        for alias in codec[1].as_array().unwrap() {
            let alias = alias.as_str().unwrap();
            let spelt = alias.replace('_', "-").to_uppercase();
            assert_eq!(Encoding::from_python_name(alias), Some(encoding), "{alias} of {name}");
            assert_eq!(Encoding::from_python_name(&spelt), Some(encoding), "{spelt} of {name}");
            names += 1;
        }
        if matches!(encoding, Encoding::Charmap(_) | Encoding::Latin1) {
            for (byte, text) in codec[2].as_array().unwrap().iter().enumerate() {
                let ours = decoded(encoding, &[byte as u8]);
                let theirs = text.as_str().unwrap_or("\u{fffd}");
                let escape = name.contains("escape") && byte == usize::from(b'\\');
                assert!(
                    escape || ours.trim_end_matches('\n') == theirs.trim_end_matches('\n'),
                    "{name} {byte}: {ours:?}, python {theirs:?}"
                );
            }
        }
        let (mut same, mut all) = (0, 0);
        for pair in codec[3].as_array().unwrap() {
            let ours = decoded(encoding, &unhex(pair[0].as_str().unwrap()));
            let theirs = pair[1].as_str().unwrap();
            assert!(
                ours.starts_with("Failed password for root from 192.0.2.1 ") || name == "utf_7",
                "{name}: {ours:?}"
            );
            same += usize::from(
                ours == format!("Failed password for root from 192.0.2.1 {theirs} x\n"),
            );
            all += 1;
        }
        characters += all;
        assert!(same * 100 >= all * least(name), "{name}: {same} of {all} characters");
    }
    report("names of encodings", "Python", names, "names");
    println!("{characters} characters compared");
}

const CONTAINER: &str = r#"
import json, logging, sys
logging.disable(logging.CRITICAL)
from fail2ban.server.filter import FileContainer
for line in sys.stdin:
    question = json.loads(line)
    log = FileContainer(question["path"], question["encoding"])
    lines = []
    if log.open():
        while True:
            text = log.readline()
            if text is None: break
            lines.append(text)
    log.close()
    print(json.dumps([lines, log.getPos(), log.getHash()]), flush=True)
"#;

/// A file of random lines in an encoding: what comes before an unfinished end.
fn file(encoding: &str, random: &mut Random) -> Vec<u8> {
    let words =
        ["Failed", "für", "root", "\u{0}", "\u{444}", "10.0.0.1", " ", "\u{10a}\u{a0a}", "\r"];
    // In UTF-16 fail2ban loses its place at an empty line, at a carriage return before a line feed, and
    // at characters that have the byte of one in them.
    let is_wide = encoding.starts_with("utf-16");
    let words = if is_wide { &words[..7] } else { &words[..] };
    let ends = if is_wide { &["\n"; 3] } else { &["\n", "\r\n", "\n"] };
    let mut text = String::new();
    for _ in 0..random.below(12) {
        for _ in 0..random.below(6) + usize::from(is_wide) {
            text += *random.pick(words);
        }
        text += *random.pick(ends);
    }
    if random.one_in(3) {
        text += "unfinished";
    }
    let wide = |little: bool| -> Vec<u8> {
        let unit = |u: u16| if little { u.to_le_bytes() } else { u.to_be_bytes() };
        text.encode_utf16().flat_map(unit).collect()
    };
    match encoding {
        "utf-16-le" => wide(true),
        "utf-16-be" => wide(false),
        "latin-1" => text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect(),
        _ => text.into_bytes(),
    }
}

/// The lines of a file, its position and its hash are those of fail2ban.
#[test]
fn lines_like_fail2ban() {
    let Some(fail2ban) = Fail2ban::next() else { return };
    let mut python = Python::start(fail2ban.python(), CONTAINER, &[]);
    let mut random = Random(11);
    let dir = tempfile::tempdir().unwrap();
    let count = cases("SEKISHO_CONTAINER_CASES", 400);
    for case in 0..count {
        let encoding = *random.pick(&["utf-8", "latin-1", "utf-16-le", "utf-16-be"]);
        let path = dir.path().join(case.to_string());
        let bytes = file(encoding, &mut random);
        fs::write(&path, &bytes).unwrap();
        let answer = python.ask(&json!({"path": path, "encoding": encoding}));
        let start = StartAt::Head { saved: None, since: Timestamp(0) };
        let mut tail = Tail::new(path, Encoding::from_python_name(encoding).unwrap(), start);
        let (mut lines, mut position) = (Vec::new(), 0.0);
        let mut hash = String::new();
        loop {
            let step = tail.step(Monotonic(1));
            for out in step.out {
                if let Out::Lines { data, position: at, .. } = out {
                    let text = String::from_utf8_lossy(&data).into_owned();
                    // The filter takes the line ends off, as fail2ban's reader does.
                    lines.extend(
                        text.split_terminator('\n')
                            .map(|l| l.trim_end_matches(['\r', '\n']).to_owned()),
                    );
                    (position, hash) = (at.offset, at.first_line);
                }
            }
            if !step.more {
                break;
            }
        }
        let theirs: Vec<&str> =
            answer[0].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
        assert_eq!(lines, theirs, "case {case} {encoding}: {bytes:?}");
        if !lines.is_empty() {
            assert_eq!(position, answer[1].as_f64().unwrap(), "case {case} {encoding}");
            assert_eq!(hash, answer[2].as_str().unwrap(), "case {case} {encoding}");
        }
    }
    report("lines of a file", &format!("fail2ban {}", fail2ban.version), count, "files");
}

/// Where fail2ban reads wrongly and we do not: byte order marks.
#[test]
fn byte_order_marks_are_no_part_of_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let text = "one\ntwo\n";
    let wide = |little: bool| -> Vec<u8> {
        let unit = |u: u16| if little { u.to_le_bytes() } else { u.to_be_bytes() };
        format!("\u{feff}{text}").encode_utf16().flat_map(unit).collect()
    };
    for (encoding, bytes) in [
        ("utf-8", format!("\u{feff}{text}").into_bytes()),
        ("utf-16", wide(true)),
        ("utf-16", wide(false)),
        ("utf-16-le", wide(true)),
        ("utf-16-be", wide(false)),
    ] {
        let path = dir.path().join("log");
        // Byte by byte, as the worst of writers would.
        let start = StartAt::Head { saved: None, since: Timestamp(0) };
        fs::write(&path, b"").unwrap();
        let encoding = Encoding::from_python_name(encoding).unwrap();
        let mut tail = Tail::new(path.clone(), encoding, start);
        let mut got = String::new();
        for end in 0..=bytes.len() {
            use std::io::Write;
            let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(&bytes[end.saturating_sub(1)..end]).unwrap();
            for _ in 0..5 {
                let step = tail.step(Monotonic(1).plus(Span::from_millis(end as i64)));
                for out in step.out {
                    if let Out::Lines { data, .. } = out {
                        got += &String::from_utf8(data).unwrap();
                    }
                }
            }
        }
        assert_eq!(got, text, "{encoding:?}");
    }
}
