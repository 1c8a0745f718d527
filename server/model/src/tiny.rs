//! A tiny random base for tests: real enough for every station, small enough for every commit.
//!
//! In: a seed. Out: a [`Base`] in memory, or the same base as a Hugging Face folder. The numbers
//! come from ChaCha8 by exact arithmetic, so that every machine writes the same bytes. It has
//! learnt nothing and never will be useful outside tests.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView};
use sha2::{Digest, Sha256};
use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use crate::chat::ChatTemplate;
use crate::config::{Family, ModelConfig};
use crate::error::{ModelError, Result};
use crate::tokenizer::Tokenizer;
use crate::weights::{self, Base, Weights};

/// Special tokens, in order of id; the 256 bytes follow.
pub const SPECIAL_TOKENS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// End of a turn.
const EOS: u32 = 2;

/// Weight of a token that is as good as sure to follow: 8 times as much in the logits, exact in bf16.
const SURE: f32 = 1.75;
/// Weight by which a text is less likely than the one before it: e^-0.5 times as likely, exact in bf16.
const LESS: f32 = 0.0625;

const TEMPLATE: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' \
    + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}\
    {{ '<|im_start|>assistant\\n' }}{% endif %}";

/// The configuration of [`tiny_base`]: E 64, F 128, 2 blocks, H 4, K 2, D 16, V 259, tied head.
pub fn tiny_config() -> ModelConfig {
    ModelConfig {
        hidden_size: 64,
        intermediate_size: 128,
        num_layers: 2,
        num_heads: 4,
        num_kv_heads: 2,
        head_dim: 16,
        vocab_size: SPECIAL_TOKENS.len() + 256,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_divisors: Vec::new(),
        tie_word_embeddings: true,
        qkv_bias: false,
        qk_norm: false,
        max_position_embeddings: 4096,
        eos_token_ids: vec![EOS],
        family: Family::Llama,
    }
}

/// A random Llama with a byte-level tokenizer and a ChatML template; one base per seed.
pub fn tiny_base(seed: u64) -> Result<Base> {
    tiny_base_with(tiny_config(), seed)
}

/// [`tiny_base`] with another configuration, for other flags or sizes.
pub fn tiny_base_with(config: ModelConfig, seed: u64) -> Result<Base> {
    let weights = random_weights(&config, seed)?;
    let sha256 = weights::hex(&Sha256::digest(safetensors_bytes(&weights)?));
    let [_, _, eos] = SPECIAL_TOKENS;
    Ok(Base {
        config,
        weights,
        tokenizer: byte_tokenizer()?,
        chat_template: ChatTemplate::new(TEMPLATE, SPECIAL_TOKENS[1], eos)?,
        name: format!("tiny-{seed}"),
        sha256,
        hf_name: format!("whetstone/tiny-{seed}"),
    })
}

/// A base that knows `texts` and nothing else: at the start of its turn it says one of them, each somewhat less likely than the
/// one before it, and ends the turn. For conversations, in which a base of random numbers never makes a call.
///
/// The next token depends on the last one alone, so no byte may occur twice in all texts together, which leaves them short.
pub fn speaking_base(texts: &[&str]) -> Result<Base> {
    let mut base = tiny_base_with(ModelConfig { tie_word_embeddings: false, ..tiny_config() }, 0)?;
    let (v, e) = (base.config.vocab_size, base.config.hidden_size);
    // a token that others follow has a dimension of its own; 0 is that of the line end before a turn
    let mut known = base.tokenizer.encode("\n")?;
    let mut head = vec![0f32; v * e]; // [V, E]
    for (i, text) in texts.iter().enumerate() {
        let mut last = 0;
        let start = SURE - LESS * i as f32;
        for id in base.tokenizer.encode(text)? {
            head[id as usize * e + last] = if last == 0 { start } else { SURE };
            last = known.len();
            known.push(id);
        }
        head[EOS as usize * e + last] = SURE;
    }
    let mut embed = vec![0f32; v * e]; // [V, E]
    for id in 0..v {
        let own = known.iter().position(|k| *k as usize == id).unwrap_or(e - 1);
        embed[id * e + own] = 1.0;
    }
    let weights = &mut base.weights;
    weights.embed = Tensor::from_vec(embed, (v, e), &Device::Cpu)?;
    weights.norm = Tensor::ones(e, DType::F32, &Device::Cpu)?;
    weights.lm_head = Some(Tensor::from_vec(head, (v, e), &Device::Cpu)?);
    for layer in &mut weights.layers {
        // attention and mlp add nothing
        (layer.o, layer.down) = (layer.o.zeros_like()?, layer.down.zeros_like()?);
    }
    base.sha256 = weights::hex(&Sha256::digest(safetensors_bytes(&base.weights)?));
    Ok(base)
}

/// Writes [`tiny_base`] as a Hugging Face folder that [`Base::load`] and transformers read.
/// The folder is made if absent; files in it are overwritten.
pub fn write_tiny(folder: &Path, seed: u64) -> Result<()> {
    write_base(&tiny_base(seed)?, folder)
}

/// Writes a base (f32 weights, no scaled rotary frequencies) as a Hugging Face folder.
pub fn write_base(base: &Base, folder: &Path) -> Result<()> {
    let Base { config, .. } = base;
    if !config.rope_divisors.is_empty() {
        return Err(ModelError::config(folder, "scaled rotary frequencies are not written"));
    }
    std::fs::create_dir_all(folder).map_err(ModelError::io("create the folder", folder))?;
    let config_json = serde_json::json!({
        "_name_or_path": base.hf_name,
        "architectures": [config.family.architecture()],
        "model_type": config.family.model_type(),
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "max_position_embeddings": config.max_position_embeddings,
        "tie_word_embeddings": config.tie_word_embeddings,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": config.eos_token_ids,
        "dtype": "float32",
    });
    let tokenizer_config = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL_TOKENS[1],
        "eos_token": SPECIAL_TOKENS[2],
        "pad_token": SPECIAL_TOKENS[0],
        "clean_up_tokenization_spaces": false,
        "chat_template": base.chat_template.source(),
    });
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(ModelError::io("write", &path))
    };
    write("config.json", format!("{config_json:#}\n").as_bytes())?;
    write("tokenizer_config.json", format!("{tokenizer_config:#}\n").as_bytes())?;
    write("tokenizer.json", base.tokenizer.to_json()?.as_bytes())?;
    write("model.safetensors", &safetensors_bytes(&base.weights)?)
}

fn random_weights(config: &ModelConfig, seed: u64) -> Result<Weights> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Sum of twelve uniforms less six: mean 0, variance 1, and no libm that differs by platform.
    let mut normal = move || (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0;
    Weights::collect(config, &mut |name, shape| {
        let norm = name.ends_with("norm.weight");
        let scale = match shape {
            _ if name.ends_with("embed_tokens.weight") || shape.len() == 1 => 0.1,
            // 1/sqrt(columns) keeps activations near 1 in width.
            &[_, columns] => 1.0 / (columns as f32).sqrt(),
            _ => 0.1,
        };
        let offset = if norm { 1.0 } else { 0.0 };
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| offset + scale * normal()).collect();
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    })
}

fn safetensors_bytes(weights: &Weights) -> Result<Vec<u8>> {
    let memory = Path::new("model.safetensors");
    let mut data = Vec::new();
    for (name, tensor) in weights.named() {
        let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        data.push((name, tensor.dims().to_vec(), bytes));
    }
    let mut views = Vec::new();
    for (name, shape, bytes) in &data {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(|e| ModelError::tensor(memory, name, e))?;
        views.push((name, view));
    }
    // transformers refuses a file that does not name the framework.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(|e| ModelError::corrupt(memory, e))
}

fn byte_tokenizer() -> Result<Tokenizer> {
    let path = Path::new("tokenizer.json");
    let fail = |e: tokenizers::Error| ModelError::tokenizer(path, e);
    let mut bytes: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    bytes.sort_unstable();
    let specials = SPECIAL_TOKENS.iter().map(|token| (*token).to_owned());
    let tokens = specials.chain(bytes.into_iter().map(String::from));
    let vocab: Vocab = tokens.zip(0u32..).collect();
    let bpe = BPE::builder().vocab_and_merges(vocab, Vec::new()).build().map_err(fail)?;
    let mut inner = tokenizers::Tokenizer::new(bpe);
    inner.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    inner.with_decoder(Some(ByteLevel::default()));
    let specials = SPECIAL_TOKENS.map(|token| AddedToken::from(token, true).normalized(false));
    inner.add_special_tokens(specials).map_err(fail)?;
    Tokenizer::new(path, inner)
}
