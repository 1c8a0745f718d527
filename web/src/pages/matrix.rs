//! The upper half of a group's page: answers by reward, and the way from reward parts to reward to advantage with the numbers put in.

use whetstone_domain::config::ScaleRewards;
use whetstone_domain::{GroupRecord, Rollout, RunConfig, StopReason};

use crate::words;

/// Added to the divisor of an advantage, as TRL does.
const EPSILON: f64 = 1e-4;

/// An answer as one square: its outcome's letter, tinted by its advantage.
pub(crate) struct Letter {
    pub(crate) index: usize,
    pub(crate) letter: char,
    /// Its outcome in words.
    pub(crate) name: &'static str,
    /// Class of its tint.
    pub(crate) tint: &'static str,
}

impl Letter {
    /// The answers of a group in their order.
    pub(crate) fn all(g: &GroupRecord) -> Vec<Self> {
        g.rollouts.iter().map(Self::of).collect()
    }

    fn of(r: &Rollout) -> Self {
        let tint = match r.advantage {
            a if a > 0.5 => "up2",
            a if a > 0.0 => "up1",
            a if a < -0.5 => "down2",
            a if a < 0.0 => "down1",
            _ => "level",
        };
        Self { index: r.index, letter: r.outcome.letter(), name: r.outcome.name(), tint }
    }
}

/// One answer of the table.
pub(crate) struct Row {
    pub(crate) index: usize,
    pub(crate) letter: char,
    pub(crate) outcome: &'static str,
    pub(crate) parts: Vec<String>,
    pub(crate) total: String,
    pub(crate) advantage: String,
    /// Bar around the middle of 100: start and width.
    pub(crate) bar: (f64, f64),
    pub(crate) up: bool,
    pub(crate) tokens: usize,
    pub(crate) stop: &'static str,
    /// Answers with the same text, this one included.
    pub(crate) same: usize,
    /// It or one of the same words is the selected one.
    pub(crate) chosen: bool,
}

/// The table: the highest reward first, answers with the same words as one row.
pub(crate) fn rows(g: &GroupRecord, selected: &Rollout) -> Vec<Row> {
    let largest = g.rollouts.iter().map(|r| r.advantage.abs()).filter(|a| a.is_finite()).fold(1e-9, f64::max);
    let row = |r: &Rollout| {
        let share = if r.advantage.is_finite() { 50.0 * r.advantage / largest } else { 0.0 };
        Row {
            index: r.index,
            letter: r.outcome.letter(),
            outcome: r.outcome.name(),
            parts: r.reward.parts.iter().map(|p| p.value.map_or_else(|| "–".into(), words::number)).collect(),
            total: words::number(r.reward.total),
            // never -0.00
            advantage: format!("{:+.2}", if r.advantage.abs() < 0.005 { 0.0 } else { r.advantage }),
            bar: (if share < 0.0 { 50.0 + share } else { 50.0 }, share.abs()),
            up: share >= 0.0,
            tokens: r.ids.len(),
            stop: if r.stop == StopReason::Eos { "ended" } else { "cut off" },
            same: g.rollouts.iter().filter(|o| o.text == r.text).count(),
            chosen: r.text == selected.text,
        }
    };
    let mut sorted: Vec<&Rollout> = g.rollouts.iter().collect();
    sorted.sort_by(|a, b| b.reward.total.total_cmp(&a.reward.total).then(a.index.cmp(&b.index)));
    // answers with the same words are one row; the first of them stands for all
    let mut texts = Vec::new();
    let mut rows = Vec::new();
    for r in sorted {
        if !texts.contains(&r.text.as_str()) {
            texts.push(r.text.as_str());
            rows.push(row(r));
        }
    }
    rows
}

/// From raw parts to the reward of an answer, with the numbers put in.
pub(crate) fn sum(r: &Rollout) -> String {
    let of: Vec<String> = r.reward.parts.iter().filter_map(|p| Some(format!("{} × {}", p.weight, words::number(p.value?)))).collect();
    let computed: f64 = r.reward.parts.iter().filter_map(|p| Some(p.weight * p.value?)).sum();
    let sum = if of.is_empty() { "no part applies".into() } else { of.join(" + ") };
    // a gate of the reward may have zeroed it
    let gate = if (computed - r.reward.total).abs() > 1e-9 { ", but for the reward's gate" } else { "" };
    format!("R{} = {sum}{gate} = {:.3}", subscript(r.index + 1), r.reward.total)
}

fn subscript(n: usize) -> String {
    n.to_string().chars().filter_map(|c| c.to_digit(10)).filter_map(|d| char::from_u32(0x2080 + d)).collect()
}

/// From reward to advantage, with the numbers put in.
pub(crate) fn arithmetic(groups: &[GroupRecord], g: &GroupRecord, r: &Rollout, config: &RunConfig) -> String {
    if g.std == 0.0 || g.rollouts.len() < 2 {
        let kl = if config.beta > 0.0 { " The KL term still acts on it." } else { "" };
        return format!("All {} rewards are equal, so every advantage is 0 and this group changed nothing.{kl}", g.rollouts.len());
    }
    let index = subscript(r.index + 1);
    let difference = format!("{:.3} − {:.3}", r.reward.total, g.mean);
    match config.scale_rewards {
        ScaleRewards::Group => format!("A{index} = ({difference}) / ({:.3} + {EPSILON}) = {:+.2}", g.std, r.advantage),
        ScaleRewards::Batch => {
            let all: Vec<f64> = groups.iter().flat_map(|g| &g.rollouts).map(|r| r.reward.total).collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            let std = (all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (all.len().saturating_sub(1).max(1)) as f64).sqrt();
            format!("A{index} = ({difference}) / ({std:.3} of the whole step + {EPSILON}) = {:+.2}", r.advantage)
        }
        ScaleRewards::None => format!("A{index} = {difference} = {:+.2}", r.advantage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscripts_are_readable() {
        assert_eq!([subscript(3), subscript(12)], ["₃", "₁₂"]);
    }
}
