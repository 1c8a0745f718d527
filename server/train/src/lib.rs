//! GRPO on tool-calling problems: rollout, advantage, loss, update, evaluation, checkpoint, and the loop that joins them.
//!
//! In: a config, a base model and task sets. Out: events for the store and checkpoints on disk. The loop reads aloud in
//! [`trainer`]. Synchronous: one thread owns model and adapter.

pub mod advantage;
pub mod batch;
pub mod bench;
pub mod checkpoint;
pub mod converse;
pub mod error;
pub mod evaluate;
pub mod export;
pub mod loss;
pub mod metrics;
pub mod optimizer;
pub mod policy;
pub mod pool;
pub mod prepare;
pub mod program;
pub mod rng;
pub mod rollout;
pub mod scorer;
pub mod step;
pub mod trainer;
pub mod update;
pub mod warm_start;
pub mod worker;

pub use error::{Result, TrainError};
pub use evaluate::evaluate;
pub use policy::Policy;
pub use pool::Pool;
pub use scorer::Scorer;
pub use trainer::{Ending, Job, train};
pub use whetstone_tools::limited;
