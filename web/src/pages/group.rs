//! Page: one prompt with its G sampled answers, from reward parts to advantage, and expected against produced.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use whetstone_domain::config::{Format, ScaleRewards};
use whetstone_domain::{GroupRecord, Phase, Rollout, RunConfig, StopReason};
use whetstone_store::RunRow;
use whetstone_tooluse::format;
use whetstone_tooluse::format::signature::signature;
use whetstone_tooluse::matching::{self, ArgumentVerdict, Verdict, explain};

use super::run::Bar;
use super::{Frame, show, theme};
use crate::api::groups::{find, request};
use crate::problem::Problem;
use crate::{App, words};

/// Added to the divisor of an advantage, as TRL does.
const EPSILON: f64 = 1e-4;
/// Tokens below this probability are underlined.
const UNLIKELY: f32 = 0.5;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct View {
    i: Option<String>,
    view: Option<String>,
}

#[derive(Template)]
#[template(path = "group.html")]
struct Page<'a> {
    frame: Frame<'a>,
    bar: Bar<'a>,
    id: &'a str,
    step: usize,
    previous: Option<String>,
    next: Option<String>,
    request: String,
    problem: String,
    tools: Vec<(String, bool)>,
    prompt: String,
    expected: String,
    parts: Vec<(String, String)>,
    rows: Vec<Row>,
    mean: String,
    std: String,
    class: &'static str,
    arithmetic: String,
    selected: usize,
    view: &'static str,
    shown: Shown,
}

struct Row {
    index: usize,
    letter: char,
    outcome: &'static str,
    parts: Vec<String>,
    total: String,
    advantage: String,
    /// Bar around the middle of 100: start and width.
    bar: (f64, f64),
    up: bool,
    tokens: usize,
    stop: &'static str,
    /// Answers with the same text, this one included.
    same: usize,
    /// It or one of the same words is the selected one.
    chosen: bool,
}

/// The selected answer, as the chosen view has it.
struct Shown {
    diff: Vec<Call>,
    failure: Option<(String, String, String)>,
    text: String,
    tokens: Vec<Token>,
    raw: String,
}

struct Call {
    title: String,
    arguments: Vec<Argument>,
}

struct Argument {
    name: String,
    expected: String,
    produced: String,
    verdict: &'static str,
    right: bool,
}

struct Token {
    text: String,
    title: String,
    class: &'static str,
}

pub(crate) async fn page(
    State(app): State<App>,
    Path((run, group)): Path<(String, String)>,
    Query(view): Query<View>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run = app.run(&run).await?;
    let (step, groups, at) = find(&app, &run, &group).await?;
    let config = run.config().map_err(|e| Problem::internal(&e))?;
    let g = &groups[at];
    // of equals the first, which stands for them in the table
    let Some(best) = g.rollouts.iter().rev().max_by(|a, b| a.reward.total.total_cmp(&b.reward.total)) else {
        return Err(Problem::not_found("This group has no answers."));
    };
    let wanted = view.i.as_deref().and_then(|i| i.parse::<usize>().ok());
    let r = wanted.and_then(|i| g.rollouts.iter().find(|r| r.index == i)).unwrap_or(best);
    let title = format!("Group {group}");
    let names: Vec<&str> = g.problem.expected.calls.iter().map(|c| c.name.as_str()).collect();
    let parts = r.reward.parts.iter().map(|p| (p.name.clone(), format!("{}×", p.weight))).collect();
    show(&Page {
        frame: Frame::new(&app, &title, theme(&headers)),
        bar: Bar::new(&run, words::now_ms()),
        id: &group,
        step,
        previous: neighbour(&run, &config, step, at, groups.len(), false),
        next: neighbour(&run, &config, step, at, groups.len(), true),
        request: words::visible(request(g)),
        problem: words::visible(&g.problem.id),
        tools: g.problem.tools.iter().map(|t| (words::visible(&signature(t)), names.contains(&t.name.as_str()))).collect(),
        prompt: words::visible(&g.prompt),
        expected: words::visible(&format::write(Format::BareJson, &matching::canonical(&g.problem))),
        parts,
        rows: rows(g, r),
        mean: words::number(g.mean),
        std: words::number(g.std),
        class: g.class.name(),
        arithmetic: arithmetic(&groups, g, r, &config),
        selected: r.index,
        view: ["text", "tokens", "raw"].into_iter().find(|v| view.view.as_deref() == Some(v)).unwrap_or("diff"),
        shown: shown(g, r)?,
    })
}

/// The group before or after this one, over the borders of steps.
fn neighbour(run: &RunRow, config: &RunConfig, step: usize, at: usize, of: usize, forward: bool) -> Option<String> {
    let last = if run.phase == Some(Phase::Grpo) { run.step } else { 0 };
    match (forward, at) {
        (true, at) if at + 1 < of => Some(format!("{step}-{}", at + 1)),
        (true, _) => (step < last).then(|| format!("{}-0", step + 1)),
        (false, 0) => (step > 1).then(|| format!("{}-{}", step - 1, config.problems_per_step.saturating_sub(1))),
        (false, at) => Some(format!("{step}-{}", at - 1)),
    }
}

fn rows(g: &GroupRecord, selected: &Rollout) -> Vec<Row> {
    let largest = g.rollouts.iter().map(|r| r.advantage.abs()).filter(|a| a.is_finite()).fold(1e-9, f64::max);
    let row = |r: &Rollout| {
        let share = if r.advantage.is_finite() { 50.0 * r.advantage / largest } else { 0.0 };
        Row {
            index: r.index,
            letter: r.outcome.letter(),
            outcome: r.outcome.name(),
            parts: r.reward.parts.iter().map(|p| p.value.map_or_else(|| "–".into(), words::number)).collect(),
            total: words::number(r.reward.total),
            advantage: format!("{:+.2}", r.advantage),
            bar: (if share < 0.0 { 50.0 + share } else { 50.0 }, share.abs()),
            up: share >= 0.0,
            tokens: r.ids.len(),
            stop: if r.stop == StopReason::Eos { "ended" } else { "cut off" },
            same: g.rollouts.iter().filter(|o| o.text == r.text).count(),
            chosen: r.text == selected.text,
        }
    };
    let mut sorted: Vec<&Rollout> = g.rollouts.iter().collect();
    sorted.sort_by(|a, b| b.reward.total.total_cmp(&a.reward.total).then(a.index.cmp(&b.index)));
    // answers with the same words are one row; the first of them stands for all
    let mut texts = Vec::new();
    let mut rows = Vec::new();
    for r in sorted {
        if !texts.contains(&r.text.as_str()) {
            texts.push(r.text.as_str());
            rows.push(row(r));
        }
    }
    rows
}

/// From reward to advantage, with the numbers put in.
fn arithmetic(groups: &[GroupRecord], g: &GroupRecord, r: &Rollout, config: &RunConfig) -> String {
    if g.std == 0.0 || g.rollouts.len() < 2 {
        let kl = if config.beta > 0.0 { " The KL term still acts on it." } else { "" };
        return format!("All {} rewards are equal, so every advantage is 0 and this group changed nothing.{kl}", g.rollouts.len());
    }
    let index: String =
        (r.index + 1).to_string().chars().filter_map(|c| c.to_digit(10)).filter_map(|d| char::from_u32(0x2080 + d)).collect();
    let difference = format!("{:.3} − {:.3}", r.reward.total, g.mean);
    match config.scale_rewards {
        ScaleRewards::Group => format!("A{index} = ({difference}) / ({:.3} + {EPSILON}) = {:+.2}", g.std, r.advantage),
        ScaleRewards::Batch => {
            let all: Vec<f64> = groups.iter().flat_map(|g| &g.rollouts).map(|r| r.reward.total).collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            let std = (all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (all.len().saturating_sub(1).max(1)) as f64).sqrt();
            format!("A{index} = ({difference}) / ({std:.3} of the whole step + {EPSILON}) = {:+.2}", r.advantage)
        }
        ScaleRewards::None => format!("A{index} = {difference} = {:+.2}", r.advantage),
    }
}

fn shown(g: &GroupRecord, r: &Rollout) -> Result<Shown, Problem> {
    let produced = r.parse.strict.as_ref().ok().or(r.parse.lenient.as_ref());
    let failure = r.parse.strict.as_ref().err().map(|f| {
        let at = (0..=f.position.min(r.text.len())).rev().find(|i| r.text.is_char_boundary(*i)).unwrap_or(0);
        (f.reason.clone(), words::visible(&r.text[..at]), words::visible(&r.text[at..]))
    });
    let token = |i: usize| {
        let logprob = r.logprobs.get(i).copied().unwrap_or(f32::NAN);
        let entropy = r.entropies.get(i).copied().unwrap_or(f32::NAN);
        Token {
            text: r.pieces.get(i).map(|p| words::visible(p)).unwrap_or_default(),
            title: format!("token {i}, id {}: p = {:.3}, logprob {logprob:.3}, entropy {entropy:.3} nat", r.ids[i], logprob.exp()),
            class: match r.mask.get(i) {
                Some(0) => "forced",
                _ if logprob.exp() < UNLIKELY => "unlikely",
                _ => "",
            },
        }
    };
    Ok(Shown {
        diff: produced.map(|calls| diff(g, calls)).unwrap_or_default(),
        failure,
        text: words::visible(&r.text),
        tokens: (0..r.ids.len()).map(token).collect(),
        raw: words::visible(&serde_json::to_string_pretty(r).map_err(|e| Problem::internal(&e))?),
    })
}

fn diff(g: &GroupRecord, calls: &[whetstone_domain::ToolCall]) -> Vec<Call> {
    let name = |list: Option<&str>| words::visible(list.unwrap_or("?"));
    let pairs = explain(&g.problem, calls).calls;
    pairs
        .iter()
        .map(|pair| {
            let expected = pair.expected.and_then(|e| g.problem.expected.calls.get(e)).map(|c| c.name.as_str());
            let produced = pair.produced.and_then(|p| calls.get(p)).map(|c| c.name.as_str());
            let title = match (expected, produced) {
                (Some(_), Some(p)) => format!("{}: the right tool", name(Some(p))),
                (Some(e), None) => format!("{}: expected, not called", name(Some(e))),
                (None, p) => format!("{}: called, not expected", name(p)),
            };
            Call { title, arguments: pair.arguments.iter().map(argument).collect() }
        })
        .collect()
}

fn argument(a: &ArgumentVerdict) -> Argument {
    let json = |v: &serde_json::Value| words::visible(&v.to_string());
    let expected = a.expected.as_ref().map(|e| {
        let values: Vec<String> = e.values.iter().map(json).collect();
        format!("{}{}", values.join(" or "), if e.optional { ", may be left out" } else { "" })
    });
    Argument {
        name: words::visible(&a.name),
        expected: expected.unwrap_or_else(|| "nothing".into()),
        produced: a.produced.as_ref().map_or_else(|| "left out".into(), json),
        verdict: match a.verdict {
            Verdict::Right => "right",
            Verdict::LeftOut => "rightly left out",
            Verdict::Missing => "missing",
            Verdict::Unexpected => "not expected",
            Verdict::WrongType => "wrong type",
            Verdict::WrongValue => "wrong value",
        },
        right: matches!(a.verdict, Verdict::Right | Verdict::LeftOut),
    }
}
