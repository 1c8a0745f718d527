//! `whetstone demo`: the whole line in one command: server, a run under a time budget, before and after.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use tokio_util::sync::CancellationToken;
use whetstone_domain::{RunConfig, RunState};
use whetstone_store::{BlockingStore, NewRun};
use whetstone_train::worker;
use whetstone_web::Store;

use super::serve::{ServeArgs, serve};
use super::summary::Summary;
use super::{Ui, source};
use crate::config::{Layers, RECIPES};

/// Held-out problems that are measured before and after.
const PROBLEMS: usize = 120;

/// See it work: fetch the model, open the dashboard, train for some minutes, and say what that gained
#[derive(Args)]
#[command(after_help = "It keeps serving until Ctrl-C; whatever the run gained or lost is printed as it is.")]
pub struct DemoArgs {
    /// Time for the steps; the two evaluations come on top of it
    #[arg(long, value_name = "MINUTES", default_value_t = 6.0)]
    minutes: f64,
    /// End when the run has ended
    #[arg(long)]
    exit: bool,
    /// Port of the dashboard; 0 = any free one
    #[arg(long, value_name = "PORT", default_value_t = 4270)]
    port: u16,
    /// Base model: a name or a path [default: whichever known model is here, else it is fetched]
    #[arg(long, value_name = "NAME|PATH", default_value = "", hide_default_value = true)]
    model: String,
    /// One config value, as in `whetstone train`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pairs: Vec<String>,
}

/// Runs the command.
pub fn run(args: &DemoArgs, data: &Path, ui: &Ui) -> Result<ExitCode> {
    let config = config(args, data, ui)?;
    let server = ServeArgs::local(IpAddr::V4(Ipv4Addr::LOCALHOST), args.port);
    let place = data.to_path_buf();
    serve(&server, data, ui, async |store, shutdown| {
        let outcome = follow(&config, &store, &place, &shutdown, ui).await;
        if args.exit {
            shutdown.cancel();
            return outcome;
        }
        if let Err(e) = outcome {
            ui.note(&format!("{e:#}"));
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn config(args: &DemoArgs, data: &Path, ui: &Ui) -> Result<RunConfig> {
    let mut layers = Layers::default();
    layers.recipe(RECIPES[0].0)?;
    for (key, value) in [("eval_problems", PROBLEMS.to_string()), ("eval_every", "0".into()), ("max_minutes", args.minutes.to_string())] {
        layers.set(key, &value, &format!("the demo's {key}"))?;
    }
    for pair in &args.pairs {
        layers.pair(pair)?;
    }
    let mut config = layers.finish()?;
    config.model = source::stored_name(&source::base(&args.model, data, ui)?, data);
    worker::resolve(&mut config);
    Ok(config)
}

/// Queues the run, tells how it goes, and what came of it.
async fn follow(config: &RunConfig, store: &Store, data: &Path, shutdown: &CancellationToken, ui: &Ui) -> Result<()> {
    let new = NewRun { name: "demo", config, model: &config.model, base_sha256: "", code_version: env!("CARGO_PKG_VERSION") };
    let run = store.create_run(&new).await?;
    let mut told = String::new();
    let row = loop {
        let row = store.run_by_id(run).await?;
        let phase = row.phase.map_or("", |p| p.name());
        let doing = match (row.state, row.step) {
            (RunState::Queued, _) => "waiting for its turn".to_owned(),
            (_, 0) => "measuring the prompt alone".to_owned(),
            (_, step) => format!("{phase} step {step}"),
        };
        if doing != told {
            ui.note(&format!("run {}: {doing}", row.public_id));
            told = doing;
        }
        if row.state != RunState::Queued && !row.state.is_live() {
            break row;
        }
        tokio::select! {
            () = shutdown.cancelled() => {
                ui.note(&format!("run {} goes on by itself; whetstone serve shows it", row.public_id));
                return Ok(());
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    };
    let place = data.to_path_buf();
    // the blocking store has a runtime of its own, which may not be entered from here
    let summary = tokio::task::spawn_blocking(move || Summary::read(&BlockingStore::open(&place)?, run));
    summary.await.context("the summary could not be made")??.show(ui)?;
    match row.state {
        RunState::Finished => Ok(()),
        state => bail!("run {} is {}: {}", row.public_id, state.name(), row.message),
    }
}
