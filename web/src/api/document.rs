//! What is true of every operation, said once: which refusals may come, and that only documented parameters are taken.
//!
//! In: the document derived from the handlers. Out: the same with what the guards around them answer; and a guard that reads it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;

use crate::problem::Problem;
use crate::words;

/// Query parameters by path and method.
pub(crate) type Parameters = BTreeMap<(String, String), Vec<String>>;

/// What any operation may answer, and what only those that change something may.
const ALWAYS: [(&str, &str); 5] = [
    ("400", "a parameter that is unknown or cannot be read"),
    ("401", "this server wants its token"),
    ("421", "this server does not answer under that host name"),
    ("500", "a defect; the server's log says why"),
    ("503", "the database is busy; try again in a moment"),
];
const CHANGING: [(&str, &str); 2] = [("403", "the request came from another site"), ("507", "no space is left on the server")];

/// The document with the answers of the guards.
pub(crate) fn complete(document: &OpenApi) -> Value {
    let mut document = serde_json::to_value(document).unwrap_or_else(|e| unreachable!("the document is plain data: {e}"));
    for operations in document["paths"].as_object_mut().into_iter().flat_map(|p| p.values_mut()) {
        for (method, operation) in operations.as_object_mut().into_iter().flatten() {
            let more = if method == "get" { &CHANGING[..0] } else { &CHANGING[..] };
            let Some(answers) = operation["responses"].as_object_mut() else { continue };
            for (status, description) in ALWAYS.iter().chain(more) {
                let schema = json!({ "$ref": "#/components/schemas/Problem" });
                let answer = json!({ "description": description, "content": { "application/problem+json": { "schema": schema } } });
                answers.entry(*status).or_insert(answer);
            }
        }
    }
    document
}

/// The query parameters that each operation documents.
pub(crate) fn parameters(document: &Value) -> Parameters {
    let mut known = Parameters::new();
    for (path, operations) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in operations.as_object().into_iter().flatten() {
            let all = operation["parameters"].as_array().into_iter().flatten();
            let names = all.filter(|p| p["in"] == "query").filter_map(|p| p["name"].as_str().map(str::to_owned));
            known.insert((path.clone(), method.to_uppercase()), names.collect());
        }
    }
    known
}

/// Refuses a query parameter that the operation does not have: a misspelt filter must not look like one that found everything.
pub(crate) async fn only_known_parameters(known: Arc<Parameters>, request: Request, next: Next) -> Response {
    let method = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
    let path = request.extensions().get::<MatchedPath>().map(|p| p.as_str().to_owned()).unwrap_or_default();
    if let (Some(names), Some(query)) = (known.get(&(path, method.to_string())), request.uri().query()) {
        let keys = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default()).filter(|k| !k.is_empty());
        if let Some(odd) = keys.into_iter().find(|k| !names.iter().any(|n| n == k)) {
            let takes = if names.is_empty() { "none".into() } else { names.join(", ") };
            let detail = format!("The parameter {:?} is not known here; known are: {takes}.", words::short(odd, 60));
            return Problem::bad_request(detail).into_response();
        }
    }
    next.run(request).await
}
