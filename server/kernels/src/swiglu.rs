//! SwiGLU on the fused output of gate and up: y = silu(gate) * up.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use crate::math::{exp, wide};
use crate::view::{View, tensor};

/// y [T, F] of `gate_up` [T, 2F], gate first.
pub fn swiglu(gate_up: &Tensor) -> Result<Tensor> {
    let (t, f2) = gate_up.dims2()?;
    let f = f2 / 2;
    let Some(view) = View::of(gate_up) else { return swiglu_composed(gate_up) };
    let xs = view.slice();
    let mut y = vec![0f32; t * f];
    y.par_chunks_mut(f).zip(xs.par_chunks(f2)).with_min_len(16).for_each(|(y, x)| {
        let (gate, up) = x.split_at(f);
        swiglu_row(y, gate, up);
    });
    tensor(y, (t, f), gate_up)
}

/// d gate_up [T, 2F] of g [T, F].
pub fn swiglu_backward(g: &Tensor, gate_up: &Tensor) -> Result<Tensor> {
    let (t, f2) = gate_up.dims2()?;
    let f = f2 / 2;
    let (Some(gv), Some(xv)) = (View::of(g), View::of(gate_up)) else { return swiglu_backward_composed(g, gate_up) };
    let (gs, xs) = (gv.slice(), xv.slice());
    let mut d = vec![0f32; t * f2];
    d.par_chunks_mut(f2).enumerate().with_min_len(16).for_each(|(row, d)| {
        let (g, x) = (&gs[row * f..(row + 1) * f], &xs[row * f2..(row + 1) * f2]);
        let ((gate, up), (d_gate, d_up)) = (x.split_at(f), d.split_at_mut(f));
        swiglu_row_backward(d_gate, d_up, g, gate, up);
    });
    tensor(d, (t, f2), gate_up)
}

wide! {
    fn swiglu_row(y: &mut [f32], gate: &[f32], up: &[f32]) -> () {
        for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
            *y = gate / (1.0 + exp(-gate)) * up;
        }
    }
}

wide! {
    fn swiglu_row_backward(d_gate: &mut [f32], d_up: &mut [f32], g: &[f32], gate: &[f32], up: &[f32]) -> () {
        for ((((d_gate, d_up), g), gate), up) in d_gate.iter_mut().zip(d_up).zip(g).zip(gate).zip(up) {
            let s = 1.0 / (1.0 + exp(-gate));
            let silu = gate * s;
            *d_up = g * silu;
            *d_gate = g * up * (s + silu * (1.0 - s));
        }
    }
}

fn halves(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let f = x.dim(D::Minus1)? / 2;
    Ok((x.narrow(D::Minus1, 0, f)?, x.narrow(D::Minus1, f, f)?))
}

fn swiglu_composed(gate_up: &Tensor) -> Result<Tensor> {
    let (gate, up) = halves(gate_up)?;
    gate.silu()? * up
}

fn swiglu_backward_composed(g: &Tensor, gate_up: &Tensor) -> Result<Tensor> {
    let (gate, up) = halves(gate_up)?;
    let s = ((gate.neg()?.exp()? + 1.0)?).recip()?;
    let silu = (&gate * &s)?;
    let d_gate = (g * up)?.mul(&(&s + (&silu * (1.0 - &s)?)?)?)?;
    Tensor::cat(&[d_gate, (g * silu)?], D::Minus1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{close, random};

    #[test]
    fn swiglu_and_its_gradient_equal_their_slow_twins() -> Result<()> {
        for (t, f) in [(1, 1), (5, 19), (40, 64)] {
            let (x, g) = ((random(&[t, 2 * f], 1)? * 8.0)?, random(&[t, f], 2)?);
            close(&swiglu(&x)?, &swiglu_composed(&x)?, 1e-5)?;
            let want = swiglu_backward_composed(&g, &x)?;
            close(&swiglu_backward(&g, &x)?, &want, 1e-5)?;
            let v = candle_core::Var::from_tensor(&x)?;
            let loss = (swiglu_composed(&v)? * &g)?.sum_all()?;
            close(&want, loss.backward()?.get(&v).expect("gradient"), 1e-5)?;
        }
        Ok(())
    }
}
