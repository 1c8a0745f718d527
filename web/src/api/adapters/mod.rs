//! Adapters: the checkpoints of runs as zips that peft loads.
//!
//! In: a record of a checkpoint, whose folder comes from the store. Out: lists, and a zip, checked against the recorded sha256, with
//! ranges and digests for those who download.

mod pack;
mod ranges;

use std::path::PathBuf;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use whetstone_domain::{CheckpointRecord, Phase};
use whetstone_store::{AdapterRow, EvaluationRow, RunRow};

use super::{Query, number, pairs};
use crate::problem::Problem;
use crate::{App, places, words};

/// Most adapters of one answer.
const MOST: usize = 200;

/// One adapter.
#[derive(Serialize, ToSchema)]
pub(crate) struct AdapterView {
    /// `{phase}-{step}`, as addresses have it.
    id: String,
    /// Its run.
    run: String,
    phase: &'static str,
    step: usize,
    /// When it was written.
    at: String,
    /// Name of the base model it fits.
    base: String,
    /// sha256 of the base weights it fits.
    base_sha256: String,
    /// Size of adapter_model.safetensors, bytes; null = the file is gone.
    bytes: Option<u64>,
    /// Size of the checkpoint with its optimiser moments, bytes.
    checkpoint_bytes: u64,
    /// sha256 of adapter_model.safetensors.
    sha256: String,
    /// Held-out accuracy at its step; null = not measured there.
    #[schema(value_type = Option<f64>)]
    accuracy: Value,
    /// Lower end of the Wilson 95 % interval.
    #[schema(value_type = Option<f64>)]
    ci_low: Value,
    /// Upper end.
    #[schema(value_type = Option<f64>)]
    ci_high: Value,
    /// Problems asked.
    n: Option<usize>,
    /// The one of its run with the highest held-out accuracy.
    best: bool,
    /// Address of its zip.
    download: String,
}

/// Some adapters.
#[derive(Serialize, ToSchema)]
pub(crate) struct AdapterList {
    items: Vec<AdapterView>,
    /// Address of the next page; null = that was all.
    next: Option<String>,
}

/// An adapter with what its files say.
pub(crate) struct Adapter {
    pub(crate) row: AdapterRow,
    /// `{phase}-{step}`.
    pub(crate) id: String,
    /// Name of its base as adapter_config.json has it; the run's where the file is gone.
    pub(crate) base: String,
    /// Size of its weights, bytes; none = the file is gone.
    pub(crate) bytes: Option<u64>,
    /// R, as adapter_config.json has it.
    pub(crate) rank: Option<u64>,
}

impl Adapter {
    /// Address of its zip.
    pub(crate) fn download(&self) -> String {
        format!("/api/v1/runs/{}/adapters/{}.zip", self.row.run, self.id)
    }
}

/// Looks at the files of adapters.
pub(crate) async fn with_files(app: &App, rows: Vec<AdapterRow>) -> Result<Vec<Adapter>, Problem> {
    let runs: PathBuf = app.data_dir.join("runs");
    let look = move |row: AdapterRow| {
        let folder = runs.join(&row.run).join(&row.checkpoint.folder);
        let config = std::fs::read(folder.join("adapter_config.json")).ok();
        let config: Option<Value> = config.and_then(|c| serde_json::from_slice(&c).ok());
        let base = config.as_ref().and_then(|c| c["base_model_name_or_path"].as_str().map(str::to_owned));
        Adapter {
            id: format!("{}-{}", row.checkpoint.phase.name(), row.checkpoint.step),
            base: words::visible(places::model_path(&base.unwrap_or_else(|| row.model.clone()))),
            rank: config.as_ref().and_then(|c| c["r"].as_u64()),
            bytes: std::fs::metadata(folder.join("adapter_model.safetensors")).ok().map(|m| m.len()),
            row,
        }
    };
    tokio::task::spawn_blocking(move || rows.into_iter().map(look).collect()).await.map_err(|e| Problem::internal(&e))
}

fn view(a: Adapter) -> AdapterView {
    let s = a.row.summary.as_ref();
    let share = |f: fn(&whetstone_domain::EvaluationSummary) -> f64| s.map_or(Value::Null, |s| number(f(s)));
    AdapterView {
        download: a.download(),
        run: a.row.run,
        phase: a.row.checkpoint.phase.name(),
        step: a.row.checkpoint.step,
        at: words::moment(a.row.at_ms),
        base_sha256: a.row.base_sha256,
        checkpoint_bytes: a.row.checkpoint.bytes,
        sha256: a.row.checkpoint.adapter_sha256,
        accuracy: share(|s| s.accuracy),
        ci_low: share(|s| s.ci_low),
        ci_high: share(|s| s.ci_high),
        n: s.map(|s| s.n),
        best: a.row.best,
        id: a.id,
        base: a.base,
        bytes: a.bytes,
    }
}

/// List the adapters of a run, in order
#[utoipa::path(get, path = "/api/v1/runs/{run}/adapters", params(("run" = String, Path)),
    responses((status = 200, body = AdapterList), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list(State(app): State<App>, Path(run): Path<String>) -> Result<Json<AdapterList>, Problem> {
    let run = app.run(&run).await?;
    let rows = app.store.adapters(Some(run.id), false, None, usize::MAX).await?.unwrap_or_default();
    let items = with_files(&app, rows).await?.into_iter().rev().map(view).collect();
    Ok(Json(AdapterList { items, next: None }))
}

/// Which adapters.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AllQuery {
    /// Only the one with the highest held-out accuracy of each run.
    best: Option<bool>,
    /// 1 to 200, 50 when not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
    /// Go on after this one, `{run}.{phase}-{step}`.
    #[param(pattern = "^r-[0-9a-z]{1,30}[.](warm_start|grpo)-[0-9]{1,9}$")]
    after: Option<String>,
}

/// List the adapters of every run that is not archived, the newest first
#[utoipa::path(get, path = "/api/v1/adapters", params(AllQuery),
    responses((status = 200, body = AdapterList), (status = 400, body = Problem, content_type = "application/problem+json"), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn all(State(app): State<App>, query: Query<AllQuery>) -> Result<Json<AdapterList>, Problem> {
    let query = pairs(query)?;
    let (best, limit) = (query.best.unwrap_or(false), query.limit.unwrap_or(50));
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::bad_request("limit must be between 1 and 200."));
    }
    let (rows, next) = page(&app, None, best, query.after.as_deref(), limit).await?;
    let next = next.map(|after| format!("/api/v1/adapters?best={best}&limit={limit}&after={after}"));
    Ok(Json(AdapterList { items: with_files(&app, rows).await?.into_iter().map(view).collect(), next }))
}

/// One page of adapters, and where the next one goes on.
pub(crate) async fn page(
    app: &App,
    run: Option<&RunRow>,
    best: bool,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<AdapterRow>, Option<String>), Problem> {
    let bad = || Problem::bad_request("after must name an adapter as {run}.{phase}-{step}, such as r-7k2m.grpo-45.");
    let after = match after {
        None => None,
        Some(text) => {
            let (run, id) = text.split_once('.').ok_or_else(bad)?;
            let (phase, step) = id.rsplit_once('-').ok_or_else(bad)?;
            let phase = Phase::from_name(phase).ok_or_else(bad)?;
            let step = super::groups::parse_step(step).map_err(|_| bad())?;
            Some((app.run(run).await.map_err(|_| bad())?.id, phase, step))
        }
    };
    let mut rows = app.store.adapters(run.map(|r| r.id), best, after, limit + 1).await?.ok_or_else(bad)?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let place = |a: &AdapterRow| format!("{}.{}-{}", a.run, a.checkpoint.phase.name(), a.checkpoint.step);
    let next = rows.last().filter(|_| more).map(place);
    Ok((rows, next))
}

/// Download an adapter
///
/// A zip of adapter_config.json, adapter_model.safetensors and a model card, as Hugging Face peft loads it once unpacked.
#[utoipa::path(get, path = "/api/v1/runs/{run}/adapters/{file}",
    params(("run" = String, Path), ("file" = String, Path, description = "{phase}-{step}.zip, best.zip or last.zip")),
    responses((status = 200, description = "the zip", content_type = "application/zip"), (status = 206, description = "a range of it"),
        (status = 304, description = "as the caller has it"), (status = 404, body = Problem, content_type = "application/problem+json"), (status = 409, body = Problem, content_type = "application/problem+json"), (status = 416, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn download(
    State(app): State<App>,
    Path((run, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run = app.run(&run).await?;
    let checkpoint = choose(&app, &run, &file).await?;
    let measured = app.store.evaluations(run.id).await?;
    let here = measured.iter().rev().find(|e| e.phase == checkpoint.phase && e.step == checkpoint.step);
    let result = here.map(|EvaluationRow { summary: s, .. }| {
        format!(
            "{} of {} held-out problems right: {} ({:.1} to {:.1})",
            s.correct,
            s.n,
            words::percent(s.accuracy),
            100.0 * s.ci_low,
            100.0 * s.ci_high
        )
    });
    let name = format!("{}-{}-{}.zip", run.public_id, checkpoint.phase.name(), checkpoint.step);
    let folder = app.run_folder(&run).join(&checkpoint.folder);
    let zip = tokio::task::spawn_blocking(move || pack::zip(&run, &checkpoint, &folder, result.as_deref()));
    let zip = zip.await.map_err(|e| Problem::internal(&e))??;
    ranges::answer(zip, &name, &headers)
}

async fn choose(app: &App, run: &RunRow, file: &str) -> Result<CheckpointRecord, Problem> {
    let unknown = || Problem::not_found(format!("Run {} has no such adapter; its list names those it has.", run.public_id));
    let wanted = file.strip_suffix(".zip").ok_or_else(unknown)?;
    let mut all = app.store.checkpoints(run.id).await?;
    match wanted {
        "last" => all.pop().ok_or_else(unknown),
        "best" => app.store.best_checkpoint(run.id).await?.map(|b| b.checkpoint).ok_or_else(unknown),
        id => all.into_iter().find(|c| format!("{}-{}", c.phase.name(), c.step) == id).ok_or_else(unknown),
    }
}
