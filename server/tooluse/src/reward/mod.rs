//! Station *reward*: what a rollout earns, part by part, raw, so that it can be weighed again without a model.
//!
//! In: a problem, the text with both readings, and its outcome. Out: the raw parts, their weights and the total, and why in words.
//! One file a reward. No row is ever free, whatever a model always does: where no call is expected, making none earns the maximum
//! and any call the least; where one is expected, making none never earns more than a call of the right tool. Runs no programs.

mod compose;
pub mod dense;
mod explain;
mod pairs;
pub mod paper;
pub mod shaping;
pub mod similarity;
pub mod simrl;
pub mod strict;
pub mod toolrl;

pub(crate) use explain::of_argument as argument_words;
pub use explain::{ExplainedPart, ExplainedReward};

use std::collections::BTreeSet;

use whetstone_domain::{
    ConfigError, Outcome, ParseReport, Problem, Reward, RewardPart, RunConfig,
    config::{ArgDenominator, Format, Ramp, RewardName, ToolrlGrading, Weight},
};

use crate::conversation::judge;
use shaping::Shaping;

/// Name of the part that stands alone on problems without an expected call.
pub const NO_CALL: &str = "no_call";
/// Name of that part in a composition.
pub const ABSTENTION: &str = "abstention";

/// Part names of a built-in reward, in the order of its definition, with its own weights; none for other rewards.
pub fn weights(name: &RewardName) -> &'static [(&'static str, f64)] {
    match name {
        RewardName::Dense => &dense::WEIGHTS,
        RewardName::Paper => &paper::WEIGHTS,
        RewardName::Strict | RewardName::BfclAst => &strict::WEIGHTS,
        RewardName::Simrl => &simrl::WEIGHTS,
        RewardName::Toolrl => &toolrl::WEIGHTS,
        RewardName::Composition | RewardName::File(_) | RewardName::Command(_) => &[],
    }
}

/// Part names of a built-in reward, in the order of its definition.
pub fn part_names(name: &RewardName) -> Vec<&'static str> {
    weights(name).iter().map(|&(part, _)| part).collect()
}

/// True for rewards that must climb at every rung of the audit's ladder.
pub fn is_graded(config: &RunConfig) -> bool {
    match config.reward {
        RewardName::Dense => config.reward_weights.is_empty(),
        RewardName::Toolrl => config.toolrl_grading == ToolrlGrading::Refined,
        _ => false,
    }
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

/// What a summand is made of.
#[derive(Debug, Clone, PartialEq)]
enum Source {
    /// A part of a built-in reward.
    Part(RewardName, &'static str),
    /// A built-in reward with its own weights.
    Total(RewardName),
    /// What a text costs for how it is written.
    Shaping(Shaping),
    /// 1 or 0 where no call is expected, nothing elsewhere.
    Abstention,
}

#[derive(Debug, Clone, PartialEq)]
struct Summand {
    name: String,
    source: Source,
    weight: Weight,
}

/// One reward with the weights of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Rewarder {
    format: Format,
    arg_denominator: ArgDenominator,
    toolrl_grading: ToolrlGrading,
    summands: Vec<Summand>,
    /// Nothing but being right counts.
    strict: bool,
    step: usize,
}

impl Rewarder {
    /// The reward of a run, at its first step. Weights for parts that the reward does not have are refused, and so are rewards that
    /// are not made of parts (`command:`).
    pub fn new(config: &RunConfig) -> Result<Self, ConfigError> {
        let mut summands = match &config.reward {
            RewardName::Command(_) => {
                let detail = "is a program; this place can only use rewards that are made of parts".into();
                return Err(ConfigError { pointer: "reward".into(), detail });
            }
            composed if composed.is_composed() => compose::summands(config.composition.as_ref())?,
            name => own(name),
        };
        compose::override_weights(&mut summands, &config.reward_weights)?;
        let (arg_denominator, toolrl_grading) = (config.arg_denominator, config.toolrl_grading);
        let strict = matches!(config.reward, RewardName::Strict | RewardName::BfclAst);
        Ok(Self { format: config.format, arg_denominator, toolrl_grading, summands, strict, step: 0 })
    }

    /// The same reward with the weights of a 0-based GRPO step.
    pub fn at(&self, step: usize) -> Self {
        Self { step, ..self.clone() }
    }

    /// Steps that tell how the weights move: the first, and the start, middle and end of every ramp.
    pub fn steps(&self) -> Vec<usize> {
        let of = |summand: &Summand| match summand.weight {
            Weight::Constant(_) => vec![],
            Weight::Linear(Ramp { start, end, .. }) => vec![start, start.midpoint(end), end],
        };
        let steps: BTreeSet<usize> = self.summands.iter().flat_map(of).chain([0]).collect();
        steps.into_iter().collect()
    }

    /// What a conversation earns; its parts and weights are [`judge::WEIGHTS`], whatever the weights of single answers.
    pub fn score_conversation(&self, problem: &Problem, verdict: &judge::Verdict) -> Reward {
        judge::reward(self.strict, problem, verdict)
    }

    /// What this text earns.
    pub fn score(&self, problem: &Problem, text: &str, parse: &ParseReport, outcome: Outcome) -> Reward {
        let scored = Scored { problem, text, parse, outcome };
        // 0 is added because -0 is printed as such, and so is the sum of nothing
        let part = |s: &Summand| {
            let value = self.value(&s.source, &scored).map(|v| v + 0.0);
            RewardPart { name: s.name.clone(), value, weight: s.weight.at(self.step) }
        };
        let parts: Vec<RewardPart> = self.summands.iter().map(part).collect();
        let total = parts.iter().filter_map(|p| p.value.map(|v| v * p.weight)).sum::<f64>() + 0.0;
        Reward { total, parts }
    }

    /// What this text earns, and why, part by part.
    pub fn explain(&self, problem: &Problem, text: &str, parse: &ParseReport, outcome: Outcome) -> ExplainedReward {
        let Reward { total, parts } = self.score(problem, text, parse, outcome);
        let scored = Scored { problem, text, parse, outcome };
        let explained = parts.into_iter().zip(&self.summands).map(|(part, summand)| ExplainedPart {
            why: explain::why(&summand.source, &scored, part.value),
            name: part.name,
            value: part.value,
            weight: part.weight,
        });
        ExplainedReward { total, parts: explained.collect() }
    }

    fn value(&self, source: &Source, scored: &Scored<'_>) -> Option<f64> {
        match source {
            Source::Part(name, part) => self.part(name, part, scored),
            Source::Total(name) => {
                let all = weights(name).iter();
                Some(all.filter_map(|(part, weight)| self.part(name, part, scored).map(|v| v * weight)).sum())
            }
            Source::Shaping(shaping) => Some(shaping.value(scored)),
            Source::Abstention => scored.problem.expected.is_no_call().then(|| f64::from(u8::from(scored.refuses()))),
        }
    }

    /// Raw value of a part of a built-in reward; none where it does not apply to the problem.
    fn part(&self, name: &RewardName, part: &str, scored: &Scored<'_>) -> Option<f64> {
        match name {
            RewardName::Strict => Some(strict::value(scored)),
            RewardName::BfclAst => Some(strict::bfcl_ast(scored)),
            RewardName::Simrl => Some(simrl::value(scored)),
            RewardName::Toolrl => Some(toolrl::value(self.toolrl_grading, scored, part)),
            _ if scored.problem.expected.is_no_call() => (part == NO_CALL).then(|| f64::from(u8::from(scored.refuses()))),
            _ if part == NO_CALL => None,
            // an expected call that was not made earns nothing, however valid the JSON
            _ if scored.refuses() => Some(0.0),
            RewardName::Dense => dense::value(self.format, scored, part),
            RewardName::Paper => paper::value(self.arg_denominator, scored, part),
            RewardName::Composition | RewardName::File(_) | RewardName::Command(_) => None,
        }
    }
}

fn own(name: &RewardName) -> Vec<Summand> {
    let summand = |&(part, weight): &(&'static str, f64)| Summand {
        name: part.to_owned(),
        source: Source::Part(name.clone(), part),
        weight: Weight::Constant(weight),
    };
    weights(name).iter().map(summand).collect()
}

#[cfg(test)]
#[path = "more_tests.rs"]
mod more_tests;
#[cfg(test)]
#[path = "spelling_tests.rs"]
mod spelling_tests;
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
