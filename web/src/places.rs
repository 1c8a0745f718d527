//! What a config names, without the places of this machine: pages and answers show ids and names, never paths.

use std::path::Path;

use serde_json::Value;
use whetstone_store::RunRow;

use crate::App;

/// A task set as people name it: an upload by its name, any other file without its folder.
pub(crate) fn tasks(app: &App, spec: &str) -> String {
    let Some(path) = spec.strip_prefix("file:") else { return spec.to_owned() };
    let path = Path::new(path);
    let file = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    match path.parent() {
        Some(folder) if folder == app.data_dir.join("tasks") => format!("file:{}", file.strip_suffix(".jsonl").unwrap_or(file)),
        Some(folder) if folder != Path::new("") => format!("file:…/{file}"),
        _ => spec.to_owned(),
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
    config
}
