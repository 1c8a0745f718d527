//! Do the arguments of a call keep to the tool's JSON Schema?
//!
//! In: a tool and a call. Out: nothing, or what is wrong with its JSON path. BFCL's Python-flavoured types are read as JSON Schema's.
//! Remote references are never followed. Whether the values answer the request is the matcher's business.

use serde_json::{Map, Value};
use whetstone_domain::{Tool, ToolCall};

/// Checks the arguments of `call` against the schema of `tool`; the error names the JSON path, e.g. `/unit: ...`.
pub fn check(tool: &Tool, call: &ToolCall) -> Result<(), String> {
    let validator = validator(tool)?;
    let arguments = Value::Object(call.arguments.clone());
    validator.validate(&arguments).map_err(|e| format!("{}: {e}", place(e.instance_path().as_str())))
}

/// Checks that the tool's own schema is one.
pub fn compiles(tool: &Tool) -> Result<(), String> {
    validator(tool).map(drop)
}

fn validator(tool: &Tool) -> Result<jsonschema::Validator, String> {
    jsonschema::options()
        .offline()
        .build(&json_schema(&tool.parameters))
        .map_err(|e| format!("the schema of tool {:?} is invalid at {}: {e}", tool.name, place(e.instance_path().as_str())))
}

fn place(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// A tool's parameters as JSON Schema proper: BFCL's type names translated (`dict`, `float`, `tuple`, `any` and the Java and
/// JavaScript names of BFCL's `GORILLA_TO_OPENAPI`), everything else kept.
pub fn json_schema(parameters: &Value) -> Value {
    match parameters {
        Value::Object(map) => Value::Object(map.iter().filter_map(keyword).collect::<Map<_, _>>()),
        Value::Bool(_) => parameters.clone(),
        _ => Value::Object(Map::new()),
    }
}

fn keyword((key, value): (&String, &Value)) -> Option<(String, Value)> {
    let kept = match (key.as_str(), value) {
        ("type", Value::String(name)) => Value::from(json_type(name)?),
        ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(map)) => {
            Value::Object(map.iter().map(|(k, v)| (k.clone(), json_schema(v))).collect())
        }
        ("items" | "additionalProperties" | "not", schema) => json_schema(schema),
        ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(list)) => list.iter().map(json_schema).collect(),
        // older drafts and BFCL put a boolean on the property itself; JSON Schema wants a list on its parent
        ("required", Value::Bool(_)) => return None,
        _ => value.clone(),
    };
    Some((key.clone(), kept))
}

/// None = no constraint.
fn json_type(name: &str) -> Option<&str> {
    Some(match name {
        "dict" | "HashMap" | "Hashtable" => "object",
        "float" | "double" => "number",
        "tuple" | "list" | "ArrayList" | "Array" | "Queue" | "Stack" => "array",
        "bool" | "Boolean" => "boolean",
        "byte" | "short" | "long" | "Bigint" => "integer",
        "char" | "String" => "string",
        "string" | "number" | "integer" | "boolean" | "array" | "object" | "null" => name,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(parameters: Value, arguments: Value) -> Result<(), String> {
        let tool = Tool { name: "f".into(), description: String::new(), parameters };
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        check(&tool, &ToolCall { name: "f".into(), arguments })
    }

    #[test]
    fn bfcl_types_are_read_as_json_schema_and_errors_name_the_path() {
        let schema = json!({"type": "dict", "required": ["a"], "properties": {
            "a": {"type": "float"}, "any": {"type": "any"}, "t": {"type": "tuple", "items": {"type": "dict", "properties": {
                "n": {"type": "integer", "required": true}}}}}});
        assert_eq!(checked(schema.clone(), json!({"a": 1, "any": [null], "t": [{"n": 1}]})), Ok(()));
        let error = checked(schema.clone(), json!({"a": 1, "t": [{"n": 1}, {"n": "x"}]})).expect_err("n is a string");
        assert!(error.starts_with("/t/1/n: "), "{error}");
        let error = checked(schema, json!({})).expect_err("a is missing");
        assert!(error.starts_with("/: ") && error.contains("\"a\""), "{error}");
    }

    #[test]
    fn remote_references_and_broken_schemas_are_named_not_followed() {
        let error = checked(json!({"$ref": "https://example.invalid/s.json"}), json!({})).expect_err("remote");
        assert!(error.starts_with("the schema of tool \"f\" is invalid"), "{error}");
        assert!(checked(json!({"type": "object", "minProperties": -1}), json!({})).is_err());
        assert_eq!(checked(json!(null), json!({"x": 1})), Ok(()));
        let local = json!({"properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}});
        assert!(checked(local.clone(), json!({"a": 1})).is_ok() && checked(local, json!({"a": "1"})).is_err());
    }
}
