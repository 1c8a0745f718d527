//! The shape of a base model: what the one transformer needs to know to be Llama, Qwen2 or Qwen3.
//!
//! In: a Hugging Face config.json (GGUF metadata: see `gguf`). Out: [`ModelConfig`], checked.
//! Families differ by flags here, never by a second transformer. No weights are read.

use std::path::Path;

use serde::Deserialize;

use crate::error::{ModelError, Result};

/// Which family a base belongs to; decides names and chat conventions, not arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Llama, SmolLM2 and their like.
    Llama,
    /// Qwen2 and Qwen2.5: bias on q, k and v.
    Qwen2,
    /// Qwen3: normalised q and k heads.
    Qwen3,
}

impl Family {
    /// The family of an `architectures` entry, a `model_type` or a GGUF architecture.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "LlamaForCausalLM" | "llama" => Some(Self::Llama),
            "Qwen2ForCausalLM" | "qwen2" => Some(Self::Qwen2),
            "Qwen3ForCausalLM" | "qwen3" => Some(Self::Qwen3),
            _ => None,
        }
    }

    /// The name in Hugging Face's `architectures`.
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
        }
    }

    /// The name in Hugging Face's `model_type` and in GGUF's `general.architecture`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

/// Sizes and flags of a decoder-only transformer.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// E: width of the residual stream.
    pub hidden_size: usize,
    /// F: width of the gated mlp.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_layers: usize,
    /// H: query heads.
    pub num_heads: usize,
    /// K: key and value heads; divides H.
    pub num_kv_heads: usize,
    /// D: width of one head; even. H*D need not equal E.
    pub head_dim: usize,
    /// V: rows of the embedding, at least the number of tokens.
    pub vocab_size: usize,
    /// Added to the mean square in every RMS norm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// What each of the D/2 rotary frequencies is divided by (Llama 3.1 and later); empty = nothing is.
    pub rope_divisors: Vec<f64>,
    /// The output head is the embedding.
    pub tie_word_embeddings: bool,
    /// q, k and v have a bias (Qwen2).
    pub qkv_bias: bool,
    /// Every q and k head is RMS-normalised before the rotation (Qwen3).
    pub qk_norm: bool,
    /// Longest sequence that the base was trained for, in tokens.
    pub max_position_embeddings: usize,
    /// Tokens that end a completion; ascending, may be empty for a base without one.
    pub eos_token_ids: Vec<u32>,
    /// The family.
    pub family: Family,
}

impl ModelConfig {
    /// H*D: rows of the query projection.
    pub fn q_rows(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// K*D: rows of the key and of the value projection.
    pub fn kv_rows(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// Reads the text of a config.json and, where there is one, of a generation_config.json
    /// (whose `eos_token_id` is the one that ends a chat turn). `path` is for messages only.
    pub fn from_hf(path: &Path, config: &str, generation: Option<&str>) -> Result<Self> {
        let bad_json = |e| ModelError::config(path, format!("not a usable config.json: {e}"));
        // The architecture first: another model's file should be named, not its missing keys.
        let kind: HfKind = serde_json::from_str(config).map_err(bad_json)?;
        let names = kind.architectures.unwrap_or_default();
        let name = names.first().cloned().or(kind.model_type).unwrap_or_default();
        let Some(family) = Family::from_name(&name) else {
            return Err(ModelError::unsupported(path, format!("architecture `{name}`")));
        };
        let raw: HfConfig = serde_json::from_str(config).map_err(bad_json)?;
        let unsupported = |what: String| Err(ModelError::unsupported(path, what));
        let rope = raw.rope_parameters.or(raw.rope_scaling).unwrap_or_default();
        if raw.hidden_act.as_deref().is_some_and(|a| a != "silu") {
            return unsupported(format!("hidden_act `{}`", raw.hidden_act.unwrap_or_default()));
        }
        for (key, on) in [
            ("mlp_bias", raw.mlp_bias),
            ("use_sliding_window", raw.use_sliding_window),
            ("attention_bias", raw.attention_bias && family != Family::Qwen2),
        ] {
            if on {
                return unsupported(format!("`{key}: true`"));
            }
        }
        if raw.partial_rotary_factor.or(rope.partial_rotary_factor).is_some_and(|f| f != 1.0) {
            return unsupported("partial_rotary_factor other than 1".to_owned());
        }
        let mut eos_token_ids = raw.eos_token_id.map(OneOrMany::into_vec).unwrap_or_default();
        if let Some(text) = generation {
            let generation: HfGeneration = serde_json::from_str(text).map_err(|e| {
                let path = path.with_file_name("generation_config.json");
                ModelError::config(&path, format!("not a usable generation_config.json: {e}"))
            })?;
            eos_token_ids.extend(generation.eos_token_id.map(OneOrMany::into_vec).unwrap_or_default());
        }
        let head_dim = raw.head_dim.unwrap_or_else(|| raw.hidden_size.checked_div(raw.num_attention_heads).unwrap_or(0));
        let rope_theta = rope.rope_theta.or(raw.rope_theta).unwrap_or(10_000.0);
        let is_llama3 = match rope.rope_type.as_deref().or(rope.kind.as_deref()) {
            None | Some("default") => false,
            Some("llama3") => true,
            Some(kind) => return unsupported(format!("rope scaling `{kind}`")),
        };
        let config = Self {
            hidden_size: raw.hidden_size,
            intermediate_size: raw.intermediate_size,
            num_layers: raw.num_hidden_layers,
            num_heads: raw.num_attention_heads,
            num_kv_heads: raw.num_key_value_heads.unwrap_or(raw.num_attention_heads),
            head_dim,
            vocab_size: raw.vocab_size,
            rms_norm_eps: raw.rms_norm_eps,
            rope_theta,
            rope_divisors: Vec::new(),
            tie_word_embeddings: raw.tie_word_embeddings,
            qkv_bias: family == Family::Qwen2,
            qk_norm: family == Family::Qwen3,
            max_position_embeddings: raw.max_position_embeddings,
            eos_token_ids,
            family,
        }
        .checked(path)?;
        if !is_llama3 {
            return Ok(config);
        }
        let context = raw.original_max_position_embeddings.or(rope.original_max_position_embeddings);
        let rope_divisors = rope.llama3(context, config.head_dim, rope_theta).map_err(|reason| ModelError::config(path, reason))?;
        Self { rope_divisors, ..config }.checked(path)
    }

    /// Refuses sizes that no model can have, so that arithmetic on them is safe later.
    pub(crate) fn checked(mut self, path: &Path) -> Result<Self> {
        let fail = |reason: String| Err(ModelError::config(path, reason));
        for (key, size) in [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_layers),
            ("num_attention_heads", self.num_heads),
            ("num_key_value_heads", self.num_kv_heads),
            ("head_dim", self.head_dim),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            if !(1..=1 << 28).contains(&size) {
                return fail(format!("`{key}` is {size}; expected a number from 1 to {}", 1 << 28));
            }
        }
        let (heads, kv_heads) = (self.num_heads, self.num_kv_heads);
        if !heads.is_multiple_of(kv_heads) {
            return fail(format!("{heads} query heads are not a multiple of {kv_heads} kv heads"));
        }
        if !self.head_dim.is_multiple_of(2) {
            return fail(format!("`head_dim` is {}; rotary positions need it even", self.head_dim));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps > 0.0) {
            return fail(format!("`rms_norm_eps` is {}; expected above 0", self.rms_norm_eps));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return fail(format!("`rope_theta` is {}; expected above 0", self.rope_theta));
        }
        let (divisors, frequencies) = (self.rope_divisors.len(), self.head_dim / 2);
        if divisors > 0 && divisors != frequencies {
            return fail(format!("{divisors} divisors of {frequencies} rotary frequencies"));
        }
        if let Some(bad) = self.rope_divisors.iter().find(|d| !(d.is_finite() && **d > 0.0)) {
            return fail(format!("a rotary frequency is divided by {bad}; expected above 0"));
        }
        self.eos_token_ids.sort_unstable();
        self.eos_token_ids.dedup();
        if let Some(id) = self.eos_token_ids.iter().find(|&&id| id as usize >= self.vocab_size) {
            return fail(format!("`eos_token_id` {id} is outside a vocabulary of {}", self.vocab_size));
        }
        Ok(self)
    }
}

#[derive(Deserialize)]
struct HfKind {
    architectures: Option<Vec<String>>,
    model_type: Option<String>,
}

#[derive(Deserialize)]
struct HfGeneration {
    eos_token_id: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}

/// `rope_scaling` of transformers 4 and `rope_parameters` of transformers 5.
#[derive(Deserialize, Default)]
struct HfRope {
    rope_type: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    partial_rotary_factor: Option<f64>,
}

impl HfRope {
    /// `llama3`: frequencies whose waves are long beside the context that the base was first trained for are divided by `factor`, short
    /// ones by nothing, those between by something between (transformers' `_compute_llama3_parameters`).
    fn llama3(&self, context: Option<f64>, head_dim: usize, theta: f64) -> std::result::Result<Vec<f64>, String> {
        let need = |key: &str, value: Option<f64>| match value {
            Some(x) if x.is_finite() && x > 0.0 => Ok(x),
            Some(x) => Err(format!("rope scaling `llama3` with `{key}` {x}; expected above 0")),
            None => Err(format!("rope scaling `llama3` without `{key}`")),
        };
        let factor = need("factor", self.factor)?;
        let (low, high) = (need("low_freq_factor", self.low_freq_factor)?, need("high_freq_factor", self.high_freq_factor)?);
        let context = need("original_max_position_embeddings", context)?;
        if low >= high {
            return Err(format!("rope scaling `llama3` with `low_freq_factor` {low}, not below `high_freq_factor` {high}"));
        }
        let divisor = |i: usize| {
            let wave = std::f64::consts::TAU * theta.powf(2.0 * i as f64 / head_dim as f64);
            let kept = ((context / wave - low) / (high - low)).clamp(0.0, 1.0);
            1.0 / ((1.0 - kept) / factor + kept)
        };
        Ok((0..head_dim / 2).map(divisor).collect())
    }
}

#[derive(Deserialize)]
struct HfConfig {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_scaling: Option<HfRope>,
    rope_parameters: Option<HfRope>,
    max_position_embeddings: usize,
    #[serde(default)]
    tie_word_embeddings: bool,
    eos_token_id: Option<OneOrMany>,
    hidden_act: Option<String>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default)]
    use_sliding_window: bool,
    partial_rotary_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
}
