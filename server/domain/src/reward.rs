//! Station *reward*: what a rollout earned, part by part, raw, so that it can be weighed again without a model.

use serde::{Deserialize, Serialize};

/// One component of a reward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RewardPart {
    /// Stable snake_case name, shown as `rewards/{name}/mean`.
    pub name: String,
    /// Raw value before weighing; null where the part does not apply to this problem.
    pub value: Option<f64>,
    /// Its weight in the total.
    pub weight: f64,
}

/// What a rollout earned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reward {
    /// Sum of weight times value over the parts that apply (unless a gate of the reward zeroed it).
    pub total: f64,
    /// The parts, in the order of the reward's definition.
    pub parts: Vec<RewardPart>,
}
