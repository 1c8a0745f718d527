//! Page: every run. First those that are alive, then the rest, the newest first.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::Value;
use whetstone_domain::RunState;
use whetstone_store::{RunFilter, RunId, RunRow};

use super::asked::Asked;
use super::bar::Bar;
use super::{Frame, show, theme};
use crate::problem::Problem;
use crate::{App, places, words};

/// Runs of a page.
const PAGE: usize = 50;
/// Parameters that the page knows.
const KNOWN: [&str; 6] = ["q", "status", "tag", "archived", "cols", "after"];
/// Columns by their names in `cols`, with their heads. Beside these, `cfg.KEY` shows a key of the config.
const COLUMNS: [(&str, &str); 11] = [
    ("status", "state"),
    ("model", "model"),
    ("accuracy", "held-out accuracy"),
    ("change", "against the prompt alone"),
    ("reward", "reward, last step"),
    ("mixed", "mixed groups"),
    ("length", "tokens an answer"),
    ("steps", "steps"),
    ("time", "time"),
    ("started", "started, UTC"),
    ("tags", "tags"),
];
/// Columns that become one sentence where all runs agree.
const FOLDED: [&str; 2] = ["model", "tags"];
/// Most columns that an address may ask for.
const MOST: usize = 24;

#[derive(Template)]
#[template(path = "runs.html")]
struct Page<'a> {
    frame: Frame<'a>,
    q: String,
    tag: Option<String>,
    /// Every column of `COLUMNS`: name, head, shown.
    choices: Vec<(&'static str, &'static str, bool)>,
    states: Vec<(&'static str, bool)>,
    archived: bool,
    /// Parts of the filter in words, each with the address without it.
    chips: Vec<(String, String)>,
    live: Vec<Bar<'a>>,
    heads: Vec<String>,
    lines: Vec<Line>,
    /// What all runs have in common, in one sentence.
    common: Option<String>,
    next: Option<String>,
    any: bool,
}

struct Line {
    id: String,
    name: String,
    /// The beginning of its note; empty = none.
    note: String,
    cells: Vec<Cell>,
}

/// One value of a run.
enum Cell {
    State(&'static str),
    Tags(Vec<(String, String)>),
    Text(String),
    Number(String),
}

impl Cell {
    fn words(&self) -> String {
        match self {
            Self::State(s) => (*s).into(),
            Self::Tags(tags) => tags.iter().map(|t| t.0.as_str()).collect::<Vec<_>>().join(", "),
            Self::Text(t) | Self::Number(t) => t.clone(),
        }
    }
}

pub(crate) async fn list(State(app): State<App>, asked: Asked, headers: HeaderMap) -> Result<Response, Problem> {
    let event = app.store.last_event().await?;
    let text = |key: &str| asked.get(key).map(str::to_owned);
    let (q, tag, archived) = (text("q"), text("tag"), asked.get("archived") == Some("1"));
    let mut notes = asked.unknown(&KNOWN);
    let state = asked.get("status").and_then(|name| {
        let found = RunState::from_name(name);
        if found.is_none() {
            notes.push(format!("There is no state “{}”.", words::short(name, 40)));
        }
        found
    });
    let before = match asked.get("after") {
        Some(id) => app.run(id).await.ok().map(|r| r.id),
        None => None,
    };
    let filter = RunFilter { state, archived: Some(archived), text: q.clone(), tag: tag.clone(), before, limit: Some(PAGE + 1) };
    let mut rows = app.store.runs(&filter).await?;
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    // a form sends each chosen column by itself, a link all of them at once
    let mut columns: Vec<String> = Vec::new();
    for name in asked.all(&["cols"]).flat_map(|v| v.split(',')).map(str::trim).filter(|c| !c.is_empty()).take(MOST) {
        match COLUMNS.iter().any(|c| c.0 == name) || name.starts_with("cfg.") {
            true if !columns.iter().any(|c| c == name) => columns.push(name.to_owned()),
            true => {}
            false => notes.push(format!("There is no column “{}”.", words::short(name, 40))),
        }
    }
    let cols = columns.join(",");
    if columns.is_empty() {
        columns = COLUMNS.iter().map(|c| c.0.to_owned()).collect();
    }
    let ids: Vec<RunId> = rows.iter().map(|r| r.id).collect();
    let metrics = app.store.last_metrics(&ids, &["reward", "group/mixed", "completions/mean_length"]).await?;
    let none = BTreeMap::new();
    let now = words::now_ms();
    let cells = |r: &RunRow| columns.iter().map(|c| cell(&app, r, c, metrics.get(&r.id).unwrap_or(&none), now)).collect();
    let line =
        |r: &RunRow| Line { id: r.public_id.clone(), name: words::short(&r.name, 80), note: words::short(&r.note, 60), cells: cells(r) };
    let mut lines: Vec<Line> = rows.iter().map(line).collect();
    let common = fold(&mut columns, &mut lines);
    let address = |without: &str, more: &[(&str, &str)]| {
        let parts = [("archived", if archived { "1" } else { "" }), ("cols", cols.as_str()), ("q", q.as_deref().unwrap_or_default())];
        let rest = [("status", state.map(RunState::name).unwrap_or_default()), ("tag", tag.as_deref().unwrap_or_default())];
        let kept = parts.iter().chain(&rest).filter(|(k, v)| *k != without && !v.is_empty()).chain(more);
        let query: Vec<String> = kept.map(|(k, v)| format!("{k}={}", words::in_url(v))).collect();
        if query.is_empty() { "/runs".to_owned() } else { format!("/runs?{}", query.join("&")) }
    };
    let mut chips = Vec::new();
    for (key, value) in [("q", q.clone()), ("status", state.map(|s| s.name().to_owned())), ("tag", tag.clone())] {
        if let Some(value) = value {
            chips.push((format!("{}: {}", if key == "q" { "text" } else { key }, words::short(&value, 60)), address(key, &[])));
        }
    }
    let mut live = Vec::new();
    for run in rows.iter().filter(|r| r.state.is_live()) {
        live.push(Bar::of(&app, run, "").await?);
    }
    let shown = |name: &str| columns.iter().any(|c| c == name);
    let page = Page {
        frame: Frame::new(&app, "Runs", theme(&headers)).live("", event, &asked).noting(notes),
        choices: COLUMNS.into_iter().map(|(name, head)| (name, head, cols.is_empty() || shown(name))).collect(),
        states: RunState::ALL.into_iter().map(|s| (s.name(), Some(s) == state)).collect(),
        any: !rows.is_empty() || !app.store.runs(&RunFilter { limit: Some(1), ..RunFilter::default() }).await?.is_empty(),
        heads: columns.iter().map(|c| head(c)).collect(),
        next: rows.last().filter(|_| more).map(|r| address("after", &[("after", r.public_id.as_str())])),
        q: q.clone().unwrap_or_default(),
        tag: tag.clone(),
        archived,
        chips,
        live,
        lines,
        common,
    };
    show(&page)
}

fn head(column: &str) -> String {
    match COLUMNS.iter().find(|c| c.0 == column) {
        Some((_, head)) => (*head).to_owned(),
        None => words::short(column.strip_prefix("cfg.").unwrap_or(column), 40),
    }
}

/// Takes out columns in which all runs agree, and says them once.
fn fold(columns: &mut Vec<String>, lines: &mut [Line]) -> Option<String> {
    if lines.len() < 2 {
        return None;
    }
    let mut said = Vec::new();
    for at in (0..columns.len()).rev() {
        let name = &columns[at];
        let value = lines[0].cells[at].words();
        if (FOLDED.contains(&name.as_str()) || name.starts_with("cfg.")) && lines.iter().all(|l| l.cells[at].words() == value) {
            if !value.is_empty() {
                said.push(format!("{} {value}", head(name)));
            }
            columns.remove(at);
            lines.iter_mut().for_each(|l| drop(l.cells.remove(at)));
        }
    }
    said.reverse();
    (!said.is_empty()).then(|| format!("All {}: {}.", lines.len(), said.join(", ")))
}

fn cell(app: &App, run: &RunRow, column: &str, metrics: &BTreeMap<String, f64>, now: i64) -> Cell {
    let metric = |key: &str, said: fn(f64) -> String| Cell::Number(metrics.get(key).map(|v| said(*v)).unwrap_or_default());
    match column {
        "status" => Cell::State(run.state.name()),
        "model" => Cell::Text(words::short(places::model(&run.model), 40)),
        "accuracy" => Cell::Number(run.best.or(run.last).map(|a| words::accuracy(&a)).unwrap_or_default()),
        "change" => Cell::Number(match (&run.baseline, run.best.or(run.last)) {
            (Some(before), Some(best)) => format!("{:+.1} points", 100.0 * (best.accuracy - before.accuracy)),
            _ => String::new(),
        }),
        "reward" => metric("reward", words::number),
        "mixed" => metric("group/mixed", words::percent),
        "length" => metric("completions/mean_length", words::number),
        "steps" => Cell::Number(format!("{}/{}", run.steps_made(), run.steps_in_all())),
        "time" => Cell::Number(run.started_ms.map(|at| words::span(run.ended_ms.unwrap_or(now) - at)).unwrap_or_default()),
        "started" => Cell::Number(words::minute(run.started_ms.unwrap_or(run.created_ms))),
        "tags" => Cell::Tags(run.tags.iter().map(|t| (words::visible(t), words::in_url(t))).collect()),
        other => {
            let config = places::config(app, run);
            let key = other.strip_prefix("cfg.").unwrap_or(other).replace('.', "/");
            Cell::Text(match config.pointer(&format!("/{key}")) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(s)) => words::short(s, 40),
                Some(v) => words::short(&v.to_string(), 40),
            })
        }
    }
}
