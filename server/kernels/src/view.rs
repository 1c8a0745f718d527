//! Borrowing a CPU f32 tensor's numbers without copying them.

use candle_core::{CpuStorage, DType, Result, Storage, Tensor};
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

#[cfg(test)]
pub(crate) mod tests {
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
}
