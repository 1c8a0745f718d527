//! The starter set with running tools: the expected calls, run for real, lead to the expected answer.

use std::collections::BTreeMap;

use serde_json::Value;
use whetstone_domain::config::Format;
use whetstone_domain::{Outcome, Problem, StopReason, ToolResult};
use whetstone_tools::{Settings, StepCache, Toolbox};
use whetstone_tooluse::conversation::{Conversation, MOST_TURNS, Next, judge};
use whetstone_tooluse::tasks::starter::tools;
use whetstone_tooluse::{format, matching};

/// Plays a problem with its expected calls, one a turn, and its answer; the results and what it came to.
fn play(problem: &Problem) -> (Vec<ToolResult>, judge::Verdict) {
    let tools = Toolbox::new(problem.environment.as_ref().unwrap(), &problem.tools, &Settings::default()).unwrap();
    let mut cache = StepCache::default();
    let mut conversation = Conversation::new(Format::BareJson, MOST_TURNS);
    let mut results = Vec::new();
    for call in matching::canonical(problem) {
        let (next, _) = conversation.turn(&format::write(Format::BareJson, &[call]), StopReason::Eos);
        let Next::CallTools(calls) = next else { panic!("{}: {next:?}", problem.id) };
        let given: Vec<ToolResult> = calls.iter().map(|c| tools.call(c, &mut cache)).collect();
        results.extend(given.clone());
        conversation.results(given);
    }
    let (next, transcript) = conversation.turn(&problem.answer.as_ref().unwrap().spoken(), StopReason::Eos);
    assert_eq!(next, Next::Done);
    (results, judge::judge(problem, &transcript))
}

#[test]
fn the_expected_calls_lead_to_the_expected_answer() {
    let mut by_domain: BTreeMap<String, usize> = BTreeMap::new();
    for problem in tools::load(false, 11, 300).into_iter().chain(tools::load(true, 11, 300)) {
        let (results, verdict) = play(&problem);
        assert!(results.iter().all(|r| r.failure.is_none()), "{}: {results:?}", problem.id);
        assert_eq!(verdict.outcome, Outcome::Correct, "{}: {results:?}", problem.id);
        assert!(judge::reward(false, &problem, &verdict).total > 0.999, "{}", problem.id);
        *by_domain.entry(problem.domain.clone()).or_default() += 1;
        let answer = problem.answer.as_ref().unwrap();
        let last = &results.last().unwrap().text;
        // where the last call gives the answer, it does
        match problem.domain.as_str() {
            "outdoors" => assert_eq!(longer(&problem, last, "miles"), answer.any_of[0], "{}", problem.id),
            "kitchen" => assert_eq!(longer(&problem, last, "pounds"), answer.any_of[0], "{}", problem.id),
            "towns" => assert_ne!(results[0], results[1]),
            _ => assert!(judge::answers(answer, last), "{}: {last} for {answer:?}", problem.id),
        }
    }
    assert_eq!(by_domain.len(), 9, "{by_domain:?}");
}

/// Which of two things is more, by the words of the request and what the conversion gave.
fn longer(problem: &Problem, converted: &str, unit: &str) -> Value {
    let answer = problem.answer.as_ref().unwrap();
    let (right, other) = (answer.any_of[0].as_str().unwrap(), answer.none_of[0].as_str());
    let request = &problem.messages[0].content;
    let numbers: Vec<f64> = request.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    let (converted, plain): (f64, f64) = (converted.parse().unwrap(), numbers[1]);
    // the one given in the unit that is converted is named first
    let first = if request.find(right).unwrap() < request.find(other).unwrap() { right } else { other };
    let second = if first == right { other } else { right };
    assert!(request.contains(unit));
    Value::from(if converted > plain { first } else { second })
}
