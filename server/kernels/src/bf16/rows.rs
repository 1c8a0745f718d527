//! The left operand of a product: rows, arranged as tiles read them.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::integers::{self, Integers};
use super::{LINE, Line, SERIAL, Way, Wide, round};
use crate::math::wide;

/// Lines that are taken from a row at once.
const BLOCK: usize = 4;

/// Some rows [rows.len(), k], line along k by line, the last padded with zeros; in each, row after row unless it says otherwise.
pub(super) struct Strip {
    pub(super) rows: Range<usize>,
    lines: Lines,
}

enum Lines {
    /// Rounding and rest.
    Split(Vec<[Line; 2]>),
    Rounded(Vec<Line>),
    Exact(Vec<Wide>),
    /// Blocks of two lines along k; in each row after row.
    Integers(integers::Rows),
}

/// Some lines of a strip.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    Split(&'a [[Line; 2]]),
    Rounded(&'a [Line]),
    Exact(&'a [Wide]),
    Integers(Integers<'a>),
}

impl Strip {
    /// Arranges rows `rows` of a matrix, which are all that `a` holds, for `way`, one of this CPU's.
    pub(super) fn new(rows: Range<usize>, a: &[f32], way: Way) -> Self {
        let k = a.len() / rows.len();
        let lines = match way {
            Way::Tiles => Lines::Split(packed(a, k, rows.len(), split_rows)),
            Way::Pairs => Lines::Rounded(packed(a, k, rows.len(), round_rows)),
            Way::Widened512 | Way::Portable => Lines::Exact(packed(a, k, rows.len(), copy_rows)),
            Way::Integers512 | Way::IntegersVnni | Way::Integers => Lines::Integers(integers::Rows::new(a, k, rows.len())),
        };
        Self { rows, lines }
    }

    /// Lines along k.
    pub(super) fn part(&self, lines: &Range<usize>) -> Part<'_> {
        let n = self.rows.len();
        let at = lines.start * n..lines.end * n;
        match &self.lines {
            Lines::Split(lines) => Part::Split(&lines[at]),
            Lines::Rounded(lines) => Part::Rounded(&lines[at]),
            Lines::Exact(lines) => Part::Exact(&lines[at]),
            Lines::Integers(found) => Part::Integers(found.part(lines, n)),
        }
    }
}

/// `work(rows, numbers)` of each strip of `a` [m, k].
///
/// # Panics
/// When `a` does not fit its slice.
pub(super) fn strip_by_strip<T: Send>(m: usize, k: usize, a: &[f32], way: Way, work: impl Fn(Range<usize>, &[f32]) -> T + Sync) -> Vec<T> {
    assert!(a.len() >= m * k, "left operand {m}x{k} does not fit {} numbers", a.len());
    let work = |rows: Range<usize>| work(rows.clone(), &a[rows.start * k..rows.end * k]);
    let strips = strips(m, way.rows());
    if m * k < SERIAL / 16 { strips.into_iter().map(work).collect() } else { strips.into_par_iter().map(work).collect() }
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

/// Writes every line of `rows` rows of `a`.
type Pack<L> = fn(lines: &mut [MaybeUninit<L>], a: &[f32], k: usize, rows: usize);

fn packed<L>(a: &[f32], k: usize, rows: usize, pack: Pack<L>) -> Vec<L> {
    let n = k.div_ceil(LINE) * rows;
    let mut lines = Vec::with_capacity(n);
    pack(&mut lines.spare_capacity_mut()[..n], a, k, rows);
    // SAFETY: there is room, and `pack` writes every line.
    unsafe { lines.set_len(n) };
    lines
}

fn split_rows(lines: &mut [MaybeUninit<[Line; 2]>], a: &[f32], k: usize, rows: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        assert!(Way::Pairs.is_usable(), "no such way");
        // SAFETY: asked above.
        unsafe { avx512::split_rows(lines, a, k, rows) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("no such way: {} {} {k} {rows}", lines.len(), a.len())
}

wide! {
    fn round_rows(lines: &mut [MaybeUninit<Line>], a: &[f32], k: usize, rows: usize) -> () {
        pack(lines, a, k, rows, |x| Line(std::array::from_fn(|i| round(x[i]))));
    }
}

wide! {
    fn copy_rows(lines: &mut [MaybeUninit<Wide>], a: &[f32], k: usize, rows: usize) -> () {
        pack(lines, a, k, rows, |x| Wide(*x));
    }
}

/// Writes the numbers of `rows` rows of `a` into `lines`, all of them.
#[inline(always)]
pub(super) fn pack<L>(lines: &mut [MaybeUninit<L>], a: &[f32], k: usize, rows: usize, make: impl Fn(&[f32; LINE]) -> L) {
    if lines.is_empty() {
        return;
    }
    for (block, lines) in lines.chunks_mut(BLOCK * rows).enumerate() {
        for (r, row) in a.chunks_exact(k).enumerate() {
            let row = &row[block * BLOCK * LINE..];
            for (line, numbers) in lines.iter_mut().skip(r).step_by(rows).zip(row.chunks(LINE)) {
                line.write(match numbers.first_chunk() {
                    Some(numbers) => make(numbers),
                    None => {
                        let mut padded = [0.0; LINE];
                        padded[..numbers.len()].copy_from_slice(numbers);
                        make(&padded)
                    }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FEW_ROWS, ROWS, TILE_ROWS, VNNI_ROWS};
    use super::*;

    #[test]
    fn strips_are_even_and_cover_all_rows() {
        for m in 1..100 {
            for most in [FEW_ROWS, VNNI_ROWS, ROWS, TILE_ROWS] {
                let strips = strips(m, most);
                assert!(strips.iter().all(|s| (1..=most).contains(&s.len())), "{m}: {strips:?}");
                assert_eq!(strips.iter().map(ExactSizeIterator::len).sum::<usize>(), m);
            }
        }
    }

    #[test]
    fn rows_are_arranged_line_by_line_and_padded() {
        for (m, k) in [(1, 1), (3, 32), (33, 70), (40, 300), (150, 700)] {
            let a: Vec<f32> = (0..m * k).map(|i| (i + 1) as f32).collect();
            for strip in strip_by_strip(m, k, &a, Way::Portable, |rows, a| Strip::new(rows, a, Way::Portable)) {
                for l in 0..k.div_ceil(LINE) {
                    let Part::Exact(lines) = strip.part(&(l..l + 1)) else { unreachable!("portable rows are exact") };
                    for (r, line) in strip.rows.clone().zip(lines) {
                        for (i, x) in line.0.iter().enumerate() {
                            let at = l * LINE + i;
                            assert_eq!(*x, if at < k { a[r * k + at] } else { 0.0 });
                        }
                    }
                }
            }
        }
    }
}
