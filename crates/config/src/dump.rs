//! The command stream as text: what `-d` and `--dp` print.

use sekisho_core::command::Words;
use sekisho_core::value::Value;

/// Width at which `--dp` breaks lines.
const WIDTH: usize = 1000;

/// One Python list per line.
pub fn dump(stream: &[Words]) -> String {
    stream.iter().map(|words| words.repr() + "\n").collect()
}

/// The same as Python's `pprint` shows it at a width of 1000 and an indent of 2.
pub fn pretty(stream: &[Words]) -> String {
    let mut out = String::new();
    for words in stream {
        write(&Value::List(words.words.clone()), 0, 0, &mut out);
        out.push('\n');
    }
    out
}

/// Writes a value that begins in column `indent` and is followed by `after` closing characters.
fn write(value: &Value, indent: usize, after: usize, out: &mut String) {
    let flat = value.repr();
    if flat.chars().count() + after + indent <= WIDTH {
        out.push_str(&flat);
        return;
    }
    match value {
        Value::List(items) => {
            out.push_str("[ ");
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(",\n");
                    out.push_str(&" ".repeat(indent + 2));
                }
                let last = at + 1 == items.len();
                write(item, indent + 2, if last { after + 1 } else { 1 }, out);
            }
            out.push(']');
        }
        Value::Str(text) => write_text(text, indent, after, out),
        _ => out.push_str(&flat),
    }
}

/// A long text in pieces: cut at newlines, then at blanks, each piece a literal of its own.
fn write_text(text: &str, indent: usize, after: usize, out: &mut String) {
    let repr = |piece: &str| sekisho_core::value::repr_str(piece);
    let mut pieces: Vec<String> = Vec::new();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for (at, line) in lines.iter().enumerate() {
        let last = at + 1 == lines.len();
        let room = WIDTH.saturating_sub(indent + if last { after } else { 0 });
        if repr(line).chars().count() <= room {
            pieces.push(repr(line));
            continue;
        }
        let words = words_with_blanks(line);
        let mut current = String::new();
        for (at, word) in words.iter().enumerate() {
            let candidate = format!("{current}{word}");
            let end = last && at + 1 == words.len();
            let room = WIDTH.saturating_sub(indent + if end { after } else { 0 });
            if repr(&candidate).chars().count() > room {
                if !current.is_empty() {
                    pieces.push(repr(&current));
                }
                current = (*word).to_owned();
            } else {
                current = candidate;
            }
        }
        if !current.is_empty() {
            pieces.push(repr(&current));
        }
    }
    out.push_str(&pieces.join(&format!("\n{}", " ".repeat(indent))));
}

/// Words, each with the blanks behind it.
fn words_with_blanks(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let blank = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let tail = rest.get(blank..).unwrap_or("");
        let end = blank + (tail.len() - tail.trim_start().len());
        let (word, after) = rest.split_at(end.max(1));
        words.push(word);
        rest = after;
    }
    words
}
