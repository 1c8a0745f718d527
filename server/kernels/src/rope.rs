//! Rotary positions with explicit position ids, on the fused output of q, k and v.
//!
//! Half-split form (transformers' `rotate_half`); its backward is the rotation by the opposite angle.

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

use crate::view::{View, tensor};

/// cos and sin of position times frequency, for positions 0..n.
#[derive(Clone, Debug)]
pub struct RopeTable {
    cos: Vec<f32>, // [n, D/2]
    sin: Vec<f32>, // [n, D/2]
    half: usize,
}

impl RopeTable {
    /// Angles for `n` positions, head dim `d` (even) and base `theta`; each of the D/2 frequencies is divided by its one of `divisors`,
    /// by nothing where there are none.
    pub fn new(n: usize, d: usize, theta: f64, divisors: &[f64]) -> Self {
        let half = d / 2;
        let frequency = |i: usize| theta.powf(-2.0 * i as f64 / d as f64) / divisors.get(i).unwrap_or(&1.0);
        let frequencies: Vec<f64> = (0..half).map(frequency).collect();
        let angle = |i: usize| (i / half) as f64 * frequencies[i % half];
        // transformers computes the angle in f32; f64 here rounds once and agrees within its error
        let (mut cos, mut sin) = (Vec::with_capacity(n * half), Vec::with_capacity(n * half));
        for i in 0..n * half {
            let (s, c) = angle(i).sin_cos();
            cos.push(c as f32);
            sin.push(s as f32);
        }
        Self { cos, sin, half }
    }

    /// Positions it covers.
    pub fn len(&self) -> usize {
        self.cos.len() / self.half.max(1)
    }

    /// True when it covers none.
    pub fn is_empty(&self) -> bool {
        self.cos.is_empty()
    }

    fn row(&self, position: u32) -> (&[f32], &[f32]) {
        let at = position as usize * self.half..(position as usize + 1) * self.half;
        (&self.cos[at.clone()], &self.sin[at])
    }

    fn gather(&self, positions: &[u32], dtype: DType, device: &Device) -> Result<(Tensor, Tensor)> {
        let pick = |table: &[f32]| -> Result<Tensor> {
            let data: Vec<f32> =
                positions.iter().flat_map(|&p| &table[p as usize * self.half..(p as usize + 1) * self.half]).copied().collect();
            Tensor::from_vec(data, (positions.len(), 1, self.half), device)?.to_dtype(dtype)
        };
        Ok((pick(&self.cos)?, pick(&self.sin)?))
    }
}

/// (q [T, H, D], k [T, K, D], v [T, K, D]) of the fused `qkv` [T, (H + 2K) D], q and k rotated to their positions [T].
pub fn split_rope(qkv: &Tensor, positions: &[u32], table: &RopeTable, h: usize, k: usize) -> Result<(Tensor, Tensor, Tensor)> {
    let (t, width) = qkv.dims2()?;
    let d = width / (h + 2 * k);
    check(positions, t, table, d)?;
    let Some(view) = View::of(qkv) else {
        let parts = split(&qkv.reshape((t, h + 2 * k, d))?, h, k)?;
        let (cos, sin) = table.gather(positions, qkv.dtype(), qkv.device())?;
        return Ok((rotate(&parts.0, &cos, &sin)?, rotate(&parts.1, &cos, &sin)?, parts.2.contiguous()?));
    };
    let xs = view.slice();
    let (mut qs, mut ks, mut vs) = (vec![0f32; t * h * d], vec![0f32; t * k * d], vec![0f32; t * k * d]);
    (qs.par_chunks_mut(h * d), ks.par_chunks_mut(k * d), vs.par_chunks_mut(k * d), xs.par_chunks(width), positions)
        .into_par_iter()
        .with_min_len(32)
        .for_each(|(q, key, v, x, &p)| {
            let (cos, sin) = table.row(p);
            let (xq, rest) = x.split_at(h * d);
            let (xk, xv) = rest.split_at(k * d);
            for (y, x) in q.chunks_exact_mut(d).zip(xq.chunks_exact(d)).chain(key.chunks_exact_mut(d).zip(xk.chunks_exact(d))) {
                turn(y, x, cos, sin, 1.0);
            }
            v.copy_from_slice(xv);
        });
    Ok((tensor(qs, (t, h, d), qkv)?, tensor(ks, (t, k, d), qkv)?, tensor(vs, (t, k, d), qkv)?))
}

/// d qkv [T, (H + 2K) D] of dq [T, H, D], dk [T, K, D], dv [T, K, D].
pub fn join_rope_backward(dq: &Tensor, dk: &Tensor, dv: &Tensor, positions: &[u32], table: &RopeTable) -> Result<Tensor> {
    let (t, h, d) = dq.dims3()?;
    let k = dk.dim(1)?;
    let width = (h + 2 * k) * d;
    check(positions, t, table, d)?;
    let (Some(qv), Some(kv), Some(vv)) = (View::of(dq), View::of(dk), View::of(dv)) else {
        let (cos, sin) = table.gather(positions, dq.dtype(), dq.device())?;
        let back = sin.neg()?;
        return Tensor::cat(&[rotate(dq, &cos, &back)?, rotate(dk, &cos, &back)?, dv.clone()], 1)?.reshape((t, width));
    };
    let (qs, ks, vs) = (qv.slice(), kv.slice(), vv.slice());
    let mut out = vec![0f32; t * width];
    (out.par_chunks_mut(width), qs.par_chunks(h * d), ks.par_chunks(k * d), vs.par_chunks(k * d), positions)
        .into_par_iter()
        .with_min_len(32)
        .for_each(|(y, q, key, v, &p)| {
            let (cos, sin) = table.row(p);
            let (yq, rest) = y.split_at_mut(h * d);
            let (yk, yv) = rest.split_at_mut(k * d);
            for (y, x) in yq.chunks_exact_mut(d).zip(q.chunks_exact(d)).chain(yk.chunks_exact_mut(d).zip(key.chunks_exact(d))) {
                turn(y, x, cos, sin, -1.0);
            }
            yv.copy_from_slice(v);
        });
    tensor(out, (t, width), dq)
}

#[inline(always)]
fn turn(y: &mut [f32], x: &[f32], cos: &[f32], sin: &[f32], sign: f32) {
    let half = cos.len();
    let (y0, y1) = y.split_at_mut(half);
    let (x0, x1) = x.split_at(half);
    for i in 0..half {
        let s = sign * sin[i];
        y0[i] = x0[i] * cos[i] - x1[i] * s;
        y1[i] = x1[i] * cos[i] + x0[i] * s;
    }
}

fn check(positions: &[u32], t: usize, table: &RopeTable, d: usize) -> Result<()> {
    if positions.len() != t {
        candle_core::bail!("{} positions for {t} rows", positions.len());
    }
    if d != 2 * table.half {
        candle_core::bail!("head dim {d} does not fit a rotary table of {}", 2 * table.half);
    }
    if let Some(p) = positions.iter().find(|&&p| p as usize >= table.len()) {
        candle_core::bail!("position {p} is beyond the {} positions of the model", table.len());
    }
    Ok(())
}

fn split(x: &Tensor, h: usize, k: usize) -> Result<(Tensor, Tensor, Tensor)> {
    Ok((x.narrow(1, 0, h)?, x.narrow(1, h, k)?, x.narrow(1, h + k, k)?))
}

fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let half = cos.dim(2)?;
    let (x0, x1) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
    let y0 = (x0.broadcast_mul(cos)? - x1.broadcast_mul(sin)?)?;
    let y1 = (x1.broadcast_mul(cos)? + x0.broadcast_mul(sin)?)?;
    Tensor::cat(&[y0, y1], 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{close, random};

    #[test]
    fn rope_equals_its_slow_twin_and_backward_undoes_it() -> Result<()> {
        let (t, h, k, d) = (37, 4, 2, 6);
        let table = RopeTable::new(100, d, 1e4, &[1.0, 2.0, 8.0]);
        let positions: Vec<u32> = (0..t as u32).map(|i| i * 7 % 100).collect();
        let x = random(&[t, (h + 2 * k) * d], 1)?;
        let (q, key, v) = split_rope(&x, &positions, &table, h, k)?;
        let (q2, k2, v2) = split_rope(&x.to_dtype(DType::F64)?, &positions, &table, h, k)?;
        close(&q, &q2, 1e-5)?;
        close(&key, &k2, 1e-5)?;
        close(&v, &v2, 0.0)?;
        // a rotation's transpose is its inverse
        close(&join_rope_backward(&q, &key, &v, &positions, &table)?, &x, 1e-5)?;
        close(&join_rope_backward(&q2, &k2, &v2, &positions, &table)?, &x, 1e-5)?;
        assert!(split_rope(&x, &[100; 37], &table, h, k).is_err());
        Ok(())
    }
}
