//! Whatever a model writes as arguments: a result with a named reason, and no panic.

use serde_json::{Map, Value, json};
use whetstone_domain::{Tool, ToolFailure};
use whetstone_tools::{Settings, StepCache, Toolbox};

use super::{call, environment, refused, run, toolbox, trusting};

fn all() -> Value {
    json!({
        "sum": {"kind": "calculator"}, "now": {"kind": "clock", "operation": "now"}, "add": {"kind": "clock", "operation": "add"},
        "gap": {"kind": "clock", "operation": "between"}, "day": {"kind": "clock", "operation": "weekday"},
        "zone": {"kind": "clock", "operation": "convert"},
        "sql": {"kind": "table", "sql_setup": "create table t (a)"},
        "ask": {"kind": "table", "sql_setup": "create table t (a)", "query": "select a from t where a = :a"},
        "box": {"kind": "files", "files": {"a": "x"}}, "run": {"kind": "command", "command": ["cat"]},
        "api": {"kind": "http", "openapi": {"servers": [{"url": "http://127.0.0.1:1"}], "paths": {"/a/{b}": {"get": {"operationId": "get",
            "parameters": [{"name": "b", "in": "path", "required": true, "schema": {"type": "string"}}]}}}}}
    })
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, i| if i % 2 == 0 { json!([inner]) } else { json!({ "k": inner }) })
}

#[test]
fn hostile_arguments_are_refused_by_every_kind_with_a_reason() {
    let tools = toolbox(all(), &trusting());
    let values = [
        json!("\u{0}\u{1b}[2J\u{202e}\u{7f}"),
        json!("x".repeat(10_000)),
        json!("ο\u{0430}\u{200b}"),
        json!("'; drop table t; --"),
        json!("../../../../etc/passwd"),
        nested(1000),
        json!(1e308),
        json!(i64::MIN),
        json!(u64::MAX),
        Value::Null,
        json!([]),
        json!({}),
    ];
    for tool in tools.tools() {
        let keys: Vec<String> = tool.parameters["properties"].as_object().unwrap().keys().cloned().chain(["\u{0}extra".into()]).collect();
        for value in &values {
            for key in &keys {
                let mut arguments: Map<String, Value> = Map::new();
                for other in &keys {
                    arguments.insert(other.clone(), if other == key { value.clone() } else { json!("2025-03-04") });
                }
                for arguments in [arguments, Map::from_iter([(key.clone(), value.clone())])] {
                    let result = run(&tools, &tool.name, Value::Object(arguments));
                    assert!(!result.text.is_empty() && result.text.chars().count() < 2100, "{} {key}", tool.name);
                    assert_eq!(result.failure.is_some(), result.text.starts_with("error: "), "{}: {}", tool.name, result.text);
                    assert!(!result.text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{}: {}", tool.name, result.text);
                }
            }
        }
    }
    let deep = run(&tools, "run", json!({ "a": nested(1000) }));
    assert_eq!(deep.failure, Some(ToolFailure::BadArguments));
    assert!(deep.text.contains("nested deeper than 32 levels"), "{}", deep.text);
    let long = run(&tools, "run", json!({"a": "x".repeat(300_000)}));
    assert!(long.text.contains("at most 262144 are taken"), "{}", long.text);
}

#[test]
fn unknown_tools_are_named_shortly_and_only_offered_ones_run() {
    let tools = toolbox(all(), &trusting());
    for name in ["", "no", "sum.x", "box", "box.delete", "api.\u{0}", &"n".repeat(10_000)] {
        let result = run(&tools, name, json!({}));
        assert_eq!(result.failure, Some(ToolFailure::UnknownTool), "{name}");
        assert!(result.text.len() < 300 && !result.text.contains('\u{0}'), "{}", result.text);
    }
    let strict = json!({"type": "object", "properties": {"expression": {"type": "string", "maxLength": 5}}, "required": ["expression"]});
    let offered = [Tool { name: "sum".into(), description: String::new(), parameters: strict }];
    let tools = Toolbox::new(&environment(all()), &offered, &trusting()).unwrap();
    assert_eq!(run(&tools, "sum", json!({"expression": "1+1"})).text, "2");
    assert_eq!(run(&tools, "sum", json!({"expression": "1+1+1+1"})).failure, Some(ToolFailure::BadArguments));
    assert_eq!(run(&tools, "now", json!({})).failure, Some(ToolFailure::UnknownTool));
    let unserved = [Tool { name: "fly".into(), description: String::new(), parameters: json!({}) }];
    let error = Toolbox::new(&environment(all()), &unserved, &trusting()).err().unwrap().to_string();
    assert_eq!(error, "tool \"fly\": is offered, but nothing in the environment runs it");
}

#[test]
fn environments_that_cannot_work_are_refused_at_construction() {
    for (tools, reason) in [
        (json!({"t": {"kind": "table", "sql_setup": "creat table"}}), "sql_setup"),
        (json!({"t": {"kind": "table", "query": "select ?"}}), "must have names"),
        (json!({"f": {"kind": "files", "files": {"../a": "x"}}}), ".."),
        (json!({"h": {"kind": "http", "openapi": {}}}), "names no server"),
    ] {
        let error = refused(tools, &trusting());
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn results_are_kept_for_a_step_by_environment_tool_and_arguments() {
    let setup = |value: i64| {
        json!({"ask": {"kind": "table", "sql_setup": format!("create table t (a); insert into t values ({value})"),
        "query": "select a from t"}, "box": {"kind": "files"}})
    };
    let (one, two) = (toolbox(setup(1), &Settings::default()), toolbox(setup(2), &Settings::default()));
    let mut cache = StepCache::default();
    let mut ask = |tools: &Toolbox| tools.call(&call("ask", json!({})), &mut cache).text;
    assert_eq!([ask(&one), ask(&two), ask(&one), ask(&two)], ["1", "2", "1", "2"]);
    assert_eq!(cache.hits, 2);
    let mut write = |text: &str| one.call(&call("box.write", json!({"path": "a", "content": text})), &mut cache);
    assert!(write("x").failure.is_none() && write("x").failure.is_none());
    let read = |tools: &Toolbox, cache: &mut StepCache| tools.call(&call("box.read", json!({"path": "a"})), cache);
    assert_eq!(read(&one, &mut cache).text, "x");
    assert_eq!(read(&two, &mut cache).failure, Some(ToolFailure::Failed), "a folder is one rollout's");
    assert_eq!(cache.hits, 2, "what changes something is run every time");
}

#[test]
fn a_problem_whose_tools_cannot_be_made_is_told_which_and_why() {
    let mut problem = whetstone_tooluse::tasks::starter::tools::problem(false, 3, 0);
    assert!(Settings::default().can_run(&problem).is_ok());
    problem.tools.truncate(1);
    let name = problem.tools[0].name.clone();
    let mut made = |runnable: Value, now: Option<&str>, settings: &Settings| {
        problem.environment = Some(environment(json!({ name.clone(): runnable })));
        problem.environment.as_mut().unwrap().now = now.map(str::to_owned);
        settings.can_run(&problem).map_err(|e| e.to_string())
    };
    let untrusting = Settings::default();
    for (runnable, now) in [
        (json!({"kind": "table", "sql_setup": "drop table x"}), None),
        (json!({"kind": "clock", "operation": "now"}), Some("yesterday")),
        (json!({"kind": "command", "command": ["true"]}), None),
    ] {
        let reason = made(runnable, now, &untrusting).unwrap_err();
        assert!(reason.contains(&format!("tool {name:?}: ")), "{reason}");
    }
    assert_eq!(made(json!({"kind": "command", "command": ["true"]}), None, &trusting()), Ok(()));
    problem.environment = None;
    assert!(untrusting.can_run(&problem).is_ok(), "nothing has to run");
}
