//! What each format takes, what it refuses and where, and what a forgiving reader still finds.

use serde_json::{Value, json};

use super::*;
use Format::{BareJson, Functiongemma, Hermes, Lfm2, LlamaJson, Mistral, Pythonic, Smollm2};
use whetstone_domain::Role;

fn call(name: &str, arguments: Value) -> ToolCall {
    ToolCall { name: name.into(), arguments: arguments.as_object().cloned().unwrap_or_default() }
}

fn two() -> Vec<ToolCall> {
    vec![call("geo.find", json!({"city": "São \"Paulo\"", "n": 2, "near": true})), call("g", json!({"o": {"k": [1.5, null]}}))]
}

#[test]
fn calls_are_written_as_models_of_the_family_write_them() {
    for (format, text) in [
        (
            BareJson,
            r#"[{"name": "geo.find", "arguments": {"city": "São \"Paulo\"", "n": 2, "near": true}}, {"name": "g", "arguments": {"o": {"k": [1.5, null]}}}]"#,
        ),
        (
            Hermes,
            "<tool_call>\n{\"name\": \"geo.find\", \"arguments\": {\"city\": \"São \\\"Paulo\\\"\", \"n\": 2, \"near\": true}}\n</tool_call>\n\
             <tool_call>\n{\"name\": \"g\", \"arguments\": {\"o\": {\"k\": [1.5, null]}}}\n</tool_call>",
        ),
        (
            Smollm2,
            r#"<tool_call>[{"name": "geo.find", "arguments": {"city": "São \"Paulo\"", "n": 2, "near": true}}, {"name": "g", "arguments": {"o": {"k": [1.5, null]}}}]</tool_call>"#,
        ),
        (
            LlamaJson,
            r#"{"name": "geo.find", "parameters": {"city": "São \"Paulo\"", "n": 2, "near": true}}; {"name": "g", "parameters": {"o": {"k": [1.5, null]}}}"#,
        ),
        (Pythonic, r#"[geo.find(city="São \"Paulo\"", n=2, near=True), g(o={"k": [1.5, None]})]"#),
        (
            Functiongemma,
            "<start_function_call>call:geo.find{city:<escape>São \"Paulo\"<escape>,n:2,near:true}<end_function_call>\
             <start_function_call>call:g{o:{k:[1.5,null]}}<end_function_call>",
        ),
        (Lfm2, r#"<|tool_call_start|>[geo.find(city='São "Paulo"', n=2, near=True), g(o={"k": [1.5, null]})]<|tool_call_end|>"#),
        (
            Mistral,
            r#"[TOOL_CALLS][{"name": "geo.find", "arguments": {"city": "São \"Paulo\"", "n": 2, "near": true}}, {"name": "g", "arguments": {"o": {"k": [1.5, null]}}}]"#,
        ),
    ] {
        assert_eq!(write(format, &two()), text);
        assert_eq!(strict(format, text), Ok(two()), "{text}");
        assert_eq!(strict(format, &format!("\n {text} \n")), Ok(two()), "{text}");
        // prose around it is what the lenient reading forgives
        let prose = format!("Sure, I will do that. {text} I hope this helps.");
        assert!(strict(format, &prose).is_err(), "{prose}");
        assert_eq!(lenient(format, &prose), Some(two()), "{prose}");
    }
}

#[test]
fn plain_words_are_no_call_in_every_format() {
    for format in Format::ALL {
        for words in ["", "  ", "None of the function(s) can do that (sorry).", REFUSAL] {
            assert_eq!(strict(format, words), Ok(vec![]), "{format:?} {words:?}");
            assert!(!starts_like_calls(format, words));
            assert_eq!(parse_progress(format, words), 0.0);
        }
        let refusal = write(format, &[]);
        assert_eq!(strict(format, &refusal), Ok(vec![]), "{refusal}");
    }
    assert_eq!(write(Smollm2, &[]), "<tool_call>[]</tool_call>");
    assert_eq!(strict(Mistral, "[TOOL_CALLS][]"), Ok(vec![]));
}

#[test]
fn strict_takes_the_variants_that_the_family_writes() {
    let f = || Ok(vec![call("f", json!({"a": 1}))]);
    assert_eq!(
        strict(Hermes, "<think>\n{not [this]}\n</think>\n\n<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}</tool_call>"),
        f()
    );
    assert_eq!(strict(Hermes, "<think>\n\n</think>\n\nNo function fits."), Ok(vec![]));
    assert_eq!(strict(LlamaJson, "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"a\": 1}}"), f());
    assert_eq!(strict(Mistral, "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": \"9Ae3bDc2F\"}]"), f());
    assert_eq!(strict(Pythonic, "f(a=1)"), f());
    assert_eq!(strict(Pythonic, "[f(\n  a = 1,\n)]"), f());
    assert_eq!(strict(Functiongemma, "<start_function_call>call:f{ a : 1 }<end_function_call>\n"), f());
    let stopped = "<start_function_call>call:f{a:1}<end_function_call><start_function_response>";
    assert_eq!(strict(Functiongemma, stopped), f());
    assert!(strict(Functiongemma, &format!("{stopped}{{}}")).is_err() && strict(Functiongemma, &format!("{stopped}{stopped}")).is_err());
    assert_eq!(strict(Lfm2, "<think>x(y=1)</think><|tool_call_start|>[f(a=1)]<|tool_call_end|>"), f());
}

#[test]
fn python_literals_are_read_as_python_reads_them() {
    let read = |value: &str| strict(Pythonic, &format!("[f(a={value})]")).map(|mut calls| calls.remove(0).arguments["a"].clone());
    for (text, value) in [
        ("'it\\'s'", json!("it's")),
        (
            r#""\x41\u00e9\101\q\
""#,
            json!("Aé A\\q".replace(' ', "")),
        ),
        ("'''a\n'b\"'''", json!("a\n'b\"")),
        ("\"\"", json!("")),
        ("1_000", json!(1000)),
        ("-.5", json!(-0.5)),
        ("5.", json!(5.0)),
        ("+1e3", json!(1000.0)),
        ("18446744073709551615", json!(u64::MAX)),
        ("(1, 2)", json!([1, 2])),
        ("(1,)", json!([1])),
        ("(1)", json!(1)),
        ("()", json!([])),
        ("{'a': {'b': (True, None)}}", json!({"a": {"b": [true, null]}})),
        ("[[], {}, ]", json!([[], {}])),
    ] {
        assert_eq!(read(text), Ok(value), "{text}");
    }
    for (text, position, reason) in [
        ("2*3", 6, "nothing is evaluated"),
        ("x", 5, "\"x\" is no literal"),
        ("true", 5, "is no literal"),
        ("open('/etc/passwd')", 5, "a call inside an argument"),
        ("__import__", 5, "is no literal"),
        ("f'{x}'", 5, "a string with a prefix"),
        ("0x10", 6, "expected `,` or `)`"),
        ("007", 5, "must not start with 0"),
        ("1e", 7, "a digit in the exponent"),
        ("1e999", 5, "too large"),
        ("{1: 2}", 6, "a key in quotes"),
        ("{'a': 1, 'a': 2}", 14, "occurs twice"),
        ("{1, 2}", 6, "a key in quotes"),
        ("'a\nb'", 7, "the line ends"),
        ("'\\ud800'", 6, "no character"),
        ("'\\N{BULLET}'", 6, "by its name"),
        ("", 5, "expected a value, found ')'"),
    ] {
        let failure = read(text).expect_err(text);
        assert!(failure.position == position && failure.reason.contains(reason), "{text}: {failure:?}");
    }
}

#[test]
fn strict_refuses_everything_else_and_says_where() {
    for (format, text, position, reason) in [
        (Hermes, "{\"name\": \"f\", \"arguments\": {}}", 0, "text before the calls: expected <tool_call>"),
        (Hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {}}", 41, "expected </tool_call>"),
        (Hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call> done", 54, "text after a call"),
        (Hermes, "<tool_call>[]</tool_call>", 11, "a call must be an object"),
        (Hermes, "<tool_call>{\"name\": \"f\", \"parameters\": {}}</tool_call>", 11, "has no \"arguments\""),
        (Hermes, "<think>so", 9, "ends before </think>"),
        (Hermes, "<tool_call>", 11, "the text ends"),
        (Smollm2, "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>", 11, "expected `[`"),
        (Smollm2, "<tool_call>[]</tool_call><tool_call>", 25, "text after the calls"),
        (LlamaJson, "{\"name\": \"f\", \"arguments\": {}}", 0, "has no \"parameters\""),
        (LlamaJson, "{\"name\": \"f\", \"parameters\": {}};", 32, "the text ends"),
        (LlamaJson, "{\"name\": \"f\", \"parameters\": {}} {", 32, "expected `;`"),
        (LlamaJson, "[{\"name\": \"f\", \"parameters\": {}}]", 0, "expected `{`"),
        (Pythonic, "Sure: [f(a=1)]", 0, "text before the calls"),
        (Pythonic, "I call f(a=1)", 0, "text before the calls"),
        (Pythonic, "[f(1)]", 3, "without its name"),
        (Pythonic, "[f(a=1, a=2)]", 8, "argument \"a\" occurs twice"),
        (Pythonic, "[f(a=1)] now", 9, "text after the calls"),
        (Pythonic, "[f(a=1)", 7, "the text ends"),
        (Pythonic, "[f]", 2, "expected `(`"),
        (Pythonic, "[f(**{'a': 1})]", 3, "without its name"),
        (Functiongemma, "<start_function_call>f{}<end_function_call>", 21, "expected `call:`"),
        (Functiongemma, "<start_function_call>call:f{a:Paris}<end_function_call>", 30, "between <escape> and <escape>"),
        (Functiongemma, "<start_function_call>call:f{a:<escape>Paris}", 44, "expected <escape>"),
        (Functiongemma, "<start_function_call>call:f{a:1}", 32, "expected <end_function_call>"),
        (Functiongemma, "<start_function_call>call:f{a:1,a:1}<end_function_call>", 32, "occurs twice"),
        (Lfm2, "[f(a=1)]", 0, "expected <|tool_call_start|>"),
        (Lfm2, "<|tool_call_start|>[f(a=1)]", 27, "expected <|tool_call_end|>"),
        (Mistral, "[{\"name\": \"f\", \"arguments\": {}}]", 0, "expected [TOOL_CALLS]"),
        (Mistral, "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {}, \"id\": 5}]", 13, "\"id\" must be a string"),
        (Mistral, "[TOOL_CALLS]f[ARGS]{}", 12, "expected `[`"),
    ] {
        let failure = strict(format, text).expect_err(text);
        assert!(failure.position == position && failure.reason.contains(reason), "{text}: {failure:?}");
    }
}

#[test]
fn lenient_finds_what_was_meant() {
    let f = || Some(vec![call("f", json!({"a": 1}))]);
    for (format, text) in [
        (Hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}"),
        (Hermes, "<tool_call>oops</tool_call> <tool_call>[{\"name\": \"f\", \"parameters\": {\"a\": 1}}]</tool_call>"),
        (Hermes, "```json\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n```"),
        (Smollm2, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>"),
        (LlamaJson, "{\"type\": \"function\", \"name\": \"f\", \"parameters\": {\"a\": 1}} ok"),
        (Pythonic, "Use `f(a=1)` (or not)."),
        (Pythonic, "{\"name\": \"f\", \"arguments\": {\"a\": 1}}"),
        (Functiongemma, "<start_function_call>call:f{a:1}"),
        (Lfm2, "[f(a=1)]"),
        (Lfm2, "<|tool_call_start|>{\"name\": \"f\", \"arguments\": {\"a\": 1}}<|tool_call_end|>"),
        (Mistral, "[TOOL_CALLS]f[ARGS]{\"a\": 1}"),
        (Mistral, "{\"name\": \"f\", \"arguments\": {\"a\": 1}}"),
    ] {
        assert!(strict(format, text).is_err(), "{text}");
        assert_eq!(lenient(format, text), f(), "{format:?} {text}");
    }
    assert_eq!(lenient(Functiongemma, "<start_function_call>call:f{a:New York}"), Some(vec![call("f", json!({"a": "New York"}))]));
    assert_eq!(lenient(Pythonic, "f(a=1)\ng(b=true)"), Some(vec![call("f", json!({"a": 1})), call("g", json!({"b": true}))]));
    for format in Format::ALL {
        assert_eq!(lenient(format, "I looked (twice) at the function(s) { and found [1, 2]."), None, "{format:?}");
    }
}

#[test]
fn progress_and_share_grow_from_garbage_to_a_right_answer() {
    for format in Format::ALL {
        let text = write(format, &two());
        for n in 0..=text.chars().count() {
            let cut: String = text.chars().take(n).collect();
            let whole = strict(format, &cut).is_ok_and(|calls| !calls.is_empty());
            assert_eq!(parse_progress(format, &cut) == 1.0, whole || format == BareJson && n == text.chars().count(), "{format:?} {cut}");
        }
        assert_eq!(call_share(format, &text), 1.0, "{format:?}");
        let half = call_share(format, &format!("{text}{}", "x".repeat(text.len())));
        assert!((half - 0.5).abs() < 1e-9, "{format:?} {half}");
    }
}

#[test]
fn long_garbage_ends_in_every_format() {
    let units = [
        "<tool_call>{\"a\":",
        "<tool_call>[\"",
        "[f(a=",
        "f(",
        "f(a=[",
        "(a=1)",
        "<|tool_call_start|>[f(a='",
        "<|tool_call_start|>",
        "[TOOL_CALLS]f[ARGS]",
        "[TOOL_CALLS]x ",
        "<start_function_call>call:f{a:<escape>",
        "<start_function_call>call:f{a:[",
        "{a:",
        "f(a=1),",
        "((((",
        "f(\"\"\"",
        "{\"name\":\"f\",\"parameters\":{}};",
        "<think>",
        "  (",
        "é(é=",
        "a b c ",
    ];
    for format in Format::ALL {
        for unit in units {
            // quadratic work would take hours here; the bench shows the time by size
            let text = unit.repeat((1 << 18) / unit.len());
            parse(format, &text);
            parse_progress(format, &text);
            call_share(format, &text);
            starts_like_calls(format, &text);
        }
    }
}

#[test]
fn what_a_format_cannot_write_is_said_before_anything_is_asked() {
    let problem = |name: &str, value: Value| Problem {
        id: "p".into(),
        messages: vec![],
        tools: vec![Tool { name: name.into(), description: String::new(), parameters: json!({"properties": {"a": {"type": "string"}}}) }],
        expected: whetstone_domain::Expected {
            calls: vec![whetstone_domain::ExpectedCall {
                name: name.into(),
                arguments: vec![("a".into(), whetstone_domain::Accepted { values: vec![value], optional: false })],
            }],
        },
        matcher: whetstone_domain::Matcher::Exact,
        domain: String::new(),
        difficulty: 0,
        environment: None,
        answer: None,
    };
    for format in Format::ALL {
        assert_eq!(can_write(format, &problem("geo.find-2", json!("x(y=\"[{')"))), Ok(()));
    }
    let spaced = problem("get weather", json!("x"));
    assert!(can_write(Hermes, &spaced).is_ok());
    assert!(can_write(Pythonic, &spaced).expect_err("a space").contains("cannot write a call of tool \"get weather\""));
    assert!(
        can_write(Functiongemma, &problem("f", json!("a <escape> b"))).expect_err("a token").contains("cannot write the expected calls")
    );
}

#[test]
fn results_are_turns_of_tools_where_the_template_shows_them_else_one_of_the_user_in_the_order_of_the_calls() {
    let given = [ToolResult::ok("7"), ToolResult::failed(whetstone_domain::ToolFailure::Failed, "no")];
    for format in Format::ALL {
        let wanted = match format {
            Hermes | Smollm2 => "<tool_response>\n7\n</tool_response>\n<tool_response>\nerror: no\n</tool_response>",
            _ => "Result: 7\nResult: error: no",
        };
        assert_eq!(results(format, false, &given), [Message::new(Role::User, wanted)]);
        assert_eq!(results(format, true, &given), [Message::new(Role::Tool, "7"), Message::new(Role::Tool, "error: no")]);
    }
}

#[test]
fn where_tools_run_calls_need_be_written_one_by_one_and_the_answer_must_read_as_words() {
    let mut problem = crate::tasks::starter::tools::problem(false, 0, 0);
    assert!(Format::ALL.into_iter().all(|format| can_write(format, &problem).is_ok()));
    problem.answer = Some(ExpectedAnswer::one("[1, 2]"));
    for format in Format::ALL {
        assert!(can_write(format, &problem).expect_err("brackets").contains("does not read as words"), "{format:?}");
    }
}
