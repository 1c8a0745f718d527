//! Station *prompt* (messages) and *tool call* (text to calls), one file per chat format.
//!
//! In: a problem, or the text a model wrote. Out: chat messages, or calls or a named failure with its position.
//! Does not tokenise, apply chat templates or judge whether calls are right.
//!
//! What all strict readings share: the whole text, white space around it aside, is calls of the format and nothing else; words that
//! attempt no call (no bracket, brace or marker) are no call; everything else is a failure. Two keys of one name are a failure.
//! Lenient readings take what can be understood wherever it stands. Both are linear in the text and bounded in depth.

pub mod bare_json;
mod call_object;
mod conversation;
mod examples;
mod found;
mod functiongemma;
mod hermes;
pub mod json;
mod lfm2;
mod llama_json;
mod mistral;
mod prompt;
mod python;
mod python_write;
mod pythonic;
pub mod signature;
mod smollm2;

pub use prompt::{Prompt, Style, function, render, speaks};

use found::Found;
use whetstone_domain::{ExpectedAnswer, Message, ParseFailure, ParseReport, Problem, Tool, ToolCall, ToolResult, config::Format};

/// What a warm start writes for no call in formats that have no empty list.
const REFUSAL: &str = "None of the functions can do that.";

/// The strict reading: calls, none for a refusal, or where and why it fails.
pub fn strict(format: Format, text: &str) -> Result<Vec<ToolCall>, ParseFailure> {
    match format {
        Format::BareJson => bare_json::strict(text),
        Format::Hermes => hermes::strict(text),
        Format::Smollm2 => smollm2::strict(text),
        Format::LlamaJson => llama_json::strict(text),
        Format::Pythonic => pythonic::strict(text),
        Format::Functiongemma => functiongemma::strict(text),
        Format::Lfm2 => lfm2::strict(text),
        Format::Mistral => mistral::strict(text),
    }
}

fn found(format: Format, text: &str) -> Option<Found> {
    match format {
        Format::BareJson => bare_json::lenient(text),
        Format::Hermes => hermes::lenient(text),
        Format::Smollm2 => smollm2::lenient(text),
        Format::LlamaJson => llama_json::lenient(text),
        Format::Pythonic => pythonic::lenient(text),
        Format::Functiongemma => functiongemma::lenient(text),
        Format::Lfm2 => lfm2::lenient(text),
        Format::Mistral => mistral::lenient(text),
    }
}

/// The lenient reading alone: calls that a forgiving reader finds anywhere; none when it finds none.
pub fn lenient(format: Format, text: &str) -> Option<Vec<ToolCall>> {
    found(format, text).map(|found| found.calls)
}

/// Both readings of a model's text. A text that stopped at its length limit is not judged here (see `outcome::judge`).
pub fn parse(format: Format, text: &str) -> ParseReport {
    let strict = strict(format, text);
    let lenient = match &strict {
        Ok(calls) => Some(calls.clone()),
        Err(_) => lenient(format, text),
    };
    ParseReport { strict, lenient }
}

/// Share of the text before its first error, in [0, 1]; 1 if there is none, 0 for plain words.
/// A text that ends too early lacks at least one character, so it stays below 1.
pub fn parse_progress(format: Format, text: &str) -> f64 {
    if format == Format::BareJson {
        return bare_json::parse_progress(text);
    }
    let start = text.len() - text.trim_start().len();
    let length = text.trim().len();
    match strict(format, text) {
        Ok(calls) => f64::from(u8::from(!calls.is_empty() || starts_like_calls(format, text))),
        Err(failure) => {
            let position = failure.position.saturating_sub(start).min(length);
            position as f64 / (length + usize::from(position == length)).max(1) as f64
        }
    }
}

/// Share of the text's bytes that belong to the calls which the forgiving reader finds, in [0, 1]; 0 if it finds none.
pub fn call_share(format: Format, text: &str) -> f64 {
    let text = text.trim();
    found(format, text).map_or(0.0, |found| found.bytes as f64 / text.len().max(1) as f64)
}

/// True when the text begins as an answer with calls begins.
pub fn starts_like_calls(format: Format, text: &str) -> bool {
    match format {
        Format::BareJson => text.trim_start().starts_with(['{', '[']),
        Format::Hermes | Format::Smollm2 => hermes::starts_like_calls(text),
        Format::LlamaJson => llama_json::starts_like_calls(text),
        Format::Pythonic => pythonic::starts_like_calls(text),
        Format::Functiongemma => functiongemma::starts_like_calls(text),
        Format::Lfm2 => lfm2::starts_like_calls(text),
        Format::Mistral => text.trim_start().starts_with(mistral::OPEN),
    }
}

/// The canonical completion that makes these calls: what a warm start learns to write.
pub fn write(format: Format, calls: &[ToolCall]) -> String {
    match format {
        Format::BareJson => bare_json::write(calls),
        Format::Smollm2 => smollm2::write(calls),
        Format::Pythonic => pythonic::write(calls),
        _ if calls.is_empty() => REFUSAL.to_owned(),
        Format::Hermes => hermes::write(calls),
        Format::LlamaJson => llama_json::write(calls),
        Format::Functiongemma => functiongemma::write(calls),
        Format::Lfm2 => lfm2::write(calls),
        Format::Mistral => mistral::write(calls),
    }
}

/// The messages that show the model what its calls gave, in their order: turns of tools where `native` says that the model's own
/// template shows them in this format, else one turn of the user.
pub fn results(format: Format, native: bool, results: &[ToolResult]) -> Vec<Message> {
    conversation::results(format, native, results)
}

/// The forms in which a prompt may show a tool: what must hold no control token of the model.
pub fn shown(tool: &Tool) -> [String; 3] {
    let mut json = String::new();
    json::write_value(&function(tool), &mut json);
    [format!("{}\n{}", tool.name, tool.description), signature::signature(tool), json]
}

/// Checks that the format can write calls of every offered tool and the expected calls so that its strict reading gives them back;
/// where tools run, call by call, and that the answer reads as words.
pub fn can_write(format: Format, problem: &Problem) -> Result<(), String> {
    let name = format.name();
    for tool in &problem.tools {
        let bare = [ToolCall { name: tool.name.clone(), arguments: Default::default() }];
        if strict(format, &write(format, &bare)).as_deref() != Ok(&bare) {
            return Err(format!("format {name} cannot write a call of tool {:?}", tool.name));
        }
    }
    let expected = crate::matching::canonical(problem);
    let whole = |calls: &[ToolCall]| match strict(format, &write(format, calls)) {
        Ok(read) if read == calls => Ok(()),
        Ok(_) => Err(format!("format {name} cannot write the expected calls: they read back as others")),
        Err(e) => Err(format!("format {name} cannot write the expected calls: {}", e.reason)),
    };
    if !problem.is_conversation() {
        return whole(&expected);
    }
    expected.iter().try_for_each(|call| whole(std::slice::from_ref(call)))?;
    match strict(format, &problem.answer.as_ref().map(ExpectedAnswer::spoken).unwrap_or_default()) {
        Ok(calls) if calls.is_empty() => Ok(()),
        _ => Err(format!("in format {name} the expected answer does not read as words")),
    }
}

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod tests;
