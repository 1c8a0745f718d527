//! Page: up to six runs over each other: curves, measurements, and only what differs in their configs.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Json, Response};
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
    /// The chosen one of them.
    x: &'static str,
    chosen: String,
    charts: Vec<Chart>,
    chart_base: Option<String>,
    /// (key, values of the runs)
    differences: Vec<(String, Vec<String>)>,
    same: usize,
    others: Vec<(String, String)>,
}

pub(crate) async fn page(State(app): State<App>, asked: Asked, headers: HeaderMap) -> Result<Response, Problem> {
    let event = app.store.last_event().await?;
    // checkboxes send run=a&run=b, links runs=a,b
    let mut ids: Vec<String> =
        asked.all(&["run", "runs"]).flat_map(|v| v.split(',')).filter(|v| !v.is_empty()).map(str::to_owned).collect();
    let mut seen = BTreeSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    let mut notes = asked.unknown(&["run", "runs", "x", "file"]);
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
    let charts = of_runs(&app, &runs, align).await?;
    if let Some(file) = asked.get("file") {
        return numbers(&charts, file);
    }
    let aligns = [("step", "steps", Align::Step), ("time", "minutes", Align::Minutes), ("rollouts", "rollouts", Align::Rollouts)];
    let configs: Vec<Vec<(String, String)>> = runs.iter().map(|r| config(&app, r)).collect();
    let keys: BTreeSet<&String> = configs.iter().flatten().map(|(k, _)| k).collect();
    let value = |c: &[(String, String)], key: &str| c.iter().find(|(k, _)| k == key).map_or_else(|| "none".to_owned(), |(_, v)| v.clone());
    let all: Vec<(String, Vec<String>)> = keys.into_iter().map(|k| (k.clone(), configs.iter().map(|c| value(c, k)).collect())).collect();
    let total = all.len();
    let differences: Vec<_> = all.into_iter().filter(|(_, v)| v.iter().any(|x| *x != v[0])).collect();
    let others = app.store.runs(&RunFilter { archived: Some(false), limit: Some(50), ..RunFilter::default() }).await?;
    let chosen: Vec<&str> = runs.iter().map(|r| r.public_id.as_str()).collect();
    let follows = match runs.as_slice() {
        [one] => one.public_id.as_str(),
        _ => "",
    };
    show(&Page {
        frame: Frame::new(&app, "Compare", theme(&headers)).live(follows, event, &asked).noting(notes),
        x: aligns.iter().find(|a| a.2 == align).map_or("step", |a| a.0),
        aligns: aligns.map(|(key, name, a)| (key, name, a == align)).into(),
        chosen: chosen.join(","),
        charts,
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

/// The numbers of one chart as a file.
fn numbers(charts: &[Chart], file: &str) -> Result<Response, Problem> {
    let unknown = || Problem::not_found("There is no such file; the page that compares links to those there are.");
    let (key, kind) = file.rsplit_once('.').ok_or_else(unknown)?;
    let chart = charts.iter().find(|c| c.key == key).ok_or_else(unknown)?;
    match kind {
        "json" => Ok(Json(chart.json()).into_response()),
        "csv" => Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], chart.csv()).into_response()),
        _ => Err(unknown()),
    }
}

/// Keys and values of a run's config, flattened; keys without a value are left out.
fn config(app: &App, run: &RunRow) -> Vec<(String, String)> {
    fn walk(value: &Value, before: &str, out: &mut Vec<(String, String)>) {
        match value {
            Value::Null => {}
            Value::Object(map) => {
                for (key, value) in map {
                    walk(value, &if before.is_empty() { key.clone() } else { format!("{before}.{key}") }, out);
                }
            }
            other => out.push((before.to_owned(), words::short(&other.to_string(), 60))),
        }
    }
    // parsed and written again: a key that an older version did not store has its default, which is no difference
    let whole = run.config().ok().and_then(|c| serde_json::to_string(&c).ok());
    let whole = RunRow { config_json: whole.unwrap_or_else(|| run.config_json.clone()), ..run.clone() };
    let mut out = Vec::new();
    walk(&places::config(app, &whole), "", &mut out);
    out
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where something is missing")]
mod tests {
    use tempfile::TempDir;
    use tokio_util::sync::CancellationToken;
    use whetstone_domain::RunConfig;
    use whetstone_store::{NewRun, Store};

    use super::*;
    use crate::{Access, Options};

    #[tokio::test]
    async fn a_key_that_an_older_version_did_not_store_is_no_difference() {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let new = NewRun { name: "n", config: &RunConfig::default(), model: "tiny", base_sha256: "00", code_version: "0" };
        let id = store.create_run(&new).await.unwrap();
        let now = store.run_by_id(id).await.unwrap();
        let app = App::new(Options {
            store,
            data_dir: dir.path().into(),
            recipes: vec![],
            models: vec![],
            access: Access::default(),
            version: "0.0.0",
            shutdown: CancellationToken::new(),
        });
        let mut stored: Value = serde_json::from_str(&now.config_json).unwrap();
        for key in ["composition", "worked_examples", "reward_timeout", "tools"] {
            assert!(stored.as_object_mut().unwrap().remove(key).is_some(), "{key}");
        }
        let old = RunRow { config_json: stored.to_string(), ..now.clone() };
        assert_eq!(config(&app, &old), config(&app, &now));
        let broken = RunRow { config_json: "{\"steps\": \"many\"}".into(), ..now };
        assert_eq!(config(&app, &broken), [("steps".to_owned(), "\"many\"".to_owned())]);
    }
}
