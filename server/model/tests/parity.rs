//! Our transformer against candle-transformers and stored transformers values, and its gradients against finite
//! differences and plain autograd.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "oracle/mod.rs"]
mod oracle;

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use whetstone_model::config::ModelConfig;
use whetstone_model::packed::Packed;
use whetstone_model::testing::smollm2;
use whetstone_model::tiny::{tiny_base_with, write_base};
use whetstone_model::transformer::Transformer;
use whetstone_model::weights::Base;

fn last_logits(model: &Transformer, ids: &[u32]) -> Vec<f32> {
    let mut packed = Packed::default();
    packed.push(None, ids);
    let hidden = model.hidden(None, &packed).unwrap();
    let last = hidden.narrow(0, ids.len() - 1, 1).unwrap();
    whetstone_kernels::logits(&model.final_norm(&last).unwrap(), model.head(), 1.0).unwrap()
}

#[test]
fn logits_equal_candle_transformers_and_stored_transformers_values() {
    let base = smollm2().unwrap();
    let model = Transformer::new(&base.config, base.weights.clone(), 1024, false).unwrap();
    let golden: serde_json::Value = serde_json::from_str(include_str!("fixtures/logits.json")).unwrap();
    let oracle = oracle::Oracle::new(&base).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        let ours = last_logits(&model, &ids);
        let theirs = oracle.last_logits(&ids).unwrap();
        let difference = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).inspect(|d| assert!(d.is_finite())).fold(0.0, f32::max);
        assert!(difference < 1e-3, "{}: differs from candle-transformers by {difference}", case["name"]);
        let stored: Vec<f32> = serde_json::from_value(case["logits"].clone()).unwrap();
        let stride = case["stride"].as_u64().unwrap() as usize;
        let difference =
            stored.iter().enumerate().map(|(i, s)| (ours[i * stride] - s).abs()).inspect(|d| assert!(d.is_finite())).fold(0.0, f32::max);
        assert!(difference < 1e-3, "{}: differs from transformers by {difference}", case["name"]);
    }
}

/// The numbers of a tensor as `tests/golden/families.py` makes them.
fn number(name: &str, count: usize) -> Vec<f32> {
    let seed = name.bytes().fold(2_166_136_261u32, |h, byte| (h ^ u32::from(byte)).wrapping_mul(16_777_619)); // FNV-1a
    let number = |i: u32| {
        let mut h = i.wrapping_mul(2_654_435_761).wrapping_add(seed);
        h ^= h >> 15;
        h = h.wrapping_mul(2_246_822_519);
        h ^= h >> 13;
        let centred = (h >> 24) as f32 - 128.0;
        if name.ends_with("norm.weight") { 1.0 + (centred / 16.0).trunc() / 64.0 } else { centred / 256.0 }
    };
    (0..count as u32).map(number).collect()
}

#[test]
fn what_families_differ_by_gives_transformers_logits() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("fixtures/families.json")).unwrap();
    let ids: Vec<u32> = serde_json::from_value(golden["ids"].clone()).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let (name, text) = (&case["name"], case["config"].to_string());
        let config = ModelConfig::from_hf("config.json".as_ref(), &text, None).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let made = tiny_base_with(ModelConfig { rope_divisors: Vec::new(), ..config.clone() }, 0).unwrap();
        write_base(&made, folder.path()).unwrap();
        let stored = |(name, tensor): (String, &Tensor)| {
            let numbers = Tensor::from_vec(number(&name, tensor.elem_count()), tensor.dims(), &Device::Cpu).unwrap();
            (name, numbers.to_dtype(DType::BF16).unwrap())
        };
        let tensors: HashMap<String, Tensor> = made.weights.named().into_iter().map(stored).collect();
        candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        let base = Base::load(folder.path()).unwrap();
        assert_eq!(base.config, config);
        let model = Transformer::new(&base.config, base.weights, 512, false).unwrap();
        let theirs: Vec<f32> = serde_json::from_value(case["logits"].clone()).unwrap();
        let ours = last_logits(&model, &ids);
        assert_eq!(ours.len(), theirs.len());
        let difference = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).inspect(|d| assert!(d.is_finite())).fold(0.0, f32::max);
        assert!(difference < 2e-5, "{name}: differs from transformers by {difference}");
    }
}
