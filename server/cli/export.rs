//! `whetstone export`: an adapter as Hugging Face peft loads it, with a model card.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;
use whetstone_domain::config::{Compute, RewardName};
use whetstone_domain::{CheckpointRecord, EvaluationSummary, Phase, RunConfig};
use whetstone_store::{BlockingStore, RunRow};
use whetstone_tooluse::tasks::Spec;
use whetstone_train::{Policy, export, policy, worker};

use super::{Ui, lines, source};

const EXAMPLES: &str = "\
Examples:
  whetstone export latest my-adapter
  whetstone export r-7k2m my-adapter --checkpoint 50 --check logits.json
  whetstone export latest warm --checkpoint warm-start:20";

/// Write a run's adapter as Hugging Face peft loads it, with a model card
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// The run: its id, its name, or `latest`
    run: String,
    /// New folder for adapter_config.json, adapter_model.safetensors and README.md
    out: PathBuf,
    /// Which checkpoint: a GRPO step, warm-start:STEP, `best` by held-out accuracy (default; `last` where nothing was measured) or `last`
    #[arg(long, value_name = "STEP|best|last")]
    checkpoint: Option<String>,
    /// File format
    #[arg(long, value_enum, default_value_t = Format::Peft)]
    format: Format,
    /// Also write token ids of a fixed chat prompt and the logits after it, to compare with another implementation
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// Hugging Face peft: adapter_config.json and adapter_model.safetensors
    Peft,
}

/// Runs the command.
pub fn run(args: &ExportArgs, data: &Path, ui: &Ui) -> Result<ExitCode> {
    let Format::Peft = args.format;
    let store = BlockingStore::open(data)?;
    let row = store.run(&args.run)?;
    let config = row.config().with_context(|| format!("run {}: its stored config cannot be read", row.public_id))?;
    let checkpoint = choose(&store, &row, args.checkpoint.as_deref())?;
    let evaluations = store.evaluations(row.id)?;
    let measured = evaluations.iter().rfind(|e| e.phase == checkpoint.phase && e.step == checkpoint.step).map(|e| &e.summary);
    let folder = worker::run_folder(data, &row.public_id);
    write(args, &row, &config, &checkpoint, measured, &folder)?;
    if let Some(file) = &args.check {
        check(args, &config, data, file)?;
    }
    ui.object(&json!({
        "run": row.public_id, "phase": checkpoint.phase, "step": checkpoint.step, "out": args.out,
        "adapter_sha256": checkpoint.adapter_sha256, "evaluation": measured,
    }))?;
    ui.say(&format!("{} of run {} is in {}", checkpoint.folder, row.public_id, args.out.display()));
    if let Some(s) = measured {
        ui.say(&lines::summary(s));
    }
    Ok(ExitCode::SUCCESS)
}

fn choose(store: &BlockingStore, row: &RunRow, wanted: Option<&str>) -> Result<CheckpointRecord> {
    let all = store.checkpoints(row.id)?;
    let Some(last) = all.last() else { bail!("run {} has no checkpoint yet; go on with: whetstone train --resume {0}", row.public_id) };
    let best = || -> Result<Option<CheckpointRecord>> { Ok(store.best_checkpoint(row.id)?.map(|b| b.checkpoint)) };
    let (phase, step) = match wanted {
        None => return Ok(best()?.unwrap_or_else(|| last.clone())),
        Some("last") => return Ok(last.clone()),
        Some("best") => return best()?.with_context(|| format!("run {} measured no checkpoint; take --checkpoint last", row.public_id)),
        Some(other) => match other.strip_prefix("warm-start:") {
            Some(step) => (Phase::WarmStart, step),
            None => (Phase::Grpo, other),
        },
    };
    let step: usize = step.parse().with_context(|| format!("--checkpoint {step}: give a step number, warm-start:STEP, best or last"))?;
    all.iter().find(|c| c.phase == phase && c.step == step).cloned().with_context(|| {
        let name = |c: &CheckpointRecord| if c.phase == Phase::Grpo { c.step.to_string() } else { format!("warm-start:{}", c.step) };
        format!("run {} has no checkpoint at step {step}; it has {}", row.public_id, all.iter().map(name).collect::<Vec<_>>().join(", "))
    })
}

/// Makes the folder appear whole or not at all.
fn write(
    args: &ExportArgs,
    row: &RunRow,
    config: &RunConfig,
    c: &CheckpointRecord,
    measured: Option<&EvaluationSummary>,
    run: &Path,
) -> Result<()> {
    let out = std::path::absolute(&args.out)?;
    let taken = std::fs::read_dir(&out).map(|mut d| d.next().is_some()).unwrap_or(out.exists());
    if taken {
        bail!("{} exists already; name a new folder", out.display());
    }
    let parent = out.parent().context("name a folder to export to")?;
    let cannot = || format!("cannot write to {}", parent.display());
    std::fs::create_dir_all(parent).with_context(cannot)?;
    let aside = tempfile::Builder::new().prefix(".export-").tempdir_in(parent).with_context(cannot)?;
    let inner = aside.path().join("adapter"); // the temporary folder itself is readable by its owner only
    std::fs::create_dir(&inner).with_context(cannot)?;
    export::copy_adapter(run, c, &inner)?;
    std::fs::write(inner.join("README.md"), card(row, config, c, measured, &inner)?).with_context(cannot)?;
    std::fs::rename(&inner, &out).with_context(|| format!("cannot move the export to {}", out.display()))
}

fn card(row: &RunRow, config: &RunConfig, c: &CheckpointRecord, measured: Option<&EvaluationSummary>, folder: &Path) -> Result<String> {
    let text = std::fs::read_to_string(folder.join("adapter_config.json"))?;
    let adapter: serde_json::Value = serde_json::from_str(&text)?;
    let base = adapter["base_model_name_or_path"].as_str().unwrap_or(&row.model);
    let phase = if c.phase == Phase::Grpo { "GRPO" } else { "warm-start" };
    let public = without_folders(config);
    let result = match measured {
        Some(s) => format!("Held-out (`{}`): {}.", public.eval_tasks, lines::summary(s)),
        None => "This checkpoint was not measured.".into(),
    };
    Ok(format!(
        "---\nbase_model: {base}\nlibrary_name: peft\npipeline_tag: text-generation\ntags: [lora, grpo, tool-calling, whetstone]\n---\n\n\
         # {name}\n\nA LoRA adapter that teaches `{base}` to call tools, trained with GRPO by whetstone {version}.\n\n{result}\n\n\
         | | |\n|---|---|\n| run | {run} |\n| checkpoint | {phase} step {step} |\n| base | `{base}` |\n| base weights sha256 | `{base_sha}` |\n\
         | adapter sha256 | `{sha}` |\n| rank / alpha | {rank} / {alpha} |\n| learned from | `{tasks}` |\n\n\
         ```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
         tokenizer = AutoTokenizer.from_pretrained(\"{base}\")\nmodel = AutoModelForCausalLM.from_pretrained(\"{base}\")\n\
         model = PeftModel.from_pretrained(model, \"path/to/this/folder\")\n\
         # as in training: a template that can think first is told not to\n\
         prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, enable_thinking=False)\n```\n\n\
         The adapter fits exactly the base weights named above. The config it was trained with:\n\n```toml\n{toml}```\n",
        name = row.name,
        version = row.code_version,
        run = row.public_id,
        step = c.step,
        base_sha = row.base_sha256,
        sha = c.adapter_sha256,
        rank = config.lora_rank,
        alpha = config.lora_alpha,
        tasks = public.tasks,
        toml = toml::to_string(&public)?,
    ))
}

/// The config without the names of the owner's folders: a card is made to be published.
fn without_folders(config: &RunConfig) -> RunConfig {
    let name = |path: &str| Path::new(path).file_name().map_or_else(|| path.to_owned(), |n| n.to_string_lossy().into_owned());
    let bare = |path: &Path| path.file_name().map(Into::into).ok_or(());
    let spec = |spec: &str| {
        let found = Spec::parse(spec).ok().and_then(|s| s.map_paths(bare).ok());
        found.map_or_else(|| "unknown".to_owned(), |s| s.to_string())
    };
    let reward = match &config.reward {
        RewardName::File(path) => RewardName::File(name(path)),
        RewardName::Command(line) => RewardName::Command(line.split_whitespace().map(name).collect::<Vec<_>>().join(" ")),
        other => other.clone(),
    };
    RunConfig { model: name(&config.model), tasks: spec(&config.tasks), eval_tasks: spec(&config.eval_tasks), reward, ..config.clone() }
}

fn check(args: &ExportArgs, config: &RunConfig, data: &Path, file: &Path) -> Result<()> {
    let path = whetstone_model::fetch::locate(&config.model, &source::models_dir(data))?;
    let (ids, logits) = worker::with_threads(config.threads, || -> Result<_> {
        let base = policy::load(&path, Compute::F32)?;
        let adapter = export::load_adapter(&args.out, &base)?;
        // in the numbers that peft computes with, whatever the run was trained in
        let policy = Policy::new(base, &RunConfig { compute: Compute::F32, ..config.clone() })?;
        Ok(export::check_logits(&policy, Some(&adapter))?)
    })??;
    std::fs::write(file, json!({ "ids": ids, "logits_last": logits }).to_string())
        .with_context(|| format!("cannot write {}", file.display()))
}
