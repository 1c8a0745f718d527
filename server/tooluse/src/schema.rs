//! Do the arguments of a call keep to the tool's JSON Schema?
//!
//! In: a tool and a call. Out: nothing, or what is wrong with its JSON path. BFCL's Python-flavoured types are read as JSON Schema's.
//! Remote references are never followed. Whether the values answer the request is the matcher's business.

mod bounded;

pub use bounded::{MAX_DEPTH, MAX_SUBSCHEMAS, bounded};

use jsonschema::PatternOptions;
use serde_json::{Map, Value};
use whetstone_domain::{Tool, ToolCall};

/// Longest message about a value, in characters.
const LONGEST_MESSAGE: usize = 300;
/// Steps that a `pattern` may go back, and bytes that it may take compiled.
const PATTERN_STEPS: usize = 100_000;
const PATTERN_BYTES: usize = 1 << 20;

/// Checks the arguments of `call` against the schema of `tool`; the error names the JSON path, e.g. `/unit: ...`.
pub fn check(tool: &Tool, call: &ToolCall) -> Result<(), String> {
    let validator = validator(tool)?;
    let arguments = Value::Object(call.arguments.clone());
    validator.validate(&arguments).map_err(|e| format!("{}: {}", place(e.instance_path().as_str()), shortened(&e.to_string())))
}

/// Checks that the tool's own schema is one: no part of it is anything but a schema, no type is one that nobody knows.
pub fn compiles(tool: &Tool) -> Result<(), String> {
    validator(tool)?;
    sound(&tool.parameters, "")
        .map_err(|(path, reason)| format!("the schema of tool {:?} is invalid at {}: {}", tool.name, place(&path), shortened(&reason)))
}

/// What [`json_schema`] would drop in silence, and where. For schemas that are [`bounded`]: this recurses.
fn sound(schema: &Value, path: &str) -> Result<(), (String, String)> {
    let map = match schema {
        Value::Object(map) => map,
        Value::Bool(_) => return Ok(()),
        _ => return Err((path.to_owned(), format!("must be an object or a boolean, and is {schema}"))),
    };
    for (key, value) in map {
        let at = format!("{path}/{key}");
        match (key.as_str(), value) {
            ("type", Value::String(_) | Value::Array(_)) => {
                let mut names = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice).iter().filter_map(Value::as_str);
                if let Some(unknown) = names.find(|name| !is_type(name)) {
                    return Err((
                        at,
                        format!("{unknown:?} is no type; types are string, number, integer, boolean, array, object and null"),
                    ));
                }
            }
            (key, Value::Object(named)) if NAMED.contains(&key) => {
                named.iter().try_for_each(|(name, schema)| sound(schema, &format!("{at}/{name}")))?;
            }
            (key, Value::Array(list)) if key == "items" || LISTED.contains(&key) => {
                list.iter().enumerate().try_for_each(|(i, schema)| sound(schema, &format!("{at}/{i}")))?;
            }
            (key, schema) if ONE.contains(&key) => sound(schema, &at)?,
            // of the wrong kind: the check against JSON Schema's own schema names it
            _ => {}
        }
    }
    Ok(())
}

fn validator(tool: &Tool) -> Result<jsonschema::Validator, String> {
    bounded(&tool.parameters).map_err(|reason| format!("the schema of tool {:?} {reason}", tool.name))?;
    let patterns = PatternOptions::fancy_regex().backtrack_limit(PATTERN_STEPS).size_limit(PATTERN_BYTES);
    jsonschema::options().offline().with_pattern_options(patterns).build(&json_schema(&tool.parameters)).map_err(|e| {
        let place = place(e.instance_path().as_str());
        format!("the schema of tool {:?} is invalid at {place}: {}", tool.name, shortened(&e.to_string()))
    })
}

pub(crate) fn shortened(message: &str) -> String {
    match message.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message.to_owned(),
    }
}

fn place(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// Keywords that hold schemas under names.
const NAMED: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
/// Keywords that hold a list of schemas.
const LISTED: [&str; 4] = ["anyOf", "oneOf", "allOf", "prefixItems"];
/// Keywords that hold one schema.
const ONE: [&str; 11] = [
    "items",
    "additionalProperties",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
    "additionalItems",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// A tool's parameters as JSON Schema proper: BFCL's type names translated (`dict`, `float`, `tuple`, `any` and the Java and
/// JavaScript names of BFCL's `GORILLA_TO_OPENAPI`) wherever a schema may stand, OpenAPI's `nullable` and the older list form of
/// `items` too; everything else kept.
pub fn json_schema(parameters: &Value) -> Value {
    match parameters {
        Value::Object(map) => {
            let mut schema = map.iter().filter_map(keyword).collect::<Map<_, _>>();
            if map.get("nullable") == Some(&Value::Bool(true))
                && let Some(Value::String(name)) = schema.get("type")
            {
                let either = Value::from(vec![name.as_str(), "null"]);
                schema.insert("type".into(), either);
            }
            Value::Object(schema)
        }
        Value::Bool(_) => parameters.clone(),
        _ => Value::Object(Map::new()),
    }
}

fn keyword((key, value): (&String, &Value)) -> Option<(String, Value)> {
    let kept = match (key.as_str(), value) {
        ("type", Value::String(name)) => Value::from(json_type(name)?),
        ("type", Value::Array(names)) => {
            let known: Option<Vec<&str>> = names.iter().map(|n| n.as_str().and_then(json_type)).collect();
            Value::from(known?)
        }
        (key, Value::Object(map)) if NAMED.contains(&key) => Value::Object(map.iter().map(|(k, v)| (k.clone(), json_schema(v))).collect()),
        // a list of schemas by position has a name of its own today
        ("items", Value::Array(list)) => return Some(("prefixItems".into(), list.iter().map(json_schema).collect())),
        (key, schema) if ONE.contains(&key) => json_schema(schema),
        (key, Value::Array(list)) if LISTED.contains(&key) => list.iter().map(json_schema).collect(),
        // older drafts and BFCL put a boolean on the property itself; JSON Schema wants a list on its parent
        ("required", Value::Bool(_)) => return None,
        _ => value.clone(),
    };
    Some((key.clone(), kept))
}

/// A type that somebody knows; `any`, and BFCL's one empty name, are no constraint.
pub(crate) fn is_type(name: &str) -> bool {
    json_type(name).is_some() || matches!(name, "any" | "Any" | "")
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
    fn python_types_are_translated_wherever_a_schema_may_stand() {
        let schema = json!({"type": "dict", "properties": {
            "either": {"type": ["dict", "null"]},
            "open": {"type": ["string", "any"]},
            "maybe": {"type": "float", "nullable": true},
            "pair": {"type": "tuple", "items": [{"type": "float"}, {"type": "bool"}]},
            "some": {"type": "list", "contains": {"type": "float"}, "not": {"contains": {"type": "dict"}}},
            "type": {"type": "string"},
        }});
        let good = json!({"either": null, "open": [1], "maybe": null, "pair": [1.5, true], "some": ["a", 2], "type": "x"});
        assert_eq!(checked(schema.clone(), good), Ok(()));
        for (bad, path) in [
            (json!({"either": 3}), "/either: "),
            (json!({"maybe": "x"}), "/maybe: "),
            (json!({"pair": [1.5, 2]}), "/pair/1: "),
            (json!({"some": ["a"]}), "/some: "),
            (json!({"some": [2, {}]}), "/some: "),
            (json!({"type": 1}), "/type: "),
        ] {
            let error = checked(schema.clone(), bad).expect_err(path);
            assert!(error.starts_with(path), "{error}");
        }
    }

    #[test]
    fn what_is_no_schema_is_named_with_its_path() {
        let compiled = |parameters: Value| compiles(&Tool { name: "f".into(), description: String::new(), parameters });
        for (property, at) in [
            (json!({"type": "strng"}), "/properties/a/type: \"strng\" is no type"),
            (json!({"type": ["string", "nul"]}), "/properties/a/type: \"nul\" is no type"),
            (json!({"type": "array", "items": "string"}), "/properties/a/items: must be an object or a boolean"),
            (json!({"type": "array", "items": [{"type": "strng"}]}), "/properties/a/items/0/type: "),
            (json!({"type": "object", "additionalProperties": "no"}), "/properties/a/additionalProperties: must be"),
            (json!({"type": "object", "properties": {"b": 5}}), "/properties/a/properties/b: must be"),
            (json!({"anyOf": [{"type": "integer"}, "string"]}), "/properties/a/anyOf/1: must be"),
            (json!({"type": "object", "properties": 5}), "/properties/a/properties: "),
        ] {
            let error = compiled(json!({"type": "object", "properties": {"a": property}})).expect_err(at);
            assert!(error.starts_with(&format!("the schema of tool \"f\" is invalid at {at}")), "{error}");
        }
        let names =
            ["dict", "float", "tuple", "any", "String", "HashMap", "ArrayList", "Array", "Boolean", "long", "double", "char", "bool"];
        let properties: Map<String, Value> = names.iter().map(|n| ((*n).to_owned(), json!({"type": n, "default": "strng"}))).collect();
        assert_eq!(compiled(json!({"type": "dict", "properties": properties, "additionalProperties": false})), Ok(()));
        assert_eq!(compiled(json!({"properties": {"type": {"enum": ["strng"]}}, "items": true})), Ok(()));
    }

    #[test]
    fn a_catastrophic_pattern_ends_and_says_so() {
        let schema = json!({"properties": {"a": {"type": "string", "pattern": "^(?:(a|a)*)*(?<!b)$"}}});
        let error = checked(schema, json!({"a": format!("{}!", "a".repeat(5000))})).expect_err("no match");
        assert!(error.starts_with("/a: "), "{error}");
    }

    #[test]
    fn a_message_about_a_huge_value_stays_short() {
        let error = checked(json!({"properties": {"a": {"type": "integer"}}}), json!({"a": "é".repeat(10_000)})).expect_err("a string");
        assert!(error.starts_with("/a: ") && error.chars().count() < 400, "{}", error.len());
    }

    #[test]
    fn remote_references_and_broken_schemas_are_named_not_followed() {
        let error = checked(json!({"$ref": "https://example.invalid/s.json"}), json!({})).expect_err("remote");
        assert!(error.starts_with("the schema of tool \"f\" is invalid: \"https://"), "{error}");
        assert!(checked(json!({"type": "object", "minProperties": -1}), json!({})).is_err());
        assert_eq!(checked(json!(null), json!({"x": 1})), Ok(()));
        let local = json!({"properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}});
        assert!(checked(local.clone(), json!({"a": 1})).is_ok() && checked(local, json!({"a": "1"})).is_err());
    }
}
