//! Worked examples for prompts, in no format yet: tools, a request and the calls that answer it.
//!
//! No call, a call among two tools with a list and a date to be normalised, and a call of the only tool. Both calls leave out an
//! argument nobody asked for: shown only full calls, a small model invents the missing values. The simplest call comes last,
//! because it leans to whatever it saw last. Their tools occur in no task set.

use serde_json::{Map, Value, json};
use whetstone_domain::{Tool, ToolCall};

/// One example.
pub(super) struct Example {
    pub tools: Vec<Tool>,
    pub request: &'static str,
    pub calls: Vec<ToolCall>,
}

/// The last `n` of them, in order: the simplest first to be kept.
pub(super) fn last(n: usize) -> impl Iterator<Item = Example> {
    let all = all();
    let skipped = all.len().saturating_sub(n);
    all.into_iter().skip(skipped)
}

fn all() -> [Example; whetstone_domain::config::MAX_WORKED_EXAMPLES] {
    let feed = || tool("feed_cat", "Feed the cat", json!({"grams": {"type": "integer"}}), &["grams"]);
    let photos = json!({
        "ids": {"type": "array", "items": {"type": "integer"}},
        "tag": {"type": "string"},
        "album": {"type": "string", "enum": ["private", "shared"]},
        "taken": {"type": "string"}
    });
    let tea = json!({"kind": {"type": "string"}, "cups": {"type": "integer", "default": 1}});
    [
        Example { tools: vec![feed()], request: "Who painted the Mona Lisa?", calls: Vec::new() },
        Example {
            tools: vec![feed(), tool("photos.tag", "Tag photos", photos, &["ids", "tag"])],
            request: "Tag photos 12 and 40 from May 3, 2025 as sunset.",
            calls: vec![call("photos.tag", [("ids", json!([12, 40])), ("tag", json!("sunset")), ("taken", json!("2025-05-03"))])],
        },
        Example {
            tools: vec![tool("brew_tea", "Brew tea", tea, &["kind"])],
            request: "I would like some oolong, please.",
            calls: vec![call("brew_tea", [("kind", json!("oolong"))])],
        },
    ]
}

fn tool(name: &str, description: &str, properties: Value, required: &[&str]) -> Tool {
    let parameters = json!({"type": "object", "properties": properties, "required": required});
    Tool { name: name.into(), description: description.into(), parameters }
}

fn call<const N: usize>(name: &str, arguments: [(&str, Value); N]) -> ToolCall {
    let arguments: Map<String, Value> = arguments.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    ToolCall { name: name.into(), arguments }
}
