use std::fs;

use serde_json::{Value, json};
use whetstone_domain::Matcher;

use super::*;
use crate::matching;

fn row(id: &str) -> Value {
    json!({
        "id": id,
        "messages": [{"role": "user", "content": "Weather in Oslo?"}],
        "tools": [{"name": "get_weather", "description": "Current weather", "parameters": {"type": "object", "required": ["city"],
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]},
                "place": {"type": "object"}, "days": {"type": "array", "items": {"type": "integer"}}}}}],
        "expected": [{"name": "get_weather", "arguments": {"city": "Oslo", "unit": {"any_of": ["c"], "optional": true}}}],
    })
}

fn load_bytes(bytes: &[u8]) -> Result<TaskSet, TaskError> {
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    fs::write(file.path(), bytes).expect("written");
    load(&format!("file:{}", file.path().display()), &LoadOptions::default())
}

fn load_rows(rows: &[Value]) -> Result<TaskSet, TaskError> {
    load_bytes(rows.iter().map(|r| format!("{r}\n")).collect::<String>().as_bytes())
}

#[test]
fn a_written_row_loads_and_its_own_answer_is_right() {
    let mut exact = row("b");
    exact["matcher"] = json!("exact");
    exact["domain"] = json!("weather");
    exact["difficulty"] = json!(2);
    let mut nested = row("c");
    nested["expected"][0]["arguments"]["place"] = json!({"name": "x", "zip": 1});
    nested["expected"][0]["arguments"]["days"] = json!([1, 2]);
    let mut none = row("d");
    none["expected"] = json!([]);
    let set = load_rows(&[row("a"), exact, nested, none]).expect("all good");
    assert_eq!((set.problems.len(), set.refused.len()), (4, 0));
    assert_eq!((set.problems[1].matcher, set.problems[1].difficulty), (Matcher::Exact, 2));
    assert!(set.problems[3].expected.is_no_call());
    for p in &set.problems {
        assert!(matching::matches(p, &matching::canonical(p)), "{}", p.id);
    }
    assert_eq!(matching::canonical(&set.problems[2])[0].arguments["place"], json!({"name": "x", "zip": 1}));
}

#[test]
fn a_bad_row_is_refused_with_file_line_field_and_reason() {
    let edited = |pointer: &str, value: Value| {
        let mut row = row("x");
        match row.pointer_mut(pointer) {
            Some(slot) => *slot = value,
            None => {
                let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
                row.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object").insert(key.into(), value);
            }
        }
        row
    };
    let without = |key: &str| {
        let mut row = row("x");
        row.as_object_mut().expect("an object").remove(key);
        row
    };
    for (bad, field, reason) in [
        (without("id"), "id", "is missing"),
        (without("expected"), "expected", "is missing"),
        (edited("/id", json!(" ")), "id", "is empty"),
        (edited("/id", json!("a\u{0}b")), "id", "U+0000"),
        (edited("/speed", json!(1)), "speed", "is unknown; known are id, messages"),
        (edited("/matcher", json!("fuzzy")), "matcher", "known are"),
        (edited("/difficulty", json!(-1)), "difficulty", "0 to 255"),
        (edited("/messages", json!([])), "messages", "is empty"),
        (edited("/messages/0/role", json!("robot")), "messages[0].role", "robot"),
        (edited("/messages/0/role", json!("assistant")), "messages", "end with a user message"),
        (edited("/messages/0/name", json!("x")), "messages[0].name", "is unknown"),
        (edited("/tools", json!([])), "tools", "is empty"),
        (edited("/tools/0/name", json!("a\u{1b}b")), "tools[0].name", "control character"),
        (edited("/tools/0/parameters/type", json!("array")), "tools[0].parameters.type", "must be \"object\""),
        (edited("/tools/0/parameters/required", json!(["nope"])), "tools[0].parameters.required", "nope"),
        (edited("/tools/0/parameters/properties/city", json!({"type": "string", "minLength": -3})), "tools[0].parameters", "invalid"),
        (edited("/tools/0/parameters/$ref", json!("http://example.invalid/x")), "tools[0].parameters", "invalid"),
        (edited("/expected/0/name", json!("nope")), "expected[0].name", "not among the tools"),
        (edited("/expected/0/arguments/wind", json!(1)), "expected[0].arguments.wind", "no argument of the tool"),
        (edited("/expected/0/arguments/city", json!(7)), "expected[0].arguments.city", "breaks the tool's schema: /city: 7"),
        (edited("/expected/0/arguments/unit", json!("k")), "expected[0].arguments.unit", "breaks the tool's schema"),
        (edited("/tools/0/parameters/properties/city", json!({"type": ["string"]})), "expected[0].arguments.city", "\"exact\""),
        (edited("/expected/0/arguments/city", json!({"any_of": []})), "expected[0].arguments.city.any_of", "at least one"),
        (edited("/expected/0/arguments/city", json!({"any_of": ["a"], "optional": true})), "expected[0].arguments.city", "required"),
        (edited("/expected/0/arguments/city", json!({"any_of": ["a"], "or": 1})), "expected[0].arguments.city.or", "unknown"),
        (edited("/expected/0/arguments", json!({})), "expected[0].arguments.city", "required by the tool"),
        (json!([1]), "row", "must be a JSON object"),
    ] {
        let set = load_rows(&[row("good"), bad.clone()]).expect("one good row");
        assert_eq!(set.problems.len(), 1, "{bad}");
        let [refusal] = &set.refused[..] else { panic!("{bad} was taken") };
        assert!(refusal.line == 2 && refusal.field == field && refusal.reason.contains(reason), "{refusal}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_and_the_rest_loads() {
    let mut bytes = b"\xef\xbb\xbf".to_vec();
    bytes.extend(format!("{}\r\n\n  \n", row("a")).bytes());
    bytes.extend(b"\"\xff\"\n{\"id\": \"\0\"}\n{\"id\": \n");
    bytes.extend(format!("\"{}\"\n", "x".repeat(lines::LONGEST_LINE)).bytes());
    bytes.extend("[".repeat(100_000).bytes());
    bytes.extend(format!("\n{}\n{{\"id\": 1, \"id\": 2}}\n{}", row("a"), row("b")).bytes());
    let set = load_bytes(&bytes).expect("two good rows");
    let ids: Vec<_> = set.problems.iter().map(|p| p.id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    let refused: Vec<_> = set.refused.iter().map(|r| (r.line, r.reason.as_str())).collect();
    for ((line, reason), (at, words)) in refused.into_iter().zip([
        (4, "byte 1 of the line is not UTF-8"),
        (5, "byte 8 of the line is NUL"),
        (6, "the text ends"),
        (7, "1048578 bytes long"),
        (8, "nested deeper than 64"),
        (9, "taken by an earlier row"),
        (10, "occurs twice"),
    ]) {
        assert!(line == at && reason.contains(words), "{line}: {reason}");
    }
    assert_eq!(set.refused.len(), 7);
}

#[test]
fn a_set_without_a_good_row_is_an_error() {
    assert!(matches!(load_bytes(b""), Err(TaskError::Empty { .. })));
    assert!(matches!(load_bytes(b"\n \n"), Err(TaskError::Empty { .. })));
    let error = load_bytes(b"{}\n{}\n").expect_err("all bad");
    let words = error.to_string();
    assert!(words.contains("none of its 2 rows") && words.contains("line 1, field id: is missing"), "{words}");
}

#[test]
fn specs_are_named_when_unknown() {
    let options = LoadOptions::default();
    for spec in ["", "starters", "file:", "starter:", "starter:train", "bfcl"] {
        let error = load(spec, &options).expect_err(spec).to_string();
        assert!(error.contains("starter:held-out"), "{error}");
    }
    let unread = load("file:/", &options).expect_err("a folder");
    assert!(unread.to_string().contains("Is a directory") && std::error::Error::source(&unread).is_none(), "said once: {unread}");
    assert!(load("file:/no/such/file", &options).expect_err("missing").to_string().contains("/no/such/file"));
    assert!(load("bfcl:simple_python", &options).expect_err("no wheel").to_string().contains("--bfcl DIR"));
    let error = load("bfcl:simple_java", &options).expect_err("unsupported").to_string();
    assert!(error.contains("simple_python, multiple"), "{error}");
    let empty = tempfile::tempdir().expect("temporary folder");
    let error = load("bfcl:multiple", &LoadOptions { bfcl: Some(empty.path()), ..options }).expect_err("empty wheel");
    assert!(error.to_string().contains("BFCL_v4_multiple.json is missing"), "{error}");
}

#[test]
fn starter_takes_seed_and_limit() {
    let options = |seed, limit| LoadOptions { seed, limit: Some(limit), bfcl: None };
    let one = load("starter", &options(1, 5)).expect("generated");
    assert_eq!(one.problems.len(), 5);
    assert_eq!(one.problems, load("starter", &options(1, 9)).expect("generated").problems[..5]);
    assert_ne!(one.problems, load("starter", &options(2, 5)).expect("generated").problems);
    assert!(load("starter", &options(1, 0)).expect_err("none asked").to_string().contains("must be at least 1"));
    let held_out = load("starter:held-out", &options(1, 50)).expect("generated");
    for p in one.problems.iter().chain(&held_out.problems) {
        assert!(matching::matches(p, &matching::canonical(p)), "{}", p.id);
    }
}

/// A wheel in miniature, in the shape of the real one.
fn wheel(category: &str, questions: &[Value], answers: &[Value]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("temporary folder");
    let data = root.path().join("bfcl_eval/data");
    fs::create_dir_all(data.join("possible_answer")).expect("folders");
    let text = |rows: &[Value]| rows.iter().map(|r| format!("{r}\n")).collect::<String>();
    let name = format!("BFCL_v4_{category}.json");
    fs::write(data.join("possible_answer").join(&name), text(answers)).expect("written");
    fs::write(data.join(&name), text(questions)).expect("written");
    root
}

fn question(id: &str) -> Value {
    json!({"id": id, "question": [[{"role": "user", "content": "q"}]], "function": [{"name": "a.f", "description": "d",
        "parameters": {"type": "dict", "properties": {"x": {"type": "float"}}, "required": ["x"]}}]})
}

#[test]
fn bfcl_files_load_and_rows_without_an_answer_are_refused() {
    let answer = |id: &str, truth: Value| json!({"id": id, "ground_truth": truth});
    let mut turns = question("two_turns");
    turns["question"] = json!([[], []]);
    let root = wheel(
        "simple_python",
        &[question("a"), question("lonely"), question("odd"), turns, json!({"id": "x"})],
        &[answer("a", json!([{"a.f": {"x": [1.5, ""]}}])), answer("odd", json!([{"a.f": {"x": 3}}])), answer("two_turns", json!([]))],
    );
    let set = load("bfcl:simple_python", &LoadOptions { bfcl: Some(root.path()), ..Default::default() }).expect("one good row");
    assert_eq!(set.problems.len(), 1);
    let call = &set.problems[0].expected.calls[0];
    assert!(call.name == "a.f" && call.arguments[0].1.optional && call.arguments[0].1.values.len() == 2);
    let refused: Vec<_> = set.refused.iter().map(|r| (r.line, r.field.as_str())).collect();
    assert_eq!(refused, [(2, "id"), (3, "ground_truth[0].a.f.x"), (4, "question"), (5, "question")]);
}

#[test]
fn bfcl_irrelevance_needs_no_answers() {
    let root = wheel("irrelevance", &[question("a")], &[]);
    let set = load("bfcl:irrelevance", &LoadOptions { bfcl: Some(root.path()), ..Default::default() }).expect("loads");
    assert!(set.problems[0].expected.is_no_call() && set.problems[0].matcher == Matcher::BfclIrrelevance);
}

/// A row whose problem is worked on in several turns.
fn conversation(id: &str) -> Value {
    let mut row = row(id);
    row["environment"] =
        json!({"tools": {"get_weather": {"kind": "table", "sql_setup": "create table w (a)", "query": "select a from w"}}});
    row["answer"] = json!(7.5);
    row
}

#[test]
fn a_row_with_tools_that_run_loads_with_its_answer() {
    let mut words = conversation("b");
    words["answer"] = json!({"any_of": ["rain", "wet"], "none_of": ["sun"]});
    let set = load_rows(&[conversation("a"), words]).expect("all good");
    assert_eq!((set.problems.len(), set.refused.len()), (2, 0), "{:?}", set.refused);
    assert!(set.problems.iter().all(Problem::is_conversation));
    let answers: Vec<_> = set.problems.iter().flat_map(|p| &p.answer).map(|a| (a.any_of.len(), a.none_of.len(), a.tolerance)).collect();
    assert_eq!(answers, [(1, 0, 0.005), (2, 1, 0.005)]);
}

#[test]
fn an_environment_that_serves_no_tool_or_an_answer_nobody_can_give_is_refused() {
    let edited = |key: &str, value: Value| {
        let mut row = conversation("x");
        row[key] = value;
        row
    };
    let without = |key: &str| {
        let mut row = conversation("x");
        row.as_object_mut().expect("an object").remove(key);
        row
    };
    for (bad, field, reason) in [
        (without("environment"), "environment", "is missing"),
        (without("answer"), "answer", "is missing"),
        (edited("environment", json!({"tools": {}})), "tools[0].name", "nothing in \"environment\" runs"),
        (edited("environment", json!({"tools": {"get": {"kind": "calculator"}}})), "tools[0].name", "nothing in"),
        (edited("environment", json!({"tools": {"get_weather": {"kind": "shell"}}})), "environment", "unknown variant"),
        (edited("environment", json!([{}, null])), "environment", "must be a JSON object"),
        (edited("answer", json!(true)), "answer", "must be a number"),
        (edited("answer", json!({"any_of": []})), "answer.any_of", "at least one"),
        (edited("answer", json!({"any_of": [null]})), "answer.any_of", "numbers, or texts"),
        (edited("answer", json!("?!")), "answer.any_of", "letters or digits"),
        (edited("answer", json!({"any_of": [1], "tolerance": -1})), "answer.tolerance", "from 0 up"),
        (edited("answer", json!({"any_of": ["wet rain"], "none_of": ["rain"]})), "answer", "refuses one of its own"),
        (edited("answer", json!({"any_of": [1], "or": 2})), "answer", "unknown field"),
    ] {
        let set = load_rows(&[row("good"), bad.clone()]).expect("one good row");
        let [refusal] = &set.refused[..] else { panic!("{bad} was taken") };
        assert_eq!(refusal.field, field, "{refusal}");
        assert!(refusal.reason.contains(reason), "{refusal}");
    }
}

#[test]
fn the_generated_sets_with_tools_load_by_their_specs_and_in_mixes() {
    for (spec, most) in [("starter:tools", STARTER_PROBLEMS), ("starter:tools-held-out", HELD_OUT_PROBLEMS)] {
        let set = load(spec, &LoadOptions { seed: 3, limit: Some(5), bfcl: None }).expect("generated");
        assert!(set.problems.len() == 5 && set.problems.iter().all(Problem::is_conversation) && is_generated(spec));
        assert_eq!(spec::Generated::named(spec).map(spec::Generated::problems), Some(most));
    }
    let mixed = load("mix:1*starter+1*starter:tools", &LoadOptions { seed: 3, limit: Some(20), bfcl: None }).expect("a mix");
    assert_eq!(mixed.problems.iter().filter(|p| p.is_conversation()).count(), 10);
}
