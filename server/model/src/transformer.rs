//! The Llama-family transformer: forward for everyone, backward for the trainer, block by block.
//!
//! In: packed tokens and who sees what. Out: hidden rows; gradients of the adapter. The forward of sampler and trainer is
//! one function. Families differ by flags of [`ModelConfig`], not by copies. No loss, no sampling here.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use whetstone_kernels::{
    Frozen, Lora, LoraPart, Onto, RopeTable, Span, attention, attention_backward, awake, head_norm, head_norm_backward, join_rope_backward,
    lora_linear, lora_linear_backward, put_rows, rms_norm, rms_norm_backward, split_rope, swiglu, swiglu_backward,
};

use crate::adapter::Adapter;
use crate::cache::{Cache, Move};
use crate::config::ModelConfig;
use crate::error::{ModelError, Result};
use crate::packed::Packed;
use crate::weights::{LayerWeights, Weights};

/// Frozen weights of one block; linears that read the same input are one. All but linears are of the model's dtype.
struct Block {
    input_norm: Tensor,
    qkv: Frozen, // [(H + 2K) D, E]
    qkv_bias: Option<Tensor>,
    qk_norm: Option<(Tensor, Tensor)>, // [D] each
    o: Frozen,                         // [E, H D]
    post_norm: Tensor,
    gate_up: Frozen, // [2F, E]
    down: Frozen,    // [E, F]
}

/// The adapter of one block, arranged as [`lora_linear`] wants it.
#[derive(Default)]
struct Parts {
    qkv: Lora,
    o: Lora,
    gate_up: Lora,
    down: Lora,
}

/// An adapter arranged for forward and backward passes, or no adapter; made once, good until the next update.
pub struct Adapted(Vec<Parts>);

/// What the backward of one block wants of its forward.
struct Saved {
    x: Tensor,
    qkv: Option<Tensor>, // before the norm of its heads, where there is one
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    lse: Tensor,
    middle: Tensor,
    gate_up: Tensor,
    us: [Tensor; 4], // x A^T of qkv, o, gate_up, down
}

/// What a pass keeps of one block: all of it, or what it takes to make it again.
enum Kept {
    All(Box<Saved>),
    Input(Tensor), // [T, E]
}

/// Whose keys and values a block's queries see, besides what goes through it.
enum Context<'a> {
    /// No others.
    Alone,
    /// One layer's buffers, and what of the pass goes there.
    Cache(&'a (Tensor, Tensor), &'a [Move]),
    /// Those of a pass above.
    Below(&'a (Tensor, Tensor)),
}

impl<'a> Context<'a> {
    fn of(above: Option<&'a Pass>, layer: usize) -> Self {
        above.map_or(Self::Alone, |pass| Self::Below(&pass.keys[layer]))
    }
}

/// A forward pass that can be differentiated.
pub struct Pass {
    /// Output of the last block, before the final norm. [T, E]
    pub hidden: Tensor,
    positions: Vec<u32>,
    spans: Vec<Span>,
    adapted: Arc<Adapted>,
    kept: Vec<Kept>,
    /// Keys and values by layer, of a pass that is itself below none. [T, K, D]
    pub(crate) keys: Vec<(Tensor, Tensor)>,
}

/// Gradients at keys and values, (dk, dv) by layer. [T, K, D]
pub type KeyGradients = Vec<(Tensor, Tensor)>;

/// Gradients of an adapter: (dA, dB) by layer and module, as [`Adapter::pairs`].
pub type AdapterGradients = Vec<[(Tensor, Tensor); 7]>;

/// Gradients of one block: at its input, of its adapter, and at the keys and values of the pass above.
struct BlockGradients {
    dx: Option<Tensor>, // [T, E]
    adapter: [(Tensor, Tensor); 7],
    above: Option<(Tensor, Tensor)>,
}

/// A base model's weights, ready to run.
pub struct Transformer {
    /// Shapes and flags.
    pub config: ModelConfig,
    embed: Tensor, // [V, E], on the CPU as narrow as it was
    dtype: DType,
    blocks: Vec<Block>,
    norm: Tensor,
    head: Frozen, // [V, E]
    rope: RopeTable,
    most_kept: usize,
}

impl Transformer {
    /// Arranges `weights`, on their device, for numbers of f32, or of f64 where the embedding is; `longest` bounds the position ids (prompt
    /// and completion together). Each weight is let go when it is arranged, so that the model is never there twice.
    /// With `bf16` the frozen weights are rounded to 16 bits a number ([`Frozen::bf16`]), on the CPU packed; embedding and norms are not.
    pub fn new(config: &ModelConfig, weights: Weights, longest: usize, bf16: bool) -> Result<Self> {
        let Weights { embed, layers, norm, lm_head } = weights;
        let dtype = if embed.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let own = |w: Tensor| w.to_dtype(dtype);
        let stacked = |parts: Vec<Tensor>| Tensor::cat(&parts.into_iter().map(own).collect::<candle_core::Result<Vec<_>>>()?, 0);
        let frozen = |w: &Tensor| if bf16 { Frozen::bf16(w) } else { Frozen::new(w) };
        let head = {
            let w = own(lm_head.unwrap_or_else(|| embed.clone()))?;
            // a GPU's bf16 products are rounded as well, which is too coarse for logits
            if w.device().is_cpu() { frozen(&w)? } else { Frozen::new(&w)? }
        };
        let arranged = |l: LayerWeights| {
            let qkv_bias = match (l.q_bias, l.k_bias, l.v_bias) {
                (Some(q), Some(k), Some(v)) => Some(stacked(vec![q, k, v])?),
                _ => None,
            };
            Ok(Block {
                input_norm: own(l.input_norm)?,
                qkv: frozen(&stacked(vec![l.q, l.k, l.v])?)?,
                qkv_bias,
                qk_norm: l.q_norm.zip(l.k_norm).map(|(q, k)| candle_core::Result::Ok((own(q)?, own(k)?))).transpose()?,
                o: frozen(&own(l.o)?)?,
                post_norm: own(l.post_norm)?,
                gate_up: frozen(&stacked(vec![l.gate, l.up])?)?,
                down: frozen(&own(l.down)?)?,
            })
        };
        // not every GPU looks up rows of bf16
        let embed = if embed.device().is_cpu() { embed } else { own(embed)? };
        let positions = longest.min(config.max_position_embeddings).max(1);
        Ok(Self {
            config: config.clone(),
            dtype,
            blocks: layers.into_iter().map(arranged).collect::<Result<_>>()?,
            norm: own(norm)?,
            head,
            rope: RopeTable::new(positions, config.head_dim, config.rope_theta, &config.rope_divisors),
            most_kept: usize::MAX,
            embed,
        })
    }

    /// Passes of more than `tokens`, those above included, keep only the input of each block, and their backward reads the block again:
    /// the same numbers in less memory.
    #[must_use]
    pub fn keeping(mut self, tokens: usize) -> Self {
        self.most_kept = tokens;
        self
    }

    /// Most tokens of a pass that keeps all; usize::MAX = any number.
    pub fn most_kept(&self) -> usize {
        self.most_kept
    }

    /// Bytes that a pass keeps of one token where it keeps all, in f32, with an adapter of this rank.
    pub fn kept_bytes(config: &ModelConfig, rank: usize) -> usize {
        let c = config;
        let kept = 2 * c.hidden_size + 2 * c.q_rows() + 2 * c.kv_rows() + c.num_heads + 2 * c.intermediate_size + 7 * rank;
        let before_norm = if c.qk_norm { c.q_rows() + 2 * c.kv_rows() } else { 0 };
        4 * c.num_layers * (kept + before_norm)
    }

    /// Bytes that the weights take on the CPU: both orders of each linear and of the head in 2 bytes a number or in 4, the embedding in 2.
    pub fn frozen_bytes(config: &ModelConfig, bf16: bool) -> u64 {
        let c = config;
        let [e, f, v] = [c.hidden_size, c.intermediate_size, c.vocab_size].map(|n| n as u128);
        let block = e * (2 * (c.q_rows() + c.kv_rows()) as u128 + 3 * f);
        let linears = c.num_layers as u128 * block + v * e;
        u64::try_from(2 * linears * if bf16 { 2 } else { 4 } + 2 * v * e).unwrap_or(u64::MAX)
    }

    /// Numbers are of this type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Numbers are on this device.
    pub fn device(&self) -> &Device {
        self.embed.device()
    }

    /// The head's weight [V, E].
    pub fn head(&self) -> &Frozen {
        &self.head
    }

    /// Final norm of hidden rows [T, E].
    pub fn final_norm(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(rms_norm(hidden, &self.norm, self.config.rms_norm_eps)?)
    }

    /// Gradient at hidden rows given the one after the final norm.
    pub fn final_norm_backward(&self, g: &Tensor, hidden: &Tensor) -> Result<Tensor> {
        Ok(rms_norm_backward(g, hidden, &self.norm, self.config.rms_norm_eps, &g.zeros_like()?)?)
    }

    /// Reads the packed tokens and keeps what [`Transformer::backward`] wants. `above` is the pass that read the rows above; it is below
    /// none itself.
    pub fn forward(&self, adapted: &Arc<Adapted>, packed: &Packed, above: Option<&Pass>) -> Result<Pass> {
        let spans = packed.spans();
        let mut x = self.embed_rows(&packed.ids)?;
        let (mut kept, mut keys) = (Vec::with_capacity(self.blocks.len()), Vec::new());
        for (i, (block, parts)) in self.blocks.iter().zip(&adapted.0).enumerate() {
            let (y, saved) = awake(|| self.block(block, parts, &x, &packed.positions, &spans, &Context::of(above, i)))?;
            if above.is_none() {
                keys.push((saved.k.clone(), saved.v.clone()));
            }
            let tokens = packed.above + packed.ids.len(); // what the pass above keeps lies beside it
            kept.push(if tokens > self.most_kept { Kept::Input(x) } else { Kept::All(Box::new(saved)) });
            x = y;
        }
        Ok(Pass { hidden: x, positions: packed.positions.clone(), spans, adapted: Arc::clone(adapted), kept, keys })
    }

    /// Reads the packed tokens and keeps nothing: hidden rows [T, E] before the final norm.
    pub fn hidden(&self, adapter: Option<&Adapter>, packed: &Packed) -> Result<Tensor> {
        let spans = packed.spans();
        let mut x = self.embed_rows(&packed.ids)?;
        for (block, parts) in self.blocks.iter().zip(&self.adapt(adapter)?.0) {
            x = awake(|| self.block(block, parts, &x, &packed.positions, &spans, &Context::Alone))?.0;
        }
        Ok(x)
    }

    /// Appends tokens to segments of a cache: hidden rows before the final norm of each entry's last token. [entries, E]
    pub fn extend(&self, adapted: &Adapted, cache: &mut Cache, entries: &[(usize, &[u32])]) -> Result<Tensor> {
        let plan = cache.append(entries)?;
        let mut x = self.embed_rows(&plan.ids)?;
        for ((block, parts), layer) in self.blocks.iter().zip(&adapted.0).zip(&cache.layers) {
            x = self.block(block, parts, &x, &plan.positions, &plan.spans, &Context::Cache(layer, &plan.moves))?.0;
        }
        if plan.last.len() == plan.ids.len() {
            return Ok(x);
        }
        Ok(x.index_select(&Tensor::new(plan.last, self.device())?, 0)?)
    }

    fn embed_rows(&self, ids: &[u32]) -> Result<Tensor> {
        if let Some(bad) = ids.iter().find(|&&id| id as usize >= self.config.vocab_size) {
            return Err(ModelError::Generation(format!("token id {bad} is beyond the vocabulary of {}", self.config.vocab_size)));
        }
        Ok(self.embed.index_select(&Tensor::new(ids, self.device())?, 0)?.to_dtype(self.dtype)?)
    }

    /// Arranges an adapter; none = adapter off.
    pub fn adapt(&self, adapter: Option<&Adapter>) -> Result<Adapted> {
        let Some(adapter) = adapter else { return Ok(Adapted(self.blocks.iter().map(|_| Parts::default()).collect())) };
        let (q_rows, kv_rows) = (self.config.q_rows(), self.config.kv_rows());
        let arrange = |(w, [q, k, v, o, gate, up, down]): (&Block, &[(Tensor, Tensor); 7])| -> Result<Parts> {
            let part = |(a, b): &(Tensor, Tensor), start| LoraPart { a: a.clone(), b: b.clone(), start };
            let lora = |parts, w| Lora::new(parts, adapter.scale(), w);
            Ok(Parts {
                qkv: lora(vec![part(q, 0), part(k, q_rows), part(v, q_rows + kv_rows)], &w.qkv)?,
                o: lora(vec![part(o, 0)], &w.o)?,
                gate_up: lora(vec![part(gate, 0), part(up, self.config.intermediate_size)], &w.gate_up)?,
                down: lora(vec![part(down, 0)], &w.down)?,
            })
        };
        Ok(Adapted(self.blocks.par_iter().zip(&adapter.pairs).map(arrange).collect::<Result<_>>()?))
    }

    /// y = m + mlp(norm m), m = x + attention(norm x). With a cache, k and v go there; spans speak of the rows of all keys.
    fn block(
        &self,
        w: &Block,
        parts: &Parts,
        x: &Tensor, // [T, E]
        positions: &[u32],
        spans: &[Span],
        context: &Context,
    ) -> Result<(Tensor, Saved)> {
        let (c, eps) = (&self.config, self.config.rms_norm_eps);
        let t = x.dim(0)?;
        let normed = rms_norm(x, &w.input_norm, eps)?;
        let (mut qkv, u_qkv) = lora_linear(&normed, &w.qkv, w.qkv_bias.as_ref().map_or(Onto::Zero, Onto::Bias), &parts.qkv)?;
        let mut before_norm = None;
        if let Some((q, k)) = &w.qk_norm {
            let heads = head_norm(&qkv, q, k, c.num_heads, c.num_kv_heads, eps)?;
            before_norm = Some(std::mem::replace(&mut qkv, heads));
        }
        let (q, mut k, mut v) = split_rope(&qkv, positions, &self.rope, c.num_heads, c.num_kv_heads)?;
        match context {
            Context::Alone => {}
            Context::Cache((all_k, all_v), moves) => {
                put_rows(all_k, &k, moves)?;
                put_rows(all_v, &v, moves)?;
                (k, v) = (all_k.clone(), all_v.clone());
            }
            Context::Below((above_k, above_v)) => (k, v) = (Tensor::cat(&[above_k, &k], 0)?, Tensor::cat(&[above_v, &v], 0)?),
        }
        let (o, lse) = attention(&q, &k, &v, spans)?;
        let (middle, u_o) = lora_linear(&o.reshape((t, c.q_rows()))?, &w.o, Onto::Residual(x), &parts.o)?;
        let (gate_up, u_gate_up) = lora_linear(&rms_norm(&middle, &w.post_norm, eps)?, &w.gate_up, Onto::Zero, &parts.gate_up)?;
        let (y, u_down) = lora_linear(&swiglu(&gate_up)?, &w.down, Onto::Residual(&middle), &parts.down)?;
        Ok((y, Saved { x: x.clone(), qkv: before_norm, q, k, v, o, lse, middle, gate_up, us: [u_qkv, u_o, u_gate_up, u_down] }))
    }

    /// Gradients of the adapter given the gradient at `pass.hidden`, and those at the keys and values of `above`, the pass that this
    /// one is below. `below` is what passes below this one found of its own. The frozen weights get none, nor do the embeddings.
    pub fn backward(
        &self,
        mut pass: Pass,
        d_hidden: &Tensor,
        above: Option<&Pass>,
        below: Option<&KeyGradients>,
    ) -> Result<(AdapterGradients, KeyGradients)> {
        let mut dy = d_hidden.clone();
        let (mut gradients, mut upward) = (Vec::with_capacity(self.blocks.len()), Vec::new());
        for (i, block) in self.blocks.iter().enumerate().rev() {
            let context = Context::of(above, i);
            let saved = match pass.kept.pop() {
                Some(Kept::All(saved)) => saved,
                Some(Kept::Input(x)) => {
                    Box::new(awake(|| self.block(block, &pass.adapted.0[i], &x, &pass.positions, &pass.spans, &context))?.1)
                }
                None => return Err(ModelError::Generation("the pass holds fewer blocks than the model".into())),
            };
            let below = below.map(|all| &all[i]);
            let back = || self.block_backward(block, &pass.adapted.0[i], &dy, &saved, &pass.positions, &pass.spans, below, i > 0);
            let found = awake(back)?;
            gradients.push(found.adapter);
            upward.extend(found.above);
            match found.dx {
                Some(dx) => dy = dx,
                None => break,
            }
        }
        gradients.reverse();
        upward.reverse();
        Ok((gradients, upward))
    }

    #[expect(clippy::too_many_arguments, reason = "the mirror of `block`")]
    fn block_backward(
        &self,
        w: &Block,
        parts: &Parts,
        dy: &Tensor, // [T, E]
        s: &Saved,
        positions: &[u32],
        spans: &[Span],
        below: Option<&(Tensor, Tensor)>,
        want_dx: bool,
    ) -> Result<BlockGradients> {
        let (c, eps) = (&self.config, self.config.rms_norm_eps);
        let needed = || ModelError::Generation("a needed input gradient was not computed".into());
        let t = dy.dim(0)?;
        let (da, down) = lora_linear_backward(dy, &swiglu(&s.gate_up)?, &w.down, &parts.down, &s.us[3], true)?;
        let d_gate_up = swiglu_backward(&da.ok_or_else(needed)?, &s.gate_up)?;
        let normed = rms_norm(&s.middle, &w.post_norm, eps)?;
        let (dn, gate_up) = lora_linear_backward(&d_gate_up, &normed, &w.gate_up, &parts.gate_up, &s.us[2], true)?;
        let d_middle = rms_norm_backward(&dn.ok_or_else(needed)?, &s.middle, &w.post_norm, eps, dy)?;
        let flat = s.o.reshape((t, c.q_rows()))?;
        let (d_o, o) = lora_linear_backward(&d_middle, &flat, &w.o, &parts.o, &s.us[1], true)?;
        let d_o = d_o.ok_or_else(needed)?.reshape(s.o.dims())?;
        let (dq, mut dk, mut dv) = attention_backward(&d_o, &s.q, &s.k, &s.v, &s.o, &s.lse, spans)?;
        let mut above = None;
        if let Some(n @ 1..) = dk.dim(0)?.checked_sub(t) {
            above = Some((dk.narrow(0, 0, n)?, dv.narrow(0, 0, n)?));
            (dk, dv) = (dk.narrow(0, n, t)?, dv.narrow(0, n, t)?);
        }
        if let Some((k, v)) = below {
            (dk, dv) = ((dk + k)?, (dv + v)?);
        }
        let mut d_qkv = join_rope_backward(&dq, &dk, &dv, positions, &self.rope)?;
        if let (Some(qkv), Some((q, k))) = (&s.qkv, &w.qk_norm) {
            d_qkv = head_norm_backward(&d_qkv, qkv, q, k, c.num_heads, c.num_kv_heads, eps)?;
        }
        let normed = rms_norm(&s.x, &w.input_norm, eps)?;
        let (dn, qkv) = lora_linear_backward(&d_qkv, &normed, &w.qkv, &parts.qkv, &s.us[0], want_dx)?;
        let dx = dn.map(|dn| rms_norm_backward(&dn, &s.x, &w.input_norm, eps, &d_middle)).transpose()?;
        let all: Vec<(Tensor, Tensor)> = [qkv, o, gate_up, down].into_iter().flatten().collect();
        let adapter = all.try_into().map_err(|_| ModelError::Generation("a block has other than seven adapted linears".into()))?;
        Ok(BlockGradients { dx, adapter, above })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::tiny_base;

    #[test]
    fn a_pass_counts_what_the_one_above_it_keeps() -> Result<()> {
        let base = tiny_base(0)?;
        let model = Transformer::new(&base.config, base.weights, 16, false)?.keeping(5);
        let (mut words, mut more) = (Packed::default(), Packed { above: 3, ..Packed::default() });
        words.push(None, &[1, 2, 3]);
        more.push(None, &[4, 5]);
        let adapted = Arc::new(model.adapt(None)?);
        let above = model.forward(&adapted, &words, None)?;
        let all = |pass: &Pass| pass.kept.iter().all(|kept| matches!(kept, Kept::All(_)));
        assert!(all(&above) && all(&model.forward(&adapted, &more, Some(&above))?), "five tokens in all");
        more.push(Some(0), &[6]);
        assert!(!all(&model.forward(&adapted, &more, Some(&above))?), "six");
        Ok(())
    }
}
