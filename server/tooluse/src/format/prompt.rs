//! Station *prompt*, the words: a problem as chat messages, with its tools listed where the format lists them.
//!
//! In: a problem, a style, and whether the model's own chat template lists tools in this format. Out: messages, and the tools for
//! the template where it does the listing. It renders no template.

use serde_json::{Value, json};
use whetstone_domain::{
    Message, Problem, Role, RunConfig, Tool,
    config::{Format, MAX_WORKED_EXAMPLES, ToolListing},
};

use super::json::write_value;
use super::signature::signature;
use super::{bare_json, conversation, examples, functiongemma, hermes, lfm2, llama_json, mistral, pythonic, smollm2, write};
use crate::schema::json_schema;

/// How prompts of a run are worded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Format of tools and calls.
    pub format: Format,
    /// How tools are listed.
    pub tool_listing: ToolListing,
    /// Worked examples, at most [`MAX_WORKED_EXAMPLES`].
    pub worked_examples: usize,
}

impl Style {
    /// What a format does by itself.
    pub fn of(format: Format) -> Self {
        let worked_examples = if format == Format::BareJson { MAX_WORKED_EXAMPLES } else { 0 };
        Self { format, tool_listing: ToolListing::Auto, worked_examples }
    }

    /// What a run asks for.
    pub fn of_config(config: &RunConfig) -> Self {
        let own = Self::of(config.format);
        Self { tool_listing: config.tool_listing, worked_examples: config.worked_examples.unwrap_or(own.worked_examples), ..own }
    }
}

/// What the model is asked, before its chat template.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// The messages.
    pub messages: Vec<Message>,
    /// Tools for the template to list, as `{"type": "function", "function": {..}}`; empty where the messages list them.
    pub tools: Vec<Value>,
}

/// True when a chat template that lists tools at all lists them, and asks for calls, in this format.
pub fn speaks(format: Format, template: &str) -> bool {
    match format {
        Format::BareJson | Format::Pythonic => false,
        Format::Hermes => template.contains(hermes::OPEN) && !template.contains("<tool_call>[") && !template.contains("<function="),
        Format::Smollm2 => template.contains("<tool_call>["),
        Format::LlamaJson => template.contains("\"parameters\": ") && template.contains("<|eot_id|>"),
        Format::Functiongemma => template.contains(functiongemma::OPEN),
        Format::Lfm2 => template.contains("List of tools: "),
        Format::Mistral => template.contains(mistral::OPEN),
    }
}

/// The prompt of a problem. `native`: the model's own chat template lists tools in this format (see [`speaks`]).
///
/// In `bare_json` all that differs between problems is in the last message, so that prompts share the longest token prefix; the
/// other formats list tools where their models were trained to find them.
pub fn render(style: Style, native: bool, problem: &Problem) -> Prompt {
    let json = match style.tool_listing {
        ToolListing::Json => true,
        ToolListing::Signature => false,
        ToolListing::Auto => style.format != Format::BareJson,
    };
    if style.format == Format::BareJson {
        let line = |tool: &Tool| bare_line(tool, json);
        let messages = match problem.is_conversation() {
            true => conversation::render(problem, style.worked_examples > 0, line),
            false => bare_json::render(problem, style.worked_examples, line),
        };
        return Prompt { messages, tools: Vec::new() };
    }
    let mut messages = problem.messages.clone();
    if problem.is_conversation() {
        match style.format {
            // their templates know no system message, or list tools in it
            Format::LlamaJson | Format::Mistral => {
                in_front(messages.iter_mut().rfind(|m| m.role == Role::User), &format!("{}\n\n", conversation::NOTE));
            }
            _ => into_system(&mut messages, conversation::NOTE, Place::After),
        }
    }
    let examples = worked_examples(style);
    if native && style.tool_listing == ToolListing::Auto {
        if !examples.is_empty() {
            into_system(&mut messages, &examples, Place::After);
        }
        return Prompt { messages, tools: problem.tools.iter().map(function).collect() };
    }
    let words = |text: String| format!("{text}{}", if examples.is_empty() { String::new() } else { format!("\n\n{examples}") });
    match style.format {
        Format::Hermes | Format::BareJson => into_system(&mut messages, &words(hermes::words(&lines(problem, json))), Place::After),
        Format::Smollm2 => into_system(&mut messages, &words(smollm2::words(&list(&lines(problem, json), json))), Place::Before),
        Format::Pythonic => {
            let tools: Vec<String> = problem.tools.iter().map(|t| bare_line(t, json)).collect();
            into_system(&mut messages, &words(pythonic::words(&list(&tools, json))), Place::Before);
        }
        Format::Lfm2 => into_system(&mut messages, &words(lfm2::words(&list(&lines(problem, json), json))), Place::After),
        Format::Functiongemma => {
            let declared = |tool: &Tool| match json {
                true => functiongemma::declaration(tool, &parameters(tool)),
                false => format!("\n{}", signature(tool)),
            };
            let tools: Vec<String> = problem.tools.iter().map(declared).collect();
            into_system(&mut messages, &words(functiongemma::words(&tools)), Place::Before);
        }
        Format::LlamaJson => {
            let tools: Vec<String> = match json {
                true => problem.tools.iter().map(|t| indented(&function(t))).collect(),
                false => lines(problem, false),
            };
            let mut text = llama_json::words(&tools);
            if !examples.is_empty() {
                text.push_str(&format!("{examples}\n\n"));
            }
            let first = messages.iter_mut().find(|m| m.role == Role::User);
            in_front(first, &text);
        }
        Format::Mistral => {
            let mut text = mistral::words(&list(&lines(problem, json), json));
            if !examples.is_empty() {
                text.push_str(&format!("{examples}\n\n"));
            }
            let last = messages.iter_mut().rfind(|m| m.role == Role::User);
            in_front(last, &text);
        }
    }
    Prompt { messages, tools: Vec::new() }
}

enum Place {
    Before,
    After,
}

/// Puts words into the system message, before or after what the problem's own says.
fn into_system(messages: &mut Vec<Message>, words: &str, place: Place) {
    match messages.first_mut().filter(|m| m.role == Role::System) {
        Some(system) => {
            system.content = match place {
                Place::Before => format!("{words}\n\n{}", system.content),
                Place::After => format!("{}\n\n{words}", system.content),
            }
        }
        None => messages.insert(0, Message::new(Role::System, words)),
    }
}

fn in_front(message: Option<&mut Message>, words: &str) {
    if let Some(message) = message {
        message.content = format!("{words}{}", message.content.trim());
    }
}

/// Worked examples as a paragraph of the instructions: their tools are offered nowhere else.
fn worked_examples(style: Style) -> String {
    let mut paragraphs = Vec::new();
    for example in examples::last(style.worked_examples) {
        let listing: String = example.tools.iter().map(|t| format!("Function: {}\n", signature(t))).collect();
        paragraphs.push(format!("{listing}Request: {}\nAnswer: {}", example.request, write(style.format, &example.calls)));
    }
    match paragraphs.is_empty() {
        true => String::new(),
        false => format!("Examples, with functions that are not offered here:\n\n{}", paragraphs.join("\n\n")),
    }
}

/// A tool as OpenAI's API and every chat template have it, its schema in JSON Schema's own words.
pub fn function(tool: &Tool) -> Value {
    json!({"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": parameters(tool)}})
}

/// A tool's schema as an object schema, whatever it leaves out.
fn parameters(tool: &Tool) -> Value {
    let mut schema = json!({"type": "object", "properties": {}});
    if let (Some(whole), Value::Object(given)) = (schema.as_object_mut(), json_schema(&tool.parameters)) {
        whole.extend(given);
    }
    schema
}

fn compact(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

/// As `json.dumps(value, indent=4)`.
fn indented(value: &Value) -> String {
    let mut out = Vec::new();
    let style = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, style);
    match serde::Serialize::serialize(value, &mut serializer) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        Err(_) => compact(value),
    }
}

/// A tool without the wrapping that says it is a function.
fn bare_line(tool: &Tool, json: bool) -> String {
    match json {
        true => compact(&json!({"name": tool.name, "description": tool.description, "parameters": parameters(tool)})),
        false => signature(tool),
    }
}

fn lines(problem: &Problem, json: bool) -> Vec<String> {
    problem.tools.iter().map(|t| if json { compact(&function(t)) } else { signature(t) }).collect()
}

/// A JSON list, or one signature a line.
fn list(lines: &[String], json: bool) -> String {
    if json { format!("[{}]", lines.join(", ")) } else { lines.join("\n") }
}

#[cfg(test)]
#[path = "golden_tests.rs"]
mod golden_tests;
#[cfg(test)]
#[path = "prompt_tests.rs"]
mod tests;
