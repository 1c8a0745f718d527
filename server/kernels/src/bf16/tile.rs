//! One tile of a product: which loop computes it, and the safe twin of all of them.

#[cfg(target_arch = "x86_64")]
use super::integers::LINES;
use super::rows::Part;
use super::way::Way;
use super::{COLS, Line, ROWS, Wide, widen};
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64", target_os = "linux"))]
use super::{TILE_ROWS, amx};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::math::wide;

/// One tile: what rows of A meet, and where the sums go.
pub(super) struct Tile<'a> {
    pub(super) b: &'a [Line], // depth x 32
    /// Of each block of integers in `b`.
    pub(super) scales: &'a [Wide],
    /// Those of the next panel, which the first strip asks for.
    pub(super) next_scales: *const Wide,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// What alpha times the sums is added to in the end, and how far its rows are apart.
    pub(super) base: Option<(*const f32, usize)>,
    pub(super) alpha: f32,
    /// Lines that are needed next, and how many of them to ask for with every two of `b`; an address that is only hinted at.
    pub(super) ahead: *const Line,
    pub(super) fetch: usize,
    /// Which strip of how many this is. The first asks for the next panel's scales; with AVX2 and more than [`LOW_ROWS`] all together ask
    /// for as many lines as `b` has, of 0 none.
    pub(super) turn_of: (usize, usize),
    /// Do the sums of an earlier run stand where these go?
    pub(super) resumes: bool,
    /// Is this the last run?
    pub(super) last: bool,
}

/// What the tile registers of this thread are set up for; they are given up at the end. At most one of a thread lives at a time, and no
/// parallel loop runs meanwhile: another's end would take the registers away.
#[derive(Default)]
pub(super) struct Registers {
    /// Rows of a tile, 0 = not set up.
    pub(super) rows: usize,
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
pub(super) fn ask(mut line: *const Line, count: usize) -> *const Line {
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
    pub(super) fn old(&self, c: *const f32, row: usize) -> Option<(*const f32, usize)> {
        if self.resumes { Some((c, row)) } else { self.base }
    }

    /// Asks for the lines that are needed after `pair` pairs of lines.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn fetch_after(&self, pair: usize) {
        ask(self.ahead.wrapping_add(pair * self.fetch), self.fetch);
    }

    /// Computes the tile of `a`, depth x rows lines, in tile registers with that of `more` added, and stores it at `c`, whose rows are
    /// `row` numbers apart.
    ///
    /// SAFETY: `rows` rows of `cols` numbers at `c` must be writable by this thread alone, as many at `base` readable, and sums at `c` if it resumes;
    /// `way` must be one of this CPU's.
    pub(super) unsafe fn store(
        &self,
        a: Part,
        more: Option<(Part, &[Line])>,
        c: *mut f32,
        row: usize,
        way: Way,
        registers: &mut Registers,
    ) {
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
