//! RMSNorm with a frozen weight: y = w * x * r, r = 1 / sqrt(mean(x^2) + eps).

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
}
