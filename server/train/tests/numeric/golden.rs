//! Golden numbers: made by the scripts in tests/golden, checked there against TRL's own code.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use whetstone_domain::RunConfig;
use whetstone_domain::config::{LossType, ScaleRewards};
use whetstone_model::adapter::Adapter;
use whetstone_model::config::ModelConfig;
use whetstone_model::transformer::Transformer;
use whetstone_model::weights::{LayerWeights, Weights};
use whetstone_train::advantage::advantages;
use whetstone_train::batch::{Branch, Target};
use whetstone_train::loss::{LossConfig, importance, token_loss};
use whetstone_train::optimizer::{AdamW, clip};
use whetstone_train::step::{TOKENS_PER_MICRO_BATCH, gradients};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn read<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    serde_json::from_str(&std::fs::read_to_string(fixture(name)).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct LossCase {
    name: String,
    loss_type: LossType,
    epsilon: f64,
    epsilon_high: Option<f64>,
    delta: Option<f64>,
    beta: f64,
    max_completion_length: usize,
    logprobs: Vec<Vec<f64>>,
    old: Option<Vec<Vec<f64>>>,
    #[serde(rename = "ref")]
    reference: Option<Vec<Vec<f64>>>,
    sampler: Option<Vec<Vec<f64>>>,
    mask: Vec<Vec<u8>>,
    advantages: Vec<f64>,
    loss: f64,
    grad: Vec<Vec<f64>>,
    kl: Option<f64>,
    clip_low_mean: f64,
    clip_high_mean: f64,
    clip_region_mean: f64,
}

#[test]
fn loss_gradient_kl_and_clip_shares_equal_trl() {
    let cases: Vec<LossCase> = read("losses.json");
    assert!(cases.len() >= 10);
    for c in cases {
        let config = LossConfig {
            loss_type: c.loss_type,
            epsilon: c.epsilon,
            epsilon_high: c.epsilon_high.unwrap_or(c.epsilon),
            delta: c.delta,
            beta: c.beta,
            max_completion_length: c.max_completion_length,
        };
        let active: Vec<usize> = c.mask.iter().map(|m| m.iter().map(|x| usize::from(*x)).sum()).collect();
        let weights = config.weights(&active);
        let (mut loss, mut kl, mut low, mut high, mut n) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for i in 0..c.logprobs.len() {
            for t in 0..c.logprobs[i].len() {
                if c.mask[i][t] == 0 {
                    assert!(c.grad[i][t] == 0.0);
                    continue;
                }
                let at = |x: &Option<Vec<Vec<f64>>>| x.as_ref().map(|x| x[i][t]);
                let weight = at(&c.sampler).map_or(1.0, |sampled| importance(at(&c.old).unwrap_or(c.logprobs[i][t]), sampled));
                let token = token_loss(&config, c.logprobs[i][t], at(&c.old), at(&c.reference), c.advantages[i], weight);
                loss += weights[i] * token.loss;
                kl += token.kl;
                low += f64::from(u8::from(token.clipped_low));
                high += f64::from(u8::from(token.clipped_high));
                n += 1.0;
                let difference = (weights[i] * token.d_logprob - c.grad[i][t]).abs();
                assert!(difference < 1e-9, "{}: gradient of rollout {i}, token {t} is off by {difference:e}", c.name);
            }
        }
        let n = f64::max(n, 1.0);
        assert!((loss - c.loss).abs() < 1e-9, "{}: loss {loss}, TRL {}", c.name, c.loss);
        if let Some(want) = c.kl {
            assert!((kl / n - want).abs() < 1e-9, "{}: kl {}, TRL {want}", c.name, kl / n);
        }
        for (got, want) in [(low / n, c.clip_low_mean), (high / n, c.clip_high_mean), ((low + high) / n, c.clip_region_mean)] {
            assert!((got - want).abs() < 1e-6, "{}: clip share {got}, TRL {want}", c.name);
        }
    }
}

#[derive(Deserialize)]
struct AdvantageCase {
    name: String,
    scale_rewards: ScaleRewards,
    rewards: Vec<Vec<Option<f64>>>,
    advantages: Vec<Vec<f64>>,
}

/// Totals of our rewards are never null (parts are), so TRL's cases with null totals have no counterpart.
#[test]
fn advantages_equal_trl() {
    let cases: Vec<AdvantageCase> = read("advantages.json");
    let mut seen = 0;
    for c in cases {
        let Some(rewards) = c.rewards.iter().map(|g| g.iter().copied().collect::<Option<Vec<f64>>>()).collect::<Option<Vec<_>>>() else {
            continue;
        };
        seen += 1;
        for (got, want) in advantages(&rewards, c.scale_rewards).iter().flatten().zip(c.advantages.iter().flatten()) {
            assert!((got - want).abs() < 1e-6 * want.abs().max(1.0), "{}: {got}, TRL {want}", c.name);
        }
    }
    assert!(seen >= 20, "{seen}");
}

#[derive(Deserialize)]
struct StepFile {
    temperature: f64,
    beta: f64,
    lr: f64,
    betas: [f64; 2],
    max_grad_norm: f64,
    r: usize,
    alpha: f64,
    epsilon: f64,
    rows: Vec<StepRow>,
    advantages: Vec<Vec<f64>>,
    steps: Vec<StepNumbers>,
    first_logprobs: Vec<Vec<f64>>,
    first_grad_norms: HashMap<String, f64>,
    final_norms: HashMap<String, f64>,
}

#[derive(Deserialize)]
struct StepRow {
    prompt: Vec<u32>,
    completion: Vec<u32>,
    mask: Vec<u8>,
}

#[derive(Deserialize)]
struct StepNumbers {
    loss: f64,
    kl: f64,
    grad_norm: f64,
    mean_logprob: f64,
}

fn golden_tiny() -> (ModelConfig, Weights) {
    let path = fixture("config.json");
    let config = ModelConfig::from_hf(&path, &std::fs::read_to_string(&path).unwrap(), None).unwrap();
    let mut tensors = candle_core::safetensors::load(fixture("golden_tiny.safetensors"), &Device::Cpu).unwrap();
    let mut take = |name: String| tensors.remove(&name).expect(&name);
    let layers = (0..config.num_layers)
        .map(|i| {
            let mut t = |part: &str| take(format!("model.layers.{i}.{part}.weight"));
            LayerWeights {
                input_norm: t("input_layernorm"),
                q: t("self_attn.q_proj"),
                k: t("self_attn.k_proj"),
                v: t("self_attn.v_proj"),
                o: t("self_attn.o_proj"),
                q_bias: None,
                k_bias: None,
                v_bias: None,
                q_norm: None,
                k_norm: None,
                post_norm: t("post_attention_layernorm"),
                gate: t("mlp.gate_proj"),
                up: t("mlp.up_proj"),
                down: t("mlp.down_proj"),
            }
        })
        .collect();
    let weights =
        Weights { layers, embed: take("model.embed_tokens.weight".into()), norm: take("model.norm.weight".into()), lm_head: None };
    (config, weights)
}

fn norm(x: &[f32]) -> f64 {
    x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}

fn close(got: f64, want: f64, tolerance: f64, what: &str) {
    // relative, but for the rounding of a sum whose terms are about 1
    assert!((got - want).abs() <= tolerance * want.abs() + 1e-7, "{what}: {got}, PyTorch {want}");
}

#[test]
fn ten_golden_steps_equal_pytorch() {
    let file: StepFile = read("lora_step.json");
    let (config, weights) = golden_tiny();
    let model = Transformer::new(&config, weights, 128, false).unwrap();
    let mut adapter = Adapter::new(&config, file.r, file.alpha, 0, DType::F32, &Device::Cpu).unwrap();
    let stored = candle_core::safetensors::load(fixture("golden_tiny_adapter.safetensors"), &Device::Cpu).unwrap();
    let names: Vec<String> = adapter.named().into_iter().map(|(n, _)| n).collect();
    for (name, slot) in names.iter().zip(adapter.tensors_mut()) {
        *slot = stored[name].clone();
    }
    let run = RunConfig {
        beta: file.beta,
        epsilon: file.epsilon,
        adam_beta1: file.betas[0],
        adam_beta2: file.betas[1],
        loss_type: LossType::Dapo,
        ..RunConfig::default()
    };
    let loss_config = LossConfig::of(&run);
    let mut optimizer = AdamW::new(&run, &adapter);
    let branches: Vec<Branch> = file
        .rows
        .chunk_by(|a, b| a.prompt == b.prompt)
        .map(|group| Branch {
            prompt: &group[0].prompt,
            completions: group.iter().map(|r| Target { ids: &r.completion, mask: &r.mask }).collect(),
        })
        .collect();
    assert_eq!(branches.len(), 2);
    let active: Vec<usize> = file.rows.iter().map(|r| r.mask.iter().map(|m| usize::from(*m)).sum()).collect();
    let token_weights = loss_config.weights(&active);
    assert_eq!(file.steps.len(), 10);
    for (step, (want, advantages)) in file.steps.iter().zip(&file.advantages).enumerate() {
        let (mut loss, mut kl, mut logprob, mut n) = (0.0, 0.0, 0.0, 0.0);
        let mut g = gradients(&model, &adapter, &branches, file.temperature, true, TOKENS_PER_MICRO_BATCH, |scored| {
            scored
                .iter()
                .map(|s| {
                    let lp = f64::from(s.policy.logprob);
                    if step == 0 {
                        close(lp, file.first_logprobs[s.row.completion][s.row.token], 2e-5, "first logprob");
                    }
                    let t = token_loss(&loss_config, lp, None, s.reference.map(f64::from), advantages[s.row.completion], 1.0);
                    let w = token_weights[s.row.completion];
                    (loss, kl, logprob, n) = (loss + w * t.loss, kl + t.kl, logprob + lp, n + 1.0);
                    w * t.d_logprob
                })
                .collect()
        })
        .unwrap()
        .tensors;
        if step == 0 {
            for (name, g) in names.iter().zip(&g) {
                close(norm(g), file.first_grad_norms[name], 2e-5, name);
            }
        }
        let grad_norm = clip(&mut g, file.max_grad_norm, step, file.lr).unwrap();
        optimizer.update(&mut adapter, &g, file.lr).unwrap();
        close(loss, want.loss, 1e-5, &format!("loss of step {step}"));
        close(kl / n, want.kl, 1e-5, &format!("kl of step {step}"));
        close(logprob / n, want.mean_logprob, 1e-5, &format!("mean logprob of step {step}"));
        close(grad_norm, want.grad_norm, 1e-5, &format!("gradient norm of step {step}"));
    }
    for (name, t) in adapter.named() {
        close(norm(&t.flatten_all().unwrap().to_vec1().unwrap()), file.final_norms[&name], 1e-5, &name);
    }
}

#[derive(Deserialize)]
struct AdamFile {
    betas: [f64; 2],
    max_grad_norm: f64,
    cases: Vec<AdamCase>,
}

#[derive(Deserialize)]
struct AdamCase {
    weight_decay: f64,
    params: Vec<AdamParam>,
    steps: Vec<AdamStep>,
    exp_avg: Vec<Vec<f64>>,
    exp_avg_sq: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct AdamParam {
    shape: Vec<usize>,
    values: Vec<f32>,
}

#[derive(Deserialize)]
struct AdamStep {
    lr: f64,
    grads: Vec<Vec<f32>>,
    grad_norm: f64,
    params: Vec<Vec<f64>>,
}

#[test]
fn adamw_and_clipping_equal_torch() {
    let file: AdamFile = read("adamw.json");
    for case in file.cases {
        let run =
            RunConfig { adam_beta1: file.betas[0], adam_beta2: file.betas[1], weight_decay: case.weight_decay, ..RunConfig::default() };
        // an adapter whose first two tensors are the case's parameters: the optimiser knows nothing of their meaning
        let tensor = |p: &AdamParam| Tensor::from_vec(p.values.clone(), p.shape.as_slice(), &Device::Cpu).unwrap();
        assert_eq!(case.params.len(), 2);
        let empty = || (Tensor::zeros((0,), DType::F32, &Device::Cpu).unwrap(), Tensor::zeros((0,), DType::F32, &Device::Cpu).unwrap());
        let layer = [(tensor(&case.params[0]), tensor(&case.params[1])), empty(), empty(), empty(), empty(), empty(), empty()];
        let mut adapter = Adapter { rank: 1, alpha: 1.0, pairs: vec![layer] };
        let mut optimizer = AdamW::new(&run, &adapter);
        for (i, step) in case.steps.iter().enumerate() {
            let mut grads = step.grads.clone();
            grads.resize(14, Vec::new());
            let norm = clip(&mut grads, file.max_grad_norm, i, step.lr).unwrap();
            close(norm, step.grad_norm, 1e-6, "gradient norm");
            optimizer.update(&mut adapter, &grads, step.lr).unwrap();
            let (a, b) = &adapter.pairs[0][0];
            for (got, want) in [a, b].into_iter().zip(&step.params) {
                for (g, w) in got.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().zip(want) {
                    close(f64::from(g), *w, 2e-6, "parameter");
                }
            }
        }
        for (got, want) in optimizer.first.iter().zip(&case.exp_avg).chain(optimizer.second.iter().zip(&case.exp_avg_sq)) {
            for (g, w) in got.iter().zip(want) {
                close(f64::from(*g), *w, 1e-6, "moment");
            }
        }
    }
}
