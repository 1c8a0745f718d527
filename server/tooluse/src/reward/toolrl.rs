//! Reward `toolrl` (arXiv 2504.13958): format 0 or 1, and correctness `6 S / Smax - 3` in [-3, 3].
//!
//! `S` = Jaccard of the tools' names + over the expected calls, Jaccard of the argument names + number of right values;
//! `Smax` = 1 + calls + arguments expected. Calls of the same tool are paired best first; calls that are all right are worth the
//! maximum. Unlike that code, a problem that expects no call earns the maximum for making none and the minimum
//! for any: there every answer earned 0, which teaches never to abstain. Arguments that may be left out count only where written.

use whetstone_domain::{ExpectedCall, Outcome, ToolCall, config::ToolrlGrading};

use super::Scored;
use super::pairs::{self, Pair};
use crate::matching::{ArgumentVerdict, Verdict};

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
    let whole =
        |verdicts: &[ArgumentVerdict]| f64::from(u8::from(verdicts.iter().all(|a| matches!(a.verdict, Verdict::Right | Verdict::LeftOut))));
    let graded = |verdicts: &[ArgumentVerdict]| keys(verdicts) + count(verdicts, |a| a.verdict == Verdict::Right);
    let pairs = match grading {
        ToolrlGrading::Intermediate => pairs::best(scored, calls, whole),
        _ => pairs::best(scored, calls, graded),
    };
    let names = pairs.len() as f64 / (expected + calls.len() - pairs.len()) as f64;
    let of_calls: f64 = pairs.iter().map(|p| p.score).sum();
    let most = match grading {
        ToolrlGrading::Intermediate => 1.0 + expected as f64,
        _ => 1.0 + expected as f64 + wanted(scored, &pairs),
    };
    (names + of_calls) / most
}

fn count(verdicts: &[ArgumentVerdict], which: impl Fn(&ArgumentVerdict) -> bool) -> f64 {
    verdicts.iter().filter(|a| which(a)).count() as f64
}

/// Jaccard of the argument names.
fn keys(verdicts: &[ArgumentVerdict]) -> f64 {
    let shared = count(verdicts, |a| matches!(a.verdict, Verdict::Right | Verdict::WrongType | Verdict::WrongValue));
    let union = count(verdicts, |a| a.verdict != Verdict::LeftOut);
    if union == 0.0 { 1.0 } else { shared / union }
}

/// Arguments of the expected calls: those that must be given, and those that may be and were.
fn wanted(scored: &Scored<'_>, pairs: &[Pair]) -> f64 {
    let calls = scored.problem.expected.calls.iter().enumerate();
    let of_call = |(e, call): (usize, &ExpectedCall)| match pairs.iter().find(|p| p.expected == e) {
        Some(pair) => count(&pair.verdicts, |a| a.expected.is_some() && a.verdict != Verdict::LeftOut),
        None => call.arguments.iter().filter(|(_, a)| !a.optional).count() as f64,
    };
    calls.map(of_call).sum()
}
