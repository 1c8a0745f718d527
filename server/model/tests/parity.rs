//! Our transformer against candle-transformers and stored transformers values, and its gradients against finite
//! differences and plain autograd.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "oracle/mod.rs"]
mod oracle;

use candle_core::{DType, Tensor};
use whetstone_model::packed::Packed;
use whetstone_model::testing::smollm2;
use whetstone_model::transformer::Transformer;

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
    let model = Transformer::new(&base.config, &base.weights, 1024, false).unwrap();
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
    let _ = (DType::F32, Tensor::new(0f32, &candle_core::Device::Cpu).unwrap());
}
