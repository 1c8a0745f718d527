//! What leaves a run: an adapter's files, checked against their record, and logits by which others can check them.
//!
//! In: a checkpoint. Out: a folder that peft loads. Names and model cards are the caller's.

use std::fs;
use std::path::Path;

use candle_core::DType;
use sha2::{Digest, Sha256};
use whetstone_domain::{CheckpointRecord, Message, Role};
use whetstone_model::adapter::{Adapter, write_synced};
use whetstone_model::packed::Packed;
use whetstone_model::weights::Base;

use crate::error::{Result, TrainError};
use crate::policy::Policy;
use crate::worker;

/// Files of an adapter that peft reads.
pub const ADAPTER_FILES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// Reads an adapter for `base` to where tensors are; an adapter of another base is an error.
pub fn load_adapter(folder: &Path, base: &Base) -> Result<Adapter> {
    Ok(Adapter::load(folder, &base.config, &base.sha256, &worker::device()?)?)
}

/// Copies the adapter of a checkpoint into the existing folder `out`, after its sha256 was compared with the record.
pub fn copy_adapter(run_folder: &Path, checkpoint: &CheckpointRecord, out: &Path) -> Result<()> {
    let folder = run_folder.join(&checkpoint.folder);
    for name in ADAPTER_FILES {
        let path = folder.join(name);
        let fail = |reason: String| TrainError::Checkpoint { path: path.clone(), reason };
        let bytes = fs::read(&path).map_err(|e| fail(e.to_string()))?;
        if name.ends_with(".safetensors") && sha256(&bytes) != checkpoint.adapter_sha256 {
            return Err(fail("is not the file that was recorded (its sha256 differs); export another checkpoint".into()));
        }
        write_synced(&out.join(name), &bytes)?;
    }
    Ok(())
}

/// A short conversation for comparing two implementations of one model.
pub fn check_messages() -> Vec<Message> {
    vec![
        Message::new(Role::System, "You answer with tool calls."),
        Message::new(Role::User, "What is the weather in Oslo tomorrow, in celsius?"),
    ]
}

/// (ids, logits after the last of them) of [`check_messages`].
pub fn check_logits(policy: &Policy, adapter: Option<&Adapter>) -> Result<(Vec<u32>, Vec<f32>)> {
    let text = policy.base.chat_template.render(&check_messages(), true)?;
    let ids = policy.base.tokenizer.encode(&text)?;
    let mut packed = Packed::default();
    packed.push(None, &ids);
    let hidden = policy.model.hidden(adapter, &packed)?; // [T, E]
    let last = policy.model.final_norm(&hidden.narrow(0, ids.len() - 1, 1)?.contiguous()?)?; // [1, E]
    let logits = policy.model.head().forward(&last)?.to_dtype(DType::F32)?; // [1, V]
    Ok((ids, logits.flatten_all()?.to_vec1()?))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
