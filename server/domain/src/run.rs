//! States of a run and phases of its work.

use serde::{Deserialize, Serialize};

/// State of a run; one enum everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Waits for a device.
    Queued,
    /// Its worker loads weights.
    Starting,
    /// Its worker makes steps.
    Running,
    /// Asked to stop; drops the step in progress, writes a checkpoint and ends.
    Stopping,
    /// Ended on request; resumable.
    Stopped,
    /// Made all its steps.
    Finished,
    /// Ended by an error, which is stored.
    Failed,
    /// Its heartbeat died; resumable.
    Interrupted,
}

impl RunState {
    /// Every state.
    pub const ALL: [Self; 8] =
        [Self::Queued, Self::Starting, Self::Running, Self::Stopping, Self::Stopped, Self::Finished, Self::Failed, Self::Interrupted];

    /// Name used in the database, URLs and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }

    /// The state of a stored name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }

    /// True while a worker should be alive.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping)
    }
}

/// Which part of a run a step belongs to; each has its own step counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Supervised steps on the expected calls.
    WarmStart,
    /// Reinforcement learning.
    Grpo,
}

impl Phase {
    /// Name used in the database and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::WarmStart => "warm_start",
            Self::Grpo => "grpo",
        }
    }

    /// The phase of a stored name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::WarmStart, Self::Grpo].into_iter().find(|p| p.name() == name)
    }
}
