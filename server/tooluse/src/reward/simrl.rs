//! Reward `simrl` (STAR's Sim-RL): -1 where nothing can be read, a tool does not exist or an argument is not in its schema; else the
//! likeness of the calls made to those expected, as an intersection over a union.
//!
//! Likeness of two calls of one tool: the sum of the likeness of their shared arguments over the union of their arguments; of two
//! strings ROUGE-L's F1, case ignored; of anything else 1 if equal. No call where none is expected earns 1. An accepted value always
//! counts 1, and arguments that may be left out count only where they were written.

use serde_json::Value;
use whetstone_domain::{Outcome, ToolCall};

use super::{Scored, pairs};
use crate::matching::{self, ArgumentVerdict, Verdict, python};

/// The only part.
pub const WEIGHTS: [(&str, f64); 1] = [("similarity", 1.0)];

/// Longer strings are only tested for equality. Words.
const LONGEST: usize = 512;

/// Raw value of the part, in [-1, 1].
pub(super) fn value(scored: &Scored<'_>) -> f64 {
    let calls = match &scored.parse.strict {
        Ok(calls) if scored.outcome != Outcome::Truncated => calls,
        _ => return -1.0,
    };
    if unknown(scored, calls).is_some() {
        return -1.0;
    }
    let expected = &scored.problem.expected.calls;
    if scored.outcome.is_correct() || (expected.is_empty() && calls.is_empty()) {
        return 1.0;
    }
    let pairs = pairs::best(scored, calls, likeness);
    let sum: f64 = pairs.iter().map(|p| p.score).sum();
    sum / (expected.len() + calls.len() - pairs.len()).max(1) as f64
}

/// A name or key that no offered tool has.
pub(super) fn unknown(scored: &Scored<'_>, calls: &[ToolCall]) -> Option<String> {
    calls.iter().find_map(|call| match matching::tool_of(scored.problem, &call.name) {
        None => Some(format!("there is no tool {:?}", call.name)),
        Some(tool) => {
            let key = call.arguments.keys().find(|k| matching::property(tool, k).is_none())?;
            Some(format!("{:?} has no argument {key:?}", call.name))
        }
    })
}

fn likeness(verdicts: &[ArgumentVerdict]) -> f64 {
    let union = verdicts.iter().filter(|a| a.verdict != Verdict::LeftOut).count();
    let one = |a: &ArgumentVerdict| match (a.verdict, &a.expected, &a.produced) {
        (Verdict::Right, ..) => 1.0,
        (_, Some(accepted), Some(written)) => accepted.values.iter().map(|v| alike(v, written)).fold(0.0, f64::max),
        _ => 0.0,
    };
    if union == 0 { 1.0 } else { verdicts.iter().map(one).sum::<f64>() / union as f64 }
}

fn alike(expected: &Value, written: &Value) -> f64 {
    match (expected, written) {
        (Value::String(a), Value::String(b)) => rouge_l(a, b),
        (a, b) => f64::from(u8::from(python::json_equal(a, b))),
    }
}

/// F1 of the longest common subsequence of words, case ignored.
pub fn rouge_l(expected: &str, written: &str) -> f64 {
    let words = |text: &str| text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>();
    let (a, b) = (words(expected), words(written));
    if a == b {
        return 1.0;
    }
    if a.is_empty() || b.is_empty() || a.len() > LONGEST || b.len() > LONGEST {
        return 0.0;
    }
    let mut row = vec![0usize; b.len() + 1];
    for x in &a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    // F1 of shared/|a| and shared/|b|
    2.0 * row[b.len()] as f64 / (a.len() + b.len()) as f64
}
