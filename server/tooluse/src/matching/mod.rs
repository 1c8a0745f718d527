//! Station *reward*, first half: are these calls right, and if not, which argument is wrong and how.
//!
//! In: a problem and the calls that a model made. Out: yes or no by the task set's own rule, and a verdict per argument.
//! Does not parse text and awards nothing.

pub mod bfcl;
mod explain;
pub mod python;

pub use explain::{ArgumentVerdict, CallExplanation, Explanation, Verdict, explain};
pub(crate) use explain::{judge as judge_call, same_text};

use serde_json::{Map, Value};
use whetstone_domain::{Accepted, ExpectedCall, Matcher, Problem, Tool, ToolCall};

/// True when the calls are right by the problem's own matcher.
///
/// No calls are right exactly where none is expected; that is also BFCL's rule for `irrelevance`, for which the caller
/// passes no calls when the text does not decode.
pub fn matches(problem: &Problem, calls: &[ToolCall]) -> bool {
    if problem.expected.is_no_call() {
        return calls.is_empty();
    }
    right_partners(problem, calls).is_some()
}

/// The call that meets each expected one, by index, where the calls are right by the problem's own matcher.
fn right_partners(problem: &Problem, calls: &[ToolCall]) -> Option<Vec<usize>> {
    match problem.matcher {
        Matcher::Bfcl => bfcl::partners(problem, calls).ok().flatten(),
        // nothing that is expected can be met
        Matcher::BfclIrrelevance => calls.is_empty().then(Vec::new),
        Matcher::Exact => exact(&problem.expected.calls, calls),
    }
}

/// Calls that are right, as a model should write them: the first accepted value of every argument that must be given.
///
/// Where the matcher is BFCL's, accepted objects list the accepted values per key; the first one of each is written.
pub fn canonical(problem: &Problem) -> Vec<ToolCall> {
    problem.expected.calls.iter().map(|expected| canonical_call(problem, expected)).collect()
}

fn canonical_call(problem: &Problem, expected: &ExpectedCall) -> ToolCall {
    if problem.matcher == Matcher::Exact {
        return expected.canonical();
    }
    let tool = tool_of(problem, &expected.name);
    let mut arguments = Map::new();
    for (key, accepted) in &expected.arguments {
        let required = tool.is_some_and(|t| is_required(t, key));
        if accepted.optional && !required {
            continue;
        }
        // BFCL writes "" for "may be omitted"; where it is the only value, or the first of a required string, it is a value
        let first = accepted.values.iter().find(|v| !accepted.optional || v.as_str() != Some("")).or(accepted.values.first());
        if let Some(value) = first {
            arguments.insert(key.clone(), plain(value, tool.and_then(|t| property(t, key))));
        }
    }
    ToolCall { name: expected.name.clone(), arguments }
}

/// An accepted value of BFCL as it would be written: objects there hold a list of accepted values per key.
fn plain(value: &Value, property: Option<&Value>) -> Value {
    let unlisted = |map: &Map<String, Value>| {
        let kept = map.iter().filter_map(|(k, v)| match v {
            Value::Array(options) if options.iter().any(|o| o.as_str() == Some("")) => None,
            Value::Array(options) => options.first().map(|o| (k.clone(), o.clone())),
            other => Some((k.clone(), other.clone())),
        });
        Value::Object(kept.collect())
    };
    let kind = |p: Option<&Value>| p.and_then(|p| p.get("type")).and_then(Value::as_str).and_then(python::Type::of_schema);
    match (value, kind(property)) {
        (Value::Object(map), Some(python::Type::Dict)) => unlisted(map),
        (Value::Array(items), Some(python::Type::List)) if kind(property.and_then(|p| p.get("items"))) == Some(python::Type::Dict) => {
            items.iter().map(|item| item.as_object().map_or_else(|| item.clone(), unlisted)).collect()
        }
        _ => value.clone(),
    }
}

/// The paper's rule (arXiv 2509.04518): names and arguments equal to accepted values, calls in any order.
/// Numbers are equal by value, as in JSON: 5 and 5.0 are the same, `true` and 1 are not.
fn exact(expected: &[ExpectedCall], calls: &[ToolCall]) -> Option<Vec<usize>> {
    // optional arguments can let a call meet several expectations, so partners are reassigned until all have one (Kuhn's algorithm)
    let mut meets = vec![None; calls.len()];
    let all =
        expected.len() == calls.len() && (0..expected.len()).all(|e| assign(e, expected, calls, &mut meets, &mut vec![false; calls.len()]));
    let call_of = |e: usize| meets.iter().position(|m| *m == Some(e));
    all.then(|| (0..expected.len()).filter_map(call_of).collect())
}

/// Gives expectation `e` a call, moving those who hold one on where need be; `tried` are the calls already asked for it.
fn assign(e: usize, expected: &[ExpectedCall], calls: &[ToolCall], meets: &mut [Option<usize>], tried: &mut [bool]) -> bool {
    for (c, call) in calls.iter().enumerate() {
        if tried[c] || !exact_call(&expected[e], call) {
            continue;
        }
        tried[c] = true;
        if meets[c].is_none_or(|holder| assign(holder, expected, calls, meets, tried)) {
            meets[c] = Some(e);
            return true;
        }
    }
    false
}

fn exact_call(expected: &ExpectedCall, call: &ToolCall) -> bool {
    call.name == expected.name
        && call.arguments.iter().all(|(k, v)| accepted(expected, k).is_some_and(|a| exact_value(a, v)))
        && expected.arguments.iter().all(|(k, a)| a.optional || call.arguments.contains_key(k))
}

fn exact_value(accepted: &Accepted, value: &Value) -> bool {
    accepted.values.iter().any(|one| python::json_equal(one, value))
}

/// Checks that every accepted value of an argument keeps to the tool's schema, and that the matcher takes it as written.
pub(crate) fn accepts_itself(matcher: Matcher, tool: &Tool, key: &str, accepted: &Accepted) -> Result<(), String> {
    let mut alone = tool.clone();
    if let Some(schema) = alone.parameters.as_object_mut() {
        schema.remove("required");
    }
    for value in &accepted.values {
        let property = property(tool, key);
        let written = if matcher == Matcher::Exact { value.clone() } else { plain(value, property) };
        let call = ToolCall { name: tool.name.clone(), arguments: Map::from_iter([(key.to_owned(), written.clone())]) };
        crate::schema::check(&alone, &call).map_err(|reason| format!("breaks the tool's schema: {reason}"))?;
        let (Some(property), Matcher::Bfcl) = (property, matcher) else { continue };
        if bfcl::check_value(property, &accepted.values, &written) != Ok(bfcl::ValueCheck::Right) {
            let kind = property.get("type").map_or_else(|| "(none)".into(), Value::to_string);
            return Err(format!(
                "{} is refused by BFCL's matcher for type {} (one type name, arrays with \"items\"); mend the schema or use \
                 \"matcher\": \"exact\"",
                crate::schema::shortened(&written.to_string()),
                crate::schema::shortened(&kind)
            ));
        }
    }
    Ok(())
}

/// The problem under BFCL's matcher, accepted values turned into BFCL's lists.
pub(crate) fn as_bfcl(problem: &Problem) -> Problem {
    let mut out = problem.clone();
    if problem.matcher == Matcher::Exact {
        for call in &mut out.expected.calls {
            let Some(tool) = tool_of(problem, &call.name) else { continue };
            for (key, accepted) in &mut call.arguments {
                if let Some(property) = property(tool, key) {
                    accepted.values.iter_mut().for_each(|value| list_keys(value, property));
                }
            }
        }
    }
    out.matcher = Matcher::Bfcl;
    out
}

/// `{"k": v}` to `{"k": [v]}`, for an object or a list of objects.
pub(crate) fn list_keys(value: &mut Value, property: &Value) {
    let kind = |p: Option<&Value>| p.and_then(|p| p.get("type")).and_then(Value::as_str).and_then(python::Type::of_schema);
    match (kind(Some(property)), value) {
        (Some(python::Type::Dict), Value::Object(map)) => {
            for (_, v) in map.iter_mut() {
                *v = Value::Array(vec![v.take()]);
            }
        }
        (Some(python::Type::List), Value::Array(items)) if kind(property.get("items")) == Some(python::Type::Dict) => {
            for item in items.iter_mut() {
                list_keys(item, &serde_json::json!({"type": "object"}));
            }
        }
        _ => {}
    }
}

/// The offered tool of this name.
pub(crate) fn tool_of<'a>(problem: &'a Problem, name: &str) -> Option<&'a Tool> {
    problem.tools.iter().find(|t| t.name == name)
}

/// The schema of one argument.
pub(crate) fn property<'a>(tool: &'a Tool, key: &str) -> Option<&'a Value> {
    tool.parameters.get("properties")?.get(key)
}

/// True when the tool's schema requires the argument.
pub(crate) fn is_required(tool: &Tool, key: &str) -> bool {
    tool.parameters.get("required").and_then(Value::as_array).is_some_and(|r| r.iter().any(|x| x == key))
}

/// What is accepted for one argument.
pub(crate) fn accepted<'a>(expected: &'a ExpectedCall, key: &str) -> Option<&'a Accepted> {
    expected.arguments.iter().find(|(k, _)| k == key).map(|(_, a)| a)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
