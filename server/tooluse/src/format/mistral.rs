//! Format `mistral`: `[TOOL_CALLS]` and a JSON list of calls, each with an optional `id` (Mistral, tokenizers v3 to v7).
//!
//! Strict: nothing else; or plain words, which is no call. The later form `[TOOL_CALLS]name[ARGS]{...}` is read leniently.

use serde_json::Value;
use whetstone_domain::{ParseFailure, ToolCall};

use super::call_object::{ARGUMENTS, Shape, lenient_calls, strict_list, write_list};
use super::found::{Found, any_json, behind_markers, plain_words, trimmed};
use super::json::{DuplicateKeys, Reader, failure};

pub(super) const OPEN: &str = "[TOOL_CALLS]";
const ARGS: &str = "[ARGS]";
const SHAPE: Shape = Shape { arguments: "arguments", id: true };

/// Tools as Mistral's template writes them in front of the last request, and what it leaves to the training.
pub(super) fn words(tools: &str) -> String {
    format!(
        "[AVAILABLE_TOOLS]{tools}[/AVAILABLE_TOOLS]\nTo call functions, answer only with [TOOL_CALLS][{{\"name\": function name, \
         \"arguments\": object}}, ...].\n\n"
    )
}

pub(super) fn write(calls: &[ToolCall]) -> String {
    let mut out = OPEN.to_owned();
    write_list(calls, ARGUMENTS, &mut out);
    out
}

pub(super) fn strict(text: &str) -> Result<Vec<ToolCall>, ParseFailure> {
    let (start, end) = trimmed(text);
    let text = &text[..end];
    if plain_words(text, &[]) {
        return Ok(Vec::new());
    }
    if !text[start..].starts_with(OPEN) {
        return failure(start, format!("text before the calls: expected {OPEN}"));
    }
    let mut reader = Reader::at(text, start + OPEN.len(), DuplicateKeys::Refuse);
    let calls = strict_list(&mut reader, SHAPE)?;
    match reader.peek() {
        None => Ok(calls),
        Some(_) => failure(reader.position(), "text after the calls"),
    }
}

pub(super) fn lenient(text: &str) -> Option<Found> {
    let marked = behind_markers(text, OPEN, |at| {
        let rest = &text[at..];
        // a name ends where the next marker could begin, so this looks at no byte twice
        let name = &rest[..rest.find(['[', '{', '\n']).unwrap_or(0)];
        let later = rest[name.len()..].strip_prefix(ARGS).filter(|_| !name.trim().is_empty());
        let start = later.map_or(at, |arguments| text.len() - arguments.len());
        let mut reader = Reader::at(text, start, DuplicateKeys::LastWins);
        let calls = match (later, reader.value(0)) {
            (Some(_), Ok(Value::Object(arguments))) => Some(vec![ToolCall { name: name.trim().to_owned(), arguments }]),
            (None, Ok(value)) => lenient_calls(value),
            _ => None,
        };
        (reader.position(), calls)
    });
    marked.or_else(|| any_json(text))
}
