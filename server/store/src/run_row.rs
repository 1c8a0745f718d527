//! A run as pages and worker see it.
//!
//! In: a row of `run` joined with the evaluations that sum it up. Out: a [`RunRow`]. The queries are in `runs`.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use whetstone_domain::config::Compute;
use whetstone_domain::{Phase, RunConfig, RunState};

use crate::RunId;
use crate::column;
use crate::error::Fault;

/// Held-out accuracy at one point of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accuracy {
    /// Phase of the evaluation.
    pub phase: Phase,
    /// Its step.
    pub step: usize,
    /// Share of problems answered right.
    pub accuracy: f64,
    /// Lower end of its 95 % interval.
    pub ci_low: f64,
    /// Upper end.
    pub ci_high: f64,
    /// Problems asked.
    pub n: usize,
}

/// A run as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// Key for further questions.
    pub id: RunId,
    /// Short stable id for people and URLs, e.g. `r-7k2m`.
    pub public_id: String,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: RunState,
    /// Why it is in this state, in words; an error's text when failed.
    pub message: String,
    /// The effective config as JSON; see [`RunRow::config`].
    pub config_json: String,
    /// Name or place of the base model.
    pub model: String,
    /// sha256 of the base weights.
    pub base_sha256: String,
    /// Version of the program that made it.
    pub code_version: String,
    /// Process id of its worker, while there should be one.
    pub pid: Option<i64>,
    /// Last sign of life, ms since 1970.
    pub heartbeat_ms: Option<i64>,
    /// Somebody wishes it to stop.
    pub stop_wished: bool,
    /// Made at, ms since 1970.
    pub created_ms: i64,
    /// First claimed by a worker at.
    pub started_ms: Option<i64>,
    /// Ended at.
    pub ended_ms: Option<i64>,
    /// Phase of the last step.
    pub phase: Option<Phase>,
    /// Last step made in that phase.
    pub step: usize,
    /// Steps planned in all phases together.
    pub steps_planned: usize,
    /// Warm-start steps that were really made: it may end before its last planned one.
    pub warm_made: usize,
    /// What is being done within the step; empty when nothing was said since.
    pub progress: String,
    /// Put away.
    pub archived: bool,
    /// Labels.
    pub tags: Vec<String>,
    /// A user's note.
    pub note: String,
    /// Transactions so far: changes whenever anything of the run does, except its heartbeat.
    pub rev: i64,
    /// Accuracy of the prompt alone.
    pub baseline: Option<Accuracy>,
    /// Highest accuracy that has a checkpoint.
    pub best: Option<Accuracy>,
    /// Latest accuracy.
    pub last: Option<Accuracy>,
}

impl RunRow {
    /// The effective config.
    pub fn config(&self) -> Result<RunConfig, serde_json::Error> {
        let stored: serde_json::Value = serde_json::from_str(&self.config_json)?;
        let older = stored.get("compute").is_none();
        let config: RunConfig = serde_json::from_value(stored)?;
        // a run that was begun before there was a choice goes on in the numbers it was begun in
        Ok(if older { RunConfig { compute: Compute::F32, ..config } } else { config })
    }
}

impl RunRow {
    /// Steps made in all phases together.
    pub fn steps_made(&self) -> usize {
        match self.phase {
            Some(Phase::Grpo) => self.warm_made + self.step,
            Some(Phase::WarmStart) => self.step,
            None => 0,
        }
    }

    /// Steps that all phases together will have had: a warm start that ended early takes its rest with it.
    pub fn steps_in_all(&self) -> usize {
        match (self.phase, self.config()) {
            (Some(Phase::Grpo), Ok(config)) => self.warm_made + config.steps,
            _ => self.steps_planned,
        }
    }
}

/// The run in a row of `select_run`.
pub(crate) fn run_row(row: &SqliteRow) -> Result<RunRow, Fault> {
    let state: String = row.try_get("state")?;
    Ok(RunRow {
        id: RunId(row.try_get("id")?),
        public_id: row.try_get("public_id")?,
        name: row.try_get("name")?,
        state: RunState::from_name(&state).ok_or_else(|| Fault::Unreadable(format!("state = {state:?}")))?,
        message: row.try_get("state_message")?,
        config_json: row.try_get("config")?,
        model: row.try_get("model")?,
        base_sha256: row.try_get("base_sha256")?,
        code_version: row.try_get("code_version")?,
        pid: row.try_get("pid")?,
        heartbeat_ms: row.try_get("heartbeat_ms")?,
        stop_wished: row.try_get("stop_wish")?,
        created_ms: row.try_get("created_ms")?,
        started_ms: row.try_get("started_ms")?,
        ended_ms: row.try_get("ended_ms")?,
        phase: match row.try_get::<Option<String>, _>("phase")? {
            Some(_) => Some(column::phase(row, "phase")?),
            None => None,
        },
        step: column::count(row, "step")?,
        steps_planned: column::count(row, "steps_planned")?,
        warm_made: column::count(row, "warm_made")?,
        progress: row.try_get("progress")?,
        archived: row.try_get("archived")?,
        tags: column::from_json(row.try_get("tags")?, "tags")?,
        note: row.try_get("note")?,
        rev: row.try_get("rev")?,
        baseline: accuracy(row, ["b_phase", "b_step", "b_accuracy", "b_ci_low", "b_ci_high", "b_n"])?,
        best: accuracy(row, ["t_phase", "t_step", "t_accuracy", "t_ci_low", "t_ci_high", "t_n"])?,
        last: accuracy(row, ["l_phase", "l_step", "l_accuracy", "l_ci_low", "l_ci_high", "l_n"])?,
    })
}

fn accuracy(row: &SqliteRow, columns: [&str; 6]) -> Result<Option<Accuracy>, Fault> {
    let [phase, step, accuracy, ci_low, ci_high, n] = columns;
    if row.try_get::<Option<String>, _>(phase)?.is_none() {
        return Ok(None);
    }
    Ok(Some(Accuracy {
        phase: column::phase(row, phase)?,
        step: column::count(row, step)?,
        accuracy: column::real(row, accuracy)?,
        ci_low: column::real(row, ci_low)?,
        ci_high: column::real(row, ci_high)?,
        n: column::count(row, n)?,
    }))
}
