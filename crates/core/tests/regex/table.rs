//! What the dialect means, case by case. Needs no Python; the answers are Python's.

use sekisho_core::regex::{Flags, Regex};

/// The match as text with its groups: `whole|group 1|…`, a dash for a group that did not match.
fn found(pattern: &str, text: &str) -> Option<String> {
    let regex = Regex::new(pattern, Flags::default()).unwrap_or_else(|e| panic!("{pattern}: {e}"));
    let captures = regex.search(text, 0).unwrap()?;
    let groups = captures.iter().map(|span| span.map_or("-", |span| &text[span]));
    Some(groups.collect::<Vec<_>>().join("|"))
}

#[test]
fn matches() {
    let table: &[(&str, &str, Option<&str>)] = &[
        // `$` stands before the newline that ends the text, and nowhere before.
        ("a$", "a\n", Some("a")),
        ("a$", "a\n\n", None),
        ("(a|b$)+", "ab\n", Some("ab|b")),
        ("a(.*$)", "abc\n", Some("abc|bc")),
        ("a$\n", "a\n", Some("a\n")),
        (r"a\Z", "a\n", None),
        ("(?m)a$", "a\nb", Some("a")),
        ("(?m)^b", "a\nb", Some("b")),
        // Sets.
        ("[[a]+", "[a", Some("[a")),
        ("[a&&b]+", "a&b", Some("a&b")),
        ("[]a]+", "]a", Some("]a")),
        ("[^]a]+", "]ab", Some("b")),
        ("[a-]+", "a-", Some("a-")),
        ("[+--]+", "+,-.", Some("+,-")),
        (r"[\b]", "\u{8}", Some("\u{8}")),
        (r"\s+", "\u{1c}\u{1f} \t", Some("\u{1c}\u{1f} \t")),
        (r"\w+", "a\u{301}", Some("a")),
        (r"\w+", "é²_", Some("é²_")),
        (r"\d", "٣", Some("٣")),
        (r"a\b", "a\u{301}", Some("a")),
        // Escapes.
        (r"\<a\>\#\-\ \_", "<a>#- _", Some("<a>#- _")),
        (r"\x41\u0042\103\0", "ABC\0", Some("ABC\0")),
        // Quantifiers.
        ("a{,2}", "aaa", Some("aa")),
        ("a{", "a{", Some("a{")),
        ("a{,", "a{,", Some("a{,")),
        ("a{}", "a{}", Some("a{}")),
        ("a{2}?", "aa", Some("aa")),
        ("a*+a", "aaa", None),
        ("(?:ab|a)++b", "ab", None),
        ("(a|)+", "aa", Some("aa|")),
        ("(?=(a))?a", "a", Some("a|a")),
        ("(a+?)*b", "aab", Some("aab|a")),
        ("(?:((?:a)+?))*?b", "aab", Some("aab|a")),
        // Groups.
        ("(?P<q>['\"])x(?P=q)", "'x\" 'x'", Some("'x'|'")),
        (r"(a)?(?(1)b|c)", "ab", Some("ab|a")),
        (r"(a)?(?(1)b|c)", "c", Some("c|-")),
        (r"(?>a*)a", "aaa", None),
        // Conditions on groups that come later or never, and what goes with them.
        (r"(?:(x){0})(?(1)(a)|b)(?:\2)?", "ba", Some("b|-|-")),
        (r"(?:(?(3)(x)|y)(a)(b))+(?(1)c|d)", "yabxabc", Some("yabxabc|x|a|b")),
        (r"(?(1)(a))?b", "ab", Some("b|-")),
        (r"(?(1)(a)){2}b", "ab", Some("b|-")),
        (r"(?:(?(2)(a)|x)(?(1)(b)|y))*", "xyxyab", Some("xyxy|-|-")),
        ("a(?#comment)b", "ab", Some("ab")),
        (r"a(?#co\)mment)b", "ab", Some("ab")),
        ("(?i:A)b", "ab", Some("ab")),
        ("(?i:A)b", "aB", None),
        ("(?i)a(?-i:b)", "Ab", Some("Ab")),
        ("(?iu)é", "É", Some("É")),
        ("(?x) a b # c\n c", "abc", Some("abc")),
        ("(?s).", "\n", Some("\n")),
        ("(?<=a|b)c", "bc", Some("c")),
        // Repeated without width: once, and a group of it may be left out.
        (r"((?!\b)+?)a", "ba", Some("a|")),
        (r"()*\w(?(1):)", "a", Some("a|-")),
        (r"()??(?(1)a|b)", "b", Some("b|-")),
        // Which groups take part is no final choice.
        ("(?:(a)|a)(?(1)x|y)", "ay", Some("ay|-")),
        (r"(?:(a)|a(b)|(c)b)(?(2)\2|(?(1)bx|y))", "abbaby", Some("abb|-|b|-")),
        ("(?<!é)c", "éc", None),
        ("(?i)k", "\u{212a}", Some("\u{212a}")),
        ("(?i)i", "İ", Some("İ")),
    ];
    for (pattern, text, expected) in table {
        assert_eq!(found(pattern, text).as_deref(), *expected, "{pattern} on {text:?}");
    }
}

#[test]
fn errors() {
    let table = [
        ("(a", "missing ), unterminated subpattern at position 0"),
        ("a)", "unbalanced parenthesis at position 1"),
        ("a**", "multiple repeat at position 2"),
        ("*a", "nothing to repeat at position 0"),
        ("^*", "nothing to repeat at position 1"),
        ("a{2,1}", "min repeat greater than max repeat at position 2"),
        ("[a", "unterminated character set at position 0"),
        ("[b-a]", "bad character range b-a at position 1"),
        (r"[\w--]", r"bad character range \w-- at position 1"),
        (r"[\w-a]", r"bad character range \w-a at position 1"),
        (r"\q", r"bad escape \q at position 0"),
        (r"a\", "bad escape (end of pattern) at position 1"),
        (r"\x4", r"incomplete escape \x4 at position 0"),
        (r"(a)\2", "invalid group reference 2 at position 4"),
        (r"(a\1)", "cannot refer to an open group at position 2"),
        (
            "(?P<a>x)(?P<a>y)",
            "redefinition of group name 'a' as group 2; was group 1 at position 12",
        ),
        ("(?P<a-b>x)", "bad character in group name 'a-b' at position 4"),
        ("(?P=a)", "unknown group name 'a' at position 4"),
        ("(?P<a", "missing >, unterminated name at position 4"),
        ("(?P<>a)", "missing group name at position 4"),
        ("(?Px)", "unknown extension ?Px at position 1"),
        ("(?<x)", "unknown extension ?<x at position 1"),
        ("(?", "unexpected end of pattern at position 2"),
        ("(?#a", "missing ), unterminated comment at position 0"),
        ("(?z)", "unknown extension ?z at position 1"),
        ("(?iz)", "unknown flag at position 3"),
        (r"(?i\2\", "bad escape (end of pattern) at position 5"),
        (r"(?x)#+)\", "bad escape (end of pattern) at position 7"),
        ("(a)(?(+1)b)", "bad character in group name '+1' at position 6"),
        ("(?i", "missing -, : or ) at position 3"),
        ("a(?i)b", "global flags not at the start of the expression at position 1"),
        ("(?L)a", "bad inline flags: cannot use 'L' flag with a str pattern at position 3"),
        ("(?<=a*)b", "look-behind requires fixed-width pattern"),
        ("(?(1)a|b)", "invalid group reference 1 at position 3"),
        ("(a)(?(1)a|b|c)", "conditional backref with more than two branches at position 11"),
        ("a\n(b", "missing ), unterminated subpattern at position 2 (line 2, column 1)"),
        ("a{99999999999}", "the repetition number is too large"),
    ];
    for (pattern, expected) in table {
        let error = Regex::new(pattern, Flags::default()).unwrap_err();
        assert_eq!(error.message, expected, "{pattern}");
    }
}

#[test]
fn a_costly_pattern_ends() {
    let linear = Regex::new("^(a+)+$", Flags::default()).unwrap();
    let text = "a".repeat(5000) + "b";
    assert_eq!(linear.search(&text, 0), Ok(None));
    let costly = Regex::new(r"^(?:(a)|(aa))*\1!?$", Flags::default()).unwrap();
    assert!(costly.search(&text, 0).is_err());
    let deep = "(".repeat(1000) + &")".repeat(1000);
    assert!(Regex::new(&deep, Flags::default()).is_err());
    let large = r"(?:\w{1000}){1000}".repeat(3);
    assert!(Regex::new(&large, Flags::default()).is_err());
}

#[test]
fn search_begins_where_told() {
    let search = |pattern: &str, text: &str, start: usize| {
        let regex = Regex::new(pattern, Flags::default()).unwrap();
        regex.search(text, start).unwrap().and_then(|found| found.get(0))
    };
    assert_eq!(search("a", "aba", 1), Some(2..3));
    assert_eq!(search("^a", "aa", 1), None);
    assert_eq!(search("(?<=a)b", "ab", 1), Some(1..2));
    assert_eq!(search("", "ab", 2), Some(2..2));
    assert_eq!(search("", "ab", 3), None);
    assert_eq!(search("a", "éa", 1), None);
}

#[test]
fn groups_have_names() {
    let regex = Regex::new("(?P<a>x)?(y)(?P<b>z)", Flags::default()).unwrap();
    assert_eq!(regex.group_names(), [None, Some("a"), None, Some("b")]);
    assert_eq!(regex.group_index("b"), Some(3));
    assert_eq!(regex.group_index("c"), None);
    let found = regex.search("yz", 0).unwrap().unwrap();
    assert_eq!(regex.group(&found, "b"), Some(1..2));
    assert_eq!(regex.group(&found, "a"), None);
    assert_eq!(regex.named(&found, "yz").collect::<Vec<_>>(), [("b", "z")]);
    assert_eq!(found.len(), 4);
    fn is_send<T: Send>(_: &T) {}
    is_send(&regex);
}
