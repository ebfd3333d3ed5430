//! The lookbehind in what `<IP6>` expands to is dropped when compiling; nothing may depend on it.

use crate::python::Judge;
use crate::spans;
use sekisho_core::regex::tags::{HostTag, compile};
use sekisho_core::regex::{Flags, Node};
use sekisho_oracle::Random;

#[test]
fn the_lookbehind_of_ip6_is_redundant() {
    for pattern in ["<IP6>", "<ADDR>", "x<HOST>y", "<SUBNET>$"] {
        let compiled = compile(pattern, HostTag::AddressOrName, Flags::default()).unwrap();
        assert!(compiled.text.contains("(?<=:):"), "the text that is shown keeps it");
        let look = &mut |node: &Node| matches!(node, Node::Look { .. });
        assert!(!compiled.regex.pattern().root.any(look), "{pattern}");
    }
    let Some(mut python) = Judge::start() else { return };
    let pieces =
        ["1", "fe80", ":", "::", "0", "g", "[", "]", "/64", " ", "1.2.3.4", "::ffff:", "abcde"];
    let patterns = ["<IP6>", "<ADDR>", "<HOST>", "from <SUBNET>$", "^<HOST>:\\d+$", "<IP6>:"];
    let mut rng = Random(3);
    let mut pairs = Vec::new();
    let mut ours = Vec::new();
    let compiled = patterns.map(|p| compile(p, HostTag::AddressOrName, Flags::default()).unwrap());
    for _ in 0..10_000 {
        let regex = &compiled[rng.below(compiled.len())];
        let n = 1 + rng.below(10);
        let mut text: String = (0..n).map(|_| *rng.pick(&pieces)).collect();
        if regex.text.starts_with("from") {
            text.insert_str(0, "from ");
        }
        ours.push(Ok(regex.regex.search(&text, 0).unwrap().as_ref().map(spans)));
        pairs.push((regex.text.clone(), text));
    }
    let theirs = python.search(&pairs, Flags::default());
    for ((pair, theirs), ours) in pairs.iter().zip(theirs).zip(ours) {
        assert_eq!(ours, theirs, "{pair:?}");
    }
}
