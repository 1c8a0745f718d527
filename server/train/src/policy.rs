//! Station *prompt*: the base model with its tokenizer and template; problems in, prompt ids out; completions to text.

use std::path::Path;

use rayon::prelude::*;
use whetstone_domain::config::{Compute, Format, GradientCheckpointing};
use whetstone_domain::{Problem, RunConfig, ToolResult};
use whetstone_model::config::ModelConfig;
use whetstone_model::transformer::Transformer;
use whetstone_model::weights::Base;
use whetstone_tooluse::format::{self, Style};

use crate::error::{Result, TrainError};
use crate::metrics;
use crate::worker::{self, resolve_compute};

/// The frozen base and the words around it.
pub struct Policy {
    /// Tokenizer, template, name, sha256; its weights are in `model`.
    pub base: Base,
    /// The weights, ready to run.
    pub model: Transformer,
    /// Tool format of prompts and answers.
    pub format: Format,
    /// How prompts are worded.
    pub style: Style,
    /// The base's own chat template lists tools in this format.
    pub native: bool,
    /// It shows the turns of tools as well, so that results are no turn of the user.
    pub tool_turns: bool,
    /// Products are rounded to 16 bits, so that sampling and update differ by more than a rounding of f32.
    pub rounds: bool,
    /// Tokens that end a turn.
    pub eos: Vec<u32>,
    /// Tokens that a prompt and all that follows it may have together.
    pub positions: usize,
}

/// Most tokens of a pass whose blocks are kept for its backward.
fn most_kept(model: &ModelConfig, config: &RunConfig) -> usize {
    match config.gradient_checkpointing {
        GradientCheckpointing::On => 0,
        GradientCheckpointing::Auto if config.memory_budget > 0.0 => {
            (config.memory_budget * 1e9 / Transformer::kept_bytes(model, config.lora_rank) as f64) as usize
        }
        GradientCheckpointing::Auto | GradientCheckpointing::Off => usize::MAX,
    }
}

/// Loads a base for products in `compute`, unless it is one that this machine cannot hold.
pub fn load(path: &Path, compute: Compute) -> Result<Base> {
    let total = if worker::device()?.is_cpu() { metrics::total_bytes() } else { 0 };
    load_within(total, path, compute)
}

/// [`load`] where there are `total` bytes; 0 = not known, and nothing is refused.
fn load_within(total: u64, path: &Path, compute: Compute) -> Result<Base> {
    let rounds = resolve_compute(compute) == Compute::Bf16;
    let needed = Transformer::frozen_bytes(&Base::shape(path)?, rounds);
    if total > 0 && needed > total {
        return Err(TrainError::Memory { path: path.into(), compute: if rounds { "bf16" } else { "f32" }, needed, total });
    }
    Ok(Base::load(path)?)
}

impl Policy {
    /// Arranges `base` for prompts and completions of the config's lengths.
    pub fn new(mut base: Base, config: &RunConfig) -> Result<Self> {
        let asked = config.max_prompt_tokens.saturating_add(config.max_completion_length);
        if asked > base.config.max_position_embeddings {
            return Err(TrainError::TooLong { asked, limit: base.config.max_position_embeddings });
        }
        // a conversation takes what room there is
        let longest = config.max_completion_length.max(config.tools.max_tokens);
        let positions = config.max_prompt_tokens.saturating_add(longest).min(base.config.max_position_embeddings);
        let rounds = resolve_compute(config.compute) == Compute::Bf16;
        let weights = base.take_weights().to_device(&base.config, &worker::device()?)?;
        let model = Transformer::new(&base.config, weights, positions, rounds)?.keeping(most_kept(&base.config, config));
        whetstone_kernels::memory::keep();
        let eos = base.config.eos_token_ids.clone();
        let native = base.chat_template.lists_tools() && format::speaks(config.format, base.chat_template.source());
        let tool_turns = native && base.chat_template.shows_tool_turns();
        Ok(Self { model, format: config.format, style: Style::of_config(config), native, tool_turns, rounds, eos, positions, base })
    }

    /// The rendered prompt and its ids. Rendered once, tokenised once; later stations only pass ids on.
    pub fn prompt(&self, problem: &Problem) -> Result<(String, Vec<u32>)> {
        let prompt = format::render(self.style, self.native, problem);
        let text = self.base.chat_template.render_with_tools(&prompt.messages, &prompt.tools, true)?;
        let ids = self.base.tokenizer.encode(&text)?;
        Ok((text, ids))
    }

    /// [`Policy::prompt`] of many, in parallel, in order.
    pub fn prompts(&self, problems: &[Problem]) -> Result<Vec<(String, Vec<u32>)>> {
        problems.par_iter().map(|p| self.prompt(p)).collect()
    }

    /// What a parser reads of a completion: all but the end-of-turn token. Other special tokens stay visible.
    pub fn text(&self, ids: &[u32]) -> String {
        let end = ids.len() - usize::from(ids.last().is_some_and(|id| self.eos.contains(id)));
        self.base.tokenizer.decode(&ids[..end], false)
    }

    /// Ids that follow a turn which ended with `last` when the model is shown what its calls gave, up to its next turn. The end of
    /// the turn is not repeated where the model wrote it.
    pub fn between(&self, last: Option<u32>, results: &[ToolResult]) -> Result<Vec<u32>> {
        let text = self.base.chat_template.between(&format::results(self.format, self.tool_turns, results))?;
        let end = last.map(|id| self.base.tokenizer.piece(id)).unwrap_or_default();
        Ok(self.base.tokenizer.encode(text.strip_prefix(end.as_str()).unwrap_or(&text))?)
    }

    /// Ids of an answer as the model should have written it, end-of-turn token included.
    pub fn answer(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.base.tokenizer.encode(text)?;
        ids.extend(self.eos.first());
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use whetstone_model::tiny::tiny_base;

    use super::*;

    #[test]
    fn as_many_tokens_keep_their_blocks_as_the_budget_holds() {
        let most = |config: &RunConfig| Policy::new(tiny_base(0).expect("a base"), config).expect("a policy").model.most_kept();
        // by hand: 587 numbers of 4 bytes in each of two blocks
        let mut config = RunConfig { lora_rank: 1, memory_budget: 100.5 * 4_696e-9, ..RunConfig::default() };
        assert_eq!(most(&config), 100);
        for (wish, expected) in [(GradientCheckpointing::On, 0), (GradientCheckpointing::Off, usize::MAX)] {
            assert_eq!(most(&RunConfig { gradient_checkpointing: wish, ..config.clone() }), expected);
        }
        // what this machine has is asked once and stored: the same for every run, whatever else takes memory at that time
        let launched = || {
            let mut launched = RunConfig::default();
            worker::resolve(&mut launched);
            launched.memory_budget
        };
        let first = launched();
        let taken = vec![1u8; 400 << 20];
        assert!(first >= 0.1 && (launched() - first).abs() < 1e-12, "{first}, then {}", launched());
        drop(taken);
        config.memory_budget = 3.5;
        worker::resolve(&mut config);
        assert!((config.memory_budget - 3.5).abs() < 1e-12);
    }

    #[test]
    fn a_base_that_the_machine_cannot_hold_is_refused_before_its_weights_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        whetstone_model::tiny::write_tiny(folder.path(), 0).expect("a base");
        // by hand: 2 blocks of 64 x (2 x 64 + 2 x 32 + 3 x 128) numbers and a head of 259 x 64, both orders; 2 bytes each of the embedding
        let (numbers, embedding) = (2 * 64 * 576 + 259 * 64, 2 * 259 * 64);
        let (narrow, wide) = (4 * numbers + embedding, 8 * numbers + embedding);
        let load = |total, compute| load_within(total, folder.path(), compute);
        assert!(load(narrow, Compute::Bf16).is_ok() && load(wide, Compute::F32).is_ok() && load(0, Compute::F32).is_ok());
        std::fs::remove_file(folder.path().join("model.safetensors")).expect("weights");
        for (total, compute, said) in [(narrow - 1, Compute::Bf16, "0.0 GB in bf16"), (wide - 1, Compute::F32, "0.0 GB in f32")] {
            let refused = load(total, compute).expect_err("too little").to_string();
            assert!(refused.contains(said) && refused.ends_with("take a smaller base"), "{refused}");
        }
    }

    #[test]
    fn normalised_heads_are_kept_as_they_were_before() {
        let plain = whetstone_model::tiny::tiny_config();
        let normalised = ModelConfig { qk_norm: true, ..plain.clone() };
        let more = Transformer::kept_bytes(&normalised, 1) - Transformer::kept_bytes(&plain, 1);
        assert_eq!(more, 4 * 2 * (64 + 2 * 32)); // in each of two blocks q, k and v of one token
    }
}
