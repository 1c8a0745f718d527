//! A base model in memory: frozen weights, tokenizer, chat template and where they came from.
//!
//! In: a GGUF file or a Hugging Face folder. Out: [`Base`]. Weights are always stored in Hugging
//! Face's layout (rows of q and k for the half-split rotation), whatever the file's layout was.
//! Nothing here computes a forward pass or changes a weight.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use sha2::{Digest, Sha256};

use crate::chat::ChatTemplate;
use crate::config::ModelConfig;
use crate::error::{ModelError, Result};
use crate::tokenizer::Tokenizer;

/// The frozen weights of one block; every matrix is `[rows out, columns in]`, contiguous.
#[derive(Debug, Clone)]
pub struct LayerWeights {
    /// Norm before attention, `[E]`.
    pub input_norm: Tensor,
    /// Query projection, `[H*D, E]`.
    pub q: Tensor,
    /// Key projection, `[K*D, E]`.
    pub k: Tensor,
    /// Value projection, `[K*D, E]`.
    pub v: Tensor,
    /// Output projection, `[E, H*D]`.
    pub o: Tensor,
    /// Query bias, `[H*D]`, where `qkv_bias`.
    pub q_bias: Option<Tensor>,
    /// Key bias, `[K*D]`, where `qkv_bias`.
    pub k_bias: Option<Tensor>,
    /// Value bias, `[K*D]`, where `qkv_bias`.
    pub v_bias: Option<Tensor>,
    /// Norm of every query head, `[D]`, where `qk_norm`.
    pub q_norm: Option<Tensor>,
    /// Norm of every key head, `[D]`, where `qk_norm`.
    pub k_norm: Option<Tensor>,
    /// Norm before the mlp, `[E]`.
    pub post_norm: Tensor,
    /// Gate projection, `[F, E]`.
    pub gate: Tensor,
    /// Up projection, `[F, E]`.
    pub up: Tensor,
    /// Down projection, `[E, F]`.
    pub down: Tensor,
}

/// All frozen weights of a base, contiguous, on one device: as they are loaded on the CPU, each as narrow as its file has it (bf16, f16),
/// else f32.
#[derive(Debug, Clone)]
pub struct Weights {
    /// Token embedding, `[V, E]`.
    pub embed: Tensor,
    /// The blocks, first to last.
    pub layers: Vec<LayerWeights>,
    /// Norm before the head, `[E]`.
    pub norm: Tensor,
    /// Output head, `[V, E]`; None where it is the embedding.
    pub lm_head: Option<Tensor>,
}

impl Weights {
    /// Asks `get` for every tensor that `config` calls for, by Hugging Face name and shape.
    pub(crate) fn collect(config: &ModelConfig, get: &mut dyn FnMut(&str, &[usize]) -> Result<Tensor>) -> Result<Self> {
        let &ModelConfig { hidden_size: e, intermediate_size: f, head_dim: d, vocab_size: v, .. } = config;
        let (q_rows, kv_rows) = (config.q_rows(), config.kv_rows());
        let embed = get("model.embed_tokens.weight", &[v, e])?; // [V, E]
        let mut layers = Vec::new();
        for i in 0..config.num_layers {
            let mut part = |name: &str, shape: &[usize]| get(&layer_name(i, name), shape);
            let bias = config.qkv_bias;
            layers.push(LayerWeights {
                input_norm: part(INPUT_NORM, &[e])?,
                q: part(Q, &[q_rows, e])?,
                k: part(K, &[kv_rows, e])?,
                v: part(V, &[kv_rows, e])?,
                o: part(O, &[e, q_rows])?,
                q_bias: bias.then(|| part(Q_BIAS, &[q_rows])).transpose()?,
                k_bias: bias.then(|| part(K_BIAS, &[kv_rows])).transpose()?,
                v_bias: bias.then(|| part(V_BIAS, &[kv_rows])).transpose()?,
                q_norm: config.qk_norm.then(|| part(Q_NORM, &[d])).transpose()?,
                k_norm: config.qk_norm.then(|| part(K_NORM, &[d])).transpose()?,
                post_norm: part(POST_NORM, &[e])?,
                gate: part(GATE, &[f, e])?,
                up: part(UP, &[f, e])?,
                down: part(DOWN, &[e, f])?,
            });
        }
        let norm = get("model.norm.weight", &[e])?; // [E]
        let tied = config.tie_word_embeddings;
        let lm_head = (!tied).then(|| get("lm_head.weight", &[v, e])).transpose()?; // [V, E]
        Ok(Self { embed, layers, norm, lm_head })
    }

    /// Every tensor under its Hugging Face name, in a fixed order.
    pub fn named(&self) -> Vec<(String, &Tensor)> {
        let mut named = vec![("model.embed_tokens.weight".to_owned(), &self.embed)];
        for (i, layer) in self.layers.iter().enumerate() {
            let parts = [
                (INPUT_NORM, Some(&layer.input_norm)),
                (Q, Some(&layer.q)),
                (K, Some(&layer.k)),
                (V, Some(&layer.v)),
                (O, Some(&layer.o)),
                (Q_BIAS, layer.q_bias.as_ref()),
                (K_BIAS, layer.k_bias.as_ref()),
                (V_BIAS, layer.v_bias.as_ref()),
                (Q_NORM, layer.q_norm.as_ref()),
                (K_NORM, layer.k_norm.as_ref()),
                (POST_NORM, Some(&layer.post_norm)),
                (GATE, Some(&layer.gate)),
                (UP, Some(&layer.up)),
                (DOWN, Some(&layer.down)),
            ];
            named.extend(parts.into_iter().filter_map(|(n, t)| Some((layer_name(i, n), t?))));
        }
        named.push(("model.norm.weight".to_owned(), &self.norm));
        named.extend(self.lm_head.as_ref().map(|head| ("lm_head.weight".to_owned(), head)));
        named
    }

    /// The same weights in one other dtype, such as f64 for gradient checks.
    pub fn to_dtype(&self, config: &ModelConfig, dtype: DType) -> Result<Self> {
        self.each(config, |tensor| tensor.to_dtype(dtype))
    }

    /// The same weights elsewhere.
    pub fn to_device(&self, config: &ModelConfig, device: &Device) -> Result<Self> {
        self.each(config, |tensor| tensor.to_device(device))
    }

    fn each(&self, config: &ModelConfig, change: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> Result<Self> {
        let named: std::collections::HashMap<_, _> = self.named().into_iter().collect();
        Self::collect(config, &mut |name, _| match named.get(name) {
            Some(tensor) => Ok(change(tensor)?),
            None => Err(ModelError::tensor(Path::new("weights in memory"), name, "missing")),
        })
    }
}

pub(crate) const INPUT_NORM: &str = "input_layernorm.weight";
pub(crate) const Q: &str = "self_attn.q_proj.weight";
pub(crate) const K: &str = "self_attn.k_proj.weight";
pub(crate) const V: &str = "self_attn.v_proj.weight";
pub(crate) const O: &str = "self_attn.o_proj.weight";
pub(crate) const Q_BIAS: &str = "self_attn.q_proj.bias";
pub(crate) const K_BIAS: &str = "self_attn.k_proj.bias";
pub(crate) const V_BIAS: &str = "self_attn.v_proj.bias";
pub(crate) const Q_NORM: &str = "self_attn.q_norm.weight";
pub(crate) const K_NORM: &str = "self_attn.k_norm.weight";
pub(crate) const POST_NORM: &str = "post_attention_layernorm.weight";
pub(crate) const GATE: &str = "mlp.gate_proj.weight";
pub(crate) const UP: &str = "mlp.up_proj.weight";
pub(crate) const DOWN: &str = "mlp.down_proj.weight";

fn layer_name(layer: usize, part: &str) -> String {
    format!("model.layers.{layer}.{part}")
}

/// A base model, ready for a transformer to be built on it.
#[derive(Debug, Clone)]
pub struct Base {
    /// Sizes and flags.
    pub config: ModelConfig,
    /// The frozen weights.
    pub weights: Weights,
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// Messages to text.
    pub chat_template: ChatTemplate,
    /// Short name: of a fetched model its name, else the folder's or the file's.
    pub name: String,
    /// Hex SHA-256 of the weights file; of several shards, of their digests in order of file name.
    pub sha256: String,
    /// What an exported adapter names as `base_model_name_or_path`.
    pub hf_name: String,
}

impl Base {
    /// Loads a GGUF file, a Hugging Face folder, or a folder that holds one GGUF file.
    pub fn load(path: &Path) -> Result<Self> {
        match file_of(path)? {
            Some(gguf) => crate::gguf::load(&gguf),
            None => crate::hf::load(path),
        }?
        .checked(path)
    }

    /// The shape of what [`Base::load`] loads; no weights are read.
    pub fn shape(path: &Path) -> Result<ModelConfig> {
        match file_of(path)? {
            Some(gguf) => crate::gguf::shape(&gguf),
            None => crate::hf::shape(path),
        }
    }

    /// Hands the weights over to whoever arranges them; what stays is the words around them, with no layers.
    pub fn take_weights(&mut self) -> Weights {
        let norm = self.weights.norm.clone();
        std::mem::replace(&mut self.weights, Weights { embed: norm.clone(), layers: Vec::new(), norm, lm_head: None })
    }

    /// The tokenizer may not produce ids that the embedding has no row for.
    fn checked(self, path: &Path) -> Result<Self> {
        let (tokens, rows) = (self.tokenizer.vocab_size(), self.config.vocab_size);
        if tokens > rows {
            let reason = format!("{tokens} tokens, but the model has only {rows} embedding rows");
            return Err(ModelError::tokenizer(path, reason));
        }
        Ok(self)
    }
}

/// The GGUF file that a path means; none where it is a Hugging Face folder.
fn file_of(path: &Path) -> Result<Option<std::path::PathBuf>> {
    let meta = std::fs::metadata(path).map_err(ModelError::io("open the model", path))?;
    if meta.is_file() {
        return Ok(Some(path.to_path_buf()));
    }
    if path.join("config.json").is_file() { Ok(None) } else { only_gguf(path).map(Some) }
}

/// The one GGUF file of a folder.
pub(crate) fn only_gguf(folder: &Path) -> Result<std::path::PathBuf> {
    let read = || ModelError::io("list the folder", folder);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read())? {
        let path = entry.map_err(read())?.path();
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) {
            found.push(path);
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(ModelError::Missing {
            path: folder.join("config.json"),
            what: "a model folder holds config.json and safetensors, or one .gguf file".to_owned(),
        }),
        n => Err(ModelError::config(folder, format!("{n} .gguf files; name the one to load"))),
    }
}

/// What `fetch` writes beside the weights: where they came from.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Source {
    /// The model's short name.
    pub name: String,
    /// The Hugging Face repository whose weights these are or derive from.
    pub hf_name: String,
    /// Where the files were downloaded.
    pub origin: String,
    /// Hex SHA-256 of the weights file.
    pub sha256: String,
}

impl Source {
    pub(crate) const FILE: &str = "source.json";

    /// The record in a model's folder, if there is a readable one.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(Self::FILE)).ok()?).ok()
    }
}

pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hex SHA-256 of a file, read in pieces.
pub(crate) fn sha256_file(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).map_err(ModelError::io("open", path))?;
    let mut hasher = Sha256::new();
    std::io::copy(&mut file, &mut hasher).map_err(ModelError::io("read", path))?;
    Ok(hex(&hasher.finalize()))
}
