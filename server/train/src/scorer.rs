//! Station *reward*, whoever gives it: the rules of `tooluse`, or a program of the user's.
//!
//! In: a rollout's text, read and judged. Out: its reward, at the weights of the step.

use std::time::Duration;

use whetstone_domain::{Outcome, ParseReport, Problem, Reward, RunConfig, config::RewardName};
use whetstone_tooluse::Rewarder;
use whetstone_tooluse::conversation::judge;
use whetstone_tooluse::reward::{ExplainedPart, ExplainedReward};

use crate::error::Result;
use crate::program::{Program, Question};

/// Gives rewards.
#[derive(Debug)]
pub enum Scorer {
    /// A reward made of parts.
    Parts(Rewarder),
    /// A program.
    Program(Program),
}

impl Scorer {
    /// The reward that a config names. A program is not started before it is asked.
    pub fn new(config: &RunConfig) -> Result<Self> {
        Ok(match &config.reward {
            RewardName::Command(line) => Self::Program(Program::new(line, Duration::from_secs_f64(config.reward_timeout))?),
            _ => Self::Parts(Rewarder::new(config)?),
        })
    }

    /// What a text earns at a 0-based GRPO step.
    pub fn score(&mut self, step: usize, problem: &Problem, text: &str, parse: &ParseReport, outcome: Outcome) -> Result<Reward> {
        match self {
            Self::Parts(rewarder) => Ok(rewarder.at(step).score(problem, text, parse, outcome)),
            Self::Program(program) => Ok(program.ask(question(step, problem, text, parse, outcome))?.0),
        }
    }

    /// What a conversation earns at a step. Rewards made of parts have their own parts for it ([`judge::WEIGHTS`]); a program is
    /// told the last turn and, in `parse`, the calls of all turns.
    pub fn score_conversation(
        &mut self,
        step: usize,
        problem: &Problem,
        text: &str,
        parse: &ParseReport,
        verdict: &judge::Verdict,
    ) -> Result<Reward> {
        match self {
            Self::Parts(rewarder) => Ok(rewarder.score_conversation(problem, verdict)),
            Self::Program(program) => Ok(program.ask(question(step, problem, text, parse, verdict.outcome))?.0),
        }
    }

    /// What a text earns at a step, and why.
    pub fn explain(
        &mut self,
        step: usize,
        problem: &Problem,
        text: &str,
        parse: &ParseReport,
        outcome: Outcome,
    ) -> Result<ExplainedReward> {
        match self {
            Self::Parts(rewarder) => Ok(rewarder.at(step).explain(problem, text, parse, outcome)),
            Self::Program(program) => {
                let (Reward { total, parts }, why) = program.ask(question(step, problem, text, parse, outcome))?;
                let part = |(i, p): (usize, whetstone_domain::RewardPart)| ExplainedPart {
                    name: p.name,
                    value: p.value,
                    weight: p.weight,
                    why: if i == 0 && !why.is_empty() { why.clone() } else { "as the program says".into() },
                };
                Ok(ExplainedReward { total, parts: parts.into_iter().enumerate().map(part).collect() })
            }
        }
    }
}

fn question<'a>(step: usize, problem: &'a Problem, text: &'a str, parse: &'a ParseReport, outcome: Outcome) -> Question<'a> {
    Question { id: 0, step, problem, text, calls: parse.strict.as_deref().ok(), outcome }
}
