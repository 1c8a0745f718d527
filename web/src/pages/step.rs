//! Page: the groups of one GRPO step, those that can teach first.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use whetstone_domain::{GroupClass, GroupRecord, Outcome, Phase};

use super::asked::Asked;
use super::bar::Bar;
use super::matrix::Letter;
use super::produced::expected;
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
    /// (name, value, address of what made it)
    numbers: Vec<(&'static str, String, String)>,
    /// Share of the step's groups by class: (name, number of its colour, start and width of 1000, how many).
    classes: Vec<(&'static str, usize, usize, usize, usize)>,
    /// (letter, name, how many)
    outcomes: Vec<(char, &'static str, usize)>,
    sorts: Vec<(&'static str, bool)>,
    groups: Vec<Line>,
}

struct Line {
    id: String,
    request: String,
    expected: String,
    letters: Vec<Letter>,
    mean: String,
    std: String,
    tokens: String,
    class: &'static str,
    updates: bool,
}

/// Numbers of a step that its head shows, and the question to the list of rollouts that shows what made them.
const SHOWN: [(&str, &str, &str); 10] = [
    ("reward", "mean reward", "sort=reward"),
    ("outcome/correct", "correct", "outcome=correct"),
    ("frac_reward_zero_std", "groups without spread", "class=all_wrong"),
    ("completions/mean_length", "tokens an answer", "sort=tokens"),
    ("completions/clipped_ratio", "cut off", "outcome=truncated"),
    ("entropy", "entropy, nat", ""),
    ("grad_norm", "gradient norm", ""),
    ("step_time", "seconds in all", ""),
    ("time/rollout", "seconds of rollouts", ""),
    ("time/update", "seconds of the update", ""),
];

/// Those of them that are shares, and said in percent.
const SHARES: [&str; 3] = ["outcome/correct", "frac_reward_zero_std", "completions/clipped_ratio"];

/// Orders of the groups; the first is the default.
const SORTS: [&str; 4] = ["teaching", "std", "mean", "length"];

pub(crate) async fn page(
    State(app): State<App>,
    Path((run, step)): Path<(String, String)>,
    asked: Asked,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run = app.run(&run).await?;
    let step = parse_step(&step)?;
    let event = app.store.last_event().await?;
    let mut groups = groups_of(&app, &run, step).await?;
    let sort = SORTS.into_iter().find(|s| asked.get("sort") == Some(s)).unwrap_or(SORTS[0]);
    match sort {
        "std" => groups.sort_by(|a, b| b.std.total_cmp(&a.std)),
        "mean" => groups.sort_by(|a, b| b.mean.total_cmp(&a.mean)),
        "length" => groups.sort_by(|a, b| tokens(b).total_cmp(&tokens(a))),
        _ => groups.sort_by_key(|g| (g.class != GroupClass::Mixed, g.index)),
    }
    let metrics = app.store.metrics(run.id, Phase::Grpo).await?;
    let at = |key: &str| metrics.get(key).and_then(|s| s.iter().find(|(s, _)| *s == step)).map(|(_, v)| *v);
    let rollouts = format!("/runs/{}/rollouts?step={step}", run.public_id);
    let number = |(key, name, query): (&str, &'static str, &str)| {
        let href = if query.is_empty() { rollouts.clone() } else { format!("{rollouts}&{query}") };
        let value = at(key)?;
        Some((name, if SHARES.contains(&key) { words::percent(value) } else { words::number(value) }, href))
    };
    let all = || groups.iter().flat_map(|g| &g.rollouts);
    let count = |o: Outcome| all().filter(|r| r.outcome == o).count();
    let title = format!("Step {step}");
    let last = if run.phase == Some(Phase::Grpo) { run.step } else { 0 };
    show(&Page {
        frame: Frame::new(&app, &title, theme(&headers)).live(&run.public_id, event, &asked).noting(asked.unknown(&["sort"])),
        bar: Bar::of(&app, &run, "step").await?,
        step,
        previous: step.checked_sub(1).filter(|s| *s > 0),
        next: (step < last).then_some(step + 1),
        numbers: SHOWN.into_iter().filter_map(number).collect(),
        classes: classes(&groups),
        outcomes: Outcome::ALL.into_iter().map(|o| (o.letter(), o.name(), count(o))).filter(|o| o.2 > 0).collect(),
        sorts: SORTS.into_iter().map(|s| (s, s == sort)).collect(),
        groups: groups.iter().map(|g| line(step, g)).collect(),
    })
}

fn tokens(g: &GroupRecord) -> f64 {
    g.rollouts.iter().map(|r| r.ids.len() as f64).sum::<f64>() / g.rollouts.len().max(1) as f64
}

fn classes(groups: &[GroupRecord]) -> Vec<(&'static str, usize, usize, usize, usize)> {
    let mut before = 0;
    let mut found = Vec::new();
    for (colour, class) in GroupClass::ALL.into_iter().enumerate() {
        let n = groups.iter().filter(|g| g.class == class).count();
        let (start, end) = (1000 * before / groups.len().max(1), 1000 * (before + n) / groups.len().max(1));
        before += n;
        if n > 0 {
            found.push((class.name(), colour, start, end - start, n));
        }
    }
    found
}

fn line(step: usize, g: &GroupRecord) -> Line {
    Line {
        id: format!("{step}-{}", g.index),
        request: words::short(request(g), 140),
        expected: words::short(&expected(&g.problem), 160),
        letters: Letter::all(g),
        mean: words::number(g.mean),
        std: words::number(g.std),
        tokens: words::number(tokens(g)),
        class: g.class.name(),
        updates: g.rollouts.iter().any(|r| r.effective),
    }
}
