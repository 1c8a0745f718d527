//! The sampler against the update: one policy, two ways to its logprobs.

use candle_core::DType;
use whetstone_model::adapter::Adapter;
use whetstone_model::generate::{Completion, Decoder, Sampling};
use whetstone_model::tiny::tiny_base;
use whetstone_model::transformer::Transformer;
use whetstone_model::weights::Base;
use whetstone_train::batch::{Batch, Branch, Target};
use whetstone_train::rng::{Use, at};
use whetstone_train::step::logprobs;

pub fn sample(model: &Transformer, adapter: &Adapter, prompts: &[Vec<u32>], rows: usize, longest: usize, eos: &[u32]) -> Vec<Completion> {
    let ids: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let mut d = Decoder::new(model, Some(adapter), &ids, ids.len() * rows, longest, Sampling::Temperature(0.8), eos).unwrap();
    for p in 0..prompts.len() {
        for r in 0..rows {
            d.fork(p, at(Use::Rollout, 0, 1, p as u32, r as u32), longest);
        }
    }
    d.finish(|_| true).unwrap().unwrap()
}

pub fn differences(model: &Transformer, adapter: &Adapter, prompts: &[Vec<u32>], rows: usize, completions: &[Completion]) -> (f64, f64) {
    let branches: Vec<Branch> = prompts
        .iter()
        .zip(completions.chunks(rows))
        .map(|(prompt, c)| Branch { prompt, completions: c.iter().map(|c| Target { ids: &c.ids, mask: &c.mask }).collect() })
        .collect();
    let batch = Batch::new(&branches, 0, 0);
    let update = logprobs(model, Some(adapter), &batch, 0.8).unwrap();
    let (mut sum, mut max) = (0.0, 0.0f64);
    for (row, u) in batch.rows.iter().zip(&update) {
        let d = f64::from((u.logprob - completions[row.completion].logprobs[row.token]).abs());
        sum += d;
        max = max.max(d);
    }
    (sum / batch.rows.len() as f64, max)
}

pub fn prompts(base: &Base, texts: &[&str]) -> Vec<Vec<u32>> {
    texts
        .iter()
        .map(|t| {
            base.tokenizer.encode(&format!("<|im_start|>user\nTools: clock(), add(a, b).\n{t}<|im_end|>\n<|im_start|>assistant\n")).unwrap()
        })
        .collect()
}

#[test]
fn decode_logprobs_equal_update_logprobs_on_smollm2() {
    let base = whetstone_model::testing::smollm2().unwrap();
    let model = Transformer::new(&base.config, base.weights.clone(), 512, false).unwrap();
    let adapter = Adapter::random(&base.config, 16, 32.0, 1, DType::F32, 0.02).unwrap();
    let prompts =
        prompts(&base, &["What time is it?", "Add 17 and 25, please, and tell me whether the sum is prime.", "List three colours."]);
    let completions = sample(&model, &adapter, &prompts, 4, 24, &base.config.eos_token_ids);
    let (mean, max) = differences(&model, &adapter, &prompts, 4, &completions);
    assert!(mean <= 1e-5 && max <= 1e-3, "mean {mean:e}, max {max:e}");
}

#[test]
fn a_row_is_sampled_the_same_whatever_shares_its_batch() {
    let base = tiny_base(1).unwrap();
    let model = Transformer::new(&base.config, base.weights.clone(), 400, false).unwrap();
    let adapter = Adapter::random(&base.config, 2, 4.0, 1, DType::F32, 0.2).unwrap();
    let all = prompts(&base, &["a", "some longer request", "b"]);
    let together = sample(&model, &adapter, &all, 2, 12, &[]);
    let alone = sample(&model, &adapter, &all[..1], 2, 12, &[]);
    assert_eq!(together[0].ids, alone[0].ids);
    assert_eq!(together[1].ids, alone[1].ids);
    assert_ne!(together[0].ids, together[1].ids);
    assert_eq!(sample(&model, &adapter, &all, 2, 12, &[]), together, "the same seed gives the same run");
}

#[test]
fn forced_tokens_are_read_by_the_model_and_masked() {
    let base = tiny_base(1).unwrap();
    let model = Transformer::new(&base.config, base.weights.clone(), 400, false).unwrap();
    let adapter = Adapter::random(&base.config, 2, 4.0, 1, DType::F32, 0.2).unwrap();
    let p = prompts(&base, &["a"]);
    let mut d = Decoder::new(&model, Some(&adapter), &[&p[0]], 2, 12, Sampling::Temperature(0.8), &[]).unwrap();
    let row = d.fork(0, at(Use::Rollout, 0, 1, 0, 0), 12);
    let other = d.fork(0, at(Use::Rollout, 0, 1, 0, 1), 12);
    for _ in 0..3 {
        d.step().unwrap();
    }
    d.force(row, &[70, 71, 72]);
    while d.step().unwrap() {}
    let c = d.completion(row).clone();
    assert_eq!(c.ids.len(), 12);
    assert_eq!(&c.ids[3..6], &[70, 71, 72]);
    assert_eq!(c.mask, [1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
    let both = vec![c, d.completion(other).clone()];
    let (mean, max) = differences(&model, &adapter, &p, 2, &both);
    assert!(mean <= 1e-5 && max <= 1e-4, "mean {mean:e}, max {max:e}: rows must see the forced tokens");
}
