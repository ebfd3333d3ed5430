//! Python's codecs by all their names, and what bytes mean in those of one byte a character.
//!
//! `logencoding` names a codec of Python's, so the names, their spellings and the tables are
//! Python's; they are data, in `codecs.txt`. The encodings of several bytes a character come from
//! `encoding_rs`. A few are so rare in logs that only their ASCII part is read.

use std::collections::HashMap;
use std::sync::LazyLock;

use encoding_rs::{BIG5, EUC_JP, EUC_KR, GB18030, GBK, ISO_2022_JP, SHIFT_JIS};

use super::{Encoding, Order};

/// What each byte means; U+FFFD for nothing.
pub type Charmap = [char; 256];

struct Codecs {
    /// By every name, as Python normalises it.
    names: HashMap<&'static str, &'static str>,
    charmaps: Vec<(&'static str, Charmap)>,
}

static CODECS: LazyLock<Codecs> = LazyLock::new(|| read(include_str!("codecs.txt")));

/// The table of an [`Encoding::Charmap`].
pub fn charmap(index: usize) -> Option<&'static Charmap> {
    CODECS.charmaps.get(index).map(|(_, map)| map)
}

/// The encoding of a codec's name.
pub fn find(name: &str) -> Option<Encoding> {
    let name = normalised(name);
    if matches!(name.as_str(), "" | "auto") {
        return Some(Encoding::Bytes);
    }
    let codec = *CODECS.names.get(name.as_str())?;
    Some(match codec {
        "utf_8" | "utf_8_sig" | "ascii" => Encoding::Bytes,
        "latin_1" | "iso8859_1" => Encoding::Latin1,
        "utf_16" => Encoding::Utf16(None),
        "utf_16_le" => Encoding::Utf16(Some(Order::Little)),
        "utf_16_be" => Encoding::Utf16(Some(Order::Big)),
        "utf_32" => Encoding::Utf32(None),
        "utf_32_le" => Encoding::Utf32(Some(Order::Little)),
        "utf_32_be" => Encoding::Utf32(Some(Order::Big)),
        "big5" | "big5hkscs" | "cp950" => Encoding::Table(BIG5),
        "gb2312" | "gbk" => Encoding::Table(GBK),
        "gb18030" => Encoding::Table(GB18030),
        "euc_kr" | "cp949" => Encoding::Table(EUC_KR),
        "euc_jp" | "euc_jis_2004" | "euc_jisx0213" => Encoding::Table(EUC_JP),
        "shift_jis" | "cp932" | "shift_jis_2004" | "shift_jisx0213" => Encoding::Table(SHIFT_JIS),
        "iso2022_jp" | "iso2022_jp_1" | "iso2022_jp_2" | "iso2022_jp_2004" | "iso2022_jp_3"
        | "iso2022_jp_ext" => Encoding::Table(ISO_2022_JP),
        // ASCII with escapes for what is not.
        "hz" | "iso2022_kr" | "johab" | "utf_7" => Encoding::Bytes,
        "unicode_escape" | "raw_unicode_escape" => Encoding::Latin1,
        other => Encoding::Charmap(CODECS.charmaps.iter().position(|(name, _)| *name == other)?),
    })
}

/// A name as Python looks it up: lower case, everything that is neither letter nor digit an
/// underscore, one for a run of them.
fn normalised(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut gap = false;
    for c in name.chars() {
        if c.is_ascii_alphanumeric() || c == '.' {
            if gap && !out.is_empty() {
                out.push('_');
            }
            out.push(c.to_ascii_lowercase());
            gap = false;
        } else {
            gap = true;
        }
    }
    out
}

fn read(text: &'static str) -> Codecs {
    let mut codecs = Codecs { names: HashMap::new(), charmaps: Vec::new() };
    let mut name = "";
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match line.strip_prefix('\t').and_then(|line| line.split_once(' ')) {
            Some((part, table)) => codecs.charmaps.push((name, table_of(part, table))),
            None => {
                name = line.split(' ').next().unwrap_or_default();
                codecs.names.extend(line.split(' ').map(|other| (other, name)));
            }
        }
    }
    codecs
}

fn table_of(part: &str, text: &str) -> Charmap {
    let mut map = [char::REPLACEMENT_CHARACTER; 256];
    let first = if part == "high" { 128 } else { 0 };
    for (slot, byte) in map.iter_mut().zip(0u8..=255).take(first) {
        *slot = char::from(byte);
    }
    let mut chars = text.chars();
    for slot in map.iter_mut().skip(first) {
        *slot = match chars.next() {
            Some('\\') => {
                // `\uXXXX`
                let digits: String = chars.by_ref().skip(1).take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                code.unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            Some(c) => c,
            None => char::REPLACEMENT_CHARACTER,
        };
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_spelling() {
        for (name, expected) in [
            ("UTF-8", "utf_8"),
            ("  Latin--1 ", "latin_1"),
            ("ISO 8859-15", "iso_8859_15"),
            ("ansi_x3.4_1968", "ansi_x3.4_1968"),
            ("é", ""),
        ] {
            assert_eq!(normalised(name), expected);
        }
        assert_eq!(find("l9"), find("iso8859-15"));
        assert!(matches!(find("ebcdic-cp-us"), Some(Encoding::Charmap(_))));
        assert_eq!(find("no such codec"), None);
    }

    #[test]
    fn tables_are_whole() {
        assert_eq!(CODECS.charmaps.len(), 70);
        for (name, map) in &CODECS.charmaps {
            assert_eq!(map.iter().filter(|c| **c == '\n').count(), 1, "{name}");
        }
    }
}
