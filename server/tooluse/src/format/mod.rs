//! Station *prompt* (messages) and *tool call* (text to calls), one file per chat format.
//!
//! In: a problem, or the text a model wrote. Out: chat messages, or calls or a named failure with its position.
//! Does not tokenise, apply chat templates or judge whether calls are right.

pub mod bare_json;
mod conversation;
pub mod json;
pub mod signature;

use whetstone_domain::{Message, ParseReport, Problem, ToolCall, ToolResult, config::Format};

/// The prompt of a problem as chat messages. All that differs between problems is in the last message,
/// so that prompts share the longest possible token prefix.
pub fn render(format: Format, problem: &Problem) -> Vec<Message> {
    match format {
        Format::BareJson if problem.is_conversation() => conversation::render(problem),
        Format::BareJson => bare_json::render(problem),
    }
}

/// The message that shows the model what its calls gave, in their order.
pub fn results(format: Format, results: &[ToolResult]) -> Message {
    match format {
        Format::BareJson => conversation::results(results),
    }
}

/// Both readings of a model's text. A text that stopped at its length limit is not judged here (see `outcome::judge`).
pub fn parse(format: Format, text: &str) -> ParseReport {
    match format {
        Format::BareJson => bare_json::parse(text),
    }
}

/// Share of the text before its first syntax error, in [0, 1]; 1 if there is none.
/// A text that ends too early lacks at least one character, so it stays below 1.
pub fn parse_progress(format: Format, text: &str) -> f64 {
    match format {
        Format::BareJson => bare_json::parse_progress(text),
    }
}

/// Share of the text's bytes that belong to the calls which the forgiving reader finds, in [0, 1]; 0 if it finds none.
pub fn call_share(format: Format, text: &str) -> f64 {
    match format {
        Format::BareJson => bare_json::call_share(text),
    }
}

/// True when the text begins as an answer with calls begins.
pub fn starts_like_calls(format: Format, text: &str) -> bool {
    match format {
        Format::BareJson => text.trim_start().starts_with(['{', '[']),
    }
}

/// The canonical completion that makes these calls: what a warm start learns to write.
pub fn write(format: Format, calls: &[ToolCall]) -> String {
    match format {
        Format::BareJson => bare_json::write(calls),
    }
}
