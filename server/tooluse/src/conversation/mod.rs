//! Station *rollout*, its rules: a conversation in which tools run, as a machine without a model.
//!
//! In: the text of every turn that the model finished, and what the tools gave. Out: the calls to run, until the conversation is
//! over; then all that happened. It samples nothing, runs nothing, counts no tokens and words no message.

pub mod judge;

use whetstone_domain::config::Format;
use whetstone_domain::{Exchange, ParseReport, StopReason, ToolCall, ToolResult};

use crate::format;

/// Most turns of the model without a wish for another number: two or three calls after one another, and the answer.
pub const MOST_TURNS: usize = 4;
/// Most calls of one turn that are run.
pub const MOST_CALLS: usize = 8;

/// What happens after a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// The conversation is over.
    Done,
    /// These calls are to be run, in this order, and their results given to [`Conversation::results`].
    CallTools(Vec<ToolCall>),
}

/// A conversation that goes on.
#[derive(Debug, Clone)]
pub struct Conversation {
    format: Format,
    turns_left: usize,
    waiting: Vec<ToolCall>,
    exchanges: Vec<Exchange>,
}

/// A conversation that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Transcript {
    /// Every call that was run, with its result, in order.
    pub exchanges: Vec<Exchange>,
    /// The model's last turn: the answer, where all went well.
    pub text: String,
    /// Both readings of it.
    pub parse: ParseReport,
    /// Why the last turn ended.
    pub stop: StopReason,
    /// The last turn made calls that were not run: there were too many of them, or of turns.
    pub cut_short: bool,
}

impl Transcript {
    /// Both readings of the last turn, with the calls of the turns before it in front: all that the model called.
    pub fn all_calls(&self) -> ParseReport {
        let with = |last: &Vec<ToolCall>| -> Vec<ToolCall> { self.exchanges.iter().map(|e| &e.call).chain(last).cloned().collect() };
        ParseReport { strict: self.parse.strict.as_ref().map(with).map_err(Clone::clone), lenient: self.parse.lenient.as_ref().map(with) }
    }
}

impl Conversation {
    /// A conversation of at most `most_turns` turns of the model.
    pub fn new(format: Format, most_turns: usize) -> Self {
        Self { format, turns_left: most_turns, waiting: Vec::new(), exchanges: Vec::new() }
    }

    /// The model has finished a turn. A turn that was cut off, has no calls or cannot be read is the last.
    pub fn turn(&mut self, text: &str, stop: StopReason) -> (Next, Transcript) {
        self.turns_left = self.turns_left.saturating_sub(1);
        let parse = format::parse(self.format, text);
        let calls = match &parse.strict {
            Ok(calls) if stop == StopReason::Eos => calls.clone(),
            _ => Vec::new(),
        };
        let cut_short = !calls.is_empty() && (self.turns_left == 0 || calls.len() > MOST_CALLS);
        let transcript = Transcript { exchanges: self.exchanges.clone(), text: text.to_owned(), parse, stop, cut_short };
        if calls.is_empty() || cut_short {
            return (Next::Done, transcript);
        }
        self.waiting.clone_from(&calls);
        (Next::CallTools(calls), transcript)
    }

    /// Every call that was run so far, with its result.
    pub fn exchanges(&self) -> &[Exchange] {
        &self.exchanges
    }

    /// The calls have been run, with these results in the order of the calls.
    pub fn results(&mut self, results: Vec<ToolResult>) {
        let calls = std::mem::take(&mut self.waiting);
        self.exchanges.extend(calls.into_iter().zip(results).map(|(call, result)| Exchange { call, result }));
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
