//! Reward `paper`: arXiv 2509.04518. Nothing unless the whole text is the JSON; then 0.125 for that, up to 0.375 for names and up to
//! 0.5 for arguments, the latter two scaled down when more calls are made than expected.
//!
//! The weight of the names is lost in the public text; 0.375 makes the maximum 1. An argument is right by the rule of the task
//! set's matcher. Half of it is free on problems with one tool, so it is to be read beside accuracy.

use whetstone_domain::{Outcome, ToolCall, config::ArgDenominator};

use super::{NO_CALL, Scored};
use crate::matching;

/// Parts and weights.
pub const WEIGHTS: [(&str, f64); 4] = [("json", 0.125), ("names", 0.375), ("arguments", 0.5), (NO_CALL, 1.0)];

/// Raw value of a part, for problems that expect calls and texts that do not refuse.
pub(super) fn value(denominator: ArgDenominator, scored: &Scored<'_>, part: &str) -> Option<f64> {
    let calls = match &scored.parse.strict {
        Ok(calls) if scored.outcome != Outcome::Truncated => calls,
        _ => return Some(0.0),
    };
    Some(match part {
        "json" => 1.0,
        _ if scored.outcome.is_correct() => 1.0,
        "names" => names(scored, calls),
        _ => arguments(denominator, scored, calls),
    })
}

/// `n_exp / n_pred` where more calls are made than expected.
fn over_calling(scored: &Scored<'_>, calls: &[ToolCall]) -> f64 {
    let expected = scored.problem.expected.calls.len() as f64;
    (expected / calls.len().max(1) as f64).min(1.0)
}

fn names(scored: &Scored<'_>, calls: &[ToolCall]) -> f64 {
    let pairs = matching::explain(scored.problem, calls).calls;
    let right = pairs.iter().filter(|c| c.expected.is_some() && c.produced.is_some()).count();
    right as f64 / scored.problem.expected.calls.len().max(1) as f64 * over_calling(scored, calls)
}

fn arguments(denominator: ArgDenominator, scored: &Scored<'_>, calls: &[ToolCall]) -> f64 {
    let pairs = matching::explain(scored.problem, calls).calls;
    let met = pairs.iter().filter(|c| c.expected.is_some() && c.produced.is_some());
    let share = |pair: &matching::CallExplanation| {
        let total = match denominator {
            ArgDenominator::Union => pair.total(),
            ArgDenominator::Expected => pair.total() - pair.arguments.iter().filter(|a| a.expected.is_none()).count(),
        };
        if total == 0 { 1.0 } else { pair.right() as f64 / total as f64 }
    };
    let sum: f64 = met.map(share).sum();
    sum / scored.problem.expected.calls.len().max(1) as f64 * over_calling(scored, calls)
}
