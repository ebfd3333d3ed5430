//! Python's `pprint` with a width of 1000, which `--dp` prints.
//!
//! What fits on one line is its `repr`; longer lists are broken after every item, longer texts at
//! line ends and blanks. Only lists and texts are ever that long in a configuration.

use sekisho_core::value::{Value, repr_str};

const WIDTH: usize = 1000;

/// The text, without a newline at its end.
pub fn pretty(value: &Value) -> String {
    let mut out = String::new();
    format(value, 0, 0, 1, &mut out);
    out
}

fn format(value: &Value, indent: usize, allowance: usize, level: usize, out: &mut String) {
    let repr = value.repr();
    if length(&repr) <= WIDTH.saturating_sub(indent + allowance) {
        out.push_str(&repr);
        return;
    }
    match value {
        Value::List(items) if !items.is_empty() => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(",\n");
                    out.extend(std::iter::repeat_n(' ', indent + 1));
                }
                let last = i + 1 == items.len();
                format(item, indent + 1, if last { allowance + 1 } else { 1 }, level + 1, out);
            }
            out.push(']');
        }
        Value::Str(text) => format_text(text, indent, allowance, level, out),
        _ => out.push_str(&repr),
    }
}

fn format_text(text: &str, indent: usize, allowance: usize, level: usize, out: &mut String) {
    // Alone it gets parentheses.
    let alone = usize::from(level == 1);
    let (indent, allowance) = (indent + alone, allowance + alone);
    let width = WIDTH.saturating_sub(indent);
    let mut chunks = Vec::new();
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let last_line = lines.peek().is_none();
        let room = if last_line { width.saturating_sub(allowance) } else { width };
        let repr = repr_str(line);
        if length(&repr) <= room {
            chunks.push(repr);
            continue;
        }
        let mut current = String::new();
        let mut words = words(line).into_iter().peekable();
        while let Some(word) = words.next() {
            let candidate = format!("{current}{word}");
            let last = last_line && words.peek().is_none();
            let room = if last { width.saturating_sub(allowance) } else { width };
            if length(&repr_str(&candidate)) > room {
                if !current.is_empty() {
                    chunks.push(repr_str(&current));
                }
                current = word.to_owned();
            } else {
                current = candidate;
            }
        }
        if !current.is_empty() {
            chunks.push(repr_str(&current));
        }
    }
    if let [one] = chunks.as_slice() {
        out.push_str(one);
        return;
    }
    if alone == 1 {
        out.push('(');
    }
    let separator = format!("\n{}", " ".repeat(indent));
    out.push_str(&chunks.join(&separator));
    if alone == 1 {
        out.push(')');
    }
}

/// Words with the blanks that follow them.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut in_blanks = false;
    for (at, c) in line.char_indices() {
        if in_blanks && !c.is_whitespace() {
            words.push(line.get(start..at).unwrap_or_default());
            start = at;
        }
        in_blanks = c.is_whitespace();
    }
    words.push(line.get(start..).unwrap_or_default());
    words
}

fn length(text: &str) -> usize {
    text.chars().count()
}
