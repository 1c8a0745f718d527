//! Format `bare_json`: one JSON object `{"name": ..., "arguments": {...}}`, or a list of them; `[]` for no call.
//!
//! In: a problem, or the text a model wrote. Out: messages, or both readings of the text. The strict reading decides accuracy
//! and reward (arXiv 2509.04518: the whole output must be the JSON); the lenient one only explains what went wrong.

use serde_json::Value;
use whetstone_domain::{Message, ParseFailure, ParseReport, Problem, Role, ToolCall};

use super::json::{DuplicateKeys, Reader, failure, write_call};
use super::signature::signature;

const SYSTEM: &str = "You translate each request into one function call, written as JSON. If no function fits, answer [].";

/// Worked examples: no call, a call among two tools with a list and a date to be normalised, and a call of the only tool. Both
/// calls leave out an argument nobody asked for: shown only full calls, a small model invents the missing values. The simplest
/// call comes last, because it leans to whatever it saw last. Their tools occur in no task set.
const EXAMPLES: [(&str, &str); 3] = [
    (
        "Function: {\"name\": \"feed_cat\", \"arguments\": {\"grams\": integer}} - Feed the cat\n\
         Request: Who painted the Mona Lisa?",
        "[]",
    ),
    (
        "Function: {\"name\": \"feed_cat\", \"arguments\": {\"grams\": integer}} - Feed the cat\n\
         Function: {\"name\": \"photos.tag\", \"arguments\": {\"ids\": integer[], \"tag\": string, \"album\"?: \"private\"|\"shared\", \
         \"taken\"?: string}} - Tag photos\n\
         Request: Tag photos 12 and 40 from May 3, 2025 as sunset.",
        "{\"name\": \"photos.tag\", \"arguments\": {\"ids\": [12, 40], \"tag\": \"sunset\", \"taken\": \"2025-05-03\"}}",
    ),
    (
        "Function: {\"name\": \"brew_tea\", \"arguments\": {\"kind\": string, \"cups\"?: integer = 1}} - Brew tea\n\
         Request: I would like some oolong, please.",
        "{\"name\": \"brew_tea\", \"arguments\": {\"kind\": \"oolong\"}}",
    ),
];

/// See [`super::render`].
pub fn render(problem: &Problem) -> Vec<Message> {
    let mut messages = vec![Message::new(Role::System, SYSTEM)];
    for (user, assistant) in EXAMPLES {
        messages.push(Message::new(Role::User, user));
        messages.push(Message::new(Role::Assistant, assistant));
    }
    messages.push(Message::new(Role::User, question(problem)));
    messages
}

/// The problem's own turn. A system line or earlier turns of its own are folded into it.
pub(super) fn question(problem: &Problem) -> String {
    let mut text = String::new();
    for tool in &problem.tools {
        text.push_str(&format!("Function: {}\n", signature(tool)));
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

/// See [`super::write`].
pub fn write(calls: &[ToolCall]) -> String {
    let mut out = String::new();
    if let [call] = calls {
        write_call(call, &mut out);
        return out;
    }
    out.push('[');
    for (i, call) in calls.iter().enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        write_call(call, &mut out);
    }
    out.push(']');
    out
}

/// See [`super::parse`].
pub fn parse(text: &str) -> ParseReport {
    let strict = strict(text);
    let lenient = match &strict {
        Ok(calls) => Some(calls.clone()),
        Err(_) => lenient(text).map(|found| found.calls),
    };
    ParseReport { strict, lenient }
}

/// The whole trimmed text is one call, a list of calls, or no call: `[]`, or words without any brace or bracket
/// (dashboard rule of no call).
fn strict(text: &str) -> Result<Vec<ToolCall>, ParseFailure> {
    if !text.contains(['{', '[']) {
        return Ok(Vec::new());
    }
    let end = text.trim_end().len();
    let text = &text[..end];
    let start = end - text.trim_start().len();
    let mut reader = Reader::at(text, start, DuplicateKeys::Refuse);
    let mut calls = Vec::new();
    match text.as_bytes().get(start) {
        Some(b'{') => calls.push(strict_call(&mut reader, 0)?),
        Some(b'[') => {
            reader.take(b'[');
            reader.items(|r| strict_call(r, 1).map(|call| calls.push(call)))?;
        }
        _ => return failure(start, "text before the JSON"),
    }
    match reader.peek() {
        None => Ok(calls),
        Some(_) => failure(reader.position(), "text after the JSON"),
    }
}

fn strict_call(reader: &mut Reader<'_>, depth: usize) -> Result<ToolCall, ParseFailure> {
    let at = reader.position();
    let Value::Object(mut map) = reader.value(depth)? else {
        return failure(at, "a call must be an object with \"name\" and \"arguments\"");
    };
    let name = match map.shift_remove("name") {
        Some(Value::String(name)) => name,
        Some(_) => return failure(at, "\"name\" must be a string"),
        None => return failure(at, "the call has no \"name\""),
    };
    let arguments = match map.shift_remove("arguments") {
        Some(Value::Object(arguments)) => arguments,
        Some(_) => return failure(at, "\"arguments\" must be an object"),
        None => return failure(at, "the call has no \"arguments\""),
    };
    match map.keys().next() {
        Some(key) => failure(at, format!("the call has an unknown key {key:?}")),
        None => Ok(ToolCall { name, arguments }),
    }
}

/// What the forgiving reader found, and where.
struct Found {
    calls: Vec<ToolCall>,
    bytes: usize,
}

/// The first object or list that makes calls, wherever it stands; else an empty list if there is one.
/// Work is bounded by a multiple of the text's length, however many brackets it opens.
fn lenient(text: &str) -> Option<Found> {
    let mut budget = 4 * text.len() + 4096;
    let mut refusal = None;
    for (start, _) in text.match_indices(['{', '[']) {
        let mut reader = Reader::at(text, start, DuplicateKeys::LastWins);
        let value = reader.value(0);
        let bytes = reader.position() - start;
        if let Ok(value) = value
            && let Some(calls) = lenient_calls(value)
        {
            if !calls.is_empty() {
                return Some(Found { calls, bytes });
            }
            refusal.get_or_insert(Found { calls, bytes });
        }
        match budget.checked_sub(bytes) {
            Some(left) => budget = left,
            None => break,
        }
    }
    refusal
}

fn lenient_calls(value: Value) -> Option<Vec<ToolCall>> {
    match value {
        Value::Array(items) => items.into_iter().map(lenient_call).collect(),
        one => lenient_call(one).map(|call| vec![call]),
    }
}

fn lenient_call(value: Value) -> Option<ToolCall> {
    let Value::Object(mut map) = value else { return None };
    let Some(Value::String(name)) = map.remove("name") else { return None };
    match map.remove("arguments").or_else(|| map.remove("parameters")) {
        Some(Value::Object(arguments)) => Some(ToolCall { name, arguments }),
        _ => None,
    }
}

/// See [`super::parse_progress`].
pub fn parse_progress(text: &str) -> f64 {
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

/// See [`super::call_share`].
pub fn call_share(text: &str) -> f64 {
    let text = text.trim();
    lenient(text).map_or(0.0, |found| found.bytes as f64 / text.len().max(1) as f64)
}

#[cfg(test)]
#[path = "bare_json_tests.rs"]
mod tests;
