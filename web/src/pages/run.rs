//! Page: one run, in the order of doubt: is it alive, does it get better, where does it fail, what was it made of.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use whetstone_domain::{CheckpointRecord, Phase, RunState};
use whetstone_store::{EvaluationRow, RunRow};

use super::asked::Asked;
use super::bar::Bar;
use super::labels::{Labels, Refused};
use super::matrix::Letter;
use super::{Frame, show, theme};
use crate::api::adapters::{Adapter, with_files};
use crate::api::groups;
use crate::chart::Chart;
use crate::problem::Problem;
use crate::{App, charts, places, words};

/// Groups of the latest steps that are listed.
const LATEST: usize = 2;
/// Log lines that are shown.
const LINES: usize = 200;
/// Adapters that are listed; the rest is a page away.
const ADAPTERS: usize = 6;

#[derive(Template)]
#[template(path = "run.html")]
struct Page<'a> {
    frame: Frame<'a>,
    bar: Bar<'a>,
    verdict: String,
    evaluations: Vec<EvaluationLine>,
    charts: Vec<Chart>,
    chart_base: Option<String>,
    latest: Vec<GroupLine>,
    adapters: Vec<AdapterLine>,
    more_adapters: bool,
    config: String,
    log: Vec<String>,
    form: Labels,
    error: Option<Problem>,
}

struct EvaluationLine {
    id: String,
    what: &'static str,
    /// Each with the filter that shows the answers that made it.
    numbers: Vec<(String, &'static str)>,
    /// Gained, lost, p.
    versus: Option<(usize, usize, String)>,
    best: bool,
}

struct GroupLine {
    id: String,
    request: String,
    letters: Vec<Letter>,
    mean: String,
    class: &'static str,
}

/// One adapter of a table.
pub(crate) struct AdapterLine {
    pub(crate) adapter: Adapter,
    /// With its interval; empty = not measured.
    pub(crate) accuracy: String,
    pub(crate) size: String,
    pub(crate) at: String,
}

impl AdapterLine {
    pub(crate) fn of(adapter: Adapter) -> Self {
        let s = adapter.row.summary.as_ref();
        Self {
            accuracy: s.map(|s| words::share_of(s.accuracy, s.ci_low, s.ci_high, s.n)).unwrap_or_default(),
            size: adapter.bytes.map(words::size).unwrap_or_default(),
            at: words::minute(adapter.row.at_ms),
            adapter,
        }
    }

    pub(crate) fn name(&self) -> String {
        words::short(&self.adapter.row.name, 60)
    }

    /// The first characters of its sha256.
    pub(crate) fn digest(&self) -> &str {
        self.adapter.row.checkpoint.adapter_sha256.get(..16).unwrap_or_default()
    }
}

/// The run's overview.
pub(crate) async fn overview(
    State(app): State<App>,
    Path(run): Path<String>,
    asked: Asked,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run = app.run(&run).await?;
    page(&app, &run, &headers, asked.unknown(&[]), None).await
}

/// The overview, after a form that was not accepted with what was typed in it.
pub(crate) async fn page(
    app: &App,
    run: &RunRow,
    headers: &HeaderMap,
    notes: Vec<String>,
    refused: Option<Refused>,
) -> Result<Response, Problem> {
    let event = app.store.last_event().await?; // before everything else is read: what comes later is told live
    let evaluations = app.store.evaluations(run.id).await?;
    let best = app.store.best_checkpoint(run.id).await?.map(|b| b.checkpoint);
    let mut adapters = app.store.adapters(Some(run.id), false, None, ADAPTERS + 1).await?.unwrap_or_default();
    let more_adapters = adapters.len() > ADAPTERS;
    adapters.truncate(ADAPTERS);
    let title = words::visible(&run.name);
    let (error, form) = match refused {
        Some(Refused { problem, form }) => (Some(problem), form),
        None => (None, Labels { name: run.name.clone(), tags: run.tags.join(", "), note: run.note.clone() }),
    };
    let page = Page {
        bar: Bar::of(app, run, "overview").await?,
        verdict: verdict(run, &evaluations),
        evaluations: evaluations.iter().map(|e| evaluation_line(e, best.as_ref())).collect(),
        charts: charts::of_run(app, run, &evaluations).await?,
        chart_base: Some(format!("/runs/{}/chart", run.public_id)),
        latest: latest(app, run).await?,
        adapters: with_files(app, adapters).await?.into_iter().map(AdapterLine::of).collect(),
        more_adapters,
        config: serde_json::to_string_pretty(&places::config(app, run)).map_err(|e| Problem::internal(&e))?,
        log: log(app, run).await?,
        frame: Frame::new(app, &title, theme(headers)).live(&run.public_id, event).noting(notes),
        form,
        error,
    };
    let response = show(&page)?;
    Ok(if page.error.is_some() { (StatusCode::UNPROCESSABLE_ENTITY, response).into_response() } else { response })
}

/// The answer to "how is it doing" in one sentence.
fn verdict(run: &RunRow, evaluations: &[EvaluationRow]) -> String {
    let done = format!("{} of {} steps", run.steps_made(), run.steps_in_all());
    let state = match run.state {
        RunState::Queued => "Waiting for its turn".to_owned(),
        RunState::Starting => "Starting: its worker loads the model".to_owned(),
        RunState::Running => format!("Running, {done}"),
        RunState::Stopping => "Stopping: a checkpoint is written".to_owned(),
        RunState::Finished => format!("Finished, {done}"),
        RunState::Stopped => format!("Stopped after {done}"),
        RunState::Failed => format!("Failed after {done}"),
        RunState::Interrupted => format!("Interrupted after {done}"),
    };
    let Some((before, rest)) = evaluations.split_first() else { return format!("{state}. Nothing was measured yet.") };
    let of = |e: &EvaluationRow| {
        format!("{} ({:.1} to {:.1})", words::percent(e.summary.accuracy), 100.0 * e.summary.ci_low, 100.0 * e.summary.ci_high)
    };
    let Some(now) = rest.last() else {
        return format!("{state}. Held-out accuracy of the prompt alone: {}, n = {}.", of(before), before.summary.n);
    };
    let change = match &now.versus_baseline {
        Some(m) if m.p < 0.05 && m.gained > m.lost => "a gain that is not chance",
        Some(m) if m.p < 0.05 => "a loss that is not chance",
        Some(_) => "within what chance does",
        None => "not compared",
    };
    let p = now
        .versus_baseline
        .as_ref()
        .map(|m| format!(", gained {}, lost {}, p = {}", m.gained, m.lost, words::number(m.p)))
        .unwrap_or_default();
    format!("{state}. Held-out accuracy {} against {} of the prompt alone: {change}{p}, n = {}.", of(now), of(before), now.summary.n)
}

fn evaluation_line(e: &EvaluationRow, best: Option<&CheckpointRecord>) -> EvaluationLine {
    let s = &e.summary;
    EvaluationLine {
        id: format!("{}-{}", e.phase.name(), e.step),
        what: words::kind(e.kind),
        numbers: vec![
            (words::share_of(s.accuracy, s.ci_low, s.ci_high, s.n), "correct"),
            (words::percent(s.json_valid), "unreadable"),
            (words::percent(s.name_accuracy), "other_tool"),
            (words::percent(s.argument_accuracy), "arguments"),
            (words::percent(s.no_call_accuracy), "no_call"),
        ],
        versus: e.versus_baseline.as_ref().map(|m| (m.gained, m.lost, words::number(m.p))),
        best: best.is_some_and(|c| c.phase == e.phase && c.step == e.step),
    }
}

async fn latest(app: &App, run: &RunRow) -> Result<Vec<GroupLine>, Problem> {
    if run.phase != Some(Phase::Grpo) {
        return Ok(Vec::new());
    }
    let mut lines = Vec::new();
    for step in (1..=run.step).rev().take(LATEST) {
        for g in app.store.groups(run.id, Phase::Grpo, step).await? {
            lines.push(GroupLine {
                id: format!("{step}-{}", g.index),
                request: words::short(groups::request(&g), 100),
                letters: Letter::all(&g),
                mean: words::number(g.mean),
                class: g.class.name(),
            });
        }
    }
    Ok(lines)
}

async fn log(app: &App, run: &RunRow) -> Result<Vec<String>, Problem> {
    let rows = app.store.run_log(run.id, LINES).await?;
    let line = |r: &whetstone_store::EventRow| {
        let said = r.body["message"].as_str().unwrap_or_default();
        match r.kind.as_str() {
            "log" => Some(format!("{} {}: {}", words::moment(r.at_ms), r.body["level"].as_str().unwrap_or_default(), words::visible(said))),
            "status" => {
                Some(format!("{} {} {}", words::moment(r.at_ms), r.body["state"].as_str().unwrap_or_default(), words::visible(said)))
            }
            "rewind" => Some(format!("{} went back to the last checkpoint", words::moment(r.at_ms))),
            _ => None,
        }
    };
    Ok(rows.iter().filter_map(line).collect())
}
