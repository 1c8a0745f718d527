//! Reads a base from a Hugging Face folder: config.json, safetensors, tokenizer, chat template.
//!
//! In: a folder. Out: [`Base`]. One shard is in memory at a time, beside the weights, which stay as narrow as they are.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use candle_core::safetensors::SliceSafetensors;
use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::chat::ChatTemplate;
use crate::config::ModelConfig;
use crate::error::{ModelError, Result};
use crate::tokenizer::Tokenizer;
use crate::weights::{self, Base, Source, Weights};

/// The shape of a Hugging Face folder's model.
pub(crate) fn shape(folder: &Path) -> Result<ModelConfig> {
    let path = folder.join("config.json");
    let generation = read_optional(&folder.join("generation_config.json"))?;
    ModelConfig::from_hf(&path, &read_text(&path)?, generation.as_deref())
}

/// Loads a Hugging Face folder.
pub(crate) fn load(folder: &Path) -> Result<Base> {
    let config = shape(folder)?;
    let tokenizer = Tokenizer::from_file(&folder.join("tokenizer.json"))?;
    let chat_template = chat_template(folder)?;
    let (weights, sha256) = read_weights(folder, &config)?;
    let folder_name = || {
        let full = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
        full.file_name().unwrap_or_default().to_string_lossy().into_owned()
    };
    let (name, hf_name) = match Source::read(folder).filter(|source| source.sha256 == sha256) {
        Some(source) => (source.name, source.hf_name),
        None => (folder_name(), hub_name(&read_text(&folder.join("config.json"))?).unwrap_or_else(folder_name)),
    };
    Ok(Base { config, weights, tokenizer, chat_template, name, sha256, hf_name })
}

/// The repository a config.json says it came from (`owner/name`; never a local path).
fn hub_name(config: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(config).ok()?;
    let name = value.get("_name_or_path")?.as_str()?;
    let hub = name.split('/').count() == 2 && !name.starts_with(['/', '.', '~']);
    hub.then(|| name.to_owned())
}

fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidData => ModelError::corrupt(path, "it is not UTF-8 text"),
        _ => ModelError::io("read", path)(e),
    })
}

fn read_optional(path: &Path) -> Result<Option<String>> {
    path.is_file().then(|| read_text(path)).transpose()
}

fn chat_template(folder: &Path) -> Result<ChatTemplate> {
    let path = folder.join("tokenizer_config.json");
    let config: TokenizerConfig = match read_optional(&path)? {
        Some(text) => {
            serde_json::from_str(&text).map_err(|e| ModelError::config(&path, format!("not a usable tokenizer_config.json: {e}")))?
        }
        None => TokenizerConfig::default(),
    };
    let source = match (read_optional(&folder.join("chat_template.jinja"))?, config.chat_template) {
        (Some(source), _) => source,
        (None, Some(Templates::One(source))) => source,
        (None, Some(Templates::Named(named))) => {
            let names: Vec<_> = named.iter().map(|t| t.name.clone()).collect();
            named.into_iter().find(|t| t.name == "default").map(|t| t.template).ok_or_else(|| {
                let reason = format!("`chat_template` has no entry `default`, only {names:?}");
                ModelError::config(&path, reason)
            })?
        }
        (None, None) => {
            let what = "no chat_template.jinja and no `chat_template`: a base without chat format";
            return Err(ModelError::config(&path, format!("{what}; take its instruct variant")));
        }
    };
    let text = |token: Option<SpecialToken>| token.map(SpecialToken::text).unwrap_or_default();
    ChatTemplate::new(&source, &text(config.bos_token), &text(config.eos_token))
}

fn read_weights(folder: &Path, config: &ModelConfig) -> Result<(Weights, String)> {
    let index_path = folder.join("model.safetensors.index.json");
    let (shards, described_by) = match read_optional(&index_path)? {
        Some(text) => {
            let index: ShardIndex =
                serde_json::from_str(&text).map_err(|e| ModelError::corrupt(&index_path, format!("shard index: {e}")))?;
            let shards: BTreeSet<_> = index.weight_map.into_values().collect();
            if let Some(bad) = shards.iter().find(|s| Path::new(s).components().count() != 1) {
                let reason = format!("shard `{bad}` is outside the folder");
                return Err(ModelError::corrupt(&index_path, reason));
            }
            (shards.into_iter().collect(), index_path)
        }
        None => {
            let single = "model.safetensors".to_owned();
            (vec![single], folder.join("model.safetensors"))
        }
    };
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    let mut digests = Vec::new();
    for shard in &shards {
        let path = folder.join(shard);
        let bytes = std::fs::read(&path).map_err(ModelError::io("read the weights", &path))?;
        digests.push(weights::hex(&Sha256::digest(&bytes)));
        let views = SliceSafetensors::new(&bytes).map_err(|e| ModelError::corrupt(&path, format!("safetensors: {e}")))?;
        for (name, view) in views.tensors() {
            use safetensors::Dtype::{BF16, F16, F32, F64};
            if !matches!(view.dtype(), BF16 | F16 | F32 | F64) {
                let reason = format!("type {:?}, expected BF16, F16 or F32", view.dtype());
                return Err(ModelError::tensor(&path, &name, reason));
            }
            let tensor = views
                .load(&name, &Device::Cpu)
                .and_then(|tensor| if view.dtype() == F64 { tensor.to_dtype(DType::F32) } else { Ok(tensor) })
                .map_err(|e| ModelError::tensor(&path, &name, e))?;
            tensors.insert(name, tensor);
        }
    }
    let weights = Weights::collect(config, &mut |name, shape| {
        let fail = |reason: String| ModelError::tensor(&described_by, name, reason);
        let Some(tensor) = tensors.remove(name) else {
            return Err(fail("missing".to_owned()));
        };
        if tensor.dims() != shape {
            return Err(fail(format!("shape {:?}, expected {shape:?}", tensor.dims())));
        }
        Ok(tensor.contiguous()?)
    })?;
    let sha256 = match digests.as_slice() {
        [one] => one.clone(),
        many => weights::hex(&Sha256::digest(many.concat())),
    };
    Ok((weights, sha256))
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: HashMap<String, String>,
}

#[derive(Deserialize, Default)]
struct TokenizerConfig {
    chat_template: Option<Templates>,
    bos_token: Option<SpecialToken>,
    eos_token: Option<SpecialToken>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SpecialToken {
    Plain(String),
    Added { content: String },
}

impl SpecialToken {
    fn text(self) -> String {
        match self {
            Self::Plain(text) | Self::Added { content: text } => text,
        }
    }
}
