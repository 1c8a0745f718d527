//! Station *update*, from groups: rollouts with their advantages in; loss, numbers and the adapter's gradient out. Changes nothing.

use whetstone_domain::event::Metrics;
use whetstone_domain::{GroupRecord, Rollout, RunConfig, StopReason};
use whetstone_model::adapter::Adapter;
use whetstone_model::generate::Reading;

use crate::batch::{Branch, Target, shared_words};
use crate::error::Result;
use crate::loss::{LossConfig, importance, token_loss};
use crate::policy::Policy;
use crate::step::{Gradients, Scored, TOKENS_PER_MICRO_BATCH, gradients, gradients_below};

/// What a step's groups come to.
#[derive(Debug)]
pub struct Update {
    /// Gradients of the adapter; no tensors where no group has any.
    pub gradients: Gradients,
    /// The loss.
    pub loss: f64,
    /// Numbers of the loss.
    pub metrics: Metrics,
}

/// True where a group has a gradient: without a KL term one without spread has exactly none, so it is left out of the pass and
/// kept in the denominator.
pub fn is_effective(config: &RunConfig, group: &GroupRecord) -> bool {
    group.std > 0.0 || config.beta > 0.0
}

/// True where a rollout is left out of the loss for its length.
pub fn is_left_out(config: &RunConfig, rollout: &Rollout) -> bool {
    config.mask_truncated_completions && rollout.stop == StopReason::Length
}

/// The update that `groups`, all those of a step, ask for. Only tokens with mask 1 have a loss. `reading` is what their prompts begin with as
/// the adapter read it when they were sampled; without it that is read again.
pub fn update(policy: &Policy, adapter: &Adapter, reading: Option<Reading>, config: &RunConfig, groups: &[GroupRecord]) -> Result<Update> {
    let loss_config = LossConfig::of(config);
    let mut masks: Vec<Vec<u8>> = Vec::new();
    for r in groups.iter().flat_map(|g| &g.rollouts) {
        masks.push(if is_left_out(config, r) { vec![0; r.mask.len()] } else { r.mask.clone() });
    }
    let active: Vec<usize> = masks.iter().map(|m| m.iter().filter(|m| **m == 1).count()).collect();
    let weights = loss_config.weights(&active);
    let g = config.num_generations;
    let mut index = Vec::new(); // completion of the batch -> rollout of the step
    let mut branches = Vec::new();
    for (i, group) in groups.iter().enumerate().filter(|(_, group)| is_effective(config, group)) {
        let kept: Vec<usize> = (0..group.rollouts.len()).filter(|j| active[i * g + j] > 0).collect();
        let completions = kept.iter().map(|j| Target { ids: &group.rollouts[*j].ids, mask: &masks[i * g + j] }).collect();
        index.extend(kept.iter().map(|j| (i, *j)));
        branches.push(Branch { prompt: &group.prompt_ids, completions });
    }
    let mut sums = Sums { least_importance: f64::INFINITY, ..Sums::default() };
    let mut coefficient = |s: &Scored| {
        let (i, j) = index[s.row.completion];
        let rollout = &groups[i].rollouts[j];
        let (logprob, sampled) = (f64::from(s.policy.logprob), f64::from(rollout.logprobs[s.row.token]));
        // f32 sums in another order, too, but no further than a rounding of f32
        let importance = if policy.rounds { importance(logprob, sampled) } else { 1.0 };
        let t = token_loss(&loss_config, logprob, None, s.reference.map(f64::from), rollout.advantage, importance);
        let weight = weights[i * g + j];
        sums.loss += weight * t.loss;
        sums.kl += t.kl;
        sums.low += f64::from(u8::from(t.clipped_low));
        sums.high += f64::from(u8::from(t.clipped_high));
        let difference = (logprob - sampled).abs();
        sums.difference += difference;
        sums.largest = sums.largest.max(difference);
        sums.importance += importance;
        sums.least_importance = sums.least_importance.min(importance);
        sums.most_importance = sums.most_importance.max(importance);
        sums.tokens += 1.0;
        weight * t.d_logprob
    };
    let (model, t, reference) = (&policy.model, config.temperature, config.beta > 0.0);
    let coefficients = |scored: &[Scored]| scored.iter().map(&mut coefficient).collect();
    // those that are learned from may have far more in common than all that were sampled, which each micro-batch would read for itself
    let gradients = match reading.filter(|reading| 2 * reading.tokens() >= shared_words(&branches)) {
        Some(reading) => gradients_below(model, reading, &branches, t, reference, TOKENS_PER_MICRO_BATCH, coefficients)?,
        None => gradients(model, adapter, &branches, t, reference, TOKENS_PER_MICRO_BATCH, coefficients)?,
    };
    let n = sums.tokens.max(1.0);
    let mut metrics = Metrics::from([
        ("loss".into(), sums.loss),
        ("clip_ratio/low_mean".into(), sums.low / n),
        ("clip_ratio/high_mean".into(), sums.high / n),
        ("clip_ratio/region_mean".into(), (sums.low + sums.high) / n),
        ("sampling/sampling_logp_difference/mean".into(), sums.difference / n),
        ("sampling/sampling_logp_difference/max".into(), sums.largest),
    ]);
    if config.beta > 0.0 {
        metrics.insert("kl".into(), sums.kl / n);
    }
    if policy.rounds && sums.tokens > 0.0 {
        for (key, value) in [("min", sums.least_importance), ("mean", sums.importance / n), ("max", sums.most_importance)] {
            metrics.insert(format!("sampling/importance_sampling_ratio/{key}"), value);
        }
    }
    Ok(Update { gradients, loss: sums.loss, metrics })
}

#[derive(Default)]
struct Sums {
    loss: f64,
    kl: f64,
    low: f64,
    high: f64,
    difference: f64,
    largest: f64,
    importance: f64,
    least_importance: f64,
    most_importance: f64,
    tokens: f64,
}
