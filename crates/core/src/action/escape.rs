//! Which values may stand in a shell script as they are.
//!
//! The rule is fail2ban's, because scripts are written for it: a value with one of the characters
//! below never enters the script, it is handed over as a positional parameter instead.

/// Characters that mean something to a shell.
const SPECIAL: &[char] = &[
    '\\', '#', '&', ';', '`', '|', '*', '?', '~', '<', '>', '^', '(', ')', '[', ']', '{', '}', '$',
    '\'', '"', '\n', '\r',
];

/// Whether `value` may be inserted literally.
pub fn is_plain(value: &str) -> bool {
    // A NUL cannot be in an argument either; the caller removes it.
    !value.contains(SPECIAL) && !value.contains('\0')
}

/// `value` with a backslash before every special character, line ends as `\n` and `\r`.
pub fn backslash(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if SPECIAL.contains(&c) {
            out.push('\\');
        }
        out.push(match c {
            '\n' => 'n',
            '\r' => 'r',
            c => c,
        });
    }
    out
}

/// The shell variable that stands for a tag: what is no word character becomes `_`.
pub(super) fn variable(tag: &str) -> String {
    let mut name = String::from("f2bV_");
    // Shell variables are ASCII; a letter beyond it would end the name in the middle.
    name.extend(tag.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        for (value, plain, escaped) in [
            ("", true, ""),
            ("1.2.3.4", true, "1.2.3.4"),
            ("a b\tc=%!@,:/+-_", true, "a b\tc=%!@,:/+-_"),
            ("$(id)", false, "\\$\\(id\\)"),
            ("a\nb\r", false, "a\\nb\\r"),
            ("'\"`", false, "\\'\\\"\\`"),
            ("\u{e9}", true, "\u{e9}"),
            ("~a^b", false, "\\~a\\^b"),
        ] {
            assert_eq!(is_plain(value), plain, "{value:?}");
            assert_eq!(backslash(value), escaped, "{value:?}");
        }
        assert_eq!(variable("F_ip-4"), "f2bV_F_ip_4");
    }
}
