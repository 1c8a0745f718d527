//! Tiles in the vector registers of AVX2, with AVX-VNNI or without: there are 16, so a tile is computed in halves of 16 columns.

use std::arch::x86_64::*;

use super::integers::{Integers, LINES, SHARED};
use super::tile::{Tile, ask};
use super::{COLS, LOW_ROWS, Line};

/// Columns of a half, two registers.
const HALF: usize = COLS / 2;
/// Pairs along k of one turn of the loop.
const UNROLLED: usize = 4;
/// Turns of a block.
const TURNS: usize = SHARED / 2 / UNROLLED;

/// Products of integers, with what multiplies pairs and adds them to sums.
macro_rules! integers {
    ($integers:ident, $add:ident, $features:literal, $multiply_add:expr) => {
        /// SAFETY: those instructions; `t.b` holds a block of 64 x 32 numbers for each of `t.scales`, `a` as many blocks of M rows and their scales; M
        /// rows of `t.cols` numbers at `c` are writable, as many of what is added to readable.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $integers<const M: usize>(t: &Tile, a: Integers, c: *mut f32, row: usize) {
            // SAFETY: the caller's promises; columns from 16 times `half` on, of which there are some.
            unsafe {
                if M <= LOW_ROWS {
                    let mut sums = [[[0f32; HALF]; M]; 2];
                    $add::<M, 2>(t, a, 0, &mut sums);
                    for (half, sums) in sums.iter().enumerate().take(t.cols.div_ceil(HALF)) {
                        put(t, sums, half, c, row);
                    }
                    return;
                }
                for half in 0..t.cols.div_ceil(HALF) {
                    for r in 0..M {
                        _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add(r * row + half * HALF).cast()); // on its way until there is something to store
                    }
                    let mut sums = [[[0f32; HALF]; M]];
                    $add::<M, 1>(t, a, half, &mut sums);
                    put(t, &sums[0], half, c, row);
                }
            }
        }

        /// Sums of H halves from `first` on. A function of its own, so that what surrounds it takes no registers from it.
        ///
        /// SAFETY: as [`integers`]; `first` + H is at most 2.
        #[target_feature(enable = $features)]
        #[inline(never)]
        unsafe fn $add<const M: usize, const H: usize>(t: &Tile, a: Integers, first: usize, out: &mut [[[f32; HALF]; M]; H]) {
            let (strip, strips) = t.turn_of;
            let share = |nth: usize| (nth * LINES * COLS).checked_div(2 * strips).unwrap_or(0);
            let (from, to) = (share(2 * strip + first), share(2 * strip + first + 1));
            let (each_turn, rest) = ((to - from) / TURNS, (to - from) % TURNS); // many lines at once would have to wait for each other
            let mut ahead = t.ahead.wrapping_add(from * t.scales.len());
            let mut sums = [[[_mm256_setzero_ps(); 2]; M]; H];
            for (block, scales) in t.scales.iter().enumerate() {
                if H == 1 {
                    ahead = ask(ahead, rest);
                    if strip == 0 {
                        let line: *const Line = t.next_scales.wrapping_add(block).cast();
                        _mm_prefetch::<_MM_HINT_T1>(line.wrapping_add(first).cast());
                    }
                }
                let mut found = [[[_mm256_setzero_si256(); 2]; M]; H];
                for turn in 0..TURNS {
                    if H == 1 {
                        ahead = ask(ahead, each_turn);
                    }
                    for pair in turn * UNROLLED..(turn + 1) * UNROLLED {
                        if H == 2 {
                            t.fetch_after(block * SHARED / 2 + pair);
                        }
                        for (h, found) in found.iter_mut().enumerate() {
                            // SAFETY: two lines a pair of a block's 64 x 32 numbers; a pair of the block's 64 numbers of each row.
                            unsafe {
                                let b: *const __m256i = t.b.as_ptr().add(block * LINES * COLS + 2 * pair + first + h).cast();
                                let b = [b.read_volatile(), b.add(1).read_volatile()]; // once for all rows
                                for (r, found) in found.iter_mut().enumerate() {
                                    let x = _mm256_set1_epi32(a.lines.as_ptr().add((block * M + r) * LINES).cast::<i32>().add(pair).read());
                                    found[0] = $multiply_add(found[0], x, b[0]);
                                    found[1] = $multiply_add(found[1], x, b[1]);
                                }
                            }
                        }
                    }
                }
                for (h, (sums, found)) in sums.iter_mut().zip(&found).enumerate() {
                    // SAFETY: 32 scales of columns, M of rows a block.
                    let b = unsafe { [0, 8].map(|j| _mm256_load_ps(scales.0.as_ptr().add((first + h) * HALF + j))) };
                    for (r, (sums, found)) in sums.iter_mut().zip(found).enumerate() {
                        // SAFETY: as above.
                        let x = unsafe { _mm256_broadcast_ss(a.scales.get_unchecked(block * M + r)) };
                        for i in 0..2 {
                            sums[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(found[i]), _mm256_mul_ps(x, b[i]), sums[i]);
                        }
                    }
                }
            }
            for (out, sums) in out.iter_mut().zip(&sums) {
                for (out, sums) in out.iter_mut().zip(sums) {
                    // SAFETY: 16 numbers a row.
                    unsafe {
                        _mm256_storeu_ps(out.as_mut_ptr(), sums[0]);
                        _mm256_storeu_ps(out[HALF / 2..].as_mut_ptr(), sums[1]);
                    }
                }
            }
        }
    };
}

integers!(integers, add, "avx2,fma", |sum, x, b| _mm256_add_epi32(sum, _mm256_madd_epi16(x, b)));
integers!(integers_vnni, add_vnni, "avx2,fma,avxvnni", |sum, x, b| pairs(sum, x, b));

/// Sums with the products of pairs: VPDPWSSD, spelt out, because LLVM makes two instructions of its intrinsic in straight code, to shorten
/// the way from sum to sum, of which there are enough here.
#[target_feature(enable = "avxvnni")]
#[inline]
fn pairs(mut sum: __m256i, x: __m256i, b: __m256i) -> __m256i {
    // SAFETY: an instruction that reads and writes these registers alone; the CPU has it.
    unsafe {
        std::arch::asm!("{{vex}} vpdpwssd {sum}, {x}, {b}", sum = inout(ymm_reg) sum, x = in(ymm_reg) x, b = in(ymm_reg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    sum
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

#[cfg(test)]
mod tests {
    use super::super::Way;
    use super::super::tests::each_tile;
    use super::*;

    #[test]
    fn a_tile_of_any_height_equals_the_safe_twin() {
        if !Way::Integers.is_usable() {
            return; // nothing to hold: this CPU runs none of it
        }
        let has_vnni = Way::IntegersVnni.is_usable();
        each_tile(1..=5, Way::Integers, |t, a, c, row| {
            macro_rules! rows {
                ($tile:ident: $($m:literal)*) => {
                    match t.rows {
                        // SAFETY: the CPU has the instructions; blocks of 64 x 32 numbers and of so many rows, whole; as many rows at `c`.
                        $($m => unsafe { $tile::<$m>(t, a, c, row) },)*
                        m => unreachable!("a tile of {m} rows"),
                    }
                };
            }
            if has_vnni {
                rows!(integers_vnni: 1 2 3 4 5);
            } else {
                rows!(integers: 1 2 3 4 5);
            }
        });
    }
}
