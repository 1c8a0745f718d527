use proptest::prelude::*;
use serde_json::json;
use whetstone_domain::Expected;

use super::*;

fn call(name: &str, arguments: Value) -> ToolCall {
    ToolCall { name: name.into(), arguments: arguments.as_object().cloned().unwrap_or_default() }
}

/// A problem offering `f`; `expected` in BFCL's form: per call, accepted values by argument.
fn problem(parameters: Value, expected: &[Value]) -> Problem {
    let accepted = |v: &Value| {
        let values = v.as_array().cloned().unwrap_or_default();
        Accepted { optional: values.iter().any(|v| v == ""), values }
    };
    let calls = expected.iter().map(|e| ExpectedCall {
        name: "f".into(),
        arguments: e.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), accepted(v))).collect(),
    });
    Problem {
        id: "p".into(),
        messages: vec![],
        tools: vec![Tool { name: "f".into(), description: String::new(), parameters }],
        expected: Expected { calls: calls.collect() },
        matcher: Matcher::Bfcl,
        domain: String::new(),
        difficulty: 0,
        environment: None,
        answer: None,
    }
}

/// Is `{"x": value}` accepted where the schema of x and its accepted values are these?
fn accepts(schema: Value, accepted: Value, value: Value) -> bool {
    let p = problem(json!({"type": "dict", "properties": {"x": schema}, "required": ["x"]}), &[json!({"x": accepted})]);
    matches(&p, &[call("f", json!({"x": value}))])
}

#[test]
fn types_are_strict_but_integers_pass_for_floats() {
    assert!(accepts(json!({"type": "integer"}), json!([5]), json!(5)));
    assert!(!accepts(json!({"type": "integer"}), json!([5]), json!(5.0)));
    assert!(!accepts(json!({"type": "integer"}), json!([5]), json!("5")));
    assert!(!accepts(json!({"type": "integer"}), json!([1]), json!(true)));
    for float in ["float", "number"] {
        assert!(accepts(json!({"type": float}), json!([5.0]), json!(5)));
        assert!(accepts(json!({"type": float}), json!([5]), json!(5)));
        assert!(!accepts(json!({"type": float}), json!([5.0]), json!(true)));
    }
    assert!(accepts(json!({"type": "boolean"}), json!([true]), json!(true)));
    assert!(!accepts(json!({"type": "boolean"}), json!([true]), json!("true")));
    // what the checker cannot look up, it raises on
    assert!(!accepts(json!({"type": "weird"}), json!(["a"]), json!("a")));
    assert!(!accepts(json!({"type": "array"}), json!([["a"]]), json!(["a"])));
}

#[test]
fn strings_are_normalised() {
    let text = json!({"type": "string"});
    assert!(accepts(text.clone(), json!(["April 1, 2024"]), json!("april 1,2024")));
    assert!(accepts(text.clone(), json!(["it's"]), json!("IT\"S")));
    assert!(accepts(json!({"type": "any"}), json!(["San-Francisco_CA"]), json!("sanfrancisco.ca")));
    assert!(!accepts(text.clone(), json!(["Paris"]), json!("Paris!")));
    // "" in the list stands for "may be omitted", and is accepted when written, too
    assert!(accepts(text, json!(["a", ""]), json!("")));
}

#[test]
fn a_value_of_the_accepted_type_passes_as_a_variable_and_is_compared_plainly() {
    assert!(accepts(json!({"type": "integer"}), json!(["n"]), json!("n")));
    assert!(!accepts(json!({"type": "integer"}), json!(["n"]), json!("N")));
    // the type of the first accepted value decides, and then True == 1
    assert!(accepts(json!({"type": "boolean"}), json!([1]), json!(true)));
}

#[test]
fn lists_keep_order_and_are_typed_one_level_deep() {
    let of = |t: &str| json!({"type": "array", "items": {"type": t}});
    assert!(accepts(of("string"), json!([["a b", "c"]]), json!(["A-B", "C"])));
    assert!(!accepts(of("string"), json!([["a", "c"]]), json!(["c", "a"])));
    assert!(!accepts(of("integer"), json!([[1, 2]]), json!([1.0, 2.0])));
    assert!(!accepts(of("float"), json!([[1.5, 2.0]]), json!([1.5, 2])));
    assert!(accepts(of("float"), json!([[1, 2]]), json!([1, 2.0])));
    assert!(accepts(json!({"type": "tuple", "items": {"type": "float"}}), json!([[1.5]]), json!([1.5])));
    // an accepted value that is no list lets any list through the type check, and an empty one matches ""
    assert!(accepts(of("integer"), json!([[1], ""]), json!([])));
}

#[test]
fn objects_list_accepted_values_per_key() {
    let object = json!({"type": "dict", "properties": {}});
    let gold = json!([{"city": ["Oslo", "oslo city"], "zip": [1, ""]}]);
    assert!(accepts(object.clone(), gold.clone(), json!({"city": "OSLO"})));
    assert!(accepts(object.clone(), gold.clone(), json!({"zip": 1, "city": "Oslo City"})));
    assert!(!accepts(object.clone(), gold.clone(), json!({"zip": 1})));
    assert!(!accepts(object, gold, json!({"city": "Oslo", "land": "no"})));
    let list = json!({"type": "array", "items": {"type": "dict"}});
    assert!(accepts(list.clone(), json!([[{"a": [1]}, {"a": [2]}]]), json!([{"a": 1}, {"a": 2}])));
    assert!(!accepts(list.clone(), json!([[{"a": [1]}, {"a": [2]}]]), json!([{"a": 2}, {"a": 1}])));
    assert!(!accepts(list, json!([[{"a": [1]}]]), json!([{"a": 1}, {"a": 1}])));
}

#[test]
fn optional_required_and_unexpected_arguments() {
    let p = problem(
        json!({"properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": "string"}}, "required": ["a"]}),
        &[json!({"a": [1], "b": ["x", ""]})],
    );
    assert!(matches(&p, &[call("f", json!({"a": 1}))]));
    assert!(matches(&p, &[call("f", json!({"b": "X", "a": 1}))]));
    assert!(!matches(&p, &[call("f", json!({"b": "x"}))]));
    assert!(!matches(&p, &[call("f", json!({"a": 1, "c": "x"}))]), "in the schema, but not among the answers");
    assert!(!matches(&p, &[call("f", json!({"a": 1, "d": 1}))]));
    assert!(!matches(&p, &[call("F", json!({"a": 1}))]));
    assert!(!matches(&p, &[]));
    assert!(!matches(&p, &[call("f", json!({"a": 1})), call("f", json!({"a": 1}))]));
}

#[test]
fn parallel_calls_match_in_any_order_each_once() {
    let p = problem(json!({"properties": {"a": {"type": "integer"}}, "required": ["a"]}), &[json!({"a": [1]}), json!({"a": [1, 2]})]);
    let calls = |values: &[i32]| values.iter().map(|v| call("f", json!({"a": v}))).collect::<Vec<_>>();
    assert!(matches(&p, &calls(&[2, 1])) && matches(&p, &calls(&[1, 1])));
    assert!(!matches(&p, &calls(&[2, 2])) && !matches(&p, &calls(&[1])));
}

#[test]
fn no_call_is_right_exactly_where_none_is_expected() {
    let mut p = problem(json!({}), &[]);
    for matcher in [Matcher::Bfcl, Matcher::BfclIrrelevance, Matcher::Exact] {
        p.matcher = matcher;
        assert!(matches(&p, &[]) && !matches(&p, &[call("f", json!({}))]));
    }
}

#[test]
fn exact_compares_as_json_to_every_accepted_value() {
    let mut p = problem(json!({"properties": {}}), &[json!({"a": ["Paris", "Lutetia"], "b": [5]}), json!({"a": ["Rome"], "b": [1, ""]})]);
    p.matcher = Matcher::Exact;
    let rome = call("f", json!({"a": "Rome"}));
    let with = |a: Value, b: Value| matches(&p, &[rome.clone(), call("f", json!({"a": a, "b": b}))]);
    assert!(with(json!("Paris"), json!(5.0)) && with(json!("Lutetia"), json!(5)));
    assert!(!with(json!("paris"), json!(5)) && !with(json!("Lutetia "), json!(5)) && !with(json!("Paris"), json!("5")));
    let first = call("f", json!({"b": 5.0, "a": "Paris"}));
    assert!(!matches(&p, &[call("f", json!({"a": "Rome", "b": true})), first.clone()]));
    assert!(!matches(&p, &[first]));
    let calls = [call("f", json!({"a": "Lutetia", "b": 6})), rome];
    let verdicts: Vec<_> = explain(&p, &calls).calls[0].arguments.iter().map(|a| a.verdict).collect();
    assert_eq!(verdicts, [Verdict::Right, Verdict::WrongValue]);
}

#[test]
fn what_the_schema_requires_is_missing_even_where_the_answers_leave_it_out() {
    let p = problem(json!({"properties": {"a": {"type": "string"}}, "required": ["a"]}), &[json!({"a": ["x", ""]})]);
    let calls = [call("f", json!({}))];
    let explanation = explain(&p, &calls);
    assert!(!matches(&p, &calls) && explanation.calls[0].arguments[0].verdict == Verdict::Missing);
    assert_eq!(explanation.argument_score(&p, &calls), 0.0);
}

/// Microsoft or Apple is accepted for the first, so the fewest-wrong pairing would leave the second without a partner.
#[test]
fn right_calls_are_explained_as_right_whoever_their_partner_could_be() {
    let p = problem(
        json!({"properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a"]}),
        &[json!({"a": ["x", "y"], "b": ["z", ""]}), json!({"a": ["y"], "b": ["z", ""]})],
    );
    let calls = [call("f", json!({"a": "x"})), call("f", json!({"a": "y", "b": "z"}))];
    assert!(matches(&p, &calls));
    let explanation = explain(&p, &calls);
    assert!(explanation.calls.iter().flat_map(|c| &c.arguments).all(|a| matches!(a.verdict, Verdict::Right | Verdict::LeftOut)));
}

#[test]
fn exact_finds_partners_whatever_the_order() {
    let mut p = problem(json!({}), &[json!({"a": [1], "b": [2, ""]}), json!({"a": [1], "c": [3, ""]})]);
    p.matcher = Matcher::Exact;
    let (bare, full) = (call("f", json!({"a": 1})), call("f", json!({"a": 1, "b": 2})));
    assert!(matches(&p, &[bare.clone(), full.clone()]) && matches(&p, &[full.clone(), bare.clone()]));
    assert!(matches(&p, &[bare.clone(), bare]) && !matches(&p, &[full.clone(), full]));
}

/// A model that writes a look-alike letter calls a tool that does not exist, whatever the page shows.
#[test]
fn a_look_alike_letter_in_an_answer_is_another_tool() {
    let p = problem(json!({"properties": {"a": {"type": "integer"}}}), &[json!({"a": [1]})]);
    let mut q = p.clone();
    q.tools[0].name = "fac".into();
    q.expected.calls[0].name = "fac".into();
    assert!(matches(&q, &[call("fac", json!({"a": 1}))]) && !matches(&q, &[call("f\u{430}c", json!({"a": 1}))]));
}

#[test]
fn an_explanation_says_type_not_wrong_and_names_missing_and_surplus() {
    let p = problem(
        json!({"properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": "string"}, "d": {"type": "string"}}}),
        &[json!({"a": [5], "b": ["x"], "c": ["y"], "d": ["z", ""]})],
    );
    let calls = [call("g", json!({"q": 1})), call("f", json!({"a": "5", "b": "X", "e": 1}))];
    let explanation = explain(&p, &calls);
    let verdicts: Vec<_> = explanation.calls[0].arguments.iter().map(|a| (a.name.as_str(), a.verdict)).collect();
    assert_eq!(
        verdicts,
        [("a", Verdict::WrongType), ("b", Verdict::Right), ("c", Verdict::Missing), ("d", Verdict::LeftOut), ("e", Verdict::Unexpected)]
    );
    assert_eq!((explanation.calls[1].expected, explanation.calls[1].produced), (None, Some(0)));
    assert_eq!(explanation.argument_score(&p, &calls), 1.0 / 5.0);
    assert_eq!(explain(&p, &[]).argument_score(&p, &[]), 0.0);
}

#[test]
fn canonical_unlists_objects_and_gives_what_is_required() {
    let p = problem(
        json!({"properties": {"o": {"type": "dict"}, "l": {"type": "array", "items": {"type": "dict"}}, "s": {"type": "string"},
            "t": {"type": "string"}}, "required": ["s"]}),
        &[json!({"o": [{"k": [1, 2], "m": ["x", ""]}], "l": [[{"k": [3]}]], "s": ["", "v"], "t": ["w", ""]})],
    );
    let calls = canonical(&p);
    assert_eq!(calls, [call("f", json!({"o": {"k": 1}, "l": [{"k": 3}], "s": "v"}))]);
    assert!(matches(&p, &calls));
}

fn odd_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-2i64..3).prop_map(Value::from),
        prop::sample::select(vec![0.0, 1.0, 1.5]).prop_map(Value::from),
        prop::sample::select(vec!["", "a", "A b", "5"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let key = prop::sample::select(vec!["a", "b", ""]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..3)
                .prop_map(|kv| Value::Object(kv.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn matching_and_explaining_agree_and_never_panic(
        schema in prop_oneof![odd_value(), prop::sample::select(vec!["string", "integer", "float", "array", "dict", "any"])
            .prop_map(|t| json!({"type": t, "items": {"type": "dict"}}))],
        accepted in prop::collection::vec(odd_value(), 0..3),
        value in odd_value(),
    ) {
        let p = problem(json!({"properties": {"x": schema}}), &[json!({"x": accepted})]);
        let calls = [call("f", json!({"x": value}))];
        let score = explain(&p, &calls).argument_score(&p, &calls);
        prop_assert_eq!(matches(&p, &calls), score == 1.0);
        canonical(&p);
    }
}
