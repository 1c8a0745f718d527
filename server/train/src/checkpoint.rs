//! Checkpoints: adapter, moments and counters in a folder that is there completely or not at all.
//!
//! Files are written into a folder aside, synced, and the folder is renamed; only then may its record reach the store.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use whetstone_domain::{CheckpointRecord, Phase};
use whetstone_model::adapter::{Adapter, serialize, write_synced};
use whetstone_model::weights::Base;

use crate::error::{Result, TrainError};
use crate::optimizer::AdamW;

/// Counters that a run needs to go on exactly where it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Where the next step belongs.
    pub phase: Phase,
    /// Steps made in that phase.
    pub step: usize,
    /// Updates the optimiser has made in that phase.
    pub updates: u64,
    /// Lowest loss that the warm start has measured.
    pub best_loss: Option<f64>,
    /// Measurements since then.
    pub stale: usize,
    /// Tokens sampled or learned from so far.
    pub num_tokens: u64,
    /// Time that the steps have taken; counted only under a time budget (`max_minutes`). Seconds.
    #[serde(default)]
    pub seconds: f64,
}

/// Writes `checkpoints/{phase}-{step}` below the run's folder. `at` names the steps already made; `counters` say where to go
/// on, which after the last warm-start step is the first of the next phase.
pub fn save(
    run: &Path,
    base: &Base,
    adapter: &Adapter,
    optimizer: &AdamW,
    at: (Phase, usize),
    counters: &Counters,
) -> Result<CheckpointRecord> {
    let (phase, step) = at;
    let name = match phase {
        Phase::WarmStart => "warm-start",
        Phase::Grpo => "grpo",
    };
    let folder = format!("checkpoints/{name}-{step:06}");
    let target = run.join(&folder);
    let aside = run.join(format!("checkpoints/.{name}-{step:06}.partial"));
    let fail = |e: &dyn std::fmt::Display| TrainError::Checkpoint { path: target.clone(), reason: e.to_string() };
    let written = write(&aside, base, adapter, optimizer, counters);
    if let Err(e) = written {
        // a full disk must not stay full of half a checkpoint; the error that counts is the first
        let _ = fs::remove_dir_all(&aside);
        return Err(fail(&e));
    }
    // a rewound run writes the same step again: the old folder is of a future that was undone
    match fs::remove_dir_all(&target) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(fail(&e)),
        _ => {}
    }
    fs::rename(&aside, &target).map_err(|e| fail(&e))?;
    sync_dir(&run.join("checkpoints")).map_err(|e| fail(&e))?;
    let bytes = sizes(&target).map_err(|e| fail(&e))?;
    let weights = fs::read(target.join("adapter_model.safetensors")).map_err(|e| fail(&e))?;
    let adapter_sha256 = Sha256::digest(&weights).iter().map(|b| format!("{b:02x}")).collect();
    let state = serde_json::to_string(counters).map_err(|e| fail(&e))?;
    Ok(CheckpointRecord { phase, step, folder, bytes, adapter_sha256, state })
}

fn write(aside: &Path, base: &Base, adapter: &Adapter, optimizer: &AdamW, counters: &Counters) -> Result<()> {
    let io = |e: std::io::Error| TrainError::Checkpoint { path: aside.to_path_buf(), reason: e.to_string() };
    match fs::remove_dir_all(aside) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(e)),
        _ => {}
    }
    fs::create_dir_all(aside).map_err(io)?;
    adapter.save(aside, &base.hf_name, &base.sha256)?;
    write_synced(&aside.join("optimizer.safetensors"), &serialize(&optimizer.named(adapter)?, &Default::default())?)?;
    let json =
        serde_json::to_string_pretty(counters).map_err(|e| TrainError::Checkpoint { path: aside.to_path_buf(), reason: e.to_string() })?;
    write_synced(&aside.join("state.json"), json.as_bytes())?;
    sync_dir(aside).map_err(io)
}

/// Reads what [`save`] wrote: the adapter, onto `device`, and moments and counters for the same shape of config.
pub fn load(run: &Path, record: &CheckpointRecord, base: &Base, device: &Device, fresh: &AdamW) -> Result<(Adapter, AdamW, Counters)> {
    let folder: PathBuf = run.join(&record.folder);
    let fail = |reason: String| TrainError::Checkpoint { path: folder.clone(), reason };
    let counters: Counters = serde_json::from_str(&record.state).map_err(|e| fail(format!("its recorded state: {e}")))?;
    let adapter = Adapter::load(&folder, &base.config, &base.sha256, device)?;
    let tensors = candle_core::safetensors::load(folder.join("optimizer.safetensors"), &Device::Cpu)
        .map_err(|e| fail(format!("optimizer.safetensors: {e}")))?;
    let mut optimizer = fresh.clone();
    optimizer.restore(&adapter, &tensors, counters.updates).map_err(|e| fail(format!("optimizer.safetensors: {e}")))?;
    Ok((adapter, optimizer, counters))
}

fn sync_dir(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

fn sizes(folder: &Path) -> std::io::Result<u64> {
    fs::read_dir(folder)?.map(|e| Ok(e?.metadata()?.len())).sum()
}
