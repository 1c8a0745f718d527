//! Reward `dense`: additive and graded from the first token on, for models that rarely succeed (issue 2; no gate).
//!
//! Format parts ask for JSON and nothing else; names, keys and values are read from the lenient parse, so that a right call in prose
//! earns less than a bare one, but something. Values weigh most. `correct` makes the right answer the only maximum. The weights sum to 1.

use serde_json::Value;
use whetstone_domain::{Outcome, ToolCall, config::Format};

use super::{NO_CALL, Scored, similarity};
use crate::{
    format,
    matching::{self, CallExplanation, Verdict},
};

/// Parts and weights.
pub const WEIGHTS: [(&str, f64); 8] = [
    ("marker", 0.05),
    ("parse_progress", 0.05),
    ("only_json", 0.10),
    ("names", 0.10),
    ("keys", 0.10),
    ("values", 0.35),
    ("correct", 0.25),
    (NO_CALL, 1.0),
];

/// Raw value of a part, for problems that expect calls and texts that do not refuse.
pub(super) fn value(format: Format, scored: &Scored<'_>, part: &str) -> Option<f64> {
    let truncated = scored.outcome == Outcome::Truncated;
    Some(match part {
        // a text that was cut off is no valid anything
        "marker" | "parse_progress" | "only_json" | "correct" if truncated => 0.0,
        // what the format's strict reading takes is the calls and nothing else, however they are spelt
        "marker" | "parse_progress" | "only_json" if scored.parse.strict.is_ok() => 1.0,
        "marker" => f64::from(u8::from(format::starts_like_calls(format, scored.text))),
        "parse_progress" => format::parse_progress(format, scored.text),
        "only_json" => format::call_share(format, scored.text),
        "correct" => f64::from(u8::from(scored.outcome.is_correct())),
        _ if scored.outcome.is_correct() => 1.0,
        _ => graded(scored, part),
    })
}

/// Mean over calls, surplus and missing ones counting 0.
fn graded(scored: &Scored<'_>, part: &str) -> f64 {
    let Some(calls) = scored.parse.lenient.as_ref().filter(|c| !c.is_empty()) else { return 0.0 };
    let expected = scored.problem.expected.calls.len();
    if part == "names" {
        return names(scored, calls);
    }
    let pairs = matching::explain(scored.problem, calls).calls;
    let met = pairs.iter().filter(|c| c.expected.is_some() && c.produced.is_some());
    let sum: f64 = if part == "keys" { met.map(keys).sum() } else { met.map(values).sum() };
    sum / expected.max(calls.len()).max(1) as f64
}

/// F1 of the multisets of names.
fn names(scored: &Scored<'_>, calls: &[ToolCall]) -> f64 {
    let expected = &scored.problem.expected.calls;
    let mut open: Vec<&str> = calls.iter().map(|c| c.name.as_str()).collect();
    for call in expected {
        if let Some(at) = open.iter().position(|name| *name == call.name) {
            open.swap_remove(at);
        }
    }
    2.0 * (calls.len() - open.len()) as f64 / (expected.len() + calls.len()) as f64
}

/// F1 of the argument names.
fn keys(pair: &CallExplanation) -> f64 {
    let count = |f: &dyn Fn(Verdict) -> bool| pair.arguments.iter().filter(|a| f(a.verdict)).count();
    let shared = count(&|v| matches!(v, Verdict::Right | Verdict::WrongType | Verdict::WrongValue));
    let missing = count(&|v| v == Verdict::Missing);
    let surplus = count(&|v| v == Verdict::Unexpected);
    match 2 * shared + missing + surplus {
        0 => 1.0,
        total => 2.0 * shared as f64 / total as f64,
    }
}

/// Mean over the union of expected and written arguments: 1 where right, at most 1/2 for what is merely alike.
fn values(pair: &CallExplanation) -> f64 {
    let alike = |accepted: &[Value], value: &Value| accepted.iter().map(|a| similarity::values(a, value)).fold(0.0, f64::max);
    let score = |a: &matching::ArgumentVerdict| match (a.verdict, &a.expected, &a.produced) {
        (Verdict::Right, ..) => 1.0,
        (Verdict::WrongValue | Verdict::WrongType, Some(expected), Some(produced)) => 0.5 * alike(&expected.values, produced),
        _ => 0.0,
    };
    match pair.total() {
        0 => 1.0,
        total => pair.arguments.iter().map(score).sum::<f64>() / total as f64,
    }
}
