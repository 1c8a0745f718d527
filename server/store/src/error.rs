//! What can go wrong in the store, said so that a user knows what was wrong, where, and what to do.
//!
//! In: SQLite's and sqlx's errors. Out: [`StoreError`]. It does not log and does not retry.

use std::path::{Path, PathBuf};

/// An error of the store; its message names the place and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data directory cannot be made or used.
    #[error("cannot use {path} as data directory: {reason}; choose a writable directory with --data")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The file is there and is not an intact SQLite database.
    #[error("{path} is not a readable database ({reason}); move it away, restore a copy, or choose another directory with --data")]
    NotADatabase {
        /// The file.
        path: PathBuf,
        /// SQLite's reason.
        reason: String,
    },
    /// A later version of this program has changed the tables.
    #[error(
        "{path} was written by a newer whetstone (migration {version} is unknown here); update whetstone, or choose another directory with --data"
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The first migration that is not known here.
        version: i64,
    },
    /// A migration could not be applied.
    #[error("cannot bring the tables of {path} up to date: {reason}")]
    Migration {
        /// The file.
        path: PathBuf,
        /// sqlx's reason.
        reason: String,
    },
    /// No space left; the transaction left nothing behind.
    #[error("no space left for {path} while trying to {doing}: {reason}; what was stored before is intact, free some space and resume")]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// SQLite's reason.
        reason: String,
    },
    /// Another process held the write lock for too long.
    #[error("{path} stayed locked while trying to {doing}: {reason}; another process is writing to it, try again")]
    Busy {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// SQLite's reason.
        reason: String,
    },
    /// SQLite refused for another reason.
    #[error("cannot {doing} in {path}: {source}")]
    Database {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// sqlx's error.
        source: Box<sqlx::Error>,
    },
    /// A stored value is none that this program writes.
    #[error("{path} holds a value that whetstone does not understand: {what}; was it changed by hand, or by a newer version?")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Which value.
        what: String,
    },
    /// No run answers to this.
    #[error("there is no run {wanted:?}{}", close(.candidates, "; did you mean", "; there are no runs yet"))]
    NoSuchRun {
        /// What was asked for.
        wanted: String,
        /// Runs with a similar id or name.
        candidates: Vec<String>,
    },
    /// Several runs answer to this.
    #[error("{wanted:?} names several runs: {}; use the id of one", .candidates.join(", "))]
    AmbiguousRun {
        /// What was asked for.
        wanted: String,
        /// The runs.
        candidates: Vec<String>,
    },
    /// Another worker holds the run.
    #[error("run {run} is being worked on by process {pid} (last heard of {age_ms} ms ago); stop it first, or wait until it has ended")]
    Claimed {
        /// Public id of the run.
        run: String,
        /// The other worker.
        pid: i64,
        /// Age of its heartbeat, ms.
        age_ms: i64,
    },
    /// The run is worked on, so it may not be deleted.
    #[error("run {run} is {state}; stop it before deleting it")]
    Live {
        /// Public id of the run.
        run: String,
        /// Its state.
        state: &'static str,
    },
    /// The run cannot be queued again.
    #[error("run {run} is {state}; only a stopped, failed or interrupted run can be resumed")]
    NotResumable {
        /// Public id of the run.
        run: String,
        /// Its state.
        state: &'static str,
    },
    /// The checkpoint to go back to is not recorded.
    #[error("run {run} has no recorded checkpoint at {phase} step {step}; resume from one that it has")]
    NoSuchCheckpoint {
        /// Public id of the run.
        run: String,
        /// Phase of the checkpoint.
        phase: &'static str,
        /// Its step.
        step: usize,
    },
    /// The writer thread ended before.
    #[error("events are no longer stored: {reason}")]
    WriterStopped {
        /// Why it ended.
        reason: String,
    },
}

fn close(candidates: &[String], some: &str, none: &str) -> String {
    if candidates.is_empty() { none.into() } else { format!("{some} {}?", candidates.join(", ")) }
}

/// An error on its way out, before it is told which file it is about.
#[derive(Debug)]
pub(crate) enum Fault {
    /// From SQLite.
    Sql(sqlx::Error),
    /// A stored value that makes no sense.
    Unreadable(String),
    /// Already in its final words.
    Said(StoreError),
}

impl From<sqlx::Error> for Fault {
    fn from(e: sqlx::Error) -> Self {
        Self::Sql(e)
    }
}

impl From<StoreError> for Fault {
    fn from(e: StoreError) -> Self {
        Self::Said(e)
    }
}

impl Fault {
    /// The final error: `doing` is an infinitive, e.g. `record a step`.
    pub(crate) fn at(self, path: &Path, doing: &'static str) -> StoreError {
        let path = path.to_path_buf();
        match self {
            Self::Said(e) => e,
            Self::Unreadable(what) => StoreError::Unreadable { path, what },
            Self::Sql(e) => {
                let reason = e.to_string();
                match sqlite_code(&e) {
                    Some((SQLITE_FULL, _) | (_, SQLITE_IOERR_SHMSIZE)) => StoreError::DiskFull { path, doing, reason },
                    Some((SQLITE_BUSY | SQLITE_LOCKED, _)) => StoreError::Busy { path, doing, reason },
                    Some((SQLITE_NOTADB | SQLITE_CORRUPT, _)) => StoreError::NotADatabase { path, reason },
                    Some((SQLITE_CANTOPEN | SQLITE_READONLY | SQLITE_PERM, _)) => StoreError::Directory { path, reason },
                    _ => StoreError::Database { path, doing, source: Box::new(e) },
                }
            }
        }
    }
}

const SQLITE_PERM: i64 = 3;
const SQLITE_BUSY: i64 = 5;
const SQLITE_LOCKED: i64 = 6;
const SQLITE_READONLY: i64 = 8;
const SQLITE_CORRUPT: i64 = 11;
const SQLITE_FULL: i64 = 13;
const SQLITE_CANTOPEN: i64 = 14;
const SQLITE_NOTADB: i64 = 26;
/// The WAL's index could not grow: how a full disk shows when it is the first to need space.
const SQLITE_IOERR_SHMSIZE: i64 = 4874;

/// Primary and extended result code; sqlx reports the extended one, whose low byte is the primary.
fn sqlite_code(e: &sqlx::Error) -> Option<(i64, i64)> {
    let code: i64 = e.as_database_error()?.code()?.parse().ok()?;
    Some((code & 0xff, code))
}
