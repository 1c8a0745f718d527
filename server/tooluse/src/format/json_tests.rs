use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(text: &str) -> Result<Value, (usize, String)> {
    let mut reader = Reader::at(text, 0, DuplicateKeys::Refuse);
    let value = reader.value(0).map_err(|e| (e.position, e.reason))?;
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err((reader.position(), "rest".into())),
    }
}

#[test]
fn failures_name_their_byte_and_reason() {
    for (text, position, reason) in [
        ("", 0, "the text ends"),
        ("{\"é\": }", 7, "expected a value, found '}'"),
        ("{\"a\": 1, \"a\": 2}", 9, "occurs twice"),
        ("{a: 1}", 1, "a key in double quotes, found 'a'"),
        ("[1 2]", 3, "`,` or `]`"),
        ("[1, ]", 4, "expected a value"),
        ("[NaN]", 1, "NaN is not a JSON value"),
        ("[-Infinity]", 2, "a digit"),
        ("[1e999]", 1, "too large"),
        ("[01]", 2, "must not start with 0"),
        ("[1.]", 3, "a digit after the point"),
        ("\"\\ud800x\"", 1, "half of a surrogate pair"),
        ("\"\\x\"", 1, "unknown escape"),
        ("\"a\nb\"", 2, "control character"),
        ("\"abc", 4, "ends inside a string"),
        ("truth", 0, "expected a value"),
    ] {
        let (at, why) = read(text).expect_err(text);
        assert!(at == position && why.contains(reason), "{text:?}: {at} {why}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(read(&nested(MAX_DEPTH)).is_ok());
    let (at, why) = read(&nested(MAX_DEPTH + 1)).expect_err("too deep");
    assert!(at == MAX_DEPTH && why.contains("nested deeper"), "{at} {why}");
}

#[test]
fn numbers_keep_their_type() {
    assert_eq!(read("[5, 5.0, -0, 18446744073709551615, 1E2, \"\\ud83d\\ude00\"]"), Ok(json!([5, 5.0, 0, u64::MAX, 100.0, "😀"])));
    assert!(read("5").is_ok_and(|v| v.is_i64()) && read("5.0").is_ok_and(|v| v.is_f64()));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..5).prop_map(|kv| Value::Object(kv.into_iter().collect())),
        ]
    })
}

/// Text made of JSON's own pieces, so that errors lie deep.
fn near_json() -> impl Strategy<Value = String> {
    let pieces = ["{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\\", "\\u12", "1", "-", ".5", "e9", "true", "nul", " ", "\n", "é", "NaN"];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..24).prop_map(|p| p.concat())
}

proptest! {
    #[test]
    fn what_is_written_reads_back(value in any_value()) {
        let mut text = String::new();
        write_value(&value, &mut text);
        prop_assert_eq!(read(&text), Ok(value));
    }

    #[test]
    fn accepts_what_serde_json_accepts(text in near_json()) {
        match (read(&text), serde_json::from_str::<Value>(&text)) {
            (Ok(ours), Ok(theirs)) => prop_assert!(crate::matching::python::json_equal(&ours, &theirs)),
            // the last of two equal keys wins there
            (Err((_, why)), Ok(_)) => prop_assert!(why.contains("occurs twice"), "{} {}", text, why),
            (Ok(ours), Err(e)) => prop_assert!(false, "{} {:?} {}", text, ours, e),
            (Err((at, _)), Err(_)) => prop_assert!(text.is_char_boundary(at)),
        }
    }
}
