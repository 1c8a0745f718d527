//! Page: every adapter that can be downloaded, of every run or of one, with how to use it.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{Redirect, Response};

use super::asked::Asked;
use super::run::AdapterLine;
use super::{Frame, show, theme};
use crate::api::adapters;
use crate::problem::Problem;
use crate::{App, words};

/// Adapters of a page.
const PAGE: usize = 50;

#[derive(Template)]
#[template(path = "adapters.html")]
struct Page<'a> {
    frame: Frame<'a>,
    /// Id and name of the run whose adapters these are; none = of all.
    run: Option<(String, String)>,
    best: bool,
    adapters: Vec<AdapterLine>,
    /// R of the newest, for vLLM.
    rank: u64,
    next: Option<String>,
    /// Where this server is, for the command lines.
    origin: String,
}

pub(crate) async fn page(State(app): State<App>, asked: Asked, headers: HeaderMap) -> Result<Response, Problem> {
    let run = match asked.get("run") {
        Some(id) => Some(app.run(id).await?),
        None => None,
    };
    let event = app.store.last_event().await?;
    let best = asked.get("best") == Some("1");
    let mut notes = asked.unknown(&["run", "best", "after"]);
    let found = adapters::page(&app, run.as_ref(), best, asked.get("after"), PAGE).await;
    let (rows, next) = match found {
        Err(p) if p.status == 400 => {
            notes.push("The place to go on from is no longer there; this is the first page.".into());
            adapters::page(&app, run.as_ref(), best, None, PAGE).await?
        }
        other => other?,
    };
    let of = run.as_ref().map(|r| format!("&run={}", r.public_id)).unwrap_or_default();
    let host = headers.get(axum::http::header::HOST).and_then(|h| h.to_str().ok()).unwrap_or("127.0.0.1:4270");
    let adapters: Vec<AdapterLine> = adapters::with_files(&app, rows).await?.into_iter().map(AdapterLine::of).collect();
    show(&Page {
        frame: Frame::new(&app, "Adapters", theme(&headers)).live("", event).noting(notes),
        rank: adapters.first().and_then(|a| a.adapter.rank).unwrap_or(16),
        adapters,
        next: next.map(|after| format!("/adapters?after={after}{}{of}", if best { "&best=1" } else { "" })),
        run: run.map(|r| (r.public_id, words::short(&r.name, 80))),
        best,
        origin: format!("http://{host}"),
    })
}

/// The adapters of one run.
pub(crate) async fn of_run(State(app): State<App>, Path(run): Path<String>) -> Result<Redirect, Problem> {
    let run = app.run(&run).await?;
    Ok(Redirect::to(&format!("/adapters?run={}", run.public_id)))
}
