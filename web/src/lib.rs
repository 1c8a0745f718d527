//! Stations *row -> page*: what the store holds, as pages for people, JSON for programs and events for whoever watches.
//!
//! In: a [`Store`] and HTTP requests. Out: HTML, JSON, server-sent events; wishes (a new run, a stop) written into the store.
//! It never computes: no model, no training, no process is started here.

mod api;
mod app;
mod assets;
mod chart;
mod charts;
mod launch;
mod live;
mod pages;
mod places;
mod problem;
mod rollout_query;
mod security;
mod task_sets;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where something is missing")]
mod tests;
mod words;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate as _};
use tower_http::csrf::CsrfLayer;

pub use app::{App, Options, Recipe};
pub use security::Access;
pub use whetstone_store::Store;

/// Answers on `listener` until `app.shutdown` is cancelled and the requests under way have ended.
pub async fn serve(listener: tokio::net::TcpListener, app: App) -> std::io::Result<()> {
    let end = app.shutdown.clone().cancelled_owned();
    axum::serve(listener, router(app)).with_graceful_shutdown(end).await
}

/// Largest request body but for task-set uploads, bytes.
const BODY_LIMIT: usize = 1 << 20;

/// Everything that is served, inside its guards: the outermost is the first that sees a request.
pub fn router(app: App) -> Router {
    let routes = Router::new().merge(pages::routes()).merge(api::routes()).merge(assets::routes()).fallback(problem::no_such_page);
    // a zip is small already, and compressed on the way it would have no ranges
    let plain = DefaultPredicate::new().and(NotForContentType::const_new("application/zip"));
    let guarded = routes
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(CsrfLayer::new())
        .layer(axum::middleware::from_fn_with_state(app.clone(), security::guard))
        .layer(axum::middleware::from_fn_with_state(app.clone(), problem::in_the_right_form))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(CompressionLayer::new().compress_when(plain));
    guarded.layer(axum::middleware::from_fn(security::headers)).with_state(app)
}
