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
