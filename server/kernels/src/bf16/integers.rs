//! 64 numbers along k as integers that share a scale.
//!
//! AVX2 multiplies 16 integers at once where it multiplies 8 floats, AVX512-VNNI 32 where AVX-512 multiplies 16 floats; both sum pairs of
//! them exactly, if only 64 products fit 32 bits.
//! So a matrix is rounded to 12 bits, sign included, and a row to 15: no number is off by more than 1/4094 and 1/32766 of the largest of
//! its block (bf16: 1/512 of itself).

use std::mem::MaybeUninit;
use std::ops::Range;

use super::{COLS, LINE, Line, Wide};
use crate::math::wide;

/// Lines along k whose numbers share a scale.
pub(super) const LINES: usize = 2;
/// Numbers that share a scale.
pub(super) const SHARED: usize = LINES * LINE;
/// Largest integer of a row.
const OF_ROW: i16 = 16383;
/// Largest integer of a matrix.
const OF_MATRIX: i16 = 2047;
const _: () = assert!(SHARED as i64 * OF_ROW as i64 * OF_MATRIX as i64 <= i32::MAX as i64);
/// Blocks whose largest number is below count as zeros, far above those whose scale has no finite reciprocal.
const LEAST: f32 = 1e-30;

/// Some blocks along k of some rows.
#[derive(Clone, Copy)]
pub(super) struct Integers<'a> {
    /// Of each block, of each row, [`LINES`].
    pub(super) lines: &'a [Line],
    /// Of each block, of each row.
    pub(super) scales: &'a [f32],
}

/// Some rows, arranged like a part of them.
pub(super) struct Rows {
    lines: Vec<Line>,
    scales: Vec<f32>,
}

impl Rows {
    /// Those of `a` [rows, k].
    pub(super) fn new(a: &[f32], k: usize, rows: usize) -> Self {
        assert_eq!(a.len(), rows * k, "{rows} rows of {k} numbers");
        let blocks = k.div_ceil(SHARED) * rows;
        let mut lines = Vec::with_capacity(blocks * LINES);
        let mut scales = vec![0f32; blocks];
        fill(&mut lines.spare_capacity_mut()[..blocks * LINES], &mut scales, a, k);
        // SAFETY: there is room, and `fill` writes every line.
        unsafe { lines.set_len(blocks * LINES) };
        Self { lines, scales }
    }

    /// Lines along k, whole blocks of the `rows` rows.
    pub(super) fn part(&self, lines: &Range<usize>, rows: usize) -> Integers<'_> {
        let blocks = lines.start / LINES * rows..lines.end / LINES * rows;
        Integers { lines: &self.lines[blocks.start * LINES..blocks.end * LINES], scales: &self.scales[blocks] }
    }
}

wide! {
    /// Writes all lines and scales of the rows of `a`, of k numbers each.
    fn fill(lines: &mut [MaybeUninit<Line>], scales: &mut [f32], a: &[f32], k: usize) -> () {
        if scales.is_empty() {
            return;
        }
        let rows = a.len() / k;
        for (r, row) in a.chunks_exact(k).enumerate() {
            for (block, numbers) in row.chunks(SHARED).enumerate() {
                let (integers, scale) = match numbers.as_array() {
                    Some(numbers) => shared(numbers, OF_ROW),
                    None => {
                        let mut padded = [0.0; SHARED];
                        padded[..numbers.len()].copy_from_slice(numbers);
                        shared(&padded, OF_ROW)
                    }
                };
                let at = block * rows + r;
                for (line, integers) in lines[at * LINES..(at + 1) * LINES].iter_mut().zip(integers.as_chunks().0) {
                    line.write(Line(*integers));
                }
                scales[at] = scale;
            }
        }
    }
}

/// Numbers as integers from -most to most, as bits, and what to multiply them by; that is infinite or not a number where a number is.
#[inline(always)]
fn shared(numbers: &[f32; SHARED], most: i16) -> ([u16; SHARED], f32) {
    // bits of magnitudes have the order of the magnitudes, with what is infinite and what is not a number above all
    let largest = f32::from_bits(numbers.iter().fold(0, |largest, x| largest.max(x.to_bits() & 0x7fff_ffff)));
    if largest < LEAST {
        return ([0; SHARED], 0.0);
    }
    let most = f32::from(most);
    let times = most / largest;
    // 1.5 * 2^23: adding it rounds to an integer, which its lower bits hold then
    (numbers.map(|x| (x * times + 12_582_912.0).to_bits() as u16), largest / most)
}

/// Lines and scales of one panel: `number(i, j)` of k rows and as many columns as there are.
pub(super) fn panel(lines: &mut [Line], scales: &mut [Wide], k: usize, cols: usize, number: impl Fn(usize, usize) -> f32) {
    for (block, (lines, scales)) in lines.chunks_exact_mut(LINES * COLS).zip(scales).enumerate() {
        for j in 0..cols {
            let numbers = std::array::from_fn(|i| if block * SHARED + i < k { number(block * SHARED + i, j) } else { 0.0 });
            let (integers, scale) = shared(&numbers, OF_MATRIX);
            scales.0[j] = scale;
            for (i, integer) in integers.into_iter().enumerate() {
                let (line, at) = super::place(i, j);
                lines[line].0[at] = integer;
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A row as its integers have it.
    pub(in super::super) fn rounded_row(row: &[f32]) -> Vec<f32> {
        let rows = Rows::new(row, row.len(), 1);
        let number = |i: usize| f32::from(rows.lines[i / LINE].0[i % LINE] as i16) * rows.scales[i / SHARED];
        (0..row.len()).map(number).collect()
    }

    /// The safe twin: rows [m, k] times integers and their scales `number(i, j)` [k, n].
    pub(in super::super) fn product(rows: &Rows, m: usize, n: usize, number: impl Fn(usize, usize) -> (i16, f32)) -> Vec<f32> {
        let element = |r: usize, j: usize| {
            (0..rows.scales.len() / m).fold(0f32, |sum, block| {
                let integer = |i: usize| i32::from(rows.lines[(block * m + r) * LINES + i / LINE % LINES].0[i % LINE] as i16);
                let at = block * SHARED..(block + 1) * SHARED;
                let found: i64 = at.clone().map(|i| i64::from(integer(i) * i32::from(number(i, j).0))).sum();
                let found = i32::try_from(found).expect("sums of a block fit 32 bits");
                (found as f32).mul_add(rows.scales[block * m + r] * number(at.start, j).1, sum)
            })
        };
        (0..m * n).map(|at| element(at / n, at % n)).collect()
    }

    #[test]
    fn integers_are_near_their_numbers_whatever_their_size() {
        for size in [1e-25, 1.0, 3e30] {
            let row: Vec<f32> = (0..150).map(|i| size * ((i * 37 % 101) as f32 - 50.0)).collect();
            for (rounded, numbers) in rounded_row(&row).chunks(SHARED).zip(row.chunks(SHARED)) {
                let largest = numbers.iter().fold(0f32, |most, x| most.max(x.abs()));
                assert!(rounded.iter().zip(numbers).all(|(x, y)| (x - y).abs() <= largest / 32000.0), "{rounded:?}");
            }
        }
    }
}
