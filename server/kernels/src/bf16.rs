//! Matrix product against a frozen matrix that is held in 16 bits a number and packed once.
//!
//! In: rows of f32. Out: rows of f32, sums in f32. On CPUs with AMX a tile of up to 32 rows and 32 columns stays in four tile registers,
//! with AVX-512 one of up to 14 rows in vector registers, with AVX2 one of 4 or, with AVX-VNNI, 5. Tile registers and AVX512-BF16 multiply pairs of bf16.
//! AVX512-VNNI and AVX2 multiply twice as many integers at once as floats: there 64 numbers along k are integers that share a scale
//! (`integers`), which loses less than bf16 does. Intel's AVX-512 without VNNI widens the matrix from bf16 in registers and multiplies in
//! f32, and where there is no AVX2 a portable loop, the safe twin, does the same. Intel's vector units multiply pairs of bf16 more slowly
//! than f32, so that there they are not used; AMD's multiply pairs in the backward and integers in the forward.
//!
//! Rounding the rows to bf16 as well moves gradients further than rounding the weight does, so it is done only where pairs are fastest, and
//! never for a matrix that asks for more ([`Packed::of_fine_rows`]). In tile registers a row is the sum of two bf16 rows, its rounding and
//! what that leaves, exact to 16 bits; as integers it is exact to 15 bits of the largest of 64 numbers; elsewhere it is multiplied as it is.
//! The sum of one element runs over k in one fixed order, whatever the number of rows or threads: a row comes out the same
//! alone and in a batch.
//!
//! With tile registers the factors of LoRA adapters are multiplied in the same go (`low_rank`). Rows are arranged strip by strip
//! (`rows`); blocks of strips that fit the L2 cache meet one panel after the other, where they are long in several runs along k.
#![expect(unsafe_code, reason = "intrinsics and disjoint columns written in parallel; `tile_portable` is the safe twin")]

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64", target_os = "linux"))]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod integers;
mod low_rank;
mod rows;

use std::ops::Range;
use std::sync::LazyLock;

use rayon::prelude::*;

use self::integers::LINES;
pub(crate) use self::low_rank::{Factors, LowRank, adapters_ride_along};
use self::rows::{Part, Strip, strip_by_strip};
use crate::gemm::Mat;
use crate::math::wide;

/// Most rows of a tile in vector registers: 14 x 2 accumulators, two registers of B and one of A fill the 32 of AVX-512.
const ROWS: usize = 14;
/// Most rows of a tile in the 16 registers of AVX2: 4 x 2 accumulators for half of its columns, two of B, one of A, one of a product. Of
/// five the compiler puts some into memory: a seventh slower.
const FEW_ROWS: usize = 4;
/// The same with AVX-VNNI, where a product takes no register: 5 x 2 sums are as many as keep two of its multiplications a cycle, of five
/// cycles each, at work. Of six the compiler puts some into memory.
const VNNI_ROWS: usize = 5;
/// Most rows of which both halves are computed at once there.
const LOW_ROWS: usize = 2;
/// Most rows of a tile in tile registers: two above each other.
const TILE_ROWS: usize = 32;
/// Columns of a tile, two registers.
const COLS: usize = 32;
/// Numbers along k of one cache line.
const LINE: usize = 32;
/// Lines along k that are multiplied before a tile of vector registers is stored: at most 4096 numbers, so that a panel (256 kB) stays in
/// an L2 cache of 512 kB and more.
const DEPTH: usize = 128;
/// Lines along k of strips of 32 rows, 4 kB each, that stay in the L2 cache beside a panel and what is stored.
const CACHED: usize = 320;
/// Strips that meet a panel one after the other.
const STRIPS: usize = 16;
/// Lines along k that a product of one strip asks for before it needs them.
const AHEAD: usize = 8;
/// Products of fewer multiply-adds stay on the calling thread.
const SERIAL: usize = 1 << 17;

/// 32 numbers of one cache line, bf16 or integers.
#[derive(Clone, Copy, Debug)]
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
    /// As integers that share scales, pair by pair (AVX512-VNNI).
    Integers512,
    /// Widened to f32 in registers (AVX-512).
    Widened512,
    /// As integers that share scales, multiplied and added in one instruction (AVX2, FMA and AVX-VNNI).
    IntegersVnni,
    /// As integers that share scales (AVX2 and FMA).
    Integers,
    /// Without intrinsics.
    Portable,
}

impl Way {
    /// Every way of this CPU, the fastest first.
    fn all() -> &'static [Self] {
        static WAYS: LazyLock<Vec<Way>> = LazyLock::new(|| {
            let mut ways = if made_by_intel() {
                vec![Way::Tiles, Way::Integers512, Way::Widened512, Way::IntegersVnni, Way::Integers, Way::Pairs, Way::Portable]
            } else {
                vec![Way::Tiles, Way::Pairs, Way::Integers512, Way::IntegersVnni, Way::Integers, Way::Widened512, Way::Portable]
            };
            ways.retain(|way| way.is_usable());
            ways
        });
        &WAYS
    }

    /// Can this CPU, and does the system let this process?
    fn is_usable(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            match self {
                Self::Tiles => Self::Pairs.is_usable() && has_tiles(),
                Self::Pairs => Self::Widened512.is_usable() && std::arch::is_x86_feature_detected!("avx512bf16"),
                Self::Widened512 => std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512bw"),
                Self::Integers512 => Self::Widened512.is_usable() && std::arch::is_x86_feature_detected!("avx512vnni"),
                Self::IntegersVnni => Self::Integers.is_usable() && std::arch::is_x86_feature_detected!("avxvnni"),
                Self::Integers => std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma"),
                Self::Portable => true,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::Portable
        }
    }

    /// The fastest of this CPU.
    fn fastest() -> Self {
        Self::all()[0]
    }

    /// The fastest of those that do not round rows to bf16.
    fn fastest_of_fine_rows() -> Self {
        Self::all().iter().copied().find(|way| *way != Self::Pairs).unwrap_or(Self::Portable)
    }

    /// Most rows of a strip.
    fn rows(self) -> usize {
        match self {
            Self::Tiles => TILE_ROWS,
            Self::Pairs | Self::Integers512 | Self::Widened512 | Self::Portable => ROWS,
            Self::IntegersVnni => VNNI_ROWS,
            Self::Integers => FEW_ROWS,
        }
    }

    /// Length of the runs in which so many strips meet `along` lines along k. Tile registers take the sums of one run up again for the next,
    /// so that any length gives the same; elsewhere runs are summed apart, and their length must not depend on the number of rows.
    fn depth(self, strips: usize, along: usize) -> usize {
        let most = if self == Self::Tiles { (CACHED / strips.max(1)).max(8) } else { DEPTH };
        along.div_ceil(along.div_ceil(most).max(1)).max(1).next_multiple_of(self.unit())
    }

    /// Are numbers integers that share scales?
    fn shares_scales(self) -> bool {
        matches!(self, Self::Integers512 | Self::IntegersVnni | Self::Integers)
    }

    /// Are tiles computed in halves of their columns?
    fn is_halved(self) -> bool {
        matches!(self, Self::IntegersVnni | Self::Integers)
    }

    /// Lines along k that cannot be parted.
    fn unit(self) -> usize {
        if self.shares_scales() { LINES } else { 1 }
    }

    /// Lines along k, padded with zeros.
    fn lines_of(self, k: usize) -> usize {
        k.div_ceil(LINE).next_multiple_of(self.unit())
    }
}

/// Can this CPU multiply in tile registers (AMX-BF16), and does the system let this process do so?
#[cfg(target_arch = "x86_64")]
fn has_tiles() -> bool {
    #[cfg(all(target_pointer_width = "64", target_os = "linux"))]
    {
        amx::is_usable()
    }
    #[cfg(not(all(target_pointer_width = "64", target_os = "linux")))]
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

/// A matrix B [k, n] in 16 bits a number, in panels of 32 columns; in a panel, line 2i and 2i + 1 hold the pairs (B[2i, j], B[2i + 1, j]).
#[derive(Clone)]
pub struct Packed {
    lines: Vec<Line>,
    /// Of each panel, of each block of [`LINES`] along k, where numbers are integers.
    scales: Vec<Wide>,
    k: usize,
    n: usize,
    /// Of each panel, lines along k outside of which all is zero.
    used: Vec<Range<usize>>,
    /// How it is multiplied.
    way: Way,
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed {{ k: {}, n: {} }}", self.k, self.n)
    }
}

/// Is training with packed weights faster than with those of f32 here? It is where there are instructions for them: AVX2 with FMA,
/// AVX-512 or AMX.
pub fn is_fast() -> bool {
    Way::fastest() != Way::Portable
}

/// Are rows of a forward rounded, to the 15 bits of integers, on this CPU?
pub fn rounds_rows() -> bool {
    Way::fastest_of_fine_rows().shares_scales()
}

/// Are gradients rounded to bf16, because this CPU multiplies pairs fastest (AMD)?
#[cfg(test)]
pub(crate) fn rounds_gradients() -> bool {
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

impl Packed {
    /// Rounds and packs `b` [k, n].
    ///
    /// # Panics
    /// When `b` does not fit its slice: a shape error is a bug of the caller.
    pub fn new(b: Mat, k: usize, n: usize) -> Self {
        Self::arranged(b, k, n, Way::fastest())
    }

    /// Like [`Packed::new`]; rows that meet it keep 15 bits at least, whatever the CPU.
    ///
    /// # Panics
    /// As there.
    pub fn of_fine_rows(b: Mat, k: usize, n: usize) -> Self {
        Self::arranged(b, k, n, Way::fastest_of_fine_rows())
    }

    /// Packs `b` for `way`.
    fn arranged(b: Mat, k: usize, n: usize, way: Way) -> Self {
        assert!(k == 0 || n == 0 || (k - 1) * b.row + (n - 1) * b.col < b.data.len(), "{k}x{n} does not fit {} numbers", b.data.len());
        let mut packed = Self::zeros(k, n, way);
        let along = packed.along().max(way.unit());
        let panels = packed.lines.par_chunks_mut(along * COLS).enumerate(); // 32 columns x 32 numbers a line, in pairs
        let (first, cols) = (|p: usize| p * COLS, |p: usize| COLS.min(n - p * COLS));
        if way.shares_scales() {
            panels.zip(packed.scales.par_chunks_mut(along / LINES)).for_each(|((p, lines), scales)| {
                integers::panel(lines, scales, k, cols(p), |i, j| b.data[i * b.row + (first(p) + j) * b.col]);
            });
            return packed.seen();
        }
        panels.for_each(|(p, lines)| {
            for i in 0..k {
                for j in 0..cols(p) {
                    let (line, at) = place(i, j);
                    lines[line].0[at] = round(b.data[i * b.row + (first(p) + j) * b.col]);
                }
            }
        });
        packed.seen()
    }

    /// B = 0.
    fn zeros(k: usize, n: usize, way: Way) -> Self {
        let (along, panels) = (way.lines_of(k), n.div_ceil(COLS));
        let scales = if way.shares_scales() { along / LINES * panels } else { 0 };
        Self { lines: vec![ZERO; along * COLS * panels], scales: vec![Wide([0.0; LINE]); scales], k, n, used: Vec::new(), way }
    }

    /// Lines along k, padded with zeros.
    fn along(&self) -> usize {
        self.way.lines_of(self.k)
    }

    /// Puts the bf16 number `x` at row i, column j.
    fn put(&mut self, i: usize, j: usize, x: u16) {
        let (line, at) = place(i, j % COLS);
        let panel = j / COLS * self.along() * COLS;
        self.lines[panel + line].0[at] = x;
    }

    /// Looks which lines are in use, when all numbers are there.
    fn seen(mut self) -> Self {
        let along = self.along();
        // of integers the scales tell: of what is not finite nothing else may be left
        let is_used = |line: usize| match self.scales.get(line / LINES) {
            Some(scales) => scales.0 != [0.0; LINE],
            None => self.lines[line * COLS..(line + 1) * COLS].iter().any(|line| line.0 != ZERO.0),
        };
        let used = |p: usize| {
            let mut lines = p * along..(p + 1) * along;
            let start = lines.clone().position(is_used).unwrap_or(along);
            start..lines.rposition(is_used).map_or(along, |last| last + 1)
        };
        self.used = (0..self.n.div_ceil(COLS)).map(used).collect();
        self
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
        self.product_by(m, a, None, alpha, self.way)
    }

    /// base + a B [m, n] of a [m, k], base [m, n] or [n], the same for every row.
    ///
    /// # Panics
    /// When an operand does not fit its slice.
    pub fn product_onto(&self, m: usize, a: &[f32], base: &[f32]) -> Vec<f32> {
        self.product_by(m, a, Some(base), 1.0, self.way)
    }

    fn product_by(&self, m: usize, a: &[f32], base: Option<&[f32]>, alpha: f32, way: Way) -> Vec<f32> {
        let strips = strip_by_strip(m, self.k, a, way, |rows, a| Strip::new(rows, a, way));
        self.filled(m, &strips, base, alpha, way, None)
    }

    /// alpha * a B, and the base and the product of `more` where they are given; `way` is one of [`Way::all`] and rows are arranged for it.
    fn filled(&self, m: usize, a: &[Strip], base: Option<&[f32]>, alpha: f32, way: Way, more: Option<(&[Strip], &Self)>) -> Vec<f32> {
        let mut out: Vec<f32> = Vec::with_capacity(m * self.n); // never cleared: every number is written below
        // SAFETY: there is room; the panels cover all n columns of all m rows, and each number is written before it is read.
        unsafe {
            self.fill(m, a, out.as_mut_ptr(), base, alpha, way, more);
            out.set_len(m * self.n);
        }
        out
    }

    /// `dst[m, n] = base + alpha * a[m, k] B + more`.
    ///
    /// # Safety
    /// `dst` has room for m x n numbers; `way` is one of [`Way::all`].
    #[expect(clippy::too_many_arguments, reason = "a product with two things added")]
    unsafe fn fill(
        &self,
        m: usize,
        a: &[Strip],
        dst: *mut f32,
        base: Option<&[f32]>,
        alpha: f32,
        way: Way,
        more: Option<(&[Strip], &Self)>,
    ) {
        let (k, n, along) = (self.k, self.n, self.along());
        let base_row = if base.is_some_and(|base| base.len() == n) { 0 } else { n };
        assert!(self.way.shares_scales() == way.shares_scales() && (more.is_none() || !way.shares_scales()), "packed for another way");
        assert!(base.is_none_or(|base| base.len() == n || base.len() == m * n), "base is neither [{n}] nor [{m}, {n}]");
        let same = |u: &[Strip]| u.len() == a.len() && u.iter().zip(a).all(|(u, a)| u.rows == a.rows);
        assert!(
            a.last().map_or(0, |strip| strip.rows.end) == m && more.is_none_or(|(u, b)| same(u) && b.n == n && alpha == 1.0),
            "other strips"
        );
        if m == 0 || n == 0 {
            return;
        }
        let out = Columns { data: dst, row: n };
        let panels = n.div_ceil(COLS);
        // some strips against some panels: what is read of the strips stays in the L2 cache while all these panels meet it
        let block = |strips: Range<usize>, panels: Range<usize>| {
            let mut registers = Registers::default();
            let depth = way.depth(strips.len(), along);
            for turn in 0.. {
                // sums of less than 32 columns cannot be put back into tile registers
                let depth_of = |p: usize| if way == Way::Tiles && (p + 1) * COLS > n { along.max(1) } else { depth };
                let mut runs = panels.clone().filter_map(|p| Some((p, self.run(p, depth_of(p), turn)?))).peekable();
                if runs.peek().is_none() {
                    break;
                }
                for (p, run) in runs {
                    let (lines, scales, last) = (self.part(p, &run), self.scales(p, &run), run.end >= self.used[p].end);
                    let more = more.filter(|_| last).map(|(u, b)| (u, b.used[p].clone(), b.part(p, &b.used[p])));
                    for (i, at) in strips.clone().enumerate() {
                        let strip = &a[at];
                        // what comes after this panel is on its way from memory while this one is multiplied: the first two strips ask
                        // for half of it each, a line for every two that they read; a single one asks for what it needs itself soon;
                        // with AVX2, whose strips are short, each half of each asks for its share of the next panel
                        let (fetch, ahead) = match (strips.len(), i) {
                            _ if way.is_halved() && strip.rows.len() > LOW_ROWS => (0, along * COLS),
                            (1, _) => (2, AHEAD * COLS),
                            (_, 0 | 1) => (1, (along + i * run.len() / 2) * COLS),
                            _ => (0, 0),
                        };
                        let (ahead, turn_of) = (lines.as_ptr().wrapping_add(ahead), (i, strips.len()));
                        let (rows, cols) = (strip.rows.len(), COLS.min(n - p * COLS));
                        // SAFETY: rows of the strip are below m and columns p * 32 .. p * 32 + cols below n, which `dst` holds, and the
                        // base, if with one row for all; no two tasks share a strip of a panel, so no two threads write one element.
                        unsafe {
                            let c = out.at(strip.rows.start, p * COLS);
                            let base = base.map(|base| (base.as_ptr().add(strip.rows.start * base_row + p * COLS), base_row));
                            let mut tile = Tile {
                                b: lines,
                                scales,
                                next_scales: scales.as_ptr().wrapping_add(along / LINES),
                                rows,
                                cols,
                                base,
                                alpha,
                                ahead,
                                fetch,
                                turn_of,
                                resumes: turn > 0,
                                last,
                            };
                            let more = more.as_ref().map(|(u, run, lines)| (u[at].part(run), *lines));
                            if way == Way::Tiles {
                                tile.store(strip.part(&run), more, c, n, way, &mut registers);
                                continue;
                            }
                            tile.store(strip.part(&run), None, c, n, way, &mut registers);
                            if let Some((u, lines)) = more {
                                (tile.b, tile.resumes, tile.alpha, tile.fetch, tile.turn_of) = (lines, true, 1.0, 0, (0, 0));
                                tile.store(u, None, c, n, way, &mut registers);
                            }
                        }
                    }
                }
            }
        };
        if m * n * k < SERIAL {
            block(0..a.len(), 0..panels);
            return;
        }
        let chunk = panels.div_ceil(4 * rayon::current_num_threads());
        let chunks = panels.div_ceil(chunk);
        let blocks = a.len().div_ceil(STRIPS);
        (0..chunks * blocks).into_par_iter().with_max_len(1).for_each(|task| {
            let (p, strip) = (task / blocks * chunk, task % blocks * STRIPS);
            block(strip..a.len().min(strip + STRIPS), p..panels.min(p + chunk));
        });
    }

    /// a B [rows, n] of the rows of one strip, on the calling thread.
    fn strip(&self, a: &Strip, way: Way) -> Vec<f32> {
        let (rows, n) = (a.rows.len(), self.n);
        let mut out: Vec<f32> = Vec::with_capacity(rows * n);
        let mut registers = Registers::default();
        for p in 0..n.div_ceil(COLS) {
            let run = self.used[p].clone();
            let c = out.as_mut_ptr().wrapping_add(p * COLS);
            let cols = COLS.min(n - p * COLS);
            let b = self.part(p, &run);
            let ahead = b.as_ptr().wrapping_add(AHEAD * COLS);
            let scales = self.scales(p, &run);
            let tile = Tile {
                b,
                scales,
                next_scales: scales.as_ptr(),
                rows,
                cols,
                base: None,
                alpha: 1.0,
                ahead,
                fetch: 2,
                turn_of: (0, 0),
                resumes: false,
                last: true,
            };
            // SAFETY: there is room for the strip's rows of n numbers, of which these are `cols`.
            unsafe { tile.store(a.part(&run), None, c, n, way, &mut registers) };
        }
        // SAFETY: the panels cover all n columns.
        unsafe { out.set_len(rows * n) };
        out
    }

    /// Lines of panel `p` along k.
    fn part(&self, p: usize, lines: &Range<usize>) -> &[Line] {
        let start = p * self.along();
        &self.lines[(start + lines.start) * COLS..(start + lines.end) * COLS]
    }

    /// Scales of panel `p` along k.
    fn scales(&self, p: usize, lines: &Range<usize>) -> &[Wide] {
        if self.scales.is_empty() {
            return &[];
        }
        let start = p * self.along();
        &self.scales[(start + lines.start) / LINES..(start + lines.end) / LINES]
    }

    /// The lines along k of a panel that are in use are met in runs of `depth`: those of a turn. A panel without any has one empty run.
    fn run(&self, p: usize, depth: usize, turn: usize) -> Option<Range<usize>> {
        let used = &self.used[p];
        let first = used.start + turn * depth;
        (turn == 0 || first < used.end).then(|| first..used.end.min(first + depth).max(first))
    }
}

/// Where number (i, c) of a panel is: (line, number in it).
fn place(i: usize, c: usize) -> (usize, usize) {
    (i / 2 * 2 + c / 16, 2 * (c % 16) + i % 2)
}

/// The destination, of which every task writes rows and columns of its own.
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
    /// Of each block of integers in `b`.
    scales: &'a [Wide],
    /// Those of the next panel, which the first strip asks for.
    next_scales: *const Wide,
    rows: usize,
    cols: usize,
    /// What alpha times the sums is added to in the end, and how far its rows are apart.
    base: Option<(*const f32, usize)>,
    alpha: f32,
    /// Lines that are needed next, and how many of them to ask for with every two of `b`; an address that is only hinted at.
    ahead: *const Line,
    fetch: usize,
    /// Which strip of how many this is. The first asks for the next panel's scales; with AVX2 and more than [`LOW_ROWS`] all together ask
    /// for as many lines as `b` has, of 0 none.
    turn_of: (usize, usize),
    /// Do the sums of an earlier run stand where these go?
    resumes: bool,
    /// Is this the last run?
    last: bool,
}

/// What the tile registers of this thread are set up for; they are given up at the end. At most one of a thread lives at a time, and no
/// parallel loop runs meanwhile: another's end would take the registers away.
#[derive(Default)]
struct Registers {
    /// Rows of a tile, 0 = not set up.
    rows: usize,
}

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64", target_os = "linux"))]
impl Drop for Registers {
    fn drop(&mut self) {
        if self.rows > 0 {
            amx::release();
        }
    }
}

/// Asks for `count` lines and returns what follows them.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn ask(mut line: *const Line, count: usize) -> *const Line {
    for _ in 0..count {
        // SAFETY: a hint reads nothing, whatever the address.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(line.cast()) };
        line = line.wrapping_add(1);
    }
    line
}

impl Tile<'_> {
    /// What sums in vector registers are added to.
    #[inline(always)]
    fn old(&self, c: *const f32, row: usize) -> Option<(*const f32, usize)> {
        if self.resumes { Some((c, row)) } else { self.base }
    }

    /// Asks for the lines that are needed after `pair` pairs of lines.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn fetch_after(&self, pair: usize) {
        ask(self.ahead.wrapping_add(pair * self.fetch), self.fetch);
    }

    /// Computes the tile of `a`, depth x rows lines, in tile registers with that of `more` added, and stores it at `c`, whose rows are
    /// `row` numbers apart.
    ///
    /// SAFETY: `rows` rows of `cols` numbers at `c` must be writable by this thread alone, as many at `base` readable, and sums at `c` if it resumes;
    /// `way` must be one of this CPU's.
    unsafe fn store(&self, a: Part, more: Option<(Part, &[Line])>, c: *mut f32, row: usize, way: Way, registers: &mut Registers) {
        #[cfg(target_arch = "x86_64")]
        {
            macro_rules! rows {
                ($isa:ident::$tile:ident($a:ident): $($m:literal)*) => {
                    match self.rows {
                        // SAFETY: the caller's promises; the slices' lengths are as asserted.
                        $($m => unsafe { $isa::$tile::<$m>(self, $a, c, row) },)*
                        _ => unreachable!("a strip of {} rows", self.rows),
                    }
                };
            }
            match (a, way) {
                #[cfg(all(target_pointer_width = "64", target_os = "linux"))]
                (Part::Split(a), Way::Tiles) => {
                    let more = match more {
                        Some((Part::Split(a), b)) => Some((a, b)),
                        _ => None,
                    };
                    let fits = |a: &[[Line; 2]], b: &[Line]| a.len() * COLS == b.len() * self.rows;
                    assert!((1..=TILE_ROWS).contains(&self.rows) && fits(a, self.b) && more.is_none_or(|(a, b)| fits(a, b)));
                    assert!(self.cols == COLS || (self.last && !self.resumes), "sums of an edge cannot go on");
                    // SAFETY: the caller's promises; lengths and columns are as asserted.
                    return unsafe { amx::tile(self, a, more, c, row, registers) };
                }
                (Part::Rounded(a), Way::Pairs) => {
                    assert_eq!(a.len() * COLS, self.b.len() * self.rows);
                    return rows!(avx512::pairs(a): 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
                }
                (Part::Exact(a), Way::Widened512) => {
                    assert_eq!(a.len() * COLS, self.b.len() * self.rows);
                    return rows!(avx512::widened(a): 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
                }
                (Part::Integers(a), Way::Integers512 | Way::IntegersVnni | Way::Integers) => {
                    let blocks = self.scales.len();
                    assert!(self.b.len() == blocks * LINES * COLS && a.scales.len() == blocks * self.rows);
                    assert_eq!(a.lines.len(), a.scales.len() * LINES);
                    return match way {
                        Way::Integers512 => rows!(avx512::integers(a): 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
                        Way::IntegersVnni => rows!(avx2::integers_vnni(a): 1 2 3 4 5),
                        _ => rows!(avx2::integers(a): 1 2 3 4),
                    };
                }
                _ => {}
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (self.scales, self.next_scales, self.ahead, self.fetch, self.turn_of, self.last, more, registers);
        let Part::Exact(a) = a else { unreachable!("rows are packed for {way:?}, which this CPU has not") };
        let sums = tile_portable(a, self.b, self.rows);
        for (r, sums) in sums.iter().take(self.rows).enumerate() {
            for (j, s) in sums.iter().enumerate().take(self.cols) {
                // SAFETY: the caller's promise.
                unsafe {
                    let old = self.old(c, row).map_or(0.0, |(old, row)| old.add(r * row + j).read());
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

    /// What way `way` makes of `a` [m, k].
    fn rounded_rows(a: &[f32], k: usize, way: Way) -> Vec<f32> {
        match way {
            Way::Pairs => a.iter().map(|x| widen(round(*x))).collect(),
            Way::Integers512 | Way::IntegersVnni | Way::Integers => a.chunks(k).flat_map(integers::tests::rounded_row).collect(),
            Way::Tiles | Way::Widened512 | Way::Portable => a.to_vec(),
        }
    }

    /// B[i, j] as it was packed for integers: (integer, scale).
    pub(super) fn integer(b: &Packed, i: usize, j: usize) -> (i16, f32) {
        let (bits, scale) = packed_at(b, i, j);
        (bits as i16, scale.expect("integers have scales"))
    }

    /// Bits of B[i, j] and the scale of integers.
    fn packed_at(b: &Packed, i: usize, j: usize) -> (u16, Option<f32>) {
        let ((line, at), panel) = (place(i, j % COLS), j / COLS * b.along());
        (b.lines[panel * COLS + line].0[at], b.scales.get((panel + i / LINE) / LINES).map(|scales| scales.0[j % COLS]))
    }

    /// Hands tiles of each of these heights, of whole blocks along k and up to 32 columns, to `compute`, (tile, rows of A, where the sums
    /// go, how far rows lie apart there), and holds what it makes of them to the safe twin, number for number.
    pub(super) fn each_tile(
        heights: std::ops::RangeInclusive<usize>,
        way: Way,
        compute: impl Fn(&Tile, integers::Integers, *mut f32, usize),
    ) {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        for (m, k, n) in heights.flat_map(|m| [(m, 64, 32), (m, 200, 32), (m, 640, 1 + 2 * m)]) {
            let mut fill = |len: usize| (0..len).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<_>>();
            let (a, b) = (fill(m * k), fill(k * n));
            let (packed, rows) = (Packed::arranged(Mat::rows(&b, n), k, n, way), integers::Rows::new(&a, k, m));
            let (run, mut got) = (packed.used[0].clone(), vec![0f32; m * n]);
            let (b, scales) = (packed.part(0, &run), packed.scales(0, &run));
            let (ahead, next_scales) = (b.as_ptr(), scales.as_ptr());
            let t = Tile {
                b,
                scales,
                next_scales,
                rows: m,
                cols: n,
                base: None,
                alpha: 1.0,
                ahead,
                fetch: 2,
                turn_of: (0, 1),
                resumes: false,
                last: true,
            };
            compute(&t, rows.part(&run, m), got.as_mut_ptr(), n);
            assert_eq!(got, integers::tests::product(&rows, m, n, |i, j| integer(&packed, i, j)), "{m}x{n}x{k}");
        }
    }

    /// B [k, n] as it was packed.
    fn numbers(b: &Packed) -> Vec<f32> {
        let number = |i: usize, j: usize| match packed_at(b, i, j) {
            (bits, Some(scale)) => f32::from(bits as i16) * scale,
            (bits, None) => widen(bits),
        };
        (0..b.k * b.n).map(|at| number(at / b.n, at % b.n)).collect()
    }

    /// Every way of this CPU agrees with f64 sums of the numbers that it rounds to.
    #[test]
    fn products_equal_the_sum_of_rounded_numbers_on_random_shapes() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for case in 0..120 {
            let (m, n) = (if case < ROWS { case + 1 } else { rng.random_range(1..70) }, rng.random_range(1..100));
            let k = if case % 10 == 0 { rng.random_range(4090..4400) } else { rng.random_range(1..140) };
            let mut fill = |len: usize| (0..len).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<_>>();
            let (a, b, start) = (fill(m * k), fill(k * n), fill(m * n));
            let transposed: Vec<f32> = (0..n * k).map(|i| b[(i % k) * n + i / k]).collect();
            for &way in Way::all() {
                let (packed, rows) = (Packed::arranged(Mat::rows(&b, n), k, n, way), rounded_rows(&a, k, way));
                let (from_t, columns) = (Packed::arranged(Mat::rows(&transposed, k).t(), k, n, way), numbers(&packed));
                let most = if way.shares_scales() { 1.0 / 4000.0 } else { 1.0 / 512.0 };
                assert!(columns.iter().zip(&b).all(|(x, b)| (x - b).abs() <= most), "{way:?}");
                for (base, alpha) in [(None, 1.0), (Some(&start[..]), 0.5), (Some(&start[..n]), 1.0)] {
                    let got = packed.product_by(m, &a, base, alpha, way);
                    assert_eq!(got, from_t.product_by(m, &a, base, alpha, way), "{way:?}");
                    if way.shares_scales() {
                        assert_eq!(got, packed.product_by(m, &a, base, alpha, Way::Integers), "{way:?} and AVX2");
                    }
                    for (i, got) in got.into_iter().enumerate() {
                        let dot: f64 = (0..k).map(|x| f64::from(rows[i / n * k + x]) * f64::from(columns[x * n + i % n])).sum();
                        let want = base.map_or(0.0, |base| f64::from(base[i % base.len()])) + f64::from(alpha) * dot;
                        let got = f64::from(got);
                        assert!((got - want).abs() < 1e-5 * (k as f64).sqrt().max(4.0), "{way:?} {m}x{n}x{k}: {got}, not {want}");
                    }
                }
            }
        }
    }

    /// The safe twin of products of integers: the same sums in the same order, number for number.
    #[test]
    fn products_of_integers_are_those_of_their_safe_twin() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        for (m, k, n) in [(1, 1, 1), (2, 64, 32), (3, 70, 40), (9, 576, 70), (6, 3000, 33)] {
            // as large as they get, of one sign a row and a column, so that a sum that left its 32 bits would be seen
            let mut fill =
                |len: usize| (0..len).map(|_| if rng.random() { 1.0f32 } else { rng.random_range(0.999..1.0) }).collect::<Vec<_>>();
            let (mut a, mut b) = (fill(m * k), fill(k * n));
            a.iter_mut().enumerate().filter(|(i, _)| i / k % 3 == 1).for_each(|(_, x)| *x = -*x);
            b.iter_mut().enumerate().filter(|(i, _)| i % n % 2 == 1).for_each(|(_, x)| *x = -*x);
            let (packed, rows) = (Packed::arranged(Mat::rows(&b, n), k, n, Way::Integers), integers::Rows::new(&a, k, m));
            let want = integers::tests::product(&rows, m, n, |i, j| integer(&packed, i, j));
            for &way in Way::all().iter().filter(|way| way.shares_scales()) {
                assert_eq!(packed.product_by(m, &a, None, 1.0, way), want, "{way:?}: {m}x{n}x{k}");
            }
            for (i, want) in want.iter().enumerate() {
                let exact: f64 = (0..k).map(|x| f64::from(a[i / n * k + x]) * f64::from(b[x * n + i % n])).sum();
                assert!((f64::from(*want) - exact).abs() < 1e-3 * exact.abs(), "{want}, not {exact}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_so_and_what_is_tiny_counts_as_zero() {
        for &way in Way::all() {
            let packed = Packed::arranged(Mat::rows(&[1.0; 130], 1), 130, 1, way);
            let sum = |x: f32| {
                let mut row = [1.0; 130];
                row[3] = x;
                packed.product_by(1, &row, None, 1.0, way)[0]
            };
            assert!(sum(f32::NAN).is_nan() && !sum(f32::INFINITY).is_finite(), "{way:?}");
            assert!((sum(1e37) / 1e37 - 1.0).abs() < 1e-2, "{way:?}: {}", sum(1e37));
            assert!(packed.product_by(1, &[1e-38; 130], None, 1.0, way)[0].abs() < 1e-30, "{way:?}");
            assert_eq!(packed.product_by(1, &[0.0; 130], None, 1.0, way), [0.0], "{way:?}");
            for bad in [f32::NAN, f32::INFINITY] {
                let mut b = [0.0; 130];
                b[70] = bad;
                let packed = Packed::arranged(Mat::rows(&b, 1), 130, 1, way);
                assert!(!packed.product_by(1, &[1.0; 130], None, 1.0, way)[0].is_finite(), "{way:?}: {bad}");
            }
            let none = Packed::arranged(Mat::rows(&[], 40), 0, 40, way);
            assert_eq!(none.product_by(3, &[], None, 1.0, way), [0.0; 120], "{way:?}");
        }
    }

    /// Zeros at either end of a panel are not met, and a panel of zeros is none.
    #[test]
    fn what_is_zero_throughout_is_left_out_whatever_the_way() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
        for (k, filled) in [(400, 70..300), (4500, 130..4400), (128, 64..65)] {
            let (m, n) = (6, 70);
            let a: Vec<f32> = (0..m * k).map(|_| rng.random_range(-1.0..1.0)).collect();
            let is_filled = |i: usize, j: usize| filled.contains(&i) && !(32..64).contains(&j);
            let b: Vec<f32> = (0..k * n).map(|at| if is_filled(at / n, at % n) { rng.random_range(-1.0..1.0) } else { 0.0 }).collect();
            for &way in Way::all() {
                let (packed, rows) = (Packed::arranged(Mat::rows(&b, n), k, n, way), rounded_rows(&a, k, way));
                assert!(packed.used[0].start >= filled.start / LINE / 2 * 2 && packed.used[0].len() < packed.along(), "{way:?}");
                assert!(packed.used[1].is_empty(), "{way:?}");
                let (columns, got) = (numbers(&packed), packed.product_by(m, &a, None, 1.0, way));
                for (i, got) in got.iter().enumerate() {
                    let want: f64 = (0..k).map(|x| f64::from(rows[i / n * k + x]) * f64::from(columns[x * n + i % n])).sum();
                    assert!((f64::from(*got) - want).abs() < 1e-3, "{way:?}: {got}, not {want}");
                }
            }
        }
    }

    #[test]
    fn rows_are_not_rounded_to_bf16_where_that_is_asked() {
        let packed = Packed::of_fine_rows(Mat::rows(&[1.0; 70], 1), 70, 1);
        let mut row = [1.003; 70];
        row[9] = 4.0;
        let sum = packed.product(1, &row, 1.0)[0];
        assert!((sum - 73.207).abs() < 1e-2, "{sum}: in bf16 each number but one is 1, and the sum 73");
        assert_ne!(packed.way, Way::Pairs);
    }

    #[test]
    fn a_row_comes_out_the_same_alone_and_in_a_batch() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(2);
        for (m, n, k) in [(61, 700, 576), (33, 40, 4200), (500, 70, 1500), (2, 70, 300), (3, 70, 300), (4, 70, 4200)] {
            let mut fill = |len: usize| (0..len).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<_>>();
            let (a, b, base) = (fill(m * k), fill(k * n), fill(n));
            for &way in Way::all() {
                let packed = Packed::arranged(Mat::rows(&b, n), k, n, way);
                let all = packed.product_by(m, &a, Some(&base), 1.0, way);
                for r in 0..m {
                    let alone = packed.product_by(1, &a[r * k..(r + 1) * k], Some(&base), 1.0, way);
                    assert_eq!(alone, all[r * n..(r + 1) * n], "{way:?}, row {r}");
                }
            }
        }
    }
}
