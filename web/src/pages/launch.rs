//! Page: a new run. A form over a recipe; what differs from it is the run's own.
//!
//! In: a recipe or an earlier run, then fields. Out: the form again, each error beside its field, or a queued run. "Check" sends the
//! form without starting anything, so the resulting TOML and command are there without JavaScript.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use whetstone_domain::RunConfig;
use whetstone_domain::config::{Composition, RewardName};

use super::asked::Asked;
use super::fields::{FIELDS, Input};
use super::{Frame, show, theme};
use crate::launch::{Launch, effective, launch};
use crate::problem::{FieldError, Problem};
use crate::{App, places, task_sets, words};

/// Name of the field that holds the parts of the reward, and where its errors point.
const PARTS: &str = "parts";
const PARTS_POINTER: &str = "/config/composition";

#[derive(Template)]
#[template(path = "launch.html")]
struct Page<'a> {
    frame: Frame<'a>,
    recipes: Vec<(&'static str, bool)>,
    recipe: &'static str,
    key: String,
    name: String,
    name_error: Option<String>,
    tags: String,
    tags_error: Option<String>,
    sections: Vec<Section>,
    parts: String,
    parts_error: Option<String>,
    problem: Option<String>,
    toml: Vec<String>,
    /// The resulting config, every key.
    whole: Vec<String>,
    command: String,
    sums: String,
}

struct Section {
    name: &'static str,
    fields: Vec<Shown>,
    more: Vec<Shown>,
    /// A wrong field among those folded away.
    open: bool,
}

struct Shown {
    key: &'static str,
    label: &'static str,
    help: &'static str,
    value: String,
    default: String,
    /// Choices of a select, and whether each is the value; empty for text.
    choices: Vec<(String, bool)>,
    /// What a text is likely to be.
    likely: Vec<String>,
    error: Option<String>,
}

/// The empty form, a recipe's, or that of an earlier run.
pub(crate) async fn form(State(app): State<App>, asked: Asked, headers: HeaderMap) -> Result<Response, Problem> {
    let recipe = app.recipes.iter().find(|r| asked.get("recipe") == Some(r.name)).or(app.recipes.first());
    let recipe = recipe.ok_or_else(|| Problem::internal(&"there are no recipes"))?;
    let (mut values, mut name, mut parts) = (values(&recipe.config)?, String::new(), parts(&recipe.config)?);
    let mut left_out = None;
    if let Some(id) = asked.get("from") {
        let run = app.run(id).await?;
        let config = run.config().map_err(|e| Problem::internal(&e))?;
        values = self::values(&config)?;
        parts = self::parts(&config)?;
        if config.tools.programs || !config.tools.hosts.is_empty() {
            left_out = Some(
                "That run's tools may start programs or speak to other hosts. A page cannot allow that; whetstone train can.".to_owned(),
            );
        }
        if config.reward.is_composed() {
            // a file's parts are in the config since the run began
            values.insert("reward".into(), RewardName::Composition.to_string());
        }
        name = format!("{} again", words::short(&run.name, 150));
        for key in ["tasks", "eval_tasks"] {
            if let Some(spec) = values.get_mut(key) {
                *spec = places::tasks(&app, spec);
            }
        }
    }
    let mut notes = asked.unknown(&["recipe", "from"]);
    notes.extend(left_out);
    let typed = Typed { values: &values, parts: &parts, name: &name, tags: "", key: &fresh_key(), errors: &[], notes };
    page(&app, recipe.name, &typed, &headers)
}

/// Checks the form, or starts the run.
pub(crate) async fn start(
    State(app): State<App>,
    headers: HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
) -> Result<Response, Problem> {
    let text = |key: &str| form.get(key).map(|v| v.trim().to_owned()).unwrap_or_default();
    let recipe = app.recipes.iter().find(|r| r.name == text("recipe")).or(app.recipes.first());
    let recipe = recipe.ok_or_else(|| Problem::internal(&"there are no recipes"))?;
    let before = values(&recipe.config)?;
    let mut now = before.clone();
    let mut config = Map::new();
    for field in FIELDS {
        if let Some(value) = form.get(field.key) {
            let value = value.trim();
            now.insert(field.key.into(), value.to_owned());
            if before.get(field.key).map(String::as_str) != Some(value) {
                config.insert(field.key.into(), parse(value, field.input));
            }
        }
    }
    let written = form.get(PARTS).map(|p| p.replace("\r\n", "\n")).unwrap_or_default();
    let misread = match read_parts(&written) {
        Ok(read) => {
            config.extend(read);
            Vec::new()
        }
        Err(detail) => vec![FieldError { pointer: PARTS_POINTER.into(), detail }],
    };
    let labels: Vec<String> = text("tags").split(',').map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect();
    let wanted = Launch { recipe: Some(recipe.name.into()), name: text("name"), tags: labels, config };
    let key = Some(text("key")).filter(|k| (8..=64).contains(&k.len())).unwrap_or_else(fresh_key);
    let outcome = match form.contains_key("check") {
        _ if !misread.is_empty() => Err(Problem::fields(misread)),
        true => effective(&app, &wanted).map(|_| None),
        false => launch(&app, wanted.clone(), Some(&key)).await.map(Some),
    };
    let tags = text("tags");
    let typed = |key, errors| Typed { values: &now, parts: &written, name: &wanted.name, tags: &tags, key, errors, notes: Vec::new() };
    match outcome {
        Ok(Some(run)) => Ok(Redirect::to(&format!("/runs/{}", run.public_id)).into_response()),
        Ok(None) => page(&app, recipe.name, &typed(&key, &[]), &headers),
        Err(p) if !p.errors.is_empty() => {
            let response = page(&app, recipe.name, &typed(&fresh_key(), &p.errors), &headers)?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, response).into_response())
        }
        Err(p) => Err(p),
    }
}

/// Different for every form that is shown.
fn fresh_key() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    use std::hash::BuildHasher as _;
    let random = std::hash::RandomState::new().hash_one(words::now_ms());
    format!("form-{random:016x}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Every key of a config as the form shows it.
fn values(config: &RunConfig) -> Result<BTreeMap<String, String>, Problem> {
    let value = serde_json::to_value(config).map_err(|e| Problem::internal(&e))?;
    let said = |v: Option<&Value>| match v {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(s)) => s.clone(),
        Some(v) => v.to_string(),
    };
    Ok(FIELDS.iter().map(|f| (f.key.to_owned(), said(value.pointer(&format!("/{}", f.key.replace('.', "/")))))).collect())
}

/// What of a config's reward no single field can hold, as TOML: weights by name, and the parts of a composition.
fn parts(config: &RunConfig) -> Result<String, Problem> {
    let held = Held { reward_weights: config.reward_weights.clone(), composition: config.composition.clone() };
    toml::to_string(&held).map_err(|e| Problem::internal(&e))
}

fn read_parts(written: &str) -> Result<Map<String, Value>, String> {
    let held: Held = toml::from_str(written).map_err(|e| e.to_string())?;
    match serde_json::to_value(held) {
        Ok(Value::Object(map)) => Ok(map),
        _ => Err("cannot be used".into()),
    }
}

/// The keys behind [`PARTS`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    reward_weights: BTreeMap<String, f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    composition: Option<Composition>,
}

fn parse(value: &str, input: Input) -> Value {
    match input {
        Input::Number if value.is_empty() => Value::Null,
        Input::Number | Input::Flag => serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.into())),
        _ => Value::String(value.into()),
    }
}

/// What stands in the form, and what is wrong with it.
struct Typed<'a> {
    values: &'a BTreeMap<String, String>,
    parts: &'a str,
    name: &'a str,
    tags: &'a str,
    key: &'a str,
    errors: &'a [FieldError],
    notes: Vec<String>,
}

fn page(app: &App, recipe: &'static str, typed: &Typed<'_>, headers: &HeaderMap) -> Result<Response, Problem> {
    let Typed { values, parts, name, tags, key, errors, ref notes } = *typed;
    let config = app.recipes.iter().find(|r| r.name == recipe).map(|r| self::values(&r.config)).transpose()?.unwrap_or_default();
    let error = |pointer: &str| errors.iter().find(|e| e.pointer == pointer).map(|e| e.detail.clone());
    let shown = |f: &super::fields::Field| {
        let value = values.get(f.key).cloned().unwrap_or_default();
        let known: Vec<String> = match f.input {
            Input::Choice(all) => all.iter().map(|c| (*c).to_owned()).collect(),
            Input::Flag => vec!["false".into(), "true".into()],
            Input::Model => std::iter::once(String::new()).chain(app.models.iter().cloned()).collect(),
            Input::Number | Input::Tasks => Vec::new(),
        };
        let mut choices: Vec<(String, bool)> = known.into_iter().map(|c| (c.clone(), c == value)).collect();
        if !choices.is_empty() && !choices.iter().any(|c| c.1) {
            choices.push((value.clone(), true));
        }
        Shown {
            key: f.key,
            label: f.label,
            help: f.help,
            default: config.get(f.key).cloned().unwrap_or_default(),
            choices,
            likely: if matches!(f.input, Input::Tasks) { task_sets::specs(app) } else { Vec::new() },
            error: error(&format!("/config/{}", f.key.replace('.', "/"))),
            value,
        }
    };
    let mut sections: Vec<Section> = Vec::new();
    for f in FIELDS {
        if sections.last().is_none_or(|s| s.name != f.section) {
            sections.push(Section { name: f.section, fields: Vec::new(), more: Vec::new(), open: false });
        }
        if let Some(section) = sections.last_mut() {
            let field = shown(f);
            section.open |= f.more && field.error.is_some();
            if f.more { &mut section.more } else { &mut section.fields }.push(field);
        }
    }
    let points_there = |e: &&FieldError| e.pointer.starts_with(PARTS_POINTER) || e.pointer.starts_with("/config/reward_weights");
    let parts_error = errors.iter().find(points_there).map(|e| e.detail.clone());
    if let Some(section) = sections.iter_mut().find(|s| s.name == "Reward") {
        section.open |= parts_error.is_some() || !parts.trim().is_empty();
    }
    let changed: Vec<(&String, &String)> = values.iter().filter(|(k, v)| config.get(*k) != Some(*v)).collect();
    let quoted = |k: &str, v: &str| {
        if FIELDS.iter().any(|f| f.key == k && matches!(f.input, Input::Number | Input::Flag)) { v.to_owned() } else { format!("{v:?}") }
    };
    let line = |k: &str, v: &str| if v.is_empty() { format!("# {k} is left empty") } else { format!("{k} = {}", quoted(k, v)) };
    let of_parts: Vec<String> = parts.lines().filter(|l| !l.trim().is_empty()).map(words::visible).collect();
    let toml = [changed.iter().map(|(k, v)| line(k, v)).collect(), of_parts.clone()].concat();
    let whole = [values.iter().map(|(k, v)| line(k, v)).collect(), of_parts].concat();
    // a quote within single quotes ends them, is said, and begins them anew
    let sets: String =
        changed.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| format!(" --set '{k}={}'", v.replace('\'', "'\\''"))).collect();
    let count = |k: &str| values.get(k).and_then(|v| v.parse::<u64>().ok()).unwrap_or(0);
    let each = count("problems_per_step").saturating_mul(count("num_generations"));
    let title = "New run";
    show(&Page {
        frame: Frame::new(app, title, theme(headers)).noting(notes.clone()),
        recipes: app.recipes.iter().map(|r| (r.name, r.name == recipe)).collect(),
        recipe,
        key: key.to_owned(),
        name: name.to_owned(),
        name_error: error("/name"),
        tags: tags.to_owned(),
        tags_error: error("/tags"),
        sections,
        problem: (!errors.is_empty()).then(|| {
            let others: Vec<String> = errors.iter().map(|e| format!("{} {}", e.pointer.trim_start_matches("/config/"), e.detail)).collect();
            format!("Nothing was started: {}.", others.join("; "))
        }),
        // what has parts is longer than a command line should be
        command: match parts.trim() {
            "" => format!("whetstone train --recipe {recipe}{sets}"),
            _ => format!("whetstone train --recipe {recipe} run.toml     # run.toml: the lines above"),
        },
        toml,
        whole,
        parts: parts.to_owned(),
        parts_error,
        sums: format!(
            "{} problems with {} answers each are {each} rollouts a step, {} in all {} steps.",
            count("problems_per_step"),
            count("num_generations"),
            each.saturating_mul(count("steps")),
            count("steps")
        ),
    })
}
