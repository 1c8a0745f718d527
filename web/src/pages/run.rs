//! Page: one run, in the order of doubt: is it alive, does it get better, where does it fail, what was it made of.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Redirect, Response};
use serde::Deserialize;
use whetstone_domain::{CheckpointRecord, Outcome, Phase, RunState};
use whetstone_store::{EvaluationRow, RunRow};

use super::{Frame, show, theme};
use crate::api::{groups, runs};
use crate::chart::Chart;
use crate::problem::Problem;
use crate::{App, charts, words};

/// Groups of the latest steps that are listed.
const LATEST: usize = 2;
/// Log lines that are shown.
const LINES: usize = 200;

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
    config: String,
    log: Vec<String>,
    error: Option<&'a Problem>,
}

/// The second bar of every page of a run.
pub(crate) struct Bar<'a> {
    pub(crate) run: &'a RunRow,
    /// Steps made, of all phases.
    pub(crate) made: usize,
    pub(crate) left: Option<String>,
    pub(crate) can_stop: bool,
    pub(crate) can_resume: bool,
}

impl<'a> Bar<'a> {
    pub(crate) fn new(run: &'a RunRow, now_ms: i64) -> Self {
        let made = steps_made(run);
        let begun = run.started_ms.filter(|_| run.state == RunState::Running && made > 2);
        let left = begun.map(|at| {
            let each = (now_ms - at) as f64 / made as f64;
            format!("about {} left", words::span((each * run.steps_planned.saturating_sub(made) as f64) as i64))
        });
        let can_stop = run.state == RunState::Queued || matches!(run.state, RunState::Starting | RunState::Running);
        let can_resume = matches!(run.state, RunState::Stopped | RunState::Failed | RunState::Interrupted);
        Self { run, made, left, can_stop, can_resume }
    }

    pub(crate) fn name(&self) -> String {
        words::visible(&self.run.name)
    }

    /// Share of the planned steps, of 1000.
    pub(crate) fn permille(&self) -> usize {
        (1000 * self.made).checked_div(self.run.steps_planned).unwrap_or(0).min(1000)
    }
}

/// Steps made in all phases together.
pub(crate) fn steps_made(run: &RunRow) -> usize {
    let warm = run.config().map(|c| c.warm_start.steps).unwrap_or(0);
    match run.phase {
        Some(Phase::Grpo) => warm + run.step,
        Some(Phase::WarmStart) => run.step,
        None => 0,
    }
}

struct EvaluationLine {
    id: String,
    what: &'static str,
    accuracy: String,
    interval: String,
    json: String,
    names: String,
    arguments: String,
    no_call: String,
    versus: String,
    best: bool,
}

struct GroupLine {
    id: String,
    request: String,
    letters: Vec<(char, &'static str, &'static str)>,
    mean: String,
    class: &'static str,
}

struct AdapterLine {
    id: String,
    best: bool,
    sha256: String,
    megabytes: String,
}

/// The run's overview.
pub(crate) async fn overview(State(app): State<App>, Path(run): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let run = app.run(&run).await?;
    page(&app, &run, &headers, None).await
}

async fn page(app: &App, run: &RunRow, headers: &HeaderMap, error: Option<&Problem>) -> Result<Response, Problem> {
    let event = app.store.last_event().await?; // before everything else is read: what comes later is told live
    let evaluations = app.store.evaluations(run.id).await?;
    let charts = charts::of_run(app, run, &evaluations).await?;
    let best = app.store.best_checkpoint(run.id).await?.map(|b| b.checkpoint);
    let checkpoints = app.store.checkpoints(run.id).await?;
    let title = words::visible(&run.name);
    let frame = Frame::new(app, &title, theme(headers)).live(&run.public_id, event);
    let page = Page {
        bar: Bar::new(run, words::now_ms()),
        verdict: verdict(run, &evaluations),
        evaluations: evaluations.iter().map(|e| evaluation_line(e, best.as_ref())).collect(),
        charts,
        chart_base: Some(format!("/runs/{}/chart", run.public_id)),
        latest: latest(app, run).await?,
        adapters: checkpoints.iter().rev().map(|c| adapter_line(c, best.as_ref())).collect(),
        config: config(run),
        log: log(app, run).await?,
        frame,
        error,
    };
    let response = show(&page)?;
    Ok(if error.is_some() { (StatusCode::UNPROCESSABLE_ENTITY, response).into_response() } else { response })
}

/// The answer to "how is it doing" in one sentence.
fn verdict(run: &RunRow, evaluations: &[EvaluationRow]) -> String {
    let done = format!("{} of {} steps", steps_made(run), run.steps_planned);
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
        accuracy: words::percent(s.accuracy),
        interval: format!("{:.1} to {:.1}", 100.0 * s.ci_low, 100.0 * s.ci_high),
        json: words::percent(s.json_valid),
        names: words::percent(s.name_accuracy),
        arguments: words::percent(s.argument_accuracy),
        no_call: words::percent(s.no_call_accuracy),
        versus: e.versus_baseline.as_ref().map(|m| format!("+{} −{}, p = {}", m.gained, m.lost, words::number(m.p))).unwrap_or_default(),
        best: best.is_some_and(|c| c.phase == e.phase && c.step == e.step),
    }
}

fn adapter_line(c: &CheckpointRecord, best: Option<&CheckpointRecord>) -> AdapterLine {
    AdapterLine {
        id: format!("{}-{}", c.phase.name(), c.step),
        best: best == Some(c),
        sha256: c.adapter_sha256.chars().take(16).collect(),
        megabytes: format!("{:.1}", c.bytes as f64 / 1e6),
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
                letters: g.rollouts.iter().map(|r| letter(r.outcome, r.advantage)).collect(),
                mean: words::number(g.mean),
                class: g.class.name(),
            });
        }
    }
    Ok(lines)
}

/// (letter, words, class of its tint) of a rollout.
pub(crate) fn letter(outcome: Outcome, advantage: f64) -> (char, &'static str, &'static str) {
    let tint = match advantage {
        a if a > 0.5 => "up2",
        a if a > 0.0 => "up1",
        a if a < -0.5 => "down2",
        a if a < 0.0 => "down1",
        _ => "level",
    };
    (outcome.letter(), outcome.name(), tint)
}

fn config(run: &RunRow) -> String {
    let value: serde_json::Value = serde_json::from_str(&run.config_json).unwrap_or_default();
    serde_json::to_string_pretty(&value).unwrap_or_default()
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

/// What the form at the foot of the page sends.
#[derive(Deserialize)]
pub(crate) struct Labels {
    name: String,
    tags: String,
    note: String,
}

/// Renames, tags, annotates.
pub(crate) async fn edit(
    State(app): State<App>,
    Path(run): Path<String>,
    headers: HeaderMap,
    Form(form): Form<Labels>,
) -> Result<Response, Problem> {
    let run = app.run(&run).await?;
    let tags = form.tags.split(',').map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect();
    match runs::label(&app, &run, form.name, tags, form.note.replace("\r\n", "\n")).await {
        Ok(()) => Ok(Redirect::to(&format!("/runs/{}", run.public_id)).into_response()),
        Err(p) => page(&app, &run, &headers, Some(&p)).await,
    }
}

/// Stops, resumes, archives, deletes.
pub(crate) async fn act(State(app): State<App>, Path((run, act)): Path<(String, String)>) -> Result<Redirect, Problem> {
    let run = app.run(&run).await?;
    match act.as_str() {
        "stop" => app.store.wish_stop(run.id).await.map(|_| ())?,
        "resume" => app.store.queue_again(run.id).await?,
        "archive" | "unarchive" => app.store.archive_run(run.id, act == "archive").await?,
        "delete" => {
            runs::delete(&app, &run).await?;
            return Ok(Redirect::to("/runs"));
        }
        _ => return Err(Problem::not_found("A run can be stopped, resumed, archived, unarchived and deleted.")),
    }
    Ok(Redirect::to(&format!("/runs/{}", run.public_id)))
}

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
