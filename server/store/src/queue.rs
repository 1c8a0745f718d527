//! The queue: which run is worked on next, and what becomes of a run whose worker is gone.
//!
//! In: wishes of pages and observations of the supervisor. Out: states, each changed in one transaction with its event. The worker
//! itself claims (`claim`) and reports; nothing here starts or ends a process.

use serde_json::json;
use sqlx::sqlite::SqliteConnection;
use whetstone_domain::{RunConfig, RunState};

use crate::column::{self, now_ms};
use crate::error::{Fault, StoreError};
use crate::{HEARTBEAT_STALE_MS, RunId, RunRow, Store, events};

impl Store {
    /// Puts an ended run back into the queue: it goes on from its last checkpoint when its turn comes.
    /// A run that is live, waiting or finished is refused.
    pub async fn queue_again(&self, run: RunId) -> Result<(), StoreError> {
        const DOING: &str = "queue a run";
        let row = self.run_by_id(run).await?;
        let mut tx = self.begin(DOING).await?;
        let outcome = queue_again(&mut tx, &row).await;
        self.end(tx, DOING, outcome).await
    }

    /// Hands the oldest waiting run out for a worker: its state becomes starting. None while another run is live, because one
    /// worker has the device, or when none waits.
    pub async fn take_next(&self) -> Result<Option<RunRow>, StoreError> {
        const DOING: &str = "take the next run of the queue";
        let mut tx = self.begin(DOING).await?;
        let outcome = take_next(&mut tx).await;
        match self.end(tx, DOING, outcome).await? {
            Some(run) => self.run_by_id(run).await.map(Some),
            None => Ok(None),
        }
    }

    /// Ends a run that is stored as live though its worker is gone; false when it has ended meanwhile, or another worker has it.
    pub async fn give_up(&self, run: &RunRow, state: RunState, message: &str) -> Result<bool, StoreError> {
        const DOING: &str = "end a run without a worker";
        let mut tx = self.begin(DOING).await?;
        let outcome = give_up(&mut tx, run, state, message).await;
        self.end(tx, DOING, outcome).await
    }

    /// Stores what a queued run left open until it is worked on: the model meant and its weights' sha256.
    pub async fn settle(&self, run: RunId, config: &RunConfig, base_sha256: &str) -> Result<(), StoreError> {
        const DOING: &str = "settle the base of a run";
        let config_json = column::to_json(config).map_err(|f| self.fault(f, DOING))?;
        sqlx::query("update run set config = ?, model = ?, base_sha256 = ?, rev = rev + 1 where id = ?")
            .bind(config_json)
            .bind(&config.model)
            .bind(base_sha256)
            .bind(run.0)
            .execute(&self.writer)
            .await
            .map(|_| ())
            .map_err(|e| self.fault(e.into(), DOING))
    }
}

impl RunRow {
    /// True where the run is stored as live and has given no sign of life for [`HEARTBEAT_STALE_MS`].
    pub fn is_silent(&self, now_ms: i64) -> bool {
        self.state.is_live() && self.heartbeat_ms.is_none_or(|at| now_ms - at > HEARTBEAT_STALE_MS)
    }
}

async fn queue_again(tx: &mut SqliteConnection, row: &RunRow) -> Result<(), Fault> {
    let done = sqlx::query(
        "update run set state = 'queued', state_message = '', stop_wish = 0, ended_ms = null, pid = null, progress = '', rev = rev + 1 \
         where id = ? and state in ('stopped', 'failed', 'interrupted')",
    )
    .bind(row.id.0)
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::NotResumable { run: row.public_id.clone(), state: row.state.name() }.into());
    }
    told(tx, row.id, RunState::Queued, "").await
}

async fn take_next(tx: &mut SqliteConnection) -> Result<Option<RunId>, Fault> {
    let next: Option<i64> = sqlx::query_scalar(
        "update run set state = 'starting', pid = null, heartbeat_ms = ?, rev = rev + 1 where id = \
         (select id from run where state = 'queued' order by id limit 1) \
         and not exists (select 1 from run where state in ('starting', 'running', 'stopping')) returning id",
    )
    .bind(now_ms())
    .fetch_optional(&mut *tx)
    .await?;
    let Some(run) = next.map(RunId) else { return Ok(None) };
    told(tx, run, RunState::Starting, "").await?;
    Ok(Some(run))
}

async fn give_up(tx: &mut SqliteConnection, run: &RunRow, state: RunState, message: &str) -> Result<bool, Fault> {
    let done = sqlx::query(
        "update run set state = ?1, state_message = ?2, pid = null, progress = '', ended_ms = ?3, rev = rev + 1 \
         where id = ?4 and state in ('starting', 'running', 'stopping') and pid is ?5",
    )
    .bind(state.name())
    .bind(message)
    .bind(now_ms())
    .bind(run.id.0)
    .bind(run.pid)
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    told(tx, run.id, state, message).await?;
    Ok(true)
}

async fn told(tx: &mut SqliteConnection, run: RunId, state: RunState, message: &str) -> Result<(), Fault> {
    events::push(tx, Some(run), "status", &json!({ "state": state.name(), "message": message })).await
}
