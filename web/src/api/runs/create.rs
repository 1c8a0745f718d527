//! A new run from the API.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::view::RunView;
use crate::App;
use crate::api::{Body, body};
use crate::launch::{Launch, launch};
use crate::problem::Problem;

/// A tag: no comma, no control or direction characters, not only spaces.
#[derive(ToSchema)]
#[schema(
    min_length = 1,
    max_length = 40,
    pattern = r"^[^,\s\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]+$"
)]
pub(crate) struct TagText(#[expect(dead_code, reason = "only its schema is used")] String);

/// A wish for a run.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(crate) struct NewRunBody {
    /// Recipe it builds on; null = the default one.
    recipe: Option<String>,
    /// For people; empty = the id.
    #[schema(max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]*$")]
    name: String,
    #[schema(max_items = 20, value_type = Vec<TagText>)]
    tags: Vec<String>,
    /// Changed keys of the recipe's config, nested or dotted.
    #[schema(value_type = Object)]
    config: Map<String, Value>,
}

/// Launch a run
///
/// It is queued, and worked on when its turn comes. With an Idempotency-Key the same request twice gives the same run.
#[utoipa::path(post, path = "/api/v1/runs", request_body = NewRunBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 200 characters", min_length = 1, max_length = 200)),
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
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(RunView::of(&app, run))).into_response())
}
