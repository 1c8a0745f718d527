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
use super::{Ui, audit, bfcl, lines, score, source};

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
  starter:tools, starter:tools-held-out  generated: tools that run: look up, then compute; the answer is given in words
  file:PATH                              JSON lines: our own, OpenAI chat (messages + tools; the last turn is the expected answer, its
                                         calls in tool_calls), xLAM and Hammer (query, tools, answers), Seal-Tools (query, calling),
                                         BFCL (question, function; the answers in possible_answer/ beside the file or under
                                         ground_truth; for evaluation only);
                                         seen from the first row, or said: file:PATH#format=own|openai|xlam|seal|bfcl
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
An argument may be {\"any_of\": [values], \"optional\": true}; expected [] means that no call is right.

A problem may bring tools that run; it is then worked on in several turns, and answered in words:
  {\"id\": \"p-1\", \"messages\": [{\"role\": \"user\", \"content\": \"What do 3 mugs cost?\"}],
   \"tools\": [{\"name\": \"get_price\", \"parameters\": {\"type\": \"object\", \"properties\": {\"product\": {\"type\": \"string\"}},
      \"required\": [\"product\"]}}, {\"name\": \"calculate\", \"parameters\": {\"type\": \"object\", \"properties\": {\"expression\":
      {\"type\": \"string\"}}, \"required\": [\"expression\"]}}],
   \"environment\": {\"tools\": {\"calculate\": {\"kind\": \"calculator\"}, \"get_price\": {\"kind\": \"table\",
      \"sql_setup\": \"create table p (name text, price real); insert into p values ('mug', 4.2)\",
      \"query\": \"select price from p where name = :product\"}}},
   \"expected\": [{\"name\": \"get_price\", \"arguments\": {\"product\": \"mug\"}},
      {\"name\": \"calculate\", \"arguments\": {\"expression\": {\"any_of\": [\"3 * 4.2\", \"12.6\"]}}}],
   \"answer\": 12.6}
expected lists the calls that lead to the answer; an expression is right when its value is among those accepted. answer is a
number (the last one of the model's words) or a text, or {\"any_of\": [..], \"none_of\": [texts], \"tolerance\": 0.005}.
What runs a tool, by its kind:
  calculator                        argument expression
  clock      operation              now, convert, between, add or weekday; environment.now sets the present
  table      sql_setup, query       SQLite in memory; without query the argument sql is run (reading only); or database: a file *, not
                                    in WAL mode; its present is environment.now, in UTC, and without one 'now' is refused
  files      files                  a folder of texts: NAME.list, NAME.read, NAME.write
  http       openapi, server, operations   NAME.OPERATION for the operations of an OpenAPI 3 document on this machine
  mcp        command                NAME.TOOL for the tools of an MCP server on stdin and stdout *
  command    command                a program; the word {name} stands for an argument, all of them are JSON on stdin *
* only with tools.programs = true (eval, tasks check: --programs); other hosts for http: tools.hosts (tasks check: --host).";

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
            let spec = &source::absolute_spec(spec, data);
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
        ("starter:tools".to_owned(), "generated from a seed; tools that run: look up, then compute; the answer is in words".to_owned()),
        ("starter:tools-held-out".to_owned(), "the same with other tools, words and numbers, never trained on".to_owned()),
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
    ui.say(&format!("  expects {expected}"));
    if let Some(answer) = &p.answer {
        ui.say(&format!("  answers {}", answer.spoken()));
    }
    ui.say("");
}
