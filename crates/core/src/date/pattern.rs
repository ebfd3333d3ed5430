//! The date pattern language: from `{^LN-BEG}%Y-%m-%d %H:%M:%S` to a regular expression.
//!
//! What is added by itself (word boundaries, group 1 around everything) and when it is not, decides
//! which part of a line is cut out, so it follows fail2ban to the letter.

use super::table::TOKENS;

/// The regular expression of a pattern, with what else follows from its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Built {
    /// The name shown to users: the pattern with words for tokens.
    pub name: String,
    /// In Python's dialect.
    pub regex: String,
    /// Can match at one place only, the start or the end of the line.
    pub anchored: Anchored,
}

/// Where a pattern is tied to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Anchored {
    pub start: bool,
    pub end: bool,
}

impl Anchored {
    pub(super) fn any(self) -> bool {
        self.start || self.end
    }
}

/// The boundary to add before the pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// None.
    Free,
    /// The start of a word.
    Word,
    /// The start of the line, after at most two characters that are no word characters.
    Line,
}

pub(super) const LINE_BEGIN: &str = "{^LN-BEG}";
const UNBOUND: &str = "{UNB}";
const WORD_BOUND_BEGIN: &str = r"(?=^|\b|\W)";
const WORD_BOUND_END: &str = r"(?=\b|\W|$)";
const LINE_BOUND_BEGIN: &str = r"^(?:\W{0,2})?";

/// Builds the regular expression of a pattern with `%` tokens.
pub(super) fn build(pattern: &str, years: &str) -> Result<Built, String> {
    let (pattern, begin, end) = match pattern.strip_prefix(UNBOUND) {
        Some(rest) => (rest, Begin::Free, false),
        None => match pattern.strip_prefix(LINE_BEGIN) {
            Some(rest) => (rest, Begin::Line, true),
            None => (pattern, Begin::Word, true),
        },
    };
    // Blanks around the pattern go, but not the blank that `%k` itself begins with.
    let pattern = pattern.trim_matches(super::digits::is_space);
    let (name, mut regex) = expand(pattern, years)?;
    if has_names(pattern) {
        regex.insert_str(0, "(?iu)");
    }
    Ok(bound(name, &regex, begin, end))
}

/// Whether the pattern has a token whose text is words, which makes all of it ignore case.
fn has_names(pattern: &str) -> bool {
    let bytes = pattern.as_bytes();
    bytes.windows(2).enumerate().any(|(at, pair)| {
        let escaped = at > 0 && bytes.get(at - 1) == Some(&b'%');
        matches!(pair, [b'%', b'a' | b'A' | b'b' | b'B' | b'p' | b'c']) && !escaped
    })
}

/// Replaces the tokens, once by words for the name and once by expressions.
fn expand(pattern: &str, years: &str) -> Result<(String, String), String> {
    let mut name = String::new();
    let mut regex = String::new();
    // Python's message counts in the text it formats, in which a token stands as `%(d)s`.
    let mut index = 0;
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        if c != '%' {
            name.push(c);
            regex.push(c);
            index += 1;
            rest = after;
            continue;
        }
        let Some(row) = TOKENS.iter().find(|row| after.starts_with(row.token)) else {
            return Err(match after.chars().next() {
                None => "incomplete format".to_owned(),
                Some(bad) => format!(
                    "unsupported format character '{bad}' ({:#x}) at index {}",
                    bad as u32,
                    index + 1
                ),
            });
        };
        name.push_str(row.shown);
        regex.push_str(&row.regex.replace("{years}", years));
        index += row.token.len() + 4;
        rest = after.get(row.token.len()..).unwrap_or_default();
    }
    Ok((name, regex))
}

/// Adds boundaries and group 1 to a regular expression.
pub(super) fn bound(name: String, regex: &str, begin: Begin, end: bool) -> Built {
    let mut name = name;
    let (flags, regex) = take_flags(regex);
    let begin = if begins_bound(&regex) { Begin::Free } else { begin };
    let end = end && !ends_bound(&regex);
    let mut regex = if has_group(&regex) { regex } else { group_all(&regex) };
    let mut anchored = Anchored::default();
    match begin {
        Begin::Free => {}
        Begin::Word => regex.insert_str(0, WORD_BOUND_BEGIN),
        Begin::Line => {
            regex.insert_str(0, LINE_BOUND_BEGIN);
            if !name.starts_with(LINE_BEGIN) {
                name.insert_str(0, LINE_BEGIN);
            }
        }
    }
    if end {
        regex.push_str(WORD_BOUND_END);
    }
    anchored.start = begin == Begin::Line || begins_at_line(&regex);
    anchored.end = ends_at_line(&regex);
    let regex = flags + &strip_stars(&regex);
    Built { name, regex, anchored }
}

/// Cuts out the first `(?iu)`-like group of flags: it has to stand before what is added.
fn take_flags(regex: &str) -> (String, String) {
    for (at, _) in regex.match_indices("(?") {
        let Some(rest) = regex.get(at + 2..) else { continue };
        let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
        if letters > 0 && rest.as_bytes().get(letters) == Some(&b')') {
            let end = at + 2 + letters + 1;
            let (Some(before), Some(flags), Some(after)) =
                (regex.get(..at), regex.get(at..end), regex.get(end..))
            else {
                continue;
            };
            return (flags.to_owned(), format!("{before}{after}"));
        }
    }
    (String::new(), regex.to_owned())
}

/// The length of a leading `(?flags)`.
fn flags_len(regex: &str) -> usize {
    let Some(rest) = regex.strip_prefix("(?") else { return 0 };
    let word = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_');
    let length: usize = word.map(char::len_utf8).sum();
    if length > 0 && rest.as_bytes().get(length) == Some(&b')') { length + 3 } else { 0 }
}

/// Whether the pattern says itself where it begins: `^`, `(^`, `(?:^` or `**`.
fn begins_bound(regex: &str) -> bool {
    let parens = regex.bytes().take_while(|b| *b == b'(').count();
    (0..=parens).any(|skip| {
        let rest = regex.get(skip..).unwrap_or_default();
        [0, flags_len(rest)].into_iter().any(|flags| {
            let rest = rest.get(flags..).unwrap_or_default();
            rest.starts_with('^')
                || rest.starts_with("(^")
                || rest.starts_with("(?:^")
                || rest.trim_start_matches('(').starts_with("**")
        })
    })
}

/// Whether the pattern says itself where it ends: `$`, `$)`, `\b`, `\s` or `**`.
fn ends_bound(regex: &str) -> bool {
    let before = |rest: &str| !rest.ends_with('\\');
    ["$)", "$", r"\b", r"\s"].iter().any(|end| regex.strip_suffix(end).is_some_and(before))
        || regex.trim_end_matches(')').strip_suffix("**").is_some_and(before)
}

/// Whether there is a plain capturing group already: `(` that is no `\(`, `(?…` or `(?(`.
pub(super) fn has_group(regex: &str) -> bool {
    regex.match_indices('(').any(|(at, _)| {
        let before = regex.get(..at).unwrap_or_default();
        let after = regex.get(at + 1..).unwrap_or_default();
        !after.starts_with('?') && !before.ends_with('\\') && !before.ends_with("(?")
    })
}

/// Puts everything but a leading `^` and a closing `$` into group 1.
fn group_all(regex: &str) -> String {
    let start = flags_len(regex);
    let (flags, rest) = regex.split_at_checked(start).unwrap_or(("", regex));
    let (caret, rest) = match rest.strip_prefix('^') {
        Some(rest) => ("^", rest),
        None => ("", rest),
    };
    let (more, rest) = rest.split_at_checked(flags_len(rest)).unwrap_or(("", rest));
    let (body, dollar) = match rest.strip_suffix('$') {
        Some(body) if !body.ends_with('\\') => (body, "$"),
        _ => (rest, ""),
    };
    format!("{flags}{caret}{more}({body}){dollar}")
}

/// Whether the expression can match at the start of the line only.
fn begins_at_line(regex: &str) -> bool {
    let rest = regex.get(flags_len(regex)..).unwrap_or_default();
    let group = rest.strip_prefix("(?:^").or_else(|| rest.strip_prefix("(^"));
    rest.starts_with('^') || group.is_some_and(|rest| !rest.starts_with('|'))
}

/// Whether the expression can match at the end of the line only.
fn ends_at_line(regex: &str) -> bool {
    let before = regex.strip_suffix("$)").or_else(|| regex.strip_suffix('$'));
    before.is_some_and(|rest| !rest.ends_with(['\\', '|']))
}

/// Removes the `**` that stand for "no boundary here".
fn strip_stars(regex: &str) -> String {
    let mut out = regex.to_owned();
    let parens = out.bytes().take_while(|b| *b == b'(').count();
    for at in [parens, flags_len(&out)] {
        let rest = out.get(at..).unwrap_or_default();
        let more = rest.bytes().take_while(|b| *b == b'(').count();
        if rest.get(more..).is_some_and(|rest| rest.starts_with("**")) {
            out.replace_range(at + more..at + more + 2, "");
            break;
        }
    }
    let end = out.trim_end_matches(')').len();
    if let Some(body) = out.get(..end).and_then(|body| body.strip_suffix("**"))
        && !body.ends_with('\\')
    {
        out.replace_range(end - 2..end, "");
    }
    out
}

/// A pattern without its boundaries, to be put in place of `{DATE}`.
pub(super) fn unbound(pattern: &str) -> &str {
    let pattern = pattern.strip_prefix(UNBOUND).unwrap_or(pattern);
    pattern.strip_prefix(LINE_BEGIN).unwrap_or(pattern)
}

/// Puts `text` in place of every `{marker}` (any case, not after a backslash).
pub(super) fn replace_marker(pattern: &str, markers: &[&str], text: &str) -> (String, bool) {
    let mut out = String::new();
    let mut found = false;
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let marker = markers
            .iter()
            .find(|m| rest.get(..m.len()).is_some_and(|head| head.eq_ignore_ascii_case(m)));
        match marker {
            Some(marker) if !out.ends_with('\\') => {
                out.push_str(text);
                found = true;
                rest = rest.get(marker.len()..).unwrap_or_default();
            }
            _ => {
                out.push(c);
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
            }
        }
    }
    (out, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_and_groups() {
        let check = |pattern: &str, regex: &str, anchored: (bool, bool)| {
            let built = build(pattern, "20[012]").unwrap();
            assert_eq!(built.regex, regex, "{pattern}");
            assert_eq!((built.anchored.start, built.anchored.end), anchored, "{pattern}");
        };
        check("%y", r"(?=^|\b|\W)((?P<y>\d\d))(?=\b|\W|$)", (false, false));
        check("^%y", r"^((?P<y>\d\d))(?=\b|\W|$)", (true, false));
        check("%y$", r"(?=^|\b|\W)((?P<y>\d\d))$", (false, true));
        check("**%y**", r"((?P<y>\d\d))", (false, false));
        check("{UNB}%y", r"((?P<y>\d\d))", (false, false));
        check("{UNB}^", r"^()", (true, false));
        check("{^LN-BEG}%y", r"^(?:\W{0,2})?((?P<y>\d\d))(?=\b|\W|$)", (true, false));
        check("at (%y)", r"(?=^|\b|\W)at ((?P<y>\d\d))(?=\b|\W|$)", (false, false));
        check(r"\(%y\)", r"(?=^|\b|\W)(\((?P<y>\d\d)\))(?=\b|\W|$)", (false, false));
        check(r"%y\s", r"(?=^|\b|\W)((?P<y>\d\d)\s)", (false, false));
        check("(^%y)", r"(^(?P<y>\d\d))(?=\b|\W|$)", (true, false));
        check("(?i)x%y", r"(?i)(?=^|\b|\W)(x(?P<y>\d\d))(?=\b|\W|$)", (false, false));
        check("%k:", r"(?=^|\b|\W)( ?(?P<H>[0-2]?\d):)(?=\b|\W|$)", (false, false));
        check("%p", r"(?iu)(?=^|\b|\W)((?P<p>am|pm))(?=\b|\W|$)", (false, false));
    }

    #[test]
    fn messages_of_bad_tokens() {
        let check = |pattern: &str, message: &str| {
            assert_eq!(build(pattern, "20").unwrap_err(), message, "{pattern}");
        };
        check("%Q", "unsupported format character 'Q' (0x51) at index 1");
        check("%Y-%Q", "unsupported format character 'Q' (0x51) at index 7");
        check("%ExY %", "incomplete format");
    }
}
