//! Page: one prompt with its G sampled answers, from reward parts to advantage, and expected against produced.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use whetstone_store::{RolloutFilter, RolloutPlace, RunRow};
use whetstone_tooluse::format::signature::signature;

use super::asked::Asked;
use super::bar::Bar;
use super::matrix::{Row, arithmetic, rows, sum};
use super::produced::{Shown, expected, shown};
use super::{Frame, show, theme};
use crate::api::groups::{find, request};
use crate::problem::Problem;
use crate::rollout_query::{RolloutQuery, place_id};
use crate::{App, words};

#[derive(Template)]
#[template(path = "group.html")]
struct Page<'a> {
    frame: Frame<'a>,
    bar: Bar<'a>,
    id: &'a str,
    step: usize,
    previous: Option<Neighbour>,
    next: Option<Neighbour>,
    /// The list of rollouts this answer was opened from, as `&in=...`; empty = none.
    within: String,
    /// Address of that list.
    list: Option<String>,
    request: String,
    problem: String,
    problem_in_url: String,
    tools: Vec<(String, bool)>,
    prompt: String,
    expected: String,
    parts: Vec<(String, String)>,
    rows: Vec<Row>,
    mean: String,
    std: String,
    class: &'static str,
    sum: String,
    arithmetic: String,
    selected: usize,
    view: &'static str,
    shown: Shown,
}

/// The group or answer before or after this one.
struct Neighbour {
    href: String,
    words: String,
}

pub(crate) async fn page(
    State(app): State<App>,
    Path((run, group)): Path<(String, String)>,
    asked: Asked,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run = app.run(&run).await?;
    let event = app.store.last_event().await?;
    let (step, groups, at) = find(&app, &run, &group).await?;
    let config = run.config().map_err(|e| Problem::internal(&e))?;
    let g = &groups[at];
    // of equals the first, which stands for them in the table
    let Some(best) = g.rollouts.iter().rev().max_by(|a, b| a.reward.total.total_cmp(&b.reward.total)) else {
        return Err(Problem::not_found("This group has no answers."));
    };
    let wanted = asked.get("i").and_then(|i| i.parse::<usize>().ok());
    let r = wanted.and_then(|i| g.rollouts.iter().find(|r| r.index == i)).unwrap_or(best);
    let view = ["text", "tokens", "raw"].into_iter().find(|v| asked.get("view") == Some(v)).unwrap_or("diff");
    let within = asked.get("in").map(|list| RolloutQuery::of(|key| Asked::within(list).get(key).map(str::to_owned)));
    let place = RolloutPlace { step, group: g.index, index: r.index };
    let (previous, next) = match &within {
        Some(list) => in_list(&app, &run, list, place, view).await?,
        None => in_run(&app, &run, place, view).await?,
    };
    let title = format!("Group {group}");
    let names: Vec<&str> = g.problem.expected.calls.iter().map(|c| c.name.as_str()).collect();
    show(&Page {
        frame: Frame::new(&app, &title, theme(&headers)).live(&run.public_id, event, &asked).noting(asked.unknown(&["i", "view", "in"])),
        bar: Bar::of(&app, &run, "rollouts").await?,
        id: &group,
        step,
        previous,
        next,
        within: within.as_ref().map(|l| format!("&in={}", words::in_url(&l.string()))).unwrap_or_default(),
        list: within.as_ref().map(|l| format!("/runs/{}/rollouts?{}", run.public_id, l.string())),
        request: words::visible(request(g)),
        problem: words::visible(&g.problem.id),
        problem_in_url: words::in_url(&g.problem.id),
        tools: g.problem.tools.iter().map(|t| (words::visible(&signature(t)), names.contains(&t.name.as_str()))).collect(),
        prompt: words::visible(&g.prompt),
        expected: words::visible(&expected(&g.problem)),
        parts: r.reward.parts.iter().map(|p| (p.name.clone(), format!("{}×", p.weight))).collect(),
        rows: rows(g, r),
        mean: words::number(g.mean),
        std: words::number(g.std),
        class: g.class.name(),
        sum: sum(r),
        arithmetic: arithmetic(&groups, g, r, &config),
        selected: r.index,
        view,
        shown: shown(g, r)?,
    })
}

/// The groups beside this one, over the borders of steps.
async fn in_run(app: &App, run: &RunRow, at: RolloutPlace, view: &str) -> Result<(Option<Neighbour>, Option<Neighbour>), Problem> {
    let (before, after) = app.store.groups_beside(run.id, at.step, at.group).await?;
    let neighbour = |(step, index): (usize, usize)| Neighbour {
        href: format!(
            "/runs/{}/groups/{step}-{index}{}",
            run.public_id,
            if view == "diff" { String::new() } else { format!("?view={view}") }
        ),
        words: format!("group {step}-{index}"),
    };
    Ok((before.map(neighbour), after.map(neighbour)))
}

/// The answers beside this one in the list it was opened from: the same filter, the same order.
async fn in_list(
    app: &App,
    run: &RunRow,
    list: &RolloutQuery,
    at: RolloutPlace,
    view: &str,
) -> Result<(Option<Neighbour>, Option<Neighbour>), Problem> {
    let filter = list.meant().filter;
    let backwards = RolloutFilter { ascending: !filter.ascending, ..filter.clone() };
    let query = words::in_url(&list.with("after", None).string());
    let mut found = [None, None];
    for (slot, filter) in found.iter_mut().zip([&backwards, &filter]) {
        let row = app.store.rollouts(run.id, filter, Some(at), 1).await?.and_then(|p| p.rows.into_iter().next());
        *slot = row.map(|r| Neighbour {
            href: format!("/runs/{}/groups/{}-{}?i={}&in={query}&view={view}", run.public_id, r.place.step, r.place.group, r.place.index),
            words: format!("rollout {}", place_id(r.place)),
        });
    }
    let [before, after] = found;
    Ok((before, after))
}
