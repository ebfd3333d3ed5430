//! Values to pickle: protocol 4, no memo.
//!
//! Every Python since 3.4 reads it, and so do the readers in other languages, which do not need the
//! memo and frames that CPython adds.

use sekisho_core::command::CommandError;
use sekisho_core::value::Value;

use super::class_path;

const MARK: u8 = b'(';
const STOP: u8 = b'.';

/// A value as one pickle.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = vec![0x80, 4];
    put(&mut out, value);
    out.push(STOP);
    out
}

/// An answer as fail2ban's server pickles it: `(0, value)` or `(1, exception)`.
pub fn encode_reply(result: &Result<Value, CommandError>) -> Vec<u8> {
    let mut out = vec![0x80, 4];
    match result {
        Ok(value) => {
            put(&mut out, &Value::Int(0));
            put(&mut out, value);
        }
        Err(error) => {
            put(&mut out, &Value::Int(1));
            let (module, name) = class_path(error.class);
            put_str(&mut out, module);
            put_str(&mut out, name);
            out.push(0x93);
            put_tuple(&mut out, &error.args);
            out.push(b'R');
        }
    }
    out.extend([0x86, STOP]);
    out
}

fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::None => out.push(b'N'),
        Value::Bool(true) => out.push(0x88),
        Value::Bool(false) => out.push(0x89),
        Value::Int(n) => put_int(out, *n),
        Value::Float(x) => {
            out.push(b'G');
            out.extend(x.to_be_bytes());
        }
        Value::Str(s) => put_str(out, s),
        Value::List(items) => {
            out.push(b']');
            put_items(out, items, b'e');
        }
        Value::Tuple(items) => put_tuple(out, items),
        Value::Set(items) => {
            out.push(0x8f);
            put_items(out, items, 0x90);
        }
        Value::Dict(items) => {
            out.push(b'}');
            if !items.is_empty() {
                out.push(MARK);
                for (key, item) in items {
                    put(out, key);
                    put(out, item);
                }
                out.push(b'u');
            }
        }
    }
}

fn put_items(out: &mut Vec<u8>, items: &[Value], end: u8) {
    if !items.is_empty() {
        out.push(MARK);
        for item in items {
            put(out, item);
        }
        out.push(end);
    }
}

fn put_tuple(out: &mut Vec<u8>, items: &[Value]) {
    if items.is_empty() {
        out.push(b')');
    } else {
        put_items(out, items, b't');
    }
}

fn put_int(out: &mut Vec<u8>, n: i64) {
    if let Ok(n) = u8::try_from(n) {
        out.extend([b'K', n]);
    } else if let Ok(n) = i32::try_from(n) {
        out.push(b'J');
        out.extend(n.to_le_bytes());
    } else {
        out.extend([0x8a, 8]);
        out.extend(n.to_le_bytes());
    }
}

fn put_str(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    if let Ok(len) = u8::try_from(bytes.len()) {
        out.extend([0x8c, len]);
    } else if let Ok(len) = u32::try_from(bytes.len()) {
        out.push(b'X');
        out.extend(len.to_le_bytes());
    } else {
        out.push(0x8d);
        out.extend((bytes.len() as u64).to_le_bytes());
    }
    out.extend(bytes);
}
