//! The log of what happened, for live pages: ordered, and written in the transaction that made it true.
//!
//! In: kind and JSON body from the module that changes something. Out: [`EventRow`]s after an id. It pushes nothing to anybody.

use serde_json::Value;
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::column::{from_json, int, now_ms};
use crate::error::Fault;
use crate::{RunId, Store, StoreError};

/// One entry of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// Rises with every event and never comes back.
    pub id: i64,
    /// Its run; none when it is about no run that still exists.
    pub run: Option<RunId>,
    /// When, ms since 1970.
    pub at_ms: i64,
    /// `created`, `step`, `evaluation`, `checkpoint`, `status`, `progress`, `log`, `rewind`, `edited` or `deleted`.
    pub kind: String,
    /// What; a number that was NaN or infinite is null here.
    pub body: Value,
}

impl Store {
    /// Events after `after` (0 = from the beginning) of one run or of all, oldest first, at most `limit`.
    pub async fn events_after(&self, run: Option<RunId>, after: i64, limit: usize) -> Result<Vec<EventRow>, StoreError> {
        const DOING: &str = "read events";
        let sql = match run {
            Some(_) => "select id, run, at_ms, kind, body from event where id > ?1 and run = ?2 order by id limit ?3",
            None => "select id, run, at_ms, kind, body from event where id > ?1 and ?2 is null order by id limit ?3",
        };
        let rows = sqlx::query(sql)
            .bind(after)
            .bind(run.map(|r| r.0))
            .bind(int(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(|e| self.fault(e.into(), DOING))?;
        rows.iter().map(event_row).collect::<Result<_, _>>().map_err(|f| self.fault(f, DOING))
    }

    /// What was said about the run: log lines, states, steps back. At most `most`, the newest first.
    pub async fn run_log(&self, run: RunId, most: usize) -> Result<Vec<EventRow>, StoreError> {
        const DOING: &str = "read the log of a run";
        let rows = sqlx::query(
            "select id, run, at_ms, kind, body from event where run = ? and kind in ('log', 'status', 'rewind') order by id desc limit ?",
        )
        .bind(run.0)
        .bind(int(most))
        .fetch_all(&self.readers)
        .await
        .map_err(|e| self.fault(e.into(), DOING))?;
        rows.iter().map(event_row).collect::<Result<_, _>>().map_err(|f| self.fault(f, DOING))
    }

    /// Id of the newest event, 0 when there is none: where a page that is rendered now goes on.
    pub async fn last_event(&self) -> Result<i64, StoreError> {
        sqlx::query_scalar("select coalesce(max(id), 0) from event")
            .fetch_one(&self.readers)
            .await
            .map_err(|e| self.fault(e.into(), "read events"))
    }

    /// Forgets all but the newest `keep` events; log lines stay as long as their run.
    pub async fn prune_events(&self, keep: usize) -> Result<(), StoreError> {
        sqlx::query("delete from event where kind <> 'log' and id <= (select max(id) from event) - ?")
            .bind(int(keep))
            .execute(&self.writer)
            .await
            .map(|_| ())
            .map_err(|e| self.fault(e.into(), "forget old events"))
    }
}

fn event_row(row: &sqlx::sqlite::SqliteRow) -> Result<EventRow, Fault> {
    Ok(EventRow {
        id: row.try_get("id")?,
        run: row.try_get::<Option<i64>, _>("run")?.map(RunId),
        at_ms: row.try_get("at_ms")?,
        kind: row.try_get("kind")?,
        body: from_json(row.try_get("body")?, "body of an event")?,
    })
}

/// Adds an event to the transaction of what it announces.
pub(crate) async fn push(tx: &mut SqliteConnection, run: Option<RunId>, kind: &str, body: &Value) -> Result<(), Fault> {
    sqlx::query("insert into event (run, at_ms, kind, body) values (?, ?, ?, ?)")
        .bind(run.map(|r| r.0))
        .bind(now_ms())
        .bind(kind)
        .bind(body.to_string())
        .execute(tx)
        .await?;
    Ok(())
}
