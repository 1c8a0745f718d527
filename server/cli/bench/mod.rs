//! `whetstone bench`: how fast engine and pages are on this machine, in numbers that can be compared with others'.

mod filler;
mod generate;
mod http;
mod load;
mod pages;
mod step;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use whetstone_domain::RunConfig;
use whetstone_domain::config::{Compute, GradientCheckpointing};
use whetstone_train::{Policy, policy, worker};

use super::{Ui, source};

/// Measure engine and pages on this machine
#[derive(Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Step(step::StepArgs),
    Scale(step::ScaleArgs),
    Generate(generate::GenerateArgs),
    Pages(pages::PagesArgs),
    Load(load::LoadArgs),
}

/// What every measurement of the engine takes.
#[derive(Args)]
struct Engine {
    /// Base model: a name, a GGUF file or a Hugging Face folder; default: whichever is present
    #[arg(long, value_name = "NAME|PATH", default_value = "", hide_default_value = true)]
    model: String,
    /// Numbers that the frozen weights are multiplied in: auto, f32 or bf16
    #[arg(long, default_value = "auto", value_parser = super::compute)]
    compute: Compute,
    /// Compute threads; 0 = all
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Read blocks again in the backward pass instead of keeping them
    #[arg(long)]
    gradient_checkpointing: bool,
}

impl Engine {
    fn settle(&self, config: &mut RunConfig) {
        (config.compute, config.threads) = (self.compute, self.threads);
        config.gradient_checkpointing = if self.gradient_checkpointing { GradientCheckpointing::On } else { GradientCheckpointing::Off };
        worker::resolve(config);
    }

    fn model(&self, data: &Path, ui: &Ui) -> Result<PathBuf> {
        source::base(&self.model, data, ui)
    }

    fn policy(&self, path: &Path, config: &RunConfig) -> Result<Policy> {
        Ok(Policy::new(policy::load(path, config.compute)?, config)?)
    }
}

/// Runs the command.
pub fn run(args: &BenchArgs, data: &Path, ui: &Ui) -> Result<ExitCode> {
    match &args.command {
        Command::Step(args) => step::run(args, data, ui),
        Command::Scale(args) => step::scale(args, data, ui),
        Command::Generate(args) => generate::run(args, data, ui),
        Command::Pages(args) => pages::run(args, ui),
        Command::Load(args) => load::run(args, data, ui),
    }
}
