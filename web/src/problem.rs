//! Errors, in one place: every handler fails with a [`Problem`]; programs get RFC 9457 JSON, people a page.
//!
//! Internals (SQL, paths) are logged with the request's number and never shown.

use std::any::Any;

use askama::Template;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use whetstone_store::StoreError;

use crate::App;
use crate::pages::Frame;

/// What was wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer into the request's body, e.g. `/config/num_generations`.
    pub pointer: String,
    /// What is wrong and what to do.
    pub detail: String,
}

/// An error as RFC 9457 has it (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: title and status say what kind it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What was wrong, where, and what to do.
    pub detail: String,
    /// The wrong fields, if it was about fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

impl Problem {
    /// An error of this status.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        Self { kind: "about:blank".into(), title, status: status.as_u16(), detail: detail.into(), errors: Vec::new() }
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 400: a parameter or body that cannot be read.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 409: it does not fit the state of things.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 422: readable, but these fields are out of range.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = format!("{} of the fields cannot be accepted.", errors.len());
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    /// 500; the reason goes to the log only.
    pub fn internal(reason: &dyn std::fmt::Display) -> Self {
        tracing::error!(%reason, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "The server could not do this; its log says why.")
    }
}

impl From<StoreError> for Problem {
    fn from(e: StoreError) -> Self {
        match &e {
            StoreError::NoSuchRun { .. } => Self::not_found(e.to_string()),
            StoreError::Live { .. } | StoreError::Claimed { .. } | StoreError::NotResumable { .. } => Self::conflict(e.to_string()),
            StoreError::DiskFull { .. } => {
                tracing::error!(error = %e, "the disk is full");
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "No space is left for the database; free some and try again.")
            }
            StoreError::Busy { .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, "The database is busy; try again in a moment."),
            _ => Self::internal(&e),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response.extensions_mut().insert(self);
        response
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct Page<'a> {
    frame: Frame<'a>,
    problem: &'a Problem,
}

/// Turns a problem into a page for who asked for HTML, and errors without a problem (axum's own) into one.
pub(crate) async fn in_the_right_form(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let accepts = request.headers().get(header::ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or_default();
    let person = !path.starts_with("/api/") && accepts.contains("text/html");
    let theme = crate::pages::theme(request.headers());
    let mut response = next.run(request).await;
    let status = response.status();
    let page = response.headers().get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"text/html"));
    // a form that comes back with its errors is a page already
    if page || !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    if response.extensions().get::<Problem>().is_none() {
        response = plain(response).await;
    }
    let Some(problem) = response.extensions().get::<Problem>().filter(|_| person) else { return response };
    let frame = Frame::new(&app, &problem.title, theme);
    match (Page { frame, problem }).render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(e) => Problem::internal(&e).into_response(),
    }
}

/// Axum's rejections say in plain text what was wrong: the same words as a problem.
async fn plain(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let text = axum::body::to_bytes(body, 4096).await.unwrap_or_default();
    let detail = match String::from_utf8_lossy(&text).into_owned() {
        silent if silent.is_empty() && parts.status == StatusCode::FORBIDDEN => "This request came from another site.".into(),
        silent if silent.is_empty() && parts.status == StatusCode::METHOD_NOT_ALLOWED => "This address does not take that method.".into(),
        said => said,
    };
    let mut problem = Problem::new(parts.status, detail).into_response();
    if let Some(allow) = parts.headers.get(header::ALLOW) {
        problem.headers_mut().insert(header::ALLOW, allow.clone());
    }
    problem
}

/// Where no route leads.
pub(crate) async fn no_such_page() -> Problem {
    Problem::not_found("There is nothing at this address.")
}

/// A handler that panicked: a defect, told as one.
pub(crate) fn panicked(reason: Box<dyn Any + Send>) -> Response {
    let words = reason.downcast_ref::<String>().map(String::as_str).or(reason.downcast_ref::<&str>().copied()).unwrap_or("unknown");
    Problem::internal(&format!("panic: {words}")).into_response()
}
