//! Format `smollm2`: all calls as one JSON list in one `<tool_call>` tag; an empty list for no call (SmolLM2 1.7B Instruct).
//!
//! Strict: that tag and nothing else; or plain words, which is no call.

use whetstone_domain::{ParseFailure, ToolCall};

use super::call_object::{ARGUMENTS, strict_list, write_list};
use super::found::{Found, plain_words, trimmed};
use super::hermes::{self, CLOSE, OPEN};
use super::json::{DuplicateKeys, Reader, failure};

/// The system prompt that the model was trained with, from its model card. `tools` is a JSON list, or one signature a line.
pub(super) fn words(tools: &str) -> String {
    format!(
        "You are an expert in composing functions. You are given a question and a set of possible functions. \nBased on the \
         question, you will need to make one or more function/tool calls to achieve the purpose. \nIf none of the functions can be \
         used, point it out and refuse to answer. \nIf the given question lacks the parameters required by the function, also point \
         it out.\n\nYou have access to the following tools:\n<tools>{tools}</tools>\n\nThe output MUST strictly adhere to the \
         following format, and NO other text MUST be included.\nThe example format is as follows. Please make sure the parameter \
         type is correct. If no function call is needed, please make the tool calls an empty list '[]'.\n<tool_call>[\n{{\"name\": \
         \"func_name1\", \"arguments\": {{\"argument1\": \"value1\", \"argument2\": \"value2\"}}}},\n... (more tool calls as \
         required)\n]</tool_call>"
    )
}

pub(super) fn write(calls: &[ToolCall]) -> String {
    let mut out = OPEN.to_owned();
    write_list(calls, ARGUMENTS, &mut out);
    out + CLOSE
}

pub(super) fn strict(text: &str) -> Result<Vec<ToolCall>, ParseFailure> {
    let (start, end) = trimmed(text);
    let text = &text[..end];
    if plain_words(text, &[OPEN, CLOSE]) {
        return Ok(Vec::new());
    }
    if !text[start..].starts_with(OPEN) {
        return failure(start, format!("text before the calls: expected {OPEN}"));
    }
    let mut reader = Reader::at(text, start + OPEN.len(), DuplicateKeys::Refuse);
    let calls = strict_list(&mut reader, ARGUMENTS)?;
    reader.peek();
    let at = reader.position();
    match text[at..].strip_prefix(CLOSE) {
        Some("") => Ok(calls),
        Some(_) => failure(at + CLOSE.len(), "text after the calls"),
        None => failure(at, format!("expected {CLOSE}")),
    }
}

/// As for `hermes`, whose tags hold one call each.
pub(super) fn lenient(text: &str) -> Option<Found> {
    hermes::lenient(text)
}
