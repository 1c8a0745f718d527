//! What this crate promises about base models: they come in whole, right, or with a clear error.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod fetching;
mod golden;
mod tiny_base;

#[path = "../oracle/mod.rs"]
mod oracle;

use std::collections::HashMap;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use whetstone_model::tiny::SPECIAL_TOKENS;
use whetstone_model::weights::Base;

/// Writes a base as llama.cpp's converter would: GGUF names, q and k rows permuted.
fn write_gguf(base: &Base, path: &Path, change: impl FnOnce(&mut HashMap<String, Value>)) {
    let c = &base.config;
    let u32_of = |n: usize| Value::U32(n.try_into().unwrap());
    let text = |s: &str| Value::String(s.to_owned());
    let tokens: Vec<String> = {
        let json: serde_json::Value = serde_json::from_str(&base.tokenizer.to_json().unwrap()).unwrap();
        let vocab = json["model"]["vocab"].as_object().unwrap().clone();
        let mut by_id: Vec<_> = vocab.into_iter().collect();
        by_id.sort_by_key(|(_, id)| id.as_u64());
        by_id.into_iter().map(|(token, _)| token).collect()
    };
    let types = (0..tokens.len()).map(|i| Value::I32(if i < SPECIAL_TOKENS.len() { 3 } else { 1 }));
    let mut metadata = HashMap::from([
        ("general.architecture".to_owned(), text("llama")),
        ("llama.block_count".to_owned(), u32_of(c.num_layers)),
        ("llama.context_length".to_owned(), u32_of(c.max_position_embeddings)),
        ("llama.embedding_length".to_owned(), u32_of(c.hidden_size)),
        ("llama.feed_forward_length".to_owned(), u32_of(c.intermediate_size)),
        ("llama.attention.head_count".to_owned(), u32_of(c.num_heads)),
        ("llama.attention.head_count_kv".to_owned(), u32_of(c.num_kv_heads)),
        ("llama.attention.layer_norm_rms_epsilon".to_owned(), Value::F32(c.rms_norm_eps as f32)),
        ("llama.rope.freq_base".to_owned(), Value::F32(c.rope_theta as f32)),
        ("tokenizer.ggml.model".to_owned(), text("gpt2")),
        ("tokenizer.ggml.pre".to_owned(), text("smollm")),
        ("tokenizer.ggml.eos_token_id".to_owned(), u32_of(2)),
        ("tokenizer.ggml.bos_token_id".to_owned(), u32_of(1)),
        ("tokenizer.ggml.merges".to_owned(), Value::Array(Vec::new())),
        ("tokenizer.ggml.token_type".to_owned(), Value::Array(types.collect())),
        ("tokenizer.ggml.tokens".to_owned(), Value::Array(tokens.iter().map(|token| text(token)).collect())),
        ("tokenizer.chat_template".to_owned(), text(base.chat_template.source())),
    ]);
    change(&mut metadata);
    let mut tensors = Vec::new();
    for (name, tensor) in base.weights.named() {
        let heads = match name.as_str() {
            n if n.ends_with("q_proj.weight") => Some(c.num_heads),
            n if n.ends_with("k_proj.weight") => Some(c.num_kv_heads),
            _ => None,
        };
        let tensor = match heads {
            // llama.cpp, `LlamaModel.permute`: reshape(H, 2, D/2, E).swapaxes(1, 2)
            Some(heads) => {
                let (rows, e) = tensor.dims2().unwrap();
                let split = tensor.reshape((heads, 2, rows / heads / 2, e)).unwrap();
                split.transpose(1, 2).unwrap().contiguous().unwrap().reshape((rows, e)).unwrap()
            }
            None => tensor.clone(),
        };
        let name = name
            .replace("model.layers.", "blk.")
            .replace("self_attn.q_proj", "attn_q")
            .replace("self_attn.k_proj", "attn_k")
            .replace("self_attn.v_proj", "attn_v")
            .replace("self_attn.o_proj", "attn_output")
            .replace("post_attention_layernorm", "ffn_norm")
            .replace("input_layernorm", "attn_norm")
            .replace("mlp.gate_proj", "ffn_gate")
            .replace("mlp.up_proj", "ffn_up")
            .replace("mlp.down_proj", "ffn_down")
            .replace("model.embed_tokens", "token_embd")
            .replace("model.norm", "output_norm");
        tensors.push((name, QTensor::quantize(&tensor, GgmlDType::F32).unwrap()));
    }
    if !c.rope_divisors.is_empty() {
        let divisors: Vec<f32> = c.rope_divisors.iter().map(|d| *d as f32).collect();
        let tensor = Tensor::new(divisors, &Device::Cpu).unwrap();
        tensors.push(("rope_freqs.weight".to_owned(), QTensor::quantize(&tensor, GgmlDType::F32).unwrap()));
    }
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut file = std::fs::File::create(path).unwrap();
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
}
