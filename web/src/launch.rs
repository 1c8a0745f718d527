//! What a wish for a new run means, the same from the form and from the API.
//!
//! In: a recipe's name and changed keys. Out: a checked config, a queued run; or every field that is wrong, by its pointer. A page may
//! name known models and uploaded task files, never a path of the machine.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use whetstone_domain::RunConfig;
use whetstone_domain::config::RewardName;
use whetstone_store::{LaunchKey, Launched, NewRun, RunRow};
use whetstone_tooluse::Rewarder;

use crate::App;
use crate::problem::{FieldError, Problem};
use crate::task_sets;

/// Longest name of a run, characters.
pub(crate) const LONGEST_NAME: usize = 200;
/// Most tags of a run, and characters of each.
pub(crate) const TAGS: (usize, usize) = (20, 40);

/// A wish for a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Launch {
    /// Recipe it builds on; none = the default one.
    pub(crate) recipe: Option<String>,
    /// Its name; empty = its id.
    pub(crate) name: String,
    /// Its tags.
    pub(crate) tags: Vec<String>,
    /// Changed keys, dotted or nested.
    pub(crate) config: Map<String, Value>,
}

/// Queues the run; with a key that was seen before, answers with the run of that time.
pub(crate) async fn launch(app: &App, wanted: Launch, key: Option<&str>) -> Result<RunRow, Problem> {
    let config = effective(app, &wanted)?;
    let errors: Vec<FieldError> = [named("/name", &wanted.name), tagged(&wanted.tags)].into_iter().flatten().collect();
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    let mut request = serde_json::to_value(&wanted).map_err(|e| Problem::internal(&e))?;
    request.sort_all_objects(); // the same wish, however its keys were ordered
    let request = request.to_string();
    let request = crate::words::hex(&Sha256::digest(request.as_bytes()));
    let new = NewRun { name: wanted.name.trim(), config: &config, model: &config.model, base_sha256: "", code_version: app.version };
    match app.store.launch_run(&new, &wanted.tags, key.map(|key| LaunchKey { key, request: &request })).await? {
        Launched::New(run) | Launched::Again(run) => Ok(app.store.run_by_id(run).await?),
        Launched::KeyTaken => {
            let detail = "This Idempotency-Key came with another run within the last day; take a new one.";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail))
        }
    }
}

/// The config that the wish gives, checked as `train` checks it.
pub(crate) fn effective(app: &App, wanted: &Launch) -> Result<RunConfig, Problem> {
    let recipe = match &wanted.recipe {
        None => app.recipes.first(),
        Some(name) => app.recipes.iter().find(|r| r.name == name),
    };
    let wrong = |pointer: &str, detail: String| Problem::fields(vec![FieldError { pointer: pointer.into(), detail }]);
    let Some(recipe) = recipe else {
        let known: Vec<&str> = app.recipes.iter().map(|r| r.name).collect();
        return Err(wrong("/recipe", format!("is none of {}", known.join(", "))));
    };
    let mut value = serde_json::to_value(&recipe.config).map_err(|e| Problem::internal(&e))?;
    let mut errors = Vec::new();
    let mut changes = BTreeMap::new();
    flatten(&wanted.config, "", &mut changes);
    let known = value.clone();
    for (key, new) in changes {
        let pointer = format!("/{}", key.replace('.', "/"));
        let weight = key.strip_prefix("reward_weights.").is_some_and(|name| !name.is_empty() && !name.contains('.'));
        if known.pointer(&pointer).is_none() && !weight {
            errors.push(FieldError { pointer: format!("/config{pointer}"), detail: "is no key of a config".into() });
            continue;
        }
        // one key at a time, so that each error is about one field
        let mut tried = value.clone();
        put(&mut tried, &key, new);
        match serde_json::from_value::<RunConfig>(tried.clone()) {
            Ok(_) => value = tried,
            Err(e) => errors.push(FieldError { pointer: format!("/config{pointer}"), detail: e.to_string() }),
        }
    }
    let mut config: RunConfig = serde_json::from_value(value).map_err(|e| Problem::internal(&e))?;
    let at = |pointer: &str| format!("/config/{}", pointer.replace('.', "/"));
    errors.extend(config.problems().into_iter().map(|e| FieldError { pointer: at(&e.pointer), detail: e.detail }));
    if matches!(config.reward, RewardName::File(_)) {
        let detail = "names a file of the server; give its parts as `composition` and take the reward composition".into();
        errors.push(FieldError { pointer: at("reward"), detail });
    }
    if let Err(e) = Rewarder::new(&config) {
        errors.push(FieldError { pointer: at(&e.pointer), detail: e.detail });
    }
    // whoever may start a run may not therefore start programs: a task file that is uploaded could name any
    for (key, asked) in [("tools.programs", config.tools.programs), ("tools.hosts", !config.tools.hosts.is_empty())] {
        if asked {
            errors.push(FieldError { pointer: at(key), detail: "can only be set on the command line".into() });
        }
    }
    if !config.model.is_empty() && !app.models.contains(&config.model) {
        errors.push(FieldError { pointer: at("model"), detail: format!("is none of {}", app.models.join(", ")) });
    }
    for (key, spec) in [("tasks", &mut config.tasks), ("eval_tasks", &mut config.eval_tasks)] {
        match task_spec(app, spec) {
            Ok(found) => *spec = found,
            Err(detail) => errors.push(FieldError { pointer: at(key), detail }),
        }
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    if config.threads == 0 {
        config.threads = std::thread::available_parallelism().map_or(1, usize::from);
    }
    Ok(config)
}

/// A spec as a run stores it: in full, its uploads by the places where they lie.
fn task_spec(app: &App, spec: &str) -> Result<String, String> {
    match spec.trim() {
        "" => Ok(String::new()),
        text => task_sets::placed(app, text).map(|spec| spec.to_string()),
    }
}

fn flatten(map: &Map<String, Value>, before: &str, out: &mut BTreeMap<String, Value>) {
    for (key, value) in map {
        let key = if before.is_empty() { key.clone() } else { format!("{before}.{key}") };
        match value {
            Value::Object(inner) if key == "warm_start" || key == "reward_weights" || key == "tools" => flatten(inner, &key, out),
            other => {
                out.insert(key, other.clone());
            }
        }
    }
}

fn put(value: &mut Value, key: &str, new: Value) {
    match key.split_once('.') {
        Some((first, rest)) => put(&mut value[first], rest, new),
        None => value[key] = new,
    }
}

/// What is wrong with a name, if anything.
pub(crate) fn named(pointer: &str, name: &str) -> Option<FieldError> {
    let wrong = |detail: &str| Some(FieldError { pointer: pointer.into(), detail: detail.into() });
    if name.chars().count() > LONGEST_NAME {
        return wrong("must have at most 200 characters");
    }
    (crate::words::visible(name) != name || name.contains(['\n', '\t']))
        .then(|| wrong("must not hold control or direction characters"))
        .flatten()
}

/// What is wrong with tags, if anything.
pub(crate) fn tagged(tags: &[String]) -> Option<FieldError> {
    let wrong = |detail: &str| Some(FieldError { pointer: "/tags".into(), detail: detail.into() });
    if tags.len() > TAGS.0 {
        return wrong("must be at most 20");
    }
    let odd = |t: &String| t.trim().is_empty() || t.chars().count() > TAGS.1 || named("", t).is_some() || t.contains(',');
    tags.iter().any(odd).then(|| wrong("must each have 1 to 40 characters, no comma, no control characters")).flatten()
}
