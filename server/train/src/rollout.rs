//! Station *rollout*: problems in, scored groups out. One turn for now; the decoder underneath already takes forced tokens.

use whetstone_domain::{GroupClass, GroupRecord, Role, Rollout, RunConfig, StopReason, Turn};
use whetstone_model::adapter::Adapter;
use whetstone_model::generate::{Completion, Decoder, Sampling};
use whetstone_tooluse::{format, outcome};

use crate::advantage::mean_std;
use crate::error::Result;
use crate::policy::Policy;
use crate::pool::Prepared;
use crate::rng::{self, Use};
use crate::scorer::Scorer;

/// Samples G completions for every problem, [B][G]; none when `go_on` said no. `slot` numbers the first problem of the step,
/// so that a replacement draws from streams of its own.
pub fn sample(
    policy: &Policy,
    adapter: &Adapter,
    config: &RunConfig,
    problems: &[&Prepared],
    step: usize,
    slot: usize,
    go_on: impl FnMut(usize) -> bool,
) -> Result<Option<Vec<Vec<Completion>>>> {
    let (g, longest) = (config.num_generations, config.max_completion_length);
    let prompts: Vec<&[u32]> = problems.iter().map(|p| p.ids.as_slice()).collect();
    let sampling = Sampling::Temperature(config.temperature);
    let mut decoder = Decoder::new(&policy.model, Some(adapter), &prompts, problems.len() * g, longest, sampling, &policy.eos)?;
    for i in 0..problems.len() {
        for j in 0..g {
            decoder.fork(i, rng::at(Use::Rollout, config.seed, step as u64, (slot + i) as u32, j as u32), longest)?;
        }
    }
    let Some(completions) = decoder.finish(go_on)? else { return Ok(None) };
    Ok(Some(completions.chunks(g).map(<[_]>::to_vec).collect()))
}

/// Scores one problem's completions at a 0-based step; advantages come later, from the whole batch.
pub fn group(
    policy: &Policy,
    scorer: &mut Scorer,
    step: usize,
    problem: &Prepared,
    completions: &[Completion],
    index: usize,
) -> Result<GroupRecord> {
    let scored = completions.iter().enumerate().map(|(j, c)| score(policy, scorer, step, problem, c, j));
    let rollouts: Vec<Rollout> = scored.collect::<Result<_>>()?;
    let rewards: Vec<f64> = rollouts.iter().map(|r| r.reward.total).collect();
    let (mean, std) = mean_std(&rewards);
    let right = rollouts.iter().filter(|r| r.outcome.is_correct()).count();
    let class = match right {
        _ if std > 0.0 => GroupClass::Mixed,
        n if n == rollouts.len() => GroupClass::AllCorrect,
        0 => GroupClass::AllWrong,
        _ => GroupClass::Tied,
    };
    Ok(GroupRecord {
        index,
        problem: problem.problem.clone(),
        prompt: problem.prompt.clone(),
        prompt_ids: problem.ids.clone(),
        mean,
        std,
        class,
        rollouts,
    })
}

fn score(policy: &Policy, scorer: &mut Scorer, step: usize, problem: &Prepared, c: &Completion, index: usize) -> Result<Rollout> {
    let stop = c.stop.unwrap_or(StopReason::Length);
    let text = policy.text(&c.ids);
    let parse = format::parse(policy.format, &text);
    let outcome = outcome::judge(&problem.problem, &text, &parse, stop);
    let reward = scorer.score(step, &problem.problem, &text, &parse, outcome)?;
    let whole = policy.base.tokenizer.decode(&c.ids, false);
    Ok(Rollout {
        index,
        ids: c.ids.clone(),
        pieces: c.ids.iter().map(|&id| policy.base.tokenizer.piece(id)).collect(),
        logprobs: c.logprobs.clone(),
        entropies: c.entropies.clone(),
        mask: c.mask.clone(),
        turns: vec![Turn { role: Role::Assistant, start: 0, end: c.ids.len(), text: whole }],
        text,
        stop,
        parse,
        outcome,
        reward,
        advantage: 0.0,
        effective: false,
    })
}
