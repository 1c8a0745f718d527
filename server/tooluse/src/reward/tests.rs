use serde_json::json;
use whetstone_domain::{StopReason, ToolCall};

use super::*;
use crate::{format, matching, outcome, tasks::starter};

const DENSE: RewardName = RewardName::Dense;
const GRADED: [RewardName; 2] = [RewardName::Dense, RewardName::Paper];
const ALL: [RewardName; 3] = [RewardName::Dense, RewardName::Paper, RewardName::Strict];

fn problems() -> Vec<Problem> {
    let mut problems = starter::load(false, 3, 300);
    problems.extend(starter::load(true, 3, 100));
    problems
}

fn score(name: &RewardName, problem: &Problem, text: &str, stop: StopReason) -> Reward {
    let rewarder = Rewarder::new(&RunConfig { reward: name.clone(), ..RunConfig::default() }).expect("own weights");
    let parse = format::parse(Format::BareJson, text);
    let outcome = outcome::judge(problem, text, &parse, stop);
    rewarder.score(problem, text, &parse, outcome)
}

fn total(name: &RewardName, problem: &Problem, text: &str) -> f64 {
    let reward = score(name, problem, text, StopReason::Eos);
    for part in &reward.parts {
        assert!(part.value.is_none_or(|v| (0.0..=1.0).contains(&v)), "{part:?} for {text}");
    }
    reward.total
}

fn write(calls: &[ToolCall]) -> String {
    format::write(Format::BareJson, calls)
}

/// The right calls with every argument's value replaced.
fn junk(calls: &[ToolCall]) -> Vec<ToolCall> {
    let mut calls = calls.to_vec();
    for call in &mut calls {
        for value in call.arguments.values_mut() {
            *value = match value {
                serde_json::Value::String(_) => json!("\u{2603}\u{2603}"),
                serde_json::Value::Number(_) => json!(-987_654),
                serde_json::Value::Bool(b) => json!(!*b),
                serde_json::Value::Array(_) => json!(["\u{2603}\u{2603}"]),
                _ => json!(null),
            };
        }
    }
    calls
}

fn bare(calls: &[ToolCall]) -> Vec<ToolCall> {
    calls.iter().map(|c| ToolCall { name: c.name.clone(), arguments: Default::default() }).collect()
}

fn renamed(calls: &[ToolCall]) -> Vec<ToolCall> {
    calls.iter().map(|c| ToolCall { name: format!("{}_x", c.name), arguments: c.arguments.clone() }).collect()
}

/// Texts of degenerate policies and near misses, none of them right.
fn wrong_texts(problem: &Problem) -> Vec<String> {
    let gold = matching::canonical(problem);
    let text = write(&gold);
    let every_tool: Vec<_> = problem.tools.iter().map(|t| ToolCall { name: t.name.clone(), arguments: Default::default() }).collect();
    let mut texts = vec![
        "{".into(),
        "[".into(),
        "{}".into(),
        "[[]]".into(),
        "}{ garbage".into(),
        write(&every_tool),
        write(&every_tool[..1]),
        write(&[ToolCall { name: "no_such_tool".into(), arguments: Default::default() }]),
    ];
    if gold.is_empty() {
        return texts;
    }
    texts.extend(["".into(), "[]".into(), "I would call the tool.".into(), problem.messages[0].content.replace(['{', '['], "(")]);
    texts.extend([format!("Sure! {text}"), format!("{text} I hope this helps."), format!("```json\n{text}\n```")]);
    texts.push(write(&[gold.clone(), gold.clone()].concat()));
    texts.push(text[..text.len() - 1].to_owned());
    texts.push(write(&renamed(&gold)));
    let invented = gold.iter().map(|c| {
        let mut c = c.clone();
        c.arguments.insert("invented".into(), json!(1));
        c
    });
    texts.push(write(&invented.collect::<Vec<_>>()));
    if gold.iter().any(|c| !c.arguments.is_empty()) {
        texts.extend([write(&bare(&gold)), write(&junk(&gold))]);
    }
    texts
}

#[test]
fn the_right_answer_is_the_only_maximum() {
    for problem in problems() {
        let gold = write(&matching::canonical(&problem));
        for name in &ALL {
            let best = total(name, &problem, &gold);
            assert!((best - 1.0).abs() < 1e-12, "{name:?} {} {gold}: {best}", problem.id);
            for text in wrong_texts(&problem) {
                let parse = format::parse(Format::BareJson, &text);
                if outcome::judge(&problem, &text, &parse, StopReason::Eos).is_correct() {
                    // a tool without arguments is called rightly by `{}`
                    continue;
                }
                let less = total(name, &problem, &text);
                assert!(less < best, "{name:?} {}: {less} for {text}, {best} for {gold}", problem.id);
            }
            assert!(score(name, &problem, &gold, StopReason::Length).total < best, "cut off");
        }
    }
}

#[test]
fn dense_climbs_from_garbage_to_gold() {
    for problem in problems().iter().filter(|p| !p.expected.is_no_call()) {
        let gold = matching::canonical(problem);
        if gold.iter().any(|c| c.arguments.is_empty()) {
            continue;
        }
        let text = write(&gold);
        let near = {
            let mut near = gold.clone();
            if let Some(value) = near[0].arguments.values_mut().next() {
                *value = junk(&gold)[0].arguments.values().next().cloned().unwrap_or_default();
            }
            near
        };
        let ladder = [
            "no call made".to_owned(),
            "{ garbage".to_owned(),
            "{\"name\": ".to_owned(),
            "{\"answer\": 1}".to_owned(),
            write(&bare(&renamed(&gold))),
            write(&bare(&gold)),
            write(&junk(&gold)),
            write(&near),
            text.clone(),
        ];
        let earned: Vec<f64> = ladder.iter().map(|t| total(&DENSE, problem, t)).collect();
        let single = gold[0].arguments.len() == 1;
        for (i, pair) in earned.windows(2).enumerate() {
            // with one argument, the near miss is the junk
            assert!(pair[0] < pair[1] || (single && i == 6), "{}: {:?} -> {:?}: {earned:?}", problem.id, ladder[i], ladder[i + 1]);
        }
        // prose around the right call earns less than the call alone, and more than a wrong call
        let prose = total(&DENSE, problem, &format!("Here you are: {text}"));
        assert!(prose > total(&DENSE, problem, &write(&renamed(&gold))) && prose < earned[8]);
    }
}

#[test]
fn partial_credit_for_likeness_stays_below_an_exact_value() {
    let problem = problems().into_iter().find(|p| {
        p.expected.calls.first().is_some_and(|c| c.canonical().arguments.values().any(|v| v.as_str().is_some_and(|s| s.len() > 4)))
    });
    let problem = problem.expect("a starter problem with a longer string");
    let gold = matching::canonical(&problem);
    let mut near = gold.clone();
    let key = gold[0].arguments.iter().find(|(_, v)| v.as_str().is_some_and(|s| s.len() > 4)).map(|(k, _)| k.clone()).expect("found");
    let text = gold[0].arguments[&key].as_str().map(str::to_owned).unwrap_or_default();
    near[0].arguments.insert(key.clone(), json!(format!("{text}x")));
    let mut far = gold.clone();
    far[0].arguments.insert(key, json!("\u{2603}"));
    let values = |calls: &[ToolCall]| {
        let reward = score(&DENSE, &problem, &write(calls), StopReason::Eos);
        reward.parts.into_iter().find(|p| p.name == "values").and_then(|p| p.value).expect("applies")
    };
    assert!(values(&far) < values(&near) && values(&near) < values(&gold));
    assert!(total(&DENSE, &problem, &write(&near)) < 1.0 - 0.25);
}

#[test]
fn abstention_earns_everything_or_nothing_and_no_row_is_free() {
    for problem in problems() {
        for name in &ALL {
            for refusal in ["[]", "None of these tools fits.", ""] {
                let earned = total(name, &problem, refusal);
                assert_eq!(earned, f64::from(u8::from(problem.expected.is_no_call())), "{name:?} {} {refusal:?}", problem.id);
            }
            if problem.expected.is_no_call() {
                for text in wrong_texts(&problem) {
                    assert_eq!(total(name, &problem, &text), 0.0, "{name:?} {}: {text}", problem.id);
                }
                assert_eq!(score(name, &problem, "I cannot", StopReason::Length).total, 0.0);
                let parts = score(name, &problem, "[]", StopReason::Eos).parts;
                assert!(parts.iter().all(|p| p.value.is_none() || p.name == NO_CALL || p.name == "correct"));
            }
        }
    }
}

#[test]
fn a_cut_off_text_gets_no_credit_for_validity() {
    let problem = problems().into_iter().find(|p| !p.expected.is_no_call()).expect("most expect a call");
    let gold = write(&matching::canonical(&problem));
    let reward = score(&DENSE, &problem, &gold, StopReason::Length);
    for part in ["marker", "parse_progress", "only_json", "correct"] {
        assert!(reward.parts.iter().any(|p| p.name == part && p.value == Some(0.0)), "{part}");
    }
    assert_eq!(score(&RewardName::Paper, &problem, &gold, StopReason::Length).total, 0.0);
}

#[test]
fn paper_gives_what_the_paper_gives() {
    let problem = |tools: usize| {
        let mut all = problems().into_iter();
        let p = all.find(|p| {
            let call = p.expected.calls.first().map(|c| c.canonical());
            p.tools.len() == tools && call.is_some_and(|c| c.arguments.len() >= 2)
        });
        p.expect("such a problem")
    };
    let one = problem(2);
    let gold = matching::canonical(&one);
    let paper = |text: &str| total(&RewardName::Paper, &one, text);
    assert_eq!(paper(&write(&bare(&gold))), 0.5);
    assert_eq!(paper(&write(&junk(&gold))), 0.5);
    assert_eq!(paper(&write(&renamed(&gold))), 0.125);
    assert_eq!(paper(&format!("{} ", write(&gold))), 1.0);
    assert_eq!(paper(&format!("{}.", write(&gold))), 0.0);
    // twice as many calls as expected: names and arguments count half
    assert!((paper(&write(&[gold.clone(), gold.clone()].concat())) - (0.125 + 0.875 / 2.0)).abs() < 1e-12);
    // one invented argument: free only where expected arguments are the total
    let mut invented = gold.clone();
    invented[0].arguments.insert("invented".into(), json!(1));
    let n = gold[0].arguments.len() as f64;
    assert!((paper(&write(&invented)) - (0.5 + 0.5 * n / (n + 1.0))).abs() < 1e-12);
    let config = RunConfig { reward: RewardName::Paper, arg_denominator: ArgDenominator::Expected, ..RunConfig::default() };
    let rewarder = Rewarder::new(&config).expect("own weights");
    let text = write(&invented);
    let parse = format::parse(Format::BareJson, &text);
    let outcome = outcome::judge(&one, &text, &parse, StopReason::Eos);
    assert!((rewarder.score(&one, &text, &parse, outcome).total - 1.0).abs() < 1e-12);
}

/// The order of the degenerate policies measured in the literature: none of them comes near an honest policy.
#[test]
fn degenerate_policies_stay_far_below_gold() {
    let problems = problems();
    let mean = |name: &RewardName, policy: &dyn Fn(&Problem) -> String| {
        problems.iter().map(|p| total(name, p, &policy(p))).sum::<f64>() / problems.len() as f64
    };
    let first_tool = |p: &Problem| write(&[ToolCall { name: p.tools[0].name.clone(), arguments: Default::default() }]);
    let abstain = |_: &Problem| "[]".to_owned();
    let right_names = |p: &Problem| write(&bare(&matching::canonical(p)));
    let gold = |p: &Problem| write(&matching::canonical(p));
    for name in &ALL {
        let [a, f, r, g] = [mean(name, &abstain), mean(name, &first_tool), mean(name, &right_names), mean(name, &gold)];
        assert!(a < 0.2 && f < 0.5 && f < r && r < 0.7 && (g - 1.0).abs() < 1e-9, "{name:?}: {a} {f} {r} {g}");
    }
    for name in &GRADED {
        assert!(mean(name, &abstain) < mean(name, &first_tool), "{name:?}: silence must not pay best");
    }
}

#[test]
fn weights_can_be_replaced_by_known_names_only() {
    let config = |name: &str, weight: f64| RunConfig { reward_weights: [(name.to_owned(), weight)].into(), ..RunConfig::default() };
    let problem = &problems()[0];
    let rewarder = Rewarder::new(&config("values", 2.0)).expect("known");
    let reward = rewarder.score(problem, "x", &format::parse(Format::BareJson, "x"), Outcome::NoCall);
    assert!(reward.parts.iter().any(|p| p.name == "values" && p.weight == 2.0));
    assert_eq!(reward.parts.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), part_names(&DENSE));
    let error = Rewarder::new(&config("valuez", 2.0)).expect_err("unknown");
    assert_eq!(error.pointer, "reward_weights.valuez");
    assert!(error.detail.contains("marker") && error.detail.contains("no_call"), "{error}");
    for weight in [f64::NAN, 1e308] {
        let error = Rewarder::new(&config("values", weight)).expect_err("no weight");
        assert!(error.detail.contains("finite") && config("values", weight).problems().contains(&error), "{error}");
    }
}

#[test]
fn weights_sum_to_one_and_values_weigh_most() {
    for name in &ALL {
        let sum: f64 = weights(name).iter().filter(|(part, _)| *part != NO_CALL).map(|(_, w)| w).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{name:?}");
    }
    let values = weights(&DENSE).iter().find(|(part, _)| *part == "values").map(|(_, w)| *w);
    assert!(weights(&DENSE).iter().all(|(part, w)| Some(*w) <= values || *part == NO_CALL));
}
