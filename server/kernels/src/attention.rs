//! Causal attention with grouped kv-heads over shared prefixes, without `repeat_kv` and without dense masks.
//!
//! A [`Span`] says which rows of q are one piece of text and which ranges of the key buffer it sees: whole ranges for its
//! ancestors (a prompt that a group shares, a worked example that all prompts share) and, last, its own range, causally.
//! One form serves the prefill, decoding from a cache and the packed update (Prefix Grouper, arXiv 2506.05433), so that
//! sampler and trainer run the same arithmetic.

use std::ops::Range;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::gemm::{Mat, Threads, matmul};
use crate::math::{exp, max_of, sum_by, wide};
use crate::single;
use crate::view::{View, tensor};

/// One piece of text and what it sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its rows of q.
    pub query: Range<usize>,
    /// Ranges of rows of k and v; all are seen whole but the last, of which query i of n sees all but the last n - 1 - i rows.
    pub keys: Vec<Range<usize>>,
}

impl Span {
    fn key_count(&self) -> usize {
        self.keys.iter().map(ExactSizeIterator::len).sum()
    }
}

/// (o [T, H, D], lse [T, H] natural log of the softmax denominators) of q [T, H, D], k and v [S, K, D].
///
/// Every row of q must be in exactly one span.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, spans: &[Span]) -> Result<(Tensor, Tensor)> {
    let (t, h, d) = q.dims3()?;
    let (s, kv, _) = k.dims3()?;
    check(spans, t, s, h, kv)?;
    let (Some(qv), Some(kview), Some(vview)) = (View::of(q), View::of(k), View::of(v)) else { return attention_composed(q, k, v, spans) };
    let (qs, ks, vs) = (qv.slice(), kview.slice(), vview.slice());
    let shape = Shape { h, kv, d };
    if spans.iter().all(|span| span.query.len() == 1) {
        let (o, lse) = single::attention(shape, qs, ks, vs, spans);
        return Ok((tensor(o, (t, h, d), q)?, tensor(lse, (t, h), q)?));
    }
    let spans = cut(spans);
    let tasks: Vec<(&Span, usize)> = spans.iter().flat_map(|span| (0..kv).map(move |head| (span, head))).collect();
    let results: Vec<(Vec<f32>, Vec<f32>)> = tasks
        .par_iter()
        .map(|&(span, head)| {
            let queries = shape.gather(qs, &span.query, head);
            let mut p = shape.scores(&queries, ks, span, head);
            let lse = softmax_rows(&mut p, span.key_count());
            let n = lse.len();
            let mut o = vec![0f32; n * d];
            let (mut at, width) = (0, span.key_count());
            for range in &span.keys {
                let values = Mat::rows(&vs[range.start * kv * d + head * d..], kv * d);
                matmul(n, d, range.len(), &mut o, d, at > 0, 1.0, Mat::rows(&p[at..], width), values, Threads::One);
                at += range.len();
            }
            (o, lse)
        })
        .collect();
    let place = |i: usize| {
        let nth = spans.partition_point(|span| span.query.end <= i);
        (nth, i - spans[nth].query.start)
    };
    let o = shape.by_row(t, d, |i, head| {
        let (nth, row) = place(i);
        (&results[nth * kv + head].0, row)
    });
    let lse = shape.by_row(t, 1, |i, head| {
        let (nth, row) = place(i);
        (&results[nth * kv + head].1, row)
    });
    Ok((tensor(o, (t, h, d), q)?, tensor(lse, (t, h), q)?))
}

/// (dq, dk, dv) of g = do [T, H, D]; q, k, v, o, lse as the forward had and gave them, and k covering the same rows as q.
///
/// With P the probabilities: dV = P^T g, dP = g V^T, dS = P * (dP - rowsum(g * o)), dq = dS k / sqrt(D), dk = dS^T q / sqrt(D).
pub fn attention_backward(
    g: &Tensor,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    o: &Tensor,
    lse: &Tensor,
    spans: &[Span],
) -> Result<(Tensor, Tensor, Tensor)> {
    let (t, h, d) = q.dims3()?;
    let (s, kv, _) = k.dims3()?;
    check(spans, t, s, h, kv)?;
    let views = (View::of(g), View::of(q), View::of(k), View::of(v), View::of(o), View::of(lse));
    let (Some(gv), Some(qv), Some(kview), Some(vview), Some(ov), Some(lv)) = views else {
        return attention_backward_composed(g, q, k, v, o, lse, spans);
    };
    let (gs, qs, ks, vs, os, ls) = (gv.slice(), qv.slice(), kview.slice(), vview.slice(), ov.slice(), lv.slice());
    let shape = Shape { h, kv, d };
    // a task is a kv-head and a share of the spans with sums of its own, so that the order of summation is fixed
    let spans = cut(spans);
    let shares = shares(&spans);
    let tasks: Vec<(&[Span], usize)> = (0..kv).flat_map(|head| shares.iter().map(move |share| (*share, head))).collect();
    let results: Vec<[Vec<f32>; 3]> = tasks
        .par_iter()
        .map(|&(spans, head)| {
            let rows = rows_of(spans);
            let (mut dq, mut dk, mut dv) = (vec![0f32; rows.len() * h / kv * d], vec![0f32; s * d], vec![0f32; s * d]);
            for span in spans {
                shape.span_backward(gs, qs, ks, vs, os, ls, span, head, rows.start, &mut dq, &mut dk, &mut dv);
            }
            [dq, dk, dv]
        })
        .collect();
    let dq = shape.by_row(t, d, |i, head| {
        let nth = shares.partition_point(|share| rows_of(share).end <= i);
        (&results[head * shares.len() + nth][0], i - rows_of(shares[nth]).start)
    });
    let sums = |which: usize| {
        let mut sums = vec![0f32; s * kv * d];
        sums.par_chunks_mut(kv * d).enumerate().with_min_len(32).for_each(|(i, row)| {
            for (head, row) in row.chunks_exact_mut(d).enumerate() {
                for part in &results[head * shares.len()..(head + 1) * shares.len()] {
                    row.iter_mut().zip(&part[which][i * d..]).for_each(|(sum, x)| *sum += x);
                }
            }
        });
        sums
    };
    let (dk, dv) = (sums(1), sums(2));
    Ok((tensor(dq, (t, h, d), q)?, tensor(dk, (s, kv, d), q)?, tensor(dv, (s, kv, d), q)?))
}

/// Most rows of q that are multiplied with keys at once: what the last of them sees, the first of them must be kept from.
const ROWS: usize = 64;

/// The same spans in pieces of few rows, each with the keys that its last row sees.
fn cut(spans: &[Span]) -> Vec<Span> {
    let pieces = |span: &Span| {
        let Span { query, keys } = span.clone();
        (query.start..query.end).step_by(ROWS).map(move |start| {
            let end = query.end.min(start + ROWS);
            let mut keys = keys.clone();
            if let Some(own) = keys.last_mut() {
                own.end -= query.end - end;
            }
            Span { query: start..end, keys }
        })
    };
    spans.iter().flat_map(pieces).collect()
}

/// At most this many tasks a kv-head in the backward.
const SHARES: usize = 4;

/// Spans in shares of about equal work (queries times keys), in order. The same spans give the same shares on every machine.
fn shares(spans: &[Span]) -> Vec<&[Span]> {
    let work = |span: &Span| span.query.len() * span.key_count();
    let total: usize = spans.iter().map(work).sum();
    let (mut out, mut start, mut done) = (Vec::with_capacity(SHARES), 0, 0);
    for (i, span) in spans.iter().enumerate() {
        done += work(span);
        if done * SHARES >= total * (out.len() + 1) || i + 1 == spans.len() {
            out.push(&spans[start..=i]);
            start = i + 1;
        }
    }
    out
}

/// Rows of q that consecutive spans cover.
fn rows_of(spans: &[Span]) -> Range<usize> {
    spans.first().map_or(0, |s| s.query.start)..spans.last().map_or(0, |s| s.query.end)
}

#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) h: usize,
    pub(crate) kv: usize,
    pub(crate) d: usize,
}

impl Shape {
    /// Rows (i, r) of the query heads that kv-head `head` serves. [n * rep, D]
    fn gather(self, x: &[f32], rows: &Range<usize>, head: usize) -> Vec<f32> {
        let width = self.h / self.kv * self.d;
        let mut out = Vec::with_capacity(rows.len() * width);
        for i in rows.clone() {
            let at = i * self.h * self.d + head * width;
            out.extend_from_slice(&x[at..at + width]);
        }
        out
    }

    /// Inverse of `gather` for `d` numbers a row and head: rows [t, H, d], of which `part(i, head)` says where it is gathered and in which
    /// row.
    fn by_row<'a>(self, t: usize, d: usize, part: impl Fn(usize, usize) -> (&'a Vec<f32>, usize) + Sync) -> Vec<f32> {
        let width = self.h / self.kv * d;
        let mut out = vec![0f32; t * self.h * d];
        out.par_chunks_mut(self.h * d).enumerate().with_min_len(32).for_each(|(i, out)| {
            for (head, out) in out.chunks_exact_mut(width).enumerate() {
                let (part, row) = part(i, head);
                out.copy_from_slice(&part[row * width..(row + 1) * width]);
            }
        });
        out
    }

    /// Scaled scores with the causal part of the last range at -inf. [n * rep, keys]
    fn scores(self, queries: &[f32], ks: &[f32], span: &Span, head: usize) -> Vec<f32> {
        let (d, width) = (self.d, span.key_count());
        let n = queries.len() / d;
        let mut p = vec![0f32; n * width];
        let mut at = 0;
        for range in &span.keys {
            let keys = Mat::rows(&ks[range.start * self.kv * d + head * d..], self.kv * d);
            let scale = 1.0 / (d as f32).sqrt();
            matmul(n, range.len(), d, &mut p[at..], width, false, scale, Mat::rows(queries, d), keys.t(), Threads::One);
            at += range.len();
        }
        let (rep, rows) = (self.h / self.kv, span.query.len());
        for (i, row) in p.chunks_exact_mut(width.max(1)).enumerate() {
            row[width - (rows - 1 - i / rep)..].fill(f32::NEG_INFINITY);
        }
        p
    }

    #[expect(clippy::too_many_arguments, reason = "inputs, place and three outputs")]
    fn span_backward(
        self,
        gs: &[f32],
        qs: &[f32],
        ks: &[f32],
        vs: &[f32],
        os: &[f32],
        ls: &[f32],
        span: &Span,
        head: usize,
        first: usize,
        dq: &mut [f32],
        dk: &mut [f32],
        dv: &mut [f32],
    ) {
        let (d, width, rep) = (self.d, span.key_count(), self.h / self.kv);
        let (queries, g, o) = (self.gather(qs, &span.query, head), self.gather(gs, &span.query, head), self.gather(os, &span.query, head));
        let lse: Vec<f32> = span.query.clone().flat_map(|i| &ls[i * self.h + head * rep..i * self.h + (head + 1) * rep]).copied().collect();
        let n = lse.len();
        let mut p = self.scores(&queries, ks, span, head);
        exp_rows(&mut p, width, &lse);
        let mut ds = vec![0f32; n * width];
        let mut at = 0;
        for range in &span.keys {
            let offset = range.start * self.kv * d + head * d;
            let mine = range.start * d;
            let p_part = Mat::rows(&p[at..], width);
            matmul(range.len(), d, n, &mut dv[mine..], d, true, 1.0, p_part.t(), Mat::rows(&g, d), Threads::One);
            let values = Mat::rows(&vs[offset..], self.kv * d);
            matmul(n, range.len(), d, &mut ds[at..], width, false, 1.0, Mat::rows(&g, d), values.t(), Threads::One);
            at += range.len();
        }
        let scale = 1.0 / (d as f32).sqrt();
        score_gradient(&mut ds, &p, &g, &o, width, d, scale);
        let out = (span.query.start - first) * rep * d;
        let mut at = 0;
        for range in &span.keys {
            let keys = Mat::rows(&ks[range.start * self.kv * d + head * d..], self.kv * d);
            let ds_part = Mat::rows(&ds[at..], width);
            matmul(n, d, range.len(), &mut dq[out..], d, at > 0, 1.0, ds_part, keys, Threads::One);
            matmul(range.len(), d, n, &mut dk[range.start * d..], d, true, 1.0, ds_part.t(), Mat::rows(&queries, d), Threads::One);
            at += range.len();
        }
    }
}

wide! {
    fn softmax_rows(p: &mut [f32], width: usize) -> Vec<f32> {
        softmax(p, width)
    }
}

wide! {
    fn exp_rows(p: &mut [f32], width: usize, lse: &[f32]) -> () {
        for (row, l) in p.chunks_exact_mut(width.max(1)).zip(lse) {
            for x in row.iter_mut() {
                *x = exp(*x - l);
            }
        }
    }
}

wide! {
    /// dS = P * (dP - rowsum(g * o)) * scale in place of dP.
    fn score_gradient(ds: &mut [f32], p: &[f32], g: &[f32], o: &[f32], width: usize, d: usize, scale: f32) -> () {
        for (i, (ds, p)) in ds.chunks_exact_mut(width.max(1)).zip(p.chunks_exact(width.max(1))).enumerate() {
            let delta = sum_by([&g[i * d..(i + 1) * d], &o[i * d..(i + 1) * d]], |[g, o]| g * o);
            for (ds, p) in ds.iter_mut().zip(p) {
                *ds = p * (*ds - delta) * scale;
            }
        }
    }
}

/// Softmax of each row of `width` numbers in place; natural log of the denominators. Plain loops: an iterator's closure
/// would not be compiled for the wide instructions.
#[inline(always)]
fn softmax(p: &mut [f32], width: usize) -> Vec<f32> {
    let mut lse = vec![0f32; p.len() / width.max(1)];
    for (row, lse) in p.chunks_exact_mut(width.max(1)).zip(&mut lse) {
        let max = max_of(row);
        for x in row.iter_mut() {
            *x = exp(*x - max);
        }
        let sum = sum_by([row], |[x]| x);
        let inverse = 1.0 / sum;
        for x in row.iter_mut() {
            *x *= inverse;
        }
        *lse = max + sum.ln();
    }
    lse
}

fn check(spans: &[Span], t: usize, s: usize, h: usize, kv: usize) -> Result<()> {
    if !h.is_multiple_of(kv) {
        candle_core::bail!("{h} heads cannot share {kv} kv-heads");
    }
    let mut next = 0;
    for span in spans {
        let own = span.keys.last().map_or(0, ExactSizeIterator::len);
        if span.query.start != next || span.query.is_empty() || own < span.query.len() || span.keys.iter().any(|r| r.end > s) {
            candle_core::bail!("span {span:?} does not fit {t} queries and {s} keys");
        }
        next = span.query.end;
    }
    if next != t {
        candle_core::bail!("spans cover {next} of {t} queries");
    }
    Ok(())
}

/// Scores of everything against everything with a dense mask. [H, T, S]
fn probabilities_composed(q: &Tensor, k: &Tensor, spans: &[Span]) -> Result<(Tensor, Tensor)> {
    let (t, h, d) = q.dims3()?;
    let (s, kv, _) = k.dims3()?;
    let mut mask = vec![f32::NEG_INFINITY; t * s];
    for span in spans {
        for (i, row) in span.query.clone().enumerate() {
            for (j, range) in span.keys.iter().enumerate() {
                let hidden = if j + 1 == span.keys.len() { span.query.len() - 1 - i } else { 0 };
                mask[row * s + range.start..row * s + range.end - hidden].fill(0.0);
            }
        }
    }
    let mask = Tensor::from_vec(mask, (1, t, s), q.device())?.to_dtype(q.dtype())?;
    let k = repeat(k, h / kv)?;
    let scores = (q.transpose(0, 1)?.contiguous()?.matmul(&k.transpose(1, 2)?.contiguous()?)? / (d as f64).sqrt())?.broadcast_add(&mask)?;
    let max = scores.max_keepdim(2)?.detach();
    let e = scores.broadcast_sub(&max)?.exp()?;
    let sum = e.sum_keepdim(2)?;
    let lse = (sum.log()? + max)?.squeeze(2)?.t()?.contiguous()?;
    Ok((e.broadcast_div(&sum)?, lse))
}

/// [S, K, D] -> [K * rep, S, D]
fn repeat(k: &Tensor, rep: usize) -> Result<Tensor> {
    let (s, kv, d) = k.dims3()?;
    k.transpose(0, 1)?.unsqueeze(1)?.broadcast_as((kv, rep, s, d))?.reshape((kv * rep, s, d))
}

fn attention_composed(q: &Tensor, k: &Tensor, v: &Tensor, spans: &[Span]) -> Result<(Tensor, Tensor)> {
    let rep = q.dim(1)? / k.dim(1)?;
    let (p, lse) = probabilities_composed(q, k, spans)?;
    Ok((p.matmul(&repeat(v, rep)?)?.transpose(0, 1)?.contiguous()?, lse))
}

fn attention_backward_composed(
    g: &Tensor,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    o: &Tensor,
    _lse: &Tensor,
    spans: &[Span],
) -> Result<(Tensor, Tensor, Tensor)> {
    let (_, h, d) = q.dims3()?;
    let (s, kv, _) = k.dims3()?;
    let rep = h / kv;
    let heads = |x: &Tensor| -> Result<Tensor> { x.transpose(0, 1)?.contiguous() };
    let (p, _) = probabilities_composed(q, k, spans)?;
    let (gh, qh) = (heads(g)?, heads(q)?);
    let fold = |x: Tensor| -> Result<Tensor> { x.reshape((kv, rep, s, d))?.sum(1)?.transpose(0, 1)?.contiguous() };
    let dv = fold(p.t()?.contiguous()?.matmul(&gh)?)?;
    let dp = gh.matmul(&repeat(v, rep)?.t()?.contiguous()?)?;
    let delta = heads(&(g * o)?)?.sum_keepdim(2)?;
    let ds = ((p * dp.broadcast_sub(&delta)?)? / (d as f64).sqrt())?;
    let dq = ds.matmul(&repeat(k, rep)?)?.transpose(0, 1)?.contiguous()?;
    let dk = fold(ds.t()?.contiguous()?.matmul(&qh)?)?;
    Ok((dq, dk, dv))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{close, random};
    use candle_core::{DType, Var};
    use proptest::prelude::*;

    /// A packed forest: prompts below an optional common prefix, completions below prompts.
    fn forest(common: usize, prompts: &[(usize, Vec<usize>)]) -> (Vec<Span>, usize) {
        let (mut spans, mut at) = (Vec::new(), 0);
        let mut push = |ancestors: &[Range<usize>], len: usize| {
            let own = at..at + len;
            at += len;
            let keys: Vec<_> = ancestors.iter().cloned().chain([own.clone()]).collect();
            spans.push(Span { query: own, keys: keys.clone() });
            keys
        };
        let root = if common > 0 { push(&[], common) } else { Vec::new() };
        for (len, completions) in prompts {
            let prompt = push(&root, *len);
            for c in completions {
                push(&prompt, *c);
            }
        }
        (spans, at)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn attention_and_its_gradient_equal_autograd_on_random_forests(
            kv in 1usize..3, rep in 1usize..4, d in 1usize..9, common in 0usize..6, seed in 0u64..1000, extreme in any::<bool>(),
            prompts in prop::collection::vec((1usize..7, prop::collection::vec(1usize..6, 0..4)), 1..4),
        ) {
            let (spans, t) = forest(common, &prompts);
            let h = kv * rep;
            let scale = if extreme { 300.0 } else { 2.0 };
            let q = (random(&[t, h, d], seed)? * scale)?;
            let (k, v, g) = (random(&[t, kv, d], seed + 1)?, random(&[t, kv, d], seed + 2)?, random(&[t, h, d], seed + 3)?);
            let v64 = |t: &Tensor| Var::from_tensor(&t.to_dtype(DType::F64)?);
            let (q64, k64, v64) = (v64(&q)?, v64(&k)?, v64(&v)?);
            let (o64, lse64) = attention_composed(&q64, &k64, &v64, &spans)?;
            let g64 = g.to_dtype(DType::F64)?;
            let store = (&o64 * &g64)?.sum_all()?.backward()?;
            let (o, lse) = attention(&q, &k, &v, &spans)?;
            let tolerance = if extreme { 2e-2 } else { 1e-4 };
            close(&o, &o64, tolerance)?;
            close(&lse, &lse64, tolerance)?;
            let got = attention_backward(&g, &q, &k, &v, &o, &lse, &spans)?;
            let twin = attention_backward_composed(&g64, &q64, &k64, &v64, &o64, &lse64, &spans)?;
            for (got, twin, var) in [(got.0, twin.0, &q64), (got.1, twin.1, &k64), (got.2, twin.2, &v64)] {
                let want = store.get(var).expect("gradient");
                close(&twin, want, 1e-9)?;
                close(&got, want, if extreme { 0.2 } else { 2e-4 })?;
            }
        }
    }

    #[test]
    fn long_texts_are_cut_and_come_out_as_their_slow_twins() -> Result<()> {
        let (spans, t) = forest(7, &[(130, vec![65, 3]), (64, vec![1])]);
        assert_eq!(cut(&spans).iter().map(|span| span.query.len()).collect::<Vec<_>>(), [7, 64, 64, 2, 64, 1, 3, 64, 1]);
        let (q, g) = ((random(&[t, 4, 6], 1)? * 2.0)?, random(&[t, 4, 6], 2)?);
        let (k, v) = (random(&[t, 2, 6], 3)?, random(&[t, 2, 6], 4)?);
        let wide = |t: &Tensor| t.to_dtype(DType::F64);
        let ((o, lse), (q64, k64, v64)) = (attention(&q, &k, &v, &spans)?, (wide(&q)?, wide(&k)?, wide(&v)?));
        let (want, want_lse) = attention_composed(&q64, &k64, &v64, &spans)?;
        close(&o, &want, 1e-4)?;
        close(&lse, &want_lse, 1e-4)?;
        let got = attention_backward(&g, &q, &k, &v, &o, &lse, &spans)?;
        let twin = attention_backward_composed(&wide(&g)?, &q64, &k64, &v64, &want, &want_lse, &spans)?;
        for (got, twin) in [(got.0, twin.0), (got.1, twin.1), (got.2, twin.2)] {
            close(&got, &twin, 1e-3)?;
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn one_new_token_a_row_sees_what_its_slow_twin_sees(
            kv in 1usize..4, rep in 1usize..4, d in 1usize..70, common in 0usize..20, seed in 0u64..1000, extreme in any::<bool>(),
            prompts in prop::collection::vec((1usize..30, prop::collection::vec(1usize..40, 1..12)), 1..4),
        ) {
            let (forest, keys) = forest(common, &prompts);
            // the last token of every text asks; what it sees lies in a cache
            let mut spans: Vec<Span> = forest.into_iter().enumerate().map(|(i, s)| Span { query: i..i + 1, keys: s.keys }).collect();
            spans[0].keys.insert(0, 0..0); // of a range without keys nothing is seen
            let scale = if extreme { 300.0 } else { 2.0 };
            let q = (random(&[spans.len(), kv * rep, d], seed)? * scale)?;
            let (k, v) = (random(&[keys, kv, d], seed + 1)?, random(&[keys, kv, d], seed + 2)?);
            // with more threads than ranges every head has tasks of its own
            let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            let (o, lse) = pool(1).install(|| attention(&q, &k, &v, &spans))?;
            let (more_o, more_lse) = pool(40).install(|| attention(&q, &k, &v, &spans))?;
            close(&o, &more_o, 0.0)?;
            close(&lse, &more_lse, 0.0)?;
            let wide = |t: &Tensor| t.to_dtype(DType::F64);
            let (want, want_lse) = attention_composed(&wide(&q)?, &wide(&k)?, &wide(&v)?, &spans)?;
            let tolerance = if extreme { 2e-2 } else { 1e-4 };
            close(&o, &want, tolerance)?;
            close(&lse, &want_lse, tolerance)?;
        }
    }

    #[test]
    fn spans_that_do_not_fit_are_refused() -> Result<()> {
        let (q, k) = (random(&[2, 2, 4], 1)?, random(&[2, 1, 4], 2)?);
        let span = |query: Range<usize>, keys: Range<usize>| vec![Span { query, keys: Vec::from_iter([keys]) }];
        for bad in [vec![], span(0..1, 0..1), span(0..2, 0..3), span(0..2, 0..1)] {
            assert!(attention(&q, &k, &k, &bad).is_err(), "{bad:?}");
        }
        Ok(())
    }
}
