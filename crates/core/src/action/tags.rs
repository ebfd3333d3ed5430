//! Finding `<tag>` in a text.
//!
//! A tag is `<`, anything but blank, `<` and `>`, and `>`; so the innermost pair of `<<sender>>` is
//! a tag, and `2>file <other` has none. Must stay in step with the configuration's own reader.

/// Calls `replace` for every tag of `text`, from left to right, once; `None` leaves a tag as it is.
pub(super) fn replace_tags(
    text: &str,
    mut replace: impl FnMut(&str, &str) -> Option<String>,
) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        let (before, from) = rest.split_at(open);
        out.push_str(before);
        let body = from.get(1..).unwrap_or_default();
        let end = body.find(['<', '>', ' ']);
        rest = match end.map(|at| (body.split_at(at), body.as_bytes().get(at))) {
            Some(((tag, tail), Some(b'>'))) if !tag.is_empty() => {
                let after = tail.get(1..).unwrap_or_default();
                match replace(tag, after) {
                    Some(value) => out.push_str(&value),
                    None => {
                        out.push('<');
                        out.push_str(tag);
                        out.push('>');
                    }
                }
                after
            }
            _ => {
                out.push('<');
                body
            }
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_tag() {
        for (text, expected) in [
            ("", ""),
            ("a", "a"),
            ("<a>", "[a]"),
            ("<a><b>", "[a][b]"),
            ("<<a>>", "<[a]>"),
            ("<a b>", "<a b>"),
            ("< a>", "< a>"),
            ("<>", "<>"),
            ("<a", "<a"),
            ("a > b < c", "a > b < c"),
            ("x <in >out <t>", "x <in >out [t]"),
            ("<a.b-c/d?e>", "[a.b-c/d?e]"),
            ("<\u{e9}\n>", "[\u{e9}\n]"),
            ("cat <<EOF\n<x>\nEOF", "cat <<EOF\n[x]\nEOF"),
        ] {
            assert_eq!(replace_tags(text, |tag, _| Some(format!("[{tag}]"))), expected);
            assert_eq!(replace_tags(text, |_, _| None), text);
        }
    }
}
