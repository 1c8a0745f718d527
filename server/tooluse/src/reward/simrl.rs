//! Reward `simrl` (STAR's Sim-RL): -1 where nothing can be read, a tool does not exist or an argument is not in its schema; else the
//! likeness of the calls made to those expected, as an intersection over a union.
//!
//! Likeness of two calls of one tool: the sum of the likeness of their shared arguments over the union of their arguments; of two
//! strings ROUGE-L's F1, case ignored; of anything else 1 if equal. No call where none is expected earns 1. Arguments that may be left
//! out count only where they were written.
//!
//! A value counts 1 exactly where the problem's own matcher accepts it, else at most [`NEAR`]: ROUGE-L ignores case and white space,
//! and equality the type of 5.0, so that calls which are wrong would earn as much as right ones.
//!
//! STAR also compares an answer in words to the expected words. No task set here has such words: expected calls, or none, are the
//! answer of a single turn (`tasks/running.rs` refuses an `answer` elsewhere), and the words that end a conversation are right or
//! wrong by `conversation::judge`. So where no call is expected, any words will do.

use std::collections::HashMap;

use serde_json::Value;
use whetstone_domain::{Outcome, ToolCall};

use super::{Scored, pairs};
use crate::matching::{self, ArgumentVerdict, Verdict, python};

/// The only part.
pub const WEIGHTS: [(&str, f64); 1] = [("similarity", 1.0)];

/// The most that a value counts which the matcher refuses, however alike, and calls that it refuses together.
const NEAR: f64 = 0.95;
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
    let likeness = sum / (expected.len() + calls.len() - pairs.len()).max(1) as f64;
    // every call is right by itself, and yet not all together: BFCL's matcher pairs them first come, first served
    if likeness < 1.0 { likeness } else { NEAR }
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
        (_, Some(accepted), Some(written)) => accepted.values.iter().map(|v| alike(v, written)).fold(0.0, f64::max).min(NEAR),
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
    let (expected, written) = (expected.to_lowercase(), written.to_lowercase());
    let (a, b): (Vec<&str>, Vec<&str>) = (expected.split_whitespace().collect(), written.split_whitespace().collect());
    if a == b {
        return 1.0;
    }
    if a.is_empty() || b.is_empty() || a.len() > LONGEST || b.len() > LONGEST {
        return 0.0;
    }
    // F1 of shared/|a| and shared/|b|
    2.0 * common_subsequence(&a, &b) as f64 / (a.len() + b.len()) as f64
}

/// Length of the longest common subsequence, 64 words of `a` at a time (Hyyro 2004): a bit of `row` is 0 where the table of the
/// plain algorithm goes up by one.
fn common_subsequence(a: &[&str], b: &[&str]) -> usize {
    let blocks = a.len().div_ceil(64);
    let mut places: HashMap<&str, Vec<u64>> = HashMap::with_capacity(a.len());
    for (i, &word) in a.iter().enumerate() {
        places.entry(word).or_insert_with(|| vec![0; blocks])[i / 64] |= 1 << (i % 64);
    }
    let mut row = vec![u64::MAX; blocks];
    for at in b.iter().filter_map(|word| places.get(word)) {
        let mut carry = false;
        for (bits, at) in row.iter_mut().zip(at) {
            let (sum, over) = bits.overflowing_add(*bits & at);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            carry = over || over_again;
            *bits = sum | (*bits & !at);
        }
    }
    row.iter().map(|bits| bits.count_zeros() as usize).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The table, cell by cell.
    fn slow(a: &[&str], b: &[&str]) -> usize {
        let mut row = vec![0usize; b.len() + 1];
        for x in a {
            let mut diagonal = 0;
            for (j, y) in b.iter().enumerate() {
                let above = row[j + 1];
                row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
                diagonal = above;
            }
        }
        row[b.len()]
    }

    proptest! {
        #[test]
        fn the_common_subsequence_is_that_of_the_plain_algorithm(
            a in proptest::collection::vec("[a-d]", 1..200),
            b in proptest::collection::vec("[a-e]", 1..200),
        ) {
            let (a, b): (Vec<&str>, Vec<&str>) = (a.iter().map(String::as_str).collect(), b.iter().map(String::as_str).collect());
            prop_assert_eq!(common_subsequence(&a, &b), slow(&a, &b));
        }
    }
}
