//! What a run's page can change: name, tags, note; stop, resume, archive, delete.

use std::collections::BTreeMap;

use axum::Form;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::asked::Asked;
use super::run;
use crate::App;
use crate::api::runs::change;
use crate::problem::Problem;

/// What the form at the foot of the page sends.
#[derive(Deserialize)]
pub(crate) struct Labels {
    pub(crate) name: String,
    pub(crate) tags: String,
    pub(crate) note: String,
}

/// A form that was not accepted: what was typed, and why not.
pub(crate) struct Refused {
    pub(crate) problem: Problem,
    pub(crate) form: Labels,
}

/// Renames, tags, annotates.
pub(crate) async fn edit(
    State(app): State<App>,
    Path(run): Path<String>,
    headers: HeaderMap,
    Form(form): Form<Labels>,
) -> Result<Response, Problem> {
    let run = app.run(&run).await?;
    let tags = form.tags.split(',').map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect();
    match change::label(&app, &run, form.name.clone(), tags, form.note.replace("\r\n", "\n")).await {
        Ok(()) => Ok(Redirect::to(&format!("/runs/{}", run.public_id)).into_response()),
        Err(problem) => run::page(&app, &run, &headers, &Asked::default(), Some(Refused { problem, form })).await,
    }
}

/// Stops, resumes, archives, deletes; the last only with `sure=yes`, which a person ticks.
pub(crate) async fn act(
    State(app): State<App>,
    Path((run, act)): Path<(String, String)>,
    Form(form): Form<BTreeMap<String, String>>,
) -> Result<Redirect, Problem> {
    let run = app.run(&run).await?;
    match act.as_str() {
        "stop" => app.store.wish_stop(run.id).await.map(|_| ())?,
        "resume" => app.store.queue_again(run.id).await?,
        "archive" | "unarchive" => app.store.archive_run(run.id, act == "archive").await?,
        "delete" if form.get("sure").map(String::as_str) != Some("yes") => {
            return Err(Problem::conflict("Tick the box before the button: what is deleted is gone."));
        }
        "delete" => {
            change::delete(&app, &run).await?;
            return Ok(Redirect::to("/runs"));
        }
        _ => return Err(Problem::not_found("A run can be stopped, resumed, archived, unarchived and deleted.")),
    }
    Ok(Redirect::to(&format!("/runs/{}", run.public_id)))
}
