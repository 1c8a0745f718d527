//! Page: every run. First those that are alive, then the rest, the newest first.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use whetstone_domain::RunState;
use whetstone_store::{RunFilter, RunRow};

use super::run::{Bar, steps_made};
use super::{Frame, show, theme};
use crate::problem::Problem;
use crate::{App, words};

/// Runs of a page.
const PAGE: usize = 50;
/// Parameters that the page knows.
const KNOWN: [&str; 4] = ["q", "status", "archived", "after"];

#[derive(Template)]
#[template(path = "runs.html")]
struct Page<'a> {
    frame: Frame<'a>,
    unknown: Vec<String>,
    q: String,
    states: Vec<(&'static str, bool)>,
    archived: bool,
    live: Vec<Bar<'a>>,
    lines: Vec<Line>,
    next: Option<String>,
    any: bool,
}

struct Line {
    id: String,
    name: String,
    state: &'static str,
    model: String,
    accuracy: String,
    change: String,
    steps: String,
    took: String,
    started: String,
    tags: Vec<String>,
}

pub(crate) async fn list(
    State(app): State<App>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let event = app.store.last_event().await?;
    let text = |key: &str| query.get(key).map(|v| v.trim().to_owned()).unwrap_or_default();
    let (q, status, archived) = (text("q"), text("status"), text("archived") == "1");
    let state = RunState::from_name(&status);
    let before = match query.get("after") {
        Some(id) => app.run(id).await.ok().map(|r| r.id),
        None => None,
    };
    let filter =
        RunFilter { state, archived: Some(archived), text: Some(q.clone()).filter(|q| !q.is_empty()), before, limit: Some(PAGE + 1) };
    let mut rows = app.store.runs(&filter).await?;
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|r| format!("/runs?after={}&archived={}&q={}&status={status}", r.public_id, u8::from(archived), words::in_url(&q)));
    let now = words::now_ms();
    let page = Page {
        frame: Frame::new(&app, "Runs", theme(&headers)).live("", event),
        unknown: query.keys().filter(|k| !KNOWN.contains(&k.as_str())).map(|k| words::short(k, 40)).collect(),
        states: RunState::ALL.into_iter().map(|s| (s.name(), Some(s) == state)).collect(),
        any: !rows.is_empty() || !app.store.runs(&RunFilter { limit: Some(1), ..RunFilter::default() }).await?.is_empty(),
        live: rows.iter().filter(|r| r.state.is_live()).map(|r| Bar::new(r, now)).collect(),
        lines: rows.iter().map(|r| line(r, now)).collect(),
        q,
        archived,
        next,
    };
    show(&page)
}

fn line(run: &RunRow, now: i64) -> Line {
    let change = match (&run.baseline, &run.best) {
        (Some(before), Some(best)) => format!("{:+.1} points", 100.0 * (best.accuracy - before.accuracy)),
        _ => String::new(),
    };
    Line {
        id: run.public_id.clone(),
        name: words::short(&run.name, 80),
        state: run.state.name(),
        model: words::short(run.model.rsplit('/').next().unwrap_or_default(), 40),
        accuracy: run.best.or(run.last).map(|a| words::accuracy(&a)).unwrap_or_default(),
        change,
        steps: format!("{}/{}", steps_made(run), run.steps_planned),
        took: run.started_ms.map(|at| words::span(run.ended_ms.unwrap_or(now) - at)).unwrap_or_default(),
        started: words::moment(run.started_ms.unwrap_or(run.created_ms)).chars().take(16).collect::<String>().replace('T', " "),
        tags: run.tags.iter().map(|t| words::visible(t)).collect(),
    }
}
