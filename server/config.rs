//! The config of a run from its layers: recipe < CONFIG.toml < flags < `--set`.
//!
//! In: TOML texts and `key=value` pairs, each with its origin. Out: one checked [`RunConfig`], or an error that names key and place.
//! Unknown keys are refused, values out of range are listed all at once. It reads no file but those it is given.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Deserialize as _;
use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};
use whetstone_domain::RunConfig;
use whetstone_domain::config::RewardName;

/// Presets by name, the default first.
pub const RECIPES: [(&str, &str); 2] =
    [("smollm2-135m-cpu", include_str!("recipes/smollm2-135m-cpu.toml")), ("paper", include_str!("recipes/paper.toml"))];

/// Layers put on top of each other, and where each key came from.
#[derive(Default)]
pub struct Layers {
    table: toml::Table,
    origins: BTreeMap<String, String>,
}

impl Layers {
    /// Puts a recipe on top.
    pub fn recipe(&mut self, name: &str) -> Result<()> {
        let Some((_, text)) = RECIPES.iter().find(|(n, _)| *n == name) else {
            let known: Vec<&str> = RECIPES.iter().map(|(n, _)| *n).collect();
            bail!("there is no recipe {name:?}; known are {}", known.join(", "));
        };
        self.text(&format!("recipe {name}"), text)
    }

    /// Puts a file on top.
    pub fn file(&mut self, path: &Path) -> Result<()> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the config {}", path.display()))?;
        self.text(&path.display().to_string(), &text)
    }

    /// Puts TOML on top; `name` is what errors call it.
    pub fn text(&mut self, name: &str, text: &str) -> Result<()> {
        let located = |e: toml::de::Error| anyhow!("{name}: {}", plain(&e.to_string()));
        let tree = DeTable::parse(text).map_err(located)?;
        let mut keys = Vec::new();
        collect_keys(tree.get_ref(), "", &mut keys);
        let place = |at: usize| format!("{name}:{}", 1 + text[..at].matches('\n').count());
        let unknown: Vec<String> =
            keys.iter().filter(|(key, _)| !is_known(key)).map(|(key, at)| format!("{}: {}", place(*at), unknown(key))).collect();
        if !unknown.is_empty() {
            bail!("{}", unknown.join("\n"));
        }
        let layer: toml::Table = toml::from_str(text).map_err(located)?;
        toml::from_str::<RunConfig>(text).map_err(located)?;
        self.origins.extend(keys.into_iter().map(|(key, at)| (key, place(at))));
        merge(&mut self.table, layer);
        Ok(())
    }

    /// Puts one value on top, from `key=value` as a user typed it.
    pub fn pair(&mut self, pair: &str) -> Result<()> {
        let Some((key, value)) = pair.split_once('=') else { bail!("--set {pair}: write it as key=value, e.g. --set temperature=0.8") };
        self.set(key.trim(), value.trim(), &format!("--set {pair}"))
    }

    /// Puts one value on top; it is TOML, or a string without quotes.
    pub fn set(&mut self, key: &str, value: &str, origin: &str) -> Result<()> {
        let default = match known(key) {
            Some(default) => default,
            None if is_known(key) => Json::Null,
            None => bail!("{origin}: {}", unknown(key)),
        };
        let parsed = toml::from_str::<toml::Table>(&format!("value = {value}")).ok().filter(|t| t.len() == 1);
        let parsed = parsed.and_then(|mut t| t.remove("value"));
        let value = match parsed {
            Some(parsed) if !default.is_string() || parsed.is_str() => parsed,
            _ => toml::Value::String(value.to_owned()),
        };
        let mut layer = toml::Value::Table(toml::Table::new());
        let mut at = &mut layer;
        for part in key.split('.') {
            let toml::Value::Table(table) = at else { break };
            at = table.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        }
        *at = value;
        RunConfig::deserialize(layer.clone()).map_err(|e| anyhow!("{origin}: {key}: {}", plain(e.message())))?;
        self.origins.insert(key.to_owned(), origin.to_owned());
        if let toml::Value::Table(layer) = layer {
            merge(&mut self.table, layer);
        }
        Ok(())
    }

    /// The config, if every value is in range.
    pub fn finish(self) -> Result<RunConfig> {
        let mut config =
            RunConfig::deserialize(toml::Value::Table(self.table.clone())).map_err(|e| anyhow!("config: {}", plain(&e.to_string())))?;
        if matches!(config.reward, RewardName::File(_)) && config.composition.is_some() {
            bail!("reward: it names a file, and composition is given too; use reward = \"composition\" for the latter");
        }
        read_composition(&mut config)?;
        let problems = config.problems();
        if problems.is_empty() {
            return Ok(config);
        }
        let line = |p: &whetstone_domain::ConfigError| {
            let is = lookup(&self.table, &p.pointer).map(|v| format!(" (it is {v}")).unwrap_or_else(|| " (the default".into());
            let from = self.origins.get(&p.pointer).map(|o| format!(", from {o})")).unwrap_or_else(|| ")".into());
            format!("{}: {}{is}{from}", p.pointer, p.detail)
        };
        bail!("{}", problems.iter().map(line).collect::<Vec<_>>().join("\n"))
    }
}

/// Reads the composition that `reward = "file:PATH"` names into the config, so that a run keeps the reward it began with.
pub fn read_composition(config: &mut RunConfig) -> Result<()> {
    if let RewardName::File(path) = &config.reward {
        let text = std::fs::read_to_string(path).with_context(|| format!("reward: cannot read {path}"))?;
        config.composition = Some(toml::from_str(&text).map_err(|e| anyhow!("reward: {path}: {}", plain(&e.to_string())))?);
    }
    Ok(())
}

/// Keys with their byte offsets, dotted, leaves and tables alike.
fn collect_keys(table: &DeTable<'_>, prefix: &str, keys: &mut Vec<(String, usize)>) {
    for (key, value) in table.iter() {
        let dotted = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        keys.push((dotted.clone(), key.span().start));
        if let DeValue::Table(inner) = value.get_ref() {
            // below an unknown table everything is unknown; once is enough
            if is_known(&dotted) {
                collect_keys(inner, &dotted, keys);
            }
        }
    }
}

/// The default of a key, as JSON.
fn known(key: &str) -> Option<Json> {
    let defaults = serde_json::to_value(RunConfig::default()).ok()?;
    defaults.pointer(&format!("/{}", key.replace('.', "/"))).cloned()
}

fn is_known(key: &str) -> bool {
    // weights of rewards are named by the reward; a wrong one is refused where the reward is made
    known(key).is_some()
        || key.starts_with("composition.")
        || key.strip_prefix("reward_weights.").is_some_and(|name| !name.is_empty() && !name.contains('.'))
}

/// Every key, dotted.
fn all_keys() -> Vec<String> {
    let Ok(Json::Object(defaults)) = serde_json::to_value(RunConfig::default()) else { return Vec::new() };
    let mut keys = Vec::new();
    for (key, value) in defaults {
        match value {
            Json::Object(inner) if !inner.is_empty() => keys.extend(inner.keys().map(|k| format!("{key}.{k}"))),
            _ => keys.push(key),
        }
    }
    keys
}

fn unknown(key: &str) -> String {
    let all = all_keys();
    let mut near: Vec<(f64, &String)> = all.iter().map(|k| (strsim::jaro_winkler(k, key).max(tail_likeness(k, key)), k)).collect();
    near.retain(|(likeness, _)| *likeness >= 0.85);
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let near: Vec<String> = near.into_iter().take(3).map(|(_, k)| format!("`{k}`")).collect();
    if near.is_empty() {
        format!("unknown key `{key}`; known are {}", all.join(", "))
    } else {
        format!("unknown key `{key}`; did you mean {}?", near.join(" or "))
    }
}

fn tail_likeness(known: &str, key: &str) -> f64 {
    known.rsplit_once('.').map_or(0.0, |(_, tail)| 0.95 * strsim::jaro_winkler(tail, key))
}

fn lookup<'a>(table: &'a toml::Table, key: &str) -> Option<&'a toml::Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((head, rest)) => lookup(table.get(head)?.as_table()?, rest),
    }
}

fn merge(below: &mut toml::Table, above: toml::Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => merge(below, above),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

/// A deserialiser's message in words that are not Rust's.
fn plain(message: &str) -> String {
    let message = message.trim_end();
    ["usize", "u64", "u32"]
        .iter()
        .fold(message.to_owned(), |m, t| m.replace(&format!("expected {t}"), "expected a whole number, 0 or more"))
        .replace("expected f64", "expected a number")
}
