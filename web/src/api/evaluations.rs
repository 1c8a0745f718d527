//! Evaluations: what was measured on held-out problems, and every answer.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use whetstone_domain::{EvaluationRecord, Phase};
use whetstone_store::RunRow;

use super::number;
use crate::problem::Problem;
use crate::{App, places};

/// One evaluation in short.
#[derive(Serialize, ToSchema)]
pub(crate) struct EvaluationView {
    /// `{phase}-{step}`, as addresses have it.
    id: String,
    phase: &'static str,
    step: usize,
    /// baseline, after_warm_start, periodic or final.
    #[schema(value_type = String)]
    kind: Value,
    tasks: String,
    /// Accuracy with its interval, and where the rest fails.
    #[schema(value_type = Object)]
    summary: Value,
    /// Against the baseline: gained, lost, p; null for the baseline.
    #[schema(value_type = Option<Object>)]
    versus_baseline: Value,
    /// Mean KL per token to the adapter-off model, nat.
    #[schema(value_type = Option<f64>)]
    kl: Value,
}

/// Evaluations of a run, in order
#[utoipa::path(get, path = "/api/v1/runs/{run}/evaluations", params(("run" = String, Path)),
    responses((status = 200, body = [EvaluationView]), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list(State(app): State<App>, Path(run): Path<String>) -> Result<Json<Vec<EvaluationView>>, Problem> {
    let run = app.run(&run).await?;
    let rows = app.store.evaluations(run.id).await?;
    let view = |e: whetstone_store::EvaluationRow| EvaluationView {
        id: format!("{}-{}", e.phase.name(), e.step),
        phase: e.phase.name(),
        step: e.step,
        kind: json!(e.kind),
        tasks: places::tasks(&app, &e.tasks),
        summary: json!(e.summary),
        versus_baseline: json!(e.versus_baseline),
        kl: e.kl.map_or(Value::Null, number),
    };
    Ok(Json(rows.into_iter().map(view).collect()))
}

/// One evaluation with every answer, and what it gained and lost against the baseline
#[utoipa::path(get, path = "/api/v1/runs/{run}/evaluations/{evaluation}",
    params(("run" = String, Path), ("evaluation" = String, Path, description = "{phase}-{step}")),
    responses((status = 200, body = Object), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn show(State(app): State<App>, Path((run, evaluation)): Path<(String, String)>) -> Result<Json<Value>, Problem> {
    let run = app.run(&run).await?;
    let mut found = find(&app, &run, &evaluation).await?;
    found.tasks = places::tasks(&app, &found.tasks);
    let before = before(&app, &run).await?;
    let turned = |to: bool| -> Vec<&str> {
        found.predictions.iter().filter(|p| p.correct == to && before.get(&p.id) == Some(&!to)).map(|p| p.id.as_str()).collect()
    };
    Ok(Json(json!({ "gained": turned(true), "lost": turned(false), "evaluation": found })))
}

/// The evaluation of `{phase}-{step}`.
pub(crate) async fn find(app: &App, run: &RunRow, id: &str) -> Result<EvaluationRecord, Problem> {
    let unknown = || {
        Problem::not_found(format!("Run {} has no such evaluation. One is named by its phase and step, such as grpo-45.", run.public_id))
    };
    let (phase, step) = id.rsplit_once('-').ok_or_else(unknown)?;
    let phase = Phase::from_name(phase).ok_or_else(unknown)?;
    let step = super::groups::parse_step(step).map_err(|_| unknown())?;
    app.store.evaluation(run.id, phase, step).await?.ok_or_else(unknown)
}

/// Which problems the baseline had right, by id.
pub(crate) async fn before(app: &App, run: &RunRow) -> Result<BTreeMap<String, bool>, Problem> {
    let baseline = app.store.baseline_predictions(run.id).await?.unwrap_or_default();
    Ok(baseline.into_iter().map(|p| (p.id, p.correct)).collect())
}
