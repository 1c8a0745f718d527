//! The effective config of a run: every knob with unit, range and the reason for its default.
//!
//! Names and defaults are TRL's `GRPOConfig` where the meaning is the same; where they differ the doc comment says why.

use serde::{Deserialize, Serialize};

pub use crate::reward_choice::{ComposedPart, Composition, Ramp, RewardName, ToolrlGrading, Weight};

/// A value out of its range, with its place and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {detail}")]
pub struct ConfigError {
    /// Key path as written in TOML, e.g. `warm_start.steps`.
    pub pointer: String,
    /// What is wrong and what to do.
    pub detail: String,
}

/// Form of the surrogate loss (TRL `loss_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossType {
    /// Sum over all tokens of the batch over its count of active tokens.
    Dapo,
    /// Mean over rollouts of the mean over tokens.
    Grpo,
    /// Sum over all tokens over rollouts times `max_completion_length`.
    DrGrpo,
}

/// Divisor of the advantage (TRL `scale_rewards`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleRewards {
    /// Standard deviation of the group.
    Group,
    /// Standard deviation of the whole batch.
    Batch,
    /// Nothing.
    None,
}

/// Course of the learning rate after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrSchedule {
    /// Stays.
    Constant,
    /// Falls to 0 at the last step.
    Linear,
    /// Half a cosine down to 0.
    Cosine,
    /// Four half cosines down to 0.
    CosineWithRestarts,
}

/// What "total" is in the `paper` reward's argument share (arXiv 2509.04518).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArgDenominator {
    /// Expected arguments: invented ones are free.
    Expected,
    /// Expected and produced ones: the default, because free inventions get invented.
    Union,
}

/// Numbers that the frozen weights are multiplied in. Adapter, loss, optimiser and everything else is f32 in every mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compute {
    /// `bf16` where that is faster (CPUs with AVX2, AVX-512 or AMX; CUDA), else `f32`; resolved once, before the config is stored.
    Auto,
    /// Single precision: the reference.
    F32,
    /// Frozen weights are rounded to 16 bits a number: to bf16, or on CPUs with AVX2 alone or AVX512-VNNI and no AMX to integers of which
    /// 64 share a scale. On AMD's with AVX512-BF16 these are the forward's alone, and gradients are rounded to bf16. Sums are f32. Faster,
    /// half the memory.
    Bf16,
}

/// What the backward pass wants of the forward pass: kept, or made again block by block. The numbers come out the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientCheckpointing {
    /// `on` for the micro-batches of which keeping all would take more than `memory_budget`.
    Auto,
    /// Only the input of each block is kept: a quarter slower, a small part of the memory.
    On,
    /// All is kept.
    Off,
}

/// Chat format of tools and calls: how tools are shown, how calls are written and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One bare JSON object, or a list of them; `[]` for no call. The default: no model needs to know it beforehand.
    BareJson,
    /// `<tool_call>{"name": .., "arguments": ..}</tool_call>`, one tag a call: Qwen2.5, Qwen3, Hermes, SmolLM3, Granite 4.
    Hermes,
    /// `<tool_call>[{..}, {..}]</tool_call>`, one tag for all calls: SmolLM2 1.7B.
    Smollm2,
    /// `{"name": .., "parameters": ..}`, several separated by `;`: Llama 3.1 and 3.2.
    LlamaJson,
    /// `[f(a=1), g(b="x")]`: Llama 3.2 and 4, ToolACE, BFCL's own prompt.
    Pythonic,
    /// `<start_function_call>call:f{a:1}<end_function_call>`: FunctionGemma.
    Functiongemma,
    /// `<|tool_call_start|>[f(a=1)]<|tool_call_end|>`: LFM2 and LFM2.5.
    Lfm2,
    /// `[TOOL_CALLS][{"name": .., "arguments": ..}]`: Mistral up to tokenizer v7.
    Mistral,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 8] =
        [Self::BareJson, Self::Hermes, Self::Smollm2, Self::LlamaJson, Self::Pythonic, Self::Functiongemma, Self::Lfm2, Self::Mistral];

    /// Its name in configs.
    pub fn name(self) -> &'static str {
        match self {
            Self::BareJson => "bare_json",
            Self::Hermes => "hermes",
            Self::Smollm2 => "smollm2",
            Self::LlamaJson => "llama_json",
            Self::Pythonic => "pythonic",
            Self::Functiongemma => "functiongemma",
            Self::Lfm2 => "lfm2",
            Self::Mistral => "mistral",
        }
    }
}

/// How the tools of a problem are listed in its prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolListing {
    /// By the model's own chat template where it lists tools in this format; else as `signature` for `bare_json` and `json` for
    /// the others.
    Auto,
    /// As JSON Schema, in the format's own words.
    Json,
    /// As one line each, `{"name": "f", "arguments": {"arg": type, "opt"?: type}} - description`: several times shorter.
    Signature,
}

/// Worked examples that there are.
pub const MAX_WORKED_EXAMPLES: usize = 3;

/// Supervised steps on the expected calls before GRPO, on the same adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WarmStart {
    /// At most this many steps; 0 = off (the default: GRPO's own gain should be seen first).
    pub steps: usize,
    /// Problems per supervised step, >= 1. 8 rows gave the best epoch in the experiments behind the default recipe.
    pub problems_per_step: usize,
    /// Peak learning rate, > 0; higher than GRPO's because supervised gradients are less noisy.
    pub learning_rate: f64,
    /// Steps between measurements of the loss on `eval_problems` unseen problems of the training tools, >= 1.
    pub eval_every: usize,
    /// Problems of that measurement, >= 1; they are never trained on.
    pub eval_problems: usize,
    /// Stop after this many measurements in a row without a lower loss, >= 1.
    pub patience: usize,
}

impl Default for WarmStart {
    fn default() -> Self {
        Self { steps: 0, problems_per_step: 8, learning_rate: 3e-4, eval_every: 20, eval_problems: 64, patience: 2 }
    }
}

/// Tools that run while a conversation goes on, where the problems bring some.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ToolUse {
    /// Most turns of the model in one rollout, 1 to 16. 4: two or three calls after one another, and the answer.
    pub max_turns: usize,
    /// Most tokens of a conversation after its prompt, results included, 1 to 131072. 512: four turns of the default length and
    /// results as long; memory for the keys and values of so many is set aside for each rollout.
    pub max_tokens: usize,
    /// Longest time of one call, s, above 0 and at most 600. 5: the whole step waits for it.
    pub timeout: f64,
    /// Lets problems start programs (`command`, `mcp`) and read database files, with all that this account may do. Off, because
    /// a task file from somebody else should not.
    pub programs: bool,
    /// Hosts beside this machine that `http` tools may speak to, `host` or `host:port`.
    pub hosts: Vec<String>,
}

impl Default for ToolUse {
    fn default() -> Self {
        Self { max_turns: 4, max_tokens: 512, timeout: 5.0, programs: false, hosts: Vec::new() }
    }
}

/// The one config of a run. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Name of a known model, or a folder or GGUF file; empty = whichever known model is present.
    pub model: String,
    /// Task set that is learned from, as a spec: `starter`, `file:PATH`, a mix of several (`whetstone tasks --help`).
    pub tasks: String,
    /// Task set that is measured on and never learned from.
    pub eval_tasks: String,
    /// Chat format of tools and calls.
    pub format: Format,
    /// How tools are listed in the prompt.
    pub tool_listing: ToolListing,
    /// Worked examples in the prompt, at most 3; 0 = none. None = 3 for `bare_json`, which no model has been taught, and 0 for the
    /// other formats.
    pub worked_examples: Option<usize>,
    /// Reward that is learned from.
    pub reward: RewardName,
    /// "Total" of the argument share in the `paper` reward.
    pub arg_denominator: ArgDenominator,
    /// How finely the `toolrl` reward grades calls that are not all right.
    pub toolrl_grading: ToolrlGrading,
    /// The parts of a composed reward; read from the file where `reward` is `file:PATH`, so that a run keeps what it began with.
    pub composition: Option<Composition>,
    /// Time that a `command:` reward may take for one answer, > 0, seconds.
    pub reward_timeout: f64,
    /// Weights by part name that replace the reward's own, or add `truncation`, `repetition`, `length_cap`; unknown names are refused.
    pub reward_weights: std::collections::BTreeMap<String, f64>,
    /// Seed of everything drawn; the same config gives the same run.
    pub seed: u64,
    /// GRPO steps, each one optimiser update; 0 = none (evaluation or warm start only).
    pub steps: usize,
    /// Time that all steps together may take, > 0, minutes; evaluations are not counted. When it is over the last evaluation is
    /// made; the warm start ends when three quarters of it are over, and both phases have their whole learning-rate schedule. None = no
    /// budget.
    pub max_minutes: Option<f64>,
    /// Problems per step, >= 1.
    pub problems_per_step: usize,
    /// G, rollouts per problem (TRL `num_generations`), >= 2: an advantage needs company.
    pub num_generations: usize,
    /// Longer prompts are dropped when problems are loaded, and counted. Tokens, >= 1.
    pub max_prompt_tokens: usize,
    /// Length limit of a completion, which is one turn of the model, tokens, >= 1.
    pub max_completion_length: usize,
    /// Sampling temperature while training, > 0; logits are divided by it in the update, too.
    pub temperature: f64,
    /// Peak learning rate, > 0. 1e-4 rather than TRL's 1e-6: an adapter, not the full model, is trained.
    pub learning_rate: f64,
    /// Course of the learning rate.
    pub lr_schedule: LrSchedule,
    /// Steps over which the learning rate rises to its peak.
    pub warmup_steps: usize,
    /// R, rank of the adapter, >= 1.
    pub lora_rank: usize,
    /// Adapter scale is `lora_alpha / lora_rank`; > 0.
    pub lora_alpha: f64,
    /// Weight of the k3 KL to the adapter-off model, >= 0; 0 saves the reference pass.
    pub beta: f64,
    /// Lower clip range of the ratio, > 0.
    pub epsilon: f64,
    /// Upper clip range; none = `epsilon`.
    pub epsilon_high: Option<f64>,
    /// Upper bound of the unclipped ratio (INTELLECT-2); none = off.
    pub delta: Option<f64>,
    /// Form of the surrogate loss.
    pub loss_type: LossType,
    /// Divisor of the advantage.
    pub scale_rewards: ScaleRewards,
    /// Leave completions that hit the length limit out of the loss.
    pub mask_truncated_completions: bool,
    /// Gradient is scaled down to this global norm, > 0.
    pub max_grad_norm: f64,
    /// AdamW beta1, in [0, 1).
    pub adam_beta1: f64,
    /// AdamW beta2, in [0, 1); 0.99 rather than 0.999: runs are short.
    pub adam_beta2: f64,
    /// Decoupled weight decay, >= 0.
    pub weight_decay: f64,
    /// Draw up to three times for groups without spread.
    pub dynamic_sampling: bool,
    /// Held-out problems an evaluation takes; 0 = no evaluation.
    pub eval_problems: usize,
    /// GRPO steps between evaluations; 0 = only before and after.
    pub eval_every: usize,
    /// GRPO steps between checkpoints, >= 1; one is also written after every phase.
    pub checkpoint_every: usize,
    /// Rows that are generated or measured in one batch, >= 1.
    pub eval_batch: usize,
    /// Optional supervised first phase.
    pub warm_start: WarmStart,
    /// Tools that run.
    pub tools: ToolUse,
    /// Compute threads; 0 = as many as the machine has, resolved once and stored.
    pub threads: usize,
    /// Numbers that the frozen weights are multiplied in.
    pub compute: Compute,
    /// Whether blocks are read again in the backward pass (HF's `gradient_checkpointing`).
    pub gradient_checkpointing: GradientCheckpointing,
    /// Memory that an update may take for what its backward pass wants, GB, of which the part of the words that all prompts share is
    /// taken while answers are sampled, too; 0 = a quarter of the machine's memory, resolved once and stored.
    pub memory_budget: f64,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            model: String::new(),
            tasks: "starter".into(),
            eval_tasks: "starter:held-out".into(),
            format: Format::BareJson,
            tool_listing: ToolListing::Auto,
            worked_examples: None,
            reward: RewardName::Dense,
            arg_denominator: ArgDenominator::Union,
            toolrl_grading: ToolrlGrading::Refined,
            composition: None,
            reward_timeout: 10.0,
            reward_weights: std::collections::BTreeMap::new(),
            seed: 0,
            steps: 150,
            max_minutes: None,
            problems_per_step: 4,
            num_generations: 8,
            max_prompt_tokens: 512,
            max_completion_length: 64,
            temperature: 1.0,
            learning_rate: 1e-4,
            lr_schedule: LrSchedule::Constant,
            warmup_steps: 5,
            lora_rank: 16,
            lora_alpha: 32.0,
            beta: 0.0,
            epsilon: 0.2,
            epsilon_high: None,
            delta: None,
            loss_type: LossType::Dapo,
            scale_rewards: ScaleRewards::Group,
            mask_truncated_completions: false,
            max_grad_norm: 1.0,
            adam_beta1: 0.9,
            adam_beta2: 0.99,
            weight_decay: 0.0,
            dynamic_sampling: false,
            eval_problems: 200,
            eval_every: 50,
            checkpoint_every: 10,
            eval_batch: 32,
            warm_start: WarmStart::default(),
            tools: ToolUse::default(),
            threads: 0,
            compute: Compute::Auto,
            gradient_checkpointing: GradientCheckpointing::Auto,
            memory_budget: 0.0,
        }
    }
}

impl RunConfig {
    /// Every value out of range, with its key and the remedy; empty when the config can run.
    pub fn problems(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let mut check = |ok: bool, pointer: &str, detail: &str| {
            if !ok {
                errors.push(ConfigError { pointer: pointer.into(), detail: detail.into() });
            }
        };
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let non_negative = |x: f64| x.is_finite() && x >= 0.0;
        check(!self.tasks.trim().is_empty(), "tasks", "is empty; give a task-set spec such as \"starter\"");
        check(
            self.eval_problems == 0 || !self.eval_tasks.trim().is_empty(),
            "eval_tasks",
            "is empty; give a task-set spec, or set eval_problems = 0",
        );
        check(
            self.worked_examples.is_none_or(|n| n <= MAX_WORKED_EXAMPLES),
            "worked_examples",
            "must be between 0 and 3: there are no more of them",
        );
        check(positive(self.reward_timeout) && self.reward_timeout <= 3600.0, "reward_timeout", "must be above 0 and at most 3600 seconds");
        for (name, weight) in &self.reward_weights {
            let problem = Weight::Constant(*weight).problem();
            check(problem.is_none(), &format!("reward_weights.{name}"), problem.unwrap_or_default());
        }
        check(
            self.steps > 0 || self.warm_start.steps > 0 || self.eval_problems > 0,
            "steps",
            "is 0, and so are warm_start.steps and eval_problems: there is nothing to do",
        );
        check(self.steps <= 1_000_000, "steps", "must be at most 1000000");
        check(self.max_minutes.is_none_or(|m| positive(m) && m <= 525_600.0), "max_minutes", "must be above 0 and at most 525600 (a year)");
        check((1..=4096).contains(&self.problems_per_step), "problems_per_step", "must be between 1 and 4096");
        check(
            (2..=1024).contains(&self.num_generations),
            "num_generations",
            "must be between 2 and 1024: with one rollout per problem every advantage is 0 and nothing is learned",
        );
        check((1..=131_072).contains(&self.max_prompt_tokens), "max_prompt_tokens", "must be between 1 and 131072 tokens");
        check((1..=131_072).contains(&self.max_completion_length), "max_completion_length", "must be between 1 and 131072 tokens");
        check(positive(self.temperature) && self.temperature <= 10.0, "temperature", "must be above 0 and at most 10");
        check(positive(self.learning_rate) && self.learning_rate <= 1.0, "learning_rate", "must be above 0 and at most 1");
        check((1..=1024).contains(&self.lora_rank), "lora_rank", "must be between 1 and 1024");
        check(positive(self.lora_alpha) && self.lora_alpha <= 1e6, "lora_alpha", "must be above 0 and at most 1000000");
        check(non_negative(self.beta) && self.beta <= 1e3, "beta", "must be between 0 and 1000");
        check(positive(self.epsilon) && self.epsilon < 1.0, "epsilon", "must be above 0 and below 1");
        check(self.epsilon_high.is_none_or(|e| positive(e) && e <= 1e3), "epsilon_high", "must be above 0 and at most 1000");
        check(
            self.delta.is_none_or(|d| positive(d) && d <= 1e4 && d > 1.0 + self.epsilon_high.unwrap_or(self.epsilon)),
            "delta",
            "must be above 1 + epsilon_high, else it would clip before the clip range does, and at most 10000",
        );
        check(positive(self.max_grad_norm) && self.max_grad_norm <= 1e6, "max_grad_norm", "must be above 0 and at most 1000000");
        check((0.0..1.0).contains(&self.adam_beta1), "adam_beta1", "must be at least 0 and below 1");
        check((0.0..1.0).contains(&self.adam_beta2), "adam_beta2", "must be at least 0 and below 1");
        check(non_negative(self.weight_decay) && self.weight_decay <= 1.0, "weight_decay", "must be between 0 and 1");
        check((1..=1_000_000).contains(&self.checkpoint_every), "checkpoint_every", "must be between 1 and 1000000");
        check(self.eval_every <= 1_000_000, "eval_every", "must be at most 1000000");
        check(self.eval_problems <= 100_000, "eval_problems", "must be at most 100000");
        check(self.warmup_steps <= 1_000_000, "warmup_steps", "must be at most 1000000");
        let rollouts = self.problems_per_step.saturating_mul(self.num_generations);
        check(
            // each alone is told above
            self.problems_per_step > 4096
                || self.num_generations > 1024
                || rollouts.saturating_mul(self.max_completion_length.min(131_072)) <= 1 << 26,
            "problems_per_step",
            "times num_generations times max_completion_length must be at most 67108864 tokens a step",
        );
        check((1..=4096).contains(&self.eval_batch), "eval_batch", "must be between 1 and 4096");
        check(self.threads <= 1024, "threads", "must be at most 1024");
        check(non_negative(self.memory_budget) && self.memory_budget <= 1e6, "memory_budget", "must be between 0 and 1000000 GB");
        let w = &self.warm_start;
        check(w.steps <= 1_000_000, "warm_start.steps", "must be at most 1000000");
        check((1..=4096).contains(&w.problems_per_step), "warm_start.problems_per_step", "must be between 1 and 4096");
        check(positive(w.learning_rate) && w.learning_rate <= 1.0, "warm_start.learning_rate", "must be above 0 and at most 1");
        check(w.eval_every >= 1, "warm_start.eval_every", "must be at least 1");
        check(w.eval_problems >= 1, "warm_start.eval_problems", "must be at least 1");
        check(w.patience >= 1, "warm_start.patience", "must be at least 1");
        check((1..=16).contains(&self.tools.max_turns), "tools.max_turns", "must be between 1 and 16");
        check((1..=131_072).contains(&self.tools.max_tokens), "tools.max_tokens", "must be between 1 and 131072 tokens");
        check(positive(self.tools.timeout) && self.tools.timeout <= 600.0, "tools.timeout", "must be above 0 and at most 600");
        errors
    }

    /// Learning-rate factor in [0, 1] for 0-based `step` of `steps`: HF's schedules, but that the first warm-up step already
    /// learns ((s + 1) / (w + 1) instead of s / w) and that restarts are four. `spent` is the share of the phase's time that is over,
    /// in [0, 1], 0 where there is no budget: a phase that time will end before its steps has its whole schedule all the same.
    pub fn lr_factor(&self, step: usize, steps: usize, spent: f64) -> f64 {
        if step < self.warmup_steps {
            return (step + 1) as f64 / (self.warmup_steps + 1) as f64;
        }
        let span = steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / span as f64).max(spent).min(1.0);
        match self.lr_schedule {
            LrSchedule::Constant => 1.0,
            LrSchedule::Linear => 1.0 - progress,
            LrSchedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            LrSchedule::CosineWithRestarts => 0.5 * (1.0 + (std::f64::consts::PI * (4.0 * progress).fract()).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_in_range_and_bad_numbers_are_named() {
        assert_eq!(RunConfig::default().problems(), vec![]);
        let bad = RunConfig {
            num_generations: 1,
            learning_rate: f64::NAN,
            temperature: -1.0,
            steps: usize::MAX,
            delta: Some(0.5),
            ..RunConfig::default()
        };
        let pointers: Vec<_> = bad.problems().into_iter().map(|e| e.pointer).collect();
        assert_eq!(pointers, ["steps", "num_generations", "temperature", "learning_rate", "delta"]);
    }

    #[test]
    fn a_stored_config_comes_back_bit_for_bit() {
        // every decimal of 17 digits: without serde_json's float_roundtrip some come back one unit off, and a resume would differ
        for i in 1..2000_u32 {
            let config = RunConfig { learning_rate: f64::from(i).sqrt() * 1e-5, ..RunConfig::default() };
            let text = serde_json::to_string(&config).expect("plain data");
            let back: RunConfig = serde_json::from_str(&text).expect("its own text");
            assert_eq!(back.learning_rate.to_bits(), config.learning_rate.to_bits(), "{text}");
        }
    }

    #[test]
    fn a_format_is_named_in_a_config_as_it_names_itself() {
        for format in Format::ALL {
            assert_eq!(serde_json::to_value(format).expect("a word"), format.name());
        }
        assert!(RunConfig { worked_examples: Some(4), ..RunConfig::default() }.problems()[0].pointer == "worked_examples");
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(serde_json::from_str::<RunConfig>(r#"{"stepz": 3}"#).is_err());
        assert!(serde_json::from_str::<RunConfig>(r#"{"warm_start": {"step": 3}}"#).is_err());
    }

    #[test]
    fn schedules_rise_then_fall_as_named() {
        let c = |lr_schedule| RunConfig { lr_schedule, warmup_steps: 4, ..RunConfig::default() };
        assert_eq!(c(LrSchedule::Constant).lr_factor(1, 100, 0.0), 0.4);
        assert_eq!(c(LrSchedule::Constant).lr_factor(99, 100, 0.0), 1.0);
        assert!(c(LrSchedule::Linear).lr_factor(99, 100, 0.0) < 0.011);
        assert!((c(LrSchedule::Linear).lr_factor(20, 100, 0.75) - 0.25).abs() < 1e-9, "time is nearer to its end than steps are");
        assert_eq!(c(LrSchedule::Linear).lr_factor(1, 100, 0.75), 0.4, "warm-up steps are warm-up steps");
        assert!((c(LrSchedule::Cosine).lr_factor(52, 100, 0.0) - 0.5).abs() < 1e-9);
        assert!((c(LrSchedule::CosineWithRestarts).lr_factor(28, 100, 0.0) - 1.0).abs() < 1e-9);
    }
}
