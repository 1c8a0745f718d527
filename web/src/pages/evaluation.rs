//! Page: one evaluation, problem by problem, against the prompt alone; and one answer against what was expected.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use whetstone_domain::{EvaluationRecord, EvaluationSummary, Prediction};
use whetstone_store::RunRow;

use super::asked::Asked;
use super::bar::Bar;
use super::produced::{Call, diff, expected};
use super::{Frame, show, theme};
use crate::api::evaluations::find;
use crate::problem::Problem;
use crate::{App, places, task_sets, words};

/// Problems of a page.
const PAGE: usize = 100;

#[derive(Template)]
#[template(path = "evaluation.html")]
struct Page<'a> {
    frame: Frame<'a>,
    bar: Bar<'a>,
    id: &'a str,
    what: &'static str,
    tasks: String,
    previous: Option<String>,
    next_evaluation: Option<String>,
    /// (name, value, the filter that shows what made it)
    tiles: Vec<(&'static str, String, &'static str)>,
    /// (filter, in words, how many)
    filters: Vec<(&'static str, &'static str, usize)>,
    chosen: &'static str,
    outcomes: Vec<(&'static str, usize)>,
    outcome: &'static str,
    lines: Vec<Line>,
    shown: (usize, usize, usize),
    number: usize,
    next: Option<usize>,
    open: Option<Opened>,
}

struct Line {
    problem: String,
    in_url: String,
    turned: &'static str,
    letter: char,
    outcome: &'static str,
    text: String,
    tokens: usize,
    chosen: bool,
}

/// One answer in full.
struct Opened {
    problem: String,
    /// The user's words; none where the task set is gone.
    request: Option<String>,
    expected: String,
    text: String,
    before: Option<String>,
    diff: Vec<Call>,
    previous: Option<String>,
    next: Option<String>,
}

/// Subsets of the answers, by their names in addresses.
const FILTERS: [(&str, &str); 9] = [
    ("all", "all"),
    ("correct", "right"),
    ("wrong", "wrong"),
    ("gained", "gained"),
    ("lost", "lost"),
    ("unreadable", "no valid JSON"),
    ("other_tool", "another tool or count"),
    ("arguments", "the right tool, wrong arguments"),
    ("no_call", "where no call is right"),
];

fn passes(filter: &str, p: &Prediction, before: Option<bool>) -> bool {
    let called = p.calls.as_ref().is_some_and(|c| !c.is_empty());
    match filter {
        "correct" => p.correct,
        "wrong" => !p.correct,
        "gained" => p.correct && before == Some(false),
        "lost" => !p.correct && before == Some(true),
        "unreadable" => p.calls.is_none(),
        "other_tool" => !p.expects_no_call && p.calls.is_some() && !p.name_correct,
        "arguments" => called && p.name_correct && !p.correct,
        "no_call" => p.expects_no_call,
        _ => true,
    }
}

fn turned(p: &Prediction, before: Option<bool>) -> &'static str {
    match (before, p.correct) {
        (Some(false), true) => "gained",
        (Some(true), false) => "lost",
        (_, true) => "right",
        (_, false) => "wrong",
    }
}

pub(crate) async fn page(
    State(app): State<App>,
    Path((run, evaluation)): Path<(String, String)>,
    asked: Asked,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run = app.run(&run).await?;
    let event = app.store.last_event().await?;
    let e = find(&app, &run, &evaluation).await?;
    let baseline = app.store.baseline_predictions(run.id).await?.unwrap_or_default();
    let before: BTreeMap<&str, &Prediction> = baseline.iter().map(|p| (p.id.as_str(), p)).collect();
    let was = |p: &Prediction| before.get(p.id.as_str()).map(|b| b.correct);
    let count = |f: &str| e.predictions.iter().filter(|p| passes(f, p, was(p))).count();
    let chosen = FILTERS.iter().map(|f| f.0).find(|f| asked.get("show") == Some(f)).unwrap_or("all");
    let mut outcomes: BTreeMap<&'static str, usize> = BTreeMap::new();
    for p in &e.predictions {
        *outcomes.entry(p.outcome.name()).or_default() += 1;
    }
    let mut outcomes: Vec<_> = outcomes.into_iter().collect();
    outcomes.sort_by_key(|o| std::cmp::Reverse(o.1));
    let outcome = outcomes.iter().map(|o| o.0).find(|o| asked.get("outcome") == Some(o)).unwrap_or_default();
    let passing: Vec<&Prediction> =
        e.predictions.iter().filter(|p| passes(chosen, p, was(p)) && (outcome.is_empty() || p.outcome.name() == outcome)).collect();
    let at = asked.get("problem").and_then(|id| passing.iter().position(|p| p.id == id));
    let number = asked.get("page").and_then(|p| p.parse::<usize>().ok()).filter(|p| (1..10_000).contains(p));
    let number = number.unwrap_or_else(|| at.map_or(1, |at| at / PAGE + 1));
    let from = ((number - 1) * PAGE).min(passing.len());
    let line = |(i, p): (usize, &&Prediction)| Line {
        problem: words::short(&p.id, 60),
        in_url: words::in_url(&p.id),
        turned: turned(p, was(p)),
        letter: p.outcome.letter(),
        outcome: p.outcome.name(),
        text: words::short(&p.text, 200),
        tokens: p.tokens,
        chosen: at == Some(i),
    };
    let lines: Vec<Line> = passing.iter().enumerate().skip(from).take(PAGE).map(line).collect();
    let all: Vec<String> = app.store.evaluations(run.id).await?.iter().map(|e| format!("{}-{}", e.phase.name(), e.step)).collect();
    let here = all.iter().rposition(|id| *id == evaluation);
    let title = format!("Evaluation {evaluation}");
    let open = match at {
        Some(at) => Some(opened(&run, &e, &passing, at, &before).await?),
        None => None,
    };
    show(&Page {
        frame: Frame::new(&app, &title, theme(&headers))
            .live(&run.public_id, event, &asked)
            .noting(asked.unknown(&["show", "outcome", "page", "problem"])),
        bar: Bar::of(&app, &run, "evaluation").await?,
        id: &evaluation,
        what: words::kind(e.kind),
        tasks: words::short(&places::tasks(&app, &e.tasks), 80),
        previous: here.and_then(|i| i.checked_sub(1)).map(|i| all[i].clone()).filter(|id| *id != evaluation),
        next_evaluation: here.and_then(|i| all.get(i + 1)).cloned(),
        tiles: tiles(&e.summary),
        filters: FILTERS.into_iter().map(|(f, name)| (f, name, count(f))).collect(),
        chosen,
        outcome,
        shown: ((from + 1).min(passing.len()), from + lines.len(), passing.len()),
        number,
        next: (from + PAGE < passing.len()).then_some(number + 1),
        outcomes,
        lines,
        open,
    })
}

fn tiles(s: &EvaluationSummary) -> Vec<(&'static str, String, &'static str)> {
    vec![
        ("accuracy", words::share_of(s.accuracy, s.ci_low, s.ci_high, s.n), "correct"),
        ("right", format!("{} of {}", s.correct, s.n), "correct"),
        ("valid JSON", words::percent(s.json_valid), "unreadable"),
        ("right tool", words::percent(s.name_accuracy), "other_tool"),
        ("arguments, where a call was made", words::percent(s.argument_accuracy), "arguments"),
        ("no call where none is right", words::percent(s.no_call_accuracy), "no_call"),
        ("tokens an answer", words::number(s.mean_tokens), "all"),
        ("took", words::span((1000.0 * s.seconds) as i64), "all"),
    ]
}

async fn opened(
    run: &RunRow,
    e: &EvaluationRecord,
    passing: &[&Prediction],
    at: usize,
    before: &BTreeMap<&str, &Prediction>,
) -> Result<Opened, Problem> {
    let p = passing[at];
    let config = run.config().map_err(|e| Problem::internal(&e))?;
    let task = task_sets::problem(e.tasks.clone(), config.seed, config.eval_problems, p.id.clone()).await?;
    let neighbour = |i: Option<usize>| i.and_then(|i| passing.get(i)).map(|p| words::in_url(&p.id));
    Ok(Opened {
        problem: words::visible(&p.id),
        request: task.as_ref().map(|t| words::visible(t.messages.last().map_or("", |m| &m.content))),
        expected: task.as_ref().map(|t| words::visible(&expected(t))).unwrap_or_default(),
        text: words::visible(&p.text),
        before: before.get(p.id.as_str()).map(|b| words::visible(&b.text)),
        diff: task.as_ref().zip(p.calls.as_ref()).map(|(t, calls)| diff(t, calls)).unwrap_or_default(),
        previous: neighbour(at.checked_sub(1)),
        next: neighbour(at.checked_add(1)),
    })
}
