//! The outcome of a rollout: exactly one rung of the ladder, whatever the reward.
//!
//! In: a problem, the text with both readings, and why it ended. Out: the rung. Awards nothing.

use whetstone_domain::{Expected, Matcher, Outcome, ParseReport, Problem, StopReason, ToolCall};

use crate::{matching, schema};

/// The first rung that fails, in the ladder's order; [`Outcome::Correct`] exactly when the problem's own matcher says so.
///
/// BFCL's irrelevance matcher counts whatever does not decode as right, and so does this, before anything else.
pub fn judge(problem: &Problem, text: &str, parse: &ParseReport, stop: StopReason) -> Outcome {
    if problem.matcher == Matcher::BfclIrrelevance && !parse.strict.as_ref().is_ok_and(|calls| !calls.is_empty()) {
        return if stop == StopReason::Eos && parse.strict.is_ok() { Outcome::RefusedOk } else { Outcome::Correct };
    }
    if stop == StopReason::Length {
        return Outcome::Truncated;
    }
    let calls = match (&parse.strict, &parse.lenient) {
        (Ok(calls), _) => calls,
        (Err(_), Some(_)) => return Outcome::ExtraText,
        // what a call of any format begins with
        (Err(_), None) if text.contains(['{', '[', '<', '(']) => return Outcome::BadJson,
        (Err(_), None) => return if problem.expected.is_no_call() { Outcome::BadJson } else { Outcome::NoCall },
    };
    match (problem.expected.is_no_call(), calls.is_empty()) {
        (true, true) => Outcome::RefusedOk,
        (true, false) => Outcome::UnwantedCall,
        (false, true) => Outcome::NoCall,
        (false, false) if matching::matches(problem, calls) => Outcome::Correct,
        (false, false) => wrong(problem, calls),
    }
}

/// The first rung that calls which do not match fail.
fn wrong(problem: &Problem, calls: &[ToolCall]) -> Outcome {
    for call in calls {
        if matching::tool_of(problem, &call.name).is_none() {
            return Outcome::UnknownTool;
        }
    }
    let invalid = |call: &ToolCall| matching::tool_of(problem, &call.name).is_some_and(|t| schema::check(t, call).is_err());
    if calls.iter().any(invalid) {
        return Outcome::SchemaInvalid;
    }
    let expected = &problem.expected;
    if calls.iter().any(|c| expected.calls.iter().all(|e| e.name != c.name)) {
        return Outcome::WrongTool;
    }
    if calls.len() != expected.calls.len() {
        return Outcome::WrongCount;
    }
    if !same_names(expected, calls) {
        return Outcome::WrongTool;
    }
    let explanation = matching::explain(problem, calls);
    let keys_wrong = explanation.calls.iter().flat_map(|c| &c.arguments);
    let keys_wrong = keys_wrong.map(|a| a.verdict).any(|v| matches!(v, matching::Verdict::Missing | matching::Verdict::Unexpected));
    if keys_wrong { Outcome::WrongArgs } else { Outcome::WrongValues }
}

/// True when the calls have the expected names in the expected number, in any order.
pub(crate) fn same_names(expected: &Expected, calls: &[ToolCall]) -> bool {
    let mut wanted: Vec<&str> = expected.calls.iter().map(|c| c.name.as_str()).collect();
    let mut made: Vec<&str> = calls.iter().map(|c| c.name.as_str()).collect();
    wanted.sort_unstable();
    made.sort_unstable();
    wanted == made
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{format, predict};
    use serde_json::json;
    use whetstone_domain::{Accepted, ExpectedCall, Tool, config::Format};

    /// Offers `f(a: integer, b?)` and `g()`; expects `f` once per entry, with that value of `a`.
    fn problem(expected: &[i64]) -> Problem {
        let parameters = json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a"]});
        let tool = |name: &str, parameters| Tool { name: name.into(), description: String::new(), parameters };
        let calls = expected.iter().map(|&a| ExpectedCall {
            name: "f".into(),
            arguments: vec![("a".into(), Accepted { values: vec![json!(a)], optional: false })],
        });
        Problem {
            id: "p".into(),
            messages: vec![],
            tools: vec![tool("f", parameters), tool("g", json!({}))],
            expected: Expected { calls: calls.collect() },
            matcher: Matcher::Bfcl,
            domain: String::new(),
            difficulty: 0,
            environment: None,
            answer: None,
        }
    }

    fn judged(problem: &Problem, text: &str, stop: StopReason) -> Outcome {
        judge(problem, text, &format::parse(Format::BareJson, text), stop)
    }

    const F: &str = "{\"name\": \"f\", \"arguments\": {\"a\": 1}}";

    #[test]
    fn every_rung_is_reached_by_the_first_thing_that_is_wrong() {
        let (one, two, none) = (problem(&[1]), problem(&[1, 2]), problem(&[]));
        for (problem, text, rung) in [
            (&one, "I will not.", Outcome::NoCall),
            (&one, "[]", Outcome::NoCall),
            (&one, "", Outcome::NoCall),
            (&one, "{\"name\": \"f\"", Outcome::BadJson),
            (&none, "{", Outcome::BadJson),
            (&one, &format!("Sure: {F}"), Outcome::ExtraText),
            (&none, &format!("{F}."), Outcome::ExtraText),
            (&none, F, Outcome::UnwantedCall),
            (&one, "{\"name\": \"h\", \"arguments\": {\"a\": 1}}", Outcome::UnknownTool),
            (&one, "{\"name\": \"f\", \"arguments\": {\"a\": \"1\"}}", Outcome::SchemaInvalid),
            (&one, "{\"name\": \"f\", \"arguments\": {}}", Outcome::SchemaInvalid),
            (&one, "{\"name\": \"g\", \"arguments\": {}}", Outcome::WrongTool),
            (&two, F, Outcome::WrongCount),
            (&one, &format!("[{F}, {F}]"), Outcome::WrongCount),
            (&one, "{\"name\": \"f\", \"arguments\": {\"a\": 1, \"b\": \"x\"}}", Outcome::WrongArgs),
            (&one, "{\"name\": \"f\", \"arguments\": {\"a\": 2}}", Outcome::WrongValues),
            (&two, &format!("[{F}, {F}]"), Outcome::WrongValues),
            (&one, F, Outcome::Correct),
            (&one, &format!("[{F}]"), Outcome::Correct),
            (&none, "[]", Outcome::RefusedOk),
            (&none, "No tool can do that.", Outcome::RefusedOk),
        ] {
            assert_eq!(judged(problem, text, StopReason::Eos), rung, "{text}");
            assert_eq!(judged(problem, text, StopReason::Length), Outcome::Truncated, "{text}");
        }
    }

    #[test]
    fn a_correct_call_is_correct_whatever_its_schema_says() {
        let mut p = problem(&[1]);
        p.tools[0].parameters["properties"]["a"]["minimum"] = json!(5);
        assert_eq!(judged(&p, F, StopReason::Eos), Outcome::Correct);
    }

    #[test]
    fn bfcl_irrelevance_counts_what_does_not_decode_as_right() {
        let mut p = problem(&[]);
        p.matcher = Matcher::BfclIrrelevance;
        for stop in [StopReason::Eos, StopReason::Length] {
            assert!(judged(&p, "{ garbage", stop).is_correct());
            assert!(judged(&p, &format!("So: {F}"), stop).is_correct());
            assert!(judged(&p, "no", stop).is_correct());
            assert!(!judged(&p, F, stop).is_correct());
        }
        assert_eq!(judged(&p, "no", StopReason::Eos), Outcome::RefusedOk);
        assert_eq!(judged(&p, F, StopReason::Eos), Outcome::UnwantedCall);
    }

    #[test]
    fn a_prediction_carries_the_strict_reading() {
        let p = problem(&[1]);
        let read = |text: &str, stop| predict(Format::BareJson, &p, text, stop, 7);
        let right = read(F, StopReason::Eos);
        assert!(right.correct && right.name_correct && right.argument_score == Some(1.0) && right.tokens == 7);
        let wrong = read("{\"name\": \"f\", \"arguments\": {\"a\": 2, \"b\": \"x\"}}", StopReason::Eos);
        assert!(!wrong.correct && wrong.name_correct && wrong.argument_score == Some(0.0));
        let silent = read("no", StopReason::Eos);
        assert_eq!((silent.calls, silent.argument_score, silent.name_correct), (Some(vec![]), None, false));
        assert_eq!(read("{", StopReason::Eos).calls, None);
        // cut off: nothing that the scorer could count as right
        let cut = read(F, StopReason::Length);
        assert!(cut.calls.is_none() && !cut.correct && !cut.name_correct);
    }
}
