//! Numbers as Python reads them.
//!
//! `\d` matches the decimal digits of every script and Python's `int()` reads them, so a date in
//! Arabic or Devanagari digits is a date. Group texts of user patterns may also carry blanks, which
//! `int()` skips.

/// The zeros of all runs of ten decimal digits (Unicode 14, the tables of Python 3.11).
const ZEROS: [u32; 66] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66,
    0xde6, 0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90,
    0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
    0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650,
    0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50,
    0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];

/// The value of a decimal digit of any script.
pub(super) fn value(c: char) -> Option<u32> {
    if c.is_ascii() {
        return c.to_digit(10);
    }
    let code = c as u32;
    let after = ZEROS.partition_point(|&zero| zero <= code);
    let zero = *ZEROS.get(after.checked_sub(1)?)?;
    let digit = code - zero;
    (digit < 10).then_some(digit)
}

/// Reads a whole number as Python's `int()` does; `None` where that would raise.
///
/// Numbers of more than 8 digits are refused as well: no part of a date is that long.
pub(super) fn int(text: &str) -> Option<i32> {
    let text = text.trim_matches(is_space);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut number = 0i32;
    let mut count = 0;
    let mut after_digit = false;
    for c in digits.chars() {
        if c == '_' && after_digit {
            after_digit = false;
            continue;
        }
        if count == 8 {
            return None;
        }
        number = number * 10 + i32::try_from(value(c)?).ok()?;
        count += 1;
        after_digit = true;
    }
    after_digit.then_some(if negative { -number } else { number })
}

/// What Python's `str.strip()` strips.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_python() {
        let check = |text: &str, expected: Option<i32>| assert_eq!(int(text), expected, "{text:?}");
        check("5", Some(5));
        check(" 5", Some(5));
        check("05", Some(5));
        check("-5", Some(-5));
        check("1_0", Some(10));
        check("1__0", None);
        check("_1", None);
        check("", None);
        check("x", None);
        check("\u{661}\u{662}", Some(12));
        check("\u{ff11}\u{ff10}", Some(10));
        check("\u{1d7d8}", Some(0));
        check("\u{b2}", None);
        check("123456789", None);
    }
}
