//! How an answer is spelt: what the matcher or the strict reading accepts earns all that gold earns, what it refuses less.

use serde_json::{Value, json};
use whetstone_domain::{Matcher, StopReason, ToolCall};

use super::more_tests::{SIX, composed, problem, score_with, total, write};
use super::*;
use crate::{format, matching, outcome, tasks::starter};

/// How a value is written otherwise; `None` if it has no such other way.
type Way = Box<dyn Fn(&Value) -> Option<Value>>;

/// Gold with every string, or every number, written in another way: case, white space, 5.0 for 5, "5" for 5.
fn respelt(gold: &[ToolCall]) -> Vec<Vec<ToolCall>> {
    let text = |how: fn(&str) -> String| move |v: &Value| v.as_str().map(|s| json!(how(s)));
    let ways: [Way; 6] = [
        Box::new(text(|s| s.to_uppercase())),
        Box::new(text(|s| s.to_lowercase())),
        Box::new(text(|s| format!(" {s}\n"))),
        Box::new(text(|s| s.replace(' ', "  \t"))),
        Box::new(|v| v.as_i64().map(|n| json!(n as f64))),
        Box::new(|v| v.is_number().then(|| json!(v.to_string()))),
    ];
    let written = |how: &Way| {
        let mut calls = gold.to_vec();
        for value in calls.iter_mut().flat_map(|c| c.arguments.values_mut()) {
            *value = how(value).unwrap_or_else(|| value.clone());
        }
        calls
    };
    ways.iter().map(written).collect()
}

#[test]
fn another_spelling_earns_the_maximum_exactly_where_the_matcher_accepts_it() {
    let mut counts = [0, 0];
    for (problem, matcher) in starter::load(false, 11, 120).iter().flat_map(|p| [(p, Matcher::Bfcl), (p, Matcher::Exact)]) {
        let mut problem = problem.clone();
        problem.matcher = matcher;
        let gold = matching::canonical(&problem);
        for calls in respelt(&gold) {
            let right = matching::matches(&problem, &calls);
            counts[usize::from(right)] += 1;
            // bfcl_ast goes by BFCL's rules whatever the matcher
            for name in SIX.iter().filter(|name| matcher == Matcher::Bfcl || **name != RewardName::BfclAst) {
                let (best, earned) = (total(name, &problem, &write(&gold)), total(name, &problem, &write(&calls)));
                assert!(if right { earned == best } else { earned < best }, "{name}, {matcher:?}: {earned} for {calls:?}");
            }
        }
    }
    assert!(counts.iter().all(|n| *n > 200), "{counts:?}");
}

#[test]
fn what_the_strict_reading_takes_has_no_text_beside_the_calls() {
    let p = problem(&[("f", json!({"city": "Oslo", "n": 3}))]);
    let json = "{\"name\": \"f\", \"arguments\": {\"city\": \"Oslo\", \"n\": 3}}";
    for (format, text) in [
        (Format::Hermes, format!("<think>\nHm.\n</think>\n\n<tool_call>\n{json}\n</tool_call>")),
        (Format::LlamaJson, format!("<|python_tag|>{}", json.replace("arguments", "parameters"))),
        (Format::Pythonic, "[f(city='Oslo', n=3),]".into()),
        (Format::Pythonic, "f(city='Oslo', n=3)".into()),
        (
            Format::Functiongemma,
            "<start_function_call>call:f{city:<escape>Oslo<escape>,n:3}<end_function_call><start_function_response>".into(),
        ),
        (Format::Lfm2, "<think></think><|tool_call_start|>[f(city='Oslo', n=3)]<|tool_call_end|>".into()),
        (Format::Mistral, format!("[TOOL_CALLS] [{json}]")),
    ] {
        let parse = format::parse(format, &text);
        let outcome = outcome::judge(&p, &text, &parse, StopReason::Eos);
        let rewarder = Rewarder::new(&RunConfig { format, ..RunConfig::default() }).expect("dense");
        let reward = rewarder.score(&p, &text, &parse, outcome);
        assert!((reward.total - 1.0).abs() < 1e-12, "{text}: {reward:?}");
    }
}

#[test]
fn nothing_earned_is_zero_and_not_minus_zero() {
    let p = problem(&[("f", json!({"city": "Oslo", "n": 3}))]);
    let mut config = composed(&[("dense.names", Weight::Constant(-1.0)), ("truncation", Weight::Constant(1.0))]);
    for (config, text) in
        [(RunConfig { reward: RewardName::Simrl, ..RunConfig::default() }, "[]"), (config.clone(), "[]"), (config.clone(), "{")]
    {
        let reward = score_with(&config, &p, text, StopReason::Eos);
        let zeros = reward.parts.iter().filter_map(|p| p.value).chain([reward.total]).filter(|v| *v == 0.0);
        assert!(zeros.clone().count() > 1 && zeros.into_iter().all(f64::is_sign_positive), "{reward:?}");
    }
    config.composition.as_mut().expect("given").part.truncate(1);
    assert!(score_with(&config, &p, "x", StopReason::Eos).total.is_sign_positive());
}
