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
        (Err(_), None) if text.contains(['{', '[']) => return Outcome::BadJson,
        // a format whose failures need no brace
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
