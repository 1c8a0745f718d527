//! What can end a run, in words for its owner.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, TrainError>;

/// Why training or evaluation cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A config value does not fit the task or the model.
    #[error(transparent)]
    Config(#[from] whetstone_domain::ConfigError),
    /// The model failed.
    #[error(transparent)]
    Model(#[from] whetstone_model::error::ModelError),
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
    /// Every problem of a set holds control tokens of the base.
    #[error("{spec}: none of its {of} problems can be asked; the first: {first}")]
    Unfit {
        /// The set.
        spec: String,
        /// Problems in it.
        of: usize,
        /// What is wrong with the first.
        first: String,
    },
    /// No problem is left to learn from or to measure on.
    #[error(
        "{spec}: no problem fits: {dropped} of {of} have prompts longer than max_prompt_tokens = {limit}; raise it or bring shorter problems"
    )]
    NoProblems {
        /// The task set.
        spec: String,
        /// Problems dropped for their length.
        dropped: usize,
        /// Problems it had.
        of: usize,
        /// The limit, tokens.
        limit: usize,
    },
    /// Prompt and completion do not fit the model.
    #[error("max_prompt_tokens + max_completion_length = {asked} tokens, but the model has only {limit} positions; lower one of them")]
    TooLong {
        /// Tokens asked for.
        asked: usize,
        /// Positions of the model.
        limit: usize,
    },
    /// The frozen weights alone are more than the machine's memory.
    #[error(
        "{}: its weights take {:.1} GB in {compute}, and this machine, or the container, has {:.1} GB of memory; take a smaller base",
        path.display(), *needed as f64 / 1e9, *total as f64 / 1e9
    )]
    Memory {
        /// The base.
        path: PathBuf,
        /// What the weights are held in.
        compute: &'static str,
        /// Bytes of the weights as they are arranged.
        needed: u64,
        /// Bytes that there are.
        total: u64,
    },
    /// A checkpoint could not be written or read.
    #[error("checkpoint {}: {reason}", path.display())]
    Checkpoint {
        /// Its folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A loss or gradient stopped being a number.
    #[error("step {step}: {what} is not a finite number; lower learning_rate (now {learning_rate}) and resume from the last checkpoint")]
    NotFinite {
        /// The step.
        step: usize,
        /// Loss or gradient norm.
        what: &'static str,
        /// The learning rate in force.
        learning_rate: f64,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] whetstone_store::StoreError),
    /// The program that gives the reward does not.
    #[error("the reward program {program:?} {reason}")]
    Reward {
        /// Its command line.
        program: String,
        /// Why, a predicate.
        reason: String,
    },
    /// A task set cannot be used.
    #[error(transparent)]
    Tasks(#[from] whetstone_tooluse::tasks::TaskError),
    /// A conversation cannot be learned from.
    #[error("problem {problem}: its expected call of {call} fails: {reason}")]
    ExpectedCall {
        /// Its id.
        problem: String,
        /// The tool.
        call: String,
        /// What the tool says.
        reason: String,
    },
    /// An expected answer cannot be learned from.
    #[error(
        "problem {problem}: its expected answer has {answer} tokens, which with the {prompt} of its prompt is more than the {limit} that fit; raise max_completion_length or shorten the answer"
    )]
    LongAnswer {
        /// Its id.
        problem: String,
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens of the answer.
        answer: usize,
        /// Tokens that are read at most.
        limit: usize,
    },
    /// Another process works on the run.
    #[error("run {run} is being worked on by another process, which holds {}; stop it first, or wait until it has ended", lock.display())]
    Locked {
        /// Public id of the run.
        run: String,
        /// The lock file.
        lock: PathBuf,
    },
    /// A file of a run cannot be read or written.
    #[error("{}: cannot {doing}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// An infinitive.
        doing: &'static str,
        /// The system's reason.
        reason: String,
    },
    /// A stored run cannot go on as it is.
    #[error("run {run}: {reason}")]
    Run {
        /// Public id of the run.
        run: String,
        /// Why, and what to do.
        reason: String,
    },
    /// No CUDA device answers in a build for one.
    #[error(
        "this build computes on a CUDA device, and the first does not answer: {0}; free it or make it visible (CUDA_VISIBLE_DEVICES), or use a build without --features cuda"
    )]
    Device(String),
    /// Compute threads could not be started.
    #[error("cannot start {threads} compute threads: {reason}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// Why.
        reason: String,
    },
}
