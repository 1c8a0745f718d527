//! The newest numbers of runs, without reading their history: for lists, and for how long a run will still take.
//!
//! In: runs. Out: metrics of the last GRPO step by run, and the pace of a run's latest steps.

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use whetstone_domain::Phase;

use crate::column::real;
use crate::error::Fault;
use crate::{RunId, Store, StoreError};

/// Steps that a pace is taken from.
const LATEST: i64 = 20;

impl Store {
    /// The metrics `names` of each run's last GRPO step; a run without one is missing.
    pub async fn last_metrics(&self, runs: &[RunId], names: &[&str]) -> Result<BTreeMap<RunId, BTreeMap<String, f64>>, StoreError> {
        const DOING: &str = "read the last metrics of runs";
        let ids = serde_json::json!(runs.iter().map(|r| r.0).collect::<Vec<_>>()).to_string();
        let rows = sqlx::query(
            "select m.run, k.name, m.value from json_each(?) i join run r on r.id = i.value \
             join json_each(?) n join metric_key k on k.name = n.value \
             join metric m on m.run = r.id and m.phase = 'grpo' and m.key = k.id and m.step = r.step where r.phase = 'grpo'",
        )
        .bind(ids)
        .bind(serde_json::json!(names).to_string())
        .fetch_all(&self.readers)
        .await
        .map_err(|e| self.fault(e.into(), DOING))?;
        let mut found: BTreeMap<RunId, BTreeMap<String, f64>> = BTreeMap::new();
        for row in &rows {
            let read =
                |row: &SqliteRow| -> Result<_, Fault> { Ok((RunId(row.try_get("run")?), row.try_get("name")?, real(row, "value")?)) };
            let (run, name, value) = read(row).map_err(|f| self.fault(f, DOING))?;
            found.entry(run).or_default().insert(name, value);
        }
        Ok(found)
    }

    /// Seconds between the latest steps of a phase, the middle one of up to 20: a pause between two steps, or an evaluation, does not
    /// count. None before there are three steps.
    pub async fn pace(&self, run: RunId, phase: Phase) -> Result<Option<f64>, StoreError> {
        let times: Vec<i64> = sqlx::query_scalar("select at_ms from step where run = ? and phase = ? order by step desc limit ?")
            .bind(run.0)
            .bind(phase.name())
            .bind(LATEST + 1)
            .fetch_all(&self.readers)
            .await
            .map_err(|e| self.fault(e.into(), "read the pace of a run"))?;
        let mut gaps: Vec<i64> = times.windows(2).map(|w| (w[0] - w[1]).max(0)).collect();
        gaps.sort_unstable();
        Ok(gaps.get(gaps.len() / 2).filter(|_| gaps.len() > 1).map(|ms| *ms as f64 / 1000.0))
    }

    /// Seconds that all steps of the run took together, without evaluations and pauses: what `max_minutes` counts.
    pub async fn step_seconds(&self, run: RunId) -> Result<f64, StoreError> {
        let sql =
            "select coalesce(sum(m.value), 0.0) from metric m join metric_key k on k.id = m.key where m.run = ? and k.name = 'step_time'";
        sqlx::query_scalar(sql).bind(run.0).fetch_one(&self.readers).await.map_err(|e| self.fault(e.into(), "sum the times of steps"))
    }
}
