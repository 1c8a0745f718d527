//! An OpenAPI 3 document as tools. In: the document, JSON. Out: its operations, each with path, method, where its parameters go,
//! and a schema of its arguments in which local references are written out. Speaks to nobody.

use serde_json::{Map, Value, json};
use whetstone_domain::Tool;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
/// References are followed so deep; a schema that contains itself is cut there.
const DEEPEST: usize = 12;
/// Most values that the schemas of one operation may have when references are written out.
const MOST_NODES: usize = 20_000;

/// Where an argument goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A part of the path.
    Path,
    /// The query string.
    Query,
    /// A key of the JSON body.
    Body,
    /// The JSON body as a whole.
    WholeBody,
}

/// One operation.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    /// `operationId`, or method and path.
    pub name: String,
    /// Upper case.
    pub method: String,
    /// With `{parameters}`.
    pub path: String,
    /// Arguments and where they go.
    pub places: Vec<(String, Place)>,
    /// As a prompt lists it, under its own name.
    pub tool: Tool,
}

/// The operations of a document, or what is wrong with it.
pub(crate) fn operations(document: &Value) -> Result<Vec<Operation>, String> {
    let paths = document.get("paths").and_then(Value::as_object).ok_or("the OpenAPI document has no \"paths\"")?;
    let mut found: Vec<Operation> = Vec::new();
    for (path, item) in paths {
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                let read = operation_of(document, path, item, method, operation).map_err(|e| format!("{method} {path}: {e}"))?;
                if found.iter().any(|o| o.name == read.name) {
                    return Err(format!("{method} {path}: its name {:?} is taken", read.name));
                }
                found.push(read);
            }
        }
    }
    if found.is_empty() { Err("the OpenAPI document has no operations".into()) } else { Ok(found) }
}

/// The URL of the first server.
pub(crate) fn server(document: &Value) -> Option<&str> {
    document.pointer("/servers/0/url").and_then(Value::as_str)
}

fn operation_of(document: &Value, path: &str, item: &Value, method: &str, operation: &Value) -> Result<Operation, String> {
    if !path.starts_with('/') {
        return Err("the path must begin with /".into());
    }
    let (mut places, mut properties, mut required) = (Vec::new(), Map::new(), Vec::new());
    let mut inline = Inline { document, left: MOST_NODES };
    // an operation's own parameters come first and win over those of its path
    let lists = [operation.get("parameters"), item.get("parameters")];
    for parameter in lists.into_iter().flatten().filter_map(Value::as_array).flatten() {
        let parameter = inline.resolve(parameter)?;
        let text = |key: &str| parameter.get(key).and_then(Value::as_str);
        let name = text("name").ok_or("a parameter has no name")?;
        let needed = parameter.get("required") == Some(&Value::Bool(true));
        let place = match text("in") {
            Some("path") => Place::Path,
            Some("query") => Place::Query,
            Some(other) if needed => return Err(format!("parameter {name:?} in {other} is required, which is not supported")),
            _ => continue,
        };
        if properties.contains_key(name) {
            continue;
        }
        let mut schema = inline.schema(parameter.get("schema").unwrap_or(&json!({"type": "string"})), 0)?;
        if let (Some(about), Some(map)) = (parameter.get("description"), schema.as_object_mut()) {
            map.entry("description").or_insert_with(|| about.clone());
        }
        places.push((name.to_owned(), place));
        properties.insert(name.to_owned(), schema);
        if needed || place == Place::Path {
            required.push(name.to_owned());
        }
    }
    for part in path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name) {
        if !places.iter().any(|(name, place)| name == part && *place == Place::Path) {
            return Err(format!("{{{part}}} of the path is no parameter"));
        }
    }
    if let Some(body) = operation.get("requestBody") {
        let body = inline.resolve(body)?;
        let needed = body.get("required") == Some(&Value::Bool(true));
        match body.pointer("/content/application~1json/schema") {
            Some(schema) => {
                let schema = inline.schema(schema, 0)?;
                take_body(schema, needed, &mut places, &mut properties, &mut required);
            }
            None if needed => return Err("its body is not application/json, which is not supported".into()),
            None => {}
        }
    }
    let name = match operation.get("operationId").and_then(Value::as_str) {
        Some(id) => id.to_owned(),
        None => format!("{method}{}", path.replace(['/', '{', '}'], "_").trim_end_matches('_')),
    };
    // a summary is often no more than the function's name (FastAPI), a description may go on for pages
    let text = |key: &str| operation.get(key).and_then(Value::as_str).unwrap_or_default().trim();
    let first = text("description").split("\n\n").next().unwrap_or_default();
    let about = if first.is_empty() { text("summary") } else { first };
    let parameters = json!({"type": "object", "properties": properties, "required": required});
    let tool = Tool { name: name.clone(), description: about.to_owned(), parameters };
    Ok(Operation { name, method: method.to_ascii_uppercase(), path: path.to_owned(), places, tool })
}

/// A body's keys become arguments where they are known and no name is taken; else the body is one argument `body`.
fn take_body(
    schema: Value,
    needed: bool,
    places: &mut Vec<(String, Place)>,
    properties: &mut Map<String, Value>,
    required: &mut Vec<String>,
) {
    match schema.get("properties").and_then(Value::as_object) {
        Some(keys) if !keys.is_empty() && keys.keys().all(|k| !properties.contains_key(k)) => {
            let wanted = schema.get("required").and_then(Value::as_array);
            for (key, property) in keys {
                places.push((key.clone(), Place::Body));
                properties.insert(key.clone(), property.clone());
                if needed && wanted.is_some_and(|w| w.iter().any(|x| x == key.as_str())) {
                    required.push(key.clone());
                }
            }
        }
        _ => {
            places.push(("body".into(), Place::WholeBody));
            properties.insert("body".into(), schema);
            if needed {
                required.push("body".into());
            }
        }
    }
}

/// Writes local references out, within bounds.
struct Inline<'a> {
    document: &'a Value,
    left: usize,
}

impl<'a> Inline<'a> {
    /// What a `$ref` stands for; anything else as it is.
    fn resolve<'b>(&self, value: &'b Value) -> Result<&'b Value, String>
    where
        'a: 'b,
    {
        let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return Ok(value) };
        let pointer = reference.strip_prefix('#').ok_or_else(|| format!("{reference:?} is no reference within the document"))?;
        self.document.pointer(pointer).ok_or_else(|| format!("{reference:?} refers to nothing"))
    }

    /// A schema with references written out.
    fn schema(&mut self, schema: &Value, depth: usize) -> Result<Value, String> {
        self.left = self.left.checked_sub(1).ok_or("its schemas are too large")?;
        if depth > DEEPEST {
            return Ok(json!({}));
        }
        let document = Self { document: self.document, left: 0 };
        match schema {
            Value::Object(map) if map.contains_key("$ref") => self.schema(document.resolve(schema)?, depth + 1),
            Value::Object(map) => {
                let entries = map.iter().map(|(k, v)| Ok((k.clone(), self.schema(v, depth + 1)?)));
                entries.collect::<Result<Map<_, _>, String>>().map(Value::Object)
            }
            Value::Array(items) => items.iter().map(|v| self.schema(v, depth + 1)).collect(),
            plain => Ok(plain.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_become_tools_with_schemas() {
        let document = json!({"servers": [{"url": "http://127.0.0.1:1/v1"}], "paths": {
            "/cities/{city}/weather": {
                "parameters": [{"name": "city", "in": "path", "required": true, "schema": {"$ref": "#/components/schemas/City"}}],
                "get": {"operationId": "getWeather", "summary": "Weather", "parameters": [
                    {"name": "unit", "in": "query", "schema": {"type": "string", "enum": ["c", "f"]}, "description": "Unit"},
                    {"name": "trace", "in": "header"}]},
                "post": {"summary": "Post", "description": "Keeps a note\n\nAt length.", "requestBody": {"required": true, "content": {"application/json": {"schema": {"type": "object",
                    "required": ["note"], "properties": {"note": {"type": "string"}, "score": {"type": "number"}}}}}}}}},
            "components": {"schemas": {"City": {"type": "string"}}}});
        let read = operations(&document).expect("reads");
        assert_eq!(server(&document), Some("http://127.0.0.1:1/v1"));
        assert_eq!((read[0].name.as_str(), read[0].method.as_str()), ("getWeather", "GET"));
        assert_eq!(read[0].places, [("unit".to_owned(), Place::Query), ("city".to_owned(), Place::Path)]);
        assert_eq!(read[0].tool.parameters["properties"]["city"], json!({"type": "string"}));
        assert_eq!(read[0].tool.parameters["properties"]["unit"]["description"], json!("Unit"));
        assert_eq!(read[0].tool.parameters["required"], json!(["city"]));
        assert_eq!(read[1].name, "post_cities__city__weather");
        assert_eq!((read[0].tool.description.as_str(), read[1].tool.description.as_str()), ("Weather", "Keeps a note"));
        assert_eq!(read[1].tool.parameters["required"], json!(["city", "note"]));
    }

    #[test]
    fn what_a_document_lacks_is_named_and_recursion_ends() {
        let with = |operation: Value| json!({"paths": {"/a/{id}": {"get": operation}}});
        for (document, reason) in [
            (json!({}), "no \"paths\""),
            (json!({"paths": {}}), "no operations"),
            (with(json!({})), "{id} of the path"),
            (with(json!({"parameters": [{"$ref": "http://example.invalid/p"}]})), "no reference within"),
            (with(json!({"parameters": [{"$ref": "#/nowhere"}]})), "refers to nothing"),
            (with(json!({"parameters": [{"name": "k", "in": "header", "required": true}]})), "not supported"),
        ] {
            let error = operations(&document).expect_err("bad");
            assert!(error.contains(reason), "{error}");
        }
        let node =
            json!({"type": "object", "properties": {"l": {"$ref": "#/components/schemas/N"}, "r": {"$ref": "#/components/schemas/N"}}});
        let document = json!({"components": {"schemas": {"N": node}}, "paths": {"/a": {"post": {"requestBody": {"content":
            {"application/json": {"schema": {"$ref": "#/components/schemas/N"}}}}}}}});
        assert!(operations(&document).is_ok());
    }
}
