//! One run as JSON.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use whetstone_store::{Accuracy, RunRow};

use crate::api::number;
use crate::problem::Problem;
use crate::{App, places, words};

/// Held-out accuracy at one point of a run.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccuracyView {
    phase: &'static str,
    step: usize,
    /// Share of problems answered right; null = not measured.
    #[schema(value_type = Option<f64>)]
    accuracy: Value,
    /// Lower end of the Wilson 95 % interval.
    #[schema(value_type = Option<f64>)]
    ci_low: Value,
    /// Upper end.
    #[schema(value_type = Option<f64>)]
    ci_high: Value,
    /// Problems asked.
    n: usize,
}

impl AccuracyView {
    fn of(a: &Accuracy) -> Self {
        let Accuracy { phase, step, accuracy, ci_low, ci_high, n } = *a;
        Self { phase: phase.name(), step, accuracy: number(accuracy), ci_low: number(ci_low), ci_high: number(ci_high), n }
    }
}

/// One run.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunView {
    /// Short and stable, `r-7k2m`.
    id: String,
    name: String,
    /// queued, starting, running, stopping, stopped, finished, failed or interrupted.
    state: &'static str,
    /// Why it is in this state.
    message: String,
    model: String,
    /// sha256 of the base weights; empty until a worker has loaded them.
    base_sha256: String,
    /// Process of its worker.
    pid: Option<i64>,
    created: String,
    started: Option<String>,
    ended: Option<String>,
    heartbeat: Option<String>,
    /// warm_start or grpo.
    phase: Option<&'static str>,
    /// Last step made in that phase.
    step: usize,
    /// Steps made in all phases together.
    steps_made: usize,
    /// Steps of all phases together; a warm start that ended early counts as it was.
    steps_planned: usize,
    /// What is being done within the step.
    progress: String,
    archived: bool,
    tags: Vec<String>,
    note: String,
    /// Of the prompt alone.
    baseline: Option<AccuracyView>,
    /// The highest that has a checkpoint.
    best: Option<AccuracyView>,
    last: Option<AccuracyView>,
    /// The effective config; a task file outside of the uploads is named without its folder.
    #[schema(value_type = Object)]
    config: Value,
}

impl RunView {
    /// A run as answers have it.
    pub(crate) fn of(app: &App, r: RunRow) -> Self {
        Self {
            config: places::config(app, &r),
            steps_made: r.steps_made(),
            steps_planned: r.steps_in_all(),
            id: r.public_id,
            name: r.name,
            state: r.state.name(),
            message: r.message,
            model: places::model(&r.model).to_owned(),
            base_sha256: r.base_sha256,
            pid: r.pid,
            created: words::moment(r.created_ms),
            started: r.started_ms.map(words::moment),
            ended: r.ended_ms.map(words::moment),
            heartbeat: r.heartbeat_ms.map(words::moment),
            phase: r.phase.map(|p| p.name()),
            step: r.step,
            progress: r.progress,
            archived: r.archived,
            tags: r.tags,
            note: r.note,
            baseline: r.baseline.as_ref().map(AccuracyView::of),
            best: r.best.as_ref().map(AccuracyView::of),
            last: r.last.as_ref().map(AccuracyView::of),
        }
    }
}

/// Show a run
#[utoipa::path(get, path = "/api/v1/runs/{run}", params(("run" = String, Path)), responses((status = 200, body = RunView), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn show(State(app): State<App>, Path(run): Path<String>) -> Result<Json<RunView>, Problem> {
    let run = app.run(&run).await?;
    Ok(Json(RunView::of(&app, run)))
}
