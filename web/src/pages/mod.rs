//! Pages for people: complete without JavaScript, every view a URL.
//!
//! One module a page: it reads the store into a plain struct that its template shows. What all pages share is the [`Frame`].

mod adapters;
pub(crate) mod asked;
mod bar;
mod chart_files;
mod compare;
mod evaluation;
mod fields;
mod group;
mod labels;
mod launch;
mod matrix;
mod produced;
mod rollouts;
mod run;
mod runs;
mod step;
mod task_sets;

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use whetstone_store::RunRow;

use crate::App;
use crate::problem::Problem;

/// Light, dark, or as the system says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Theme {
    Auto,
    Light,
    Dark,
}

impl Theme {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// The one that the button leads to.
    pub(crate) fn next(self) -> &'static str {
        match self {
            Self::Auto => "light",
            Self::Light => "dark",
            Self::Dark => "auto",
        }
    }
}

/// The theme of the reader's cookie.
pub(crate) fn theme(headers: &HeaderMap) -> Theme {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|c| c.to_str().ok()).flat_map(|c| c.split(';'));
    match cookies.filter_map(|c| c.trim().strip_prefix("theme=")).next_back() {
        Some("light") => Theme::Light,
        Some("dark") => Theme::Dark,
        _ => Theme::Auto,
    }
}

/// What the frame around every page shows.
pub(crate) struct Frame<'a> {
    pub(crate) title: &'a str,
    pub(crate) theme: Theme,
    pub(crate) version: &'static str,
    /// Public id of the run whose events the page follows; empty = those of all runs; none = the page stays as it is.
    pub(crate) follows: Option<&'a str>,
    /// Newest event when the page was rendered.
    pub(crate) event: i64,
    /// Seconds after which a browser without JavaScript asks for the page anew; none = never.
    pub(crate) refresh: Option<u32>,
    /// Query of the same page with that turned on or off.
    pub(crate) turned: String,
    /// What of the address could not be used, a sentence each.
    pub(crate) notes: Vec<String>,
}

impl<'a> Frame<'a> {
    pub(crate) fn new(app: &App, title: &'a str, theme: Theme) -> Self {
        Self { title, theme, version: app.version, follows: None, event: 0, refresh: None, turned: String::new(), notes: Vec::new() }
    }

    /// A page that goes on from event `event` of `run` (empty = all runs); without JavaScript by `?refresh=SECONDS`.
    pub(crate) fn live(self, run: &'a str, event: i64, asked: &asked::Asked) -> Self {
        let refresh = asked.get("refresh").and_then(|s| s.parse().ok()).map(|s: u32| s.clamp(2, 3600));
        Self { follows: Some(run), event, refresh, turned: asked.with("refresh", refresh.is_none().then_some("10")), ..self }
    }

    /// With notes on parts of the address that mean nothing.
    pub(crate) fn noting(mut self, notes: Vec<String>) -> Self {
        self.notes.extend(notes);
        self
    }

    pub(crate) fn asset(&self, name: &str) -> String {
        crate::assets::url(name)
    }
}

/// A template as an answer.
pub(crate) fn show(page: &impl Template) -> Result<Response, Problem> {
    page.render().map(|html| Html(html).into_response()).map_err(|e| Problem::internal(&e))
}

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(|| async { Redirect::to("/runs") }))
        .route("/runs", get(runs::list))
        .route("/runs/new", get(launch::form).post(launch::start))
        .route("/runs/latest", get(latest))
        .route("/runs/{run}", get(run::overview))
        .route("/runs/{run}/edit", post(labels::edit))
        .route("/runs/{run}/{act}", get(door).post(labels::act))
        .route("/runs/{run}/chart/{file}", get(chart_files::chart))
        .route("/runs/{run}/steps/{step}", get(step::page))
        .route("/runs/{run}/groups/{group}", get(group::page))
        .route("/runs/{run}/rollouts", get(rollouts::page))
        .route("/runs/{run}/rollouts/{rollout}", get(rollouts::one))
        .route("/runs/{run}/evals/{evaluation}", get(evaluation::page))
        .route("/runs/{run}/adapters", get(adapters::of_run))
        .route("/adapters", get(adapters::page))
        .route("/compare", get(compare::page))
        .merge(task_sets::routes())
        .route("/theme/{name}", post(set_theme))
}

/// Rooms that are part of the overview for now.
async fn door(State(app): State<App>, Path((run, room)): Path<(String, String)>) -> Result<Redirect, Problem> {
    let run = app.run(&run).await?;
    let anchor = match room.as_str() {
        "evals" => "#evaluations",
        "config" => "#config",
        "logs" => "#log",
        "metrics" => "",
        _ => return Err(Problem::not_found("A run has no such page.")),
    };
    Ok(Redirect::to(&format!("/runs/{}{anchor}", run.public_id)))
}

async fn latest(State(app): State<App>) -> Result<Redirect, Problem> {
    let newest: Option<RunRow> = app.store.runs(&whetstone_store::RunFilter { limit: Some(1), ..Default::default() }).await?.pop();
    let newest = newest.ok_or_else(|| Problem::not_found("There is no run yet."))?;
    Ok(Redirect::to(&format!("/runs/{}", newest.public_id)))
}

async fn set_theme(axum::extract::Path(name): axum::extract::Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    if !["auto", "light", "dark"].contains(&name.as_str()) {
        return Err(Problem::not_found("There is no such theme."));
    }
    // back to the page that asked, and never to another site
    let back =
        headers.get(header::REFERER).and_then(|r| r.to_str().ok()).and_then(|r| r.split_once("://")).and_then(|(_, r)| r.split_once('/'));
    let place = back.map_or_else(|| "/runs".to_owned(), |(_, path)| format!("/{}", path.trim_start_matches(['/', '\\'])));
    let cookie = format!("theme={name}; Path=/; Max-Age=31536000; SameSite=Lax");
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(&place)).into_response())
}
