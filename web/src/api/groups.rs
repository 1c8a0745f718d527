//! Steps and what they were made of: numbers by column, groups, every rollout with its reward parts.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use whetstone_domain::{GroupRecord, Phase, Rollout};
use whetstone_store::RunRow;

use super::{Query, number, pairs};
use crate::problem::Problem;
use crate::{App, words};

/// Which numbers.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MetricsQuery {
    /// warm_start or grpo (the default).
    #[param(pattern = "^(warm_start|grpo)$")]
    phase: Option<String>,
    /// Only these, separated by commas; all when not given.
    keys: Option<String>,
}

/// Numbers of the steps of one phase, by column.
#[derive(Serialize, ToSchema)]
pub(crate) struct Columns {
    phase: &'static str,
    /// Step numbers: row i of every column belongs to step[i].
    step: Vec<usize>,
    /// Columns under TRL's names; null = missing, or not a number.
    #[schema(value_type = Object)]
    keys: BTreeMap<String, Vec<Value>>,
    /// Steps at which a number was NaN or infinite, by name.
    #[schema(value_type = Object)]
    nan_steps: BTreeMap<String, Vec<usize>>,
}

/// Metrics by column
#[utoipa::path(get, path = "/api/v1/runs/{run}/metrics", params(("run" = String, Path), MetricsQuery),
    responses((status = 200, body = Columns), (status = 400, body = Problem, content_type = "application/problem+json"), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn metrics(State(app): State<App>, Path(run): Path<String>, query: Query<MetricsQuery>) -> Result<Json<Columns>, Problem> {
    let query = pairs(query)?;
    let run = app.run(&run).await?;
    let name = query.phase.as_deref().unwrap_or("grpo");
    let phase = Phase::from_name(name).ok_or_else(|| Problem::bad_request("phase must be warm_start or grpo."))?;
    let mut series = app.store.metrics(run.id, phase).await?;
    if let Some(keys) = &query.keys {
        let wanted: Vec<&str> = keys.split(',').collect();
        series.retain(|k, _| wanted.contains(&k.as_str()));
    }
    let mut step: Vec<usize> = series.values().flatten().map(|(s, _)| *s).collect();
    step.sort_unstable();
    step.dedup();
    let (mut keys, mut nan_steps) = (BTreeMap::new(), BTreeMap::new());
    for (key, points) in series {
        let odd: Vec<usize> = points.iter().filter(|(_, v)| !v.is_finite()).map(|(s, _)| *s).collect();
        if !odd.is_empty() {
            nan_steps.insert(key.clone(), odd);
        }
        let by_step: BTreeMap<usize, f64> = points.into_iter().collect();
        keys.insert(key, step.iter().map(|s| by_step.get(s).map_or(Value::Null, |v| number(*v))).collect());
    }
    Ok(Json(Columns { phase: phase.name(), step, keys, nan_steps }))
}

/// One step.
#[derive(Serialize, ToSchema)]
pub(crate) struct StepView {
    phase: &'static str,
    step: usize,
    at: String,
}

/// Every step that was made, in order
#[utoipa::path(get, path = "/api/v1/runs/{run}/steps", params(("run" = String, Path)),
    responses((status = 200, body = [StepView]), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn steps(State(app): State<App>, Path(run): Path<String>) -> Result<Json<Vec<StepView>>, Problem> {
    let run = app.run(&run).await?;
    let steps = app.store.steps(run.id).await?;
    Ok(Json(steps.into_iter().map(|s| StepView { phase: s.phase.name(), step: s.step, at: words::moment(s.at_ms) }).collect()))
}

/// A group in short.
#[derive(Serialize, ToSchema)]
pub(crate) struct GroupLine {
    /// `{step}-{index}`, as addresses have it.
    id: String,
    problem: String,
    request: String,
    #[schema(value_type = Option<f64>)]
    mean: Value,
    #[schema(value_type = Option<f64>)]
    std: Value,
    /// mixed, all_correct, all_wrong or tied.
    class: &'static str,
    rollouts: Vec<RolloutLine>,
}

/// A rollout in short.
#[derive(Serialize, ToSchema)]
pub(crate) struct RolloutLine {
    index: usize,
    outcome: &'static str,
    #[schema(value_type = Option<f64>)]
    reward: Value,
    #[schema(value_type = Option<f64>)]
    advantage: Value,
    tokens: usize,
    effective: bool,
}

/// The groups of a GRPO step
#[utoipa::path(get, path = "/api/v1/runs/{run}/steps/{step}", params(("run" = String, Path), ("step" = usize, Path)),
    responses((status = 200, body = [GroupLine]), (status = 400, body = Problem, content_type = "application/problem+json"), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn step(State(app): State<App>, Path((run, step)): Path<(String, String)>) -> Result<Json<Vec<GroupLine>>, Problem> {
    let run = app.run(&run).await?;
    let step = parse_step(&step)?;
    let groups = groups_of(&app, &run, step).await?;
    Ok(Json(groups.iter().map(|g| group_line(step, g)).collect()))
}

fn group_line(step: usize, g: &GroupRecord) -> GroupLine {
    let line = |r: &Rollout| RolloutLine {
        index: r.index,
        outcome: r.outcome.name(),
        reward: number(r.reward.total),
        advantage: number(r.advantage),
        tokens: r.ids.len(),
        effective: r.effective,
    };
    GroupLine {
        id: format!("{step}-{}", g.index),
        problem: g.problem.id.clone(),
        request: request(g).to_owned(),
        mean: number(g.mean),
        std: number(g.std),
        class: g.class.name(),
        rollouts: g.rollouts.iter().map(line).collect(),
    }
}

/// One group with everything that was recorded of it
#[utoipa::path(get, path = "/api/v1/runs/{run}/groups/{group}", params(("run" = String, Path), ("group" = String, Path, description = "{step}-{index}")),
    responses((status = 200, body = Object), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn group(State(app): State<App>, Path((run, group)): Path<(String, String)>) -> Result<Json<Value>, Problem> {
    let run = app.run(&run).await?;
    let (step, groups, at) = find(&app, &run, &group).await?;
    Ok(Json(json!({ "run": run.public_id, "step": step, "group": groups[at] })))
}

/// The user's words of a group's problem.
pub(crate) fn request(g: &GroupRecord) -> &str {
    g.problem.messages.last().map_or("", |m| m.content.as_str())
}

/// A step's number in an address.
pub(crate) fn parse_step(text: &str) -> Result<usize, Problem> {
    let plain = (1..=9).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten().ok_or_else(|| Problem::not_found("A step is a number."))
}

/// The groups of a GRPO step, which must have been made.
pub(crate) async fn groups_of(app: &App, run: &RunRow, step: usize) -> Result<Vec<GroupRecord>, Problem> {
    let groups = app.store.groups(run.id, Phase::Grpo, step).await?;
    if groups.is_empty() {
        return Err(Problem::not_found(format!("Run {} has no GRPO step {step} yet. Warm-start steps have no groups.", run.public_id)));
    }
    Ok(groups)
}

/// (step, its groups, position of the one meant by `{step}-{index}`).
pub(crate) async fn find(app: &App, run: &RunRow, group: &str) -> Result<(usize, Vec<GroupRecord>, usize), Problem> {
    let unknown = || Problem::not_found("A group is named by {step}-{index}, such as 12-0.");
    let (step, index) = group.split_once('-').ok_or_else(unknown)?;
    let (step, index) = (parse_step(step).map_err(|_| unknown())?, parse_step(index).map_err(|_| unknown())?);
    let groups = groups_of(app, run, step).await?;
    let of = groups.len();
    let at = groups.iter().position(|g| g.index == index);
    let at = at.ok_or_else(|| Problem::not_found(format!("Step {step} has {of} groups, counted from 0.")))?;
    Ok((step, groups, at))
}
