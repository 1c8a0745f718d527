//! `whetstone tasks score`: predictions of any model, judged and rewarded.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, Metadata};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;
use whetstone_domain::config::Format;
use whetstone_domain::{Outcome, Problem, RunConfig};
use whetstone_tooluse::predictions::{self, BadLine, Judged, Tally};
use whetstone_tooluse::tasks::spec::Source;
use whetstone_tooluse::tasks::{self, LoadOptions, Refusal, Spec};
use whetstone_train::Scorer;

use super::{Ui, bfcl, lines, source};
use crate::config::read_composition;

const EXAMPLES: &str = "\
Examples:
  whetstone tasks score starter:held-out predictions.jsonl --reward dense --reward strict
  whetstone tasks score bfcl:simple_python gpt.jsonl --out verdicts.jsonl --json

Each line of PREDICTIONS is {\"id\", \"calls\"} or {\"id\", \"text\"}:
  {\"id\": \"w-1\", \"calls\": [{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}]}
  {\"id\": \"w-1\", \"calls\": []}                    no call
  {\"id\": \"w-1\", \"calls\": null}                  an answer that could not be read: wrong (but right for BFCL's irrelevance)
  {\"id\": \"w-1\", \"text\": \"{\\\"name\\\": ...\"}        what the model wrote, read by --format
Where both are given calls count. An id may come again: every line is judged. Of generated task sets (starter...) as many problems
are made as the set holds; give the --seed that the predictions were made with.

A line that cannot be read (no JSON, no UTF-8, longer than 1 MiB, arguments that are no object, ...) is a wrong answer to the problem
that it names; lines that name no problem of the set are told and not counted. Of a key that comes twice the later value counts, as in Python.

--out has one line per line of PREDICTIONS that is not blank, in order: {\"id\", \"correct\", \"outcome\", \"explanation\"}, with --reward
also \"rewards\"; a bad line gives {\"id\", \"correct\": false, \"outcome\": \"error\", \"explanation\"}, its id null where none can be read,
and the exit code is 1.";

/// Score the predictions of any model on a task set
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ScoreArgs {
    /// Task set, see `whetstone tasks --help`
    spec: String,
    /// Predictions, one JSON object a line
    predictions: PathBuf,
    /// How texts are read
    #[arg(long, value_name = "FORMAT", default_value = "bare_json", value_parser = format_name)]
    format: Format,
    /// Reward to give as well: a built-in one, file:PATH.toml or command:PROGRAM; may be given several times
    #[arg(long = "reward", value_name = "NAME")]
    rewards: Vec<String>,
    /// GRPO step whose weights the rewards have, 0-based
    #[arg(long, value_name = "N", default_value_t = 0)]
    step: usize,
    /// Write a verdict for every line
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Seed of generated task sets
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The unpacked bfcl-eval wheel; fetched by pip where it is needed
    #[arg(long, value_name = "DIR", env = "WHETSTONE_BFCL", hide_env_values = true)]
    bfcl: Option<PathBuf>,
}

/// A chat format by its name in configs.
pub fn format_name(name: &str) -> Result<Format, String> {
    serde_json::from_value(json!(name)).map_err(|e| e.to_string())
}

/// The config that a reward's name stands for, its file read.
pub fn reward_config(name: &str, format: Format) -> Result<RunConfig> {
    let reward = name.parse().map_err(anyhow::Error::msg).context("--reward")?;
    let mut config = RunConfig { reward, format, ..RunConfig::default() };
    read_composition(&mut config)?;
    Ok(config)
}

/// Runs the command.
pub fn run(args: &ScoreArgs, data: &Path, ui: &Ui) -> Result<ExitCode> {
    let mut scorers = Vec::new();
    for name in &args.rewards {
        if scorers.iter().any(|(known, _)| known == name) {
            bail!("--reward {name} is given twice");
        }
        scorers.push((name.clone(), Scorer::new(&reward_config(name, args.format)?)?));
    }
    let spec = source::absolute_spec(&args.spec, data);
    if let Some(out) = &args.out {
        spared(out, &args.predictions, &spec)?;
    }
    let root = bfcl::root(&[&spec], args.bfcl.as_deref(), data, ui)?;
    let set = tasks::load(&spec, &LoadOptions { seed: args.seed, limit: None, bfcl: root.as_deref() })?;
    lines::refusals(ui, &set.refused);
    let by_id: HashMap<&str, &Problem> = set.problems.iter().map(|p| (p.id.as_str(), p)).collect();
    let read = predictions::read(&args.predictions, args.format, &by_id)?;
    if read.is_empty() {
        bail!("{} holds no predictions", args.predictions.display());
    }
    let mut judged: Vec<Result<Judged, BadLine>> = Vec::with_capacity(read.len());
    for line in read {
        judged.push(match line {
            Err(bad) => Err(bad),
            Ok(line) => {
                let Some(problem) = by_id.get(line.id.as_str()) else { continue };
                let mut verdict = predictions::judge(problem, &line);
                for (name, scorer) in &mut scorers {
                    verdict.add(name, &scorer.explain(args.step, problem, &line.text, &line.parse, verdict.outcome)?);
                }
                Ok(verdict)
            }
        });
    }
    if let Some(path) = &args.out {
        write(path, &judged).with_context(|| format!("cannot write {}", path.display()))?;
    }
    report(args, set.problems.len(), &judged, ui)
}

/// Refuses to write over what is read, by whatever path or link it is named.
fn spared(out: &Path, predictions: &Path, spec: &str) -> Result<()> {
    let file = |path: &Path| std::fs::metadata(path).ok().filter(Metadata::is_file).map(|m| (m.dev(), m.ino()));
    let Some(written) = file(out) else { return Ok(()) };
    if file(predictions) == Some(written) {
        bail!("--out {} is the file of predictions itself, which would be lost; name another file", out.display());
    }
    let of_tasks = |source: &Source| matches!(source, Source::File(path, _) if file(path) == Some(written));
    if Spec::parse(spec)?.parts.iter().any(|part| of_tasks(&part.source)) {
        bail!("--out {} is the task file itself, which would be lost; name another file", out.display());
    }
    Ok(())
}

fn report(args: &ScoreArgs, problems: usize, judged: &[Result<Judged, BadLine>], ui: &Ui) -> Result<ExitCode> {
    let good: Vec<&Judged> = judged.iter().flatten().collect();
    let bad: Vec<Refusal> = judged.iter().filter_map(|j| j.as_ref().err()).map(|bad| bad.refusal.clone()).collect();
    let tally = Tally::of(judged);
    let mean = |name: &String| {
        let total = |j: &&Judged| j.rewards.get(name).and_then(|r| r.get("total")).and_then(serde_json::Value::as_f64);
        // the sum of nothing is -0
        (good.iter().filter_map(total).sum::<f64>() + 0.0) / good.len().max(1) as f64
    };
    let rewards: BTreeMap<&String, f64> = args.rewards.iter().map(|name| (name, mean(name))).collect();
    ui.object(&json!({
        "tasks": args.spec, "problems": problems, "lines": judged.len(), "scored": tally.scored, "bad_lines": bad.len(),
        "uncounted": tally.uncounted, "unanswered": problems - tally.answered, "correct": tally.correct, "accuracy": tally.accuracy(),
        "outcomes": tally.outcomes, "rewards": rewards, "refused": bad,
    }))?;
    let uncounted = match tally.uncounted {
        0 => String::new(),
        n => format!("; not counted: {n} lines that answer no problem of this set"),
    };
    ui.say(&format!("{} of {} right ({:.1} %){uncounted}", tally.correct, tally.scored, 100.0 * tally.accuracy()));
    tally.outcomes.iter().for_each(|(name, n)| ui.say(&format!("  {name:<16} {n:>6}")));
    let readable = if bad.is_empty() { String::new() } else { format!(" over the {} lines that can be read", good.len()) };
    rewards.iter().for_each(|(name, mean)| ui.say(&format!("  reward {name}: {mean:.4} on average{readable}")));
    if tally.uncounted > 0 {
        ui.note(&format!("{} lines answer no problem of this set that one line can answer; they are not counted", tally.uncounted));
    }
    if tally.answered < problems {
        ui.note(&format!("{} of {problems} problems have no prediction; they are not counted", problems - tally.answered));
    }
    lines::refusals(ui, &bad);
    Ok(if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write(path: &Path, judged: &[Result<Judged, BadLine>]) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for line in judged {
        match line {
            Ok(verdict) => serde_json::to_writer(&mut out, verdict)?,
            Err(BadLine { id, refusal, .. }) => {
                let row = json!({ "id": id, "correct": false, "outcome": Outcome::Error, "explanation": refusal.to_string() });
                serde_json::to_writer(&mut out, &row)?;
            }
        }
        out.write_all(b"\n")?;
    }
    Ok(out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?)
}
