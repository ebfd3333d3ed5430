//! One file's text to blocks of options: the line syntax of Python's ConfigParser, as fail2ban
//! sets it up.
//!
//! Nothing is interpolated here. A fault does not end the reading: it is remembered with the
//! section it lies in, so that the caller can decide how far it reaches.

use std::collections::HashMap;
use std::sync::Arc;

use sekisho_core::command::Origin;
use sekisho_core::effect::Level;

use crate::error::ConfigError;
use crate::notice::Notice;
use crate::text::{Options, Text, is_space, strip};

/// The section whose options every section has.
pub const DEFAULT: &str = "DEFAULT";

/// A `[section]` with its options.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its name.
    pub name: String,
    /// Its options, names in lower case.
    pub options: Options,
}

/// A file as it was written.
#[derive(Clone, Debug, Default)]
pub struct ParsedFile {
    /// Blocks in order; one section may have several.
    pub blocks: Vec<Block>,
    /// Faults, each with the section it lies in.
    pub errors: Vec<(Option<String>, ConfigError)>,
    /// Warnings.
    pub notices: Vec<Notice>,
}

/// Parses the bytes of a file.
pub fn parse_bytes(path: &str, bytes: &[u8]) -> ParsedFile {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(path, text),
        Err(e) => {
            let before = bytes.get(..e.valid_up_to()).unwrap_or(bytes);
            let line = 1 + before.iter().filter(|b| **b == b'\n').count();
            let origin = Origin { file: path.into(), line: line_number(line) };
            ParsedFile {
                errors: vec![(None, ConfigError::NotUtf8 { origin })],
                ..ParsedFile::default()
            }
        }
    }
}

/// Parses the text of a file.
pub fn parse(path: &str, text: &str) -> ParsedFile {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut parser = Parser {
        path: path.into(),
        out: ParsedFile::default(),
        seen: HashMap::new(),
        defaults: HashMap::new(),
        block: None,
        option: None,
        indent: 0,
    };
    for (at, line) in text.lines().enumerate() {
        parser.line(line_number(at + 1), line);
    }
    parser.end_block();
    parser.out
}

fn line_number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// An option being read.
struct Open {
    name: String,
    origin: Origin,
    lines: Vec<String>,
    /// It repeats an option: its lines are read, its value is not kept.
    repeated: bool,
}

struct Parser {
    path: Arc<str>,
    out: ParsedFile,
    /// Line of the first block of every section.
    seen: HashMap<String, u32>,
    /// Lines of the options of all blocks of `[DEFAULT]`.
    defaults: HashMap<String, u32>,
    block: Option<Block>,
    option: Option<Open>,
    indent: usize,
}

impl Parser {
    fn line(&mut self, number: u32, line: &str) {
        let (value, has_comment) = without_comment(line);
        if value.is_empty() {
            // A blank line belongs to the value; a comment line does not.
            if let (false, Some(open)) = (has_comment, &mut self.option) {
                open.lines.push(String::new());
            }
            return;
        }
        let indent = line.chars().take_while(|c| is_space(*c)).count();
        if let Some(open) = &mut self.option
            && indent > self.indent
        {
            open.lines.push(value.to_owned());
            return;
        }
        self.indent = indent;
        let origin = Origin { file: self.path.clone(), line: number };
        if let Some((name, rest)) = header(value) {
            self.start_block(name, rest, origin);
        } else if self.block.is_none() {
            self.error(ConfigError::NoSection { origin, line: value.to_owned() });
        } else {
            self.start_option(value, origin);
        }
    }

    fn start_block(&mut self, name: &str, rest: &str, origin: Origin) {
        self.end_block();
        if !rest.is_empty() || name.contains(']') {
            let text = format!(
                "the text behind [{}] is ignored; write it on a line of its own",
                name.split(']').next().unwrap_or(name)
            );
            self.warn(&origin, text);
        }
        if let Some(first) = self.seen.get(name) {
            if name != DEFAULT {
                let text = format!(
                    "section [{name}] appears again (first in line {first}): the two are merged, \
                     and what is said later wins; better keep one of them"
                );
                self.warn(&origin, text);
            }
        } else {
            self.seen.insert(name.to_owned(), origin.line);
        }
        self.block = Some(Block { name: name.to_owned(), options: Options::default() });
    }

    fn start_option(&mut self, value: &str, origin: Origin) {
        let split = value.find(['=', ':']).map(|at| value.split_at(at));
        let name = split.map_or("", |(name, _)| strip(name)).to_lowercase();
        let hint = self.continuation_hint(&name);
        // Behind a bad line, the option before it may still go on.
        let Some((_, text)) = split.filter(|_| !name.is_empty()) else {
            let line = value.to_owned();
            let or = hint.map(|hint| format!(" or, {hint}")).unwrap_or_default();
            let hint = format!("; write option = value{or}");
            self.error(ConfigError::NotAnOption { origin, line, hint });
            return;
        };
        self.end_option();
        let text = strip(text.get(1..).unwrap_or("")).to_owned();
        let first = self.block.as_ref().and_then(|b| b.options.get(&name)).map(|t| t.origin.line);
        if let Some(first) = first {
            let section = self.block.as_ref().map(|b| b.name.clone()).unwrap_or_default();
            let or = hint.map(|hint| format!(" or, {hint}")).unwrap_or_default();
            let hint = format!("; remove one of them{or}");
            let option = name.clone();
            let origin = origin.clone();
            self.error(ConfigError::OptionTwice { origin, section, option, first, hint });
        } else if let Some(hint) = hint.filter(|_| name.contains(['<', '\\', '(', '[', '|', '^'])) {
            self.warn(&origin, format!("'{name}' is read as an option of its own; {hint}"));
        }
        if first.is_none() && self.block.as_ref().is_some_and(|b| b.name == DEFAULT) {
            self.default_again(&name, &origin);
        }
        self.option = Some(Open { name, origin, lines: vec![text], repeated: first.is_some() });
    }

    /// A second block of `[DEFAULT]` is common, and harmless where it says something new.
    fn default_again(&mut self, name: &str, origin: &Origin) {
        if let Some(first) = self.defaults.insert(name.to_owned(), origin.line) {
            let text = format!(
                "option '{name}' of [DEFAULT] appears again (first in line {first}): what is said \
                 later wins; better keep one of them"
            );
            self.warn(origin, text);
        }
    }

    /// What to say when a line looks like a lost continuation of the last option that is not
    /// called `name` itself.
    fn continuation_hint(&self, name: &str) -> Option<String> {
        let open = self.option.as_ref().map(|o| (o.name.as_str(), o.origin.line));
        let block = self.block.as_ref().map(|b| b.options.iter());
        let closed = block.into_iter().flatten().map(|(name, text)| (name, text.origin.line));
        let (option, line) = closed
            .chain(open)
            .filter(|(option, _)| *option != name)
            .max_by_key(|(_, line)| *line)?;
        Some(format!(
            "if it continues the value of '{option}' (line {line}), begin it with a blank"
        ))
    }

    fn end_option(&mut self) {
        let Some(open) = self.option.take() else { return };
        if open.repeated {
            return;
        }
        let value = open.lines.join("\n");
        let value = value.trim_end_matches(is_space);
        if let Some(block) = &mut self.block {
            block.options.insert(&open.name, Text::new(value, &open.origin));
        }
    }

    fn end_block(&mut self) {
        self.end_option();
        self.out.blocks.extend(self.block.take());
    }

    fn error(&mut self, error: ConfigError) {
        let section = self.block.as_ref().map(|b| b.name.clone());
        self.out.errors.push((section, error));
    }

    fn warn(&mut self, origin: &Origin, text: String) {
        self.out.notices.push(Notice { level: Level::Warning, text, origin: Some(origin.clone()) });
    }
}

/// The stripped line without its comment, and whether it had one.
///
/// `#` and `;` begin a comment as the first character of a line; `;` also behind a blank.
fn without_comment(line: &str) -> (&str, bool) {
    let stripped = strip(line);
    if stripped.starts_with(['#', ';']) {
        return ("", true);
    }
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if c == ';' && is_space(before) {
            return (strip(line.get(..at).unwrap_or("")), true);
        }
        before = c;
    }
    (stripped, false)
}

/// Name of a section header, greedy to the last `]`, and what stands behind it.
fn header(value: &str) -> Option<(&str, &str)> {
    let inner = value.strip_prefix('[')?;
    let end = inner.rfind(']').filter(|at| *at > 0)?;
    Some((inner.get(..end)?, strip(inner.get(end + 1..)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        let file = parse("f", text);
        let mut out = Vec::new();
        for block in &file.blocks {
            let options: Vec<String> = block
                .options
                .iter()
                .map(|(k, t)| format!("{k}@{}={:?}", t.origin.line, t.value))
                .collect();
            out.push(format!("[{}] {}", block.name, options.join(" ")));
        }
        out.extend(file.errors.iter().map(|(s, e)| format!("{s:?} {}", e.located())));
        out.extend(file.notices.iter().map(|n| n.located()));
        out.join("\n")
    }

    #[test]
    fn lines() {
        for (text, expected) in [
            ("[a]\nX = 1", "[a] x@2=\"1\""),
            ("[a]\nx : 1 = 2", "[a] x@2=\"1 = 2\""),
            ("[a]\nx=1\n  2\n\n  3\n\n[b]", "[a] x@2=\"1\\n2\\n\\n3\"\n[b] "),
            ("[a]\nx=1\n # c\n; d\n  2 ; e\n  #f", "[a] x@2=\"1\\n2\""),
            ("[a]\nx=1 # no ; yes\ny=a;b\n", "[a] x@2=\"1 # no\" y@3=\"a;b\""),
            ("[a]\n  x=1\n  y=2\n   3", "[a] x@2=\"1\" y@3=\"2\\n3\""),
            ("[a]\nx=\ny =\r\n z", "[a] x@2=\"\" y@3=\"\\nz\""),
            ("\u{feff}[a]\nx=1", "[a] x@2=\"1\""),
            (
                "x=1",
                "None f:1: File contains no section headers: 'x=1'; put the line below a [section]",
            ),
            (
                "[a]\nabc",
                "[a] \nSome(\"a\") f:2: Source contains parsing errors: 'abc'; write option = value",
            ),
            (
                "[a]\nx=1\nabc",
                "[a] x@2=\"1\"\nSome(\"a\") f:3: Source contains parsing errors: 'abc'; write option \
                 = value or, if it continues the value of 'x' (line 2), begin it with a blank",
            ),
            (
                "[a]\nx=1\nX=2\n 3\ny=4",
                "[a] x@2=\"1\" y@5=\"4\"\nSome(\"a\") f:3: option 'x' in section 'a' already exists \
                 (line 2); remove one of them",
            ),
            (
                "[a]\nz=1\nx=1\nx=2",
                "[a] z@2=\"1\" x@3=\"1\"\nSome(\"a\") f:4: option 'x' in section 'a' already exists \
                 (line 3); remove one of them or, if it continues the value of 'z' (line 2), begin \
                 it with a blank",
            ),
            (
                "[a] enabled = true\nx=1",
                "[a] x@2=\"1\"\nf:1: the text behind [a] is ignored; write it on a line of its own",
            ),
            (
                "[a]\nx=1\n[a]\nx=2",
                "[a] x@2=\"1\"\n[a] x@4=\"2\"\nf:3: section [a] appears again (first in line 1): \
                 the two are merged, and what is said later wins; better keep one of them",
            ),
            (
                "[Definition]\nfailregex = a\nb <HOST>: c",
                "[Definition] failregex@2=\"a\" b <host>@3=\"c\"\nf:3: 'b <host>' is read as an \
                 option of its own; if it continues the value of 'failregex' (line 2), begin it \
                 with a blank",
            ),
        ] {
            assert_eq!(show(text), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "([\\[\\]a=:;# \t\n%]|\\PC){0,80}") {
            let _ = parse("f", &text);
            let _ = parse_bytes("f", text.as_bytes());
        }
    }
}
