//! Rows of OpenAI's chat format, as rows of ours: `messages` and `tools`; the last message is the assistant's, the expected answer.
//!
//! In: one row as JSON. Out: a problem, or the field that is wrong and why. Calls stand in `tool_calls`, or in the older
//! `function_call`, whose rows list their tools under `functions`. Where neither makes a call, none is right: so a turn that says
//! nothing, or that writes a call of an offered tool into its words, is refused. Such a row would teach never to call.

use serde_json::{Map, Value, json};
use whetstone_domain::{Message, Problem, Role, Tool, config::Format};

use super::foreign::{self, Row};
use super::jsonl::{Bad, bad};
use crate::format;

/// A row as a problem.
pub(super) fn problem(mut row: Row, line: usize) -> Result<Problem, Bad> {
    let given = ["tools", "functions"].into_iter().find_map(|key| Some((key, row.remove(key).filter(|v| !v.is_null())?)));
    let (key, tools) = given.unwrap_or_else(|| ("tools", json!([])));
    let tools = foreign::tools(tools, key)?;
    let Some(Value::Array(mut turns)) = row.remove("messages") else { return bad("messages", "is missing or no list") };
    let last = turns.pop().unwrap_or_default();
    let at = format!("messages[{}]", turns.len());
    let answer = match last {
        Value::Object(turn) if turn.get("role").and_then(Value::as_str) == Some("assistant") => turn,
        turn if matches!(role(&turn), Some("tool" | "function")) => {
            return bad(at, "is a tool's result, and a row must end with the expected answer: take out what follows the assistant's call");
        }
        _ => return bad("messages", "must end with the assistant's turn, which is the expected answer"),
    };
    ends_with_a_request(&turns)?;
    let (calls, field) = expected(&answer, &at, &tools)?;
    let messages = turns.iter().enumerate().map(|(i, turn)| message(turn, &format!("messages[{i}]"))).collect::<Result<_, _>>()?;
    // the older key holds one call, no list
    let plain = |(field, reason): Bad| (field.replacen("function_call[0]", "function_call", 1), reason);
    foreign::problem(&mut row, line, messages, tools, &calls, &field).map_err(plain)
}

fn role(turn: &Value) -> Option<&str> {
    turn.get("role").and_then(Value::as_str)
}

/// Checks that the answer follows a request: a single turn is asked for, and no result of a tool may come before it.
fn ends_with_a_request(turns: &[Value]) -> Result<(), Bad> {
    let Some((last, before)) = turns.split_last() else { return Ok(()) };
    let at = format!("messages[{}]", before.len());
    match role(last) {
        Some("tool" | "function") => {
            let call = before.iter().rposition(|turn| role(turn) == Some("user")).map_or(0, |request| request + 1);
            let end = format!("end the row with the call in messages[{call}]");
            bad(at, format!("is a tool's result, and the answer behind it rests on it; only one turn is asked for: {end}"))
        }
        Some("assistant") => bad(at, "is a turn of the assistant, and so is the one behind it; only the last is the answer: join them"),
        _ => Ok(()),
    }
}

/// The calls of the last turn, and the field where they stand.
fn expected(turn: &Map<String, Value>, at: &str, tools: &[Tool]) -> Result<(Vec<Value>, String), Bad> {
    let field = format!("{at}.tool_calls");
    let none = match turn.get("tool_calls") {
        Some(Value::Array(calls)) if !calls.is_empty() => return Ok((calls.clone(), field)),
        Some(Value::Array(_)) => true,
        None | Some(Value::Null) => false,
        Some(_) => return bad(field, "must be a list"),
    };
    match turn.get("function_call") {
        None | Some(Value::Null) => {}
        Some(call @ Value::Object(_)) => return Ok((vec![call.clone()], format!("{at}.function_call"))),
        Some(_) => return bad(format!("{at}.function_call"), "must be an object with name and arguments"),
    }
    let said = words(turn);
    if let Some(name) = written_call(&said, tools) {
        let reason = format!(
            "holds a call of {name:?} in words, and there are no tool_calls: put it into tool_calls, or take it out where no call is right"
        );
        return bad(format!("{at}.content"), reason);
    }
    if said.trim().is_empty() && !none {
        return bad(at, "says nothing: put the expected call into tool_calls, or write \"tool_calls\": [] where no call is right");
    }
    Ok((Vec::new(), field))
}

/// What the last turn says, whatever else it shows.
fn words(turn: &Map<String, Value>) -> String {
    let texts: Vec<&str> = match turn.get("content") {
        Some(Value::Array(pieces)) => pieces.iter().filter_map(|p| ["text", "refusal"].iter().find_map(|k| p.get(k)?.as_str())).collect(),
        content => content.into_iter().chain(turn.get("refusal")).filter_map(Value::as_str).collect(),
    };
    texts.join("\n")
}

/// A call of an offered tool that a forgiving reader of some format finds in words.
fn written_call(said: &str, tools: &[Tool]) -> Option<String> {
    let offered = |format: Format| format::lenient(format, said)?.into_iter().find(|call| tools.iter().any(|tool| tool.name == call.name));
    Format::ALL.into_iter().find_map(offered).map(|call| call.name)
}

fn message(turn: &Value, field: &str) -> Result<Message, Bad> {
    let role = match role(turn) {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool" | "function") => Role::Tool,
        _ => return bad(format!("{field}.role"), "is none of system, developer, user, assistant, tool"),
    };
    let content = match turn.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(pieces)) if pieces.iter().all(|p| p.get("text").is_some_and(Value::is_string)) => {
            pieces.iter().filter_map(|p| p.get("text").and_then(Value::as_str)).collect::<Vec<_>>().join("\n")
        }
        // an earlier turn that only called tools: what it called is what it said
        None | Some(Value::Null) if role == Role::Assistant => {
            let called = ["tool_calls", "function_call"].iter().find_map(|key| turn.get(key).filter(|calls| !calls.is_null()));
            called.map(Value::to_string).unwrap_or_default()
        }
        _ => return bad(format!("{field}.content"), "is missing or no text"),
    };
    Ok(Message::new(role, content))
}
