//! Escapes and character sets.

use super::super::RegexError;
use super::super::ast::{Assertion, Case, Class, Node, Set, SetItem};
use super::{Parser, State};

impl Parser {
    /// Reads up to `n` characters of base `radix`.
    fn take_radix(&mut self, n: usize, radix: u32) {
        for _ in 0..n {
            if !self.peek().is_some_and(|c| c.is_digit(radix)) {
                break;
            }
            self.at += 1;
        }
    }

    /// `\xHH`, `\uHHHH`, `\UHHHHHHHH` from the letter on (already read).
    fn hex_escape(&mut self, start: usize, n: usize) -> Result<u32, RegexError> {
        self.take_radix(n, 16);
        let text = self.since(start);
        if self.at - start != n + 2 {
            return Err(self.error(&format!("incomplete escape {text}"), start));
        }
        let digits: String = text.chars().skip(2).collect();
        match u32::from_str_radix(&digits, 16) {
            Ok(code) if code <= 0x10_ffff => Ok(code),
            _ => Err(self.error(&format!("bad escape {text}"), start)),
        }
    }

    /// The code point of an escape that is the same inside and outside of sets, if it is one.
    /// `letter` is the character after the backslash and already read.
    fn common_escape(&mut self, start: usize, letter: char) -> Result<Option<u32>, RegexError> {
        let code = match letter {
            'a' => 7,
            'f' => 0xc,
            'n' => 0xa,
            'r' => 0xd,
            't' => 9,
            'v' => 0xb,
            'x' => self.hex_escape(start, 2)?,
            'u' => self.hex_escape(start, 4)?,
            'U' => self.hex_escape(start, 8)?,
            'N' => {
                let message = r"bad escape \N (character names are not supported, write \uXXXX)";
                return Err(self.error(message, start));
            }
            _ => return Ok(None),
        };
        Ok(Some(code))
    }

    fn octal_escape(&mut self, start: usize) -> Result<u32, RegexError> {
        let text = self.since(start);
        let digits: String = text.chars().skip(1).collect();
        match u32::from_str_radix(&digits, 8) {
            Ok(code) if code <= 0o377 => Ok(code),
            _ => {
                let message = format!("octal escape value {text} outside of range 0-0o377");
                Err(self.error(&message, start))
            }
        }
    }

    /// An escape outside of sets; the backslash is at `start` and already read.
    pub(super) fn escape(&mut self, start: usize, state: State) -> Result<Node, RegexError> {
        let Some(letter) = self.next() else {
            return Err(self.error("bad escape (end of pattern)", start));
        };
        let ascii = state.ascii;
        match letter {
            'A' => return Ok(Node::Assert(Assertion::TextStart)),
            'Z' => return Ok(Node::Assert(Assertion::TextEnd)),
            'b' => return Ok(Node::Assert(Assertion::WordBoundary { ascii })),
            'B' => return Ok(Node::Assert(Assertion::NotWordBoundary { ascii })),
            _ => {}
        }
        if let Some(item) = category(letter, ascii) {
            let case = Case::Sensitive;
            return Ok(Node::Set(Set { negated: false, items: vec![item], case }));
        }
        if let Some(code) = self.common_escape(start, letter)? {
            return Ok(literal_code(code, state));
        }
        if letter == '0' {
            self.take_radix(2, 8);
            let code = self.octal_escape(start)?;
            return Ok(literal_code(code, state));
        }
        if letter.is_ascii_digit() {
            return self.numeric_escape(start, letter, state);
        }
        if letter.is_ascii_alphabetic() {
            return Err(self.error(&format!("bad escape \\{letter}"), start));
        }
        Ok(literal(letter, state))
    }

    /// `\1` or `\123`: a group reference, or three octal digits.
    fn numeric_escape(
        &mut self,
        start: usize,
        letter: char,
        state: State,
    ) -> Result<Node, RegexError> {
        if let Some(second) = self.peek().filter(char::is_ascii_digit) {
            self.at += 1;
            let octal = letter.is_digit(8) && second.is_digit(8);
            if octal && self.peek().is_some_and(|c| c.is_digit(8)) {
                self.at += 1;
                let code = self.octal_escape(start)?;
                return Ok(literal_code(code, state));
            }
        }
        let text = self.since(start);
        let group: usize = text.get(1..).unwrap_or_default().parse().unwrap_or(usize::MAX);
        if group >= self.names.len() {
            return Err(self.error(&format!("invalid group reference {group}"), start + 1));
        }
        if self.widths.get(group).copied().flatten().is_none() {
            return Err(self.error("cannot refer to an open group", start));
        }
        self.check_lookbehind_group(group)?;
        Ok(Node::Backref(group, state.case()))
    }

    /// A set; the `[` is at `start` and already read.
    pub(super) fn set(&mut self, start: usize, state: State) -> Result<Node, RegexError> {
        let negated = self.eat('^');
        let mut items: Vec<SetItem> = Vec::new();
        loop {
            let item_start = self.at;
            let Some(c) = self.next() else {
                return Err(self.error("unterminated character set", start));
            };
            if c == ']' && !items.is_empty() {
                break;
            }
            let low = self.set_member(item_start, c, state)?;
            if !self.eat('-') {
                items.push(low);
                continue;
            }
            let high_start = self.at;
            let Some(c) = self.next() else {
                return Err(self.error("unterminated character set", start));
            };
            if c == ']' {
                items.push(low);
                items.push(SetItem::Range(0x2d, 0x2d));
                break;
            }
            let high = self.set_member(high_start, c, state)?;
            match (low, high) {
                (SetItem::Range(low, _), SetItem::Range(high, _)) if low <= high => {
                    items.push(SetItem::Range(low, high));
                }
                _ => {
                    // Python shows only the two first characters of an escape here.
                    let short = |at: usize| -> String {
                        let n = if self.chars.get(at) == Some(&'\\') { 2 } else { 1 };
                        self.chars.get(at..at + n).unwrap_or_default().iter().collect()
                    };
                    let (low, high) = (short(item_start), short(high_start));
                    let back = low.chars().count() + 1 + high.chars().count();
                    let message = format!("bad character range {low}-{high}");
                    return Err(self.error(&message, self.at.saturating_sub(back)));
                }
            }
        }
        Ok(Node::Set(Set { negated, items, case: state.case() }))
    }

    /// One member of a set that begins with `c` (already read) at `start`.
    fn set_member(&mut self, start: usize, c: char, state: State) -> Result<SetItem, RegexError> {
        if c != '\\' {
            return Ok(SetItem::Range(u32::from(c), u32::from(c)));
        }
        let Some(letter) = self.next() else {
            return Err(self.error("bad escape (end of pattern)", start));
        };
        if let Some(item) = category(letter, state.ascii) {
            return Ok(item);
        }
        let code = if letter == 'b' {
            8
        } else if let Some(code) = self.common_escape(start, letter)? {
            code
        } else if letter.is_digit(8) {
            self.take_radix(2, 8);
            self.octal_escape(start)?
        } else if letter.is_ascii_alphanumeric() {
            return Err(self.error(&format!("bad escape \\{letter}"), start));
        } else {
            u32::from(letter)
        };
        Ok(SetItem::Range(code, code))
    }
}

pub(super) fn literal(c: char, state: State) -> Node {
    let case = if c.is_alphabetic() || !c.is_ascii() { state.case() } else { Case::Sensitive };
    Node::Literal(c, case)
}

/// A code point from an escape; a surrogate cannot occur in a text.
fn literal_code(code: u32, state: State) -> Node {
    char::from_u32(code).map_or_else(Node::fail, |c| literal(c, state))
}

fn category(letter: char, ascii: bool) -> Option<SetItem> {
    let class = match letter.to_ascii_lowercase() {
        'd' => Class::Digit,
        's' => Class::Space,
        'w' => Class::Word,
        _ => return None,
    };
    Some(SetItem::Class { class, negated: letter.is_ascii_uppercase(), ascii })
}
