//! The LoRA adapter: A and B of every linear, their names in peft's files, saving and loading.
//!
//! In: a model config, rank and alpha. Out: tensors that the transformer adds and the trainer updates. peft's layout:
//! `base_model.model.model.layers.{i}.{module}.lora_A.weight` [R, in], `lora_B.weight` [out, R].

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::config::ModelConfig;
use crate::error::{ModelError, Result};

/// The linears that carry an adapter, in the order their parameters are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    /// Query projection.
    Q,
    /// Key projection.
    K,
    /// Value projection.
    V,
    /// Attention output projection.
    O,
    /// Gate of the MLP.
    Gate,
    /// Up projection of the MLP.
    Up,
    /// Down projection of the MLP.
    Down,
}

impl Module {
    /// Every module, in storage order.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// Path below a layer in Hugging Face's names.
    pub fn path(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// (inputs, outputs) of the linear.
    pub fn shape(self, c: &ModelConfig) -> (usize, usize) {
        let (e, f, q, kv) = (c.hidden_size, c.intermediate_size, c.q_rows(), c.kv_rows());
        match self {
            Self::Q => (e, q),
            Self::K | Self::V => (e, kv),
            Self::O => (q, e),
            Self::Gate | Self::Up => (e, f),
            Self::Down => (f, e),
        }
    }
}

/// What peft needs to know of an adapter (`adapter_config.json`), as far as we write and read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PeftConfig {
    base_model_name_or_path: String,
    bias: String,
    fan_in_fan_out: bool,
    inference_mode: bool,
    init_lora_weights: bool,
    lora_alpha: f64,
    lora_dropout: f64,
    modules_to_save: Option<Vec<String>>,
    peft_type: String,
    r: usize,
    target_modules: Vec<String>,
    task_type: String,
}

/// A trained or fresh LoRA adapter over all linears.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// R.
    pub rank: usize,
    /// Scale is alpha / rank.
    pub alpha: f64,
    /// (A [R, in], B [out, R]) by layer, then module in [`Module::ALL`]'s order.
    pub pairs: Vec<[(Tensor, Tensor); 7]>,
}

impl Adapter {
    /// A fresh adapter: A uniform in +-1/sqrt(in) (peft's kaiming with a = sqrt 5), B zero, so that it changes nothing.
    pub fn new(config: &ModelConfig, rank: usize, alpha: f64, seed: u64, dtype: DType, device: &Device) -> Result<Self> {
        Self::build(config, rank, alpha, seed, dtype, device, 0.0)
    }

    /// As [`Adapter::new`] with B drawn uniformly in +-`spread`: for tests, where B = 0 would hide every gradient of A.
    pub fn random(config: &ModelConfig, rank: usize, alpha: f64, seed: u64, dtype: DType, spread: f32) -> Result<Self> {
        Self::build(config, rank, alpha, seed, dtype, &Device::Cpu, spread)
    }

    fn build(c: &ModelConfig, rank: usize, alpha: f64, seed: u64, dtype: DType, device: &Device, spread: f32) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x6c6f_7261);
        let mut draw = |n: usize, bound: f32| -> Vec<f32> {
            (0..n).map(|_| if bound > 0.0 { rng.random_range(-bound..bound) } else { 0.0 }).collect()
        };
        let mut pairs = Vec::with_capacity(c.num_layers);
        for _ in 0..c.num_layers {
            let mut layer = Vec::with_capacity(7);
            for module in Module::ALL {
                let (inputs, outputs) = module.shape(c);
                let a = Tensor::from_vec(draw(rank * inputs, 1.0 / (inputs as f32).sqrt()), (rank, inputs), device)?;
                let b = Tensor::from_vec(draw(outputs * rank, spread), (outputs, rank), device)?;
                layer.push((a.to_dtype(dtype)?, b.to_dtype(dtype)?));
            }
            pairs.push(layer.try_into().map_err(|_| ModelError::Adapter("a layer has other than seven linears".into()))?);
        }
        Ok(Self { rank, alpha, pairs })
    }

    /// alpha / rank.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    /// Every tensor in storage order (layer, module, A then B) with its peft name.
    pub fn named(&self) -> Vec<(String, &Tensor)> {
        let mut all = Vec::with_capacity(self.pairs.len() * 14);
        for (i, layer) in self.pairs.iter().enumerate() {
            for (module, (a, b)) in Module::ALL.into_iter().zip(layer) {
                let stem = format!("base_model.model.model.layers.{i}.{}", module.path());
                all.push((format!("{stem}.lora_A.weight"), a));
                all.push((format!("{stem}.lora_B.weight"), b));
            }
        }
        all
    }

    /// Every tensor in storage order, to be replaced by an optimiser.
    pub fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        self.pairs.iter_mut().flatten().flat_map(|(a, b)| [a, b])
    }

    /// Number of trained parameters.
    pub fn parameters(&self) -> usize {
        self.named().iter().map(|(_, t)| t.elem_count()).sum()
    }

    /// Writes `adapter_config.json` and `adapter_model.safetensors` (f32) into an existing folder, as peft reads them.
    pub fn save(&self, folder: &Path, base_name: &str, base_sha256: &str) -> Result<()> {
        let config = PeftConfig {
            base_model_name_or_path: base_name.into(),
            bias: "none".into(),
            fan_in_fan_out: false,
            inference_mode: true,
            init_lora_weights: true,
            lora_alpha: self.alpha,
            lora_dropout: 0.0,
            modules_to_save: None,
            peft_type: "LORA".into(),
            r: self.rank,
            target_modules: Module::ALL.iter().filter_map(|m| m.path().split('.').next_back()).map(String::from).collect(),
            task_type: "CAUSAL_LM".into(),
        };
        let json = serde_json::to_string_pretty(&config).map_err(|e| ModelError::Adapter(e.to_string()))?;
        write_synced(&folder.join("adapter_config.json"), json.as_bytes())?;
        let tensors = self.named().into_iter().map(|(n, t)| Ok((n, t.to_dtype(DType::F32)?))).collect::<Result<Vec<_>>>()?;
        let note = BTreeMap::from([("format".into(), "pt".into()), ("base_sha256".into(), base_sha256.into())]);
        let bytes = serialize(&tensors, &note)?;
        write_synced(&folder.join("adapter_model.safetensors"), &bytes)
    }

    /// Reads an adapter that [`Adapter::save`] or peft wrote over the same linears of the same model shape.
    ///
    /// When the file names the sha256 of its base and `base_sha256` differs, the error says so: an adapter on another base is
    /// noise.
    pub fn load(folder: &Path, config: &ModelConfig, base_sha256: &str, device: &Device) -> Result<Self> {
        let fail = |detail: String| ModelError::Adapter(format!("{}: {detail}", folder.display()));
        let path = folder.join("adapter_config.json");
        let text = std::fs::read_to_string(&path)
            .map_err(|e| fail(format!("cannot read adapter_config.json: {e}; name the folder that holds it")))?;
        let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| fail(format!("adapter_config.json: {e}")))?;
        let kind = json.get("peft_type").and_then(|v| v.as_str()).unwrap_or("nothing");
        if kind != "LORA" {
            return Err(fail(format!("adapter_config.json: peft_type is {kind}, only LORA is supported")));
        }
        let rank = json.get("r").and_then(serde_json::Value::as_u64).filter(|r| (1..=4096).contains(r));
        let rank = rank.ok_or_else(|| fail("adapter_config.json: r is missing or out of range".into()))? as usize;
        let alpha = json.get("lora_alpha").and_then(serde_json::Value::as_f64).filter(|a| a.is_finite() && *a > 0.0);
        let alpha = alpha.ok_or_else(|| fail("adapter_config.json: lora_alpha is missing or out of range".into()))?;
        if json.get("use_rslora").and_then(serde_json::Value::as_bool) == Some(true)
            || json.get("use_dora").and_then(serde_json::Value::as_bool) == Some(true)
        {
            return Err(fail("adapter_config.json: rsLoRA and DoRA are not supported".into()));
        }
        for key in ["alpha_pattern", "rank_pattern"] {
            if json.get(key).and_then(serde_json::Value::as_object).is_some_and(|m| !m.is_empty()) {
                return Err(fail(format!("adapter_config.json: {key} gives some linears a scale of their own, which is not supported")));
            }
        }
        let bytes = std::fs::read(folder.join("adapter_model.safetensors"))
            .map_err(|e| fail(format!("cannot read adapter_model.safetensors: {e}")))?;
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes)
            .map_err(|e| fail(format!("adapter_model.safetensors is truncated or damaged: {e}")))?;
        if let Some(trained_on) = header.metadata().as_ref().and_then(|m| m.get("base_sha256"))
            && trained_on != base_sha256
        {
            return Err(fail(format!(
                "was trained on another base: its base has sha256 {}..., this one {}...; load the base it was trained on",
                short(trained_on),
                short(base_sha256)
            )));
        }
        let mut tensors: BTreeMap<String, Tensor> = candle_core::safetensors::load_buffer(&bytes, device)
            .map_err(|e| fail(format!("adapter_model.safetensors is truncated or damaged: {e}")))?
            .into_iter()
            .collect();
        let mut adapter = Self::new(config, rank, alpha, 0, DType::F32, device)?;
        let names: Vec<String> = adapter.named().into_iter().map(|(n, _)| n).collect();
        for (name, slot) in names.iter().zip(adapter.tensors_mut()) {
            let t = tensors.remove(name).ok_or_else(|| fail(format!("tensor {name} is missing; it does not fit this model")))?;
            if t.dims() != slot.dims() {
                return Err(fail(format!(
                    "tensor {name} is {:?}, this model needs {:?}: it was trained on another base",
                    t.dims(),
                    slot.dims()
                )));
            }
            *slot = t.to_dtype(DType::F32)?.contiguous()?;
        }
        if let Some(extra) = tensors.keys().next() {
            return Err(fail(format!("tensor {extra} has no place in this model")));
        }
        Ok(adapter)
    }
}

fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

/// Tensors in the safetensors format with a note in its header; equal tensors and notes give equal bytes.
pub fn serialize(tensors: &[(String, Tensor)], note: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let fail = |e: &dyn std::fmt::Display| ModelError::Adapter(format!("cannot serialise: {e}"));
    let bytes = safetensors::serialize(tensors.iter().map(|(n, t)| (n, t)), None).map_err(|e| fail(&e))?;
    if note.is_empty() {
        return Ok(bytes);
    }
    // the crate would write the note in a hash map's order, which differs from process to process, so it is put in here
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| fail(&"no header"))?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|e| fail(&e))?;
    let (header, data) = rest.split_at_checked(length).ok_or_else(|| fail(&"a header that is too short"))?;
    let tail = header.trim_ascii_end().strip_prefix(b"{").ok_or_else(|| fail(&"a header that is no object"))?;
    let note = serde_json::to_string(note).map_err(|e| fail(&e))?;
    let comma = if tail == b"}" { "" } else { "," };
    let mut header = format!("{{\"__metadata__\":{note}{comma}").into_bytes();
    header.extend_from_slice(tail);
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&(header.len() as u64).to_le_bytes(), header.as_slice(), data].concat())
}

/// Writes a file and waits until it is on the disk.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let io = |e: std::io::Error| ModelError::Adapter(format!("cannot write {}: {e}", path.display()));
    let mut file = std::fs::File::create(path).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.sync_all().map_err(io)
}
