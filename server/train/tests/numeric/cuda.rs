//! A CUDA device against the CPU, in builds with the feature `cuda`: `cargo nextest run --features cuda -p whetstone-train cuda`.

use candle_core::{DType, Device};
use whetstone_model::adapter::Adapter;
use whetstone_model::tiny::tiny_base;
use whetstone_model::transformer::Transformer;
use whetstone_train::batch::{Batch, Branch, Target};
use whetstone_train::step::{Scored, gradients, logprobs};

use crate::sampling::{differences, prompts, sample};

#[test]
fn cuda_gives_the_logprobs_and_gradients_of_the_cpu() {
    let base = tiny_base(1).unwrap();
    let device = Device::new_cuda(0).unwrap();
    let adapter = Adapter::random(&base.config, 4, 8.0, 1, DType::F32, 0.2).unwrap();
    let mut moved = adapter.clone();
    moved.tensors_mut().for_each(|t| *t = t.to_device(&device).unwrap());
    let cpu = Transformer::new(&base.config, base.weights.clone(), 400, false).unwrap();
    let weights = base.weights.to_device(&base.config, &device).unwrap();
    let prompts = prompts(&base, &["What time is it?", "Add 17 and 25, please."]);
    let completions = sample(&cpu, &adapter, &prompts, 4, 24, &[]);
    let branches: Vec<Branch> = prompts
        .iter()
        .zip(completions.chunks(4))
        .map(|(prompt, c)| Branch { prompt, completions: c.iter().map(|c| Target { ids: &c.ids, mask: &c.mask }).collect() })
        .collect();
    let rows = |scored: &[Scored]| scored.iter().map(|s| if s.row.completion.is_multiple_of(2) { 1.0 } else { -0.7 }).collect();
    let batch = Batch::new(&branches, 0, 0);
    let want = logprobs(&cpu, Some(&adapter), &batch, 1.0).unwrap();
    let want_gradients = gradients(&cpu, &adapter, &branches, 1.0, false, 100, rows).unwrap().tensors;
    for (bf16, nat, least) in [(false, 1e-4, 0.999_999), (true, 0.02, 0.999)] {
        let gpu = Transformer::new(&base.config, weights.clone(), 400, bf16).unwrap();
        let found = logprobs(&gpu, Some(&moved), &batch, 1.0).unwrap();
        let mean = want.iter().zip(&found).map(|(a, b)| f64::from((a.logprob - b.logprob).abs())).sum::<f64>() / want.len() as f64;
        assert!(mean <= nat, "bf16 {bf16}: mean |logprob difference| {mean:e}");
        let found = gradients(&gpu, &moved, &branches, 1.0, false, 100, rows).unwrap().tensors;
        for (((name, _), a), b) in adapter.named().iter().zip(&want_gradients).zip(&found) {
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
            assert!(cosine >= least, "bf16 {bf16}: {name}: cosine {cosine}");
        }
        let sampled = sample(&gpu, &moved, &prompts, 4, 24, &[]);
        let (mean, _) = differences(&gpu, &moved, &prompts, 4, &sampled);
        assert!(mean <= nat, "bf16 {bf16}: sampler against update: {mean:e}");
    }
}
