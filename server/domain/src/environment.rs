//! Station *tool result*: which of a problem's tools run, with their data, and what running one gave.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The tools of a problem that run, with all data they need.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// What answers a call, by name. A kind that serves one tool serves it under this name, a kind that serves several
    /// (`files`, `http`, `mcp`) as `NAME.TOOL`.
    pub tools: BTreeMap<String, Runnable>,
    /// The present for clocks: a date and time with its zone, `2025-03-04T10:00:00+01:00[Europe/Berlin]`. The real one
    /// where it is missing, which no run can repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
}

/// One kind of tool that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Runnable {
    /// Arithmetic: argument `expression`.
    Calculator {},
    /// The present and arithmetic with dates.
    Clock {
        /// What it does.
        operation: ClockOperation,
    },
    /// SQL over a read-only SQLite database.
    Table {
        /// Statements that make and fill the database, in memory.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        sql_setup: String,
        /// A database file instead; needs the permission to read files.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        database: Option<PathBuf>,
        /// The statement that a call runs, with the call's arguments as `:name`. Without one the argument `sql` is run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        query: Option<String>,
    },
    /// A folder of text files, each rollout its own: `NAME.list`, `NAME.read`, `NAME.write`.
    Files {
        /// Contents by relative path.
        #[serde(default)]
        files: BTreeMap<String, String>,
    },
    /// The operations of an OpenAPI 3 document, each a tool `NAME.OPERATION`.
    Http {
        /// The document, JSON.
        openapi: Value,
        /// Where it is served, instead of the document's first server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        server: Option<String>,
        /// The operations that are offered; all of them where it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operations: Option<Vec<String>>,
    },
    /// The tools of an MCP server that speaks on stdin and stdout, each a tool `NAME.TOOL`; needs the permission to start programs.
    Mcp {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// A program, started for each call with the arguments as JSON on stdin; needs the permission to start programs.
    Command {
        /// Program and arguments; `{name}` stands for the call's argument of that name.
        command: Vec<String>,
    },
}

/// What a clock tool does. Dates are `2025-03-04`, times `2025-03-04T10:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockOperation {
    /// Present date and time: argument `timezone`, default UTC.
    Now,
    /// A time in another zone: `time`, `from`, `to`.
    Convert,
    /// How long from `start` to `end`, in `unit` (minutes, hours, days, weeks, months, years; default days), whole units.
    Between,
    /// `start` plus `years`, `months`, `weeks`, `days`, `hours`, `minutes`, any of which may be negative.
    Add,
    /// Day of the week of `date`.
    Weekday,
}

/// What a tool gave: what the model is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The result, or what is wrong in words.
    pub text: String,
    /// Why there is no result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<ToolFailure>,
}

impl ToolResult {
    /// A result.
    pub fn ok(text: impl Into<String>) -> Self {
        Self { text: text.into(), failure: None }
    }

    /// A failure that the model sees.
    pub fn failed(failure: ToolFailure, reason: impl std::fmt::Display) -> Self {
        Self { text: format!("error: {reason}"), failure: Some(failure) }
    }
}

/// Why a call gave no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolFailure {
    /// No tool of this name runs.
    UnknownTool,
    /// The arguments are not what the tool takes.
    BadArguments,
    /// The tool may not do that.
    Forbidden,
    /// It took too long.
    Timeout,
    /// More than may be read or written.
    TooLarge,
    /// The tool itself says so.
    Failed,
}

/// The answer in words with which a conversation must end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedAnswer {
    /// Any of these is right: a number must be the last one in the answer, a text must occur in it, word by word.
    pub any_of: Vec<Value>,
    /// Texts that must not occur: the other choices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub none_of: Vec<String>,
    /// How far a number may be off.
    #[serde(default = "default_tolerance")]
    pub tolerance: f64,
}

/// Half a unit of the second decimal: amounts of money.
fn default_tolerance() -> f64 {
    0.005
}

impl ExpectedAnswer {
    /// One right value.
    pub fn one(value: impl Into<Value>) -> Self {
        Self { any_of: vec![value.into()], none_of: Vec::new(), tolerance: default_tolerance() }
    }

    /// The first right answer as one would write it; empty where there is none.
    pub fn spoken(&self) -> String {
        self.any_of.first().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).unwrap_or_default()
    }
}

/// One call of a conversation with what it gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// The call.
    pub call: crate::ToolCall,
    /// Its result.
    pub result: ToolResult,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_environment_reads_back_as_it_was_written_and_refuses_unknown_fields() {
        let written = json!({"tools": {
            "lookup": {"kind": "table", "sql_setup": "create table t (a)", "query": "select a from t"},
            "sum": {"kind": "calculator"},
            "wait": {"kind": "clock", "operation": "add"},
            "docs": {"kind": "files", "files": {"a.txt": "x"}},
            "api": {"kind": "http", "openapi": {"paths": {}}},
            "mcp": {"kind": "mcp", "command": ["server"]},
            "run": {"kind": "command", "command": ["date", "{day}"]}}, "now": "2025-03-04T10:00:00+00:00[UTC]"});
        let read: Environment = serde_json::from_value(written.clone()).expect("reads");
        assert_eq!(read.tools.len(), 7);
        let again: Environment = serde_json::from_value(serde_json::to_value(&read).expect("writes")).expect("reads");
        assert_eq!(read, again);
        for bad in [
            json!({"tools": {"a": {"kind": "calculator", "speed": 1}}}),
            json!({"tools": {"a": {"kind": "shell"}}}),
            json!({"tools": {"a": {"kind": "clock", "operation": "stop"}}}),
            json!({"tools": {}, "colour": "red"}),
        ] {
            assert!(serde_json::from_value::<Environment>(bad.clone()).is_err(), "{bad}");
        }
    }
}
