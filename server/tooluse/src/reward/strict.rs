//! Rewards `strict` and `bfcl_ast`: 1 when right, else 0. `strict` asks the task set's own matcher (Tool-N1, arXiv 2505.00024),
//! `bfcl_ast` BFCL's AST rules with their lists of accepted values, whatever the task set's matcher.
//!
//! For models that often succeed, and as a last stage; they give a model that never does nothing to climb.

use whetstone_domain::{Matcher, Outcome};

use super::Scored;
use crate::matching;

/// The only part.
pub const WEIGHTS: [(&str, f64); 1] = [("correct", 1.0)];

/// Raw value of the part of `strict`.
pub(super) fn value(scored: &Scored<'_>) -> f64 {
    let right = match scored.problem.expected.is_no_call() {
        true => scored.refuses(),
        false => scored.outcome.is_correct(),
    };
    f64::from(u8::from(right))
}

/// Raw value of the part of `bfcl_ast`. Where no call is expected garbage earns nothing, though BFCL's irrelevance rule lets it pass.
pub(super) fn bfcl_ast(scored: &Scored<'_>) -> f64 {
    if scored.problem.expected.is_no_call() || scored.problem.matcher == Matcher::Bfcl {
        return value(scored);
    }
    let Ok(calls) = &scored.parse.strict else { return 0.0 };
    let right = scored.outcome != Outcome::Truncated && matching::bfcl::check(&matching::as_bfcl(scored.problem), calls).unwrap_or(false);
    f64::from(u8::from(right))
}
