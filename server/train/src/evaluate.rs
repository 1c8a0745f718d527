//! Greedy answers to held-out problems, in one batch that is kept full; no learning.

use std::cell::Cell;
use std::time::Instant;

use whetstone_domain::config::ToolUse;
use whetstone_domain::{EvaluationSummary, Prediction, StopReason};
use whetstone_model::adapter::Adapter;
use whetstone_model::error::ModelError;
use whetstone_model::generate::{Completion, Decoder, Sampling};
use whetstone_model::packed::common_words;
use whetstone_tools::StepCache;
use whetstone_tooluse::conversation::judge;
use whetstone_tooluse::predict;

use crate::batch::{Batch, Branch, Target};
use crate::converse::{room, serve};
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

/// Answers every problem of `items`, up to `rows` at a time and at most `turn` tokens a turn; none when `go_on(done)` said no. The
/// words that all prompts share are read once, and where answers have ended the next problems come in.
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
    let limit = |item: &Prepared| room(policy, &[item], turn, tools);
    let prompts: Vec<&[u32]> = items.iter().map(|p| p.ids.as_slice()).collect();
    let words = common_words(&prompts);
    let rows = rows.clamp(1, items.len().max(1));
    // room for so many problems of the mean size; where larger ones meet, fewer are worked on
    let sizes: Vec<usize> = items.iter().map(|item| item.ids.len() - words.len() + limit(item)).collect();
    let mean = (sizes.iter().sum::<usize>() * rows).div_ceil(items.len().max(1));
    let tokens = sizes.iter().copied().max().unwrap_or_default().max(mean);
    let decoder = Decoder::fed(&policy.model, adapter, words, tokens, Sampling::Greedy, &policy.eos)?;
    let (mut asked, done) = (0, Cell::new(0));
    let feed = |decoder: &mut Decoder, over: &[usize]| {
        over.iter().for_each(|&row| decoder.done(row)); // a prompt has one row
        done.set(done.get() + over.len());
        let (busy, waiting) = (asked - done.get(), items.len() - asked);
        let idle = (rows - busy).min(waiting);
        if busy > 0 && idle < waiting.min(rows.div_ceil(4)) {
            return Ok(Vec::new()); // a few at a time are read for the price of many
        }
        let waiting: Vec<_> = items[asked..asked + idle].iter().map(|item| (item.ids.as_slice(), limit(item))).collect();
        let next = asked..asked + decoder.prompts(&waiting)?;
        asked = next.end;
        for (prompt, item) in next.clone().zip(&items[next.clone()]) {
            decoder.fork(prompt, crate::rng::at(crate::rng::Use::Rollout, 0, 0, 0, 0), limit(item));
        }
        Ok(items[next].iter().map(|item| &item.problem).collect())
    };
    let mut cache = StepCache::default();
    let Some(sampled) = serve(policy, decoder, turn, tools, &mut cache, feed, |_| go_on(done.get()))? else { return Ok(None) };
    if sampled.len() != items.len() {
        return Err(ModelError::Generation(format!("{} of {} problems were answered", sampled.len(), items.len())).into());
    }
    let predictions: Vec<Prediction> = items
        .iter()
        .zip(&sampled)
        .map(|(item, s)| {
            let c = &s.completion;
            let written = c.mask.iter().filter(|m| **m == 1).count();
            match &s.transcript {
                Some(transcript) => judge::predict(&item.problem, transcript, written),
                None => predict(policy.format, &item.problem, &policy.text(&c.ids), c.stop.unwrap_or(StopReason::Length), written),
            }
        })
        .collect();
    let first: Vec<Completion> = sampled.into_iter().take(KL_PROBLEMS).map(|s| s.completion).collect();
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
