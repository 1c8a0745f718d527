//! BFCL's question and possible-answer files, as the `bfcl-eval` wheel has them (`bfcl_eval/data/`, v4).
//!
//! In: the unpacked wheel and a category, or a file of that format. Out: its problems, accepted values kept as BFCL's lists. For
//! evaluation only: half of `multiple` asks what `simple_python` asks, so nothing of BFCL should ever be trained on.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};
use whetstone_domain::{Accepted, Expected, ExpectedCall, Matcher, Message, Problem, Role, Tool};

use super::jsonl::{self, Bad, bad};
use super::{Refusal, Row, TaskError, lines};
use crate::format::json::{DuplicateKeys, Reader};
use crate::schema;

/// Categories of one turn that have Python-typed answers or expect no call.
pub const CATEGORIES: [&str; 10] = [
    "simple_python",
    "multiple",
    "parallel",
    "parallel_multiple",
    "irrelevance",
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "live_irrelevance",
];

/// Reads a category.
pub(crate) fn read(spec: &str, category: &str, root: Option<&Path>) -> Result<Vec<Result<Row, Refusal>>, TaskError> {
    if !CATEGORIES.contains(&category) {
        return Err(TaskError::BfclCategory { category: category.to_owned() });
    }
    let root = root.ok_or_else(|| TaskError::NoBfcl { spec: spec.to_owned() })?;
    let data = root.join("bfcl_eval").join("data");
    let name = format!("BFCL_v4_{category}.json");
    let (questions, answers) = (data.join(&name), data.join("possible_answer").join(&name));
    let abstain = category.contains("irrelevance");
    for path in std::iter::once(&questions).chain((!abstain).then_some(&answers)) {
        if !path.is_file() {
            return Err(TaskError::BfclFile { spec: spec.to_owned(), path: path.clone() });
        }
    }
    pair(&questions, (!abstain).then_some(answers.as_path()), category)
}

/// Reads a file of questions in BFCL's format. Its answers stand in the rows, or in a file of the same name in `possible_answer/`
/// beside it; its name says the category, as in `BFCL_v4_parallel.json`.
pub(super) fn read_file(path: &Path) -> Result<Vec<Result<Row, Refusal>>, TaskError> {
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let category = stem.strip_prefix("BFCL_v").and_then(|rest| rest.split_once('_')).map_or(stem.as_str(), |(_, category)| category);
    let answers = path.file_name().and_then(|name| Some(path.parent()?.join("possible_answer").join(name))).filter(|p| p.is_file());
    let rows = pair(path, answers.as_deref(), category)?;
    // what anybody wrote is looked at as other task files are
    let checked = |row: Result<Row, Refusal>| {
        let row = row?;
        match usable(&row.problem) {
            Ok(()) => Ok(row),
            Err((field, reason)) => Err(Refusal { file: row.file, line: row.line, field, reason }),
        }
    };
    Ok(rows.into_iter().map(checked).collect())
}

fn usable(problem: &Problem) -> Result<(), Bad> {
    jsonl::plain_name(&problem.id, "id")?;
    for (i, tool) in problem.tools.iter().enumerate() {
        jsonl::plain_name(&tool.name, &format!("function[{i}].name"))?;
        schema::compiles(tool).map_err(|reason| (format!("function[{i}].parameters"), reason))?;
    }
    Ok(())
}

/// Reads questions and, where there are any, the answers.
fn pair(questions: &Path, answers: Option<&Path>, category: &str) -> Result<Vec<Result<Row, Refusal>>, TaskError> {
    let abstain = category.contains("irrelevance");
    let mut by_id: HashMap<String, Value> = HashMap::new();
    let mut rows = Vec::new();
    if let Some(answers) = answers.filter(|_| !abstain) {
        each_row(answers, |_, file, row| match row {
            Ok(mut row) => {
                if let (Some(Value::String(id)), Some(truth)) = (row.remove("id"), row.remove("ground_truth")) {
                    by_id.insert(id, truth);
                }
            }
            Err((line, field, reason)) => rows.push(Err(Refusal { file: file.to_owned(), line, field, reason })),
        })?;
    }
    each_row(questions, |line, file, row| {
        let problem = row.and_then(|row| problem(category, row, &by_id, abstain).map_err(|(f, r)| (line, f, r)));
        rows.push(match problem {
            Ok(problem) => Ok(Row { file: file.to_owned(), line, problem }),
            Err((line, field, reason)) => Err(Refusal { file: file.to_owned(), line, field, reason }),
        });
    })?;
    Ok(rows)
}

type RowOrBad = Result<Map<String, Value>, (usize, String, String)>;

fn each_row(path: &Path, mut each: impl FnMut(usize, &str, RowOrBad)) -> Result<(), TaskError> {
    let file = path.display().to_string();
    lines::for_each(path, |line, text| {
        let refuse = |reason: String| (line, "row".to_owned(), reason);
        let row = text.map_err(|unreadable| refuse(unreadable.reason)).and_then(|text| {
            match Reader::at(text, 0, DuplicateKeys::LastWins).value(0) {
                Ok(row @ Value::Object(_)) => {
                    let row = jsonl::no_nul(&row, "row").and_then(|()| jsonl::object(row, "row"));
                    row.map_err(|(field, reason)| (line, field, reason))
                }
                Ok(_) => Err(refuse("is no JSON object".into())),
                Err(e) => Err(refuse(format!("is no JSON, byte {}: {}", e.position, e.reason))),
            }
        });
        each(line, &file, row);
    })
}

fn problem(category: &str, mut row: Map<String, Value>, answers: &HashMap<String, Value>, abstain: bool) -> Result<Problem, Bad> {
    let Some(Value::String(id)) = row.remove("id") else { return bad("id", "is missing or no string") };
    let messages = match row.remove("question") {
        Some(Value::Array(turns)) if turns.len() == 1 => messages(&turns[0])?,
        _ => return bad("question", "must be a list with one turn"),
    };
    let tools = match row.remove("function") {
        Some(Value::Array(tools)) => tools.into_iter().enumerate().map(tool).collect::<Result<Vec<_>, _>>()?,
        _ => return bad("function", "is missing or no list"),
    };
    let mut expected = Expected::default();
    if !abstain {
        let inline = row.remove("ground_truth");
        let Some(truth) = inline.as_ref().or_else(|| answers.get(&id)) else {
            let places = "neither \"ground_truth\" in this row nor a row in the file of this name in possible_answer/";
            return bad("id", format!("{id:?} has no possible answer: {places}"));
        };
        expected.calls = calls(truth)?;
        // the checker takes the name from the only function here, not from the answer
        if let (false, [call], [tool, ..]) = (category.contains("multiple"), &mut expected.calls[..], &tools[..])
            && !category.contains("parallel")
        {
            call.name.clone_from(&tool.name);
        }
    }
    let matcher = if abstain { Matcher::BfclIrrelevance } else { Matcher::Bfcl };
    Ok(Problem { id, messages, tools, expected, matcher, domain: category.to_owned(), difficulty: 0, environment: None, answer: None })
}

fn messages(turn: &Value) -> Result<Vec<Message>, Bad> {
    let Some(turn) = turn.as_array().filter(|t| !t.is_empty()) else { return bad("question[0]", "is no list of messages") };
    let message = |(i, m): (usize, &Value)| {
        let role = match m.get("role").and_then(Value::as_str) {
            Some("system") => Role::System,
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("tool") => Role::Tool,
            _ => return bad(format!("question[0][{i}].role"), "is none of system, user, assistant, tool"),
        };
        match m.get("content").and_then(Value::as_str) {
            Some(content) => Ok(Message::new(role, content)),
            None => bad(format!("question[0][{i}].content"), "is missing or no string"),
        }
    };
    turn.iter().enumerate().map(message).collect()
}

fn tool((i, value): (usize, Value)) -> Result<Tool, Bad> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let Some(name) = text("name") else { return bad(format!("function[{i}].name"), "is missing or no string") };
    let Some(parameters) = value.get("parameters").filter(|p| p.is_object()) else {
        return bad(format!("function[{i}].parameters"), "is missing or no object");
    };
    Ok(Tool { name, description: text("description").unwrap_or_default(), parameters: parameters.clone() })
}

fn calls(truth: &Value) -> Result<Vec<ExpectedCall>, Bad> {
    let Some(truth) = truth.as_array().filter(|t| !t.is_empty()) else { return bad("ground_truth", "is no list of calls") };
    let call = |(i, value): (usize, &Value)| {
        let field = format!("ground_truth[{i}]");
        let only = value.as_object().filter(|m| m.len() == 1).and_then(|m| m.iter().next());
        let Some((name, Value::Object(parameters))) = only else { return bad(field, "is no object of one function") };
        let argument = |(key, values): (&String, &Value)| match values {
            Value::Array(values) => {
                let optional = values.iter().any(|v| v.as_str() == Some(""));
                Ok((key.clone(), Accepted { values: values.clone(), optional }))
            }
            _ => bad(format!("{field}.{name}.{key}"), "is no list of accepted values"),
        };
        let arguments = parameters.iter().map(argument).collect::<Result<_, _>>()?;
        Ok(ExpectedCall { name: name.clone(), arguments })
    };
    truth.iter().enumerate().map(call).collect()
}
