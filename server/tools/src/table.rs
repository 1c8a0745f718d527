//! Kind *table*: SQL over a SQLite database that the problem brings; it can be read and nothing else.
//!
//! In: a statement, or the arguments of the problem's own statement. Out: one value as it is, rows as a JSON list. The
//! database is in memory or opened read-only; once it is filled an authorizer lets nothing but reading through (no
//! `attach`, no `pragma`), and a progress handler ends a statement when its time is over.

use std::path::Path;
use std::time::Instant;

use rusqlite::ffi::ErrorCode;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{Value as SqlValue, ValueRef};
use rusqlite::{Connection, Error, OpenFlags, Statement};
use serde_json::{Map, Value, json};
use whetstone_domain::{Tool, ToolFailure};
use whetstone_tooluse::format::json::write_value;

use crate::settings::Settings;
use crate::{Reply, definition, refuse};

/// Most rows that are read.
const MOST_ROWS: usize = 100;
/// Longest statement of a model, bytes.
const LONGEST_SQL: usize = 10_000;
/// Longest text or blob inside SQLite, and longest setup. Bytes.
const LONGEST_VALUE: i32 = 4 << 20;
/// Pages of a database in memory: 64 MiB.
const MOST_PAGES: i64 = 16_384;
/// Instructions of SQLite's machine between two looks at the clock.
const BETWEEN_LOOKS: i32 = 1000;
/// Functions that a repeated run would answer otherwise, or that reach outside.
const FORBIDDEN_FUNCTIONS: [&str; 7] = [
    "random",
    "randomblob",
    "load_extension",
    "fts3_tokenizer",
    // these read this machine's clock; date functions stay, for the dates that rows hold
    "current_timestamp",
    "current_date",
    "current_time",
];

pub(crate) struct Database {
    connection: Connection,
    query: Option<String>,
    parameters: Vec<String>,
}

impl Database {
    /// Fills a database in memory, or opens a file; the reason where that fails.
    pub(crate) fn new(setup: &str, file: Option<&Path>, query: Option<&str>, settings: &Settings) -> Result<Self, String> {
        let connection = match file {
            Some(_) if !setup.is_empty() => return Err("it has both \"database\" and \"sql_setup\"; give one".into()),
            Some(file) => Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
                .map_err(|e| format!("cannot open {}: {e}", file.display()))?,
            None => Connection::open_in_memory().map_err(|e| format!("cannot make a database: {e}"))?,
        };
        let limits = [
            (Limit::SQLITE_LIMIT_ATTACHED, 0),
            (Limit::SQLITE_LIMIT_LENGTH, LONGEST_VALUE),
            (Limit::SQLITE_LIMIT_SQL_LENGTH, LONGEST_VALUE),
            (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
            (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50),
        ];
        let mut made = Self { connection, query: None, parameters: Vec::new() };
        for (limit, most) in limits {
            made.connection.set_limit(limit, most).map_err(|e| format!("cannot limit the database: {e}"))?;
        }
        if file.is_none() {
            made.connection.pragma_update(None, "max_page_count", MOST_PAGES).map_err(|e| format!("cannot limit the database: {e}"))?;
        }
        made.watch(settings)?;
        made.connection.authorizer(Some(setting_up)).map_err(|e| e.to_string())?;
        made.connection.execute_batch(setup).map_err(|e| format!("\"sql_setup\": {e}"))?;
        made.connection.authorizer(Some(reading)).map_err(|e| e.to_string())?;
        if let Some(query) = query {
            made.parameters = {
                let statement = made.connection.prepare(query).map_err(|e| format!("\"query\": {e}"))?;
                let names =
                    (1..=statement.parameter_count()).map(|i| statement.parameter_name(i).and_then(|n| n.get(1..)).map(str::to_owned));
                names.collect::<Option<Vec<_>>>().ok_or("\"query\": its parameters must have names, as in :city")?
            };
            made.query = Some(query.to_owned());
        }
        Ok(made)
    }

    /// The tool as a prompt lists it, where the problem does not describe it better.
    pub(crate) fn define(&self, name: &str) -> Tool {
        if self.query.is_none() {
            return definition::tool(name, "Query a SQLite database", &[("sql", definition::text("One SELECT statement"), true)]);
        }
        let any = || json!({"type": ["string", "number", "boolean"]});
        let parameters: Vec<(&str, Value, bool)> = self.parameters.iter().map(|p| (p.as_str(), any(), true)).collect();
        definition::tool(name, "", &parameters)
    }

    /// Answers a call.
    pub(crate) fn call(&self, arguments: &Map<String, Value>, settings: &Settings) -> Reply {
        if let Err(reason) = self.watch(settings) {
            return refuse(ToolFailure::Failed, reason);
        }
        match &self.query {
            Some(query) => self.ask(query, arguments, settings),
            None => match (arguments.get("sql"), arguments.len()) {
                (Some(Value::String(sql)), 1) if sql.len() > LONGEST_SQL => {
                    refuse(ToolFailure::TooLarge, format!("the statement is {} bytes long; at most {LONGEST_SQL} are read", sql.len()))
                }
                (Some(Value::String(sql)), 1) => self.ask(sql, &Map::new(), settings),
                _ => refuse(ToolFailure::BadArguments, "the one argument is \"sql\", a text"),
            },
        }
    }

    fn ask(&self, sql: &str, arguments: &Map<String, Value>, settings: &Settings) -> Reply {
        // SQLite would read no further than there
        if sql.trim().is_empty() || sql.contains('\0') {
            return refuse(ToolFailure::BadArguments, "the statement is empty, or holds the character U+0000");
        }
        let mut statement = self.connection.prepare(sql).or_else(|e| explain(&e, settings))?;
        if self.query.is_some()
            && let Some(unknown) = arguments.keys().find(|k| !self.parameters.contains(k))
        {
            return refuse(ToolFailure::BadArguments, format!("argument {unknown:?} is unknown"));
        }
        for (i, name) in self.parameters.iter().enumerate() {
            let value = match arguments.get(name) {
                None | Some(Value::Null) => SqlValue::Null,
                Some(Value::Bool(b)) => SqlValue::Integer(i64::from(*b)),
                Some(Value::String(text)) => SqlValue::Text(text.clone()),
                Some(Value::Number(n)) => match (n.as_i64(), n.as_f64()) {
                    (Some(n), _) => SqlValue::Integer(n),
                    (None, n) => SqlValue::Real(n.unwrap_or_default()),
                },
                Some(_) => return refuse(ToolFailure::BadArguments, format!("argument {name:?} must be a plain value")),
            };
            statement.raw_bind_parameter(i + 1, value).or_else(|e| explain(&e, settings))?;
        }
        read(&mut statement, settings)
    }

    /// Starts the clock of the next statement.
    fn watch(&self, settings: &Settings) -> Result<(), String> {
        let deadline = Instant::now() + settings.timeout;
        let over = move || Instant::now() >= deadline;
        self.connection.progress_handler(BETWEEN_LOOKS, Some(over)).map_err(|e| format!("cannot watch the database: {e}"))
    }
}

/// While a database is filled: all but reaching outside it.
fn setting_up(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Attach { .. } | AuthAction::Detach { .. } | AuthAction::Pragma { .. } => Authorization::Deny,
        AuthAction::CreateVtable { .. } | AuthAction::DropVtable { .. } => Authorization::Deny,
        AuthAction::Function { function_name } if forbidden(function_name) => Authorization::Deny,
        _ => Authorization::Allow,
    }
}

/// Afterwards: reading.
fn reading(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => Authorization::Allow,
        AuthAction::Function { function_name } if !forbidden(function_name) => Authorization::Allow,
        _ => Authorization::Deny,
    }
}

fn forbidden(function: &str) -> bool {
    FORBIDDEN_FUNCTIONS.iter().any(|f| f.eq_ignore_ascii_case(function))
}

/// All rows, within limits.
fn read(statement: &mut Statement<'_>, settings: &Settings) -> Reply {
    let names: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let (mut rows, mut bytes, mut more) = (Vec::new(), 0, false);
    let mut cursor = statement.raw_query();
    loop {
        let row = match cursor.next() {
            Ok(Some(row)) => row,
            Ok(None) => break,
            Err(e) => return explain(&e, settings),
        };
        if rows.len() >= MOST_ROWS || bytes > settings.most_read {
            more = true;
            break;
        }
        let mut shown = Map::new();
        for (i, name) in names.iter().enumerate() {
            let value = match row.get_ref(i) {
                Ok(ValueRef::Null) => Value::Null,
                Ok(ValueRef::Integer(n)) => Value::from(n),
                Ok(ValueRef::Real(x)) => Value::from(x),
                Ok(ValueRef::Text(text)) => Value::from(String::from_utf8_lossy(text)),
                Ok(ValueRef::Blob(blob)) => Value::from(format!("({} bytes)", blob.len())),
                Err(e) => return explain(&e, settings),
            };
            bytes += name.len() + value.as_str().map_or(8, str::len);
            shown.insert(name.clone(), value);
        }
        rows.push(shown);
    }
    if rows.is_empty() {
        return Ok("no rows".into());
    }
    if let ([row], false) = (&rows[..], more)
        && row.len() == 1
        && names.len() == 1
        && let Some(value) = row.values().next()
    {
        return Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    let mut text = String::new();
    write_value(&Value::Array(rows.into_iter().map(Value::Object).collect()), &mut text);
    if more {
        text.push_str("\n(there are more rows)");
    }
    Ok(text)
}

fn explain<T>(error: &Error, settings: &Settings) -> Result<T, (ToolFailure, String)> {
    let code = error.sqlite_error_code();
    match (code, error) {
        (Some(ErrorCode::OperationInterrupted), _) => {
            refuse(ToolFailure::Timeout, format!("the statement took longer than {:?}", settings.timeout))
        }
        (Some(ErrorCode::AuthorizationForStatementDenied), _) => {
            refuse(ToolFailure::Forbidden, "the database can only be read, with SELECT statements")
        }
        (Some(ErrorCode::TooBig), _) => refuse(ToolFailure::TooLarge, "a text is too long"),
        (_, Error::MultipleStatement) => refuse(ToolFailure::BadArguments, "only one statement is run at a time"),
        (_, Error::SqlInputError { msg, .. }) if msg.starts_with("not authorized") => refuse(ToolFailure::Forbidden, msg.clone()),
        (_, Error::SqlInputError { msg, .. }) => refuse(ToolFailure::BadArguments, msg.clone()),
        _ => refuse(ToolFailure::BadArguments, error.to_string()),
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
