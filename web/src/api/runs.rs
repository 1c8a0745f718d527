//! Runs: list, launch, show, label, stop, resume, delete.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use whetstone_domain::RunState;
use whetstone_store::{Accuracy, RunFilter, RunRow};

use super::{Body, Query, body, number, pairs};
use crate::launch::{Launch, launch, named, tagged};
use crate::problem::{FieldError, Problem};
use crate::{App, words};

/// Most runs of one answer.
const PAGE: usize = 200;
/// Longest note, characters.
const LONGEST_NOTE: usize = 10_000;

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
    /// Steps of all phases together.
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
    /// The effective config.
    #[schema(value_type = Object)]
    config: Value,
}

impl RunView {
    fn of(r: RunRow) -> Self {
        Self {
            config: serde_json::from_str(&r.config_json).unwrap_or_default(),
            id: r.public_id,
            name: r.name,
            state: r.state.name(),
            message: r.message,
            model: r.model,
            base_sha256: r.base_sha256,
            pid: r.pid,
            created: words::moment(r.created_ms),
            started: r.started_ms.map(words::moment),
            ended: r.ended_ms.map(words::moment),
            heartbeat: r.heartbeat_ms.map(words::moment),
            phase: r.phase.map(|p| p.name()),
            step: r.step,
            steps_planned: r.steps_planned,
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

/// Some runs, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunList {
    items: Vec<RunView>,
    /// Address of the next page; null = that was all.
    next: Option<String>,
}

/// Which runs.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Only with this text in id, name, tags or model.
    q: Option<String>,
    /// Only in this state.
    #[param(pattern = "^(queued|starting|running|stopping|stopped|finished|failed|interrupted)$")]
    state: Option<String>,
    /// Only archived ones, or only the others (the default).
    archived: Option<bool>,
    /// 1 to 200, 50 when not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
    /// Go on after this run.
    #[param(pattern = "^r-[0-9a-z]+$")]
    after: Option<String>,
}

/// List runs
#[utoipa::path(get, path = "/api/v1/runs", params(ListQuery), responses((status = 200, body = RunList),
    (status = 400, body = Problem, content_type = "application/problem+json"), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list(State(app): State<App>, query: Query<ListQuery>) -> Result<Json<RunList>, Problem> {
    let query = pairs(query)?;
    let limit = query.limit.unwrap_or(50);
    if !(1..=PAGE).contains(&limit) {
        return Err(Problem::bad_request("limit must be between 1 and 200."));
    }
    let state = match &query.state {
        None => None,
        Some(name) => {
            let unknown = || Problem::bad_request(format!("state must be one of {}.", RunState::ALL.map(RunState::name).join(", ")));
            Some(RunState::from_name(name).ok_or_else(unknown)?)
        }
    };
    let before = match &query.after {
        None => None,
        Some(id) if !words::is_run_id(id) => return Err(Problem::bad_request("after must be the id of a run.")),
        Some(id) => Some(app.run(id).await?.id),
    };
    let archived = Some(query.archived.unwrap_or(false));
    let filter = RunFilter { state, archived, text: query.q.clone(), before, limit: Some(limit + 1) };
    let mut rows = app.store.runs(&filter).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|r| {
        let mut next = format!("/api/v1/runs?limit={limit}&archived={}&after={}", filter.archived.unwrap_or_default(), r.public_id);
        for (key, value) in [("q", &query.q), ("state", &query.state)] {
            if let Some(value) = value {
                next.push_str(&format!("&{key}={}", words::in_url(value)));
            }
        }
        next
    });
    Ok(Json(RunList { items: rows.into_iter().map(RunView::of).collect(), next }))
}

/// A wish for a run.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(crate) struct NewRunBody {
    /// Recipe it builds on; null = the default one.
    recipe: Option<String>,
    /// For people; empty = the id.
    name: String,
    tags: Vec<String>,
    /// Changed keys of the recipe's config, nested or dotted.
    #[schema(value_type = Object)]
    config: Map<String, Value>,
}

/// Launch a run
///
/// It is queued, and worked on when its turn comes. With an Idempotency-Key the same request twice gives the same run.
#[utoipa::path(post, path = "/api/v1/runs", request_body = NewRunBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 200 characters")),
    responses((status = 201, body = RunView), (status = 400, body = Problem, content_type = "application/problem+json"), (status = 403, body = Problem, content_type = "application/problem+json"), (status = 413, body = Problem, content_type = "application/problem+json"),
        (status = 415, body = Problem, content_type = "application/problem+json"), (status = 422, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn create(State(app): State<App>, headers: HeaderMap, wanted: Body<NewRunBody>) -> Result<Response, Problem> {
    let NewRunBody { recipe, name, tags, config } = body(wanted)?;
    let key = match headers.get("idempotency-key").map(|k| k.to_str()) {
        None => None,
        Some(Ok(key)) if (1..=200).contains(&key.len()) => Some(key),
        Some(_) => return Err(Problem::bad_request("Idempotency-Key must have 1 to 200 characters.")),
    };
    let run = launch(&app, Launch { recipe, name, tags, config }, key).await?;
    let place = format!("/api/v1/runs/{}", run.public_id);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(RunView::of(run))).into_response())
}

/// Show a run
#[utoipa::path(get, path = "/api/v1/runs/{run}", params(("run" = String, Path)), responses((status = 200, body = RunView), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn show(State(app): State<App>, Path(run): Path<String>) -> Result<Json<RunView>, Problem> {
    Ok(Json(RunView::of(app.run(&run).await?)))
}

/// What is changed; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    name: Option<String>,
    tags: Option<Vec<String>>,
    note: Option<String>,
    archived: Option<bool>,
}

/// Rename, tag, annotate, archive
#[utoipa::path(patch, path = "/api/v1/runs/{run}", params(("run" = String, Path)), request_body = Change,
    responses((status = 200, body = RunView), (status = 400, body = Problem, content_type = "application/problem+json"), (status = 403, body = Problem, content_type = "application/problem+json"), (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"), (status = 415, body = Problem, content_type = "application/problem+json"), (status = 422, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn change(State(app): State<App>, Path(run): Path<String>, wanted: Body<Change>) -> Result<Json<RunView>, Problem> {
    let run = app.run(&run).await?;
    relabel(&app, &run, body(wanted)?).await?;
    Ok(Json(RunView::of(app.store.run_by_id(run.id).await?)))
}

async fn relabel(app: &App, run: &RunRow, wanted: Change) -> Result<(), Problem> {
    let mut errors: Vec<FieldError> = wanted.name.iter().filter_map(|n| named("/name", n)).collect();
    errors.extend(wanted.tags.iter().filter_map(|t| tagged(t)));
    if wanted.note.as_ref().is_some_and(|n| n.chars().count() > LONGEST_NOTE) {
        errors.push(FieldError { pointer: "/note".into(), detail: "must have at most 10000 characters".into() });
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    if let Some(name) = wanted.name {
        let name = if name.trim().is_empty() { &run.public_id } else { name.trim() };
        app.store.rename_run(run.id, name).await?;
    }
    if let Some(tags) = wanted.tags {
        app.store.tag_run(run.id, &tags).await?;
    }
    if let Some(note) = wanted.note {
        app.store.note_run(run.id, &note).await?;
    }
    if let Some(archived) = wanted.archived {
        app.store.archive_run(run.id, archived).await?;
    }
    Ok(())
}

/// The same from a form.
pub(crate) async fn label(app: &App, run: &RunRow, name: String, tags: Vec<String>, note: String) -> Result<(), Problem> {
    relabel(app, run, Change { name: Some(name), tags: Some(tags), note: Some(note), archived: None }).await
}

/// Delete a run with everything stored of it; it must be archived and not live
#[utoipa::path(delete, path = "/api/v1/runs/{run}", params(("run" = String, Path)),
    responses((status = 204), (status = 403, body = Problem, content_type = "application/problem+json"), (status = 404, body = Problem, content_type = "application/problem+json"), (status = 409, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn remove(State(app): State<App>, Path(run): Path<String>) -> Result<StatusCode, Problem> {
    let run = app.run(&run).await?;
    delete(&app, &run).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Rows first, then files: files without a run are only space, a run without files is broken.
pub(crate) async fn delete(app: &App, run: &RunRow) -> Result<(), Problem> {
    if !run.archived {
        return Err(Problem::conflict("Archive the run before deleting it: what is deleted is gone."));
    }
    app.store.delete_run(run.id).await?;
    let folder = app.run_folder(run);
    let gone = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(folder)).await.map_err(|e| Problem::internal(&e))?;
    match gone {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Problem::internal(&e)),
        _ => Ok(()),
    }
}

/// Ask a run to stop: the step in progress is dropped, a checkpoint is written
#[utoipa::path(post, path = "/api/v1/runs/{run}/stop", params(("run" = String, Path)),
    responses((status = 202, body = RunView), (status = 403, body = Problem, content_type = "application/problem+json"), (status = 404, body = Problem, content_type = "application/problem+json"), (status = 409, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn stop(State(app): State<App>, Path(run): Path<String>) -> Result<(StatusCode, Json<RunView>), Problem> {
    let run = app.run(&run).await?;
    if !run.state.is_live() && run.state != RunState::Queued {
        return Err(Problem::conflict(format!("The run is {} already.", run.state.name())));
    }
    app.store.wish_stop(run.id).await?;
    Ok((StatusCode::ACCEPTED, Json(RunView::of(app.store.run_by_id(run.id).await?))))
}

/// Queue a stopped, failed or interrupted run again: it goes on from its last checkpoint
#[utoipa::path(post, path = "/api/v1/runs/{run}/resume", params(("run" = String, Path)),
    responses((status = 202, body = RunView), (status = 403, body = Problem, content_type = "application/problem+json"), (status = 404, body = Problem, content_type = "application/problem+json"), (status = 409, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn resume(State(app): State<App>, Path(run): Path<String>) -> Result<(StatusCode, Json<RunView>), Problem> {
    let run = app.run(&run).await?;
    app.store.queue_again(run.id).await?;
    Ok((StatusCode::ACCEPTED, Json(RunView::of(app.store.run_by_id(run.id).await?))))
}
