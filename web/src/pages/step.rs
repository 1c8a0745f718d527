//! Page: the groups of one GRPO step, those that can teach first.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use whetstone_domain::{GroupClass, Phase};

use super::run::{Bar, letter};
use super::{Frame, show, theme};
use crate::api::groups::{groups_of, parse_step, request};
use crate::problem::Problem;
use crate::{App, words};

#[derive(Template)]
#[template(path = "step.html")]
struct Page<'a> {
    frame: Frame<'a>,
    bar: Bar<'a>,
    step: usize,
    previous: Option<usize>,
    next: Option<usize>,
    numbers: Vec<(&'static str, String)>,
    groups: Vec<Line>,
}

struct Line {
    id: String,
    request: String,
    expected: String,
    letters: Vec<(char, &'static str, &'static str)>,
    mean: String,
    std: String,
    class: &'static str,
}

/// Numbers of a step that its head shows.
const SHOWN: [(&str, &str); 7] = [
    ("reward", "mean reward"),
    ("outcome/correct", "share correct"),
    ("frac_reward_zero_std", "share of groups without spread"),
    ("completions/mean_length", "tokens per answer"),
    ("entropy", "entropy, nat"),
    ("grad_norm", "gradient norm"),
    ("step_time", "seconds"),
];

pub(crate) async fn page(
    State(app): State<App>,
    Path((run, step)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run = app.run(&run).await?;
    let step = parse_step(&step)?;
    let mut groups = groups_of(&app, &run, step).await?;
    groups.sort_by_key(|g| (g.class != GroupClass::Mixed, g.index));
    let metrics = app.store.metrics(run.id, Phase::Grpo).await?;
    let at = |key: &str| metrics.get(key).and_then(|s| s.iter().find(|(s, _)| *s == step)).map(|(_, v)| words::number(*v));
    let line = |g: &whetstone_domain::GroupRecord| Line {
        id: format!("{step}-{}", g.index),
        request: words::short(request(g), 140),
        expected: words::short(
            &whetstone_tooluse::format::write(
                whetstone_domain::config::Format::BareJson,
                &whetstone_tooluse::matching::canonical(&g.problem),
            ),
            160,
        ),
        letters: g.rollouts.iter().map(|r| letter(r.outcome, r.advantage)).collect(),
        mean: words::number(g.mean),
        std: words::number(g.std),
        class: g.class.name(),
    };
    let title = format!("Step {step}");
    let last = if run.phase == Some(Phase::Grpo) { run.step } else { 0 };
    show(&Page {
        frame: Frame::new(&app, &title, theme(&headers)),
        bar: Bar::new(&run, words::now_ms()),
        step,
        previous: step.checked_sub(1).filter(|s| *s > 0),
        next: (step < last).then_some(step + 1),
        numbers: SHOWN.iter().filter_map(|(key, name)| Some((*name, at(key)?))).collect(),
        groups: groups.iter().map(line).collect(),
    })
}
