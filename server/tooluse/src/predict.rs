//! Evaluation, one answer: what a model wrote for a problem, read and judged.
//!
//! In: a problem, the greedy text and why it ended. Out: the prediction that is counted, stored and exported.

use whetstone_domain::{Matcher, Prediction, Problem, StopReason, config::Format};

use crate::{format, matching, outcome};

/// Reads and judges one answer. `calls` is none (unparsable) for a text that was cut off, even where it happens to parse:
/// it did not end by itself. Only BFCL's irrelevance rule looks at what such a text decodes to.
pub fn predict(format: Format, problem: &Problem, text: &str, stop: StopReason, tokens: usize) -> Prediction {
    let parse = format::parse(format, text);
    let outcome = outcome::judge(problem, text, &parse, stop);
    let counts = stop == StopReason::Eos || problem.matcher == Matcher::BfclIrrelevance;
    let calls = parse.strict.ok().filter(|_| counts);
    let made = calls.as_deref().filter(|c| !c.is_empty());
    Prediction {
        id: problem.id.clone(),
        text: text.to_owned(),
        outcome,
        correct: outcome.is_correct(),
        expects_no_call: problem.expected.is_no_call(),
        name_correct: calls.as_deref().is_some_and(|c| outcome::same_names(&problem.expected, c)),
        argument_score: made.map(|c| matching::explain(problem, c).argument_score(problem, c)),
        calls,
        tokens,
    }
}
