//! Tools as a prompt lists them. In: name, description, parameters. Out: a `Tool`.

use serde_json::{Value, json};
use whetstone_domain::Tool;

/// A tool with parameters given as (name, schema, is it required).
pub(crate) fn tool(name: &str, description: &str, parameters: &[(&str, Value, bool)]) -> Tool {
    let properties: serde_json::Map<String, Value> = parameters.iter().map(|(n, schema, _)| ((*n).to_owned(), schema.clone())).collect();
    let required: Vec<&str> = parameters.iter().filter(|(.., required)| *required).map(|(n, ..)| *n).collect();
    Tool {
        name: name.to_owned(),
        description: description.to_owned(),
        parameters: json!({"type": "object", "properties": properties, "required": required}),
    }
}

/// A string parameter.
pub(crate) fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

/// An integer parameter.
pub(crate) fn integer(description: &str) -> Value {
    json!({"type": "integer", "description": description})
}
