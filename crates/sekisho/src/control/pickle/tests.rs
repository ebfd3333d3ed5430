//! What is read, what is refused, and what Python says about both.

use proptest::prelude::*;

use super::*;

/// Any value; keys of dictionaries and members of sets are distinct and hashable.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-1e12f64..1e12).prop_map(Value::Float),
        "\\PC{0,300}".prop_map(Value::Str),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Tuple),
            prop::collection::btree_set("[a-z]{0,5}", 0..6)
                .prop_map(|s| Value::Set(s.into_iter().map(Value::Str).collect())),
            prop::collection::btree_map("[a-z]{0,5}", inner, 0..6)
                .prop_map(|m| Value::Dict(m.into_iter().map(|(k, v)| (k.into(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_we_write_we_read(value in any_value()) {
        prop_assert_eq!(decode(&encode(&value)), Ok(value.clone()));
        prop_assert_eq!(decode_reply(&encode_reply(&Ok(value.clone()))), Ok(Reply::Done(value)));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        let _ = decode_reply(&bytes);
    }

    /// Random instructions from those that do something get much further than random bytes.
    #[test]
    fn no_program_panics(program in prop::collection::vec(
        prop::sample::select(b"(.012NI1\n]}laest)udK\x05q\x01h\x01\x85\x86\x87\x88\x8c\x02ab\x8f\x90\x91\x93\x94Rcb".to_vec()),
        0..80,
    )) {
        let _ = decode(&program);
        let _ = decode_reply(&program);
    }
}

#[test]
fn errors_come_back() {
    for (class, args) in [
        (ErrorClass::UnknownJail, vec![Value::str("zz")]),
        (ErrorClass::OsError, vec![Value::Int(2), Value::str("No such file")]),
        (ErrorClass::Exception, vec![]),
    ] {
        let error = CommandError { class, args };
        let reply = decode_reply(&encode_reply(&Err(error.clone())));
        assert_eq!(reply, Ok(Reply::Failed(error)));
    }
}

#[test]
fn refused() {
    let deep = [vec![b']'; 200], vec![b'a'; 199], vec![b'.']].concat();
    // A list that contains the one before twice, forty times over: 2^40 objects in 400 bytes.
    let mut bomb = b"]\x94".to_vec();
    for i in 0..40 {
        bomb.extend([b']', b'(', b'h', i, b'h', i, b'e', b'q', i + 1]);
    }
    bomb.push(b'.');
    for (data, expected) in [
        (b"".as_slice(), "pickle data was truncated"),
        (b"K", "pickle data was truncated"),
        (b"\x8c\xffabc.", "pickle data was truncated"),
        (b"X\xff\xff\xff\xff.", "pickle data was truncated"),
        (b".", "invalid pickle data at byte 1"),
        (b"a.", "invalid pickle data at byte 1"),
        (b"(0t.", "invalid pickle data at byte 3"),
        (b"cos\nsystem\n(S'id'\ntR.", "refused to call os.system: only plain data is accepted"),
        (
            b"\x8c\x02os\x8c\x06system\x93.",
            "refused to call os.system: only plain data is accepted",
        ),
        (b"c__builtin__\neval\n.", "refused to call __builtin__.eval: only plain data is accepted"),
        (
            b"(S'id'\nios\nsystem\n.",
            "refused pickle instruction 0x69 at byte 7: only plain data is accepted",
        ),
        (b"\x82\x01.", "refused pickle instruction 0x82 at byte 0: only plain data is accepted"),
        (b"Pid\n.", "refused pickle instruction 0x50 at byte 0: only plain data is accepted"),
        (b"\x8a\x09123456789.", "integer at byte 1 does not fit 64 bits"),
        (b"]\x94h\x00a.", "message too large (more than 64 levels)"),
        (&deep, "message too large (more than 64 levels)"),
        (&bomb, "message too large (more than 1048576 objects)"),
    ] {
        let error = decode(data).expect_err("is refused");
        assert_eq!(error.to_string(), expected, "{data:?}");
    }
}

#[test]
fn shared_objects_are_read() {
    // a = ['x']; [a, a] with `a` filled after it was named
    let data = b"]\x94(]\x94\x8c\x01x\x94ah\x01e.";
    let a = Value::strs(["x"]);
    assert_eq!(decode(data), Ok(Value::List(vec![a.clone(), a])));
}
