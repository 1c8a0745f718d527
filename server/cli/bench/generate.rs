//! `whetstone bench generate`: tokens per second of the decode phase.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use whetstone_domain::RunConfig;
use whetstone_train::bench::Bench;
use whetstone_train::worker;

use super::super::Ui;
use super::Engine;

/// Time the sampling of tokens below one prompt, without reading the prompt
#[derive(Args)]
pub struct GenerateArgs {
    /// Rows sampled at once
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32])]
    batch: Vec<usize>,
    /// Tokens of the prompt
    #[arg(long, default_value_t = 200)]
    prompt: usize,
    /// Tokens a row
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    #[command(flatten)]
    engine: Engine,
}

/// Runs the command.
pub fn run(args: &GenerateArgs, data: &Path, ui: &Ui) -> Result<ExitCode> {
    if args.prompt == 0 || args.tokens == 0 || args.batch.iter().any(|b| !(1..=1024).contains(b)) {
        bail!("--prompt and --tokens must be at least 1, --batch between 1 and 1024");
    }
    let path = args.engine.model(data, ui)?;
    let mut config = RunConfig { max_prompt_tokens: args.prompt, max_completion_length: args.tokens, ..RunConfig::default() };
    args.engine.settle(&mut config);
    worker::with_threads(config.threads, || -> Result<ExitCode> {
        let policy = args.engine.policy(&path, &config)?;
        let bench = Bench::new(&policy.model, &config)?;
        let prompt: Vec<u32> = (0..args.prompt).map(|i| 1000 + (i * 7919 % 20_000) as u32).collect();
        for &rows in &args.batch {
            let mut rates = (0..3).map(|_| bench.generate(&prompt, rows, args.tokens)).collect::<Result<Vec<_>, _>>()?;
            rates.sort_by(f64::total_cmp);
            ui.object(&json!({ "batch": rows, "tokens_per_second": rates[1], "compute": config.compute, "threads": config.threads }))?;
            ui.say(&format!("batch {rows:3}: {:6.0} tokens/s (median of 3)", rates[1]));
        }
        Ok(ExitCode::SUCCESS)
    })?
}
