//! Pickle (protocols 0 to 5) to values.
//!
//! Objects live in an arena and the stack holds their indices, because a pickle may name a list
//! before it fills it. The tree is built at the end, where depth and size are checked, so neither a
//! cycle nor a list that contains a shared list many times over costs more than the bounds.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use sekisho_core::command::CommandError;
use sekisho_core::value::Value;

use super::{MAX_BYTES, MAX_DEPTH, MAX_OBJECTS, PickleError, Reply, class_of};

/// Reads one pickle of plain data.
pub fn decode(data: &[u8]) -> Result<Value, PickleError> {
    let (machine, root) = run(data, false)?;
    machine.value(root)
}

/// Reads a server's answer; exceptions are recognised by the name of their class.
pub fn decode_reply(data: &[u8]) -> Result<Reply, PickleError> {
    let (machine, root) = run(data, true)?;
    if let Some(Node::Tuple(items)) = machine.nodes.get(root)
        && let [code, value] = items.as_slice()
        && let Some(Node::Int(code)) = machine.nodes.get(*code)
    {
        if *code == 0 {
            return machine.value(*value).map(Reply::Done);
        }
        return Ok(Reply::Failed(machine.error(*value)?));
    }
    machine.value(root).map(Reply::Other)
}

type Index = usize;

enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    List(Vec<Index>),
    Tuple(Vec<Index>),
    Dict(Vec<(Index, Index)>),
    Set(Vec<Index>),
    Global(Callee),
    /// An exception of a server: class and argument tuple.
    Exception(Rc<(String, String)>, Index),
}

/// What a pickle may call: compared by name, never resolved.
enum Callee {
    /// `set`, `frozenset`
    Set,
    /// `str`, `bytes`, `bytearray` and `_codecs.encode`: their text stays what it is.
    Text,
    /// Module and name of an exception, in answers only.
    Class(Rc<(String, String)>),
}

struct Machine<'a> {
    data: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Index>,
    marks: Vec<usize>,
    memo: HashMap<u64, Index>,
    exceptions: bool,
    /// List entries copied so far.
    copied: usize,
}

fn run(data: &[u8], exceptions: bool) -> Result<(Machine<'_>, Index), PickleError> {
    if data.len() > MAX_BYTES {
        return Err(PickleError::TooLarge("16 MiB"));
    }
    let mut machine = Machine {
        data,
        at: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        exceptions,
        copied: 0,
    };
    // Every step takes at least one byte, so the input bounds the loop.
    loop {
        if let Some(root) = machine.step()? {
            return Ok((machine, root));
        }
    }
}

impl<'a> Machine<'a> {
    /// Executes one instruction; the root at the end.
    fn step(&mut self) -> Result<Option<Index>, PickleError> {
        let at = self.at;
        let [code] = self.array()?;
        match code {
            b'.' => return self.pop().map(Some),
            0x80 => {
                self.take(1)?;
            }
            0x95 => {
                self.take(8)?;
            }
            b'(' => {
                bound(self.marks.len())?;
                self.marks.push(self.stack.len());
            }
            b'0' => self.drop_top()?,
            b'1' => {
                self.pop_mark()?;
            }
            b'2' => {
                let top = *self.stack.last().ok_or(PickleError::Invalid(at))?;
                self.push_again(top)?;
            }
            b'N' => self.push(Node::None)?,
            0x88 => self.push(Node::Bool(true))?,
            0x89 => self.push(Node::Bool(false))?,
            b'I' | b'L' | b'J' | b'K' | b'M' | 0x8a | 0x8b => {
                let node = self.integer(code)?;
                self.push(node)?;
            }
            b'F' => {
                let x = self.line()?.parse().map_err(|_| PickleError::Invalid(at))?;
                self.push(Node::Float(x))?;
            }
            b'G' => {
                let bytes = self.array::<8>()?;
                self.push(Node::Float(f64::from_be_bytes(bytes)))?;
            }
            b'S' | b'T' | b'U' | b'V' | b'X' | b'B' | b'C' | 0x8c | 0x8d | 0x8e | 0x96 => {
                let text = self.string(code)?;
                self.push(Node::Str(text))?;
            }
            b']'
            | b'l'
            | b'a'
            | b'e'
            | b't'
            | b')'
            | 0x85..=0x87
            | b'}'
            | b'd'
            | b's'
            | b'u'
            | 0x8f..=0x91 => self.container(code)?,
            b'p' | b'q' | b'r' | 0x94 => {
                let key = match code {
                    b'p' => self.line()?.parse().map_err(|_| PickleError::Invalid(at))?,
                    b'q' => u64::from(u8::from_le_bytes(self.array()?)),
                    b'r' => u64::from(u32::from_le_bytes(self.array()?)),
                    _ => self.memo.len() as u64,
                };
                let top = *self.stack.last().ok_or(PickleError::Invalid(at))?;
                bound(self.memo.len())?;
                self.memo.insert(key, top);
            }
            b'g' | b'h' | b'j' => {
                let key: u64 = match code {
                    b'g' => self.line()?.parse().map_err(|_| PickleError::Invalid(at))?,
                    b'h' => u64::from(u8::from_le_bytes(self.array()?)),
                    _ => u64::from(u32::from_le_bytes(self.array()?)),
                };
                let index = *self.memo.get(&key).ok_or(PickleError::Invalid(at))?;
                self.push_again(index)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let node = global(module, name, self.exceptions)?;
                self.push(node)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Some(Node::Str(module)), Some(Node::Str(name))) =
                    (self.nodes.get(module), self.nodes.get(name))
                else {
                    return Err(PickleError::Invalid(at));
                };
                let node = global(module, name, self.exceptions)?;
                self.push(node)?;
            }
            b'R' => self.reduce()?,
            // The state of an exception: nothing in it is printed.
            b'b' if self.exceptions => {
                self.drop_top()?;
            }
            code => return Err(PickleError::Refused { code, at }),
        }
        Ok(None)
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], PickleError> {
        let end = self.at.checked_add(n).ok_or(PickleError::Truncated)?;
        let bytes = self.data.get(self.at..end).ok_or(PickleError::Truncated)?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        self.take(N)?.try_into().map_err(|_| PickleError::Truncated)
    }

    fn line_bytes(&mut self) -> Result<&'a [u8], PickleError> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let len = memchr::memchr(b'\n', rest).ok_or(PickleError::Truncated)?;
        self.at += len + 1;
        Ok(rest.get(..len).unwrap_or_default())
    }

    fn line(&mut self) -> Result<&'a str, PickleError> {
        let at = self.at;
        std::str::from_utf8(self.line_bytes()?).map_err(|_| PickleError::Invalid(at))
    }

    fn push(&mut self, node: Node) -> Result<(), PickleError> {
        bound(self.nodes.len())?;
        self.nodes.push(node);
        self.push_again(self.nodes.len() - 1)
    }

    fn push_again(&mut self, index: Index) -> Result<(), PickleError> {
        bound(self.stack.len())?;
        self.stack.push(index);
        Ok(())
    }

    /// Takes the top, never across the innermost mark.
    fn pop(&mut self) -> Result<Index, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(PickleError::Invalid(self.at));
        }
        self.stack.pop().ok_or(PickleError::Invalid(self.at))
    }

    fn pop_mark(&mut self) -> Result<Vec<Index>, PickleError> {
        let mark = self.marks.pop().ok_or(PickleError::Invalid(self.at))?;
        if mark > self.stack.len() {
            return Err(PickleError::Invalid(self.at));
        }
        Ok(self.stack.split_off(mark))
    }

    fn drop_top(&mut self) -> Result<(), PickleError> {
        // `POP` right after `MARK` removes the mark.
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(|_| ())
    }

    fn integer(&mut self, code: u8) -> Result<Node, PickleError> {
        let at = self.at;
        let n = match code {
            b'J' => i64::from(i32::from_le_bytes(self.array()?)),
            b'K' => i64::from(u8::from_le_bytes(self.array()?)),
            b'M' => i64::from(u16::from_le_bytes(self.array()?)),
            b'I' | b'L' => {
                let text = self.line()?.trim_end_matches('L');
                match (code, text) {
                    (b'I', "00") => return Ok(Node::Bool(false)),
                    (b'I', "01") => return Ok(Node::Bool(true)),
                    _ => {}
                }
                let digits = text.strip_prefix('-').unwrap_or(text);
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(PickleError::Invalid(at));
                }
                text.parse().map_err(|_| PickleError::BigInteger(at))?
            }
            _ => {
                let len = if code == 0x8a {
                    usize::from(u8::from_le_bytes(self.array()?))
                } else {
                    u32::from_le_bytes(self.array()?) as usize
                };
                let bytes = self.take(len)?;
                if len > 8 {
                    return Err(PickleError::BigInteger(at));
                }
                // Little-endian two's complement, extended by its sign.
                let sign = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
                let mut full = [sign; 8];
                for (to, from) in full.iter_mut().zip(bytes) {
                    *to = *from;
                }
                i64::from_le_bytes(full)
            }
        };
        Ok(Node::Int(n))
    }

    fn string(&mut self, code: u8) -> Result<String, PickleError> {
        let at = self.at;
        let len = match code {
            b'S' => {
                let text = self.line()?;
                return unquote(text).ok_or(PickleError::Invalid(at));
            }
            b'V' => {
                // Latin-1 with escapes.
                let text: String = self.line_bytes()?.iter().map(|b| char::from(*b)).collect();
                return Ok(raw_unicode(&text));
            }
            b'U' | b'C' | 0x8c => u64::from(u8::from_le_bytes(self.array()?)),
            b'T' | b'X' | b'B' => u64::from(u32::from_le_bytes(self.array()?)),
            _ => u64::from_le_bytes(self.array()?),
        };
        let bytes = self.take(usize::try_from(len).map_err(|_| PickleError::Truncated)?)?;
        // Invalid bytes (Python's lone surrogates) are replaced: they could not be printed either.
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn container(&mut self, code: u8) -> Result<(), PickleError> {
        let at = self.at;
        match code {
            b']' => self.push(Node::List(Vec::new())),
            b')' => self.push(Node::Tuple(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
            0x8f => self.push(Node::Set(Vec::new())),
            b'l' => {
                let items = self.pop_mark()?;
                self.push(Node::List(items))
            }
            b't' => {
                let items = self.pop_mark()?;
                self.push(Node::Tuple(items))
            }
            0x91 => {
                let items = self.pop_mark()?;
                self.push(Node::Set(items))
            }
            0x85..=0x87 => {
                let mut items = Vec::with_capacity(3);
                for _ in 0x85..=code {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Node::Tuple(items))
            }
            b'd' => {
                let pairs = pairs(self.pop_mark()?).ok_or(PickleError::Invalid(at))?;
                self.push(Node::Dict(pairs))
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend(vec![key, value])
            }
            _ => {
                let items = self.pop_mark()?;
                self.extend(items)
            }
        }
    }

    /// Adds to the container on top of the stack.
    fn extend(&mut self, items: Vec<Index>) -> Result<(), PickleError> {
        let invalid = PickleError::Invalid(self.at);
        let top = self.stack.last().and_then(|i| self.nodes.get_mut(*i));
        match top {
            Some(Node::List(list) | Node::Set(list)) => list.extend(items),
            Some(Node::Dict(dict)) => dict.extend(pairs(items).ok_or(invalid)?),
            _ => return Err(invalid),
        }
        Ok(())
    }

    fn reduce(&mut self) -> Result<(), PickleError> {
        let invalid = PickleError::Invalid(self.at);
        let (args, callee) = (self.pop()?, self.pop()?);
        let (Some(Node::Global(callee)), Some(Node::Tuple(items))) =
            (self.nodes.get(callee), self.nodes.get(args))
        else {
            return Err(invalid);
        };
        let first = items.first().and_then(|i| self.nodes.get(*i).map(|node| (*i, node)));
        let node = match (callee, first) {
            (Callee::Set, None) => Node::Set(Vec::new()),
            (Callee::Set, Some((_, Node::List(list)))) => {
                // The only copy; without a bound a few bytes could make many large ones.
                self.copied += list.len();
                bound(self.copied)?;
                Node::Set(list.clone())
            }
            (Callee::Text, None) => Node::Str(String::new()),
            (Callee::Text, Some((text, Node::Str(_)))) => return self.push_again(text),
            (Callee::Class(class), _) => Node::Exception(Rc::clone(class), args),
            _ => return Err(invalid),
        };
        self.push(node)
    }

    fn value(&self, root: Index) -> Result<Value, PickleError> {
        let mut budget = Budget { objects: MAX_OBJECTS, bytes: 2 * MAX_BYTES };
        self.build(root, 0, &mut budget)
    }

    fn build(&self, index: Index, depth: usize, budget: &mut Budget) -> Result<Value, PickleError> {
        if depth > MAX_DEPTH {
            return Err(PickleError::TooLarge("64 levels"));
        }
        budget.objects =
            budget.objects.checked_sub(1).ok_or(PickleError::TooLarge("1048576 objects"))?;
        let items = |list: &[Index], budget: &mut Budget| -> Result<Vec<Value>, PickleError> {
            list.iter().map(|i| self.build(*i, depth + 1, budget)).collect()
        };
        Ok(match self.nodes.get(index) {
            Some(Node::None) => Value::None,
            Some(Node::Bool(b)) => Value::Bool(*b),
            Some(Node::Int(n)) => Value::Int(*n),
            Some(Node::Float(x)) => Value::Float(*x),
            Some(Node::Str(s)) => {
                budget.bytes =
                    budget.bytes.checked_sub(s.len()).ok_or(PickleError::TooLarge("32 MiB"))?;
                Value::Str(s.clone())
            }
            Some(Node::List(list)) => Value::List(items(list, budget)?),
            Some(Node::Tuple(list)) => Value::Tuple(items(list, budget)?),
            Some(Node::Set(list)) => {
                let mut seen = HashSet::new();
                let mut set = items(list, budget)?;
                set.retain(|item| seen.insert(item.repr()));
                Value::Set(set)
            }
            Some(Node::Dict(pairs)) => {
                let mut dict: Vec<(Value, Value)> = Vec::with_capacity(pairs.len());
                let mut seen: HashMap<String, usize> = HashMap::new();
                for (key, value) in pairs {
                    let key = self.build(*key, depth + 1, budget)?;
                    let value = self.build(*value, depth + 1, budget)?;
                    match seen.get(&key.repr()).and_then(|i| dict.get_mut(*i)) {
                        Some(entry) => entry.1 = value,
                        None => {
                            seen.insert(key.repr(), dict.len());
                            dict.push((key, value));
                        }
                    }
                }
                Value::Dict(dict)
            }
            Some(Node::Exception(class, args)) => {
                let args = self.build(*args, depth + 1, budget)?.repr();
                Value::Str(format!("{}{args}", class.1))
            }
            Some(Node::Global(_)) | None => return Err(PickleError::Invalid(self.at)),
        })
    }

    /// The exception of a failed answer; servers may also send a bare text.
    fn error(&self, index: Index) -> Result<CommandError, PickleError> {
        let Some(Node::Exception(class, args)) = self.nodes.get(index) else {
            let text = self.value(index)?.to_text();
            return Ok(CommandError::new(class_of("builtins", "Exception"), text));
        };
        let args = match self.value(*args)? {
            Value::Tuple(args) => args,
            other => vec![other],
        };
        Ok(CommandError { class: class_of(&class.0, &class.1), args })
    }
}

/// Refuses one more of something that the input can make.
fn bound(now: usize) -> Result<(), PickleError> {
    if now < MAX_OBJECTS { Ok(()) } else { Err(PickleError::TooLarge("1048576 objects")) }
}

fn global(module: &str, name: &str, exceptions: bool) -> Result<Node, PickleError> {
    Ok(Node::Global(match (module, name) {
        ("builtins" | "__builtin__", "set" | "frozenset") => Callee::Set,
        ("builtins" | "__builtin__", "str" | "unicode" | "bytes" | "bytearray")
        | ("_codecs", "encode") => Callee::Text,
        _ if exceptions && module.len() + name.len() <= 200 => {
            Callee::Class(Rc::new((module.to_owned(), name.to_owned())))
        }
        _ => {
            let shown: String = format!("{module}.{name}").chars().take(80).collect();
            return Err(PickleError::Call(shown));
        }
    }))
}

/// What may still be built.
struct Budget {
    objects: usize,
    bytes: usize,
}

fn pairs(items: Vec<Index>) -> Option<Vec<(Index, Index)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[k, v]| (*k, *v)).collect())
}

/// Protocol 0's `V` line: only `\uXXXX` and `\UXXXXXXXX` are escapes.
fn raw_unicode(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let len = if escape.starts_with("\\u") { 6 } else { 10 };
        let code = (escape.starts_with("\\u") || escape.starts_with("\\U"))
            .then(|| escape.get(2..len))
            .flatten()
            .and_then(|hex| u32::from_str_radix(hex, 16).ok());
        if let Some(code) = code {
            out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            rest = escape.get(len..).unwrap_or_default();
        } else {
            out.push('\\');
            rest = escape.get(1..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    out
}

/// Protocol 0's `S` line: a quoted literal of Python 2.
fn unquote(line: &str) -> Option<String> {
    let quote = line.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let body = line.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut bytes = Vec::with_capacity(body.len());
    let mut rest = body.bytes();
    while let Some(b) = rest.next() {
        if b != b'\\' {
            bytes.push(b);
            continue;
        }
        bytes.push(match rest.next()? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let digit = |b: Option<u8>| char::from(b?).to_digit(16);
                u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?
            }
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
