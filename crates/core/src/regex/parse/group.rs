//! Groups of every kind: captures, assertions, conditions, flags, comments.

use super::super::RegexError;
use super::super::ast::Node;
use super::{MAX_DEPTH, Parser, State};

impl Parser {
    /// A group; the `(` is at `start` and already read. `None`: nothing to match (comment, flags).
    pub(super) fn group(
        &mut self,
        start: usize,
        state: &mut State,
        flags_allowed: bool,
    ) -> Result<Option<Node>, RegexError> {
        if !self.eat('?') {
            return self.capture(start, *state, None).map(Some);
        }
        let Some(c) = self.next() else {
            return Err(self.error("unexpected end of pattern", self.at));
        };
        match c {
            'P' => self.python_extension(start, *state).map(Some),
            ':' => self.body(start, *state).map(Some),
            '#' => loop {
                match self.next_token() {
                    None => return Err(self.error("missing ), unterminated comment", start)),
                    Some(')') => return Ok(None),
                    Some(_) => {}
                }
            },
            '=' | '!' => {
                let node = Box::new(self.body(start, *state)?);
                Ok(Some(Node::Look { ahead: true, negated: c == '!', node }))
            }
            '<' => {
                let Some(c) = self.next() else {
                    return Err(self.error("unexpected end of pattern", self.at));
                };
                if c != '=' && c != '!' {
                    return Err(self.unknown_extension("<", c, start));
                }
                let outer = self.lookbehind_groups;
                self.lookbehind_groups = outer.or(Some(self.names.len()));
                let node = Box::new(self.body(start, *state)?);
                self.lookbehind_groups = outer;
                Ok(Some(Node::Look { ahead: false, negated: c == '!', node }))
            }
            '(' => self.conditional(start, *state).map(Some),
            '>' => self.body(start, *state).map(|node| Some(Node::Atomic(Box::new(node)))),
            c if c == '-' || is_flag(c) => match self.flags(c, *state)? {
                (inner, true) => self.body(start, inner).map(Some),
                (global, false) => {
                    if !flags_allowed {
                        let message = "global flags not at the start of the expression";
                        return Err(self.error(message, start));
                    }
                    *state = global;
                    Ok(None)
                }
            },
            c => Err(self.unknown_extension("", c, start)),
        }
    }

    pub(super) fn check_lookbehind_group(&self, group: usize) -> Result<(), RegexError> {
        let Some(outer) = self.lookbehind_groups else { return Ok(()) };
        if self.widths.get(group).copied().flatten().is_none() {
            return Err(self.error("cannot refer to an open group", self.at));
        }
        if group >= outer {
            let message = "cannot refer to group defined in the same lookbehind subpattern";
            return Err(self.error(message, self.at));
        }
        Ok(())
    }

    /// The complaint about `c` (already read) after `(?` and `before`; the `(` is at `start`.
    fn unknown_extension(&mut self, before: &str, c: char, start: usize) -> RegexError {
        // Python reads an escape as one.
        let escaped = if c == '\\' { self.next() } else { None };
        let escaped = escaped.map(String::from).unwrap_or_default();
        self.error(&format!("unknown extension ?{before}{c}{escaped}"), start + 1)
    }

    /// The inside of a group, and its `)`.
    fn body(&mut self, start: usize, mut state: State) -> Result<Node, RegexError> {
        let node = self.alternation(&mut state, false)?;
        if !self.eat(')') {
            return Err(self.error("missing ), unterminated subpattern", start));
        }
        Ok(node)
    }

    fn capture(
        &mut self,
        start: usize,
        state: State,
        name: Option<(String, usize)>,
    ) -> Result<Node, RegexError> {
        let group = self.names.len();
        let name = match name {
            Some((name, at)) => {
                if let Some(earlier) = self.group_by_name(&name) {
                    let message = format!(
                        "redefinition of group name {} as group {group}; was group {earlier}",
                        quoted(&name)
                    );
                    return Err(self.error(&message, at));
                }
                Some(name)
            }
            None => None,
        };
        self.names.push(name);
        self.widths.push(None);
        let node = self.body(start, state)?;
        let width = self.width(&node);
        if let Some(slot) = self.widths.get_mut(group) {
            *slot = Some(width);
        }
        Ok(Node::Group(group, Box::new(node)))
    }

    /// `(?P<name>…)`, `(?P=name)`; the `P` is already read.
    fn python_extension(&mut self, start: usize, state: State) -> Result<Node, RegexError> {
        if self.eat('<') {
            let name = self.identifier('>')?;
            return self.capture(start, state, Some(name));
        }
        if self.eat('=') {
            let (name, at) = self.identifier(')')?;
            let Some(group) = self.group_by_name(&name) else {
                return Err(self.error(&format!("unknown group name {}", quoted(&name)), at));
            };
            if self.widths.get(group).copied().flatten().is_none() {
                return Err(self.error("cannot refer to an open group", at));
            }
            self.check_lookbehind_group(group)?;
            return Ok(Node::Backref(group, state.case()));
        }
        match self.next() {
            None => Err(self.error("unexpected end of pattern", self.at)),
            Some(c) => Err(self.unknown_extension("P", c, start)),
        }
    }

    /// `(?(name)yes|no)`; the second `(` is already read.
    fn conditional(&mut self, start: usize, mut state: State) -> Result<Node, RegexError> {
        let at = self.at;
        let name = self.name(')')?;
        let group = if is_identifier(&name) {
            self.group_by_name(&name)
                .ok_or_else(|| self.error(&format!("unknown group name {}", quoted(&name)), at))?
        } else {
            // As since Python 3.12: digits only, neither a sign nor blanks.
            let number = Some(&name).filter(|name| name.bytes().all(|b| b.is_ascii_digit()));
            let number = number.and_then(|name| name.parse::<usize>().ok()).ok_or_else(|| {
                self.error(&format!("bad character in group name {}", quoted(&name)), at)
            })?;
            if number == 0 {
                return Err(self.error("bad group number", at));
            }
            self.conditions.push((number, at));
            number
        };
        self.check_lookbehind_group(group)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("too many nested groups", self.at));
        }
        let yes = Box::new(self.sequence(&mut state, false)?);
        let mut no = Box::new(Node::Empty);
        if self.eat('|') {
            no = Box::new(self.sequence(&mut state, false)?);
            if self.peek() == Some('|') {
                let message = "conditional backref with more than two branches";
                return Err(self.error(message, self.at));
            }
        }
        self.depth -= 1;
        if !self.eat(')') {
            return Err(self.error("missing ), unterminated subpattern", start));
        }
        Ok(Node::Conditional { group, yes, no })
    }

    /// Reads a name up to `end`, which is read too.
    fn name(&mut self, end: char) -> Result<String, RegexError> {
        let start = self.at;
        loop {
            match self.next_token() {
                None if self.at == start => {
                    return Err(self.error("missing group name", start));
                }
                None => {
                    let message = format!("missing {end}, unterminated name");
                    return Err(self.error(&message, start));
                }
                Some(c) if c == end => break,
                Some(_) => {}
            }
        }
        let mut name = self.since(start);
        name.pop();
        if name.is_empty() {
            return Err(self.error("missing group name", start));
        }
        Ok(name)
    }

    fn identifier(&mut self, end: char) -> Result<(String, usize), RegexError> {
        let start = self.at;
        let name = self.name(end)?;
        if !is_identifier(&name) {
            let message = format!("bad character in group name {}", quoted(&name));
            return Err(self.error(&message, start));
        }
        Ok((name, start))
    }

    fn group_by_name(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| n.as_deref() == Some(name))
    }

    /// Inline flags from `first` (already read) on. The answer is the new state, and whether a
    /// group with its own `:` begins (else the flags are global).
    fn flags(&mut self, first: char, state: State) -> Result<(State, bool), RegexError> {
        let mut inner = state;
        let mut on = String::new();
        let mut c = first;
        if c != '-' {
            loop {
                if c == 'L' {
                    let message = "bad inline flags: cannot use 'L' flag with a str pattern";
                    return Err(self.error(message, self.at));
                }
                on.push(c);
                if on.contains('a') && on.contains('u') {
                    let message = "bad inline flags: flags 'a', 'u' and 'L' are incompatible";
                    return Err(self.error(message, self.at));
                }
                inner.set(c, true);
                c = self.flag_char("missing -, : or )")?;
                if matches!(c, ')' | '-' | ':') {
                    break;
                }
                self.known_flag(c, "missing -, : or )")?;
            }
        }
        if c == ')' {
            return Ok((inner, false));
        }
        if c == '-' {
            c = self.flag_char("missing flag")?;
            self.known_flag(c, "missing flag")?;
            let mut both = false;
            loop {
                if matches!(c, 'a' | 'u' | 'L') {
                    let message = "bad inline flags: cannot turn off flags 'a', 'u' and 'L'";
                    return Err(self.error(message, self.at));
                }
                both |= on.contains(c);
                inner.set(c, false);
                c = self.flag_char("missing :")?;
                if c == ':' {
                    break;
                }
                self.known_flag(c, "missing :")?;
            }
            if both {
                let message = "bad inline flags: flag turned on and off";
                return Err(self.error(message, self.at - 1));
            }
        }
        Ok((inner, true))
    }

    fn flag_char(&mut self, missing: &str) -> Result<char, RegexError> {
        self.next().ok_or_else(|| self.error(missing, self.at))
    }

    fn known_flag(&mut self, c: char, missing: &str) -> Result<(), RegexError> {
        if is_flag(c) {
            return Ok(());
        }
        let message = if c.is_alphabetic() { "unknown flag" } else { missing };
        let at = self.at - 1;
        if c == '\\' {
            // Python reads an escape as one.
            self.next();
        }
        Err(self.error(message, at))
    }
}

fn is_flag(c: char) -> bool {
    matches!(c, 'i' | 'L' | 'm' | 's' | 'x' | 'a' | 'u')
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_')
}

/// As Python's `repr` writes a string, rarer control characters aside.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', r"\\").replace('\n', r"\n").replace('\t', r"\t");
    if text.contains('\'') && !text.contains('"') {
        format!("\"{escaped}\"")
    } else {
        format!("'{}'", escaped.replace('\'', r"\'"))
    }
}
