//! The slow twin of model and update: plain candle operations under candle's autograd, every rollout padded on its own.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use whetstone_model::adapter::Adapter;
use whetstone_model::config::ModelConfig;
use whetstone_model::weights::Weights;
use whetstone_train::batch::Branch;

/// A Llama whose adapter is made of variables. f64.
pub struct Twin<'a> {
    pub config: &'a ModelConfig,
    pub weights: &'a Weights,
    pub vars: Vec<[(Var, Var); 7]>,
    pub scale: f64,
}

impl<'a> Twin<'a> {
    pub fn new(config: &'a ModelConfig, weights: &'a Weights, adapter: &Adapter) -> Result<Self> {
        let var = |t: &Tensor| Var::from_tensor(&t.to_dtype(DType::F64)?);
        let mut vars = Vec::new();
        for layer in &adapter.pairs {
            let pairs = layer.iter().map(|(a, b)| Ok((var(a)?, var(b)?))).collect::<Result<Vec<_>>>()?;
            vars.push(pairs.try_into().expect("seven linears"));
        }
        Ok(Self { config, weights, vars, scale: adapter.scale() })
    }

    fn norm(&self, x: &Tensor, w: &Tensor) -> Result<Tensor> {
        x.broadcast_div(&(x.sqr()?.mean_keepdim(D::Minus1)? + self.config.rms_norm_eps)?.sqrt()?)?.broadcast_mul(w)
    }

    fn linear(&self, x: &Tensor, w: &Tensor, (a, b): &(Var, Var)) -> Result<Tensor> {
        x.matmul(&w.t()?)? + (x.matmul(&a.t()?)?.matmul(&b.t()?)? * self.scale)?
    }

    /// A projection of q, k or v as heads, with its bias and its norm where the family has them. [T, heads, D]
    fn heads(&self, x: &Tensor, w: &Tensor, bias: Option<&Tensor>, norm: Option<&Tensor>, var: &(Var, Var)) -> Result<Tensor> {
        let mut y = self.linear(x, w, var)?;
        if let Some(bias) = bias {
            y = y.broadcast_add(bias)?;
        }
        let (t, d) = (x.dim(0)?, self.config.head_dim);
        let y = y.reshape((t, w.dim(0)? / d, d))?;
        norm.map_or(Ok(y.clone()), |norm| self.norm(&y, norm))
    }

    fn frequency(&self, i: usize) -> f64 {
        let c = self.config;
        c.rope_theta.powf(-2.0 * i as f64 / c.head_dim as f64) / c.rope_divisors.get(i).unwrap_or(&1.0)
    }

    fn rope(&self, x: &Tensor) -> Result<Tensor> {
        let (t, _, d) = x.dims3()?;
        let half = d / 2;
        let angle: Vec<f64> = (0..t * half).map(|i| (i / half) as f64 * self.frequency(i % half)).collect();
        let angle = Tensor::from_vec(angle, (t, 1, half), &Device::Cpu)?;
        let (cos, sin) = (angle.cos()?, angle.sin()?);
        let (x0, x1) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
        let y0 = (x0.broadcast_mul(&cos)? - x1.broadcast_mul(&sin)?)?;
        let y1 = (x1.broadcast_mul(&cos)? + x0.broadcast_mul(&sin)?)?;
        Tensor::cat(&[y0, y1], 2)
    }

    /// Log-probabilities of every position. [T, V]
    pub fn logp(&self, ids: &[u32], temperature: f64) -> Result<Tensor> {
        let (c, w, t) = (self.config, self.weights, ids.len());
        let (h, kv, d) = (c.num_heads, c.num_kv_heads, c.head_dim);
        let mut x = w.embed.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)?;
        let mask: Vec<f64> = (0..t * t).map(|i| if i % t > i / t { f64::NEG_INFINITY } else { 0.0 }).collect();
        let mask = Tensor::from_vec(mask, (1, t, t), &Device::Cpu)?;
        for (l, v) in w.layers.iter().zip(&self.vars) {
            let n = self.norm(&x, &l.input_norm)?;
            let q = self.heads(&n, &l.q, l.q_bias.as_ref(), l.q_norm.as_ref(), &v[0])?;
            let q = self.rope(&q)?.transpose(0, 1)?.contiguous()?;
            let k = self.rope(&self.heads(&n, &l.k, l.k_bias.as_ref(), l.k_norm.as_ref(), &v[1])?)?;
            let value = self.heads(&n, &l.v, l.v_bias.as_ref(), None, &v[2])?;
            let repeat =
                |x: Tensor| -> Result<Tensor> { x.transpose(0, 1)?.unsqueeze(1)?.broadcast_as((kv, h / kv, t, d))?.reshape((h, t, d)) };
            let scores = (q.matmul(&repeat(k)?.transpose(1, 2)?.contiguous()?)? / (d as f64).sqrt())?.broadcast_add(&mask)?;
            let e = scores.broadcast_sub(&scores.max_keepdim(2)?.detach())?.exp()?;
            let p = e.broadcast_div(&e.sum_keepdim(2)?)?;
            let o = p.matmul(&repeat(value)?)?.transpose(0, 1)?.contiguous()?.reshape((t, h * d))?;
            x = (x + self.linear(&o, &l.o, &v[3])?)?;
            let n = self.norm(&x, &l.post_norm)?;
            let mlp = (self.linear(&n, &l.gate, &v[4])?.silu()? * self.linear(&n, &l.up, &v[5])?)?;
            x = (x + self.linear(&mlp, &l.down, &v[6])?)?;
        }
        let head = w.lm_head.as_ref().unwrap_or(&w.embed);
        let logits = (self.norm(&x, &w.norm)?.matmul(&head.t()?)? / temperature)?;
        let shifted = logits.broadcast_sub(&logits.max_keepdim(1)?.detach())?;
        shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(1)?.log()?)
    }

    /// Sum over scored tokens of coefficient times logprob, each rollout as a sequence of its own.
    pub fn objective(&self, branches: &[Branch], temperature: f64, coefficient: impl Fn(usize, usize) -> f64) -> Result<Tensor> {
        let mut sum = Tensor::new(0f64, &Device::Cpu)?;
        let mut completion = 0;
        for b in branches {
            for c in &b.completions {
                let ids: Vec<u32> = b.prompt.iter().chain(c.ids).copied().collect();
                let logp = self.logp(&ids, temperature)?;
                for (token, (&id, &m)) in c.ids.iter().zip(c.mask).enumerate() {
                    if m == 1 {
                        let lp = logp.get(b.prompt.len() + token - 1)?.get(id as usize)?;
                        sum = (sum + (lp * coefficient(completion, token))?)?;
                    }
                }
                completion += 1;
            }
        }
        Ok(sum)
    }
}
