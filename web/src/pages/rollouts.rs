//! Page: every sampled answer of a run, by outcome, class, step, reward, problem, text; the place where every number of the run's
//! page leads.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{Redirect, Response};
use whetstone_domain::{GroupClass, Outcome};
use whetstone_store::{RolloutRow, RolloutSort};

use super::asked::Asked;
use super::bar::Bar;
use super::{Frame, show, theme};
use crate::problem::Problem;
use crate::rollout_query::{KEYS, RolloutQuery, place, place_id};
use crate::{App, words};

/// Rollouts of a page.
const PAGE: usize = 50;

#[derive(Template)]
#[template(path = "rollouts.html")]
struct Page<'a> {
    frame: Frame<'a>,
    bar: Bar<'a>,
    query: &'a RolloutQuery,
    /// Parts of the filter, each with the address without it.
    chips: Vec<(String, String)>,
    /// Outcome by outcome: letter, name, how many, address, chosen.
    facets: Vec<Facet>,
    presets: Vec<(&'static str, String)>,
    classes: Vec<(&'static str, bool)>,
    /// Columns that can be sorted by: name, address, `aria-sort` of the column.
    sorts: Vec<(&'static str, String, &'static str)>,
    rows: Vec<Row>,
    /// How many pass the filter; none where a text is looked for.
    total: Option<usize>,
    first: Option<String>,
    next: Option<String>,
    unfinished: bool,
}

struct Facet {
    letter: char,
    name: &'static str,
    count: usize,
    href: String,
    chosen: bool,
}

struct Row {
    id: String,
    href: String,
    letter: char,
    outcome: &'static str,
    reward: String,
    advantage: String,
    /// Class of its colour; none where it is shown as 0.
    tint: &'static str,
    text: String,
    request: String,
    problem: String,
    of_problem: String,
    tokens: usize,
    class: &'static str,
}

pub(crate) async fn page(State(app): State<App>, Path(run): Path<String>, asked: Asked, headers: HeaderMap) -> Result<Response, Problem> {
    let run = app.run(&run).await?;
    let event = app.store.last_event().await?;
    let query = RolloutQuery::of(|key| asked.get(key).map(str::to_owned));
    let mut meant = query.meant();
    let mut found = app.store.rollouts(run.id, &meant.filter, meant.after, PAGE).await?;
    if found.is_none() {
        meant.wrong.push("The place to go on from is no longer there; this is the first page.".into());
        found = app.store.rollouts(run.id, &meant.filter, None, PAGE).await?;
    }
    let found = found.ok_or_else(|| Problem::internal(&"a list without a beginning"))?;
    let counts = app.store.rollout_counts(run.id, &meant.filter).await?;
    let base = format!("/runs/{}/rollouts", run.public_id);
    let address = |q: &RolloutQuery| match q.string() {
        q if q.is_empty() => base.clone(),
        q => format!("{base}?{q}"),
    };
    let chosen = |o: Outcome| meant.filter.outcomes.contains(&o);
    let facets = Outcome::ALL.into_iter().filter_map(|o| {
        let count = counts.get(&o).copied().unwrap_or(0);
        (count > 0 || chosen(o)).then(|| Facet {
            letter: o.letter(),
            name: o.name(),
            count,
            href: address(&query.with("outcome", Some(o.name()))),
            chosen: chosen(o),
        })
    });
    let preset = |pairs: &[(&str, &str)]| address(&pairs.iter().fold(RolloutQuery::default(), |q, (k, v)| q.with(k, Some(v))));
    let sorted = |sort: RolloutSort| {
        let here = meant.filter.sort == sort;
        let flipped = if here && !meant.filter.ascending { "asc" } else { "desc" };
        let aria = match (here, meant.filter.ascending) {
            (false, _) => "none",
            (true, true) => "ascending",
            (true, false) => "descending",
        };
        (sort.name(), address(&query.with("sort", Some(sort.name())).with("order", Some(flipped))), aria)
    };
    let within = words::in_url(&query.with("after", None).string());
    let title = format!("Rollouts of {}", words::short(&run.name, 60));
    let known: Vec<&str> = KEYS.to_vec();
    let counted = |(o, n): (&Outcome, &usize)| if meant.filter.outcomes.is_empty() || chosen(*o) { *n } else { 0 };
    show(&Page {
        frame: Frame::new(&app, &title, theme(&headers))
            .live(&run.public_id, event, &asked)
            .noting(asked.unknown(&known))
            .noting(meant.wrong.clone()),
        bar: Bar::of(&app, &run, "rollouts").await?,
        chips: chips(&query, &address),
        facets: facets.collect(),
        presets: vec![
            ("everything, the newest first", address(&RolloutQuery::default())),
            ("wrong, and yet well paid", preset(&[("outcome", "wrong"), ("sort", "reward")])),
            ("right, and yet pushed down", preset(&[("outcome", "right"), ("adv", "negative")])),
            ("cut off", preset(&[("outcome", "truncated")])),
            ("the longest", preset(&[("sort", "tokens")])),
            ("what taught most", preset(&[("class", "mixed"), ("sort", "advantage")])),
        ],
        classes: GroupClass::ALL.into_iter().map(|c| (c.name(), meant.filter.class == Some(c))).collect(),
        sorts: RolloutSort::ALL.into_iter().map(sorted).collect(),
        rows: found.rows.into_iter().map(|r| row(&run.public_id, r, &within, &query, &address)).collect(),
        total: meant.filter.text.is_none().then(|| counts.iter().map(counted).sum()),
        first: query.after.as_ref().map(|_| address(&query.with("after", None))),
        next: found.next.map(|p| address(&RolloutQuery { after: Some(place_id(p)), ..query.clone() })),
        unfinished: found.unfinished,
        query: &query,
    })
}

/// Every part of the filter in words, with the address without it.
fn chips(query: &RolloutQuery, address: &dyn Fn(&RolloutQuery) -> String) -> Vec<(String, String)> {
    let parts = [
        ("outcome", &query.outcome),
        ("class", &query.class),
        ("step", &query.step),
        ("reward", &query.reward),
        ("adv", &query.adv),
        ("problem", &query.problem),
        ("q", &query.q),
    ];
    let chip = |(key, value): (&str, &Option<String>)| {
        let value = value.as_ref()?;
        let name = if key == "q" { "text" } else { key };
        Some((format!("{name}: {}", words::short(value, 60)), address(&query.with(key, None))))
    };
    parts.into_iter().filter_map(chip).collect()
}

fn row(run: &str, r: RolloutRow, within: &str, query: &RolloutQuery, address: &dyn Fn(&RolloutQuery) -> String) -> Row {
    let list = if within.is_empty() { String::new() } else { format!("&in={within}") };
    let advantage = if r.advantage.abs() < 0.005 { 0.0 } else { r.advantage };
    Row {
        id: place_id(r.place),
        href: format!("/runs/{run}/groups/{}-{}?i={}{list}", r.place.step, r.place.group, r.place.index),
        letter: r.outcome.letter(),
        outcome: r.outcome.name(),
        reward: words::number(r.reward),
        advantage: if advantage.is_finite() { format!("{advantage:+.2}") } else { "–".into() },
        tint: match advantage {
            a if a > 0.0 => "pro",
            a if a < 0.0 => "contra",
            _ => "",
        },
        text: words::short(&r.text, 160),
        request: words::short(&r.request, 100),
        problem: words::short(&r.problem, 40),
        of_problem: address(&query.with("problem", Some(&r.problem))),
        tokens: r.tokens,
        class: r.class.name(),
    }
}

/// One rollout: its group, with it chosen.
pub(crate) async fn one(State(app): State<App>, Path((run, rollout)): Path<(String, String)>) -> Result<Redirect, Problem> {
    let run = app.run(&run).await?;
    let unknown = || Problem::not_found("A rollout is named by {step}-{group}-{index}, such as 12-0-3.");
    let p = place(&rollout).ok_or_else(unknown)?;
    Ok(Redirect::to(&format!("/runs/{}/groups/{}-{}?i={}", run.public_id, p.step, p.group, p.index)))
}
