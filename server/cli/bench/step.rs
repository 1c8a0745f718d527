//! `whetstone bench step` and `bench scale`: seconds of one GRPO step of fixed size.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::json;
use whetstone_domain::RunConfig;
use whetstone_train::bench::{Bench, StepTimes, gemm_peak};
use whetstone_train::{Policy, metrics, worker};

use super::super::Ui;
use super::Engine;

/// Time whole GRPO steps on a fixed workload
///
/// Rewards are random and the end-of-sequence token is ignored: every group has spread and every token is updated. As in a run, what
/// answers of a group begin with alike is read once. The first step warms up and is not counted.
#[derive(Args)]
pub struct StepArgs {
    /// Workload: {"problems_per_step", "group", "new_tokens", "prompts": [{"ids": [..]}]}; default: 4 problems x 8 x 48 tokens
    /// below prompts of 200 tokens, of which 100 are shared
    #[arg(long, value_name = "FILE")]
    workload: Option<PathBuf>,
    /// Steps that are counted
    #[arg(long, default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    steps: usize,
    #[command(flatten)]
    engine: Engine,
}

/// Time one step along each axis: group size, prompt length, completion length, problems
#[derive(Args)]
pub struct ScaleArgs {
    /// Only this axis; may be given several times. Memory is what the process holds by then
    #[arg(long)]
    axis: Vec<Axis>,
    /// Leave out settings of more than so many sampled and prompt tokens
    #[arg(long, default_value_t = 20_000)]
    most_tokens: usize,
    #[command(flatten)]
    engine: Engine,
}

/// What grows while the rest stays as usual: 4 problems, G 8, prompts of 256 tokens, completions of 48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Axis {
    /// Completions of a prompt, G
    Group,
    /// Tokens of a prompt, P
    Prompt,
    /// Tokens of a completion, C
    Completion,
    /// Problems of a step, B
    Problems,
}

impl Axis {
    fn values(self) -> [usize; 5] {
        match self {
            Self::Group => [2, 4, 8, 16, 32],
            Self::Prompt => [128, 256, 512, 1024, 2048],
            Self::Completion => [16, 48, 128, 256, 512],
            Self::Problems => [1, 2, 4, 8, 16],
        }
    }
}

#[derive(Deserialize)]
struct Workload {
    problems_per_step: usize,
    group: usize,
    new_tokens: usize,
    prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    ids: Vec<u32>,
}

impl Workload {
    /// Prompts of `len` random words, the first `shared` of them the same.
    fn made(problems: usize, group: usize, len: usize, shared: usize, new_tokens: usize) -> Self {
        let word = |i: usize, j: usize| 1000 + ((i * 7919 + j * 104_729) % 20_000) as u32;
        let prompts = (0..problems).map(|i| Prompt { ids: (0..len).map(|j| word(if j < shared { 0 } else { i + 1 }, j)).collect() });
        Self { problems_per_step: problems, group, new_tokens, prompts: prompts.collect() }
    }

    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the workload {}", path.display()))?;
        let w: Self = serde_json::from_str(&text).with_context(|| format!("{} is not a workload", path.display()))?;
        if w.prompts.is_empty()
            || w.prompts.iter().any(|p| p.ids.is_empty())
            || w.problems_per_step == 0
            || w.new_tokens == 0
            || w.group < 2
        {
            bail!("{}: a workload needs prompts with ids, problems_per_step and new_tokens above 0, group above 1", path.display());
        }
        Ok(w)
    }

    fn config(&self) -> RunConfig {
        RunConfig {
            num_generations: self.group,
            max_completion_length: self.new_tokens,
            max_prompt_tokens: self.prompts.iter().map(|p| p.ids.len()).max().unwrap_or(1),
            problems_per_step: self.problems_per_step,
            ..RunConfig::default()
        }
    }

    /// `steps` steps after one that warms up, going round the prompts.
    fn run(&self, policy: &Policy, config: &RunConfig, steps: usize, mut each: impl FnMut(usize, &StepTimes)) -> Result<Vec<StepTimes>> {
        let mut bench = Bench::new(&policy.model, config)?;
        let mut all = Vec::with_capacity(steps);
        for i in 0..=steps {
            let ids = |j: usize| self.prompts[(i * self.problems_per_step + j) % self.prompts.len()].ids.as_slice();
            let prompts: Vec<&[u32]> = (0..self.problems_per_step).map(ids).collect();
            let times = bench.step(&prompts)?;
            each(i, &times);
            if i > 0 {
                all.push(times);
            }
        }
        Ok(all)
    }
}

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    x.get(x.len() / 2).copied().unwrap_or(0.0)
}

/// Runs `bench step`.
pub fn run(args: &StepArgs, data: &Path, ui: &Ui) -> Result<ExitCode> {
    if args.steps == 0 {
        bail!("--steps must be at least 1");
    }
    let workload = match &args.workload {
        Some(path) => Workload::read(path)?,
        None => Workload::made(4, 8, 200, 100, 48),
    };
    let mut config = workload.config();
    args.engine.settle(&mut config);
    let path = args.engine.model(data, ui)?;
    worker::with_threads(config.threads, || -> Result<ExitCode> {
        let policy = args.engine.policy(&path, &config)?;
        let peak = gemm_peak(config.compute)?;
        let steps = workload.run(&policy, &config, args.steps, |i, t| {
            let label = if i == 0 { "warm-up".to_owned() } else { format!("step {i}") };
            ui.note(&format!(
                "{label}: {:.2} s (prefill {:.2}, decode {:.2}, forward {:.2}, backward {:.2}, optimizer {:.2})",
                t.total, t.prefill, t.decode, t.forward, t.backward, t.optimizer
            ));
        })?;
        let of = |f: &dyn Fn(&StepTimes) -> f64| median(steps.iter().map(f).collect());
        let total = of(&|t| t.total);
        let share = of(&|t| t.update_flops / (t.forward + t.backward) / 1e9) / peak;
        let rollout = of(&|t| t.tokens as f64 / (t.prefill + t.decode));
        let object = json!({
            "model": policy.base.name,
            "compute": config.compute,
            "threads": config.threads,
            "seconds_per_step_median": total,
            "seconds_per_step_min": steps.iter().map(|t| t.total).fold(f64::INFINITY, f64::min),
            "peak_rss_gb": metrics::peak_resident_bytes() as f64 / 1e9,
            "split": {
                "prefill": of(&|t| t.prefill), "decode": of(&|t| t.decode), "reward": of(&|t| t.reward),
                "forward": of(&|t| t.forward), "backward": of(&|t| t.backward), "optimizer": of(&|t| t.optimizer),
            },
            "rollout_tokens_per_second": rollout,
            "gemm_peak_gflops": peak,
            "update_share_of_peak": share,
            "groups_updated": steps.iter().map(|t| t.groups).min(),
            "tokens_updated": steps.iter().map(|t| t.tokens).min(),
            "steps": steps.len(),
        });
        ui.object(&object)?;
        ui.say(&format!(
            "{total:.2} s a step (median of {}), {rollout:.0} tokens/s sampled, update at {:.0} % of the {peak:.0} GFLOP/s a product reaches, {:.2} GB",
            steps.len(),
            100.0 * share,
            metrics::peak_resident_bytes() as f64 / 1e9
        ));
        ui.say(&format!("{} groups and {} tokens updated a step", steps[0].groups, steps[0].tokens));
        Ok(ExitCode::SUCCESS)
    })?
}

/// Runs `bench scale`.
pub fn scale(args: &ScaleArgs, data: &Path, ui: &Ui) -> Result<ExitCode> {
    let axes = Axis::value_variants().iter().filter(|axis| args.axis.is_empty() || args.axis.contains(axis));
    let path = args.engine.model(data, ui)?;
    let mut config = Workload::made(1, 2, 2048, 0, 512).config();
    args.engine.settle(&mut config);
    worker::with_threads(config.threads, || -> Result<ExitCode> {
        let policy = args.engine.policy(&path, &config)?;
        for &axis in axes {
            let name = axis.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
            for value in axis.values() {
                let at = |other, usual| if axis == other { value } else { usual };
                let (group, prompt) = (at(Axis::Group, 8), at(Axis::Prompt, 256));
                let (completion, problems) = (at(Axis::Completion, 48), at(Axis::Problems, 4));
                let tokens = problems * (prompt + group * completion);
                if tokens > args.most_tokens {
                    continue;
                }
                let workload = Workload::made(problems, group, prompt, 0, completion);
                let config = RunConfig { compute: config.compute, threads: config.threads, ..workload.config() };
                let times = workload.run(&policy, &config, 1, |_, _| {})?;
                let t = times[0];
                let rollout = t.prefill + t.decode;
                let update = t.forward + t.backward;
                ui.object(&json!({
                    "axis": name, "group": group, "prompt": prompt, "completion": completion, "problems": problems,
                    "seconds_per_step": t.total, "prefill": t.prefill, "decode": t.decode, "update": update,
                    "rss_gb": metrics::resident_bytes() as f64 / 1e9,
                }))?;
                ui.say(&format!(
                    "{name:10} G {group:2}  P {prompt:4}  C {completion:3}  B {problems:2}: {:6.2} s (rollout {rollout:.2}, update {update:.2}), {:.2} GB",
                    t.total,
                    metrics::resident_bytes() as f64 / 1e9
                ));
            }
        }
        Ok(ExitCode::SUCCESS)
    })?
}
