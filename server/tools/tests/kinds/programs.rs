//! Programs and files of the machine: the command kind, and a database file.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use whetstone_domain::ToolFailure;
use whetstone_tools::{Settings, StepCache};

use super::{call, python, refused, run, toolbox, trusting};

fn program(command: &[&str]) -> Value {
    json!({"run": {"kind": "command", "command": command}})
}

#[test]
fn arguments_reach_a_program_as_json_and_as_words_never_through_a_shell() {
    let settings = trusting();
    let cat = toolbox(program(&["cat"]), &settings);
    assert_eq!(run(&cat, "run", json!({"a": "x; y", "n": 1})).text, "{\"a\":\"x; y\",\"n\":1}");
    let echo = toolbox(program(&["echo", "day", "{day}"]), &settings);
    assert_eq!(run(&echo, "run", json!({"day": "$(id) `id` ; * \" '"})).text, "day $(id) `id` ; * \" '");
    assert_eq!(run(&echo, "run", json!({"day": "two words"})).text, "day two words");
    for bad in [json!({}), json!({"day": "-n"}), json!({"day": "a\u{0}b"}), json!({"day": ["x"]})] {
        assert_eq!(run(&echo, "run", bad.clone()).failure, Some(ToolFailure::BadArguments), "{bad}");
    }
    let variables = toolbox(program(&["env"]), &settings);
    let shown = run(&variables, "run", json!({})).text;
    assert!(shown.contains("PATH=") && !shown.contains("HOME=") && !shown.contains("CARGO"), "{shown}");
}

#[test]
fn time_memory_output_and_exit_status_are_results() {
    let settings = Settings { timeout: Duration::from_millis(700), most_read: 10_000, ..trusting() };
    let result = |command: &[&str]| run(&toolbox(program(command), &settings), "run", json!({}));
    let start = Instant::now();
    assert_eq!(result(&["sleep", "30"]).failure, Some(ToolFailure::Timeout));
    assert_eq!(result(&["sh", "-c", "trap '' TERM; sleep 30 & wait"]).failure, Some(ToolFailure::Timeout));
    assert!(start.elapsed() < Duration::from_secs(20), "nobody waits for what sleeps");
    assert_eq!(result(&["yes"]).failure, Some(ToolFailure::TooLarge));
    let failed = result(&["sh", "-c", "echo out; echo reason >&2; exit 3"]);
    assert_eq!((failed.failure, failed.text.contains("exit status: 3: reason")), (Some(ToolFailure::Failed), true), "{}", failed.text);
    assert_eq!(result(&["sh", "-c", "sleep 30 & echo done"]).text, "done", "what it leaves running is ended");
    let limits = result(&["sh", "-c", "ulimit -v; ulimit -n; ulimit -c"]);
    assert_eq!(limits.text, "1048576\n256\n0");
    assert_eq!(result(&["printf", "a\\033[31m\\000b"]).text, "a\u{fffd}[31m\u{fffd}b", "control characters are taken out");
}

#[test]
fn output_that_something_else_holds_open_is_a_failure_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let left =
        format!("setsid sh -c 'echo $$ > {}.new; mv {0}.new {0}; exec sleep 600' & while [ ! -e {0} ]; do sleep 0.01; done", pid.display());
    let settings = Settings { timeout: Duration::from_secs(60), ..trusting() };
    let result = run(&toolbox(program(&["sh", "-c", &left]), &settings), "run", json!({}));
    // a session of its own: nobody but this test ends it
    whetstone_tools::kill_group(std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap());
    assert_eq!(result.failure, Some(ToolFailure::Failed), "{}", result.text);
    assert!(result.text.contains("still holds its output open"), "{}", result.text);
    let long = "x".repeat(200_000);
    let cat = toolbox(program(&["wc", "-c"]), &settings);
    assert_eq!(run(&cat, "run", json!({ "a": long })).text, "200009", "arguments longer than a pipe holds are all written");
    let deaf = toolbox(program(&["echo", "done"]), &settings);
    assert_eq!(run(&deaf, "run", json!({ "a": long })).text, "done", "nobody has to read them");
}

#[test]
fn a_placeholder_inside_a_word_is_refused_before_any_call() {
    for word in ["--day={day}", "{day}.txt", "{a}{b}", "x {day} y"] {
        let reason = refused(program(&["echo", word]), &trusting());
        assert!(reason.contains(word) && reason.contains("a word of its own"), "{reason}");
    }
    let shell = toolbox(program(&["sh", "-c", "echo ${LANG}{ } {\\\"a\\\": 1}"]), &trusting());
    assert!(run(&shell, "run", json!({})).failure.is_none(), "braces that name no argument are a program's own");
}

#[test]
fn what_a_program_starts_at_once_is_limited_too() {
    let settings = Settings { timeout: Duration::from_secs(10), ..trusting() };
    let result = |script: &str| run(&toolbox(program(&["sh", "-c", script]), &settings), "run", json!({}));
    for _ in 0..20 {
        let shown = result("(ulimit -v; ulimit -n; ulimit -c; ulimit -f; ulimit -t) & wait");
        assert_eq!(shown.text, "1048576\n256\n0\n32768\n11");
    }
    let greedy = result(&format!("{} -c 'bytearray(2 << 30)' & wait $!", python()));
    assert!(greedy.failure.is_some() && greedy.text.contains("MemoryError"), "{}", greedy.text);
    let large = result("head -c 20000000 /dev/zero > file & wait $!; wc -c < file");
    assert_eq!(large.text, "16777216", "what is written beyond is not");
    let less = Settings { program_memory: 1 << 28, ..trusting() };
    assert_eq!(run(&toolbox(program(&["sh", "-c", "ulimit -v"]), &less), "run", json!({})).text, "262144");
    let ignored = result("sed -n 's/^SigIgn:\\s*//p' /proc/self/status").text;
    assert_eq!(u64::from_str_radix(&ignored, 16).unwrap() >> 12 & 1, 0, "a closed pipe ends a program, as anywhere");
}

#[test]
fn a_program_that_cannot_be_executed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (data, lost) = (write("data", "text", 0o644), write("lost", "#!/no/such/interpreter\n", 0o755));
    let mcp = |file: &str| json!({"a": {"kind": "mcp", "command": [file]}});
    assert!(refused(program(&[&data]), &trusting()).contains("that can be executed"));
    assert!(refused(mcp(&data), &trusting()).contains("that can be executed"));
    let failed = run(&toolbox(program(&[&lost]), &trusting()), "run", json!({}));
    assert_eq!(failed.failure, Some(ToolFailure::Failed));
    assert!(failed.text.contains("it cannot be started: No such file or directory"), "{}", failed.text);
    assert!(refused(mcp(&lost), &trusting()).contains("the server's file cannot be executed"));
    // a launcher that is none is no way around the limits
    let none = Settings { programs: Some("/no/such/launcher".into()), ..trusting() };
    let failed = run(&toolbox(program(&["true"]), &none), "run", json!({}));
    assert!(failed.text.contains("the program cannot be started"), "{}", failed.text);
    assert!(refused(mcp("/bin/true"), &none).contains("the server cannot be started"));
}

#[test]
fn programs_and_files_need_permission() {
    let careful = Settings::default();
    assert!(refused(program(&["cat"]), &careful).contains("permission to start programs"));
    assert!(refused(program(&[]), &trusting()).contains("empty"));
    assert!(refused(program(&["no-such-program-anywhere"]), &trusting()).contains("no program"));
    let file = json!({"t": {"kind": "table", "database": "/x.db"}});
    assert!(refused(file.clone(), &careful).contains("permission"));
    assert!(refused(file, &trusting()).contains("cannot open"));
}

#[test]
fn a_database_file_is_read_and_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("create table person (name text, age integer); insert into person values ('Ada', 36);").unwrap();
    drop(connection);
    let before = std::fs::read(&path).unwrap();
    let tools = toolbox(json!({"t": {"kind": "table", "database": path}}), &trusting());
    assert_eq!(run(&tools, "t", json!({"sql": "select age from person where name = 'Ada'"})).text, "36");
    for sql in ["insert into person values ('Bob', 1)", "delete from person", "pragma journal_mode = wal", "create table x (a)"] {
        assert_eq!(run(&tools, "t", json!({ "sql": sql })).failure, Some(ToolFailure::Forbidden), "{sql}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_file_that_is_no_database_or_would_be_written_beside_is_refused_before_any_call() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.db");
    let table = || json!({"t": {"kind": "table", "database": path}});
    std::fs::write(&path, "x".repeat(5000)).unwrap();
    assert!(refused(table(), &trusting()).contains("cannot be read as a SQLite database"));
    std::fs::remove_file(&path).unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("pragma journal_mode = wal; create table t (a); insert into t values (1);").unwrap();
    drop(connection);
    let reason = refused(table(), &trusting());
    assert!(reason.contains("WAL mode") && reason.contains("journal_mode = delete"), "{reason}");
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["some.db"], "nothing is written beside it");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("pragma journal_mode = delete;").unwrap();
    drop(connection);
    assert_eq!(run(&toolbox(table(), &trusting()), "t", json!({"sql": "select a from t"})).text, "1");
}

#[test]
fn a_file_that_a_program_of_the_environment_may_change_is_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("create table t (a); insert into t values ('old');").unwrap();
    let ask = call("t", json!({"sql": "select a from t"}));
    let both = json!({"t": {"kind": "table", "database": path}, "run": {"kind": "command", "command": ["true"]}});
    let (tools, mut cache) = (toolbox(both, &trusting()), StepCache::default());
    assert_eq!(tools.call(&ask, &mut cache).text, "old");
    connection.execute_batch("update t set a = 'new'").unwrap();
    assert_eq!((tools.call(&ask, &mut cache).text.as_str(), cache.hits), ("new", 0));
    let alone = toolbox(json!({"t": {"kind": "table", "database": path}}), &trusting());
    assert_eq!([(); 2].map(|()| alone.call(&ask, &mut cache).text), ["new", "new"]);
    assert_eq!(cache.hits, 1, "what nobody changes is kept");
}
