//! fail2ban's tags in patterns: `<HOST>`, `<ADDR>`, `<F-USER>…</F-USER>` and their kin.
//!
//! The expansion is textual, because it is what `get JAIL failregex` shows and what error messages
//! quote; it happens before anything looks at the pattern as a pattern. Unknown tags stay as they
//! are: they are ordinary text of a pattern.

use super::{Flags, Regex, RegexError};
use std::fmt::Write;

/// What `<HOST>` may find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostTag {
    /// An address or a host name (`usedns` = yes, warn, raw).
    #[default]
    AddressOrName,
    /// An address only (`usedns = no`).
    Address,
}

impl HostTag {
    /// The meaning of `<HOST>` under a value of `usedns`.
    pub fn for_usedns(usedns: &str) -> HostTag {
        if usedns == "no" { HostTag::Address } else { HostTag::AddressOrName }
    }
}

/// A pattern of a filter after expansion, compiled.
#[derive(Clone, Debug)]
pub struct FilterRegex {
    /// The expanded text, as it is shown.
    pub text: String,
    /// What runs.
    pub regex: Regex,
}

/// A pattern that cannot be used in a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterRegexError {
    /// There is nothing but white space.
    #[error("Cannot add empty regex")]
    Empty,
    /// The dialect does not allow it.
    #[error("Unable to compile regular expression '{text}':\n{error}")]
    Compile {
        /// the expanded text
        text: String,
        /// in the words of Python
        error: RegexError,
    },
    /// A failregex that finds nobody.
    #[error("No failure-id group in '{text}'")]
    NoFailureId {
        /// the expanded text
        text: String,
    },
}

const IP4: &str = r"(?:::f{4,6}:)?(?P<ip4>(?:\d{1,3}\.){3}\d{1,3})";
const IP6: &str = r"(?P<ip6>(?:[0-9a-fA-F]{1,4}::?|:){1,7}(?:[0-9a-fA-F]{1,4}|(?<=:):))";
const DNS: &str = r"(?P<dns>[\w\-.^_]*\w)";
const CIDR: &str = r"(?P<cidr>\d+)";

/// Groups that say who failed. `host` is what 0.8 and 0.9 called it.
const FAILURE_ID: &[&str] = &["fid", "ip4", "ip6", "dns", "mlfid", "host"];

/// Expands the tags, and gives inline flags that open a group to that group.
pub fn expand(pattern: &str, host: HostTag) -> String {
    scope_flags(&expand_tags(pattern, host))
}

/// Expands and compiles a prefregex or an ignoreregex.
pub fn compile(
    pattern: &str,
    host: HostTag,
    flags: Flags,
) -> Result<FilterRegex, FilterRegexError> {
    if pattern.trim_start().is_empty() {
        return Err(FilterRegexError::Empty);
    }
    let text = expand(pattern, host);
    match Regex::new(&text, flags) {
        Ok(regex) => Ok(FilterRegex { text, regex }),
        Err(error) => Err(FilterRegexError::Compile { text, error }),
    }
}

/// Expands and compiles a failregex. Together with the prefregex it must say who failed.
pub fn compile_failregex(
    pattern: &str,
    host: HostTag,
    flags: Flags,
    prefregex: Option<&Regex>,
) -> Result<FilterRegex, FilterRegexError> {
    let compiled = compile(pattern, host, flags)?;
    if has_failure_id(&compiled.regex) || prefregex.is_some_and(has_failure_id) {
        return Ok(compiled);
    }
    Err(FilterRegexError::NoFailureId { text: compiled.text })
}

/// Whether a pattern has a group that says who failed.
pub fn has_failure_id(regex: &Regex) -> bool {
    FAILURE_ID.iter().any(|name| regex.group_index(name).is_some())
}

fn expand_tags(pattern: &str, host: HostTag) -> String {
    let mut out = String::with_capacity(pattern.len() * 2);
    let mut opened: Vec<&str> = Vec::new();
    let mut skip_lines = 0;
    let mut rest = pattern;
    while let Some(at) = rest.find('<') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let Some(tag) = tag_name(from) else {
            out.push('<');
            rest = from.get(1..).unwrap_or_default();
            continue;
        };
        rest = from.get(tag.len() + 2..).unwrap_or_default();
        if fixed_tag(tag, host, &mut out) {
            continue;
        }
        if tag == "SKIPLINES" {
            let _ = write!(out, r"\n(?P<skiplines{skip_lines}>(?:(?:.*\n)*?))");
            skip_lines += 1;
            continue;
        }
        match (custom_name(tag), tag.strip_prefix('/').and_then(custom_name)) {
            (Some(name), _) => {
                opened.push(name);
                let name = name.to_ascii_lowercase();
                let name = match name.as_str() {
                    "id" => "fid",
                    "port" => "fport",
                    other => other,
                };
                let _ = write!(out, "(?P<{name}>");
            }
            (_, Some(name)) if opened.contains(&name) => out.push(')'),
            _ => {
                let _ = write!(out, "<{tag}>");
            }
        }
    }
    out.push_str(rest);
    out
}

/// The inside of the tag that `text` begins with: `/?[\w-]+/?`.
fn tag_name(text: &str) -> Option<&str> {
    let tag = text.strip_prefix('<')?;
    let tag = tag.split_once('>')?.0;
    let name = tag.strip_prefix('/').unwrap_or(tag);
    let name = name.strip_suffix('/').unwrap_or(name);
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    (!name.is_empty() && name.chars().all(word)).then_some(tag)
}

/// The `NAME` of `F-NAME`.
fn custom_name(tag: &str) -> Option<&str> {
    let name = tag.strip_prefix("F-")?;
    let allowed = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    (!name.is_empty() && name.bytes().all(allowed)).then_some(name)
}

/// Writes what a tag with a fixed meaning stands for.
fn fixed_tag(tag: &str, host: HostTag, out: &mut String) -> bool {
    let written = match tag {
        "IP4" | "F-IP4/" => write!(out, "{IP4}"),
        "IP6" | "F-IP6/" => write!(out, "{IP6}"),
        "ADDR" | "F-ADDR/" => write!(out, r"\[?(?:{IP4}|{IP6})\]?"),
        "DNS" | "F-DNS/" => write!(out, "{DNS}"),
        "CIDR" | "F-CIDR/" => write!(out, "{CIDR}"),
        "SUBNET" | "F-SUBNET/" => write!(out, r"\[?(?:{IP4}|{IP6})(?:/{CIDR})?\]?"),
        "F-ID/" => write!(out, r"(?P<fid>\S+)"),
        "F-PORT/" => write!(out, r"(?P<fport>\w+)"),
        "HOST" => match host {
            HostTag::Address => write!(out, r"\[?(?:{IP4}|{IP6})\]?"),
            HostTag::AddressOrName => write!(out, r"(?:\[?(?:{IP4}|{IP6})\]?|{DNS})"),
        },
        _ => return false,
    };
    written.is_ok()
}

/// Turns `(?:(?i)x)` and `((?i)x)` into `(?i:x)`: flags inside of a pattern apply to the whole of it
/// and are an error since Python 3.11, so fail2ban gives them to their group.
fn scope_flags(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut escaped = false;
    while let Some(c) = rest.chars().next() {
        if c == '('
            && !escaped
            && let Some((flags, after)) = leading_flags(rest)
        {
            let _ = write!(out, "(?{flags}:");
            rest = after;
        } else {
            out.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
        escaped = c == '\\';
    }
    out
}

/// For text that begins with `((?flags)` or `(?:(?flags)`: the flags and what follows.
fn leading_flags(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix("(?:(?").or_else(|| text.strip_prefix("((?"))?;
    let (flags, after) = inner.split_once(')')?;
    let letters = flags.bytes().all(|b| b.is_ascii_lowercase());
    (letters && !flags.is_empty()).then_some((flags, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_expand() {
        let addr = format!(r"\[?(?:{IP4}|{IP6})\]?");
        let host = format!("(?:{addr}|{DNS})");
        let table: &[(&str, &str)] = &[
            ("from <HOST>$", &format!("from {host}$")),
            ("<ADDR><F-ADDR/>", &format!("{addr}{addr}")),
            ("<SUBNET>", &format!(r"\[?(?:{IP4}|{IP6})(?:/(?P<cidr>\d+))?\]?")),
            ("<IP4><IP6><DNS><CIDR>", &format!("{IP4}{IP6}{DNS}{CIDR}")),
            ("<F-ID/> <F-PORT/>", r"(?P<fid>\S+) (?P<fport>\w+)"),
            ("<F-ID>x</F-ID><F-PORT>y</F-PORT>", "(?P<fid>x)(?P<fport>y)"),
            ("<F-ALT_USER1>x|y</F-ALT_USER1>", "(?P<alt_user1>x|y)"),
            ("<F-A-B>x</F-A-B>", "(?P<a-b>x)"),
            ("<F-USER>a</F-USER>b</F-USER>", "(?P<user>a)b)"),
            ("</F-USER><F-USER>", "</F-USER>(?P<user>"),
            ("<F-foo><F-HOST/><F-><host><HOST/>", "<F-foo><F-HOST/><F-><host><HOST/>"),
            ("a<b>c < d > <<HOST>", &format!("a<b>c < d > <{host}")),
            (
                "a<SKIPLINES>b<SKIPLINES>",
                r"a\n(?P<skiplines0>(?:(?:.*\n)*?))b\n(?P<skiplines1>(?:(?:.*\n)*?))",
            ),
            ("((?i)x)", "(?i:x)"),
            ("(?:(?i)x)", "(?i:x)"),
            ("(((?iu)x))", "((?iu:x))"),
            (r"\((?i)x)", r"\((?i)x)"),
            ("(?P<a>(?i)x)", "(?P<a>(?i)x)"),
            ("(?=(?i)x)", "(?=(?i)x)"),
            ("(?i)x", "(?i)x"),
        ];
        for (pattern, expected) in table {
            assert_eq!(&expand(pattern, HostTag::AddressOrName), expected, "{pattern}");
        }
        assert_eq!(expand("<HOST>", HostTag::for_usedns("no")), addr);
        assert_eq!(expand("<HOST>", HostTag::for_usedns("warn")), host);
    }

    #[test]
    fn errors_read_as_in_fail2ban() {
        let check = |pattern: &str, expected: &str| {
            let error = compile_failregex(pattern, HostTag::Address, Flags::default(), None);
            assert_eq!(error.map(|_| ()).map_err(|e| e.to_string()), Err(expected.to_owned()));
        };
        check("  \t", "Cannot add empty regex");
        check("a (b)", "No failure-id group in 'a (b)'");
        check(
            "<F-USER>a",
            "Unable to compile regular expression '(?P<user>a':\n\
             missing ), unterminated subpattern at position 0",
        );
        check(
            "<F-A-B>x</F-A-B>",
            "Unable to compile regular expression '(?P<a-b>x)':\n\
             bad character in group name 'a-b' at position 4",
        );
    }

    #[test]
    fn someone_must_have_failed() {
        let compile = |pattern, prefregex: Option<&Regex>| {
            compile_failregex(pattern, HostTag::Address, Flags::default(), prefregex).is_ok()
        };
        for pattern in ["<HOST>", "(?P<host>x)", "<F-ID/>", "<F-MLFID>x</F-MLFID>", "<DNS>"] {
            assert!(compile(pattern, None), "{pattern}");
        }
        let prefix = compile_failregex("<ADDR>: ", HostTag::Address, Flags::default(), None);
        let prefix = prefix.unwrap().regex;
        assert!(compile("x", Some(&prefix)));
        assert!(!compile("x", None));
    }
}
