//! Rows that others wrote, as rows of ours: xLAM and Hammer, Seal-Tools, and what they share with OpenAI's chat format.
//!
//! In: one row as JSON. Out: a problem, or the field that is wrong and why. Expected calls are compared as JSON (matcher `exact`);
//! an argument equal to its schema's default may be left out. Python's type names become JSON Schema's, types that neither knows are
//! no constraint. A row whose expected call breaks its own tool's schema, or leaves out what that requires, is refused.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use whetstone_domain::{Accepted, Expected, ExpectedCall, Matcher, Message, Problem, Role, Tool};

use super::jsonl::{self, Bad, bad};
use crate::format::json::{DuplicateKeys, Reader};
use crate::matching::{self, python, same_text};

/// Tools that a Seal-Tools problem offers beside those it calls.
const SEAL_OTHERS: usize = 2;

pub(super) type Row = Map<String, Value>;

/// A row of `query`, `tools` and `answers`; Hammer's rows without a fitting tool have no answers.
pub(super) fn xlam(mut row: Row, line: usize) -> Result<Problem, Bad> {
    let tools = tools(row.remove("tools").unwrap_or(Value::Null), "tools")?;
    let answers = match embedded(row.remove("answers").unwrap_or(Value::Null), "answers")? {
        Value::Array(answers) => answers,
        _ => return bad("answers", "is missing or no list"),
    };
    let query = query(&mut row)?;
    problem(&mut row, line, vec![Message::new(Role::User, query)], tools, &answers, "answers")
}

fn query(row: &mut Row) -> Result<String, Bad> {
    match row.remove("query") {
        Some(Value::String(query)) => Ok(query),
        _ => bad("query", "is missing or no string"),
    }
}

/// What a file of Seal-Tools rows knows of its tools: argument names and types, from all of its calls.
#[derive(Default)]
pub(super) struct SealTools {
    tools: BTreeMap<String, Vec<(String, Option<&'static str>)>>,
    order: Vec<String>,
}

impl SealTools {
    /// Learns from a row's calls.
    pub(super) fn learn(&mut self, row: &Row) {
        for call in row.get("calling").and_then(Value::as_array).into_iter().flatten() {
            let Some(name) = call.get("api").and_then(Value::as_str) else { continue };
            if !self.tools.contains_key(name) {
                self.order.push(name.to_owned());
            }
            let known = self.tools.entry(name.to_owned()).or_default();
            for (key, value) in call.get("parameters").and_then(Value::as_object).into_iter().flatten() {
                let seen = json_type(value);
                match known.iter_mut().find(|(k, _)| k == key) {
                    None => known.push((key.clone(), seen)),
                    Some((_, kind)) if *kind == seen => {}
                    Some((_, kind)) => {
                        let numbers = [*kind, seen].iter().all(|k| matches!(k, Some("integer" | "number")));
                        *kind = numbers.then_some("number");
                    }
                }
            }
        }
    }

    fn tool(&self, name: &str) -> Tool {
        let property = |(key, kind): &(String, Option<&str>)| (key.clone(), kind.map_or_else(|| json!({}), |k| json!({"type": k})));
        let properties: Map<String, Value> = self.tools.get(name).into_iter().flatten().map(property).collect();
        Tool { name: name.to_owned(), description: String::new(), parameters: json!({"type": "object", "properties": properties}) }
    }

    /// The tools of a row: those it calls, and others of the file.
    fn offered(&self, called: &[String]) -> Vec<Tool> {
        // tools that stand together in the file often do the same: from half a file further on
        let first = called.first().and_then(|c| self.order.iter().position(|o| o == c)).unwrap_or(0) + self.order.len() / 2;
        let others = self.order.iter().cycle().skip(first).take(self.order.len()).filter(|o| !called.contains(o));
        let mut names: Vec<&String> = called.iter().chain(others.take(SEAL_OTHERS)).collect();
        names.sort();
        names.dedup();
        names.into_iter().map(|name| self.tool(name)).collect()
    }
}

/// A row of `query` and `calling`. The rows carry no tools: they are gathered from the whole file.
pub(super) fn seal(mut row: Row, line: usize, known: &SealTools) -> Result<Problem, Bad> {
    let Some(Value::Array(calling)) = row.remove("calling") else { return bad("calling", "is missing or no list") };
    let (mut calls, mut called) = (Vec::new(), Vec::new());
    for (i, call) in calling.iter().enumerate() {
        let at = format!("calling[{i}]");
        let Some(name) = call.get("api").and_then(Value::as_str) else { return bad(format!("{at}.api"), "is missing or no string") };
        let Some(parameters) = call.get("parameters").filter(|p| p.is_object()) else {
            return bad(format!("{at}.parameters"), "is missing or no object");
        };
        if parameters.to_string().contains("API_call_") {
            return bad(format!("{at}.parameters"), "needs the result of an earlier call, which one turn cannot know");
        }
        called.push(name.to_owned());
        calls.push(json!({"name": name, "arguments": parameters}));
    }
    let query = query(&mut row)?;
    let tools = known.offered(&called);
    problem(&mut row, line, vec![Message::new(Role::User, query)], tools, &calls, "calling")
}

fn json_type(value: &Value) -> Option<&'static str> {
    Some(python::Type::of(value).name()).filter(|name| *name != "null")
}

/// Text that holds JSON is read, anything else is as it is.
fn embedded(value: Value, field: &str) -> Result<Value, Bad> {
    let Value::String(text) = &value else { return Ok(value) };
    let mut reader = Reader::at(text, 0, DuplicateKeys::LastWins);
    match reader.value(0) {
        Ok(inner) if reader.peek().is_none() => Ok(inner),
        Ok(_) => bad(field, "holds text after its JSON"),
        Err(e) => bad(field, format!("holds no JSON, byte {}: {}", e.position, e.reason)),
    }
}

/// The tools of a row, as JSON or as text that holds it.
pub(super) fn tools(value: Value, field: &str) -> Result<Vec<Tool>, Bad> {
    let Value::Array(tools) = embedded(value, field)? else { return bad(field, "is missing or no list") };
    tools.into_iter().enumerate().map(|(i, tool)| one_tool(tool, &format!("{field}[{i}]"))).collect()
}

fn one_tool(mut value: Value, field: &str) -> Result<Tool, Bad> {
    let mut field = field.to_owned();
    if value.get("type").and_then(Value::as_str) == Some("function")
        && let Some(inner) = value.get_mut("function")
    {
        value = inner.take();
        field.push_str(".function");
    }
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let Some(name) = text("name") else { return bad(format!("{field}.name"), "is missing or no string") };
    let description = text("description").unwrap_or_default();
    let parameters = match value.get("parameters") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(map)) => map.clone(),
        Some(_) => return bad(format!("{field}.parameters"), "must be a JSON object"),
    };
    if !matches!(parameters.get("properties"), None | Some(Value::Null | Value::Object(_))) {
        return bad(format!("{field}.parameters.properties"), "must be a JSON object");
    }
    if of_schema(&parameters) && !matches!(parameters.get("additionalProperties"), None | Some(Value::Bool(_) | Value::Object(_))) {
        return bad(format!("{field}.parameters.additionalProperties"), "must be a boolean or a JSON object");
    }
    jsonl::tool(json!({"name": name, "description": description, "parameters": schema(parameters)}), &field)
}

/// Whether a tool's parameters are JSON Schema.
fn of_schema(map: &Map<String, Value>) -> bool {
    map.get("properties").is_some_and(Value::is_object) || map.get("type").is_some_and(|t| matches!(t.as_str(), Some("object" | "dict")))
}

/// JSON Schema of a tool's parameters: as written, or of xLAM's flat `{name: {type, description, default}}`.
fn schema(map: Map<String, Value>) -> Value {
    let of_schema = of_schema(&map);
    let (properties, listed) = if of_schema {
        let properties = map.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        (properties, map.get("required").cloned())
    } else {
        (map, None)
    };
    let mut required = Vec::new();
    let mut out = Map::new();
    for (key, mut property) in properties {
        let written = property.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        // flat parameters say "optional" in their type; a default says it too
        if listed.is_none() && !of_schema && !written.contains("optional") && property.get("default").is_none() {
            required.push(Value::from(key.as_str()));
        }
        if let Some(map) = property.as_object_mut() {
            plain_types(map, of_schema);
            if !map.get("required").is_none_or(Value::is_array) {
                map.remove("required");
            }
        }
        out.insert(key, property);
    }
    json!({"type": "object", "properties": out, "required": listed.unwrap_or(Value::Array(required))})
}

/// Python's type names to JSON Schema's, all the way down. In JSON Schema a name that says nothing of Python is kept, and found out
/// where the schema is checked.
fn plain_types(map: &mut Map<String, Value>, of_schema: bool) {
    if let Some(Value::String(name)) = map.get("type") {
        match json_name(name) {
            Some((kind, items)) => {
                map.insert("type".into(), Value::from(kind));
                if let Some(items) = items.filter(|_| !map.contains_key("items")) {
                    map.insert("items".into(), json!({"type": items}));
                }
            }
            None if of_schema && !is_python(name) => {}
            None => drop(map.shift_remove("type")),
        }
    }
    for key in ["properties", "items"] {
        match map.get_mut(key) {
            Some(Value::Object(inner)) if key == "items" => plain_types(inner, of_schema),
            Some(Value::Object(inner)) => inner.values_mut().filter_map(Value::as_object_mut).for_each(|map| plain_types(map, of_schema)),
            _ => {}
        }
    }
}

/// A type hint of Python's that stands for several types or for none that JSON has.
fn is_python(written: &str) -> bool {
    written.contains(['[', ',', '|']) || ["optional", "any", "callable", "union", "none"].contains(&written.trim().to_lowercase().as_str())
}

/// JSON Schema's name of a type, and of its items; none = no constraint.
fn json_name(written: &str) -> Option<(&'static str, Option<&'static str>)> {
    let name = written.split(',').next().unwrap_or_default().trim();
    let (outer, inner) = name.split_once('[').map_or((name, ""), |(o, i)| (o, i.trim_end_matches(']')));
    Some(match outer.to_lowercase().as_str() {
        "str" | "string" => ("string", None),
        "int" | "integer" | "long" => ("integer", None),
        "float" | "number" | "double" => ("number", None),
        "bool" | "boolean" => ("boolean", None),
        "dict" | "object" => ("object", None),
        "list" | "array" | "tuple" | "set" => ("array", json_name(inner).map(|(kind, _)| kind)),
        _ => return None,
    })
}

/// Puts a problem together; `at` is where the row has its expected calls.
pub(super) fn problem(
    row: &mut Row,
    line: usize,
    messages: Vec<Message>,
    tools: Vec<Tool>,
    calls: &[Value],
    at: &str,
) -> Result<Problem, Bad> {
    let id = match row.remove("id") {
        Some(Value::String(id)) => id,
        Some(Value::Number(n)) => n.to_string(),
        _ => format!("line-{line}"),
    };
    jsonl::plain_name(&id, "id")?;
    let mut expected = Vec::new();
    for (i, call) in calls.iter().enumerate() {
        expected.push(expected_call(call, &format!("{at}[{i}]"))?);
    }
    for call in &mut expected {
        for (key, accepted) in &mut call.arguments {
            let tool = tools.iter().find(|t| t.name == call.name);
            let property = tool.filter(|t| !matching::is_required(t, key)).and_then(|t| matching::property(t, key));
            accepted.optional = property.and_then(|p| p.get("default")).is_some_and(|d| is_default(d, &accepted.values[0]));
        }
    }
    let domain = row.remove("domain").and_then(|d| d.as_str().map(str::to_owned)).unwrap_or_default();
    let difficulty = row.remove("difficulty").and_then(|d| d.as_u64()).and_then(|d| u8::try_from(d).ok()).unwrap_or(0);
    let made = Problem {
        id,
        messages,
        tools,
        expected: Expected { calls: expected },
        matcher: Matcher::Exact,
        domain,
        difficulty,
        environment: None,
        answer: None,
    };
    jsonl::solvable(made)
        .map_err(|(field, reason)| (field.strip_prefix("expected").map_or(field.clone(), |rest| format!("{at}{rest}")), reason))
}

fn expected_call(call: &Value, field: &str) -> Result<ExpectedCall, Bad> {
    let (call, field) = match call.get("function") {
        Some(inner) => (inner, format!("{field}.function")),
        None => (call, field.to_owned()),
    };
    let Some(name) = call.get("name").and_then(Value::as_str) else { return bad(format!("{field}.name"), "is missing or no string") };
    let at = format!("{field}.arguments");
    let arguments = match embedded(call.get("arguments").cloned().unwrap_or_else(|| json!({})), &at)? {
        Value::Object(arguments) => arguments,
        _ => return bad(at, "is no JSON object"),
    };
    let argument = |(key, value)| (key, Accepted { values: vec![value], optional: false });
    Ok(ExpectedCall { name: name.to_owned(), arguments: arguments.into_iter().map(argument).collect() })
}

/// A default is often a string, whatever the type says.
fn is_default(default: &Value, value: &Value) -> bool {
    python::json_equal(default, value) || same_text(default, value)
}

#[cfg(test)]
#[path = "foreign_tests.rs"]
mod tests;
