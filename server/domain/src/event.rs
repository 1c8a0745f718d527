//! What the worker tells the store, one transaction an event.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{EvaluationRecord, Phase, Problem, Rollout, RunState};

/// Numbers of one step under TRL's names (see the glossary); a value may be NaN or infinite.
pub type Metrics = BTreeMap<String, f64>;

/// How a group's rewards spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupClass {
    /// Rewards differ: only these train.
    Mixed,
    /// No spread, every rollout right.
    AllCorrect,
    /// No spread, every rollout wrong.
    AllWrong,
    /// No spread, some right and some wrong.
    Tied,
}

impl GroupClass {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Mixed, Self::AllCorrect, Self::AllWrong, Self::Tied];

    /// Name used in metrics (`group/{name}`), database and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::AllCorrect => "all_correct",
            Self::AllWrong => "all_wrong",
            Self::Tied => "tied",
        }
    }

    /// The class of a stored name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }
}

/// One problem with its G rollouts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Index in the step, 0-based.
    pub index: usize,
    /// The problem.
    pub problem: Problem,
    /// The rendered prompt with its special tokens.
    pub prompt: String,
    /// Prompt token ids. [P]
    pub prompt_ids: Vec<u32>,
    /// Mean reward.
    pub mean: f64,
    /// Standard deviation of the rewards, n - 1.
    pub std: f64,
    /// Spread of the rewards.
    pub class: GroupClass,
    /// The rollouts. [G]
    pub rollouts: Vec<Rollout>,
}

/// One optimiser update and what led to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Phase whose step counter `step` is.
    pub phase: Phase,
    /// 1-based: the first step of a phase is 1.
    pub step: usize,
    /// Its numbers.
    pub metrics: Metrics,
    /// Its groups; empty in the warm start.
    pub groups: Vec<GroupRecord>,
}

/// Adapter, optimiser moments and counters on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRecord {
    /// Phase whose step counter `step` is.
    pub phase: Phase,
    /// Steps made in that phase.
    pub step: usize,
    /// Folder below the run's folder, e.g. `checkpoints/grpo-000040`.
    pub folder: String,
    /// Size of the folder, bytes.
    pub bytes: u64,
    /// sha256 of `adapter_model.safetensors`, lower-case hex.
    pub adapter_sha256: String,
    /// What the worker needs beside the tensors to go on exactly (counters, schedule state), as JSON.
    pub state: String,
}

/// What the worker tells the store. Each is one transaction with a fresh heartbeat.
#[expect(clippy::large_enum_variant, reason = "a handful of events a step; a box would only hide the record")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A step, with the evaluation and the checkpoint made right after it, if any.
    Step {
        /// The step; none for what precedes the first step (baseline evaluation, first checkpoint).
        step: Option<StepRecord>,
        /// Evaluation after it.
        evaluation: Option<EvaluationRecord>,
        /// Checkpoint after it; its files are on disk and synced before this is sent.
        checkpoint: Option<CheckpointRecord>,
    },
    /// The run changed state; the message says why (an error's text when failed).
    State {
        /// The new state.
        state: RunState,
        /// Why, in words.
        message: String,
    },
    /// Progress within a step, for a live page.
    Progress {
        /// What is being done, e.g. `evaluating 64 of 200`.
        message: String,
    },
    /// Something worth a line in the log.
    Log {
        /// `info`, `warn` or `error`.
        level: String,
        /// The line.
        message: String,
    },
}
