//! Linear layer with a frozen weight and low-rank adapters on slices of its outputs.
//!
//! y = x W^T + bias, and for every part y[:, start..start + Fi] += s (x A^T) B^T (LoRA, arXiv 2106.09685). Several logical
//! linears that read the same input (q, k, v; gate, up) are one weight with one part each. The frozen weight never gets a
//! gradient, which saves a third of the backward pass.
//!
//! The weight is [`Frozen`]: it never changes, so it is arranged once for both products.

use candle_core::{Result, Tensor};

use crate::frozen::Frozen;
use crate::skinny::{self, Cols, Expansion, Lanes};
use crate::view::{View, tensor};

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

/// The adapters of one fused linear, arranged for its products: made once an update, used for every token until the next.
#[derive(Clone, Debug, Default)]
pub struct Lora {
    parts: Vec<LoraPart>,
    scale: f64,
    /// A^T of all parts side by side [E, sum of R]; empty where the numbers are not f32 on the CPU.
    a: Lanes,
    /// s B^T [R, Fi] of each part; none there.
    b: Vec<Vec<f32>>,
}

impl Lora {
    /// Arranges `parts`, which read the same input, with adapter scale `scale`. No parts = the adapter is off.
    pub fn new(parts: Vec<LoraPart>, scale: f64) -> Result<Self> {
        let (mut stacked, mut b) = (Vec::new(), Vec::with_capacity(parts.len()));
        for part in &parts {
            let (Some(a), Some(bv)) = (View::of(&part.a), View::of(&part.b)) else {
                return Ok(Self { parts, scale, ..Self::default() });
            };
            let (fi, r) = part.b.dims2()?;
            stacked.extend_from_slice(a.slice());
            b.push(skinny::transposed(bv.slice(), fi, r).into_iter().map(|b| b * scale as f32).collect());
        }
        let width: usize = parts.iter().map(|p| p.a.dims()[0]).sum();
        let e = stacked.len() / width.max(1);
        let a = Lanes::new(&skinny::transposed(&stacked, width, e), e, width);
        Ok(Self { parts, scale, a, b })
    }

    /// Sum of R.
    fn width(&self) -> usize {
        self.parts.iter().map(|p| p.a.dims()[0]).sum()
    }

    /// Can products of f32 slices use it?
    fn is_fast(&self) -> bool {
        self.b.len() == self.parts.len()
    }
}

/// What a linear's output is added to.
#[derive(Clone, Copy, Debug)]
pub enum Onto<'a> {
    /// Nothing.
    Zero,
    /// The same numbers in every row [F].
    Bias(&'a Tensor),
    /// The rows that bypass the layer [T, F].
    Residual(&'a Tensor),
}

/// (y [T, F], u = x A^T [T, sum of R] part after part, which the backward wants) for x [T, E], w [F, E].
pub fn lora_linear(x: &Tensor, w: &Frozen, onto: Onto, lora: &Lora) -> Result<(Tensor, Tensor)> {
    let (t, e) = x.dims2()?;
    let f = w.outputs();
    let (Some(xv), Some(wv), true) = (View::of(x), w.view(), lora.is_fast()) else { return lora_linear_composed(x, w, onto, lora) };
    let mut y = match onto {
        Onto::Zero => wv.product(t, xv.slice()),
        Onto::Bias(more) | Onto::Residual(more) => {
            if more.dims() != [f] && more.dims() != [t, f] {
                candle_core::bail!("{:?} cannot be added to [{t}, {f}]", more.dims());
            }
            wv.product_onto(t, xv.slice(), fast(&more.contiguous()?)?.slice())
        }
    };
    let mut expansions = Vec::with_capacity(lora.parts.len());
    for (part, w) in lora.parts.iter().zip(&lora.b) {
        let (n, r) = part.b.dims2()?;
        expansions.push(Expansion { w, r, n, first: part.start });
    }
    let u = skinny::project_and_expand(Cols::all(xv.slice(), e), t, &lora.a, 1.0, &expansions, &mut y, f);
    Ok((tensor(y, (t, f), x)?, tensor(u, (t, lora.width()), x)?))
}

/// (dx [T, E] or none when `want_dx` is false, (dA, dB) of each part) of g = dy [T, F].
///
/// dx = g W + s (g_i B) A, dA = s (g_i B)^T x, dB = s g_i^T u.
#[expect(clippy::type_complexity, reason = "one pair a part")]
pub fn lora_linear_backward(
    g: &Tensor,
    x: &Tensor,
    w: &Frozen,
    lora: &Lora,
    u: &Tensor,
    want_dx: bool,
) -> Result<(Option<Tensor>, Vec<(Tensor, Tensor)>)> {
    let (t, f) = g.dims2()?;
    let e = w.inputs();
    let (Some(gv), Some(xv), Some(wv), Some(uv), true) = (View::of(g), View::of(x), w.view(), View::of(u), lora.is_fast()) else {
        return lora_linear_backward_composed(g, x, w, lora, u, want_dx);
    };
    let (gs, xs, us) = (gv.slice(), xv.slice(), uv.slice());
    let mut dx = want_dx.then(|| wv.product_back(t, gs));
    let s = lora.scale as f32;
    let width = u.dim(1)?;
    let mut first = 0;
    let mut gradients = Vec::with_capacity(lora.parts.len());
    for part in &lora.parts {
        let (r, fi) = (part.a.dim(0)?, part.b.dim(0)?);
        let (a, b) = (fast(&part.a)?, fast(&part.b)?);
        let gi = Cols { data: gs, row: f, first: part.start, n: fi };
        let lanes = Lanes::new(b.slice(), fi, r);
        // s g_i B, and that times A
        let v = match &mut dx {
            Some(dx) => skinny::project_and_expand(gi, t, &lanes, s, &[Expansion { w: a.slice(), r, n: e, first: 0 }], dx, e),
            None => skinny::project(gi, t, &lanes, s),
        };
        let da = skinny::transposed(&skinny::outer(Cols::all(xs, e), t, &v, r), e, r);
        let mine: Vec<f32> = us.chunks_exact(width).flat_map(|u| &u[first..first + r]).map(|u| u * s).collect();
        let db = skinny::outer(gi, t, &mine, r);
        gradients.push((tensor(da, (r, e), x)?, tensor(db, (fi, r), x)?));
        first += r;
    }
    Ok((dx.map(|dx| tensor(dx, (t, e), x)).transpose()?, gradients))
}

fn fast(t: &Tensor) -> Result<View<'_>> {
    View::of(t).ok_or_else(|| candle_core::Error::Msg("adapter and input differ in dtype, device or layout".into()))
}

fn lora_linear_composed(x: &Tensor, w: &Frozen, onto: Onto, lora: &Lora) -> Result<(Tensor, Tensor)> {
    let mut y = w.forward_composed(x)?;
    if let Onto::Bias(more) | Onto::Residual(more) = onto {
        y = y.broadcast_add(more)?;
    }
    let (t, f) = y.dims2()?;
    let mut us = Vec::with_capacity(lora.parts.len());
    for part in &lora.parts {
        let u = x.matmul(&part.a.t()?)?;
        let low = (u.matmul(&part.b.t()?)? * lora.scale)?;
        let rest = f - part.start - low.dim(1)?;
        let pad = |n: usize| Tensor::zeros((t, n), low.dtype(), low.device());
        let padded = Tensor::cat(&[&pad(part.start)?, &low, &pad(rest)?], 1)?;
        y = (y + padded)?;
        us.push(u);
    }
    let u = if us.is_empty() { Tensor::zeros((t, 0), x.dtype(), x.device())? } else { Tensor::cat(&us, 1)? };
    Ok((y, u))
}

#[expect(clippy::type_complexity, reason = "as its fast twin")]
fn lora_linear_backward_composed(
    g: &Tensor,
    x: &Tensor,
    w: &Frozen,
    lora: &Lora,
    u: &Tensor,
    want_dx: bool,
) -> Result<(Option<Tensor>, Vec<(Tensor, Tensor)>)> {
    let mut dx = if want_dx { Some(w.backward_composed(g)?) } else { None };
    let mut first = 0;
    let mut gradients = Vec::with_capacity(lora.parts.len());
    for part in &lora.parts {
        let (r, fi) = (part.a.dim(0)?, part.b.dim(0)?);
        let gi = (g.narrow(1, part.start, fi)?.contiguous()? * lora.scale)?;
        let v = gi.matmul(&part.b)?;
        if let Some(d) = dx {
            dx = Some((d + v.matmul(&part.a)?)?);
        }
        gradients.push((v.t()?.matmul(x)?, gi.t()?.matmul(&u.narrow(1, first, r)?.contiguous()?)?));
        first += r;
    }
    Ok((dx, gradients))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{close, random};
    use candle_core::{DType, Var};

    #[test]
    fn a_weight_of_a_narrower_dtype_multiplies_wider_rows() -> Result<()> {
        let (x, w, g) = (random(&[23, 16], 1)?, random(&[40, 16], 2)?, random(&[23, 40], 3)?);
        let (packed, narrow) = (Frozen::bf16(&w)?, Frozen::new(&w.to_dtype(DType::BF16)?)?);
        let lora = Lora::new(vec![LoraPart { a: random(&[2, 16], 4)?, b: random(&[40, 2], 5)?, start: 0 }], 1.5)?;
        let ((y, u), (want, want_u)) = (lora_linear(&x, &narrow, Onto::Zero, &lora)?, lora_linear(&x, &packed, Onto::Zero, &lora)?);
        assert_eq!(y.dtype(), DType::F32);
        close(&y, &want, 2e-2)?; // its products are rounded to eight bits as well
        close(&u, &want_u, 1e-5)?;
        let (dx, found) = lora_linear_backward(&g, &x, &narrow, &lora, &u, true)?;
        let (want_dx, want) = lora_linear_backward(&g, &x, &packed, &lora, &u, true)?;
        close(&dx.expect("asked for"), &want_dx.expect("asked for"), 4e-2)?;
        close(&found[0].0, &want[0].0, 1e-4)?;
        close(&found[0].1, &want[0].1, 1e-4)
    }

    #[test]
    fn lora_linear_and_its_gradients_equal_the_slow_twins_and_autograd() -> Result<()> {
        for (t, e, f) in [(1, 5, 9), (23, 16, 40), (130, 32, 24)] {
            let (x, w, bias, g) = (random(&[t, e], 1)?, Frozen::new(&random(&[f, e], 2)?)?, random(&[f], 3)?, random(&[t, f], 4)?);
            let part =
                |fi, start, seed| -> Result<LoraPart> { Ok(LoraPart { a: random(&[2, e], seed)?, b: random(&[fi, 2], seed + 1)?, start }) };
            let parts = vec![part(4, 0, 5)?, part(3, f - 3, 7)?];
            let lora = Lora::new(parts.clone(), 1.5)?;
            for onto in [Onto::Zero, Onto::Bias(&bias), Onto::Residual(&g)] {
                let ((y, u), (want, want_u)) = (lora_linear(&x, &w, onto, &lora)?, lora_linear_composed(&x, &w, onto, &lora)?);
                close(&y, &want, 1e-4)?;
                close(&u, &want_u, 1e-4)?;
            }
            let u = lora_linear(&x, &w, Onto::Zero, &lora)?.1;
            let (dx, grads) = lora_linear_backward(&g, &x, &w, &lora, &u, true)?;

            let v = |t: &Tensor| Var::from_tensor(&t.to_dtype(DType::F64)?);
            let (xv, vars) = (v(&x)?, parts.iter().map(|p| Ok((v(&p.a)?, v(&p.b)?))).collect::<Result<Vec<_>>>()?);
            let tracked = parts
                .iter()
                .zip(&vars)
                .map(|(p, (a, b))| LoraPart { a: a.as_tensor().clone(), b: b.as_tensor().clone(), start: p.start })
                .collect();
            let tracked = Lora::new(tracked, 1.5)?;
            let (w64, g64) = (Frozen::new(&w.full()?.0.to_dtype(DType::F64)?)?, g.to_dtype(DType::F64)?);
            let (y64, u64) = lora_linear_composed(&xv, &w64, Onto::Zero, &tracked)?;
            let store = (y64 * &g64)?.sum_all()?.backward()?;
            let get = |v: &Var| store.get(v).expect("gradient").clone();
            let (dx64, grads64) = lora_linear_backward_composed(&g64, &xv, &w64, &tracked, &u64, true)?;
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
