//! Format `functiongemma`: `<start_function_call>call:f{a:<escape>x<escape>,b:2}<end_function_call>`, one such block a call.
//!
//! Strict: such blocks and nothing else, white space between them, and at the end perhaps the token that would begin a result, at
//! which the model stops; or plain words, which is no call. Strings stand between
//! `<escape>` tokens and know no escapes, so one that holds `<escape>` cannot be written.

use serde_json::{Map, Number, Value};
use whetstone_domain::{ParseFailure, Tool, ToolCall};

use super::found::{Found, any_json, behind_markers, plain_words, skip_space, trimmed};
use super::json::{MAX_DEPTH, failure};

pub(super) const OPEN: &str = "<start_function_call>";
const CLOSE: &str = "<end_function_call>";
/// Ends a turn of the model as its end-of-turn token does; results stand behind it.
const RESPONSE: &str = "<start_function_response>";
const ESCAPE: &str = "<escape>";

/// The trigger sentence of the model, and its declarations or signatures.
pub(super) fn words(tools: &[String]) -> String {
    format!("You are a model that can do function calling with the following functions{}", tools.concat())
}

/// A tool as the model's template declares it; `schema` is its parameters as JSON Schema.
pub(super) fn declaration(tool: &Tool, schema: &Value) -> String {
    let mut out = format!("<start_function_declaration>declaration:{}{{description:", tool.name);
    text(&tool.description, &mut out);
    out.push_str(",parameters:");
    parameters(schema, &mut out);
    out + "}<end_function_declaration>"
}

fn text(text: &str, out: &mut String) {
    for part in [ESCAPE, text, ESCAPE] {
        out.push_str(part);
    }
}

/// One schema: description, enum, items, properties, required, type, in this order; other keywords are left out.
fn parameters(schema: &Value, out: &mut String) {
    let mut first = true;
    let mut key = |name: &str, out: &mut String| {
        out.push_str(if std::mem::take(&mut first) { "{" } else { "," });
        out.push_str(name);
        out.push(':');
    };
    if let Some(description) = schema.get("description").and_then(Value::as_str) {
        key("description", out);
        text(description, out);
    }
    if let Some(options) = schema.get("enum").filter(|e| e.is_array()) {
        key("enum", out);
        write_value(options, out);
    }
    if let Some(items) = schema.get("items").filter(|i| i.is_object()) {
        key("items", out);
        parameters(items, out);
    }
    if let Some(Value::Object(properties)) = schema.get("properties") {
        key("properties", out);
        out.push('{');
        for (i, (name, property)) in sorted(properties).into_iter().enumerate() {
            out.push_str(if i > 0 { "," } else { "" });
            out.push_str(name);
            out.push(':');
            parameters(property, out);
        }
        out.push('}');
    }
    if let Some(required) = schema.get("required").filter(|r| r.as_array().is_some_and(|r| !r.is_empty())) {
        key("required", out);
        write_value(required, out);
    }
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or("object");
    key("type", out);
    text(&kind.to_uppercase(), out);
    out.push('}');
}

/// Jinja's `dictsort`, which the template uses: by key, case ignored.
fn sorted(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut pairs: Vec<_> = map.iter().collect();
    pairs.sort_by_cached_key(|(k, _)| k.to_lowercase());
    pairs
}

pub(super) fn write(calls: &[ToolCall]) -> String {
    let mut out = String::new();
    for call in calls {
        out.push_str(OPEN);
        out.push_str("call:");
        out.push_str(&call.name);
        write_object(&call.arguments, &mut out);
        out.push_str(CLOSE);
    }
    out
}

fn write_object(map: &Map<String, Value>, out: &mut String) {
    out.push('{');
    for (i, (key, value)) in sorted(map).into_iter().enumerate() {
        out.push_str(if i > 0 { "," } else { "" });
        // a key with a separator in it is written as a string
        match key.chars().all(is_plain) && !key.is_empty() && !key.contains('<') {
            true => out.push_str(key),
            false => text(key, out),
        }
        out.push(':');
        write_value(value, out);
    }
    out.push('}');
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::String(s) => text(s, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => write_object(map, out),
        scalar => out.push_str(&scalar.to_string()),
    }
}

fn is_plain(c: char) -> bool {
    !(c.is_whitespace() || c.is_control() || matches!(c, '{' | '}' | '[' | ']' | ',' | ':'))
}

pub(super) fn starts_like_calls(text: &str) -> bool {
    text.trim_start().starts_with(OPEN)
}

pub(super) fn strict(text: &str) -> Result<Vec<ToolCall>, ParseFailure> {
    let (start, end) = trimmed(text);
    let text = &text[..end];
    if plain_words(text, &[OPEN, CLOSE]) {
        return Ok(Vec::new());
    }
    let mut reader = Reader { text, pos: start, bare_strings: false };
    let mut calls = Vec::new();
    loop {
        if !text[reader.pos..].starts_with(OPEN) {
            let place = if calls.is_empty() { "before the calls" } else { "after a call" };
            return failure(reader.pos, format!("text {place}: expected {OPEN}"));
        }
        reader.pos += OPEN.len();
        calls.push(reader.call()?);
        if !text[reader.pos..].starts_with(CLOSE) {
            return failure(reader.pos, format!("expected {CLOSE}"));
        }
        reader.pos = skip_space(text, reader.pos + CLOSE.len());
        if matches!(&text[reader.pos..], "" | RESPONSE) {
            return Ok(calls);
        }
    }
}

/// Every block that holds a call, closed or not, strings without `<escape>` taken; else the first JSON that makes calls.
pub(super) fn lenient(text: &str) -> Option<Found> {
    let marked = behind_markers(text, OPEN, |at| {
        let mut reader = Reader { text, pos: at, bare_strings: true };
        let calls = reader.call().ok().map(|call| vec![call]);
        let end = reader.pos;
        (end + if text[end..].starts_with(CLOSE) { CLOSE.len() } else { 0 }, calls)
    });
    marked.or_else(|| any_json(text))
}

struct Reader<'a> {
    text: &'a str,
    pos: usize,
    /// Take a word that is no literal for a string.
    bare_strings: bool,
}

type Read<T> = Result<T, ParseFailure>;

impl<'a> Reader<'a> {
    fn take(&mut self, word: &str) -> bool {
        self.pos = skip_space(self.text, self.pos);
        let is = self.text[self.pos..].starts_with(word);
        self.pos += if is { word.len() } else { 0 };
        is
    }

    fn unexpected<T>(&self, wanted: &str) -> Read<T> {
        match self.text[self.pos..].chars().next() {
            Some(c) => failure(self.pos, format!("expected {wanted}, found {c:?}")),
            None => failure(self.pos, format!("expected {wanted}, but the text ends")),
        }
    }

    fn call(&mut self) -> Read<ToolCall> {
        if !self.take("call:") {
            return self.unexpected("`call:`");
        }
        let name = self.plain();
        if name.is_empty() {
            return self.unexpected("a tool's name");
        }
        if !self.take("{") {
            return self.unexpected("`{`");
        }
        let arguments = self.object(1)?;
        Ok(ToolCall { name: name.to_owned(), arguments })
    }

    /// A run of characters that are no separators, up to a token of the format.
    fn plain(&mut self) -> &'a str {
        let rest = &self.text[self.pos..];
        let end = rest.find(|c| !is_plain(c) || c == '<').unwrap_or(rest.len());
        self.pos += end;
        &rest[..end]
    }

    fn string(&mut self) -> Read<String> {
        match self.text[self.pos..].split_once(ESCAPE) {
            Some((inside, _)) => {
                self.pos += inside.len() + ESCAPE.len();
                Ok(inside.to_owned())
            }
            None => failure(self.text.len(), "the text ends inside a string: expected <escape>"),
        }
    }

    fn object(&mut self, depth: usize) -> Read<Map<String, Value>> {
        let mut map = Map::new();
        if self.take("}") {
            return Ok(map);
        }
        loop {
            let escaped = self.take(ESCAPE);
            let at = self.pos;
            let key = if escaped { self.string()? } else { self.plain().to_owned() };
            if key.is_empty() && !escaped {
                return self.unexpected("an argument's name");
            }
            if !self.take(":") {
                return self.unexpected("`:`");
            }
            let value = self.value(depth)?;
            if map.insert(key, value).is_some() {
                return failure(at, "a key occurs twice");
            }
            if self.take("}") {
                return Ok(map);
            }
            if !self.take(",") {
                return self.unexpected("`,` or `}`");
            }
        }
    }

    fn list(&mut self, depth: usize) -> Read<Vec<Value>> {
        let mut list = Vec::new();
        if self.take("]") {
            return Ok(list);
        }
        loop {
            list.push(self.value(depth)?);
            if self.take("]") {
                return Ok(list);
            }
            if !self.take(",") {
                return self.unexpected("`,` or `]`");
            }
        }
    }

    /// Reads one value; `depth` is the count of lists and objects around it.
    fn value(&mut self, depth: usize) -> Read<Value> {
        if self.take(ESCAPE) {
            return self.string().map(Value::String);
        }
        let at = self.pos;
        if depth >= MAX_DEPTH && self.text[at..].starts_with(['{', '[']) {
            return failure(at, format!("nested deeper than {MAX_DEPTH} levels"));
        }
        if self.take("{") {
            return self.object(depth + 1).map(Value::Object);
        }
        if self.take("[") {
            return self.list(depth + 1).map(Value::Array);
        }
        let rest = &self.text[at..];
        let word = rest[..rest.find([',', '}', ']', '<']).unwrap_or(rest.len())].trim_end();
        self.pos += word.len();
        match word {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            "null" | "None" => Ok(Value::Null),
            "" => self.unexpected("a value"),
            _ => match number(word) {
                Some(number) => Ok(Value::Number(number)),
                None if self.bare_strings => Ok(Value::String(word.to_owned())),
                None => failure(at, "a string must stand between <escape> and <escape>"),
            },
        }
    }
}

/// A JSON number.
fn number(word: &str) -> Option<Number> {
    word.starts_with(|c: char| c == '-' || c.is_ascii_digit()).then(|| serde_json::from_str(word).ok()).flatten()
}
