//! Where an ended run goes on, and the way back to there.
//!
//! In: a run. Out: its last recorded checkpoint, and a run whose rows end exactly there. Order is the order of transactions (`rev`):
//! what was written in the checkpoint's transaction or before it stays, whatever its step says; what came after goes.

use serde_json::json;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use whetstone_domain::CheckpointRecord;

use crate::checkpoints::checkpoint_row;
use crate::column::int;
use crate::error::{Fault, StoreError};
use crate::{RunId, Store, evaluations, events, runs};

/// Where a run goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumePoint {
    /// The last recorded checkpoint.
    pub checkpoint: CheckpointRecord,
    /// The evaluation of its phase and step was stored with or before it, so a rewind keeps it; false = it must be made (again)
    /// if one is due there.
    pub evaluated: bool,
}

impl Store {
    /// Where the run goes on; none = at its very beginning.
    pub async fn resume_point(&self, run: RunId) -> Result<Option<ResumePoint>, StoreError> {
        const DOING: &str = "find where to resume";
        let row = sqlx::query(
            "select c.*, exists (select 1 from evaluation e where e.run = c.run and e.phase = c.phase and e.step = c.step and e.rev <= c.rev) \
             as evaluated from checkpoint c where c.run = ? order by c.rev desc limit 1",
        )
        .bind(run.0)
        .fetch_optional(&self.readers)
        .await
        .map_err(|e| self.fault(e.into(), DOING))?;
        let read = |row: &SqliteRow| -> Result<ResumePoint, Fault> {
            Ok(ResumePoint { checkpoint: checkpoint_row(row)?, evaluated: row.try_get("evaluated")? })
        };
        row.as_ref().map(read).transpose().map_err(|f| self.fault(f, DOING))
    }

    /// Deletes, in one transaction, every row of the run that was written after `checkpoint`; with none, all of them.
    pub async fn rewind(&self, run: RunId, checkpoint: Option<&CheckpointRecord>) -> Result<(), StoreError> {
        const DOING: &str = "go back to a checkpoint";
        let mut tx = self.begin(DOING).await?;
        let outcome = rewind(&mut tx, run, checkpoint).await;
        self.end(tx, DOING, outcome).await
    }
}

async fn rewind(tx: &mut SqliteConnection, run: RunId, checkpoint: Option<&CheckpointRecord>) -> Result<(), Fault> {
    let keep: i64 = match checkpoint {
        None => 0,
        Some(c) => {
            let rev: Option<i64> = sqlx::query_scalar("select rev from checkpoint where run = ? and phase = ? and step = ?")
                .bind(run.0)
                .bind(c.phase.name())
                .bind(int(c.step))
                .fetch_optional(&mut *tx)
                .await?;
            match rev {
                Some(rev) => rev,
                None => {
                    let public: String =
                        sqlx::query_scalar("select public_id from run where id = ?").bind(run.0).fetch_one(&mut *tx).await?;
                    return Err(StoreError::NoSuchCheckpoint { run: public, phase: c.phase.name(), step: c.step }.into());
                }
            }
        }
    };
    // metrics have no rev of their own; groups, rollouts and predictions go with what they belong to
    for sql in [
        "delete from metric where run = ?1 and (phase, step) in (select phase, step from step where run = ?1 and rev > ?2)",
        "delete from step where run = ?1 and rev > ?2",
        "delete from evaluation where run = ?1 and rev > ?2",
        "delete from checkpoint where run = ?1 and rev > ?2",
    ] {
        sqlx::query(sql).bind(run.0).bind(keep).execute(&mut *tx).await?;
    }
    sqlx::query(
        "update run set rev = rev + 1, progress = '', \
         phase = (select phase from step where run = ?1 order by rev desc limit 1), \
         step = coalesce((select step from step where run = ?1 order by rev desc limit 1), 0) where id = ?1",
    )
    .bind(run.0)
    .execute(&mut *tx)
    .await?;
    runs::forget_unused_problems(tx).await?;
    evaluations::refresh_summary(tx, run).await?;
    let to = checkpoint.map(|c| json!({ "phase": c.phase, "step": c.step }));
    events::push(tx, Some(run), "rewind", &json!({ "to": to })).await
}
