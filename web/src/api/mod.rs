//! JSON for programs: everything the pages can do, under `/api/v1`, with an OpenAPI document derived from the handlers.
//!
//! In: paths, queries, JSON. Out: JSON with snake_case names, units in names, ids as strings, NaN as null; errors as RFC 9457.

mod adapters;
mod catalogue;
mod docs;
pub(crate) mod evaluations;
mod events;
pub(crate) mod groups;
pub(crate) mod runs;

use axum::extract::State;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::problem::Problem;

#[derive(OpenApi)]
#[openapi(info(
    title = "Whetstone",
    description = "Launch runs, watch them, read every sample, download adapters. Errors are application/problem+json."
))]
struct Document;

/// `?key=value` pairs, unknown ones refused.
pub(crate) type Query<T> = Result<axum::extract::Query<T>, QueryRejection>;
/// A JSON body.
pub(crate) type Body<T> = Result<Json<T>, JsonRejection>;

/// The pairs, or a problem that says which was wrong.
pub(crate) fn pairs<T>(query: Query<T>) -> Result<T, Problem> {
    query.map(|q| q.0).map_err(|e| Problem::bad_request(e.body_text()))
}

/// The body, or a problem that names the place.
pub(crate) fn body<T>(body: Body<T>) -> Result<T, Problem> {
    body.map(|b| b.0).map_err(|e| Problem::new(e.status(), e.body_text()))
}

/// A number as JSON has it: null where it is none.
pub(crate) fn number(x: f64) -> Value {
    serde_json::Number::from_f64(x).map_or(Value::Null, Value::Number)
}

pub(crate) fn routes() -> Router<App> {
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(runs::list, runs::create))
        .routes(routes!(runs::show, runs::change, runs::remove))
        .routes(routes!(runs::stop))
        .routes(routes!(runs::resume))
        .routes(routes!(groups::metrics))
        .routes(routes!(groups::steps))
        .routes(routes!(groups::step))
        .routes(routes!(groups::group))
        .routes(routes!(evaluations::list))
        .routes(routes!(evaluations::show))
        .routes(routes!(adapters::list))
        .routes(routes!(adapters::download))
        .routes(routes!(catalogue::models))
        .routes(routes!(catalogue::recipes))
        .routes(routes!(catalogue::task_sets))
        .merge(catalogue::upload_route())
        .routes(routes!(events::stream))
        .split_for_parts();
    let for_people = document.clone();
    router
        .route("/api/openapi.json", get(|| async move { Json(document) }))
        .route("/api/docs", get(|state, headers| docs::page(state, headers, for_people)))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
}

/// Can requests be answered?
async fn ready(State(app): State<App>) -> Result<&'static str, Problem> {
    app.store.last_event().await?;
    Ok("ok\n")
}
