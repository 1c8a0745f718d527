//! Who works on a run: claims, signs of life, and the wish to stop.
//!
//! In: a process id, a wish. Out: nothing, the wish, or who holds the run. Starting and ending processes is the supervisor's.

use std::path::Path;

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;
use whetstone_domain::RunState;

use crate::column::now_ms;
use crate::error::{Fault, StoreError};
use crate::runs::create;
use crate::{NewRun, RunId, Store, events};

/// A worker silent for so long counts as dead. It writes every 2 s; the rest is for a busy disk and a loaded machine.
pub const HEARTBEAT_STALE_MS: i64 = 30_000;

impl Store {
    /// Makes process `pid` the worker of the run: state starting, no stop wished, unless the wish was made after the run had been
    /// handed out for this worker ([`Store::take_next`]). Refused while another one is alive.
    pub async fn claim(&self, run: RunId, pid: u32) -> Result<(), StoreError> {
        const DOING: &str = "claim a run";
        let mut tx = self.begin(DOING).await?;
        let outcome = claim(&mut tx, run, i64::from(pid)).await;
        self.end(tx, DOING, outcome).await
    }

    /// A new run that process `pid` works on from the start. It is never in the queue: a server on the same data would take it from there.
    pub async fn begin_run(&self, new: &NewRun<'_>, pid: u32) -> Result<RunId, StoreError> {
        const DOING: &str = "begin a run";
        let mut tx = self.begin(DOING).await?;
        let outcome = async {
            let run = create(&mut tx, new).await?;
            claim(&mut tx, run, i64::from(pid)).await?;
            Ok(run)
        }
        .await;
        self.end(tx, DOING, outcome).await
    }

    /// A sign of life.
    pub async fn heartbeat(&self, run: RunId) -> Result<(), StoreError> {
        sqlx::query("update run set heartbeat_ms = ? where id = ?")
            .bind(now_ms())
            .bind(run.0)
            .execute(&self.writer)
            .await
            .map(|_| ())
            .map_err(|e| self.fault(e.into(), "write a heartbeat"))
    }

    /// Wishes the run to stop, and says which state that put it in: a live one becomes stopping, a queued one stopped at once,
    /// an ended one stays as it is.
    pub async fn wish_stop(&self, run: RunId) -> Result<RunState, StoreError> {
        const DOING: &str = "ask a run to stop";
        let mut tx = self.begin(DOING).await?;
        let outcome = wish_stop(&mut tx, run).await;
        self.end(tx, DOING, outcome).await
    }

    /// Does somebody wish the run to stop?
    pub async fn stop_wished(&self, run: RunId) -> Result<bool, StoreError> {
        sqlx::query_scalar("select stop_wish from run where id = ?")
            .bind(run.0)
            .fetch_one(&self.readers)
            .await
            .map_err(|e| self.fault(e.into(), "read a wish"))
    }
}

async fn claim(tx: &mut SqliteConnection, run: RunId, pid: i64) -> Result<(), Fault> {
    let row = sqlx::query("select public_id, state, pid, heartbeat_ms from run where id = ?").bind(run.0).fetch_one(&mut *tx).await?;
    let state: String = row.try_get("state")?;
    let live = RunState::from_name(&state).is_some_and(RunState::is_live);
    let holder: Option<i64> = row.try_get::<Option<i64>, _>("pid")?.filter(|p| live && *p != pid);
    let now = now_ms();
    if let (Some(holder), Some(heartbeat)) = (holder, row.try_get::<Option<i64>, _>("heartbeat_ms")?) {
        // a process that was killed is gone at once, while its last heartbeat is fresh for a while
        if now - heartbeat < HEARTBEAT_STALE_MS && !process_is_gone(holder) {
            return Err(StoreError::Claimed { run: row.try_get("public_id")?, pid: holder, age_ms: now - heartbeat }.into());
        }
    }
    let state: String = sqlx::query_scalar(
        "update run set pid = ?1, heartbeat_ms = ?2, state_message = '', \
         state = case when pid is null and state = 'stopping' then state else 'starting' end, \
         stop_wish = case when pid is null and state = 'stopping' then stop_wish else 0 end, \
         started_ms = coalesce(started_ms, ?2), ended_ms = null, progress = '', rev = rev + 1 where id = ?3 returning state",
    )
    .bind(pid)
    .bind(now)
    .bind(run.0)
    .fetch_one(&mut *tx)
    .await?;
    let state = RunState::from_name(&state).ok_or_else(|| Fault::Unreadable(format!("state = {state:?}")))?;
    push_state(tx, run, state).await
}

/// True when the system says that no such process runs any more; false where it cannot be asked.
pub fn process_is_gone(pid: i64) -> bool {
    if !Path::new("/proc/self/stat").exists() {
        return false;
    }
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        // a zombie has ended and waits for its parent; the name before the state letter may hold any character
        Ok(stat) => stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X'])),
        Err(_) => true,
    }
}

async fn wish_stop(tx: &mut SqliteConnection, run: RunId) -> Result<RunState, Fault> {
    let name: String = sqlx::query_scalar("select state from run where id = ?").bind(run.0).fetch_one(&mut *tx).await?;
    let state = RunState::from_name(&name).ok_or_else(|| Fault::Unreadable(format!("state = {name:?}")))?;
    let next = match state {
        RunState::Queued => RunState::Stopped,
        live if live.is_live() => RunState::Stopping,
        ended => return Ok(ended),
    };
    sqlx::query(
        "update run set stop_wish = 1, state = ?1, rev = rev + 1, \
         ended_ms = case when ?1 = 'stopped' then ?2 else ended_ms end where id = ?3",
    )
    .bind(next.name())
    .bind(now_ms())
    .bind(run.0)
    .execute(&mut *tx)
    .await?;
    push_state(tx, run, next).await?;
    Ok(next)
}

async fn push_state(tx: &mut SqliteConnection, run: RunId, state: RunState) -> Result<(), Fault> {
    events::push(tx, Some(run), "status", &serde_json::json!({ "state": state.name(), "message": "" })).await
}
