//! Stations *completion* and *rollout*: what the model wrote, token by token, and how it was read.

use serde::{Deserialize, Serialize};

use crate::{Exchange, Outcome, Reward, ToolCall};

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model wrote an end-of-sequence token.
    Eos,
    /// The length limit was reached.
    Length,
}

/// Why a text is not a list of tool calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParseFailure {
    /// Byte offset in the text where reading failed.
    pub position: usize,
    /// The reason in words.
    pub reason: String,
}

/// Both readings of one text: the strict one decides accuracy and reward, the lenient one explains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParseReport {
    /// Calls of the strict reading (`[]` = an explicit or plain-text refusal), or why there are none.
    pub strict: Result<Vec<ToolCall>, ParseFailure>,
    /// Calls that a forgiving reader finds; none when it finds nothing either.
    pub lenient: Option<Vec<ToolCall>>,
}

/// One turn of the conversation after the prompt: a range of `Rollout::ids`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// Who speaks: the assistant, or a tool.
    pub role: crate::Role,
    /// First token of the turn in the rollout's ids.
    pub start: usize,
    /// One past its last token.
    pub end: usize,
    /// Its text with special tokens kept.
    pub text: String,
    /// Of a tool's turn: the calls that were run, each with its result, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exchanges: Vec<Exchange>,
}

/// A whole conversation for one problem, scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Index in its group, 0-based.
    pub index: usize,
    /// Every token after the prompt, the end-of-sequence token included. [C]
    pub ids: Vec<u32>,
    /// Text piece of each token, lossy UTF-8. [C]
    pub pieces: Vec<String>,
    /// Logprob of each sampled token under the policy at sampling temperature, nat. [C]
    pub logprobs: Vec<f32>,
    /// Entropy of the distribution each token was drawn from, nat. [C]
    pub entropies: Vec<f32>,
    /// 1 where the policy wrote the token, 0 where it was forced (tool results). [C]
    pub mask: Vec<u8>,
    /// The turns.
    pub turns: Vec<Turn>,
    /// Text of the assistant's last turn without special tokens: what the parser reads.
    pub text: String,
    /// Why it ended.
    pub stop: StopReason,
    /// Both readings of the text.
    pub parse: ParseReport,
    /// Its rung.
    pub outcome: Outcome,
    /// What it earned.
    pub reward: Reward,
    /// Group-relative advantage; 0 where the group had no spread.
    pub advantage: f64,
    /// Took part in the update.
    pub effective: bool,
}
