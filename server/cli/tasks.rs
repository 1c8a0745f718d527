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

use super::audit::CheckArgs;
use super::score::ScoreArgs;
use super::{Ui, audit, bfcl, lines, score};

/// Problems shown without `--limit`.
const SHOWN: usize = 10;

const EXAMPLES: &str = "\
Examples:
  whetstone tasks show starter --limit 5 --seed 1
  whetstone tasks show file:my-tasks.jsonl          also lists the rows that cannot be used, with place and reason
  whetstone tasks check file:my-tasks.jsonl --reward dense
  whetstone tasks score starter:held-out predictions.jsonl

Task sets (SPEC):
  starter, starter:held-out              generated: one call or none
  starter:wide, starter:wide-held-out    generated: several calls, look-alikes of the right tool, values to be brought into another form
  file:PATH                              JSON lines: our own, OpenAI chat (messages + tools, the last turn is the expected answer),
                                         xLAM and Hammer (query, tools, answers), Seal-Tools (query, calling); seen from the first row,
                                         or said: file:PATH#format=own|openai|xlam|seal
  bfcl:CATEGORY                          Berkeley function-calling leaderboard v4, for evaluation only
  mix:0.7*starter+0.3*file:x.jsonl       parts by weight; as many problems as the scarcest file allows
Options behind a source, one after the other:
  #split=tool:train:SEED                 four tools in five; #split=tool:held-out:SEED the others; training shows none of those
  #split=domain:train:SEED               the same by domain
  #difficulty=1-2                        these difficulties only
  #order=difficulty                      a run meets easy problems first

Our own task file holds one problem a line:
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
    Check(CheckArgs),
    Score(ScoreArgs),
    /// Problems of a task set
    Show {
        /// Task set, see above
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
        TasksCommand::Check(args) => return audit::run(args, data, ui),
        TasksCommand::Score(args) => return score::run(args, data, ui),
        TasksCommand::Show { spec, limit, seed, bfcl } => {
            let root = bfcl::root(&[spec], bfcl.as_deref(), data, ui)?;
            // generated sets are made only as far as they are shown; files are checked whole
            let made = tasks::is_generated(spec).then_some(limit.unwrap_or(SHOWN));
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
        (
            "starter:wide".to_owned(),
            "generated from a seed: several calls, look-alikes of the right tool, values to be brought into another form".to_owned(),
        ),
        ("starter:wide-held-out".to_owned(), "the same for domains that are never trained on".to_owned()),
        ("file:PATH".to_owned(), "problems in a file of JSON lines, of several formats (see `whetstone tasks --help`)".to_owned()),
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
