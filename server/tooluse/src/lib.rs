//! Everything that is known about tool calls: task sets, chat formats, schema checks, matching, outcomes and rewards.
//!
//! Stations *problem*, *prompt* (its words), *tool call* and *reward*. In: task files, seeds, and what a model wrote.
//! Out: the plain structs of `whetstone-domain`. Pure and deterministic: no tensors, no tokens, no I/O but reading task files.

pub mod audit;
pub mod conversation;
pub mod format;
pub mod matching;
pub mod offer;
pub mod outcome;
pub mod predict;
pub mod predictions;
pub mod reward;
pub mod schema;
pub mod tasks;

pub use predict::predict;
pub use reward::Rewarder;
pub use tasks::TaskSet;
