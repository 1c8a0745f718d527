//! Checkpoints: which there are, and which is the best.
//!
//! In: a [`CheckpointRecord`] whose files are synced. Out: records. It never touches the files.

use serde_json::json;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use whetstone_domain::{CheckpointRecord, EvaluationSummary, Phase};

use crate::column::{self, int};
use crate::error::Fault;
use crate::{RunId, Store, StoreError, evaluations, events};

/// The checkpoint to hand out, with the measurement that chose it.
#[derive(Debug, Clone, PartialEq)]
pub struct BestCheckpoint {
    /// The checkpoint.
    pub checkpoint: CheckpointRecord,
    /// The evaluation at its phase and step.
    pub summary: EvaluationSummary,
}

/// A checkpoint of any run, with what a reader chooses by.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterRow {
    /// The checkpoint.
    pub checkpoint: CheckpointRecord,
    /// When it was stored, ms since 1970.
    pub at_ms: i64,
    /// Public id of its run.
    pub run: String,
    /// Name of its run.
    pub name: String,
    /// Base model of its run.
    pub model: String,
    /// sha256 of the base weights.
    pub base_sha256: String,
    /// The evaluation at its phase and step; none where none was made there.
    pub summary: Option<EvaluationSummary>,
    /// It is the one of its run with the highest held-out accuracy.
    pub best: bool,
}

impl Store {
    /// Checkpoints of all runs that are not archived, or of one run, the newest first: at most `limit` after the one of `after`
    /// (run, phase, step); none when that one is not there. `best` keeps those with the highest accuracy of their run.
    pub async fn adapters(
        &self,
        run: Option<RunId>,
        best: bool,
        after: Option<(RunId, Phase, usize)>,
        limit: usize,
    ) -> Result<Option<Vec<AdapterRow>>, StoreError> {
        const DOING: &str = "list adapters";
        let begin: Option<(i64, i64, String, i64)> = match after {
            None => None,
            Some((run, phase, step)) => {
                let found = sqlx::query_as("select at_ms, run, phase, step from checkpoint where run = ? and phase = ? and step = ?")
                    .bind(run.0)
                    .bind(phase.name())
                    .bind(int(step))
                    .fetch_optional(&self.readers)
                    .await
                    .map_err(|e| self.fault(e.into(), DOING))?;
                let Some(found) = found else { return Ok(None) };
                Some(found)
            }
        };
        let (at, of, phase, step) = begin.unwrap_or((i64::MAX, 0, String::new(), 0));
        // the latest evaluation of a checkpoint, where several were made at its step
        let rows = sqlx::query(
            "select c.*, c.at_ms as c_at, r.public_id, r.name, r.model, r.base_sha256, e.id as e_id, e.correct, e.n, e.accuracy, e.ci_low, e.ci_high, \
             e.json_valid, e.name_accuracy, e.argument_accuracy, e.no_call_accuracy, e.false_call_rate, e.mean_tokens, e.seconds, \
             e.tokens_per_second, coalesce(b.phase = c.phase and b.step = c.step, 0) as is_best \
             from checkpoint c join run r on r.id = c.run left join evaluation b on b.id = r.best \
             left join evaluation e on e.id = (select id from evaluation x where x.run = c.run and x.phase = c.phase and x.step = c.step \
               order by x.rev desc, x.id desc limit 1) \
             where (?1 is null or c.run = ?1) and (?1 is not null or r.archived = 0) and (c.at_ms, c.run, c.phase, c.step) < (?2, ?3, ?4, ?5) \
             and (?6 = 0 or (b.phase = c.phase and b.step = c.step)) \
             order by c.at_ms desc, c.run desc, c.phase desc, c.step desc limit ?7",
        )
        .bind(run.map(|r| r.0))
        .bind(at)
        .bind(of)
        .bind(phase)
        .bind(step)
        .bind(best)
        .bind(int(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(|e| self.fault(e.into(), DOING))?;
        rows.iter().map(adapter_row).collect::<Result<_, _>>().map(Some).map_err(|f| self.fault(f, DOING))
    }

    /// The checkpoints of a run in the order they were recorded.
    pub async fn checkpoints(&self, run: RunId) -> Result<Vec<CheckpointRecord>, StoreError> {
        const DOING: &str = "read checkpoints";
        let rows = sqlx::query("select * from checkpoint where run = ? order by rev")
            .bind(run.0)
            .fetch_all(&self.readers)
            .await
            .map_err(|e| self.fault(e.into(), DOING))?;
        rows.iter().map(checkpoint_row).collect::<Result<_, _>>().map_err(|f| self.fault(f, DOING))
    }

    /// The checkpoint with the highest held-out accuracy among those that were evaluated; of equals the later.
    pub async fn best_checkpoint(&self, run: RunId) -> Result<Option<BestCheckpoint>, StoreError> {
        const DOING: &str = "find the best checkpoint";
        let row = sqlx::query(
            "select e.*, c.folder, c.bytes, c.adapter_sha256, c.state from run r join evaluation e on e.id = r.best \
             join checkpoint c on c.run = e.run and c.phase = e.phase and c.step = e.step where r.id = ?",
        )
        .bind(run.0)
        .fetch_optional(&self.readers)
        .await
        .map_err(|e| self.fault(e.into(), DOING))?;
        let read = |row: &SqliteRow| -> Result<BestCheckpoint, Fault> {
            Ok(BestCheckpoint { checkpoint: checkpoint_row(row)?, summary: evaluations::summary(row)? })
        };
        row.as_ref().map(read).transpose().map_err(|f| self.fault(f, DOING))
    }
}

pub(crate) async fn write(tx: &mut SqliteConnection, run: RunId, c: &CheckpointRecord, now: i64, rev: i64) -> Result<(), Fault> {
    sqlx::query(
        "insert into checkpoint (run, phase, step, folder, bytes, adapter_sha256, state, at_ms, rev) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(run.0)
    .bind(c.phase.name())
    .bind(int(c.step))
    .bind(&c.folder)
    .bind(i64::try_from(c.bytes).unwrap_or(i64::MAX))
    .bind(&c.adapter_sha256)
    .bind(&c.state)
    .bind(now)
    .bind(rev)
    .execute(&mut *tx)
    .await?;
    let body = json!({ "phase": c.phase, "step": c.step, "bytes": c.bytes, "adapter_sha256": c.adapter_sha256 });
    events::push(tx, Some(run), "checkpoint", &body).await
}

fn adapter_row(row: &SqliteRow) -> Result<AdapterRow, Fault> {
    Ok(AdapterRow {
        checkpoint: checkpoint_row(row)?,
        at_ms: row.try_get("c_at")?,
        run: row.try_get("public_id")?,
        name: row.try_get("name")?,
        model: row.try_get("model")?,
        base_sha256: row.try_get("base_sha256")?,
        summary: match row.try_get::<Option<i64>, _>("e_id")? {
            Some(_) => Some(evaluations::summary(row)?),
            None => None,
        },
        best: row.try_get("is_best")?,
    })
}

pub(crate) fn checkpoint_row(row: &SqliteRow) -> Result<CheckpointRecord, Fault> {
    let bytes: i64 = row.try_get("bytes")?;
    Ok(CheckpointRecord {
        phase: column::phase(row, "phase")?,
        step: column::count(row, "step")?,
        folder: row.try_get("folder")?,
        bytes: bytes.unsigned_abs(),
        adapter_sha256: row.try_get("adapter_sha256")?,
        state: row.try_get("state")?,
    })
}
