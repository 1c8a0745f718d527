//! Station *prompt*, first half: messages to text by the base's own chat template.
//!
//! In: the Jinja source that ships with a model, and messages. Out: the text that transformers'
//! `apply_chat_template` gives, byte for byte. It does not tokenise and knows no tool format.

use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value, context};
use serde::Serialize;
use whetstone_domain::{Message, Role};

use crate::error::{ModelError, Result};

/// A compiled chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    source: String,
    bos: String,
    eos: String,
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
        environment
            .add_template_owned(NAME, without_generation_tags(source))
            .map_err(|e| ModelError::Template(format!("does not parse: {e}")))?;
        Ok(Self { environment: Arc::new(environment), source: source.to_owned(), bos: bos.to_owned(), eos: eos.to_owned() })
    }

    /// The text of `messages`, ending where the assistant begins to speak if
    /// `add_generation_prompt`.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let variables = context! {
            messages => Value::from(Serde(messages)),
            add_generation_prompt => add_generation_prompt,
            tools => (),
            documents => (),
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
        };
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(variables))
            .map_err(|e| ModelError::Template(format!("cannot render these messages: {e}")))
    }

    /// The text between the assistant's words and its next turn, when `message` is said in between: the end of its turn, the
    /// message, the beginning of the next turn. Rendered around a stand-in for those words, so that a template which changes or
    /// leaves out what was said before changes nothing here.
    pub fn between(&self, message: &Message) -> Result<String> {
        const WORDS: &str = "Wh3tst0n3Stand1n";
        let messages = [Message::new(Role::User, "?"), Message::new(Role::Assistant, WORDS), message.clone()];
        let text = self.render(&messages, true)?;
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
    let mut out = Vec::new();
    match indent {
        Some(width) => {
            let indent = " ".repeat(width);
            let style = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, style);
            value.serialize(&mut serializer).map_err(fail)?;
        }
        None => {
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, PythonStyle);
            value.serialize(&mut serializer).map_err(fail)?;
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// `json.dumps` with its default separators `", "` and `": "`.
struct PythonStyle;

impl serde_json::ser::Formatter for PythonStyle {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
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
