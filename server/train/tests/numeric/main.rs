//! The trainer's numbers against PyTorch/TRL, finite differences and plain autograd.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod bf16;
#[cfg(feature = "cuda")]
mod cuda;
mod golden;
mod gradients;
mod sampling;
mod shapes;
mod twin;
