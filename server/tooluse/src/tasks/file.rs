//! A task file: one JSON object a line, in our own format or in one of those that others write.
//!
//! In: a path, and a format or none. Out: problems, or per bad row file, line, field and reason. Without a format the first line that
//! is a JSON object decides for the whole file.

use std::path::Path;

use serde_json::{Map, Value};
use whetstone_domain::Problem;

use super::jsonl::{self, Bad};
use super::spec::FileFormat;
use super::{Refusal, Row, TaskError, bfcl, foreign, lines, openai};

/// A line as a JSON object, or what is wrong with it.
type Line = Result<Map<String, Value>, Bad>;

/// Reads a task file.
pub(super) fn read(path: &Path, format: Option<FileFormat>) -> Result<Vec<Result<Row, Refusal>>, TaskError> {
    let file = path.display().to_string();
    let mut read: Vec<(usize, Line)> = Vec::new();
    lines::for_each(path, |line, text| {
        let value = text.map_err(|unreadable| ("row".into(), unreadable.reason)).and_then(jsonl::value);
        read.push((line, value.and_then(|v| jsonl::object(v, "row"))));
    })?;
    let format = format.or_else(|| read.iter().find_map(|(_, row)| row.as_ref().ok().map(seen))).unwrap_or(FileFormat::Own);
    if format == FileFormat::Bfcl {
        return bfcl::read_file(path);
    }
    let mut known = foreign::SealTools::default();
    if format == FileFormat::Seal {
        read.iter().filter_map(|(_, row)| row.as_ref().ok()).for_each(|row| known.learn(row));
    }
    let one = |(line, row): (usize, Line)| {
        let problem = row.and_then(|row| made(format, row, line, &known));
        match problem {
            Ok(problem) => Ok(Row { file: file.clone(), line, problem }),
            Err((field, reason)) => Err(Refusal { file: file.clone(), line, field, reason }),
        }
    };
    Ok(read.into_iter().map(one).collect())
}

fn made(format: FileFormat, row: Map<String, Value>, line: usize, known: &foreign::SealTools) -> Result<Problem, Bad> {
    match format {
        // BFCL's rows were read with their answers
        FileFormat::Own | FileFormat::Bfcl => jsonl::problem(Value::Object(row)),
        FileFormat::OpenAi => openai::problem(row, line),
        FileFormat::Xlam => foreign::xlam(row, line),
        FileFormat::Seal => foreign::seal(row, line, known),
    }
}

/// The format of a row, by the keys that only it has.
fn seen(row: &Map<String, Value>) -> FileFormat {
    let assistant_speaks = || {
        let mut turns = row.get("messages").and_then(Value::as_array).into_iter().flatten();
        turns.any(|turn| turn.get("role").and_then(Value::as_str) == Some("assistant"))
    };
    match row {
        _ if row.contains_key("expected") => FileFormat::Own,
        _ if row.contains_key("calling") => FileFormat::Seal,
        _ if row.contains_key("answers") && row.contains_key("query") => FileFormat::Xlam,
        _ if row.contains_key("question") && row.contains_key("function") => FileFormat::Bfcl,
        _ if assistant_speaks() => FileFormat::OpenAi,
        _ => FileFormat::Own,
    }
}
