//! Station *event* to *row*: one event, one transaction.
//!
//! In: an [`Event`] of the worker. Out: its rows, a fresh heartbeat, a new `rev`, and entries of the event log, all or none.

use serde_json::json;
use sqlx::sqlite::SqliteConnection;
use whetstone_domain::{Event, GroupRecord, Problem, Rollout, RunState, StepRecord};

use crate::column::{int, now_ms, stop_name, to_json};
use crate::error::{Fault, StoreError};
use crate::{RunId, Store, checkpoints, codec, evaluations, events};

impl Store {
    /// Stores an event: everything it says or, with an error, nothing.
    pub async fn record(&self, run: RunId, event: &Event) -> Result<(), StoreError> {
        let doing = match event {
            Event::Step { .. } => "record a step",
            Event::State { .. } => "record a state",
            Event::Progress { .. } => "record progress",
            Event::Log { .. } => "record a log line",
        };
        let mut tx = self.begin(doing).await?;
        let outcome = write(&mut tx, run, event).await;
        self.end(tx, doing, outcome).await
    }
}

async fn write(tx: &mut SqliteConnection, run: RunId, event: &Event) -> Result<(), Fault> {
    let now = now_ms();
    let rev: Option<i64> = sqlx::query_scalar("update run set heartbeat_ms = ?, rev = rev + 1 where id = ? returning rev")
        .bind(now)
        .bind(run.0)
        .fetch_optional(&mut *tx)
        .await?;
    let rev = rev.ok_or_else(|| StoreError::NoSuchRun { wanted: format!("number {}", run.0), candidates: vec![] })?;
    match event {
        Event::Step { step, evaluation, checkpoint } => {
            if let Some(step) = step {
                write_step(tx, run, step, now, rev).await?;
            }
            if let Some(evaluation) = evaluation {
                evaluations::write(tx, run, evaluation, now, rev).await?;
            }
            if let Some(checkpoint) = checkpoint {
                checkpoints::write(tx, run, checkpoint, now, rev).await?;
            }
            if evaluation.is_some() || checkpoint.is_some() {
                evaluations::refresh_summary(tx, run).await?;
            }
            Ok(())
        }
        Event::State { state, message } => write_state(tx, run, *state, message, now).await,
        Event::Progress { message } => {
            sqlx::query("update run set progress = ? where id = ?").bind(message).bind(run.0).execute(&mut *tx).await?;
            events::push(tx, Some(run), "progress", &json!({ "message": message })).await
        }
        Event::Log { level, message } => events::push(tx, Some(run), "log", &json!({ "level": level, "message": message })).await,
    }
}

async fn write_state(tx: &mut SqliteConnection, run: RunId, state: RunState, message: &str, now: i64) -> Result<(), Fault> {
    let ended = !state.is_live() && state != RunState::Queued;
    // a worker that reports running does not unmake the wish it has not read yet
    let state: String = sqlx::query_scalar(
        "update run set state = case when ?1 = 'running' and stop_wish = 1 then 'stopping' else ?1 end, state_message = ?2, progress = '', \
         ended_ms = case when ?3 then ?4 end, pid = case when ?3 then null else pid end where id = ?5 returning state",
    )
    .bind(state.name())
    .bind(message)
    .bind(ended)
    .bind(now)
    .bind(run.0)
    .fetch_one(&mut *tx)
    .await?;
    events::push(tx, Some(run), "status", &json!({ "state": state, "message": message })).await
}

async fn write_step(tx: &mut SqliteConnection, run: RunId, step: &StepRecord, now: i64, rev: i64) -> Result<(), Fault> {
    let (phase, number) = (step.phase.name(), int(step.step));
    sqlx::query("insert into step (run, phase, step, at_ms, rev) values (?, ?, ?, ?, ?)")
        .bind(run.0)
        .bind(phase)
        .bind(number)
        .bind(now)
        .bind(rev)
        .execute(&mut *tx)
        .await?;
    for (key, value) in &step.metrics {
        sqlx::query("insert into metric_key (name) values (?) on conflict (name) do nothing").bind(key).execute(&mut *tx).await?;
        sqlx::query("insert into metric (run, phase, key, step, value) select ?, ?, id, ?, ? from metric_key where name = ?")
            .bind(run.0)
            .bind(phase)
            .bind(number)
            .bind(*value)
            .bind(key)
            .execute(&mut *tx)
            .await?;
    }
    for group in &step.groups {
        write_group(tx, run, step, group).await?;
    }
    sqlx::query("update run set phase = ?, step = ?, progress = '' where id = ?")
        .bind(phase)
        .bind(number)
        .bind(run.0)
        .execute(&mut *tx)
        .await?;
    events::push(tx, Some(run), "step", &json!({ "phase": phase, "step": number, "metrics": step.metrics })).await
}

async fn write_group(tx: &mut SqliteConnection, run: RunId, step: &StepRecord, group: &GroupRecord) -> Result<(), Fault> {
    let problem = write_problem(tx, &group.problem).await?;
    let id = sqlx::query("insert into grp (run, phase, step, idx, problem, mean, std, class) values (?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(run.0)
        .bind(step.phase.name())
        .bind(int(step.step))
        .bind(int(group.index))
        .bind(problem)
        .bind(group.mean)
        .bind(group.std)
        .bind(group.class.name())
        .execute(&mut *tx)
        .await?
        .last_insert_rowid();
    for rollout in &group.rollouts {
        write_rollout(tx, run, step, id, rollout).await?;
    }
    sqlx::query("insert into grp_detail (grp, packed) values (?, ?)").bind(id).bind(codec::pack(group)?).execute(tx).await?;
    Ok(())
}

async fn write_rollout(tx: &mut SqliteConnection, run: RunId, step: &StepRecord, group: i64, rollout: &Rollout) -> Result<(), Fault> {
    sqlx::query(
        "insert into rollout (grp, idx, run, phase, step, outcome, total, advantage, tokens, stop, effective) \
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(group)
    .bind(int(rollout.index))
    .bind(run.0)
    .bind(step.phase.name())
    .bind(int(step.step))
    .bind(i64::from(rollout.outcome.code()))
    .bind(rollout.reward.total)
    .bind(rollout.advantage)
    .bind(int(rollout.ids.len()))
    .bind(stop_name(rollout.stop))
    .bind(rollout.effective)
    .execute(tx)
    .await?;
    Ok(())
}

/// Key of the problem with exactly this content, stored now if it is new.
async fn write_problem(tx: &mut SqliteConnection, problem: &Problem) -> Result<i64, Fault> {
    let body = to_json(problem)?;
    let hash = fnv1a(body.as_bytes());
    let known: Option<i64> =
        sqlx::query_scalar("select id from problem where hash = ? and body = ?").bind(hash).bind(&body).fetch_optional(&mut *tx).await?;
    if let Some(id) = known {
        return Ok(id);
    }
    let done = sqlx::query("insert into problem (hash, key, domain, difficulty, body) values (?, ?, ?, ?, ?)")
        .bind(hash)
        .bind(&problem.id)
        .bind(&problem.domain)
        .bind(i64::from(problem.difficulty))
        .bind(&body)
        .execute(tx)
        .await?;
    Ok(done.last_insert_rowid())
}

/// FNV-1a, 64 bits: stable between versions, which the standard library's hasher is not.
fn fnv1a(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)).cast_signed()
}
