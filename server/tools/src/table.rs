//! Kind *table*: SQL over a SQLite database that the problem brings; it can be read and nothing else.
//!
//! In: a statement, or the arguments of the problem's own statement. Out: one value as it is, rows as a JSON list; the second
//! column `name` of a row is shown as `name:2`. The database is in memory or opened read-only; once it is filled an authorizer
//! lets nothing but reading through (no `attach`, no `pragma`), and a progress handler ends a statement when its time is over.
//!
//! `date('now')`, `current_timestamp` and the like give the environment's `now`, in UTC; where it gives none they are refused, and
//! so is `localtime`: see `sql_functions`. A database file in WAL mode is refused, because reading one writes beside it.
//!
//! SQLite looks at its clock between instructions, not within one, and only where a program jumps: values are short and functions
//! few, so that none takes long. Not limited but by the time: temporary files of what is sorted or collected.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use jiff::tz::TimeZone;
use rusqlite::ffi::ErrorCode;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{Value as SqlValue, ValueRef};
use rusqlite::{Connection, Error, OpenFlags, Statement};
use serde_json::{Map, Value, json};
use whetstone_domain::{Tool, ToolFailure};
use whetstone_tooluse::format::json::write_value;

use crate::settings::Settings;
use crate::sql_functions::{LONGEST_PATTERN, Own};
use crate::{Reply, clock, definition, refuse};

/// Most rows that are read.
const MOST_ROWS: usize = 100;
/// Most memory of all SQLite databases of this process, bytes: what SQLite may take while it prepares a statement whose nested
/// subqueries each stand for a column many times.
const MOST_HEAP: u64 = 1 << 30;
/// Longest statement of a model, bytes.
const LONGEST_SQL: usize = 10_000;
/// Longest text or blob while a database is filled, and longest setup. Bytes.
const LONGEST_VALUE: i32 = 4 << 20;
/// Longest text or blob that a model's statement reads or makes. Bytes.
const LONGEST_CELL: i32 = 64 << 10;
/// Longest row that is read, bytes.
const LONGEST_ROW: usize = 128 << 10;
/// Most columns of a model's statement.
const MOST_COLUMNS: i32 = 100;
/// Most instructions of SQLite's machine that a model's statement is made into.
const MOST_INSTRUCTIONS: i32 = 25_000;
/// Most functions that a model's statement calls, `like` included.
const MOST_FUNCTIONS: usize = 64;
/// Pages of a database in memory: 64 MiB.
const MOST_PAGES: i64 = 16_384;
/// Instructions of SQLite's machine between two looks at the clock.
const BETWEEN_LOOKS: i32 = 50;
/// From the beginning.
const LIMITS: [(Limit, i32); 5] = [
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_LENGTH, LONGEST_VALUE),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, LONGEST_VALUE),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50),
];
/// Once the database is filled.
const LIMITS_OF_READING: [(Limit, i32); 4] = [
    (Limit::SQLITE_LIMIT_LENGTH, LONGEST_CELL),
    (Limit::SQLITE_LIMIT_COLUMN, MOST_COLUMNS),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, LONGEST_PATTERN),
    (Limit::SQLITE_LIMIT_VDBE_OP, MOST_INSTRUCTIONS),
];
/// Functions that a repeated run would answer otherwise, or that reach outside.
const FORBIDDEN_FUNCTIONS: [&str; 4] = ["random", "randomblob", "load_extension", "fts3_tokenizer"];
/// Functions that take a model's statement as long as the product of two lengths.
const SLOW_FUNCTIONS: [&str; 2] = ["json_patch", "jsonb_patch"];

pub(crate) struct Database {
    connection: Connection,
    query: Option<String>,
    parameters: Vec<String>,
    is_file: bool,
}

impl Database {
    /// Fills a database in memory, or opens a file; the reason where that fails.
    pub(crate) fn new(
        setup: &str,
        file: Option<&Path>,
        query: Option<&str>,
        now: Option<&str>,
        settings: &Settings,
    ) -> Result<Self, String> {
        let connection = match file {
            Some(_) if !setup.is_empty() => return Err("it has both \"database\" and \"sql_setup\"; give one".into()),
            Some(file) => open(file)?,
            None => Connection::open_in_memory().map_err(|e| format!("cannot make a database: {e}"))?,
        };
        let mut made = Self { connection, query: None, parameters: Vec::new(), is_file: file.is_some() };
        limit(&made.connection, &LIMITS)?;
        // of the whole process; rusqlite has no call for it
        let heap = format!("pragma hard_heap_limit = {MOST_HEAP}");
        made.connection.query_row(&heap, (), |_| Ok(())).map_err(|e| format!("cannot limit the database: {e}"))?;
        if file.is_none() {
            made.connection.pragma_update(None, "max_page_count", MOST_PAGES).map_err(|e| format!("cannot limit the database: {e}"))?;
        }
        let now = clock::present(now)?.map(|now| now.with_time_zone(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string());
        let own = Own::new(|connection| limit(connection, &LIMITS_OF_READING))?;
        own.know_the_present(&made.connection, now.as_deref()).map_err(|e| e.to_string())?;
        made.watch(settings)?;
        made.connection.authorizer(Some(setting_up)).map_err(|e| e.to_string())?;
        made.connection.execute_batch(setup).map_err(|e| format!("\"sql_setup\": {e}"))?;
        if let Some(file) = file {
            // SQLite reads nothing when it opens a file; the schema is read here, within the wider limits
            let unread = |e| format!("{} cannot be read as a SQLite database: {e}", file.display());
            made.connection.execute_batch("select 1 from sqlite_schema").map_err(unread)?;
        }
        limit(&made.connection, &LIMITS_OF_READING)?;
        own.search_for_little(&made.connection).map_err(|e| e.to_string())?;
        made.connection.authorizer(Some(reading)).map_err(|e| e.to_string())?;
        if let Some(query) = query {
            made.parameters = {
                let statement = made.connection.prepare(query).map_err(|e| format!("\"query\": {e}"))?;
                let names =
                    (1..=statement.parameter_count()).map(|i| statement.parameter_name(i).and_then(|n| n.get(1..)).map(str::to_owned));
                names.collect::<Option<Vec<_>>>().ok_or("\"query\": its parameters must have names, as in :city")?
            };
            if made.functions(query).map_err(|e| format!("\"query\": {e}"))? > MOST_FUNCTIONS {
                return Err(format!("\"query\": it calls more than {MOST_FUNCTIONS} functions"));
            }
            made.query = Some(query.to_owned());
        }
        Ok(made)
    }

    /// A file, which others may change; a database in memory is the same for ever.
    pub(crate) fn is_file(&self) -> bool {
        self.is_file
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
        if statement.is_explain() == 0 && self.functions(sql).or_else(|e| explain(&e, settings))? > MOST_FUNCTIONS {
            return refuse(ToolFailure::TooLarge, format!("the statement calls more than {MOST_FUNCTIONS} functions"));
        }
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

    /// How many calls of functions SQLite makes of a statement, one after the other: it may make many of one.
    fn functions(&self, sql: &str) -> rusqlite::Result<usize> {
        let mut listing = self.connection.prepare(&format!("explain {sql}"))?;
        let (mut rows, mut count) = (listing.raw_query(), 0);
        while let Some(row) = rows.next()? {
            count += usize::from(matches!(row.get_ref(1)?, ValueRef::Text(b"Function" | b"PureFunc")));
        }
        Ok(count)
    }

    /// Starts the clock of the next statement.
    fn watch(&self, settings: &Settings) -> Result<(), String> {
        let deadline = Instant::now() + settings.timeout;
        let over = move || Instant::now() >= deadline;
        self.connection.progress_handler(BETWEEN_LOOKS, Some(over)).map_err(|e| format!("cannot watch the database: {e}"))
    }
}

/// Opens a file to read it. SQLite reads one in WAL mode only with an index beside it, which it makes or changes.
fn open(file: &Path) -> Result<Connection, String> {
    let cannot = |e: &dyn std::fmt::Display| format!("cannot open {}: {e}", file.display());
    let mut header = Vec::new();
    File::open(file).and_then(|f| f.take(20).read_to_end(&mut header)).map_err(|e| cannot(&e))?;
    // https://www.sqlite.org/fileformat2.html#the_database_header: versions of the format to write and to read it, 2 for WAL
    if header.starts_with(b"SQLite format 3\0") && header.get(18..20).is_some_and(|versions| versions.contains(&2)) {
        let remedy = "give a copy that was changed with \"pragma journal_mode = delete\"";
        return Err(format!("{} is in WAL mode, so that reading it would write files beside it; {remedy}", file.display()));
    }
    Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(|e| cannot(&e))
}

fn limit(connection: &Connection, limits: &[(Limit, i32)]) -> Result<(), String> {
    for (limit, most) in limits {
        connection.set_limit(*limit, *most).map_err(|e| format!("cannot limit the database: {e}"))?;
    }
    Ok(())
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
    let slow = |name: &str| SLOW_FUNCTIONS.iter().any(|f| f.eq_ignore_ascii_case(name));
    match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => Authorization::Allow,
        AuthAction::Function { function_name } if !forbidden(function_name) && !slow(function_name) => Authorization::Allow,
        _ => Authorization::Deny,
    }
}

fn forbidden(function: &str) -> bool {
    FORBIDDEN_FUNCTIONS.iter().any(|f| f.eq_ignore_ascii_case(function))
}

/// All rows, within limits.
fn read(statement: &mut Statement<'_>, settings: &Settings) -> Reply {
    let names = names(&statement.column_names());
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
        let (mut shown, before) = (Map::new(), bytes);
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
            if bytes - before > LONGEST_ROW {
                return refuse(ToolFailure::TooLarge, format!("a row is longer than {LONGEST_ROW} bytes; select less of it"));
            }
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

/// Names of columns, no two the same.
fn names(columns: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for column in columns {
        let again = (2..).map(|n| format!("{column}:{n}"));
        let name = std::iter::once((*column).to_owned()).chain(again).find(|name| !names.contains(name));
        names.extend(name);
    }
    names
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
        // nothing but the limit of instructions runs out here
        (Some(ErrorCode::OutOfMemory), _) => refuse(ToolFailure::TooLarge, "the statement is too complex"),
        (Some(ErrorCode::TooBig), _) => {
            refuse(ToolFailure::TooLarge, format!("a text or blob is longer than {LONGEST_CELL} bytes, the most that is read"))
        }
        (_, Error::MultipleStatement) => refuse(ToolFailure::BadArguments, "only one statement is run at a time"),
        (_, Error::SqlInputError { msg, .. }) if msg.starts_with("not authorized") => refuse(ToolFailure::Forbidden, msg.clone()),
        (_, Error::SqlInputError { msg, .. }) => refuse(ToolFailure::BadArguments, msg.clone()),
        _ => refuse(ToolFailure::BadArguments, error.to_string()),
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
