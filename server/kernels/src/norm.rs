//! RMSNorm with a frozen weight: y = w * x * r, r = 1 / sqrt(mean(x^2) + eps). Of rows, and of the heads of queries and keys.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use crate::math::{sum_by, wide};
use crate::view::{View, tensor};

/// y [T, E] of x [T, E] and w [E].
pub fn rms_norm(x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
    let (t, e) = x.dims2()?;
    let (Some(xv), Some(wv)) = (View::of(x), View::of(w)) else { return rms_norm_composed(x, w, eps) };
    let (xs, ws) = (xv.slice(), wv.slice());
    let mut y = vec![0f32; t * e];
    y.par_chunks_mut(e).zip(xs.par_chunks(e)).with_min_len(32).for_each(|(y, x)| {
        norm_row(y, x, ws, eps);
    });
    tensor(y, (t, e), x)
}

/// dx [T, E] = r * (w * g) - x * r^3 * mean(w * g * x), plus `residual` [T, E], the gradient that bypasses the norm.
pub fn rms_norm_backward(g: &Tensor, x: &Tensor, w: &Tensor, eps: f64, residual: &Tensor) -> Result<Tensor> {
    let (t, e) = x.dims2()?;
    let (Some(gv), Some(xv), Some(wv), Some(rv)) = (View::of(g), View::of(x), View::of(w), View::of(residual)) else {
        return rms_norm_backward_composed(g, x, w, eps, residual);
    };
    let (gs, xs, ws, rs) = (gv.slice(), xv.slice(), wv.slice(), rv.slice());
    let mut dx = vec![0f32; t * e];
    dx.par_chunks_mut(e).enumerate().with_min_len(32).for_each(|(row, dx)| {
        let at = row * e..(row + 1) * e;
        let (g, x, residual) = (&gs[at.clone()], &xs[at.clone()], &rs[at]);
        norm_row_backward(dx, g, x, ws, residual, eps);
    });
    tensor(dx, (t, e), x)
}

/// The fused `qkv` [T, (H + 2K) D] with each head of q and k normalised by `wq` and `wk` [D] (Qwen3, before the rotation); v as it is.
pub fn head_norm(qkv: &Tensor, wq: &Tensor, wk: &Tensor, h: usize, k: usize, eps: f64) -> Result<Tensor> {
    let (t, width) = qkv.dims2()?;
    let d = wq.dim(0)?;
    let (Some(xv), Some(qv), Some(kv)) = (View::of(qkv), View::of(wq), View::of(wk)) else {
        let [q, key, v] = split_heads(qkv, d, h, k)?;
        return join_heads([rms_norm_composed(&q, wq, eps)?, rms_norm_composed(&key, wk, eps)?, v], t);
    };
    let (xs, wq, wk) = (xv.slice(), qv.slice(), kv.slice());
    let mut y = vec![0f32; t * width];
    y.par_chunks_mut(width).zip(xs.par_chunks(width)).with_min_len(32).for_each(|(y, x)| {
        let heads = y.chunks_exact_mut(d).zip(x.chunks_exact(d));
        for (head, (y, x)) in heads.enumerate() {
            match head_weight(head, wq, wk, h, k) {
                Some(w) => norm_row(y, x, w, eps),
                None => y.copy_from_slice(x),
            }
        }
    });
    tensor(y, (t, width), qkv)
}

/// d qkv [T, (H + 2K) D] given the gradient `g` at what [`head_norm`] made of it.
pub fn head_norm_backward(g: &Tensor, qkv: &Tensor, wq: &Tensor, wk: &Tensor, h: usize, k: usize, eps: f64) -> Result<Tensor> {
    let (t, width) = qkv.dims2()?;
    let d = wq.dim(0)?;
    let (Some(gv), Some(xv), Some(qv), Some(kv)) = (View::of(g), View::of(qkv), View::of(wq), View::of(wk)) else {
        let ([gq, gk, gv], [q, key, _]) = (split_heads(g, d, h, k)?, split_heads(qkv, d, h, k)?);
        let back = |g: &Tensor, x: &Tensor, w: &Tensor| rms_norm_backward_composed(g, x, w, eps, &x.zeros_like()?);
        return join_heads([back(&gq, &q, wq)?, back(&gk, &key, wk)?, gv], t);
    };
    let (gs, xs, wq, wk) = (gv.slice(), xv.slice(), qv.slice(), kv.slice());
    let no_residual = vec![0f32; d];
    let mut dx = vec![0f32; t * width];
    (dx.par_chunks_mut(width), gs.par_chunks(width), xs.par_chunks(width)).into_par_iter().with_min_len(32).for_each(|(dx, g, x)| {
        let heads = dx.chunks_exact_mut(d).zip(g.chunks_exact(d)).zip(x.chunks_exact(d));
        for (head, ((dx, g), x)) in heads.enumerate() {
            match head_weight(head, wq, wk, h, k) {
                Some(w) => norm_row_backward(dx, g, x, w, &no_residual, eps),
                None => dx.copy_from_slice(g),
            }
        }
    });
    tensor(dx, (t, width), qkv)
}

/// What normalises this head; nothing does one of v.
fn head_weight<'a>(head: usize, wq: &'a [f32], wk: &'a [f32], h: usize, k: usize) -> Option<&'a [f32]> {
    match head {
        _ if head < h => Some(wq),
        _ if head < h + k => Some(wk),
        _ => None,
    }
}

/// Heads as rows: [T H, D], [T K, D], [T K, D].
fn split_heads(qkv: &Tensor, d: usize, h: usize, k: usize) -> Result<[Tensor; 3]> {
    let t = qkv.dim(0)?;
    let heads = |from: usize, n: usize| qkv.narrow(1, from * d, n * d)?.reshape((t * n, d));
    Ok([heads(0, h)?, heads(h, k)?, heads(h + k, k)?])
}

fn join_heads(parts: [Tensor; 3], t: usize) -> Result<Tensor> {
    let [q, k, v] = parts;
    let row = |x: Tensor| {
        let width = x.elem_count() / t.max(1);
        x.reshape((t, width))
    };
    Tensor::cat(&[row(q)?, row(k)?, row(v)?], 1)
}

wide! {
    fn norm_row(y: &mut [f32], x: &[f32], w: &[f32], eps: f64) -> () {
        let r = inverse_rms(x, eps);
        for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
            *y = w * (x * r);
        }
    }
}

wide! {
    fn norm_row_backward(dx: &mut [f32], g: &[f32], x: &[f32], w: &[f32], residual: &[f32], eps: f64) -> () {
        let (r, e) = (inverse_rms(x, eps), x.len());
        let c = sum_by([w, g, x], |[w, g, x]| w * g * x) / e as f32 * r * r * r;
        for ((((dx, g), x), w), residual) in dx.iter_mut().zip(g).zip(x).zip(w).zip(residual) {
            *dx = residual + r * (w * g) - x * c;
        }
    }
}

#[inline(always)]
fn inverse_rms(x: &[f32], eps: f64) -> f32 {
    let mean = sum_by([x], |[x]| x * x) / x.len() as f32;
    1.0 / (mean + eps as f32).sqrt()
}

fn rms_norm_composed(x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
    x.broadcast_mul(&inverse_rms_composed(x, eps)?)?.broadcast_mul(w)
}

fn rms_norm_backward_composed(g: &Tensor, x: &Tensor, w: &Tensor, eps: f64, residual: &Tensor) -> Result<Tensor> {
    let r = inverse_rms_composed(x, eps)?;
    let wg = g.broadcast_mul(w)?;
    let c = ((&wg * x)?.mean_keepdim(D::Minus1)? * (&r * r.sqr()?)?)?;
    residual + (wg.broadcast_mul(&r)? - x.broadcast_mul(&c)?)?
}

fn inverse_rms_composed(x: &Tensor, eps: f64) -> Result<Tensor> {
    (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{close, random};

    #[test]
    fn norm_and_its_gradient_equal_their_slow_twins() -> Result<()> {
        for (t, e) in [(1, 1), (3, 17), (70, 64)] {
            let (x, w, g, residual) = (random(&[t, e], 1)?, random(&[e], 2)?, random(&[t, e], 3)?, random(&[t, e], 4)?);
            close(&rms_norm(&x, &w, 1e-5)?, &rms_norm_composed(&x, &w, 1e-5)?, 1e-5)?;
            let want = rms_norm_backward_composed(&g, &x, &w, 1e-5, &residual)?;
            close(&rms_norm_backward(&g, &x, &w, 1e-5, &residual)?, &want, 1e-4)?;
            let v = candle_core::Var::from_tensor(&x)?;
            let loss = (rms_norm_composed(&v, &w, 1e-5)? * &g)?.sum_all()?;
            let autograd = (loss.backward()?.get(&v).expect("gradient") + &residual)?;
            close(&want, &autograd, 1e-4)?;
        }
        Ok(())
    }

    #[test]
    fn norm_of_heads_and_its_gradient_equal_their_slow_twins() -> Result<()> {
        for (t, h, k, d) in [(1, 1, 1, 2), (5, 3, 1, 6), (70, 4, 2, 16)] {
            let width = (h + 2 * k) * d;
            let (x, g) = (random(&[t, width], 1)?, random(&[t, width], 2)?);
            let (wq, wk) = (random(&[d], 3)?, random(&[d], 4)?);
            let wide = |x: &Tensor| x.to_dtype(candle_core::DType::F64);
            let (x64, g64, wq64, wk64) = (wide(&x)?, wide(&g)?, wide(&wq)?, wide(&wk)?);
            let y = head_norm(&x, &wq, &wk, h, k, 1e-5)?;
            close(&y, &head_norm(&x64, &wq64, &wk64, h, k, 1e-5)?, 1e-5)?;
            let v_at = (h + k) * d;
            close(&y.narrow(1, v_at, k * d)?, &x.narrow(1, v_at, k * d)?, 0.0)?;
            let back = head_norm_backward(&g, &x, &wq, &wk, h, k, 1e-5)?;
            close(&back, &head_norm_backward(&g64, &x64, &wq64, &wk64, h, k, 1e-5)?, 1e-4)?;
            let v = candle_core::Var::from_tensor(&x64)?;
            let loss = (head_norm(&v, &wq64, &wk64, h, k, 1e-5)? * &g64)?.sum_all()?;
            close(&back, loss.backward()?.get(&v).expect("gradient"), 1e-4)?;
        }
        Ok(())
    }
}
