//! Evaluation: greedy answers on held-out problems, counted; no learning.

use serde::{Deserialize, Serialize};

use crate::{Outcome, Phase, ToolCall, stats};

/// What an evaluation was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluationKind {
    /// Step 0: the prompt alone.
    Baseline,
    /// After the warm start, before the first GRPO step.
    AfterWarmStart,
    /// Every k steps.
    Periodic,
    /// After the last step.
    Final,
}

/// The greedy answer to one held-out problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The problem's id.
    pub id: String,
    /// Calls of the strict parse: null = unparsable, `[]` = no call.
    pub calls: Option<Vec<ToolCall>>,
    /// The completion without special tokens.
    pub text: String,
    /// Its rung.
    pub outcome: Outcome,
    /// Right by the task set's matcher.
    pub correct: bool,
    /// The right answer is no call.
    pub expects_no_call: bool,
    /// The strict parse has the expected names in the expected number.
    pub name_correct: bool,
    /// Share of expected and produced arguments that match, where the strict parse made a call; none otherwise.
    pub argument_score: Option<f64>,
    /// Tokens written.
    pub tokens: usize,
}

/// Numbers of one evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationSummary {
    /// Share of problems answered right.
    pub accuracy: f64,
    /// Lower end of the Wilson 95 % interval of the accuracy.
    pub ci_low: f64,
    /// Upper end.
    pub ci_high: f64,
    /// Problems right.
    pub correct: usize,
    /// Problems asked.
    pub n: usize,
    /// Share of answers that parse strictly.
    pub json_valid: f64,
    /// Share of problems expecting a call whose strict parse has the expected names.
    pub name_accuracy: f64,
    /// Mean argument score over problems expecting a call whose strict parse made one.
    pub argument_accuracy: f64,
    /// Share of problems expecting no call that got none.
    pub no_call_accuracy: f64,
    /// Share of problems expecting no call that got one.
    pub false_call_rate: f64,
    /// Mean tokens of an answer.
    pub mean_tokens: f64,
    /// Wall time, s.
    pub seconds: f64,
    /// Tokens generated per second of wall time.
    pub tokens_per_second: f64,
}

impl EvaluationSummary {
    /// Counts `predictions`; shares over an empty set are 0.
    pub fn of(predictions: &[Prediction], seconds: f64) -> Self {
        let n = predictions.len();
        let share = |k: usize, of: usize| if of == 0 { 0.0 } else { k as f64 / of as f64 };
        let count = |f: &dyn Fn(&Prediction) -> bool| predictions.iter().filter(|p| f(p)).count();
        let correct = count(&|p| p.correct);
        let (ci_low, ci_high) = stats::wilson(correct, n);
        let no_call = count(&|p| p.expects_no_call);
        let refused = count(&|p| p.expects_no_call && p.calls.as_ref().is_some_and(Vec::is_empty));
        let called = count(&|p| p.expects_no_call && p.calls.as_ref().is_some_and(|c| !c.is_empty()));
        let scores: Vec<f64> = predictions.iter().filter(|p| !p.expects_no_call).filter_map(|p| p.argument_score).collect();
        let tokens: usize = predictions.iter().map(|p| p.tokens).sum();
        Self {
            accuracy: share(correct, n),
            ci_low,
            ci_high,
            correct,
            n,
            json_valid: share(count(&|p| p.calls.is_some()), n),
            name_accuracy: share(count(&|p| !p.expects_no_call && p.name_correct), n - no_call),
            argument_accuracy: if scores.is_empty() { 0.0 } else { scores.iter().sum::<f64>() / scores.len() as f64 },
            no_call_accuracy: share(refused, no_call),
            false_call_rate: share(called, no_call),
            mean_tokens: share(tokens, n),
            seconds,
            tokens_per_second: if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 },
        }
    }
}

/// One evaluation of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRecord {
    /// Phase whose step counter `step` is.
    pub phase: Phase,
    /// Steps made in that phase before this evaluation.
    pub step: usize,
    /// Why it was made.
    pub kind: EvaluationKind,
    /// Task-set spec the problems came from.
    pub tasks: String,
    /// Its numbers.
    pub summary: EvaluationSummary,
    /// Against the baseline on the same problems: gained, lost and the exact p; none for the baseline.
    pub versus_baseline: Option<stats::McNemar>,
    /// Mean k3 KL per token of the policy to the adapter-off model on these answers, nat; none where not measured.
    pub kl: Option<f64>,
    /// Every answer.
    pub predictions: Vec<Prediction>,
}
