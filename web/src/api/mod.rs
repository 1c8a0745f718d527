//! JSON for programs: everything the pages can do, under `/api/v1`, with an OpenAPI document derived from the handlers.
//!
//! In: paths, queries, JSON. Out: JSON with snake_case names, units in names, ids as strings, NaN as null; errors as RFC 9457.

pub(crate) mod adapters;
mod catalogue;
mod docs;
mod document;
pub(crate) mod evaluations;
mod events;
pub(crate) mod groups;
mod rollouts;
pub(crate) mod runs;
mod task_sets;

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Request, State};
use axum::middleware::Next;
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
        .routes(routes!(runs::list::list, runs::create::create))
        .routes(routes!(runs::view::show, runs::change::change, runs::change::remove))
        .routes(routes!(runs::change::stop))
        .routes(routes!(runs::change::resume))
        .routes(routes!(groups::metrics))
        .routes(routes!(groups::steps))
        .routes(routes!(groups::step))
        .routes(routes!(groups::group))
        .routes(routes!(rollouts::list))
        .routes(routes!(rollouts::show))
        .routes(routes!(evaluations::list))
        .routes(routes!(evaluations::show))
        .routes(routes!(adapters::list))
        .routes(routes!(adapters::download))
        .routes(routes!(adapters::all))
        .routes(routes!(catalogue::models))
        .routes(routes!(catalogue::recipes))
        .routes(routes!(task_sets::list))
        .routes(routes!(task_sets::show))
        .merge(task_sets::upload_route())
        .routes(routes!(events::stream))
        .split_for_parts();
    let document = Arc::new(document::complete(&document));
    let (known, for_people) = (Arc::new(document::parameters(&document)), Arc::clone(&document));
    router
        .route_layer(axum::middleware::from_fn(move |request: Request, next: Next| {
            document::only_known_parameters(Arc::clone(&known), request, next)
        }))
        .route("/api/openapi.json", get(|| async move { Json(Value::clone(&document)) }))
        .route("/api/docs", get(|state, headers| docs::page(state, headers, for_people)))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
}

/// Can requests be answered?
async fn ready(State(app): State<App>) -> Result<&'static str, Problem> {
    app.store.last_event().await?;
    Ok("ok\n")
}
