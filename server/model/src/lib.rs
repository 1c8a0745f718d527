//! Tokenizer, chat template, transformer, LoRA adapter, cache, sampling, generation, weights in and out.
//!
//! In: files of a base model; token ids. Out: hidden rows, completions, gradients of the adapter, adapter files. Knows
//! nothing of problems, rewards or losses.

pub mod adapter;
pub mod cache;
pub mod chat;
pub mod config;
pub mod download;
pub mod error;
pub mod fetch;
pub mod generate;
mod gguf;
mod hf;
pub mod packed;
mod python_json;
pub mod testing;
pub mod tiny;
pub mod tokenizer;
pub mod transformer;
pub mod weights;
