//! What a config names, without the places of this machine: pages and answers show ids and names, never paths.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use serde_json::Value;
use whetstone_store::RunRow;
use whetstone_tooluse::tasks::spec::Spec;

use crate::App;

/// A task set as people name it: uploads by their names, any other file without its folder.
pub(crate) fn tasks(app: &App, spec: &str) -> String {
    match Spec::parse(spec).map(|parsed| parsed.map_paths(|path| Ok::<_, Infallible>(PathBuf::from(file(app, path))))) {
        Ok(Ok(named)) => named.to_string(),
        Ok(Err(never)) => match never {},
        // what is no spec here may hold a path all the same
        Err(_) => spec.strip_prefix("file:").map_or_else(|| spec.to_owned(), |path| format!("file:{}", file(app, Path::new(path)))),
    }
}

/// A task file as people name it.
fn file(app: &App, path: &Path) -> String {
    let file = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    match path.parent() {
        Some(folder) if folder == app.data_dir.join("tasks") => file.strip_suffix(".jsonl").unwrap_or(file).to_owned(),
        Some(folder) if folder != Path::new("") => format!("…/{file}"),
        _ => path.display().to_string(),
    }
}

/// A model as people name it: its name, or the last part of its path.
pub(crate) fn model(model: &str) -> &str {
    model.trim_end_matches('/').rsplit('/').next().unwrap_or(model)
}

/// A model without the folders of this machine; a name with an owner, such as `owner/model`, stays whole.
pub(crate) fn model_path(name: &str) -> &str {
    if Path::new(name).is_absolute() { model(name) } else { name }
}

/// The run's config with names in place of paths.
pub(crate) fn config(app: &App, run: &RunRow) -> Value {
    let mut config: Value = serde_json::from_str(&run.config_json).unwrap_or_default();
    for key in ["tasks", "eval_tasks"] {
        if let Some(Value::String(spec)) = config.get_mut(key) {
            *spec = tasks(app, spec);
        }
    }
    if let Some(Value::String(name)) = config.get_mut("model") {
        *name = model_path(name).to_owned();
    }
    if let Some(Value::String(reward)) = config.get_mut("reward")
        && let Some((kind, words)) = reward.split_once(':')
    {
        *reward = format!("{kind}:{}", words.split_whitespace().map(model).collect::<Vec<_>>().join(" "));
    }
    config
}
