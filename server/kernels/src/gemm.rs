//! Matrix product on slices: the one place where the `gemm` crate is called.
#![expect(unsafe_code, reason = "the gemm crate takes raw pointers; bounds are checked here, and `matmul_naive` is the safe twin")]

use gemm::Parallelism;

/// A matrix inside a slice: element (i, j) is `data[i * row + j * col]`.
#[derive(Clone, Copy)]
pub struct Mat<'a> {
    /// The numbers.
    pub data: &'a [f32],
    /// Distance between rows.
    pub row: usize,
    /// Distance between columns.
    pub col: usize,
}

impl<'a> Mat<'a> {
    /// Row-major with `row` numbers from one row to the next.
    pub fn rows(data: &'a [f32], row: usize) -> Self {
        Self { data, row, col: 1 }
    }

    /// The same numbers transposed.
    pub fn t(self) -> Self {
        Self { data: self.data, row: self.col, col: self.row }
    }
}

/// Threads of one product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// The calling thread only: for products inside a parallel loop.
    One,
    /// The current rayon pool.
    Pool,
}

fn fits(len: usize, rows: usize, cols: usize, row: usize, col: usize) -> bool {
    rows == 0 || cols == 0 || (rows - 1) * row + (cols - 1) * col < len
}

/// `dst[m, n] = beta * dst + alpha * a[m, k] b[k, n]` where `dst` has `dst_row` numbers from row to row.
///
/// # Panics
/// When a matrix does not fit its slice: a shape error is a bug of the caller.
#[expect(clippy::too_many_arguments, reason = "BLAS's own signature")]
pub fn matmul(m: usize, n: usize, k: usize, dst: &mut [f32], dst_row: usize, keep: bool, alpha: f32, a: Mat, b: Mat, threads: Threads) {
    assert!(n <= dst_row || m <= 1, "rows of the destination overlap");
    assert!(fits(dst.len(), m, n, dst_row, 1), "destination {m}x{n} does not fit {} numbers", dst.len());
    assert!(fits(a.data.len(), m, k, a.row, a.col), "left operand {m}x{k} does not fit {} numbers", a.data.len());
    assert!(fits(b.data.len(), k, n, b.row, b.col), "right operand {k}x{n} does not fit {} numbers", b.data.len());
    if m == 0 || n == 0 {
        return;
    }
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::Pool => Parallelism::Rayon(0),
    };
    // SAFETY: the three asserts above keep every element that is read or written inside its slice; `dst` is borrowed
    // mutably, so it overlaps neither operand; rows of `dst` do not overlap each other (dst_row >= n). Strides fit isize
    // because slices do.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            dst_row as isize,
            keep,
            a.data.as_ptr(),
            a.col as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.col as isize,
            b.row as isize,
            1.0,
            alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    /// Safe twin: three loops in f64.
    #[expect(clippy::too_many_arguments, reason = "the twin's signature")]
    fn matmul_naive(m: usize, n: usize, k: usize, dst: &mut [f32], dst_row: usize, keep: bool, alpha: f32, a: Mat, b: Mat) {
        for i in 0..m {
            for j in 0..n {
                let dot: f64 = (0..k).map(|x| f64::from(a.data[i * a.row + x * a.col]) * f64::from(b.data[x * b.row + j * b.col])).sum();
                let d = &mut dst[i * dst_row + j];
                *d = (if keep { f64::from(*d) } else { 0.0 } + f64::from(alpha) * dot) as f32;
            }
        }
    }

    #[test]
    fn matmul_equals_its_safe_twin_on_random_shapes_and_strides() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for _ in 0..200 {
            let (m, n, k) = (rng.random_range(0..40), rng.random_range(0..40), rng.random_range(0..40));
            let (pa, pb, pd) = (k + rng.random_range(0..3), n + rng.random_range(0..3), n + rng.random_range(0..3));
            let mut fill = |len: usize| (0..len).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<_>>();
            let (a, b, at, bt) = (fill(m * pa), fill(k * pb), fill(k * (m + 1)), fill(n * (k + 2)));
            let start = fill(m * pd);
            for (a, b) in [
                (Mat::rows(&a, pa), Mat::rows(&b, pb)),
                (Mat::rows(&at, m + 1).t(), Mat::rows(&b, pb)),
                (Mat::rows(&a, pa), Mat::rows(&bt, k + 2).t()),
            ] {
                for (keep, threads) in [(false, Threads::One), (true, Threads::Pool)] {
                    let (mut got, mut want) = (start.clone(), start.clone());
                    matmul(m, n, k, &mut got, pd, keep, 0.5, a, b, threads);
                    matmul_naive(m, n, k, &mut want, pd, keep, 0.5, a, b);
                    assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() < 1e-5), "{m}x{n}x{k}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "does not fit")]
    fn a_matrix_larger_than_its_slice_is_refused() {
        let a = [0f32; 5];
        matmul(2, 2, 3, &mut [0.0; 4], 2, false, 1.0, Mat::rows(&a, 3), Mat::rows(&a, 2), Threads::One);
    }
}
