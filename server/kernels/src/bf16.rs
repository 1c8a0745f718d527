//! Matrix product against a frozen matrix that is held in 16 bits a number and packed once.
//!
//! In: rows of f32. Out: rows of f32, sums in f32. On CPUs with AMX a tile of up to 32 rows and 32 columns stays in four tile registers,
//! with AVX-512 one of up to 14 rows in vector registers, with AVX2 one of 4 or, with AVX-VNNI, 5 (`tile`). Which it is, is looked up once
//! (`way`). Tile registers and AVX512-BF16 multiply pairs of bf16. AVX512-VNNI, AVX-VNNI and AVX2 multiply twice as many integers at once
//! as floats: there 64 numbers along k are integers that share a scale (`integers`), which loses less than bf16 does. Intel's AVX-512
//! without VNNI widens the matrix from bf16 in registers and multiplies in f32, and where there is no AVX2 a portable loop, the safe twin,
//! does the same. Intel's vector units multiply pairs of bf16 more slowly than f32, so that there they are not used; AMD's multiply pairs in
//! the backward and integers in the forward.
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
mod tile;
mod way;

use std::ops::Range;

use rayon::prelude::*;

use self::integers::LINES;
pub(crate) use self::low_rank::{Factors, LowRank, adapters_ride_along};
use self::rows::{Strip, strip_by_strip};
use self::tile::{Registers, Tile};
use self::way::Way;
use crate::gemm::Mat;

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

#[cfg(test)]
mod tests;
