use serde_json::json;
use whetstone_domain::{Accepted, ExpectedCall, RunConfig, Tool, config::RewardName};

use super::*;
use crate::{Rewarder, tasks::starter};

fn problems() -> Vec<Problem> {
    let mut problems = starter::load(false, 5, 150);
    problems.extend(starter::load(true, 5, 50));
    problems
}

fn by(name: &RewardName, graded: bool) -> RewardReport {
    within(Format::BareJson, name, graded)
}

fn within(format: Format, name: &RewardName, graded: bool) -> RewardReport {
    let rewarder = Rewarder::new(&RunConfig { reward: name.clone(), format, ..RunConfig::default() }).expect("built in");
    let score = |_, p: &Problem, text: &str, outcome| {
        Ok::<_, std::convert::Infallible>(rewarder.score(p, text, &format::parse(format, text), outcome).total)
    };
    match audit(&name.to_string(), format, &problems(), graded, &rewarder.steps(), score) {
        Ok(report) => report,
        Err(never) => match never {},
    }
}

#[test]
fn every_built_in_reward_climbs_from_garbage_to_gold() {
    for name in RewardName::BUILT_IN {
        let graded = matches!(name, RewardName::Dense | RewardName::Toolrl);
        let report = by(&name, graded);
        assert!(report.violations.is_empty(), "{name}: {:#?}", report.violations);
        assert!(report.gold_not_right.is_empty() && report.ladder_problems > 80, "{name}: {}", report.ladder_problems);
        let gold = report.policies.last().expect("rows");
        assert!(gold.policy == Policy::Gold && gold.accuracy == 1.0);
        assert!(report.policies.iter().all(|r| r.policy == Policy::Gold || r.reward < gold.reward), "{name}: {:#?}", report.policies);
        let row = |policy: Policy| report.policies.iter().find(|r| r.policy == policy).expect("a row");
        assert_eq!(row(Policy::FirstToolEmpty).problems, 200, "a cheap trick is tried on every problem");
    }
}

#[test]
fn rewards_climb_in_every_format() {
    for format in Format::ALL {
        for name in [RewardName::Dense, RewardName::Toolrl, RewardName::Strict] {
            let report = within(format, &name, name != RewardName::Strict);
            assert!(report.violations.is_empty(), "{name} in {}: {:#?}", format.name(), report.violations);
        }
    }
}

#[test]
fn a_reward_that_is_not_strictly_graded_is_named() {
    // values carry the score of simrl: names and keys alone earn nothing
    let rules: Vec<_> = by(&RewardName::Simrl, true).violations.into_iter().map(|v| (v.rule, v.detail)).collect();
    assert!(rules.iter().all(|(rule, _)| *rule == "not_strictly_increasing"), "{rules:?}");
    assert!(rules.iter().any(|(_, d)| d.starts_with("right_tool_empty earns as much as right_keys_junk")), "{rules:?}");
}

#[test]
fn rewards_that_pay_for_the_wrong_thing_are_named() {
    let audited = |score: &dyn Fn(&str, Outcome) -> f64| {
        let score = |_, _: &Problem, text: &str, outcome| Ok::<_, std::convert::Infallible>(score(text, outcome));
        let report = audit("mine", Format::BareJson, &problems(), false, &[0], score).unwrap_or_else(|never| match never {});
        report.violations.into_iter().map(|v| v.rule).collect::<std::collections::BTreeSet<_>>()
    };
    assert!(audited(&|_, outcome| f64::from(u8::from(outcome.is_correct()))).is_empty());
    assert!(audited(&|text, _| text.len() as f64).contains("gold_is_not_the_maximum"), "length");
    let silence = audited(&|text, outcome| if outcome.is_correct() { 2.0 } else { f64::from(u8::from(text == "[]")) });
    assert!(silence.contains("silence_pays"), "{silence:?}");
    let down = audited(&|text, outcome| match outcome.is_correct() {
        true => 9.0,
        false => f64::from(u8::from(text.contains("garbage"))),
    });
    assert!(down.contains("decreasing"), "{down:?}");
    assert!(audited(&|_, _| 0.0).contains("gold_is_not_the_maximum"), "nothing for anybody");
    for no_number in [f64::INFINITY, f64::NAN] {
        assert!(audited(&|_, outcome| if outcome.is_correct() { no_number } else { 0.0 }).contains("not_finite"), "{no_number}");
    }
}

#[test]
fn a_reward_is_audited_wherever_its_weights_move() {
    let ramp = |from: f64, to: f64| json!({"from": from, "to": to, "start": 10, "end": 20});
    let audited = |parts: serde_json::Value| {
        let composition = serde_json::from_value(json!({"part": parts})).expect("a composition");
        let config = RunConfig { reward: RewardName::Composition, composition: Some(composition), ..RunConfig::default() };
        let rewarder = Rewarder::new(&config).expect("a reward");
        let format = Format::BareJson;
        let score = |step, p: &Problem, text: &str, outcome| {
            Ok::<_, std::convert::Infallible>(rewarder.at(step).score(p, text, &format::parse(format, text), outcome).total)
        };
        audit("mine", format, &problems(), false, &rewarder.steps(), score).unwrap_or_else(|never| match never {})
    };
    let good = audited(json!([{"use": "dense", "weight": ramp(1.0, 0.0)}, {"use": "strict"}]));
    assert_eq!((good.steps, good.violations), (vec![0, 10, 15, 20], vec![]));
    // good at first, upside down in the end
    let turns = audited(json!([{"use": "dense", "weight": ramp(1.0, -1.0)}]));
    let steps: std::collections::BTreeSet<usize> = turns.violations.iter().map(|v| v.step).collect();
    assert_eq!(steps, std::collections::BTreeSet::from([15, 20]), "{:?}", turns.violations);
    assert_eq!(audited(json!([{"use": "strict"}])).steps, [0]);
}

#[test]
fn every_policy_answers_once_and_gold_comes_last() {
    for problem in problems() {
        let texts = policies::texts(Format::BareJson, &problem);
        let distinct: std::collections::BTreeSet<_> = texts.iter().map(|(p, _)| p).collect();
        assert_eq!(distinct.len(), texts.len(), "{texts:?}");
        assert!(texts.last().is_some_and(|(p, _)| *p == Policy::Gold) && texts.iter().any(|(p, _)| *p == Policy::WorkedExample));
        assert!(texts.len() >= if problem.expected.is_no_call() { 5 } else { 10 }, "{texts:?}");
    }
}

/// BFCL writes "may be left out" for an argument that its schema requires, and its checker does not let it be (parallel_multiple_119).
#[test]
fn a_required_argument_that_the_answers_leave_out_is_no_false_alarm() {
    let tool = |name: &str| Tool {
        name: name.into(),
        description: String::new(),
        parameters: json!({"type": "dict", "properties": {"team": {"type": "string"}}, "required": ["team"]}),
    };
    let call = |name: &str, values: &[&str]| {
        let accepted = Accepted { values: values.iter().map(|v| json!(v)).collect(), optional: values.contains(&"") };
        ExpectedCall { name: name.into(), arguments: vec![("team".into(), accepted)] }
    };
    let mut problem = starter::load(false, 1, 1).remove(0);
    problem.tools = vec![tool("goals"), tool("scorer")];
    problem.expected.calls = vec![call("goals", &["United"]), call("scorer", &["Premier League", ""])];
    for name in RewardName::BUILT_IN {
        let rewarder = Rewarder::new(&RunConfig { reward: name.clone(), ..RunConfig::default() }).expect("built in");
        let score = |_, p: &Problem, text: &str, outcome| {
            let parse = format::parse(Format::BareJson, text);
            Ok::<_, std::convert::Infallible>(rewarder.score(p, text, &parse, outcome).total)
        };
        let graded = matches!(name, RewardName::Dense | RewardName::Toolrl);
        let report = audit("mine", Format::BareJson, std::slice::from_ref(&problem), graded, &[0], score).unwrap_or_else(|e| match e {});
        assert!(report.violations.is_empty() && report.ladder_problems == 1, "{name}: {:?}", report.violations);
    }
}

#[test]
fn junk_fills_every_key_where_a_schema_requires_none() {
    let mut problem = starter::load(false, 1, 1).remove(0);
    let written = |problem: &Problem| {
        let texts = policies::texts(Format::BareJson, problem);
        let text = texts.into_iter().find(|(p, _)| *p == Policy::FirstToolJunk).map(|(_, text)| text).expect("a first tool");
        let calls = format::strict(Format::BareJson, &text).expect("readable");
        calls[0].arguments.keys().cloned().collect::<Vec<_>>()
    };
    let properties = json!({"a": {"type": "string"}, "b": {"type": "integer"}});
    for (schema, keys) in [
        (json!({"type": "object", "properties": properties}), &["a", "b"][..]),
        (json!({"type": "object", "properties": properties, "required": []}), &["a", "b"]),
        (json!({"type": "object", "properties": properties, "required": ["b"]}), &["b"]),
        (json!({"type": "object"}), &[]),
    ] {
        problem.tools[0].parameters = schema;
        assert_eq!(written(&problem), keys);
    }
}

#[test]
fn the_data_audit_finds_what_was_planted() {
    let mut set = starter::load(false, 1, 40);
    let clean = data::audit(Format::BareJson, &set, Some(&starter::load(true, 1, 40)), |_| Ok(()));
    assert_eq!((clean.problems, clean.schema_errors.count), (40, 0));
    assert_eq!(clean.overlap.as_ref().map(|o| (o.requests.count, o.tools.count)), Some((0, 0)));
    assert!(clean.values_in_request > 0.4 && clean.values_in_request < 1.0, "{}", clean.values_in_request);
    let mut twin = set[3].clone();
    twin.id = "twin".into();
    twin.messages[0].content = format!(" {}!!", twin.messages[0].content.to_uppercase());
    let mut broken = set[4].clone();
    broken.id = "broken".into();
    broken.tools[0].parameters = json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": "x"}}});
    let mut ill = set.iter().find(|p| p.expected.calls.iter().any(|c| !c.arguments.is_empty())).cloned().expect("a call");
    ill.id = "ill".into();
    ill.messages[0].content = "Something else entirely.".into();
    let name = ill.expected.calls[0].arguments[0].0.clone();
    ill.expected.calls[0].arguments = vec![(name, Accepted { values: vec![json!({"no": 1})], optional: false })];
    let mut masked = set[5].clone();
    masked.id = "masked".into();
    masked.messages[0].content = "Something of its own.".into();
    masked.tools[0].name = "get_w\u{435}ather".into();
    set.extend([twin, broken, ill, masked]);
    let asked = std::cell::RefCell::new(Vec::new());
    let report = data::audit(Format::BareJson, &set, Some(&set[..2]), |p| {
        asked.borrow_mut().push(p.id.clone());
        if p.id == "twin" { Err("tool \"t\": there is no present".into()) } else { Ok(()) }
    });
    assert!(report.duplicates.count == 2 && report.duplicates.first[0].starts_with("twin asks what starter-1-000003 asks"));
    assert!(report.schema_errors.first.iter().any(|e| e.starts_with("broken: the schema of tool")), "{:?}", report.schema_errors);
    assert!(report.schema_errors.first.iter().any(|e| e.starts_with("ill: expected call of")), "{:?}", report.schema_errors);
    assert_eq!(report.unfit.first[0], "twin: tool \"t\": there is no present");
    assert!(report.unfit.count == 2 && report.unfit.first[1].contains("masked: tool name"), "{:?}", report.unfit);
    assert!(!asked.into_inner().contains(&"masked".to_owned()), "what may not be offered is not run");
    assert_eq!(report.overlap.map(|o| o.requests.count), Some(2));
}

#[test]
fn a_value_is_copied_only_where_it_stands_whole() {
    let mut p = starter::load(false, 1, 200).into_iter().find(|p| p.expected.calls.len() == 1).expect("a call");
    let mut share = |request: &str, value: serde_json::Value| {
        p.messages[0].content = request.into();
        let key = "a".to_owned();
        p.expected.calls[0].arguments = vec![(key, Accepted { values: vec![value], optional: false })];
        data::audit(Format::BareJson, std::slice::from_ref(&p), None, |_| Ok(())).values_in_request
    };
    assert_eq!(share("It is 15 now", json!(15)), 1.0);
    assert_eq!(share("It is 15.5 now", json!(15)), 0.0);
    assert_eq!(share("It is 150", json!(15)), 0.0);
    assert_eq!(share("It is 15.", json!(15.0)), 1.0);
    assert_eq!(share("In NEW york", json!("New York")), 1.0);
    assert_eq!(share("Rows 1, 2 and 3", json!([1, 3])), 1.0);
    assert_eq!(share("Rows 1, 2 and 3", json!([1, 4])), 0.0);
}
