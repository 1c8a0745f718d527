//! Predictions of any model, scored: `{"id", "calls"}` or `{"id", "text"}`, one JSON object a line.
//!
//! In: a task set and lines. Out: per line a verdict, or what is wrong with which field. `calls: null` = unreadable, `[]` = no call.
//! An id may come again: every line is judged on its own. A line that cannot be read is a wrong answer to the problem it names.
//! Of a key that comes twice the later value counts, as in Python.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};
use whetstone_domain::{Outcome, ParseFailure, ParseReport, Problem, StopReason, ToolCall, config::Format};

use crate::format::json::{DuplicateKeys, Reader};
use crate::reward::{ExplainedReward, argument_words};
use crate::tasks::row_id::RowId;
use crate::tasks::{Refusal, TaskError, lines};
use crate::{format, matching, outcome};

/// One line, readable.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// 1-based line of the file.
    pub line: usize,
    /// Id of the problem that it answers.
    pub id: String,
    /// What was written; of a line with calls only, the calls as the format writes them.
    pub text: String,
    /// How it reads.
    pub parse: ParseReport,
}

/// One line that cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// The id that it gives, where that much can be read.
    pub id: Option<String>,
    /// A wrong answer: the id is that of a problem that one line can answer.
    pub counts: bool,
    /// What is wrong, and where.
    pub refusal: Refusal,
}

/// One line, judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// Id of the problem.
    pub id: String,
    /// Right by the task set's matcher.
    pub correct: bool,
    /// Rung of the ladder.
    pub outcome: Outcome,
    /// Why, in words.
    pub explanation: String,
    /// What it earns, by name of the reward; empty where no reward was asked for.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub rewards: Map<String, Value>,
}

impl Judged {
    /// Adds a reward with its parts and reasons.
    pub fn add(&mut self, name: &str, reward: &ExplainedReward) {
        if let Ok(value) = serde_json::to_value(reward) {
            self.rewards.insert(name.to_owned(), value);
        }
    }
}

/// Reads a file of predictions: lines in order, bad ones with file, line, field and reason. An id that no problem has is a bad line.
pub fn read(path: &Path, format: Format, ids: &HashMap<&str, &Problem>) -> Result<Vec<Result<Line, BadLine>>, TaskError> {
    let file = path.display().to_string();
    let mut out = Vec::new();
    lines::for_each(path, |line, text| {
        let mut id = None;
        let read = match text {
            Ok(text) => one(line, text, format, ids, &mut id),
            Err(unreadable) => {
                id = unreadable.id;
                Err(("row".to_owned(), unreadable.reason))
            }
        };
        out.push(read.map_err(|(field, reason)| {
            let counts = id.as_deref().and_then(|id| ids.get(id)).is_some_and(|p| !p.is_conversation());
            BadLine { id, counts, refusal: Refusal { file: file.clone(), line, field, reason } }
        }));
    })?;
    Ok(out)
}

/// `known` becomes the line's id as soon as that is read, whatever else is wrong with it.
fn one(
    line: usize,
    text: &str,
    format: Format,
    ids: &HashMap<&str, &Problem>,
    known: &mut Option<String>,
) -> Result<Line, (String, String)> {
    let bad = |field: &str, reason: String| Err((field.to_owned(), reason));
    let mut reader = Reader::at(text, 0, DuplicateKeys::LastWins);
    let mut row = match reader.value(0) {
        Ok(Value::Object(row)) => row,
        Ok(_) => return bad("row", "must be a JSON object".into()),
        Err(e) => {
            *known = RowId::of(text.as_bytes());
            return bad("row", format!("is no JSON, byte {}: {}", e.position, e.reason));
        }
    };
    let id = match row.remove("id") {
        Some(Value::String(id)) => id,
        Some(_) => return bad("id", "must be a string".into()),
        None => return bad("id", "is missing".into()),
    };
    *known = Some(id.clone());
    if reader.peek().is_some() {
        return bad("row", format!("has text after the JSON, byte {}", reader.position()));
    }
    match ids.get(id.as_str()) {
        None => return bad("id", format!("{id:?} is no problem of this task set")),
        Some(p) if p.is_conversation() => {
            return bad("id", format!("problem {id:?} is worked on in several turns, which one line cannot show; use `whetstone eval`"));
        }
        Some(_) => {}
    }
    // calls, where both are given: they are what the model's own parser read
    let (text, parse) = match (row.remove("calls"), row.remove("text")) {
        (None, None) => return bad("calls", "is missing, and so is text; one of them is needed".into()),
        (_, Some(other)) if !other.is_string() && !other.is_null() => return bad("text", "must be a string".into()),
        (None, Some(Value::String(text))) => (text.clone(), format::parse(format, &text)),
        (None, _) => return bad("text", "is null; write \"calls\": null for an answer that cannot be read".into()),
        (Some(Value::Null), text) => {
            let text = text.and_then(|t| t.as_str().map(str::to_owned)).unwrap_or_default();
            let strict = Err(ParseFailure { position: 0, reason: "the calls are null: unreadable".into() });
            (text, ParseReport { strict, lenient: None })
        }
        (Some(Value::Array(items)), text) => {
            let calls = items.into_iter().enumerate().map(|(i, v)| call(v, &format!("calls[{i}]"))).collect::<Result<Vec<_>, _>>()?;
            let text = text.and_then(|t| t.as_str().map(str::to_owned)).unwrap_or_else(|| format::write(format, &calls));
            (text, ParseReport { strict: Ok(calls.clone()), lenient: Some(calls) })
        }
        (Some(_), _) => return bad("calls", "must be a list of calls, or null for an answer that cannot be read".into()),
    };
    Ok(Line { line, id, text, parse })
}

fn call(value: Value, field: &str) -> Result<ToolCall, (String, String)> {
    let Value::Object(mut map) = value else { return Err((field.to_owned(), "must be a JSON object".into())) };
    let name = match map.remove("name") {
        Some(Value::String(name)) => name,
        _ => return Err((format!("{field}.name"), "is missing or no string".into())),
    };
    match map.remove("arguments") {
        Some(Value::Object(arguments)) => Ok(ToolCall { name, arguments }),
        _ => Err((format!("{field}.arguments"), "is missing or no JSON object".into())),
    }
}

/// Judges one line.
pub fn judge(problem: &Problem, line: &Line) -> Judged {
    let outcome = match (&line.parse.strict, line.text.contains(['{', '['])) {
        // unreadable by its own parser, and no text to look at
        (Err(_), false) if line.parse.lenient.is_none() && !abstains(problem) => Outcome::BadJson,
        _ => outcome::judge(problem, &line.text, &line.parse, StopReason::Eos),
    };
    let explanation = explain(problem, &line.parse, outcome);
    Judged { id: line.id.clone(), correct: outcome.is_correct(), outcome, explanation, rewards: Map::new() }
}

/// What a file of predictions comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Lines that answer a problem: those judged, and those that cannot be read but name one.
    pub scored: usize,
    /// Those of them that are right.
    pub correct: usize,
    /// Lines that answer no problem of the set.
    pub uncounted: usize,
    /// Problems with a line.
    pub answered: usize,
    /// Scored lines by outcome; those that cannot be read are errors.
    pub outcomes: BTreeMap<&'static str, usize>,
}

impl Tally {
    /// Counts lines.
    pub fn of(judged: &[Result<Judged, BadLine>]) -> Self {
        let mut ids = HashSet::new();
        let mut tally = Self { scored: 0, correct: 0, uncounted: 0, answered: 0, outcomes: BTreeMap::new() };
        for line in judged {
            let (id, outcome) = match line {
                Ok(judged) => (Some(judged.id.as_str()), judged.outcome),
                Err(bad) if bad.counts => (bad.id.as_deref(), Outcome::Error),
                Err(_) => {
                    tally.uncounted += 1;
                    continue;
                }
            };
            ids.extend(id);
            tally.scored += 1;
            tally.correct += usize::from(line.as_ref().is_ok_and(|judged| judged.correct));
            *tally.outcomes.entry(outcome.name()).or_insert(0) += 1;
        }
        tally.answered = ids.len();
        tally
    }

    /// Share of the scored lines that are right.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.scored.max(1) as f64
    }
}

fn abstains(problem: &Problem) -> bool {
    problem.matcher == whetstone_domain::Matcher::BfclIrrelevance
}

/// The verdict in words.
fn explain(problem: &Problem, parse: &ParseReport, outcome: Outcome) -> String {
    let calls = match &parse.strict {
        Ok(calls) => calls.as_slice(),
        Err(_) if outcome.is_correct() => return "no call decodes, and none is expected".into(),
        Err(failure) => return format!("{}, byte {}", failure.reason, failure.position),
    };
    match outcome {
        Outcome::Correct => "every expected call was made, and no other".into(),
        Outcome::RefusedOk => "no call is expected, and none was made".into(),
        Outcome::NoCall => "a call is expected, and none was made".into(),
        Outcome::UnwantedCall => "no call is expected, and one was made".into(),
        Outcome::UnknownTool => {
            let unknown = calls.iter().find(|c| matching::tool_of(problem, &c.name).is_none());
            format!("there is no tool {:?}", unknown.map_or("", |c| &c.name))
        }
        Outcome::SchemaInvalid => {
            let broken = calls.iter().find_map(|c| crate::schema::check(matching::tool_of(problem, &c.name)?, c).err().map(|e| (c, e)));
            broken.map_or_else(String::new, |(c, e)| format!("the call of {} breaks its schema: {e}", c.name))
        }
        Outcome::WrongTool => "an offered tool that is not the expected one was called".into(),
        Outcome::WrongCount => format!("{} calls were made, {} are expected", calls.len(), problem.expected.calls.len()),
        _ => {
            let pairs = matching::explain(problem, calls).calls;
            let wrong: Vec<String> = pairs.iter().flat_map(|c| &c.arguments).filter_map(argument_words).collect();
            wrong.join("; ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::starter;

    fn read_lines(problems: &[Problem], text: impl AsRef<[u8]>) -> Vec<Result<Line, BadLine>> {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(file.path(), text).expect("written");
        let ids = problems.iter().map(|p| (p.id.as_str(), p)).collect();
        read(file.path(), Format::BareJson, &ids).expect("readable")
    }

    #[test]
    fn calls_and_texts_of_the_same_answer_are_judged_the_same() {
        let problems = starter::load(true, 3, 60);
        for p in &problems {
            let gold = matching::canonical(p);
            let row = |key: &str, value: Value| serde_json::json!({"id": p.id, key: value}).to_string();
            let calls = serde_json::to_value(&gold).expect("calls");
            let text = Value::from(format::write(Format::BareJson, &gold));
            let lines = read_lines(&problems, format!("{}\n{}\n{}", row("calls", calls), row("text", text), row("calls", Value::Null)));
            let judged: Vec<Judged> = lines.into_iter().map(|l| judge(p, &l.expect("good"))).collect();
            assert!(judged[0].correct && judged[0] == judged[1], "{judged:?}");
            assert!(!judged[2].correct && judged[2].outcome == Outcome::BadJson && judged[2].explanation.contains("null"), "{judged:?}");
            let none = judge(p, &read_lines(&problems, row("calls", Value::Array(vec![])))[0].clone().expect("good"));
            assert_eq!(none.correct, gold.is_empty());
        }
    }

    #[test]
    fn a_bad_line_names_its_field_and_id_and_the_rest_is_read() {
        let problems = starter::load(true, 3, 1);
        let id = &problems[0].id;
        for (row, field, reason) in [
            ("{\"calls\": []}".to_owned(), "id", "is missing"),
            ("{\"id\": 7, \"calls\": []}".to_owned(), "id", "must be a string"),
            ("{\"id\": \"nobody\", \"calls\": []}".to_owned(), "id", "\"nobody\" is no problem"),
            (format!("{{\"id\": \"{id}\", \"calls\": []}} x"), "row", "text after the JSON"),
            (format!("{{\"id\": \"{id}\"}}"), "calls", "one of them is needed"),
            (format!("{{\"id\": \"{id}\", \"calls\": {{}}}}"), "calls", "must be a list"),
            (format!("{{\"id\": \"{id}\", \"calls\": [{{\"arguments\": {{}}}}]}}"), "calls[0].name", "is missing"),
            (format!("{{\"id\": \"{id}\", \"calls\": [{{\"name\": \"a\", \"arguments\": []}}]}}"), "calls[0].arguments", "no JSON object"),
            (format!("{{\"id\": \"{id}\", \"text\": 1}}"), "text", "must be a string"),
            (format!("{{\"id\": \"{id}\", \"text\": null}}"), "text", "\"calls\": null"),
            ("[]".to_owned(), "row", "must be a JSON object"),
            ("{\"id\"".to_owned(), "row", "is no JSON"),
        ] {
            let lines = read_lines(&problems, format!("\n{row}\n{{\"id\": \"{id}\", \"calls\": []}}\n"));
            assert!(lines.len() == 2 && lines[1].is_ok(), "{row}");
            let BadLine { id: given, counts, refusal } = lines[0].clone().expect_err(&row);
            assert_eq!(counts, given.as_ref() == Some(id), "{row}");
            assert!(refusal.line == 2 && refusal.field == field && refusal.reason.contains(reason), "{refusal}");
            let readable = [id.as_str(), "nobody"].into_iter().find(|id| row.contains(&format!("\"{id}\"")));
            assert_eq!(given.as_deref(), readable, "{row}");
        }
    }

    #[test]
    fn a_conversation_is_not_judged_by_one_line() {
        let problem = starter::tools::problem(false, 3, 0);
        let row = serde_json::json!({"id": problem.id, "calls": matching::canonical(&problem)}).to_string();
        let BadLine { id, counts, refusal } = read_lines(std::slice::from_ref(&problem), &row)[0].clone().expect_err("several turns");
        assert_eq!((id.as_ref(), counts), (Some(&problem.id), false));
        assert!(refusal.field == "id" && refusal.reason.contains("several turns"), "{refusal}");
    }

    #[test]
    fn a_line_that_cannot_be_read_is_a_wrong_answer_to_the_problem_it_names() {
        let p = starter::load(true, 3, 60).into_iter().find(|p| !p.expected.is_no_call()).expect("a call");
        let id = &p.id;
        let gold = serde_json::json!({"id": id, "calls": matching::canonical(&p)});
        let nan = format!("{{\"id\": \"{id}\", \"calls\": [{{\"name\": \"f\", \"arguments\": {{\"n\":NaN}}}}]}}");
        let string = format!("{{\"id\": \"{id}\", \"calls\": [{{\"name\": \"f\", \"arguments\": \"{{}}\"}}]}}");
        let lines = read_lines(std::slice::from_ref(&p), format!("{gold}\n{nan}\n{nan}\n{string}\n{{\"id\": \"nobody\"}}\nx"));
        let judged: Vec<_> = lines.into_iter().map(|line| line.map(|line| judge(&p, &line))).collect();
        let tally = Tally::of(&judged);
        assert_eq!((tally.scored, tally.correct, tally.uncounted, tally.answered), (4, 1, 2, 1));
        assert_eq!(tally.accuracy(), 0.25);
        assert_eq!(tally.outcomes, BTreeMap::from([("correct", 1), ("error", 3)]));
    }

    #[test]
    fn a_line_that_is_no_text_or_too_long_is_a_wrong_answer_to_the_problem_it_names() {
        let problems = starter::load(true, 3, 1);
        let id = &problems[0].id;
        let text = |text: &[u8]| [format!("{{\"id\": \"{id}\", \"text\": \"").as_bytes(), text, b"\"}"].concat();
        let long = vec![b'x'; lines::LONGEST_LINE];
        let last = format!("{{\"text\": \"{}\", \"id\": \"{id}\"}}", "x".repeat(lines::LONGEST_LINE)).into_bytes();
        for (row, reason) in [(text(b"\xff"), "not UTF-8"), (text(b"\0"), "NUL"), (text(&long), "bytes long"), (last, "bytes long")] {
            let bad = read_lines(&problems, row)[0].clone().expect_err(reason);
            assert_eq!((bad.id.as_ref(), bad.counts), (Some(id), true), "{reason}");
            assert!(bad.refusal.field == "row" && bad.refusal.reason.contains(reason), "{}", bad.refusal);
        }
        let nobody = read_lines(&problems, b"{\"id\": \"nobody\", \"text\": \"\xff\"}\n\0\0");
        assert!(nobody.iter().all(|line| line.as_ref().is_err_and(|bad| !bad.counts)), "{nobody:?}");
    }

    #[test]
    fn a_row_that_is_no_json_keeps_its_id() {
        let problems = starter::load(true, 3, 1);
        let id = &problems[0].id;
        let deep = "[".repeat(100) + &"]".repeat(100);
        for broken in ["NaN", "1e999", "\"\\ud800\"", "\"a\\q\\\"\"", &deep, "{\"id\": \"other\", \"x\": NaN}"] {
            for row in [format!("{{\"id\": \"{id}\", \"calls\": {broken}}}"), format!("{{\"calls\": {broken}, \"id\" : \"{id}\"}}")] {
                let bad = read_lines(&problems, &row)[0].clone().expect_err(&row);
                assert_eq!((bad.id.as_ref(), bad.counts, bad.refusal.field.as_str()), (Some(id), true, "row"), "{row}");
            }
        }
        let cut = read_lines(&problems, format!("{{\"id\": \"{id}\", \"text\": \"So"))[0].clone().expect_err("cut off");
        assert_eq!((cut.id.as_ref(), cut.counts), (Some(id), true));
        // as Python reads it
        let twice = format!("{{\"id\": \"x\", \"calls\": null, \"calls\": [], \"id\": \"{id}\"}}");
        let line = read_lines(&problems, &twice)[0].clone().expect("the later values");
        assert_eq!((&line.id, line.parse.strict), (id, Ok(vec![])));
    }

    #[test]
    fn calls_that_are_null_cannot_be_read_whatever_the_text_says() {
        for p in &starter::load(true, 3, 20) {
            for text in ["x", "", "So: {\"name\": \"f\", \"arguments\": {}}"] {
                let row = serde_json::json!({"id": p.id, "text": text, "calls": null}).to_string();
                let judged = judge(p, &read_lines(std::slice::from_ref(p), &row)[0].clone().expect("good"));
                assert_eq!(judged.outcome, Outcome::BadJson, "{row}");
            }
        }
    }

    #[test]
    fn a_wrong_answer_says_what_is_wrong() {
        let p = starter::load(true, 3, 200).into_iter().find(|p| p.expected.calls.iter().any(|c| c.canonical().arguments.len() > 1));
        let p = p.expect("two arguments");
        let mut calls = matching::canonical(&p);
        let key = calls[0].arguments.keys().next().cloned().expect("an argument");
        calls[0].arguments.remove(&key);
        let optional = matching::tool_of(&p, &calls[0].name).is_some_and(|t| !matching::is_required(t, &key));
        let row = serde_json::json!({"id": p.id, "calls": calls}).to_string();
        let judged = judge(&p, &read_lines(std::slice::from_ref(&p), &row)[0].clone().expect("good"));
        assert!(!judged.correct && (optional || judged.explanation.contains(&key)), "{judged:?}");
    }
}
