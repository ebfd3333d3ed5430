//! Python's `re` syntax (3.11, `str` patterns) to the tree.
//!
//! It accepts what Python accepts, refuses what Python refuses, and says so in Python's words and
//! with Python's positions, because administrators search the web for those words. It never guesses:
//! an escape that Python does not know is an error here too.
//!
//! Left out: `\N{NAME}` (needs the table of character names) and the template flag `t`.

mod escape;
mod group;

use super::ast::{Assertion, Case, Greed, Node, Pattern};
use super::{Flags, RegexError};
use escape::literal;

/// Deeper patterns are refused: the tree is walked recursively everywhere.
const MAX_DEPTH: usize = 60;

/// Longer patterns are refused. The longest stock pattern has about 3 KB.
const MAX_PATTERN_CHARS: usize = 256 * 1024;

/// Parses `pattern`.
pub fn parse(pattern: &str, flags: Flags) -> Result<Pattern, RegexError> {
    let mut parser = Parser {
        chars: pattern.chars().collect(),
        at: 0,
        depth: 0,
        names: vec![None],
        widths: vec![None],
        lookbehind_groups: None,
        conditions: Vec::new(),
    };
    if parser.chars.len() > MAX_PATTERN_CHARS {
        return Err(RegexError { message: "pattern too long".to_owned() });
    }
    let mut state = State {
        ignore_case: flags.ignore_case,
        multi_line: flags.multi_line,
        dot_all: false,
        verbose: false,
        ascii: false,
    };
    let root = parser.alternation(&mut state, true)?;
    if parser.peek().is_some() {
        return Err(parser.error("unbalanced parenthesis", parser.at));
    }
    for &(group, at) in &parser.conditions {
        if group >= parser.names.len() {
            return Err(parser.error(&format!("invalid group reference {group}"), at));
        }
    }
    parser.check_lookbehinds(&root)?;
    Ok(Pattern { root, names: parser.names })
}

/// The flags in force at one place of the pattern.
#[derive(Clone, Copy)]
struct State {
    ignore_case: bool,
    multi_line: bool,
    dot_all: bool,
    verbose: bool,
    ascii: bool,
}

impl State {
    fn case(self) -> Case {
        match (self.ignore_case, self.ascii) {
            (false, _) => Case::Sensitive,
            (true, false) => Case::Unicode,
            (true, true) => Case::Ascii,
        }
    }

    fn set(&mut self, flag: char, on: bool) {
        match flag {
            'i' => self.ignore_case = on,
            'm' => self.multi_line = on,
            's' => self.dot_all = on,
            'x' => self.verbose = on,
            'a' => self.ascii = true,
            // Unicode is what a `str` pattern has anyway.
            _ => self.ascii = false,
        }
    }
}

/// Least and greatest width in characters; `None` is unbounded.
type Width = (u64, Option<u64>);

/// One element of a sequence, with what the quantifier rules have to know about it.
struct Item {
    node: Node,
    kind: ItemKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ItemKind {
    Plain,
    Assertion,
    Repeat,
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    depth: usize,
    names: Vec<Option<String>>,
    /// Widths of the groups; `None` while a group is open.
    widths: Vec<Option<Width>>,
    /// Number of groups at the start of the outermost lookbehind that is open.
    lookbehind_groups: Option<usize>,
    /// Numeric conditions, which may name groups that follow.
    conditions: Vec<(usize, usize)>,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        if c.is_some() {
            self.at += 1;
        }
        c
    }

    /// The next character; if it is a backslash, what it escapes is skipped with it. Python reads
    /// even comments and names this way.
    fn next_token(&mut self) -> Option<char> {
        let c = self.next();
        if c == Some('\\') {
            self.at = self.chars.len().min(self.at + 1);
        }
        c
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += 1;
        }
        found
    }

    /// The text from `start` to the current place.
    fn since(&self, start: usize) -> String {
        self.chars.get(start..self.at).unwrap_or_default().iter().collect()
    }

    /// Whether the pattern ends in a backslash that escapes nothing.
    fn has_lone_backslash(&self) -> bool {
        self.chars.iter().rev().take_while(|&&c| c == '\\').count() % 2 == 1
    }

    fn error(&self, mut message: &str, mut at: usize) -> RegexError {
        // Python reads one token ahead, and a lone backslash at the end is none.
        let last = self.chars.len().saturating_sub(1);
        if self.has_lone_backslash() && self.at >= last {
            (message, at) = ("bad escape (end of pattern)", last);
        }
        let before = self.chars.get(..at).unwrap_or(&self.chars);
        let mut message = format!("{message} at position {at}");
        if self.chars.contains(&'\n') {
            let line = before.iter().filter(|&&c| c == '\n').count() + 1;
            let column = match before.iter().rposition(|&c| c == '\n') {
                Some(newline) => at.saturating_sub(newline),
                None => at + 1,
            };
            message.push_str(&format!(" (line {line}, column {column})"));
        }
        RegexError { message }
    }

    fn alternation(&mut self, state: &mut State, top: bool) -> Result<Node, RegexError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("too many nested groups", self.at));
        }
        let mut branches = Vec::new();
        loop {
            branches.push(self.sequence(state, top && branches.is_empty())?);
            if !self.eat('|') {
                break;
            }
        }
        self.depth -= 1;
        match branches.pop() {
            Some(only) if branches.is_empty() => Ok(only),
            Some(last) => {
                branches.push(last);
                Ok(Node::Alternate(branches))
            }
            None => Ok(Node::Empty),
        }
    }

    fn sequence(&mut self, state: &mut State, first: bool) -> Result<Node, RegexError> {
        let mut items: Vec<Item> = Vec::new();
        while let Some(c) = self.peek() {
            if c == '|' || c == ')' {
                break;
            }
            let start = self.at;
            self.at += 1;
            if state.verbose {
                if matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}') {
                    continue;
                }
                if c == '#' {
                    while self.next_token().is_some_and(|c| c != '\n') {}
                    if self.has_lone_backslash() && self.at == self.chars.len() {
                        return Err(self.error("bad escape (end of pattern)", start));
                    }
                    continue;
                }
            }
            let (node, kind) = match c {
                '\\' => {
                    let node = self.escape(start, *state)?;
                    let kind = match node {
                        Node::Assert(_) => ItemKind::Assertion,
                        _ => ItemKind::Plain,
                    };
                    (node, kind)
                }
                '.' => (Node::Any { newline: state.dot_all }, ItemKind::Plain),
                '^' if state.multi_line => {
                    (Node::Assert(Assertion::LineStart), ItemKind::Assertion)
                }
                '^' => (Node::Assert(Assertion::TextStart), ItemKind::Assertion),
                '$' if state.multi_line => (Node::Assert(Assertion::LineEnd), ItemKind::Assertion),
                '$' => (Node::Assert(Assertion::TextEndOrFinalNewline), ItemKind::Assertion),
                '[' => (self.set(start, *state)?, ItemKind::Plain),
                '(' => match self.group(start, state, first && items.is_empty())? {
                    Some(node) => (node, ItemKind::Plain),
                    None => continue,
                },
                '*' | '+' | '?' | '{' => match self.quantifier(c, start)? {
                    Some((min, max)) => {
                        let Some(last) = items.pop() else {
                            return Err(self.error("nothing to repeat", start));
                        };
                        match last.kind {
                            ItemKind::Plain => {}
                            ItemKind::Assertion => {
                                return Err(self.error("nothing to repeat", start));
                            }
                            ItemKind::Repeat => {
                                return Err(self.error("multiple repeat", start));
                            }
                        }
                        let greed = if self.eat('?') {
                            Greed::Lazy
                        } else if self.eat('+') {
                            Greed::Possessive
                        } else {
                            Greed::Greedy
                        };
                        let node = Node::Repeat { node: Box::new(last.node), min, max, greed };
                        (node, ItemKind::Repeat)
                    }
                    None => (Node::Literal('{', Case::Sensitive), ItemKind::Plain),
                },
                c => (literal(c, *state), ItemKind::Plain),
            };
            items.push(Item { node, kind });
        }
        Ok(Node::concat(items.into_iter().map(|item| item.node).collect()))
    }

    /// The bounds of a quantifier, or `None` if the `{` is a literal.
    fn quantifier(
        &mut self,
        c: char,
        start: usize,
    ) -> Result<Option<(u32, Option<u32>)>, RegexError> {
        match c {
            '*' => return Ok(Some((0, None))),
            '+' => return Ok(Some((1, None))),
            '?' => return Ok(Some((0, Some(1)))),
            _ => {}
        }
        if self.peek() == Some('}') {
            return Ok(None);
        }
        let here = self.at;
        let low = self.digits();
        let high = if self.eat(',') { self.digits() } else { low.clone() };
        if !self.eat('}') {
            self.at = here;
            return Ok(None);
        }
        let bound = |digits: &str| -> Result<Option<u32>, RegexError> {
            if digits.is_empty() {
                return Ok(None);
            }
            match digits.parse::<u32>() {
                Ok(n) if n != u32::MAX => Ok(Some(n)),
                _ => Err(RegexError { message: "the repetition number is too large".to_owned() }),
            }
        };
        let min = bound(&low)?.unwrap_or(0);
        let max = bound(&high)?;
        if max.is_some_and(|max| max < min) {
            return Err(self.error("min repeat greater than max repeat", start + 1));
        }
        Ok(Some((min, max)))
    }

    fn digits(&mut self) -> String {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        self.since(start)
    }

    fn width(&self, node: &Node) -> Width {
        width(node, &self.widths)
    }

    fn check_lookbehinds(&self, root: &Node) -> Result<(), RegexError> {
        let variable = root.any(&mut |node| match node {
            Node::Look { ahead: false, node, .. } => {
                let (low, high) = self.width(node);
                high != Some(low)
            }
            _ => false,
        });
        if variable {
            let message = "look-behind requires fixed-width pattern".to_owned();
            return Err(RegexError { message });
        }
        Ok(())
    }
}

fn width(node: &Node, groups: &[Option<Width>]) -> Width {
    let add = |a: Width, b: Width| {
        (a.0.saturating_add(b.0), a.1.zip(b.1).map(|(a, b)| a.saturating_add(b)))
    };
    let either = |a: Width, b: Width| (a.0.min(b.0), a.1.zip(b.1).map(|(a, b)| a.max(b)));
    match node {
        Node::Empty | Node::Assert(_) | Node::Look { .. } => (0, Some(0)),
        Node::Literal(..) | Node::Any { .. } | Node::Set(_) => (1, Some(1)),
        Node::Group(_, node) | Node::Atomic(node) => width(node, groups),
        Node::Concat(nodes) => nodes.iter().map(|n| width(n, groups)).fold((0, Some(0)), add),
        Node::Alternate(nodes) => {
            nodes.iter().map(|n| width(n, groups)).reduce(either).unwrap_or((0, Some(0)))
        }
        Node::Repeat { node, min, max, .. } => {
            let (low, high) = width(node, groups);
            let high = match (high, max) {
                (Some(0), _) => Some(0),
                (Some(high), Some(max)) => Some(high.saturating_mul(u64::from(*max))),
                _ => None,
            };
            (low.saturating_mul(u64::from(*min)), high)
        }
        Node::Conditional { yes, no, .. } => either(width(yes, groups), width(no, groups)),
        Node::Backref(group, _) => groups.get(*group).copied().flatten().unwrap_or((0, None)),
    }
}
