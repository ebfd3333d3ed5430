//! The syntax tree of a pattern in Python's `re` dialect.
//!
//! It exists so that everything that has to understand a pattern (the printer for the engine below,
//! the search for required literals, later an engine of our own) works on one resolved form: flags
//! are already applied to the nodes, names are already group numbers, `^` and `$` already know
//! whether they are lines' or texts'. It never keeps anything that is only spelling.

/// How letters compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// As they are.
    Sensitive,
    /// `re.IGNORECASE` over all of Unicode.
    Unicode,
    /// `re.IGNORECASE` with `re.ASCII`: only `A-Z` and `a-z` are alike.
    Ascii,
}

/// A category escape: `\d`, `\s`, `\w`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `\d`: Unicode decimal digits (Nd)
    Digit,
    /// `\s`: what `str.isspace` accepts, U+001C to U+001F included
    Space,
    /// `\w`: what `str.isalnum` accepts, and the underscore
    Word,
}

/// One member of a character set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetItem {
    /// Code points from the first to the second, both included. Surrogates may occur here: a Python
    /// pattern can name them, a text never has them.
    Range(u32, u32),
    /// A category, possibly negated (`\D`), possibly restricted to ASCII (`(?a)`).
    Class {
        /// which one
        class: Class,
        /// `\D`, `\S`, `\W`
        negated: bool,
        /// under `re.ASCII`
        ascii: bool,
    },
}

/// A character set: `[…]`, or a category on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// `[^…]`
    pub negated: bool,
    /// The members; none at all matches nothing.
    pub items: Vec<SetItem>,
    /// How letters compare.
    pub case: Case,
}

/// A condition on the position, without width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assertion {
    /// `\A`, and `^` without MULTILINE
    TextStart,
    /// `\Z`
    TextEnd,
    /// `$` without MULTILINE: at the end, or before the newline that ends the text
    TextEndOrFinalNewline,
    /// `^` with MULTILINE
    LineStart,
    /// `$` with MULTILINE
    LineEnd,
    /// `\b`; `ascii` under `re.ASCII`
    WordBoundary {
        /// under `re.ASCII`
        ascii: bool,
    },
    /// `\B`
    NotWordBoundary {
        /// under `re.ASCII`
        ascii: bool,
    },
}

/// Which number of repetitions is tried first, and whether others are tried at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greed {
    /// `*`
    Greedy,
    /// `*?`
    Lazy,
    /// `*+`
    Possessive,
}

/// A node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Matches the empty string.
    Empty,
    /// One character.
    Literal(char, Case),
    /// `.`; with DOTALL also the newline.
    Any {
        /// under `re.DOTALL`
        newline: bool,
    },
    /// A character set.
    Set(Set),
    /// A condition on the position.
    Assert(Assertion),
    /// A capturing group.
    Group(usize, Box<Node>),
    /// One after the other.
    Concat(Vec<Node>),
    /// The first branch that leads to a match.
    Alternate(Vec<Node>),
    /// Repetition; `max` `None` is unbounded.
    Repeat {
        /// what is repeated
        node: Box<Node>,
        /// at least
        min: u32,
        /// at most
        max: Option<u32>,
        /// preference
        greed: Greed,
    },
    /// `(?=…)`, `(?!…)`, `(?<=…)`, `(?<!…)`
    Look {
        /// lookahead, else lookbehind
        ahead: bool,
        /// `(?!…)`, `(?<!…)`
        negated: bool,
        /// what must (not) match there
        node: Box<Node>,
    },
    /// `(?>…)`
    Atomic(Box<Node>),
    /// `(?(1)yes|no)`
    Conditional {
        /// the group asked for
        group: usize,
        /// if it matched
        yes: Box<Node>,
        /// if not
        no: Box<Node>,
    },
    /// `\1`, `(?P=name)`: the same text again.
    Backref(usize, Case),
}

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The tree.
    pub root: Node,
    /// Names by group number; entry 0 is the whole match and always `None`.
    pub names: Vec<Option<String>>,
}

impl Node {
    /// Puts nodes in a row, without needless nesting.
    pub fn concat(mut nodes: Vec<Node>) -> Node {
        if nodes.len() == 1
            && let Some(only) = nodes.pop()
        {
            return only;
        }
        if nodes.is_empty() { Node::Empty } else { Node::Concat(nodes) }
    }

    /// A set without members, which matches nothing.
    pub fn fail() -> Node {
        Node::Set(Set { negated: false, items: Vec::new(), case: Case::Sensitive })
    }

    /// Whether the node can match without consuming a character.
    pub fn nullable(&self) -> bool {
        match self {
            Node::Empty | Node::Assert(_) | Node::Look { .. } => true,
            Node::Literal(..) | Node::Any { .. } | Node::Set(_) => false,
            Node::Group(_, node) | Node::Atomic(node) => node.nullable(),
            Node::Concat(nodes) => nodes.iter().all(Node::nullable),
            Node::Alternate(nodes) => nodes.iter().any(Node::nullable),
            Node::Repeat { node, min, .. } => *min == 0 || node.nullable(),
            Node::Conditional { yes, no, .. } => yes.nullable() || no.nullable(),
            // The group may have matched the empty string.
            Node::Backref(..) => true,
        }
    }

    /// Whether a capturing group is inside.
    pub fn captures(&self) -> bool {
        self.any(&mut |node| matches!(node, Node::Group(..)))
    }

    /// Whether `wanted` holds for this node or one below it.
    pub fn any(&self, wanted: &mut dyn FnMut(&Node) -> bool) -> bool {
        if wanted(self) {
            return true;
        }
        match self {
            Node::Group(_, node)
            | Node::Atomic(node)
            | Node::Repeat { node, .. }
            | Node::Look { node, .. } => node.any(wanted),
            Node::Concat(nodes) | Node::Alternate(nodes) => nodes.iter().any(|n| n.any(wanted)),
            Node::Conditional { yes, no, .. } => yes.any(wanted) || no.any(wanted),
            Node::Empty
            | Node::Literal(..)
            | Node::Any { .. }
            | Node::Set(_)
            | Node::Assert(_)
            | Node::Backref(..) => false,
        }
    }
}
