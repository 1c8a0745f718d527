//! What a run can be made of: models, recipes, task sets; and the way in for new task sets.

use std::collections::BTreeSet;
use std::path::{Path as FilePath, PathBuf};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use whetstone_tooluse::tasks::{self, GENERATED, LoadOptions};

use super::{Query, pairs};
use crate::App;
use crate::launch::{task_file, uploads};
use crate::problem::{FieldError, Problem};

/// Largest task file that is taken, bytes.
const LARGEST: usize = 32 << 20;
/// Refused rows that a report names.
const NAMED: usize = 100;

/// Base models, by the names that a run may give
#[utoipa::path(get, path = "/api/v1/models", responses((status = 200, body = [String])))]
pub(crate) async fn models(State(app): State<App>) -> Json<Vec<String>> {
    Json(app.models.clone())
}

/// A preset.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecipeView {
    name: &'static str,
    /// As shipped, with its comments.
    toml: &'static str,
    /// The whole config that it gives.
    #[schema(value_type = Object)]
    config: Value,
}

/// Recipes, the default first
#[utoipa::path(get, path = "/api/v1/recipes", responses((status = 200, body = [RecipeView])))]
pub(crate) async fn recipes(State(app): State<App>) -> Json<Vec<RecipeView>> {
    let view = |r: &crate::Recipe| RecipeView { name: r.name, toml: r.toml, config: serde_json::to_value(&r.config).unwrap_or_default() };
    Json(app.recipes.iter().map(view).collect())
}

/// Specs of the task sets that a run may name
#[utoipa::path(get, path = "/api/v1/tasksets", responses((status = 200, body = [String])))]
pub(crate) async fn task_sets(State(app): State<App>) -> Json<Vec<String>> {
    let own = GENERATED.map(str::to_owned).into_iter();
    Json(own.chain(uploads(&app).into_iter().map(|n| format!("file:{n}"))).collect())
}

/// Its name.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UploadQuery {
    /// 1 to 64 of a-z, 0-9 and -.
    name: String,
}

/// What loading an uploaded file found.
#[derive(Serialize, ToSchema)]
pub(crate) struct Report {
    /// What a run calls it.
    spec: String,
    /// Rows that can be used.
    problems: usize,
    /// Rows that were not taken.
    refused: usize,
    /// The first of them, with line, field and reason.
    refusals: Vec<String>,
    /// Names of the tools that are offered.
    tools: Vec<String>,
}

/// The route with its own limit.
pub(crate) fn upload_route() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(upload)).layer(DefaultBodyLimit::max(LARGEST))
}

/// Upload a task set: JSON lines, one problem each
#[utoipa::path(post, path = "/api/v1/tasksets", params(UploadQuery), request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = 201, body = Report), (status = 400, body = Problem, content_type = "application/problem+json"), (status = 403, body = Problem, content_type = "application/problem+json"), (status = 409, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"), (status = 415, body = Problem, content_type = "application/problem+json"), (status = 422, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn upload(
    State(app): State<App>,
    query: Query<UploadQuery>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<(StatusCode, Json<Report>), Problem> {
    let name = pairs(query)?.name;
    let bad = || Problem::bad_request("A task set's name has 1 to 64 characters out of a-z, 0-9 and -.");
    let path = task_file(&app, &name).ok_or_else(bad)?;
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Send the file as it is, not compressed."));
    }
    let report = tokio::task::spawn_blocking(move || keep(&path, &name, &bytes)).await.map_err(|e| Problem::internal(&e))??;
    Ok((StatusCode::CREATED, Json(report)))
}

/// Loads the bytes from a file aside, and gives it its name only if it holds problems.
fn keep(path: &FilePath, name: &str, bytes: &[u8]) -> Result<Report, Problem> {
    let internal = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::StorageFull => Problem::new(StatusCode::INSUFFICIENT_STORAGE, "No space is left for the file."),
        _ => Problem::internal(&e),
    };
    let folder = path.parent().map(FilePath::to_path_buf).unwrap_or_default();
    std::fs::create_dir_all(&folder).map_err(internal)?;
    if path.exists() {
        return Err(Problem::conflict("There is a task set of this name already; runs may depend on it. Take another name."));
    }
    let aside = Aside(folder.join(format!(".{name}.{}.jsonl", std::process::id())));
    std::fs::write(&aside.0, bytes).map_err(internal)?;
    let plain = |text: &str| text.replace(&aside.0.display().to_string(), &format!("{name}.jsonl"));
    let set = tasks::load(&format!("file:{}", aside.0.display()), &LoadOptions::default())
        .map_err(|e| Problem::fields(vec![FieldError { pointer: String::new(), detail: plain(&e.to_string()) }]))?;
    let tools: BTreeSet<String> = set.problems.iter().flat_map(|p| &p.tools).map(|t| t.name.clone()).collect();
    let refusals = set.refused.iter().take(NAMED).map(|r| plain(&r.to_string())).collect();
    // a hard link fails where the name is taken, which a rename would not
    std::fs::hard_link(&aside.0, path).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => Problem::conflict("There is a task set of this name already; take another one."),
        _ => internal(e),
    })?;
    Ok(Report {
        spec: format!("file:{name}"),
        problems: set.problems.len(),
        refused: set.refused.len(),
        refusals,
        tools: tools.into_iter().collect(),
    })
}

/// A file that goes when it is no longer needed, whatever happened.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_file(&self.0) {
            tracing::debug!(error = %e, "a file aside could not be removed");
        }
    }
}
