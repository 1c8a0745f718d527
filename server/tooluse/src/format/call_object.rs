//! A call as a JSON object: the core of `bare_json`, `hermes`, `smollm2`, `llama_json` and `mistral`.
//!
//! In: a JSON reader at the start of a value, or a value. Out: a call, or what is wrong with it and where.

use serde_json::Value;
use whetstone_domain::{ParseFailure, ToolCall};

use super::json::{Reader, failure, write_value};

/// What a format's call objects look like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Key that holds the arguments.
    pub arguments: &'static str,
    /// A string under `id` may stand beside them.
    pub id: bool,
}

/// The usual one.
pub(super) const ARGUMENTS: Shape = Shape { arguments: "arguments", id: false };

/// Reads exactly one call; `depth` is the count of lists and objects around it.
pub(super) fn strict_call(reader: &mut Reader<'_>, depth: usize, shape: Shape) -> Result<ToolCall, ParseFailure> {
    reader.peek();
    let at = reader.position();
    let Value::Object(mut map) = reader.value(depth)? else {
        return failure(at, format!("a call must be an object with \"name\" and {:?}", shape.arguments));
    };
    let name = match map.shift_remove("name") {
        Some(Value::String(name)) => name,
        Some(_) => return failure(at, "\"name\" must be a string"),
        None => return failure(at, "the call has no \"name\""),
    };
    let arguments = match map.shift_remove(shape.arguments) {
        Some(Value::Object(arguments)) => arguments,
        Some(_) => return failure(at, format!("{:?} must be an object", shape.arguments)),
        None => return failure(at, format!("the call has no {:?}", shape.arguments)),
    };
    if shape.id && map.shift_remove("id").is_some_and(|id| !id.is_string()) {
        return failure(at, "\"id\" must be a string");
    }
    match map.keys().next() {
        Some(key) => failure(at, format!("the call has an unknown key {key:?}")),
        None => Ok(ToolCall { name, arguments }),
    }
}

/// Reads the list of calls that begins at the reader.
pub(super) fn strict_list(reader: &mut Reader<'_>, shape: Shape) -> Result<Vec<ToolCall>, ParseFailure> {
    if !reader.take(b'[') {
        return failure(reader.position(), "expected `[`, the start of the list of calls");
    }
    let mut calls = Vec::new();
    reader.items(|r| strict_call(r, 1, shape).map(|call| calls.push(call)))?;
    Ok(calls)
}

/// The calls of a value, under either key for the arguments, other keys ignored.
pub(super) fn lenient_calls(value: Value) -> Option<Vec<ToolCall>> {
    match value {
        Value::Array(items) => items.into_iter().map(lenient_call).collect(),
        one => lenient_call(one).map(|call| vec![call]),
    }
}

fn lenient_call(value: Value) -> Option<ToolCall> {
    let Value::Object(mut map) = value else { return None };
    let Some(Value::String(name)) = map.remove("name") else { return None };
    match map.remove("arguments").or_else(|| map.remove("parameters")) {
        Some(Value::Object(arguments)) => Some(ToolCall { name, arguments }),
        _ => None,
    }
}

/// Writes a call with the spacing of `json.dumps`.
pub(super) fn write_call(call: &ToolCall, shape: Shape, out: &mut String) {
    out.push_str("{\"name\": ");
    out.push_str(&Value::from(call.name.as_str()).to_string());
    out.push_str(&format!(", \"{}\": ", shape.arguments));
    write_value(&Value::Object(call.arguments.clone()), out);
    out.push('}');
}

/// Writes calls as a list.
pub(super) fn write_list(calls: &[ToolCall], shape: Shape, out: &mut String) {
    out.push('[');
    for (i, call) in calls.iter().enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        write_call(call, shape, out);
    }
    out.push(']');
}
