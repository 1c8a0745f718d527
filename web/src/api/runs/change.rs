//! What is changed about a run: labels, the wish to stop or to go on, its end.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use whetstone_domain::RunState;
use whetstone_store::RunRow;

use super::create::TagText;
use super::view::RunView;
use crate::api::{Body, body};
use crate::launch::{named, tagged};
use crate::problem::{FieldError, Problem};
use crate::{App, words};

/// Longest note, characters.
const LONGEST_NOTE: usize = 10_000;

/// The run as it is now.
async fn answer(app: &App, run: &RunRow) -> Result<Json<RunView>, Problem> {
    Ok(Json(RunView::of(app, app.store.run_by_id(run.id).await?)))
}

/// What is changed; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    #[schema(max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]*$")]
    name: Option<String>,
    #[schema(max_items = 20, value_type = Option<Vec<TagText>>)]
    tags: Option<Vec<String>>,
    #[schema(
        max_length = 10000,
        pattern = r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]*$"
    )]
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
    answer(&app, &run).await
}

async fn relabel(app: &App, run: &RunRow, wanted: Change) -> Result<(), Problem> {
    let mut errors: Vec<FieldError> = wanted.name.iter().filter_map(|n| named("/name", n)).collect();
    errors.extend(wanted.tags.iter().filter_map(|t| tagged(t)));
    if wanted.note.as_ref().is_some_and(|n| words::visible(n) != *n) {
        errors.push(FieldError { pointer: "/note".into(), detail: "must not hold control or direction characters".into() });
    }
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
    Ok((StatusCode::ACCEPTED, answer(&app, &run).await?))
}

/// Queue a stopped, failed or interrupted run again: it goes on from its last checkpoint
#[utoipa::path(post, path = "/api/v1/runs/{run}/resume", params(("run" = String, Path)),
    responses((status = 202, body = RunView), (status = 403, body = Problem, content_type = "application/problem+json"), (status = 404, body = Problem, content_type = "application/problem+json"), (status = 409, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn resume(State(app): State<App>, Path(run): Path<String>) -> Result<(StatusCode, Json<RunView>), Problem> {
    let run = app.run(&run).await?;
    app.store.queue_again(run.id).await?;
    Ok((StatusCode::ACCEPTED, answer(&app, &run).await?))
}
