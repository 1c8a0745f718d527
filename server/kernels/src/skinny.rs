//! The products of a low-rank adapter: one side is only R wide, where a general matrix product is all packing.
//!
//! Going down, R is walked in lanes of 16 that stay in registers; gradients keep 8 ranks x 48 columns there. A row's result does not depend on how many rows there are, and sums over
//! rows run in one fixed order, so that results do not depend on the number of threads.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Numbers of one register.
const LANES: usize = 16;
/// Rows whose sums are kept in registers together.
const ROWS: usize = 8;
/// Rows that a tile of an expansion has.
const TILE: usize = 4;
/// Most rows of a parallel task, a multiple of both.
const TASK: usize = 64;
/// Products of fewer multiply-adds stay on the calling thread.
const SERIAL: usize = 1 << 15;

/// A block of columns of a row-major matrix.
#[derive(Clone, Copy)]
pub(crate) struct Cols<'a> {
    /// All numbers.
    pub(crate) data: &'a [f32],
    /// Distance between rows.
    pub(crate) row: usize,
    /// First column.
    pub(crate) first: usize,
    /// Columns.
    pub(crate) n: usize,
}

impl<'a> Cols<'a> {
    /// Every column of a matrix with rows of `n`.
    pub(crate) fn all(data: &'a [f32], n: usize) -> Self {
        Self { data, row: n, first: 0, n }
    }

    fn at(&self, t: usize) -> &'a [f32] {
        &self.data[t * self.row + self.first..][..self.n]
    }
}

/// A matrix [k, R], arranged for [`project`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Lanes {
    /// Rows of 16 lanes, padded with zeros: [ceil(R / 16)][k].
    blocks: Vec<Vec<[f32; LANES]>>,
    r: usize,
}

impl Lanes {
    /// Arranges `w` [k, r].
    pub(crate) fn new(w: &[f32], k: usize, r: usize) -> Self {
        let block = |block| {
            let width = LANES.min(r - block * LANES);
            let mut rows = vec![[0f32; LANES]; k];
            for (row, w) in rows.iter_mut().zip(w.chunks_exact(r)) {
                row[..width].copy_from_slice(&w[block * LANES..block * LANES + width]);
            }
            rows
        };
        Self { blocks: (0..r.div_ceil(LANES)).map(block).collect(), r }
    }
}

/// Rows of a parallel task of `t` rows in all, in whole blocks: a few rows too are shared among the threads.
fn task_rows(t: usize) -> usize {
    t.div_ceil(rayon::current_num_threads()).next_multiple_of(ROWS).clamp(ROWS, TASK)
}

/// The transpose of `w` [n, m].
pub(crate) fn transposed(w: &[f32], n: usize, m: usize) -> Vec<f32> {
    let mut out = vec![0f32; n * m];
    for (i, row) in w.chunks_exact(m.max(1)).enumerate() {
        for (j, x) in row.iter().enumerate() {
            out[j * n + i] = *x;
        }
    }
    out
}

/// scale * x w [T, R] of x [T, k] and w [k, R].
pub(crate) fn project(x: Cols, t: usize, w: &Lanes, scale: f32) -> Vec<f32> {
    project_and_expand(x, t, w, scale, &[], &mut [], 0)
}

/// What [`project_and_expand`] adds to some columns.
pub(crate) struct Expansion<'a> {
    /// w [r, n].
    pub(crate) w: &'a [f32],
    /// Columns of the projection that it reads, after those of the expansions before it.
    pub(crate) r: usize,
    /// Columns that it adds to.
    pub(crate) n: usize,
    /// The first of them.
    pub(crate) first: usize,
}

/// u = scale * x w [T, R] of x [T, k] and w [k, R]; every one of `expansions` adds its columns of u times its matrix to y [T, row].
/// Rows go their way alone, so that both are one loop.
pub(crate) fn project_and_expand(
    x: Cols,
    t: usize,
    w: &Lanes,
    scale: f32,
    expansions: &[Expansion],
    y: &mut [f32],
    row: usize,
) -> Vec<f32> {
    let (r, share) = (w.r, task_rows(t));
    let mut u = vec![0f32; t * r];
    if u.is_empty() {
        return u;
    }
    let y = if expansions.is_empty() { y } else { &mut y[..t * row] };
    let task = |first: usize, u: &mut [f32], y: &mut [f32]| {
        project_rows(x, first, w, scale, u);
        let mut at = 0;
        for e in expansions {
            expand_rows(Cols { data: u, row: r, first: at, n: e.r }, e, y, row);
            at += e.r;
        }
    };
    if t * (x.n * r + expansions.iter().map(|e| e.n * e.r).sum::<usize>()) < SERIAL {
        task(0, &mut u, y);
    } else if expansions.is_empty() {
        u.par_chunks_mut(share * r).enumerate().for_each(|(i, u)| task(i * share, u, &mut []));
    } else {
        let rows = u.par_chunks_mut(share * r).zip(y.par_chunks_mut(share * row));
        rows.enumerate().for_each(|(i, (u, y))| task(i * share, u, y));
    }
    u
}

/// Rows of [`project`] from row `first` of x on, as many as `out` [rows, R] has.
fn project_rows(x: Cols, first: usize, w: &Lanes, scale: f32, out: &mut [f32]) {
    for (j, out) in out.chunks_mut(ROWS * w.r).enumerate() {
        let rows = out.len() / w.r;
        let mut x_rows: [&[f32]; ROWS] = [&[]; ROWS];
        for (at, row) in x_rows.iter_mut().enumerate() {
            *row = x.at(first + j * ROWS + at.min(rows - 1)); // a short block repeats its last row
        }
        for (block, lanes) in w.blocks.iter().enumerate() {
            let sums = Arch::new().dispatch(Project { x: x_rows, w: lanes });
            let width = LANES.min(w.r - block * LANES);
            for (out, sums) in out.chunks_exact_mut(w.r).zip(&sums) {
                for (out, sum) in out[block * LANES..][..width].iter_mut().zip(sums) {
                    *out = scale * sum;
                }
            }
        }
    }
}

/// Sums of 8 rows of x against one block of w.
struct Project<'a> {
    x: [&'a [f32]; ROWS],
    w: &'a [[f32; LANES]],
}

impl WithSimd for Project<'_> {
    type Output = [[f32; LANES]; ROWS];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let n = self.w.len();
        let x = self.x.map(|x| &x[..n]);
        let mut out = [[0f32; LANES]; ROWS];
        for register in 0..LANES / S::F32_LANES {
            let mut sums = [simd.splat_f32s(0.0); ROWS];
            for (i, w) in self.w.iter().enumerate() {
                let w = S::as_simd_f32s(w).0[register];
                for r in 0..ROWS {
                    sums[r] = simd.mul_add_e_f32s(simd.splat_f32s(x[r][i]), w, sums[r]);
                }
            }
            for (out, sums) in out.iter_mut().zip(sums) {
                S::as_mut_simd_f32s(out).0[register] = sums;
            }
        }
        out
    }
}

/// Adds u w to columns of y [rows, row]: u [rows, R], w [R, n].
fn expand_rows(u: Cols, e: &Expansion, y: &mut [f32], row: usize) {
    let &Expansion { w, n, first, .. } = e;
    for (j, y) in y.chunks_mut(TILE * row).enumerate() {
        let at = j * TILE;
        if y.len() == TILE * row {
            Arch::new().dispatch(Expand { u: std::array::from_fn::<_, TILE, _>(|r| u.at(at + r)), w, n, y, row, first });
        } else {
            for (r, y) in y.chunks_mut(row).enumerate() {
                Arch::new().dispatch(Expand { u: [u.at(at + r)], w, n, y, row, first });
            }
        }
    }
}

/// N rows of u against all of w, added to N rows of y.
struct Expand<'a, const N: usize> {
    u: [&'a [f32]; N],
    w: &'a [f32],
    n: usize,
    y: &'a mut [f32],
    row: usize,
    first: usize,
}

impl<const N: usize> WithSimd for Expand<'_, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        const REGISTERS: usize = 4;
        let Self { u, w, n, y, row, first } = self;
        let step = REGISTERS * S::F32_LANES;
        let whole = n / step * step;
        for at in (0..whole).step_by(step) {
            let mut sums = [[simd.splat_f32s(0.0); REGISTERS]; N];
            for (r, sums) in sums.iter_mut().enumerate() {
                sums.copy_from_slice(S::as_simd_f32s(&y[r * row + first + at..][..step]).0);
            }
            for x in 0..u[0].len() {
                let w = S::as_simd_f32s(&w[x * n + at..][..step]).0;
                for r in 0..N {
                    let u = simd.splat_f32s(u[r][x]);
                    for l in 0..REGISTERS {
                        sums[r][l] = simd.mul_add_e_f32s(u, w[l], sums[r][l]);
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                S::as_mut_simd_f32s(&mut y[r * row + first + at..][..step]).0.copy_from_slice(sums);
            }
        }
        for (r, u) in u.iter().enumerate() {
            for (x, u) in u.iter().enumerate() {
                let y = &mut y[r * row + first + whole..][..n - whole];
                for (y, w) in y.iter_mut().zip(&w[x * n + whole..(x + 1) * n]) {
                    *y += u * w;
                }
            }
        }
    }
}

/// Columns of a block of [`outers`]: three registers of 16 lanes.
const COLUMNS: usize = 48;
/// Blocks of a parallel task.
const BLOCKS: usize = 6;
/// Ranks whose sums are kept in registers together.
const RANKS: usize = 8;
/// Rows that all blocks of a task go through before the next, so that they are read from end to end.
const DEPTH: usize = 64;

/// u^T x [R, n] of each pair of u [T, R] and x [T, n]: the sums over rows of outer products.
pub(crate) fn outers(pairs: &[(Cols, Cols)], t: usize) -> Vec<Vec<f32>> {
    // whole registers only
    let padded_u: Vec<Vec<f32>> = pairs
        .iter()
        .map(|(u, _)| if u.n.is_multiple_of(RANKS) { Vec::new() } else { padded(*u, t, 0, u.n.next_multiple_of(RANKS)) })
        .collect();
    let padded_x: Vec<Vec<f32>> = pairs
        .iter()
        .map(|(_, x)| if x.n.is_multiple_of(COLUMNS) { Vec::new() } else { padded(*x, t, x.n / COLUMNS * COLUMNS, COLUMNS) })
        .collect();
    let us = pairs.iter().zip(&padded_u).map(|(&(u, _), more)| match more.is_empty() {
        true => u,
        false => Cols::all(more, u.n.next_multiple_of(RANKS)),
    });
    let mut sums: Vec<Vec<f32>> = us.clone().zip(pairs).map(|(u, (_, x))| vec![0f32; u.n * x.n.next_multiple_of(COLUMNS)]).collect(); // [blocks, R, 48]
    let mut tasks = Vec::new();
    for (((u, (_, x)), more), sums) in us.clone().zip(pairs).zip(&padded_x).zip(&mut sums) {
        let whole = x.n / COLUMNS;
        let (mut blocks, tail) = sums.split_at_mut(whole * u.n * COLUMNS);
        for first in (0..whole).step_by(BLOCKS) {
            let (mine, others) = blocks.split_at_mut(BLOCKS.min(whole - first) * u.n * COLUMNS);
            tasks.push(Outer { u, x: Cols { first: x.first + first * COLUMNS, ..*x }, t, out: mine });
            blocks = others;
        }
        if !tail.is_empty() {
            tasks.push(Outer { u, x: Cols::all(more, COLUMNS), t, out: tail });
        }
    }
    if pairs.iter().map(|(u, x)| t * u.n * x.n).sum::<usize>() < SERIAL {
        tasks.into_iter().for_each(|task| Arch::new().dispatch(task));
    } else {
        tasks.into_par_iter().with_max_len(1).for_each(|task| Arch::new().dispatch(task));
    }
    let rows = |((u, (of, x)), sums): ((Cols, &(Cols, Cols)), &Vec<f32>)| {
        let mut out = Vec::with_capacity(of.n * x.n);
        for r in 0..of.n {
            let blocks = sums.chunks_exact((u.n * COLUMNS).max(1)).map(|block| &block[r * COLUMNS..(r + 1) * COLUMNS]);
            for (block, from) in blocks.zip((0..x.n).step_by(COLUMNS)) {
                out.extend_from_slice(&block[..COLUMNS.min(x.n - from)]);
            }
        }
        out
    };
    us.clone().zip(pairs).zip(&sums).map(rows).collect()
}

/// Columns of `x` from `from` on, `width` of them, with zeros where there are no more. [T, width]
fn padded(x: Cols, t: usize, from: usize, width: usize) -> Vec<f32> {
    let mut out = vec![0f32; t * width];
    for (i, out) in out.chunks_exact_mut(width).enumerate() {
        let x = &x.at(i)[from..];
        let n = x.len().min(width);
        out[..n].copy_from_slice(&x[..n]);
    }
    out
}

/// All ranks against some blocks of columns, summed over all rows. out [blocks, R, 48], zeros.
struct Outer<'a> {
    u: Cols<'a>,
    x: Cols<'a>,
    t: usize,
    out: &'a mut [f32],
}

impl WithSimd for Outer<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        const REGISTERS: usize = 3;
        let Self { u, x, t, out } = self;
        let step = REGISTERS * S::F32_LANES;
        let (across, _) = out.as_chunks_mut::<{ RANKS * COLUMNS }>();
        for from in (0..t).step_by(DEPTH) {
            for (i, out) in across.iter_mut().enumerate() {
                let (block, ranks) = (i / (u.n / RANKS), i % (u.n / RANKS));
                for at in (0..COLUMNS).step_by(step) {
                    let mut sums = [[simd.splat_f32s(0.0); REGISTERS]; RANKS];
                    for (r, sums) in sums.iter_mut().enumerate() {
                        sums.copy_from_slice(S::as_simd_f32s(&out[r * COLUMNS + at..][..step]).0);
                    }
                    for row in from..t.min(from + DEPTH) {
                        let x = S::as_simd_f32s(&x.data[row * x.row + x.first + block * COLUMNS + at..][..step]).0;
                        let u = &u.data[row * u.row + u.first + ranks * RANKS..][..RANKS];
                        for r in 0..RANKS {
                            let u = simd.splat_f32s(u[r]);
                            for l in 0..REGISTERS {
                                sums[r][l] = simd.mul_add_e_f32s(u, x[l], sums[r][l]);
                            }
                        }
                    }
                    for (r, sums) in sums.iter().enumerate() {
                        S::as_mut_simd_f32s(&mut out[r * COLUMNS + at..][..step]).0.copy_from_slice(sums);
                    }
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
    fn skinny_products_equal_plain_sums_on_random_shapes() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        for case in 0..60 {
            let (t, k, r) = (rng.random_range(1..150), rng.random_range(1..300), rng.random_range(1..50));
            let (first, row) = (case % 5, k + 7);
            let mut fill = |len: usize| (0..len).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<_>>();
            let (x, w, u, start) = (fill(t * row), fill(k * r), fill(t * r), fill(t * row));
            let close = |a: f32, b: f64| assert!((f64::from(a) - b).abs() < 1e-4, "{a} {b} ({t} {k} {r})");
            let cols = Cols { data: &x, row, first, n: k };
            let at = |t: usize, i: usize| f64::from(x[t * row + first + i]);

            let got = project(cols, t, &Lanes::new(&w, k, r), 0.5);
            for (i, got) in got.iter().enumerate() {
                close(*got, 0.5 * (0..k).map(|j| at(i / r, j) * f64::from(w[j * r + i % r])).sum::<f64>());
            }
            let some = Cols { data: &u, row: r, first: r / 2, n: r - r / 2 };
            let found = outers(&[(Cols::all(&u, r), cols), (some, cols)], t);
            let got = &found[0];
            for (i, got) in got.iter().enumerate() {
                close(*got, (0..t).map(|t| at(t, i % k) * f64::from(u[t * r + i / k])).sum::<f64>());
            }
            assert_eq!(found[1], got[r / 2 * k..]);
            // two expansions to columns of one y, each of some columns of u = 0.5 x w
            let (split, k) = (r / 2, k / 2);
            let [wt, more] = [split, r - split].map(|r| transposed(&w[..k * r], k, r)); // [r, k]
            let expansion = |w, r, first| Expansion { w, r, n: k, first };
            let mut y = start.clone();
            let expansions = [expansion(&wt, split, first), expansion(&more, r - split, first + k)];
            let u = project_and_expand(cols, t, &Lanes::new(&w, cols.n, r), 0.5, &expansions, &mut y, row);
            assert_eq!(u, project(cols, t, &Lanes::new(&w, cols.n, r), 0.5));
            for (i, y) in y.iter().enumerate() {
                let (u, j) = (&u[i / row * r..][..r], (i % row).checked_sub(first));
                let low: f64 = match j {
                    Some(j) if j < k => (0..split).map(|x| f64::from(u[x]) * f64::from(wt[x * k + j])).sum(),
                    Some(j) if j < 2 * k => (split..r).map(|x| f64::from(u[x]) * f64::from(more[(x - split) * k + j - k])).sum(),
                    _ => 0.0,
                };
                close(*y, f64::from(start[i]) + low);
            }
        }
    }
}
