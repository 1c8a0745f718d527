//! `whetstone runs`: what was trained here, and how it went.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use whetstone_domain::Phase;
use whetstone_store::{Accuracy, BlockingStore, RunFilter, RunRow};
use whetstone_train::worker::run_folder;

use super::{Ui, lines};

/// List runs, and show one with its config, evaluations and checkpoints
#[derive(Args)]
pub struct RunsArgs {
    #[command(subcommand)]
    command: RunsCommand,
}

#[derive(Subcommand)]
enum RunsCommand {
    /// Every run, the newest first
    List,
    /// One run: its id, its name, or `latest`
    Show {
        /// The run
        run: String,
    },
}

/// Runs the command.
pub fn run(args: &RunsArgs, data: &Path, ui: &Ui) -> Result<ExitCode> {
    let store = BlockingStore::open(data)?;
    match &args.command {
        RunsCommand::List => list(&store, ui)?,
        RunsCommand::Show { run } => show(&store, &store.run(run)?, data, ui)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(store: &BlockingStore, ui: &Ui) -> Result<()> {
    let rows = store.runs(&RunFilter { archived: Some(false), ..RunFilter::default() })?;
    if rows.is_empty() {
        ui.say("there are no runs yet; begin one with: whetstone train");
    } else {
        ui.say(&format!("{:<8} {:<12} {:>11}  {:>15}  {:<20} {}", "run", "state", "step", "accuracy", "name", "model"));
    }
    for r in rows {
        ui.object(&object(&r))?;
        let accuracy = match (r.baseline, r.last) {
            (Some(b), Some(l)) => format!("{:.1} -> {:.1} %", 100.0 * b.accuracy, 100.0 * l.accuracy),
            _ => "-".into(),
        };
        let phase = if r.phase == Some(Phase::WarmStart) { "w" } else { "" };
        let step = format!("{phase}{}/{}", r.step, r.steps_planned);
        let name = if r.name == r.public_id { "" } else { &r.name };
        ui.say(&format!("{:<8} {:<12} {step:>11}  {accuracy:>15}  {name:<20} {}", r.public_id, r.state.name(), r.model));
    }
    Ok(())
}

fn show(store: &BlockingStore, r: &RunRow, data: &Path, ui: &Ui) -> Result<()> {
    let evaluations = store.evaluations(r.id)?;
    let checkpoints = store.checkpoints(r.id)?;
    let folder = run_folder(data, &r.public_id);
    if ui.json {
        let mut shown = object(r);
        shown["config"] = serde_json::from_str(&r.config_json).unwrap_or(Value::Null);
        shown["folder"] = json!(folder);
        shown["evaluations"] = evaluations
            .iter()
            .map(|e| json!({ "phase": e.phase, "step": e.step, "kind": e.kind, "tasks": e.tasks, "summary": e.summary, "versus_baseline": e.versus_baseline, "kl": e.kl }))
            .collect();
        shown["checkpoints"] = checkpoints
            .iter()
            .map(|c| json!({ "phase": c.phase, "step": c.step, "folder": c.folder, "bytes": c.bytes, "adapter_sha256": c.adapter_sha256 }))
            .collect();
        let mut metrics = serde_json::Map::new();
        for phase in [Phase::WarmStart, Phase::Grpo] {
            metrics.insert(phase.name().into(), json!(store.metrics(r.id, phase)?));
        }
        shown["metrics"] = Value::Object(metrics);
        return ui.object(&shown);
    }
    let why = if r.message.is_empty() { String::new() } else { format!(": {}", r.message) };
    ui.say(&format!("run {} ({}) is {}{why}", r.public_id, r.name, r.state.name()));
    ui.say(&format!("model {} (sha256 {}), whetstone {}", r.model, r.base_sha256, r.code_version));
    ui.say(&format!("step {} of {} planned in all phases; files in {}", r.step, r.steps_planned, folder.display()));
    for e in &evaluations {
        ui.say(&format!("held-out, {}: {}", lines::point(e.kind, e.phase, e.step), lines::summary(&e.summary)));
    }
    for c in &checkpoints {
        ui.say(&format!("checkpoint {} ({} kB, adapter sha256 {})", c.folder, c.bytes / 1000, c.adapter_sha256));
    }
    let config = r.config().map_err(anyhow::Error::from).and_then(|c| Ok(toml::to_string(&c)?));
    ui.say(&format!("\n{}", config.unwrap_or_else(|_| r.config_json.clone())));
    Ok(())
}

fn object(r: &RunRow) -> Value {
    let accuracy = |a: Option<Accuracy>| {
        a.map(|a| json!({ "phase": a.phase, "step": a.step, "accuracy": a.accuracy, "ci_low": a.ci_low, "ci_high": a.ci_high, "n": a.n }))
    };
    json!({
        "run": r.public_id, "name": r.name, "state": r.state, "message": r.message, "model": r.model, "base_sha256": r.base_sha256,
        "phase": r.phase, "step": r.step, "steps_planned": r.steps_planned, "created_ms": r.created_ms, "started_ms": r.started_ms,
        "ended_ms": r.ended_ms, "baseline": accuracy(r.baseline), "best": accuracy(r.best), "last": accuracy(r.last),
        "archived": r.archived, "tags": r.tags, "note": r.note,
    })
}
