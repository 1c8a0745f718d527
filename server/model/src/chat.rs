//! Station *prompt*, first half: messages to text by the base's own chat template.
//!
//! In: the Jinja source that ships with a model, and messages. Out: the text that transformers'
//! `apply_chat_template(.., enable_thinking=False)` gives, byte for byte. It does not tokenise and knows no tool format: tools are handed to
//! the template as they come.

use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value, context};
use serde_json::json;
use whetstone_domain::{Message, Role};

use crate::error::{ModelError, Result};
use crate::python_json::dumps;

/// A compiled chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    source: String,
    bos: String,
    eos: String,
    lists_tools: bool,
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles `source`; `bos` and `eos` are the texts of those tokens (empty where there is none).
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self> {
        // The settings of transformers' `_compile_jinja_template`.
        let syntax =
            SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|e| ModelError::Template(e.to_string()))?;
        let mut environment = Environment::new();
        environment.set_syntax(syntax);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", tojson);
        environment.add_filter("string", python_text);
        environment.set_formatter(|out, state, value| match value.kind() {
            ValueKind::Bool | ValueKind::None => write!(out, "{}", python_text(value)).map_err(Error::from),
            _ => minijinja::escape_formatter(out, state, value),
        });
        environment
            .add_template_owned(NAME, without_generation_tags(source))
            .map_err(|e| ModelError::Template(format!("does not parse: {e}")))?;
        let mut template = Self {
            environment: Arc::new(environment),
            source: source.to_owned(),
            bos: bos.to_owned(),
            eos: eos.to_owned(),
            lists_tools: false,
        };
        template.lists_tools = template.shows_a_probe();
        Ok(template)
    }

    /// Whether a tool that is handed to the template occurs in what it renders.
    fn shows_a_probe(&self) -> bool {
        const PROBE: &str = "probe_whether_tools_are_listed";
        let parameters = json!({"type": "object", "properties": {}});
        let tool = json!({"type": "function", "function": {"name": PROBE, "description": "Probes", "parameters": parameters}});
        let messages = [Message::new(Role::User, "Hello")];
        self.render_with_tools(&messages, &[tool], true).is_ok_and(|text| text.contains(PROBE))
    }

    /// True when the template lists the tools it is given, so that prompts need not.
    pub fn lists_tools(&self) -> bool {
        self.lists_tools
    }

    /// The text of `messages`, ending where the assistant begins to speak if
    /// `add_generation_prompt`.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        self.render_with_tools(messages, &[], add_generation_prompt)
    }

    /// [`ChatTemplate::render`] with tools in the form of OpenAI's API, `{"type": "function", "function": {..}}`; none given is
    /// transformers' `tools=None`.
    pub fn render_with_tools(&self, messages: &[Message], tools: &[serde_json::Value], add_generation_prompt: bool) -> Result<String> {
        self.render_values(Value::from(Serde(messages)), tools, add_generation_prompt)
    }

    /// The text of messages as transformers takes them, with `tool_calls` and whatever else the template knows.
    pub fn render_json(&self, messages: &[serde_json::Value], tools: &[serde_json::Value], add_generation_prompt: bool) -> Result<String> {
        self.render_values(Value::from(Serde(messages)), tools, add_generation_prompt)
    }

    fn render_values(&self, messages: Value, tools: &[serde_json::Value], add_generation_prompt: bool) -> Result<String> {
        let variables = context! {
            messages => messages,
            add_generation_prompt => add_generation_prompt,
            tools => if tools.is_empty() { Value::from(()) } else { Value::from(Serde(tools)) },
            documents => (),
            enable_thinking => false, // answers are short; Qwen3 would think first
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
        };
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(variables))
            .map_err(|e| ModelError::Template(format!("cannot render these messages: {e}")))
    }

    /// True when the template shows a turn of a tool, so that results need not be said by the user.
    pub fn shows_tool_turns(&self) -> bool {
        const PROBE: &str = "probe_whether_results_are_shown";
        self.between(&[Message::new(Role::Tool, PROBE)]).is_ok_and(|text| text.contains(PROBE))
    }

    /// The text between the assistant's words and its next turn, when `said` is said in between: the end of its turn, the
    /// messages, the beginning of the next turn. Rendered around a stand-in for those words, so that a template which changes or
    /// leaves out what was said before changes nothing here.
    pub fn between(&self, said: &[Message]) -> Result<String> {
        const WORDS: &str = "Wh3tst0n3Stand1n";
        let before = [Message::new(Role::User, "?"), Message::new(Role::Assistant, WORDS)];
        let text = self.render(&[&before, said].concat(), true)?;
        match text.split_once(WORDS) {
            Some((_, after)) => Ok(after.to_owned()),
            None => Err(ModelError::Template("does not show what the assistant said, so a conversation cannot go on".into())),
        }
    }

    /// The Jinja source as it came with the model.
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// What Python's `str` makes of it: `True`, `False` and `None` where minijinja would write them small.
fn python_text(value: &Value) -> Value {
    match value.kind() {
        ValueKind::Bool => Value::from(if value.is_true() { "True" } else { "False" }),
        ValueKind::None => Value::from("None"),
        ValueKind::String => value.clone(),
        _ => Value::from(value.to_string()),
    }
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The day that every prompt is written on: a prompt must not change with the date it is made.
const TODAY: [(char, &str); 9] =
    [('d', "26"), ('b', "Jul"), ('B', "July"), ('m', "07"), ('Y', "2024"), ('y', "24"), ('H', "00"), ('M', "00"), ('S', "00")];

/// `strftime_now` of transformers, fixed to 26 July 2024 (the default of Llama 3.2's template).
fn strftime_now(format: String) -> Result<String, Error> {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let directive = chars.next();
        match TODAY.iter().find(|(name, _)| Some(*name) == directive) {
            Some((_, text)) => out.push_str(text),
            None => {
                let message = format!("strftime_now: `{format}` uses an unknown directive");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
    }
    Ok(out)
}

/// `tojson` of transformers: Python's separators, no HTML escapes, non-ASCII kept.
fn tojson(value: &Value, kwargs: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    if kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false) {
        let message = "tojson: ensure_ascii=true is not supported";
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    kwargs.assert_all_used()?;
    let fail = |e| Error::new(ErrorKind::InvalidOperation, "cannot write as JSON").with_source(e);
    dumps(value, indent).map_err(fail)
}

/// `{% generation %}` marks the model's own text for transformers' masks and renders as nothing;
/// here it becomes a block that is always taken, so that its whitespace control still counts.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else { break };
        let (tag, after) = (&rest[start..start + length + 2], &rest[start + length + 2..]);
        let inner = tag[2..tag.len() - 2].trim_matches(['-', '+']).trim();
        out.push_str(&rest[..start]);
        match inner {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}
