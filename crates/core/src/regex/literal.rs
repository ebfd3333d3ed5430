//! What every text that matches a pattern must contain.
//!
//! Nearly all log lines are innocent. One scan of a buffer for the literals of all patterns finds
//! the lines worth looking at; that is only right if no match can do without its literal, so in
//! doubt there is none. Never the other way round: a pattern without literals only costs time.
//!
//! A literal that ignores case ignores it in ASCII only. Python also takes `K` (Kelvin sign) for a
//! `k`, `ſ` for an `s`, `İ` and `ı` for an `i`: a scan by these literals does not see a text in
//! which such a letter stands for the plain one within the literal.

use super::ast::{Case, Node, Pattern, Set, SetItem};

/// Sets with more members are not worth a scan.
const MAX_MEMBERS: usize = 64;

/// How many spellings of one stretch of text are told apart.
const MAX_SPELLINGS: usize = 32;

/// Longer stretches are cut.
const MAX_CHARS: usize = 128;

/// Shorter literals are in too many lines.
const MIN_BYTES: usize = 3;

/// A piece of text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Literal {
    /// The text; in lower case if case is ignored.
    pub bytes: Vec<u8>,
    /// ASCII letters may have either case.
    pub ignore_case: bool,
}

/// Every matching text contains at least one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiteralSet {
    /// The alternatives, at least one, each of 3 bytes or more.
    pub literals: Vec<Literal>,
}

impl Literal {
    /// Whether the literal is in `text`. For a few texts; a scan has better ways.
    pub fn is_in(&self, text: &[u8]) -> bool {
        text.windows(self.bytes.len().max(1)).any(|window| {
            if self.ignore_case {
                window.eq_ignore_ascii_case(&self.bytes)
            } else {
                window == self.bytes
            }
        })
    }
}

impl LiteralSet {
    /// Whether one of the literals is in `text`.
    pub fn any_in(&self, text: &[u8]) -> bool {
        self.literals.iter().any(|literal| literal.is_in(text))
    }
}

/// Whether the matched text is the scanned one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is.
    Never,
    /// A date was cut out of the scanned text before matching. Dates begin and end at word
    /// boundaries, so what is joined then are two characters that do not belong to words, and
    /// literals must not have two of those side by side.
    BetweenNonWords,
}

/// The best set of literals of a (simplified) pattern.
pub fn required(pattern: &Pattern, cut: Cut) -> Option<LiteralSet> {
    let mut finder = Finder { cut, found: Vec::new() };
    let part = finder.walk(&pattern.root);
    finder.offer(part);
    finder.best().map(|(_, set)| set)
}

/// One spelling of a stretch of text.
#[derive(Clone, PartialEq, Eq)]
struct Spelling {
    text: String,
    ignore_case: bool,
}

/// What a node matches, if that can be listed.
type Part = Option<Vec<Spelling>>;

fn nothing() -> Vec<Spelling> {
    vec![Spelling { text: String::new(), ignore_case: false }]
}

/// Collects sets, each of which is required on its own.
struct Finder {
    cut: Cut,
    found: Vec<(u32, LiteralSet)>,
}

impl Finder {
    /// Goes through a node that every match must pass.
    fn walk(&mut self, node: &Node) -> Part {
        match node {
            Node::Empty | Node::Assert(_) => Some(nothing()),
            Node::Look { ahead: true, negated: false, node } => {
                let part = self.walk(node);
                self.offer(part);
                Some(nothing())
            }
            Node::Look { .. } => Some(nothing()),
            Node::Literal(c, case) => Some(vec![spelling(*c, *case)]),
            Node::Set(set) => small_set(set),
            Node::Any { .. } | Node::Backref(..) => None,
            Node::Group(_, node) | Node::Atomic(node) => self.walk(node),
            Node::Concat(nodes) => self.walk_concat(nodes),
            Node::Alternate(nodes) => self.walk_alternate(&nodes.iter().collect::<Vec<_>>()),
            Node::Conditional { yes, no, .. } => self.walk_alternate(&[yes, no]),
            Node::Repeat { node, min: 0, max, .. } => {
                // What is inside may be absent, so it is no requirement of its own.
                let mut inner = Finder { cut: self.cut, found: Vec::new() };
                let mut part = inner.walk(node).filter(|_| *max == Some(1))?;
                part.extend(nothing());
                Some(part)
            }
            Node::Repeat { node, min, max, .. } => {
                let part = self.walk(node);
                if *max == Some(*min) && *min <= 8 {
                    let once = part.as_ref()?;
                    let all = (0..*min).try_fold(nothing(), |all, _| product(&all, once));
                    if all.is_some() {
                        return all;
                    }
                }
                self.offer(part);
                None
            }
        }
    }

    fn walk_concat(&mut self, nodes: &[Node]) -> Part {
        let mut run = nothing();
        let mut whole = true;
        for node in nodes {
            let Some(part) = self.walk(node) else {
                self.offer(Some(std::mem::replace(&mut run, nothing())));
                whole = false;
                continue;
            };
            if part.len() > 1 {
                // More spellings may be worse than the stretch without them.
                self.offer(Some(run.clone()));
            }
            match product(&run, &part) {
                Some(longer) => run = longer,
                None => {
                    self.offer(Some(std::mem::replace(&mut run, part)));
                    whole = false;
                }
            }
        }
        if whole {
            return Some(run);
        }
        self.offer(Some(run));
        None
    }

    fn walk_alternate(&mut self, branches: &[&Node]) -> Part {
        let mut spellings = Some(Vec::new());
        let mut union = Some(Vec::new());
        for branch in branches {
            let mut inner = Finder { cut: self.cut, found: Vec::new() };
            let part = inner.walk(branch);
            spellings = spellings.zip(part.clone()).map(|(mut all, part): (Vec<_>, _)| {
                all.extend(part);
                all
            });
            inner.offer(part);
            union = union.zip(inner.best()).map(|(mut all, (_, best)): (Vec<_>, _)| {
                all.extend(best.literals);
                all
            });
        }
        if let Some(spellings) = spellings.filter(|s| s.len() <= MAX_SPELLINGS) {
            return Some(spellings);
        }
        if let Some(union) = union {
            self.offer_set(union);
        }
        None
    }

    /// Notes that every match contains one of these spellings.
    fn offer(&mut self, part: Part) {
        let Some(part) = part else { return };
        let segments = part.iter().map(|spelling| best_segment(spelling, self.cut));
        if let Some(literals) = segments.collect::<Option<Vec<_>>>() {
            self.offer_set(literals);
        }
    }

    fn offer_set(&mut self, mut literals: Vec<Literal>) {
        literals.sort();
        literals.dedup();
        // A literal inside another makes that one superfluous.
        let all = literals.clone();
        literals.retain(|literal| {
            !all.iter().any(|other| {
                other != literal
                    && (other.ignore_case || !literal.ignore_case)
                    && other.is_in(&literal.bytes)
            })
        });
        if literals.is_empty() || literals.len() > MAX_MEMBERS {
            return;
        }
        let weakest = literals.iter().map(|l| rarity(&l.bytes, l.ignore_case)).min().unwrap_or(0);
        let members = u32::try_from(literals.len()).unwrap_or(u32::MAX);
        self.found.push(((weakest * 4).saturating_sub(members), LiteralSet { literals }));
    }

    fn best(self) -> Option<(u32, LiteralSet)> {
        self.found.into_iter().max_by_key(|(score, _)| *score)
    }
}

fn spelling(c: char, case: Case) -> Spelling {
    let ignore_case = case != Case::Sensitive && c.is_alphabetic();
    let c = if ignore_case { c.to_ascii_lowercase() } else { c };
    Spelling { text: c.to_string(), ignore_case }
}

fn small_set(set: &Set) -> Part {
    if set.negated {
        return None;
    }
    let mut chars = Vec::new();
    for item in &set.items {
        let SetItem::Range(low, high) = *item else { return None };
        if high - low > 4 || chars.len() > 4 {
            return None;
        }
        chars.extend((low..=high).filter_map(char::from_u32));
    }
    if let [a, b] = *chars
        && a.is_ascii_alphabetic()
        && a != b
        && a.eq_ignore_ascii_case(&b)
    {
        return Some(vec![spelling(a, Case::Ascii)]);
    }
    // Without members nothing matches; that is no reason to require nothing of it.
    (!chars.is_empty()).then(|| chars.into_iter().map(|c| spelling(c, set.case)).collect())
}

/// Each of `first` followed by each of `second`, if that is not too many.
fn product(first: &[Spelling], second: &[Spelling]) -> Option<Vec<Spelling>> {
    if first.len() * second.len() > MAX_SPELLINGS {
        return None;
    }
    let mut all: Vec<Spelling> = Vec::new();
    for a in first {
        for b in second {
            let ignore_case = a.ignore_case || b.ignore_case;
            let mut text = format!("{}{}", a.text, b.text);
            if text.len() > MAX_CHARS {
                return None;
            }
            if ignore_case {
                text.make_ascii_lowercase();
            }
            let both = Spelling { text, ignore_case };
            if !all.contains(&both) {
                all.push(both);
            }
        }
    }
    Some(all)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The rarest piece of a spelling that can be scanned for.
fn best_segment(spelling: &Spelling, cut: Cut) -> Option<Literal> {
    let mut segments = vec![String::new()];
    let mut before: Option<char> = None;
    for c in spelling.text.chars() {
        // Lines are scanned without their newline, and without folding beyond ASCII.
        let unusable = c == '\n' || (spelling.ignore_case && !c.is_ascii());
        let may_be_cut = cut == Cut::BetweenNonWords
            && !is_word(c)
            && before.is_some_and(|before| !is_word(before));
        if unusable || may_be_cut {
            segments.push(String::new());
        }
        if let Some(segment) = segments.last_mut()
            && !unusable
        {
            segment.push(c);
        }
        before = Some(c);
    }
    let usable = segments.into_iter().filter(|segment| segment.len() >= MIN_BYTES);
    let ignore_case = spelling.ignore_case;
    let best = usable.max_by_key(|segment| rarity(segment.as_bytes(), ignore_case))?;
    let ignore_case = ignore_case && best.bytes().any(|b| b.is_ascii_alphabetic());
    Some(Literal { bytes: best.into_bytes(), ignore_case })
}

/// A guess at how seldom a text occurs in logs: long is rare, and some characters are rarer.
fn rarity(bytes: &[u8], ignore_case: bool) -> u32 {
    let of = |b: &u8| match b {
        b' ' | b'0'..=b'9' => 1,
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' => 3,
        b'a'..=b'z' if ignore_case => 3,
        b'a'..=b'z' => 4,
        b':' | b'.' | b'-' | b'[' | b']' | b'/' | b'=' | b'"' | b',' => 2,
        _ => 5,
    };
    bytes.iter().map(of).sum()
}
