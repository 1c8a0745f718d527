//! Reward `toolrl` (arXiv 2504.13958): format 0 or 1, and correctness `6 S / Smax - 3` in [-3, 3].
//!
//! `S` = Jaccard of the tools' names + over the expected calls, Jaccard of the argument names + number of right values;
//! `Smax` = 1 + calls + arguments expected. Calls are paired first come, best served, as the authors' code does; calls that are all
//! right are worth the maximum. Unlike that code, a problem that expects no call earns the maximum for making none and the minimum
//! for any: there every answer earned 0, which teaches never to abstain. Arguments that may be left out count only where written.

use whetstone_domain::{Outcome, ToolCall, config::ToolrlGrading};

use super::Scored;
use crate::matching::{self, CallExplanation, Verdict};

/// Parts and weights.
pub const WEIGHTS: [(&str, f64); 2] = [("format", 1.0), ("correctness", 1.0)];

/// Raw value of a part: `format` in {0, 1}, `correctness` in [-3, 3].
pub(super) fn value(grading: ToolrlGrading, scored: &Scored<'_>, part: &str) -> f64 {
    let calls = match &scored.parse.strict {
        Ok(calls) if scored.outcome != Outcome::Truncated => calls,
        _ => return if part == "format" { 0.0 } else { -3.0 },
    };
    if part == "format" {
        return 1.0;
    }
    let right = match scored.problem.expected.is_no_call() {
        true => calls.is_empty(),
        false => scored.outcome.is_correct(),
    };
    if right { 3.0 } else { 6.0 * share(grading, scored, calls) - 3.0 }
}

/// S / Smax.
fn share(grading: ToolrlGrading, scored: &Scored<'_>, calls: &[ToolCall]) -> f64 {
    let expected = scored.problem.expected.calls.len();
    if grading == ToolrlGrading::Coarse || expected == 0 || calls.is_empty() {
        return 0.0;
    }
    let explanation = matching::explain(scored.problem, calls);
    let pairs = || explanation.calls.iter().filter(|c| c.expected.is_some() && c.produced.is_some());
    let met = pairs().count();
    let names = met as f64 / (expected + calls.len() - met) as f64;
    if grading == ToolrlGrading::Intermediate {
        let whole = pairs().filter(|c| c.right() == c.total()).count();
        return (names + whole as f64) / (1 + expected) as f64;
    }
    let of_calls: f64 = pairs().map(|c| keys(c) + c.right() as f64).sum();
    let wanted: usize = explanation.calls.iter().map(|c| wanted(scored, c)).sum();
    (names + of_calls) / (1 + expected + wanted) as f64
}

/// Jaccard of the argument names.
fn keys(pair: &CallExplanation) -> f64 {
    let shared = pair.arguments.iter().filter(|a| matches!(a.verdict, Verdict::Right | Verdict::WrongType | Verdict::WrongValue)).count();
    if pair.total() == 0 { 1.0 } else { shared as f64 / pair.total() as f64 }
}

/// Arguments that the expected call has: those it must have, and those it may have that were written.
fn wanted(scored: &Scored<'_>, pair: &CallExplanation) -> usize {
    match (pair.expected, pair.produced) {
        (Some(_), Some(_)) => pair.arguments.iter().filter(|a| a.expected.is_some() && a.verdict != Verdict::LeftOut).count(),
        (Some(e), None) => scored.problem.expected.calls[e].arguments.iter().filter(|(_, a)| !a.optional).count(),
        (None, _) => 0,
    }
}
