//! Station *reward*: what a rollout earns, part by part, raw, so that it can be weighed again without a model.
//!
//! In: a problem, the text with both readings, and its outcome. Out: the raw parts, their weights and the total.
//! Three rewards, one file each. What they share is abstention: where no call is expected, making none earns everything and any
//! call nothing; where one is expected, making none earns nothing. So no row is ever free, whatever a model always does.

pub mod dense;
pub mod paper;
pub mod similarity;
pub mod strict;

use std::collections::BTreeMap;

use whetstone_domain::{
    ConfigError, Outcome, ParseReport, Problem, Reward, RewardPart, RunConfig,
    config::{ArgDenominator, Format, RewardName},
};

use crate::conversation::judge;

/// Name of the part that stands alone on problems without an expected call.
pub const NO_CALL: &str = "no_call";

/// Part names of a reward, in the order of its definition, with its own weights.
pub fn weights(name: RewardName) -> &'static [(&'static str, f64)] {
    match name {
        RewardName::Dense => &dense::WEIGHTS,
        RewardName::Paper => &paper::WEIGHTS,
        RewardName::Strict => &strict::WEIGHTS,
    }
}

/// Part names of a reward, in the order of its definition.
pub fn part_names(name: RewardName) -> Vec<&'static str> {
    weights(name).iter().map(|&(part, _)| part).collect()
}

/// Everything a reward may look at.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// What was asked and what is right.
    pub problem: &'a Problem,
    /// What the model wrote.
    pub text: &'a str,
    /// How it was read.
    pub parse: &'a ParseReport,
    /// Its rung.
    pub outcome: Outcome,
}

impl Scored<'_> {
    /// Made no call and ended by itself. Narrower than BFCL's irrelevance rule, under which garbage passes: garbage never earns.
    fn refuses(&self) -> bool {
        self.outcome != Outcome::Truncated && self.parse.strict.as_ref().is_ok_and(Vec::is_empty)
    }
}

/// One reward with the weights of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Rewarder {
    name: RewardName,
    format: Format,
    arg_denominator: ArgDenominator,
    weights: Vec<(&'static str, f64)>,
}

impl Rewarder {
    /// The reward of a run. Weights for parts that the reward does not have are refused.
    pub fn new(config: &RunConfig) -> Result<Self, ConfigError> {
        let mut own = weights(config.reward).to_vec();
        override_weights(&mut own, &config.reward_weights)?;
        Ok(Self { name: config.reward, format: config.format, arg_denominator: config.arg_denominator, weights: own })
    }

    /// What a conversation earns; its parts and weights are [`judge::WEIGHTS`], whatever the weights of single answers.
    pub fn score_conversation(&self, problem: &Problem, verdict: &judge::Verdict) -> Reward {
        judge::reward(self.name, problem, verdict)
    }

    /// What this text earns.
    pub fn score(&self, problem: &Problem, text: &str, parse: &ParseReport, outcome: Outcome) -> Reward {
        let scored = Scored { problem, text, parse, outcome };
        let value = |part: &str| {
            if problem.expected.is_no_call() && self.name != RewardName::Strict {
                return (part == NO_CALL).then(|| f64::from(u8::from(scored.refuses())));
            }
            match self.name {
                RewardName::Strict => strict::value(&scored),
                _ if part == NO_CALL => None,
                // an expected call that was not made earns nothing, however valid the JSON
                _ if scored.refuses() => Some(0.0),
                RewardName::Dense => dense::value(self.format, &scored, part),
                RewardName::Paper => paper::value(self.arg_denominator, &scored, part),
            }
        };
        let part = |&(name, weight): &(&str, f64)| RewardPart { name: name.to_owned(), value: value(name), weight };
        let parts: Vec<RewardPart> = self.weights.iter().map(part).collect();
        let total = parts.iter().filter_map(|p| p.value.map(|v| v * p.weight)).sum();
        Reward { total, parts }
    }
}

fn override_weights(own: &mut [(&'static str, f64)], given: &BTreeMap<String, f64>) -> Result<(), ConfigError> {
    for (name, &weight) in given {
        let pointer = format!("reward_weights.{name}");
        let known = own.iter().map(|&(part, _)| part).collect::<Vec<_>>().join(", ");
        let Some(slot) = own.iter_mut().find(|(part, _)| part == name) else {
            return Err(ConfigError { pointer, detail: format!("is no part of this reward; its parts are {known}") });
        };
        if !weight.is_finite() {
            return Err(ConfigError { pointer, detail: "must be a finite number".into() });
        }
        slot.1 = weight;
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
