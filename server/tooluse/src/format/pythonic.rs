//! Format `pythonic`: a Python list of calls, `[f(a=1), g(b="x")]`; `[]` for no call (Llama 3.2 and 4, ToolACE, BFCL's own prompt).
//!
//! Strict: that list, or one call without its brackets, and nothing else; or plain words, which is no call. Literals only: nothing
//! is evaluated, and an argument without its name is an error (BFCL drops it silently).

use whetstone_domain::{ParseFailure, ToolCall};

use super::found::{Budget, Found, any_json, plain_words, trimmed};
use super::json::failure;
use super::python::{Reader, is_name};
use super::python_write::{write_calls, write_literal};

/// The words of Llama 3.2's documentation, line by line; ToolACE's and BFCL's differ in a word here and there. `tools` is a JSON list of
/// bare functions, or one signature a line.
pub(super) fn words(tools: &str) -> String {
    format!(
        "You are an expert in composing functions. You are given a question and a set of possible functions.\nBased on the question, \
         you will need to make one or more function/tool calls to achieve the purpose.\nIf none of the function can be used, point it \
         out. If the given question lacks the parameters required by the function,\nalso point it out. You should only return the \
         function call in tools call sections.\n\nIf you decide to invoke any of the function(s), you MUST put it in the format of \
         [func_name1(params_name1=params_value1, params_name2=params_value2...), func_name2(params)]\nYou SHOULD NOT include any \
         other text in the response.\n\nHere is a list of functions in JSON format that you can invoke.\n\n{tools}"
    )
}

pub(super) fn write(calls: &[ToolCall]) -> String {
    write_calls(calls, write_literal)
}

pub(super) fn starts_like_calls(text: &str) -> bool {
    let text = text.trim_start();
    text.starts_with('[') || text.find(|c| !is_name(c)).is_some_and(|at| at > 0 && text[at..].starts_with('(') && attempts_call(text))
}

pub(super) fn strict(text: &str) -> Result<Vec<ToolCall>, ParseFailure> {
    let (start, end) = trimmed(text);
    let text = &text[..end];
    if plain_words(text, &[]) && !attempts_call(text) {
        return Ok(Vec::new());
    }
    let mut reader = Reader { text, pos: start, json_words: false };
    let calls = match text[start..].starts_with('[') {
        true => reader.calls()?,
        false => vec![reader.call().map_err(|e| match e.position <= first_space(text, start) {
            true => ParseFailure { position: start, reason: "text before the calls: expected `[`".into() },
            false => e,
        })?],
    };
    match reader.peek() {
        None => Ok(calls),
        Some(_) => failure(reader.pos, "text after the calls"),
    }
}

fn first_space(text: &str, start: usize) -> usize {
    text[start..].find(char::is_whitespace).map_or(text.len(), |at| text.len().min(start + at + 1))
}

/// True where `name()` or `name(name=` stands somewhere: words such as "function(s)" are none.
pub(super) fn attempts_call(text: &str) -> bool {
    text.match_indices('(').any(|(at, _)| {
        let named = text[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let inside = text[at + 1..].trim_start();
        let key = inside.find(|c| !is_name(c)).unwrap_or(inside.len());
        named && (inside.starts_with(')') || key > 0 && inside[key..].trim_start().starts_with('='))
    })
}

pub(super) fn lenient(text: &str) -> Option<Found> {
    first_calls(text).or_else(|| any_json(text))
}

/// The first call that can be read, with those that follow it behind nothing but separators.
pub(super) fn first_calls(text: &str) -> Option<Found> {
    let mut budget = Budget::of(text);
    let mut found: Option<Found> = None;
    for (at, _) in text.match_indices('(') {
        let end = found.as_ref().map_or(0, |f| f.start + f.bytes);
        if at < end {
            continue;
        }
        let name = text[end..at].trim_end().chars().rev().take_while(|&c| is_name(c)).map(char::len_utf8).sum::<usize>();
        let start = text[end..at].trim_end().len() + end - name;
        let separated = |gap: &str| gap.chars().all(|c| c.is_whitespace() || matches!(c, ',' | ';' | '[' | ']'));
        if found.is_some() && !separated(&text[end..start]) {
            break;
        }
        let mut reader = Reader { text, pos: start, json_words: true };
        let call = reader.call();
        if let Ok(call) = call {
            match &mut found {
                Some(found) => {
                    found.calls.push(call);
                    found.bytes = reader.pos - found.start;
                }
                None => found = Some(Found { calls: vec![call], start, bytes: reader.pos - start }),
            }
        }
        if !budget.spend(reader.pos.saturating_sub(start)) {
            break;
        }
    }
    found.map(|found| with_brackets(text, found))
}

/// The brackets around a list belong to it.
fn with_brackets(text: &str, found: Found) -> Found {
    let (before, after) = (text[..found.start].trim_end(), text[found.start + found.bytes..].trim_start());
    if !before.ends_with('[') || !after.starts_with(']') {
        return found;
    }
    let (start, end) = (before.len() - 1, text.len() - after.len() + 1);
    Found { calls: found.calls, start, bytes: end - start }
}
