//! Runs by the page.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use whetstone_domain::RunState;
use whetstone_store::RunFilter;

use super::view::RunView;
use crate::api::{Query, pairs};
use crate::problem::Problem;
use crate::{App, words};

/// Most runs of one answer.
const PAGE: usize = 200;

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
    /// Only with exactly this tag.
    tag: Option<String>,
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
    let filter = RunFilter { state, archived, text: query.q.clone(), tag: query.tag.clone(), before, limit: Some(limit + 1) };
    let mut rows = app.store.runs(&filter).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|r| {
        let mut next = format!("/api/v1/runs?limit={limit}&archived={}&after={}", filter.archived.unwrap_or_default(), r.public_id);
        for (key, value) in [("q", &query.q), ("state", &query.state), ("tag", &query.tag)] {
            if let Some(value) = value {
                next.push_str(&format!("&{key}={}", words::in_url(value)));
            }
        }
        next
    });
    Ok(Json(RunList { items: rows.into_iter().map(|r| RunView::of(&app, r)).collect(), next }))
}
