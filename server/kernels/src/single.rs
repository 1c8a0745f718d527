//! Attention while decoding: many rows with one new token each, most of what they see in common.
//!
//! Keys are read range by range, each range once for all rows that see it: the words all prompts share meet every row, a prompt
//! its group, a completion its own row. Partial softmaxes of a row's ranges are joined in the order of its span (online softmax,
//! arXiv 1805.02867), so that a row comes out the same whatever shares its batch but for the rounding of the products.

use std::collections::HashMap;
use std::ops::Range;

use rayon::prelude::*;

use crate::attention::{Shape, Span};
use crate::gemm::{Mat, Threads, matmul};
use crate::math::{dot, exp, max_of, sum_by, wide};

/// From so many query rows on a product is worth its packing.
const PRODUCT_ROWS: usize = 8;

/// One range of keys and the spans (by index) that see it.
struct Seen<'a> {
    keys: &'a Range<usize>,
    rows: Vec<usize>,
}

/// Softmax over one range only, for every row (span, query head) that sees it.
struct Partial {
    o: Vec<f32>,   // [n * rep, D], not divided by the sum
    max: Vec<f32>, // [n * rep]
    sum: Vec<f32>, // [n * rep]
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
                seen.push(Seen { keys, rows: Vec::new() });
                seen.len() - 1
            });
            mine.push((at, seen[at].rows.len()));
            seen[at].rows.push(row);
        }
        of_span.push(mine);
    }
    let tasks: Vec<(usize, usize)> = (0..seen.len()).flat_map(|i| (0..kv).map(move |head| (i, head))).collect();
    let partials: Vec<Partial> = tasks.par_iter().map(|&(i, head)| partial(shape, qs, ks, vs, &seen[i], head)).collect();
    let (mut o, mut lse) = (vec![0f32; spans.len() * h * d], vec![0f32; spans.len() * h]);
    for (row, mine) in of_span.iter().enumerate() {
        for query in 0..h {
            let (head, r) = (query / rep, query % rep);
            let parts = || mine.iter().map(|&(at, place)| (&partials[at * kv + head], place * rep + r));
            let max = parts().map(|(p, i)| p.max[i]).fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = parts().map(|(p, i)| p.sum[i] * exp(p.max[i] - max)).sum();
            let out = &mut o[(row * h + query) * d..][..d];
            for (p, i) in parts() {
                let weight = exp(p.max[i] - max) / sum;
                out.iter_mut().zip(&p.o[i * d..(i + 1) * d]).for_each(|(out, o)| *out += weight * o);
            }
            lse[row * h + query] = max + sum.ln();
        }
    }
    (o, lse)
}

fn partial(shape: Shape, qs: &[f32], ks: &[f32], vs: &[f32], seen: &Seen, head: usize) -> Partial {
    let Shape { h, kv, d } = shape;
    let (rep, width) = (h / kv, seen.keys.len());
    let n = seen.rows.len() * rep;
    let mut queries = Vec::with_capacity(n * d);
    for row in &seen.rows {
        let at = (row * h + head * rep) * d;
        queries.extend_from_slice(&qs[at..at + rep * d]);
    }
    let offset = seen.keys.start * kv * d + head * d;
    let (keys, values) = (&ks[offset.min(ks.len())..], &vs[offset.min(vs.len())..]);
    let (mut p, mut o) = (vec![0f32; n * width], vec![0f32; n * d]);
    let scale = 1.0 / (d as f32).sqrt();
    if n >= PRODUCT_ROWS {
        let stride = kv * d;
        matmul(n, width, d, &mut p, width, false, scale, Mat::rows(&queries, d), Mat::rows(keys, stride).t(), Threads::One);
        let (max, sum) = exponentials(&mut p, width);
        matmul(n, d, width, &mut o, d, false, 1.0, Mat::rows(&p, width), Mat::rows(values, stride), Threads::One);
        Partial { o, max, sum }
    } else {
        let (max, sum) = few_rows(&queries, keys, values, kv * d, d, &mut p, &mut o);
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
    /// Plain loops, because a product this small is all overhead.
    fn few_rows(queries: &[f32], keys: &[f32], values: &[f32], stride: usize, d: usize, p: &mut [f32], o: &mut [f32]) -> (Vec<f32>, Vec<f32>) {
        let scale = 1.0 / (d as f32).sqrt();
        let width = p.len() / (queries.len() / d).max(1);
        for j in 0..width {
            let key = &keys[j * stride..j * stride + d];
            for (i, q) in queries.chunks_exact(d).enumerate() {
                p[i * width + j] = scale * dot(q, key);
            }
        }
        let (max, sum) = exponentials_of(p, width);
        for j in 0..width {
            let value = &values[j * stride..j * stride + d];
            for (i, o) in o.chunks_exact_mut(d).enumerate() {
                let p = p[i * width + j];
                for (o, v) in o.iter_mut().zip(value) {
                    *o += p * v;
                }
            }
        }
        (max, sum)
    }
}
