//! Tiles in the vector registers of AVX-512.

use std::arch::x86_64::*;

use std::mem::MaybeUninit;

use super::integers::{Integers, LINES, SHARED};
use super::rows::pack;
use super::tile::{Tile, ask};
use super::{COLS, LINE, Line, Wide};

/// Rows of f32 to lines of their roundings and what those leave; see [`pack`].
///
/// SAFETY: AVX512-BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn split_rows(lines: &mut [MaybeUninit<[Line; 2]>], a: &[f32], k: usize, rows: usize) {
    pack(lines, a, k, rows, |x| split(x));
}

/// 32 numbers as roundings and the roundings of what those leave, which is 0 where a number is infinite or rounds to what is. Numbers
/// below the least normal one (1e-38) count as 0.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
fn split(x: &[f32; LINE]) -> [Line; 2] {
    // SAFETY: 16 numbers each, and 16 more.
    let x = unsafe { [_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x[16..].as_ptr())] };
    let rounded = _mm512_cvtne2ps_pbh(x[1], x[0]);
    // SAFETY: 64 bytes each, of which any are numbers.
    let (halves, line) =
        unsafe { (std::mem::transmute::<__m512bh, [__m256i; 2]>(rounded), std::mem::transmute::<__m512bh, Line>(rounded)) };
    let mut rests = [_mm512_setzero_ps(); 2];
    for ((rest, x), half) in rests.iter_mut().zip(x).zip(halves) {
        let wide = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)));
        let found = _mm512_sub_ps(x, wide);
        let finite = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(_mm512_abs_ps(found), _mm512_set1_ps(f32::INFINITY));
        *rest = _mm512_maskz_mov_ps(finite, found);
    }
    // SAFETY: as above.
    [line, unsafe { std::mem::transmute::<__m512bh, Line>(_mm512_cvtne2ps_pbh(rests[1], rests[0])) }]
}

/// SAFETY: AVX512-BF16; `a` holds depth x M lines, `t.b` depth x 32; M rows of `t.cols` numbers at `c` are writable,
/// as many of what is added to readable.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn pairs<const M: usize>(t: &Tile, a: &[Line], c: *mut f32, row: usize) {
    let depth = t.b.len() / COLS;
    let mut sums = [[_mm512_setzero_ps(); 2]; M];
    let mut a = a.as_ptr().cast::<i32>();
    let mut b: *const Line = t.b.as_ptr();
    for line in 0..depth {
        for pair in 0..16 {
            t.fetch_after(16 * line + pair);
            // SAFETY: b walks depth x 32 lines, two a pair; a walks 16 pairs of the M lines of this depth.
            unsafe {
                let b0: __m512bh = std::mem::transmute(_mm512_load_si512(b.cast()));
                let b1: __m512bh = std::mem::transmute(_mm512_load_si512(b.add(1).cast()));
                for (r, s) in sums.iter_mut().enumerate() {
                    let x: __m512bh = std::mem::transmute(_mm512_set1_epi32(*a.add(16 * r)));
                    s[0] = _mm512_dpbf16_ps(s[0], x, b0);
                    s[1] = _mm512_dpbf16_ps(s[1], x, b1);
                }
                a = a.add(1);
                b = b.add(2);
            }
        }
        // SAFETY: the next depth's lines begin M lines after this one's; one line was walked.
        a = unsafe { a.add(16 * (M - 1)) };
    }
    // SAFETY: the caller's promise.
    unsafe { put(t, &sums, c, row) };
}

/// SAFETY: AVX-512; `a` holds depth x M lines, `t.b` depth x 32; M rows of `t.cols` numbers at `c` are writable,
/// as many of what is added to readable.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn widened<const M: usize>(t: &Tile, a: &[Wide], c: *mut f32, row: usize) {
    let depth = t.b.len() / COLS;
    let mut sums = [[_mm512_setzero_ps(); 2]; M];
    let mut a = a.as_ptr().cast::<f32>();
    let mut b: *const Line = t.b.as_ptr();
    let high = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    for line in 0..depth {
        for pair in 0..16 {
            t.fetch_after(16 * line + pair);
            // SAFETY: b walks depth x 32 lines, two a pair; a walks 16 pairs of the M lines of this depth.
            unsafe {
                let pairs = [_mm512_load_si512(b.cast()), _mm512_load_si512(b.add(1).cast())];
                let first = pairs.map(|p| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(p)));
                for (r, s) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(*a.add(32 * r));
                    s[0] = _mm512_fmadd_ps(x, first[0], s[0]);
                    s[1] = _mm512_fmadd_ps(x, first[1], s[1]);
                }
                let second = pairs.map(|p| _mm512_castsi512_ps(_mm512_and_si512(p, high)));
                for (r, s) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(*a.add(32 * r + 1));
                    s[0] = _mm512_fmadd_ps(x, second[0], s[0]);
                    s[1] = _mm512_fmadd_ps(x, second[1], s[1]);
                }
                a = a.add(2);
                b = b.add(2);
            }
        }
        // SAFETY: as above.
        a = unsafe { a.add(32 * (M - 1)) };
    }
    // SAFETY: the caller's promise.
    unsafe { put(t, &sums, c, row) };
}

/// Products of integers; a macro, because the tests make them of the same instructions in plain Rust, too, for CPUs that have none.
macro_rules! integers {
    ($(#[$features:meta])?) => {
        /// SAFETY: AVX512-VNNI; `t.b` holds a block of 64 x 32 numbers for each of `t.scales`, `a` as many blocks of M rows and their
        /// scales; M rows of `t.cols` numbers at `c` are writable, as many of what is added to readable.
        $(#[$features])?
        pub(super) unsafe fn integers<const M: usize>(t: &Tile, a: Integers, c: *mut f32, row: usize) {
            let mut sums = [[_mm512_setzero_ps(); 2]; M];
            let mut found = [[_mm512_setzero_si512(); 2]; M];
            for (block, scales) in t.scales.iter().enumerate() {
                if t.turn_of.0 == 0 {
                    ask(t.next_scales.wrapping_add(block).cast(), 2);
                }
                // SAFETY: the caller's promises; 32 scales of columns, M of rows a block.
                unsafe {
                    block_of_integers(t, a, block, &mut found);
                    let b = [_mm512_load_ps(scales.0.as_ptr()), _mm512_load_ps(scales.0[16..].as_ptr())];
                    for (r, (sums, found)) in sums.iter_mut().zip(&found).enumerate() {
                        let x = _mm512_set1_ps(*a.scales.get_unchecked(block * M + r));
                        for i in 0..2 {
                            sums[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(found[i]), _mm512_mul_ps(x, b[i]), sums[i]);
                        }
                    }
                }
            }
            // SAFETY: the caller's promise.
            unsafe { put(t, &sums, c, row) };
        }

        /// Sums of block `block`. A function of its own, so that the sums of all blocks take no registers from these.
        ///
        /// SAFETY: as [`integers`]; there are so many blocks.
        $(#[$features])?
        #[inline(never)]
        unsafe fn block_of_integers<const M: usize>(t: &Tile, a: Integers, block: usize, found: &mut [[__m512i; 2]; M]) {
            let mut sums = [[_mm512_setzero_si512(); 2]; M];
            // SAFETY: two lines a pair of a block's 64 x 32 numbers; a pair of the block's 64 numbers of each row.
            unsafe {
                let a: *const i32 = a.lines.as_ptr().add(block * M * LINES).cast();
                let b: *const __m512i = t.b.as_ptr().add(block * LINES * COLS).cast();
                for pair in 0..SHARED / 2 {
                    t.fetch_after(block * SHARED / 2 + pair);
                    let b = [_mm512_load_si512(b.add(2 * pair)), _mm512_load_si512(b.add(2 * pair + 1))];
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let x = _mm512_set1_epi32(a.add(r * SHARED / 2 + pair).read());
                        sums[0] = _mm512_dpwssd_epi32(sums[0], x, b[0]);
                        sums[1] = _mm512_dpwssd_epi32(sums[1], x, b[1]);
                    }
                }
            }
            *found = sums;
        }
    };
}

integers! { #[target_feature(enable = "avx512f,avx512bw,avx512vnni")] }

/// Stores a tile's sums.
///
/// SAFETY: AVX-512; M rows of `t.cols` numbers at `c` are writable,
/// as many of what is added to readable.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn put<const M: usize>(t: &Tile, sums: &[[__m512; 2]; M], c: *mut f32, row: usize) {
    for (r, s) in sums.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { put_row(t, t.old(c, row), r, *s, c.add(r * row)) };
    }
}

/// Stores row `r` of a tile's sums.
///
/// SAFETY: AVX-512; `t.cols` numbers at `out` are writable, as many of row `r` of `old` readable.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) unsafe fn put_row(t: &Tile, old: Option<(*const f32, usize)>, r: usize, sums: [__m512; 2], out: *mut f32) {
    let alpha = _mm512_set1_ps(t.alpha);
    for (half, s) in sums.into_iter().enumerate() {
        let cols = t.cols.saturating_sub(16 * half).min(16);
        if cols == 0 {
            continue;
        }
        let mask = ((1u32 << cols) - 1) as __mmask16;
        // SAFETY: the mask keeps to the rows' `cols` numbers.
        unsafe {
            let old = match old {
                Some((old, row)) => _mm512_maskz_loadu_ps(mask, old.add(r * row + 16 * half)),
                None => _mm512_setzero_ps(),
            };
            _mm512_mask_storeu_ps(out.add(16 * half), mask, _mm512_fmadd_ps(alpha, s, old));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Way, rest_of, round};
    use super::*;

    #[test]
    fn a_split_row_equals_its_safe_twin() {
        if !Way::Pairs.is_usable() {
            return; // no such instructions
        }
        let special = [0.0, -0.0, 1.0, -1.0 - 1.0 / 256.0, 3.4e38, f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        let mut x = [0f32; LINE];
        for (i, x) in x.iter_mut().enumerate() {
            *x = special.get(i).copied().unwrap_or((i as f32).sin() * 10f32.powi(i as i32 - 20));
        }
        // SAFETY: asked above.
        let [rounded, rest] = unsafe { split(&x) };
        for ((x, rounded), rest) in x.into_iter().zip(rounded.0).zip(rest.0) {
            assert_eq!([rounded, rest], [round(x), round(rest_of(x))], "{x}");
        }
    }
}

/// The loop over integers made of instructions that are written out in plain Rust.
#[cfg(test)]
mod written_out {
    use std::array::from_fn;

    use super::super::{Way, tests::each_tile};
    use super::*;

    #[derive(Clone, Copy)]
    #[repr(align(64))]
    struct Floats([f32; 16]);

    #[derive(Clone, Copy)]
    #[repr(align(64))]
    #[expect(non_camel_case_types, reason = "as the instructions' own")]
    struct __m512i([i32; 16]);

    fn _mm512_setzero_ps() -> Floats {
        Floats([0.0; 16])
    }

    fn _mm512_set1_ps(x: f32) -> Floats {
        Floats([x; 16])
    }

    /// SAFETY: 16 numbers at `from`.
    unsafe fn _mm512_load_ps(from: *const f32) -> Floats {
        // SAFETY: the caller's promise; in debug builds an address that is not aligned panics.
        unsafe { from.cast::<Floats>().read() }
    }

    fn _mm512_mul_ps(a: Floats, b: Floats) -> Floats {
        Floats(from_fn(|j| a.0[j] * b.0[j]))
    }

    fn _mm512_fmadd_ps(a: Floats, b: Floats, c: Floats) -> Floats {
        Floats(from_fn(|j| a.0[j].mul_add(b.0[j], c.0[j])))
    }

    fn _mm512_cvtepi32_ps(a: __m512i) -> Floats {
        Floats(a.0.map(|x| x as f32))
    }

    fn _mm512_setzero_si512() -> __m512i {
        __m512i([0; 16])
    }

    fn _mm512_set1_epi32(x: i32) -> __m512i {
        __m512i([x; 16])
    }

    /// SAFETY: 16 numbers at `from`.
    unsafe fn _mm512_load_si512(from: *const __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { from.read() }
    }

    /// VPDPWSSD; tests panic where a sum leaves its 32 bits.
    fn _mm512_dpwssd_epi32(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        let [low, high] = [|x: i32| i32::from(x as i16), |x: i32| x >> 16];
        __m512i(from_fn(|j| sum.0[j] + low(a.0[j]) * low(b.0[j]) + high(a.0[j]) * high(b.0[j])))
    }

    /// SAFETY: M rows of `t.cols` numbers at `c`.
    unsafe fn put<const M: usize>(t: &Tile, sums: &[[Floats; 2]; M], c: *mut f32, row: usize) {
        for (r, sums) in sums.iter().enumerate() {
            for j in 0..t.cols {
                // SAFETY: the caller's promise.
                unsafe { c.add(r * row + j).write(sums[j / 16].0[j % 16]) }
            }
        }
    }

    integers! {}

    #[test]
    fn a_tile_of_any_height_equals_the_safe_twin() {
        each_tile(1..=14, Way::Integers512, |t, a, c, row| {
            macro_rules! rows {
                ($($m:literal)*) => {
                    match t.rows {
                        // SAFETY: blocks of 64 x 32 numbers and of so many rows, whole; as many rows at `c`.
                        $($m => unsafe { integers::<$m>(t, a, c, row) },)*
                        m => unreachable!("a tile of {m} rows"),
                    }
                };
            }
            rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        });
    }
}
