//! Rollouts: every sampled answer, filtered, ordered, by the page.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use whetstone_domain::StopReason;
use whetstone_store::RolloutRow;

use super::{Query, number, pairs};
use crate::App;
use crate::problem::Problem;
use crate::rollout_query::{RolloutQuery, place, place_id};

/// Rollouts of an answer when nothing is said.
const USUAL: usize = 50;
/// Most rollouts of one answer.
const MOST: usize = 200;

/// One rollout without its tokens.
#[derive(Serialize, ToSchema)]
pub(crate) struct RolloutView {
    /// `{step}-{group}-{index}`, as addresses have it.
    id: String,
    step: usize,
    /// Index of its group in the step.
    group: usize,
    /// Index in its group.
    index: usize,
    problem: String,
    request: String,
    /// What the parser read.
    text: String,
    outcome: &'static str,
    /// Class of its group.
    class: &'static str,
    #[schema(value_type = Option<f64>)]
    reward: Value,
    #[schema(value_type = Option<f64>)]
    advantage: Value,
    tokens: usize,
    /// eos or length.
    stop: &'static str,
    /// Took part in the update.
    effective: bool,
}

impl RolloutView {
    fn of(r: RolloutRow) -> Self {
        Self {
            id: place_id(r.place),
            step: r.place.step,
            group: r.place.group,
            index: r.place.index,
            problem: r.problem,
            request: r.request,
            text: r.text,
            outcome: r.outcome.name(),
            class: r.class.name(),
            reward: number(r.reward),
            advantage: number(r.advantage),
            tokens: r.tokens,
            stop: if r.stop == StopReason::Eos { "eos" } else { "length" },
            effective: r.effective,
        }
    }
}

/// Some rollouts.
#[derive(Serialize, ToSchema)]
pub(crate) struct RolloutList {
    items: Vec<RolloutView>,
    /// Address of the next page; null = that was all.
    next: Option<String>,
    /// How many there are in all; null where a text is looked for, which is not counted.
    total: Option<usize>,
}

/// How many.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Limit {
    /// 1 to 200, 50 when not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
}

/// List the rollouts of a run
///
/// The grammar is that of the page. A search for a text may end before its page is full; `next` then goes on with it.
#[utoipa::path(get, path = "/api/v1/runs/{run}/rollouts", params(("run" = String, Path), RolloutQuery, Limit),
    responses((status = 200, body = RolloutList), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(app): State<App>,
    Path(run): Path<String>,
    query: Query<RolloutQuery>,
    limit: Query<Limit>,
) -> Result<Response, Problem> {
    let run = app.run(&run).await?;
    let (query, limit) = (pairs(query)?, pairs(limit)?.limit.unwrap_or(USUAL));
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::bad_request("limit must be between 1 and 200."));
    }
    let meant = query.meant();
    if !meant.wrong.is_empty() {
        return Err(Problem::bad_request(meant.wrong.join(" ")));
    }
    let gone = || Problem::bad_request("after names no rollout of this run; begin from the first page.");
    let page = app.store.rollouts(run.id, &meant.filter, meant.after, limit).await?.ok_or_else(gone)?;
    let total = match meant.filter.text {
        Some(_) => None,
        None => {
            let counts = app.store.rollout_counts(run.id, &meant.filter).await?;
            let wanted = |o| meant.filter.outcomes.is_empty() || meant.filter.outcomes.contains(o);
            Some(counts.iter().filter(|(o, _)| wanted(o)).map(|(_, n)| n).sum())
        }
    };
    let next = page.next.map(|place| {
        let query = RolloutQuery { after: Some(place_id(place)), ..query }.string();
        format!("/api/v1/runs/{}/rollouts?{query}&limit={limit}", run.public_id)
    });
    let mut headers = HeaderMap::new();
    if let Some(link) = next.as_ref().and_then(|n| HeaderValue::try_from(format!("<{n}>; rel=\"next\"")).ok()) {
        headers.insert(header::LINK, link);
    }
    Ok((headers, Json(RolloutList { items: page.rows.into_iter().map(RolloutView::of).collect(), next, total })).into_response())
}

/// One rollout with everything that was recorded of it
#[utoipa::path(get, path = "/api/v1/runs/{run}/rollouts/{rollout}",
    params(("run" = String, Path), ("rollout" = String, Path, description = "{step}-{group}-{index}")),
    responses((status = 200, body = Object), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn show(State(app): State<App>, Path((run, rollout)): Path<(String, String)>) -> Result<Json<Value>, Problem> {
    let run = app.run(&run).await?;
    let unknown = || Problem::not_found("There is no such rollout. One is named by {step}-{group}-{index}, such as 12-0-3.");
    let p = place(&rollout).ok_or_else(unknown)?;
    let groups = super::groups::groups_of(&app, &run, p.step).await?;
    let group = groups.iter().find(|g| g.index == p.group).ok_or_else(unknown)?;
    let found = group.rollouts.iter().find(|r| r.index == p.index).ok_or_else(unknown)?;
    Ok(Json(json!({
        "run": run.public_id, "id": rollout, "step": p.step, "group": p.group, "problem": group.problem, "mean": number(group.mean),
        "std": number(group.std), "class": group.class.name(), "rollout": found,
    })))
}
