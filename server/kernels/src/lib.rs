//! The differentiable operations that candle lacks or does slowly.
//!
//! In: tensors and shapes. Out: tensors. Every operation has its forward and backward side by side as plain functions (no
//! autograd graph), a fast path for contiguous f32 on the CPU, and a composition of candle operations for every other
//! dtype and device, which is also its slow twin in the tests. Knows nothing of models, adapters' names or losses.
//!
//! Letters in shape comments: T rows (packed tokens), E hidden, F outputs of a linear, H heads, K kv-heads, D head dim,
//! R rank, V vocabulary.

pub mod attention;
mod awake;
pub mod bf16;
pub mod frozen;
pub mod gemm;
pub mod head;
pub mod linear;
mod math;
pub mod memory;
pub mod norm;
pub mod rope;
mod single;
mod skinny;
pub mod swiglu;
mod view;

pub use attention::{Span, attention, attention_backward};
pub use awake::awake;
pub use frozen::Frozen;
pub use head::{HeadRow, MASS_TOKENS, RowStats, head, head_backward, logits, row_stats};
pub use linear::{Lora, LoraPart, Onto, lora_linear, lora_linear_backward};
pub use norm::{head_norm, head_norm_backward, rms_norm, rms_norm_backward};
pub use rope::{RopeTable, join_rope_backward, split_rope};
pub use swiglu::{swiglu, swiglu_backward};
pub use view::put_rows;
