//! A run's charts as files: SVG to show elsewhere, CSV and JSON of the same numbers.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Json, Response};

use crate::chart::Chart;
use crate::problem::Problem;
use crate::{App, charts};

#[derive(Template)]
#[template(path = "chart.svg")]
struct Svg<'a> {
    chart: &'a Chart,
}

/// The colour of a style outside of our style sheet: Okabe and Ito's, then greys.
fn colour(style: &usize) -> &'static str {
    const COLOURS: [&str; 14] = [
        "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a7a00", "#555555", "#999999", "#bbbbbb", "#777777", "#333333",
        "#009e73", "#66c2a4",
    ];
    COLOURS[style % COLOURS.len()]
}

/// One chart as a file.
pub(crate) async fn chart(State(app): State<App>, Path((run, file)): Path<(String, String)>) -> Result<Response, Problem> {
    let run = app.run(&run).await?;
    let unknown = || Problem::not_found("There is no such chart; the run's page links to those there are.");
    let (key, kind) = file.rsplit_once('.').ok_or_else(unknown)?;
    let evaluations = app.store.evaluations(run.id).await?;
    let chart = charts::of_run(&app, &run, &evaluations).await?.into_iter().find(|c| c.key == key).ok_or_else(unknown)?;
    Ok(match kind {
        "json" => Json(chart.json()).into_response(),
        "csv" => ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], chart.csv()).into_response(),
        "svg" => {
            let svg = Svg { chart: &chart }.render().map_err(|e| Problem::internal(&e))?;
            ([(header::CONTENT_TYPE, "image/svg+xml")], svg).into_response()
        }
        _ => return Err(unknown()),
    })
}
