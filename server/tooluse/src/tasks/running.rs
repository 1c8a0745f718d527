//! Our own task files, second half: tools that run, and the answer in words.
//!
//! In: the fields `environment` and `answer` of a row. Out: what they say, or the field and the reason.
//!
//! A problem that is worked on in several turns brings tools that run, and the answer in words:
//!
//! ```json
//! {"environment": {"tools": {"get_price": {"kind": "table", "sql_setup": "create table p (name text, price real); insert into ...",
//!    "query": "select price from p where name = :product"}, "calculate": {"kind": "calculator"}}, "now": "2025-03-04T10:00+00:00[UTC]"},
//!  "answer": {"any_of": [12.6], "tolerance": 0.005}}
//! ```
//! `environment.tools` says what runs a tool: `calculator`, `clock` (`operation`), `table` (`sql_setup`, `query`), `files`
//! (`files`), `http` (`openapi`, `server`, `operations`), `mcp` and `command` (`command`). `files`, `http` and `mcp` serve several
//! tools, as `NAME.TOOL`. Each tool of the problem needs one. `answer` is a number or text, or `{"any_of": [...],
//! "none_of": [texts that must not occur], "tolerance": T}`. `expected` then lists the calls that lead to the answer.

use serde_json::Value;
use whetstone_domain::{Environment, ExpectedAnswer, Problem};

use super::jsonl::{Bad, bad};
use crate::conversation::judge;

pub(super) fn environment(value: Value) -> Result<Environment, Bad> {
    // serde would read a list as a struct's fields in order
    match value.is_object() {
        true => serde_json::from_value(value).map_err(|e| ("environment".into(), e.to_string())),
        false => bad("environment", "must be a JSON object"),
    }
}

pub(super) fn answer(value: Value) -> Result<ExpectedAnswer, Bad> {
    let answer = match value {
        Value::Number(_) | Value::String(_) => ExpectedAnswer::one(value),
        Value::Object(_) => serde_json::from_value(value).map_err(|e| ("answer".into(), e.to_string()))?,
        _ => return bad("answer", "must be a number, a text or a JSON object"),
    };
    let plain = |v: &Value| v.is_number() || v.as_str().is_some_and(|text| text.contains(char::is_alphanumeric));
    match () {
        () if answer.any_of.is_empty() => bad("answer.any_of", "must be a list of at least one value"),
        () if !answer.any_of.iter().all(plain) => bad("answer.any_of", "must hold numbers, or texts with letters or digits"),
        () if !(answer.tolerance >= 0.0 && answer.tolerance.is_finite()) => bad("answer.tolerance", "must be a number from 0 up"),
        () => Ok(answer),
    }
}

/// Checks that every tool runs where one does, and that the answer can be given.
pub(super) fn check(problem: &Problem) -> Result<(), Bad> {
    let (environment, answer) = match (&problem.environment, &problem.answer) {
        (None, None) => return Ok(()),
        (Some(environment), Some(answer)) => (environment, answer),
        (Some(_), None) => return bad("answer", "is missing; a problem with an environment is answered in words"),
        (None, Some(_)) => return bad("environment", "is missing; only a problem whose tools run is answered in words"),
    };
    let served = |name: &str| environment.tools.keys().any(|k| name == k || name.strip_prefix(k).is_some_and(|rest| rest.starts_with('.')));
    if let Some((i, tool)) = problem.tools.iter().enumerate().find(|(_, t)| !served(&t.name)) {
        return bad(format!("tools[{i}].name"), format!("nothing in \"environment\" runs {:?}", tool.name));
    }
    let own = |v: &Value| judge::answers(answer, &v.as_str().map_or_else(|| v.to_string(), str::to_owned));
    match answer.any_of.iter().all(own) {
        true => Ok(()),
        false => bad("answer", "refuses one of its own values; look at \"none_of\""),
    }
}
