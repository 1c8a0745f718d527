//! Do the arguments of a call keep to the tool's JSON Schema?
//!
//! In: a tool and a call. Out: nothing, or what is wrong with its JSON path. BFCL's Python-flavoured types are read as JSON Schema's.
//! Remote references are never followed. Whether the values answer the request is the matcher's business.

use std::collections::HashMap;

use jsonschema::PatternOptions;
use serde_json::{Map, Value};
use whetstone_domain::{Tool, ToolCall};

/// Deeper nesting of a schema, counted in JSON's own lists and objects, is refused.
pub const MAX_DEPTH: usize = 64;
/// A schema that is larger than this with its references put in their places is refused.
pub const MAX_SUBSCHEMAS: usize = 10_000;
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

/// Checks that the tool's own schema is one.
pub fn compiles(tool: &Tool) -> Result<(), String> {
    validator(tool).map(drop)
}

fn validator(tool: &Tool) -> Result<jsonschema::Validator, String> {
    bounded(&tool.parameters).map_err(|reason| format!("the schema of tool {:?} {reason}", tool.name))?;
    let patterns = PatternOptions::fancy_regex().backtrack_limit(PATTERN_STEPS).size_limit(PATTERN_BYTES);
    jsonschema::options().offline().with_pattern_options(patterns).build(&json_schema(&tool.parameters)).map_err(|e| {
        let place = place(e.instance_path().as_str());
        format!("the schema of tool {:?} is invalid at {place}: {}", tool.name, shortened(&e.to_string()))
    })
}

fn shortened(message: &str) -> String {
    match message.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message.to_owned(),
    }
}

/// Checks that a schema can be compiled and applied in bounded time and depth: nesting, references that leave the schema or come
/// back to themselves, and the size it has once every reference is put in its place.
///
/// So recursive schemas are refused: with them a short schema can make a short answer cost time without bound.
pub fn bounded(schema: &Value) -> Result<(), String> {
    // first without recursion, so that the rest may recurse
    let mut open = vec![(schema, 0)];
    while let Some((value, depth)) = open.pop() {
        if depth > MAX_DEPTH {
            return Err(format!("is nested deeper than {MAX_DEPTH} levels"));
        }
        match value {
            Value::Array(items) => open.extend(items.iter().map(|v| (v, depth + 1))),
            Value::Object(map) => open.extend(map.values().map(|v| (v, depth + 1))),
            _ => {}
        }
    }
    let draft4 = schema.get("$schema").and_then(Value::as_str).is_some_and(|s| s.contains("draft-04"));
    Measure { root: schema, id: if draft4 { "id" } else { "$id" }, sizes: HashMap::new() }.size(schema, Holds::Schema, 0).map(drop)
}

/// What the keys of an object are.
#[derive(Clone, Copy, PartialEq)]
enum Holds {
    /// Keywords.
    Schema,
    /// Names of schemas.
    Named,
}

/// Sizes of the targets of references, none while one is being measured.
struct Measure<'a> {
    root: &'a Value,
    /// The keyword that gives a part of the schema an address of its own.
    id: &'static str,
    sizes: HashMap<&'a str, Option<usize>>,
}

impl<'a> Measure<'a> {
    /// Count of objects in a schema, targets of references included; `hops` is how many references led here.
    fn size(&mut self, schema: &'a Value, holds: Holds, hops: usize) -> Result<usize, String> {
        let mut size = 1;
        match schema {
            Value::Object(map) => {
                for (key, value) in map {
                    size += match (key.as_str(), value) {
                        (_, Value::Object(_) | Value::Array(_)) if holds == Holds::Named => self.size(value, Holds::Schema, hops)?,
                        // data, whatever it looks like
                        ("const" | "enum" | "default" | "examples", _) => 0,
                        ("$ref", Value::String(target)) => self.target(target, hops)?,
                        ("$dynamicRef" | "$recursiveRef", Value::String(_)) => return Err(format!("uses {key}; only $ref is followed")),
                        (key, Value::String(_)) if key == self.id && !std::ptr::eq(schema, self.root) => {
                            return Err(format!(
                                "has an {key} of its own in one of its parts, which references cannot be followed through"
                            ));
                        }
                        ("properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas", Value::Object(_)) => {
                            self.size(value, Holds::Named, hops)?
                        }
                        (_, Value::Object(_) | Value::Array(_)) => self.size(value, Holds::Schema, hops)?,
                        _ => 0,
                    };
                    if size > MAX_SUBSCHEMAS {
                        return Err(format!("is larger than {MAX_SUBSCHEMAS} subschemas with its references put in their places"));
                    }
                }
            }
            Value::Array(items) => {
                for item in items {
                    size += self.size(item, Holds::Schema, hops)?;
                    if size > MAX_SUBSCHEMAS {
                        return Err(format!("is larger than {MAX_SUBSCHEMAS} subschemas with its references put in their places"));
                    }
                }
            }
            _ => {}
        }
        Ok(size)
    }

    fn target(&mut self, reference: &'a str, hops: usize) -> Result<usize, String> {
        match self.sizes.get(reference) {
            Some(Some(size)) => return Ok(*size),
            Some(None) => return Err(format!("refers to itself through {reference:?}; recursive schemas are not supported")),
            None if hops >= MAX_DEPTH => return Err(format!("follows more than {MAX_DEPTH} references in a row")),
            None => {}
        }
        let inside = reference.strip_prefix('#').filter(|p| p.is_empty() || p.starts_with('/'));
        let Some(target) = inside.and_then(|pointer| self.root.pointer(pointer)) else {
            return Err(format!("is invalid: {reference:?} is no place in it, and references are followed nowhere else"));
        };
        self.sizes.insert(reference, None);
        let size = self.size(target, Holds::Schema, hops + 1)?;
        self.sizes.insert(reference, Some(size));
        Ok(size)
    }
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
    fn schema_bombs_are_refused_by_name_and_at_once() {
        let refused = |schema: Value| checked(schema, json!({"a": {"a": 1}})).expect_err("a bomb");
        let mut deep = json!({"type": "string"});
        for _ in 0..1000 {
            deep = json!({"type": "object", "properties": {"a": deep}});
        }
        assert!(refused(deep).contains("nested deeper than 64 levels"));
        for itself in [json!({"$ref": "#"}), json!({"properties": {"default": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}})] {
            assert!(refused(itself).contains("refers to itself"));
        }
        // 2^30 subschemas in thirty lines
        let mut definitions = Map::new();
        for i in 0..30 {
            let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
            definitions.insert(format!("d{i}"), json!({"allOf": [next, next]}));
        }
        definitions.insert("d30".into(), json!({"type": "object"}));
        assert!(refused(json!({"$ref": "#/$defs/d0", "$defs": definitions})).contains("larger than 10000 subschemas"));
        let chain: Map<_, _> = (0..1000).map(|i| (format!("c{i}"), json!({"$ref": format!("#/$defs/c{}", i + 1)}))).collect();
        assert!(refused(json!({"$ref": "#/$defs/c0", "$defs": chain})).contains("references in a row"));
        assert!(refused(json!({"$dynamicRef": "#x"})).contains("uses $dynamicRef"));
        let pattern = json!({"properties": {"a": {"type": "string", "pattern": "^(?=(a+)+$)b{9999}{9999}"}}});
        assert!(checked(pattern, json!({"a": "a".repeat(5000)})).is_err());
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
