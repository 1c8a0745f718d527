//! Tiles in the vector registers of AVX2: there are 16, so a tile is computed in halves of 16 columns.

use std::arch::x86_64::*;

use super::{COLS, LOW_ROWS, Line, Tile, Wide};

/// Columns of a half, two registers.
const HALF: usize = COLS / 2;

/// Keeps the upper of two bf16 numbers. Hidden from the compiler, which makes a blend of a known mask: the loop is measured with an `and`.
#[target_feature(enable = "avx2")]
#[inline]
fn upper() -> __m256i {
    _mm256_set1_epi32(std::hint::black_box(0xffff_0000_u32 as i32))
}

/// SAFETY: AVX2 and FMA; `a` holds depth x M lines, the M numbers of one k after those of the last, `t.b` depth x 32; M rows of `t.cols`
/// numbers at `c` are writable, as many of what is added to readable.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn widened<const M: usize>(t: &Tile, a: &[Wide], c: *mut f32, row: usize) {
    // SAFETY: the caller's promises; columns from 16 times `half` on, of which there are some.
    unsafe {
        if M <= LOW_ROWS {
            let sums = both_halves::<M>(t, a);
            for (half, sums) in sums.iter().enumerate().take(t.cols.div_ceil(HALF)) {
                put(t, sums, half, c, row);
            }
            return;
        }
        let mut sums = [[0f32; HALF]; M];
        for half in 0..t.cols.div_ceil(HALF) {
            for r in 0..M {
                _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add(r * row + half * HALF).cast()); // on its way until there is something to store
            }
            one_half(t, a, half, &mut sums);
            put(t, &sums, half, c, row);
        }
    }
}

/// Adds what one pair of lines gives to the sums of a half: M numbers of one k at `a`, then those of the next; the half's pairs at `b`.
///
/// SAFETY: AVX2 and FMA; 2 M numbers and a line can be read.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn add_pair<const M: usize>(sums: &mut [[__m256; 2]; M], a: *const f32, b: *const Line, upper: __m256i) {
    let pairs: *const __m256i = b.cast();
    // SAFETY: the caller's promise.
    unsafe {
        // read in this order, and anew for the upper halves rather than kept: so no sum has to leave its register
        let w = [pairs.read_volatile(), pairs.add(1).read_volatile()].map(|pairs| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs)));
        for (r, s) in sums.iter_mut().enumerate() {
            let x = _mm256_broadcast_ss(&*a.add(r));
            s[0] = _mm256_fmadd_ps(x, w[0], s[0]);
            s[1] = _mm256_fmadd_ps(x, w[1], s[1]);
        }
        let again = [pairs.read_volatile(), pairs.add(1).read_volatile()];
        let w = again.map(|pairs| _mm256_castsi256_ps(_mm256_and_si256(upper, pairs)));
        for (r, s) in sums.iter_mut().enumerate() {
            let x = _mm256_broadcast_ss(&*a.add(M + r));
            s[0] = _mm256_fmadd_ps(x, w[0], s[0]);
            s[1] = _mm256_fmadd_ps(x, w[1], s[1]);
        }
    }
}

/// Sums of one half. A function of its own, so that what surrounds it takes no registers from it.
///
/// SAFETY: as [`widened`]; `half` is 0 or 1.
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
unsafe fn one_half<const M: usize>(t: &Tile, a: &[Wide], half: usize, out: &mut [[f32; HALF]; M]) {
    let mut sums = [[_mm256_setzero_ps(); 2]; M];
    let depth = t.b.len() / COLS;
    let mut a = a.as_ptr().cast::<f32>();
    let mut b: *const Line = t.b.as_ptr().wrapping_add(half);
    let (strip, strips) = t.turn_of;
    let share = |nth: usize| (nth * COLS).checked_div(2 * strips).unwrap_or(0);
    let (from, to) = (share(2 * strip + half), share(2 * strip + half + 1));
    let mut ahead = t.ahead.wrapping_add(from * depth);
    let upper = upper();
    for _ in 0..depth {
        for _ in from..to {
            _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
            ahead = ahead.wrapping_add(1);
        }
        for _ in 0..COLS / 4 {
            // SAFETY: b walks every second of depth x 32 lines, a the M numbers of as many k.
            unsafe {
                add_pair(&mut sums, a, b, upper);
                add_pair(&mut sums, a.add(2 * M), b.add(2), upper);
            }
            a = a.wrapping_add(4 * M);
            b = b.wrapping_add(4);
        }
    }
    store(&sums, out);
}

/// Sums of both halves of few rows.
///
/// SAFETY: as [`widened`].
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
unsafe fn both_halves<const M: usize>(t: &Tile, a: &[Wide]) -> [[[f32; HALF]; M]; 2] {
    let mut sums = [[[_mm256_setzero_ps(); 2]; M]; 2];
    let mut a = a.as_ptr().cast::<f32>();
    let upper = upper();
    for (pair, b) in t.b.chunks_exact(2).enumerate() {
        t.fetch_after(pair);
        for (sums, b) in sums.iter_mut().zip(b) {
            // SAFETY: a walks the M numbers of each k.
            unsafe { add_pair(sums, a, b, upper) };
        }
        a = a.wrapping_add(2 * M);
    }
    let mut out = [[[0f32; HALF]; M]; 2];
    for (out, sums) in out.iter_mut().zip(&sums) {
        store(sums, out);
    }
    out
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn store<const M: usize>(sums: &[[__m256; 2]; M], out: &mut [[f32; HALF]; M]) {
    for (out, s) in out.iter_mut().zip(sums) {
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
