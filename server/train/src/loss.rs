//! Station *loss*: logprobs, old, reference, advantage in; loss and dL/dlogprob out. Pure functions, token by token.
//!
//! l = -w min( min(r, delta) A, clip(r, 1 - epsilon, 1 + epsilon_high) A ) + beta k3, r = exp(logprob - old),
//! k3 = exp(ref - logprob) - (ref - logprob) - 1 (TRL's `GRPOTrainer`, DeepSeekMath, DAPO, Dr. GRPO), and w, without gradient,
//! what the sampler's arithmetic differs by: [`importance`], or 1.

use whetstone_domain::RunConfig;
use whetstone_domain::config::LossType;

/// The part of a config that shapes the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossConfig {
    /// How tokens are averaged.
    pub loss_type: LossType,
    /// Lower clip range.
    pub epsilon: f64,
    /// Upper clip range.
    pub epsilon_high: f64,
    /// Upper bound of the unclipped ratio.
    pub delta: Option<f64>,
    /// Weight of the KL.
    pub beta: f64,
    /// Constant length of Dr. GRPO's average, tokens.
    pub max_completion_length: usize,
}

impl LossConfig {
    /// The loss of a run.
    pub fn of(c: &RunConfig) -> Self {
        Self {
            loss_type: c.loss_type,
            epsilon: c.epsilon,
            epsilon_high: c.epsilon_high.unwrap_or(c.epsilon),
            delta: c.delta,
            beta: c.beta,
            max_completion_length: c.max_completion_length,
        }
    }

    /// Weight of each rollout's tokens in the loss, given the active tokens of every rollout of the whole batch, also of
    /// those that are skipped because their gradient is exactly zero.
    pub fn weights(&self, active: &[usize]) -> Vec<f64> {
        let rollouts = active.len().max(1) as f64;
        let total = active.iter().sum::<usize>().max(1) as f64;
        active
            .iter()
            .map(|&n| match self.loss_type {
                LossType::Dapo => 1.0 / total,
                LossType::Grpo => 1.0 / (rollouts * n.max(1) as f64),
                LossType::DrGrpo => 1.0 / (rollouts * self.max_completion_length as f64),
            })
            .collect()
    }
}

/// One token's share.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TokenLoss {
    /// Loss before weighing.
    pub loss: f64,
    /// Its derivative by the logprob.
    pub d_logprob: f64,
    /// k3 KL to the reference, nat; 0 without one.
    pub kl: f64,
    /// The ratio fell below the clip range where that matters (A < 0).
    pub clipped_low: bool,
    /// The ratio rose above the clip range where that matters (A > 0).
    pub clipped_high: bool,
}

/// Largest [`importance`] (TRL's `vllm_importance_sampling_clip_max`).
pub const MOST_IMPORTANCE: f64 = 3.0;

/// Truncated importance ratio of a token that was sampled with logprob `sampled` in other arithmetic than it is learned from, where
/// it has `logprob` (TRL's `token_truncate`; Yao et al. 2025).
pub fn importance(logprob: f64, sampled: f64) -> f64 {
    (logprob - sampled).exp().min(MOST_IMPORTANCE)
}

/// The loss of one token. `old` none = the logprob itself, detached (one update per batch): ratio 1, gradient intact. `importance`
/// scales all but the KL.
pub fn token_loss(c: &LossConfig, logprob: f64, old: Option<f64>, reference: Option<f64>, advantage: f64, importance: f64) -> TokenLoss {
    let ratio = (logprob - old.unwrap_or(logprob)).exp();
    let (low, high) = (1.0 - c.epsilon, 1.0 + c.epsilon_high);
    let bounded = c.delta.map_or(ratio, |d| ratio.min(d));
    let plain = bounded * advantage;
    let clipped = ratio.clamp(low, high) * advantage;
    // dr/dlogprob = r; a clamped ratio has none
    let d_plain = if c.delta.is_some_and(|d| ratio > d) { 0.0 } else { ratio * advantage };
    let d_clipped = if (low..=high).contains(&ratio) { ratio * advantage } else { 0.0 };
    let (surrogate, d_surrogate) = if plain <= clipped { (plain, d_plain) } else { (clipped, d_clipped) };
    let (kl, d_kl) = reference.map_or((0.0, 0.0), |r| {
        let x = r - logprob;
        (x.exp() - x - 1.0, 1.0 - x.exp())
    });
    TokenLoss {
        loss: -importance * surrogate + c.beta * kl,
        d_logprob: -importance * d_surrogate + c.beta * d_kl,
        kl,
        clipped_low: bounded < low && advantage < 0.0, // TRL counts after the bound
        clipped_high: bounded > high && advantage > 0.0,
    }
}
