//! Reward `strict`: 1 when right by the task set's matcher, else 0 (Tool-N1, arXiv 2505.00024).
//!
//! For models that often succeed, and as a last stage; it gives a model that never does nothing to climb.

use super::Scored;

/// The only part.
pub const WEIGHTS: [(&str, f64); 1] = [("correct", 1.0)];

/// Raw value of the part.
pub(super) fn value(scored: &Scored<'_>) -> Option<f64> {
    let right = match scored.problem.expected.is_no_call() {
        true => scored.refuses(),
        false => scored.outcome.is_correct(),
    };
    Some(f64::from(u8::from(right)))
}
