//! Attention while decoding: many rows with one new token each, most of what they see in common.
//!
//! Keys are read range by range, each range once for up to 16 rows that see it: the words all prompts share meet every row, a prompt
//! its group, a completion its own row. Partial softmaxes of a row's ranges are joined in the order of its span (online softmax,
//! arXiv 1805.02867), so that a row comes out the same whatever shares its batch but for the rounding of the products.

use std::collections::HashMap;
use std::ops::Range;

use rayon::prelude::*;

use crate::attention::{Shape, Span};
use crate::gemm::{Mat, Threads, matmul};
use crate::math::{dot, exp, max_of, prefetch, sum_by, wide};

/// From so many query rows on a product is worth its packing.
const PRODUCT_ROWS: usize = 8;
/// Most spans of a task.
const TASK: usize = 16;
/// Keys whose values are added to a row at once.
const KEYS: usize = 4;
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
        let (max, sum) = few_rows(&queries, keys, values, shape, task.heads.len(), &mut p, &mut o);
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
        *sum = sum_by(row.len(), |i| row[i]);
    }
    (maxima, sums)
}

wide! {
    /// Plain loops, because a product this small is all overhead; every key and value is read once for all heads.
    fn few_rows(
        queries: &[f32],
        keys: &[f32],
        values: &[f32],
        shape: Shape,
        heads: usize,
        p: &mut [f32],
        o: &mut [f32],
    ) -> (Vec<f32>, Vec<f32>) {
        let (d, stride) = (shape.d, shape.kv * shape.d);
        let scale = 1.0 / (d as f32).sqrt();
        let rows = queries.len() / d / heads; // of a head
        let width = p.len() / (heads * rows);
        for j in 0..width {
            prefetch(keys, (j + AHEAD) * stride, heads * d);
            if j + AHEAD >= width {
                prefetch(values, (j + AHEAD - width) * stride, heads * d);
            }
            for i in 0..heads * rows {
                let key = &keys[j * stride + i / rows * d..][..d];
                p[i * width + j] = scale * dot(&queries[i * d..(i + 1) * d], key);
            }
        }
        let (max, sum) = exponentials_of(p, width);
        let whole = width / KEYS * KEYS;
        for j in (0..whole).step_by(KEYS) {
            for x in 0..KEYS {
                prefetch(values, (j + x + AHEAD) * stride, heads * d);
            }
            for (i, o) in o.chunks_exact_mut(d).enumerate() {
                let p = &p[i * width + j..][..KEYS];
                let value = |x: usize| &values[(j + x) * stride + i / rows * d..][..d];
                let (v0, v1, v2, v3) = (value(0), value(1), value(2), value(3));
                for x in 0..d {
                    o[x] = p[3].mul_add(v3[x], p[2].mul_add(v2[x], p[1].mul_add(v1[x], p[0].mul_add(v0[x], o[x]))));
                }
            }
        }
        for j in whole..width {
            for (i, o) in o.chunks_exact_mut(d).enumerate() {
                let p = p[i * width + j];
                for (o, v) in o.iter_mut().zip(&values[j * stride + i / rows * d..][..d]) {
                    *o = p.mul_add(*v, *o);
                }
            }
        }
        (max, sum)
    }
}
