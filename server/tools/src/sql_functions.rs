//! Kind *table*, second half: SQL functions that would read this machine's clock or time zone, or that take long.
//!
//! In: a connection. Out: the same one, where such a function first looks at its arguments and then lets SQLite's own answer, on
//! a connection of its own: `now` is the environment's present or refused, `localtime` is refused, and what is searched for is
//! short. SQLite looks at no clock while a function runs, and these take the product of two lengths.

use std::sync::{Arc, Mutex};

use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, Error, params_from_iter};

/// Longest text that is searched for or trimmed away, bytes.
pub(crate) const LONGEST_PATTERN: i32 = 100;
/// Functions of dates, and which argument is a time.
const DATES: [(&str, usize); 6] = [("date", 0), ("time", 0), ("datetime", 0), ("julianday", 0), ("unixepoch", 0), ("strftime", 1)];
/// Words for the present, and the function that gives the same.
const PRESENT: [(&str, &str); 3] = [("current_timestamp", "datetime"), ("current_date", "date"), ("current_time", "time")];
/// Functions that search for their second argument, and how many they take.
const SEARCHES: [(&str, i32); 6] = [("instr", 2), ("replace", 3), ("trim", 2), ("ltrim", 2), ("rtrim", 2), ("unhex", 2)];

/// Where SQLite's own functions answer.
#[derive(Clone)]
pub(crate) struct Own(Arc<Mutex<Connection>>);

type Checked = Result<(), String>;

impl Own {
    /// `limited` must limit it as the database is limited for a model: a function can make a long text of short ones.
    pub(crate) fn new(limited: impl FnOnce(&Connection) -> Checked) -> Result<Self, String> {
        let connection = Connection::open_in_memory().map_err(|e| format!("cannot make a database: {e}"))?;
        limited(&connection)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Lets dates know one present, as SQLite writes it, or none.
    pub(crate) fn know_the_present(&self, connection: &Connection, now: Option<&str>) -> rusqlite::Result<()> {
        let now = now.map(str::to_owned);
        for (name, at) in DATES {
            let now = now.clone();
            self.put(connection, name, name, -1, move |values| {
                if values.len() == at {
                    values.push(SqlValue::Text("now".into()));
                }
                present(values, at, now.as_deref())?;
                match values.iter().skip(at + 1).any(|v| is(v, &["localtime", "utc"])) {
                    true => Err("\"localtime\" and \"utc\" would read this machine's time zone; all times here are UTC".into()),
                    false => Ok(()),
                }
            })?;
        }
        for (name, same) in PRESENT {
            let now = now.clone();
            self.put(connection, name, same, 0, move |values| {
                values.push(SqlValue::Text("now".into()));
                present(values, 0, now.as_deref())
            })?;
        }
        self.put(connection, "timediff", "timediff", 2, move |values| {
            present(values, 0, now.as_deref())?;
            present(values, 1, now.as_deref())
        })
    }

    /// Lets functions search for short texts only.
    pub(crate) fn search_for_little(&self, connection: &Connection) -> rusqlite::Result<()> {
        for (name, count) in SEARCHES {
            self.put(connection, name, name, count, move |values| {
                match values.get(1).and_then(bytes).is_some_and(|b| b.len() > LONGEST_PATTERN as usize) {
                    true => Err(format!("{name} takes a second argument of at most {LONGEST_PATTERN} bytes")),
                    false => Ok(()),
                }
            })?;
        }
        Ok(())
    }

    /// Makes `name` stand for SQLite's `own`, once `change` has seen the arguments.
    fn put(
        &self,
        connection: &Connection,
        name: &str,
        own: &'static str,
        count: i32,
        change: impl Fn(&mut Vec<SqlValue>) -> Checked + Send + 'static,
    ) -> rusqlite::Result<()> {
        let answers = self.0.clone();
        // deterministic: as SQLite's are, so that an index or a view of a file may use them
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
        connection.create_scalar_function(name, count, flags, move |context| {
            let mut values = (0..context.len()).map(|i| context.get(i)).collect::<rusqlite::Result<Vec<SqlValue>>>()?;
            change(&mut values).map_err(|reason| Error::UserFunctionError(reason.into()))?;
            let marks = vec!["?"; values.len()].join(", ");
            let answers = answers.lock().map_err(|e| Error::UserFunctionError(e.to_string().into()))?;
            answers.query_row(&format!("select {own}({marks})"), params_from_iter(values), |row| row.get::<_, SqlValue>(0))
        })
    }
}

/// Puts the present where an argument asks for it.
fn present(values: &mut Vec<SqlValue>, at: usize, now: Option<&str>) -> Checked {
    let Some(value) = values.get_mut(at) else { return Ok(()) };
    let parts_of_seconds = is(value, &["subsec", "subsecond"]);
    if !parts_of_seconds && !is(value, &["now"]) {
        return Ok(());
    }
    let now = now.ok_or("the present is not known here, because the environment gives no \"now\"; name the date instead")?;
    *value = SqlValue::Text(now.to_owned());
    if parts_of_seconds {
        values.insert(at + 1, SqlValue::Text("subsec".into()));
    }
    Ok(())
}

/// Whether SQLite reads a value as one of these words: a blob is a text to it, and a text ends at the first U+0000.
fn is(value: &SqlValue, words: &[&str]) -> bool {
    let text = bytes(value).and_then(|b| b.split(|b| *b == 0).next());
    text.is_some_and(|text| words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes())))
}

fn bytes(value: &SqlValue) -> Option<&[u8]> {
    match value {
        SqlValue::Text(text) => Some(text.as_bytes()),
        SqlValue::Blob(blob) => Some(blob),
        _ => None,
    }
}
