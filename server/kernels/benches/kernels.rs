//! Milliseconds of every kernel at SmolLM2-135M's shapes, on a packed batch as the update sees it: words that all prompts share,
//! four prompts, eight completions below each. `cargo bench --bench kernels`
#![expect(clippy::unwrap_used, reason = "a bench ends where something is missing")]

use candle_core::{Device, Tensor};
use divan::Bencher;
use whetstone_kernels::{
    Frozen, Lora, LoraPart, Onto, RopeTable, Span, attention, attention_backward, head_backward, join_rope_backward, logits, lora_linear,
    lora_linear_backward, rms_norm, rms_norm_backward, split_rope, swiglu, swiglu_backward,
};

const E: usize = 576;
const F: usize = 1536;
const H: usize = 9;
const K: usize = 3;
const D: usize = 64;
const R: usize = 16;
const V: usize = 49_152;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    whetstone_kernels::memory::keep();
    divan::main();
}

fn random(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let data: Vec<f32> = (0..n).map(|i| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect();
    Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
}

/// 100 shared words, 4 prompts of 100, 8 completions of 47 below each.
fn spans() -> (usize, Vec<Span>) {
    let shared = 0..100;
    let mut spans = vec![Span { query: shared.clone(), keys: vec![shared] }];
    let mut at = 100;
    for _ in 0..4 {
        let prompt = at..at + 100;
        spans.push(Span { query: prompt.clone(), keys: vec![0..100, prompt.clone()] });
        at += 100;
        for _ in 0..8 {
            spans.push(Span { query: at..at + 47, keys: vec![0..100, prompt.clone(), at..at + 47] });
            at += 47;
        }
    }
    (at, spans)
}

fn frozen(f: usize, e: usize, bf16: bool) -> Frozen {
    let w = random(&[f, e]);
    if bf16 { Frozen::bf16(&w).unwrap() } else { Frozen::new(&w).unwrap() }
}

fn part(fi: usize, e: usize, start: usize) -> LoraPart {
    LoraPart { a: random(&[R, e]), b: random(&[fi, R]), start }
}

/// The fused linears of a block: name, outputs, inputs, parts.
fn linear(name: &str) -> (usize, usize, Vec<LoraPart>) {
    match name {
        "qkv" => ((H + 2 * K) * D, E, vec![part(H * D, E, 0), part(K * D, E, H * D), part(K * D, E, (H + K) * D)]),
        "o" => (E, H * D, vec![part(E, H * D, 0)]),
        "gate_up" => (2 * F, E, vec![part(F, E, 0), part(F, E, F)]),
        _ => (E, F, vec![part(E, F, 0)]),
    }
}

const LINEARS: [(&str, bool, bool); 12] = [
    ("qkv", true, true),
    ("o", true, true),
    ("gate_up", true, true),
    ("down", true, true),
    ("qkv", true, false),
    ("o", true, false),
    ("gate_up", true, false),
    ("down", true, false),
    ("qkv", false, false),
    ("o", false, false),
    ("gate_up", false, false),
    ("down", false, false),
];

/// (linear, bf16, with adapter)
#[divan::bench(args = LINEARS)]
fn linear_forward(bencher: Bencher, (name, bf16, adapted): (&str, bool, bool)) {
    let (f, e, parts) = linear(name);
    let (x, w) = (random(&[spans().0, e]), frozen(f, e, bf16));
    let lora = Lora::new(if adapted { parts } else { Vec::new() }, 2.0, &w).unwrap();
    bencher.bench(|| lora_linear(&x, &w, Onto::Zero, &lora).unwrap());
}

#[divan::bench(args = LINEARS)]
fn linear_backward(bencher: Bencher, (name, bf16, adapted): (&str, bool, bool)) {
    let (f, e, parts) = linear(name);
    let t = spans().0;
    let (x, g, w) = (random(&[t, e]), random(&[t, f]), frozen(f, e, bf16));
    let lora = Lora::new(if adapted { parts } else { Vec::new() }, 2.0, &w).unwrap();
    let u = lora_linear(&x, &w, Onto::Zero, &lora).unwrap().1;
    bencher.bench(|| lora_linear_backward(&g, &x, &w, &lora, &u, true).unwrap());
}

#[divan::bench]
fn attention_forward(bencher: Bencher) {
    let (t, spans) = spans();
    let (q, k, v) = (random(&[t, H, D]), random(&[t, K, D]), random(&[t, K, D]));
    bencher.bench(|| attention(&q, &k, &v, &spans).unwrap());
}

#[divan::bench]
fn attention_back(bencher: Bencher) {
    let (t, spans) = spans();
    let (q, k, v, g) = (random(&[t, H, D]), random(&[t, K, D]), random(&[t, K, D]), random(&[t, H, D]));
    let (o, lse) = attention(&q, &k, &v, &spans).unwrap();
    bencher.bench(|| attention_backward(&g, &q, &k, &v, &o, &lse, &spans).unwrap());
}

/// 32 rows with 24 tokens each below four prompts.
#[divan::bench]
fn attention_decode(bencher: Bencher) {
    let rows = 500 + 32 * 24;
    let (q, k, v) = (random(&[32, H, D]), random(&[rows, K, D]), random(&[rows, K, D]));
    let spans: Vec<Span> = (0..32)
        .map(|i| {
            let (prompt, own) = (100 + i / 8 * 100, 500 + i * 24);
            Span { query: i..i + 1, keys: vec![0..100, prompt..prompt + 100, own..own + 24] }
        })
        .collect();
    bencher.bench(|| attention(&q, &k, &v, &spans).unwrap());
}

#[divan::bench]
fn norm_forward(bencher: Bencher) {
    let (x, w) = (random(&[spans().0, E]), random(&[E]));
    bencher.bench(|| rms_norm(&x, &w, 1e-5).unwrap());
}

#[divan::bench]
fn norm_back(bencher: Bencher) {
    let t = spans().0;
    let (x, w, g) = (random(&[t, E]), random(&[E]), random(&[t, E]));
    bencher.bench(|| rms_norm_backward(&g, &x, &w, 1e-5, &g).unwrap());
}

#[divan::bench]
fn swiglu_forward(bencher: Bencher) {
    let x = random(&[spans().0, 2 * F]);
    bencher.bench(|| swiglu(&x).unwrap());
}

#[divan::bench]
fn swiglu_back(bencher: Bencher) {
    let t = spans().0;
    let (x, g) = (random(&[t, 2 * F]), random(&[t, F]));
    bencher.bench(|| swiglu_backward(&g, &x).unwrap());
}

#[divan::bench]
fn rope_forward(bencher: Bencher) {
    let t = spans().0;
    let (x, table) = (random(&[t, (H + 2 * K) * D]), RopeTable::new(t, D, 1e4, &[]));
    let positions: Vec<u32> = (0..t as u32).collect();
    bencher.bench(|| split_rope(&x, &positions, &table, H, K).unwrap());
}

#[divan::bench]
fn rope_back(bencher: Bencher) {
    let t = spans().0;
    let (q, k, table) = (random(&[t, H, D]), random(&[t, K, D]), RopeTable::new(t, D, 1e4, &[]));
    let positions: Vec<u32> = (0..t as u32).collect();
    bencher.bench(|| join_rope_backward(&q, &k, &k, &positions, &table).unwrap());
}

/// 512 scored tokens.
#[divan::bench(args = [false, true])]
fn head_both_ways(bencher: Bencher, bf16: bool) {
    let (h, w) = (random(&[512, E]), frozen(V, E, bf16));
    let targets: Vec<u32> = (0..512).collect();
    bencher.bench(|| head_backward(&h, &w, &targets, 1.0, |_, rows| vec![1e-3; rows.len()]).unwrap());
}

#[divan::bench(args = [false, true])]
fn head_decode(bencher: Bencher, bf16: bool) {
    let (h, w) = (random(&[32, E]), frozen(V, E, bf16));
    bencher.bench(|| logits(&h, &w, 1.0).unwrap());
}
