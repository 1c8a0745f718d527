//! Optional first phase: supervised steps on the expected calls, loss on the completion only; of a conversation on what the
//! model says, never on what tools said.

use whetstone_domain::config::ToolUse;
use whetstone_model::adapter::Adapter;
use whetstone_tooluse::{format, matching};

use crate::batch::{Batch, Branch, Target, micro_batches, shared_words};
use crate::converse;
use crate::error::{Result, TrainError};
use crate::policy::Policy;
use crate::pool::Prepared;
use crate::step::{TOKENS_PER_MICRO_BATCH, gradients, logprobs};

/// What the model should write to a problem, with what tools say in between, and 1 where the words are its own. Fails where prompt and
/// answer are longer than the policy reads.
pub(crate) fn answer(policy: &Policy, item: &Prepared, tools: &ToolUse) -> Result<(Vec<u32>, Vec<u8>)> {
    let (answer, mask) = if item.problem.is_conversation() {
        converse::gold(policy, &item.problem, tools)?
    } else {
        let answer = policy.answer(&format::write(policy.format, &matching::canonical(&item.problem)))?;
        let mask = vec![1; answer.len()];
        (answer, mask)
    };
    let (prompt, limit) = (item.ids.len(), policy.positions);
    if prompt + answer.len() > limit {
        return Err(TrainError::LongAnswer { problem: item.problem.id.clone(), prompt, answer: answer.len(), limit });
    }
    Ok((answer, mask))
}

/// A problem with the answer the model should write.
struct Row<'a> {
    prompt: &'a [u32],
    answer: Vec<u32>,
    mask: Vec<u8>,
}

fn rows<'a>(policy: &Policy, problems: &[&'a Prepared], tools: &ToolUse) -> Result<Vec<Row<'a>>> {
    problems
        .iter()
        .map(|p| {
            let (answer, mask) = answer(policy, p, tools)?;
            Ok(Row { prompt: &p.ids, answer, mask })
        })
        .collect()
}

fn branches<'a>(rows: &'a [Row<'a>]) -> Vec<Branch<'a>> {
    rows.iter().map(|r| Branch { prompt: r.prompt, completions: vec![Target { ids: &r.answer, mask: &r.mask }] }).collect()
}

/// (mean negative logprob per answer token, tokens of prompts and answers, gradients in the adapter's storage order).
pub fn step(policy: &Policy, adapter: &Adapter, problems: &[&Prepared], tools: &ToolUse) -> Result<(f64, usize, Vec<Vec<f32>>)> {
    let rows = rows(policy, problems, tools)?;
    let written = |r: &Row| r.mask.iter().filter(|m| **m == 1).count();
    let total = rows.iter().map(written).sum::<usize>().max(1) as f64;
    let mut loss = 0.0;
    let gradients = gradients(&policy.model, adapter, &branches(&rows), 1.0, false, TOKENS_PER_MICRO_BATCH, |scored| {
        loss -= scored.iter().map(|s| f64::from(s.policy.logprob)).sum::<f64>() / total;
        vec![-1.0 / total; scored.len()]
    })?;
    let tokens = rows.iter().map(|r| r.prompt.len() + r.answer.len()).sum();
    Ok((loss, tokens, gradients.tensors))
}

/// Mean negative logprob per answer token, without learning; none without problems.
pub fn measure(policy: &Policy, adapter: &Adapter, problems: &[Prepared], tools: &ToolUse) -> Result<Option<f64>> {
    let problems: Vec<&Prepared> = problems.iter().collect();
    let rows = rows(policy, &problems, tools)?;
    let branches = branches(&rows);
    let (mut sum, mut n) = (0.0, 0usize);
    for (branches, first) in micro_batches(&branches, shared_words(&branches), TOKENS_PER_MICRO_BATCH) {
        let scored = logprobs(&policy.model, Some(adapter), &Batch::new(branches, first, 0), 1.0)?;
        sum -= scored.iter().map(|s| f64::from(s.logprob)).sum::<f64>();
        n += scored.len();
    }
    Ok((n > 0).then(|| sum / n as f64))
}
