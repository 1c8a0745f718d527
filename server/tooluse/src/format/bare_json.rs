//! Format `bare_json`: one JSON object `{"name": ..., "arguments": {...}}`, or a list of them; `[]` for no call.
//!
//! The strict reading decides accuracy and reward (arXiv 2509.04518: the whole output must be the JSON); the lenient one only
//! explains what went wrong.

use whetstone_domain::{Message, ParseFailure, Problem, Role, Tool, ToolCall};

use super::call_object::{ARGUMENTS, strict_call, strict_list, write_call, write_list};
use super::examples;
use super::found::{Found, any_json, trimmed};
use super::json::{DuplicateKeys, Reader, failure};

const SYSTEM: &str = "You translate each request into one function call, written as JSON. If no function fits, answer [].";

/// Instructions, worked examples as turns of their own, and last the problem's turn: all that differs between problems.
/// `line` shows one tool.
pub(super) fn render(problem: &Problem, worked_examples: usize, line: impl Fn(&Tool) -> String) -> Vec<Message> {
    let mut messages = vec![Message::new(Role::System, SYSTEM)];
    for example in examples::last(worked_examples) {
        let listing: String = example.tools.iter().map(|t| format!("Function: {}\n", line(t))).collect();
        messages.push(Message::new(Role::User, format!("{listing}Request: {}", example.request)));
        messages.push(Message::new(Role::Assistant, write(&example.calls)));
    }
    messages.push(Message::new(Role::User, question(problem, line)));
    messages
}

/// The problem's own turn. A system line or earlier turns of its own are folded into it.
pub(super) fn question(problem: &Problem, line: impl Fn(&Tool) -> String) -> String {
    let mut text = String::new();
    for tool in &problem.tools {
        text.push_str(&format!("Function: {}\n", line(tool)));
    }
    let (last, earlier) = match problem.messages.split_last() {
        Some((last, earlier)) => (last.content.as_str(), earlier),
        None => ("", &[][..]),
    };
    for message in earlier {
        let who = match message.role {
            Role::System => "Instructions",
            Role::User => "User",
            Role::Assistant => "Assistant",
            Role::Tool => "Result",
        };
        text.push_str(&format!("{who}: {}\n", message.content.trim()));
    }
    text.push_str("Request: ");
    text.push_str(last.trim());
    text
}

pub(super) fn write(calls: &[ToolCall]) -> String {
    let mut out = String::new();
    match calls {
        [call] => write_call(call, ARGUMENTS, &mut out),
        _ => write_list(calls, ARGUMENTS, &mut out),
    }
    out
}

/// The whole trimmed text is one call, a list of calls, or no call: `[]`, or words without any brace or bracket
/// (dashboard rule of no call).
pub(super) fn strict(text: &str) -> Result<Vec<ToolCall>, ParseFailure> {
    if !text.contains(['{', '[']) {
        return Ok(Vec::new());
    }
    let (start, end) = trimmed(text);
    let text = &text[..end];
    let mut reader = Reader::at(text, start, DuplicateKeys::Refuse);
    let calls = match text.as_bytes().get(start) {
        Some(b'{') => vec![strict_call(&mut reader, 0, ARGUMENTS)?],
        Some(b'[') => strict_list(&mut reader, ARGUMENTS)?,
        _ => return failure(start, "text before the JSON"),
    };
    match reader.peek() {
        None => Ok(calls),
        Some(_) => failure(reader.position(), "text after the JSON"),
    }
}

/// The first object or list that makes calls, wherever it stands; else an empty list if there is one.
pub(super) fn lenient(text: &str) -> Option<Found> {
    any_json(text)
}

/// See [`super::parse_progress`].
pub(super) fn parse_progress(text: &str) -> f64 {
    let text = text.trim();
    let mut reader = Reader::at(text, 0, DuplicateKeys::Refuse);
    let position = match reader.value(0) {
        Ok(_) if reader.peek().is_none() => return 1.0,
        Ok(_) => reader.position(),
        Err(failure) => failure.position,
    };
    // an end that comes too early leaves every character before it right
    position as f64 / (text.len() + usize::from(position == text.len())).max(1) as f64
}

#[cfg(test)]
#[path = "bare_json_tests.rs"]
mod tests;
