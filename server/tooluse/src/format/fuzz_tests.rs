//! What all parsers promise, whatever the text: no panic, agreement of the two readings, positions that exist, round trips.

use proptest::prelude::*;
use serde_json::Value;
use whetstone_domain::{ToolCall, config::Format};

use super::*;

/// Pieces of all formats, so that errors lie deep.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ", ",
    ": ",
    "=",
    ";",
    "\"",
    "'",
    "\\",
    "\n",
    " ",
    "f",
    "a",
    "a=1",
    "f(",
    "f(a=",
    "f()",
    "1",
    "-1.5e3",
    "0x1",
    "True",
    "None",
    "true",
    "null",
    "\"name\"",
    "\"arguments\"",
    "\"parameters\"",
    "{\"name\": \"f\", \"arguments\": {",
    "\"\"\"",
    "'x'",
    "\\u00e9",
    "\\ud83d",
    "\\x4",
    "é",
    "\u{0}",
    "\u{202e}",
    "<tool_call>",
    "</tool_call>",
    "<think>",
    "</think>",
    "<|python_tag|>",
    "<|tool_call_start|>",
    "<|tool_call_end|>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "<start_function_call>",
    "<end_function_call>",
    "call:",
    "call:f{",
    "<escape>",
    "a:",
    "None of the function(s).",
];

fn any_format() -> impl Strategy<Value = Format> {
    prop::sample::select(Format::ALL.to_vec())
}

fn near_calls() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..24).prop_map(|p| p.concat())
}

/// A string of any characters but the one token that `functiongemma` cannot write.
fn any_text() -> impl Strategy<Value = String> {
    any::<String>().prop_filter("holds <escape>", |s| !s.contains("<escape>"))
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any_text(), inner), 0..4).prop_map(|kv| Value::Object(kv.into_iter().collect())),
        ]
    })
}

/// Calls with names that every format can write, and any values.
fn any_calls() -> impl Strategy<Value = Vec<ToolCall>> {
    let arguments = prop::collection::btree_map("[a-z_][a-zA-Z0-9_]{0,8}", any_value(), 0..4);
    let one = ("[a-z][a-zA-Z0-9_.-]{0,12}", arguments).prop_map(|(name, a)| ToolCall { name, arguments: a.into_iter().collect() });
    prop::collection::vec(one, 0..4)
}

fn holds(format: Format, text: &str) -> Result<(), TestCaseError> {
    let report = parse(format, text);
    match &report.strict {
        Ok(calls) => prop_assert_eq!(report.lenient.as_ref(), Some(calls)),
        Err(failure) => {
            prop_assert!(text.is_char_boundary(failure.position), "{:?}", failure);
            prop_assert!(!failure.reason.is_empty() && failure.reason.len() < 300, "{:?}", failure);
        }
    }
    lenient(format, text);
    for share in [parse_progress(format, text), call_share(format, text)] {
        prop_assert!((0.0..=1.0).contains(&share), "{}", share);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn what_is_written_parses_strictly_to_the_same_calls(format in any_format(), calls in any_calls()) {
        let text = write(format, &calls);
        prop_assert_eq!(strict(format, &text), Ok(calls.clone()), "{}", text);
        prop_assert_eq!(lenient(format, &text), (!calls.is_empty() || text.contains('[')).then_some(calls.clone()), "{}", text);
        prop_assert_eq!(starts_like_calls(format, &text), !calls.is_empty() || text.contains('['));
        if starts_like_calls(format, &text) {
            prop_assert_eq!(parse_progress(format, &text), 1.0);
        }
    }

    #[test]
    fn no_text_makes_a_parser_panic_and_readings_agree(format in any_format(), text in prop_oneof![any::<String>(), near_calls()]) {
        holds(format, &text)?;
    }

    #[test]
    fn no_mutation_of_a_right_answer_makes_a_parser_panic(
        (written, read) in (any_format(), any_format()),
        calls in any_calls(),
        at in any::<prop::sample::Index>(),
        until in any::<prop::sample::Index>(),
        piece in prop::sample::select(PIECES.to_vec()),
        kind in 0..3,
    ) {
        let text: Vec<char> = write(written, &calls).chars().collect();
        let (at, until) = (at.index(text.len() + 1), until.index(text.len() + 1));
        let (before, after): (String, String) = match kind {
            0 => (text[..at].iter().collect(), text[at..].iter().collect()),
            1 => (text[..at.min(until)].iter().collect(), text[at.max(until)..].iter().collect()),
            _ => (text[..at].iter().collect(), String::new()),
        };
        holds(read, &format!("{before}{piece}{after}"))?;
        holds(read, &format!("{before}{after}"))?;
    }

    #[test]
    fn deep_nesting_is_refused_not_followed(format in any_format(), depth in 60usize..3000, open in prop::sample::select(vec!["[", "{\"a\": ", "(", "{a:"])) {
        let right = write(format, &[ToolCall { name: "f".into(), arguments: [("a".to_owned(), Value::from(7))].into_iter().collect() }]);
        let close = match open { "[" => "]", "(" => ")", _ => "}" };
        let text = right.replace('7', &format!("{}7{}", open.repeat(depth), close.repeat(depth)));
        holds(format, &text)?;
        if depth > json::MAX_DEPTH {
            prop_assert!(strict(format, &text).is_err());
        }
    }
}
