//! Station *update*, first half: branches in, logprobs and the adapter's gradient out, micro-batch by micro-batch.

use std::time::Instant;

use candle_core::Tensor;
use whetstone_kernels::{HeadRow, head, head_backward};
use whetstone_model::adapter::Adapter;
use whetstone_model::generate::Reading;
use whetstone_model::packed::common_words;
use whetstone_model::transformer::{KeyGradients, Transformer};

use crate::batch::{Batch, Branch, Row, micro_batches};
use crate::error::Result;
use crate::optimizer::{accumulate, flatten};

/// Tokens of one micro-batch, shared words included: about 24 kB of kept activations a token and layer at SmolLM2's shape.
pub const TOKENS_PER_MICRO_BATCH: usize = 640;

/// A scored token as the loss sees it.
#[derive(Debug, Clone, Copy)]
pub struct Scored {
    /// Which token.
    pub row: Row,
    /// Its logprob and entropy under the policy.
    pub policy: HeadRow,
    /// Its logprob with the adapter off, where asked for.
    pub reference: Option<f32>,
}

/// What an update learned from its branches.
#[derive(Debug, Default)]
pub struct Gradients {
    /// Of the adapter's tensors in storage order; empty when nothing was scored.
    pub tensors: Vec<Vec<f32>>,
    /// Packed tokens that were read and differentiated.
    pub tokens: usize,
    /// Of these, the first so many had been read before: words that all prompts share.
    pub read_before: usize,
    /// Distinct (context, token) pairs that were scored.
    pub scored: usize,
    /// Pairs of a packed token and one that it attends to.
    pub pairs: usize,
    /// Seconds of the passes up to the last block (reference pass included, what had been read before not), and of head and backward.
    pub seconds: [f64; 2],
}

/// [`gradients_below`] what the prompts have in common, which is read here.
pub fn gradients(
    model: &Transformer,
    adapter: &Adapter,
    branches: &[Branch],
    temperature: f64,
    reference: bool,
    micro_batch: usize,
    coefficients: impl FnMut(&[Scored]) -> Vec<f64>,
) -> Result<Gradients> {
    if branches.iter().all(|b| b.completions.iter().all(|c| !c.mask.contains(&1))) {
        return Ok(Gradients::default());
    }
    let clock = Instant::now();
    let words = common_words(&branches.iter().map(|b| b.prompt).collect::<Vec<_>>());
    let reading = Reading::new(model, Some(adapter), words)?;
    let seconds = clock.elapsed().as_secs_f64();
    let mut found = gradients_below(model, reading, branches, temperature, reference, micro_batch, coefficients)?;
    found.read_before = 0;
    found.seconds[0] += seconds;
    Ok(found)
}

/// Gradients of the adapter, given `coefficients`: dL/dlogprob of each scored token. The words of `reading`, which all prompts begin with,
/// are differentiated once, the rest is read and differentiated in micro-batches of about `micro_batch` tokens. With `reference` a pass with
/// the adapter off comes first.
pub fn gradients_below(
    model: &Transformer,
    reading: Reading,
    branches: &[Branch],
    temperature: f64,
    reference: bool,
    micro_batch: usize,
    mut coefficients: impl FnMut(&[Scored]) -> Vec<f64>,
) -> Result<Gradients> {
    reading.check(branches.iter().map(|b| b.prompt))?;
    let mut sum = Gradients::default();
    let shared = reading.tokens();
    let micro_batches = micro_batches(branches, shared, micro_batch).into_iter();
    let batches: Vec<_> = micro_batches
        .map(|(branches, first)| (branches, first, Batch::new(branches, first, shared)))
        .filter(|(_, _, batch)| !batch.rows.is_empty())
        .collect();
    if batches.is_empty() {
        return Ok(sum);
    }
    let Reading { adapted, words: above, .. } = reading;
    let mut upward = KeyGradients::new();
    (sum.tokens, sum.read_before, sum.pairs) = (shared, shared, shared * (shared + 1) / 2);
    for (branches, first, batch) in batches {
        let clock = Instant::now();
        let reference = match reference {
            true => Some(logprobs(model, None, &Batch::new(branches, first, 0), temperature)?), // the same rows
            false => None,
        };
        let pass = model.forward(&adapted, &batch.packed, above.as_ref())?;
        sum.tokens += batch.packed.ids.len();
        sum.scored += batch.scored.len();
        sum.pairs += batch.packed.pairs();
        sum.seconds[0] += clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let (at, targets) = gather(&batch, model.device())?;
        let mut rows_of = vec![Vec::new(); batch.scored.len()];
        batch.rows.iter().enumerate().for_each(|(i, row)| rows_of[row.scored].push(i));
        let hidden = pass.hidden.index_select(&at, 0)?; // [rows, E]
        let normed = model.final_norm(&hidden)?;
        let (_, d_normed) = head_backward(&normed, model.head(), &targets, temperature, |from, found| {
            let of = |i: &usize| Scored {
                row: batch.rows[*i],
                policy: found[batch.rows[*i].scored - from],
                reference: reference.as_ref().map(|r| r[*i].logprob),
            };
            let rows: Vec<usize> = rows_of[from..from + found.len()].concat();
            let mut sums = vec![0.0; found.len()];
            for (i, coefficient) in rows.iter().zip(coefficients(&rows.iter().map(of).collect::<Vec<_>>())) {
                sums[batch.rows[*i].scored - from] += coefficient;
            }
            sums
        })?;
        let d_rows = model.final_norm_backward(&d_normed, &hidden)?;
        let d_hidden = pass.hidden.zeros_like()?.index_add(&at, &d_rows, 0)?;
        let (found, up) = model.backward(pass, &d_hidden, above.as_ref(), None)?;
        accumulate(&mut sum.tensors, flatten(&found)?);
        upward = match upward.is_empty() {
            true => up,
            false => upward.iter().zip(&up).map(|((k, v), (dk, dv))| Ok(((k + dk)?, (v + dv)?))).collect::<Result<_>>()?,
        };
        sum.seconds[1] += clock.elapsed().as_secs_f64();
    }
    if let Some(above) = above {
        let clock = Instant::now();
        let nothing = above.hidden.zeros_like()?;
        accumulate(&mut sum.tensors, flatten(&model.backward(above, &nothing, None, Some(&upward))?.0)?);
        sum.seconds[1] += clock.elapsed().as_secs_f64();
    }
    Ok(sum)
}

/// Logprob and entropy of each of the batch's rows, of which no part is above; adapter none = the reference.
pub fn logprobs(model: &Transformer, adapter: Option<&Adapter>, batch: &Batch, temperature: f64) -> Result<Vec<HeadRow>> {
    let (at, targets) = gather(batch, model.device())?;
    let hidden = model.hidden(adapter, &batch.packed)?.index_select(&at, 0)?;
    let found = head(&model.final_norm(&hidden)?, model.head(), &targets, temperature)?;
    Ok(batch.rows.iter().map(|row| found[row.scored]).collect())
}

fn gather(batch: &Batch, device: &candle_core::Device) -> Result<(Tensor, Vec<u32>)> {
    let (at, targets): (Vec<u32>, Vec<u32>) = batch.scored.iter().copied().unzip();
    Ok((Tensor::new(at, device)?, targets))
}
