//! The fields of the launch form: which keys of a config a person sets, with unit and effect in one line.

/// How a field is filled in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Input {
    Number,
    Flag,
    Choice(&'static [&'static str]),
    Model,
    Tasks,
}

/// One field.
pub(crate) struct Field {
    pub(crate) section: &'static str,
    pub(crate) key: &'static str,
    pub(crate) label: &'static str,
    pub(crate) help: &'static str,
    pub(crate) input: Input,
    /// Folded away until asked for.
    pub(crate) more: bool,
}

const fn field(section: &'static str, key: &'static str, label: &'static str, help: &'static str, input: Input) -> Field {
    Field { section, key, label, help, input, more: false }
}

const fn more(section: &'static str, key: &'static str, label: &'static str, help: &'static str, input: Input) -> Field {
    Field { section, key, label, help, input, more: true }
}

use Input::{Choice, Flag, Model, Number, Tasks};

/// Every field in the order of the form.
pub(crate) const FIELDS: &[Field] = &[
    field("Model", "model", "Base model", "What is taught. Empty = whichever known model is here, else it is fetched.", Model),
    field("Model", "lora_rank", "LoRA rank", "How much can be learned; 8 to 64. Memory and adapter size grow with it.", Number),
    more("Model", "lora_alpha", "LoRA alpha", "The adapter counts alpha / rank; usually twice the rank.", Number),
    field(
        "Data",
        "tasks",
        "Learned from",
        "Task set whose problems are sampled; your own come in by Task sets. Also parts and mixes: starter#order=difficulty, mix:0.5*starter+0.5*starter:wide.",
        Tasks,
    ),
    field(
        "Data",
        "eval_tasks",
        "Measured on",
        "Held-out problems, never learned from; the other side of a split: starter#split=tool:held-out:1 beside starter#split=tool:train:1.",
        Tasks,
    ),
    field("Data", "max_prompt_tokens", "Longest prompt, tokens", "Longer problems are dropped and counted.", Number),
    more(
        "Data",
        "format",
        "Format of calls",
        "How tools are shown and calls written; bare_json suits a model that was taught none of the others.",
        Choice(&["bare_json", "hermes", "smollm2", "llama_json", "pythonic", "functiongemma", "lfm2", "mistral"]),
    ),
    more(
        "Data",
        "tool_listing",
        "Tools listed as",
        "auto: as the model's own chat template does where it can; json: schemas; signature: one short line each.",
        Choice(&["auto", "json", "signature"]),
    ),
    more("Data", "worked_examples", "Worked examples", "In every prompt, 0 to 3. Empty = 3 for bare_json, else none.", Number),
    more("Data", "tools.max_turns", "Turns of the model", "Most turns of a conversation whose tools run, 1 to 16.", Number),
    more("Data", "tools.max_tokens", "Longest conversation, tokens", "After its prompt, results of tools included.", Number),
    more("Data", "tools.timeout", "Longest call, seconds", "Of a tool that runs; the whole step waits for it.", Number),
    more("Data", "seed", "Seed", "The same config and seed give the same run.", Number),
    field(
        "Reward",
        "reward",
        "Reward",
        "dense and toolrl climb from garbage to gold; simrl compares calls; paper is arXiv 2509.04518; strict and bfcl_ast are right or wrong; composition is made of the parts below.",
        Choice(&["dense", "paper", "strict", "simrl", "toolrl", "bfcl_ast", "composition"]),
    ),
    more(
        "Reward",
        "arg_denominator",
        "Arguments counted (paper)",
        "expected: inventions are free; union: they cost.",
        Choice(&["union", "expected"]),
    ),
    more(
        "Reward",
        "toolrl_grading",
        "Grading (toolrl)",
        "refined: names, argument names and values count; intermediate: names and whole calls; coarse: all or nothing.",
        Choice(&["refined", "intermediate", "coarse"]),
    ),
    more("Reward", "reward_timeout", "Patience, seconds", "How long a reward that is a program may take for one answer.", Number),
    field("GRPO", "problems_per_step", "Problems a step", "More = steadier gradients, slower steps.", Number),
    field("GRPO", "num_generations", "Answers to each problem (G)", "At least 2; an advantage compares them with each other.", Number),
    field("GRPO", "learning_rate", "Learning rate", "Peak; 5e-5 to 3e-4 for an adapter on a small model.", Number),
    field("GRPO", "temperature", "Temperature", "Of sampling; higher tries more, and writes more nonsense.", Number),
    field("GRPO", "max_completion_length", "Longest answer, tokens", "Longer ones are cut off and count as wrong.", Number),
    more("GRPO", "beta", "KL weight (beta)", "Pull towards the base; 0 = none, which is faster.", Number),
    more(
        "GRPO",
        "lr_schedule",
        "Learning rate over time",
        "How it falls after warm-up.",
        Choice(&["constant", "linear", "cosine", "cosine_with_restarts"]),
    ),
    more("GRPO", "warmup_steps", "Warm-up, steps", "Steps over which the learning rate rises.", Number),
    more("GRPO", "loss_type", "Loss", "dapo counts tokens alike, grpo answers alike.", Choice(&["dapo", "grpo", "dr_grpo"])),
    more(
        "GRPO",
        "scale_rewards",
        "Advantages divided by",
        "Standard deviation of the group, of the batch, or nothing.",
        Choice(&["group", "batch", "none"]),
    ),
    more("GRPO", "epsilon", "Clip range", "Of the ratio between new and old policy.", Number),
    more("GRPO", "epsilon_high", "Clip range upwards", "Empty = the same in both directions.", Number),
    more("GRPO", "delta", "Clip of the ratio itself (delta)", "Two-sided clipping, above 1 + clip range; empty = none.", Number),
    more("GRPO", "max_grad_norm", "Largest gradient norm", "Larger gradients are scaled down to it.", Number),
    more("GRPO", "adam_beta1", "Adam beta 1", "Memory of the mean of gradients, 0 to 1.", Number),
    more("GRPO", "adam_beta2", "Adam beta 2", "Memory of their squares, 0 to 1.", Number),
    more("GRPO", "weight_decay", "Weight decay", "Pull of the adapter towards 0 at every step; usually 0.", Number),
    more("GRPO", "dynamic_sampling", "Draw again", "Replaces groups without spread, up to twice; slower steps that teach more.", Flag),
    more("GRPO", "mask_truncated_completions", "Leave out cut-off answers", "They then neither teach nor punish.", Flag),
    field("Budget and evaluation", "steps", "GRPO steps", "Each is one update of the adapter.", Number),
    field(
        "Budget and evaluation",
        "warm_start.steps",
        "Warm-start steps",
        "Supervised steps on the expected calls before GRPO; 0 = none.",
        Number,
    ),
    field(
        "Budget and evaluation",
        "max_minutes",
        "Time for all steps, minutes",
        "Empty = no limit. When it is over, the last evaluation is made.",
        Number,
    ),
    field(
        "Budget and evaluation",
        "eval_problems",
        "Held-out problems measured",
        "More = narrower intervals, longer evaluations; 0 = none.",
        Number,
    ),
    field("Budget and evaluation", "eval_every", "Steps between evaluations", "0 = only before and after.", Number),
    more("Budget and evaluation", "warm_start.problems_per_step", "Problems a warm-start step", "Rows of one supervised update.", Number),
    more(
        "Budget and evaluation",
        "warm_start.learning_rate",
        "Learning rate of the warm start",
        "Higher than GRPO's: its gradients are less noisy.",
        Number,
    ),
    more(
        "Budget and evaluation",
        "warm_start.eval_every",
        "Warm-start steps between looks",
        "At the loss on problems that it does not learn from; at least 1.",
        Number,
    ),
    more("Budget and evaluation", "warm_start.eval_problems", "Problems of such a look", "More = a steadier loss.", Number),
    more(
        "Budget and evaluation",
        "warm_start.patience",
        "Looks without progress",
        "After so many in a row the warm start ends; at least 1.",
        Number,
    ),
    more("Budget and evaluation", "eval_batch", "Problems evaluated at once", "More = faster, more memory.", Number),
    more("Budget and evaluation", "checkpoint_every", "Steps between checkpoints", "What a crash may cost at most.", Number),
    more("Budget and evaluation", "threads", "Threads", "0 = as many as the machine has.", Number),
    more(
        "Budget and evaluation",
        "compute",
        "Numbers to compute in",
        "bf16, 16 bits a weight, was 1.1 to 2.3 times as fast on the CPUs measured; auto finds out.",
        Choice(&["auto", "f32", "bf16"]),
    ),
    more(
        "Budget and evaluation",
        "gradient_checkpointing",
        "Gradient checkpointing",
        "Reads each block again instead of keeping it: a quarter slower, less memory; auto does so where the budget asks for it.",
        Choice(&["auto", "on", "off"]),
    ),
    more("Budget and evaluation", "memory_budget", "Memory for an update, GB", "0 = a quarter of what the machine has.", Number),
];
