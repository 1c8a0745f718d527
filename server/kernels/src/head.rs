//! The loss head: logits chunk by chunk, never a [T, V] tensor; logprob, entropy and the gradient in the same pass.
//!
//! Liger-Kernel's chunked GRPO loss is the idea. Only rows whose logprob is wanted come in.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use crate::frozen::Frozen;
use crate::math::{exp, max_of, sums_by, wide};
use crate::view::{View, tensor};

/// Rows of one chunk: 128 x 49,152 logits are 25 MB.
const CHUNK: usize = 128;

/// What is kept of one row's logits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HeadRow {
    /// Logprob of the target at the given temperature, nat.
    pub logprob: f32,
    /// Entropy of the distribution, nat.
    pub entropy: f32,
}

/// Logprob and entropy of `targets` [T] given h [T, E], w [V, E] and the sampling temperature.
pub fn head(h: &Tensor, w: &Frozen, targets: &[u32], temperature: f64) -> Result<Vec<HeadRow>> {
    let mut rows = Vec::with_capacity(targets.len());
    chunks(h, w, targets, temperature, |_, _, stats| {
        rows.extend(stats.iter().map(|s| s.row));
        Ok(())
    })?;
    Ok(rows)
}

/// As [`head`], and dh [T, E], given the loss's derivative by each logprob: `coefficients(first_row, rows) -> dL/dlogprob`.
///
/// dlogits = c (onehot - softmax) / temperature; dh = dlogits W.
pub fn head_backward(
    h: &Tensor,
    w: &Frozen,
    targets: &[u32],
    temperature: f64,
    mut coefficients: impl FnMut(usize, &[HeadRow]) -> Vec<f64>,
) -> Result<(Vec<HeadRow>, Tensor)> {
    let (t, e) = h.dims2()?;
    let v = w.outputs();
    let mut rows: Vec<HeadRow> = Vec::with_capacity(t);
    let mut gradients = Vec::new();
    chunks(h, w, targets, temperature, |first, logits, stats| {
        let chunk: Vec<HeadRow> = stats.iter().map(|s| s.row).collect();
        let c = coefficients(first, &chunk);
        let n = chunk.len();
        rows.extend(chunk);
        gradients.push(match logits {
            Logits::Slice(mut logits) => {
                let Some(wv) = w.view() else { candle_core::bail!("the head's weight is not contiguous f32 on the CPU") };
                logits.par_chunks_mut(v).zip(stats).zip(&c).zip(&targets[first..first + n]).for_each(|(((row, s), &c), &target)| {
                    let factor = (c / temperature) as f32;
                    softmax_gradient(row, factor, s.lse);
                    row[target as usize] += factor;
                });
                tensor(wv.product_back(n, &logits), (n, e), h)?
            }
            Logits::Tensor { logp, onehot } => {
                let c = Tensor::from_vec(c, (n, 1), h.device())?.to_dtype(h.dtype())?;
                w.backward_composed(&((onehot - logp.exp()?)?.broadcast_mul(&c)? / temperature)?)?
            }
        });
        Ok(())
    })?;
    let dh = if gradients.is_empty() { Tensor::zeros((0, e), h.dtype(), h.device())? } else { Tensor::cat(&gradients, 0)? };
    Ok((rows, dh))
}

/// Logits of h [T, E] divided by the temperature, with the arithmetic of [`head`]: what a sampler draws from. Row by row, [T * V].
pub fn logits(h: &Tensor, w: &Frozen, temperature: f64) -> Result<Vec<f32>> {
    let (t, _) = h.dims2()?;
    match (View::of(h), w.view()) {
        (Some(hv), Some(wv)) => Ok(wv.scaled_product(t, hv.slice(), (1.0 / temperature) as f32)),
        _ => (w.forward_composed(h)? / temperature)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1(),
    }
}

struct Stats {
    row: HeadRow,
    lse: f32,
}

enum Logits {
    /// [n, V], divided by the temperature
    Slice(Vec<f32>),
    Tensor {
        logp: Tensor,
        onehot: Tensor,
    },
}

fn chunks(
    h: &Tensor,
    w: &Frozen,
    targets: &[u32],
    temperature: f64,
    mut each: impl FnMut(usize, Logits, &[Stats]) -> Result<()>,
) -> Result<()> {
    let (t, e) = h.dims2()?;
    let v = w.outputs();
    if targets.len() != t {
        candle_core::bail!("{} targets for {t} rows", targets.len());
    }
    if let Some(bad) = targets.iter().find(|&&x| x as usize >= v) {
        candle_core::bail!("target {bad} is beyond the vocabulary of {v}");
    }
    let views = (View::of(h), w.view());
    for first in (0..t).step_by(CHUNK) {
        let n = CHUNK.min(t - first);
        let targets = &targets[first..first + n];
        if let (Some(hv), Some(wv)) = &views {
            let logits = wv.scaled_product(n, &hv.slice()[first * e..(first + n) * e], (1.0 / temperature) as f32);
            let stats: Vec<Stats> = logits.par_chunks(v).zip(targets).map(|(row, &target)| stats(row, target)).collect();
            each(first, Logits::Slice(logits), &stats)?;
        } else {
            let (logits, stats) = stats_composed(&h.narrow(0, first, n)?, w, targets, temperature)?;
            each(first, logits, &stats)?;
        }
    }
    Ok(())
}

wide! {
    /// -factor * softmax of a row of logits, in place.
    fn softmax_gradient(row: &mut [f32], factor: f32, lse: f32) -> () {
        for x in row.iter_mut() {
            *x = -factor * exp(*x - lse);
        }
    }
}

/// Logprob and entropy of one row of logits that were already divided by the temperature.
fn stats(row: &[f32], target: u32) -> Stats {
    let stats = row_stats(row);
    Stats { row: HeadRow { logprob: row[target as usize] - stats.lse(), entropy: stats.entropy }, lse: stats.lse() }
}

/// Tokens whose mass is summed at once.
pub const MASS_TOKENS: usize = 512;

/// A row of logits [V] in sum.
#[derive(Clone, Debug)]
pub struct RowStats {
    /// The largest logit.
    pub max: f32,
    /// Sums of the exponentials of logits less the largest, one for every [`MASS_TOKENS`] tokens.
    pub masses: Vec<f32>,
    /// The sum of all of them.
    pub sum: f32,
    /// Entropy of the distribution, nat.
    pub entropy: f32,
}

impl RowStats {
    /// Log of the sum of the logits' exponentials.
    pub fn lse(&self) -> f32 {
        self.max + self.sum.ln()
    }
}

wide! {
    /// What a sampler wants to know of a row of logits, with the arithmetic of [`head`].
    pub fn row_stats(row: &[f32]) -> RowStats {
        let max = max_of(row);
        let (mut masses, mut sum, mut weighted) = (Vec::with_capacity(row.len().div_ceil(MASS_TOKENS)), 0.0, 0.0);
        for block in row.chunks(MASS_TOKENS) {
            let [mass, more] = sums_by([block], |[x]| {
                let (x, e) = (x - max, exp(x - max));
                [e, e * x.max(-1e30)] // 0 * -inf is not a number
            });
            masses.push(mass);
            sum += mass;
            weighted += more;
        }
        RowStats { max, masses, sum, entropy: sum.ln() - weighted / sum }
    }
}

fn stats_composed(h: &Tensor, w: &Frozen, targets: &[u32], temperature: f64) -> Result<(Logits, Vec<Stats>)> {
    let (n, v) = (h.dim(0)?, w.outputs());
    let logits = (w.forward_composed(h)? / temperature)?;
    let max = logits.max_keepdim(1)?.detach();
    let lse = (logits.broadcast_sub(&max)?.exp()?.sum_keepdim(1)?.log()? + max)?;
    let logp = logits.broadcast_sub(&lse)?;
    let ids = Tensor::from_vec(targets.to_vec(), (n, 1), h.device())?;
    let get = |t: &Tensor| -> Result<Vec<f32>> { t.to_dtype(DType::F32)?.flatten_all()?.to_vec1() };
    let (logprob, entropy, lses) = (get(&logp.gather(&ids, 1)?)?, get(&(logp.exp()? * &logp)?.sum_keepdim(1)?.neg()?)?, get(&lse)?);
    let onehot = Tensor::zeros((n, v), h.dtype(), h.device())?.scatter_add(&ids, &Tensor::ones((n, 1), h.dtype(), h.device())?, 1)?;
    let stats = (0..n).map(|i| Stats { row: HeadRow { logprob: logprob[i], entropy: entropy[i] }, lse: lses[i] }).collect();
    Ok((Logits::Tensor { logp, onehot }, stats))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{close, random};

    #[test]
    fn head_and_its_gradient_equal_autograd() -> Result<()> {
        for (t, e, v, temperature) in [(1, 4, 7, 1.0), (130, 8, 33, 0.7), (300, 3, 50, 1.3)] {
            let (h, w) = ((random(&[t, e], 1)? * 6.0)?, Frozen::new(&random(&[v, e], 2)?)?);
            let targets: Vec<u32> = (0..t as u32).map(|i| i * 13 % v as u32).collect();
            let c: Vec<f64> = (0..t).map(|i| (i as f64 * 0.37).sin()).collect();
            let coefficients = |first: usize, rows: &[HeadRow]| c[first..first + rows.len()].to_vec();
            let (rows, dh) = head_backward(&h, &w, &targets, temperature, coefficients)?;
            assert_eq!(rows, head(&h, &w, &targets, temperature)?);
            let (h64, w64) = (candle_core::Var::from_tensor(&h.to_dtype(DType::F64)?)?, Frozen::new(&w.full()?.0.to_dtype(DType::F64)?)?);
            let (twin_rows, twin_dh) = head_backward(&h64, &w64, &targets, temperature, coefficients)?;
            let (logits, _) = stats_composed(&h64, &w64, &targets, temperature)?;
            let Logits::Tensor { logp, onehot } = logits else { unreachable!("f64 has no fast path") };
            let logprob = (logp * onehot)?.sum(1)?;
            let loss = (&logprob * Tensor::from_vec(c.clone(), t, h.device())?)?.sum_all()?;
            let want = loss.backward()?.get(&h64).expect("gradient").clone();
            close(&dh, &want, 1e-5)?;
            close(&twin_dh, &want, 1e-10)?;
            for ((row, twin), lp) in rows.iter().zip(&twin_rows).zip(logprob.to_vec1::<f64>()?) {
                assert!((f64::from(row.logprob) - lp).abs() < 2e-5 && (row.entropy - twin.entropy).abs() < 2e-5, "{row:?} {twin:?} {lp}");
            }
        }
        Ok(())
    }

    #[test]
    fn extreme_logits_have_finite_logprobs_and_gradients() -> Result<()> {
        // logits of 0 and of 1e30 apart, the target the one or the other
        let h = Tensor::new(&[[1e15f32, 0.0], [0.0, 1e15], [-1e15, 1e15]], &candle_core::Device::Cpu)?;
        let w = Frozen::new(&Tensor::new(&[[1e15f32, 0.0], [0.0, 1e15], [0.0, 0.0]], h.device())?)?;
        for targets in [[0, 1, 2], [2, 0, 0]] {
            let (rows, dh) = head_backward(&h, &w, &targets, 1.0, |_, rows| vec![1.0; rows.len()])?;
            assert!(rows.iter().all(|r| r.logprob.is_finite() && r.logprob <= 0.0 && r.entropy.is_finite()), "{rows:?}");
            assert!(dh.flatten_all()?.to_vec1::<f32>()?.iter().all(|x| x.is_finite()), "{dh}");
        }
        Ok(())
    }

    #[test]
    fn extreme_logits_give_finite_numbers() {
        let mut row = vec![-1e30f32; 2 * MASS_TOKENS + 100];
        row[..MASS_TOKENS].fill(f32::NEG_INFINITY);
        row[MASS_TOKENS + 3] = 1e4;
        let stats = row_stats(&row);
        assert!((stats.lse() - 1e4).abs() < 1e-2 && stats.entropy.abs() < 1e-3, "{stats:?}");
        assert_eq!(stats.masses, [0.0, 1.0, 0.0]);
    }
}
