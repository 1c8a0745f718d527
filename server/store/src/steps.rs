//! Steps as charts and pages read them: numbers by metric, groups with all their rollouts.
//!
//! In: a run, a phase, a step. Out: plain rows, bit for bit what the worker recorded.

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use whetstone_domain::{GroupClass, GroupRecord, Phase, Reward, Rollout};

use crate::codec::{self, RolloutDetail};
use crate::column::{self, from_json, int, real};
use crate::error::Fault;
use crate::{RunId, Store, StoreError};

/// One step, without its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepRow {
    /// Phase whose step counter `step` is.
    pub phase: Phase,
    /// Its number, from 1.
    pub step: usize,
    /// When it was stored, ms since 1970.
    pub at_ms: i64,
}

impl Store {
    /// The steps of a run in the order they were made.
    pub async fn steps(&self, run: RunId) -> Result<Vec<StepRow>, StoreError> {
        const DOING: &str = "read steps";
        let rows = sqlx::query("select phase, step, at_ms from step where run = ? order by rev")
            .bind(run.0)
            .fetch_all(&self.readers)
            .await
            .map_err(|e| self.fault(e.into(), DOING))?;
        let read = |row: &SqliteRow| -> Result<StepRow, Fault> {
            Ok(StepRow { phase: column::phase(row, "phase")?, step: column::count(row, "step")?, at_ms: row.try_get("at_ms")? })
        };
        rows.iter().map(read).collect::<Result<_, _>>().map_err(|f| self.fault(f, DOING))
    }

    /// Every metric of a phase by name, each in step order.
    pub async fn metrics(&self, run: RunId, phase: Phase) -> Result<BTreeMap<String, Vec<(usize, f64)>>, StoreError> {
        const DOING: &str = "read metrics";
        let rows = sqlx::query(
            "select k.name, m.step, m.value from metric m join metric_key k on k.id = m.key where m.run = ? and m.phase = ? \
             order by m.key, m.step",
        )
        .bind(run.0)
        .bind(phase.name())
        .fetch_all(&self.readers)
        .await
        .map_err(|e| self.fault(e.into(), DOING))?;
        let mut series: BTreeMap<String, Vec<(usize, f64)>> = BTreeMap::new();
        for row in &rows {
            let point = || -> Result<_, Fault> { Ok((row.try_get("name")?, column::count(row, "step")?, real(row, "value")?)) };
            let (name, step, value) = point().map_err(|f| self.fault(f, DOING))?;
            series.entry(name).or_default().push((step, value));
        }
        Ok(series)
    }

    /// The groups of a step with everything that was recorded of their rollouts.
    pub async fn groups(&self, run: RunId, phase: Phase, step: usize) -> Result<Vec<GroupRecord>, StoreError> {
        const DOING: &str = "read groups";
        let mut tx = self.snapshot(DOING).await?;
        let outcome = groups(&mut tx, run, phase, step).await;
        self.end(tx, DOING, outcome).await
    }
}

async fn groups(tx: &mut SqliteConnection, run: RunId, phase: Phase, step: usize) -> Result<Vec<GroupRecord>, Fault> {
    let rows = sqlx::query(
        "select g.id, g.idx, g.mean, g.std, g.class, p.body, d.packed from grp g join problem p on p.id = g.problem \
         join grp_detail d on d.grp = g.id where g.run = ? and g.phase = ? and g.step = ? order by g.idx",
    )
    .bind(run.0)
    .bind(phase.name())
    .bind(int(step))
    .fetch_all(&mut *tx)
    .await?;
    let mut groups = Vec::with_capacity(rows.len());
    for row in &rows {
        // in the order of writing, which is the order of the packed half
        let narrow =
            sqlx::query("select * from rollout where grp = ? order by id").bind(row.try_get::<i64, _>("id")?).fetch_all(&mut *tx).await?;
        groups.push(group(row, &narrow)?);
    }
    Ok(groups)
}

fn group(row: &SqliteRow, narrow: &[SqliteRow]) -> Result<GroupRecord, Fault> {
    let detail = codec::unpack(row.try_get("packed")?)?;
    if detail.rollouts.len() != narrow.len() {
        return Err(Fault::Unreadable(format!("a group of {} rollouts has details of {}", narrow.len(), detail.rollouts.len())));
    }
    let class: String = row.try_get("class")?;
    Ok(GroupRecord {
        index: column::count(row, "idx")?,
        problem: from_json(row.try_get("body")?, "a problem")?,
        prompt: detail.prompt,
        prompt_ids: detail.prompt_ids,
        mean: real(row, "mean")?,
        std: real(row, "std")?,
        class: GroupClass::from_name(&class).ok_or_else(|| Fault::Unreadable(format!("class = {class:?}")))?,
        rollouts: narrow.iter().zip(detail.rollouts).map(|(row, d)| rollout(row, d)).collect::<Result<_, _>>()?,
    })
}

fn rollout(row: &SqliteRow, detail: RolloutDetail) -> Result<Rollout, Fault> {
    Ok(Rollout {
        index: column::count(row, "idx")?,
        ids: detail.ids,
        pieces: detail.pieces,
        logprobs: detail.logprobs,
        entropies: detail.entropies,
        mask: detail.mask,
        turns: detail.turns,
        text: detail.text,
        stop: column::stop(row, "stop")?,
        parse: detail.parse,
        outcome: column::outcome(row, "outcome")?,
        reward: Reward { total: real(row, "total")?, parts: detail.parts },
        advantage: real(row, "advantage")?,
        effective: row.try_get("effective")?,
    })
}
