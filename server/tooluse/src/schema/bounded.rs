//! Can a tool's schema be compiled and applied in bounded time and depth?
//!
//! In: a schema as it came. Out: nothing, or why it is refused. Whoever writes a task file writes schemas: they are hostile text.

use std::collections::HashMap;

use serde_json::Value;

/// Deeper nesting of a schema, counted in JSON's own lists and objects, is refused.
pub const MAX_DEPTH: usize = 64;
/// A schema that is larger than this with its references put in their places is refused.
pub const MAX_SUBSCHEMAS: usize = 10_000;

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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    #[test]
    fn schema_bombs_are_refused_by_name_and_at_once() {
        let refused = |schema: Value| bounded(&schema).expect_err("a bomb");
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
    }
}
