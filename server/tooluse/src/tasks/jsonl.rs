//! Our own task files: one problem per line, in JSON that a person can write.
//!
//! In: a row. Out: its problem, or the field that is wrong and the reason. A problem that nobody could solve (an expected call its own
//! matcher refuses) is a bad row. One format, all of it here:
//!
//! ```json
//! {"id": "w-1", "messages": [{"role": "user", "content": "Weather in Oslo?"}],
//!  "tools": [{"name": "get_weather", "description": "Current weather", "parameters": {"type": "object",
//!    "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}}, "required": ["city"]}}],
//!  "expected": [{"name": "get_weather", "arguments": {"city": "Oslo", "unit": {"any_of": ["c"], "optional": true}}}],
//!  "matcher": "bfcl", "domain": "weather", "difficulty": 1}
//! ```
//! (on one line). `expected` lists every call of the right answer, `[]` = no call. An argument is the one right value, or
//! `{"any_of": [values], "optional": may it be left out}`. `matcher` is `bfcl` (default) or `exact`; it, `domain` and `difficulty`
//! may be left out. Unknown fields are refused. `environment` and `answer`, for tools that run, are described in `running.rs`.

use serde_json::{Map, Value};
use whetstone_domain::{Accepted, Expected, ExpectedCall, Matcher, Message, Problem, Role, Tool};

use super::running;
use crate::format::json::{DuplicateKeys, Reader};
use crate::matching;
use crate::schema;

/// A field and what is wrong with it.
pub(super) type Bad = (String, String);

pub(super) fn bad<T>(field: impl Into<String>, reason: impl Into<String>) -> Result<T, Bad> {
    Err((field.into(), reason.into()))
}

/// One line as JSON that is text throughout.
pub(super) fn value(text: &str) -> Result<Value, Bad> {
    let mut reader = Reader::at(text, 0, DuplicateKeys::Refuse);
    let value = reader.value(0).map_err(|e| ("row".into(), format!("is no JSON, byte {}: {}", e.position, e.reason)))?;
    if reader.peek().is_some() {
        return bad("row", format!("has text after the JSON, byte {}", reader.position()));
    }
    no_nul(&value, "row")?;
    Ok(value)
}

/// A row as a problem, or the field that is wrong and why.
pub(super) fn problem(value: Value) -> Result<Problem, Bad> {
    let mut row = object(value, "row")?;
    known(&row, "", &["id", "messages", "tools", "expected", "matcher", "domain", "difficulty", "environment", "answer"])?;
    let id = string(row.remove("id"), "id")?;
    plain_name(&id, "id")?;
    let matcher = match row.remove("matcher") {
        None => Matcher::Bfcl,
        Some(Value::String(name)) if name == "bfcl" => Matcher::Bfcl,
        Some(Value::String(name)) if name == "exact" => Matcher::Exact,
        Some(other) => return bad("matcher", format!("is {other}; known are \"bfcl\" and \"exact\"")),
    };
    let difficulty = match row.remove("difficulty") {
        None => 0,
        Some(value) => match value.as_u64().and_then(|d| u8::try_from(d).ok()) {
            Some(d) => d,
            None => return bad("difficulty", "must be an integer from 0 to 255"),
        },
    };
    let domain = match row.remove("domain") {
        None => String::new(),
        some => string(some, "domain")?,
    };
    let problem = Problem {
        id,
        messages: list(row.remove("messages"), "messages", message)?,
        tools: list(row.remove("tools"), "tools", tool)?,
        expected: Expected { calls: list(row.remove("expected"), "expected", expected)? },
        matcher,
        domain,
        difficulty,
        environment: row.remove("environment").map(running::environment).transpose()?,
        answer: row.remove("answer").map(running::answer).transpose()?,
    };
    solvable(problem)
}

pub(super) fn object(value: Value, field: &str) -> Result<Map<String, Value>, Bad> {
    match value {
        Value::Object(map) => Ok(map),
        _ => bad(field, "must be a JSON object"),
    }
}

fn string(value: Option<Value>, field: &str) -> Result<String, Bad> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(_) => bad(field, "must be a string"),
        None => bad(field, "is missing"),
    }
}

fn list<T>(value: Option<Value>, field: &str, item: impl Fn(Value, &str) -> Result<T, Bad>) -> Result<Vec<T>, Bad> {
    match value {
        Some(Value::Array(items)) => items.into_iter().enumerate().map(|(i, v)| item(v, &format!("{field}[{i}]"))).collect(),
        Some(_) => bad(field, "must be a list"),
        None => bad(field, "is missing"),
    }
}

fn known(map: &Map<String, Value>, field: &str, keys: &[&str]) -> Result<(), Bad> {
    let dot = if field.is_empty() { "" } else { "." };
    match map.keys().find(|k| !keys.contains(&k.as_str())) {
        Some(key) => bad(format!("{field}{dot}{key}"), format!("is unknown; known are {}", keys.join(", "))),
        None => Ok(()),
    }
}

pub(super) fn plain_name(name: &str, field: &str) -> Result<(), Bad> {
    match name {
        _ if name.trim().is_empty() => bad(field, "is empty"),
        _ if name.len() > 256 => bad(field, "is longer than 256 bytes"),
        _ if name.chars().any(char::is_control) => bad(field, "holds a control character"),
        _ => Ok(()),
    }
}

pub(super) fn no_nul(value: &Value, field: &str) -> Result<(), Bad> {
    match value {
        Value::String(text) if text.contains('\0') => bad(field, "holds the character U+0000"),
        Value::Array(items) => items.iter().enumerate().try_for_each(|(i, v)| no_nul(v, &format!("{field}[{i}]"))),
        Value::Object(map) => map.iter().try_for_each(|(k, v)| {
            let field = if field == "row" { k.clone() } else { format!("{field}.{k}") };
            if k.contains('\0') { bad(field, "holds the character U+0000") } else { no_nul(v, &field) }
        }),
        _ => Ok(()),
    }
}

fn message(value: Value, field: &str) -> Result<Message, Bad> {
    let mut map = object(value, field)?;
    known(&map, field, &["role", "content"])?;
    let at = format!("{field}.role");
    let role = match string(map.remove("role"), &at)?.as_str() {
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        other => return bad(at, format!("is {other:?}; known are system, user, assistant, tool")),
    };
    Ok(Message::new(role, string(map.remove("content"), &format!("{field}.content"))?))
}

pub(super) fn tool(value: Value, field: &str) -> Result<Tool, Bad> {
    let mut map = object(value, field)?;
    known(&map, field, &["name", "description", "parameters"])?;
    let name = string(map.remove("name"), &format!("{field}.name"))?;
    plain_name(&name, &format!("{field}.name"))?;
    let description = match map.remove("description") {
        None => String::new(),
        some => string(some, &format!("{field}.description"))?,
    };
    let at = format!("{field}.parameters");
    let parameters = map.remove("parameters").unwrap_or_else(|| Value::Object(Map::new()));
    check_parameters(&parameters, &at)?;
    let tool = Tool { name, description, parameters };
    schema::compiles(&tool).map_err(|reason| (at, reason))?;
    Ok(tool)
}

fn check_parameters(parameters: &Value, field: &str) -> Result<(), Bad> {
    let Value::Object(map) = parameters else { return bad(field, "must be a JSON object") };
    if map.get("type").is_some_and(|t| !matches!(t.as_str(), Some("object" | "dict"))) {
        return bad(format!("{field}.type"), "must be \"object\"");
    }
    let empty = Map::new();
    let properties = match map.get("properties") {
        None => &empty,
        Some(Value::Object(properties)) => properties,
        Some(_) => return bad(format!("{field}.properties"), "must be a JSON object"),
    };
    for (name, property) in properties {
        let at = format!("{field}.properties.{}", name.escape_debug());
        plain_name(name, &at)?;
        if !property.is_object() {
            return bad(at, "must be a JSON object");
        }
    }
    match map.get("required") {
        None => Ok(()),
        Some(Value::Array(names)) => match names.iter().find(|n| n.as_str().is_none_or(|n| !properties.contains_key(n))) {
            Some(name) => bad(format!("{field}.required"), format!("names {name}, which is no property")),
            None => Ok(()),
        },
        Some(_) => bad(format!("{field}.required"), "must be a list of property names"),
    }
}

fn expected(value: Value, field: &str) -> Result<ExpectedCall, Bad> {
    let mut map = object(value, field)?;
    known(&map, field, &["name", "arguments"])?;
    let name = string(map.remove("name"), &format!("{field}.name"))?;
    let at = format!("{field}.arguments");
    let arguments = match map.remove("arguments") {
        None => return bad(at, "is missing"),
        Some(value) => object(value, &at)?,
    };
    let argument = |(key, value): (String, Value)| {
        let accepted = accepted(value, &format!("{at}.{key}"))?;
        Ok((key, accepted))
    };
    Ok(ExpectedCall { name, arguments: arguments.into_iter().map(argument).collect::<Result<_, Bad>>()? })
}

fn accepted(value: Value, field: &str) -> Result<Accepted, Bad> {
    let mut map = match value {
        Value::Object(map) if map.contains_key("any_of") => map,
        plain => return Ok(Accepted { values: vec![plain], optional: false }),
    };
    known(&map, field, &["any_of", "optional"])?;
    let optional = match map.remove("optional") {
        None => false,
        Some(Value::Bool(optional)) => optional,
        Some(_) => return bad(format!("{field}.optional"), "must be true or false"),
    };
    match map.remove("any_of") {
        Some(Value::Array(values)) if !values.is_empty() => Ok(Accepted { values, optional }),
        _ => bad(format!("{field}.any_of"), "must be a list of at least one value"),
    }
}

/// Checks that the problem hangs together, and turns accepted objects into BFCL's lists per key where BFCL's matcher will read them.
pub(super) fn solvable(mut problem: Problem) -> Result<Problem, Bad> {
    match problem.messages.last() {
        Some(last) if last.role == Role::User && !last.content.trim().is_empty() => {}
        Some(_) => return bad("messages", "must end with a user message that is not empty"),
        None => return bad("messages", "is empty"),
    }
    if problem.tools.is_empty() {
        return bad("tools", "is empty; a problem needs at least one tool");
    }
    for (i, tool) in problem.tools.iter().enumerate() {
        if problem.tools[..i].iter().any(|t| t.name == tool.name) {
            return bad(format!("tools[{i}].name"), format!("{:?} is offered twice", tool.name));
        }
    }
    for (c, call) in problem.expected.calls.iter_mut().enumerate() {
        let field = format!("expected[{c}]");
        let Some(tool) = problem.tools.iter().find(|t| t.name == call.name) else {
            return bad(format!("{field}.name"), format!("{:?} is not among the tools", call.name));
        };
        let given = |key: &str| call.arguments.iter().any(|(k, a)| k == key && !a.optional);
        let required = tool.parameters.get("required").and_then(Value::as_array).into_iter().flatten();
        if let Some(key) = required.filter_map(Value::as_str).find(|key| !given(key)) {
            return bad(format!("{field}.arguments.{key}"), "is required by the tool, so it must be expected and not optional");
        }
        for (key, accepted) in &mut call.arguments {
            let at = format!("{field}.arguments.{key}");
            let Some(property) = matching::property(tool, key) else { return bad(at, "is no argument of the tool") };
            if problem.matcher == Matcher::Bfcl {
                accepted.values.iter_mut().for_each(|value| matching::list_keys(value, property));
            }
            matching::accepts_itself(problem.matcher, tool, key, accepted).map_err(|reason| (at, reason))?;
        }
    }
    running::check(&problem)?;
    match matching::matches(&problem, &matching::canonical(&problem)) {
        true => Ok(problem),
        false => bad("expected", "does not pass its own matcher"),
    }
}
