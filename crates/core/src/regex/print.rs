//! The (simplified) tree, written in the syntax of the engine below (fancy-regex), with Python's meaning.
//!
//! Every set is written out, every assertion is spelled so that it means what Python means, and no
//! flag of the engine is relied on: two dialects cannot be confused if only their common part is
//! used. It must never print something that means almost the same.
//!
//! Two alphabets: programs for ASCII texts have classes of bytes only, which keeps them small and
//! quick to build; the Unicode twin is built when the first other text comes.
//!
//! A pattern without look-around, back-references and conditions is run by a linear-time engine, so
//! the common `$` at the end is not written as the lookahead it is: `()\n?\z` consumes the newline,
//! and the empty group remembers where the match really ended ([`Printed::ends`]).

use super::ast::{Assertion, Case, Greed, Node, Pattern, Set, SetItem};
use super::chars::{self, CaseTable};
use std::fmt::Write;

/// Which texts a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// Texts of ASCII only.
    Ascii,
    /// Any text.
    Unicode,
}

/// A printed pattern.
#[derive(Clone, Debug)]
pub struct Printed {
    /// For the engine.
    pub text: String,
    /// The engine's group number of each group.
    pub groups: Vec<usize>,
    /// Where `$` was written as consuming: if this engine group matched, these groups end where it
    /// stands.
    pub ends: Vec<(usize, Vec<usize>)>,
}

/// Prints a pattern.
pub fn print(pattern: &Pattern, alphabet: Alphabet) -> Printed {
    let mut printer = print_with(pattern, alphabet, vec![NEVER; pattern.names.len()]);
    if printer.asked_ahead {
        // A condition named a group that follows it; now its number is known. The branch that was
        // left out may number the groups anew, so once more.
        printer = print_with(pattern, alphabet, printer.groups);
        printer = print_with(pattern, alphabet, printer.groups);
    }
    if let Some(whole) = printer.groups.first_mut() {
        *whole = 0;
    }
    Printed { text: printer.out, groups: printer.groups, ends: printer.ends }
}

fn print_with(pattern: &Pattern, alphabet: Alphabet, groups: Vec<usize>) -> Printer {
    let mut printer = Printer {
        alphabet,
        out: String::new(),
        groups,
        group_count: 0,
        enclosing: vec![0],
        ends: Vec::new(),
        cases: None,
        asked_ahead: false,
        refers: pattern
            .root
            .any(&mut |node| matches!(node, Node::Backref(..) | Node::Conditional { .. })),
    };
    printer.alternation(&pattern.root, true);
    printer
}

/// The engine's number of a group that can never match (`(a){0}`).
pub const NEVER: usize = usize::MAX;

struct Printer {
    alphabet: Alphabet,
    out: String,
    groups: Vec<usize>,
    group_count: usize,
    /// The groups whose end the current place may be, if nothing follows.
    enclosing: Vec<usize>,
    ends: Vec<(usize, Vec<usize>)>,
    cases: Option<CaseTable>,
    asked_ahead: bool,
    /// Whether the pattern has back-references or conditions.
    refers: bool,
}

impl Printer {
    /// Prints a node where alternatives may stand bare. `tail`: nothing follows that could consume.
    fn alternation(&mut self, node: &Node, tail: bool) {
        let Node::Alternate(branches) = node else { return self.sequence(node, tail) };
        if branches.iter().any(Node::captures) {
            self.keep_choice();
        }
        for (i, branch) in branches.iter().enumerate() {
            if i > 0 {
                self.out.push('|');
            }
            self.sequence(branch, tail);
        }
    }

    /// Where a back-reference or a condition may ask which groups took part, the engine must be able
    /// to come back to a choice between them. Its linear half chooses for good among alternatives of
    /// one width; a look-around puts its backtracking half in charge.
    fn keep_choice(&mut self) {
        if self.refers {
            let _ = write!(self.out, "(?!{})", chars::NOTHING);
        }
    }

    /// Prints a node where a sequence may stand bare.
    fn sequence(&mut self, node: &Node, tail: bool) {
        let Node::Concat(nodes) = node else { return self.atom(node, tail) };
        let last = nodes.len().saturating_sub(1);
        for (i, node) in nodes.iter().enumerate() {
            self.atom(node, tail && i == last);
        }
    }

    /// Prints a node so that a quantifier may follow, except if it is a quantified one itself.
    fn atom(&mut self, node: &Node, tail: bool) {
        match node {
            Node::Empty => self.out.push_str("(?:)"),
            Node::Literal(c, case) => self.literal(*c, *case),
            Node::Any { newline } => self.any(*newline),
            Node::Set(set) => self.set(set),
            Node::Assert(assertion) => self.assertion(*assertion, tail),
            Node::Group(group, inner) => {
                self.group_count += 1;
                let number = self.group_count;
                if let Some(slot) = self.groups.get_mut(*group) {
                    *slot = number;
                }
                self.enclosing.push(*group);
                self.out.push('(');
                let lazy = matches!(**inner, Node::Repeat { max: None, greed: Greed::Lazy, .. });
                if lazy && !zero_width(inner) {
                    // Or the engine takes `(a+?)*` for `(a+?)?`, which ends in another group.
                    self.out.push_str("(?:");
                    self.alternation(inner, tail);
                    self.out.push_str("){1}");
                } else {
                    self.alternation(inner, tail);
                }
                self.out.push(')');
                self.enclosing.pop();
            }
            Node::Concat(_) => {
                self.out.push_str("(?:");
                self.sequence(node, tail);
                self.out.push(')');
            }
            Node::Alternate(_) => {
                self.out.push_str("(?:");
                self.alternation(node, tail);
                self.out.push(')');
            }
            Node::Repeat { node, min, max, greed } => self.repeat(node, *min, *max, *greed),
            Node::Look { ahead, negated, node } => {
                self.out.push_str(match (ahead, negated) {
                    (true, false) => "(?=",
                    (true, true) => "(?!",
                    (false, false) => "(?<=",
                    (false, true) => "(?<!",
                });
                // What a lookahead consumes moves no group outside of it.
                let outer = std::mem::take(&mut self.enclosing);
                self.alternation(node, *ahead);
                self.enclosing = outer;
                self.out.push(')');
            }
            Node::Atomic(inner) => {
                self.out.push_str("(?>");
                self.alternation(inner, tail);
                self.out.push(')');
            }
            Node::Conditional { group, yes, no } => {
                let number = self.groups.get(*group).copied().unwrap_or(NEVER);
                if number == NEVER {
                    self.asked_ahead = true;
                    self.out.push_str("(?:");
                    self.alternation(no, tail);
                    self.out.push(')');
                    return;
                }
                let _ = write!(self.out, "(?({number})");
                self.sequence(yes, tail);
                self.out.push('|');
                self.sequence(no, tail);
                self.out.push(')');
            }
            Node::Backref(group, case) => {
                let number = self.groups.get(*group).copied().unwrap_or(NEVER);
                let flag = if *case == Case::Sensitive { "" } else { "i" };
                let _ = write!(self.out, r"(?{flag}:\{number})");
            }
        }
    }

    fn literal(&mut self, c: char, case: Case) {
        if self.alphabet == Alphabet::Ascii && !c.is_ascii() && case != Case::Unicode {
            self.out.push_str(chars::NOTHING);
        } else if case == Case::Sensitive {
            if c.is_ascii_alphanumeric() || " !\"%',/:;<=>@_`".contains(c) {
                self.out.push(c);
            } else {
                let _ = write!(self.out, r"\x{{{:x}}}", u32::from(c));
            }
        } else {
            let items = vec![SetItem::Range(u32::from(c), u32::from(c))];
            self.set(&Set { negated: false, items, case });
        }
    }

    fn any(&mut self, newline: bool) {
        self.out.push_str(match (self.alphabet, newline) {
            (Alphabet::Ascii, false) => r"[\x{0}-\x{9}\x{b}-\x{7f}]",
            (Alphabet::Ascii, true) => r"[\x{0}-\x{7f}]",
            (Alphabet::Unicode, false) => r"[^\n]",
            (Alphabet::Unicode, true) => r"[\x{0}-\x{10ffff}]",
        });
    }

    fn set(&mut self, set: &Set) {
        match self.alphabet {
            Alphabet::Ascii => chars::write_ascii(chars::ascii_mask(set), &mut self.out),
            Alphabet::Unicode => chars::write_unicode(set, &mut self.cases, &mut self.out),
        }
    }

    fn assertion(&mut self, assertion: Assertion, tail: bool) {
        match assertion {
            Assertion::TextStart => self.out.push_str(r"\A"),
            Assertion::TextEnd => self.out.push_str(r"\z"),
            Assertion::LineStart => self.out.push_str("(?m:^)"),
            Assertion::LineEnd => self.out.push_str("(?m:$)"),
            Assertion::TextEndOrFinalNewline if !tail => self.out.push_str(r"(?=\n?\z)"),
            Assertion::TextEndOrFinalNewline => {
                self.out.push_str("(?:");
                if !self.enclosing.is_empty() {
                    self.group_count += 1;
                    self.ends.push((self.group_count, self.enclosing.clone()));
                    self.out.push_str("()");
                }
                self.out.push_str(r"\n?\z)");
            }
            Assertion::WordBoundary { ascii } => self.boundary(ascii, false),
            Assertion::NotWordBoundary { ascii } => self.boundary(ascii, true),
        }
    }

    fn boundary(&mut self, ascii: bool, negated: bool) {
        if self.alphabet == Alphabet::Ascii {
            self.out.push_str(if negated { r"\B" } else { r"\b" });
            return;
        }
        // The engine's own \b counts marks and joiners as letters; Python does not.
        let w = chars::word(ascii);
        let _ = if negated {
            // In an empty text Python finds neither \b nor \B.
            write!(
                self.out,
                "(?:(?<=[{w}])(?=[{w}])|(?<![{w}])(?![{w}])(?:(?<=[^{w}])|(?=[^{w}])))"
            )
        } else {
            write!(self.out, "(?:(?<=[{w}])(?![{w}])|(?<![{w}])(?=[{w}]))")
        };
    }

    fn repeat(&mut self, node: &Node, min: u32, max: Option<u32>, greed: Greed) {
        if zero_width(node) {
            return self.repeat_zero_width(node, min, greed);
        }
        let possessive = greed == Greed::Possessive;
        if possessive {
            self.out.push_str("(?>");
        }
        // Each turn of a possessive repetition is final too.
        let single = matches!(node, Node::Literal(..) | Node::Any { .. } | Node::Set(_));
        if possessive && !single {
            self.out.push_str("(?>");
            self.alternation(node, false);
            self.out.push(')');
        } else if max != Some(1) && node.nullable() && node.captures() {
            // A turn may match the empty string and set groups doing so. Only the backtracking half
            // of the engine counts such turns as Python does, and a look-around puts it in charge.
            let _ = write!(self.out, "(?:(?!{})(?:", chars::NOTHING);
            self.alternation(node, false);
            self.out.push_str("))");
        } else if matches!(node, Node::Repeat { .. }) {
            self.out.push_str("(?:");
            self.atom(node, false);
            self.out.push(')');
        } else {
            self.atom(node, false);
        }
        let _ = match (min, max) {
            (0, None) => write!(self.out, "*"),
            (1, None) => write!(self.out, "+"),
            (0, Some(1)) => write!(self.out, "?"),
            (min, None) => write!(self.out, "{{{min},}}"),
            (min, Some(max)) if min == max => write!(self.out, "{{{min}}}"),
            (min, Some(max)) => write!(self.out, "{{{min},{max}}}"),
        };
        match greed {
            Greed::Greedy => {}
            Greed::Lazy => self.out.push('?'),
            Greed::Possessive => self.out.push(')'),
        }
    }

    /// The engine repeats nothing without width; doing it once has the same effect.
    fn repeat_zero_width(&mut self, node: &Node, min: u32, greed: Greed) {
        self.out.push_str(if greed == Greed::Possessive { "(?>" } else { "(?:" });
        if min == 0 && greed == Greed::Lazy {
            self.out.push('|');
        }
        if min == 0 && node.captures() {
            self.keep_choice();
        }
        self.atom(node, false);
        if min == 0 && greed != Greed::Lazy {
            self.out.push('|');
        }
        self.out.push(')');
    }
}

/// Whether a node never consumes anything.
fn zero_width(node: &Node) -> bool {
    match node {
        Node::Empty | Node::Assert(_) | Node::Look { .. } => true,
        Node::Literal(..) | Node::Any { .. } | Node::Set(_) | Node::Backref(..) => false,
        Node::Group(_, node) | Node::Atomic(node) => zero_width(node),
        Node::Concat(nodes) | Node::Alternate(nodes) => nodes.iter().all(zero_width),
        Node::Repeat { node, .. } => zero_width(node),
        Node::Conditional { yes, no, .. } => zero_width(yes) && zero_width(no),
    }
}
