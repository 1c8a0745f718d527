//! Linear layer with a frozen weight and low-rank adapters on slices of its outputs.
//!
//! y = x W^T + bias, and for every part y[:, start..start + Fi] += s (x A^T) B^T (LoRA, arXiv 2106.09685). Several logical
//! linears that read the same input (q, k, v; gate, up) are one weight with one part each. The frozen weight never gets a
//! gradient, which saves a third of the backward pass.
//!
//! The weight is [`Frozen`]: it never changes, so it is arranged once for both products.

use candle_core::{Result, Tensor};

use crate::bf16::{Factors, LowRank, adapters_ride_along};
use crate::frozen::{Frozen, FrozenView};
use crate::gemm::Mat;
use crate::skinny::{self, Cols, Expansion, Lanes};
use crate::view::{View, tensor};

/// The adapter of one logical linear.
#[derive(Clone, Debug)]
pub struct LoraPart {
    /// A [R, E].
    pub a: Tensor,
    /// B [Fi, R].
    pub b: Tensor,
    /// First output column that it adds to, behind those of the parts before it.
    pub start: usize,
}

/// The adapters of one fused linear, arranged for its products: made once an update, used for every token until the next.
#[derive(Clone, Debug, Default)]
pub struct Lora {
    parts: Vec<LoraPart>,
    scale: f64,
    arranged: Arranged,
}

#[derive(Clone, Debug)]
enum Arranged {
    /// Not at all: the numbers are not f32 on the CPU.
    Plain,
    /// For products of their own.
    Lanes {
        /// A^T of all parts side by side [E, sum of R].
        a: Lanes,
        /// s B^T [R, Fi] of each part.
        b: Vec<Vec<f32>>,
    },
    /// To ride along with the frozen weight.
    Along {
        /// A^T, then s B^T.
        forward: Box<LowRank>,
        /// s B, then A.
        backward: Box<LowRank>,
    },
}

impl Lora {
    /// Arranges `parts`, which read the same input, with adapter scale `scale`, for the products of `w`. No parts = the adapter is off.
    /// Parts that are out of order, overlap or leave the weight are an error.
    pub fn new(parts: Vec<LoraPart>, scale: f64, w: &Frozen) -> Result<Self> {
        let mut end = 0;
        for part in &parts {
            if part.start < end {
                candle_core::bail!("an adapter begins at output {}, before the last one's end at {end}", part.start);
            }
            end = part.start + part.b.dim(0)?;
        }
        if end > w.outputs() {
            candle_core::bail!("adapters reach to output {end} of {}", w.outputs());
        }
        let arranged = Arranged::new(&parts, scale as f32, w)?;
        Ok(Self { parts, scale, arranged })
    }

    /// Sum of R.
    fn width(&self) -> usize {
        self.parts.iter().map(|p| p.a.dims()[0]).sum()
    }
}

impl Default for Arranged {
    fn default() -> Self {
        Self::Lanes { a: Lanes::default(), b: Vec::new() }
    }
}

impl Arranged {
    fn new(parts: &[LoraPart], scale: f32, w: &Frozen) -> Result<Self> {
        let (mut shapes, mut a_views, mut scaled) = (Vec::new(), Vec::new(), Vec::new());
        for part in parts {
            let (Some(a), Some(b)) = (View::of(&part.a), View::of(&part.b)) else { return Ok(Self::Plain) };
            shapes.push((part.b.dims2()?, part.start));
            a_views.push(a);
            scaled.push(b.slice().iter().map(|b| b * scale).collect::<Vec<_>>());
        }
        let (e, f) = (w.inputs(), w.outputs());
        if matches!(w, Frozen::Bf16 { .. }) && adapters_ride_along() && !parts.is_empty() {
            let (mut forward, mut backward) = (Vec::new(), Vec::new());
            for ((&((fi, r), start), a), b) in shapes.iter().zip(&a_views).zip(&scaled) {
                let (a, b) = (Mat::rows(a.slice(), e), Mat::rows(b, r));
                forward.push(Factors { r, down: a.t(), inputs: 0..e, up: b.t(), outputs: start..start + fi });
                backward.push(Factors { r, down: b, inputs: start..start + fi, up: a, outputs: 0..e });
            }
            return Ok(Self::Along { forward: Box::new(LowRank::new(e, f, &forward)), backward: Box::new(LowRank::new(f, e, &backward)) });
        }
        let width: usize = shapes.iter().map(|((_, r), _)| r).sum();
        let stacked: Vec<f32> = a_views.iter().flat_map(View::slice).copied().collect();
        let b = shapes.iter().zip(&scaled).map(|(((fi, r), _), b)| skinny::transposed(b, *fi, *r)).collect();
        Ok(Self::Lanes { a: Lanes::new(&skinny::transposed(&stacked, width, e), e, width), b })
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
    let (Some(xv), Some(wv)) = (View::of(x), w.view()) else { return lora_linear_composed(x, w, onto, lora) };
    let xs = xv.slice();
    let base = match onto {
        Onto::Zero => None,
        Onto::Bias(more) | Onto::Residual(more) => {
            if more.dims() != [f] && more.dims() != [t, f] {
                candle_core::bail!("{:?} cannot be added to [{t}, {f}]", more.dims());
            }
            Some(more.contiguous()?)
        }
    };
    let base = base.as_ref().map(fast).transpose()?;
    let base = base.as_ref().map(View::slice);
    let (y, u) = match (&lora.arranged, wv) {
        (Arranged::Plain, _) => return lora_linear_composed(x, w, onto, lora),
        (Arranged::Along { forward: low, .. }, FrozenView::Bf16 { forward, .. }) => forward.adapted_product(t, xs, base, low),
        (Arranged::Along { .. }, FrozenView::Full { .. }) => candle_core::bail!("these adapters are arranged for another weight"),
        (Arranged::Lanes { a, b }, wv) => {
            let product = || match base {
                None => wv.product(t, xs),
                Some(base) => wv.product_onto(t, xs, base),
            };
            // of few rows the projection is work for one thread only: another may take it while this one begins with the product
            let (mut y, u) = rayon::join(product, || skinny::project(Cols::all(xs, e), t, a, 1.0));
            let mut expansions = Vec::with_capacity(lora.parts.len());
            for (part, w) in lora.parts.iter().zip(b) {
                let (n, r) = part.b.dims2()?;
                expansions.push(Expansion { w, r, n, first: part.start });
            }
            skinny::expand(&u, t, &expansions, &mut y, f);
            (y, u)
        }
    };
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
    let (Some(gv), Some(xv), Some(wv), Some(uv)) = (View::of(g), View::of(x), w.view(), View::of(u)) else {
        return lora_linear_backward_composed(g, x, w, lora, u, want_dx);
    };
    let (gs, xs, us) = (gv.slice(), xv.slice(), uv.slice());
    let s = lora.scale as f32;
    let width = u.dim(1)?;
    // v = s g_i B [T, sum of R] part after part
    let (dx, v) = match (&lora.arranged, wv) {
        (Arranged::Plain, _) => return lora_linear_backward_composed(g, x, w, lora, u, want_dx),
        (Arranged::Along { backward: low, .. }, FrozenView::Bf16 { backward, .. }) if want_dx => {
            let (dx, v) = backward.adapted_product(t, gs, None, low);
            (Some(dx), v)
        }
        (Arranged::Along { backward: low, .. }, FrozenView::Bf16 { .. }) => (None, low.projected(t, gs)),
        (Arranged::Along { .. }, FrozenView::Full { .. }) => candle_core::bail!("these adapters are arranged for another weight"),
        (Arranged::Lanes { .. }, wv) => {
            let mut dx = want_dx.then(|| wv.product_back(t, gs));
            let mut vs = vec![0f32; t * width];
            let mut first = 0;
            for part in &lora.parts {
                let (r, fi) = (part.a.dim(0)?, part.b.dim(0)?);
                let (a, b) = (fast(&part.a)?, fast(&part.b)?);
                let gi = Cols { data: gs, row: f, first: part.start, n: fi };
                let v = skinny::project(gi, t, &Lanes::new(b.slice(), fi, r), s);
                if let Some(dx) = &mut dx {
                    skinny::expand(&v, t, &[Expansion { w: a.slice(), r, n: e, first: 0 }], dx, e);
                }
                for (all, v) in vs.chunks_exact_mut(width.max(1)).zip(v.chunks_exact(r)) {
                    all[first..first + r].copy_from_slice(v);
                }
                first += r;
            }
            (dx, vs)
        }
    };
    let mut pairs = Vec::with_capacity(2 * lora.parts.len());
    let mut first = 0;
    for part in &lora.parts {
        let (r, fi) = (part.a.dim(0)?, part.b.dim(0)?);
        let of = |data| Cols { data, row: width, first, n: r };
        pairs.push((of(&v), Cols::all(xs, e)));
        pairs.push((of(us), Cols { data: gs, row: f, first: part.start, n: fi }));
        first += r;
    }
    let mut found = skinny::outers(&pairs, t).into_iter();
    let mut gradients = Vec::with_capacity(lora.parts.len());
    for part in &lora.parts {
        let (r, fi) = (part.a.dim(0)?, part.b.dim(0)?);
        let (Some(da), Some(db)) = (found.next(), found.next()) else { candle_core::bail!("fewer gradients than adapters") };
        let db = skinny::transposed(&db, r, fi).into_iter().map(|x| x * s).collect();
        gradients.push((tensor(da, (r, e), x)?, tensor(db, (fi, r), x)?));
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
        let lora = Lora::new(vec![LoraPart { a: random(&[2, 16], 4)?, b: random(&[40, 2], 5)?, start: 0 }], 1.5, &packed)?;
        let ((y, u), (want, want_u)) = (lora_linear(&x, &narrow, Onto::Zero, &lora)?, lora_linear(&x, &packed, Onto::Zero, &lora)?);
        assert_eq!(y.dtype(), DType::F32);
        close(&y, &want, 2e-2)?; // its products are rounded to eight bits as well
        close(&u, &want_u, 2e-4)?; // adapters that ride along are exact to 16 bits
        let (dx, found) = lora_linear_backward(&g, &x, &narrow, &lora, &u, true)?;
        let (want_dx, want) = lora_linear_backward(&g, &x, &packed, &lora, &u, true)?;
        close(&dx.expect("asked for"), &want_dx.expect("asked for"), 4e-2)?;
        close(&found[0].0, &want[0].0, 1e-3)?;
        close(&found[0].1, &want[0].1, 1e-3)
    }

    #[test]
    fn adapters_that_overlap_or_leave_the_weight_are_refused() -> Result<()> {
        let w = Frozen::new(&random(&[40, 16], 1)?)?;
        let part = |fi, start| -> Result<LoraPart> { Ok(LoraPart { a: random(&[2, 16], 2)?, b: random(&[fi, 2], 3)?, start }) };
        let said = |parts| Lora::new(parts, 1.0, &w).map(|_| ()).expect_err("refused").to_string();
        assert!(said(vec![part(20, 20)?, part(20, 0)?]).contains("begins at output 0, before the last one's end at 40"));
        assert!(said(vec![part(20, 0)?, part(20, 19)?]).contains("begins at output 19"));
        assert!(said(vec![part(20, 21)?]).contains("reach to output 41 of 40"));
        assert!(Lora::new(vec![part(10, 5)?, part(10, 30)?], 1.0, &w).is_ok());
        Ok(())
    }

    /// Packed and in full: nearly the same products, by whatever way this CPU has for the packed ones.
    #[test]
    fn several_adapters_of_a_packed_weight_do_what_they_do_to_a_full_one() -> Result<()> {
        let (t, e, f) = (45, 50, 70);
        let w = random(&[f, e], 2)?.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
        let (packed, full) = (Frozen::bf16(&w)?, Frozen::new(&w)?);
        let (x, bias, g) = (random(&[t, e], 1)?, random(&[f], 3)?, random(&[t, f], 4)?);
        let part =
            |r, fi, start, seed| -> Result<LoraPart> { Ok(LoraPart { a: random(&[r, e], seed)?, b: random(&[fi, r], seed + 1)?, start }) };
        let parts = vec![part(3, 37, 0, 5)?, part(20, f - 37, 37, 7)?];
        let [lora, want_lora] = [&packed, &full].map(|w| Lora::new(parts.clone(), 1.5, w));
        let (lora, want_lora) = (lora?, want_lora?);
        let tolerance = 5e-3;
        for onto in [Onto::Zero, Onto::Bias(&bias), Onto::Residual(&g)] {
            let ((y, u), (want, want_u)) = (lora_linear(&x, &packed, onto, &lora)?, lora_linear(&x, &full, onto, &want_lora)?);
            close(&y, &want, tolerance)?;
            close(&u, &want_u, tolerance)?;
        }
        let u = lora_linear(&x, &full, Onto::Zero, &want_lora)?.1;
        let (want_dx, want) = lora_linear_backward(&g, &x, &full, &want_lora, &u, true)?;
        for want_it in [true, false] {
            let (dx, found) = lora_linear_backward(&g, &x, &packed, &lora, &u, want_it)?;
            assert_eq!(dx.is_some(), want_it);
            if let (Some(dx), Some(want)) = (dx, &want_dx) {
                close(&dx, want, if crate::bf16::rounds_gradients() { 0.5 } else { tolerance })?;
            }
            for ((da, db), (want_da, want_db)) in found.iter().zip(&want) {
                close(da, want_da, tolerance)?;
                close(db, want_db, tolerance)?;
            }
        }
        Ok(())
    }

    #[test]
    fn lora_linear_and_its_gradients_equal_the_slow_twins_and_autograd() -> Result<()> {
        for (t, e, f) in [(1, 5, 9), (23, 16, 40), (130, 32, 24)] {
            let (x, w, bias, g) = (random(&[t, e], 1)?, Frozen::new(&random(&[f, e], 2)?)?, random(&[f], 3)?, random(&[t, f], 4)?);
            let part =
                |fi, start, seed| -> Result<LoraPart> { Ok(LoraPart { a: random(&[2, e], seed)?, b: random(&[fi, 2], seed + 1)?, start }) };
            let parts = vec![part(4, 0, 5)?, part(3, f - 3, 7)?];
            let lora = Lora::new(parts.clone(), 1.5, &w)?;
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
            let (w64, g64) = (Frozen::new(&w.full()?.0.to_dtype(DType::F64)?)?, g.to_dtype(DType::F64)?);
            let tracked = Lora::new(tracked, 1.5, &w64)?;
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
