//! Policies that know nothing, or nearly everything: what each would write. In: a problem. Out: texts. Judges nothing.

use serde::Serialize;
use serde_json::{Map, Value, json};
use whetstone_domain::{Problem, Role, Tool, ToolCall, config::Format};

use crate::format::{self, Style};
use crate::matching;

/// A way to answer, from garbage to gold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Begins as calls do and goes nowhere.
    Garbage,
    /// Never calls.
    Abstain,
    /// A tool that does not exist.
    UnknownTool,
    /// An offered tool that is not wanted, or one that does not exist where all are wanted.
    WrongTool,
    /// The answer of the last worked example of the prompt.
    WorkedExample,
    /// The first tool offered, no arguments.
    FirstToolEmpty,
    /// The first tool offered, the keys that it requires or, where it requires none, all of them, junk.
    FirstToolJunk,
    /// Every tool offered, no arguments.
    AllTools,
    /// The right tools, no arguments.
    RightToolEmpty,
    /// The right tools and keys, junk values.
    RightKeysJunk,
    /// All right but the value of one argument.
    OneWrongValue,
    /// One call too few, where several are wanted.
    OneCallMissing,
    /// All right and one invented argument.
    InventedArgument,
    /// The right calls twice.
    GoldTwice,
    /// Numbers as strings.
    NumbersAsStrings,
    /// The right calls, then a sentence.
    GoldWithProse,
    /// The right calls.
    Gold,
}

impl Policy {
    /// Name as in JSON.
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// What it writes, in words.
    pub fn description(self) -> &'static str {
        match self {
            Self::Garbage => "an opening brace and garbage",
            Self::Abstain => "always []",
            Self::UnknownTool => "a tool that does not exist, {}",
            Self::WrongTool => "a tool that is not wanted, {}",
            Self::WorkedExample => "copies the prompt's worked example",
            Self::FirstToolEmpty => "first tool, {}",
            Self::FirstToolJunk => "first tool, its keys, junk",
            Self::AllTools => "all tools, {}",
            Self::RightToolEmpty => "right tools, {}",
            Self::RightKeysJunk => "right tools and keys, junk values",
            Self::OneWrongValue => "gold with one wrong value",
            Self::OneCallMissing => "gold without its last call",
            Self::InventedArgument => "gold with an invented argument",
            Self::GoldTwice => "gold twice",
            Self::NumbersAsStrings => "gold, numbers as strings",
            Self::GoldWithProse => "gold, then a sentence",
            Self::Gold => "gold",
        }
    }
}

fn call(name: &str, arguments: Map<String, Value>) -> ToolCall {
    ToolCall { name: name.to_owned(), arguments }
}

/// What the policies that apply to a problem would write, garbage first, gold last.
pub fn texts(format: Format, problem: &Problem) -> Vec<(Policy, String)> {
    let gold = matching::canonical(problem);
    let write = |calls: &[ToolCall]| format::write(format, calls);
    let empty = |name: &str| call(name, Map::new());
    let right = write(&gold);
    let mut out = vec![(Policy::Gold, right.clone()), (Policy::Garbage, garbage(format)), (Policy::Abstain, write(&[]))];
    out.push((Policy::UnknownTool, write(&[empty("no_such_tool")])));
    let unwanted = problem.tools.iter().find(|t| gold.iter().all(|c| c.name != t.name)).map_or("no_such_tool", |t| &t.name);
    out.push((Policy::WrongTool, write(&[empty(unwanted)])));
    if let Some(example) = worked_example(format, problem) {
        out.push((Policy::WorkedExample, example));
    }
    if let Some(first) = problem.tools.first() {
        out.push((Policy::FirstToolEmpty, write(&[empty(&first.name)])));
        let junk = keys(first).into_iter().map(|k| (k.to_owned(), junk_for(matching::property(first, k)))).collect();
        out.push((Policy::FirstToolJunk, write(&[call(&first.name, junk)])));
    }
    if problem.tools.len() > 1 {
        out.push((Policy::AllTools, write(&problem.tools.iter().map(|t| empty(&t.name)).collect::<Vec<_>>())));
    }
    if !gold.is_empty() {
        out.push((Policy::RightToolEmpty, write(&gold.iter().map(|c| empty(&c.name)).collect::<Vec<_>>())));
        out.push((Policy::RightKeysJunk, write(&changed_values(&gold))));
        if let Some((c, key)) = gold.iter().enumerate().find_map(|(i, c)| c.arguments.keys().next().map(|k| (i, k.clone()))) {
            let mut one = gold.clone();
            if let Some(value) = one[c].arguments.get_mut(&key) {
                *value = other(value);
            }
            out.push((Policy::OneWrongValue, write(&one)));
        }
        if gold.len() > 1 {
            out.push((Policy::OneCallMissing, write(&gold[..gold.len() - 1])));
        }
        let mut invented = gold.clone();
        invented[0].arguments.insert("invented".to_owned(), json!(1));
        out.push((Policy::InventedArgument, write(&invented)));
        out.push((Policy::GoldTwice, write(&[gold.clone(), gold.clone()].concat())));
        if gold.iter().any(|c| c.arguments.values().any(Value::is_number)) {
            out.push((Policy::NumbersAsStrings, write(&changed(&gold, Value::is_number, |v| Value::from(v.to_string())))));
        }
        out.push((Policy::GoldWithProse, format!("{right} I hope this helps.")));
    }
    out.sort_by_key(|(policy, _)| *policy);
    out
}

/// The keys that a schema lists as required; all where it lists none, as xLAM's do.
fn keys(tool: &Tool) -> Vec<&str> {
    let required: Vec<&str> =
        tool.parameters.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    match required.is_empty() {
        true => tool.parameters.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys).map(String::as_str).collect(),
        false => required,
    }
}

/// The beginning of a call, then nonsense.
fn garbage(format: Format) -> String {
    let call = format::write(format, &[call("x", Map::new())]);
    // up to the tool's name: no marker of a format holds an x
    let start = call.split('x').next().unwrap_or_default();
    format!("{start} garbage")
}

/// The calls with another value of the same type in every place.
pub(super) fn changed_values(calls: &[ToolCall]) -> Vec<ToolCall> {
    changed(calls, |_| true, other)
}

fn changed(calls: &[ToolCall], which: impl Fn(&Value) -> bool, how: impl Fn(&Value) -> Value) -> Vec<ToolCall> {
    let mut calls = calls.to_vec();
    for value in calls.iter_mut().flat_map(|c| c.arguments.values_mut()).filter(|v| which(v)) {
        *value = how(value);
    }
    calls
}

/// Another value of the same type.
fn other(value: &Value) -> Value {
    match value {
        Value::String(_) => json!("\u{2603}\u{2603}"),
        Value::Number(n) if n.is_f64() => json!(-987_654.25),
        Value::Number(_) => json!(-987_654),
        Value::Bool(b) => json!(!*b),
        Value::Array(_) => json!(["\u{2603}\u{2603}"]),
        Value::Object(_) => json!({"\u{2603}": 1}),
        Value::Null => json!("\u{2603}\u{2603}"),
    }
}

fn junk_for(property: Option<&Value>) -> Value {
    match property.and_then(|p| p.get("type")).and_then(Value::as_str) {
        Some("integer") => json!(-987_654),
        Some("number" | "float") => json!(-987_654.25),
        Some("boolean") => json!(true),
        Some("array" | "tuple") => json!(["\u{2603}\u{2603}"]),
        Some("object" | "dict") => json!({"\u{2603}": 1}),
        _ => json!("\u{2603}\u{2603}"),
    }
}

/// The last turn of the assistant in the prompt that makes a call.
fn worked_example(format: Format, problem: &Problem) -> Option<String> {
    let prompt = format::render(Style::of(format), false, problem);
    let answers = prompt.messages.iter().rev().filter(|m| m.role == Role::Assistant);
    answers.map(|m| m.content.clone()).find(|text| format::parse(format, text).strict.is_ok_and(|c| !c.is_empty()))
}
