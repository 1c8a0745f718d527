//! Greedy answers to held-out problems, batched; no learning.

use std::time::Instant;

use whetstone_domain::config::ToolUse;
use whetstone_domain::{EvaluationSummary, Prediction, Problem, StopReason};
use whetstone_model::adapter::Adapter;
use whetstone_model::generate::{Completion, Decoder, Sampling};
use whetstone_tools::StepCache;
use whetstone_tooluse::conversation::judge;
use whetstone_tooluse::predict;

use crate::batch::{Batch, Branch, Target};
use crate::converse::{drive, room};
use crate::error::Result;
use crate::policy::Policy;
use crate::pool::Prepared;
use crate::step::logprobs;

/// Problems of an evaluation whose answers the KL is measured on.
const KL_PROBLEMS: usize = 16;

/// What an evaluation found.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// Its numbers.
    pub summary: EvaluationSummary,
    /// Mean k3 KL to the adapter-off model per token of the first answers, nat; 0 with the adapter off.
    pub kl: f64,
    /// Every answer, in the order of the problems.
    pub predictions: Vec<Prediction>,
}

/// Answers every problem of `items`, `rows` at a time and at most `turn` tokens a turn; none when `go_on(done)` said no.
pub fn evaluate(
    policy: &Policy,
    adapter: Option<&Adapter>,
    items: &[Prepared],
    rows: usize,
    turn: usize,
    tools: &ToolUse,
    mut go_on: impl FnMut(usize) -> bool,
) -> Result<Option<Evaluated>> {
    let start = Instant::now();
    let mut predictions: Vec<Prediction> = Vec::with_capacity(items.len());
    let mut first = Vec::new();
    let mut cache = StepCache::default();
    for chunk in items.chunks(rows.max(1)) {
        let prompts: Vec<&[u32]> = chunk.iter().map(|p| p.ids.as_slice()).collect();
        let longest = room(policy, &chunk.iter().collect::<Vec<_>>(), turn, tools);
        let mut decoder = Decoder::new(&policy.model, adapter, &prompts, chunk.len(), longest, Sampling::Greedy, &policy.eos)?;
        for i in 0..chunk.len() {
            decoder.fork(i, crate::rng::at(crate::rng::Use::Rollout, 0, 0, 0, 0), longest);
        }
        let done = predictions.len();
        let problems: Vec<&Problem> = chunk.iter().map(|p| &p.problem).collect();
        let Some(sampled) = drive(policy, decoder, &problems, turn, tools, &mut cache, |_| go_on(done))? else { return Ok(None) };
        for (item, s) in chunk.iter().zip(&sampled) {
            let c = &s.completion;
            let written = c.mask.iter().filter(|m| **m == 1).count();
            predictions.push(match &s.transcript {
                Some(transcript) => judge::predict(&item.problem, transcript, written),
                None => predict(policy.format, &item.problem, &policy.text(&c.ids), c.stop.unwrap_or(StopReason::Length), written),
            });
        }
        if first.len() < KL_PROBLEMS {
            first.extend(sampled.into_iter().map(|s| s.completion).take(KL_PROBLEMS - first.len()));
        }
    }
    let summary = EvaluationSummary::of(&predictions, start.elapsed().as_secs_f64());
    let kl = if adapter.is_some() { kl_to_base(policy, items, &first)? } else { 0.0 };
    Ok(Some(Evaluated { summary, kl, predictions }))
}

/// Mean k3 of greedy answers: the logprobs they were written with against those of the adapter-off model.
fn kl_to_base(policy: &Policy, items: &[Prepared], completions: &[Completion]) -> Result<f64> {
    let branches: Vec<Branch> = items
        .iter()
        .zip(completions)
        .map(|(item, c)| Branch { prompt: &item.ids, completions: vec![Target { ids: &c.ids, mask: &c.mask }] })
        .collect();
    let batch = Batch::new(&branches, 0, 0);
    let reference = logprobs(&policy.model, None, &batch, 1.0)?;
    let total: f64 = batch
        .rows
        .iter()
        .zip(&reference)
        .map(|(row, r)| {
            let x = f64::from(r.logprob) - f64::from(completions[row.completion].logprobs[row.token]);
            x.exp() - x - 1.0
        })
        .sum();
    Ok(total / batch.rows.len().max(1) as f64)
}
