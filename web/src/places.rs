//! What a config names, without the places of this machine: pages and answers show ids and names, never paths.

use std::path::Path;

use serde_json::Value;
use whetstone_store::RunRow;
use whetstone_tooluse::tasks::spec::Spec;

use crate::App;

/// A task set as people name it: an upload by its name, any other file without its folder.
pub(crate) fn tasks(app: &App, spec: &str) -> String {
    if let Ok(parsed) = Spec::parse(spec)
        && spec.starts_with("mix:")
    {
        let plain = parsed.map_paths(|path| {
            let name = tasks(app, &format!("file:{}", path.display()));
            Ok::<_, std::convert::Infallible>(Path::new(name.trim_start_matches("file:")).to_path_buf())
        });
        return plain.map_or_else(|never| match never {}, |spec| spec.to_string());
    }
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
    if let Some(Value::String(reward)) = config.get_mut("reward")
        && let Some((kind, words)) = reward.split_once(':')
    {
        *reward = format!("{kind}:{}", words.split_whitespace().map(model).collect::<Vec<_>>().join(" "));
    }
    config
}
