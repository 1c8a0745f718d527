//! Which call was made for which expected one, for rewards that compare calls. In: expected and made calls. Out: pairs of the same
//! tool, the best first; every call is in one pair at most.

use whetstone_domain::ToolCall;

use super::Scored;
use crate::matching::{self, ArgumentVerdict};

/// An expected call with the call made for it.
pub(super) struct Pair {
    /// Index among the expected calls.
    pub(super) expected: usize,
    produced: usize,
    /// What the caller's measure says.
    pub(super) score: f64,
    /// Argument by argument.
    pub(super) verdicts: Vec<ArgumentVerdict>,
}

/// The pairs with the highest scores, taken in that order.
pub(super) fn best(scored: &Scored<'_>, calls: &[ToolCall], score: impl Fn(&[ArgumentVerdict]) -> f64) -> Vec<Pair> {
    let mut all = Vec::new();
    for (expected, wanted) in scored.problem.expected.calls.iter().enumerate() {
        for (produced, call) in calls.iter().enumerate().filter(|(_, c)| c.name == wanted.name) {
            let verdicts = matching::judge_call(scored.problem, wanted, call);
            all.push(Pair { expected, produced, score: score(&verdicts), verdicts });
        }
    }
    all.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut taken: Vec<Pair> = Vec::new();
    for pair in all {
        if taken.iter().all(|t| t.expected != pair.expected && t.produced != pair.produced) {
            taken.push(pair);
        }
    }
    taken
}
