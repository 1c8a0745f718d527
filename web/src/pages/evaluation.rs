//! Page: one evaluation, problem by problem, against the prompt alone.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::run::Bar;
use super::{Frame, show, theme};
use crate::api::evaluations::{before, find};
use crate::problem::Problem;
use crate::{App, words};

/// Problems of a page.
const PAGE: usize = 100;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct View {
    show: Option<String>,
    outcome: Option<String>,
    page: Option<String>,
}

#[derive(Template)]
#[template(path = "evaluation.html")]
struct Page<'a> {
    frame: Frame<'a>,
    bar: Bar<'a>,
    id: &'a str,
    what: &'static str,
    tasks: String,
    tiles: Vec<(&'static str, String)>,
    filters: Vec<(&'static str, usize)>,
    chosen: &'static str,
    outcomes: Vec<(&'static str, usize)>,
    outcome: String,
    lines: Vec<Line>,
    shown: (usize, usize, usize),
    next: Option<usize>,
}

struct Line {
    problem: String,
    turned: &'static str,
    letter: char,
    outcome: &'static str,
    text: String,
    tokens: usize,
}

pub(crate) async fn page(
    State(app): State<App>,
    Path((run, evaluation)): Path<(String, String)>,
    Query(view): Query<View>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run = app.run(&run).await?;
    let e = find(&app, &run, &evaluation).await?;
    let before = before(&app, &run).await?;
    let turned = |p: &whetstone_domain::Prediction| match (before.get(&p.id), p.correct) {
        (Some(false), true) => "gained",
        (Some(true), false) => "lost",
        (_, true) => "right",
        (_, false) => "wrong",
    };
    let count = |what: &str| e.predictions.iter().filter(|p| what == "all" || turned(p) == what).count();
    let filters: Vec<(&'static str, usize)> = ["all", "gained", "lost", "wrong", "right"].into_iter().map(|f| (f, count(f))).collect();
    let chosen = filters.iter().map(|f| f.0).find(|f| view.show.as_deref() == Some(f)).unwrap_or("all");
    let mut outcomes: Vec<(&'static str, usize)> = Vec::new();
    for p in &e.predictions {
        match outcomes.iter_mut().find(|o| o.0 == p.outcome.name()) {
            Some(o) => o.1 += 1,
            None => outcomes.push((p.outcome.name(), 1)),
        }
    }
    outcomes.sort_by_key(|o| std::cmp::Reverse(o.1));
    let outcome = outcomes.iter().map(|o| o.0).find(|o| view.outcome.as_deref() == Some(o)).unwrap_or_default();
    let passing: Vec<_> = e
        .predictions
        .iter()
        .filter(|p| (chosen == "all" || turned(p) == chosen) && (outcome.is_empty() || p.outcome.name() == outcome))
        .collect();
    let number = view.page.as_deref().and_then(|p| p.parse::<usize>().ok()).filter(|p| (1..10_000).contains(p)).unwrap_or(1);
    let from = (number - 1) * PAGE;
    let line = |p: &&whetstone_domain::Prediction| Line {
        problem: words::short(&p.id, 60),
        turned: turned(p),
        letter: p.outcome.letter(),
        outcome: p.outcome.name(),
        text: words::short(&p.text, 400),
        tokens: p.tokens,
    };
    let lines: Vec<Line> = passing.iter().skip(from).take(PAGE).map(line).collect();
    let s = &e.summary;
    let title = format!("Evaluation {evaluation}");
    show(&Page {
        frame: Frame::new(&app, &title, theme(&headers)),
        bar: Bar::new(&run, words::now_ms()),
        id: &evaluation,
        what: words::kind(e.kind),
        tasks: words::short(e.tasks.rsplit('/').next().unwrap_or_default(), 80),
        tiles: vec![
            ("accuracy", format!("{} ({:.1} to {:.1})", words::percent(s.accuracy), 100.0 * s.ci_low, 100.0 * s.ci_high)),
            ("right", format!("{} of {}", s.correct, s.n)),
            ("valid JSON", words::percent(s.json_valid)),
            ("right tool", words::percent(s.name_accuracy)),
            ("arguments, where a call was made", words::percent(s.argument_accuracy)),
            ("no call where none is right", words::percent(s.no_call_accuracy)),
            ("tokens per answer", words::number(s.mean_tokens)),
            ("took", words::span((1000.0 * s.seconds) as i64)),
        ],
        filters,
        chosen,
        outcome: outcome.to_owned(),
        shown: ((from + 1).min(passing.len()), from + lines.len(), passing.len()),
        next: (from + PAGE < passing.len()).then_some(number + 1),
        outcomes,
        lines,
    })
}
