//! Format `llama_json`: objects with `name` and `parameters`, several separated by `;`, behind an optional `<|python_tag|>`
//! (Llama 3.1 and 3.2).
//!
//! Strict: nothing else; or words without brace or bracket, which is no call.

use whetstone_domain::{ParseFailure, ToolCall};

use super::call_object::{Shape, lenient_calls, strict_call, write_call};
use super::found::{Found, any_json, plain_words, skip_space, trimmed};
use super::json::{DuplicateKeys, Reader, failure};

const TAG: &str = "<|python_tag|>";
const SHAPE: Shape = Shape { arguments: "parameters", id: false };

/// The words with which Llama 3.1's and 3.2's templates list tools, in front of the first request.
pub(super) fn words(tools: &[String]) -> String {
    let lines: String = tools.iter().map(|t| format!("{t}\n\n")).collect();
    format!(
        "Given the following functions, please respond with a JSON for a function call with its proper arguments that best answers \
         the given prompt.\n\nRespond in the format {{\"name\": function name, \"parameters\": dictionary of argument name and its \
         value}}.Do not use variables.\n\n{lines}"
    )
}

pub(super) fn write(calls: &[ToolCall]) -> String {
    let mut out = String::new();
    for (i, call) in calls.iter().enumerate() {
        out.push_str(if i > 0 { "; " } else { "" });
        write_call(call, SHAPE, &mut out);
    }
    out
}

pub(super) fn starts_like_calls(text: &str) -> bool {
    let text = text.trim_start();
    text.strip_prefix(TAG).unwrap_or(text).trim_start().starts_with('{')
}

pub(super) fn strict(text: &str) -> Result<Vec<ToolCall>, ParseFailure> {
    let (start, end) = trimmed(text);
    let text = &text[..end];
    if plain_words(text, &[TAG]) {
        return Ok(Vec::new());
    }
    let start = if text[start..].starts_with(TAG) { skip_space(text, start + TAG.len()) } else { start };
    if !text[start..].starts_with('{') {
        return failure(start, "text before the calls: expected `{`");
    }
    let mut reader = Reader::at(text, start, DuplicateKeys::Refuse);
    let mut calls = Vec::new();
    loop {
        calls.push(strict_call(&mut reader, 0, SHAPE)?);
        if reader.peek().is_none() {
            return Ok(calls);
        }
        if !reader.take(b';') {
            return failure(reader.position(), "text after a call: expected `;` or the end");
        }
    }
}

/// The first object that makes a call, with those that follow it behind `;`, `,` or white space; or the first list.
pub(super) fn lenient(text: &str) -> Option<Found> {
    let mut found = any_json(text)?;
    let start = found.start;
    loop {
        let end = start + found.bytes;
        let rest = text[end..].trim_start_matches([';', ',', ' ', '\n', '\t']);
        if !rest.starts_with('{') {
            return Some(found);
        }
        let mut reader = Reader::at(text, text.len() - rest.len(), DuplicateKeys::LastWins);
        let Some(next) = reader.value(0).ok().and_then(lenient_calls) else { return Some(found) };
        found.calls.extend(next);
        found.bytes = reader.position() - start;
    }
}
