//! The products of a low-rank adapter: one side is only R wide, where a general matrix product is all packing.
//!
//! Going down, R is walked in lanes of 16 that stay in registers; gradients keep 8 ranks x 48 columns there. A row's result does not
//! depend on how many rows there are, and sums over rows run in one fixed order, so that results do not depend on the number of threads.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Numbers of one register.
const LANES: usize = 16;
/// Rows whose sums are kept in registers together.
const ROWS: usize = 8;
/// Rows that a tile of an expansion has.
const TILE: usize = 4;
/// Registers of a row of such a tile.
const REGISTERS: usize = 4;
/// Their columns, of 16 lanes: where an expansion is cut, so that a column comes out the same wherever it is cut.
const STEP: usize = REGISTERS * LANES;
/// Most rows of a parallel task, a multiple of [`ROWS`] and [`TILE`].
const TASK: usize = 64;
/// Products of fewer multiply-adds stay on one thread.
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

/// Rows of a parallel task of `t` rows in all, in whole blocks of so many: a few rows too are shared among the threads.
fn task_rows(t: usize, block: usize) -> usize {
    t.div_ceil(rayon::current_num_threads()).next_multiple_of(block).clamp(block, TASK)
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
    let mut u = vec![0f32; t * w.r];
    if u.len() * x.n < SERIAL {
        project_rows(x, 0, w, scale, &mut u);
    } else {
        let share = task_rows(t, ROWS);
        u.par_chunks_mut(share * w.r).enumerate().for_each(|(i, u)| project_rows(x, i * share, w, scale, u));
    }
    u
}

/// What [`expand`] adds to some columns.
pub(crate) struct Expansion<'a> {
    /// w [r, n].
    pub(crate) w: &'a [f32],
    /// Columns of u that it reads, after those of the expansions before it.
    pub(crate) r: usize,
    /// Columns that it adds to.
    pub(crate) n: usize,
    /// The first of them, behind those of the expansions before it.
    pub(crate) first: usize,
}

/// Every one of `expansions` adds its columns of u [T, R] times its matrix to its columns of y [T, row].
pub(crate) fn expand(u: &[f32], t: usize, expansions: &[Expansion], y: &mut [f32], row: usize) {
    let (r, threads) = (expansions.iter().map(|e| e.r).sum::<usize>(), rayon::current_num_threads());
    let work = t * expansions.iter().map(|e| e.n * e.r).sum::<usize>();
    if work == 0 {
        return;
    }
    // shared among the threads by rows, where they are too few for that by columns as well
    let rows = task_rows(t, TILE);
    let cuts = if work < SERIAL { 1 } else { threads.div_ceil(t.div_ceil(rows)) };
    let mut parts = Vec::new();
    let mut ranks = 0;
    for e in expansions {
        let share = e.n.div_ceil(cuts).next_multiple_of(STEP).max(STEP);
        parts.extend((0..e.n).step_by(share).map(|at| Part { e, ranks, at, width: share.min(e.n - at) }));
        ranks += e.r;
    }
    let mut tasks: Vec<(&Part, usize, Vec<&mut [f32]>)> = Vec::new();
    for (block, y) in y[..t * row].chunks_mut(rows * row).enumerate() {
        let first = tasks.len();
        tasks.extend(parts.iter().map(|part| (part, block * rows, Vec::with_capacity(rows))));
        for mut y in y.chunks_mut(row) {
            let mut end = 0;
            for (part, _, mine) in &mut tasks[first..] {
                let (part_y, rest) = y[part.e.first + part.at - end..].split_at_mut(part.width);
                mine.push(part_y);
                (y, end) = (rest, part.e.first + part.at + part.width);
            }
        }
    }
    let run = |(part, first, mut y): (&Part, usize, Vec<&mut [f32]>)| {
        let &Part { e, ranks, at, .. } = part;
        let u = |i: usize| &u[(first + i) * r + ranks..][..e.r];
        let (tiles, others) = y.as_chunks_mut::<TILE>();
        let whole = tiles.len() * TILE;
        for (i, y) in tiles.iter_mut().enumerate() {
            Arch::new().dispatch(Expand { u: std::array::from_fn::<_, TILE, _>(|x| u(i * TILE + x)), w: e.w, n: e.n, at, y });
        }
        for (i, y) in others.iter_mut().enumerate() {
            Arch::new().dispatch(Expand { u: [u(whole + i)], w: e.w, n: e.n, at, y: std::array::from_mut(y) });
        }
    };
    if work < SERIAL {
        tasks.into_iter().for_each(run);
    } else {
        tasks.into_par_iter().with_max_len(1).for_each(run);
    }
}

/// Some columns of an expansion.
struct Part<'a> {
    e: &'a Expansion<'a>,
    /// Its first column of u.
    ranks: usize,
    /// Columns of the expansion, the first and how many.
    at: usize,
    width: usize,
}

/// Rows of [`project`] from row `first` of x on, as many as `out` [rows, R] has.
fn project_rows(x: Cols, first: usize, w: &Lanes, scale: f32, out: &mut [f32]) {
    for (j, out) in out.chunks_mut((ROWS * w.r).max(1)).enumerate() {
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

/// N rows of u against columns of w [R, n] from `at` on, added to N rows of y, which have as many columns.
struct Expand<'a, 'b, const N: usize> {
    u: [&'a [f32]; N],
    w: &'a [f32],
    n: usize,
    at: usize,
    y: &'a mut [&'b mut [f32]; N],
}

impl<const N: usize> WithSimd for Expand<'_, '_, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { u, w, n, at, y } = self;
        let step = REGISTERS * S::F32_LANES;
        let width = y[0].len();
        let whole = width / step * step;
        for from in (0..whole).step_by(step) {
            let mut sums = [[simd.splat_f32s(0.0); REGISTERS]; N];
            for (y, sums) in y.iter().zip(&mut sums) {
                sums.copy_from_slice(S::as_simd_f32s(&y[from..][..step]).0);
            }
            for x in 0..u[0].len() {
                let w = S::as_simd_f32s(&w[x * n + at + from..][..step]).0;
                for r in 0..N {
                    let u = simd.splat_f32s(u[r][x]);
                    for l in 0..REGISTERS {
                        sums[r][l] = simd.mul_add_e_f32s(u, w[l], sums[r][l]);
                    }
                }
            }
            for (y, sums) in y.iter_mut().zip(&sums) {
                S::as_mut_simd_f32s(&mut y[from..][..step]).0.copy_from_slice(sums);
            }
        }
        for (y, u) in y.iter_mut().zip(u) {
            for (x, u) in u.iter().enumerate() {
                for (y, w) in y[whole..].iter_mut().zip(&w[x * n + at + whole..x * n + at + width]) {
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
            let u = project(cols, t, &Lanes::new(&w, cols.n, r), 0.5);
            expand(&u, t, &expansions, &mut y, row);
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

    #[test]
    fn an_expansion_does_not_depend_on_the_number_of_threads_or_rows() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
        let (t, r, sizes) = (40, 16, [576, 100, 192]);
        let row = sizes.iter().sum::<usize>() + 10;
        let mut fill = |len: usize| (0..len).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<_>>();
        let (u, start, ws) = (fill(t * 3 * r), fill(t * row), sizes.map(|n| fill(r * n)));
        let firsts = [5, 5 + 576, 10 + 676];
        let expansions: Vec<Expansion> = (0..3).map(|i| Expansion { w: &ws[i], r, n: sizes[i], first: firsts[i] }).collect();
        let run = |threads: usize, rows: usize| {
            let (mut y, pool) = (start.clone(), rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool"));
            pool.install(|| {
                for first in (0..t).step_by(rows) {
                    let rows = rows.min(t - first);
                    expand(&u[first * 3 * r..], rows, &expansions, &mut y[first * row..], row);
                }
            });
            y
        };
        let all = run(1, t);
        assert_ne!(all, start);
        for threads in [1, 2, 5, 16] {
            for rows in [1, 3, 8, 40] {
                assert_eq!(run(threads, rows), all, "{threads} threads, {rows} rows at a time");
            }
        }
    }
}
