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
const FORBIDDEN_FUNCTIONS: [&str; 4] = ["random", "randomblob", "load_extension", "fts3_tokenizer"];

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
        if sql.trim().is_empty() {
            return refuse(ToolFailure::BadArguments, "the statement is empty");
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
mod tests {
    use super::*;
    use std::time::Duration;

    const SETUP: &str = "create table city (name text, people integer, area real);\
        insert into city values ('Arlen', 1200, 3.5), ('Brock', 800, 2.25), ('O''Hara', 5, null);";

    fn asked(sql: &str) -> Reply {
        let settings = Settings { timeout: Duration::from_millis(200), ..Settings::default() };
        let database = Database::new(SETUP, None, None, &settings).expect("a database");
        database.call(&Map::from_iter([("sql".to_owned(), Value::from(sql))]), &settings)
    }

    #[test]
    fn one_value_is_given_plain_and_rows_as_json() {
        assert_eq!(asked("select people from city where name = 'Arlen'"), Ok("1200".into()));
        assert_eq!(asked("select name from city where people > 1000;"), Ok("Arlen".into()));
        assert_eq!(asked("select name, area from city where people = 5"), Ok("[{\"name\": \"O'Hara\", \"area\": null}]".into()));
        assert_eq!(asked("select 1 where 0"), Ok("no rows".into()));
        assert_eq!(
            asked("with recursive n(i) as (select 1 union all select i + 1 from n where i < 5) select sum(i) from n"),
            Ok("15".into())
        );
        let many = asked("with recursive n(i) as (select 1 union all select i + 1 from n where i < 500) select i from n").expect("rows");
        assert!(many.ends_with("(there are more rows)"), "{many}");
    }

    #[test]
    fn nothing_but_reading_is_let_through() {
        for (sql, reason) in [
            ("delete from city", ToolFailure::Forbidden),
            ("update city set people = 0", ToolFailure::Forbidden),
            ("drop table city", ToolFailure::Forbidden),
            ("create table x (a)", ToolFailure::Forbidden),
            ("attach 'x.db' as x", ToolFailure::Forbidden),
            ("pragma query_only = off", ToolFailure::Forbidden),
            ("begin", ToolFailure::Forbidden),
            ("select load_extension('x')", ToolFailure::Forbidden),
            ("select random()", ToolFailure::Forbidden),
            ("select 1; delete from city", ToolFailure::Forbidden),
            ("select 1; select 2", ToolFailure::BadArguments),
            ("select nothing from city", ToolFailure::BadArguments),
            ("select 1 \u{0}", ToolFailure::BadArguments),
            ("selec", ToolFailure::BadArguments),
            ("", ToolFailure::BadArguments),
        ] {
            let refused = asked(sql).expect_err(sql);
            assert_eq!(refused.0, reason, "{sql}: {}", refused.1);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let copy = folder.path().join("copy.db");
        assert!(asked(&format!("vacuum into '{}'", copy.display())).is_err() && !copy.exists());
        let settings = Settings::default();
        let setup = format!("{SETUP} vacuum into '{}';", copy.display());
        assert!(Database::new(&setup, None, None, &settings).is_err() && !copy.exists());
    }

    #[test]
    fn time_length_and_nesting_are_limited() {
        let endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";
        assert_eq!(asked(endless).map_err(|e| e.0), Err(ToolFailure::Timeout));
        assert_eq!(asked("select zeroblob(900000000)").map_err(|e| e.0), Err(ToolFailure::TooLarge));
        assert_eq!(asked(&format!("select '{}'", "x".repeat(10_000))).map_err(|e| e.0), Err(ToolFailure::TooLarge));
        assert!(asked(&format!("select {}1{}", "abs(".repeat(1000), ")".repeat(1000))).is_err());
    }

    #[test]
    fn a_question_of_the_problem_takes_arguments_as_values_never_as_sql() {
        let settings = Settings::default();
        let query = Some("select people from city where name = :name");
        let database = Database::new(SETUP, None, query, &settings).expect("a database");
        let call = |value: Value| database.call(value.as_object().expect("an object"), &settings);
        assert_eq!(call(json!({"name": "O'Hara"})), Ok("5".into()));
        assert_eq!(call(json!({"name": "x' or '1'='1"})), Ok("no rows".into()));
        assert_eq!(call(json!({"name": 7})), Ok("no rows".into()));
        assert!(call(json!({"name": ["a"]})).is_err() && call(json!({"city": "a"})).is_err());
        for bad in ["delete from city", "select ?", "selec", "select 1; select 2"] {
            assert!(Database::new(SETUP, None, Some(bad), &settings).is_err(), "{bad}");
        }
        for bad in ["attach 'y.db' as y", "pragma temp_store_directory = '/'", "creat"] {
            assert!(Database::new(bad, None, None, &settings).is_err(), "{bad}");
        }
    }
}
