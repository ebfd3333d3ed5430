//! Texts that a pattern is likely to match.

use sekisho_core::regex::{Class, Node, Set, SetItem};
use sekisho_oracle::Random;

/// Writes a text that the node matches, assertions and conditions aside.
pub fn matching(node: &Node, rng: &mut Random, out: &mut String) {
    match node {
        Node::Empty | Node::Assert(_) | Node::Look { .. } => {}
        Node::Literal(c, _) => out.push(*c),
        Node::Any { .. } => out.push_str(rng.pick::<&str>(&["x", "a", " ", "7", ":", "-", "é"])),
        Node::Set(set) => member(set, rng, out),
        Node::Group(_, node) | Node::Atomic(node) => matching(node, rng, out),
        Node::Concat(nodes) => nodes.iter().for_each(|node| matching(node, rng, out)),
        Node::Alternate(nodes) => matching(&nodes[rng.below(nodes.len())], rng, out),
        Node::Repeat { node, min, max, .. } => {
            let most = max.unwrap_or(min + 3).min(min + 3);
            let turns = min + (rng.below((most - min + 1) as usize)) as u32;
            (0..turns).for_each(|_| matching(node, rng, out));
        }
        Node::Conditional { yes, no, .. } => {
            matching(if rng.below(2) == 0 { yes } else { no }, rng, out);
        }
        Node::Backref(..) => out.push_str(rng.pick::<&str>(&["x", ""])),
    }
}

fn member(set: &Set, rng: &mut Random, out: &mut String) {
    let has = |c: char| {
        let inside = set.items.iter().any(|item| match *item {
            SetItem::Range(low, high) => (low..=high).contains(&u32::from(c)),
            SetItem::Class { class, negated, .. } => {
                negated
                    != match class {
                        Class::Digit => c.is_ascii_digit(),
                        Class::Space => c.is_ascii_whitespace(),
                        Class::Word => c.is_alphanumeric() || c == '_',
                    }
            }
        });
        inside != set.negated
    };
    let all: Vec<char> = (' '..='~').chain(['\t', 'é', '\u{1d}']).filter(|&c| has(c)).collect();
    // Mostly the ordinary characters.
    if !all.is_empty() {
        let n = if rng.below(6) == 0 { all.len() } else { all.len().min(90) };
        out.push(all[rng.below(n)]);
    }
}
