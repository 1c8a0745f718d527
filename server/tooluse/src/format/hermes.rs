//! Format `hermes`: one `<tool_call>` tag a call, each with one JSON object (Qwen2.5, Qwen3, Hermes 2 and 3, SmolLM3, Granite 4).
//!
//! Strict: nothing but such tags, white space between them, and a `<think>` block before them; or plain words, which is no call.

use whetstone_domain::{ParseFailure, ToolCall};

use super::call_object::{ARGUMENTS, lenient_calls, strict_call, write_call};
use super::found::{Found, after_thinking, any_json, behind_markers, plain_words, skip_space, trimmed};
use super::json::{DuplicateKeys, Reader, failure};

pub(super) const OPEN: &str = "<tool_call>";
pub(super) const CLOSE: &str = "</tool_call>";

/// The words with which Qwen2.5's and Qwen3's templates list tools; what stands between the tags is one tool a line.
pub(super) fn words(tools: &[String]) -> String {
    let lines: String = tools.iter().map(|t| format!("\n{t}")).collect();
    format!(
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures \
         within <tools></tools> XML tags:\n<tools>{lines}\n</tools>\n\nFor each function call, return a json object with function \
         name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{{\"name\": <function-name>, \"arguments\": \
         <args-json-object>}}\n</tool_call>"
    )
}

pub(super) fn write(calls: &[ToolCall]) -> String {
    let mut out = String::new();
    for call in calls {
        out.push_str(if out.is_empty() { "<tool_call>\n" } else { "\n<tool_call>\n" });
        write_call(call, ARGUMENTS, &mut out);
        out.push_str("\n</tool_call>");
    }
    out
}

pub(super) fn starts_like_calls(text: &str) -> bool {
    let start = trimmed(text).0;
    after_thinking(text, start).is_ok_and(|at| text[at..].starts_with(OPEN))
}

pub(super) fn strict(text: &str) -> Result<Vec<ToolCall>, ParseFailure> {
    let (start, end) = trimmed(text);
    let text = &text[..end];
    let mut pos = after_thinking(text, start)?;
    if plain_words(&text[pos..], &[OPEN, CLOSE]) {
        return Ok(Vec::new());
    }
    let mut calls = Vec::new();
    loop {
        if !text[pos..].starts_with(OPEN) {
            let place = if calls.is_empty() { "before the calls" } else { "after a call" };
            return failure(pos, format!("text {place}: expected {OPEN}"));
        }
        let mut reader = Reader::at(text, pos + OPEN.len(), DuplicateKeys::Refuse);
        calls.push(strict_call(&mut reader, 0, ARGUMENTS)?);
        reader.peek();
        pos = reader.position();
        if !text[pos..].starts_with(CLOSE) {
            return failure(pos, format!("expected {CLOSE}"));
        }
        pos = skip_space(text, pos + CLOSE.len());
        if pos == text.len() {
            return Ok(calls);
        }
    }
}

/// Every tag that holds calls, closed or not; without any, the first JSON that makes calls.
pub(super) fn lenient(text: &str) -> Option<Found> {
    let tagged = behind_markers(text, OPEN, |at| {
        let mut reader = Reader::at(text, at, DuplicateKeys::LastWins);
        let calls = reader.value(0).ok().and_then(lenient_calls);
        reader.peek();
        let end = reader.position();
        (end + if text[end..].starts_with(CLOSE) { CLOSE.len() } else { 0 }, calls)
    });
    tagged.or_else(|| any_json(text))
}
