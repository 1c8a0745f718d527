//! Matrix product against a frozen matrix that is held in bf16 and packed once.
//!
//! In: rows of f32. Out: rows of f32, sums in f32. On CPUs with AMX a tile of up to 32 rows and 32 columns stays in four tile registers,
//! with AVX512-BF16 one of up to 14 rows in vector registers; elsewhere a portable loop, the safe twin, reads the same packing. Intel's
//! vector units multiply bf16 pairs more slowly than f32, so there, without AMX, the weight is widened in registers and multiplied in
//! f32: half the memory traffic of f32 at nearly its speed.
//!
//! Rounding the rows as well moves gradients further than rounding the weight does, so it is done only where all else would be slow,
//! pair by pair. In tile registers a row is the sum of two bf16 rows, its rounding and what that leaves, exact to 16 bits; elsewhere it
//! is multiplied as it is.
//! The sum of one element runs over k in one fixed order, whatever the number of rows or threads: a row comes out the same
//! alone and in a batch.
#![expect(unsafe_code, reason = "intrinsics and disjoint columns written in parallel; `tile_portable` is the safe twin")]

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64", target_os = "linux"))]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;

use std::ops::Range;
use std::sync::LazyLock;

use rayon::prelude::*;

use crate::gemm::Mat;
use crate::math::wide;

/// Most rows of a tile in vector registers: 14 x 2 accumulators, two registers of B and one of A fill the 32 of AVX-512.
const ROWS: usize = 14;
/// Most rows of a tile in tile registers: two above each other.
const TILE_ROWS: usize = 32;
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
    /// In tile registers (AMX-BF16).
    Tiles,
    /// Pair by pair (AVX512-BF16).
    Pairs,
    /// Widened to f32 in registers (AVX-512).
    Widened,
    /// Without intrinsics.
    Portable,
}

impl Way {
    /// Every way of this CPU, the fastest first.
    fn all() -> &'static [Self] {
        static WAYS: LazyLock<Vec<Way>> = LazyLock::new(|| {
            let vectors = match (is_fast(), made_by_intel()) {
                (true, true) => &[Way::Widened, Way::Pairs][..],
                (true, false) => &[Way::Pairs, Way::Widened],
                (false, _) => &[],
            };
            let tiles = is_fast() && has_tiles();
            tiles.then_some(Way::Tiles).into_iter().chain(vectors.iter().copied()).chain([Way::Portable]).collect()
        });
        &WAYS
    }

    /// The fastest of this CPU.
    fn fastest() -> Self {
        Self::all()[0]
    }

    /// Most rows of a strip.
    fn rows(self) -> usize {
        if self == Self::Tiles { TILE_ROWS } else { ROWS }
    }
}

/// Can this CPU multiply in tile registers (AMX-BF16), and does the system let this process do so?
fn has_tiles() -> bool {
    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64", target_os = "linux"))]
    {
        amx::is_usable()
    }
    #[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64", target_os = "linux")))]
    {
        false
    }
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

/// Are rows rounded as well, because this CPU multiplies pairs and nothing else fast (AMD)?
pub fn rounds_rows() -> bool {
    Way::fastest() == Way::Pairs
}

/// Nearest bf16, ties to even; what is not a number stays so.
#[inline(always)]
pub(crate) fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    let nearest = ((bits.wrapping_add(0x7fff + ((bits >> 16) & 1))) >> 16) as u16;
    if x.is_nan() { (bits >> 16) as u16 | 0x40 } else { nearest }
}

/// What rounding takes from a number; 0 where it is infinite or rounds to what is.
#[inline(always)]
fn rest_of(x: f32) -> f32 {
    let rest = x - widen(round(x));
    if rest.is_finite() { rest } else { 0.0 }
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
        self.filled(m, a, None, alpha, Way::fastest())
    }

    /// base + a B [m, n] of a [m, k], base [m, n] or [n], the same for every row.
    ///
    /// # Panics
    /// When an operand does not fit its slice.
    pub fn product_onto(&self, m: usize, a: &[f32], base: &[f32]) -> Vec<f32> {
        self.filled(m, a, Some(base), 1.0, Way::fastest())
    }

    /// base + alpha * a B, where there is one; `way` is one of [`Way::all`].
    fn filled(&self, m: usize, a: &[f32], base: Option<&[f32]>, alpha: f32, way: Way) -> Vec<f32> {
        let mut out: Vec<f32> = Vec::with_capacity(m * self.n); // never cleared: every number is written below
        // SAFETY: there is room; the panels cover all n columns of all m rows, and each number is written before it is read.
        unsafe {
            self.fill(m, a, out.as_mut_ptr(), base, alpha, way);
            out.set_len(m * self.n);
        }
        out
    }

    /// `dst[m, n] = base + alpha * a[m, k] B`.
    ///
    /// # Safety
    /// `dst` has room for m x n numbers; `way` is one of [`Way::all`].
    unsafe fn fill(&self, m: usize, a: &[f32], dst: *mut f32, base: Option<&[f32]>, alpha: f32, way: Way) {
        let (k, n, along) = (self.k, self.n, lines_of(self.k));
        assert!(a.len() >= m * k, "left operand {m}x{k} does not fit {} numbers", a.len());
        let base_row = if base.is_some_and(|base| base.len() == n) { 0 } else { n };
        assert!(base.is_none_or(|base| base.len() == n || base.len() == m * n), "base is neither [{n}] nor [{m}, {n}]");
        if m == 0 || n == 0 {
            return;
        }
        let strips = strips(m, way.rows());
        let a = match way {
            Way::Tiles => Rows::Split(pack_rows(a, k, &strips, [ZERO; 2], split_strip)),
            Way::Pairs => Rows::Rounded(pack_rows(a, k, &strips, ZERO, round_strip)),
            Way::Widened | Way::Portable => Rows::Exact(pack_rows(a, k, &strips, Wide([0.0; LINE]), copy_strip)),
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
                    // SAFETY: rows of the strip are below m and columns p * 32 .. p * 32 + cols below n, which `dst` holds, and the base,
                    // if with one row for all; no two panels share a column, so no two threads write one element.
                    unsafe {
                        let c = out.at(strip.start, p * COLS);
                        let old = match base {
                            _ if first > 0 => Some((c.cast_const(), n)),
                            Some(base) => Some((base.as_ptr().add(strip.start * base_row + p * COLS), base_row)),
                            None => None,
                        };
                        Tile { b, rows, cols, old, alpha, ahead, fetch }.store(a, c, n, way);
                    }
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

/// Rows in even strips of at most `most`.
fn strips(m: usize, most: usize) -> Vec<Range<usize>> {
    let count = m.div_ceil(most);
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

/// Rows of A, strip by strip, in a strip by (line along k, row).
enum Rows {
    /// Rounding and rest.
    Split(Vec<[Line; 2]>),
    Rounded(Vec<Line>),
    Exact(Vec<Wide>),
}

/// Lines of [`Rows`].
#[derive(Clone, Copy)]
enum Part<'a> {
    Split(&'a [[Line; 2]]),
    Rounded(&'a [Line]),
    Exact(&'a [Wide]),
}

impl Rows {
    fn part(&self, first: usize, n: usize) -> Part<'_> {
        match self {
            Self::Split(lines) => Part::Split(&lines[first..first + n]),
            Self::Rounded(lines) => Part::Rounded(&lines[first..first + n]),
            Self::Exact(lines) => Part::Exact(&lines[first..first + n]),
        }
    }
}

/// The rows of `a` [m, k] as lines of [`Rows`]; `pack(lines, a, k, rows, first)` fills those of a strip's numbers along k from
/// line `first` on.
fn pack_rows<L: Copy + Send>(
    a: &[f32],
    k: usize,
    strips: &[Range<usize>],
    zero: L,
    pack: fn(&mut [L], &[f32], usize, usize, usize),
) -> Vec<L> {
    let along = lines_of(k);
    let m = strips.last().map_or(0, |s| s.end);
    let mut packed = vec![zero; m * along];
    let serial = m * k < SERIAL / 16;
    // a few strips too are shared among the threads
    let pieces = if serial { 1 } else { rayon::current_num_threads().div_ceil(strips.len().max(1)) };
    let piece = along.div_ceil(pieces).max(1);
    let mut rest = packed.as_mut_slice();
    let mut tasks = Vec::with_capacity(strips.len() * pieces);
    for strip in strips {
        let a = &a[strip.start * k..strip.end * k];
        for first in (0..along).step_by(piece) {
            let (lines, tail) = rest.split_at_mut(strip.len() * piece.min(along - first));
            tasks.push((lines, a, strip.len(), first));
            rest = tail;
        }
    }
    if serial {
        tasks.into_iter().for_each(|(lines, a, rows, first)| pack(lines, a, k, rows, first));
    } else {
        tasks.into_par_iter().for_each(|(lines, a, rows, first)| pack(lines, a, k, rows, first));
    }
    packed
}

wide! {
    fn split_strip(lines: &mut [[Line; 2]], a: &[f32], k: usize, rows: usize, first: usize) -> () {
        pack(lines, a, k, rows, first, |[rounded, rest], i, x| {
            rounded.0[i] = round(x);
            rest.0[i] = round(rest_of(x));
        });
    }
}

wide! {
    fn round_strip(lines: &mut [Line], a: &[f32], k: usize, rows: usize, first: usize) -> () {
        pack(lines, a, k, rows, first, |line, i, x| line.0[i] = round(x));
    }
}

wide! {
    fn copy_strip(lines: &mut [Wide], a: &[f32], k: usize, rows: usize, first: usize) -> () {
        pack(lines, a, k, rows, first, |line, i, x| line.0[i] = x);
    }
}

/// Puts the numbers of `rows` rows of `a` along k, from line `first` on, into `lines`.
#[inline(always)]
fn pack<L>(lines: &mut [L], a: &[f32], k: usize, rows: usize, first: usize, put: impl Fn(&mut L, usize, f32)) {
    let depth = lines.len() / rows;
    for (r, row) in a.chunks_exact(k).enumerate() {
        let (whole, rest) = row[first * LINE..k.min((first + depth) * LINE)].as_chunks::<LINE>();
        for (l, numbers) in whole.iter().enumerate() {
            let line = &mut lines[l * rows + r];
            for (i, &x) in numbers.iter().enumerate() {
                put(line, i, x);
            }
        }
        for (i, &x) in rest.iter().enumerate() {
            put(&mut lines[whole.len() * rows + r], i, x);
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
    /// What the sums are added to, and how far its rows are apart.
    old: Option<(*const f32, usize)>,
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
    /// SAFETY: `rows` rows of `cols` numbers at `c` must be writable by this thread alone, as many at `old` readable; `way` must be one of this CPU's.
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
                #[cfg(all(target_pointer_width = "64", target_os = "linux"))]
                (Part::Split(a), Way::Tiles) => {
                    assert!((1..=TILE_ROWS).contains(&self.rows) && a.len() * COLS == self.b.len() * self.rows);
                    // SAFETY: the caller's promises; lengths are as asserted.
                    return unsafe { amx::tile(self, a, c, row) };
                }
                (Part::Rounded(a), Way::Pairs) => {
                    assert_eq!(a.len() * COLS, self.b.len() * self.rows);
                    return rows!(pairs(a): 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
                }
                (Part::Exact(a), Way::Widened) => {
                    assert_eq!(a.len() * COLS, self.b.len() * self.rows);
                    return rows!(widened(a): 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
                }
                _ => {}
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (self.ahead, self.fetch);
        let Part::Exact(a) = a else { unreachable!("rows are packed for {way:?}, which this CPU has not") };
        let sums = tile_portable(a, self.b, self.rows);
        for (r, sums) in sums.iter().take(self.rows).enumerate() {
            for (j, s) in sums.iter().enumerate().take(self.cols) {
                // SAFETY: the caller's promise.
                unsafe {
                    let old = self.old.map_or(0.0, |(old, row)| old.add(r * row + j).read());
                    c.add(r * row + j).write(old + self.alpha * s);
                }
            }
        }
    }
}

wide! {
    /// The safe twin: sums of a tile.
    fn tile_portable(a: &[Wide], b: &[Line], rows: usize) -> [[f32; COLS]; ROWS] {
        let mut sums = [[0f32; COLS]; ROWS];
        for (a, b) in a.chunks_exact(rows).zip(b.chunks_exact(COLS)) {
            for (pair, b) in b.chunks_exact(2).enumerate() {
                for r in 0..rows {
                    let (x0, x1) = (a[r].0[2 * pair], a[r].0[2 * pair + 1]);
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
            for most in [ROWS, TILE_ROWS] {
                let strips = strips(m, most);
                assert!(strips.iter().all(|s| (1..=most).contains(&s.len())), "{m}: {strips:?}");
                assert_eq!(strips.iter().map(ExactSizeIterator::len).sum::<usize>(), m);
            }
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
            for (base, alpha) in [(None, 1.0), (Some(&start[..]), 0.5), (Some(&start[..n]), 1.0)] {
                let ways = Way::all();
                let got: Vec<Vec<f32>> = ways.iter().map(|&way| packed.filled(m, &a, base, alpha, way)).collect();
                assert_eq!(got[ways.len() - 1], from_t.filled(m, &a, base, alpha, Way::Portable));
                for i in 0..m * n {
                    let dot = |row: fn(f32) -> f32| -> f64 {
                        (0..k).map(|x| f64::from(row(a[i / n * k + x])) * f64::from(widen(round(b[x * n + i % n])))).sum()
                    };
                    let (exact, rounded) = (dot(|x| x), dot(|x| widen(round(x))));
                    for (got, way) in got.iter().zip(ways) {
                        let dot = if *way == Way::Pairs { rounded } else { exact };
                        let want = base.map_or(0.0, |base| f64::from(base[i % base.len()])) + f64::from(alpha) * dot;
                        let got = f64::from(got[i]);
                        assert!((got - want).abs() < 1e-5 * (k as f64).sqrt().max(4.0), "{way:?} {m}x{n}x{k}: {got}, not {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_comes_out_the_same_alone_and_in_a_batch() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(2);
        for (m, n, k) in [(61, 700, 576), (33, 40, 4200)] {
            let mut fill = |len: usize| (0..len).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<_>>();
            let (a, b, base) = (fill(m * k), fill(k * n), fill(n));
            let packed = Packed::new(Mat::rows(&b, n), k, n);
            for &way in Way::all() {
                let all = packed.filled(m, &a, Some(&base), 1.0, way);
                for r in 0..m {
                    let alone = packed.filled(1, &a[r * k..(r + 1) * k], Some(&base), 1.0, way);
                    assert_eq!(alone, all[r * n..(r + 1) * n], "{way:?}, row {r}");
                }
            }
        }
    }
}
