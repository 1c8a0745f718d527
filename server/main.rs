//! Whetstone's command line: arguments in, one command run, an exit code out.
//!
//! Every command is a module of `cli`; what they share is there, too. Errors end here, in one place.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks through them")]

mod cli;
mod config;
mod supervisor;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};

use cli::Ui;

/// Tensors of megabytes come and go every few milliseconds: glibc would give their pages back and have them cleared again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Teach small language models to call tools, on the machine you have.
#[derive(Parser)]
#[command(name = "whetstone", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args)]
struct Global {
    /// Where runs, models and the database are kept [default: whetstone in the platform's data directory]
    #[arg(long, global = true, env = "WHETSTONE_DATA", value_name = "DIR", hide_env_values = true)]
    data: Option<PathBuf>,
    /// Print JSON on standard output, one object a line; notes go to standard error
    #[arg(long, global = true)]
    json: bool,
    /// Say more on standard error; twice = everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Subcommand)]
enum Command {
    Serve(cli::serve::ServeArgs),
    Demo(cli::demo::DemoArgs),
    Train(cli::train::TrainArgs),
    Eval(cli::eval::EvalArgs),
    Bench(cli::bench::BenchArgs),
    Export(cli::export::ExportArgs),
    Model(cli::model::ModelArgs),
    Tasks(cli::tasks::TasksArgs),
    Runs(cli::runs::RunsArgs),
    Worker(cli::worker::WorkerArgs),
}

const EXAMPLES: &str = "\
Examples:
  whetstone demo                                    see it work: six minutes of training in the dashboard
  whetstone serve                                   the dashboard: launch, watch, compare, download
  whetstone train                                   train the default model on the starter tasks, resumable at any moment
  whetstone train --steps 20 --set temperature=0.8  a shorter run with one knob turned
  whetstone train --resume latest                   go on after Ctrl-C, a crash or kill -9
  whetstone runs list                               what was trained, and how well it did
  whetstone export latest my-adapter                the best adapter, as Hugging Face peft loads it
  whetstone eval --model smollm2-135m-instruct-q4_1 --adapter my-adapter --tasks starter:held-out

Every command explains itself: whetstone train --help";

fn main() -> ExitCode {
    // before arguments are read: what follows belongs to the program of a tool that is started, limited, through this binary
    if let Some(code) = whetstone_train::limited() {
        return code;
    }
    let cli = Cli::parse();
    let level = ["warn", "info", "debug"][usize::from(cli.global.verbose.min(2))];
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| level.into()))
        .with_target(false)
        .without_time()
        .init();
    match run(cli) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let data = match cli.global.data.filter(|d| !d.as_os_str().is_empty()) {
        Some(dir) => dir,
        None => dirs::data_dir().context("this system names no data directory; give one with --data DIR")?.join("whetstone"),
    };
    let data = std::path::absolute(&data).with_context(|| format!("cannot use {} as data directory", data.display()))?;
    let ui = Ui::new(cli.global.json, cli.global.verbose);
    match cli.command {
        Command::Serve(args) => cli::serve::run(&args, &data, &ui),
        Command::Demo(args) => cli::demo::run(&args, &data, &ui),
        Command::Train(args) => cli::train::run(&args, &data, &ui),
        Command::Eval(args) => cli::eval::run(&args, &data, &ui),
        Command::Bench(args) => cli::bench::run(&args, &data, &ui),
        Command::Export(args) => cli::export::run(&args, &data, &ui),
        Command::Model(args) => cli::model::run(&args, &data, &ui),
        Command::Tasks(args) => cli::tasks::run(&args, &data, &ui),
        Command::Runs(args) => cli::runs::run(&args, &data, &ui),
        Command::Worker(args) => cli::worker::run(&args, &data, &ui),
    }
}
