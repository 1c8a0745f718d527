//! Task sets: which there are, what is in them, and the way in for new ones.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Query, pairs};
use crate::App;
use crate::problem::Problem;
use crate::task_sets::{self, LARGEST, NAMED, Report};
use crate::words;

/// Specs of the task sets that a run may name
#[utoipa::path(get, path = "/api/v1/tasksets", responses((status = 200, body = [String])))]
pub(crate) async fn list(State(app): State<App>) -> Json<Vec<String>> {
    Json(task_sets::specs(&app))
}

/// Which of its problems.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ShowQuery {
    /// Seed of a generated set; 0 when not given.
    #[param(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    seed: Option<u64>,
    /// 1 to 200, 50 when not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
    /// So many problems are left out from the start.
    #[param(minimum = 0)]
    after: Option<usize>,
}

/// Some problems of a task set.
#[derive(Serialize, ToSchema)]
pub(crate) struct TaskSetView {
    /// As it was read, in full.
    spec: String,
    /// How many problems there are in all; of a mix with generated ones at most 16384 are counted.
    problems: usize,
    /// Rows of the file that were not taken.
    refused: usize,
    /// The first of them, with line, field and reason.
    refusals: Vec<String>,
    /// Problems with messages, tools and accepted calls.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Value>,
    /// Address of the next page; null = that was all.
    next: Option<String>,
}

/// Show the problems of a task set, in order
#[utoipa::path(get, path = "/api/v1/tasksets/{spec}", params(("spec" = String, Path, description = "starter, file:NAME, starter#split=tool:train:1 or mix:0.5*starter+0.5*file:NAME"), ShowQuery),
    responses((status = 200, body = TaskSetView), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn show(State(app): State<App>, Path(spec): Path<String>, query: Query<ShowQuery>) -> Result<Json<TaskSetView>, Problem> {
    let query = pairs(query)?;
    let (limit, after, seed) = (query.limit.unwrap_or(50), query.after.unwrap_or(0), query.seed.unwrap_or(0));
    if !(1..=200).contains(&limit) {
        return Err(Problem::bad_request("limit must be between 1 and 200."));
    }
    if i64::try_from(seed).is_err() {
        return Err(Problem::bad_request("seed must be at most 9223372036854775807."));
    }
    let end = after.saturating_add(limit);
    let set = task_sets::look(&app, &spec, seed, end).await?;
    let items = set.problems.iter().skip(after).take(limit).map(|p| json!(p)).collect();
    let next = (end < set.total).then(|| format!("/api/v1/tasksets/{}?after={end}&limit={limit}&seed={seed}", words::in_url(&set.spec)));
    Ok(Json(TaskSetView {
        spec: set.spec,
        problems: set.total,
        refused: set.refused.len(),
        refusals: set.refused.iter().take(NAMED).map(ToString::to_string).collect(),
        items,
        next,
    }))
}

/// Its name.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UploadQuery {
    /// 1 to 64 of a-z, 0-9 and -.
    #[param(pattern = "^[a-z0-9-]{1,64}$")]
    name: String,
    /// How the rows are written; when not given, the first row decides.
    #[param(pattern = "^(own|openai|xlam|seal)$")]
    format: Option<String>,
}

/// The route with its own limit.
pub(crate) fn upload_route() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(upload)).layer(DefaultBodyLimit::max(LARGEST))
}

/// Upload a task set: JSON lines, one problem each, in our own format or OpenAI's, xLAM's, Hammer's or Seal-Tools'
#[utoipa::path(post, path = "/api/v1/tasksets", params(UploadQuery), request_body(content((String = "application/x-ndjson"), (String = "text/plain"))),
    responses((status = 201, body = Report), (status = 400, body = Problem, content_type = "application/problem+json"), (status = 403, body = Problem, content_type = "application/problem+json"), (status = 409, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"), (status = 415, body = Problem, content_type = "application/problem+json"), (status = 422, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn upload(
    State(app): State<App>,
    query: Query<UploadQuery>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<(StatusCode, Json<Report>), Problem> {
    let UploadQuery { name, format } = pairs(query)?;
    let format = format.as_deref().map(task_sets::format_named).transpose()?;
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Send the file as it is, not compressed."));
    }
    Ok((StatusCode::CREATED, Json(task_sets::upload(&app, &name, format, bytes).await?)))
}
