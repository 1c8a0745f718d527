//! Stations *event* and *row*: what the worker tells becomes rows, and rows become what pages read.
//!
//! In: [`Event`](whetstone_domain::Event)s, one transaction each, and wishes (stop, rename, delete). Out: plain rows.
//! This crate holds every query of the project. The SQLite file is the only channel between worker and server, so whatever one
//! process must know about the other is a column here. It makes no decisions about training and reads no model file.

mod blocking;
mod checkpoints;
mod claim;
mod codec;
mod column;
mod error;
mod evaluations;
mod events;
mod find;
mod launch;
mod open;
mod pace;
mod queue;
mod record;
mod resume;
mod rollout_filter;
mod rollouts;
mod run_row;
mod runs;
mod steps;
mod writer;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where something is missing")]
mod tests;

pub use blocking::BlockingStore;
pub use checkpoints::{AdapterRow, BestCheckpoint};
pub use claim::{HEARTBEAT_STALE_MS, process_is_gone};
pub use error::StoreError;
pub use evaluations::EvaluationRow;
pub use events::EventRow;
pub use launch::{LaunchKey, Launched};
pub use open::{FILE_NAME, Store};
pub use resume::ResumePoint;
pub use rollout_filter::{RolloutFilter, RolloutSort};
pub use rollouts::{RolloutPage, RolloutPlace, RolloutRow};
pub use run_row::{Accuracy, RunRow};
pub use runs::{NewRun, RunFilter, RunId};
pub use steps::StepRow;
pub use writer::EventWriter;
