//! Optional first phase: supervised steps on the expected calls, loss on the completion only; of a conversation on what the
//! model says, never on what tools said.
//!
//! Every answer weighs the same, however long it is: where tokens weighed the same, `[]`, the right answer where no tool fits, would
//! be drowned by calls of thirty tokens.

use whetstone_domain::config::ToolUse;
use whetstone_model::adapter::Adapter;
use whetstone_tooluse::{format, matching};

use crate::batch::{Batch, Branch, Target};
use crate::converse;
use crate::error::Result;
use crate::policy::Policy;
use crate::pool::Prepared;
use crate::step::{Scored, TOKENS_PER_MICRO_BATCH, gradients, logprobs};

/// A problem with the answer the model should write.
struct Row<'a> {
    prompt: &'a [u32],
    answer: Vec<u32>,
    mask: Vec<u8>,
}

impl Row<'_> {
    /// Tokens that the model is to write, at least 1.
    fn written(&self) -> f64 {
        self.mask.iter().filter(|m| **m == 1).count().max(1) as f64
    }
}

fn rows<'a>(policy: &Policy, problems: &[&'a Prepared], tools: &ToolUse) -> Result<Vec<Row<'a>>> {
    problems
        .iter()
        .map(|p| {
            if p.problem.is_conversation() {
                let (answer, mask) = converse::gold(policy, &p.problem, tools)?;
                return Ok(Row { prompt: &p.ids, answer, mask });
            }
            let answer = policy.answer(&format::write(policy.format, &matching::canonical(&p.problem)))?;
            Ok(Row { prompt: &p.ids, mask: vec![1; answer.len()], answer })
        })
        .collect()
}

fn branches<'a>(rows: &'a [Row<'a>]) -> Vec<Branch<'a>> {
    rows.iter().map(|r| Branch { prompt: r.prompt, completions: vec![Target { ids: &r.answer, mask: &r.mask }] }).collect()
}

/// (mean over answers of their mean negative logprob, tokens of prompts and answers, gradients in the adapter's storage order).
pub fn step(policy: &Policy, adapter: &Adapter, problems: &[&Prepared], tools: &ToolUse) -> Result<(f64, usize, Vec<Vec<f32>>)> {
    let rows = rows(policy, problems, tools)?;
    let weights: Vec<f64> = rows.iter().map(|r| 1.0 / (rows.len() as f64 * r.written())).collect();
    let mut loss = 0.0;
    let gradients = gradients(&policy.model, adapter, &branches(&rows), 1.0, false, |scored| {
        let one = |s: &Scored| {
            loss -= weights[s.row.completion] * f64::from(s.policy.logprob);
            -weights[s.row.completion]
        };
        scored.iter().map(one).collect()
    })?;
    let tokens = rows.iter().map(|r| r.prompt.len() + r.answer.len()).sum();
    Ok((loss, tokens, gradients.tensors))
}

/// Mean over answers of their mean negative logprob, without learning; none without problems.
pub fn measure(policy: &Policy, adapter: &Adapter, problems: &[Prepared], tools: &ToolUse) -> Result<Option<f64>> {
    let problems: Vec<&Prepared> = problems.iter().collect();
    let rows = rows(policy, &problems, tools)?;
    let branches = branches(&rows);
    let mut sum = 0.0;
    for (branches, first) in crate::batch::micro_batches(&branches, TOKENS_PER_MICRO_BATCH) {
        let batch = Batch::new(branches, first);
        let scored = logprobs(&policy.model, Some(adapter), &batch, 1.0)?;
        sum -= batch.rows.iter().zip(scored).map(|(row, s)| f64::from(s.logprob) / rows[row.completion].written()).sum::<f64>();
    }
    Ok((!rows.is_empty()).then(|| sum / rows.len() as f64))
}
