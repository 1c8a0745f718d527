//! Station *problem*: task sets by spec, from our own generator, JSONL files of several formats or BFCL.
//!
//! In: a spec such as `starter`, `file:PATH`, `bfcl:CATEGORY`, a mix of them ([`spec`]). Out: problems, and the rows that were refused
//! with file, line, field and reason. Reads files, downloads nothing.

pub mod bfcl;
mod file;
mod foreign;
pub mod jsonl;
pub(crate) mod lines;
mod mix;
mod openai;
pub(crate) mod row_id;
mod running;
pub mod spec;
pub mod starter;

pub use spec::Spec;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use whetstone_domain::Problem;

/// Problems of `starter` without a limit.
pub const STARTER_PROBLEMS: usize = 4096;
/// Problems of `starter:held-out` without a limit.
pub const HELD_OUT_PROBLEMS: usize = 1024;

/// Specs that [`load`] understands, for messages and help.
pub const SPECS: &str = "starter, starter:held-out, starter:wide, starter:wide-held-out, starter:tools, starter:tools-held-out, \
                         file:PATH, bfcl:CATEGORY, and mix:WEIGHT*SPEC+WEIGHT*SPEC";

/// A row that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{file}, line {line}, field {field}: {reason}")]
pub struct Refusal {
    /// The file, as it was named.
    pub file: String,
    /// 1-based line.
    pub line: usize,
    /// The field, e.g. `expected[0].arguments.unit`; `row` when the line as a whole is meant.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Refusal {
    /// Refused for the schema of a tool.
    pub fn is_of_schema(&self) -> bool {
        let of_tool = ["tools[", "functions[", "function["].iter().any(|list| self.field.starts_with(list));
        of_tool && self.field.contains(".parameters")
    }
}

/// Problems from one source.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskSet {
    /// The spec it was loaded by.
    pub spec: String,
    /// The problems, in the order of the source.
    pub problems: Vec<Problem>,
    /// Rows that were not taken.
    pub refused: Vec<Refusal>,
    /// A run is to meet easy problems first.
    pub curriculum: bool,
}

/// What [`load`] needs beside the spec.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadOptions<'a> {
    /// Seed of generated task sets.
    pub seed: u64,
    /// Take at most so many problems, from the start.
    pub limit: Option<usize>,
    /// The unpacked `bfcl-eval` wheel (the folder that holds `bfcl_eval/`).
    pub bfcl: Option<&'a Path>,
}

/// Why a task set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// Not a spec.
    #[error("{spec:?} is no task set; known are {SPECS}")]
    UnknownSpec {
        /// What was given.
        spec: String,
    },
    /// A spec with something wrong in it.
    #[error("{spec:?} is no task set: {reason}")]
    Spec {
        /// What was given.
        spec: String,
        /// What is wrong.
        reason: String,
    },
    /// A file cannot be read.
    #[error("cannot read the file {path}: {reason}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Said in the message, so it is no source: it would be printed twice.
        reason: std::io::Error,
    },
    /// A BFCL task set without the wheel.
    #[error("{spec} needs the unpacked bfcl-eval wheel; name its folder with --bfcl DIR")]
    NoBfcl {
        /// The spec.
        spec: String,
    },
    /// The wheel lacks a file.
    #[error("{spec}: {path} is missing; --bfcl must name the folder that holds bfcl_eval/", path = path.display())]
    BfclFile {
        /// The spec.
        spec: String,
        /// The file.
        path: PathBuf,
    },
    /// A category that is not supported.
    #[error("{category:?} is no supported BFCL category; supported are {}", bfcl::CATEGORIES.join(", "))]
    BfclCategory {
        /// What was given.
        category: String,
    },
    /// Rows, but no good one.
    #[error("{spec}: none of its {} rows can be used; the first: {first}", refused.len())]
    AllRefused {
        /// The spec.
        spec: String,
        /// The first refusal.
        first: Box<Refusal>,
        /// All of them.
        refused: Vec<Refusal>,
    },
    /// A limit of no problems.
    #[error("{spec}: the limit is 0; it must be at least 1")]
    NoneAsked {
        /// The spec.
        spec: String,
    },
    /// No rows at all.
    #[error("{spec} holds no problems")]
    Empty {
        /// The spec.
        spec: String,
    },
}

/// True when the spec names generated problems only: there are as many as one asks for.
pub fn is_generated(spec: &str) -> bool {
    Spec::parse(spec).is_ok_and(|s| s.is_generated())
}

/// Loads a task set. Bad rows are refused and reported, the good ones load; a set without a good row is an error.
pub fn load(spec: &str, options: &LoadOptions<'_>) -> Result<TaskSet, TaskError> {
    let parsed = Spec::parse(spec)?;
    if options.limit == Some(0) {
        return Err(TaskError::NoneAsked { spec: spec.trim().to_owned() });
    }
    let rows = mix::rows(&parsed, options)?;
    let mut set = collect(spec.trim(), rows, options.limit)?;
    set.curriculum = parsed.curriculum;
    Ok(set)
}

/// A good row, with its place in case its id is taken.
pub(crate) struct Row {
    pub file: String,
    pub line: usize,
    pub problem: Problem,
}

fn collect(spec: &str, rows: Vec<Result<Row, Refusal>>, limit: Option<usize>) -> Result<TaskSet, TaskError> {
    let spec = spec.to_owned();
    let (mut problems, mut refused, mut ids) = (Vec::new(), Vec::new(), HashSet::new());
    for row in rows {
        match row {
            Ok(Row { problem, .. }) if ids.insert(problem.id.clone()) => problems.push(problem),
            Ok(Row { file, line, problem }) => {
                let reason = format!("id {:?} is taken by an earlier row", problem.id);
                refused.push(Refusal { file, line, field: "id".into(), reason });
            }
            Err(refusal) => refused.push(refusal),
        }
    }
    if problems.is_empty()
        && let Some(first) = refused.first().cloned()
    {
        return Err(TaskError::AllRefused { spec, first: Box::new(first), refused });
    }
    problems.truncate(limit.unwrap_or(usize::MAX));
    match problems.is_empty() {
        true => Err(TaskError::Empty { spec }),
        false => Ok(TaskSet { spec, problems, refused, curriculum: false }),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
