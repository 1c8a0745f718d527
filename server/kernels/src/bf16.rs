//! Matrix product against a frozen matrix that is held in bf16 and packed once.
//!
//! In: rows of f32. Out: rows of f32. The rows are rounded to bf16, products are summed in f32. On CPUs with AVX512-BF16 a
//! tile of up to 14 rows and 32 columns stays in registers; elsewhere a portable loop, the safe twin, reads the same packing.
//! Intel's cores multiply bf16 pairs more slowly than f32, so there the numbers are widened in registers and multiplied in f32: half
//! the memory traffic of f32 at nearly its speed.
//! The sum of one element runs over k in one fixed order, whatever the number of rows or threads: a row comes out the same
//! alone and in a batch.
#![expect(unsafe_code, reason = "intrinsics and disjoint columns written in parallel; `tile_portable` is the safe twin")]

use std::ops::Range;
use std::sync::LazyLock;

use rayon::prelude::*;

use crate::gemm::Mat;
use crate::math::wide;

/// Rows of a tile: 14 x 2 accumulators, two registers of B and one of A fill the 32 registers of AVX-512.
const ROWS: usize = 14;
/// Columns of a tile, two registers.
const COLS: usize = 32;
/// Numbers along k of one cache line.
const LINE: usize = 32;
/// Lines along k that are multiplied before a tile is stored: 4096 numbers, so that a panel (256 kB) stays in the L2 cache.
const DEPTH: usize = 128;
/// Products of fewer multiply-adds stay on the calling thread.
const SERIAL: usize = 1 << 17;

/// 32 bf16 numbers of one cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u16; LINE]);

const ZERO: Line = Line([0; LINE]);

/// As many numbers in f32.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Wide([f32; LINE]);

/// How a tile is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Pair by pair (AVX512-BF16).
    Pairs,
    /// Widened to f32 in registers (AVX-512).
    Widened,
    /// Without intrinsics.
    Portable,
}

/// The fastest way on this CPU.
fn fastest() -> Way {
    static WAY: LazyLock<Way> = LazyLock::new(|| match (is_fast(), made_by_intel()) {
        (true, true) => Way::Widened,
        (true, false) => Way::Pairs,
        (false, _) => Way::Portable,
    });
    *WAY
}

fn made_by_intel() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let vendor = std::arch::x86_64::__cpuid(0);
        [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// A matrix B [k, n] in bf16, in panels of 32 columns; in a panel, line 2i and 2i + 1 hold the pairs (B[2i, j], B[2i + 1, j]).
pub struct Packed {
    lines: Vec<Line>,
    k: usize,
    n: usize,
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed {{ k: {}, n: {} }}", self.k, self.n)
    }
}

/// Can this CPU multiply bf16 pairs (AVX512-BF16)?
pub fn is_fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Nearest bf16, ties to even; what is not a number stays so.
#[inline(always)]
pub(crate) fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    let nearest = ((bits.wrapping_add(0x7fff + ((bits >> 16) & 1))) >> 16) as u16;
    if x.is_nan() { (bits >> 16) as u16 | 0x40 } else { nearest }
}

#[inline(always)]
pub(crate) fn widen(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// Lines along k, padded with zeros.
fn lines_of(k: usize) -> usize {
    k.div_ceil(LINE)
}

impl Packed {
    /// Rounds and packs `b` [k, n].
    ///
    /// # Panics
    /// When `b` does not fit its slice: a shape error is a bug of the caller.
    pub fn new(b: Mat, k: usize, n: usize) -> Self {
        assert!(k == 0 || n == 0 || (k - 1) * b.row + (n - 1) * b.col < b.data.len(), "{k}x{n} does not fit {} numbers", b.data.len());
        let panel = lines_of(k) * COLS; // lines of a panel: 32 columns x 32 numbers a line, in pairs
        let mut lines = vec![ZERO; panel * n.div_ceil(COLS)];
        lines.par_chunks_mut(panel.max(1)).enumerate().for_each(|(p, lines)| {
            for i in 0..k {
                for j in p * COLS..n.min((p + 1) * COLS) {
                    let (c, pair) = (j - p * COLS, i / 2);
                    lines[2 * pair + c / 16].0[2 * (c % 16) + i % 2] = round(b.data[i * b.row + j * b.col]);
                }
            }
        });
        Self { lines, k, n }
    }

    /// Rows of B.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of B.
    pub fn n(&self) -> usize {
        self.n
    }

    /// alpha * a B [m, n] of a [m, k].
    ///
    /// # Panics
    /// When `a` does not fit its slice.
    pub fn product(&self, m: usize, a: &[f32], alpha: f32) -> Vec<f32> {
        let mut out: Vec<f32> = Vec::with_capacity(m * self.n); // never cleared: every number is written below
        // SAFETY: there is room; the panels cover all n columns of all m rows, and with `keep` off each is written without being read.
        unsafe {
            self.fill(m, a, out.as_mut_ptr(), false, alpha, fastest());
            out.set_len(m * self.n);
        }
        out
    }

    /// dst [m, n] += a B of a [m, k].
    ///
    /// # Panics
    /// When an operand does not fit its slice.
    pub fn add_product(&self, m: usize, a: &[f32], dst: &mut [f32]) {
        assert!(dst.len() >= m * self.n, "destination {m}x{} does not fit {} numbers", self.n, dst.len());
        // SAFETY: checked above; a slice is initialised.
        unsafe { self.fill(m, a, dst.as_mut_ptr(), true, 1.0, fastest()) };
    }

    /// `dst[m, n] = keep * dst + alpha * a[m, k] B`.
    ///
    /// # Safety
    /// `dst` has room for m x n numbers, which are initialised where `keep`; `way` is [`Way::Portable`] where not [`is_fast`].
    unsafe fn fill(&self, m: usize, a: &[f32], dst: *mut f32, keep: bool, alpha: f32, way: Way) {
        let (k, n, along) = (self.k, self.n, lines_of(self.k));
        assert!(a.len() >= m * k, "left operand {m}x{k} does not fit {} numbers", a.len());
        if m == 0 || n == 0 {
            return;
        }
        let strips = strips(m);
        let a = match way {
            Way::Widened => Rows::F32(pack_rows(a, k, &strips, Wide([0.0; LINE]), widen_strip)),
            Way::Pairs | Way::Portable => Rows::Bf16(pack_rows(a, k, &strips, ZERO, pack_strip)),
        };
        let out = Columns { data: dst, row: n };
        let panel = |p: usize| {
            let b = &self.lines[p * along * COLS..(p + 1) * along * COLS];
            let cols = COLS.min(n - p * COLS);
            for first in (0..along.max(1)).step_by(DEPTH) {
                let depth = DEPTH.min(along - first);
                for (i, strip) in strips.iter().enumerate() {
                    let rows = strip.len();
                    // what comes after this panel is on its way from memory while this one is multiplied: the first two strips ask for
                    // half of it each, a line for every two that they read
                    let fetch = match (strips.len(), i) {
                        (1, _) => 2,
                        (_, 0 | 1) => 1,
                        _ => 0,
                    };
                    let ahead = self.lines.as_ptr().wrapping_add(((p + 1) * along + first + i * depth / 2) * COLS);
                    // lines of a strip are ordered (line along k, row)
                    let a = a.part(strip.start * along + first * rows, depth * rows);
                    let b = &b[first * COLS..(first + depth) * COLS];
                    let tile = Tile { b, rows, cols, keep: keep || first > 0, alpha, ahead, fetch };
                    // SAFETY: rows of the strip are below m and columns p * 32 .. p * 32 + cols below n, which `dst` holds;
                    // no two panels share a column, so no two threads write one element.
                    unsafe { tile.store(a, out.at(strip.start, p * COLS), n, way) };
                }
            }
        };
        let panels = n.div_ceil(COLS);
        if m * n * k < SERIAL {
            (0..panels).for_each(panel);
        } else {
            (0..panels).into_par_iter().for_each(panel);
        }
    }
}

/// Rows in even strips of at most [`ROWS`].
fn strips(m: usize) -> Vec<Range<usize>> {
    let count = m.div_ceil(ROWS);
    let (even, longer) = (m / count.max(1), m % count.max(1));
    let mut start = 0;
    (0..count)
        .map(|i| {
            let strip = start..start + even + usize::from(i < longer);
            start = strip.end;
            strip
        })
        .collect()
}

/// Rows of A, strip by strip, in a strip by (line along k, row), rounded to bf16 in either dtype.
enum Rows {
    Bf16(Vec<Line>),
    F32(Vec<Wide>),
}

/// Lines of [`Rows`].
#[derive(Clone, Copy)]
enum Part<'a> {
    Bf16(&'a [Line]),
    F32(&'a [Wide]),
}

impl Rows {
    fn part(&self, first: usize, n: usize) -> Part<'_> {
        match self {
            Self::Bf16(lines) => Part::Bf16(&lines[first..first + n]),
            Self::F32(lines) => Part::F32(&lines[first..first + n]),
        }
    }
}

/// The rows of `a` [m, k] as lines of [`Rows`]; `pack(lines, a, k, rows)` fills those of a strip.
fn pack_rows<L: Copy + Send>(a: &[f32], k: usize, strips: &[Range<usize>], zero: L, pack: fn(&mut [L], &[f32], usize, usize)) -> Vec<L> {
    let along = lines_of(k);
    let m = strips.last().map_or(0, |s| s.end);
    let mut packed = vec![zero; m * along];
    let mut rest = packed.as_mut_slice();
    let mut tasks = Vec::with_capacity(strips.len());
    for strip in strips {
        let (lines, tail) = rest.split_at_mut(strip.len() * along);
        tasks.push((lines, &a[strip.start * k..strip.end * k], strip.len()));
        rest = tail;
    }
    if m * k < SERIAL / 16 {
        tasks.into_iter().for_each(|(lines, a, rows)| pack(lines, a, k, rows));
    } else {
        tasks.into_par_iter().for_each(|(lines, a, rows)| pack(lines, a, k, rows));
    }
    packed
}

wide! {
    fn pack_strip(lines: &mut [Line], a: &[f32], k: usize, rows: usize) -> () {
        for (r, row) in a.chunks_exact(k).enumerate() {
            let (whole, rest) = row.as_chunks::<LINE>();
            for (l, numbers) in whole.iter().enumerate() {
                let line = &mut lines[l * rows + r].0;
                for i in 0..LINE {
                    line[i] = round(numbers[i]);
                }
            }
            for (i, &x) in rest.iter().enumerate() {
                lines[whole.len() * rows + r].0[i] = round(x);
            }
        }
    }
}

wide! {
    fn widen_strip(lines: &mut [Wide], a: &[f32], k: usize, rows: usize) -> () {
        for (r, row) in a.chunks_exact(k).enumerate() {
            let (whole, rest) = row.as_chunks::<LINE>();
            for (l, numbers) in whole.iter().enumerate() {
                let line = &mut lines[l * rows + r].0;
                for i in 0..LINE {
                    line[i] = widen(round(numbers[i]));
                }
            }
            for (i, &x) in rest.iter().enumerate() {
                lines[whole.len() * rows + r].0[i] = widen(round(x));
            }
        }
    }
}

/// The destination, of which every panel writes columns of its own.
struct Columns {
    data: *mut f32,
    row: usize,
}

// SAFETY: only the address is shared; who writes what is argued where it is written.
unsafe impl Sync for Columns {}

impl Columns {
    /// SAFETY: (row, col) must lie in the destination.
    unsafe fn at(&self, row: usize, col: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.data.add(row * self.row + col) }
    }
}

/// One tile: what rows of A meet, and where the sums go.
struct Tile<'a> {
    b: &'a [Line], // depth x 32
    rows: usize,
    cols: usize,
    keep: bool,
    alpha: f32,
    /// Lines that are needed next, and how many of them to ask for with every two of `b`; an address that is only hinted at.
    ahead: *const Line,
    fetch: usize,
}

impl Tile<'_> {
    /// Asks for the lines that are needed after `pair` pairs of lines.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn fetch_after(&self, pair: usize) {
        for i in 0..self.fetch {
            let line = self.ahead.wrapping_add(pair * self.fetch + i);
            // SAFETY: a hint reads nothing, whatever the address.
            unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(line.cast()) };
        }
    }

    /// Computes the tile of `a`, depth x rows lines, and stores it at `c`, whose rows are `row` numbers apart.
    ///
    /// SAFETY: `rows` rows of `cols` numbers at `c` must be writable by this thread alone; `way` must be one of this CPU's.
    unsafe fn store(&self, a: Part, c: *mut f32, row: usize, way: Way) {
        #[cfg(target_arch = "x86_64")]
        {
            macro_rules! rows {
                ($tile:ident($a:ident): $($m:literal)*) => {
                    match self.rows {
                        // SAFETY: the caller's promises; the slices' lengths are as asserted.
                        $($m => unsafe { avx512::$tile::<$m>(self, $a, c, row) },)*
                        _ => unreachable!("a strip has at most {ROWS} rows"),
                    }
                };
            }
            match (a, way) {
                (Part::Bf16(a), Way::Pairs) => {
                    assert_eq!(a.len() * COLS, self.b.len() * self.rows);
                    return rows!(pairs(a): 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
                }
                (Part::F32(a), Way::Widened) => {
                    assert_eq!(a.len() * COLS, self.b.len() * self.rows);
                    return rows!(widened(a): 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
                }
                _ => {}
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (self.ahead, self.fetch);
        let a = match a {
            Part::Bf16(a) => a,
            Part::F32(a) => unreachable!("{} widened lines, which are for AVX-512 alone, for {way:?}", a.len()),
        };
        let sums = tile_portable(a, self.b, self.rows);
        for (r, sums) in sums.iter().take(self.rows).enumerate() {
            for (j, s) in sums.iter().enumerate().take(self.cols) {
                // SAFETY: the caller's promise; read only where `keep` says that there is something.
                unsafe {
                    let out = c.add(r * row + j);
                    let old = if self.keep { out.read() } else { 0.0 };
                    out.write(old + self.alpha * s);
                }
            }
        }
    }
}

wide! {
    /// The safe twin: sums of a tile.
    fn tile_portable(a: &[Line], b: &[Line], rows: usize) -> [[f32; COLS]; ROWS] {
        let mut sums = [[0f32; COLS]; ROWS];
        for (a, b) in a.chunks_exact(rows).zip(b.chunks_exact(COLS)) {
            for (pair, b) in b.chunks_exact(2).enumerate() {
                for r in 0..rows {
                    let (x0, x1) = (widen(a[r].0[2 * pair]), widen(a[r].0[2 * pair + 1]));
                    for half in 0..2 {
                        for j in 0..16 {
                            sums[r][16 * half + j] += x0 * widen(b[half].0[2 * j]) + x1 * widen(b[half].0[2 * j + 1]);
                        }
                    }
                }
            }
        }
        sums
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{Line, Tile, Wide};

    /// SAFETY: AVX512-BF16; `a` holds depth x M lines, `t.b` depth x 32; M rows of `t.cols` numbers at `c` are writable.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn pairs<const M: usize>(t: &Tile, a: &[Line], c: *mut f32, row: usize) {
        let depth = t.b.len() / super::COLS;
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

    /// SAFETY: AVX-512; `a` holds depth x M lines, `t.b` depth x 32; M rows of `t.cols` numbers at `c` are writable.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) unsafe fn widened<const M: usize>(t: &Tile, a: &[Wide], c: *mut f32, row: usize) {
        let depth = t.b.len() / super::COLS;
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

    /// Stores a tile's sums.
    ///
    /// SAFETY: AVX-512; M rows of `t.cols` numbers at `c` are writable.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn put<const M: usize>(t: &Tile, sums: &[[__m512; 2]; M], c: *mut f32, row: usize) {
        let alpha = _mm512_set1_ps(t.alpha);
        for (r, s) in sums.iter().enumerate() {
            for (half, &s) in s.iter().enumerate() {
                let cols = t.cols.saturating_sub(16 * half).min(16);
                if cols == 0 {
                    continue;
                }
                let mask = ((1u32 << cols) - 1) as __mmask16;
                // SAFETY: the mask keeps to the row's `cols` numbers.
                unsafe {
                    let out = c.add(r * row + 16 * half);
                    let old = if t.keep { _mm512_maskz_loadu_ps(mask, out) } else { _mm512_setzero_ps() };
                    _mm512_mask_storeu_ps(out, mask, _mm512_fmadd_ps(alpha, s, old));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    #[test]
    fn rounding_is_to_nearest_even_and_keeps_what_is_special() {
        assert_eq!(widen(round(1.0)), 1.0);
        assert_eq!(widen(round(1.0 + 1.0 / 256.0)), 1.0); // a tie goes to even
        assert_eq!(widen(round(1.0 + 3.0 / 256.0)), 1.0 + 4.0 / 256.0);
        assert_eq!(widen(round(f32::INFINITY)), f32::INFINITY);
        assert!(widen(round(f32::NAN)).is_nan() && widen(round(f32::from_bits(0x7f80_0001))).is_nan());
    }

    #[test]
    fn strips_are_even_and_cover_all_rows() {
        for m in 1..100 {
            let strips = strips(m);
            assert!(strips.iter().all(|s| (1..=ROWS).contains(&s.len())), "{m}: {strips:?}");
            assert_eq!(strips.iter().map(ExactSizeIterator::len).sum::<usize>(), m);
        }
    }

    /// Every way of this CPU, and f64 sums of the rounded numbers, agree.
    #[test]
    fn products_equal_the_sum_of_rounded_numbers_on_random_shapes() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for case in 0..120 {
            let (m, n) = (rng.random_range(1..70), rng.random_range(1..100));
            let k = if case % 10 == 0 { rng.random_range(4090..4400) } else { rng.random_range(1..140) };
            let mut fill = |len: usize| (0..len).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<_>>();
            let (a, b, start) = (fill(m * k), fill(k * n), fill(m * n));
            let transposed: Vec<f32> = (0..n * k).map(|i| b[(i % k) * n + i / k]).collect();
            let (packed, from_t) = (Packed::new(Mat::rows(&b, n), k, n), Packed::new(Mat::rows(&transposed, k).t(), k, n));
            for (keep, alpha) in [(false, 1.0), (true, 0.5)] {
                let ways = if is_fast() { vec![Way::Portable, Way::Pairs, Way::Widened] } else { vec![Way::Portable] };
                let mut got = vec![start.clone(); ways.len()];
                // SAFETY: each has m x n numbers
                got.iter_mut().zip(&ways).for_each(|(got, way)| unsafe { packed.fill(m, &a, got.as_mut_ptr(), keep, alpha, *way) });
                let mut other = start.clone();
                // SAFETY: as above
                unsafe { from_t.fill(m, &a, other.as_mut_ptr(), keep, alpha, Way::Portable) };
                assert_eq!(got[0], other);
                for i in 0..m * n {
                    let dot: f64 =
                        (0..k).map(|x| f64::from(widen(round(a[i / n * k + x]))) * f64::from(widen(round(b[x * n + i % n])))).sum();
                    let want = f64::from(if keep { start[i] } else { 0.0 }) + f64::from(alpha) * dot;
                    for (got, way) in got.iter().zip(&ways) {
                        let got = got[i];
                        assert!(
                            (f64::from(got) - want).abs() < 1e-5 * (k as f64).sqrt().max(4.0),
                            "{way:?} {m}x{n}x{k}: {got}, not {want}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_comes_out_the_same_alone_and_in_a_batch() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(2);
        let (m, n, k) = (61, 700, 576);
        let mut fill = |len: usize| (0..len).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<_>>();
        let (a, b) = (fill(m * k), fill(k * n));
        let packed = Packed::new(Mat::rows(&b, n), k, n);
        let all = packed.product(m, &a, 1.0);
        for r in [0, 17, 60] {
            assert_eq!(packed.product(1, &a[r * k..(r + 1) * k], 1.0), all[r * n..(r + 1) * n]);
        }
    }
}
