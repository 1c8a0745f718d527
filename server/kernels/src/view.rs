//! Borrowing a CPU f32 tensor's numbers without copying them, and copying rows into one that is there.

use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Result, Storage, Tensor};
use parking_lot::RwLockReadGuard;

/// A read lock on a tensor's storage together with the part of it that the tensor covers.
pub(crate) struct View<'a> {
    guard: RwLockReadGuard<'a, Storage>,
    start: usize,
    len: usize,
}

impl<'a> View<'a> {
    /// The numbers of `t`, if it is contiguous f32 on the CPU.
    pub(crate) fn of(t: &'a Tensor) -> Option<Self> {
        if !is_fast(t) {
            return None;
        }
        let (guard, layout) = t.storage_and_layout();
        let (start, end) = layout.contiguous_offsets()?;
        Some(Self { guard, start, len: end - start })
    }

    /// The numbers in row-major order.
    pub(crate) fn slice(&self) -> &[f32] {
        match &*self.guard {
            Storage::Cpu(CpuStorage::F32(v)) => &v[self.start..self.start + self.len],
            _ => &[], // `of` lets only CPU f32 in
        }
    }
}

/// True when the fast paths take this tensor.
pub(crate) fn is_fast(t: &Tensor) -> bool {
    t.dtype() == DType::F32 && t.device().is_cpu() && t.is_contiguous()
}

/// A tensor of these numbers on the device of `like`.
pub(crate) fn tensor(data: Vec<f32>, shape: impl Into<candle_core::Shape>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(data, shape.into(), like.device())
}

/// Copies rows of `rows` [n, ..] into `all` [S, ..] in place: each of `moves` is (first row of `rows`, how many, first row in `all`).
pub fn put_rows(all: &Tensor, rows: &Tensor, moves: &[(usize, usize, usize)]) -> Result<()> {
    if is_fast(all) && is_fast(rows) {
        return all.inplace_op2(rows, &PutRows(moves));
    }
    moves.iter().try_for_each(|&(from, n, to)| all.slice_set(&rows.narrow(0, from, n)?, 0, to))
}

/// [`put_rows`] for contiguous f32 on the CPU, in one call.
struct PutRows<'a>(&'a [(usize, usize, usize)]);

impl InplaceOp2 for PutRows<'_> {
    fn name(&self) -> &'static str {
        "put-rows"
    }

    fn cpu_fwd(&self, all: &mut CpuStorage, of_all: &Layout, rows: &CpuStorage, of_rows: &Layout) -> Result<()> {
        let (CpuStorage::F32(all), CpuStorage::F32(rows)) = (all, rows) else { candle_core::bail!("rows of another dtype than f32") };
        let width: usize = of_rows.dims().iter().skip(1).product();
        let (to_start, from_start) = (of_all.start_offset(), of_rows.start_offset());
        let room = of_all.dims().first().copied().unwrap_or_default();
        for &(from, n, to) in self.0 {
            if of_all.dims().get(1..) != of_rows.dims().get(1..) || to + n > room || from + n > of_rows.dims()[0] {
                candle_core::bail!("rows {from}..{} of {of_rows:?} do not fit at row {to} of {of_all:?}", from + n);
            }
            let part = &rows[from_start + from * width..][..n * width];
            all[to_start + to * width..][..n * width].copy_from_slice(part);
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::put_rows;
    use candle_core::{DType, Device, Result, Tensor};
    use rand::{Rng, SeedableRng};

    /// Numbers in [-1, 1) from a seed.
    pub(crate) fn random(shape: &[usize], seed: u64) -> Result<Tensor> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let n = shape.iter().product();
        let data: Vec<f32> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
        Tensor::from_vec(data, shape, &Device::Cpu)
    }

    /// Fails unless the two differ by at most `tolerance` anywhere.
    pub(crate) fn close(a: &Tensor, b: &Tensor, tolerance: f64) -> Result<()> {
        assert_eq!(a.dims(), b.dims());
        let differences = (a.to_dtype(DType::F64)? - b.to_dtype(DType::F64)?)?.abs()?.flatten_all()?.to_vec1::<f64>()?;
        for (i, difference) in differences.into_iter().enumerate() {
            assert!(difference <= tolerance, "number {i} differs by {difference:e}"); // so does what is not a number
        }
        Ok(())
    }

    #[test]
    fn rows_are_put_where_they_belong_and_nowhere_else() -> Result<()> {
        let moves = [(0, 2, 3), (2, 1, 0)];
        for dtype in [DType::F32, DType::F64] {
            let (all, rows) = (Tensor::zeros((6, 2), dtype, &Device::Cpu)?, random(&[3, 2], 1)?.to_dtype(dtype)?);
            put_rows(&all, &rows, &moves)?;
            let zero = Tensor::zeros((1, 2), dtype, &Device::Cpu)?;
            let want = Tensor::cat(&[&rows.narrow(0, 2, 1)?, &zero, &zero, &rows.narrow(0, 0, 2)?, &zero], 0)?;
            close(&all, &want, 0.0)?;
            assert!(put_rows(&all, &rows, &[(0, 2, 5)]).is_err() && put_rows(&all, &rows, &[(2, 2, 0)]).is_err());
        }
        Ok(())
    }
}
