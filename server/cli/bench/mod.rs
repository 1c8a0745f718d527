//! `whetstone bench`: how fast the parts are on this machine.

mod filler;
mod pages;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::Ui;

/// Measure how fast this machine does what Whetstone does
#[derive(Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Pages(pages::PagesArgs),
}

/// Runs the command.
pub fn run(args: &BenchArgs, _data: &Path, ui: &Ui) -> Result<ExitCode> {
    match &args.what {
        What::Pages(args) => pages::run(args, ui),
    }
}
