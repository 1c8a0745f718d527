//! Golden numbers of `simrl` and `toolrl`, by hand from their formulas, and what compositions, shaping and explanations promise.

use serde_json::{Value, json};
use whetstone_domain::{
    Accepted, Expected, ExpectedCall, Matcher, Message, Role, StopReason, Tool, ToolCall,
    config::{ComposedPart, Composition, Ramp},
};

use super::*;
use crate::{format, matching, outcome, tasks::starter};

pub(super) const SIX: [RewardName; 6] = RewardName::BUILT_IN;

/// Offers `f(city, n, tags?)`, `g(x)` and `now()`; expects the given calls.
pub(super) fn problem(expected: &[(&str, Value)]) -> Problem {
    let tool = |name: &str, properties: Value, required: Value| Tool {
        name: name.into(),
        description: String::new(),
        parameters: json!({"type": "object", "properties": properties, "required": required}),
    };
    let call = |(name, arguments): &(&str, Value)| ExpectedCall {
        name: (*name).to_owned(),
        arguments: arguments
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, v)| (k.clone(), Accepted { values: vec![v.clone()], optional: false }))
            .collect(),
    };
    Problem {
        id: "p".into(),
        messages: vec![Message::new(Role::User, "q")],
        tools: vec![
            tool("f", json!({"city": {"type": "string"}, "n": {"type": "integer"}, "tags": {"type": "string"}}), json!(["city", "n"])),
            tool("g", json!({"x": {"type": "integer"}}), json!(["x"])),
            tool("now", json!({}), json!([])),
        ],
        expected: Expected { calls: expected.iter().map(call).collect() },
        matcher: Matcher::Bfcl,
        domain: String::new(),
        difficulty: 0,
        environment: None,
        answer: None,
    }
}

pub(super) fn call(name: &str, arguments: Value) -> ToolCall {
    ToolCall { name: name.into(), arguments: arguments.as_object().cloned().unwrap_or_default() }
}

pub(super) fn write(calls: &[ToolCall]) -> String {
    format::write(Format::BareJson, calls)
}

pub(super) fn score_with(config: &RunConfig, problem: &Problem, text: &str, stop: StopReason) -> Reward {
    let parse = format::parse(Format::BareJson, text);
    let outcome = outcome::judge(problem, text, &parse, stop);
    Rewarder::new(config).expect("a good config").score(problem, text, &parse, outcome)
}

pub(super) fn total(name: &RewardName, problem: &Problem, text: &str) -> f64 {
    score_with(&RunConfig { reward: name.clone(), ..RunConfig::default() }, problem, text, StopReason::Eos).total
}

#[track_caller]
fn close(found: f64, golden: f64) {
    assert!((found - golden).abs() < 1e-12, "{found} instead of {golden}");
}

#[test]
fn simrl_gives_what_its_formula_gives() {
    let one = problem(&[("f", json!({"city": "New York City", "n": 3}))]);
    let simrl = |p: &Problem, text: &str| total(&RewardName::Simrl, p, text);
    let of = |p: &Problem, calls: &[ToolCall]| simrl(p, &write(calls));
    for text in ["{", "", "{} x", "no call"] {
        // nothing to read: -1; a plain refusal reads as no call: 0 of 1
        close(simrl(&one, text), if text.contains('{') { -1.0 } else { 0.0 });
    }
    close(of(&one, &[call("h", json!({}))]), -1.0);
    close(of(&one, &[call("f", json!({"city": "New York City", "n": 3, "m": 1}))]), -1.0);
    close(of(&one, &[call("g", json!({"x": 1}))]), 0.0);
    close(of(&one, &[call("f", json!({}))]), 0.0);
    close(of(&one, &[call("f", json!({"city": "x", "n": 4}))]), 0.0);
    // ROUGE-L of "new york" to "New York City": 2 shared words, F1 = 2*2/(3+2) = 0.8; (0.8 + 1) / 2 keys
    close(of(&one, &[call("f", json!({"city": "new york", "n": 3}))]), 0.9);
    // one surplus key of the schema: (1 + 1) / 3
    close(of(&one, &[call("f", json!({"city": "New York City", "n": 3, "tags": "x"}))]), 2.0 / 3.0);
    // "3" for 3 is no equal: 1 / 2
    close(of(&one, &[call("f", json!({"city": "New York City", "n": "3"}))]), 0.5);
    let gold = matching::canonical(&one);
    close(of(&one, &gold), 1.0);
    // twice: 1 / (2 + 1 - 1)
    close(of(&one, &[gold.clone(), gold].concat()), 0.5);
    let two = problem(&[("f", json!({"city": "Oslo", "n": 1})), ("g", json!({"x": 2}))]);
    close(of(&two, &[call("g", json!({"x": 2}))]), 0.5);
    // f half right, g right, one more: 1.5 / (3 + 2 - 2)
    close(of(&two, &[call("now", json!({})), call("f", json!({"city": "Oslo", "n": 9})), call("g", json!({"x": 2}))]), 0.5);
    let none = problem(&[]);
    close(simrl(&none, "[]"), 1.0);
    close(of(&none, &[call("now", json!({}))]), 0.0);
    close(of(&none, &[call("h", json!({}))]), -1.0);
    // alike as far as ROUGE-L and equality see, and yet refused by BFCL's types or the exact matcher: 0.95
    close(of(&one, &[call("f", json!({"city": "New York City", "n": 3.0}))]), 1.95 / 2.0);
    let mut exact = one.clone();
    exact.matcher = Matcher::Exact;
    close(of(&exact, &[call("f", json!({"city": "new  york city", "n": 3.0}))]), 1.95 / 2.0);
    exact.expected.calls[0].arguments[0].1.values.push(json!("NYC"));
    close(of(&exact, &[call("f", json!({"city": "NYC", "n": 3}))]), 1.0);
    close(simrl::rouge_l("the cat sat", "the dog sat"), 2.0 / 3.0);
    close(simrl::rouge_l("a b c d", "d c b a"), 0.25);
}

#[test]
fn toolrl_gives_what_its_formula_gives() {
    let one = problem(&[("f", json!({"city": "Oslo", "n": 3}))]);
    let toolrl = |p: &Problem, text: &str| total(&RewardName::Toolrl, p, text);
    let of = |p: &Problem, calls: &[ToolCall]| toolrl(p, &write(calls));
    close(toolrl(&one, "{"), -3.0);
    close(toolrl(&one, "[]"), 1.0 - 3.0);
    // Smax = 1 + 1 + 2. Another tool: S = 0. The tool alone: S = 1. With right keys: S = 2. One value right: S = 3.
    for (calls, s) in [
        (call("g", json!({"x": 1})), 0.0),
        (call("f", json!({})), 1.0),
        (call("f", json!({"city": "x", "n": 9})), 2.0),
        (call("f", json!({"city": "Oslo", "n": 9})), 3.0),
        // one of two keys, and right: 1 + 1/2 + 1
        (call("f", json!({"city": "Oslo"})), 2.5),
        // a surplus key: 1 + 2/3 + 2
        (call("f", json!({"city": "Oslo", "n": 3, "tags": "x"})), 1.0 + 2.0 / 3.0 + 2.0),
    ] {
        close(of(&one, &[calls]), 1.0 + 6.0 * s / 4.0 - 3.0);
    }
    let gold = matching::canonical(&one);
    close(of(&one, &gold), 4.0);
    // twice: names 1/2, then a whole call: 3.5 of 4
    close(of(&one, &[gold.clone(), gold.clone()].concat()), 1.0 + 6.0 * 3.5 / 4.0 - 3.0);
    // the better of two pairings, whatever the order of the calls: names 1, keys and values 1 + 0 and 1 + 2, of 1 + 2 + 3
    let same = problem(&[("f", json!({"city": "Oslo"})), ("f", json!({"city": "Oslo", "n": 3}))]);
    for calls in [[json!({"city": "x"}), json!({"city": "Oslo", "n": 3})], [json!({"city": "Oslo", "n": 3}), json!({"city": "x"})]] {
        close(of(&same, &calls.map(|arguments| call("f", arguments))), 1.0 + 6.0 * 5.0 / 6.0 - 3.0);
    }
    // the bug of the authors' code: there both of these earned 0
    let none = problem(&[]);
    close(toolrl(&none, "[]"), 4.0);
    close(of(&none, &[call("now", json!({}))]), -2.0);
    let graded = |toolrl_grading, p: &Problem, calls: &[ToolCall]| {
        let config = RunConfig { reward: RewardName::Toolrl, toolrl_grading, ..RunConfig::default() };
        score_with(&config, p, &write(calls), StopReason::Eos).total
    };
    let near = [call("f", json!({"city": "Oslo", "n": 9}))];
    close(graded(ToolrlGrading::Coarse, &one, &near), -2.0);
    close(graded(ToolrlGrading::Coarse, &one, &gold), 4.0);
    // Smax = 2: the name is right, the call is not
    close(graded(ToolrlGrading::Intermediate, &one, &near), 1.0);
    let two = problem(&[("f", json!({"city": "Oslo", "n": 1})), ("g", json!({"x": 2}))]);
    // Smax = 3: names 1, one of two calls
    let half = [call("f", json!({"city": "Oslo", "n": 1})), call("g", json!({"x": 7}))];
    close(graded(ToolrlGrading::Intermediate, &two, &half), 1.0 + 6.0 * 2.0 / 3.0 - 3.0);
}

#[test]
fn bfcl_ast_judges_by_bfcl_whatever_the_matcher() {
    let mut p = problem(&[("f", json!({"city": "New York", "n": 3}))]);
    p.matcher = Matcher::Exact;
    let loose = write(&[call("f", json!({"city": "new-york", "n": 3}))]);
    assert_eq!([total(&RewardName::BfclAst, &p, &loose), total(&RewardName::Strict, &p, &loose)], [1.0, 0.0]);
    let float = write(&[call("f", json!({"city": "New York", "n": 3.0}))]);
    assert_eq!([total(&RewardName::BfclAst, &p, &float), total(&RewardName::Strict, &p, &float)], [0.0, 1.0]);
}

#[test]
fn gold_is_the_only_maximum_of_every_reward_and_refusing_never_beats_it() {
    for problem in starter::load(false, 11, 120).iter().chain(&starter::load(true, 11, 60)) {
        let gold = matching::canonical(problem);
        for name in &SIX {
            let best = total(name, problem, &write(&gold));
            for wrong in ["{", "{}", "}{ garbage", "[[]]"] {
                assert!(total(name, problem, wrong) < best, "{name} {}: {wrong}", problem.id);
            }
            if gold.is_empty() {
                let tool = call(&problem.tools[0].name, json!({}));
                assert!(total(name, problem, &write(&[tool])) < best, "{name} {}", problem.id);
                continue;
            }
            for wrong in ["[]", "None of these fits.", ""] {
                assert!(total(name, problem, wrong) < best, "{name} {}: {wrong:?}", problem.id);
            }
            assert!(total(name, problem, &format!("{} Done!", write(&gold))) < best, "{name} {}", problem.id);
            assert!(total(name, problem, &write(&[gold.clone(), gold.clone()].concat())) < best, "{name} {}", problem.id);
        }
    }
}

pub(super) fn composed(parts: &[(&str, Weight)]) -> RunConfig {
    let part = |&(source, weight): &(&str, Weight)| ComposedPart { source: source.into(), name: None, weight, characters: None };
    let composition = Some(Composition { part: parts.iter().map(part).collect() });
    RunConfig { reward: RewardName::Composition, composition, ..RunConfig::default() }
}

#[test]
fn a_composition_is_the_weighted_sum_of_its_parts_and_moves_with_the_step() {
    let p = problem(&[("f", json!({"city": "Oslo", "n": 3}))]);
    let text = write(&[call("f", json!({"city": "Oslo", "n": 9}))]);
    let ramp = |from, to| Weight::Linear(Ramp { from, to, start: 10, end: 20 });
    let config = composed(&[("dense", ramp(1.0, 0.0)), ("simrl", ramp(0.0, 1.0)), ("dense.names", Weight::Constant(0.25))]);
    let rewarder = Rewarder::new(&config).expect("good");
    let parse = format::parse(Format::BareJson, &text);
    let outcome = outcome::judge(&p, &text, &parse, StopReason::Eos);
    let (dense, simrl) = (total(&RewardName::Dense, &p, &text), total(&RewardName::Simrl, &p, &text));
    for (step, share) in [(0, 0.0), (10, 0.0), (13, 0.3), (20, 1.0), (99, 1.0)] {
        let reward = rewarder.at(step).score(&p, &text, &parse, outcome);
        close(reward.total, (1.0 - share) * dense + share * simrl + 0.25);
        assert_eq!(reward.parts.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["dense", "simrl", "dense_names"]);
    }
}

#[test]
fn a_composition_that_cannot_be_is_refused_with_its_place() {
    let one = Weight::Constant(1.0);
    for (parts, pointer, words) in [
        (vec![], "composition.part", "empty"),
        (vec![("dance", one)], "composition.part[0].use", "known are dense"),
        (vec![("dense", one), ("dense.valuez", one)], "composition.part[1].use", "its parts are marker"),
        (vec![("dense", one), ("dense", one)], "composition.part[1].name", "taken"),
        (vec![("dense", Weight::Constant(f64::INFINITY))], "composition.part[0].weight", "finite"),
        (vec![("dense", one), ("paper", Weight::Constant(1e308))], "composition.part[1].weight", "between -1000000 and 1000000"),
        (vec![("dense", Weight::Linear(Ramp { from: 1.0, to: -1e308, start: 1, end: 5 }))], "composition.part[0].weight", "1000000"),
        (vec![("dense", Weight::Linear(Ramp { from: 1.0, to: 0.0, start: 5, end: 5 }))], "composition.part[0].weight", "jump"),
    ] {
        let error = Rewarder::new(&composed(&parts)).expect_err(pointer);
        assert!(error.pointer == pointer && error.detail.contains(words), "{error}");
    }
    let missing = Rewarder::new(&RunConfig { reward: RewardName::Composition, ..RunConfig::default() }).expect_err("no parts");
    assert_eq!(missing.pointer, "composition");
    let program = Rewarder::new(&RunConfig { reward: RewardName::Command("x".into()), ..RunConfig::default() }).expect_err("no parts");
    assert_eq!(program.pointer, "reward");
    let mut capped = composed(&[("dense", one)]);
    capped.composition.as_mut().expect("given").part[0].characters = Some(9);
    assert_eq!(Rewarder::new(&capped).expect_err("no cap").pointer, "composition.part[0].characters");
}

#[test]
fn shaping_takes_from_wrong_texts_only_and_never_pays_for_length() {
    let p = problem(&[("g", json!({"x": 1}))]);
    let mut config =
        composed(&[("truncation", Weight::Constant(1.0)), ("repetition", Weight::Constant(1.0)), ("length_cap", Weight::Constant(1.0))]);
    config.composition.as_mut().expect("given").part[2].characters = Some(100);
    let values = |text: &str, stop| {
        let parts = score_with(&config, &p, text, stop).parts;
        parts.into_iter().map(|p| p.value.expect("applies")).collect::<Vec<_>>()
    };
    let gold = write(&matching::canonical(&p));
    assert_eq!(values(&gold, StopReason::Eos), [0.0, 0.0, 0.0]);
    assert_eq!(values(&gold, StopReason::Length), [-1.0, 0.0, 0.0]);
    assert_eq!(values("", StopReason::Eos), [0.0, 0.0, 0.0]);
    let at = |n: usize| values(&"abcdefghijklmnopqrstuvwxyz0123456789".chars().cycle().take(n).collect::<String>(), StopReason::Eos)[2];
    assert_eq!([at(99), at(100), at(150), at(200), at(999)], [0.0, 0.0, -0.5, -1.0, -1.0]);
    // a right answer in a roundabout spelling costs nothing
    let long = format!("[{}{}]", " ".repeat(500), gold);
    assert_eq!(values(&long, StopReason::Eos), [0.0, 0.0, 0.0]);
    let weighed = RunConfig { reward_weights: [("truncation".to_owned(), 0.2)].into(), ..RunConfig::default() };
    let cut = score_with(&weighed, &p, "{", StopReason::Length);
    assert!(cut.parts.iter().any(|p| p.name == "truncation" && p.value == Some(-1.0) && p.weight == 0.2));
}

#[test]
fn repetition_finds_circles_and_nothing_else() {
    let f = shaping::repetition;
    assert_eq!([f("abababababab"), f("x, y, x, y, x, y, x, y, x, y, ")], [1.0, 1.0]);
    assert_eq!(f(&"thirty characters in one unit ".repeat(6)), 1.0, "a long unit with a word in it");
    for calm in ["", "abababab", "a          b", "{\"a\": 1, \"b\": 2}", "{\n                \"a\": [1, 1, 1]\n}"] {
        assert_eq!(f(calm), 0.0, "{calm:?}");
    }
    let circle = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen. ".repeat(4);
    assert!(f(&circle) > 0.3 && f(&circle) < 1.0, "{}", f(&circle));
}

#[test]
fn every_part_says_why() {
    let p = problem(&[("f", json!({"city": "Oslo", "n": 3}))]);
    let explained = |name: &RewardName, text: &str| {
        let rewarder = Rewarder::new(&RunConfig { reward: name.clone(), ..RunConfig::default() }).expect("built in");
        let parse = format::parse(Format::BareJson, text);
        let outcome = outcome::judge(&p, text, &parse, StopReason::Eos);
        let explained = rewarder.explain(&p, text, &parse, outcome);
        assert_eq!(explained.total, rewarder.score(&p, text, &parse, outcome).total);
        explained
    };
    let near = write(&[call("f", json!({"city": "Oslo", "n": "3"}))]);
    for name in &SIX {
        for text in ["", "{", &near, &write(&matching::canonical(&p)), "{\"name\": \"h\", \"arguments\": {}}"] {
            let reward = explained(name, text);
            assert!(reward.parts.iter().all(|p| p.why.len() > 10 && p.weight.is_finite()), "{reward:?}");
        }
    }
    let why = |name: &RewardName, part: &str, text: &str| {
        explained(name, text).parts.into_iter().find(|p| p.name == part).map(|p| p.why).expect("a part")
    };
    assert!(why(&RewardName::Dense, "values", &near).contains("n has the wrong type: \"3\", 3 is right"));
    assert!(why(&RewardName::Simrl, "similarity", "{\"name\": \"h\", \"arguments\": {}}").contains("no tool \"h\""));
    assert!(why(&RewardName::Toolrl, "format", "{").contains("not readable"));
    assert!(why(&RewardName::Paper, "no_call", "{").contains("a call is expected"));
}
