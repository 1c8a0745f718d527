//! Plain data that travels the whole line, from problem to page.
//!
//! In: nothing. Out: the structs every other crate speaks in. No async, no tensors, no SQL, no I/O:
//! a type belongs here when at least two crates hand it to each other.

pub mod config;
pub mod environment;
pub mod evaluation;
pub mod event;
pub mod outcome;
pub mod problem;
pub mod reward;
pub mod reward_choice;
pub mod rollout;
pub mod run;
pub mod stats;

pub use config::{ConfigError, RunConfig};
pub use environment::{ClockOperation, Environment, Exchange, ExpectedAnswer, Runnable, ToolFailure, ToolResult};
pub use evaluation::{EvaluationKind, EvaluationRecord, EvaluationSummary, Prediction};
pub use event::{CheckpointRecord, Event, GroupClass, GroupRecord, StepRecord};
pub use outcome::Outcome;
pub use problem::{Accepted, Expected, ExpectedCall, Matcher, Message, Problem, Role, Tool, ToolCall};
pub use reward::{Reward, RewardPart};
pub use rollout::{ParseFailure, ParseReport, Rollout, StopReason, Turn};
pub use run::{Phase, RunState};
