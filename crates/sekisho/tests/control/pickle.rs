//! Python reads what we write, and we read what Python writes, in all its protocols.

use sekisho::control::pickle::{Reply, decode, decode_reply, encode, encode_reply};
use sekisho_core::command::{CommandError, ErrorClass};
use sekisho_core::value::Value;
use sekisho_oracle::Fail2ban;

use crate::oracle;

/// Python expressions; each must come back as what Python prints for it.
const VALUES: &[&str] = &[
    "None",
    "True",
    "[False, 0, 1, -1, 255, 256, 65535, 65536, 2**31-1, -2**31, 2**31, 2**63-1, -2**63]",
    "[0.0, -1.5, 1e300, 1e-5, float('inf')]",
    "['', 'a', 'it\\'s', 'tab\\t\\n\\\\ \\x01', 'é\\u20ac\\U0001f600', 'x' * 300, 'y' * 70000]",
    "()",
    "(1,)",
    "(1, 2)",
    "(1, 2, 3)",
    "(1, 2, 3, 4)",
    "[[], {}, set(), [[[]]]]",
    "{'a': 1, 'b': [1, 2], 3: None, (1, 'x'): {}}",
    "{'only'}",
    "list(range(3000))",
    "{str(i): i for i in range(1500)}",
    "(lambda a: [a, a, {'k': a}])(['shared'])",
    "['status', 'sshd']",
    "['set', 'thread', {'stacksize': 64}]",
    "['reload', '--all', ['--unban'], [['set', 'loglevel', 'INFO'], ['add', 'j', 'auto']]]",
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

#[test]
fn python_writes_we_read() {
    let Some(fail2ban) = Fail2ban::installed() else { return };
    let script = "
import pickle, sys
for line in sys.stdin:
    value = eval(line)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        print(pickle.dumps(value, protocol).hex(), repr(value), sep='\\t')
";
    let output = oracle::python(&fail2ban, script, &VALUES.join("\n"));
    let mut read = 0;
    for line in output.lines() {
        let (data, expected) = line.split_once('\t').unwrap();
        assert_eq!(decode(&unhex(data)).unwrap().repr(), expected);
        read += 1;
    }
    assert!(read >= VALUES.len() * 5);
}

#[test]
fn bytes_and_surrogates_become_text() {
    let Some(fail2ban) = Fail2ban::installed() else { return };
    let script = "
import pickle
for value in [b'abc', bytearray(b'abc'), b'', frozenset(['abc']), 'a\\udcffb']:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        print(pickle.dumps(value, protocol).hex())
";
    for line in oracle::python(&fail2ban, script, "").lines() {
        match decode(&unhex(line)).unwrap() {
            Value::Str(text) => {
                assert!(["abc", ""].contains(&&*text) || text.contains('\u{fffd}'), "{text:?}");
            }
            other => assert_eq!(other, Value::Set(vec![Value::str("abc")])),
        }
    }
}

#[test]
fn we_write_python_reads() {
    let Some(fail2ban) = Fail2ban::installed() else { return };
    let dump = "
import pickle, sys
for line in sys.stdin:
    print(pickle.dumps(eval(line)).hex())
";
    let ours: Vec<Value> = oracle::python(&fail2ban, dump, &VALUES.join("\n"))
        .lines()
        .map(|line| decode(&unhex(line)).unwrap())
        .collect();
    assert_eq!(ours.len(), VALUES.len());
    let load = "
import pickle, sys
for line in sys.stdin:
    print(repr(pickle.loads(bytes.fromhex(line))))
";
    let input: Vec<String> = ours.iter().map(|v| hex(&encode(v))).collect();
    let output = oracle::python(&fail2ban, load, &input.join("\n"));
    for (line, value) in output.lines().zip(&ours) {
        assert_eq!(line, value.repr());
    }
}

#[test]
fn python_unpickles_our_errors() {
    let Some(fail2ban) = Fail2ban::installed() else { return };
    let errors: Vec<CommandError> = [
        ErrorClass::Exception,
        ErrorClass::ValueError,
        ErrorClass::TypeError,
        ErrorClass::IndexError,
        ErrorClass::KeyError,
        ErrorClass::AttributeError,
        ErrorClass::RuntimeError,
        ErrorClass::OsError,
        ErrorClass::UnknownJail,
        ErrorClass::DuplicateJail,
        ErrorClass::Regex,
    ]
    .into_iter()
    .map(|class| CommandError::new(class, "it's wrong"))
    .collect();
    let script = "
import pickle, sys
for line in sys.stdin:
    code, error = pickle.loads(bytes.fromhex(line))
    assert code == 1 and isinstance(error, Exception)
    print(type(error).__name__, error.args, str(error), sep='\\t')
    print(pickle.dumps((1, error)).hex())
";
    let input: Vec<String> = errors.iter().map(|e| hex(&encode_reply(&Err(e.clone())))).collect();
    let output = oracle::python(&fail2ban, script, &input.join("\n"));
    let mut lines = output.lines();
    for error in errors {
        let name = match error.class {
            ErrorClass::OsError => "OSError".to_owned(),
            ErrorClass::UnknownJail => "UnknownJailException".to_owned(),
            ErrorClass::DuplicateJail => "DuplicateJailException".to_owned(),
            ErrorClass::Regex => "RegexException".to_owned(),
            class => format!("{class:?}"),
        };
        let expected = format!("{name}\t(\"it's wrong\",)\t{}", error.text());
        assert_eq!(lines.next(), Some(expected.as_str()));
        let back = decode_reply(&unhex(lines.next().unwrap())).unwrap();
        assert_eq!(back, Reply::Failed(error));
    }
}
