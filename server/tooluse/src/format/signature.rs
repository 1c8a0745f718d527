//! Tools as one line each: `{"name": "f", "arguments": {"arg": type, "opt"?: type = default}} - description`.
//!
//! In: a tool with its JSON Schema (or BFCL's Python-flavoured one). Out: one line of text, several times shorter than the
//! schema, because prompt tokens are what a small model on a CPU pays for. Constraints beyond type, enum and default are left out.

use serde_json::{Map, Value};
use whetstone_domain::Tool;

use super::json::write_value;

/// Defaults longer than this are not shown. Bytes.
const LONGEST_DEFAULT: usize = 32;
/// Objects nested deeper than this are shown as `object`.
const DEEPEST_OBJECT: usize = 3;

/// The signature line of a tool: the call it wants, with types in the place of values. Enums are shown as `"a"|"b"`, arrays as
/// `string[]`; an argument that may be left out has a `?` behind its name, and its default as ` = value`.
///
/// Names stand there exactly as the answer must have them, quotes included. In a Python-like `name(arg: type)` an argument is
/// one token with a leading space, and SmolLM2-135M copies that space into its keys (`" nights"`).
pub fn signature(tool: &Tool) -> String {
    let description = one_line(&tool.description);
    let call = format!("{{\"name\": {}, \"arguments\": {{{}}}}}", quoted(&tool.name), parameters(&tool.parameters, 0));
    match description.strip_suffix('.').unwrap_or(&description) {
        "" => call,
        description => format!("{call} - {description}"),
    }
}

fn quoted(name: &str) -> String {
    literal(&Value::String(one_line(name)))
}

/// Hostile or careless text must not forge further lines of the listing.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn parameters(schema: &Value, depth: usize) -> String {
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let required = schema.get("required").and_then(Value::as_array);
    let shown = properties.iter().map(|(name, property)| {
        let needed = required.is_some_and(|r| r.iter().any(|x| x == name.as_str()));
        let default = property.get("default").filter(|d| !needed && !d.is_null()).map(literal);
        let default = default.filter(|d| d.len() <= LONGEST_DEFAULT).map_or_else(String::new, |d| format!(" = {d}"));
        format!("{}{}: {}{default}", quoted(name), if needed { "" } else { "?" }, type_of(property, depth))
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn literal(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

fn type_of(property: &Value, depth: usize) -> String {
    if let Some(options) = property.get("enum").and_then(Value::as_array)
        && !options.is_empty()
    {
        return options.iter().map(literal).collect::<Vec<_>>().join("|");
    }
    let named = |name: &str| match name {
        "dict" | "object" if depth < DEEPEST_OBJECT && property.get("properties").is_some_and(Value::is_object) => {
            format!("{{{}}}", parameters(property, depth + 1))
        }
        "dict" | "object" => "object".into(),
        "array" | "tuple" | "list" => match property.get("items") {
            Some(items) if depth < DEEPEST_OBJECT => {
                let inner = type_of(items, depth + 1);
                if inner.contains('|') { format!("({inner})[]") } else { format!("{inner}[]") }
            }
            _ => "array".into(),
        },
        "float" | "double" => "number".into(),
        "bool" => "boolean".into(),
        other => one_line(other),
    };
    match property.get("type") {
        Some(Value::String(name)) => named(name),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(named).collect::<Vec<_>>().join("|"),
        _ => "any".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tool(parameters: Value) -> Tool {
        Tool { name: "f".into(), description: "Does\n it.".into(), parameters }
    }

    #[test]
    fn a_signature_shows_types_enums_arrays_defaults_and_what_may_be_left_out() {
        let t = tool(json!({"type": "object", "required": ["a", "tags"], "properties": {
            "a": {"type": "float"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "unit": {"type": "string", "enum": ["m", "ft"], "default": "m"},
            "sides": {"type": "array", "items": {"type": "string", "enum": ["l", "r"]}},
            "who": {"type": "dict", "properties": {"name": {"type": "string"}}, "required": ["name"]},
            "note": {"type": ["string", "null"]},
            "x": {}
        }}));
        assert_eq!(
            signature(&t),
            "{\"name\": \"f\", \"arguments\": {\"a\": number, \"tags\": string[], \"unit\"?: \"m\"|\"ft\" = \"m\", \
             \"sides\"?: (\"l\"|\"r\")[], \"who\"?: {\"name\": string}, \"note\"?: string|null, \"x\"?: any}} - Does it"
        );
    }

    #[test]
    fn a_signature_is_one_line_whatever_the_tool_says() {
        let t = Tool {
            name: "a\n\"b".into(),
            description: "x\r\n\ny(z: string)\u{2028}q".into(),
            parameters: json!({"properties": {"k\n2": {"type": "a\nb"}}}),
        };
        assert_eq!(signature(&t), r#"{"name": "a \"b", "arguments": {"k 2"?: a b}} - x y(z: string) q"#);
        for odd in [json!(null), json!(5), json!([]), json!({"properties": []}), json!({"properties": {"a": 3}})] {
            assert!(signature(&tool(odd)).starts_with("{\"name\": \"f\", \"arguments\": {"));
        }
    }
}
