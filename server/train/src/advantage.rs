//! Station *advantage*: rewards of groups in, advantages out. Pure.
//!
//! A_i = R_i - mean(group), divided by (std + 1e-4) of the group or the batch, std with n - 1 (TRL `scale_rewards`).

use whetstone_domain::config::ScaleRewards;

/// Added to the divisor, as TRL does.
const EPSILON: f64 = 1e-4;

/// (mean, standard deviation with n - 1; 0 for fewer than two).
pub fn mean_std(x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    if x.is_empty() {
        return (0.0, 0.0);
    }
    let mean = x.iter().sum::<f64>() / n;
    if x.len() < 2 || x.iter().all(|v| *v == x[0]) {
        return (if x.len() < 2 { mean } else { x[0] }, 0.0); // exactly equal rewards have exactly no spread
    }
    (mean, (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt())
}

/// Advantages of every group's rollouts, in the shape of `rewards` [B][G].
pub fn advantages(rewards: &[Vec<f64>], scale: ScaleRewards) -> Vec<Vec<f64>> {
    let batch: Vec<f64> = rewards.iter().flatten().copied().collect();
    let batch_std = mean_std(&batch).1;
    rewards
        .iter()
        .map(|group| {
            let (mean, std) = mean_std(group);
            let divisor = match scale {
                ScaleRewards::Group => std + EPSILON,
                ScaleRewards::Batch => batch_std + EPSILON,
                ScaleRewards::None => 1.0,
            };
            group.iter().map(|r| (r - mean) / divisor).collect()
        })
        .collect()
}
