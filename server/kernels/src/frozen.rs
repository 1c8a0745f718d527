//! A frozen weight, arranged once for the forward and the backward product.
//!
//! In full precision both orders are kept: the product that reads a matrix along its columns needs no packing, which is worth
//! up to 1.7x at 500 and more rows and up to 3x at 32, for one more copy. In 16 bits both are packed panels, half the bytes.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor};

use crate::bf16::Packed;
use crate::gemm::{Mat, Threads, matmul};
use crate::view::View;

/// A weight W [F, E] that never changes.
#[derive(Clone, Debug)]
pub enum Frozen {
    /// As a tensor on the device of the activations, in their dtype or a narrower one that their products are made in.
    Full {
        /// W [F, E], for the backward.
        w: Tensor,
        /// W^T [E, F], for the forward.
        t: Tensor,
    },
    /// In 16 bits a number on the CPU; activations are f32.
    Bf16 {
        /// W^T [E, F].
        forward: Arc<Packed>,
        /// W [F, E].
        backward: Arc<Packed>,
    },
}

impl Frozen {
    /// Both orders of W [F, E] as it is.
    pub fn new(w: &Tensor) -> Result<Self> {
        let t = w.t()?;
        // a GPU's products read either order as it comes
        Ok(Self::Full { w: w.contiguous()?, t: if w.device().is_cpu() { t.contiguous()? } else { t } })
    }

    /// W [F, E] rounded to 16 bits a number: bf16, or on CPUs whose fastest products are those of integers, these (see [`crate::bf16`]).
    /// On a CPU rows of the forward are never rounded to bf16; gradients are, where that is fastest.
    pub fn bf16(w: &Tensor) -> Result<Self> {
        if !w.device().is_cpu() {
            return Self::new(&w.to_dtype(DType::BF16)?);
        }
        let (f, e) = w.dims2()?;
        let w = w.to_dtype(DType::F32)?.contiguous()?;
        let Some(numbers) = View::of(&w) else { candle_core::bail!("a weight of {f} x {e} is no matrix of f32 on the CPU") };
        let w = Mat::rows(numbers.slice(), e);
        Ok(Self::Bf16 { forward: Arc::new(Packed::of_fine_rows(w.t(), e, f)), backward: Arc::new(Packed::new(w, f, e)) })
    }

    /// F.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Full { w, .. } => w.dims()[0],
            Self::Bf16 { forward, .. } => forward.n(),
        }
    }

    /// E.
    pub fn inputs(&self) -> usize {
        match self {
            Self::Full { w, .. } => w.dims()[1],
            Self::Bf16 { forward, .. } => forward.k(),
        }
    }

    /// (W, W^T) for a composition of candle operations; an error where packed, which only f32 rows on the CPU can use.
    pub fn full(&self) -> Result<(&Tensor, &Tensor)> {
        match self {
            Self::Full { w, t } => Ok((w, t)),
            Self::Bf16 { .. } => candle_core::bail!("a weight packed in 16 bits multiplies contiguous f32 rows on the CPU only"),
        }
    }

    /// x W^T [T, F] of x [T, E].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (t, _) = x.dims2()?;
        let (Some(xv), Some(view)) = (View::of(x), self.view()) else { return self.forward_composed(x) };
        crate::view::tensor(view.product(t, xv.slice()), (t, self.outputs()), x)
    }

    /// [`Frozen::forward`] of candle operations: rounded to the weight's dtype and back where it is narrower.
    pub(crate) fn forward_composed(&self, x: &Tensor) -> Result<Tensor> {
        times(x, self.full()?.1)
    }

    /// g W [T, E] of g [T, F], likewise.
    pub(crate) fn backward_composed(&self, g: &Tensor) -> Result<Tensor> {
        times(g, self.full()?.0)
    }

    /// The numbers, where products of f32 slices can use them.
    pub(crate) fn view(&self) -> Option<FrozenView<'_>> {
        Some(match self {
            Self::Full { w, t } => FrozenView::Full { w: View::of(w)?, t: View::of(t)?, f: w.dims()[0], e: w.dims()[1] },
            Self::Bf16 { forward, backward } => FrozenView::Bf16 { forward, backward },
        })
    }
}

fn times(x: &Tensor, m: &Tensor) -> Result<Tensor> {
    x.to_dtype(m.dtype())?.matmul(m)?.to_dtype(x.dtype())
}

/// A frozen weight's numbers.
pub(crate) enum FrozenView<'a> {
    Full { w: View<'a>, t: View<'a>, f: usize, e: usize },
    Bf16 { forward: &'a Packed, backward: &'a Packed },
}

impl FrozenView<'_> {
    /// x W^T [T, F] of x [T, E].
    pub(crate) fn product(&self, rows: usize, x: &[f32]) -> Vec<f32> {
        self.scaled_product(rows, x, 1.0)
    }

    /// alpha * x W^T [T, F] of x [T, E].
    pub(crate) fn scaled_product(&self, rows: usize, x: &[f32], alpha: f32) -> Vec<f32> {
        match self {
            Self::Full { t, f, e, .. } => {
                let mut y = vec![0f32; rows * f];
                matmul(rows, *f, *e, &mut y, *f, false, alpha, Mat::rows(x, *e), Mat::rows(t.slice(), *f), Threads::Pool);
                y
            }
            Self::Bf16 { forward, .. } => forward.product(rows, x, alpha),
        }
    }

    /// base + x W^T [T, F] of x [T, E], base [T, F] or [F], the same for every row.
    pub(crate) fn product_onto(&self, rows: usize, x: &[f32], base: &[f32]) -> Vec<f32> {
        match self {
            Self::Full { t, f, e, .. } => {
                let mut y = if base.len() == *f { base.repeat(rows) } else { base.to_vec() };
                matmul(rows, *f, *e, &mut y, *f, true, 1.0, Mat::rows(x, *e), Mat::rows(t.slice(), *f), Threads::Pool);
                y
            }
            Self::Bf16 { forward, .. } => forward.product_onto(rows, x, base),
        }
    }

    /// dx = g W [T, E] of g [T, F].
    pub(crate) fn product_back(&self, rows: usize, g: &[f32]) -> Vec<f32> {
        match self {
            Self::Full { w, f, e, .. } => {
                let mut dx = vec![0f32; rows * e];
                matmul(rows, *e, *f, &mut dx, *e, false, 1.0, Mat::rows(g, *f), Mat::rows(w.slice(), *e), Threads::Pool);
                dx
            }
            Self::Bf16 { backward, .. } => backward.product(rows, g, 1.0),
        }
    }
}
