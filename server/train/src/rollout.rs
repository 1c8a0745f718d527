//! Station *rollout*: problems in, scored groups out. How a conversation goes on is in [`crate::converse`].

use whetstone_domain::{GroupClass, GroupRecord, Problem, Rollout, RunConfig, StopReason};
use whetstone_model::adapter::Adapter;
use whetstone_model::generate::{Decoder, Reading, Sampling};
use whetstone_model::packed::common_words;
use whetstone_tools::StepCache;
use whetstone_tooluse::conversation::judge;
use whetstone_tooluse::{format, outcome};

use crate::advantage::mean_std;
use crate::converse::{Sampled, drive, room};
use crate::error::Result;
use crate::policy::Policy;
use crate::pool::Prepared;
use crate::rng::{self, Use};
use crate::scorer::Scorer;

/// Samples G rollouts for every problem, [B][G], below what their prompts have in common, which is returned as it was read; none when
/// `go_on` said no. `at` is the step and the number of the first problem in it, so that a replacement draws from streams of its own;
/// `cache` is the step's.
pub fn sample(
    policy: &Policy,
    adapter: &Adapter,
    config: &RunConfig,
    problems: &[&Prepared],
    at: (usize, usize),
    cache: &mut StepCache,
    go_on: impl FnMut(usize) -> bool,
) -> Result<Option<(Vec<Vec<Sampled>>, Reading)>> {
    let ((step, slot), g, turn) = (at, config.num_generations, config.max_completion_length);
    let longest = room(policy, problems, turn, &config.tools);
    let prompts: Vec<&[u32]> = problems.iter().map(|p| p.ids.as_slice()).collect();
    let sampling = Sampling::Temperature(config.temperature);
    let reading = Reading::new(&policy.model, Some(adapter), common_words(&prompts))?;
    let mut decoder = Decoder::below(&policy.model, &reading, &prompts, problems.len() * g, longest, sampling, &policy.eos)?;
    for i in 0..problems.len() {
        for j in 0..g {
            decoder.fork(i, rng::at(Use::Rollout, config.seed, step as u64, (slot + i) as u32, j as u32), longest);
        }
    }
    let rows: Vec<&Problem> = problems.iter().flat_map(|p| std::iter::repeat_n(&p.problem, g)).collect();
    let Some(sampled) = drive(policy, decoder, &rows, turn, &config.tools, cache, go_on)? else { return Ok(None) };
    Ok(Some((sampled.chunks(g).map(<[_]>::to_vec).collect(), reading)))
}

/// Scores one problem's rollouts at a 0-based step; advantages come later, from the whole batch.
pub fn group(
    policy: &Policy,
    scorer: &mut Scorer,
    step: usize,
    problem: &Prepared,
    sampled: &[Sampled],
    index: usize,
) -> Result<GroupRecord> {
    let scored = sampled.iter().enumerate().map(|(j, s)| score(policy, scorer, step, problem, s, j));
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

fn score(policy: &Policy, scorer: &mut Scorer, step: usize, problem: &Prepared, sampled: &Sampled, index: usize) -> Result<Rollout> {
    let (c, problem) = (&sampled.completion, &problem.problem);
    let stop = c.stop.unwrap_or(StopReason::Length);
    let (text, parse, outcome, reward) = match &sampled.transcript {
        Some(t) => {
            let (verdict, parse) = (judge::judge(problem, t), t.all_calls());
            let reward = scorer.score_conversation(step, problem, &t.text, &parse, &verdict)?;
            (t.text.clone(), parse, verdict.outcome, reward)
        }
        None => {
            let text = policy.text(&c.ids);
            let parse = format::parse(policy.format, &text);
            let outcome = outcome::judge(problem, &text, &parse, stop);
            let reward = scorer.score(step, problem, &text, &parse, outcome)?;
            (text, parse, outcome, reward)
        }
    };
    Ok(Rollout {
        index,
        ids: c.ids.clone(),
        pieces: c.ids.iter().map(|&id| policy.base.tokenizer.piece(id)).collect(),
        logprobs: c.logprobs.clone(),
        entropies: c.entropies.clone(),
        mask: c.mask.clone(),
        turns: sampled.turns.clone(),
        text,
        stop,
        parse,
        outcome,
        reward,
        advantage: 0.0,
        effective: false,
    })
}
