//! Parity oracle: candle-transformers' own f32 Llama on our weights.
//!
//! In: a base of the Llama family and token ids. Out: logits of the last position. Include it with
//! `#[path = "../oracle/mod.rs"] mod oracle;`.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Config, Llama};
use whetstone_model::weights::Base;

/// A reference model over the base's weights; no weight is copied.
pub struct Oracle {
    model: Llama,
    config: Config,
}

impl Oracle {
    pub fn new(base: &Base) -> candle_core::Result<Self> {
        let c = &base.config;
        let config = Config {
            hidden_size: c.hidden_size,
            intermediate_size: c.intermediate_size,
            vocab_size: c.vocab_size,
            num_hidden_layers: c.num_layers,
            num_attention_heads: c.num_heads,
            num_key_value_heads: c.num_kv_heads,
            use_flash_attn: false,
            rms_norm_eps: c.rms_norm_eps,
            rope_theta: c.rope_theta as f32,
            bos_token_id: None,
            eos_token_id: None,
            rope_scaling: None,
            max_position_embeddings: c.max_position_embeddings,
            tie_word_embeddings: c.tie_word_embeddings,
        };
        let named = base.weights.named().into_iter().map(|(name, tensor)| (name, tensor.clone()));
        let tensors: HashMap<String, Tensor> = named.collect();
        let builder = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        Ok(Self { model: Llama::load(builder, &config)?, config })
    }

    /// Logits of the position after the last of `ids`, `[V]`.
    pub fn last_logits(&self, ids: &[u32]) -> candle_core::Result<Vec<f32>> {
        let mut cache = Cache::new(false, DType::F32, &self.config, &Device::Cpu)?;
        let ids = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?; // [1, T]
        self.model.forward(&ids, 0, &mut cache)?.squeeze(0)?.to_vec1()
    }
}
