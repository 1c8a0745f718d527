//! Checkpoints: which there are, and which is the best.
//!
//! In: a [`CheckpointRecord`] whose files are synced. Out: records. It never touches the files.

use serde_json::json;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use whetstone_domain::{CheckpointRecord, EvaluationSummary};

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

impl Store {
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
