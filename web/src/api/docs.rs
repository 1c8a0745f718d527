//! The OpenAPI document for people: one page, no script.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::Value;

use crate::App;
use crate::pages::{Frame, show, theme};
use crate::problem::Problem;

/// One operation, as the page shows it.
struct Operation {
    method: String,
    path: String,
    summary: String,
    description: String,
    /// (name, where, what)
    parameters: Vec<(String, String, String)>,
    body: String,
    /// (status, what)
    answers: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "api.html")]
struct Page<'a> {
    frame: Frame<'a>,
    operations: Vec<Operation>,
}

pub(crate) async fn page(State(app): State<App>, headers: HeaderMap, document: Arc<Value>) -> Result<Response, Problem> {
    show(&Page { frame: Frame::new(&app, "API", theme(&headers)), operations: operations(&document) })
}

fn operations(document: &Value) -> Vec<Operation> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, o) in methods.as_object().into_iter().flatten() {
            let parameter = |p: &Value| (text(&p["name"]), text(&p["in"]), text(&p["description"]));
            let content = o["requestBody"]["content"].as_object().and_then(|c| c.iter().next());
            let body = content.map(|(kind, c)| format!("{kind} {}", schema(&c["schema"]))).unwrap_or_default();
            let answer = |(status, a): (&String, &Value)| {
                let content = a["content"].as_object().and_then(|c| c.iter().next());
                (status.clone(), content.map_or_else(|| text(&a["description"]), |(kind, c)| format!("{kind} {}", schema(&c["schema"]))))
            };
            found.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                summary: text(&o["summary"]),
                description: text(&o["description"]),
                parameters: o["parameters"].as_array().into_iter().flatten().map(parameter).collect(),
                body,
                answers: o["responses"].as_object().into_iter().flatten().map(answer).collect(),
            });
        }
    }
    found
}

fn schema(s: &Value) -> String {
    match s["$ref"].as_str().and_then(|r| r.rsplit('/').next()) {
        Some(name) => name.to_owned(),
        None if s["type"] == "array" => format!("[{}]", schema(&s["items"])),
        None => s["type"].as_str().unwrap_or_default().to_owned(),
    }
}
