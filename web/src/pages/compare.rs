//! Page: up to six runs over each other: curves, measurements, and only what differs in their configs.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::Value;
use whetstone_store::{RunFilter, RunRow};

use super::asked::Asked;
use super::{Frame, show, theme};
use crate::chart::Chart;
use crate::charts::{Align, of_runs};
use crate::problem::Problem;
use crate::{App, places, words};

/// Most runs at once: more lines than this are not told apart.
const MOST: usize = 6;

#[derive(Template)]
#[template(path = "compare.html")]
struct Page<'a> {
    frame: Frame<'a>,
    /// (id, name, before, best)
    runs: Vec<(String, String, String, String)>,
    aligns: Vec<(&'static str, &'static str, bool)>,
    chosen: String,
    charts: Vec<Chart>,
    chart_base: Option<String>,
    /// (key, values of the runs)
    differences: Vec<(String, Vec<String>)>,
    same: usize,
    others: Vec<(String, String)>,
}

pub(crate) async fn page(State(app): State<App>, asked: Asked, headers: HeaderMap) -> Result<Response, Problem> {
    // checkboxes send run=a&run=b, links runs=a,b
    let mut ids: Vec<String> =
        asked.all(&["run", "runs"]).flat_map(|v| v.split(',')).filter(|v| !v.is_empty()).map(str::to_owned).collect();
    let mut seen = BTreeSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    let mut notes = asked.unknown(&["run", "runs", "x"]);
    if ids.len() > MOST {
        notes.push(format!("{} runs were chosen; the first {MOST} are shown, more lines could not be told apart.", ids.len()));
        ids.truncate(MOST);
    }
    let mut runs = Vec::new();
    for id in &ids {
        match app.run(id).await {
            Ok(run) => runs.push(run),
            Err(p) => notes.push(p.detail),
        }
    }
    let align = Align::of(asked.get("x"));
    let configs: Vec<Vec<(String, String)>> = runs.iter().map(|r| config(&app, r)).collect();
    let keys: BTreeSet<&String> = configs.iter().flatten().map(|(k, _)| k).collect();
    let value = |c: &[(String, String)], key: &str| c.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone()).unwrap_or_default();
    let all: Vec<(String, Vec<String>)> = keys.into_iter().map(|k| (k.clone(), configs.iter().map(|c| value(c, k)).collect())).collect();
    let total = all.len();
    let differences: Vec<_> = all.into_iter().filter(|(_, v)| v.iter().any(|x| *x != v[0])).collect();
    let others = app.store.runs(&RunFilter { archived: Some(false), limit: Some(50), ..RunFilter::default() }).await?;
    let chosen: Vec<&str> = runs.iter().map(|r| r.public_id.as_str()).collect();
    show(&Page {
        frame: Frame::new(&app, "Compare", theme(&headers)).noting(notes),
        aligns: [("step", "steps", Align::Step), ("time", "minutes", Align::Minutes), ("rollouts", "rollouts", Align::Rollouts)]
            .map(|(key, name, a)| (key, name, a == align))
            .into(),
        chosen: chosen.join(","),
        charts: of_runs(&app, &runs, align).await?,
        chart_base: None,
        same: total - differences.len(),
        differences,
        others: others.iter().map(|r| (r.public_id.clone(), words::short(&r.name, 60))).collect(),
        runs: runs
            .iter()
            .map(|r| {
                let of = |a: &Option<whetstone_store::Accuracy>| a.as_ref().map(words::accuracy).unwrap_or_default();
                (r.public_id.clone(), words::short(&r.name, 60), of(&r.baseline), of(&r.best))
            })
            .collect(),
    })
}

/// Keys and values of a run's config, flattened.
fn config(app: &App, run: &RunRow) -> Vec<(String, String)> {
    fn walk(value: &Value, before: &str, out: &mut Vec<(String, String)>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    walk(value, &if before.is_empty() { key.clone() } else { format!("{before}.{key}") }, out);
                }
            }
            other => out.push((before.to_owned(), words::short(&other.to_string(), 60))),
        }
    }
    let mut out = Vec::new();
    walk(&places::config(app, run), "", &mut out);
    out
}
