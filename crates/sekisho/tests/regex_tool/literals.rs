//! Python's notation of dictionaries and sets, made comparable: sets have no order.

/// The text with the items of its sets sorted; with `loose` those of dictionaries as well, without
/// those that are `None`. Only the parts of a line that can hold such a value are looked at.
pub fn canonical(line: &str, loose: bool) -> String {
    let begins = ["[", "|      {", "Use   filter options : {", "Use jail/flt options : {"];
    let Some(at) = line.find('{').filter(|_| begins.iter().any(|b| line.starts_with(b))) else {
        return line.to_owned();
    };
    let (before, text) = line.split_at(at);
    let mut reader = Reader { rest: text, loose };
    match reader.braces() {
        Some(value) => format!("{before}{value}{}", reader.rest),
        None => line.to_owned(),
    }
}

struct Reader<'a> {
    rest: &'a str,
    loose: bool,
}

impl<'a> Reader<'a> {
    fn eat(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn take(&mut self, len: usize) -> Option<&'a str> {
        let (head, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(head)
    }

    /// `{…}`, a dictionary or a set; `None` where it is something else.
    fn braces(&mut self) -> Option<String> {
        if !self.eat("{") {
            return None;
        }
        let mut items = Vec::new();
        let mut is_set = true;
        while !self.eat("}") {
            let mut item = self.value()?;
            if self.eat(": ") {
                is_set = false;
                let value = self.value()?;
                if self.loose && value == "None" {
                    self.eat(", ");
                    continue;
                }
                item = format!("{item}: {value}");
            }
            items.push(item);
            if !self.eat(", ") && !self.rest.starts_with('}') {
                return None;
            }
        }
        if is_set || self.loose {
            items.sort();
        }
        Some(format!("{{{}}}", items.join(", ")))
    }

    /// A string, a number, a name, a dictionary or a set.
    fn value(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        if quote == '{' {
            return self.braces();
        }
        if quote != '\'' && quote != '"' {
            let len = self.rest.find([',', '}', ':'])?;
            return self.take(len).map(str::to_owned);
        }
        let mut escaped = false;
        let end = self.rest.char_indices().skip(1).find(|(_, c)| {
            let found = *c == quote && !escaped;
            escaped = *c == '\\' && !escaped;
            found
        });
        self.take(end?.0 + 1).map(str::to_owned)
    }
}

#[test]
fn values_are_comparable() {
    let line = r#"['a',	1.0,	{'b': None, 'a': '{\'x', 'users': {'x', "y'"}}],"#;
    let set = r#"['a',	1.0,	{'b': None, 'a': '{\'x', 'users': {"y'", 'x'}}],"#;
    assert_eq!(canonical(line, false), set);
    let sorted = r#"['a',	1.0,	{'a': '{\'x', 'users': {"y'", 'x'}}],"#;
    assert_eq!(canonical(line, true), sorted);
    assert_eq!(canonical("[x] {b, a", false), "[x] {b, a");
    assert_eq!(canonical("[{'b', 'a'}", false), "[{'a', 'b'}");
}
