//! Low-rank adapters of a product in tile registers: their two factors ride along with the frozen matrix.
//!
//! A factor is the sum of two bf16 matrices, its rounding and what that leaves, and so are the rows: products are exact to 16 bits.
//! 16 ranks make a panel of 32 columns on the way down, roundings then rests, and 32 rows on the way up, which meet the 16 numbers of u
//! twice.

use std::ops::Range;

use super::rows::{Strip, strip_by_strip};
use super::{Packed, Way, rest_of, round};
use crate::gemm::Mat;

/// Ranks of one block.
const RANKS: usize = 16;

/// One adapter: what it reads and what it adds to.
pub(crate) struct Factors<'a> {
    /// Rank.
    pub(crate) r: usize,
    /// [inputs.len(), r]
    pub(crate) down: Mat<'a>,
    /// Numbers of a row that it reads.
    pub(crate) inputs: Range<usize>,
    /// [r, outputs.len()]
    pub(crate) up: Mat<'a>,
    /// Columns that it adds to.
    pub(crate) outputs: Range<usize>,
}

/// The adapters of one product.
#[derive(Clone, Debug)]
pub(crate) struct LowRank {
    down: Packed, // [k, blocks x (16 roundings, 16 rests)]
    up: Packed,   // [blocks x (16 roundings, 16 rests), n]
    ranks: Vec<usize>,
}

/// Do adapters ride along, because products are made in tile registers?
pub(crate) fn adapters_ride_along() -> bool {
    Way::fastest() == Way::Tiles
}

impl LowRank {
    /// Arranges `adapters` of a product [m, k] x [k, n].
    pub(crate) fn new(k: usize, n: usize, adapters: &[Factors]) -> Self {
        let ranks: Vec<usize> = adapters.iter().map(|f| f.r).collect();
        let width = 2 * ranks.iter().map(|r| r.next_multiple_of(RANKS)).sum::<usize>();
        let (mut down, mut up) = (Packed::zeros(k, width, Way::Tiles), Packed::zeros(width, n, Way::Tiles));
        let mut first = 0;
        for f in adapters {
            assert!(f.inputs.end <= k && f.outputs.end <= n, "an adapter of another product");
            for r in 0..f.r {
                let at = first + r / RANKS * 2 * RANKS + r % RANKS;
                for (i, input) in f.inputs.clone().enumerate() {
                    let [rounded, rest] = split(f.down.data[i * f.down.row + r * f.down.col]);
                    down.put(input, at, rounded);
                    down.put(input, at + RANKS, rest);
                }
                for (i, output) in f.outputs.clone().enumerate() {
                    let [rounded, rest] = split(f.up.data[r * f.up.row + i * f.up.col]);
                    up.put(at, output, rounded);
                    up.put(at + RANKS, output, rest);
                }
            }
            first += 2 * f.r.next_multiple_of(RANKS);
        }
        Self { down: down.seen(), up: up.seen(), ranks }
    }

    /// u = a down [rows, sum of r] of a strip, adapter after adapter, and u as the strip that `up` meets.
    fn project(&self, strip: &Strip, way: Way) -> (Vec<f32>, Strip) {
        let rows = strip.rows.clone();
        let mut sums = self.down.strip(strip, way);
        let mut u = Vec::with_capacity(rows.len() * self.ranks.iter().sum::<usize>());
        for sums in sums.chunks_exact_mut(self.down.n.max(1)) {
            let mut blocks = sums.as_chunks_mut::<{ 2 * RANKS }>().0.iter_mut();
            for &r in &self.ranks {
                for (from, block) in (0..r).step_by(RANKS).zip(&mut blocks) {
                    for i in 0..RANKS {
                        block[i] += block[RANKS + i];
                        block[RANKS + i] = block[i];
                    }
                    u.extend_from_slice(&block[..RANKS.min(r - from)]);
                }
            }
        }
        (u, Strip::new(rows, &sums, way))
    }

    /// u = a down [m, sum of r] of a [m, k].
    pub(crate) fn projected(&self, m: usize, a: &[f32]) -> Vec<f32> {
        let way = Way::fastest();
        strip_by_strip(m, self.down.k, a, way, |rows, a| self.project(&Strip::new(rows, a, way), way).0).concat()
    }
}

impl Packed {
    /// (base + a (B + down up) [m, n], u = a down [m, sum of r]) of a [m, k], base [m, n] or [n] or none.
    ///
    /// # Panics
    /// When an operand does not fit its slice, or the adapters another product.
    pub(crate) fn adapted_product(&self, m: usize, a: &[f32], base: Option<&[f32]>, low: &LowRank) -> (Vec<f32>, Vec<f32>) {
        self.adapted(m, a, base, low, Way::fastest())
    }

    fn adapted(&self, m: usize, a: &[f32], base: Option<&[f32]>, low: &LowRank, way: Way) -> (Vec<f32>, Vec<f32>) {
        assert_eq!((low.down.k, low.up.n), (self.k, self.n), "adapters of another product");
        let found = strip_by_strip(m, self.k, a, way, |rows, a| {
            let strip = Strip::new(rows, a, way);
            let (u, u_strip) = low.project(&strip, way);
            (strip, (u_strip, u))
        });
        let (strips, (u_strips, u)): (Vec<_>, (Vec<_>, Vec<_>)) = found.into_iter().unzip();
        (self.filled(m, &strips, base, 1.0, way, Some((&u_strips, &low.up))), u.concat())
    }
}

/// A number's rounding and the rounding of what that leaves.
fn split(x: f32) -> [u16; 2] {
    [round(x), round(rest_of(x))]
}

#[cfg(test)]
mod tests {
    use super::super::widen;
    use super::*;
    use rand::{Rng, SeedableRng};

    /// Every way that reads bf16 and does not round rows agrees with sums in f64, on ranges that need not begin at a tile's edge.
    #[test]
    fn adapters_ride_along_exactly_on_random_shapes() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        for _ in 0..40 {
            let (m, k, n) = (rng.random_range(1..70), rng.random_range(2..140), rng.random_range(2..150));
            let (r0, r1) = (rng.random_range(1..40), rng.random_range(1..20));
            let mut fill = |len: usize| (0..len).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<_>>();
            let (a, b, base) = (fill(m * k), fill(k * n), fill(n));
            let (inputs, outputs) = ([0..k, k / 2..k], [0..n / 2, n / 2..n]);
            let ranks = [r0, r1];
            let downs = [0, 1].map(|i| fill(inputs[i].len() * ranks[i]));
            let ups = [0, 1].map(|i| fill(ranks[i] * outputs[i].len()));
            let factors = [0, 1].map(|i| Factors {
                r: ranks[i],
                down: Mat::rows(&downs[i], ranks[i]),
                inputs: inputs[i].clone(),
                up: Mat::rows(&ups[i], outputs[i].len()),
                outputs: outputs[i].clone(),
            });
            let (packed, low) = (Packed::arranged(Mat::rows(&b, n), k, n, Way::Portable), LowRank::new(k, n, &factors));
            let close = |got: f32, want: f64, what: &str| assert!((f64::from(got) - want).abs() < 1e-3, "{what}: {got}, not {want}");
            for &way in Way::all().iter().filter(|way| !way.shares_scales() && **way != Way::Pairs) {
                let (y, u) = packed.adapted(m, &a, Some(&base), &low, way);
                for row in 0..m {
                    let mut want: Vec<f64> = (0..n)
                        .map(|j| {
                            let sum: f64 = (0..k).map(|i| f64::from(a[row * k + i]) * f64::from(widen(round(b[i * n + j])))).sum();
                            sum + f64::from(base[j])
                        })
                        .collect();
                    let mut u = u[row * (r0 + r1)..].iter();
                    for i in [0, 1] {
                        for r in 0..ranks[i] {
                            let read = inputs[i].clone().enumerate();
                            let sum: f64 = read.map(|(at, x)| f64::from(a[row * k + x]) * f64::from(downs[i][at * ranks[i] + r])).sum();
                            close(*u.next().expect("a number a rank"), sum, "u");
                            for (at, j) in outputs[i].clone().enumerate() {
                                want[j] += sum * f64::from(ups[i][r * outputs[i].len() + at]);
                            }
                        }
                    }
                    y[row * n..(row + 1) * n].iter().zip(want).for_each(|(got, want)| close(*got, want, "y"));
                }
            }
        }
    }

    /// Sums that go on over several runs and blocks of strips, at an edge too, with adapters.
    #[test]
    fn a_row_with_adapters_comes_out_the_same_alone_and_in_a_batch() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(6);
        let (m, k, n, r) = (530, 1500, 70, 20);
        let mut fill = |len: usize| (0..len).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<_>>();
        let (a, b, down, up) = (fill(m * k), fill(k * n), fill(k * r), fill(r * 30));
        let factors = Factors { r, down: Mat::rows(&down, r), inputs: 0..k, up: Mat::rows(&up, 30), outputs: 38..68 };
        let (packed, low) = (Packed::arranged(Mat::rows(&b, n), k, n, Way::Portable), LowRank::new(k, n, &[factors]));
        for &way in Way::all().iter().filter(|way| !way.shares_scales()) {
            let (y, u) = packed.adapted(m, &a, None, &low, way);
            for row in (0..m).step_by(53) {
                let alone = packed.adapted(1, &a[row * k..(row + 1) * k], None, &low, way);
                assert_eq!((&alone.0[..], &alone.1[..]), (&y[row * n..(row + 1) * n], &u[row * r..(row + 1) * r]), "{way:?}, row {row}");
            }
        }
    }
}
