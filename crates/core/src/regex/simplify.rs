//! Removes from a tree what has no effect, before it is printed or searched for literals.
//!
//! Only rewrites that change neither matches nor groups: repetitions of zero turns, conditions on
//! groups that can never match, and the lookbehind in what `<IP6>` expands to, which only repeats
//! what the text before it has matched already and would keep the linear engine from being used.

use std::collections::BTreeSet;

use super::ast::{Case, Node};

/// The tree without what has no effect.
pub fn simplify(root: &Node) -> Node {
    let mut tree = rewrite(root, &BTreeSet::new());
    // What goes may take groups along that something else refers to.
    loop {
        let never = missing_groups(&tree);
        if never.is_empty() {
            return tree;
        }
        tree = rewrite(&tree, &never);
    }
}

/// Groups that are referred to and can never take part: they are not there, or only behind
/// conditions that ask for such groups.
fn missing_groups(root: &Node) -> BTreeSet<usize> {
    let mut there = BTreeSet::new();
    loop {
        let mut more = BTreeSet::new();
        reachable(root, &there, &mut more);
        if more.len() == there.len() {
            break;
        }
        there = more;
    }
    let mut missing = BTreeSet::new();
    root.any(&mut |node| {
        if let Node::Backref(group, _) | Node::Conditional { group, .. } = node
            && !there.contains(group)
        {
            missing.insert(*group);
        }
        false
    });
    missing
}

/// The groups that may take part if those in `there` may.
fn reachable(node: &Node, there: &BTreeSet<usize>, found: &mut BTreeSet<usize>) {
    match node {
        Node::Group(group, node) => {
            found.insert(*group);
            reachable(node, there, found);
        }
        Node::Conditional { group, yes, no } => {
            reachable(no, there, found);
            if there.contains(group) {
                reachable(yes, there, found);
            }
        }
        Node::Atomic(node) | Node::Repeat { node, .. } | Node::Look { node, .. } => {
            reachable(node, there, found);
        }
        Node::Concat(nodes) | Node::Alternate(nodes) => {
            nodes.iter().for_each(|node| reachable(node, there, found));
        }
        Node::Empty
        | Node::Literal(..)
        | Node::Any { .. }
        | Node::Set(_)
        | Node::Assert(_)
        | Node::Backref(..) => {}
    }
}

fn rewrite(node: &Node, never: &BTreeSet<usize>) -> Node {
    let boxed = |node: &Node| Box::new(rewrite(node, never));
    match node {
        Node::Repeat { max: Some(0), .. } => Node::Empty,
        Node::Repeat { node, min, max, greed } => {
            Node::Repeat { node: boxed(node), min: *min, max: *max, greed: *greed }
        }
        Node::Group(group, node) => Node::Group(*group, boxed(node)),
        Node::Atomic(node) => Node::Atomic(boxed(node)),
        Node::Look { ahead, negated, node } => {
            Node::Look { ahead: *ahead, negated: *negated, node: boxed(node) }
        }
        Node::Alternate(nodes) => {
            Node::Alternate(nodes.iter().map(|node| rewrite(node, never)).collect())
        }
        Node::Concat(nodes) => {
            let mut row: Vec<Node> = Vec::with_capacity(nodes.len());
            for node in nodes {
                let mut node = rewrite(node, never);
                if let Some(c) = leading_lookbehind(&node)
                    && row.last().is_some_and(|before| ending(before, c) == Ending::Always)
                {
                    node = without_lookbehind(node, c);
                }
                match node {
                    Node::Empty => {}
                    Node::Concat(inner) => row.extend(inner),
                    node => row.push(node),
                }
            }
            Node::concat(row)
        }
        Node::Conditional { group, no, .. } if never.contains(group) => rewrite(no, never),
        Node::Conditional { group, yes, no } => match (rewrite(yes, never), rewrite(no, never)) {
            (Node::Empty, Node::Empty) => Node::Empty,
            (yes, no) => Node::Conditional { group: *group, yes: Box::new(yes), no: Box::new(no) },
        },
        Node::Backref(group, _) if never.contains(group) => Node::fail(),
        Node::Empty
        | Node::Literal(..)
        | Node::Any { .. }
        | Node::Set(_)
        | Node::Assert(_)
        | Node::Backref(..) => node.clone(),
    }
}

/// How a node's matches end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Every match ends with the character.
    Always,
    /// Every match that is not empty does.
    UnlessEmpty,
    Unknown,
}

/// Whether all matches of a node end with `c`.
fn ending(node: &Node, c: char) -> Ending {
    match node {
        Node::Empty => Ending::UnlessEmpty,
        Node::Literal(l, Case::Sensitive) if *l == c => Ending::Always,
        Node::Group(_, node) => ending(node, c),
        Node::Concat(nodes) => {
            for node in nodes.iter().rev() {
                match ending(node, c) {
                    Ending::UnlessEmpty => {}
                    known => return known,
                }
            }
            Ending::UnlessEmpty
        }
        Node::Alternate(nodes) => {
            let endings = nodes.iter().map(|node| ending(node, c));
            let worst = |a, b| match (a, b) {
                (Ending::Always, Ending::Always) => Ending::Always,
                (Ending::Unknown, _) | (_, Ending::Unknown) => Ending::Unknown,
                _ => Ending::UnlessEmpty,
            };
            endings.reduce(worst).unwrap_or(Ending::UnlessEmpty)
        }
        Node::Repeat { node, min, .. } => match (ending(node, c), min) {
            (Ending::Always, 0) => Ending::UnlessEmpty,
            (known, _) => known,
        },
        _ => Ending::Unknown,
    }
}

/// The character for which a branch of `node` looks back, first thing.
fn leading_lookbehind(node: &Node) -> Option<char> {
    match node {
        Node::Look { ahead: false, negated: false, node } => match **node {
            Node::Literal(c, Case::Sensitive) => Some(c),
            _ => None,
        },
        Node::Concat(nodes) => nodes.first().and_then(leading_lookbehind),
        Node::Alternate(nodes) => nodes.iter().find_map(leading_lookbehind),
        _ => None,
    }
}

/// The node without its leading lookbehinds for `c`.
fn without_lookbehind(node: Node, c: char) -> Node {
    match node {
        Node::Look { .. } if leading_lookbehind(&node) == Some(c) => Node::Empty,
        Node::Concat(mut nodes) => {
            if let Some(first) = nodes.first_mut() {
                *first = without_lookbehind(std::mem::replace(first, Node::Empty), c);
            }
            nodes.retain(|node| *node != Node::Empty);
            Node::concat(nodes)
        }
        Node::Alternate(nodes) => {
            Node::Alternate(nodes.into_iter().map(|node| without_lookbehind(node, c)).collect())
        }
        other => other,
    }
}
