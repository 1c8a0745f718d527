//! The block-wise backward over shared prefixes against finite differences, autograd and padded sequences.

use candle_core::{DType, Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use whetstone_model::adapter::Adapter;
use whetstone_model::tiny::tiny_base;
use whetstone_model::transformer::Transformer;
use whetstone_train::batch::{Batch, Branch, Target};
use whetstone_train::step::{Scored, TOKENS_PER_MICRO_BATCH, gradients, logprobs};

use crate::twin::Twin;

/// Prompts that share words, ragged completions, a single-token one, and forced tokens with mask 0.
struct Words {
    prompts: Vec<Vec<u32>>,
    completions: Vec<Vec<(Vec<u32>, Vec<u8>)>>,
}

impl Words {
    fn draw(seed: u64, vocabulary: u32, shared: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut ids = |n: usize| -> Vec<u32> { (0..n).map(|_| rng.random_range(0..vocabulary)).collect() };
        let root = ids(shared);
        let prompts: Vec<Vec<u32>> = [1, 4, 6].iter().map(|n| root.iter().copied().chain(ids(*n)).collect()).collect();
        let completions = prompts
            .iter()
            .map(|_| {
                [1usize, 3, 6]
                    .iter()
                    .map(|n| {
                        let mask = (0..*n).map(|i| u8::from(i % 4 != 2)).collect();
                        (ids(*n), mask)
                    })
                    .collect()
            })
            .collect();
        Self { prompts, completions }
    }

    fn branches(&self) -> Vec<Branch<'_>> {
        self.prompts
            .iter()
            .zip(&self.completions)
            .map(|(prompt, c)| Branch { prompt, completions: c.iter().map(|(ids, mask)| Target { ids, mask }).collect() })
            .collect()
    }
}

fn coefficient(completion: usize, token: usize) -> f64 {
    ((completion * 7 + token * 3) as f64 * 0.61).sin()
}

fn max_difference(a: &[f32], b: &Tensor) -> f64 {
    let b: Vec<f64> = b.flatten_all().unwrap().to_vec1().unwrap();
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - b).abs()).inspect(|d| assert!(d.is_finite())).fold(0.0, f64::max)
}

#[test]
fn shared_prefix_gradients_equal_padded_autograd_and_reach_every_tensor() {
    let base = tiny_base(3).unwrap();
    let adapter = Adapter::random(&base.config, 3, 6.0, 11, DType::F32, 0.2).unwrap();
    let weights64 = base.weights.to_dtype(&base.config, DType::F64).unwrap();
    let twin = Twin::new(&base.config, &weights64, &adapter).unwrap();
    let model = Transformer::new(&base.config, base.weights.clone(), 64, false).unwrap();
    for shared in [0, 5] {
        let words = Words::draw(shared as u64, 250, shared);
        let branches = words.branches();
        let store = twin.objective(&branches, 0.9, coefficient).unwrap().backward().unwrap();
        let got = gradients(&model, &adapter, &branches, 0.9, false, TOKENS_PER_MICRO_BATCH, |scored| {
            scored.iter().map(|s| coefficient(s.row.completion, s.row.token)).collect()
        })
        .unwrap()
        .tensors;
        let vars = twin.vars.iter().flatten().flat_map(|(a, b)| [a, b]);
        for (((name, _), got), var) in adapter.named().iter().zip(&got).zip(vars) {
            let want = store.get(var).expect("autograd reaches every variable");
            assert!(got.iter().any(|g| *g != 0.0), "{name} has no gradient");
            let difference = max_difference(got, want);
            assert!(difference < 1e-5, "{name}: differs from autograd by {difference:e}");
        }
    }
}

#[test]
fn gradients_equal_finite_differences_in_f64() {
    let base = tiny_base(5).unwrap();
    let weights = base.weights.to_dtype(&base.config, DType::F64).unwrap();
    let model = Transformer::new(&base.config, weights.clone(), 64, false).unwrap();
    let adapter = Adapter::random(&base.config, 2, 4.0, 7, DType::F64, 0.3).unwrap();
    let words = Words::draw(9, 250, 4);
    let branches = words.branches();
    let batch = Batch::new(&branches, 0, 0);
    let objective = |adapter: &Adapter| -> f64 {
        // logprobs come back as f32; the difference quotient needs more, so the exact sum is taken from f64 logits
        let hidden = model.hidden(Some(adapter), &batch.packed).unwrap();
        let at = Tensor::new(batch.rows.iter().map(|r| batch.scored[r.scored].0).collect::<Vec<_>>(), &Device::Cpu).unwrap();
        let logits = model.final_norm(&hidden.index_select(&at, 0).unwrap()).unwrap().matmul(model.head().full().unwrap().1).unwrap();
        let max = logits.max_keepdim(1).unwrap();
        let lse = (logits.broadcast_sub(&max).unwrap().exp().unwrap().sum_keepdim(1).unwrap().log().unwrap() + max).unwrap();
        let logp = logits.broadcast_sub(&lse).unwrap().to_vec2::<f64>().unwrap();
        batch.rows.iter().zip(&logp).map(|(r, logp)| coefficient(r.completion, r.token) * logp[r.id as usize]).sum()
    };
    let got = gradients(&model, &adapter, &branches, 1.0, false, TOKENS_PER_MICRO_BATCH, |scored| {
        scored.iter().map(|s| coefficient(s.row.completion, s.row.token)).collect()
    })
    .unwrap()
    .tensors;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let names: Vec<String> = adapter.named().iter().map(|(n, _)| n.clone()).collect();
    for (i, name) in names.iter().enumerate() {
        for _ in 0..3 {
            let at = rng.random_range(0..got[i].len());
            let shifted = |by: f64| {
                let mut a = adapter.clone();
                if let Some(t) = a.tensors_mut().nth(i) {
                    let mut v: Vec<f64> = t.flatten_all().unwrap().to_vec1().unwrap();
                    v[at] += by;
                    *t = Tensor::from_vec(v, t.shape(), &Device::Cpu).unwrap();
                }
                objective(&a)
            };
            let h = 1e-4;
            let quotient = (shifted(h) - shifted(-h)) / (2.0 * h);
            assert!(
                (quotient - f64::from(got[i][at])).abs() < 1e-6 * quotient.abs().max(1.0),
                "{name}[{at}]: {} against {quotient}",
                got[i][at]
            );
        }
    }
}

#[test]
fn a_batch_split_into_micro_batches_has_the_same_gradients() {
    let base = tiny_base(3).unwrap();
    let model = Transformer::new(&base.config, base.weights.clone(), 64, false).unwrap();
    let adapter = Adapter::random(&base.config, 3, 6.0, 11, DType::F32, 0.2).unwrap();
    let words = Words::draw(2, 250, 5);
    let branches = words.branches();
    let whole: Vec<f32> = logprobs(&model, Some(&adapter), &Batch::new(&branches, 0, 0), 1.0).unwrap().iter().map(|r| r.logprob).collect();
    let mut split = Vec::new();
    for (branches, first) in whetstone_train::batch::micro_batches(&branches, 5, 1) {
        assert_eq!(branches.len(), 1);
        let batch = Batch::new(branches, first, 0);
        assert!(batch.rows.iter().all(|r| r.completion / 3 == first / 3));
        split.extend(logprobs(&model, Some(&adapter), &batch, 1.0).unwrap().iter().map(|r| r.logprob));
    }
    assert_eq!(whole.len(), split.len());
    assert!(whole.iter().zip(&split).all(|(a, b)| (a - b).abs() < 1e-5));

    let found = |micro_batch: usize| {
        let all = |scored: &[Scored]| scored.iter().map(|s| coefficient(s.row.completion, s.row.token)).collect();
        gradients(&model, &adapter, &branches, 1.0, false, micro_batch, all).unwrap().tensors.concat()
    };
    let (whole, split) = (found(TOKENS_PER_MICRO_BATCH), found(1));
    assert_eq!(whole.len(), split.len());
    assert!(whole.iter().zip(&split).all(|(a, b)| (a - b).abs() < 1e-5 * a.abs().max(1.0)));
}

#[test]
fn forced_tokens_never_receive_gradient() {
    let base = tiny_base(3).unwrap();
    let model = Transformer::new(&base.config, base.weights.clone(), 64, false).unwrap();
    let adapter = Adapter::random(&base.config, 3, 6.0, 11, DType::F32, 0.2).unwrap();
    let words = Words::draw(2, 250, 5);
    let mut seen = 0;
    gradients(&model, &adapter, &words.branches(), 1.0, false, TOKENS_PER_MICRO_BATCH, |scored| {
        for s in scored {
            let (group, row) = (s.row.completion / 3, s.row.completion % 3);
            assert_eq!(words.completions[group][row].1[s.row.token], 1);
            assert_eq!(words.completions[group][row].0[s.row.token], s.row.id);
            seen += 1;
        }
        vec![0.0; scored.len()]
    })
    .unwrap();
    let active: usize = words.completions.iter().flatten().map(|(_, m)| m.iter().filter(|m| **m == 1).count()).sum();
    assert_eq!(seen, active);
}
