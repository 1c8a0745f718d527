//! `whetstone eval`: greedy answers of a model, with or without an adapter, to a task set; counted.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;
use whetstone_domain::config::{Compute, Format, ToolUse};
use whetstone_domain::{Prediction, RunConfig};
use whetstone_train::prepare::{Loaded, load};
use whetstone_train::{Policy, evaluate, export, policy, worker};

use super::{Ui, bfcl, lines, source};

const EXAMPLES: &str = "\
Examples:
  whetstone eval --model smollm2-135m-instruct-q4_1 --tasks starter:held-out --limit 200
  whetstone eval --model model.gguf --adapter my-adapter --tasks bfcl:simple_python --out predictions.jsonl

Each line of predictions.jsonl is {\"id\", \"calls\", \"text\"}: calls of the strict parse, null = unparsable, [] = no call.";

/// Measure a model, with or without an adapter, on a task set; nothing is learned
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct EvalArgs {
    /// Base model: a name (see `whetstone model list`), a GGUF file or a Hugging Face folder; default: whichever is present
    #[arg(long, value_name = "NAME|PATH", default_value = "", hide_default_value = true)]
    model: String,
    /// Adapter in peft's format: a folder, or a zip of one
    #[arg(long, value_name = "DIR|ZIP")]
    adapter: Option<PathBuf>,
    /// Task set, e.g. starter:held-out, file:PATH, bfcl:CATEGORY; see `whetstone tasks --help`
    #[arg(long, value_name = "SPEC")]
    tasks: String,
    /// At most so many problems, from the start
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Write every answer, one JSON object a line
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Seed of generated task sets
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Longer prompts are dropped and counted; default: what the model has positions for
    #[arg(long, value_name = "TOKENS")]
    max_prompt_tokens: Option<usize>,
    /// Length limit of an answer
    #[arg(long, value_name = "TOKENS", default_value_t = RunConfig::default().max_completion_length)]
    max_completion_length: usize,
    /// Problems answered at once
    #[arg(long, value_name = "N", default_value_t = RunConfig::default().eval_batch)]
    batch: usize,
    /// Compute threads; 0 = all
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Chat format of prompts and answers: that of the adapter's run
    #[arg(long, value_name = "FORMAT", default_value = "bare_json", value_parser = super::score::format_name)]
    format: Format,
    /// Numbers that the frozen weights are multiplied in: auto, f32 or bf16
    #[arg(long, default_value = "auto", value_parser = super::compute)]
    compute: Compute,
    /// The unpacked bfcl-eval wheel; fetched by pip where a bfcl: task set is used without it
    #[arg(long, value_name = "DIR", env = "WHETSTONE_BFCL", hide_env_values = true)]
    bfcl: Option<PathBuf>,
    /// Let the tools of problems start programs and read database files
    #[arg(long)]
    programs: bool,
}

/// Runs the command.
pub fn run(args: &EvalArgs, data: &Path, ui: &Ui) -> Result<ExitCode> {
    if args.limit == Some(0) || args.batch == 0 || args.max_completion_length == 0 {
        bail!("--limit, --batch and --max-completion-length must be at least 1");
    }
    let tasks = source::absolute_spec(&args.tasks, data);
    let bfcl = bfcl::root(&[&tasks], args.bfcl.as_deref(), data, ui)?;
    args.out.as_deref().map(writable).transpose()?;
    let path = source::base(&args.model, data, ui)?;
    worker::with_threads(args.threads, || measure(args, &tasks, &path, bfcl.as_deref(), ui))?
}

fn measure(args: &EvalArgs, tasks: &str, path: &Path, bfcl: Option<&Path>, ui: &Ui) -> Result<ExitCode> {
    let base = policy::load(path, args.compute)?;
    let adapter = match &args.adapter {
        Some(path) => {
            let folder = source::adapter(path)?;
            Some(export::load_adapter(&folder.path, &base)?)
        }
        None => None,
    };
    let room = base.config.max_position_embeddings.saturating_sub(args.max_completion_length);
    let config = RunConfig {
        seed: args.seed,
        format: args.format,
        max_prompt_tokens: args.max_prompt_tokens.unwrap_or(room),
        max_completion_length: args.max_completion_length,
        tools: ToolUse { programs: args.programs, ..ToolUse::default() },
        compute: args.compute,
        ..RunConfig::default()
    };
    let policy = Policy::new(base, &config)?;
    let (pool, loaded) = load(&policy, tasks, args.limit, &config, bfcl)?;
    lines::set(ui, "evaluating", &loaded);
    ui.start_bar(pool.items.len());
    let found = evaluate(&policy, adapter.as_ref(), &pool.items, args.batch, args.max_completion_length, &config.tools, |done| {
        ui.at(done);
        true
    });
    ui.end_bar();
    let Some(found) = found? else { bail!("the evaluation was cut short") };
    if let Some(path) = &args.out {
        write(path, &found.predictions).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut object = serde_json::to_value(&found.summary)?;
    let Loaded { dropped, refused, unfit, .. } = &loaded;
    if let Some(map) = object.as_object_mut() {
        map.insert("tasks".into(), json!(args.tasks));
        map.insert("model".into(), json!(policy.base.name));
        map.insert("base_sha256".into(), json!(policy.base.sha256));
        map.insert("adapter".into(), json!(args.adapter.as_ref().map(|p| p.display().to_string())));
        map.insert("kl".into(), json!(adapter.is_some().then_some(found.kl)));
        map.insert("dropped".into(), json!(dropped.len()));
        map.insert("refused".into(), json!(refused.len()));
        map.insert("unfit".into(), json!(unfit.len()));
    }
    ui.object(&object)?;
    let s = &found.summary;
    ui.say(&lines::summary(s));
    ui.say(&format!("{:.1} s, {:.0} tokens per second, {:.1} tokens per answer", s.seconds, s.tokens_per_second, s.mean_tokens));
    Ok(ExitCode::SUCCESS)
}

/// Asked before the model is loaded: a path that cannot be written should not cost an evaluation, nor a failed evaluation the
/// predictions that are already there.
fn writable(path: &Path) -> Result<()> {
    File::options().create(true).append(true).open(path).map(drop).with_context(|| format!("cannot write {}", path.display()))
}

fn write(path: &Path, predictions: &[Prediction]) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for p in predictions {
        let row = json!({ "id": p.id, "calls": p.calls, "text": p.text, "correct": p.correct, "outcome": p.outcome });
        serde_json::to_writer(&mut out, &row)?;
        out.write_all(b"\n")?;
    }
    Ok(out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?)
}
