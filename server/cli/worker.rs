//! `whetstone worker`: one run of the queue, in a process of its own that the supervisor starts.
//!
//! In: a run that was handed out. Out: its rows and files; what it says goes to `runs/RUN/worker.log`. It is `train --resume` for a
//! run that may never have begun: the base it was queued without is settled here.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use whetstone_domain::{Event, RunConfig};
use whetstone_store::{BlockingStore, RunRow};
use whetstone_train::prepare::{Ready, prepare};
use whetstone_train::{TrainError, policy, worker};

use super::{Ui, bfcl, lines, signals, source};

/// Work on one queued run; started by `whetstone serve`
#[derive(Args)]
#[command(hide = true)]
pub struct WorkerArgs {
    /// Id of the run
    run: String,
    /// The unpacked bfcl-eval wheel
    #[arg(long, value_name = "DIR", env = "WHETSTONE_BFCL", hide_env_values = true)]
    bfcl: Option<PathBuf>,
}

/// How much less than the server a worker asks of the processor, so that pages answer while it computes.
const NICENESS: i32 = 5;

/// Runs the command.
pub fn run(args: &WorkerArgs, data: &Path, ui: &Ui) -> Result<ExitCode> {
    if let Err(e) = rustix::process::nice(NICENESS) {
        tracing::debug!(error = %e, "the worker keeps its priority");
    }
    let store = BlockingStore::open(data)?;
    let row = store.run(&args.run)?;
    let config = row.config().with_context(|| format!("run {}: its stored config cannot be read", row.public_id))?;
    let stop = signals::stop_flag()?;
    let ending = worker::with_threads(config.threads, || {
        let ready = |config: &RunConfig| {
            let begun = begin(args, &store, &row, config, data, ui);
            begun.map_err(|e| TrainError::Run { run: row.public_id.clone(), reason: format!("cannot begin: {e:#}") })
        };
        worker::run(data, row.id, stop, ready, &mut |event| log(ui, event, &config))
    })?;
    ending.with_context(|| format!("run {} failed", row.public_id))?;
    Ok(ExitCode::SUCCESS)
}

/// Base and problems; a run that has no base yet gets this one.
fn begin(args: &WorkerArgs, store: &BlockingStore, row: &RunRow, config: &RunConfig, data: &Path, ui: &Ui) -> Result<Ready> {
    let bfcl = bfcl::root(&[&config.tasks, &config.eval_tasks], args.bfcl.as_deref(), data, ui)?;
    let path = source::base(&config.model, data, ui)?;
    let base = policy::load(&path, config.compute)?;
    let mut config = config.clone();
    if row.base_sha256.is_empty() {
        config.model = source::stored_name(&path, data);
        worker::resolve(&mut config);
        store.settle(row.id, &config, &base.sha256)?;
    }
    let (ready, report) = prepare(&config, base, bfcl.as_deref())?;
    lines::report(ui, &report);
    Ok(ready)
}

fn log(ui: &Ui, event: &Event, config: &RunConfig) {
    match event {
        Event::Step { step, evaluation, checkpoint } => {
            step.iter().for_each(|s| ui.note(&lines::step(s, config)));
            evaluation.iter().for_each(|e| ui.note(&lines::evaluation(e)));
            checkpoint.iter().for_each(|c| ui.note(&format!("checkpoint {}", c.folder)));
        }
        Event::State { state, message } => ui.note(&format!("state: {} {message}", state.name())),
        Event::Log { level, message } => ui.note(&format!("{level}: {message}")),
        Event::Progress { .. } => {}
    }
}
