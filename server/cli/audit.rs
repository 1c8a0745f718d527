//! `whetstone tasks check`: what cheap tricks earn, whether the reward climbs, and what the data hides.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use whetstone_domain::config::{Format, RewardName};
use whetstone_domain::{Problem, RunConfig};
use whetstone_tooluse::audit::conversations::{self, ConversationReport};
use whetstone_tooluse::audit::data::{Finding, Lengths};
use whetstone_tooluse::audit::{self, DataReport, Violation};
use whetstone_tooluse::reward::is_graded;
use whetstone_tooluse::tasks::{self, LoadOptions};
use whetstone_tooluse::{Rewarder, format};
use whetstone_train::{Policy, Scorer, converse, policy};

use super::score::{format_name, reward_config};
use super::{Ui, bfcl, lines, source};

/// Problems of a generated set that are audited without `--limit`.
const GENERATED: usize = 1000;

const EXAMPLES: &str = "\
Examples:
  whetstone tasks check starter --reward dense --held-out starter:held-out
  whetstone tasks check file:my-tasks.jsonl --reward file:my-reward.toml --model smollm2-135m-instruct-q4_1
  whetstone tasks check file:my-tasks.jsonl --reward \"command:python3 my_reward.py\" --json

Policies that know nothing, or nearly everything, answer every problem. The reward passes when it never falls from garbage to gold
(garbage, a wrong tool, the right tool without arguments, with junk, with one wrong value, gold), when nothing that is wrong earns as
much as gold, and when never calling earns no more than trying. dense and toolrl must also climb at every rung. A reward whose weights
move is checked at the first step and at the start, middle and end of every move. The exit code is 1 where a rule is broken, an
expected call is not right by its own problem's matcher (so it is for two rows of bfcl:live_simple and two of bfcl:live_multiple, as by
BFCL's own checker), a tool's schema is none, or a run would leave a problem out: its tools may not be offered or cannot run, or the
format cannot write its calls. Tools are made as a run makes them, so give --programs and --host where the run is given them.";

/// Check a task set and a reward before training on them
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckArgs {
    /// Task set, see `whetstone tasks --help`
    spec: String,
    /// Reward: a built-in one, file:PATH.toml or command:PROGRAM
    #[arg(long, value_name = "NAME", default_value_t = RewardName::Dense.to_string())]
    reward: String,
    /// Task set that is measured on: what training on SPEC would give away of it
    #[arg(long, value_name = "SPEC")]
    held_out: Option<String>,
    /// Also count prompts in this model's tokens: a name, a GGUF file or a Hugging Face folder
    #[arg(long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// Chat format of prompts and answers
    #[arg(long, value_name = "FORMAT", default_value = "bare_json", value_parser = format_name)]
    format: Format,
    /// Let the tools of problems start programs and read database files, as tools.programs = true lets a run
    #[arg(long)]
    programs: bool,
    /// Host that tools may speak to beside this machine, as tools.hosts of a run; may be given several times
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// At most so many problems, from the start [default: all; 1000 of a generated set]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Seed of generated task sets
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The unpacked bfcl-eval wheel; fetched by pip where it is needed
    #[arg(long, value_name = "DIR", env = "WHETSTONE_BFCL", hide_env_values = true)]
    bfcl: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &CheckArgs, data: &Path, ui: &Ui) -> Result<ExitCode> {
    let mut config = reward_config(&args.reward, args.format)?;
    config.tools.programs = args.programs;
    config.tools.hosts.clone_from(&args.hosts);
    let mut scorer = Scorer::new(&config)?;
    let specs: Vec<&str> = [args.spec.as_str()].into_iter().chain(args.held_out.as_deref()).collect();
    let root = bfcl::root(&specs, args.bfcl.as_deref(), data, ui)?;
    let load = |spec: &str| {
        let limit = args.limit.or(tasks::is_generated(spec).then_some(GENERATED));
        tasks::load(&source::absolute_spec(spec, data), &LoadOptions { seed: args.seed, limit, bfcl: root.as_deref() })
    };
    let set = load(&args.spec)?;
    let held_out = args.held_out.as_deref().map(load).transpose()?;
    let (tools, written) = (converse::settings(&config.tools), !tasks::is_generated(&args.spec));
    let runs = |problem: &Problem| if written { tools.can_run(problem).map_err(|e| e.to_string()) } else { Ok(()) };
    let found = audit::data::audit(args.format, &set.problems, held_out.as_ref().map(|h| h.problems.as_slice()), runs);
    let tokens = args.model.as_deref().map(|model| tokens(model, &config, &set.problems, data, ui)).transpose()?.flatten();
    let graded = is_graded(&config);
    // a conversation is not one text: its reward has rules of its own
    let (talks, single): (Vec<Problem>, Vec<Problem>) = set.problems.iter().cloned().partition(Problem::is_conversation);
    // a program's weights are not seen: it is asked at the first step
    let steps = Rewarder::new(&config).map_or_else(|_| vec![0], |rewarder| rewarder.steps());
    let report = audit::audit(&args.reward, args.format, &single, graded, &steps, |step, problem, text, outcome| {
        let parse = format::parse(args.format, text);
        scorer.score(step, problem, text, &parse, outcome).map(|r| r.total)
    })?;
    let talked = conversations::audit(args.format, &talks, graded, |problem, transcript, verdict| {
        scorer.score_conversation(0, problem, &transcript.text, &transcript.all_calls(), verdict).map(|r| r.total)
    })?;
    let of_schema = set.refused.iter().filter(|refusal| refusal.is_of_schema()).count();
    let faults: Vec<String> = [
        (report.violations.len() + talked.violations.len(), "rules broken"),
        (report.gold_not_right.len() + talked.gold_not_right.len(), "problems refuse their own expected calls"),
        (of_schema, "rows refused for the schema of a tool"),
        (found.schema_errors.count, "schema errors"),
        (found.unfit.count, "problems that a run would leave out"),
    ]
    .into_iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, what)| format!("{n} {what}"))
    .collect();
    let passed = faults.is_empty();
    let code = if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    ui.object(&json!({
        "tasks": args.spec, "passed": passed, "faults": faults, "refused_rows": set.refused.len(), "refused_for_schema": of_schema,
        "refused": set.refused, "data": found, "prompt_tokens": tokens,
        "reward": (!single.is_empty()).then_some(&report), "conversations": (!talks.is_empty()).then_some(&talked),
    }))?;
    lines::refusals(ui, &set.refused);
    ui.say(&format!("rows refused: {}, {of_schema} of them for the schema of a tool", set.refused.len()));
    say_data(ui, &found, tokens.as_ref());
    if !talks.is_empty() {
        say_conversations(ui, &report.reward, graded, &talked);
    }
    if single.is_empty() {
        say_faults(ui, &faults);
        return Ok(code);
    }
    ui.say(&format!("\nreward {}\n{:<38} {:>8} {:>9} {:>9} {:>9}", report.reward, "policy", "problems", "reward", "of calls", "accuracy"));
    for row in &report.policies {
        let of_calls = row.reward_where_a_call_is_expected.map_or_else(|| "-".into(), |r| format!("{r:.3}"));
        ui.say(&format!("{:<38} {:>8} {:>9.3} {:>9} {:>7.1} %", row.description, row.problems, row.reward, of_calls, 100.0 * row.accuracy));
    }
    say_wrong_gold(ui, &report.gold_not_right);
    say_violations(ui, &report.violations, report.steps.len() > 1);
    let rules = if graded { "climbs at every rung" } else { "never falls" };
    if passed {
        let at = match &report.steps[..] {
            [] | [_] => String::new(),
            steps => format!(", at steps {}", steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        };
        ui.say(&format!(
            "passed: {rules} from garbage to gold ({} problems with every rung), {}{at}",
            report.ladder_problems,
            audit::ONLY_GOLD
        ));
    }
    say_faults(ui, &faults);
    Ok(code)
}

fn say_faults(ui: &Ui, faults: &[String]) {
    if !faults.is_empty() {
        ui.say(&format!("not passed: {}", faults.join(", ")));
    }
}

/// Problems that their own matcher refuses, by id.
fn say_wrong_gold(ui: &Ui, ids: &[String]) {
    const NAMED: usize = 10;
    if !ids.is_empty() {
        let more = if ids.len() > NAMED { ", ..." } else { "" };
        let named = ids[..ids.len().min(NAMED)].join(", ");
        ui.say(&format!("NOT RIGHT by their own matcher are the expected calls of {} problems: {named}{more}", ids.len()));
    }
}

/// With the step, where the weights move.
fn say_violations(ui: &Ui, violations: &[Violation], moves: bool) {
    for v in violations {
        let at = if moves { format!(" at step {}", v.step) } else { String::new() };
        ui.say(&format!("VIOLATION {}{at}: {} ({} problems)", v.rule, v.detail, v.problems));
    }
}

fn say_conversations(ui: &Ui, reward: &str, graded: bool, report: &ConversationReport) {
    ui.say(&format!("\nreward of conversations (made of format, calls, answer, correct; {reward} decides whether they are graded)\n{:<38} {:>8} {:>9} {:>9}", "way", "problems", "reward", "accuracy"));
    for row in &report.ways {
        ui.say(&format!("{:<38} {:>8} {:>9.3} {:>7.1} %", row.description, row.problems, row.reward, 100.0 * row.accuracy));
    }
    say_wrong_gold(ui, &report.gold_not_right);
    say_violations(ui, &report.violations, false);
    if report.violations.is_empty() && report.gold_not_right.is_empty() {
        let only = if graded { conversations::STRAIGHT_WAY } else { audit::ONLY_GOLD };
        ui.say(&format!("passed: never falls from silence to gold, {only}, guessing pays no more than trying"));
    }
}

/// Lengths of the prompts in a model's tokens.
fn tokens(model: &str, config: &RunConfig, problems: &[Problem], data: &Path, ui: &Ui) -> Result<Option<Lengths>> {
    let policy = Policy::new(policy::load(&source::base(model, data, ui)?, config.compute)?, config)?;
    Ok(Lengths::of(policy.prompts(problems)?.into_iter().map(|(_, ids)| ids.len()).collect()))
}

fn say_data(ui: &Ui, d: &DataReport, tokens: Option<&Lengths>) {
    ui.say(&format!(
        "{} problems, {} without a call, {} with several; {} offer one tool only; {} tools",
        d.problems, d.no_call, d.several_calls, d.one_tool, d.tools
    ));
    let difficulty: Vec<String> = d.by_difficulty.iter().map(|(level, n)| format!("{level}: {n}")).collect();
    ui.say(&format!("by difficulty (0 = unknown) {}", difficulty.join(", ")));
    let lengths =
        |what: &str, l: &Lengths| ui.say(&format!("{what}: {} to {}, median {}, nine in ten up to {}", l.min, l.max, l.median, l.p90));
    d.prompt_characters.iter().for_each(|l| lengths("characters of a prompt", l));
    tokens.into_iter().for_each(|l| lengths("tokens of a prompt", l));
    d.answer_characters.iter().for_each(|l| lengths("characters of a right answer", l));
    ui.say(&format!(
        "values that stand letter for letter in the request: {:.1} % of {}; problems all of whose values do: {:.1} %",
        100.0 * d.values_in_request,
        d.values,
        100.0 * d.problems_copied
    ));
    say_finding(ui, "duplicates", &d.duplicates);
    say_finding(ui, "schema errors", &d.schema_errors);
    say_finding(ui, "problems that a run would leave out", &d.unfit);
    if let Some(overlap) = &d.overlap {
        say_finding(ui, "held-out requests that are also asked here", &overlap.requests);
        say_finding(ui, "held-out tools that are also offered here", &overlap.tools);
    }
}

fn say_finding(ui: &Ui, what: &str, f: &Finding) {
    ui.say(&format!("{what}: {}", f.count));
    f.first.iter().for_each(|place| ui.say(&format!("  {place}")));
    if f.count > f.first.len() {
        ui.say("  ...");
    }
}
