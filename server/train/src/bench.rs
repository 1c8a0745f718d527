//! Fixed amounts of the trainer's own work, timed: what `whetstone bench` runs.
//!
//! In: prompts as token ids. Out: seconds by phase. The end-of-sequence token is ignored and rewards are random, so that every
//! completion has its full length and every group its spread, as in the peers' scripts.

use std::time::Instant;

use candle_core::Tensor;
use rand::Rng;
use whetstone_domain::RunConfig;
use whetstone_domain::config::Compute;
use whetstone_kernels::Frozen;
use whetstone_model::adapter::Adapter;
use whetstone_model::config::ModelConfig;
use whetstone_model::generate::{Decoder, Reading, Sampling};
use whetstone_model::packed::common_words;
use whetstone_model::transformer::Transformer;

use crate::advantage::advantages;
use crate::batch::{Branch, Target};
use crate::error::Result;
use crate::loss::{LossConfig, token_loss};
use crate::optimizer::{AdamW, clip};
use crate::rng::{self, Use};
use crate::step::{Gradients, TOKENS_PER_MICRO_BATCH, gradients_below};
use crate::worker::{device, resolve_compute};

/// Seconds of one step by phase, and what they bought.
#[derive(Debug, Clone, Copy, Default)]
pub struct StepTimes {
    /// Reading the prompts; what they all begin with is read for the update as well.
    pub prefill: f64,
    /// Sampling the completions.
    pub decode: f64,
    /// Rewards and advantages.
    pub reward: f64,
    /// Forward of the update, without that.
    pub forward: f64,
    /// Head and backward of the update.
    pub backward: f64,
    /// Clipping and AdamW.
    pub optimizer: f64,
    /// The whole step.
    pub total: f64,
    /// Groups that were updated from.
    pub groups: usize,
    /// Sampled tokens that were updated from.
    pub tokens: usize,
    /// Multiply-adds of the update, counted twice as usual.
    pub update_flops: f64,
}

/// The trainer's state between steps.
pub struct Bench<'a> {
    model: &'a Transformer,
    config: &'a RunConfig,
    adapter: Adapter,
    optimizer: AdamW,
    steps: u64,
}

impl<'a> Bench<'a> {
    /// A fresh adapter on `model`.
    pub fn new(model: &'a Transformer, config: &'a RunConfig) -> Result<Self> {
        let adapter = Adapter::new(&model.config, config.lora_rank, config.lora_alpha, config.seed, model.dtype(), model.device())?;
        let optimizer = AdamW::new(config, &adapter);
        Ok(Self { model, config, adapter, optimizer, steps: 0 })
    }

    /// One GRPO step on `prompts`: `num_generations` completions of exactly `max_completion_length` tokens each, random rewards.
    pub fn step(&mut self, prompts: &[&[u32]]) -> Result<StepTimes> {
        let c = self.config;
        let (g, longest) = (c.num_generations, c.max_completion_length);
        let start = Instant::now();
        let mut times = StepTimes::default();
        self.steps += 1;

        let sampling = Sampling::Temperature(c.temperature);
        let reading = Reading::new(self.model, Some(&self.adapter), common_words(prompts))?;
        let mut decoder = Decoder::below(self.model, &reading, prompts, prompts.len() * g, longest, sampling, &[])?;
        for i in 0..prompts.len() {
            for j in 0..g {
                decoder.fork(i, rng::at(Use::Rollout, c.seed, self.steps, i as u32, j as u32), longest);
            }
        }
        times.prefill = start.elapsed().as_secs_f64();
        let clock = Instant::now();
        let completions = decoder.finish(|_| true)?.unwrap_or_default();
        times.decode = clock.elapsed().as_secs_f64();

        let clock = Instant::now();
        let mut random = rng::at(Use::Order, c.seed, self.steps, 0, 0);
        let rewards: Vec<Vec<f64>> = prompts.iter().map(|_| (0..g).map(|_| random.random()).collect()).collect();
        let advantages: Vec<f64> = advantages(&rewards, c.scale_rewards).concat();
        times.groups = rewards.iter().filter(|r| r.iter().any(|x| *x != r[0])).count();
        times.reward = clock.elapsed().as_secs_f64();

        let loss = LossConfig::of(c);
        let weights = loss.weights(&completions.iter().map(|c| c.ids.len()).collect::<Vec<_>>());
        let branches: Vec<Branch> = prompts
            .iter()
            .zip(completions.chunks(g))
            .map(|(&prompt, group)| Branch { prompt, completions: group.iter().map(|c| Target { ids: &c.ids, mask: &c.mask }).collect() })
            .collect();
        let found = gradients_below(self.model, reading, &branches, c.temperature, false, TOKENS_PER_MICRO_BATCH, |scored| {
            times.tokens += scored.len();
            let one = |s: &crate::step::Scored| {
                let at = s.row.completion;
                weights[at] * token_loss(&loss, f64::from(s.policy.logprob), None, None, advantages[at], 1.0).d_logprob
            };
            scored.iter().map(one).collect()
        })?;
        [times.forward, times.backward] = found.seconds;
        times.update_flops = update_flops(&self.model.config, c.lora_rank, &found);
        let clock = Instant::now();
        let mut tensors = found.tensors;
        clip(&mut tensors, c.max_grad_norm, self.steps as usize, c.learning_rate)?;
        self.optimizer.update(&mut self.adapter, &tensors, c.learning_rate)?;
        times.optimizer = clock.elapsed().as_secs_f64();
        times.total = start.elapsed().as_secs_f64();
        Ok(times)
    }

    /// Tokens per second of the decode phase alone: `rows` completions of `tokens` tokens below one prompt.
    pub fn generate(&self, prompt: &[u32], rows: usize, tokens: usize) -> Result<f64> {
        let sampling = Sampling::Temperature(self.config.temperature);
        let mut decoder = Decoder::new(self.model, Some(&self.adapter), &[prompt], rows, tokens, sampling, &[])?;
        for j in 0..rows {
            decoder.fork(0, rng::at(Use::Rollout, self.config.seed, 0, 0, j as u32), tokens);
        }
        let clock = Instant::now();
        decoder.finish(|_| true)?;
        Ok((rows * tokens) as f64 / clock.elapsed().as_secs_f64())
    }
}

/// What the update cannot do without, as in model FLOPs utilisation (PaLM, arXiv 2204.02311): forward and input gradient of the
/// frozen linears, three products of their adapters, two products of attention forward and four backward over the pairs that see
/// each other, and the head both ways. What is read again is not counted, nor the forward of what sampling had read.
fn update_flops(c: &ModelConfig, rank: usize, found: &Gradients) -> f64 {
    let (e, f, q, kv) = (c.hidden_size, c.intermediate_size, c.q_rows(), c.kv_rows());
    let shapes = [(e, q), (e, kv), (e, kv), (q, e), (e, f), (e, f), (f, e)];
    let frozen: usize = shapes.iter().map(|(i, o)| i * o).sum();
    let adapted: usize = shapes.iter().map(|(i, o)| rank * (i + o)).sum();
    let before = found.read_before;
    let forward_before = 2 * (frozen + adapted) * before + 4 * q * (before * (before + 1) / 2);
    let block = (4 * frozen + 6 * adapted) * found.tokens + 12 * q * found.pairs - forward_before;
    (c.num_layers * block + 4 * e * c.vocab_size * found.scored) as f64
}

/// Most GFLOP/s of the frozen product at 1,024 rows, [1024, 576] x [576, 3072], in ten tries.
pub fn gemm_peak(compute: Compute) -> Result<f64> {
    let (rows, e, f) = (1024, 576, 3072);
    let mut random = rng::at(Use::Order, 0, 0, 0, 0);
    let device = device()?;
    let mut tensor = |n: usize, m: usize| {
        let numbers: Vec<f32> = (0..n * m).map(|_| random.random_range(-1.0..1.0)).collect();
        Tensor::from_vec(numbers, (n, m), &device)
    };
    let (x, w) = (tensor(rows, e)?, tensor(f, e)?);
    let w = if resolve_compute(compute) == Compute::Bf16 { Frozen::bf16(&w)? } else { Frozen::new(&w)? };
    let mut best = f64::INFINITY;
    for _ in 0..10 {
        let clock = Instant::now();
        w.forward(&x)?;
        device.synchronize()?;
        best = best.min(clock.elapsed().as_secs_f64());
    }
    Ok(2.0 * (rows * e * f) as f64 / best / 1e9)
}
