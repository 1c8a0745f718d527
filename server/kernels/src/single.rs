//! Attention while decoding: many rows with one new token each, most of what they see in common.
//!
//! Keys are read range by range, each range once for up to 16 rows that see it: the words all prompts share meet every row, a prompt
//! its group, a completion its own row. Partial softmaxes of a row's ranges are joined in the order of its span (online softmax,
//! arXiv 1805.02867), so that a row comes out the same whatever shares its batch but for the rounding of the products.

use std::collections::HashMap;
use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::attention::{Shape, Span};
use crate::gemm::{Mat, Threads, matmul};
use crate::math::{dot, exp, max_of, prefetch, sum_by, wide};

/// From so many query rows on a product is worth its packing.
const PRODUCT_ROWS: usize = 8;
/// Most spans of a task.
const TASK: usize = 16;
/// Keys whose values are added to a row at once.
const KEYS: usize = 16;
/// Keys and values are asked for so many before they are needed.
const AHEAD: usize = 12;

/// One range of keys and the spans (by index) that see it.
struct Seen<'a> {
    keys: &'a Range<usize>,
    rows: Vec<usize>,
    /// Kv-heads of one of its tasks.
    heads: usize,
    /// Its first task; the others follow, ordered by ([`TASK`] spans, heads).
    first: usize,
}

/// Some spans and kv-heads of a range.
struct Task<'a> {
    keys: &'a Range<usize>,
    rows: &'a [usize],
    heads: Range<usize>,
}

/// Softmax over one range only, for the rows (kv-head, span, query head of it) of a task.
struct Partial {
    o: Vec<f32>,   // [n, D], not divided by the sum
    max: Vec<f32>, // [n]
    sum: Vec<f32>, // [n]
}

/// (o [T, H, D], lse [T, H]) of one-token spans.
pub(crate) fn attention(shape: Shape, qs: &[f32], ks: &[f32], vs: &[f32], spans: &[Span]) -> (Vec<f32>, Vec<f32>) {
    let Shape { h, kv, d } = shape;
    let rep = h / kv;
    let mut seen: Vec<Seen> = Vec::new();
    let mut index: HashMap<&Range<usize>, usize> = HashMap::new();
    // for each span its ranges as (index into `seen`, place among its rows)
    let mut of_span: Vec<Vec<(usize, usize)>> = Vec::with_capacity(spans.len());
    for (row, span) in spans.iter().enumerate() {
        let mut mine = Vec::with_capacity(span.keys.len());
        for keys in span.keys.iter().filter(|keys| !keys.is_empty()) {
            let at = *index.entry(keys).or_insert_with(|| {
                seen.push(Seen { keys, rows: Vec::new(), heads: 1, first: 0 });
                seen.len() - 1
            });
            mine.push((at, seen[at].rows.len()));
            seen[at].rows.push(row);
        }
        of_span.push(mine);
    }
    // the keys of a few rows are little work and much to read: all heads at once read them from end to end
    let few = |seen: &Seen| seen.rows.len() * rep < PRODUCT_ROWS;
    let heads = if seen.iter().filter(|&seen| few(seen)).count() >= 2 * rayon::current_num_threads() { kv } else { 1 };
    let mut next = 0;
    for seen in &mut seen {
        seen.heads = if few(seen) { heads } else { 1 };
        seen.first = next;
        next += seen.rows.len().div_ceil(TASK) * kv / seen.heads;
    }
    let tasks: Vec<Task> = seen.iter().flat_map(|seen| seen.tasks(kv)).collect();
    // one at a time: they differ in size
    let partials: Vec<Partial> = tasks.par_iter().with_max_len(1).map(|task| partial(shape, qs, ks, vs, task)).collect();
    let (mut o, mut lse) = (vec![0f32; spans.len() * h * d], vec![0f32; spans.len() * h]);
    o.par_chunks_exact_mut(h * d).zip(lse.par_chunks_exact_mut(h)).zip(&of_span).with_min_len(TASK / 2).for_each(|((o, lse), mine)| {
        for (query, (o, lse)) in o.chunks_exact_mut(d).zip(lse).enumerate() {
            let parts: Vec<_> = mine.iter().map(|&(at, place)| seen[at].row(&partials, kv, rep, place, query)).collect();
            *lse = join(&parts, o);
        }
    });
    (o, lse)
}

impl Seen<'_> {
    fn tasks(&self, kv: usize) -> impl Iterator<Item = Task<'_>> {
        let heads = move || (0..kv).step_by(self.heads).map(|head| head..head + self.heads);
        self.rows.chunks(TASK).flat_map(move |rows| heads().map(move |heads| Task { keys: self.keys, rows, heads }))
    }

    /// Where in `partials` query head `query` of the span at `place` is: (the partial, row of it).
    fn row<'p>(&self, partials: &'p [Partial], kv: usize, rep: usize, place: usize, query: usize) -> (&'p Partial, usize) {
        let (head, chunk) = (query / rep, place / TASK);
        let partial = &partials[self.first + (chunk * kv + head) / self.heads];
        let spans = self.rows.len().min((chunk + 1) * TASK) - chunk * TASK;
        (partial, ((head % self.heads) * spans + place % TASK) * rep + query % rep)
    }
}

wide! {
    /// Puts a row's partial softmaxes together in `o` [D]; natural log of the denominator.
    fn join(parts: &[(&Partial, usize)], o: &mut [f32]) -> f32 {
        let d = o.len();
        let mut max = f32::NEG_INFINITY;
        for &(p, i) in parts {
            max = max.max(p.max[i]);
        }
        let mut sum = 0.0;
        for &(p, i) in parts {
            sum += p.sum[i] * exp(p.max[i] - max);
        }
        for &(p, i) in parts {
            let weight = exp(p.max[i] - max) / sum;
            for (o, x) in o.iter_mut().zip(&p.o[i * d..(i + 1) * d]) {
                *o += weight * x;
            }
        }
        max + sum.ln()
    }
}

fn partial(shape: Shape, qs: &[f32], ks: &[f32], vs: &[f32], task: &Task) -> Partial {
    let Shape { h, kv, d } = shape;
    let (rep, width) = (h / kv, task.keys.len());
    let n = task.heads.len() * task.rows.len() * rep;
    let mut queries = Vec::with_capacity(n * d);
    for head in task.heads.clone() {
        for row in task.rows {
            let at = (row * h + head * rep) * d;
            queries.extend_from_slice(&qs[at..at + rep * d]);
        }
    }
    let stride = kv * d;
    let offset = task.keys.start * stride + task.heads.start * d;
    let (keys, values) = (&ks[offset.min(ks.len())..], &vs[offset.min(vs.len())..]);
    let (mut p, mut o) = (vec![0f32; n * width], vec![0f32; n * d]);
    if task.rows.len() * rep >= PRODUCT_ROWS {
        let scale = 1.0 / (d as f32).sqrt();
        matmul(n, width, d, &mut p, width, false, scale, Mat::rows(&queries, d), Mat::rows(keys, stride).t(), Threads::One);
        let (max, sum) = exponentials(&mut p, width);
        matmul(n, d, width, &mut o, d, false, 1.0, Mat::rows(&p, width), Mat::rows(values, stride), Threads::One);
        Partial { o, max, sum }
    } else {
        let few = FewRows { queries: &queries, keys, values, shape, heads: task.heads.len(), p: &mut p, o: &mut o };
        let (max, sum) = Arch::new().dispatch(few);
        Partial { o, max, sum }
    }
}

wide! {
    /// Rows of scores to exponentials below their largest; (largest, sum) of each.
    fn exponentials(p: &mut [f32], width: usize) -> (Vec<f32>, Vec<f32>) {
        exponentials_of(p, width)
    }
}

#[inline(always)]
fn exponentials_of(p: &mut [f32], width: usize) -> (Vec<f32>, Vec<f32>) {
    let n = p.len() / width.max(1);
    let (mut maxima, mut sums) = (vec![0f32; n], vec![0f32; n]);
    for ((row, max), sum) in p.chunks_exact_mut(width.max(1)).zip(&mut maxima).zip(&mut sums) {
        *max = max_of(row);
        for x in row.iter_mut() {
            *x = exp(*x - *max);
        }
        *sum = sum_by([row], |[x]| x);
    }
    (maxima, sums)
}

/// A few rows of each of some heads against all keys and values of a range. Plain loops, because a product this small is all overhead;
/// what lies in memory is read from end to end, for all heads.
struct FewRows<'a> {
    queries: &'a [f32], // [heads, rows, D]
    keys: &'a [f32],
    values: &'a [f32],
    shape: Shape,
    heads: usize,
    p: &'a mut [f32], // [heads, rows, width]
    o: &'a mut [f32], // [heads, rows, D], zeros
}

impl WithSimd for FewRows<'_> {
    /// (largest score, sum of exponentials) of each row.
    type Output = (Vec<f32>, Vec<f32>);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self { queries, keys, values, shape, heads, p, o } = self;
        let (d, stride) = (shape.d, shape.kv * shape.d);
        let scale = 1.0 / (d as f32).sqrt();
        let rows = queries.len() / d / heads; // of a head
        let width = p.len() / (heads * rows);
        for j in 0..width {
            prefetch(keys, (j + AHEAD) * stride, heads * d);
            if j + AHEAD >= width {
                prefetch(values, (j + AHEAD - width) * stride, heads * d);
            }
            for (head, queries) in queries.chunks_exact(rows * d).enumerate() {
                let key = &keys[j * stride + head * d..][..d];
                for (row, query) in queries.chunks_exact(d).enumerate() {
                    p[(head * rows + row) * width + j] = scale * dot(simd, query, key);
                }
            }
        }
        let (max, sum) = exponentials_of(p, width);
        for from in (0..width).step_by(KEYS) {
            let n = KEYS.min(width - from);
            for j in from..from + n {
                prefetch(values, (j + AHEAD) * stride, heads * d);
            }
            for (i, o) in o.chunks_exact_mut(d).enumerate() {
                add_weighted(simd, &p[i * width + from..][..n], &values[from * stride + i / rows * d..], stride, o);
            }
        }
        (max, sum)
    }
}

/// o [D] += the sum of rows of `values`, `stride` numbers apart, times their weights.
#[inline(always)]
fn add_weighted<S: Simd>(simd: S, weights: &[f32], values: &[f32], stride: usize, o: &mut [f32]) {
    let eights = add_columns::<S, 8>(simd, weights, values, stride, o, 0);
    let fours = add_columns::<S, 4>(simd, weights, values, stride, o, eights);
    let whole = add_columns::<S, 1>(simd, weights, values, stride, o, fours);
    for (j, weight) in weights.iter().enumerate() {
        for (o, value) in o[whole..].iter_mut().zip(&values[j * stride + whole..]) {
            *o += weight * value;
        }
    }
}

/// [`add_weighted`] of columns from `first` on, N registers of them at once as long as there are so many; where it stopped.
#[inline(always)]
fn add_columns<S: Simd, const N: usize>(simd: S, weights: &[f32], values: &[f32], stride: usize, o: &mut [f32], first: usize) -> usize {
    let step = N * S::F32_LANES;
    let end = first + (o.len() - first) / step * step;
    for from in (first..end).step_by(step) {
        let o = S::as_mut_simd_f32s(&mut o[from..from + step]).0;
        let mut sums = [simd.splat_f32s(0.0); N];
        sums.copy_from_slice(o);
        for (j, &weight) in weights.iter().enumerate() {
            let weight = simd.splat_f32s(weight);
            let values = S::as_simd_f32s(&values[j * stride + from..][..step]).0;
            for l in 0..N {
                sums[l] = simd.mul_add_e_f32s(weight, values[l], sums[l]);
            }
        }
        o.copy_from_slice(&sums);
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Weighted<'a>(&'a [f32], &'a [f32], usize, &'a mut [f32]);

    impl WithSimd for Weighted<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            add_weighted(simd, self.0, self.1, self.2, self.3);
        }
    }

    #[test]
    fn weighted_rows_of_any_width_equal_plain_sums() {
        for d in 1..300 {
            let (n, stride) = (1 + d % 7, d + 5);
            let number = |i: usize| ((i * 37 + d) % 101) as f32 / 50.0 - 1.0;
            let (weights, values): (Vec<f32>, Vec<f32>) = ((0..n).map(number).collect(), (0..n * stride).map(number).collect());
            let mut o: Vec<f32> = (0..d).map(number).collect();
            Arch::new().dispatch(Weighted(&weights, &values, stride, &mut o));
            for (x, o) in o.iter().enumerate() {
                let want = number(x) + (0..n).map(|j| weights[j] * values[j * stride + x]).sum::<f32>();
                assert!((o - want).abs() < 1e-5, "{d}, column {x}: {o}, not {want}");
            }
        }
    }
}
