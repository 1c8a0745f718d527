use std::time::Instant;

use serde_json::{Value, json};
use whetstone_domain::config::Format;
use whetstone_domain::{Expected, Matcher, ParseReport};

use super::super::signature::signature;
use super::*;

fn parse(text: &str) -> ParseReport {
    super::super::parse(Format::BareJson, text)
}

fn call_share(text: &str) -> f64 {
    super::super::call_share(Format::BareJson, text)
}

fn call(name: &str, arguments: Value) -> ToolCall {
    ToolCall { name: name.into(), arguments: arguments.as_object().cloned().unwrap_or_default() }
}

fn problem(messages: Vec<Message>) -> Problem {
    Problem {
        id: "p".into(),
        messages,
        tools: vec![Tool {
            name: "f".into(),
            description: "Does it".into(),
            parameters: json!({"properties": {"a": {"type": "integer"}}}),
        }],
        expected: Expected::default(),
        matcher: Matcher::Bfcl,
        domain: String::new(),
        difficulty: 0,
        environment: None,
        answer: None,
    }
}

#[test]
fn all_that_differs_between_prompts_is_in_the_last_message() {
    let render = |problem: &Problem| render(problem, 3, signature);
    let one = render(&problem(vec![Message::new(Role::User, "Do it. ")]));
    let two = render(&problem(vec![
        Message::new(Role::System, "Be brief."),
        Message::new(Role::User, "Hello"),
        Message::new(Role::Assistant, "Yes?"),
        Message::new(Role::User, "Do it."),
    ]));
    let last = one.len() - 1;
    let tool = r#"Function: {"name": "f", "arguments": {"a"?: integer}} - Does it"#;
    assert_eq!(one[..last], two[..last]);
    assert_eq!(one[last].content, format!("{tool}\nRequest: Do it."));
    assert_eq!(two[last].content, format!("{tool}\nInstructions: Be brief.\nUser: Hello\nAssistant: Yes?\nRequest: Do it."));
    let roles: Vec<_> = one.iter().map(|m| m.role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user", "assistant", "user", "assistant", "user"]);
    assert!(render(&problem(vec![])).len() == 8);
}

/// Accuracies that were measured are of these very words: to change one is to measure again.
#[test]
fn the_worked_examples_are_worded_as_they_were_measured() {
    let messages = render(&problem(vec![Message::new(Role::User, "Do it.")]), 3, signature);
    let expected = [
        (
            "Function: {\"name\": \"feed_cat\", \"arguments\": {\"grams\": integer}} - Feed the cat\n\
             Request: Who painted the Mona Lisa?",
            "[]",
        ),
        (
            "Function: {\"name\": \"feed_cat\", \"arguments\": {\"grams\": integer}} - Feed the cat\n\
             Function: {\"name\": \"photos.tag\", \"arguments\": {\"ids\": integer[], \"tag\": string, \"album\"?: \"private\"|\"shared\", \
             \"taken\"?: string}} - Tag photos\n\
             Request: Tag photos 12 and 40 from May 3, 2025 as sunset.",
            "{\"name\": \"photos.tag\", \"arguments\": {\"ids\": [12, 40], \"tag\": \"sunset\", \"taken\": \"2025-05-03\"}}",
        ),
        (
            "Function: {\"name\": \"brew_tea\", \"arguments\": {\"kind\": string, \"cups\"?: integer = 1}} - Brew tea\n\
             Request: I would like some oolong, please.",
            "{\"name\": \"brew_tea\", \"arguments\": {\"kind\": \"oolong\"}}",
        ),
    ];
    let shown: Vec<_> = messages[1..7].chunks(2).map(|pair| (pair[0].content.as_str(), pair[1].content.as_str())).collect();
    assert_eq!(shown, expected);
    // fewer are the last ones
    assert_eq!(render(&problem(vec![]), 1, signature)[1].content, expected[2].0);
}

#[test]
fn strict_reads_one_object_a_list_or_no_call() {
    let f = || call("f", json!({"a": 1}));
    for (text, calls) in [
        ("{\"name\": \"f\", \"arguments\": {\"a\": 1}}", vec![f()]),
        (" \n{\"arguments\":{\"a\":1},\"name\":\"f\"}\n", vec![f()]),
        ("[{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": \"g\", \"arguments\": {}}]", vec![f(), call("g", json!({}))]),
        ("[]", vec![]),
        (" [ ] ", vec![]),
        ("None of these fits.", vec![]),
        ("", vec![]),
    ] {
        assert_eq!(parse(text).strict, Ok(calls.clone()), "{text}");
        assert_eq!(parse(text).lenient, Some(calls), "{text}");
    }
}

#[test]
fn strict_refuses_everything_else_and_says_where() {
    for (text, position, reason) in [
        ("Sure: {\"name\": \"f\", \"arguments\": {}}", 0, "text before the JSON"),
        (" {\"name\": \"f\", \"arguments\": {}} done", 32, "text after the JSON"),
        ("[] or not", 3, "text after the JSON"),
        ("{}", 0, "has no \"name\""),
        ("{\"name\": 3, \"arguments\": {}}", 0, "\"name\" must be a string"),
        ("{\"name\": \"f\"}", 0, "has no \"arguments\""),
        ("{\"name\": \"f\", \"arguments\": []}", 0, "\"arguments\" must be an object"),
        ("{\"name\": \"f\", \"arguments\": {}, \"id\": 1}", 0, "unknown key \"id\""),
        ("[{\"name\": \"f\", \"arguments\": {}}, 7]", 33, "must be an object"),
        ("[[]]", 1, "must be an object"),
        ("{\"name\": \"f\", \"arguments\": {\"a\": 1, \"a\": 1}}", 36, "occurs twice"),
        ("{\"name\": \"f\", \"arguments\": {\"a\": NaN}}", 33, "NaN"),
        ("{\"name\": \"f\", \"arguments\": {\"a\": 1}", 35, "the text ends"),
    ] {
        let failure = parse(text).strict.expect_err(text);
        assert!(failure.position == position && failure.reason.contains(reason), "{text}: {failure:?}");
    }
}

#[test]
fn lenient_finds_the_first_calls_wherever_they_stand() {
    let f = vec![call("f", json!({"a": 1}))];
    for text in [
        "```json\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n```",
        "Use [this] or {that}: {\"name\": \"f\", \"arguments\": {\"a\": 1}} and {\"name\": \"g\", \"arguments\": {}}",
        "{\"name\": \"f\", \"parameters\": {\"a\": 1}, \"id\": \"x\"}",
        "{\"tool_calls\": [{\"name\": \"f\", \"arguments\": {\"a\": 2, \"a\": 1}}]}",
        "[] [{\"name\": \"f\", \"arguments\": {\"a\": 1}}] trailing }}}",
    ] {
        let report = parse(text);
        assert!(report.strict.is_err(), "{text}");
        assert_eq!(report.lenient, Some(f.clone()), "{text}");
    }
    assert_eq!(parse("No function fits: []").lenient, Some(vec![]));
    assert_eq!(parse("{\"name\": \"Bob\"} [1, 2] {").lenient, None);
}

#[test]
fn progress_is_the_share_before_the_first_error() {
    assert_eq!(parse_progress("{\"name\": \"f\", \"arguments\": {}}"), 1.0);
    assert_eq!(parse_progress(" [] "), 1.0);
    assert_eq!(parse_progress("[1, x]"), 4.0 / 6.0);
    assert_eq!(parse_progress("[] !"), 3.0 / 4.0);
    assert_eq!(parse_progress("Sure"), 0.0);
    assert_eq!(parse_progress(""), 0.0);
    // a bracket alone must not pass for valid JSON
    assert_eq!(parse_progress("{"), 0.5);
    assert_eq!(call_share("x {\"name\": \"f\", \"arguments\": {}}"), 30.0 / 32.0);
    assert_eq!(call_share("{}"), 0.0);
}

#[test]
fn a_megabyte_of_hostile_text_parses_in_linear_time() {
    for unit in ["{", "[", "[\"", "[[\"\\\\", "{\"a\":", "[1,", "[{\"a\":[", "[],", "{\"name\":\"f\",\"arguments\":{", "[\"[\",", "é["] {
        let text = unit.repeat((1 << 20) / unit.len());
        let start = Instant::now();
        assert!(parse(&text).strict.is_err(), "{unit}");
        parse_progress(&text);
        call_share(&text);
        // quadratic work would take hours; what is seen is a few tenths of a second
        assert!(start.elapsed().as_secs() < 10, "{unit}: {:?}", start.elapsed());
    }
}
