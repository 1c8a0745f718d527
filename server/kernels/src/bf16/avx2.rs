//! Tiles in the vector registers of AVX2: there are 16, so a tile is computed in halves of 16 columns.

use std::arch::x86_64::*;

use super::{COLS, LOW_ROWS, Line, Tile, Wide};

/// Columns of a half, two registers.
const HALF: usize = COLS / 2;

/// SAFETY: AVX2 and FMA; `a` holds depth x M lines, the M numbers of one k after those of the last, `t.b` depth x 32; M rows of `t.cols`
/// numbers at `c` are writable, as many of what is added to readable.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn widened<const M: usize>(t: &Tile, a: &[Wide], c: *mut f32, row: usize) {
    // SAFETY: the caller's promises; columns from 16 times `half` on, of which there are some.
    unsafe {
        if M <= LOW_ROWS {
            let mut sums = [[[0f32; HALF]; M]; 2];
            halves(t, a, 0, &mut sums);
            for (half, sums) in sums.iter().enumerate().take(t.cols.div_ceil(HALF)) {
                put(t, sums, half, c, row);
            }
            return;
        }
        let mut sums = [[[0f32; HALF]; M]];
        for half in 0..t.cols.div_ceil(HALF) {
            halves(t, a, half, &mut sums);
            put(t, &sums[0], half, c, row);
        }
    }
}

/// Sums of N halves of a tile. A function of its own, so that what surrounds it takes no registers from it.
///
/// SAFETY: as [`widened`]; `first` + N is at most 2.
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
unsafe fn halves<const M: usize, const N: usize>(t: &Tile, a: &[Wide], first: usize, out: &mut [[[f32; HALF]; M]; N]) {
    let mut sums = [[[_mm256_setzero_ps(); 2]; M]; N];
    let mut a = a.as_ptr().cast::<f32>();
    let mut b: *const Line = t.b.as_ptr().wrapping_add(first);
    let high = _mm256_set1_epi32(0xffff_0000_u32 as i32);
    let pairs = t.b.len() / 2;
    let mut ahead = t.ahead.wrapping_add(first * pairs.div_ceil(t.every));
    let mut left = 0;
    for _ in 0..pairs {
        if left == 0 {
            for _ in 0..t.fetch {
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                ahead = ahead.wrapping_add(1);
            }
            left = t.every;
        }
        left -= 1;
        for (half, sums) in sums.iter_mut().enumerate() {
            // SAFETY: b walks the lines of its halves, N of two for each pair of depth x 32; a walks the M numbers of each k.
            unsafe {
                let pairs: *const __m256i = b.add(half).cast();
                let w = [pairs.read(), pairs.add(1).read()].map(|pairs| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs)));
                for (r, s) in sums.iter_mut().enumerate() {
                    let x = _mm256_broadcast_ss(&*a.add(r));
                    s[0] = _mm256_fmadd_ps(x, w[0], s[0]);
                    s[1] = _mm256_fmadd_ps(x, w[1], s[1]);
                }
                // read anew, because with 6 rows there is no register to keep them in
                let again = [pairs.read_volatile(), pairs.add(1).read_volatile()];
                let w = again.map(|pairs| _mm256_castsi256_ps(_mm256_and_si256(high, pairs)));
                for (r, s) in sums.iter_mut().enumerate() {
                    let x = _mm256_broadcast_ss(&*a.add(M + r));
                    s[0] = _mm256_fmadd_ps(x, w[0], s[0]);
                    s[1] = _mm256_fmadd_ps(x, w[1], s[1]);
                }
            }
        }
        a = a.wrapping_add(2 * M);
        b = b.wrapping_add(2);
    }
    for (out, s) in out.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
        // SAFETY: 16 numbers a row.
        unsafe {
            _mm256_storeu_ps(out.as_mut_ptr(), s[0]);
            _mm256_storeu_ps(out[HALF / 2..].as_mut_ptr(), s[1]);
        }
    }
}

/// Stores the sums of one half.
///
/// SAFETY: AVX2 and FMA; M rows of `t.cols` numbers at `c` are writable, as many of what is added to readable; some are of this half.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn put<const M: usize>(t: &Tile, sums: &[[f32; HALF]; M], half: usize, c: *mut f32, row: usize) {
    let (first, cols) = (half * HALF, (t.cols - half * HALF).min(HALF));
    let old = t.old(c, row);
    for (r, sums) in sums.iter().enumerate() {
        // SAFETY: `cols` numbers of the row from column `first` on.
        unsafe {
            let out = c.add(r * row + first);
            let old = old.map(|(old, row)| old.add(r * row + first));
            if cols == HALF {
                put_row::<HALF>(t.alpha, sums, old, out, HALF);
            } else {
                put_row::<0>(t.alpha, sums, old, out, cols);
            }
        }
    }
}

/// `out = old + alpha * sums` of `cols` numbers: N, or N is 0 and it is any.
///
/// SAFETY: AVX2 and FMA; `cols` numbers can be written and read.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn put_row<const N: usize>(alpha: f32, sums: &[f32; HALF], old: Option<*const f32>, out: *mut f32, cols: usize) {
    for (j, sum) in sums.iter().enumerate().take(if N == 0 { cols } else { N }) {
        // SAFETY: the caller's promise.
        unsafe {
            let old = old.map_or(0.0, |old| old.add(j).read());
            out.add(j).write(alpha.mul_add(*sum, old));
        }
    }
}
