//! Format `lfm2`: a Python list of calls between `<|tool_call_start|>` and `<|tool_call_end|>` (LFM2, LFM2.5).
//!
//! Strict: that and nothing else, behind an optional `<think>` block; or plain words, which is no call. Inside lists and objects the
//! model's template writes JSON, so JSON's `true`, `false` and `null` are read beside Python's words.

use serde_json::Value;
use whetstone_domain::{ParseFailure, ToolCall};

use super::found::{Found, after_thinking, any_json, behind_markers, plain_words, trimmed};
use super::json::{failure, write_value};
use super::python::Reader;
use super::python_write::{write_calls, write_literal, write_string};
use super::pythonic::{attempts_call, first_calls};

pub(super) const OPEN: &str = "<|tool_call_start|>";
const CLOSE: &str = "<|tool_call_end|>";

/// The list as LFM2's template puts it behind the system message. `tools` is a JSON list, or one signature a line.
pub(super) fn words(tools: &str) -> String {
    format!("List of tools: <|tool_list_start|>{tools}<|tool_list_end|>")
}

/// As the model's template writes past calls: single quotes, Python's words at the top, JSON inside lists and objects.
pub(super) fn write(calls: &[ToolCall]) -> String {
    let argument = |value: &Value, out: &mut String| match value {
        Value::String(text) => write_string(text, '\'', out),
        Value::Array(_) | Value::Object(_) => write_value(value, out),
        scalar => write_literal(scalar, out),
    };
    format!("{OPEN}{}{CLOSE}", write_calls(calls, argument))
}

pub(super) fn starts_like_calls(text: &str) -> bool {
    let start = trimmed(text).0;
    after_thinking(text, start).is_ok_and(|at| text[at..].starts_with(OPEN))
}

pub(super) fn strict(text: &str) -> Result<Vec<ToolCall>, ParseFailure> {
    let (start, end) = trimmed(text);
    let text = &text[..end];
    let start = after_thinking(text, start)?;
    if plain_words(&text[start..], &[OPEN, CLOSE]) && !attempts_call(&text[start..]) {
        return Ok(Vec::new());
    }
    if !text[start..].starts_with(OPEN) {
        return failure(start, format!("text before the calls: expected {OPEN}"));
    }
    let mut reader = Reader { text, pos: start + OPEN.len(), json_words: true };
    let calls = reader.calls()?;
    reader.peek();
    match text[reader.pos..].strip_prefix(CLOSE) {
        Some("") => Ok(calls),
        Some(_) => failure(reader.pos + CLOSE.len(), "text after the calls"),
        None => failure(reader.pos, format!("expected {CLOSE}")),
    }
}

pub(super) fn lenient(text: &str) -> Option<Found> {
    let marked = behind_markers(text, OPEN, |at| {
        let mut reader = Reader { text, pos: at, json_words: true };
        let calls = reader.calls().ok();
        reader.peek();
        let end = reader.pos;
        (end + if text[end..].starts_with(CLOSE) { CLOSE.len() } else { 0 }, calls)
    });
    marked.or_else(|| first_calls(text)).or_else(|| any_json(text))
}
