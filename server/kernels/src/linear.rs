//! Linear layer with a frozen weight and low-rank adapters on slices of its outputs.
//!
//! y = x W^T + bias, and for every part y[:, start..start + Fi] += s (x A^T) B^T (LoRA, arXiv 2106.09685). Several logical
//! linears that read the same input (q, k, v; gate, up) are one weight with one part each. The frozen weight never gets a
//! gradient, which saves a third of the backward pass.
//!
//! The weight comes in both orders, as [`Frozen`]: the product that reads it along its columns needs no packing, which at
//! 500 and more rows is worth up to 1.7x and at 32 rows up to 3x (`cargo bench`), for one more copy of the frozen weights.

use candle_core::{Result, Tensor};

use crate::gemm::{Mat, Threads, matmul};
use crate::view::{View, tensor};

/// A frozen weight, stored in both orders.
#[derive(Clone, Debug)]
pub struct Frozen {
    /// W [F, E], for the backward.
    pub w: Tensor,
    /// W^T [E, F], for the forward.
    pub t: Tensor,
}

impl Frozen {
    /// Both orders of W [F, E].
    pub fn new(w: &Tensor) -> Result<Self> {
        Ok(Self { w: w.contiguous()?, t: w.t()?.contiguous()? })
    }
}

/// The adapter of one logical linear.
#[derive(Clone, Debug)]
pub struct LoraPart {
    /// A [R, E].
    pub a: Tensor,
    /// B [Fi, R].
    pub b: Tensor,
    /// First output column that it adds to.
    pub start: usize,
}

/// (y [T, F], u = x A^T [T, R] of each part, which the backward wants) for x [T, E], w [F, E], bias [F].
pub fn lora_linear(x: &Tensor, w: &Frozen, bias: Option<&Tensor>, parts: &[LoraPart], scale: f64) -> Result<(Tensor, Vec<Tensor>)> {
    let (t, e) = x.dims2()?;
    let f = w.t.dim(1)?;
    let (Some(xv), Some(wv)) = (View::of(x), View::of(&w.t)) else { return lora_linear_composed(x, w, bias, parts, scale) };
    let mut y = match bias {
        None => vec![0f32; t * f],
        Some(bias) => bias.broadcast_as((t, f))?.flatten_all()?.to_vec1()?,
    };
    matmul(t, f, e, &mut y, f, bias.is_some(), 1.0, Mat::rows(xv.slice(), e), Mat::rows(wv.slice(), f), Threads::Pool);
    let mut us = Vec::with_capacity(parts.len());
    for part in parts {
        let (r, fi) = (part.a.dim(0)?, part.b.dim(0)?);
        let (a, b) = (fast(&part.a)?, fast(&part.b)?);
        let mut u = vec![0f32; t * r];
        matmul(t, r, e, &mut u, r, false, 1.0, Mat::rows(xv.slice(), e), Mat::rows(a.slice(), e).t(), Threads::Pool);
        let out = &mut y[part.start.min(t * f)..];
        matmul(t, fi, r, out, f, true, scale as f32, Mat::rows(&u, r), Mat::rows(b.slice(), r).t(), Threads::Pool);
        us.push(tensor(u, (t, r), x)?);
    }
    Ok((tensor(y, (t, f), x)?, us))
}

/// (dx [T, E] or none when `want_dx` is false, (dA, dB) of each part) of g = dy [T, F].
///
/// dx = g W + s (g_i B) A, dA = s (g_i B)^T x, dB = s g_i^T u.
#[expect(clippy::type_complexity, reason = "one pair a part")]
pub fn lora_linear_backward(
    g: &Tensor,
    x: &Tensor,
    w: &Frozen,
    parts: &[LoraPart],
    us: &[Tensor],
    scale: f64,
    want_dx: bool,
) -> Result<(Option<Tensor>, Vec<(Tensor, Tensor)>)> {
    let (t, f) = g.dims2()?;
    let e = w.w.dim(1)?;
    let (Some(gv), Some(xv), Some(wv)) = (View::of(g), View::of(x), View::of(&w.w)) else {
        return lora_linear_backward_composed(g, x, w, parts, us, scale, want_dx);
    };
    let (gs, xs) = (gv.slice(), xv.slice());
    let mut dx = want_dx.then(|| vec![0f32; t * e]);
    if let Some(dx) = &mut dx {
        matmul(t, e, f, dx, e, false, 1.0, Mat::rows(gs, f), Mat::rows(wv.slice(), e), Threads::Pool);
    }
    let s = scale as f32;
    let mut gradients = Vec::with_capacity(parts.len());
    for (part, u) in parts.iter().zip(us) {
        let (r, fi) = (part.a.dim(0)?, part.b.dim(0)?);
        let (a, b, u) = (fast(&part.a)?, fast(&part.b)?, fast(u)?);
        let gi = Mat::rows(&gs[part.start.min(gs.len())..], f);
        let mut v = vec![0f32; t * r]; // s g_i B
        matmul(t, r, fi, &mut v, r, false, s, gi, Mat::rows(b.slice(), r), Threads::Pool);
        if let Some(dx) = &mut dx {
            matmul(t, e, r, dx, e, true, 1.0, Mat::rows(&v, r), Mat::rows(a.slice(), e), Threads::Pool);
        }
        let mut da = vec![0f32; r * e];
        matmul(r, e, t, &mut da, e, false, 1.0, Mat::rows(&v, r).t(), Mat::rows(xs, e), Threads::Pool);
        let mut db = vec![0f32; fi * r];
        matmul(fi, r, t, &mut db, r, false, s, gi.t(), Mat::rows(u.slice(), r), Threads::Pool);
        gradients.push((tensor(da, (r, e), x)?, tensor(db, (fi, r), x)?));
    }
    Ok((dx.map(|dx| tensor(dx, (t, e), x)).transpose()?, gradients))
}

fn fast(t: &Tensor) -> Result<View<'_>> {
    View::of(t).ok_or_else(|| candle_core::Error::Msg("adapter and input differ in dtype, device or layout".into()))
}

fn lora_linear_composed(x: &Tensor, w: &Frozen, bias: Option<&Tensor>, parts: &[LoraPart], scale: f64) -> Result<(Tensor, Vec<Tensor>)> {
    let mut y = x.matmul(&w.t)?;
    if let Some(bias) = bias {
        y = y.broadcast_add(bias)?;
    }
    let (t, f) = y.dims2()?;
    let mut us = Vec::with_capacity(parts.len());
    for part in parts {
        let u = x.matmul(&part.a.t()?)?;
        let low = (u.matmul(&part.b.t()?)? * scale)?;
        let rest = f - part.start - low.dim(1)?;
        let pad = |n: usize| Tensor::zeros((t, n), low.dtype(), low.device());
        let padded = Tensor::cat(&[&pad(part.start)?, &low, &pad(rest)?], 1)?;
        y = (y + padded)?;
        us.push(u);
    }
    Ok((y, us))
}

#[expect(clippy::type_complexity, reason = "as its fast twin")]
fn lora_linear_backward_composed(
    g: &Tensor,
    x: &Tensor,
    w: &Frozen,
    parts: &[LoraPart],
    us: &[Tensor],
    scale: f64,
    want_dx: bool,
) -> Result<(Option<Tensor>, Vec<(Tensor, Tensor)>)> {
    let mut dx = if want_dx { Some(g.matmul(&w.w)?) } else { None };
    let mut gradients = Vec::with_capacity(parts.len());
    for (part, u) in parts.iter().zip(us) {
        let gi = (g.narrow(1, part.start, part.b.dim(0)?)?.contiguous()? * scale)?;
        let v = gi.matmul(&part.b)?;
        if let Some(d) = dx {
            dx = Some((d + v.matmul(&part.a)?)?);
        }
        gradients.push((v.t()?.matmul(x)?, gi.t()?.matmul(u)?));
    }
    Ok((dx, gradients))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{close, random};
    use candle_core::{DType, Var};

    #[test]
    fn lora_linear_and_its_gradients_equal_the_slow_twins_and_autograd() -> Result<()> {
        for (t, e, f) in [(1, 5, 9), (23, 16, 40), (130, 32, 24)] {
            let (x, w, bias, g) = (random(&[t, e], 1)?, Frozen::new(&random(&[f, e], 2)?)?, random(&[f], 3)?, random(&[t, f], 4)?);
            let part =
                |fi, start, seed| -> Result<LoraPart> { Ok(LoraPart { a: random(&[2, e], seed)?, b: random(&[fi, 2], seed + 1)?, start }) };
            let parts = [part(4, 0, 5)?, part(3, f - 3, 7)?];
            let (y, us) = lora_linear(&x, &w, Some(&bias), &parts, 1.5)?;
            close(&y, &lora_linear_composed(&x, &w, Some(&bias), &parts, 1.5)?.0, 1e-4)?;
            let (dx, grads) = lora_linear_backward(&g, &x, &w, &parts, &us, 1.5, true)?;

            let v = |t: &Tensor| Var::from_tensor(&t.to_dtype(DType::F64)?);
            let (xv, vars) = (v(&x)?, parts.iter().map(|p| Ok((v(&p.a)?, v(&p.b)?))).collect::<Result<Vec<_>>>()?);
            let tracked: Vec<_> = parts
                .iter()
                .zip(&vars)
                .map(|(p, (a, b))| LoraPart { a: a.as_tensor().clone(), b: b.as_tensor().clone(), start: p.start })
                .collect();
            let (w64, bias64, g64) = (Frozen::new(&w.w.to_dtype(DType::F64)?)?, bias.to_dtype(DType::F64)?, g.to_dtype(DType::F64)?);
            let (y64, us64) = lora_linear_composed(&xv, &w64, Some(&bias64), &tracked, 1.5)?;
            let store = (y64 * &g64)?.sum_all()?.backward()?;
            let get = |v: &Var| store.get(v).expect("gradient").clone();
            let (dx64, grads64) = lora_linear_backward_composed(&g64, &xv, &w64, &tracked, &us64, 1.5, true)?;
            close(&dx.expect("asked for"), &get(&xv), 1e-4)?;
            close(&dx64.expect("asked for"), &get(&xv), 1e-12)?;
            for (((da, db), (ta, tb)), (a, b)) in grads.iter().zip(&grads64).zip(&vars) {
                close(da, &get(a), 1e-4)?;
                close(db, &get(b), 1e-4)?;
                close(ta, &get(a), 1e-12)?;
                close(tb, &get(b), 1e-12)?;
            }
        }
        Ok(())
    }
}
