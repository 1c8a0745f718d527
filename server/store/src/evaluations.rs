//! Evaluations: written, listed, read with every answer; and which of them a run is summed up by.
//!
//! In: an [`EvaluationRecord`] of the worker. Out: [`EvaluationRow`]s and records. Nothing is measured here.

use serde_json::json;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use whetstone_domain::stats::{McNemar, mcnemar};
use whetstone_domain::{EvaluationKind, EvaluationRecord, EvaluationSummary, Phase, Prediction};

use crate::column::{self, StoredCalls, from_json, int, real, to_json};
use crate::error::Fault;
use crate::{RunId, Store, StoreError, events};

/// An evaluation without its answers.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluationRow {
    /// Phase whose step counter `step` is.
    pub phase: Phase,
    /// Steps made in that phase before it.
    pub step: usize,
    /// Why it was made.
    pub kind: EvaluationKind,
    /// Task-set spec the problems came from.
    pub tasks: String,
    /// When it was stored, ms since 1970.
    pub at_ms: i64,
    /// Its numbers.
    pub summary: EvaluationSummary,
    /// Against the baseline; none for the baseline.
    pub versus_baseline: Option<McNemar>,
    /// Mean k3 KL per token; none where not measured.
    pub kl: Option<f64>,
    /// There is a checkpoint of the same phase and step.
    pub has_checkpoint: bool,
}

/// Every column of [`EvaluationRow`]; completed by a `where`.
macro_rules! select_evaluation {
    ($rest:literal) => {
        concat!(
            "select e.*, exists (select 1 from checkpoint c where c.run = e.run and c.phase = e.phase and c.step = e.step) as has_checkpoint ",
            "from evaluation e ",
            $rest
        )
    };
}

impl Store {
    /// The evaluations of a run in the order they were made, without answers.
    pub async fn evaluations(&self, run: RunId) -> Result<Vec<EvaluationRow>, StoreError> {
        const DOING: &str = "read evaluations";
        let rows = sqlx::query(select_evaluation!("where e.run = ? order by e.rev, e.id"))
            .bind(run.0)
            .fetch_all(&self.readers)
            .await
            .map_err(|e| self.fault(e.into(), DOING))?;
        rows.iter().map(evaluation_row).collect::<Result<_, _>>().map_err(|f| self.fault(f, DOING))
    }

    /// The evaluation at a step with every answer; the latest where several were made there.
    pub async fn evaluation(&self, run: RunId, phase: Phase, step: usize) -> Result<Option<EvaluationRecord>, StoreError> {
        const DOING: &str = "read an evaluation";
        let mut tx = self.snapshot(DOING).await?;
        let outcome = async {
            let row =
                sqlx::query(select_evaluation!("where e.run = ? and e.phase = ? and e.step = ? order by e.rev desc, e.id desc limit 1"))
                    .bind(run.0)
                    .bind(phase.name())
                    .bind(int(step))
                    .fetch_optional(&mut *tx)
                    .await?;
            let Some(row) = row else { return Ok(None) };
            let predictions = predictions(&mut tx, row.try_get("id")?).await?;
            let e = evaluation_row(&row)?;
            Ok(Some(EvaluationRecord {
                phase: e.phase,
                step: e.step,
                kind: e.kind,
                tasks: e.tasks,
                summary: e.summary,
                versus_baseline: e.versus_baseline,
                kl: e.kl,
                predictions,
            }))
        }
        .await;
        self.end(tx, DOING, outcome).await
    }

    /// How the verdicts turned between two evaluations of a run, each the latest at its phase and step: the exact McNemar test over the
    /// problems that both hold.
    pub async fn turned(&self, run: RunId, before: (Phase, usize), after: (Phase, usize)) -> Result<McNemar, StoreError> {
        let latest = "(select id from evaluation where run = ? and phase = ? and step = ? order by rev desc, id desc limit 1)";
        let sql = format!(
            "select b.correct as was, a.correct as is_now, count(*) as n from prediction b join prediction a on a.problem_key = b.problem_key \
             where b.evaluation = {latest} and a.evaluation = {latest} and a.correct <> b.correct group by 1, 2"
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for (phase, step) in [before, after] {
            query = query.bind(run.0).bind(phase.name()).bind(int(step));
        }
        const DOING: &str = "compare two evaluations";
        let rows = query.fetch_all(&self.readers).await.map_err(|e| self.fault(e.into(), DOING))?;
        let read = |row: &SqliteRow| -> Result<_, Fault> { Ok(((row.try_get("was")?, row.try_get("is_now")?), column::count(row, "n")?)) };
        let turned: Vec<((bool, bool), usize)> = rows.iter().map(read).collect::<Result<_, _>>().map_err(|f| self.fault(f, DOING))?;
        Ok(mcnemar(turned.into_iter().flat_map(|(pair, n)| std::iter::repeat_n(pair, n))))
    }

    /// The answers of the prompt alone, in the order they were given; none before there is a baseline.
    pub async fn baseline_predictions(&self, run: RunId) -> Result<Option<Vec<Prediction>>, StoreError> {
        const DOING: &str = "read the baseline";
        let mut tx = self.snapshot(DOING).await?;
        let outcome = async {
            let id: Option<i64> = sqlx::query_scalar("select baseline from run where id = ?").bind(run.0).fetch_one(&mut *tx).await?;
            match id {
                Some(id) => Ok(Some(predictions(&mut tx, id).await?)),
                None => Ok(None),
            }
        }
        .await;
        self.end(tx, DOING, outcome).await
    }
}

pub(crate) async fn write(tx: &mut SqliteConnection, run: RunId, e: &EvaluationRecord, now: i64, rev: i64) -> Result<(), Fault> {
    let (s, versus) = (&e.summary, e.versus_baseline);
    let id = sqlx::query(
        "insert into evaluation (run, phase, step, kind, tasks, at_ms, rev, correct, n, accuracy, ci_low, ci_high, json_valid, name_accuracy, \
         argument_accuracy, no_call_accuracy, false_call_rate, mean_tokens, seconds, tokens_per_second, gained, lost, p, kl_measured, kl) \
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(run.0)
    .bind(e.phase.name())
    .bind(int(e.step))
    .bind(column::kind_name(e.kind))
    .bind(&e.tasks)
    .bind(now)
    .bind(rev)
    .bind(int(s.correct))
    .bind(int(s.n))
    .bind(s.accuracy)
    .bind(s.ci_low)
    .bind(s.ci_high)
    .bind(s.json_valid)
    .bind(s.name_accuracy)
    .bind(s.argument_accuracy)
    .bind(s.no_call_accuracy)
    .bind(s.false_call_rate)
    .bind(s.mean_tokens)
    .bind(s.seconds)
    .bind(s.tokens_per_second)
    .bind(versus.map(|v| int(v.gained)))
    .bind(versus.map(|v| int(v.lost)))
    .bind(versus.map(|v| v.p))
    .bind(e.kl.is_some())
    .bind(e.kl)
    .execute(&mut *tx)
    .await?
    .last_insert_rowid();
    for (i, prediction) in e.predictions.iter().enumerate() {
        write_prediction(tx, id, i, prediction).await?;
    }
    let body = json!({ "phase": e.phase, "step": e.step, "kind": e.kind, "summary": s, "versus_baseline": versus, "kl": e.kl });
    events::push(tx, Some(run), "evaluation", &body).await
}

async fn write_prediction(tx: &mut SqliteConnection, evaluation: i64, index: usize, p: &Prediction) -> Result<(), Fault> {
    let calls = match &p.calls {
        Some(calls) => Some(to_json(&StoredCalls::of(calls)?)?),
        None => None,
    };
    sqlx::query(
        "insert into prediction (evaluation, idx, problem_key, outcome, correct, expects_no_call, name_correct, argument_score, tokens, text, calls) \
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(evaluation)
    .bind(int(index))
    .bind(&p.id)
    .bind(i64::from(p.outcome.code()))
    .bind(p.correct)
    .bind(p.expects_no_call)
    .bind(p.name_correct)
    .bind(p.argument_score)
    .bind(int(p.tokens))
    .bind(&p.text)
    .bind(calls)
    .execute(tx)
    .await?;
    Ok(())
}

/// Finds again which evaluations sum the run up: the baseline, the latest, and the best that has a checkpoint.
pub(crate) async fn refresh_summary(tx: &mut SqliteConnection, run: RunId) -> Result<(), Fault> {
    sqlx::query(
        "update run set \
         baseline = (select id from evaluation where run = ?1 and kind = 'baseline' order by rev desc, id desc limit 1), \
         last = (select id from evaluation where run = ?1 order by rev desc, id desc limit 1), \
         best = (select e.id from evaluation e join checkpoint c on c.run = e.run and c.phase = e.phase and c.step = e.step \
                 where e.run = ?1 order by e.accuracy desc, e.rev desc, e.id desc limit 1) \
         where id = ?1",
    )
    .bind(run.0)
    .execute(tx)
    .await?;
    Ok(())
}

async fn predictions(tx: &mut SqliteConnection, evaluation: i64) -> Result<Vec<Prediction>, Fault> {
    let rows = sqlx::query("select * from prediction where evaluation = ? order by idx").bind(evaluation).fetch_all(tx).await?;
    rows.iter()
        .map(|row| {
            let calls = match row.try_get::<Option<&str>, _>("calls")? {
                Some(json) => Some(from_json::<StoredCalls>(json, "calls of a prediction")?.calls()?),
                None => None,
            };
            Ok(Prediction {
                id: row.try_get("problem_key")?,
                calls,
                text: row.try_get("text")?,
                outcome: column::outcome(row, "outcome")?,
                correct: row.try_get("correct")?,
                expects_no_call: row.try_get("expects_no_call")?,
                name_correct: row.try_get("name_correct")?,
                argument_score: row.try_get("argument_score")?,
                tokens: column::count(row, "tokens")?,
            })
        })
        .collect()
}

pub(crate) fn summary(row: &SqliteRow) -> Result<EvaluationSummary, Fault> {
    Ok(EvaluationSummary {
        accuracy: real(row, "accuracy")?,
        ci_low: real(row, "ci_low")?,
        ci_high: real(row, "ci_high")?,
        correct: column::count(row, "correct")?,
        n: column::count(row, "n")?,
        json_valid: real(row, "json_valid")?,
        name_accuracy: real(row, "name_accuracy")?,
        argument_accuracy: real(row, "argument_accuracy")?,
        no_call_accuracy: real(row, "no_call_accuracy")?,
        false_call_rate: real(row, "false_call_rate")?,
        mean_tokens: real(row, "mean_tokens")?,
        seconds: real(row, "seconds")?,
        tokens_per_second: real(row, "tokens_per_second")?,
    })
}

fn evaluation_row(row: &SqliteRow) -> Result<EvaluationRow, Fault> {
    let versus_baseline = match row.try_get::<Option<i64>, _>("gained")? {
        Some(_) => Some(McNemar { gained: column::count(row, "gained")?, lost: column::count(row, "lost")?, p: real(row, "p")? }),
        None => None,
    };
    let kl = match row.try_get("kl_measured")? {
        true => Some(real(row, "kl")?),
        false => None,
    };
    Ok(EvaluationRow {
        phase: column::phase(row, "phase")?,
        step: column::count(row, "step")?,
        kind: column::kind(row, "kind")?,
        tasks: row.try_get("tasks")?,
        at_ms: row.try_get("at_ms")?,
        summary: summary(row)?,
        versus_baseline,
        kl,
        has_checkpoint: row.try_get("has_checkpoint")?,
    })
}
