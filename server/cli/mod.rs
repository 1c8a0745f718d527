//! The commands, one module each, and what they share.
//!
//! In: parsed arguments, the data directory, a [`Ui`]. Out: an exit code. What a command does is done by the crates below;
//! here arguments become calls and results become lines.

pub mod audit;
pub mod bench;
pub mod bfcl;
pub mod demo;
pub mod eval;
pub mod export;
pub mod lines;
pub mod model;
pub mod runs;
pub mod score;
pub mod serve;
pub mod signals;
pub mod source;
pub mod summary;
pub mod tasks;
pub mod train;
mod ui;
pub mod unpack;
pub mod worker;

pub use ui::Ui;

/// A compute mode as typed.
fn compute(text: &str) -> Result<whetstone_domain::config::Compute, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|_| "is none of auto, f32, bf16".to_owned())
}
