//! `whetstone tasks`: which task sets there are, and what is in them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;
use whetstone_domain::Problem;
use whetstone_domain::config::Format;
use whetstone_tooluse::tasks::{self, LoadOptions, bfcl::CATEGORIES, starter};
use whetstone_tooluse::{format, matching};

use super::{Ui, bfcl, lines};

/// Problems shown without `--limit`.
const SHOWN: usize = 10;

const EXAMPLES: &str = "\
Examples:
  whetstone tasks show starter --limit 5 --seed 1
  whetstone tasks show file:my-tasks.jsonl          also a check: rows that cannot be used are listed with place and reason

A task file holds one problem a line:
  {\"id\": \"w-1\", \"messages\": [{\"role\": \"user\", \"content\": \"Weather in Oslo?\"}],
   \"tools\": [{\"name\": \"get_weather\", \"description\": \"Current weather\", \"parameters\": {\"type\": \"object\",
     \"properties\": {\"city\": {\"type\": \"string\"}}, \"required\": [\"city\"]}}],
   \"expected\": [{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}]}
An argument may be {\"any_of\": [values], \"optional\": true}; expected [] means that no call is right.";

/// List task sets, and look into them
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct TasksArgs {
    #[command(subcommand)]
    command: TasksCommand,
}

#[derive(Subcommand)]
enum TasksCommand {
    /// The task sets that can be named
    List,
    /// Problems of a task set
    Show {
        /// starter, starter:held-out, file:PATH, bfcl:CATEGORY
        spec: String,
        /// At most so many problems, from the start [default: 10]
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Seed of generated task sets
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// The unpacked bfcl-eval wheel; fetched by pip where it is needed
        #[arg(long, value_name = "DIR", env = "WHETSTONE_BFCL", hide_env_values = true)]
        bfcl: Option<PathBuf>,
    },
}

/// Runs the command.
pub fn run(args: &TasksArgs, data: &Path, ui: &Ui) -> Result<ExitCode> {
    match &args.command {
        TasksCommand::List => list(ui)?,
        TasksCommand::Show { spec, limit, seed, bfcl } => {
            let root = bfcl::root(&[spec], bfcl.as_deref(), data, ui)?;
            // generated sets are made only as far as they are shown; files are checked whole
            let made = spec.trim().starts_with("starter").then_some(limit.unwrap_or(SHOWN));
            let set = tasks::load(spec, &LoadOptions { seed: *seed, limit: made, bfcl: root.as_deref() })?;
            for problem in set.problems.iter().take(limit.unwrap_or(SHOWN)) {
                ui.object(problem)?;
                show(ui, problem);
            }
            if made.is_none() {
                ui.note(&format!("{} problems in {}", set.problems.len(), set.spec));
            }
            lines::refusals(ui, &set.refused);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(ui: &Ui) -> Result<()> {
    let mut entries = vec![
        ("starter".to_owned(), format!("generated from a seed; domains {}", starter::train_domains().join(", "))),
        (
            "starter:held-out".to_owned(),
            format!("generated from a seed; domains never trained on: {}", starter::held_out_domains().join(", ")),
        ),
        ("file:PATH".to_owned(), "your own problems, one JSON object a line (see `whetstone tasks --help`)".to_owned()),
    ];
    entries.extend(
        CATEGORIES.iter().map(|c| (format!("bfcl:{c}"), "Berkeley function-calling leaderboard v4, for evaluation only".to_owned())),
    );
    for (spec, description) in entries {
        ui.object(&json!({ "spec": spec, "description": description }))?;
        ui.say(&format!("{spec:<30} {description}"));
    }
    Ok(())
}

fn show(ui: &Ui, p: &Problem) {
    ui.say(&format!("{}{}", p.id, if p.domain.is_empty() { String::new() } else { format!("  [{}]", p.domain) }));
    for m in &p.messages {
        ui.say(&format!("  {}: {}", m.role.as_str(), m.content));
    }
    for t in &p.tools {
        ui.say(&format!("  offers {}", format::signature::signature(t)));
    }
    let expected = if p.expected.is_no_call() { "no call".to_owned() } else { format::write(Format::BareJson, &matching::canonical(p)) };
    ui.say(&format!("  expects {expected}\n"));
}
