//! `whetstone train`: a config from its layers, a run in the store, the worker's loop in this terminal.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use serde_json::json;
use whetstone_domain::{Event, Phase, RunConfig, RunState};
use whetstone_store::{BlockingStore, NewRun, RunRow};
use whetstone_train::prepare::prepare;
use whetstone_train::{Ending, policy, worker};

use super::summary::Summary;
use super::{Ui, bfcl, lines, signals, source};
use crate::config::{Layers, RECIPES};

const EXAMPLES: &str = "\
The config is put together from layers, later ones win:
  recipe < CONFIG.toml < --tasks, --steps, --model < --set
Keys and defaults: `whetstone runs show RUN` prints the whole config of a run as TOML; README lists the important ones.

Examples:
  whetstone train
  whetstone train --tasks file:my-tasks.jsonl --set eval_tasks=file:my-held-out.jsonl --set eval_problems=100
  whetstone train my.toml --set warm_start.steps=40 --set reward_weights.values=0.5
  whetstone train --recipe paper --steps 5
  whetstone train --resume latest

Ctrl-C drops the step in progress and writes a checkpoint; a second one, or kill -9, stops at once and falls back to the last
checkpoint. Either way --resume goes on and makes the same numbers as a run that was never interrupted.";

/// Train an adapter: optional warm start, then GRPO, measured on held-out problems before and after
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct TrainArgs {
    /// Config file; overrides the recipe
    config: Option<PathBuf>,
    /// Preset that everything else builds on: smollm2-135m-cpu (default) or paper
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
    /// Task set to learn from, e.g. starter, file:PATH (JSON lines); see `whetstone tasks --help`
    #[arg(long, value_name = "SPEC")]
    tasks: Option<String>,
    /// GRPO steps
    #[arg(long, value_name = "N")]
    steps: Option<String>,
    /// One config value, dotted key, TOML value (strings may stand bare); may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pairs: Vec<String>,
    /// Base model: a name (see `whetstone model list`), a GGUF file or a Hugging Face folder
    #[arg(long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// Go on with a stored run: its id, its name, or `latest`
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "recipe", "tasks", "steps", "pairs", "name"])]
    resume: Option<String>,
    /// Name of the run, for people
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The unpacked bfcl-eval wheel; fetched by pip where a bfcl: task set is used without it
    #[arg(long, value_name = "DIR", env = "WHETSTONE_BFCL", hide_env_values = true)]
    bfcl: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &TrainArgs, data: &Path, ui: &Ui) -> Result<ExitCode> {
    match &args.resume {
        Some(wanted) => resume(args, wanted, data, ui),
        None => begin(args, data, ui),
    }
}

fn begin(args: &TrainArgs, data: &Path, ui: &Ui) -> Result<ExitCode> {
    let mut config = effective_config(args, data)?;
    if whetstone_tooluse::tasks::spec::Spec::parse(&config.tasks).is_ok_and(|s| s.needs_bfcl()) {
        ui.note("warning: BFCL is for measuring; a model that learned from it can no longer be compared on it");
    }
    let bfcl = bfcl_root(args, &config, data, ui)?;
    let store = BlockingStore::open(data)?; // a data directory that cannot be written is found before the model is fetched
    let stop = signals::stop_flag()?;
    let path = source::base(&config.model, data, ui)?;
    config.model = source::stored_name(&path, data);
    worker::with_threads(config.threads, || {
        let base = policy::load(&path, config.compute)?;
        let (model, sha256) = (config.model.clone(), base.sha256.clone());
        let (ready, report) = prepare(&config, base, bfcl.as_deref())?;
        lines::report(ui, &report);
        let name = args.name.as_deref().unwrap_or_default();
        let new = NewRun { name, config: &config, model: &model, base_sha256: &sha256, code_version: env!("CARGO_PKG_VERSION") };
        let row = store.run_by_id(store.begin_run(&new, std::process::id())?)?;
        ui.note(&format!(
            "run {} on {model}, {} threads, kept in {}",
            row.public_id,
            config.threads,
            worker::run_folder(data, &row.public_id).display()
        ));
        let ending = worker::run(data, row.id, stop, |_| Ok(ready), &mut watcher(ui, &config));
        finish(ui, &store, &row, ending)
    })?
}

fn resume(args: &TrainArgs, wanted: &str, data: &Path, ui: &Ui) -> Result<ExitCode> {
    let store = BlockingStore::open(data)?;
    let row = store.run(wanted)?;
    if row.state == RunState::Finished {
        ui.note(&format!("run {} is finished; there is nothing to resume", row.public_id));
        return finish(ui, &store, &row, Ok(Ending::Finished));
    }
    let config = row.config().with_context(|| format!("run {}: its stored config cannot be read", row.public_id))?;
    let bfcl = bfcl_root(args, &config, data, ui)?;
    let stop = signals::stop_flag()?;
    let model = args.model.as_deref().unwrap_or(&config.model);
    worker::with_threads(config.threads, || {
        let from = store.resume_point(row.id)?.map(|p| p.checkpoint);
        ui.note(&match &from {
            Some(c) => format!("run {} goes on from its checkpoint {}", row.public_id, c.folder),
            None => format!("run {} has no checkpoint yet and starts from its beginning", row.public_id),
        });
        let ready = |config: &RunConfig| {
            let base = policy::load(&whetstone_model::fetch::locate(model, &source::models_dir(data))?, config.compute)?;
            let mut config = config.clone();
            if row.base_sha256.is_empty() {
                worker::resolve(&mut config);
                store.settle(row.id, &config, &base.sha256)?; // queued by a page, and never begun
            }
            let (ready, report) = prepare(&config, base, bfcl.as_deref())?;
            lines::report(ui, &report);
            Ok(ready)
        };
        let ending = worker::run(data, row.id, stop, ready, &mut watcher(ui, &config));
        finish(ui, &store, &row, ending)
    })?
}

/// The config of all layers, checked, with every `auto` resolved.
fn effective_config(args: &TrainArgs, data: &Path) -> Result<RunConfig> {
    let mut layers = Layers::default();
    layers.recipe(args.recipe.as_deref().unwrap_or(RECIPES[0].0))?;
    if let Some(path) = &args.config {
        layers.file(path)?;
    }
    for (key, value) in [("tasks", &args.tasks), ("steps", &args.steps), ("model", &args.model)] {
        if let Some(value) = value {
            layers.set(key, value, &format!("--{key} {value}"))?;
        }
    }
    for pair in &args.pairs {
        layers.pair(pair)?;
    }
    let mut config = layers.finish()?;
    config.tasks = source::absolute_spec(&config.tasks, data);
    config.eval_tasks = source::absolute_spec(&config.eval_tasks, data);
    worker::resolve(&mut config);
    Ok(config)
}

fn bfcl_root(args: &TrainArgs, config: &RunConfig, data: &Path, ui: &Ui) -> Result<Option<PathBuf>> {
    bfcl::root(&[&config.tasks, &config.eval_tasks], args.bfcl.as_deref(), data, ui)
}

/// Shows every event as it happens.
fn watcher<'a>(ui: &'a Ui, config: &'a RunConfig) -> impl FnMut(&Event) + 'a {
    ui.start_bar(config.warm_start.steps + config.steps);
    move |event| match event {
        Event::Step { step, evaluation, checkpoint } => {
            if let Some(step) = step {
                let before = if step.phase == Phase::Grpo { config.warm_start.steps } else { 0 };
                ui.at(before + step.step);
                ui.doing("");
                ui.say(&lines::step(step, config));
                let evaluation = evaluation.as_ref().map(|e| &e.summary);
                let object = json!({ "phase": step.phase, "step": step.step, "metrics": step.metrics, "evaluation": evaluation });
                if let Err(e) = ui.object(&object) {
                    tracing::warn!(error = %e, "a step could not be printed");
                }
            }
            if let Some(evaluation) = evaluation {
                ui.say(&lines::evaluation(evaluation));
                if ui.json {
                    ui.detail(&lines::evaluation(evaluation));
                }
            }
            if let Some(checkpoint) = checkpoint {
                ui.detail(&format!("checkpoint {} ({} kB)", checkpoint.folder, checkpoint.bytes / 1000));
            }
        }
        Event::Progress { message } => {
            ui.doing(message);
            ui.detail(message);
        }
        Event::Log { level, message } => ui.note(&format!("{level}: {message}")),
        Event::State { state, .. } => ui.detail(&format!("state: {}", state.name())),
    }
}

fn finish(ui: &Ui, store: &BlockingStore, row: &RunRow, ending: whetstone_train::Result<Ending>) -> Result<ExitCode> {
    ui.end_bar();
    let shown = Summary::read(store, row.id).and_then(|s| s.show(ui));
    match ending {
        Err(e) => Err(anyhow!("run {} failed: {e}", row.public_id)),
        Ok(_) => shown.map(|()| ExitCode::SUCCESS),
    }
}
