use super::*;
use std::time::Duration;

const SETUP: &str = "create table city (name text, people integer, area real);\
    insert into city values ('Arlen', 1200, 3.5), ('Brock', 800, 2.25), ('O''Hara', 5, null);";

fn asked(sql: &str) -> Reply {
    asked_at(None, SETUP, sql)
}

/// The time to fill a database is longer than what a test of time waits for.
fn asked_at(now: Option<&str>, setup: &str, sql: &str) -> Reply {
    let database = Database::new(setup, None, None, now, &Settings::default()).expect("a database");
    let settings = Settings { timeout: Duration::from_millis(500), ..Settings::default() };
    database.call(&Map::from_iter([("sql".to_owned(), Value::from(sql))]), &settings)
}

#[test]
fn one_value_is_given_plain_and_rows_as_json() {
    assert_eq!(asked("select people from city where name = 'Arlen'"), Ok("1200".into()));
    assert_eq!(asked("select name from city where people > 1000;"), Ok("Arlen".into()));
    assert_eq!(asked("select name, area from city where people = 5"), Ok("[{\"name\": \"O'Hara\", \"area\": null}]".into()));
    assert_eq!(asked("select 1 where 0"), Ok("no rows".into()));
    assert_eq!(asked("with recursive n(i) as (select 1 union all select i + 1 from n where i < 5) select sum(i) from n"), Ok("15".into()));
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
    assert!(Database::new(&setup, None, None, None, &settings).is_err() && !copy.exists());
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
    let database = Database::new(SETUP, None, query, None, &settings).expect("a database");
    let call = |value: Value| database.call(value.as_object().expect("an object"), &settings);
    assert_eq!(call(json!({"name": "O'Hara"})), Ok("5".into()));
    assert_eq!(call(json!({"name": "x' or '1'='1"})), Ok("no rows".into()));
    assert_eq!(call(json!({"name": 7})), Ok("no rows".into()));
    assert!(call(json!({"name": ["a"]})).is_err() && call(json!({"city": "a"})).is_err());
    for bad in ["delete from city", "select ?", "selec", "select 1; select 2"] {
        assert!(Database::new(SETUP, None, Some(bad), None, &settings).is_err(), "{bad}");
    }
    for bad in ["attach 'y.db' as y", "pragma temp_store_directory = '/'", "creat"] {
        assert!(Database::new(bad, None, None, None, &settings).is_err(), "{bad}");
    }
}

#[test]
fn no_statement_makes_long_texts_to_spend_time_or_memory_on() {
    let long = "with a(x) as (select replace(hex(zeroblob(30000)), '0', 'a')) select";
    let columns = |column: &str, count: usize| vec![column; count].join(", ");
    for (sql, words) in [
        ("select instr(hex(zeroblob(2000000)), hex(zeroblob(1000000))||'1')".to_owned(), "longer than 65536 bytes"),
        (format!("with a(x) as (select hex(zeroblob(2000000))) select {} from a", columns("x||0", 90)), "longer than 65536 bytes"),
        (format!("{long} {} from a", columns("x||0", 90)), "a row is longer than 131072 bytes"),
        (format!("{long} instr(x, substr(x, 1, 20000)||'b') from a"), "at most 100 bytes"),
        (format!("{long} replace(x, substr(x, 1, 20000)||'b', '') from a"), "at most 100 bytes"),
        (format!("{long} length(trim(x, x)) from a"), "at most 100 bytes"),
        (format!("{long} x like '%'||substr(x, 1, 20000)||'b' from a"), "too complex"),
        (format!("{long} {} from a", columns("instr(x, 'b')", 80)), "more than 64 functions"),
        (
            format!("with a(x) as (select abs(people) from city), b(y) as (select {} from a) select y from b", vec!["x"; 80].join("+")),
            "more than 64 functions",
        ),
        ("select json_patch('{}', '{}')".to_owned(), "not authorized"),
        (format!("select {}", columns("1", 101)), "too many columns"),
        ("select 1 where replace(hex(zeroblob(30000)), '0', hex(zeroblob(30000))) = 1".to_owned(), "too big"),
    ] {
        let (_, reason) = asked(&sql).expect_err(&sql);
        assert!(reason.contains(words), "{sql}: {reason}");
    }
    assert_eq!(asked(&format!("{long} length(x) from a")), Ok("60000".into()));
    assert_eq!(asked("select trim('xxaxx', 'x') || instr('abc', 'c') || replace('abc', 'b', 'B') || trim(' y ')"), Ok("a3aBcy".into()));
}

#[test]
fn subqueries_that_multiply_while_a_statement_is_prepared_end_with_a_reason() {
    let sum = |column: &str| vec![column; 90].join("+");
    let mut sql = String::from("with a0(x) as (select people from city)");
    for i in 1..=4 {
        sql.push_str(&format!(", a{i}(x) as (select {} from a{})", sum("x"), i - 1));
    }
    let (failure, reason) = asked(&format!("{sql} select x from a4")).expect_err("65 million sums");
    assert!(matches!(failure, ToolFailure::BadArguments | ToolFailure::Timeout | ToolFailure::TooLarge | ToolFailure::Failed), "{reason}");
}

#[test]
fn a_problem_may_hold_longer_values_than_are_read_and_a_long_cell_is_named() {
    let setup = "create table t (id, body); insert into t values (1, hex(zeroblob(100000))), (2, 'short')";
    let long = asked_at(None, setup, "select body from t where id = 1").expect_err("a long cell");
    assert_eq!(long, (ToolFailure::TooLarge, "a text or blob is longer than 65536 bytes, the most that is read".into()));
    assert_eq!(asked_at(None, setup, "select body from t where id = 2"), Ok("short".into()));
}

#[test]
fn columns_of_one_name_are_all_shown() {
    let setup = "create table a (name, id); create table b (name, id); insert into a values ('x', 1); insert into b values ('y', 1)";
    let shown = |sql| asked_at(None, setup, sql);
    assert_eq!(shown("select a.name, b.name from a join b using (id)"), Ok("[{\"name\": \"x\", \"name:2\": \"y\"}]".into()));
    assert_eq!(shown("select 1 as a, 2 as \"a:2\", 3 as a, 4 as a"), Ok("[{\"a\": 1, \"a:2\": 2, \"a:3\": 3, \"a:4\": 4}]".into()));
}

#[test]
fn sql_knows_the_environments_present_and_no_other() {
    let now = Some("2025-03-04T10:30:00+01:00[Europe/Berlin]");
    for (sql, gives) in [
        ("select date('now')", "2025-03-04"),
        ("select date()", "2025-03-04"),
        ("select DATE('NOW', '+1 day')", "2025-03-05"),
        ("select datetime('now')", "2025-03-04 09:30:00"),
        ("select datetime(x'6e6f77')", "2025-03-04 09:30:00"),
        ("select datetime('now' || char(0) || 'x')", "2025-03-04 09:30:00"),
        ("select time('subsec')", "09:30:00.000"),
        ("select unixepoch()", "1741080600"),
        ("select julianday('now') - julianday('2025-03-03 09:30:00')", "1.0"),
        ("select strftime('%Y/%m', 'now')", "2025/03"),
        ("select strftime('%Y')", "2025"),
        ("select timediff('now', '2025-03-03 09:30:00')", "+0000-00-01 00:00:00.000"),
        ("select current_timestamp", "2025-03-04 09:30:00"),
        ("select current_date || ' ' || current_time", "2025-03-04 09:30:00"),
        ("select day from t", "2025-03-04"),
        ("select date('2024-02-28', '+2 days')", "2024-03-01"),
        ("select date('no date') is null", "1"),
    ] {
        assert_eq!(asked_at(now, "create table t (day); insert into t values (date('now'))", sql).as_deref(), Ok(gives), "{sql}");
    }
    for sql in
        ["date('now')", "datetime()", "unixepoch('subsec')", "strftime('%s', 'now')", "timediff('2025-03-03', 'now')", "current_date"]
    {
        let (failure, reason) = asked(&format!("select {sql}")).expect_err(sql);
        assert_eq!(failure, ToolFailure::BadArguments);
        assert!(reason.contains("the present is not known here"), "{sql}: {reason}");
    }
    for sql in ["datetime('now', 'localtime')", "time('10:00', 'utc')"] {
        assert!(asked_at(now, "", &format!("select {sql}")).expect_err(sql).1.contains("time zone"), "{sql}");
    }
    assert!(Database::new("", None, None, Some("tomorrow"), &Settings::default()).is_err_and(|e| e.contains("\"now\"")));
    assert!(Database::new("create table t (a); insert into t values (date())", None, None, None, &Settings::default()).is_err());
}
